"""Les titres courants et les numéros de page : ce qui revient en haut ou en bas des pages."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import islice

from fabrique.corpus.documents.blocs import PageLue, Retrait
from fabrique.corpus.documents.mots_pdf import Trait

#: La part de la page, en haut et en bas, où un titre courant peut être, et ses rangées, au plus.
BANDE, RANGEES = 0.16, 4
#: La même, pour la toute première ou la toute dernière rangée : une grande marge l'éloigne du bord.
BANDE_DU_BORD = 0.3
#: Combien de fois, au moins, et l'écart de hauteur toléré d'une page à l'autre, en points.
FOIS, ECART = 3, 4.0
#: Les nombres d'une ligne où chercher celui de la page, au plus.
NOMBRES_MAX = 12
_NOMBRE = re.compile(r"\d+")
_ROMAIN = re.compile(r"[ivxlc]+", re.IGNORECASE)


def sans_les_courants(
    pages: Sequence[tuple[PageLue, list[Trait]]],
) -> tuple[list[list[Trait]], list[Retrait]]:
    """Les lignes de chaque page sans les titres courants ni les numéros, et ce qu'on a ôté.

    Une ligne s'en va si elle se répète à la même hauteur sur plusieurs pages, telle quelle ou au
    numéro de page près ; une ligne du corps qui ne paraît qu'une fois reste toujours.
    """
    revenues = _revenues(pages)
    gardees, retraits = [], []
    for page, traits in pages:
        otes = {id(t) for t, cle in _candidats(page, traits) if cle in revenues}
        if len(otes) == len(traits):
            otes = set()  # ce qui revient est alors tout ce que la page dit
        gardees.append([t for t in traits if id(t) not in otes])
        retraits += [Retrait("entetes", t.texte, page.numero) for t in traits if id(t) in otes]
    return gardees, retraits


Cle = tuple[str, int, str]


def _revenues(pages: Sequence[tuple[PageLue, list[Trait]]]) -> set[Cle]:
    """Les clés présentes sur assez de pages."""
    vues: dict[Cle, set[int]] = defaultdict(set)
    for page, traits in pages:
        for _, cle in _candidats(page, traits):
            vues[cle].add(page.numero)
    return {
        cle
        for cle, ou in vues.items()
        if len(ou) >= FOIS or (len(ou) >= 2 and 2 * len(ou) >= len(pages))
    }


def _candidats(page: PageLue, traits: Sequence[Trait]) -> Iterator[tuple[Trait, Cle]]:
    """Les lignes des bords de la page, chacune avec tout ce qui la ferait reconnaître ailleurs."""
    par_hauteur = sorted((t for t in traits if not t.tient_un_tableau), key=lambda t: t.haut)
    for bord, lignes in (("haut", par_hauteur), ("bas", par_hauteur[::-1])):
        for rang, trait in _bord(lignes):
            place = trait.haut if bord == "haut" else page.hauteur - trait.bas
            if place + trait.hauteur >= (BANDE if rang else BANDE_DU_BORD) * page.hauteur:
                continue
            for forme in _formes(trait.texte, page.numero):
                for cran in (0, 1):  # deux grilles décalées : 71,9 et 72,1 ne se séparent pas
                    yield trait, (bord, 2 * round(place / ECART + cran / 2) + cran, forme)


def _bord(traits: list[Trait]) -> Iterator[tuple[int, Trait]]:
    """Les lignes des premières rangées, chacune avec le rang de la sienne, depuis 0."""
    rangees, derniere = -1, None
    for trait in traits:
        if derniere is None or abs(trait.haut - derniere) > 0.5 * trait.hauteur:
            rangees, derniere = rangees + 1, trait.haut
        if rangees >= RANGEES:
            return
        yield rangees, trait


def _formes(texte: str, page: int) -> Iterator[str]:
    """Le texte lui-même ; et sans chacun de ses nombres, qui suit peut-être celui de la page."""
    plat = " ".join(texte.lower().split())
    yield plat
    for place, nombre in enumerate(islice(_NOMBRE.finditer(plat), NOMBRES_MAX)):
        ecart = int(nombre[0][:9]) - page
        yield f"{plat[: nombre.start()]}<{place} : {ecart}>{plat[nombre.end() :]}"
    if _ROMAIN.fullmatch(plat):
        yield "<chiffres romains>"


#: Des points de conduite, puis un numéro de page : une ligne de sommaire.
_SOMMAIRE = re.compile(r"(?:\s?[.…]){5,}\s*(?:\d{1,4}|[ivxlc]{1,6})\s*$")


def sans_les_sommaires(
    pages: Sequence[tuple[PageLue, list[Trait]]],
) -> tuple[list[tuple[PageLue, list[Trait]]], list[Retrait]]:
    """Les lignes de chaque page sans celles des sommaires, que les titres redisent, et celles-ci."""
    retraits = [
        Retrait("sommaires", trait.texte, page.numero)
        for page, traits in pages
        for trait in traits
        if _SOMMAIRE.search(trait.texte)
    ]
    gardees = [(p, [t for t in traits if not _SOMMAIRE.search(t.texte)]) for p, traits in pages]
    return gardees, retraits
