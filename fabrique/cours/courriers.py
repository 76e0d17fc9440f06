"""Des courriers fictifs et ce qu'il faut en retirer : de quoi mesurer une extraction, champ par champ."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

OBJETS = {
    "cantine": "la cantine de ma fille",
    "eau": "ma consommation d’eau",
    "stationnement": "un stationnement rue des Lilas",
    "ordures": "l’enlèvement des ordures",
    "bibliothèque": "un livre rendu en retard",
}
MOIS = ("janvier", "février", "mars", "avril", "mai", "juin", "juillet", "septembre", "octobre")
#: La date de la facture vient d'abord, ensuite, ou au milieu d'autres nombres.
MODELES = (
    "Bonjour, le {date} j’ai reçu une facture de {montant} euros pour {objet}. Je la conteste, au titre "
    "de l’article {article}. Je suis passé au guichet le {autre}, sans succès.",
    "Madame, Monsieur, je suis venu le {autre} au sujet de {objet}. La facture, de {montant} euros, date "
    "du {date}. L’article {article} me donne raison.",
    "Je vous écris en vertu de l’article {article}. Il s’agit de {objet}. Vous me demandez {montant} euros "
    "par une facture du {date} ; j’en attends 15 de remise depuis le {autre}.",
)
_DATE = re.compile(rf"\d{{1,2}} (?:{'|'.join(MOIS)}) 20\d\d")


@dataclass(frozen=True)
class Courrier:
    """Un courrier fictif, et ce qu'il dit : objet, date de la facture, montant, article."""

    texte: str
    dit: Mapping[str, Any]


def ecrire_des_courriers(combien: int, graine: int = 0) -> list[Courrier]:
    """Des courriers tirés au sort."""
    hasard = np.random.default_rng(graine)

    def date() -> str:
        return f"{hasard.integers(1, 29)} {MOIS[hasard.integers(len(MOIS))]} 202{hasard.integers(4, 7)}"

    courriers = []
    for rang in range(combien):
        objet = list(OBJETS)[hasard.integers(len(OBJETS))]
        dit = {
            "objet": objet,
            "date": date(),
            "montant": int(hasard.integers(20, 400)),
            "article": f"L. {hasard.integers(100, 999)}-{hasard.integers(1, 30)}",
        }
        mots = {**dit, "objet": OBJETS[objet], "autre": date()}
        courriers.append(Courrier(MODELES[rang % len(MODELES)].format(**mots), dit))
    return courriers


def par_regles(texte: str) -> dict[str, Any]:
    """Ce que des règles en retirent : la première date, le premier montant, l'article, un mot de l'objet."""
    montant = re.search(r"(\d+) euros", texte)
    article = re.search(r"article ([LR]\. \d+-\d+)", texte)
    objets = [nom for nom, mots in OBJETS.items() if mots in texte]
    dates = _DATE.findall(texte)
    return {
        "objet": objets[0] if objets else "",
        "date": dates[0] if dates else "",
        "montant": int(montant[1]) if montant else 0,
        "article": article[1] if article else "",
    }


def formulaire(texte: str = "") -> dict[str, Any]:
    """Le schéma d'un courrier ; avec son texte, les valeurs permises sont celles que l'on y lit."""
    dates = sorted(set(_DATE.findall(texte)))
    nombres = sorted({int(n) for n in re.findall(r"\b\d{2,3}\b(?!-)", texte)})
    articles = re.findall(r"[LR]\. \d+-\d+", texte)
    champs = {
        "objet": {"enum": list(OBJETS)},
        "date": {"enum": dates} if dates else {"type": "string", "pattern": f"^{_DATE.pattern}$"},
        "montant": {"enum": nombres}
        if nombres
        else {"type": "integer", "minimum": 0, "maximum": 9999},
        "article": {"enum": articles}
        if articles
        else {"type": "string", "pattern": r"^[LR]\. [0-9]{1,4}-[0-9]{1,2}$"},
    }
    return {
        "type": "object",
        "properties": champs,
        "required": list(champs),
        "additionalProperties": False,
    }


def champs_justes(trouve: Mapping[str, Any], dit: Mapping[str, Any]) -> Sequence[bool]:
    """Juste ou faux, champ par champ."""
    return [trouve.get(champ) == valeur for champ, valeur in dit.items()]
