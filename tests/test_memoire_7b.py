"""La preuve à la taille de Falcon-7B : ses promesses se vérifient, ses refus se disent."""

import shutil
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from benchmarks.memoire_7b import (
    MEMOIRE_COLAB,
    Mesure,
    defauts,
    mesurer_gpu,
    tableau,
    verifier_place,
)
from fabrique.erreurs import MACHINE, ErreurFabrique

TENUE = Mesure(
    couches_4bits=128,
    poids=4_000_000_000,
    chargement_s=170,
    pas_s=20,
    parametres_entraines=2_359_296,
    anonyme=5_000_000_000,
    residente=9_000_000_000,
    activations=3_000_000_000,
)


def test_une_promesse_tenue_n_a_pas_de_defaut():
    assert defauts(TENUE, 32) == []
    assert "2\u202f359\u202f296" in tableau(TENUE, 14_400_000_000, 32)


@pytest.mark.parametrize(
    ("change", "dit"),
    [
        ({"couches_4bits": 0}, "128 couches"),
        ({"parametres_entraines": 10}, "2\u202f359\u202f296"),
        ({"anonyme": int(MEMOIRE_COLAB) + 1}, "12,7"),
    ],
)
def test_une_promesse_rompue_se_dit(change, dit):
    (defaut,) = defauts(replace(TENUE, **change), 32)
    assert dit in defaut


def test_sans_place_on_ne_commence_pas(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=2 * 10**9))
    verifier_place(tmp_path, 1)
    with pytest.raises(ErreurFabrique, match="sur le disque") as erreur:
        verifier_place(tmp_path, 32)
    assert erreur.value.code == MACHINE


def test_sans_gpu_rien_n_est_annonce(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert "n’ont pas été mesurées" in mesurer_gpu(tmp_path)
