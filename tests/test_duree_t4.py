"""Les minutes annoncées pour une T4 suivent de ce que les carnets calculent, génération comprise."""

from pathlib import Path

import pytest
from transformers.models.falcon.modeling_falcon import FalconModel

import fabrique
from benchmarks.duree_t4 import (
    PYTHON,
    Travail,
    en_tableau,
    lire_releve,
    minutes_annoncees,
    secondes,
    suivre,
)
from fabrique.evaluation import pertes
from fabrique.machine.profil import JUMEAU
from fabrique.modeles.generation import generer_par_lots

RACINE = Path(__file__).resolve().parent.parent


def test_chaque_passage_est_compte_une_fois(jumeau, corpus, tmp_path, monkeypatch):
    tokenizer, modele = jumeau
    travail = Travail()
    monkeypatch.setattr(FalconModel, "forward", FalconModel.forward)  # rendu à la fin du test
    suivre(travail)
    generer_par_lots(modele, tokenizer, list(corpus)[:3], max_new_tokens=4, min_new_tokens=4)
    # Les trois questions sont lues d'un passage, qui donne le premier jeton ; puis trois pas.
    assert (travail.passages_lus, travail.pas_ecrits_ensemble, travail.jetons_ecrits) == (1, 3, 9)
    fabrique.continuer(modele, tokenizer, "Oui", max_new_tokens=2)
    assert (travail.passages_lus, travail.pas_ecrits_seuls) == (2, 1)
    lus = travail.jetons_lus
    pertes(modele, tokenizer, list(corpus)[:1])
    assert travail.jetons_lus > lus
    reglages = fabrique.Reglages.du_profil(JUMEAU, val_set_size=0)
    fabrique.entrainer(modele, tokenizer, corpus, reglages, tmp_path)
    assert travail.exemples_appris == len(corpus) == 11
    assert travail.passages_appris == 6, "onze exemples, deux par deux"
    assert travail.passages_lus == 3


def test_l_arithmetique_a_la_main():
    """6,6 milliards de poids dans les blocs, 65 TFLOPS, 300 Go/s."""
    blocs = 32 * (4544 * (4544 + 2 * 64) + 4544 * 4544 + 2 * 4 * 4544 * 4544)
    quatre_bits = (4 + 8 / 64 + 32 / 16384) / 8
    bas, haut = secondes(Travail(jetons_appris=1000))
    assert bas == pytest.approx(4 * blocs * 1000 / 65e12)
    assert haut == pytest.approx(bas / 0.125)
    seul = secondes(Travail(pas_ecrits_seuls=1))
    assert seul == pytest.approx(
        [blocs * quatre_bits / 300e9, blocs * quatre_bits / 300e9 + PYTHON]
    )
    ensemble = secondes(Travail(pas_ecrits_ensemble=1))
    assert ensemble[0] == pytest.approx(blocs * (quatre_bits + 4) / 300e9)
    lecture = secondes(Travail(passages_lus=1))
    assert secondes(Travail(passages_appris=1)) == pytest.approx([2 * duree for duree in lecture])


@pytest.mark.parametrize("nom", ["00", "01", "02", "03", "04"])
def test_le_readme_et_le_carnet_annoncent_ce_que_dit_l_arithmetique(nom):
    lignes = (RACINE / "README.md").read_text("utf-8").splitlines()
    ligne = next(ligne for ligne in lignes if ligne.startswith(f"| [{nom} "))
    [travail] = [t for carnet, t in lire_releve().items() if carnet.startswith(nom)]
    assert f"| calculé\u00a0: {minutes_annoncees(travail)} |" in ligne
    carnet = next((RACINE / "notebooks").glob(f"{nom}_*.ipynb")).read_text("utf-8")
    assert f" {minutes_annoncees(travail)} sur une T4" in carnet


def test_le_tableau_des_resultats_est_celui_de_la_commande():
    assert en_tableau(lire_releve()) in (RACINE / "benchmarks/RESULTATS.md").read_text("utf-8")
