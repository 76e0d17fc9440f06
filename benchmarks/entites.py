"""Ce que chaque façon de trouver des entités vaut sur des phrases qu'elle n'a jamais vues.

    python -m benchmarks.entites --modele sorties/entites

Imprime un tableau Markdown : le F1 exact (genre et deux bornes) de chaque façon, genre par genre, avec
son intervalle à 95 %, sur le jeu de test d'*entites* ; puis, pour les noms de personnes, ce que
« corpus pseudonymiser --noms » en masque, en laisse, et masque à tort. spaCy n'est mesuré que si
l'extension [entites] est là ; un modèle, que si l'on donne son dossier (« fabrique entites entrainer
--sortie D », à répéter : entier, par LoRA, en une lecture…).
"""

from __future__ import annotations

import argparse
import time

from benchmarks.donnees_personnelles import tableau
from fabrique.corpus.entites import GENRES, Phrase, lire_phrases
from fabrique.corpus.reperage import GENRES_SPACY, repereur
from fabrique.evaluation.mesure_entites import BilanEntites, mesurer_entites
from fabrique.socle.erreurs import ErreurFabrique
from fabrique.socle.nombres import en_francais, en_pourcent


def mesurer(
    moyens: list[str], phrases: list[Phrase]
) -> dict[str, tuple[list[BilanEntites], float]]:
    """Par moyen : ses bilans, et ses millisecondes par phrase."""
    mesures = {}
    for moyen in moyens:
        try:
            trouver = repereur(moyen)
        except ErreurFabrique as refus:
            print(f"<!-- {moyen} : {refus} -->")
            continue
        trouver(phrases[0].texte)  # le premier appel charge ce qui manque
        debut = time.perf_counter()
        bilans = mesurer_entites(phrases, trouver)
        mesures[moyen] = bilans, 1000 * (time.perf_counter() - debut) / len(phrases)
    return mesures


def cellule(bilan: BilanEntites, moyen: str) -> str:
    """« 0,91 [0,85 ; 0,96] » ; un tiret pour ce que spaCy ne connaît pas, ou pas en entier."""
    if moyen == "spacy" and bilan.genre not in GENRES_SPACY.values():
        return "—"
    bas, haut = (en_francais(borne, 2) for borne in bilan.ic95)
    return f"{en_francais(bilan.f1, 2)} [{bas} ; {haut}]"


def imprimer(mesures: dict[str, tuple[list[BilanEntites], float]]) -> None:
    """Les deux tableaux."""
    moyens = list(mesures)
    par_genre = zip(*(bilans for bilans, _ in mesures.values()), strict=True)
    lignes = [
        [
            bilans[0].genre,
            str(bilans[0].attendues),
            *(cellule(bilan, moyen) for bilan, moyen in zip(bilans, moyens, strict=True)),
        ]
        for bilans in par_genre
    ]
    durees = ["ms par phrase", "", *(en_francais(duree, 1) for _, duree in mesures.values())]
    print(tableau(["F1 exact", "attendues", *moyens], [*lignes, durees]))
    print()
    noms = {moyen: bilans[GENRES.index("personne")] for moyen, (bilans, _) in mesures.items()}
    print(
        tableau(
            ["noms de personnes", "attendus", "entièrement masqués", "rappel", "précision exacte"],
            [
                [
                    moyen,
                    str(bilan.attendues),
                    str(bilan.couvertes),
                    en_pourcent(bilan.couvertes / bilan.attendues),
                    en_pourcent(bilan.precision),
                ]
                for moyen, bilan in noms.items()
            ],
        )
    )


def main() -> None:
    """Mesure et imprime."""
    analyse = argparse.ArgumentParser(description=__doc__)
    analyse.add_argument("--modele", action="append", default=[], help="dossier ; à répéter")
    analyse.add_argument("--dataset", default="entites", help="« entites », ou un fichier")
    analyse.add_argument("--jeu", default="test", help="test, ou validation pour choisir")
    options = analyse.parse_args()
    phrases = lire_phrases(options.dataset, options.jeu)
    imprimer(mesurer(["regles", "spacy", *options.modele], phrases))


if __name__ == "__main__":
    main()
