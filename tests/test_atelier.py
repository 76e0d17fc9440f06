"""La salle : chaque manque se dit en français, avec son remède et le code 2."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
import threading
import tomllib
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import pytest
from packaging.specifiers import SpecifierSet

from fabrique.cours.atelier import installer, verification
from fabrique.cours.atelier.verification import Constat
from fabrique.ligne_de_commande import principal
from fabrique.machine import profil as machine
from outils.tester import RACINE

FICHIER = Path(verification.__file__)


def seul(constats: Iterator[Constat]) -> Constat:
    """Le seul constat d'un contrôle."""
    (constat,) = constats
    return constat


# ---------------------------------------------------------------- Python, disque, mémoire


def test_les_seuils_sont_ceux_du_projet():
    """Python du projet et du kit, machine.DISQUE_MINIMAL, et les 4 Go du README."""
    projet = tomllib.loads((RACINE / "pyproject.toml").read_text("utf-8"))["project"]
    minimale = ".".join(map(str, verification.PYTHON_MINIMAL))
    assert minimale in SpecifierSet(projet["requires-python"])
    assert minimale == installer.MINIMALES["3.11"]
    assert machine.DISQUE_MINIMAL["poche"] == verification.DISQUE_MINIMAL
    annonces = re.search(r"et (\d+) Go de disque", (RACINE / "README.md").read_text("utf-8"))
    assert int(annonces[1]) * verification.GO == verification.DISQUE_INSTALLATION


@pytest.mark.parametrize("octets", [0, 8e6, 99e6, 100e6, 15_835_660_288, 2e12])
def test_la_verification_dit_les_places_comme_le_paquet(octets):
    """Elle se lance sans le paquet : sa copie doit en suivre l’unité et l’écriture."""
    assert verification._en_go(octets) == machine.en_go(octets)


@pytest.mark.parametrize(
    ("version", "maxsize", "dit"),
    [
        ((3, 9, 16), 2**63 - 1, "la version 3.9.16 est trop ancienne"),
        ((3, 10, 9), 2**63 - 1, "la version 3.10.9 est trop ancienne"),
        ((3, 12, 1), 2**31 - 1, "la version 3.12.1 est en 32 bits"),
        ((3, 11, 7), 2**63 - 1, ""),
    ],
)
def test_un_python_qui_ne_convient_pas_est_dit(monkeypatch, version, maxsize, dit):
    """Trop ancien, 32 bits, ou bon."""
    monkeypatch.setattr(verification, "sys", SimpleNamespace(version_info=version, maxsize=maxsize))
    constat = seul(verification.verifier_python())
    assert constat.bon == (not dit)
    assert dit in constat.message
    assert constat.bon or "64 bits" in constat.remede


def test_le_fichier_se_lance_seul_sans_rien_d_installe():
    """Ni le paquet ni ses dépendances : la bibliothèque standard suffit, et le manque est dit."""
    commande = [sys.executable, "-I", "-S", FICHIER, "--hors_ligne"]
    fini = subprocess.run(commande, capture_output=True, text=True, encoding="utf-8")
    assert (fini.returncode, fini.stderr) == (2, "")
    assert re.search(r"\[À CORRIGER\] Paquets.*il manque fabrique, torch", fini.stdout)
    assert fini.stdout.endswith("1 point à corriger.\n")


def test_un_vieux_python_sait_lire_le_fichier():
    """La syntaxe de Python 3.8 : sinon il échouerait avant d'avoir rien dit."""
    ast.parse(FICHIER.read_text("utf-8"), feature_version=(3, 8))


def test_un_disque_plein_ou_interdit_est_dit(monkeypatch, tmp_path: Path):
    """Plus de place ; de la place, mais pas le droit d'écrire."""
    assert all(c.bon for c in verification.verifier_disque(tmp_path))

    def refuser(**_):
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as avec:
        avec.setattr(verification.tempfile, "TemporaryFile", refuser)
        assert "on ne peut pas écrire" in next(verification.verifier_disque(tmp_path)).message
    monkeypatch.setattr(verification.shutil, "disk_usage", lambda _: SimpleNamespace(free=10**6))
    plein = next(verification.verifier_disque(tmp_path))
    assert not plein.bon
    assert "il reste 1\u00a0Mo" in plein.message


def test_une_memoire_trop_pleine_est_dite(monkeypatch):
    """Disponible, et non totale."""
    import psutil

    peu = SimpleNamespace(available=10**9, total=16 * 10**9)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: peu)
    constat = seul(verification.verifier_memoire())
    assert not constat.bon
    assert "1,0\u00a0Go disponibles" in constat.message


