"""Les jetons : ouvrir un tokenizer, le voir couper, le mesurer, en entraîner un."""

from fabrique.jetons.affichage import Decoupe, Jeton, decouper, montrer_jetons
from fabrique.jetons.apprentissage import entrainer_tokenizer
from fabrique.jetons.lecture import Decoupeur, ouvrir
from fabrique.jetons.mesure import Cout, Fertilite, Rapport, bruiter, cout, fertilite

__all__ = [
    "Cout",
    "Decoupe",
    "Decoupeur",
    "Fertilite",
    "Jeton",
    "Rapport",
    "bruiter",
    "cout",
    "decouper",
    "entrainer_tokenizer",
    "fertilite",
    "montrer_jetons",
    "ouvrir",
]
