"""Rien n'est perdu : ni tué, ni à court de disque ou de mémoire, ni quand la perte diverge.

Chaque protection est aussi retirée, pour voir que le test l'aurait remarqué.
"""

import errno
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import zipfile
from collections import namedtuple
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from conftest import remplir
from safetensors.torch import load_file
from transformers import Trainer

import fabrique
from fabrique.entrainement import (
    EntraineurParLongueur,
    Reglages,
    Suivi,
    dernier_point_de_reprise,
    disque,
    entraineur,
    reprise,
)
from fabrique.entrainement.reprise import est_complet
from fabrique.ligne_de_commande import principal
from fabrique.socle import emplacements
from fabrique.socle.erreurs import DONNEES, MACHINE, ErreurFabrique

RACINE = Path(__file__).resolve().parent.parent
#: Onze exemples, lots de deux, deux époques : douze pas ; le hasard (extinction) est de la partie.
REGLAGES = {
    "epochs": 2,
    "save_steps": 2,
    "save_total_limit": 2,
    "logging_steps": 1,
    "warmup_steps": 1,
    "val_set_size": 0,
    "learning_rate": 1e-2,
}
PAS = 12
AVEC_OU_SANS = pytest.mark.parametrize("protege", [True, False], ids=["protégé", "sans protection"])


def apprendre(dossier_petit, corpus, sortie, **changements):
    """La cellule d'apprentissage, telle qu'on la relance."""
    tokenizer, modele = fabrique.charger(dossier_petit, silencieux=True)
    reglages = Reglages(**{**REGLAGES, **changements})
    return fabrique.entrainer(modele, tokenizer, corpus, reglages, sortie)


def memes_poids(un, autre):
    """Les deux adaptateurs sont identiques, bit à bit."""
    a, b = (load_file(Path(d) / "adapter_model.safetensors") for d in (un, autre))
    return a.keys() == b.keys() and all(torch.equal(a[nom], b[nom]) for nom in a)


def points(sortie):
    return sorted(int(p.name.removeprefix("checkpoint-")) for p in sortie.glob("checkpoint-*"))


@pytest.fixture(scope="module")
def reference(dossier_petit, corpus, tmp_path_factory):
    """L'adaptateur appris d'une traite."""
    sortie = tmp_path_factory.mktemp("reference") / "adaptateur"
    assert apprendre(dossier_petit, corpus, sortie).pas == PAS
    return sortie


def a_chaque_pas(monkeypatch, agir):
    """Fait agir quelque chose à la fin de chaque pas."""
    fin_de_pas = Suivi.on_step_end

    def suivre(self, args, state, control, **autres):
        fin_de_pas(self, args, state, control, **autres)
        agir(state.global_step)

    monkeypatch.setattr(Suivi, "on_step_end", suivre)


# ---------------------------------------------------------------- kill -9


