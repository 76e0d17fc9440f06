"""Les schémas du carnet 03 : la mémoire d'un modèle et l'adaptateur LoRA, dessinés."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from fabrique.socle.figures import BLEU, NOIR, ORANGE, ROUGE, montrer, nouvelle_figure
from fabrique.socle.nombres import en_francais


def barres_memoire(noms: Sequence[str], gigaoctets: Sequence[float], limite: float) -> None:
    """Barres de mémoire, avec un trait à la mémoire de la carte ; ce qui dépasse est en orange."""
    tiennent = [nom for nom, go in zip(noms, gigaoctets, strict=True) if go < limite / 2]
    titre = (
        f"Place pour les poids et pour l’apprentissage\u00a0: seulement en {' et '.join(tiennent)}"
    )
    figure, axe = nouvelle_figure(titre)
    traits = axe.barh(
        noms, gigaoctets, color=[ORANGE if go > limite else BLEU for go in gigaoctets]
    )
    axe.bar_label(
        traits,
        [f"{en_francais(go, 1)}\u00a0Go" for go in gigaoctets],
        padding=4,
        bbox={"facecolor": "white", "edgecolor": "none", "pad": 1},
    )
    axe.axvline(limite, color=ROUGE, linestyle="--", zorder=0.5)
    carte = f"{en_francais(limite, 1)}\u00a0Go"
    axe.text(limite, -0.62, f"T4\u00a0: {carte}", color=ROUGE, ha="center")
    axe.invert_yaxis()
    axe.set_xlabel("mémoire des poids (Go)")
    axe.margins(x=0.15)
    valeurs = "\u00a0; ".join(
        f"{nom}\u00a0: {en_francais(go, 1)}\u00a0Go"
        for nom, go in zip(noms, gigaoctets, strict=True)
    )
    montrer(figure, f"Barres horizontales, et un trait vertical à {carte}, la T4. {valeurs}.")


def schema_lora(sortie: int, entree: int, rang: int) -> None:
    """Dessine une couche gelée et les deux matrices étroites qui s'y ajoutent.

    Source : Hu et al., 2021 (arXiv:2106.09685), figure 1.
    """
    gelee, apprise = en_francais(sortie * entree), en_francais(rang * (sortie + entree))
    titre = f"La couche garde ses {gelee} poids\u00a0; on en apprend {apprise} à côté"
    figure, axe = nouvelle_figure(titre, hauteur=3.4)
    axe.set(xlim=(0, 10.4), ylim=(-0.5, 4.6), aspect="equal")
    axe.axis("off")
    # Les côtés des matrices A et B ne sont pas à l'échelle : à l'échelle, on ne les verrait pas.
    _boite(axe, 0.9, 0.4, 3.1, 3.2, BLEU, f"W\n{sortie} × {entree}\n4 bits, gelée")
    axe.text(4.55, 1.9, "+", fontsize=24, ha="center", va="center")
    _boite(axe, 5.2, 0.4, 0.45, 3.2, ORANGE, "B")
    axe.text(5.42, 3.85, f"{sortie} × {rang}", ha="center", fontsize=9)
    axe.text(6.05, 1.9, "×", fontsize=18, ha="center", va="center")
    _boite(axe, 6.5, 1.7, 3.1, 0.45, ORANGE, "A")
    axe.text(8.05, 2.4, f"{rang} × {entree}", ha="center", fontsize=9)
    axe.text(8.05, 1.15, "apprises, en 32 bits", ha="center", color=NOIR, fontsize=9)
    montrer(
        figure,
        f"À gauche, un grand carré bleu\u00a0: la matrice W, {sortie} sur {entree}, en 4 bits et "
        f"gelée. Plus, à droite, deux bandes orange étroites\u00a0: B, {sortie} sur {rang}, "
        f"multipliée par A, {rang} sur {entree}\u00a0; elles seules sont apprises.",
    )


def _boite(
    axe: Axes, x: float, y: float, largeur: float, hauteur: float, couleur: str, nom: str
) -> None:
    """Un rectangle et son nom au milieu."""
    axe.add_patch(Rectangle((x, y), largeur, hauteur, color=couleur, alpha=0.35))
    axe.add_patch(Rectangle((x, y), largeur, hauteur, fill=False, edgecolor=couleur, linewidth=1.5))
    axe.text(x + largeur / 2, y + hauteur / 2, nom, ha="center", va="center")
