"""Les expériences du carnet 01 : ses trente lignes de BPE, ses chiffres publiés, ses outils."""

from __future__ import annotations

import re

import nbformat
import pytest
import torch
from hypothesis import given, settings, strategies as st

from fabrique.cours.experiences import montrer_coupes, montrer_fusions, permuter, perte_moyenne
from fabrique.jetons import bpe, ouvrir
from outils.tester import RACINE

CARNET = nbformat.read(RACINE / "notebooks" / "01_tokenisation.ipynb", as_version=4)
RESULTATS = RACINE / "benchmarks" / "RESULTATS.md"
SOURCES = [cellule.source for cellule in CARNET.cells if cellule.cell_type == "code"]


def executer(*debuts: str) -> dict:
    """Exécute les cellules du carnet qui contiennent ces textes ; rend leurs noms."""
    noms: dict = {}
    for debut in debuts:
        exec(next(source for source in SOURCES if debut in source), noms)
    return noms


BPE = executer("def morceler", "def fusionner", "def apprendre", "def couper")


@settings(deadline=None, max_examples=60)
@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=60), st.integers(0, 30))
def test_les_trente_lignes_du_carnet_valent_la_bibliotheque(texte: str, nombre: int):
    """Mêmes fusions que le paquet, et mêmes jetons que ``tokenizers``, accents et emoji compris."""
    appris = f"{texte} L’élève a reçu l’arrêté, et l’élève l’a lu. {texte}"
    fusions = BPE["apprendre"](appris, nombre)
    assert fusions == bpe.apprendre([appris], nombre)
    suite = BPE["couper"](texte, fusions)
    assert b"".join(suite) == texte.encode()
    ecrits = ["".join(bpe.SIGNES[octet] for octet in jeton) for jeton in suite]
    assert ecrits == bpe.en_bibliotheque(fusions).encode(texte).tokens


def test_les_chiffres_publies_sont_ceux_du_fichier_de_mesures():
    """Le tableau de la section 4 recopie benchmarks/RESULTATS.md, sans faute."""
    resultats = RESULTATS.read_text("utf-8")
    publies = executer("publies = {")["publies"]
    # Sur les fiches : toutes, et non les huit que notre tokenizer n'a pas lues.
    assert publies.pop("fiches service-public.fr") == bruit(resultats)["0,0 %"]
    for genre, valeurs in publies.items():
        for nom, valeur in valeurs.items():
            rangee = rf"\| {re.escape(genre)} \| {nom} \| [^|]+\| (\d,\d\d) "
            assert re.search(rangee, resultats)[1].replace(",", ".") == f"{valeur:.2f}"


def test_le_bruit_publie_est_celui_du_fichier_de_mesures():
    """Les six nombres de la section 7, dans son code et dans sa phrase."""
    lus = [(v["falcon"], v["lucie"]) for v in bruit(RESULTATS.read_text("utf-8")).values()]
    assert len(lus) == 3
    prose = "\n".join(c.source for c in CARNET.cells if c.cell_type == "markdown")
    for falcon, lucie in lus:
        assert any(f"({falcon:.2f}, {lucie:.2f})" in source for source in SOURCES)
        assert all(f"{nombre:.2f}".replace(".", ",") in prose for nombre in (falcon, lucie))


def bruit(resultats: str) -> dict[str, dict[str, float]]:
    """Part de caractères abîmés → jetons par mot de chaque tokenizer, sur toutes les fiches."""
    noms = ("falcon", "gpt2", "lucie")
    rangees = re.findall(
        r"^\| (\d+,\d %) \| (\d,\d\d) .*?\| (\d,\d\d) .*?\| (\d,\d\d) ", resultats, re.M
    )
    return {
        part: {nom: float(n.replace(",", ".")) for nom, n in zip(noms, nombres, strict=True)}
        for part, *nombres in rangees
    }


def test_permuter_garde_les_jetons_speciaux():
    """Une permutation, la même à chaque fois, qui ne touche pas à ce qu'on garde."""
    table = permuter(100, gardes=[0, 7])
    assert sorted(table) == list(range(100))
    assert table == permuter(100, gardes=[0, 7]) != permuter(100, gardes=[0, 7], graine=1)
    assert (table[0], table[7]) == (0, 7)


def test_la_perte_moyenne_compte_tous_les_jetons():
    """Un modèle qui hésite également entre quatre jetons perd ln 4 par jeton."""

    class Indecis(torch.nn.Module):
        device = torch.device("cpu")

        def forward(self, input_ids):
            return type("Sortie", (), {"logits": torch.zeros(*input_ids.shape, 4)})

    assert perte_moyenne(Indecis(), [[1, 2, 3], [0, 1]]) == pytest.approx(1.386294)


def test_les_tableaux_ont_leur_texte_nu(capsys: pytest.CaptureFixture[str]):
    """Hors d'un carnet, le texte nu s'affiche : chaque coupe, chaque tour."""
    montrer_coupes({"un <b>": "été"}, [ouvrir("falcon-poche")])
    montrer_fusions("papa", bpe.apprendre(["papa"], 1), bpe.couper)
    lu = capsys.readouterr().out
    assert "un <b> : falcon-poche" in lu
    assert "[pa]│[pa]" in lu
