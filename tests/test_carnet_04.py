"""Ce que le carnet 04 affirme : ses nombres, ses outils, son jeu de secours."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from scipy.stats import binom

from fabrique.cours import jumelles
from fabrique.cours.jumelles import AUTORITE, JUMELLES, SOIN
from fabrique.cours.salle import sans_signature
from fabrique.evaluation import metriques as m
from fabrique.evaluation.aveugle import lecture_de_secours
from fabrique.evaluation.avis import lire_avis
from fabrique.evaluation.choix import QuestionFermee, log_probabilites
from fabrique.evaluation.course import faire_juger
from fabrique.evaluation.grille import consigne, matiere
from fabrique.evaluation.juge_force import GRILLE_BREVE, JugeForce
from fabrique.evaluation.paires import Part, apparier
from fabrique.modeles.gabarits import coder
from fabrique.modeles.representations import representations
from fabrique.socle.figures import tracer_intervalles

# ---------------------------------------------------------------- les nombres cités

REFERENCE = "Vous avez deux mois pour contester la décision, à compter de sa notification."


def test_un_mot_faux_laisse_le_f1_au_dessus_de_90():
    fausse = m.f1(REFERENCE.replace("deux", "douze"), REFERENCE)
    juste = m.f1(
        "La décision se conteste dans les deux mois qui suivent sa notification.", REFERENCE
    )
    assert fausse > 0.9 > juste
    envers = "Notification sa de compter à décision la contester pour mois deux avez vous."
    assert m.f1(envers, REFERENCE) == 1


def test_douze_victoires_sur_vingt_ne_prouvent_rien_quinze_si():
    """La moitié des tirages à pile ou face en donnent autant ; « d'un gros tiers à quatre cinquièmes »."""
    assert 0.45 < 2 * (1 - binom.cdf(11, 20, 0.5)) < 0.55
    bas, haut = Part(12, 20).ic95
    assert 1 / 3 < bas < 0.4
    assert 0.79 < haut < 0.82
    assert next(k for k in range(10, 21) if Part(k, 20).tranche) == 15
    assert Part(120, 200).tranche


def test_un_juge_qui_dit_toujours_b_ne_departage_rien(tmp_path):
    class ToujoursB:
        nom = "toujours B"

        def __call__(self, consigne: str, matiere: str) -> str:
            return '{"raison": "", "criteres": {"pertinence": "B"}, "gagnant": "B"}'

    paires = apparier(
        [{"instruction": f"Question {n} ?"} for n in range(5)], list("abcde"), list("fghij")
    )
    bilan = faire_juger(ToujoursB(), paires, tmp_path / "avis.jsonl", grille=GRILLE_BREVE).bilan()
    assert (bilan.completes, bilan.premieres, bilan.secondes) == (5, 0, 0)


# ---------------------------------------------------------------- le juge forcé


def test_le_juge_force_rend_l_avis_le_plus_probable(petit):
    tokenizer, modele = petit
    juge = JugeForce(modele, tokenizer, "petit")
    demande, texte = consigne(GRILLE_BREVE), matiere("Où voter ?", ("Ici.", "Là-bas."))
    rendu = juge(demande, texte)
    assert lire_avis(rendu, GRILLE_BREVE).gagnant == json.loads(rendu)["gagnant"]
    avis = tuple(rendu.replace(f'"{json.loads(rendu)["gagnant"]}"', f'"{place}"') for place in "AB")
    question = QuestionFermee(demande, avis, 0, input=texte)
    notes = log_probabilites(modele, tokenizer, question, cutoff_len=1024)
    assert rendu == avis[int(notes.argmax())]


def test_une_question_longue_n_est_pas_coupee_avant_sa_reponse(petit):
    """Coupée, elle donnerait la même note à toutes les réponses."""
    tokenizer, modele = petit
    question = QuestionFermee("mot " * 600, ("A", "une autre réponse"), 0)
    longues = log_probabilites(modele, tokenizer, question, cutoff_len=2048)
    assert np.isfinite(longues).all()
    assert longues[0] != longues[1]


# ---------------------------------------------------------------- phrases jumelles


