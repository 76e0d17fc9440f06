"""Un tableau en texte, par rich : pour le terminal, ou pour ce qui s'imprime dans un fichier."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.table import Table

#: Assez pour n'importe quelle ligne : c'est au terminal de couper, selon sa largeur.
_LARGEUR = 1000


def en_colonnes(titres: Sequence[str], rangees: Iterable[Sequence[str]]) -> str:
    """Des colonnes alignées sans filet : la première à gauche, les autres à droite."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="")
    for rang, titre in enumerate(titres):
        table.add_column(titre, justify="right" if rang else "left", no_wrap=True)
    for rangee in rangees:
        table.add_row(*rangee)
    return en_texte(table, _LARGEUR).rstrip("\n")


def en_texte(table: Table, largeur: int) -> str:
    """Un tableau de rich, tel qu'il s'imprimerait sur ``largeur`` signes."""
    ecrit = io.StringIO()
    Console(width=largeur, file=ecrit, highlight=False, markup=False, emoji=False).print(table)
    return ecrit.getvalue()
