"""Le gabarit : ce que le modèle lit, ce qu'il apprend, ce qu'on ne peut pas lui faire dire."""

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from fabrique.modeles.gabarits import (
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
    texte_de_la_demande,
    texte_envoye,
)
from fabrique.socle.emplacements import FALCON_POCHE
from fabrique.socle.erreurs import ErreurFabrique

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
def test_la_troncature_coupe_a_droite_et_la_fin_ne_s_y_apprend_pas(tokenizer, coupe):
    entier = exemple_en_jetons(tokenizer, EXEMPLE)
    coupes = exemple_en_jetons(tokenizer, EXEMPLE, coupe)
    if coupe >= len(entier["input_ids"]):
        assert coupes == entier
        assert coupes["labels"][-1] == tokenizer.eos_token_id
        return
    assert {len(valeurs) for valeurs in coupes.values()} == {coupe}
    assert coupes["input_ids"] == [*entier["input_ids"][: coupe - 1], tokenizer.eos_token_id]
    assert coupes["labels"] == [*entier["labels"][: coupe - 1], SANS_PERTE]


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


# ---------------------------------------------------------------- plusieurs tours

#: Sans jeton spécial : hypothesis propose parfois ceux qu'il a lus dans nos fichiers.
texte_libre = st.text(st.characters(codec="utf-8"), min_size=1, max_size=15).filter(
    lambda texte: not any(special in texte for special in SPECIAUX)
)


@st.composite
def conversations(tirer, tours=4):
    """Les messages d'une conversation : système facultatif, puis questions et réponses."""
    consigne = tirer(st.sampled_from(["", "Soyez bref."]))
    messages = [{"role": "system", "content": consigne}] if consigne else []
    for _ in range(tirer(st.integers(1, tours))):
        messages += [{"role": r, "content": tirer(texte_libre)} for r in ("user", "assistant")]
    return messages


@pytest.fixture(params=["poche", "alpaca"])
def tokenizer_a_gabarit(request, tokenizer):
    """Le tokenizer avec son gabarit, puis sans : celui d'Alpaca le remplace."""
    garde = tokenizer.chat_template
    tokenizer.chat_template = GABARIT_POCHE if request.param == "poche" else None
    yield tokenizer
    tokenizer.chat_template = garde


def suites_apprises(exemple: dict[str, list[int]]) -> list[list[int]]:
    """Les suites d'étiquettes que la perte ne saute pas."""
    suites: list[list[int]] = []
    avant = SANS_PERTE
    for etiquette in exemple["labels"]:
        if etiquette != SANS_PERTE:
            suites += [[]] if avant == SANS_PERTE else []
            suites[-1].append(etiquette)
        avant = etiquette
    return suites


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(messages=conversations())
def test_une_conversation_n_apprend_que_les_tours_de_l_assistant(tokenizer_a_gabarit, messages):
    """Chaque suite apprise est une réponse et son jeton de fin ; tout le reste se lit seulement."""
    tokenizer = tokenizer_a_gabarit
    exemple = exemple_en_jetons(tokenizer, {"messages": messages}, 10_000)
    reponses = [m["content"] for m in messages if m["role"] == "assistant"]
    dites = [tokenizer.decode(suite) for suite in suites_apprises(exemple)]
    assert dites == [f"{reponse}{FIN}" for reponse in reponses]
    gabarit = tokenizer.chat_template or GABARIT_ALPACA
    entier = tokenizer.apply_chat_template(messages, chat_template=gabarit, tokenize=False)
    # Le gabarit d'Alpaca laisse une ligne vide après la dernière réponse, que rien n'apprend.
    assert tokenizer.decode(exemple["input_ids"]) == entier.removesuffix(
        "\n\n" * (not tokenizer.chat_template)
    )
    assert len(set(map(len, exemple.values()))) == 1


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(messages=conversations(tours=1))
def test_une_conversation_d_un_tour_vaut_l_instruction(tokenizer_a_gabarit, messages):
    """Mêmes jetons, mêmes étiquettes, que l'exemple soit une instruction ou une conversation."""
    contenus = {m["role"]: m["content"] for m in messages}
    instruction = {"instruction": contenus["user"], "output": contenus["assistant"]}
    instruction["systeme"] = contenus.get("system", "")
    lus = [
        exemple_en_jetons(tokenizer_a_gabarit, exemple, 10_000)
        for exemple in ({"messages": messages}, instruction)
    ]
    assert lus[0] == lus[1]
    demandes = [
        texte_de_la_demande(tokenizer_a_gabarit, e) for e in ({"messages": messages}, instruction)
    ]
    assert demandes[0] == demandes[1]


