"""Les schémas des carnets : l'intérieur d'un modèle, sa mémoire et l'adaptateur LoRA, dessinés."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from transformers import PretrainedConfig

from fabrique.socle.figures import BLEU, CIEL, NOIR, ORANGE, ROUGE, VERT, montrer, nouvelle_figure
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


def schema_modele(config: PretrainedConfig) -> None:
    """Dessine ce qu'un modèle de langage fait d'un texte : des nombres, des couches, une note par jeton.

    Args:
        config: la configuration du modèle, dont on lit la largeur, les couches et le vocabulaire.
    """
    largeur = en_francais(config.hidden_size)
    couches = en_francais(config.num_hidden_layers)
    entrees = en_francais(config.vocab_size)
    figure, axe = nouvelle_figure(
        f"Un texte entre\u00a0; une probabilité sort pour chacun des {entrees} jetons", hauteur=2.9
    )
    axe.set(xlim=(0, 12), ylim=(-0.9, 3.1))
    axe.axis("off")
    etapes = (
        (0.1, 1.7, VERT, "Écrivez\nà\nla"),
        (2.5, 2.0, CIEL, f"{largeur}\nnombres\npar jeton"),
        (
            4.95,
            3.3,
            BLEU,
            f"{couches} couches\nles jetons se consultent,\npuis chacun est recalculé",
        ),
        (8.8, 1.5, ORANGE, f"{entrees}\nnotes"),
        (10.9, 1.05, ORANGE, "mairie\n…"),
    )
    for x, taille, couleur, nom in etapes:
        _boite(axe, x, 0.6, taille, 1.9, couleur, nom)
    for (x, taille, *_), (suivante, *_) in pairwise(etapes):
        _fleche(axe, (x + taille, 1.55), (suivante, 1.55))
    _fleche(axe, (11.4, 0.55), (0.95, 0.55), "arc3,rad=-0.12")
    axe.text(6.2, -0.7, "on ajoute le jeton choisi au texte, et l’on recommence", ha="center")
    montrer(
        figure,
        f"De gauche à droite, cinq cases reliées par des flèches\u00a0: le texte en jetons ; {largeur} "
        f"nombres par jeton ; {couches} couches, où les jetons se consultent puis sont recalculés ; "
        f"{entrees} notes, une par jeton connu ; le jeton choisi. Une flèche revient au début\u00a0: on "
        "l’ajoute au texte, et l’on recommence.",
    )


def _fleche(axe: Axes, depart: tuple, arrivee: tuple, forme: str = "arc3") -> None:
    """Une flèche d'une case à l'autre."""
    traits = {"arrowstyle": "->", "color": NOIR, "connectionstyle": forme}
    axe.annotate("", xy=arrivee, xytext=depart, arrowprops=traits)


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
