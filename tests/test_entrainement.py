"""L'apprentissage : le bon calcul, le même ordre, et rien de perdu quand il s'interrompt."""

import json
import math
import random
import re
import shutil
from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest
import torch
from datasets import Dataset
from hypothesis import given, strategies as st
from safetensors.torch import load_file, save_file

import fabrique
from fabrique import entrainement
from fabrique.corpus import lire_corpus, repartir
from fabrique.entrainement import OrdreParLongueur, Reglages, dernier_point_de_reprise
from fabrique.entrainement.adaptateur import poser, verifier_modele
from fabrique.evaluation import pertes
from fabrique.modeles.gabarits import FIN, exemple_en_jetons
from fabrique.socle import suivi
from fabrique.socle.erreurs import DONNEES, MACHINE, ErreurFabrique

#: Onze exemples, lots de deux, deux époques : douze pas ; le hasard (extinction) est de la partie.
REGLAGES = {
    "epochs": 2,
    "save_steps": 2,
    "save_total_limit": 20,
    "logging_steps": 1,
    "warmup_steps": 1,
    "val_set_size": 0,
    "learning_rate": 1e-2,
}
PAS = 12


# ---------------------------------------------------------------- l'ordre des exemples

longueurs_tirees = st.lists(st.integers(1, 300), min_size=1, max_size=250)


@given(longueurs=longueurs_tirees, lot=st.integers(1, 8), graine=st.integers(0, 99))
def test_chaque_epoque_lit_chaque_exemple_une_fois(longueurs, lot, graine):
    ordre = OrdreParLongueur(longueurs, lot, graine)
    for epoque in range(3):
        ordre.set_epoch(epoque)
        assert sorted(ordre) == list(range(len(longueurs)))


@given(longueurs=longueurs_tirees, epoque=st.integers(0, 5), bruit=st.integers(0, 99))
def test_l_ordre_ne_depend_que_de_la_graine_et_de_l_epoque(longueurs, epoque, bruit):
    def tirer():
        ordre = OrdreParLongueur(longueurs, 2, 42)
        ordre.set_epoch(epoque)
        return list(ordre)

    premier = tirer()
    torch.manual_seed(bruit)
    np.random.seed(bruit)
    random.seed(bruit)
    assert tirer() == premier


def test_l_ordre_change_avec_la_graine_et_avec_l_epoque():
    longueurs = list(range(100))

    def tirer(graine, epoque):
        ordre = OrdreParLongueur(longueurs, 2, graine)
        ordre.set_epoch(epoque)
        return tuple(ordre)

    tirages = {tirer(graine, epoque) for graine in (1, 2, 3) for epoque in (0, 1, 2)}
    assert len(tirages) == 9


def remplissage(ordre, longueurs, lot):
    """Jetons de remplissage d'une époque, comptés lot par lot."""
    lots = [ordre[i : i + lot] for i in range(0, len(ordre), lot)]
    return sum(max(longueurs[i] for i in lot) - longueurs[j] for lot in lots for j in lot)


@pytest.mark.parametrize("lot", [2, 4, 8])
def test_moins_de_remplissage_qu_au_hasard(lot):
    hasard = random.Random(0)
    longueurs = [hasard.randint(10, 300) for _ in range(500)]
    au_hasard = list(range(500))
    hasard.shuffle(au_hasard)
    range_par_longueur = list(OrdreParLongueur(longueurs, lot, 0))
    assert remplissage(range_par_longueur, longueurs, lot) < 0.2 * remplissage(
        au_hasard, longueurs, lot
    )


# ---------------------------------------------------------------- le calcul


def perte_a_la_main(modele, exemples):
    """Moyenne, sur tous les jetons de réponse du pas, de −ln p, un exemple à la fois."""
    nats, jetons = 0.0, 0
    with torch.no_grad():
        for exemple in exemples:
            logits = modele(input_ids=torch.tensor([exemple["input_ids"]])).logits[0].double()
            probabilites = logits.exp() / logits.exp().sum(dim=1, keepdim=True)
            for position, etiquette in enumerate(exemple["labels"][1:]):
                if etiquette != -100:
                    nats -= probabilites[position, etiquette].log().item()
                    jetons += 1
    return nats / jetons


