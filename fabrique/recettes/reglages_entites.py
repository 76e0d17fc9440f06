"""Les réglages d'un modèle qui trouve des entités, sans torch : la commande les lit pour son aide."""

from __future__ import annotations

from dataclasses import dataclass

from fabrique.entrainement.reglages import METHODES, Reglages
from fabrique.socle.erreurs import COMPTE, RANG, ErreurFabrique, Nombre
from fabrique.socle.options import reglage, verifier_les_nombres


@dataclass(frozen=True)
class ReglagesEntites:
    """Les réglages de l'apprentissage ; les défauts sont ceux que ``benchmarks.entites`` mesure."""

    methode: str = reglage("complet", "complet (tous les poids), lora, rslora ou dora.")
    learning_rate: float = reglage(
        5e-4, "Taux d’apprentissage.", Nombre(positive=True, exemple="0,0005"), option="--lr"
    )
    epochs: float = reglage(12, "Passages sur le corpus.", Nombre(positive=True, exemple="12"))
    batch_size: int = reglage(8, "Phrases par pas.", COMPTE)
    cutoff_len: int = reglage(
        512, "Jetons par phrase, au plus.", Nombre(entier=True, au_moins=16, exemple="512")
    )
    lora_r: int = reglage(
        16, "Rang de l’adaptateur.", Nombre(entier=True, positive=True, exemple="16")
    )
    une_lecture: bool = reglage(False, "Lit chaque phrase une fois au lieu de deux.")
    graine: int = reglage(42, "Graine du hasard.", RANG)

    def __post_init__(self) -> None:
        verifier_les_nombres(self)
        if self.methode not in METHODES:
            raise ErreurFabrique(
                f"la méthode « {self.methode} » n’existe pas",
                f"Choisissez entre {', '.join(METHODES)}",
                champ="methode",
            )

    def de_la_marche(self) -> Reglages:
        """Les mêmes, dans les mots du réglage fin."""
        return Reglages(
            methode=self.methode,
            learning_rate=self.learning_rate,
            epochs=self.epochs,
            batch_size=self.batch_size,
            mbatch_size=self.batch_size,
            cutoff_len=self.cutoff_len,
            lora_r=self.lora_r,
            lora_alpha=2 * self.lora_r,
            lora_dropout=0,
            target_modules="all-linear",
            warmup_steps=20,
            save_steps=200,
            save_total_limit=1,
            logging_steps=20,
            val_set_size=0,
            graine=self.graine,
        )
