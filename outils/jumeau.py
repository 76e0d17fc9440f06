"""Pose le jumeau de Falcon-7B dans un cache du hub (python -m outils.jumeau DOSSIER).

Le jumeau est un Falcon minuscule aux poids tirés au hasard, mais aux conventions de Falcon-7B :
ni jeton de début ni jeton de remplissage, pas de gabarit de conversation, une tête de clés et de
valeurs, attention parallèle. Rangé comme le hub range un téléchargement, il se charge hors ligne
par le nom de Falcon-7B, avec les réglages de la T4 : ce que le cours promet sur T4 est ainsi
exécuté à chaque test, sur processeur.

    HF_HOME=DOSSIER HF_HUB_OFFLINE=1 FABRIQUE_PROFIL=jumeau make cours
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Iterable
from pathlib import Path

import torch
from huggingface_hub.file_download import repo_folder_name
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import FalconConfig, FalconForCausalLM, GenerationConfig

from fabrique.corpus import lire_corpus
from fabrique.modeles.catalogue import CATALOGUE
from fabrique.modeles.chargement import parler_moins

FIN = "<|endoftext|>"
#: Les jetons spéciaux de Falcon-7B, d'identifiants 0 à 10 ; celui de fin porte le 11.
SPECIAUX = [
    *(
        f">>{nom}<<"
        for nom in ("TITLE", "ABSTRACT", "INTRODUCTION", "SUMMARY", "COMMENT", "ANSWER")
    ),
    *(f">>{nom}<<" for nom in ("QUESTION", "DOMAIN", "PREFIX", "SUFFIX", "MIDDLE")),
]
#: Ce que disent les fichiers du dépôt tiiuae/falcon-7b-instruct, à la révision du catalogue.
CONFIGURATION_DU_TOKENIZER = {
    "add_prefix_space": False,
    "eos_token": FIN,
    "model_input_names": ["input_ids", "attention_mask"],
    "model_max_length": 2048,
    "tokenizer_class": "PreTrainedTokenizerFast",
}
JETONS_SPECIAUX = {"additional_special_tokens": SPECIAUX, "eos_token": FIN}
#: Autant que le Falcon de poche ; Falcon-7B en a 65 024, que le processeur paierait à chaque jeton.
VOCABULAIRE = 8192
#: La largeur du jumeau ; celle de Falcon-7B est 4 544.
LARGEUR = 64
#: Les corpus livrés dont le tokenizer du jumeau tire ses fusions.
CORPUS = ("demarches", "style_xvii")


def poser(cache: Path, tokenizer: Path | None = None, nom: str = "falcon-7b-instruct") -> Path:
    """Écrit le jumeau dans un cache du hub, à la révision que le catalogue a figée.

    Args:
        cache: le dossier que désignera ``HF_HOME``.
        tokenizer: un ``tokenizer.json`` à employer, celui de Falcon par exemple ; par défaut, un
            petit est appris sur les corpus du cours.
        nom: l'entrée du catalogue dont il prend la place.

    Returns:
        Le dossier du modèle, dans le cache.
    """
    dossier = dossier_du_cache(cache, nom)
    ecrire_tokenizer(dossier, tokenizer)
    entrees = Tokenizer.from_file(str(dossier / "tokenizer.json")).get_vocab_size()
    torch.manual_seed(0)
    modele = FalconForCausalLM(configuration(entrees)).to(torch.bfloat16)
    modele.generation_config = GenerationConfig(bos_token_id=11, eos_token_id=11)
    modele.save_pretrained(dossier)
    return dossier


def dossier_du_cache(cache: Path, nom: str) -> Path:
    """Le dossier où le hub rangerait ce modèle du catalogue, à sa révision ; il est créé."""
    entree = CATALOGUE[nom]
    depot = cache / "hub" / repo_folder_name(repo_id=entree.depot, repo_type="model")
    dossier = depot / "snapshots" / entree.revision
    dossier.mkdir(parents=True, exist_ok=True)
    (depot / "refs").mkdir(exist_ok=True)
    (depot / "refs" / "main").write_text(entree.revision)
    return dossier


def configuration(entrees: int) -> FalconConfig:
    """La configuration de Falcon-7B, en tout petit : deux blocs de 64 au lieu de 32 de 4 544."""
    return FalconConfig(
        vocab_size=entrees,
        hidden_size=LARGEUR,
        num_hidden_layers=2,
        num_attention_heads=4,
        multi_query=True,
        parallel_attn=True,
        bias=False,
        alibi=False,
        new_decoder_architecture=False,
        bos_token_id=11,
        eos_token_id=11,
    )


def ecrire_tokenizer(dossier: Path, source: Path | None) -> None:
    """Les trois fichiers du tokenizer, comme dans le dépôt de Falcon-7B."""
    if source:
        shutil.copy(source, dossier / "tokenizer.json")
    else:
        textes = (e["output"] for nom in CORPUS for e in lire_corpus(nom))
        apprendre(textes).save(str(dossier / "tokenizer.json"))
    for nom, contenu in {
        "tokenizer_config.json": CONFIGURATION_DU_TOKENIZER,
        "special_tokens_map.json": JETONS_SPECIAUX,
    }.items():
        (dossier / nom).write_text(json.dumps(contenu, indent=1), encoding="utf-8")


def apprendre(textes: Iterable[str]) -> Tokenizer:
    """Un BPE au niveau de l'octet, découpé comme celui de Falcon (chiffres par trois)."""
    moteur = Tokenizer(models.BPE())
    moteur.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Punctuation("contiguous"),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
            pre_tokenizers.Digits(individual_digits=False),
            pre_tokenizers.Split(Regex("[0-9][0-9][0-9]"), "isolated"),
        ]
    )
    moteur.decoder = decoders.ByteLevel()
    moteur.train_from_iterator(
        textes,
        trainers.BpeTrainer(
            vocab_size=VOCABULAIRE,
            special_tokens=[*SPECIAUX, FIN],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    return moteur


def main() -> None:
    """Pose le jumeau et dit comment l'employer."""
    analyse = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    analyse.add_argument("dossier", type=Path, help="dossier neuf, que désignera HF_HOME")
    analyse.add_argument("--tokenizer", type=Path, help="le tokenizer.json à employer")
    options = analyse.parse_args()
    parler_moins()
    print(f"Jumeau posé dans {poser(options.dossier, options.tokenizer)}.")
    print(f"HF_HOME={options.dossier} HF_HUB_OFFLINE=1 FABRIQUE_PROFIL=jumeau le fait employer.")


if __name__ == "__main__":
    main()
