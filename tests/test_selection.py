"""Choisir des réponses sur leur forme : ce qui reste, ce qui part, et pourquoi."""

import re

import pytest
from datasets import Dataset
from hypothesis import given, settings, strategies as st

from fabrique.corpus import Criteres, lire_corpus, selectionner
from fabrique.corpus.selection import citations, sources_citees


def corpus_de(*reponses: str) -> Dataset:
    return lire_corpus(
        Dataset.from_list([{"instruction": f"Q{n}", "output": r} for n, r in enumerate(reponses)])
    )


@pytest.mark.parametrize(
    ("texte", "sources"),
    [
        ("Voyez [fiche-identite-passeport].", ["fiche-identite-passeport"]),
        ("[fiche-a-b] puis [fiche_c], et encore [fiche-a-b].", ["fiche-a-b", "fiche_c"]),
        ("Sur https://www.exemple.fr/page.", ["https://www.exemple.fr/page"]),
        (
            "(https://exemple.fr/a) et « https://exemple.fr/b »",
            ["https://exemple.fr/a", "https://exemple.fr/b"],
        ),
        ("Le texte [sic] et la note [1], la date [2024].", []),
    ],
)
def test_les_sources_citees(texte, sources):
    assert sources_citees(texte) == sources


def test_les_citations():
    assert citations("Il dit « oui », puis «\u00a0non\nmerci\u00a0».") == ["oui", "non\nmerci"]
    assert citations("Rien entre guillemets « ouverts.") == []


MOTIFS = [
    (Criteres(sources_min=2), "[fiche-a-b] [fiche-a-b] vu.", "moins de 2 sources citées"),
    (Criteres(citation_max=2), "Il dit « un deux trois ».", "une citation de plus de 2 mots"),
    (
        Criteres(citations_max=0.5),
        "Il dit « un deux trois quatre cinq six ».",
        "plus de 50\u00a0% de citations",
    ),
    (Criteres(mots_min=4), "Trois mots seulement.", "moins de 4 mots"),
    (Criteres(mots_max=2), "Trois mots seulement.", "plus de 2 mots"),
    (Criteres(parties=("^En bref",)), "Au fond, en bref.", "il manque « ^En bref »"),
]


@pytest.mark.parametrize(("criteres", "texte", "motif"), MOTIFS)
def test_chaque_critere_ecarte_et_dit_son_motif(criteres, texte, motif):
    assert list(criteres.motifs(texte)) == [motif]


@pytest.mark.parametrize(
    ("criteres", "texte"),
    [
        (Criteres(sources_min=2), "[fiche-a-b] et [fiche-a-c]."),
        (Criteres(citation_max=3), "Il dit « un deux trois »."),
        (Criteres(citations_max=0.5), "Voici ce que dit la loi : « un deux »."),
        (Criteres(mots_min=3, mots_max=3), "Trois mots seulement."),
        (Criteres(parties=("^En bref", "Source :")), "Oui.\nEn bref, oui.\nSource : la loi."),
        (Criteres(), "Oui."),
    ],
)
def test_a_la_borne_une_reponse_est_gardee(criteres, texte):
    assert list(criteres.motifs(texte)) == []


def test_un_exemple_peut_avoir_plusieurs_motifs_et_tous_sont_comptes():
    corpus = corpus_de("Oui.", "Oui, selon la fiche [fiche-a-b], c’est possible.", "Non merci.")
    choix = selectionner(corpus, Criteres(sources_min=1, mots_min=2))
    assert choix.corpus["id"][:] == ["2"]
    court, sans_source = "moins de 2 mots", "moins d’une source citée"
    assert choix.ecartes == [
        {"rang": 1, "id": "1", "motifs": [sans_source, court]},
        {"rang": 3, "id": "3", "motifs": [sans_source]},
    ]
    assert choix.motifs == {sans_source: 2, court: 1}
    assert str(choix).splitlines() == [
        "1 exemple gardé, 2 écartés.",
        f"       2  {sans_source}",
        f"       1  {court}",
    ]


@settings(max_examples=40)
@given(
    reponses=st.lists(st.text("ab «»[]-\n", min_size=1).filter(str.strip), min_size=1, max_size=12),
    bas=st.integers(0, 4),
    haut=st.integers(1, 6),
    sources=st.integers(0, 1),
)
def test_gardes_et_ecartes_font_tout_le_corpus(reponses, bas, haut, sources):
    """Rien ne se perd, et ce qui est gardé convient, compté autrement."""
    corpus = corpus_de(*reponses)
    choix = selectionner(corpus, Criteres(mots_min=bas, mots_max=haut, sources_min=sources))
    assert (
        sorted([*choix.corpus["id"], *(e["id"] for e in choix.ecartes)], key=int) == corpus["id"][:]
    )
    assert all(ecarte["motifs"] for ecarte in choix.ecartes)
    for reponse in choix.corpus["output"]:
        assert bas <= len(re.findall(r"\S+", reponse)) <= haut
        assert not sources or "[" in reponse
    assert sum(choix.motifs.values()) >= len(choix.ecartes)


def test_la_selection_lit_la_derniere_reponse_d_une_conversation():
    tours = [
        ("user", "Où ?"),
        ("assistant", "Ici, au long."),
        ("user", "Quand ?"),
        ("assistant", "Tôt."),
    ]
    corpus = lire_corpus(
        Dataset.from_list([{"messages": [{"role": r, "content": t} for r, t in tours]}])
    )
    assert selectionner(corpus, Criteres(mots_min=2)).ecartes[0]["motifs"] == ["moins de 2 mots"]
