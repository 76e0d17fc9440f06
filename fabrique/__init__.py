"""FabriqueLLM : fabriquer son propre modèle de langage, en français.

Les fonctions qu'un carnet appelle tiennent sur une page, ``__init__.pyi``.
"""

import logging
import sys
from importlib.metadata import PackageNotFoundError, version

import lazy_loader
from packaging.version import Version

#: peft lève une erreur devant un torchao plus ancien, même si personne ne s'en sert.
TORCHAO_MINIMAL = Version("0.16.0")


def _ecarter_un_vieux_torchao() -> None:
    """Fait comme si un torchao que peft refuse n'était pas installé ; Colab livre la version 0.10.

    Un module à ``None`` ne s'importe pas, et ``importlib.util.find_spec``, que peft interroge, ne
    le trouve pas.
    """
    try:
        if Version(version("torchao")) < TORCHAO_MINIMAL:
            sys.modules["torchao"] = None
    except PackageNotFoundError:
        pass


_ecarter_un_vieux_torchao()


def _version() -> str:
    """La version installée ; « inconnue » pour un paquet importé sans avoir été installé."""
    try:
        return version("fabrique")
    except PackageNotFoundError:
        return "inconnue"


__version__ = _version()

# Sur processeur, bitsandbytes cherche dès son import un paquet que ce cours n'installe pas.
logging.getLogger("bitsandbytes").setLevel(logging.ERROR)

# Rien n'est chargé d'avance : __init__.pyi dit où chaque nom se trouve.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
