"""L'épreuve des sources : chaque mesure comptée à la main, la courbe, la commande et sa reprise."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
from conftest import ajouter_adaptateur

import fabrique
from fabrique.evaluation import comparaison, epreuve_sourcee, rapport
from fabrique.evaluation.comparaison import Evaluation
from fabrique.evaluation.epreuve_sourcee import (
    Cas,
    EpreuveSourcee,
    Sources,
    citations_de,
    courbe_des_seuils,
    mesurer,
)
from fabrique.ligne_de_commande import principal
from fabrique.modeles.origine import inscrire_origine
from fabrique.recherche.index import Index
from fabrique.recherche.passages import Fiche, Trouve
from fabrique.socle.erreurs import ErreurFabrique

BAC = "Le bac part à huit heures. La traversée coûte trois écus."
FOUR = "Le four banal chauffe le samedi. Le pain s’y cuit pour un liard."
MONTRES = (Trouve("bac", "Le bac", BAC), Trouve("four", "Le four", FOUR))


def cas(*attendues: str, fait: str = "", chance: float = 1.0) -> Cas:
    return Cas("Quand ?", MONTRES, attendues, fait, chance)


def valeur(mesure: str, lu: Cas, dite: str) -> tuple[float, float]:
    """Ce qu'une mesure a compté d'une réponse : trouvé, à trouver."""
    releve = mesurer([lu], [dite])[mesure]
    return releve.numerateurs[0], releve.denominateurs[0]


@pytest.fixture(scope="module", autouse=True)
def toujours_repondre():
    """Une calibration qui répond à tout : apprendre celle du cours demanderait dix secondes."""
    calibration = SimpleNamespace(
        probabilite=lambda *_: 0.5, point=lambda: SimpleNamespace(seuil=0.25)
    )
    with pytest.MonkeyPatch.context() as remplace:
        remplace.setattr(epreuve_sourcee, "calibration_livree", lambda: calibration)
        yield


# ---------------------------------------------------------------- une mesure, une réponse

BON = "«\u00a0La traversée coûte trois écus\u00a0» [1]."
AUTRE = "«\u00a0Le four banal chauffe le samedi\u00a0» [2]."
FAUX = "«\u00a0La traversée coûte deux écus\u00a0» [1]."
MAL_PLACE = "«\u00a0La traversée coûte trois écus\u00a0» [2]."
NU = "Cela coûte trois écus."


@pytest.mark.parametrize(
    ("mesure", "dite", "compte"),
    [
        ("passage_cite", BON, (1, 1)),
        ("passage_cite", "«\u00a0Le bac part à huit heures\u00a0» [1].", (1, 1)),
        ("passage_cite", AUTRE, (0, 1)),
        ("passage_cite", FAUX, (0, 1)),
        ("passage_cite", MAL_PLACE, (0, 1)),
        ("passage_cite", "", (0, 1)),
        ("phrase_citee", BON, (1, 1)),
        ("phrase_citee", "«\u00a0coûte trois écus\u00a0» [1].", (1, 1)),
        ("phrase_citee", f"«\u00a0{BAC}\u00a0» [1].", (1, 1)),
        ("phrase_citee", "«\u00a0Le bac part à huit heures\u00a0» [1].", (0, 1)),
        ("phrase_citee", FAUX, (0, 1)),
        ("phrase_citee", MAL_PLACE, (0, 1)),
        ("passage_montre", "", (1, 1)),
        ("fait_cite", BON, (1, 1)),
        ("fait_cite", NU, (0, 1)),
        ("citations_fideles", BON + " " + FAUX, (1, 2)),
        ("citations_fideles", MAL_PLACE, (0, 1)),
        ("citations_fideles", NU, (0, 0)),
        ("sans_appui", BON, (0, 1)),
        ("sans_appui", BON + " Le passeur est aimable.", (1, 1)),
        ("sans_appui", NU, (0, 0)),
        ("abstention_precision", NU, (0, 1)),
        ("abstention_precision", BON, (0, 0)),
        ("abstention_rappel", NU, (0, 0)),
    ],
)
def test_une_question_qui_a_sa_reponse(mesure, dite, compte):
    """Le bon passage est celui que la référence cite, quelle que soit la phrase qu'on en cite."""
    assert valeur(mesure, cas("La traversée coûte trois écus", fait="trois écus"), dite) == compte


