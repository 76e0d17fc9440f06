"""Qualité contre quantité égale : apprendre de nos démarches, ou d'autant d'exemples de PIAF.

    python -m benchmarks.qualite ../shared/donnees/instructions_piaf_alpaca.jsonl.gz

Le Falcon de poche est affiné deux fois, mêmes réglages et même nombre d'exemples, puis mesuré sur
les démarches mises de côté. Écrit ``benchmarks/qualite.json``, que recopie le carnet 02. Par
défaut, tout le jeu d'entraînement, deux époques ; moins va plus vite :

    python -m benchmarks.qualite … --exemples 256 --epochs 1
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from datasets import Dataset

from fabrique.corpus import jeu, lire_corpus
from fabrique.entrainement import Reglages, entrainer
from fabrique.evaluation import comparer_pertes, pertes
from fabrique.machine.profil import POCHE
from fabrique.modeles.chargement import charger
from fabrique.socle.emplacements import ecrire_json


def pertes_apres(corpus: Dataset, test: Dataset, epochs: float) -> tuple:
    """Affine un modèle neuf sur un corpus ; pertes sur le jeu de test, avant puis après."""
    tokenizer, modele = charger(POCHE.modele, POCHE.quantification, silencieux=True)
    avant = pertes(modele, tokenizer, test)
    with tempfile.TemporaryDirectory() as dossier:
        reglages = Reglages.du_profil(POCHE, epochs=epochs, val_set_size=0)
        resultat = entrainer(modele, tokenizer, corpus, reglages, Path(dossier))
        return avant, pertes(resultat.modele, tokenizer, test)


def main() -> None:
    """Mesure, imprime, écrit."""
    analyse = argparse.ArgumentParser(description=__doc__)
    analyse.add_argument("piaf", type=Path, help="instructions PIAF, format Alpaca")
    analyse.add_argument("--sortie", type=Path, default=Path("benchmarks/qualite.json"))
    analyse.add_argument("--exemples", type=int, help="exemples appris de chaque corpus ; tous")
    analyse.add_argument("--epochs", type=float, default=2)
    options = analyse.parse_args()
    demarches = lire_corpus("demarches")
    appris, test = jeu(demarches, "entrainement"), jeu(demarches, "test")
    if options.exemples:
        appris = appris.shuffle(seed=42).select(range(options.exemples))
    piaf = lire_corpus(options.piaf).shuffle(seed=42).select(range(len(appris)))
    base, des_demarches = pertes_apres(appris, test, options.epochs)
    _, de_piaf = pertes_apres(piaf, test, options.epochs)
    # « Gain » des démarches par rapport à PIAF, question par question.
    ecart = comparer_pertes(de_piaf, des_demarches)
    mesures = {
        "exemples": len(appris),
        "epoques": options.epochs,
        "questions": len(test),
        "perte_base": round(float(base.mean()), 4),
        "perte_piaf": round(ecart.avant, 4),
        "perte_demarches": round(ecart.apres, 4),
        "gain": round(ecart.gain, 4),
        "ic95": [round(borne, 4) for borne in ecart.ic95],
    }
    ecrire_json(options.sortie, mesures)
    print(mesures)


if __name__ == "__main__":
    main()
