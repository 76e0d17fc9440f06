"""Installe le cours depuis le kit, sans réseau : ``python installer.py [DOSSIER]``.

Ce fichier est recopié à la racine du kit. Il n'emploie que la bibliothèque standard.
"""

from __future__ import annotations

import platform
import shutil
import subprocess
import sys
from pathlib import Path

KIT = Path(__file__).resolve().parent
#: Les premières versions que les bibliothèques figées acceptent.
MINIMALES = {"3.11": "3.11.0", "3.12": "3.12.0", "3.13": "3.13.0"}
SYSTEMES = {"Linux": "linux", "Windows": "windows", "Darwin": "macos"}


def liste_de_cette_machine() -> Path:
    """La liste des roues de ce système et de ce Python ; s'arrête si le kit ne l'a pas."""
    systeme = SYSTEMES.get(platform.system(), platform.system())
    python = ".".join(map(str, sys.version_info[:2]))
    minimale = MINIMALES.get(python, "")
    if minimale and sys.version_info[2] < int(minimale.split(".")[2]):
        trop_vieux = ".".join(map(str, sys.version_info[:3]))
        sys.exit(f"À corriger : Python {trop_vieux} est trop ancien. Installez {minimale} ou plus.")
    liste = KIT / "listes" / f"{systeme}-{python}.txt"
    if not liste.is_file():
        contenues = ", ".join(sorted(fichier.stem for fichier in liste.parent.glob("*.txt")))
        sys.exit(
            f"À corriger : ce kit n’a rien pour {systeme}-{python}. Il contient : {contenues}. "
            "Lancez installer.py avec l’un de ces Python, par exemple « py -3.11 installer.py » "
            "sous Windows ou « python3.11 installer.py » ailleurs."
        )
    return liste


def installer(cible: Path) -> None:
    """Copie le cours, crée son environnement, y installe les roues du kit et elles seules."""
    liste = liste_de_cette_machine()
    print(f"Installation dans {cible}, sans réseau. Comptez quelques minutes.", flush=True)
    shutil.copytree(str(KIT / "cours"), str(cible), dirs_exist_ok=True)
    _lancer(sys.executable, "-m", "venv", "--clear", cible / ".venv")
    programmes = cible / ".venv" / ("Scripts" if platform.system() == "Windows" else "bin")
    # --isolated : ni variable ni fichier de configuration de pip ; le kit se suffit.
    options = ["--isolated", "--quiet", "--disable-pip-version-check", "--no-index"]
    roues = ["--find-links", KIT / "roues", "-r", liste, *(KIT / "roues").glob("fabrique-*.whl")]
    _lancer(programmes / "python", "-m", "pip", "install", *options, *roues)
    _lancer(programmes / "fabrique", "atelier", "verifier", "--hors_ligne", dans=cible)
    print(f"\nPour ouvrir le cours :\n  cd {cible}")
    print(f"  {programmes / 'jupyter'} lab notebooks/00_demarrage.ipynb")


def _lancer(*commande: object, dans: Path | None = None) -> None:
    """Lance une commande ; son échec arrête l'installation, son message déjà imprimé."""
    fini = subprocess.run([str(mot) for mot in commande], cwd=dans, check=False)
    if fini.returncode:
        sys.exit(f"À corriger : « {Path(str(commande[0])).name} » a échoué (message ci-dessus).")


if __name__ == "__main__":
    sys.stdout.reconfigure(errors="replace")
    sys.stderr.reconfigure(errors="replace")
    installer(Path(sys.argv[1]).resolve() if len(sys.argv) > 1 else Path.home() / "FabriqueLLM")
