"""Éprouve le kit hors ligne : le construit, l'installe sans réseau, y exécute le carnet 00.

Linux seulement : ``unshare`` ne laisse au carnet que l'adresse locale 127.0.0.1. Comptez une
dizaine de minutes et 4 Go (make test-kit).
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from fabrique.cours.atelier.kit import construire
from fabrique.socle.nombres import en_go
from outils.tester import RACINE

TRAVAIL = RACINE / "build" / "essai_kit"
CARNET = "notebooks/00_demarrage.ipynb"


def sans_reseau(*commande: str | Path, dossier: Path) -> None:
    """Lance une commande dans un espace de noms sans réseau et un environnement vide."""
    espace = ["unshare", "-n"] if os.geteuid() == 0 else ["unshare", "-rn"]
    environnement = {
        "PATH": "/usr/bin:/bin:/usr/sbin:/sbin",
        "HOME": str(TRAVAIL),
        "LANG": "C.UTF-8",
    }
    fils = ("OMP_NUM_THREADS", "OMP_WAIT_POLICY")  # une machine chargée les règle
    environnement |= {nom: os.environ[nom] for nom in fils if nom in os.environ}
    environnement["PYTHON"] = sys.executable
    locale = ["sh", "-c", 'ip link set lo up && exec "$@"', "sh"]
    subprocess.run(
        [*espace, *locale, *map(str, commande)], cwd=dossier, env=environnement, check=True
    )


def main() -> int:
    """Construit, installe, exécute ; toute étape qui échoue arrête tout."""
    kit, cours = TRAVAIL / "kit", TRAVAIL / "cours"
    shutil.rmtree(cours, ignore_errors=True)
    python = ".".join(map(str, sys.version_info[:2]))
    print(f"Kit : {en_go(construire(kit, ['linux'], [python]))}.", flush=True)
    sans_reseau("sh", kit / "installer.sh", cours, dossier=TRAVAIL)
    sans_reseau(cours / ".venv/bin/jupyter", "execute", CARNET, dossier=cours)
    print("Installé et exécuté sans réseau : 1 passed, 0 failed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
