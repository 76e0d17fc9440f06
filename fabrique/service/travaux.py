"""Les affinages du service : un à la fois, dans un processus à part, d'un démarrage à l'autre.

Tout est sur le disque. Un affinage a fini quand son processus n'est plus et que ``rapport.json`` est
là : que le service l'ait vu finir, ou qu'on l'ait tué entre-temps, n'y change rien.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

import psutil

from fabrique.socle.emplacements import ecrire_json
from fabrique.socle.erreurs import ErreurFabrique

JOURNAL = logging.getLogger(__name__)

#: Les états de l'API ; un affinage part de l'attente et finit dans l'un des trois derniers.
ATTEND, AVANCE, REUSSI, MANQUE, ANNULE = "queued", "running", "succeeded", "failed", "cancelled"
#: Les fichiers d'un affinage, dans son dossier.
ETAT, CORPUS, ADAPTATEUR, JOURNAL_DU_TRAVAIL = (
    "travail.json",
    "corpus.jsonl",
    "adaptateur",
    "journal.txt",
)
#: La commande qui mène un affinage, et son option de sortie : sur des exemples, ou des préférences.
COMMANDES = {False: ("finetune", "--lora_out_dir"), True: ("preferer", "--sortie")}
#: Secondes laissées à un affinage pour finir son pas et le garder, quand le service s'arrête.
PATIENCE_S = 20


@dataclass(eq=False)
class Travail:
    """Un affinage.

    Args:
        options: ce qu'on donne à « fabrique finetune » (ou « preferer »), en plus du corpus et de la
            sortie.
        hyperparametres: ceux de l'API, « auto » remplacé.
        pas: combien il en fera.
        processus: le numéro de son processus, et sa naissance : un numéro se réemploie.
        par_preferences: vrai si le corpus est fait de préférences.
    """

    id: str
    modele: str
    fichier: str
    validation: str | None
    suffixe: str | None
    options: list[str]
    hyperparametres: dict[str, float]
    graine: int
    pas: int
    metadonnees: dict[str, str]
    cree: int
    etat: str = ATTEND
    fini: int | None = None
    processus: int | None = None
    naissance: float | None = None
    erreur: str | None = None
    resultats: list[str] = field(default_factory=list)
    dits: list[tuple[int, str, str]] = field(default_factory=list)
    par_preferences: bool = False

    def dire(self, message: str, gravite: str = "info") -> None:
        """Ajoute un évènement."""
        self.dits.append((int(time.time()), gravite, message))

    @property
    def sert_sous(self) -> str:
        """Le nom du modèle affiné, dans la forme de l'API."""
        return f"ft:{self.modele}:maison:{self.suffixe or ''}:{self.id.removeprefix('ftjob-')[:8]}"


