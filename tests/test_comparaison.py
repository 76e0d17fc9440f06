"""Comparer deux modèles : dire « meilleur » quand c'est vrai, et seulement alors."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from datasets import Dataset
from test_evaluation import pertes_a_la_main

import fabrique
from fabrique.entrainement import Reglages, entrainer
from fabrique.evaluation.comparaison import (
    FORME_SEULE,
    INDECIS,
    MEILLEUR,
    MOINS_BON,
    PLUS_HAUT,
    Evaluation,
    avec_exemples,
    choisir_exemples,
    comparer,
    courbe_d_apprentissage,
    decalages,
    evaluation_de,
    evaluer,
    octets_des_poids,
    tableau,
)
from fabrique.evaluation.incertitude import moyenne
from fabrique.evaluation.metriques import COMPARAISONS
from fabrique.evaluation.rapport import _hors_de_la_perplexite
from fabrique.socle.erreurs import ErreurFabrique

COURT = {"max_new_tokens": 24}


@pytest.fixture(scope="module")
def de_base(dossier_petit, corpus) -> Evaluation:
    """Le petit Falcon qui ne sait rien."""
    tokenizer, modele = fabrique.charger(dossier_petit, "nf4", silencieux=True)
    return evaluer(modele, tokenizer, corpus, nom="base", **COURT)


@pytest.fixture(scope="module")
def qui_sait(dossier_par_coeur, corpus) -> Evaluation:
    """Le petit Falcon qui sait le corpus par cœur."""
    tokenizer, modele = fabrique.charger(dossier_par_coeur, "aucune", silencieux=True)
    return evaluer(modele, tokenizer, corpus, nom="par cœur", **COURT)


# ---------------------------------------------------------------- évaluer


def test_un_corpus_su_par_coeur_a_toutes_les_bonnes_notes(qui_sait, corpus):
    assert [e["reponse"] for e in qui_sait.exemples] == corpus["output"][:]
    assert [e["reference"] for e in qui_sait.exemples] == corpus["output"][:]
    for nom in ("exactitude", "f1", "fin"):
        assert qui_sait.valeur(nom) == 1, nom
    assert qui_sait.valeur("chrf") == pytest.approx(100)
    assert qui_sait.valeur("perplexite") < 1.1
    assert qui_sait.secondes > 0
    assert qui_sait.memoire > 1e6


def test_la_perplexite_est_celle_d_une_somme_ecrite_a_la_main(petit, corpus, de_base):
    tokenizer, modele = petit
    jetons = np.array(
        [len(tokenizer.encode(t, add_special_tokens=False)) for t in corpus["output"]]
    )
    nats = pertes_a_la_main(modele, tokenizer, corpus, avec_fin=False) * jetons
    octets = sum(len(texte.encode()) for texte in corpus["output"])
    attendue = math.exp(nats.sum() / jetons.sum())
    assert de_base.valeur("perplexite") == pytest.approx(attendue, rel=1e-4)
    assert de_base.valeur("bits_par_octet") == pytest.approx(
        nats.sum() / math.log(2) / octets, abs=1e-4
    )


def test_une_reference_toute_coupee_ne_pese_ni_sur_la_perplexite_ni_sur_son_temoin(petit, corpus):
    """La demande trop longue est en tête, et sert aussi de témoin à une autre question."""
    tokenizer, modele = petit
    longue = "Lisez bien tout ceci. " * 60
    avec = corpus.add_item({**corpus[0], "id": "longue", "instruction": longue})
    options = {**COURT, "cutoff_len": 60}
    seule, obtenue = (evaluer(modele, tokenizer, c, **options) for c in (corpus, avec))
    for nom in ("perplexite", "bits_par_octet"):
        assert obtenue.valeur(nom) == pytest.approx(seule.valeur(nom), rel=1e-5)
        comptes = obtenue.temoins[nom].denominateurs
        assert (comptes == 0).sum() == 2  # elle-même, et celle qui reçoit sa demande
        assert np.isfinite(obtenue.temoins[nom].numerateurs).all()
        assert not obtenue.temoins[nom].numerateurs[comptes == 0].any()
    ((_, phrase),) = _hors_de_la_perplexite(obtenue)
    assert phrase.startswith(f"1 question sur {len(avec)}")
    assert phrase.endswith(" longue")
    assert _hors_de_la_perplexite(seule) == []


def test_les_reponses_sont_celles_de_leur_question_quel_que_soit_le_lot(
    par_coeur, corpus, qui_sait
):
    tokenizer, modele = par_coeur
    par_deux = evaluer(modele, tokenizer, corpus, lot=2, **COURT)
    assert [e["reponse"] for e in par_deux.exemples] == [e["reponse"] for e in qui_sait.exemples]


def test_le_temoin_est_la_note_avec_la_reference_des_autres(qui_sait, corpus):
    """Recompté : F1 avec la sienne, moins la moyenne avec celles d'à côté."""
    references = corpus["output"][:]
    pas = decalages(len(references))
    assert pas == [2, 5, 8]
    for nom, mesure in COMPARAISONS.items():
        attendus = [
            mesure(r, r)
            - np.mean([mesure(r, references[(rang + p) % len(references)]) for p in pas])
            for rang, r in enumerate(references)
        ]
        assert qui_sait.temoins[nom].numerateurs == pytest.approx(attendus, abs=1e-9)


