"""Finir à temps : avant d'écrire un jeton, savoir comment la réponse se fermerait après lui.

Une grammaire dit ce qui peut suivre, pas combien il reste à écrire. On garde donc, à tout moment, un
texte qui finit la réponse ; un jeton après lequel il n'y aurait plus la place de finir est refusé.
Rien d'autre ne change : tant que la place suffit, le modèle écrit ce qu'il aurait écrit.
"""

from __future__ import annotations

import heapq
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import count

import numpy as np
import torch
from llguidance import LLMatcher, LLTokenizer
from llguidance.hf import from_tokenizer
from transformers import PreTrainedTokenizerBase

from fabrique.socle.erreurs import ErreurFabrique

#: Ce qui ferme une valeur JSON, dans l'ordre où on l'essaie ; dans un texte, « } » n'est qu'un signe.
_FERMENT, _FERME_UN_TEXTE, _SIGNES_DE_TEXTE = (b"}", b"]", b'"'), (b'"',), (b"}", b"x")
_AUTRE = 2
#: Un mot, une lettre accentuée, « @exemple.fr » : ce qui, dans une grammaire, n'est pas de la syntaxe.
_FRAGMENT, _ECHAPPE = re.compile(r"[^\s\"\\^$*+?()\[\]{}|/,:]+"), re.compile(r"\\+([^\w\s])")
_FRAGMENTS = 200
#: Choix permis dans une suite qui finit, de plus en plus ; pas essayés, en plus, à chaque fois.
_CHOIX, _ESSAIS = (3, 8, 32, 128, 512), 300


class Ecriture:
    """Une réponse qui suit une grammaire, jeton après jeton.

    Args:
        tokenizer: un tokenizer rapide de transformers, au niveau des octets.
        grammaire: dans le langage de Lark.
        limite: jetons de la réponse, celui de fin compris ; ``None`` ne prévoit pas sa fin.

    Raises:
        ErreurFabrique: la grammaire ne se comprend pas, ou rien de ce qu'elle permet ne finit dans
            la limite.
    """

    def __init__(
        self, tokenizer: PreTrainedTokenizerBase, grammaire: str, limite: int | None = None
    ) -> None:
        self.alphabet = _alphabet(tokenizer)
        self.lecteur = _lecteur(self.alphabet, grammaire)
        self.reste, self.fragments = limite, _fragments(grammaire)
        self._issue = Issue(b"", ())
        self._vus: dict[int, tuple[LLMatcher, Issue | None]] = {}
        if limite is not None:
            _refuser_sans_fin(tokenizer, grammaire, limite)
            self._issue = _premiere_issue(tokenizer, grammaire) or self._issue

    def permis(self, taille: int) -> torch.Tensor:
        """Vrai pour chaque jeton que la grammaire permet (forme : taille du vocabulaire)."""
        permis = torch.zeros(taille, dtype=torch.bool)
        if self.lecteur.is_stopped():
            permis[self.alphabet.fin] = True
        else:
            masque = _masque(self.lecteur)
            permis[: len(masque)] = torch.from_numpy(masque)
        return permis

    def tient(self, jeton: int) -> bool:
        """Vrai si, ce jeton permis une fois écrit, il reste de quoi finir."""
        if self.reste is None or jeton == self.alphabet.fin or self.lecteur.is_stopped():
            return True
        if jeton not in self._vus:
            apres = self.lecteur.deep_copy()
            apres.consume_token(jeton)
            ancienne = self._issue.texte
            self._vus[jeton] = apres, self._issue_d_apres(apres, ancienne, self.reste - 1)
        return self._vus[jeton][1] is not None

    @property
    def issue(self) -> int:
        """Le jeton suivant de la fin prévue."""
        return self._issue.jetons[0] if self._issue.jetons else self.alphabet.fin

    def ecrire(self, jeton: int) -> None:
        """Ajoute un jeton à la réponse ; après sa fin, elle ne change plus."""
        if self.lecteur.is_stopped():
            return
        if self.reste is None:
            self.lecteur.consume_token(jeton)
            return
        if jeton == self.alphabet.fin or not self.tient(jeton):
            self.lecteur.consume_token(jeton)
        else:
            self.lecteur, issue = self._vus[jeton]
            self._issue = issue or self._issue
        self._vus, self.reste = {}, self.reste - 1

    # ------------------------------------------------------------ prévoir

    def _issue_d_apres(self, lecteur: LLMatcher, ancienne: bytes, reste: int) -> Issue | None:
        """De quoi finir en ``reste`` jetons, fin comprise : souvent un bout de l'ancienne issue."""
        octets = self.alphabet.jetons_de(ancienne)
        for debut in range(len(octets), -1, -1):
            if _finit(lecteur, octets[debut:], self.alphabet.fin):
                texte: bytes | None = ancienne[debut:]
                break
        else:
            texte = plus_court(lecteur, self.alphabet, self.fragments)
        if texte is None:
            return None
        issue = _en_jetons(lecteur, self.alphabet, texte)
        return issue if len(issue.jetons) < reste else None


