"""Suivre un long calcul : une barre dans le terminal, un cadre dans le carnet."""

from __future__ import annotations

import html
import sys
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager

from IPython import get_ipython
from IPython.display import HTML, display
from tqdm import tqdm

from fabrique.socle.nombres import en_duree


def dans_un_carnet() -> bool:
    """Vrai dans Jupyter ou Colab, faux dans un terminal."""
    interprete = get_ipython()
    return interprete is not None and hasattr(interprete, "kernel")


def ecran_vivant() -> bool:
    """Vrai si une barre peut s'y redessiner : un carnet ou un terminal, pas un fichier ni un tuyau."""
    return dans_un_carnet() or sys.stderr.isatty()


@contextmanager
def sans_la_barre() -> Iterator[None]:
    """Efface la barre du terminal le temps d'imprimer, puis la redessine dessous."""
    with tqdm.external_write_mode(file=sys.stdout):
        yield


class Barre:
    """Une barre de progression qui annonce la fin dès les premiers pas.

    Dans un carnet, le cadre est une seule sortie HTML, sans widget : il reste lisible dans
    le fichier enregistré. Dans un terminal, c'est une barre tqdm sur la sortie d'erreur.
    """

    def __init__(self, total: int, titre: str, deja: int = 0) -> None:
        self.total, self.titre, self.fait, self.deja = total, titre, deja, deja
        self.depart = time.monotonic()
        self.cadre = display(HTML(self._html("")), display_id=True) if dans_un_carnet() else None
        self.barre = None
        if self.cadre is None:
            self.barre = tqdm(
                total=total,
                initial=deja,
                desc=titre,
                unit="pas",
                file=sys.stderr,
                dynamic_ncols=True,
                bar_format="{desc} {percentage:3.0f} %|{bar}| {n_fmt}/{total_fmt} "
                "[{elapsed} < {remaining}]{postfix}",
            )

    def avancer(self, fait: int, details: str = "") -> None:
        """Porte la barre à ``fait`` et montre ``details`` à côté."""
        if self.barre is not None:
            self.barre.set_postfix_str(details, refresh=False)
            self.barre.update(fait - self.fait)
        self.fait = fait
        if self.cadre is not None:
            self.cadre.update(HTML(self._html(details)))

    def finir(self) -> None:
        """Ferme la barre."""
        if self.barre is not None:
            self.barre.close()

    def _reste(self) -> str:
        faits = self.fait - self.deja
        if faits == 0 or self.fait >= self.total:
            return ""
        par_pas = (time.monotonic() - self.depart) / faits
        return f" · fin dans {en_duree(par_pas * (self.total - self.fait))}"

    def _html(self, details: str) -> str:
        texte = f"{self.titre} : {self.fait} sur {self.total}{self._reste()}"
        return (
            f'<label>{html.escape(texte)} <progress max="{self.total}" value="{self.fait}">'
            f"</progress></label> <code>{html.escape(details)}</code>"
        )


def derriere_une_barre(suite: Collection, titre: str) -> Iterator:
    """Rend les éléments un à un en montrant où l'on en est."""
    barre = Barre(len(suite), titre)
    for rang, element in enumerate(suite, 1):
        yield element
        if rang % 200 == 0 or rang == len(suite):
            barre.avancer(rang)
    barre.finir()
