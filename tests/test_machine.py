"""Le profil suit la machine, et ce qui gênera est dit tôt."""

from __future__ import annotations

import dataclasses
import types
from pathlib import Path

import pytest
import torch

from fabrique.entrainement import Reglages
from fabrique.machine import fils as f, materiel, profil as m
from fabrique.recettes.cout import compter, estimer_memoire
from fabrique.socle.erreurs import MACHINE, ErreurFabrique
from fabrique.socle.nombres import en_go, en_mo

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


def test_un_dossier_sans_ecriture_est_annonce():
    (alerte,) = m.choisir_profil(dataclasses.replace(SANS_GPU, ecriture=False)).avertissements
    assert "paris restent en mémoire" in alerte
    assert "Copiez le carnet" in alerte


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="demande le /proc de Linux")
def test_examiner_essaie_d_ecrire(tmp_path):
    """Personne n'écrit dans /proc, pas même l'administrateur ; l'essai ne laisse rien ailleurs."""
    assert not materiel.examiner("/proc/self").ecriture
    assert materiel.examiner(tmp_path).ecriture
    assert list(tmp_path.iterdir()) == []


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
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda rang: carte)
    vue = materiel.examiner()
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


# ---------------------------------------------------------------- le conteneur


@pytest.fixture
def conteneur(tmp_path):
    """Une fausse racine : les fichiers que le noyau montre, écrits d'après un dictionnaire."""

    def ecrire(fichiers: dict[str, str]) -> Path:
        for nom, contenu in fichiers.items():
            chemin = tmp_path / nom
            chemin.parent.mkdir(parents=True, exist_ok=True)
            chemin.write_text(f"{contenu}\n", encoding="utf-8")
        return tmp_path

    return ecrire


class ProcessusLibre:
    """Un processus que rien n'attache à certains cœurs."""

    def cpu_affinity(self) -> list[int]:
        """Tous les cœurs de l'hôte."""
        return list(range(64))


@pytest.fixture
def hote(monkeypatch):
    """Une machine hôte de 64 cœurs et 256 Go, dont 200 libres."""
    memoire = types.SimpleNamespace(total=256 * m.GO, available=200 * m.GO)
    faux = types.SimpleNamespace(virtual_memory=lambda: memoire, Process=ProcessusLibre)
    monkeypatch.setattr(materiel, "psutil", faux)


#: Ce que montre le noyau, et ce qu'il faut en lire : mémoire, mémoire disponible, cœurs.
CONTENEURS = {
    "aucun": ({}, (256, 200, 64)),
    "v2 sans limite": (
        {
            "proc/self/cgroup": "0::/",
            "sys/fs/cgroup/memory.max": "max",
            "sys/fs/cgroup/cpu.max": "max 100000",
        },
        (256, 200, 64),
    ),
    "v2": (
        {
            "proc/self/cgroup": "0::/",
            "sys/fs/cgroup/memory.max": str(4 * m.GO),
            "sys/fs/cgroup/memory.current": str(3 * m.GO),
            "sys/fs/cgroup/memory.stat": f"anon 5\ninactive_file {m.GO}",
            "sys/fs/cgroup/cpu.max": "150000 100000",
        },
        (4, 2, 2),
    ),
    "v2, limite sur un parent": (
        {
            "proc/self/cgroup": "0::/salle/agent",
            "sys/fs/cgroup/salle/agent/memory.max": "max",
            "sys/fs/cgroup/salle/agent/cpu.max": "max 100000",
            "sys/fs/cgroup/salle/memory.max": str(6 * m.GO),
            "sys/fs/cgroup/salle/memory.current": str(m.GO),
            "sys/fs/cgroup/salle/cpu.max": "400000 100000",
        },
        (6, 5, 4),
    ),
    "v1": (
        {
            "proc/self/cgroup": "9:cpu,cpuacct:/docker/a1\n4:memory:/docker/a1\n1:name=systemd:/",
            "sys/fs/cgroup/memory/memory.limit_in_bytes": str(8 * m.GO),
            "sys/fs/cgroup/memory/memory.usage_in_bytes": str(7 * m.GO),
            "sys/fs/cgroup/memory/memory.stat": f"inactive_file 1\ntotal_inactive_file {2 * m.GO}",
            "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "50000",
            "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000",
        },
        (8, 3, 1),
    ),
    "v1 sans limite": (
        {
            "proc/self/cgroup": "9:cpu,cpuacct:/\n4:memory:/",
            "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712",
            "sys/fs/cgroup/memory/memory.usage_in_bytes": str(m.GO),
            "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1",
            "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000",
        },
        (256, 200, 64),
    ),
}


@pytest.mark.parametrize("cas", CONTENEURS)
@pytest.mark.usefixtures("hote")
def test_memoire_et_coeurs_sont_ceux_du_conteneur(cas, conteneur):
    """La limite la plus petite compte, celle de l'hôte comprise."""
    fichiers, attendus = CONTENEURS[cas]
    racine = conteneur(fichiers)
    memoire, disponible = materiel.memoire_accordee(racine), materiel.memoire_disponible(racine)
    assert (memoire / m.GO, disponible / m.GO, materiel.coeurs_accordes(racine)) == attendus


# ---------------------------------------------------------------- les fils de calcul


@pytest.fixture
def fils(monkeypatch):
    """Le nombre de fils imposé à torch, sans toucher au vrai ; torch en aurait pris huit."""
    poses = [8]
    monkeypatch.setattr(f, "FILS_DE_TORCH", 8)
    monkeypatch.setattr(torch, "set_num_threads", poses.append)
    monkeypatch.setattr(torch, "get_num_threads", lambda: poses[-1])
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    return poses


@pytest.mark.parametrize(
    ("a_deux", "retenus", "dit"), [(7.0, 1, "0,1 fois"), (0.9, 1, "1,1 fois"), (0.5, 2, "2,0 fois")]
)
def test_le_nombre_de_fils_suit_la_mesure(monkeypatch, fils, a_deux, retenus, dit):
    """Sur des cœurs partagés, deux fils vont jusqu'à sept fois moins vite qu'un seul."""
    monkeypatch.setattr(f, "duree_avec", lambda nombre: {1: 1.0, 2: a_deux}[nombre])
    texte = f.choisir_fils(SANS_GPU)
    assert fils[-1] == retenus
    assert texte == f"{retenus} (mesuré : 2 fils vont à {dit} la vitesse d’un seul)"


def test_le_choix_de_la_personne_est_respecte(monkeypatch, fils):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    monkeypatch.setattr(f, "duree_avec", pytest.fail)
    assert "imposé par OMP_NUM_THREADS" in f.choisir_fils(SANS_GPU)
    assert fils == [8]


@pytest.mark.parametrize(
    ("vue", "attendu"), [(T4, 2), (dataclasses.replace(SANS_GPU, coeurs=1), 1)]
)
def test_sans_choix_a_faire_rien_n_est_mesure(monkeypatch, fils, vue, attendu):
    """Un GPU calcule, ou un seul cœur est accordé : pas plus de fils que de cœurs."""
    monkeypatch.setattr(f, "duree_avec", pytest.fail)
    assert f.choisir_fils(vue) == str(fils[-1]) == str(attendu)


def test_la_mesure_est_une_duree(monkeypatch, fils):
    assert f.duree_avec(1) > 0
    assert fils[-1] == 1
