"""Ce qu'un document rend une fois lu : des pages, des blocs dans l'ordre, ce qui a été ôté."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from fabrique.socle.erreurs import COMPTE, PART, ErreurFabrique, Nombre
from fabrique.socle.options import reglage, verifier_les_nombres

TITRE, PARAGRAPHE, LISTE, TABLEAU, NOTE = "titre", "paragraphe", "liste", "tableau", "note"
#: Les étapes du nettoyage, par leur nom dans ``--garder`` ; chacune se débranche.
ETAPES = ("entetes", "sommaires", "cesures", "notes", "menus")


@dataclass(frozen=True)
class Lieu:
    """Un rectangle d'une page, en points (1/72 de pouce), l'origine en haut à gauche."""

    page: int
    x0: float
    haut: float
    x1: float
    bas: float

    def reuni(self, autre: Lieu) -> Lieu:
        """Le plus petit rectangle qui contient les deux."""
        return Lieu(
            self.page,
            min(self.x0, autre.x0),
            min(self.haut, autre.haut),
            max(self.x1, autre.x1),
            max(self.bas, autre.bas),
        )


def reunir(lieux: Iterable[Lieu]) -> tuple[Lieu, ...]:
    """Un rectangle par page et par colonne : on ne réunit que ce qui se touche."""
    reunis: list[Lieu] = []
    for lieu in lieux:
        dernier = reunis[-1] if reunis else None
        if dernier and dernier.page == lieu.page and lieu.bas > dernier.haut:
            reunis[-1] = dernier.reuni(lieu)
        else:
            reunis.append(lieu)
    return tuple(reunis)


@dataclass(frozen=True)
class Bloc:
    """Un titre, un paragraphe, un élément de liste, un tableau ou une note.

    Args:
        genre: « titre », « paragraphe », « liste », « tableau » ou « note ».
        texte: ce qui se lit ; d'un tableau, une ligne par rangée, l'en-tête répété.
        niveau: 1 à 6 pour un titre, 0 sinon.
        page: la page où il commence, depuis 1 ; None si le format n'a pas de pages.
        lieux: où il est, un rectangle par page et par colonne ; vide sans pages.
        rangees: les cellules d'un tableau, l'en-tête d'abord.
    """

    genre: str
    texte: str
    niveau: int = 0
    page: int | None = None
    lieux: tuple[Lieu, ...] = ()
    rangees: tuple[tuple[str, ...], ...] = ()


@dataclass(frozen=True)
class PageLue:
    """Une page : sa place, sa taille en points, et la confiance de la reconnaissance (0 à 1).

    ``confiance`` vaut None quand le texte vient du fichier lui-même.
    """

    numero: int
    largeur: float
    hauteur: float
    confiance: float | None = None


@dataclass(frozen=True)
class Retrait:
    """Ce qu'une étape du nettoyage a ôté ou changé, en entier : on peut le remettre."""

    etape: str
    texte: str
    page: int | None = None


@dataclass
class Document:
    """Un document lu.

    Args:
        chemin: le fichier.
        format: « pdf », « docx », « odt », « html », « txt » ou « md ».
        titre: le sien, ou à défaut le nom du fichier.
        pages: vide pour un format sans pages.
        blocs: dans l'ordre de lecture ; les notes à leur place, après la page qui les appelle.
        retraits: ce que le nettoyage a ôté.
        alertes: ce qu'une personne doit savoir, une phrase chacune.
    """

    chemin: Path
    format: str
    titre: str = ""
    pages: list[PageLue] = field(default_factory=list)
    blocs: list[Bloc] = field(default_factory=list)
    retraits: list[Retrait] = field(default_factory=list)
    alertes: list[str] = field(default_factory=list)

    @property
    def texte(self) -> str:
        """Le texte entier : un bloc par paragraphe, les titres précédés de « # »."""
        return "\n\n".join(map(en_texte, self.blocs))

    @property
    def mots(self) -> int:
        """Les mots gardés."""
        return sum(len(bloc.texte.split()) for bloc in self.blocs)

    @property
    def nom(self) -> str:
        """Le nom du fichier, sans son extension, comme un titre."""
        return re.sub("[_-]", " ", self.chemin.stem).strip() or self.chemin.name

    def plus_haut_titre(self, page: int | None = None) -> str:
        """Le premier titre du plus haut niveau, de cette page ou de toutes ; vide s'il n'y en a pas."""
        titres = [b for b in self.blocs if b.genre == TITRE and page in (None, b.page)]
        return min(titres, key=lambda bloc: bloc.niveau).texte if titres else ""


