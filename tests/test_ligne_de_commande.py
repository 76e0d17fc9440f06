"""La commande : celle de 2023 telle quelle, et une phrase française quand ça ne va pas."""

import ast
import gzip
import importlib.metadata
import io
import json
import logging
import os
import re
import shutil
import subprocess
import sys
from collections import Counter, namedtuple
from contextlib import redirect_stdout
from dataclasses import dataclass, fields
from pathlib import Path

import pytest
import torch
import typer
from safetensors import safe_open
from typer.main import get_command

import fabrique
from fabrique.entrainement.reglages import Reglages, ReglagesPreentrainement, lire_couches
from fabrique.ligne_de_commande import _reglee_par, application, principal
from fabrique.socle.erreurs import COMPTE, ErreurFabrique
from fabrique.socle.options import reglage
from fabrique.socle.parole import parler

RACINE = Path(__file__).resolve().parent.parent
CLES = {"erreur", "fichier", "ligne", "champ", "remede", "code"}

#: La commande du carnet de 2023, dont seuls changent le modèle, le corpus et le dossier.
COMMANDE_DE_2023 = [
    "finetune",
    "--model=falcon-poche",
    "--weights=gptq_model-4bit-64g.safetensors",
    "--dataset={dataset}",
    "--data_type=alpaca",
    "--lora_out_dir={sortie}",
    "--mbatch_size=1",
    "--batch_size=2",
    "--epochs=1",
    "--lr=3e-4",
    "--cutoff_len=256",
    "--lora_r=8",
    "--lora_alpha=16",
    "--lora_dropout=0.05",
    "--warmup_steps=5",
    "--save_steps=50",
    "--save_total_limit=3",
    "--logging_steps=5",
    '--target_modules=["query_key_value"]',
]


def commande_de_2023(dataset, sortie):
    return [argument.format(dataset=dataset, sortie=sortie) for argument in COMMANDE_DE_2023]


def test_la_commande_de_2023_va_au_bout_puis_dit_que_tout_est_fait(
    fichier_corpus, tmp_path, capsys
):
    sortie = tmp_path / "falcon-7b-instruct-4bit-alpaca"
    assert principal(commande_de_2023(fichier_corpus, sortie)) == 0
    dit = capsys.readouterr()
    # Onze exemples, dont un sur dix mis de côté, et le partage est annoncé.
    assert "10 exemples à apprendre, 1 de validation (val_set_size = 0.1)" in dit.out
    assert "--weights est ignoré" in dit.out
    assert "Traceback" not in dit.err
    rapport = json.loads((sortie / "rapport.json").read_text(encoding="utf-8"))
    assert (rapport["pas"], rapport["exemples"], rapport["couches_4bits"]) == (5, 10, 32)
    config = json.loads((sortie / "adapter_config.json").read_text(encoding="utf-8"))
    assert (config["r"], config["lora_alpha"], config["lora_dropout"]) == (8, 16, 0.05)
    with safe_open(sortie / "adapter_model.safetensors", "pt") as poids:
        assert len(poids.keys()) == 2 * 8  # A et B dans chacun des huit blocs
        assert all("query_key_value" in nom for nom in poids.keys())
    assert (sortie / "checkpoint-5").is_dir()

    ecrit = (sortie / "adapter_model.safetensors").stat().st_mtime_ns
    assert principal(commande_de_2023(fichier_corpus, sortie)) == 0
    assert "déjà fait" in capsys.readouterr().out
    assert (sortie / "adapter_model.safetensors").stat().st_mtime_ns == ecrit


def test_finetune_puis_generer_sur_un_autre_dossier(
    dossier_petit, fichier_corpus, tmp_path, capsys
):
    sortie = tmp_path / "adaptateur"
    options = ["--model", str(dossier_petit), "--quantification", "nf4"]
    corpus = ["--dataset", str(fichier_corpus), "--lora_out_dir", str(sortie)]
    autres = ["--target_modules", "all-linear", "--val_set_size", "4"]
    assert principal(["finetune", *options, *corpus, *autres]) == 0
    dit = capsys.readouterr().out
    assert "7 exemples à apprendre, 4 de validation" in dit
    assert re.search(r"Validation : perte \d+,\d{3} → \d+,\d{3}", dit)
    assert re.search(r"Durée +: mesuré .+, estimé ", dit) or torch.cuda.is_available()
    demande = ["--instruction", "Où voter ?", "--max_new_tokens", "5"]
    assert principal(["generer", *options, "--adaptateur", str(sortie), *demande]) == 0
    assert capsys.readouterr().out.strip()


