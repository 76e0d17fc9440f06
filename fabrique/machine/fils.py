"""Combien de fils de calcul vont le plus vite ici."""

from __future__ import annotations

import os
import statistics
import time

import torch

from fabrique.machine.denormaux import sans_denormaux
from fabrique.machine.materiel import Machine
from fabrique.socle.nombres import en_francais

#: Ce que torch choisit seul, avant tout réglage : il compte les cœurs de la machine hôte.
FILS_DE_TORCH = torch.get_num_threads()
#: En deçà de ce gain, plusieurs fils ne valent pas le risque de s’attendre sur des cœurs partagés.
GAIN_MINIMAL = 1.15


def choisir_fils(machine: Machine) -> str:
    """Règle torch sur le nombre de fils le plus rapide ici ; rend ce qui a été choisi, et pourquoi.

    Sur des cœurs partagés (JupyterHub), des fils qui s'attendent peuvent aller plusieurs fois
    moins vite qu'un seul. ``OMP_NUM_THREADS`` est respecté.
    """
    if "OMP_NUM_THREADS" in os.environ:
        return f"{torch.get_num_threads()}, imposé par OMP_NUM_THREADS"
    plusieurs = min(FILS_DE_TORCH, machine.coeurs)
    if machine.gpu or plusieurs == 1:
        torch.set_num_threads(plusieurs)
        return str(plusieurs)
    gain = duree_avec(1) / duree_avec(plusieurs)
    retenus = plusieurs if gain >= GAIN_MINIMAL else 1
    torch.set_num_threads(retenus)
    vitesse = en_francais(gain, 1)
    return f"{retenus} (mesuré : {plusieurs} fils vont à {vitesse} fois la vitesse d’un seul)"


@sans_denormaux()
def duree_avec(fils: int) -> float:
    """Les secondes que prend, avec ce nombre de fils, un produit de la taille du Falcon de poche."""
    torch.set_num_threads(fils)
    jetons, poids = torch.ones(256, 320), torch.ones(320, 1280)
    durees = []
    for _ in range(9):
        depart = time.perf_counter()
        jetons @ poids
        durees.append(time.perf_counter() - depart)
    return statistics.median(durees[2:])  # les premiers tours réveillent les fils
