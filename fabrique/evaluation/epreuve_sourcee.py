"""L'épreuve des sources : le modèle cite-t-il le bon passage, et se tait-il quand il le faut ?

La référence dit tout. Ce qu'elle cite est ce qu'il fallait trouver ; si elle ne cite rien, il fallait
se taire. Une réponse se relit avec le vérificateur, qui ne sait pas qui l'a écrite.

Chaque question est posée seule : une suite (« Et pour un enfant ? ») n'y reprend rien, et une fiche
périmée n'y cède pas sa place, ce que fait ``recherche.reponse.preparer`` devant une personne.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from fabrique.corpus.formats import demande, reponse
from fabrique.evaluation.comparaison import (
    Ecart,
    Evaluation,
    comparer,
    copies,
    decalages,
    faire_repondre,
    ranger,
)
from fabrique.evaluation.incertitude import Releve, intervalle, releve
from fabrique.evaluation.journal import Journal
from fabrique.recherche.abstention import MONTRES, calibration_livree, chercher_assez
from fabrique.recherche.citations import (
    Controle,
    Regle,
    controler_reponse,
    est_mot_pour_mot,
    normaliser,
)
from fabrique.recherche.index import Index
from fabrique.recherche.passages import Trouve
from fabrique.recherche.reponse import (
    JETONS,
    PHRASES,
    Place,
    ce_qui_se_cite,
    en_passages,
    place_de,
    qui_tiennent,
)
from fabrique.socle.erreurs import ErreurFabrique

#: Combien de réponses s'écrivent ensemble.
LOT = 8
#: Les parts de questions répondues où la courbe prend un point.
PARTS = tuple(dixieme / 10 for dixieme in range(1, 11))


@dataclass(frozen=True)
class Cas:
    """Une question, ce qu'on montre pour y répondre, et ce qu'il fallait en citer.

    Args:
        question: telle qu'on la pose.
        montres: les passages montrés, dans l'ordre de leurs rangs.
        attendues: les citations de la référence ; aucune s'il fallait se taire.
        fait: les mots qu'une citation doit porter ; vide si on ne les connaît pas.
        probabilite: celle, de 0 à 1, que les fiches répondent.
    """

    question: str
    montres: tuple[Trouve, ...]
    attendues: tuple[str, ...]
    fait: str = ""
    probabilite: float = 1.0

    @property
    def textes(self) -> list[str]:
        """Le texte de chaque passage montré."""
        return [montre.texte for montre in self.montres]

    @property
    def presentees(self) -> str:
        """Les passages montrés, tels que le modèle les lit."""
        return en_passages(self.montres)

    def dans(self, place: Place) -> Cas:
        """La même question, et ceux de ses passages qui tiennent dans la fenêtre d'un modèle."""
        return replace(self, montres=tuple(qui_tiennent(self.question, self.montres, place)))

    def est_cite(self, controle: Controle, attendues: Sequence[str]) -> bool:
        """Vrai si la réponse relue cite un passage montré qui porte l'une des citations attendues."""
        cites = {c.rang for c in controle.citations if _fidele(c.texte, c.rang, self.textes)}
        return any(est_mot_pour_mot(a, self.textes[r - 1]) for r in cites if r for a in attendues)

    def phrase_citee(self, controle: Controle) -> bool:
        """Vrai si une citation fidèle est dans une citation attendue, ou la contient."""
        dites = [c.texte for c in controle.citations if _fidele(c.texte, c.rang, self.textes)]
        return any(
            est_mot_pour_mot(a, dite) or est_mot_pour_mot(dite, a)
            for dite in dites
            for a in self.attendues
        )


def citations_de(reference: str) -> tuple[str, ...]:
    """Ce qu'une réponse de référence cite."""
    return tuple(citation.texte for citation in controler_reponse(reference, []).citations)


def _fidele(texte: str, rang: int | None, passages: Sequence[str]) -> bool:
    """Vrai si la citation est mot pour mot dans le passage qu'elle annonce."""
    return (
        rang is not None
        and 1 <= rang <= len(passages)
        and est_mot_pour_mot(texte, passages[rang - 1])
    )


# ---------------------------------------------------------------- mesurer


