"""Ce qu'une page de PDF porte : PDFium en donne les mots et l'image, pdfplumber les tableaux.

PDFium, le lecteur de Chrome, vient avec pdfplumber (paquet pypdfium2). pdfplumber ne lit que les
pages où des filets se croisent.
"""

from __future__ import annotations

import ctypes
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fabrique.corpus.documents.mots_pdf import Mot
from fabrique.socle.erreurs import ErreurFabrique

if TYPE_CHECKING:
    from PIL.Image import Image

_GRAS = re.compile(r"bold|black|heavy|semibold|demi|[-,]bd\b", re.IGNORECASE)
#: Ce que PDFium écrit à la place d'un trait d'union en fin de ligne, et d'une lettre sans nom.
_TRAITS, SANS_NOM = {0x02: "-", 0xFFFE: "-", 0xAD: "-"}, "\ufffd"
_LIGATURES = {"ﬀ": "ff", "ﬁ": "fi", "ﬂ": "fl", "ﬃ": "ffi", "ﬄ": "ffl", "ﬅ": "st", "ﬆ": "st"}
#: Au-delà de tant de tracés, une page est un plan ou une carte, pas un tableau.
TRACES_MAX = 3000
#: La hauteur d'une cellule, au moins, en points ; et les segments d'un simple cadre, au plus.
HAUTEUR_MIN, SEGMENTS = 8, 12
#: La taille d'une police, au moins, en points.
TAILLE_MIN = 1.0
#: Tableaux cherchés dans tant de pages avant de rouvrir pdfplumber, qui garde tout ce qu'il a lu.
TRANCHE = 50

#: Gauche, haut, droite, bas, en points, l'origine en haut à gauche.
Boite = tuple[float, float, float, float]


class SourcePdf:
    """Un PDF ouvert ; à employer avec ``with``."""

    def __init__(self, chemin: Path) -> None:
        import pypdfium2

        self.chemin = chemin
        try:
            self.pdf = pypdfium2.PdfDocument(chemin)
        except pypdfium2.PdfiumError as cause:
            if "password" in str(cause).lower():
                raise ErreurFabrique(
                    "ce PDF est protégé par un mot de passe",
                    "Ouvrez-le dans un lecteur de PDF et enregistrez-en une copie sans mot de passe",
                    chemin,
                ) from None
            raise
        self.pdfplumber: Any = None
        self.cherchees = 0

    def __enter__(self) -> SourcePdf:
        return self

    def __exit__(self, *_: object) -> None:
        self.pdf.close()
        if self.pdfplumber:
            self.pdfplumber.close()

    def __len__(self) -> int:
        return len(self.pdf)

    @property
    def titre(self) -> str:
        """Le titre que déclare le fichier."""
        return self.pdf.get_metadata_dict().get("Title", "").strip()

    def pages(self) -> Iterator[PagePdf]:
        """Les pages, une à la fois en mémoire."""
        for rang in range(len(self)):
            page = PagePdf(self, rang)
            yield page
            page.fermer()

    def tables_de(self, rang: int) -> list[Any]:
        """Les tableaux que pdfplumber trouve dans une page, comptée depuis 0."""
        import pdfplumber

        if self.pdfplumber and self.cherchees % TRANCHE == 0:
            self.pdfplumber.close()
            self.pdfplumber = None
        self.pdfplumber = self.pdfplumber or pdfplumber.open(self.chemin)
        self.cherchees += 1
        page = self.pdfplumber.pages[rang]
        traces = len(page.lines) + len(page.rects) + len(page.curves)
        trouvees = [
            (table.bbox, table.extract())
            for table in (page.find_tables() if traces <= TRACES_MAX else [])
        ]
        page.close()
        return trouvees