def test_seul_l_article_distingue_deux_jumelles(petit):
    tokenizer, _ = petit
    assert [sum(p.groupe == g for p in JUMELLES) for g in (AUTORITE, SOIN)] == [20, 20]
    assert len({p.metier for p in JUMELLES}) == 40
    for paire in JUMELLES:
        assert paire.metier[0] not in "aeiouyhéèê", "« Le aide » n’est pas du français"
        le, la = (coder(phrase, tokenizer) for phrase in (paire.masculin, paire.feminin))
        assert paire.masculin[2:] == paire.feminin[2:]
        assert le[-3:] == la[-3:]


def test_l_ecart_est_celui_d_une_somme_ecrite_a_la_main(petit):
    """Le lot, complété à droite, ne change rien."""
    tokenizer, modele = petit
    paires = JUMELLES[:3]

    def somme(phrase: str) -> float:
        ids = torch.tensor([[tokenizer.bos_token_id, *coder(phrase, tokenizer)]])
        with torch.inference_mode():
            probabilites = modele(ids).logits[0].float().log_softmax(-1)
        return sum(float(probabilites[rang, ids[0, rang + 1]]) for rang in range(ids.shape[1] - 1))

    attendus = [somme(p.masculin) - somme(p.feminin) for p in paires]
    assert jumelles.ecarts(modele, tokenizer, paires) == pytest.approx(attendus, abs=1e-3)


def test_le_stereotype_se_lit_entre_les_groupes():
    """Un article plus fréquent que l'autre décale tout, et ne fait pas un stéréotype."""
    neutre = np.full(40, 2.0)
    bilan = jumelles.faire_le_bilan(neutre)
    assert (bilan.stereotype, bilan.ic95) == (0, (0, 0))
    assert bilan.moyennes[SOIN] == (2, 2, 2)
    penche = neutre + [p.groupe == AUTORITE for p in JUMELLES]
    assert jumelles.faire_le_bilan(penche).stereotype == pytest.approx(1)


# ---------------------------------------------------------------- ranger


def test_une_representation_est_la_moyenne_des_vecteurs(petit):
    tokenizer, modele = petit
    textes = ["Où voter ?", "Comment renouveler une carte d’identité perdue ?", "Merci."]
    vecteurs = representations(modele, tokenizer, textes, lot=2)
    for texte, vecteur in zip(textes, vecteurs, strict=True):
        ids = torch.tensor([[tokenizer.bos_token_id, *coder(texte, tokenizer)]])
        with torch.inference_mode():
            caches = modele(ids, output_hidden_states=True).hidden_states[-1][0]
        assert vecteur == pytest.approx(caches.mean(0).numpy(), abs=1e-4)


def test_la_representation_d_un_modele_affine_est_celle_de_sa_base(avec_adaptateur):
    """L'adaptateur est éteint, et posé par-dessus il ne cache pas le corps du modèle."""
    tokenizer, affine = avec_adaptateur
    textes = ["Où voter ?", "Merci."]
    vues = representations(affine, tokenizer, textes)
    assert vues == pytest.approx(representations(affine.unload(), tokenizer, textes), abs=1e-5)


# ---------------------------------------------------------------- la salle, la lecture de secours


@pytest.mark.parametrize(
    ("signee", "nue"),
    [
        ("En bref : oui, en mairie. Source : insee.fr.", "Oui, en mairie."),
        ("En bref\u00a0: oui.\n\nSource\u00a0: code civil", "Oui."),
        ("Rien à retirer.", "Rien à retirer."),
        ("En bref : Source : insee.fr", ""),
        ("", ""),
    ],
)
def test_la_signature_se_retire(signee: str, nue: str):
    assert sans_signature(signee) == nue


def test_la_lecture_de_secours_est_complete_et_ne_porte_plus_de_signature():
    paires, preferences = lecture_de_secours()
    assert len(paires) == 14
    assert list(preferences.values()).count(0) == 7, "une paire sur deux à égalité"
    assert preferences.keys() == {paire.empreinte for paire in paires}
    assert set(preferences.values()) <= {-1, 0, 1}
    assert all(sans_signature(texte) == texte for paire in paires for texte in paire.reponses)


# ---------------------------------------------------------------- la figure


def test_la_figure_des_intervalles_dit_tout_en_texte():
    figure, texte = tracer_intervalles(
        ["un", "deux"], [1.5, -2], [(1, 2), (-3, -1)], "Titre", "points"
    )
    assert "un : 1,5, de 1,0 à 2,0 ; deux : −2,0, de −3,0 à −1,0" in texte
    assert len(figure.axes[0].lines) == 5
