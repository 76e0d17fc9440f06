"""Les pages numérisées : tesseract les lit, et dit ce qu'il en croit.

Tesseract est un programme à part (Debian : ``apt install tesseract-ocr tesseract-ocr-fra``). Sans lui,
ces pages sont nommées, et les autres sont lues.
"""

from __future__ import annotations

import csv
import io
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from fabrique.corpus.documents.blocs import PageLue, ReglagesLecture
from fabrique.corpus.documents.mots_pdf import Mot
from fabrique.corpus.documents.ordre_de_lecture import ordonner
from fabrique.socle.erreurs import MACHINE, ErreurFabrique

if TYPE_CHECKING:
    from PIL.Image import Image

    from fabrique.corpus.documents.lecture_pdf import Feuille
    from fabrique.corpus.documents.source_pdf import PagePdf

#: Points par pouce de l'image donnée à tesseract : 300 est ce que sa documentation demande.
FINESSE = 300
#: Un mot de tant de lettres est plus large que haut, s'il est droit.
LETTRES_D_UN_MOT = 4
#: Secondes laissées à une page.
DELAI_PAGE = 120
INSTALLER = (
    "Installez-le : « apt install tesseract-ocr tesseract-ocr-fra » sous Debian et Ubuntu, "
    "« brew install tesseract tesseract-lang » sous macOS, le paquet UB-Mannheim sous Windows"
)


@dataclass(frozen=True)
class Reconnaissance:
    """Ce que tesseract lit d'une image.

    Args:
        confiance: la moyenne de celle des mots, pesée par leur longueur, de 0 à 1.
        mots: chacun avec sa boîte, dans l'unité demandée.
    """

    confiance: float
    mots: tuple[Mot, ...]

    @property
    def texte(self) -> str:
        """Une ligne par ligne de l'image, dans l'ordre de lecture."""
        return "\n".join(trait.texte for trait in ordonner(self.mots, 1))


@lru_cache
def langues() -> frozenset[str]:
    """Les langues que tesseract sait lire ; aucune s'il n'est pas installé."""
    programme = shutil.which("tesseract")
    if not programme:
        return frozenset()
    fini = subprocess.run([programme, "--list-langs"], capture_output=True, text=True, check=False)
    return frozenset((fini.stdout + fini.stderr).split())


def tesseract_present(langue: str = "fra") -> bool:
    """Vrai si tesseract et cette langue sont installés."""
    return langue in langues()


def reconnaitre_image(
    image: Image | str | Path, langue: str = "fra", echelle: float = 1.0
) -> Reconnaissance:
    """Lit une image avec tesseract.

    Args:
        image: une image de PIL, ou son fichier.
        langue: son nom dans tesseract.
        echelle: ce qui multiplie les boîtes ; 72 / 300 les donne en points.

    Raises:
        ErreurFabrique: tesseract ou la langue manque, ou il échoue.
    """
    if not tesseract_present(langue):
        quoi = f"la langue « {langue} » de tesseract" if langues() else "le programme tesseract"
        raise ErreurFabrique(f"{quoi} n’est pas installé", INSTALLER, code=MACHINE)
    with tempfile.TemporaryDirectory() as dossier:
        fichier = image if isinstance(image, str | Path) else Path(dossier) / "page.png"
        if not isinstance(image, str | Path):
            image.save(fichier)
        lu = _tesseract(Path(fichier), langue)
    mots, confiances = _mots(lu, echelle)
    poids = sum(len(mot.texte) for mot in mots)
    moyenne = sum(len(m.texte) * c for m, c in zip(mots, confiances, strict=True)) / max(1, poids)
    return Reconnaissance(moyenne, tuple(mots))


def _tesseract(fichier: Path, langue: str) -> str:
    """Le tableau de tesseract : une ligne par mot, sa boîte et sa confiance.

    Source : documentation de tesseract 5, sortie « tsv ».
    """
    commande = ["tesseract", str(fichier), "-", "-l", langue, "--dpi", str(FINESSE), "tsv"]
    seul = {"OMP_THREAD_LIMIT": "1"}  # deux fichiers se lisent déjà en même temps
    try:
        fini = subprocess.run(
            commande, capture_output=True, timeout=DELAI_PAGE, check=True, env=os.environ | seul
        )
    except (subprocess.SubprocessError, OSError) as cause:
        raise ErreurFabrique(
            "tesseract n’a pas pu lire cette image", "Essayez une image plus petite", fichier
        ) from cause
    return fini.stdout.decode("utf-8", "replace")


