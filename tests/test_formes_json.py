"""Les formes d'un fichier JSON : lues quand le sens est sûr, sinon la vraie cause et sa ligne."""

import json

import pytest
from datasets import Dataset

from fabrique.corpus import controler, lire_corpus, repartir
from fabrique.socle.erreurs import ErreurFabrique

OBJETS = [{"instruction": f"Où est l’abri {n} ?", "output": f"Au quai {n}."} for n in range(3)]
COLONNES = {nom: {str(n): o[nom] for n, o in enumerate(OBJETS)} for nom in OBJETS[0]}
AERE = "\n".join(json.dumps(o, indent=2) for o in OBJETS)

LUS = {
    "colonnes.json": json.dumps(COLONNES),
    "colonnes.jsonl": json.dumps(COLONNES),
    "index.json": json.dumps({str(n): o for n, o in enumerate(OBJETS)}),
    "listes.json": json.dumps({nom: [o[nom] for o in OBJETS] for nom in OBJETS[0]}),
    "split.json": json.dumps(
        {"columns": [*OBJETS[0]], "index": [0, 1, 2], "data": [[*o.values()] for o in OBJETS]}
    ),
    "data.json": json.dumps({"data": OBJETS}, indent=1),
    "version.json": json.dumps({"version": "1", "rows": OBJETS}),
    "aere.jsonl": AERE,
    "tableau.jsonl": json.dumps(OBJETS, indent=1),
    "c.ndjson": "\n".join(map(json.dumps, OBJETS)),
    "virgules.jsonl": "".join(json.dumps(o) + ",\n" for o in OBJETS),
    "virgule_finale.json": json.dumps(OBJETS)[:-1] + ",]",
    "virgules.json": ",\n".join(json.dumps(o) for o in OBJETS) + ",\n",
    "python.jsonl": "\n".join(map(repr, OBJETS)),
}


@pytest.mark.parametrize("nom", LUS)
def test_une_forme_au_sens_sur_est_lue(tmp_path, nom):
    chemin = tmp_path / nom
    chemin.write_text(LUS[nom], encoding="utf-8")
    lus = [{c: e[c] for c in OBJETS[0]} for e in lire_corpus(chemin)]
    assert lus == OBJETS
    assert controler(chemin).erreurs == []


def test_les_dictionnaires_python_sont_dits(tmp_path, capsys):
    chemin = tmp_path / "c.jsonl"
    chemin.write_text(LUS["python.jsonl"], encoding="utf-8")
    lire_corpus(chemin)
    assert capsys.readouterr().out.count("ligne 1 : ces lignes sont des dictionnaires Python") == 1


def test_les_listes_nommees_donnent_les_jeux_et_leurs_lignes(tmp_path):
    chemin = tmp_path / "c.json"
    texte = json.dumps(
        {"train": OBJETS[:1], "dev": OBJETS[1:2], "test": OBJETS[2:], "auteur": "nous"}, indent=1
    )
    chemin.write_text(texte, encoding="utf-8")
    assert lire_corpus(chemin)["jeu"][:] == ["entrainement", "validation", "test"]
    (alerte,) = [c for c in controler(chemin).constats if c.regle == "lecture.colonne"]
    assert alerte.champ == "auteur"
    abime = texte.replace("Au quai 2.", "")
    chemin.write_text(abime, encoding="utf-8")
    (erreur,) = controler(chemin).erreurs
    assert erreur.ligne == abime[: abime.index("abri 2")].count("\n")  # l'accolade, juste au-dessus


@pytest.mark.parametrize(
    ("nom", "texte", "cause", "ligne"),
    [
        ("c.json", "[\n{'instruction': 'Où ?', 'output': 'Là.'}]", "guillemets simples", 2),
        ("c.jsonl", '{"instruction": "Où ?", "output": "Là.",}', "virgule de trop", 1),
        ("c.json", '[{"instruction": "Où ?",\n "output": "Là.",\n}]', "virgule de trop", 2),
        ("c.jsonl", "{}\n{“instruction”: “Où ?”}", "guillemets typographiques", 2),
        ("c.json", '[{"instruction": "Où\nça ?", "output": "Là."}]', "au milieu d’un texte", 1),
    ],
)
def test_la_vraie_cause_est_nommee_avec_sa_ligne(tmp_path, nom, texte, cause, ligne):
    chemin = tmp_path / nom
    chemin.write_text(texte, encoding="utf-8")
    try:
        dits = [(c.message, c.ligne) for c in controler(chemin).erreurs]
    except ErreurFabrique as erreur:
        dits = [(str(erreur), erreur.ligne)]
    assert any(
        cause in message and abs(lue - ligne) <= (cause == "virgule de trop")
        for message, lue in dits
    )


# ---------------------------------------------------------------- la colonne « jeu »


@pytest.mark.parametrize(
    "ecrit", ["Entraînement", " entrainement ", "ENTRAÎNEMENT", "entrai\u0302nement"]
)
def test_un_jeu_sans_ambiguite_est_compris(ecrit):
    corpus = lire_corpus(
        Dataset.from_list([OBJETS[0] | {"jeu": ecrit}, OBJETS[1] | {"jeu": " Test"}])
    )
    assert corpus["jeu"][:] == ["entrainement", "test"]


def test_une_colonne_jeu_a_moitie_vide_est_refusee(tmp_path):
    lignes = [
        OBJETS[0] | {"jeu": "entrainement"},
        OBJETS[1] | {"jeu": ""},
        OBJETS[2] | {"jeu": " "},
    ]
    chemin = tmp_path / "c.jsonl"
    chemin.write_text("\n".join(map(json.dumps, lignes)), encoding="utf-8")
    (erreur,) = controler(chemin).erreurs
    assert (erreur.regle, erreur.ligne, erreur.champ) == ("structure.jeu_partiel", 2, "jeu")
    assert "2 exemples sur 3 n’ont pas de jeu" in erreur.message
    with pytest.raises(ErreurFabrique, match="2 exemples sur 3 n’ont pas de jeu"):
        repartir(lire_corpus(chemin), 0.1)


def test_un_corpus_sans_rien_a_apprendre_est_refuse():
    corpus = lire_corpus(Dataset.from_list([o | {"jeu": "test"} for o in OBJETS]))
    with pytest.raises(ErreurFabrique, match="rien à apprendre"):
        repartir(corpus, 0.1)