@pytest.mark.parametrize(("batch_size", "mbatch_size"), [(2, 2), (4, 2), (4, 1), (20, 4)])
def test_la_perte_du_premier_pas_est_celle_d_un_calcul_a_la_main(
    dossier_petit, corpus, tmp_path, batch_size, mbatch_size
):
    """Y compris quand un pas accumule plusieurs petits lots de longueurs inégales."""
    tokenizer, modele = fabrique.charger(dossier_petit, silencieux=True)
    reglages = Reglages(
        batch_size=batch_size,
        mbatch_size=mbatch_size,
        lora_dropout=0,
        logging_steps=1,
        val_set_size=0,
    )
    exemples = [
        exemple_en_jetons(tokenizer, e, reglages.cutoff_len) for e in repartir(corpus, 0)[0]
    ]
    ordre = OrdreParLongueur([len(e["input_ids"]) for e in exemples], batch_size, reglages.graine)
    # L'adaptateur part de zéro : au premier pas, le modèle est la base.
    attendue = perte_a_la_main(modele.eval(), [exemples[i] for i in list(ordre)[:batch_size]])
    resultat = fabrique.entrainer(modele, tokenizer, corpus, reglages, tmp_path / "s")
    assert resultat.historique[0]["perte"] == pytest.approx(attendue, abs=1e-4)
    assert resultat.historique[0]["taux"] == 0  # la montée part de zéro


def test_la_validation_se_mesure_a_chaque_releve_et_ne_change_rien(dossier_petit, corpus, tmp_path):
    """La perte mise de côté est celle d'un calcul à la main ; les poids appris sont les mêmes."""
    tokenizer, modele = fabrique.charger(dossier_petit, silencieux=True)
    reglages = Reglages(
        learning_rate=1e-2, logging_steps=2, val_set_size=0, lora_dropout=0.1, warmup_steps=0
    )
    appris, mis_de_cote = corpus.select(range(8)), corpus.select(range(8, 11))
    poids, resultats = [], []
    for nom, validation in (("sans", None), ("avec", mis_de_cote)):
        resultats.append(
            fabrique.entrainer(modele, tokenizer, appris, reglages, tmp_path / nom, validation)
        )
        poids.append(load_file(tmp_path / nom / "adapter_model.safetensors"))
    sans, avec = (resultat.historique for resultat in resultats)
    assert all(torch.equal(poids[0][cle], poids[1][cle]) for cle in poids[0])
    assert [{c: v for c, v in releve.items() if c != "validation"} for releve in avec] == sans
    exemples = [exemple_en_jetons(tokenizer, e, reglages.cutoff_len) for e in mis_de_cote]
    attendue = perte_a_la_main(resultats[1].modele, exemples)
    assert avec[-1]["validation"] == pytest.approx(attendue, abs=1e-4)
    assert len({releve["validation"] for releve in avec}) == len(avec) == 2


def test_les_parametres_entraines_se_comptent_a_la_main(reference):
    """Une matrice A (8 × 64) et une B (96 × 8) par couche query_key_value, deux blocs."""
    _, resultat = reference
    assert resultat.parametres_entraines == 2 * (8 * 64 + (64 + 2 * 16) * 8)


def test_l_apprentissage_fait_baisser_la_perte(reference, dossier_petit, corpus):
    _, resultat = reference
    tokenizer, base = fabrique.charger(dossier_petit, silencieux=True)
    avant = pertes(base, tokenizer, corpus)
    apres = pertes(resultat.modele, tokenizer, corpus)
    assert apres.mean() < avant.mean() - 0.01


# ---------------------------------------------------------------- reprendre


@pytest.fixture(scope="module")
def reference(dossier_petit, corpus, tmp_path_factory):
    """L'apprentissage mené d'une traite : (son dossier, son résultat)."""
    sortie = tmp_path_factory.mktemp("reference") / "adaptateur"
    tokenizer, modele = fabrique.charger(dossier_petit, silencieux=True)
    resultat = fabrique.entrainer(modele, tokenizer, corpus, Reglages(**REGLAGES), sortie)
    assert resultat.pas == PAS
    return sortie, resultat


def memes_poids(un, autre):
    """Les deux adaptateurs sont identiques, bit à bit."""
    a, b = (load_file(Path(d) / "adapter_model.safetensors") for d in (un, autre))
    return a.keys() == b.keys() and all(torch.equal(a[nom], b[nom]) for nom in a)


