"""« Le modèle de la salle » : une signature votée par tous, et ce qu'un modèle en retient.

La salle a voté : toute réponse commence par « En bref : » et finit par « Source : … ».
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from fabrique.corpus import Criteres

#: Ce que toute réponse signée contient, tel que ``selectionner`` l'exige.
SIGNATURE = Criteres(parties=(r"\AEn bref[ \u00a0\u202f]?:", r"Source[ \u00a0\u202f]?:[^\n]*\Z"))
_DEBUT, _FIN = (re.compile(partie) for partie in SIGNATURE.parties)
_DEBUT_SIGNE, _SOURCE_FINALE = (
    re.compile(rf"{debut}{partie}{fin}")
    for debut, partie, fin in (
        ("", SIGNATURE.parties[0], r"\s*"),
        (r"\s*", SIGNATURE.parties[1], ""),
    )
)


def signatures(reponses: Iterable[str]) -> dict[str, float]:
    """La part des réponses qui portent le début, la fin, et les deux, en pour cent."""
    lues = [(bool(_DEBUT.search(texte)), bool(_FIN.search(texte))) for texte in reponses]
    return {
        "« En bref » au début": 100 * sum(debut for debut, _ in lues) / len(lues),
        "« Source » à la fin": 100 * sum(fin for _, fin in lues) / len(lues),
        "les deux": 100 * sum(debut and fin for debut, fin in lues) / len(lues),
    }


def sans_signature(texte: str) -> str:
    """La réponse sans sa signature : une lecture n'est aveugle que si la forme ne trahit pas."""
    nu = _SOURCE_FINALE.sub("", _DEBUT_SIGNE.sub("", texte))
    return nu[:1].upper() + nu[1:]
