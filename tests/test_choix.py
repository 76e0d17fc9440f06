"""Le choix multiple : chaque façon de rapporter à la longueur, et le biais de la plus longue réponse."""

import pytest

from fabrique.evaluation.choix import QuestionFermee, choisir, faire_le_bilan, log_probabilites
from fabrique.evaluation.mesures import pertes
from fabrique.socle.erreurs import ErreurFabrique

QUESTION = QuestionFermee(
    "Où voter ?", ("Ici.", "Au bureau indiqué sur votre carte électorale."), 1
)


def test_les_trois_facons_de_rapporter_disent_la_meme_somme(petit):
    tokenizer, modele = petit
    par = {
        p: log_probabilites(modele, tokenizer, QUESTION, par=p)
        for p in ("reponse", "jeton", "octet")
    }
    jetons = [len(tokenizer.encode(c, add_special_tokens=False)) for c in QUESTION.choix]
    octets = [len(c.encode()) for c in QUESTION.choix]
    assert par["jeton"] * jetons == pytest.approx(par["reponse"], rel=1e-5)
    assert par["octet"] * octets == pytest.approx(par["reponse"], rel=1e-5)
    exemples = [{"instruction": QUESTION.instruction, "output": c} for c in QUESTION.choix]
    assert -par["jeton"] == pytest.approx(pertes(modele, tokenizer, exemples), abs=1e-4)


def test_sans_diviser_la_reponse_courte_l_emporte(petit):
    """Le modèle ne sait rien : la somme préfère toujours le moins de jetons."""
    tokenizer, modele = petit
    assert choisir(modele, tokenizer, [QUESTION], par="reponse") == [0]
    with pytest.raises(ErreurFabrique, match="rapporter"):
        log_probabilites(modele, tokenizer, QUESTION, par="mot")


def test_le_bilan_se_compte_a_la_main():
    """Quatre questions : deux justes ; la plus longue est prise trois fois, elle est bonne une fois et demie."""
    questions = [
        QuestionFermee("?", ("a", "bbb"), 1),
        QuestionFermee("?", ("a", "bbb"), 0),
        QuestionFermee("?", ("aa", "bb"), 0),
        QuestionFermee("?", ("aaa", "b", "c", "d"), 3),
    ]
    bilan = faire_le_bilan(questions, [1, 1, 0, 1])
    assert bilan.exactitude == 0.5
    assert bilan.hasard == pytest.approx((0.5 + 0.5 + 0.5 + 0.25) / 4)
    assert bilan.plus_longue == pytest.approx((1 + 0 + 0.5 + 0) / 4)
    assert bilan.choisit_la_plus_longue == 0.75
    assert bilan.plus_longue_attendue == pytest.approx((0.5 + 0.5 + 1 + 0.25) / 4)
    assert bilan.ic95[0] <= 0.5 <= bilan.ic95[1]
