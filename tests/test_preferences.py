"""Apprendre des préférences : la perte à la main, la marche et ses protections, la commande."""

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import fabrique
from benchmarks.preferences import (
    a_longueur_egale,
    departager,
    melanger,
    selon_la_longueur,
    synthetiques,
)
from fabrique.corpus.votes import Avis, Preference
from fabrique.entrainement import entraineur
from fabrique.entrainement.adaptateur import poser
from fabrique.entrainement.preferences import (
    LotDePreferences,
    PerteDesPreferences,
    apprendre_des_votes,
    avec_reference,
    juger_les_reponses,
    mesurer_les_gains,
    perte_des_avis,
    perte_des_paires,
    votes_en_jetons,
)
from fabrique.entrainement.reglages_preferences import ReglagesPreferences
from fabrique.evaluation.grille import GRILLE
from fabrique.ligne_de_commande import principal
from fabrique.machine.profil import JUMEAU
from fabrique.modeles.origine import lire_origine
from fabrique.modeles.vraisemblance import log_probabilites
from fabrique.socle.erreurs import DONNEES, Divergence, ErreurFabrique

LIEUX = ("au guichet de la mairie", "en ligne", "par courrier à la préfecture", "nulle part")


def demande(texte):
    return [{"role": "user", "content": texte}]


PAIRES = [
    Preference(
        demande(f"Où déposer le dossier {n} ?"),
        f"Déposez-le {LIEUX[n % 4]}.",
        f"Je ne sais pas trop, cherchez {LIEUX[(n + 1) % 4]}.",
    )
    for n in range(8)
]
AVIS = [Avis(paire.messages, paire.choisie, n % 2 == 0) for n, paire in enumerate(PAIRES)]
#: Huit paires, lots de deux, deux époques : huit pas ; l'extinction au hasard est de la partie.
REGLAGES = ReglagesPreferences(
    learning_rate=1e-2, epochs=2, warmup_steps=1, save_steps=2, logging_steps=1, cutoff_len=64
)


@pytest.fixture(scope="module")
def nu(dossier_petit):
    """Le petit Falcon, en 32 bits : (tokenizer, modèle)."""
    return fabrique.charger(dossier_petit, "aucune", silencieux=True)


# ---------------------------------------------------------------- la perte, à la main


def test_les_pertes_de_trois_paires_se_font_a_la_main():
    """Les formules des articles, en Python ordinaire : DPO (7), IPO (17), et par jeton."""
    gains = torch.tensor([[2.0, -1.0, 0.5], [1.0, 1.0, 0.5]])
    beta = 0.1
    for marge, dpo, ipo in zip(
        (1.0, -2.0, 0.0),
        perte_des_paires(gains, beta).tolist(),
        perte_des_paires(gains, beta, "ipo").tolist(),
        strict=True,
    ):
        assert dpo == pytest.approx(-np.log(1 / (1 + np.exp(-beta * marge))), abs=1e-6)
        assert ipo == pytest.approx((marge - 5) ** 2, abs=1e-5)
    assert torch.equal(perte_des_paires(gains, beta), perte_des_paires(gains, beta, "longueur"))


def test_la_perte_de_deux_avis_se_fait_a_la_main():
    """KTO (8) : le départ est le gain moyen d'ailleurs, jamais négatif."""
    gains, bons = torch.tensor([[3.0, 1.0], [1.0, 2.0]]), torch.tensor([True, False])
    depart = 1.5
    attendues = [1 - 1 / (1 + np.exp(-0.1 * ecart)) for ecart in (3 - depart, depart - 1)]
    assert perte_des_avis(gains, bons, 0.1).tolist() == pytest.approx(attendues, abs=1e-6)
    negatifs = torch.tensor([[3.0, 1.0], [-1.0, -2.0]])
    attendues = [1 - 1 / (1 + np.exp(-0.1 * ecart)) for ecart in (3, -1)]
    assert perte_des_avis(negatifs, bons, 0.1).tolist() == pytest.approx(attendues, abs=1e-6)


