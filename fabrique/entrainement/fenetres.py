"""Des documents aux fenêtres : plusieurs par fenêtre, sans qu'aucun ne lise les autres.

transformers sait séparer des documents mis bout à bout quand ``position_ids`` repart de zéro ; Falcon,
lui, ne transmet pas ``position_ids`` à ce qui fait son masque (``modeling_falcon``, 5.15 à 5.23) : un
document y lirait ses voisins, sans que rien ne le dise. Le masque est donc fait ici, à quatre
dimensions ; tout modèle à attention ordinaire le prend tel quel.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path

import pyarrow
import torch
from datasets import Dataset
from transformers import BatchEncoding, PreTrainedTokenizerBase

from fabrique.entrainement.textes import Document
from fabrique.modeles.gabarits import SANS_PERTE, coder, debut_de_suite, neutraliser
from fabrique.socle.erreurs import ErreurFabrique

#: Le numéro de document de ce qui remplit la fin de la dernière fenêtre.
REMPLISSAGE = -1


#: Fenêtres écrites ensemble : ce que la mémoire vive en tient à la fois.
FENETRES_A_LA_FOIS = 1024
_COLONNES = pyarrow.schema(
    {
        "input_ids": pyarrow.list_(pyarrow.int32()),
        "documents": pyarrow.list_(pyarrow.int32()),
        "source": pyarrow.int64(),
    }
)


def en_fenetres(
    sources: Sequence[Sequence[Document]],
    tokenizer: PreTrainedTokenizerBase,
    longueur: int,
    fichier: Path | None = None,
) -> Dataset:
    """Met les documents de chaque source bout à bout, et coupe tous les ``longueur`` jetons.

    Args:
        sources: les documents, une suite par source.
        fichier: où les écrire ; elles se relisent alors du disque, quelle que soit leur taille. À
            défaut, elles restent en mémoire vive.

    Returns:
        ``input_ids`` et ``documents`` (le numéro du document de chaque jeton), de forme
        fenêtres × longueur ; ``source``, le rang de la source de chaque fenêtre.

    Raises:
        ErreurFabrique: aucun texte.
    """
    paquets = _paquets(sources, tokenizer, longueur)
    premier = next(paquets, None)
    if premier is None:
        raise ErreurFabrique("aucun texte à lire", "Donnez des fichiers qui ne sont pas vides")
    if fichier:
        fichier.parent.mkdir(parents=True, exist_ok=True)
    flux = pyarrow.OSFile(str(fichier), "wb") if fichier else pyarrow.BufferOutputStream()
    with flux, pyarrow.ipc.new_stream(flux, _COLONNES) as ecrivain:
        for paquet in chain([premier], paquets):
            ecrivain.write_batch(pyarrow.RecordBatch.from_pydict(paquet, schema=_COLONNES))
    return Dataset.from_file(str(fichier)) if fichier else Dataset.from_buffer(flux.getvalue())


def _paquets(
    sources: Sequence[Sequence[Document]], tokenizer: PreTrainedTokenizerBase, longueur: int
) -> Iterator[dict[str, list]]:
    """Les fenêtres, par paquets ; la dernière de chaque source est complétée."""
    plein = FENETRES_A_LA_FOIS * longueur
    for rang, documents in enumerate(sources):
        ids: list[int] = []
        numeros: list[int] = []
        for numero, code in enumerate(_codes(documents, tokenizer)):
            ids += code
            numeros += [numero] * len(code)
            while len(ids) >= plein:
                yield _paquet(ids[:plein], numeros[:plein], rang, longueur)
                ids, numeros = ids[plein:], numeros[plein:]
        if ids:
            manque = -len(ids) % longueur
            ids += [tokenizer.eos_token_id] * manque
            yield _paquet(ids, numeros + [REMPLISSAGE] * manque, rang, longueur)


def _paquet(ids: list[int], numeros: list[int], rang: int, longueur: int) -> dict[str, list]:
    debuts = range(0, len(ids), longueur)
    return {
        "input_ids": [ids[d : d + longueur] for d in debuts],
        "documents": [numeros[d : d + longueur] for d in debuts],
        "source": [rang] * len(debuts),
    }


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
