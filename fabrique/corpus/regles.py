"""Ce qu'un texte ne devrait pas contenir, règle par règle.

Une règle regarde un texte et rend les extraits fautifs. Elle ne connaît ni fichier ni
corpus : on la lit, on l'essaie sur une phrase, on en ajoute une.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import ftfy

from fabrique.corpus.constats import ALERTE, ERREUR

_BALISE = re.compile(
    r"</?(?:p|br|div|span|a|b|i|u|strong|em|ul|ol|li|table|t[rdh]|h[1-6]|img|font|script)\b[^<>]*>"
    r"|&(?:[a-z]{2,8}|#\d{1,6});",
    re.IGNORECASE,
)
_ASSISTANT = re.compile(
    r"\ben tant qu[e’'] ?(?:un |une )?(?:modèle (?:de langage|de langue|linguistique)|ia\b|intelligence"
    r" artificielle|assistant (?:virtuel|ia|numérique))"
    r"|\bje suis (?:un |une )(?:modèle de lang|ia\b|intelligence artificielle|assistant virtuel)"
    r"|\bas an ai\b|\bmes (?:données d’entraînement|connaissances s’arrêtent)"
    r"|\bma (?:date de coupure|dernière mise à jour)",
    re.IGNORECASE,
)
# Le liant sans chasse (U+200D) et les sélecteurs de variante font partie des émojis.
_INVISIBLES = re.compile(
    r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\xad\u061c\u180e\u200b\u200c\u200e\u200f"
    r"\u2028-\u202e\u2060-\u206f\ufeff]"
)
_FIN = re.compile(r"[.!?…»”\")\]:;|*`}>]\s*$|https?://\S+\s*$")
#: En deçà, une phrase est trop courte pour qu'on en devine la langue ou qu'on la dise inachevée.
LETTRES_LANGUE, MOTS_PHRASE = 60, 12


@dataclass(frozen=True)
class Regle:
    """Une règle sur le texte.

    Args:
        nom: « famille.precision », comme dans le rapport.
        gravite: « erreur » ou « alerte ».
        message: ce qui ne va pas et ce qu'il faut faire, en une phrase.
        trouver: rend les extraits fautifs d'un texte.
        reponse_seule: ne regarde que ce que le modèle apprendra à dire.
    """

    nom: str
    gravite: str
    message: str
    trouver: Callable[[str], Iterator[str]]
    reponse_seule: bool = False


def _motif(motif: re.Pattern[str]) -> Callable[[str], Iterator[str]]:
    def trouver(texte: str) -> Iterator[str]:
        trouve = motif.search(texte)
        if trouve:
            yield entourer(texte, trouve.start(), trouve.end())

    return trouver


def entourer(texte: str, debut: int, fin: int, autour: int = 30) -> str:
    """L'extrait et un peu de ce qui l'entoure, sur une ligne."""
    extrait = texte[max(0, debut - autour) : fin + autour]
    return " ".join(extrait.split())


def _mojibake(texte: str) -> Iterator[str]:
    """« dÃ©jÃ  » : de l'UTF-8 relu comme du Latin-1. ftfy sait défaire ; nous ne faisons que dire."""
    if "\ufffd" in texte:
        rang = texte.index("\ufffd")
        yield entourer(texte, rang, rang + 1)
    elif (repare := ftfy.fix_encoding(texte)) != texte:
        rang = next((i for i, (a, b) in enumerate(zip(texte, repare, strict=False)) if a != b), 0)
        yield entourer(texte, rang, rang + 2)


def _decompose(texte: str) -> Iterator[str]:
    if not unicodedata.is_normalized("NFC", texte):
        # Sans accent séparé, un seul signe à changer : le signe ohm, le « K » des kelvins…
        normal = unicodedata.normalize("NFC", texte)
        autre = next(i for i, c in enumerate(texte) if c != normal[i : i + 1])
        rang = next((i for i, c in enumerate(texte) if unicodedata.combining(c)), autre)
        yield entourer(texte, rang, rang + 1)


def _inacheve(texte: str) -> Iterator[str]:
    if len(texte.split()) >= MOTS_PHRASE and not _FIN.search(texte.rstrip()):
        yield texte.rstrip()[-60:]


@cache
def _identifieur() -> Any:
    """Le reconnaisseur de langues, chargé au premier emploi."""
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    reconnaisseur = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    reconnaisseur.set_languages(["fr", "en", "es", "it", "de", "pt", "nl", "ca", "ro", "la"])
    return reconnaisseur


def langue(texte: str) -> tuple[str, float] | None:
    """La langue d'un texte et la certitude (de 0 à 1) ; ``None`` s'il est trop court pour la dire."""
    if sum(map(str.isalpha, texte)) < LETTRES_LANGUE:
        return None
    devinee, certitude = _identifieur().classify(texte[:600].replace("ſ", "s"))
    return devinee, certitude


def _autre_langue(texte: str) -> Iterator[str]:
    devinee, certitude = langue(texte) or ("fr", 1.0)
    if devinee != "fr" and certitude > 0.95:
        yield f"[{devinee}] {texte[:60]}"


REGLES = (
    Regle(
        "encodage.mojibake",
        ERREUR,
        "des caractères ont été mal décodés : réenregistrez le fichier d’origine en UTF-8",
        _mojibake,
    ),
    Regle(
        "encodage.nfc",
        ALERTE,
        "des accents sont écrits en deux caractères (NFD) : passez le texte en NFC",
        _decompose,
    ),
    Regle(
        "encodage.invisible",
        ALERTE,
        "un caractère invisible traîne : retirez-le",
        _motif(_INVISIBLES),
    ),
    Regle(
        "texte.html",
        ERREUR,
        "il reste des balises ou des entités HTML : retirez-les",
        _motif(_BALISE),
    ),
    Regle(
        "texte.assistant",
        ERREUR,
        "la réponse parle d’elle-même comme un assistant : récrivez-la, le modèle le répéterait",
        _motif(_ASSISTANT),
        reponse_seule=True,
    ),
    Regle(
        "texte.langue",
        ERREUR,
        "la réponse n’est sans doute pas en français : traduisez-la, ou retirez l’exemple",
        _autre_langue,
        reponse_seule=True,
    ),
    Regle(
        "texte.inacheve",
        ALERTE,
        "la réponse s’arrête sans ponctuation finale : a-t-elle été coupée ?",
        _inacheve,
        reponse_seule=True,
    ),
)
