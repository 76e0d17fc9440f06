"""Le kit hors ligne : ce qu'il refuse, ce qu'il suit, ce qu'il emporte.

Sa construction et son installation sans réseau s'éprouvent par « make test-kit ».
"""

from __future__ import annotations

import ast
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from fabrique.cours.atelier import installer, kit
from fabrique.socle.erreurs import ErreurFabrique
from outils.tester import RACINE


def test_l_index_de_pip_est_dit_a_uv(monkeypatch):
    """Miroir, index en plus et dossier de roues : les variables standard, rien d'autre."""
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    for nom in ("FIND_LINKS", "CERT", "TRUSTED_HOST"):
        monkeypatch.delenv(f"PIP_{nom}", raising=False)
    monkeypatch.setenv("PIP_INDEX_URL", "https://miroir.exemple.fr/simple")
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", "https://a.exemple.fr/un https://a.exemple.fr/deux")
    assert kit.options_d_index() == [
        *("--default-index", "https://miroir.exemple.fr/simple"),
        *("--index", "https://a.exemple.fr/un"),
        *("--index", "https://a.exemple.fr/deux"),
    ]


def test_un_torch_pour_cuda_est_refuse_avec_l_index_a_ajouter(monkeypatch):
    """Sous Linux, l'index public donne CUDA : dix fois la taille du kit."""
    monkeypatch.setattr(kit, "_lancer", lambda *_: "nvidia-cublas==13.1\ntorch==2.13.0\n")
    with pytest.raises(ErreurFabrique, match="PIP_EXTRA_INDEX_URL=https://download.pytorch.org"):
        kit._resoudre(RACINE, "linux", "3.12")


def test_une_commande_qui_echoue_se_lit():
    """Son erreur, en une ligne, et le code 2."""
    echec = "raise SystemExit('ERROR: introuvable')"
    with pytest.raises(ErreurFabrique, match="ERROR: introuvable") as leve:
        kit._lancer([sys.executable, "-c", echec])
    assert leve.value.code == 2


@pytest.mark.parametrize(("plateformes", "pythons"), [(["amiga"], ["3.11"]), (["linux"], ["2.7"])])
def test_une_plateforme_ou_un_python_inconnus_sont_refuses(tmp_path, plateformes, pythons):
    """Avant tout téléchargement, avec les choix."""
    with pytest.raises(ErreurFabrique, match="Choisissez parmi"):
        kit.construire(tmp_path, plateformes, pythons)
    assert not any(tmp_path.iterdir())


def test_sans_depot_le_kit_ne_se_construit_pas(monkeypatch, tmp_path: Path):
    """Le paquet installé seul n'a pas les carnets."""
    monkeypatch.setattr(kit, "PAQUET", tmp_path / "fabrique")
    with pytest.raises(ErreurFabrique, match="copie du dépôt"):
        kit.construire(tmp_path, ["linux"], ["3.11"])


@pytest.mark.parametrize("nom", ["cours", "roues", "installer.py", "LISEZMOI.txt"])
def test_ce_qu_un_autre_a_range_n_est_pas_remplace(tmp_path: Path, nom: str):
    """La racine d'une clé, où le formateur a déjà un dossier « cours » : refusé avant tout."""
    if "." in nom:
        (tmp_path / nom).write_text("à moi", "utf-8")
    else:
        (tmp_path / nom).mkdir()
        (tmp_path / nom / "notes.txt").write_text("à moi", "utf-8")
    with pytest.raises(ErreurFabrique, match=f"contient déjà {nom}, que le kit remplacerait"):
        kit.construire(tmp_path, ["linux"], ["3.11"])
    (reste,) = (f for f in tmp_path.rglob("*") if f.is_file())
    assert reste.read_text("utf-8") == "à moi"


def test_un_kit_commence_puis_coupe_se_reprend(tmp_path: Path, monkeypatch):
    """Coupé au premier téléchargement, il est déjà signé."""

    def couper(*_):
        raise ErreurFabrique("le téléchargement a échoué", "")

    monkeypatch.setattr(kit, "_pip", couper)
    for _ in range(2):
        with pytest.raises(ErreurFabrique, match="le téléchargement a échoué"):
            kit.construire(tmp_path, ["linux"], ["3.11"])
    assert "En construction" in (tmp_path / "LISEZMOI.txt").read_text("utf-8")


