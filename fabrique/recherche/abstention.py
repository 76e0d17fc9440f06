"""Répondre ou se taire : ce que la question et les passages trouvés laissent espérer.

Le score d'une recherche dit quel passage est le meilleur, non s'il répond. On apprend donc, sur des
questions dont on sait si les fiches y répondent, la probabilité qu'elles le fassent ; puis on choisit le
seuil qui laisse passer la part de fausses réponses qu'on accepte.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass
from functools import cache
from math import sqrt
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from fabrique.recherche.index import Index
from fabrique.recherche.mots import racines
from fabrique.recherche.passages import Trouve, une_phrase
from fabrique.socle.emplacements import dossier_data
from fabrique.socle.erreurs import ErreurFabrique
from fabrique.socle.figures import BLEU, en_image, nouvelle_figure
from fabrique.socle.nombres import en_pourcent

#: Combien de passages on montre au modèle.
MONTRES: int = 3
#: La part de fausses réponses acceptée par défaut.
FAUSSES_REPONSES: float = 0.15
#: Combien de passages d'une même fiche, au plus : la bonne rubrique n'est pas toujours la première.
PAR_FICHE = 2
#: Les calibrations que le paquet livre, par nombre de passages montrés.
LIVREES = Path(__file__).with_name("calibrations.json")
_PLIS, _GRAINE = 5, 0
#: Ce qui tourne une question sans dire de quoi elle parle.
TOURNURES = frozenset(racines("comment combien pourquoi quand faire faut peut dois doit avoir"))
#: Où chercher les mots d'une question réunis : une phrase, ou ce qu'un deux-points y annonce.
_PHRASE = une_phrase(".;:!?")


@dataclass(frozen=True)
class QuestionJugee:
    """Une question dont on sait où est la réponse.

    Args:
        question: telle qu'on la pose.
        fiches: les identifiants des fiches qui y répondent ; vide si aucune.
        groupe: ce qui réunit les questions sur les mêmes fiches, qu'on ne sépare pas.
    """

    question: str
    fiches: tuple[str, ...]
    groupe: str = ""


@dataclass(frozen=True)
class Indices:
    """Ce qui laisse espérer une réponse, sans unité : chacun se compare d'un index à l'autre.

    Args:
        couverture: la part des mots pleins de la question que porte le meilleur passage.
        phrase: la même, dans une seule de ses phrases.
        mots: le score des mots communs du premier passage, par mot plein de la question.
        ecart: de combien le premier passage devance celui d'une autre fiche, de 0 à 1.
    """

    couverture: float
    phrase: float
    mots: float
    ecart: float


def relever(question: str, trouves: Sequence[Trouve]) -> Indices:
    """Les indices d'une question et de ce que la recherche a trouvé, le meilleur d'abord."""
    cherches = set(racines(question)) - TOURNURES
    if not trouves or not cherches:
        return Indices(0.0, 0.0, 0.0, 0.0)

    def part(texte: str) -> float:
        return len(cherches & set(racines(texte))) / len(cherches)

    premier = trouves[0]
    autres = [t.mots for t in trouves if t.fiche != premier.fiche]
    ecart = (premier.mots - max(autres, default=0.0)) / premier.mots if premier.mots else 0.0
    return Indices(
        part(f"{premier.titre}\n{premier.rubrique}\n{premier.texte}"),
        max(part(phrase) for phrase in _PHRASE.findall(premier.texte)),
        premier.mots / len(cherches),
        max(ecart, 0.0),
    )


@dataclass(frozen=True)
class Point:
    """Ce que donne un seuil.

    Args:
        seuil: la probabilité à partir de laquelle on répond.
        repondues: la part des questions auxquelles on répond, réponse possible ou non.
        justes: parmi elles, celles dont la fiche est montrée.
        fausses: parmi les questions sans réponse, celles auxquelles on répond quand même.
    """

    seuil: float
    repondues: float
    justes: float
    fausses: float


class Calibration:
    """La probabilité qu'une question ait sa réponse, et ce que vaut chaque seuil.

    Elle ne regarde que les ``Indices`` de la recherche, jamais la tournure de la question : une
    question sans réponse se pose comme les autres. On l'apprend avec ``Calibration.apprendre``.
    """

    def __init__(
        self, lignes: np.ndarray, ont_reponse: np.ndarray, points: Sequence[Point]
    ) -> None:
        self._lignes, self._ont_reponse, self.points = lignes, ont_reponse, tuple(points)
        self._regression = _regression().fit(lignes, ont_reponse)

    @classmethod
    def apprendre(
        cls, questions: Iterable[QuestionJugee], index: Index, montres: int = MONTRES
    ) -> Calibration:
        """Apprend à reconnaître les questions auxquelles un index répond.

        Les points de la courbe viennent d'une validation croisée : chaque question y est jugée par
        une régression qui n'a vu aucune question sur les mêmes fiches.

        Args:
            questions: une centaine au moins, dont un cinquième sans réponse.
            index: celui où l'on cherche.
            montres: combien de passages sont montrés au modèle.

        Raises:
            ErreurFabrique: pas assez de questions d'une sorte ou de l'autre.
        """
        questions = list(questions)
        trouves = [chercher_assez(index, q.question, montres) for q in questions]
        bons = np.array(
            [
                any(t.fiche in q.fiches for t in vus[:montres])
                for q, vus in zip(questions, trouves, strict=True)
            ]
        )
        muettes = np.array([not q.fiches for q in questions])
        if min(bons.sum(), muettes.sum()) < _PLIS:
            raise ErreurFabrique(
                f"{bons.sum()} questions trouvées et {muettes.sum()} sans réponse ne suffisent pas "
                "à calibrer",
                f"Donnez au moins {_PLIS} questions de chaque sorte, et mieux une centaine",
            )
        lignes = np.array(
            [astuple(relever(q.question, vus)) for q, vus in zip(questions, trouves, strict=True)]
        )
        groupes = [q.groupe or q.question for q in questions]
        croisees = cross_val_predict(
            _regression(),
            lignes,
            ~muettes,
            groups=groupes,
            cv=StratifiedGroupKFold(_PLIS, shuffle=True, random_state=_GRAINE),
            method="predict_proba",
        )[:, 1]
        return cls(lignes, ~muettes, _courbe(croisees, bons, muettes))

    @classmethod
    def relire(cls, gardee: dict) -> Calibration:
        """Celle qu'a rendue ``en_dictionnaire``, sans rien chercher de nouveau."""
        return cls(
            np.array(gardee["lignes"]),
            np.array(gardee["ont_reponse"]),
            [Point(*point) for point in gardee["points"]],
        )

    def en_dictionnaire(self) -> dict:
        """De quoi la refaire : ce qui a été relevé de chaque question, et la courbe, au millionième."""
        points = np.array([astuple(point) for point in self.points])
        return {
            "lignes": self._lignes.round(6).tolist(),
            "ont_reponse": self._ont_reponse.tolist(),
            "points": points.round(6).tolist(),
        }

    def probabilite(self, question: str, trouves: Sequence[Trouve]) -> float:
        """La probabilité, de 0 à 1, que les fiches répondent à la question."""
        if not trouves:
            return 0.0
        indices = np.array([astuple(relever(question, trouves))])
        return float(self._regression.predict_proba(indices)[0, 1])

    def point(self, fausses_reponses: float = FAUSSES_REPONSES) -> Point:
        """Le seuil qui répond le plus, sans dépasser la part de fausses réponses acceptée.

        La part mesurée garde une erreur type de marge : sur des questions neuves, elle varie.

        Args:
            fausses_reponses: part, de 0 à 1, des questions sans réponse auxquelles on accepte de
                répondre quand même.
        """
        muettes = np.count_nonzero(~self._ont_reponse)

        def avec_la_marge(fausses: float) -> float:
            return fausses + sqrt(fausses * (1 - fausses) / muettes)

        permis = [p for p in self.points if avec_la_marge(p.fausses) <= fausses_reponses]
        return max(permis, key=lambda p: p.repondues)


