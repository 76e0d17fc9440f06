"""Convertir un corpus : aller et retour sans rien perdre, ou un refus qui dit pourquoi."""

import json
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from datasets import Dataset
from hypothesis import assume, given, settings, strategies as st

from fabrique.corpus import conversion, convertir, lire_corpus
from fabrique.corpus.conversion import CONVERSIONS, Inexprimable, ecrire_exemples
from fabrique.ligne_de_commande import principal
from fabrique.socle.emplacements import dossier_data
from fabrique.socle.erreurs import ErreurFabrique

textes = st.text(
    st.sampled_from('aé« »\n ſ🙂\t\\"') | st.characters(codec="utf-8"), min_size=1, max_size=12
).filter(str.strip)
facultatifs = st.just("") | textes
METADONNEES = {
    "categorie": facultatifs,
    "source": facultatifs,
    "licence": st.sampled_from(["", "CC-BY-4.0"]),
    "jeu": st.sampled_from(["", "entrainement", "validation", "test"]),
    "niveau": st.sampled_from(["", "facile"]),
}
instructions = st.fixed_dictionaries(
    {"instruction": textes, "input": facultatifs, "output": textes, "systeme": facultatifs}
    | METADONNEES
)


@st.composite
def conversations(tirer, tours=3):
    """Une conversation : système facultatif, puis utilisateur et assistant à tour de rôle."""
    consigne = tirer(facultatifs)
    messages = [{"role": "system", "content": consigne}] if consigne else []
    for _ in range(tirer(st.integers(1, tours))):
        messages += [{"role": r, "content": tirer(textes)} for r in ("user", "assistant")]
    return tirer(st.fixed_dictionaries(METADONNEES)) | {"messages": messages}


def relire(objets: list[dict]) -> Dataset:
    """Des objets écrits dans un fichier, puis relus."""
    with TemporaryDirectory() as dossier:
        chemin = Path(dossier) / "c.jsonl"
        ecrire_exemples(objets, chemin)
        return lire_corpus(chemin)


def pleins(corpus) -> list[dict]:
    """Les exemples d'un corpus, sans leurs colonnes vides."""
    return [{c: v for c, v in exemple.items() if v} for exemple in corpus]


# ---------------------------------------------------------------- les allers-retours


@settings(max_examples=40)
@given(lignes=st.lists(instructions, min_size=1, max_size=4))
def test_alpaca_messages_alpaca(lignes):
    """Une instruction sans ligne vide revient telle quelle, métadonnées comprises."""
    for ligne in lignes:
        assume("\n\n" not in ligne["instruction"])
        assume(not ligne["instruction"].endswith("\n"))
    corpus = lire_corpus(Dataset.from_list(lignes))
    aller = convertir(corpus, "messages")
    assert all(set(m) == {"role", "content"} for objet in aller for m in objet["messages"])
    assert pleins(relire(convertir(relire(aller), "alpaca"))) == pleins(corpus)


@settings(max_examples=40)
@given(lignes=st.lists(instructions, min_size=1, max_size=4))
def test_tout_ce_que_messages_accepte_revient_et_rien_d_autre(lignes):
    """Converti, un exemple revient exactement ; refusé, il serait vraiment revenu changé."""
    corpus = lire_corpus(Dataset.from_list(lignes))
    # Un retour qui finit l'instruction se confondrait avec la ligne vide qui la sépare du contexte.
    if any("\n\n" in e["instruction"] + "\n" * bool(e["input"]) for e in lignes):
        with pytest.raises(ErreurFabrique, match="une ligne vide"):
            convertir(corpus, "messages")
        return
    aller = convertir(corpus, "messages")
    assert pleins(relire(convertir(relire(aller), "alpaca"))) == pleins(corpus)


@settings(max_examples=40)
@given(lignes=st.lists(conversations(tours=1), min_size=1, max_size=4))
def test_messages_alpaca_messages(lignes):
    corpus = lire_corpus(Dataset.from_list(lignes))
    demandes = [m["content"] for e in lignes for m in e["messages"] if m["role"] == "user"]
    if any(d.startswith("\n\n") or d.find("\n\n") == len(d) - 2 >= 0 for d in demandes):
        with pytest.raises(ErreurFabrique, match="commence ou finit par une ligne vide"):
            convertir(corpus, "alpaca")
        return
    aller = convertir(corpus, "alpaca")
    assert all(set(objet) >= {"instruction", "input", "output"} for objet in aller)
    assert pleins(relire(convertir(relire(aller), "messages"))) == pleins(corpus)


