"""Les champs qui changent la leçon : repris, ou refusés par leur nom ; jamais perdus sans un mot."""

import json

import pytest

from fabrique.corpus import controler, convertir, lire_corpus
from fabrique.socle.erreurs import ErreurFabrique

SYSTEME = {"role": "system", "content": "Parlez en alexandrins."}


def message(role: str, contenu: str, **autres) -> dict:
    return {"role": role, "content": contenu, **autres}


@pytest.fixture
def ecrire(tmp_path):
    """Écrit des objets, un par ligne, et rend le chemin."""

    def ecrire_tous(*objets: dict):
        chemin = tmp_path / "c.jsonl"
        chemin.write_text("".join(json.dumps(o) + "\n" for o in objets), encoding="utf-8")
        return chemin

    return ecrire_tous


def test_la_consigne_de_systeme_est_reprise(ecrire):
    """Sous ses quatre noms, dans une instruction comme dans une conversation."""
    for nom in ("system", "systeme", "système", "system_prompt"):
        instruction = {nom: SYSTEME["content"], "instruction": "Qui ?", "output": "Elle."}
        (lu,) = lire_corpus(ecrire(instruction))
        assert lu["systeme"] == SYSTEME["content"]
        tours = [{"from": "human", "value": "Qui ?"}, {"from": "gpt", "value": "Elle."}]
        (lu,) = lire_corpus(ecrire({nom: SYSTEME["content"], "conversations": tours}))
        assert lu["messages"][0] == SYSTEME
        assert len(lu["messages"]) == 3


def test_deux_consignes_de_systeme_sont_refusees(ecrire):
    objet = {
        "system": "Bref.",
        "messages": [SYSTEME, message("user", "a"), message("assistant", "b")],
    }
    (erreur,) = controler(ecrire(objet)).erreurs
    assert erreur.regle == "structure.roles"


def test_dolly_est_lu(ecrire):
    dolly = {
        "instruction": "Où ?",
        "context": "La gare.",
        "response": "Là.",
        "category": "closed_qa",
    }
    (lu,) = lire_corpus(ecrire(dolly))
    assert [lu[c] for c in ("instruction", "input", "output", "categorie")] == [*dolly.values()]


def test_l_historique_devient_une_conversation(ecrire):
    objet = {
        "system": SYSTEME["content"],
        "instruction": "Et le soir ?",
        "input": "Hiver.",
        "output": "Non.",
    }
    echanges = [["Ouvert le matin ?", "Oui."], ["À midi ?", "Aussi."]]
    lu, sans = lire_corpus(ecrire(objet | {"history": echanges}, objet | {"history": []}))
    assert [m["role"] for m in lu["messages"]] == ["system"] + ["user", "assistant"] * 3
    assert [m["content"] for m in lu["messages"]][1:5] == [t for e in echanges for t in e]
    assert lu["messages"][-2]["content"] == "Et le soir ?\n\nHiver."
    assert len(sans["messages"]) == 3


REFUS = {
    "history": {"instruction": "Où ?", "output": "Là.", "history": "Ouvert ? Oui."},
    "prompt": {"instruction": "Traduisez.", "prompt": "Where?", "completion": "Où ?"},
    "question": {"instruction": "Où ?", "question": "Quand ?", "reponse": "Là."},
    "context": {"question": "Où ?", "input": "Ici.", "context": "Là.", "answer": "Oui."},
    "answer": {"instruction": "Où ?", "output": "Là.", "answer": "Ailleurs."},
    "texte": {"instruction": "Résumez.", "texte": "Un long récit.", "reponse": "Bref."},
    "weight": {"instruction": "Où ?", "output": "Là.", "weight": 0},
    "loss": {"instruction": "Où ?", "output": "Là.", "loss": False},
    "train": {"instruction": "Où ?", "output": "Là.", "train": 0.5},
    "tools": {
        "messages": [message("user", "a"), message("assistant", "b")],
        "tools": [{"name": "f"}],
    },
    "chosen": {"instruction": "Où ?", "output": "Là.", "chosen": "Là."},
}


@pytest.mark.parametrize("champ", REFUS)
def test_un_champ_qui_change_la_lecon_est_refuse_par_son_nom(ecrire, champ):
    chemin = ecrire(REFUS[champ])
    with pytest.raises(
        ErreurFabrique
    ) as prise:  # ce que lisent aussi ``convertir`` et ``finetune``
        lire_corpus(chemin)
    assert (prise.value.ligne, prise.value.champ) == (1, champ)
    assert f"« {champ} »" in prise.value.message
    constats = [c for c in controler(chemin).erreurs if c.champ == champ]
    assert [c.regle for c in constats] == ["structure.champ"]