@pytest.mark.parametrize(
    ("mesure", "dite", "compte"),
    [
        ("passage_cite", BON, (0, 0)),
        ("passage_montre", BON, (0, 0)),
        ("abstention_precision", "", (1, 1)),
        ("abstention_rappel", "", (1, 1)),
        ("abstention_rappel", AUTRE, (0, 1)),
        ("fait_cite", AUTRE, (0, 0)),
    ],
)
def test_une_question_sans_reponse(mesure, dite, compte):
    assert valeur(mesure, cas(), dite) == compte


def test_les_citations_d_une_reference():
    assert citations_de(f"Oui\u00a0: {BON} Et {AUTRE}") == (
        "La traversée coûte trois écus",
        "Le four banal chauffe le samedi",
    )
    assert citations_de("Les passages n’en disent rien.") == ()


def test_la_courbe_va_de_la_plus_prudente_a_la_plus_bavarde():
    """Dix questions, de la plus sûre à la moins sûre : six bonnes, deux mauvaises, deux sans réponse."""
    sures = [cas("La traversée coûte trois écus", chance=1 - n / 20) for n in range(8)]
    vaines = [cas(chance=0.1), cas(chance=0.05)]
    dites = [BON] * 6 + [AUTRE] * 4
    points = courbe_des_seuils([*sures, *vaines], dites)
    assert [p.repondues for p in points] == pytest.approx([n / 10 for n in range(1, 11)])
    assert [p.justes for p in points] == pytest.approx([1] * 6 + [6 / 7, 6 / 8, 6 / 9, 6 / 10])
    assert [p.fausses for p in points] == pytest.approx([0] * 8 + [0.5, 1])
    assert all(p.ic95[0] <= p.justes <= p.ic95[1] for p in points)
    assert points[0].seuil == 1
    assert points[-1].seuil == 0.05


def test_une_reponse_sans_citation_n_est_pas_repondue():
    (point,) = courbe_des_seuils([cas("La traversée coûte trois écus")] * 10, [NU] * 5 + [BON] * 5)
    assert (point.repondues, point.justes) == (0.5, 1)


# ---------------------------------------------------------------- la commande

FICHES = [
    Fiche("bac", "Le bac de la rivière", BAC),
    Fiche("four", "Le four banal", FOUR),
    Fiche("puits", "Le puits communal", "Le puits se cure en mars. Chacun y tire deux seaux."),
]
QUESTIONS = [
    ("Combien coûte la traversée du bac ?", BON),
    ("À quelle heure part le bac ?", "«\u00a0Le bac part à huit heures\u00a0» [1]."),
    ("Quand chauffe le four banal ?", "«\u00a0Le four banal chauffe le samedi\u00a0» [1]."),
    ("Quand se cure le puits communal ?", "«\u00a0Le puits se cure en mars\u00a0» [1]."),
    ("Qui garde les oies du bac ?", "Les passages ne le disent pas."),
    ("Le meunier est-il marié ?", "Les passages ne le disent pas."),
]


@pytest.fixture(scope="module")
def index(tmp_path_factory) -> Path:
    return Index.depuis(FICHES, sens="aucun").enregistrer(tmp_path_factory.mktemp("i") / "index")


@pytest.fixture(scope="module")
def adaptateur(dossier_petit, tmp_path_factory) -> Path:
    dossier = tmp_path_factory.mktemp("adaptateur")
    _, modele = fabrique.charger(dossier_petit, "nf4", silencieux=True)
    inscrire_origine(dossier, modele, [])
    ajouter_adaptateur(modele).save_pretrained(dossier)
    return dossier


@pytest.fixture(scope="module")
def questions(tmp_path_factory) -> Path:
    chemin = tmp_path_factory.mktemp("corpus") / "village.json"
    lignes = [{"instruction": q, "input": "", "output": r} for q, r in QUESTIONS]
    chemin.write_text(json.dumps(lignes, ensure_ascii=False), "utf-8")
    return chemin


def commande(dossier_petit, adaptateur, questions, index, *options: str) -> list[str]:
    return [
        "evaluer", "--model", str(dossier_petit), "--adaptateur", str(adaptateur), "--general", "",
        "--dataset", str(questions), "--exemples", "0", "--max_new_tokens", "4",
        "--index", str(index), *options,
    ]  # fmt: skip


