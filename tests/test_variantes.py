"""Les façons d'apprendre derrière un seul réglage, et les lots sans travail inutile."""

import json
import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings, strategies as st
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

import fabrique
from fabrique.entrainement import Reglages
from fabrique.entrainement.exemples import LotSansPerteInutile, exemples_en_jetons
from fabrique.evaluation import pertes
from fabrique.socle.erreurs import ErreurFabrique

REGLAGES = Reglages(
    batch_size=4, mbatch_size=4, epochs=2, learning_rate=1e-2, warmup_steps=1, val_set_size=0
)
#: Entrées et sorties de chaque couche des deux blocs du petit Falcon.
COUCHES = {"query_key_value": (64, 96), "dense": (64, 64), "h_4h": (64, 256), "4h_h": (256, 64)}


def matrices(rang, *noms):
    """Nombres appris : A (rang × entrées) et B (sorties × rang), dans chacun des deux blocs."""
    return sum(2 * rang * (COUCHES[nom][0] + COUCHES[nom][1]) for nom in noms or COUCHES)


#: Un réglage, et combien de nombres il apprend, comptés à la main.
VARIANTES = {
    "query_key_value": ({}, matrices(8, "query_key_value")),
    "toutes les couches": ({"target_modules": "all-linear"}, matrices(8)),
    "rang 4": ({"lora_r": 4}, matrices(4, "query_key_value")),
    "rang 64": ({"lora_r": 64}, matrices(64, "query_key_value")),
    "rsLoRA": ({"methode": "rslora", "lora_r": 64}, matrices(64, "query_key_value")),
    # DoRA ajoute une longueur par sortie.
    "DoRA": ({"methode": "dora"}, matrices(8, "query_key_value") + 2 * 96),
}


@pytest.mark.parametrize("nom", VARIANTES)
def test_chaque_variante_apprend_ce_qu_on_a_compte_et_fait_baisser_la_perte(
    dossier_petit, corpus, tmp_path, nom
):
    changements, parametres = VARIANTES[nom]
    tokenizer, modele = fabrique.charger(dossier_petit, silencieux=True)
    avant = pertes(modele, tokenizer, corpus).mean()
    resultat = fabrique.entrainer(
        modele, tokenizer, corpus, replace(REGLAGES, **changements), tmp_path
    )
    assert resultat.parametres_entraines == parametres
    assert pertes(resultat.modele, tokenizer, corpus).mean() < avant
    # Relu par la fonction publique, l'adaptateur répond pareil.
    relu = fabrique.charger_adaptateur(
        fabrique.charger(dossier_petit, silencieux=True)[1], tmp_path
    )
    ids = torch.tensor([[5, 6, 7]])
    with torch.no_grad():
        torch.testing.assert_close(
            relu.eval()(input_ids=ids).logits, resultat.modele(input_ids=ids).logits
        )


@pytest.mark.parametrize(
    ("methode", "echelle"), [("lora", 16 / 64), ("rslora", 16 / math.sqrt(64))]
)
def test_l_echelle_de_rslora_est_en_racine_du_rang(
    dossier_petit, corpus, tmp_path, methode, echelle
):
    tokenizer, modele = fabrique.charger(dossier_petit, silencieux=True)
    reglages = replace(REGLAGES, methode=methode, lora_r=64, epochs=0.3)
    resultat = fabrique.entrainer(modele, tokenizer, corpus, reglages, tmp_path)
    couche = resultat.modele.get_submodule(
        "base_model.model.transformer.h.0.self_attention.query_key_value"
    )
    assert couche.scaling["default"] == pytest.approx(echelle)


def test_apprendre_tous_les_poids_donne_un_modele_entier(dossier_petit, corpus, tmp_path, capsys):
    """Le dossier se recharge seul, et un second lancement le relit."""
    tokenizer, modele = fabrique.charger(dossier_petit, "aucune", silencieux=True)
    avant = pertes(modele, tokenizer, corpus).mean()
    reglages = replace(REGLAGES, methode="complet", learning_rate=3e-3)
    resultat = fabrique.entrainer(modele, tokenizer, corpus, reglages, tmp_path)
    assert resultat.parametres_entraines == sum(p.numel() for p in modele.parameters())
    apres = pertes(resultat.modele, tokenizer, corpus)
    assert apres.mean() < avant
    assert "modèle dans" in str(resultat)
    assert "Notice du modèle" in (tmp_path / "README.md").read_text(encoding="utf-8")
    seul = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32)
    assert pertes(seul, tokenizer, corpus) == pytest.approx(apres, abs=1e-5)
    assert str(tmp_path.parent) not in (tmp_path / "config.json").read_text(encoding="utf-8")
    tokenizer, neuf = fabrique.charger(dossier_petit, "aucune", silencieux=True)
    capsys.readouterr()
    encore = fabrique.entrainer(neuf, tokenizer, corpus, reglages, tmp_path)
    assert "Tout est déjà fait : le modèle est relu" in capsys.readouterr().out
    assert pertes(encore.modele, tokenizer, corpus) == pytest.approx(apres, abs=1e-5)


