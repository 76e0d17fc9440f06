"""Les corpus d'instructions : lecture, contrôle, répartition."""

from fabrique.corpus.lecture import COLONNES, jeu, lire_corpus, repartir

__all__ = ["COLONNES", "jeu", "lire_corpus", "repartir"]
