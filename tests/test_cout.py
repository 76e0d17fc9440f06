"""L'estimation des coûts : à la main, sourcée, et confrontée à la mesure."""

import json
import re
from dataclasses import replace

import pytest
from hypothesis import given, strategies as st
from transformers import FalconConfig, LlamaConfig

import fabrique
from fabrique.ligne_de_commande import principal
from fabrique.machine.cartes import CARTES, CO2_FRANCE, carte_de, co2_estime
from fabrique.machine.profil import POCHE, T4
from fabrique.modeles.gabarits import exemple_en_jetons
from fabrique.modeles.tokenizer import charger_tokenizer
from fabrique.recettes.cout import (
    CONFIGURATION_7B,
    _configuration_de_falcon,
    _falcon,
    _sur_un_squelette,
    compter,
    confronter,
    estimer,
    prix_api,
)
from fabrique.socle.emplacements import FALCON_POCHE
from fabrique.socle.erreurs import DONNEES, ErreurFabrique
from fabrique.socle.nombres import en_minutes

REGLAGES_T4 = fabrique.Reglages.du_profil(T4)


def test_l_exemple_de_2023_coute_2_40_dollars():
    assert prix_api(100_000, 0.008, epoques=3) == pytest.approx(2.40)


def test_falcon_7b_se_compte_comme_au_carnet_03():
    plan = compter("falcon-7b-instruct", REGLAGES_T4)
    assert plan.blocs == 6_625_951_744
    assert plan.autres == 295_768_960
    assert plan.adaptateur == 2_359_296


@pytest.mark.parametrize("config", [CONFIGURATION_7B, None, {"ffn_hidden_size": 96}])
def test_un_falcon_se_compte_sur_le_papier_comme_sur_un_squelette(tmp_path, config):
    """Le 7B, le Falcon de poche, et un autre dont la couche cachée n'est pas quatre fois large."""
    taille = {"hidden_size": 64, "num_attention_heads": 4, "num_hidden_layers": 2, "vocab_size": 90}
    lue = (
        FalconConfig(**{**taille, **config})
        if config
        else FalconConfig.from_pretrained(FALCON_POCHE)
    )
    lue.save_pretrained(tmp_path)
    papier, squelette = _falcon(_configuration_de_falcon(tmp_path)), _sur_un_squelette(tmp_path)
    assert sorted(papier[0]) == sorted(squelette[0])
    assert papier[1] == squelette[1]


def test_un_autre_modele_se_compte_sur_son_squelette(tmp_path):
    """Un Llama : d'autres couches, et moins de têtes de clés que de questions."""
    LlamaConfig(
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        vocab_size=90,
    ).save_pretrained(tmp_path)
    assert _configuration_de_falcon(tmp_path) is None
    plan = compter(tmp_path, fabrique.Reglages(lora_r=2, target_modules=("q_proj",)))
    assert plan.blocs == 2 * (2 * 64 * 64 + 2 * 64 * 32 + 3 * 64 * 96)
    assert plan.adaptateur == 2 * 2 * (64 + 64)
    assert (plan.couches, plan.largeur, plan.tetes, plan.vocabulaire) == (2, 64, 4, 90)


def test_le_plancher_de_la_recette_de_2023_est_celui_de_la_conception():
    """7,1 TFLOP par exemple de 256 jetons, 10,6 avec recalcul ; 65 TFLOPS ; 4 800 exemples."""
    jetons = 4800 * 256
    sans = estimer("falcon-7b", "t4", fabrique.Reglages(epochs=1), jetons=jetons)
    recalcul = fabrique.Reglages.du_profil(T4, recalcul=True)
    avec = estimer("falcon-7b", "t4", recalcul, jetons=jetons)
    assert sans.plancher == pytest.approx(4800 * 7.09 / 65 / 60, rel=0.01)
    assert avec.plancher == pytest.approx(1.5 * sans.plancher)
    assert sans.prudent == pytest.approx(8 * sans.plancher)
    assert sans.euros is None
    assert sans.tient


def test_sans_recalcul_les_activations_sont_celles_qu_on_a_comptees():
    """4,3 Gio gardés pour 2 × 256 jetons dans les 32 blocs, plongements en 16 bits compris, mesurés."""
    une, deux = (
        estimer("falcon-7b", "t4", fabrique.Reglages(batch_size=n, mbatch_size=n), jetons=1).memoire
        for n in (1, 2)
    )
    logits = 2 * 4 * 256 * 65024
    plongements = 2 * 65024 * 4544
    assert 2 * (deux - une - logits) + plongements == pytest.approx(4.3 * 1024**3, rel=0.02)


def test_l_a100_de_2023_retrouve_sa_duree_mesuree():
    """874 s hors évaluations : l'hypothèse de rendement en vient, à 1 % près."""
    vue = estimer("falcon-7b", "a100", fabrique.Reglages(), jetons=4800 * 256)
    assert 60 * vue.prudent == pytest.approx(874, rel=0.01)


def test_euros_energie_et_co2_suivent_la_duree_prudente():
    e = estimer("falcon-7b", "t4", REGLAGES_T4, jetons=100_000, prix_heure=0.6)
    assert e.euros == pytest.approx(0.6 * e.prudent / 60)
    assert e.kwh == pytest.approx(0.070 * e.prudent / 60)
    assert e.co2 == pytest.approx(e.kwh * CO2_FRANCE)
    assert CO2_FRANCE == 56.039


