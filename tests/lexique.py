"""Lit ``docs/lexique.md`` et relève, dans un texte, les mots qu'il fallait dire autrement."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import gardes

from outils.tester import RACINE

FICHIER = RACINE / "docs" / "lexique.md"
_LIGNE = re.compile(
    r'^\| <a id="(?P<ancre>[a-z0-9-]+)"></a>\*\*(?P<terme>[^|*]+)\*\* \| \*(?P<anglais>[^|*]+)\* '
    r"\| (?P<aussi>[^|]*) ?\| (?P<evite>[^|]*) ?\| (?P<definition>[^|]+) \| (?P<carnets>[^|]+) \|$",
    re.M,
)
#: Mots anglais qui sont aussi français, ou le nom d’une norme : leur présence ne dit rien.
AUSSI_FRANCAIS = {
    "corpus",
    "attention",
    "nat",
    "adapter",
    "injection",
    "hallucination",
    "json schema",
}
#: Où un mot anglais a sa place : entre parenthèses et en italique, dans un titre, cité.
_PERMIS = re.compile(r"\([^()]*\*[^*()]+\*[^()]*\)|\*[A-Z][^*]*\*|«[^»]*»")


@dataclass(frozen=True)
class Terme:
    """Une ligne du lexique."""

    ancre: str
    terme: str
    anglais: str
    evite: str
    definition: str
    carnets: tuple[str, ...]


def lire() -> list[Terme]:
    """Les termes, dans l'ordre du fichier."""
    return [
        Terme(
            trouve["ancre"],
            trouve["terme"],
            trouve["anglais"],
            trouve["evite"].strip(),
            trouve["definition"],
            tuple(re.findall(r"\b\d\d\b(?!_)", re.sub(r"\(.*?\)", "", trouve["carnets"]))),
        )
        for trouve in _LIGNE.finditer(FICHIER.read_text("utf-8"))
    ]


def motif(terme: str) -> re.Pattern:
    """Le terme entier, au singulier ou au pluriel."""
    mots = [re.escape(mot) + "[sx]?" for mot in terme.split()]
    return re.compile(r"(?<![\w-])" + r"\s+".join(mots) + r"(?![\w-])", re.I)


def anglicismes(markdown: str, termes: list[Terme]) -> Iterator[str]:
    """Les mots anglais, ou à éviter, employés dans la phrase même."""
    texte = _PERMIS.sub(" ", gardes.prose(markdown))
    for terme in termes:
        mots = [terme.anglais.removeprefix("to "), *terme.evite.split(", ")]
        for mot in filter(None, mots):
            if mot.lower() in AUSSI_FRANCAIS or mot.lower() == terme.terme.lower():
                continue
            if trouve := motif(mot).search(texte):
                extrait = " ".join(texte[max(trouve.start() - 20, 0) : trouve.end() + 20].split())
                yield f"« {trouve[0]} » au lieu de « {terme.terme} » (…{extrait}…)"


#: Ce qui n'apprend pas : un corpus, un exemple, un réglage, une recette ; le modèle, lui, apprend.
_N_APPREND_PAS = re.compile(
    r"\b(?:corpus|réglage fin|exemples?|réponses?|instructions?|consignes?|carnets?|cours|LoRA|"
    r"recettes?|adaptateurs?|PIAF|demarches|fichiers?|on)`?\s+(?:n(?:e\s+|’))?(?:(?:lui|nous|vous)\s+)?"
    r"appren(?:d|nent|ait|dra)\b"
)


def faux_sujets(markdown: str) -> Iterator[str]:
    """« Apprendre » n'a que l'élève pour sujet : ni le corpus, ni le réglage, ni nous."""
    for trouve in _N_APPREND_PAS.finditer(gardes.sans_code(markdown)):
        yield f"« {trouve[0]} » : c’est le modèle qui apprend"


def confusions(markdown: str) -> Iterator[str]:
    """« Précision » donnée pour *accuracy*, « exactitude » pour *precision*."""
    texte = gardes.sans_code(markdown)
    for francais, anglais in (("précision", "accuracy"), ("exactitude", "precision")):
        if re.search(rf"{francais}\W+\(\*?{anglais}", texte, re.I):
            yield f"« {francais} » est donnée pour « {anglais} »"
