"""Les mesures d'une réponse valent ce que donnent leurs bibliothèques, et ce qu'on compte à la main."""

from collections.abc import Callable
from functools import cache

import pytest
import sacrebleu
from hypothesis import given
from hypothesis import strategies as st
from rouge_score.rouge_scorer import RougeScorer

from fabrique.evaluation.metriques import (
    COMPARAISONS,
    MESURES,
    bleu,
    chrf,
    citations_exactes,
    d_ensemble,
    distinct,
    exactitude,
    f1,
    francais,
    mots_cles,
    precision_des_citations,
    rappel_des_citations,
    respecte,
    rouge_l,
)

#: Des réponses et leurs références : égales, proches, étrangères, vides, répétées.
PAIRES = [
    ("La mairie ouvre à neuf heures.", "La mairie ouvre à neuf heures."),
    ("La mairie ouvre à neuf heures le lundi.", "Le lundi, la mairie ouvre à 9 heures."),
    ("Adressez-vous à la préfecture.", "Prenez rendez-vous en ligne."),
    ("non non non non", "non"),
    ("L’État délivre l’œuvre", "Etat, oeuvre"),
    ("", "Rien."),
]
textes = st.text(st.sampled_from("aàeéiœ ’'.-dln1"), max_size=20)


# ---------------------------------------------------------------- exactitude et F1

#: (réponse, référence, exactitude, F1) tels que les rend le script officiel de SQuAD 2.0.
SQUAD = [
    ("the Denver Broncos", "Denver Broncos.", 1, 1.0),
    ("A cat sat on the mat", "the cat is on a mat", 0, 0.75),
    ("U.S. Army", "US army", 1, 1.0),
    ("10,000 people", "10 000 people", 0, 0.4),
    ("", "the", 1, 1.0),
    ("the a an", "!!!", 1, 1.0),
    ("Paris", "London", 0, 0.0),
    ("to be or not to be", "be not be be", 0, 0.6),
    ("well-known author", "well known author", 0, 0.4),
    ("café – the  best", "cafe the best", 0, 0.4),
    ("Theatre an other", "theatre other other", 0, 0.8),
]


@pytest.mark.parametrize(("dite", "attendue", "exacte", "note"), SQUAD)
def test_en_anglais_c_est_le_script_officiel(dite, attendue, exacte, note):
    assert exactitude(dite, attendue, "en") == exacte
    assert f1(dite, attendue, "en") == pytest.approx(note, abs=1e-6)


@pytest.mark.parametrize(
    ("texte", "attendus"),
    [
        ("L’eau de l'État", ["eau", "etat"]),
        ("Qu’il vienne, jusqu’à l’école !", ["qu", "il", "vienne", "jusqu", "a", "ecole"]),
        ("Aujourd’hui, c’est une œuvre", ["aujourdhui", "c", "est", "oeuvre"]),
        ("E\u0301tat, l\u2019a\u0300-co\u0302te\u0301", ["etat", "acote"]),
        ("Vitamine D, plan B : le dû de là-bas", ["vitamine", "d", "plan", "b", "du", "labas"]),
        ("« Rendez-vous » à 9\u00a0h\u202f30 …", ["rendezvous", "a", "9", "h", "30"]),
        ("des les la un une du de", []),
        ("délai las unes", ["delai", "las", "unes"]),
    ],
)
def test_la_normalisation_francaise(texte, attendus):
    assert mots_cles(texte) == attendus


def test_le_f1_se_compte_a_la_main():
    """Sept mots clés contre six, cinq communs : 2 × 5 / 13."""
    dite = "La mairie ouvre lundi matin dès neuf heures."
    attendue = "Le lundi, la mairie ouvre à neuf heures."
    assert mots_cles(dite) == ["mairie", "ouvre", "lundi", "matin", "des", "neuf", "heures"]
    assert mots_cles(attendue) == ["lundi", "mairie", "ouvre", "a", "neuf", "heures"]
    assert f1(dite, attendue) == pytest.approx(10 / 13, abs=1e-12)


@given(dite=textes, attendue=textes)
def test_le_f1_est_celui_de_la_precision_et_du_rappel(dite, attendue):
    """Recompté en rayant un à un les mots trouvés."""
    dits, restants = mots_cles(dite), mots_cles(attendue)
    total = len(restants)
    communs = 0
    for mot in dits:
        if mot in restants:
            restants.remove(mot)
            communs += 1
    precision, rappel = communs / max(1, len(dits)), communs / max(1, total)
    if dits and total:
        attendu = 2 * precision * rappel / (precision + rappel) if communs else 0
    else:
        attendu = float(not dits and not total)
    assert f1(dite, attendue) == pytest.approx(attendu, abs=1e-9)


@pytest.mark.parametrize("mesure", [f1, rouge_l, exactitude])
@given(dite=textes, attendue=textes)
def test_une_part_reste_une_part(mesure: Callable, dite, attendue):
    assert 0 <= mesure(dite, attendue) <= 1
    assert f1(dite, attendue) == pytest.approx(f1(attendue, dite), abs=1e-12)
    assert exactitude(dite, dite) == f1(dite, dite) == 1


# ---------------------------------------------------------------- chrF, BLEU, ROUGE-L


@pytest.mark.parametrize(("dite", "attendue"), PAIRES)
def test_chrf_et_bleu_sont_ceux_de_sacrebleu(dite, attendue):
    assert chrf(dite, attendue) == pytest.approx(
        sacrebleu.sentence_chrf(dite, [attendue]).score, abs=1e-6
    )
    assert bleu(dite, attendue) == pytest.approx(
        sacrebleu.sentence_bleu(dite, [attendue]).score, abs=1e-6
    )


