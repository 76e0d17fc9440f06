from .corpus import lire_corpus as lire_corpus
from .entrainement import (
    Reglages as Reglages,
    ResultatEntrainement as ResultatEntrainement,
    entrainer as entrainer,
)
from .erreurs import Divergence as Divergence, ErreurFabrique as ErreurFabrique
from .evaluation import evaluer as evaluer
from .generation import continuer as continuer, generer as generer
from .machine import Profil as Profil, preparer as preparer
from .modeles import charger as charger, charger_adaptateur as charger_adaptateur
