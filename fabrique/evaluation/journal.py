"""Le journal d'une évaluation : chaque lot de réponses est écrit aussitôt, et ne se redemande pas."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from fabrique.evaluation.paires import empreinte, relire_lignes
from fabrique.socle.emplacements import ajouter_ligne
from fabrique.socle.erreurs import ErreurFabrique

#: Une réponse, et si elle s'est close par le jeton de fin.
Reponse = tuple[str, bool]
CHAMPS = ("cle", "reponses", "secondes")


class Journal:
    """Les lots de réponses déjà obtenus, reconnus par tout ce qui peut les changer.

    Args:
        fichier: le journal JSONL ; créé s'il n'existe pas, pour savoir d'avance qu'on peut y écrire.

    Raises:
        ErreurFabrique: le fichier existe et n'est pas un journal d'évaluation.
    """

    def __init__(self, fichier: Path) -> None:
        self.fichier, self.signature = fichier, ""
        lignes, abimees = relire_lignes(fichier, CHAMPS)
        if abimees and not lignes:
            raise ErreurFabrique(
                "ce fichier existe déjà et n’est pas un journal d’évaluation",
                "Déplacez-le, ou donnez un autre nom au rapport",
                fichier,
            )
        self.lots = {ligne["cle"]: ligne for ligne in lignes}
        self.relus: list[dict] = []
        fichier.parent.mkdir(parents=True, exist_ok=True)
        fichier.touch()

    def signer(self, *quoi: object) -> None:
        """Attache les réponses à ce qui les donne : base, adaptateur, réglages, versions."""
        self.signature = empreinte(*quoi)

    @property
    def gardees(self) -> int:
        """Combien de réponses le journal contient."""
        return sum(len(lot["reponses"]) for lot in self.lots.values())

    @property
    def secondes_relues(self) -> float:
        """Ce qu'avaient coûté, en secondes, les réponses relues plutôt que redemandées."""
        return sum(lot["secondes"] for lot in self.relus)

    def repondre(
        self, quoi: Sequence[object], generer: Callable[[], list[Reponse]]
    ) -> tuple[list[Reponse], float]:
        """Les réponses d'un lot, relues ou demandées puis écrites, et leurs secondes.

        Args:
            quoi: les questions et les réglages du lot.
            generer: demande les réponses au modèle.
        """
        cle = empreinte(self.signature, *quoi)
        if cle in self.lots:
            self.relus.append(self.lots[cle])
        else:
            reponses, secondes = chronometrer(generer)
            self.lots[cle] = {"cle": cle, "reponses": reponses, "secondes": secondes}
            ajouter_ligne(self.fichier, self.lots[cle])
        lot = self.lots[cle]
        return [(texte, finie) for texte, finie in lot["reponses"]], lot["secondes"]


def chronometrer(generer: Callable[[], list[Reponse]]) -> tuple[list[Reponse], float]:
    """Les réponses d'un lot, et leurs secondes."""
    depart = time.perf_counter()
    return generer(), time.perf_counter() - depart


@contextmanager
def ouvrir(fichier: Path | None) -> Iterator[Journal | None]:
    """Un journal le temps d'une évaluation, retiré quand il ne sert plus ; rien sans fichier.

    Raises:
        ErreurFabrique: évaluation interrompue ; la phrase dit comment la reprendre.
    """
    if fichier is None:
        yield None
        return
    journal, finie = Journal(fichier), False
    try:
        yield journal
        finie = True
    except KeyboardInterrupt:
        raise ErreurFabrique(
            "évaluation interrompue",
            f"Relancez la même commande : {journal.gardees} réponses sont gardées et ne seront pas "
            "redemandées",
            fichier,
        ) from None
    finally:
        if finie or not journal.lots:
            fichier.unlink(missing_ok=True)
