"""Le coût d'une lecture : à la main, et l'exemple de 2023."""

import json
from dataclasses import replace

import pytest

from fabrique.entrainement.reglages_prolongement import ReglagesProlongement
from fabrique.ligne_de_commande import principal
from fabrique.machine.cartes import CARTES
from fabrique.recettes.cout import compter, estimer_memoire
from fabrique.recettes.cout_preentrainement import estimer_la_lecture, jetons_du_texte
from fabrique.socle.erreurs import DONNEES, ErreurFabrique
from fabrique.socle.nombres import GO

COMPLET, LORA = ReglagesProlongement(), ReglagesProlongement(lora=True)
#: Falcon-7B, plongements compris.
POIDS = 6_625_951_744 + 295_768_960


def nuit_de_2023(reglages=COMPLET):
    """2 Go de texte, quatre A100 à 14 $ l'heure les quatre."""
    return estimer_la_lecture("falcon-7b", "a100", reglages, jetons_du_texte(2 * GO), 4, 14)


def test_l_exemple_de_2023_se_recompte_a_la_main():
    """542 millions de jetons, 6 calculs par poids ; 5 h au mieux, 40 au rendement de 2023, 561 $."""
    nuit = nuit_de_2023()
    jetons = 2e9 / 3.69
    assert nuit.jetons == pytest.approx(jetons, abs=1)
    plancher = 6 * POIDS * jetons / (4 * 312e12) / 3600
    assert nuit.plancher == pytest.approx(plancher)
    assert nuit.prudent == pytest.approx(8 * plancher)
    assert nuit.prix == pytest.approx(14 * 8 * plancher)
    assert (round(nuit.plancher), round(nuit.prudent), round(nuit.prix)) == (5, 40, 561)
    assert nuit.part_payee(500) == pytest.approx(500 / nuit.prix)
    assert 0.85 < nuit.part_payee(500) < 0.95
    assert nuit.part_payee(10_000) == 1


def test_le_disque_de_2023_se_remplit_au_cinquieme():
    """Hypothèses : 250 Go libres, un point tous les dixièmes, tous gardés. Deux points y tiennent."""
    nuit = nuit_de_2023()
    assert nuit.point == 12 * POIDS
    tous_les_dixiemes = -(-nuit.pas // 10)
    assert (250 * GO - 8 * nuit.jetons) // nuit.point == 2
    assert nuit.part_avant_disque_plein(250 * GO, tous_les_dixiemes, None) == pytest.approx(
        0.2, abs=1e-4
    )
    # N’en garder que deux ne suffit pas : l’ancien ne part qu’une fois le nouveau écrit.
    assert nuit.part_avant_disque_plein(250 * GO, tous_les_dixiemes, 2) == pytest.approx(
        0.2, abs=1e-4
    )
    assert nuit.part_avant_disque_plein(250 * GO, tous_les_dixiemes, 1) == 1
    assert nuit.part_avant_disque_plein(nuit.disque, tous_les_dixiemes, COMPLET.points_gardes) == 1
    assert nuit.part_avant_disque_plein(GO, tous_les_dixiemes, None) == 0


def test_par_lora_la_meme_nuit_tient_sur_un_petit_disque_et_une_carte():
    nuit = nuit_de_2023(LORA)
    plan = compter("falcon-7b", LORA.de_la_marche())
    assert nuit.poids_entraines == plan.adaptateur
    assert nuit.disque == 8 * nuit.jetons + (3 * 12 + 4) * plan.adaptateur
    assert nuit.part_avant_disque_plein(50 * GO, 100, LORA.points_gardes) == 1
    assert nuit.memoire == estimer_memoire(plan, LORA.de_la_marche(), seize_bits=True)
    assert nuit.cartes_necessaires == 1
    assert nuit.prix == pytest.approx(nuit_de_2023().prix * 4 / 6)


def test_la_memoire_d_un_modele_entier_dit_combien_de_cartes():
    nuit = nuit_de_2023()
    marche = COMPLET.de_la_marche()
    plan = compter("falcon-7b", marche)
    activations = estimer_memoire(plan, replace(marche, methode="lora"), True) - (
        plan.blocs * (4 + 8 / 64 + 32 / (64 * 256)) / 8 + 4 * plan.autres + 16 * plan.adaptateur
    )
    assert nuit.memoire == pytest.approx(16 * POIDS + activations, abs=2)
    assert nuit.cartes_necessaires == 3
    assert nuit.tient
    assert nuit.memoire < 4 * CARTES["a100"].memoire * GO


def test_sans_prix_on_ne_sait_pas_ce_qu_un_budget_paie():
    nuit = estimer_la_lecture("falcon-poche", "cpu", LORA, 60_000)
    assert nuit.prix is None
    for sans_prix in (nuit, replace(nuit, prix=0.0)):
        with pytest.raises(ErreurFabrique, match="prix à l’heure"):
            sans_prix.part_payee(500)


def test_la_commande_estime_une_lecture(capsys):
    options = ["--preentrainement", "complet", "--texte_go", "2", "--model", "falcon-7b"]
    cartes = ["--machine", "a100", "--cartes", "4", "--prix_heure", "14", "--budget", "500"]
    assert principal(["cout", *options, *cartes]) == 0
    dit = capsys.readouterr().out
    for attendu in ("4 × a100", "Point de reprise", "83,1", "Payé par 500", "Hypothèses"):
        assert attendu in dit
    assert principal(["cout", *options, *cartes, "--json"]) == 0
    objet = json.loads(capsys.readouterr().out)
    assert objet["prix"] == pytest.approx(nuit_de_2023().prix)
    assert objet["part_payee"] == pytest.approx(500 / objet["prix"])


def test_la_commande_chiffre_la_lecture_que_preentrainer_ferait(capsys):
    """Rang, couches, longueur et lot sont les siens, sauf ceux que l’on donne."""
    demande = ["cout", "--preentrainement", "lora", "--texte_go", "2", "--model", "falcon-7b"]
    demande += ["--machine", "a100", "--json"]
    jetons = jetons_du_texte(2 * GO)
    for options, changes in (
        ([], {}),
        (
            ["--mbatch_size", "3", "--epochs", "2"],
            {"fenetres_ensemble": 3, "lot": 9, "passages": 2},
        ),
        (["--cutoff_len", "256", "--lora_r", "4"], {"longueur": 256, "lora_r": 4}),
    ):
        assert principal([*demande, *options]) == 0
        objet = json.loads(capsys.readouterr().out)
        attendue = estimer_la_lecture("falcon-7b", "a100", replace(LORA, **changes), jetons)
        for nom in ("pas", "point", "disque", "memoire", "prudent"):
            assert objet[nom] == pytest.approx(getattr(attendue, nom)), (options, nom)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--preentrainement", "vite"], "n’est pas une façon de lire"),
        (["--preentrainement", "lora"], "un nombre de jetons ou une quantité de texte"),
        (["--preentrainement", "lora", "--jetons", "5", "--machine", "abaque"], "« abaque »"),
    ],
)
def test_une_demande_incomplete_se_refuse(options, message, capsys):
    assert principal(["cout", *options]) == DONNEES
    assert message in capsys.readouterr().err
