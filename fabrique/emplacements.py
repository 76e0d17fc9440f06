"""Où sont les fichiers livrés, dans le dépôt ou la roue, et comment en écrire un d'un seul geste."""

from __future__ import annotations

import json
from pathlib import Path

PAQUET = Path(__file__).resolve().parent
#: Le Falcon de poche : poids safetensors, tokenizer, notice.
FALCON_POCHE = PAQUET / "falcon_poche"
#: Les corpus écrits par le projet, par leur nom.
CORPUS_LIVRES = ("demarches", "encyclopedie", "style_xvii", "fiches", "salle_secours")


def dossier_data() -> Path:
    """Le dossier des corpus : ``fabrique/data`` dans la roue, ``data`` à côté du paquet dans le dépôt."""
    installe = PAQUET / "data"
    return installe if installe.is_dir() else PAQUET.parent / "data"


def ecrire_json(chemin: Path, contenu: object) -> None:
    """Écrit du JSON d'un seul geste."""
    ecrire_texte(chemin, json.dumps(contenu, ensure_ascii=False, indent=2))


def ecrire_texte(chemin: Path, texte: str) -> None:
    """Écrit un texte à côté, puis le met en place : une coupure ne laisse jamais un fichier entamé."""
    chemin.parent.mkdir(parents=True, exist_ok=True)
    partiel = chemin.with_name(f"{chemin.name}.partiel")
    partiel.write_text(texte, encoding="utf-8")
    partiel.replace(chemin)
