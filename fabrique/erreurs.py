"""Les erreurs qu'une personne peut corriger : une phrase, un endroit, un remède."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path

#: Codes de sortie de la commande ``fabrique``.
DONNEES, MACHINE = 1, 2


@dataclass(eq=False)
class ErreurFabrique(Exception):
    """Une erreur expliquée en français, que la commande et les carnets montrent sans trace.

    Args:
        message: ce qui ne va pas, en une phrase sans point final.
        remede: ce qu'il faut faire, en une phrase sans point final.
        fichier: le fichier en cause.
        ligne: la ligne du fichier, comptée depuis 1.
        champ: le champ (la colonne) en cause.
        code: 1 pour des données ou un usage à corriger, 2 pour la machine ou le disque.
    """

    message: str
    remede: str = ""
    fichier: str | Path | None = None
    ligne: int | None = None
    champ: str | None = None
    code: int = DONNEES

    def __str__(self) -> str:
        lieux = [
            str(self.fichier) if self.fichier else "",
            f"ligne {self.ligne}" if self.ligne else "",
            f"champ « {self.champ} »" if self.champ else "",
        ]
        lieu = ", ".join(filter(None, lieux))
        phrase = f"{lieu} : {self.message}" if lieu else self.message
        return f"{phrase}. {self.remede}." if self.remede else f"{phrase}."

    def en_dictionnaire(self) -> dict:
        """La même erreur pour ``--json`` : erreur, fichier, ligne, champ, remede, code."""
        return {
            "erreur": self.message,
            "fichier": str(self.fichier) if self.fichier else None,
            "ligne": self.ligne,
            "champ": self.champ,
            "remede": self.remede,
            "code": self.code,
        }

    def _render_traceback_(self) -> list[str]:
        """Ce qu'IPython montre à la place d'une trace : la phrase seule."""
        return [f"À corriger : {self}"]


@dataclass(eq=False)
class Divergence(ErreurFabrique):
    """L'apprentissage s'est arrêté, parce que sa perte n'est plus un nombre ou n'apprend plus rien.

    Args:
        pas: le pas fautif, compté depuis 1 ; à défaut, le dernier achevé.
        perte: la sienne, en nats par jeton ; infinie quand ce n'est plus un nombre.
        historique: les relevés jusqu'à ce pas, comme ceux d'un ``ResultatEntrainement``.
    """

    pas: int | None = None
    perte: float = math.inf
    historique: list[dict[str, float]] = field(default_factory=list)
