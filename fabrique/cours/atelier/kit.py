"""Le kit hors ligne : tout le cours dans un dossier, pour une clé ou un partage.

``uv`` résout les versions pour une autre machine que celle-ci, en lisant ses marqueurs
(« Windows seulement »…), ce que pip ne sait pas faire ; pip télécharge ensuite ces versions-là.
Les deux suivent la configuration de pip et les variables de mandataire.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import chain, count
from pathlib import Path

from fabrique.cours.atelier import installer, verification
from fabrique.socle.emplacements import PAQUET, ecrire_texte
from fabrique.socle.erreurs import MACHINE, ErreurFabrique


@dataclass(frozen=True)
class Plateforme:
    """Un système, tel que ``uv`` et les étiquettes de roues le nomment."""

    uv: str
    etiquettes: tuple[str, ...]


PLATEFORMES = {
    "linux": Plateforme(
        "x86_64-manylinux_2_31",
        # De glibc 2.31 (Debian 11, Ubuntu 20.04, RHEL 9), que demande llguidance, en descendant, puis les
        # anciens noms (PEP 600).
        (
            *(f"manylinux_2_{mineure}_x86_64" for mineure in range(31, 4, -1)),
            *(f"manylinux{annee}_x86_64" for annee in ("2014", "2010", "1")),
        ),
    ),
    "windows": Plateforme("x86_64-pc-windows-msvc", ("win_amd64",)),
    "macos": Plateforme("aarch64-apple-darwin", ("macosx_14_0_arm64",)),
}
PYTHONS = tuple(installer.MINIMALES)
#: Publiés sans roue, en Python pur : leur roue, construite ici, vaut partout.
SANS_ROUE = ("rouge-score",)
#: Ce que le dossier du cours emporte, en plus des carnets.
DOCUMENTS = (
    "README.md",
    "LICENCES.md",
    "LICENSE",
    "data",
    "docs/animer",
    "docs/images",
    "docs/lexique.md",
    "docs/ou_lancer.md",
    "docs/servir.md",
)

#: Ce que le kit pose dans son dossier ; son mode d'emploi, écrit d'abord, le signe.
MODE_D_EMPLOI, TITRE = "LISEZMOI.txt", "FabriqueLLM, kit hors ligne"
CONTENU = (MODE_D_EMPLOI, "cours", "roues", "listes", "installer.py", "verifier.py")
EN_CONSTRUCTION = TITRE + "\n\nEn construction : relancez la commande pour l’achever.\n"
LISEZMOI = (
    TITRE
    + """

Il faut Python {pythons} (ou une version corrective plus récente), en 64 bits, et 4 Go de disque.
Aucun réseau n’est appelé.

Windows        : double-cliquez sur installer.bat (ou installer.ps1)
Linux, macOS   : sh installer.sh
Autre dossier  : python installer.py DOSSIER

Pour seulement vérifier une machine, même sans rien installer : python verifier.py --hors_ligne

Contenu : roues pour {listes} ; carnets, corpus, Falcon de poche, guide de l’animateur.
"""
)
LANCEURS = {
    "installer.sh": '#!/bin/sh\nexec "${PYTHON:-python3}" "$(dirname "$0")/installer.py" "$@"\n',
    "installer.bat": "@echo off\r\n"
    "where py >nul 2>nul\r\n"
    'if %errorlevel%==0 (py -3 "%~dp0installer.py" %*) else (python "%~dp0installer.py" %*)\r\n'
    "pause\r\n",
    "installer.ps1": '$lanceur = if (Get-Command py -ErrorAction SilentlyContinue) { "py" } '
    'else { "python" }\r\n& $lanceur (Join-Path $PSScriptRoot "installer.py") @args\r\n',
}


def construire(
    dossier: Path, plateformes: Iterable[str] = PLATEFORMES, pythons: Iterable[str] = PYTHONS
) -> int:
    """Construit le kit, ou complète celui qui est là.

    Args:
        dossier: où l'écrire.
        plateformes: noms de ``PLATEFORMES``.
        pythons: versions parmi ``PYTHONS``.

    Returns:
        La taille du kit, en octets.

    Raises:
        ErreurFabrique: pas de dépôt, dossier où le kit écraserait ce qui n'est pas de lui, ``uv``
            absent, version inconnue, index injoignable, ou torch pour CUDA, dix fois trop lourd
            pour une clé.
    """
    racine, dossier = _depot(), Path(dossier)
    couples = [
        (p, v) for p in _connues(plateformes, PLATEFORMES) for v in _connues(pythons, PYTHONS)
    ]
    _prendre_le_dossier(dossier)
    roues = dossier / "roues"
    roues.mkdir(parents=True, exist_ok=True)
    for ancienne in roues.glob("fabrique-*.whl"):
        ancienne.unlink()
    _construire_la_roue(racine, roues)
    for plateforme, python in couples:
        print(f"{plateforme}, Python {python} : résolution et téléchargement…", flush=True)
        liste = dossier / "listes" / f"{plateforme}-{python}.txt"
        ecrire_texte(liste, _resoudre(racine, plateforme, python))
        _telecharger(liste, roues, PLATEFORMES[plateforme], python)
    _copier_le_cours(racine, dossier)
    return sum(fichier.stat().st_size for fichier in dossier.rglob("*") if fichier.is_file())


def _prendre_le_dossier(dossier: Path) -> None:
    """Refuse un dossier où un autre a rangé ce que le kit écrirait ; sinon, le signe d'avance."""
    mode_d_emploi = dossier / MODE_D_EMPLOI
    if mode_d_emploi.is_file() and mode_d_emploi.read_bytes().startswith(TITRE.encode("utf-8")):
        return
    presents = [nom for nom in (*CONTENU, *LANCEURS) if (dossier / nom).exists()]
    if presents:
        raise ErreurFabrique(
            f"ce dossier contient déjà {', '.join(presents)}, que le kit remplacerait",
            f"Donnez un dossier neuf, par exemple {dossier / 'kit'}",
            dossier,
        )
    ecrire_texte(mode_d_emploi, EN_CONSTRUCTION)


