"""Indexer des fichiers de fiches dans un dossier, et dire ce qui a été pris."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from fabrique.recherche.ecriture import verifier_dossier
from fabrique.recherche.fiches import Lue, lire_fiches
from fabrique.recherche.index import Index
from fabrique.recherche.sens import choisir_encodeur
from fabrique.socle.nombres import en_duree, en_francais, en_mo


@dataclass(frozen=True)
class Indexation:
    """Ce qu'un index contient, et ce qu'on a laissé de côté.

    Args:
        dossier: où il est.
        fichiers: les fichiers lus, avec leurs fiches et leurs alertes.
        passages: combien de passages.
        sens: l'encodeur, ou « aucun ».
        octets: la taille de l'index sur le disque.
        duree_s: secondes écoulées.
    """

    dossier: Path
    fichiers: list[Lue]
    passages: int
    sens: str
    octets: int
    duree_s: float

    @property
    def fiches(self) -> int:
        """Combien de fiches."""
        return sum(len(lue.fiches) for lue in self.fichiers)

    def en_dictionnaire(self) -> dict:
        """Le compte rendu pour ``--json``."""
        return {
            "dossier": str(self.dossier),
            "fichiers": [
                {
                    "fichier": str(lue.chemin),
                    "fiches": len(lue.fiches),
                    "laisses": [asdict(alerte) for alerte in lue.alertes],
                }
                for lue in self.fichiers
            ],
            "fiches": self.fiches,
            "passages": self.passages,
            "sens": self.sens,
            "octets": self.octets,
            "duree_s": round(self.duree_s, 3),
        }

    def __str__(self) -> str:
        return (
            f"{en_francais(self.fiches)} fiches, {en_francais(self.passages)} passages, indexés dans "
            f"{self.dossier} ({en_mo(self.octets)}, {en_duree(self.duree_s)})."
        )


def indexer(sources: Sequence[str | Path], sortie: str | Path, sens: str = "poche") -> Indexation:
    """Construit un index et l'écrit dans un dossier.

    Args:
        sources: noms de corpus livrés ou fichiers de fiches.
        sortie: le dossier de l'index, neuf ou déjà écrit par nous.
        sens: l'encodeur (voir ``choisir_encodeur``).

    Raises:
        ErreurFabrique: une fiche ne peut pas être prise, ou le dossier n'est pas à nous.
    """
    depart, sortie = time.monotonic(), Path(sortie)
    verifier_dossier(sortie)
    choisir_encodeur(sens)
    lues = lire_fiches(*sources)
    index = Index.depuis((fiche for lue in lues for fiche in lue.fiches), sens)
    index.enregistrer(sortie)
    octets = sum(f.stat().st_size for f in sortie.rglob("*") if f.is_file())
    return Indexation(sortie, lues, len(index), sens, octets, time.monotonic() - depart)
