"""Doser un adaptateur, en additionner deux : la base, elle, ne bouge pas."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path

from peft import PeftModel
from peft.helpers import rescale_adapter_scale
from transformers import PreTrainedModel

from fabrique.modeles.adaptateurs import charger_adaptateur, sans_adaptateur


def dose(modele: PeftModel, facteur: float) -> AbstractContextManager[None]:
    """Multiplie l'adaptateur par ``facteur``, le temps d'un bloc ``with``.

    À 0, c'est la base ; à 1, le modèle affiné ; au-delà, on force le trait.

    Source : Wortsman et al., 2022 (WiSE-FT, arXiv:2109.01903), pour le dosage entre une base
    et son affinage.
    """
    return rescale_adapter_scale(modele, facteur)


def melanger(
    modele: PreTrainedModel, dossiers: dict[str, str | Path], poids: list[float] | None = None
) -> PeftModel:
    """Pose plusieurs adaptateurs sur un modèle, et leur somme pondérée, nommée « melange ».

    La somme est exacte : peft met les matrices bout à bout (``combination_type="cat"``), le
    rang du mélange est donc la somme des rangs.

    Args:
        dossiers: nom → dossier de chaque adaptateur.
        poids: dose de chacun, 1 par défaut.

    Returns:
        Le modèle, « melange » actif ; ``set_adapter`` choisit un autre adaptateur.

    Source : Ilharco et al., 2022 (arXiv:2212.04089), pour l'addition de ce que chaque
    apprentissage a changé.
    """
    pose = sans_adaptateur(modele)
    for nom, dossier in dossiers.items():
        pose = charger_adaptateur(pose, dossier, nom)
    pose.add_weighted_adapter(
        list(dossiers), poids or [1.0] * len(dossiers), "melange", combination_type="cat"
    )
    pose.set_adapter("melange")
    return pose.eval()