def _connues(demandees: Iterable[str], connues: Iterable[str]) -> list[str]:
    """Les valeurs demandées, toutes connues."""
    for valeur in (demandees := list(demandees)):
        if valeur not in connues:
            raise ErreurFabrique(
                f"« {valeur} » est inconnu", f"Choisissez parmi {', '.join(connues)}"
            )
    return demandees


def _depot() -> Path:
    """La racine du dépôt : le paquet installé seul n'a pas les carnets."""
    racine = PAQUET.parent
    if not (racine / "notebooks").is_dir():
        raise ErreurFabrique(
            "le kit se construit depuis une copie du dépôt, qui porte les carnets",
            "Clonez le dépôt, puis « make cours »",
            racine,
        )
    return racine


def _construire_la_roue(racine: Path, roues: Path) -> None:
    """La roue du cours, depuis une copie : rien ne s'écrit dans le dépôt."""
    with tempfile.TemporaryDirectory() as copie:
        for nom in (
            "pyproject.toml",
            "setup.py",
            "README.md",
            "LICENSE",
            "LICENCES.md",
            *racine.glob("requirements*.txt"),
        ):
            shutil.copy(racine / str(nom), copie)
        for nom in ("fabrique", "data"):
            sans_caches = shutil.ignore_patterns("__pycache__")
            shutil.copytree(racine / nom, Path(copie) / nom, ignore=sans_caches)
        _pip("wheel", "--no-deps", "--no-build-isolation", "-w", roues, copie)


# ---------------------------------------------------------------- résoudre, télécharger


def _resoudre(racine: Path, plateforme: str, python: str) -> str:
    """Les versions exactes à télécharger pour cette plateforme, une par ligne."""
    uv = shutil.which("uv", path=Path(sys.executable).parent) or shutil.which("uv")
    if uv is None:
        raise ErreurFabrique("l’outil uv manque", "Tapez « pip install uv »", code=MACHINE)
    options = ["--no-header", "--no-annotate", "--quiet", "--index-strategy", "unsafe-best-match"]
    cible = ["--python-platform", PLATEFORMES[plateforme].uv]
    cible += ["--python-version", installer.MINIMALES[python]]
    commande = [uv, "pip", "compile", racine / "requirements.txt", *options, *cible]
    commande += ["--constraint", racine / "contraintes.txt", *options_d_index()]
    # Sans cette variable, uv suppose un macOS plus ancien que celui des roues de torch.
    resolu = _lancer(commande, {"MACOSX_DEPLOYMENT_TARGET": "14.0", **_certificat()})
    if re.search(r"^nvidia-", resolu, re.M):
        raise ErreurFabrique(
            f"pour {plateforme} et Python {python}, l’index donne torch pour CUDA, trop lourd "
            "pour une clé",
            "Ajoutez l’index CPU de PyTorch : "
            "PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu, ou celui de votre miroir",
        )
    return resolu