# ---------------------------------------------------------------- le réseau, à travers un vrai serveur


@pytest.fixture
def mandataire(monkeypatch) -> Iterator[type]:
    """Un mandataire local, dont on choisit le code ; toutes les adresses passent par lui."""

    class Reponse(BaseHTTPRequestHandler):
        code = 200

        def do_CONNECT(self):
            self.send_error(self.code)

        def do_GET(self):
            self.send_response(self.code)
            self.end_headers()

        def log_message(self, *_):
            """Se tait."""

    serveur = ThreadingHTTPServer(("127.0.0.1", 0), Reponse)
    threading.Thread(target=serveur.serve_forever, daemon=True).start()
    adresse = f"http://nom:secret@127.0.0.1:{serveur.server_port}"
    for nom in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(nom, adresse)
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.setenv("PIP_INDEX_URL", "http://miroir.exemple.fr/simple/")
    yield Reponse
    serveur.shutdown()
    serveur.server_close()


def test_le_mandataire_est_dit_sans_son_mot_de_passe_et_le_miroir_est_suivi(mandataire):
    """L'index est celui de PIP_INDEX_URL, appelé à travers le mandataire."""
    constats = {c.nom: c for c in verification.verifier_reseau()}
    assert "127.0.0.1" in constats["Mandataire"].message
    assert "secret" not in str(constats)
    assert verification.index_des_paquets() == "http://miroir.exemple.fr/simple"
    assert constats["Index des paquets"].bon


@pytest.mark.parametrize(
    ("code", "dit"), [(407, "demande un identifiant"), (403, "refusé (code 403)")]
)
def test_ce_que_refuse_le_mandataire_est_dit(mandataire, code: int, dit: str):
    """En clair pour l'index, dans un tunnel pour le hub et Colab."""
    mandataire.code = code
    constats = {c.nom: c for c in verification.verifier_reseau()}
    for nom in ("Index des paquets", "Hub Hugging Face", "Colab"):
        assert not constats[nom].bon
        assert dit in constats[nom].message


def test_sans_reseau_une_seule_ligne_et_le_kit_pour_remede(monkeypatch):
    """Rien ne répond : un mandataire mort. Prévu, ce n'est pas une faute."""
    for nom in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(nom, "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("PIP_INDEX_URL", raising=False)
    _, constat = verification.verifier_reseau()
    assert (constat.nom, constat.bon) == ("Réseau", False)
    assert "fabrique atelier kit" in constat.remede
    assert seul(verification.verifier_reseau(hors_ligne=True)).bon


# ---------------------------------------------------------------- JupyterLab et le modèle, pour de vrai


def test_jupyterlab_s_ouvre_et_le_modele_repond():
    """Le vrai serveur, les vrais poids."""
    assert seul(verification.verifier_jupyterlab()).bon
    assert seul(verification.verifier_modele()).bon


def test_un_jupyterlab_casse_est_dit(monkeypatch):
    """Il s'arrête aussitôt : on le dit, avec sa dernière erreur."""
    monkeypatch.setattr(verification.sys, "executable", "python-absent")
    constat = next(verification._sans_trace("JupyterLab", verification.verifier_jupyterlab))
    assert (constat.nom, constat.bon) == ("JupyterLab", False)


# ---------------------------------------------------------------- la commande


@pytest.mark.parametrize("bons", [True, False])
def test_la_commande_rend_0_ou_2(monkeypatch, capsys, bons: bool):
    """Les mêmes constats, en lignes et en JSON."""
    constats = [
        Constat("Python", True, "3.11.7"),
        Constat("Disque", bons, "il reste 0 Go", "" if bons else "Libérez de la place"),
    ]
    monkeypatch.setattr(verification, "verifier", lambda hors_ligne: iter(constats))
    code = 0 if bons else 2
    assert principal(["atelier", "verifier"]) == code
    lignes = capsys.readouterr().out.splitlines()
    assert lignes[0].startswith("[OK]")
    assert "Python" in lignes[0]
    assert lignes[-1] == ("La machine est prête." if bons else "1 point à corriger.")
    assert bons or "[À CORRIGER]" in lignes[1]
    assert principal(["atelier", "verifier", "--json"]) == code
    lu = json.loads(capsys.readouterr().out)
    assert lu["a_corriger"] == (not bons)
    assert lu["constats"][1]["nom"] == "Disque"


def test_le_controle_qui_echoue_est_un_constat():
    """Une machine malade ne montre jamais de trace."""

    def casse():
        raise RuntimeError("impossible")
        yield

    constat = seul(verification._sans_trace("GPU", casse))
    assert not constat.bon
    assert "impossible" in constat.message
    assert os.linesep not in constat.message
