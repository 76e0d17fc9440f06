"""L'ordre des textes : les mêmes jetons, la meilleure source à la fin, au début, ou mêlée.

    python -m benchmarks.calendrier

Le Falcon de poche lit l'encyclopédie du cours (hors du domaine) et nos fiches (le domaine), dans trois
ordres et pour trois graines : mêmes fenêtres, même nombre de pas, même taux. On mesure les bits par
octet de fiches mises de côté. L'intervalle retire les graines et les fiches.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np

from fabrique.entrainement.prolongement import prolonger
from fabrique.entrainement.reglages_prolongement import CALENDRIERS, ReglagesProlongement
from fabrique.entrainement.textes import (
    Document,
    echantillon,
    lire_documents,
    lire_source,
    mettre_de_cote,
)
from fabrique.modeles.chargement import charger
from fabrique.recettes.domaine import VALIDATION, textes_generaux
from fabrique.socle.emplacements import ecrire_json
from fabrique.socle.reechantillonnage import reechantillonner

GRAINES = (1, 2, 3)
#: Ce qu'on mesure de chaque fiche mise de côté.
SIGNES = 1000
REGLAGES = ReglagesProlongement(
    longueur=128, lot=4, fenetres_ensemble=4, learning_rate=5e-4, pas_mesure=10_000, points_gardes=1
)


def ecart(bits: np.ndarray, reference: np.ndarray, octets: np.ndarray) -> dict:
    """L'écart de bits par octet de deux calendriers, et son intervalle à 95 %.

    Args:
        bits: forme graines × textes, comme ``reference``.
    """

    def difference(graines: np.ndarray, textes: np.ndarray) -> np.ndarray:
        deltas = (bits - reference)[graines[:, :, None], textes[:, None, :]]
        return deltas.sum(axis=(1, 2)) / (octets[textes].sum(axis=1) * graines.shape[1])

    intervalle = reechantillonner(difference, *bits.shape)
    valeur = (bits - reference).sum() / (octets.sum() * len(bits))
    return {"ecart": round(float(valeur), 4), "ic95": [round(b, 4) for b in intervalle.bornes]}


def main() -> None:
    """Mesure, imprime, écrit."""
    analyse = argparse.ArgumentParser(description=__doc__)
    analyse.add_argument("--sortie", type=Path, default=Path("sorties/calendrier.json"))
    analyse.add_argument("--part", type=float, default=0.15, help="part de chaque source")
    options = analyse.parse_args()
    fiches, cotes = mettre_de_cote(lire_documents(lire_source("fiches").chemin), 10)
    generaux = [Document(texte) for texte in textes_generaux("encyclopedie")]
    sources = [echantillon(lus, options.part, 0) for lus in (generaux, fiches)]
    temoins = {VALIDATION: [d.texte[:SIGNES] for d in cotes]}
    bits: dict[str, list[np.ndarray]] = {nom: [] for nom in CALENDRIERS}
    for graine in GRAINES:
        for calendrier in CALENDRIERS:
            reglages = replace(REGLAGES, calendrier=calendrier, graine=graine)
            tokenizer, modele = charger("falcon-poche", "aucune", "float32", silencieux=True)
            with tempfile.TemporaryDirectory() as dossier:
                lue = prolonger(modele, tokenizer, sources, reglages, dossier, temoins)
            bits[calendrier].append(lue.bits[VALIDATION])
            octets = lue.octets[VALIDATION]
            print(graine, calendrier, lue.jetons, lue.courbe[0], lue.courbe[-1], flush=True)
    tables = {nom: np.stack(mesures) for nom, mesures in bits.items()}
    ecrire_json(
        options.sortie,
        {
            "jetons": lue.jetons,
            "graines": len(GRAINES),
            "textes": len(octets),
            "bits_par_octet": {
                nom: [round(float(b.sum() / octets.sum()), 4) for b in table]
                for nom, table in tables.items()
            },
            "contre_constant": {
                nom: ecart(tables[nom], tables["constant"], octets)
                for nom in CALENDRIERS
                if nom != "constant"
            },
        },
    )
    print(options.sortie.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
