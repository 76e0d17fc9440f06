"""Écrire comme en 1660 : le Falcon de poche apprend ``style_xvii``, avant et après.

    python -m benchmarks.style

Une réponse est d'époque si elle porte un ſ et au moins deux graphies différentes du lexique. Les
réglages ont été choisis sur les questions de validation ; celles de test n'ont rien choisi.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path
from statistics import median

from fabrique.corpus import jeu, lire_corpus
from fabrique.entrainement import Reglages, entrainer
from fabrique.evaluation import pertes
from fabrique.evaluation.style import mesurer_style
from fabrique.machine.profil import POCHE
from fabrique.modeles.chargement import charger
from fabrique.modeles.generation import generer_par_lots
from fabrique.socle.nombres import en_francais

#: Ceux du carnet 03. Une réponse écrite par nous compte 95 jetons en médiane ; le modèle, laissé à
#: lui-même, s’arrête bien avant : il en écrit ici au moins 80.
REGLAGES = Reglages.du_profil(
    POCHE, epochs=4, learning_rate=1.6 * POCHE.learning_rate, lora_dropout=0.05
)
GENERATION = {"min_new_tokens": 80, "max_new_tokens": 120, "repetition_penalty": 1.2}


def main() -> None:
    """Apprend, mesure, imprime le tableau."""
    analyse = argparse.ArgumentParser(description=__doc__)
    analyse.add_argument("--extinction", type=float, default=REGLAGES.lora_dropout)
    reglages = replace(REGLAGES, lora_dropout=analyse.parse_args().extinction)
    style = lire_corpus("style_xvii")
    tokenizer, modele = charger(POCHE.modele, POCHE.quantification, silencieux=True)
    with tempfile.TemporaryDirectory() as dossier:
        affine = entrainer(modele, tokenizer, style, reglages, Path(dossier)).modele
    print("| questions | modèle | perte | part de ſ | réponses d’époque | mots par réponse |")
    print("| --- | --- | --: | --: | --: | --: |")
    for nom in ("validation", "test"):
        questions = jeu(style, nom)
        for titre, adaptateur in (("base", False), ("affiné", True)):
            perte = pertes(affine, tokenizer, questions, adaptateur=adaptateur).mean()
            lots = generer_par_lots(
                affine, tokenizer, list(questions), adaptateur=adaptateur, **GENERATION
            )
            textes = [texte for texte, _ in lots]
            mesure = mesurer_style(textes)
            print(
                f"| {nom} ({len(questions)}) | {titre} | {en_francais(perte, 2)} "
                f"| {en_francais(100 * mesure.part_s_long)} % "
                f"| {en_francais(100 * mesure.reussies)} % "
                f"| {en_francais(median(len(texte.split()) for texte in textes), 1)} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