def options_d_index() -> list[str]:
    """La configuration de pip (index, miroir, dossiers de roues), dite à ``uv``."""
    reglages = verification.reglages_pip()
    noms = {
        "index-url": "--default-index",
        "extra-index-url": "--index",
        "find-links": "--find-links",
        "trusted-host": "--allow-insecure-host",
    }
    return [
        mot
        for reglage, option in noms.items()
        for valeur in reglages.get(reglage, "").split()
        for mot in (option, valeur)
    ]


def _certificat() -> dict[str, str]:
    """Le fichier d'autorités donné à pip, sous le nom que ``uv`` lit."""
    certificat = verification.reglages_pip().get("cert")
    return {"SSL_CERT_FILE": certificat} if certificat else {}


def _telecharger(liste: Path, roues: Path, plateforme: Plateforme, python: str) -> None:
    """Les roues de la liste ; construit celles qui ne sont pas publiées."""
    lignes = liste.read_text(encoding="utf-8").splitlines()
    pures = [ligne for ligne in lignes if ligne.split("==")[0] in SANS_ROUE]
    _pip("wheel", "--no-deps", "-w", roues, *pures)
    cible = ["--python-version", installer.MINIMALES[python], "--implementation", "cp"]
    cible += [mot for etiquette in plateforme.etiquettes for mot in ("--platform", etiquette)]
    publiees = [ligne for ligne in lignes if ligne not in pures]
    _pip("download", "--no-deps", "--only-binary", ":all:", "-d", roues, *cible, *publiees)


def _pip(*arguments: object) -> None:
    _lancer([sys.executable, "-m", "pip", *arguments, "--quiet", "--disable-pip-version-check"])


def _lancer(commande: list, variables: dict[str, str] | None = None) -> str:
    """Lance une commande et rend ce qu'elle imprime ; son échec se lit dans l'erreur."""
    fini = subprocess.run(
        [str(mot) for mot in commande],
        env={**os.environ, **verification.EN_UTF8, **(variables or {})},
        capture_output=True,
        encoding="utf-8",
        errors="replace",
    )
    if fini.returncode:
        fautes = [ligne.strip() for ligne in fini.stderr.splitlines() if "error" in ligne.lower()]
        raise ErreurFabrique(
            f"le téléchargement a échoué ({(fautes or ['sans message'])[-1][:300]})",
            "Vérifiez le réseau (fabrique atelier verifier) et la configuration de pip",
            code=MACHINE,
        )
    return fini.stdout


# ---------------------------------------------------------------- le dossier du cours


def _ecarter_l_ancien(cours: Path) -> list[str]:
    """Un cours posé avant que le kit ne note ce qu'il pose : on ne sait qui l'a changé, il est mis à côté."""
    if not cours.exists() or (cours / installer.POSES).exists():
        return []
    noms = chain(["cours-ancien"], (f"cours-ancien-{rang}" for rang in count(2)))
    ecarte = next(libre for libre in map(cours.with_name, noms) if not libre.exists())
    cours.rename(ecarte)
    return [f"L’ancien cours est gardé à côté\u00a0: {ecarte.name}."]


def _copier_le_cours(racine: Path, dossier: Path) -> None:
    """Carnets et documents, installateur, lanceurs, mode d'emploi.

    Ce que le formateur a changé dans le cours d'un kit y reste ; la nouvelle version est à côté.
    """
    with tempfile.TemporaryDirectory() as neuf:
        carnets = Path(neuf) / "notebooks"
        carnets.mkdir()
        for carnet in (racine / "notebooks").glob("[0-9]*.ipynb"):
            shutil.copy(carnet, carnets)
        for nom in filter(lambda nom: (racine / nom).exists(), DOCUMENTS):
            copier = shutil.copytree if (racine / nom).is_dir() else shutil.copy
            (Path(neuf) / nom).parent.mkdir(parents=True, exist_ok=True)
            copier(racine / nom, Path(neuf) / nom)
        for phrase in [
            *_ecarter_l_ancien(dossier / "cours"),
            *installer.poser_le_cours(Path(neuf), dossier / "cours"),
        ]:
            print(phrase, flush=True)
    shutil.copy(installer.__file__, dossier / "installer.py")
    shutil.copy(verification.__file__, dossier / "verifier.py")
    for nom, texte in LANCEURS.items():
        (dossier / nom).write_bytes(texte.encode("utf-8"))
    listes = sorted(fichier.stem for fichier in (dossier / "listes").glob("*.txt"))
    versions = sorted({installer.MINIMALES[nom.split("-")[1]] for nom in listes})
    mode_d_emploi = LISEZMOI.format(pythons=" ou ".join(versions), listes=", ".join(listes))
    ecrire_texte(dossier / MODE_D_EMPLOI, mode_d_emploi)
