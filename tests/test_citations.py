"""Le vérificateur : ce qui est mot pour mot passe, un seul mot changé ne passe pas."""

from __future__ import annotations

import json

import pytest
from hypothesis import assume, given, strategies as st

from fabrique.recherche.citations import (
    MOT,
    Regle,
    controler_reponse,
    dates,
    est_mot_pour_mot,
    nombres,
    situer,
)
from fabrique.socle.emplacements import dossier_data

GUICHET = (
    "Le guichet ouvre le 3 mars 2025, au plus tard à 9 h. Prévoir quinze jours, deux photos "
    "et 1\u202f300 euros\u00a0; l’été, comptez quatre-vingt-dix jours."
)
PISCINE = "La piscine ferme aujourd’hui. L’entrée coûte 4,50 euros pour un adulte."
MONTRES = [GUICHET, PISCINE]


def regles(reponse: str, passages: list[str] = MONTRES) -> list[Regle]:
    return [constat.regle for constat in controler_reponse(reponse, passages).constats]


# ---------------------------------------------------------------- propriétés

mots = st.text(st.sampled_from("abcdéèêçœ"), min_size=1, max_size=8)
signes = st.sampled_from(
    [" ", ", ", "\u00a0: ", ". ", "\n\n", " (", ") ", "’", " 1\u202f300 ", " 2,5 ", " 12 "]
)
textes = st.lists(st.tuples(mots, signes), min_size=2, max_size=40).map(
    lambda couples: "".join(mot + signe for mot, signe in couples)
)


@st.composite
def extraits(tirer) -> tuple[str, str]:
    """Un texte, et une suite de ses mots entiers."""
    texte = tirer(textes)
    places = [mot.span() for mot in MOT.finditer(texte)]
    premier, dernier = sorted(tirer(st.integers(0, len(places) - 1)) for _ in range(2))
    return texte, texte[places[premier][0] : places[dernier][1]]


@given(extraits())
def test_toute_suite_de_mots_entiers_passe(cas):
    texte, extrait = cas
    assert controler_reponse(f"«\u00a0{extrait}\u00a0» [1].", [texte]).constats == ()
    debut, fin = situer(extrait, texte)
    assert est_mot_pour_mot(texte[debut:fin], extrait)


@given(extraits(), mots, st.integers(0, 1000))
def test_un_mot_change_ne_passe_pas(cas, autre, choix):
    """Le mot de remplacement ne doit pas faire, par hasard, une autre suite du texte."""
    texte, extrait = cas
    places = [mot.span() for mot in MOT.finditer(extrait)]
    debut, fin = places[choix % len(places)]
    change = f"{extrait[:debut]}z{autre}{extrait[fin:]}"
    assert regles(f"«\u00a0{change}\u00a0» [1].", [texte]) == [Regle.INFIDELE]


@given(extraits(), st.integers(0, 1000))
def test_un_mot_retire_ne_passe_pas(cas, choix):
    texte, extrait = cas
    places = [mot.span() for mot in MOT.finditer(extrait)]
    assume(len(places) > 2)
    debut, fin = places[1 + choix % (len(places) - 2)]
    ampute = extrait[:debut] + extrait[fin:]
    assume(not est_mot_pour_mot(ampute, texte))
    assert Regle.INFIDELE in regles(f"«\u00a0{ampute}\u00a0» [1].", [texte])


@given(st.text(max_size=200), st.lists(st.text(max_size=80), max_size=3))
def test_n_importe_quelle_reponse_se_relit(reponse, passages):
    controle = controler_reponse(reponse, passages)
    assert all(0 <= c.debut <= c.fin <= len(reponse) for c in controle.constats)


# ---------------------------------------------------------------- cas par cas


@pytest.mark.parametrize(
    "citation",
    [
        "deux photos et 1 300 euros",
        "l'été",
        "été, comptez",
        "1\u00a0300 euros ;",
        "l’e\u0301te\u0301",
        "au  plus\ntard",
    ],
)
def test_la_typographie_ne_compte_pas(citation):
    assert est_mot_pour_mot(citation, GUICHET)


@pytest.mark.parametrize(
    "citation",
    [
        "Deux photos",
        "deux photo",
        "1",
        "300 euros",
        "quatre",
        "vingt-dix jours",
        "deux, photos",
        "",
    ],
)
def test_le_reste_compte(citation):
    """Une majuscule, une fin de mot, un nombre coupé, un mot composé coupé, une virgule."""
    assert not est_mot_pour_mot(citation, GUICHET)


