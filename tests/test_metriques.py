"""Les mesures d'une réponse valent ce que donnent leurs bibliothèques, et ce qu'on compte à la main."""

import unicodedata
from collections.abc import Callable
from functools import cache
from itertools import combinations

import pytest
import sacrebleu
from hypothesis import given, strategies as st
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
    f1_tous_les_mots,
    francais,
    mots,
    mots_cles,
    precision_des_citations,
    rappel_des_citations,
    recitees,
    respecte,
    rouge_l,
    suites_de_mots,
    uniformiser,
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


def test_le_f1_de_tous_les_mots_compte_les_articles():
    """Trois mots communs, sur cinq et cinq ; un seul mot clé commun, sur deux et trois."""
    dite, attendue = "Le prix de l’acte", "Le montant de cet acte"
    assert f1_tous_les_mots(dite, attendue) == pytest.approx(2 * 3 / 10)
    assert f1(dite, attendue) == pytest.approx(2 * 1 / 5)


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


# ---------------------------------------------------------------- une seule écriture

#: Toutes les comparaisons, ramenées à la même échelle : 1 pour deux textes pareils.
NOTES = {nom: f for nom, f in COMPARAISONS.items() if nom in ("exactitude", "f1", "rouge_l")} | {
    "chrf": lambda dite, attendue: chrf(dite, attendue) / 100,
    "bleu": lambda dite, attendue: bleu(dite, attendue) / 100,
}
#: Sur une ligne, des écritures d'une même chose ; d'une ligne à l'autre, des choses différentes.
ECRITURES = [
    ["10²"],
    ["102"],
    ["½ heure"],
    ["12 heure"],
    ["10,50 €", "10.50 €", "10,50\u00a0€", "10,50€"],
    ["1050 €", "1 050 €", "1\u202f050\u00a0€", "1\u2009050€"],
    ["5 %", "5%", "5\u202f%"],
    ["5 €", "5\u00a0€", "5€"],
    ["5 $"],
    ["−5 €", "-5 €", "–5\u00a0€"],
    ["−5 %", "-5%"],
    ["5 ‰"],
    ["5", " 5 "],
    ["−5", "-5", "‑5"],
    ["5,5"],
    ["1 500 euros", "1500 euros", "1\u00a0500 euros", "1\u202f500 euros"],
    ["1.500 euros"],
    ["1,500 euros"],
    ["15 euros"],
    ["0,125 mg", "0.125 mg"],
    ["0125 mg"],
    ["12 000 000 habitants", "12\u202f000\u202f000 habitants"],
    ["1 500,75 euros", "1500.75 euros", "1\u202f500,75 euros"],
    ["de 16 à 18 ans"],
    ["de 1618 ans"],
    ["< 18 ans"],
    ["> 18 ans"],
    ["le 12.05.2026"],
    ["le 12052026"],
    ["l’œuvre d’État", "l'œuvre d'État", "l’oeuvre d’E\u0301tat", "l‘œu\u00advre d'État"],
]


@pytest.mark.parametrize("nom", NOTES)
@pytest.mark.parametrize("ecritures", ECRITURES, ids=lambda lues: lues[0])
def test_deux_ecritures_d_une_meme_chose_ont_la_note_parfaite(nom, ecritures):
    for dite, attendue in combinations(ecritures, 2):
        assert NOTES[nom](dite, attendue) == pytest.approx(1), (dite, attendue)


@pytest.mark.parametrize("nom", NOTES)
def test_deux_choses_differentes_n_ont_jamais_la_note_parfaite(nom):
    """Ni la virgule, ni le signe, ni l'unité d'un nombre ne se perdent en route."""
    for unes, autres in combinations(ECRITURES, 2):
        for dite in unes:
            for attendue in autres:
                assert NOTES[nom](dite, attendue) < 0.999, (dite, attendue)


def test_un_exposant_se_distingue_d_un_chiffre_sauf_apres_une_lettre():
    assert exactitude("20 m²", "20 m2") == 1
    assert exactitude("le CO₂", "le CO2") == 1
    assert exactitude("Il y en a 10²", "Il y en a 102") == 0


def test_les_mots_d_une_phrase_chiffree_se_lisent_a_la_main():
    phrase = (
        "À –2 °C, l’aide (1\u202f500,50€/mois, soit 99.5% du coût) cesse à 9h30 pour les 16-18 ans."
    )
    assert mots(phrase) == [
        "à", "-2", "°", "c", "l", "aide", "1500,50", "€", "mois", "soit", "99,5", "%", "du", "coût",
        "cesse", "à", "9h30", "pour", "les", "16", "18", "ans",
    ]  # fmt: skip
    assert mots_cles(phrase) == [
        "a", "-2", "°", "c", "aide", "1500,50", "€", "mois", "soit", "99,5", "%", "cout",
        "cesse", "a", "9h30", "pour", "16", "18", "ans",
    ]  # fmt: skip


