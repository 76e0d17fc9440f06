"""Une fiche se coupe en passages : le texte d'une rubrique, assez court pour être montré et cité.

Un passage est une tranche de sa fiche, jamais récrite : ce qu'on y cite s'y retrouve mot pour mot.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

#: La taille d'un passage, en mots : assez pour répondre, assez peu pour tenir à trois dans une
#: petite fenêtre. Une fiche plus courte fait un seul passage.
MOTS_MIN, MOTS_MAX = 60, 220
#: Une ligne plus longue se coupe entre deux phrases ; moins de MOTS_MAX − MOTS_MIN, pour qu'on
#: puisse toujours compléter un passage trop court sans dépasser.
MOTS_PAR_UNITE = 100
#: Ce qui sépare les titres emboîtés d'une rubrique.
SOUS = " › "


@dataclass(frozen=True)
class Fiche:
    """Un texte de référence, tel qu'on l'a donné à l'index.

    Args:
        id: son identifiant, unique dans l'index.
        titre: son titre.
        texte: tout son texte ; les lignes « ## … » sont ses titres de rubrique.
        source: l'adresse ou le document d'où il vient.
        page: la page de ce document, depuis 1.
        rubrique: le chapitre dont il est tiré, quand la fiche n'est qu'un morceau d'un document.
        date: la date de l'information, ISO 8601 (« 2026-11-20 »).
    """

    id: str
    titre: str
    texte: str
    source: str = ""
    page: int | None = None
    rubrique: str = ""
    date: str = ""


@dataclass(frozen=True)
class Passage:
    """Un morceau d'une fiche, mot pour mot.

    Args:
        fiche: l'identifiant de la fiche.
        titre: le titre de la fiche.
        texte: ``fiche.texte[debut : debut + len(texte)]``.
        rubrique: le chemin des titres, du plus large au plus étroit (« Démarche › En ligne »).
        source: l'adresse ou le document d'où vient la fiche.
        page: la page de ce document, depuis 1.
        date: la date de l'information, ISO 8601.
        rang: sa place dans la fiche, depuis 0.
        debut: le caractère de la fiche où il commence, depuis 0.
    """

    fiche: str
    titre: str
    texte: str
    rubrique: str = ""
    source: str = ""
    page: int | None = None
    date: str = ""
    rang: int = 0
    debut: int = 0

    @property
    def identifiant(self) -> str:
        """Ce qui le distingue dans l'index : la fiche et le rang (« fiche-carte#2 »)."""
        return f"{self.fiche}#{self.rang}"


@dataclass(frozen=True)
class Trouve(Passage):
    """Un passage trouvé, et pourquoi.

    Args:
        score: ce qui l'a classé ; ne se compare qu'entre les réponses à une même question.
        mots: le score des mots communs (BM25) ; 0 s'il n'y en a aucun.
        sens: la proximité de sens, de -1 à 1 ; 0 si l'index ne cherche que par mots.
    """

    score: float = 0.0
    mots: float = 0.0
    sens: float = 0.0


# ---------------------------------------------------------------- couper


@dataclass(frozen=True)
class Unite:
    """Ce qu'on ne coupe pas : une ligne, ou les phrases d'une ligne trop longue.

    Args:
        debut, fin: sa tranche du texte de la fiche.
        rubrique: les titres au-dessus d'elle.
        mots: les siens.
        reste: les mots du paragraphe, à partir d'elle.
        ouvre: vrai si un paragraphe commence avec elle.
    """

    debut: int
    fin: int
    rubrique: tuple[str, ...]
    mots: int
    reste: int
    ouvre: bool


def couper(fiche: Fiche) -> list[Passage]:
    """Les passages d'une fiche, dans l'ordre.

    Chaque rubrique fait un passage ; trop courte, elle s'ajoute à la suivante ; trop longue, elle se
    coupe entre deux paragraphes, à défaut entre deux phrases. Un passage a de MOTS_MIN à MOTS_MAX
    mots, sauf quand la fiche entière en a moins.
    """
    unites = list(_unites(fiche.texte)) or list(_titres_seuls(fiche.texte))
    racine = [fiche.rubrique] if fiche.rubrique else []
    return [
        Passage(
            fiche.id,
            fiche.titre,
            fiche.texte[ensemble[0].debut : ensemble[-1].fin],
            SOUS.join([*racine, *ensemble[0].rubrique]),
            fiche.source,
            fiche.page,
            fiche.date,
            rang,
            ensemble[0].debut,
        )
        for rang, ensemble in enumerate(_assembler(fiche.texte, unites))
    ]


def compter(texte: str) -> int:
    """Les mots d'un texte : ce que des blancs séparent."""
    return len(texte.split())


