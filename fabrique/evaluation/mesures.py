"""La perte sur des exemples jamais appris, avant et après, et la forme des réponses."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from statistics import median

import numpy as np
import torch
from datasets import Dataset
from scipy.stats import bootstrap
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from fabrique.corpus.formats import reponse
from fabrique.entrainement.exemples import LotSansPerteInutile
from fabrique.modeles.gabarits import SANS_PERTE, exemple_en_jetons
from fabrique.modeles.generation import base_ou_affine, generer_par_lots, par_lots
from fabrique.socle.erreurs import ErreurFabrique


@dataclass(frozen=True)
class ComparaisonPertes:
    """Perte moyenne par exemple (nats par jeton de réponse, jeton de fin exclu), et son écart.

    ``gain`` est la baisse relative de la perte moyenne ; ``ic95`` son intervalle à 95 %, par
    rééchantillonnage apparié des exemples. ``ecartes`` compte ceux qui n'ont pas de perte : il n'y
    reste rien à apprendre.
    """

    avant: float
    apres: float
    gain: float
    ic95: tuple[float, float]
    exemples: int
    ecartes: int = 0


@torch.inference_mode()
def pertes(
    modele: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    corpus: Iterable[dict],
    *,
    adaptateur: bool = True,
    cutoff_len: int = 512,
    avec_fin: bool = False,
    lot: int = 8,
) -> np.ndarray:
    """Perte de chaque exemple : moyenne, sur sa réponse, de −ln(probabilité du jeton attendu).

    Args:
        adaptateur: ``False`` mesure la base.
        cutoff_len: au-delà, l'exemple est coupé.
        avec_fin: compte aussi le jeton de fin, que la base n'a aucune raison de prévoir.
        lot: combien d'exemples sont lus ensemble ; moitié moins quand la mémoire manque.

    Returns:
        Un tableau de forme (nombre d'exemples,), en nats par jeton ; NaN pour un exemple où il ne
        reste rien à apprendre : question qui remplit ``cutoff_len``, ou réponses de poids nul.
    """
    assembler = LotSansPerteInutile(tokenizer, modele)
    exemples = [exemple_en_jetons(tokenizer, e, cutoff_len) for e in corpus]
    if not avec_fin:
        for exemple in exemples:
            exemple["labels"][-1] = SANS_PERTE
    ordre = sorted(range(len(exemples)), key=lambda rang: len(exemples[rang]["input_ids"]))

    def mesurer(rangs: list[int]) -> np.ndarray:
        entrees = assembler([exemples[rang] for rang in rangs]).to(modele.device)
        etiquettes = entrees.pop("labels")[:, 1:]
        logits = modele(**entrees).logits[:, :-1].float()
        par_jeton = torch.nn.functional.cross_entropy(
            logits.flatten(0, 1), etiquettes.flatten(), ignore_index=SANS_PERTE, reduction="none"
        ).view(etiquettes.shape)
        comptes = (etiquettes != SANS_PERTE).sum(dim=1)
        return (par_jeton.sum(dim=1) / comptes).cpu().numpy()

    valeurs = np.zeros(len(exemples))
    modele.eval()
    with base_ou_affine(modele, adaptateur):
        if ordre:
            valeurs[ordre] = np.concatenate(list(par_lots(ordre, lot, mesurer)))
    return valeurs


def tailles_des_reponses(
    tokenizer: PreTrainedTokenizerBase, corpus: Iterable[dict], cutoff_len: int = 512
) -> tuple[np.ndarray, np.ndarray]:
    """Combien de jetons (fin exclue), et combien d'octets, la perte de chaque exemple a comptés."""
    comptes = []
    for exemple in corpus:
        etiquettes = exemple_en_jetons(tokenizer, exemple, cutoff_len)["labels"][:-1]
        dits = [jeton for jeton in etiquettes if jeton != SANS_PERTE]
        comptes.append((len(dits), len(tokenizer.decode(dits).encode())))
    jetons, octets = np.array(comptes, float).reshape(-1, 2).T
    return jetons, octets


def comparer_pertes(avant: np.ndarray, apres: np.ndarray, graine: int = 0) -> ComparaisonPertes:
    """Compare deux pertes mesurées sur les mêmes exemples ; ceux qui n'en ont pas sont écartés.

    Source : Efron et Tibshirani, 1993, pour le rééchantillonnage apparié (scipy).

    Raises:
        ErreurFabrique: moins de deux exemples ont une perte.
    """
    mesures = ~(np.isnan(avant) & np.isnan(apres))
    ecartes = len(avant) - int(mesures.sum())
    avant, apres = avant[mesures], apres[mesures]
    if len(avant) < 2:
        raise ErreurFabrique(
            f"{len(avant)} exemple à comparer, {ecartes} écartés : il n’y reste rien à apprendre",
            "Donnez au moins deux exemples, ou augmentez cutoff_len",
        )
    intervalle = bootstrap(
        (avant, apres),
        lambda a, b, axis=-1: 1 - b.mean(axis=axis) / a.mean(axis=axis),
        paired=True,
        vectorized=True,
        n_resamples=2000,
        method="percentile",
        rng=np.random.default_rng(graine),
    ).confidence_interval
    return ComparaisonPertes(
        avant=float(avant.mean()),
        apres=float(apres.mean()),
        gain=float(1 - apres.mean() / avant.mean()),
        ic95=(float(intervalle.low), float(intervalle.high)),
        exemples=len(avant),
        ecartes=ecartes,
    )


@dataclass(frozen=True)
class Reponses:
    """La forme des réponses : part close par le jeton de fin, longueurs médianes en jetons."""

    textes: list[str]
    taux_fin: float
    longueur_mediane: float
    longueur_reference: float


def mesurer_reponses(
    modele: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    corpus: Dataset,
    *,
    adaptateur: bool = True,
    max_new_tokens: int = 320,
) -> Reponses:
    """Fait répondre le modèle à tout un corpus et mesure la forme de ses réponses."""
    reponses = generer_par_lots(
        modele, tokenizer, list(corpus), adaptateur=adaptateur, max_new_tokens=max_new_tokens
    )
    longueur = lambda texte: len(tokenizer(texte, add_special_tokens=False)["input_ids"])  # noqa: E731
    return Reponses(
        textes=[texte for texte, _ in reponses],
        taux_fin=sum(finie for _, finie in reponses) / len(reponses),
        longueur_mediane=median(longueur(texte) for texte, _ in reponses),
        longueur_reference=median(longueur(reponse(exemple)) for exemple in corpus),
    )