def test_la_commande_ajoute_les_mesures_sourcees_et_reprend(
    dossier_petit, adaptateur, questions, index, tmp_path, monkeypatch, capsys
):
    """Coupée aux réponses sourcées du modèle affiné, elle ne redemande que celles-là."""
    page = tmp_path / "r.html"
    ordre = commande(dossier_petit, adaptateur, questions, index, "--json", "--rapport", str(page))
    poses, vraie, limite = [], comparaison.generer_par_lots, 3

    def generer(modele, tokenizer, exemples, **reglages):
        if len(poses) == limite:
            raise KeyboardInterrupt
        poses.append(bool(reglages.get("grammaires")))
        return vraie(modele, tokenizer, exemples, **reglages)

    monkeypatch.setattr(comparaison, "generer_par_lots", generer)
    assert principal(ordre) == 1
    assert "18 réponses sont gardées" in json.loads(capsys.readouterr().out)["remede"]
    assert poses == [False, True, False]
    poses.clear()
    limite = 99
    assert principal(ordre) == 0
    assert poses == [True]
    objet = json.loads(capsys.readouterr().out)
    mesures = {m["nom"]: m for m in objet["mesures"]}
    assert {"f1", "passage_cite", "passage_montre", "citations_fideles"} <= mesures.keys()
    assert mesures["citations_fideles"]["base"] == mesures["citations_fideles"]["affine"] == 1
    ecrit = json.loads(page.with_suffix(".evaluation.json").read_text("utf-8"))["sources"]
    assert ecrit["passages"] == 3
    assert [e["nom"] for e in ecrit["evaluations"]] == ["base", "affiné"]
    assert list(ecrit["courbes"]) == ["base", "affiné"]
    assert ecrit["courbes"]["affiné"][-1]["repondues"] == 1
    dit = page.read_text("utf-8")
    assert "Répondre d’après des fiches" in dit
    assert "Ce que donnerait chaque seuil" in dit
    assert "## Répondre d’après des fiches" in page.with_suffix(".evaluation.md").read_text("utf-8")


@pytest.mark.parametrize("abimer", [False, True])
def test_ce_qui_manque_se_dit_avant_de_charger(
    dossier_petit,
    adaptateur,
    questions,
    index,
    fichier_corpus,
    tmp_path,
    monkeypatch,
    capsys,
    abimer,
):
    """Un index absent ; un corpus dont aucune réponse ne cite."""
    charge = lambda *_, **__: pytest.fail("modèle chargé")  # noqa: E731
    monkeypatch.setattr("fabrique.evaluation.epreuve.charger", charge)
    if abimer:
        ordre = commande(dossier_petit, adaptateur, questions, tmp_path / "absent")
    else:
        ordre = commande(dossier_petit, adaptateur, fichier_corpus, index)
    assert principal(ordre) == 1
    dit = capsys.readouterr().err
    assert ("index" if abimer else "aucune réponse de référence ne cite") in dit
    assert dit.count("\n") == 1


@pytest.fixture(scope="module")
def sources() -> Sources:
    exemples = [{"instruction": q, "output": r} for q, r in QUESTIONS]
    return Sources(exemples, Index.depuis(FICHES, sens="aucun"))


def conclure(sources: Sources, reponses: list[str]) -> EpreuveSourcee:
    """L'épreuve d'une base muette et d'un modèle aux réponses connues, seuil mis à zéro."""
    sources.seuil = 0
    muettes = [("", True)] * len(reponses)
    dites = [(texte, True) for texte in reponses]
    return sources.conclure({"base": (muettes, 1.0), "affiné": (dites, 1.0)})


def test_le_verdict_demande_le_passage_de_la_question_posee(sources):
    """Bien citer se voit ; citer toujours la même chose, non."""
    justes = [r for _, r in QUESTIONS]
    bonnes = conclure(sources, justes)
    base, affine = bonnes.evaluations
    assert isinstance(affine, Evaluation)
    assert (base.valeur("passage_cite"), affine.valeur("passage_cite")) == (0, 1)
    assert affine.temoins["passage_cite"].valeur() > 0.5
    assert affine.valeur("abstention_rappel") == 1
    assert affine.valeur("passage_montre") == 1
    lignes = {rangee[0]: rangee for rangee in rapport.rangees_sourcees(bonnes)}
    assert lignes["Bon passage cité"][2].startswith("100,0\u00a0%")


def test_le_seuil_fait_taire_les_deux_modeles(sources):
    justes = [(r, True) for _, r in QUESTIONS]
    sources.seuil = 2
    tue = sources.evaluer(justes, "affiné", 1.0)
    assert [e["reponse"] for e in tue.exemples] == [""] * len(QUESTIONS)
    assert tue.valeur("passage_cite") == 0
    assert tue.valeur("abstention_rappel") == 1


def test_sans_reference_qui_cite_on_refuse():
    with pytest.raises(ErreurFabrique, match="ne cite"):
        Sources([{"instruction": "Quoi ?", "output": "Rien."}], Index.depuis(FICHES, sens="aucun"))
