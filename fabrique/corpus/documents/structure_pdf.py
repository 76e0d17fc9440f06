"""Des lignes aux blocs : titres, paragraphes rejoints, listes, notes.

Un titre se reconnaît à sa taille, à sa graisse, à sa numérotation ; jamais à une seule de ces marques
quand une phrase ordinaire peut la porter.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from statistics import median

from fabrique.corpus.documents.blocs import (
    LISTE,
    NOTE,
    PARAGRAPHE,
    TABLEAU,
    TITRE,
    Bloc,
    Retrait,
    aerer,
    reunir,
    tableau,
)
from fabrique.corpus.documents.cesures import TRAITS, Lexique, reunir_les_lignes
from fabrique.corpus.documents.mots_pdf import Trait

#: Un titre est plus grand que le corps d'au moins tant ; une note, plus petite.
PLUS_GRAND, PLUS_PETIT = 1.12, 0.92
#: Un titre a au plus tant de signes.
TITRE_MAX = 200
#: Au-delà de tant d'interlignes, un paragraphe est fini.
INTERLIGNE_MAX = 1.22

#: Les puces, et celles des polices de symboles (Wingdings, Symbol), de la zone privée d'Unicode.
_PUCE = re.compile(r"(?:[•●▪■◦○◆➢✓✔❖►▶→‣∙·\uf0b7\uf0a7\uf0d8\uf0fc\uf076\uf02d]|[–—*-](?=\s))\s*")
_NUMERO = re.compile(r"(?:\(?\d{1,3}[.)°]|\(?[a-z]\)|[ivx]{1,4}\))\s+")
_NOMME = re.compile(
    r"(?:article|titre|chapitre|section|annexe|partie|livre|fiche|étape)\s+"
    r"(?:\d|[ivxlc]+\b|[a-z]\b|premi|uniq|préli)",
    re.IGNORECASE,
)
_ETAGE = re.compile(r"(\d{1,2}(?:\.\d{1,2}){1,4})[.)]?\s+\S")
_CHIFFRE = re.compile(r"(?:\d{1,2}|[IVX]{1,5}|[A-Z])\s?[.)–-]+\s?\S")
_APPEL = re.compile(r"(?:\(?\d{1,3}\)?|[⁰¹²³⁴⁵⁶⁷⁸⁹]{1,3}|[*†‡]{1,3})[.]?\s*(?=\S)")
_FINIE = re.compile(r"[.!?…:;][»”\")\]\s⁰¹²³⁴⁵⁶⁷⁸⁹]*$")


@dataclass(frozen=True)
class Allure:
    """L'ordinaire d'un document : la taille du corps, sa graisse, son interligne (en points)."""

    taille: float
    gras: bool
    interligne: float

    @classmethod
    def de(cls, pages: Iterable[Sequence[Trait]]) -> Allure:
        """L'allure la plus fréquente, pesée par le nombre de lettres."""
        poids: Counter[tuple[float, bool]] = Counter()
        ecarts: list[float] = []
        for traits in pages:
            for trait in traits:
                poids[trait.taille, trait.gras] += len(trait.texte)
            ecarts += [
                suite.bas - trait.bas
                for trait, suite in pairwise(traits)
                if 0 < suite.bas - trait.bas < 3 * trait.taille and suite.taille == trait.taille
            ]
        if not poids:
            return cls(10.0, False, 12.0)
        (taille, gras), _ = poids.most_common(1)[0]
        return cls(taille, gras, median(ecarts) if ecarts else 1.2 * taille)


@dataclass
class Ebauche:
    """Un bloc en cours : son genre, ses lignes, et son tableau s'il en est un."""

    genre: str
    traits: list[Trait] = field(default_factory=list)
    tableau: Bloc | None = None

    @property
    def dernier(self) -> Trait:
        return self.traits[-1]


def en_blocs(
    pages: Sequence[list[Trait]], tableaux: dict[str, Bloc], reparer: bool, noter: bool
) -> tuple[list[Bloc], list[Retrait]]:
    """Les blocs d'un document, dans l'ordre, et les coupures réparées.

    Args:
        pages: les lignes de chaque page, dans l'ordre de lecture, sans les titres courants.
        tableaux: les tableaux, par le repère qui tient leur place parmi les lignes.
        reparer: recolle les mots coupés.
        noter: met les notes à part, après les blocs de leur page.
    """
    allure = Allure.de([[t for t in traits if not t.tient_un_tableau] for traits in pages])
    ebauches: list[Ebauche] = []
    for traits in pages:
        corps, notes = _separer_les_notes(traits, allure) if noter else (traits, [])
        for trait in corps:
            _ajouter(ebauches, trait, corps, allure, tableaux)
        for trait in notes:
            suite = ebauches and ebauches[-1].genre == NOTE and not _APPEL.match(trait.texte)
            if suite:
                ebauches[-1].traits.append(trait)
            else:
                ebauches.append(Ebauche(NOTE, [trait]))
    ebauches = _rejoindre(ebauches)
    lexique = Lexique.de(t.texte for traits in pages for t in traits) if reparer else None
    retraits: list[Retrait] = []
    niveaux = _niveaux(ebauches)
    blocs = [_bloc(ebauche, lexique, niveaux, retraits) for ebauche in ebauches]
    return _fondre_les_tableaux([bloc for bloc in blocs if bloc.texte]), retraits


