"""Apprendre à étiqueter des mots, par la marche du réglage fin : mêmes reprises, mêmes protections."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from datasets import Dataset
from transformers import (
    DataCollatorForTokenClassification,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from fabrique.corpus.entites import GENRES, Phrase
from fabrique.entrainement.exemples import Compte, Lecture, OrdreParLongueur
from fabrique.entrainement.marche import apprendre
from fabrique.entrainement.reglages import Reglages
from fabrique.entrainement.resultat import ResultatEntrainement
from fabrique.modeles.etiquetage import (
    ETIQUETTES,
    Etiqueteur,
    couper,
    en_jetons,
    etiqueter_les_mots,
    etiquettes_bio,
    poser_une_tete,
)
from fabrique.modeles.gabarits import SANS_PERTE
from fabrique.socle.emplacements import ecrire_signe
from fabrique.socle.erreurs import ErreurFabrique

#: Les étiquettes de nos genres, dans l'ordre de la tête.
ETIQUETTES_DES_ENTITES = etiquettes_bio(GENRES)


def apprendre_les_entites(
    modele: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    phrases: Sequence[Phrase],
    reglages: Reglages,
    sortie: str | Path,
    relu: bool = True,
) -> tuple[Etiqueteur, ResultatEntrainement]:
    """Pose une tête à étiquettes sur un modèle et l'apprend, avec un adaptateur ou tous les poids.

    Relancée à l'identique, la fonction reprend au dernier point de reprise valide, ou recharge ce qui
    est fait.

    Args:
        modele: rendu par ``charger`` ; ses couches servent, sa tête reste de côté.
        phrases: celles à apprendre.
        reglages: ceux du réglage fin ; ``cutoff_len`` borne les jetons d'une phrase, lue deux fois.
        relu: fait lire chaque phrase deux fois, et n'étiquette que la seconde.

    Raises:
        ErreurFabrique: comme ``entrainer`` ; ou une phrase plus longue que ``cutoff_len``.
    """
    pose = poser_une_tete(modele, ETIQUETTES_DES_ENTITES, reglages.graine)
    lire = partial(_lecture, phrases, tokenizer, relu, reglages.cutoff_len)
    resultat = apprendre(pose, tokenizer, lire, reglages, sortie)
    etiquettes = {"etiquettes": ETIQUETTES_DES_ENTITES, "relu": relu}
    ecrire_signe(Path(sortie) / ETIQUETTES, json.dumps(etiquettes, ensure_ascii=False))
    return Etiqueteur(tokenizer, resultat.modele, ETIQUETTES_DES_ENTITES, relu), resultat


def _lecture(
    phrases: Sequence[Phrase], tokenizer: PreTrainedTokenizerBase, relu: bool, cutoff_len: int
) -> Lecture:
    """Les phrases en jetons ; seul le dernier jeton de chaque mot a une étiquette."""
    exemples = Dataset.from_list(
        [exemple for phrase in phrases for exemple in _exemples(phrase, tokenizer, relu)]
    )
    longueurs = [len(ids) for ids in exemples["input_ids"]]
    if max(longueurs) > cutoff_len:
        raise ErreurFabrique(
            f"une phrase fait {max(longueurs)} jetons, lue comme elle doit l’être",
            f"Augmentez cutoff_len (il vaut {cutoff_len}), ou coupez la phrase",
            champ="cutoff_len",
        )
    return Lecture(
        exemples,
        Compte(lus=len(exemples), appris=len(exemples), coupes=0, ecartes=0),
        assembler=lambda _: DataCollatorForTokenClassification(
            tokenizer, label_pad_token_id=SANS_PERTE
        ),
        ordre=lambda _, lot, graine: OrdreParLongueur(longueurs, lot, graine),
        definition={"etiquettes": list(ETIQUETTES_DES_ENTITES), "relu": relu},
    )


def _exemples(phrase: Phrase, tokenizer: PreTrainedTokenizerBase, relu: bool) -> list[dict]:
    """Une phrase marquée, en jetons et en étiquettes ; plusieurs exemples si elle est longue."""
    passages = [(entite.debut, entite.fin, entite.genre) for entite in phrase.entites]
    exemples = []
    for mots in couper(phrase.texte):
        ids, places = en_jetons(tokenizer, phrase.texte, mots, relu)
        etiquettes = [SANS_PERTE] * len(ids)
        for place, etiquette in zip(places, etiqueter_les_mots(mots, passages), strict=True):
            etiquettes[place] = ETIQUETTES_DES_ENTITES.index(etiquette)
        exemples.append({"input_ids": ids, "labels": etiquettes})
    return exemples
