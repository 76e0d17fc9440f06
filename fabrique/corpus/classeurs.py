"""Les classeurs Excel : chaque cellule telle qu'Excel, en français, la montre.

Un classeur garde une valeur et un format : 612345678 sous ``0#" "##" "##" "##" "##`` se lit
« 06 12 34 56 78 », 0,125 sous ``0.0%`` se lit « 12,5% ». C'est ce texte-là que l'agent voit et
qu'il croit donner à apprendre. Quand le format nous échappe, la valeur est lue, et la cellule dite.
Source des codes de format : ECMA-376, partie 1, § 18.8.30 et 18.8.31.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import ROUND_HALF_UP, Context, Decimal
from pathlib import Path
from typing import Any, TypeAlias

from fabrique.corpus.constats import Alerte
from fabrique.corpus.formats import COLONNES_CONNUES
from fabrique.socle.erreurs import ErreurFabrique
from fabrique.socle.nombres import MO, a_la_virgule

INSECABLE = "\u00a0"
JOURS = ("lundi", "mardi", "mercredi", "jeudi", "vendredi", "samedi", "dimanche")
MOIS = (
    "janvier", "février", "mars", "avril", "mai", "juin",
    "juillet", "août", "septembre", "octobre", "novembre", "décembre",
)  # fmt: skip
ABREGES = (
    "janv.", "févr.", "mars", "avr.", "mai", "juin",
    "juil.", "août", "sept.", "oct.", "nov.", "déc.",
)  # fmt: skip
#: Les formats qui suivent la langue du poste : ce qu'ils donnent en français.
DU_POSTE = {
    "mm-dd-yy": "dd/mm/yyyy",
    "m/d/yy h:mm": "dd/mm/yyyy hh:mm",
    "m/d/yyyy h:mm": "dd/mm/yyyy hh:mm",
    "[$-f800]dddd\\,\\ mmmm\\ dd\\,\\ yyyy": "dddd d mmmm yyyy",
    "[$-f400]h:mm:ss\\ am/pm": "hh:mm:ss",
}
#: Excel n'affiche pas plus de chiffres d'un nombre au format général : au-delà, des puissances de dix.
CHIFFRES_MAX = 11
Instant: TypeAlias = date | time | timedelta


@dataclass(frozen=True)
class Rangee:
    """Une rangée d'un tableau : sa ligne dans le fichier, ses cellules en texte, ce qu'il faut en dire."""

    numero: int
    cellules: list[str]
    alertes: tuple[Alerte, ...] = ()


# ---------------------------------------------------------------- le classeur


def lire_classeur(chemin: Path, poids_max: int) -> Iterator[Rangee]:
    """Les rangées de la première feuille, les noms de colonnes d'abord.

    Args:
        chemin: fichier ``.xlsx``.
        poids_max: ce que le classeur décompressé peut peser, en octets.

    Raises:
        ErreurFabrique: classeur illisible ou démesuré, ou dont la première feuille n'est pas
            le corpus quand une autre l'est.
    """
    with _expliquer(chemin):
        with zipfile.ZipFile(chemin) as archive:
            pese = sum(fichier.file_size for fichier in archive.infolist())
        if pese > poids_max:
            raise ErreurFabrique(
                f"le classeur décompressé pèse {pese // MO} Mo", "Exportez-le en CSV", chemin
            )
        # Deux lectures : la dernière valeur calculée, et la formule qui n'en a pas laissé.
        with (
            _ouvert(chemin, data_only=True) as valeurs,
            _ouvert(chemin, data_only=False) as formules,
        ):
            feuille, *autres = valeurs.worksheets
            _verifier_feuille(feuille, autres, chemin)
            alertes = _autres_feuilles(feuille, autres)
            paires = zip(feuille.iter_rows(), formules.worksheets[0].iter_rows(), strict=True)
            for numero, (cellules, ecrites) in enumerate(paires, 1):
                rangee = _rangee(numero, cellules, ecrites)
                if any(rangee.cellules) or rangee.alertes:
                    yield Rangee(numero, rangee.cellules, (*alertes, *rangee.alertes))
                    alertes = ()


@contextmanager
def _expliquer(chemin: Path) -> Iterator[None]:
    """Ce qu'openpyxl lève (zip, XML, cellules : de toute sorte), en une phrase."""
    try:
        yield
    except (ErreurFabrique, GeneratorExit):
        raise
    except Exception as cause:
        raise ErreurFabrique(
            "ce n’est pas un classeur Excel lisible",
            "Réenregistrez-le, ou exportez-le en CSV",
            chemin,
        ) from cause


