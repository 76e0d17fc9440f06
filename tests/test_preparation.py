"""Préparer un corpus : plus de doublons, trois jeux, par catégorie, toujours les mêmes."""

import json
import tempfile
import unicodedata
from collections import Counter
from pathlib import Path

import pytest
from datasets import Dataset
from hypothesis import given, settings, strategies as st
from test_controle import LONGUE, PERSONNELLES, PRESQUE, PRESQUE_LA_QUESTION, QUESTION_LONGUE

from fabrique.corpus import controler, lire_corpus, preparer_corpus, pseudonymiser
from fabrique.corpus.doublons import identite, jaccard, jumeler, normaliser, suites
from fabrique.corpus.preparation import Deplacement, Retrait
from fabrique.ligne_de_commande import principal
from fabrique.socle.erreurs import ErreurFabrique

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


def test_un_doublon_exact_part_un_quasi_doublon_reste_avec_le_sien(ecrire, tmp_path):
    exact = SAINS[3] | {"id": "copie", "instruction": SAINS[3]["instruction"].upper()}
    longue = {"instruction": "Comment déposer ?", "output": LONGUE, "licence": "CC0"}
    presque = {"instruction": "Où va ma demande ?", "output": PRESQUE, "licence": "CC0"}
    sortie = tmp_path / "s.jsonl"
    bilan = preparer_corpus(ecrire(*SAINS, exact, longue, presque, longue), sortie, 0.3, 0.3)
    assert (bilan.lus, bilan.doublons, bilan.proches) == (len(SAINS) + 4, 2, 2)
    assert bilan.retraits == (Retrait(83, 4), Retrait(86, 84))
    ecrits = lire_corpus(sortie)
    assert ecrits["output"][:] == [*(e["output"] for e in SAINS), LONGUE, PRESQUE]
    assert len(set(ecrits["jeu"][-2:])) == 1
    assert [c.regle for c in controler(sortie).constats] == ["doublon.proche"]
    assert "Doublons exacts retirés :\n  ligne 83, comme la ligne 4\n" in str(bilan)


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
    premiere = "6 exemples lus, 0 doublon retiré, 4 abîmés retirés. Écrits : entrainement 2."
    assert str(bilan).splitlines()[0] == premiere
    assert bilan.vides == ("test", "validation")


@pytest.mark.parametrize("parts", [(1, 0), (0.5, 0.5), (-0.1, 0), (float("nan"), 0)])
def test_des_parts_impossibles_sont_refusees(ecrire, tmp_path, parts):
    with pytest.raises(ErreurFabrique, match="trop peu à apprendre"):
        preparer_corpus(ecrire(*SAINS), tmp_path / "s.jsonl", *parts)


def test_un_corpus_tout_abime_est_refuse(ecrire, tmp_path):
    with pytest.raises(ErreurFabrique, match="aucun exemple à garder"):
        preparer_corpus(
            ecrire(SAINS[0] | {"output": ""}, SAINS[1] | {"jeu": "train"}), tmp_path / "s.jsonl"
        )
    assert not (tmp_path / "s.jsonl").exists()


# ---------------------------------------------------------------- proches et jumelles


def test_des_reponses_au_meme_gabarit_sont_toutes_gardees(ecrire, tmp_path):
    """Huit piscines, huit tarifs : seuls un nom et deux nombres changent, rien n'est en trop."""
    villes = ["Autun", "Bray", "Cluny", "Digne", "Évron", "Falaise", "Gap", "Ham"]
    gabarit = (
        "À {}, l’entrée de la piscine municipale coûte {} euros pour un adulte de la commune ; "
        "le bassin ouvre à {} heures, sauf pendant les vacances scolaires."
    )
    exemples = [
        {
            "instruction": f"Combien coûte la piscine à {v} ?",
            "output": gabarit.format(v, n, n + 3),
            "licence": "CC0",
        }
        for n, v in enumerate(villes, 3)
    ]
    bilan = preparer_corpus(ecrire(*exemples), tmp_path / "s.jsonl")
    ecrits = lire_corpus(tmp_path / "s.jsonl")
    assert (bilan.doublons, bilan.proches, bilan.jeux) == (0, 8, {"entrainement": 8})
    assert ecrits["output"][:] == [e["output"] for e in exemples]
    assert "aucun exemple dans le jeu « test »" in str(bilan)


