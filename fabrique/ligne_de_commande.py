"""La commande ``fabrique`` : des options, des appels, aucune logique."""

from __future__ import annotations

import inspect
import json
import os
import sys
from collections.abc import Callable
from dataclasses import Field, asdict, fields
from functools import wraps
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from fabrique import __version__
from fabrique.entrainement.reglages import Reglages, ReglagesPreentrainement
from fabrique.recherche.reglages_encodeur import ReglagesEncodeur
from fabrique.service.reglages_service import ReglagesService
from fabrique.socle.emplacements import ecrire_signe, verifier_sortie
from fabrique.socle.erreurs import (
    COMPTE,
    DONNEES,
    MACHINE,
    PART,
    QUANTITE,
    RANG,
    ErreurFabrique,
    Nombre,
)
from fabrique.socle.options import refuser
from fabrique.socle.parole import parler

#: Les mots de l'aide que typer écrit en anglais.
TRADUCTIONS = {
    "Usage:": "Emploi :",
    "COMMAND [ARGS]...": "COMMANDE [ARGUMENTS]…",
    "Commands:": "Commandes :",
    "Options:": "Options :",
    "Show this message and exit.": "Affiche cette aide.",
    "[required]": "[obligatoire]",
    "[default:": "[par défaut :",
    "<str>": "<texte>",
    "<int>": "<entier>",
    "<float>": "<nombre>",
    "<path>": "<chemin>",
}


class _AideFrancaise:
    def get_help(self, ctx: Any) -> str:
        texte = super().get_help(ctx)  # type: ignore[misc]  # celui de la classe à côté
        for anglais, francais in TRADUCTIONS.items():
            texte = texte.replace(anglais, francais)
        return texte


class Groupe(_AideFrancaise, TyperGroup):
    """Le groupe ``fabrique``, aide en français."""


class Commande(_AideFrancaise, TyperCommand):
    """Une commande, aide en français."""


application = typer.Typer(
    name="fabrique",
    cls=Groupe,
    help="Fabriquer son propre modèle de langage, en français.",
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _dire_la_version(demandee: bool) -> None:
    if demandee:
        print(f"fabrique {__version__}")
        raise typer.Exit


@application.callback()
def _avant_toute_commande(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_dire_la_version, is_eager=True, help="Dit la version installée."
        ),
    ] = False,
) -> None:
    pass


def _nombre(nom: str, forme: Nombre, aide: str) -> Any:
    """Une option qui attend un nombre : la virgule y vaut un point."""

    def lire(tape: str | float) -> int | float:
        try:
            return forme.lire(str(tape))
        except ValueError:
            raise refuser(tape, f"Donnez {forme}", nom) from None

    return typer.Option(
        nom, help=aide, parser=lire, metavar="<entier>" if forme.entier else "<nombre>"
    )


def _option(champ: Field) -> inspect.Parameter:
    """L'option d'un champ de réglages, telle que typer la lit dans une signature."""
    nom, aide, defaut = _nom(champ), champ.metadata["aide"], champ.default
    forme, lire = champ.metadata["accepte"], champ.metadata["lire"]
    if forme:
        option = _nombre(nom, forme, aide)
    else:
        option = typer.Option(nom, help=aide, parser=lire, metavar="<str>" if lire else None)
    if lire:
        defaut = json.dumps(defaut)  # le défaut d'un texte à lire se montre tel qu'on le taperait
    return inspect.Parameter(
        champ.name,
        inspect.Parameter.KEYWORD_ONLY,
        default=defaut,
        annotation=Annotated[type(defaut), option],
    )


def _nom(champ: Field) -> str:
    return champ.metadata["option"] or f"--{champ.name}"