def relancer(dossier_petit, corpus, sortie, **changements):
    """La même cellule, tapée de nouveau."""
    tokenizer, modele = fabrique.charger(dossier_petit, silencieux=True)
    reglages = Reglages(**{**REGLAGES, **changements})
    return fabrique.entrainer(modele, tokenizer, corpus, reglages, sortie)


def interrompu(reference, destination):
    """Une copie de l'apprentissage, comme s'il s'était arrêté juste avant la fin."""
    shutil.copytree(reference[0], destination)
    for fichier in ("rapport.json", "adapter_model.safetensors", "adapter_config.json"):
        (destination / fichier).unlink()
    return destination


@pytest.mark.parametrize("pas", [5, 11])
def test_interrompu_au_clavier_puis_relance_l_adaptateur_est_identique(
    reference, dossier_petit, corpus, tmp_path, monkeypatch, pas
):
    sortie = tmp_path / "adaptateur"
    fin_de_pas = entrainement.Suivi.on_step_end

    def interrompre(self, args, state, control, **autres):
        fin_de_pas(self, args, state, control, **autres)
        if state.global_step == pas:
            raise KeyboardInterrupt

    with monkeypatch.context() as provisoire:
        provisoire.setattr(entrainement.Suivi, "on_step_end", interrompre)
        with pytest.raises(ErreurFabrique, match=f"interrompu au pas {pas}"):
            relancer(dossier_petit, corpus, sortie)
    relancer(dossier_petit, corpus, sortie)
    assert memes_poids(sortie, reference[0])


def test_une_reprise_n_ouvre_qu_une_barre_et_ne_compte_que_ses_pas(
    reference, dossier_petit, corpus, tmp_path, monkeypatch
):
    """Arrêté au pas 6, relancé : ni barre vide au-dessus, ni pas d’un autre dans les durées."""
    sortie = interrompu(reference, tmp_path / "adaptateur")
    for pas in (8, 10, 12):
        shutil.rmtree(sortie / f"checkpoint-{pas}")
    ouvertes = []

    class Temoin(suivi.Barre):
        def __init__(self, total, titre, deja=0):
            ouvertes.append((total, titre, deja))
            super().__init__(total, titre, deja)

    monkeypatch.setattr(entrainement.avancement, "Barre", Temoin)
    resultat = relancer(dossier_petit, corpus, sortie)
    assert ouvertes == [(PAS, "Reprise", 6)]
    assert (resultat.pas, resultat.pas_faits) == (PAS, 6)
    assert resultat.secondes_par_pas == resultat.duree_s / 6
    assert str(resultat).startswith("6 des 12 pas en ")
    rapport = json.loads((sortie / "rapport.json").read_text(encoding="utf-8"))
    assert (rapport["pas"], rapport["pas_faits"]) == (PAS, 6)


def test_tout_appris_par_une_session_precedente_rien_n_est_mesure(
    reference, dossier_petit, corpus, tmp_path
):
    """Le dernier point est là : aucun pas ne se fait, et « 0,00 s par pas » serait faux."""
    resultat = relancer(dossier_petit, corpus, interrompu(reference, tmp_path / "adaptateur"))
    assert (resultat.pas, resultat.pas_faits) == (PAS, 0)
    assert math.isnan(resultat.secondes_par_pas)
    assert str(resultat).startswith("12 pas appris par une session précédente")


