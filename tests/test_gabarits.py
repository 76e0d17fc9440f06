"""Le gabarit : ce que le modèle lit, ce qu'il apprend, ce qu'on ne peut pas lui faire dire."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fabrique.emplacements import FALCON_POCHE
from fabrique.erreurs import ErreurFabrique
from fabrique.gabarits import (
    ASSISTANT,
    DEBUT,
    FIN,
    GABARIT_ALPACA,
    GABARIT_POCHE,
    REMPLISSAGE,
    SANS_PERTE,
    SYSTEME,
    UTILISATEUR,
    coder,
    en_messages,
    exemple_en_jetons,
    neutraliser,
    texte_envoye,
)

SPECIAUX = [DEBUT, FIN, REMPLISSAGE, SYSTEME, UTILISATEUR, ASSISTANT]
EXEMPLE = {
    "instruction": "Combien coûte un passeport ?",
    "input": "Pour un adulte.",
    "output": "86 € en métropole.",
}

#: Tout texte Unicode valide, où traînent des jetons spéciaux et leurs morceaux.
textes_pieges = st.lists(
    st.sampled_from([*SPECIAUX, "<|", "|>", "<", "|", "fin", "<|fi", "n|>", " "])
    | st.text(st.characters(codec="utf-8"), max_size=5),
    max_size=8,
).map("".join)


# ---------------------------------------------------------------- les étiquettes


def test_la_question_ne_s_apprend_pas_la_reponse_et_la_fin_si(tokenizer):
    exemple = exemple_en_jetons(tokenizer, EXEMPLE, 200)
    appris = [e for e in exemple["labels"] if e != SANS_PERTE]
    reponse = tokenizer("86 € en métropole.", add_special_tokens=False)["input_ids"]
    assert appris == [*reponse, tokenizer.convert_tokens_to_ids(FIN)]
    lus = len(exemple["labels"]) - len(appris)
    assert exemple["labels"] == [SANS_PERTE] * lus + exemple["input_ids"][lus:]
    assert tokenizer.decode(exemple["input_ids"][:lus]) == (
        f"{DEBUT}{UTILISATEUR}Combien coûte un passeport ?\n\nPour un adulte.{ASSISTANT}"
    )
    assert exemple["attention_mask"] == [1] * len(exemple["input_ids"])


@given(coupe=st.integers(min_value=2, max_value=60))
def test_la_troncature_coupe_a_droite_et_garde_la_fin(tokenizer, coupe):
    entier = exemple_en_jetons(tokenizer, EXEMPLE, 1000)
    coupes = exemple_en_jetons(tokenizer, EXEMPLE, coupe)
    longueur = min(coupe, len(entier["input_ids"]))
    assert {len(valeurs) for valeurs in coupes.values()} == {longueur}
    assert coupes["input_ids"][:-1] == entier["input_ids"][: longueur - 1]
    assert coupes["labels"][:-1] == entier["labels"][: longueur - 1]
    assert coupes["input_ids"][-1] == coupes["labels"][-1] == tokenizer.eos_token_id


# ---------------------------------------------------------------- la conversation entière


@given(
    instruction=st.text(st.characters(codec="utf-8"), min_size=1, max_size=30),
    contexte=st.text(st.characters(codec="utf-8"), max_size=20),
    reponse=st.text(st.characters(codec="utf-8"), min_size=1, max_size=30),
    systeme=st.sampled_from(["", "Répondez en langage clair."]),
)
def test_les_jetons_sont_ceux_du_gabarit_de_transformers(
    tokenizer, instruction, contexte, reponse, systeme
):
    """Question codée à part, puis réponse, puis fin : exactement la conversation entière."""
    exemple = {
        "instruction": instruction,
        "input": contexte,
        "output": reponse,
        "systeme": systeme,
    }
    demande = f"{instruction}\n\n{contexte}" if contexte else instruction
    messages = [
        *([{"role": "system", "content": systeme}] if systeme else []),
        {"role": "user", "content": demande},
        {"role": "assistant", "content": reponse},
    ]
    # Les textes tirés ne portent pas de jeton spécial : les neutraliser ne change rien.
    assert neutraliser(demande + reponse, tokenizer) == demande + reponse
    attendu = tokenizer.apply_chat_template(messages, tokenize=True, return_dict=True)
    assert exemple_en_jetons(tokenizer, exemple, 10_000)["input_ids"] == attendu["input_ids"]


def test_le_gabarit_livre_est_celui_du_paquet(tokenizer):
    assert tokenizer.chat_template == GABARIT_POCHE
    livre = (FALCON_POCHE / "chat_template.jinja").read_text(encoding="utf-8")
    assert livre == GABARIT_POCHE


def test_un_modele_sans_gabarit_recoit_celui_d_alpaca(tokenizer, monkeypatch):
    monkeypatch.setattr(tokenizer, "chat_template", None)
    assert texte_envoye(tokenizer, "Où voter ?", "Je vis à Brest.", "Soyez bref.") == (
        "Soyez bref.\n\n### Instruction :\nOù voter ?\n\nJe vis à Brest.\n\n### Réponse :\n"
    )
    messages = [*en_messages("Où voter ?"), {"role": "assistant", "content": "À la mairie."}]
    entier = tokenizer.apply_chat_template(messages, chat_template=GABARIT_ALPACA, tokenize=False)
    assert entier == texte_envoye(tokenizer, "Où voter ?") + f"À la mairie.{FIN}\n\n"


# ---------------------------------------------------------------- les jetons spéciaux


@given(texte=textes_pieges)
def test_neutraliser_ne_laisse_aucun_jeton_special(tokenizer, texte):
    neutre = neutraliser(texte, tokenizer)
    assert not set(coder(neutre, tokenizer)) & set(tokenizer.all_special_ids)
    # Les mêmes lettres, dans le même ordre : seules des espaces s'ajoutent.
    assert neutre.replace(" ", "") == texte.replace(" ", "")


@given(texte=st.text(st.characters(codec="utf-8")))
def test_neutraliser_ne_touche_pas_un_texte_ordinaire(tokenizer, texte):
    assert neutraliser(texte, tokenizer) == texte


@given(instruction=textes_pieges, contexte=textes_pieges, reponse=textes_pieges)
def test_un_exemple_n_a_que_les_jetons_speciaux_du_gabarit(
    tokenizer, instruction, contexte, reponse
):
    exemple = {"instruction": instruction, "input": contexte, "output": reponse}
    ids = exemple_en_jetons(tokenizer, exemple, 10_000)["input_ids"]
    speciaux = [i for i in ids if i in tokenizer.all_special_ids]
    assert tokenizer.convert_ids_to_tokens(speciaux) == [DEBUT, UTILISATEUR, ASSISTANT, FIN]


# ---------------------------------------------------------------- les textes illisibles


@pytest.mark.parametrize("texte", ["\ud800", "début \udfff fin"])
def test_un_demi_caractere_est_refuse_en_francais(tokenizer, texte):
    with pytest.raises(ErreurFabrique, match="demi-caractère Unicode"):
        coder(texte, tokenizer)
    with pytest.raises(ErreurFabrique, match="demi-caractère Unicode"):
        exemple_en_jetons(tokenizer, {**EXEMPLE, "output": texte}, 100)
