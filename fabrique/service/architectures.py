"""De chaque architecture de transformers à celle de llama.cpp : une table, une ligne par famille.

Le paquet ``gguf`` sait renommer les tenseurs ; restent, ici, ce que l'en-tête doit dire et ce qui
se range autrement.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from transformers import PretrainedConfig, PreTrainedModel

from fabrique.modeles.fichier_gguf import FREQUENCES, paquet_gguf
from fabrique.socle.erreurs import ErreurFabrique

if TYPE_CHECKING:
    from gguf import MODEL_ARCH, GGUFWriter

gguf = paquet_gguf()

Ranger = Callable[[str, np.ndarray, PretrainedConfig], np.ndarray]


@dataclass(frozen=True)
class Architecture:
    """Une famille de modèles, telle que llama.cpp la lit.

    Args:
        arch: son nom dans le paquet ``gguf``.
        decrire: écrit dans l'en-tête ce qui lui est propre.
        ranger: un tenseur, au rangement de llama.cpp.
        refuser: pourquoi llama.cpp ne lirait pas cette configuration ; vide s'il la lit.
    """

    arch: MODEL_ARCH
    decrire: Callable[[GGUFWriter, PretrainedConfig], None]
    ranger: Ranger = lambda nom, poids, config: poids
    refuser: Callable[[PretrainedConfig], str] = lambda config: ""

    @property
    def nom(self) -> str:
        """« falcon », « llama »…"""
        return gguf.MODEL_ARCH_NAMES[self.arch]


def architecture_de(config: PretrainedConfig) -> Architecture:
    """L'architecture d'un modèle.

    Raises:
        ErreurFabrique: architecture, ou réglage, que llama.cpp ou cet export ne connaît pas.
    """
    if config.model_type not in ARCHITECTURES:
        raise ErreurFabrique(
            f"l’export GGUF ne connaît pas l’architecture « {config.model_type} »",
            f"Il écrit {', '.join(ARCHITECTURES)}",
        )
    architecture = ARCHITECTURES[config.model_type]
    if pourquoi := architecture.refuser(config) or _refuser_les_positions(config, architecture):
        raise ErreurFabrique(
            f"llama.cpp ne lirait pas ce modèle : {pourquoi}",
            "Servez-le avec transformers, sans l’exporter",
        )
    return architecture


def tenseurs(
    modele: PreTrainedModel, architecture: Architecture
) -> Iterator[tuple[str, np.ndarray]]:
    """Les tenseurs d'un modèle, renommés et rangés pour llama.cpp, un à la fois, en 32 bits.

    Une tête liée aux plongements n'est pas écrite deux fois.
    """
    config = modele.config
    noms = gguf.get_tensor_name_map(architecture.arch, config.num_hidden_layers)
    tete = modele.get_output_embeddings().weight
    liee = tete is modele.get_input_embeddings().weight
    for nom, poids in modele.state_dict().items():
        if liee and poids.data_ptr() == tete.data_ptr() and nom.startswith("lm_head"):
            continue
        pour_llama_cpp = noms.get_name(nom, try_suffixes=(".weight", ".bias"))
        if pour_llama_cpp is None:
            raise ErreurFabrique(
                f"le poids « {nom} » n’a pas de place dans un GGUF d’architecture "
                f"« {architecture.nom} »",
                "Servez ce modèle avec transformers, sans l’exporter",
            )
        nombres = poids.detach().float().cpu().numpy()
        yield pour_llama_cpp, architecture.ranger(pour_llama_cpp, nombres, config)
    if _positions(config) == "llama3":
        yield FREQUENCES, _etirement(modele)


def decrire(fichier: GGUFWriter, config: PretrainedConfig, architecture: Architecture) -> None:
    """Écrit dans l'en-tête les dimensions d'un modèle."""
    fichier.add_context_length(contexte(config))
    fichier.add_embedding_length(config.hidden_size)
    fichier.add_block_count(config.num_hidden_layers)
    fichier.add_head_count(config.num_attention_heads)
    fichier.add_rope_freq_base(config.rope_parameters["rope_theta"])
    architecture.decrire(fichier, config)


def contexte(config: PretrainedConfig) -> int:
    """La fenêtre ; llama.cpp ne ferait pas glisser celle de Mistral, qu'on s'en tienne à elle."""
    fenetre = config.max_position_embeddings
    glissante = getattr(config, "sliding_window", None) if config.model_type == "mistral" else None
    return min(fenetre, glissante or fenetre)


# ---------------------------------------------------------------- les positions


def _positions(config: PretrainedConfig) -> str:
    return config.rope_parameters.get("rope_type", "default")


def _refuser_les_positions(config: PretrainedConfig, architecture: Architecture) -> str:
    permises = {"default", "llama3"} if architecture.arch == gguf.MODEL_ARCH.LLAMA else {"default"}
    return "" if _positions(config) in permises else f"positions « {_positions(config)} »"


def _etirement(modele: PreTrainedModel) -> np.ndarray:
    """De combien chaque fréquence de rotation est ralentie (forme : demi-tête)."""
    frequences = modele.model.rotary_emb.inv_freq.float().cpu()
    rangs = torch.arange(len(frequences)) / len(frequences)
    droites = modele.config.rope_parameters["rope_theta"] ** -rangs
    return (droites / frequences).numpy().astype(np.float32)


# ---------------------------------------------------------------- Falcon


def _tetes_de_falcon(config: PretrainedConfig) -> int:
    """Les têtes de clés : une seule pour Falcon-7B, quoi que dise ``num_kv_heads``."""
    if config.new_decoder_architecture:
        return config.num_kv_heads
    return 1 if config.multi_query else config.num_attention_heads


def _decrire_falcon(fichier: GGUFWriter, config: PretrainedConfig) -> None:
    fichier.add_feed_forward_length(config.ffn_hidden_size)
    fichier.add_head_count_kv(_tetes_de_falcon(config))
    fichier.add_layer_norm_eps(config.layer_norm_epsilon)
    fichier.add_tensor_data_layout("jploski")


def _ranger_falcon(nom: str, poids: np.ndarray, config: PretrainedConfig) -> np.ndarray:
    """Falcon range ses têtes par groupe (questions, clé, valeur) ; llama.cpp, par sorte."""
    if "attn_qkv" not in nom:
        return poids
    groupes, largeur = _tetes_de_falcon(config), config.hidden_size // config.num_attention_heads
    par_groupe = poids.reshape(groupes, -1, largeur, *poids.shape[1:])
    sortes = (par_groupe[:, :-2], par_groupe[:, [-2]], par_groupe[:, [-1]])
    return np.concatenate([sorte.reshape(-1, *poids.shape[1:]) for sorte in sortes])


def _refuser_falcon(config: PretrainedConfig) -> str:
    if config.alibi:
        return "positions ALiBi"
    if config.bias:
        return "couches à biais"
    return "" if config.parallel_attn else "attention et réseau l’un après l’autre"


# ---------------------------------------------------------------- Llama et les siens


def _decrire_llama(fichier: GGUFWriter, config: PretrainedConfig) -> None:
    fichier.add_vocab_size(config.vocab_size)
    fichier.add_rope_dimension_count(_largeur_de_tete(config))
    _decrire_les_suivants(fichier, config)


def _decrire_les_suivants(fichier: GGUFWriter, config: PretrainedConfig) -> None:
    """Qwen, Gemma et Llama se décrivent de même."""
    fichier.add_feed_forward_length(config.intermediate_size)
    fichier.add_head_count_kv(config.num_key_value_heads)
    fichier.add_layer_norm_rms_eps(config.rms_norm_eps)
    fichier.add_key_length(_largeur_de_tete(config))
    fichier.add_value_length(_largeur_de_tete(config))


def _largeur_de_tete(config: PretrainedConfig) -> int:
    largeur = getattr(config, "head_dim", None)
    return largeur or config.hidden_size // config.num_attention_heads


def _ranger_llama(nom: str, poids: np.ndarray, config: PretrainedConfig) -> np.ndarray:
    """llama.cpp tourne des voisins deux à deux ; transformers, les deux moitiés d'une tête."""
    tetes = {"attn_q": config.num_attention_heads, "attn_k": config.num_key_value_heads}
    for sorte, combien in tetes.items():
        if f".{sorte}." in nom:
            moities = poids.reshape(combien, 2, -1, *poids.shape[1:])
            return moities.swapaxes(1, 2).reshape(poids.shape)
    return poids