def test_le_processus_entier_echoue_sans_trace():
    """Comme dans un terminal : le code, la phrase sur la sortie d'erreur, rien d'autre."""
    fini = subprocess.run(
        [sys.executable, "-m", "fabrique", "finetune", "--inconnue=3"],
        capture_output=True,
        text=True,
        encoding="utf-8",
        cwd=RACINE,
        env={**os.environ, "PYTHONIOENCODING": "utf-8", "PYTHONPATH": str(RACINE)},
    )
    assert (fini.returncode, fini.stdout) == (1, "")
    assert fini.stderr.startswith("l’option --inconnue n’existe pas.")
    assert len(fini.stderr.strip().splitlines()) == 1


#: Ce qui pèse des secondes, et que ces commandes n'emploient pas.
LOURDS = {"torch", "bitsandbytes", "peft", "accelerate"}
LEGERES = {
    "aide": (["--help"], LOURDS | {"transformers", "datasets", "numpy"}),
    "convertir": (
        ["corpus", "convertir", "{corpus}", "{sortie}", "--format=messages"],
        LOURDS | {"transformers"},
    ),
    "repartir": (["corpus", "repartir", "{corpus}", "{sortie}"], LOURDS | {"transformers"}),
    "cout": (["cout", "--jetons=1000"], LOURDS | {"transformers"}),
    # transformers n'y sert qu'à lire le tokenizer.
    "cout d'un corpus": (["cout", "--dataset={corpus}"], LOURDS),
    "controler": (["corpus", "controler", "{corpus}"], LOURDS),
    "jetons": (["jetons", "--texte=Bonjour"], LOURDS),
}


@pytest.mark.parametrize("cas", LEGERES)
def test_une_commande_n_importe_que_ce_qu_elle_emploie(cas, fichier_corpus, tmp_path):
    """Dans un processus neuf : ce que la commande a importé en s'exécutant."""
    arguments, absents = LEGERES[cas]
    programme = (
        "import sys; from fabrique.ligne_de_commande import principal; "
        "code = principal(sys.argv[1:]); print(code, *sys.modules, file=sys.stderr)"
    )
    sortie = tmp_path / "sortie.jsonl"
    fini = subprocess.run(
        [sys.executable, "-c", programme]
        + [argument.format(corpus=fichier_corpus, sortie=sortie) for argument in arguments],
        capture_output=True,
        text=True,
        encoding="utf-8",
        cwd=RACINE,
        env={**os.environ, "PYTHONIOENCODING": "utf-8", "PYTHONPATH": str(RACINE)},
    )
    code, *importes = fini.stderr.splitlines()[-1].split()
    assert (code, "fabrique.ligne_de_commande" in importes) == ("0", True)
    assert absents & set(importes) == set()


# ---------------------------------------------------------------- l'usage


def echouer(capsys, arguments, code=1):
    """La commande échoue par une seule phrase sur la sortie d'erreur ; rend cette phrase."""
    capsys.readouterr()
    assert principal([str(a) for a in arguments]) == code
    dit = capsys.readouterr()
    phrases = [ligne for ligne in dit.err.splitlines() if ligne.strip()]
    assert len(phrases) == 1
    assert phrases[0].endswith(".")
    assert "Traceback" not in dit.err + dit.out
    # Du français, et pas le message de la bibliothèque.
    assert not re.search(r"\b(Error|Usage|No such|Missing|Invalid|the|not)\b", phrases[0])
    return phrases[0]


A_REMPLIR = ["--dataset", "demarches", "--lora_out_dir", "sorties/inutile"]
USAGES = {
    "option inconnue": (["finetune", *A_REMPLIR, "--zele", "3"], "l’option --zele n’existe pas"),
    "obligatoire absente": (
        ["finetune", "--dataset", "x"],
        "l’option --lora_out_dir est obligatoire",
    ),
    "valeur impossible": (["finetune", *A_REMPLIR, "--epochs", "deux"], "l’option --epochs"),
    "commande inconnue": (["affiner"], "fabrique --help"),
    "argument en trop": (["machine", "encore"], "fabrique --help"),
    "couches illisibles": (["finetune", *A_REMPLIR, "--target_modules", "[qkv"], "target_modules"),
    "forme inconnue": (["finetune", *A_REMPLIR, "--data_type", "gpteacher"], "« gpteacher »"),
    "lot non multiple": (
        ["finetune", *A_REMPLIR, "--batch_size", "3", "--mbatch_size", "2"],
        "multiple",
    ),
    "taux nul": (["finetune", *A_REMPLIR, "--lr", "0"], "l’option --lr : « 0 » ne convient pas"),
}


