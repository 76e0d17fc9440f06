"""Les réglages d'une épreuve : la commande « fabrique evaluer » en fait ses options."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from fabrique.socle.erreurs import COMPTE, RANG, ErreurFabrique
from fabrique.socle.options import reglage, verifier_les_nombres


@dataclass(frozen=True)
class ReglagesEpreuve:
    """Ce que l'épreuve demande, et combien.

    Au-delà de ``questions``, elles sont prises à intervalles réguliers. ``parties`` sont des
    expressions régulières qu'une réponse doit contenir. La courbe refait l'apprentissage dans le
    dossier donné, réglages de l'adaptateur gardés, sur de plus en plus d'exemples.

    Raises:
        ErreurFabrique: réglage hors de ses bornes, ou expression qui ne se lit pas.
    """

    questions: int = reglage(200, "Questions posées, au plus.", COMPTE)
    montres: int = reglage(
        3, "Exemples montrés à la base, en plus ; 0 : aucun.", RANG, option="--exemples"
    )
    general: str = reglage("encyclopedie", "Corpus où chercher l’oubli ; vide : aucun.")
    parties: Sequence[str] = ()
    max_new_tokens: int = reglage(220, "Longueur maximale.", COMPTE)
    courbe: str = reglage("", "Dossier où réapprendre 50, 100, 200… exemples ; vide : rien.")
    index: str = reglage("", "Index où chercher de quoi répondre en citant ; vide : aucun.")

    def __post_init__(self) -> None:
        verifier_les_nombres(self)
        for partie in self.parties:
            try:
                re.compile(partie)
            except re.error as cause:
                raise ErreurFabrique(
                    f"l’expression « {partie} » ne se lit pas",
                    f"Corrigez-la au caractère {(cause.pos or 0) + 1}, ou précédez d’une barre "
                    "oblique inverse les signes à prendre tels quels",
                    champ="format",
                ) from None