def couper(fichier):
    fichier.write_bytes(fichier.read_bytes()[: fichier.stat().st_size // 2])


@pytest.mark.parametrize(
    ("fichier", "abimer"),
    [
        ("adapter_model.safetensors", couper),
        ("optimizer.pt", couper),
        ("scheduler.pt", couper),
        ("trainer_state.json", couper),
        ("rng_state.pth", Path.unlink),
        ("rng_state.pth", couper),
        ("optimizer.pt", Path.unlink),
    ],
)
def test_un_point_de_reprise_abime_est_saute(reference, tmp_path, capsys, fichier, abimer):
    sortie = interrompu(reference, tmp_path / "adaptateur")
    abimer(sortie / f"checkpoint-{PAS}" / fichier)
    assert dernier_point_de_reprise(sortie) == str(sortie / f"checkpoint-{PAS - 2}")
    assert f"checkpoint-{PAS} est abîmé" in capsys.readouterr().out


def test_apres_un_point_abime_l_adaptateur_est_identique(
    reference, dossier_petit, corpus, tmp_path
):
    sortie = interrompu(reference, tmp_path / "adaptateur")
    couper(sortie / f"checkpoint-{PAS}" / "adapter_model.safetensors")
    couper(sortie / f"checkpoint-{PAS - 2}" / "optimizer.pt")
    relancer(dossier_petit, corpus, sortie)
    assert memes_poids(sortie, reference[0])


def test_sans_point_de_reprise_il_n_y_a_rien_a_reprendre(tmp_path):
    assert dernier_point_de_reprise(tmp_path) is None
    assert dernier_point_de_reprise(tmp_path / "absent") is None


def test_le_point_le_plus_recent_se_lit_en_nombre_et_non_en_lettres(reference, tmp_path):
    """checkpoint-12 suit checkpoint-8, que l'ordre des lettres mettrait après."""
    sortie = interrompu(reference, tmp_path / "adaptateur")
    assert dernier_point_de_reprise(sortie) == str(sortie / "checkpoint-12")


def test_relance_apres_la_fin_tout_est_deja_fait(
    reference, dossier_petit, corpus, tmp_path, capsys, monkeypatch
):
    sortie = tmp_path / "adaptateur"
    shutil.copytree(reference[0], sortie)
    monkeypatch.setattr(
        entrainement.EntraineurParLongueur, "train", lambda *_, **__: pytest.fail("réapprend")
    )
    resultat = relancer(dossier_petit, corpus, sortie)
    assert "Tout est déjà fait" in capsys.readouterr().out
    ancien = reference[1]
    assert resultat.en_dictionnaire() | {"jetons_par_seconde": 0} == (
        ancien.en_dictionnaire() | {"jetons_par_seconde": 0}
    )
    ids = torch.tensor([ancien.tokenizer("Où voter ?")["input_ids"]])
    with torch.no_grad():
        torch.testing.assert_close(
            resultat.modele(input_ids=ids).logits, ancien.modele(input_ids=ids).logits
        )


@pytest.mark.parametrize("changement", [{"learning_rate": 1e-3}, {"lora_r": 4}, {"graine": 7}])
def test_d_autres_reglages_dans_le_meme_dossier_sont_refuses(
    reference, dossier_petit, corpus, changement
):
    with pytest.raises(ErreurFabrique, match="autre apprentissage .*reglages") as erreur:
        relancer(dossier_petit, corpus, reference[0], **changement)
    assert (erreur.value.code, erreur.value.fichier) == (DONNEES, reference[0])


def test_d_autres_donnees_dans_le_meme_dossier_sont_refusees(reference, dossier_petit, corpus):
    with pytest.raises(ErreurFabrique, match="autre apprentissage .*donnees"):
        relancer(dossier_petit, corpus.select(range(9)), reference[0])


def test_un_autre_modele_dans_le_meme_dossier_est_refuse(reference, dossier_par_coeur, corpus):
    with pytest.raises(ErreurFabrique, match="autre apprentissage .*modele"):
        relancer(dossier_par_coeur, corpus, reference[0])


def test_les_points_de_reprise_en_trop_sont_retires(dossier_petit, corpus, tmp_path):
    relancer(dossier_petit, corpus, tmp_path, save_total_limit=2)
    assert {p.name for p in tmp_path.glob("checkpoint-*")} == {"checkpoint-10", "checkpoint-12"}


def test_l_adaptateur_final_est_celui_du_dernier_point(reference):
    assert memes_poids(reference[0], reference[0] / f"checkpoint-{PAS}")


def test_le_rapport_se_relit(reference):
    rapport = json.loads((reference[0] / "rapport.json").read_text(encoding="utf-8"))
    assert rapport["pas"] == PAS
    assert rapport["exemples"] == 11
    assert rapport["couches_4bits"] == 8
    assert [releve["pas"] for releve in rapport["historique"]] == list(range(1, PAS + 1))
    assert rapport["reglages"]["learning_rate"] == 1e-2


# ---------------------------------------------------------------- évaluer puis apprendre


def test_l_adaptateur_est_signe_sans_chemin_de_machine(reference, dossier_petit):
    sortie = reference[0]
    configuration = json.loads((sortie / "adapter_config.json").read_text(encoding="utf-8"))
    assert configuration["base_model_name_or_path"] == Path(dossier_petit).name
    notice = (sortie / "README.md").read_text(encoding="utf-8")
    assert "Notice de l’adaptateur" in notice
    assert str(Path(dossier_petit).parent) not in notice + json.dumps(configuration)


def test_evaluer_puis_entrainer_donne_le_meme_adaptateur(
    reference, dossier_petit, corpus, tmp_path
):
    """Une mesure faite avant l'apprentissage n'y change rien, fût-ce sur AVX512-BF16."""
    tokenizer, modele = fabrique.charger(dossier_petit, silencieux=True)
    pertes(modele, tokenizer, corpus)
    fabrique.generer(modele, tokenizer, "Oui ?", max_new_tokens=3, afficher=False)
    fabrique.entrainer(modele, tokenizer, corpus, Reglages(**REGLAGES), tmp_path / "s")
    assert memes_poids(tmp_path / "s", reference[0])


def test_entrainer_deux_fois_le_meme_modele_repart_de_la_base(
    reference, dossier_petit, corpus, tmp_path
):
    """L'adaptateur du premier apprentissage est retiré avant le second."""
    tokenizer, modele = fabrique.charger(dossier_petit, silencieux=True)
    premier = fabrique.entrainer(
        modele, tokenizer, corpus, Reglages(**{**REGLAGES, "graine": 7}), tmp_path / "a"
    )
    fabrique.entrainer(premier.modele, tokenizer, corpus, Reglages(**REGLAGES), tmp_path / "b")
    assert memes_poids(tmp_path / "b", reference[0])
    assert not memes_poids(tmp_path / "a", reference[0])


def test_recalculer_les_activations_ne_change_pas_l_apprentissage(dossier_petit, corpus, tmp_path):
    adaptateurs = []
    for recalcul in (False, True):
        sortie = tmp_path / str(recalcul)
        relancer(dossier_petit, corpus, sortie, recalcul=recalcul, lora_dropout=0, epochs=0.5)
        adaptateurs.append(load_file(sortie / "adapter_model.safetensors"))
    for nom, poids in adaptateurs[0].items():
        torch.testing.assert_close(adaptateurs[1][nom], poids, rtol=1e-4, atol=1e-5)


# ---------------------------------------------------------------- ce qui est refusé

Disque = namedtuple("Disque", "total used free")


def test_un_disque_trop_petit_est_refuse_avant_de_commencer(
    dossier_petit, corpus, tmp_path, monkeypatch
):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Disque(10**12, 10**12, 10_000_000))
    with pytest.raises(ErreurFabrique, match="sur le disque") as erreur:
        relancer(dossier_petit, corpus, tmp_path / "s")
    assert erreur.value.code == MACHINE
    assert not list((tmp_path / "s").glob("checkpoint-*"))


def test_un_disque_tout_juste_suffisant_est_accepte(reference, monkeypatch, tmp_path):
    """Vingt et un points (celui qu'on écrit en plus) de trois fois l'adaptateur en fp32."""
    parametres = 2 * (8 * 64 + 96 * 8)
    juste = 21 * 3 * 4 * parametres + 10_000_000
    reglages = Reglages(**REGLAGES)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Disque(juste, 0, juste))
    entrainement.verifier_disque(reference[1].modele, reglages, tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Disque(juste, 0, juste - 1))
    with pytest.raises(ErreurFabrique, match="sur le disque"):
        entrainement.verifier_disque(reference[1].modele, reglages, tmp_path)


