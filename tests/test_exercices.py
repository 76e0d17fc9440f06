"""Les « À vous » : un registre, une clé par cellule, et un conseil utile pour chaque faute."""

from __future__ import annotations

import ast
import inspect
import math
import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import gardes
import nbformat
import numpy as np
import pytest
from datasets import Dataset
from nbformat import NotebookNode
from nbformat.v4 import new_markdown_cell, new_notebook

from fabrique.corpus import Criteres
from fabrique.cours.corriges import CORRIGES, Libre, Valeur
from fabrique.cours.exercices import A_VOUS, insecable, verifier
from fabrique.evaluation.paires import Part
from fabrique.jetons.bpe import apprendre
from fabrique.modeles.gabarits import SANS_PERTE, neutraliser
from fabrique.recherche import Passage
from fabrique.socle.erreurs import ErreurFabrique
from outils.corriges import exercices
from outils.tester import RACINE

CARNETS = sorted((RACINE / "notebooks").glob("*.ipynb"))
REFERENCE = "Le guichet ouvre mardi, jeudi et samedi matin, sauf pendant les vacances scolaires."
#: Ce que les cellules passent à ``verifier``, en valeurs inventées.
CONTEXTES: dict[str, dict] = {
    "00-4": {
        "corpus": Dataset.from_dict(
            {"jeu": ["entrainement"] * 7 + ["validation"] * 2 + ["test"] * 3}
        )
    },
    "08-6": {"passage": Passage("f", "Marché", "Il en est averti par une lettre.")},
    "03-3": {"etiquettes": [SANS_PERTE] * 5 + [40, 41, 42, 43, 44, 45, 2]},
    "03-5": {"pertes": {"trop petit": 4.52, "profil": 4.14, "trop grand": 8.59}},
    "03-6": {"avant": np.array([4.0, 5.0]), "apres": np.array([2.0, 3.0])},
    "04-1": {
        "epoques": [0, 2, 4, 6, 8],
        "pertes": {"apprises": [5, 4, 3, 2, 1], "jamais apprises": [5, 4.5, 4.4, 4.6, 5.1]},
    },
    "04-2": {"notes": np.concatenate([np.full(12, 0.5), np.linspace(0.1, 0.2, 24)])},
    "04-3": {"reference": REFERENCE},
    "05-3": {"erreur": lambda niveaux: 100 / len(niveaux)},
    "gabarit-3": {"ordinaire": list("abcd"), "capitales": list("abcdefghij")},
    "gabarit-4": {"tokenizer": SimpleNamespace(tokenize=str.split)},
}


@pytest.fixture
def dire(capsys):
    """Ce que dit une vérification."""

    def dire(cle: str, reponse: object) -> str:
        verifier(cle, reponse, **CONTEXTES.get(cle, {}))
        return capsys.readouterr().out.strip().replace("\u00a0", " ")

    return dire


# ---------------------------------------------------------------- les carnets et le registre


def cellules(fichier: Path) -> Iterator[tuple[str, NotebookNode, NotebookNode]]:
    """Chaque exercice d'un carnet : la clé qu'il doit avoir, son énoncé, sa cellule."""
    carnet = nbformat.read(fichier, as_version=4)
    nom = fichier.stem.strip("_").split("_")[0]
    for numero, (rang, _) in enumerate(exercices(carnet), 1):
        yield f"{nom}-{numero}", carnet.cells[rang - 1], carnet.cells[rang]


def test_chaque_cle_est_employee_une_fois_dans_l_ordre():
    """Ni exercice sans corrigé, ni corrigé sans exercice ; et l'énoncé porte le même numéro."""
    lues = []
    for fichier in CARNETS:
        for attendue, enonce, cellule in cellules(fichier):
            [appel] = gardes.appels_de_verifier(ast.parse(cellule.source))
            lues.append(appel.args[0].value)
            assert lues[-1] == attendue
            numero = attendue.split("-")[1]
            assert re.match(rf"### À vous {numero}(?!\d)", enonce.source), attendue
    assert lues == list(CORRIGES)


