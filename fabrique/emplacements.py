"""Où sont les fichiers livrés : dans le dépôt, ou dans la roue installée."""

from __future__ import annotations

from pathlib import Path

PAQUET = Path(__file__).resolve().parent
#: Le Falcon de poche : poids safetensors, tokenizer, notice.
FALCON_POCHE = PAQUET / "falcon_poche"
#: Les corpus écrits par le projet, par leur nom.
CORPUS_LIVRES = ("demarches", "style_xvii_amorce")


def dossier_data() -> Path:
    """Le dossier des corpus : ``fabrique/data`` dans la roue, ``data`` à côté du paquet dans le dépôt."""
    installe = PAQUET / "data"
    return installe if installe.is_dir() else PAQUET.parent / "data"
