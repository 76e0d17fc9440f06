"""Mesurer : la perte de chaque exemple, l'écart et son intervalle, la forme des réponses."""

from statistics import median

import numpy as np
import pytest
import torch
from conftest import ajouter_adaptateur
from hypothesis import given, strategies as st

from fabrique.evaluation import comparer_pertes, mesurer_reponses, pertes
from fabrique.modeles.gabarits import ASSISTANT, DEBUT, UTILISATEUR
from fabrique.socle.erreurs import ErreurFabrique


def pertes_a_la_main(modele, tokenizer, corpus, avec_fin):
    """Un exemple à la fois, sans remplissage, le texte écrit à la main."""
    valeurs = []
    for exemple in corpus:
        demande = "\n\n".join(filter(None, [exemple["instruction"], exemple["input"]]))
        question = tokenizer.encode(
            f"{DEBUT}{UTILISATEUR}{demande}{ASSISTANT}", add_special_tokens=False
        )
        reponse = tokenizer.encode(exemple["output"], add_special_tokens=False)
        reponse += [tokenizer.eos_token_id] if avec_fin else []
        with torch.no_grad():
            logits = modele(input_ids=torch.tensor([question + reponse])).logits[0].double()
        # Le jeton de rang n se prédit à la position n - 1.
        surprises = [
            -torch.log_softmax(logits[len(question) + rang - 1], dim=0)[jeton].item()
            for rang, jeton in enumerate(reponse)
        ]
        valeurs.append(sum(surprises) / len(surprises))
    return np.array(valeurs)


@pytest.mark.parametrize("avec_fin", [False, True])
def test_les_pertes_sont_celles_d_une_somme_ecrite_a_la_main(petit, corpus, avec_fin):
    tokenizer, modele = petit
    obtenues = pertes(modele, tokenizer, corpus, avec_fin=avec_fin)
    attendues = pertes_a_la_main(modele, tokenizer, corpus, avec_fin)
    np.testing.assert_allclose(obtenues, attendues, rtol=0, atol=1e-4)
    assert len(set(attendues.round(3))) > 5  # des exemples distincts : l'ordre compte


def test_les_pertes_ne_dependent_pas_de_la_taille_du_lot(petit, corpus):
    tokenizer, modele = petit
    une = pertes(modele, tokenizer, corpus, lot=1)
    for lot in (2, 8, 64):
        np.testing.assert_allclose(
            pertes(modele, tokenizer, corpus, lot=lot), une, rtol=0, atol=1e-4
        )


def test_un_corpus_su_par_coeur_n_a_presque_plus_de_perte(par_coeur, corpus):
    tokenizer, modele = par_coeur
    assert pertes(modele, tokenizer, corpus, avec_fin=True).max() < 0.1


def test_l_adaptateur_eteint_mesure_la_base(par_coeur, corpus):
    tokenizer, modele = par_coeur
    base = pertes(modele, tokenizer, corpus)
    affine = ajouter_adaptateur(modele)
    np.testing.assert_allclose(
        pertes(affine, tokenizer, corpus, adaptateur=False), base, rtol=0, atol=1e-5
    )
    assert pertes(affine, tokenizer, corpus).mean() > base.mean() + 0.5


@pytest.mark.parametrize("avec_fin", [False, True])
def test_un_exemple_ou_rien_ne_reste_a_apprendre_n_a_pas_de_perte(petit, corpus, avec_fin):
    """Sa question remplit la longueur lue : zéro aurait abaissé la moyenne."""
    tokenizer, modele = petit
    trop_long = {"instruction": "Lisez bien tout ceci. " * 60, "input": "", "output": "Lu."}
    options = {"avec_fin": avec_fin, "cutoff_len": 60}
    seuls = pertes(modele, tokenizer, corpus, **options)
    obtenues = pertes(modele, tokenizer, [trop_long, *corpus], **options)
    assert np.isnan(obtenues).tolist() == [True] + [False] * len(corpus)
    np.testing.assert_allclose(obtenues[1:], seuls, rtol=0, atol=1e-4)


# ---------------------------------------------------------------- comparer


def test_les_exemples_sans_perte_sont_ecartes_et_comptes():
    ecart = comparer_pertes(np.array([2.0, np.nan, 4.0]), np.array([1.0, np.nan, 2.0]))
    assert (ecart.avant, ecart.apres, ecart.gain) == (3, 1.5, 0.5)
    assert (ecart.exemples, ecart.ecartes) == (2, 1)
    with pytest.raises(ErreurFabrique, match="1 exemple à comparer, 2 écartés"):
        comparer_pertes(np.array([2.0, np.nan, np.nan]), np.array([1.0, np.nan, np.nan]))


