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
from fabrique.corpus.documents.blocs import ReglagesLecture
from fabrique.entrainement.reglages import Reglages, ReglagesPreentrainement
from fabrique.entrainement.reglages_classement import (
    METHODES,
    ReglagesClassement,
    ReglagesDistillation,
)
from fabrique.entrainement.reglages_preferences import ReglagesPreferences
from fabrique.entrainement.reglages_prolongement import ReglagesProlongement
from fabrique.evaluation.reglages_epreuve import ReglagesEpreuve
from fabrique.recettes.reglages_entites import ReglagesEntites
from fabrique.recettes.reglages_synthese import ReglagesSynthese
from fabrique.recettes.sans_code.reglages_page import ReglagesPage
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


def _reglee_par(classe: type, *gardes: str, sous: str = "reglages") -> Callable:
    """Donne à une commande une option par réglage d'une dataclass.

    typer lit les options d'une commande dans sa signature. On y remplace le paramètre ``sous``
    par les champs de ``classe`` qui ont une aide ; la commande reçoit sous ce nom ce qui a été tapé,
    par champ. Un réglage refusé porte son nom d'option : « --lr », et non « learning_rate ».

    Args:
        gardes: les seuls champs à proposer ; aucun les propose tous.
        sous: le paramètre de la commande qui reçoit ces réglages.
    """
    champs = [champ for champ in fields(classe) if champ.metadata.get("aide")]
    if gardes:
        champs = [champ for champ in champs if champ.name in gardes]
    noms = {champ.name: _nom(champ) for champ in champs}

    def regler(commande: Callable) -> Callable:
        @wraps(commande)
        def reglee(**tapes: Any) -> None:
            tapes[sous] = {champ: tapes.pop(champ) for champ in noms}
            try:
                commande(**tapes)
            except ErreurFabrique as erreur:
                erreur.champ = noms.get(erreur.champ or "", erreur.champ)
                raise

        signature = inspect.signature(commande, eval_str=True)
        parametres = [
            parametre
            for ecrit in signature.parameters.values()
            for parametre in (map(_option, champs) if ecrit.name == sous else [ecrit])
        ]
        # typer lit cet attribut.
        reglee.__signature__ = signature.replace(parameters=parametres)  # type: ignore[attr-defined]
        return reglee

    return regler


def _tapes(contexte: typer.Context, valeurs: dict) -> dict:
    """Parmi des paramètres, ceux que la personne a donnés."""
    return {
        nom: valeur
        for nom, valeur in valeurs.items()
        if getattr(contexte.get_parameter_source(nom), "name", "DEFAULT") != "DEFAULT"
    }


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


def _montrer(resultat: Any) -> None:
    """Imprime un résultat : un dictionnaire en JSON, le reste tel qu'il s'affiche."""
    en_json = isinstance(resultat, dict)
    print(json.dumps(resultat, ensure_ascii=False) if en_json else resultat)


@application.command(cls=Commande)
def machine(en_json: Json = False) -> None:
    """Décrit la machine, les versions et le profil choisi."""
    from fabrique.machine.materiel import examiner
    from fabrique.machine.profil import choisir_profil, decrire

    vue = examiner()
    profil = choisir_profil(vue)
    _montrer(
        {"machine": asdict(vue), "profil": asdict(profil)} if en_json else decrire(vue, profil)
    )


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
    suivre_la_validation: Annotated[
        bool,
        typer.Option("--suivre_la_validation", help="Mesure sa perte à chaque relevé."),
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
        suivre_la_validation,
    )