@pytest.mark.parametrize("variante", ["dpo", "ipo", "longueur"])
def test_un_lot_compte_les_log_probabilites_de_chaque_reponse(nu, variante):
    """La perte d'un lot, contre les log-probabilités des suites prises une à une."""
    tokenizer, modele = nu
    exemples, _ = votes_en_jetons(PAIRES[:3], tokenizer, 64)
    reference = [[-10.0, -12.0], [-20.0, -18.0], [-15.0, -15.0]]
    lot = LotDePreferences(tokenizer, modele)(
        [e | {"reference": r} for e, r in zip(exemples, reference, strict=True)]
    )
    perte = PerteDesPreferences(0.1, variante)
    with torch.no_grad():
        lue = perte(modele, lot)
    gains = []
    for rang, nom in enumerate(("", "autre_")):
        suites = [{c: e[f"{nom}{c}"] for c in ("input_ids", "labels")} for e in exemples]
        for suite, deux in zip(suites, reference, strict=True):
            (notes,) = log_probabilites(modele, [suite])
            gain = notes.sum() - deux[rang]
            gains.append(gain if variante == "dpo" else gain / len(notes))
    attendue = perte_des_paires(torch.tensor(np.reshape(gains, (2, 3))), 0.1, variante)
    assert lue.item() == pytest.approx(attendue.mean().item(), rel=1e-4)
    marges = np.subtract(*np.reshape(gains, (2, 3)))
    assert perte.marges == pytest.approx(marges.tolist(), rel=1e-3)


def test_seule_la_derniere_reponse_se_compare(nu):
    tokenizer, _ = nu
    tours = [*demande("Bonjour."), {"role": "assistant", "content": "Oui ?"}, *demande("Où ?")]
    exemples, compte = votes_en_jetons([Preference(tours, "Là.", "Ici.")], tokenizer, 64)
    appris = [i for i in exemples[0]["labels"] if i != -100]
    assert tokenizer.decode(appris) == f"Là.{tokenizer.eos_token}"
    assert (compte.appris, compte.coupes) == (1, 0)


def test_une_question_trop_longue_est_comptee_et_ecartee(nu):
    longue = Preference(demande("Où ? " * 60), "Là.", "Ici.")
    exemples, compte = votes_en_jetons([longue, PAIRES[0]], nu[0], 64)
    assert (len(exemples), compte.lus, compte.appris, compte.ecartes) == (1, 2, 1, 1)


def test_la_reference_est_celle_de_la_base(nu):
    """Un adaptateur neuf ne change rien : la référence est la base, adaptateur éteint."""
    tokenizer, modele = nu
    affine = poser(modele, REGLAGES)
    exemples, _ = votes_en_jetons(PAIRES[:2], tokenizer, 64)
    avec = avec_reference(affine, exemples)["reference"]
    base = juger_les_reponses(affine, tokenizer, PAIRES[:2], 64, adaptateur=False)
    assert np.allclose(avec, base, atol=1e-4)


# ---------------------------------------------------------------- la marche et ses protections


def apprendre(dossier_petit, sortie, reglages=REGLAGES, votes=PAIRES, depart=None):
    tokenizer, modele = fabrique.charger(dossier_petit, "nf4", silencieux=True)
    return apprendre_des_votes(modele, tokenizer, votes, reglages, sortie, depart)


def poids(dossier):
    return (dossier / "adapter_model.safetensors").read_bytes()


@pytest.fixture(scope="module")
def appris(dossier_petit, tmp_path_factory):
    """Un apprentissage mené d'une traite, dans son dossier."""
    return apprendre(dossier_petit, tmp_path_factory.mktemp("appris") / "a")


def test_les_preferences_s_apprennent(appris):
    premier, dernier = appris.historique[0], appris.historique[-1]
    assert premier["perte"] == pytest.approx(np.log(2), abs=1e-3)
    assert dernier["perte"] < premier["perte"]
    assert dernier["marge"] > 1
    assert dernier["respectees"] == 1
    gains = mesurer_les_gains(appris.modele, appris.tokenizer, PAIRES, 64)
    assert gains.respectees.mean() == 1
    assert (appris.exemples, appris.pas) == (8, 8)


