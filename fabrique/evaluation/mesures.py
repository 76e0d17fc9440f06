"""La perte sur des exemples jamais appris, avant et après, et la forme des réponses."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from statistics import median

import numpy as np
from datasets import Dataset
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from fabrique.corpus.formats import reponse
from fabrique.modeles.gabarits import SANS_PERTE, exemple_en_jetons
from fabrique.modeles.generation import generer_par_lots
from fabrique.modeles.vraisemblance import log_probabilites
from fabrique.socle.erreurs import ErreurFabrique
from fabrique.socle.reechantillonnage import reechantillonner


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
    exemples = [exemple_en_jetons(tokenizer, e, cutoff_len) for e in corpus]
    if not avec_fin:
        for exemple in exemples:
            exemple["labels"][-1] = SANS_PERTE
    notes = log_probabilites(modele, exemples, adaptateur=adaptateur, lot=lot)
    return np.array([-dites.mean() if len(dites) else np.nan for dites in notes])


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
    # Apparié : un exemple retiré l'est avec ses deux pertes.
    gain = lambda rangs: 1 - apres[rangs].mean(axis=-1) / avant[rangs].mean(axis=-1)  # noqa: E731
    return ComparaisonPertes(
        avant=float(avant.mean()),
        apres=float(apres.mean()),
        gain=float(gain(slice(None))),
        ic95=reechantillonner(gain, len(avant), graine=graine).bornes,
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