@application.command(cls=Commande)
@_reglee_par(ReglagesPreferences)
def preferer(
    *,
    dataset: Corpus,
    sortie: Annotated[Path, typer.Option("--sortie", help="Dossier du nouvel adaptateur.")],
    model: Modele = "falcon-poche",
    revision: Revision = "",
    adaptateur: Annotated[
        str, typer.Option("--adaptateur", help="D’où l’on part ; vide : la base.")
    ] = "",
    quantification: Quantification = "nf4",
    reglages: dict,
    accepter_donnees_personnelles: Annotated[
        bool,
        typer.Option(
            "--accepter_donnees_personnelles",
            help="Apprend même des préférences qui en contiennent.",
        ),
    ] = False,
) -> None:
    """Apprend de préférences entre réponses ; l’ancien adaptateur reste, on peut y revenir."""
    from fabrique.recettes.preferer import preferer as apprendre

    apprendre(
        model,
        dataset,
        sortie,
        ReglagesPreferences(**reglages),
        adaptateur,
        quantification,
        revision or None,
        accepter_donnees_personnelles,
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
    schema: Annotated[
        Path | None,
        typer.Option("--schema", help="Schéma JSON (.json) que la réponse suit, à coup sûr."),
    ] = None,
    choix: Annotated[
        list[str],
        typer.Option("--choix", help="Une des réponses permises ; à répéter."),
    ] = [],  # noqa: B006 (typer lit ce défaut, personne ne le change)
    motif: Annotated[
        str, typer.Option("--motif", help="Expression régulière que la réponse suit en entier.")
    ] = "",
) -> None:
    """Répond à une instruction, au fil de l’eau."""
    from fabrique.modeles.adaptateurs import charger_adaptateur, verifier_adaptateur
    from fabrique.modeles.chargement import charger
    from fabrique.modeles.formes import grammaire_de_la_forme, lire_schema
    from fabrique.modeles.generation import generer as ecrire

    grammaire = grammaire_de_la_forme(lire_schema(schema) if schema else None, choix, motif)
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
        grammaire=grammaire,
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
        _montrer(reponse.contrat())
    else:
        en_terminal(reponse)


@application.command(cls=Commande)
@_reglee_par(ReglagesEpreuve)
def evaluer(
    adaptateur: Adaptateur = "",
    dataset: Corpus = "",
    model: Modele = "falcon-poche",
    revision: Revision = "",
    quantification: Quantification = "nf4",
    rapport: Annotated[
        str, typer.Option("--rapport", help="Page .html à écrire ; .evaluation.json et .md à côté.")
    ] = "",
    *,
    reglages: dict,
    format: Annotated[
        list[str] | None,
        typer.Option("--format", help="Expression qu’une réponse doit contenir ; à répéter."),
    ] = None,
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
        _montrer(resultat if en_json else page.resumer(ecarts))
        return
    for nom, valeur in (("adaptateur", adaptateur), ("dataset", dataset)):
        if not valeur:
            raise ErreurFabrique(
                f"l’option --{nom} est obligatoire",
                "Donnez-la, ou --comparer A.json B.json",
                champ=nom,
            )
    choisis = ReglagesEpreuve(**reglages, parties=format or ())
    sortie = Path(rapport) if rapport else None
    if sortie:
        page.verifier(sortie, dataset, *epreuve.fichiers_de_l_adaptateur(adaptateur))
    with journal.ouvrir(sortie and page.journal_de(sortie)) as garde:
        fait = epreuve.mettre_a_l_epreuve(
            model,
            adaptateur,
            dataset,
            choisis,
            quantification=quantification,
            revision=revision or None,
            journal=garde,
        )
        if sortie:
            page.ecrire(fait, sortie)
    _montrer(fait.contrat() if en_json else page.resumer(fait.ecarts, fait.duree_s, fait.sources))


@application.command(cls=Commande)
@_reglee_par(ReglagesPreentrainement)
@_reglee_par(ReglagesProlongement, sous="prolongement")
def preentrainer(
    contexte: typer.Context,
    *,
    texte: Annotated[
        list[str],
        typer.Option(
            "--texte",
            help="Fichier .txt, .jsonl[.gz] ou .parquet, ou dossier, suivi de "
            ":part_debut:part_fin pour un modèle neuf ; à répéter, le meilleur en dernier.",
        ),
    ],
    sortie: Annotated[Path, typer.Option("--sortie", help="Dossier de travail et du modèle.")],
    questions: Annotated[
        list[str],
        typer.Option("--questions", help="Comme --texte : titres et réponses courtes seulement."),
    ] = [],  # noqa: B006 (typer lit ce défaut, personne ne le change)
    reglages: dict,
    depart: Annotated[
        str, typer.Option("--depart", help="Falcon de poche à prolonger, par la boucle d’un neuf.")
    ] = "",
    compiler: Annotated[
        bool, typer.Option("--compiler", help="torch.compile : plus rapide, demande g++.")
    ] = False,
    model: Annotated[
        str, typer.Option("--model", help="Modèle à prolonger : nom, dossier ou dépôt.")
    ] = "",
    revision: Revision = "",
    general: Annotated[
        str, typer.Option("--general", help="Avec --model : textes où chercher l’oubli.")
    ] = "encyclopedie",
    prolongement: dict,
    accepter_donnees_personnelles: Annotated[
        bool,
        typer.Option(
            "--accepter_donnees_personnelles", help="Lit même des textes qui en contiennent."
        ),
    ] = False,
) -> None:
    """Préentraîne un petit Falcon, ou prolonge un modèle (--model) ; relancée, elle reprend."""
    from fabrique.entrainement.preentrainement import preentrainer
    from fabrique.entrainement.textes import lire_source
    from fabrique.recettes.domaine import lire_un_domaine, verifier_les_personnes

    sources = [
        *(lire_source(description) for description in texte),
        *(lire_source(description, questions=True) for description in questions),
    ]
    if model:
        propres = {"questions": questions, "depart": depart, "compiler": compiler}
        tapes = _tapes(contexte, {**reglages, **propres})
        choisis = ReglagesProlongement.d_apres(prolongement, tapes)
        lire_un_domaine(
            model,
            sources,
            sortie,
            choisis,
            general,
            revision or None,
            accepter_donnees_personnelles,
        )
        return
    for nom in _tapes(contexte, {**prolongement, "revision": revision, "general": general}):
        raise ErreurFabrique(
            f"l’option --{nom} ne va qu’avec --model", "Donnez le modèle à prolonger", champ=nom
        )
    if not accepter_donnees_personnelles:
        verifier_les_personnes(sources, sortie)
    dossier = preentrainer(
        sources,
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
    tableau = rapport.en_tableau(examen, sys.stdout.isatty(), identifiants)
    _montrer(rapport.en_dictionnaire(examen) if en_json else tableau)


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
    classifieur: Annotated[
        list[Path],
        typer.Option(
            "--classifieur", help="Dossier d’un classifieur, servi sous ce nom ; à répéter."
        ),
    ] = [],  # noqa: B006 (typer lit ce défaut, personne ne le change)
    reglages: dict,
    accepter_donnees_personnelles: Annotated[
        bool,
        typer.Option(
            "--accepter_donnees_personnelles", help="Affine même un fichier qui en contient."
        ),
    ] = False,
) -> None:
    """Sert un modèle et ses adaptateurs, et affine, à la façon de l’API d’OpenAI."""
    from fabrique.recettes.classement import relire_par_leur_nom
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
        relire_par_leur_nom(classifieur),
    )


