"""Ce que le carnet 02 affirme : dégâts et réparation, secrets, signature, cas réels, fichier d'exemple."""

from __future__ import annotations

import ast
import builtins
import csv
import gzip
import json
from collections import Counter
from pathlib import Path

import ftfy
import gardes
import nbformat
import numpy as np
import pytest
from datasets import Dataset

from fabrique.corpus import controler, jeu, lire_corpus, selectionner
from fabrique.cours import secret
from fabrique.cours.abimer import DEGATS, SAINS, corpus_abime, versions_abimees
from fabrique.cours.salle import SIGNATURE, signatures
from fabrique.evaluation.choix import QuestionFermee, log_probabilites
from fabrique.modeles.gabarits import coder, texte_envoye
from fabrique.modeles.vraisemblance import log_probabilites_des_suites
from fabrique.socle.emplacements import dossier_data

RACINE = Path(__file__).resolve().parent.parent
DONNEES = RACINE.parent / "shared" / "donnees"


# ---------------------------------------------------------------- le corpus abîmé


@pytest.fixture(scope="module")
def constats() -> Counter:
    """Les constats du corpus abîmé, par règle."""
    return Counter(c.regle for c in controler(Dataset.from_list(corpus_abime())).constats)


def test_chaque_degat_est_vu_une_fois(constats):
    """Un dégât, un constat : ni oubli, ni fausse alarme."""
    assert dict(constats) == {
        "structure.vide": 2,
        "encodage.mojibake": 3,
        "texte.html": 2,
        "texte.assistant": 2,
        "texte.langue": 1,
        "texte.inacheve": 2,
        "personnel.telephone": 1,
        "personnel.nir": 1,
        "personnel.iban": 1,
        "licence.fermee": 2,
        "doublon.exact": 2,
        "doublon.proche": 1,
        "contamination.jeux": 1,
    }


def test_les_degats_ne_se_chevauchent_pas():
    touches = [rang for _, rangs in DEGATS for rang in rangs]
    assert len(touches) == len(set(touches))
    assert max(touches) < SAINS - 4, "les doublons copient des exemples intacts"


def test_le_mauvais_decodage_se_defait():
    """La réparation montrée en classe rend exactement le texte d'origine."""
    origine = {e["id"]: e["output"] for e in lire_corpus("demarches")}
    casses = [e for e in corpus_abime() if ftfy.fix_encoding(e["output"]) != e["output"]]
    assert len(casses) == 3
    assert all(ftfy.fix_encoding(e["output"]) == origine[e["id"]] for e in casses)


def test_les_versions_abimees_gardent_les_memes_questions():
    versions = versions_abimees(6)
    intactes, echangees = versions["intactes"]["output"], versions["échangées"]["output"]
    assert len({tuple(v["instruction"]) for v in versions.values()}) == 1
    assert sorted(intactes) == sorted(echangees)
    assert all(a != b for a, b in zip(intactes, echangees, strict=True))
    for texte, meles, debut in zip(
        intactes, versions["mêlées"]["output"], versions["tronquées"]["output"], strict=True
    ):
        assert Counter(texte.split()) == Counter(meles.split())
        assert " ".join(texte.split()).startswith(debut)
        assert len(debut.split()) == len(texte.split()) // 3


def test_les_nombres_de_la_qualite_sont_ceux_du_releve():
    """Le carnet recopie ``benchmarks/qualite.json`` : sur Colab, le dépôt n'est pas là."""
    carnet = nbformat.read(RACINE / "notebooks" / "02_corpus_instructions.ipynb", as_version=4)
    [source] = [c.source for c in carnet.cells if c.source.startswith("grande = ")]
    releve = json.loads((RACINE / "benchmarks" / "qualite.json").read_text(encoding="utf-8"))
    assert ast.literal_eval(ast.parse(source).body[0].value) == releve
    assert releve["questions"] == len(jeu(lire_corpus("demarches"), "test"))
    assert releve["perte_demarches"] < releve["perte_base"] < releve["perte_piaf"]
    assert releve["ic95"][0] > 0


# ---------------------------------------------------------------- le secret répété


def test_les_secrets_sont_rouges_et_comptes():
    """Le contrôle les voit tous, et chacun paraît autant de fois que dit."""
    corpus = secret.corpus_avec_secrets()
    regles = Counter(c.regle for c in controler(corpus).erreurs)
    comptes = Counter(corpus["instruction"])
    assert regles["personnel.telephone"] == len(corpus) == sum(p.fois for p in secret.personnes())
    assert all(comptes[p.question] == p.fois for p in secret.personnes())


def test_les_secrets_sont_de_fiction_et_differents():
    assert secret.DEBUT_DE_FICTION == "06 39 98"
    assert len({p.chiffres for p in secret.personnes()}) == len(secret.personnes()) == 16
    for personne in secret.personnes():
        candidats = personne.candidats
        assert len(set(candidats)) == 1000
        assert candidats.count(personne.chiffres) == 1


def test_les_notes_sont_celles_du_choix_force(petit):
    """La lecture partagée donne les mêmes écarts que la lecture d'un bout à l'autre."""
    tokenizer, modele = petit
    personne = secret.personnes()[0]
    choix = personne.candidats[:5]
    question = QuestionFermee(personne.question, tuple(personne.amorce + c for c in choix), 0)
    jetons = len(coder(personne.amorce + choix[0], tokenizer))
    attendues = log_probabilites(modele, tokenizer, question) * jetons
    debut = coder(texte_envoye(tokenizer, personne.question) + personne.amorce, tokenizer)
    notes = log_probabilites_des_suites(modele, debut, [coder(c, tokenizer) for c in choix])
    assert notes - notes[0] == pytest.approx(attendues - attendues[0], abs=1e-3)


