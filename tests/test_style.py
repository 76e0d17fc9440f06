"""Reconnaître le français du XVIIᵉ siècle sans accuser celui d'aujourd'hui."""

import re
from pathlib import Path

import nbformat
import pytest

from fabrique.corpus import jeu, lire_corpus
from fabrique.evaluation.style import graphies_d_epoque, mesurer_style


@pytest.mark.parametrize(
    ("texte", "graphies"),
    [
        (
            "J’ay veu voſtre maiſtre, luy qui eſtoit icy.",
            {"ay", "veu", "vostre", "maistre", "luy", "estoit", "icy"},
        ),
        ("Il ſçavoit que nous viendrions ; ils viendroient.", {"sçavoit", "viendroient"}),
        ("Il doit, il reçoit, il voit l’endroit : tout droit, sous le toit.", set()),
        ("Trois lois, deux emplois, les rois envoient les Gaulois.", set()),
        ("Il y aſtoit une heure, & l’on y aſſeroit.", set()),
        ("Vous étiez là, vous aviez votre pièce.", set()),
    ],
)
def test_les_graphies_d_epoque(texte, graphies):
    assert graphies_d_epoque(texte) == graphies


def test_le_style_compte_a_la_main():
    """Deux réponses : une d'époque (deux ſ pour un s rond), une d'aujourd'hui (deux s ronds)."""
    style = mesurer_style(["Voſtre maiſon est à luy.", "Passons."])
    assert style.part_s_long == pytest.approx(2 / 5)
    assert (style.avec_s_long, style.graphies, style.reussies) == (0.5, [2, 0], 0.5)


def test_nos_pastiches_sont_d_epoque_et_nos_reponses_d_aujourd_hui():
    """Les références passent le seuil demandé au modèle ; aucun texte d'aujourd'hui ne le passe."""
    assert mesurer_style(lire_corpus("style_xvii")["output"][:]).reussies > 0.9
    for nom in ("demarches", "encyclopedie"):
        style = mesurer_style(lire_corpus(nom)["output"][:])
        assert max(style.graphies) <= 1
        assert style.reussies == 0


def suites_de_huit_mots(exemples) -> set[tuple[str, ...]]:
    mots = [
        re.findall(r"\w+", texte.casefold())
        for exemple in exemples
        for texte in (exemple["instruction"], exemple["output"])
    ]
    return {tuple(m[rang : rang + 8]) for m in mots for rang in range(len(m) - 7)}


def test_le_jeu_de_test_n_a_pas_ete_lu():
    style = lire_corpus("style_xvii")
    lues = suites_de_huit_mots(jeu(style, "entrainement")) | suites_de_huit_mots(
        jeu(style, "validation")
    )
    assert not lues & suites_de_huit_mots(jeu(style, "test"))


def test_le_carnet_03_montre_le_style():
    """Trois réponses sur quatre au moins sont d'époque après l'apprentissage, aucune avant."""
    carnet = Path(__file__).parent.parent / "notebooks" / "03_finetuning_falcon_4bit.ipynb"
    sorties = "".join(
        sortie.get("text", "")
        for cellule in nbformat.read(carnet, as_version=4).cells
        if "mesurer_style(ecrits" in cellule.source
        for sortie in cellule.outputs
    )
    base, affine = map(int, re.findall(r"époque\s*:\s+(\d+)\s*%", sorties))
    assert base == 0
    assert affine >= 75
