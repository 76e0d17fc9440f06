"""Le corpus *preferences* : deux réponses plausibles, un critère, et rien que la forme ne trahisse."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable

import pytest
from test_questions import FIN_DE_PHRASE, MAL_ECRIT, nombres

from benchmarks.fuites import LECTURES_DE_PAIRES, aire, deviner_les_choix, lire_exemples
from fabrique.corpus import lire_corpus
from fabrique.corpus.doublons import normaliser
from fabrique.corpus.personnelles import reperer
from fabrique.socle.emplacements import VOTES_LIVRES, dossier_data
from outils.typographie import corriger

CHAMPS = ("id", "prompt", "chosen", "rejected", "critere", "annotateur", "source", "jeu")
CRITERES = {"source", "question", "clarte", "longueur", "abstention"}
#: À partir de cet indice de Jaccard sur les suites de cinq caractères, une question en répète une
#: autre. D'un jeu à l'autre, les plus proches (« Quand passer le premier… ») restent au-dessous.
REDITE = 0.5
#: Au-delà, la forme d'une réponse dit laquelle est choisie : 0,5 est l'AUC du hasard.
FUITE = 0.6
#: Dire qu'on ne sait pas.
ABSTENTION = re.compile(
    r"\b(ne (sais|saurais) |l’ignore|n’ai pas la réponse|ne (peux|pourrais) pas vous|pas répondre)"
)


@pytest.fixture(scope="module")
def paires() -> list[dict]:
    return lire_exemples("preferences")


@pytest.fixture(scope="module")
def fiches() -> dict[str, str]:
    return {fiche["id"]: fiche["texte"] for fiche in lire_corpus("fiches")}


def fautives(paires: list[dict], juste: Callable[[dict], bool]) -> list[str]:
    """Les identifiants des paires qui ne respectent pas une règle."""
    return [paire["id"] for paire in paires if not juste(paire)]


def suites(texte: str) -> set[str]:
    dit = normaliser(texte)
    return {dit[i : i + 5] for i in range(len(dit) - 4)}


def redites(posees: dict[str, set[str]], autres: dict[str, set[str]]) -> list[tuple[str, str]]:
    """Les questions des unes qui répètent une des autres."""
    return [
        (une, autre)
        for une, a in posees.items()
        for autre, b in autres.items()
        if len(a & b) >= REDITE * len(a | b)
    ]


def test_il_y_a_assez_de_paires_numerotees_dans_l_ordre(paires):
    assert len(paires) >= 400
    assert [p["id"] for p in paires] == [f"preference-{n:04d}" for n in range(1, len(paires) + 1)]


def test_chaque_paire_a_tous_ses_champs(paires):
    assert fautives(paires, lambda p: tuple(p) == CHAMPS) == []
    assert fautives(paires, lambda p: all(isinstance(v, str) and v for v in p.values())) == []
    assert {p["annotateur"] for p in paires} == {"modele_de_langage"}


def test_le_corpus_est_nomme_parmi_ceux_du_projet():
    assert [(dossier_data() / f"{nom}.jsonl").is_file() for nom in VOTES_LIVRES] == [True]
    assert VOTES_LIVRES == ("preferences",)


def test_les_criteres_s_equilibrent_dans_chaque_jeu(paires):
    """Un cinquième chacun, ou presque : aucun ne pèse plus qu'un autre à l'apprentissage ni au test."""
    comptes = Counter((p["jeu"], p["critere"]) for p in paires)
    assert {critere for _, critere in comptes} == CRITERES
    for jeu in ("entrainement", "validation", "test"):
        total = sum(n for (dans, _), n in comptes.items() if dans == jeu)
        for critere in CRITERES:
            assert comptes[jeu, critere] / total == pytest.approx(0.2, abs=0.03)


def test_la_repartition(paires):
    parts = {jeu: n / len(paires) for jeu, n in Counter(p["jeu"] for p in paires).items()}
    assert parts == pytest.approx({"entrainement": 0.7, "validation": 0.15, "test": 0.15}, abs=0.03)


def test_une_fiche_ne_sert_qu_a_un_jeu_le_meme_que_dans_sources(paires, fiches):
    """Ce que le test demande n'est appris ni ici, ni dans *sources*, ni dans *questions*."""
    jeux = {p["fiche"]: e["jeu"] for e in lire_exemples("sources") for p in e["passages"]}
    assert set(jeux) == set(fiches) >= {p["source"] for p in paires}
    assert fautives(paires, lambda p: p["jeu"] == jeux[p["source"]]) == []


def test_aucune_question_n_en_repete_une_autre(paires):
    posees = {p["id"]: suites(p["prompt"]) for p in paires}
    assert [(a, b) for a, b in redites(posees, posees) if a < b] == []