def _reglee_par(classe: type, *gardes: str) -> Callable:
    """Donne à une commande une option par réglage d'une dataclass.

    typer lit les options d'une commande dans sa signature. On y remplace le paramètre ``reglages``
    par les champs de ``classe`` qui ont une aide ; la commande reçoit sous ce nom ce qui a été tapé,
    par champ. Un réglage refusé porte son nom d'option : « --lr », et non « learning_rate ».

    Args:
        gardes: les seuls champs à proposer ; aucun les propose tous.
    """
    champs = [champ for champ in fields(classe) if champ.metadata.get("aide")]
    if gardes:
        champs = [champ for champ in champs if champ.name in gardes]
    noms = {champ.name: _nom(champ) for champ in champs}

    def regler(commande: Callable) -> Callable:
        @wraps(commande)
        def reglee(**tapes: Any) -> None:
            reglages = {champ: tapes.pop(champ) for champ in noms}
            try:
                commande(reglages=reglages, **tapes)
            except ErreurFabrique as erreur:
                erreur.champ = noms.get(erreur.champ or "", erreur.champ)
                raise

        signature = inspect.signature(commande, eval_str=True)
        parametres = [
            parametre
            for ecrit in signature.parameters.values()
            for parametre in (map(_option, champs) if ecrit.name == "reglages" else [ecrit])
        ]
        # typer lit cet attribut.
        reglee.__signature__ = signature.replace(parameters=parametres)  # type: ignore[attr-defined]
        return reglee

    return regler


# Les options que plusieurs commandes partagent.
Json = Annotated[bool, typer.Option("--json", help="N’imprime qu’un objet JSON.")]
Modele = Annotated[str, typer.Option("--model", help="Nom, dossier ou dépôt.")]
Base = Annotated[str, typer.Option("--model", help="La base, en 16 bits : nom, dossier ou dépôt.")]
Revision = Annotated[str, typer.Option("--revision", help="Empreinte du dépôt.")]
Adaptateur = Annotated[str, typer.Option("--adaptateur", help="Dossier de l’adaptateur.")]
Quantification = Annotated[
    str, typer.Option("--quantification", help="nf4, nf4_simple, fp4, int8, gptq ou aucune.")
]
Corpus = Annotated[str, typer.Option("--dataset", help="Corpus : nom livré ou fichier.")]
Longueur = Annotated[int, _nombre("--max_new_tokens", COMPTE, "Longueur maximale.")]
Calcul = Annotated[
    str, typer.Option("--calcul", help="float32, ou float16 : moitié moins de mémoire.")
]


@application.command(cls=Commande)
def machine(en_json: Json = False) -> None:
    """Décrit la machine, les versions et le profil choisi."""
    from fabrique.machine.materiel import examiner
    from fabrique.machine.profil import choisir_profil, decrire

    vue = examiner()
    profil = choisir_profil(vue)
    if en_json:
        print(json.dumps({"machine": asdict(vue), "profil": asdict(profil)}, ensure_ascii=False))
    else:
        print(decrire(vue, profil))


@application.command(cls=Commande)
@_reglee_par(Reglages)
def finetune(
    *,
    dataset: Corpus,
    lora_out_dir: Annotated[Path, typer.Option("--lora_out_dir", help="Dossier de l’adaptateur.")],
    model: Modele = "falcon-poche",
    weights: Annotated[
        str, typer.Option("--weights", help="Dossier ou dépôt des poids, s’il diffère du modèle.")
    ] = "",
    revision: Revision = "",
    data_type: Annotated[
        str,
        typer.Option("--data_type", help="Forme du corpus : alpaca (instruction, input, output)."),
    ] = "alpaca",
    quantification: Quantification = "nf4",
    reglages: dict,
    accepter_donnees_personnelles: Annotated[
        bool,
        typer.Option(
            "--accepter_donnees_personnelles", help="Apprend même un corpus qui en contient."
        ),
    ] = False,
    mesurer_energie: Annotated[
        bool, typer.Option("--mesurer_energie", help="Relève l’énergie (extension [carbone]).")
    ] = False,
) -> None:
    """Affine un modèle : les options de la commande falcontune de 2023."""
    from fabrique.modeles.catalogue import choisir_poids
    from fabrique.recettes.affinage import affiner

    if data_type != "alpaca":
        raise ErreurFabrique(
            f"la forme « {data_type} » n’est pas lue", "Donnez « alpaca »", champ="--data_type"
        )
    affiner(
        choisir_poids(model, weights),
        dataset,
        lora_out_dir,
        Reglages(**reglages),
        quantification,
        revision or None,
        accepter_donnees_personnelles,
        mesurer_energie,
    )