def _mots(lu: str, echelle: float) -> tuple[list[Mot], list[float]]:
    """Les mots d'un tableau de tesseract ; leur taille est la hauteur ordinaire de leur ligne."""
    rangees = [
        rangee
        for rangee in csv.DictReader(io.StringIO(lu), delimiter="\t", quoting=csv.QUOTE_NONE)
        if rangee["level"] == "5" and (rangee["text"] or "").strip()
    ]
    hauteurs: dict[tuple, list[float]] = {}
    for rangee in rangees:
        hauteurs.setdefault(_ligne(rangee), []).append(float(rangee["height"]))
    mots = []
    for rangee in rangees:
        x0, haut = float(rangee["left"]) * echelle, float(rangee["top"]) * echelle
        x1, bas = x0 + float(rangee["width"]) * echelle, haut + float(rangee["height"]) * echelle
        taille = round(median(hauteurs[_ligne(rangee)]) * echelle)
        mots.append(Mot(rangee["text"].strip(), x0, haut, x1, bas, taille))
    return mots, [float(rangee["conf"]) / 100 for rangee in rangees]


def _ligne(rangee: dict[str, str]) -> tuple[str, str, str]:
    return rangee["block_num"], rangee["par_num"], rangee["line_num"]


def reconnaitre_page(
    page: PagePdf, vue: PageLue, mots: list[Mot], reglages: ReglagesLecture
) -> Feuille:
    """Une page de PDF sans texte : reconnue si tesseract est là, nommée sinon.

    Args:
        mots: ceux que le fichier donne malgré tout ; si la reconnaissance est impossible, ceux dont la
            police nomme une lettre au moins sont gardés.
    """
    from fabrique.corpus.documents.lecture_pdf import Feuille

    if not (mots or page.a_des_images):
        return Feuille(vue, [], alerte="vide")
    mots = [mot for mot in mots if any(map(str.isalnum, mot.texte))]
    if reglages.sans_ocr:
        return Feuille(
            vue, ordonner(mots, vue.numero), alerte="numérisée, non reconnue (--sans_ocr)"
        )
    try:
        return _reconnue(page.image(FINESSE), vue, reglages, 72 / FINESSE)
    except ErreurFabrique as erreur:
        return Feuille(
            vue,
            ordonner(mots, vue.numero),
            alerte=f"numérisée, non reconnue : {erreur.message}. {erreur.remede}",
        )


def _reconnue(image: Image, vue: PageLue, reglages: ReglagesLecture, echelle: float) -> Feuille:
    """Une page reconnue, redressée s'il le faut : ses boîtes sont celles de la page droite."""
    from fabrique.corpus.documents.lecture_pdf import Feuille

    lue, tour = reconnaitre_a_l_endroit(image, reglages, echelle)
    if not lue.mots:
        return Feuille(vue, [], alerte="image sans texte reconnu")
    confiance = round(lue.confiance, 3)
    if tour in (90, 270):
        vue = replace(vue, largeur=vue.hauteur, hauteur=vue.largeur)
    return Feuille(
        replace(vue, confiance=confiance),
        ordonner(lue.mots, vue.numero),
        alerte=f"numérisée de travers, redressée de {tour}°" if tour else "",
    )


def reconnaitre_a_l_endroit(
    image: Image, reglages: ReglagesLecture, echelle: float
) -> tuple[Reconnaissance, int]:
    """La plus sûre des lectures d'une image, et de combien de degrés il a fallu la tourner.

    Une page numérisée de côté se lit parfois mot à mot, mais ses mots sont alors plus hauts que larges ;
    à l'envers, elle se lit mal. Les autres sens ne s'essaient que dans ces deux cas.
    """
    lue = reconnaitre_image(image, reglages.langue, echelle)
    if not lue.mots or (lue.confiance >= reglages.confiance and not _couchee(lue)):
        return lue, 0
    lectures = {0: lue} | {
        tour: reconnaitre_image(image.rotate(tour, expand=True), reglages.langue, echelle)
        for tour in (90, 180, 270)
    }
    droites = {tour: lecture for tour, lecture in lectures.items() if not _couchee(lecture)}
    tour = max(droites or lectures, key=lambda sens: lectures[sens].confiance)
    return lectures[tour], tour


def _couchee(lue: Reconnaissance) -> bool:
    """Vrai si les mots d'une lecture sont plus hauts que larges."""
    longs = [mot for mot in lue.mots if len(mot.texte) >= LETTRES_D_UN_MOT]
    return bool(longs) and median((m.bas - m.haut) / max(1e-6, m.x1 - m.x0) for m in longs) > 1


def reconnaitre_fichier(chemin: Path, reglages: ReglagesLecture) -> Iterator[Feuille]:
    """Les pages d'une image, reconnues.

    Raises:
        ErreurFabrique: tesseract manque, ou l'image ne se lit pas.
    """
    from PIL import Image, ImageSequence

    with Image.open(chemin) as image:
        for numero, vue in enumerate(ImageSequence.Iterator(image), 1):
            echelle = 72 / float(vue.info.get("dpi", (FINESSE, FINESSE))[0] or FINESSE)
            page = PageLue(numero, vue.width * echelle, vue.height * echelle)
            yield _reconnue(vue.convert("L"), page, reglages, echelle)
