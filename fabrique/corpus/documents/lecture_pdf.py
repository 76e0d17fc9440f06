"""Lire un PDF : ses mots, ses tableaux, ses pages numérisées ; puis ce que la page en fait."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fabrique.corpus.documents.blocs import (
    TITRE,
    Bloc,
    Document,
    Lieu,
    PageLue,
    ReglagesLecture,
    Retrait,
    tableau,
)
from fabrique.corpus.documents.cesures import Lexique, raccorder
from fabrique.corpus.documents.courants import sans_les_courants
from fabrique.corpus.documents.mots_pdf import REPERE, Mot, Trait
from fabrique.corpus.documents.ordre_de_lecture import ordonner
from fabrique.corpus.documents.structure_pdf import en_blocs
from fabrique.socle.erreurs import ErreurFabrique
from fabrique.socle.nombres import accorder, en_francais, en_pourcent

#: Pages lues avant de rouvrir le fichier : pdfminer garde en mémoire tout ce qu'il a lu.
TRANCHE = 100
#: Au-delà de tant de traits dessinés, une page est un plan ou une carte, pas un tableau.
TRAITS_MAX = 3000
#: Au-delà, on prévient que la lecture sera longue.
PAGES_LONGUES = 1000
_GRAS = re.compile(r"bold|black|heavy|semibold|demi|[-,]bd\b", re.IGNORECASE)
#: Une lettre dont la police ne dit pas le nom : pdfminer écrit son numéro.
_SANS_NOM = re.compile(r"\(cid:\d+\)")
_TITRE_DE_LOGICIEL = re.compile(r"microsoft|untitled|sans titre|\.(?:docx?|odt|pdf|indd)\b", re.I)


@dataclass
class Feuille:
    """Une page lue, avant le nettoyage : ses lignes dans l'ordre, et ses tableaux par repère."""

    page: PageLue
    traits: list[Trait]
    tableaux: dict[str, Bloc] = field(default_factory=dict)
    retraits: list[Retrait] = field(default_factory=list)
    alerte: str = ""


def lire_pdf(chemin: Path, reglages: ReglagesLecture) -> Document:
    """Lit un PDF page par page.

    Raises:
        ErreurFabrique: fichier abîmé, protégé par un mot de passe ou sans page.
    """
    lu = _nettoyer(chemin, "pdf", list(_feuilles(chemin, reglages)), reglages)
    lu.titre = _premier_titre(lu) or _declare(chemin) or _nom(chemin)
    return lu


def lire_images(chemin: Path, reglages: ReglagesLecture) -> Document:
    """Lit une image, ou les pages d'un TIFF, par la reconnaissance."""
    from fabrique.corpus.documents.numerisation import reconnaitre_fichier

    lu = _nettoyer(chemin, "image", list(reconnaitre_fichier(chemin, reglages)), reglages)
    lu.titre = _premier_titre(lu) or _nom(chemin)
    return lu


def _nettoyer(
    chemin: Path, format: str, feuilles: list[Feuille], reglages: ReglagesLecture
) -> Document:
    """Le document de ces pages : titres courants ôtés, lignes rejointes, titres reconnus."""
    gardees = reglages.etapes_gardees
    pages = [(feuille.page, feuille.traits) for feuille in feuilles]
    retraits = [retrait for feuille in feuilles for retrait in feuille.retraits]
    if "entetes" in gardees:
        lignes = [traits for _, traits in pages]
    else:
        lignes, otes = sans_les_courants(pages)
        retraits += otes
    tableaux = {repere: bloc for feuille in feuilles for repere, bloc in feuille.tableaux.items()}
    blocs, coupures = en_blocs(
        lignes, tableaux, reparer="cesures" not in gardees, noter="notes" not in gardees
    )
    return Document(
        chemin,
        format,
        pages=[feuille.page for feuille in feuilles],
        blocs=blocs,
        retraits=retraits + coupures,
        alertes=list(_alertes(feuilles, reglages)),
    )


