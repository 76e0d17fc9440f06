"""Mesurer un tokenizer : combien de jetons par mot, à quel prix, et sous le bruit d'un scanner."""

from __future__ import annotations

import math
import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from fabrique.jetons.decoupeurs import Decoupeur
from fabrique.socle.erreurs import ErreurFabrique
from fabrique.socle.nombres import en_bref
from fabrique.socle.reechantillonnage import reechantillonner


@dataclass(frozen=True)
class Rapport:
    """Un rapport de deux totaux, et son intervalle.

    Args:
        valeur: le rapport ; ``None`` si son dénominateur est nul (texte vide).
        ic95: ses bornes à 95 %, documents rééchantillonnés ; ``None`` sous deux documents.
    """

    valeur: float | None
    ic95: tuple[float, float] | None = None


@dataclass(frozen=True)
class Fertilite:
    """Ce qu'un tokenizer fait d'un genre de texte.

    Args:
        genre: le genre de texte (« fiches », « roman »…).
        tokenizer: le nom du tokenizer.
        entrees: la taille de son vocabulaire.
        documents: le nombre de documents mesurés.
        mots: leurs mots, séparés par des blancs.
        jetons: leurs jetons, sans jeton ajouté autour.
        jetons_max: les jetons du plus long document.
        jetons_par_mot: la fertilité ; plus elle est basse, moins le texte coûte.
        octets_par_jeton: les octets UTF-8 que porte un jeton.
        caracteres_par_jeton: les caractères Unicode que porte un jeton.
    """

    genre: str
    tokenizer: str
    entrees: int
    documents: int
    mots: int
    jetons: int
    jetons_max: int
    jetons_par_mot: Rapport
    octets_par_jeton: Rapport
    caracteres_par_jeton: Rapport


@dataclass(frozen=True)
class Cout:
    """Ce que coûte la lecture d'un texte par un modèle.

    Args:
        jetons: leur nombre.
        euros: leur prix ; ``None`` sans prix donné.
        part_contexte: la part de la fenêtre qu'ils occupent, 1 quand elle est pleine ;
            ``None`` sans fenêtre donnée.
    """

    jetons: int
    euros: float | None
    part_contexte: float | None


# ---------------------------------------------------------------- la fertilité


def fertilite(
    corpus: Mapping[str, Sequence[str]], tokenizers: Sequence[Decoupeur], graine: int = 0
) -> list[Fertilite]:
    """Mesure chaque tokenizer sur chaque genre de texte.

    Args:
        corpus: les documents, par genre.
        tokenizers: les tokenizers à comparer.
        graine: celle du rééchantillonnage.

    Returns:
        Une mesure par genre et par tokenizer, dans l'ordre donné.

    Raises:
        ErreurFabrique: un texte contient un demi-caractère Unicode.

    Source : Rust et al., 2021 (arXiv:2012.15613).
    """
    return [
        _mesurer(genre, textes, tokenizer, graine)
        for genre, textes in corpus.items()
        for tokenizer in tokenizers
    ]


def _mesurer(genre: str, textes: Sequence[str], tokenizer: Decoupeur, graine: int) -> Fertilite:
    jetons = np.array([len(tokenizer.coder(texte)) for texte in textes], dtype=float)
    mots = np.array([len(texte.split()) for texte in textes], dtype=float)
    octets = np.array([len(texte.encode()) for texte in textes], dtype=float)
    caracteres = np.array([len(texte) for texte in textes], dtype=float)
    return Fertilite(
        genre=genre,
        tokenizer=tokenizer.nom,
        entrees=tokenizer.entrees,
        documents=len(textes),
        mots=int(mots.sum()),
        jetons=int(jetons.sum()),
        jetons_max=int(jetons.max(initial=0)),
        jetons_par_mot=rapport(jetons, mots, graine),
        octets_par_jeton=rapport(octets, jetons, graine),
        caracteres_par_jeton=rapport(caracteres, jetons, graine),
    )


def rapport(numerateurs: np.ndarray, denominateurs: np.ndarray, graine: int = 0) -> Rapport:
    """Le rapport de deux totaux, avec son intervalle à 95 % par rééchantillonnage des documents.

    Args:
        numerateurs: une valeur par document.
        denominateurs: une valeur par document, dans le même ordre.
    """
    # Un document sans mot (ou sans jeton) n'a pas de rapport : il reste hors du tirage.
    gardes = denominateurs > 0
    hauts, bas = numerateurs[gardes], denominateurs[gardes]
    if not len(bas):
        return Rapport(None)
    valeur = float(numerateurs.sum() / bas.sum())
    if len(bas) < 2:
        return Rapport(valeur)
    parts = lambda rangs: hauts[rangs].sum(axis=-1) / bas[rangs].sum(axis=-1)  # noqa: E731
    return Rapport(valeur, reechantillonner(parts, len(bas), graine=graine).bornes)


