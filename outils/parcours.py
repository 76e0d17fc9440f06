"""Le parcours du cours, lu en tête des carnets : titre, durées, mémoire. La seule source."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import nbformat

from outils.tester import RACINE

_DUREE = re.compile(r"^(\d+) min de lecture ; calculs? : moins de (\d+) min")


@dataclass(frozen=True)
class Etape:
    """Un carnet : son numéro, son titre, ses minutes de lecture et de calcul, sans GPU."""

    fichier: Path
    numero: str
    titre: str
    lecture: int
    calcul: int
    en_bref: dict[str, str]


def lire_carnet(fichier: Path) -> Etape:
    """L'étape que décrit la première cellule d'un carnet.

    Raises:
        ValueError: la ligne « Durée » n'a pas la forme commune.
    """
    tete = nbformat.read(fichier, as_version=4).cells[0].source
    lignes = re.findall(r"^\| \*\*(.+?)\*\* \| (.+?) \|$", tete, re.M)
    en_bref = {nom: valeur.replace("\u00a0", " ") for nom, valeur in lignes}
    durees = _DUREE.match(en_bref.get("Durée", ""))
    if durees is None:
        raise ValueError(f"{fichier.name} : « Durée » ne se lit pas ({en_bref.get('Durée')})")
    titre = tete.splitlines()[0].removeprefix("# ")
    return Etape(fichier, fichier.name[:2], titre, int(durees[1]), int(durees[2]), en_bref)


def lire(racine: Path = RACINE) -> list[Etape]:
    """Les carnets numérotés, dans l'ordre."""
    return [lire_carnet(fichier) for fichier in sorted((racine / "notebooks").glob("[0-9]*.ipynb"))]