@application.command(cls=Commande)
def generer(
    instruction: Annotated[str, typer.Option("--instruction", help="La demande.")],
    model: Modele = "falcon-poche",
    revision: Revision = "",
    adaptateur: Adaptateur = "",
    texte: Annotated[str, typer.Option("--input", help="Texte à traiter.")] = "",
    quantification: Quantification = "nf4",
    max_new_tokens: Longueur = 220,
    temperature: Annotated[float, _nombre("--temperature", QUANTITE, "0 : sans tirage.")] = 0.0,
) -> None:
    """Répond à une instruction, au fil de l’eau."""
    from fabrique.modeles.adaptateurs import charger_adaptateur, verifier_adaptateur
    from fabrique.modeles.chargement import charger
    from fabrique.modeles.generation import generer as ecrire

    if adaptateur:
        verifier_adaptateur(adaptateur)
    tokenizer, modele = charger(model, quantification, revision=revision or None, silencieux=True)
    if adaptateur:
        modele = charger_adaptateur(modele, adaptateur)
    ecrire(
        modele,
        tokenizer,
        instruction,
        texte,
        max_new_tokens=max_new_tokens,
        temperature=temperature,
    )


@application.command(cls=Commande)
def repondre(
    index: Annotated[Path, typer.Option("--index", help="Dossier de l’index.")],
    instruction: Annotated[str, typer.Option("--instruction", help="La question.")],
    model: Modele = "falcon-poche",
    revision: Revision = "",
    adaptateur: Adaptateur = "",
    quantification: Quantification = "nf4",
    fausses_reponses: Annotated[
        float,
        _nombre(
            "--fausses_reponses",
            Nombre(au_moins=0, exemple="0,15"),
            "Part acceptée de questions sans réponse auxquelles répondre quand même ; 1 : toutes.",
        ),
    ] = 0.15,
    montres: Annotated[int, _nombre("--montres", COMPTE, "Passages montrés au modèle.")] = 3,
    en_json: Json = False,
) -> None:
    """Répond en citant mot pour mot les fiches d’un index, ou dit pourquoi elle s’abstient."""
    from fabrique.recettes.reponse_sourcee import repondre_d_apres
    from fabrique.recherche.affichage_reponse import en_terminal

    reponse = repondre_d_apres(
        index,
        instruction,
        model,
        adaptateur,
        quantification,
        revision or None,
        fausses_reponses=fausses_reponses,
        montres=montres,
    )
    if en_json:
        print(json.dumps(reponse.contrat(), ensure_ascii=False))
    else:
        en_terminal(reponse)