def test_un_lot_qui_n_est_pas_multiple_est_refuse():
    with pytest.raises(ErreurFabrique, match="multiple") as erreur:
        Reglages(batch_size=3, mbatch_size=2)
    assert (erreur.value.champ, erreur.value.code) == ("batch_size", DONNEES)


#: Des réglages, des valeurs qu'ils n'acceptent pas, et ce que le remède en dit.
REFUSES = {
    "learning_rate": ((0, -1, math.nan, math.inf, "0.1", None, True), "strictement positive"),
    "epochs": ((0, -1, math.nan), "strictement positive"),
    "batch_size": ((0, -2, 2.5, math.nan), "entière, strictement positive"),
    "mbatch_size": ((0, -1, 0.5), "entière, strictement positive"),
    "cutoff_len": ((0, 15, -256, 256.0), "d’au moins 16"),
    "lora_r": ((0, -8, 8.0), "entière, strictement positive"),
    "lora_alpha": ((0, -16, math.nan, -math.inf), "strictement positive"),
    "lora_dropout": ((-0.1, 1, 1.5, math.nan), "positive ou nulle, inférieure à 1"),
    "warmup_steps": ((-1, 0.1), "entière, positive ou nulle"),
    "save_steps": ((0, -50, 0.5), "entière, strictement positive"),
    "save_total_limit": ((0, -1), "entière, strictement positive"),
    "logging_steps": ((0, -5), "entière, strictement positive"),
    "val_set_size": ((-0.1, 1.5, math.nan, math.inf), "part"),
    "graine": ((-1, 2**32, 0.5), "entière, positive ou nulle"),
    "methode": (("qlora",), "lora, rslora"),
    "target_modules": (((), "", ("",), (3,), ["a", None], None, "(query", "[a"), "couche"),
}


