"""La roue installée hors du dépôt trouve ses données et ses poids."""

from __future__ import annotations

import email
import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from outils.tester import RACINE

SONDE = """
import email
import json
import bitsandbytes
import fabrique
from fabrique.socle.emplacements import FALCON_POCHE, dossier_data

corpus = fabrique.lire_corpus("demarches")
tokenizer, modele = fabrique.charger("falcon-poche", quantification="nf4", silencieux=True)
couches = sum(isinstance(m, bitsandbytes.nn.Linear4bit) for m in modele.modules())
print(json.dumps({
    "fichiers": [fabrique.__file__, str(dossier_data()), str(FALCON_POCHE)],
    "exemples": len(corpus),
    "couches": couches,
    "attendues": 4 * modele.config.num_hidden_layers,
}))
"""


def lancer(*commande: str | Path, **options) -> str:
    """Lance une commande et rend ce qu'elle imprime ; son échec se lit."""
    fini = subprocess.run([*map(str, commande)], capture_output=True, text=True, **options)
    assert fini.returncode == 0, fini.stderr
    return fini.stdout


@pytest.fixture(scope="module")
def roue(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """La roue, construite depuis une copie : rien ne s'écrit dans le dépôt."""
    copie = tmp_path_factory.mktemp("depot")
    for nom in ("pyproject.toml", "setup.py", "MANIFEST.in", "README.md", "LICENSE", "LICENCES.md"):
        shutil.copy(RACINE / nom, copie)
    for exigences in RACINE.glob("requirements*.txt"):
        shutil.copy(exigences, copie)
    for dossier in ("fabrique", "data"):
        shutil.copytree(
            RACINE / dossier, copie / dossier, ignore=shutil.ignore_patterns("__pycache__")
        )
    sortie = copie / "dist"
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--quiet"]
    lancer(sys.executable, "-m", "pip", "wheel", *options, "-w", sortie, copie)
    return next(sortie.glob("fabrique-*.whl"))


def test_la_roue_emporte_tout_et_rien_d_autre(roue: Path):
    """Chaque module, chaque corpus, chaque fichier du Falcon de poche."""
    emportes = set(zipfile.ZipFile(roue).namelist())
    livres = {
        fichier.relative_to(RACINE).as_posix()
        for motif in (
            "**/*.py",
            "**/*.pyi",
            "**/*.html",
            "py.typed",
            "falcon_poche/*",
            "corpus/*.json",
            "recherche/*.txt",
            "recherche/*.json",
            "recherche/encodeur_poche/*",
            *(f"evaluation/**/*.{fin}" for fin in ("txt", "yaml", "jsonl")),
        )
        for fichier in (RACINE / "fabrique").glob(motif)
        if fichier.is_file()
    } | {f"fabrique/data/{f.name}" for f in (RACINE / "data").iterdir() if f.is_file()}
    assert livres - emportes == set()
    assert {nom for nom in emportes - livres if ".dist-info/" not in nom} == set()


def test_la_roue_dit_ses_deux_licences_et_n_exige_que_ce_qui_sert_a_l_execution(roue: Path):
    """Les exigences de la roue sont celles du cours, sans ce qui ouvre et teste les carnets."""
    archive = zipfile.ZipFile(roue)
    chemin = next(nom for nom in archive.namelist() if nom.endswith(".dist-info/METADATA"))
    notice = email.message_from_bytes(archive.read(chemin))
    assert notice["License-Expression"] == "Apache-2.0 AND CC-BY-4.0"
    assert set(notice.get_all("License-File")) == {"LICENSE", "LICENCES.md"}
    exigees = {str(Requirement(e)) for e in notice.get_all("Requires-Dist") if "extra ==" not in e}
    lignes = (RACINE / "requirements.txt").read_text("utf-8").splitlines()
    cours = {str(Requirement(ligne)) for ligne in lignes if not ligne.startswith("#")}
    assert exigees < cours
    assert {Requirement(e).name for e in cours - exigees} == {"jupyter", "nbval"}


def test_la_roue_marche_hors_du_depot(roue: Path, tmp_path: Path):
    """Corpus lu, Falcon de poche chargé en 4 bits, depuis la cible et elle seule."""
    cible, ailleurs = tmp_path / "cible", tmp_path / "ailleurs"
    ailleurs.mkdir()
    options = ["--no-deps", "--no-index", "--quiet", "--target", cible]
    lancer(sys.executable, "-m", "pip", "install", *options, roue)
    environnement = {**os.environ, "PYTHONPATH": str(cible), "HF_HUB_OFFLINE": "1"}
    imprime = lancer(sys.executable, "-c", SONDE, cwd=ailleurs, env=environnement)
    vu = json.loads(imprime.splitlines()[-1])
    assert all(Path(fichier).is_relative_to(cible) for fichier in vu["fichiers"]), vu["fichiers"]
    assert vu["exemples"] >= 300
    assert vu["couches"] == vu["attendues"] > 0
