"""Voir un texte coupé en jetons : en couleurs dans un carnet et dans un terminal, ou en texte nu.

Rien n'est caché : une espace se voit, une insécable se nomme, et un octet qui ne fait pas un
caractère à lui seul s'écrit « ⟨C3⟩ ». La couleur n'est jamais seule à séparer deux jetons.
"""

from __future__ import annotations

import html
import unicodedata
from dataclasses import dataclass

from IPython.display import display

from fabrique.jetons.decoupeurs import Decoupeur
from fabrique.socle.figures import SUR_BLANC
from fabrique.socle.nombres import accorder

#: Fonds clairs (Okabe et Ito, éclaircis), sous du texte noir : contraste d'au moins 12 pour 1.
FONDS = ("#CBE3F5", "#FBE3B3", "#C3EBDD", "#F6DCEA")
#: Les mêmes, dans les 256 couleurs d'un terminal.
FONDS_ANSI = (153, 223, 158, 225)
#: Jetons montrés au plus : une sortie tient sur un écran.
MONTRES = 300

_VISIBLES = {" ": "␣", "\u00a0": "⟨insécable⟩", "\u202f": "⟨fine⟩", "\n": "↵", "\t": "⇥"}
#: Catégories Unicode sans dessin : contrôles, formats, non attribués, usage privé, blancs et, sous
#: ``surrogateescape``, octets qui ne font pas un caractère à eux seuls (« Cs »).
_SANS_DESSIN = {"Cc", "Cf", "Cn", "Co", "Cs", "Zl", "Zp", "Zs"}


@dataclass(frozen=True)
class Jeton:
    """Un jeton d'un texte coupé : son identifiant, ses octets, et s'il est spécial."""

    identifiant: int
    octets: bytes
    special: bool = False

    @property
    def visible(self) -> str:
        """Le jeton tel qu'on le montre ; « ⟨vide⟩ » s'il ne porte aucun octet."""
        lu = self.octets.decode("utf-8", "surrogateescape")
        montre = "".join(_visible(caractere) for caractere in lu)
        return f"◌{montre}" if unicodedata.combining(lu[:1] or " ") else montre or "⟨vide⟩"


@dataclass(frozen=True)
class Decoupe:
    """Un texte coupé en jetons.

    Args:
        texte: le texte d'origine.
        tokenizer: le nom du tokenizer.
        jetons: ses jetons, dans l'ordre.
    """

    texte: str
    tokenizer: str
    jetons: tuple[Jeton, ...]

    @property
    def octets(self) -> bytes:
        """Les octets des jetons mis bout à bout : ce que le modèle lit."""
        return b"".join(jeton.octets for jeton in self.jetons)

    @property
    def ecart(self) -> str:
        """Ce que le tokenizer a changé au texte, en une phrase ; vide s'il le rend tel quel."""
        if self.octets == self.texte.encode():
            return ""
        if self.octets == f" {self.texte}".encode():
            return "Ce tokenizer ajoute une espace devant le texte."
        return "Ce tokenizer récrit le texte avant de le couper : les jetons ne le redonnent pas tel quel."

    @property
    def resume(self) -> str:
        """Les comptes, en une phrase."""
        phrase = (
            f"{self.tokenizer} : {accorder(len(self.jetons), 'jeton')}, "
            f"{accorder(len(self.texte), 'caractère')}, "
            f"{accorder(len(self.texte.encode()), 'octet')}."
        )
        return f"{phrase} {self.ecart}".strip()


def decouper(texte: str, tokenizer: Decoupeur) -> Decoupe:
    """Coupe un texte en jetons qui se regardent un à un.

    Raises:
        ErreurFabrique: le texte contient un demi-caractère Unicode.
    """
    jetons = (
        Jeton(identifiant, tokenizer.octets(identifiant), identifiant in tokenizer.speciaux)
        for identifiant in tokenizer.coder(texte)
    )
    return Decoupe(texte, tokenizer.nom, tuple(jetons))


def montrer_jetons(texte: str, tokenizer: Decoupeur, identifiants: bool = False) -> None:
    """Montre un texte coupé dans un carnet : des couleurs, et le texte nu pour qui ne les a pas.

    Args:
        identifiants: écrit aussi le numéro de chaque jeton.

    Raises:
        ErreurFabrique: le texte contient un demi-caractère Unicode.
    """
    decoupe = decouper(texte, tokenizer)
    rendus = {
        "text/html": en_html(decoupe, identifiants),
        "text/plain": en_texte(decoupe, identifiants),
    }
    display(rendus, raw=True)


