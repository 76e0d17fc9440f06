"""Un réglage porte lui-même son défaut, son aide et ce qu'il accepte : la commande les lit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import field, fields
from typing import Any

from fabrique.socle.erreurs import ErreurFabrique, Nombre


def reglage(
    defaut: Any,
    aide: str = "",
    accepte: Nombre | None = None,
    option: str = "",
    lire: Callable[[str], Any] | None = None,
) -> Any:
    """Un champ de dataclass, dont la ligne de commande fait une option.

    Args:
        defaut: la valeur de qui ne règle rien.
        aide: ce que dit ``--help`` ; vide, la commande n'en fait pas une option.
        accepte: les nombres permis ; None pour un texte ou un oui-ou-non.
        option: le nom de l'option, quand ce n'est pas celui du champ.
        lire: ce qui fait une valeur d'un texte tapé, quand ce n'est pas un nombre.

    Source : peft, ``LoraConfig``, dont les champs portent leur aide dans ``metadata``.
    """
    return field(
        default=defaut,
        metadata={"aide": aide, "accepte": accepte, "option": option, "lire": lire},
    )


def verifier_les_nombres(reglages: Any) -> None:
    """Refuse le premier champ dont le nombre n'est pas de ceux qu'il accepte.

    Raises:
        ErreurFabrique: elle nomme le champ et dit ce qu'il accepte.
    """
    for champ in fields(reglages):
        forme, valeur = champ.metadata.get("accepte"), getattr(reglages, champ.name)
        if forme and not forme.accepte(valeur):
            raise refuser(valeur, f"Donnez {forme}", champ.name)


def refuser(valeur: object, remede: str, champ: str) -> ErreurFabrique:
    """L'erreur d'une valeur qui ne convient pas à son champ, ou à son option."""
    return ErreurFabrique(f"« {valeur} » ne convient pas", remede, champ=champ)