def test_le_contexte_d_une_instruction_est_dans_la_question(tokenizer_a_gabarit):
    demande = "Combien coûte un passeport ?\n\nPour un adulte."
    tours = [("user", demande), ("assistant", EXEMPLE["output"])]
    conversation = {"messages": [{"role": r, "content": t} for r, t in tours]}
    assert exemple_en_jetons(tokenizer_a_gabarit, conversation, 200) == exemple_en_jetons(
        tokenizer_a_gabarit, EXEMPLE, 200
    )


@given(textes=st.lists(textes_pieges, min_size=4, max_size=4))
def test_une_conversation_n_a_que_les_jetons_speciaux_du_gabarit(tokenizer, textes):
    """Un message ne peut ni finir un tour ni en ouvrir un."""
    roles = ["user", "assistant"] * 2
    messages = [{"role": r, "content": t} for r, t in zip(roles, textes, strict=True)]
    ids = exemple_en_jetons(tokenizer, {"messages": messages}, 10_000)["input_ids"]
    speciaux = [i for i in ids if i in tokenizer.all_special_ids]
    tour = [UTILISATEUR, ASSISTANT, FIN]
    assert tokenizer.convert_ids_to_tokens(speciaux) == [DEBUT, *tour, *tour]


def test_une_conversation_coupee_n_apprend_la_fin_que_des_tours_entiers(tokenizer):
    """Où que l'on coupe, fût-ce dans le tour de l'usager, seules les réponses entières finissent."""
    tours = [("user", "Où ?"), ("assistant", "Ici."), ("user", "Et ?"), ("assistant", "Là.")]
    messages = [{"role": role, "content": texte} for role, texte in tours]
    entier = exemple_en_jetons(tokenizer, {"messages": messages})
    fin = tokenizer.eos_token_id
    fins = [rang for rang, etiquette in enumerate(entier["labels"]) if etiquette == fin]
    assert len(fins) == 2
    for coupe in range(2, len(entier["input_ids"])):
        coupes = exemple_en_jetons(tokenizer, {"messages": messages}, coupe)
        assert coupes["labels"] == [*entier["labels"][: coupe - 1], SANS_PERTE]
        assert [r for r, e in enumerate(coupes["labels"]) if e == fin] == [
            rang for rang in fins if rang < coupe - 1
        ]


@pytest.mark.parametrize(
    ("poids", "apprises"),
    [
        ((0, 1), ["Rennes."]),
        ((0, None), ["Rennes."]),
        ((1, 0), ["Brest."]),
        ((0, 0), []),
        ((None, None), ["Brest.", "Rennes."]),
    ],
)
def test_une_reponse_de_poids_nul_se_lit_sans_s_apprendre(tokenizer_a_gabarit, poids, apprises):
    """Le texte lu ne change pas ; la perte ne porte que sur les autres réponses et leur fin."""
    tokenizer = tokenizer_a_gabarit
    tours = [("user", "La préfecture ?"), ("assistant", "Brest.")]
    tours += [("user", "Sûr ?"), ("assistant", "Rennes.")]
    messages = [{"role": role, "content": texte} for role, texte in tours]
    peses = [dict(m) for m in messages]
    for rang, valeur in zip((1, 3), poids, strict=True):
        peses[rang]["weight"] = valeur
    exemple = exemple_en_jetons(tokenizer, {"messages": peses})
    assert [tokenizer.decode(suite) for suite in suites_apprises(exemple)] == [
        f"{reponse}{FIN}" for reponse in apprises
    ]
    assert exemple["input_ids"] == exemple_en_jetons(tokenizer, {"messages": messages})["input_ids"]


@pytest.mark.parametrize(
    "gabarit",
    [
        # Numérote les tours depuis la fin, comme un gabarit qui résumerait les premiers.
        "{% for m in messages %}[{{ messages|length - loop.index }}]{{ m.content }}{% endfor %}",
        # Ne garde que le dernier message de l'utilisateur.
        "{{ messages[-1].content }}",
    ],
)
def test_un_gabarit_qui_recrit_les_tours_passes_est_refuse(tokenizer, monkeypatch, gabarit):
    """Ce que le modèle lirait au second tour ne suivrait plus ce qu'il a appris au premier."""
    monkeypatch.setattr(tokenizer, "chat_template", gabarit)
    tours = ["Un ?", "Un.", "Deux ?", "Deux."]
    messages = [
        {"role": role, "content": texte}
        for role, texte in zip(["user", "assistant"] * 2, tours, strict=True)
    ]
    with pytest.raises(ErreurFabrique, match="récrit les tours passés") as refus:
        exemple_en_jetons(tokenizer, {"messages": messages}, 100)
    assert "exemples d’un tour" in refus.value.remede
    # Un seul tour reste possible.
    assert exemple_en_jetons(tokenizer, {"messages": messages[:2]}, 100)["labels"][-1] != SANS_PERTE


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
