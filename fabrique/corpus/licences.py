"""Ce qu'une licence permet de faire d'un corpus qu'on veut redistribuer."""

from __future__ import annotations

import re

#: Licences qui permettent de redistribuer, sous condition de citer (et parfois de partager à l'identique).
OUVERTES = re.compile(
    r"^(cc[- ]?0|cc[- ]?by([- ]sa)?([- ][1-4]\.0)?|licence ouverte|etalab[- ]2\.0|lov?2|mit|apache[- ]2\.0|"
    r"bsd|odbl|odc[- ]by|pddl|domaine public|public domain|gpl|lgpl|agpl)",
    re.IGNORECASE,
)
#: Mots qui interdisent l'usage commercial, la modification ou toute reprise.
FERMEES = re.compile(
    r"\bn[cd]\b|non[- ]?commercial|no[- ]?deriv|pas d[’']utilisation commerciale|pas de modification"
    r"|tous droits réservés|all rights reserved|propriétaire|proprietary|recherche (?:seule|uniquement)"
    r"|research[- ]only|openai|interdit",
    re.IGNORECASE,
)


def juger(licence: str) -> str:
    """Dit d'une licence si elle est « ouverte », « fermee », « inconnue » ou « absente »."""
    licence = licence.strip().replace("_", "-")
    if not licence:
        return "absente"
    if FERMEES.search(licence):
        return "fermee"
    return "ouverte" if OUVERTES.match(licence) else "inconnue"
