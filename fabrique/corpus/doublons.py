"""Reconnaître les textes pareils, à la typographie près, et trouver ceux qui se ressemblent.

Pareils : deux textes que seule leur typographie distingue (blancs, apostrophes, casse,
caractères invisibles, Unicode composé ou non). Jumeaux : les mêmes mots, avec ou sans accents ni
ponctuation, comme deux personnes posent une même question.

Deux textes se ressemblent quand ils ont beaucoup de suites de cinq caractères en commun :
leur indice de Jaccard, partie commune sur réunion. MinHash résume ces suites en 128 nombres,
et LSH ne rapproche que les résumés voisins ; chaque paire proposée est ensuite vérifiée
exactement.
Source : Broder, 1997 (MinHash) ; bibliothèque datasketch.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from typing import TypeAlias

import numpy as np
from datasketch import MinHash, MinHashLSH

from fabrique.corpus.formats import JUMELLE, demande, empreinte_de_la_demande, textes

#: Longueur des suites de caractères comparées.
SUITE = 5
PERMUTATIONS = 128
#: La famille de fonctions de hachage, nommée pour qu'un résumé relu soit comparable.
FAMILLE = "affine32"
#: Ses 128 fonctions, tirées une fois : les retirer pour chaque texte prendrait autant que le résumer.
_FONCTIONS = MinHash(PERMUTATIONS, scheme=FAMILLE).permutations
#: 25 bandes de 5 : une paire de Jaccard 0,7 est proposée 99 fois sur 100.
BANDES = (25, 5)
_BASE = np.uint64(1099511628211)
#: Un résumé de MinHash, tel que calculé ou relu d'un fichier.
Resume: TypeAlias = np.ndarray | list[int]


#: Un même signe s'écrit de plusieurs façons : droite ou courbe, insécable ou non, liée ou non.
_MEMES_SIGNES = str.maketrans(
    {
        **dict.fromkeys("’‘ʼ‛´`′", "'"),
        **dict.fromkeys("“”„«»‹›″", '"'),
        **dict.fromkeys("‐‑‒–—―−", "-"),
        "…": "...",
        "œ": "oe",
        "æ": "ae",
    }
)
#: Ce qui ne se voit pas : contrôles, césures, espaces sans largeur, sens de lecture, variantes.
INVISIBLES = (
    r"\x00-\x08\x0e-\x1b\x7f\xad\u034f\u061c\u180e\u200b-\u200f\u202a-\u202e"
    r"\u2060-\u206f\ufe00-\ufe0f\ufeff"
)
_INVISIBLES = re.compile(f"[{INVISIBLES}]")
_BLANC_DE_PONCTUATION = re.compile(r"(?<=«) +| +(?=[»;:!?])")
_ACCENTS = re.compile(r"[\u0300-\u036f]")
#: La ponctuation, hors de celle qui fait un nombre : « 10,50 », « 12/03 », « -5 ».
_PONCTUATION = re.compile(r"""['"!?;()\[\]{}·•*_]|(?<!\d)[.,:/]|[.,:/](?!\d)|-(?!\d)|(?<=\w)-""")


def normaliser(texte: str) -> str:
    """Le texte sans ce qui n'est que typographie : casse, blancs, apostrophes, tirets, invisibles.

    Accents, chiffres et ponctuation restent : deux textes normalisés pareils disent la même chose.
    """
    visible = unicodedata.normalize("NFD", _INVISIBLES.sub("", texte))
    minuscule = unicodedata.normalize("NFC", visible.casefold())
    serre = _BLANC_DE_PONCTUATION.sub("", " ".join(minuscule.split()))
    return serre.translate(_MEMES_SIGNES)


def jumeler(texte: str) -> str:
    """Ce que deux façons d'écrire la même question ont en commun : ses mots, sans accents.

    « À qui écrire ? » et « a qui ecrire » sont jumelles ; « 5 % », « 5 € » et « -5 » ne le sont pas.
    """
    nu = _ACCENTS.sub("", unicodedata.normalize("NFD", normaliser(texte)))
    return " ".join(_PONCTUATION.sub(" ", nu).split()) or nu


def empreinte(texte: str) -> str:
    """Seize caractères qui identifient un texte ; rien pour un texte vide."""
    octets = texte.encode("utf-8", "replace")
    return blake2b(octets, digest_size=8).hexdigest() if texte else ""


def identite(exemple: dict) -> str:
    """L'empreinte de tout ce qu'un exemple fait lire et dire : pareille pour deux doublons exacts."""
    dits = (f"{champ}\t{normaliser(texte)}" for champ, texte in textes(exemple) if texte.strip())
    return empreinte("\n".join(dits))


def empreintes_de_la_demande(exemple: dict) -> tuple[str, str]:
    """Ce qui reconnaît une demande apprise : telle qu'elle est écrite, et telle qu'une jumelle l'écrirait.

    La première est celle que les adaptateurs appris avant la seconde portent seule.
    """
    jumelle = empreinte(jumeler(demande(exemple)))
    return empreinte_de_la_demande(exemple), f"{JUMELLE}{jumelle}"


def suites(texte: str) -> np.ndarray:
    """Les suites de cinq caractères d'un texte normalisé, chacune réduite à 32 bits, sans répétition."""
    codes = np.frombuffer(normaliser(texte).encode("utf-32-le", "replace"), np.uint32)
    codes = np.pad(codes, (0, max(0, SUITE - len(codes)))).astype(np.uint64)
    hachees = np.zeros(len(codes) - SUITE + 1, np.uint64)
    for rang in range(SUITE):
        hachees = (hachees + codes[rang : rang + len(hachees)]) * _BASE
    # Les 32 bits de poids fort dépendent des cinq caractères, le dernier compris.
    return np.unique((hachees >> np.uint64(32)).astype(np.uint32))


def jaccard(a: np.ndarray, b: np.ndarray) -> float:
    """Partie commune sur réunion de deux ensembles de suites (entre 0 et 1)."""
    communes = len(np.intersect1d(a, b, assume_unique=True))
    return communes / (len(a) + len(b) - communes)


def signature(texte: str) -> np.ndarray:
    """Le résumé MinHash d'un texte : 128 entiers de 32 bits."""
    resume = MinHash(PERMUTATIONS, hashfunc=int, scheme=FAMILLE, permutations=_FONCTIONS)
    resume.update_batch(suites(texte).tolist())
    return resume.hashvalues


@dataclass(frozen=True)
class Ressemblance:
    """Le texte déjà vu qui ressemble le plus, et son indice de Jaccard."""

    cle: int
    jaccard: float


#: Combien de textes comparés restent en mémoire : quelques dizaines de Mo au plus.
RELUS = 4096


class Index:
    """Les textes déjà vus, interrogeables par ressemblance.

    Args:
        seuil: indice de Jaccard à partir duquel deux textes se ressemblent.
        relire: rend le texte d'une clé ; l'index ne garde que des résumés, et les suites des
            derniers textes comparés, qui reviennent souvent.
    """

    def __init__(self, seuil: float, relire: Callable[[int], str]) -> None:
        self.seuil = seuil
        self.suites_de = lru_cache(RELUS)(lambda cle: suites(relire(cle)))
        self.lsh = MinHashLSH(num_perm=PERMUTATIONS, params=BANDES)

    def voisines(
        self, texte: str, resume: Resume, passer: Callable[[int], bool] = lambda cle: False
    ) -> Iterator[Ressemblance]:
        """Les textes connus qui ressemblent assez à celui-ci, sauf ceux que ``passer`` écarte."""
        siennes = None
        for cle in self.lsh.query(self._minhash(resume)):
            if passer(cle):
                continue
            siennes = suites(texte) if siennes is None else siennes
            indice = jaccard(siennes, self.suites_de(cle))
            if indice >= self.seuil:
                yield Ressemblance(cle, indice)

    def chercher(self, texte: str, resume: Resume) -> Ressemblance | None:
        """Le texte connu le plus ressemblant, s'il atteint le seuil."""
        trouvees = self.voisines(texte, resume)
        return max(trouvees, key=lambda ressemblance: ressemblance.jaccard, default=None)

    def ajouter(self, cle: int, resume: Resume) -> None:
        """Retient un texte par son résumé."""
        self.lsh.insert(cle, self._minhash(resume), check_duplication=False)

    @staticmethod
    def _minhash(resume: Resume) -> MinHash:
        valeurs = np.asarray(resume, np.uint32)
        return MinHash(PERMUTATIONS, hashvalues=valeurs, scheme=FAMILLE, permutations=_FONCTIONS)
