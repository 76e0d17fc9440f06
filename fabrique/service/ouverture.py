"""Ouvrir un service : vérifier ce qui peut l'être, charger le modèle, servir."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

from fabrique.machine.fils import choisir_fils
from fabrique.machine.materiel import Machine, examiner
from fabrique.machine.profil import POCHE, T4, Profil, choisir_profil
from fabrique.modeles.adaptateurs import verifier_adaptateur
from fabrique.modeles.catalogue import CATALOGUE, SYNONYMES
from fabrique.modeles.chargement import charger
from fabrique.modeles.fichier_gguf import SANS_GGUF
from fabrique.modeles.rangeur import Rangeur
from fabrique.service.affinages import Cadre
from fabrique.service.annotations import Sources
from fabrique.service.moteur import Moteur
from fabrique.service.reglages_service import (
    AUTO,
    LLAMA_CPP,
    Cle,
    ReglagesService,
    verifier_l_ouverture,
)
from fabrique.service.repondeur import Repondeur
from fabrique.service.repondeur_gguf import RepondeurGguf
from fabrique.service.repondeur_transformers import RepondeurTransformers
from fabrique.service.serveur import Service, dossier_a_nous, ouvrir_la_prise, servir
from fabrique.service.vecteurs import NOM as ENCODEUR
from fabrique.socle.erreurs import MACHINE, ErreurFabrique

JOURNAL = logging.getLogger(__name__)


def ouvrir(
    modele: str,
    adaptateurs: Sequence[str],
    reglages: ReglagesService,
    cle: Cle,
    quantification: str = "nf4",
    revision: str | None = None,
    accepter_personnelles: bool = False,
    index: Path | None = None,
    classifieurs: Mapping[str, Rangeur] | None = None,
) -> None:
    """Charge une base et ses adaptateurs, puis sert jusqu'à ce qu'on l'arrête.

    Args:
        modele: nom du catalogue, dossier, fichier GGUF ou identifiant du hub.
        adaptateurs: leurs dossiers ; chacun est servi sous le nom du sien.
        quantification: comme pour ``charger``.
        revision: empreinte du hub, obligatoire hors du catalogue.
        accepter_personnelles: affine même un fichier qui contient des données personnelles.
        index: d'après quoi répondre en citant, si on le donne (``fabrique sources indexer``).
        classifieurs: ce qui range des textes, par le nom sous lequel le servir.

    Raises:
        ErreurFabrique: avant tout chargement, service ouvert sans clé, adaptateur ou index qui ne sert pas,
            port pris, dossier d'un autre ; ensuite, comme ``charger``.
    """
    verifier_l_ouverture(reglages.hote, cle)
    for dossier in adaptateurs:
        verifier_adaptateur(dossier)
    _verifier_les_noms(modele, adaptateurs, classifieurs or {})
    with (
        ouvrir_la_prise(reglages.hote, reglages.port) as prise,
        dossier_a_nous(reglages.racine) as racine,
    ):
        sources = Sources.lire(index, nom_servi(modele)) if index else None
        machine = examiner(racine)
        choisir_fils(machine)
        moteur = _repondeur(modele, quantification, revision, reglages, machine)
        for dossier in adaptateurs:
            moteur.inscrire(Path(dossier).resolve().name, Path(dossier))
        profil = profil_du_modele(nom_servi(modele), machine)
        cadre = Cadre(modele, quantification, revision, profil, accepter_personnelles)
        service = Service(moteur, cadre, reglages, racine, sources, classifieurs)
        servir(service, cle, prise)


def _verifier_les_noms(
    modele: str, adaptateurs: Sequence[str], classifieurs: Mapping[str, Rangeur]
) -> None:
    """Refuse un classifieur du nom d'un modèle : la liste des modèles servis les mêle."""
    pris = {nom_servi(modele), ENCODEUR, *(Path(dossier).resolve().name for dossier in adaptateurs)}
    for nom in pris & {*classifieurs}:
        raise ErreurFabrique(
            f"un modèle et un classifieur s’appelleraient « {nom} »",
            "Renommez le dossier du classifieur",
            champ="--classifieur",
        )


def _repondeur(
    modele: str,
    quantification: str,
    revision: str | None,
    reglages: ReglagesService,
    machine: Machine,
) -> Repondeur:
    """llama.cpp s'il est demandé, ou de lui-même s'il est installé et sans carte ; transformers sinon."""
    if modele.endswith(".gguf") and Moteur.disponible():
        return RepondeurGguf(Path(modele), reglages.lot)
    if reglages.moteur == LLAMA_CPP:
        return _par_llama_cpp(modele, revision, reglages)
    if reglages.moteur == AUTO and Moteur.disponible() and not machine.gpu:
        try:
            return _par_llama_cpp(modele, revision, reglages)
        except ErreurFabrique as refus:
            JOURNAL.info(f"transformers écrira les réponses, faute de llama.cpp : {refus.message}.")
    tokenizer, reseau = charger(modele, quantification, revision=revision, silencieux=True)
    return RepondeurTransformers(tokenizer, reseau, nom_servi(modele))


def _par_llama_cpp(modele: str, revision: str | None, reglages: ReglagesService) -> Repondeur:
    if not Moteur.disponible():
        raise ErreurFabrique(
            "le moteur de llama.cpp n’est pas installé", SANS_GGUF, champ="--moteur", code=MACHINE
        )
    from fabrique.service.repondeur_exporte import RepondeurExporte

    return RepondeurExporte(modele, nom_servi(modele), revision, reglages.racine, reglages.lot)


def profil_du_modele(nom: str, machine: Machine) -> Profil:
    """Les réglages d'affinage éprouvés pour un modèle : un taux va avec une taille, pas avec une machine.

    Args:
        nom: celui sous lequel la base est servie.
    """
    if nom == POCHE.modele:
        return POCHE
    profil = choisir_profil(machine)
    return T4 if profil.modele == POCHE.modele else profil


def nom_servi(modele: str) -> str:
    """Sous quel nom une base est servie : celui du catalogue, ou le dernier mot de son chemin."""
    modele = SYNONYMES.get(modele, modele)
    return modele if modele in CATALOGUE else Path(modele).name.removesuffix(".gguf")
