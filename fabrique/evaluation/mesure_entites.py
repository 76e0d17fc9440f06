"""Mesurer un repérage d'entités : une entité est juste si son genre et ses deux bornes le sont."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from fabrique.corpus.entites import GENRES, Entite, Phrase
from fabrique.evaluation.incertitude import intervalle, releve
from fabrique.socle.colonnes import en_colonnes
from fabrique.socle.nombres import en_francais

#: La ligne qui réunit tous les genres.
ENSEMBLE = "ensemble"


@dataclass(frozen=True)
class BilanEntites:
    """Ce qu'un repérage a trouvé d'un genre.

    Args:
        genre: l'un de ``GENRES``, ou « ensemble ».
        attendues, trouvees, justes: des comptes, sur toutes les phrases.
        couvertes: parmi les attendues, celles qu'une seule entité trouvée du même genre contient en
            entier : masquées, elles ne se liraient plus.
        ic95: l'intervalle à 95 % du F1, en retirant les phrases avec remise.
    """

    genre: str
    attendues: int
    trouvees: int
    justes: int
    couvertes: int
    ic95: tuple[float, float]

    @property
    def precision(self) -> float:
        """La part de ce qu'il trouve qui est juste ; 0 s'il ne trouve rien."""
        return self.justes / self.trouvees if self.trouvees else 0.0

    @property
    def rappel(self) -> float:
        """La part de ce qu'il fallait trouver qui l'est ; 0 s'il n'y avait rien."""
        return self.justes / self.attendues if self.attendues else 0.0

    @property
    def f1(self) -> float:
        """La moyenne harmonique des deux : 2 × justes / (attendues + trouvées)."""
        tout = self.attendues + self.trouvees
        return 2 * self.justes / tout if tout else 0.0


def mesurer_entites(
    phrases: Sequence[Phrase], trouver: Callable[[str], Sequence[Entite]], graine: int = 0
) -> list[BilanEntites]:
    """Le bilan d'un repérage, genre par genre, puis tous ensemble.

    Une entité n'est juste que si son genre et ses deux bornes le sont, au signe près.

    Args:
        phrases: des phrases qu'il n'a pas apprises, deux au moins.
        trouver: rend les entités d'un texte.

    Source : Tjong Kim Sang et De Meulder, 2003 (CoNLL-2003, F1 sur les entités exactes).
    """
    paires = [(phrase.entites, trouver(phrase.texte)) for phrase in phrases]
    return [_bilan(genre, paires, graine) for genre in (*GENRES, ENSEMBLE)]


def _bilan(
    genre: str, paires: Sequence[tuple[Sequence[Entite], Sequence[Entite]]], graine: int
) -> BilanEntites:
    siennes = [tuple(_du_genre(entites, genre) for entites in paire) for paire in paires]
    justes = [len(attendues & trouvees) for attendues, trouvees in siennes]
    couvertes = sum(
        any(_contient(trouvee, attendue) for trouvee in trouvees)
        for attendues, trouvees in siennes
        for attendue in attendues
    )
    f1 = releve(
        [
            (2 * juste, len(attendues) + len(trouvees))
            for juste, (attendues, trouvees) in zip(justes, siennes, strict=True)
        ]
    )
    return BilanEntites(
        genre=genre,
        attendues=sum(len(attendues) for attendues, _ in siennes),
        trouvees=sum(len(trouvees) for _, trouvees in siennes),
        justes=sum(justes),
        couvertes=couvertes,
        ic95=intervalle(f1, graine).bornes,
    )


def _du_genre(entites: Sequence[Entite], genre: str) -> set[Entite]:
    return {entite for entite in entites if genre in (ENSEMBLE, entite.genre)}


def _contient(trouvee: Entite, attendue: Entite) -> bool:
    return (
        trouvee.genre == attendue.genre
        and trouvee.debut <= attendue.debut
        and attendue.fin <= trouvee.fin
    )


def en_tableau(bilans: Sequence[BilanEntites]) -> str:
    """Le bilan, pour le terminal."""
    titres = ("genre", "attendues", "trouvées", "précision", "rappel", "F1", "intervalle à 95 %")
    return en_colonnes(
        titres,
        [
            (
                bilan.genre,
                str(bilan.attendues),
                str(bilan.trouvees),
                *(en_francais(v, 2) for v in (bilan.precision, bilan.rappel, bilan.f1)),
                f"[{en_francais(bilan.ic95[0], 2)} ; {en_francais(bilan.ic95[1], 2)}]",
            )
            for bilan in bilans
        ],
    )
