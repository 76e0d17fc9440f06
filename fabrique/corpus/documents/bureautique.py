"""Lire un DOCX ou un ODT : le style dit le titre, la liste et le tableau."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from lxml import etree

from fabrique.corpus.documents.blocs import (
    LISTE,
    NOTE,
    PARAGRAPHE,
    TITRE,
    Bloc,
    Document,
    PageLue,
    ReglagesLecture,
    Retrait,
    aerer,
    en_exposant,
    tableau,
)

_NIVEAU = re.compile(r"(?:heading|titre|header)\s*(\d)", re.IGNORECASE)
_TITRE_PRINCIPAL = re.compile(r"(?:title|titre)$", re.IGNORECASE)
_W = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
#: Ce qui redit un autre texte : une zone, pour d'anciens logiciels ; un passage, là d'où il a été déplacé.
_REDITES = (
    "{http://schemas.openxmlformats.org/markup-compatibility/2006}Fallback",
    f"{_W}moveFrom",
)
#: Ce que la structure d'un texte ouvert met autour de ses noms.
_TEXTE = "{urn:oasis:names:tc:opendocument:xmlns:text:1.0}"
_TABLE = "{urn:oasis:names:tc:opendocument:xmlns:table:1.0}"
_BUREAU = "{urn:oasis:names:tc:opendocument:xmlns:office:1.0}"
_STYLE = "{urn:oasis:names:tc:opendocument:xmlns:style:1.0}"
_META = "{http://purl.org/dc/elements/1.1/}"
#: Une cellule répétée mille fois est du vide : un tableau n'a pas tant de colonnes.
REPETEES_MAX = 50


# ---------------------------------------------------------------- DOCX


def lire_docx(chemin: Path, reglages: ReglagesLecture) -> Document:
    """Lit un DOCX dans l'ordre du corps ; ses notes suivent le paragraphe qui les appelle."""
    import docx
    from docx.table import Table

    ouvert = docx.Document(str(chemin))
    lu = Document(chemin, "docx")
    notes = _notes_docx(ouvert)
    compteur, ote_les_sommaires = _Pages(), "sommaires" not in reglages.etapes_gardees
    for objet in _objets_docx(ouvert.element.body, ouvert):
        if isinstance(objet, Table):
            lu.blocs.append(tableau(_rangees_docx(objet), compteur.page))
            compteur.voir(objet._tbl)
            continue
        page = compteur.page
        texte, appels = _texte_docx(objet._p)
        compteur.voir(objet._p)
        if ote_les_sommaires and _est_d_un_sommaire(objet):
            lu.retraits.append(Retrait("sommaires", aerer(texte), page))
        elif aerer(texte):
            genre, niveau = _genre_docx(objet)
            lu.blocs += _morceaux(genre, niveau, texte, page)
        lu.blocs += [
            Bloc(NOTE, f"{en_exposant(appel[1])} {notes[appel]}", page=page)
            for appel in appels
            if appel in notes
        ]
    lu.blocs = [bloc for bloc in lu.blocs if bloc.texte]
    lu.retraits = [retrait for retrait in lu.retraits if retrait.texte]
    if compteur.vues:
        lu.pages = [PageLue(n, 0, 0) for n in range(1, compteur.page + 1)]
    else:
        lu.blocs = [replace(bloc, page=None) for bloc in lu.blocs]
        lu.retraits = [replace(retrait, page=None) for retrait in lu.retraits]
    _ranger_les_courants(lu, list(_courants_docx(ouvert)), reglages)
    lu.titre = lu.plus_haut_titre() or (ouvert.core_properties.title or "").strip() or lu.nom
    return lu


def _objets_docx(element: Any, parent: Any) -> Iterator[Any]:
    """Les paragraphes et les tableaux, dans l'ordre, ceux des champs à remplir compris.

    python-docx ne descend pas dans un champ (« contrôle de contenu », w:sdt).
    """
    from docx.table import Table
    from docx.text.paragraph import Paragraph

    for enfant in element:
        if enfant.tag == f"{_W}p":
            yield Paragraph(enfant, parent)
        elif enfant.tag == f"{_W}tbl":
            yield Table(enfant, parent)
        else:
            yield from _objets_docx(enfant, parent)


def _est_d_un_sommaire(paragraphe: Any) -> bool:
    """Vrai pour une ligne de table des matières, que les titres redisent : style « toc 1 »."""
    return paragraphe.style is not None and (paragraphe.style.name or "").lower().startswith("toc ")


def _ranger_les_courants(lu: Document, courants: list[Retrait], reglages: ReglagesLecture) -> None:
    """Met les en-têtes et les pieds de page parmi les retraits, ou en tête du texte à la demande."""
    if "entetes" in reglages.etapes_gardees:
        page = 1 if lu.pages else None
        lu.blocs[:0] = [Bloc(PARAGRAPHE, courant.texte, page=page) for courant in courants]
    else:
        lu.retraits += courants


