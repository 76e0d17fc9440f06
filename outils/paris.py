"""Les paris des carnets, cellule par cellule : ``python -m outils.paris`` les récrit dans le guide.

Entre ``<!-- paris -->`` et ``<!-- fin -->``, le tableau de docs/animer/demi_journee.md vient des
carnets eux-mêmes ; un test vérifie qu'il est à jour.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

import nbformat

from outils import parcours
from outils.tester import RACINE

GUIDE = RACINE / "docs" / "animer" / "demi_journee.md"
_BLOC = re.compile(r"(<!-- paris -->\n).*?(<!-- fin -->)", re.DOTALL)


def appels(source: str, fonction: str) -> Iterator[str]:
    """Le premier argument de chaque appel d'une fonction, quand il est écrit tel quel."""
    for noeud in ast.walk(ast.parse(source)):
        match noeud:
            case ast.Call(func=ast.Name(id=nom), args=[ast.Constant(value=premier), *_]):
                if nom == fonction:
                    yield premier


def lignes() -> Iterator[str]:
    """Une ligne par pari : le carnet, la cellule où l'on parie, celle qui révèle, ce qu'on parie.

    Une cellule porte le numéro que montrent JupyterLab et Colab après « Tout exécuter ».
    """
    for etape in parcours.lire():
        cellules = nbformat.read(etape.fichier, as_version=4).cells
        codes = [cellule.source for cellule in cellules if cellule.cell_type == "code"]
        revelations = {
            nom: rang for rang, source in enumerate(codes, 1) for nom in appels(source, "reveler")
        }
        for rang, source in enumerate(codes, 1):
            for nom in appels(source, "parier"):
                yield f"| {etape.numero} | [{rang}] | [{revelations[nom]}] | {nom} |\n"


def a_jour(texte: str) -> str:
    """La page du guide, son tableau refait."""
    titres = "| Carnet | On parie en | On montre en | Le pari |\n|---|---|---|---|\n"
    return _BLOC.sub(lambda m: m[1] + titres + "".join(lignes()) + m[2], texte)


if __name__ == "__main__":
    GUIDE.write_text(a_jour(GUIDE.read_text("utf-8")), "utf-8")
