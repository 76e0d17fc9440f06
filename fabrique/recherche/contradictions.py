"""Deux fiches qui se contredisent : la plus récente d'abord, et l'autre montrée à côté."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

from fabrique.recherche.citations import nombres
from fabrique.recherche.mots import racines
from fabrique.recherche.passages import PHRASE, Passage

#: À partir de quelle part de racines communes deux titres parlent du même sujet, et deux phrases de
#: la même chose. Deux fiches voisines (le passeport d'un adulte, celui d'un enfant) restent dessous.
MEME_SUJET, MEME_PHRASE = 0.7, 0.7


@dataclass(frozen=True)
class Contradiction:
    """Deux passages qui disent la même chose avec d'autres nombres.

    Args:
        recent, ancien: les passages ; dans l'ordre de la recherche si aucune date ne les départage.
        dit_recent, dit_ancien: la phrase de chacun.
        datee: vrai si leurs dates disent lequel est le plus récent.
    """

    recent: Passage
    ancien: Passage
    dit_recent: str
    dit_ancien: str
    datee: bool


def contradictions(passages: Sequence[Passage]) -> list[Contradiction]:
    """Les contradictions entre des passages de fiches différentes, une par couple de passages."""
    trouvees = (_contredire(un, autre) for un, autre in combinations(passages, 2))
    return [contradiction for contradiction in trouvees if contradiction]


def _contredire(un: Passage, autre: Passage) -> Contradiction | None:
    if un.fiche == autre.fiche or _commun(un.titre, autre.titre) < MEME_SUJET:
        return None
    for dit, redit in ((a, b) for a in _phrases(un) for b in _phrases(autre)):
        chiffres, autres = _chiffres(dit), _chiffres(redit)
        if chiffres and autres and chiffres != autres and _commun(dit, redit) >= MEME_PHRASE:
            datee = bool(un.date and autre.date and un.date != autre.date)
            if datee and autre.date > un.date:
                return Contradiction(autre, un, redit, dit, datee)
            return Contradiction(un, autre, dit, redit, datee)
    return None


def _phrases(passage: Passage) -> Iterator[str]:
    return (trouvee[0].strip() for trouvee in PHRASE.finditer(passage.texte))


def _chiffres(phrase: str) -> set[str]:
    return {nombre for nombre, _ in nombres(phrase)}


def _commun(un: str, autre: str) -> float:
    """La part de racines communes, nombres à part (indice de Jaccard)."""
    a, b = (set(racines(_sans_nombres(texte))) for texte in (un, autre))
    return len(a & b) / len(a | b) if a | b else 0.0


def _sans_nombres(texte: str) -> str:
    for _, (debut, fin) in reversed(nombres(texte)):
        texte = f"{texte[:debut]} {texte[fin:]}"
    return texte
