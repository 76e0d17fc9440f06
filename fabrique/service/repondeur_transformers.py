"""Le moteur de transformers : une base, ses adaptateurs choisis par leur nom, des réponses par lots."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import torch
from transformers import (
    LogitsProcessor,
    LogitsProcessorList,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    StoppingCriteria,
    StoppingCriteriaList,
)

from fabrique.modeles.adaptateurs import charger_adaptateur
from fabrique.modeles.generation import SANS_REGLE_CACHEE, base_ou_affine, place_pour_repondre
from fabrique.service.plume import Plume
from fabrique.service.reglages_service import TRANSFORMERS
from fabrique.service.repondeur import (
    BaseEtAdaptateurs,
    Ligne,
    jetons_de,
    trop_longue,
    verifier_pour,
)

#: Adaptateurs gardés en mémoire ; au-delà, le plus anciennement employé en sort.
ADAPTATEURS_GARDES = 8


class RepondeurTransformers(BaseEtAdaptateurs):
    """Répond avec ``generate`` de transformers.

    ``ecrire`` ne s'appelle que d'un fil à la fois : celui de la file d'attente.

    Args:
        base: le nom public de la base.
    """

    qui = TRANSFORMERS

    def __init__(
        self, tokenizer: PreTrainedTokenizerBase, modele: PreTrainedModel, base: str
    ) -> None:
        super().__init__(base)
        self.tokenizer, self.modele = tokenizer, modele.eval()
        self._charges: OrderedDict[str, str] = OrderedDict()  # nom servi → nom chez peft
        self._deja_poses = 0

    # ------------------------------------------------------------ les modèles

    def _chez_peft(self, nom: str) -> str | bool:
        """Le nom que porte l'adaptateur sur le modèle, posé s'il ne l'était pas ; faux pour la base."""
        if nom == self.base:
            return False
        if nom not in self._charges:
            self._poser(nom)
        self._charges.move_to_end(nom)
        return self._charges[nom]

    def _poser(self, nom: str) -> None:
        # Un nom de peft devient un nom de module : ni point, ni réemploi.
        self._deja_poses += 1
        chez_peft = f"servi_{self._deja_poses}"
        self.modele = charger_adaptateur(self.modele, self._dossiers[nom], chez_peft).eval()
        self._charges[nom] = chez_peft
        if len(self._charges) > ADAPTATEURS_GARDES:
            _, ancien = self._charges.popitem(last=False)
            self.modele.delete_adapter(ancien)

    # ------------------------------------------------------------ lire

    def lire(self, messages: list[dict[str, str]]) -> list[int]:
        """Les jetons d'une conversation, jusqu'à l'appel à répondre.

        Raises:
            ErreurFabrique: demi-caractère, conversation trop longue, ou que le gabarit refuse.
        """
        question = jetons_de(self.tokenizer, messages)
        with trop_longue():
            self.place(question)
        return question

    def place(self, question: list[int]) -> int:
        """Combien de jetons il reste pour répondre."""
        return place_pour_repondre(self.modele, self.tokenizer, len(question))

    def verifier_la_grammaire(self, grammaire: str) -> None:
        """Refuse une grammaire que llguidance ne comprend pas."""
        verifier_pour(self.tokenizer, grammaire)

    # ------------------------------------------------------------ écrire

    @torch.inference_mode()
    def ecrire(self, nom: str, lignes: Sequence[Ligne]) -> None:
        """Écrit des réponses ensemble ; chacune suit ses réglages, sans dépendre de ses voisines."""
        adaptateur = self._chez_peft(nom)
        plumes = [
            Plume(ligne, self.tokenizer, min(ligne.decodage.max_tokens, self.place(ligne.question)))
            for ligne in lignes
        ]
        entrees = self.tokenizer.pad(
            {"input_ids": [ligne.question for ligne in lignes]},
            padding_side="left",
            return_tensors="pt",
        )
        with base_ou_affine(self.modele, adaptateur):
            self.modele.generate(
                **entrees.to(self.modele.device),
                max_new_tokens=max(plume.limite for plume in plumes),
                do_sample=False,  # chaque plume a déjà choisi
                logits_processor=LogitsProcessorList([_Choix(plumes)]),
                stopping_criteria=StoppingCriteriaList([_Livraison(plumes)]),
                eos_token_id=self.tokenizer.eos_token_id,
                pad_token_id=self.tokenizer.pad_token_id,
                use_cache=True,
                **SANS_REGLE_CACHEE,
            )


class _Choix(LogitsProcessor):
    """Chaque plume choisit le jeton de sa ligne : lui seul reste possible."""

    def __init__(self, plumes: list[Plume]) -> None:
        self.plumes = plumes

    def __call__(self, input_ids: torch.LongTensor, scores: torch.Tensor) -> torch.Tensor:
        """Les notes (forme : lot × vocabulaire), à −∞ sauf celles des jetons choisis."""
        choisis = [plume.choisir(n) for plume, n in zip(self.plumes, scores.float(), strict=True)]
        seuls = torch.full_like(scores, -torch.inf)
        return seuls.scatter_(1, torch.tensor(choisis, device=scores.device)[:, None], 0.0)


class _Livraison(StoppingCriteria):
    """Donne à chaque plume le jeton qu'elle a choisi ; dit lesquelles ont fini."""

    def __init__(self, plumes: list[Plume]) -> None:
        self.plumes = plumes

    def __call__(self, input_ids: torch.LongTensor, scores: Any, **_: Any) -> torch.Tensor:
        """Vrai, par ligne, pour une réponse finie (forme : lot)."""
        derniers = input_ids[:, -1].tolist()
        finies = [plume.recevoir(j) for plume, j in zip(self.plumes, derniers, strict=True)]
        return torch.tensor(finies, device=input_ids.device)