def mesurer(cas: Sequence[Cas], reponses: Sequence[str]) -> dict[str, Releve]:
    """Les mesures d'une suite de réponses, question par question.

    Args:
        cas: les questions, dans l'ordre.
        reponses: une par question ; sans citation, elle vaut une abstention.
    """
    comptes: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for un, dite in zip(cas, reponses, strict=True):
        controle = controler_reponse(dite, un.textes)
        possible, tue = bool(un.attendues), not controle.citations
        fideles = [_fidele(c.texte, c.rang, un.textes) for c in controle.citations]
        montre = any(est_mot_pour_mot(a, texte) for a in un.attendues for texte in un.textes)
        dit = " ".join(normaliser(c.texte).casefold() for c in controle.citations)
        fait = normaliser(un.fait).casefold()
        comptes["passage_montre"].append((montre, possible))
        comptes["passage_cite"].append((un.est_cite(controle, un.attendues), possible))
        comptes["phrase_citee"].append((un.phrase_citee(controle), possible))
        comptes["fait_cite"].append((bool(fait) and fait in dit, bool(fait)))
        comptes["citations_fideles"].append((sum(fideles), len(fideles)))
        comptes["sans_appui"].append((not tue and controle.compter(Regle.SANS_APPUI), not tue))
        comptes["abstention_precision"].append((tue and not possible, tue))
        comptes["abstention_rappel"].append((tue and not possible, not possible))
    return {nom: releve(valeurs) for nom, valeurs in comptes.items()}


def _temoins(cas: Sequence[Cas], reponses: Sequence[str]) -> dict[str, Releve]:
    """Le bon passage cité, diminué de ce qu'il vaudrait avec la référence d'une autre question."""
    controles = [controler_reponse(d, un.textes) for un, d in zip(cas, reponses, strict=True)]
    propre = mesurer(cas, reponses)["passage_cite"]
    ailleurs = [
        [
            un.est_cite(controle, cas[(rang + pas) % len(cas)].attendues) and bool(un.attendues)
            for rang, (un, controle) in enumerate(zip(cas, controles, strict=True))
        ]
        for pas in decalages(len(cas))
    ]
    if not ailleurs:
        return {}
    du = propre.numerateurs - np.mean(ailleurs, axis=0)
    return {"passage_cite": replace(propre, numerateurs=du)}


# ---------------------------------------------------------------- la courbe


@dataclass(frozen=True)
class PointDeCourbe:
    """Ce que donne un modèle quand il ne répond qu'aux questions les plus sûres.

    Args:
        seuil: la probabilité à partir de laquelle on répond.
        repondues: la part des questions auxquelles on répond.
        justes: parmi elles, celles dont la réponse cite le bon passage, et son intervalle à 95 %.
        fausses: parmi les questions sans réponse, celles auxquelles on répond quand même.
    """

    seuil: float
    repondues: float
    justes: float
    ic95: tuple[float, float]
    fausses: float


def courbe_des_seuils(cas: Sequence[Cas], reponses: Sequence[str]) -> list[PointDeCourbe]:
    """De la plus prudente à la plus bavarde : la part de réponses justes selon le seuil.

    Args:
        reponses: celles du modèle à toutes les questions, aucune tue par le seuil.
    """
    chances = np.array([un.probabilite for un in cas])
    possibles = np.array([bool(un.attendues) for un in cas])
    justes = mesurer(cas, reponses)["passage_cite"].numerateurs
    dites = np.array([bool(citations_de(dite)) for dite in reponses])
    rangees = np.sort(chances)[::-1]
    points = []
    for seuil in dict.fromkeys(float(rangees[int(part * len(cas)) - 1]) for part in PARTS):
        gardees = dites & (chances >= seuil)
        mesure = Releve(justes * gardees, gardees.astype(float))
        fausses = Releve((gardees & ~possibles).astype(float), (~possibles).astype(float))
        points.append(
            PointDeCourbe(
                seuil,
                float(gardees.mean()),
                float(mesure.valeur()),
                intervalle(mesure).bornes,
                float(fausses.valeur()),
            )
        )
    return points


# ---------------------------------------------------------------- l'épreuve


@dataclass(frozen=True)
class EpreuveSourcee:
    """Ce que donnent une base et son modèle affiné devant le même index.

    Args:
        passages: combien l'index en contient.
        seuil: la probabilité à partir de laquelle on répond, celle de ``fabrique repondre``.
        evaluations: la base, puis le modèle affiné, au seuil.
        ecarts: de l'une à l'autre.
        courbes: nom du modèle → ce que donnerait chaque seuil.
    """

    passages: int
    seuil: float
    evaluations: list[Evaluation]
    ecarts: list[Ecart]
    courbes: dict[str, list[PointDeCourbe]]

    def en_dictionnaire(self) -> dict:
        """Tout, prêt pour du JSON."""
        return {
            "passages": self.passages,
            "seuil": self.seuil,
            "mesures": [ecart.en_dictionnaire() for ecart in self.ecarts],
            "evaluations": [e.en_dictionnaire() for e in self.evaluations],
            "courbes": {
                nom: [asdict(point) for point in points] for nom, points in self.courbes.items()
            },
        }


