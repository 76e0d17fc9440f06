"""Deux réponses à la même demande : les apparier, noter laquelle l'emporte, compter les accords.

Le juge (``juge``) et les lecteurs (``aveugle``) s'accordent ici sur une même notation. Une
préférence vaut -1 pour la première réponse, 1 pour la seconde, 0 pour une égalité.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.stats import binomtest
from sklearn.metrics import cohen_kappa_score

from fabrique.modeles.gabarits import en_messages
from fabrique.socle.nombres import en_francais, en_pourcent
from fabrique.socle.reechantillonnage import reechantillonner

PREMIERE, EGALITE, SECONDE = -1, 0, 1
#: Combien de fois on rééchantillonne les paires pour l'intervalle d'un kappa.
REPRISES = 500


# ---------------------------------------------------------------- apparier


@dataclass(frozen=True)
class Paire:
    """Une conversation en attente de réponse, et les deux réponses à comparer.

    Args:
        prompt: les messages (``role``, ``content``) lus par les deux modèles.
        reponses: celle du premier modèle, puis celle du second.
    """

    prompt: tuple[Mapping[str, str], ...]
    reponses: tuple[str, str]

    @property
    def demande(self) -> str:
        """Ce que le modèle a lu, d'un seul tenant."""
        return "\n\n".join(message["content"] for message in self.prompt)

    @property
    def empreinte(self) -> str:
        """Ce qui reconnaît la paire d'une exécution à l'autre, quel que soit son rang."""
        return empreinte([dict(message) for message in self.prompt], self.reponses)

    @property
    def presentations(self) -> tuple[tuple[str, str], tuple[str, str]]:
        """Les réponses dans l'ordre, puis dans l'ordre inverse."""
        return self.reponses, self.reponses[::-1]


def apparier(
    exemples: Iterable[dict], premieres: Sequence[str], secondes: Sequence[str]
) -> list[Paire]:
    """Assemble les réponses de deux modèles aux mêmes exemples.

    Args:
        exemples: des instructions ou des conversations ; leur propre réponse n'est pas lue.
        premieres: les réponses du premier modèle, dans le même ordre.
        secondes: celles du second.
    """
    return [
        Paire(tuple(_messages(exemple)), (premiere, seconde))
        for exemple, premiere, seconde in zip(exemples, premieres, secondes, strict=True)
    ]


def _messages(exemple: dict) -> list[dict[str, str]]:
    if "messages" in exemple:
        return exemple["messages"][:-1]
    champs = (exemple.get(champ) or "" for champ in ("instruction", "input", "systeme"))
    return en_messages(*champs)


def empreinte(*objets: object) -> str:
    """Seize chiffres hexadécimaux qui changent dès qu'un caractère change."""
    return hashlib.sha256(json.dumps(objets, sort_keys=True).encode()).hexdigest()[:16]


# ---------------------------------------------------------------- compter


@dataclass(frozen=True)
class Part:
    """Une proportion, avec son intervalle exact à 95 %.

    Source : Clopper et Pearson, 1934 (``scipy.stats.binomtest``).
    """

    succes: int
    total: int

    @property
    def taux(self) -> float:
        return self.succes / self.total if self.total else math.nan

    @property
    def ic95(self) -> tuple[float, float]:
        """Sans aucun cas, tout reste possible : de 0 à 1."""
        if not self.total:
            return 0.0, 1.0
        bornes = binomtest(self.succes, self.total).proportion_ci(0.95, method="exact")
        return float(bornes.low), float(bornes.high)

    @property
    def tranche(self) -> bool:
        """Vrai si l'intervalle exclut une chance sur deux : on peut parler de préférence."""
        bas, haut = self.ic95
        return not bas <= 0.5 <= haut

    def __str__(self) -> str:
        if not self.total:
            return "aucun cas"
        bas, haut = (en_francais(100 * borne) for borne in self.ic95)
        return (
            f"{self.succes} sur {self.total}, soit {en_pourcent(self.taux)} "
            f"(entre {bas} et {haut}\u00a0% à 95\u00a0%)"
        )