# ---------------------------------------------------------------- Gemma


def _decrire_gemma2(fichier: GGUFWriter, config: PretrainedConfig) -> None:
    _decrire_les_suivants(fichier, config)
    fichier.add_sliding_window(config.sliding_window)
    fichier.add_attn_logit_softcapping(config.attn_logit_softcapping)
    fichier.add_final_logit_softcapping(config.final_logit_softcapping)


def _ranger_gemma(nom: str, poids: np.ndarray, config: PretrainedConfig) -> np.ndarray:
    """Gemma multiplie par 1 + w ; llama.cpp, par ce qu'on lui donne."""
    return poids + 1 if nom.endswith("norm.weight") else poids


def _refuser_gemma2(config: PretrainedConfig) -> str:
    if config.query_pre_attn_scalar != config.head_dim:
        return "échelle d’attention qui n’est pas celle de ses têtes"
    alternees = ["sliding_attention", "full_attention"] * config.num_hidden_layers
    if list(config.layer_types) != alternees[: config.num_hidden_layers]:
        return "couches glissantes dans un autre ordre que Gemma 2"
    return ""


#: Les architectures que l'export écrit, par leur ``model_type``. Source : llama.cpp,
#: ``convert_hf_to_gguf.py``, dont viennent rangements et champs.
ARCHITECTURES = {
    "falcon": Architecture(
        gguf.MODEL_ARCH.FALCON, _decrire_falcon, _ranger_falcon, _refuser_falcon
    ),
    "llama": Architecture(gguf.MODEL_ARCH.LLAMA, _decrire_llama, _ranger_llama),
    "mistral": Architecture(gguf.MODEL_ARCH.LLAMA, _decrire_llama, _ranger_llama),
    "qwen2": Architecture(gguf.MODEL_ARCH.QWEN2, _decrire_les_suivants),
    "qwen3": Architecture(gguf.MODEL_ARCH.QWEN3, _decrire_les_suivants),
    "gemma": Architecture(gguf.MODEL_ARCH.GEMMA, _decrire_les_suivants, _ranger_gemma),
    "gemma2": Architecture(gguf.MODEL_ARCH.GEMMA2, _decrire_gemma2, _ranger_gemma, _refuser_gemma2),
}
