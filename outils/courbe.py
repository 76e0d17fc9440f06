"""Trace la courbe d'un préentraînement : ``python -m outils.courbe courbe.csv courbe.png 0.906``.

Le dernier nombre est la mesure des poids livrés sur les fiches de la notice. Une source que l'on n'a
lue qu'à partir d'un moment n'a de mesures que depuis.
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path

from fabrique.socle.figures import BLEU, NOIR, ORANGE, ROSE, VERT, nouvelle_figure
from fabrique.socle.nombres import accorder

NOMS = {
    "bpo_service_public": ("fiches de la notice", BLEU),
    "bpo_fiches_vdd": ("autres fiches service-public.fr", NOIR),
    "bpo_guides_publics": ("guides publics", ORANGE),
    "bpo_codes_juridiques": ("codes", VERT),
    "bpo_romans_1840_1920": ("romans", ROSE),
}


def tracer(courbe: Path, image: Path, livres: float) -> None:
    """Bits par octet, sur des documents mis de côté, selon les jetons lus."""
    lignes = list(csv.DictReader(courbe.open(encoding="utf-8")))
    jetons = [int(ligne["jetons"]) / 1e6 for ligne in lignes]
    titre = f"Les fiches jamais lues descendent à {accorder(livres, 'bit', decimales=2)} par octet"
    figure, axe = nouvelle_figure(titre, hauteur=4)
    for colonne, (nom, couleur) in NOMS.items():
        mesures = [float(ligne[colonne] or "nan") for ligne in lignes]
        axe.plot(jetons, mesures, label=nom, color=couleur)
    axe.plot(
        jetons[-1],
        livres,
        "*",
        markersize=14,
        color=BLEU,
        label="fiches de la notice, poids livrés",
    )
    axe.set(xlabel="millions de jetons lus", ylabel="bits par octet (plus bas, mieux c’est)")
    axe.legend(frameon=False)
    figure.savefig(image)


if __name__ == "__main__":
    tracer(Path(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3]))