class _Pages:
    """La page où l'on est, comptée aux sauts que le traitement de texte a notés."""

    def __init__(self) -> None:
        self.page, self.vues = 1, False

    def voir(self, element: Any) -> None:
        """Compte les sauts de page d'un élément."""
        for noeud in element.iter(f"{_W}lastRenderedPageBreak", f"{_W}br"):
            if noeud.tag.endswith("Break") or noeud.get(f"{_W}type") == "page":
                self.page, self.vues = self.page + 1, True


#: Une note : son genre, de bas de page ou de fin, qui ont chacun leur numérotation ; et son numéro.
Appel = tuple[str, str]


def _texte_docx(element: Any) -> tuple[str, list[Appel]]:
    """Le texte d'un paragraphe, insertions et zones de texte comprises, et ses appels de note."""
    morceaux: list[str] = []
    appels: list[Appel] = []
    for noeud in element.iter():
        if any(parent.tag in _REDITES for parent in noeud.iterancestors()):
            continue
        if noeud.tag == f"{_W}t":
            morceaux.append(noeud.text or "")
        elif noeud.tag == f"{_W}tab":
            morceaux.append("\t")
        elif noeud.tag in (f"{_W}br", f"{_W}cr"):
            morceaux.append("\n")
        elif noeud.tag == f"{_W}noBreakHyphen":
            morceaux.append("-")
        elif noeud.tag in (f"{_W}footnoteReference", f"{_W}endnoteReference"):
            appels.append((noeud.tag.removesuffix("Reference"), noeud.get(f"{_W}id")))
            morceaux.append(en_exposant(appels[-1][1]))
    return "".join(morceaux), appels


def _genre_docx(paragraphe: Any) -> tuple[str, int]:
    """Le genre d'un paragraphe d'après son style, ou ceux dont il hérite."""
    style = paragraphe.style
    while style is not None:
        nom = style.name or ""
        if trouve := _NIVEAU.search(nom):
            return TITRE, int(trouve[1]) or 1
        if _TITRE_PRINCIPAL.match(nom):
            return TITRE, 1
        plan = style.element.find(f".//{_W}outlineLvl")
        if plan is not None and plan.get(f"{_W}val", "9").isdecimal():
            niveau = int(plan.get(f"{_W}val"))
            if niveau < 9:
                return TITRE, niveau + 1
        if nom.lower().startswith(("list", "liste")):
            return LISTE, 0
        style = style.base_style
    if paragraphe._p.find(f"{_W}pPr/{_W}numPr") is not None:
        return LISTE, 0
    return PARAGRAPHE, 0


def _morceaux(genre: str, niveau: int, texte: str, page: int | None) -> Iterator[Bloc]:
    """Un bloc ; un paragraphe aux lignes séparées à la main en fait un par ligne."""
    parties = [" ".join(texte.split("\n"))] if genre == TITRE else texte.split("\n")
    for partie in parties:
        if aerer(partie):
            yield Bloc(genre, aerer(partie), niveau, page)


def _rangees_docx(table: Any) -> Iterator[list[str]]:
    """Les cellules d'un tableau ; celle qui en couvre plusieurs n'est dite qu'une fois."""
    for rangee in table.rows:
        vues: set[int] = set()
        cellules = []
        for cellule in rangee.cells:
            neuve = id(cellule._tc) not in vues
            vues.add(id(cellule._tc))
            cellules.append(aerer(_texte_cellule(cellule)) if neuve else "")
        yield cellules


def _texte_cellule(cellule: Any) -> str:
    return "\n".join(_texte_docx(p)[0] for p in cellule._tc.iter(f"{_W}p"))


def _notes_docx(ouvert: Any) -> dict[Appel, str]:
    """Les notes de bas de page et de fin, par leur appel."""
    return {
        (note.tag, note.get(f"{_W}id")): aerer(_texte_docx(note)[0])
        for racine in _parties_docx(ouvert, "/footnotes", "/endnotes")
        for note in racine
        if note.get(f"{_W}type") in (None, "normal")
    }


def _parties_docx(ouvert: Any, *genres: str) -> Iterator[Any]:
    """La racine de chaque partie d'un genre, que le format range à côté du corps."""
    for relation in ouvert.part.rels.values():
        if not relation.is_external and relation.reltype.endswith(genres):
            yield etree.fromstring(relation.target_part.blob, _analyseur())


def _courants_docx(ouvert: Any) -> Iterator[Retrait]:
    """Les en-têtes et les pieds de page, première page et tableaux compris, chacun une fois."""
    textes = (
        aerer(" ".join(_texte_docx(p)[0] for p in racine.iter(f"{_W}p")))
        for racine in _parties_docx(ouvert, "/header", "/footer")
    )
    for texte in dict.fromkeys(filter(None, textes)):
        yield Retrait("entetes", texte)


# ---------------------------------------------------------------- ODT


