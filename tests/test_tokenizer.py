"""Le tokenizer de poche : rien ne se perd, et le français s'y écrit d'un jeton."""

import pytest
from hypothesis import given, strategies as st

from fabrique.jetons import entrainer_tokenizer
from fabrique.modeles.gabarits import ASSISTANT, DEBUT, FIN, GABARIT_POCHE, REMPLISSAGE

tout_texte = st.text(st.characters(codec="utf-8"))
#: Du français plausible : élisions, guillemets, espaces insécables, nombres, ligatures.
francais = st.lists(
    st.sampled_from(
        ["l’", "l'", "œuvre", " ", "  ", "\n", "\t", "«\u00a0", "\u202f!", "€", "1 234,5", "ſ", "é"]
    )
    | tout_texte,
    max_size=12,
).map("".join)


@given(texte=tout_texte | francais)
def test_decoder_rend_exactement_le_texte_code(tokenizer, texte):
    ids = tokenizer.encode(texte, add_special_tokens=False)
    assert tokenizer.decode(ids) == texte


@given(
    nombre=st.from_regex(r"[0-9]{1,12}", fullmatch=True), avant=st.sampled_from(["", "le ", "n°"])
)
def test_les_chiffres_se_lisent_un_par_un(tokenizer, nombre, avant):
    jetons = tokenizer.tokenize(avant + nombre)
    assert jetons[-len(nombre) :] == list(nombre)


@pytest.mark.parametrize(
    "caractere",
    ["«", "»", "’", "œ", "ſ", "€", "\u00a0", "\u202f"],
    ids=["ouvrant", "fermant", "apostrophe", "oe", "s long", "euro", "insecable", "fine"],
)
def test_ce_que_le_francais_ecrit_tient_en_un_jeton(tokenizer, caractere):
    assert len(tokenizer.encode(caractere, add_special_tokens=False)) == 1


def test_le_vocabulaire_tient_dans_8192_entrees(tokenizer):
    assert len(tokenizer) <= 8192
    assert max(tokenizer.get_vocab().values()) < 8192


def test_les_jetons_speciaux_ont_chacun_leur_role(tokenizer):
    assert (tokenizer.bos_token, tokenizer.eos_token) == (DEBUT, FIN)
    # Un remplissage distinct de la fin : masquer l'un ne doit jamais masquer l'autre.
    assert tokenizer.pad_token == REMPLISSAGE
    assert tokenizer.pad_token_id != tokenizer.eos_token_id
    for special in tokenizer.all_special_tokens:
        assert len(tokenizer.encode(special, add_special_tokens=False)) == 1


def test_le_gabarit_livre_met_un_jeton_par_role(tokenizer):
    assert tokenizer.chat_template == GABARIT_POCHE
    messages = [{"role": "user", "content": "Oui ?"}, {"role": "assistant", "content": "Oui."}]
    texte = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=False)
    assert texte == f"{DEBUT}<|utilisateur|>Oui ?{ASSISTANT}Oui.{FIN}"


# ---------------------------------------------------------------- l'apprentissage du tokenizer


def test_la_premiere_fusion_est_la_paire_la_plus_frequente():
    """Comptées à la main : « zq » paraît quatre fois, « qz » deux, « xk » une."""
    neuf = entrainer_tokenizer(["zqzq zqzq xk"], taille=6 + 256 + 1)
    assert len(neuf) == 6 + 256 + 1
    assert neuf.tokenize("zqzqxk") == ["zq", "zq", "x", "k"]


def test_un_mot_ne_fusionne_pas_avec_un_chiffre_ni_avec_le_mot_suivant():
    neuf = entrainer_tokenizer(["mot12 l’eau", "l’eau mot"] * 50, taille=400)
    assert neuf.tokenize("mot12") == ["mot", "1", "2"]
    assert [neuf.decode([i]) for i in neuf.encode("l’eau mot")] == ["l’", "eau", " mot"]


@given(texte=tout_texte.filter(lambda texte: "<|" not in texte))
def test_meme_un_vocabulaire_de_262_entrees_ne_perd_rien(tokenizer_nu, texte):
    ids = tokenizer_nu.encode(texte, add_special_tokens=False)
    assert len(ids) == len(texte.encode())
    assert tokenizer_nu.decode(ids) == texte


@pytest.fixture(scope="module")
def tokenizer_nu():
    """Les jetons spéciaux et les 256 octets, sans aucune fusion."""
    return entrainer_tokenizer(["a"], taille=6 + 256)
