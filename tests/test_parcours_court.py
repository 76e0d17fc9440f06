"""Le parcours court se suffit : ses cellules, seules et dans l'ordre, vont au bout."""

from __future__ import annotations

import gardes
import nbformat
import pytest
from conftest import sur_le_jumeau
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

from outils.tester import ENVIRONNEMENT, RACINE


def court(carnet: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Le carnet, réduit à sa préparation et à ses cellules marquées."""
    preparation = gardes.cellule_de_preparation(carnet)
    gardees = [c for c in carnet.cells if c is preparation or gardes.COURT in gardes.etiquettes(c)]
    return nbformat.v4.new_notebook(cells=gardees, metadata=carnet.metadata)


def test_la_demi_journee_a_son_parcours_court():
    """Les deux carnets qui ne tiennent pas dans leur créneau."""
    marques = {
        fichier.name[:2]
        for fichier in (RACINE / "notebooks").glob("[0-9]*.ipynb")
        if len(court(nbformat.read(fichier, as_version=4)).cells) > 1
    }
    assert {"03", "04"} <= marques


@pytest.mark.parametrize("numero", ["03", "04"])
def test_le_parcours_court_va_au_bout_seul(numero, cache_du_jumeau, tmp_path, monkeypatch):
    """Sur le jumeau de Falcon-7B, dans un dossier neuf : rien ne vient des cellules sautées."""
    sur_le_jumeau(monkeypatch, cache_du_jumeau)
    monkeypatch.setenv("PYTHONPATH", ENVIRONNEMENT["PYTHONPATH"])
    [fichier] = (RACINE / "notebooks").glob(f"{numero}_*.ipynb")
    carnet = court(nbformat.read(fichier, as_version=4))
    entier = sum(c.cell_type == "code" for c in nbformat.read(fichier, as_version=4).cells)
    assert len(carnet.cells) < 0.7 * entier
    try:
        ressources = {"metadata": {"path": str(tmp_path)}}
        NotebookClient(carnet, timeout=600, kernel_name="python3", resources=ressources).execute()
    except CellExecutionError as erreur:
        pytest.fail(f"{fichier.name}, parcours court :\n{erreur}", pytrace=False)
