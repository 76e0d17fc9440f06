"""Apprendre des préférences : rendre une réponse plus probable que celle qu'on lui préfère moins.

Le *gain* d'une réponse est ce que l'apprentissage a ajouté à sa log-probabilité, depuis le modèle
de départ (la *référence*). DPO écarte les gains des deux réponses d'une paire ; IPO les écarte
d'autant, et pas plus ; KTO n'a besoin que de pouces levés ou baissés, un par réponse.

La marche est celle du réglage fin (``marche.apprendre``) : seuls changent ce qui se lit, deux
réponses au lieu d'une, et la perte, qui les compare.

Sources : Rafailov et al., 2023 (DPO, arXiv:2305.18290) ; Azar et al., 2023 (IPO, arXiv:2310.12036) ;
Ethayarajh et al., 2024 (KTO, arXiv:2402.01306).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate.utils import reduce
from datasets import Dataset
from torch.nn.functional import logsigmoid
from transformers import (
    BatchEncoding,
    DataCollatorForSeq2Seq,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    TrainerCallback,
)

from fabrique.corpus.doublons import empreintes_de_la_demande
from fabrique.corpus.votes import Avis, Vote
from fabrique.entrainement.exemples import Compte, Lecture, OrdreParLongueur, s_apprend
from fabrique.entrainement.marche import apprendre
from fabrique.entrainement.reglages_preferences import ReglagesPreferences
from fabrique.entrainement.resultat import ResultatEntrainement
from fabrique.modeles.adaptateurs import FICHIERS_DE_L_ADAPTATEUR, verifier_adaptateur
from fabrique.modeles.gabarits import SANS_PERTE, couper, exemple_en_jetons
from fabrique.modeles.origine import lire_origine
from fabrique.modeles.vraisemblance import (
    log_probabilites,
    log_probabilites_du_lot,
    sans_prediction_inutile,
)
from fabrique.socle.emplacements import empreinte

#: En deçà, en nats, une marge n'est que du bruit de calcul : la préférence n'est pas encore apprise.
MARGE_NULLE = 1e-3
#: Les deux suites d'un exemple : celle qu'on apprend, et celle à laquelle on la compare.
SUITES = ("", "autre_")


# ---------------------------------------------------------------- la perte, à lire à voix haute


def perte_des_paires(gains: torch.Tensor, beta: float, variante: str = "dpo") -> torch.Tensor:
    """Ce que coûte chaque paire (forme : paires).

    Args:
        gains: ceux des réponses choisies, puis ceux des écartées, en nats (forme : 2 × paires) ;
            par jeton, sauf pour « dpo ».
        beta: plus il est grand, plus on reste près de la référence.
    """
    choisies, ecartees = gains
    marges = choisies - ecartees
    if variante == "ipo":
        return (marges - 1 / (2 * beta)) ** 2
    return -logsigmoid(beta * marges)


def perte_des_avis(gains: torch.Tensor, bons: torch.Tensor, beta: float) -> torch.Tensor:
    """Ce que coûte chaque avis (forme : avis).

    Une réponse se juge par rapport à ce que le modèle a gagné ailleurs : la moyenne des gains de
    réponses prises à d'autres questions, tenue pour nulle si elle est négative.

    Args:
        gains: ceux des réponses, puis ceux des réponses d'ailleurs, en nats (forme : 2 × avis).
        bons: vrai d'un pouce levé (forme : avis).
    """
    reponses, ailleurs = gains
    depart = reduce(ailleurs.detach().mean(), "mean").clamp(min=0)  # sur tous les processus
    ecarts = torch.where(bons, reponses - depart, depart - reponses)
    return 1 - torch.sigmoid(beta * ecarts)


class PerteDesPreferences(TrainerCallback):
    """La perte d'un lot ; garde les marges qu'elle voit, et les ajoute au prochain relevé.

    La marge d'une paire est l'écart de ses deux gains ; celle d'un avis, le gain de sa réponse, de
    signe contraire si le pouce est baissé. Une préférence est *respectée* si sa marge est positive, au
    bruit de calcul près.
    """

    def __init__(self, beta: float, variante: str) -> None:
        self.beta, self.variante = beta, variante
        self.marges: list[float] = []

    def __call__(self, modele: Any, lot: BatchEncoding) -> torch.Tensor:
        """La perte moyenne des préférences d'un lot."""
        reference, bons = lot.pop("reference"), lot.pop("bons", None)
        notes, longueurs = log_probabilites_du_lot(modele, lot)
        gains = torch.stack([note.sum() for note in notes.split(longueurs)]) - reference
        if bons is not None:
            gains = gains.view(2, -1)
            self.marges += torch.where(bons, gains[0], -gains[0]).tolist()
            return perte_des_avis(gains, bons, self.beta).mean()
        if self.variante != "dpo":
            gains = gains / gains.new_tensor(longueurs)
        gains = gains.view(2, -1)
        self.marges += (gains[0] - gains[1]).tolist()
        return perte_des_paires(gains, self.beta, self.variante).mean()

    def on_log(
        self, args: Any, state: Any, control: Any, logs: dict | None = None, **_: Any
    ) -> None:
        """Ajoute la marge moyenne, en nats, et la part des préférences respectées."""
        if self.marges and logs and "loss" in logs:
            marges, self.marges = np.array(self.marges), []
            respectees = float((marges > MARGE_NULLE).mean())
            state.log_history[-1] |= {"marge": float(marges.mean()), "respectees": respectees}


