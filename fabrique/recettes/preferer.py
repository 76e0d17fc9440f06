"""La commande ``preferer`` de bout en bout : lire des votes, charger, apprendre, mesurer."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fabrique.corpus.controle_votes import verifier_votes
from fabrique.corpus.votes import Preference, Vote, lire_votes, repartir_votes
from fabrique.entrainement.adaptateur import verifier_modele
from fabrique.entrainement.preferences import (
    Gains,
    apprendre_des_votes,
    juger_les_reponses,
    mesurer_les_gains,
)
from fabrique.entrainement.processus import est_le_premier, seul_le_premier_parle
from fabrique.entrainement.reglages_preferences import ReglagesPreferences
from fabrique.entrainement.reprise import verifier_a_nous
from fabrique.entrainement.resultat import ResultatEntrainement
from fabrique.evaluation.paires import Part
from fabrique.modeles.adaptateurs import charger_adaptateur, verifier_adaptateur
from fabrique.modeles.chargement import charger, squelette
from fabrique.socle.emplacements import dossier_durable, ecrire_signe, meme_endroit, programme
from fabrique.socle.erreurs import ErreurFabrique
from fabrique.socle.nombres import accorder, en_ecart

#: Ce que la commande écrit de sa mesure, à côté de l'adaptateur.
MESURE = "preferences.json"


@dataclass(frozen=True)
class Suivies:
    """Les préférences mises de côté qu'un modèle suit.

    Args:
        toutes: sur l'ensemble.
        quand_plus_longue, quand_plus_courte: selon la longueur de la réponse choisie, en signes :
            qui n'aurait appris que la longueur aurait tout d'un côté, et rien de l'autre.
        marge: la marge médiane, en nats.
    """

    toutes: Part
    quand_plus_longue: Part
    quand_plus_courte: Part
    marge: float

    @classmethod
    def de(cls, votes: Sequence[Vote], gains: Gains) -> Suivies:
        """Compte ce que disent des gains mesurés."""
        ecarts = np.array([_ecart_de_longueur(vote) for vote in votes])
        part = lambda ou: Part(int(gains.respectees[ou].sum()), int(ou.sum()))  # noqa: E731
        return cls(
            toutes=part(np.ones(len(votes), bool)),
            quand_plus_longue=part(ecarts > 0),
            quand_plus_courte=part(ecarts < 0),
            marge=float(np.median(gains.marges)),
        )

    def en_dictionnaire(self) -> dict[str, Any]:
        """Pour ``preferences.json``."""
        parts = {nom: valeur for nom, valeur in vars(self).items() if nom != "marge"}
        return {"marge_mediane": round(self.marge, 4)} | {
            nom: {"suivies": p.succes, "sur": p.total, "ic95": p.ic95} for nom, p in parts.items()
        }

    def __str__(self) -> str:
        lignes = [
            f"Préférences suivies : {self.toutes} ; marge médiane {en_ecart(self.marge, 2)} nats",
            f"  quand la réponse choisie est la plus longue : {self.quand_plus_longue}",
            f"  quand elle est la plus courte : {self.quand_plus_courte}",
        ]
        comparees = self.quand_plus_longue.total + self.quand_plus_courte.total
        return "\n".join(lignes if comparees else lignes[:1])


def _ecart_de_longueur(vote: Vote) -> int:
    return len(vote.choisie) - len(vote.ecartee) if isinstance(vote, Preference) else 0


@seul_le_premier_parle()
def preferer(
    modele: str,
    dataset: str,
    sortie: Path,
    reglages: ReglagesPreferences,
    adaptateur: str = "",
    quantification: str = "nf4",
    revision: str | None = None,
    accepter_donnees_personnelles: bool = False,
) -> ResultatEntrainement:
    """Apprend des préférences et dit combien, de celles qu'on n'a pas apprises, le modèle suit.

    La mesure s'écrit aussi dans ``preferences.json``.

    Args:
        modele: nom du catalogue, dossier ou identifiant du hub.
        dataset: préférences livrées ou fichier.
        sortie: dossier du nouvel adaptateur.
        adaptateur: celui d'où l'on part, qui reste intact ; vide : la base.
        accepter_donnees_personnelles: apprend même si les préférences en contiennent.

    Raises:
        ErreurFabrique: réglages que le modèle ne permet pas, dossier de sortie qui n'est pas à nous
            ou qui est celui du départ (avant de charger les poids), préférences illisibles ou
            fautives, données personnelles non acceptées.
    """
    vide = squelette(modele, revision)
    verifier_modele(vide, reglages)
    if adaptateur:
        verifier_adaptateur(adaptateur)
        if meme_endroit(sortie, adaptateur):
            raise ErreurFabrique(
                "la sortie est l’adaptateur de départ : il serait perdu",
                "Donnez un autre dossier : on pourra revenir à l’ancien",
                sortie,
                champ="--sortie",
            )
    if est_le_premier():
        for dossier in (sortie, dossier_durable(sortie, dire=False)):
            verifier_a_nous(dossier, vide.config._name_or_path)
    votes = lire_votes(dataset)
    for constat in verifier_votes(votes, dataset, accepter_donnees_personnelles):
        if constat.regle in A_DIRE:
            print(f"Attention : {constat.message}.")
    appris, gardes = repartir_votes(votes, reglages.val_set_size, reglages.graine)
    print(f"{accorder(len(appris), 'préférence')} à apprendre, {len(gardes)} de validation.")
    tokenizer, reseau = charger(modele, quantification, revision=revision)
    reference = None
    if gardes:
        depart = charger_adaptateur(reseau, adaptateur) if adaptateur else reseau
        reference = juger_les_reponses(depart, tokenizer, gardes, reglages.cutoff_len)
    resultat = apprendre_des_votes(
        reseau, tokenizer, appris, reglages, sortie, depart=adaptateur or None
    )
    print(resultat)
    if gardes:
        gains = mesurer_les_gains(
            resultat.modele, tokenizer, gardes, reglages.cutoff_len, reference
        )
        suivies = Suivies.de(gardes, gains)
        print(suivies)
        if est_le_premier():
            ecrire_signe(sortie / MESURE, json.dumps(suivies.en_dictionnaire()))
    if adaptateur:
        print(
            f"L’ancien adaptateur est intact ; pour y revenir : {programme('fabrique')} servir "
            f"--model {modele} --adaptateur {adaptateur}"
        )
    return resultat


#: Ce que disent des préférences prises ensemble, et qu'il faut savoir avant d'apprendre.
A_DIRE = (
    "preference.longueur",
    "preference.position",
    "preference.contradiction",
    "preference.pouces",
)
