"""Ce qui s'apprend : un adaptateur posé sur le modèle, ou tous ses poids."""

from __future__ import annotations

from pathlib import Path

import torch
from peft import LoraConfig, PeftModel, get_peft_model, prepare_model_for_kbit_training
from transformers import AutoModelForCausalLM, PreTrainedModel

from fabrique.entrainement.reglages import Reglages
from fabrique.erreurs import ErreurFabrique
from fabrique.modeles import (
    charger_adaptateur,
    couches_quatre_bits,
    sans_adaptateur,
    sous_fsdp,
)


def poser(modele: PreTrainedModel, reglages: Reglages) -> PreTrainedModel | PeftModel:
    """Prépare ce qui s'apprend, sur un modèle débarrassé d'un adaptateur précédent.

    Raises:
        ErreurFabrique: aucune couche ne porte le nom demandé, ou modèle quantifié dont on veut
            apprendre tous les poids.
    """
    nu = sans_adaptateur(modele)
    return _ouvrir(nu) if reglages.methode == "complet" else _ajouter(nu, reglages)


def _ajouter(nu: PreTrainedModel, reglages: Reglages) -> PeftModel:
    """Ajoute les matrices LoRA, tirées de la graine."""
    torch.manual_seed(reglages.graine)
    nu.requires_grad_(False)
    if couches_quatre_bits(nu) and not sous_fsdp():
        # Normalisations et plongements sont en fp32 (« charger ») : l'apprentissage y est plus
        # stable. FSDP, lui, veut un seul type pour découper.
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
        use_rslora=reglages.methode == "rslora",
        use_dora=reglages.methode == "dora",
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


def _ouvrir(nu: PreTrainedModel) -> PreTrainedModel:
    """Rend tous les poids apprenables : le modèle lui-même changera."""
    if couches_quatre_bits(nu) or nu.dtype != torch.float32:
        raise ErreurFabrique(
            "tous les poids ne s’apprennent que sur un modèle en 32 bits, non quantifié",
            "Chargez-le avec quantification='aucune' et calcul='float32' (--quantification "
            "aucune), ou gardez la méthode « lora »",
            champ="methode",
        )
    return nu.requires_grad_(True)


def parametres_entraines(modele: torch.nn.Module) -> int:
    """Combien de nombres s'apprennent."""
    return sum(p.numel() for p in modele.parameters() if p.requires_grad)


def relire(
    modele: PreTrainedModel | PeftModel, dossier: Path, reglages: Reglages
) -> PreTrainedModel | PeftModel:
    """Ce qu'un apprentissage achevé a laissé dans son dossier, prêt à répondre."""
    if reglages.methode == "complet":
        relu = AutoModelForCausalLM.from_pretrained(
            dossier, dtype=torch.float32, use_safetensors=True, trust_remote_code=False
        )
        return relu.eval()
    return charger_adaptateur(sans_adaptateur(modele), dossier).eval()
