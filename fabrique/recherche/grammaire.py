"""La grammaire d'une réponse qui cite : entre guillemets, rien qui ne soit dans un passage montré.

Le modèle choisit le passage, l'endroit et la longueur ; il ne peut pas changer un mot. Ce qu'un
passage ordonne (« ignorez ce qui précède ») n'y peut rien : la grammaire ne lit pas les ordres.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence

from fabrique.recherche.citations import MOT

#: Ce qu'une citation ne traverse pas : une fin de ligne, des guillemets, un renvoi.
_COUPURE = re.compile(r"\n+|[«»“”\"]|\[\d+\]")
#: Un titre de rubrique n'est pas une preuve ; le tiret d'une liste n'est pas un mot.
_TITRE, _TIRET = re.compile(r"\s{0,3}#"), re.compile(r"^\s*[-*•]\s+")
_SIGNE = re.compile(r"\s+|.", re.DOTALL)
#: Les mots d'une citation : assez pour dire quelque chose, assez peu pour se lire d'un coup d'œil.
MOTS_MIN, MOTS_MAX = 2, 30
#: Les caractères d'un texte libre, avant, entre ou après les citations.
LIBRE = 160
#: Ce qui n'entre pas dans un texte libre : il ne peut ni citer, ni renvoyer.
_INTERDITS = r"[^«»“”\"\[\]\n]"
#: Ce qu'écrit un petit modèle qui ne trouve pas sa réponse dans les passages : « Le passage… ».
_SANS_REPONSE = rf"/(Les?|Aucune?|Je) {_INTERDITS}{{1,{LIBRE}}}\./"


def grammaire_de(
    passages: Sequence[str],
    *,
    texte_libre: bool = False,
    abstention: bool = False,
    mots_max: int = MOTS_MAX,
) -> str:
    """La grammaire des réponses qui citent ces passages, dans le langage de Lark.

    Args:
        passages: les textes montrés, dans l'ordre de leurs rangs.
        texte_libre: permet une ou deux citations, et des mots autour d'elles. Sinon, une seule
            citation, que seul « Oui » ou « Non » peut précéder.
        abstention: permet aussi une réponse sans citation, qui dit que les passages ne répondent
            pas. Toujours permise quand rien ne peut être cité, ou quand le texte est libre.
        mots_max: la longueur d'une citation, en mots.

    Returns:
        Une grammaire que suit ``SelonGrammaire``.
    """
    regles, citations = [], []
    for rang, passage in enumerate(passages, 1):
        citables = [bout for bout in _bouts(passage) if len(MOT.findall(bout)) >= MOTS_MIN]
        for numero, bout in enumerate(citables):
            mots = json.dumps(morceaux(bout), ensure_ascii=False)
            regles.append(f'BOUT_{rang}_{numero}: %regex {{"substring_chunks": {mots}}}')
        if citables:
            bouts = " | ".join(f"BOUT_{rang}_{numero}" for numero in range(len(citables)))
            regles.append(f"CITE_{rang}: ({bouts}) & {_longueur(mots_max)}")
            citations.append(f'"«\u00a0" CITE_{rang} "\u00a0» [{rang}]"')
    if citations:
        regles.append(f"CITATION: {' | '.join(citations)}")
    # Un seul terminal pour toute la réponse : entre deux, l'analyseur devrait deviner, au milieu
    # d'un signe de plusieurs octets, où finit le texte libre.
    formes = _formes(texte_libre, abstention, bool(citations))
    return "\n".join(["start: REPONSE", f"REPONSE: {' | '.join(formes)}", *regles])


def _formes(texte_libre: bool, abstention: bool, citable: bool) -> list[str]:
    """Les formes que peut prendre une réponse."""
    if texte_libre:
        libre = f"/{_INTERDITS}{{1,{LIBRE}}}/"
        cite = f"{libre}? CITATION ({libre} CITATION)? {libre}?"
        return [cite, libre] if citable else [libre]
    if not citable:
        return [_SANS_REPONSE]
    cite = '/((Oui|Non)\u00a0: )?/ CITATION "."'
    return [cite, _SANS_REPONSE] if abstention else [cite]


def _longueur(mots_max: int) -> str:
    """Le motif d'une suite de mots : elle commence et finit par un signe qui se lit."""
    return rf"/[\w(]\S*(\s\S+){{{MOTS_MIN - 1},{mots_max - 1}}}/ & /(.|\n)*[\w)%€°]/"


def _bouts(passage: str) -> Iterator[str]:
    """Ce qui peut se citer d'un passage : ses lignes, hors titres, entre ses propres guillemets."""
    for ligne in passage.splitlines():
        if not _TITRE.match(ligne):
            yield from filter(None, map(str.strip, _COUPURE.split(_TIRET.sub("", ligne))))


def morceaux(texte: str) -> list[str]:
    """Un texte en morceaux insécables : chaque mot entier, puis chaque signe ou suite de blancs."""
    coupes, fin = [], 0
    for mot in MOT.finditer(texte):
        coupes += [*_SIGNE.findall(texte[fin : mot.start()]), mot[0]]
        fin = mot.end()
    return coupes + _SIGNE.findall(texte[fin:])