def test_les_jetons_du_corpus_sont_ceux_de_l_apprentissage(corpus, fichier_corpus):
    """Un dixième mis de côté, comme le fera l'apprentissage."""
    reglages = fabrique.Reglages(val_set_size=0)
    tout = estimer("falcon-poche", "cpu", reglages, str(fichier_corpus)).jetons
    tokenizer = charger_tokenizer("falcon-poche")
    attendu = sum(len(exemple_en_jetons(tokenizer, e, 256)["input_ids"]) for e in corpus)
    assert tout == attendu
    mis_de_cote = estimer("falcon-poche", "cpu", fabrique.Reglages(), str(fichier_corpus)).jetons
    assert mis_de_cote == pytest.approx(0.9 * attendu, abs=1)


@pytest.mark.parametrize("recalcul", [False, True])
@pytest.mark.parametrize("machine", sorted(CARTES))
def test_l_estimation_se_refait_avec_les_hypotheses_qu_elle_dit(machine, recalcul):
    """Qui lit le tableau retrouve la durée, l'énergie et le CO₂ : aucun nombre n'est dit pour un autre."""
    reglages = replace(REGLAGES_T4, recalcul=recalcul)
    e = estimer("falcon-7b", machine, reglages, jetons=10**7)
    dites = "\n".join(e.hypotheses)

    def dit(unite: str, avant: str = "") -> float:
        lu = re.search(rf"{avant}([\d,]+)\s{unite}", dites)
        return float(lu[1].replace(",", "."))

    plan = compter("falcon-7b", reglages)
    secondes = dit("calculs par") * (plan.blocs + plan.autres) * 10**7 * e.epoques
    secondes /= dit("TFLOPS") * 1e12
    assert e.plancher == pytest.approx(secondes / 60)
    assert e.prudent == pytest.approx(e.plancher / (dit("%", "rendement prudent ") / 100))
    assert e.kwh == pytest.approx(dit("W") / 1000 * e.prudent / 60)
    assert e.co2 == pytest.approx(e.kwh * dit("g de CO₂"), rel=1e-3)  # dit au dixième


def test_un_modele_dont_on_n_a_pas_le_tokenizer_le_dit():
    """Compté avec un autre tokenizer, un corpus donne d'autres jetons : la première hypothèse le dit."""
    ailleurs, ici = (
        estimer(modele, "t4", REGLAGES_T4, corpus="demarches").hypotheses
        for modele in ("falcon-7b", "falcon-poche")
    )
    assert "celui de falcon-7b est injoignable" in ailleurs[0]
    assert ici[0].endswith("tokenizer de falcon-poche")


def test_un_modele_trop_grand_ne_tient_pas():
    large = fabrique.Reglages(mbatch_size=64, batch_size=64, cutoff_len=2048)
    assert not estimer("falcon-7b", "t4", large, jetons=1000).tient


@given(jetons=st.integers(1, 10**9), machine=st.sampled_from(sorted(CARTES)))
def test_le_plancher_ne_depasse_jamais_le_cas_prudent(jetons, machine):
    e = estimer("falcon-poche", machine, fabrique.Reglages.du_profil(POCHE), jetons=jetons)
    assert 0 < e.plancher <= e.prudent


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"machine": "abaque", "jetons": 10}, "« abaque » est inconnue"),
        ({"machine": "t4"}, "un corpus ou un nombre de jetons"),
    ],
)
def test_une_demande_incomplete_est_refusee(options, message):
    with pytest.raises(ErreurFabrique, match=message):
        estimer("falcon-poche", reglages=fabrique.Reglages(), **options)


def test_l_estimation_se_confronte_a_la_mesure(petit, corpus, tmp_path):
    tokenizer, modele = petit
    reglages = fabrique.Reglages(val_set_size=0, epochs=0.3)
    resultat = fabrique.entrainer(modele, tokenizer, corpus, reglages, tmp_path / "a")
    estimation = estimer("falcon-poche", "cpu", reglages, jetons=500)
    direct = confronter(estimation, resultat)
    assert confronter(estimation, tmp_path / "a" / "rapport.json") == direct
    assert "mesuré" in direct
    assert "estimé" in direct


@pytest.mark.parametrize(
    ("minutes", "ecrit"), [(0.001, "1 s"), (0.5, "30 s"), (12.3, "12 min"), (210, "3,5 h")]
)
def test_une_duree_se_lit(minutes, ecrit):
    assert en_minutes(minutes) == ecrit


def test_la_commande_imprime_un_tableau_ou_un_objet(capsys):
    options = ["cout", "--jetons", "100000", "--epochs", "3", "--prix_api", "0.008"]
    assert principal(options) == 0
    dit = capsys.readouterr().out
    assert "estimé" in dit
    assert "2,40" in dit
    assert principal([*options, "--json"]) == 0
    objet = json.loads(capsys.readouterr().out)
    assert objet["estime"] is True
    assert objet["api"]["API, apprentissage"] == pytest.approx(2.40)
    assert objet["hypotheses"]


def test_la_commande_refuse_une_machine_inconnue(capsys):
    assert principal(["cout", "--jetons", "10", "--machine", "abaque", "--json"]) == DONNEES
    assert "abaque" in json.loads(capsys.readouterr().out)["erreur"]


@pytest.mark.parametrize(
    ("gpu", "carte"),
    [
        (None, "cpu"),
        ("Tesla T4", "t4"),
        ("NVIDIA L4", "l4"),
        ("NVIDIA A100-SXM4-40GB", "a100"),
        ("NVIDIA L40S", None),
    ],
)
def test_la_carte_se_reconnait_a_son_nom(gpu, carte):
    assert carte_de(gpu) == carte


def test_le_carbone_d_une_duree_a_la_main():
    """Une heure de T4 à 70 W : 0,07 kWh."""
    assert co2_estime("Tesla T4", 3600) == pytest.approx(0.07 * CO2_FRANCE)
    assert co2_estime("carte inconnue", 3600) is None
