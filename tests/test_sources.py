"""Le corpus *sources* : des citations mot pour mot, des passages qui existent, aucune fiche à deux jeux."""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from collections.abc import Callable

import numpy as np
import pytest
from test_questions import nombres

from benchmarks.fuites import CLASSIFIEURS, aire, deviner
from fabrique.corpus import lire_corpus
from fabrique.corpus.doublons import normaliser
from fabrique.socle.emplacements import dossier_data
from outils.typographie import corriger

#: Une citation : entre guillemets, suivie du rang du passage montré.
CITATION = re.compile(r"«\u00a0([^«»]+)\u00a0» \[(\d)\]")
#: À partir de cet indice de Jaccard sur les suites de cinq caractères, une question en répète une
#: autre. Deux questions sur des objets différents (« Mon code est valable… », « Mon agrément est
#: valable… ») vont jusqu'à 0,57 dans un même jeu, 0,49 d'un jeu à l'autre.
REDITE, REDITE_A_CHEVAL = 0.6, 0.5
#: Au-delà, la forme d'une question trahit qu'elle est sans réponse : 0,5 est l'AUC du hasard, et un
#: écart de 0,1 est le double de ce que le tirage des questions laisse d'incertitude.
FUITE = 0.6
CHAMPS = {
    "id": str,
    "question": str,
    "passages": list,
    "reponse": str,
    "repondable": bool,
    "fait": str,
    "jeu": str,
    "source": str,
    "licence": str,
}


@pytest.fixture(scope="module")
def exemples() -> list[dict]:
    lignes = (dossier_data() / "sources.jsonl").read_text("utf-8").splitlines()
    return [json.loads(ligne) for ligne in lignes]


@pytest.fixture(scope="module")
def fiches() -> dict[str, list[str]]:
    """Les paragraphes de chaque fiche, ses rubriques (« ## … ») comprises."""
    return {fiche["id"]: fiche["texte"].split("\n\n") for fiche in lire_corpus("fiches")}


def texte(passage: dict, fiches: dict[str, list[str]]) -> str:
    """Le texte d'un passage : du premier au dernier de ses paragraphes, comptés depuis 1."""
    premier, dernier = passage["paragraphes"]
    return "\n\n".join(fiches[passage["fiche"]][premier - 1 : dernier])


def fautifs(exemples: list[dict], juste: Callable[[dict], bool]) -> list[str]:
    """Les identifiants des exemples qui ne respectent pas une règle."""
    return [exemple["id"] for exemple in exemples if not juste(exemple)]


def citations(exemple: dict) -> list[tuple[str, int]]:
    """Chaque citation d'une réponse et le rang, depuis 1, du passage qu'elle annonce."""
    return [(cite, int(rang)) for cite, rang in CITATION.findall(exemple["reponse"])]


def test_il_y_a_assez_d_exemples_numerotes_dans_l_ordre(exemples):
    assert len(exemples) >= 700
    assert [e["id"] for e in exemples] == [f"sources-{n:04d}" for n in range(1, len(exemples) + 1)]


def test_chaque_exemple_a_tous_ses_champs(exemples):
    formes = [{champ: type(valeur) for champ, valeur in e.items()} for e in exemples]
    assert [e["id"] for e, forme in zip(exemples, formes, strict=True) if forme != CHAMPS] == []
    assert {e["licence"] for e in exemples} == {"CC-BY-4.0"}


def test_chaque_passage_montre_existe_et_fait_60_a_220_mots(exemples, fiches):
    """La fiche, les bornes ; une rubrique ouvre son passage et n'en commence pas une autre."""

    def juste(passage: dict) -> bool:
        premier, dernier = passage["paragraphes"]
        if not 1 <= premier <= dernier <= len(fiches.get(passage["fiche"], ())):
            return False
        dit = texte(passage, fiches)
        entier = "\n\n## " not in dit
        return entier and 60 <= len(dit.split()) <= 220

    assert fautifs(exemples, lambda e: all(juste(passage) for passage in e["passages"])) == []


def test_un_passage_n_est_montre_qu_une_fois(exemples):
    def juste(exemple: dict) -> bool:
        vus = [(p["fiche"], *p["paragraphes"]) for p in exemple["passages"]]
        return len(vus) == len(set(vus)) <= 3

    assert fautifs(exemples, juste) == []


def mot_pour_mot(exemple: dict, fiches: dict[str, list[str]]) -> bool:
    """Vrai si chaque citation est dans le passage annoncé, aux limites de mots."""
    montres = [texte(passage, fiches) for passage in exemple["passages"]]
    return all(
        rang <= len(montres) and re.search(rf"(?<!\w){re.escape(cite)}(?!\w)", montres[rang - 1])
        for cite, rang in citations(exemple)
    )


