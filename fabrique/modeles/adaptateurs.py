"""Poser un adaptateur sur un modèle, et l'en retirer."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from peft import (
    MODEL_TYPE_TO_PEFT_MODEL_MAPPING,
    PeftConfig,
    PeftModel,
    get_peft_model_state_dict,
)
from peft.tuners.tuners_utils import BaseTunerLayer
from peft.utils.other import AuxiliaryTrainingWrapper
from safetensors import SafetensorError
from safetensors.torch import load_file
from transformers import PreTrainedModel

from fabrique.modeles.catalogue import CATALOGUE
from fabrique.modeles.chargement import _dire_les_defauts
from fabrique.modeles.origine import empreinte_de_la_base, lire_origine
from fabrique.socle.erreurs import ErreurFabrique

#: Les deux fichiers d'un adaptateur.
FICHIERS_DE_L_ADAPTATEUR = ("adapter_config.json", "adapter_model.safetensors")


def charger_adaptateur(
    modele: PreTrainedModel, dossier: str | Path, nom: str = "default"
) -> PeftModel:
    """Pose sur un modèle un adaptateur enregistré, sans toucher à ses poids.

    peft ne se plaint ni d'un poids absent, ni d'un poids en trop, même s'il remplace un poids de la
    base : chacun est donc vérifié d'abord, et un adaptateur qui ne s'applique pas est retiré.

    Args:
        dossier: contient ``adapter_config.json`` et ``adapter_model.safetensors``.
        nom: sous quel nom le poser, quand on en compare plusieurs.

    Raises:
        ErreurFabrique: dossier sans adaptateur safetensors, adaptateur sans effet ou fait pour un
            autre modèle, nom déjà pris.
    """
    dossier = Path(dossier)
    reglages, poids = _lire_adaptateur(dossier)
    if isinstance(modele, PeftModel) and nom in modele.peft_config:
        raise ErreurFabrique(
            f"un adaptateur s’appelle déjà « {nom} » sur ce modèle : il garderait son échelle",
            "Donnez un autre nom (nom=…), ou repartez du modèle nu (« sans_adaptateur »)",
            dossier,
        )
    _verifier_la_base(modele, reglages, dossier)
    try:
        with _erreurs_de_l_adaptateur(dossier):
            pose = _faire_place(modele, reglages, nom)
        _verifier_les_places(pose, nom, poids, dossier)
        _verifier_l_effet(reglages, poids, dossier)
        pose.load_adapter(str(dossier), adapter_name=nom)
    except ErreurFabrique:
        _retirer(modele, nom)
        raise
    return pose


def verifier_adaptateur(dossier: str | Path) -> None:
    """Vérifie, avant de charger un modèle, qu'un dossier contient un adaptateur qui sert.

    Raises:
        ErreurFabrique: fichier manquant ou illisible, ou adaptateur qui ne change rien.
    """
    _verifier_l_effet(*_lire_adaptateur(Path(dossier)), Path(dossier))


def _lire_adaptateur(dossier: Path) -> tuple[PeftConfig, dict[str, torch.Tensor]]:
    """Les réglages d'un adaptateur, et ses poids."""
    for fichier in FICHIERS_DE_L_ADAPTATEUR:
        if not (dossier / fichier).is_file():
            raise ErreurFabrique(
                f"l’adaptateur est introuvable : il manque {fichier}",
                "Donnez le dossier que fabrique finetune a rempli (--lora_out_dir)",
                dossier,
            )
    with _erreurs_de_l_adaptateur(dossier):
        reglages = PeftConfig.from_pretrained(str(dossier))
        return reglages, load_file(dossier / FICHIERS_DE_L_ADAPTATEUR[1])


def _verifier_l_effet(reglages: PeftConfig, poids: dict[str, torch.Tensor], dossier: Path) -> None:
    if _sans_effet(poids) or getattr(reglages, "lora_alpha", 1) == 0:
        raise ErreurFabrique(
            "cet adaptateur ne change rien : ses poids, ou son échelle, sont nuls",
            "Donnez-en un autre, ou relancez l’apprentissage plus longtemps",
            dossier,
        )


def _sans_effet(poids: dict[str, torch.Tensor]) -> bool:
    """Vrai si chaque produit B × A est nul, et qu'il n'y a rien d'autre."""
    couples = {nom: re.sub(r"(\.lora_(?:embedding_)?)A\b", r"\1B", nom) for nom in poids}
    couples = {a: b for a, b in couples.items() if a != b}
    if poids.keys() != {*couples, *couples.values()}:
        return False
    return not any(poids[a].any() and poids[b].any() for a, b in couples.items())


