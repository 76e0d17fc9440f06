"""Les erreurs qu'une personne peut corriger : une phrase, un endroit, un remède."""

from __future__ import annotations

import linecache
import math
import traceback
from dataclasses import dataclass, field
from numbers import Integral, Real
from pathlib import Path
from types import TracebackType
from typing import Any

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
        champ: le champ (la colonne), le réglage ou l'option (« --lr ») en cause.
        code: 1 pour des données ou un usage à corriger, 2 pour la machine ou le disque.
    """

    message: str
    remede: str = ""
    fichier: str | Path | None = None
    ligne: int | None = None
    champ: str | None = None
    code: int = DONNEES

    @property
    def phrase(self) -> str:
        """L'endroit et ce qui ne va pas, sans le remède ni le point final."""
        lieux = [
            str(self.fichier) if self.fichier else "",
            f"ligne {self.ligne}" if self.ligne else "",
            _situer(self.champ) if self.champ else "",
        ]
        lieu = ", ".join(filter(None, lieux))
        return f"{lieu} : {self.message}" if lieu else self.message

    def __str__(self) -> str:
        return f"{self.phrase}. {self.remede}." if self.remede else f"{self.phrase}."

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


def _situer(champ: str) -> str:
    return f"l’option {champ}" if champ.startswith("--") else f"champ « {champ} »"


@dataclass(frozen=True)
class Nombre:
    """La forme d'un nombre qu'une personne donne : ce qui s'accepte, et comment le dire.

    Args:
        entier: refuse les nombres à virgule.
        positive: refuse zéro et ce qui est en dessous.
        au_moins: plus petite valeur permise.
        moins_de: borne à ne pas atteindre.
        exemple: une valeur ordinaire, telle qu'on la tape.
    """

    entier: bool = False
    positive: bool = False
    au_moins: float | None = None
    moins_de: float | None = None
    exemple: str = ""

    def accepte(self, valeur: object) -> bool:
        """Vrai pour un nombre fini, entier s'il le faut, dans ses bornes."""
        if isinstance(valeur, bool) or not isinstance(valeur, Integral if self.entier else Real):
            return False
        nombre = float(valeur)
        return (
            math.isfinite(nombre)
            and (not self.positive or nombre > 0)
            and (self.au_moins is None or nombre >= self.au_moins)
            and (self.moins_de is None or nombre < self.moins_de)
        )

    def lire(self, tape: str) -> int | float:
        """Le nombre tapé, où la virgule vaut un point (« 0,0003 »).

        Raises:
            ValueError: ce n'est pas un nombre, ou il ne convient pas.
        """
        valeur = int(tape) if self.entier else float(tape.replace(",", "."))
        if not self.accepte(valeur):
            raise ValueError(tape)
        return valeur

    def __str__(self) -> str:
        plancher = "positive ou nulle" if self.au_moins == 0 else f"d’au moins {self.au_moins}"
        dits = [
            "une valeur entière" if self.entier else "une valeur",
            "strictement positive" if self.positive else "",
            "" if self.au_moins is None else plancher,
            "" if self.moins_de is None else f"inférieure à {self.moins_de}",
            f"par exemple {self.exemple}" if self.exemple else "",
        ]
        return ", ".join(filter(None, dits))


#: Les nombres que les réglages et les options demandent le plus souvent.
QUANTITE, PART = Nombre(au_moins=0), Nombre(au_moins=0, moins_de=1, exemple="0,1")
RANG, COMPTE = Nombre(entier=True, au_moins=0), Nombre(entier=True, positive=True)


def expliquer_les_pannes() -> None:
    """Dans un carnet, dit en français un nom inconnu ou un arrêt demandé, au lieu d'une trace.

    Les gestionnaires déjà posés gardent leur place : Colab en a un pour les importations.

    Source : documentation d'IPython, ``InteractiveShell.set_custom_exc``.
    """
    from IPython import get_ipython

    interprete = get_ipython()
    if interprete is None or NameError in interprete.custom_exceptions:
        return
    anciennes, ancien = interprete.custom_exceptions, interprete.CustomTB

    def expliquer(
        interprete: Any, genre: type, valeur: Any, trace: Any, tb_offset: int | None = None
    ) -> Any:
        if phrase := _panne_de_carnet(valeur, trace, interprete.user_global_ns):
            valeur._render_traceback_ = lambda: [phrase]
        elif isinstance(valeur, anciennes):
            return ancien(genre, valeur, trace, tb_offset=tb_offset)
        return interprete.showtraceback((genre, valeur, trace), tb_offset=tb_offset)

    interprete.set_custom_exc((*anciennes, NameError, KeyboardInterrupt), expliquer)


def _panne_de_carnet(valeur: BaseException, trace: TracebackType, noms: dict) -> str | None:
    """La phrase qui remplace la trace ; None si l'erreur n'est pas de celles qu'on explique.

    Args:
        noms: les noms du carnet ; un nom inconnu ailleurs, dans une bibliothèque, garde sa trace.
    """
    if isinstance(valeur, KeyboardInterrupt):
        return "Arrêté à votre demande : cette cellule n’est pas allée au bout. Exécutez-la de nouveau."
    *_, (cadre, numero) = traceback.walk_tb(trace)
    if type(valeur) is not NameError or cadre.f_globals is not noms:
        return None
    ligne = linecache.getline(cadre.f_code.co_filename, numero).strip()
    return (
        f"À corriger : « {valeur.name} » n’est pas défini (ligne {numero} : {ligne}). S’il est "
        "défini plus haut dans le carnet, choisissez Exécution > Exécuter les cellules "
        f"précédentes ; sinon, vérifiez son orthographe.\n{type(valeur).__name__}: {valeur}"
    )