def test_chaque_cellule_passe_le_contexte_de_son_corrige():
    """Un nom oublié, ou de trop, arrêterait l'apprenant au moment de sa réponse."""
    for fichier in CARNETS:
        for cle, _, cellule in cellules(fichier):
            [appel] = gardes.appels_de_verifier(ast.parse(cellule.source))
            assert {mot.arg for mot in appel.keywords} == noms_du_contexte(cle), cle
            assert noms_du_contexte(cle) == set(CONTEXTES.get(cle, {}))


def noms_du_contexte(cle: str) -> set[str]:
    exercice = CORRIGES[cle]
    if isinstance(exercice, Libre):
        return set(list(inspect.signature(exercice.manque).parameters)[1:])
    fonctions = [f for f in (exercice.attendu, *dict(exercice.pieges)) if callable(f)]
    noms = [set(inspect.signature(fonction).parameters) for fonction in fonctions]
    assert all(ceux_ci == ceux_la for ceux_ci, ceux_la in pairwise(noms)), cle
    return noms[0] if noms else set()


def constantes(source: str) -> Iterator[object]:
    """La valeur de chaque expression d'un code qui se calcule sans variable."""
    for noeud in ast.walk(ast.parse(source)):
        noms = (ast.Name, ast.Call, ast.Lambda, ast.JoinedStr, ast.Slice, ast.Starred)
        if isinstance(noeud, ast.expr) and not any(isinstance(n, noms) for n in ast.walk(noeud)):
            yield eval(compile(ast.Expression(noeud), "cellule", "eval"))


def est(valeur: object, attendu: object, tolerance: float = 0) -> bool:
    if isinstance(attendu, str):
        return isinstance(valeur, str) and valeur.casefold() == attendu.casefold()
    return isinstance(valeur, int | float) and abs(valeur - attendu) <= tolerance


def test_aucune_cellule_n_ecrit_la_reponse_attendue():
    """Ni telle quelle, ni sous la forme d'un calcul."""
    for fichier in CARNETS:
        for cle, _, cellule in cellules(fichier):
            exercice = CORRIGES[cle]
            if isinstance(exercice, Valeur) and not callable(exercice.attendu):
                assert not any(
                    est(valeur, exercice.attendu, exercice.tolerance)
                    for valeur in constantes(cellule.source)
                ), cle


@pytest.mark.parametrize(
    ("source", "attendu"),
    [("x = 3600", 3_600), ("f(1 - 0.95**20)", 1 - 0.95**20), ("f(a, b='B')", "b"), ("-7", -7)],
)
def test_une_reponse_ecrite_serait_vue(source: str, attendu: object):
    assert any(est(valeur, attendu) for valeur in constantes(source))


# ---------------------------------------------------------------- des conseils sans la réponse

EN_LETTRES = {0: "zéro", 3: "trois", 4: "quatre", 5: "cinq", 6: "six", 7: "sept", 8: "huit"} | {
    15: "quinze"
}


def donne(phrase: str, attendu: object, tolerance: float = 0) -> bool:
    """Vrai si une phrase contient la réponse, en chiffres ou en lettres."""
    if isinstance(attendu, str):
        return re.search(rf"\b{re.escape(attendu)}\b", phrase) is not None
    nombres = re.findall(r"\d+(?: \d{3})*(?:,\d+)?", phrase)
    lus = [float(re.sub(r"\s", "", nombre).replace(",", ".")) for nombre in nombres]
    mot = EN_LETTRES.get(attendu, "\0")
    return any(est(lu, attendu, tolerance) for lu in lus) or bool(
        re.search(rf"\b{mot}\b", phrase.casefold())
    )


def test_aucun_conseil_ne_donne_la_reponse():
    """Un indice guide ; seul le bravo, montré après coup, peut la redire."""
    for cle, exercice in CORRIGES.items():
        if isinstance(exercice, Valeur) and not callable(exercice.attendu):
            for phrase in (exercice.indice, *(conseil for _, conseil in exercice.pieges)):
                assert not donne(phrase, exercice.attendu, exercice.tolerance), (cle, phrase)


