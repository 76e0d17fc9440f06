"""FabriqueLLM : fabriquer son propre modèle de langage, en français.

Les fonctions qu'un carnet appelle tiennent sur une page, ``__init__.pyi``.
"""

import logging

import lazy_loader

# Sur processeur, bitsandbytes cherche dès son import un paquet que ce cours n'installe pas.
logging.getLogger("bitsandbytes").setLevel(logging.ERROR)

# Rien n'est chargé d'avance : __init__.pyi dit où chaque nom se trouve.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
