"""Le site : les liens suivent le plan, les termes mènent au lexique, rien ne vient d'ailleurs.

La page elle-même s'éprouve par « make site » puis outils/verifier_site.mjs (Chromium, axe-core).
"""

from __future__ import annotations

import re

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from outils import adresse, parcours, site
from outils.tester import RACINE

ETAPES = parcours.lire()
PLAN = site._plan(ETAPES)


def test_chaque_page_et_chaque_carnet_ont_leur_place():
    """Le guide entier, le lexique, les carnets numérotés ; pas le gabarit."""
    pages = set(PLAN.values())
    assert {"lexique.md", "ou_lancer.md", "contribuer.md", "animer/index.md"} <= pages
    assert {f"notebooks/{etape.fichier.name}" for etape in ETAPES} <= pages
    assert not any("gabarit" in page for page in pages)


@pytest.mark.parametrize(
    ("origine", "lien", "attendu"),
    [
        ("docs/lexique.md", "../notebooks/00_demarrage.ipynb", "notebooks/00_demarrage.ipynb"),
        ("docs/animer/pannes.md", "../ou_lancer.md#conteneur", "../ou_lancer.md#conteneur"),
        ("docs/ou_lancer.md", "../README.md", f"{adresse.lire()}/blob/main/README.md"),
        ("CONTRIBUER.md", "docs/animer/demi_journee.md", "animer/demi_journee.md"),
        ("CONTRIBUER.md", "https://a.fr/b", "https://a.fr/b"),
    ],
)
def test_un_lien_du_depot_devient_un_lien_du_site(origine: str, lien: str, attendu: str):
    """Vers la page si le site l'a, vers le dépôt sinon ; une adresse reste elle-même."""
    assert site._relier(f"[x]({lien})", RACINE / origine, PLAN) == f"[x]({attendu})"


def test_la_premiere_apparition_d_un_terme_mene_au_lexique():
    """Une seule, au pluriel aussi, jamais dans un titre, du code, un lien ou une parenthèse."""
    prose = "## Les jetons\n\n`jeton` [jeton](x.md) (un jeton)\n\nDes jetons, puis un jeton."
    carnet = new_notebook(
        cells=[new_markdown_cell("# jeton"), new_code_cell("jeton"), new_markdown_cell(prose)]
    )
    site._lier(carnet, "jeton", "../lexique.html#jeton")
    attendu = 'Des <a href="../lexique.html#jeton">jetons</a>, puis un jeton.'
    assert carnet.cells[2].source == prose.replace("Des jetons, puis un jeton.", attendu)
    assert (carnet.cells[0].source, carnet.cells[1].source) == ("# jeton", "jeton")


def test_un_mot_ordinaire_n_est_pas_pris_pour_un_terme():
    """« Il ne tient pas » n'est pas le pas d'un apprentissage."""
    carnet = new_notebook(
        cells=[new_markdown_cell("#"), new_markdown_cell("Il ne tient pas. Un **pas**.")]
    )
    site._lier(carnet, "pas", "l")
    assert carnet.cells[1].source == 'Il ne tient pas. Un **<a href="l">pas</a>**.'


@pytest.mark.parametrize("etape", ETAPES, ids=lambda etape: etape.numero)
def test_un_carnet_du_site_n_appelle_aucune_image_d_ailleurs(etape: parcours.Etape):
    """Le badge devient du texte ; ni formule ni widget, qu'il faudrait livrer aussi."""
    carnet = nbformat.read(etape.fichier, as_version=4)
    tete = site._BADGE.sub(site._boutons(etape.fichier.stem, True), carnet.cells[0].source)
    assert "Version à imprimer" in tete
    for cellule in carnet.cells[1:]:
        assert not re.search(r"!\[[^\]]*\]\(https?:|<img [^>]*src=\"https?:", cellule.source)
        assert "$$" not in cellule.source


def test_l_accueil_dit_les_durees_des_carnets():
    """Une ligne par carnet, ses minutes lues en tête du carnet."""
    accueil = site._accueil(ETAPES)
    for etape in ETAPES:
        assert f"({'notebooks/' + etape.fichier.name}) | {etape.lecture} min" in accueil
    assert "{" not in accueil.replace("```{toctree}", "")
