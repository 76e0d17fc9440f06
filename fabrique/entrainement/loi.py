"""Ce qu'une lecture plus longue donnerait : une loi ajustée sur trois parts, et son incertitude."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fabrique.socle.reechantillonnage import reechantillonner

#: Les exposants essayés. Kaplan et al., 2020 (arXiv:2001.08361), mesurent 0,095 selon les données.
EXPOSANTS = np.geomspace(0.02, 1, 60)


@dataclass(frozen=True)
class Promesse:
    """Les bits par octet attendus au bout d'une lecture, et leur intervalle à 95 %."""

    jetons: float
    bits: float
    bas: float
    haut: float


def extrapoler(jetons: Sequence[float], bits: np.ndarray, cible: float) -> np.ndarray:
    """La valeur que la loi ``E + A × jetons^−β`` donne à ``cible`` jetons.

    Pour chaque exposant essayé, E et A viennent des moindres carrés, sans être négatifs ; on garde
    l'exposant qui passe le plus près des points. Une courbe qui remonte donne une loi plate.

    Args:
        bits: forme … × points.

    Returns:
        Forme …

    Source : Kaplan et al., 2020 (arXiv:2001.08361) ; Zhang et al., 2024 (arXiv:2402.17193), pour la
    même loi en apprentissage prolongé.
    """
    unite = jetons[-1]
    abscisses = (np.asarray(jetons)[None] / unite) ** -EXPOSANTS[:, None]  # exposants × points
    centrees = abscisses - abscisses.mean(axis=1, keepdims=True)
    moyennes = bits.mean(axis=-1)[..., None]
    pentes = (bits[..., None, :] * centrees).sum(-1) / (centrees**2).sum(-1)
    # E négatif : la droite passe par l'origine ; A négatif : la droite est plate.
    pentes = np.clip(pentes, 0, moyennes / abscisses.mean(axis=1))
    fonds = moyennes - pentes * abscisses.mean(axis=1)
    ecarts = ((fonds[..., None] + pentes[..., None] * abscisses - bits[..., None, :]) ** 2).sum(-1)
    choix = ecarts.argmin(axis=-1)[..., None]
    valeurs = fonds + pentes * (cible / unite) ** -EXPOSANTS
    return np.take_along_axis(valeurs, choix, axis=-1)[..., 0]


def promettre(
    jetons: Sequence[float], bits: np.ndarray, octets: np.ndarray, cible: float
) -> Promesse:
    """Ce que la loi promet à ``cible`` jetons, les textes mesurés étant tirés de nouveau.

    L'intervalle dit ce que d'autres textes de validation auraient donné ; il ne dit rien d'un modèle
    qui cesserait de suivre la loi.

    Args:
        jetons: les jetons lus à chaque part, croissants.
        bits: les bits de chaque texte de validation après chaque part (forme : parts × textes).
        octets: les octets de chaque texte (forme : textes).
    """

    def statistique(rangs: np.ndarray) -> np.ndarray:
        points = bits[:, rangs].sum(axis=-1) / octets[rangs].sum(axis=-1)
        return extrapoler(jetons, np.moveaxis(points, 0, -1), cible)

    tous = np.arange(len(octets))
    intervalle = reechantillonner(statistique, len(octets))
    return Promesse(cible, float(statistique(tous[None])[0]), *intervalle.bornes)
