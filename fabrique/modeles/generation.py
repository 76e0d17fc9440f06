"""Faire répondre un modèle : au fil de l'eau, jusqu'au jeton de fin.

Aucune règle de décodage n'est cachée : sans réglage, le modèle prend toujours le jeton le plus
probable ; à une température, il tire parmi tous les jetons.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from accelerate.utils.memory import clear_device_cache, should_reduce_batch_size
from peft import PeftModel
from peft.tuners.tuners_utils import BaseTunerLayer
from transformers import (
    LogitsProcessor,
    LogitsProcessorList,
    NoRepeatNGramLogitsProcessor,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    RepetitionPenaltyLogitsProcessor,
    TextStreamer,
)
from transformers.tokenization_utils_base import VERY_LARGE_INTEGER

from fabrique.machine.denormaux import sans_denormaux
from fabrique.modeles.contrainte import SelonGrammaire, au_sort, le_plus_probable
from fabrique.modeles.formes import grammaire_de_la_forme
from fabrique.modeles.gabarits import coder, debut_de_suite, texte_de_la_demande, texte_envoye
from fabrique.socle.erreurs import MACHINE, ErreurFabrique

JOURNAL = logging.getLogger(__name__)

Element = TypeVar("Element")
Rendu = TypeVar("Rendu")

#: Ce que ``generate`` prendrait dans la configuration d'un modèle si on ne le disait pas : chaque
#: valeur est celle qui ne fait rien. Source : documentation de ``GenerationConfig``.
SANS_REGLE_CACHEE = {
    "num_beams": 1,
    "top_p": 1.0,
    "min_p": None,
    "typical_p": 1.0,
    "epsilon_cutoff": 0.0,
    "eta_cutoff": 0.0,
    "repetition_penalty": 1.0,
    "no_repeat_ngram_size": 0,
    "bad_words_ids": None,
    "sequence_bias": None,
    "suppress_tokens": None,
    "begin_suppress_tokens": None,
    "forced_bos_token_id": None,
    "forced_eos_token_id": None,
    "exponential_decay_length_penalty": None,
}


def generer(
    modele: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    instruction: str,
    input: str = "",
    *,
    adaptateur: bool | str = True,
    max_new_tokens: int = 220,
    temperature: float = 0.0,
    top_k: int = 0,
    repetition_penalty: float = 1.0,
    sans_repeter: int = 0,
    grammaire: str = "",
    schema: Mapping[str, Any] | None = None,
    choix: Sequence[str] = (),
    motif: str = "",
    graine: int | None = None,
    afficher: bool = True,
) -> str:
    """Répond à une instruction, en affichant les mots à mesure qu'ils viennent.

    Une réponse dont on demande la forme (``schema``, ``choix``, ``motif`` ou ``grammaire``) la suit
    toujours, et finit dans ``max_new_tokens`` ; si le modèle l'aurait suivie de lui-même, elle est
    celle qu'il aurait écrite.

    Args:
        instruction: la demande, en français.
        input: le texte à traiter, s'il y en a un.
        adaptateur: ``False`` interroge la base sans son adaptateur, sans rien recharger ; un nom,
            l'adaptateur que ``charger_adaptateur`` a posé sous ce nom.
        max_new_tokens: longueur maximale de la réponse, en jetons.
        temperature: 0 prend toujours le jeton le plus probable ; plus haut, on tire au sort.
        top_k: tire parmi les ``top_k`` jetons les plus probables ; 0, parmi tous.
        repetition_penalty: divise la note d'un jeton déjà écrit ; 1 n'y change rien.
        sans_repeter: la réponse n'écrit jamais deux fois la même suite de ``sans_repeter``
            jetons ; 0 n'interdit rien.
        grammaire: ce que la réponse peut être, dans le langage de Lark (``SelonGrammaire``) ; vide,
            tout.
        schema: un schéma JSON, que la réponse suit (``docs/structure.md`` dit lesquels).
        choix: les seuls textes que la réponse peut être.
        motif: une expression régulière, que la réponse suit en entier.
        graine: rend un tirage reproductible.
        afficher: ``False`` rend la réponse sans l'imprimer.

    Returns:
        La réponse, sans le texte envoyé ni le jeton de fin.

    Raises:
        ErreurFabrique: demi-caractère Unicode, question plus longue que la fenêtre du modèle,
            adaptateur inconnu, forme qu'on ne sait pas suivre ou qui ne tient pas dans
            ``max_new_tokens``.
    """
    grammaire = grammaire or grammaire_de_la_forme(schema, choix, motif)
    ids = torch.tensor([coder(texte_envoye(tokenizer, instruction, input), tokenizer)])
    return continuer(
        modele,
        tokenizer,
        ids,
        adaptateur=adaptateur,
        max_new_tokens=max_new_tokens,
        temperature=temperature,
        top_k=top_k,
        repetition_penalty=repetition_penalty,
        sans_repeter=sans_repeter,
        grammaire=grammaire,
        graine=graine,
        afficher=afficher,
    )


def continuer(
    modele: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    texte: str | torch.Tensor,
    *,
    adaptateur: bool | str = True,
    max_new_tokens: int = 60,
    temperature: float = 0.0,
    top_k: int = 0,
    repetition_penalty: float = 1.0,
    sans_repeter: int = 0,
    grammaire: str = "",
    graine: int | None = None,
    afficher: bool = False,
) -> str:
    """Continue un texte tel quel, sans gabarit de conversation.

    La génération se fait ici même, sans fil d'exécution à part : l'interrompre l'arrête.

    Args:
        texte: le début du texte, ou ses identifiants (forme : 1 × longueur).

    Returns:
        La suite seule.

    Raises:
        ErreurFabrique: demi-caractère Unicode, ou texte plus long que la fenêtre du modèle.
    """
    if isinstance(texte, str):
        texte = torch.tensor([[*debut_de_suite(tokenizer), *coder(texte, tokenizer)]])
    place = place_pour_repondre(modele, tokenizer, texte.shape[1])
    if graine is not None:
        torch.manual_seed(graine)
    ids = texte.to(modele.device)
    flux = Flux(tokenizer, afficher)
    tirage = {"temperature": float(temperature), "top_k": top_k} if temperature > 0 else {}
    processeurs = regles(repetition_penalty, sans_repeter, ids.shape[1])
    limite = min(max_new_tokens, place)
    if grammaire:
        prendre = au_sort(temperature, top_k) if tirage else le_plus_probable
        processeurs.append(SelonGrammaire(tokenizer, [grammaire], ids.shape[1], [limite], prendre))
    entrees = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    reglages = {"max_new_tokens": limite, "streamer": flux} | tirage
    sortie = _ecrire(modele, tokenizer, entrees, adaptateur, processeurs, **reglages)
    if place < max_new_tokens and sortie[0, -1] != tokenizer.eos_token_id:
        _dire_la_coupe(1, fenetre(modele, tokenizer))
    return flux.texte if grammaire else flux.texte.strip()


@sans_denormaux()
@torch.inference_mode()
def _ecrire(
    modele: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    entrees: Mapping[str, torch.Tensor],
    adaptateur: bool | str,
    processeurs: LogitsProcessorList,
    **reglages: Any,
) -> torch.Tensor:
    """Ce que rend ``generate``, sans règle cachée ; on ne tire au sort qu'à une température."""
    modele.eval()
    with base_ou_affine(modele, adaptateur):
        return modele.generate(
            **entrees,
            do_sample="temperature" in reglages,
            logits_processor=processeurs,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
            use_cache=True,
            **SANS_REGLE_CACHEE | reglages,
        )


