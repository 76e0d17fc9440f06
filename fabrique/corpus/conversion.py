"""Passer d'un format à l'autre sans rien perdre, ou dire pourquoi c'est impossible.

Une conversion n'est rendue que si son inverse redonne exactement l'exemple de départ.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from datasets import Dataset

from fabrique.corpus.formats import ANNEXES, METADONNEES, SEPARATION
from fabrique.corpus.lecture import lire_corpus
from fabrique.corpus.votes import convertir_votes, est_un_fichier_de_votes
from fabrique.socle.emplacements import ecrire_signe, verifier_sortie
from fabrique.socle.erreurs import ErreurFabrique

_GARDEES = ("id", *METADONNEES, *(a for a in ANNEXES if a != "systeme"))


@dataclass
class Inexprimable(Exception):
    """Ce que le format d'arrivée ne sait pas dire d'un exemple, et quoi faire."""

    message: str
    remede: str = "Changez cet exemple, ou choisissez un autre format"


def en_conversation(exemple: dict) -> dict:
    """Une instruction en conversation d'un tour : système, demande et contexte, réponse."""
    demande = SEPARATION.join(filter(None, (exemple["instruction"], exemple["input"])))
    messages = [
        {"role": "system", "content": exemple.get("systeme") or ""},
        {"role": "user", "content": demande},
        {"role": "assistant", "content": exemple["output"]},
    ]
    return _accompagner(exemple, {"messages": [m for m in messages if m["content"]]})


def en_instruction(exemple: dict) -> dict:
    """Une conversation d'un tour en instruction ; ce qui suit la première ligne vide est le contexte."""
    contenus = {m["role"]: m["content"] for m in exemple["messages"]}
    instruction, _, contexte = contenus["user"].partition(SEPARATION)
    textes = {"instruction": instruction, "input": contexte, "output": contenus["assistant"]}
    consigne = {"systeme": contenus["system"]} if contenus.get("system") else {}
    return _accompagner(exemple, textes | consigne)


def _accompagner(exemple: dict, contenu: dict) -> dict:
    """Le contenu et ce qui l'accompagnait, sans les colonnes vides."""
    return {c: exemple[c] for c in _GARDEES if exemple.get(c)} | contenu


def _vers_alpaca(exemple: dict) -> dict:
    if "messages" not in exemple:
        consigne = {"systeme": exemple["systeme"]} if exemple.get("systeme") else {}
        textes = {c: exemple[c] for c in ("instruction", "input", "output")}
        return _accompagner(exemple, textes | consigne)
    if [m["role"] for m in exemple["messages"]].count("assistant") > 1:
        raise Inexprimable("une conversation de plusieurs tours ne tient pas dans le format Alpaca")
    if any(m.get("weight") == 0 for m in exemple["messages"]):
        raise Inexprimable("une réponse de poids 0 (« weight ») ne tient pas dans le format Alpaca")
    converti = en_instruction(exemple)
    if en_conversation({"input": "", **converti})["messages"] != _sans_poids(exemple["messages"]):
        raise Inexprimable(
            "la demande commence ou finit par une ligne vide, que le retour perdrait"
        )
    return converti


def _sans_poids(messages: list[dict]) -> list[dict]:
    """Les messages sans leur poids, qui vaut 1 quand on ne le dit pas."""
    return [{c: v for c, v in m.items() if c != "weight"} for m in messages]


def _vers_messages(exemple: dict) -> dict:
    if "messages" in exemple:
        messages = [{c: v for c, v in m.items() if v is not None} for m in exemple["messages"]]
        return _accompagner(exemple, {"messages": messages})
    converti = en_conversation(exemple)
    retour = en_instruction(converti)
    if any(
        (exemple.get(c) or "") != retour.get(c, "") for c in ("systeme", "instruction", "input")
    ):
        raise Inexprimable(
            "l’instruction contient une ligne vide : rien ne la distinguerait de son contexte"
        )
    return converti


