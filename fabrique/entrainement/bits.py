"""Les bits par octet : ce que vaut un modèle sur des textes qu'il n'a pas appris."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from fabrique.modeles.gabarits import coder, debut_de_suite
from fabrique.modeles.vraisemblance import a_predire, log_probabilites


def bits_par_octet(
    modele: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    textes: Sequence[str],
    longueur: int,
    recul: int | None = None,
) -> float:
    """Bits par octet du modèle sur des textes : combien il en faudrait pour les comprimer.

    Chaque jeton est jugé une fois. Les fenêtres de ``longueur`` jetons avancent de
    ``recul`` (la moitié par défaut), si bien qu'un jeton a du contexte devant lui.

    Returns:
        log2 de la vraisemblance divisé par le nombre d'octets UTF-8 ; plus bas, mieux c'est.
    """
    bits = bits_par_texte(modele, tokenizer, textes, longueur, recul)
    return float(bits.sum()) / int(octets_par_texte(textes).sum())


def bits_par_texte(
    modele: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    textes: Sequence[str],
    longueur: int,
    recul: int | None = None,
) -> np.ndarray:
    """Les bits que chaque texte coûte au modèle (forme : textes), comme ``bits_par_octet``."""
    recul = min(recul or longueur // 2, longueur - 1)
    fenetres, auteurs = [], []
    for rang, texte in enumerate(textes):
        ids = [*debut_de_suite(tokenizer), *coder(texte, tokenizer)]
        for fenetre in _fenetres(ids, longueur, recul):
            fenetres.append(fenetre)
            auteurs.append(rang)
    nats = [-notes.sum() for notes in log_probabilites(modele, fenetres, lot=1)]
    return np.bincount(auteurs, weights=nats, minlength=len(textes)) / math.log(2)


def octets_par_texte(textes: Sequence[str]) -> np.ndarray:
    """Les octets UTF-8 de chaque texte (forme : textes)."""
    return np.array([len(texte.encode()) for texte in textes])


def _fenetres(ids: list[int], longueur: int, recul: int) -> Iterator[dict[str, list[int]]]:
    juges = 1
    for debut in range(0, len(ids), recul):
        fin = min(debut + longueur, len(ids))
        yield a_predire(ids[debut:juges], ids[juges:fin])
        juges = fin
        if fin == len(ids):
            return
