"""L'épreuve complète de la commande ``evaluer`` : base, base avec exemples, modèle affiné, oubli."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import logging
import platform
import time
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from datasets import Dataset
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from fabrique import __version__
from fabrique.corpus import jeu, lire_corpus
from fabrique.corpus.doublons import empreintes_de_la_demande
from fabrique.entrainement import Reglages
from fabrique.evaluation.comparaison import (
    Ecart,
    Evaluation,
    choisir_exemples,
    comparer,
    courbe_d_apprentissage,
    evaluation_de,
    evaluer,
    octets_des_poids,
)
from fabrique.evaluation.epreuve_sourcee import EpreuveSourcee, Sources
from fabrique.evaluation.journal import Journal, Reponse
from fabrique.evaluation.reglages_epreuve import ReglagesEpreuve
from fabrique.machine.cartes import CARTES, CO2_FRANCE, carte_de, co2_estime
from fabrique.machine.materiel import examiner
from fabrique.machine.profil import merite_le_texte_libre
from fabrique.modeles.adaptateurs import (
    FICHIERS_DE_L_ADAPTATEUR,
    charger_adaptateur,
    sans_adaptateur,
    verifier_adaptateur,
)
from fabrique.modeles.catalogue import nom_public, trouver
from fabrique.modeles.chargement import charger
from fabrique.modeles.origine import Origine, empreinte_de_la_base, lire_origine
from fabrique.recherche.index import Index
from fabrique.socle.emplacements import empreinte
from fabrique.socle.erreurs import ErreurFabrique
from fabrique.socle.nombres import accorder, en_francais

JOURNAL = logging.getLogger(__name__)

BIBLIOTHEQUES = (
    "torch",
    "transformers",
    "peft",
    "bitsandbytes",
    "datasets",
    "sacrebleu",
    "rouge-score",
    "scipy",
)
#: Les trois modèles de toute épreuve : faut-il affiner, ou suffit-il de montrer des exemples ?
BASE, MONTRE, AFFINE = "base", "base, exemples montrés", "affiné"
#: Questions posées sur le français général, pour voir l'oubli.
QUESTIONS_GENERALES = 40


@dataclass(frozen=True)
class Rapport:
    """Tout ce qu'une épreuve a donné.

    Args:
        modele: nom de la base.
        adaptateur: nom du dossier de l'adaptateur.
        corpus: nom du corpus.
        evaluations: la base, la base devant des exemples, le modèle affiné… sur les mêmes questions.
        ecarts: de la base au modèle affiné.
        oubli: la même comparaison sur du français général ; vide si elle n'a pas été faite.
        courbe: les évaluations d'une courbe d'apprentissage ; vide si elle n'a pas été faite.
        origine: versions, empreintes des données et de l'adaptateur, graine.
        duree_s: durée de l'épreuve.
        sources: la même comparaison, fiches à l'appui ; None si elle n'a pas été faite.
    """

    modele: str
    adaptateur: str
    corpus: str
    evaluations: list[Evaluation]
    ecarts: list[Ecart]
    oubli: list[Ecart]
    courbe: list[Evaluation]
    origine: dict
    duree_s: float
    sources: EpreuveSourcee | None = None

    @property
    def affine(self) -> Evaluation:
        """L'évaluation du modèle affiné."""
        return next(e for e in self.evaluations if e.nom == AFFINE)

    def contrat(self) -> dict:
        """Ce que ``--json`` imprime : les mesures, celles des sources comprises, et la durée."""
        ecarts = [*self.ecarts, *(self.sources.ecarts if self.sources else ())]
        return {
            "mesures": [ecart.en_dictionnaire() for ecart in ecarts],
            "duree_s": round(self.duree_s, 1),
        }

    def en_dictionnaire(self) -> dict:
        """Le contenu du fichier JSON : le contrat, et de quoi refaire ou comparer l'épreuve."""
        return {
            **self.contrat(),
            "modele": self.modele,
            "adaptateur": self.adaptateur,
            "corpus": self.corpus,
            "oubli": [ecart.en_dictionnaire() for ecart in self.oubli],
            "origine": self.origine,
            "evaluations": [e.en_dictionnaire() for e in self.evaluations],
            "courbe": [e.en_dictionnaire() for e in self.courbe],
            "sources": self.sources.en_dictionnaire() if self.sources else None,
        }