def test_aucune_question_tenue_a_l_ecart_ne_s_apprend_ailleurs(paires):
    tenues = {p["id"]: suites(p["prompt"]) for p in paires if p["jeu"] != "entrainement"}
    apprises = {
        exemple["id"]: suites(exemple["instruction"])
        for nom in ("questions", "demarches")
        for exemple in lire_corpus(nom)
        if exemple["jeu"] == "entrainement"
    }
    apprises |= {
        e["id"]: suites(e["question"]) for e in lire_exemples() if e["jeu"] == "entrainement"
    }
    assert redites(tenues, apprises) == []


def test_deux_questions_voisines_se_voient():
    posees = {"a": suites("Combien de temps ai-je pour contester une amende ?")}
    assert redites(posees, {"b": suites("Combien de temps ai-je pour contester l’amende ?")})
    assert not redites(posees, {"b": suites("Qui peut contester une décision de la mairie ?")})


def test_les_nombres_viennent_de_la_fiche(paires, fiches):
    """Les deux réponses disent les mêmes faits ; seule celle qui invente au lieu de s'abstenir en ajoute."""

    def juste(paire: dict) -> bool:
        dits = nombres(paire["chosen"])
        if paire["critere"] != "abstention":
            dits |= nombres(paire["rejected"])
        return dits <= nombres(fiches[paire["source"]])

    assert fautives(paires, juste) == []


def test_des_reponses_courtes_et_bien_ecrites(paires):
    def juste(dit: str) -> bool:
        return dit == corriger(dit) == dit.strip() and not MAL_ECRIT.search(dit) and "\n" not in dit

    def courte(dit: str) -> bool:
        return 2 <= len(dit.split()) <= 60 and 1 <= len(FIN_DE_PHRASE.findall(dit)) <= 3

    assert fautives(paires, lambda p: all(map(juste, map(p.get, CHAMPS[1:4])))) == []
    assert fautives(paires, lambda p: p["prompt"].endswith("\u00a0?")) == []
    assert fautives(paires, lambda p: len(p["prompt"].split()) <= 20) == []
    for champ in ("chosen", "rejected"):
        assert fautives(paires, lambda p, c=champ: courte(p[c]) and p[c].endswith(".")) == []


def test_aucune_donnee_personnelle(paires):
    assert fautives(paires, lambda p: not any(reperer(p[champ]) for champ in CHAMPS[1:4])) == []


@pytest.mark.parametrize("mesure", [len, lambda dit: len(dit.split())], ids=["signes", "mots"])
def test_la_longueur_ne_dit_pas_laquelle_est_choisie(paires, mesure):
    """Critère par critère, la réponse choisie est la plus longue quatre à six fois sur dix."""
    plus_longues = defaultdict(list)
    for paire in paires:
        ecart = mesure(paire["chosen"]) - mesure(paire["rejected"])
        if ecart:
            plus_longues[paire["critere"]].append(ecart > 0)
    parts = {critere: sum(vues) / len(vues) for critere, vues in plus_longues.items()}
    assert {critere for critere, part in parts.items() if not 0.4 <= part <= 0.6} == set()


def test_une_reponse_peut_etre_trop_longue_ou_trop_courte(paires):
    """Le critère de longueur écarte l'une comme l'autre, et toujours nettement."""
    rapports = [len(p["rejected"]) / len(p["chosen"]) for p in paires if p["critere"] == "longueur"]
    assert [r for r in rapports if 0.6 < r < 1.4] == []
    assert sum(r > 1 for r in rapports) == pytest.approx(len(rapports) / 2, abs=4)


def test_s_abstenir_n_est_pas_toujours_la_bonne_reponse(paires):
    """Sinon un modèle apprendrait à toujours dire qu'il ne sait pas."""
    a_tort = [p for p in paires if p["critere"] == "question" and ABSTENTION.search(p["rejected"])]
    assert len(a_tort) >= 12
    assert [p["id"] for p in paires if p["critere"] == "abstention" and "«" in p["rejected"]] == []


@pytest.mark.parametrize("lecture", ["longueur", "longueur et marques"])
def test_la_forme_ne_dit_pas_laquelle_est_choisie(paires, lecture):
    """Longueur, ponctuation, chiffres, « selon », « oui », « je », « vous » : rien qui suffise."""
    assert lecture in LECTURES_DE_PAIRES
    assert aire(*deviner_les_choix(lecture, paires)) <= FUITE


def test_une_forme_qui_trahit_est_vue(paires):
    """Une réponse choisie sur trois commence par « Selon » : un classifieur s'en saisit aussitôt."""
    trahies = [
        p | {"chosen": f"Selon la fiche, {p['chosen']}"} if rang % 3 == 0 else p
        for rang, p in enumerate(paires)
    ]
    assert aire(*deviner_les_choix("longueur et marques", trahies)) > FUITE
