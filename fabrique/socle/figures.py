"""Les figures : lisibles par les daltoniens, titrées par leur résultat, décrites en texte."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Sequence
from typing import Any

from IPython.display import HTML, display
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, ScalarFormatter

from fabrique.socle.nombres import en_bref, en_francais, en_scientifique

#: Palette d'Okabe et Ito (2008), que toutes les formes de daltonisme distinguent.
BLEU, ORANGE, VERT, ROSE, CIEL, ROUGE, JAUNE, NOIR = (
    "#0072B2",
    "#E69F00",
    "#009E73",
    "#CC79A7",
    "#56B4E9",
    "#D55E00",
    "#F0E442",
    "#000000",
)
#: Fond et encre de tout HTML coloré. L'un sans l'autre devient illisible en thème sombre : le thème
#: garde alors son encre claire, ou les fonds sombres de ses rangées et de son code.
SUR_BLANC = "background:#fff;color:#000"


def nouvelle_figure(
    titre: str, largeur: float = 8, hauteur: float = 3.6, **axes: Any
) -> tuple[Figure, Any]:
    """Une figure et ses axes, au style du cours.

    Args:
        titre: le résultat, en une phrase.
        axes: arguments de ``Figure.subplots`` (``ncols=2``…).

    Returns:
        La figure et les axes de matplotlib.
    """
    figure = Figure(figsize=(largeur, hauteur), layout="constrained", dpi=100)
    figure.suptitle(titre, fontsize=12, fontweight="bold")
    dessins = figure.subplots(**axes)
    for dessin in figure.axes:
        dessin.spines[["top", "right"]].set_visible(False)
        dessin.grid(alpha=0.25)
        dessin.set_axisbelow(True)
    return figure, dessins


def montrer(figure: Figure, texte_alternatif: str) -> None:
    """Montre une figure avec son texte alternatif, que lisent les lecteurs d'écran.

    Args:
        texte_alternatif: ce que la figure montre, pour qui ne la voit pas ; affiché replié
            sous l'image.
    """
    display(HTML(en_image(figure, texte_alternatif)))


def en_image(figure: Figure, texte_alternatif: str) -> str:
    """La figure en HTML, image comprise, avec son texte alternatif replié dessous."""
    for axe in figure.axes:
        for graduation in (axe.xaxis, axe.yaxis):
            if isinstance(graduation.get_major_formatter(), ScalarFormatter):
                graduation.set_major_formatter(FuncFormatter(_graduation))
    with io.BytesIO() as tampon:
        figure.savefig(tampon, format="png")
        image = base64.b64encode(tampon.getvalue()).decode()
    alternative = html.escape(texte_alternatif, quote=True)
    return (
        f'<figure style="margin:0;{SUR_BLANC};max-width:820px">'
        f'<img src="data:image/png;base64,{image}" alt="{alternative}" style="max-width:100%">'
        f"<figcaption><details><summary>Description de la figure</summary>{alternative}"
        "</details></figcaption></figure>"
    )


def _graduation(valeur: float, _rang: int) -> str:
    """Le nombre d'une graduation, avec le vrai signe moins, comme matplotlib."""
    return en_bref(valeur)


def courbe_de_perte(historique: list[dict[str, float]], titre: str = "") -> None:
    """Montre la perte et le taux d'apprentissage d'un ``ResultatEntrainement``."""
    montrer(*figure_de_perte(historique, titre))


def figure_de_perte(historique: Sequence[dict[str, float]], titre: str = "") -> tuple[Figure, str]:
    """La perte et le taux d'apprentissage selon le pas, et ce que la figure montre, en phrases.

    S'y ajoute la perte de validation, quand elle a été mesurée.
    """
    pas = [releve["pas"] for releve in historique]
    pertes = [releve["perte"] for releve in historique]
    taux = [releve["taux"] for releve in historique]
    debut, fin = (en_francais(valeur, 2) for valeur in (pertes[0], pertes[-1]))
    titre = titre or f"La perte passe de {debut} à {fin} en {pas[-1]} pas"
    figure, (gauche, droite) = nouvelle_figure(titre, ncols=2)
    gauche.plot(pas, pertes, color=BLEU, marker="o", markersize=3)
    validation = [releve["validation"] for releve in historique if "validation" in releve]
    mise_de_cote = ""
    if len(validation) == len(pas):
        gauche.lines[0].set_label("exemples appris")
        gauche.plot(
            pas,
            validation,
            color=ORANGE,
            marker="s",
            markersize=3,
            linestyle="--",
            label="validation",
        )
        gauche.legend(frameon=False)
        bornes = [en_francais(valeur, 2) for valeur in (validation[0], validation[-1])]
        mise_de_cote = f"La perte de validation va de {bornes[0]} à {bornes[1]}. "
    gauche.set(xlabel="pas d’apprentissage", ylabel="perte (nats par jeton)")
    droite.plot(pas, taux, color=ORANGE)
    droite.set(xlabel="pas d’apprentissage", ylabel="taux d’apprentissage")
    return (
        figure,
        f"Deux courbes selon le pas, de {pas[0]} à {pas[-1]}. À gauche, la perte part de {debut} et "
        f"finit à {fin}. {mise_de_cote}À droite, le taux d’apprentissage, au plus haut {en_scientifique(max(taux))}, finit "
        f"à {en_scientifique(taux[-1])}.",
    )


