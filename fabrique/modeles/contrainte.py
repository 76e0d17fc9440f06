"""Écrire sous une grammaire : à chaque pas, seuls restent les jetons qu'elle permet.

La grammaire ne choisit rien : parmi les jetons permis, le modèle garde ses préférences, pourvu qu'il
reste de quoi finir (``modeles.cloture``). Elle s'écrit dans le langage de Lark, tel que llguidance
l'étend ; ``modeles.formes`` en écrit une d'un schéma JSON, d'une liste de choix ou d'un motif.

Source : llguidance (Microsoft), documentation de la syntaxe ; Lark, pour le langage.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from transformers import (
    LogitsProcessor,
    LogitsProcessorList,
    PreTrainedTokenizerBase,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
)

from fabrique.modeles.cloture import Ecriture

#: Jetons refusés à une place, faute de pouvoir finir après eux, avant d'imposer la fin prévue.
ESSAIS = 16


def le_plus_probable(notes: torch.Tensor) -> torch.Tensor:
    """Le jeton que prend une génération sans tirage (formes : lot × vocabulaire, lot)."""
    return notes.argmax(-1)


def au_sort(temperature: float, top_k: int) -> Callable[[torch.Tensor], torch.Tensor]:
    """Le jeton que tirera ``generate`` : le même tirage, sans toucher à son hasard."""
    regles = LogitsProcessorList([TemperatureLogitsWarper(float(temperature))])
    if top_k:
        regles.append(TopKLogitsWarper(top_k))

    def tirer(notes: torch.Tensor) -> torch.Tensor:
        with torch.random.fork_rng(devices=[notes.device] if notes.is_cuda else []):
            return torch.multinomial(regles(None, notes).softmax(-1), 1).squeeze(1)

    return tirer


class SelonGrammaire(LogitsProcessor):
    """Interdit à chaque réponse les jetons que sa grammaire ne permet pas, ou qui la rendraient sans fin.

    Args:
        tokenizer: un tokenizer rapide de transformers.
        grammaires: une grammaire par réponse du lot.
        question: longueur de la question, en jetons : ce qui suit est la réponse.
        limites: jetons de chaque réponse, fin comprise ; vide, leur fin n'est pas prévue.
        prendre: le jeton que prendra la génération, d'après ses notes.

    Raises:
        ErreurFabrique: une grammaire ne se comprend pas, ou ne finit pas dans sa limite.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        grammaires: Sequence[str],
        question: int,
        limites: Sequence[int | None] = (),
        prendre: Callable[[torch.Tensor], torch.Tensor] = le_plus_probable,
    ) -> None:
        self.lues, self.prendre = question, prendre
        bornes: Sequence[int | None] = limites or [None] * len(grammaires)
        self.ecritures = [
            Ecriture(tokenizer, grammaire, borne)
            for grammaire, borne in zip(grammaires, bornes, strict=True)
        ]

    def __call__(self, input_ids: torch.LongTensor, scores: torch.Tensor) -> torch.Tensor:
        """Les notes du jeton suivant (forme : lot × vocabulaire), les interdits à −∞."""
        for ids, notes, ecriture in zip(input_ids, scores, self.ecritures, strict=True):
            for jeton in ids[self.lues :].tolist():
                ecriture.ecrire(jeton)  # après sa fin, une réponse attend les autres du lot
            notes[~ecriture.permis(len(notes)).to(notes.device)] = -torch.inf
        self.lues = input_ids.shape[1]
        return self._qui_finissent(scores)

    def _qui_finissent(self, scores: torch.Tensor) -> torch.Tensor:
        """Écarte, l'un après l'autre, les jetons qui seraient pris et ne laisseraient pas finir."""
        for rang, notes in enumerate(scores):
            if torch.isneginf(notes).all():  # une règle voisine interdit tout ce qui est permis
                self._imposer(scores, rang)
        for essai in range(ESSAIS + 1):
            pris = enumerate(self.prendre(scores).tolist())
            refuses = [
                (rang, jeton) for rang, jeton in pris if not self.ecritures[rang].tient(jeton)
            ]
            if not refuses:
                break
            for rang, jeton in refuses:
                scores[rang, jeton] = -torch.inf
                if essai == ESSAIS - 1 or torch.isneginf(scores[rang]).all():
                    self._imposer(scores, rang)
        return scores

    def _imposer(self, scores: torch.Tensor, rang: int) -> None:
        scores[rang] = -torch.inf
        scores[rang, self.ecritures[rang].issue] = 0.0


def verifier(tokenizer: PreTrainedTokenizerBase, grammaire: str) -> None:
    """Refuse une grammaire qui ne se comprend pas.

    Raises:
        ErreurFabrique: elle dit où.
    """
    Ecriture(tokenizer, grammaire)


def accepte(tokenizer: PreTrainedTokenizerBase, grammaire: str, texte: str) -> bool:
    """Vrai si ce texte, entier, suit la grammaire."""
    lecteur = Ecriture(tokenizer, grammaire).lecteur
    ids = tokenizer(texte, add_special_tokens=False)["input_ids"]
    return (
        lecteur.validate_tokens(ids) == len(ids)
        and lecteur.consume_tokens(ids)
        and lecteur.is_accepting()
    )
