"""Fusionner un adaptateur : dans les poids d'origine, vérifié, ou refusé sans rien laisser."""

import copy
import json

import pytest
import torch
from conftest import ajouter_adaptateur, enregistrer, petite_configuration
from peft.tuners.lora import Linear
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, FalconForCausalLM

import fabrique
from fabrique.ligne_de_commande import principal
from fabrique.modeles import chargement as modeles
from fabrique.service import fusion
from fabrique.service.fusion import CALCULS, TOLERANCE, exporter, fusionner
from fabrique.socle.erreurs import DONNEES, ErreurFabrique


@pytest.fixture
def adaptateur(dossier_petit, tmp_path):
    """Un adaptateur au hasard, assez fort pour tout changer, enregistré."""
    _, modele = fabrique.charger(dossier_petit, "aucune", silencieux=True)
    ajouter_adaptateur(modele).save_pretrained(tmp_path / "adaptateur")
    return tmp_path / "adaptateur"


def logits(modele):
    """Les logits d'une phrase fixe."""
    with torch.no_grad():
        return modele.eval()(input_ids=torch.tensor([[1, 40, 500, 77, 1234]])).logits


@pytest.mark.parametrize("calcul", CALCULS)
def test_le_modele_fusionne_se_recharge_et_repond_comme_l_adaptateur(
    dossier_petit, adaptateur, tmp_path, calcul
):
    faite = fusionner(dossier_petit, adaptateur, tmp_path / "fusion", calcul=calcul)
    assert faite.ecart <= 1e-3
    _, base = fabrique.charger(dossier_petit, "aucune", silencieux=True)
    nus = logits(base)
    attendus = logits(fabrique.charger_adaptateur(base, adaptateur))
    _, relu = fabrique.charger(tmp_path / "fusion", "aucune", silencieux=True)
    assert (logits(relu) - attendus).norm() / attendus.norm() < 1e-3
    assert (nus - attendus).norm() / attendus.norm() > 0.1
    poids = load_file(tmp_path / "fusion" / "model.safetensors")
    assert {p.dtype for p in poids.values()} == {torch.float16}
    assert not [n for n in poids if "lora" in n]


def test_en_16_bits_la_verification_ne_compte_que_l_arrondi_des_poids(
    dossier_petit, adaptateur, tmp_path
):
    """Calculé en 32 bits couche par couche, l'écart est le même ; les poids, eux, restent en fp16."""
    large = fusionner(dossier_petit, adaptateur, tmp_path / "large").ecart
    etroit = fusionner(dossier_petit, adaptateur, tmp_path / "etroit", calcul="float16").ecart
    assert etroit < 2 * large
    _, modele = fabrique.charger(tmp_path / "etroit", "aucune", "float16", silencieux=True)
    attendus = logits(copy.deepcopy(modele).float())
    with fusion._calcul_en_32_bits(modele):
        assert torch.equal(logits(modele), attendus)
    assert {p.dtype for p in modele.parameters()} == {torch.float16}
    assert (logits(modele).float() - attendus).abs().max() > 1e-5


def test_le_modele_fusionne_se_recharge_aussi_en_4_bits(dossier_petit, adaptateur, tmp_path):
    fusionner(dossier_petit, adaptateur, tmp_path / "fusion")
    _, modele = fabrique.charger(tmp_path / "fusion", "nf4", silencieux=True)
    assert len(modeles.couches_quatre_bits(modele)) == 8


def test_la_fusion_est_celle_que_l_on_calcule_a_la_main(dossier_petit, adaptateur, tmp_path):
    """W + (alpha / r) B A, arrondi en fp16."""
    fusionner(dossier_petit, adaptateur, tmp_path / "fusion")
    couche = "transformer.h.0.mlp.dense_h_to_4h"
    lora = load_file(adaptateur / "adapter_model.safetensors")
    reglages = json.loads((adaptateur / "adapter_config.json").read_text("utf-8"))
    a, b = (lora[f"base_model.model.{couche}.lora_{x}.weight"] for x in "AB")
    w = load_file(dossier_petit / "model.safetensors")[f"{couche}.weight"]
    attendu = w + reglages["lora_alpha"] / reglages["r"] * b @ a
    obtenu = load_file(tmp_path / "fusion" / "model.safetensors")[f"{couche}.weight"]
    torch.testing.assert_close(obtenu.float(), attendu, rtol=1e-3, atol=1e-6)


def test_une_fusion_qui_change_les_reponses_est_refusee(
    dossier_petit, adaptateur, tmp_path, monkeypatch
):
    """Une correction perdue en chemin : rien n'est laissé."""
    monkeypatch.setattr(Linear, "get_delta_weight", lambda soi, _: torch.zeros_like(soi.weight))
    with pytest.raises(ErreurFabrique, match="ne répond pas comme l’adaptateur") as erreur:
        fusionner(dossier_petit, adaptateur, tmp_path / "fusion")
    assert erreur.value.code == DONNEES
    assert sorted(tmp_path.iterdir()) == [adaptateur]