def _verifier_la_base(modele: PreTrainedModel, reglages: PeftConfig, dossier: Path) -> None:
    """La base est celle que l'adaptateur a signée ; sans signature, elle en a le nom."""
    origine, presente = lire_origine(dossier), empreinte_de_la_base(modele)
    if origine and origine.empreinte and presente:
        attendu, pareille = origine.base, origine.empreinte == presente
    else:
        attendu = reglages.base_model_name_or_path or ""
        noms = [_nom_court(nom) for nom in (attendu, modele.config._name_or_path)]
        pareille = noms[0] == noms[1] or not all(noms)
    if not pareille:
        raise ErreurFabrique(
            f"cet adaptateur n’a pas été appris sur ce modèle, mais sur « {_nom_court(attendu)} »",
            "Chargez le modèle nommé dans adapter_config.json, clé base_model_name_or_path",
            dossier,
        )


def _nom_court(base: str) -> str:
    """Le nom d'un modèle, quel que soit le dossier ou le compte où il est rangé."""
    court = re.split(r"[/\\]", base.rstrip("/\\"))[-1].casefold()
    for nom, entree in CATALOGUE.items():
        if court in (nom, Path(entree.depot).name):
            return nom
    return court


def _faire_place(modele: PreTrainedModel, reglages: PeftConfig, nom: str) -> PeftModel:
    """Ajoute au modèle les couches d'un adaptateur, sans encore ses poids."""
    reglages.inference_mode = True
    if isinstance(modele, PeftModel):
        modele.add_adapter(nom, reglages)
        return modele
    classe = MODEL_TYPE_TO_PEFT_MODEL_MAPPING[reglages.task_type or "CAUSAL_LM"]
    return classe(sans_adaptateur(modele), reglages, adapter_name=nom)


def _retirer(modele: PreTrainedModel, nom: str) -> None:
    """Rend le modèle tel qu'avant un adaptateur refusé."""
    if not isinstance(modele, PeftModel):
        sans_adaptateur(modele)
    elif nom in modele.peft_config:
        modele.delete_adapter(nom)


def _verifier_les_places(
    pose: PeftModel, nom: str, poids: dict[str, torch.Tensor], dossier: Path
) -> None:
    """Chaque poids du fichier a sa place, et chaque place son poids."""
    attendus = get_peft_model_state_dict(pose, adapter_name=nom, save_embedding_layers=False)
    communs = attendus.keys() & poids.keys()
    defauts = {
        "manquants": attendus.keys() - poids.keys(),
        "en trop": poids.keys() - attendus.keys(),
        "de mauvaise taille": {c for c in communs if attendus[c].shape != poids[c].shape},
    }
    if dits := _dire_les_defauts(defauts):
        raise ErreurFabrique(
            f"l’adaptateur ne s’applique pas à ce modèle : poids {dits}",
            "Donnez l’adaptateur tel que peft l’a enregistré, et la base nommée dans "
            "adapter_config.json, clé base_model_name_or_path",
            dossier,
        )


@contextmanager
def _erreurs_de_l_adaptateur(dossier: Path) -> Iterator[None]:
    """Change en une phrase les erreurs de lecture et de pose d'un adaptateur."""
    try:
        yield
    except SafetensorError as cause:
        raise ErreurFabrique(
            "l’adaptateur ne se lit pas : adapter_model.safetensors est incomplet",
            "Copiez-le de nouveau, ou relancez l’apprentissage",
            dossier,
        ) from cause
    except (UnicodeDecodeError, json.JSONDecodeError, KeyError, TypeError) as cause:
        raise ErreurFabrique(
            "l’adaptateur ne se lit pas : adapter_config.json est abîmé",
            "Copiez-le de nouveau, ou relancez l’apprentissage",
            dossier,
        ) from cause
    except (RuntimeError, ValueError) as cause:
        raise ErreurFabrique(
            "cet adaptateur n’a pas été appris sur ce modèle",
            "Chargez le modèle nommé dans adapter_config.json, clé base_model_name_or_path",
            dossier,
        ) from cause


def sans_adaptateur(modele: torch.nn.Module) -> PreTrainedModel:
    """Le modèle nu : retire tout adaptateur posé, la base étant intacte."""
    nu = modele.get_base_model() if isinstance(modele, PeftModel) else modele
    for nom, module in list(nu.named_modules()):
        parent, _, feuille = nom.rpartition(".")
        if isinstance(module, BaseTunerLayer):
            setattr(nu.get_submodule(parent), feuille, module.get_base_layer())
        elif isinstance(module, AuxiliaryTrainingWrapper):  # une tête apprise avec l'adaptateur
            setattr(nu.get_submodule(parent), feuille, module.original_module)
    if hasattr(nu, "peft_config"):
        del nu.peft_config
    return nu