@dataclass(frozen=True)
class Questions:
    """De quoi éprouver un modèle, lu et vérifié avant toute réponse.

    Args:
        appris: les exemples où prendre ceux qu'on montre, et ceux que la courbe réapprend.
        test: les questions à poser, que l'adaptateur n'a pas apprises.
        generales: du français général, pour voir l'oubli ; None s'en passe.
        sources: les mêmes questions, devant un index ; None s'en passe.
        a_refaire: les réglages de l'apprentissage que la courbe refait ; None s'en passe.
        origine: ce que l'adaptateur dit de lui-même.
    """

    appris: Dataset
    test: Dataset
    generales: Dataset | None
    sources: Sources | None
    a_refaire: Reglages | None
    origine: Origine | None

    @classmethod
    def lire(
        cls, modele: str, adaptateur: str | Path, dataset: str, reglages: ReglagesEpreuve
    ) -> Questions:
        """Lit le corpus, l'index et ce que l'adaptateur dit de lui ; refuse ce qui ne va pas."""
        verifier_adaptateur(adaptateur)
        corpus, origine = lire_corpus(dataset), lire_origine(adaptateur)
        a_refaire = _reglages_de_la_courbe(corpus, Path(adaptateur)) if reglages.courbe else None
        appris, test = _appris_et_test(corpus, reglages.montres, origine, dataset)
        test = au_plus(test, reglages.questions)
        generales = _questions_generales(reglages.general, origine) if reglages.general else None
        index = Index.lire(reglages.index) if reglages.index else None
        sources = Sources(test, index, merite_le_texte_libre(modele)) if index else None
        return cls(appris, test, generales, sources, a_refaire, origine)


@dataclass(frozen=True)
class Passage:
    """Ce qu'un modèle a répondu aux questions, au français général, et fiches à l'appui."""

    evaluation: Evaluation
    generale: Evaluation | None
    sourcees: tuple[list[Reponse], float]


@dataclass(frozen=True)
class Epreuve:
    """Des questions, et la façon de les poser à un modèle puis à un autre."""

    questions: Questions
    reglages: ReglagesEpreuve
    tokenizer: PreTrainedTokenizerBase
    journal: Journal | None

    def options(self) -> dict[str, Any]:
        """Ce que toutes les réponses ont en commun."""
        return {
            "parties": self.reglages.parties,
            "max_new_tokens": self.reglages.max_new_tokens,
            "journal": self.journal,
        }

    def passer(self, modele: PreTrainedModel, nom: str, disque: int) -> Passage:
        """Fait passer l'épreuve à un modèle.

        Args:
            disque: octets des poids sur le disque, pour le tableau.
        """
        posees, sources = self.questions, self.questions.sources
        poser = partial(evaluer, modele, self.tokenizer)
        return Passage(
            poser(posees.test, nom=nom, disque=disque, **self.options()),
            posees.generales
            and poser(posees.generales, nom=f"{nom}, français général", journal=self.journal),
            sources.repondre(modele, self.tokenizer, nom, journal=self.journal)
            if sources
            else ([], 0.0),
        )

    def montrer(self, modele: PreTrainedModel, disque: int) -> list[Evaluation]:
        """Pose les questions après quelques exemples : cela aurait-il suffi ?"""
        montres = choisir_exemples(self.questions.appris, self.reglages.montres)
        poser = partial(evaluer, modele, self.tokenizer, self.questions.test, nom=MONTRE)
        return [poser(montres=montres, disque=disque, **self.options())] if montres else []

    def retracer(self, modele: PreTrainedModel) -> list[Evaluation]:
        """Refait l'apprentissage sur de plus en plus d'exemples : où le gain s'essouffle-t-il ?"""
        if self.questions.a_refaire is None:
            return []
        return courbe_d_apprentissage(
            modele,
            self.tokenizer,
            self.questions.appris,
            self.questions.test,
            self.questions.a_refaire,
            self.reglages.courbe,
            **self.options(),
        )


