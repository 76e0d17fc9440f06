"""« Jouez le modèle » : des phrases vraies, des probabilités exactes, un score honnête."""

from __future__ import annotations

import math

import pytest

import fabrique
from fabrique.corpus import jeu
from fabrique.cours import jeu as module_du_jeu
from fabrique.cours.jeu import (
    PHRASES,
    jouer,
    notes_du_suivant,
    points_comptes,
    points_du_modele,
    probabilite_du_mot,
    probabilites,
    score,
    tirer,
    verdict,
)

AU_HASARD = [dict.fromkeys(phrase.candidats, 2) for phrase in PHRASES]


def test_les_phrases_viennent_du_jeu_de_test():
    """Le vrai mot est celui que l'auteur a écrit, et le jeu de test ne s'apprend pas."""
    corpus = jeu(fabrique.lire_corpus("demarches"), "test")
    textes = "\n".join([*corpus["instruction"], *corpus["output"]])
    for phrase in PHRASES:
        assert f"{phrase.debut} {phrase.vrai}" in textes
        assert phrase.vrai in phrase.candidats
        assert len(set(phrase.candidats)) == 5


def test_chaque_candidat_du_falcon_de_poche_est_un_jeton(tokenizer):
    for phrase in PHRASES:
        for mot in phrase.candidats:
            assert len(tokenizer(f" {mot}", add_special_tokens=False)["input_ids"]) == 1


def test_les_probabilites_d_un_mot_sont_celles_de_ses_jetons(petit):
    """Un mot d'un jeton : sa case ; de plusieurs : le produit, calculé à la main."""
    tokenizer, modele = petit
    debut, mot = "Écrivez à la", "préfecture"
    tout = probabilites(modele, tokenizer, debut)
    assert float(tout.sum()) == pytest.approx(1, abs=1e-5)
    jeton = tokenizer(f" {mot}", add_special_tokens=False)["input_ids"]
    assert probabilite_du_mot(modele, tokenizer, debut, mot) == pytest.approx(
        float(tout[jeton[0]]), rel=1e-4
    )
    deux = probabilite_du_mot(modele, tokenizer, debut, "mairie de")
    suite = tokenizer(" de", add_special_tokens=False)["input_ids"]
    produit = probabilite_du_mot(modele, tokenizer, debut, "mairie") * float(
        probabilites(modele, tokenizer, f"{debut} mairie")[suite[0]]
    )
    assert deux == pytest.approx(produit, rel=1e-4)


def test_la_temperature_avantage_les_favoris(petit):
    tokenizer, modele = petit
    froid, chaud = (float(probabilites(modele, tokenizer, "Le", t).max()) for t in (0.2, 1.3))
    assert froid > chaud
    assert len(set(tirer(modele, tokenizer, "Le", 0, tirages=2, max_new_tokens=4))) == 1


def test_repartir_au_hasard_coute_ln_5(petit, capsys):
    tokenizer, modele = petit
    mien, sien = jouer(modele, tokenizer, AU_HASARD)
    assert mien == pytest.approx(math.log(5))
    attendu = [
        score(points_du_modele(modele, tokenizer, phrase), phrase.vrai) for phrase in PHRASES
    ]
    assert sien == pytest.approx(sum(attendu) / len(attendu))
    assert "1,61" in capsys.readouterr().out


def test_un_zero_compte_pour_un_demi_point():
    points = points_comptes({"a": 10, "b": 0, "c": 0, "d": 0, "e": 0})
    assert sum(points.values()) == pytest.approx(10)
    assert score(points, "a") == pytest.approx(-math.log(10 / 12))
    assert score(points, "b") == pytest.approx(-math.log(0.5 / 12))


def test_les_probabilites_du_modele_n_ont_pas_de_plancher(petit, monkeypatch, capsys):
    """Le score affiché est −ln des points affichés, si peu que le modèle en donne au vrai mot."""
    phrase = PHRASES[0]
    siens = {mot: 9.98 if mot != phrase.vrai else 0.02 for mot in phrase.candidats}
    monkeypatch.setattr(module_du_jeu, "PHRASES", (phrase,))
    monkeypatch.setattr(module_du_jeu, "points_du_modele", lambda *_: siens)
    _, sien = jouer(*reversed(petit), AU_HASARD)
    assert sien == pytest.approx(-math.log(0.02 / 10))
    assert "0,02         1,61         6,21" in capsys.readouterr().out


def test_la_note_divisee_par_la_temperature(petit):
    """Ce qu'écrit le carnet 00 : diviser, prendre l'exponentielle, ramener à un."""
    tokenizer, modele = petit
    poids = (notes_du_suivant(modele, tokenizer, "Le").double() / 0.5).exp()
    attendues = probabilites(modele, tokenizer, "Le", 0.5)
    assert (poids / poids.sum()).float().allclose(attendues, atol=1e-5)


@pytest.mark.parametrize(
    ("faux", "dit"),
    [
        (dict.fromkeys(PHRASES[0].candidats, 3), "phrase 1 : vos points font 15"),
        ({"mairie": 10}, "phrase 1 : les candidats"),
        ({**AU_HASARD[0], "mairie": -2, "mer": 6}, "aucun négatif"),
    ],
)
def test_des_points_mal_repartis_sont_expliques(petit, faux, dit):
    tokenizer, modele = petit
    with pytest.raises(fabrique.ErreurFabrique, match=dit):
        jouer(modele, tokenizer, [faux, *AU_HASARD[1:]])


def test_le_verdict_dit_qui_gagne():
    assert verdict(1.0, 1.5) == "Vous battez le modèle"
    assert verdict(1.5, 1.0) == "Le modèle vous bat"
    assert verdict(1.5, 1.505) == "Vous et le modèle faites jeu égal"


def test_le_modele_nu_reste_la_base_apres_un_apprentissage(petit, corpus, tmp_path):
    """Rejouer après le réglage fin, c'est rejouer contre la base."""
    tokenizer, modele = petit
    question = "Quelle est la capitale ?"
    avant = probabilites(modele, tokenizer, question)
    reglages = fabrique.Reglages(learning_rate=0.05, epochs=4, val_set_size=0, warmup_steps=0)
    affine = fabrique.entrainer(modele, tokenizer, corpus, reglages, tmp_path / "a").modele
    assert probabilites(modele, tokenizer, question).allclose(avant, atol=1e-6)
    assert not probabilites(affine, tokenizer, question).allclose(avant, atol=1e-6)
    seul = fabrique.continuer(modele, tokenizer, question, max_new_tokens=6)
    assert seul == fabrique.continuer(
        affine, tokenizer, question, adaptateur=False, max_new_tokens=6
    )
