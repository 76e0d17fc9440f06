"""Une page HTML : un seul squelette, et aucun texte de l'usager ne devient du HTML."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import pytest
from contraste import defauts
from jinja2 import UndefinedError
from test_comparaison import _muet
from test_rapport_evaluation import Lecteur

from fabrique.corpus import compte_rendu
from fabrique.corpus.constats import ALERTE, ERREUR, Constat, Controle, Mesures
from fabrique.evaluation import epreuve, rapport
from fabrique.evaluation.comparaison import comparer
from fabrique.socle.page import composer

PAQUET = Path(compte_rendu.__file__).parents[1]
#: Ferme l'élément et l'attribut où il tombe, ouvre les siens, et essaie nos propres accolades.
HOSTILE = "</title></table>\"'><script>alert(1)</script><img src=x onerror=y>&lt;{{ 7*7 }}{% raw %}"


def controle(piege: str) -> Controle:
    """Un contrôle dont chaque texte est le piège."""
    return Controle(
        # « / » couperait le nom du fichier.
        fichier=f"{piege.replace('/', '∕')}.jsonl",
        forme=piege,
        exemples=3,
        constats=[
            Constat(piege, ERREUR, 1, 2, piege, piege, piege),
            Constat("texte.court", ALERTE, None, None, None, "", "Court."),
        ],
        mesures=Mesures(jeux={piege: 3}, categories={piege: 2, "autre": 1}, mots=[3, 4, 9]),
    )


def evaluation(piege: str) -> epreuve.Rapport:
    """Une évaluation dont chaque texte est le piège."""
    references = [f"{piege} numéro {n}" for n in range(20)]
    base = _muet(epreuve.BASE, [piege] * 19 + [references[19]], references)
    affine = _muet(epreuve.AFFINE, [*references[:19], piege], references)
    for exemple in (*base.exemples, *affine.exemples):
        exemple["question"] = piege
    return epreuve.Rapport(
        modele=piege,
        adaptateur=piege,
        corpus=piege,
        evaluations=[replace(base, nom=piege), affine],
        ecarts=comparer(base, affine),
        oubli=[],
        courbe=[],
        origine={piege: piege, "versions": {piege: piege}},
        duree_s=1.0,
    )


PAGES = {
    "contrôle": lambda piege: compte_rendu.en_page(controle(piege)),
    "évaluation": lambda piege: rapport.en_page(evaluation(piege)),
}


class Texte(HTMLParser):
    """Les balises d'une page, leurs attributs, et son texte tel qu'il se lit."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.balises: list[tuple] = []
        self.texte = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, balise: str, attributs: list) -> None:
        # La place des images et leur description dépendent du piège ; leur nombre, non.
        self.balises.append((balise, sorted(nom for nom, _ in attributs)))

    def handle_data(self, texte: str) -> None:
        self.texte += texte


@pytest.mark.parametrize("nom", PAGES)
def test_un_texte_hostile_reste_un_texte(nom: str):
    """Les mêmes balises qu'avec un texte sage, et le piège se lit mot pour mot."""
    piegee, sage = Texte(PAGES[nom](HOSTILE)), Texte(PAGES[nom]("Un texte sage"))
    assert piegee.balises == sage.balises
    assert "script" not in {balise for balise, _ in piegee.balises}
    fois = sage.texte.count("Un texte sage")
    assert fois >= 8
    assert piegee.texte.replace("∕", "/").count(HOSTILE) == fois


@pytest.mark.parametrize("nom", PAGES)
def test_une_page_se_lit_par_tous(nom: str):
    """Langue, titre, tableaux titrés, niveaux de titres, deux couleurs ; rien d'ailleurs."""
    page = PAGES[nom]("Un texte sage")
    lu = Lecteur(page)
    assert lu.ouvertes == []
    assert lu.toutes("html") == [{"lang": "fr"}]
    assert len(lu.toutes("h1")) == len(lu.toutes("main")) == len(lu.toutes("title")) == 1
    assert len(lu.toutes("caption")) == len(lu.toutes("table")) == len(lu.toutes("thead")) >= 3
    assert {cellule.get("scope") for cellule in lu.toutes("th")} == {"col", "row"}
    niveaux = [int(balise[1]) for balise, _ in lu.balises if re.fullmatch("h[1-6]", balise)]
    assert all(suivant <= niveau + 1 for niveau, suivant in pairwise(niveaux))
    assert "color-scheme:light" in page
    assert defauts(page) == []
    assert "http" not in re.sub(r"base64,[^\"]*", "", page)


def test_un_contenu_oublie_ne_passe_pas_inapercu():
    """Un gabarit et son programme qui ne nomment pas la même chose : une erreur, pas un vide."""
    with pytest.raises(UndefinedError, match="controle"):
        composer("corpus/controle.html", "titre")


def test_un_tableau_sans_ligne_ne_laisse_rien():
    page = compte_rendu.en_page(replace(controle("x"), constats=[], mesures=Mesures(mots=[1])))
    assert "0 erreur, 0 alerte." in page
    assert re.findall("<caption>(.*?)</caption>", page) == ["Mesures"]


# ---------------------------------------------------------------- un seul squelette


def test_un_seul_fichier_ouvre_une_page_et_un_style():
    """Les autres la prolongent : une seule langue déclarée, un seul style à relire."""
    ouvreurs = [
        fichier.relative_to(PAQUET).as_posix()
        for fichier in sorted(PAQUET.rglob("*"))
        if fichier.suffix in (".py", ".html")
        and re.search(r"<!doctype|<html|<style", fichier.read_text("utf-8"), re.IGNORECASE)
    ]
    assert ouvreurs == ["socle/page.html"]


def test_seules_nos_figures_entrent_sans_etre_echappees():
    sans_echappement = {
        trouve
        for gabarit in PAQUET.rglob("*.html")
        for trouve in re.findall(r"\{\{\s*(\w+)\s*\|\s*safe", gabarit.read_text("utf-8"))
    }
    assert sans_echappement == {
        "histogramme",
        "image_des_ecarts",
        "image_de_la_courbe",
        "image_des_seuils",
    }