@pytest.mark.parametrize(
    ("champ", "valeur"), [(c, v) for c, (valeurs, _) in REFUSES.items() for v in valeurs]
)
def test_un_reglage_impossible_est_refuse_en_nommant_la_forme_acceptee(champ, valeur):
    with pytest.raises(ErreurFabrique) as refus:
        Reglages(**{champ: valeur})
    assert (refus.value.champ, refus.value.code) == (champ, DONNEES)
    assert REFUSES[champ][1] in refus.value.remede


@pytest.mark.parametrize(
    "reglages",
    [
        {"val_set_size": 0},
        {"val_set_size": 1},
        {"val_set_size": 4.0},
        {"val_set_size": 0.999},
        {"lora_dropout": 0, "warmup_steps": 0, "epochs": 0.01, "cutoff_len": 16},
        {"target_modules": ["query_key_value", "dense"]},
        {"target_modules": "all-linear"},
        {"target_modules": r".*\.(query_key_value|dense)"},
        {"learning_rate": np.float32(1e-3), "lora_r": np.int64(4)},
    ],
)
def test_des_reglages_permis_passent(reglages):
    Reglages(**reglages)


@pytest.mark.parametrize(
    ("cibles", "dit"),
    [
        # L'une des deux est juste : peft n'y verrait rien.
        (("query_key_value", "dens"), "« dens ».*dire « dense »"),
        (("query_key_values",), "« query_key_values ».*dire « query_key_value »"),
        (("Query_Key_Value",), "« Query_Key_Value »"),
        (("input_layernorm",), "« input_layernorm »"),
        (("self_attention",), "« self_attention »"),
        ("query_key_value", "expression « query_key_value »"),
        (r".*\.requete", "expression"),
    ],
)
def test_des_couches_absentes_sont_nommees_avec_la_plus_proche(
    petit, corpus, tmp_path, cibles, dit
):
    reglages = Reglages(target_modules=cibles)
    with pytest.raises(ErreurFabrique) as refus:
        fabrique.entrainer(petit[1], petit[0], corpus, reglages, tmp_path / "s")
    assert re.search(dit, str(refus.value))
    assert "query_key_value" in refus.value.remede
    assert refus.value.champ == "target_modules"


@pytest.mark.parametrize("cibles", [("self_attention.dense",), r".*\.dense", ("query_key_value",)])
def test_un_chemin_partiel_ou_une_expression_reguliere_designent_des_couches(petit, cibles):
    poser(petit[1], Reglages(target_modules=cibles))


def test_une_couche_refusee_laisse_l_adaptateur_deja_pose(petit, corpus, tmp_path):
    affine = poser(petit[1], Reglages())
    with pytest.raises(ErreurFabrique, match="« dens »"):
        fabrique.entrainer(
            affine, petit[0], corpus, Reglages(target_modules=("dens",)), tmp_path / "s"
        )
    assert any("lora_A" in nom for nom, _ in affine.named_parameters())
    verifier_modele(affine, Reglages(target_modules=("query_key_value", "dense")))


def test_une_longueur_au_dela_de_la_fenetre_est_refusee(petit, corpus, tmp_path):
    fenetre = petit[1].config.max_position_embeddings
    with pytest.raises(ErreurFabrique, match=rf"la fenêtre du modèle \({fenetre}\)") as refus:
        fabrique.entrainer(
            petit[1], petit[0], corpus, Reglages(cutoff_len=fenetre + 1), tmp_path / "s"
        )
    assert refus.value.champ == "cutoff_len"
    assert not (tmp_path / "s").exists()


