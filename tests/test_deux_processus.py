"""Deux processus apprennent comme un seul : même lot, même adaptateur."""

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from accelerate.commands.config.config_args import load_config_from_file
from safetensors.torch import load_file

import fabrique
from fabrique.entrainement import Reglages
from fabrique.entrainement.adaptateur import poser
from fabrique.entrainement.entraineur import arguments
from fabrique.modeles import chargement as modeles
from fabrique.socle.erreurs import ErreurFabrique

RACINE = Path(__file__).resolve().parent.parent
#: Huit exemples, lots de quatre, deux époques : quatre pas pleins, sans hasard.
REGLAGES = {
    "batch_size": 4,
    "mbatch_size": 2,
    "epochs": 2,
    "learning_rate": 1e-2,
    "warmup_steps": 1,
    "save_steps": 2,
    "logging_steps": 1,
    "lora_dropout": 0,
    "val_set_size": 0,
}
A_DEUX = """
import json, sys
import fabrique
from meurtres import au_pas
modele, corpus, reglages, sortie, mourir_au_pas = sys.argv[1:]
au_pas(int(mourir_au_pas))
tokenizer, reseau = fabrique.charger(modele, silencieux=True)
resultat = fabrique.entrainer(
    reseau, tokenizer, fabrique.lire_corpus(corpus), fabrique.Reglages(**json.loads(reglages)), sortie
)
print("pas :", resultat.pas)
"""


@dataclass(frozen=True)
class Lance:
    """Ce qu'un lancement à deux processus a donné ; ``sortie`` et ``erreur`` : une par processus."""

    code: int
    sortie: list[str]
    erreur: list[str]
    journal: str


AVEC_GLOO = pytest.mark.skipif(
    not torch.distributed.is_gloo_available(), reason="PyTorch est ici sans gloo"
)


@pytest.fixture(scope="module")
def huit(fichier_corpus, tmp_path_factory):
    """Huit exemples : deux lots pleins."""
    exemples = json.loads(fichier_corpus.read_text(encoding="utf-8"))[:8]
    huit = tmp_path_factory.mktemp("corpus") / "huit.json"
    huit.write_text(json.dumps(exemples, ensure_ascii=False), encoding="utf-8")
    return huit


@pytest.fixture(scope="module")
def seul(dossier_petit, huit, tmp_path_factory):
    """Ce qu'un seul processus apprend de ces huit exemples."""
    tokenizer, modele = fabrique.charger(dossier_petit, silencieux=True)
    corpus, sortie = fabrique.lire_corpus(huit), tmp_path_factory.mktemp("seul") / "un"
    return fabrique.entrainer(modele, tokenizer, corpus, Reglages(**REGLAGES), sortie)


def verifier_l_adaptateur(obtenu: Path, attendu: Path) -> None:
    """Les mêmes poids, à 1e-5 près."""
    attendus, obtenus = (load_file(d / "adapter_model.safetensors") for d in (attendu, obtenu))
    for nom, poids in attendus.items():
        torch.testing.assert_close(obtenus[nom], poids, rtol=0, atol=1e-5)


def a_deux(modele, corpus, sortie, mourir_au_pas=0) -> Lance:
    """Apprend à deux processus ; les tue, s'il le faut, à la fin d'un pas.

    Chaque processus écrit dans ses propres fichiers : sur un tuyau commun, deux lignes se mêlent.
    """
    programme = sortie.parent / "a_deux.py"
    programme.write_text(A_DEUX, encoding="utf-8")
    journaux = Path(tempfile.mkdtemp(dir=sortie.parent))
    fini = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
        + ["--log-dir", journaux, "--redirects", "3"]
        + [programme, modele, corpus, json.dumps(REGLAGES), sortie, str(mourir_au_pas)],
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(RACINE), str(RACINE / "tests")]),
            "OMP_NUM_THREADS": "1",
        },
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        errors="replace",
    )
    sorties, erreurs = (
        [fichier.read_text("utf-8", "replace") for fichier in sorted(journaux.rglob(f"{nom}.log"))]
        for nom in ("stdout", "stderr")
    )
    return Lance(fini.returncode, sorties, erreurs, "\n".join([fini.stderr, *erreurs])[-3000:])