@pytest.fixture
def kit_sans_roues(tmp_path: Path) -> Path:
    """Un kit dont seules les roues manquent."""
    (tmp_path / "listes").mkdir()
    (tmp_path / "listes" / "amiga-3.11.txt").write_text("torch==2.13.0\n", "utf-8")
    kit._copier_le_cours(RACINE, tmp_path)
    return tmp_path


def test_le_kit_emporte_le_cours(kit_sans_roues: Path):
    """Tous les carnets numérotés, les corpus, le guide ; les lanceurs des trois systèmes."""
    carnets = {carnet.name for carnet in (kit_sans_roues / "cours" / "notebooks").iterdir()}
    assert carnets == {carnet.name for carnet in (RACINE / "notebooks").glob("[0-9]*.ipynb")}
    assert (kit_sans_roues / "cours" / "data" / "demarches.jsonl").is_file()
    for nom in ("installer.sh", "installer.bat", "installer.ps1", "installer.py", "verifier.py"):
        assert (kit_sans_roues / nom).is_file()
    assert b"\r\n" in (kit_sans_roues / "installer.bat").read_bytes()
    assert b"\r" not in (kit_sans_roues / "installer.sh").read_bytes()
    assert "Python 3.11.0" in (kit_sans_roues / "LISEZMOI.txt").read_text("utf-8")


def test_ce_que_le_formateur_a_change_dans_son_kit_y_reste(kit_sans_roues: Path, capsys):
    """Un carnet changé, un fichier ajouté ; ce que le cours n'a plus part, si personne n'y a touché."""
    carnets = kit_sans_roues / "cours" / "notebooks"
    (change,) = carnets.glob("00_*.ipynb")
    change.write_text("mon atelier", "utf-8")
    (carnets / "mes_notes.txt").write_text("à moi", "utf-8")
    poses = kit_sans_roues / "cours" / installer.POSES
    connus = json.loads(poses.read_text("utf-8"))
    for nom in ("ancien.ipynb", "ancien_annote.ipynb"):
        (carnets / nom).write_text("d’hier", "utf-8")
        connus[f"notebooks/{nom}"] = installer._empreinte(carnets / nom)
    poses.write_text(json.dumps(connus), "utf-8")
    (carnets / "ancien_annote.ipynb").write_text("d’hier, et mes notes", "utf-8")
    kit._copier_le_cours(RACINE, kit_sans_roues)
    assert change.read_text("utf-8") == "mon atelier"
    assert (carnets / "mes_notes.txt").read_text("utf-8") == "à moi"
    assert not (carnets / "ancien.ipynb").exists()
    assert (carnets / "ancien_annote.ipynb").exists()
    assert "Gardé tel que vous l’avez modifié" in capsys.readouterr().out


def test_le_cours_d_un_kit_d_avant_est_mis_a_cote(kit_sans_roues: Path, capsys):
    """Sans la liste de ce qui fut posé, rien ne dit ce que le formateur a changé."""
    cours = kit_sans_roues / "cours"
    for rang in ("", "-2"):
        (cours / installer.POSES).unlink()
        (cours / "a_moi.txt").write_text(f"à moi{rang}", "utf-8")
        kit._copier_le_cours(RACINE, kit_sans_roues)
        assert f"cours-ancien{rang}." in capsys.readouterr().out
        garde = kit_sans_roues / f"cours-ancien{rang}" / "a_moi.txt"
        assert garde.read_text("utf-8") == f"à moi{rang}"
        assert not (cours / "a_moi.txt").exists()
        assert (cours / installer.POSES).exists()


def test_l_installateur_dit_ce_que_le_kit_contient(kit_sans_roues: Path, tmp_path: Path):
    """Aucune roue pour cette machine : il le dit et n'écrit rien."""
    cible = tmp_path / "cible"
    commande = [sys.executable, "-I", "-S", kit_sans_roues / "installer.py", cible]
    fini = subprocess.run(commande, capture_output=True, encoding="utf-8")
    assert fini.returncode == 1
    assert "n’a rien pour" in fini.stderr
    assert "amiga-3.11" in fini.stderr
    assert not cible.exists()


