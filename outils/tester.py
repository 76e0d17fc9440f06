"""Lance tous les tests : paquet, gardes, carnets exécutés sous nbval, style.

Les carnets sont copiés avant d'être exécutés : les fichiers qu'ils écrivent ne se mêlent
ni au dépôt ni aux paris de l'apprenant.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

import psutil

RACINE = Path(__file__).resolve().parent.parent
COPIES = RACINE / "build" / "carnets"
#: Sans réseau, avec le Falcon de poche : ce que tout lecteur peut refaire.
ENVIRONNEMENT = {
    **os.environ,
    "FABRIQUE_PROFIL": "poche",
    "HF_HUB_OFFLINE": "1",
    "PYTHONPATH": os.pathsep.join(filter(None, [str(RACINE), os.environ.get("PYTHONPATH", "")])),
}
#: Une commande par cœur, un fil par commande : deux carnets de front vont plus vite que deux fils.
UN_FIL = {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
#: Ce qu'un carnet peut occuper de mémoire vive, avec une marge, en octets.
MEMOIRE_PAR_OUVRIER = 4 * 1024**3
NBVAL = ["--nbval-lax", "--nbval-cell-timeout=300", "-p", "no:cacheprovider"]
SOLUTIONS = "tests/test_solutions.py::test_les_solutions_sont_justes"
JUMEAU = "tests/test_jumeau.py::test_le_carnet_passe_sur_le_jumeau"


def copier_carnets(motif: str = "*") -> list[Path]:
    """Copie les carnets voulus dans un dossier neuf ; rend leurs chemins."""
    shutil.rmtree(COPIES, ignore_errors=True)
    COPIES.mkdir(parents=True)
    carnets = sorted((RACINE / "notebooks").glob(f"{motif}.ipynb"))
    if not carnets:
        sys.exit(f"Aucun carnet ne correspond à « {motif} ».")
    return [Path(shutil.copy(carnet, COPIES)) for carnet in carnets]


def ouvriers() -> int:
    """Combien de commandes avancent ensemble : une par cœur, si la mémoire y suffit."""
    place = psutil.virtual_memory().available // MEMOIRE_PAR_OUVRIER
    return max(1, min(os.cpu_count() or 1, place))


def commandes(carnets: list[Path], style: bool) -> Iterator[list[str]]:
    """Les commandes à lancer, les plus longues d'abord.

    Chaque carnet est exécuté trois fois : tel quel sous nbval, avec ses solutions, puis sur le
    jumeau de Falcon-7B, aux réglages de la T4 (``outils/jumeau.py``).
    """
    pytest = [sys.executable, "-m", "pytest"]
    yield [*pytest, "tests", "--deselect", SOLUTIONS, "--deselect", JUMEAU]
    for carnet in sorted(carnets, reverse=True):
        yield [*pytest, f"{SOLUTIONS}[{carnet.stem}]"]
        yield [*pytest, *NBVAL, str(carnet)]
        yield [*pytest, f"{JUMEAU}[{carnet.stem}]"]
    if style:
        yield [sys.executable, "-m", "ruff", "check", "."]


def lancer(commande: list[str]) -> subprocess.CompletedProcess[str]:
    """Lance une commande et garde ce qu'elle dit, pour ne pas le mêler à celui des autres."""
    return subprocess.run(
        commande,
        cwd=RACINE,
        env={**ENVIRONNEMENT, **UN_FIL},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def main() -> int:
    """Lance tout, même après un échec ; rend 1 si une commande a échoué."""
    analyse = argparse.ArgumentParser(description=__doc__)
    analyse.add_argument("--carnet", default="*", help="nom d'un carnet, sans extension")
    analyse.add_argument("--sans-style", action="store_true", help="ne lance pas ruff")
    options = analyse.parse_args()
    a_lancer = commandes(copier_carnets(options.carnet), not options.sans_style)
    echecs = []
    with ThreadPoolExecutor(ouvriers()) as equipe:
        for tache in as_completed([equipe.submit(lancer, commande) for commande in a_lancer]):
            fait = tache.result()
            print(f"$ {' '.join(fait.args[1:])}\n{fait.stdout}", flush=True)
            if fait.returncode:
                echecs.append(" ".join(fait.args[2:]))
    print("\n- ".join(["Échecs :", *echecs]) if echecs else "Tout est vert.")
    return 1 if echecs else 0


if __name__ == "__main__":
    sys.exit(main())