# ---------------------------------------------------------------- des votes aux lots


def votes_en_jetons(
    votes: Sequence[Vote], tokenizer: PreTrainedTokenizerBase, cutoff_len: int
) -> tuple[Dataset, Compte]:
    """Les préférences en jetons, deux suites chacune, et le compte des coupées et des écartées.

    La seconde suite d'une paire est la réponse écartée ; celle d'un avis, la réponse d'une autre
    question, qui dira ce que le modèle gagne ailleurs.

    Raises:
        ErreurFabrique: aucune n'a de quoi apprendre.
    """
    entieres = [
        [exemple_en_jetons(tokenizer, {"messages": messages}) for messages in deux]
        for deux in map(_conversations, votes, [*votes[-1:], *votes[:-1]])
    ]
    coupees = [[couper(c, cutoff_len, tokenizer.eos_token_id) for c in deux] for deux in entieres]
    utiles = [all(map(s_apprend, deux)) for deux in coupees]
    longs = [any(len(c["input_ids"]) > cutoff_len for c in deux) for deux in entieres]
    compte = Compte.de(utiles, longs)
    gardes = zip(votes, coupees, utiles, strict=True)
    return Dataset.from_list([_rangee(vote, deux) for vote, deux, utile in gardes if utile]), compte


def _conversations(vote: Vote, voisin: Vote) -> list[list[dict]]:
    """Les deux conversations à comparer ; seule leur dernière réponse s'apprend."""
    deja_dits = [m | {"weight": 0} if m["role"] == "assistant" else m for m in vote.messages]
    dites = [*vote.dites, *voisin.dites][:2]
    return [[*deja_dits, {"role": "assistant", "content": dite}] for _, dite in dites]


def _rangee(vote: Vote, deux: Sequence[Mapping[str, list[int]]]) -> dict:
    suites = zip(SUITES, deux, strict=True)
    rangee = {f"{nom}{c}": code[c] for nom, code in suites for c in ("input_ids", "labels")}
    return rangee | ({"bon": vote.bon} if isinstance(vote, Avis) else {})


def _suite(exemple: Mapping[str, Any], nom: str) -> dict[str, list[int]]:
    ids, etiquettes = exemple[f"{nom}input_ids"], exemple[f"{nom}labels"]
    return {"input_ids": ids, "labels": etiquettes, "attention_mask": [1] * len(ids)}


class LotDePreferences:
    """Assemble un lot : la première suite de chaque exemple, puis la seconde de chacun."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, modele: PreTrainedModel) -> None:
        self.assembler = DataCollatorForSeq2Seq(tokenizer, label_pad_token_id=SANS_PERTE)
        self.modele = modele

    def __call__(self, exemples: list[dict]) -> BatchEncoding:
        suites = [_suite(exemple, nom) for nom in SUITES for exemple in exemples]
        lot = sans_prediction_inutile(self.assembler(suites), self.modele)
        lot["reference"] = torch.tensor([e["reference"] for e in exemples]).T.flatten()
        if "bon" in exemples[0]:
            lot["bons"] = torch.tensor([exemple["bon"] for exemple in exemples])
        return lot


def avec_reference(modele: PreTrainedModel, exemples: Dataset) -> Dataset:
    """Les exemples, et la log-probabilité que le modèle donne à leurs suites avant d'apprendre."""
    return exemples.add_column(
        "reference", log_probabilites_des_exemples(modele, exemples).tolist()
    )


def log_probabilites_des_exemples(
    modele: PreTrainedModel, exemples: Dataset, adaptateur: bool | str = True
) -> np.ndarray:
    """La log-probabilité des deux suites de chaque exemple, en nats (forme : exemples × 2)."""
    lues = [
        log_probabilites(modele, [_suite(e, nom) for e in exemples], adaptateur=adaptateur)
        for nom in SUITES
    ]
    return np.array([[note.sum() for note in deux] for deux in zip(*lues, strict=True)])


# ---------------------------------------------------------------- apprendre, mesurer


