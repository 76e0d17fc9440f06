"""Des préférences : les lire, les refuser d'une phrase, les contrôler, les convertir. Aucun modèle."""

import json

import pytest

from fabrique.corpus import controler, lire_corpus
from fabrique.corpus.conversion import convertir_fichier
from fabrique.corpus.votes import (
    Avis,
    Origine,
    Preference,
    est_un_fichier_de_votes,
    lire_votes,
    paires_selon,
    plus_courte,
    repartir_votes,
)
from fabrique.ligne_de_commande import principal
from fabrique.socle.erreurs import ErreurFabrique

QUESTION = "Où déposer une demande de carte ?"
BONNE, AUTRE = "Au guichet de la mairie, sur rendez-vous.", "Quelque part en ville."
DEMANDE = [{"role": "user", "content": QUESTION}]


def dit(texte):
    return [{"role": "assistant", "content": texte}]


PAIRE = {"prompt": QUESTION, "chosen": BONNE, "rejected": AUTRE}
POUCE = {"prompt": QUESTION, "completion": BONNE, "label": True}
OPENAI = {
    "input": {"messages": DEMANDE},
    "preferred_output": dit(BONNE),
    "non_preferred_output": dit(AUTRE),
}
AVEUGLE = {
    "prompt": DEMANDE,
    "chosen": dit(BONNE),
    "rejected": dit(AUTRE),
    "annotateur": "lecteur 1",
    "modele_vu_en_premier": "base",
    "modele_choisi": "affiné",
    "secondes": 12.5,
}


@pytest.fixture
def ecrire(tmp_path):
    """Écrit des objets, ou des lignes telles quelles, dans un fichier JSONL."""

    def ecrire(*lignes, nom="votes.jsonl"):
        dites = [x if isinstance(x, str) else json.dumps(x, ensure_ascii=False) for x in lignes]
        (tmp_path / nom).write_text("".join(f"{ligne}\n" for ligne in dites), "utf-8")
        return tmp_path / nom

    return ecrire


# ---------------------------------------------------------------- lire


@pytest.mark.parametrize(
    "objet",
    [
        PAIRE,
        {**PAIRE, "prompt": DEMANDE, "chosen": dit(BONNE), "rejected": dit(AUTRE)},
        {"chosen": DEMANDE + dit(BONNE), "rejected": DEMANDE + dit(AUTRE)},
        {"instruction": QUESTION, "input": "", "chosen": BONNE, "rejected": AUTRE},
        {**OPENAI, "input": {"messages": [{"role": "user", "content": [{"text": QUESTION}]}]}},
        OPENAI,
        AVEUGLE,
    ],
    ids=["trl", "trl messages", "trl implicite", "nôtre", "morceaux", "openai", "aveugle"],
)
def test_la_meme_preference_se_lit_dans_tous_les_formats(ecrire, objet):
    (vote,) = lire_votes(ecrire(objet))
    assert (vote.messages, vote.choisie, vote.ecartee) == (DEMANDE, BONNE, AUTRE)
    assert est_un_fichier_de_votes(ecrire(objet))


def test_la_place_se_deduit_de_la_lecture_a_l_aveugle(ecrire):
    votes = lire_votes(ecrire(AVEUGLE, {**AVEUGLE, "modele_vu_en_premier": "affiné"}, PAIRE))
    assert [vote.origine.position for vote in votes] == [2, 1, 0]
    assert votes[0].origine.annotateur == "lecteur 1"


def test_un_avis_se_lit(ecrire):
    (avis,) = lire_votes(ecrire({**POUCE, "label": False}))
    assert avis == Avis(DEMANDE, BONNE, False, origine=Origine(id="1", ligne=1))


def test_une_preference_ne_s_imite_pas(ecrire):
    """« finetune » renvoie à la commande qui convient."""
    with pytest.raises(ErreurFabrique, match="fabrique preferer"):
        lire_corpus(ecrire(PAIRE))


@pytest.mark.parametrize("champ", ["label", "kto_tag"])
@pytest.mark.parametrize("bon", [True, False, "FAUX", "true"])
def test_un_avis_ne_s_imite_pas(ecrire, champ, bon):
    """Un pouce baissé était appris comme une bonne réponse."""
    question = {"prompt": "Où voter ?", "completion": "Je ne sais pas."}
    with pytest.raises(ErreurFabrique, match="fabrique preferer"):
        lire_corpus(ecrire({**question, champ: bon}))
    lus = lire_corpus(ecrire({**question, champ: "état civil"}))
    assert lus["output"][:] == ["Je ne sais pas."]


def test_une_colonne_laissee_de_cote_est_nommee(ecrire, caplog):
    lire_votes(ecrire({**PAIRE, "note_du_juge": 4}))
    assert "note_du_juge" in caplog.text


