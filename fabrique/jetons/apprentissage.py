"""Entraîner un tokenizer français, du texte aux identifiants et retour."""

from __future__ import annotations

from collections.abc import Iterable

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from fabrique.modeles.gabarits import (
    ASSISTANT,
    DEBUT,
    FIN,
    GABARIT_POCHE,
    REMPLISSAGE,
    SYSTEME,
    UTILISATEUR,
)

#: Découpage préalable : des mots précédés de leur espace, des chiffres un par un,
#: des suites de signes. L'apostrophe reste attachée à l'élision (« l' », « qu’ »).
DECOUPE_FRANCAISE = (
    r" ?\p{L}[\p{L}\p{M}]*['’]?"  # un mot, avec son espace et son apostrophe d'élision
    r"|\p{N}"  # un chiffre à la fois
    r"| ?«[\u00a0\u202f]?"  # le guillemet ouvrant, avec son espace insécable
    r"|[ \u00a0\u202f]?[^\s\p{L}\p{N}]+"  # une suite de signes, avec l'espace qui la précède
    r"|\s+(?!\S)|\s"  # les blancs ; le dernier reste au mot qui suit
)


def entrainer_tokenizer(textes: Iterable[str], taille: int = 8192) -> PreTrainedTokenizerFast:
    """Entraîne un tokenizer BPE au niveau de l'octet, sans normalisation.

    Les 256 octets sont dans le vocabulaire : tout texte Unicode valide se coupe, et
    ``decode(encode(texte)) == texte``. Les chiffres se lisent un par un.

    Args:
        textes: les textes d'apprentissage, un document par élément.
        taille: nombre d'entrées du vocabulaire, jetons spéciaux et octets compris.

    Returns:
        Le tokenizer, au format de transformers, jetons spéciaux et gabarit compris.

    Source : Sennrich et al., 2016 (arXiv:1508.07909) ; Radford et al., 2019 (octets, GPT-2).
    """
    moteur = Tokenizer(models.BPE())
    moteur.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(DECOUPE_FRANCAISE), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    moteur.decoder = decoders.ByteLevel()
    apprentissage = trainers.BpeTrainer(
        vocab_size=taille,
        special_tokens=[REMPLISSAGE, DEBUT, FIN, SYSTEME, UTILISATEUR, ASSISTANT],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    moteur.train_from_iterator(textes, apprentissage)
    return PreTrainedTokenizerFast(
        tokenizer_object=moteur,
        pad_token=REMPLISSAGE,
        bos_token=DEBUT,
        eos_token=FIN,
        additional_special_tokens=[SYSTEME, UTILISATEUR, ASSISTANT],
        chat_template=GABARIT_POCHE,
        clean_up_tokenization_spaces=False,
        padding_side="left",
    )
