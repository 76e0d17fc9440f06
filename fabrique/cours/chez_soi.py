"""Un service lancé à côté du carnet, pour le temps de la leçon."""

from __future__ import annotations

import atexit
import os
import secrets
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import psutil

from fabrique.socle.erreurs import MACHINE, ErreurFabrique

#: Secondes laissées au service pour charger son modèle.
PATIENCE_S = 300


class ServiceLocal:
    """La commande « fabrique servir », dans un processus à part, avec une clé tirée au sort.

    Args:
        dossier: où le service range ses fichiers et ses affinages.
        modele: ce qu'il sert.
        index: d'après quoi il répond en citant, si on le donne.

    Raises:
        ErreurFabrique: le service s'arrête avant de répondre ; son journal est dans ``dossier``.
    """

    def __init__(
        self, dossier: str | Path, modele: str = "falcon-poche", index: str | Path | None = None
    ) -> None:
        self.cle = secrets.token_urlsafe(24)
        with socket.create_server(("127.0.0.1", 0)) as prise:
            self.port = prise.getsockname()[1]
        self.adresse = f"http://127.0.0.1:{self.port}/v1"
        journal = Path(f"{dossier}.journal.txt")
        journal.parent.mkdir(parents=True, exist_ok=True)
        options = [f"--model={modele}", f"--port={self.port}", f"--dossier={dossier}"]
        options += [f"--index={index}"] if index else []
        with journal.open("w", encoding="utf-8") as sortie:
            self.processus = subprocess.Popen(
                [sys.executable, "-m", "fabrique", "servir", *options],
                env=os.environ | {"FABRIQUE_CLE": self.cle},
                stdout=sortie,
                stderr=sortie,
            )
        atexit.register(self.arreter)
        self._attendre(journal)

    def _attendre(self, journal: Path) -> None:
        fin = time.monotonic() + PATIENCE_S
        while self.processus.poll() is None and time.monotonic() < fin:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{self.port}/sante", timeout=2)
                return
            except OSError:
                time.sleep(0.2)
        self.arreter()
        raise ErreurFabrique(
            "le service n’a pas démarré", "Lisez pourquoi dans son journal", journal, code=MACHINE
        )

    def joints(self) -> set[str]:
        """Les adresses avec lesquelles le service, et l'affinage qu'il mène, parlent en ce moment."""
        service = psutil.Process(self.processus.pid)
        liens = [
            lien
            for processus in (service, *service.children(recursive=True))
            for lien in processus.net_connections()
        ]
        return {lien.raddr.ip for lien in liens if lien.raddr}

    def arreter(self) -> None:
        """Arrête le service ; un affinage en cours s'y retrouvera au prochain démarrage."""
        self.processus.terminate()
        try:
            self.processus.wait(30)
        except subprocess.TimeoutExpired:
            self.processus.kill()