# ---------------------------------------------------------------- les notes


def _separer_les_notes(traits: list[Trait], allure: Allure) -> tuple[list[Trait], list[Trait]]:
    """Les lignes du corps, et celles des notes : petites, en bas, précédées d'un appel."""
    notes: set[int] = set()
    par_colonne: dict[tuple[int, int], list[Trait]] = {}
    for trait in traits:
        par_colonne.setdefault((round(trait.gauche), round(trait.droite)), []).append(trait)
    for colonne in par_colonne.values():
        petites: list[Trait] = []
        for trait in sorted(colonne, key=lambda t: -t.haut):
            if trait.tient_un_tableau or trait.taille > PLUS_PETIT * allure.taille:
                break
            petites.append(trait)
        while petites and not _APPEL.match(petites[-1].texte):
            petites.pop()
        if len(petites) < len(colonne) or len(par_colonne) > 1:
            notes.update(map(id, petites))
    return [t for t in traits if id(t) not in notes], [t for t in traits if id(t) in notes]


# ---------------------------------------------------------------- une ligne de plus


def _ajouter(
    ebauches: list[Ebauche],
    trait: Trait,
    page: list[Trait],
    allure: Allure,
    tableaux: dict[str, Bloc],
) -> None:
    """Met une ligne à la suite du bloc en cours, ou en commence un."""
    if trait.tient_un_tableau:
        ebauches.append(Ebauche(TABLEAU, [trait], tableaux[trait.texte]))
        return
    genre = _genre(trait, page, allure)
    dernier = ebauches[-1] if ebauches else None
    if dernier and _continue(dernier, trait, genre, allure):
        dernier.traits.append(trait)
    else:
        ebauches.append(Ebauche(genre, [trait]))


def _genre(trait: Trait, page: list[Trait], allure: Allure) -> str:
    if _est_titre(trait, page, allure):
        return TITRE
    if _PUCE.match(trait.texte) or _NUMERO.match(trait.texte):
        return LISTE
    return PARAGRAPHE


def _est_titre(trait: Trait, page: list[Trait], allure: Allure) -> bool:
    texte = trait.texte
    if len(texte) > TITRE_MAX or sum(s.isalpha() for s in texte) < 3 or _PUCE.match(texte):
        return False
    numerote = _numerote(texte)
    if trait.taille >= PLUS_GRAND * allure.taille:
        return numerote or texte[-1:] not in ",;"
    if trait.taille < 0.95 * allure.taille or (texte[-1:] in ".,;" and not numerote):
        return False
    if trait.gras and not allure.gras:
        return True
    seul = _est_seul(trait, page, allure)
    court = trait.x1 < trait.droite - 2 * trait.taille
    if _NOMME.match(texte) or _ETAGE.match(texte):
        return seul and court and texte[-1:] not in ".,;"
    if texte.isupper() and len(texte) > 5:
        return seul and court
    return bool(_CHIFFRE.match(texte)) and seul and court and texte[-1:] not in ".,;:"


def _numerote(texte: str) -> bool:
    """Vrai si une ligne commence comme un titre numéroté : « Article 3 », « 2.1 … », « IV. … »."""
    return any(motif.match(texte) for motif in (_NOMME, _ETAGE, _CHIFFRE))


def _est_seul(trait: Trait, page: list[Trait], allure: Allure) -> bool:
    """Vrai si un blanc sépare la ligne de ce qui la précède et de ce qui la suit."""
    rang = next(rang for rang, autre in enumerate(page) if autre is trait)
    voisins = [
        (haut, bas)
        for haut, bas in ((rang - 1, rang), (rang, rang + 1))
        if haut >= 0 and bas < len(page)
    ]
    ecarts = [page[bas].bas - page[haut].bas for haut, bas in voisins]
    return all(not 0 < ecart <= 1.15 * allure.interligne for ecart in ecarts)


def _continue(ebauche: Ebauche, trait: Trait, genre: str, allure: Allure) -> bool:
    """Vrai si la ligne poursuit le bloc en cours."""
    dernier = ebauche.dernier
    if ebauche.genre in (TABLEAU, NOTE) or genre == LISTE:
        return False
    if abs(trait.taille - dernier.taille) > 0.6:
        return False
    if TITRE in (ebauche.genre, genre):
        return ebauche.genre == genre and _meme_titre(dernier, trait)
    if trait.page != dernier.page or trait.haut < dernier.haut:
        return _enjambe(ebauche, trait)
    ecart, ordinaire = trait.bas - dernier.bas, allure.interligne * trait.taille / allure.taille
    if ecart > INTERLIGNE_MAX * ordinaire:
        return False
    if ebauche.genre == LISTE:
        return trait.x0 > ebauche.traits[0].x0 - 1
    if trait.x0 > trait.gauche + 0.8 * trait.taille and dernier.x0 < trait.x0 - 0.8 * trait.taille:
        return False  # un alinéa
    plein = dernier.x1 > dernier.droite - 0.2 * (dernier.droite - dernier.gauche)
    return plein or not _FINIE.search(dernier.texte)


