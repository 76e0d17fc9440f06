"""Le bruit de la reconnaissance de caractères (OCR) : le relever dans de vraies paires, le refaire.

Une paire alignée met face à face ce qu'un moteur a lu et ce qui était écrit, caractère pour
caractère : « @ » tient une place vide, « # » couvre ce dont la référence est absente. On y compte
combien de fois « u » est lu « n », « é » lu « e », une espace perdue ou ajoutée ; le bruit tire
ensuite les mêmes erreurs, aux mêmes taux, dans un texte propre. ``jetons.bruiter`` est plus simple :
quelques sosies, sans taux relevés, et une part que l'on choisit.

Source des paires : concours ICDAR 2019 sur la correction d'OCR (Rigaud et al., 2019), CC0.
"""

from __future__ import annotations

import json
import random
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np

VIDE, ABSENT = "@", "#"
#: Une erreur plus longue n'est plus une confusion : un mot illisible, une ligne sautée.
LONGUEUR_MAX = 3
#: Une confusion vue moins souvent tient à un document, non à la forme des lettres.
OCCURRENCES_MIN = 3
#: En combien de parts on résume ce qui distingue un document bien lu d'un document mal lu.
PARTS = 20
#: Les taux livrés, relevés par ``python -m outils.bruit_ocr``.
TABLE = Path(__file__).with_suffix(".json")


@dataclass(frozen=True)
class PaireAlignee:
    """Ce qui a été lu et ce qui était écrit, de même longueur, places vides comprises."""

    lu: str
    ecrit: str

    @property
    def nue(self) -> tuple[str, str]:
        """Ce qui a été lu, ce qui était écrit, sans les places vides."""
        return self.lu.replace(VIDE, ""), self.ecrit.replace(VIDE, "")


@dataclass(frozen=True)
class Bruit:
    """Les erreurs d'une sorte de documents, et leurs taux.

    Args:
        confusions: ce qui était écrit → ce qui est lu → part des fois (de 0 à 1). Sous la clé
            vide, ce qui est lu là où rien n'était écrit, par caractère.
        inegalites: le taux d'erreur des documents, du mieux au plus mal lu, rapporté à leur moyenne.
        taux: erreurs par caractère écrit dans les paires.
        gardees: part de ces erreurs que la table sait refaire ; le reste est trop long ou trop rare.
        caracteres: combien de caractères écrits ont été comptés.
    """

    confusions: Mapping[str, Mapping[str, float]]
    inegalites: tuple[float, ...] = (1.0,)
    taux: float = 0.0
    gardees: float = 1.0
    caracteres: int = 0

    def abimer(self, texte: str, hasard: random.Random, force: float | None = None) -> str:
        """Le texte, tel qu'un moteur l'aurait lu.

        Args:
            force: multiplie tous les taux ; par défaut, tirée comme un document l'est des autres.
        """
        if force is None:
            force = hasard.choice(self.inegalites)
        lu, place = [], 0
        while place < len(texte):
            ecrit, ecrit_lu = self._tirer(texte, place, hasard, force)
            lu.append(ecrit_lu + self._au_hasard("", hasard, force))
            place += len(ecrit)
        return "".join(lu)

    def avec(self, ecrit: str, lu: str, part: float) -> Bruit:
        """Le même bruit et une confusion de plus, que les paires n'ont pas : ``("ſ", "f", 0.05)``.

        Aucune des paires livrées n'a de s long : sa part est alors une hypothèse de qui l'ajoute.
        """
        siennes = {**self.confusions.get(ecrit, {}), lu: part}
        return replace(self, confusions={**self.confusions, ecrit: siennes})

    def _tirer(
        self, texte: str, place: int, hasard: random.Random, force: float
    ) -> tuple[str, str]:
        """Ce qui est écrit à une place, et ce qui en est lu ; les suites longues d'abord."""
        for longueur in range(LONGUEUR_MAX, 0, -1):
            ecrit = texte[place : place + longueur]
            lu = self._au_hasard(ecrit, hasard, force)
            if lu != ecrit:
                return ecrit, lu
        return texte[place], texte[place]

    def _au_hasard(self, ecrit: str, hasard: random.Random, force: float) -> str:
        """Une lecture tirée selon les taux ; à défaut, ce qui est écrit."""
        if ecrit not in self.confusions:
            return ecrit
        tirage = hasard.random()
        for lu, part in self.confusions[ecrit].items():
            tirage -= part * force
            if tirage < 0:
                return lu
        return ecrit


