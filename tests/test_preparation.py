"""Préparer un corpus : plus de doublons, trois jeux, par catégorie, toujours les mêmes."""

import json
from collections import Counter

import pytest
from datasets import Dataset
from test_controle import LONGUE, PERSONNELLES, PRESQUE, PRESQUE_LA_QUESTION, QUESTION_LONGUE

from fabrique.corpus import controler, lire_corpus, preparer_corpus, pseudonymiser
from fabrique.erreurs import ErreurFabrique
from fabrique.ligne_de_commande import principal

TAILLES = {"impôts": 43, "vote": 20, "santé": 7, "": 11, "logement": 1}
SAINS = [
    {
        "id": f"{categorie or 'divers'}-{n:02d}",
        "instruction": f"Question {n} sur {categorie or 'tout'} ?",
        "input": "",
        "output": f"Réponse {n}, {categorie or 'divers'}.",
        "categorie": categorie,
        "licence": "CC0",
    }
    for categorie, taille in TAILLES.items()
    for n in range(taille)
]


@pytest.fixture
def ecrire(tmp_path):
    """Écrit des exemples (ou des lignes brutes) et rend le chemin."""

    def ecrire_un(*exemples):
        chemin = tmp_path / "entree.jsonl"
        lignes = (e if isinstance(e, str) else json.dumps(e, ensure_ascii=False) for e in exemples)
        chemin.write_text("\n".join(lignes) + "\n", encoding="utf-8")
        return chemin

    return ecrire_un


def test_la_repartition_suit_chaque_categorie_a_un_exemple_pres(ecrire, tmp_path):
    sortie = tmp_path / "s.jsonl"
    bilan = preparer_corpus(ecrire(*SAINS), sortie, validation=0.1, test=0.2)
    ecrits = lire_corpus(sortie)
    assert (bilan.lus, bilan.abimes, bilan.doublons) == (len(SAINS), 0, 0)
    assert bilan.jeux == dict(Counter(ecrits["jeu"]))
    for categorie, taille in TAILLES.items():
        jeux = Counter(e["jeu"] for e in ecrits if e["categorie"] == categorie)
        assert sum(jeux.values()) == taille
        assert abs(jeux["test"] - 0.2 * taille) < 1
        assert abs(jeux["validation"] - 0.1 * taille) < 1
    # Rien d'autre n'a changé : mêmes exemples, même ordre, mêmes textes.
    assert [{c: e[c] for c in SAINS[0]} for e in ecrits] == SAINS


def test_la_repartition_ne_depend_que_de_la_graine(ecrire, tmp_path):
    entree = ecrire(*SAINS)
    for nom, graine in (("a", 1), ("b", 1), ("c", 2)):
        preparer_corpus(entree, tmp_path / f"{nom}.jsonl", graine=graine)
    a, b, c = ((tmp_path / f"{nom}.jsonl").read_bytes() for nom in "abc")
    assert a == b
    assert a != c


def test_ni_doublon_ni_quasi_doublon_ne_reste(ecrire, tmp_path):
    exact = SAINS[3] | {"id": "copie", "instruction": SAINS[3]["instruction"].upper()}
    longue = {"instruction": "Comment déposer ?", "output": LONGUE, "licence": "CC0"}
    presque = {"instruction": "Où va ma demande ?", "output": PRESQUE, "licence": "CC0"}
    sortie = tmp_path / "s.jsonl"
    bilan = preparer_corpus(ecrire(*SAINS, exact, longue, presque, longue), sortie)
    assert (bilan.lus, bilan.doublons) == (len(SAINS) + 4, 3)
    assert lire_corpus(sortie)["output"][:] == [*(e["output"] for e in SAINS), LONGUE]
    regles = {c.regle.split(".")[0] for c in controler(sortie).constats}
    assert not regles & {"doublon", "contamination"}


@pytest.mark.parametrize("graine", range(4))
def test_une_meme_demande_reste_dans_un_seul_jeu(ecrire, tmp_path, graine):
    """Des réponses différentes à la même question, ou presque : gardées, mais ensemble."""
    exemples = [
        {"instruction": question, "output": f"Réponse {n}.", "licence": "CC0"}
        for n in range(12)
        for question in (
            f"Question {n} ?",
            f"question {n}  ?",
            f"{QUESTION_LONGUE} Dossier {n % 2}.",
        )
    ]
    exemples = [e | {"output": f"{e['output']} Variante {n}."} for n, e in enumerate(exemples)]
    exemples.append({"instruction": PRESQUE_LA_QUESTION, "output": "Au guichet.", "licence": "CC0"})
    sortie = tmp_path / "s.jsonl"
    bilan = preparer_corpus(ecrire(*exemples), sortie, 0.3, 0.3, graine)
    assert (bilan.lus, bilan.doublons) == (len(exemples), 0)
    assert min(bilan.jeux.values()) > 1
    assert set(bilan.jeux) == {"entrainement", "validation", "test"}
    assert [c for c in controler(sortie).constats if c.regle == "contamination.jeux"] == []


