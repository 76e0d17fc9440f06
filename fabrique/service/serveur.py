"""Le serveur : l'API d'OpenAI, chez soi. Chaque pièce est ailleurs ; ici, on les assemble."""

from __future__ import annotations

import json
import logging
import shutil
import socket
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI
from filelock import FileLock, Timeout

from fabrique.modeles.rangeur import Rangeur
from fabrique.service import (
    affinages,
    avis_recus,
    classements,
    conversations,
    depots as fichiers,
    vecteurs,
)
from fabrique.service.affinages import AU_PAS, Cadre
from fabrique.service.annotations import Sources
from fabrique.service.attente import Attente
from fabrique.service.depots import Depots
from fabrique.service.garde import SANTE, Garde, Protocole
from fabrique.service.refus import expliquer_les_refus
from fabrique.service.reglages_service import Cle, ReglagesService
from fabrique.service.repondeur import Repondeur, verifier_le_nom
from fabrique.service.taches import ETAT, REUSSI
from fabrique.service.travaux import ADAPTATEUR, Travail, Travaux
from fabrique.socle.emplacements import ecrire_json, ecrire_signe, est_signe
from fabrique.socle.erreurs import MACHINE, ErreurFabrique
from fabrique.socle.nombres import accorder

JOURNAL = logging.getLogger(__name__)

#: Là tant qu'un service tourne : retrouvé au démarrage, il dit que le précédent n'a pas pu s'arrêter.
OUVERT = "ouvert.json"
#: Ce que l'on dit alors.
TUE = (
    "Le service précédent a été tué : s’il écrivait des réponses, elles sont perdues et se "
    "redemandent ; les fichiers et les affinages sont là."
)
#: Connexions ouvertes à la fois, au plus ; uvicorn refuse les suivantes (503).
CONNEXIONS_MAX = 256


def servir(service: Service, cle: Cle, prise: socket.socket) -> None:
    """Sert jusqu'à ce qu'on l'arrête (Ctrl-C).

    Args:
        prise: là où l'on écoute, déjà ouverte.
    """
    JOURNAL.info(service.presentation(prise.getsockname()[1], bool(cle)))
    with suppress(KeyboardInterrupt):  # uvicorn s'est déjà arrêté comme il faut
        uvicorn.Server(configurer(service, cle)).run(sockets=[prise])


def configurer(service: Service, cle: Cle) -> uvicorn.Config:
    """uvicorn, borné : connexions, en-têtes, attentes."""
    reglages = service.reglages
    return uvicorn.Config(
        Garde(application(service), reglages, cle),
        http=partial(Protocole, delai=reglages.delai_client),  # type: ignore[arg-type]  # il l’appelle
        lifespan="on",
        log_level="error",
        access_log=False,
        server_header=False,
        limit_concurrency=CONNEXIONS_MAX,
        timeout_graceful_shutdown=5,
    )


class Service:
    """Ce qui vit le temps d'un service : la file d'attente, les fichiers, les affinages."""

    def __init__(
        self,
        moteur: Repondeur,
        cadre: Cadre,
        reglages: ReglagesService,
        racine: Path,
        sources: Sources | None = None,
        classifieurs: Mapping[str, Rangeur] | None = None,
    ) -> None:
        self.classifieurs = classifieurs or {}
        self.moteur, self.cadre, self.reglages = moteur, cadre, reglages
        self.racine, self.sources = racine, sources
        self.tue_avant = (racine / OUVERT).is_file()
        self.coupes = effacer_les_envois_coupes(racine)
        self.depots = Depots(racine / "fichiers")
        self.travaux = Travaux(racine / "affinages", self._servir_l_affine)
        self.avis = avis_recus.AvisRecus(racine / avis_recus.FICHIER)
        self.attente = Attente(moteur, reglages.lot, reglages.file_max)

    def _servir_l_affine(self, travail: Travail, dossier: Path) -> None:
        affinages.inscrire(self.moteur, travail, dossier)
        affinages.garder_les_mesures(self.depots, travail, dossier)

    def attend_le_fichier(self, id: str) -> str | None:
        """L'affinage en cours qui a été demandé avec ce fichier."""
        return next((t.id for t in self.travaux.actifs() if id in (t.fichier, t.validation)), None)

    def demarrer(self) -> None:
        """Mène les affinages, et laisse de quoi savoir, si le service est tué, qu'il l'a été."""
        ecrire_json(self.racine / OUVERT, {"ouvert": int(time.time())})
        self.travaux.demarrer()

    def fermer(self) -> None:
        """Interrompt les réponses, et garde l'affinage en cours pour le prochain démarrage."""
        self.attente.fermer()
        self.travaux.fermer()
        (self.racine / OUVERT).unlink(missing_ok=True)

    def presentation(self, port: int, avec_cle: bool) -> str:
        """Ce que dit la commande avant de servir : l'adresse, les modèles, et ce qu'elle a retrouvé."""
        hote = f"[{self.reglages.hote}]" if ":" in self.reglages.hote else self.reglages.hote
        lignes = [
            f"Le service répond sur http://{hote}:{port}/v1 "
            + ("(clé demandée)." if avec_cle else "(sans clé, cette machine seulement)."),
            f"Modèles, par {self.moteur.qui} : {', '.join(montres(self.moteur))}.",
            *([f"Classifieurs : {', '.join(self.classifieurs)}."] if self.classifieurs else []),
            *([self.sources.presentation()] if self.sources else []),
            *self._retrouve(),
            "Ctrl-C l’arrête.",
        ]
        return "\n".join(lignes)

    def _retrouve(self) -> list[str]:
        """Ce que le service précédent a laissé, une phrase par chose."""
        fichiers, tous = len(self.depots.tous()), self.travaux.tous()
        comptes = [
            *([accorder(fichiers, "fichier retrouvé", "fichiers retrouvés")] if fichiers else []),
            accorder(len(tous), "affinage retrouvé", "affinages retrouvés"),
            accorder(sum(t.etat == REUSSI for t in tous), "réussi"),
            f"{len(self.travaux.actifs())} à finir",
        ]
        return [
            *([TUE] if self.tue_avant else []),
            *([f"{', '.join(comptes)}."] if fichiers or tous else []),
            *([f"Envois coupés en route, à refaire : {self.coupes}."] if self.coupes else []),
        ]


