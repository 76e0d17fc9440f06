"""Lire à l'aveugle : rien ne trahit le modèle, et le fichier est un corpus de préférences."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from datasets import load_dataset

from fabrique.evaluation import aveugle
from fabrique.evaluation.aveugle import (
    Lecture,
    accord_des_annotateurs,
    egalites,
    lire_a_l_aveugle,
    lire_au_terminal,
    lire_preferences,
    panneau,
)
from fabrique.evaluation.paires import Part, apparier, part_de_la_seconde
from fabrique.socle.erreurs import ErreurFabrique

QUESTIONS = [{"instruction": f"Question <{rang}> ?"} for rang in range(12)]
PAIRES = apparier(QUESTIONS, [f"un{r}" for r in range(12)], [f"deux{r}" for r in range(12)])


@pytest.fixture
def fichier(tmp_path: Path) -> Path:
    return tmp_path / "preferences.jsonl"


def place_de(lecture: Lecture, debut: str) -> str:
    """Le choix (« 1 » ou « 2 ») qui désigne la réponse commençant par ``debut``."""
    return str(1 + [r.startswith(debut) for r in lecture.courante.reponses].index(True))


def tout_lire(lecture: Lecture, debut: str) -> None:
    while lecture.courante:
        lecture.noter(place_de(lecture, debut), "plus clair")


def test_le_fichier_est_un_corpus_de_preferences(fichier):
    tout_lire(Lecture(PAIRES, fichier, "Anne"), "deux")
    lus = load_dataset("json", data_files=str(fichier), split="train")
    assert len(lus) == 12
    for ligne in lus:
        rang = ligne["prompt"][0]["content"].split("<")[1].split(">")[0]
        assert [m["role"] for m in ligne["prompt"]] == ["user"]
        assert ligne["chosen"] == [{"role": "assistant", "content": f"deux{rang}"}]
        assert ligne["rejected"] == [{"role": "assistant", "content": f"un{rang}"}]
        assert (ligne["modele_choisi"], ligne["modele_ecarte"]) == ("affiné", "base")
        assert (ligne["annotateur"], ligne["raison"]) == ("Anne", "plus clair")
        assert ligne["heure"]
        assert ligne["secondes"] >= 0
    assert set(lus["modele_vu_en_premier"]) == {"base", "affiné"}, "les places sont mélangées"
    assert part_de_la_seconde(lire_preferences(fichier)["Anne"]) == Part(12, 12)


def test_choisir_toujours_a_gauche_ne_designe_aucun_modele(fichier):
    lecture = Lecture(PAIRES, fichier, "Anne")
    while lecture.courante:
        lecture.noter("1")
    assert 0 < part_de_la_seconde(lire_preferences(fichier)["Anne"]).succes < 12


def test_chaque_annotateur_a_son_tirage_et_le_retrouve(fichier):
    def tirage(annotateur: str) -> list[tuple[str, str]]:
        return [vue.reponses for vue in Lecture(PAIRES, fichier, annotateur).restantes]

    assert tirage("Anne") == tirage(" Anne ") != tirage("Bruno")


def test_une_egalite_est_gardee_hors_du_corpus(fichier):
    lecture = Lecture(PAIRES[:2], fichier, "Anne")
    lecture.noter("0", "pareil")
    lecture.noter("1")
    assert len(fichier.read_text("utf-8").splitlines()) == 1
    [ligne] = map(json.loads, egalites(fichier).read_text("utf-8").splitlines())
    assert (ligne["preference"], ligne["raison"]) == (0, "pareil")
    assert sorted(map(abs, lire_preferences(fichier)["Anne"].values())) == [0, 1]


def test_on_reprend_ou_l_on_s_est_arrete(fichier):
    premiere = Lecture(PAIRES, fichier, "Anne")
    for choix in "102":
        premiere.noter(choix)
    reprise = Lecture(PAIRES, fichier, "Anne")
    assert [v.reponses for v in reprise.restantes] == [v.reponses for v in premiere.restantes]
    assert reprise.avancement == "Paire 4 sur 12"
    assert Lecture(PAIRES, fichier, "Bruno").avancement == "Paire 1 sur 12"


def test_deux_reponses_identiques_ne_se_comparent_pas(fichier):
    memes = apparier(QUESTIONS[:1], ["pareil"], ["pareil"])
    assert Lecture(memes + PAIRES[:1] * 2, fichier, "Anne").total == 1


def test_l_accord_des_annotateurs(fichier):
    tout_lire(Lecture(PAIRES, fichier, "Anne"), "deux")
    bruno = Lecture(PAIRES, fichier, "Bruno")
    for _ in range(6):
        bruno.noter(place_de(bruno, "un"))
    [(noms, mesure)] = accord_des_annotateurs(lire_preferences(fichier)).items()
    assert noms == ("Anne", "Bruno")
    assert mesure.identiques == Part(0, 6)
    assert mesure.kappa == 0


def test_un_annotateur_sans_nom_est_refuse(fichier):
    with pytest.raises(ErreurFabrique, match="prénom ou un code"):
        Lecture(PAIRES, fichier, "  ")


def test_un_fichier_abime_est_dit(fichier):
    fichier.write_text('{"annotateur": "An', "utf-8")
    with pytest.raises(ErreurFabrique, match=r"illisibles \(lignes : 1\)"):
        lire_preferences(fichier)


# ---------------------------------------------------------------- le carnet et le terminal


def test_le_panneau_se_parcourt_au_clavier(fichier):
    """Raison, puis trois boutons natifs ; rien n'y nomme un modèle."""
    lecture = Lecture(PAIRES[:2], fichier, "Anne")
    texte, raison, rangee = panneau(lecture).children
    gauche, egalite, droite = rangee.children
    noms = ["La 1 est meilleure", "Égalité", "La 2 est meilleure"]
    assert [b.description for b in rangee.children] == noms
    attendue = lecture.courante
    assert all(reponse in texte.value for reponse in attendue.reponses)
    assert "Question &lt;" in texte.value
    for visible in (texte.value, *noms):
        assert "affiné" not in visible
        assert "base" not in visible
    raison.value = " exacte "
    droite.click()
    [ligne] = map(json.loads, fichier.read_text("utf-8").splitlines())
    assert ligne["chosen"][0]["content"] == attendue.reponses[1]
    assert ligne["raison"] == "exacte"
    assert raison.value == ""
    egalite.click()
    assert "Tout est lu" in texte.value
    assert all(commande.disabled for commande in (raison, gauche, egalite, droite))