class Travaux:
    """La liste des affinages, et le fil qui les mène un à un.

    Args:
        racine: un sous-dossier par affinage.
        reussi: appelée quand un affinage réussit, ou qu'on le retrouve réussi.
    """

    def __init__(self, racine: Path, reussi: Callable[[Travail, Path], None]) -> None:
        self.racine, self._reussi = racine, reussi
        self._du_nouveau = threading.Condition()
        self._fermes = False
        self._connus = {travail.id: travail for travail in _relire(racine)}
        for travail in self.tous():
            if travail.etat == REUSSI:
                self._servir(travail)
        self._fil = threading.Thread(target=self._mener_tous, name="affinages", daemon=True)

    def demarrer(self) -> None:
        """Lance ce qui attend, et reprend ce qui a été coupé."""
        self._fil.start()

    def fermer(self) -> None:
        """Arrête l'affinage en cours après son pas ; le prochain démarrage le reprendra."""
        with self._du_nouveau:
            self._fermes = True
            en_cours = self._processus()
            self._du_nouveau.notify()
        if en_cours is not None:
            _arreter(en_cours)
        self._fil.join(timeout=PATIENCE_S)

    # ------------------------------------------------------------ consulter

    def tous(self) -> list[Travail]:
        """Les affinages, du plus ancien au plus récent."""
        return sorted(self._connus.values(), key=lambda travail: (travail.cree, travail.id))

    def trouver(self, id: str) -> Travail | None:
        """Un affinage ; None s'il n'existe pas."""
        return self._connus.get(id)

    def dossier(self, travail: Travail) -> Path:
        """Où il se range."""
        return self.racine / travail.id

    def actifs(self) -> list[Travail]:
        """Ceux qui attendent ou avancent."""
        return [travail for travail in self.tous() if travail.etat in (ATTEND, AVANCE)]

    # ------------------------------------------------------------ changer

    def ajouter(self, travail: Travail) -> None:
        """Met un affinage dans la file ; son corpus est déjà dans son dossier."""
        travail.dire("Fichiers vérifiés : l’affinage attend son tour.")
        with self._du_nouveau:
            self._garder(travail)
            self._connus[travail.id] = travail
            self._du_nouveau.notify()

    def annuler(self, travail: Travail) -> bool:
        """Arrête un affinage pour de bon ; faux s'il avait déjà fini."""
        with self._du_nouveau:
            if travail.etat not in (ATTEND, AVANCE):
                return False
            en_cours = self._processus() if travail.etat == AVANCE else None
            self._finir(travail, ANNULE, "Annulé à la demande du client.")
            if en_cours is not None:
                en_cours.kill()
        return True

    def _finir(self, travail: Travail, etat: str, message: str) -> None:
        travail.etat, travail.fini, travail.processus = etat, int(time.time()), None
        travail.dire(message, "error" if etat == MANQUE else "info")
        self._garder(travail)

    def _garder(self, travail: Travail) -> None:
        ecrire_json(self.dossier(travail) / ETAT, asdict(travail))

    # ------------------------------------------------------------ le fil des affinages

    def _mener_tous(self) -> None:
        while (travail := self._prochain()) is not None:
            try:
                self._mener(travail)
            except Exception as cause:  # le fil doit survivre à tout
                JOURNAL.exception("L’affinage a échoué.", exc_info=cause)
                with self._du_nouveau:
                    self._manquer(travail, f"le service n’a pas pu le mener ({cause})")

    def _prochain(self) -> Travail | None:
        with self._du_nouveau:
            self._du_nouveau.wait_for(lambda: self.actifs() or self._fermes)
            if self._fermes:
                return None
            coupes = [travail for travail in self.actifs() if travail.etat == AVANCE]
            return (coupes or self.actifs())[0]

    def _mener(self, travail: Travail) -> None:
        """Suit un affinage jusqu'à la fin de son processus, qu'il faut parfois lancer."""
        with self._du_nouveau:
            if travail.etat == ANNULE:
                return
            processus = self._processus()
            if processus is None and not self._rapport(travail).is_file():
                processus = self._lancer(travail)
        if processus is not None:
            processus.wait()
        with self._du_nouveau:
            if travail.etat == AVANCE and not self._fermes:
                self._conclure(travail)

    def _conclure(self, travail: Travail) -> None:
        if not self._rapport(travail).is_file():
            self._manquer(travail, _derniere_ligne(self.dossier(travail) / JOURNAL_DU_TRAVAIL))
            return
        try:
            self._servir(travail)
        except ErreurFabrique as erreur:
            self._manquer(travail, str(erreur))
            return
        self._finir(
            travail, REUSSI, f"Affinage fini : le modèle s’appelle « {travail.sert_sous} »."
        )

    def _manquer(self, travail: Travail, pourquoi: str) -> None:
        travail.erreur = pourquoi
        self._finir(travail, MANQUE, f"Affinage manqué : {pourquoi}")

    def _servir(self, travail: Travail) -> None:
        try:
            self._reussi(travail, self.dossier(travail) / ADAPTATEUR)
        except ErreurFabrique as erreur:
            if travail.etat != REUSSI:
                raise
            JOURNAL.warning(f"L’affinage {travail.id} n’est plus servi : {erreur}")

    def _rapport(self, travail: Travail) -> Path:
        return self.dossier(travail) / ADAPTATEUR / "rapport.json"

    # ------------------------------------------------------------ le processus

    def _lancer(self, travail: Travail) -> psutil.Popen:
        reprise = travail.etat == AVANCE
        travail.dire(
            "L’affinage reprend là où il s’était arrêté." if reprise else "L’affinage commence."
        )
        dossier = self.dossier(travail)
        nom, sortie = COMMANDES[travail.par_preferences]
        commande = [sys.executable, "-m", "fabrique", nom, *travail.options]
        commande += [f"--dataset={dossier / CORPUS}", f"{sortie}={dossier / ADAPTATEUR}"]
        with (dossier / JOURNAL_DU_TRAVAIL).open("ab") as journal:
            processus = psutil.Popen(
                commande,
                stdin=subprocess.DEVNULL,
                stdout=journal,
                stderr=journal,
                env={nom: v for nom, v in os.environ.items() if nom != "FABRIQUE_CLE"},
                start_new_session=True,  # Ctrl-C s'adresse au service, qui transmet
            )
        if os.name == "posix":
            processus.nice(10)  # les réponses passent avant
        travail.etat, travail.processus = AVANCE, processus.pid
        travail.naissance = processus.create_time()
        self._garder(travail)
        return processus

    def _processus(self) -> psutil.Process | None:
        """Le processus de l'affinage en cours, même lancé par un service qu'on a tué depuis."""
        for travail in self.actifs():
            if travail.processus is not None:
                try:
                    processus = psutil.Process(travail.processus)
                    if processus.create_time() == travail.naissance:
                        return processus
                except psutil.NoSuchProcess:
                    continue
        return None


def _arreter(processus: psutil.Process) -> None:
    """Laisse finir le pas en cours, qui se garde ; au-delà, le dernier point de reprise servira."""
    try:
        processus.send_signal(signal.SIGTERM)
        processus.wait(PATIENCE_S)
    except psutil.TimeoutExpired:
        processus.kill()
    except psutil.NoSuchProcess:
        return


def _derniere_ligne(journal: Path) -> str:
    """La dernière phrase d'un processus : « fabrique » y dit son erreur."""
    texte = journal.read_text(encoding="utf-8", errors="replace") if journal.is_file() else ""
    lignes = [ligne.strip() for ligne in texte.splitlines() if ligne.strip()]
    return lignes[-1] if lignes else "son processus s’est arrêté sans rien dire."


def _relire(racine: Path) -> Iterator[Travail]:
    for etat in sorted(racine.glob(f"ftjob-*/{ETAT}")):
        try:
            yield Travail(**json.loads(etat.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            JOURNAL.warning(f"{etat} ne se lit pas : cet affinage est ignoré.")