def _alertes(feuilles: list[Feuille], reglages: ReglagesLecture) -> Iterator[str]:
    """Ce qu'une personne doit savoir des pages."""
    if len(feuilles) >= PAGES_LONGUES:
        yield f"{en_francais(len(feuilles))} pages : la lecture a été longue, et tout y est"
    par_phrase: dict[str, list[int]] = {}
    for feuille in feuilles:
        if feuille.alerte:
            par_phrase.setdefault(feuille.alerte, []).append(feuille.page.numero)
        confiance = feuille.page.confiance
        if confiance is not None and confiance < reglages.confiance:
            phrase = f"confiance sous {en_pourcent(reglages.confiance)}, à relire"
            par_phrase.setdefault(phrase, []).append(feuille.page.numero)
    for phrase, pages in par_phrase.items():
        yield f"{enumerer(pages)} : {phrase}"


def enumerer(pages: list[int]) -> str:
    """« page 4 », « pages 1 à 7 », « pages 1, 3, 9 et 12 autres »."""
    if len(pages) == 1:
        return f"page {pages[0]}"
    if pages == list(range(pages[0], pages[-1] + 1)):
        return f"pages {pages[0]} à {pages[-1]}"
    dites = ", ".join(map(str, pages[:10]))
    reste = f" et {accorder(len(pages) - 10, 'autre')}" if len(pages) > 10 else ""
    return f"pages {dites}{reste}"


def _premier_titre(lu: Document) -> str:
    """Le plus grand titre de la première page qui en a, parmi les deux premières."""
    for page in (1, 2):
        titres = [bloc for bloc in lu.blocs if bloc.genre == TITRE and bloc.page == page]
        if titres:
            return min(titres, key=lambda bloc: bloc.niveau).texte
    return ""


def _nom(chemin: Path) -> str:
    return chemin.stem.replace("_", " ").replace("-", " ").strip() or chemin.name


def _declare(chemin: Path) -> str:
    """Le titre que déclare le fichier, s'il n'est pas celui d'un logiciel."""
    from pypdf import PdfReader

    try:
        titre = str((PdfReader(chemin).metadata or {}).get("/Title") or "").strip()
    except Exception:  # un fichier que pdfminer lit et que pypdf refuse : le nom suffit
        return ""
    lisible = sum(s.isalpha() for s in titre) > 3 and not _TITRE_DE_LOGICIEL.search(titre)
    return titre if lisible else ""


# ---------------------------------------------------------------- page par page


def _feuilles(chemin: Path, reglages: ReglagesLecture) -> Iterator[Feuille]:
    """Les pages, en rouvrant le fichier de temps en temps pour que la mémoire reste plate."""
    total, debut = None, 1
    while total is None or debut <= total:
        with _ouvrir(chemin) as pdf:
            total = total or _compter(pdf, chemin)
            for page in pdf.pages[debut - 1 : debut - 1 + TRANCHE]:
                yield _feuille(page, reglages)
                page.close()
        debut += TRANCHE


def _ouvrir(chemin: Path) -> Any:
    import pdfplumber
    from pdfminer.pdfdocument import PDFPasswordIncorrect
    from pdfplumber.utils.exceptions import PdfminerException

    try:
        return pdfplumber.open(chemin)
    except PdfminerException as cause:
        if any(isinstance(c, PDFPasswordIncorrect) for c in cause.args):
            raise ErreurFabrique(
                "ce PDF est protégé par un mot de passe",
                "Ouvrez-le dans un lecteur de PDF et enregistrez-en une copie sans mot de passe",
                chemin,
            ) from None
        raise abime(chemin) from cause
    except Exception as cause:
        raise abime(chemin) from cause


def abime(chemin: Path) -> ErreurFabrique:
    """L'erreur d'un fichier qui ne se lit pas."""
    return ErreurFabrique(
        "le fichier est abîmé ou incomplet : il ne se lit pas",
        "Reprenez-le à sa source, ou réenregistrez-le depuis son logiciel d’origine",
        chemin,
    )


def _compter(pdf: Any, chemin: Path) -> int:
    try:
        nombre = len(pdf.pages)
    except Exception as cause:
        raise abime(chemin) from cause
    if not nombre:
        raise ErreurFabrique(
            "ce PDF n’a aucune page", "Reprenez-le à sa source", chemin
        )
    return nombre


