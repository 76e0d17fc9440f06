"""Les corpus d'instructions : lecture, répartition, données personnelles."""

from fabrique.corpus.formats import COLONNES
from fabrique.corpus.lecture import jeu, lire_corpus, repartir
from fabrique.corpus.personnelles import Trouvaille, donnees_personnelles, doublons_exacts

__all__ = [
    "COLONNES",
    "Trouvaille",
    "donnees_personnelles",
    "doublons_exacts",
    "jeu",
    "lire_corpus",
    "repartir",
]
