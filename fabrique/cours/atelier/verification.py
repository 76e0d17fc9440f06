"""La salle est-elle prête ? Ce que ``fabrique atelier verifier`` regarde, une ligne par constat.

Ce fichier n'importe au départ que la bibliothèque standard : il se lance aussi seul, même sous
un Python trop ancien et sans rien d'installé, par ``python verification.py``.
"""

from __future__ import annotations

import ast
import importlib.util
import json
import os
import re
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

#: Ceux de fabrique.machine.profil, sans importer torch.
MO, GO = 10**6, 10**9
#: La première version de Python que le paquet et ses bibliothèques figées acceptent (pyproject).
PYTHON_MINIMAL = (3, 11, 0)
#: Place pour travailler, une fois tout installé, et pour installer (README).
DISQUE_MINIMAL, DISQUE_INSTALLATION = 1 * GO, 4 * GO
#: Mémoire vive disponible que demande un carnet avec le Falcon de poche (« En bref »).
MEMOIRE_MINIMALE = 2 * GO
#: Ce que les carnets importent, et sans quoi rien ne s'ouvre.
PAQUETS = ("fabrique", "torch", "transformers", "peft", "bitsandbytes", "datasets", "jupyterlab")
INDEX_PUBLIC = "https://pypi.org/simple"
#: Ce qu'un programme Python lancé d'ici écrit est en UTF-8, même sous une page de codes de Windows.
EN_UTF8 = {"PYTHONIOENCODING": "utf-8"}
#: Secondes laissées à une adresse pour répondre, et à JupyterLab pour s'ouvrir.
DELAI_RESEAU, DELAI_JUPYTER = 6, 90
#: Codes de sortie : tout va bien ; la machine est à corriger.
PRETE, A_CORRIGER = 0, 2


@dataclass(frozen=True)
class Constat:
    """Une chose vérifiée : bonne, ou à corriger avec son remède (sans point final)."""

    nom: str
    bon: bool
    message: str
    remede: str = ""

    def __str__(self) -> str:
        etat = "[OK]" if self.bon else "[À CORRIGER]"
        ligne = f"{etat:<13}{self.nom}\u00a0: {self.message}."
        return ligne if self.bon else f"{ligne}\n{'':<13}Remède\u00a0: {self.remede}."


def verifier(hors_ligne: bool = False, dossier: str | Path = ".") -> Iterator[Constat]:
    """Vérifie la machine et rend ses constats au fil de l'eau.

    Args:
        hors_ligne: la salle n'aura pas de réseau, et c'est prévu ; rien n'est alors appelé.
        dossier: le dossier où l'on travaillera.
    """
    yield from _sans_trace("Python", verifier_python)
    yield from _sans_trace("Disque", lambda: verifier_disque(Path(dossier)))
    yield from _sans_trace("Réseau", lambda: verifier_reseau(hors_ligne))
    manquants = [nom for nom in PAQUETS if importlib.util.find_spec(nom) is None]
    if manquants:
        yield Constat(
            "Paquets",
            False,
            f"il manque {', '.join(manquants)}",
            "Installez le cours (« make cours », ou le script installer du kit), puis relancez "
            "avec le Python de cette installation",
        )
        return
    yield Constat("Paquets", True, "tous installés")
    yield from _sans_trace("Mémoire vive", verifier_memoire)
    yield from _sans_trace("GPU", verifier_gpu)
    yield from _sans_trace("JupyterLab", verifier_jupyterlab)
    yield from _sans_trace("Modèle", verifier_modele)


def _sans_trace(nom: str, controle: Callable[[], Iterator[Constat]]) -> Iterator[Constat]:
    """Mène un contrôle ; ce qui l'empêche d'aboutir est un constat, jamais une trace."""
    try:
        yield from controle()
    except Exception as cause:  # une machine malade peut tout lever
        raison = " ".join(str(cause).split())[:200] or type(cause).__name__
        yield Constat(
            nom,
            False,
            f"le contrôle n’a pas abouti ({raison})",
            "Corrigez d’abord les autres lignes, puis relancez",
        )


