"""Les réglages d'un classifieur, sans torch : la commande les lit pour son aide."""

from __future__ import annotations

from dataclasses import dataclass

from fabrique.socle.erreurs import COMPTE, PART, RANG, Nombre
from fabrique.socle.options import reglage, verifier_les_nombres

#: Les façons de ranger, de la plus légère à la plus lourde.
METHODES = {
    "mots": "TF-IDF des mots, et régression logistique",
    "lettres": "TF-IDF des suites de 2 à 5 lettres, et régression logistique",
    "sens": "vecteur de l’encodeur livré, et régression logistique",
    "gele": "ce que voit un modèle de langage gelé, et régression logistique",
    "lora": "un modèle de langage et sa tête, affinés par LoRA",
    "entier": "un modèle de langage et sa tête, tous les poids affinés",
}


@dataclass(frozen=True)
class ReglagesClassement:
    """Les réglages de l'apprentissage.

    Les valeurs par défaut ont été choisies sur le seul jeu de validation des démarches
    (``python -m benchmarks.classer --reglages``).
    """

    test: float = reglage(0.2, "Part mise de côté pour juger, sans colonne « jeu ».", PART)
    graine: int = reglage(42, "Graine du hasard.", RANG)
    encodeur: str = reglage(
        "poche", "Encodeur de la méthode sens : poche, e5, ou le dossier d’un encodeur."
    )
    cutoff_len: int = reglage(96, "Jetons lus de chaque texte.", COMPTE)
    epochs: int = reglage(8, "Lectures des exemples (lora, entier).", COMPTE)
    batch_size: int = reglage(16, "Exemples par pas (lora, entier).", COMPTE)
    learning_rate: float = reglage(
        0.0,
        "Taux d’apprentissage (lora, entier) ; 0 : celui de la méthode.",
        Nombre(au_moins=0, exemple="0,001"),
    )

    def __post_init__(self) -> None:
        verifier_les_nombres(self)


PAR_DEFAUT = ReglagesClassement()


@dataclass(frozen=True)
class ReglagesDistillation(ReglagesClassement):
    """Les réglages de l'élève, et ce qu'il demande de son maître."""

    seuil: float = reglage(
        0.0, "Probabilité du maître sous laquelle un texte ne s’apprend pas.", PART
    )