def _ouvert(chemin: Path, data_only: bool) -> closing:
    """Le classeur, refermé à la sortie : sous Windows, un fichier ouvert ne se renomme ni ne s'efface."""
    from openpyxl import load_workbook

    return closing(load_workbook(chemin, read_only=True, data_only=data_only))


def _est_un_corpus(feuille: Any) -> bool:
    """Vrai si la première rangée porte au moins deux noms de colonnes connus."""
    entete = next(feuille.iter_rows(max_row=1, values_only=True), ())
    return len(COLONNES_CONNUES.intersection(str(nom or "").strip() for nom in entete)) > 1


def _verifier_feuille(feuille: Any, autres: list, chemin: Path) -> None:
    corpus = next((autre.title for autre in autres if _est_un_corpus(autre)), None)
    if corpus and not _est_un_corpus(feuille):
        raise ErreurFabrique(
            f"la première feuille, « {feuille.title} », n’est pas un corpus ; « {corpus} » en est un",
            f"Mettez la feuille « {corpus} » en premier, ou enregistrez-la seule",
            chemin,
            ligne=1,
        )


def _autres_feuilles(feuille: Any, autres: list) -> tuple[Alerte, ...]:
    if not autres:
        return ()
    noms = ", ".join(
        f"« {a.title} »" + (" (masquée)" if a.sheet_state != "visible" else "") for a in autres
    )
    message = f"seule la feuille « {feuille.title} » est lue ; laissées de côté : {noms}"
    return (Alerte("lecture.feuille", 1, message, du_fichier=True),)


# ---------------------------------------------------------------- une cellule


def _rangee(numero: int, cellules: tuple, ecrites: tuple) -> Rangee:
    """Les cellules en texte, et une alerte par cellule dont la lecture n'est pas sûre."""
    from openpyxl.utils import get_column_letter

    textes, alertes = [], []
    for rang, (cellule, ecrite) in enumerate(zip(cellules, ecrites, strict=True), 1):
        texte, doute = _lire(cellule, ecrite.data_type == "f")
        textes.append(texte)
        if doute:
            nom = f"{get_column_letter(rang)}{numero}"
            alertes.append(Alerte("lecture.cellule", numero, f"cellule {nom} : {doute}", nom))
    return Rangee(numero, textes, tuple(alertes))


def _lire(cellule: Any, formule: bool) -> tuple[str, str]:
    """Le texte d'une cellule, et ce qui en fait douter (rien, le plus souvent)."""
    from openpyxl.utils.escape import unescape

    valeur = cellule.value
    if valeur is None:
        sans_valeur = (
            "une formule jamais calculée, lue comme vide : ouvrez le classeur et enregistrez-le"
        )
        return "", sans_valeur if formule else ""
    if cellule.data_type == "e":
        return str(valeur), f"elle affiche l’erreur {valeur} : corrigez-la"
    if isinstance(valeur, bool):
        return "VRAI" if valeur else "FAUX", ""
    if isinstance(valeur, str):
        return unescape(valeur).replace("\r\n", "\n"), ""
    lu, sur = montrer(valeur, cellule.number_format or "General")
    return (
        lu,
        ""
        if sur
        else "sa valeur est lue, mais peut-être pas comme Excel l’affiche : mettez-la en texte",
    )


def montrer(
    valeur: int | float | datetime | date | time | timedelta, format: str
) -> tuple[str, bool]:
    """Une valeur telle qu'Excel la montre sous un format.

    Args:
        valeur: nombre, date, heure ou durée.
        format: code de format d'Excel, comme ``#,##0.00`` ou ``dd/mm/yyyy``.

    Returns:
        Le texte, et vrai si l'on est sûr que c'est celui qu'Excel affiche.
    """
    if isinstance(valeur, (int, float)):
        general = format.lower() in ("general", "@")
        montre = _general(valeur) if general else _nombre(valeur, format)
        return (montre, True) if montre is not None else (_tel_quel(valeur), False)
    montre = _date(valeur, DU_POSTE.get(format.lower(), format))
    return (montre, True) if montre is not None else (str(valeur), False)


# ---------------------------------------------------------------- les nombres


def _tel_quel(valeur: int | float) -> str:
    """Le nombre en entier, à la virgule."""
    if isinstance(valeur, float) and valeur.is_integer() and abs(valeur) < 1e15:
        valeur = int(valeur)
    return a_la_virgule(str(valeur))


