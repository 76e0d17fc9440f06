"""Les corpus : lire, contrôler, convertir, choisir, répartir."""

from fabrique.corpus.constats import Constat, Controle
from fabrique.corpus.controle import controler
from fabrique.corpus.conversion import convertir
from fabrique.corpus.formats import COLONNES
from fabrique.corpus.lecture import jeu, lire_corpus, repartir
from fabrique.corpus.personnelles import (
    Trouvaille,
    donnees_personnelles,
    doublons_exacts,
    pseudonymiser,
)
from fabrique.corpus.preparation import preparer_corpus
from fabrique.corpus.selection import Criteres, selectionner

__all__ = [
    "COLONNES",
    "Constat",
    "Controle",
    "Criteres",
    "Trouvaille",
    "controler",
    "convertir",
    "donnees_personnelles",
    "doublons_exacts",
    "jeu",
    "lire_corpus",
    "preparer_corpus",
    "pseudonymiser",
    "repartir",
    "selectionner",
]
