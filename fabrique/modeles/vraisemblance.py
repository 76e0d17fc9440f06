"""La log-probabilité d'une suite de jetons : pertes, perplexités et choix n'en sont que des sommes."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from itertools import chain

import numpy as np
import torch
from peft import PeftModel
from torch.nn.utils.rnn import pad_sequence
from transformers import BatchEncoding, PreTrainedModel

from fabrique.machine.denormaux import sans_denormaux
from fabrique.modeles.gabarits import SANS_PERTE
from fabrique.modeles.generation import base_ou_affine, par_lots


def a_predire(debut: Sequence[int], suite: Sequence[int]) -> dict[str, list[int]]:
    """Un exemple en jetons dont le début se lit, sans compter, et dont la suite se prédit."""
    return {"input_ids": [*debut, *suite], "labels": [SANS_PERTE] * len(debut) + [*suite]}


@sans_denormaux()
@torch.inference_mode()
def log_probabilites(
    modele: PreTrainedModel,
    exemples: Sequence[Mapping[str, list[int]]],
    *,
    adaptateur: bool | str = True,
    lot: int = 8,
) -> list[np.ndarray]:
    """La log-probabilité de chaque jeton à prédire, sachant tous ceux qui le précèdent.

    Args:
        exemples: des exemples en jetons, de ``a_predire`` ou d'``exemple_en_jetons``. Le premier
            jeton d'une suite, que rien ne précède, ne se prédit pas.
        adaptateur: ``False`` interroge la base ; un nom, l'adaptateur posé sous ce nom.
        lot: combien d'exemples sont lus ensemble ; moitié moins quand la mémoire manque.

    Returns:
        Un tableau par exemple (forme : jetons à prédire), en nats.

    Raises:
        ErreurFabrique: un seul exemple ne tient pas en mémoire.
    """

    def juger(rangs: Sequence[int]) -> list[np.ndarray]:
        # Rempli à droite : un jeton ne dépend que de ceux qui le précèdent.
        lu = {
            champ: pad_sequence([torch.tensor(exemples[rang][champ]) for rang in rangs], True, vide)
            for champ, vide in (("input_ids", 0), ("labels", SANS_PERTE))
        }
        lu = sans_prediction_inutile(BatchEncoding(lu), modele).to(modele.device)
        notes, tailles = log_probabilites_du_lot(modele, lu)
        return [note.double().numpy() for note in notes.cpu().split(tailles)]

    # Des longueurs voisines dans un lot, c'est moins de remplissage.
    ordre = sorted(range(len(exemples)), key=lambda rang: len(exemples[rang]["input_ids"]))
    modele.eval()
    with base_ou_affine(modele, adaptateur):
        juges = dict(zip(ordre, chain.from_iterable(par_lots(ordre, lot, juger)), strict=True))
    return [juges[rang] for rang in range(len(exemples))]


def log_probabilites_du_lot(
    modele: PreTrainedModel, lot: BatchEncoding
) -> tuple[torch.Tensor, list[int]]:
    """La log-probabilité de chaque jeton à prédire d'un lot, en nats ; elle se dérive.

    Args:
        lot: ce que rend ``sans_prediction_inutile``.

    Returns:
        Les log-probabilités de toutes les suites, bout à bout, et combien chacune en a.
    """
    etiquettes = lot.pop("labels")[:, 1:]  # la position n prédit le jeton n + 1
    a_juger = etiquettes != SANS_PERTE
    logits = modele(**lot).logits[:, :-1][a_juger].float()
    couts = torch.nn.functional.cross_entropy(logits, etiquettes[a_juger], reduction="none")
    return -couts, a_juger.sum(dim=1).tolist()


@sans_denormaux()
@torch.inference_mode()
def log_probabilites_des_suites(
    modele: PreTrainedModel,
    debut: Sequence[int],
    suites: Sequence[Sequence[int]],
    *,
    adaptateur: bool | str = True,
) -> np.ndarray:
    """La log-probabilité de chaque suite d'un même début, en nats (forme : suites).

    Le début n'est lu qu'une fois, et ce que des suites ont en commun aussi ; quand la mémoire
    manque, les suites se partagent, et le début se relit pour chaque part.

    Args:
        debut: les jetons du début, deux au moins.
        suites: les jetons de chaque suite, un au moins.
    """
    # Ce qu'il faut lire pour prédire chaque jeton d'une suite : elle, moins son dernier.
    lues = sorted({tuple(suite[:-1]) for suite in suites})

    def lire(lot: Sequence[tuple[int, ...]]) -> np.ndarray:
        tete = torch.tensor([debut[:-1]], device=modele.device)
        deja_lu = modele(tete, use_cache=True).past_key_values
        deja_lu.batch_repeat_interleave(len(lot))
        corps = pad_sequence([torch.tensor([debut[-1], *lue]) for lue in lot], batch_first=True)
        logits = modele(corps.to(modele.device), past_key_values=deja_lu, use_cache=True).logits
        return logits.float().log_softmax(-1).cpu().numpy()

    modele.eval()
    with base_ou_affine(modele, adaptateur):
        tables = dict(zip(lues, chain.from_iterable(par_lots(lues, len(lues), lire)), strict=True))
    return np.array([tables[tuple(suite[:-1])][range(len(suite)), suite].sum() for suite in suites])


def sans_prediction_inutile(lot: BatchEncoding, modele: PreTrainedModel) -> BatchEncoding:
    """Le lot, coupé pour n'y demander que les prédictions qui comptent.

    Avant la première étiquette apprise d'un lot, le modèle n'a pas à prédire de jeton : les
    étiquettes sont coupées d'autant. Un modèle qui ne connaît pas ``logits_to_keep`` reçoit le lot
    entier.
    """
    nu = modele.get_base_model() if isinstance(modele, PeftModel) else modele
    if "logits_to_keep" in inspect.signature(nu.forward).parameters:
        apprises = (lot["labels"] != SANS_PERTE).any(dim=0)
        # La position d'avant prédit la première étiquette : elle reste.
        debut = max(0, int(apprises.int().argmax()) - 1)
        lot["labels"] = lot["labels"][:, debut:]
        lot["logits_to_keep"] = lot["labels"].shape[1]
    return lot
