"""Abîmer un corpus exprès, comme la vie le fait : pour apprendre à le réparer, et voir ce qu'il en coûte.

Deux usages dans le carnet 02 : une quarantaine d'exemples aux dégâts variés, que l'on répare
étape par étape ; et des réponses abîmées d'une seule façon, dont on apprend.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from datasets import Dataset

from fabrique.corpus import jeu, lire_corpus

SAINS = 36
_ANGLAIS = (
    "You can apply online at any time. Please keep a copy of every document, and contact the "
    "town hall if you have not received an answer after two months."
)
# Personne ne répond à ces coordonnées : plage réservée aux fictions, numéro de sécurité
# sociale d'un département qui n'existe pas, IBAN des documentations.
_COORDONNEES = (
    " Pour toute question, appelez Mme Trébuchet au 06 39 98 41 27.",
    " Votre numéro, 2 85 07 00 123 456 43, figure déjà au dossier.",
    " Le virement part du compte FR14 2004 1010 0505 0001 3M02 606.",
)


def corpus_abime(graine: int = 0) -> list[dict]:
    """Une quarantaine d'exemples de *demarches*, dont une vingtaine abîmés, dans un ordre mêlé."""
    demarches = [e for e in lire_corpus("demarches") if not e["input"]]
    hasard = random.Random(graine)
    exemples = hasard.sample([e for e in demarches if e["jeu"] == "entrainement"], SAINS)
    for abimer, rangs in DEGATS:
        for place, rang in enumerate(rangs):
            exemples[rang] = abimer(exemples[rang], place)
    copie = exemples[-1]
    exemples += [
        exemples[-2] | {"id": "copie-1"},
        exemples[-3] | {"id": "copie-2", "instruction": exemples[-3]["instruction"].upper()},
        copie | {"id": "retouche-1", "instruction": "Autre tournure : " + copie["instruction"],
                 "output": "Bonjour. " + copie["output"]},
        exemples[-4] | {"id": "fuite-1", "jeu": "test"},
    ]  # fmt: skip
    hasard.shuffle(exemples)
    return exemples


def _vider(exemple: dict, _place: int) -> dict:
    return exemple | {"output": "  "}


def _mal_decoder(exemple: dict, _place: int) -> dict:
    """De l'UTF-8 relu comme du Windows-1252 : « dÃ©jÃ  »."""
    return exemple | {"output": exemple["output"].encode("utf-8").decode("cp1252", "ignore")}


def _baliser(exemple: dict, _place: int) -> dict:
    return exemple | {"output": f"<p>{exemple['output']}</p>&nbsp;"}


def _faire_l_assistant(exemple: dict, _place: int) -> dict:
    debut = "En tant que modèle de langage, je ne peux pas traiter votre dossier. "
    return exemple | {"output": debut + exemple["output"]}


def _traduire(exemple: dict, _place: int) -> dict:
    return exemple | {"output": _ANGLAIS}


def _couper(exemple: dict, _place: int) -> dict:
    mots = exemple["output"].split()
    return exemple | {"output": " ".join(mots[: len(mots) // 2]).rstrip(".,;:!? ")}


def _divulguer(exemple: dict, place: int) -> dict:
    return exemple | {"output": exemple["output"] + _COORDONNEES[place]}


def _interdire(exemple: dict, _place: int) -> dict:
    return exemple | {"licence": "CC-BY-NC-4.0"}


#: Chaque dégât, et les rangs des exemples qu'il touche.
DEGATS: tuple[tuple[Callable[[dict, int], dict], tuple[int, ...]], ...] = (
    (_vider, (0, 1)),
    (_mal_decoder, (2, 3, 4)),
    (_baliser, (5, 6)),
    (_faire_l_assistant, (7, 8)),
    (_traduire, (9,)),
    (_couper, (10, 11)),
    (_divulguer, (12, 13, 14)),
    (_interdire, (15, 16)),
)


# ---------------------------------------------------------------- ce qu'il en coûte d'apprendre du gâché


def versions_abimees(nombre: int, graine: int = 0) -> dict[str, Dataset]:
    """Le même échantillon de *questions*, intact puis abîmé de trois façons."""
    appris = jeu(lire_corpus("questions"), "entrainement")
    rangs = random.Random(graine).sample(range(len(appris)), nombre)
    exemples = [appris[rang] for rang in rangs]
    reponses = [exemple["output"] for exemple in exemples]
    abimees = {
        "intactes": reponses,
        "échangées": reponses[1:] + reponses[:1],
        "tronquées": [_premier_tiers(texte) for texte in reponses],
        "mêlées": [_meler(texte, graine) for texte in reponses],
    }
    return {
        nom: lire_corpus(
            Dataset.from_list([e | {"output": dit} for e, dit in zip(exemples, dits, strict=True)])
        )
        for nom, dits in abimees.items()
    }


def _premier_tiers(texte: str) -> str:
    mots = texte.split()
    return " ".join(mots[: max(1, len(mots) // 3)])


def _meler(texte: str, graine: int) -> str:
    mots = texte.split()
    random.Random(graine).shuffle(mots)
    return " ".join(mots)
