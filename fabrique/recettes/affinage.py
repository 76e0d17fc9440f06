"""La commande ``finetune`` de bout en bout : lire, charger, apprendre, mesurer."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
from datasets import Dataset

from fabrique.corpus import (
    colonnes_du_fichier,
    donnees_personnelles,
    doublons_exacts,
    lire_corpus,
    repartir,
    verifier_encodage,
)
from fabrique.entrainement import Reglages, ResultatEntrainement, entrainer
from fabrique.entrainement.adaptateur import verifier_modele
from fabrique.entrainement.processus import est_le_premier, seul_le_premier_parle
from fabrique.entrainement.reprise import verifier_a_nous
from fabrique.evaluation import comparer_pertes, pertes
from fabrique.evaluation.epreuve import au_plus
from fabrique.machine.cartes import carte_de
from fabrique.machine.energie import energie_relevee
from fabrique.machine.materiel import examiner
from fabrique.machine.profil import choisir_profil
from fabrique.modeles.chargement import charger, squelette
from fabrique.recettes.cout import bilan
from fabrique.socle.emplacements import dossier_durable, ecrire_signe, est_signe
from fabrique.socle.erreurs import ErreurFabrique
from fabrique.socle.nombres import accorder, en_francais


@seul_le_premier_parle()
def affiner(
    modele: str,
    dataset: str,
    sortie: Path,
    reglages: Reglages,
    quantification: str = "nf4",
    revision: str | None = None,
    accepter_donnees_personnelles: bool = False,
    mesurer_energie: bool = False,
    suivre_la_validation: bool = False,
) -> ResultatEntrainement:
    """Affine un modèle sur un corpus et dit ce que la perte y a gagné.

    La perte de validation, avant et après, s'écrit aussi dans ``validation.json``.

    Args:
        modele: nom du catalogue, dossier ou identifiant du hub.
        dataset: corpus livré ou fichier.
        sortie: dossier de l'adaptateur.
        accepter_donnees_personnelles: apprend même si le corpus en contient.
        mesurer_energie: relève l'énergie de l'apprentissage (extension ``[carbone]``).
        suivre_la_validation: mesure à chaque relevé la perte de ``SUIVIS`` exemples de validation,
            pour voir le sur-apprentissage venir.

    Raises:
        ErreurFabrique: réglages que le modèle ne permet pas, dossier de sortie qui n'est pas à
            nous (les deux avant de charger les poids), corpus illisible ou mal décodé, données
            personnelles non acceptées, ou relevé d'énergie demandé sans son extension.
    """
    vide = squelette(modele, revision)
    verifier_modele(vide, reglages)
    if est_le_premier():
        for dossier in (sortie, dossier_durable(sortie, dire=False)):
            verifier_a_nous(dossier, vide.config._name_or_path)
    corpus = lire_corpus(dataset)
    verifier_encodage(dataset)
    _verifier_corpus(corpus, dataset, accepter_donnees_personnelles)
    validation = _repartir(corpus, reglages)
    for alerte in choisir_profil(examiner(sortie)).avertissements:
        print(f"Attention : {alerte}")
    tokenizer, reseau = charger(modele, quantification, revision=revision)
    avant = pertes(reseau, tokenizer, validation)
    with energie_relevee(mesurer_energie):
        suivie = au_plus(validation, SUIVIS) if suivre_la_validation and len(validation) else None
        resultat = entrainer(reseau, tokenizer, corpus, reglages, sortie, suivie)
    print(resultat)
    if np.isfinite(avant).sum() > 1:
        _dire_le_gain(avant, pertes(resultat.modele, tokenizer, validation), sortie)
    if sans_perte := int(np.isnan(avant).sum()):
        print(
            f"Sans {accorder(sans_perte, 'exemple')} de validation, où il ne reste rien à "
            "apprendre (question trop longue, ou réponses de poids nul)."
        )
    if compare := "" if revision else bilan(modele, resultat, carte_de(examiner().gpu)):
        print(compare)
    return resultat


def _repartir(corpus: Dataset, reglages: Reglages) -> Dataset:
    """Annonce la répartition ; rend les exemples de validation."""
    appris, validation = repartir(corpus, reglages.val_set_size, reglages.graine)
    part = f"val_set_size = {reglages.val_set_size:g}"
    origine = "colonne « jeu »" if any(corpus["jeu"]) else part
    print(f"{len(appris)} exemples à apprendre, {len(validation)} de validation ({origine}).")
    return validation


def _dire_le_gain(avant: np.ndarray, apres: np.ndarray, sortie: Path) -> None:
    """Compare les pertes de validation, et garde la comparaison dans ``validation.json``."""
    ecart = comparer_pertes(avant, apres)
    print(f"Validation : perte {en_francais(ecart.avant, 3)} → {en_francais(ecart.apres, 3)}")
    if not est_le_premier():
        return
    fichier = sortie / "validation.json"
    if fichier.exists() and not est_signe(fichier):
        print(f"{fichier} n’est pas de nous, ou a été changé : la comparaison n’y est pas écrite.")
        return
    ecrire_signe(fichier, json.dumps(asdict(ecart)))


#: Exemples de validation mesurés à chaque relevé : assez pour voir une pente, sans ralentir la marche.
SUIVIS = 32
#: Au-delà de cette part de doublons exacts, on prévient : ils comptent plusieurs fois.
DOUBLONS_NOMBREUX = 0.05


def _verifier_corpus(corpus: Dataset, dataset: str, accepter: bool) -> None:
    doublons = doublons_exacts(corpus)
    if doublons > DOUBLONS_NOMBREUX * len(corpus):
        print(f"Attention : {doublons} doublons exacts sur {len(corpus)} exemples.")
    trouvees = donnees_personnelles(colonnes_du_fichier(dataset))
    if trouvees and not accepter:
        premiere = trouvees[0]
        raise ErreurFabrique(
            f"{accorder(len(trouvees), 'donnée personnelle', 'données personnelles')}, la première à l’exemple {premiere.rang} "
            f"({premiere.regle.removeprefix('personnel.')}) : un modèle pourrait les réciter",
            "Retirez-les, ou ajoutez --accepter_donnees_personnelles si vous en avez le droit",
            dataset,
            champ=premiere.champ,
        )
