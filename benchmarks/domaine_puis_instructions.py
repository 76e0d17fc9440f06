"""Lire le domaine avant d'affiner : cela aide-t-il à répondre ?

    python -m benchmarks.domaine_puis_instructions

Le Falcon de poche est affiné sur des questions courtes, tel quel, puis après avoir lu nos fiches : mêmes
exemples, mêmes réglages, mêmes graines. On mesure, sur des questions de test, la perte des réponses et le
F1 de ce qu'il écrit ; l'intervalle retire les graines et les questions.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np

from benchmarks.graines import notes_f1
from fabrique.corpus import jeu, lire_corpus
from fabrique.entrainement import Reglages, entrainer
from fabrique.entrainement.prolongement import prolonger
from fabrique.entrainement.reglages_prolongement import ReglagesProlongement
from fabrique.entrainement.textes import (
    echantillon,
    lire_documents,
    lire_source,
    mettre_de_cote,
)
from fabrique.evaluation import pertes
from fabrique.machine.profil import POCHE
from fabrique.modeles.chargement import charger
from fabrique.recettes.domaine import GENERAL, VALIDATION, textes_generaux
from fabrique.socle.emplacements import ecrire_json
from fabrique.socle.reechantillonnage import reechantillonner

GRAINES = (42, 43, 44)
EXEMPLES = 48
#: Ce qu'on mesure de chaque texte mis de côté.
SIGNES = 1000
LECTURE = ReglagesProlongement(
    longueur=256, lot=4, fenetres_ensemble=4, learning_rate=5e-4, pas_mesure=10_000
)


def ecart(avec: np.ndarray, sans: np.ndarray) -> dict:
    """L'écart moyen et son intervalle à 95 % (formes : graines × questions)."""

    def difference(graines: np.ndarray, questions: np.ndarray) -> np.ndarray:
        return (avec - sans)[graines[:, :, None], questions[:, None, :]].mean(axis=(1, 2))

    intervalle = reechantillonner(difference, *avec.shape)
    return {
        "sans": round(float(sans.mean()), 4),
        "avec": round(float(avec.mean()), 4),
        "ecart": round(float((avec - sans).mean()), 4),
        "ic95": [round(borne, 4) for borne in intervalle.bornes],
    }


def affiner(base: str | Path, appris, test: list[dict]) -> tuple[np.ndarray, np.ndarray]:
    """Les pertes et les F1 de trois réglages fins de la même base (formes : graines × questions)."""
    tokenizer, modele = charger(base, POCHE.quantification, silencieux=True)
    mesures = []
    for graine in GRAINES:
        reglages = Reglages.du_profil(POCHE, epochs=1, graine=graine)
        with tempfile.TemporaryDirectory() as dossier:
            affine = entrainer(modele, tokenizer, appris, reglages, dossier).modele
        mesures.append((pertes(affine, tokenizer, test), notes_f1(affine, tokenizer, test)))
        print(base, graine, *(float(np.mean(m)) for m in mesures[-1]), flush=True)
    lues, notes = zip(*mesures, strict=True)
    return np.stack(lues), np.array(notes)


def main() -> None:
    """Mesure, imprime, écrit."""
    analyse = argparse.ArgumentParser(description=__doc__)
    analyse.add_argument(
        "--sortie", type=Path, default=Path("sorties/domaine_puis_instructions.json")
    )
    analyse.add_argument("--questions", type=int, default=24, help="questions de test")
    analyse.add_argument("--part", type=float, default=0.4, help="part des fiches à lire")
    options = analyse.parse_args()
    questions = lire_corpus("questions")
    appris = jeu(questions, "entrainement").shuffle(seed=1).select(range(EXEMPLES))
    test = list(jeu(questions, "test"))[: options.questions]
    fiches, cotes = mettre_de_cote(lire_documents(lire_source("fiches").chemin), 10)
    temoins = {
        VALIDATION: [d.texte[:SIGNES] for d in cotes],
        GENERAL: [texte[:SIGNES] for texte in textes_generaux("encyclopedie")[:12]],
    }
    lues = echantillon(fiches, options.part, 0)
    tokenizer, modele = charger("falcon-poche", "aucune", "float32", silencieux=True)
    with tempfile.TemporaryDirectory() as dossier:
        lue = prolonger(modele, tokenizer, [lues], LECTURE, dossier, temoins)
        print(lue.courbe[0], lue.courbe[-1], flush=True)
        sans, avec = (affiner(base, appris, test) for base in ("falcon-poche", dossier))
    ecrire_json(
        options.sortie,
        {
            "exemples": EXEMPLES,
            "questions": len(test),
            "graines": len(GRAINES),
            "jetons_lus": lue.jetons,
            "lecture": {"avant": lue.courbe[0], "apres": lue.courbe[-1]},
            "perte": ecart(avec[0], sans[0]),
            "f1": ecart(avec[1], sans[1]),
        },
    )
    print(options.sortie.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
