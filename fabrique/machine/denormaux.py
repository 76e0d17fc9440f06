"""Les nombres trop petits pour le processeur, comptés pour zéro le temps d'un calcul.

Sous 1e-38, un nombre en 32 bits est « dénormalisé » : le processeur le calcule en plusieurs
dizaines de fois plus de temps qu'un autre. Une attention sûre d'elle en fait des milliers, tous
les poids qu'elle donne aux jetons qu'elle ignore.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def sans_denormaux() -> Iterator[None]:
    """Compte pour zéro les nombres dénormalisés, puis rend le processeur tel qu'il était.

    Réentrant. Les fils de calcul qui naissent ici les comptent pour zéro jusqu'à leur fin.
    """
    deja = comptes_pour_zero()
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(deja)


def comptes_pour_zero() -> bool:
    """Vrai si, dans ce fil, le plus petit nombre ordinaire divisé par deux vaut zéro."""
    return sys.float_info.min / 2 == 0