@settings(max_examples=40)
@given(lignes=st.lists(conversations(), min_size=1, max_size=4))
def test_openai_garde_les_messages_et_eux_seuls(lignes):
    corpus = lire_corpus(Dataset.from_list(lignes))
    aller = convertir(corpus, "openai", sans_metadonnees=True)
    assert aller == [{"messages": ligne["messages"]} for ligne in lignes]
    assert relire(aller)["messages"][:] == [ligne["messages"] for ligne in lignes]


@settings(max_examples=40)
@given(lignes=st.lists(conversations(), min_size=1, max_size=4))
def test_sharegpt_lu_puis_messages(lignes):
    """Les rôles changent de nom, les textes non."""
    noms = {"system": "system", "user": "human", "assistant": "gpt"}
    sharegpt = [
        {c: v for c, v in ligne.items() if c != "messages"}
        | {
            "conversations": [
                {"from": noms[m["role"]], "value": m["content"]} for m in ligne["messages"]
            ]
        }
        for ligne in lignes
    ]
    lu = relire(sharegpt)
    assert lu["messages"][:] == [ligne["messages"] for ligne in lignes]
    assert pleins(lu) == pleins(relire(lignes))
    assert pleins(relire(convertir(lu, "messages"))) == pleins(lu)


@pytest.mark.parametrize("nom", ["demarches", "encyclopedie", "style_xvii"])
@pytest.mark.parametrize("extension", ["json", "jsonl"])
def test_un_corpus_livre_va_et_revient_entier(tmp_path, capsys, nom, extension):
    """Par la commande : le fichier converti puis reconverti est le même corpus."""
    aller, retour = tmp_path / f"aller.{extension}", tmp_path / f"retour.{extension}"
    assert principal(["corpus", "convertir", nom, str(aller), "--format", "messages"]) == 0
    assert principal(["corpus", "convertir", str(aller), str(retour), "--format=alpaca"]) == 0
    origine = lire_corpus(nom)
    assert f"{len(origine)} exemples écrits dans {retour}." in capsys.readouterr().out
    revenu = lire_corpus(retour)
    assert revenu.column_names == origine.column_names
    assert revenu.to_list() == origine.to_list()
    assert "messages" in lire_corpus(aller).column_names


def test_alpaca_vers_alpaca_ne_change_rien():
    corpus = lire_corpus("encyclopedie")
    assert pleins(relire(convertir(corpus, "alpaca"))) == pleins(corpus)


# ---------------------------------------------------------------- les refus

DIT = {"instruction": "Où ?", "input": "", "output": "Ici."}
PLUSIEURS = {
    "messages": [
        {"role": role, "content": texte}
        for role, texte in (("user", "a"), ("assistant", "b"), ("user", "c"), ("assistant", "d"))
    ]
}
REFUS = {
    "plusieurs_tours": (PLUSIEURS, "alpaca", "plusieurs tours"),
    "ligne_vide_ambigue": (DIT | {"instruction": "Lisez :\n\nOù ?"}, "messages", "une ligne vide"),
    "ligne_vide_perdue": (
        {
            "messages": [
                {"role": "user", "content": "Où ?\n\n"},
                {"role": "assistant", "content": "Là."},
            ]
        },
        "alpaca",
        "finit par une ligne vide",
    ),
    "metadonnees": (DIT | {"categorie": "vote", "jeu": "test"}, "openai", "categorie, jeu"),
    "identifiant": (DIT | {"id": "vote-001"}, "openai", "pas de place pour : id"),
    "format_inconnu": (DIT, "sharegpt", "« sharegpt » n’existe pas"),
}


@pytest.mark.parametrize("nom", REFUS)
def test_une_conversion_impossible_est_refusee_par_une_phrase(nom):
    exemple, format, message = REFUS[nom]
    bon = PLUSIEURS if "messages" in exemple else DIT
    bon = bon | {"messages": bon["messages"][:2]} if "messages" in bon else bon
    corpus = relire([bon, exemple])
    with pytest.raises(ErreurFabrique, match=message) as refus:
        convertir(corpus, format)
    assert refus.value.remede
    assert nom == "format_inconnu" or refus.value.message.startswith("exemple 2 : ")


def test_le_remede_est_celui_du_refus_quels_que_soient_ses_mots(monkeypatch):
    def refuser(_exemple):
        raise Inexprimable("le format OpenAI n’y est pour rien")

    monkeypatch.setitem(CONVERSIONS, "messages", refuser)
    with pytest.raises(ErreurFabrique, match="exemple 1 : le format OpenAI") as refus:
        convertir(relire([DIT]), "messages")
    assert refus.value.remede == "Changez cet exemple, ou choisissez un autre format"


