"""L'incertitude : ce que d'autres questions, tirées de même, auraient pu donner.

Un écart n'est cru que s'il résiste à trois doutes : d'autres questions (intervalle par
rééchantillonnage), le hasard des réponses (test par permutation), le nombre de mesures
regardées (correction de Holm).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import norm, permutation_test

from fabrique.socle.reechantillonnage import Intervalle, reechantillonner

#: Permutations d'un test, et combien à la fois en mémoire.
PERMUTATIONS, LOT = 4999, 500
#: En dessous, un écart n'est pas mis sur le compte du hasard.
SEUIL = 0.05


@dataclass(frozen=True)
class Releve:
    """Une mesure, question par question : deux comptes, dont la valeur est le rapport des sommes.

    Une part de réponses justes a des dénominateurs à 1 ; une perplexité rapporte des nats à des
    jetons, puis prend l'exponentielle.
    """

    numerateurs: np.ndarray
    denominateurs: np.ndarray
    exponentielle: bool = False

    def valeur(self, rangs: np.ndarray | slice = slice(None)) -> np.ndarray:
        """La valeur sur les questions de ces rangs (forme : … × questions) ; 0 si rien à compter."""
        hauts = np.asarray(self.numerateurs[rangs].sum(axis=-1))
        bas = np.asarray(self.denominateurs[rangs].sum(axis=-1))
        rapport = np.divide(hauts, bas, out=np.zeros(hauts.shape), where=bas > 0)
        return np.exp(rapport) if self.exponentielle else rapport


def releve(comptes: Sequence[tuple[float, float]]) -> Releve:
    """Le relevé d'une suite de comptes (« 3 sur 4 »), un par question."""
    hauts, bas = np.array(comptes, float).reshape(-1, 2).T
    return Releve(hauts, bas)


def moyenne(valeurs: Iterable[float]) -> Releve:
    """Le relevé dont la valeur est une simple moyenne."""
    return releve([(valeur, 1) for valeur in valeurs])


def intervalle(mesure: Releve, graine: int = 0) -> Intervalle:
    """L'intervalle d'une valeur, en retirant les questions avec remise."""
    return reechantillonner(mesure.valeur, len(mesure.numerateurs), graine=graine)


def intervalle_de_l_ecart(avant: Releve, apres: Releve, graine: int = 0) -> Intervalle:
    """L'intervalle de ``apres - avant`` : les deux modèles répondent aux mêmes questions retirées."""
    ecart = lambda rangs: apres.valeur(rangs) - avant.valeur(rangs)  # noqa: E731
    return reechantillonner(ecart, len(avant.numerateurs), graine=graine)


def intervalle_du_gain(avant: Releve, apres: Releve, graine: int = 0) -> Intervalle:
    """L'intervalle du gain relatif, ``apres / avant - 1`` ; infini si la base peut être nulle."""

    def gain(rangs: np.ndarray) -> np.ndarray:
        base = avant.valeur(rangs)
        rapport = np.divide(
            apres.valeur(rangs), base, out=np.full(base.shape, np.inf), where=base > 0
        )
        return rapport - 1

    with np.errstate(invalid="ignore"):
        return reechantillonner(gain, len(avant.numerateurs), graine=graine)


def p_appariee(avant: Releve, apres: Releve, graine: int = 0) -> float:
    """La probabilité d'un écart au moins aussi grand si les deux modèles se valaient.

    S'ils se valent, échanger leurs réponses à une question ne change rien : on les échange au
    hasard des milliers de fois (ou de toutes les façons, quand il y en a peu) et l'on regarde
    combien de fois l'écart observé est atteint, dans un sens ou dans l'autre.

    Source : Fisher, 1935 ; calcul de scipy (``permutation_type="samples"``).
    """
    questions = len(avant.numerateurs)
    tous = Releve(
        np.concatenate([avant.numerateurs, apres.numerateurs]),
        np.concatenate([avant.denominateurs, apres.denominateurs]),
        avant.exponentielle,
    )
    resultat = permutation_test(
        (np.arange(questions), np.arange(questions, 2 * questions)),
        lambda uns, autres, axis=-1: tous.valeur(autres) - tous.valeur(uns),
        permutation_type="samples",
        vectorized=True,
        n_resamples=PERMUTATIONS,
        batch=LOT,
        rng=np.random.default_rng(graine),
    )
    return float(resultat.pvalue)


def holm(p: Sequence[float]) -> list[float]:
    """Les p corrigées du nombre de mesures : à vingt mesures, une « trouvaille » est due au hasard.

    La plus petite est multipliée par le nombre de mesures, la suivante par un de moins… sans
    jamais redescendre ni dépasser 1.

    Source : Holm, 1979.
    """
    corrigees, plancher = [0.0] * len(p), 0.0
    for deja, rang in enumerate(np.argsort(p, kind="stable")):
        plancher = max(plancher, min(1.0, (len(p) - deja) * float(p[rang])))
        corrigees[rang] = plancher
    return corrigees


def plus_petite_difference(ecart_type: float, questions: int, puissance: float = 0.8) -> float:
    """La plus petite différence qu'autant de questions montreraient (huit fois sur dix).

    Args:
        ecart_type: écart type, d'une question à l'autre, de la différence entre les modèles.
        puissance: chance voulue de la voir si elle existe.

    Source : Cohen, 1988 ; approximation normale, seuil de 5 % dans les deux sens.
    """
    return float((norm.ppf(1 - SEUIL / 2) + norm.ppf(puissance)) * ecart_type / np.sqrt(questions))


def questions_necessaires(ecart_type: float, difference: float, puissance: float = 0.8) -> int:
    """Combien de questions il faut pour voir une différence donnée."""
    return int(np.ceil((plus_petite_difference(ecart_type, 1, puissance) / difference) ** 2))
