"""Les exemples en jetons, leur ordre, et les lots qu'on en fait."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from datasets import Dataset
from transformers import (
    BatchEncoding,
    DataCollatorForSeq2Seq,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    TrainerCallback,
)

from fabrique.corpus.doublons import empreintes_de_la_demande
from fabrique.modeles.gabarits import SANS_PERTE, couper, exemple_en_jetons
from fabrique.modeles.vraisemblance import sans_prediction_inutile
from fabrique.socle.erreurs import ErreurFabrique
from fabrique.socle.nombres import accorder


@dataclass(frozen=True)
class Compte:
    """Ce que deviennent les exemples du jeu d'entraînement : ``lus = appris + ecartes``.

    Args:
        lus: exemples du jeu d'entraînement.
        appris: ceux qui ont de quoi apprendre.
        coupes: parmi les appris, ceux que ``cutoff_len`` a raccourcis ; leur fin ne s'apprend pas.
        ecartes: ceux où il ne reste rien à apprendre, la question remplissant ``cutoff_len``, ou
            toutes les réponses étant de poids nul.
    """

    lus: int
    appris: int
    coupes: int
    ecartes: int

    @classmethod
    def de(cls, utiles: Sequence[bool], longs: Sequence[bool]) -> Compte:
        """Compte des exemples.

        Args:
            utiles: vrai de ceux où il reste de quoi apprendre.
            longs: vrai de ceux qui dépassaient ``cutoff_len``.

        Raises:
            ErreurFabrique: aucun n'a de quoi apprendre.
        """
        if not any(utiles):
            raise ErreurFabrique(
                "aucun exemple à apprendre dans le jeu d’entraînement",
                "Vérifiez la colonne « jeu » du corpus, ou augmentez cutoff_len",
            )
        return cls(
            lus=len(utiles),
            appris=sum(utiles),
            coupes=sum(utile and long for utile, long in zip(utiles, longs, strict=True)),
            ecartes=len(utiles) - sum(utiles),
        )

    def __str__(self) -> str:
        return (
            f"{accorder(self.lus, 'exemple lu', 'exemples lus')}\u00a0: {self.appris} appris, dont "
            f"{accorder(self.coupes, 'coupé')} à cutoff_len (leur fin ne s’apprend pas), et "
            f"{accorder(self.ecartes, 'écarté')} (il n’y reste rien à apprendre)."
        )


@dataclass(frozen=True)
class Lecture:
    """Ce qu'un apprentissage va lire, et comment.

    Args:
        exemples: des exemples en jetons, ou des fenêtres.
        compte: ce qu'ils sont devenus depuis le corpus.
        assembler: fait un lot de quelques exemples, pour le modèle qu'on lui donne.
        ordre: range les exemples, d'après la taille d'un pas et la graine.
        demandes: les empreintes des demandes apprises, qu'une évaluation écartera.
        rappels: ce que le Trainer appelle en chemin, après notre suivi.
        definition: ce qui, en plus des exemples et des réglages, distingue cet apprentissage.
        completer: ajoute aux exemples ce qu'en dit le modèle avant d'apprendre.
        perte: la perte d'un lot, moyenne de celles de ses exemples ; à défaut, celle du modèle.
    """

    exemples: Dataset
    compte: Compte
    assembler: Callable[[PreTrainedModel], Callable]
    ordre: Callable[[Dataset, int, int], torch.utils.data.Sampler[int]]
    demandes: tuple[str, ...] = ()
    rappels: tuple[TrainerCallback, ...] = ()
    definition: Mapping[str, object] = field(default_factory=dict)
    completer: Callable[[PreTrainedModel, Dataset], Dataset] | None = None
    perte: Callable[[Any, BatchEncoding], torch.Tensor] | None = None

    @property
    def jetons(self) -> int:
        """Jetons d'une époque, sans remplissage."""
        suites = (nom for nom in self.exemples.column_names if nom.endswith("input_ids"))
        return sum(len(ids) for nom in suites for ids in self.exemples[nom])


