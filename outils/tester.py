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
from pathlib import Path

RACINE = Path(__file__).resolve().parent.parent
COPIES = RACINE / "build" / "carnets"
#: Sans réseau, avec le Falcon de poche : ce que tout lecteur peut refaire.
ENVIRONNEMENT = {
    **os.environ,
    "FABRIQUE_PROFIL": "poche",
    "HF_HUB_OFFLINE": "1",
    "PYTHONPATH": os.pathsep.join(filter(None, [str(RACINE), os.environ.get("PYTHONPATH", "")])),
}


def copier_carnets(motif: str = "*") -> list[Path]:
    """Copie les carnets voulus dans un dossier neuf ; rend leurs chemins."""
    shutil.rmtree(COPIES, ignore_errors=True)
    COPIES.mkdir(parents=True)
    carnets = sorted((RACINE / "notebooks").glob(f"{motif}.ipynb"))
    if not carnets:
        sys.exit(f"Aucun carnet ne correspond à « {motif} ».")
    return [Path(shutil.copy(carnet, COPIES)) for carnet in carnets]


def commandes(carnets: list[Path], style: bool) -> list[list[str]]:
    """Les commandes à lancer, dans l'ordre."""
    python = sys.executable
    nbval = ["--nbval-lax", "--nbval-cell-timeout=300", "-p", "no:cacheprovider"]
    lignes = [
        [python, "-m", "pytest", "tests"],
        [python, "-m", "pytest", *nbval, *map(str, carnets)],
    ]
    if style:
        lignes.insert(0, [python, "-m", "ruff", "check", "."])
    return lignes


def main() -> int:
    """Lance tout, même après un échec ; rend 1 si une commande a échoué."""
    analyse = argparse.ArgumentParser(description=__doc__)
    analyse.add_argument("--carnet", default="*", help="nom d'un carnet, sans extension")
    analyse.add_argument("--sans-style", action="store_true", help="ne lance pas ruff")
    options = analyse.parse_args()
    echecs = [
        " ".join(commande[2:4])
        for commande in commandes(copier_carnets(options.carnet), not options.sans_style)
        if subprocess.run(commande, cwd=RACINE, env=ENVIRONNEMENT).returncode
    ]
    print(f"Échecs : {', '.join(echecs)}." if echecs else "Tout est vert.")
    return 1 if echecs else 0


if __name__ == "__main__":
    sys.exit(main())
