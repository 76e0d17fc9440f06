"""Lire un PDF : ses mots, ses tableaux, ses pages numérisées ; puis ce que la page en fait."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from fabrique.corpus.documents.blocs import (
    Bloc,
    Document,
    Lieu,
    PageLue,
    ReglagesLecture,
    Retrait,
    tableau,
)
from fabrique.corpus.documents.cesures import Lexique, reunir_les_lignes
from fabrique.corpus.documents.courants import sans_les_courants, sans_les_sommaires
from fabrique.corpus.documents.mots_pdf import REPERE, Mot, Trait, accentuer
from fabrique.corpus.documents.ordre_de_lecture import ordonner
from fabrique.corpus.documents.source_pdf import SANS_NOM, PagePdf, SourcePdf
from fabrique.corpus.documents.structure_pdf import en_blocs
from fabrique.socle.erreurs import ErreurFabrique
from fabrique.socle.nombres import accorder, en_francais, en_pourcent

#: Au-delà, on prévient que le document est long.
PAGES_LONGUES = 1000
#: La hauteur d'une rangée muette d'un tableau, en points.
RANGEE = 10.0
#: La part de lettres sans nom au-delà de laquelle la page se lit mieux par son image.
SANS_NOM_MAX = 0.2
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
        ErreurFabrique: fichier protégé par un mot de passe, ou sans page.
    """
    with SourcePdf(chemin) as source:
        if not len(source):
            raise ErreurFabrique("ce PDF n’a aucune page", "Reprenez-le à sa source", chemin)
        declare = _declare(source.titre)
        feuilles = [_feuille(page, reglages) for page in source.pages()]
    return _nettoyer(chemin, "pdf", feuilles, reglages, declare)


def lire_images(chemin: Path, reglages: ReglagesLecture) -> Document:
    """Lit une image, ou les pages d'un TIFF, par la reconnaissance."""
    from fabrique.corpus.documents.numerisation import reconnaitre_fichier

    return _nettoyer(chemin, "image", list(reconnaitre_fichier(chemin, reglages)), reglages)


def _nettoyer(
    chemin: Path, format: str, feuilles: list[Feuille], reglages: ReglagesLecture, declare: str = ""
) -> Document:
    """Le document de ces pages : titres courants ôtés, lignes rejointes, titres reconnus.

    Args:
        declare: le titre que déclare le fichier, s'il n'en porte pas sur ses deux premières pages.
    """
    gardees = reglages.etapes_gardees
    pages = [(feuille.page, feuille.traits) for feuille in feuilles]
    retraits = [retrait for feuille in feuilles for retrait in feuille.retraits]
    if "sommaires" not in gardees:
        pages, otes = sans_les_sommaires(pages)
        retraits += otes
    if "entetes" in gardees:
        lignes = [traits for _, traits in pages]
    else:
        lignes, otes = sans_les_courants(pages)
        retraits += otes
    tableaux = {repere: bloc for feuille in feuilles for repere, bloc in feuille.tableaux.items()}
    blocs, coupures = en_blocs(
        lignes, tableaux, reparer="cesures" not in gardees, noter="notes" not in gardees
    )
    lu = Document(
        chemin,
        format,
        pages=[feuille.page for feuille in feuilles],
        blocs=blocs,
        retraits=retraits + coupures,
        alertes=list(_alertes(feuilles, reglages)),
    )
    lu.titre = lu.plus_haut_titre(1) or lu.plus_haut_titre(2) or declare or lu.nom
    return lu


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


def _declare(titre: str) -> str:
    """Le titre que déclare le fichier, s'il n'est pas celui d'un logiciel."""
    lisible = sum(s.isalpha() for s in titre) > 3 and not _TITRE_DE_LOGICIEL.search(titre)
    return titre if lisible else ""


# ---------------------------------------------------------------- page par page


def _feuille(page: PagePdf, reglages: ReglagesLecture) -> Feuille:
    """Une page ; celle qui ne se lit pas est dite, et les autres se lisent."""
    vue = PageLue(page.numero, page.largeur, page.hauteur)
    try:
        return _lire(page, vue, reglages)
    except MemoryError:
        raise
    except Exception:  # pdfium et pdfminer lèvent de tout sur un contenu abîmé
        return Feuille(vue, [], alerte="illisible, laissée de côté ; le reste du document est lu")


def _lire(page: PagePdf, vue: PageLue, reglages: ReglagesLecture) -> Feuille:
    mots, tournes = page.mots()
    if _a_reconnaitre(mots):
        from fabrique.corpus.documents.numerisation import reconnaitre_page

        return reconnaitre_page(page, vue, mots, reglages)
    retraits = [Retrait("tourne", tournes, vue.numero)] if tournes else []
    lexique = None if "cesures" in reglages.etapes_gardees else Lexique()
    blocs = list(_tableaux(page, lexique, retraits))
    hors = [m for m in mots if not any(_dans(m, bloc.lieux[0]) for bloc in blocs)]
    reperes = {f"{REPERE}{vue.numero}-{rang}": bloc for rang, bloc in enumerate(blocs)}
    places = [m for repere, bloc in reperes.items() for m in _reperes(repere, bloc.lieux[0])]
    traits = ordonner([*hors, *places], vue.numero)
    alerte = "des lettres que la police ne nomme pas sont notées �" if _sans_nom(mots) else ""
    return Feuille(vue, traits, reperes, retraits, alerte)


def _a_reconnaitre(mots: list[Mot]) -> bool:
    """Vrai si la page n'a pas de texte, ou un texte dont la police ne dit pas les lettres."""
    lettres = sum(len(m.texte) for m in mots)
    return lettres == 0 or _sans_nom(mots) > SANS_NOM_MAX * lettres


def _sans_nom(mots: list[Mot]) -> int:
    """Combien de lettres la police ne nomme pas."""
    return sum(m.texte.count(SANS_NOM) for m in mots)


def _tableaux(page: PagePdf, lexique: Lexique | None, retraits: list[Retrait]) -> Iterator[Bloc]:
    """Les tableaux à filets d'une page : deux rangées et deux colonnes, au moins."""
    for boite, cellules in page.tableaux():
        coupures: list[Retrait] = []
        rangees = [
            [_cellule(cellule, page.numero, lexique, coupures) for cellule in rangee]
            for rangee in cellules
        ]
        pleines = [rangee for rangee in rangees if sum(map(bool, rangee)) > 1]
        if len(pleines) >= 2:
            retraits += coupures
            yield tableau(rangees, page.numero, (Lieu(page.numero, *boite),))


def _cellule(texte: str | None, page: int, lexique: Lexique | None, retraits: list[Retrait]) -> str:
    """Une cellule, ses lignes réunies."""
    lignes = ((ligne, page) for ligne in accentuer(texte or "").splitlines())
    reuni, coupures = reunir_les_lignes(lignes, lexique)
    retraits += coupures
    return reuni


def _dans(mot: Mot, lieu: Lieu) -> bool:
    milieu = (mot.x0 + mot.x1) / 2
    return lieu.x0 <= milieu <= lieu.x1 and lieu.haut <= mot.milieu <= lieu.bas


def _reperes(repere: str, lieu: Lieu) -> Iterator[Mot]:
    """Ce qui tient la place d'un tableau parmi les mots : son repère en haut, des rangées muettes."""
    for rang in range(max(1, int((lieu.bas - lieu.haut) / RANGEE))):
        haut = lieu.haut + rang * RANGEE
        yield Mot(REPERE if rang else repere, lieu.x0, haut, lieu.x1, haut + 0.8 * RANGEE, RANGEE)