#: Des nombres impossibles, par commande : l'option est nommée, la forme acceptée est dite.
NOMBRES = {
    "finetune": (
        A_REMPLIR,
        {
            "--lr": ("0", "-0,1", "nan", "inf", "1e999", "abc", "0,0,3", ""),
            "--epochs": ("-1", "0", "nan", "deux"),
            "--batch_size": ("0", "1,5", "-2"),
            "--mbatch_size": ("0", "2.0"),
            "--cutoff_len": ("8", "-1", "256,5", "100000"),
            "--lora_r": ("0", "-8", "huit"),
            "--lora_alpha": ("0", "nan"),
            "--lora_dropout": ("1", "-0,05", "nan"),
            "--warmup_steps": ("-1",),
            "--save_steps": ("0",),
            "--save_total_limit": ("0",),
            "--logging_steps": ("0",),
            "--val_set_size": ("-0,1", "1,5", "nan"),
            "--methode": ("qlora",),
        },
    ),
    "generer": (
        ["--instruction", "Oui ?"],
        {"--max_new_tokens": ("0", "-1"), "--temperature": ("-1", "nan", "chaud")},
    ),
    "evaluer": (
        ["--adaptateur", "a", "--dataset", "demarches"],
        {"--questions": ("0",), "--exemples": ("-1",), "--max_new_tokens": ("0",)},
    ),
    "preentrainer": (
        ["--texte", "a.txt", "--sortie", "sorties/inutile"],
        {
            **{f"--{nom}": ("0", "-1", "1,5") for nom in ("pas", "pas_mesure", "couches", "lot")},
            **{f"--{nom}": ("0",) for nom in ("largeur", "tetes", "vocabulaire", "longueur")},
            "--lr": ("0", "nan", "-0,003"),
            "--graine": ("-1",),
        },
    ),
    "jetons": (["--texte", "a"], {"--prix": ("-1", "nan"), "--contexte": ("0",)}),
    "cout": (
        ["--jetons", "1000", "--model", "falcon-poche"],
        {
            "--jetons": ("0", "-5"),
            "--prix_heure": ("-1", "inf"),
            "--epochs": ("0", "-1"),
            "--mbatch_size": ("0",),
            "--cutoff_len": ("8",),
            "--lora_r": ("0",),
            "--prix_api": ("-1",),
            "--prix_reponse": ("nan",),
            "--jetons_reponse": ("-1",),
        },
    ),
    "corpus controler": (["demarches"], {"--max_length": ("0", "-1")}),
    "corpus repartir": (
        ["demarches", "sorties/inutile.jsonl"],
        {"--validation": ("-0,1", "1", "nan"), "--test": ("1,2",), "--graine": ("-1", "0,5")},
    ),
}


@pytest.mark.parametrize(
    ("commande", "option", "valeur"),
    [
        (commande, option, valeur)
        for commande, (_, options) in NOMBRES.items()
        for option, valeurs in options.items()
        for valeur in valeurs
    ],
)
def test_un_nombre_impossible_nomme_son_option_avant_tout_chargement(
    capsys, monkeypatch, commande, option, valeur
):
    monkeypatch.setattr(
        "fabrique.modeles.chargement._charger_poids", lambda *_: pytest.fail("chargé")
    )
    monkeypatch.setattr("fabrique.corpus.lecture.ouvrir", lambda *_: pytest.fail("lu"))
    phrase = echouer(capsys, [*commande.split(), *NOMBRES[commande][0], f"{option}={valeur}"])
    assert phrase.startswith(f"l’option {option} : ")
    assert "Donnez " in phrase or "Choisissez" in phrase
    assert "learning_rate" not in phrase


