"""Les textes d'un préentraînement : les lire, les mettre de côté, les façons de les présenter."""

from __future__ import annotations

import gzip
import logging
import zlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from fabrique.corpus.fichiers import Ligne, lire_lignes
from fabrique.modeles.gabarits import ASSISTANT, UTILISATEUR
from fabrique.socle.emplacements import CORPUS_LIVRES, dossier_data, empreinte
from fabrique.socle.erreurs import ErreurFabrique
from fabrique.socle.nombres import accorder

JOURNAL = logging.getLogger(__name__)


@dataclass(frozen=True)
class Source:
    """Un fichier de textes et la part des lots qu'il fournit, au début et à la fin.

    La part varie en ligne droite : les textes les plus proches de l'usage visé gagnent
    à dominer en fin de parcours, quand le taux d'apprentissage baisse. ``questions`` n'en
    garde que les titres et leurs réponses courtes, en conversation.
    """

    chemin: Path
    part_debut: float
    part_fin: float
    questions: bool = False

    @property
    def nom(self) -> str:
        """Le nom du fichier sans ses extensions, suivi de ce qu'on y lit."""
        return self.chemin.name.split(".")[0] + ("_questions" if self.questions else "")

    @property
    def empreinte(self) -> str | list[list[str]]:
        """L'empreinte du fichier ; d'un dossier, celle de chacun de ses fichiers lus."""
        if self.chemin.is_file():
            return empreinte(self.chemin)
        lus = fichiers_de(self.chemin)
        return [[f.relative_to(self.chemin).as_posix(), empreinte(f)] for f in lus]


@dataclass(frozen=True)
class Document:
    """Un texte et, quand il en a, son titre et la courte réponse qui convient à ce titre."""

    texte: str
    titre: str = ""
    reponse: str = ""


#: Une introduction tient lieu de réponse entre ces deux nombres de mots.
MOTS_D_UNE_REPONSE = (6, 80)


#: Ce qui se lit dans un dossier ; le reste est nommé.
LUS = (".txt", ".md", ".jsonl", ".parquet")


def lire_documents(chemin: Path) -> list[Document]:
    """Lit un ``.jsonl`` ou un ``.parquet`` (un document par ligne), un dossier, ou un texte.

    Une ligne a un ``texte`` et, si l'on veut, un ``titre`` et une ``description``, qui répond au
    titre en une phrase ou deux ; à défaut, l'introduction du texte en tient lieu. Un ``.txt`` ou un
    ``.jsonl`` peut être compressé (``.gz``).

    Raises:
        ErreurFabrique: une ligne n'est pas un objet JSON qui porte un ``texte``, une archive est
            incomplète, ou le fichier n'est pas un texte en UTF-8.
    """
    if chemin.is_dir():
        return [document for fichier in fichiers_de(chemin) for document in lire_documents(fichier)]
    if _extension(chemin) in (".jsonl", ".parquet"):
        return [_document(ligne, chemin) for ligne in lire_lignes(chemin)]
    ouvrir = gzip.open if chemin.suffix == ".gz" else open
    try:
        with ouvrir(chemin, "rt", encoding="utf-8-sig") as flux:
            return [Document(flux.read())]
    except UnicodeDecodeError:
        raise ErreurFabrique(
            "ce n’est pas un texte en UTF-8",
            "Enregistrez-le en UTF-8 ; d’un PDF ou d’un document, « fabrique documents lire » fait "
            "des fiches",
            chemin,
        ) from None
    except (EOFError, gzip.BadGzipFile, zlib.error) as cause:
        raise ErreurFabrique(
            "l’archive est incomplète", "Copiez-la ou téléchargez-la de nouveau", chemin
        ) from cause


def _extension(chemin: Path) -> str:
    """Ce que dit le nom d'un fichier, compressé ou non."""
    return Path(chemin.name.removesuffix(".gz")).suffix.lower()


def fichiers_de(dossier: Path) -> list[Path]:
    """Les fichiers d'un dossier qui se lisent, dans l'ordre des noms ; les autres sont nommés.

    Raises:
        ErreurFabrique: aucun ne se lit.
    """
    tous = [f for f in sorted(dossier.rglob("*")) if f.is_file() and not f.name.startswith(".")]
    lus = [f for f in tous if _extension(f) in LUS]
    laisses = [str(f.relative_to(dossier)) for f in tous if f not in lus]
    remede = "« fabrique documents lire » en fait des fiches"
    if not lus:
        raise ErreurFabrique(
            f"aucun fichier de ce dossier ne se lit ({', '.join(LUS)})",
            f"Donnez un autre dossier ; d’un PDF ou d’un document, {remede}",
            dossier,
        )
    if laisses:
        JOURNAL.warning(
            f"{accorder(len(laisses), 'fichier laissé', 'fichiers laissés')} dans "
            f"{dossier}\u00a0: {', '.join(laisses[:5])}{'…' if laisses[5:] else ''}. D’un PDF ou d’un "
            f"document, {remede}."
        )
    return lus


def _document(ligne: Ligne, chemin: Path) -> Document:
    if ligne.erreur:
        raise ligne.erreur
    try:
        lu: Any = ligne.contenu
        return Document(
            lu["texte"],
            lu.get("titre") or "",
            lu.get("description") or introduction(lu["texte"]),
        )
    except (TypeError, KeyError, AttributeError):
        raise ErreurFabrique(
            "ce n’est pas un objet JSON avec un champ « texte »",
            "Écrivez un objet par ligne, avec texte et, si l’on veut, titre et description",
            chemin,
            ligne=ligne.numero,
        ) from None