def _vers_openai(exemple: dict) -> dict:
    converti = _vers_messages(exemple)
    perdues = [c for c in _GARDEES if c in converti]
    if perdues:
        raise Inexprimable(
            f"le format OpenAI n’a pas de place pour : {', '.join(perdues)}",
            "Ajoutez --sans_metadonnees",
        )
    return {"messages": converti["messages"]}


#: Les formats d'arrivée, par le nom qu'on donne à ``--format``.
CONVERSIONS: dict[str, Callable[[dict], dict]] = {
    "alpaca": _vers_alpaca,
    "messages": _vers_messages,
    "openai": _vers_openai,
}


def convertir(corpus: Dataset, format: str, sans_metadonnees: bool = False) -> list[dict]:
    """Convertit un corpus, sans perte.

    Args:
        corpus: instructions ou conversations, lues par ``lire_corpus``.
        format: « alpaca » (instruction, input, output), « messages » (rôles et contenus, avec
            les métadonnées) ou « openai » (rien que ``messages``).
        sans_metadonnees: laisse de côté langue, catégorie, source, licence, jeu et annexes.

    Returns:
        Un objet par exemple, prêt à écrire en JSON.

    Raises:
        ErreurFabrique: format inconnu, fiches, ou exemple que le format ne sait pas dire.
    """
    if format not in CONVERSIONS:
        raise ErreurFabrique(
            f"le format « {format} » n’existe pas", f"Choisissez entre {', '.join(CONVERSIONS)}"
        )
    if "texte" in corpus.column_names:
        raise ErreurFabrique("des fiches ne sont ni des instructions ni des conversations")
    convertis = []
    for rang, exemple in enumerate(corpus, 1):
        if sans_metadonnees:
            exemple = {c: v for c, v in exemple.items() if c == "id" or c not in _GARDEES}
        if format == "openai" and (sans_metadonnees or exemple["id"] == str(rang)):
            del exemple["id"]  # un simple numéro, que la relecture redonnera
        try:
            convertis.append(CONVERSIONS[format](exemple))
        except Inexprimable as cause:
            raise ErreurFabrique(f"exemple {rang} : {cause.message}", cause.remede) from None
    return convertis


def convertir_fichier(
    entree: str | Path,
    sortie: Path,
    format: str,
    sans_metadonnees: bool = False,
    ecraser: bool = False,
) -> int:
    """Convertit un corpus, ou des préférences, et l'écrit d'un seul geste : ``.json`` ou ``.jsonl``.

    Args:
        ecraser: remplace un fichier de sortie qui n'est pas à nous.

    Returns:
        Le nombre d'exemples ou de préférences écrits.

    Raises:
        ErreurFabrique: la sortie est l'entrée ou n'est pas à nous, ou conversion impossible.
    """
    verifier_sortie(sortie, entree, ecraser=ecraser)
    if est_un_fichier_de_votes(entree):
        convertis = convertir_votes(entree, format, sans_metadonnees)
    else:
        convertis = convertir(lire_corpus(entree), format, sans_metadonnees)
    ecrire_exemples(convertis, sortie)
    return len(convertis)


def ecrire_exemples(exemples: list[dict], sortie: Path) -> None:
    """Écrit des exemples en JSON ou en JSON Lines, à côté puis en place, et signe le fichier."""
    if sortie.suffix not in (".json", ".jsonl"):
        raise ErreurFabrique(
            f"l’extension « {sortie.suffix} » n’est pas écrite",
            "Terminez le nom par .json (un tableau) ou .jsonl (un exemple par ligne)",
            sortie,
        )
    if sortie.suffix == ".json":
        texte = json.dumps(exemples, ensure_ascii=False, indent=1) + "\n"
    else:
        texte = "".join(json.dumps(exemple, ensure_ascii=False) + "\n" for exemple in exemples)
    ecrire_signe(sortie, texte)
