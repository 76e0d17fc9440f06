"""Les réglages d'un encodeur, sans torch : la commande les lit pour son aide."""

from __future__ import annotations

from dataclasses import dataclass

from fabrique.socle.erreurs import COMPTE, PART, RANG, Nombre
from fabrique.socle.options import reglage, verifier_les_nombres


@dataclass(frozen=True)
class ReglagesEncodeur:
    """Les réglages de l'apprentissage ; par défaut, ceux de l'encodeur livré."""

    vocabulaire: int = reglage(16_384, "Morceaux de mots, au plus.", COMPTE)
    dimensions: int = reglage(256, "Nombres par vecteur.", COMPTE)
    epoques: int = reglage(6, "Passages sur les paires.", COMPTE)
    lot: int = reglage(512, "Paires par pas.", Nombre(entier=True, au_moins=2, exemple="512"))
    taux: float = reglage(3e-3, "Taux d’apprentissage.", Nombre(positive=True, exemple="0,003"))
    temperature: float = reglage(
        0.05, "Plus basse, elle punit les distracteurs proches.", Nombre(positive=True)
    )
    effacement: float = reglage(0.1, "Part des morceaux d’un titre effacés au hasard.", PART)
    graine: int = reglage(0, "Graine du hasard.", RANG)

    def __post_init__(self) -> None:
        verifier_les_nombres(self)


#: Ceux de l’encodeur livré.
PAR_DEFAUT = ReglagesEncodeur()