@pytest.mark.parametrize(
    ("phrase", "attendu"),
    [
        ("Il y en a 3 600.", 3_600),
        ("Environ 0,69.", 0.69),
        ("Sept octets.", 7),
        ("Dans « an ».", "an"),
    ],
)
def test_un_conseil_bavard_serait_vu(phrase: str, attendu: object):
    assert donne(phrase, attendu)


def test_les_phrases_sont_typographiees():
    """Ce que l'apprenant lit suit les règles des carnets."""
    phrases = [A_VOUS]
    for exercice in CORRIGES.values():
        phrases.append(exercice.bravo)
        if isinstance(exercice, Libre):
            phrases.append(exercice.forme)
        else:
            phrases += [exercice.indice, *(conseil for _, conseil in exercice.pieges)]
    markdown = "\n\n".join(insecable(phrase) for phrase in phrases)
    assert gardes.typographie(new_notebook(cells=[new_markdown_cell(markdown)])) == []
    assert [phrase for phrase in phrases if phrase[-1] not in ".?"] == []


# ---------------------------------------------------------------- juste, faux, vide


def test_les_trois_points_ne_sont_pas_une_faute(dire):
    """« Tout exécuter » continue, quel que soit l'exercice."""
    for cle in CORRIGES:
        assert dire(cle, ...) == A_VOUS


def test_une_cle_inconnue_est_dite():
    with pytest.raises(ErreurFabrique, match="aucun exercice n’a la clé « 99-1 »"):
        verifier("99-1", ...)


JUSTES = {
    "00-1": ["…à la mairie."],
    "00-2": [1.39, math.log(4), np.float32(1.3863)],
    "00-3": [0, 0.0],
    "00-4": [5],
    "00-5": [384_400 * 1.609, 619_000],
    "01-1": [5, np.int64(5), 5.0],
    "01-2": ["an", " AN "],
    "01-3": [7],
    "01-4": [
        "Déclaration de naissance à la mairie déléguée ",
        " Déclaration de naissance à la mairie déléguée",
    ],
    "01-5": [10.44, 10.4],
    "01-6": ["falcon-poche", "Falcon-Poche"],
    "01-7": [0],
    "01-8": [323, 322.99],
    "02-1": [3],
    "02-2": [{"A"}, ["a"], "A"],
    "02-3": [lambda t: re.sub("<[^>]+>", "", t).replace("&nbsp;", " ").strip()],
    "02-4": [Criteres(mots_min=60, mots_max=120)],
    "02-5": ["des fiches", "Des  fiches"],
    "02-6": ["b", "B"],
    "02-7": [2],
    "02-8": [
        {
            "instruction": "Où déposer un vélo trouvé ?",
            "output": "En bref : au poste de police. Un reçu vous est remis. Source : règlement de la ville.",
            "licence": "CC-BY-4.0",
        }
    ],
    "03-1": [6, 6.0],
    "03-2": [4_718_592],
    "03-3": [7],
    "03-4": [3_600, 3_600.0],
    "03-5": [4.52 - 4.14, 0.38],
    "03-6": [4.5, np.float64(4.5), np.array([4.5])],
    "04-1": [5.1 - 4.4, 0.7],
    "04-2": [11.67, 100 * (0.5 - 0.15) / 3],
    "04-3": [REFERENCE.replace("jeudi", "vendredi")],
    "04-4": [15],
    "04-5": [9],
    "04-6": [0.64, 1 - 0.95**20],
    "04-7": [50],
    "04-8": ["B", "b"],
    "05-1": [8],
    "05-2": [4.125],
    "05-3": [12.5],
    "05-4": [4, 4.0],
    "06-1": [0.75, 2.08 * 100 / math.log(2) / 400],
    "06-2": [89, 100 * 500 / 561],
    "06-3": [20],
    "06-4": [20, 100 * 39 / 195],
    "07-1": [12],
    "07-2": [6.8, 1000 * (0.3 * 0.012 + 0.2 * 0.016)],
    "07-3": [353, 2.4 / 0.0068],
    "07-4": [500, 3.4 / 0.0068],
    "08-1": ["trois semaines", "Trois  semaines"],
    "08-2": [6],
    "08-3": ["associations", "Associations"],
    "08-4": [27.3, 300 / 11],
    "08-5": [2],
    "08-6": ["Par courrier, semble-t-il : « Il en est averti par une lettre » [1]."],
    "09-1": [math.log(1 + 99.5 / 1.5) / math.log(2), 6.07],
    "09-2": [15, 100 * 3 / 20],
    "09-3": ["B", "b"],
    "09-4": [0.6, 300 / 500],
    "10-1": [300, 3 * 10**2],
    "10-2": [48.7, 100 * (2 * 95 / 195) / 2],
    "10-3": [18],
    "10-4": [16, 4**2],
    "11-1": [math.log(2), 0.693],
    "11-2": ["petite", "Petite"],
    "11-3": [75, 100 * 150 / 200],
    "11-4": [5, 1 / (2 * 0.1)],
    "gabarit-1": [7],
    "gabarit-2": ["."],
    "gabarit-3": [2.5],
    "gabarit-4": ["un deux trois quatre cinq six sept huit neuf dix onze"],
}