def part_de_la_seconde(preferences: Mapping[str, int]) -> Part:
    """La part des paires départagées que la seconde réponse emporte."""
    tranchees = [valeur for valeur in preferences.values() if valeur != EGALITE]
    return Part(tranchees.count(SECONDE), len(tranchees))


def part_de_la_plus_longue(paires: Iterable[Paire], preferences: Mapping[str, int]) -> Part:
    """La part des paires départagées que la réponse la plus longue emporte.

    Une réponse longue est parfois vraiment meilleure : comparez cette part à celle des humains.
    Source : Dubois et al., 2024 (Length-Controlled AlpacaEval, arXiv:2404.04475).
    """
    gagnees = []
    for paire in paires:
        ecart = len(paire.reponses[1]) - len(paire.reponses[0])
        preference = preferences.get(paire.empreinte, EGALITE)
        if ecart and preference:
            gagnees.append(ecart * preference > 0)
    return Part(sum(gagnees), len(gagnees))


@dataclass(frozen=True)
class Accord:
    """L'accord de deux lecteurs, hasard déduit.

    Args:
        identiques: la part des paires communes où ils disent la même chose.
        kappa: 1 pour un accord parfait, 0 pour celui du hasard, négatif en dessous ; NaN quand
            tous deux répètent une seule et même préférence, car le hasard suffit à l'expliquer.
        ic95: l'intervalle à 95 % du kappa, par rééchantillonnage des paires ; de −1 à 1 quand l'un des
            deux dit toujours la même chose : le kappa vaut alors zéro quoi que dise l'autre.
    """

    identiques: Part
    kappa: float
    ic95: tuple[float, float]

    def __str__(self) -> str:
        if math.isnan(self.kappa):
            return f"d’accord {self.identiques} ; kappa non défini"
        kappa, bas, haut = (en_francais(x, 2) for x in (self.kappa, *self.ic95))
        return f"d’accord {self.identiques} ; kappa {kappa} (entre {bas} et {haut} à 95\u00a0%)"


def accord(unes: Mapping[str, int], autres: Mapping[str, int], graine: int = 0) -> Accord:
    """Compare deux lecteurs sur les paires qu'ils ont lues tous deux.

    Source : Cohen, 1960 (A coefficient of agreement for nominal scales), par scikit-learn.

    Args:
        unes: les préférences du premier lecteur, par empreinte de paire.
        autres: celles du second.
    """
    communes = sorted(unes.keys() & autres.keys())
    couples = np.array([(unes[cle], autres[cle]) for cle in communes], dtype=int).reshape(-1, 2)
    kappas = np.array([])
    if len(couples) > 1 and all(len(np.unique(dites)) > 1 for dites in couples.T):
        kappa = lambda rangs: np.apply_along_axis(lambda r: _kappa(couples[r]), -1, rangs)  # noqa: E731
        kappas = reechantillonner(kappa, len(couples), graine=graine, tirages=REPRISES).valeurs
        kappas = kappas[~np.isnan(kappas)]
    return Accord(
        identiques=Part(int((couples[:, 0] == couples[:, 1]).sum()), len(couples)),
        kappa=_kappa(couples),
        ic95=tuple(np.quantile(kappas, [0.025, 0.975]).tolist()) if len(kappas) else (-1.0, 1.0),
    )


def _kappa(couples: np.ndarray) -> float:
    if len(np.unique(couples)) < 2:
        return math.nan
    return float(cohen_kappa_score(couples[:, 0], couples[:, 1]))


# ---------------------------------------------------------------- un journal qui survit aux pannes


def relire_lignes(fichier: Path, champs: Iterable[str]) -> tuple[list[dict], int]:
    """Les objets d'un journal qui portent au moins ``champs``, et le nombre de lignes abîmées."""
    lignes = fichier.read_bytes().splitlines() if fichier.exists() else []
    objets = [objet for ligne in lignes if (objet := _objet(ligne, set(champs)))]
    return objets, sum(bool(ligne.strip()) for ligne in lignes) - len(objets)


def _objet(ligne: bytes, champs: set[str]) -> dict | None:
    try:
        objet = json.loads(ligne)
    except ValueError:
        return None
    return objet if isinstance(objet, dict) and champs <= objet.keys() else None
