"""L'adaptateur qu'on pose sur le modèle, et celui qu'on relit."""

from __future__ import annotations

import torch
from peft import LoraConfig, PeftModel, get_peft_model, prepare_model_for_kbit_training
from transformers import PreTrainedModel

from fabrique.entrainement.reglages import Reglages
from fabrique.erreurs import ErreurFabrique
from fabrique.modeles import couches_quatre_bits, sans_adaptateur


def poser_adaptateur(modele: PreTrainedModel, reglages: Reglages) -> PeftModel:
    """Ajoute les matrices LoRA, tirées de la graine, à un modèle débarrassé des précédentes.

    Raises:
        ErreurFabrique: aucune couche ne porte le nom demandé.
    """
    torch.manual_seed(reglages.graine)
    nu = sans_adaptateur(modele)
    if couches_quatre_bits(nu):
        # Normalisations et plongements passent en fp32 : l'apprentissage y est plus stable.
        nu = prepare_model_for_kbit_training(
            nu,
            use_gradient_checkpointing=reglages.recalcul,
            gradient_checkpointing_kwargs={"use_reentrant": False},
        )
    cibles = reglages.target_modules
    configuration = LoraConfig(
        r=reglages.lora_r,
        lora_alpha=reglages.lora_alpha,
        lora_dropout=reglages.lora_dropout,
        target_modules=cibles if isinstance(cibles, str) else list(cibles),
        bias="none",
        task_type="CAUSAL_LM",
    )
    try:
        return get_peft_model(nu, configuration)
    except ValueError as cause:
        raise ErreurFabrique(
            f"aucune couche du modèle ne s’appelle {', '.join(cibles)}",
            "Donnez des noms de couches du modèle, ou « all-linear »",
            champ="target_modules",
        ) from cause