def lecture_d_un_corpus(
    corpus: Dataset, tokenizer: PreTrainedTokenizerBase, cutoff_len: int
) -> Lecture:
    """Des questions et des réponses, rangées par longueurs voisines."""
    exemples, compte = exemples_en_jetons(corpus, tokenizer, cutoff_len)
    return Lecture(
        exemples,
        compte,
        assembler=lambda modele: LotSansPerteInutile(tokenizer, modele),
        ordre=lambda lus, lot, graine: OrdreParLongueur(
            [len(ids) for ids in lus["input_ids"]], lot, graine
        ),
        demandes=tuple(e for exemple in corpus for e in empreintes_de_la_demande(exemple)),
    )


def exemples_en_jetons(
    corpus: Dataset, tokenizer: PreTrainedTokenizerBase, cutoff_len: int
) -> tuple[Dataset, Compte]:
    """Les exemples en jetons, et le compte de ceux qui sont coupés ou écartés.

    Un exemple dont la question remplit à elle seule ``cutoff_len`` n'apprend rien : il part.

    Raises:
        ErreurFabrique: corpus sans réponse, ou sans aucun exemple à apprendre.
    """
    if not {"output", "messages"} & set(corpus.column_names):
        raise ErreurFabrique(
            "ce corpus n’a ni réponses ni messages : il n’y a rien à apprendre à dire",
            "Donnez des instructions (« output ») ou des conversations (« messages »)",
        )
    entiers = [exemple_en_jetons(tokenizer, exemple) for exemple in corpus]
    codes = [couper(code, cutoff_len, tokenizer.eos_token_id) for code in entiers]
    utiles = [s_apprend(code) for code in codes]
    compte = Compte.de(utiles, [len(code["input_ids"]) > cutoff_len for code in entiers])
    return Dataset.from_list([c for c, utile in zip(codes, utiles, strict=True) if utile]), compte


def s_apprend(code: Mapping[str, list[int]]) -> bool:
    """Vrai d'un exemple en jetons où il reste une réponse à apprendre."""
    return any(etiquette != SANS_PERTE for etiquette in code["labels"])


class OrdreParLongueur(torch.utils.data.Sampler[int]):
    """Ordre des exemples : mélangés, puis rangés par longueurs voisines.

    Des longueurs voisines dans un lot, c'est moins de remplissage. L'ordre ne dépend que de
    la graine et de l'époque : une reprise retrouve exactement les mêmes lots.
    """

    def __init__(self, longueurs: list[int], lot: int, graine: int) -> None:
        self.longueurs, self.lot, self.graine, self.epoque = longueurs, lot, graine, 0

    def set_epoch(self, epoque: int) -> None:
        """Appelée par accelerate au début de chaque époque."""
        self.epoque = epoque

    def __len__(self) -> int:
        return len(self.longueurs)

    def __iter__(self) -> Iterator[int]:
        hasard = torch.Generator().manual_seed(self.graine * 1000 + self.epoque)
        melange = torch.randperm(len(self), generator=hasard).tolist()
        paquet = self.lot * 50
        tries = [
            sorted(melange[debut : debut + paquet], key=self.longueurs.__getitem__, reverse=True)
            for debut in range(0, len(melange), paquet)
        ]
        lots = [p[i : i + self.lot] for p in tries for i in range(0, len(p), self.lot)]
        # Un lot incomplet reste le dernier, sinon il décalerait tous les suivants.
        pleins = [lot for lot in lots if len(lot) == self.lot]
        restes = [lot for lot in lots if len(lot) < self.lot]
        for rang in torch.randperm(len(pleins), generator=hasard).tolist():
            yield from pleins[rang]
        for lot in restes:
            yield from lot


class LotSansPerteInutile:
    """Assemble un lot, remplissage à gauche, et n'y demande que les prédictions qui comptent."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, modele: PreTrainedModel) -> None:
        self.assembler = DataCollatorForSeq2Seq(tokenizer, label_pad_token_id=SANS_PERTE)
        self.modele = modele

    def __call__(self, exemples: list[dict]) -> BatchEncoding:
        return sans_prediction_inutile(self.assembler(exemples), self.modele)
