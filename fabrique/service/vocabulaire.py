"""D'un tokenizer de transformers au vocabulaire d'un GGUF, et la preuve que le découpage est le même.

Un GGUF ne porte pas l'expression qui découpe un texte en mots avant les fusions : il nomme l'une de
celles que llama.cpp connaît. On essaie donc celles-ci sur des textes, par la bibliothèque
``tokenizers`` ; quand aucune ne convient, on retire les fusions qui enjambent une frontière.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from tokenizers import Regex, Tokenizer, pre_tokenizers
from transformers import PreTrainedTokenizerBase

from fabrique.corpus import lire_corpus
from fabrique.modeles.fichier_gguf import TOKENIZER_ENTIER, paquet_gguf
from fabrique.modeles.gabarits import GABARIT_ALPACA
from fabrique.socle.erreurs import ErreurFabrique

if TYPE_CHECKING:
    from gguf import GGUFWriter

gguf = paquet_gguf()

#: Où sont pris les textes qui comparent deux découpages, et combien dans chaque corpus.
CORPUS, TEXTES_PAR_CORPUS = ("fiches", "questions", "demarches", "encyclopedie"), 110
#: Combien suffisent à départager les pré-découpages de llama.cpp ; le meilleur les lit tous.
TEXTES_D_ESSAI = 40
#: Ce que nos corpus n'ont pas : paragraphes, retraits, espaces de fin, nombres, guillemets, code.
TEXTES_DIFFICILES = (
    "Madame,\n\nVotre demande est complète.\n\n  - la pièce d’identité ;\n  - le justificatif.\n",
    "1 234 567,89 € le 01/02/2026, soit 12,5 % ; réf. 2026-00042\n\n\nFin.",
    "« Est-ce possible ? » demanda-t-elle : « Oui… peut-être ! » (voir l’article L. 111-2)",
    "def f(x):\n    if x > 10:\n        return x * 2\n\n    return {'a': [1, 2]}\n",
    "L'ancienne apostrophe, l’apostrophe courbe ; aujourd'hui, aujourd’hui. ÉTAT, Œuvre, ç̧.",
    "  deux espaces d’abord, et trois   au milieu, puis une tabulation\tet la fin  ",
    "Courriel : prenom.nom@exemple.fr — https://exemple.fr/?a=1&b=2#ancre",
    "😀 naïve façade 東京 Ελλάδα Привет ¼ ½ №",
)

_MOTS = r" ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)"
_GPT2 = rf"'s|'t|'re|'ve|'m|'ll|'d|{_MOTS}"
_ELISIONS = r"'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD]"
_FIN_DE_LIGNE = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_LETTRES = r"[^\r\n\p{L}\p{N}]?"
_MAJ, _MIN = r"((?=[\p{L}])([^a-z]))", r"((?=[\p{L}])([^A-Z]))"
_CASSE = rf"{_LETTRES}{_MAJ}*{_MIN}+(?:%s)?|{_LETTRES}{_MAJ}+{_MIN}*(?:%s)?"
_FIN_DE_CHEMIN = r"| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"


@dataclass(frozen=True)
class PreDecoupage:
    """Une façon qu'a llama.cpp de couper un texte en mots, avant les fusions.

    Args:
        expressions: appliquées l'une après l'autre, chacune à ce que la précédente a laissé.
        entiers: un mot qui est une entrée du vocabulaire se garde, quelles que soient les fusions.
    """

    expressions: tuple[str, ...]
    entiers: bool = False


#: Les pré-découpages de llama.cpp, du plus au moins permissif. Source : llama.cpp,
#: ``src/llama-vocab.cpp``, ``llm_tokenizer_bpe``.
PRE_DECOUPAGES = {
    "superbpe": PreDecoupage((r"\p{N}+", r"(?=(\d{3})+(?!\d))")),
    "falcon": PreDecoupage((r"[\p{P}\$\+<=>\^~\|`]+", _GPT2, "[0-9][0-9][0-9]")),
    "gpt-2": PreDecoupage((_GPT2,)),
    "smollm": PreDecoupage((r"\p{N}", _GPT2)),
    "llama-bpe": PreDecoupage(
        (rf"(?:{_ELISIONS})|{_LETTRES}\p{{L}}+|\p{{N}}{{1,3}}{_FIN_DE_LIGNE}",), entiers=True
    ),
    "qwen2": PreDecoupage((rf"(?:{_ELISIONS})|{_LETTRES}\p{{L}}+|\p{{N}}{_FIN_DE_LIGNE}",)),
    "tekken": PreDecoupage(
        ((_CASSE % ("", "")).replace("(?:)?", "") + rf"|\p{{N}}{_FIN_DE_CHEMIN}",), entiers=True
    ),
    "gpt-4o": PreDecoupage(
        (_CASSE % (_ELISIONS, _ELISIONS) + rf"|\p{{N}}{{1,3}}{_FIN_DE_CHEMIN}",)
    ),
}


@dataclass(frozen=True)
class Vocabulaire:
    """Ce qu'un GGUF dit d'un tokenizer.

    Args:
        modele: « gpt2 » (BPE au niveau de l'octet) ou « llama » (SentencePiece).
        pre: le pré-découpage de llama.cpp ; vide pour SentencePiece.
        entrees: chaque entrée du vocabulaire, à son rang.
        natures: ordinaire, spéciale, octet… (``gguf.TokenType``).
        fusions: les paires à fusionner, dans l'ordre ; vide pour SentencePiece.
        notes: l'ordre de fusion, pour SentencePiece.
        retirees: les fusions laissées de côté.
    """

    modele: str
    pre: str
    entrees: tuple[str, ...]
    natures: tuple[int, ...]
    fusions: tuple[tuple[str, str], ...] = ()
    notes: tuple[float, ...] = ()
    retirees: tuple[tuple[str, str], ...] = ()


def textes_d_epreuve() -> list[str]:
    """Plus de quatre cents textes où comparer deux découpages : nos corpus, et des cas difficiles."""
    textes = dict.fromkeys(TEXTES_DIFFICILES)
    for nom in CORPUS:
        corpus = lire_corpus(nom)
        champ = "texte" if "texte" in corpus.column_names else "output"
        textes |= dict.fromkeys(corpus[champ][:TEXTES_PAR_CORPUS])
    return list(textes)


def en_vocabulaire(
    tokenizer: PreTrainedTokenizerBase, taille: int, textes: Sequence[str]
) -> Vocabulaire:
    """Le vocabulaire d'un GGUF, au pré-découpage qui coupe le plus de textes comme transformers.

    Args:
        taille: rangées de la table des plongements ; celles que rien n'emploie sont nommées.
        textes: ceux de ``textes_d_epreuve``.

    Raises:
        ErreurFabrique: tokenizer d'une autre sorte, ou plus grand que le modèle.
    """
    moteur: Any = getattr(tokenizer, "backend_tokenizer", None)  # absent d'un tokenizer de Mistral
    decrit = json.loads(moteur.to_str()) if moteur else {"model": {"type": "mistral-common"}}
    if decrit["model"]["type"] != "BPE":
        raise ErreurFabrique(
            f"cet export n’écrit pas un tokenizer de type « {decrit['model']['type']} »",
            "Il prend les BPE de la bibliothèque tokenizers (tokenizer.json)",
        )
    if taille < len(tokenizer):
        raise ErreurFabrique(
            f"le tokenizer a {len(tokenizer)} jetons, et le modèle {taille} plongements",
            "Donnez le tokenizer de ce modèle",
        )
    entrees, natures = _entrees(decrit, taille)
    fusions = tuple(map(_paire, decrit["model"]["merges"]))
    if decrit["model"].get("byte_fallback"):
        return Vocabulaire("llama", "", entrees, natures, notes=_notes(entrees, fusions))
    vocabulaire = Vocabulaire("gpt2", "", entrees, natures, fusions)
    return _choisir(vocabulaire, moteur, textes)


def simuler(vocabulaire: Vocabulaire, reference: Tokenizer) -> Tokenizer:
    """Un tokenizer qui coupe comme llama.cpp le fera : son pré-découpage, ses fusions."""
    decrit = json.loads(reference.to_str())
    decrit["model"]["merges"] = list(vocabulaire.fusions)
    return _couper_en(PRE_DECOUPAGES[vocabulaire.pre], Tokenizer.from_str(json.dumps(decrit)))


def _couper_en(pre: PreDecoupage, moteur: Tokenizer) -> Tokenizer:
    """Donne à un tokenizer le pré-découpage de llama.cpp."""
    moteur.model.ignore_merges = pre.entiers
    coupes = [pre_tokenizers.Split(Regex(e), "isolated") for e in pre.expressions]
    octets = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    moteur.pre_tokenizer = pre_tokenizers.Sequence([*coupes, octets])
    return moteur


def decouper(moteur: Tokenizer, textes: Sequence[str]) -> list[list[int]]:
    """Les jetons de chaque texte, sans rien autour."""
    return [lu.ids for lu in moteur.encode_batch(list(textes), add_special_tokens=False)]


def inscrire(
    vocabulaire: Vocabulaire, tokenizer: PreTrainedTokenizerBase, fichier: GGUFWriter
) -> None:
    """Écrit le vocabulaire, le gabarit de conversation et le tokenizer entier dans un en-tête."""
    fichier.add_tokenizer_model(vocabulaire.modele)
    fichier.add_tokenizer_pre(vocabulaire.pre or "default")
    fichier.add_token_list(list(vocabulaire.entrees))
    fichier.add_token_types(list(vocabulaire.natures))
    if vocabulaire.fusions:
        fichier.add_token_merges([" ".join(paire) for paire in vocabulaire.fusions])
    if vocabulaire.notes:
        fichier.add_token_scores(list(vocabulaire.notes))
        debut = tokenizer.backend_tokenizer.encode("a", add_special_tokens=False).tokens[0]
        fichier.add_add_space_prefix(debut.startswith("▁"))
    roles = {
        fichier.add_bos_token_id: tokenizer.bos_token_id,
        fichier.add_eos_token_id: tokenizer.eos_token_id,
        fichier.add_unk_token_id: tokenizer.unk_token_id,
        # La fin tient lieu de remplissage à qui n'en a pas : rien à écrire alors.
        fichier.add_pad_token_id: None
        if tokenizer.pad_token_id == tokenizer.eos_token_id
        else tokenizer.pad_token_id,
    }
    for ecrire, numero in roles.items():
        if numero is not None:
            ecrire(numero)
    entoure = tokenizer("a")["input_ids"]
    fichier.add_add_bos_token(len(entoure) > 1 and entoure[0] == tokenizer.bos_token_id)
    fichier.add_add_eos_token(False)
    fichier.add_chat_template(tokenizer.chat_template or GABARIT_ALPACA)
    fichier.add_string(TOKENIZER_ENTIER, tokenizer.backend_tokenizer.to_str())


# ---------------------------------------------------------------- les entrées


def _entrees(decrit: dict, taille: int) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """Chaque entrée et sa nature ; un rang que rien n'emploie porte un nom de remplissage."""
    entrees = [f"[PAD{rang}]" for rang in range(taille)]
    natures = [gguf.TokenType.UNUSED] * taille
    inconnu = decrit["model"].get("unk_token")
    for entree, rang in decrit["model"]["vocab"].items():
        entrees[rang] = entree
        octet = decrit["model"].get("byte_fallback") and _est_un_octet(entree)
        natures[rang] = gguf.TokenType.BYTE if octet else gguf.TokenType.NORMAL
        if entree == inconnu:
            natures[rang] = gguf.TokenType.UNKNOWN
    for ajoute in decrit["added_tokens"]:
        rang = ajoute["id"]
        entrees[rang] = ajoute["content"]
        if natures[rang] != gguf.TokenType.UNKNOWN:
            special = ajoute["special"]
            natures[rang] = gguf.TokenType.CONTROL if special else gguf.TokenType.USER_DEFINED
    return tuple(entrees), tuple(map(int, natures))


def _est_un_octet(entree: str) -> bool:
    return len(entree) == 6 and entree.startswith("<0x") and entree.endswith(">")


def _paire(fusion: str | Sequence[str]) -> tuple[str, str]:
    """tokenizers écrit une fusion « a b » ou ["a", "b"], selon sa version."""
    gauche, droite = fusion.split(" ") if isinstance(fusion, str) else fusion
    return gauche, droite


def _notes(entrees: Sequence[str], fusions: Sequence[tuple[str, str]]) -> tuple[float, ...]:
    """SentencePiece fusionne d'abord la paire dont le résultat a la meilleure note."""
    rangs: dict[str, int] = {}
    for rang, paire in enumerate(fusions):
        rangs.setdefault("".join(paire), rang)
    return tuple(-float(rangs.get(entree, len(fusions))) for entree in entrees)


# ---------------------------------------------------------------- le pré-découpage


def _choisir(vocabulaire: Vocabulaire, reference: Tokenizer, textes: Sequence[str]) -> Vocabulaire:
    """Le pré-découpage aux textes différents les moins nombreux, fusions gênantes retirées."""
    attendus = dict(zip(textes, decouper(reference, textes), strict=True))
    copie = Tokenizer.from_str(reference.to_str())

    def differents(moteur: Tokenizer, lus: Sequence[str]) -> list[str]:
        obtenus = decouper(moteur, lus)
        return [t for t, obtenu in zip(lus, obtenus, strict=True) if obtenu != attendus[t]]

    def essayer(nom: str) -> int:
        return len(differents(_couper_en(PRE_DECOUPAGES[nom], copie), textes[:TEXTES_D_ESSAI]))

    meilleur = replace(vocabulaire, pre=min(PRE_DECOUPAGES, key=essayer))
    restent = differents(_couper_en(PRE_DECOUPAGES[meilleur.pre], copie), textes)
    for jeton in _qui_enjambent(copie, reference, restent):
        genants = tuple(paire for paire in meilleur.fusions if "".join(paire) == jeton)
        essai = replace(
            meilleur,
            fusions=tuple(paire for paire in meilleur.fusions if paire not in genants),
            retirees=meilleur.retirees + genants,
        )
        moteur = simuler(essai, reference)
        # Peu de textes suffisent à écarter un essai ; tous, à le retenir.
        if len(differents(moteur, restent)) < len(restent):
            apres = differents(moteur, textes)
            if len(apres) < len(restent):
                meilleur, restent = essai, apres
    return meilleur


def _qui_enjambent(moteur: Tokenizer, reference: Tokenizer, textes: Sequence[str]) -> Iterator[str]:
    """Les jetons que llama.cpp ferait d'un morceau à l'autre, du plus au moins fréquent."""
    comptes: Counter = Counter()
    for texte in textes:
        morceaux = reference.pre_tokenizer.pre_tokenize_str(texte)
        frontieres = {debut for _, (debut, _) in morceaux}
        lu = moteur.encode(texte, add_special_tokens=False)
        for jeton, (debut, fin) in zip(lu.tokens, lu.offsets, strict=True):
            comptes[jeton] += any(debut < frontiere < fin for frontiere in frontieres)
    yield from (jeton for jeton, fois in comptes.most_common() if fois)