@application.command(cls=Commande)
def evaluer(
    adaptateur: Adaptateur = "",
    dataset: Corpus = "",
    model: Modele = "falcon-poche",
    revision: Revision = "",
    quantification: Quantification = "nf4",
    rapport: Annotated[
        str, typer.Option("--rapport", help="Page .html à écrire ; .evaluation.json et .md à côté.")
    ] = "",
    questions: Annotated[int, _nombre("--questions", COMPTE, "Questions posées, au plus.")] = 200,
    exemples: Annotated[
        int, _nombre("--exemples", RANG, "Exemples montrés à la base, en plus ; 0 : aucun.")
    ] = 3,
    general: Annotated[
        str, typer.Option("--general", help="Corpus où chercher l’oubli ; vide : aucun.")
    ] = "encyclopedie",
    format: Annotated[
        list[str] | None,
        typer.Option("--format", help="Expression qu’une réponse doit contenir ; à répéter."),
    ] = None,
    max_new_tokens: Longueur = 220,
    courbe: Annotated[
        str,
        typer.Option(
            "--courbe", help="Dossier où réapprendre 50, 100, 200… exemples ; vide : rien."
        ),
    ] = "",
    rapports: Annotated[
        tuple[str, str],
        typer.Option("--comparer", help="Deux .evaluation.json : compare leurs modèles affinés."),
    ] = ("", ""),
    en_json: Json = False,
) -> None:
    """Compare un modèle à sa base, avec intervalles ; ou compare deux rapports."""
    from fabrique.evaluation import epreuve, journal, rapport as page

    if all(rapports):
        ecarts = epreuve.comparer_rapports(*rapports)
        resultat = {"mesures": [ecart.en_dictionnaire() for ecart in ecarts]}
        print(json.dumps(resultat, ensure_ascii=False) if en_json else page.resumer(ecarts))
        return
    for nom, valeur in (("adaptateur", adaptateur), ("dataset", dataset)):
        if not valeur:
            raise ErreurFabrique(
                f"l’option --{nom} est obligatoire",
                "Donnez-la, ou --comparer A.json B.json",
                champ=nom,
            )
    sortie = Path(rapport) if rapport else None
    if sortie:
        page.verifier(sortie, dataset, *epreuve.fichiers_de_l_adaptateur(adaptateur))
    with journal.ouvrir(sortie and page.journal_de(sortie)) as garde:
        fait = epreuve.mettre_a_l_epreuve(
            model,
            adaptateur,
            dataset,
            quantification=quantification,
            revision=revision or None,
            montres=exemples,
            general=general,
            questions=questions,
            parties=format or (),
            max_new_tokens=max_new_tokens,
            courbe=courbe,
            journal=garde,
        )
        if sortie:
            page.ecrire(fait, sortie)
    if en_json:
        print(json.dumps(fait.contrat(), ensure_ascii=False))
    else:
        print(page.resumer(fait.ecarts, fait.duree_s))


@application.command(cls=Commande)
@_reglee_par(ReglagesPreentrainement)
def preentrainer(
    *,
    texte: Annotated[
        list[str],
        typer.Option("--texte", help="fichier.txt ou .jsonl[.gz], suivi de :part_debut:part_fin."),
    ],
    sortie: Annotated[Path, typer.Option("--sortie", help="Dossier de travail et du modèle.")],
    questions: Annotated[
        list[str],
        typer.Option("--questions", help="Comme --texte : titres et réponses courtes seulement."),
    ] = [],  # noqa: B006 (typer lit ce défaut, personne ne le change)
    reglages: dict,
    depart: Annotated[str, typer.Option("--depart", help="Modèle à prolonger.")] = "",
    compiler: Annotated[
        bool, typer.Option("--compiler", help="torch.compile : plus rapide, demande g++.")
    ] = False,
) -> None:
    """Préentraîne un petit Falcon sur vos textes ; relancée, la commande reprend."""
    from fabrique.entrainement.preentrainement import lire_source, preentrainer

    dossier = preentrainer(
        [
            *(lire_source(description) for description in texte),
            *(lire_source(description, questions=True) for description in questions),
        ],
        sortie,
        ReglagesPreentrainement(**reglages),
        depart=Path(depart) if depart else None,
        compiler=compiler,
    )
    print(f"Modèle écrit dans {dossier}.")


@application.command(cls=Commande)
def jetons(
    fichier: Annotated[
        str, typer.Argument(help="Fichier de texte, corpus, ou nom d’un corpus livré.")
    ] = "",
    tokenizer: Annotated[
        list[str],
        typer.Option("--tokenizer", help="Nom, dossier ou compte/modele@empreinte ; à répéter."),
    ] = ["falcon-poche"],  # noqa: B006 (typer lit ce défaut, personne ne le change)
    prix: Annotated[
        float | None, _nombre("--prix", QUANTITE, "Euros par million de jetons.")
    ] = None,
    contexte: Annotated[
        int | None, _nombre("--contexte", COMPTE, "Fenêtre du modèle, en jetons.")
    ] = None,
    texte: Annotated[
        str | None, typer.Option("--texte", help="Texte à couper sous vos yeux.")
    ] = None,
    identifiants: Annotated[
        bool, typer.Option("--identifiants", help="Montre le numéro de chaque jeton.")
    ] = False,
    en_json: Json = False,
) -> None:
    """Compte les jetons d’un texte ou d’un corpus, par tokenizer ; dit ce qu’ils coûtent."""
    from fabrique.jetons import compte as rapport

    examen = rapport.examiner(fichier, tokenizer, prix, contexte, texte)
    if en_json:
        print(json.dumps(rapport.en_dictionnaire(examen), ensure_ascii=False))
    else:
        print(rapport.en_tableau(examen, sys.stdout.isatty(), identifiants))