def test_une_fusion_dans_les_4_bits_serait_refusee(
    dossier_petit, adaptateur, tmp_path, monkeypatch
):
    """C'est la vérification qui le dit, et non une interdiction : l'écart est trop grand."""
    attendu = fusionner(dossier_petit, adaptateur, tmp_path / "bonne").ecart
    _, quatre_bits = fabrique.charger(dossier_petit, "nf4", silencieux=True)
    pose = fabrique.charger_adaptateur(quatre_bits, adaptateur)
    avec = logits(pose)
    fondu = logits(pose.merge_and_unload())
    assert (fondu - avec).norm() / avec.norm() > 10 * max(attendu, TOLERANCE)


def test_un_modele_de_base_quantifie_est_refuse(dossier_petit, adaptateur, tmp_path):
    tokenizer, quatre_bits = fabrique.charger(dossier_petit, "nf4", silencieux=True)
    enregistrer(quatre_bits, tokenizer, tmp_path / "quatre")
    with pytest.raises(ErreurFabrique, match="enregistré quantifié"):
        fusionner(tmp_path / "quatre", adaptateur, tmp_path / "fusion")


def test_un_adaptateur_abime_est_refuse(dossier_petit, adaptateur, tmp_path):
    """Un seul nombre qui n'en est pas un, et la fusion s'arrête."""
    fichier = adaptateur / "adapter_model.safetensors"
    poids = load_file(fichier)
    next(iter(poids.values()))[0, 0] = float("nan")
    save_file(poids, fichier, {"format": "pt"})
    with pytest.raises(ErreurFabrique, match="pas un nombre"):
        fusionner(dossier_petit, adaptateur, tmp_path / "fusion")
    assert not (tmp_path / "fusion").exists()


def test_une_correction_trop_grande_pour_le_fp16_est_refusee(dossier_petit, adaptateur, tmp_path):
    """Les poids fusionnés deviennent infinis en fp16 : le modèle relu ne répond plus."""
    fichier = adaptateur / "adapter_model.safetensors"
    poids = {nom: 1e7 * p if "lora_B" in nom else p for nom, p in load_file(fichier).items()}
    save_file(poids, fichier, {"format": "pt"})
    with pytest.raises(ErreurFabrique, match="sans limite"):
        fusionner(dossier_petit, adaptateur, tmp_path / "fusion")
    assert not (tmp_path / "fusion").exists()


def test_un_ecart_qui_n_est_pas_un_nombre_ne_se_perd_pas():
    """Même quand une autre phrase, elle, se compare bien."""
    un, rien = torch.ones(1, 2, 3), torch.full((1, 2, 3), float("nan"))
    assert fusion._ecart([un, un], [un, un]) == 0
    assert fusion._ecart([un, un], [un, rien]) == float("inf")


def test_un_dossier_occupe_n_est_pas_ecrase(dossier_petit, adaptateur, tmp_path):
    (tmp_path / "fusion").mkdir()
    (tmp_path / "fusion" / "travail.txt").write_text("précieux", "utf-8")
    with pytest.raises(ErreurFabrique, match="n’est pas vide"):
        fusionner(dossier_petit, adaptateur, tmp_path / "fusion")
    assert (tmp_path / "fusion" / "travail.txt").read_text("utf-8") == "précieux"


def test_la_commande_fusionne_et_dit_l_ecart(dossier_petit, adaptateur, tmp_path, capsys):
    options = ["--model", dossier_petit, "--adaptateur", adaptateur, "--sortie", tmp_path / "f"]
    assert principal(["fusionner", *map(str, options)]) == 0
    assert "logits de l’adaptateur" in capsys.readouterr().out
    assert principal(["fusionner", *map(str, options)]) == DONNEES
    assert "n’est pas vide" in capsys.readouterr().err


# ---------------------------------------------------------------- le piège de GGUF


@pytest.mark.parametrize(
    ("changements", "ecrit"),
    [
        ({}, 1),
        ({"multi_query": False}, 4),
        ({"new_decoder_architecture": True, "num_kv_heads": 2}, 2),
    ],
)
def test_l_export_ecrit_le_vrai_nombre_de_tetes(tokenizer, tmp_path, changements, ecrit):
    """71 pour Falcon-7B si l'on n'y prend garde ; 1 en réalité, quand il est « multi-query »."""
    modele = FalconForCausalLM(petite_configuration(tokenizer, **changements))
    assert modele.config.num_kv_heads == changements.get("num_kv_heads", 4)
    exporter(modele, tokenizer, tmp_path)
    lue = json.loads((tmp_path / "config.json").read_text("utf-8"))
    assert lue["num_kv_heads"] == ecrit
    relu = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float16)
    attendu, obtenu = logits(modele.float()), logits(relu.float())
    torch.testing.assert_close(obtenu, attendu, rtol=0, atol=1e-5)


def test_la_verification_porte_sur_le_fichier_relu(
    dossier_petit, adaptateur, tmp_path, monkeypatch
):
    """Un fichier mal écrit est vu, même si le modèle en mémoire est bon."""
    ecrire = fusion.exporter

    def mal_ecrire(modele, tokenizer, dossier):
        ecrire(modele, tokenizer, dossier)
        poids = load_file(dossier / "model.safetensors")
        poids["transformer.h.0.mlp.dense_h_to_4h.weight"] *= 1.5
        save_file(poids, dossier / "model.safetensors", {"format": "pt"})

    monkeypatch.setattr(fusion, "exporter", mal_ecrire)
    with pytest.raises(ErreurFabrique, match="ne répond pas"):
        fusionner(dossier_petit, adaptateur, tmp_path / "fusion")