# ---------------------------------------------------------------- le coût


def cout(
    texte: str,
    tokenizer: Decoupeur,
    prix_par_million_de_jetons: float | None = None,
    contexte: int | None = None,
) -> Cout:
    """Le coût de lecture d'un texte.

    Args:
        texte: le texte envoyé au modèle.
        tokenizer: celui du modèle.
        prix_par_million_de_jetons: en euros.
        contexte: la longueur de la fenêtre, en jetons.

    Raises:
        ErreurFabrique: prix négatif, fenêtre vide, ou demi-caractère Unicode dans le texte.
    """
    verifier_tarif(prix_par_million_de_jetons, contexte)
    return tarifer(len(tokenizer.coder(texte)), prix_par_million_de_jetons, contexte)


def tarifer(jetons: int, prix: float | None, contexte: int | None) -> Cout:
    """Le coût d'un nombre de jetons ; ``prix`` en euros par million, ``contexte`` en jetons."""
    return Cout(
        jetons=jetons,
        euros=None if prix is None else jetons * prix / 1_000_000,
        part_contexte=None if contexte is None else jetons / contexte,
    )


def verifier_tarif(prix: float | None, contexte: int | None) -> None:
    """Refuse un prix négatif ou infini, une fenêtre de moins d'un jeton."""
    if prix is not None and not 0 <= prix < math.inf:
        raise ErreurFabrique(
            f"le prix ({en_bref(prix)}) doit être positif ou nul",
            "Donnez des euros par million de jetons",
            champ="prix",
        )
    if contexte is not None and contexte < 1:
        raise ErreurFabrique(
            f"la fenêtre ({contexte}) doit compter au moins un jeton",
            "Donnez sa longueur en jetons",
            champ="contexte",
        )


# ---------------------------------------------------------------- le bruit du scanner

#: Ce qu'une reconnaissance de caractères prend l'un pour l'autre. Tous ces couples, sauf « cl/d »
#: et « l/I », se rencontrent dans les 542 paires françaises d'ICDAR 2019.
SOSIES = {
    "rn": ["m"],
    "cl": ["d"],
    "m": ["rn", "n"],
    "d": ["cl"],
    "e": ["é", "c", "o"],
    "é": ["e"],
    "è": ["e"],
    "à": ["a"],
    "a": ["o", "à", "e"],
    "o": ["e", "a"],
    "c": ["e", "t"],
    "t": ["c", "l", "r"],
    "u": ["n", "i"],
    "n": ["u", "m", "v"],
    "v": ["n", "u"],
    "i": ["r", "l"],
    "r": ["i", "t", "n"],
    "s": ["z", "f", "t"],
    "f": ["s"],
    "l": ["1", "i", "I"],
    "1": ["l", "I"],
    "I": ["1", "l"],
    "O": ["0", "U"],
    "0": ["O", "8"],
    "B": ["8", "6"],
    "8": ["0", "6"],
    "E": ["F", "L"],
    "’": ["'"],
    ".": [","],
    ",": ["."],
}
_MOTIF = re.compile("|".join(sorted(map(re.escape, SOSIES), key=len, reverse=True)))


def bruiter(texte: str, part: float, graine: int = 0) -> str:
    """Abîme un texte comme le fait un scanner : des caractères deviennent leurs sosies.

    Args:
        texte: le texte d'origine.
        part: part de ses caractères à abîmer, de 0 à 1 ; l'effet plafonne quand tout ce qui a
            un sosie est pris.
        graine: la même graine abîme toujours aux mêmes endroits, de la même façon.

    Raises:
        ErreurFabrique: ``part`` n'est pas entre 0 et 1.

    Source : Rigaud et al., 2019 (ICDAR 2019, correction de textes numérisés).
    """
    if not 0 <= part <= 1:
        raise ErreurFabrique(
            f"la part abîmée ({en_bref(part)}) doit être entre 0 et 1", "Donnez 0.1 pour 10 %"
        )
    hasard = random.Random(graine)
    places = [trouve.span() for trouve in _MOTIF.finditer(texte)]
    combien = min(len(places), round(part * len(texte)))
    morceaux, fin = [], 0
    for debut, suite in sorted(hasard.sample(places, combien)):
        morceaux += [texte[fin:debut], hasard.choice(SOSIES[texte[debut:suite]])]
        fin = suite
    return "".join([*morceaux, texte[fin:]])
