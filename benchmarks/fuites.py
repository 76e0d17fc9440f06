"""Devine-t-on à sa seule forme qu'une question de *sources* est sans réponse ? (python -m benchmarks.fuites)

Une question sans réponse doit se poser comme les autres : sinon, qui apprend à s'abstenir apprend le
style de nos questions. Un classifieur ne lit donc que la question, jamais les fiches ; il est jugé
sur des fiches qu'il n'a pas vues. Une AUC de 0,5 est celle du hasard.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Sequence
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


def compter_les_marques(questions: Sequence[str]) -> np.ndarray:
    """La longueur et les marques de chaque question (forme : questions × marques + 2)."""
    return np.array(
        [[len(q), len(q.split()), *(len(re.findall(m, q)) for m in MARQUES)] for q in questions]
    )


def _lineaire(**options: object) -> object:
    suites = TfidfVectorizer(sublinear_tf=True, min_df=2, **options)
    return make_pipeline(suites, LogisticRegression(max_iter=2000, class_weight="balanced"))


#: Ce que lit chaque classifieur : les suites de lettres, les mots, ou la seule forme.
CLASSIFIEURS = {
    "suites de lettres": _lineaire(analyzer="char_wb", ngram_range=(2, 4)),
    "mots et ponctuation": _lineaire(ngram_range=(1, 2), token_pattern=r"\w+|[^\w\s]"),
    "longueur et marques": make_pipeline(
        FunctionTransformer(compter_les_marques),
        HistGradientBoostingClassifier(max_iter=80, max_depth=3, random_state=GRAINE),
    ),
}


def lire_exemples(fichier: Path | None = None) -> list[dict]:
    """Les exemples du corpus *sources*, ou d'un autre fichier de même forme."""
    lignes = (fichier or dossier_data() / "sources.jsonl").read_text("utf-8").splitlines()
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


def aire(possibles: np.ndarray, muettes: np.ndarray) -> np.ndarray:
    """L'AUC : la part des couples où la question qui a sa réponse passe devant.

    Args:
        possibles: probabilités des questions qui ont leur réponse (forme : … × questions).
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


def main() -> None:
    """Imprime le tableau."""
    analyse = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    analyse.add_argument("--fichier", type=Path, help="un autre corpus de même forme")
    exemples = lire_exemples(analyse.parse_args().fichier)
    rangees = []
    for nom, classifieur in CLASSIFIEURS.items():
        auc, intervalle = mesurer(classifieur, exemples)
        bornes = " ; ".join(en_francais(borne, 2) for borne in intervalle.bornes)
        rangees.append([nom, f"{en_francais(auc, 2)} [{bornes}]"])
    print(f"{len(exemples)} questions, {PLIS} plis sans fiche commune, intervalles à 95 %\n")
    print(en_colonnes(["ce que lit le classifieur", "AUC"], rangees))


if __name__ == "__main__":
    main()
