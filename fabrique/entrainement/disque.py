"""La place sur le disque : comptée avant de commencer, revue avant chaque point de reprise."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors import SafetensorError

from fabrique.entrainement.adaptateur import parametres_entraines
from fabrique.entrainement.reglages import Reglages
from fabrique.socle.erreurs import MACHINE, ErreurFabrique
from fabrique.socle.nombres import en_go, en_mo

#: Les petits fichiers d'un point (états du hasard, journal, notice), en octets.
PETITS_FICHIERS = 1_000_000
INTACT = (
    "Libérez de la place, puis relancez la même cellule ou la même commande : elle reprendra au "
    "dernier point de reprise, qui est intact"
)


#: Ce que rend ``shutil.disk_usage``, sauf sous un quota déclaré.
_place_libre: list[Callable[[Path], int]] = [lambda dossier: shutil.disk_usage(dossier).free]


def place_libre(dossier: Path) -> int:
    """Octets libres là où est un dossier : ceux du disque, ou d'un quota déclaré."""
    return _place_libre[-1](dossier)


@contextmanager
def quota_declare(libre: Callable[[Path], int]) -> Iterator[None]:
    """Fait respecter un quota que le système ne connaît pas, le temps d'un bloc.

    Args:
        libre: rend les octets libres là où est un dossier.
    """
    _place_libre.append(libre)
    try:
        yield
    finally:
        _place_libre.pop()


def taille_d_un_point(modele: torch.nn.Module) -> int:
    """Octets d'un point de reprise : les poids appris et les deux moments d'Adam, en fp32."""
    return 3 * 4 * parametres_entraines(modele)


def verifier_disque(
    modele: torch.nn.Module, reglages: Reglages, sortie: Path, deja: int = 0
) -> None:
    """Vérifie que les points de reprise tiendront sur le disque, avant de commencer.

    L'ancien point ne part qu'une fois le nouveau écrit : il en faut un de plus.

    Args:
        deja: nombre de points déjà écrits par un lancement précédent.

    Raises:
        ErreurFabrique: il n'y a pas assez de place.
    """
    points = max(1, reglages.save_total_limit + 1 - deja)
    besoin = taille_d_un_point(modele) * points + 10 * PETITS_FICHIERS
    libre = place_libre(sortie)
    if libre < besoin:
        raise ErreurFabrique(
            f"il reste {en_go(libre)} sur le disque, les points de reprise en demandent "
            f"{en_go(besoin)}",
            "Libérez de la place, baissez save_total_limit ou changez de dossier de sortie",
            sortie,
            code=MACHINE,
        )


def verifier_place(modele: torch.nn.Module, sortie: Path) -> None:
    """Vérifie qu'un point de plus tiendra, juste avant de l'écrire.

    Raises:
        ErreurFabrique: il n'y a plus assez de place.
    """
    besoin = taille_d_un_point(modele) + PETITS_FICHIERS
    libre = place_libre(sortie)
    if libre < besoin:
        raise ErreurFabrique(
            f"le disque est plein : il reste {en_mo(libre)}, le point de reprise en demande "
            f"{en_mo(besoin)}",
            INTACT,
            sortie,
            code=MACHINE,
        )


@contextmanager
def ecriture_expliquee(sortie: Path) -> Iterator[None]:
    """Change en une phrase l'échec d'une écriture : disque plein, quota, dossier disparu."""
    try:
        yield
    except (OSError, RuntimeError, SafetensorError) as cause:
        raise ErreurFabrique(
            f"l’écriture a échoué ({getattr(cause, 'strerror', None) or str(cause)[:120]}), sans "
            "doute faute de place",
            INTACT,
            sortie,
            code=MACHINE,
        ) from cause
