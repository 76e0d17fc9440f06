"""Tuer l'écriture d'un index à chaque instant délicat (lancé par test_recherche).

Un seul processus importe tout, puis se dédouble : l'enfant écrit et se fait tuer par -9.

    python tests/meurtres_index.py DOSSIER
"""

import json
import os
import shutil
import signal
import sys
from pathlib import Path

from fabrique.recherche import ecriture
from fabrique.recherche.index import Index
from fabrique.recherche.mots import Mots
from fabrique.recherche.passages import Fiche


def mourir(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)


def au_milieu_du_contenu():
    """Meurt quand les tableaux sont écrits, et pas encore les mots."""
    Mots.enregistrer = mourir


def avant_de_relire():
    """Meurt quand tout est écrit, et rien n'est relu."""
    Index._verifier = mourir


def avant_de_changer_le_sommaire():
    """Meurt quand le nouveau contenu est relu, et l'ancien encore désigné."""
    noter = ecriture._noter
    ecriture._noter = lambda d, contenu, a_retirer: (
        mourir() if (d / contenu / "mots").is_dir() and "neuf" in a_lire(d / contenu) else None,
        noter(d, contenu, a_retirer),
    )


def en_retirant_l_ancien():
    """Meurt quand le nouveau est désigné, et l'ancien à moitié effacé."""

    def tuer(dossier, **_):
        next(Path(dossier).iterdir()).unlink()
        mourir()

    shutil.rmtree = tuer


def a_lire(contenu):
    return [Index._relire(contenu)._fiche(0).id]


MORTS = (
    au_milieu_du_contenu,
    avant_de_relire,
    avant_de_changer_le_sommaire,
    en_retirant_l_ancien,
)


def fiches(nom):
    return [Fiche(nom, "Un kiosque à musique", "Le kiosque du parc se loue à la journée.")]


def tuer(preparer, dossier):
    """Écrit dans un enfant qui meurt ; rend son code."""
    enfant = os.fork()
    if enfant == 0:
        try:
            neuf = Index.depuis(fiches("neuf"), sens="aucun")
            preparer()
            neuf.enregistrer(dossier)
            os._exit(0)
        except BaseException as erreur:
            print(repr(erreur), file=sys.stderr, flush=True)
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(enfant, 0)[1])


def main():
    vus = {}
    for mort in MORTS:
        dossier = Path(sys.argv[1]) / mort.__name__
        vus[mort.__name__] = vu = {"premiere": tuer(mort, dossier)}
        ancien = Index.depuis(fiches("ancien"), sens="aucun")
        ancien.enregistrer(dossier)
        vu["code"] = tuer(mort, dossier)
        vu["repond"] = [p.fiche for p in Index.lire(dossier).chercher("kiosque")]
        ancien.enregistrer(dossier)
        vu["apres"] = sorted(p.name.split("-")[0] for p in dossier.iterdir())
    print(json.dumps(vus))


if __name__ == "__main__":
    main()
