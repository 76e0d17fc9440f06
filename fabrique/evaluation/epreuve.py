"""L'épreuve complète de la commande ``evaluer`` : base, base avec exemples, modèle affiné, oubli."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import platform
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from datasets import Dataset

from fabrique.cartes import CARTES, CO2_FRANCE, carte_de, co2_estime
from fabrique.corpus import jeu, lire_corpus
from fabrique.entrainement import Reglages
from fabrique.erreurs import ErreurFabrique
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
from fabrique.figures import en_francais
from fabrique.machine import examiner
from fabrique.modeles import (
    charger,
    charger_adaptateur,
    nom_public,
    sans_adaptateur,
    trouver,
    verifier_adaptateur,
)

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

    @property
    def affine(self) -> Evaluation:
        """L'évaluation du modèle affiné."""
        return next(e for e in self.evaluations if e.nom == AFFINE)

    def contrat(self) -> dict:
        """Ce que ``--json`` imprime : les mesures, et la durée."""
        return {
            "mesures": [ecart.en_dictionnaire() for ecart in self.ecarts],
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
        }


def mettre_a_l_epreuve(
    modele: str,
    adaptateur: str | Path,
    dataset: str,
    *,
    quantification: str = "nf4",
    revision: str | None = None,
    montres: int = 3,
    general: str = "encyclopedie",
    questions: int = 200,
    parties: Sequence[str] = (),
    max_new_tokens: int = 220,
    courbe: str | Path = "",
) -> Rapport:
    """Évalue un modèle avant et après son réglage fin, sur les mêmes questions.

    Args:
        modele: nom du catalogue, dossier ou identifiant du hub.
        adaptateur: dossier de l'adaptateur.
        dataset: corpus livré ou fichier ; son jeu de test, s'il en a un.
        montres: exemples montrés à la base, pour savoir si cela aurait suffi ; 0 s'en passe.
        general: corpus de français général, pour voir l'oubli ; vide s'en passe.
        questions: au plus ; au-delà, elles sont prises à intervalles réguliers.
        parties: expressions régulières qu'une réponse doit contenir.
        courbe: dossier où refaire l'apprentissage, réglages de l'adaptateur gardés, sur de plus en
            plus d'exemples ; vide s'en passe.

    Raises:
        ErreurFabrique: corpus, modèle ou adaptateur illisible ; courbe demandée d'un corpus non
            réparti, ou d'un adaptateur dont on ignore les réglages.
    """
    depart = time.monotonic()
    verifier_adaptateur(adaptateur)
    corpus = lire_corpus(dataset)
    reglages = _reglages_de_la_courbe(corpus, Path(adaptateur)) if courbe else None
    appris, test = _appris_et_test(corpus, montres)
    test = au_plus(test, questions)
    autres = au_plus(jeu_de_test(lire_corpus(general)), QUESTIONS_GENERALES) if general else None
    tokenizer, reseau = charger(modele, quantification, revision=revision, silencieux=True)
    sans_adaptateur(charger_adaptateur(reseau, adaptateur))  # refusé avant toute réponse
    depot = trouver(modele, revision).depot
    commun = {"parties": parties, "max_new_tokens": max_new_tokens}
    essais = {BASE: (), MONTRE: choisir_exemples(appris, montres)} if montres else {BASE: ()}
    place = octets_des_poids(depot)
    evaluations = [
        evaluer(reseau, tokenizer, test, nom=nom, montres=exemples, disque=place, **commun)
        for nom, exemples in essais.items()
    ]
    avant = autres and evaluer(reseau, tokenizer, autres, nom=f"{BASE}, français général")
    affine = charger_adaptateur(reseau, adaptateur)
    place = octets_des_poids(depot, adaptateur)
    evaluations.append(evaluer(affine, tokenizer, test, nom=AFFINE, disque=place, **commun))
    apres = autres and evaluer(affine, tokenizer, autres, nom=f"{AFFINE}, français général")
    points = (
        courbe_d_apprentissage(reseau, tokenizer, appris, test, reglages, courbe, **commun)
        if reglages
        else []
    )
    duree_s = time.monotonic() - depart
    return Rapport(
        modele=nom_public(depot),
        adaptateur=Path(adaptateur).name,
        corpus=Path(dataset).name,
        evaluations=evaluations,
        ecarts=comparer(evaluations[0], evaluations[-1]),
        oubli=comparer(avant, apres) if autres else [],
        courbe=points,
        origine={
            "questions": len(test),
            "quantification": quantification,
            "revision": revision,
            "graine": 0,
            "carbone_estimé": carbone(examiner().gpu, duree_s),
            "empreinte_des_questions": empreinte_du_corpus(test),
            "empreinte_de_l_adaptateur": _empreinte_du_fichier(
                Path(adaptateur) / "adapter_model.safetensors"
            ),
            "versions": {"python": platform.python_version()}
            | {nom: importlib.metadata.version(nom) for nom in BIBLIOTHEQUES},
        },
        duree_s=duree_s,
    )


def carbone(gpu: str | None, secondes: float) -> str | None:
    """Le carbone d'une épreuve, estimé et dit ; None quand la puissance de la carte est inconnue."""
    grammes = co2_estime(gpu, secondes)
    if grammes is None:
        return None
    watts = CARTES[carte_de(gpu)].watts
    return (
        f"{en_francais(grammes, 2)} g de CO2\u00a0: {en_francais(watts, 1)} W pendant toute la durée, "
        f"{en_francais(CO2_FRANCE, 1)} g par kWh en France"
    )


def jeu_de_test(corpus: Dataset) -> Dataset:
    """Le jeu de test d'un corpus, ou tout le corpus s'il n'est pas réparti."""
    return jeu(corpus, "test") if "test" in corpus["jeu"] else corpus


def _appris_et_test(corpus: Dataset, montres: int) -> tuple[Dataset, Dataset]:
    """De quoi montrer des exemples, et les questions à poser : jamais les mêmes."""
    test = jeu_de_test(corpus)
    if len(test) < len(corpus):
        return jeu(corpus, "entrainement"), test
    if len(corpus) < montres + 2:
        raise ErreurFabrique(
            f"{len(corpus)} exemple(s) ne suffisent pas pour montrer des exemples et poser des questions",
            f"Donnez-en au moins {montres + 2}",
        )
    return corpus.select(range(montres)), corpus.select(range(montres, len(corpus)))


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


def _empreinte_du_fichier(chemin: Path) -> str:
    with chemin.open("rb") as flux:
        return hashlib.file_digest(flux, "sha256").hexdigest()


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
            "Donnez le .json écrit par « fabrique evaluer --rapport »",
            chemin,
        ) from None
