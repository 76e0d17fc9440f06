"""Ce que la machine offre : carte, mémoires, cœurs, disque, versions."""

from __future__ import annotations

import importlib.metadata
import math
import os
import platform
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

from fabrique.socle.emplacements import accepte_l_ecriture

BIBLIOTHEQUES = ("torch", "transformers", "peft", "bitsandbytes", "accelerate", "datasets")


@dataclass(frozen=True)
class Machine:
    """Ce que la machine, ou le conteneur, offre ; mémoires et disque en octets."""

    gpu: str | None
    memoire_gpu: int
    bf16: bool
    memoire_vive: int
    disque_libre: int
    coeurs: int
    colab: bool
    versions: dict[str, str]
    ecriture: bool = True


def examiner(dossier: str | Path = ".") -> Machine:
    """Regarde la machine, sans rien modifier.

    Args:
        dossier: où mesurer la place libre sur le disque, et le droit d'écrire.
    """
    import torch  # ici : qui ne lit que le profil n'en a pas besoin

    dossier = _existant(Path(dossier))
    gpu = torch.cuda.is_available()
    carte = torch.cuda.get_device_properties(0) if gpu else None
    return Machine(
        gpu=carte.name if carte else None,
        memoire_gpu=carte.total_memory if carte else 0,
        # is_bf16_supported() compte l'émulation : seule la génération de la carte fait foi.
        bf16=bool(carte and carte.major >= 8),
        memoire_vive=memoire_accordee(),
        disque_libre=shutil.disk_usage(dossier).free,
        coeurs=coeurs_accordes(),
        colab="google.colab" in sys.modules or "COLAB_RELEASE_TAG" in os.environ,
        versions={"python": platform.python_version(), **_versions()},
        ecriture=accepte_l_ecriture(dossier),
    )


def memoire_accordee(racine: Path = Path("/")) -> int:
    """La mémoire vive, en octets : celle du conteneur s'il en a moins que la machine hôte.

    Args:
        racine: la racine du système de fichiers, où sont ``proc`` et ``sys``.
    """
    noms = ("memory.max", "memory.limit_in_bytes")  # cgroup v2, puis v1
    lues = [_lire(groupe / nom) for groupe in _groupes(racine, "memory") for nom in noms]
    return min([psutil.virtual_memory().total, *(int(lue) for lue in lues if lue.isdigit())])


def memoire_disponible(racine: Path = Path("/")) -> int:
    """Ce qu'il reste de cette mémoire, en octets ; le cache des fichiers, qui se rend, n'est pas compté."""
    restes = [psutil.virtual_memory().available]
    for groupe in _groupes(racine, "memory"):
        for limite, usage in (
            ("memory.max", "memory.current"),
            ("memory.limit_in_bytes", "memory.usage_in_bytes"),
        ):
            accordee, occupee = _lire(groupe / limite), _lire(groupe / usage)
            if accordee.isdigit() and occupee.isdigit():
                cache = dict(ligne.split() for ligne in _lire(groupe / "memory.stat").splitlines())
                a_rendre = cache.get("total_inactive_file", cache.get("inactive_file", 0))
                restes.append(int(accordee) - int(occupee) + int(a_rendre))
    return max(0, min(restes))


def coeurs_accordes(racine: Path = Path("/")) -> int:
    """Les cœurs que ce processus peut occuper ; une part de cœur compte pour un.

    Args:
        racine: la racine du système de fichiers, où sont ``proc`` et ``sys``.
    """
    quotas = []
    for groupe in _groupes(racine, "cpu"):
        quotas.append(_lire(groupe / "cpu.max").split())
        quotas.append([_lire(groupe / nom) for nom in ("cpu.cfs_quota_us", "cpu.cfs_period_us")])
    # Sans limite, le quota s'écrit « max » (v2) ou -1 (v1).
    parts = [int(q[0]) / int(q[1]) for q in quotas if len(q) == 2 and q[0].isdigit()]
    visibles = (
        len(psutil.Process().cpu_affinity())
        if hasattr(psutil.Process, "cpu_affinity")
        else os.cpu_count() or 1
    )
    return min([visibles, *(max(1, math.ceil(part)) for part in parts)])


def _groupes(racine: Path, ressource: str) -> Iterator[Path]:
    """Le groupe de contrôle de ce processus et ses parents : la limite peut être sur chacun.

    Source : documentation du noyau Linux, « Control Group v2 » et « Control Groups version 1 ».
    """
    for ligne in _lire(racine / "proc/self/cgroup").splitlines():
        _, ressources, chemin = ligne.split(":", 2)
        if ressources and ressource not in ressources.split(","):
            continue
        # La v2 (sans nom de ressource) a une seule arborescence, la v1 une par ressource.
        monte = racine / "sys/fs/cgroup" / (ressource if ressources else "")
        groupe = Path(chemin.lstrip("/"))
        yield from (monte / parent for parent in (groupe, *groupe.parents))


def _lire(fichier: Path) -> str:
    try:
        return fichier.read_text(encoding="utf-8").strip()
    except OSError:
        return ""


def _versions() -> dict[str, str]:
    versions = {}
    for nom in BIBLIOTHEQUES:
        try:
            versions[nom] = importlib.metadata.version(nom)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


def _existant(dossier: Path) -> Path:
    """Le premier dossier qui existe en remontant : celui dont on peut mesurer le disque."""
    return next(d for d in (dossier.resolve(), *dossier.resolve().parents) if d.exists())