class Sources:
    """Des questions de référence devant un index : ce qu'il faut pour y mettre un modèle.

    Args:
        exemples: les questions et leurs références, dont une au moins cite.
        index: où chercher.
        texte_libre: permet au modèle d'écrire autour de ses citations.
        phrases: sans texte libre, entre combien de phrases de chaque passage il choisit.

    Raises:
        ErreurFabrique: aucune référence ne cite.
    """

    def __init__(
        self,
        exemples: Iterable[dict],
        index: Index,
        texte_libre: bool = False,
        phrases: int = PHRASES,
    ) -> None:
        self.index, self.libre, self.phrases = index, texte_libre, phrases
        self.exemples: list[dict[str, Any]] = [
            {
                "id": exemple.get("id"),
                "instruction": exemple.get("instruction") or demande(exemple),
                "input": "",
                "output": reponse(exemple),
            }
            for exemple in exemples
        ]
        attendues = [citations_de(exemple["output"]) for exemple in self.exemples]
        if not any(attendues):
            raise ErreurFabrique(
                "aucune réponse de référence ne cite : on ne saurait pas quel passage il fallait trouver",
                "Donnez un corpus dont les réponses citent entre guillemets, comme « sources »",
                champ="index",
            )
        calibration = calibration_livree()
        self.seuil = calibration.point().seuil
        self.cas = []
        for exemple, citees in zip(self.exemples, attendues, strict=True):
            question = exemple["instruction"]
            trouves = chercher_assez(index, question, MONTRES)
            chance = calibration.probabilite(question, trouves)
            self.cas.append(Cas(question, tuple(trouves[:MONTRES]), citees, probabilite=chance))

    def repondre(
        self,
        modele: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        nom: str,
        *,
        journal: Journal | None = None,
    ) -> tuple[list[tuple[str, bool]], float]:
        """Les réponses d'un modèle à toutes les questions, sous la grammaire de ``repondre``."""
        place = place_de(modele, tokenizer)
        lus = [un.dans(place) for un in self.cas]
        posees = [{"instruction": un.question, "input": un.presentees} for un in lus]
        grammaires = [
            ce_qui_se_cite(un.question, un.montres, texte_libre=self.libre, phrases=self.phrases)
            for un in lus
        ]
        options = {"max_new_tokens": JETONS, "lot": LOT}
        nom = f"{nom}, fiches à l’appui"
        return faire_repondre(modele, tokenizer, posees, nom, options, journal, grammaires)

    def evaluer(
        self, obtenues: Sequence[tuple[str, bool]], nom: str, secondes: float
    ) -> Evaluation:
        """Ce que valent les réponses d'un modèle, celles que le seuil fait taire étant tues."""
        gardees = [
            (texte, finie) if un.probabilite >= self.seuil else ("", True)
            for un, (texte, finie) in zip(self.cas, obtenues, strict=True)
        ]
        textes = [texte for texte, _ in gardees]
        return Evaluation(
            nom=nom,
            exemples=copies(self.exemples, gardees),
            releves=ranger(mesurer(self.cas, textes)),
            temoins=ranger(_temoins(self.cas, textes)),
            ensemble={},
            secondes=secondes / len(self.cas),
            memoire=0,
            disque=0,
            reglages={"montres": MONTRES, "texte_libre": self.libre, "max_new_tokens": JETONS},
        )

    def conclure(self, reponses: dict[str, tuple[list[tuple[str, bool]], float]]) -> EpreuveSourcee:
        """Compare les réponses de la base et du modèle affiné, dans cet ordre."""
        evaluations = [self.evaluer(dites, nom, s) for nom, (dites, s) in reponses.items()]
        return EpreuveSourcee(
            passages=len(self.index),
            seuil=self.seuil,
            evaluations=evaluations,
            ecarts=comparer(evaluations[0], evaluations[-1]),
            courbes={
                nom: courbe_des_seuils(self.cas, [texte for texte, _ in dites])
                for nom, (dites, _) in reponses.items()
            },
        )
