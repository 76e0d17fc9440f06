from .adaptateurs import (
    charger_adaptateur as charger_adaptateur,
    sans_adaptateur as sans_adaptateur,
)
from .catalogue import CATALOGUE as CATALOGUE
from .chargement import charger as charger
from .generation import (
    continuer as continuer,
    generer as generer,
    generer_par_lots as generer_par_lots,
)
from .tokenizer import charger_tokenizer as charger_tokenizer
