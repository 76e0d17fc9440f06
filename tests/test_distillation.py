"""Distiller : un maître range, un élève apprend, et ce qui est dit de l'un et de l'autre se recompte."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from serveurs import Serveur, envoyer, protocole
from test_classer import MOTS, TEXTES, ecrire

from fabrique.evaluation.incertitude import moyenne
from fabrique.ligne_de_commande import principal
from fabrique.recettes.classement import relire
from fabrique.recettes.distillation import A_RELIRE, RANGES, Comite, Face
from fabrique.socle.erreurs import ErreurFabrique

#: La moitié a une étiquette, l'autre n'en a pas.
CONNUS, SANS = TEXTES[::2], [(texte,) for texte, _ in TEXTES[1::2]]
VERITE = [(f"Un problème de {mots[0]} et de {mots[1]}.", nom) for nom, mots in MOTS.items()] * 2


class Fixe:
    """Un membre de comité qui dit toujours les mêmes probabilités."""

    def __init__(self, *probabilites: float, etiquettes=("eau", "école")) -> None:
        self.dites, self.etiquettes = probabilites, etiquettes

    def probabilites(self, textes):
        return np.array([self.dites] * len(textes))


@pytest.fixture
def dossier(tmp_path) -> Path:
    """Les textes sans étiquette, et un maître entraîné sur les autres."""
    ecrire(tmp_path / "sans.csv", SANS, ("texte",))
    connus = ecrire(tmp_path / "connus.csv", CONNUS)
    maitre = ["classer", "entrainer", str(connus), "--methode", "lettres"]
    assert principal([*maitre, "--sortie", str(tmp_path / "maitre")]) == 0
    return tmp_path


def distiller(dossier: Path, *options: str, sortie: str = "eleve") -> int:
    commande = [
        "classer",
        "distiller",
        str(dossier / "sans.csv"),
        "--sortie",
        str(dossier / sortie),
    ]
    return principal([*commande, *map(str, options)])


def lire(fichier: Path) -> list[dict]:
    with fichier.open(encoding="utf-8", newline="") as flux:
        return list(csv.DictReader(flux))


def test_un_comite_dit_la_moyenne():
    comite = Comite([Fixe(0.9, 0.1), Fixe(0.2, 0.8)], "deux")
    (rangee,) = comite.ranger(["Bonjour."])
    assert (rangee.etiquette, rangee.probabilite) == ("eau", pytest.approx(0.55))
    with pytest.raises(ErreurFabrique, match="« voirie », « école »"):
        Comite([Fixe(1, 0), Fixe(1, 0, etiquettes=("eau", "voirie"))], "deux")


def test_l_ecart_se_compte_texte_par_texte():
    """Sur quatre textes : deux justes, puis trois ; l'élève ne fait jamais moins bien."""
    face = Face.mesurer(moyenne([1, 1, 0, 0]), moyenne([1, 1, 1, 0]))
    assert (face.maitre.valeur, face.eleve.valeur, face.ecart.valeur) == (0.5, 0.75, 0.25)
    assert face.ecart.ic95[0] == 0
    assert "n’est pas établi" in str(face)
    assert "mieux que son maître" in str(Face.mesurer(moyenne([0] * 9), moyenne([1] * 9)))
    assert "moins bien" in str(Face.mesurer(moyenne([1] * 9), moyenne([0] * 9)))


def test_la_commande_range_apprend_et_compare(dossier, capsys):
    verite = ecrire(dossier / "verite.csv", VERITE)
    capsys.readouterr()
    options = ("--maitre", dossier / "maitre", "--seuil", "0,45", "--verite", verite)
    assert distiller(dossier, *options, "--json") == 0
    fait = json.loads(capsys.readouterr().out)
    appris, a_relire = (lire(dossier / "eleve" / nom) for nom in (RANGES, A_RELIRE))
    assert (fait["ranges"], fait["a_relire"]) == (len(appris), len(a_relire))
    assert len(appris) + len(a_relire) == len(SANS)
    assert all(float(r["probabilite"]) >= 0.45 for r in appris)
    assert a_relire
    assert all(float(r["probabilite"]) < 0.45 for r in a_relire)
    assert {r["maitre"] for r in appris} == {"maitre (lettres)"}
    eleve, maitre = relire(dossier / "eleve"), relire(dossier / "maitre")
    for qui, classifieur in (("eleve", eleve), ("maitre", maitre)):
        dites = classifieur.probabilites([t for t, _ in VERITE]).argmax(1)
        justes = [
            classifieur.etiquettes[d] == nom for d, (_, nom) in zip(dites, VERITE, strict=True)
        ]
        assert fait["mesures"][qui]["valeur"] == pytest.approx(np.mean(justes))
    assert distiller(dossier, "--maitre", dossier / "maitre", sortie="autre") == 0
    assert "n’est pas la justesse" in capsys.readouterr().out


