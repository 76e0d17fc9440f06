"""Les solutions repliées d'un carnet : les lire, et les glisser à la suite de leurs exercices."""

from __future__ import annotations

import re
from pathlib import Path

import nbformat
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell

EXERCICE = "exercice"
#: Ce qu'une solution juste fait écrire à ``verifier``.
JUSTE = "Juste"
#: La solution s'exécute à part, puis ce qu'elle a dit est vérifié.
EPREUVE = f"""\
_dit = _corrige.stdout + "".join(str(sortie) for sortie in _corrige.outputs)
assert {JUSTE!r} in _dit, _dit"""


def solution(cellule: NotebookNode) -> str | None:
    """Le code d'une solution repliée, ou None si la cellule n'en contient pas."""
    if cellule.cell_type != "markdown" or "<details" not in cellule.source:
        return None
    bloc = re.search(r"^```python[ \t]*\n(.*?)^```[ \t]*$", cellule.source, flags=re.M | re.S)
    return bloc.group(1).rstrip() if bloc else None


def exercices(carnet: NotebookNode) -> list[tuple[int, str | None]]:
    """Le rang (depuis 0) de chaque cellule ``exercice`` et sa solution, lue dans la suivante."""
    suivantes = [*carnet.cells[1:], None]
    return [
        (rang, solution(suivante) if suivante else None)
        for rang, (cellule, suivante) in enumerate(zip(carnet.cells, suivantes, strict=True))
        if cellule.cell_type == "code" and EXERCICE in cellule.metadata.get("tags", [])
    ]


def glisser(carnet: NotebookNode) -> NotebookNode:
    """Ajoute après chaque exercice sa solution et son épreuve : une exécution vaut pour les deux.

    L'énoncé s'exécute d'abord, tel que l'apprenant le trouve ; une solution fausse arrête le carnet.

    Raises:
        ValueError: un exercice n'a pas de solution, ou le carnet n'a pas d'exercice.
    """
    trouves = exercices(carnet)
    if not trouves:
        raise ValueError("aucun exercice")
    for rang, correction in reversed(trouves):
        if correction is None:
            raise ValueError(f"cellule {rang + 1} : exercice sans solution")
        carnet.cells[rang + 1 : rang + 1] = [
            new_code_cell(f"%%capture _corrige\n{correction}"),
            new_code_cell(EPREUVE),
        ]
    return carnet


def glisser_dans(chemin: Path) -> None:
    """Glisse ses solutions dans un carnet, sur place.

    Raises:
        ValueError: un exercice n'a pas de solution, ou le carnet n'a pas d'exercice.
    """
    nbformat.write(glisser(nbformat.read(chemin, as_version=4)), chemin)