@AVEC_GLOO
def test_deux_processus_donnent_l_adaptateur_d_un_seul(dossier_petit, huit, seul, tmp_path):
    """À 1e-5 près ; un seul processus écrit et parle."""
    lance = a_deux(dossier_petit, huit, tmp_path / "deux")
    assert lance.code == 0, lance.journal
    premier, second = lance.sortie
    assert premier.splitlines()[-1] == "pas : 4"
    assert second == "pas : 4\n"  # le sien, écrit par le test : le second processus se tait
    assert ["0/4 [" in erreur for erreur in lance.erreur] == [True, False]  # une barre, une seule
    verifier_l_adaptateur(tmp_path / "deux", seul.dossier)
    rapport = json.loads((tmp_path / "deux" / "rapport.json").read_text(encoding="utf-8"))
    assert [releve["perte"] for releve in rapport["historique"]] == pytest.approx(
        [releve["perte"] for releve in seul.historique], abs=1e-4
    )
    # Chaque point porte l'état du hasard des deux processus.
    assert {f.name for f in (tmp_path / "deux" / "checkpoint-4").glob("rng_state*")} == {
        "rng_state_0.pth",
        "rng_state_1.pth",
    }


@AVEC_GLOO
def test_deux_processus_tues_reprennent_au_dernier_point(dossier_petit, huit, seul, tmp_path):
    """Tués au troisième pas, relancés : les deux repartent du deuxième, au même adaptateur."""
    assert a_deux(dossier_petit, huit, tmp_path / "deux", mourir_au_pas=3).code != 0
    assert (tmp_path / "deux" / "checkpoint-2").exists()
    assert not (tmp_path / "deux" / "rapport.json").exists()
    lance = a_deux(dossier_petit, huit, tmp_path / "deux")
    assert lance.code == 0, lance.journal
    assert ["2/4 [" in erreur for erreur in lance.erreur] == [True, False]
    assert "0/4 [" not in lance.erreur[0]  # pas de barre vide au-dessus de la reprise
    verifier_l_adaptateur(tmp_path / "deux", seul.dossier)


@pytest.mark.parametrize(
    ("processus", "lot", "petit_lot", "attendu"),
    [(1, 8, 4, (4, 2)), (2, 8, 4, (4, 1)), (4, 8, 4, (2, 1)), (2, 8, 2, (2, 2))],
)
def test_le_lot_effectif_ne_depend_pas_du_nombre_de_processus(
    petit, tmp_path, monkeypatch, processus, lot, petit_lot, attendu
):
    monkeypatch.setattr(fabrique.entrainement.entraineur, "nombre_de_processus", lambda: processus)
    monkeypatch.setattr(
        fabrique.entrainement.entraineur, "TrainingArguments", lambda **options: options
    )
    lus = arguments(petit[1], Reglages(batch_size=lot, mbatch_size=petit_lot), tmp_path)
    obtenu = (lus["per_device_train_batch_size"], lus["gradient_accumulation_steps"])
    assert obtenu == attendu
    assert processus * obtenu[0] * obtenu[1] == lot


def test_un_lot_qui_ne_se_partage_pas_est_refuse(petit, tmp_path, monkeypatch):
    monkeypatch.setattr(fabrique.entrainement.entraineur, "nombre_de_processus", lambda: 2)
    with pytest.raises(ErreurFabrique, match="ne se partage pas entre 2 processus"):
        arguments(petit[1], Reglages(batch_size=3, mbatch_size=1), tmp_path)


# ---------------------------------------------------------------- les configurations livrées


@pytest.mark.parametrize("nom", ["ddp.yaml", "fsdp_qlora.yaml"])
def test_accelerate_lit_les_configurations_livrees(nom):
    """Aucune clé qu’accelerate ne connaisse pas ; la documentation les cite toutes deux."""
    fichier = RACINE / "docs" / "accelerate" / nom
    lue = load_config_from_file(str(fichier))
    assert lue.num_processes == 2
    assert lue.mixed_precision == "no"
    assert f"docs/accelerate/{nom}" in (RACINE / "docs" / "plusieurs_gpu.md").read_text("utf-8")


def test_le_bloc_que_fsdp_decoupe_est_celui_de_falcon(petit):
    lue = load_config_from_file(str(RACINE / "docs" / "accelerate" / "fsdp_qlora.yaml"))
    bloc = lue.fsdp_config["fsdp_transformer_layer_cls_to_wrap"]
    assert {type(couche).__name__ for couche in petit[1].transformer.h} == {bloc}


def test_chaque_processus_charge_sur_sa_carte(monkeypatch):
    assert modeles.carte_du_processus() == 0
    monkeypatch.setenv("LOCAL_RANK", "3")
    assert modeles.carte_du_processus() == 3


def test_sous_fsdp_les_poids_4_bits_ont_le_type_des_calculs(dossier_petit, monkeypatch):
    """Sans GPU, on vérifie le rangement : un seul type de poids, ce que FSDP exige."""
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    _, modele = fabrique.charger(dossier_petit, calcul="bfloat16", silencieux=True)
    affine = poser(modele, Reglages(**REGLAGES))
    figes = {p.dtype for p in affine.parameters() if not p.requires_grad}
    assert figes == {torch.bfloat16}
