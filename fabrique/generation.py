"""Faire répondre un modèle : au fil de l'eau, jusqu'au jeton de fin."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Thread

import torch
from peft import PeftModel
from peft.tuners.tuners_utils import BaseTunerLayer
from transformers import (
    LogitsProcessor,
    LogitsProcessorList,
    NoRepeatNGramLogitsProcessor,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    RepetitionPenaltyLogitsProcessor,
    TextIteratorStreamer,
)

from fabrique.gabarits import coder, texte_de_la_demande, texte_envoye

#: Un petit modèle qui prend toujours le jeton le plus probable finit par tourner en rond : une
#: réponse n'écrit jamais deux fois la même suite de douze jetons. Choisi sur les questions de
#: validation : six suffisaient, mais couperaient un nom officiel répété.
SUITE_UNIQUE = 12
#: Ce qui affaiblit en plus les jetons déjà écrits ; 1 n'y change rien. Source : Keskar et al.,
#: 2019 (CTRL, arXiv:1909.05858).
SANS_REDITE = 1.0


def generer(
    modele: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    instruction: str,
    input: str = "",
    *,
    adaptateur: bool = True,
    max_new_tokens: int = 220,
    temperature: float = 0.0,
    repetition_penalty: float = SANS_REDITE,
    graine: int | None = None,
    afficher: bool = True,
) -> str:
    """Répond à une instruction, en affichant les mots à mesure qu'ils viennent.

    Args:
        instruction: la demande, en français.
        input: le texte à traiter, s'il y en a un.
        adaptateur: ``False`` interroge la base sans son adaptateur, sans rien recharger.
        max_new_tokens: longueur maximale de la réponse, en jetons.
        temperature: 0 prend toujours le jeton le plus probable ; plus haut, on tire au sort.
        repetition_penalty: divise la note d'un jeton déjà écrit ; 1 n'y change rien.
        graine: rend un tirage reproductible.
        afficher: ``False`` rend la réponse sans l'imprimer.

    Returns:
        La réponse, sans le texte envoyé ni le jeton de fin.
    """
    ids = torch.tensor([coder(texte_envoye(tokenizer, instruction, input), tokenizer)])
    return continuer(
        modele,
        tokenizer,
        ids,
        adaptateur=adaptateur,
        max_new_tokens=max_new_tokens,
        temperature=temperature,
        repetition_penalty=repetition_penalty,
        graine=graine,
        afficher=afficher,
    )


def continuer(
    modele: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    texte: str | torch.Tensor,
    *,
    adaptateur: bool = True,
    max_new_tokens: int = 60,
    temperature: float = 0.0,
    repetition_penalty: float = 1.0,
    graine: int | None = None,
    afficher: bool = False,
) -> str:
    """Continue un texte tel quel, sans gabarit de conversation.

    Args:
        texte: le début du texte, ou ses identifiants (forme : 1 × longueur).

    Returns:
        La suite seule.
    """
    if isinstance(texte, str):
        texte = torch.tensor([[tokenizer.bos_token_id, *coder(texte, tokenizer)]])
    if graine is not None:
        torch.manual_seed(graine)
    ids = texte.to(modele.device)
    flux = TextIteratorStreamer(tokenizer, skip_prompt=True, skip_special_tokens=True)
    options = {
        "input_ids": ids,
        "attention_mask": torch.ones_like(ids),
        "max_new_tokens": max_new_tokens,
        "do_sample": temperature > 0,
        "logits_processor": eviter_redites(repetition_penalty, ids.shape[1]),
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
        "use_cache": True,
        "streamer": flux,
        **({"temperature": temperature} if temperature > 0 else {}),
    }
    modele.eval()
    with torch.inference_mode(), base_ou_affine(modele, adaptateur):
        morceaux = _en_flux(modele, options, flux, afficher)
    return "".join(morceaux).strip()


def _en_flux(modele, options: dict, flux: TextIteratorStreamer, afficher: bool) -> list[str]:
    """Génère dans un fil d'exécution et lit les mots au fur et à mesure."""
    echecs: list[BaseException] = []

    def travailler() -> None:
        try:
            modele.generate(**options)
        except BaseException as cause:  # remise au fil principal, juste après la lecture
            echecs.append(cause)
            flux.end()

    fil = Thread(target=travailler)
    fil.start()
    morceaux = []
    for morceau in flux:
        morceaux.append(morceau)
        if afficher:
            print(morceau, end="", flush=True)
    fil.join()
    if echecs:
        raise echecs[0]
    if afficher:
        print()
    return morceaux


