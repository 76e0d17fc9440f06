"""Repérer des données personnelles avant d'apprendre : un modèle retient ce qu'on lui répète.

Les numéros qui portent une clé (NIR, IBAN) sont vérifiés par python-stdnum ; les autres sont
reconnus à leur forme.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from datasets import Dataset
from stdnum import iban
from stdnum.fr import nir

#: Champs où une personne écrit.
CHAMPS = ("instruction", "input", "output", "systeme")
_BLANC = r"[ \u00a0\u202f.-]?"


@dataclass(frozen=True)
class Regle:
    """Un genre de donnée : la forme qui l'annonce et, s'il en a une, la clé qui le prouve."""

    nom: str
    forme: re.Pattern[str]
    prouver: Callable[[str], bool] = lambda trouve: True


REGLES = (
    Regle(
        "personnel.nir",
        re.compile(
            rf"(?<!\d)[12]{_BLANC}\d\d{_BLANC}(?:[02-9]\d|1[0-2]){_BLANC}(?:\d\d|2[AB]){_BLANC}"
            rf"\d{{3}}{_BLANC}\d{{3}}{_BLANC}\d\d(?!\d)"
        ),
        lambda trouve: nir.is_valid(re.sub(r"[^0-9AB]", "", trouve)),
    ),
    Regle(
        "personnel.iban",
        re.compile(r"\b[A-Z]{2}\d\d(?:[ \u00a0\u202f]?[A-Z0-9]{4}){2,7}[ \u00a0\u202f]?[A-Z0-9]{0,4}\b"),
        lambda trouve: iban.is_valid(re.sub(r"\s", "", trouve)),
    ),
    # Les numéros en 08 et les numéros courts sont ceux de services, non de personnes.
    Regle(
        "personnel.telephone",
        re.compile(rf"(?<![\d+])(?:\+33{_BLANC}(?:\(0\))?|0){_BLANC}[1-79](?:{_BLANC}\d\d){{4}}(?!\d)"),
    ),
    # Les domaines d'exemple sont réservés à la documentation (RFC 2606).
    Regle(
        "personnel.courriel",
        re.compile(r"\b[\w.+-]+@(?!(?:[\w-]+\.)*(?:exemple|example)\.)[\w-]+(?:\.[\w-]+)+\b"),
    ),
)


@dataclass(frozen=True)
class Trouvaille:
    """Une donnée personnelle : sa règle, le rang de l'exemple (depuis 1) et son champ."""

    regle: str
    rang: int
    champ: str


def reperer(texte: str) -> Iterator[str]:
    """Les règles que le texte enfreint, une fois par donnée trouvée."""
    for regle in REGLES:
        for trouve in regle.forme.finditer(texte):
            if regle.prouver(trouve.group()):
                yield regle.nom


def donnees_personnelles(corpus: Dataset) -> list[Trouvaille]:
    """Toutes les données personnelles d'un corpus ; les valeurs ne sont ni gardées ni montrées."""
    champs = [champ for champ in CHAMPS if champ in corpus.column_names]
    return [
        Trouvaille(regle, rang, champ)
        for rang, exemple in enumerate(corpus, 1)
        for champ in champs
        for regle in reperer(exemple[champ] or "")
    ]


def doublons_exacts(corpus: Dataset) -> int:
    """Nombre d'exemples dont la demande et la réponse sont déjà dans le corpus, à la casse près."""
    vus = {
        (e["instruction"].casefold(), e["input"].casefold(), e["output"].casefold())
        for e in corpus
    }
    return len(corpus) - len(vus)
