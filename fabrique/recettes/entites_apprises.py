"""Des phrases marquées à un modèle qui trouve les entités, et ce qu'il vaut sur d'autres phrases."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from fabrique.corpus.entites import lire_phrases
from fabrique.corpus.reperage import repereur_d_un_modele
from fabrique.entrainement.apprentissage_entites import apprendre_les_entites
from fabrique.entrainement.reprise import verifier_a_nous
from fabrique.evaluation.mesure_entites import BilanEntites, en_tableau, mesurer_entites
from fabrique.modeles.chargement import charger
from fabrique.recettes.reglages_entites import ReglagesEntites
from fabrique.socle.emplacements import ecrire_signe


def entrainer_les_entites(
    modele: str,
    dataset: str,
    sortie: Path,
    reglages: ReglagesEntites,
    revision: str | None = None,
) -> list[BilanEntites]:
    """Apprend les entités d'un corpus et les cherche dans son jeu de test.

    Le bilan s'imprime et s'écrit dans ``entites.json``, à côté du modèle.

    Args:
        modele: nom du catalogue, dossier ou dépôt du hub.
        dataset: « entites », ou un fichier de phrases marquées, réparties en jeux.
        sortie: le dossier du modèle.

    Raises:
        ErreurFabrique: corpus mal formé ou sans jeu de test, dossier qui n'est pas à nous ; les deux
            avant de charger le modèle.
    """
    verifier_a_nous(sortie, modele)
    apprises, gardees = (lire_phrases(dataset, jeu) for jeu in ("entrainement", "test"))
    tokenizer, reseau = charger(modele, "aucune", "float32", revision, silencieux=True)
    etiqueteur, resultat = apprendre_les_entites(
        reseau, tokenizer, apprises, reglages.de_la_marche(), sortie, not reglages.une_lecture
    )
    bilans = mesurer_entites(gardees, repereur_d_un_modele(etiqueteur))
    ecrire_signe(sortie / "entites.json", json.dumps([asdict(bilan) for bilan in bilans]))
    print(resultat)
    print(en_tableau(bilans))
    return bilans
