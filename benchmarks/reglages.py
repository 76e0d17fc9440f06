"""Comparer des réglages du Falcon de poche sur le jeu de validation : perte, et réponses.

    python -m benchmarks.reglages --exemples 512 '{"batch_size": 2, "mbatch_size": 2}' '{}'
    python -m benchmarks.reglages --corpus questions --reponses '{"epochs": 2, "learning_rate": 0.0025}'

Chaque essai part du profil de poche, changé comme on l'a demandé ; il apprend les premiers exemples
d'un corpus, puis est mesuré sur ses questions de validation, jamais sur celles de test. Avec
``--reponses``, il y répond aussi : réponses terminées, qui se répètent, longueur, F1.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

import numpy as np
from datasets import Dataset

from benchmarks.falcon_poche import se_repete
from fabrique.corpus import jeu, lire_corpus
from fabrique.entrainement import Reglages, entrainer
from fabrique.evaluation import mesurer_reponses, pertes
from fabrique.evaluation.metriques import f1
from fabrique.machine.profil import POCHE
from fabrique.modeles.chargement import charger
from fabrique.socle.nombres import en_francais, en_pourcent


def essayer(appris: Dataset, evalues: Dataset, changements: dict, reponses: bool) -> list[str]:
    """Une ligne du tableau : réglages, perte, puis ce que valent les réponses."""
    tokenizer, modele = charger(POCHE.modele, POCHE.quantification, silencieux=True)
    reglages = Reglages.du_profil(POCHE, val_set_size=0, **changements)
    with tempfile.TemporaryDirectory() as dossier:
        affine = entrainer(modele, tokenizer, appris, reglages, Path(dossier)).modele
    perte = float(pertes(affine, tokenizer, evalues).mean())
    ligne = [json.dumps(changements), en_francais(perte, 3)]
    if reponses:
        vues = mesurer_reponses(affine, tokenizer, evalues, max_new_tokens=POCHE.max_new_tokens)
        notes = [f1(dite, e["output"]) for dite, e in zip(vues.textes, evalues, strict=True)]
        ligne += [
            en_pourcent(vues.taux_fin),
            en_pourcent(float(np.mean([se_repete(dite) for dite in vues.textes]))),
            en_francais(vues.longueur_mediane, 1),
            en_pourcent(float(np.mean(notes)), 1),
        ]
    return ligne


def main() -> None:
    """Essaie chaque jeu de réglages et imprime le tableau, en Markdown."""
    analyse = argparse.ArgumentParser(description=__doc__)
    analyse.add_argument("changements", type=json.loads, nargs="+", help="réglages, en JSON")
    analyse.add_argument("--corpus", default="demarches", help="nom d’un corpus livré, ou fichier")
    analyse.add_argument("--exemples", type=int, default=1026)
    analyse.add_argument("--reponses", action="store_true", help="mesure aussi les réponses")
    options = analyse.parse_args()
    corpus = lire_corpus(options.corpus)
    appris = jeu(corpus, "entrainement")
    appris = appris.select(range(min(options.exemples, len(appris))))
    evalues = jeu(corpus, "validation")
    titres = ["réglages", "perte"]
    if options.reponses:
        titres += ["terminées", "se répètent", "longueur médiane", "F1 de jetons"]
    print(f"| {' | '.join(titres)} |\n|---{'|--:' * (len(titres) - 1)}|")
    for changements in options.changements:
        ligne = essayer(appris, evalues, changements, options.reponses)
        print(f"| {' | '.join(ligne)} |", flush=True)


if __name__ == "__main__":
    main()
