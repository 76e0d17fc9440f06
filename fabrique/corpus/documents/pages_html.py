"""Lire une page HTML : son contenu principal, sans les menus, les bandeaux ni les pieds de page."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lxml import etree, html

from fabrique.corpus.documents.blocs import (
    LISTE,
    PARAGRAPHE,
    TITRE,
    Bloc,
    Document,
    ReglagesLecture,
    Retrait,
    aerer,
    tableau,
)
from fabrique.corpus.documents.texte_brut import decoder

#: Ce qui n'est jamais du texte à lire.
_MUETS = [
    "script",
    "style",
    "noscript",
    "template",
    "svg",
    "canvas",
    "iframe",
    "object",
    "head",
    "button",
    "select",
    "textarea",
]
#: Ce qui entoure le contenu d'une page, et revient sur toutes.
_AUTOUR = ["nav", "header", "footer", "aside", "form", "dialog", "menu"]
_ROLES = [
    "navigation",
    "banner",
    "contentinfo",
    "search",
    "complementary",
    "menu",
    "dialog",
    "alert",
]
#: Où est le contenu principal, du plus sûr au moins sûr.
_PRINCIPAL = ("//main", "//*[@role='main']", "//article", "//*[@id='content' or @id='contenu']")
_TITRES = {f"h{niveau}": niveau for niveau in range(1, 7)}
_DE_BLOC = {
    *_TITRES,
    *[
        "p",
        "li",
        "dt",
        "dd",
        "table",
        "ul",
        "ol",
        "dl",
        "div",
        "section",
        "article",
        "main",
        "blockquote",
        "pre",
        "figure",
        "figcaption",
        "hr",
        "body",
        "header",
        "footer",
        "nav",
        "aside",
        "details",
        "summary",
        "address",
        "fieldset",
        "tr",
        "td",
        "th",
        "thead",
        "tbody",
    ],
}


def lire_html(chemin: Path, reglages: ReglagesLecture) -> Document:
    """Lit une page HTML ; ce qui est mis de côté est dans les retraits."""
    texte = decoder(chemin.read_bytes(), chemin)
    lu = Document(chemin, "html")
    racine = html.document_fromstring(_sans_declaration(texte) or "<p></p>")
    titre = aerer(racine.findtext(".//title") or "")
    for muet in list(racine.iter(*_MUETS, etree.Comment)):
        muet.drop_tree()
    principal = _principal(racine)
    if "menus" not in reglages.etapes_gardees:
        lu.retraits = list(_sans_autour(racine, principal))
    else:
        principal = racine
    lu.blocs = [bloc for bloc in _blocs(principal) if bloc.texte]
    premiers = (bloc.texte for bloc in lu.blocs if bloc.genre == TITRE and bloc.niveau == 1)
    lu.titre = next(premiers, titre) or lu.nom
    return lu


def _sans_declaration(texte: str) -> str:
    """Le texte sans sa déclaration XML : lxml refuse un codage déclaré dans un texte déjà décodé."""
    texte = texte.lstrip("\ufeff \t\r\n")
    return texte.split("?>", 1)[-1] if texte.startswith("<?xml") else texte


def _principal(racine: Any) -> Any:
    """L'élément du contenu principal : celui que la page désigne, s'il a l'essentiel du texte."""
    for chemin in _PRINCIPAL:
        trouves = racine.xpath(chemin)
        if trouves:
            plus_grand = max(trouves, key=lambda e: len(e.text_content()))
            if len(plus_grand.text_content().strip()) > 100:
                return plus_grand
    return racine


def _sans_autour(racine: Any, principal: Any) -> Iterator[Retrait]:
    """Retire ce qui entoure le contenu, et le dit."""
    roles = " or ".join(f"@role='{role}'" for role in _ROLES)
    autour = racine.xpath(f"//{'|//'.join(_AUTOUR)}|//*[{roles}]|//*[@hidden]")
    for element in autour:
        if any(parent is element for parent in (principal, *principal.iterancestors())):
            continue
        if element.tag == "header" and element.getparent().tag in ("article", "main", "section"):
            continue  # l'en-tête d'un article porte son titre
        texte = aerer(element.text_content())
        if texte and element.getparent() is not None:
            yield Retrait("menus", texte)
        if element.getparent() is not None:
            element.drop_tree()
    if principal is not racine:
        hors = [e for e in _feuilles(racine) if not any(p is principal for p in e.iterancestors())]
        for element in hors:
            if (texte := aerer(element.text_content())) and element is not principal:
                yield Retrait("menus", texte)


def _feuilles(racine: Any) -> Iterator[Any]:
    """Les éléments de bloc qui n'en contiennent pas d'autre."""
    for element in racine.iter():
        if element.tag in _DE_BLOC and not any(e.tag in _DE_BLOC for e in element):
            yield element


def _blocs(element: Any, liste: bool = False) -> Iterator[Bloc]:
    """Les blocs d'un élément, dans l'ordre du document."""
    courant: list[str] = [element.text or ""]

    def vider() -> Iterator[Bloc]:
        texte = aerer("".join(courant))
        courant.clear()
        if texte:
            yield Bloc(LISTE if liste else PARAGRAPHE, texte)

    for enfant in element:
        if not isinstance(enfant.tag, str):
            courant.append(enfant.tail or "")
            continue
        if enfant.tag == "br":
            yield from vider()
        elif enfant.tag in _DE_BLOC or any(e.tag in _DE_BLOC for e in enfant.iter()):
            yield from vider()
            yield from _bloc(enfant, liste)
        else:
            courant.append(enfant.text_content())
        courant.append(enfant.tail or "")
    yield from vider()


def _bloc(enfant: Any, liste: bool) -> Iterator[Bloc]:
    if enfant.tag in _TITRES:
        yield Bloc(TITRE, aerer(enfant.text_content()), _TITRES[enfant.tag])
    elif enfant.tag == "table":
        yield from _table(enfant)
    else:
        yield from _blocs(enfant, liste or enfant.tag in ("li", "dd"))


def _table(table: Any) -> Iterator[Bloc]:
    """Un tableau de données ; un tableau de mise en page se lit comme du texte."""
    rangees = [
        [cellule.text_content() for cellule in rangee.iterchildren("td", "th")]
        for rangee in table.iter("tr")
        if next(rangee.iterancestors("table")) is table
    ]
    if table.find(".//table") is not None or max(map(len, rangees), default=0) < 2:
        yield from _blocs(table)
    else:
        yield tableau(rangees)