def test_au_terminal_on_redemande_et_l_on_peut_s_arreter(fichier, capsys):
    lecture = Lecture(PAIRES, fichier, "Anne")
    saisies = iter(["oui", " 1 ", "plus courte", "0", "", "Q"])
    lire_au_terminal(lecture, lambda _: next(saisies))
    assert lecture.avancement == "Paire 3 sur 12"
    sortie = capsys.readouterr().out
    assert "--- Réponse 2 ---" in sortie
    assert "affiné" not in sortie


@pytest.mark.parametrize("coupure", [EOFError, KeyboardInterrupt])
def test_une_coupure_garde_ce_qui_est_note(fichier, coupure):
    saisies = iter(["1", ""])

    def demander(_: str) -> str:
        try:
            return next(saisies)
        except StopIteration:
            raise coupure from None

    lire_au_terminal(Lecture(PAIRES, fichier, "Anne"), demander)
    assert len(lire_preferences(fichier)["Anne"]) == 1


def test_dans_un_carnet_la_seance_montre_le_panneau(fichier, monkeypatch):
    montres = []
    monkeypatch.setattr(aveugle, "dans_un_carnet", lambda: True)
    monkeypatch.setattr(aveugle, "display", montres.append)
    lecture = lire_a_l_aveugle(PAIRES, fichier, "Anne", modeles=("0,5 milliard", "7 milliards"))
    [boite] = montres
    boite.children[2].children[0].click()
    assert lecture.avancement == "Paire 2 sur 12"
    assert "milliard" in fichier.read_text("utf-8")