def lire_odt(chemin: Path, reglages: ReglagesLecture) -> Document:
    """Lit un ODT : titres par leur niveau de plan, listes, tableaux, notes."""
    with zipfile.ZipFile(chemin) as archive:
        contenu = etree.fromstring(archive.read("content.xml"), _analyseur())
        noms = set(archive.namelist())
        meta = archive.read("meta.xml") if "meta.xml" in noms else b""
        styles = archive.read("styles.xml") if "styles.xml" in noms else b""
    lu = Document(chemin, "odt")
    corps = contenu.find(f".//{_BUREAU}text")
    if corps is not None:
        if "sommaires" not in reglages.etapes_gardees:
            lu.retraits += _sans_les_sommaires(corps)
        lu.blocs = [bloc for bloc in _blocs_odt(corps, PARAGRAPHE) if bloc.texte]
    if styles:
        _ranger_les_courants(lu, list(_courants_odt(styles)), reglages)
    declare = etree.fromstring(meta, _analyseur()).findtext(f".//{_META}title") if meta else ""
    lu.titre = lu.plus_haut_titre() or (declare or "").strip() or lu.nom
    return lu


def _analyseur() -> etree.XMLParser:
    """Un analyseur qui n'ouvre rien d'autre et ne gonfle pas."""
    return etree.XMLParser(resolve_entities=False, no_network=True, huge_tree=False)


def _sans_les_sommaires(corps: Any) -> list[Retrait]:
    """Retire du corps ses tables des matières, que les titres redisent, et rend leurs lignes."""
    lignes = []
    for sommaire in list(corps.iter(f"{_TEXTE}table-of-content")):
        lignes += [aerer(_texte_odt(p)) for p in sommaire.iter(f"{_TEXTE}p")]
        sommaire.getparent().remove(sommaire)
    return [Retrait("sommaires", ligne) for ligne in lignes if ligne]


def _blocs_odt(element: Any, genre: str) -> Iterator[Bloc]:
    """Les blocs d'un élément, dans l'ordre."""
    for noeud in element:
        if noeud.tag == f"{_TEXTE}tracked-changes":
            continue  # ce que le suivi des modifications a supprimé
        if noeud.tag == f"{_TEXTE}h":
            niveau = int(noeud.get(f"{_TEXTE}outline-level", "1"))
            yield Bloc(TITRE, aerer(_texte_odt(noeud)), niveau)
        elif noeud.tag == f"{_TEXTE}p":
            nom = noeud.get(f"{_TEXTE}style-name", "")
            if nom in ("Title", "Titre"):
                yield Bloc(TITRE, aerer(_texte_odt(noeud)), 1)
            else:
                yield from _morceaux(genre, 0, _texte_odt(noeud), None)
            yield from _notes_odt(noeud)
        elif noeud.tag == f"{_TABLE}table":
            yield tableau(_rangees_odt(noeud))
        elif isinstance(noeud.tag, str):
            yield from _blocs_odt(noeud, LISTE if noeud.tag == f"{_TEXTE}list" else genre)


def _texte_odt(noeud: Any) -> str:
    """Le texte d'un paragraphe, sans celui de ses notes."""
    morceaux = [noeud.text or ""]
    for enfant in noeud:
        if enfant.tag == f"{_TEXTE}s":
            morceaux.append(" " * min(REPETEES_MAX, int(enfant.get(f"{_TEXTE}c", "1"))))
        elif enfant.tag == f"{_TEXTE}tab":
            morceaux.append("\t")
        elif enfant.tag == f"{_TEXTE}line-break":
            morceaux.append("\n")
        elif enfant.tag == f"{_TEXTE}note":
            morceaux.append(en_exposant(enfant.findtext(f"{_TEXTE}note-citation") or ""))
        elif isinstance(enfant.tag, str) and enfant.tag != f"{_BUREAU}annotation":
            morceaux.append(_texte_odt(enfant))
        morceaux.append(enfant.tail or "")
    return "".join(morceaux)


def _notes_odt(paragraphe: Any) -> Iterator[Bloc]:
    for note in paragraphe.iter(f"{_TEXTE}note"):
        appel = en_exposant(note.findtext(f"{_TEXTE}note-citation") or "")
        corps = note.find(f"{_TEXTE}note-body")
        if corps is not None:
            dits = [_texte_odt(p) for p in corps.iter(f"{_TEXTE}p")]
            yield Bloc(NOTE, aerer(f"{appel} {' '.join(dits)}"))


def _rangees_odt(table: Any) -> Iterator[list[str]]:
    for rangee in table.iter(f"{_TABLE}table-row"):
        cellules: list[str] = []
        for cellule in rangee:
            if cellule.tag not in (f"{_TABLE}table-cell", f"{_TABLE}covered-table-cell"):
                continue
            texte = aerer("\n".join(_texte_odt(p) for p in cellule.iter(f"{_TEXTE}p")))
            fois = int(cellule.get(f"{_TABLE}number-columns-repeated", "1"))
            cellules += [texte] * (fois if texte else min(fois, REPETEES_MAX))
        while cellules and not cellules[-1] and len(cellules) > REPETEES_MAX - 1:
            cellules.pop()
        yield cellules


def _courants_odt(styles: bytes) -> Iterator[Retrait]:
    racine = etree.fromstring(styles, _analyseur())
    for partie in racine.iter(f"{_STYLE}header", f"{_STYLE}footer"):
        texte = aerer(" ".join(_texte_odt(p) for p in partie.iter(f"{_TEXTE}p")))
        if texte:
            yield Retrait("entetes", texte)
