"""Ce que trahit la forme de nos corpus : une question sans réponse, une réponse préférée.

    python -m benchmarks.fuites              # sources : la question dit-elle qu'elle est sans réponse ?
    python -m benchmarks.fuites preferences  # la forme des deux réponses dit-elle laquelle est choisie ?

Une question sans réponse doit se poser comme les autres : sinon, qui apprend à s'abstenir apprend le
style de nos questions. Une réponse choisie ne doit pas se reconnaître à sa longueur ni à sa
ponctuation : sinon, qui apprend des préférences apprend à faire court. Un classifieur ne lit donc que
la question, ou que les deux réponses, jamais les fiches ; il est jugé sur des fiches qu'il n'a pas
vues. Une AUC de 0,5 est celle du hasard.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from scipy.stats import rankdata
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from fabrique.socle.colonnes import en_colonnes
from fabrique.socle.emplacements import dossier_data
from fabrique.socle.nombres import en_francais
from fabrique.socle.reechantillonnage import Intervalle, reechantillonner

PLIS, GRAINE = 5, 0
#: Ce qui se compte dans une question sans en lire le sujet.
MARQUES = (
    *(r",", r"\u00a0:", r"\?$", r"^[a-zéèà]", r"\d", r"’", r"\bpas\b", r"\bet\b", r"\b(je|on)\b"),
    *(r"\b(mon|ma|mes)\b", r"combien", r"quel", r"quand", r"\b(peut|peux)\b", r"\b(où|qui|quoi)\b"),
)
#: Ce qui se compte dans une réponse : ponctuation, phrases, chiffres, sources et tours de phrase.
MARQUES_DE_REPONSE = (
    *(r",", r"\u00a0:", r"\u00a0;", r"«", r"[.!?](?=\s|$)", r"\d"),
    *(r"(?i)\b(selon|d’après)\b", r"^(Oui|Non)\b", r"\bpas\b"),
    *(r"(?i)\b(je\b|j’|m’)", r"(?i)\b(vous|votre|vos)\b"),
)
#: Les façons de lire en suites de lettres ou de mots.
LETTRES = {"analyzer": "char_wb", "ngram_range": (2, 4)}
MOTS = {"ngram_range": (1, 2), "token_pattern": r"\w+|[^\w\s]"}


def compter_les_marques(textes: Sequence[str], marques: Sequence[str] = MARQUES) -> np.ndarray:
    """La longueur et les marques de chaque texte (forme : textes × marques + 2)."""
    return np.array(
        [[len(t), len(t.split()), *(len(re.findall(m, t)) for m in marques)] for t in textes]
    )


def _suites(**options: object) -> TfidfVectorizer:
    return TfidfVectorizer(sublinear_tf=True, min_df=2, **options)


def _lineaire(**options: object) -> object:
    return make_pipeline(
        _suites(**options), LogisticRegression(max_iter=2000, class_weight="balanced")
    )


def _arbres() -> HistGradientBoostingClassifier:
    return HistGradientBoostingClassifier(max_iter=80, max_depth=3, random_state=GRAINE)


#: Ce que lit chaque classifieur : les suites de lettres, les mots, ou la seule forme.
CLASSIFIEURS = {
    "suites de lettres": _lineaire(**LETTRES),
    "mots et ponctuation": _lineaire(**MOTS),
    "longueur et marques": make_pipeline(FunctionTransformer(compter_les_marques), _arbres()),
}


def _ecart_lineaire() -> LogisticRegression:
    """Sans constante : échanger les deux réponses change le signe, et rien d'autre."""
    return LogisticRegression(max_iter=2000, fit_intercept=False)


#: Pour deux réponses : comment chacune se met en nombres, et qui juge leur différence.
LECTURES_DE_PAIRES: dict[str, tuple[Callable, Callable[[], object]]] = {
    "longueur": (partial(compter_les_marques, marques=()), _arbres),
    "longueur et marques": (partial(compter_les_marques, marques=MARQUES_DE_REPONSE), _arbres),
    "mots et ponctuation": (lambda textes: _suites(**MOTS).fit_transform(textes), _ecart_lineaire),
}


def lire_exemples(corpus: str = "sources", fichier: Path | None = None) -> list[dict]:
    """Les exemples du corpus *sources* ou *preferences*, ou d'un autre fichier de même forme."""
    lignes = (fichier or dossier_data() / f"{corpus}.jsonl").read_text("utf-8").splitlines()
    return [json.loads(ligne) for ligne in lignes]


