"""La place que prennent les poids d'un modèle, par type de stockage."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import torch
from rich.console import Console
from rich.table import Table

from fabrique.modeles.quantification import (
    FORMATS,
    format_de,
    octets,
)
from fabrique.socle.nombres import en_francais, en_mo


@dataclass(frozen=True)
class LigneMemoire:
    """Des poids d'un même type : leur nombre et leur place, avant (16 bits) et après."""

    nature: str
    parametres: int
    octets_16_bits: int
    octets: int


def memoire(reseau: torch.nn.Module) -> list[LigneMemoire]:
    """Compte les poids par type de stockage.

    Les constantes de quantification (échelles des groupes) sont comptées avec les poids.
    """
    comptes: Counter = Counter()
    places: Counter = Counter()
    quantifies = set()
    for module in reseau.modules():
        if trouve := format_de(module):
            nature = FORMATS[trouve].nature
            comptes[nature] += module.in_features * module.out_features
            places[nature] += octets(module)
            quantifies.add(id(getattr(module, "weight", None)))
    for parametre in reseau.parameters():
        if id(parametre) not in quantifies:
            nature = str(parametre.dtype).removeprefix("torch.")
            comptes[nature] += parametre.numel()
            places[nature] += parametre.numel() * parametre.element_size()
    return [LigneMemoire(n, comptes[n], 2 * comptes[n], places[n]) for n in sorted(comptes)]


def montrer_memoire(reseau: torch.nn.Module) -> None:
    """Imprime le tableau de mémoire : poids par type, en 16 bits puis tels que chargés."""
    table = Table(title="Mémoire des poids")
    for titre in ("stockage", "poids", "en 16 bits", "chargé"):
        table.add_column(titre, justify="right")
    lignes = memoire(reseau)
    for ligne in lignes:
        table.add_row(
            ligne.nature,
            en_francais(ligne.parametres),
            en_mo(ligne.octets_16_bits),
            en_mo(ligne.octets),
        )
    table.add_row(
        "total",
        en_francais(sum(li.parametres for li in lignes)),
        en_mo(sum(li.octets_16_bits for li in lignes)),
        en_mo(sum(li.octets for li in lignes)),
    )
    Console(width=80, highlight=False).print(table)
