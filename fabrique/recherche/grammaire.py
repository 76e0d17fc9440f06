"""La grammaire d'une réponse qui cite : entre guillemets, rien qui ne soit dans un passage montré.

Le modèle choisit le passage, l'endroit et la longueur ; il ne peut pas changer un mot. Ce qu'un
passage ordonne (« ignorez ce qui précède ») n'y peut rien : la grammaire ne lit pas les ordres.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from fabrique.recherche.citations import MOT

#: Ce qu'une citation ne traverse pas : une fin de ligne, des guillemets, un renvoi, le nom d'un jeton
#: spécial (« <|fin|> »), qu'un modèle n'écrit pas lettre à lettre.
_COUPURE = re.compile(r"\n+|[«»“”\"]|\[\d+\]|<\|[^|>\n]*\|>")
#: Un titre de rubrique n'est pas une preuve ; le tiret d'une liste n'est pas un mot.
_TITRE, _TIRET = re.compile(r"\s{0,3}#"), re.compile(r"^\s*[-*•]\s+")
#: Un mot, ou l'unité qui finit un nombre.
_MOT = re.compile(rf"{MOT.pattern}|[%€°]", re.IGNORECASE)
#: Ce qui sépare deux propositions : où commence et où finit la citation d'un petit modèle.
_PAUSE = re.compile(r"[.!?…;:,()]")
#: Ce qui aurait un sens dans une expression régulière.
_SPECIAUX = re.compile(r"[\\.+*?()|\[\]{}^$/]")
#: Les mots d'une citation : assez pour dire quelque chose, assez peu pour se lire d'un coup d'œil.
MOTS_MIN, MOTS_MAX = 4, 30
#: Les caractères d'un texte libre, avant, entre ou après les citations.
LIBRE = 160
#: Ce qui n'entre pas dans un texte libre : il ne peut ni citer, ni renvoyer.
_INTERDITS = r"[^«»“”\"\[\]\n]"
#: Ce qu'écrit un petit modèle qui ne trouve pas sa réponse dans les passages : « Le passage… ».
_SANS_REPONSE = rf"/(Les?|Aucune?|Je) {_INTERDITS}{{1,{LIBRE}}}\./"


@dataclass(frozen=True)
class Mot:
    """Un mot qui peut se citer.

    Args:
        texte: ses lettres.
        avant: ce qui le sépare du précédent ; vide pour le premier de son bout.
        ouvre: vrai si une proposition commence par lui.
        ferme: vrai si une proposition finit par lui.
    """

    texte: str
    avant: str
    ouvre: bool
    ferme: bool


def grammaire_de(
    passages: Sequence[str],
    *,
    texte_libre: bool = False,
    par_phrases: bool = False,
    abstention: bool = False,
    mots_min: int = MOTS_MIN,
    mots_max: int = MOTS_MAX,
) -> str:
    """La grammaire des réponses qui citent ces passages, dans le langage de Lark.

    Args:
        passages: les textes montrés, dans l'ordre de leurs rangs.
        texte_libre: permet une ou deux citations, qui commencent à n'importe quel mot, et du texte
            autour d'elles. Sinon, la réponse n'est que des citations, faites de propositions entières.
        par_phrases: les passages viennent phrase par phrase, une par ligne (``les_plus_proches``). La
            réponse en cite une de chacun, dans l'ordre, entière ou, trop longue, jusqu'à sa dernière
            proposition qui tienne ; sinon, un seul passage, au choix du modèle.
        abstention: permet aussi une réponse sans citation, qui dit que les passages ne répondent
            pas. Toujours permise quand rien ne peut être cité, ou quand le texte est libre.
        mots_min, mots_max: la longueur d'une citation, en mots ; une ligne plus courte que
            ``mots_min`` se cite entière.

    Returns:
        Une grammaire que suit ``SelonGrammaire``.
    """
    regles, citations = [], []
    for rang, passage in enumerate(passages, 1):
        lus = [bout for bout in map(_mots, bouts(passage)) if len(bout) > 1]
        if par_phrases:
            suites = [_entiere(bout, mots_min, mots_max) for bout in lus]
        else:
            suites = [s for bout in lus for s in _suites(bout, texte_libre, mots_min, mots_max)]
        if suites:
            regles.append(f"CITE_{rang}: {' | '.join(suites)}")
            citations.append(f'"«\u00a0" CITE_{rang} "\u00a0» [{rang}]"')
    if citations:
        reunies = (' ". " ' if par_phrases else " | ").join(citations)
        regles.append(f"CITATION: {reunies}")
    # Un seul terminal pour toute la réponse : entre deux, l'analyseur devrait deviner, au milieu
    # d'un signe de plusieurs octets, où finit le texte libre.
    formes = _formes(texte_libre, abstention, bool(citations))
    return "\n".join(["start: REPONSE", f"REPONSE: {' | '.join(formes)}", *regles])


def _formes(texte_libre: bool, abstention: bool, citable: bool) -> list[str]:
    """Les formes que peut prendre une réponse."""
    if texte_libre:
        libre = f"/{_INTERDITS}{{1,{LIBRE}}}/"
        return [f"{libre}? CITATION ({libre} CITATION)? {libre}?", libre] if citable else [libre]
    if not citable:
        return [_SANS_REPONSE]
    return ['CITATION "."', _SANS_REPONSE] if abstention else ['CITATION "."']


def bouts(passage: str) -> Iterator[str]:
    """Ce qui peut se citer d'un passage : ses lignes, hors titres, entre ses propres guillemets."""
    for ligne in passage.splitlines():
        if not _TITRE.match(ligne):
            yield from filter(None, map(str.strip, _COUPURE.split(_TIRET.sub("", ligne))))


