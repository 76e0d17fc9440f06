"""Les intervalles disent-ils vrai ? Combien de fois sur cent ils contiennent la valeur cherchée.

    python -m benchmarks.couverture --repetitions 1000 --questions 162

On invente une population de notes dont la vraie valeur est connue, on en tire un test, on calcule
l'intervalle à 95 % de ``fabrique.evaluation.incertitude``, et l'on recommence.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import numpy as np

from fabrique.evaluation.incertitude import (
    Intervalle,
    Releve,
    intervalle,
    intervalle_de_l_ecart,
    moyenne,
)
from fabrique.evaluation.paires import Part
from fabrique.socle.nombres import en_francais

Essai = tuple[Intervalle, float]


def note_moyenne(hasard: np.random.Generator, questions: int) -> Essai:
    """Une note de 0 à 1, très penchée vers le bas, comme un F1 : loi bêta (1, 4), moyenne 0,2."""
    return intervalle(moyenne(hasard.beta(1, 4, questions))), 0.2


def ecart_apparie(hasard: np.random.Generator, questions: int) -> Essai:
    """L'écart de deux notes qui partagent la difficulté de la question ; le vrai vaut 0,05."""
    difficulte = hasard.beta(1, 4, questions)
    bruits = hasard.normal(0, 0.1, (2, questions))
    avant, apres = (moyenne(difficulte + bruit) for bruit in bruits)
    return intervalle_de_l_ecart(avant, moyenne(apres.numerateurs + 0.05)), 0.05


def perplexite(hasard: np.random.Generator, questions: int) -> Essai:
    """Un rapport de sommes, puis son exponentielle : 3 nats par jeton, textes de 20 à 200 jetons."""
    jetons = hasard.integers(20, 201, questions).astype(float)
    nats = jetons * hasard.normal(3, 0.5, questions)
    return intervalle(Releve(nats, jetons, exponentielle=True)), float(np.exp(3))


ESSAIS: dict[str, Callable[[np.random.Generator, int], Essai]] = {
    "note moyenne (bêta)": note_moyenne,
    "écart apparié": ecart_apparie,
    "perplexité": perplexite,
}


def couverture(
    essai: Callable[[np.random.Generator, int], Essai],
    questions: int,
    repetitions: int,
    graine: int = 0,
) -> Part:
    """La part des intervalles qui contiennent la vraie valeur."""
    hasard = np.random.default_rng(graine)
    tires = [essai(hasard, questions) for _ in range(repetitions)]
    return Part(sum(bornes.bas <= vraie <= bornes.haut for bornes, vraie in tires), repetitions)


def main() -> None:
    """Mesure et imprime le tableau."""
    analyse = argparse.ArgumentParser(description=__doc__)
    analyse.add_argument("--repetitions", type=int, default=1000)
    analyse.add_argument("--questions", type=int, default=162)
    options = analyse.parse_args()
    print(
        "| ce qu’on estime | intervalles qui contiennent la vérité | entre (à 95 %) |\n|---|--:|---|"
    )
    for nom, essai in ESSAIS.items():
        part = couverture(essai, options.questions, options.repetitions)
        bas, haut = (en_francais(100 * borne, 1) for borne in part.ic95)
        print(f"| {nom} | {en_francais(100 * part.taux, 1)} % | {bas} à {haut} % |")


if __name__ == "__main__":
    main()