def chercher_assez(index: Index, question: str, montres: int) -> list[Trouve]:
    """Les passages à montrer, et quelques autres : une autre fiche que la première, une contradiction."""
    return index.chercher(question, montres + 5, par_fiche=PAR_FICHE)


def _regression() -> Pipeline:
    """Une régression logistique sur les indices, ramenés à la même échelle."""
    return make_pipeline(StandardScaler(), LogisticRegression(class_weight="balanced"))


def _courbe(probabilites: np.ndarray, bons: np.ndarray, muettes: np.ndarray) -> list[Point]:
    """Un point par seuil possible, du plus prudent (qui se tait toujours) au plus bavard."""
    points = []
    for seuil in [np.inf, *sorted(set(probabilites), reverse=True), 0.0]:
        dites = probabilites >= seuil
        justes = bons[dites].mean() if dites.any() else 1.0
        points.append(
            Point(float(seuil), float(dites.mean()), float(justes), float(dites[muettes].mean()))
        )
    return points


def questions_livrees(*jeux: str) -> list[QuestionJugee]:
    """Les questions du corpus *sources*, et les fiches qui y répondent.

    Args:
        jeux: « entrainement », « validation », « test ».
    """
    with (dossier_data() / "sources.jsonl").open(encoding="utf-8") as lignes:
        exemples = [json.loads(ligne) for ligne in lignes]
    return [
        QuestionJugee(
            e["question"],
            tuple(filter(None, e["source"].split(", "))),
            min((p["fiche"] for p in e["passages"]), default=e["id"]),
        )
        for e in exemples
        if e["jeu"] in jeux
    ]