def _meme_titre(dernier: Trait, trait: Trait) -> bool:
    """Vrai si deux lignes de titre n'en font qu'un : même allure, serrées, la seconde sans numéro."""
    if trait.page != dernier.page or trait.gras != dernier.gras:
        return False
    return not _numerote(trait.texte) and 0 < trait.bas - dernier.bas < 1.5 * trait.taille


def _enjambe(ebauche: Ebauche, trait: Trait) -> bool:
    """Vrai si une phrase se poursuit en haut de la colonne ou de la page suivante."""
    texte = ebauche.dernier.texte.rstrip()
    if _FINIE.search(texte) and not trait.texte[:1].islower():
        return False
    if texte[-1:] in TRAITS or trait.texte[:1].islower():
        return True
    plein = ebauche.dernier.x1 > ebauche.dernier.droite - 3 * ebauche.dernier.taille
    return plein and trait.x0 < trait.gauche + 0.8 * trait.taille


def _rejoindre(ebauches: list[Ebauche]) -> list[Ebauche]:
    """Rejoint un paragraphe qu'une note ou un tableau sépare de sa suite, à la page suivante."""
    rejointes: list[Ebauche] = []
    for ebauche in ebauches:
        ouvert = _ouvert(rejointes) if ebauche.genre == PARAGRAPHE else None
        suite = ebauche.traits[0]
        if (
            ouvert
            and rejointes[-1] is not ouvert
            and ouvert.dernier.page < suite.page
            and abs(suite.taille - ouvert.dernier.taille) <= 0.6
            and not _FINIE.search(ouvert.dernier.texte)
            and (suite.texte[:1].islower() or ouvert.dernier.texte[-1:] in TRAITS)
        ):
            ouvert.traits += ebauche.traits
        else:
            rejointes.append(ebauche)
    return rejointes


def _ouvert(ebauches: list[Ebauche]) -> Ebauche | None:
    """Le dernier paragraphe ou élément de liste, notes et tableaux passés."""
    for ebauche in reversed(ebauches[-30:]):
        if ebauche.genre in (PARAGRAPHE, LISTE):
            return ebauche
        if ebauche.genre == TITRE:
            return None
    return None


# ---------------------------------------------------------------- les blocs


def _niveaux(ebauches: Sequence[Ebauche]) -> dict[tuple[float, bool, int], int]:
    """Le niveau de chaque allure de titre : la plus grande d'abord, puis la plus grasse."""
    allures = {_allure_du_titre(e) for e in ebauches if e.genre == TITRE}
    ordre = sorted(allures, key=lambda a: (-a[0], not a[1], a[2]))
    return {allure: min(6, rang) for rang, allure in enumerate(ordre, 1)}


def _allure_du_titre(ebauche: Ebauche) -> tuple[float, bool, int]:
    premier = ebauche.traits[0]
    etage = _ETAGE.match(premier.texte)
    return round(premier.taille), premier.gras, etage[1].count(".") if etage else 0


def _bloc(
    ebauche: Ebauche,
    lexique: Lexique | None,
    niveaux: dict[tuple[float, bool, int], int],
    retraits: list[Retrait],
) -> Bloc:
    """Le bloc d'une ébauche, ses lignes réunies."""
    premier = ebauche.traits[0]
    if ebauche.tableau:
        return ebauche.tableau
    texte, coupures = reunir_les_lignes(((t.texte, t.page) for t in ebauche.traits), lexique)
    retraits += coupures
    if ebauche.genre == LISTE:
        texte = _PUCE.sub("", texte, count=1) if _PUCE.match(texte) else texte
    return Bloc(
        ebauche.genre,
        aerer(texte),
        niveaux[_allure_du_titre(ebauche)] if ebauche.genre == TITRE else 0,
        premier.page,
        reunir(t.lieu for t in ebauche.traits),
    )


def _fondre_les_tableaux(blocs: list[Bloc]) -> list[Bloc]:
    """Un tableau qui se poursuit à la page suivante n'en fait qu'un, son en-tête dit une fois."""
    fondus: list[Bloc] = []
    for bloc in blocs:
        avant = fondus[-1] if fondus else None
        if avant and _meme_tableau(avant, bloc):
            suite = bloc.rangees[bloc.rangees[0] == avant.rangees[0] :]
            fondus[-1] = tableau((*avant.rangees, *suite), avant.page, (*avant.lieux, *bloc.lieux))
        else:
            fondus.append(bloc)
    return fondus


def _meme_tableau(avant: Bloc, bloc: Bloc) -> bool:
    if avant.genre != TABLEAU or bloc.genre != TABLEAU or not avant.lieux or not bloc.lieux:
        return False
    un, autre = avant.lieux[-1], bloc.lieux[0]
    return (
        autre.page == un.page + 1
        and len(avant.rangees[0]) == len(bloc.rangees[0])
        and abs(un.x0 - autre.x0) < 3
        and abs(un.x1 - autre.x1) < 3
    )