def _arrondi(valeur: int | float, decimales: int) -> str:
    """Le nombre arrondi comme Excel : sur ses quinze chiffres, et la moitié s'éloigne de zéro."""
    exact = Decimal(valeur if isinstance(valeur, int) else f"{valeur:.15g}")
    pas = Decimal(1).scaleb(-decimales)
    return f"{exact.quantize(pas, ROUND_HALF_UP, Context(prec=400)):f}"


def _general(valeur: int | float) -> str | None:
    """Le format général, arrondi à onze signes ; rien là où Excel passe aux puissances de dix."""
    entiers = len(str(int(abs(valeur))))
    if entiers > CHIFFRES_MAX or 0 < abs(valeur) < 1e-4:
        return None
    arrondi = _arrondi(valeur, max(0, CHIFFRES_MAX - 1 - entiers))
    chiffres = arrondi.rstrip("0").rstrip(".") if "." in arrondi else arrondi
    return a_la_virgule(chiffres)


#: Les éléments d'un format de nombre.
_ELEMENTS = re.compile(
    r'"(?P<texte>[^"]*)"|\\(?P<echappe>.)|_(?P<blanc>.)|\*(?P<remplissage>.)|\[\$(?P<monnaie>[^\]-]*)[^\]]*\]'
    r"|\[(?P<couleur>black|blue|cyan|green|magenta|red|white|yellow|color\d+)\]"
    r"|(?P<chiffre>[0#?])|(?P<point>\.)|(?P<virgule>,)|(?P<pourcent>%)|(?P<signe>[-+ $€£():\u00a0\u202f])",
    re.IGNORECASE,
)


def _nombre(valeur: int | float, format: str) -> str | None:
    """Un nombre sous un format ; rien si le format n'est pas de ceux qu'on sait rendre."""
    sections = re.split(r';(?=(?:[^"]*"[^"]*")*[^"]*$)', format)
    propre = valeur < 0 and len(sections) > 1  # la section des négatifs écrit elle-même son signe
    section = (
        sections[1] if propre else sections[2] if valeur == 0 and len(sections) > 2 else sections[0]
    )
    elements = _decouper(section)
    if elements is None:
        return None
    genres = "".join(
        {"chiffre": "0", "point": ".", "virgule": ","}.get(g, "x") for g, _ in elements
    )
    entiers, _, decimales = genres.partition(".")
    if not _sans_piege(entiers, decimales):
        return None
    taille = decimales.count("0")
    multiplie = abs(valeur) * 100 ** sum(genre == "pourcent" for genre, _ in elements)
    chiffres, _, suite = _arrondi(multiplie, taille).partition(".")
    gauche = _remplir(elements[: len(entiers)], chiffres, "," in entiers)
    droite = _decimales(elements[len(entiers) + 1 :], suite)
    virgule = "," if "." in genres else ""
    nul = float(multiplie) == 0 or not (chiffres + suite).strip("0")
    return ("-" if valeur < 0 and not propre and not nul else "") + (
        gauche + virgule + droite
    ).strip()


def _analyser(motif: re.Pattern[str], format: str) -> list[tuple[str, str]] | None:
    """Les éléments d'un format, genre et texte, d'un bout à l'autre ; rien si l'un d'eux nous échappe."""
    elements, rang = [], 0
    while rang < len(format):
        trouve = motif.match(format, rang)
        if not trouve:
            return None
        elements.append((trouve.lastgroup or "", trouve[trouve.lastgroup or 0]))
        rang = trouve.end()
    return elements


def _decouper(section: str) -> list[tuple[str, str]] | None:
    """Les éléments d'une section de nombre : chiffres, signes de calcul et texte à recopier."""
    elements = _analyser(_ELEMENTS, section)
    if elements is None:
        return None
    calculs = ("chiffre", "point", "virgule", "pourcent")
    return [
        (genre if genre in calculs else "texte", INSECABLE if genre == "blanc" else texte)
        for genre, texte in elements
        if genre not in ("couleur", "remplissage")
    ]


def _sans_piege(entiers: str, decimales: str) -> bool:
    """Vrai si les virgules sont des séparateurs de milliers (« #,##0 ») et rien d'autre.

    Ailleurs, une virgule divise par mille, ou vient d'un format français mal recopié (« 0,0 »).
    """
    if "0" not in entiers + decimales:
        return False
    if "x0" in decimales.strip("x") or "," in decimales or "." in decimales:
        return False
    return "," not in entiers or bool(re.fullmatch(r"x*0+,000x*", entiers))


