"""Ce qu'un modèle de langage voit d'un texte : un vecteur, sans rien lui apprendre."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from peft import PeftModel
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from fabrique.machine.denormaux import sans_denormaux
from fabrique.modeles.gabarits import coder, debut_de_suite
from fabrique.modeles.generation import base_ou_affine, par_lots


@sans_denormaux()
@torch.inference_mode()
def representations(
    modele: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    textes: Sequence[str],
    *,
    longueur: int = 64,
    lot: int = 32,
) -> np.ndarray:
    """Ce que la base voit d'un texte : la moyenne de ses vecteurs, à la sortie du dernier bloc.

    Args:
        modele: le modèle, ou un modèle affiné, dont l'adaptateur est éteint.
        longueur: jetons lus de chaque texte, au plus.
        lot: combien de textes sont lus ensemble ; moitié moins quand la mémoire manque.

    Returns:
        Un tableau de forme (nombre de textes, largeur du modèle).
    """
    nu = modele.get_base_model() if isinstance(modele, PeftModel) else modele
    debut = debut_de_suite(tokenizer)
    codes = [[*debut, *coder(texte, tokenizer)][:longueur] for texte in textes]
    ordre = sorted(range(len(codes)), key=lambda rang: len(codes[rang]))

    def lire(rangs: Sequence[int]) -> np.ndarray:
        entrees = tokenizer.pad(
            {"input_ids": [codes[rang] for rang in rangs]},
            padding_side="right",
            return_tensors="pt",
        ).to(modele.device)
        lus = nu.base_model(**entrees).last_hidden_state.float()
        present = entrees["attention_mask"][..., None]
        return ((lus * present).sum(1) / present.sum(1)).cpu().numpy()

    vecteurs = np.zeros((len(codes), modele.config.hidden_size), dtype=np.float32)
    modele.eval()
    with base_ou_affine(modele, adaptateur=False):
        if ordre:
            vecteurs[ordre] = np.concatenate(list(par_lots(ordre, lot, lire)))
    return vecteurs