@pytest.mark.parametrize(
    ("reponse", "attendus"),
    [
        ("Oui\u00a0: «\u00a0deux photos\u00a0» [1].", []),
        ("«\u00a0deux photos\u00a0» [2].", [Regle.AUTRE_PASSAGE]),
        ("«\u00a0deux photos\u00a0» [3].", [Regle.AUTRE_PASSAGE, Regle.RANG]),
        ("«\u00a0deux photos\u00a0».", [Regle.SANS_RANG]),
        ('Il faut "deux photos" [1].', []),
        ("Il faut “trois photos” [1].", [Regle.INFIDELE]),
        ("«\u00a0\u00a0» [1].", [Regle.VIDE]),
        ("«\u00a0deux photos [1].", [Regle.GUILLEMET]),
        ("Il faut deux photos.", [Regle.SANS_APPUI]),
        ("Il faut 2 photos [1].", []),
        ("Il faut 4 photos [1].", [Regle.NOMBRE]),
        ("Comptez 15 jours, ou 90 l’été [1].", []),
        ("Il faut mille trois cents euros [1].", []),
        ("Le 3 mars [1].", []),
        ("Le 03/03/2025 [1].", []),
        ("Le 3 mars 2026 [1].", [Regle.DATE]),
        ("Le 3 mai 2025 [1].", [Regle.DATE]),
        ("«\u00a0deux photos\u00a0» [1]. Venez tôt.", [Regle.SANS_APPUI]),
        ("Non. La règle dit\u00a0: «\u00a0deux photos\u00a0» [1].", []),
        ("Rien ici [4].", [Regle.RANG]),
        ("", []),
    ],
)
def test_chaque_defaut_a_sa_regle(reponse, attendus):
    assert regles(reponse) == attendus


def test_un_constat_dit_ou_et_lequel():
    reponse = "Il faut «\u00a0L’entrée coûte 4,50 euros\u00a0» [1]."
    (constat,) = controler_reponse(reponse, MONTRES).constats
    assert (constat.regle, constat.rang) == (Regle.AUTRE_PASSAGE, 2)
    assert reponse[constat.debut : constat.fin] == "«\u00a0L’entrée coûte 4,50 euros\u00a0» [1]"


@pytest.mark.parametrize(
    ("ecrit", "lu"),
    [
        ("Dix-sept", "17"),
        ("soixante et onze", "71"),
        ("quatre-vingts", "80"),
        ("quatre-vingt-un", "81"),
        ("cent quatre-vingt-dix-neuf", "199"),
        ("deux cents", "200"),
        ("mille trois cent vingt", "1320"),
        ("quatre-vingt mille deux cents", "80200"),
        ("trois millions deux cent mille quinze", "3200015"),
    ],
)
def test_un_nombre_en_lettres_se_lit(ecrit, lu):
    assert [n for n, _ in nombres(f"Comptez {ecrit}\u00a0jours, un dossier et une copie.")] == [lu]


def test_les_nombres_et_les_dates_se_lisent():
    assert [
        n for n, _ in nombres("vingt et un ans, 1\u202f300 jours, 4,50 et mille trois cents")
    ] == [
        "21",
        "1300",
        "4,50",
        "1300",
    ]
    assert [d for d, _ in dates("du 1er\u00a0Août 2024 au 2/9/2025")] == [
        (1, 8, 2024),
        (2, 9, 2025),
    ]


def test_les_reponses_ecrites_pour_le_cours_passent_toutes():
    """Une faute y serait vue, et aucune n'y est inventée."""
    fiches = {}
    for ligne in (dossier_data() / "fiches.jsonl").read_text("utf-8").splitlines():
        fiche = json.loads(ligne)
        fiches[fiche["id"]] = fiche["texte"].split("\n\n")
    for ligne in (dossier_data() / "sources.jsonl").read_text("utf-8").splitlines():
        exemple = json.loads(ligne)
        passages = []
        for passage in exemple["passages"]:
            premier, dernier = passage["paragraphes"]
            passages.append("\n\n".join(fiches[passage["fiche"]][premier - 1 : dernier]))
        controle = controler_reponse(exemple["reponse"], passages)
        assert bool(controle.citations) == exemple["repondable"]
        if exemple["repondable"]:
            assert controle.constats == (), exemple["id"]
