"""``/v1/fine_tuning/jobs`` : les affinages, dans la forme de l'API d'OpenAI."""

from __future__ import annotations

import io
import secrets
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Query

from fabrique.machine.profil import Profil
from fabrique.service.demandes import DPO, SUPERVISEE, Affinage
from fabrique.service.depots import MESURES, Depots, paginer
from fabrique.service.exemples_deposes import combien, reunir, verifier, verifier_les_votes
from fabrique.service.hyperparametres import recette
from fabrique.service.refus import Refus
from fabrique.service.repondeur import Repondeur
from fabrique.service.taches import MANQUE, REUSSI, lire_json
from fabrique.service.travaux import ADAPTATEUR, CORPUS, Travail, Travaux
from fabrique.socle.emplacements import AVANCEMENT
from fabrique.socle.nombres import en_francais

#: Ce qui distingue le nom d'un point de reprise de celui du modèle affiné.
AU_PAS = ":ckpt-step-"
#: Affinages qui attendent, au plus.
ATTENTE_MAX = 20


@dataclass(frozen=True)
class Cadre:
    """Ce que tous les affinages du service ont en commun.

    Args:
        modele: la base, telle qu'on la donne à ``charger``.
        quantification: comme pour ``charger``.
        accepter_personnelles: apprend même des données personnelles.
    """

    modele: str
    quantification: str
    revision: str | None
    profil: Profil
    accepter_personnelles: bool

    def options(self) -> list[str]:
        """Les options de « fabrique finetune » qui ne dépendent pas de la demande."""
        options = [f"--model={self.modele}", f"--quantification={self.quantification}"]
        options += [f"--revision={self.revision}"] if self.revision else []
        # Le service a déjà refusé ces données, ou reçu l'ordre de les accepter.
        return options + ["--accepter_donnees_personnelles"] * self.accepter_personnelles


def inscrire(moteur: Repondeur, travail: Travail, dossier: Path) -> None:
    """Sert un modèle affiné, et ses derniers points de reprise."""
    moteur.inscrire(travail.sert_sous, dossier)
    for pas, point in _points(dossier):
        moteur.inscrire(f"{travail.sert_sous}{AU_PAS}{pas}", point)


def garder_les_mesures(depots: Depots, travail: Travail, dossier: Path) -> None:
    """Dépose le fichier des mesures d'un affinage réussi, une seule fois."""
    if travail.etat != REUSSI and not travail.resultats:
        lignes = ["step,train_loss", *(f"{m['pas']},{m['perte']}" for m in _mesures(dossier))]
        flux = io.BytesIO("\n".join(lignes).encode())
        travail.resultats.append(depots.deposer(flux, "step_metrics.csv", MESURES).id)


# ---------------------------------------------------------------- ce qu'un affinage laisse sur le disque


def _points(dossier: Path) -> list[tuple[int, Path]]:
    """Les points de reprise présents, du premier au dernier ; chacun a été relu en s'écrivant."""
    trouves = [
        (int(point.name.rpartition("-")[2]), point) for point in dossier.glob("checkpoint-*")
    ]
    return sorted((pas, p) for pas, p in trouves if (p / "adapter_model.safetensors").is_file())


def _mesures(dossier: Path) -> list[dict[str, float]]:
    """Les relevés (pas, perte) : du rapport s'il est là, sinon de l'apprentissage en cours."""
    rapport = lire_json(dossier / "rapport.json")
    return rapport["historique"] if rapport else lire_json(dossier / AVANCEMENT).get("releves", [])


