"""Le chargement : quatre bits pour de vrai, et une phrase claire sinon."""

import importlib.util
import json
import math
import re
from collections import Counter
from contextlib import nullcontext

import bitsandbytes as bnb
import pytest
import torch
import transformers
from conftest import enregistrer, petite_configuration
from huggingface_hub.utils import are_progress_bars_disabled
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, FalconForCausalLM
from transformers.models.falcon import modeling_falcon

import fabrique
from fabrique.modeles import catalogue, chargement as modeles
from fabrique.modeles.adaptateurs import sans_adaptateur
from fabrique.modeles.chargement import couches_quatre_bits, parler_moins, reparation_falcon
from fabrique.modeles.memoire import memoire
from fabrique.socle.erreurs import DONNEES, MACHINE, ErreurFabrique

# ---------------------------------------------------------------- la réparation de Falcon


def test_le_falcon_de_poche_a_quatre_couches_4_bits_par_bloc():
    _, modele = fabrique.charger("falcon-poche", quantification="nf4", silencieux=True)
    blocs = modele.config.num_hidden_layers
    assert blocs == 8
    assert sum(isinstance(m, bnb.nn.Linear4bit) for m in modele.modules()) == 4 * blocs == 32
    assert len(couches_quatre_bits(modele)) == 32
    assert not isinstance(modele.get_output_embeddings(), bnb.nn.Linear4bit)


def test_sans_la_reparation_le_meme_appel_est_refuse(monkeypatch):
    monkeypatch.setattr(modeles, "reparation_falcon", nullcontext)
    with pytest.raises(ErreurFabrique, match="n’est pas en 4 bits : 32 couche") as erreur:
        fabrique.charger("falcon-poche", quantification="nf4", silencieux=True)
    assert erreur.value.code == MACHINE


def test_la_reparation_est_reentrante_et_se_defait():
    origine = modeling_falcon.FalconLinear
    assert origine is not torch.nn.Linear
    with reparation_falcon():
        with reparation_falcon():
            assert modeling_falcon.FalconLinear is torch.nn.Linear
        assert modeling_falcon.FalconLinear is torch.nn.Linear
    assert modeling_falcon.FalconLinear is origine


def test_la_reparation_se_defait_meme_apres_une_erreur():
    origine = modeling_falcon.FalconLinear
    with pytest.raises(RuntimeError, match="panne"), reparation_falcon():
        raise RuntimeError("panne")
    assert modeling_falcon.FalconLinear is origine


def test_la_reparation_ne_change_pas_le_calcul(dossier_petit):
    """Le petit Falcon chargé par le paquet calcule exactement comme celui de transformers."""
    tokenizer, modele = fabrique.charger(dossier_petit, "aucune", silencieux=True)
    reference = AutoModelForCausalLM.from_pretrained(dossier_petit, dtype=torch.float32)
    ids = tokenizer("Bonjour à tous.", return_tensors="pt")["input_ids"]
    with torch.no_grad():
        torch.testing.assert_close(modele(ids).logits, reference(ids).logits, rtol=0, atol=0)


# ---------------------------------------------------------------- les architectures du cours