@pytest.mark.parametrize("tape", ["0,0003", "0.0003", "3e-4", "3,0e-4"])
def test_une_virgule_decimale_se_comprend(monkeypatch, tape):
    """Sur toute option à virgule : ici le taux, l'extinction et la part de validation."""
    recus = []
    monkeypatch.setattr("fabrique.recettes.affinage.affiner", lambda *a: recus.append(a[3]))
    options = [f"--lr={tape}", "--lora_dropout=0,1", "--val_set_size=0,25", "--epochs=1,5"]
    assert principal(["finetune", *A_REMPLIR, *options]) == 0
    lus = recus[0]
    assert (lus.learning_rate, lus.lora_dropout, lus.val_set_size, lus.epochs) == (
        3e-4,
        0.1,
        0.25,
        1.5,
    )


@pytest.mark.parametrize(
    ("tape", "lu"),
    [
        ('["query_key_value"]', ("query_key_value",)),
        ("['query_key_value', 'dense']", ("query_key_value", "dense")),
        ("[query_key_value]", ("query_key_value",)),  # PowerShell a ôté les guillemets
        ("[query_key_value,dense]", ("query_key_value", "dense")),
        ('[\\"query_key_value\\"]', ("query_key_value",)),
        ("[“query_key_value”]", ("query_key_value",)),
        ("query_key_value, dense", ("query_key_value", "dense")),
        ('"query_key_value"', ("query_key_value",)),
        ("all-linear", "all-linear"),
        ('["all-linear"]', "all-linear"),
        (r".*\.(query_key_value|dense)", r".*\.(query_key_value|dense)"),
    ],
)
def test_les_couches_se_lisent_quel_que_soit_l_interpreteur(monkeypatch, tape, lu):
    recus = []
    monkeypatch.setattr("fabrique.recettes.affinage.affiner", lambda *a: recus.append(a[3]))
    assert principal(["finetune", *A_REMPLIR, f"--target_modules={tape}"]) == 0
    assert recus[0].target_modules == lu


@pytest.mark.parametrize(
    ("tape", "dit"),
    [
        ("query_key_value,dens", "« dens ». Vouliez-vous dire « dense »"),
        ("[query_key_valu]", "Vouliez-vous dire « query_key_value »"),
        ("(query", "ne convient pas. Corrigez l’expression régulière au caractère 1"),
        (r".*\.requete|cle", "aucune couche du modèle ne répond à l’expression"),
        ("[]", "ne se lit pas"),
        ("", "ne se lit pas"),
        ("[query_key_value", "ne se lit pas"),
    ],
)
def test_une_couche_mal_ecrite_est_dite_avant_tout_chargement(
    capsys, monkeypatch, dossier_petit, fichier_corpus, tmp_path, tape, dit
):
    monkeypatch.setattr(
        "fabrique.modeles.chargement._charger_poids", lambda *_: pytest.fail("chargé")
    )
    commande = finetune(dossier_petit, fichier_corpus, tmp_path / "s")
    phrase = echouer(capsys, [*commande, f"--target_modules={tape}"])
    assert phrase.startswith("l’option --target_modules : ")
    assert dit in phrase
    assert not (tmp_path / "s").exists()


@pytest.mark.parametrize("cas", USAGES)
def test_un_mauvais_usage_est_dit_en_francais(capsys, cas):
    arguments, message = USAGES[cas]
    assert message in echouer(capsys, arguments)


def options_de(commande):
    """Les options d'une commande, par nom de paramètre, telles que typer les a lues."""
    return {option.name: option for option in get_command(application).commands[commande].params}


@pytest.mark.parametrize(
    ("commande", "classe", "au_moins"),
    [
        ("finetune", Reglages, 16),
        ("cout", Reglages, 6),
        ("preentrainer", ReglagesPreentrainement, 10),
    ],
)
def test_une_option_dit_ce_que_dit_le_champ_de_son_reglage(commande, classe, au_moins):
    """Le nom, le défaut, l'aide : écrits une fois, dans la dataclass."""
    options = options_de(commande)
    communs = [c for c in fields(classe) if c.name in options and c.metadata.get("aide")]
    assert len(communs) >= au_moins
    for champ in communs:
        option = options[champ.name]
        assert option.opts == [champ.metadata["option"] or f"--{champ.name}"]
        assert option.help == champ.metadata["aide"]
        lu = option.default if champ.name != "target_modules" else lire_couches(option.default)
        assert lu == champ.default