def apprendre_des_votes(
    modele: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    votes: Sequence[Vote],
    reglages: ReglagesPreferences | None = None,
    sortie: str | Path = "sorties/preferences",
    depart: str | Path | None = None,
) -> ResultatEntrainement:
    """Apprend un adaptateur des préférences, avec les reprises et les protections du réglage fin.

    Relancée à l'identique, la fonction reprend au dernier point de reprise valide, ou recharge
    l'adaptateur si tout est fait.

    Args:
        votes: ce que rend ``lire_votes`` ; tout s'apprend.
        sortie: dossier des points de reprise et de l'adaptateur final.
        depart: un adaptateur à prolonger, qui sert de référence et reste intact dans son dossier ;
            rang, échelle et couches sont les siens. Par défaut, on part de la base.

    Raises:
        ErreurFabrique, Divergence: comme ``entrainer``.
    """
    reglages = reglages or ReglagesPreferences()
    depart = Path(depart) if depart else None
    if depart:
        verifier_adaptateur(depart)
        reglages = _comme_le_depart(reglages, depart)
    perte = PerteDesPreferences(reglages.beta, reglages.variante)

    def lire() -> Lecture:
        exemples, compte = votes_en_jetons(votes, tokenizer, reglages.cutoff_len)
        siennes = (
            e for v in votes for e in empreintes_de_la_demande({"messages": [*v.messages, {}]})
        )
        origine = lire_origine(depart) if depart else None
        return Lecture(
            exemples,
            compte,
            assembler=lambda modele: LotDePreferences(tokenizer, modele),
            ordre=_par_longueur,
            demandes=tuple(dict.fromkeys([*(origine.apprises if origine else ()), *siennes])),
            rappels=(perte,),
            definition={
                "depart": empreinte(depart / FICHIERS_DE_L_ADAPTATEUR[1]) if depart else ""
            },
            completer=avec_reference,
            perte=perte,
        )

    return apprendre(modele, tokenizer, lire, reglages, sortie, depart=depart)


def _par_longueur(exemples: Dataset, lot: int, graine: int) -> OrdreParLongueur:
    suites = (exemples[f"{nom}input_ids"] for nom in SUITES)
    return OrdreParLongueur(
        [max(map(len, deux)) for deux in zip(*suites, strict=True)], lot, graine
    )


def _comme_le_depart(reglages: ReglagesPreferences, depart: Path) -> ReglagesPreferences:
    """Les réglages, où ce qui décrit l'adaptateur est celui qu'on prolonge."""
    siens = json.loads((depart / FICHIERS_DE_L_ADAPTATEUR[0]).read_text(encoding="utf-8"))
    cibles = siens["target_modules"]
    return replace(
        reglages,
        **{nom: siens[nom] for nom in ("lora_alpha", "lora_dropout")},
        lora_r=siens["r"],
        target_modules=cibles if isinstance(cibles, str) else tuple(sorted(cibles)),
        methode="dora"
        if siens.get("use_dora")
        else "rslora"
        if siens.get("use_rslora")
        else "lora",
    )


@dataclass(frozen=True)
class Gains:
    """Ce qu'un apprentissage a ajouté à la log-probabilité de réponses, en nats.

    Args:
        choisies, ecartees: un nombre par préférence ; l'un des deux est nul pour un avis.
    """

    choisies: np.ndarray
    ecartees: np.ndarray

    @property
    def marges(self) -> np.ndarray:
        """De combien chaque préférence est suivie (forme : préférences)."""
        return self.choisies - self.ecartees

    @property
    def respectees(self) -> np.ndarray:
        """1 pour une préférence respectée, 0 sinon (forme : préférences)."""
        return (self.marges > MARGE_NULLE).astype(float)


def mesurer_les_gains(
    modele: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    votes: Sequence[Vote],
    cutoff_len: int = 512,
    reference: np.ndarray | None = None,
) -> Gains:
    """Mesure, sur des préférences jamais apprises, ce que l'apprentissage a fait gagner aux réponses.

    Args:
        reference: les log-probabilités du modèle de départ, que rend ``juger_les_reponses`` ; par
            défaut, celles de la base, adaptateur éteint.
    """
    apres = juger_les_reponses(modele, tokenizer, votes, cutoff_len)
    if reference is None:
        reference = juger_les_reponses(modele, tokenizer, votes, cutoff_len, adaptateur=False)
    gains = apres - reference
    for rang, vote in enumerate(votes):
        if isinstance(vote, Avis):
            gains[rang, int(vote.bon)] = 0
    return Gains(*gains.T)


def juger_les_reponses(
    modele: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    votes: Sequence[Vote],
    cutoff_len: int = 512,
    *,
    adaptateur: bool | str = True,
) -> np.ndarray:
    """La log-probabilité des deux réponses de chaque préférence, en nats (forme : préférences × 2).

    La réponse d'un avis y est deux fois. Des zéros, quand la question remplit ``cutoff_len``.
    """
    rangees = []
    for vote in votes:
        deux = [
            exemple_en_jetons(tokenizer, {"messages": messages}, cutoff_len)
            for messages in _conversations(vote, vote)
        ]
        rangees.append(_rangee(vote, deux))
    return log_probabilites_des_exemples(modele, Dataset.from_list(rangees), adaptateur)
