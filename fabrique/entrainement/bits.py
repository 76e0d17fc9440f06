"""Les bits par octet : ce que vaut un modèle sur des textes qu'il n'a pas appris."""

from __future__ import annotations

import math

from transformers import FalconForCausalLM, PreTrainedTokenizerBase

from fabrique.modeles.gabarits import coder, debut_de_suite
from fabrique.modeles.vraisemblance import a_predire, log_probabilites


def bits_par_octet(
    modele: FalconForCausalLM,
    tokenizer: PreTrainedTokenizerBase,
    textes: list[str],
    longueur: int,
    recul: int | None = None,
) -> float:
    """Bits par octet du modèle sur des textes : combien il en faudrait pour les comprimer.

    Chaque jeton est jugé une fois. Les fenêtres de ``longueur`` jetons avancent de
    ``recul`` (la moitié par défaut), si bien qu'un jeton a du contexte devant lui.

    Returns:
        log2 de la vraisemblance divisé par le nombre d'octets UTF-8 ; plus bas, mieux c'est.
    """
    recul = min(recul or longueur // 2, longueur - 1)
    fenetres = []
    for texte in textes:
        ids = [*debut_de_suite(tokenizer), *coder(texte, tokenizer)]
        juges = 1
        for debut in range(0, len(ids), recul):
            fin = min(debut + longueur, len(ids))
            fenetres.append(a_predire(ids[debut:juges], ids[juges:fin]))
            juges = fin
            if fin == len(ids):
                break
    nats = -sum(notes.sum() for notes in log_probabilites(modele, fenetres, lot=1))
    return float(nats) / math.log(2) / sum(len(texte.encode()) for texte in textes)
