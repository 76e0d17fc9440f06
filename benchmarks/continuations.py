"""Cinquante suites, lues sans savoir qui les a écrites.

    python -m benchmarks.continuations ecrire PREMIER SECOND --sortie D
    python -m benchmarks.continuations compter D NOTES.csv [NOTES.csv]

Deux modèles continuent les mêmes débuts de nos fiches, qu'aucun n'a lues. ``ecrire`` range dans ``D`` une
grille à remplir, les deux suites dans un ordre tiré au sort, et à part la clé qui dit qui a écrit quoi.
Chaque lecteur note de 0 à 2 chaque suite, sans ouvrir la clé. ``compter`` imprime le tableau, puis écrit
``D/lues.md`` : les cinquante suites côte à côte, et leurs notes.
"""

from __future__ import annotations

import argparse
import csv
import json
import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path

import numpy as np
from sklearn.metrics import cohen_kappa_score

from fabrique.evaluation.incertitude import intervalle, intervalle_de_l_ecart, moyenne
from fabrique.modeles.chargement import charger
from fabrique.modeles.generation import continuer
from fabrique.socle.emplacements import dossier_data, ecrire_json
from fabrique.socle.nombres import en_francais
from fabrique.socle.reechantillonnage import Intervalle

#: Combien de débuts, de mots donnés à chacun, et de jetons écrits à la suite.
DEBUTS, MOTS, JETONS = 50, 14, 60
#: Le tirage des suites : sans lui, un petit modèle redit vite la même phrase.
TEMPERATURE, TOP_K = 0.7, 40
#: Ce qu'on note, de 0 à 2.
CRITERES = {
    "sujet": "0, parle d’autre chose\u00a0; 1, du même domaine\u00a0; 2, du sujet de la fiche",
    "langue": "0, plusieurs fautes\u00a0; 1, une faute, ou une phrase coupée ailleurs qu’à la fin\u00a0; 2, aucune",
    "sens": "0, n’a pas de sens, ou se répète\u00a0; 1, une phrase sur deux en a un\u00a0; 2, se suit",
}
COLONNES = [f"{critere}_{rang}" for rang in (1, 2) for critere in CRITERES]


@dataclass(frozen=True)
class Paire:
    """Un début et ses deux suites, dans l'ordre où on les montre.

    Args:
        rang: de 1 à ``DEBUTS``.
        debut: le titre de la fiche et ses premiers mots.
        suites: ce que chaque modèle a écrit.
    """

    rang: int
    debut: str
    suites: tuple[str, str]


