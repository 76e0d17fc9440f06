"""Les chiffres des notices de corpus : ``python -m outils.notices`` les récrit dans data/LISEZMOI.md.

Entre deux marques ``<!-- chiffres:demarches -->`` et ``<!-- fin -->``, le tableau vient du
contrôle du corpus ; un test vérifie qu'il est à jour.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import partial

import numpy as np

from fabrique.corpus import controler
from fabrique.corpus.compte_rendu import chiffres
from fabrique.corpus.constats import Controle
from fabrique.modeles.chargement import charger_tokenizer
from fabrique.socle.emplacements import dossier_data

NOTICE = dossier_data() / "LISEZMOI.md"
_BLOC = re.compile(r"(<!-- chiffres:(\w+) -->\n).*?(<!-- fin -->)", re.DOTALL)
#: Nombre de tranches d'un histogramme, et sa plus longue barre, en signes.
TRANCHES, BARRE = 8, 30


def tableau(controle: Controle) -> str:
    """Les mesures d'un corpus et l'histogramme des longueurs, en Markdown."""
    lignes = ["| | |", "|---|---|", f"| exemples | {controle.exemples} |"]
    lignes += [f"| {nom} | {valeur} |" for nom, valeur in chiffres(controle)]
    lignes += ["", "| mots par texte | exemples | |", "|---|---|---|"]
    return "\n".join([*lignes, *histogramme(controle.mesures.mots)]) + "\n"


def histogramme(mots: list[int]) -> Iterator[str]:
    """Une ligne par tranche de longueurs."""
    comptes, bornes = np.histogram(mots, TRANCHES)
    for rang, compte in enumerate(comptes):
        bas, haut = int(np.ceil(bornes[rang])), int(np.ceil(bornes[rang + 1])) - 1
        haut = int(bornes[-1]) if rang == TRANCHES - 1 else haut
        yield f"| {bas} à {haut} | {compte} | {'█' * round(BARRE * compte / max(comptes))} |"


def a_jour(texte: str, controler_le_livre: Callable[[str], Controle]) -> str:
    """Le texte de la notice, chaque tableau refait."""
    return _BLOC.sub(lambda m: m[1] + tableau(controler_le_livre(m[2])) + m[3], texte)


if __name__ == "__main__":
    lu = partial(controler, tokenizer=charger_tokenizer("falcon-poche"))
    NOTICE.write_text(a_jour(NOTICE.read_text("utf-8"), lu), "utf-8")
