"""Tout HTML du paquet se lit en thème clair comme en thème sombre : couleurs par deux, contraste AA."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import nbformat
import pytest
from contraste import MINIMUM, contraste, defauts, defauts_du_style
from test_rapport_evaluation import fait  # noqa: F401 (un rapport d'évaluation tout prêt)

from fabrique.corpus import compte_rendu as rapport_corpus, controle
from fabrique.cours import carnets, experiences
from fabrique.evaluation import aveugle, rapport as rapport_evaluation
from fabrique.evaluation.paires import apparier
from fabrique.jetons import bpe, ouvrir
from fabrique.jetons.affichage import decouper, en_html
from fabrique.socle import figures
from fabrique.socle.suivi import Barre

RACINE = Path(__file__).resolve().parent.parent
QUESTIONS = [{"instruction": "Où se refait un passeport ?"}]


@pytest.fixture
def montres(monkeypatch) -> list[str]:
    """Le HTML de ce que le paquet montre pendant le test."""
    vus: list[str] = []

    def garder(objet, **_):
        vus.append(objet["text/html"] if isinstance(objet, dict) else objet.data)

    for module in (carnets, experiences, figures):
        monkeypatch.setattr(module, "display", garder)
    return vus


def test_ce_que_montrent_les_carnets_se_lit_dans_les_deux_themes(montres, tmp_path):
    """Figure et sa description, jetons, tableaux de jetons, réponses, lecture à l'aveugle, barre."""
    poche = ouvrir("falcon-poche")
    figures.barres(["un", "deux"], [1, 2], "titre", "unités")
    experiences.montrer_coupes({"mot": "été", "date": "12 mars"}, [poche])
    experiences.montrer_fusions("papa", bpe.apprendre(["papa"], 1), bpe.couper)
    carnets.cote_a_cote({"avant": "Oui.", "après": "Non."}, "Est-ce gratuit ?")
    montres.append(en_html(decouper("<|fin|> L’été\n", poche), identifiants=True))
    paires = apparier(QUESTIONS, ["À la mairie."], ["En ligne."])
    lecture = aveugle.Lecture(paires, tmp_path / "preferences.jsonl", "Anne")
    montres.append(aveugle._en_html(lecture))
    montres.append(Barre(10, "Apprentissage")._html("perte 3,000"))
    assert len(montres) == 7
    assert [defaut for rendu in montres for defaut in defauts(rendu)] == []


def test_les_pages_de_rapport_se_lisent(fait, fichier_corpus):  # noqa: F811
    pages = (
        rapport_corpus.en_page(controle.controler(fichier_corpus)),
        rapport_evaluation.en_page(fait),
    )
    for page in pages:
        assert "color-scheme:light" in page
        assert defauts(page) == []


def test_aucun_style_ne_fixe_une_couleur_sans_l_autre():
    """Tout le paquet et toutes les cellules, HTML à venir compris."""
    sources = {f: f.read_text("utf-8") for f in (RACINE / "fabrique").rglob("*.py")}
    for carnet in (RACINE / "notebooks").glob("*.ipynb"):
        cellules = nbformat.read(carnet, as_version=4).cells
        sources[carnet] = "\n\n".join(c.source for c in cellules)
    fautes = [
        defaut
        for fichier, source in sources.items()
        for style in re.findall(r'style="([^"\n]*)"', _chaines_jointes(fichier, source))
        for defaut in defauts_du_style(style, fichier.name)
    ]
    assert fautes == []


def _chaines_jointes(fichier: Path, source: str) -> str:
    """Les chaînes d'un module, une par ligne, ses noms de couleurs remplacés par leur valeur."""
    if fichier.suffix != ".py":
        return source
    valeurs = {
        "SUR_BLANC": figures.SUR_BLANC,
        "CASE": experiences.CASE,
        "SURLIGNE": experiences.SURLIGNE,
    }
    return "\n".join(
        "".join(
            morceau.value
            if isinstance(morceau, ast.Constant)
            else valeurs.get(ast.unparse(morceau.value), "#777777")
            for morceau in getattr(noeud, "values", [noeud])
        )
        for noeud in ast.walk(ast.parse(source))
        if isinstance(noeud, ast.JoinedStr)
        or (isinstance(noeud, ast.Constant) and isinstance(noeud.value, str))
    )


# ---------------------------------------------------------------- le témoin lui-même


@pytest.mark.parametrize(
    ("rendu", "dit"),
    [
        ('<figure style="background:#fff">Description</figure>', "fond sans l’autre couleur"),
        ('<p style="color:#000">Mot</p>', "encre sans l’autre couleur"),
        ('<p style="background:#fff;color:#999">Mot</p>', "contraste de 2.8"),
        ("<style>th{background:#eee}</style><p>Mot</p>", "fond sans l’autre couleur"),
        (
            '<table style="background:#fff;color:#000"><tr><td>Mot</td></tr></table>',
            "fond du thème sous une encre fixée plus haut",
        ),
    ],
)
def test_un_html_illisible_en_theme_sombre_est_vu(rendu, dit):
    (defaut,) = defauts(rendu)
    assert dit in defaut


def test_le_contraste_est_celui_des_wcag():
    """Deux couples dont la valeur est connue : le noir sur blanc, et le gris limite."""
    assert contraste("#000", "#ffffff") == pytest.approx(21)
    assert contraste("#767676", "#fff") == pytest.approx(4.54, abs=0.01)
    assert contraste("white", "#777") < MINIMUM
