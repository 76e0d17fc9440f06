"""Réexécute les carnets du dépôt et enregistre leurs sorties (make carnets)."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient

from outils.tester import DELAI_PAR_CELLULE, ENVIRONNEMENT, RACINE

#: Les sorties volumineuses ou propres à la machine qu'un carnet enregistré ne garde pas.
METADONNEES_RETIREES = ("widgets", "signature")


def executer(carnet: Path) -> float:
    """Exécute un carnet dans un dossier de travail neuf et l'enregistre ; rend sa durée."""
    travail = RACINE / "build" / "execution" / carnet.stem
    shutil.rmtree(travail, ignore_errors=True)
    travail.mkdir(parents=True)
    contenu = nbformat.read(carnet, as_version=4)
    os.environ.update(ENVIRONNEMENT)
    debut = time.monotonic()
    NotebookClient(
        contenu, timeout=DELAI_PAR_CELLULE, resources={"metadata": {"path": str(travail)}}
    ).execute()
    duree = time.monotonic() - debut
    nettoyer(contenu)
    nbformat.write(contenu, carnet)
    return duree


def nettoyer(contenu: nbformat.NotebookNode) -> None:
    """Retire ce qui change sans raison d'une exécution à l'autre."""
    for cle in METADONNEES_RETIREES:
        contenu.metadata.pop(cle, None)
    for cellule in contenu.cells:
        cellule.metadata.pop("execution", None)


def main() -> int:
    """Réexécute les carnets nommés, ou tous."""
    analyse = argparse.ArgumentParser(description=__doc__)
    analyse.add_argument("carnets", nargs="*", help="noms sans extension ; tous par défaut")
    noms = analyse.parse_args().carnets
    for carnet in sorted((RACINE / "notebooks").glob("*.ipynb")):
        if not noms or carnet.stem in noms:
            print(f"{carnet.name} : {executer(carnet):.0f} s", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
