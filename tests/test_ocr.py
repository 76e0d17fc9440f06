"""Le bruit d'OCR relevé puis refait, les taux d'erreur comptés, un lexique qui corrige."""

from __future__ import annotations

import json
import random
import sys

import numpy as np
import pytest

from fabrique.corpus.bruit_ocr import (
    TABLE,
    Bruit,
    PaireAlignee,
    bruit_livre,
    differences,
    morceaux,
    relever,
)
from fabrique.evaluation import metriques
from fabrique.recettes import correction_ocr
from fabrique.recettes.correction_ocr import CONSIGNE, couper, exemples_de_correction
from fabrique.socle.erreurs import ErreurFabrique
from outils import bruit_ocr
from outils.tester import RACINE

DONNEES = RACINE.parent / "shared" / "donnees"


# ---------------------------------------------------------------- relever


def test_les_differences_sont_des_suites_sans_places_vides():
    paire = PaireAlignee("la ma@ine est@ fermé@ le so1r", "la mairie est, fermée le soir")
    assert list(differences(paire)) == [("iri", "in"), (",", ""), ("e", ""), ("i", "1")]


def test_ce_que_la_reference_ne_couvre_pas_n_est_pas_une_erreur():
    paire = PaireAlignee("abcdxyz", "abed###")
    assert list(differences(paire)) == [("e", "c")]
    releve = relever([paire] * 3)
    assert releve.caracteres == 12
    assert releve.taux == pytest.approx(3 / 12)
    assert releve.confusions == {"e": {"c": 1.0}}


def test_les_taux_sont_ceux_des_paires():
    """Trois « é » lus « e » sur dix, « rn » lu « m » une fois sur deux, une espace perdue sur quatre."""
    paires = [
        *[PaireAlignee("e", "é")] * 3,
        *[PaireAlignee("é", "é")] * 7,
        *[PaireAlignee("tom@e", "torne")] * 4,
        *[PaireAlignee("torne", "torne")] * 4,
        *[PaireAlignee("a@b", "a b")] * 3,
        *[PaireAlignee("a b", "a b")] * 9,
        *[PaireAlignee("b,", "b@")] * 3,
    ]
    bruit = relever(paires)
    assert bruit.confusions["é"] == {"e": pytest.approx(0.3)}
    assert bruit.confusions["rn"] == {"m": pytest.approx(0.5)}
    assert bruit.confusions[" "] == {"": pytest.approx(0.25)}
    assert bruit.confusions[""] == {",": pytest.approx(3 / bruit.caracteres)}
    assert bruit.gardees == 1
    rare = relever([*paires, PaireAlignee("qqqqq", "zzzzz"), PaireAlignee("q", "z")])
    assert "z" not in rare.confusions
    assert rare.gardees < 1


def test_une_paire_se_coupe_aux_espaces_communes():
    paire = PaireAlignee("un de@x trois quatre cinq", "un deux trois quatre ####")
    assert list(morceaux(paire, 7)) == [("un dex", "un deux"), ("trois quatre", "trois quatre")]


# ---------------------------------------------------------------- refaire


def test_le_bruit_refait_les_taux_qu_on_lui_donne():
    bruit = Bruit({"é": {"e": 0.2}, "rn": {"m": 0.5}, " ": {"": 0.1}, "": {",": 0.01}})
    texte = "été torne vite " * 2000
    lu = bruit.abimer(texte, random.Random(0))
    assert lu.count("m") / texte.count("rn") == pytest.approx(0.5, abs=0.05)
    assert 1 - lu.count("é") / texte.count("é") == pytest.approx(0.2, abs=0.03)
    assert 1 - lu.count(" ") / texte.count(" ") == pytest.approx(0.1, abs=0.02)
    assert lu.count(",") / len(texte) == pytest.approx(0.01, abs=0.003)
    assert bruit.abimer(texte, random.Random(0)) == lu
    assert bruit.abimer(texte, random.Random(0), force=0) == texte


