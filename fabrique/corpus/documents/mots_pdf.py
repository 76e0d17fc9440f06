"""Les mots d'une page et leurs lignes, d'où qu'ils viennent : d'un PDF ou d'une reconnaissance."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median

from fabrique.corpus.documents.blocs import Lieu, en_exposant

#: La part de lettres grasses d'une ligne grasse.
GRASSES = 0.85
#: Ce qui commence le repère d'un tableau : un signe qu'aucun texte ne porte.
REPERE = "\x00"
#: Les accents qu'une vieille police imprime à côté de leur lettre, et ceux qui se composent avec elle.
_ACCENTS = dict(zip("´`ˆ¨¸", "\u0301\u0300\u0302\u0308\u0327", strict=True))
_DEVANT, _DERRIERE = re.compile(r"([´`ˆ¨¸])([a-zA-Zı])"), re.compile(r"([a-zA-Z])([`ˆ¨])")


def accentuer(texte: str) -> str:
    """Un texte dont les accents reprennent leur lettre : « mat´eriel » redevient « matériel ».

    Source : les polices OT1 de TeX, qui n'ont pas de lettre accentuée.
    """
    if not _ACCENTS.keys() & set(texte):
        return texte
    devant = _DEVANT.sub(lambda trouve: _composer(trouve[0], trouve[2], trouve[1]), texte)
    return _DERRIERE.sub(lambda trouve: _composer(trouve[0], trouve[1], trouve[2]), devant)


def _composer(ecrit: str, lettre: str, accent: str) -> str:
    """La lettre accentuée, ou ce qui était écrit si elle n'existe pas."""
    composee = unicodedata.normalize("NFC", lettre.replace("ı", "i") + _ACCENTS[accent])
    return composee if len(composee) == 1 else ecrit


@dataclass(frozen=True, slots=True)
class Mot:
    """Un mot et sa boîte, en points ; ``taille`` est celle de sa police, ``gras`` sa graisse."""

    texte: str
    x0: float
    haut: float
    x1: float
    bas: float
    taille: float
    gras: bool = False

    @property
    def milieu(self) -> float:
        return (self.haut + self.bas) / 2


@dataclass(slots=True)
class Trait:
    """Une ligne de texte : ce qui se lit d'un trait, dans sa colonne.

    Args:
        page: sa page, depuis 1.
        gauche, droite: les bords de sa colonne, en points.
        taille: la taille de la plupart de ses lettres, en points.
        gras: vrai si presque toutes ses lettres sont grasses : un mot gras en tête de phrase n'en fait
            pas un titre.
    """

    texte: str
    page: int
    x0: float
    haut: float
    x1: float
    bas: float
    taille: float
    gras: bool
    gauche: float = 0.0
    droite: float = 0.0

    @property
    def tient_un_tableau(self) -> bool:
        return self.texte.startswith(REPERE)

    @property
    def lieu(self) -> Lieu:
        return Lieu(self.page, self.x0, self.haut, self.x1, self.bas)

    @property
    def hauteur(self) -> float:
        return self.bas - self.haut


def en_lignes(mots: Iterable[Mot], page: int) -> list[Trait]:
    """Les lignes d'une colonne, de haut en bas ; leurs bords sont ceux de la colonne."""
    mots = list(mots)
    if not mots:
        return []
    gauche, droite = min(m.x0 for m in mots), max(m.x1 for m in mots)
    traits = [_trait(rangee, page) for rangee in ranger(mots) if rangee[0].texte != REPERE]
    for trait in traits:
        trait.gauche, trait.droite = gauche, droite
    return traits


def ranger(mots: Sequence[Mot]) -> list[list[Mot]]:
    """Les mots par rangées de même hauteur, de haut en bas, chacune de gauche à droite.

    Un mot est de la rangée dont il recouvre la moitié de la hauteur : un exposant en est aussi.
    """
    rangees: list[list[Mot]] = []
    for mot in sorted(mots, key=lambda m: (m.milieu, m.x0)):
        for rangee in reversed(rangees[-3:]):
            if _meme_rangee(rangee, mot):
                rangee.append(mot)
                break
        else:
            rangees.append([mot])
    for rangee in rangees:
        rangee.sort(key=lambda m: m.x0)
    return sorted(rangees, key=lambda r: min(m.haut for m in r))


def _meme_rangee(rangee: list[Mot], mot: Mot) -> bool:
    if mot.texte.startswith(REPERE) or rangee[0].texte.startswith(REPERE):
        return False
    grand = max(rangee, key=lambda m: m.taille)
    commun = min(grand.bas, mot.bas) - max(grand.haut, mot.haut)
    return commun > 0.5 * min(grand.bas - grand.haut, mot.bas - mot.haut)


def _trait(rangee: list[Mot], page: int) -> Trait:
    """Une rangée de mots en une ligne."""
    poids: Counter[float] = Counter()
    for mot in rangee:
        poids[round(mot.taille * 2) / 2] += len(mot.texte)
    taille = poids.most_common(1)[0][0]
    lettres = sum(len(mot.texte) for mot in rangee)
    grasses = sum(len(mot.texte) for mot in rangee if mot.gras)
    return Trait(
        _texte(rangee, taille),
        page,
        rangee[0].x0,
        min(m.haut for m in rangee),
        max(m.x1 for m in rangee),
        max(m.bas for m in rangee),
        taille,
        grasses > GRASSES * lettres,
    )


def _texte(rangee: list[Mot], taille: float) -> str:
    """Le texte d'une rangée : une espace là où il y a un blanc, les appels de note en exposant."""
    base = median(m.bas for m in rangee)
    morceaux: list[str] = []
    for rang, mot in enumerate(rangee):
        texte = mot.texte
        if mot.taille < 0.8 * taille and mot.bas < base - 0.1 * taille and texte.isdecimal():
            texte = en_exposant(texte)
        if rang and mot.x0 - rangee[rang - 1].x1 > 0.12 * min(mot.taille, rangee[rang - 1].taille):
            morceaux.append(" ")
        morceaux.append(texte)
    return accentuer("".join(morceaux))