def test_un_reglage_de_plus_est_une_option_de_plus(capsys):
    """La commande ne le nomme nulle part ; sans aide, un champ reste un réglage de Python."""

    @dataclass(frozen=True)
    class Essai:
        tirages: int = reglage(3, "Dés lancés.", COMPTE)
        cache: int = 5

    essai, recus = typer.Typer(), []

    @essai.command()
    @_reglee_par(Essai)
    def lancer(*, reglages: dict, vite: bool = False) -> None:
        recus.append((Essai(**reglages), vite))
        raise ErreurFabrique("trop de dés", champ="tirages")

    with pytest.raises(ErreurFabrique) as refus:
        essai(["--tirages", "7", "--vite"], standalone_mode=False)
    assert recus == [(Essai(7), True)]
    assert refus.value.champ == "--tirages"
    essai(["--help"], standalone_mode=False)
    aide = capsys.readouterr().out
    assert "Dés lancés." in aide
    assert "cache" not in aide


def test_l_aide_se_lit_et_rend_zero(capsys):
    assert principal(["--help"]) == 0
    aide = capsys.readouterr().out
    assert all(nom in aide for nom in ("machine", "finetune", "generer", "preentrainer", "demo"))


def test_la_version_est_celle_du_paquet_installe(capsys):
    """La même que dans pyproject, et que ce que disent les comptes rendus."""
    assert principal(["--version"]) == 0
    installee = importlib.metadata.version("fabrique")
    assert capsys.readouterr().out == f"fabrique {installee}\n"
    assert fabrique.__version__ == installee


def test_sans_argument_l_aide_s_affiche(capsys):
    assert principal([]) == 0
    assert "finetune" in capsys.readouterr().out


# ---------------------------------------------------------------- le JSON


def test_machine_en_json_n_imprime_qu_un_objet(capsys):
    assert principal(["machine", "--json"]) == 0
    objet = json.loads(capsys.readouterr().out)
    assert objet["profil"]["nom"] == "poche"
    assert objet["machine"]["coeurs"] >= 1
    assert {"torch", "transformers", "peft"} <= set(objet["machine"]["versions"])


def test_un_echec_en_json_n_imprime_qu_un_objet(capsys, monkeypatch):
    monkeypatch.setenv("FABRIQUE_PROFIL", "enorme")
    assert principal(["machine", "--json"]) == 1
    dit = capsys.readouterr()
    objet = json.loads(dit.out)
    assert set(objet) == CLES
    assert objet["code"] == 1
    assert "« enorme »" in objet["erreur"]
    assert dit.err == ""


def test_un_mauvais_usage_en_json_n_imprime_qu_un_objet(capsys):
    assert principal(["machine", "--json", "--zele"]) == 1
    dit = capsys.readouterr()
    objet = json.loads(dit.out)
    assert set(objet) == CLES
    assert objet["erreur"] == "l’option --zele n’existe pas"
    assert dit.err == ""


def test_une_alerte_se_dit_a_cote_de_l_objet_json(capsys, tmp_path):
    """Un tableau lu en Windows-1252 se signale : avec --json sur la sortie d'erreur, sinon à sa place."""
    tableau = tmp_path / "guichet.csv"
    tableau.write_bytes("instruction;output\nOù payer ?;À la trésorerie.\n".encode("cp1252"))
    for commande in (["jetons", tableau], ["cout", "--dataset", tableau]):
        arguments = [str(argument) for argument in commande]
        assert principal([*arguments, "--json"]) == 0
        dit = capsys.readouterr()
        assert isinstance(json.loads(dit.out), dict)
        assert "1252" in dit.err
        assert principal(arguments) == 0
        assert "1252" in capsys.readouterr().out


def test_la_voix_suit_la_sortie_du_moment(capsys):
    """Une cellule de carnet remplace la sortie : la phrase va dans la sienne, et une seule fois."""
    parler()
    parler()
    with redirect_stdout(io.StringIO()) as cellule:
        logging.getLogger("fabrique.essai").info("100 % lu")
    assert cellule.getvalue() == "100 % lu\n"
    assert capsys.readouterr() == ("", "")


# ---------------------------------------------------------------- les mauvaises entrées

