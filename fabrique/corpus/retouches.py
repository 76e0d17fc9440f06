"""Retoucher un corpus exemple par exemple : ce qu'un constat suggère, ce qu'une personne décide."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import ftfy

from fabrique.corpus.constats import Constat
from fabrique.corpus.conversion import ecrire_exemples
from fabrique.corpus.lecture import Exemple, lire_exemples, ouvrir, verifier_exemple
from fabrique.corpus.personnelles import Pseudonymes
from fabrique.corpus.preparation import pseudonymiser
from fabrique.socle.emplacements import verifier_sortie
from fabrique.socle.erreurs import ErreurFabrique

#: Les constats que retirer l'exemple résout, sans rien perdre qu'un autre ne porte.
EN_DOUBLE = ("doublon.exact",)


@dataclass(frozen=True)
class Retouches:
    """Ce qu'une écriture a fait : ``ecrits + retires`` exemples lus, dont ``changes`` ont été récrits."""

    ecrits: int
    changes: int
    retires: int


def montrer(exemple: Exemple) -> dict:
    """Tous les champs d'un exemple, ceux qu'on n'apprend pas compris."""
    return {**exemple.laisse, **exemple.contenu}


def trouver_exemple(source: str | Path, rang: int) -> Exemple:
    """L'exemple d'un rang, depuis 1.

    Raises:
        ErreurFabrique: le corpus ne se lit pas, ou compte moins d'exemples.
    """
    chemin, lignes = ouvrir(source)
    for exemple in lire_exemples(lignes):
        if exemple.rang == rang:
            return exemple
    raise ErreurFabrique(
        f"il n’y a pas d’exemple {rang}", "Contrôlez de nouveau ce fichier : il a changé", chemin
    )


def proposer(exemple: Exemple, constat: Constat) -> dict | None:
    """Ce que devient un exemple si l'on suit un constat.

    Args:
        exemple: celui que le constat désigne.
        constat: une donnée personnelle s'y remplace, un texte mal décodé s'y répare, un doublon exact
            s'en va. De tout autre, rien ne se devine : l'exemple est rendu tel quel.

    Returns:
        Tous ses champs, ou None s'il vaut mieux le retirer, ou s'il n'a pas pu être lu.
    """
    champs = montrer(exemple)
    if constat.regle in EN_DOUBLE or not exemple.contenu:
        return None
    if constat.regle.startswith("personnel."):
        return pseudonymiser(champs, Pseudonymes())
    if constat.regle == "encodage.mojibake":
        return {nom: _redecoder(valeur) for nom, valeur in champs.items()}
    return champs


def _redecoder(valeur: object) -> object:
    """Un texte, une liste ou un objet dont les caractères mal décodés sont réparés par ftfy."""
    if isinstance(valeur, str):
        return ftfy.fix_encoding(valeur)
    if isinstance(valeur, list):
        return [_redecoder(element) for element in valeur]
    if isinstance(valeur, dict):
        return {nom: _redecoder(element) for nom, element in valeur.items()}
    return valeur


def retoucher(
    source: str | Path, sortie: Path, decisions: Mapping[int, dict | None], ecraser: bool = False
) -> Retouches:
    """Écrit un corpus où chaque décision est suivie ; les autres exemples y sont tels quels.

    Args:
        source: corpus livré ou fichier.
        sortie: fichier ``.json`` ou ``.jsonl``.
        decisions: par rang, depuis 1, les champs de l'exemple, ou None pour le retirer.

    Raises:
        ErreurFabrique: un exemple illisible reste sans décision, ou la sortie n'est pas à nous.
    """
    verifier_sortie(sortie, source, ecraser=ecraser)
    chemin, lignes = ouvrir(source)
    gardes: list[dict | None] = []
    for exemple in lire_exemples(lignes):
        if exemple.rang in decisions:
            gardes.append(decisions[exemple.rang])
        else:
            # Un exemple dont rien n'a pu être lu se décide : l'écrire vide le perdrait.
            gardes.append(
                montrer(exemple if exemple.contenu else verifier_exemple(exemple, chemin))
            )
    ecrits = [champs for champs in gardes if champs is not None]
    ecrire_exemples(ecrits, sortie)
    changes = sum(champs is not None for champs in decisions.values())
    return Retouches(len(ecrits), changes, len(gardes) - len(ecrits))
