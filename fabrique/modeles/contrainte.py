"""Écrire sous une grammaire : à chaque pas, seuls restent les jetons qu'elle permet.

La grammaire ne choisit rien : parmi les jetons permis, le modèle garde ses préférences. Elle
s'écrit dans le langage de Lark, tel que llguidance l'étend.

Source : llguidance (Microsoft), documentation de la syntaxe ; Lark, pour le langage.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from llguidance import LLMatcher, LLTokenizer
from llguidance.hf import from_tokenizer
from transformers import LogitsProcessor, PreTrainedTokenizerBase

from fabrique.socle.erreurs import ErreurFabrique

#: Un petit modèle libre d'écrire des blancs entre deux champs n'en finit pas. Source : llguidance,
#: « x-guidance ».
SANS_BLANCS = {"x-guidance": {"whitespace_flexible": False}}


def grammaire_json(schema: Mapping[str, Any]) -> str:
    """La grammaire des textes JSON qui suivent un schéma, sans blancs libres."""
    return f"start: %json {json.dumps({**schema, **SANS_BLANCS})}"


class SelonGrammaire(LogitsProcessor):
    """Interdit à chaque réponse les jetons que sa grammaire ne permet pas.

    Args:
        tokenizer: un tokenizer rapide de transformers.
        grammaires: une grammaire par réponse du lot.
        question: longueur de la question, en jetons : ce qui suit est la réponse.

    Raises:
        ErreurFabrique: une grammaire ne se comprend pas.
    """

    def __init__(
        self, tokenizer: PreTrainedTokenizerBase, grammaires: Sequence[str], question: int
    ) -> None:
        self.lues, self.fin = question, tokenizer.eos_token_id
        self.lecteurs = [_lecteur(tokenizer, grammaire) for grammaire in grammaires]

    def __call__(self, input_ids: torch.LongTensor, scores: torch.Tensor) -> torch.Tensor:
        """Les notes du jeton suivant (forme : lot × vocabulaire), les interdits à −∞."""
        for ids, notes, lecteur in zip(input_ids, scores, self.lecteurs, strict=True):
            for jeton in ids[self.lues :].tolist():
                if not lecteur.is_stopped():  # après sa fin, une réponse attend les autres du lot
                    lecteur.consume_token(jeton)
            permis = torch.zeros(len(notes), dtype=torch.bool)
            if lecteur.is_stopped():
                permis[self.fin] = True
            else:
                masque = np.frombuffer(lecteur.compute_logit_bias(), dtype=np.uint8) > 0
                permis[: len(masque)] = torch.from_numpy(masque)
            notes[~permis.to(notes.device)] = -torch.inf
        self.lues = input_ids.shape[1]
        return scores


def verifier(tokenizer: PreTrainedTokenizerBase, grammaire: str) -> None:
    """Refuse une grammaire qui ne se comprend pas.

    Raises:
        ErreurFabrique: elle dit où.
    """
    _lecteur(tokenizer, grammaire)


def accepte(tokenizer: PreTrainedTokenizerBase, grammaire: str, texte: str) -> bool:
    """Vrai si ce texte, entier, suit la grammaire."""
    lecteur = _lecteur(tokenizer, grammaire)
    ids = tokenizer(texte, add_special_tokens=False)["input_ids"]
    return (
        lecteur.validate_tokens(ids) == len(ids)
        and lecteur.consume_tokens(ids)
        and lecteur.is_accepting()
    )


def _lecteur(tokenizer: PreTrainedTokenizerBase, grammaire: str) -> LLMatcher:
    lecteur = LLMatcher(
        _pour_llguidance(tokenizer), LLMatcher.grammar_from_lark(grammaire), log_level=0
    )
    if lecteur.is_error():
        raison = lecteur.get_error().splitlines()[0]
        raise ErreurFabrique(
            f"llguidance ne comprend pas la grammaire («\u00a0{raison}\u00a0»)",
            "Corrigez-la : elle s’écrit dans le langage de Lark",
        )
    return lecteur


@lru_cache(maxsize=4)
def _pour_llguidance(tokenizer: PreTrainedTokenizerBase) -> LLTokenizer:
    """Le tokenizer tel que llguidance le lit ; le préparer prend une demi-seconde, une fois."""
    return from_tokenizer(tokenizer)