def test_interrompue_puis_relancee_l_adaptateur_est_le_meme(
    dossier_petit, appris, tmp_path, monkeypatch
):
    pas = entraineur.EntraineurParLongueur.training_step

    def tuer(self, *args, **autres):
        if self.state.global_step == 5:
            raise KeyboardInterrupt
        return pas(self, *args, **autres)

    monkeypatch.setattr(entraineur.EntraineurParLongueur, "training_step", tuer)
    with pytest.raises(ErreurFabrique, match="interrompu au pas 5"):
        apprendre(dossier_petit, tmp_path / "coupe")
    monkeypatch.undo()
    assert apprendre(dossier_petit, tmp_path / "coupe").pas_faits == 4
    assert poids(tmp_path / "coupe") == poids(appris.dossier)
    # Tout est fait : relancée, elle relit.
    assert apprendre(dossier_petit, tmp_path / "coupe").pas_faits == 4


def test_moins_d_exemples_ensemble_c_est_le_meme_apprentissage(dossier_petit, tmp_path):
    """Quand la mémoire manque, le petit lot se divise : la perte reste la moyenne du lot."""
    sans_hasard = replace(REGLAGES, epochs=1, lora_dropout=0)
    lus = [
        apprendre(dossier_petit, tmp_path / str(n), replace(sans_hasard, mbatch_size=n))
        for n in (1, 2)
    ]
    un, deux = (load_file(resultat.dossier / "adapter_model.safetensors") for resultat in lus)
    assert all(torch.allclose(un[nom], deux[nom], atol=1e-4) for nom in un)


@pytest.mark.parametrize(
    ("changement", "dit"),
    [
        ({"reglages": replace(REGLAGES, beta=0.5)}, "reglages"),
        ({"reglages": replace(REGLAGES, variante="ipo")}, "reglages"),
        ({"votes": PAIRES[:7]}, "donnees"),
        ({"votes": [replace(p, ecartee=p.ecartee + " Ou pas.") for p in PAIRES]}, "donnees"),
    ],
)
def test_un_autre_apprentissage_ne_reprend_pas_celui_ci(dossier_petit, appris, changement, dit):
    avant = poids(appris.dossier)
    with pytest.raises(ErreurFabrique, match=f"ce qui change : {dit}"):
        apprendre(dossier_petit, appris.dossier, **changement)
    assert poids(appris.dossier) == avant


def test_le_dossier_d_un_autre_n_est_pas_touche(dossier_petit, tmp_path):
    (tmp_path / "README.md").write_text("Mes notes.", "utf-8")
    with pytest.raises(ErreurFabrique):
        apprendre(dossier_petit, tmp_path)
    assert [f.name for f in tmp_path.iterdir()] == ["README.md"]


def test_une_perte_qui_n_est_plus_un_nombre_arrete_tout(dossier_petit, tmp_path):
    with pytest.raises(Divergence, match="n’est plus un nombre"):
        apprendre(dossier_petit, tmp_path / "s", replace(REGLAGES, learning_rate=1e30, epochs=4))


def test_l_ancien_adaptateur_se_prolonge_et_reste(dossier_petit, appris, tmp_path):
    """Parti de l'ancien, on apprend l'inverse ; l'ancien ne bouge pas, et sert de référence."""
    avant = poids(appris.dossier)
    inverses = [Preference(demande("Qui signe ?"), p.ecartee, p.choisie) for p in PAIRES]
    reglages = replace(REGLAGES, lora_r=2, target_modules=("dense",))
    suite = apprendre(dossier_petit, tmp_path / "s", reglages, inverses, appris.dossier)
    assert suite.historique[0]["perte"] == pytest.approx(np.log(2), abs=1e-3)
    assert suite.reglages.lora_r == appris.reglages.lora_r
    assert poids(appris.dossier) == avant != poids(tmp_path / "s")
    assert {*lire_origine(appris.dossier).apprises} < {*lire_origine(tmp_path / "s").apprises}
    with pytest.raises(ErreurFabrique, match="ce qui change : depart"):
        apprendre(dossier_petit, tmp_path / "s", suite.reglages, inverses)


def test_des_pouces_s_apprennent(dossier_petit, tmp_path):
    resultat = apprendre(dossier_petit, tmp_path / "s", votes=AVIS)
    gains = mesurer_les_gains(resultat.modele, resultat.tokenizer, AVIS, 64)
    assert gains.respectees.mean() >= 0.75
    assert all(gains.choisies[1::2] == 0)
    assert all(gains.ecartees[::2] == 0)


