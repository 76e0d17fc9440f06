"""Sur Colab, rien d'installé ne bouge, et les carnets tournent malgré ce que Colab a d'ancien."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from packaging.utils import canonicalize_name
from packaging.version import Version
from peft import import_utils

import fabrique
from outils.tester import ENVIRONNEMENT, RACINE

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


def test_lire_des_documents_ne_deplace_rien_sur_colab(installees: dict[str, str], tmp_path: Path):
    """L'extension [documents] : pdfplumber 0.11.10 et la suite demanderaient une autre Pillow."""
    obtenues = resoudre(RACINE / "requirements-documents.txt", installees, tmp_path)
    assert {n for n, v in obtenues.items() if installees.get(n, v) != v} == set()
    assert obtenues["pdfplumber"] == "0.11.9"


def test_la_page_sans_code_n_ajoute_rien_a_colab(installees: dict[str, str], tmp_path: Path):
    """L'extension [page] : gradio y est déjà, et tout ce qu'il demande."""
    obtenues = resoudre(RACINE / "requirements-page.txt", installees, tmp_path)
    assert {n for n, v in obtenues.items() if installees.get(n) != v} == set()


def test_une_exigence_trop_haute_serait_vue(installees: dict[str, str], tmp_path: Path):
    """La contrainte tient : une version que Colab n'a pas ne se résout pas."""
    trop = tmp_path / "requirements.txt"
    trop.write_text("transformers>5.15.0\n", "utf-8")
    with pytest.raises(AssertionError, match="No solution found"):
        resoudre(trop, installees, tmp_path)


# ---------------------------------------------------------------- un vieux torchao


def poser_torchao(dossier: Path, version: str) -> Path:
    """Un paquet torchao vide, de cette version : Colab en livre un que peft refuse."""
    (dossier / "torchao").mkdir(parents=True)
    (dossier / "torchao" / "__init__.py").touch()
    fiche = dossier / f"torchao-{version}.dist-info" / "METADATA"
    fiche.parent.mkdir()
    fiche.write_text(f"Metadata-Version: 2.1\nName: torchao\nVersion: {version}\n", "utf-8")
    return dossier


def sur_colab(code: str, dossier: Path) -> str:
    """Exécute du code dans un processus neuf, avec le vieux torchao de Colab ; rend ce qu'il montre."""
    torchao = poser_torchao(dossier / "paquets", "0.10.0")
    environnement = ENVIRONNEMENT | {
        "PYTHONPATH": os.pathsep.join([str(torchao), ENVIRONNEMENT["PYTHONPATH"]]),
        "COLAB_RELEASE_TAG": "release-colab",
    }
    (dossier / "cellules.py").write_text(code, "utf-8")
    commande = [sys.executable, "cellules.py"]
    fini = subprocess.run(commande, cwd=dossier, env=environnement, capture_output=True, text=True)
    assert fini.returncode == 0, fini.stderr
    assert "torchao" not in fini.stderr
    return fini.stdout


def cellules(nom: str) -> list[str]:
    """Le code des cellules d'un carnet, dans l'ordre."""
    carnet = nbformat.read(RACINE / "notebooks" / f"{nom}.ipynb", as_version=nbformat.NO_CONVERT)
    return [cellule.source for cellule in carnet.cells if cellule.cell_type == "code"]


def jusqu_a(nom: str, marque: str) -> list[str]:
    """Les cellules d'un carnet jusqu'à celle, unique, qui contient ce code."""
    toutes = cellules(nom)
    (rang,) = [rang for rang, source in enumerate(toutes) if marque in source]
    return toutes[: rang + 1]


def test_le_carnet_03_pose_un_adaptateur_sur_falcon_7b(tmp_path):
    """La première couche que rien ne quantifie : peft y cherche torchao."""
    vu = sur_colab("\n\n".join(jusqu_a("03_finetuning_falcon_4bit", "get_peft_model(")), tmp_path)
    assert "Google Colab   : oui" in vu
    assert "peft compte aussi 2\u202f359\u202f296 paramètres entraînés" in vu
    assert "torchao" not in vu


