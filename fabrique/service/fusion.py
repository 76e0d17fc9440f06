"""Fusionner un adaptateur dans les poids de sa base : un seul modèle, sans LoRA à côté.

La fusion se fait dans les poids d'origine, jamais dans les 4 bits : les y arrondir une seconde
fois effacerait une bonne part de ce que l'adaptateur a appris.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from peft import PeftModel
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from fabrique.modeles.adaptateurs import charger_adaptateur, verifier_adaptateur
from fabrique.modeles.chargement import charger
from fabrique.modeles.gabarits import coder, texte_envoye
from fabrique.socle.erreurs import ErreurFabrique
from fabrique.socle.nombres import en_bref, en_scientifique

#: Écart permis entre les logits de l'adaptateur et ceux du modèle fusionné, en norme relative :
#: les poids fusionnés sont enregistrés en 16 bits (de 1,5e-4 à 5,3e-4 sur nos adaptateurs).
TOLERANCE = 1e-3
#: Types dans lesquels les poids attendent en mémoire.
CALCULS = ("float32", "float16")
#: De quoi comparer les deux modèles : des demandes ordinaires, de longueurs différentes.
DEMANDES = (
    "Où voter ?",
    "Comment renouveler ma carte d’identité ?",
    "Expliquez, en trois phrases, la démarche à suivre pour inscrire un enfant à l’école.",
)


@dataclass(frozen=True)
class Fusion:
    """Où est le modèle fusionné, et à quel point il répond comme l'adaptateur."""

    dossier: Path
    ecart: float

    def __str__(self) -> str:
        ecart, tolerance = map(en_scientifique, (self.ecart, TOLERANCE))
        return (
            f"Modèle fusionné dans {self.dossier}, en 16 bits. Relu, il rend les logits de "
            f"l’adaptateur à {ecart} près (permis\u00a0: {tolerance})."
        )


def fusionner(
    modele: str | Path,
    adaptateur: str | Path,
    sortie: str | Path,
    revision: str | None = None,
    calcul: str = "float32",
) -> Fusion:
    """Fusionne un adaptateur dans sa base, enregistre, relit, et vérifie ce qu'on a relu.

    Args:
        modele: la base, en 16 ou 32 bits : nom du catalogue, dossier, ou identifiant du hub.
        adaptateur: dossier de l'adaptateur.
        sortie: dossier à créer ; il se recharge avec ``charger``.
        revision: empreinte du hub, obligatoire hors du catalogue.
        calcul: ``"float32"`` (4 octets de mémoire par poids) ou ``"float16"`` (2 octets ; chaque
            couche ne passe en 32 bits que le temps de son calcul).

    Raises:
        ErreurFabrique: dossier de sortie occupé, base quantifiée, adaptateur d'un autre modèle, ou
            modèle fusionné qui ne répond pas comme l'adaptateur ; rien n'est alors laissé.

    Source : Hu et al., 2021 (LoRA, arXiv:2106.09685), section 4.1, pour la fusion.
    """
    sortie = Path(sortie)
    if calcul not in CALCULS:
        raise ErreurFabrique(
            f"on ne fusionne pas en « {calcul} »", f"Choisissez entre {', '.join(CALCULS)}"
        )
    if sortie.exists() and not sortie.is_dir():
        raise ErreurFabrique("la sortie est un fichier", "Donnez le nom d’un dossier neuf", sortie)
    if sortie.exists() and any(sortie.iterdir()):
        raise ErreurFabrique(
            "le dossier de sortie n’est pas vide", "Donnez un dossier neuf", sortie
        )
    verifier_adaptateur(adaptateur)
    tokenizer, base = charger(modele, "aucune", calcul, revision, silencieux=True)
    affine = charger_adaptateur(base, adaptateur).eval()
    attendus = logits_des_demandes(affine, tokenizer)
    sortie.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".fabrique-", dir=sortie.parent) as a_cote:
        partiel = Path(a_cote) / "modele"
        exporter(_additionner(affine, adaptateur), tokenizer, partiel)
        del base, affine  # jamais deux modèles entiers en mémoire
        ecart = _ecart(
            attendus,
            logits_des_demandes(charger(partiel, "aucune", calcul, None, True)[1], tokenizer),
        )
        if ecart > TOLERANCE:
            dit = "sans limite" if math.isinf(ecart) else en_bref(ecart, 2)
            raise ErreurFabrique(
                f"le modèle fusionné ne répond pas comme l’adaptateur (écart relatif {dit}, "
                f"permis {en_bref(TOLERANCE, 2)})",
                "Gardez l’adaptateur à côté de sa base, et vérifiez qu’il a été appris sur elle",
                adaptateur,
            )
        if sortie.exists():
            sortie.rmdir()
        partiel.rename(sortie)
    return Fusion(sortie, ecart)


def exporter(modele: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, dossier: Path) -> None:
    """Enregistre un modèle en fp16 avec son tokenizer, lisible aussi par les autres outils.

    Falcon « multi-query » n'a qu'une tête de clés et de valeurs ; transformers l'ignore dans ce
    champ, que le convertisseur GGUF de llama.cpp croit sur parole.
    """
    config = modele.config
    if getattr(config, "multi_query", False) and not config.new_decoder_architecture:
        config.num_kv_heads = 1
    modele.to(torch.float16).save_pretrained(dossier)
    tokenizer.save_pretrained(dossier)


def _additionner(affine: PeftModel, adaptateur: str | Path) -> PreTrainedModel:
    try:
        return affine.merge_and_unload(safe_merge=True)
    except ValueError as cause:
        raise ErreurFabrique(
            "l’adaptateur est abîmé : l’un de ses poids n’est pas un nombre",
            "Repartez d’un point de reprise antérieur",
            adaptateur,
        ) from cause


@torch.inference_mode()
def logits_des_demandes(
    modele: torch.nn.Module, tokenizer: PreTrainedTokenizerBase
) -> list[torch.Tensor]:
    """Les logits de chaque demande (forme : 1 × jetons × vocabulaire), calculés en 32 bits."""
    lignes = [coder(texte_envoye(tokenizer, demande), tokenizer) for demande in DEMANDES]
    with _calcul_en_32_bits(modele.eval()):
        return [
            modele(input_ids=torch.tensor([ids], device=modele.device)).logits.float().cpu()
            for ids in lignes
        ]


@contextmanager
def _calcul_en_32_bits(modele: torch.nn.Module) -> Iterator[None]:
    """Chaque couche passe en 32 bits le temps de son calcul : seuls les poids sont alors arrondis."""
    poignees = []
    for couche in modele.modules():
        types = {p.dtype for p in couche.parameters(recurse=False)}
        if torch.float16 in types:
            poignees += [
                couche.register_forward_pre_hook(_elargir),
                couche.register_forward_hook(_retrecir),
            ]
    try:
        yield
    finally:
        for poignee in poignees:
            poignee.remove()


def _elargir(couche: torch.nn.Module, entrees: tuple) -> tuple:
    couche.float()
    return tuple(e.float() if e.is_floating_point() else e for e in entrees)


def _retrecir(couche: torch.nn.Module, entrees: tuple, sortie: torch.Tensor) -> None:
    couche.half()


def _ecart(attendus: list[torch.Tensor], obtenus: list[torch.Tensor]) -> float:
    """‖obtenus − attendus‖ / ‖attendus‖ ; l'infini si l'un n'est pas un nombre."""
    attendu = torch.cat([a.flatten() for a in attendus])
    obtenu = torch.cat([o.flatten() for o in obtenus])
    rapport = float((obtenu - attendu).norm() / attendu.norm())
    return rapport if math.isfinite(rapport) else math.inf
