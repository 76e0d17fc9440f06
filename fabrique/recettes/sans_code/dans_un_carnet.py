"""La page dans la sortie d'une cellule : JupyterLab, ou Colab."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import psutil
from IPython.display import IFrame, display

from fabrique.machine.materiel import examiner
from fabrique.recettes.sans_code.service_d_ici import port_libre
from fabrique.service.reglages_service import CHEZ_SOI
from fabrique.socle.erreurs import MACHINE, ErreurFabrique

#: Secondes laissées à la page pour s'ouvrir : gradio s'importe lentement sur deux cœurs.
DELAI_S = 120


def montrer_la_page(dossier: str | Path = "sorties/page", hauteur: int = 900) -> psutil.Popen:
    """Ouvre la page sans code sous la cellule ; ``.terminate()`` sur ce qu'elle rend la ferme.

    Args:
        dossier: le seul dossier où la page écrit.
        hauteur: en pixels.

    Returns:
        Le processus de la page.

    Raises:
        ErreurFabrique: la page n'a pas pu s'ouvrir ; ce qu'elle en a dit est dans la phrase.
    """
    port = port_libre()
    mots = ["page", "--port", str(port), "--dossier", str(dossier), "--sans_navigateur"]
    processus = psutil.Popen(
        [sys.executable, "-m", "fabrique", *mots],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    _attendre(processus, port)
    if examiner().colab:
        from google.colab import output

        output.serve_kernel_port_as_iframe(port, height=str(hauteur))
    else:
        display(IFrame(f"http://{CHEZ_SOI}:{port}", width="100%", height=hauteur))
    return processus


def _attendre(processus: psutil.Popen, port: int) -> None:
    fin = time.monotonic() + DELAI_S
    while time.monotonic() < fin:
        if processus.poll() is not None:
            dit = processus.stderr.read().strip().rpartition("\n")[2]
            raise ErreurFabrique("la page n’a pas pu s’ouvrir", dit.rstrip("."), code=MACHINE)
        with closing(socket.socket()) as prise:
            if prise.connect_ex((CHEZ_SOI, port)) == 0:
                return
        time.sleep(0.2)
    processus.kill()
    raise ErreurFabrique(
        f"la page ne s’est pas ouverte en {DELAI_S} secondes",
        "Fermez d’autres programmes et réessayez",
        code=MACHINE,
    )