def mettre_a_l_epreuve(
    modele: str,
    adaptateur: str | Path,
    dataset: str,
    reglages: ReglagesEpreuve,
    *,
    quantification: str = "nf4",
    revision: str | None = None,
    journal: Journal | None = None,
) -> Rapport:
    """Évalue un modèle avant et après son réglage fin, sur les mêmes questions.

    Aucune n'est une question que l'adaptateur a apprise : son dossier dit lesquelles.

    Args:
        modele: nom du catalogue, dossier ou identifiant du hub.
        adaptateur: dossier de l'adaptateur.
        dataset: corpus livré ou fichier ; son jeu de test, s'il en a un.
        reglages: ce que l'épreuve demande, et combien.
        journal: où garder les réponses, pour reprendre après une interruption.

    Raises:
        ErreurFabrique: corpus, modèle ou adaptateur illisible ; questions toutes apprises, ou dont
            on ignore si elles l'ont été ; courbe demandée d'un corpus non réparti, ou d'un
            adaptateur dont on ignore les réglages ; index illisible, ou corpus dont aucune réponse
            ne cite.
    """
    depart = time.monotonic()
    questions = Questions.lire(modele, adaptateur, dataset, reglages)
    tokenizer, base = charger(modele, quantification, revision=revision, silencieux=True)
    sans_adaptateur(charger_adaptateur(base, adaptateur))  # refusé avant toute réponse
    depot = trouver(modele, revision).depot
    origine = _origine(questions, adaptateur, quantification, revision)
    if journal:
        lus = [empreinte(fichier) for fichier in fichiers_de_l_adaptateur(adaptateur)]
        la_base = [empreinte_de_la_base(base) or depot, str(base.dtype), str(base.device)]
        journal.signer(la_base, lus, origine)
    epreuve = Epreuve(questions, reglages, tokenizer, journal)
    place = octets_des_poids(depot)
    avant = epreuve.passer(base, BASE, place)
    avec_exemples = epreuve.montrer(base, place)
    affine = charger_adaptateur(base, adaptateur)
    apres = epreuve.passer(affine, AFFINE, octets_des_poids(depot, adaptateur))
    courbe = epreuve.retracer(base)
    duree_s = time.monotonic() - depart + (journal.secondes_relues if journal else 0)
    return Rapport(
        modele=nom_public(depot),
        adaptateur=Path(adaptateur).name,
        corpus=Path(dataset).name,
        evaluations=[avant.evaluation, *avec_exemples, apres.evaluation],
        ecarts=comparer(avant.evaluation, apres.evaluation),
        oubli=comparer(avant.generale, apres.generale) if avant.generale and apres.generale else [],
        courbe=courbe,
        origine=origine | {"carbone_estimé": carbone(examiner().gpu, duree_s)},
        duree_s=duree_s,
        sources=questions.sources.conclure({BASE: avant.sourcees, AFFINE: apres.sourcees})
        if questions.sources
        else None,
    )


def _origine(
    questions: Questions, adaptateur: str | Path, quantification: str, revision: str | None
) -> dict:
    """D'où viennent les mesures d'une épreuve : questions, adaptateur, versions."""
    _, poids = fichiers_de_l_adaptateur(adaptateur)
    return {
        "questions": len(questions.test),
        "quantification": quantification,
        "revision": revision,
        "graine": 0,
        "jamais_apprises": (
            "d’après l’adaptateur" if questions.origine else "d’après la colonne « jeu »"
        ),
        "empreinte_des_questions": empreinte_du_corpus(questions.test),
        "empreinte_de_l_adaptateur": empreinte(poids),
        "versions": {"python": platform.python_version(), "fabrique": __version__}
        | {nom: importlib.metadata.version(nom) for nom in BIBLIOTHEQUES},
    }


def carbone(gpu: str | None, secondes: float) -> str | None:
    """Le carbone d'une épreuve, estimé et dit ; None quand la puissance de la carte est inconnue."""
    carte, grammes = carte_de(gpu), co2_estime(gpu, secondes)
    if carte is None or grammes is None:
        return None
    watts = CARTES[carte].watts
    return (
        f"{en_francais(grammes, 2)} g de CO₂\u00a0: {en_francais(watts, 1)} W pendant toute la durée, "
        f"{en_francais(CO2_FRANCE, 1)} g par kWh en France"
    )


def jeu_de_test(corpus: Dataset) -> Dataset:
    """Le jeu de test d'un corpus, à défaut celui de validation ; tout, s'il n'est pas réparti."""
    nom = next((nom for nom in ("test", "validation") if nom in corpus["jeu"]), None)
    return jeu(corpus, nom) if nom else corpus


def jamais_apprises(corpus: Dataset, origine: Origine | None) -> Dataset:
    """Les questions d'un corpus que l'adaptateur n'a pas apprises ; toutes, si on l'ignore.

    Une question apprise se reconnaît à ses mots, quels que soient sa ponctuation et ses accents.
    """
    neuves = _sans(corpus, set(origine.apprises) if origine else set())
    ecartees = len(corpus) - len(neuves)
    if ecartees:
        JOURNAL.warning(
            f"{ecartees} questions sont écartées : l’adaptateur les a apprises. Il en reste {len(neuves)}."
        )
    return neuves


def _questions_generales(general: str, origine: Origine | None) -> Dataset | None:
    """De quoi voir l'oubli ; rien si l'adaptateur a tout appris de ce corpus-là."""
    neuves = jamais_apprises(jeu_de_test(lire_corpus(general)), origine)
    return au_plus(neuves, QUESTIONS_GENERALES) if len(neuves) else None