def test_une_couche_inconnue_est_refusee(petit, corpus, tmp_path):
    reglages = Reglages(target_modules=("q_proj",))
    with pytest.raises(ErreurFabrique, match="q_proj") as erreur:
        fabrique.entrainer(petit[1], petit[0], corpus, reglages, tmp_path / "s")
    assert erreur.value.champ == "target_modules"


def test_un_corpus_sans_exemple_a_apprendre_est_refuse(petit, corpus, tmp_path):
    sans = corpus.map(lambda exemple: {"jeu": "test"}, keep_in_memory=True)
    with pytest.raises(ErreurFabrique, match="rien à apprendre"):
        fabrique.entrainer(petit[1], petit[0], lire_corpus(sans), Reglages(), tmp_path / "s")


def test_un_dossier_de_sortie_impossible_est_refuse(petit, corpus, tmp_path):
    (tmp_path / "fichier").write_text("déjà là", encoding="utf-8")
    with pytest.raises(ErreurFabrique, match="dossier de sortie") as erreur:
        fabrique.entrainer(petit[1], petit[0], corpus, Reglages(), tmp_path / "fichier")
    assert erreur.value.code == MACHINE
    assert (tmp_path / "fichier").read_text(encoding="utf-8") == "déjà là"


# ---------------------------------------------------------------- coupés, écartés, comptés


def demander(nombre, lettre="a"):
    return {"instruction": f"Q{lettre} " + "mot " * nombre, "input": "", "output": "Une réponse."}


def test_les_exemples_coupes_et_ecartes_se_comptent_et_le_compte_tombe_juste(
    dossier_petit, tmp_path, capsys
):
    """Trois tiennent, dont un tout juste ; deux sont coupés ; une question prend toute la place."""
    tokenizer, modele = fabrique.charger(dossier_petit, silencieux=True)
    longueur = lambda exemple: len(exemple_en_jetons(tokenizer, exemple)["input_ids"])  # noqa: E731
    exemples = [demander(2, "a"), demander(3, "b"), demander(20, "juste")]
    limite = longueur(exemples[2])
    assert max(map(longueur, exemples)) == limite
    long_a_dire = {"instruction": "Dites.", "input": "", "output": "encore " * limite}
    juste_trop = {**exemples[2], "output": "Une réponse. Et"}
    assert longueur(juste_trop) == limite + 1  # il n'y manque que le jeton de fin
    exemples += [long_a_dire, juste_trop, demander(2 * limite, "c")]
    corpus = fabrique.lire_corpus(Dataset.from_list(exemples))
    reglages = Reglages(cutoff_len=limite, val_set_size=0)
    resultat = fabrique.entrainer(modele, tokenizer, corpus, reglages, tmp_path / "s")
    rapport = json.loads((tmp_path / "s" / "rapport.json").read_text(encoding="utf-8"))
    attendu = {"exemples_lus": 6, "exemples": 5, "exemples_coupes": 2, "exemples_ecartes": 1}
    assert {cle: rapport[cle] for cle in attendu} == attendu
    assert {cle: getattr(resultat, cle) for cle in attendu} == attendu
    dit = capsys.readouterr().out
    assert "6 exemples lus\u00a0: 5 appris, dont 2 coupés" in dit
    assert "et 1 écarté " in dit
    assert resultat.pas == 3


def test_rien_de_coupe_rien_n_est_dit(dossier_petit, corpus, tmp_path, capsys):
    relancer(dossier_petit, corpus, tmp_path / "s", epochs=0.2)
    assert "coupés" not in capsys.readouterr().out


def test_des_reponses_toutes_de_poids_nul_n_apprennent_rien(petit):
    from fabrique.entrainement.exemples import exemples_en_jetons

    def conversation(poids):
        reponse = {"role": "assistant", "content": "Brest.", "weight": poids}
        return {"messages": [{"role": "user", "content": "La préfecture ?"}, reponse]}

    donnees, compte = exemples_en_jetons(
        Dataset.from_list([conversation(0), conversation(1)]), petit[0], 64
    )
    assert (compte.lus, compte.appris, compte.coupes, compte.ecartes) == (2, 1, 0, 1)
    assert len(donnees) == 1