def _remplir(elements: list[tuple[str, str]], chiffres: str, milliers: bool) -> str:
    """Les chiffres mis à leur place, de droite à gauche ; le premier emplacement prend tout le reste."""
    places = [rang for rang, (genre, _) in enumerate(elements) if genre == "chiffre"]
    chiffres = "" if chiffres == "0" else chiffres
    rendu = [texte if genre in ("texte", "pourcent") else "" for genre, texte in elements]
    for rang in reversed(places):
        vide = {"0": "0", "?": INSECABLE, "#": ""}[elements[rang][1]]
        dernier = rang == places[0]
        rendu[rang] = (chiffres if dernier else chiffres[-1:]) or vide
        chiffres = "" if dernier else chiffres[:-1]
    if milliers:
        debut, fin = places[0], places[-1] + 1
        rendu[debut:fin] = [re.sub(r"(?<=\d)(?=(\d{3})+$)", INSECABLE, "".join(rendu[debut:fin]))]
    return "".join(rendu)


def _decimales(elements: list[tuple[str, str]], suite: str) -> str:
    """Les décimales, celles que « # » permet de taire une fois nulles, et ce qui suit le nombre."""
    rendu, rang = [], 0
    for genre, texte in elements:
        if genre == "chiffre":
            inutile = texte == "#" and not suite[rang:].strip("0")
            rendu.append("" if inutile else suite[rang])
            rang += 1
        else:
            rendu.append(texte)
    return "".join(rendu)


# ---------------------------------------------------------------- les dates et les heures

_TEMPS = re.compile(
    r'"(?P<texte>[^"]*)"|\\(?P<echappe>.)|_(?P<blanc>.)|(?P<langue>\[\$[^\]]*\])|(?P<duree>\[h+\])'
    r"|(?P<code>y+|m+|d+|h+|s+)|(?P<signe>[-/:., \u00a0])|(?P<fin>;@)$",
    re.IGNORECASE,
)


def _date(valeur: Instant, format: str) -> str | None:
    """Une date ou une heure sous un format ; rien si un code nous échappe (« AM/PM », par exemple)."""
    codes = _analyser(_TEMPS, format)
    if codes is None:
        return None
    textes = [_element(codes, rang, valeur) for rang in range(len(codes))]
    return None if None in textes else "".join(filter(None, textes)).strip()


def _element(codes: list[tuple[str, str]], rang: int, valeur: Instant) -> str | None:
    """Un élément d'un format de date : un nombre, un nom de jour ou de mois, ou le texte lui-même."""
    genre, code = codes[rang]
    if genre in ("langue", "fin"):
        return ""
    if genre == "code":
        return _compte(code.lower(), valeur, _minutes(codes, rang))
    if genre == "duree":
        heures = valeur // timedelta(hours=1) if isinstance(valeur, timedelta) else None
        return None if heures is None else f"{heures:0{len(code) - 2}d}"
    return INSECABLE if genre == "blanc" else code


def _minutes(codes: list[tuple[str, str]], rang: int) -> bool:
    """Vrai si ce « m » suit des heures ou précède des secondes : ce sont des minutes, non un mois."""
    avant = [code.lower() for genre, code in codes[:rang] if genre in ("code", "duree")][-1:]
    apres = [code.lower() for genre, code in codes[rang + 1 :] if genre in ("code", "duree")][:1]
    return any("h" in code for code in avant) or any(code[0] == "s" for code in apres)


def _compte(code: str, valeur: Any, minutes: bool) -> str | None:
    """La part d'une date ou d'une heure que désigne un code ; rien si la valeur ne l'a pas."""
    lettre, taille = code[0], len(code)
    if isinstance(valeur, timedelta):
        valeur = (datetime.min + valeur).time() if valeur >= timedelta() else None
    if lettre in "hs" or (lettre == "m" and minutes):
        nom = {"h": "hour", "s": "second", "m": "minute"}[lettre]
        part = getattr(valeur, nom, 0 if isinstance(valeur, date) else None)
        return None if part is None or taille > 2 else f"{part:0{taille}d}"
    if not isinstance(valeur, date):
        return None
    if lettre == "y":
        return f"{valeur.year:04d}"[-2 if taille <= 2 else 0 :]
    noms = {
        "d": (JOURS[valeur.weekday()][:3] + ".", JOURS[valeur.weekday()]),
        "m": (ABREGES[valeur.month - 1], MOIS[valeur.month - 1]),
    }[lettre]
    if taille <= 2:
        return f"{valeur.day if lettre == 'd' else valeur.month:0{taille}d}"
    return noms[taille - 3] if taille <= 4 else None
