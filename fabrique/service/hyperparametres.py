"""Des hyperparamètres de l'API aux options de « fabrique finetune ».

| API | ici |
|---|---|
| ``n_epochs`` | ``--epochs`` ; « auto » : trois, ou de quoi voir cent exemples quand il y en a peu |
| ``batch_size`` | ``--batch_size`` ; « auto » : celui du profil du modèle |
| ``learning_rate_multiplier`` | multiplie le taux d'apprentissage du profil ; « auto » : 1 |
| ``beta`` (``dpo``) | ``--beta`` ; « auto » : 0,1 |
| ``seed`` | ``--graine`` |

Le reste (longueur, rang, couches) est celui du profil (``service/ouverture.profil_du_modele``).
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass

from fabrique.machine.profil import Profil
from fabrique.service.demandes import Hyperparametres, HyperparametresDpo

#: Les époques que vise OpenAI, et le nombre d'exemples vus entre lesquels il se tient.
#: Source : OpenAI Cookbook, « Data preparation and analysis for chat model fine-tuning ».
EPOQUES, VUS_MIN, VUS_MAX, EPOQUES_MAX = 3, 100, 25_000, 25
#: La retenue d'un affinage par préférences, quand on ne la dit pas. Source : documentation d'OpenAI.
RETENUE = 0.1
#: Points de reprise écrits pendant un affinage : coupé, il n'en perd qu'un dixième.
POINTS = 10


@dataclass(frozen=True)
class Recette:
    """Un affinage tel qu'il se fera : ce que l'API en montre, et ce qu'il en coûte de pas."""

    n_epochs: int
    batch_size: int
    learning_rate_multiplier: float
    exemples: int
    graine: int
    beta: float | None = None

    @property
    def pas(self) -> int:
        """Pas d'apprentissage, du début à la fin."""
        return math.ceil(self.exemples / self.batch_size) * self.n_epochs

    def montres(self) -> dict[str, float]:
        """Les hyperparamètres dans la forme de l'API, « auto » remplacé par ce qui est choisi."""
        retenue = {} if self.beta is None else {"beta": self.beta}
        return {
            "n_epochs": self.n_epochs,
            "batch_size": self.batch_size,
            "learning_rate_multiplier": self.learning_rate_multiplier,
        } | retenue

    def options(self, profil: Profil) -> list[str]:
        """Les options de « fabrique finetune », ou de « preferer » s'il y a une retenue."""
        taux = profil.learning_rate if self.beta is None else profil.taux_des_preferences
        points = max(1, self.pas // POINTS)
        reglages = {
            "epochs": self.n_epochs,
            "batch_size": self.batch_size,
            "mbatch_size": diviseur(self.batch_size, profil.mbatch_size),
            "lr": taux * self.learning_rate_multiplier,
            "graine": self.graine,
            "cutoff_len": profil.cutoff_len,
            "lora_r": profil.lora_r,
            "lora_dropout": profil.lora_dropout,
            "target_modules": json.dumps(profil.target_modules),
            # Sur quelques pas, une montée de cinq n'apprendrait rien.
            "warmup_steps": min(5, self.pas // POINTS),
            "save_steps": points,
            "logging_steps": 1 if self.pas <= 100 else points,
            "val_set_size": 0,  # comme chez OpenAI : on n'en met pas de côté sans le dire
        }
        if self.beta is not None:
            reglages["beta"] = self.beta
        recalcul = ["--recalcul"] if profil.recalcul else []
        return [f"--{nom}={valeur}" for nom, valeur in reglages.items()] + recalcul


def recette(demandes: Hyperparametres, exemples: int, graine: int, profil: Profil) -> Recette:
    """Décide de ce qui est resté « auto ».

    Args:
        exemples: combien s'apprendront.
    """
    lot, taux = demandes.batch_size, demandes.learning_rate_multiplier
    beta = demandes.beta if isinstance(demandes, HyperparametresDpo) else None
    return Recette(
        _epoques(exemples) if demandes.n_epochs == "auto" else demandes.n_epochs,
        min(profil.batch_size, exemples) if lot == "auto" else lot,
        1.0 if taux == "auto" else taux,
        exemples,
        graine,
        RETENUE if beta == "auto" else beta,
    )


def _epoques(exemples: int) -> int:
    if exemples * EPOQUES < VUS_MIN:
        return min(EPOQUES_MAX, VUS_MIN // exemples)
    if exemples * EPOQUES > VUS_MAX:
        return max(1, VUS_MAX // exemples)
    return EPOQUES


def diviseur(lot: int, au_plus: int) -> int:
    """Le plus grand diviseur du lot qui tient ensemble en mémoire."""
    return next(n for n in range(min(lot, au_plus), 0, -1) if lot % n == 0)