def test_un_document_est_plus_mal_lu_qu_un_autre():
    bruit = Bruit({"a": {"o": 0.1}}, inegalites=(0.0, 5.0))
    lus = {bruit.abimer("a" * 200, random.Random(g)).count("o") // 20 for g in range(12)}
    assert 0 in lus
    assert max(lus) >= 3


def test_le_s_long_s_ajoute_a_la_main():
    avec = bruit_livre("registres").avec("ſ", "f", 1.0)
    assert "ſ" not in bruit_livre("registres").confusions
    assert avec.abimer("ſſſ", random.Random(1), force=1).count("f") == 3


def test_la_table_livree_ne_porte_que_des_signes_et_son_origine():
    table = json.loads(TABLE.read_text("utf-8"))
    assert "ICDAR" in table["origine"]
    assert "CC0" in table["origine"]
    for nom in bruit_ocr.SORTES:
        bruit = bruit_livre(nom)
        assert all(
            len(ecrit) <= 3 and len(lu) <= 3 and 0 < part <= 1
            for ecrit, lus in bruit.confusions.items()
            for lu, part in lus.items()
        )
        assert bruit.confusions["é"]["e"] > 0.01
        assert bruit.confusions[" "][""] > 0.001
        assert sum(bruit.inegalites) / len(bruit.inegalites) == pytest.approx(1, abs=0.01)


@pytest.mark.skipif(not DONNEES.exists(), reason="les paires d’ICDAR ne sont pas là")
def test_la_table_livree_est_celle_que_la_commande_releve():
    livree = json.loads(TABLE.read_text("utf-8"))["bruits"]
    releves = bruit_ocr.table(DONNEES)
    assert {nom: bruit_ocr.arrondir(bruit) for nom, bruit in releves.items()} == livree


# ---------------------------------------------------------------- mesurer


def test_les_taux_se_comptent_a_la_main():
    pytest.importorskip("jiwer", reason="extra [ocr] non installé")
    assert metriques.erreurs_de_caracteres("la maine", "la mairie") == (2, 9)
    assert metriques.erreurs_de_mots("la maine est  ici", "la mairie est") == (2, 3)
    assert metriques.erreurs_de_caracteres("a", "") == (1, 0)
    lu, reference = "le rnaire parle d’Internet", "le maire parle d’Internet"
    assert metriques.mots_repares(lu, reference, reference) == (1, 1)
    assert metriques.mots_gates(lu, "le maire parle d’interner", reference) == (1, 3)
    assert metriques.mots_gates(lu, lu, reference) == (0, 3)


def test_sans_jiwer_une_phrase_dit_quoi_installer(monkeypatch):
    monkeypatch.setitem(sys.modules, "jiwer", None)
    with pytest.raises(ErreurFabrique, match=r"fabrique\[ocr\]"):
        metriques.erreurs_de_caracteres("a", "b")


# ---------------------------------------------------------------- corriger


def test_un_morceau_ne_coupe_pas_de_mot():
    texte = "alpha bravo charlie delta echo foxtrot golf hotel"
    coupes = couper(texte, 15)
    assert texte.startswith(" ".join(coupes))
    assert all(len(morceau) >= 15 for morceau in coupes)


def test_un_exemple_va_du_mal_lu_a_l_ecrit():
    bruit = Bruit({"a": {"o": 0.5}})
    textes = ["La mairie a la charge des actes d’état civil, et la garde de ses archives. " * 3]
    exemples = exemples_de_correction(textes, [bruit], tours=2)
    assert exemples[:] == exemples_de_correction(textes, [bruit], tours=2)[:]
    assert set(exemples["instruction"]) == {CONSIGNE}
    assert all(e["input"].replace("o", "a") == e["output"].replace("o", "a") for e in exemples)
    assert any(e["input"] != e["output"] for e in exemples)


def test_le_lexique_repare_un_mot_et_laisse_ce_qu_il_connait():
    pytest.importorskip("rapidfuzz", reason="extra [ocr] non installé")
    lexique = correction_ocr.Lexique(["la mairie mairie délivre un acte", "le marie délivre"])
    assert lexique.corriger("La mairle délivrc un acte.") == "La mairie délivre un acte."
    assert (
        lexique.corriger("MAIRLE, Mairle, mal, Zanzibar 12") == "MAIRIE, Mairie, mal, Zanzibar 12"
    )
    assert lexique.corriger("marie") == "marie"


def test_la_mesure_dit_ce_qui_est_repare_et_ce_qui_est_gate():
    pytest.importorskip("jiwer", reason="extra [ocr] non installé")
    references = ["le maire signe", "un acte gratuit"]
    lus, corriges = ["le rnaire signe", "un acte gratuit"], ["le maire signe", "un pacte gratuit"]
    rien = correction_ocr.mesurer_correction(lus, lus, references)
    faite = correction_ocr.mesurer_correction(lus, corriges, references)
    assert float(rien.caracteres.valeur()) == pytest.approx(2 / 29)
    assert float(faite.caracteres.valeur()) == pytest.approx(1 / 29)
    assert rien.ecart == (0, 0)
    assert float(faite.repares.valeur()) == 1
    assert float(faite.gates.valeur()) == pytest.approx(1 / 5)
    assert "gâtés" in correction_ocr.tableau({"rien": rien, "faite": faite})


def test_le_modele_choisit_entre_le_mot_lu_et_ses_voisins(tokenizer, monkeypatch):
    """Le voisin l'emporte s'il gagne plus que son prix ; un mot connu n'est jamais mis en question."""
    pytest.importorskip("rapidfuzz", reason="extra [ocr] non installé")
    lexique = correction_ocr.Lexique(["la mairie marie mairie délivre"])

    def noter(_modele, exemples, adaptateur):
        assert adaptateur is False
        textes = [tokenizer.decode(exemple["input_ids"]) for exemple in exemples]
        return [np.array([3.0 * ("mairie" in texte)]) for texte in textes]

    monkeypatch.setattr(correction_ocr, "log_probabilites", noter)
    choisir = correction_ocr.corriger_par_choix
    assert choisir(None, tokenizer, lexique, ["La mairle délivre"], prix=2) == ["La mairie délivre"]
    assert choisir(None, tokenizer, lexique, ["La mairle délivre"], prix=4) == ["La mairle délivre"]
    assert choisir(None, tokenizer, lexique, ["La marie délivre"], prix=0) == ["La marie délivre"]
