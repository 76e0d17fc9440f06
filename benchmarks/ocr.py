"""Corriger ce qu'un scanner a mal lu : ne rien faire, un lexique, le Falcon de poche qui choisit ou récrit.

    python -m benchmarks.ocr --donnees ../shared/donnees

Le modèle apprend de nos fiches, abîmées aux taux relevés sur une moitié des paires d'ICDAR 2019 ; il
est mesuré sur l'autre, et sur des fiches mises de côté, abîmées de même. Le lexique connaît les mots de
nos corpus et ceux des références de la première moitié. Le Falcon de poche choisit entre les mots
que le lexique propose, ou récrit le morceau après affinage. Une seconde lecture par tesseract ne se
mesure pas ici : les paires n'ont pas d'images.
"""

from __future__ import annotations

import argparse
import random
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from fabrique.corpus import lire_corpus
from fabrique.corpus.bruit_ocr import bruit_livre, morceaux
from fabrique.entrainement import Reglages, entrainer
from fabrique.machine.profil import POCHE
from fabrique.modeles.chargement import charger
from fabrique.recettes.correction_ocr import (
    LONGUEUR,
    Lexique,
    corriger_par_choix,
    corriger_par_le_modele,
    exemples_de_correction,
    mesurer_correction,
    tableau,
)
from fabrique.socle.nombres import accorder, en_duree
from outils.bruit_ocr import SORTES, lire_paires

REGLAGES = replace(Reglages.du_profil(POCHE, cutoff_len=256), batch_size=8, mbatch_size=8)
#: Ce que change chaque façon d'apprendre ; tous les poids demandent un modèle en 32 bits.
FACONS = {
    "LoRA, 4 bits": (POCHE.quantification, {}),
    "tous les poids": ("aucune", {"methode": "complet", "learning_rate": 5e-4}),
}
#: Une fiche sur tant mesure, sans être apprise.
UNE_FICHE_SUR = 5
Morceaux = list[tuple[str, str]]


def epreuves(donnees: Path, textes: list[str], combien: int) -> dict[str, Morceaux]:
    """Les morceaux (lu, écrit) gardés pour mesurer : ``combien`` de chaque sorte."""
    hasard = random.Random(0)
    jeux = {
        sorte: [
            morceau
            for paire in lire_paires(donnees, sorte, gardees=True)
            for morceau in morceaux(paire, LONGUEUR)
        ]
        for sorte in SORTES
    }
    gardees = exemples_de_correction(textes, [bruit_livre(s) for s in SORTES], graine=1)
    jeux["fiches abîmées"] = [(e["input"], e["output"]) for e in gardees]
    return {nom: hasard.sample(tous, min(combien, len(tous))) for nom, tous in jeux.items()}


def lexique(donnees: Path) -> Lexique:
    """Les mots de nos corpus et des références qui ont servi à relever les taux."""
    textes = [fiche["texte"] for fiche in lire_corpus("fiches")]
    textes += [exemple["output"] for exemple in lire_corpus("demarches")]
    textes += [
        paire.nue[1] for sorte in SORTES for paire in lire_paires(donnees, sorte, gardees=False)
    ]
    return Lexique(textes)


def apprendre(
    textes: list[str], facon: str, exemples: int, tours: int
) -> Callable[[list[str]], list[str]]:
    """Affine le Falcon de poche, et rend de quoi corriger."""
    quantification, changements = FACONS[facon]
    corpus = exemples_de_correction(textes, [bruit_livre(s) for s in SORTES], tours=tours)
    corpus = corpus.select(range(min(exemples, len(corpus))))
    tokenizer, modele = charger(POCHE.modele, quantification, silencieux=True)
    depart = time.monotonic()
    with tempfile.TemporaryDirectory() as dossier:
        reglages = replace(REGLAGES, val_set_size=0, **changements)
        affine = entrainer(modele, tokenizer, corpus, reglages, Path(dossier)).modele
    duree = en_duree(time.monotonic() - depart)
    print(f"{facon} : {accorder(len(corpus), 'exemple appris', 'exemples appris')} en {duree}")
    return lambda lus: corriger_par_le_modele(affine, tokenizer, lus)


def main() -> None:
    """Apprend, corrige, imprime un tableau par sorte de documents."""
    analyse = argparse.ArgumentParser(description=__doc__)
    analyse.add_argument("--donnees", type=Path, default=Path("../shared/donnees"))
    analyse.add_argument("--exemples", type=int, default=3000)
    analyse.add_argument("--tours", type=int, default=2)
    analyse.add_argument("--morceaux", type=int, default=200)
    analyse.add_argument("--facons", nargs="*", choices=list(FACONS), default=list(FACONS))
    options = analyse.parse_args()
    textes = [fiche["texte"] for fiche in lire_corpus("fiches")]
    apprises = [texte for rang, texte in enumerate(textes) if rang % UNE_FICHE_SUR]
    jeux = epreuves(options.donnees, textes[::UNE_FICHE_SUR], options.morceaux)
    connu = lexique(options.donnees)
    tokenizer, modele = charger(POCHE.modele, POCHE.quantification, silencieux=True)
    facons: dict[str, Callable[[list[str]], list[str]]] = {
        "ne rien faire": list,
        "lexique": lambda lus: [connu.corriger(lu) for lu in lus],
        "lexique, le modèle choisit": lambda lus: corriger_par_choix(modele, tokenizer, connu, lus),
    }
    mesures = {nom: _mesurer(facons, jeu) for nom, jeu in jeux.items()}
    _montrer(mesures)
    for facon in options.facons:
        corriger = apprendre(apprises, facon, options.exemples, options.tours)
        for nom, jeu in jeux.items():
            mesures[nom] |= _mesurer({facon: corriger}, jeu)
        _montrer(mesures)


def _mesurer(facons: dict, jeu: Morceaux) -> dict:
    lus, ecrits = map(list, zip(*jeu, strict=True))
    return {nom: mesurer_correction(lus, facon(lus), ecrits) for nom, facon in facons.items()}


def _montrer(mesures: dict) -> None:
    for nom, siennes in mesures.items():
        print(f"\n{nom}\n{tableau(siennes)}", flush=True)


if __name__ == "__main__":
    main()
