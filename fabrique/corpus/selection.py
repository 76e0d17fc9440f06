"""Choisir des réponses sur leur forme, comme on le fait pour les assistants publics.

Une réponse cite ses sources entre crochets, « [fiche-identite-passeport] », et rapporte leurs
mots entre guillemets. On garde ce qui cite assez, sans recopier trop, à la bonne longueur.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from datasets import Dataset

from fabrique.corpus.formats import reponse
from fabrique.socle.nombres import accorder, en_pourcent

_SOURCE = re.compile(r"\[([a-z0-9]+(?:[-_][a-z0-9]+)+)\]|(https?://[^\s)\]»]+)")
_CITATION = re.compile(r"«[\s\u00a0\u202f]*(.+?)[\s\u00a0\u202f]*»", re.DOTALL)


def sources_citees(texte: str) -> list[str]:
    """Les sources d'une réponse, sans répétition : identifiants entre crochets et adresses."""
    return list(dict.fromkeys((a or b).rstrip(".,;") for a, b in _SOURCE.findall(texte)))


def citations(texte: str) -> list[str]:
    """Ce qu'une réponse met entre guillemets français."""
    return _CITATION.findall(texte)


@dataclass(frozen=True)
class Criteres:
    """Ce qu'on exige d'une réponse.

    Args:
        sources_min: nombre de sources différentes, au moins.
        citation_max: mots de la plus longue citation, au plus.
        citations_max: part des mots de la réponse entre guillemets, au plus (de 0 à 1).
        mots_min: mots de la réponse, au moins.
        mots_max: mots de la réponse, au plus.
        parties: expressions régulières que la réponse doit toutes contenir, comme « ^En bref ».
    """

    sources_min: int = 0
    citation_max: int = 60
    citations_max: float = 1.0
    mots_min: int = 1
    mots_max: int = 10_000
    parties: tuple[str, ...] = ()

    def motifs(self, texte: str) -> Iterator[str]:
        """Ce que la réponse n'a pas, en clair ; rien si elle convient."""
        mots, cites = len(texte.split()), [len(c.split()) for c in citations(texte)]
        if len(sources_citees(texte)) < self.sources_min:
            minimum = self.sources_min
            yield (
                "moins d’une source citée" if minimum == 1 else f"moins de {minimum} sources citées"
            )
        if max(cites, default=0) > self.citation_max:
            yield f"une citation de plus de {self.citation_max} mots"
        if mots and sum(cites) / mots > self.citations_max:
            yield f"plus de {en_pourcent(self.citations_max)} de citations"
        if mots < self.mots_min:
            yield f"moins de {self.mots_min} mots"
        if mots > self.mots_max:
            yield f"plus de {self.mots_max} mots"
        for partie in self.parties:
            if not re.search(partie, texte, re.MULTILINE):
                yield f"il manque « {partie} »"


@dataclass(frozen=True)
class Selection:
    """Le tri d'un corpus.

    Args:
        corpus: les exemples gardés.
        ecartes: une ligne par exemple écarté : rang, identifiant, motifs.
    """

    corpus: Dataset
    ecartes: list[dict]

    @property
    def motifs(self) -> dict[str, int]:
        """Combien d'exemples chaque motif a écartés (un exemple peut en avoir plusieurs)."""
        return dict(Counter(m for ecarte in self.ecartes for m in ecarte["motifs"]).most_common())

    def __str__(self) -> str:
        gardes = accorder(len(self.corpus), "exemple gardé", "exemples gardés")
        lignes = [f"{gardes}, {accorder(len(self.ecartes), 'écarté')}."]
        lignes += [f"  {nombre:6d}  {motif}" for motif, nombre in self.motifs.items()]
        return "\n".join(lignes)


def selectionner(corpus: Dataset, criteres: Criteres) -> Selection:
    """Garde les exemples dont la réponse a la forme voulue, et dit pourquoi les autres partent."""
    gardes, ecartes = [], []
    for rang, exemple in enumerate(corpus):
        motifs = list(criteres.motifs(reponse(exemple)))
        if motifs:
            ecartes.append({"rang": rang + 1, "id": exemple["id"], "motifs": motifs})
        else:
            gardes.append(rang)
    return Selection(corpus.select(gardes), ecartes)
