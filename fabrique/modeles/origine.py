"""D'où vient un adaptateur : sa base, signée, et les demandes qu'il a apprises."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import try_to_load_from_cache
from huggingface_hub.errors import HFValidationError
from safetensors import safe_open
from transformers import PretrainedConfig, PreTrainedModel

from fabrique.modeles.catalogue import nom_public
from fabrique.modeles.fichier_gguf import FichierGguf
from fabrique.socle.emplacements import ecrire_signe

#: Ce que l'apprentissage écrit à côté de l'adaptateur : sa base, et les demandes qu'il a apprises.
ORIGINE = "origine.json"


@dataclass(frozen=True)
class Origine:
    """D'où vient un adaptateur.

    Args:
        base: le nom public de sa base.
        empreinte: celle des poids de la base ; rien quand ils n'étaient dans aucun dossier.
        apprises: les empreintes des demandes apprises (``empreintes_de_la_demande``).
    """

    base: str
    empreinte: str | None
    apprises: tuple[str, ...]


def inscrire_origine(dossier: Path, modele: PreTrainedModel, apprises: Iterable[str]) -> None:
    """Écrit l'origine d'un adaptateur dans son dossier, si elle n'y est pas déjà."""
    if lire_origine(dossier) is None:
        base = nom_public(modele.config._name_or_path)
        origine = Origine(base, empreinte_de_la_base(modele), tuple(apprises))
        ecrire_signe(dossier / ORIGINE, json.dumps(asdict(origine), ensure_ascii=False))


def lire_origine(dossier: str | Path) -> Origine | None:
    """L'origine d'un adaptateur, ou d'un de ses points de reprise ; None si on l'ignore."""
    dossier = Path(dossier)
    lieu = dossier.parent if dossier.name.startswith("checkpoint-") else dossier
    try:
        lue = json.loads((lieu / ORIGINE).read_text(encoding="utf-8"))
        return Origine(lue["base"], lue["empreinte"], tuple(lue["apprises"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def empreinte_de_la_base(modele: PreTrainedModel) -> str | None:
    """L'empreinte des poids d'où un modèle a été chargé ; None s'ils ne sont dans aucun dossier.

    Elle porte sur le nom, le type, la forme et la rangée du milieu de chaque tenseur enregistré :
    la même en 4 bits et en 16 bits, dans le cache du hub et dans une copie locale ; une autre dès
    qu'un réglage fin ou une fusion a changé les poids, même d'une seule sorte de couche.
    """
    lieu = _lieu_des_poids(modele.config)
    tenseurs = sorted(_extraits(lieu)) if lieu else []
    return hashlib.sha256(b"".join(tenseurs)).hexdigest() if tenseurs else None


def _lieu_des_poids(config: PretrainedConfig) -> Path | None:
    """Le dossier d'un modèle, ou son fichier GGUF : le sien, ou celui que le cache du hub lui donne."""
    depot = config._name_or_path
    if not depot or Path(depot).exists():
        return Path(depot) if depot else None
    revision = getattr(config, "_commit_hash", None)
    try:
        trouve = try_to_load_from_cache(depot, "config.json", revision=revision)
    except HFValidationError:
        return None
    return Path(trouve).parent if isinstance(trouve, str) else None


def _extraits(lieu: Path) -> Iterator[bytes]:
    """La description de chaque tenseur d'un modèle, et les octets de sa rangée du milieu."""
    if lieu.is_file():
        for tenseur in FichierGguf.ouvrir(lieu).lecteur.tensors:
            yield _extrait(tenseur.name, torch.from_numpy(tenseur.data), list(tenseur.data.shape))
        return
    motifs = ("model*.safetensors", "gptq_model*.safetensors", "pytorch_model*.bin")
    for fichier in next(filter(None, (list(lieu.glob(motif)) for motif in motifs)), []):
        if fichier.suffix == ".bin":
            poids = torch.load(fichier, map_location="cpu", mmap=True, weights_only=True)
            yield from (_extrait(nom, t, list(t.shape)) for nom, t in poids.items())
        else:
            with safe_open(fichier, framework="pt") as poids:
                for nom in poids.keys():
                    tranche = poids.get_slice(nom)
                    yield _extrait(nom, tranche, tranche.get_shape())


def _extrait(nom: str, tenseur: Any, forme: list[int]) -> bytes:
    """Args: ``tenseur`` se lit par tranches, sans que le reste vienne en mémoire."""
    rangee = tenseur[forme[0] // 2 : forme[0] // 2 + 1] if forme else tenseur[...]
    entete = f"{nom} {rangee.dtype} {forme}\n".encode()
    return entete + rangee.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