@application.command(cls=Commande)
def fusionner(
    adaptateur: Adaptateur,
    sortie: Annotated[Path, typer.Option("--sortie", help="Dossier à créer.")],
    model: Base = "falcon-poche",
    revision: Revision = "",
    calcul: Calcul = "float32",
) -> None:
    """Fusionne un adaptateur dans les poids 16 bits de sa base, et vérifie le résultat."""
    from fabrique.service import fusion

    print(fusion.fusionner(model, adaptateur, sortie, revision or None, calcul))


@application.command(cls=Commande)
def exporter(
    sortie: Annotated[Path, typer.Option("--sortie", help="Dossier où écrire.")],
    model: Base = "falcon-poche",
    adaptateur: Annotated[
        str, typer.Option("--adaptateur", help="Dossier d’un adaptateur à fusionner d’abord.")
    ] = "",
    revision: Revision = "",
    format: Annotated[str, typer.Option("--format", help="gguf.")] = "gguf",
    type: Annotated[
        str, typer.Option("--type", help="f32, f16, bf16, q8_0, q5_1, q5_0, q4_1 ou q4_0.")
    ] = "q8_0",
    calcul: Calcul = "float32",
) -> None:
    """Écrit un modèle pour llama.cpp et Ollama, avec son Modelfile, et vérifie ce qui est écrit."""
    from fabrique.service.export import exporter_gguf

    if format != "gguf":
        raise ErreurFabrique(
            f"le format « {format} » ne s’écrit pas", "Donnez « gguf »", champ="--format"
        )
    print(exporter_gguf(model, sortie, type, adaptateur or None, revision or None, calcul))


@application.command(cls=Commande)
@_reglee_par(ReglagesService)
def servir(
    *,
    model: Modele = "falcon-poche",
    revision: Revision = "",
    adaptateur: Annotated[
        list[str],
        typer.Option(
            "--adaptateur", help="Dossier d’un adaptateur, servi sous ce nom ; à répéter."
        ),
    ] = [],  # noqa: B006 (typer lit ce défaut, personne ne le change)
    quantification: Quantification = "nf4",
    cle: Annotated[
        str, typer.Option("--cle", help="Clé demandée aux clients ; ou la variable FABRIQUE_CLE.")
    ] = "",
    index: Annotated[
        Path | None, typer.Option("--index", help="Dossier d’un index : les réponses le citent.")
    ] = None,
    reglages: dict,
    accepter_donnees_personnelles: Annotated[
        bool,
        typer.Option(
            "--accepter_donnees_personnelles", help="Affine même un fichier qui en contient."
        ),
    ] = False,
) -> None:
    """Sert un modèle et ses adaptateurs, et affine, à la façon de l’API d’OpenAI."""
    from fabrique.service.ouverture import ouvrir
    from fabrique.service.reglages_service import Cle

    ouvrir(
        model,
        adaptateur,
        ReglagesService(**reglages),
        Cle(cle or os.environ.get("FABRIQUE_CLE", "")),
        quantification,
        revision or None,
        accepter_donnees_personnelles,
        index,
    )