def une_phrase(fins: str) -> re.Pattern[str]:
    """L'expression d'une phrase : jusqu'à un signe de ``fins`` et un blanc, ou au bout de la ligne."""
    return re.compile(rf"\S.*?(?:[{fins}](?=\s)|$)", re.MULTILINE)


#: Une phrase, ou ce qu'un point-virgule y sépare.
PHRASE = une_phrase(".!?…;")
_LIGNE = re.compile(r"[^\n]*\S[^\n]*")
_TITRE = re.compile(r"\s{0,3}(#{1,6})\s+(.*?)[\s#]*")
_MOT = re.compile(r"\S+")


def _unites(texte: str) -> Iterator[Unite]:
    """Les unités d'un texte ; ses titres deviennent la rubrique de ce qui les suit."""
    titres: list[tuple[int, str]] = []
    for paragraphe in _paragraphes(texte):
        if isinstance(paragraphe, re.Match):
            niveau = len(paragraphe[1])
            titres = [t for t in titres if t[0] < niveau] + [(niveau, paragraphe[2])]
            continue
        tranches = [t for ligne in paragraphe for t in _tranches(texte, *ligne)]
        mots = [compter(texte[debut:fin]) for debut, fin in tranches]
        rubrique = tuple(titre for _, titre in titres)
        for rang, (debut, fin) in enumerate(tranches):
            yield Unite(debut, fin, rubrique, mots[rang], sum(mots[rang:]), rang == 0)


def _titres_seuls(texte: str) -> Iterator[Unite]:
    """Les unités d'un texte qui n'a que des titres : ils sont alors son contenu."""
    if texte.strip():
        for debut, fin in _tranches(texte, texte.index(texte.strip()[0]), len(texte.rstrip())):
            mots = compter(texte[debut:fin])
            yield Unite(debut, fin, (), mots, mots, True)


def _paragraphes(texte: str) -> Iterator[list[tuple[int, int]] | re.Match]:
    """Les lignes de chaque paragraphe (début, fin), et les titres entre eux."""
    lignes: list[tuple[int, int]] = []
    for ligne in _LIGNE.finditer(texte):
        titre = _TITRE.fullmatch(ligne[0])
        saut = lignes and texte.count("\n", lignes[-1][1], ligne.start()) > 1
        if lignes and (titre or saut):
            yield lignes
            lignes = []
        if titre:
            yield titre
        else:
            blancs = len(ligne[0]) - len(ligne[0].lstrip())
            lignes.append((ligne.start() + blancs, ligne.start() + len(ligne[0].rstrip())))
    if lignes:
        yield lignes


def _tranches(texte: str, debut: int, fin: int) -> Iterator[tuple[int, int]]:
    """La ligne ; ou ses phrases, puis ses mots par paquets, si elle est trop longue."""
    if compter(texte[debut:fin]) <= MOTS_PAR_UNITE:
        yield debut, fin
        return
    for phrase in PHRASE.finditer(texte, debut, fin):
        mots = [(mot.start(), mot.end()) for mot in _MOT.finditer(texte, *phrase.span())]
        for rang in range(0, len(mots), MOTS_PAR_UNITE):
            paquet = mots[rang : rang + MOTS_PAR_UNITE]
            yield paquet[0][0], paquet[-1][1]


def _assembler(texte: str, unites: list[Unite]) -> list[list[Unite]]:
    """Les unités de chaque passage."""
    passages: list[list[Unite]] = []
    for unite in unites:
        if passages and not _finit(texte, passages[-1], unite):
            passages[-1].append(unite)
        else:
            passages.append([unite])
    if len(passages) > 1 and _mots(texte, passages[-1]) < MOTS_MIN:
        passages[-2:] = _rejoindre(texte, passages[-2] + passages[-1])
    return passages


def _finit(texte: str, passage: list[Unite], suite: Unite) -> bool:
    """Vrai si le passage s'arrête avant l'unité qui suit."""
    deja = _mots(texte, passage)
    if _mots(texte, [*passage, suite]) > MOTS_MAX:
        return True
    if deja < MOTS_MIN:
        return False
    autre = suite.rubrique != passage[-1].rubrique
    return autre or (suite.ouvre and suite.reste <= MOTS_MAX < deja + suite.reste)


def _rejoindre(texte: str, unites: list[Unite]) -> list[list[Unite]]:
    """Un passage, ou deux aussi égaux que possible."""
    if _mots(texte, unites) <= MOTS_MAX:
        return [unites]
    coupes = [[unites[:rang], unites[rang:]] for rang in range(1, len(unites))]
    return min(coupes, key=lambda moities: max(_mots(texte, moitie) for moitie in moities))


def _mots(texte: str, unites: list[Unite]) -> int:
    """Les mots de la tranche, titres compris quand elle en traverse."""
    return compter(texte[unites[0].debut : unites[-1].fin])