def test_le_f1_d_un_montant_faux_se_compte_a_la_main():
    """« coute 10,50 € » contre « coute 1050 € » : deux mots communs sur trois de part et d'autre."""
    assert f1("Il coûte 10,50 €", "Il coûte 1 050 €") == pytest.approx(3 / 4)
    assert f1("5 %", "5 €") == rouge_l("5 %", "5 €") == 0.5
    assert f1("−5", "5") == rouge_l("−5", "5") == 0


def test_un_mot_en_capitales_garde_ses_capitales():
    assert uniformiser("ŒUVRE, Œuvre, œuvre, Æ") == "OEUVRE, Oeuvre, oeuvre, Ae"


signes = st.text(st.sampled_from("aéE\u0301œŒ ’'.,-–−dln015%€\u00a0\u202f"), max_size=16)


@given(texte=signes)
def test_une_ecriture_uniforme_le_reste(texte):
    assert uniformiser(uniformiser(texte)) == uniformiser(texte)


@given(nombre=st.decimals(min_value=1, max_value=10**7, places=2))
def test_un_montant_se_lit_pareil_avec_ou_sans_ses_espaces(nombre):
    """Groupé par trois à la française ou d'un seul tenant, et jamais pris pour son centuple."""
    groupe = f"{nombre:,.2f}".replace(",", "\u202f").replace(".", ",") + "\u00a0€"
    plat, centuple = f"{nombre:.2f} €", f"{nombre * 100:.0f} €"
    for note in NOTES.values():
        assert note(groupe, plat) == pytest.approx(1)
        assert note(groupe, centuple) < 0.999


@given(dite=signes, attendue=signes)
def test_les_accents_decomposes_ne_changent_aucune_note(dite, attendue):
    for note in NOTES.values():
        composee = note(unicodedata.normalize("NFC", dite), attendue)
        assert note(unicodedata.normalize("NFD", dite), attendue) == pytest.approx(composee)


# ---------------------------------------------------------------- chrF, BLEU, ROUGE-L


@pytest.mark.parametrize(("dite", "attendue"), PAIRES)
def test_chrf_et_bleu_sont_ceux_de_sacrebleu(dite, attendue):
    lue, reference = uniformiser(dite), uniformiser(attendue)
    assert chrf(dite, attendue) == pytest.approx(
        sacrebleu.sentence_chrf(lue, [reference]).score, abs=1e-6
    )
    assert bleu(dite, attendue) == pytest.approx(
        sacrebleu.sentence_bleu(lue, [reference]).score, abs=1e-6
    )


def test_les_notes_d_ensemble_sont_celles_de_sacrebleu():
    notes = d_ensemble(*zip(*PAIRES, strict=True))
    dites, attendues = ([uniformiser(t) for t in textes] for textes in zip(*PAIRES, strict=True))
    assert notes["chrf"] == pytest.approx(sacrebleu.corpus_chrf(dites, [attendues]).score, abs=1e-6)
    assert notes["bleu"] == pytest.approx(sacrebleu.corpus_bleu(dites, [attendues]).score, abs=1e-6)


@pytest.mark.parametrize(
    ("dite", "attendue"),
    [paire[:2] for paire in SQUAD if "".join(paire[:2]).isascii() and "10" not in paire[0]],
)
def test_sans_accent_ni_nombre_rouge_l_est_celui_de_rouge_score(dite, attendue):
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
    a, b = mots(dite), mots(attendue)

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
    anglaise = (
        "You have to go to the town hall with your identity card and a proof of your address."
    )
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
    [
        ("f1", 0.4132, "41,3\u00a0%", "+41,3\u00a0points"),
        ("f1", 0.0196, "2,0\u00a0%", "+2,0\u00a0points"),
        ("f1", -0.007, "−0,7\u00a0%", "−0,7\u00a0point"),
        ("perplexite", -2.5, "−2,50", "−2,50"),
    ],
)
def test_les_valeurs_s_ecrivent_en_francais(nom, valeur, ecrite, signee):
    assert MESURES[nom].ecrire(valeur) == ecrite
    assert MESURES[nom].ecrire_ecart(valeur) == signee


def test_la_recitation_se_compte_a_la_main():
    """Cinq mots appris, dont trois de suite repris : deux suites de deux sur quatre."""
    appris = set(suites_de_mots("La mairie ouvre à neuf", 2))
    assert len(appris) == 4
    # « la mairie », « mairie ouvre » sont apprises ; « ouvre le », « le lundi » ne le sont pas.
    assert recitees("La mairie ouvre le lundi.", appris, 2) == (2, 4)
    assert recitees("Rien.", appris, 2) == (0, 0)
    # Ni la casse ni la ponctuation ne comptent.
    assert recitees("« La Mairie ! »", appris, 2) == (1, 1)


def test_une_fiche_apprise_se_recite_en_entier():
    fiche = "Pour obtenir un acte, écrivez à la mairie du lieu de naissance, ou faites la demande en ligne."
    appris = set(suites_de_mots(fiche, 12))
    assert recitees(fiche, appris) == (7, 7)
    # Le septième mot change : chacune des sept suites de douze le contient.
    assert recitees(fiche.replace("la mairie", "notre mairie"), appris) == (0, 7)
