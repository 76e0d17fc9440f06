"""Le choix forcé : parmi plusieurs réponses, laquelle le modèle juge-t-il la plus probable ?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from transformers import DataCollatorForSeq2Seq, PreTrainedModel, PreTrainedTokenizerBase

from fabrique.gabarits import SANS_PERTE, exemple_en_jetons
from fabrique.generation import base_ou_affine


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


@torch.inference_mode()
def log_probabilites(
    modele: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    question: QuestionFermee,
    *,
    adaptateur: bool = True,
) -> np.ndarray:
    """Log-probabilité moyenne, par jeton, de chaque réponse possible (jeton de fin exclu)."""
    codes = [
        exemple_en_jetons(
            tokenizer,
            {"instruction": question.instruction, "input": question.input, "output": reponse},
            512,
        )
        for reponse in question.choix
    ]
    for code in codes:
        code["labels"][-1] = SANS_PERTE
    lot = DataCollatorForSeq2Seq(tokenizer, label_pad_token_id=SANS_PERTE)(codes).to(modele.device)
    etiquettes = lot.pop("labels")[:, 1:]
    modele.eval()
    with base_ou_affine(modele, adaptateur):
        logits = modele(**lot).logits[:, :-1].float()
    couts = torch.nn.functional.cross_entropy(
        logits.transpose(1, 2), etiquettes, ignore_index=SANS_PERTE, reduction="none"
    )
    return (-couts.sum(dim=1) / (etiquettes != SANS_PERTE).sum(dim=1)).cpu().numpy()


def choisir(
    modele: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    questions: list[QuestionFermee],
    *,
    adaptateur: bool = True,
) -> list[int]:
    """Le rang de la réponse préférée, pour chaque question."""
    return [
        int(log_probabilites(modele, tokenizer, question, adaptateur=adaptateur).argmax())
        for question in questions
    ]


def compter(questions: list[QuestionFermee], choisis: list[int]) -> tuple[int, int]:
    """Combien de réponses justes, et combien qui suivent la fiche fournie."""
    paires = list(zip(questions, choisis, strict=True))
    return (
        sum(choisi == question.bonne for question, choisi in paires),
        sum(choisi == question.fiche for question, choisi in paires),
    )