def test_un_modele_dont_la_perte_n_est_plus_un_nombre_ne_passe_pas_pour_une_coupure():
    ecart = comparer_pertes(np.array([2.0, 3.0]), np.array([1.0, np.nan]))
    assert (ecart.exemples, ecart.ecartes) == (2, 0)
    assert np.isnan(ecart.apres)


pertes_positives = st.lists(st.floats(0.1, 10), min_size=2, max_size=30).map(np.array)


def test_une_meme_baisse_partout_n_a_aucune_incertitude():
    """Chaque exemple perd la moitié : tout rééchantillon apparié donne exactement 50 %."""
    avant = np.array([1.0, 3.0, 8.0, 2.0])
    ecart = comparer_pertes(avant, avant / 2)
    assert (ecart.avant, ecart.apres, ecart.gain, ecart.exemples) == (3.5, 1.75, 0.5, 4)
    assert ecart.ic95 == pytest.approx((0.5, 0.5), abs=1e-12)


def test_l_intervalle_de_deux_exemples_se_calcule_de_tete():
    """Un exemple gagne 50 %, l'autre rien : on tire 0, 25, 25 ou 50 %, une fois sur quatre."""
    ecart = comparer_pertes(np.array([1.0, 1.0]), np.array([0.5, 1.0]))
    assert ecart.gain == 0.25
    assert ecart.ic95 == pytest.approx((0.0, 0.5))


def test_l_intervalle_est_celui_d_un_reechantillonnage_ecrit_a_la_main():
    hasard = np.random.default_rng(1)
    avant = hasard.gamma(4, 1, 200)
    apres = avant * hasard.normal(0.8, 0.1, 200)
    rangs = hasard.integers(0, 200, (20_000, 200))
    gains = 1 - apres[rangs].mean(axis=1) / avant[rangs].mean(axis=1)
    ecart = comparer_pertes(avant, apres)
    assert ecart.ic95 == pytest.approx(tuple(np.quantile(gains, [0.025, 0.975])), abs=2e-3)
    # Apparié : bien plus étroit que si les deux pertes étaient tirées séparément.
    autres = hasard.integers(0, 200, (20_000, 200))
    separes = 1 - apres[autres].mean(axis=1) / avant[rangs].mean(axis=1)
    largeur = ecart.ic95[1] - ecart.ic95[0]
    assert largeur < 0.5 * np.subtract(*np.quantile(separes, [0.975, 0.025]))


@given(avant=pertes_positives, facteur=st.floats(0.2, 2))
def test_un_meme_facteur_partout_donne_exactement_ce_gain(avant, facteur):
    ecart = comparer_pertes(avant, avant * facteur)
    assert ecart.gain == pytest.approx(1 - facteur, abs=1e-9)
    assert ecart.ic95 == pytest.approx((1 - facteur, 1 - facteur), abs=1e-9)


@given(avant=pertes_positives)
def test_aucun_changement_donne_un_gain_nul(avant):
    ecart = comparer_pertes(avant, avant.copy())
    assert ecart.gain == 0
    assert ecart.ic95 == pytest.approx((0, 0), abs=1e-12)


# ---------------------------------------------------------------- la forme des réponses


def test_des_reponses_sues_par_coeur_ont_la_forme_des_references(par_coeur, corpus):
    tokenizer, modele = par_coeur
    reponses = mesurer_reponses(modele, tokenizer, corpus)
    mediane = median(len(tokenizer.encode(t, add_special_tokens=False)) for t in corpus["output"])
    assert reponses.textes == corpus["output"][:]
    assert reponses.taux_fin == 1
    assert reponses.longueur_mediane == reponses.longueur_reference == mediane


def test_le_taux_de_fin_compte_les_reponses_closes(par_coeur, corpus):
    """Avec quatre jetons, fin comprise, seules les réponses d'au plus trois jetons se closent."""
    tokenizer, modele = par_coeur
    longueurs = [len(tokenizer.encode(t, add_special_tokens=False)) for t in corpus["output"]]
    closes = sum(longueur <= 3 for longueur in longueurs)
    assert 0 < closes < len(corpus)
    reponses = mesurer_reponses(modele, tokenizer, corpus, max_new_tokens=4)
    assert reponses.taux_fin == pytest.approx(closes / len(corpus))
