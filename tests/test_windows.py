"""Ce qui change sous Windows, éprouvé ici : chemins affichés, programmes, pages de codes."""

from __future__ import annotations

import sys
from pathlib import Path, PurePosixPath, PureWindowsPath

import pytest
from rich.console import Console

from fabrique.cours.atelier import kit, verification
from fabrique.recettes import demo
from fabrique.socle import emplacements
from fabrique.socle.emplacements import programme
from fabrique.socle.erreurs import ErreurFabrique

RACINE = Path(__file__).resolve().parent.parent


@pytest.mark.parametrize(
    ("chemin", "ici", "tape"),
    [
        (PurePosixPath("/cours/.venv/bin/fabrique"), PurePosixPath("/cours"), ".venv/bin/fabrique"),
        (
            PureWindowsPath(r"C:\Cours\.venv\Scripts\fabrique"),
            PureWindowsPath(r"c:\cours"),
            r".venv\Scripts\fabrique",
        ),
        (
            PureWindowsPath(r"D:\venv\Scripts\fabrique"),
            PureWindowsPath(r"C:\cours"),
            r"D:\venv\Scripts\fabrique",
        ),
    ],
)
def test_un_programme_se_tape_comme_le_systeme_l_ecrit(chemin, ici, tape):
    assert emplacements._vu_d_ici(chemin, ici) == tape


def test_un_programme_que_le_systeme_trouve_se_tape_par_son_nom(monkeypatch):
    """Dans Colab, ou l’environnement activé, aucun chemin n’est à donner."""
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent))
    assert programme("python") == "python"
    monkeypatch.setenv("PATH", "")
    assert Path(programme("python")).absolute() == Path(sys.executable).with_name("python")


def test_la_demonstration_ne_touche_pas_aux_points_d_un_chemin(monkeypatch):
    """Un chemin de Windows n’a pas de barre oblique ; ses points ne sont pas des décimales."""
    console = Console(width=200, record=True, file=open(Path("/dev/null"), "w", encoding="utf-8"))  # noqa: SIM115
    rapport = {
        "couches_4bits": 32,
        "questions_de_test": 162,
        "perte_avant": 4.406,
        "perte_apres": 3.877,
        "gain": 0.12,
        "gain_ic95": [0.113, 0.127],
        "taux_fin": 0.95,
        "longueur_mediane": 87.0,
        "longueur_reference": 124.0,
        "jetons_par_seconde": 2441.2,
        "memoire_pic": 2_300_000_000,
        "duree_s": 223.0,
        "adaptateur": r"sorties\essai.v2\adaptateur",
    }
    demo._conclure(console, rapport, 145.0, PureWindowsPath("sorties", "essai.v2"))
    lu = console.export_text()
    assert lu.count(r"sorties\essai.v2\adaptateur") == 2  # le tableau, puis la commande à taper
    assert r"sorties\essai.v2\rapport.json" in lu
    assert "4,406 → 3,877 nats" in lu
    assert "12,0\u00a0% (à 95\u00a0% : 11,3 à 12,7\u00a0%)" in lu


# ---------------------------------------------------------------- pages de codes


def test_une_erreur_de_pip_se_lit_sous_une_page_de_codes_francaise(monkeypatch):
    """Un programme réglé sur cp1252 écrirait « é » en un octet, que l’UTF-8 refuse."""
    monkeypatch.setenv("PYTHONIOENCODING", "cp1252")
    echec = "import sys; sys.exit('ERROR : accès refusé')"
    with pytest.raises(ErreurFabrique, match="ERROR : accès refusé"):
        kit._lancer([sys.executable, "-c", echec])


def test_un_octet_etranger_n_arrete_pas_la_lecture_d_une_erreur():
    echec = r"import sys; sys.stderr.buffer.write(b'ERROR: acc\xe8s\n'); sys.exit(1)"
    with pytest.raises(ErreurFabrique, match="ERROR: acc.s"):
        kit._lancer([sys.executable, "-c", echec])


def test_un_chemin_de_windows_dans_la_configuration_de_pip_se_lit_tel_quel(monkeypatch):
    """pip le montre comme une chaîne de Python : barres doublées, accents, « \\n » qui n’en est pas un."""
    monkeypatch.setenv("PYTHONIOENCODING", "cp1252")
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_CERT", r"C:\nouveau\Éloïse\autorités.pem")
    monkeypatch.setenv("PIP_FIND_LINKS", r"D:\roues E:\nouvelles")
    monkeypatch.delenv("PIP_INDEX_URL", raising=False)
    monkeypatch.delenv("PIP_EXTRA_INDEX_URL", raising=False)
    monkeypatch.delenv("PIP_TRUSTED_HOST", raising=False)
    assert verification.reglages_pip()["cert"] == r"C:\nouveau\Éloïse\autorités.pem"
    assert kit.options_d_index() == ["--find-links", r"D:\roues", "--find-links", r"E:\nouvelles"]