def test_les_notes_d_ensemble_sont_celles_de_sacrebleu():
    dites, attendues = zip(*PAIRES, strict=True)
    notes = d_ensemble(dites, attendues)
    assert notes["chrf"] == pytest.approx(sacrebleu.corpus_chrf(dites, [attendues]).score, abs=1e-6)
    assert notes["bleu"] == pytest.approx(sacrebleu.corpus_bleu(dites, [attendues]).score, abs=1e-6)


@pytest.mark.parametrize(
    ("dite", "attendue"),
    [(dite, attendue) for dite, attendue, _, _ in SQUAD if dite.isascii() and attendue.isascii()],
)
def test_sans_accent_rouge_l_est_celui_de_rouge_score(dite, attendue):
    officiel = RougeScorer(["rougeL"]).score(attendue, dite)["rougeL"].fmeasure
    assert rouge_l(dite, attendue) == pytest.approx(officiel, abs=1e-6)


def test_rouge_l_garde_les_accents_et_l_ordre():
    """« été » est un mot, pas « t » ; de « a b c » à « c a b », deux mots se suivent encore."""
    assert rouge_l("été", "ete") == 0
    assert rouge_l("à l’été", "À l’été !") == 1
    assert rouge_l("un deux trois", "trois un deux") == pytest.approx(2 / 3)


@given(dite=textes, attendue=textes)
def test_rouge_l_est_une_plus_longue_suite_commune(dite, attendue):
    """Recomptée en essayant de prendre ou de laisser chaque mot."""
    lire = lambda texte: "".join(c if c.isalnum() else " " for c in texte.lower()).split()  # noqa: E731
    a, b = lire(dite), lire(attendue)

    @cache
    def commune(i: int, j: int) -> int:
        if i == len(a) or j == len(b):
            return 0
        if a[i] == b[j]:
            return 1 + commune(i + 1, j + 1)
        return max(commune(i + 1, j), commune(i, j + 1))

    attendu = 2 * commune(0, 0) / (len(a) + len(b)) if a and b else 0
    assert rouge_l(dite, attendue) == pytest.approx(attendu, abs=1e-9)


# ---------------------------------------------------------------- citer

FICHES = {
    "fiche-passeport": "Le passeport d’un adulte est valable dix ans.\n\nIl coûte 86 euros.",
    "fiche-permis": "Le permis est gratuit.",
}


def test_la_precision_et_le_rappel_des_citations():
    """Trois sources citées dont deux attendues ; quatre attendues dont deux citées."""
    dite = "Voir [fiche-a], [fiche-b] et [fiche-x], puis encore [fiche-a]."
    attendue = "[fiche-a] [fiche-b] [fiche-c] [fiche-d]"
    assert precision_des_citations(dite, attendue) == (2, 3)
    assert rappel_des_citations(dite, attendue) == (2, 4)
    assert precision_des_citations("Rien.", attendue) == (0, 0)


@pytest.mark.parametrize(
    ("dite", "compte"),
    [
        ("« valable dix ans » [fiche-passeport]", (1, 1)),
        ("« valable dix\u00a0ans. Il coûte 86 euros. » [fiche-passeport]", (1, 1)),
        ("« Le passeport d'un adulte […] coûte 86 euros » [fiche-passeport]", (1, 1)),
        ("« coûte 86 euros […] valable dix ans » [fiche-passeport]", (0, 1)),
        ("« valable vingt ans » et « dix ans » [fiche-passeport]", (1, 2)),
        ("« adulte est val » [fiche-passeport]", (0, 1)),
        ("« valable dix ans » [fiche-permis]", (0, 1)),
        ("« gratuit » [fiche-permis] [fiche-passeport]", (1, 1)),
        ("« gratuit » [fiche-inconnue]", (0, 1)),
        ("« […] » [fiche-permis]", (0, 1)),
        ("« valable dix ans », dit-on", (0, 0)),
    ],
)
def test_une_citation_se_verifie_mot_a_mot(dite, compte):
    assert citations_exactes(dite, FICHES) == compte


# ---------------------------------------------------------------- la forme


def test_les_suites_distinctes():
    """« oui non oui non oui » : quatre suites, deux différentes."""
    assert distinct("Oui, non, oui, non, oui.") == (2, 4)
    assert distinct("Oui") == (0, 0)
    assert distinct("un deux trois", n=3) == (1, 1)


def test_la_part_de_francais_ne_juge_pas_trois_mots():
    longue = "Vous devez vous rendre à la mairie avec une pièce d’identité et un justificatif de domicile."
    anglaise = "You have to go to the town hall with your identity card and a proof of your address."
    assert francais(longue) == (True, 1)
    assert francais(anglaise) == (False, 1)
    assert francais("Oui.") == (0, 0)


def test_le_format_demande_toutes_ses_parties():
    parties = ("^En bref", "^Source :")
    assert respecte("En bref : oui.\nSource : mairie", parties) == 1
    assert respecte("En bref : oui. Source : mairie", parties) == 0


def test_le_catalogue_connait_chaque_comparaison():
    assert set(COMPARAISONS) < set(MESURES)
    for nom, mesure in MESURES.items():
        assert mesure.sens in (-1, 1), nom
        assert mesure.qualite or not mesure.temoin, nom


@pytest.mark.parametrize(
    ("nom", "valeur", "ecrite", "signee"),
    [("f1", 0.4132, "41,3\u00a0%", "+41,3\u00a0points"), ("perplexite", -2.5, "-2,50", "−2,50")],
)
def test_les_valeurs_s_ecrivent_en_francais(nom, valeur, ecrite, signee):
    assert MESURES[nom].ecrire(valeur) == ecrite
    assert MESURES[nom].ecrire_ecart(valeur) == signee
