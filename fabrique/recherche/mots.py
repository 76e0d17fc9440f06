"""Chercher par mots : BM25, sur des racines de mots français sans accents.

La question et les passages passent par les mêmes ``racines`` : « l’élève » et « ELEVES » s'y
rejoignent.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

import bm25s
import numpy as np
import snowballstemmer

#: Les mots qui ne disent pas de quoi l'on parle, sans accents, élisions comprises.
MOTS_VIDES = frozenset(
    Path(__file__).with_name("mots_vides.txt").read_text(encoding="utf-8").split()
)
_SNOWBALL = snowballstemmer.stemmer("french")


def aplatir(texte: str) -> str:
    """Le texte en minuscules, sans accents, ligatures défaites."""
    decompose = unicodedata.normalize("NFKD", texte.replace("œ", "oe").replace("Œ", "OE"))
    return "".join(c for c in decompose if not unicodedata.combining(c)).lower()


def racines(texte: str) -> list[str]:
    """Les racines des mots pleins d'un texte, dans l'ordre.

    Source : Porter, *Snowball*, 2001, pour les racines françaises.
    """
    mots = re.findall(r"\w+", unicodedata.normalize("NFC", texte))
    return [racine for mot in mots for racine in _racines(mot)]


@lru_cache(maxsize=1 << 18)
def _racines(mot: str) -> tuple[str, ...]:
    """Les racines d'un mot : une, aucune s'il est vide, deux si un signe rare le coupe."""
    parties = re.findall(r"[a-z0-9]+", aplatir(mot))
    return tuple(_SNOWBALL.stemWord(partie) for partie in parties if partie not in MOTS_VIDES)


class Mots:
    """Les mots de chaque passage, et leur rareté.

    Source : Robertson et Zaragoza, 2009, pour BM25 ; Lù, 2024 (arXiv:2407.03618), pour bm25s.
    """

    def __init__(self, bm25: bm25s.BM25) -> None:
        self.bm25 = bm25

    @classmethod
    def construire(cls, textes: Iterable[str]) -> Mots:
        """Compte les mots de chaque texte, dans l'ordre des passages."""
        bm25 = bm25s.BM25()
        bm25.index([racines(texte) for texte in textes], show_progress=False)
        return cls(bm25)

    def noter(self, question: str) -> np.ndarray:
        """Le score de chaque passage, réel ≥ 0 ; 0 sans mot commun. Forme : (passages,)."""
        connus = [mot for mot in dict.fromkeys(racines(question)) if mot in self.bm25.vocab_dict]
        if not connus:
            return np.zeros(self.bm25.scores["num_docs"], dtype=np.float32)
        return self.bm25.get_scores(connus)

    def enregistrer(self, dossier: Path) -> None:
        """Écrit l'index des mots dans un dossier."""
        self.bm25.save(dossier, show_progress=False)

    @classmethod
    def lire(cls, dossier: Path) -> Mots:
        """Relit l'index des mots ; ses tableaux restent sur le disque jusqu'à ce qu'on s'en serve."""
        return cls(bm25s.BM25.load(dossier, mmap=True, show_progress=False))