@application.command(cls=Commande)
@_reglee_par(
    Reglages, "epochs", "mbatch_size", "cutoff_len", "lora_r", "target_modules", "recalcul"
)
def cout(
    *,
    dataset: Corpus = "",
    jetons: Annotated[
        int | None, _nombre("--jetons", COMPTE, "Jetons par époque, sans corpus.")
    ] = None,
    model: Modele = "falcon-7b-instruct",
    machine: Annotated[str, typer.Option("--machine", help="t4, l4, a100, h100 ou cpu.")] = "t4",
    prix_heure: Annotated[
        float | None, _nombre("--prix_heure", QUANTITE, "Euros par heure de machine.")
    ] = None,
    reglages: dict,
    prix_api: Annotated[
        float | None,
        _nombre("--prix_api", QUANTITE, "API : prix d’apprentissage des 1 000 jetons."),
    ] = None,
    prix_reponse: Annotated[
        float | None, _nombre("--prix_reponse", QUANTITE, "API : prix d’emploi des 1 000 jetons.")
    ] = None,
    jetons_reponse: Annotated[
        int, _nombre("--jetons_reponse", RANG, "API : jetons lus et écrits à l’emploi.")
    ] = 1_000_000,
    rapport: Annotated[
        str, typer.Option("--rapport", help="rapport.json d’un apprentissage, à comparer.")
    ] = "",
    en_json: Json = False,
) -> None:
    """Estime un apprentissage : jetons, mémoire, minutes, euros, kWh, CO₂ ; et le prix d’une API."""
    from fabrique.recettes import cout as estimation

    # Le coût se compte un lot à la fois.
    appris = Reglages(**reglages, batch_size=reglages["mbatch_size"])
    vue = estimation.estimer(model, machine, appris, dataset, jetons, prix_heure)
    api = estimation.prix_des_api(vue, prix_api, prix_reponse, jetons_reponse)
    if en_json:
        print(json.dumps(estimation.en_dictionnaire(vue, api), ensure_ascii=False))
        return
    print(estimation.en_tableau(vue, api))
    if rapport:
        print(estimation.confronter(vue, rapport))


