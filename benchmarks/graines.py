"""Trois graines : ce que le hasard de l'apprentissage change, et qu'un intervalle ne dit pas.

    python -m benchmarks.graines

Le Falcon de poche est affiné trois fois comme au carnet 04, sur les mêmes exemples ; seule la graine
change : celle qui tire l'adaptateur de départ et l'ordre des exemples. Chaque modèle est mesuré sur les
questions de test. Écrit ``data/graines.json``, que lit le carnet 04.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from fabrique.corpus import jeu, lire_corpus
from fabrique.entrainement import Reglages, entrainer
from fabrique.evaluation import comparer_pertes, pertes
from fabrique.evaluation.incertitude import intervalle_de_l_ecart, moyenne
from fabrique.evaluation.metriques import f1
from fabrique.machine.profil import POCHE
from fabrique.modeles.chargement import charger
from fabrique.modeles.generation import generer_par_lots
from fabrique.socle.emplacements import dossier_data, ecrire_json

GRAINES = (42, 43, 44)
#: Ce que le carnet 04 apprend, et la longueur qu’il laisse aux réponses.
EXEMPLES, JETONS = 240, 96


def notes_f1(modele, tokenizer, test: list[dict], adaptateur: bool = True) -> list[float]:
    """Le F1 de chaque réponse."""
    dites = generer_par_lots(
        modele, tokenizer, test, adaptateur=adaptateur, max_new_tokens=JETONS, lot=54
    )
    return [f1(texte, exemple["output"]) for (texte, _), exemple in zip(dites, test, strict=True)]


def main() -> None:
    """Mesure, imprime, écrit."""
    analyse = argparse.ArgumentParser(description=__doc__)
    analyse.add_argument("--sortie", type=Path, default=dossier_data() / "graines.json")
    analyse.add_argument("--questions", type=int, help="questions de test ; toutes par défaut")
    options = analyse.parse_args()
    demarches = lire_corpus("demarches")
    appris = jeu(demarches, "entrainement").shuffle(seed=1).select(range(EXEMPLES))
    test = list(jeu(demarches, "test"))[: options.questions]
    tokenizer, modele = charger(POCHE.modele, POCHE.quantification, silencieux=True)
    base, f1_base = pertes(modele, tokenizer, test), notes_f1(modele, tokenizer, test)
    mesures = []
    for graine in GRAINES:
        reglages = Reglages.du_profil(POCHE, epochs=1, graine=graine)
        with tempfile.TemporaryDirectory() as dossier:
            affine = entrainer(modele, tokenizer, appris, reglages, Path(dossier)).modele
        perte = comparer_pertes(base, pertes(affine, tokenizer, test))
        notes = notes_f1(affine, tokenizer, test)
        ecart = intervalle_de_l_ecart(moyenne(f1_base), moyenne(notes))
        gain = float(moyenne(notes).valeur() - moyenne(f1_base).valeur())
        mesures.append(
            {
                "graine": graine,
                "baisse_perte": round(perte.gain, 4),
                "baisse_perte_ic95": [round(borne, 4) for borne in perte.ic95],
                "gain_f1": round(gain, 4),
                "gain_f1_ic95": [round(borne, 4) for borne in ecart.bornes],
            }
        )
        print(mesures[-1], flush=True)
    ecrire_json(options.sortie, {"exemples": EXEMPLES, "questions": len(test), "graines": mesures})


if __name__ == "__main__":
    main()
