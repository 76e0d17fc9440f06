"""La preuve à la taille de Falcon-7B : ses promesses se vérifient, ses refus se disent."""

import shutil
import subprocess
import sys
from dataclasses import replace
from types import SimpleNamespace

import nbformat
import pytest
import torch
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from benchmarks.memoire_7b import (
    MEMOIRE_COLAB,
    Mesure,
    defauts,
    jetons_par_seconde,
    mesurer_gpu,
    options_de_vitesse,
    tableau,
    verifier_place,
)
from benchmarks.vitesse_finetune import (
    Mesure as Vitesse,
    analyseur,
    remplissage,
    tableau as vitesses,
)
from fabrique.socle.erreurs import MACHINE, ErreurFabrique
from outils.tester import RACINE

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
        ({"anonyme": int(MEMOIRE_COLAB) + 1}, "13,6"),
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


def test_la_comparaison_sur_gpu_se_lance_avec_des_options_connues(tmp_path):
    """Cinquante pas de la T4 : deux cents exemples, sous quinze Go."""
    lues = analyseur().parse_args(options_de_vitesse(tmp_path, 50))
    assert (lues.profil, lues.modele, lues.exemples, lues.plafond) == ("t4", str(tmp_path), 200, 15)


def test_la_vitesse_d_une_reponse_se_mesure(petit):
    assert jetons_par_seconde(petit[1], petit[0], jetons=4) > 0


# ---------------------------------------------------------------- la vitesse


def test_le_remplissage_se_compte_a_la_main():
    """Deux lots, (2, 4) et (3, 3) : 12 jetons utiles pour 14 lus."""
    assert remplissage([0, 1, 2, 3], [2, 4, 3, 3], 2) == pytest.approx(2 / 14)


def test_le_tableau_compare_chaque_recette_aux_deux_premieres():
    """Deux fois plus vite que (a), quatre fois plus que (b), à perte égale."""
    communs = {"jetons": 800, "memoire": 10**9, "remplissage": 0.0, "pas": 4, "pertes": [4.0, 5.0]}
    mesures = [
        Vitesse(recette=nom, apprentissage_s=duree, commande_s=2 * duree, **communs)
        for nom, duree in {"a": 8.0, "b": 16.0, "c": 4.0}.items()
    ]
    derniere = vitesses(mesures).splitlines()[-1]
    for attendu in ("2,00", "4,00", "1,00 |", "200", "+0,000 [+0,000"):
        assert attendu in derniere


def test_un_carnet_s_execute_cellule_apres_cellule(tmp_path):
    """Une cellule fautive est nommée, et n'arrête pas la suivante ; à part : IPython prend tout le processus."""
    cellules = [new_markdown_cell("Un titre."), new_code_cell("un = 1"), new_code_cell("un / 0")]
    carnet = tmp_path / "essai.ipynb"
    nbformat.write(new_notebook(cells=[*cellules, new_code_cell("assert un == 1")]), carnet)
    programme = (
        "import sys; from pathlib import Path; from benchmarks.carnet_7b import executer, raconter; "
        f"sys.exit(raconter(executer(Path({str(carnet)!r}))))"
    )
    issue = subprocess.run(
        [sys.executable, "-c", programme], cwd=RACINE, capture_output=True, text=True
    )
    assert issue.returncode == 1
    assert "cellule 2 :" in issue.stdout
    assert "ZeroDivisionError" in issue.stdout
    assert "3 cellules, 1 en échec" in issue.stdout
