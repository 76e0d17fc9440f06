"""Du fichier brut aux trois jeux : retirer les doublons, puis répartir par catégorie.

Le corpus est posé sur le disque, lu une fois pour décider, une autre pour écrire. En mémoire, il
n'y a que les résumés des textes et la place de chaque exemple.
"""

from __future__ import annotations

import json
import tempfile
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from datasets import Dataset

from fabrique.corpus.comparaison import SEUIL_PROCHE
from fabrique.corpus.disque import poser
from fabrique.corpus.doublons import Index, normaliser
from fabrique.corpus.examen import resume
from fabrique.corpus.formats import demande, reponse
from fabrique.corpus.lecture import ouvrir
from fabrique.erreurs import ErreurFabrique
from fabrique.suivi import derriere_une_barre


@dataclass(frozen=True)
class Preparation:
    """Ce qu'une préparation a fait.

    Args:
        lus: exemples lus.
        abimes: exemples illisibles ou incomplets, laissés de côté.
        doublons: exemples identiques ou presque, laissés de côté.
        jeux: exemples écrits par jeu.
    """

    lus: int
    abimes: int
    doublons: int
    jeux: dict[str, int]

    def __str__(self) -> str:
        jeux = ", ".join(f"{nom} {nombre}" for nom, nombre in self.jeux.items())
        return (
            f"{self.lus} exemples lus, {self.doublons} doublons et {self.abimes} abîmés retirés. "
            f"Écrits : {jeux}."
        )


def preparer_corpus(
    source: str | Path,
    sortie: Path,
    validation: float = 0.1,
    test: float = 0.1,
    graine: int = 42,
) -> Preparation:
    """Retire les doublons d'un corpus et répartit le reste, catégorie par catégorie.

    Deux exemples presque pareils ne peuvent se retrouver dans deux jeux : il n'en reste qu'un.
    Deux réponses différentes à une même demande, ou presque la même, restent dans le même jeu.
    Un exemple abîmé est compté et laissé de côté ; ``controler`` dit lesquels et pourquoi.

    Args:
        source: fichier d'instructions, de conversations ou de fiches.
        sortie: fichier ``.jsonl`` à écrire, avec la colonne ``jeu``.
        validation: part du jeu de validation dans chaque catégorie (de 0 à 1).
        test: part du jeu de test.

    Raises:
        ErreurFabrique: fichier illisible, parts impossibles, ou rien à écrire.
    """
    if not (0 <= validation < 1 and 0 <= test < 1 and validation + test < 1):
        raise ErreurFabrique("les parts de validation et de test laissent trop peu à apprendre")
    if sortie.suffix != ".jsonl":
        raise ErreurFabrique(
            f"l’extension « {sortie.suffix} » n’est pas écrite", "Terminez le nom par .jsonl", sortie
        )
    chemin, lignes = ouvrir(source)
    with tempfile.TemporaryDirectory(prefix="fabrique-", ignore_cleanup_errors=True) as dossier:
        corpus, interruption = poser(lignes, Path(dossier) / "corpus.arrow")
        if interruption:
            raise interruption
        categories, compte = _trier(corpus)
        jeux = _attribuer(categories, validation, test, graine)
        if not jeux:
            raise ErreurFabrique("aucun exemple à garder", "Contrôlez d’abord le corpus", chemin)
        _ecrire(corpus, jeux, sortie)
    return Preparation(len(corpus), **compte, jeux=dict(Counter(jeux.values())))


def _trier(corpus: Dataset) -> tuple[dict[str, list[list[int]]], dict[str, int]]:
    """Les rangs à garder, par catégorie et par demande, et ce qui a été laissé de côté."""
    identiques: set[int] = set()
    proches = Index(SEUIL_PROCHE, lambda rang: reponse(_contenu(corpus[rang - 1])))
    demandes = _Demandes(corpus)
    categories: dict[str, list[list[int]]] = defaultdict(list)
    compte = {"abimes": 0, "doublons": 0}
    for rangee in derriere_une_barre(corpus, "Doublons"):
        lu = json.loads(rangee["exemple"])
        if lu["defauts"]:
            compte["abimes"] += 1
        elif _deja_vu(rangee["rang"], lu["contenu"], identiques, proches):
            compte["doublons"] += 1
        elif ensemble := demandes.ranger(rangee["rang"], lu["contenu"]):
            categories[str(lu["contenu"].get("categorie") or "")].append(ensemble)
    return categories, compte


def _contenu(rangee: dict) -> dict:
    return json.loads(rangee["exemple"])["contenu"]


class _Demandes:
    """Les exemples gardés, réunis quand ils posent la même demande, ou presque."""

    def __init__(self, corpus: Dataset) -> None:
        self.exactes: dict[int, int] = {}
        self.ensembles: dict[int, list[int]] = {}
        self.proches = Index(SEUIL_PROCHE, lambda rang: demande(_contenu(corpus[rang - 1])))

    def ranger(self, rang: int, contenu: dict) -> list[int] | None:
        """L'ensemble que cet exemple ouvre ; rien s'il rejoint celui d'une demande déjà vue."""
        question = demande(contenu)
        pareil = self.exactes.setdefault(hash(normaliser(question)), rang) if question else rang
        if pareil == rang and (dit := resume(question)):
            voisine = self.proches.chercher(question, dit)
            pareil = voisine.cle if voisine else rang
            self.proches.ajouter(rang, dit)
        ensemble = self.ensembles[rang] = self.ensembles[pareil] if pareil != rang else []
        ensemble.append(rang)
        return ensemble if pareil == rang else None


def _deja_vu(rang: int, contenu: dict, identiques: set[int], proches: Index) -> bool:
    """Vrai si un exemple pareil, ou dont la réponse est presque la même, a déjà été gardé."""
    dire = reponse(contenu)
    tout = hash(normaliser(f"{demande(contenu)}\n{dire}"))
    dit = resume(dire)
    if tout in identiques or (dit and proches.chercher(dire, dit)):
        return True
    identiques.add(tout)
    if dit:
        proches.ajouter(rang, dit)
    return False


def _ecrire(corpus: Dataset, jeux: dict[int, str], sortie: Path) -> None:
    """Écrit les exemples gardés, dans l'ordre du fichier, à côté puis en place."""
    sortie.parent.mkdir(parents=True, exist_ok=True)
    partiel = sortie.with_name(f"{sortie.name}.partiel")
    with partiel.open("w", encoding="utf-8") as flux:
        for rangee in corpus:
            rang = rangee["rang"]
            if rang in jeux:
                contenu = {"id": str(rang), **_contenu(rangee), "jeu": jeux[rang]}
                flux.write(json.dumps(contenu, ensure_ascii=False) + "\n")
    partiel.replace(sortie)


def _attribuer(
    categories: dict[str, list[list[int]]], validation: float, test: float, graine: int
) -> dict[int, str]:
    """Le jeu de chaque rang gardé, tiré au hasard dans sa catégorie."""
    hasard, jeux = np.random.default_rng(graine), {}
    for nom in sorted(categories):
        ensembles = categories[nom]
        nombre = sum(map(len, ensembles))
        places = {"test": round(test * nombre), "validation": round(validation * nombre)}
        for rang_tire in hasard.permutation(len(ensembles)):
            ensemble = ensembles[rang_tire]
            choisi = next((j for j, place in places.items() if place >= len(ensemble)), "entrainement")
            jeux |= dict.fromkeys(ensemble, choisi)
            if choisi in places:
                places[choisi] -= len(ensemble)
    return jeux
