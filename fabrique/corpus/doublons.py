"""Trouver les textes qui se ressemblent sans les comparer tous deux à deux.

Deux textes se ressemblent quand ils ont beaucoup de suites de cinq caractères en commun :
leur indice de Jaccard, partie commune sur réunion. MinHash résume ces suites en 128 nombres,
et LSH ne rapproche que les résumés voisins ; chaque paire proposée est ensuite vérifiée
exactement.
Source : Broder, 1997 (MinHash) ; bibliothèque datasketch.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass

import numpy as np
from datasketch import MinHash, MinHashLSH

#: Longueur des suites de caractères comparées.
SUITE = 5
PERMUTATIONS = 128
#: La famille de fonctions de hachage, nommée pour qu'un résumé relu soit comparable.
FAMILLE = "affine32"
#: 25 bandes de 5 : une paire de Jaccard 0,7 est proposée 99 fois sur 100.
BANDES = (25, 5)
_BASE = np.uint64(1099511628211)


def normaliser(texte: str) -> str:
    """Le texte sans casse ni blancs superflus : ce qui ne change pas le sens."""
    return " ".join(texte.casefold().split())


def suites(texte: str) -> np.ndarray:
    """Les suites de cinq caractères d'un texte normalisé, chacune réduite à 32 bits, sans répétition."""
    codes = np.frombuffer(normaliser(texte).encode("utf-32-le", "replace"), np.uint32)
    codes = np.pad(codes, (0, max(0, SUITE - len(codes)))).astype(np.uint64)
    hachees = np.zeros(len(codes) - SUITE + 1, np.uint64)
    for rang in range(SUITE):
        hachees = hachees * _BASE + codes[rang : rang + len(hachees)]
    return np.unique((hachees >> np.uint64(16)).astype(np.uint32))


def jaccard(a: np.ndarray, b: np.ndarray) -> float:
    """Partie commune sur réunion de deux ensembles de suites (entre 0 et 1)."""
    communes = len(np.intersect1d(a, b, assume_unique=True))
    return communes / (len(a) + len(b) - communes)


def signature(texte: str) -> np.ndarray:
    """Le résumé MinHash d'un texte : 128 entiers de 32 bits."""
    resume = MinHash(PERMUTATIONS, hashfunc=int, scheme=FAMILLE)
    resume.update_batch(suites(texte).tolist())
    return resume.hashvalues


@dataclass(frozen=True)
class Ressemblance:
    """Le texte déjà vu qui ressemble le plus, et son indice de Jaccard."""

    cle: Hashable
    jaccard: float


class Index:
    """Les textes déjà vus, interrogeables par ressemblance.

    Args:
        seuil: indice de Jaccard à partir duquel deux textes se ressemblent.
        relire: rend le texte d'une clé ; l'index ne garde que des résumés.
    """

    def __init__(self, seuil: float, relire: Callable[[Hashable], str]) -> None:
        self.seuil, self.relire = seuil, relire
        self.lsh = MinHashLSH(num_perm=PERMUTATIONS, params=BANDES)

    def chercher(self, texte: str, resume: np.ndarray) -> Ressemblance | None:
        """Le texte connu le plus ressemblant, s'il atteint le seuil."""
        proposes = self.lsh.query(self._minhash(resume))
        if not proposes:
            return None
        siennes = suites(texte)
        paires = ((jaccard(siennes, suites(self.relire(cle))), cle) for cle in proposes)
        meilleur, cle = max(paires, key=lambda paire: paire[0])
        return Ressemblance(cle, meilleur) if meilleur >= self.seuil else None

    def ajouter(self, cle: Hashable, resume: np.ndarray) -> None:
        """Retient un texte par son résumé."""
        self.lsh.insert(cle, self._minhash(resume), check_duplication=False)

    @staticmethod
    def _minhash(resume: np.ndarray) -> MinHash:
        return MinHash(PERMUTATIONS, hashvalues=np.asarray(resume, np.uint32), scheme=FAMILLE)