#: Un fichier fautif, ce que la phrase dit, et le champ qu'elle nomme.
FAUTES = {
    "vide": ([], "vide", None),
    "json coupé": (['{"prompt": "Où'], "JSON", None),
    "pas un objet": (['"Où ?"'], "objet", None),
    "sans réponse écartée": ([{"prompt": "Où ?", "chosen": "Là."}], "réponses comparées", None),
    "question vide": ([{**PAIRE, "prompt": " "}], "question est vide", "prompt"),
    "question absente": ([{"chosen": "Oui.", "rejected": "Non."}], "question est vide", "prompt"),
    "instruction vide": (
        [{"instruction": "", "chosen": "Oui.", "rejected": "Non."}],
        "question est vide",
        "instruction",
    ),
    "choisie vide": ([{**PAIRE, "chosen": ""}], "réponse est vide", "chosen"),
    "écartée vide": ([{**PAIRE, "rejected": "  "}], "réponse est vide", "rejected"),
    "réponses identiques": ([{**PAIRE, "rejected": BONNE + " "}], "les mêmes", "rejected"),
    "réponse nombre": ([{**PAIRE, "chosen": 4}], "pas du texte", "chosen"),
    "deux messages": ([{**PAIRE, "chosen": dit("a") + dit("b")}], "un seul message", "chosen"),
    "réponse de l’usager": ([{**PAIRE, "chosen": DEMANDE}], "un seul message", "chosen"),
    "rôle inconnu": (
        [{**PAIRE, "prompt": [{"role": "robot", "content": "?"}]}],
        "rôle connu",
        "prompt",
    ),
    "finit par l’assistant": (
        [{**PAIRE, "prompt": DEMANDE + dit("Oui.")}],
        "message de l’usager",
        "prompt",
    ),
    "question différente": (
        [{"chosen": DEMANDE + dit("a"), "rejected": dit("b")}],
        "ne diffèrent pas",
        "chosen",
    ),
    "openai sans messages": ([{**OPENAI, "input": {}}], "liste de messages", "input.messages"),
    "outils": ([{**PAIRE, "tools": [{"type": "function"}]}], "que du texte", "tools"),
    "appel d’outil": (
        [{**PAIRE, "chosen": [{"role": "assistant", "content": "", "tool_calls": [1]}]}],
        "que du texte",
        "chosen",
    ),
    "jeu inconnu": ([{**PAIRE, "jeu": "essai"}], "n’existe pas", "jeu"),
    "avis chiffré": ([{**POUCE, "label": 1}], "true ou false", "label"),
    "égalité": (
        [{"prompt": DEMANDE, "reponses": ["a", "b"], "preference": 0}],
        "égalité",
        "preference",
    ),
    "mélange": ([PAIRE, POUCE], "mêle", None),
    "demi-caractère": (['{"prompt": "\\ud800", "chosen": "a", "rejected": "b"}'], "demi", "prompt"),
    "critère nombre": ([{**PAIRE, "critere": 3}], "pas du texte", "critere"),
}


@pytest.mark.parametrize("faute", FAUTES)
def test_un_fichier_fautif_se_refuse_d_une_phrase(ecrire, faute):
    lignes, phrase, champ = FAUTES[faute]
    chemin = ecrire(*lignes)
    with pytest.raises(ErreurFabrique, match=phrase) as refus:
        lire_votes(chemin)
    assert refus.value.champ == champ
    assert str(refus.value).startswith(str(chemin))
    assert refus.value.remede
    if lignes:
        assert refus.value.ligne == len(lignes)


# ---------------------------------------------------------------- contrôler


def regles(chemin, **options):
    return {constat.regle for constat in controler(chemin, **options).constats}


def test_un_bon_fichier_n_a_rien_a_corriger(ecrire):
    chemin = ecrire({**PAIRE, "critere": "lieu"}, {**PAIRE, "prompt": "Et le soir ?"})
    controle = controler(chemin)
    assert (controle.forme, controle.exemples, controle.constats) == ("préférences", 2, [])
    assert controle.mesures.categories == {"lieu": 1}
    assert principal(["corpus", "controler", str(chemin)]) == 0


def test_le_controle_dit_toutes_les_lignes_fautives_et_garde_les_autres(ecrire):
    controle = controler(ecrire({**PAIRE, "rejected": BONNE}, PAIRE, {**PAIRE, "chosen": ""}))
    assert [(c.regle, c.ligne) for c in controle.erreurs] == [
        ("structure.preference", 1),
        ("structure.preference", 3),
    ]


INVERSE = {**PAIRE, "chosen": AUTRE, "rejected": BONNE}


