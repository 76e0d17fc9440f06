"""Contrôler un corpus avant d'apprendre : tout ce qui cloche, où, et ce qu'il faut en faire.

Deux passes. La première regarde chaque exemple seul (structure, texte, données
personnelles, longueur) et peut se partager entre processus ; la seconde compare les
exemples entre eux (doublons, contamination, équilibre). Le corpus vit sur le disque, dans
un fichier Arrow de ``datasets`` : la mémoire ne croît qu'avec les résumés.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from datasets import Dataset

from fabrique.corpus.constats import ERREUR, Constat, Controle
from fabrique.corpus.controle_votes import controler_votes
from fabrique.corpus.examen import EXEMPLES_PAR_PROCESSUS, constat_de, constats_d_encodage, examiner
from fabrique.corpus.lecture import (
    REMPLIR_JEU,
    Exemple,
    dire_alertes,
    lire_exemples,
    ouvrir,
    sans_jeu,
)
from fabrique.corpus.noms import avec_les_noms
from fabrique.corpus.rapprochement import Comparaison, constats_d_ensemble
from fabrique.corpus.table import en_defaut, poser
from fabrique.corpus.votes import est_un_fichier_de_votes
from fabrique.socle.erreurs import ErreurFabrique
from fabrique.socle.suivi import derriere_une_barre

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def controler(
    source: str | Path | Dataset,
    tokenizer: PreTrainedTokenizerBase | None = None,
    max_length: int = 512,
    evaluation: str | Path | Dataset | None = None,
    processus: int = 2,
    noms: str = "",
) -> Controle:
    """Contrôle un corpus et rend tout ce qu'il y a à corriger.

    Args:
        source: corpus livré, fichier, dépôt du hub ou ``datasets.Dataset`` ; des préférences se
            contrôlent par ``controler_votes``.
        tokenizer: compte les jetons et annonce les coupures à ``max_length`` ; sans lui, les
            longueurs se comptent en mots seulement.
        max_length: longueur, en jetons, au-delà de laquelle un exemple sera coupé.
        evaluation: corpus d'évaluation que celui-ci ne doit pas contenir.
        processus: processus de la première passe, pour un gros corpus.
        noms: cherche aussi les noms de personnes, par « regles », « spacy » ou le dossier d'un
            modèle ; chacun est une alerte (``personnel.nom``). Vide : ne les cherche pas.

    Returns:
        Le rapport : constats, mesures. Un fichier abîmé donne des constats, pas une exception.

    Raises:
        ErreurFabrique: fichier absent, vide ou d'un format inconnu ; moyen de trouver les noms
            inconnu ou pas installé.
    """
    avec_les_noms(noms)
    if est_un_fichier_de_votes(source):
        return controler_votes(source, evaluation)
    chemin, lignes = ouvrir(source)
    with tempfile.TemporaryDirectory(prefix="fabrique-", ignore_cleanup_errors=True) as dossier:
        corpus, interruption = poser(lignes, Path(dossier) / "corpus.arrow")
        if not len(corpus):
            raise interruption or ErreurFabrique(
                "aucun exemple", "Donnez un corpus d’au moins un exemple", chemin
            )
        vus = examiner(corpus, tokenizer, max_length, processus, noms)
        comparaison = Comparaison(corpus, evaluation)
        for vu in _avec_barre(vus):
            comparaison.ajouter(vu)
        constats = [
            *comparaison.constats,
            *_jeu_partiel(comparaison),
            *constats_d_ensemble(comparaison),
        ]
    if interruption:
        constats.append(constat_de(en_defaut(interruption), len(corpus) + 1, interruption.ligne))
    constats.sort(key=lambda c: (c.rang is not None, c.rang or 0))
    return Controle(str(chemin), comparaison.forme, len(corpus), constats, comparaison.mesures)


def verifier_encodage(source: str | Path | Dataset) -> None:
    """Refuse un corpus mal décodé, et dit ses autres défauts d'encodage, avant d'apprendre.

    Args:
        source: ce qu'on donnerait à ``lire_corpus``, qui a déjà su le lire.

    Raises:
        ErreurFabrique: un texte mal décodé (« dÃ©jÃ  ») ; le premier, avec sa ligne et son champ.
    """
    chemin, lignes = ouvrir(source)
    refuser_mal_decodes(lire_exemples(lignes), chemin)


def refuser_mal_decodes(exemples: Iterable[Exemple], chemin: Path) -> None:
    """Refuse des exemples mal décodés, et dit leurs autres défauts d'encodage.

    Raises:
        ErreurFabrique: un texte mal décodé (« dÃ©jÃ  ») ; le premier, avec sa ligne et son champ.
    """
    alertes = []
    for constat in constats_d_encodage(exemples):
        if constat.gravite == ERREUR:
            raise ErreurFabrique(
                "des caractères ont été mal décodés : le modèle apprendrait à les écrire",
                "Réenregistrez le fichier d’origine en UTF-8 ; « fabrique corpus controler » les montre tous",
                chemin,
                ligne=constat.ligne,
                champ=constat.champ,
            )
        alertes.append(constat)
    dire_alertes(alertes, chemin)


def _jeu_partiel(comparaison: Comparaison) -> Iterator[Constat]:
    """Une colonne « jeu » remplie pour les uns et vide pour les autres : ceux-là ne serviraient à rien."""
    sans = [ligne for ligne, jeu in comparaison.lignes.values() if not jeu]
    if sans and len(sans) < len(comparaison.lignes):
        message = sans_jeu(len(sans), len(comparaison.lignes))
        yield Constat(
            "structure.jeu_partiel", ERREUR, None, sans[0], "jeu", "", f"{message}. {REMPLIR_JEU}"
        )


def _avec_barre(vus: Dataset) -> Iterator[dict]:
    """Les rangées, derrière une barre de progression quand elles sont nombreuses."""
    if len(vus) > EXEMPLES_PAR_PROCESSUS:
        yield from derriere_une_barre(vus, "Comparaison")
    else:
        yield from vus
