"""Le service d'un modèle, lancé et arrêté de la page : « fabrique servir », dans son processus."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import psutil

from fabrique.service.reglages_service import CHEZ_SOI
from fabrique.service.taches import PATIENCE_S, lire_json
from fabrique.socle.emplacements import ecrire_json
from fabrique.socle.erreurs import ErreurFabrique


class ServiceDIci:
    """Au plus un service par espace ; il survit à la page, et elle le retrouve.

    Args:
        racine: l'espace, où le service garde son dossier et son journal.
    """

    def __init__(self, racine: Path) -> None:
        self.racine = racine
        self._etat, self._erreurs = racine / "service_d_ici.json", racine / "service_d_ici.txt"

    def lancer(self, modele: str, adaptateur: str, index: Path | None) -> None:
        """Lance le service sur un port libre.

        Raises:
            ErreurFabrique: il tourne déjà.
        """
        if self._processus() is not None:
            raise ErreurFabrique("un service tourne déjà", "Arrêtez-le d’abord")
        port = port_libre()
        mots = ["servir", "--model", modele, "--adaptateur", adaptateur, "--port", str(port)]
        mots += ["--dossier", str(self.racine / "service")]
        mots += ["--index", str(index)] if index else []
        with self._erreurs.open("wb") as erreurs:
            processus = psutil.Popen(
                [sys.executable, "-m", "fabrique", *mots],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=erreurs,
                env={nom: v for nom, v in os.environ.items() if nom != "FABRIQUE_CLE"},
                start_new_session=True,
            )
        vu = {"processus": processus.pid, "naissance": processus.create_time(), "port": port}
        ecrire_json(self._etat, vu | {"nom": Path(adaptateur).name})

    def arreter(self) -> None:
        """Arrête le service, ses réponses finies."""
        processus = self._processus()
        if processus is not None:
            processus.terminate()
            try:
                processus.wait(PATIENCE_S)
            except psutil.TimeoutExpired:
                processus.kill()

    def phrase(self) -> str:
        """Où il en est ; s'il s'est arrêté de lui-même, pourquoi."""
        lu = lire_json(self._etat)
        if self._processus() is None:
            dit = self._erreurs.read_text("utf-8", "replace").strip() if lu else ""
            return f"Aucun service ne tourne. {dit.rpartition(chr(10))[2]}".strip()
        if not self._repond(lu["port"]):
            return f"Le service de « {lu['nom']} » se prépare…"
        adresse = f"http://{CHEZ_SOI}:{lu['port']}/v1"
        return f"Le service répond sur {adresse} ; le modèle s’y appelle « {lu['nom']} »."

    def _repond(self, port: int) -> bool:
        with closing(socket.socket()) as prise:
            prise.settimeout(0.2)
            return prise.connect_ex((CHEZ_SOI, port)) == 0

    def _processus(self) -> psutil.Process | None:
        lu = lire_json(self._etat)
        try:
            processus = psutil.Process(lu["processus"])
            vivant = processus.status() != psutil.STATUS_ZOMBIE
            return processus if vivant and processus.create_time() == lu["naissance"] else None
        except (KeyError, psutil.NoSuchProcess):
            return None


def port_libre() -> int:
    """Un port que rien n'écoute sur cette machine."""
    with closing(socket.create_server((CHEZ_SOI, 0))) as prise:
        return prise.getsockname()[1]
