"""Les réglages d'un apprentissage par préférences : ceux du réglage fin, plus deux."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from fabrique.entrainement.reglages import Reglages
from fabrique.socle.erreurs import ErreurFabrique, Nombre
from fabrique.socle.options import reglage

if TYPE_CHECKING:
    from fabrique.machine.profil import Profil

#: Comment les deux réponses d'une paire s'écartent ; des avis isolés s'apprennent toujours par KTO.
VARIANTES = ("dpo", "ipo", "longueur")


@dataclass(frozen=True)
class ReglagesPreferences(Reglages):
    """Les réglages d'un apprentissage par préférences ; ``variante`` vaut :

    - « dpo » : la récompense d'une réponse est une somme sur ses jetons ;
    - « longueur » : la même, en moyenne par jeton, pour que la longueur n'y compte pas ;
    - « ipo » : la moyenne par jeton aussi, et l'écart visé est ``1 / (2 × beta)``, pas l'infini.

    Sources : Rafailov et al., 2023 (DPO, arXiv:2305.18290) ; Azar et al., 2023 (IPO,
    arXiv:2310.12036) ; « longueur » est le ``sigmoid_norm`` de TRL.
    """

    learning_rate: float = reglage(
        5e-5, "Taux d’apprentissage.", Nombre(positive=True, exemple="0,00005"), option="--lr"
    )
    beta: float = reglage(
        0.1, "Retenue : plus grand, plus près du départ.", Nombre(positive=True, exemple="0,1")
    )
    variante: str = reglage("dpo", f"Comment comparer : {', '.join(VARIANTES)}.")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.variante not in VARIANTES:
            raise ErreurFabrique(
                f"la variante « {self.variante} » n’existe pas",
                f"Choisissez entre {', '.join(VARIANTES)}",
                champ="variante",
            )
        if self.methode == "complet":
            raise ErreurFabrique(
                "les préférences s’apprennent dans un adaptateur, le modèle restant intact",
                "Choisissez la méthode lora, rslora ou dora",
                champ="methode",
            )

    @classmethod
    def du_profil(cls, profil: Profil, **changements: Any) -> Self:
        """Les réglages du profil de la machine, au taux qui convient à des préférences."""
        taux = {"learning_rate": profil.taux_des_preferences}
        return super().du_profil(profil, **{**taux, **changements})
