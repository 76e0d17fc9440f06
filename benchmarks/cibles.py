"""Toutes les couches, ou query_key_value seul, à mémoire égale.

    python -m benchmarks.cibles

Le Falcon de poche apprend les mêmes exemples avec un adaptateur sur ``query_key_value`` ou sur toutes
les couches, les rangs étant choisis pour apprendre autant de nombres. Chaque façon a le meilleur des
deux taux, choisi sur la validation, et la moyenne de ses graines. La mémoire est comptée :
nombres appris, gradients et moments d'Adam d'un côté, activations gardées pour le retour de l'autre.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
from datasets import Dataset

from benchmarks.memoire_7b import activations_gardees
from fabrique.corpus import jeu, lire_corpus
from fabrique.entrainement import Reglages, entrainer
from fabrique.evaluation import pertes
from fabrique.machine.profil import POCHE, T4
from fabrique.modeles.chargement import charger
from fabrique.recettes.cout import OCTETS_PAR_POIDS_APPRIS, compter
from fabrique.socle.nombres import en_francais, en_mo, en_scientifique

SEULE, TOUTES = ("query_key_value",), "all-linear"
#: Couches et rang. Les deux paires apprennent autant de nombres : 6 = 1 × 6, 48 = 8 × 6.
FACONS = ((SEULE, 6), (TOUTES, 1), (SEULE, 8), (SEULE, 48), (TOUTES, 8))
TAUX = (5e-3, 1e-2)


def apprendre(appris: Dataset, evalues: Dataset, reglages: Reglages) -> tuple[float, int, int]:
    """Perte de validation, nombres appris, et octets d'activations d'un lot du profil de poche."""
    tokenizer, modele = charger(POCHE.modele, POCHE.quantification, silencieux=True)
    with tempfile.TemporaryDirectory() as dossier:
        resultat = entrainer(modele, tokenizer, appris, reglages, Path(dossier))
    perte = float(pertes(resultat.modele, tokenizer, evalues).mean())
    gardees = activations_gardees(resultat.modele, POCHE.mbatch_size, 256)
    return perte, resultat.parametres_entraines, gardees


def ligne(
    appris: Dataset, evalues: Dataset, cibles: tuple[str, ...] | str, rang: int, graines: int
) -> str:
    """Une ligne du tableau, au meilleur taux."""
    reglages = Reglages.du_profil(
        POCHE, target_modules=cibles, lora_r=rang, lora_alpha=2 * rang, val_set_size=0
    )
    vus = {
        taux: [
            apprendre(appris, evalues, replace(reglages, learning_rate=taux, graine=graine))
            for graine in range(1, graines + 1)
        ]
        for taux in TAUX
    }
    meilleur = min(TAUX, key=lambda taux: np.mean([perte for perte, *_ in vus[taux]]))
    notes = [perte for perte, *_ in vus[meilleur]]
    _, nombres, gardees = vus[meilleur][0]
    du_7b = compter(T4.modele, Reglages.du_profil(T4, target_modules=cibles, lora_r=rang))
    return (
        f"| {'toutes les couches' if cibles == TOUTES else cibles[0]} | {rang} "
        f"| {en_francais(nombres)} | {en_scientifique(meilleur)} "
        f"| {en_francais(float(np.mean(notes)), 3)} "
        f"| {en_mo(OCTETS_PAR_POIDS_APPRIS * nombres)} | {en_mo(gardees)} "
        f"| {en_mo(OCTETS_PAR_POIDS_APPRIS * du_7b.adaptateur)} |"
    )


def main() -> None:
    """Imprime le tableau, en Markdown."""
    analyse = argparse.ArgumentParser(description=__doc__)
    analyse.add_argument("--exemples", type=int, default=128)
    analyse.add_argument("--evalues", type=int, default=40)
    analyse.add_argument("--graines", type=int, default=1)
    options = analyse.parse_args()
    corpus = lire_corpus("demarches")
    appris = jeu(corpus, "entrainement").shuffle(seed=1).select(range(options.exemples))
    evalues = jeu(corpus, "validation").select(range(options.evalues))
    print(
        "| couches | rang | nombres appris | taux | perte de validation | adaptateur "
        "| activations | adaptateur de Falcon-7B |\n|---|--:|--:|--:|--:|--:|--:|--:|"
    )
    for cibles, rang in FACONS:
        print(ligne(appris, evalues, cibles, rang, options.graines), flush=True)


if __name__ == "__main__":
    main()