@cache
def bruit_livre(nom: str) -> Bruit:
    """Les taux livrés d'une sorte de documents : « tickets » ou « registres ».

    Raises:
        KeyError: une autre sorte.
    """
    lu = json.loads(TABLE.read_text(encoding="utf-8"))["bruits"][nom]
    return Bruit(**lu | {"inegalites": tuple(lu["inegalites"])})


# ---------------------------------------------------------------- relever


def relever(paires: Iterable[PaireAlignee]) -> Bruit:
    """Compte les erreurs de paires alignées, et en fait des taux.

    Ce qu'une référence absente couvre n'est ni du texte ni une erreur.
    """
    erreurs: Counter[tuple[str, str]] = Counter()
    suites: Counter[str] = Counter()
    par_document = []
    for paire in paires:
        siennes = list(differences(paire))
        erreurs.update(siennes)
        for morceau in re.split(f"{ABSENT}+", paire.nue[1]):
            for longueur in range(1, LONGUEUR_MAX + 1):
                suites.update(morceau[i : i + longueur] for i in range(len(morceau) - longueur + 1))
        ecrits = len(paire.nue[1].replace(ABSENT, ""))
        par_document.append((sum(map(_poids, siennes)), ecrits))
    return _en_taux(erreurs, suites, np.array(par_document, float).reshape(-1, 2))


def differences(paire: PaireAlignee) -> Iterator[tuple[str, str]]:
    """Les erreurs d'une paire : ce qui était écrit, ce qui est lu, sans les places vides."""
    depart = None
    for place, (lu, ecrit) in enumerate(zip(paire.lu + "\n", paire.ecrit + "\n", strict=True)):
        faux = lu != ecrit and ecrit != ABSENT
        if faux and depart is None:
            depart = place
        elif not faux and depart is not None:
            lus, ecrits = PaireAlignee(paire.lu[depart:place], paire.ecrit[depart:place]).nue
            yield ecrits, lus
            depart = None


def _poids(erreur: tuple[str, str]) -> int:
    """Combien de caractères une erreur a touchés."""
    return max(map(len, erreur))


def _en_taux(
    erreurs: Counter[tuple[str, str]], suites: Counter[str], par_document: np.ndarray
) -> Bruit:
    confusions: dict[str, dict[str, float]] = defaultdict(dict)
    gardees = 0
    caracteres = int(par_document[:, 1].sum())
    for (ecrit, lu), fois in erreurs.most_common():
        courte = _poids((ecrit, lu)) <= LONGUEUR_MAX
        if courte and fois >= OCCURRENCES_MIN and (not ecrit or suites[ecrit] >= fois):
            confusions[ecrit][lu] = fois / (suites[ecrit] if ecrit else caracteres)
            gardees += fois * _poids((ecrit, lu))
    total = sum(fois * _poids(erreur) for erreur, fois in erreurs.items())
    return Bruit(
        confusions={ecrit: confusions[ecrit] for ecrit in sorted(confusions)},
        inegalites=_inegalites(par_document),
        taux=total / caracteres if caracteres else 0.0,
        gardees=gardees / total if total else 1.0,
        caracteres=caracteres,
    )


def _inegalites(par_document: np.ndarray) -> tuple[float, ...]:
    """Le taux d'erreur d'un document par vingtième, du mieux au plus mal lu, sur leur moyenne."""
    remplis = par_document[par_document[:, 1] > 0]
    taux = remplis[:, 0] / remplis[:, 1]
    if not taux.any():
        return (1.0,)
    milieux = (np.arange(PARTS) + 0.5) / PARTS
    relatifs = np.quantile(taux, milieux) / taux.mean()
    return tuple(float(part) for part in relatifs / relatifs.mean())


# ---------------------------------------------------------------- des morceaux à corriger


def morceaux(paire: PaireAlignee, longueur: int) -> Iterator[tuple[str, str]]:
    """Coupe une paire, là où les deux textes ont une espace, en morceaux (lu, écrit).

    Un morceau que la référence ne couvre pas, ou vide d'un côté, est laissé.

    Args:
        longueur: caractères d'un morceau, environ.
    """
    debut = 0
    for place in [*_communes(paire), len(paire.lu)]:
        if place - debut < longueur and place < len(paire.lu):
            continue
        lu, ecrit = PaireAlignee(paire.lu[debut:place], paire.ecrit[debut:place]).nue
        if lu.strip() and ecrit.strip() and ABSENT not in ecrit:
            yield lu.strip(), ecrit.strip()
        debut = place


def _communes(paire: PaireAlignee) -> Iterator[int]:
    """Les places où les deux textes ont une espace."""
    couples = zip(paire.lu, paire.ecrit, strict=True)
    return (place for place, couple in enumerate(couples) if couple == (" ", " "))
