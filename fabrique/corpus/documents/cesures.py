"""Le mot coupé en fin de ligne : le recoller, ou garder le trait d'union qu'il a vraiment.

« admi-/nistration » redevient « administration », « rendez-/vous » reste « rendez-vous ». On regarde
dans l'ordre : ce que le document écrit ailleurs sans coupure, les règles du français, un lexique.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache

from fabrique.corpus.documents.blocs import Retrait
from fabrique.socle.emplacements import dossier_data

#: Le trait d'union, sa forme Unicode, le trait conditionnel des traitements de texte, « ¬ ».
TRAITS = "-\u2010\u2011\u00ad¬"
#: Ceux qu'un logiciel ne met qu'à une coupure : ils ne sont jamais du mot.
_CONDITIONNELS = "\u00ad¬"
_DEBUT = re.compile(rf"((?:[^\W\d_]+[-’'])*)([^\W\d_]+)[{TRAITS}]$")
_FIN = re.compile(r"([^\W\d_]+)((?:-[^\W\d_]+)*)")
_MOT = re.compile(r"[^\W\d_]+(?:-[^\W\d_]+)*")
#: Où chercher le mot coupé, en signes depuis la fin de la ligne.
MOT_MAX = 60
#: Ce qui suit un verbe (« rendez-vous ») ou un mot (« celui-ci ») par un trait d'union.
_APRES = frozenset(
    [
        "je",
        "tu",
        "il",
        "elle",
        "on",
        "nous",
        "vous",
        "ils",
        "elles",
        "moi",
        "toi",
        "lui",
        "leur",
        "le",
        "la",
        "les",
        "y",
        "en",
        "ce",
        "ci",
        "là",
        "t",
        "même",
        "mêmes",
    ]
)
#: Ce qui précède un autre mot par un trait d'union.
_AVANT = frozenset(
    [
        "demi",
        "mi",
        "semi",
        "non",
        "ex",
        "vice",
        "sous",
        "sus",
        "avant",
        "après",
        "arrière",
        "au",
        "par",
        "outre",
        "quasi",
        "grand",
        "grands",
        "grande",
        "saint",
        "sainte",
        "contre",
        "entre",
        "peut",
        "c",
        "rendez",
        "vingt",
        "trente",
        "quarante",
        "cinquante",
        "soixante",
        "quatre",
    ]
)
#: Des fins de mots qui sont aussi des mots : elles n'en font pas un composé.
_SUFFIXES = frozenset(
    ["ment", "ments", "tion", "tions", "sion", "sions", "rent", "sons", "sante", "rait", "raient"]
)


@dataclass
class Lexique:
    """Les mots du document, et ceux du français.

    Args:
        vus: combien de fois le document écrit chaque mot sans le couper.
    """

    vus: Counter[str] = field(default_factory=Counter)

    @classmethod
    def de(cls, lignes: Iterable[str]) -> Lexique:
        """Les mots de ces lignes, sauf ceux que la fin d'une ligne coupe."""
        vus: Counter[str] = Counter()
        coupee = False
        for ligne in lignes:
            mots = _MOT.findall(ligne.lower())
            suite, coupee = int(coupee), ligne.rstrip()[-1:] in TRAITS and bool(ligne.strip())
            vus.update(mots[suite : len(mots) - coupee])
        return cls(vus)

    def connait(self, mot: str) -> bool:
        """Vrai si le document ou le français a ce mot."""
        return self.vus[mot.lower()] > 0 or _en_francais(mot.lower())


#: Les corpus livrés dont les mots complètent le lexique : simplemma n'a ni « plusieurs » ni « dos ».
CORPUS = ("fiches", "demarches", "salle_secours")


@lru_cache
def _des_corpus() -> frozenset[str]:
    """Les mots de nos corpus livrés, avec et sans trait d'union."""
    return frozenset(
        mot
        for nom in CORPUS
        for mot in _MOT.findall((dossier_data() / f"{nom}.jsonl").read_text("utf-8").lower())
    )


@lru_cache(100_000)
def _en_francais(mot: str) -> bool:
    """Vrai si nos corpus ou simplemma ont ce mot (ses formes fléchies viennent du Wiktionnaire)."""
    from simplemma import is_known

    return mot in _des_corpus() or is_known(mot, lang="fr")


@dataclass(frozen=True)
class Raccord:
    """Deux lignes réunies : le texte, et la coupure s'il y en avait une (« admi-/nistration »)."""

    texte: str
    coupure: str = ""


def raccorder(avant: str, apres: str, lexique: Lexique) -> Raccord:
    """Deux lignes qui se suivent dans un paragraphe, le mot coupé entre elles réparé."""
    avant, apres = avant.rstrip(), apres.lstrip()
    if avant[-1:] not in TRAITS or not avant:
        return Raccord(f"{avant} {apres}")
    debut, fin = _DEBUT.search(avant[-MOT_MAX:]), _FIN.match(apres)
    if not debut or not fin:
        colle = apres[:1].isalnum() and avant[-2:-1].isalnum()
        return Raccord(avant + ("" if colle else " ") + apres)
    coupure = f"{debut[0]}/{fin[0]}"
    if avant[-1] not in _CONDITIONNELS and _garde_son_trait(debut, fin, lexique):
        return Raccord(f"{avant[:-1]}-{apres}", coupure)
    return Raccord(avant[:-1] + apres, coupure)


def _garde_son_trait(debut: re.Match, fin: re.Match, lexique: Lexique) -> bool:
    """Vrai si le trait d'union est du mot, et non de la fin de la ligne."""
    gauche, droite = debut[2], fin[1]
    if droite[0].isupper() and not gauche.isupper():  # « Saint-Denis »
        return True
    entier, compose = (gauche + droite).lower(), f"{gauche}-{droite}".lower()
    if lexique.vus[entier] != lexique.vus[compose]:
        return lexique.vus[compose] > lexique.vus[entier]
    if _en_francais(entier):
        return False
    if _en_francais(compose):
        return True
    if (fin[2] or debut[1].endswith("-")) and lexique.connait(droite):  # « arc-en-/ciel »
        return True
    if droite.lower() in _APRES and lexique.connait(gauche):
        return True
    if gauche.lower() in _AVANT and lexique.connait(droite):
        return True
    if len(gauche) < 3 or len(droite) < 4 or droite.lower() in _SUFFIXES:
        return False
    return lexique.connait(gauche) and lexique.connait(droite)


def reunir_les_lignes(
    lignes: Iterable[tuple[str, int | None]], lexique: Lexique | None
) -> tuple[str, list[Retrait]]:
    """Les lignes d'un paragraphe réunies, et les coupures réparées.

    Args:
        lignes: chacune avec sa page.
        lexique: les mots connus ; None laisse les coupures telles quelles.
    """
    suite, coupures = iter(lignes), []
    texte, _ = next(suite, ("", None))
    for ligne, page in suite:
        raccord = raccorder(texte, ligne, lexique) if lexique else Raccord(f"{texte} {ligne}")
        texte = raccord.texte
        if raccord.coupure:
            coupures.append(Retrait("cesures", raccord.coupure, page))
    return texte, coupures