def test_tous_les_poids_d_un_modele_quantifie_ne_s_apprennent_pas(petit, corpus, tmp_path):
    tokenizer, modele = petit
    with pytest.raises(ErreurFabrique, match="32 bits, non quantifié") as erreur:
        fabrique.entrainer(
            modele, tokenizer, corpus, replace(REGLAGES, methode="complet"), tmp_path
        )
    assert erreur.value.champ == "methode"


def test_une_methode_inconnue_est_refusee():
    with pytest.raises(ErreurFabrique, match="« qlora » n’existe pas") as erreur:
        Reglages(methode="qlora")
    assert erreur.value.champ == "methode"


# ---------------------------------------------------------------- les lots groupés


@pytest.fixture(scope="module")
def en_32_bits(dossier_petit):
    tokenizer, modele = fabrique.charger(dossier_petit, "aucune", silencieux=True)
    return tokenizer, modele.eval()


def pertes_du_lot(modele, lot):
    """Perte de chaque exemple d'un lot, en moyenne sur ses étiquettes apprises."""
    lot = dict(lot)
    etiquettes = lot.pop("labels")[:, 1:]
    with torch.no_grad():
        logits = modele(**lot).logits[:, :-1]
    par_jeton = torch.nn.functional.cross_entropy(
        logits.transpose(1, 2), etiquettes, reduction="none"
    )
    return par_jeton.sum(dim=1) / (etiquettes != -100).sum(dim=1)


@settings(max_examples=20)
@given(rangs=st.lists(st.integers(0, 10), min_size=2, max_size=8))
def test_un_lot_groupe_donne_la_perte_de_chaque_exemple_seul(en_32_bits, corpus, rangs):
    """À 1e-4 près en 32 bits : ni le remplissage ni la coupe des étiquettes n'y changent rien."""
    tokenizer, modele = en_32_bits
    exemples = list(exemples_en_jetons(corpus, tokenizer, 256)[0])
    lot = LotSansPerteInutile(tokenizer, modele)([dict(exemples[rang]) for rang in rangs])
    seuls = torch.cat([perte_seule(modele, exemples[rang]) for rang in rangs])
    torch.testing.assert_close(pertes_du_lot(modele, lot), seuls, rtol=0, atol=1e-4)


def perte_seule(modele, exemple):
    """Sans rien de nous : l'exemple nu, et la perte que transformers calcule."""
    entrees = {cle: torch.tensor([exemple[cle]]) for cle in ("input_ids", "labels")}
    with torch.no_grad():
        return modele(**entrees).loss[None]


def test_aucune_prediction_n_est_faite_pour_la_question(en_32_bits, corpus):
    """La tête ne travaille qu'à partir du jeton qui précède la première réponse du lot."""
    tokenizer, modele = en_32_bits
    exemples = list(exemples_en_jetons(corpus, tokenizer, 256)[0])[:4]
    lot = LotSansPerteInutile(tokenizer, modele)([dict(e) for e in exemples])
    reponse_la_plus_longue = max(sum(e != -100 for e in ex["labels"]) for ex in exemples)
    assert lot["logits_to_keep"] == reponse_la_plus_longue + 1
    with torch.no_grad():
        assert modele(**lot).logits.shape[1] == reponse_la_plus_longue + 1


def test_un_modele_qui_ne_sait_pas_couper_recoit_le_lot_entier(en_32_bits, corpus):
    tokenizer, _ = en_32_bits
    ancien = torch.nn.Linear(2, 2)  # son « forward » ne connaît que « input »
    exemples = list(exemples_en_jetons(corpus, tokenizer, 256)[0])[:2]
    lot = LotSansPerteInutile(tokenizer, ancien)([dict(e) for e in exemples])
    assert "logits_to_keep" not in lot
    assert lot["labels"].shape == lot["input_ids"].shape


def test_le_rapport_dit_la_methode(dossier_petit, corpus, tmp_path):
    tokenizer, modele = fabrique.charger(dossier_petit, silencieux=True)
    reglages = replace(REGLAGES, methode="dora", epochs=0.3)
    fabrique.entrainer(modele, tokenizer, corpus, reglages, tmp_path)
    rapport = json.loads((tmp_path / "rapport.json").read_text(encoding="utf-8"))
    assert rapport["reglages"]["methode"] == "dora"
    assert load_file(tmp_path / "adapter_model.safetensors")
    assert "DoRA" in (tmp_path / "README.md").read_text(encoding="utf-8")
