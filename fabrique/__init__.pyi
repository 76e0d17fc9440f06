__version__: str

from .corpus import lire_corpus as lire_corpus
from .entrainement import (
    Reglages as Reglages,
    ResultatEntrainement as ResultatEntrainement,
    entrainer as entrainer,
)
from .evaluation import evaluer as evaluer
from .machine import Profil as Profil, preparer as preparer
from .modeles import (
    charger as charger,
    charger_adaptateur as charger_adaptateur,
    continuer as continuer,
    generer as generer,
)
from .recherche import Index as Index, repondre as repondre
from .socle import Divergence as Divergence, ErreurFabrique as ErreurFabrique