def test_toute_citation_est_mot_pour_mot_dans_le_passage_annonce(exemples, fiches):
    assert fautifs(exemples, lambda e: mot_pour_mot(e, fiches)) == []


@pytest.mark.parametrize(
    "reponse",
    [
        "Oui\u00a0: «\u00a0le guichet ferme à midi\u00a0» [2].",
        "Oui\u00a0: «\u00a0le guichet ferme à minuit\u00a0» [1].",
        "Oui\u00a0: «\u00a0e guichet ferme\u00a0» [1].",
        "Oui\u00a0: «\u00a0le guichet ferme\u00a0» [1] et «\u00a0il ouvre\u00a0» [1].",
    ],
)
def test_une_fausse_citation_est_vue(reponse):
    """Un passage qui n'est pas montré, un mot changé, un bout de mot, une seconde citation fausse."""
    fiches = {"f": ["Le samedi, le guichet ferme à midi."]}
    exemple = {"passages": [{"fiche": "f", "paragraphes": [1, 1]}]}
    juste = exemple | {"reponse": "À midi\u00a0: «\u00a0le guichet ferme à midi\u00a0» [1]."}
    assert mot_pour_mot(juste, fiches)
    assert not mot_pour_mot(exemple | {"reponse": reponse}, fiches)


def test_les_guillemets_ne_servent_qu_aux_citations(exemples):
    """Une réponse cite si et seulement si la question a sa réponse dans les passages."""
    assert (
        fautifs(exemples, lambda e: not re.search(r"[«»\[\]]", CITATION.sub("", e["reponse"])))
        == []
    )
    assert fautifs(exemples, lambda e: bool(citations(e)) == e["repondable"]) == []
    assert fautifs(exemples, lambda e: len(citations(e)) <= 2) == []
    assert fautifs(exemples, lambda e: all(len(c.split()) <= 30 for c, _ in citations(e))) == []


def test_la_source_est_la_fiche_citee(exemples):
    def citees(exemple: dict) -> str:
        rangs = [rang for _, rang in citations(exemple)]
        return ", ".join(dict.fromkeys(exemple["passages"][rang - 1]["fiche"] for rang in rangs))

    assert fautifs(exemples, lambda e: e["source"] == citees(e)) == []


def test_le_fait_est_dans_une_citation(exemples):
    """Le mot ou le nombre qui répond ; il peut manquer quand la réponse est un simple oui ou non."""

    def juste(exemple: dict) -> bool:
        plats = [cite.replace("\u00a0", " ").casefold() for cite, _ in citations(exemple)]
        fait = exemple["fait"].replace("\u00a0", " ").casefold()
        return not fait or any(fait in plat for plat in plats)

    assert fautifs(exemples, juste) == []
    repondables = [e for e in exemples if e["repondable"]]
    assert sum(bool(e["fait"]) for e in repondables) >= 0.9 * len(repondables)


def test_tout_nombre_d_une_reponse_est_dans_ce_qu_elle_cite(exemples, fiches):
    """Hors citation ; une abstention ne dit que des nombres des passages montrés."""

    def juste(exemple: dict) -> bool:
        cites = [cite for cite, _ in citations(exemple)]
        appuis = cites or [texte(passage, fiches) for passage in exemple["passages"]]
        dits = nombres(CITATION.sub("", exemple["reponse"]))
        return dits <= set().union(*map(nombres, appuis))

    assert fautifs(exemples, juste) == []


def test_les_proportions(exemples):
    """Sans réponse : un cinquième au moins, dans chaque jeu ; à deux fiches ou passages : trente au moins."""
    for jeu in ("entrainement", "validation", "test"):
        retenus = [e for e in exemples if e["jeu"] == jeu]
        assert sum(not e["repondable"] for e in retenus) >= 0.2 * len(retenus)
    parts = {jeu: n / len(exemples) for jeu, n in Counter(e["jeu"] for e in exemples).items()}
    assert parts == pytest.approx({"entrainement": 0.69, "validation": 0.1, "test": 0.21}, abs=0.03)
    assert sum(len({rang for _, rang in citations(e)}) == 2 for e in exemples) >= 30
    muets = [e for e in exemples if not e["repondable"]]
    assert sum(bool(e["passages"]) for e in muets) >= 0.8 * len(muets)
    assert sum(not e["passages"] for e in muets) >= 10