def debuts() -> list[str]:
    """Des débuts de fiches du projet, également espacées : les mêmes à chaque lancement."""
    lignes = (dossier_data() / "fiches.jsonl").read_text("utf-8").splitlines()
    fiches = [json.loads(lignes[n * len(lignes) // DEBUTS]) for n in range(DEBUTS)]
    return [f"{f['titre']}\n\n{' '.join(f['texte'].split()[:MOTS])}" for f in fiches]


def ecrire(modeles: Sequence[str], sortie: Path, graine: int = 0) -> None:
    """Fait écrire les deux modèles, et range la grille et sa clé dans ``sortie``."""
    donnes, suites = debuts(), []
    for nom in modeles:
        tokenizer, modele = charger(nom, "aucune", silencieux=True)
        tirage = {"max_new_tokens": JETONS, "temperature": TEMPERATURE, "top_k": TOP_K}
        suites.append(
            [continuer(modele, tokenizer, d, graine=n, **tirage) for n, d in enumerate(donnes)]
        )
    hasard = random.Random(graine)
    ordres = [hasard.sample((0, 1), 2) for _ in donnes]
    paires = [
        Paire(n + 1, debut, (suites[ordre[0]][n], suites[ordre[1]][n]))
        for n, (debut, ordre) in enumerate(zip(donnes, ordres, strict=True))
    ]
    sortie.mkdir(parents=True, exist_ok=True)
    ecrire_json(sortie / "a_lire.json", [asdict(paire) for paire in paires])
    ecrire_json(sortie / "cle.json", ordres)
    with (sortie / "notes.csv").open("w", encoding="utf-8", newline="") as fichier:
        csv.writer(fichier).writerows([["rang", *COLONNES], *([p.rang] for p in paires)])
    for critere, echelle in CRITERES.items():
        print(f"{critere} : {echelle}")


def lire_notes(chemin: Path) -> np.ndarray:
    """Les notes d'un lecteur (forme : débuts × 2 places × critères).

    Raises:
        ValueError: une note manque, ou n'est ni 0, ni 1, ni 2.
    """
    with chemin.open(encoding="utf-8-sig", newline="") as fichier:
        lignes = list(csv.DictReader(fichier))
    lignes.sort(key=lambda ligne: int(ligne["rang"]))
    if [int(ligne["rang"]) for ligne in lignes] != list(range(1, DEBUTS + 1)):
        raise ValueError(f"{chemin} : il faut une ligne par début, de 1 à {DEBUTS}")
    for ligne in lignes:
        if any(ligne[colonne] not in ("0", "1", "2") for colonne in COLONNES):
            raise ValueError(f"{chemin}, rang {ligne['rang']} : chaque note vaut 0, 1 ou 2")
    notes = np.array([[int(ligne[colonne]) for colonne in COLONNES] for ligne in lignes])
    return notes.reshape(len(lignes), 2, len(CRITERES))


def rendre(notes: np.ndarray, ordres: Sequence[Sequence[int]]) -> np.ndarray:
    """Les notes rangées par modèle au lieu de l'être par place (même forme)."""
    places = np.argsort(np.array(ordres), axis=1)
    return np.take_along_axis(notes, places[:, :, None], axis=1)


def tableau(lecteurs: Sequence[np.ndarray]) -> list[str]:
    """Le tableau Markdown des notes moyennes, des écarts, et de l'accord des lecteurs.

    Args:
        lecteurs: les notes de chacun, rangées par modèle.
    """
    moyennes = np.mean(lecteurs, axis=0)
    lignes = [
        "| de 0 à 2 | le premier | le second | écart [à 95 %] | accord (kappa pondéré) |",
        "|---|--:|--:|--:|--:|",
    ]
    for rang, critere in enumerate(CRITERES):
        avant, apres = (moyenne(moyennes[:, modele, rang]) for modele in (0, 1))
        lues = [f"{dire(r.valeur())} {crochets(intervalle(r))}" for r in (avant, apres)]
        ecart = f"{dire(apres.valeur() - avant.valeur())} {crochets(intervalle_de_l_ecart(avant, apres))}"
        lignes.append(f"| {critere} | {' | '.join(lues)} | {ecart} | {accord(lecteurs, rang)} |")
    return lignes


def dire(valeur: float) -> str:
    """Un nombre, à deux décimales."""
    return en_francais(float(valeur), 2)


def crochets(intervalle: Intervalle) -> str:
    """« [0,57 ; 0,95] », l'espace insécable."""
    return "[" + "\u00a0; ".join(map(dire, intervalle.bornes)) + "]"


def accord(lecteurs: Sequence[np.ndarray], critere: int) -> str:
    """Le kappa, pondéré par le carré des écarts, en moyenne sur les paires de lecteurs ; sinon un tiret."""
    paires = combinations((notes[:, :, critere].ravel() for notes in lecteurs), 2)
    accords = [cohen_kappa_score(une, autre, weights="quadratic") for une, autre in paires]
    return dire(np.mean(accords)) if accords else "—"


def cote_a_cote(
    paires: Sequence[Paire], ordres: Sequence[Sequence[int]], lecteurs: Sequence[np.ndarray]
) -> list[str]:
    """Les cinquante suites et leurs notes, une section Markdown par début."""
    lignes = []
    for rang, (paire, ordre) in enumerate(zip(paires, ordres, strict=True)):
        titre, debut = paire.debut.split("\n\n", 1)
        lignes += [f"## {paire.rang}. {titre}", "", f"> `{debut}…`", ""]
        for modele, nom in enumerate(("Le premier", "Le second")):
            suite = " ".join(paire.suites[list(ordre).index(modele)].split())
            notes = "\u00a0; ".join(", ".join(map(str, lu[rang, modele])) for lu in lecteurs)
            lignes += [f"**{nom}** ({notes})\u00a0: `{suite.replace('`', '’')}`", ""]
    return lignes


def compter(dossier: Path, fichiers: Sequence[Path]) -> None:
    """Imprime le tableau, et écrit les suites côte à côte."""
    paires = [Paire(**lue) for lue in json.loads((dossier / "a_lire.json").read_text("utf-8"))]
    ordres = json.loads((dossier / "cle.json").read_text("utf-8"))
    lecteurs = [rendre(lire_notes(fichier), ordres) for fichier in fichiers]
    lignes = tableau(lecteurs)
    print("\n".join(lignes))
    textes = cote_a_cote(paires, ordres, lecteurs)
    grille = [f"- **{critere}**\u00a0: {echelle}" for critere, echelle in CRITERES.items()]
    (dossier / "lues.md").write_text("\n".join([*grille, "", *lignes, "", *textes]), "utf-8")


def main() -> None:
    """Écrit la grille, ou la compte."""
    analyse = argparse.ArgumentParser(description=__doc__)
    actions = analyse.add_subparsers(dest="action", required=True)
    a_ecrire = actions.add_parser("ecrire")
    a_ecrire.add_argument("modeles", nargs=2, help="noms ou dossiers")
    a_ecrire.add_argument("--sortie", type=Path, required=True)
    a_compter = actions.add_parser("compter")
    a_compter.add_argument("dossier", type=Path)
    a_compter.add_argument("notes", type=Path, nargs="+", help="une grille remplie par lecteur")
    options = analyse.parse_args()
    if options.action == "ecrire":
        ecrire(options.modeles, options.sortie)
    else:
        compter(options.dossier, options.notes)


if __name__ == "__main__":
    main()
