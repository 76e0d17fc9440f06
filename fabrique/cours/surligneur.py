"""Le surligneur : une fiche aux phrases numérotées, puis la même, ce qui répond surligné."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass

from IPython.display import HTML, display

from fabrique.corpus.sourcees import passages_de
from fabrique.recherche.citations import controler_reponse, est_mot_pour_mot, situer
from fabrique.recherche.index import Index
from fabrique.recherche.passages import Fiche
from fabrique.socle.emplacements import dossier_data
from fabrique.socle.erreurs import ErreurFabrique
from fabrique.socle.figures import JAUNE, SUR_BLANC

#: De combien à combien de phrases une fiche fait chercher sans tenir plus d'un écran.
PHRASES_MIN, PHRASES_MAX = 8, 16
#: Un mot et celui qui prend sa place dans une fausse citation, les plus trompeurs d'abord.
PRESQUE = (
    ("avant", "après"),
    ("doit", "peut"),
    ("peut", "doit"),
    ("tous", "certains"),
    ("deux", "trois"),
    ("trois", "quatre"),
    ("cinq", "six"),
    ("six", "sept"),
    ("dix", "douze"),
    ("quinze", "vingt"),
    ("mois", "semaines"),
    ("ans", "mois"),
    ("ou", "et"),
    ("et", "ou"),
    ("la", "une"),
    ("le", "un"),
    ("les", "des"),
    ("des", "les"),
)
_TITRE = re.compile(r"#+\s*")
_ENTRE_PHRASES = re.compile(r"(?<=[.!?…])\s+")


@dataclass(frozen=True)
class ATrouver:
    """Une question, la fiche qui y répond, et la citation à y trouver.

    Args:
        numero: celui de la phrase qui porte la citation, depuis 1.
    """

    question: str
    fiche: Fiche
    citation: str
    numero: int


@dataclass(frozen=True)
class Falsifiee:
    """Une citation dont un seul mot a changé : ``vrai`` y est devenu ``faux``."""

    citation: str
    vrai: str
    faux: str


def falsifier(citation: str) -> Falsifiee:
    """La même citation, un mot changé ; à défaut d'un mot qui trompe, le dernier est retiré."""
    for vrai, faux in PRESQUE:
        changee, fois = re.subn(rf"\b{vrai}\b(?!-)", faux, citation, count=1)
        if fois:
            return Falsifiee(changee, vrai, faux)
    debut, _, dernier = citation.rpartition(" ")
    return Falsifiee(f"{debut} …", dernier, "…")


def phrases(texte: str) -> list[str]:
    """Les phrases d'une fiche, dans l'ordre ; ses titres de rubrique n'en sont pas."""
    lignes = [ligne for ligne in texte.splitlines() if ligne.strip() and not _TITRE.match(ligne)]
    return [phrase for ligne in lignes for phrase in _ENTRE_PHRASES.split(ligne.strip())]


def a_trouver(index: Index, *jeux: str) -> Iterator[ATrouver]:
    """Les questions du corpus *sources* dont la réponse tient dans une phrase d'une fiche assez longue.

    Args:
        index: celui des fiches livrées.
        jeux: « entrainement », « validation », « test ».
    """
    with (dossier_data() / "sources.jsonl").open(encoding="utf-8") as lignes:
        exemples = [json.loads(ligne) for ligne in lignes]
    for exemple in exemples:
        citations = controler_reponse(exemple["reponse"], []).citations
        if exemple["jeu"] not in jeux or len(citations) != 1 or citations[0].rang is None:
            continue
        citation = citations[0].texte
        fiche = index.fiche(passages_de(exemple)[citations[0].rang - 1]["fiche"])
        siennes = phrases(fiche.texte)
        numeros = [n for n, dite in enumerate(siennes, 1) if est_mot_pour_mot(citation, dite)]
        if len(numeros) == 1 and PHRASES_MIN <= len(siennes) <= PHRASES_MAX:
            yield ATrouver(exemple["question"], fiche, citation, numeros[0])


def montrer_phrases(fiche: Fiche) -> None:
    """Affiche une fiche, ses phrases numérotées dans l'ordre."""
    numero, corps = 0, []
    for ligne in filter(str.strip, fiche.texte.splitlines()):
        if rubrique := _rubrique(html.escape(ligne)):
            corps.append(rubrique)
            continue
        numerotees = []
        for phrase in phrases(ligne):
            numero += 1
            numerotees.append(f"<strong>({numero})</strong>\u00a0{html.escape(phrase)}")
        corps.append(" ".join(numerotees))
    _afficher(fiche.titre, corps)


def surligner(titre: str, texte: str, citation: str) -> None:
    """Affiche un texte, la citation surlignée.

    Raises:
        ErreurFabrique: la citation n'est pas mot pour mot dans le texte.
    """
    place = situer(citation, texte)
    if place is None:
        raise ErreurFabrique(
            f"« {citation} » n’est pas mot pour mot dans ce texte", "Recopiez-la du texte"
        )
    debut, fin = place
    marque = f'<mark style="background:{JAUNE};color:#000">{html.escape(texte[debut:fin])}</mark>'
    entier = f"{html.escape(texte[:debut])}{marque}{html.escape(texte[fin:])}"
    _afficher(
        titre, [_rubrique(ligne) or ligne for ligne in filter(str.strip, entier.splitlines())]
    )


def _rubrique(ligne: str) -> str:
    """Un titre de rubrique, en gras ; rien si la ligne n'en est pas un."""
    return f"<strong>{_TITRE.sub('', ligne, count=1)}</strong>" if _TITRE.match(ligne) else ""


def _afficher(titre: str, paragraphes: list[str]) -> None:
    """Un encadré blanc, lisible sous un thème sombre ; les paragraphes sont déjà du HTML."""
    corps = "".join(f"<p>{paragraphe}</p>" for paragraphe in paragraphes)
    display(
        HTML(
            f'<div style="{SUR_BLANC};padding:8px 12px;max-width:820px">'
            f"<p><strong>{html.escape(titre)}</strong></p>{corps}</div>"
        )
    )
