"""Ouvrir un tokenizer, d'où qu'il vienne, et lui parler toujours de la même façon.

Un tokenizer du hub se lit dans son ``tokenizer.json``, par la bibliothèque ``tokenizers`` :
``AutoTokenizer`` (transformers 5.23) rebâtit celui de Lucie sans sa normalisation et rend
d'autres jetons.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from huggingface_hub import hf_hub_download
from huggingface_hub.errors import HFValidationError
from tokenizers import Tokenizer

from fabrique.jetons.bpe import SIGNES
from fabrique.modeles.catalogue import Entree, nom_public, trouver
from fabrique.modeles.gabarits import verifier_unicode
from fabrique.modeles.tokenizer import ErreurReseau
from fabrique.socle.emplacements import hub_ou_cache
from fabrique.socle.erreurs import MACHINE, ErreurFabrique

#: Les tokenizers que livre le paquet mistral-common, sans aucun modèle.
MISTRAL = ("mistral-v1", "mistral-tekken")

_OCTETS = {signe: bytes([octet]) for octet, signe in SIGNES.items()}


@dataclass(frozen=True)
class Decoupeur:
    """Un tokenizer ouvert : un texte y devient des identifiants, un identifiant des octets.

    Args:
        nom: celui qu'on montre.
        pieces: les octets de chaque entrée du vocabulaire, par identifiant.
        speciaux: les identifiants des jetons spéciaux.
        moteur: l'appel de la bibliothèque, du texte aux identifiants.
    """

    nom: str
    pieces: dict[int, bytes] = field(repr=False)
    speciaux: frozenset[int] = field(repr=False)
    moteur: Callable[[str], list[int]] = field(repr=False)

    @property
    def entrees(self) -> int:
        """La taille du vocabulaire, jetons spéciaux compris."""
        return len(self.pieces)

    def coder(self, texte: str) -> list[int]:
        """Les identifiants d'un texte, sans rien ajouter autour.

        Raises:
            ErreurFabrique: le texte contient un demi-caractère Unicode, ou une suite de blancs
                que le tokenizer ne sait pas lire.
        """
        verifier_unicode(texte)
        return self.moteur(texte)

    def octets(self, identifiant: int) -> bytes:
        """Les octets d'un jeton ; le nom en toutes lettres d'un jeton spécial (« <|fin|> »).

        Raises:
            ErreurFabrique: le vocabulaire n'a pas cet identifiant.
        """
        try:
            return self.pieces[identifiant]
        except KeyError:
            raise ErreurFabrique(
                f"{self.nom} n’a pas de jeton numéro {identifiant}",
                f"Ses {self.entrees} jetons sont numérotés depuis {min(self.pieces)}",
            ) from None


def ouvrir(nom: str | Path, revision: str | None = None) -> Decoupeur:
    """Ouvre un tokenizer.

    Args:
        nom: « mistral-v1 » (SentencePiece, 2023) ou « mistral-tekken » (2024), que livre
            mistral-common ; un modèle du catalogue (« falcon-poche ») ; un dossier qui contient
            ``tokenizer.json`` ; un dépôt du hub (« compte/modele » ou « compte/modele@empreinte »).
        revision: l'empreinte du dépôt, obligatoire hors du catalogue.

    Returns:
        Le tokenizer, prêt à couper.

    Raises:
        ErreurFabrique: tokenizer inconnu, illisible, sans révision, ou hub injoignable.
    """
    if nom in MISTRAL:
        return _ouvrir_mistral(str(nom))
    depot, arobase, empreinte = str(nom).partition("@")
    if arobase and not Path(nom).exists():
        nom, revision = depot, empreinte
    entree = _trouver(nom, revision)
    return _lire_json(_tokenizer_json(entree), nom_public(entree.depot))


def _trouver(nom: str | Path, revision: str | None) -> Entree:
    """L'entrée de ``modeles.trouver`` ; le remède parle ici de tokenizers."""
    try:
        return trouver(nom, revision, quoi="tokenizer")
    except ErreurFabrique as refus:
        raise ErreurFabrique(
            refus.message,
            f"Choisissez {', '.join(MISTRAL)} ou falcon-poche, ou donnez un dossier qui contient "
            "tokenizer.json, ou « compte/modele@empreinte »",
        ) from None


# ---------------------------------------------------------------- la bibliothèque tokenizers


