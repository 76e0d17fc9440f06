"""Mesurer un style : le français imprimé du XVIIᵉ siècle se voit à ses lettres et à ses graphies."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

#: Graphies relevées dans nos pastiches et absentes du français d'aujourd'hui, ſ ramené à s. Une
#: liste, et non une règle : un petit modèle invente aussi des mots (« astoit »), qui n'ont jamais
#: été d'aucune époque.
LEXIQUE = frozenset(
    (Path(__file__).parent / "graphies_xvii.txt").read_text(encoding="utf-8").split()
)


@dataclass(frozen=True)
class Style:
    """Le style d'un ensemble de réponses.

    Args:
        part_s_long: part de ſ parmi les s placés devant une lettre (de 0 à 1).
        avec_s_long: part des réponses qui portent au moins un ſ.
        graphies: nombre de graphies d'époque différentes dans chaque réponse.
        reussies: part des réponses qui ont un ſ et au moins deux graphies d'époque.
    """

    part_s_long: float
    avec_s_long: float
    graphies: list[int]
    reussies: float


def graphies_d_epoque(texte: str) -> frozenset[str]:
    """Les graphies d'époque d'un texte, ſ ramené à s : « estoit », « luy », « mesme »…"""
    mots = re.findall(r"[a-zà-ÿœæ]+(?:-[a-zà-ÿœæ]+)*", texte.casefold().replace("ſ", "s"))
    return LEXIQUE.intersection(mots)


def mesurer_style(textes: list[str]) -> Style:
    """Mesure le style du XVIIᵉ siècle sur des réponses."""
    longs = sum(texte.count("ſ") for texte in textes)
    ronds = sum(len(re.findall(r"s(?=[a-zà-ÿœæ])", texte)) for texte in textes)
    graphies = [len(graphies_d_epoque(texte)) for texte in textes]
    reussies = [
        "ſ" in texte and compte >= 2 for texte, compte in zip(textes, graphies, strict=True)
    ]
    return Style(
        part_s_long=longs / max(1, longs + ronds),
        avec_s_long=sum("ſ" in texte for texte in textes) / len(textes),
        graphies=graphies,
        reussies=sum(reussies) / len(textes),
    )
