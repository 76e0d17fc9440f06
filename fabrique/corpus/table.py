"""Poser un corpus sur le disque pour le parcourir plusieurs fois sans le garder en mémoire."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict
from itertools import islice
from pathlib import Path

import pyarrow
from datasets import Dataset

from fabrique.corpus.fichiers import Ligne
from fabrique.corpus.lecture import Exemple, lire_exemples
from fabrique.socle.erreurs import ErreurFabrique

_COLONNES = pyarrow.schema(
    [("rang", pyarrow.int64()), ("ligne", pyarrow.int64()), ("exemple", pyarrow.large_string())]
)


def poser(lignes: Iterable[Ligne], chemin: Path) -> tuple[Dataset, ErreurFabrique | None]:
    """Écrit les exemples dans un fichier Arrow, que le système ne charge qu'à la demande.

    Returns:
        Le corpus (``rang``, ``ligne``, ``exemple`` en JSON : forme, contenu, défauts, alertes), et
        l'erreur qui a interrompu la lecture s'il y en a une.
    """
    exemples, interruption = lire_exemples(lignes), None
    with (
        pyarrow.OSFile(str(chemin), "wb") as flux,
        pyarrow.ipc.new_stream(flux, _COLONNES) as ecrivain,
    ):
        while interruption is None:
            lot: list[dict] = []
            try:
                lot.extend(_en_rangee(exemple) for exemple in islice(exemples, 1000))
            except ErreurFabrique as cause:
                interruption = cause
            if not lot:
                break
            ecrivain.write_batch(pyarrow.RecordBatch.from_pylist(lot, schema=_COLONNES))
    return Dataset.from_file(str(chemin)), interruption


def _en_rangee(exemple: Exemple) -> dict:
    """Un exemple sous la forme d'une rangée : son contenu, ses défauts et ses alertes en JSON."""
    defauts = [asdict(defaut) for defaut in exemple.defauts]
    if exemple.erreur:
        defauts = [en_defaut(exemple.erreur)]
    objet = {
        "forme": exemple.forme,
        "contenu": exemple.contenu,
        "defauts": defauts,
        "alertes": [asdict(alerte) for alerte in exemple.alertes],
        "laisse": exemple.laisse,
    }
    texte = json.dumps(objet, default=str)  # une date, des octets : un Parquet en contient
    return {"rang": exemple.rang, "ligne": exemple.ligne, "exemple": texte}


def en_defaut(erreur: ErreurFabrique) -> dict:
    """Une erreur de lecture dite comme un défaut de structure."""
    return {
        "regle": "structure.illisible",
        "champ": erreur.champ or "",
        "message": erreur.message,
        "remede": erreur.remede,
    }