class Flux(TextStreamer):
    """Garde les mots à mesure que le modèle les écrit, et les affiche si on le demande."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, afficher: bool) -> None:
        super().__init__(
            tokenizer,
            skip_prompt=True,
            skip_special_tokens=True,
            clean_up_tokenization_spaces=False,
        )
        self.afficher = afficher
        self.morceaux: list[str] = []

    def on_finalized_text(self, text: str, stream_end: bool = False) -> None:
        """Reçoit de transformers les mots dont la fin est sûre."""
        self.morceaux.append(text)
        if self.afficher:
            print(text, end="\n" if stream_end else "", flush=True)

    @property
    def texte(self) -> str:
        """Tout ce qui a été écrit, sans le jeton de fin."""
        return "".join(self.morceaux)


def generer_par_lots(
    modele: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    exemples: list[dict],
    *,
    adaptateur: bool | str = True,
    max_new_tokens: int = 220,
    min_new_tokens: int = 0,
    repetition_penalty: float = 1.0,
    sans_repeter: int = 0,
    grammaires: Sequence[str] | None = None,
    lot: int = 32,
) -> list[tuple[str, bool]]:
    """Répond à plusieurs instructions à la fois, sans tirage au sort.

    Args:
        exemples: dictionnaires ``instruction``, ``input``.
        min_new_tokens: longueur minimale d'une réponse, en jetons : le jeton de fin attend.
        repetition_penalty: comme pour ``generer``.
        sans_repeter: comme pour ``generer``.
        grammaires: une par question, comme pour ``generer`` ; ``None`` n'en impose aucune.
        lot: combien de questions avancent ensemble ; moitié moins quand la mémoire manque.

    Returns:
        Pour chaque exemple, la réponse et si elle s'est close par le jeton de fin. Une réponse
        ne dépend pas de celles qui avancent avec elle.

    Raises:
        ErreurFabrique: demi-caractère Unicode, question plus longue que la fenêtre du modèle, ou
            mémoire insuffisante pour une seule question.
    """
    codes = [coder(texte_de_la_demande(tokenizer, e), tokenizer) for e in exemples]
    places = [
        place_pour_repondre(modele, tokenizer, len(code), rang)
        for rang, code in enumerate(codes, 1)
    ]
    longueurs = [min(max_new_tokens, place) for place in places]
    fin = tokenizer.eos_token_id

    def repondre(rangs: Sequence[int]) -> list[torch.Tensor]:
        entrees = tokenizer.pad(
            {"input_ids": [codes[rang] for rang in rangs]}, padding_side="left", return_tensors="pt"
        ).to(modele.device)
        question = entrees["input_ids"].shape[1]
        processeurs = regles(repetition_penalty, sans_repeter, question)
        if grammaires:
            suivies = [grammaires[rang] for rang in rangs]
            bornes = [longueurs[rang] for rang in rangs]
            processeurs.append(SelonGrammaire(tokenizer, suivies, question, bornes))
        reglages = {"max_new_tokens": max(longueurs[rang] for rang in rangs)}
        reglages["min_new_tokens"] = min_new_tokens
        sorties = _ecrire(modele, tokenizer, entrees, adaptateur, processeurs, **reglages)
        # Le lot avance jusqu'à sa réponse la plus longue ; chacune s'arrête à sa propre limite.
        return [ids[question:][: longueurs[rang]] for rang, ids in zip(rangs, sorties, strict=True)]

    dites = [ids for lus in par_lots(range(len(codes)), lot, repondre) for ids in lus]
    finies = [bool((ids == fin).any()) for ids in dites]
    coupees = sum(
        place < max_new_tokens and not finie for place, finie in zip(places, finies, strict=True)
    )
    if coupees:
        _dire_la_coupe(coupees, fenetre(modele, tokenizer))
    textes = [tokenizer.decode(ids, skip_special_tokens=True) for ids in dites]
    if not grammaires:
        textes = [texte.strip() for texte in textes]
    return list(zip(textes, finies, strict=True))


# ---------------------------------------------------------------- la place


def fenetre(modele: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> int | None:
    """Combien de jetons le modèle lit et écrit au plus, question et réponse ; ``None`` : inconnu."""
    du_modele = getattr(modele.config, "max_position_embeddings", None)
    # Un tokenizer sans limite annonce un nombre énorme, que transformers nomme VERY_LARGE_INTEGER.
    du_tokenizer = tokenizer.model_max_length
    return du_modele or (du_tokenizer if du_tokenizer < VERY_LARGE_INTEGER else None)


def place_pour_repondre(
    modele: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    longueur: int,
    rang: int | None = None,
) -> int:
    """Combien de jetons il reste pour répondre à une question de ``longueur`` jetons.

    Args:
        rang: le rang de la question, compté depuis 1, quand il y en a plusieurs.

    Raises:
        ErreurFabrique: la question remplit ou dépasse la fenêtre du modèle.
    """
    limite = fenetre(modele, tokenizer)
    return sys.maxsize if limite is None else place_dans(limite, longueur, rang)


def place_dans(limite: int, longueur: int, rang: int | None = None) -> int:
    """Combien de jetons il reste pour répondre dans une fenêtre de ``limite`` jetons.

    Raises:
        ErreurFabrique: la question remplit ou dépasse la fenêtre.
    """
    if longueur >= limite:
        laquelle = "le texte" if rang is None else f"la question {rang}"
        raise ErreurFabrique(
            f"{laquelle} fait {longueur} jetons, gabarit compris : le modèle n’en lit que {limite}, "
            "réponse comprise",
            "Raccourcissez ce texte, ou découpez-le en plusieurs questions",
        )
    return limite - longueur


def _dire_la_coupe(combien: int, limite: int | None) -> None:
    reponses = "La réponse est coupée" if combien == 1 else f"{combien} réponses sont coupées"
    JOURNAL.warning(
        f"{reponses} : question et réponse ne peuvent dépasser {limite} jetons avec ce modèle."
    )


def par_lots(
    elements: Sequence[Element], lot: int, traiter: Callable[[Sequence[Element]], Rendu]
) -> Iterator[Rendu]:
    """Traite des éléments par lots ; un lot trop gros pour la mémoire est repris en deux fois.

    Args:
        lot: combien d'éléments avancent ensemble, au plus.
        traiter: rend le résultat d'un lot.

    Raises:
        ErreurFabrique: un seul élément ne tient pas en mémoire.
    """
    debut = 0
    while debut < len(elements):
        tient = True
        try:
            rendu = traiter(elements[debut : debut + lot])
        except (RuntimeError, MemoryError) as cause:
            if not isinstance(cause, MemoryError) and not should_reduce_batch_size(cause):
                raise
            tient = False
        if tient:
            yield rendu
            debut += lot
        elif lot == 1:
            raise ErreurFabrique(
                "la mémoire ne suffit pas, même un texte à la fois",
                "Fermez les autres programmes, ou raccourcissez textes et réponses",
                code=MACHINE,
            )
        else:  # hors du bloc : la trace de la cause retiendrait les calculs du lot
            lot //= 2
            clear_device_cache(garbage_collection=True)


# ---------------------------------------------------------------- les règles


def regles(repetition_penalty: float, sans_repeter: int, question: int) -> LogitsProcessorList:
    """Ce qui retient une réponse de se redire, sans regarder la question.

    Args:
        repetition_penalty: de combien affaiblir les jetons que la réponse contient déjà ; 1 n'y
            change rien. Source : Keskar et al., 2019 (CTRL, arXiv:1909.05858).
        sans_repeter: longueur d'une suite que la réponse n'écrit qu'une fois ; 0, aucune.
        question: longueur de la question, en jetons.
    """
    processeurs = LogitsProcessorList()
    if sans_repeter:
        processeurs.append(SansBoucle(sans_repeter, question))
    if repetition_penalty != 1.0:
        processeurs.append(
            RepetitionPenaltyLogitsProcessor(repetition_penalty, prompt_ignore_length=question)
        )
    return processeurs


class SansBoucle(LogitsProcessor):
    """Interdit à la réponse une suite de ``longueur`` jetons qu'elle a déjà écrite."""

    def __init__(self, longueur: int, question: int) -> None:
        self.question, self.regle = question, NoRepeatNGramLogitsProcessor(longueur)

    def __call__(self, input_ids: torch.LongTensor, scores: torch.Tensor) -> torch.Tensor:
        """Les notes du jeton suivant (forme : lot × vocabulaire), les redites à −∞."""
        return self.regle(input_ids[:, self.question :], scores)