@application.command(cls=Commande)
@_reglee_par(ReglagesPage)
def page(
    *,
    reglages: dict,
    cle: Annotated[
        str, typer.Option("--cle", help="Mot de passe de la page ; ou la variable FABRIQUE_CLE.")
    ] = "",
) -> None:
    """Ouvre, dans le navigateur, toute la chaîne sans code : du document au modèle servi."""
    from fabrique.recettes.sans_code.ouverture_page import ouvrir_la_page
    from fabrique.service.reglages_service import Cle

    ouvrir_la_page(ReglagesPage(**reglages), Cle(cle or os.environ.get("FABRIQUE_CLE", "")))


@application.command(cls=Commande)
@_reglee_par(
    Reglages, "epochs", "mbatch_size", "cutoff_len", "lora_r", "target_modules", "recalcul"
)
def cout(
    contexte: typer.Context,
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
    preentrainement: Annotated[
        str, typer.Option("--preentrainement", help="Estime une lecture : lora, ou complet.")
    ] = "",
    texte_go: Annotated[
        float | None,
        _nombre("--texte_go", QUANTITE, "Lecture : Go de texte français, au lieu de --jetons."),
    ] = None,
    cartes: Annotated[int, _nombre("--cartes", COMPTE, "Lecture : nombre de cartes.")] = 1,
    budget: Annotated[
        float | None, _nombre("--budget", QUANTITE, "Lecture : ce que l’on peut payer.")
    ] = None,
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
    from fabrique.recettes import cout as estimation, cout_preentrainement as lecture

    if preentrainement:
        nuit = lecture.estimer_la_commande(
            model,
            machine,
            preentrainement,
            _tapes(contexte, reglages),
            jetons,
            texte_go,
            cartes,
            prix_heure,
        )
        ecrire = lecture.en_dictionnaire if en_json else lecture.en_tableau
        _montrer(ecrire(nuit, budget))
        return
    # Le coût se compte un lot à la fois.
    appris = Reglages(**reglages, batch_size=reglages["mbatch_size"])
    vue = estimation.estimer(model, machine, appris, dataset, jetons, prix_heure)
    api = estimation.prix_des_api(vue, prix_api, prix_reponse, jetons_reponse)
    if en_json:
        _montrer(estimation.en_dictionnaire(vue, api))
        return
    print(estimation.en_tableau(vue, api))
    if rapport:
        print(estimation.confronter(vue, rapport))


def _sous_groupe(nom: str, aide: str) -> typer.Typer:
    """Des commandes réunies sous un même nom."""
    groupe = typer.Typer(cls=Groupe, help=aide, no_args_is_help=True, rich_markup_mode=None)
    application.add_typer(groupe, name=nom)
    return groupe


corpus = _sous_groupe("corpus", "Contrôler, convertir, répartir, pseudonymiser un corpus.")
Entree = Annotated[str, typer.Argument(help="Corpus : nom livré ou fichier.")]
Sortie = Annotated[Path, typer.Argument(help="Fichier à écrire (.json ou .jsonl).")]
Noms = Annotated[
    str,
    typer.Option(
        "--noms",
        help="Cherche aussi les noms de personnes : regles, spacy, ou le dossier d’un modèle.",
    ),
]
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
    noms: Noms = "",
    en_json: Json = False,
) -> None:
    """Dit tout ce qu’il y a à corriger dans un corpus ; code 1 s’il y a des erreurs."""
    from fabrique.corpus import compte_rendu as rapport
    from fabrique.corpus.controle import controler as examiner
    from fabrique.modeles.tokenizer import charger_tokenizer

    if page:
        verifier_sortie(page, fichier, *filter(None, [evaluation]))
    controle = examiner(
        fichier, charger_tokenizer(tokenizer), max_length, evaluation or None, noms=noms
    )
    if page:
        ecrire_signe(Path(page), rapport.en_page(controle))
    _montrer(controle.en_dictionnaire() if en_json else rapport.resumer(controle))
    if controle.erreurs:
        raise typer.Exit(DONNEES)


