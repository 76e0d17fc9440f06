"""Les réglages d'une synthèse, sans rien de lourd : la commande les lit pour son aide."""

from __future__ import annotations

from dataclasses import dataclass

from fabrique.socle.erreurs import COMPTE, PART
from fabrique.socle.options import reglage, verifier_les_nombres


@dataclass(frozen=True)
class ReglagesSynthese:
    """Ce qu'on demande, et ce qu'on exige de ce qui revient."""

    par_passage: int = reglage(3, "Questions demandées par passage.", COMPTE)
    citation_max: int = reglage(30, "Mots d’une citation, au plus.", COMPTE)
    mots_min: int = reglage(6, "Mots d’une réponse, au moins.", COMPTE)
    mots_max: int = reglage(90, "Mots d’une réponse, au plus.", COMPTE)
    ressemblance: float = reglage(
        0.7, "Ressemblance de deux questions (Jaccard) où la seconde part.", PART
    )
    licence: str = reglage("", "Licence écrite dans chaque exemple.")

    def __post_init__(self) -> None:
        verifier_les_nombres(self)