def _tokenizer_json(entree: Entree) -> Path:
    """Le fichier ``tokenizer.json``, dans son dossier ou téléchargé du hub."""
    dossier = Path(entree.depot)
    if dossier.is_dir():
        return dossier / "tokenizer.json"
    try:
        with hub_ou_cache():
            return Path(hf_hub_download(entree.depot, "tokenizer.json", revision=entree.revision))
    except (OSError, HFValidationError, ErreurReseau) as cause:
        raise ErreurFabrique(
            f"le tokenizer de « {entree.depot} » est introuvable sur le hub, ou le hub est injoignable",
            "Vérifiez le réseau, le nom et l’empreinte ; hors ligne, copiez tokenizer.json dans un "
            "dossier et donnez ce dossier",
            code=MACHINE,
        ) from cause


def _lire_json(chemin: Path, nom: str) -> Decoupeur:
    if not chemin.is_file():
        raise ErreurFabrique(
            "le dossier ne contient pas de fichier tokenizer.json",
            "Donnez le dossier où le tokenizer a été enregistré avec save_pretrained",
            chemin.parent,
        )
    try:
        bibliotheque = Tokenizer.from_file(str(chemin))
    except Exception as cause:  # la bibliothèque n'a pas d'erreur plus précise
        raise ErreurFabrique(
            f"le tokenizer ne se lit pas ({str(cause)[:80]})",
            "Recopiez-le depuis sa source",
            chemin,
        ) from cause
    # Certains fichiers coupent à 512 jetons ou complètent : on compte le texte entier, et lui seul.
    bibliotheque.no_truncation()
    bibliotheque.no_padding()
    ajoutes = bibliotheque.get_added_tokens_decoder()
    au_niveau_de_l_octet = "ByteLevel" in f"{bibliotheque.pre_tokenizer}{bibliotheque.decoder}"
    lire = _piece_en_octets if au_niveau_de_l_octet else _piece_sentencepiece
    pieces = {rang: lire(piece) for piece, rang in bibliotheque.get_vocab().items()}
    return Decoupeur(
        nom,
        pieces | {rang: ajoute.content.encode() for rang, ajoute in ajoutes.items()},
        frozenset(rang for rang, ajoute in ajoutes.items() if ajoute.special),
        lambda texte: bibliotheque.encode_batch_fast([texte], add_special_tokens=False)[0].ids,
    )


def _piece_en_octets(piece: str) -> bytes:
    """« Ã© » → les deux octets de « é » ; un signe hors de l'alphabet vaut lui-même."""
    return b"".join(_OCTETS.get(signe) or signe.encode() for signe in piece)


def _piece_sentencepiece(piece: str) -> bytes:
    """« ▁le » → « le » précédé d'une espace ; « <0xC3> » → un octet."""
    octet = re.fullmatch(r"<0x([0-9A-F]{2})>", piece)
    return bytes.fromhex(octet[1]) if octet else piece.replace("▁", " ").encode()


# ---------------------------------------------------------------- mistral-common


def _ouvrir_mistral(nom: str) -> Decoupeur:
    # Importé à l'usage : une à deux secondes, que ne paie pas qui n'en a pas besoin.
    from mistral_common.tokens.tokenizers.mistral import MistralTokenizer

    if nom == "mistral-v1":
        moteur = MistralTokenizer.v1().instruct_tokenizer.tokenizer
        pieces = {
            rang: _piece_sentencepiece(moteur.id_to_piece(rang)) for rang in range(moteur.n_words)
        }
        return Decoupeur(
            nom,
            pieces,
            frozenset(moteur.special_ids),
            lambda t: moteur.encode(t, bos=False, eos=False),
        )
    moteur = MistralTokenizer.v3(is_tekken=True, is_mm=True).instruct_tokenizer.tokenizer
    return Decoupeur(
        nom, _pieces_tekken(moteur), frozenset(moteur.special_ids), _coder_tekken(moteur)
    )


def _pieces_tekken(moteur: Any) -> dict[int, bytes]:
    from mistral_common.tokens.tokenizers.base import SpecialTokenPolicy

    garder = SpecialTokenPolicy.KEEP
    return {rang: moteur.id_to_byte_piece(rang, garder) for rang in range(moteur.n_words)}


def _coder_tekken(moteur: Any) -> Callable[[str], list[int]]:
    def coder(texte: str) -> list[int]:
        try:
            return moteur.encode(texte, bos=False, eos=False)
        except ValueError:  # tiktoken épuise sa pile sur des millions de blancs d'affilée
            raise ErreurFabrique(
                "le texte contient une suite de blancs trop longue pour mistral-tekken",
                "Réduisez-la, ou comptez avec un autre tokenizer",
            ) from None

    return coder
