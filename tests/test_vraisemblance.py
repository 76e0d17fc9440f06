"""La log-probabilité d'une suite : celle de transformers, celle qu'on calcule à la main."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import ajouter_adaptateur

from fabrique.modeles.gabarits import SANS_PERTE, coder, exemple_en_jetons
from fabrique.modeles.vraisemblance import (
    a_predire,
    log_probabilites,
    log_probabilites_des_suites,
)
from outils.tester import RACINE


class DeuxFaces(torch.nn.Module):
    """Un modèle qu'on calcule de tête : après le jeton 0, trois chances sur quatre de voir 1."""

    device = torch.device("cpu")
    chances = torch.tensor([[0.25, 0.75], [0.5, 0.5]])

    def forward(self, input_ids):
        return SimpleNamespace(logits=self.chances.log()[input_ids])


def test_trois_suites_se_calculent_de_tete():
    """Le jeton lu ne compte pas, le premier d'une suite non plus : rien ne le précède."""
    exemples = [a_predire([0], [1, 0]), a_predire([], [1, 1, 0, 0]), a_predire([0, 1], [])]
    longue, entiere, vide = log_probabilites(DeuxFaces(), exemples)
    assert longue == pytest.approx(np.log([0.75, 0.5]))
    assert entiere == pytest.approx(np.log([0.5, 0.5, 0.25]))
    assert vide.shape == (0,)


def test_un_exemple_a_trous_ne_juge_que_les_jetons_appris():
    """Deux réponses dans une conversation : ce qui les sépare se lit seulement."""
    exemple = {"input_ids": [0, 1, 0, 0, 1], "labels": [SANS_PERTE, 1, SANS_PERTE, SANS_PERTE, 1]}
    assert log_probabilites(DeuxFaces(), [exemple])[0] == pytest.approx(np.log([0.75, 0.75]))
    assert log_probabilites(DeuxFaces(), []) == []


@pytest.mark.parametrize("lot", [1, 3, 16])
def test_la_moyenne_est_la_perte_de_transformers(petit, corpus, lot):
    """Exemple par exemple : ni le lot, ni le remplissage, ni l'ordre n'y changent rien."""
    tokenizer, modele = petit
    exemples = [exemple_en_jetons(tokenizer, exemple) for exemple in corpus]
    notes = log_probabilites(modele, exemples, lot=lot)
    for exemple, dites in zip(exemples, notes, strict=True):
        entrees = {c: torch.tensor([exemple[c]]) for c in ("input_ids", "labels")}
        with torch.inference_mode():
            attendue = modele(**entrees).loss.item()
        assert len(dites) == sum(e != SANS_PERTE for e in exemple["labels"])
        assert -dites.mean() == pytest.approx(attendue, abs=1e-4)


def test_la_base_se_mesure_sans_son_adaptateur(par_coeur, corpus):
    tokenizer, modele = par_coeur
    exemples = [exemple_en_jetons(tokenizer, exemple) for exemple in corpus.select(range(3))]
    base = np.concatenate(log_probabilites(modele, exemples))
    affine = ajouter_adaptateur(modele)
    eteint = np.concatenate(log_probabilites(affine, exemples, adaptateur=False))
    np.testing.assert_allclose(eteint, base, rtol=0, atol=1e-5)
    assert np.concatenate(log_probabilites(affine, exemples)).mean() < base.mean() - 0.5


@pytest.mark.parametrize(
    "suites",
    [(" mairie",), (" mairie", " préfecture"), (" mairie de Lyon", " mairie de Nantes", " la mer")],
)
def test_un_debut_partage_ne_change_pas_la_note_d_une_suite(petit, suites):
    """Un seul jeton, plusieurs, de longueurs mêlées : comme lues d'un bout à l'autre."""
    tokenizer, modele = petit
    debut = [tokenizer.bos_token_id, *coder("Écrivez à la", tokenizer)]
    codes = [coder(suite, tokenizer) for suite in suites]
    entieres = log_probabilites(modele, [a_predire(debut, code) for code in codes])
    notes = log_probabilites_des_suites(modele, debut, codes)
    assert notes == pytest.approx([dites.sum() for dites in entieres], abs=1e-4)


@pytest.mark.parametrize(
    ("calculs", "seuls"),
    [
        # Ni une suite d'un modèle de langage, ni sa note : la perte de l'encodeur, le tirage d'un
        # jeton, deux moteurs comparés.
        (
            ("cross_entropy(", "log_softmax("),
            {
                "modeles/vraisemblance.py",
                "recherche/encodeur.py",
                "service/plume.py",
                "service/export.py",
            },
        ),
        ((" bootstrap(",), {"socle/reechantillonnage.py"}),
    ],
)
def test_un_calcul_n_a_qu_un_lieu(calculs, seuls):
    """Une seule log-probabilité, un seul rééchantillonnage : la section 3 de la conception."""
    paquet = RACINE / "fabrique"
    lieux = {
        fichier.relative_to(paquet).as_posix()
        for fichier in paquet.rglob("*.py")
        if any(calcul in fichier.read_text("utf-8") for calcul in calculs)
    }
    assert lieux == seuls
