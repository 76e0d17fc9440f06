"""Ce que sait faire tout ce qui range des textes, quelle que soit la façon dont il l'a appris."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import numpy as np


class Rangeur(Protocol):
    """Ce qui donne à un texte une probabilité par étiquette."""

    @property
    def etiquettes(self) -> tuple[str, ...]:
        """Le nom de chaque colonne des probabilités."""

    def probabilites(self, textes: Sequence[str]) -> np.ndarray:
        """Les probabilités. Forme : (textes, étiquettes) ; chaque rangée fait 1."""