#: Ce que deux personnes, ou deux logiciels, changent à une même question.
MANIES = {
    "apostrophe": lambda q: q.replace("’", "'"),
    "insecable": lambda q: q.replace(" ", "\u00a0"),
    "fine": lambda q: q.replace(" ?", "\u202f?"),
    "sans_blanc": lambda q: q.replace(" ?", "?"),
    "decompose": lambda q: unicodedata.normalize("NFD", q),
    "sans_accents": lambda q: "".join(
        c for c in unicodedata.normalize("NFD", q) if not unicodedata.combining(c)
    ),
    "capitales": str.upper,
    "sans_largeur": lambda q: q.replace("e", "e\u200b").replace("a", "a\u00ad"),
    "tiret": lambda q: q.replace("-", "\u2011"),
    "ligature": lambda q: q.replace("œ", "oe"),
    "sans_point": lambda q: q.removesuffix(" ?"),
    "doubles_blancs": lambda q: f" {q.replace(' ', '  ')}\t",
}
QUESTIONS = (
    "Où s’achète un rendez-vous d’œuvre à l’été 2026 ?",
    "L’élève peut-il déjeuner à l’école dès 12 h 30 ?",
    "Quelle est la surface d’un préau : 45 m² ou 45,5 m² ?",
)


@pytest.mark.parametrize("manie", MANIES)
@pytest.mark.parametrize("question", QUESTIONS)
def test_une_question_ecrite_autrement_est_la_meme(manie, question):
    assert jumeler(MANIES[manie](question)) == jumeler(question)


@pytest.mark.parametrize(
    ("une", "autre"),
    [
        ("Que coûte 10,50 € ?", "Que coûte 1050 € ?"),
        ("Que vaut 5 % ?", "Que vaut 5 € ?"),
        ("Que faire à −5 degrés ?", "Que faire à 5 degrés ?"),
        ("Combien font 10² ?", "Combien font 102 ?"),
        ("L’article 12-3 ?", "L’article 123 ?"),
        ("Le 1/2 tarif ?", "Le 12 tarif ?"),
    ],
)
def test_deux_nombres_differents_font_deux_questions(une, autre):
    assert jumeler(une) != jumeler(autre)


def test_une_suite_compte_ses_cinq_caracteres():
    """Changer un seul des cinq, le dernier compris, en fait une autre suite."""
    for rang in range(5):
        for autre in "xyzé漢":
            assert (
                jaccard(suites("abcde"), suites("abcde"[:rang] + autre + "abcde"[rang + 1 :])) == 0
            )


@pytest.mark.parametrize(
    ("un", "autre", "communes", "reunies"),
    [
        ("abcdef", "ABCDEG", 1, 3),
        ("la mairie", "la mairie.", 5, 6),
        ("une rue", "deux voies", 0, 9),
    ],
)
def test_l_indice_est_celui_des_suites_comptees_a_la_main(un, autre, communes, reunies):
    assert jaccard(suites(un), suites(autre)) == communes / reunies


@given(texte=st.text(max_size=40))
def test_normaliser_et_jumeler_deux_fois_ne_changent_rien(texte):
    assert normaliser(normaliser(texte)) == normaliser(texte)
    assert jumeler(jumeler(texte)) == jumeler(texte)


#: Un corpus de questions écrites de plusieurs façons, dont certaines ont déjà un jeu.
corpus_de_jumelles = st.lists(
    st.fixed_dictionaries(
        {
            "instruction": st.builds(
                lambda numero, manie: MANIES[manie](f"Où voter à l’école n° {numero} ?"),
                st.integers(0, 8),
                st.sampled_from(sorted(MANIES)),
            ),
            "output": st.sampled_from(["À la mairie.", "À l’école, salle 2.", LONGUE, PRESQUE]),
            "jeu": st.sampled_from(["", "entrainement", "validation", "test"]),
            "categorie": st.sampled_from(["", "vote"]),
        }
    ),
    min_size=1,
    max_size=24,
)


@settings(max_examples=60, deadline=None)
@given(exemples=corpus_de_jumelles, refaire=st.booleans(), graine=st.integers(0, 5))
def test_aucune_jumelle_n_est_a_cheval_et_les_comptes_tombent_juste(exemples, refaire, graine):
    with tempfile.TemporaryDirectory() as dossier:
        sortie = Path(dossier) / "s.jsonl"
        bilan = preparer_corpus(Dataset.from_list(exemples), sortie, 0.3, 0.3, graine, refaire)
        ecrits = [json.loads(ligne) for ligne in sortie.read_text("utf-8").splitlines()]
    jeux = {}
    for exemple in ecrits:
        jeux.setdefault(jumeler(exemple["instruction"]), set()).add(exemple["jeu"])
    assert [question for question, jeu in jeux.items() if len(jeu) > 1] == []
    assert Counter(e["jeu"] for e in ecrits) == bilan.jeux
    assert bilan.lus == len(exemples) == len(ecrits) + bilan.doublons + bilan.abimes
    gardees = {int(e["id"]) for e in ecrits}
    assert {r.gardee for r in bilan.retraits} <= gardees
    assert gardees.isdisjoint(r.ligne for r in bilan.retraits)
    for retrait in bilan.retraits:
        assert identite(exemples[retrait.ligne - 1]) == identite(exemples[retrait.gardee - 1])
    ecrits_a_la_main = [e for e in ecrits if exemples[int(e["id"]) - 1]["jeu"]]
    changes = {
        int(e["id"]) for e in ecrits_a_la_main if e["jeu"] != exemples[int(e["id"]) - 1]["jeu"]
    }
    if not refaire:
        assert {d.ligne for d in bilan.deplacements} == changes
        assert bilan.respectes == len(ecrits_a_la_main) - len(changes)


