"""L'état d'un préentraînement : écrit à côté, relu, puis mis en place ; et la courbe qu'il laisse."""

from __future__ import annotations

import csv
import math
import os
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch.optim.swa_utils import AveragedModel

from fabrique.entrainement.disque import ecriture_expliquee
from fabrique.socle.erreurs import ErreurFabrique

#: Où s'écrit la courbe d'un préentraînement, dans son dossier.
COURBE = "courbe.csv"


@dataclass
class Etat:
    """Où en est la marche : ce qu'on relit pour repartir. ``prevus`` : le nombre de pas demandé."""

    pas: int = 0
    duree_s: float = 0.0
    perte: float = math.nan
    prevus: int = 0


def ecrire_etat(
    sortie: Path,
    modele: torch.nn.Module,
    moyenne: AveragedModel,
    optims: list[torch.optim.Optimizer],
    etat: Etat,
) -> None:
    """Écrit l'état à côté, le relit, puis le met en place d'un seul geste.

    Raises:
        ErreurFabrique: des poids ne sont plus des nombres, ou le disque refuse ; l'état précédent reste.
    """
    contenu = {
        "modele": modele.state_dict(),
        "moyenne": moyenne.state_dict(),
        "optims": [optim.state_dict() for optim in optims],
        "etat": asdict(etat),
    }
    partiel = sortie / "etat.pt.partiel"
    try:
        with ecriture_expliquee(sortie):
            with partiel.open("wb") as flux:
                torch.save(contenu, flux)
                flux.flush()
                os.fsync(flux.fileno())
            _verifier_l_etat(
                torch.load(partiel, map_location="cpu", weights_only=True), contenu, sortie
            )
            partiel.replace(sortie / "etat.pt")
    finally:
        partiel.unlink(missing_ok=True)


def _verifier_l_etat(relu: dict, ecrit: dict, sortie: Path) -> None:
    """Chaque poids relu est celui qu'on a écrit, et c'est un nombre."""
    for partie in ("modele", "moyenne"):
        for nom, tenseur in ecrit[partie].items():
            if not torch.isfinite(tenseur).all():
                verifier_la_perte(math.nan, ecrit["etat"]["pas"], sortie)
            if not torch.equal(relu[partie][nom], tenseur.cpu()):
                raise OSError("l’état écrit ne se relit pas")


def lire_etat(
    sortie: Path,
    modele: torch.nn.Module,
    moyenne: AveragedModel,
    optims: list[torch.optim.Optimizer],
) -> Etat:
    """Relit l'état d'un lancement interrompu ; à défaut, l'état initial."""
    if not (sortie / "etat.pt").exists():
        return Etat()
    contenu = torch.load(sortie / "etat.pt", map_location="cpu", weights_only=True)
    modele.load_state_dict(contenu["modele"])
    moyenne.load_state_dict(contenu["moyenne"])
    for optim, valeurs in zip(optims, contenu["optims"], strict=True):
        optim.load_state_dict(valeurs)
    return Etat(**contenu["etat"])


def ajouter_a_la_courbe(sortie: Path, releve: dict[str, float]) -> None:
    courbe = sortie / COURBE
    nouveau = not courbe.exists() or not courbe.stat().st_size
    with ecriture_expliquee(sortie), courbe.open("a", encoding="utf-8", newline="") as flux:
        ecrivain = csv.DictWriter(flux, releve)
        if nouveau:
            ecrivain.writeheader()
        ecrivain.writerow(releve)


def dernier_releve(sortie: Path) -> int:
    """Le pas du dernier relevé de la courbe ; 0 s'il n'y en a pas."""
    courbe = sortie / COURBE
    if not courbe.exists():
        return 0
    with courbe.open(encoding="utf-8", newline="") as flux:
        return max((int(releve["pas"]) for releve in csv.DictReader(flux)), default=0)


def verifier_la_perte(perte: float, pas: int, sortie: Path) -> None:
    if not math.isfinite(perte):
        raise ErreurFabrique(
            f"la perte du pas {pas} n’est plus un nombre\u00a0: le préentraînement a divergé",
            "Divisez le taux d’apprentissage (--lr) par dix, dans un autre dossier de sortie\u00a0; le "
            "dernier état écrit dans celui-ci est intact",
            sortie,
            champ="learning_rate",
        )
