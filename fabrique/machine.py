"""La machine et le profil : tout ce qui dépend du matériel se décide ici."""

from __future__ import annotations

import importlib.metadata
import math
import os
import platform
import shutil
import statistics
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import psutil
import torch

from fabrique.emplacements import accepte_l_ecriture
from fabrique.erreurs import MACHINE, ErreurFabrique, expliquer_les_pannes

#: Unités décimales, celles des disques et des cartes : un gibioctet (Gio, 1024³) en fait 1,07.
MO, GO = 10**6, 10**9
BIBLIOTHEQUES = ("torch", "transformers", "peft", "bitsandbytes", "accelerate", "datasets")
#: En deçà, Falcon-7B en 4 bits et son réglage fin ne tiennent pas sur la carte. Une T4 annonce
#: 15 835 660 288 octets, soit 15,8 Go (14,7 Gio) ; une carte vendue pour 12 Go, 12,6.
MEMOIRE_GPU_MINIMALE = 13 * GO
#: Au-delà, quatre exemples de Falcon-7B tiennent ensemble : 13,2 Go estimés, et de la marge.
MEMOIRE_POUR_QUATRE = 19 * GO
#: Place nécessaire pour le Falcon de poche et ses points de reprise, et pour Falcon-7B.
DISQUE_MINIMAL = {"poche": 1 * GO, "7b": 20 * GO}
#: Ce que torch choisit seul, avant tout réglage : il compte les cœurs de la machine hôte.
FILS_DE_TORCH = torch.get_num_threads()
#: En deçà de ce gain, plusieurs fils ne valent pas le risque de s’attendre sur des cœurs partagés.
GAIN_MINIMAL = 1.15


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


@dataclass(frozen=True)
class Profil:
    """Tout ce qu'un carnet fait dépendre de la machine.

    ``calcul`` est le type des calculs, ``mbatch_size`` le nombre d'exemples traités
    ensemble, ``batch_size`` celui d'un pas d'apprentissage, ``recalcul`` dit si les
    activations sont recalculées pour épargner la mémoire, ``lora_dropout`` la part des entrées de
    l'adaptateur éteintes au hasard.
    """

    nom: str
    modele: str
    quantification: str
    calcul: str
    cutoff_len: int
    mbatch_size: int
    batch_size: int
    epochs: float
    learning_rate: float
    lora_r: int
    lora_dropout: float
    target_modules: tuple[str, ...] | str
    recalcul: bool
    max_new_tokens: int
    exemples: int | None
    duree_annoncee: str
    pourquoi: str
    avertissements: tuple[str, ...] = field(default=())


POCHE = Profil(
    nom="poche",
    modele="falcon-poche",
    quantification="nf4",
    calcul="float32",
    cutoff_len=512,
    mbatch_size=4,
    batch_size=4,
    epochs=1,
    learning_rate=5e-3,
    lora_r=8,
    # Sur processeur, tirer ce hasard coûte un septième de la vitesse (benchmarks/RESULTATS.md).
    lora_dropout=0,
    target_modules="all-linear",
    recalcul=False,
    max_new_tokens=220,
    exemples=None,
    duree_annoncee="une à deux minutes sur deux cœurs",
    pourquoi="aucun GPU utilisable : le Falcon de poche, embarqué, suffit pour tout voir",
)
T4 = Profil(
    nom="t4",
    modele="falcon-7b-instruct",
    quantification="nf4",
    calcul="float16",
    cutoff_len=256,
    # Deux exemples tiennent sans recalculer : environ 9,6 Go, estimés (benchmarks/RESULTATS.md).
    mbatch_size=2,
    batch_size=4,
    epochs=1,
    learning_rate=3e-4,
    lora_r=8,
    lora_dropout=0.05,
    target_modules=("query_key_value",),
    recalcul=False,
    max_new_tokens=220,
    exemples=None,
    duree_annoncee="mesurée dès les premiers pas",
    pourquoi="un GPU sans bf16 natif (T4) : Falcon-7B en 4 bits, calcul en fp16",
)
GPU = replace(
    T4,
    nom="gpu",
    calcul="bfloat16",
    pourquoi="un GPU récent : Falcon-7B en 4 bits, calcul en bf16",
)
#: Tout ce que fait une T4, calculé sur processeur : le modèle vient du cache du hub, où les tests
#: posent un Falcon minuscule (outils/jumeau.py).
JUMEAU = replace(
    T4,
    nom="jumeau",
    calcul="float32",
    duree_annoncee="quelques minutes sur deux cœurs",
    pourquoi="les réglages de la T4, essayés sur processeur avec un Falcon minuscule",
)
PROFILS = {profil.nom: profil for profil in (POCHE, T4, GPU, JUMEAU)}


def examiner(dossier: str | Path = ".") -> Machine:
    """Regarde la machine, sans rien modifier.

    Args:
        dossier: où mesurer la place libre sur le disque, et le droit d'écrire.
    """
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


# ---------------------------------------------------------------- le conteneur


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


# ---------------------------------------------------------------- les fils de calcul


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
    vitesse = f"{gain:.1f}".replace(".", ",")
    return f"{retenus} (mesuré : {plusieurs} fils vont à {vitesse} fois la vitesse d’un seul)"


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