def a_la_main(*jeux):
    """Des exemples sans rapport entre eux, chacun dans le jeu donné."""
    return [e | {"jeu": j} for e, j in zip(SAINS, jeux, strict=False)]


def test_un_jeu_ecrit_a_la_main_est_respecte(ecrire, tmp_path):
    soignes = a_la_main(*["test"] * 9, *["validation"] * 2, *["entrainement"] * 30)
    bilan = preparer_corpus(ecrire(*soignes), tmp_path / "s.jsonl")
    assert lire_corpus(tmp_path / "s.jsonl")["jeu"][:] == [e["jeu"] for e in soignes]
    assert (bilan.respectes, bilan.deplacements, bilan.vides) == (41, (), ())
    assert "41 exemples gardent le jeu écrit dans le fichier (--refaire" in str(bilan)


def test_refaire_repartit_comme_si_rien_n_etait_ecrit(ecrire, tmp_path):
    neufs = preparer_corpus(ecrire(*SAINS[:41]), tmp_path / "n.jsonl")
    refaits = preparer_corpus(
        ecrire(*a_la_main(*["test"] * 41)), tmp_path / "r.jsonl", refaire=True
    )
    assert neufs == refaits
    neufs, refaits = (lire_corpus(tmp_path / f"{nom}.jsonl") for nom in "nr")
    assert neufs.to_list() == refaits.to_list()


def test_seuls_les_exemples_sans_jeu_sont_tires(ecrire, tmp_path):
    """Vingt exemples, deux déjà en test : la part de 20 % n'en demande que deux de plus."""
    meles = [e | {"categorie": "vote"} for e in a_la_main("test", "test", *[""] * 18)]
    bilan = preparer_corpus(ecrire(*meles), tmp_path / "s.jsonl", validation=0, test=0.2)
    assert bilan.jeux == {"entrainement": 16, "test": 4}
    assert lire_corpus(tmp_path / "s.jsonl")["jeu"][:2] == ["test", "test"]
    assert bilan.respectes == 2


def test_une_jumelle_a_cheval_rejoint_le_jeu_de_test_et_c_est_dit(ecrire, tmp_path):
    soignes = [
        {"instruction": "Où est l’été ?", "output": "Ici.", "jeu": "entrainement"},
        {"instruction": "ou est l'ete", "output": "Là.", "jeu": "test"},
        {"instruction": "Et l’hiver ?", "output": "Plus loin.", "jeu": "entrainement"},
    ]
    bilan = preparer_corpus(ecrire(*soignes), tmp_path / "s.jsonl")
    assert lire_corpus(tmp_path / "s.jsonl")["jeu"][:] == ["test", "test", "entrainement"]
    assert bilan.deplacements == (Deplacement(1, "entrainement", "test"),)
    assert "ligne 1, de entrainement à test" in str(bilan)


def test_des_proches_separes_a_la_main_restent_separes_et_c_est_dit(ecrire, tmp_path):
    soignes = [
        {"instruction": "Comment déposer ?", "output": LONGUE, "jeu": "entrainement"},
        {"instruction": "Où va ma demande ?", "output": PRESQUE, "jeu": "test"},
    ]
    bilan = preparer_corpus(ecrire(*soignes), tmp_path / "s.jsonl")
    assert lire_corpus(tmp_path / "s.jsonl")["jeu"][:] == ["entrainement", "test"]
    assert (bilan.a_cheval, bilan.proches, bilan.deplacements) == (1, 0, ())
    assert "ce jeu sépare 1 groupe d’exemples très proches" in str(bilan)


def test_une_consigne_differente_fait_un_autre_exemple(ecrire, tmp_path):
    """Même question, même réponse, autre consigne : rien n'est à retirer."""
    exemples = [SAINS[0] | {"id": nom, "systeme": nom} for nom in ("Bref.", "Poli.")]
    assert preparer_corpus(ecrire(*exemples), tmp_path / "s.jsonl").doublons == 0


