"""Trente-six documents faits par programme, chacun avec sa vérité : ce qu'un bon lecteur doit en rendre.

Le texte vient de nos corpus livrés ; la mise en page, de reportlab pour les PDF, de python-docx pour les
DOCX, et de zip pour les ODT. Rien n'y est tiré au hasard sans graine : la collection est toujours la même.
"""

from __future__ import annotations

import json
import random
import re
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from html import escape
from pathlib import Path

import docx
from docx.oxml.ns import qn
from reportlab.lib.pagesizes import A4, landscape
from reportlab.pdfbase import pdfmetrics
from reportlab.pdfgen.canvas import Canvas

from fabrique.socle.emplacements import dossier_data

VOYELLES = "aeiouyéèêàâîôûëïüœ"
EXPOSANTS = "¹²³"


stringWidth = lru_cache(100_000)(pdfmetrics.stringWidth)  # noqa: N816 (le nom de reportlab)


@dataclass
class Verite:
    """Ce qu'un document dit, dans l'ordre où on le lit.

    Args:
        titres: les titres, dans l'ordre.
        paragraphes: les paragraphes et les éléments de liste, dans l'ordre.
        courants: chaque titre courant ou numéro de page imprimé, autant de fois qu'il l'est.
        coupures: chaque mot coupé en fin de ligne, avec le mot d'avant et celui d'après.
        tableaux: les cellules de chaque tableau, l'en-tête d'abord.
        notes: les notes de bas de page.
    """

    titres: list[str] = field(default_factory=list)
    paragraphes: list[str] = field(default_factory=list)
    courants: list[str] = field(default_factory=list)
    coupures: list[str] = field(default_factory=list)
    tableaux: list[list[list[str]]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


# ---------------------------------------------------------------- le texte


@lru_cache
def phrases() -> tuple[str, ...]:
    """Des phrases de notre encyclopédie, chacune une fois."""
    chemin = dossier_data() / "encyclopedie.jsonl"
    textes = [json.loads(ligne)["output"] for ligne in chemin.read_text("utf-8").splitlines()]
    coupees = [p.strip() for t in textes for p in re.split(r"(?<=[.!?])\s+", t)]
    bonnes = [
        p
        for p in dict.fromkeys(coupees)
        if 50 < len(p) < 260 and p[-1] in ".!?" and p[0].isupper() and _imprimable(p)
    ]
    return tuple(bonnes)


def _imprimable(texte: str) -> bool:
    """Vrai si les polices ordinaires d'un PDF ont tous ses signes."""
    return texte.isprintable() and not set(texte) - set(
        texte.encode("cp1252", "ignore").decode("cp1252")
    )


class Plume:
    """Un tireur de paragraphes qui ne se répète jamais dans un document."""

    def __init__(self, graine: int) -> None:
        hasard = random.Random(graine)
        self.reserve = hasard.sample(phrases(), len(phrases()))
        self.hasard = hasard

    def paragraphe(self, nombre: int = 3) -> str:
        return " ".join(self.reserve.pop() for _ in range(nombre))

    def titre(self, mots: int = 5) -> str:
        """Un titre : les premiers mots d'une phrase, sans ponctuation."""
        while True:
            choisis = self.reserve.pop().split()[:mots]
            titre = " ".join(choisis).rstrip(",;:.")
            if len(choisis) == mots and not re.search(r"[,;:.()«»\d]", titre):
                return titre


# ---------------------------------------------------------------- la presse


@dataclass
class Presse:
    """Un PDF mis en page à la main : colonnes, justification, coupures, titres courants, notes."""

    chemin: Path
    colonnes: int = 1
    corps: float = 10
    police: str = "Helvetica"
    format: tuple[float, float] = A4
    marge: float = 62
    gouttiere: float = 18
    justifie: bool = True
    coupe: bool = True
    alinea: float = 0
    espace: float = 6
    decalage: float = 0
    largeurs: Sequence[float] = ()
    courant: Callable[[int], list[tuple[str, str]]] | None = None
    reserve: float = 0
    filigrane: str = ""

    def __post_init__(self) -> None:
        self.verite = Verite()
        self.toile = Canvas(str(self.chemin), pagesize=self.format, invariant=1)
        self.page, self.notes = 0, []
        utile = self.format[0] - 2 * self.marge - self.gouttiere * (self.colonnes - 1)
        parts = self.largeurs or [1 / self.colonnes] * self.colonnes
        self.larges = [utile * part for part in parts]
        self._ouvrir()

    # ------------------------------------------------ les pages

    def _ouvrir(self) -> None:
        self.page += 1
        self.colonne, self.haut = 0, self.format[1] - self.marge - 14
        self.y = self.haut
        for bord, texte in self.courant(self.page) if self.courant else []:
            self._courant(bord, texte)
        if self.filigrane:
            self.toile.saveState()
            self.toile.translate(self.format[0] / 2 - 120, self.format[1] / 2 - 100)
            self.toile.rotate(45)
            self.toile.setFont("Helvetica", 40)
            self.toile.setFillGray(0.85)
            self.toile.drawString(0, 0, self.filigrane)
            self.toile.restoreState()

    def _courant(self, bord: str, texte: str) -> None:
        """Un titre courant : « haut », « haut-droite », « bas », « bas-2 »…"""
        self.toile.setFont(self.police, 8)
        y = self.format[1] - 40 if bord.startswith("haut") else 30
        y += 10 if bord.endswith("2") else 0
        x = self.marge
        if "droite" in bord:
            x = self.format[0] - self.marge - stringWidth(texte, self.police, 8)
        if "centre" in bord:
            x = (self.format[0] - stringWidth(texte, self.police, 8)) / 2
        self.toile.drawString(x, y, texte)
        self.verite.courants.append(texte)

    @property
    def gauche(self) -> float:
        return self.marge + sum(self.larges[: self.colonne]) + self.gouttiere * self.colonne

    @property
    def bas(self) -> float:
        return self.marge + self.reserve + 8

    def _place(self, hauteur: float) -> None:
        """Passe à la colonne ou à la page suivante s'il le faut."""
        if self.y - hauteur >= self.bas:
            return
        self.colonne += 1
        if self.colonne >= self.colonnes:
            self._fermer_page()
            self._ouvrir()
        else:
            self.y = self.haut - self.decalage * self.colonne

    def _fermer_page(self) -> None:
        if self.notes:
            y = self.marge + self.reserve - 4
            self.toile.line(self.marge, y + 6, self.marge + 100, y + 6)
            for note in self.notes:
                for ligne in self._couper(note, self.format[0] - 2 * self.marge, 7.5, False):
                    y -= 9
                    self.toile.setFont(self.police, 7.5)
                    self.toile.drawString(self.marge, y, " ".join(ligne))
            self.notes = []
        self.toile.showPage()

    def finir(self) -> Verite:
        self._fermer_page()
        self.toile.save()
        return self.verite

    # ------------------------------------------------ ce qu'on imprime

    def titre(self, texte: str, taille: float = 14, gras: bool = True, large: bool = False) -> None:
        """Un titre ; ``large``, il traverse les colonnes."""
        police = f"{self.police}-Bold" if gras else self.police
        if self.police.startswith("Times") and gras:
            police = "Times-Bold"
        self._place(taille * 1.2 + 4 * self.corps)
        largeur = self.format[0] - 2 * self.marge if large else self.larges[self.colonne]
        self.y -= 0.9 * self.corps
        for ligne in self._couper(texte, largeur, taille, False, police):
            self.y -= taille * 1.2
            self.toile.setFont(police, taille)
            self.toile.drawString(self.gauche, self.y, " ".join(ligne))
        self.y -= 0.5 * self.corps
        self.verite.titres.append(texte)
        if large:
            self.haut = self.y

    def paragraphe(self, texte: str, retrait: float = 0, puce: str = "") -> None:
        """Un paragraphe, ou un élément de liste s'il a une puce."""
        self.verite.paragraphes.append(texte if not puce or puce in "•–-" else f"{puce} {texte}")
        largeur = self.larges[self.colonne] - retrait
        lignes = self._couper(texte, largeur, self.corps, self.coupe, alinea=self.alinea)
        for rang, ligne in enumerate(lignes):
            self._place(self.corps * 1.25)
            self.y -= self.corps * 1.25
            x = self.gauche + retrait + (self.alinea if not rang else 0)
            if puce and not rang:
                self.toile.setFont(self.police, self.corps)
                self.toile.drawString(self.gauche + retrait - 12, self.y, puce)
            dernier = rang == len(lignes) - 1
            dispo = largeur - (self.alinea if not rang else 0)
            self._ligne(ligne, x, dispo if self.justifie and not dernier else 0)
        self.y -= self.espace

    def liste(self, textes: Sequence[str], numeros: bool = False) -> None:
        for rang, texte in enumerate(textes, 1):
            self.paragraphe(texte, 16, f"{rang}." if numeros else "•")

    def note(self, texte: str) -> None:
        self.notes.append(texte)
        self.verite.notes.append(texte)

    def tableau(self, rangees: list[list[str]], par_page: int = 99) -> None:
        """Un tableau à filets ; au-delà de ``par_page`` rangées, il continue à la page suivante."""
        self.verite.tableaux.append(rangees)
        entete, suite = rangees[0], rangees[1:]
        for debut in range(0, len(suite), par_page):
            if debut:
                self._fermer_page()
                self._ouvrir()
            self._grille([entete, *suite[debut : debut + par_page]])
        self.y -= 12

    def _grille(self, rangees: list[list[str]]) -> None:
        largeur = (self.larges[self.colonne]) / len(rangees[0])
        coupees = [[self._couper(c, largeur - 10, 9, False) for c in rangee] for rangee in rangees]
        hauteurs = [max(map(len, rangee)) * 11 + 7 for rangee in coupees]
        self._place(sum(hauteurs) + 10)
        y = self.y - 4
        for rang, (rangee, hauteur) in enumerate(zip(coupees, hauteurs, strict=True)):
            for colonne, lignes in enumerate(rangee):
                x = self.gauche + colonne * largeur
                self.toile.rect(x, y - hauteur, largeur, hauteur)
                gras = "Times-Bold" if self.police.startswith("Times") else "Helvetica-Bold"
                self.toile.setFont(gras if not rang else self.police, 9)
                for place, ligne in enumerate(lignes):
                    self.toile.drawString(x + 5, y - 12 - 11 * place, " ".join(ligne))
            y -= hauteur
        self.y = y - 4

    # ------------------------------------------------ les lignes

    def _largeur(self, mot: str, taille: float, police: str) -> float:
        nu = mot.rstrip(EXPOSANTS)
        appel = stringWidth("1", police, 0.6 * taille) * (len(mot) - len(nu))
        return stringWidth(nu, police, taille) + appel

    def _couper(
        self,
        texte: str,
        largeur: float,
        taille: float,
        coupe: bool,
        police: str = "",
        alinea: float = 0,
    ) -> list[list[str]]:
        """Les mots de chaque ligne, le dernier coupé s'il le faut ; les coupures sont notées."""
        police = police or self.police
        espace = stringWidth(" ", police, taille)
        lignes, ligne, prise = [], [], alinea
        mots = texte.split()
        for rang, mot in enumerate(mots):
            reste = mot
            while True:
                large = self._largeur(reste, taille, police) + (espace if ligne else 0)
                if prise + large <= largeur or (not ligne and not coupe):
                    ligne, prise = [*ligne, reste], prise + large
                    break
                libre = largeur - prise - (espace if ligne else 0)
                debut = self._debut(reste, libre, taille, police) if coupe else ""
                if debut:
                    ligne.append(debut if debut.endswith("-") else f"{debut}-")
                    contexte = mots[max(0, rang - 1) : rang + 2]
                    self.verite.coupures.append(" ".join(contexte))
                    reste = reste[len(debut) :]
                lignes.append(ligne)
                ligne, prise = [], 0.0
                if not debut and self._largeur(reste, taille, police) > largeur:
                    ligne, prise = [reste], largeur
                    break
        return [*lignes, ligne]

    def _debut(self, mot: str, libre: float, taille: float, police: str) -> str:
        """Le plus long début de mot qui tient, coupé où le français coupe ; vide sinon."""
        if any(signe.isdigit() or signe in EXPOSANTS for signe in mot):
            return ""
        places = [
            rang
            for rang in range(3, len(mot) - 3)
            if mot[rang - 1] in "-"
            or (
                mot[rang - 1] in VOYELLES
                and mot[rang].isalpha()
                and mot[rang] not in VOYELLES
                and mot[rang + 1] in VOYELLES
                and mot[: rang + 2].isalpha()
            )
        ]
        for rang in reversed(places):
            trait = "" if mot[rang - 1] == "-" else "-"
            if stringWidth(mot[:rang] + trait, police, taille) <= libre:
                return mot[:rang]
        return ""

    def _ligne(self, mots: list[str], x: float, largeur: float) -> None:
        """Imprime une ligne, mot à mot ; les appels de note en exposant."""
        occupe = sum(self._largeur(mot, self.corps, self.police) for mot in mots)
        espace = stringWidth(" ", self.police, self.corps)
        if largeur and len(mots) > 1:
            espace = (largeur - occupe) / (len(mots) - 1)
        if not any(mot[-1] in EXPOSANTS for mot in mots):
            ligne = self.toile.beginText(x, self.y)
            ligne.setFont(self.police, self.corps)
            ligne.setWordSpace(espace - stringWidth(" ", self.police, self.corps))
            ligne.textOut(" ".join(mots))
            self.toile.drawText(ligne)
            return
        for mot in mots:
            nu = mot.rstrip(EXPOSANTS)
            self.toile.setFont(self.police, self.corps)
            self.toile.drawString(x, self.y, nu)
            fin = x + stringWidth(nu, self.police, self.corps)
            for appel in mot[len(nu) :]:
                self.toile.setFont(self.police, 0.6 * self.corps)
                self.toile.drawString(
                    fin, self.y + 0.4 * self.corps, str(EXPOSANTS.index(appel) + 1)
                )
            x += self._largeur(mot, self.corps, self.police) + espace


# ---------------------------------------------------------------- les PDF

TARIFS = [
    ["Prestation", "Tarif", "Délai"],
    ["Location du kiosque", "18 écus", "8 jours"],
    ["Pêche au lavoir", "2 écus", "immédiat"],
    ["Bal du dimanche, orchestre compris", "40 écus", "3 semaines"],
    ["Herbier municipal", "gratuit", "1 jour"],
]


def _sections(presse: Presse, plume: Plume, combien: int, paragraphes: int = 3, **titre) -> None:
    for _ in range(combien):
        presse.titre(plume.titre(), **titre)
        for _ in range(paragraphes):
            presse.paragraphe(plume.paragraphe())


def _page_simple(page: int) -> list[tuple[str, str]]:
    return [("haut", "Commune de Valbrume"), ("bas-centre", f"Page {page}")]


def _page_alternee(page: int) -> list[tuple[str, str]]:
    titre = "Guide des usagers" if page % 2 else "Commune de Valbrume"
    bord = "haut-droite" if page % 2 else "haut"
    return [(bord, titre), ("bas-centre", f"{page} / 9")]


def _page_adresse(page: int) -> list[tuple[str, str]]:
    return [
        ("bas-centre-2", "Mairie de Valbrume, place du Lavoir"),
        ("bas-centre", f"Ouverte tous les matins, sauf le mardi – {page}"),
    ]


CHAPITRES = ("Les marchés", "Les lavoirs", "Les chemins", "Les fêtes")


def _page_chapitre(page: int) -> list[tuple[str, str]]:
    chapitre = CHAPITRES[(page - 1) // 6 % len(CHAPITRES)]
    return [("haut-droite", chapitre), ("bas-droite", str(page))]


def une_colonne(chemin: Path, graine: int, sections: int = 6, **options) -> Verite:
    plume = Plume(graine)
    presse = Presse(chemin, **options)
    presse.titre(plume.titre(6), 20)
    _sections(presse, plume, sections, taille=options.get("corps", 10) + 4)
    return presse.finir()


def colonnes(chemin: Path, graine: int, nombre: int, sections: int = 7, **options) -> Verite:
    plume = Plume(graine)
    presse = Presse(chemin, colonnes=nombre, **options)
    presse.titre(plume.titre(5), 20, large=True)
    _sections(presse, plume, sections, taille=12)
    return presse.finir()


def numerotee(chemin: Path, graine: int) -> Verite:
    """Des titres numérotés, gras, de la taille du corps."""
    plume, presse = Plume(graine), Presse(chemin, courant=_page_simple)
    presse.titre(plume.titre(6), 16)
    for rang in (1, 2, 3):
        presse.titre(f"{rang}. {plume.titre(4)}", 10)
        for sous in (1, 2):
            presse.titre(f"{rang}.{sous} {plume.titre(4)}", 10)
            presse.paragraphe(plume.paragraphe())
            presse.paragraphe(plume.paragraphe(2))
    return presse.finir()


def articles(chemin: Path, graine: int) -> Verite:
    """Un règlement : « Article 1 », sans graisse, de la taille du corps."""
    plume, presse = (
        Plume(graine),
        Presse(chemin, police="Times-Roman", corps=11, courant=_page_simple),
    )
    presse.titre("Règlement du marché couvert", 16)
    for rang in range(1, 9):
        presse.titre(f"Article {rang}", 11, gras=False)
        presse.paragraphe(plume.paragraphe())
        presse.paragraphe(plume.paragraphe(2))
    return presse.finir()


def capitales(chemin: Path, graine: int) -> Verite:
    """Des titres en capitales, sans graisse, de la taille du corps."""
    plume, presse = Plume(graine), Presse(chemin, courant=_page_alternee)
    presse.titre(plume.titre(6), 18)
    for _ in range(13):
        presse.titre(plume.titre(4).upper(), 10, gras=False)
        presse.paragraphe(plume.paragraphe())
        presse.paragraphe(plume.paragraphe())
    return presse.finir()


def listes(chemin: Path, graine: int) -> Verite:
    plume, presse = Plume(graine), Presse(chemin)
    presse.titre(plume.titre(6), 18)
    for numeros in (False, True, False):
        presse.titre(plume.titre(4), 13)
        presse.paragraphe(plume.paragraphe(2))
        presse.liste([plume.paragraphe(1) for _ in range(5)], numeros)
        presse.paragraphe(plume.paragraphe(2))
    return presse.finir()


def notes(chemin: Path, graine: int, nombre: int = 1) -> Verite:
    """Des notes de bas de page, appelées par un exposant."""
    plume = Plume(graine)
    presse = Presse(chemin, colonnes=nombre, reserve=70, courant=_page_simple)
    presse.titre(plume.titre(5), 18, large=nombre > 1)
    for rang in range(10 * nombre):
        texte = plume.paragraphe(3)
        if len(presse.notes) < 3 and rang % 2 == 0:
            mots = texte.split(" ")
            mots[4] = mots[4].rstrip(",.;") + EXPOSANTS[len(presse.notes)]
            presse.note(f"{len(presse.notes) + 1}. {plume.paragraphe(1)}")
            texte = " ".join(mots)
        presse.paragraphe(texte)
        if rang % 3 == 2:
            presse.titre(plume.titre(4), 13)
    presse.paragraphe(plume.paragraphe(2))
    return presse.finir()


def tableaux(chemin: Path, graine: int, **options) -> Verite:
    plume, presse = Plume(graine), Presse(chemin, **options)
    presse.titre(plume.titre(5), 18)
    for _ in range(2):
        presse.titre(plume.titre(4), 13)
        presse.paragraphe(plume.paragraphe())
        presse.tableau(TARIFS)
        presse.paragraphe(plume.paragraphe())
    return presse.finir()


def long_tableau(chemin: Path, graine: int) -> Verite:
    """Un tableau sur trois pages, son en-tête répété en haut de chacune."""
    plume, presse = Plume(graine), Presse(chemin, courant=_page_simple)
    presse.titre(plume.titre(5), 18)
    presse.paragraphe(plume.paragraphe())
    rangees = [[f"Rue n° {n}", plume.titre(3), f"{3 * n} m"] for n in range(1, 46)]
    presse.tableau([["Voie", "Description", "Longueur"], *rangees], par_page=18)
    presse.paragraphe(plume.paragraphe())
    return presse.finir()


def long_document(chemin: Path, graine: int, pages: int = 24) -> Verite:
    """Un titre courant par chapitre, un numéro de page, beaucoup de pages."""
    plume, presse = Plume(graine), Presse(chemin, courant=_page_chapitre, corps=12)
    presse.titre(plume.titre(6), 20)
    while presse.page < pages and len(plume.reserve) > 60:
        presse.titre(plume.titre(4), 15)
        for _ in range(4):
            presse.paragraphe(plume.paragraphe(3))
    return presse.finir()


# ---------------------------------------------------------------- les autres formats


def _rubriques(
    plume: Plume, verite: Verite, *niveaux: int
) -> Iterator[tuple[int, str, list[str], list[str]]]:
    """Par niveau, un titre, deux paragraphes et trois éléments de liste, notés dans la vérité."""
    for niveau in niveaux:
        titre = plume.titre(5)
        textes = [plume.paragraphe() for _ in range(2)]
        elements = [plume.paragraphe(1) for _ in range(3)]
        verite.titres.append(titre)
        verite.paragraphes += [*textes, *elements]
        yield niveau, titre, textes, elements


def en_docx(chemin: Path, graine: int, courant: bool = False) -> Verite:
    plume, verite, ecrit = Plume(graine), Verite(), docx.Document()
    if courant:
        ecrit.sections[0].header.paragraphs[0].text = "Commune de Valbrume"
        ecrit.sections[0].footer.paragraphs[0].text = "Document de travail"
        verite.courants += ["Commune de Valbrume", "Document de travail"]
    for niveau, titre, textes, elements in _rubriques(plume, verite, 0, 1, 2, 1, 2):
        ecrit.add_heading(titre, niveau)
        for texte in textes:
            paragraphe = ecrit.add_paragraph()
            coupe = len(texte) // 2
            paragraphe.add_run(texte[:coupe]).bold = True  # une phrase en deux morceaux
            paragraphe.add_run(texte[coupe:])
        for element in elements:
            ecrit.add_paragraph(element, style="List Bullet")
    table = ecrit.add_table(rows=len(TARIFS), cols=3)
    for rangee, cellules in zip(table.rows, TARIFS, strict=True):
        for cellule, texte in zip(rangee.cells, cellules, strict=True):
            cellule.text = texte
    verite.tableaux.append(TARIFS)
    texte = plume.paragraphe()
    _inserer(ecrit.add_paragraph(), texte)
    verite.paragraphes.append(texte)
    ecrit.save(str(chemin))
    return verite


def _inserer(paragraphe, texte: str) -> None:
    """Un texte ajouté en suivi des modifications : il compte, et python-docx seul l'oublie."""
    insertion = paragraphe._p.makeelement(qn("w:ins"), {qn("w:id"): "1", qn("w:author"): "Moi"})
    run = paragraphe.add_run(texte)._r
    paragraphe._p.remove(run)
    insertion.append(run)
    paragraphe._p.append(insertion)


ODT = (
    '<?xml version="1.0" encoding="UTF-8"?><office:document-content '
    'xmlns:office="urn:oasis:names:tc:opendocument:xmlns:office:1.0" '
    'xmlns:text="urn:oasis:names:tc:opendocument:xmlns:text:1.0" '
    'xmlns:table="urn:oasis:names:tc:opendocument:xmlns:table:1.0">'
    "<office:body><office:text>{}</office:text></office:body></office:document-content>"
)


def en_odt(chemin: Path, graine: int) -> Verite:
    plume, verite, morceaux = Plume(graine), Verite(), []
    for niveau, titre, textes, elements in _rubriques(plume, verite, 1, 2, 2, 1):
        morceaux.append(f'<text:h text:outline-level="{niveau}">{escape(titre)}</text:h>')
        for texte in textes:
            debut, fin = texte.split(" ", 1)
            morceaux.append(
                f"<text:p><text:span>{escape(debut)}</text:span> {escape(fin)}</text:p>"
            )
        morceaux.append(
            "<text:list>"
            + "".join(
                f"<text:list-item><text:p>{escape(e)}</text:p></text:list-item>" for e in elements
            )
            + "</text:list>"
        )
    rangees = "".join(
        "<table:table-row>"
        + "".join(f"<table:table-cell><text:p>{c}</text:p></table:table-cell>" for c in rangee)
        + "</table:table-row>"
        for rangee in TARIFS
    )
    morceaux.append(f"<table:table>{rangees}</table:table>")
    verite.tableaux.append(TARIFS)
    appel, note = plume.paragraphe(1), plume.paragraphe(1)
    morceaux.append(
        f'<text:p>{escape(appel)}<text:note text:note-class="footnote"><text:note-citation>1'
        f"</text:note-citation><text:note-body><text:p>{escape(note)}</text:p></text:note-body>"
        "</text:note></text:p>"
    )
    verite.paragraphes.append(f"{appel}¹")
    verite.notes.append(note)
    with zipfile.ZipFile(chemin, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("mimetype", "application/vnd.oasis.opendocument.text")
        archive.writestr("content.xml", ODT.format("".join(morceaux)))
    return verite


def en_html(chemin: Path, graine: int, principal: str = "main") -> Verite:
    plume, verite = Plume(graine), Verite()
    corps = []
    for niveau, titre, textes, elements in _rubriques(plume, verite, 1, 2, 3, 2):
        corps.append(f"<h{niveau}>{escape(titre)}</h{niveau}>")
        for texte in textes:
            debut, milieu, fin = texte.split(" ", 2)
            corps.append(f"<p>{escape(debut)} <em>{escape(milieu)}</em> {escape(fin)}</p>")
        corps.append("<ul>" + "".join(f"<li>{escape(e)}</li>" for e in elements) + "</ul>")
    rangees = "".join(
        "<tr>" + "".join(f"<td>{c}</td>" for c in rangee) + "</tr>" for rangee in TARIFS
    )
    corps.append(f"<table>{rangees}</table>")
    verite.tableaux.append(TARIFS)
    autour = ("Accueil Démarches Agenda", "Abonnez-vous à la lettre de Valbrume")
    verite.courants += autour
    chemin.write_text(
        "<!DOCTYPE html><html lang='fr'><head><meta charset='utf-8'><title>Valbrume</title>"
        f"<style>p{{color:red}}</style></head><body><nav>{autour[0]}</nav>"
        f"<{principal}>{''.join(corps)}</{principal}><footer>{autour[1]}</footer>"
        "<script>var x = 1;</script></body></html>",
        "utf-8",
    )
    return verite


def en_txt(chemin: Path, graine: int) -> Verite:
    """Un texte à lignes de 55 signes, mots coupés."""
    plume = Plume(graine)
    presse = Presse(chemin.with_suffix(".tmp.pdf"))
    verite, sortie = presse.verite, []
    for rang in range(1, 5):
        titre = f"{rang}. {plume.titre(4)}"
        verite.titres.append(titre)
        sortie += [titre, ""]
        for _ in range(3):
            texte = plume.paragraphe()
            verite.paragraphes.append(texte)
            lignes = presse._couper(texte, 330, 10, True, "Courier")
            sortie += [*(" ".join(ligne) for ligne in lignes), ""]
    chemin.write_text("\n".join(sortie), "utf-8")
    return verite


def en_md(chemin: Path, graine: int) -> Verite:
    plume, verite, sortie = Plume(graine), Verite(), []
    for niveau, titre, textes, elements in _rubriques(plume, verite, 1, 2, 3, 2):
        liste = "\n".join(f"- {element}" for element in elements)
        sortie += [f"{'#' * niveau} {titre}", *textes, liste]
    entete, *suite = [" | ".join(rangee) for rangee in TARIFS]
    sortie.append("\n".join([f"| {entete} |", "|---|---|---|", *(f"| {r} |" for r in suite)]))
    verite.tableaux.append(TARIFS)
    chemin.write_text("\n\n".join(sortie), "utf-8")
    return verite


# ---------------------------------------------------------------- la collection

Faire = Callable[[Path], Verite]

COLLECTION: dict[str, Faire] = {
    "simple.pdf": lambda c: une_colonne(c, 1),
    "courants.pdf": lambda c: une_colonne(c, 2, courant=_page_simple),
    "alternes.pdf": lambda c: une_colonne(c, 3, 14, courant=_page_alternee),
    "adresse.pdf": lambda c: une_colonne(c, 4, courant=_page_adresse),
    "times.pdf": lambda c: une_colonne(c, 5, police="Times-Roman", corps=12),
    "alineas.pdf": lambda c: une_colonne(c, 6, alinea=18, espace=0),
    "drapeau.pdf": lambda c: une_colonne(c, 7, justifie=False, coupe=False),
    "grand_corps.pdf": lambda c: une_colonne(c, 8, corps=14, courant=_page_simple),
    "filigrane.pdf": lambda c: une_colonne(c, 9, filigrane="PROJET DE NOTE"),
    "deux_colonnes.pdf": lambda c: colonnes(c, 10, 2),
    "deux_courants.pdf": lambda c: colonnes(c, 11, 2, courant=_page_simple),
    "deux_decalees.pdf": lambda c: colonnes(c, 12, 2, 16, decalage=6, courant=_page_alternee),
    "deux_serrees.pdf": lambda c: colonnes(c, 13, 2, gouttiere=12, corps=9),
    "trois_colonnes.pdf": lambda c: colonnes(c, 14, 3, corps=9),
    "trois_alineas.pdf": lambda c: colonnes(
        c, 15, 3, corps=9, alinea=10, espace=0, format=landscape(A4)
    ),
    "marge.pdf": lambda c: colonnes(c, 16, 2, largeurs=(0.68, 0.32), corps=9),
    "paysage.pdf": lambda c: colonnes(c, 17, 2, format=landscape(A4), courant=_page_simple),
    "numerotee.pdf": lambda c: numerotee(c, 18),
    "articles.pdf": lambda c: articles(c, 19),
    "capitales.pdf": lambda c: capitales(c, 20),
    "listes.pdf": lambda c: listes(c, 21),
    "notes.pdf": lambda c: notes(c, 22),
    "notes_colonnes.pdf": lambda c: notes(c, 23, 2),
    "tableaux.pdf": lambda c: tableaux(c, 24),
    "tableaux_colonnes.pdf": lambda c: tableaux(c, 25, colonnes=2, corps=9),
    "long_tableau.pdf": lambda c: long_tableau(c, 26),
    "long_document.pdf": lambda c: long_document(c, 27),
    "rapport.docx": lambda c: en_docx(c, 28),
    "courants.docx": lambda c: en_docx(c, 29, courant=True),
    "note.odt": lambda c: en_odt(c, 30),
    "guide.odt": lambda c: en_odt(c, 31),
    "page.html": lambda c: en_html(c, 32),
    "article.html": lambda c: en_html(c, 33, "article"),
    "division.html": lambda c: en_html(c, 34, "div"),
    "lettre.txt": lambda c: en_txt(c, 35),
    "guide.md": lambda c: en_md(c, 36),
}


def composer(dossier: Path) -> dict[str, Verite]:
    """Écrit la collection dans un dossier ; rend la vérité de chaque document, par nom."""
    dossier.mkdir(parents=True, exist_ok=True)
    return {nom: faire(dossier / nom) for nom, faire in COLLECTION.items()}