def test_chaque_corrige_a_une_reponse_juste():
    assert list(JUSTES) == list(CORRIGES)


@pytest.mark.parametrize("cle", JUSTES)
def test_une_reponse_juste_est_reconnue(cle: str, dire):
    for reponse in JUSTES[cle]:
        assert dire(cle, reponse) == f"Juste ! {CORRIGES[cle].bravo}", reponse


SANS_DOUTE = "sans doute"
BIZARRES = [None, True, "", "  ", SANS_DOUTE, math.nan, math.inf, 10**400, 1j, (10, 32), [], {}]
BIZARRES += [[1, 2], {"b"}, {"instruction": 3}, object(), str, len, np.arange(3), b"an", -1.5]


@pytest.mark.parametrize("cle", CORRIGES)
def test_une_reponse_bizarre_est_refusee_sans_trace(cle: str, dire):
    """Quoi que l'apprenant écrive, il lit une phrase, jamais une erreur de Python."""
    for reponse in BIZARRES:
        if cle == "00-1" and reponse is SANS_DOUTE:  # une suite possible
            continue
        dit = dire(cle, reponse)
        assert re.match(r"Pas encore\. \S.+[.?]$", dit), (reponse, dit)


@pytest.mark.parametrize("cle", [c for c, e in CORRIGES.items() if getattr(e, "pieges", ())])
def test_chaque_piege_recoit_son_conseil(cle: str, dire):
    """Aucun n'est accepté, ni masqué par un autre."""
    for valeur, conseil in CORRIGES[cle].pieges:
        faux = valeur(**CONTEXTES[cle]) if callable(valeur) else valeur
        assert dire(cle, faux) == f"Pas encore. {conseil}"