#: Ce que le carnet 05 apprend avant de fusionner, en plus court.
APPRENDRE = """
dossier = "sorties/05_quantification"
reglages = fabrique.Reglages.du_profil(POCHE, val_set_size=0, epochs=1)
exemples = fabrique.lire_corpus("style_xvii").select(range(8))
print(fabrique.entrainer(quatre_bits, tokenizer, exemples, reglages, f"{dossier}/xvii"))
"""
#: La même fusion, par la commande.
COMMANDE = """
from fabrique.ligne_de_commande import principal

arguments = ["--model", "falcon-poche", "--adaptateur", f"{dossier}/xvii", "--sortie", "commande"]
assert principal(["fusionner", *arguments]) == 0
"""


def test_le_carnet_05_apprend_puis_fusionne_et_la_commande_aussi(tmp_path):
    """Préparer, charger, apprendre quelques exemples, fusionner deux fois."""
    source = jusqu_a("05_quantification", "fusionner(POCHE")
    code = [*source[:2], APPRENDRE, source[-1], COMMANDE]
    vu = sur_colab("\n\n".join(code), tmp_path)
    assert "torchao" not in vu
    for fusion in ("sorties/05_quantification/fusionne", "commande"):
        assert (tmp_path / fusion / "model.safetensors").is_file()


def test_le_plancher_de_torchao_est_celui_de_peft(tmp_path, monkeypatch):
    """Juste au-dessous peft refuse, au plancher il accepte : nous n'écartons que ce qu'il refuse."""
    plancher = fabrique.TORCHAO_MINIMAL
    monkeypatch.delitem(sys.modules, "torchao", raising=False)
    for version, accepte in ((f"0.{plancher.minor - 1}.99", False), (str(plancher), True)):
        with monkeypatch.context() as provisoire:
            provisoire.syspath_prepend(poser_torchao(tmp_path / version, version))
            import_utils.is_torchao_available.cache_clear()
            try:
                assert import_utils.is_torchao_available() is accepte
            except ImportError:
                assert not accepte
            assert (Version(version) >= plancher) is accepte
    import_utils.is_torchao_available.cache_clear()


# ---------------------------------------------------------------- la première cellule

#: Un noyau où le paquet manque ; l'installation, vraie, échoue faute de git.
SANS_LE_COURS = """
import importlib.util, sys
from IPython.core.interactiveshell import InteractiveShell

importlib.util.find_spec = lambda nom: None
noyau = InteractiveShell.instance(colors="NoColor")
fini = noyau.run_cell(sys.argv[1])
sys.exit(0 if fini.success else 7)
"""
#: Un noyau où le paquet est là, mais ne s'importe pas.
COURS_CASSE = SANS_LE_COURS.replace(
    "importlib.util.find_spec = lambda nom: None", "sys.modules['fabrique'] = None"
).replace("fini =", "importlib.util.find_spec = lambda nom: nom\nfini =")

#: Un noyau qu'on interrompt pendant l'installation.
INTERROMPU = SANS_LE_COURS.replace(
    "noyau =", "import subprocess\ndef interrompre(*_, **__): raise KeyboardInterrupt\n"
    "subprocess.run = interrompre\nnoyau =",
)  # fmt: skip


@pytest.mark.parametrize(
    "noyau",
    [SANS_LE_COURS, COURS_CASSE, INTERROMPU],
    ids=["sans git", "importation", "interrompue"],
)
def test_une_installation_manquee_tient_en_une_phrase(noyau, tmp_path):
    """Ni pip en anglais, ni trace ; la cellule échoue, donc « Tout exécuter » s'arrête là."""
    commande = [sys.executable, "-c", noyau, cellules("00_demarrage")[0]]
    fini = subprocess.run(
        commande,
        cwd=tmp_path,
        env=ENVIRONNEMENT | {"PATH": str(tmp_path), "IPYTHONDIR": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert fini.returncode == 7, fini.stderr
    (phrase,) = fini.stdout.splitlines()
    assert phrase.startswith("Le cours n’a pas pu s’installer")
    assert "Redémarrer la session" in phrase
    assert fini.stderr == ""
