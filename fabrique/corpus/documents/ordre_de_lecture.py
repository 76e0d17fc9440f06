"""L'ordre de lecture d'une page : repérer les gouttières, lire chaque colonne jusqu'en bas.

Une gouttière est un couloir vertical qu'aucun mot ne traverse, sur assez de rangées, avec du texte de
part et d'autre à la même hauteur. On coupe la page le long de la plus longue, puis on recommence dans
chaque morceau ; ce qui est au-dessus se lit avant, ce qui est au-dessous après.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from fabrique.corpus.documents.mots_pdf import Mot, Trait, en_lignes, ranger

#: La largeur d'une gouttière, au moins, en tailles de police.
GOUTTIERE = 0.8
#: Les rangées qu'une colonne a, au moins, et la largeur de leur texte, en tailles de police.
RANGEES_MIN, LARGEUR_MIN = 3, 5
#: Entre deux lignes d'une colonne, l'écart au-delà duquel elle est finie, en hauteurs de ligne.
ECART_MAX = 1.8

Rangee = list[Mot]


def ordonner(mots: Sequence[Mot], page: int) -> list[Trait]:
    """Les lignes d'une page dans l'ordre où on les lit."""
    if not mots:
        return []
    return _lire(ranger(mots), page, median(m.taille for m in mots))


def _lire(rangees: list[Rangee], page: int, taille: float) -> list[Trait]:
    gouttiere = _plus_longue(rangees, taille)
    if gouttiere is None:
        return en_lignes((mot for rangee in rangees for mot in rangee), page)
    dedans = [mot for rangee in rangees[gouttiere.debut : gouttiere.fin] for mot in rangee]
    gauche = [mot for mot in dedans if mot.x1 <= gouttiere.x0 + 0.1]
    droite = [mot for mot in dedans if mot.x1 > gouttiere.x0 + 0.1]
    morceaux = [
        rangees[: gouttiere.debut],
        ranger(gauche),
        ranger(droite),
        rangees[gouttiere.fin :],
    ]
    return [trait for morceau in morceaux if morceau for trait in _lire(morceau, page, taille)]


@dataclass
class Gouttiere:
    """Un couloir libre de x0 à x1, de la rangée ``debut`` à la rangée ``fin`` non comprise."""

    x0: float
    x1: float
    debut: int
    fin: int


def _plus_longue(rangees: list[Rangee], taille: float) -> Gouttiere | None:
    """La gouttière qui sépare le plus de rangées ; None s'il n'y a qu'une colonne."""
    if len(rangees) < RANGEES_MIN:
        return None
    ajustees = [_ajuster(g, rangees) for g in _couloirs(rangees, GOUTTIERE * taille)]
    bonnes = [g for g in ajustees if _separe_du_texte(g, rangees, taille)]
    return max(bonnes, key=lambda g: g.fin - g.debut, default=None)


def _couloirs(rangees: list[Rangee], largeur: float) -> list[Gouttiere]:
    """Tous les couloirs d'au moins cette largeur, chacun aussi long que possible."""
    ouverts: list[Gouttiere] = []
    finis: list[Gouttiere] = []
    for rang, rangee in enumerate(rangees):
        libres = _libres(rangee, largeur)
        suivants: list[Gouttiere] = []
        for couloir in ouverts:
            suite = _traverser(couloir, libres, largeur, rang)
            (suivants if suite else finis).append(suite or couloir)
        connus = {(round(c.x0), round(c.x1)) for c in suivants}
        suivants += [
            Gouttiere(x0, x1, rang, rang + 1)
            for x0, x1 in libres[1:-1]
            if (round(x0), round(x1)) not in connus
        ]
        ouverts = suivants
    return [c for c in finis + ouverts if c.fin - c.debut >= RANGEES_MIN]


def _libres(rangee: Rangee, largeur: float) -> list[tuple[float, float]]:
    """Les intervalles sans mot d'une rangée ; le premier et le dernier sont les marges."""
    libres, bord = [(-math.inf, rangee[0].x0)], rangee[0].x1
    for mot in rangee[1:]:
        if mot.x0 - bord >= largeur:
            libres.append((bord, mot.x0))
        bord = max(bord, mot.x1)
    return [*libres, (bord, math.inf)]