ARCHITECTURES = {
    "falcon-7b": ("FalconConfig", {"num_hidden_layers": 2, "num_attention_heads": 4}, 4),
    "falcon-40b": (
        "FalconConfig",
        {
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_kv_heads": 2,
            "new_decoder_architecture": True,
        },
        4,
    ),
    "gpt-j": ("GPTJConfig", {"n_embd": 64, "n_layer": 2, "n_head": 4, "rotary_dim": 8}, 6),
    "llama": (
        "LlamaConfig",
        {"num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 128},
        7,
    ),
    "mistral": (
        "MistralConfig",
        {
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "intermediate_size": 128,
        },
        7,
    ),
    "mpt": ("MptConfig", {"d_model": 64, "n_heads": 4, "n_layers": 2, "max_seq_len": 256}, 4),
    "bloom": ("BloomConfig", {"n_layer": 2, "n_head": 4}, 4),
    "phi": (
        "PhiConfig",
        {"num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 128},
        6,
    ),
}


@pytest.mark.parametrize("nom", ARCHITECTURES)
def test_chaque_architecture_se_charge_apprend_et_se_recharge(nom, tokenizer, corpus, tmp_path):
    classe, options, par_bloc = ARCHITECTURES[nom]
    torch.manual_seed(0)
    configuration = getattr(transformers, classe)(
        **{
            "hidden_size": 64,
            "vocab_size": len(tokenizer),
            "bos_token_id": tokenizer.bos_token_id,
            "eos_token_id": tokenizer.eos_token_id,
            "pad_token_id": tokenizer.pad_token_id,
            **options,
        }
    )
    dossier = enregistrer(
        AutoModelForCausalLM.from_config(configuration), tokenizer, tmp_path / nom
    )
    tok, modele = fabrique.charger(dossier, "nf4", silencieux=True)
    couches = [n for n, m in modele.named_modules() if isinstance(m, bnb.nn.Linear4bit)]
    assert couches == couches_quatre_bits(modele)
    assert Counter(re.search(r"\.(\d+)\.", n)[1] for n in couches) == {"0": par_bloc, "1": par_bloc}

    reglages = fabrique.Reglages(
        target_modules="all-linear", learning_rate=1e-2, warmup_steps=0, val_set_size=0, epochs=0.3
    )
    resultat = fabrique.entrainer(modele, tok, corpus, reglages, tmp_path / "adaptateur")
    appris = {n: p for n, p in resultat.modele.named_parameters() if "lora_B" in n}
    assert len(appris) == 2 * par_bloc
    # B part de zéro : une couche dont B est resté nul n'a reçu aucun gradient.
    assert [n for n, p in appris.items() if not p.any()] == []

    ids = torch.tensor([tok("Où voter ?")["input_ids"]])
    with torch.no_grad():
        attendus = resultat.modele(input_ids=ids).logits
        tok, neuf = fabrique.charger(dossier, "nf4", silencieux=True)
        nus = neuf(input_ids=ids).logits
        pose = fabrique.charger_adaptateur(neuf, tmp_path / "adaptateur").eval()
        obtenus = pose(input_ids=ids).logits
    assert not torch.allclose(nus, attendus, atol=1e-4)
    torch.testing.assert_close(obtenus, attendus, rtol=1e-5, atol=1e-5)


# ---------------------------------------------------------------- évaluer puis apprendre


def test_une_evaluation_n_annule_pas_les_gradients_de_lora(petit):
    """Sur un processeur AVX512-BF16, bitsandbytes l'annulerait : le paquet l'en empêche."""
    tokenizer, modele = petit
    protections = [
        m.support_avx512bf16_for_cpu for m in modele.modules() if isinstance(m, bnb.nn.Linear4bit)
    ]
    assert protections == [False] * 8
    ids = torch.tensor([tokenizer("Comment obtenir un passeport ?")["input_ids"]])
    modele.eval()
    with torch.no_grad():
        modele(input_ids=ids)
    affine = modeles_avec_lora(modele)
    affine(input_ids=ids, labels=ids).loss.backward()
    gradients = [p.grad for n, p in affine.named_parameters() if "lora_B" in n]
    assert len(gradients) == 8
    assert all(g is not None and g.abs().max() > 0 for g in gradients)


def modeles_avec_lora(modele):
    """Pose un LoRA avec peft seul, en mode apprentissage."""
    from peft import LoraConfig, get_peft_model

    return get_peft_model(modele, LoraConfig(r=2, target_modules="all-linear")).train()


def test_retirer_un_adaptateur_rend_le_modele_intact(petit):
    tokenizer, modele = petit
    ids = torch.tensor([tokenizer("Bonjour.")["input_ids"]])
    with torch.no_grad():
        avant = modele(input_ids=ids).logits
        affine = modeles_avec_lora(modele).eval()
        for nom, parametre in affine.named_parameters():
            if "lora_B" in nom:
                parametre.fill_(0.1)
        assert not torch.equal(affine(input_ids=ids).logits, avant)
        nu = sans_adaptateur(affine)
        torch.testing.assert_close(nu(input_ids=ids).logits, avant, rtol=0, atol=0)
    assert not [n for n, _ in nu.named_modules() if "lora" in n]


# ---------------------------------------------------------------- la mémoire


def test_la_memoire_se_compte_a_la_main(petit, tokenizer):
    _, modele = petit
    lignes = {ligne.nature: ligne for ligne in memoire(modele)}
    assert set(lignes) == {"4 bits (NF4)", "float32"}
    # Par bloc : requêtes (64) avec une clé et une valeur de 16, sortie, perceptron 4 fois large.
    couches = 2 * [64 * (64 + 2 * 16), 64 * 64, 64 * 256, 256 * 64]
    # Un demi-octet par poids, une échelle d'un octet par bloc de 64, une échelle de 4 octets par
    # 256 blocs, deux tables (16 et 256 valeurs) et une moyenne en 32 bits.
    octets = sum(
        n // 2 + n // 64 + 4 * math.ceil(n / 64 / 256) + 4 * (16 + 256 + 1) for n in couches
    )
    assert lignes["4 bits (NF4)"].parametres == sum(couches)
    assert lignes["4 bits (NF4)"].octets_16_bits == 2 * sum(couches)
    assert lignes["4 bits (NF4)"].octets == octets
    # Le reste : les plongements (liés à la tête) et les normalisations (poids et biais).
    normes = (2 + 1) * 2 * 64
    assert lignes["float32"].parametres == len(tokenizer) * 64 + normes
    assert lignes["float32"].octets == 4 * lignes["float32"].parametres


def test_le_tableau_de_memoire_montre_le_total(dossier_petit, capsys):
    _, modele = fabrique.charger(dossier_petit, "nf4")
    dit = capsys.readouterr().out
    total = sum(ligne.parametres for ligne in memoire(modele))
    assert "4 bits (NF4)" in dit
    assert f"{total:,}".replace(",", "\u202f") in dit


# ---------------------------------------------------------------- ce qui ne se charge pas


@pytest.fixture
def copie(tokenizer, tmp_path):
    """Un petit modèle enregistré que le test peut abîmer."""
    torch.manual_seed(0)
    return enregistrer(
        FalconForCausalLM(petite_configuration(tokenizer)), tokenizer, tmp_path / "modele"
    )


def changer_poids(dossier, changement):
    """Relit les poids, les change, les réécrit."""
    poids = load_file(dossier / "model.safetensors")
    changement(poids)
    save_file(poids, dossier / "model.safetensors", {"format": "pt"})


COUCHE = "transformer.h.1.mlp.dense_h_to_4h.weight"
DEFAUTS = {
    "manquant": (lambda poids: poids.pop(COUCHE), f"1 manquants \\({COUCHE}"),
    "en trop": (lambda poids: poids.update(intrus=torch.ones(3)), "1 en trop \\(intrus"),
    "de mauvaise taille": (
        lambda poids: poids.update({COUCHE: torch.ones(8, 64)}),
        "mauvaise taille|size mismatch",
    ),
}


@pytest.mark.parametrize("defaut", DEFAUTS)
@pytest.mark.parametrize("quantification", ["nf4", "int8", "aucune"])
def test_des_poids_qui_ne_correspondent_pas_sont_refuses(copie, defaut, quantification):
    changement, message = DEFAUTS[defaut]
    changer_poids(copie, changement)
    with pytest.raises(ErreurFabrique, match=message) as erreur:
        fabrique.charger(copie, quantification, silencieux=True)
    assert erreur.value.code == DONNEES
    assert str(copie) in str(erreur.value)


def test_des_poids_coupes_au_milieu_sont_refuses(copie):
    fichier = copie / "model.safetensors"
    fichier.write_bytes(fichier.read_bytes()[: fichier.stat().st_size // 2])
    with pytest.raises(ErreurFabrique, match="le modèle ne se lit pas") as erreur:
        fabrique.charger(copie, silencieux=True)
    assert erreur.value.code == DONNEES


def test_une_configuration_coupee_est_refusee(copie):
    (copie / "config.json").write_text('{"model_type": "fal', encoding="utf-8")
    with pytest.raises(ErreurFabrique, match="le modèle ne se lit pas"):
        fabrique.charger(copie, silencieux=True)


def test_un_dossier_sans_poids_est_refuse(copie):
    (copie / "model.safetensors").unlink()
    with pytest.raises(ErreurFabrique, match="ne contient pas de poids") as erreur:
        fabrique.charger(copie, silencieux=True)
    assert erreur.value.code == DONNEES
    assert "save_pretrained" in erreur.value.remede


def test_des_poids_en_pickle_sont_refuses_sans_etre_ouverts(copie):
    """Le fichier exécuterait du code : il ne doit pas même être lu."""
    (copie / "model.safetensors").unlink()
    (copie / "pytorch_model.bin").write_bytes(b"cos\nabort\n(tR.")
    with pytest.raises(ErreurFabrique, match="pickle") as erreur:
        fabrique.charger(copie, silencieux=True)
    assert erreur.value.code == DONNEES


@pytest.mark.parametrize("nom", ["falcon-inconnu", "./dossier/absent", "/absent"])
def test_un_modele_inconnu_est_refuse(nom):
    with pytest.raises(ErreurFabrique, match=f"« {nom} » est inconnu") as erreur:
        fabrique.charger(nom)
    assert erreur.value.code == DONNEES
    assert "falcon-poche" in erreur.value.remede


def test_un_depot_du_hub_demande_sa_revision():
    with pytest.raises(ErreurFabrique, match="révision n’est pas figée") as erreur:
        fabrique.charger("organisme/modele")
    assert erreur.value.code == DONNEES


@pytest.mark.parametrize(("nom", "revision"), [("organisme/modele", "0" * 40), ("falcon-7b", None)])
def test_hors_ligne_le_hub_se_dit_injoignable(nom, revision):
    with pytest.raises(ErreurFabrique, match="hub est injoignable") as erreur:
        fabrique.charger(nom, revision=revision)
    assert erreur.value.code == MACHINE
    assert "falcon-poche" in erreur.value.remede


def test_une_quantification_inconnue_est_refusee():
    with pytest.raises(ErreurFabrique, match="« int3 » n’existe pas"):
        fabrique.charger("falcon-poche", "int3")


def test_un_type_de_calcul_inconnu_est_refuse():
    with pytest.raises(ErreurFabrique, match="« float8 »"):
        fabrique.charger("falcon-poche", calcul="float8")


def test_les_noms_de_2023_menent_au_catalogue():
    assert modeles.trouver("falcon-7b-instruct-4bit") == catalogue.CATALOGUE["falcon-7b-instruct"]
    assert modeles.trouver("falcon-7b-4bit") == catalogue.CATALOGUE["falcon-7b"]


@pytest.mark.parametrize(
    ("modele", "poids", "charge"),
    [
        ("falcon-poche", "", "falcon-poche"),
        ("falcon-7b", "tiiuae/falcon-7b", "falcon-7b"),
        ("falcon-7b-instruct-4bit", "./gptq_model-4bit-64g.safetensors", "falcon-7b-instruct-4bit"),
        ("falcon-7b", "/mes/poids", "/mes/poids"),
        ("falcon-7b", "tiiuae/falcon-40b", "tiiuae/falcon-40b"),
    ],
)
def test_les_poids_nommes_comme_en_2023_ne_cassent_pas_le_catalogue(modele, poids, charge):
    assert catalogue.choisir_poids(modele, poids) == charge


def test_tout_depot_du_catalogue_a_une_revision_figee():
    distants = [e for e in catalogue.CATALOGUE.values() if e.depot.count("/") == 1]
    assert len(distants) >= 2
    assert all(re.fullmatch("[0-9a-f]{40}", e.revision or "") for e in distants)


# ---------------------------------------------------------------- les adaptateurs


def adaptateur_enregistre(modele, dossier):
    """Un adaptateur sans apprentissage, enregistré par peft."""
    modeles_avec_lora(modele).save_pretrained(dossier)
    return dossier


def test_un_dossier_sans_adaptateur_est_refuse(petit, tmp_path):
    with pytest.raises(ErreurFabrique, match="il manque adapter_config.json"):
        fabrique.charger_adaptateur(petit[1], tmp_path)


def test_un_adaptateur_appris_ailleurs_est_refuse(petit, tokenizer, tmp_path):
    torch.manual_seed(0)
    autre = FalconForCausalLM(petite_configuration(tokenizer, hidden_size=128))
    dossier = adaptateur_enregistre(autre, tmp_path / "adaptateur")
    with pytest.raises(ErreurFabrique, match="ne s’applique pas à ce modèle"):
        fabrique.charger_adaptateur(petit[1], dossier)


def test_un_adaptateur_coupe_est_refuse(dossier_petit, petit, tmp_path):
    dossier = adaptateur_enregistre(petit[1], tmp_path / "adaptateur")
    fichier = dossier / "adapter_model.safetensors"
    fichier.write_bytes(fichier.read_bytes()[:200])
    _, neuf = fabrique.charger(dossier_petit, silencieux=True)
    with pytest.raises(ErreurFabrique, match="adaptateur") as erreur:
        fabrique.charger_adaptateur(neuf, dossier)
    assert erreur.value.code == DONNEES


# ---------------------------------------------------------------- le format GPTQ


@pytest.mark.skipif(
    importlib.util.find_spec("gptqmodel") is not None, reason="gptqmodel est installé"
)
def test_sans_gptqmodel_le_message_dit_quoi_installer(dossier_petit):
    with pytest.raises(ErreurFabrique, match="GPTQ n’est pas installée") as erreur:
        fabrique.charger(dossier_petit, quantification="gptq", silencieux=True)
    assert "fabrique[gptq]" in erreur.value.remede


def test_un_point_gptq_au_format_de_2023_se_lit_apprend_et_repond(
    tokenizer, corpus, tmp_path, monkeypatch
):
    """Un petit Falcon quantifié par gptqmodel, rangé comme en 2023."""
    # Sans cela, gptqmodel échoue sur une machine à deux cœurs.
    monkeypatch.setenv("GPTQMODEL_CPU_WORKERS", "2")
    gptqmodel = pytest.importorskip("gptqmodel", reason="extra [gptq] non installé")
    torch.manual_seed(0)
    origine = enregistrer(
        FalconForCausalLM(petite_configuration(tokenizer)).half(), tokenizer, tmp_path / "origine"
    )
    reglages = gptqmodel.QuantizeConfig(bits=4, group_size=64, desc_act=False)
    with reparation_falcon():
        a_quantifier = gptqmodel.GPTQModel.load(str(origine), reglages)
        a_quantifier.quantize([e["instruction"] + e["output"] for e in corpus], batch_size=1)
    dossier = tmp_path / "gptq"
    a_quantifier.save(str(dossier))
    # Le rangement de 2023 : un nom de poids à lui, des réglages hors de config.json.
    (dossier / "model.safetensors").rename(dossier / "gptq_model-4bit-64g.safetensors")
    config = json.loads((dossier / "config.json").read_text(encoding="utf-8"))
    config.pop("quantization_config")
    (dossier / "config.json").write_text(json.dumps(config), encoding="utf-8")
    (dossier / "quantize_config.json").write_text(
        json.dumps({"bits": 4, "group_size": 64, "damp_percent": 0.01, "desc_act": False}),
        encoding="utf-8",
    )
    tokenizer.save_pretrained(dossier)
    tok, modele = fabrique.charger(dossier, quantification="gptq", silencieux=True)
    assert len(couches_quatre_bits(modele)) == 8
    resultat = fabrique.entrainer(
        modele, tok, corpus, fabrique.Reglages(epochs=0.3, val_set_size=0), tmp_path / "adaptateur"
    )
    assert resultat.couches_4bits == 8
    assert isinstance(
        fabrique.generer(resultat.modele, tok, "Oui ?", max_new_tokens=4, afficher=False), str
    )


def test_un_telechargement_montre_sa_barre_et_le_chargement_se_tait():
    """14 Go sans un signe de vie passeraient pour une panne."""
    transformers.utils.logging.enable_progress_bar()
    parler_moins()
    assert not are_progress_bars_disabled()
    assert not transformers.utils.logging.is_progress_bar_enabled()
