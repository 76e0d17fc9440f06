"""Chaque carnet s'exécute d'un bout à l'autre, ses exercices remplacés par leurs solutions."""

from __future__ import annotations

import os
from pathlib import Path

import nbformat
import pytest
from gardes import exercices, texte_des_sorties
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from outils.tester import DELAI_PAR_CELLULE, ENVIRONNEMENT, RACINE

CARNETS = sorted((RACINE / "notebooks").glob("*.ipynb"))


@pytest.fixture(autouse=True)
def _sans_gpu_ni_reseau(monkeypatch: pytest.MonkeyPatch) -> None:
    """Le profil de poche, sans réseau, et le paquet du dépôt plutôt qu'un autre."""
    for nom, valeur in ENVIRONNEMENT.items():
        monkeypatch.setenv(nom, valeur)
    assert os.environ["FABRIQUE_PROFIL"] == "poche"
    assert os.environ["PYTHONPATH"].split(os.pathsep)[0] == str(RACINE)


def solutions_fausses(carnet: NotebookNode, dossier: Path) -> dict[str, str]:
    """Exécute le carnet corrigé ; rend ce que disent les exercices dont la solution est fausse.

    Raises:
        CellExecutionError: une cellule, solution ou non, échoue.
    """
    corriges = exercices(carnet)
    for rang, solution in corriges:
        assert solution, f"cellule {rang + 1} : exercice sans solution"
        carnet.cells[rang].source = solution
    ressources = {"metadata": {"path": str(dossier)}}
    NotebookClient(carnet, timeout=DELAI_PAR_CELLULE, kernel_name="python3", resources=ressources).execute()
    dits = {f"cellule {rang + 1}": texte_des_sorties(carnet.cells[rang]) for rang, _ in corriges}
    return {cellule: texte.strip() for cellule, texte in dits.items() if "Juste" not in texte}


@pytest.mark.parametrize("carnet", CARNETS, ids=lambda carnet: carnet.stem)
def test_les_solutions_sont_justes(carnet: Path, tmp_path: Path):
    """Une seule exécution par carnet, dans un dossier neuf : elle vaut aussi « Tout exécuter »."""
    contenu = nbformat.read(carnet, as_version=4)
    assert exercices(contenu), "aucun exercice"
    try:
        assert solutions_fausses(contenu, tmp_path) == {}
    except CellExecutionError as erreur:
        pytest.fail(f"{carnet.name} ne s’exécute plus :\n{erreur}", pytrace=False)


def carnet_d_un_exercice(correction: str) -> NotebookNode:
    """Un exercice, dont la bonne réponse est 2, et sa solution."""
    verification = "print('Juste !' if reponse == 2 else 'Pas encore.')"
    return new_notebook(
        cells=[
            new_code_cell(f"reponse = ...\n{verification}", metadata={"tags": ["exercice"]}),
            new_markdown_cell(
                f"<details>\n\n```python\n{correction}\n{verification}\n```\n</details>"
            ),
        ]
    )


def test_une_solution_fausse_est_vue(tmp_path: Path):
    """La solution est exécutée, et non l'énoncé."""
    assert solutions_fausses(carnet_d_un_exercice("reponse = 2"), tmp_path) == {}
    fausses = solutions_fausses(carnet_d_un_exercice("reponse = 3"), tmp_path)
    assert fausses == {"cellule 1": "Pas encore."}


def test_une_solution_qui_echoue_est_vue(tmp_path: Path):
    """Une erreur dans une solution arrête le carnet."""
    with pytest.raises(CellExecutionError):
        solutions_fausses(carnet_d_un_exercice("reponse = 1 / 0"), tmp_path)
