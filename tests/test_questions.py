"""Le corpus *questions* : court, régulier, sans fuite d'un jeu à l'autre, bien typographié."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable

import pytest
from datasets import Dataset

from fabrique.corpus import lire_corpus
from fabrique.corpus.doublons import normaliser
from outils.typographie import corriger

#: Une fin de phrase : ni « n° », ni « impots.gouv.fr », ni « 2,5 ».
FIN_DE_PHRASE = re.compile(r"[.!?…](?=\s|$)")
#: Apostrophe droite, blanc double, espace insécable oubliée, minuscule au début.
MAL_ECRIT = re.compile(r"'|  |(?<!\u00a0)[:;?!»]|«(?!\u00a0)|^[a-zà-ÿ]")
#: Les nombres que nos textes écrivent en toutes lettres, « un » et « une » exceptés.
EN_LETTRES = {
    "deux": "2",
    "trois": "3",
    "quatre": "4",
    "cinq": "5",
    "six": "6",
    "sept": "7",
    "huit": "8",
    "neuf": "9",
    "dix": "10",
    "douze": "12",
    "quinze": "15",
    "seize": "16",
    "dix-huit": "18",
    "vingt": "20",
    "vingt-quatre": "24",
    "trente": "30",
    "quarante-cinq": "45",
    "quarante-huit": "48",
    "soixante": "60",
    "soixante-douze": "72",
}
#: À partir de cet indice de Jaccard, un exemple en répète un autre : dans une même fiche, les
#: questions reformulées vont de 0,3 à 0,37.
REFORMULATION = 0.37


@pytest.fixture(scope="module")
def questions() -> Dataset:
    return lire_corpus("questions")


def fautifs(questions: Dataset, juste: Callable[[dict], bool]) -> list[str]:
    """Les identifiants des exemples qui ne respectent pas une règle."""
    return [exemple["id"] for exemple in questions if not juste(exemple)]


def nombres(texte: str) -> set[str]:
    """Les nombres d'un texte, en chiffres : « 1 300 », « 2,5 », « quinze »."""
    colle = re.sub(r"(?<=\d)\s(?=\d{3})", "", texte.casefold())
    lettres = {EN_LETTRES[mot] for mot in re.findall(r"[\w-]+", colle) if mot in EN_LETTRES}
    return lettres | set(re.findall(r"\d+(?:,\d+)?", colle))


def test_il_y_a_assez_de_questions_numerotees_dans_l_ordre(questions):
    assert len(questions) >= 1000
    assert questions["id"][:] == [f"question-{n:04d}" for n in range(1, len(questions) + 1)]


def test_une_question_tient_en_une_ligne_et_finit_par_un_point_d_interrogation(questions):
    assert fautifs(questions, lambda e: e["instruction"].endswith("\u00a0?")) == []
    assert fautifs(questions, lambda e: len(e["instruction"].split()) <= 20) == []
    assert fautifs(questions, lambda e: "\n" not in e["instruction"] and not e["input"]) == []


def test_une_reponse_tient_en_une_ou_deux_phrases_de_15_a_45_mots(questions):
    assert fautifs(questions, lambda e: 15 <= len(e["output"].split()) <= 45) == []
    assert fautifs(questions, lambda e: len(FIN_DE_PHRASE.findall(e["output"])) in (1, 2)) == []
    assert fautifs(questions, lambda e: e["output"].endswith(".") and "\n" not in e["output"]) == []


def test_la_typographie_des_questions(questions):
    """Espaces insécables, apostrophes courbes, majuscule au début, aucun blanc en trop."""

    def juste(texte: str) -> bool:
        return texte == corriger(texte) == texte.strip() and not MAL_ECRIT.search(texte)

    assert fautifs(questions, lambda e: juste(e["instruction"]) and juste(e["output"])) == []


def test_une_fiche_ne_sert_qu_a_un_jeu(questions):
    """La source est l'identifiant d'une fiche ; la répartition se fait par fiche."""
    jeux = defaultdict(set)
    for source, jeu in zip(questions["source"], questions["jeu"], strict=True):
        jeux[source].add(jeu)
    assert set(jeux) <= set(lire_corpus("fiches")["id"])
    assert [source for source, servie in jeux.items() if len(servie) > 1] == []


def test_tout_nombre_d_une_reponse_est_dans_sa_fiche(questions):
    """Un délai, un âge, une part : rien que la fiche ne dise."""
    fiches = {fiche["id"]: nombres(fiche["texte"]) for fiche in lire_corpus("fiches")}
    assert fautifs(questions, lambda e: nombres(e["output"]) <= fiches[e["source"]]) == []


def test_les_nombres_se_lisent_en_chiffres_et_en_lettres():
    assert nombres("Sous quinze jours, 1\u00a0300 € ou 2,5\u00a0%, dix-huit fois.") == {
        "15",
        "1300",
        "2,5",
        "18",
    }


def test_la_repartition_et_les_categories(questions):
    """Quatre cinquièmes pour l'entraînement, où toutes les catégories sont vues."""
    parts = {jeu: n / len(questions) for jeu, n in Counter(questions["jeu"]).items()}
    assert parts == pytest.approx({"entrainement": 0.8, "validation": 0.08, "test": 0.12}, abs=0.02)
    vues = {e["categorie"] for e in questions if e["jeu"] == "entrainement"}
    assert vues == set(questions["categorie"])
    assert vues == set(lire_corpus("demarches")["categorie"]) | {"administration"}


def test_aucune_question_n_est_posee_deux_fois(questions):
    posees = Counter(normaliser(question) for question in questions["instruction"])
    assert [question for question, fois in posees.items() if fois > 1] == []


def test_aucun_exemple_tenu_a_l_ecart_n_en_reformule_un_d_entrainement(questions):
    """Question et réponse comparées ensemble : « Que veut dire CFA ? » n'est pas « … CNIL ? »."""
    par_jeu = defaultdict(list)
    for exemple in questions:
        dit = normaliser(f"{exemple['instruction']} {exemple['output']}")
        suites = {dit[i : i + 5] for i in range(len(dit) - 4)}
        par_jeu[exemple["jeu"]].append((exemple["id"], suites))
    apprises = par_jeu.pop("entrainement")
    reformulees = [
        (tenue, apprise)
        for tenues in par_jeu.values()
        for tenue, a in tenues
        for apprise, b in apprises
        if len(a & b) >= REFORMULATION * len(a | b)
    ]
    assert reformulees == []