def test_le_jumeau_apprend_des_preferences_aux_reglages_de_la_t4(jumeau, tmp_path):
    tokenizer, modele = jumeau
    reglages = ReglagesPreferences.du_profil(JUMEAU, learning_rate=1e-2, warmup_steps=0)
    assert (reglages.cutoff_len, reglages.mbatch_size) == (JUMEAU.cutoff_len, JUMEAU.mbatch_size)
    resultat = apprendre_des_votes(modele, tokenizer, PAIRES, reglages, tmp_path / "s")
    assert resultat.couches_4bits > 0
    gains = mesurer_les_gains(resultat.modele, tokenizer, PAIRES)
    assert gains.marges.mean() > 0


# ---------------------------------------------------------------- ce que le banc fait apprendre


def test_les_paires_synthetiques_ne_se_gagnent_que_par_le_contenu():
    """Chaque réponse est choisie autant de fois qu'écartée ; aucune question n'est des deux côtés."""
    appris, gardes = synthetiques()
    for paires in (appris, gardes):
        assert Counter(p.choisie for p in paires) == Counter(p.ecartee for p in paires)
    assert not {p.question for p in appris} & {p.question for p in gardes}


def test_des_votes_melanges_sont_retournes_une_fois_sur_deux():
    appris, _ = synthetiques()
    melanges = melanger(appris, graine=1)
    assert melanges == melanger(appris, graine=1)
    tournes = sum(un != autre for un, autre in zip(appris, melanges, strict=True))
    assert 15 <= tournes <= 33  # de 48, à près de trois écarts types
    assert [{p.choisie, p.ecartee} for p in melanges] == [{p.choisie, p.ecartee} for p in appris]


def test_a_longueur_egale_la_longueur_n_explique_plus_rien():
    """Gagner parce qu'on est court ne compte plus ; gagner à toute longueur compte encore."""
    taux = lambda texte: int(texte.split("\u00a0")[0])  # noqa: E731
    ecarts = [*range(-20, 0), *range(1, 21)]
    assert taux(a_longueur_egale(ecarts, [e < 0 for e in ecarts])) == 50
    # Presque toujours plus courte, et gagnante d'autant : 40 victoires sur 48 sans ce calcul.
    courtes = [*ecarts[:20] * 2, *range(1, 9)]
    assert abs(taux(a_longueur_egale(courtes, [e < 0 for e in courtes])) - 50) < 20
    assert taux(a_longueur_egale(ecarts, [n % 4 > 0 for n in range(40)])) == 75
    assert a_longueur_egale(ecarts, [True] * 40) == "non défini"


def test_un_juge_departage_dans_les_deux_ordres(tmp_path):
    """Un juge qui préfère toujours la place A se contredit : personne ne l'emporte."""

    class Constant:
        nom = "constant"

        def __call__(self, consigne, matiere):
            criteres = {critere.nom: "A" for critere in GRILLE}
            return json.dumps({"raison": "En tête.", "criteres": criteres, "gagnant": "A"})

    dites = lambda mot: [(f"{mot} {n}", True) for n in range(len(PAIRES))]  # noqa: E731
    _, sans_juge = departager(
        PAIRES, dites("nulle part"), [(p.choisie, True) for p in PAIRES], None, ""
    )
    assert set(sans_juge.values()) == {1}
    _, jugees = departager(PAIRES, dites("ici"), dites("là"), Constant(), tmp_path / "j.jsonl")
    assert set(jugees.values()) == {0}


def test_la_regle_de_longueur_choisit_toujours_la_plus_courte():
    paires = [*PAIRES, *(replace(p, choisie=p.ecartee, ecartee=p.choisie) for p in PAIRES)]
    assert all(len(p.choisie) < len(p.ecartee) for p in selon_la_longueur(paires))


# ---------------------------------------------------------------- les réglages


@pytest.mark.parametrize(
    ("reglages", "champ"),
    [
        ({"beta": 0}, "beta"),
        ({"variante": "ppo"}, "variante"),
        ({"methode": "complet"}, "methode"),
        ({"learning_rate": -1}, "learning_rate"),
    ],
)
def test_un_reglage_qui_ne_convient_pas_est_nomme(reglages, champ):
    with pytest.raises(ErreurFabrique) as refus:
        ReglagesPreferences(**reglages)
    assert refus.value.champ == champ


# ---------------------------------------------------------------- la commande


