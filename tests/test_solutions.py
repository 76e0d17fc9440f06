"""Sous nbval, chaque exercice est suivi de sa solution : une solution fausse arrête le carnet."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from outils.corriges import exercices, glisser, glisser_dans


def carnet_d_un_exercice(correction: str) -> NotebookNode:
    """Un exercice, dont la bonne réponse est 2, et sa solution."""
    verification = "print('Juste !' if reponse == 2 else 'Pas encore.')"
    return new_notebook(
        cells=[
            new_code_cell(f"reponse = ...\n{verification}", metadata={"tags": ["exercice"]}),
            new_markdown_cell(
                f"<details>\n\n```python\n{correction}\n{verification}\n```\n</details>"
            ),
            new_code_cell("print(reponse)"),
        ]
    )


def executer(carnet: NotebookNode, dossier: Path) -> list[str]:
    """Ce qu'écrit chaque cellule de code."""
    ressources = {"metadata": {"path": str(dossier)}}
    NotebookClient(carnet, timeout=60, kernel_name="python3", resources=ressources).execute()
    code = [cellule for cellule in carnet.cells if cellule.cell_type == "code"]
    return ["".join(sortie.text for sortie in cellule.outputs).strip() for cellule in code]


def test_l_enonce_puis_sa_solution_sont_executes(tmp_path: Path):
    """L'énoncé garde sa sortie ; la solution ne montre rien, et la suite la voit."""
    carnet = glisser(carnet_d_un_exercice("reponse = 2"))
    assert executer(carnet, tmp_path) == ["Pas encore.", "", "", "2"]


@pytest.mark.parametrize("correction", ["reponse = 3", "reponse = 1 / 0"])
def test_une_solution_fausse_ou_qui_echoue_arrete_le_carnet(correction: str, tmp_path: Path):
    with pytest.raises(CellExecutionError):
        executer(glisser(carnet_d_un_exercice(correction)), tmp_path)


def test_un_carnet_sans_exercice_ou_sans_solution_est_refuse():
    with pytest.raises(ValueError, match="aucun exercice"):
        glisser(new_notebook(cells=[new_code_cell("1")]))
    with pytest.raises(ValueError, match="cellule 1 : exercice sans solution"):
        glisser(new_notebook(cells=[new_code_cell("1", metadata={"tags": ["exercice"]})]))


def test_les_solutions_se_glissent_sur_place(tmp_path: Path):
    """Le fichier écrit se relit, ses exercices compris ; c'est lui que nbval exécute."""
    chemin = tmp_path / "carnet.ipynb"
    nbformat.write(carnet_d_un_exercice("reponse = 2"), chemin)
    glisser_dans(chemin)
    relu = nbformat.read(chemin, as_version=4)
    assert len(exercices(relu)) == 1
    assert next(c.source.splitlines()[0] for c in relu.cells if "_corrige" in c.source).startswith(
        "%%capture"
    )