@dataclass(frozen=True)
class Issue:
    """Un texte qui finit la réponse, et ses jetons, sans celui de fin."""

    texte: bytes
    jetons: tuple[int, ...]


def jetons_au_moins(tokenizer: PreTrainedTokenizerBase, grammaire: str) -> float:
    """Ce que demande une réponse courte, en jetons, fin comprise ; l'infini, si rien ne finit."""
    issue = _premiere_issue(tokenizer, grammaire)
    return math.inf if issue is None else len(issue.jetons) + 1


def _refuser_sans_fin(tokenizer: PreTrainedTokenizerBase, grammaire: str, limite: int) -> None:
    demande = jetons_au_moins(tokenizer, grammaire)
    if demande > limite:
        raise ErreurFabrique(
            "rien de ce que permet cette forme ne finit"
            if math.isinf(demande)
            else f"une réponse de cette forme demande au moins {demande} jetons, fin comprise, et la "
            f"limite est de {limite}",
            "Allongez la réponse (max_new_tokens), ou demandez moins de champs",
        )


@lru_cache(maxsize=64)
def _premiere_issue(tokenizer: PreTrainedTokenizerBase, grammaire: str) -> Issue | None:
    alphabet = _alphabet(tokenizer)
    lecteur = _lecteur(alphabet, grammaire)
    texte = plus_court(lecteur, alphabet, _fragments(grammaire))
    return None if texte is None else _en_jetons(lecteur, alphabet, texte)


def _en_jetons(lecteur: LLMatcher, alphabet: Alphabet, texte: bytes) -> Issue:
    """Une issue, en aussi peu de jetons que le tokenizer le sait faire."""
    jetons = alphabet.tokenizer.tokenize_bytes(texte)
    if not _finit(lecteur, jetons, alphabet.fin):
        jetons = alphabet.jetons_de(texte)
    return Issue(texte, tuple(jetons))


def plus_court(lecteur: LLMatcher, alphabet: Alphabet, fragments: Sequence[bytes]) -> bytes | None:
    """Un texte court qui finit ce que lit ``lecteur`` ; ``None`` si l'on n'en trouve pas.

    On suit d'abord, à chaque choix, la voie qui ferme ; si elle ne finit pas en quelques choix, on s'en
    écarte une fois, au plus tôt, puis deux ; puis on recommence en permettant plus de choix.

    Args:
        fragments: ce que la grammaire écrit en toutes lettres, et que la fin peut demander.

    Source : Harvey et Ginsberg, 1995 (« Limited Discrepancy Search »).
    """
    gestes = Gestes(alphabet, fragments)
    for choix in _CHOIX:
        trouve = _en_peu_de_choix(lecteur, gestes, choix)
        if trouve is not None:
            return trouve
    return None


def _en_peu_de_choix(lecteur: LLMatcher, gestes: Gestes, choix_max: int) -> bytes | None:
    numero, essais = count(), count()
    texte, suivant = gestes.forcer(lecteur.deep_copy())
    a_voir = [(0, 0, next(numero), texte, gestes.voies(suivant))]
    while a_voir:
        ecarts, choix, _, texte, voies = heapq.heappop(a_voir)
        while choix <= choix_max and (voie := next(voies, None)) is not None:
            octets, apres = voie
            if apres is None:
                return texte
            if next(essais) > _ESSAIS + choix_max:
                return None
            heapq.heappush(a_voir, (ecarts + 1, choix, next(numero), texte, voies))
            texte, choix, voies = texte + octets, choix + 1, gestes.voies(apres)
    return None