def _evenements(travail: Travail, dossier: Path) -> Iterator[dict[str, Any]]:
    """Ce qui s'est passé, du plus ancien au plus récent : les mesures avant l'issue."""
    dits = [_evenement(travail, f"dit-{rang}", *dit) for rang, dit in enumerate(travail.dits)]
    issue = dits[-1:] if travail.fini else []
    yield from dits[: len(dits) - len(issue)]
    quand = travail.fini or int(time.time())
    for mesure in _mesures(dossier):
        phrase = f"Pas {mesure['pas']}/{travail.pas} : perte {en_francais(mesure['perte'], 3)}"
        donnees = {"step": mesure["pas"], "train_loss": mesure["perte"]}
        yield _evenement(travail, f"pas-{mesure['pas']}", quand, "info", phrase, donnees)
    if validation := lire_json(dossier / "validation.json"):
        avant, apres = (en_francais(validation[nom], 3) for nom in ("avant", "apres"))
        phrase = f"Validation : perte {avant} → {apres}"
        donnees = {"valid_loss": validation["apres"]}
        yield _evenement(travail, "validation", quand, "info", phrase, donnees)
    if suivies := lire_json(dossier / "preferences.json").get("toutes"):
        phrase = f"Préférences de validation suivies : {suivies['suivies']} sur {suivies['sur']}"
        donnees = {"valid_preferences": suivies["suivies"] / suivies["sur"]}
        yield _evenement(travail, "preferences", quand, "info", phrase, donnees)
    yield from issue


def _evenement(
    travail: Travail,
    nom: str,
    quand: int,
    gravite: str,
    message: str,
    donnees: dict[str, Any] | None = None,
) -> dict[str, Any]:
    return {
        "object": "fine_tuning.job.event",
        "id": f"ftevent-{travail.id.removeprefix('ftjob-')}-{nom}",
        "created_at": quand,
        "level": gravite,
        "message": message,
        "type": "metrics" if donnees else "message",
        "data": donnees or {},
    }


def _en_point(travail: Travail, pas: int, point: Path, dossier: Path) -> dict[str, Any]:
    pertes = {mesure["pas"]: mesure["perte"] for mesure in _mesures(dossier)}
    return {
        "object": "fine_tuning.job.checkpoint",
        "id": f"ftckpt_{travail.id.removeprefix('ftjob-')}_{pas}",
        "created_at": int(point.stat().st_mtime),
        "fine_tuned_model_checkpoint": f"{travail.sert_sous}{AU_PAS}{pas}",
        "fine_tuning_job_id": travail.id,
        "step_number": pas,
        "metrics": {"step": pas} | ({"train_loss": pertes[pas]} if pas in pertes else {}),
    }


def _en_objet(travail: Travail, dossier: Path) -> dict[str, Any]:
    """Un affinage dans la forme de l'API."""
    erreur = {"code": "training_failed", "message": travail.erreur, "param": None}
    rapport = lire_json(dossier / "rapport.json") if travail.etat == REUSSI else {}
    methode = DPO if travail.par_preferences else SUPERVISEE
    return {
        "object": "fine_tuning.job",
        "id": travail.id,
        "model": travail.modele,
        "created_at": travail.cree,
        "finished_at": travail.fini,
        "fine_tuned_model": travail.sert_sous if travail.etat == REUSSI else None,
        "organization_id": "maison",
        "result_files": travail.resultats,
        "status": travail.etat,
        "training_file": travail.fichier,
        "validation_file": travail.validation,
        "hyperparameters": travail.hyperparametres,
        "method": {"type": methode, methode: {"hyperparameters": travail.hyperparametres}},
        "trained_tokens": rapport.get("jetons_utiles"),
        "error": erreur if travail.etat == MANQUE else None,
        "estimated_finish": None,
        "seed": travail.graine,
        "integrations": [],
        "user_provided_suffix": travail.suffixe,
        "metadata": travail.metadonnees,
    }


# ---------------------------------------------------------------- les adresses

Limite = Annotated[int, Query(ge=1, le=1000)]