def deviner(classifieur: object, exemples: Sequence[dict]) -> np.ndarray:
    """La probabilité que chaque question ait sa réponse, jugée sans ses fiches ni leurs questions."""
    groupes = [min((p["fiche"] for p in e["passages"]), default=e["id"]) for e in exemples]
    return cross_val_predict(
        classifieur,
        [e["question"] for e in exemples],
        [e["repondable"] for e in exemples],
        groups=groupes,
        cv=StratifiedGroupKFold(PLIS, shuffle=True, random_state=GRAINE),
        method="predict_proba",
    )[:, 1]


def deviner_les_choix(lecture: str, paires: Sequence[dict]) -> np.ndarray:
    """La probabilité que la première réponse soit la préférée, jugée sans les paires de sa fiche.

    Chaque paire est montrée dans les deux sens : rien d'autre que les réponses ne distingue l'un de
    l'autre.

    Returns:
        Un tableau (2 × paires) : la réponse choisie en premier, puis la réponse écartée en premier.
    """
    lire, juge = LECTURES_DE_PAIRES[lecture]
    lues = lire([paire[champ] for champ in ("chosen", "rejected") for paire in paires])
    ecarts = lues - lues[np.roll(np.arange(2 * len(paires)), len(paires))]
    probabilites = cross_val_predict(
        juge(),
        ecarts,
        np.repeat([True, False], len(paires)),
        groups=[paire["source"] for paire in paires] * 2,
        cv=StratifiedGroupKFold(PLIS, shuffle=True, random_state=GRAINE),
        method="predict_proba",
    )[:, 1]
    return probabilites.reshape(2, -1)


def aire(possibles: np.ndarray, muettes: np.ndarray) -> np.ndarray:
    """L'AUC : la part des couples où un cas positif passe devant un autre.

    Args:
        possibles: probabilités des cas positifs, par exemple des questions qui ont leur réponse
            (forme : … × cas).
        muettes: celles des autres.

    Source : Mann et Whitney, 1947.
    """
    combien = possibles.shape[-1]
    rangs = rankdata(np.concatenate([possibles, muettes], axis=-1), axis=-1)
    somme = rangs[..., :combien].sum(axis=-1)
    return (somme - combien * (combien + 1) / 2) / (combien * muettes.shape[-1])


def mesurer(classifieur: object, exemples: Sequence[dict]) -> tuple[float, Intervalle]:
    """L'AUC d'un classifieur et son intervalle, en retirant les questions de chaque sorte."""
    probabilites = deviner(classifieur, exemples)
    repondables = np.array([e["repondable"] for e in exemples])
    possibles, muettes = probabilites[repondables], probabilites[~repondables]
    intervalle = reechantillonner(
        lambda unes, autres: aire(possibles[unes], muettes[autres]), len(possibles), len(muettes)
    )
    return float(aire(possibles, muettes)), intervalle


def mesurer_les_choix(lecture: str, paires: Sequence[dict]) -> tuple[float, Intervalle]:
    """L'AUC d'une lecture des deux réponses et son intervalle, en retirant les paires."""
    endroit, envers = deviner_les_choix(lecture, paires)
    intervalle = reechantillonner(lambda rangs: aire(endroit[rangs], envers[rangs]), len(paires))
    return float(aire(endroit, envers)), intervalle


def main() -> None:
    """Imprime le tableau."""
    analyse = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    analyse.add_argument("corpus", nargs="?", choices=("sources", "preferences"), default="sources")
    analyse.add_argument("--fichier", type=Path, help="un autre corpus de même forme")
    options = analyse.parse_args()
    exemples = lire_exemples(options.corpus, options.fichier)
    if options.corpus == "sources":
        quoi, mesures = "questions", {n: mesurer(c, exemples) for n, c in CLASSIFIEURS.items()}
    else:
        quoi = "paires"
        mesures = {nom: mesurer_les_choix(nom, exemples) for nom in LECTURES_DE_PAIRES}
    rangees = []
    for nom, (auc, intervalle) in mesures.items():
        bornes = " ; ".join(en_francais(borne, 2) for borne in intervalle.bornes)
        rangees.append([nom, f"{en_francais(auc, 2)} [{bornes}]"])
    print(f"{len(exemples)} {quoi}, {PLIS} plis sans fiche commune, intervalles à 95 %\n")
    print(en_colonnes(["ce que lit le classifieur", "AUC"], rangees))


if __name__ == "__main__":
    main()
