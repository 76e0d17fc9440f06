"""FabriqueLLM : fabriquer son propre modèle de langage, en français.

Les fonctions qu'un carnet appelle tiennent sur cette page.
"""

import logging

# Sur processeur, bitsandbytes cherche dès son import un paquet que ce cours n'installe pas.
logging.getLogger("bitsandbytes").setLevel(logging.ERROR)

from fabrique.corpus import lire_corpus  # noqa: E402
from fabrique.entrainement import Reglages, ResultatEntrainement, entrainer  # noqa: E402
from fabrique.erreurs import ErreurFabrique  # noqa: E402
from fabrique.evaluation import evaluer  # noqa: E402
from fabrique.generation import continuer, generer  # noqa: E402
from fabrique.machine import Profil, preparer  # noqa: E402
from fabrique.modeles import charger, charger_adaptateur  # noqa: E402

__all__ = [
    "ErreurFabrique",
    "Profil",
    "Reglages",
    "ResultatEntrainement",
    "charger",
    "charger_adaptateur",
    "continuer",
    "entrainer",
    "evaluer",
    "generer",
    "lire_corpus",
    "preparer",
]