def generer_par_lots(
    modele: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    exemples: list[dict],
    *,
    adaptateur: bool = True,
    max_new_tokens: int = 220,
    min_new_tokens: int = 0,
    repetition_penalty: float = SANS_REDITE,
    lot: int = 32,
) -> list[tuple[str, bool]]:
    """Répond à plusieurs instructions à la fois, sans tirage au sort.

    Args:
        exemples: dictionnaires ``instruction``, ``input``.
        min_new_tokens: longueur minimale d'une réponse, en jetons : le jeton de fin attend.
        lot: combien de questions avancent ensemble.

    Returns:
        Pour chaque exemple, la réponse et si elle s'est close par le jeton de fin.
    """
    codes = [coder(texte_de_la_demande(tokenizer, e), tokenizer) for e in exemples]
    modele.eval()
    reponses = []
    for debut in range(0, len(codes), lot):
        entrees = tokenizer.pad(
            {"input_ids": codes[debut : debut + lot]}, padding_side="left", return_tensors="pt"
        ).to(modele.device)
        with torch.inference_mode(), base_ou_affine(modele, adaptateur):
            sorties = modele.generate(
                **entrees,
                max_new_tokens=max_new_tokens,
                min_new_tokens=min_new_tokens,
                do_sample=False,
                logits_processor=eviter_redites(repetition_penalty, entrees["input_ids"].shape[1]),
                eos_token_id=tokenizer.eos_token_id,
                pad_token_id=tokenizer.pad_token_id,
                use_cache=True,
            )
        for ids in sorties[:, entrees["input_ids"].shape[1] :]:
            finie = bool((ids == tokenizer.eos_token_id).any())
            reponses.append((tokenizer.decode(ids, skip_special_tokens=True).strip(), finie))
    return reponses


def eviter_redites(force: float, question: int) -> LogitsProcessorList:
    """Ce qui empêche une réponse de tourner en rond, sans regarder la question.

    Args:
        force: de combien affaiblir les jetons que la réponse contient déjà ; 1 n'y change rien.
        question: longueur de la question, en jetons.
    """
    processeurs = LogitsProcessorList([SansBoucle(question)])
    if force != 1.0:
        processeurs.append(RepetitionPenaltyLogitsProcessor(force, prompt_ignore_length=question))
    return processeurs


class SansBoucle(LogitsProcessor):
    """Interdit à la réponse une suite de ``SUITE_UNIQUE`` jetons qu'elle a déjà écrite."""

    def __init__(self, question: int) -> None:
        self.question, self.regle = question, NoRepeatNGramLogitsProcessor(SUITE_UNIQUE)

    def __call__(self, input_ids: torch.LongTensor, scores: torch.Tensor) -> torch.Tensor:
        """Les notes du jeton suivant (forme : lot × vocabulaire), les redites à −∞."""
        return self.regle(input_ids[:, self.question :], scores)


@contextmanager
def base_ou_affine(modele: PreTrainedModel, adaptateur: bool) -> Iterator[None]:
    """Éteint l'adaptateur, le temps d'une réponse de la base.

    Un modèle nu répond toujours comme la base, même quand peft a depuis posé un adaptateur
    dans ses couches : ``modele`` et ``resultat.modele`` restent deux interlocuteurs.
    """
    if isinstance(modele, PeftModel) and adaptateur:
        yield
        return
    allumees = [
        couche
        for couche in modele.modules()
        if isinstance(couche, BaseTunerLayer) and not couche.disable_adapters
    ]
    for couche in allumees:
        couche.enable_adapters(False)
    try:
        yield
    finally:
        for couche in allumees:
            couche.enable_adapters(True)