def choisir_profil(machine: Machine) -> Profil:
    """Choisit le profil de la machine ; ``FABRIQUE_PROFIL`` (poche, t4, gpu, jumeau) force ce choix.

    Une grande carte traite ensemble tous les exemples d'un pas : ses poids se déballent moins.

    Raises:
        ErreurFabrique: nom de profil inconnu, ou bf16 demandé sur une carte qui l'émule.
    """
    force = os.environ.get("FABRIQUE_PROFIL")
    if force and force not in PROFILS:
        raise ErreurFabrique(
            f"le profil « {force} » n’existe pas",
            f"Donnez à FABRIQUE_PROFIL l’une de ces valeurs : {', '.join(PROFILS)}",
        )
    if force in ("t4", "gpu") and machine.gpu is None:
        raise ErreurFabrique(
            f"le profil « {force} » demande un GPU et aucun n’est visible",
            "Dans Colab, choisissez Exécution > Modifier le type d’exécution > T4, "
            "ou retirez FABRIQUE_PROFIL",
            code=MACHINE,
        )
    if force == "gpu":
        verifier_calcul("bfloat16", machine)
    if force:
        profil = replace(PROFILS[force], pourquoi="imposé par FABRIQUE_PROFIL")
    elif machine.gpu is None or machine.memoire_gpu < MEMOIRE_GPU_MINIMALE:
        profil = POCHE
    else:
        profil = GPU if machine.bf16 else T4
    if profil.nom in ("t4", "gpu") and machine.memoire_gpu >= MEMOIRE_POUR_QUATRE:
        profil = replace(profil, mbatch_size=profil.batch_size)
    return replace(profil, avertissements=tuple(avertir(machine, profil)))


def avertir(machine: Machine, profil: Profil) -> list[str]:
    """Ce qui gênera plus tard, dit tout de suite, chacun avec sa solution."""
    alertes = []
    if machine.gpu and machine.memoire_gpu < MEMOIRE_GPU_MINIMALE:
        alertes.append(
            f"{machine.gpu} n’a que {en_go(machine.memoire_gpu)} de mémoire, il en faut "
            f"{en_go(MEMOIRE_GPU_MINIMALE)} pour Falcon-7B : le cours continue avec le Falcon "
            "de poche."
        )
    if not machine.ecriture:
        alertes.append(
            "Ce dossier n’accepte pas d’écriture : vos paris restent en mémoire, le temps de la "
            "session, et rien d’autre ne se garde. Copiez le carnet dans un dossier à vous et "
            "ouvrez-le de là."
        )
    besoin = DISQUE_MINIMAL["poche" if profil.modele == "falcon-poche" else "7b"]
    if machine.disque_libre < besoin:
        alertes.append(
            f"Il reste {en_go(machine.disque_libre)} sur le disque, prévoyez {en_go(besoin)} : "
            "supprimez d’anciens points de reprise ou choisissez un autre dossier de sortie."
        )
    return alertes


def verifier_calcul(calcul: str, machine: Machine) -> None:
    """Refuse le bf16 sur un GPU qui ne fait que l'émuler.

    Raises:
        ErreurFabrique: bf16 demandé sur une T4 ou une carte de cet âge.
    """
    if calcul == "bfloat16" and machine.gpu and not machine.bf16:
        raise ErreurFabrique(
            f"{machine.gpu} ne calcule pas en bf16",
            "Demandez « float16 », ou laissez le profil choisir",
            code=MACHINE,
        )


def en_go(octets: float) -> str:
    """Une place lisible, en unités décimales : « 15,8 Go », « 12 Mo » sous le dixième de Go."""
    if octets < GO / 10:
        return f"{octets / MO:.0f}\u00a0Mo"
    return f"{octets / GO:.1f}\u00a0Go".replace(".", ",")


def en_mo(octets: float) -> str:
    """Une taille de fichier ou de poids, dans la même unité : « 22,3 Mo »."""
    return f"{octets / MO:,.1f}\u00a0Mo".replace(",", "\u202f").replace(".", ",")


def decrire(machine: Machine, profil: Profil) -> str:
    """Le compte rendu que montrent ``fabrique machine`` et la première cellule d'un carnet."""
    gpu = f"{machine.gpu} ({en_go(machine.memoire_gpu)})" if machine.gpu else "aucun"
    versions = " · ".join(f"{nom} {v}" for nom, v in machine.versions.items())
    lignes = [
        f"GPU            : {gpu}",
        f"Mémoire vive   : {en_go(machine.memoire_vive)}",
        f"Disque libre   : {en_go(machine.disque_libre)}",
        f"Cœurs          : {machine.coeurs}",
        f"Google Colab   : {'oui' if machine.colab else 'non'}",
        f"Versions       : {versions}",
        f"Profil         : {profil.nom} — {profil.pourquoi}",
        f"Modèle         : {profil.modele}, quantification {profil.quantification}",
        *(f"Attention      : {alerte}" for alerte in profil.avertissements),
    ]
    return "\n".join(lignes)


def preparer() -> Profil:
    """Prépare un carnet : regarde la machine, choisit le profil et les fils, et montre ce choix.

    À partir de là, un nom inconnu ou une cellule arrêtée se disent en français, sans trace.

    Returns:
        Le profil, que les cellules suivantes emploient tel quel.
    """
    expliquer_les_pannes()
    machine = examiner()
    profil = choisir_profil(machine)
    print(decrire(machine, profil))
    print(f"Fils de calcul : {choisir_fils(machine)}")
    return profil


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
