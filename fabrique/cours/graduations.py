"""Les figures du carnet 05 : des graduations, une erreur en image, des durées."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.ticker import FuncFormatter

from fabrique.socle.figures import BLEU, CIEL, NOIR, ORANGE, montrer, nouvelle_figure
from fabrique.socle.nombres import en_francais


def droites_graduees(poids: np.ndarray, graduations: Mapping[str, Sequence[float]]) -> None:
    """Deux façons de graduer la même droite, sous la répartition des poids à y ranger.

    Args:
        poids: poids divisés par l'échelle de leur groupe, entre −1 et 1.
        graduations: nom → niveaux, deux au plus.
    """
    parts = {nom: sum(abs(n) <= 0.5 for n in niveaux) for nom, niveaux in graduations.items()}
    comptes = ", ".join(f"{nom} {n}" for nom, n in parts.items())
    figure, (haut, bas) = nouvelle_figure(
        f"Graduations entre −0,5 et 0,5, sur seize\u00a0: {comptes}",
        hauteur=4.2,
        nrows=2,
        sharex=True,
        gridspec_kw={"height_ratios": [2, 1.4]},
    )
    haut.hist(poids, bins=80, color=CIEL, density=True)
    haut.set(ylabel="densité", yticks=[])
    bas.set(yticks=range(len(graduations)), yticklabels=list(graduations), ylim=(-0.6, 1.6))
    bas.grid(False)
    for rang, (niveaux, couleur, marque) in enumerate(
        zip(graduations.values(), (BLEU, ORANGE), "os", strict=False)
    ):
        bas.axhline(rang, color=NOIR, linewidth=0.8, zorder=0)
        bas.plot(niveaux, [rang] * len(niveaux), marque, color=couleur, markersize=7)
    bas.set_xlabel("poids, divisé par l’échelle de son groupe")
    dans = 100 * np.mean(np.abs(poids) <= 0.5)
    montrer(
        figure,
        f"En haut, une cloche centrée sur zéro\u00a0: {en_francais(dans)}\u00a0% des poids sont entre −0,5 "
        f"et 0,5. En bas, deux droites graduées de seize points. Points entre −0,5 et 0,5\u00a0: {comptes}.",
    )


def erreur_en_image(avant: np.ndarray, apres: np.ndarray, titre: str) -> None:
    """Un morceau de matrice avant, après, et la différence, aux mêmes couleurs."""
    figure, axes = nouvelle_figure(titre, hauteur=3.3, ncols=3)
    borne = float(np.abs(avant).max())
    images = {"avant": avant, "après": apres, "différence": apres - avant}
    for axe, (nom, image) in zip(axes, images.items(), strict=True):
        vue = axe.imshow(image, cmap="PuOr", vmin=-borne, vmax=borne)
        axe.set(title=nom, xticks=[], yticks=[])
        axe.grid(False)
    barre = figure.colorbar(vue, ax=axes, shrink=0.8, label="poids")
    barre.formatter = FuncFormatter(lambda valeur, _: en_francais(valeur, 2))
    lignes, colonnes = avant.shape
    pire = en_francais(100 * float(np.abs(apres - avant).max()) / borne)
    montrer(
        figure,
        f"Trois carrés de {lignes} sur {colonnes} poids, en couleurs. Les deux premiers se ressemblent à "
        f"s’y méprendre\u00a0; le troisième, la différence, est presque uni\u00a0: sa plus grande valeur fait "
        f"{pire}\u00a0% du plus grand poids.",
    )


def barres_de_duree(
    noms: Sequence[str], planchers: Sequence[float], prudents: Sequence[float], titre: str
) -> None:
    """Des durées estimées, chacune entre un plancher et un cas prudent, en minutes."""
    figure, axe = nouvelle_figure(titre, hauteur=1 + 0.5 * len(noms))
    # Une barre sans longueur ne se verrait pas : la marque du plancher reste.
    ecarts = [haut - bas for bas, haut in zip(planchers, prudents, strict=True)]
    axe.barh(noms, ecarts, left=planchers, color=CIEL, height=0.5)
    axe.plot(planchers, noms, "|", color=BLEU, markersize=18, markeredgewidth=3)
    axe.plot(prudents, noms, "|", color=ORANGE, markersize=18, markeredgewidth=3)
    axe.set(
        xscale="log",
        xlabel="minutes, estimées (axe logarithmique)",
        xlim=(min(planchers) / 1.5, None),
    )
    axe.xaxis.set_major_formatter(FuncFormatter(lambda minutes, _: en_francais(minutes)))
    axe.invert_yaxis()
    dites = "\u00a0; ".join(
        f"{nom}\u00a0: de {en_francais(bas, 1)} à {en_francais(haut, 1)} min"
        for nom, bas, haut in zip(noms, planchers, prudents, strict=True)
    )
    montrer(figure, f"Barres horizontales de durées estimées, du plancher au cas prudent. {dites}.")
