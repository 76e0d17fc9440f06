"""Le profil suit la machine, et ce qui gênera est dit tôt."""

from __future__ import annotations

import dataclasses
import types

import pytest

from fabrique import machine as m
from fabrique.cout import compter, estimer_memoire
from fabrique.entrainement import Reglages
from fabrique.erreurs import MACHINE, ErreurFabrique
from fabrique.machine import en_go, en_mo

SANS_GPU = m.Machine(None, 0, False, 12 * m.GO, 50 * m.GO, 2, False, {"peft": "0.20.0"})
T4 = dataclasses.replace(SANS_GPU, gpu="Tesla T4", memoire_gpu=15 * m.GO)
A100 = dataclasses.replace(T4, gpu="NVIDIA A100", memoire_gpu=40 * m.GO, bf16=True)
PETIT = dataclasses.replace(T4, gpu="GTX 1650", memoire_gpu=4 * m.GO)


@pytest.fixture(autouse=True)
def _sans_choix_impose(monkeypatch):
    monkeypatch.delenv("FABRIQUE_PROFIL", raising=False)


@pytest.mark.parametrize(
    ("vue", "nom", "calcul"),
    [
        (SANS_GPU, "poche", "float32"),
        (T4, "t4", "float16"),
        (A100, "gpu", "bfloat16"),
        (PETIT, "poche", "float32"),
    ],
)
def test_le_profil_suit_la_machine(vue, nom, calcul):
    profil = m.choisir_profil(vue)
    assert (profil.nom, profil.calcul) == (nom, calcul)
    assert profil.pourquoi


@pytest.mark.parametrize(("vue", "ensemble"), [(T4, 2), (A100, 4), (SANS_GPU, 4)])
def test_le_petit_lot_suit_la_memoire_de_la_carte(vue, ensemble):
    """L'apprentissage reste le même : quatre exemples par pas, sans recalcul."""
    profil = m.choisir_profil(vue)
    assert (profil.mbatch_size, profil.batch_size, profil.recalcul) == (ensemble, 4, False)


@pytest.mark.parametrize("carte", [T4, A100])
def test_le_petit_lot_tient_dans_la_carte(carte):
    """Estimé : au moins un quart de la mémoire reste libre."""
    reglages = Reglages.du_profil(m.choisir_profil(carte))
    plan = compter("falcon-7b-instruct", reglages)
    assert estimer_memoire(plan, reglages, seize_bits=True) < 0.75 * carte.memoire_gpu


def test_un_petit_gpu_est_annonce_avec_sa_solution():
    (alerte,) = m.choisir_profil(PETIT).avertissements
    assert "4,0" in alerte
    assert "Falcon de poche" in alerte


@pytest.mark.parametrize(("version", "attendu"), [("0.10.0", 1), ("0.16.0", 0), ("1.2.0", 0)])
def test_un_vieux_torchao_est_annonce(version, attendu):
    vue = dataclasses.replace(SANS_GPU, versions={"torchao": version})
    alertes = [a for a in m.choisir_profil(vue).avertissements if "torchao" in a]
    assert len(alertes) == attendu
    assert all("uninstall" in alerte for alerte in alertes)


def test_un_disque_trop_petit_est_annonce():
    vue = dataclasses.replace(SANS_GPU, disque_libre=m.GO // 10)
    (alerte,) = m.choisir_profil(vue).avertissements
    assert "disque" in alerte


def test_bf16_est_refuse_sur_une_t4_et_permis_ailleurs():
    with pytest.raises(ErreurFabrique, match="bf16") as capture:
        m.verifier_calcul("bfloat16", T4)
    assert capture.value.code == MACHINE
    for vue in (A100, SANS_GPU):
        m.verifier_calcul("bfloat16", vue)
    m.verifier_calcul("float16", T4)


def test_le_profil_gpu_impose_est_refuse_sur_une_t4(monkeypatch):
    monkeypatch.setenv("FABRIQUE_PROFIL", "gpu")
    with pytest.raises(ErreurFabrique, match="bf16"):
        m.choisir_profil(T4)


def test_le_profil_impose_l_emporte(monkeypatch):
    monkeypatch.setenv("FABRIQUE_PROFIL", "poche")
    assert m.choisir_profil(A100).modele == "falcon-poche"


@pytest.mark.parametrize(("impose", "mot"), [("t4", "GPU"), ("inconnu", "poche, t4, gpu")])
def test_un_profil_impossible_se_dit(monkeypatch, impose, mot):
    monkeypatch.setenv("FABRIQUE_PROFIL", impose)
    with pytest.raises(ErreurFabrique, match=mot):
        m.choisir_profil(SANS_GPU)


def test_examiner_lit_la_carte_et_non_l_emulation(monkeypatch):
    carte = types.SimpleNamespace(name="Tesla T4", total_memory=15 * m.GO, major=7)
    monkeypatch.setattr(m.torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(m.torch.cuda, "get_device_properties", lambda rang: carte)
    vue = m.examiner()
    assert (vue.gpu, vue.bf16) == ("Tesla T4", False)


def test_preparer_montre_le_profil(capsys, monkeypatch):
    monkeypatch.setenv("FABRIQUE_PROFIL", "poche")
    profil = m.preparer()
    sortie = capsys.readouterr().out
    assert profil.modele in sortie
    assert "Mémoire vive" in sortie


@pytest.mark.parametrize(
    ("octets", "ecrit"),
    [(15 * 10**9, "15,0\u00a0Go"), (8 * 10**6, "8\u00a0Mo"), (0, "0\u00a0Mo")],
)
def test_une_petite_place_se_dit_en_mega(octets: int, ecrit: str):
    """« il reste 0,0 Go, il en faut 0,0 » n'apprend rien à personne."""
    assert en_go(octets) == ecrit


def test_les_giga_et_les_mega_ont_la_meme_unite():
    """Décimale : mille mégaoctets font un gigaoctet, et une T4 en a 15,8."""
    assert (en_go(10**9), en_mo(10**9)) == ("1,0\u00a0Go", "1\u202f000,0\u00a0Mo")
    assert en_go(15_835_660_288) == "15,8\u00a0Go"


@pytest.mark.parametrize(
    ("octets", "profil"), [(15_835_660_288, "t4"), (12_622_168_064, "poche")], ids=["t4", "12 Gio"]
)
def test_une_vraie_t4_suffit_et_une_carte_de_12_gibioctets_non(octets, profil):
    """Les octets que ces cartes annoncent, moins que ceux de leur étiquette."""
    assert m.choisir_profil(dataclasses.replace(T4, memoire_gpu=octets)).nom == profil