def _feuille(page: Any, reglages: ReglagesLecture) -> Feuille:
    """Une page ; celle qui ne se lit pas est dite, et les autres se lisent."""
    vue = PageLue(page.page_number, float(page.width), float(page.height))
    try:
        return _lire(page, vue, reglages)
    except (MemoryError, KeyboardInterrupt):
        raise
    except Exception:  # pdfminer lève de tout sur un contenu abîmé
        return Feuille(vue, [], alerte="illisible, laissée de côté ; le reste du document est lu")


def _lire(page: Any, vue: PageLue, reglages: ReglagesLecture) -> Feuille:
    tournes = [c for c in page.chars if not c["upright"]]
    if tournes and "tourne" not in reglages.etapes_gardees:
        page = page.filter(lambda objet: objet.get("upright", True))
    mots = list(_mots(page))
    if _a_reconnaitre(mots):
        from fabrique.corpus.documents.numerisation import reconnaitre_page

        return reconnaitre_page(page, vue, mots, reglages)
    blocs = list(_tableaux(page, vue.numero))
    hors = [m for m in mots if not any(_dans(m, bloc.lieux[0]) for bloc in blocs)]
    reperes = {f"{REPERE}{vue.numero}-{rang}": bloc for rang, bloc in enumerate(blocs)}
    places = [_repere(repere, bloc.lieux[0]) for repere, bloc in reperes.items()]
    retraits = []
    if tournes and "tourne" not in reglages.etapes_gardees:
        retraits.append(Retrait("tourne", "".join(c["text"] for c in tournes), vue.numero))
    return Feuille(vue, ordonner([*hors, *places], vue.numero), reperes, retraits)


def _mots(page: Any) -> Iterator[Mot]:
    """Les mots d'une page, sans les lettres qu'un faux gras imprime deux fois."""
    places = {(c["text"], round(c["x0"]), round(c["top"])) for c in page.chars}
    if len(places) < 0.98 * len(page.chars):
        page = page.dedupe_chars(tolerance=1)
    for mot in page.extract_words(
        x_tolerance_ratio=0.15, extra_attrs=["fontname", "size"], keep_blank_chars=False
    ):
        yield Mot(
            mot["text"],
            mot["x0"],
            mot["top"],
            mot["x1"],
            mot["bottom"],
            mot["size"],
            bool(_GRAS.search(mot["fontname"] or "")),
        )


def _a_reconnaitre(mots: list[Mot]) -> bool:
    """Vrai si la page n'a pas de texte, ou un texte dont la police ne dit pas les lettres."""
    lettres = sum(len(m.texte) for m in mots)
    sans_nom = sum(len(_SANS_NOM.findall(m.texte)) for m in mots)
    return lettres == 0 or 5 * sans_nom > lettres / 4


def _tableaux(page: Any, numero: int) -> Iterator[Bloc]:
    """Les tableaux à filets d'une page : deux rangées et deux colonnes, au moins."""
    traits = len(page.lines) + len(page.rects) + len(page.curves)
    if not 2 <= traits <= TRAITS_MAX:
        return
    for trouve in page.find_tables():
        rangees = [[_cellule(cellule) for cellule in rangee] for rangee in trouve.extract()]
        pleines = [rangee for rangee in rangees if sum(map(bool, rangee)) > 1]
        if len(pleines) >= 2:
            yield tableau(rangees, numero, (Lieu(numero, *trouve.bbox),))


def _cellule(texte: str | None) -> str:
    """Une cellule, ses lignes réunies."""
    lignes = (texte or "").splitlines()
    reuni, lexique = (lignes or [""])[0], Lexique()
    for ligne in lignes[1:]:
        reuni = raccorder(reuni, ligne, lexique).texte
    return reuni


def _dans(mot: Mot, lieu: Lieu) -> bool:
    milieu = (mot.x0 + mot.x1) / 2
    return lieu.x0 <= milieu <= lieu.x1 and lieu.haut <= mot.milieu <= lieu.bas


def _repere(repere: str, lieu: Lieu) -> Mot:
    """Ce qui tient la place d'un tableau parmi les mots : un trait mince, sur son bord haut."""
    return Mot(repere, lieu.x0, lieu.haut, lieu.x1, lieu.haut + 8, 8)