@contextmanager
def base_ou_affine(modele: PreTrainedModel, adaptateur: bool | str) -> Iterator[None]:
    """Éteint l'adaptateur, ou met en service celui qu'on nomme, le temps d'une réponse.

    Un modèle nu répond toujours comme la base, même quand peft a depuis posé un adaptateur
    dans ses couches : ``modele`` et ``resultat.modele`` restent deux interlocuteurs.

    Raises:
        ErreurFabrique: aucun adaptateur de ce nom n'est posé sur le modèle.
    """
    if isinstance(adaptateur, str):
        with _en_service(modele, adaptateur):
            yield
        return
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


@contextmanager
def _en_service(modele: PreTrainedModel, nom: str) -> Iterator[None]:
    """Met un adaptateur en service, puis rend le modèle tel qu'il était."""
    poses = list(modele.peft_config) if isinstance(modele, PeftModel) else []
    if nom not in poses:
        raise ErreurFabrique(
            f"aucun adaptateur ne s’appelle « {nom} » sur ce modèle"
            + (f", qui porte {', '.join(poses)}" if poses else ""),
            "Posez-le d’abord : charger_adaptateur(modele, dossier, nom=…)",
        )
    avant = modele.active_adapters
    apprenables = [p for p in modele.parameters() if p.requires_grad]
    modele.base_model.set_adapter(nom, inference_mode=True)
    try:
        yield
    finally:
        modele.base_model.set_adapter(avant, inference_mode=True)
        for parametre in apprenables:
            parametre.requires_grad_(True)