@pytest.mark.parametrize(
    ("questions", "attendus"), [(1, []), (2, [1]), (3, [1, 2]), (200, [50, 100, 150])]
)
def test_un_temoin_n_est_jamais_la_question_elle_meme(questions, attendus):
    assert decalages(questions) == attendus


def test_le_format_le_style_et_les_citations_ne_se_mesurent_que_s_il_y_en_a(par_coeur, corpus):
    tokenizer, modele = par_coeur
    simple = evaluer(modele, tokenizer, corpus, **COURT)
    assert (
        not {"format", "s_long", "citations_precision", "citations_exactes"} & simple.releves.keys()
    )
    demande = evaluer(modele, tokenizer, corpus, parties=("^Oui",), **COURT)
    assert demande.valeur("format") == pytest.approx(1 / len(corpus))
    ancien = [e | {"output": "Ouy, ſur l’heure [fiche-a]."} for e in corpus]
    style = evaluer(modele, tokenizer, Dataset.from_list(ancien), **COURT)
    assert style.valeur("s_long") == 0
    assert style.valeur("citations_rappel") == 0


def test_un_corpus_vide_est_refuse(petit, corpus):
    tokenizer, modele = petit
    with pytest.raises(ErreurFabrique, match="aucune question"):
        evaluer(modele, tokenizer, corpus.select([]))


def test_une_evaluation_se_relit(qui_sait):
    relue = evaluation_de(json.loads(json.dumps(qui_sait.en_dictionnaire())))
    assert relue.exemples == qui_sait.exemples
    for nom in qui_sait.releves:
        assert relue.valeur(nom) == qui_sait.valeur(nom)
    assert {e.verdict for e in comparer(qui_sait, relue)} == {INDECIS}


def test_une_evaluation_s_imprime(qui_sait):
    texte = str(qui_sait)
    assert "par cœur : 11 questions" in texte
    assert "F1 de jetons" in texte
    assert "100,0\u00a0%" in texte


# ---------------------------------------------------------------- montrer des exemples


def test_les_exemples_montres_precedent_la_question(corpus):
    montres = [{"instruction": "Un ?", "input": "", "output": "Deux."}]
    (premier,) = avec_exemples([corpus[2]], montres)
    assert premier["instruction"] == "Question : Un ?\nRéponse : Deux.\n\nQuestion : Résumez."
    assert (premier["input"], premier["output"]) == (corpus[2]["input"], corpus[2]["output"])


def test_une_conversation_ne_recoit_pas_d_exemples():
    with pytest.raises(ErreurFabrique, match="conversation"):
        avec_exemples([{"messages": []}], [{"instruction": "Un ?", "output": "Deux."}])


