"""Ce que les tâches de lm-evaluation-harness demandent à notre paquet : les questions, les mesures."""

from __future__ import annotations

from datasets import Dataset

from fabrique.corpus import jeu, lire_corpus
from fabrique.evaluation.metriques import COMPARAISONS


def _tester(nom: str) -> dict[str, Dataset]:
    corpus = lire_corpus(nom)
    return {"test": jeu(corpus, "test"), "entrainement": jeu(corpus, "entrainement")}


def demarches(**_: object) -> dict[str, Dataset]:
    """Les démarches administratives."""
    return _tester("demarches")


def encyclopedie(**_: object) -> dict[str, Dataset]:
    """Le français général, pour voir l'oubli."""
    return _tester("encyclopedie")


def style_xvii(**_: object) -> dict[str, Dataset]:
    """Les pastiches du XVIIᵉ siècle."""
    return _tester("style_xvii")


def mesurer(exemple: dict, reponses: list[str]) -> dict[str, float]:
    """Nos mesures d'une réponse, sous les noms que les tâches annoncent."""
    return {nom: f(reponses[0].strip(), exemple["output"]) for nom, f in COMPARAISONS.items()}
