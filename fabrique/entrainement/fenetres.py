"""Des documents aux fenêtres : plusieurs par fenêtre, sans qu'aucun ne lise les autres.

transformers sait séparer des documents mis bout à bout quand ``position_ids`` repart de zéro ; Falcon,
lui, ne transmet pas ``position_ids`` à ce qui fait son masque (``modeling_falcon``, 5.15 à 5.23) : un
document y lirait ses voisins, sans que rien ne le dise. Le masque est donc fait ici, à quatre
dimensions ; tout modèle à attention ordinaire le prend tel quel.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from datasets import Dataset
from transformers import BatchEncoding, PreTrainedTokenizerBase

from fabrique.entrainement.textes import Document
from fabrique.modeles.gabarits import SANS_PERTE, coder, debut_de_suite, neutraliser
from fabrique.socle.erreurs import ErreurFabrique

#: Le numéro de document de ce qui remplit la fin de la dernière fenêtre.
REMPLISSAGE = -1


def en_fenetres(
    sources: Sequence[Sequence[Document]], tokenizer: PreTrainedTokenizerBase, longueur: int
) -> Dataset:
    """Met les documents de chaque source bout à bout, et coupe tous les ``longueur`` jetons.

    Args:
        sources: les documents, une suite par source.

    Returns:
        ``input_ids`` et ``documents`` (le numéro du document de chaque jeton), de forme
        fenêtres × longueur ; ``source``, le rang de la source de chaque fenêtre.

    Raises:
        ErreurFabrique: aucun texte.
    """
    ids: list[np.ndarray] = []
    numeros: list[np.ndarray] = []
    rangs: list[int] = []
    for rang, documents in enumerate(sources):
        codes = [np.array(code, dtype=np.int32) for code in _codes(documents, tokenizer)]
        jetons = sum(map(len, codes))
        manque = -jetons % longueur
        ids += [*codes, np.full(manque, tokenizer.eos_token_id, dtype=np.int32)]
        numeros += [np.full(len(code), n, dtype=np.int32) for n, code in enumerate(codes)]
        numeros.append(np.full(manque, REMPLISSAGE, dtype=np.int32))
        rangs += [rang] * ((jetons + manque) // longueur)
    if not rangs:
        raise ErreurFabrique("aucun texte à lire", "Donnez des fichiers qui ne sont pas vides")
    colonnes = {
        nom: list(np.concatenate(morceaux).reshape(-1, longueur))
        for nom, morceaux in (("input_ids", ids), ("documents", numeros))
    }
    return Dataset.from_dict(colonnes | {"source": rangs})


def _codes(
    documents: Sequence[Document], tokenizer: PreTrainedTokenizerBase
) -> Iterator[list[int]]:
    """Chaque document en jetons : début, titre, texte, fin."""
    for document in documents:
        entier = "\n\n".join(filter(None, (document.titre, document.texte)))
        if entier.strip():
            texte = coder(neutraliser(entier, tokenizer), tokenizer)
            yield [*debut_de_suite(tokenizer), *texte, tokenizer.eos_token_id]


class LotDeFenetres:
    """Assemble des fenêtres : qui lit quoi, à quelle place, et ce qui se prédit.

    Un jeton lit son document, jusqu'à lui ; les positions repartent de zéro à chaque document, et
    le premier jeton d'un document ne se prédit pas d'après le précédent.
    """

    def __call__(self, fenetres: list[dict]) -> BatchEncoding:
        ids, documents = (
            torch.tensor([fenetre[nom] for fenetre in fenetres])
            for nom in ("input_ids", "documents")
        )
        premiers = torch.ones_like(ids, dtype=torch.bool)
        premiers[:, 1:] = documents[:, 1:] != documents[:, :-1]
        rangs = torch.arange(ids.shape[1]).expand_as(ids)
        debuts = torch.where(premiers, rangs, 0).cummax(dim=1).values
        memes = documents[:, :, None] == documents[:, None, :]
        return BatchEncoding(
            {
                "input_ids": ids,
                "labels": ids.masked_fill(premiers | (documents == REMPLISSAGE), SANS_PERTE),
                "position_ids": rangs - debuts,
                "attention_mask": memes.tril()[:, None],
            }
        )


class OrdreDesSources(torch.utils.data.Sampler[int]):
    """L'ordre des fenêtres selon un calendrier : les mêmes dans tous, une fois par passage.

    Il ne dépend que de la graine et du passage : une reprise retrouve les mêmes lots.

    Args:
        sources: le rang de la source de chaque fenêtre, de la moins bonne à la meilleure.
    """

    def __init__(self, sources: list[int], calendrier: str, graine: int) -> None:
        self.sources, self.calendrier, self.graine, self.passage = sources, calendrier, graine, 0

    def set_epoch(self, passage: int) -> None:
        """Appelée par accelerate au début de chaque passage."""
        self.passage = passage

    def __len__(self) -> int:
        return len(self.sources)

    def __iter__(self) -> Iterator[int]:
        hasard = torch.Generator().manual_seed(self.graine * 1000 + self.passage)
        melange = torch.randperm(len(self), generator=hasard).tolist()
        if self.calendrier == "constant":
            yield from melange
            return
        a_l_envers = self.calendrier == "qualite_en_premier"
        yield from sorted(melange, key=self.sources.__getitem__, reverse=a_l_envers)