def en_texte(bloc: Bloc) -> str:
    """Un bloc tel qu'une fiche l'écrit."""
    if bloc.genre == TITRE:
        return f"{'#' * min(6, bloc.niveau + 1)} {bloc.texte}"
    return f"- {bloc.texte}" if bloc.genre == LISTE else bloc.texte


def tableau(
    rangees: Iterable[Iterable[str | None]], page: int | None = None, lieux: tuple[Lieu, ...] = ()
) -> Bloc:
    """Un tableau dont chaque rangée dit ses colonnes : « Prix : 3 euros ; Délai : 8 jours »."""
    propres = tuple(tuple(aerer(cellule or "") for cellule in rangee) for rangee in rangees)
    propres = tuple(rangee for rangee in propres if any(rangee))
    entete, suite = propres[0] if propres else (), propres[1:]
    lignes = [_rangee(entete, rangee) for rangee in suite] or [" ; ".join(filter(None, entete))]
    return Bloc(TABLEAU, "\n".join(lignes), page=page, lieux=lieux, rangees=propres)


def _rangee(entete: tuple[str, ...], rangee: tuple[str, ...]) -> str:
    noms = [*entete, *[""] * len(rangee)]
    dites = [
        f"{nom} : {cellule}" if nom else cellule
        for nom, cellule in zip(noms, rangee, strict=False)
        if cellule
    ]
    return " ; ".join(dites)


_BLANCS = re.compile(r"[ \t\r\n\f\v\u2002-\u200a]+")
#: Ce qui ne se voit pas, et gênerait la recherche : espaces nulles, marque de tête, contrôle.
_INVISIBLES = re.compile(r"[\u200b\u200c\u200d\u2060\ufeff\x00-\x08\x0e-\x1f\ud800-\udfff]")


def aerer(texte: str) -> str:
    """Le texte d'un bloc : une seule espace entre deux mots, rien d'invisible."""
    return _BLANCS.sub(" ", _INVISIBLES.sub("", texte)).strip()


_EXPOSANTS = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")


def en_exposant(chiffres: str) -> str:
    """Un appel de note tel qu'on le garde dans le texte : « 12 » devient « ¹² »."""
    return chiffres.translate(_EXPOSANTS)


@dataclass(frozen=True)
class ReglagesLecture:
    """Comment lire un dossier : combien de fichiers à la fois, combien de temps, que garder."""

    processus: int = reglage(2, "Fichiers lus en même temps.", COMPTE)
    delai: int = reglage(1800, "Secondes laissées à un fichier avant d’y renoncer.", COMPTE)
    memoire: int = reglage(
        4000,
        "Mémoire laissée à un fichier, en Mo (sous Linux).",
        Nombre(entier=True, au_moins=500),
    )
    garder: str = reglage(
        "", f"Ce que le nettoyage doit laisser, séparé par des virgules : {', '.join(ETAPES)}."
    )
    sans_ocr: bool = reglage(False, "Ne reconnaît pas les pages numérisées.")
    langue: str = reglage("fra", "Langue de la reconnaissance, par son nom dans tesseract.")
    confiance: float = reglage(0.8, "Confiance sous laquelle une page est à relire.", PART)

    def __post_init__(self) -> None:
        verifier_les_nombres(self)
        for etape in self.etapes_gardees:
            if etape not in ETAPES:
                raise ErreurFabrique(
                    f"« {etape} » n’est pas une étape du nettoyage",
                    f"Choisissez parmi {', '.join(ETAPES)}",
                    champ="garder",
                )

    @property
    def etapes_gardees(self) -> frozenset[str]:
        """Les étapes débranchées."""
        return frozenset(filter(None, map(str.strip, self.garder.split(","))))