def en_html(decoupe: Decoupe, identifiants: bool = False, montres: int = MONTRES) -> str:
    """Le texte coupé en HTML : une liste d'étiquettes colorées et bordées.

    Les étiquettes sont des ``<code>`` : GitHub, qui retire les styles, les encadre encore. Un
    lecteur d'écran annonce une liste et son nombre de jetons.

    Args:
        identifiants: écrit aussi le numéro de chaque jeton.
        montres: nombre de jetons au plus ; la suite est comptée.
    """
    etiquettes = "".join(
        _etiquette(jeton, FONDS[rang % len(FONDS)], identifiants)
        for rang, jeton in enumerate(decoupe.jetons[:montres])
    )
    resume = html.escape(decoupe.resume, quote=True)
    return (
        f'<figure style="margin:0;padding:6px;{SUR_BLANC};max-width:820px">'
        f'<div role="list" aria-label="Texte coupé en jetons. {resume}" style="line-height:2">'
        f"{etiquettes}{html.escape(_reste(decoupe, montres))}</div>"
        f"<figcaption>{resume}</figcaption></figure>"
    )


def _etiquette(jeton: Jeton, fond: str, identifiants: bool) -> str:
    couleurs = "background:#000;color:#fff" if jeton.special else f"background:{fond};color:#000"
    bord = "3px double #fff;outline:1px solid #000" if jeton.special else "1px solid #444"
    numero = f"&nbsp;<small>{jeton.identifiant}</small>" if identifiants else ""
    alternative = ' title="jeton spécial"' if jeton.special else ""
    suite = "<br>" if jeton.octets.endswith(b"\n") else ""
    return (
        f'<code role="listitem"{alternative} style="{couleurs};border:{bord};border-radius:3px;'
        f'padding:1px 2px;margin:1px;white-space:pre-wrap">{html.escape(jeton.visible)}{numero}'
        f"</code>{suite}\u200b"
    )


def en_terminal(decoupe: Decoupe, identifiants: bool = False, montres: int = MONTRES) -> str:
    """Le texte coupé en couleurs ANSI, pour un terminal ; une barre sépare aussi les jetons."""
    morceaux = [
        f"\033[38;5;{15 if jeton.special else 16};48;5;"
        f"{16 if jeton.special else FONDS_ANSI[rang % len(FONDS_ANSI)]}m"
        f"{_nu(jeton, identifiants)}\033[0m"
        for rang, jeton in enumerate(decoupe.jetons[:montres])
    ]
    return f"{'│'.join(morceaux)}{_reste(decoupe, montres)}\n{decoupe.resume}"


def en_texte(decoupe: Decoupe, identifiants: bool = False, montres: int = MONTRES) -> str:
    """Le texte coupé sans couleur : une barre sépare les jetons."""
    morceaux = [_nu(jeton, identifiants) for jeton in decoupe.jetons[:montres]]
    return f"{'│'.join(morceaux)}{_reste(decoupe, montres)}\n{decoupe.resume}"


def _nu(jeton: Jeton, identifiants: bool) -> str:
    return f"{jeton.visible} {jeton.identifiant}" if identifiants else jeton.visible


def _reste(decoupe: Decoupe, montres: int) -> str:
    reste = len(decoupe.jetons) - montres
    return f" … et {accorder(reste, 'autre jeton', 'autres jetons')}" if reste > 0 else ""


def _visible(caractere: str) -> str:
    """Un caractère tel qu'on le voit ; ses octets s'il ne se voit pas ou s'il est incomplet."""
    if caractere in _VISIBLES:
        return _VISIBLES[caractere]
    # Un sélecteur de variante (emoji en couleurs) a la catégorie d'un accent, mais pas de dessin.
    selecteur = "VARIATION SELECTOR" in unicodedata.name(caractere, "")
    if not selecteur and unicodedata.category(caractere) not in _SANS_DESSIN:
        return caractere
    octets = caractere.encode("utf-8", "surrogateescape")
    return "".join(f"⟨{octet:02X}⟩" for octet in octets)