def test_des_fiches_ne_se_convertissent_pas():
    with pytest.raises(ErreurFabrique, match="des fiches ne sont ni"):
        convertir(lire_corpus("fiches"), "messages")


def test_sans_metadonnees_le_format_openai_accepte_tout():
    exemple = DIT | {"id": "vote-001", "categorie": "vote", "niveau": "facile"}
    corpus = lire_corpus(Dataset.from_list([exemple]))
    assert convertir(corpus, "openai", sans_metadonnees=True) == [
        {
            "messages": [
                {"role": "user", "content": "Où ?"},
                {"role": "assistant", "content": "Ici."},
            ]
        }
    ]


# ---------------------------------------------------------------- la commande


def fichier(tmp_path, *exemples):
    chemin = tmp_path / "entree.jsonl"
    chemin.write_text("".join(json.dumps(e) + "\n" for e in exemples), encoding="utf-8")
    return str(chemin)


@pytest.mark.parametrize(
    ("exemple", "sortie", "format", "message"),
    [
        (PLUSIEURS, "s.json", "alpaca", "plusieurs tours"),
        (DIT, "s.csv", "messages", "« .csv » n’est pas écrite"),
        (DIT, "s.json", "xml", "« xml » n’existe pas"),
        (DIT | {"output": ""}, "s.json", "messages", "entree.jsonl, ligne 1, champ « output »"),
        (DIT | {"source": "ici"}, "s.json", "openai", "Ajoutez --sans_metadonnees"),
    ],
)
def test_la_commande_refuse_sans_rien_ecrire(tmp_path, capsys, exemple, sortie, format, message):
    arguments = [fichier(tmp_path, exemple), str(tmp_path / sortie), "--format", format]
    assert principal(["corpus", "convertir", *arguments]) == 1
    dit = capsys.readouterr()
    assert message in dit.err
    assert len(dit.err.strip().splitlines()) == 1
    assert [chemin.name for chemin in tmp_path.glob("[!.]*")] == ["entree.jsonl"]


@pytest.mark.parametrize(
    "commande",
    [
        ["convertir", "{entree}", "{sortie}", "--format", "messages"],
        ["repartir", "{entree}", "{sortie}"],
        ["pseudonymiser", "{entree}", "{sortie}"],
        ["controler", "{entree}", "--html", "{sortie}"],
    ],
    ids=lambda commande: commande[0],
)
def test_une_commande_n_ecrase_ni_son_entree_ni_un_fichier_d_un_autre(tmp_path, capsys, commande):
    """Le nôtre se refait ; celui d'un autre, ou le nôtre retouché, demande --ecraser."""
    entree = Path(fichier(tmp_path, DIT, DIT | {"instruction": "Quand ?", "output": "Demain."}))
    sortie, lu = tmp_path / "s.jsonl", entree.read_bytes()

    def lancer(vers, *options):
        arguments = [mot.format(entree=entree, sortie=vers) for mot in commande]
        code = principal(["corpus", *arguments, *options])
        return code, capsys.readouterr().err

    code, dit = lancer(entree)
    assert (code, entree.read_bytes()) == (1, lu)
    assert "aussi l’entrée" in dit
    assert lancer(sortie)[0] == lancer(sortie)[0] == 0
    fait = sortie.read_bytes()
    sortie.write_text("à vous", encoding="utf-8")
    code, dit = lancer(sortie)
    assert (code, sortie.read_text(encoding="utf-8")) == (1, "à vous")
    assert "existe déjà" in dit
    if commande[0] != "controler":
        assert "--ecraser" in dit
        assert lancer(sortie, "--ecraser")[0] == 0
        assert sortie.read_bytes() == fait


def test_une_ecriture_interrompue_laisse_l_ancien_fichier(tmp_path, monkeypatch):
    sortie = tmp_path / "s.json"
    ecrire_exemples([DIT], sortie)
    avant = sortie.read_bytes()

    def disque_plein(chemin, cible):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.replace", disque_plein)
    with pytest.raises(OSError, match="No space"):
        ecrire_exemples([DIT, DIT], sortie)
    assert sortie.read_bytes() == avant


def test_les_formats_annonces_sont_ceux_de_la_commande():
    assert set(conversion.CONVERSIONS) == {"alpaca", "messages", "openai"}
    assert (dossier_data() / "demarches.jsonl").is_file()