def test_les_exemples_choisis_sont_courts_et_varies():
    corpus = Dataset.from_list(
        [
            {"instruction": "a" * n, "input": "", "output": "b", "categorie": c}
            for n, c in ((9, "x"), (2, "x"), (5, "y"), (1, "x"), (7, "z"))
        ]
    )
    assert [len(e["instruction"]) for e in choisir_exemples(corpus, 2)] == [1, 5]


# ---------------------------------------------------------------- comparer


def test_un_modele_qui_sait_est_declare_meilleur(de_base, qui_sait):
    ecarts = {e.nom: e for e in comparer(de_base, qui_sait)}
    meilleurs = {nom for nom, e in ecarts.items() if e.meilleur}
    assert meilleurs >= {"exactitude", "f1", "rouge_l", "chrf", "perplexite", "bits_par_octet"}
    assert ecarts["fin"].verdict == PLUS_HAUT
    assert ecarts["f1"].ecart == pytest.approx(1 - de_base.valeur("f1"))
    assert ecarts["f1"].ic95[0] <= ecarts["f1"].ecart <= ecarts["f1"].ic95[1]
    inverses = {e.nom: e.verdict for e in comparer(qui_sait, de_base)}
    assert all(inverses[nom] == MOINS_BON for nom in meilleurs)


def test_un_modele_n_est_pas_meilleur_que_lui_meme(de_base):
    for ecart in comparer(de_base, de_base):
        assert (ecart.ecart, ecart.p, ecart.verdict) == (0, 1, INDECIS)


def _apprendre(dossier_petit, corpus, reponses, sortie) -> Evaluation:
    """Un adaptateur appris sur ces réponses, évalué sur les vraies."""
    tokenizer, modele = fabrique.charger(dossier_petit, "nf4", silencieux=True)
    appris = Dataset.from_list([e | {"output": r} for e, r in zip(corpus, reponses, strict=True)])
    reglages = Reglages(
        learning_rate=1e-2,
        epochs=60,
        batch_size=11,
        mbatch_size=11,
        target_modules="all-linear",
        lora_dropout=0,
        save_steps=1000,
        val_set_size=0,
    )
    resultat = entrainer(modele, tokenizer, appris, reglages, sortie)
    return evaluer(resultat.modele, tokenizer, corpus, nom="affiné", **COURT)


def test_un_adaptateur_appris_sur_des_reponses_melangees_n_est_pas_declare_meilleur(
    dossier_petit, corpus, de_base, tmp_path
):
    """Il finit ses phrases et parle comme les références : c'est une forme, pas des réponses."""
    justes = corpus["output"][:]
    melange = _apprendre(dossier_petit, corpus, justes[1:] + justes[:1], tmp_path / "melange")
    assert melange.valeur("perplexite") < de_base.valeur("perplexite")
    assert melange.valeur("f1") >= de_base.valeur("f1")
    assert [e.nom for e in comparer(de_base, melange) if e.meilleur] == []
    # Le même apprentissage, avec les vraies réponses, l'est.
    franc = _apprendre(dossier_petit, corpus, justes, tmp_path / "franc")
    assert {"f1", "chrf", "perplexite"} <= {e.nom for e in comparer(de_base, franc) if e.meilleur}


def _muet(nom: str, reponses: list[str], references: list[str]) -> Evaluation:
    """Une évaluation faite de réponses écrites d'avance : le seul F1, et son témoin."""
    f1 = COMPARAISONS["f1"]
    notes = [f1(dite, attendue) for dite, attendue in zip(reponses, references, strict=True)]
    ailleurs = [
        np.mean(
            [
                f1(dite, references[(rang + pas) % len(references)])
                for pas in decalages(len(references))
            ]
        )
        for rang, dite in enumerate(reponses)
    ]
    exemples = [
        {"id": str(n), "question": f"{n} ?", "reference": r, "reponse": d, "finie": True}
        for n, (d, r) in enumerate(zip(reponses, references, strict=True))
    ]
    return Evaluation(
        nom=nom,
        exemples=exemples,
        releves={"f1": moyenne(notes)},
        temoins={"f1": moyenne(np.subtract(notes, ailleurs))},
        ensemble={},
        secondes=0.1,
        memoire=1,
        disque=0,
        reglages={},
    )


