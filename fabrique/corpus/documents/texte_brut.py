"""Lire un fichier de texte ou de Markdown."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fabrique.corpus.codages import UTF8, codage_large, reconnaitre
from fabrique.corpus.documents.blocs import (
    LISTE,
    PARAGRAPHE,
    TITRE,
    Bloc,
    Document,
    PageLue,
    ReglagesLecture,
    Retrait,
    aerer,
    tableau,
)
from fabrique.corpus.documents.cesures import Lexique, reunir_les_lignes
from fabrique.socle.erreurs import ErreurFabrique

_PUCE = re.compile(r"\s*(?:[•●▪*–-]|\d{1,3}[.)])\s+")
_NUMERO = re.compile(
    r"(?:(?:article|chapitre|titre|section|annexe)\s+\w+|\d{1,2}(?:\.\d{1,2})*[.)]?|[IVX]{1,5}[.)])\s+\S",
    re.IGNORECASE,
)
_SOULIGNE = re.compile(r"\s*([=\-_~*])\1{2,}\s*")
#: Une ligne plus courte que tant de la plus longue finit son paragraphe.
COURTE = 0.75


def decoder(octets: bytes, chemin: Path) -> str:
    """Le texte d'un fichier, son codage reconnu.

    Raises:
        ErreurFabrique: ce n'est pas du texte, ou son codage échappe.
    """
    codage = codage_large(octets[:4096])
    if codage is None and b"\0" in octets[:4096]:
        raise ErreurFabrique(
            "ce n’est pas un fichier de texte", "Vérifiez que c’est le bon fichier", chemin
        )
    codage = codage or reconnaitre(io.BytesIO(octets))
    if codage is None:
        raise ErreurFabrique(
            "le codage du texte ne se reconnaît pas", "Réenregistrez-le en UTF-8", chemin
        )
    return octets.decode(codage.python if codage != UTF8 else "utf-8-sig", "replace")


# ---------------------------------------------------------------- texte


def lire_txt(chemin: Path, reglages: ReglagesLecture) -> Document:
    """Lit un texte : ses paragraphes sont séparés par des lignes vides, ses pages par des sauts."""
    pages = decoder(chemin.read_bytes(), chemin).replace("\r\n", "\n").split("\f")
    if len(pages) > 1 and not pages[-1].strip():
        pages.pop()
    lu = Document(chemin, "txt")
    lexique = None
    if "cesures" not in reglages.etapes_gardees:
        lexique = Lexique.de(ligne for page in pages for ligne in page.splitlines())
    for numero, page in enumerate(pages, 1):
        rang = numero if len(pages) > 1 else None
        for lignes in _paragraphes(page):
            lu.blocs += _blocs_txt(lignes, rang, lexique, lu.retraits)
    lu.pages = [PageLue(n, 0, 0) for n in range(1, len(pages) + 1)] if len(pages) > 1 else []
    lu.titre = next((bloc.texte for bloc in lu.blocs if bloc.genre == TITRE), lu.nom)
    return lu


def _paragraphes(page: str) -> Iterator[list[str]]:
    """Les lignes entre deux lignes vides."""
    lignes: list[str] = []
    for ligne in [*page.splitlines(), ""]:
        if ligne.strip():
            lignes.append(ligne)
        elif lignes:
            yield lignes
            lignes = []


def _blocs_txt(
    lignes: list[str],
    page: int | None,
    lexique: Lexique | None,
    retraits: list[Retrait],
) -> Iterator[Bloc]:
    if len(lignes) >= 2 and _SOULIGNE.fullmatch(lignes[1]):
        yield Bloc(TITRE, aerer(lignes[0]), 1 if "=" in lignes[1] else 2, page)
        lignes = lignes[2:]
    elif len(lignes) == 1 and _est_titre(lignes[0]):
        yield Bloc(TITRE, aerer(lignes[0]), 1 if lignes[0].isupper() else 2, page)
        return
    lignes = [ligne for ligne in lignes if not _SOULIGNE.fullmatch(ligne)]
    longueur = max(map(len, lignes), default=0)
    groupes: list[list[str]] = []
    for rang, ligne in enumerate(lignes):
        finie = rang and _finie(lignes[rang - 1], longueur)
        if not rang or _PUCE.match(ligne) or finie:
            groupes.append([ligne])
        else:
            groupes[-1].append(ligne)
    for groupe in groupes:
        texte, coupures = reunir_les_lignes(((ligne, page) for ligne in groupe), lexique)
        retraits += coupures
        puce = re.match(r"\s*[•●▪*–-]\s+", texte)
        genre = LISTE if _PUCE.match(groupe[0]) else PARAGRAPHE
        yield Bloc(genre, aerer(texte[puce.end() :] if puce else texte), 0, page)


def _finie(ligne: str, longueur: int) -> bool:
    return len(ligne) < COURTE * longueur and ligne.rstrip()[-1:] in ".!?:;»"


def _est_titre(ligne: str) -> bool:
    """Vrai pour une ligne seule, courte, en capitales ou numérotée, sans point final."""
    texte = ligne.strip()
    if len(texte) > 100 or texte[-1:] in ".,;" or sum(s.isalpha() for s in texte) < 3:
        return False
    return texte.isupper() or bool(_NUMERO.match(texte))


# ---------------------------------------------------------------- Markdown


def lire_md(chemin: Path, reglages: ReglagesLecture) -> Document:
    """Lit du Markdown : titres, paragraphes, listes, tableaux (CommonMark et tableaux de GitHub)."""
    from markdown_it import MarkdownIt

    jetons = MarkdownIt("commonmark").enable("table").parse(_corps(chemin))
    lu = Document(chemin, "md", blocs=[b for b in _blocs_md(jetons) if b.texte])
    lu.titre = lu.plus_haut_titre() or lu.nom
    return lu


def _corps(chemin: Path) -> str:
    """Le texte sans les métadonnées qui le précèdent parfois, entre deux lignes « --- »."""
    texte = decoder(chemin.read_bytes(), chemin)
    return re.sub(r"\A---\n.*?\n---\n", "", texte, flags=re.DOTALL)


def _blocs_md(jetons: list[Any]) -> Iterator[Bloc]:
    titre, listes = 0, 0
    rangees: list[list[str]] | None = None
    for jeton in jetons:
        if jeton.type == "heading_open":
            titre = int(jeton.tag[1])
        elif jeton.type in ("bullet_list_open", "ordered_list_open"):
            listes += 1
        elif jeton.type in ("bullet_list_close", "ordered_list_close"):
            listes -= 1
        elif jeton.type == "table_open":
            rangees = []
        elif jeton.type == "tr_open" and rangees is not None:
            rangees.append([])
        elif jeton.type == "table_close" and rangees is not None:
            yield tableau(rangees)
            rangees = None
        elif jeton.type in ("fence", "code_block"):
            yield Bloc(PARAGRAPHE, jeton.content.strip())
        elif jeton.type == "inline":
            texte = aerer("".join(map(_texte_md, jeton.children or [])))
            if rangees is not None:
                rangees[-1].append(texte)
            else:
                genre = TITRE if titre else LISTE if listes else PARAGRAPHE
                yield Bloc(genre, texte, titre)
                titre = 0


def _texte_md(jeton: Any) -> str:
    if jeton.type in ("softbreak", "hardbreak"):
        return " "
    return jeton.content if jeton.type in ("text", "code_inline") else ""