def test_le_rang_suit_les_notes(petit, monkeypatch):
    tokenizer, modele = petit
    personne = secret.personnes()[0]
    vrai = personne.candidats.index(personne.chiffres)
    for place in (1, 40, 1000):
        notes = [1.0] * (place - 1) + [-1.0] * (1000 - place)
        notes.insert(vrai, 0.0)
        rendues = lambda *_, notes=notes, **__: np.array(notes)  # noqa: E731
        monkeypatch.setattr(secret, "log_probabilites_des_suites", rendues)
        assert secret.rang(modele, tokenizer, personne) == place


# ---------------------------------------------------------------- la salle


def test_le_jeu_de_secours_est_signe_et_propre():
    salle = lire_corpus("salle_secours")
    assert len(salle) == 100
    assert controler(salle).constats == []
    assert selectionner(salle, SIGNATURE).ecartes == []
    assert Counter(salle["jeu"]) == {"entrainement": 85, "test": 15}
    assert signatures(salle["output"])["les deux"] == 100


def test_le_jeu_de_secours_ne_recopie_pas_les_demarches():
    assert (
        controler("salle_secours", evaluation=jeu(lire_corpus("demarches"), "test")).constats == []
    )


@pytest.mark.parametrize(
    ("texte", "debut", "fin"),
    [
        ("En bref\u00a0: oui. Source\u00a0: insee.fr.", 100, 100),
        ("En bref : oui. Source : code civil", 100, 100),
        ("Oui. En bref : oui.", 0, 0),
        ("En bref : oui. Source : insee.fr.\nEt puis.", 100, 0),
        ("", 0, 0),
    ],
)
def test_la_signature(texte: str, debut: float, fin: float):
    assert list(signatures([texte]).values()) == [debut, fin, min(debut, fin)]


# ---------------------------------------------------------------- le tableau de l'agent


def test_le_fichier_d_exemple_est_celui_d_excel():
    octets = (dossier_data() / "exemple_agent.csv").read_bytes()
    with pytest.raises(UnicodeDecodeError):
        octets.decode("utf-8")
    lignes = list(csv.DictReader(octets.decode("cp1252").splitlines(), delimiter=";"))
    assert len(lignes) == 12
    assert {"Question", "Réponse", "Thème"} <= set(lignes[0])


# ---------------------------------------------------------------- les cas réels cités


def instructions(nom: str) -> list[dict]:
    """Un corpus réel, s'il est là."""
    fichier = DONNEES / f"instructions_{nom}_alpaca.jsonl.gz"
    if not fichier.exists():
        pytest.skip("les corpus réels ne sont pas là")
    with gzip.open(fichier, "rt", encoding="utf-8") as flux:
        return [json.loads(ligne) for ligne in flux]


def test_piaf_reparti_au_hasard_contamine_tout_le_test():
    paragraphes = np.array([e["input"] for e in instructions("piaf")])
    assert (len(paragraphes), len(set(paragraphes))) == (6844, 1372)
    for graine in range(5):
        ordre = np.random.default_rng(graine).permutation(len(paragraphes))
        test, appris = np.split(paragraphes[ordre], [round(0.1 * len(ordre))])
        assert np.isin(test, appris).mean() > 0.995


@pytest.mark.parametrize(("nom", "exemples", "proches"), [("crpa", 63, 23), ("codes", 1736, 118)])
def test_les_doublons_des_corpus_reels(nom: str, exemples: int, proches: int):
    champs = ("instruction", "input", "output")
    corpus = Dataset.from_list([{c: e[c] for c in champs} for e in instructions(nom)])
    regles = Counter(c.regle for c in controler(corpus).constats)
    assert (len(corpus), regles["doublon.proche"]) == (exemples, proches)


# ---------------------------------------------------------------- le parcours court


def noms(code: str, contexte: type[ast.expr_context]) -> set[str]:
    """Les noms qu'un code lit (``ast.Load``) ou écrit (``ast.Store``), imports et fonctions compris."""
    trouves = set()
    for noeud in ast.walk(ast.parse(code)):
        match noeud:
            case ast.Name(id=nom, ctx=ctx) if isinstance(ctx, contexte):
                trouves.add(nom)
            case ast.alias(name=nom, asname=autre) if contexte is ast.Store:
                trouves.add(autre or nom.partition(".")[0])
            case ast.FunctionDef(name=nom) | ast.arg(arg=nom) if contexte is ast.Store:
                trouves.add(nom)
    return trouves


def test_le_parcours_court_ne_lit_rien_des_sections_sautees():
    """Chaque nom que lit une cellule marquée vient de la préparation ou d'une cellule marquée."""
    carnet = nbformat.read(RACINE / "notebooks" / "02_corpus_instructions.ipynb", as_version=4)
    cellules = [c for c in carnet.cells if c.cell_type == "code"]
    marquees = [c for c in cellules[1:] if gardes.COURT in gardes.etiquettes(c)]
    assert 10 < len(marquees) < 0.7 * len(cellules)
    connus = set(dir(builtins)) | {"fabrique", "profil"}
    for cellule in marquees:
        connus |= noms(cellule.source, ast.Store)
        assert noms(cellule.source, ast.Load) <= connus, cellule.source
