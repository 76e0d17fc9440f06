"""Le choix forcé : parmi plusieurs réponses, laquelle le modèle juge-t-il la plus probable ?"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from fabrique.evaluation.incertitude import intervalle, moyenne
from fabrique.modeles import vraisemblance
from fabrique.modeles.gabarits import SANS_PERTE, exemple_en_jetons
from fabrique.socle.erreurs import ErreurFabrique

#: À quoi rapporter la log-probabilité d'une réponse.
PAR = ("jeton", "octet", "reponse")


@dataclass(frozen=True)
class QuestionFermee:
    """Une question et ses réponses possibles ; ``bonne`` est le rang de la vraie.

    ``input`` porte le document fourni avec la question, s'il y en a un, et ``fiche`` le rang
    de la réponse que ce document affirme, vraie ou non.
    """

    instruction: str
    choix: tuple[str, ...]
    bonne: int
    input: str = ""
    fiche: int | None = None


def log_probabilites(
    modele: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    question: QuestionFermee,
    *,
    adaptateur: bool = True,
    par: str = "jeton",
    cutoff_len: int = 512,
) -> np.ndarray:
    """Log-probabilité de chaque réponse possible, rapportée à sa longueur (jeton de fin exclu).

    Args:
        par: ``"jeton"``, ``"octet"`` (ne dépend pas du tokenizer) ou ``"reponse"`` : sans diviser,
            une réponse courte part avec de l'avance.
        cutoff_len: au-delà de tant de jetons, la question et sa réponse sont coupées.

    Source : Gao, 2021 (« Multiple Choice Normalization in LM Evaluation », EleutherAI).
    """
    if par not in PAR:
        raise ErreurFabrique(
            f"on ne sait pas rapporter une réponse à « {par} »",
            f"Choisissez entre {', '.join(PAR)}",
        )
    demande = {"instruction": question.instruction, "input": question.input}
    codes = [
        exemple_en_jetons(tokenizer, demande | {"output": reponse}, cutoff_len)
        for reponse in question.choix
    ]
    for code in codes:
        code["labels"][-1] = SANS_PERTE
    notes = vraisemblance.log_probabilites(modele, codes, adaptateur=adaptateur)
    sommes = np.array([dites.sum() for dites in notes])
    longueurs = {
        "jeton": np.array([len(dites) for dites in notes]),
        "octet": np.array([len(reponse.encode()) for reponse in question.choix]),
        "reponse": 1,
    }
    return sommes / longueurs[par]


def choisir(
    modele: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    questions: list[QuestionFermee],
    *,
    adaptateur: bool = True,
    par: str = "jeton",
    cutoff_len: int = 512,
) -> list[int]:
    """Le rang de la réponse préférée, pour chaque question."""
    noter = partial(log_probabilites, adaptateur=adaptateur, par=par, cutoff_len=cutoff_len)
    return [int(noter(modele, tokenizer, question).argmax()) for question in questions]


def compter(questions: list[QuestionFermee], choisis: list[int]) -> tuple[int, int]:
    """Combien de réponses justes, et combien qui suivent la fiche fournie."""
    paires = list(zip(questions, choisis, strict=True))
    return (
        sum(choisi == question.bonne for question, choisi in paires),
        sum(choisi == question.fiche for question, choisi in paires),
    )


@dataclass(frozen=True)
class BilanChoix:
    """Un choix multiple, à côté de ce que gagneraient ceux qui ne lisent pas la question.

    Args:
        exactitude: part de réponses justes, et son intervalle à 95 %.
        hasard: part qu'un tirage au sort aurait juste.
        plus_longue: part qu'aurait juste qui prend toujours la réponse la plus longue.
        choisit_la_plus_longue: part des questions où le modèle la prend ; loin au-dessus de
            ``plus_longue_attendue``, il juge la longueur.
        plus_longue_attendue: la même part, s'il tirait au sort.
    """

    exactitude: float
    ic95: tuple[float, float]
    hasard: float
    plus_longue: float
    choisit_la_plus_longue: float
    plus_longue_attendue: float


def faire_le_bilan(questions: list[QuestionFermee], choisis: list[int]) -> BilanChoix:
    """L'exactitude d'un choix multiple et le contrôle du biais de la plus longue réponse."""
    lues = list(zip(questions, choisis, map(_les_plus_longues, questions), strict=True))
    justes = moyenne([choisi == q.bonne for q, choisi, _ in lues])
    return BilanChoix(
        exactitude=float(justes.valeur()),
        ic95=intervalle(justes).bornes,
        hasard=float(np.mean([1 / len(q.choix) for q in questions])),
        plus_longue=float(np.mean([(q.bonne in rangs) / len(rangs) for q, _, rangs in lues])),
        choisit_la_plus_longue=float(np.mean([choisi in rangs for _, choisi, rangs in lues])),
        plus_longue_attendue=float(np.mean([len(rangs) / len(q.choix) for q, _, rangs in lues])),
    )


def _les_plus_longues(question: QuestionFermee) -> set[int]:
    """Les rangs des réponses les plus longues, en lettres ; plusieurs en cas d'égalité."""
    tailles = [len(reponse) for reponse in question.choix]
    return {rang for rang, taille in enumerate(tailles) if taille == max(tailles)}
