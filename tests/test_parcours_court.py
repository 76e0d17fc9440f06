"""Le parcours court se suffit : ses cellules, seules et dans l'ordre, ne demandent rien aux autres.

Le carnet entier s'exécute ailleurs. Ici, on lit ses noms : tout ce qu'une cellule du parcours court emploie
vient de la préparation, d'elle-même, ou d'une cellule du parcours placée avant elle.
"""

from __future__ import annotations

import builtins
import symtable
from collections.abc import Iterator

import gardes
import nbformat
import pytest
from nbformat import NotebookNode

from outils.tester import RACINE

#: Ce que Python et IPython donnent sans qu'on le demande.
DONNES = {*dir(builtins), "display", "get_ipython"}


def carnet(numero: str) -> NotebookNode:
    [fichier] = (RACINE / "notebooks").glob(f"{numero}_*.ipynb")
    return nbformat.read(fichier, as_version=4)


def court(entier: NotebookNode) -> list[NotebookNode]:
    """La préparation d'un carnet, et ses cellules de code marquées."""
    preparation = gardes.cellule_de_preparation(entier)
    return [
        c
        for c in entier.cells
        if c is preparation or (c.cell_type == "code" and gardes.COURT in gardes.etiquettes(c))
    ]


def portees(table: symtable.SymbolTable) -> Iterator[symtable.SymbolTable]:
    """Une portée, puis celles qu'elle contient : fonctions, compréhensions."""
    yield table
    for dedans in table.get_children():
        yield from portees(dedans)


def noms(source: str) -> tuple[set[str], set[str]]:
    """Les noms qu'une cellule lit, et ceux qu'elle pose, au niveau du carnet."""
    tout = symtable.symtable(source, "cellule", "exec")
    lus, poses = set(), set()
    for portee in portees(tout):
        for nom in portee.get_symbols():
            if portee is tout or nom.is_global():
                lus |= {nom.get_name()} if nom.is_referenced() else set()
                pose = nom.is_assigned() or nom.is_imported() or nom.is_namespace()
                poses |= {nom.get_name()} if pose else set()
    return lus, poses


def manquants(cellules: list[NotebookNode]) -> dict[str, str]:
    """Chaque nom qu'aucune cellule précédente n'a posé, et la cellule qui le demande."""
    connus, absents = set(DONNES), {}
    for cellule in cellules:
        lus, poses = noms(cellule.source)
        connus |= poses
        absents |= {nom: cellule.source[:60] for nom in lus - connus}
    return absents


def test_la_demi_journee_a_son_parcours_court():
    """Les deux carnets qui ne tiennent pas dans leur créneau ; leur parcours est bien plus court."""
    for numero in ("03", "04"):
        entier = carnet(numero)
        assert 1 < len(court(entier)) < 0.7 * sum(c.cell_type == "code" for c in entier.cells)
    marques = [
        fichier.name[:2]
        for fichier in sorted((RACINE / "notebooks").glob("[0-9]*.ipynb"))
        if len(court(carnet(fichier.name[:2]))) > 1
    ]
    assert marques == ["02", "03", "04"]


@pytest.mark.parametrize("numero", ["02", "03", "04"])
def test_le_parcours_court_ne_demande_rien_aux_cellules_sautees(numero):
    assert manquants(court(carnet(numero))) == {}


def test_un_nom_pose_par_une_cellule_sautee_se_voit():
    """Lu au niveau du carnet, dans une fonction ou dans une compréhension."""
    avant = [nbformat.v4.new_code_cell("import math\na = 1\ndef f(x):\n    return x + math.pi")]
    for source in ("print(b)", "def g():\n    return b", "[b for c in range(a)]"):
        assert manquants([*avant, nbformat.v4.new_code_cell(source)]).keys() == {"b"}
    assert manquants([*avant, nbformat.v4.new_code_cell("[f(c) for c in range(a)]")]) == {}
