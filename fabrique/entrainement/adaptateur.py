"""Ce qui s'apprend : un adaptateur posé sur le modèle, ou tous ses poids."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from pathlib import Path

import torch
from peft import LoraConfig, PeftModel, get_peft_model, prepare_model_for_kbit_training
from transformers import PreTrainedModel

from fabrique.entrainement.reglages import Reglages
from fabrique.modeles.adaptateurs import charger_adaptateur, sans_adaptateur
from fabrique.modeles.chargement import couches_quatre_bits, sous_fsdp
from fabrique.modeles.quantification import format_de
from fabrique.socle.erreurs import ErreurFabrique


def poser(
    modele: PreTrainedModel, reglages: Reglages, depart: Path | None = None
) -> PreTrainedModel | PeftModel:
    """Prépare ce qui s'apprend, sur un modèle débarrassé d'un adaptateur précédent.

    Args:
        depart: un adaptateur à prolonger ; par défaut, un adaptateur neuf, sans effet.

    Raises:
        ErreurFabrique: réglages que le modèle ne permet pas, ou modèle quantifié dont on veut
            apprendre tous les poids.
    """
    nu = sans_adaptateur(modele)
    if reglages.methode == "complet":
        return _ouvrir(nu)
    torch.manual_seed(reglages.graine)
    gele = _geler(nu, reglages)
    return _prolonger(gele, depart) if depart else _ajouter(gele, reglages)


def _geler(nu: PreTrainedModel, reglages: Reglages) -> PreTrainedModel:
    """Le modèle, dont aucun poids ne s'apprend plus."""
    nu.requires_grad_(False)
    if couches_quatre_bits(nu) and not sous_fsdp():
        # Normalisations et plongements sont en fp32 (« charger ») : l'apprentissage y est plus
        # stable. FSDP, lui, veut un seul type pour découper.
        return prepare_model_for_kbit_training(
            nu,
            use_gradient_checkpointing=reglages.recalcul,
            gradient_checkpointing_kwargs={"use_reentrant": False},
        )
    return nu


def _prolonger(nu: PreTrainedModel, depart: Path) -> PeftModel:
    """Repose un adaptateur, prêt à apprendre encore."""
    pose = charger_adaptateur(nu, depart)
    pose.peft_config["default"].inference_mode = False
    pose.set_adapter("default")  # rouvre ses poids, que peft gèle en les lisant
    return pose


def _ajouter(nu: PreTrainedModel, reglages: Reglages) -> PeftModel:
    """Ajoute les matrices LoRA, tirées de la graine."""
    cibles, tache = reglages.target_modules, _tache(nu)
    configuration = LoraConfig(
        r=reglages.lora_r,
        lora_alpha=reglages.lora_alpha,
        lora_dropout=reglages.lora_dropout,
        target_modules=cibles if isinstance(cibles, str) else list(cibles),
        use_rslora=reglages.methode == "rslora",
        use_dora=reglages.methode == "dora",
        bias="none",
        task_type=tache,
        # « all-linear » ne doit pas prendre la tête, que peft apprend en entier.
        exclude_modules=None if tache == "CAUSAL_LM" else list(TETES),
    )
    return get_peft_model(nu, configuration)


#: Ce que fait un modèle, au nom de sa classe ; peft apprend et garde alors aussi sa tête.
TACHES = {"ForTokenClassification": "TOKEN_CLS", "ForSequenceClassification": "SEQ_CLS"}
#: Les noms que transformers et peft donnent à une tête.
TETES = ("classifier", "score")


def _tache(nu: PreTrainedModel) -> str:
    """La tâche d'un modèle, dans les mots de peft : écrire, sauf si sa tête étiquette ou classe."""
    classe = type(nu).__name__
    return next((tache for fin, tache in TACHES.items() if classe.endswith(fin)), "CAUSAL_LM")


def verifier_modele(reseau: PreTrainedModel | PeftModel, reglages: Reglages) -> None:
    """Vérifie que des réglages vont à un modèle ; ``squelette`` suffit, aucun poids n'est lu.

    Raises:
        ErreurFabrique: ``cutoff_len`` dépasse la fenêtre du modèle, ou une couche n'existe pas.
    """
    fenetre = getattr(reseau.config, "max_position_embeddings", None)
    if fenetre and reglages.cutoff_len > fenetre:
        raise ErreurFabrique(
            f"{reglages.cutoff_len} jetons dépassent la fenêtre du modèle ({fenetre})",
            f"Donnez une valeur d’au plus {fenetre}",
            champ="cutoff_len",
        )
    if reglages.methode != "complet" and reglages.target_modules != "all-linear":
        _verifier_couches(reseau, reglages.target_modules)


def _verifier_couches(reseau: PreTrainedModel | PeftModel, cibles: str | Sequence[str]) -> None:
    """Chaque nom demandé est celui d'une couche qui peut recevoir un adaptateur.

    Même règle que peft, qui ne se plaint que si aucun des noms n'est trouvé : un nom vaut pour
    toute couche dont le chemin finit par lui ; une expression régulière, pour tout le chemin.
    """
    nu = reseau.get_base_model() if isinstance(reseau, PeftModel) else reseau
    # Un adaptateur déjà posé range la couche sous « base_layer », à côté de ses matrices.
    chemins = [
        nom.removesuffix(".base_layer")
        for nom, module in nu.named_modules()
        if _adaptable(module) and ".lora_" not in nom
    ]
    courts = sorted({chemin.rpartition(".")[2] for chemin in chemins})
    remede = f"Donnez des couches de ce modèle ({', '.join(courts)}), ou « all-linear »"
    if isinstance(cibles, str):
        if not any(re.fullmatch(cibles, chemin) for chemin in chemins):
            raise ErreurFabrique(
                f"aucune couche du modèle ne répond à l’expression « {cibles} »",
                remede,
                champ="target_modules",
            )
        return
    for cible in cibles:
        if not any(f".{chemin}".endswith(f".{cible}") for chemin in chemins):
            proche = difflib.get_close_matches(cible, courts, n=1)
            raise ErreurFabrique(
                f"aucune couche du modèle ne s’appelle « {cible} »",
                f"Vouliez-vous dire « {proche[0]} »\u00a0? {remede}" if proche else remede,
                champ="target_modules",
            )


def _adaptable(module: torch.nn.Module) -> bool:
    """Une matrice de poids, quantifiée ou non : ni un bloc entier, ni une normalisation."""
    poids = getattr(module, "weight", None)
    return format_de(module) is not None or (poids is not None and poids.dim() == 2)


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
        relu = type(modele).from_pretrained(
            dossier, dtype=torch.float32, use_safetensors=True, trust_remote_code=False
        )
        return relu.eval()
    return charger_adaptateur(sans_adaptateur(modele), dossier).eval()