def test_un_champ_vide_ou_neutre_ne_gene_pas(ecrire, capsys):
    objet = {
        "instruction": "Où ?",
        "output": "Là.",
        "context": "",
        "tools": [],
        "system": None,
        "weight": 1,
    }
    lire_corpus(ecrire(objet | {"prompt": " "}))
    dit = capsys.readouterr().out
    assert "context" not in dit
    assert "tools" not in dit


def test_un_appel_d_outil_dans_un_message_est_refuse(ecrire):
    appel = message("assistant", "Voici.", tool_calls=[{"function": "f"}])
    with pytest.raises(ErreurFabrique, match="le message 2 porte « tool_calls »"):
        lire_corpus(ecrire({"messages": [message("user", "Où ?"), appel]}))


def test_une_colonne_inconnue_est_dite_une_fois(ecrire, capsys):
    objets = [{"instruction": f"Où {n} ?", "output": "Là.", "humeur": "gaie"} for n in range(4)]
    chemin = ecrire(*objets)
    (alerte,) = [c for c in controler(chemin).constats if c.regle == "lecture.colonne"]
    assert (alerte.gravite, alerte.rang, alerte.ligne, alerte.champ) == (
        "alerte",
        None,
        1,
        "humeur",
    )
    capsys.readouterr()
    lire_corpus(chemin)
    assert capsys.readouterr().out.count("« humeur »") == 1


# ---------------------------------------------------------------- le poids d'un message

TOURS = [
    message("user", "La capitale ?"),
    message("assistant", "Lyon.", weight=0),
    message("user", "Sûr ?"),
    message("assistant", "Non, Paris.", weight=1),
]


@pytest.mark.parametrize("nom", ["weight", "loss", "train"])
def test_le_poids_d_une_reponse_est_garde(ecrire, nom):
    tours = [
        {("weight" if c == "weight" else c).replace("weight", nom): v for c, v in t.items()}
        for t in TOURS
    ]
    (lu,) = lire_corpus(ecrire({"messages": tours}))
    assert [m.get("weight") for m in lu["messages"]] == [None, 0, None, 1]
    (relu,) = lire_corpus(lire_corpus(ecrire({"messages": tours})))
    assert relu["messages"] == lu["messages"]


def test_la_conversion_garde_le_poids_ou_refuse(ecrire):
    corpus = lire_corpus(ecrire({"messages": TOURS}))
    assert convertir(corpus, "openai") == [{"messages": TOURS}]
    un_tour = lire_corpus(ecrire({"messages": TOURS[:3] + TOURS[3:]}, {"messages": TOURS[2:]}))
    assert convertir(un_tour.select([1]), "alpaca")[0]["output"] == "Non, Paris."
    with pytest.raises(ErreurFabrique, match="plusieurs tours"):
        convertir(corpus, "alpaca")


@pytest.mark.parametrize(
    ("rang", "poids", "dit"),
    [
        (1, 0.5, "le poids 0.5"),
        (1, 2, "le poids 2"),
        (0, 1, "le message 1 a le poids 1"),
        (3, 0, "poids nul"),
    ],
)
def test_un_poids_qui_n_a_pas_de_sens_est_refuse(ecrire, rang, poids, dit):
    tours = [dict(tour) for tour in TOURS]
    tours[rang]["weight"] = poids
    (erreur,) = controler(ecrire({"messages": tours})).erreurs
    assert erreur.regle == "structure.poids"
    assert dit in erreur.message


def test_une_reponse_de_poids_nul_n_est_pas_jugee_comme_apprise(ecrire):
    tours = [dict(tour) for tour in TOURS]
    tours[1]["content"] = "En tant que modèle de langage, je ne sais pas."
    assert controler(ecrire({"messages": tours})).erreurs == []


def test_une_conversation_qui_commence_par_l_assistant_est_refusee(ecrire):
    tours = [("gpt", "Je vous écoute."), ("human", "Qui ?"), ("gpt", "Elle.")]
    objet = {"conversations": [{"from": qui, "value": quoi} for qui, quoi in tours]}
    with pytest.raises(ErreurFabrique, match="assistant, user, assistant") as prise:
        lire_corpus(ecrire(objet))
    assert (prise.value.ligne, prise.value.champ) == (1, "messages")
