"""Le BPE au niveau de l'octet, en clair : apprendre des fusions, puis les appliquer.

Les deux algorithmes tiennent en trente lignes, ``apprendre`` et ``couper``. Ils sont lents et
se lisent ; la bibliothèque ``tokenizers`` donne les mêmes jetons, bien plus vite.

Source : Sennrich et al., 2016 (arXiv:1508.07909) ; Radford et al., 2019 (GPT-2) pour les octets ;
la forme suit minGPT (Karpathy, 2022, ``mingpt/bpe.py``).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import pairwise

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers

from fabrique.jetons.apprentissage import DECOUPE_FRANCAISE
from fabrique.modeles.gabarits import verifier_unicode

#: Deux suites d'octets voisines qui n'en feront plus qu'une.
Fusion = tuple[bytes, bytes]

_DECOUPE = pre_tokenizers.Split(Regex(DECOUPE_FRANCAISE), behavior="isolated")


def apprendre(textes: Iterable[str], nombre: int) -> list[Fusion]:
    """Apprend des fusions : à chaque tour, la paire voisine la plus fréquente.

    Args:
        textes: les textes d'apprentissage.
        nombre: le nombre de fusions voulu.

    Returns:
        Les fusions, de la première à la dernière ; moins que voulu si tout est déjà fusionné.
        À égalité, la paire rencontrée la première gagne.

    Raises:
        ErreurFabrique: un texte contient un demi-caractère Unicode.
    """
    comptes = Counter(morceau for texte in textes for morceau in morceler(texte))
    suites = {morceau: en_octets(morceau) for morceau in comptes}
    fusions: list[Fusion] = []
    while len(fusions) < nombre:
        paires: Counter[Fusion] = Counter()
        for morceau, suite in suites.items():
            for paire in pairwise(suite):
                paires[paire] += comptes[morceau]
        if not paires:
            break
        fusions.append(max(paires, key=paires.__getitem__))
        rangs = {fusions[-1]: 0}
        suites = {morceau: fusionner(suite, rangs) for morceau, suite in suites.items()}
    return fusions


def couper(texte: str, fusions: Sequence[Fusion]) -> list[bytes]:
    """Coupe un texte en jetons, par des fusions apprises.

    Args:
        texte: tout texte Unicode valide.
        fusions: celles de ``apprendre``, dans l'ordre.

    Returns:
        Les octets de chaque jeton ; mis bout à bout, ils redonnent le texte.

    Raises:
        ErreurFabrique: le texte contient un demi-caractère Unicode.
    """
    rangs = {fusion: rang for rang, fusion in enumerate(fusions)}
    return [jeton for morceau in morceler(texte) for jeton in fusionner(en_octets(morceau), rangs)]


def fusionner(suite: list[bytes], rangs: dict[Fusion, int]) -> list[bytes]:
    """Fusionne les paires connues : la plus anciennement apprise d'abord, de gauche à droite."""
    suite = list(suite)
    while connues := [(rangs[p], place) for place, p in enumerate(pairwise(suite)) if p in rangs]:
        _, place = min(connues)
        suite[place : place + 2] = [suite[place] + suite[place + 1]]
    return suite


def morceler(texte: str) -> list[str]:
    """Les morceaux (mots, chiffres, signes) qu'aucune fusion ne traverse."""
    verifier_unicode(texte)
    return [morceau for morceau, _ in _DECOUPE.pre_tokenize_str(texte)]


def en_octets(morceau: str) -> list[bytes]:
    """Les octets UTF-8 d'un texte, un par un : « é » en donne deux."""
    return [bytes([octet]) for octet in morceau.encode()]


# ---------------------------------------------------------------- la même chose, en bibliothèque


def _signes() -> dict[int, str]:
    """Le signe que GPT-2 donne à chaque octet : le sien s'il se voit, un autre sinon."""
    visibles = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    autres = [octet for octet in range(256) if octet not in visibles]
    return {o: chr(o) for o in visibles} | {o: chr(256 + n) for n, o in enumerate(autres)}


#: L'alphabet des vocabulaires au niveau de l'octet : « Ġ » pour l'espace, « Ã© » pour « é ».
SIGNES = _signes()


def en_bibliotheque(fusions: Sequence[Fusion]) -> Tokenizer:
    """Le tokenizer de la bibliothèque ``tokenizers`` qui applique ces mêmes fusions.

    Returns:
        Un ``tokenizers.Tokenizer`` : les 256 octets, puis un jeton par fusion.
    """
    ecrites = [(_ecrire(gauche), _ecrire(droite)) for gauche, droite in fusions]
    jetons = dict.fromkeys([*SIGNES.values(), *(g + d for g, d in ecrites)])
    vocabulaire = {jeton: rang for rang, jeton in enumerate(jetons)}
    moteur = Tokenizer(models.BPE(vocab=vocabulaire, merges=ecrites))
    octets = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    moteur.pre_tokenizer = pre_tokenizers.Sequence([_DECOUPE, octets])
    moteur.decoder = decoders.ByteLevel()
    return moteur


def _ecrire(octets: bytes) -> str:
    return "".join(SIGNES[octet] for octet in octets)