CSV = {
    "instruction": "Où voter ?",
    "output": "En bref : au bureau. Source : la carte.",
    "licence": "CC0",
}
#: Une faute de chaque sorte, et les mots du conseil qu'elle doit recevoir.
FAUTES = [
    ("00-1", "fabrique.continuer(modele, tokenizer, 'Pour')", "entre guillemets"),
    ("00-1", None, "Appelez fabrique.continuer"),
    ("00-2", "1,39", "sans guillemets, avec un point"),
    ("00-2", (1, 39), "un point à la place de la virgule"),
    ("00-2", -math.log(4), "le signe est à l’envers"),
    ("00-2", 138.6, "cent fois trop grand"),
    ("00-3", 0.01, "jusqu’au bout"),
    ("00-4", ["a", "b", "c"], "plusieurs valeurs"),
    ("00-4", 5_000, "mille fois trop grand"),
    ("00-5", 618.6, "mille fois trop petit"),
    ("00-5", (384, 400 * 1.609344), "ne séparez pas les milliers"),
    ("01-2", "dans", "celle qui revient le plus"),
    ("01-4", "━━ Déclaration", "filet"),
    ("01-4", "De\u0301claration", "recomposez-les"),
    ("01-4", "Déclaration\u202fde naissance", "espaces fines"),
    ("01-4", "Déclarationdenaissance", "collé au voisin"),
    ("01-5", 10.44e6, "d’un million de jetons"),
    ("01-6", "falcon", 'possibles sont "falcon-poche", "mistral-v1"'),
    ("02-2", {"A", "C"}, "sans licence"),
    ("02-2", {"A", "B"}, "NC veut dire"),
    ("02-2", {"CC BY"}, "entre accolades"),
    ("02-3", "def reponse", "Il faut une fonction"),
    ("02-3", lambda t: None, "return"),
    ("02-3", lambda t: t.inconnu, "s’arrête : AttributeError"),
    ("02-3", lambda t: t.replace("&nbsp;", " ").strip(), "votre fonction fait « <p>"),
    ("02-3", lambda t: re.sub("<[^>]+>", "", t).replace("&nbsp;", "").strip(), "fait « ab »"),
    ("02-3", lambda t: re.sub("<.*", "", t).replace("&nbsp;", " ").strip(), "votre fonction fait"),
    ("02-4", Criteres(mots_min=120, mots_max=60), "échangées"),
    ("02-4", Criteres(mots_max=120), "mots_min"),
    ("02-4", Criteres(mots_min=60), "mots_max"),
    ("02-4", (60, 120), "Criteres(…)"),
    ("02-5", "fiches", '"des questions", "des fiches"'),
    ("02-8", {"instruction": "Où ?"}, "Il manque au dictionnaire : output, licence"),
    ("02-8", CSV | {"source": 3}, "entre guillemets"),
    ("02-8", CSV | {"output": "Au bureau. Source : la carte."}, "au début"),
    ("02-8", CSV | {"output": "En bref : au bureau."}, "la source vient en dernier"),
    ("02-8", CSV | {"output": "En bref : <b>au bureau</b>. Source : la carte."}, "Le contrôle dit"),
    ("03-1", 6e9, "un milliard de fois trop grand"),
    ("03-1", 6_000, "mille fois trop grand"),
    ("03-5", "profil", "sans guillemets"),
    ("03-5", 4.14 - 4.52, "à l’envers"),
    ("03-6", np.array([4.0, 5.0]), "un seul nombre"),
    ("04-2", 0.1167, "cent fois trop petit"),
    ("04-3", REFERENCE, "il faut une réponse fausse"),
    ("04-3", "Le guichet est fermé.", "Son F1 est de"),
    ("04-3", REFERENCE.replace("ouvre", "n’ouvre pas"), "La négation"),
    ("04-3", REFERENCE.replace("mardi", "Douze"), "déjà servi"),
    ("04-4", "15", "sans guillemets"),
    ("04-6", 64.15, "cent fois trop grand"),
    ("04-8", "C", '"A", "B"'),
    ("05-3", 0.125, "cent fois trop petit"),
    ("gabarit-4", "trop courte", "que 2"),
]


@pytest.mark.parametrize(("cle", "reponse", "conseil"), FAUTES)
def test_une_faute_courante_recoit_un_conseil_utile(cle: str, reponse: object, conseil: str, dire):
    dit = dire(cle, reponse)
    assert dit.startswith("Pas encore. ")
    assert conseil in dit


# ---------------------------------------------------------------- les réponses se calculent


def test_les_reponses_ecrites_sont_celles_qu_on_calcule(tokenizer):
    """Un nombre du registre n'y est pas seulement recopié."""
    assert len(tokenizer.tokenize("la mairie de la mairie")) == CORRIGES["01-1"].attendu
    [(gauche, droite)] = apprendre(["un an dans la banque"], 1)
    assert (gauche + droite).decode() == CORRIGES["01-2"].attendu
    assert len("élève".encode()) == CORRIGES["01-3"].attendu
    neutre = tokenizer(neutraliser("<|fin|><|fin|> bonjour", tokenizer), add_special_tokens=False)
    speciaux = set(tokenizer.all_special_ids) & set(neutre["input_ids"])
    assert len(speciaux) == CORRIGES["01-7"].attendu
    premier = next(k for k in range(10, 21) if Part(k, 20).tranche)
    assert premier == CORRIGES["04-4"].attendu
    for cle, valeur in (("01-5", 10.44), ("01-8", 322.99), ("03-4", 4_800 / 4 * 3), ("05-1", 2**3)):
        exercice = CORRIGES[cle]
        assert abs(valeur - exercice.attendu) <= max(exercice.tolerance, 1e-9)
