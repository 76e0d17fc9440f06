"""Le rapport de contrôle, pour le terminal, pour un carnet, et en une page à transmettre."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from fabrique.corpus.constats import ERREUR, Constat, Controle
from fabrique.socle.figures import BLEU, VERT, en_image, nouvelle_figure
from fabrique.socle.nombres import accorder, en_francais, en_pourcent
from fabrique.socle.page import composer

#: Constats montrés par règle, à l'écran ; le JSON et la page les ont tous.
MONTRES = 3


def resumer(controle: Controle) -> str:
    """Le rapport en texte : les comptes, puis les premiers constats de chaque règle."""
    lignes = [
        f"{controle.fichier} : {controle.exemples} exemples ({controle.forme}), {_etat(controle)}",
        *(f"  {nom} : {valeur}" for nom, valeur in chiffres(controle)),
    ]
    for regle, constats in par_regle(controle).items():
        signe = "✗" if constats[0].gravite == ERREUR else "!"
        lignes.append(f"{signe} {regle} ({constats[0].gravite}) : {len(constats)}")
        lignes += [f"    {_phrase(constat)}" for constat in constats[:MONTRES]]
        if len(constats) > MONTRES:
            reste = accorder(len(constats) - MONTRES, "autre")
            lignes.append(f"    … et {reste} : ajoutez --json ou --html")
    if not controle.constats:
        lignes.append("Rien à corriger.")
    return "\n".join(lignes)


def par_regle(controle: Controle) -> dict[str, list[Constat]]:
    """Les constats groupés par règle : les erreurs d'abord, les plus nombreuses en tête."""
    comptes = Counter((c.gravite != ERREUR, c.regle) for c in controle.constats)
    ordre = sorted(comptes, key=lambda cle: (cle[0], -comptes[cle], cle[1]))
    return {regle: [c for c in controle.constats if c.regle == regle] for _, regle in ordre}


def chiffres(controle: Controle) -> Iterator[tuple[str, str]]:
    """Les mesures en clair, une par ligne."""
    mesures = controle.mesures
    if mesures.jeux:
        yield "jeux", ", ".join(f"{nom} {nombre}" for nom, nombre in mesures.jeux.items())
    if mesures.categories:
        plus = max(mesures.categories.values()) / controle.exemples
        nombre = len(mesures.categories)
        yield "catégories", f"{nombre}, la plus grande fait {en_pourcent(plus, 1)}"
    if mesures.avec_contexte:
        yield "avec un texte joint", en_pourcent(mesures.avec_contexte / controle.exemples, 1)
    yield "mots par réponse", _etendue(mesures.mots)
    if any(mesures.jetons):
        yield "jetons par exemple", _etendue(mesures.jetons)
    yield "suites de quatre mots distinctes", en_pourcent(mesures.suites_distinctes, 1)
    if mesures.jaccard_max is not None:
        proche = en_francais(mesures.jaccard_max, 2) if mesures.jaccard_max else "sous 0,70"
        yield "plus forte ressemblance (Jaccard)", proche


def _etendue(valeurs: list[int]) -> str:
    bas, milieu, haut = np.percentile(valeurs, [0, 50, 100]).astype(int)
    return f"{bas} à {haut}, médiane {milieu}"


def _phrase(constat: Constat) -> str:
    lieux = [f"ligne {constat.ligne}"] if constat.ligne else []
    lieux += [f"champ « {constat.champ} »"] if constat.champ else []
    extrait = f" — « {constat.extrait} »" if constat.extrait else ""
    return f"{', '.join(lieux) or 'fichier'} : {constat.message}{extrait}"


# ---------------------------------------------------------------- la page


def _etat(controle: Controle) -> str:
    erreurs, alertes = len(controle.erreurs), len(controle.alertes)
    return f"{accorder(erreurs, 'erreur')}, {accorder(alertes, 'alerte')}."


def en_page(controle: Controle) -> str:
    """Le rapport en une page HTML autonome : comptes, histogrammes, tous les constats."""
    return composer(
        "corpus/controle.html",
        f"Contrôle de {Path(controle.fichier).name}",
        controle=controle,
        etat=_etat(controle),
        mesures=list(chiffres(controle)),
        histogrammes=_histogrammes(controle),
        categories=list(controle.mesures.categories.items()),
        constats=[
            (c.gravite, c.regle, c.ligne or "", c.champ or "", c.extrait, c.message)
            for c in controle.constats
        ],
    )


def _histogrammes(controle: Controle) -> Iterator[tuple[str, str]]:
    """Les longueurs, nommées, en images avec leur texte alternatif."""
    mesures = controle.mesures
    for nom, valeurs, couleur in (
        ("Mots par réponse", mesures.mots, BLEU),
        ("Jetons par exemple", mesures.jetons, VERT),
    ):
        if any(valeurs):
            figure = histogramme(nom, valeurs, couleur)
            yield nom, en_image(figure, f"{nom} : {_etendue(valeurs)}")


def histogramme(nom: str, valeurs: list[int], couleur: str = BLEU) -> Figure:
    """La répartition des longueurs, du plus court au 99ᵉ centile."""
    milieu = int(np.median(valeurs))
    figure, axe = nouvelle_figure(f"{nom} : la moitié des exemples en a moins de {milieu}")
    haut = max(1, int(np.percentile(valeurs, 99)))
    axe.hist(np.clip(valeurs, 0, haut), bins=min(40, haut), color=couleur)
    axe.set_xlabel(nom.lower())
    axe.set_ylabel("exemples")
    return figure