def test_un_texte_qui_juge_ne_s_apprend_pas(dossier, capsys):
    verite = ecrire(dossier / "verite.csv", [(t.upper(), nom) for t, nom in TEXTES[1::4]])
    capsys.readouterr()
    assert distiller(dossier, "--maitre", dossier / "maitre", "--verite", verite, "--json") == 0
    fait = json.loads(capsys.readouterr().out)
    assert fait["deja_connus"] == len(TEXTES[1::4])
    assert fait["ranges"] == len(SANS) - fait["deja_connus"]


def test_un_maitre_distant_ne_redit_rien_et_se_lit_mal_sans_dommage(dossier, capsys):
    """Une étiquette entre guillemets se lit, une phrase non ; relancée, la commande ne redemande rien."""

    def repondre(traitement, corps):
        texte = corps["messages"][-1]["content"]
        nom = next(nom for nom, mots in MOTS.items() if any(mot in texte for mot in mots))
        envoyer(traitement, protocole("Je ne sais pas." if "lampadaire" in texte else f"« {nom} »"))

    serveur = Serveur(repondre)
    options = ("--adresse", serveur.adresse, "--maitre_model", "m", "--etiquettes", ",".join(MOTS))
    try:
        assert distiller(dossier, *options) == 0
        dit = capsys.readouterr().out
        demandes = len(serveur.recus)
        assert demandes == len(SANS)
        illisibles = [t for (t,) in SANS if "lampadaire" in t]
        assert [r["texte"] for r in lire(dossier / "eleve" / A_RELIRE)] == illisibles
        assert "conditions d’usage" in dit
        (dossier / "eleve").rename(dossier / "ancien")
        assert distiller(dossier, *options) == 0
        assert len(serveur.recus) == demandes
    finally:
        serveur.mourir()


@pytest.mark.parametrize(
    ("options", "dit"),
    [
        ((), "il faut un maître, et un seul"),
        (("--maitre", "m", "--adresse", "http://localhost:9/v1"), "il faut un maître, et un seul"),
        (("--adresse", "http://localhost:9/v1"), "--maitre_model"),
        (
            ("--adresse", "http://localhost:9/v1", "--maitre_model", "m", "--etiquettes", "un"),
            "--etiquettes",
        ),
        (
            ("--adresse", "http://x", "--maitre_model", "m", "--accepter_donnees_personnelles"),
            "ne part pas",
        ),
    ],
)
def test_un_maitre_mal_designe_est_refuse_d_une_phrase(options, dit, tmp_path, capsys):
    ecrire(tmp_path / "sans.csv", SANS, ("texte",))
    assert distiller(tmp_path, *options) == 1
    erreur = capsys.readouterr().err
    assert dit in erreur
    assert "Traceback" not in erreur
    assert not (tmp_path / "eleve").exists()


def test_une_donnee_personnelle_est_refusee_avant_le_maitre(dossier, capsys):
    ecrire(dossier / "sans.csv", [*SANS, ("Appelez-moi au 06 39 98 12 34.",)], ("texte",))
    assert distiller(dossier, "--maitre", dossier / "maitre") == 1
    assert f"ligne {len(SANS) + 2}" in capsys.readouterr().err


def test_un_seuil_trop_haut_se_dit(dossier, capsys):
    assert distiller(dossier, "--maitre", dossier / "maitre", "--seuil", "0,99") == 1
    assert "baissez --seuil (0,99)" in capsys.readouterr().err
    assert not (dossier / "eleve").exists()