@pytest.mark.parametrize(
    ("regle", "lignes"),
    [
        ("preference.contradiction", [PAIRE, INVERSE]),
        ("preference.contradiction", [POUCE, {**POUCE, "label": False}]),
        ("doublon.preference", [PAIRE, {**PAIRE, "prompt": QUESTION.upper()}]),
        ("contamination.jeux", [{**PAIRE, "jeu": j} for j in ("entrainement", "test")]),
        ("structure.jeu_partiel", [{**PAIRE, "jeu": "test"}, PAIRE]),
        ("structure.melange", [PAIRE, POUCE]),
        ("encodage.mojibake", [{**PAIRE, "rejected": "C’est dÃ©jÃ  fait."}]),
        ("personnel.courriel", [{**PAIRE, "rejected": "Écrivez à jeanne.martin@orange.fr."}]),
        ("texte.html", [{**PAIRE, "chosen": "<br>Au guichet."}]),
        ("lecture.colonne", [{**PAIRE, "note_du_juge": 4}]),
        ("preference.pouces", [POUCE]),
        (
            "preference.longueur",
            [{**PAIRE, "prompt": f"Question {n} ?"} for n in range(12)],
        ),
        (
            "preference.position",
            [{**AVEUGLE, "prompt": f"Question {n} ?", "chosen": f"{n}"} for n in range(12)],
        ),
    ],
)
def test_le_controle_voit(ecrire, regle, lignes):
    assert regle in regles(ecrire(*lignes))


def test_ce_qu_on_ecarte_a_le_droit_d_etre_mal_ecrit(ecrire):
    assert regles(ecrire({**PAIRE, "rejected": "<br>Bof."})) == set()


def test_une_piece_tombee_du_meme_cote_ne_fait_pas_un_biais(ecrire):
    """Quatre fois sur quatre, cela arrive une fois sur huit."""
    courtes = [{**AVEUGLE, "prompt": f"Question {n} ?"} for n in range(4)]
    assert regles(ecrire(*courtes)) == {"lecture.colonne"}


def test_une_question_d_evaluation_se_voit(ecrire):
    evaluation = ecrire({"instruction": QUESTION.lower(), "output": "Oui."}, nom="e.jsonl")
    trouvees = regles(ecrire(PAIRE), evaluation=evaluation)
    assert "contamination.evaluation" in trouvees


# ---------------------------------------------------------------- répartir, convertir, fabriquer


def test_une_question_ne_va_que_d_un_cote(ecrire):
    lignes = [{**PAIRE, "prompt": f"Q{n // 2} ?", "chosen": f"r{n}"} for n in range(20)]
    appris, gardes = repartir_votes(lire_votes(ecrire(*lignes)), 0.3, graine=1)
    assert (len(appris), len(gardes)) == (14, 6)
    assert not {v.question for v in appris} & {v.question for v in gardes}


@pytest.mark.parametrize("format", ["trl", "openai", "preferences"])
def test_la_conversion_se_fait_dans_les_deux_sens(ecrire, tmp_path, format):
    entree = ecrire(PAIRE, {**PAIRE, "prompt": "Et le soir ?"})
    aller, retour = tmp_path / "aller.jsonl", tmp_path / "retour.jsonl"
    assert convertir_fichier(entree, aller, format) == 2
    assert convertir_fichier(aller, retour, "preferences") == 2
    assert retour.read_text("utf-8") == entree.read_text("utf-8")


def test_les_avis_se_convertissent_aussi(ecrire, tmp_path):
    entree, aller, retour = ecrire(POUCE), tmp_path / "a.jsonl", tmp_path / "r.jsonl"
    convertir_fichier(entree, aller, "trl")
    convertir_fichier(aller, retour, "preferences")
    assert retour.read_text("utf-8") == entree.read_text("utf-8")


AVEC_TOURS = {
    **PAIRE,
    "prompt": [*DEMANDE, *dit("Laquelle ?"), {"role": "user", "content": "D’identité."}],
}


@pytest.mark.parametrize(
    ("objet", "format", "phrase"),
    [
        ({**PAIRE, "critere": "lieu"}, "openai", "critere"),
        ({**PAIRE, "note_du_juge": 4}, "trl", "note_du_juge"),
        (POUCE, "openai", "avis isolé"),
        (AVEC_TOURS, "preferences", "plusieurs messages"),
        (PAIRE, "alpaca", "trl, openai, preferences"),
    ],
)
def test_une_conversion_qui_perdrait_quelque_chose_se_refuse(
    ecrire, tmp_path, capsys, objet, format, phrase
):
    sortie = tmp_path / "s.jsonl"
    commande = ["corpus", "convertir", str(ecrire(objet)), str(sortie), "--format", format]
    assert principal(commande) == 1
    assert phrase in capsys.readouterr().err
    assert not sortie.exists()


def test_une_regle_fait_des_paires():
    reponses = [(DEMANDE, ["Longue réponse.", "Courte."]), (DEMANDE, ["Oui.", "Non."])]
    (paire,) = paires_selon(plus_courte, reponses, "plus courte")
    assert isinstance(paire, Preference)
    assert (paire.choisie, paire.ecartee) == ("Courte.", "Longue réponse.")
    assert paire.origine.critere == "plus courte"