def test_le_bon_passage_n_est_pas_toujours_a_la_meme_place(exemples):
    """Sinon le modèle apprendrait la place : aucune ne porte plus de la moitié des réponses."""
    places = Counter(citations(e)[0][1] for e in exemples if e["repondable"])
    assert set(places) == {1, 2, 3}
    assert max(places.values()) <= 0.5 * sum(places.values())


def test_toute_fiche_sert_et_aucune_a_deux_jeux(exemples, fiches):
    """Les voisines comptent : une fiche de test n'est pas même montrée à l'entraînement."""
    jeux = defaultdict(set)
    for exemple in exemples:
        for passage in exemple["passages"]:
            jeux[passage["fiche"]].add(exemple["jeu"])
    assert set(jeux) == set(fiches)
    assert [fiche for fiche, servie in jeux.items() if len(servie) > 1] == []


def test_une_fiche_tenue_a_l_ecart_ne_s_apprend_pas_dans_questions(exemples):
    """Un modèle affiné sur *questions* n'a pas lu les réponses du test de *sources*."""
    apprises = {e["source"] for e in lire_corpus("questions") if e["jeu"] == "entrainement"}
    tenues = {p["fiche"] for e in exemples if e["jeu"] != "entrainement" for p in e["passages"]}
    assert tenues & apprises == set()


def test_aucune_question_n_en_repete_une_autre(exemples):
    """Deux questions se ressemblent moins encore d'un jeu à l'autre."""
    suites = []
    for exemple in exemples:
        dit = normaliser(exemple["question"])
        suites.append({dit[i : i + 5] for i in range(len(dit) - 4)})
    redites = []
    for rang, (un, a) in enumerate(zip(exemples, suites, strict=True)):
        for autre, b in zip(exemples[:rang], suites[:rang], strict=True):
            limite = REDITE if un["jeu"] == autre["jeu"] else REDITE_A_CHEVAL
            if len(a & b) >= limite * len(a | b):
                redites.append((autre["id"], un["id"]))
    assert redites == []


@pytest.mark.parametrize("lecture", CLASSIFIEURS)
def test_la_forme_d_une_question_ne_dit_pas_si_elle_a_sa_reponse(exemples, lecture):
    """Sinon un modèle apprendrait à s'abstenir devant un style, non devant un manque."""
    devines = deviner(CLASSIFIEURS[lecture], exemples)
    repondables = np.array([e["repondable"] for e in exemples])
    assert aire(devines[repondables], devines[~repondables]) <= FUITE


def test_une_fuite_est_vue(exemples):
    """Un prix demandé là où rien ne répond, et nulle part ailleurs : c'est ce qu'était ce corpus."""
    trahis = [
        e if e["repondable"] else e | {"question": f"Combien coûte {e['question']}"}
        for e in exemples
    ]
    repondables = np.array([e["repondable"] for e in exemples])
    devines = deviner(CLASSIFIEURS["mots et ponctuation"], trahis)
    assert aire(devines[repondables], devines[~repondables]) > FUITE


def test_les_passages_montres_ne_disent_pas_si_la_question_a_sa_reponse(exemples):
    """Leur nombre et celui de leurs fiches : aucun cas ne réunit plus d'abstentions que de réponses."""
    cas = defaultdict(Counter)
    for exemple in exemples:
        fiches = {passage["fiche"] for passage in exemple["passages"]}
        cas[len(exemple["passages"]), len(fiches)][exemple["repondable"]] += 1
    assert [forme for forme, vus in cas.items() if forme != (0, 0) and vus[False] > vus[True]] == []


def test_presque_toute_fiche_a_des_questions_des_deux_sortes(exemples, fiches):
    """Le sujet non plus ne doit rien dire."""
    sortes = defaultdict(set)
    for exemple in exemples:
        for passage in exemple["passages"]:
            sortes[passage["fiche"]].add(exemple["repondable"])
    assert sum(len(vues) == 2 for vues in sortes.values()) >= 0.95 * len(fiches)


def test_la_typographie_des_sources(exemples):
    """Questions et réponses d'une ligne, bien espacées ; une réponse commence et finit en phrase."""

    def juste(dit: str) -> bool:
        return dit == corriger(dit) == dit.strip() and not re.search(r"'|  |\n", dit)

    assert fautifs(exemples, lambda e: juste(e["question"]) and juste(e["reponse"])) == []
    assert fautifs(exemples, lambda e: 2 <= len(e["question"].split()) <= 25) == []
    assert fautifs(exemples, lambda e: re.match(r"[A-ZÀÉÊ0-9«]", e["reponse"])) == []
    assert fautifs(exemples, lambda e: e["reponse"].endswith(".")) == []
    assert fautifs(exemples, lambda e: len(e["reponse"].split()) <= 60) == []