corpus = typer.Typer(
    cls=Groupe,
    help="Contrôler, convertir, répartir, pseudonymiser un corpus.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
application.add_typer(corpus, name="corpus")
Entree = Annotated[str, typer.Argument(help="Corpus : nom livré ou fichier.")]
Sortie = Annotated[Path, typer.Argument(help="Fichier à écrire (.json ou .jsonl).")]
Ecraser = Annotated[
    bool, typer.Option("--ecraser", help="Remplace un fichier que FabriqueLLM n’a pas écrit.")
]


@corpus.command(cls=Commande)
def controler(
    fichier: Entree,
    tokenizer: Annotated[
        str, typer.Option("--tokenizer", help="Modèle dont on compte les jetons.")
    ] = "falcon-poche",
    max_length: Annotated[int, _nombre("--max_length", COMPTE, "Jetons par exemple.")] = 512,
    evaluation: Annotated[
        str, typer.Option("--evaluation", help="Corpus d’évaluation à ne pas contenir.")
    ] = "",
    page: Annotated[
        str, typer.Option("--html", help="Écrit aussi le rapport dans ce fichier.")
    ] = "",
    en_json: Json = False,
) -> None:
    """Dit tout ce qu’il y a à corriger dans un corpus ; code 1 s’il y a des erreurs."""
    from fabrique.corpus import compte_rendu as rapport
    from fabrique.corpus.controle import controler as examiner
    from fabrique.modeles.tokenizer import charger_tokenizer

    if page:
        verifier_sortie(page, fichier, *filter(None, [evaluation]))
    controle = examiner(fichier, charger_tokenizer(tokenizer), max_length, evaluation or None)
    if page:
        ecrire_signe(Path(page), rapport.en_page(controle))
    if en_json:
        print(json.dumps(controle.en_dictionnaire(), ensure_ascii=False))
    else:
        print(rapport.resumer(controle))
    if controle.erreurs:
        raise typer.Exit(DONNEES)


@corpus.command(cls=Commande)
def convertir(
    entree: Entree,
    sortie: Sortie,
    format: Annotated[str, typer.Option("--format", help="alpaca, messages ou openai.")],
    sans_metadonnees: Annotated[
        bool, typer.Option("--sans_metadonnees", help="Laisse langue, catégorie, source… de côté.")
    ] = False,
    ecraser: Ecraser = False,
) -> None:
    """Convertit un corpus sans rien perdre, ou dit pourquoi c’est impossible."""
    from fabrique.corpus.conversion import convertir_fichier

    nombre = convertir_fichier(entree, sortie, format, sans_metadonnees, ecraser)
    print(f"{nombre} exemples écrits dans {sortie}.")


@corpus.command(cls=Commande)
def repartir(
    entree: Entree,
    sortie: Annotated[Path, typer.Argument(help="Fichier à écrire (.jsonl).")],
    validation: Annotated[float, _nombre("--validation", PART, "Part de validation.")] = 0.1,
    test: Annotated[float, _nombre("--test", PART, "Part de test.")] = 0.1,
    graine: Annotated[int, _nombre("--graine", RANG, "Graine du hasard.")] = 42,
    refaire: Annotated[
        bool, typer.Option("--refaire", help="Oublie les jeux déjà écrits et répartit tout.")
    ] = False,
    ecraser: Ecraser = False,
) -> None:
    """Retire les doublons exacts et répartit le reste en trois jeux, par catégorie."""
    from fabrique.corpus.preparation import preparer_corpus

    verifier_sortie(sortie, entree, ecraser=ecraser)
    print(preparer_corpus(entree, sortie, validation, test, graine, refaire))


@corpus.command(cls=Commande)
def pseudonymiser(entree: Entree, sortie: Sortie, ecraser: Ecraser = False) -> None:
    """Remplace les données personnelles, toujours de la même façon, et les compte."""
    from fabrique.corpus.preparation import pseudonymiser_fichier
    from fabrique.socle.nombres import accorder

    verifier_sortie(sortie, entree, ecraser=ecraser)
    nombre, comptes = pseudonymiser_fichier(entree, sortie)
    for regle, remplaces in sorted(comptes.items()):
        print(f"{remplaces:6d}  {regle.removeprefix('personnel.')}")
    ecrits = accorder(nombre, "exemple écrit", "exemples écrits")
    print(f"{accorder(sum(comptes.values()), 'remplacement')}, {ecrits} dans {sortie}.")


sources = typer.Typer(
    cls=Groupe,
    help="Indexer des fiches où chercher, et apprendre à les chercher.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
application.add_typer(sources, name="sources")
Fiches = Annotated[list[str], typer.Argument(help="Fiches : noms livrés ou fichiers.")]


@sources.command(cls=Commande)
def indexer(
    fichiers: Fiches,
    sortie: Annotated[Path, typer.Option("--sortie", help="Dossier de l’index.")],
    sens: Annotated[
        str,
        typer.Option("--sens", help="Encodeur : poche, e5, aucun, ou son dossier."),
    ] = "poche",
    en_json: Json = False,
) -> None:
    """Coupe des fiches en passages et les indexe, par mots et par sens."""
    from fabrique.recherche.indexation import indexer as construire

    fait = construire(fichiers, sortie, sens)
    print(json.dumps(fait.en_dictionnaire(), ensure_ascii=False) if en_json else fait)


@sources.command(cls=Commande)
@_reglee_par(ReglagesEncodeur)
def encodeur(
    *,
    fichiers: Fiches,
    sortie: Annotated[Path, typer.Option("--sortie", help="Dossier de l’encodeur, à créer.")],
    reglages: dict,
) -> None:
    """Entraîne un encodeur sur vos fiches ; « sources indexer --sens » l’emploie."""
    from fabrique.recherche.encodeur import entrainer_encodeur

    print(entrainer_encodeur(fichiers, sortie, ReglagesEncodeur(**reglages)))


@application.command(cls=Commande)
def demo(
    sortie: Annotated[Path, typer.Option("--sortie", help="Dossier du rapport.")] = Path(
        "sorties/demo"
    ),
) -> None:
    """Affine le Falcon de poche en 4 bits et montre ce que cela change."""
    from fabrique.recettes.demo import demontrer

    demontrer(sortie)


atelier = typer.Typer(
    cls=Groupe,
    help="Préparer une salle : vérifier une machine, emporter le cours sur une clé.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
application.add_typer(atelier, name="atelier")


@atelier.command(cls=Commande)
def verifier(
    hors_ligne: Annotated[
        bool, typer.Option("--hors_ligne", help="La salle n’aura pas de réseau, c’est prévu.")
    ] = False,
    en_json: Json = False,
) -> None:
    """Dit si cette machine est prête pour l’atelier ; code 2 s’il y a à corriger."""
    from fabrique.cours.atelier import verification

    constats = []
    for constat in verification.verifier(hors_ligne):
        constats.append(constat)
        if not en_json:
            print(constat, flush=True)
    if en_json:
        print(json.dumps(verification.en_dictionnaire(constats), ensure_ascii=False))
    else:
        print(verification.bilan(constats))
    if not all(constat.bon for constat in constats):
        raise typer.Exit(MACHINE)


@atelier.command(cls=Commande)
def kit(
    dossier: Annotated[Path, typer.Argument(help="Dossier à écrire : clé, partage.")],
    plateforme: Annotated[
        list[str], typer.Option("--plateforme", help="linux, windows ou macos ; à répéter.")
    ] = ["linux", "windows", "macos"],  # noqa: B006 (typer lit ce défaut, personne ne le change)
    python: Annotated[
        list[str], typer.Option("--python", help="3.11, 3.12 ou 3.13 ; à répéter.")
    ] = ["3.11", "3.12", "3.13"],  # noqa: B006
) -> None:
    """Réunit tout le cours dans un dossier, pour l’installer ensuite sans réseau."""
    from fabrique.cours.atelier.kit import construire
    from fabrique.socle.nombres import en_go

    taille = construire(dossier, plateforme, python)
    print(f"Kit écrit dans {dossier} : {en_go(taille)}. Mode d’emploi : LISEZMOI.txt.")


def principal(arguments: list[str] | None = None) -> int:
    """Lance la commande et rend son code de sortie : 0 fait, 1 à corriger, 2 machine."""
    arguments = sys.argv[1:] if arguments is None else arguments
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    parler("stderr" if "--json" in arguments else "stdout")
    try:
        # Une commande qui finit par typer.Exit fait rendre son code ; les autres ne rendent rien.
        return application(args=arguments or ["--help"], standalone_mode=False) or 0
    except ErreurFabrique as erreur:
        return _echouer(erreur, "--json" in arguments)
    except typer.Exit as sortie:
        return sortie.exit_code
    except (typer.Abort, KeyboardInterrupt):
        return _echouer(ErreurFabrique("commande interrompue", "Relancez-la"), False)
    except OSError as cause:
        refus = ErreurFabrique(
            f"le disque ou le système refuse l’opération ({cause.strerror or cause})",
            "Vérifiez la place libre et les droits",
            cause.filename,
            code=MACHINE,
        )
        return _echouer(refus, "--json" in arguments)
    except Exception as cause:
        usage = _usage(cause)
        if usage is None:
            raise
        return _echouer(usage, "--json" in arguments)


def _usage(cause: Exception) -> ErreurFabrique | None:
    """Traduit une erreur d'usage de typer ; None si c'en est une autre."""
    noms = {classe.__name__ for classe in type(cause).__mro__}
    if "UsageError" not in noms:
        return None
    option = (
        getattr(cause, "option_name", None)
        or getattr(getattr(cause, "param", None), "opts", [""])[0]
    )
    if "NoSuchOption" in noms:
        message = f"l’option {option} n’existe pas"
    elif "MissingParameter" in noms:
        message = f"l’option {option} est obligatoire"
    elif "BadParameter" in noms:
        message = f"la valeur de l’option {option} ne convient pas"
    else:
        message = "la commande ou ses options ne sont pas comprises"
    return ErreurFabrique(message, "Tapez « fabrique --help » ou « fabrique COMMANDE --help »")


def _echouer(erreur: ErreurFabrique, en_json: bool) -> int:
    if en_json:
        print(json.dumps(erreur.en_dictionnaire(), ensure_ascii=False))
    else:
        print(str(erreur), file=sys.stderr)
    return erreur.code


def main() -> None:
    """Point d'entrée installé : ``fabrique``."""
    sys.exit(principal())


if __name__ == "__main__":
    main()
