"""Ce que le paquet dit en travaillant va au journal « fabrique » ; ici, la voix qui le fait entendre.

Les pièces écrivent par ``logging.getLogger(__name__)``. La commande et ``preparer`` donnent la voix ;
qui emploie le paquet autrement règle ce journal comme celui de toute bibliothèque.
"""

from __future__ import annotations

import logging
import sys


class Voix(logging.Handler):
    """Écrit chaque phrase telle quelle, sur la sortie du moment.

    La sortie se cherche à chaque phrase : dans un carnet, c'est celle de la cellule qui s'exécute.
    """

    sortie = "stdout"

    def emit(self, dit: logging.LogRecord) -> None:
        """Écrit la phrase et sa fin de ligne."""
        print(self.format(dit), file=getattr(sys, self.sortie))


VOIX = Voix()


def parler(sortie: str = "stdout") -> None:
    """Fait entendre le journal « fabrique ».

    Args:
        sortie: « stdout », ou « stderr » quand la sortie ordinaire ne doit porter qu'un objet JSON.
    """
    VOIX.sortie = sortie
    journal = logging.getLogger("fabrique")
    journal.addHandler(VOIX)  # sans effet si elle y est déjà
    journal.setLevel(logging.INFO)
    journal.propagate = False  # Colab a un gestionnaire à lui, qui répéterait chaque phrase
