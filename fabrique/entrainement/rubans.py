"""Des textes aux lots : un long ruban de jetons, où l'on prend des fenêtres au hasard."""

from __future__ import annotations

from itertools import chain, islice

import numpy as np
import torch
from transformers import PreTrainedTokenizerBase

from fabrique.entrainement.reglages import ReglagesPreentrainement
from fabrique.entrainement.textes import Document, Source, presentations
from fabrique.modeles.gabarits import debut_de_suite, neutraliser, verifier_unicode

#: Combien de morceaux le tokenizer découpe par appel : assez pour occuper tous les cœurs.
MORCEAUX_A_LA_FOIS = 512


def ruban(
    documents: list[Document], tokenizer: PreTrainedTokenizerBase, questions: bool = False
) -> np.ndarray:
    """Met bout à bout les identifiants : début, document, fin, début, document, fin…"""
    lectures = [
        lecture
        for document in documents
        for lecture in presentations(_neutre(document, tokenizer), questions)
    ]
    morceaux = [morceau for lecture in lectures for morceau in lecture]
    for morceau in morceaux:
        verifier_unicode(morceau)
    codes = (
        code.ids
        for debut in range(0, len(morceaux), MORCEAUX_A_LA_FOIS)
        for code in tokenizer.backend_tokenizer.encode_batch_fast(
            morceaux[debut : debut + MORCEAUX_A_LA_FOIS], add_special_tokens=False
        )
    )
    identifiants = [
        np.array(
            [
                *debut_de_suite(tokenizer),
                *chain.from_iterable(islice(codes, len(lecture))),
                tokenizer.eos_token_id,
            ],
            dtype=np.uint16,
        )
        for lecture in lectures
    ]
    return np.concatenate([np.array([], dtype=np.uint16), *identifiants])


def _neutre(document: Document, tokenizer: PreTrainedTokenizerBase) -> Document:
    """Le document, sans jeton spécial que ses auteurs y auraient écrit en toutes lettres."""
    return Document(
        *(
            neutraliser(champ, tokenizer)
            for champ in (document.texte, document.titre, document.reponse)
        )
    )


def tirer_lot(
    pas: int,
    rubans: list[np.ndarray],
    sources: list[Source],
    reglages: ReglagesPreentrainement,
) -> torch.Tensor:
    """Tire ``lot`` fenêtres de ``longueur`` jetons. Le tirage ne dépend que de la graine et du pas."""
    hasard = np.random.default_rng((reglages.graine, pas))
    choix = hasard.choice(len(rubans), size=reglages.lot, p=_parts(sources, pas / reglages.pas))
    fenetres = []
    for ruban_choisi in (rubans[i] for i in choix):
        depart = hasard.integers(0, max(1, len(ruban_choisi) - reglages.longueur))
        fenetre = np.resize(ruban_choisi[depart : depart + reglages.longueur], reglages.longueur)
        fenetres.append(fenetre.astype(np.int64))
    return torch.from_numpy(np.stack(fenetres))


def passages(
    rubans: list[np.ndarray], sources: list[Source], reglages: ReglagesPreentrainement
) -> list[float]:
    """Combien de fois chaque ruban sera lu d'ici la fin, en moyenne ; un texte y est parfois deux fois."""
    avances = np.arange(reglages.pas) / reglages.pas
    fenetres = reglages.lot * np.sum([_parts(sources, avance) for avance in avances], axis=0)
    return [
        float(lues * reglages.longueur / len(lu)) for lues, lu in zip(fenetres, rubans, strict=True)
    ]


def _parts(sources: list[Source], avance: float) -> np.ndarray:
    """La part de chaque source dans les lots, de somme 1, quand on en est à ``avance`` (0 à 1)."""
    parts = np.array([s.part_debut + avance * (s.part_fin - s.part_debut) for s in sources])
    return parts / parts.sum()