def montres(moteur: Repondeur) -> list[str]:
    """Les modèles que la liste montre ; les points de reprise répondent sans y paraître."""
    return [nom for nom in moteur.noms() if AU_PAS not in nom]


def application(service: Service) -> FastAPI:
    """Les adresses du service. Ni « /docs » ni « /redoc » : ces pages viendraient d'un autre site."""

    @asynccontextmanager
    async def vie(_: FastAPI) -> AsyncIterator[None]:
        service.demarrer()
        yield
        service.fermer()

    app = FastAPI(
        title="FabriqueLLM", lifespan=vie, docs_url=None, redoc_url=None, redirect_slashes=False
    )
    expliquer_les_refus(app)
    app.include_router(conversations.routes(service.attente, service.reglages, service.sources))
    app.include_router(vecteurs.routes())
    app.include_router(classements.routes(service.classifieurs))
    app.include_router(fichiers.routes(service.depots, service.attend_le_fichier))
    app.include_router(
        affinages.routes(service.travaux, service.depots, service.moteur, service.cadre)
    )

    app.include_router(avis_recus.routes(service.avis))

    @app.get("/v1/models")
    async def modeles() -> dict[str, Any]:
        """Les modèles servis."""
        noms = [*montres(service.moteur), vecteurs.NOM, *service.classifieurs]
        return {"object": "list", "data": [_modele(nom) for nom in noms]}

    @app.get("/v1/models/{nom:path}")
    async def modele(nom: str) -> dict[str, Any]:
        """Un modèle servi."""
        if nom not in (vecteurs.NOM, *service.classifieurs):
            verifier_le_nom(service.moteur, nom)
        return _modele(nom)

    @app.get(SANTE)
    async def sante() -> dict[str, Any]:
        """Le service est debout."""
        return {"etat": "pret", "en_attente": len(service.attente)}

    return app


def _modele(nom: str) -> dict[str, Any]:
    return {"id": nom, "object": "model", "created": 0, "owned_by": "maison"}


# ---------------------------------------------------------------- ce qu'on tient seul


def effacer_les_envois_coupes(racine: Path) -> int:
    """Efface ce qu'un service tué recevait encore, et dont le client n'a jamais eu l'identifiant.

    Un dépôt garde son nom caché tant qu'il n'est pas entier ; un affinage n'existe qu'avec son état.
    Ce dossier est à nous, et nous le tenons seuls.

    Returns:
        Combien il y en avait.
    """
    entames = [
        dossier
        for dossier in racine.glob("affinages/ftjob-*")
        if not any((dossier / nom).exists() for nom in (ETAT, ADAPTATEUR))
    ]
    coupes = [*racine.glob("fichiers/.file-*"), *entames]
    for dossier in coupes:
        shutil.rmtree(dossier)
    return len(coupes)


@contextmanager
def ouvrir_la_prise(hote: str, port: int) -> Iterator[socket.socket]:
    """La prise d'écoute, ouverte avant de charger quoi que ce soit.

    Raises:
        ErreurFabrique: port pris, ou adresse qui n'est pas de cette machine.
    """
    famille = socket.AF_INET6 if ":" in hote else socket.AF_INET
    try:
        prise = socket.create_server((hote, port), family=famille)
    except OSError as cause:
        raise ErreurFabrique(
            f"on ne peut pas écouter sur {hote}, port {port} ({cause.strerror})",
            "Donnez un autre --port, ou une adresse de cette machine à --hote",
            code=MACHINE,
        ) from cause
    with prise:
        yield prise


@contextmanager
def dossier_a_nous(racine: Path, qui: str = "un service") -> Iterator[Path]:
    """Un dossier que tient seul un programme ; neuf, il est signé.

    Args:
        qui: ce programme, tel qu'une phrase le nomme ; son dernier mot nomme la signature.

    Raises:
        ErreurFabrique: le dossier sert à autre chose, ou un autre programme l'emploie.
    """
    article, nom = qui.split()
    signature = racine / f"{nom}.json"
    occupe = racine.exists() and (not racine.is_dir() or any(racine.iterdir()))
    if occupe and not est_signe(signature):
        raise ErreurFabrique(
            f"ce dossier n’est pas vide, et n’est pas celui d’{qui} de FabriqueLLM",
            "Donnez un dossier neuf à --dossier",
            racine,
        )
    if not occupe:
        ecrire_signe(signature, json.dumps({"fabrique": nom}))
    try:
        with FileLock(racine / ".verrou", timeout=0):
            yield racine
    except Timeout:
        raise ErreurFabrique(
            f"{article} autre {nom} emploie déjà ce dossier",
            "Arrêtez-le, ou donnez un autre --dossier",
            racine,
        ) from None