def test_une_colonne_inconnue_reste_dans_le_fichier_reparti(ecrire, tmp_path):
    exemples = [SAINS[0] | {"page": 12, "auteurs": ["Ana", "Bo"]}, SAINS[1]]
    preparer_corpus(ecrire(*exemples), tmp_path / "s.jsonl")
    premier, second = map(json.loads, (tmp_path / "s.jsonl").read_text("utf-8").splitlines())
    assert (premier["page"], premier["auteurs"]) == (12, ["Ana", "Bo"])
    assert "page" not in second


# ---------------------------------------------------------------- les commandes


def test_la_commande_repartir(ecrire, tmp_path, capsys):
    sortie = tmp_path / "s.jsonl"
    options = ["--validation", "0.2", "--test", "0", "--graine", "3"]
    assert principal(["corpus", "repartir", str(ecrire(*SAINS)), str(sortie), *options]) == 0
    assert "82 exemples lus, 0 doublon retiré, 0 abîmé retiré." in capsys.readouterr().out
    assert set(lire_corpus(sortie)["jeu"]) == {"entrainement", "validation"}
    assert sorted(c.name for c in tmp_path.glob("[!.]*")) == ["entree.jsonl", "s.jsonl"]


def test_la_commande_repartir_refait_a_la_demande(ecrire, tmp_path, capsys):
    entree, sortie = ecrire(*a_la_main(*["test"] * 40)), tmp_path / "s.jsonl"
    assert principal(["corpus", "repartir", str(entree), str(sortie)]) == 0
    assert "Écrits : test 40." in capsys.readouterr().out
    assert principal(["corpus", "repartir", str(entree), str(sortie), "--refaire"]) == 0
    assert "Écrits : entrainement 32, validation 4, test 4." in capsys.readouterr().out


def test_les_commandes_n_ecrasent_ni_l_entree_ni_le_fichier_d_un_autre(ecrire, tmp_path, capsys):
    entree, autre = ecrire(*SAINS), tmp_path / "notes.jsonl"
    autre.write_text("à moi", encoding="utf-8")
    avant = entree.read_bytes()
    for commande in ("repartir", "pseudonymiser"):
        for sortie, message in ((entree, "aussi l’entrée"), (autre, "existe déjà")):
            assert principal(["corpus", commande, str(entree), str(sortie)]) == 1
            assert message in capsys.readouterr().err
    assert (entree.read_bytes(), autre.read_text("utf-8")) == (avant, "à moi")
    assert principal(["corpus", "repartir", str(entree), str(autre), "--ecraser"]) == 0
    assert len(lire_corpus(autre)) == len(SAINS)


@pytest.mark.parametrize(
    ("sortie", "options", "message"),
    [
        ("s.jsonl", ["--test", "0,6", "--validation", "0,6"], "trop peu à apprendre"),
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
    assert "     2  courriel\n     1  telephone\n3 remplacements, 2 exemples écrits" in dit
    assert [v for v in (courriel, telephone) if v in dit + sortie.read_text("utf-8")] == []
    assert not [c for c in controler(sortie).constats if c.regle.startswith("personnel.")]


def test_la_commande_pseudonymiser_garde_les_colonnes_et_le_format(ecrire, tmp_path, capsys):
    """Une colonne inconnue, un nombre, des rôles ShareGPT : tout est nettoyé, rien n'est perdu."""
    exemple = {
        "conversations": [
            {"from": "human", "value": "Mon numéro de sécu ?"},
            {"from": "gpt", "value": "Le 1 84 07 33 063 012."},
        ],
        "auteur": "paul.petit@boite-fictive.fr",
        "nir": 184073306301240,
        "notes": [7, None, True, {"tel": "06 39 98 12 34"}],
    }
    entree, sortie = ecrire(exemple), tmp_path / "s.jsonl"
    for _ in range(2):  # la seconde fois, la sortie est à nous
        assert principal(["corpus", "pseudonymiser", str(entree), str(sortie)]) == 0
        assert "4 remplacements, 1 exemple écrit" in capsys.readouterr().out
    assert json.loads(sortie.read_text("utf-8")) == {
        "conversations": [
            {"from": "human", "value": "Mon numéro de sécu ?"},
            {"from": "gpt", "value": "Le [NIR_1]."},
        ],
        "auteur": "[COURRIEL_1]",
        "nir": "[NIR_1]",
        "notes": [7, None, True, {"tel": "[TELEPHONE_1]"}],
    }


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