class PagePdf:
    """Une page ouverte : sa taille telle qu'on la voit, ses mots, ses tableaux, son image."""

    def __init__(self, source: SourcePdf, rang: int) -> None:
        self.source, self.rang, self.numero = source, rang, rang + 1
        self.page = source.pdf[rang]
        self.largeur, self.hauteur = self.page.get_size()
        self.rotation = self.page.get_rotation()
        self.cadre = self.page.get_mediabox()

    def fermer(self) -> None:
        self.page.close()

    def image(self, finesse: int) -> Image:
        """La page en image, à tant de points par pouce."""
        return self.page.render(scale=finesse / 72, grayscale=True).to_pil()

    @property
    def a_des_images(self) -> bool:
        """Vrai si quelque chose y est peint."""
        return next(iter(self.page.get_objects(max_depth=3)), None) is not None

    def tableaux(self) -> list[tuple[Boite, list[list[str | None]]]]:
        """La boîte et les cellules de chaque tableau à filets."""
        return self.source.tables_de(self.rang) if self._a_une_grille() else []

    def _a_une_grille(self) -> bool:
        """Vrai si des filets se croisent : trois montants et trois traverses, au moins.

        Un filet sous un titre, un cadre autour d'un exemple ne valent pas qu'on relise la page.
        """
        from pypdfium2.raw import FPDF_PAGEOBJ_PATH, FPDFPath_CountSegments

        montants, traverses, traces = set(), set(), 0
        for traces, trace in enumerate(self.page.get_objects([FPDF_PAGEOBJ_PATH], max_depth=3), 1):
            if traces > TRACES_MAX:
                return False
            if FPDFPath_CountSegments(trace.raw) > SEGMENTS:
                return True  # une grille tracée d'un seul geste
            x0, y0, x1, y1 = trace.get_bounds()
            if y1 - y0 > HAUTEUR_MIN:
                montants |= {round(x0), round(x1)}
            if x1 - x0 > HAUTEUR_MIN:
                traverses |= {round(y0), round(y1)}
        return len(montants) >= 3 and len(traverses) >= 3

    # ------------------------------------------------ les mots

    def mots(self) -> tuple[list[Mot], str]:
        """Les mots droits, dans l'ordre du fichier ; et le texte tourné, mis de côté."""
        from pypdfium2 import raw

        texte = self.page.get_textpage()
        droits, tournes = [], []
        for signes, debut, boite in self._suites(texte.raw, texte.count_chars()):
            angle = raw.FPDFText_GetCharAngle(texte.raw, debut) + self.rotation * math.pi / 180
            if abs(math.sin(angle)) > 0.1 or math.cos(angle) < 0:
                tournes.append(signes)
                continue
            taille, gras = _police(texte.raw, debut)
            if taille < TAILLE_MIN:  # une police faite d'images n'a pas de taille
                taille = max(TAILLE_MIN, round(boite[3] - boite[1], 1))
            droits.append(Mot(signes, *boite, taille, gras))
        texte.close()
        return droits, " ".join(tournes)

    def _suites(self, texte: Any, nombre: int) -> Iterator[tuple[str, int, Boite]]:
        """Les suites de lettres que rien ne sépare : leur texte, leur premier rang, leur boîte."""
        from pypdfium2 import raw

        signes: list[str] = []
        debut, boite = 0, None
        cadre = raw.FS_RECTF()
        for rang in range(nombre):
            code = raw.FPDFText_GetUnicode(texte, rang)
            if code not in _TRAITS and raw.FPDFText_HasUnicodeMapError(texte, rang) == 1:
                code = 0  # la police ne dit pas quelle lettre c'est : ce code serait n'importe laquelle
            if (code <= 32 and code not in _TRAITS and code != 0) or code == 0xA0:
                if boite:
                    yield "".join(signes), debut, boite
                signes, boite = [], None
                continue
            raw.FPDFText_GetLooseCharBox(texte, rang, cadre)
            place = self._vue(cadre.left, cadre.bottom, cadre.right, cadre.top)
            if boite and not _se_suivent(boite, place):
                yield "".join(signes), debut, boite
                signes, boite = [], None
            signes.append(_signe(code))
            if boite is None:
                debut, boite = rang, place
            else:
                boite = (
                    min(boite[0], place[0]),
                    min(boite[1], place[1]),
                    max(boite[2], place[2]),
                    max(boite[3], place[3]),
                )
        if boite:
            yield "".join(signes), debut, boite

    def _vue(self, x0: float, y0: float, x1: float, y1: float) -> Boite:
        """Une boîte telle qu'on la voit : origine en haut à gauche, page tournée comprise."""
        gauche, bas, droite, haut = self.cadre
        if self.rotation == 90:
            return y0 - bas, x0 - gauche, y1 - bas, x1 - gauche
        if self.rotation == 180:
            return droite - x1, y0 - bas, droite - x0, y1 - bas
        if self.rotation == 270:
            return haut - y1, droite - x1, haut - y0, droite - x0
        return x0 - gauche, haut - y1, x1 - gauche, haut - y0


def _signe(code: int) -> str:
    if code in _TRAITS:
        return _TRAITS[code]
    if code == 0 or 0xD800 <= code <= 0xDFFF:
        return SANS_NOM
    return _LIGATURES.get(chr(code), chr(code))


def _se_suivent(boite: Boite, place: Boite) -> bool:
    """Vrai si une lettre est du même mot : même ligne, même hauteur, et juste à côté."""
    hauteur, autre = boite[3] - boite[1], place[3] - place[1]
    if abs(hauteur - autre) > 0.15 * max(hauteur, autre, 0.1):
        return False
    if abs((boite[1] + boite[3]) - (place[1] + place[3])) > 0.4 * hauteur:
        return False
    return -0.5 * hauteur < place[0] - boite[2] < 0.5 * hauteur


def _police(texte: Any, rang: int) -> tuple[float, bool]:
    """La taille d'une lettre telle qu'on la voit, et si elle est grasse."""
    from pypdfium2 import raw

    matrice = raw.FS_MATRIX()
    raw.FPDFText_GetMatrix(texte, rang, matrice)
    echelle = math.hypot(matrice.c, matrice.d) or 1.0
    taille = raw.FPDFText_GetFontSize(texte, rang) * echelle
    nom, drapeaux = ctypes.create_string_buffer(128), ctypes.c_int()
    raw.FPDFText_GetFontInfo(texte, rang, nom, 128, drapeaux)
    gras = raw.FPDFText_GetFontWeight(texte, rang) >= 600
    return round(taille, 1), gras or bool(_GRAS.search(nom.value.decode("utf-8", "replace")))