def introduction(texte: str) -> str:
    """Le premier paragraphe d'un texte, s'il a la taille d'une réponse et finit une phrase."""
    premier = texte.partition("\n")[0].strip()
    au_moins, au_plus = MOTS_D_UNE_REPONSE
    convient = au_moins <= len(premier.split()) <= au_plus and premier.endswith((".", "!", "?"))
    return premier if convient and premier[0].isalpha() else ""


def typographier(texte: str) -> str:
    """Rend le texte tel qu'un imprimeur français le composerait : ’ et espaces insécables."""
    texte = texte.replace("'", "’").replace("« ", "«\u00a0")
    for signe in (":", ";", "?", "!", "»", "€", "%"):
        texte = texte.replace(f" {signe}", f"\u00a0{signe}")
    return texte


def separer(documents: list[Document], un_sur: int) -> tuple[list[Document], list[Document]]:
    """Met de côté un document sur ``un_sur`` : (apprentissage, validation).

    Un fichier trop court pour en donner un reste entier à l'apprentissage.
    """
    garde = [d for rang, d in enumerate(documents, 1) if rang % un_sur]
    return garde, documents[un_sur - 1 :: un_sur]


def mettre_de_cote(documents: list[Document], un_sur: int) -> tuple[list[Document], list[Document]]:
    """Comme ``separer`` ; de documents trop peu nombreux, met de côté la fin de chacun.

    La coupure se fait entre deux paragraphes ; d'un seul paragraphe, rien n'est mis de côté.
    """
    if len(documents) >= un_sur:
        return separer(documents, un_sur)
    coupes = [_couper_la_fin(document, un_sur) for document in documents]
    return [debut for debut, _ in coupes], [fin for _, fin in coupes if fin]


def _couper_la_fin(document: Document, un_sur: int) -> tuple[Document, Document | None]:
    coupure = document.texte.find("\n", len(document.texte) * (un_sur - 1) // un_sur)
    if coupure < 0:
        return document, None
    debut, fin = document.texte[:coupure], document.texte[coupure:].strip()
    return replace(document, texte=debut), Document(fin) if fin else None


def echantillon(documents: list[Document], part: float, graine: int) -> list[Document]:
    """Une part des documents, petits et grands dans leurs proportions ; toujours la même.

    Rangés par longueur, on en prend un tous les ``1 / part``, à partir d'un rang tiré au hasard :
    c'est le tirage systématique, qui stratifie sans compter de strates.

    Args:
        part: de 0 (exclu) à 1 ; un document au moins est gardé.

    Source : Cochran, 1977, *Sampling Techniques*, ch. 8.
    """
    combien = max(1, round(part * len(documents)))
    ranges = sorted(range(len(documents)), key=lambda rang: (len(documents[rang].texte), rang))
    depart = np.random.default_rng(graine).random()
    pris = {ranges[int((n + depart) * len(ranges) / combien)] for n in range(combien)}
    return [document for rang, document in enumerate(documents) if rang in pris]


def presentations(document: Document, questions: bool = False) -> list[list[str]]:
    """Les façons de lire un document, chacune en une suite de morceaux.

    Tel quel ; composé à la française s'il en diffère ; et, s'il a un titre et une réponse
    courte, en conversation : le titre demande, elle répond. Le modèle connaît ainsi les deux
    typographies et le sens des jetons de rôle. Une réponse en conversation n'est jamais le texte
    entier : le modèle déroulerait ses rubriques à chaque question.

    Args:
        questions: ne garde que la conversation.
    """
    demande, reponse = typographier(document.titre), typographier(document.reponse)
    conversation = [[UTILISATEUR, demande, ASSISTANT, reponse]] if demande and reponse else []
    if questions:
        return conversation
    entier = f"{document.titre}\n\n{document.texte}" if document.titre else document.texte
    compose = typographier(entier)
    lectures = [[entier]] if compose == entier else [[entier], [compose]]
    return lectures + conversation


def lire_source(description: str, questions: bool = False) -> Source:
    """Lit « fichier:part_debut:part_fin » ; sans parts, la source pèse 1 du début à la fin.

    Le fichier peut aussi être un dossier, ou le nom d'un corpus de fiches livré (« fiches »).

    Args:
        questions: n'en garder que les titres et leurs réponses courtes.

    Raises:
        ErreurFabrique: fichier absent ou parts illisibles.
    """
    chemin, *parts = description.rsplit(":", 2) if description.count(":") >= 2 else [description]
    try:
        debut, fin = (float(p.replace(",", ".")) for p in parts or ("1", "1"))
    except ValueError:
        raise ErreurFabrique(
            f"les parts de « {description} » ne se lisent pas",
            "Écrivez fichier:0.1:0.4 (part au début, part à la fin)",
        ) from None
    lieu = dossier_data() / f"{chemin}.jsonl" if chemin in CORPUS_LIVRES else Path(chemin)
    if not lieu.exists():
        raise ErreurFabrique("fichier introuvable", "Vérifiez le chemin", chemin)
    return Source(lieu, debut, fin, questions)