BON = '{"instruction": "Où voter ?", "input": "", "output": "À la mairie."}\n'
SANS_OUTPUT = BON * 16 + '{"instruction": "Et après ?", "input": ""}\n' + BON * 3
#: Un fichier, ce qu'il contient, ce que la phrase doit dire, la ligne annoncée.
FICHIERS = {
    "absent": ("absent.json", None, "fichier introuvable", None),
    "vide": ("vide.json", "", "le fichier est vide", None),
    "coupé": ("coupe.json", f"[\n{BON.strip()},\n{BON[:30]}", "JSON incomplet", 3),
    "colonnes": ("colonnes.jsonl", '{"prompt": "a", "output": "b"}\n', "« instruction » manque", 1),
    "latin-1": ("latin.json", f"[{BON}]".encode("latin-1"), "n’est pas en UTF-8", 1),
    "output": ("manque.jsonl", SANS_OUTPUT, "« output » manque", 17),
    "archive": ("c.jsonl.gz", gzip.compress(BON.encode())[:-5], "archive est incomplète", None),
}


@pytest.mark.parametrize("cas", FICHIERS)
def test_un_mauvais_fichier_est_dit_avec_sa_ligne_et_son_remede(capsys, tmp_path, cas):
    nom, contenu, message, ligne = FICHIERS[cas]
    chemin, sortie = tmp_path / nom, tmp_path / "sortie"
    if contenu is not None:
        chemin.write_bytes(contenu if isinstance(contenu, bytes) else contenu.encode())
    phrase = echouer(capsys, ["finetune", "--dataset", chemin, "--lora_out_dir", sortie])
    lieu = f"{chemin}, ligne {ligne}" if ligne else f"{chemin}"
    assert phrase.startswith(lieu)
    assert message in phrase
    assert phrase.count(". ") >= 1  # la phrase, puis le remède
    # Rien n'est perdu, rien n'est commencé.
    assert not sortie.exists()
    if contenu is not None:
        assert chemin.read_bytes() == (contenu if isinstance(contenu, bytes) else contenu.encode())


def finetune(dossier, corpus, sortie):
    return ["finetune", "--model", dossier, "--dataset", corpus, "--lora_out_dir", sortie]


def test_un_dossier_sans_poids(capsys, tmp_path, fichier_corpus, dossier_petit):
    dossier = tmp_path / "modele"
    shutil.copytree(dossier_petit, dossier)
    (dossier / "model.safetensors").unlink()
    phrase = echouer(capsys, finetune(dossier, fichier_corpus, tmp_path / "s"))
    assert phrase.startswith(str(dossier))
    assert "ne contient pas de poids" in phrase


def test_des_poids_en_pickle(capsys, tmp_path, fichier_corpus, dossier_petit):
    dossier = tmp_path / "modele"
    shutil.copytree(dossier_petit, dossier)
    (dossier / "model.safetensors").rename(dossier / "pytorch_model.bin")
    phrase = echouer(capsys, finetune(dossier, fichier_corpus, tmp_path / "s"))
    assert "pickle" in phrase
    assert "safetensors" in phrase


def test_un_modele_inconnu(capsys, tmp_path, fichier_corpus):
    phrase = echouer(capsys, finetune("falcone-7b", fichier_corpus, tmp_path / "s"))
    assert "« falcone-7b » est inconnu" in phrase
    assert "falcon-poche" in phrase


def test_un_modele_du_hub_hors_ligne_est_une_affaire_de_machine(capsys, tmp_path, fichier_corpus):
    arguments = finetune("falcon-7b-instruct-4bit", fichier_corpus, tmp_path / "s")
    assert "hub est injoignable" in echouer(capsys, arguments, code=2)


def test_un_disque_trop_petit_est_une_affaire_de_machine(
    capsys, tmp_path, fichier_corpus, dossier_petit, monkeypatch
):
    plein = namedtuple("Disque", "total used free")(10**9, 10**9, 1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: plein)
    phrase = echouer(capsys, finetune(dossier_petit, fichier_corpus, tmp_path / "s"), code=2)
    assert "sur le disque" in phrase
    assert "save_total_limit" in phrase


def test_un_autre_apprentissage_dans_le_dossier(capsys, tmp_path, fichier_corpus, dossier_petit):
    arguments = finetune(dossier_petit, fichier_corpus, tmp_path / "s")
    assert principal([str(a) for a in arguments]) == 0
    avant = (tmp_path / "s" / "adapter_model.safetensors").read_bytes()
    assert "autre apprentissage" in echouer(capsys, [*arguments, "--lr", "1e-3"])
    assert (tmp_path / "s" / "adapter_model.safetensors").read_bytes() == avant


