"""Les nombres trop petits pour le processeur valent zéro le temps d'un calcul, et pas au-delà."""

import sys

import pytest
import torch

import fabrique
from fabrique.entrainement import Reglages
from fabrique.evaluation import pertes
from fabrique.machine.denormaux import comptes_pour_zero, sans_denormaux

pytestmark = pytest.mark.skipif(
    not torch.set_flush_denormal(False), reason="ce processeur ne sait pas les compter pour zéro"
)


def test_ils_valent_zero_le_temps_d_un_bloc_meme_interrompu():
    petit = torch.tensor([sys.float_info.min], dtype=torch.float64)
    with sans_denormaux():
        with sans_denormaux():
            assert (petit / 2).item() == 0
        assert comptes_pour_zero()
    assert (petit / 2).item() > 0
    with pytest.raises(ZeroDivisionError), sans_denormaux():
        raise ZeroDivisionError
    assert not comptes_pour_zero()


def test_lire_ecrire_et_apprendre_les_comptent_pour_zero(par_coeur, corpus, tmp_path):
    tokenizer, modele = par_coeur
    vus = []
    modele.transformer.register_forward_hook(lambda *_: vus.append(comptes_pour_zero()))
    reglages = Reglages(epochs=1, val_set_size=0)
    for calculer in (
        lambda: fabrique.generer(modele, tokenizer, "Oui ?", max_new_tokens=2, afficher=False),
        lambda: pertes(modele, tokenizer, corpus),
        lambda: fabrique.entrainer(modele, tokenizer, corpus, reglages, tmp_path / "adaptateur"),
    ):
        vus.clear()
        calculer()
        assert vus
        assert all(vus)
        assert not comptes_pour_zero()