def verifier_python() -> Iterator[Constat]:
    """La version, et 64 bits : torch n'existe pas autrement."""
    version = ".".join(map(str, sys.version_info[:3]))
    minimale = ".".join(map(str, PYTHON_MINIMAL))
    if tuple(sys.version_info[:3]) < PYTHON_MINIMAL:
        yield Constat(
            "Python",
            False,
            f"la version {version} est trop ancienne",
            f"Installez Python {minimale}, 3.12 ou 3.13 (64 bits), puis recréez l’environnement",
        )
    elif sys.maxsize < 2**32:
        yield Constat(
            "Python",
            False,
            f"la version {version} est en 32 bits",
            "Installez la version 64 bits : torch n’existe pas en 32 bits",
        )
    else:
        yield Constat("Python", True, version)


# ---------------------------------------------------------------- disque et mémoire


def verifier_disque(dossier: Path) -> Iterator[Constat]:
    """De la place, et le droit d'écrire, dans le dossier de travail et le dossier temporaire."""
    installe = importlib.util.find_spec("fabrique") is not None
    besoin = DISQUE_MINIMAL if installe else DISQUE_INSTALLATION
    yield _disque("Disque", dossier, besoin)
    try:
        temporaire = Path(tempfile.gettempdir())
    except OSError:
        yield Constat(
            "Dossier temporaire",
            False,
            "aucun n’accepte d’écriture",
            "Libérez de la place, ou donnez à TMPDIR (TEMP sous Windows) un dossier où vous "
            "pouvez écrire",
        )
        return
    yield _disque("Dossier temporaire", temporaire, DISQUE_MINIMAL // 10)


def _disque(nom: str, dossier: Path, besoin: int) -> Constat:
    libre = shutil.disk_usage(dossier).free
    if libre < besoin:
        return Constat(
            nom,
            False,
            f"il reste {_en_go(libre)} dans {dossier.resolve()}, il en faut {_en_go(besoin)}",
            "Libérez de la place (d’anciens dossiers sorties), ou travaillez dans un autre dossier",
        )
    try:
        with tempfile.TemporaryFile(dir=str(dossier)) as essai:
            essai.write(bytes(1_000_000))
            essai.flush()
            os.fsync(essai.fileno())
    except OSError as cause:
        return Constat(
            nom,
            False,
            f"on ne peut pas écrire dans {dossier.resolve()} ({cause.strerror})",
            "Travaillez dans un dossier à vous, ou demandez le droit d’écriture",
        )
    return Constat(nom, True, f"{_en_go(libre)} libres, écriture possible")


def verifier_memoire() -> Iterator[Constat]:
    """La mémoire disponible maintenant, dans ce conteneur s'il y en a un, pas celle de l'étiquette."""
    from fabrique.machine.materiel import memoire_accordee, memoire_disponible

    disponible = memoire_disponible()
    if disponible < MEMOIRE_MINIMALE:
        yield Constat(
            "Mémoire vive",
            False,
            f"{_en_go(disponible)} disponibles sur {_en_go(memoire_accordee())}, "
            f"il en faut {_en_go(MEMOIRE_MINIMALE)}",
            "Fermez d’autres programmes (navigateur, visioconférence), puis relancez",
        )
    else:
        yield Constat("Mémoire vive", True, f"{_en_go(disponible)} disponibles")


def _en_go(octets: float) -> str:
    # fabrique.socle.nombres.en_go, sans le paquet : ce fichier se lance aussi seul.
    if octets < GO / 10:
        return f"{octets / MO:.0f}\u00a0Mo"
    return f"{octets / GO:,.1f}\u00a0Go".replace(",", "\u202f").replace(".", ",")


# ---------------------------------------------------------------- réseau


def verifier_reseau(hors_ligne: bool = False) -> Iterator[Constat]:
    """L'index des paquets, le hub et Colab, à travers le mandataire s'il y en a un."""
    if hors_ligne:
        yield Constat("Réseau", True, "aucun, comme prévu : le Falcon de poche suffit")
        return
    mandataires = urllib.request.getproxies()
    mandataire = mandataires.get("https") or mandataires.get("http")
    yield Constat("Mandataire", True, _sans_identifiants(mandataire) if mandataire else "aucun")
    reponses = _appeler(
        {
            "Index des paquets": f"{index_des_paquets()}/pip/",
            "Hub Hugging Face": "https://huggingface.co/robots.txt",
            "Colab": "https://colab.research.google.com/robots.txt",
        }
    )
    if not any(isinstance(reponse, int) for reponse in reponses.values()):
        yield Constat(
            "Réseau",
            False,
            "aucune adresse ne répond",
            "Vérifiez le câble, le Wi-Fi ou les variables HTTP_PROXY et HTTPS_PROXY ; si la salle "
            "n’aura pas de réseau, préparez le kit (fabrique atelier kit) et relancez avec "
            "--hors_ligne",
        )
        return
    for nom, reponse in reponses.items():
        yield _acces(nom, reponse)


def index_des_paquets() -> str:
    """L'index où pip cherche : celui de ses variables ou de sa configuration, sinon le public."""
    return reglages_pip().get("index-url", INDEX_PUBLIC).rstrip("/")


def reglages_pip() -> dict[str, str]:
    """La configuration de pip : variables ``PIP_…`` d'abord, fichiers ensuite."""
    commande = [sys.executable, "-m", "pip", "config", "list", "--disable-pip-version-check"]
    fini = subprocess.run(
        commande,
        env={**os.environ, **EN_UTF8},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        encoding="utf-8",
        errors="replace",
        check=False,
    )
    # pip écrit chaque valeur comme une chaîne de Python : les « \\ » d'un chemin Windows y sont doubles.
    lus = [
        (portee, nom, ast.literal_eval(valeur))
        for portee, nom, valeur in re.findall(
            r"""^([\w:]+)\.([\w-]+)=(['"].*['"])$""", fini.stdout, re.M
        )
    ]
    reglages = {nom: valeur for portee, nom, valeur in lus if portee != ":env:"}
    return {**reglages, **{nom: valeur for portee, nom, valeur in lus if portee == ":env:"}}


def _appeler(adresses: dict[str, str]) -> dict[str, object]:
    """Appelle toutes les adresses à la fois ; rend un code HTTP ou l'erreur de chacune."""
    reponses: dict[str, object] = {nom: TimeoutError() for nom in adresses}
    ouvrir = urllib.request.build_opener().open  # urlopen garderait le premier mandataire vu

    def appeler(nom: str, adresse: str) -> None:
        try:
            with ouvrir(adresse, timeout=DELAI_RESEAU) as reponse:
                reponses[nom] = reponse.status
        except urllib.error.HTTPError as refus:
            reponses[nom] = refus.code
        except OSError as echec:  # URLError en est une, qui en enveloppe souvent une autre
            cause = getattr(echec, "reason", echec)
            refus_tunnel = re.search(r"Tunnel connection failed: (\d+)", str(cause))
            reponses[nom] = int(refus_tunnel[1]) if refus_tunnel else cause

    # Démons : une résolution de nom qui traîne ne retient pas la fin.
    fils = [threading.Thread(target=appeler, args=a, daemon=True) for a in adresses.items()]
    for fil in fils:
        fil.start()
    limite = time.monotonic() + DELAI_RESEAU + 2
    for fil in fils:
        fil.join(max(0, limite - time.monotonic()))
    return dict(reponses)


def _acces(nom: str, reponse: object) -> Constat:
    """Ce que dit une réponse, et quoi faire."""
    if isinstance(reponse, int) and reponse < 400:
        return Constat(nom, True, "accessible")
    if reponse == 407:
        message, remede = (
            "le mandataire demande un identifiant",
            (
                "Écrivez-le dans HTTPS_PROXY (http://nom:motdepasse@hote:port), ou demandez une exception"
            ),
        )
    elif isinstance(reponse, int):
        message, remede = (
            f"refusé (code {reponse})",
            (
                "Demandez l’ouverture de cette adresse, ou passez par un miroir interne (PIP_INDEX_URL)"
            ),
        )
    elif isinstance(reponse, ssl.SSLError):
        message, remede = (
            "le certificat est refusé",
            (
                "Donnez à SSL_CERT_FILE, REQUESTS_CA_BUNDLE et PIP_CERT le fichier des autorités de "
                "votre organisme"
            ),
        )
    else:
        message, remede = (
            f"injoignable, {_en_francais(reponse)}",
            (
                "Demandez l’ouverture de cette adresse ; sans elle, le Falcon de poche et le kit "
                "hors ligne suffisent (--hors_ligne)"
            ),
        )
    return Constat(nom, False, message, remede)


def _en_francais(echec: object) -> str:
    """Ce qui a manqué : le nom, la réponse, ou la connexion."""
    if isinstance(echec, socket.gaierror):
        return "son nom ne se résout pas"
    if isinstance(echec, TimeoutError):
        return f"aucune réponse en {DELAI_RESEAU} s"
    return "la connexion est refusée"


def _sans_identifiants(adresse: str) -> str:
    return re.sub(r"//[^/@]*@", "//", adresse)


# ---------------------------------------------------------------- GPU, JupyterLab, modèle


def verifier_gpu() -> Iterator[Constat]:
    """Le GPU, s'il y en a un, et le profil que les carnets prendront."""
    from fabrique.machine.materiel import examiner
    from fabrique.machine.profil import choisir_profil

    machine = examiner()
    profil = choisir_profil(machine)
    yield Constat("GPU", True, f"{machine.gpu or 'aucun'} ; modèle du cours : {profil.modele}")


def verifier_jupyterlab() -> Iterator[Constat]:
    """Lance JupyterLab sur un port libre, lit sa page, l'arrête."""
    with tempfile.TemporaryDirectory() as travail:
        environnement = {**os.environ, **EN_UTF8, "JUPYTER_RUNTIME_DIR": travail}
        commande = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root"]
        options = ["--ServerApp.ip=127.0.0.1", "--ServerApp.port=0", f"--notebook-dir={travail}"]
        with (Path(travail) / "journal").open("w+", encoding="utf-8") as journal:
            serveur = subprocess.Popen(
                commande + options, env=environnement, stdout=journal, stderr=subprocess.STDOUT
            )
            try:
                yield _attendre_jupyterlab(serveur, Path(travail))
            finally:
                serveur.terminate()
                serveur.wait(timeout=30)


def _attendre_jupyterlab(serveur: subprocess.Popen, dossier: Path) -> Constat:
    """Attend que la page réponde ; sans mandataire, puisqu'elle est sur cette machine."""
    depart = time.monotonic()
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    while serveur.poll() is None and time.monotonic() - depart < DELAI_JUPYTER:
        for fiche in dossier.glob("jpserver-*.json"):
            try:
                lue = json.loads(fiche.read_text(encoding="utf-8"))
                with direct.open(f"{lue['url']}lab?token={lue['token']}", timeout=30):
                    attente = f"{time.monotonic() - depart:.0f}"
                    return Constat("JupyterLab", True, f"s’ouvre en {attente} s")
            except (OSError, ValueError):
                break  # la fiche s'écrit, ou le serveur n'écoute pas encore
        time.sleep(0.3)
    lignes = (dossier / "journal").read_text("utf-8", "replace").splitlines()
    erreurs = [ligne.strip() for ligne in lignes if "Error" in ligne]
    arret = "il s’arrête" if serveur.poll() is not None else f"rien après {DELAI_JUPYTER} s"
    detail = f", {erreurs[-1][:160]}" if erreurs else ""
    return Constat(
        "JupyterLab",
        False,
        f"ne s’ouvre pas sur 127.0.0.1 ({arret}{detail})",
        "Laissez 127.0.0.1 ouvert dans l’antivirus et le pare-feu ; sinon, réinstallez-le "
        "(pip install --force-reinstall jupyterlab)",
    )


def verifier_modele() -> Iterator[Constat]:
    """Charge le Falcon de poche en 4 bits et lui fait écrire quelques mots."""
    import fabrique

    depart = time.monotonic()
    tokenizer, modele = fabrique.charger("falcon-poche", "nf4", silencieux=True)
    question = "Comment obtenir un passeport ?"
    reponse = fabrique.generer(modele, tokenizer, question, max_new_tokens=20, afficher=False)
    if reponse.strip():
        yield Constat("Modèle", True, f"répond en {time.monotonic() - depart:.0f} s")
    else:
        yield Constat("Modèle", False, "sa réponse est vide", "Réinstallez fabrique")


def bilan(constats: list[Constat]) -> str:
    """La dernière ligne : prête, ou combien de choses à corriger."""
    fautes = sum(not constat.bon for constat in constats)
    if not fautes:
        return "La machine est prête."
    return f"{fautes} point{'s' if fautes > 1 else ''} à corriger."


def en_dictionnaire(constats: list[Constat]) -> dict:
    """Les constats pour ``--json``."""
    fautes = sum(not constat.bon for constat in constats)
    return {"constats": [asdict(constat) for constat in constats], "a_corriger": fautes}


def main() -> int:
    """Le fichier lancé seul : imprime les constats, rend 0 ou 2."""
    constats = []
    for constat in verifier("--hors_ligne" in sys.argv[1:]):
        print(constat, flush=True)
        constats.append(constat)
    print(bilan(constats))
    return PRETE if all(constat.bon for constat in constats) else A_CORRIGER


if __name__ == "__main__":
    sys.stdout.reconfigure(errors="replace")  # type: ignore[union-attr]  # un vrai flux, au lancement
    sys.exit(main())
