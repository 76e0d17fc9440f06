"""Le rééchantillonnage : ce que d'autres tirages des mêmes cas auraient donné.

Il sert aux jetons comme aux modèles : il se tient donc sous les uns et les autres.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from scipy.stats import DegenerateDataWarning, bootstrap

from fabrique.socle.erreurs import ErreurFabrique

#: Combien de fois on retire, et combien de rangs à la fois (mémoire bornée).
TIRAGES, RANGS_PAR_LOT = 2000, 4_000_000


@dataclass(frozen=True)
class Intervalle:
    """Un intervalle à 95 %, l'erreur type de ce qu'il entoure, et les valeurs d'où il vient."""

    bas: float
    haut: float
    erreur_type: float
    valeurs: np.ndarray = field(repr=False, compare=False)

    @property
    def bornes(self) -> tuple[float, float]:
        return self.bas, self.haut

    @property
    def exclut_zero(self) -> bool:
        return self.bas > 0 or self.haut < 0


def reechantillonner(
    statistique: Callable[..., np.ndarray], *tailles: int, graine: int = 0, tirages: int = TIRAGES
) -> Intervalle:
    """L'intervalle d'une statistique, en retirant les cas avec remise dans chaque groupe.

    Args:
        statistique: reçoit les rangs retirés, un tableau par groupe (forme : tirages × taille), et
            rend une valeur par tirage.
        tailles: combien de cas dans chaque groupe, deux au moins.

    Raises:
        ErreurFabrique: un groupe d'un seul cas.

    Source : Efron et Tibshirani, 1993 (centiles 2,5 et 97,5) ; calcul de scipy.
    """
    if min(tailles) < 2:
        raise ErreurFabrique(
            "une seule question ne dit rien de l’incertitude", "Donnez-en au moins deux"
        )
    # Une valeur qui n'est pas un nombre se lit dans les bornes : inutile d'en avertir en anglais.
    with warnings.catch_warnings(action="ignore", category=DegenerateDataWarning):
        resultat = bootstrap(
            tuple(np.arange(taille) for taille in tailles),
            lambda *rangs, axis=-1: statistique(*rangs),
            vectorized=True,
            n_resamples=tirages,
            batch=max(1, RANGS_PAR_LOT // sum(tailles)),
            method="percentile",
            rng=np.random.default_rng(graine),
        )
    bas, haut = map(float, resultat.confidence_interval)
    return Intervalle(bas, haut, float(resultat.standard_error), resultat.bootstrap_distribution)