@pytest.mark.skipif(shutil.which("sh") is None, reason="il faut un interprète sh")
def test_le_lanceur_passe_ses_arguments(kit_sans_roues: Path):
    """« sh installer.sh DOSSIER » lance installer.py, à côté de lui."""
    (kit_sans_roues / "installer.py").write_text("import sys; print(sys.argv[1:])", "utf-8")
    commande = ["sh", kit_sans_roues / "installer.sh", "un dossier"]
    imprime = subprocess.run(commande, capture_output=True, encoding="utf-8", check=True).stdout
    assert imprime.strip() == "['un dossier']"


def test_un_vieux_python_sait_lire_l_installateur():
    """Il doit pouvoir dire qu'il est trop vieux."""
    ast.parse(Path(installer.__file__).read_text("utf-8"), feature_version=(3, 8))


# ---------------------------------------------------------------- réinstaller


@pytest.fixture
def cours(tmp_path: Path) -> Path:
    """Un cours à poser : deux carnets, de première version."""
    source = tmp_path / "kit" / "cours"
    (source / "notebooks").mkdir(parents=True)
    for nom in ("a.ipynb", "b.ipynb"):
        (source / "notebooks" / nom).write_text(f"{nom}, version 1", "utf-8")
    return source


def lire(dossier: Path) -> dict[str, str]:
    """Ce que contiennent les carnets d'un dossier."""
    return {f.name: f.read_text("utf-8") for f in sorted((dossier / "notebooks").iterdir())}


def test_reinstaller_le_meme_kit_garde_le_carnet_de_l_apprenant(cours: Path, tmp_path: Path):
    cible = tmp_path / "cible"
    assert installer.poser_le_cours(cours, cible) == []
    (cible / "notebooks" / "a.ipynb").write_text("mes réponses", "utf-8")
    (phrase,) = installer.poser_le_cours(cours, cible)
    assert "Gardé tel que vous l’avez modifié" in phrase
    assert str(Path("notebooks", "a.ipynb")) in phrase
    assert lire(cible) == {"a.ipynb": "mes réponses", "b.ipynb": "b.ipynb, version 1"}


def test_un_kit_plus_recent_pose_sa_version_a_cote_de_celle_de_l_apprenant(
    cours: Path, tmp_path: Path
):
    """Ce que personne n’a changé est remplacé ; le reste est gardé, deux fois de suite s’il le faut."""
    cible = tmp_path / "cible"
    installer.poser_le_cours(cours, cible)
    (cible / "notebooks" / "a.ipynb").write_text("mes réponses", "utf-8")
    for version in ("version 2", "version 3"):
        for nom in ("a.ipynb", "b.ipynb"):
            (cours / "notebooks" / nom).write_text(version, "utf-8")
        (phrase,) = installer.poser_le_cours(cours, cible)
        assert "a.nouveau.ipynb" in phrase
        assert lire(cible) == {
            "a.ipynb": "mes réponses",
            "a.nouveau.ipynb": version,
            "b.ipynb": version,
        }
    (cible / "notebooks" / "a.nouveau.ipynb").write_text("mes réponses encore", "utf-8")
    for nom in ("a.ipynb", "b.ipynb"):
        (cours / "notebooks" / nom).write_text("version 4", "utf-8")
    installer.poser_le_cours(cours, cible)
    assert lire(cible) == {
        "a.ipynb": "mes réponses",
        "a.nouveau.ipynb": "mes réponses encore",
        "a.nouveau2.ipynb": "version 4",
        "b.ipynb": "version 4",
    }


def test_un_dossier_pose_par_un_ancien_installateur_ne_perd_rien(cours: Path, tmp_path: Path):
    """Sans trace de ce qui avait été posé, un carnet différent est présumé de l’apprenant."""
    cible = tmp_path / "cible"
    shutil.copytree(cours, cible)
    (cible / "notebooks" / "a.ipynb").write_text("mes réponses", "utf-8")
    installer.poser_le_cours(cours, cible)
    assert lire(cible) == {
        "a.ipynb": "mes réponses",
        "a.nouveau.ipynb": "a.ipynb, version 1",
        "b.ipynb": "b.ipynb, version 1",
    }


def test_l_environnement_d_un_autre_projet_n_est_pas_efface(monkeypatch, tmp_path: Path):
    """« --clear » viderait son .venv."""
    (tmp_path / ".venv").mkdir()
    monkeypatch.setattr(installer, "liste_de_cette_machine", lambda: tmp_path / "liste.txt")
    with pytest.raises(SystemExit, match="n’est pas celui du cours"):
        installer.installer(tmp_path)
    assert [f.name for f in tmp_path.iterdir()] == [".venv"]
