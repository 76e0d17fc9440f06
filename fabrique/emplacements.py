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


#: Où Colab monte Google Drive, qui survit à la session.
DRIVE = Path("/content/drive/MyDrive")


def sur_drive(chemin: Path) -> bool:
    """Vrai si le chemin est dans le Drive monté par Colab."""
    return chemin.is_relative_to(DRIVE)


def dossier_durable(sortie: Path) -> Path:
    """Où mettre ce qui doit survivre à la session : sur Drive s'il est monté, sinon ``sortie``.

    Un chemin absolu est respecté : la personne a choisi. Drive reçoit les fichiers avec retard,
    parfois pas tous : ``complet.json`` dit, à la reprise, lesquels sont arrivés.

    Source : googlecolab/colabtools, ticket 287.
    """
    if sortie.is_absolute() or not DRIVE.is_dir():
        return sortie
    durable = DRIVE / "FabriqueLLM" / sortie
    print(
        f"Google Drive est monté : les points de reprise vont dans {durable}. Drive les reçoit "
        "avec retard : n’arrêtez pas l’exécution dans la minute qui suit une sauvegarde."
    )
    return durable


def ecrire_json(chemin: Path, contenu: object) -> None:
    """Écrit du JSON d'un seul geste."""
    ecrire_texte(chemin, json.dumps(contenu, ensure_ascii=False, indent=2))


def ecrire_texte(chemin: Path, texte: str) -> None:
    """Écrit un texte à côté, puis le met en place : une coupure ne laisse jamais un fichier entamé."""
    chemin.parent.mkdir(parents=True, exist_ok=True)
    partiel = chemin.with_name(f"{chemin.name}.partiel")
    partiel.write_text(texte, encoding="utf-8")
    partiel.replace(chemin)
