"""Plusieurs processus, lancés par accelerate ou torchrun : qui écrit, qui parle."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout


def nombre_de_processus() -> int:
    """1, ou ce que le lanceur a demandé."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def rang_du_processus() -> int:
    """0, ou le rang que le lanceur a donné à celui-ci."""
    return int(os.environ.get("RANK", "0"))


def est_le_premier() -> bool:
    """Vrai pour le processus qui écrit et qui parle ; toujours vrai quand il est seul."""
    return rang_du_processus() == 0


@contextmanager
def seul_le_premier_parle() -> Iterator[None]:
    """Fait taire les autres processus, le temps d'un bloc ; leurs erreurs, elles, sortent."""
    if est_le_premier():
        yield
        return
    with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        yield
