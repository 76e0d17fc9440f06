"""Les corrections d'une personne sur des fiches lues : gardées à part, remises à chaque lecture."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from fabrique.recettes.sans_code.espace import Espace
from fabrique.service.taches import lire_json
from fabrique.socle.emplacements import ecrire_json, ecrire_signe
from fabrique.socle.erreurs import ErreurFabrique


def corriger(espace: Espace, identifiant: str, titre: str, texte: str) -> None:
    """Garde le titre et le texte qu'une personne donne à une fiche.

    Raises:
        ErreurFabrique: le texte est vide, ou la fiche n'est plus là.
    """
    if not texte.strip():
        raise ErreurFabrique("le texte de la fiche est vide", "Écrivez-le")
    lues = {fiche["id"]: fiche for fiche in _lues(espace)}
    if identifiant not in lues:
        raise ErreurFabrique("cette fiche n’est plus là", "Relisez la liste des fiches")
    correction = {"titre": titre, "texte": texte, "d_apres": _empreinte(lues[identifiant])}
    ecrire_json(_fichier(espace), _corrections(espace) | {identifiant: correction})


def relire(espace: Espace) -> list[dict]:
    """Les fiches, corrections comprises ; vide si rien n'a été lu."""
    corrections, fiches = _corrections(espace), []
    for fiche in _lues(espace):
        correction = corrections.get(fiche["id"])
        if correction and correction["d_apres"] == _empreinte(fiche):
            fiche = fiche | {"titre": correction["titre"], "texte": correction["texte"]}
        fiches.append(fiche)
    return fiches


def perimees(espace: Espace) -> list[str]:
    """Les fiches corrigées dont le document ne dit plus ce qu'il disait ; leur correction reste gardée."""
    lues = {fiche["id"]: _empreinte(fiche) for fiche in _lues(espace)}
    return [
        identifiant
        for identifiant, correction in _corrections(espace).items()
        if lues.get(identifiant) != correction["d_apres"]
    ]


def ecrire_les_relues(espace: Espace) -> None:
    """Écrit les fiches corrigées, que l'index lira.

    Raises:
        ErreurFabrique: aucune fiche n'a été lue.
    """
    fiches = relire(espace)
    if not fiches:
        raise ErreurFabrique(
            "aucune fiche à citer", "Déposez et lisez d’abord vos documents (première étape)"
        )
    lignes = [json.dumps(fiche, ensure_ascii=False) for fiche in fiches]
    ecrire_signe(espace.fiches_relues, "\n".join([*lignes, ""]))


def _lues(espace: Espace) -> list[dict]:
    if not espace.fiches.is_file():
        return []
    return [json.loads(ligne) for ligne in espace.fiches.read_text("utf-8").splitlines()]


def _fichier(espace: Espace) -> Path:
    return espace.fiches.with_name("corrections.json")


def _corrections(espace: Espace) -> dict:
    return lire_json(_fichier(espace))


def _empreinte(fiche: dict) -> str:
    return hashlib.sha256(f"{fiche['titre']}\n{fiche['texte']}".encode()).hexdigest()