def test_changer_le_poids_d_une_reponse_est_un_autre_apprentissage(petit):
    from fabrique.entrainement.exemples import exemples_en_jetons
    from fabrique.entrainement.reprise import empreinte

    def conversation(poids):
        tours = [("user", "Un ?", 1), ("assistant", "Un.", poids)]
        tours += [("user", "Deux ?", 1), ("assistant", "Deux.", 1)]
        return [{"messages": [{"role": r, "content": c, "weight": p} for r, c, p in tours]}]

    tokenizer, modele = petit
    un, zero = (
        exemples_en_jetons(Dataset.from_list(conversation(p)), tokenizer, 64)[0] for p in (1, 0)
    )
    assert un["input_ids"][:] == zero["input_ids"][:]
    assert empreinte(modele, un, Reglages()) != empreinte(modele, zero, Reglages())


def test_un_modele_de_meme_nom_aux_autres_poids_ne_reprend_pas(
    dossier_petit, fichier_corpus, tmp_path
):
    """Un modèle remis à jour à la même place : ses points de reprise étaient ceux de l'ancien."""
    copie, sortie = tmp_path / "modele", tmp_path / "adaptateur"
    shutil.copytree(dossier_petit, copie)
    reglages, corpus = (
        Reglages(epochs=1, batch_size=16, val_set_size=0),
        lire_corpus(fichier_corpus),
    )
    tokenizer, modele = fabrique.charger(copie, silencieux=True)
    fabrique.entrainer(modele, tokenizer, corpus, reglages, sortie)
    poids = load_file(copie / "model.safetensors")
    poids["transformer.ln_f.weight"] += 1
    save_file(poids, copie / "model.safetensors", metadata={"format": "pt"})
    tokenizer, modele = fabrique.charger(copie, silencieux=True)
    with pytest.raises(
        ErreurFabrique, match=r"autre apprentissage \(ce qui change : poids_du_modele"
    ):
        fabrique.entrainer(modele, tokenizer, corpus, reglages, sortie)


# ---------------------------------------------------------------- conversations et fiches


def test_des_conversations_s_apprennent_sur_les_seuls_tours_de_l_assistant(dossier_petit, tmp_path):
    """La perte du premier pas est celle, à la main, des deux réponses et de leurs fins."""
    messages = [
        {"role": "user", "content": "Où voter ?"},
        {"role": "assistant", "content": "À la mairie."},
        {"role": "user", "content": "Et le dimanche ?"},
        {"role": "assistant", "content": "Aussi."},
    ]
    conversations = fabrique.lire_corpus(Dataset.from_list([{"messages": messages}] * 2))
    tokenizer, modele = fabrique.charger(dossier_petit, silencieux=True)
    reglages = Reglages(lora_dropout=0, logging_steps=1, val_set_size=0)
    exemple = exemple_en_jetons(tokenizer, conversations[0], reglages.cutoff_len)
    dits = [i for i in exemple["labels"] if i != -100]
    assert tokenizer.decode(dits) == f"À la mairie.{FIN}Aussi.{FIN}"
    attendue = perte_a_la_main(modele.eval(), [exemple] * 2)
    resultat = fabrique.entrainer(modele, tokenizer, conversations, reglages, tmp_path / "s")
    assert resultat.historique[0]["perte"] == pytest.approx(attendue, abs=1e-4)


def test_des_fiches_ne_s_apprennent_pas(dossier_petit, tmp_path):
    tokenizer, modele = fabrique.charger(dossier_petit, silencieux=True)
    with pytest.raises(ErreurFabrique, match="rien à apprendre à dire"):
        fabrique.entrainer(modele, tokenizer, fabrique.lire_corpus("fiches"), sortie=tmp_path / "s")


# ---------------------------------------------------------------- la perte, avant et après


def test_la_perte_d_apres_se_calcule_comme_celle_d_avant(dossier_petit, corpus, tmp_path):
    """À un taux nul, ou presque, rien n'est appris : en 16 bits aussi, la perte ne bouge pas."""
    tokenizer, modele = fabrique.charger(dossier_petit, calcul="bfloat16", silencieux=True)
    avant = pertes(modele, tokenizer, corpus)
    reglages = Reglages(**REGLAGES | {"learning_rate": 1e-30, "lora_dropout": 0})
    resultat = fabrique.entrainer(modele, tokenizer, corpus, reglages, tmp_path)
    assert (pertes(resultat.modele, tokenizer, corpus) == avant).all()
    relu = fabrique.charger_adaptateur(modele, tmp_path)
    assert (pertes(relu, tokenizer, corpus) == avant).all()