def test_les_mots_passe_partout_ne_font_qu_une_forme():
    """Toujours la même réponse, aux mots de toutes les références : un gain, mais sans lecture."""
    references = [f"Adressez votre demande par courrier au service {n}." for n in range(60)]
    base = _muet("base", ["Je ne sais pas."] * 60, references)
    perroquet = _muet("perroquet", ["Adressez votre demande par courrier."] * 60, references)
    (ecart,) = comparer(base, perroquet)
    assert ecart.ecart > 0.5
    assert ecart.p_corrigee < 0.05
    assert ecart.temoin == pytest.approx(0, abs=1e-9)
    assert ecart.verdict == FORME_SEULE
    (vrai,) = comparer(base, _muet("lecteur", references, references))
    assert vrai.verdict == MEILLEUR
    assert vrai.temoin > 0


def test_sans_temoin_on_ne_dit_pas_meilleur():
    references = [f"Le service {n}." for n in range(20)]
    base = _muet("base", ["Rien."] * 20, references)
    lecteur = replace(_muet("lecteur", references, references), temoins={})
    (ecart,) = comparer(base, lecteur)
    assert (ecart.temoin, ecart.verdict) == (None, FORME_SEULE)


def test_une_base_nulle_n_a_pas_de_gain_relatif():
    references = [f"Le service {n}." for n in range(20)]
    (ecart,) = comparer(
        _muet("base", ["Rien."] * 20, references), _muet("lecteur", references, references)
    )
    assert ecart.base == 0
    assert ecart.gain is ecart.gain_ic95 is None


def test_des_questions_differentes_ne_se_comparent_pas(de_base):
    with pytest.raises(ErreurFabrique, match="mêmes questions"):
        comparer(de_base, replace(de_base, exemples=de_base.exemples[1:]))


# ---------------------------------------------------------------- plusieurs modèles, plusieurs tailles


def test_le_tableau_a_une_ligne_par_modele(de_base, qui_sait):
    lignes = list(tableau([de_base, qui_sait]))
    assert [ligne["nom"] for ligne in lignes] == ["base", "par cœur"]
    for ligne in lignes:
        for nom, mesure in ligne["mesures"].items():
            bas, haut = mesure["ic95"]
            assert bas - 1e-9 <= mesure["valeur"] <= haut + 1e-9, nom
    assert lignes[0]["memoire"] < lignes[1]["memoire"]  # 4 bits contre 32


def test_la_courbe_apprend_de_plus_en_plus_d_exemples(petit, corpus, tmp_path):
    tokenizer, modele = petit
    reglages = Reglages(epochs=1, lora_r=2, val_set_size=0, cutoff_len=64)
    test = corpus.select(range(3))
    courbe = courbe_d_apprentissage(
        modele, tokenizer, corpus, test, reglages, tmp_path, (2, 4, 500, None), max_new_tokens=4
    )
    assert [e.nom for e in courbe] == ["2 exemples", "4 exemples", "11 exemples"]
    assert all(len(e.exemples) == 3 for e in courbe)
    assert octets_des_poids(tmp_path / "2") > 0


#: Ce qu'on mesure de toute réponse ; le format, le style et les citations ne viennent que demandés.
CONTRE_LA_REFERENCE = [*COMPARAISONS, "perplexite", "bits_par_octet"]
DE_FORME = ["fin", "francais", "distinct_2", "longueur"]


def test_toute_reponse_passe_toutes_les_mesures_et_elles_seules(de_base, qui_sait):
    """« En français » ne se dit que de réponses assez longues : le petit Falcon n'en écrit pas toujours."""
    assert [n for n in qui_sait.releves if n != "francais"] == [
        n for n in (*CONTRE_LA_REFERENCE, *DE_FORME) if n != "francais"
    ]
    assert [n for n in de_base.releves if n not in DE_FORME] == CONTRE_LA_REFERENCE
    # Le témoin est ce que la réponse doit à sa question : une forme n'en a pas.
    assert list(qui_sait.temoins) == list(de_base.temoins) == CONTRE_LA_REFERENCE
