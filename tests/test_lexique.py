"""Le lexique est complet et suivi : on dit en français ce qu'il dit en français."""

from __future__ import annotations

import re
from pathlib import Path

import gardes
import lexique
import nbformat
import pytest

from outils.tester import RACINE

TERMES = lexique.lire()
CARNETS = sorted((RACINE / "notebooks").glob("[0-9]*.ipynb"))
DOCUMENTS = [
    *(RACINE / nom for nom in ("README.md", "CONTRIBUER.md") if (RACINE / nom).exists()),
    *(f for f in sorted((RACINE / "docs").rglob("*.md")) if f.name != "lexique.md"),
]


def cellules(carnet: Path) -> list[tuple[int, str]]:
    """Les textes d'un carnet, avec le numéro de leur cellule."""
    lu = nbformat.read(carnet, as_version=4)
    return [(numero, cellule.source) for numero, cellule in gardes.numerotees(lu, "markdown")]


# ---------------------------------------------------------------- le lexique lui-même


def test_chaque_ligne_du_lexique_se_lit():
    """Aucune ligne de tableau n'échappe à la lecture ; des ancres uniques."""
    lignes = lexique.FICHIER.read_text("utf-8").splitlines()
    assert len(TERMES) == sum(ligne.startswith("| <a id=") for ligne in lignes)
    assert len(TERMES) >= 50
    assert len({terme.ancre for terme in TERMES}) == len(TERMES)


@pytest.mark.parametrize("terme", TERMES, ids=lambda terme: terme.ancre)
def test_une_definition_est_une_phrase(terme: lexique.Terme):
    """Une seule, qui commence par une majuscule et finit par un point."""
    assert re.fullmatch(r"[A-ZÀÉ].*\.", terme.definition)
    assert not re.search(r"\. [A-ZÀÉ]", terme.definition)


@pytest.mark.parametrize("terme", TERMES, ids=lambda terme: terme.ancre)
def test_un_terme_est_enseigne_la_ou_le_lexique_le_dit(terme: lexique.Terme):
    """Le carnet cité existe, et emploie le terme."""
    for numero in terme.carnets:
        (carnet,) = (carnet for carnet in CARNETS if carnet.name.startswith(numero))
        texte = "\n".join(source for _, source in cellules(carnet))
        assert lexique.motif(terme.terme).search(texte), f"absent de {carnet.name}"


# ---------------------------------------------------------------- les textes le suivent


@pytest.mark.parametrize("carnet", CARNETS, ids=lambda carnet: carnet.stem)
def test_les_carnets_emploient_le_terme_francais(carnet: Path):
    """L'anglais paraît entre parenthèses, à l'introduction, et nulle part ailleurs."""
    assert [
        f"cellule {numero} : {faute}"
        for numero, source in cellules(carnet)
        for faute in lexique.anglicismes(source, TERMES)
    ] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: document.name)
def test_les_documents_emploient_le_terme_francais(document: Path):
    """README, contribution, guide."""
    assert list(lexique.anglicismes(document.read_text("utf-8"), TERMES)) == []


#: Les textes qui suivent déjà la règle.
SUIVIS = [
    *(carnet for carnet in CARNETS if carnet.name[:2] in ("00", "01", "02")),
    *sorted((RACINE / "docs" / "animer").glob("*.md")),
    lexique.FICHIER,
    RACINE / "data" / "LISEZMOI.md",
]


@pytest.mark.parametrize("texte", SUIVIS, ids=lambda texte: texte.stem)
def test_seul_l_eleve_apprend(texte: Path):
    """Le modèle apprend ; un corpus, un réglage ou un carnet, non."""
    notebook = texte.suffix == ".ipynb"
    lus = [s for _, s in cellules(texte)] if notebook else [texte.read_text("utf-8")]
    assert [faute for lu in lus for faute in lexique.faux_sujets(lu)] == []


@pytest.mark.parametrize(
    ("texte", "fautes"),
    [
        ("Le modèle apprend une forme.", 0),
        ("Le réglage fin apprend une forme.", 1),
        ("Ce corpus n’apprend pas le droit.", 1),
        ("Ensuite, on apprend quatre fois.", 1),
        ("Les exemples que le modèle apprend.", 0),
        ("`corpus apprend`", 0),
    ],
)
def test_la_garde_voit_qui_n_apprend_pas(texte: str, fautes: int):
    """Elle rougit sur le sujet, pas sur le verbe."""
    assert len(list(lexique.faux_sujets(texte))) == fautes


@pytest.mark.parametrize("carnet", CARNETS, ids=lambda carnet: carnet.stem)
def test_exactitude_et_precision_ne_se_confondent_pas(carnet: Path):
    """L'une est *accuracy*, l'autre *precision* ; dans la prose et dans les sorties."""
    lu = nbformat.read(carnet, as_version=4)
    textes = [
        c.source if c.cell_type == "markdown" else gardes.texte_des_sorties(c) for c in lu.cells
    ]
    assert [faute for texte in textes for faute in lexique.confusions(texte)] == []


@pytest.mark.parametrize(
    ("texte", "fautes"),
    [
        ("Un **jeton** (*token*) est un morceau.", 0),
        ("Chaque token compte.", 1),
        ("Le tokenizer coupe ; `loss` et « loss » aussi.", 0),
        ("On évite le pré-entraînement.", 1),
        ("Voir *The Loss Landscape* et [l’article](https://a.fr/loss).", 0),
        ("Les checkpoints et la loss.", 2),
    ],
)
def test_la_garde_voit_l_anglicisme(texte: str, fautes: int):
    """Elle rougit sur le mot seul, pas sur l'introduction ni sur une citation."""
    assert len(list(lexique.anglicismes(texte, TERMES))) == fautes


@pytest.mark.parametrize(
    ("texte", "fautes"),
    [
        ("La **précision** (*accuracy*)", 1),
        ("l’exactitude (precision)", 1),
        ("L’exactitude (*accuracy*) et la précision (*precision*)", 0),
    ],
)
def test_la_garde_voit_la_confusion(texte: str, fautes: int):
    """Dans les deux sens."""
    assert len(list(lexique.confusions(texte))) == fautes
