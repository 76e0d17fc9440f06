"""Le surligneur du carnet 09 : la phrase numérotée est la bonne, une fausse citation est fausse."""

from __future__ import annotations

import html
import re

import pytest

from fabrique.cours import surligneur
from fabrique.cours.surligneur import a_trouver, falsifier, montrer_phrases, phrases, surligner
from fabrique.recherche.citations import controler_reponse, est_mot_pour_mot
from fabrique.recherche.index import Index
from fabrique.recherche.passages import Fiche
from fabrique.socle.erreurs import ErreurFabrique
from fabrique.socle.figures import JAUNE

FICHE = Fiche(
    "lavoir",
    "Le lavoir & ses règles",
    "## Horaires\n\nLe lavoir ouvre à l’aube. Il ferme <tard> !\n\n## Tarif\n\n- Un seau coûte un sou.",
)


@pytest.fixture(scope="module")
def index() -> Index:
    return Index.construire("fiches", sens="aucun")


@pytest.fixture
def montre(monkeypatch):
    """Le HTML affiché, une pièce par affichage."""
    affiches: list[str] = []
    monkeypatch.setattr(surligneur, "display", lambda piece: affiches.append(piece.data))
    return affiches


def test_les_titres_de_rubrique_ne_sont_pas_des_phrases():
    assert phrases(FICHE.texte) == [
        "Le lavoir ouvre à l’aube.",
        "Il ferme <tard> !",
        "- Un seau coûte un sou.",
    ]


def test_la_fiche_se_montre_numerotee(montre):
    montrer_phrases(FICHE)
    lu = html.unescape(re.sub("<[^>]+>", "", montre[0])).replace("\u00a0", " ")
    assert "Horaires(1) Le lavoir ouvre à l’aube. (2) Il ferme <tard> !Tarif(3)" in lu
    assert "<tard>" not in montre[0]
    assert "Le lavoir &amp; ses règles" in montre[0]


def test_la_citation_est_surlignee_et_rien_d_autre(montre):
    """La couleur reste entière : son dièse n'est pas celui d'un titre de rubrique."""
    surligner(FICHE.titre, FICHE.texte, "Il ferme <tard>")
    marque = f'<mark style="background:{JAUNE};color:#000">Il ferme &lt;tard&gt;</mark>'
    assert montre[0].count("<mark") == montre[0].count(marque) == 1
    assert "<strong>Tarif</strong>" in montre[0]
    with pytest.raises(ErreurFabrique, match="mot pour mot"):
        surligner(FICHE.titre, FICHE.texte, "Il ferme tôt")


@pytest.mark.parametrize("jeu", ["entrainement", "test"])
def test_les_questions_livrees_en_donnent_assez(index, jeu):
    """Le numéro est celui de la seule phrase qui porte la citation, et la fausse ne passe jamais."""
    trouvees = list(a_trouver(index, jeu))
    assert len(trouvees) >= 5
    for une in trouvees:
        dites = phrases(une.fiche.texte)
        portees = [n for n, dite in enumerate(dites, 1) if est_mot_pour_mot(une.citation, dite)]
        assert portees == [une.numero]
        fausse = falsifier(une.citation)
        controle = controler_reponse(f"«\u00a0{fausse.citation}\u00a0» [1].", [une.fiche.texte])
        assert [c.regle for c in controle.constats] == ["citation.infidele"], une.citation


@pytest.mark.parametrize(
    ("citation", "changee", "vrai", "faux"),
    [
        ("le pain sort avant midi", "le pain sort après midi", "avant", "après"),
        ("dans les trois jours", "dans les quatre jours", "trois", "quatre"),
        ("vingt-deux écus", "vingt-trois écus", "deux", "trois"),
        ("écus sonnants", "écus …", "sonnants", "…"),
    ],
)
def test_un_seul_mot_change(citation, changee, vrai, faux):
    fausse = falsifier(citation)
    assert (fausse.citation, fausse.vrai, fausse.faux) == (changee, vrai, faux)
