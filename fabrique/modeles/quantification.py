"""Les formats de quantification : ce qu'on demande, ce qu'on a obtenu, ce qu'il en coûte.

Un poids quantifié n'est plus qu'un numéro : la valeur de ce numéro est dans une table de
niveaux, que multiplie l'échelle de son groupe de poids.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import bitsandbytes as bnb
import numpy as np
import torch
from bitsandbytes.functional import QuantState, dequantize_4bit, int8_vectorwise_dequant
from scipy.special import ndtri
from transformers import BitsAndBytesConfig

#: Dettmers et al., 2023 : les seize niveaux évitent les deux bouts de la loi normale, où le
#: quantile est infini ; cette probabilité est la moyenne des deux façons de les éviter.
PROBABILITE_DU_BOUT = 1 - (1 / 30 + 1 / 32) / 2


@dataclass(frozen=True)
class Format:
    """Une façon de ranger les poids.

    Args:
        nature: son nom, tel que le montre le tableau de mémoire.
        bits: bits par poids, échelles non comprises.
        options: celles de ``BitsAndBytesConfig`` ; vides pour ce que le fichier décide (GPTQ).
    """

    nature: str
    bits: int
    options: dict = field(default_factory=dict)


def _quatre_bits(nature: str, table: str, double: bool) -> Format:
    options = {
        "load_in_4bit": True,
        "bnb_4bit_quant_type": table,
        "bnb_4bit_use_double_quant": double,
    }
    return Format(nature, 4, options)


#: Les formats que ``charger`` sait demander, et vérifier.
FORMATS = {
    "nf4": _quatre_bits("4 bits (NF4)", "nf4", double=True),
    "nf4_simple": _quatre_bits("4 bits (NF4, échelles simples)", "nf4", double=False),
    "fp4": _quatre_bits("4 bits (FP4)", "fp4", double=True),
    "int8": Format("8 bits (LLM.int8)", 8, {"load_in_8bit": True}),
    "gptq": Format("4 bits (GPTQ)", 4),
}


def configuration(nom: str, calcul: torch.dtype) -> BitsAndBytesConfig | None:
    """La configuration de bitsandbytes d'un format ; None s'il n'en relève pas.

    Source : Dettmers et al., 2022 (LLM.int8, arXiv:2208.07339) et 2023 (QLoRA,
    arXiv:2305.14314).
    """
    format_demande = FORMATS.get(nom)
    if format_demande is None or not format_demande.options:
        return None
    return BitsAndBytesConfig(**format_demande.options, bnb_4bit_compute_dtype=calcul)


def format_de(module: torch.nn.Module) -> str | None:
    """Le format où une couche est rangée ; None pour une couche en 16 ou 32 bits."""
    if isinstance(module, bnb.nn.Linear4bit):
        etat = getattr(module.weight, "quant_state", None)
        if etat is None:
            return None
        return etat.quant_type if etat.nested else f"{etat.quant_type}_simple"
    if isinstance(module, bnb.nn.Linear8bitLt):
        return "int8" if module.weight.dtype == torch.int8 else None
    return "gptq" if hasattr(module, "qweight") and hasattr(module, "qzeros") else None


def octets(module: torch.nn.Module) -> int:
    """Place d'une couche quantifiée : ses numéros, ses échelles et ses tables, sans le biais."""
    if hasattr(module, "qweight"):
        tenseurs = [t for nom, t in module.named_buffers(recurse=False) if nom != "bias"]
    elif isinstance(module, bnb.nn.Linear8bitLt):
        tenseurs = [module.weight, _echelles_8_bits(module)]
    else:
        tenseurs = [module.weight, *_constantes(module.weight.quant_state)]
    return sum(t.numel() * t.element_size() for t in tenseurs)


def poids_retrouves(module: torch.nn.Module) -> torch.Tensor:
    """Les poids d'une couche bitsandbytes, rendus à leurs nombres : ceux du calcul."""
    if isinstance(module, bnb.nn.Linear8bitLt):
        return int8_vectorwise_dequant(module.weight.data, _echelles_8_bits(module))
    return dequantize_4bit(module.weight.data, module.weight.quant_state)


def taille_attendue(module: torch.nn.Module) -> bool:
    """Dit si les poids quantifiés d'une couche ont la taille de la couche.

    transformers ne compare pas la taille des poids qu'il quantifie en chemin.
    """
    if not isinstance(module, bnb.nn.Linear4bit | bnb.nn.Linear8bitLt) or format_de(module) is None:
        return True
    quantifies = getattr(module.weight, "quant_state", module.weight)
    return tuple(quantifies.shape) == (module.out_features, module.in_features)


def niveaux_nf4() -> np.ndarray:
    """Les seize niveaux de NF4, recalculés : des quantiles de la loi normale, ramenés à [−1 ; 1].

    Huit niveaux positifs, zéro, sept négatifs : chaque côté coupe sa moitié de la courbe en
    tranches d'égale probabilité.

    Source : Dettmers et al., 2023 (QLoRA, arXiv:2305.14314), équation 4 et annexe E.
    """
    positifs = ndtri(np.linspace(PROBABILITE_DU_BOUT, 0.5, 9)[:-1])
    negatifs = -ndtri(np.linspace(PROBABILITE_DU_BOUT, 0.5, 8)[:-1])
    return np.sort(np.concatenate([negatifs, [0.0], positifs])) / positifs.max()


def _echelles_8_bits(module: bnb.nn.Linear8bitLt) -> torch.Tensor:
    """Une échelle par ligne : avec le poids au chargement, dans l'état après le premier calcul."""
    return module.weight.SCB if module.weight.SCB is not None else module.state.SCB


def _constantes(etat: QuantState) -> list[torch.Tensor]:
    """Les échelles d'une couche 4 bits et leur table ; quantifiées à leur tour si elles sont doubles."""
    tenseurs = [etat.absmax, etat.code]
    if etat.nested:
        tenseurs += [etat.state2.absmax, etat.state2.code, etat.offset]
    return tenseurs
