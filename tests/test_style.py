"""Reconnaître le français du XVIIᵉ siècle sans accuser celui d'aujourd'hui."""

import pytest

from fabrique.corpus import lire_corpus
from fabrique.evaluation.style import graphies_d_epoque, mesurer_style


@pytest.mark.parametrize(
    ("texte", "graphies"),
    [
        ("J’ay veu voſtre maiſtre, luy qui eſtoit icy.", {"ay", "veu", "vostre", "maistre", "luy", "estoit", "icy"}),
        ("Il ſçavoit que nous viendrions ; ils viendroient.", {"sçavoit", "viendroient"}),
        ("Il doit, il reçoit, il voit l’endroit : tout droit, sous le toit.", set()),
        ("Trois lois, deux emplois, les rois envoient les Gaulois.", set()),
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
