"""Une question qui prolonge la précédente : récrite avec son sujet, ou refusée si l'on ne sait pas."""

from __future__ import annotations

import re

from fabrique.recherche.mots import racines

#: Ce qui ouvre une suite (« Et pour un enfant ? »), et ce qui renvoie à ce qu'on vient de dire.
_OUVRE = re.compile(r"\s*(?:et|mais|sinon|pareil|même chose|dans ce cas|alors)\b", re.IGNORECASE)
_RENVOIE = re.compile(
    r"\b(?:ça|cela|celui-ci|celle-ci|celui-là|celle-là|le mien|la mienne|il|elle|ils|elles|lui|leur)\b",
    re.IGNORECASE,
)
#: Ce qu'on demande d'un sujet sans le nommer : « combien ça coûte ? », « c'est où ? ».
_GENERIQUES = frozenset(
    racines(
        "combien coûter coûte prix tarif payer gratuit cher temps durer dure délai attendre prendre "
        "faire faut falloir où aller demander quand comment pourquoi qui quoi pièces papiers "
        "documents obligatoire possible"
    )
)


def depend_de_la_precedente(question: str) -> bool:
    """Vrai si la question ne se comprend pas seule : elle ne nomme pas son sujet."""
    propres = set(racines(question)) - _GENERIQUES
    if _OUVRE.match(question):
        return len(propres) <= 2
    return not propres or (len(propres) <= 1 and bool(_RENVOIE.search(question)))


def recrire(question: str, sujet: str) -> str:
    """La question suivie du sujet dont on parlait."""
    return f"{question} ({sujet})"
