"""Mesurer ce qu'un réglage fin a changé, avec son incertitude."""

from fabrique.evaluation.comparaison import (
    Ecart,
    Evaluation,
    comparer,
    courbe_d_apprentissage,
    evaluer,
    tableau,
)
from fabrique.evaluation.mesures import (
    ComparaisonPertes,
    Reponses,
    comparer_pertes,
    mesurer_reponses,
    pertes,
)

__all__ = [
    "ComparaisonPertes",
    "Ecart",
    "Evaluation",
    "Reponses",
    "comparer",
    "comparer_pertes",
    "courbe_d_apprentissage",
    "evaluer",
    "mesurer_reponses",
    "pertes",
    "tableau",
]