@corpus.command(cls=Commande)
def convertir(
    entree: Entree,
    sortie: Sortie,
    format: Annotated[
        str,
        typer.Option(
            "--format",
            help="alpaca, messages ou openai ; pour des préférences : trl, openai ou preferences.",
        ),
    ],
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
@_reglee_par(ReglagesSynthese)
def synthetiser(
    *,
    fiches: Annotated[str, typer.Argument(help="Fiches : nom livré ou fichier.")],
    sortie: Annotated[Path, typer.Option("--sortie", help="Fichier à écrire (.jsonl).")],
    adresse: Annotated[
        str,
        typer.Option(
            "--adresse",
            help="Adresse compatible OpenAI ; sa clé se lit dans FABRIQUE_CLE_GENERATEUR.",
        ),
    ],
    model: Annotated[
        str, typer.Option("--model", help="Le modèle, au nom que l’adresse lui donne.")
    ],
    reglages: dict,
    juge: Annotated[
        str,
        typer.Option("--juge", help="Adresse d’un modèle qui relit ; clé : FABRIQUE_CLE_JUGE."),
    ] = "",
    juge_model: Annotated[
        str, typer.Option("--juge_model", help="Le modèle du juge ; par défaut, le même.")
    ] = "",
    a_blanc: Annotated[
        bool, typer.Option("--a_blanc", help="Dit combien d’appels ce serait, sans en faire.")
    ] = False,
    ecraser: Ecraser = False,
    en_json: Json = False,
) -> None:
    """Fait écrire questions et réponses d’après des fiches, et garde celles qui citent juste."""
    from fabrique.recettes import synthese

    voulus = ReglagesSynthese(**reglages)
    if a_blanc:
        prevu = synthese.devis(fiches, voulus, bool(juge))
        _montrer(asdict(prevu) if en_json else prevu)
        return
    fait = synthese.synthetiser_a_distance(
        fiches, sortie, adresse, model, voulus, juge, juge_model or model, ecraser
    )
    _montrer(fait.en_dictionnaire() if en_json else fait)


@corpus.command(cls=Commande)
def pseudonymiser(
    entree: Entree, sortie: Sortie, noms: Noms = "", ecraser: Ecraser = False
) -> None:
    """Remplace les données personnelles, toujours de la même façon, et les compte."""
    from fabrique.corpus.preparation import pseudonymiser_fichier
    from fabrique.socle.nombres import accorder

    verifier_sortie(sortie, entree, ecraser=ecraser)
    nombre, comptes = pseudonymiser_fichier(entree, sortie, noms)
    for regle, remplaces in sorted(comptes.items()):
        print(f"{remplaces:6d}  {regle.removeprefix('personnel.')}")
    ecrits = accorder(nombre, "exemple écrit", "exemples écrits")
    print(f"{accorder(sum(comptes.values()), 'remplacement')}, {ecrits} dans {sortie}.")


documents = _sous_groupe(
    "documents", "Lire des documents : PDF, DOCX, ODT, HTML, texte, pages numérisées."
)


@documents.callback()
def _documents() -> None:
    """Garde « lire » sous ce nom : typer ferait d'une seule commande le groupe entier."""


@documents.command(cls=Commande)
@_reglee_par(ReglagesLecture)
def lire(
    *,
    dossier: Annotated[Path, typer.Argument(help="Dossier de documents, ou un seul fichier.")],
    sortie: Annotated[Path, typer.Option("--sortie", help="Fiches à écrire (.jsonl).")],
    page: Annotated[
        str, typer.Option("--html", help="Écrit aussi le compte rendu dans ce fichier.")
    ] = "",
    reglages: dict,
    ecraser: Ecraser = False,
    en_json: Json = False,
) -> None:
    """Fait des fiches de vos documents ; relancée, la commande reprend où elle s’est arrêtée."""
    from fabrique.corpus.documents import bilan_documents, chantier

    if page:
        verifier_sortie(page, dossier, sortie, ecraser=ecraser)
    bilan = chantier.lire_dossier(dossier, sortie, ReglagesLecture(**reglages), ecraser)
    if page:
        ecrire_signe(Path(page), bilan_documents.en_page(bilan))
    _montrer(bilan.en_dictionnaire() if en_json else bilan)


sources = _sous_groupe("sources", "Indexer des fiches où chercher, et apprendre à les chercher.")
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
    _montrer(fait.en_dictionnaire() if en_json else fait)


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


classer = _sous_groupe(
    "classer", "Ranger des textes sous des étiquettes : apprendre, prédire, distiller."
)
ColonneTexte = Annotated[
    str, typer.Option("--texte", help="Colonne du texte ; vide : un nom courant.")
]
Methode = Annotated[
    str, typer.Option("--methode", help=f"{', '.join(METHODES)} : du plus léger au plus lourd.")
]
ModeleDeRangement = Annotated[
    str, typer.Option("--model", help="Modèle de langage des méthodes gele, lora et entier.")
]
AccepterPersonnelles = Annotated[
    bool,
    typer.Option(
        "--accepter_donnees_personnelles", help="Apprend même un fichier qui en contient."
    ),
]


@classer.command(cls=Commande)
@_reglee_par(ReglagesClassement)
def entrainer(
    *,
    fichier: Annotated[
        str,
        typer.Argument(help="Tableau d’un texte et d’une étiquette par ligne, ou corpus livré."),
    ],
    sortie: Annotated[Path, typer.Option("--sortie", help="Dossier du classifieur, à créer.")],
    methode: Methode = "mots",
    model: ModeleDeRangement = "falcon-poche",
    revision: Revision = "",
    texte: ColonneTexte = "",
    etiquette: Annotated[
        str, typer.Option("--etiquette", help="Colonne de l’étiquette ; vide : un nom courant.")
    ] = "",
    reglages: dict,
    accepter_donnees_personnelles: AccepterPersonnelles = False,
    en_json: Json = False,
) -> None:
    """Entraîne un classifieur sur votre tableau, et le juge sur des textes mis de côté."""
    from fabrique.recettes import classement

    fait = classement.entrainer(
        fichier,
        sortie,
        methode,
        ReglagesClassement(**reglages),
        model,
        revision or None,
        texte,
        etiquette,
        accepter_donnees_personnelles,
    )
    _montrer(fait.en_dictionnaire() if en_json else fait)


@classer.command(cls=Commande)
def predire(
    classifieur: Annotated[Path, typer.Argument(help="Dossier du classifieur.")],
    fichier: Annotated[str, typer.Argument(help="Tableau des textes à ranger.")],
    sortie: Annotated[Path, typer.Option("--sortie", help="Tableau à écrire (.csv).")],
    texte: ColonneTexte = "",
    ecraser: Ecraser = False,
) -> None:
    """Range chaque texte d’un tableau : l’étiquette la plus probable, et sa probabilité."""
    from fabrique.recettes.classement import predire_un_fichier
    from fabrique.socle.nombres import accorder

    combien = predire_un_fichier(classifieur, fichier, sortie, texte, ecraser)
    print(f"{accorder(combien, 'texte rangé', 'textes rangés')} dans {sortie}.")


@classer.command(cls=Commande)
@_reglee_par(ReglagesDistillation)
def distiller(
    *,
    fichier: Annotated[
        str, typer.Argument(help="Tableau de textes ; leur étiquette n’est pas lue.")
    ],
    sortie: Annotated[Path, typer.Option("--sortie", help="Dossier de l’élève, à créer.")],
    maitre: Annotated[
        list[Path] | None,
        typer.Option("--maitre", help="Dossier d’un classifieur ; à répéter : ils votent."),
    ] = None,
    adresse: Annotated[
        str,
        typer.Option(
            "--adresse",
            help="Maître à une adresse compatible OpenAI ; clé : FABRIQUE_CLE_GENERATEUR.",
        ),
    ] = "",
    maitre_model: Annotated[
        str, typer.Option("--maitre_model", help="Le modèle, au nom que l’adresse lui donne.")
    ] = "",
    etiquettes: Annotated[
        str,
        typer.Option("--etiquettes", help="Celles du maître distant, séparées par des virgules."),
    ] = "",
    verite: Annotated[
        str, typer.Option("--verite", help="Tableau de textes à l’étiquette vérifiée, pour juger.")
    ] = "",
    methode: Methode = "mots",
    model: ModeleDeRangement = "falcon-poche",
    revision: Revision = "",
    texte: ColonneTexte = "",
    reglages: dict,
    accepter_donnees_personnelles: AccepterPersonnelles = False,
    en_json: Json = False,
) -> None:
    """Fait ranger des textes par un maître, et les fait apprendre à un classifieur plus léger."""
    from fabrique.recettes import distillation

    noms = [nom.strip() for nom in etiquettes.split(",") if nom.strip()]
    journal = sortie.with_name(f"{sortie.name}.journal.jsonl")
    fait = distillation.distiller(
        fichier,
        sortie,
        distillation.choisir_maitre(
            maitre or [], adresse, maitre_model, noms, journal, accepter_donnees_personnelles
        ),
        methode,
        ReglagesDistillation(**reglages),
        verite=verite,
        base=model,
        revision=revision or None,
        texte=texte,
        accepter_donnees_personnelles=accepter_donnees_personnelles,
    )
    _montrer(fait.en_dictionnaire() if en_json else fait)


entites = _sous_groupe(
    "entites", "Trouver dates, sommes, lieux, organismes, personnes et articles dans un texte."
)


@entites.command("entrainer", cls=Commande)
@_reglee_par(ReglagesEntites)
def entrainer_entites(
    *,
    sortie: Annotated[Path, typer.Option("--sortie", help="Dossier du modèle.")],
    dataset: Annotated[
        str, typer.Option("--dataset", help="Phrases marquées : entites, ou un fichier.")
    ] = "entites",
    model: Modele = "falcon-poche",
    revision: Revision = "",
    reglages: dict,
) -> None:
    """Apprend à un modèle à trouver des entités, et le mesure sur le jeu de test."""
    from fabrique.recettes.entites_apprises import entrainer_les_entites

    entrainer_les_entites(model, dataset, sortie, ReglagesEntites(**reglages), revision or None)


@entites.command("trouver", cls=Commande)
def trouver_entites(
    texte: Annotated[str, typer.Argument(help="Le texte où chercher.")],
    moyen: Annotated[
        str, typer.Option("--moyen", help="regles, spacy, ou le dossier d’un modèle entraîné.")
    ] = "regles",
    en_json: Json = False,
) -> None:
    """Montre les entités d’un texte, et leur place avec --json."""
    from fabrique.corpus.reperage import en_dictionnaire, en_lignes, trouver_les_entites

    trouvees = trouver_les_entites(texte, moyen)
    _montrer((en_dictionnaire if en_json else en_lignes)(texte, trouvees))


@application.command(cls=Commande)
def demo(
    sortie: Annotated[Path, typer.Option("--sortie", help="Dossier du rapport.")] = Path(
        "sorties/demo"
    ),
) -> None:
    """Affine le Falcon de poche en 4 bits et montre ce que cela change."""
    from fabrique.recettes.demo import demontrer

    demontrer(sortie)


atelier = _sous_groupe(
    "atelier", "Préparer une salle : vérifier une machine, emporter le cours sur une clé."
)


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
    _montrer(verification.en_dictionnaire(constats) if en_json else verification.bilan(constats))
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
        _montrer(erreur.en_dictionnaire())
    else:
        print(erreur, file=sys.stderr)
    return erreur.code


def main() -> None:
    """Point d'entrée installé : ``fabrique``."""
    sys.exit(principal())


if __name__ == "__main__":
    main()
