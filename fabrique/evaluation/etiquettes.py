"""Juger un classifieur : ses réponses justes, ses catégories rares, et la confiance qu'il mérite."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from fabrique.evaluation.incertitude import Releve, intervalle, moyenne
from fabrique.socle.nombres import accorder, en_pourcent
from fabrique.socle.reechantillonnage import reechantillonner

#: Tranches de confiance de la courbe de fiabilité. Source : Guo et al., 2017 (arXiv:1706.04599).
TRANCHES = 10


@dataclass(frozen=True)
class Tranche:
    """Les textes auxquels le classifieur donne à peu près la même confiance.

    Args:
        annoncee: leur confiance moyenne.
        constatee: la part de réponses justes parmi eux.
        textes: combien ils sont.
    """

    annoncee: float
    constatee: float
    textes: int


@dataclass(frozen=True)
class Note:
    """Une mesure, de 0 à 1, et son intervalle à 95 %."""

    valeur: float
    ic95: tuple[float, float]

    def __str__(self) -> str:
        bas, haut = self.ic95
        return f"{en_pourcent(self.valeur)} ({en_pourcent(bas)} à {en_pourcent(haut)})"


@dataclass(frozen=True)
class Bulletin:
    """Ce que vaut un classifieur sur des textes jamais appris.

    Args:
        justes: une réponse juste ou fausse par texte.
        exactitude: la part de réponses justes.
        macro_f1: la moyenne des F1 des étiquettes : les rares comptent autant que les autres.
        ecart_de_calibration: l'écart moyen entre la confiance annoncée et la justesse constatée.
        fiabilite: la courbe de fiabilité, une tranche de confiance après l'autre.
    """

    justes: Releve
    exactitude: Note
    macro_f1: Note
    ecart_de_calibration: float
    fiabilite: tuple[Tranche, ...]

    def __str__(self) -> str:
        ecart = accorder(100 * self.ecart_de_calibration, "point", decimales=1)
        return (
            f"Exactitude : {self.exactitude} ; macro F1 : {self.macro_f1}.\n"
            f"Entre la confiance annoncée et la justesse constatée : {ecart} d’écart."
        )


def noter(
    probabilites: np.ndarray, etiquettes: Sequence[str], vraies: Sequence[str], graine: int = 0
) -> Bulletin:
    """Le bulletin d'un classifieur.

    Args:
        probabilites: forme (textes, étiquettes).
        etiquettes: le nom de chaque colonne.
        vraies: l'étiquette de chaque texte.
    """
    trouvees, attendues = np.array(etiquettes)[probabilites.argmax(axis=1)], np.array(vraies)
    justes = trouvees == attendues
    releve, fiabilite = moyenne(justes), _fiabilite(probabilites.max(axis=1), justes)
    ecart = sum(t.textes * abs(t.annoncee - t.constatee) for t in fiabilite) / len(justes)
    macro = _macro_f1(trouvees, attendues)
    tous = np.arange(len(justes))
    return Bulletin(
        releve,
        Note(float(releve.valeur()), intervalle(releve, graine).bornes),
        Note(float(macro(tous)), reechantillonner(macro, len(justes), graine=graine).bornes),
        float(ecart),
        fiabilite,
    )


def _macro_f1(trouvees: np.ndarray, attendues: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """Le F1 moyen des étiquettes d'un tirage, pour des rangs de forme … × textes.

    Une étiquette qu'un tirage n'a pas n'y compte pas.
    """
    noms = np.unique(attendues)
    vraies, dites = (attendues[:, None] == noms).astype(float), (trouvees[:, None] == noms)
    bonnes = vraies * dites

    def macro(rangs: np.ndarray) -> np.ndarray:
        tirages = rangs.reshape(-1, len(attendues))
        decales = tirages + len(attendues) * np.arange(len(tirages))[:, None]
        fois = np.bincount(decales.ravel(), minlength=tirages.size).reshape(tirages.shape)
        presentes = fois @ vraies
        f1 = 2 * (fois @ bonnes) / np.maximum(presentes + fois @ dites, 1)
        return (f1.sum(-1) / (presentes > 0).sum(-1)).reshape(rangs.shape[:-1])

    return macro


def _fiabilite(confiances: np.ndarray, justes: np.ndarray) -> tuple[Tranche, ...]:
    rangs = np.minimum((confiances * TRANCHES).astype(int), TRANCHES - 1)
    return tuple(
        Tranche(
            float(confiances[rangs == r].mean()),
            float(justes[rangs == r].mean()),
            int((rangs == r).sum()),
        )
        for r in range(TRANCHES)
        if (rangs == r).any()
    )
