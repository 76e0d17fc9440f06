"""Le contraste d'un HTML, lu sans navigateur : couleurs en ligne et feuilles de style."""

from __future__ import annotations

import re
from html.parser import HTMLParser

#: Le minimum des WCAG 2.2, niveau AA, pour un texte ordinaire.
MINIMUM = 4.5
#: Ce que JupyterLab et Colab peignent du fond de leur thème.
PEINTS_PAR_LE_THEME = {"tr", "code", "pre", "mark", "kbd"}
SANS_FIN = {"br", "img", "wbr", "meta", "link", "hr", "input"}
NOMS = {"white": "#fff", "black": "#000"}


def contraste(encre: str, fond: str) -> float:
    """Le contraste de deux couleurs hexadécimales, de 1 à 21 (WCAG 2.2, « contrast ratio »)."""
    clair, sombre = sorted((_luminance(encre), _luminance(fond)), reverse=True)
    return (clair + 0.05) / (sombre + 0.05)


def _luminance(couleur: str) -> float:
    brut = NOMS.get(couleur, couleur).removeprefix("#")
    brut = "".join(2 * chiffre for chiffre in brut) if len(brut) == 3 else brut
    parts = [int(brut[rang : rang + 2], 16) / 255 for rang in (0, 2, 4)]
    rouge, vert, bleu = (
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    )
    return 0.2126 * rouge + 0.7152 * vert + 0.0722 * bleu


def couleurs(style: str) -> tuple[str | None, str | None]:
    """L'encre et le fond que fixe un style ; None pour ce qu'il ne fixe pas."""
    encre = re.search(r"(?<![-\w])color\s*:\s*([^;}\"]+)", style)
    fond = re.search(r"(?<![-\w])background(?:-color)?\s*:\s*([^;}\"]+)", style)
    return (encre and encre[1].strip()), (fond and fond[1].strip())


def defauts_du_style(style: str, ou: str) -> list[str]:
    """Une couleur sans l'autre, ou un couple trop pâle."""
    encre, fond = couleurs(style)
    if (encre is None) != (fond is None):
        return [f"{ou} : {'encre' if encre else 'fond'} sans l’autre couleur ({style})"]
    if encre and fond and contraste(encre, fond) < MINIMUM:
        return [f"{ou} : contraste de {contraste(encre, fond):.1f} ({style})"]
    return []


def defauts(page: str) -> list[str]:
    """Tous les défauts d'un HTML : styles en ligne, feuilles de style, textes livrés au thème."""
    feuilles = re.findall(r"<style>(.*?)</style>", page, re.S)
    regles = [
        regle for feuille in feuilles for regle in re.findall(r"([^{}]+)\{([^{}]*)\}", feuille)
    ]
    fautes = [d for nom, style in regles for d in defauts_du_style(style, nom.strip())]
    lecteur = _Lecteur()
    lecteur.feed(re.sub(r"<style>.*?</style>", "", page, flags=re.S))
    return fautes + lecteur.fautes


class _Lecteur(HTMLParser):
    """Suit les éléments ouverts : chacun, et si ses couleurs sont fixées."""

    def __init__(self) -> None:
        super().__init__()
        self.ouverts: list[tuple[str, bool]] = []
        self.fautes: list[str] = []

    def handle_starttag(self, balise: str, attributs: list) -> None:
        style = dict(attributs).get("style") or ""
        self.fautes += defauts_du_style(style, f"<{balise}>")
        if balise not in SANS_FIN:
            self.ouverts.append((balise, None not in couleurs(style)))

    def handle_endtag(self, balise: str) -> None:
        ouverte, _ = self.ouverts.pop()
        assert ouverte == balise

    def handle_data(self, texte: str) -> None:
        """Un texte dont une rangée ou un code, peints par le thème, séparent l'encre de son fond."""
        peint = False
        for balise, fixe in reversed(self.ouverts if texte.strip(" \n\u200b") else []):
            if fixe and peint:
                self.fautes.append(
                    f"« {texte[:30]} » : fond du thème sous une encre fixée plus haut"
                )
            if fixe:
                return
            peint = peint or balise in PEINTS_PAR_LE_THEME