@pytest.mark.skipif(not hasattr(os, "fork"), reason="ce système ne dédouble pas un processus")
def test_tue_a_chaque_instant_l_adaptateur_est_identique(dossier_petit, fichier_corpus, tmp_path):
    """Onze morts choisies (pendant une sauvegarde, un renommage, un effacement…), six au hasard."""
    script = [sys.executable, RACINE / "tests" / "meurtres.py"]
    lance = subprocess.run(
        [*script, dossier_petit, fichier_corpus, json.dumps(REGLAGES), tmp_path],
        env={**os.environ, "PYTHONPATH": str(RACINE), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert lance.returncode == 0, lance.stderr[-2000:]
    vu = json.loads(lance.stdout.splitlines()[-1])
    assert [mort["code"] for mort in vu["vus"]] == [-signal.SIGKILL] * 11, lance.stderr[-2000:]
    # Ce qui reste d'entier après chaque mort ; un point ne disparaît qu'une fois remplacé.
    attendus = [
        [],
        [],
        [2],
        [2],
        [2],
        [2, 4, 6],
        [4, 6, 8],
        [4, 6, 8],
        [8, 10],
        [8, 10, 12],
        [10, 12],
    ]
    assert [mort["complets"] for mort in vu["vus"]] == attendus
    assert set(vu["codes"]) <= {-signal.SIGKILL, 0}
    assert vu["fins"] == [0, 0]
    for essai in ("enchaine", "hasard"):
        assert memes_poids(tmp_path / essai, tmp_path / "reference")
        assert (tmp_path / essai / "rapport.json").exists()
        assert not list((tmp_path / essai).glob(".fabrique-*"))
        assert points(tmp_path / essai) == [10, 12]


class Coupure(BaseException):
    """Une mort, en plus commode."""


@AVEC_OU_SANS
def test_une_sauvegarde_coupee_ne_laisse_pas_de_point_entame(
    dossier_petit, corpus, tmp_path, monkeypatch, protege
):
    """Sans l'écriture à côté, le Trainer laisse un « checkpoint-4 » où il manque l'optimiseur."""
    if not protege:
        monkeypatch.delattr(EntraineurParLongueur, "_save_checkpoint")
    continuer = EntraineurParLongueur._save_optimizer_and_scheduler

    def couper(self, dossier):
        if self.state.global_step == 4:
            raise Coupure
        continuer(self, dossier)

    monkeypatch.setattr(EntraineurParLongueur, "_save_optimizer_and_scheduler", couper)
    with pytest.raises(Coupure):
        apprendre(dossier_petit, corpus, tmp_path)
    assert points(tmp_path) == ([2] if protege else [2, 4])


def abimer(fichier):
    """Un seul octet change, la taille reste : c'est ce que fait un disque fatigué."""
    octets = bytearray(fichier.read_bytes())
    octets[len(octets) // 2] ^= 0xFF
    fichier.write_bytes(octets)


@AVEC_OU_SANS
@pytest.mark.parametrize("fichier", ["adapter_model.safetensors", "optimizer.pt", "rng_state.pth"])
def test_un_octet_change_et_le_point_est_saute(
    reference, tmp_path, monkeypatch, capsys, protege, fichier
):
    sortie = tmp_path / "s"
    shutil.copytree(reference, sortie)
    abimer(sortie / f"checkpoint-{PAS}" / fichier)
    if not protege:
        monkeypatch.setattr(reprise, "est_complet", lambda _: True)
    servi = PAS - 2 if protege else PAS
    assert dernier_point_de_reprise(sortie) == str(sortie / f"checkpoint-{servi}")
    assert (f"checkpoint-{PAS} est abîmé" in capsys.readouterr().out) is protege


@AVEC_OU_SANS
def test_un_point_qui_ne_se_relit_pas_n_est_pas_mis_en_place(
    reference, tmp_path, monkeypatch, protege
):
    """Relu avant d'être renommé ; sans cette relecture, l'octet faux est certifié et servi."""
    ecrit, point = tmp_path / reprise.EN_COURS / f"checkpoint-{PAS}", tmp_path / f"checkpoint-{PAS}"
    shutil.copytree(reference / f"checkpoint-{PAS}", ecrit)
    (ecrit / reprise.COMPLET).unlink()
    abimer(ecrit / "optimizer.pt")
    if not protege:
        monkeypatch.setattr(zipfile.ZipFile, "testzip", lambda _: None)
        reprise.mettre_en_place(ecrit, point)
        assert dernier_point_de_reprise(tmp_path) == str(point)
        return
    with pytest.raises(OSError, match=r"optimizer\.pt ne se relit pas"):
        reprise.mettre_en_place(ecrit, point)
    assert not point.exists()


def test_un_point_abime_plus_avance_ne_chasse_pas_les_bons(tmp_path):
    """Gardés : les derniers jusqu'au pas courant ; le point abîmé d'après s'en va."""
    for pas in (6, 8, 10, 12):
        (tmp_path / f"checkpoint-{pas}").mkdir()
        (tmp_path / f"checkpoint-{pas}" / reprise.COMPLET).write_text("{}", encoding="utf-8")
    reprise.retirer_les_anciens(tmp_path, 10, garder=2)
    assert points(tmp_path) == [8, 10]


# ---------------------------------------------------------------- le dossier d'un autre


def etranger(dossier, *noms):
    """Des fichiers qui ne sont pas à nous ; rend ce qu'ils contiennent."""
    for nom in noms:
        (dossier / nom).parent.mkdir(parents=True, exist_ok=True)
        (dossier / nom).write_text(f"à vous : {nom}", encoding="utf-8")
    return contenu(dossier)


def contenu(dossier):
    return {f.relative_to(dossier): f.read_bytes() for f in dossier.rglob("*") if f.is_file()}


@pytest.mark.parametrize(
    "noms",
    [
        ("README.md", "pyproject.toml", "src/code.py"),  # la racine d'un projet
        ("rapport.json",),
        ("config.json", "model.safetensors", "tokenizer.json"),  # un modèle
        ("checkpoint-2/model.safetensors", "checkpoint-4/optimizer.pt"),  # un autre outil
        ("empreinte.json", "notes.txt"),
        ("en-cours/lettre.odt",),
    ],
)
def test_un_dossier_qui_n_est_pas_a_nous_est_refuse_et_rien_n_y_change(
    dossier_petit, fichier_corpus, tmp_path, monkeypatch, capsys, noms
):
    """Code 1, avant que le modèle soit chargé, et le remède dit où aller."""
    monkeypatch.setattr(
        "fabrique.modeles.chargement._charger_poids", lambda *_: pytest.fail("chargé")
    )
    sortie = tmp_path / "à vous"
    avant = etranger(sortie, *noms)
    commande = ["finetune", f"--model={dossier_petit}", f"--dataset={fichier_corpus}"]
    assert principal([*commande, f"--lora_out_dir={sortie}", "--save_steps=1"]) == DONNEES
    dit = capsys.readouterr().err
    assert "n’est pas vide" in dit
    assert "Donnez un dossier neuf" in dit
    assert contenu(sortie) == avant


def test_le_dossier_du_modele_n_est_pas_celui_de_l_adaptateur(
    dossier_petit, fichier_corpus, tmp_path, capsys
):
    """Même par un lien, même s'il porte notre empreinte (un modèle appris tout entier)."""
    modele = tmp_path / "modele"
    shutil.copytree(dossier_petit, modele)
    empreinte = {"modele": "x", "couches_4bits": 0, "donnees": "", "reglages": {}}
    (modele / "empreinte.json").write_text(json.dumps(empreinte), encoding="utf-8")
    (tmp_path / "lien").symlink_to(modele)
    avant = contenu(modele)
    for sortie in (modele, tmp_path / "lien"):
        commande = ["finetune", f"--model={modele}", f"--dataset={fichier_corpus}"]
        assert principal([*commande, f"--lora_out_dir={sortie}"]) == DONNEES
        assert "celui du modèle" in capsys.readouterr().err
    assert contenu(modele) == avant


@pytest.mark.parametrize("nom", ["README.md", "rapport.json", "adapter_model.safetensors"])
def test_un_fichier_depose_dans_notre_dossier_en_cours_n_est_pas_ecrase(
    reference, dossier_petit, corpus, tmp_path, nom
):
    """L'apprentissage est interrompu ; entre-temps, quelqu'un a rangé là un fichier à lui."""
    sortie = tmp_path / "s"
    shutil.copytree(reference, sortie)
    for fichier in (
        "rapport.json",
        "adapter_model.safetensors",
        "adapter_config.json",
        "README.md",
    ):
        (sortie / fichier).unlink()
    etranger(sortie, nom)
    avant = contenu(sortie)
    with pytest.raises(ErreurFabrique, match="n’a pas écrit") as refus:
        apprendre(dossier_petit, corpus, sortie)
    assert nom in refus.value.message
    assert refus.value.code == DONNEES
    assert contenu(sortie) == avant
    (sortie / nom).unlink()
    apprendre(dossier_petit, corpus, sortie)
    assert memes_poids(sortie, reference)


def test_une_notice_completee_est_gardee(reference, dossier_petit, corpus, tmp_path):
    """La notice invite à la compléter : relancée, la commande finie n'y touche pas."""
    sortie = tmp_path / "s"
    shutil.copytree(reference, sortie)
    (sortie / "README.md").write_text("Appris sur nos fiches, licence ouverte.", encoding="utf-8")
    avant = contenu(sortie)
    apprendre(dossier_petit, corpus, sortie)
    assert contenu(sortie) == avant
    (sortie / "rapport.json").unlink()  # plus rien ne dit que c'est fini
    with pytest.raises(ErreurFabrique, match=r"changé depuis \(README\.md\)"):
        apprendre(dossier_petit, corpus, sortie)


def test_un_point_de_reprise_d_un_autre_outil_arrete_avant_tout_calcul(
    reference, dossier_petit, corpus, tmp_path
):
    sortie = tmp_path / "s"
    shutil.copytree(reference, sortie)
    (sortie / "rapport.json").unlink()
    etranger(sortie, "checkpoint-3/optimizer.pt")
    avant = contenu(sortie)
    with pytest.raises(ErreurFabrique, match="checkpoint-3"):
        apprendre(dossier_petit, corpus, sortie)
    assert contenu(sortie) == avant


def test_un_point_qui_n_est_pas_signe_n_est_jamais_efface(reference, tmp_path):
    """Ni comme ancien, ni pour laisser sa place : il change de nom."""
    vu = etranger(tmp_path, "checkpoint-2/a.bin", f"checkpoint-{PAS}/b.bin")
    reprise.retirer_les_anciens(tmp_path, PAS, garder=1)
    assert contenu(tmp_path) == vu
    ecrit = tmp_path / reprise.EN_COURS / f"checkpoint-{PAS}"
    shutil.copytree(reference / f"checkpoint-{PAS}", ecrit)
    (ecrit / reprise.COMPLET).unlink()
    reprise.mettre_en_place(ecrit, tmp_path / f"checkpoint-{PAS}")
    assert est_complet(tmp_path / f"checkpoint-{PAS}")
    garde = tmp_path / f"ecarte-checkpoint-{PAS}" / "b.bin"
    assert garde.read_text(encoding="utf-8") == f"à vous : checkpoint-{PAS}/b.bin"


def test_un_dossier_vide_ou_de_fichiers_caches_convient(dossier_petit, corpus, tmp_path):
    etranger(tmp_path, ".gitkeep", ".ipynb_checkpoints/x.ipynb")
    assert apprendre(dossier_petit, corpus, tmp_path, epochs=0.2).pas


# ---------------------------------------------------------------- le disque


@pytest.mark.parametrize("cause", ["vu avant d’écrire", "vu en écrivant"])
def test_le_disque_se_remplit_en_cours_de_route(
    reference, dossier_petit, fichier_corpus, petit_disque, monkeypatch, capsys, cause
):
    """Code 2, une phrase, le dernier point intact ; et l'on reprend quand il y a de la place."""
    sortie = petit_disque / "adaptateur"
    options = {"epochs": 2, "save_steps": 2, "save_total_limit": 2, "logging_steps": 1}
    options |= {"warmup_steps": 1, "val_set_size": 0, "lr": 1e-2, "model": dossier_petit}
    options |= {"dataset": fichier_corpus, "lora_out_dir": sortie}
    commande = ["finetune", *(f"--{nom}={valeur}" for nom, valeur in options.items())]
    with monkeypatch.context() as provisoire:
        a_chaque_pas(provisoire, lambda pas: pas == 5 and remplir(sortie, 20_000))
        if cause == "vu en écrivant":  # un quota, que la place libre ne dit pas
            provisoire.setattr(entraineur, "verifier_place", lambda *_: None)
        assert principal(commande) == MACHINE
    dit = capsys.readouterr().err.splitlines()[-1]
    assert "disque est plein" in dit or "faute de place" in dit
    assert "reprendra au dernier point de reprise" in dit
    assert points(sortie) == [2, 4]
    assert est_complet(sortie / "checkpoint-4")
    assert not (sortie / reprise.EN_COURS).exists()
    (petit_disque / "ballast").unlink()
    assert principal(commande) == 0
    assert memes_poids(sortie, reference)


@AVEC_OU_SANS
def test_un_disque_plein_s_explique(dossier_petit, corpus, tmp_path, monkeypatch, protege):
    """Le même, sans rien monter : l'écriture échoue, avec ou sans nos phrases."""

    def echouer(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(EntraineurParLongueur, "_save_rng_state", echouer)
    if not protege:
        monkeypatch.delattr(EntraineurParLongueur, "_save_checkpoint")
    with pytest.raises(ErreurFabrique if protege else OSError) as erreur:
        apprendre(dossier_petit, corpus, tmp_path)
    assert getattr(erreur.value, "code", None) == (MACHINE if protege else None)


@AVEC_OU_SANS
def test_la_place_se_verifie_avant_chaque_sauvegarde(
    dossier_petit, corpus, tmp_path, monkeypatch, protege
):
    """Le disque se remplit après le départ : le premier point n'est même pas commencé."""
    libre = [10**12]
    disque_de = namedtuple("Disque", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: disque_de(10**12, 0, libre[0]))
    a_chaque_pas(monkeypatch, lambda pas: libre.__setitem__(0, 1000 if pas == 3 else libre[0]))
    if not protege:
        monkeypatch.setattr(entraineur, "verifier_place", lambda *_: None)
        assert apprendre(dossier_petit, corpus, tmp_path).pas == PAS
        return
    with pytest.raises(ErreurFabrique, match="disque est plein") as erreur:
        apprendre(dossier_petit, corpus, tmp_path)
    assert erreur.value.code == MACHINE
    assert points(tmp_path) == [2]


def test_les_points_deja_ecrits_ne_sont_pas_demandes_deux_fois(reference, monkeypatch, tmp_path):
    """À la reprise, deux points sur deux sont là : il n'en faut qu'un de plus."""
    modele = torch.nn.Linear(1000, 1000, bias=False)
    disque_de = namedtuple("Disque", "total used free")
    juste = 3 * 4 * 1_000_000 + 10_000_000
    monkeypatch.setattr(shutil, "disk_usage", lambda _: disque_de(10**12, 0, juste))
    disque.verifier_disque(modele, Reglages(**REGLAGES), tmp_path, deja=2)
    with pytest.raises(ErreurFabrique, match="sur le disque"):
        disque.verifier_disque(modele, Reglages(**REGLAGES), tmp_path, deja=1)


@pytest.mark.parametrize("changement", [{"save_total_limit": 5}, {"mbatch_size": 1}])
def test_ce_qui_ne_change_pas_l_apprentissage_peut_changer(
    reference, dossier_petit, corpus, tmp_path, changement
):
    """On suit le conseil (« baissez save_total_limit ») et l'on reprend."""
    sortie = tmp_path / "s"
    shutil.copytree(reference, sortie)
    assert apprendre(dossier_petit, corpus, sortie, **changement).pas == PAS


# ---------------------------------------------------------------- l'arrêt demandé


@pytest.mark.parametrize("numero", [signal.SIGINT, signal.SIGTERM])
@AVEC_OU_SANS
def test_ctrl_c_sauvegarde_et_dit_comment_reprendre(
    reference, dossier_petit, corpus, tmp_path, monkeypatch, numero, protege
):
    """Le bouton d'arrêt d'un carnet envoie le même signal ; le pas 5 n'est pas un pas de sauvegarde."""
    ancien = signal.getsignal(numero)
    if not protege:
        monkeypatch.setattr(fabrique.entrainement.avancement.Arret, "SIGNAUX", ())
        signal.signal(numero, signal.default_int_handler)
    try:
        with monkeypatch.context() as provisoire:
            a_chaque_pas(provisoire, lambda pas: pas == 4 and os.kill(os.getpid(), numero))
            with pytest.raises(ErreurFabrique, match="interrompu au pas") as erreur:
                apprendre(dossier_petit, corpus, tmp_path, save_steps=3)
    finally:
        signal.signal(numero, ancien)
    assert "Relancez la même cellule ou la même commande" in erreur.value.remede
    assert erreur.value.code == DONNEES
    # Demandé au pas 4, accordé au pas 5 ; sinon, on n'a que le pas 3.
    assert points(tmp_path) == ([3, 5] if protege else [3])
    assert signal.getsignal(numero) is ancien
    apprendre(dossier_petit, corpus, tmp_path, save_steps=3)
    assert memes_poids(tmp_path, reference)


def test_une_seconde_demande_arrete_tout_de_suite():
    with fabrique.entrainement.avancement.Arret() as arret:
        os.kill(os.getpid(), signal.SIGINT)
        assert arret.demande
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


# ---------------------------------------------------------------- la perte diverge


def sans_regarder_la_perte(monkeypatch):
    monkeypatch.setattr(EntraineurParLongueur, "verifier", lambda *_: None)


def sans_regarder_les_poids(monkeypatch):
    monkeypatch.setattr(reprise, "_verifier_les_poids", lambda _: None)


#: Les protections retirées, et ce qui arrive alors.
DIVERGENCES = {
    "protégé": ((), r"la perte du pas \d+ n’est plus un nombre"),
    "sans regarder la perte": ((sans_regarder_la_perte,), "poids appris ne sont plus des nombres"),
    "sans rien regarder": ((sans_regarder_la_perte, sans_regarder_les_poids), None),
}


@pytest.mark.parametrize("cas", DIVERGENCES)
def test_une_perte_infinie_arrete_avec_sa_cause(dossier_petit, corpus, tmp_path, monkeypatch, cas):
    """Un taux absurde, pour de vrai ; sans protection, l'adaptateur final n'est plus un nombre."""
    retraits, message = DIVERGENCES[cas]
    for retirer in retraits:
        retirer(monkeypatch)
    if message is None:
        resultat = apprendre(dossier_petit, corpus, tmp_path, learning_rate=1e30)
        poids = load_file(resultat.dossier / "adapter_model.safetensors")
        assert any(not torch.isfinite(p).all() for p in poids.values())
        return
    with pytest.raises(ErreurFabrique, match=message) as erreur:
        apprendre(dossier_petit, corpus, tmp_path, learning_rate=1e30, save_steps=1)
    assert "taux d’apprentissage" in erreur.value.remede
    assert erreur.value.champ == "learning_rate"
    if not retraits:  # les relevés restent, jusqu'au pas fautif
        *lus, fautif = erreur.value.historique
        assert all(math.isfinite(releve["perte"]) for releve in lus)
        assert [releve["pas"] for releve in lus] == list(range(1, fautif["pas"]))
        assert fautif["perte"] == math.inf
    # Le premier pas (taux nul) est gardé, et rien de ce qui a divergé.
    assert dernier_point_de_reprise(tmp_path)
    for point in points(tmp_path):
        poids = load_file(tmp_path / f"checkpoint-{point}" / "adapter_model.safetensors")
        assert all(torch.isfinite(p).all() for p in poids.values())


@pytest.mark.parametrize(("echelle", "arrete"), [(65536.0, False), (1.0, False), (0.5, True)])
def test_un_debordement_continuel_en_fp16_arrete(echelle, arrete):
    """L'échelle de perte tombée sous 1 : chaque pas déborde, plus rien ne s'apprend."""
    calibreur = torch.amp.GradScaler("cpu", init_scale=echelle)
    calibreur.scale(torch.tensor(1.0))  # comme au premier pas
    faux = SimpleNamespace(
        accelerator=SimpleNamespace(scaler=calibreur), state=SimpleNamespace(global_step=41)
    )
    if not arrete:
        EntraineurParLongueur.verifier(faux, torch.tensor(1.0))
        return
    with pytest.raises(ErreurFabrique, match="au pas 42, les gradients débordent") as erreur:
        EntraineurParLongueur.verifier(faux, torch.tensor(1.0))
    assert "calcul='float32'" in erreur.value.remede


@AVEC_OU_SANS
def test_des_gradients_toujours_infinis_n_apprennent_rien(monkeypatch, protege):
    """Un vrai calibreur : chaque débordement divise l'échelle par deux et saute le pas."""
    if not protege:
        sans_regarder_la_perte(monkeypatch)
    poids = torch.nn.Parameter(torch.ones(3))
    optimiseur, calibreur = torch.optim.SGD([poids], lr=1), torch.amp.GradScaler("cpu")
    faux = SimpleNamespace(
        accelerator=SimpleNamespace(scaler=calibreur), state=SimpleNamespace(global_step=0)
    )

    def apprendre_quarante_pas():
        for _ in range(40):
            calibreur.scale(poids.sum()).backward()
            poids.grad.fill_(float("inf"))
            calibreur.step(optimiseur)
            calibreur.update()
            EntraineurParLongueur.verifier(faux, torch.tensor(1.0))
            faux.state.global_step += 1

    if protege:
        with pytest.raises(ErreurFabrique, match="au pas 17, les gradients débordent"):
            apprendre_quarante_pas()
    else:
        apprendre_quarante_pas()
        assert faux.state.global_step == 40
    assert poids.tolist() == [1, 1, 1]


# ---------------------------------------------------------------- la mémoire


def manquer_de_memoire(monkeypatch, au_dela, message="CUDA out of memory. Tried to allocate 2 GiB"):
    """Fait échouer tout lot de plus de ``au_dela`` exemples, à partir du quatrième pas."""
    continuer = Trainer.training_step

    def limiter(self, model, inputs, num_items_in_batch=None):
        if self.state.global_step >= 3 and len(inputs["input_ids"]) > au_dela:
            raise RuntimeError(message)
        return continuer(self, model, inputs, num_items_in_batch)

    monkeypatch.setattr(Trainer, "training_step", limiter)


GRANDS_LOTS = {"batch_size": 4, "mbatch_size": 4, "lora_dropout": 0}


@AVEC_OU_SANS
def test_a_court_de_memoire_les_lots_rapetissent_et_l_on_continue(
    dossier_petit, corpus, tmp_path, monkeypatch, capsys, protege
):
    """De quatre exemples à un, sans rien perdre : le même adaptateur, aux arrondis près."""
    if protege:
        attendu = apprendre(dossier_petit, corpus, tmp_path / "reference", **GRANDS_LOTS)
    manquer_de_memoire(monkeypatch, au_dela=1)
    if not protege:
        monkeypatch.delattr(EntraineurParLongueur, "training_step")
        with pytest.raises(RuntimeError, match="out of memory"):
            apprendre(dossier_petit, corpus, tmp_path / "s", **GRANDS_LOTS)
        return
    resultat = apprendre(dossier_petit, corpus, tmp_path / "s", **GRANDS_LOTS)
    dit = capsys.readouterr().out
    assert "2 exemples à la fois au lieu de 4" in dit
    assert "1 exemple à la fois au lieu de 2" in dit
    assert resultat.pas == attendu.pas
    adaptateurs = [
        load_file(tmp_path / d / "adapter_model.safetensors") for d in ("reference", "s")
    ]
    for nom, poids in adaptateurs[0].items():
        torch.testing.assert_close(adaptateurs[1][nom], poids, rtol=1e-4, atol=1e-5)


def test_un_manque_de_memoire_ne_retient_pas_les_activations(monkeypatch):
    """L'exception ne garde pas la cause, dont la trace tient les tenseurs du calcul."""
    manquer_de_memoire(monkeypatch, au_dela=0)
    nu = EntraineurParLongueur.__new__(EntraineurParLongueur)
    nu.state = SimpleNamespace(global_step=9)
    with pytest.raises(entraineur.MemoireInsuffisante) as erreur:
        nu.training_step(None, {"input_ids": [1]})
    assert erreur.value.__context__ is None


def test_a_court_de_memoire_jusqu_au_bout_c_est_la_machine(
    dossier_petit, corpus, tmp_path, monkeypatch, capsys
):
    manquer_de_memoire(monkeypatch, au_dela=0)
    with pytest.raises(ErreurFabrique, match="mémoire ne suffit pas") as erreur:
        apprendre(dossier_petit, corpus, tmp_path, mbatch_size=1)
    assert erreur.value.code == MACHINE
    assert "les activations seront recalculées" in capsys.readouterr().out
    assert dernier_point_de_reprise(tmp_path) == str(tmp_path / "checkpoint-3")


def test_une_autre_erreur_n_est_pas_prise_pour_un_manque_de_memoire(
    dossier_petit, corpus, tmp_path, monkeypatch
):
    manquer_de_memoire(monkeypatch, au_dela=0, message="dimensions incompatibles")
    with pytest.raises(RuntimeError, match="dimensions incompatibles"):
        apprendre(dossier_petit, corpus, tmp_path)


@pytest.mark.parametrize(
    ("lot", "petit_lot", "suite"),
    [(4, 4, [2, 1, 1]), (6, 6, [3, 1, 1]), (5, 5, [1, 1]), (9, 9, [3, 1, 1])],
)
def test_les_lots_plus_petits_divisent_toujours_le_lot(lot, petit_lot, suite):
    """Le recalcul vient en dernier ; après lui, plus rien."""
    reglages, vus = Reglages(batch_size=lot, mbatch_size=petit_lot), []
    while (reglages := reglages.plus_frugaux()) is not None:
        vus.append(reglages)
    assert [r.mbatch_size for r in vus] == suite
    assert [r.recalcul for r in vus] == [False] * (len(suite) - 1) + [True]


# ---------------------------------------------------------------- Colab et Drive


@pytest.fixture
def drive(tmp_path, monkeypatch):
    """Un Drive monté, et une session neuve, dont le dossier courant est vide."""
    dossier = tmp_path / "MyDrive"
    dossier.mkdir()
    monkeypatch.setattr(emplacements, "DRIVE", dossier)
    (tmp_path / "session").mkdir()
    monkeypatch.chdir(tmp_path / "session")
    return dossier


def test_dans_colab_les_points_vont_sur_drive_et_une_session_neuve_reprend(
    reference, dossier_petit, corpus, drive, monkeypatch, capsys
):
    sortie = Path("sorties/adaptateur")
    with monkeypatch.context() as provisoire:
        a_chaque_pas(provisoire, lambda pas: pas == 5 and (_ for _ in ()).throw(Coupure))
        with pytest.raises(Coupure):
            apprendre(dossier_petit, corpus, sortie)
    assert "Google Drive est monté" in capsys.readouterr().out
    assert points(drive / "FabriqueLLM" / sortie) == [2, 4]
    assert points(sortie) == []
    shutil.rmtree("sorties")  # la session est perdue
    assert apprendre(dossier_petit, corpus, sortie).pas == PAS
    assert memes_poids(sortie, reference)
    shutil.rmtree("sorties")  # perdue encore, tout étant fait
    resultat = apprendre(dossier_petit, corpus, sortie)
    assert resultat.pas == PAS
    assert "appris par une session précédente" in str(resultat)
    assert memes_poids(sortie, reference)
    rapport = (sortie / "rapport.json").read_text(encoding="utf-8")
    json.loads(rapport, parse_constant=pytest.fail)  # « NaN » n'est pas du JSON


def test_un_chemin_absolu_n_est_pas_detourne_vers_drive(drive, tmp_path):
    assert emplacements.dossier_durable(tmp_path / "a") == tmp_path / "a"


@AVEC_OU_SANS
def test_un_point_que_drive_tarde_a_montrer_est_attendu(
    reference, drive, monkeypatch, capsys, protege
):
    """Une minute au plus ; un fichier arrive au deuxième regard."""
    sortie = drive / "FabriqueLLM" / "a"
    shutil.copytree(reference, sortie)
    manquant = sortie / f"checkpoint-{PAS}" / "optimizer.pt"
    contenu = manquant.read_bytes()
    manquant.unlink()
    if not protege:
        monkeypatch.setattr(reprise, "sur_drive", lambda _: False)
    monkeypatch.setattr(reprise.time, "sleep", lambda _: manquant.write_bytes(contenu))
    servi = PAS if protege else PAS - 2
    assert dernier_point_de_reprise(sortie) == str(sortie / f"checkpoint-{servi}")
    assert ("pas encore entier sur Drive" in capsys.readouterr().out) is protege


def test_un_point_qui_n_arrive_jamais_est_saute(reference, drive, monkeypatch):
    sortie = drive / "FabriqueLLM" / "a"
    shutil.copytree(reference, sortie)
    (sortie / f"checkpoint-{PAS}" / "optimizer.pt").unlink()
    monkeypatch.setattr(reprise, "ATTENTE_DE_DRIVE_S", 0.05)
    assert dernier_point_de_reprise(sortie) == str(sortie / f"checkpoint-{PAS - 2}")