def _traverser(
    couloir: Gouttiere, libres: list[tuple[float, float]], largeur: float, rang: int
) -> Gouttiere | None:
    """Le même couloir, une rangée plus bas ; None si un mot le barre."""
    communs = [(max(couloir.x0, x0), min(couloir.x1, x1)) for x0, x1 in libres]
    x0, x1 = max(communs, key=lambda commun: commun[1] - commun[0])
    return Gouttiere(x0, x1, couloir.debut, rang + 1) if x1 - x0 >= largeur else None


def _ajuster(gouttiere: Gouttiere, rangees: list[Rangee]) -> Gouttiere:
    """Le couloir, prolongé vers le haut, sans les rangées d'un seul côté loin des autres."""
    debut, fin = gouttiere.debut, gouttiere.fin
    while debut and not any(_barre(mot, gouttiere) for mot in rangees[debut - 1]):
        debut -= 1  # un couloir ne commence qu'à une rangée de deux côtés
    cotes = {rang: _cotes(rangees[rang], gouttiere) for rang in range(debut, fin)}
    par_cote = {cote: [r for r in cotes if cote in cotes[r]] for cote in (0, 1)}
    while fin - debut > 1 and (cote := _seul(cotes[debut])) is not None:
        suite = next((r for r in par_cote[cote] if r > debut), None)
        if suite and _proches(cotes[debut][cote], cotes[suite][cote]):
            break
        debut += 1
    while fin - debut > 1 and (cote := _seul(cotes[fin - 1])) is not None:
        avant = next((r for r in reversed(par_cote[cote]) if r < fin - 1), None)
        if avant and _proches(cotes[avant][cote], cotes[fin - 1][cote]):
            break
        fin -= 1
    return Gouttiere(gouttiere.x0, gouttiere.x1, debut, fin)


def _barre(mot: Mot, gouttiere: Gouttiere) -> bool:
    return mot.x0 < gouttiere.x1 - 0.1 and mot.x1 > gouttiere.x0 + 0.1


def _seul(cotes: dict[int, list[Mot]]) -> int | None:
    """Le seul côté d'une rangée ; None si elle en a deux."""
    return next(iter(cotes)) if len(cotes) == 1 else None


def _proches(haut: list[Mot], bas: list[Mot]) -> bool:
    """Vrai si deux rangées se suivent dans une colonne."""
    hauteur = max(m.bas - m.haut for m in (*haut, *bas))
    return min(m.haut for m in bas) - max(m.bas for m in haut) <= ECART_MAX * hauteur


def _cotes(rangee: Rangee, gouttiere: Gouttiere) -> dict[int, list[Mot]]:
    """Les mots d'une rangée à gauche (0) et à droite (1) ; un côté vide n'y est pas."""
    cotes: dict[int, list[Mot]] = {}
    for mot in rangee:
        cotes.setdefault(int(mot.x1 > gouttiere.x0 + 0.1), []).append(mot)
    return cotes


def _separe_du_texte(gouttiere: Gouttiere, rangees: list[Rangee], taille: float) -> bool:
    """Vrai si deux colonnes de texte sont face à face : ni des puces, ni des numéros."""
    etendues: list[tuple[float, float]] = []
    for cote in (0, 1):
        mots = [
            _cotes(rangee, gouttiere).get(cote, [])
            for rangee in rangees[gouttiere.debut : gouttiere.fin]
        ]
        mots = [rangee for rangee in mots if rangee]
        if len(mots) < RANGEES_MIN:
            return False
        if median(rangee[-1].x1 - rangee[0].x0 for rangee in mots) < LARGEUR_MIN * taille:
            return False
        if median(map(len, mots)) < 2:
            return False
        etendues.append((min(m.haut for m in mots[0]), max(m.bas for m in mots[-1])))
    commun = min(bas for _, bas in etendues) - max(haut for haut, _ in etendues)
    return commun >= (RANGEES_MIN - 0.5) * taille