def test_les_exemples_abimes_sont_comptes_et_laisses_de_cote(ecrire, tmp_path):
    abimes = [
        '{"instruction": "coupé',
        '"Oui."',
        SAINS[0] | {"output": ""},
        SAINS[0] | {"jeu": "train"},
    ]
    bilan = preparer_corpus(ecrire(SAINS[0], *abimes, SAINS[1]), tmp_path / "s.jsonl")
    assert (bilan.lus, bilan.abimes, bilan.doublons) == (6, 4, 0)
    assert lire_corpus(tmp_path / "s.jsonl")["id"][:] == [SAINS[0]["id"], SAINS[1]["id"]]
    assert str(bilan) == "6 exemples lus, 0 doublons et 4 abîmés retirés. Écrits : entrainement 2."


@pytest.mark.parametrize("parts", [(1, 0), (0.5, 0.5), (-0.1, 0), (float("nan"), 0)])
def test_des_parts_impossibles_sont_refusees(ecrire, tmp_path, parts):
    with pytest.raises(ErreurFabrique, match="trop peu à apprendre"):
        preparer_corpus(ecrire(*SAINS), tmp_path / "s.jsonl", *parts)


def test_un_corpus_tout_abime_est_refuse(ecrire, tmp_path):
    with pytest.raises(ErreurFabrique, match="aucun exemple à garder"):
        preparer_corpus(ecrire("{", "["), tmp_path / "s.jsonl")
    assert not (tmp_path / "s.jsonl").exists()


# ---------------------------------------------------------------- les commandes


def test_la_commande_repartir(ecrire, tmp_path, capsys):
    sortie = tmp_path / "s.jsonl"
    options = ["--validation", "0.2", "--test", "0", "--graine", "3"]
    assert principal(["corpus", "repartir", str(ecrire(*SAINS)), str(sortie), *options]) == 0
    assert "82 exemples lus, 0 doublons et 0 abîmés retirés." in capsys.readouterr().out
    assert set(lire_corpus(sortie)["jeu"]) == {"entrainement", "validation"}
    assert sorted(c.name for c in tmp_path.iterdir()) == ["entree.jsonl", "s.jsonl"]


@pytest.mark.parametrize(
    ("sortie", "options", "message"),
    [
        ("s.jsonl", ["--test", "2"], "trop peu à apprendre"),
        ("s.csv", [], "« .csv » n’est pas écrite"),
    ],
)
def test_la_commande_repartir_refuse_par_une_phrase(
    ecrire, tmp_path, capsys, sortie, options, message
):
    arguments = [str(ecrire(*SAINS)), str(tmp_path / sortie), *options]
    assert principal(["corpus", "repartir", *arguments]) == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / sortie).exists()


def test_la_commande_pseudonymiser(ecrire, tmp_path, capsys):
    """La même valeur a le même nom partout ; les comptes sont dits, les valeurs jamais."""
    courriel, telephone = PERSONNELLES["courriel"][1], PERSONNELLES["telephone"][1]
    exemples = [
        {"instruction": f"Écrire à {courriel} ?", "output": f"Oui, ou appeler le {telephone}."},
        {
            "instruction": "Et après ?",
            "output": f"Relancez {courriel.upper()}.",
            "categorie": "vote",
        },
    ]
    sortie = tmp_path / "s.json"
    assert principal(["corpus", "pseudonymiser", str(ecrire(*exemples)), str(sortie)]) == 0
    dit = capsys.readouterr().out
    propres = lire_corpus(sortie)
    assert propres["instruction"][:] == ["Écrire à [COURRIEL_1] ?", "Et après ?"]
    assert propres["output"][:] == ["Oui, ou appeler le [TELEPHONE_1].", "Relancez [COURRIEL_1]."]
    assert propres["categorie"][:] == ["", "vote"]
    assert "     2  courriel\n     1  telephone\n3 remplacement(s), 2 exemples écrits" in dit
    assert [v for v in (courriel, telephone) if v in dit + sortie.read_text("utf-8")] == []
    assert not [c for c in controler(sortie).constats if c.regle.startswith("personnel.")]


def test_pseudonymiser_une_conversation_change_chaque_message():
    telephone = PERSONNELLES["telephone"][1]
    tours = [("user", f"Qui a le {telephone} ?"), ("assistant", f"Le {telephone} est à la mairie.")]
    messages = [{"role": role, "content": texte} for role, texte in tours]
    propre, comptes = pseudonymiser(lire_corpus(Dataset.from_list([{"messages": messages}])))
    assert [m["content"] for m in propre[0]["messages"]] == [
        "Qui a le [TELEPHONE_1] ?",
        "Le [TELEPHONE_1] est à la mairie.",
    ]
    assert comptes == {"personnel.telephone": 2}
