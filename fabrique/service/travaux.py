"""Les affinages du service : des tâches, dont le modèle se sert dès qu'elles ont réussi."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from fabrique.service.taches import REUSSI, FileDeTaches, Tache
from fabrique.socle.erreurs import ErreurFabrique

JOURNAL = logging.getLogger(__name__)

#: Les fichiers d'un affinage, dans son dossier.
CORPUS, ADAPTATEUR = "corpus.jsonl", "adaptateur"
#: La commande qui mène un affinage, et son option de sortie : sur des exemples, ou des préférences.
COMMANDES = {False: ("finetune", "--lora_out_dir"), True: ("preferer", "--sortie")}


@dataclass(eq=False, kw_only=True)
class Travail(Tache):
    """Un affinage.

    Args:
        options: ce qu'on donne à « fabrique finetune » (ou « preferer »), en plus du corpus et de la
            sortie.
        hyperparametres: ceux de l'API, « auto » remplacé.
        pas: combien il en fera.
        par_preferences: vrai si le corpus est fait de préférences.
    """

    modele: str
    fichier: str
    validation: str | None
    suffixe: str | None
    options: list[str]
    hyperparametres: dict[str, float]
    graine: int
    pas: int
    metadonnees: dict[str, str]
    resultats: list[str] = field(default_factory=list)
    par_preferences: bool = False

    def commande(self, dossier: Path) -> list[str]:
        nom, sortie = COMMANDES[self.par_preferences]
        fichiers = [f"--dataset={dossier / CORPUS}", f"{sortie}={dossier / ADAPTATEUR}"]
        return [nom, *self.options, *fichiers]

    def achevee(self, dossier: Path) -> bool:
        return (dossier / ADAPTATEUR / "rapport.json").is_file()

    @property
    def sert_sous(self) -> str:
        """Le nom du modèle affiné, dans la forme de l'API."""
        return f"ft:{self.modele}:maison:{self.suffixe or ''}:{self.id.removeprefix('ftjob-')[:8]}"


class Travaux(FileDeTaches[Travail]):
    """La liste des affinages, menés un à un.

    Args:
        racine: un sous-dossier par affinage.
        reussi: appelée quand un affinage réussit, ou qu'on le retrouve réussi.
    """

    def __init__(self, racine: Path, reussi: Callable[[Travail, Path], None]) -> None:
        super().__init__(racine, Travail)
        self._reussi = reussi
        for travail in self.tous():
            if travail.etat == REUSSI:
                try:
                    self._servir(travail)
                except ErreurFabrique as erreur:
                    JOURNAL.warning(f"L’affinage {travail.id} n’est plus servi : {erreur}")

    def _reussir(self, travail: Travail) -> None:
        try:
            self._servir(travail)
        except ErreurFabrique as erreur:
            self._manquer(travail, str(erreur))
            return
        self._finir(
            travail, REUSSI, f"Affinage fini : le modèle s’appelle « {travail.sert_sous} »."
        )

    def _servir(self, travail: Travail) -> None:
        self._reussi(travail, self.dossier(travail) / ADAPTATEUR)