@pytest.fixture(scope="module")
def fichier(tmp_path_factory):
    """Les paires, en un fichier réparti."""
    chemin = tmp_path_factory.mktemp("votes") / "votes.jsonl"
    lignes = [
        {"prompt": p.question, "chosen": p.choisie, "rejected": p.ecartee, "jeu": jeu}
        for p, jeu in zip(PAIRES, ["entrainement"] * 6 + ["validation"] * 2, strict=True)
    ]
    chemin.write_text("\n".join(json.dumps(ligne) for ligne in lignes), "utf-8")
    return chemin


def test_la_commande_apprend_mesure_et_dit_comment_revenir(
    dossier_petit, appris, fichier, tmp_path, capsys
):
    sortie = tmp_path / "neuf"
    commande = ["preferer", "--model", str(dossier_petit), "--dataset", str(fichier)]
    options = ["--cutoff_len", "64", "--lr", "0,01", "--adaptateur", str(appris.dossier)]
    assert principal([*commande, *options, "--sortie", str(sortie)]) == 0
    dit = capsys.readouterr().out
    assert "6 préférences à apprendre, 2 de validation" in dit
    assert "Préférences suivies" in dit
    assert f"servir --model {dossier_petit} --adaptateur {appris.dossier}" in dit
    mesure = json.loads((sortie / "preferences.json").read_text("utf-8"))
    assert mesure["toutes"]["sur"] == 2
    assert load_file(sortie / "adapter_model.safetensors")
    # La sortie ne peut pas être le départ : l'ancien serait perdu.
    assert principal([*commande, "--adaptateur", str(sortie), "--sortie", str(sortie)]) == DONNEES
    assert "serait perdu" in capsys.readouterr().err


#: Ce qui précède la commande quand elle doit mourir au troisième pas.
TUER_AU_PAS_3 = "from meurtres import au_pas; au_pas(3)"
COMMANDE = "import sys; from fabrique.ligne_de_commande import principal; sys.exit(principal())"


@pytest.mark.skipif(os.name == "nt", reason="SIGKILL n’y existe pas")
def test_tuee_par_kill_9_la_commande_relancee_rend_le_meme_adaptateur(
    dossier_petit, fichier, tmp_path
):
    """La commande, dans son processus, tuée au troisième de ses six pas ; la même, d'une traite."""
    commande = ["preferer", "--model", str(dossier_petit), "--dataset", str(fichier)]
    commande += [
        "--cutoff_len",
        "64",
        "--save_steps",
        "2",
        "--mbatch_size",
        "1",
        "--batch_size",
        "1",
    ]
    tests = str(Path(__file__).parent)

    def lancer(avant, sortie):
        return subprocess.run(
            [sys.executable, "-c", f"{avant}\n{COMMANDE}", *commande, "--sortie", str(sortie)],
            env={
                **os.environ,
                "PYTHONPATH": f"{tests}:{Path(tests).parent}",
                "OMP_NUM_THREADS": "1",
            },
            capture_output=True,
            text=True,
        )

    tuee, traite = tmp_path / "tuee", tmp_path / "traite"
    assert lancer(TUER_AU_PAS_3, tuee).returncode == -signal.SIGKILL
    assert (tuee / "checkpoint-2").is_dir()
    assert not (tuee / "adapter_model.safetensors").exists()
    reprise = lancer("", tuee)
    assert reprise.returncode == 0, reprise.stderr[-2000:]
    assert lancer("", traite).returncode == 0
    assert poids(tuee) == poids(traite)
    assert json.loads((tuee / "rapport.json").read_text("utf-8"))["pas_faits"] == 4


def test_des_donnees_personnelles_se_refusent(dossier_petit, tmp_path, capsys):
    votes = tmp_path / "v.jsonl"
    ligne = {"prompt": "Où ?", "chosen": "Au 06 39 98 12 34.", "rejected": "Je ne sais pas."}
    votes.write_text(json.dumps(ligne), "utf-8")
    commande = ["preferer", "--model", str(dossier_petit), "--dataset", str(votes)]
    assert principal([*commande, "--sortie", str(tmp_path / "s")]) == DONNEES
    assert "--accepter_donnees_personnelles" in capsys.readouterr().err
    assert not (tmp_path / "s").exists()