def barres(
    noms: Sequence[str],
    valeurs: Sequence[float],
    titre: str,
    unite: str,
    decimales: int = 2,
    couleurs: Sequence[str] | str = BLEU,
) -> None:
    """Trace des barres horizontales, chacune avec sa valeur ; le texte alternatif les énumère."""
    figure, axe = nouvelle_figure(titre, hauteur=0.9 + 0.42 * len(noms))
    traits = axe.barh(noms, valeurs, color=couleurs)
    axe.bar_label(traits, [en_francais(v, decimales) for v in valeurs], padding=4)
    axe.invert_yaxis()
    axe.set_xlabel(unite)
    axe.margins(x=0.15)
    enumeration = " ; ".join(
        f"{nom} : {en_francais(v, decimales)}" for nom, v in zip(noms, valeurs, strict=True)
    )
    montrer(figure, f"Barres horizontales, en {unite}. {enumeration}.")


def tracer_intervalles(
    noms: Sequence[str],
    valeurs: Sequence[float],
    bornes: Sequence[tuple[float, float]],
    titre: str,
    unite: str,
    couleurs: Sequence[str] | None = None,
    repere: float | None = 0,
) -> tuple[Figure, str]:
    """Des valeurs et leurs intervalles, une par ligne ; à montrer par ``montrer`` ou ``en_image``.

    Args:
        bornes: le bas et le haut de chaque intervalle.
        repere: où tracer une ligne verticale (zéro, pour un écart) ; ``None`` s'en passe.

    Returns:
        La figure et son texte alternatif, qui énumère tout.
    """
    figure, axe = nouvelle_figure(titre, hauteur=1 + 0.42 * len(noms))
    for rang, (valeur, (bas, haut)) in enumerate(zip(valeurs, bornes, strict=True)):
        couleur = couleurs[rang] if couleurs else BLEU
        axe.plot([bas, haut], [rang, rang], color=couleur, linewidth=2)
        axe.plot([valeur], [rang], color=couleur, marker="o")
    if repere is not None:
        axe.axvline(repere, color=NOIR, linestyle="--", linewidth=1)
    axe.set_yticks(range(len(noms)), noms)
    axe.set_ylim(len(noms) - 0.5, -0.5)
    axe.set_xlabel(unite)
    lus = " ; ".join(
        f"{nom} : {en_francais(valeur, 1)}, de {en_francais(bas, 1)} à {en_francais(haut, 1)}"
        for nom, valeur, (bas, haut) in zip(noms, valeurs, bornes, strict=True)
    )
    return figure, f"Valeurs et intervalles, en {unite}. {lus}."


def courbes(
    series: dict[str, tuple[Sequence[float], Sequence[float]]],
    titre: str,
    abscisse: str,
    ordonnee: str,
    echelle: str = "linear",
) -> None:
    """Superpose des courbes ; trait et marque les distinguent aussi sans la couleur.

    Args:
        series: nom → abscisses et ordonnées.
        echelle: ``"log"`` quand les ordonnées s'étalent sur plusieurs ordres de grandeur.
    """
    figure, axe = nouvelle_figure(titre)
    styles = zip(
        (BLEU, ORANGE, VERT, ROSE, ROUGE), "os^Dv", ("-", "--", "-.", ":", "-"), strict=True
    )
    for (nom, (x, y)), (couleur, marque, trait) in zip(series.items(), styles, strict=False):
        axe.plot(x, y, color=couleur, marker=marque, markersize=4, linestyle=trait, label=nom)
    axe.set(xlabel=abscisse, ylabel=ordonnee, yscale=echelle)
    if echelle == "log":
        for regler in (axe.yaxis.set_major_formatter, axe.yaxis.set_minor_formatter):
            regler(FuncFormatter(_graduation))
    if len(series) > 1:
        axe.legend(frameon=False)
    lues = " ; ".join(
        f"{nom}, de {en_francais(y[0], 2)} à {en_francais(y[-1], 2)}"
        for nom, (_, y) in series.items()
    )
    montrer(figure, f"Courbes, {ordonnee} selon {abscisse}. {lues}.")