def _mots(bout: str) -> list[Mot]:
    """Les mots d'un bout de ligne, et ce qui les sépare."""
    trouves = list(_MOT.finditer(bout))
    bords = [0, *(m.end() for m in trouves)]
    apres = [*(m.start() for m in trouves[1:]), len(bout)]
    lus = []
    for rang, mot in enumerate(trouves):
        avant, suite = bout[bords[rang] : mot.start()], bout[mot.end() : apres[rang]]
        premier, dernier = rang == 0, rang == len(trouves) - 1
        lus.append(
            Mot(
                mot[0],
                "" if premier else avant,
                premier or bool(_PAUSE.search(avant)),
                dernier or bool(_PAUSE.search(suite)),
            )
        )
    return lus


def _suites(mots: list[Mot], partout: bool, mots_min: int, mots_max: int) -> Iterator[str]:
    """Pour chaque mot où une citation peut commencer, ce qu'elle peut dire.

    Les longueurs s'écrivent une à une, en parenthèses emboîtées : « a b (c (d)?)? ». Un motif qui les
    compterait laisserait le modèle s'engager dans une suite que rien ne peut plus finir.

    Args:
        partout: permet de commencer et de finir à n'importe quel mot, et non à une proposition.
    """
    for debut, premier in enumerate(mots):
        if not (partout or premier.ouvre):
            continue
        reste = mots[debut : debut + mots_max]
        fins = {
            rang
            for rang, mot in enumerate(reste, 1)
            if rang >= min(mots_min, len(mots)) and (partout or mot.ferme)
        }
        if fins or debut == 0:
            # Une proposition plus longue que mots_max s'arrête là.
            yield _emboiter(reste, fins or {len(reste)})


def _entiere(mots: list[Mot], mots_min: int, mots_max: int) -> str:
    """Le motif d'une phrase entière ; trop longue, elle s'arrête à une fin de proposition."""
    courte = min(mots_min, len(mots))
    fins = [rang for rang, mot in enumerate(mots, 1) if courte <= rang <= mots_max and mot.ferme]
    return _emboiter(mots, {fins[-1] if fins else mots_max})


def _emboiter(mots: list[Mot], fins: set[int]) -> str:
    """Le motif de ces mots, dont chaque fin possible ferme la citation."""
    motif, ouvertes = _lettres(mots[0].texte), 0
    for rang, mot in enumerate(mots[1 : max(fins)], 1):
        if rang in fins:
            motif += "("
            ouvertes += 1
        motif += _lettres(mot.avant + mot.texte)
    return f"/{motif}{')?' * ouvertes}/"


def _lettres(texte: str) -> str:
    """Le motif qui ne reconnaît que ce texte, entre les barres d'une expression régulière de Lark."""
    return _SPECIAUX.sub(r"\\\g<0>", texte)