class Gestes:
    """Ce qu'on essaie d'écrire pour finir : un octet, ou un fragment de la grammaire."""

    def __init__(self, alphabet: Alphabet, fragments: Sequence[bytes]) -> None:
        self.alphabet = alphabet
        octets = [bytes([octet]) for octet in range(256) if alphabet.octets[octet] is not None]
        self.octets = {octet: alphabet.jetons_de(octet) for octet in sorted(octets, key=_genre)}
        self.fragments = {fragment: alphabet.jetons_de(fragment) for fragment in fragments}

    def voies(self, lecteur: LLMatcher) -> Iterator[tuple[bytes, LLMatcher | None]]:
        """Ce qui peut suivre, de ce qui ferme le plus à ce qui ouvre le plus ; ``None`` : c'est fini.

        Deux gestes qui laissent permis les mêmes jetons font une seule voie : « a » ou « b » dans un
        nom.
        """
        masque = _masque(lecteur)
        if masque[self.alphabet.fin]:
            yield b"", None
        permis = [octet for octet, (jeton,) in self.octets.items() if masque[jeton]]
        dans_un_texte = all(signe in permis for signe in _SIGNES_DE_TEXTE)
        for ferme in _FERME_UN_TEXTE if dans_un_texte else _FERMENT:
            if ferme in permis:
                yield self.avancer(lecteur, self.octets[ferme], ferme)
        # Les suites toutes faites les plus courtes d'abord : d'une liste de valeurs, la plus brève.
        longueurs = {o: len(self.avancer(lecteur, self.octets[o], o)[0]) for o in permis}
        essayes = sorted(permis, key=lambda octet: (_genre(octet), longueurs[octet]))
        lettres = [octet for octet in essayes if _genre(octet) < _AUTRE]
        vus = set()
        for geste in [*lettres, *self.fragments, *essayes[len(lettres) :]]:
            jetons = self.octets.get(geste) or self.fragments[geste]
            if geste in _FERMENT or lecteur.validate_tokens(jetons) < len(jetons):
                continue
            octets, suivant = self.avancer(lecteur, jetons, geste)
            signature = suivant.compute_bitmask()
            if signature not in vus:
                vus.add(signature)
                yield octets, suivant

    def avancer(
        self, lecteur: LLMatcher, jetons: list[int], geste: bytes
    ) -> tuple[bytes, LLMatcher]:
        """Après un geste, et tout ce qui ne peut que le suivre."""
        suivant = lecteur.deep_copy()
        suivant.consume_tokens(jetons)
        forces, suivant = self.forcer(suivant)
        return geste + forces, suivant

    def forcer(self, lecteur: LLMatcher) -> tuple[bytes, LLMatcher]:
        """Avance de ce qui ne peut que suivre ; llguidance n'en permet que son propre découpage."""
        forces = lecteur.compute_ff_bytes()
        lecteur.consume_tokens(self.alphabet.jetons_de(forces))
        return forces, lecteur


def _genre(octet: bytes) -> int:
    """Ce qu'on essaie d'abord dans un texte : une minuscule, puis une lettre ou un chiffre."""
    return 0 if octet.islower() else 1 if octet.isalnum() else _AUTRE


@lru_cache(maxsize=64)
def _fragments(grammaire: str) -> tuple[bytes, ...]:
    """Ce qu'une grammaire écrit en toutes lettres, du plus court au plus long."""
    lus = set(_FRAGMENT.findall(_ECHAPPE.sub(r"\1", grammaire)))
    return tuple(lu.encode() for lu in sorted(lus, key=lambda lu: (len(lu), lu))[:_FRAGMENTS])


def _finit(lecteur: LLMatcher, jetons: list[int], fin: int) -> bool:
    """Vrai si ces jetons, puis celui de fin, peuvent suivre."""
    if lecteur.is_stopped():
        return not jetons and not lecteur.is_error()
    return lecteur.validate_tokens([*jetons, fin]) == len(jetons) + 1


def _masque(lecteur: LLMatcher) -> np.ndarray:
    return np.frombuffer(lecteur.compute_logit_bias(), dtype=np.uint8) > 0


# ---------------------------------------------------------------- le tokenizer


@dataclass(frozen=True)
class Alphabet:
    """Un tokenizer tel que llguidance le lit, et le jeton de chaque octet.

    Args:
        octets: pour chaque octet, de 0 à 255, son jeton ; ``None`` s'il n'en a pas.
        fin: le jeton de fin.
    """

    tokenizer: LLTokenizer
    octets: tuple[int | None, ...]
    fin: int

    def jetons_de(self, texte: bytes) -> list[int]:
        """Un jeton par octet ; un octet qui n'en a pas se découpe comme le tokenizer le veut."""
        jetons = [self.octets[octet] for octet in texte]
        connus = [jeton for jeton in jetons if jeton is not None]
        return connus if len(connus) == len(texte) else self.tokenizer.tokenize_bytes(texte)


@lru_cache(maxsize=4)
def _alphabet(tokenizer: PreTrainedTokenizerBase) -> Alphabet:
    """Préparer un tokenizer prend une demi-seconde, une fois."""
    lu = from_tokenizer(tokenizer)
    codes = [lu.tokenize_bytes(bytes([octet])) for octet in range(256)]
    octets = tuple(
        code[0] if len(code) == 1 and lu.decode_bytes(code) == bytes([octet]) else None
        for octet, code in enumerate(codes)
    )
    return Alphabet(lu, octets, tokenizer.eos_token_id)


def _lecteur(alphabet: Alphabet, grammaire: str) -> LLMatcher:
    lecteur = LLMatcher(alphabet.tokenizer, LLMatcher.grammar_from_lark(grammaire), log_level=0)
    if lecteur.is_error():
        raise incomprise(lecteur.get_error())
    return lecteur


def incomprise(raison: str) -> ErreurFabrique:
    """L'erreur d'une grammaire que llguidance ne comprend pas, avec sa raison."""
    return ErreurFabrique(
        f"llguidance ne comprend pas la grammaire («\u00a0{raison.splitlines()[0]}\u00a0»)",
        "Corrigez-la : elle s’écrit dans le langage de Lark",
    )
