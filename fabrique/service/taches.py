"""Des tâches menées une à une, chacune dans son processus, d'un démarrage à l'autre.

Une tâche est une commande ``fabrique``. Tout est sur le disque : elle a réussi quand son processus n'est
plus et que ce qu'elle écrit en dernier est là. Que le serveur l'ait vue finir, ou qu'on l'ait tué
entre-temps, n'y change rien.
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
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Generic, TypeVar

import psutil

from fabrique.socle.emplacements import ecrire_json

JOURNAL = logging.getLogger(__name__)

#: Les états, dans les mots de l'API d'OpenAI ; une tâche part de l'attente et finit dans l'un des trois derniers.
ATTEND, AVANCE, PAUSE = "queued", "running", "paused"
REUSSI, MANQUE, ANNULE = "succeeded", "failed", "cancelled"
#: Les fichiers d'une tâche, dans son dossier : son état, ce qu'elle a dit, et l'objet de « --json ».
ETAT, JOURNAL_DE_LA_TACHE, RESULTAT = "travail.json", "journal.txt", "resultat.json"
#: Secondes laissées à une tâche pour finir son pas et le garder.
PATIENCE_S = 20


@dataclass(eq=False, kw_only=True)
class Tache:
    """Une commande à mener.

    Args:
        cree: quand elle a été demandée, en secondes.
        fini: quand elle a réussi, manqué, ou été arrêtée.
        processus, naissance: son numéro, et l'instant où il est né : un numéro se réemploie.
        erreur: pourquoi elle a manqué, en une phrase.
        dits: ce qui lui est arrivé : l'instant, la gravité, la phrase.
    """

    id: str
    cree: int
    etat: str = ATTEND
    fini: int | None = None
    processus: int | None = None
    naissance: float | None = None
    erreur: str | None = None
    dits: list[tuple[int, str, str]] = field(default_factory=list)

    def commande(self, dossier: Path) -> list[str]:
        """Ce qu'on donne à ``fabrique``.

        Args:
            dossier: celui de la tâche.
        """
        raise NotImplementedError

    def achevee(self, dossier: Path) -> bool:
        """Vrai si ce que la commande fait en dernier est fait."""
        raise NotImplementedError

    def dire(self, message: str, gravite: str = "info") -> None:
        """Ajoute un évènement."""
        self.dits.append((int(time.time()), gravite, message))


T = TypeVar("T", bound=Tache)


class FileDeTaches(Generic[T]):
    """Les tâches d'un dossier, et le fil qui les mène une à une.

    Args:
        racine: un sous-dossier par tâche.
        genre: la classe des tâches, pour les relire.
    """

    def __init__(self, racine: Path, genre: type[T]) -> None:
        self.racine = racine
        self._du_nouveau = threading.Condition()
        self._fermes = False
        self._connus = {tache.id: tache for tache in _relire(racine, genre)}
        self._fil = threading.Thread(target=self._mener_toutes, name="taches", daemon=True)

    def demarrer(self) -> None:
        """Lance ce qui attend, et reprend ce qui a été coupé."""
        self._fil.start()

    def fermer(self) -> None:
        """Arrête la tâche en cours après son pas ; le prochain démarrage la reprendra."""
        with self._du_nouveau:
            self._fermes = True
            en_cours = self._en_cours()
            self._du_nouveau.notify()
        if en_cours is not None:
            _arreter(en_cours)
        self._fil.join(timeout=PATIENCE_S)

    # ------------------------------------------------------------ consulter

    def tous(self) -> list[T]:
        """Les tâches, de la plus ancienne à la plus récente."""
        return sorted(self._connus.values(), key=lambda tache: (tache.cree, tache.id))

    def trouver(self, id: str) -> T | None:
        """Une tâche ; None si elle n'existe pas."""
        return self._connus.get(id)

    def dossier(self, tache: T) -> Path:
        """Où elle se range."""
        return self.racine / tache.id

    def actifs(self) -> list[T]:
        """Celles qui attendent ou avancent."""
        return [tache for tache in self.tous() if tache.etat in (ATTEND, AVANCE)]

    # ------------------------------------------------------------ changer

    def ajouter(self, tache: T) -> None:
        """Met une tâche dans la file ; ce qu'elle lira est déjà en place."""
        tache.dire("Tout est vérifié : la tâche attend son tour.")
        with self._du_nouveau:
            self._garder(tache)
            self._connus[tache.id] = tache
            self._du_nouveau.notify()

    def annuler(self, tache: T) -> bool:
        """Arrête une tâche pour de bon ; faux si elle avait déjà fini."""
        with self._du_nouveau:
            if tache.etat not in (ATTEND, AVANCE, PAUSE):
                return False
            en_cours = self._en_cours(tache)
            self._finir(tache, ANNULE, "Arrêté à la demande de la personne.")
            if en_cours is not None:
                en_cours.kill()
        return True

    def suspendre(self, tache: T) -> bool:
        """Met une tâche en pause après son pas, qui se garde ; faux si elle n'avait rien à faire."""
        with self._du_nouveau:
            if tache.etat not in (ATTEND, AVANCE):
                return False
            en_cours = self._en_cours(tache)
            tache.etat = PAUSE
            tache.dire("En pause.")
            self._garder(tache)
            if en_cours is not None:
                with suppress(psutil.NoSuchProcess):  # elle vient de finir : elle se conclura
                    en_cours.send_signal(signal.SIGTERM)
        return True

    def reprendre(self, tache: T) -> bool:
        """Remet dans la file une tâche en pause, manquée ou arrêtée ; faux sinon."""
        with self._du_nouveau:
            if tache.etat not in (PAUSE, MANQUE, ANNULE):
                return False
            tache.etat, tache.fini, tache.erreur = ATTEND, None, None
            tache.dire("Remis dans la file.")
            self._garder(tache)
            self._du_nouveau.notify()
        return True

    def _finir(self, tache: T, etat: str, message: str) -> None:
        tache.etat, tache.fini, tache.processus = etat, int(time.time()), None
        tache.dire(message, "error" if etat == MANQUE else "info")
        self._garder(tache)

    def _garder(self, tache: T) -> None:
        ecrire_json(self.dossier(tache) / ETAT, asdict(tache))

    # ------------------------------------------------------------ le fil des tâches

    def _mener_toutes(self) -> None:
        while (tache := self._prochaine()) is not None:
            try:
                self._mener(tache)
            except Exception as cause:  # le fil doit survivre à tout
                JOURNAL.exception("La tâche a échoué.", exc_info=cause)
                with self._du_nouveau:
                    self._manquer(tache, f"le serveur n’a pas pu la mener ({cause})")

    def _prochaine(self) -> T | None:
        with self._du_nouveau:
            self._du_nouveau.wait_for(lambda: self.actifs() or self._fermes)
            if self._fermes:
                return None
            coupees = [tache for tache in self.actifs() if tache.etat == AVANCE]
            return (coupees or self.actifs())[0]

    def _mener(self, tache: T) -> None:
        """Suit une tâche jusqu'à la fin de son processus, qu'il faut parfois lancer."""
        with self._du_nouveau:
            if tache.etat not in (ATTEND, AVANCE):
                return
            processus = self._en_cours(tache)
            if processus is None and not self._achevee(tache):
                processus = self._lancer(tache)
        if processus is not None:
            processus.wait()
        with self._du_nouveau:
            self._apres(tache)

    def _apres(self, tache: T) -> None:
        """Ce qu'est devenue une tâche dont le processus n'est plus."""
        if tache.etat in (AVANCE, PAUSE) and self._achevee(tache):
            self._reussir(tache)
        elif tache.etat == AVANCE and not self._fermes:
            self._manquer(tache, _pourquoi(self.dossier(tache)))
        elif tache.etat in (ATTEND, AVANCE, PAUSE):
            tache.processus = None
            self._garder(tache)

    def _reussir(self, tache: T) -> None:
        self._finir(tache, REUSSI, "Fini.")

    def _manquer(self, tache: T, pourquoi: str) -> None:
        tache.erreur = pourquoi
        self._finir(tache, MANQUE, f"Manqué : {pourquoi}")

    def _achevee(self, tache: T) -> bool:
        return tache.achevee(self.dossier(tache))

    # ------------------------------------------------------------ le processus

    def _lancer(self, tache: T) -> psutil.Popen:
        reprise = tache.naissance is not None
        tache.dire(
            "La tâche reprend là où elle s’était arrêtée." if reprise else "La tâche commence."
        )
        dossier = self.dossier(tache)
        commande = tache.commande(dossier)
        sortie = RESULTAT if "--json" in commande else JOURNAL_DE_LA_TACHE
        with (
            (dossier / sortie).open("ab") as dit,
            (dossier / JOURNAL_DE_LA_TACHE).open("ab") as mal,
        ):
            if sortie == RESULTAT:
                dit.truncate(0)
            processus = psutil.Popen(
                [sys.executable, "-m", "fabrique", *commande],
                stdin=subprocess.DEVNULL,
                stdout=dit,
                stderr=mal,
                env={nom: v for nom, v in os.environ.items() if nom != "FABRIQUE_CLE"},
                start_new_session=True,  # Ctrl-C s'adresse au serveur, qui transmet
            )
        if os.name == "posix":
            processus.nice(10)  # les réponses passent avant
        tache.etat, tache.processus = AVANCE, processus.pid
        tache.naissance = processus.create_time()
        self._garder(tache)
        return processus

    def _en_cours(self, tache: T | None = None) -> psutil.Process | None:
        """Le processus d'une tâche, ou de celle qui avance, même lancé par un serveur tué depuis."""
        for connue in [tache] if tache else self.actifs():
            if connue.processus is not None:
                try:
                    processus = psutil.Process(connue.processus)
                    if processus.create_time() == connue.naissance:
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


def _pourquoi(dossier: Path) -> str:
    """La phrase d'une commande qui a manqué : le champ de son objet JSON, ou sa dernière ligne."""
    erreur = lire_json(dossier / RESULTAT)
    if "erreur" in erreur:
        return f"{erreur['erreur']}. {erreur['remede']}".rstrip(". ") + "."
    journal = dossier / JOURNAL_DE_LA_TACHE
    texte = journal.read_text(encoding="utf-8", errors="replace") if journal.is_file() else ""
    lignes = [ligne.strip() for ligne in texte.splitlines() if ligne.strip()]
    return lignes[-1] if lignes else "son processus s’est arrêté sans rien dire."


def lire_json(fichier: Path) -> dict:
    """Un objet JSON ; vide s'il n'est pas là, ou pas entier."""
    try:
        return json.loads(fichier.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


def _relire(racine: Path, genre: type[T]) -> Iterator[T]:
    for etat in sorted(racine.glob(f"*/{ETAT}")):
        try:
            yield genre(**json.loads(etat.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            JOURNAL.warning(f"{etat} ne se lit pas : cette tâche est ignorée.")
