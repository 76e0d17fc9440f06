"""Sur Colab, les exigences s'ajoutent à ce qui est installé et n'en déplacent rien."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.utils import canonicalize_name

from outils.tester import RACINE

#: La liste publiée par Colab, quand l'équipe l'a sous la main.
LISTE = RACINE.parent / "shared" / "colab" / "pip-freeze-2026-08-19.txt"
#: Le torch de Colab est bâti pour CUDA 12.8 (+cu128) ; celui de l'index, pour CUDA 13, exige
#: d'autres bibliothèques NVIDIA. On dit donc au solveur ce que le torch installé demande,
#: hors CUDA, qui est déjà là.
TORCH = """[[dependency-metadata]]
name = "torch"
version = "{version}"
requires-dist = [
    "filelock", "typing-extensions>=4.10", "setuptools<82", "sympy>=1.13.3",
    "networkx>=2.5.1", "jinja2", "fsspec>=0.8.5", "triton=={triton}",
]
"""
HORS_LIGNE = ("error sending request", "dns error", "Failed to fetch", "Connection refused")


def versions(texte: str) -> dict[str, str]:
    """Les « paquet==version » d'une liste, par nom canonique ; « paquet @ url » est omis."""
    lues = re.findall(r"^([\w.-]+)==([^\s;]+)", texte, flags=re.M)
    return {canonicalize_name(nom): version.removesuffix("+cu128") for nom, version in lues}


def resoudre(exigences: Path, installees: dict[str, str], dossier: Path) -> dict[str, str]:
    """Ce que pip installerait sur Colab : Python 3.13, rien de ce qui est là ne bouge."""
    contraintes, reglages = dossier / "contraintes.txt", dossier / "uv.toml"
    contraintes.write_text("".join(f"{n}=={v}\n" for n, v in installees.items()), "utf-8")
    reglages.write_text(
        TORCH.format(version=installees["torch"], triton=installees["triton"]), "utf-8"
    )
    uv = shutil.which("uv", path=Path(sys.executable).parent) or shutil.which("uv")
    assert uv, "uv manque : pip install -e '.[dev]'"
    options = ["--python-version", "3.13", "--python-platform", "x86_64-manylinux_2_28", "--quiet"]
    commande = [uv, "pip", "compile", exigences, *options, "--no-header", "--no-annotate"]
    commande += ["--constraint", contraintes, "--config-file", reglages]
    fini = subprocess.run(commande, capture_output=True, text=True, cwd=dossier)
    if fini.returncode and any(signe in fini.stderr for signe in HORS_LIGNE):
        pytest.skip("l’index des paquets est injoignable")
    assert fini.returncode == 0, fini.stderr
    return versions(fini.stdout)


@pytest.fixture(scope="module")
def installees() -> dict[str, str]:
    """La liste de Colab."""
    if not LISTE.exists():
        pytest.skip("la liste de Colab n’est pas là")
    return versions(LISTE.read_text("utf-8"))


def test_les_exigences_ne_deplacent_rien_sur_colab(installees: dict[str, str], tmp_path: Path):
    """Chaque paquet déjà présent garde sa version ; ceux qui manquent s'ajoutent."""
    obtenues = resoudre(RACINE / "requirements.txt", installees, tmp_path)
    deplacees = {
        nom: (installees[nom], version)
        for nom, version in obtenues.items()
        if installees.get(nom, version) != version
    }
    assert deplacees == {}
    assert {"torch", "numpy", "transformers", "peft", "accelerate", "datasets"} <= obtenues.keys()
    ajoutees = obtenues.keys() - installees.keys()
    assert {"bitsandbytes", "nbval"} <= ajoutees
    # Au-delà de JupyterLab et de ses dépendances, peu de choses s'ajoutent.
    assert len(ajoutees) <= 25, sorted(ajoutees)


def test_une_exigence_trop_haute_serait_vue(installees: dict[str, str], tmp_path: Path):
    """La contrainte tient : une version que Colab n'a pas ne se résout pas."""
    trop = tmp_path / "requirements.txt"
    trop.write_text("transformers>5.15.0\n", "utf-8")
    with pytest.raises(AssertionError, match="No solution found"):
        resoudre(trop, installees, tmp_path)
