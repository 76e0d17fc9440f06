"""Les figures du carnet 05 : ce que dit leur titre et leur texte alternatif est compté."""

import html

import numpy as np
import pytest

from fabrique.cours import graduations
from fabrique.modeles.quantification import niveaux_nf4


@pytest.fixture
def montres(monkeypatch):
    """Ce qui aurait été montré : (figure, texte alternatif)."""
    vus = []
    monkeypatch.setattr(graduations, "montrer", lambda *montre: vus.append(montre))
    return vus


def test_les_graduations_du_milieu_sont_comptees(montres):
    poids = np.linspace(-1, 1, 401)
    graduations.droites_graduees(poids, {"uniforme": np.linspace(-1, 1, 16), "NF4": niveaux_nf4()})
    ((figure, texte),) = montres
    assert figure.get_suptitle().endswith("uniforme 8, NF4 10")
    assert "50\u00a0% des poids" in texte


def test_l_erreur_en_image_dit_la_plus_grande(montres):
    avant = np.array([[1.0, -0.5], [0.25, 0.0]])
    graduations.erreur_en_image(avant, avant + 0.1, "titre")
    ((figure, texte),) = montres
    assert "10\u00a0% du plus grand poids" in texte
    assert [axe.get_title() for axe in figure.axes[:3]] == ["avant", "après", "différence"]


def test_les_durees_sont_enumerees_et_la_plus_courte_se_voit(montres):
    graduations.barres_de_duree(["T4", "H100"], [13.1, 0.9], [104.6, 6.9], "titre")
    ((figure, texte),) = montres
    assert html.escape("T4\u00a0: de 13,1 à 104,6 min") in texte
    assert figure.axes[0].get_xlim()[0] < 0.9