def apprendre_du_cours(montres: int) -> Calibration:
    """La calibration du cours : les fiches et les questions livrées, celles de test mises à part.

    Elle cherche par mots seulement : elle vaut donc pour tout index, qu'il cherche aussi par sens ou non.
    """
    questions = questions_livrees("entrainement", "validation")
    return Calibration.apprendre(questions, Index.construire("fiches", sens="aucun"), montres)


@cache
def calibration_livree(montres: int = MONTRES) -> Calibration:
    """La calibration du cours, relue dans le paquet ; apprise, si l'on montre un autre nombre de passages.

    L'apprendre demande des centaines de recherches : ``python -m outils.calibrations`` l'a fait.
    """
    livrees = json.loads(LIVREES.read_text(encoding="utf-8"))
    livree = livrees.get(str(montres))
    return Calibration.relire(livree) if livree else apprendre_du_cours(montres)


def dessiner(calibration: Calibration, fausses_reponses: float = FAUSSES_REPONSES) -> Figure:
    """La courbe des réponses justes selon la part de questions répondues, et le seuil choisi."""
    choisi, bavard = calibration.point(fausses_reponses), calibration.points[-1]
    figure, axe = nouvelle_figure(_titre(choisi, bavard))
    utiles = [p for p in calibration.points if p.repondues > 0]
    axe.plot([p.repondues for p in utiles], [p.justes for p in utiles], color=BLEU)
    axe.plot(choisi.repondues, choisi.justes, "o", color="#000000")
    axe.annotate(
        f"seuil choisi : {en_pourcent(choisi.fausses)} de fausses réponses",
        (choisi.repondues, choisi.justes),
        xytext=(8, 8),
        textcoords="offset points",
    )
    axe.set(
        xlabel="part des questions auxquelles on répond",
        ylabel="réponses dont la fiche est la bonne",
        xlim=(0, 1),
        ylim=(0, 1.02),
    )
    return figure


def _titre(choisi: Point, bavard: Point) -> str:
    gain = "monte" if choisi.justes > bavard.justes else "ne monte pas"
    return (
        f"En ne répondant qu’à {en_pourcent(choisi.repondues)} des questions, la part de bonnes "
        f"fiches {gain}\u00a0: {en_pourcent(bavard.justes)} → {en_pourcent(choisi.justes)}"
    )


def en_figure(calibration: Calibration, fausses_reponses: float = FAUSSES_REPONSES) -> str:
    """La même courbe en HTML, avec son texte alternatif."""
    choisi, bavard = calibration.point(fausses_reponses), calibration.points[-1]
    return en_image(dessiner(calibration, fausses_reponses), f"Courbe. {_titre(choisi, bavard)}.")
