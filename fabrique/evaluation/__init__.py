"""Mesurer ce qu'un réglage fin a changé, avec son incertitude."""

from fabrique.evaluation.mesures import (
    ComparaisonPertes,
    Reponses,
    comparer_pertes,
    mesurer_reponses,
    pertes,
)

__all__ = ["ComparaisonPertes", "Reponses", "comparer_pertes", "mesurer_reponses", "pertes"]
