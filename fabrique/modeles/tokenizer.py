"""Charger un tokenizer : il n'y faut ni torch, ni les poids, ni leur quantification."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from huggingface_hub import hf_hub_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError
from safetensors import SafetensorError

from fabrique.machine.profil import JUMEAU
from fabrique.modeles.catalogue import CATALOGUE, Entree, trouver
from fabrique.modeles.fichier_gguf import FichierGguf
from fabrique.modeles.gabarits import GABARIT_ALPACA
from fabrique.socle.emplacements import hub_ou_cache
from fabrique.socle.erreurs import MACHINE, ErreurFabrique

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

#: L'erreur de la bibliothèque de réseau du hub, httpx ou httpx2 selon sa version.
ErreurReseau: Any = HfHubHTTPError.__bases__[0]


def charger_tokenizer(modele: str | Path, revision: str | None = None) -> PreTrainedTokenizerBase:
    """Charge le seul tokenizer d'un modèle : catalogue, dossier local, fichier GGUF ou hub.

    Raises:
        ErreurFabrique: modèle inconnu ou injoignable, fichiers illisibles.
    """
    entree = trouver(modele, revision)
    with erreurs_du_hub(entree):
        return completer(_lire(entree))


def completer(tokenizer: PreTrainedTokenizerBase) -> PreTrainedTokenizerBase:
    """Donne à un tokenizer ce que le cours attend de tous : un gabarit, un remplissage à gauche."""
    tokenizer.chat_template = tokenizer.chat_template or GABARIT_ALPACA
    # Sans jeton de remplissage, celui de fin en tient lieu : nos étiquettes sont explicites,
    # la fin s'apprend quand même.
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    tokenizer.padding_side = "left"
    return tokenizer


def _lire(entree: Entree) -> PreTrainedTokenizerBase:
    """Le tokenizer que choisirait AutoTokenizer, qui importe torch ; sans lui, au catalogue."""
    if entree.est_un_gguf:
        return FichierGguf.ouvrir(entree.depot).tokenizer()
    if entree not in CATALOGUE.values():
        from transformers import AutoTokenizer

        return AutoTokenizer.from_pretrained(entree.depot, revision=entree.revision)
    # Ceux du catalogue sont tous décrits par leur seul tokenizer.json.
    from transformers import PreTrainedTokenizerFast

    if entree.revision:  # introuvable, cette classe le dirait mal
        hf_hub_download(entree.depot, "tokenizer.json", revision=entree.revision)
    return PreTrainedTokenizerFast.from_pretrained(entree.depot, revision=entree.revision)


@contextmanager
def erreurs_du_hub(entree: Entree) -> Iterator[None]:
    """Change en une phrase les erreurs de réseau, de fichier et de format du chargement."""
    try:
        with hub_ou_cache() if entree.revision else nullcontext():
            yield
    except (OSError, HFValidationError, LocalEntryNotFoundError, ErreurReseau) as cause:
        if Path(entree.depot).exists():
            raise ErreurFabrique(
                f"le modèle ne se lit pas ({str(cause).splitlines()[0][:120]})",
                "Vérifiez que le dossier contient config.json, le tokenizer et les poids",
                entree.depot,
            ) from cause
        if os.environ.get("FABRIQUE_PROFIL") == JUMEAU.nom:
            raise ErreurFabrique(
                f"le jumeau de « {entree.depot} » n’est pas dans le cache du hub",
                "Depuis le dépôt, tapez « python -m outils.jumeau DOSSIER », puis donnez ce dossier "
                "à HF_HOME",
                code=MACHINE,
            ) from cause
        raise ErreurFabrique(
            f"« {entree.depot} » est introuvable sur le hub, ou le hub est injoignable",
            "Vérifiez le réseau et le nom ; hors ligne, copiez le modèle dans un dossier et "
            "donnez ce dossier, ou employez « falcon-poche »",
            code=MACHINE,
        ) from cause
    except (ValueError, KeyError, json.JSONDecodeError, SafetensorError) as cause:
        raise ErreurFabrique(
            f"le modèle ne se lit pas ({str(cause).splitlines()[0][:120]})",
            "Vérifiez config.json, les poids et les fichiers du tokenizer",
            entree.depot,
        ) from cause