def routes(travaux: Travaux, depots: Depots, moteur: Repondeur, cadre: Cadre) -> APIRouter:
    """Les adresses des affinages."""
    routeur = APIRouter(prefix="/v1/fine_tuning/jobs")

    def trouver(id: str) -> tuple[Travail, Path]:
        travail = travaux.trouver(id)
        if travail is None:
            raise Refus(f"l’affinage « {id} » n’existe pas", statut=404, nom="not_found")
        return travail, travaux.dossier(travail) / ADAPTATEUR

    @routeur.post("")
    def creer(corps: Affinage) -> dict:
        """Vérifie les exemples, puis met l'affinage dans la file."""
        travail = preparer(corps, travaux, depots, moteur, cadre)
        travaux.ajouter(travail)
        return _en_objet(*trouver(travail.id))

    @routeur.get("")
    def lister(limit: Limite = 20, after: str | None = None) -> dict:
        """Les affinages, du plus récent au plus ancien."""
        objets = [_en_objet(*trouver(travail.id)) for travail in reversed(travaux.tous())]
        return paginer(objets, limit, after)

    @routeur.get("/{id}")
    def decrire(id: str) -> dict:
        """Un affinage."""
        return _en_objet(*trouver(id))

    @routeur.get("/{id}/events")
    def evenements(id: str, limit: Limite = 20, after: str | None = None) -> dict:
        """Ses évènements, du plus récent au plus ancien."""
        return paginer(list(_evenements(*trouver(id)))[::-1], limit, after)

    @routeur.get("/{id}/checkpoints")
    def points(id: str, limit: Limite = 10, after: str | None = None) -> dict:
        """Ses points de reprise, du plus récent au plus ancien."""
        travail, dossier = trouver(id)
        objets = [_en_point(travail, pas, point, dossier) for pas, point in _points(dossier)]
        return paginer(objets[::-1], limit, after)

    @routeur.post("/{id}/cancel")
    def annuler(id: str) -> dict:
        """Arrête un affinage pour de bon."""
        travail, _ = trouver(id)
        if not travaux.annuler(travail):
            raise Refus(f"l’affinage « {id} » est déjà fini ({travail.etat})", statut=409)
        return _en_objet(*trouver(id))

    return routeur


def preparer(
    corps: Affinage, travaux: Travaux, depots: Depots, moteur: Repondeur, cadre: Cadre
) -> Travail:
    """Vérifie une demande d'affinage et range son corpus ; rien n'est encore lancé.

    Raises:
        Refus: modèle ou fichier inconnu, méthode qu'on n'a pas, exemples fautifs ou trop peu, file pleine.
    """
    corps.verifier()
    if not moteur.affine:
        raise Refus(
            "ce service répond avec un fichier GGUF, qui ne prend pas d’adaptateur",
            "Servez la base d’origine pour affiner, puis exportez le résultat",
            champ="model",
            nom="unsupported_model",
        )
    if corps.model != moteur.base:
        raise Refus(
            f"le modèle « {corps.model} » ne s’affine pas ici",
            f"Donnez « {moteur.base} », la base de ce service",
            champ="model",
            statut=404,
            nom="model_not_found",
        )
    if len(travaux.actifs()) >= ATTENTE_MAX:
        raise Refus(
            f"{ATTENTE_MAX} affinages attendent déjà",
            "Attendez qu’un finisse, ou annulez-en un",
            statut=429,
            nom="rate_limit_exceeded",
            patience=60,
        )
    appris = depots.trouver(corps.training_file, "training_file")
    relire = verifier_les_votes if corps.par_preferences else verifier
    nombre = combien(relire(depots, appris, "training_file", cadre.accepter_personnelles), appris)
    validation = None
    if corps.validation_file:
        validation = depots.trouver(corps.validation_file, "validation_file")
        relire(depots, validation, "validation_file", cadre.accepter_personnelles)
    graine = secrets.randbelow(2**31) if corps.seed is None else corps.seed
    choisie = recette(corps.choisis, nombre, graine, cadre.profil)
    travail = Travail(
        id=f"ftjob-{secrets.token_hex(12)}",
        modele=corps.model,
        fichier=appris.id,
        validation=validation.id if validation else None,
        suffixe=corps.suffix,
        options=cadre.options() + choisie.options(cadre.profil),
        hyperparametres=choisie.montres(),
        graine=graine,
        pas=choisie.pas,
        metadonnees=corps.metadata or {},
        cree=int(time.time()),
        par_preferences=corps.par_preferences,
    )
    try:
        reunir(depots, appris, validation, travaux.dossier(travail) / CORPUS)
    except BaseException:
        shutil.rmtree(travaux.dossier(travail), ignore_errors=True)
        raise
    return travail