def _appris_et_test(
    corpus: Dataset, montres: int, origine: Origine | None, dataset: str
) -> tuple[Dataset, Dataset]:
    """De quoi montrer des exemples, et les questions à poser, que l'adaptateur n'a pas apprises."""
    test = jeu_de_test(corpus)
    if origine is None and not {"test", "validation"} & set(corpus["jeu"]):
        raise ErreurFabrique(
            "ni l’adaptateur ni le corpus ne disent quelles questions ont été apprises : le modèle "
            "pourrait réciter",
            "Donnez un adaptateur appris par « fabrique finetune » (avec son origine.json), ou un "
            "corpus réparti en jeux (« fabrique corpus repartir ») avant l’apprentissage",
            dataset,
            champ="jeu",
        )
    neuves = jamais_apprises(test, origine)
    if not len(neuves):
        raise ErreurFabrique(
            "l’adaptateur a appris toutes les questions de ce corpus : il les réciterait",
            "Donnez d’autres questions, ou gardez-en à l’apprentissage (--val_set_size)",
            dataset,
        )
    vus = jeu(corpus, "entrainement") if len(test) < len(corpus) else _les_autres(corpus, neuves)
    if len(vus) >= montres:
        return vus, neuves
    if len(neuves) < montres + 2:
        raise ErreurFabrique(
            f"{accorder(len(neuves), 'exemple')}, c’est trop peu pour en montrer et poser des questions",
            f"Donnez-en au moins {montres + 2}",
        )
    return neuves.select(range(montres)), neuves.select(range(montres, len(neuves)))


def _les_autres(corpus: Dataset, neuves: Dataset) -> Dataset:
    """Les exemples d'un corpus qui ne sont pas parmi les questions neuves."""
    return _sans(corpus, {e for neuve in neuves for e in empreintes_de_la_demande(neuve)})


def _sans(corpus: Dataset, demandes: set[str]) -> Dataset:
    """Les exemples d'un corpus dont la demande n'est aucune de celles-là, ni leur jumelle."""
    return corpus.select(
        [r for r, e in enumerate(corpus) if demandes.isdisjoint(empreintes_de_la_demande(e))]
    )


def _reglages_de_la_courbe(corpus: Dataset, adaptateur: Path) -> Reglages:
    """Les réglages avec lesquels l'adaptateur a été appris, tels que son ``rapport.json`` les dit."""
    if not {"entrainement", "test"} <= set(corpus["jeu"]):
        raise ErreurFabrique(
            "la courbe d’apprentissage demande un corpus réparti en jeux",
            "Répartissez-le d’abord (« fabrique corpus repartir »)",
        )
    compte_rendu = adaptateur / "rapport.json"
    try:
        reglages = json.loads(compte_rendu.read_text(encoding="utf-8"))["reglages"]
        return Reglages(**reglages)
    except (OSError, ValueError, KeyError, TypeError):
        raise ErreurFabrique(
            "les réglages de l’adaptateur sont introuvables : la courbe doit employer les mêmes",
            "Donnez un adaptateur appris par « fabrique finetune »",
            compte_rendu,
        ) from None


def au_plus(corpus: Dataset, combien: int) -> Dataset:
    """Tout le corpus, ou ``combien`` exemples pris à intervalles réguliers."""
    if len(corpus) <= combien:
        return corpus
    return corpus.select([rang * len(corpus) // combien for rang in range(combien)])


def empreinte_du_corpus(corpus: Iterable[dict]) -> str:
    """L'empreinte SHA-256 des exemples, dans l'ordre."""
    somme = hashlib.sha256()
    for exemple in corpus:
        somme.update(json.dumps(exemple, ensure_ascii=False, sort_keys=True, default=str).encode())
    return somme.hexdigest()


def fichiers_de_l_adaptateur(dossier: str | Path) -> list[Path]:
    """Ce qu'une évaluation lit d'un adaptateur."""
    return [Path(dossier) / nom for nom in FICHIERS_DE_L_ADAPTATEUR]


def comparer_rapports(premier: str | Path, second: str | Path) -> list[Ecart]:
    """Compare les modèles affinés de deux rapports JSON : le second est-il meilleur ?

    Raises:
        ErreurFabrique: fichier qui n'est pas un rapport, ou questions différentes.
    """
    return comparer(_affine_de(Path(premier)), _affine_de(Path(second)))


def _affine_de(chemin: Path) -> Evaluation:
    """L'évaluation du modèle affiné d'un rapport, au nom du fichier."""
    try:
        contenu = json.loads(chemin.read_text(encoding="utf-8"))
        lues = [e for e in contenu["evaluations"] if e["nom"] == AFFINE]
        return evaluation_de(lues[0] | {"nom": chemin.name})
    except (OSError, ValueError, KeyError, TypeError, IndexError):
        raise ErreurFabrique(
            "ce fichier n’est pas un rapport d’évaluation",
            "Donnez le .evaluation.json écrit par « fabrique evaluer --rapport »",
            chemin,
        ) from None