def test_des_donnees_personnelles_sont_refusees_sauf_accord(
    capsys, tmp_path, dossier_petit, fichier_corpus
):
    exemples = json.loads(fichier_corpus.read_text(encoding="utf-8"))
    exemples[4]["output"] = "Écrivez à marie.durand@orange.fr."
    corpus = tmp_path / "c.json"
    corpus.write_text(json.dumps(exemples, ensure_ascii=False), encoding="utf-8")
    arguments = finetune(dossier_petit, corpus, tmp_path / "s")
    phrase = echouer(capsys, arguments)
    assert "à l’exemple 5" in phrase
    assert "champ « output »" in phrase
    assert "marie.durand" not in phrase
    assert not (tmp_path / "s").exists()
    assert principal([str(a) for a in arguments] + ["--accepter_donnees_personnelles"]) == 0


@pytest.mark.parametrize(
    "colonne",
    [
        {"id": "paul.mercier@boite-fictive.fr"},
        {"source": "courrier de Mme Petit, 06 39 98 12 34"},
        {"auteur": "paul.mercier@boite-fictive.fr"},
        {"notes": {"suivi": "née le 12 février 1984"}},
    ],
    ids=lambda c: next(iter(c)),
)
def test_une_colonne_qu_on_n_apprend_pas_se_lit_aussi(
    capsys, tmp_path, dossier_petit, fichier_corpus, colonne
):
    """Pour finetune comme pour controler : la donnée est nommée par sa colonne, jamais montrée."""
    exemples = json.loads(fichier_corpus.read_text(encoding="utf-8"))
    exemples[4] |= colonne
    corpus = tmp_path / "c.json"
    corpus.write_text(json.dumps(exemples, ensure_ascii=False), encoding="utf-8")
    phrase = echouer(capsys, finetune(dossier_petit, corpus, tmp_path / "s"))
    assert "à l’exemple 5" in phrase
    assert f"champ « {next(iter(colonne))} »" in phrase
    assert not (tmp_path / "s").exists()
    assert principal(["corpus", "controler", str(corpus)]) == 1
    assert f"personnel.{'naissance' if 'notes' in colonne else ''}" in capsys.readouterr().out


def test_la_comparaison_n_ecrase_pas_un_fichier_d_autrui(
    capsys, tmp_path, dossier_petit, fichier_corpus
):
    """« validation.json » est aussi un nom de corpus : posé là, changé, il reste."""
    arguments = [str(a) for a in finetune(dossier_petit, fichier_corpus, tmp_path / "s")]
    arguments += ["--val_set_size", "3"]
    assert principal(arguments) == 0
    fichier = tmp_path / "s" / "validation.json"
    assert json.loads(fichier.read_text("utf-8"))["avant"] > 0
    fichier.write_text("mes exemples", "utf-8")
    assert principal(arguments) == 0
    assert fichier.read_text("utf-8") == "mes exemples"
    assert "n’est pas de nous" in capsys.readouterr().out


def test_un_adaptateur_absent(capsys, tmp_path, dossier_petit):
    arguments = ["generer", "--model", dossier_petit, "--adaptateur", tmp_path / "rien"]
    assert "introuvable" in echouer(capsys, [*arguments, "--instruction", "Oui ?"])


def test_un_texte_de_preentrainement_absent(capsys, tmp_path):
    arguments = ["preentrainer", "--texte", tmp_path / "absent.txt", "--sortie", tmp_path / "s"]
    assert "fichier introuvable" in echouer(capsys, arguments)


def test_une_option_ne_s_ecrit_qu_une_fois():
    """Même nom et même aide : les commandes partagent la déclaration."""
    source = (RACINE / "fabrique" / "ligne_de_commande.py").read_text("utf-8")
    ecrites = Counter()
    for appel in ast.walk(ast.parse(source)):
        if isinstance(appel, ast.Call) and ast.unparse(appel.func) in ("typer.Option", "_nombre"):
            valeurs = [*appel.args, *(mot.value for mot in appel.keywords if mot.arg == "help")]
            ecrites[tuple(v.value for v in valeurs if isinstance(v, ast.Constant))] += 1
    del ecrites[()]  # les options tirées d’une dataclass
    assert len(ecrites) > 30
    assert [declaration for declaration, fois in ecrites.items() if fois > 1] == []
