"""Charger un modèle quantifié, et vérifier qu'il l'est vraiment.

transformers 5 laisse en 16 ou 32 bits, sans le dire, les couches linéaires de Falcon. Ce
module répare, charge, puis compte : on n'obtient jamais un modèle qui n'est pas celui
qu'on a demandé.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import tempfile
import warnings
from collections.abc import Collection, Iterator
from contextlib import contextmanager, redirect_stderr
from pathlib import Path
from typing import Any

import bitsandbytes as bnb
import torch
import transformers
from huggingface_hub.constants import HF_HUB_DISABLE_PROGRESS_BARS
from huggingface_hub.utils import enable_progress_bars
from peft import prepare_model_for_kbit_training
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel, PreTrainedTokenizerBase
from transformers.models.falcon import modeling_falcon

from fabrique.machine.denormaux import sans_denormaux
from fabrique.machine.materiel import examiner, memoire_disponible
from fabrique.machine.profil import verifier_calcul
from fabrique.modeles.catalogue import Entree, trouver
from fabrique.modeles.fichier_gguf import FichierGguf
from fabrique.modeles.memoire import montrer_memoire
from fabrique.modeles.quantification import FORMATS, configuration, format_de, taille_attendue
from fabrique.modeles.tokenizer import charger_tokenizer, erreurs_du_hub
from fabrique.socle.erreurs import MACHINE, ErreurFabrique
from fabrique.socle.nombres import accorder, en_francais, en_go

QUANTIFICATIONS = (*FORMATS, "aucune")
TYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


@sans_denormaux()
def charger(
    modele: str | Path,
    quantification: str = "nf4",
    calcul: str | None = None,
    revision: str | None = None,
    silencieux: bool = False,
) -> tuple[PreTrainedTokenizerBase, PreTrainedModel]:
    """Charge un modèle et son tokenizer, puis vérifie la quantification.

    Args:
        modele: nom du catalogue (« falcon-poche »), dossier local, fichier ``.gguf``, ou identifiant
            du hub.
        quantification: ``"nf4"`` (4 bits, double quantification), ``"nf4_simple"`` (échelles
            en 32 bits), ``"fp4"``, ``"int8"`` (8 bits), ``"gptq"`` (point de contrôle GPTQ
            existant, extra ``[gptq]``) ou ``"aucune"``.
        calcul: type des calculs, ``"float32"``, ``"float16"`` ou ``"bfloat16"`` ; par défaut
            ``"float32"`` sans GPU, ``"bfloat16"`` ou ``"float16"`` selon la carte.
        revision: empreinte du hub, obligatoire hors du catalogue.
        silencieux: n'imprime pas le tableau de mémoire.

    Returns:
        Le tokenizer et le modèle, prêts à générer ou à affiner.

    Raises:
        ErreurFabrique: modèle inconnu ou injoignable, poids absents ou en pickle, poids manquant,
            couche qui n'est pas dans le format demandé.

    Source : Dettmers et al., 2023 (QLoRA, arXiv:2305.14314) pour NF4 et la double
    quantification.
    """
    if quantification not in QUANTIFICATIONS:
        raise ErreurFabrique(
            f"la quantification « {quantification} » n’existe pas",
            f"Choisissez entre {', '.join(QUANTIFICATIONS)}",
        )
    calcul = calcul or calcul_par_defaut()
    if calcul not in TYPES:
        raise ErreurFabrique(
            f"le type de calcul « {calcul} » n’existe pas", f"Choisissez entre {', '.join(TYPES)}"
        )
    verifier_calcul(calcul, examiner())
    parler_moins()
    entree = trouver(modele, revision)
    _refuser_pickle(entree)
    tokenizer = charger_tokenizer(modele, revision)
    charger_poids = _charger_gguf if entree.est_un_gguf else _charger_poids
    reseau = charger_poids(entree, quantification, TYPES[calcul])
    _proteger_avx512(reseau)
    verifier_quantification(reseau, quantification)
    if couches_quatre_bits(reseau) and not sous_fsdp():
        # Normalisations et plongements en fp32, comme pendant l'apprentissage : une perte mesurée
        # avant se calcule alors exactement comme celle d'après.
        prepare_model_for_kbit_training(reseau, use_gradient_checkpointing=False)
    if not silencieux:
        montrer_memoire(reseau)
    return tokenizer, reseau


def squelette(modele: str | Path, revision: str | None = None) -> PreTrainedModel:
    """Un modèle sans ses poids, sur un appareil fictif : ses couches, leurs noms, leurs tailles."""
    entree = trouver(modele, revision)
    with erreurs_du_hub(entree), torch.device("meta"):
        if entree.est_un_gguf:
            config = FichierGguf.ouvrir(entree.depot).configuration()
            config._name_or_path = entree.depot
        else:
            config = AutoConfig.from_pretrained(entree.depot, revision=entree.revision)
        return AutoModelForCausalLM.from_config(config)


def calcul_par_defaut() -> str:
    """fp32 sans GPU, bf16 sur une carte qui le calcule, fp16 sinon (T4)."""
    if not torch.cuda.is_available():
        return "float32"
    return "bfloat16" if torch.cuda.get_device_capability()[0] >= 8 else "float16"


def parler_moins() -> None:
    """Tait les avertissements anglais et les barres de chargement ; un téléchargement montre la sienne."""
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    # transformers éteint aussi les barres du hub : un téléchargement de 14 Go doit se voir.
    if not HF_HUB_DISABLE_PROGRESS_BARS:
        enable_progress_bars()
    warnings.filterwarnings("ignore", category=FutureWarning, module=r"transformers\.")
    # Hors ligne, peft s'étonne de ne pas relire la configuration de la base en enregistrant.
    warnings.filterwarnings("ignore", message="Could not find a config file", module=r"peft\.")


@contextmanager
def reparation_falcon() -> Iterator[None]:
    """Fait bâtir Falcon avec ``torch.nn.Linear`` le temps d'un chargement.

    transformers (5.5 à 5.23 au moins) ne quantifie que les couches dont le type est
    exactement ``nn.Linear`` ; Falcon emploie ``FalconLinear``, sa sous-classe au calcul
    identique. Réentrant : la classe d'origine revient à la sortie.
    """
    origine = modeling_falcon.FalconLinear
    modeling_falcon.FalconLinear = torch.nn.Linear
    try:
        yield
    finally:
        modeling_falcon.FalconLinear = origine


def _charger_poids(entree: Entree, quantification: str, dtype: torch.dtype) -> PreTrainedModel:
    options = {
        "revision": entree.revision,
        "dtype": dtype,
        "device_map": {"": carte_du_processus() if torch.cuda.is_available() else "cpu"},
        "trust_remote_code": False,
        "output_loading_info": True,
        # Une taille qui diffère est relevée par _verifier_poids, avec sa phrase.
        "ignore_mismatched_sizes": True,
    }
    if not entree.pickle:
        options["use_safetensors"] = True
    if reglages := configuration(quantification, dtype):
        options["quantization_config"] = reglages
    if quantification == "gptq":
        options |= _options_gptq(entree)
    if sous_fsdp():
        _preparer_le_decoupage(options, dtype)
    with erreurs_du_hub(entree), reparation_falcon():
        reseau, compte_rendu = AutoModelForCausalLM.from_pretrained(entree.depot, **options)
    _verifier_poids(reseau, compte_rendu, entree)
    # transformers 5 oublie la révision : sans elle, on ne retrouve plus les poids dans le cache.
    reseau.config._commit_hash = entree.revision
    return reseau


def _charger_gguf(entree: Entree, quantification: str, dtype: torch.dtype) -> PreTrainedModel:
    """Les poids d'un GGUF, rendus à leurs nombres, comptés, puis quantifiés comme les autres.

    transformers refuse de quantifier un GGUF en le lisant : ses poids passent par un dossier
    temporaire, en 16 bits, d'où ils se chargent comme ceux de tout modèle.
    """
    fichier = FichierGguf.ouvrir(entree.depot)
    config = fichier.configuration()
    dtype_lu = dtype if quantification == "aucune" else torch.float16
    _verifier_la_place(fichier, dtype_lu.itemsize)
    # La barre de transformers est en anglais, et ne se règle pas.
    with erreurs_du_hub(entree), reparation_falcon(), redirect_stderr(io.StringIO()):
        reseau, compte_rendu = AutoModelForCausalLM.from_pretrained(
            fichier.chemin.parent,
            gguf_file=fichier.chemin.name,
            config=config,
            dtype=dtype_lu,
            output_loading_info=True,
            ignore_mismatched_sizes=True,
        )
    _verifier_poids(reseau, compte_rendu, entree)
    _verifier_le_compte(reseau, fichier)
    if lecteur := getattr(reseau, "hf_quantizer", None):
        # Dès 5.23, transformers croit quantifié tout ce qui vient d'un GGUF, même déplié.
        lecteur.remove_quantization_config(reseau)
    if quantification != "aucune":
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as dossier:
            reseau.save_pretrained(dossier)
            del reseau  # jamais deux modèles entiers en mémoire
            reseau = _charger_poids(Entree(dossier, None, entree.licence), quantification, dtype)
    elif torch.cuda.is_available():
        reseau = reseau.to(carte_du_processus())
    reseau.config._name_or_path = entree.depot
    return reseau


def _verifier_la_place(fichier: FichierGguf, octets: int) -> None:
    """Les poids dépliés tiennent en mémoire et, pour un temps, sur le disque.

    Raises:
        ErreurFabrique: il en manque.
    """
    besoin = fichier.poids * octets
    libres = {
        "en mémoire": memoire_disponible(),
        f"dans {tempfile.gettempdir()}": shutil.disk_usage(tempfile.gettempdir()).free,
    }
    for ou, libre in libres.items():
        if libre < besoin:
            raise ErreurFabrique(
                f"il reste {en_go(libre)} {ou}, et ce fichier, déplié, en demande {en_go(besoin)}",
                "Fermez d’autres programmes, ou donnez le modèle d’origine, en safetensors",
                fichier.chemin,
                code=MACHINE,
            )


def _verifier_le_compte(reseau: PreTrainedModel, fichier: FichierGguf) -> None:
    """Chaque nombre du fichier a trouvé sa place : transformers écarte en silence ce qu'il ignore."""
    places = sum(parametre.numel() for parametre in reseau.parameters())
    if places != fichier.poids:
        raise ErreurFabrique(
            f"le fichier porte {en_francais(fichier.poids)} poids, et le modèle que transformers en "
            f"tire {en_francais(places)}",
            "Donnez le modèle d’origine, en safetensors",
            fichier.chemin,
        )


def carte_du_processus() -> int:
    """Le numéro de la carte de ce processus : 0, ou ce que dit accelerate quand ils sont plusieurs."""
    return int(os.environ.get("LOCAL_RANK", "0"))


def sous_fsdp() -> bool:
    """Vrai quand accelerate a été lancé pour découper le modèle entre les cartes."""
    return os.environ.get("ACCELERATE_USE_FSDP", "").lower() == "true"


def _preparer_le_decoupage(options: dict, dtype: torch.dtype) -> None:
    """Laisse FSDP placer les poids, et range les 4 bits dans des cases du type des calculs.

    Source : documentation de bitsandbytes, « FSDP-QLoRA » : sans un même type partout, les poids
    ne se découpent pas.
    """
    options["device_map"] = None
    reglages: Any = options.get("quantization_config")
    if getattr(reglages, "load_in_4bit", False):
        reglages.bnb_4bit_quant_storage = dtype


def _options_gptq(entree: Entree) -> dict:
    """Un point de contrôle GPTQ, au format actuel ou à celui de 2023.

    En 2023, les poids s'appelaient ``gptq_model-4bit-64g.safetensors`` et leurs réglages
    vivaient dans ``quantize_config.json``.
    """
    try:
        import gptqmodel  # noqa: F401
    except ImportError:
        raise ErreurFabrique(
            "la lecture du format GPTQ n’est pas installée",
            "Tapez « pip install 'fabrique[gptq]' »",
        ) from None
    from transformers import GPTQConfig

    with erreurs_du_hub(entree):
        config = AutoConfig.from_pretrained(entree.depot, revision=entree.revision)
    dossier = Path(entree.depot)
    lus = getattr(config, "quantization_config", None)
    if lus is None and (dossier / "quantize_config.json").is_file():
        lus = json.loads((dossier / "quantize_config.json").read_text(encoding="utf-8"))
    if lus is None:
        raise ErreurFabrique(
            "ce n’est pas un point de contrôle GPTQ : ses réglages de quantification manquent",
            "Donnez un dossier qui contient quantize_config.json, ou chargez en « nf4 »",
            entree.depot,
        )
    connus = ("bits", "group_size", "damp_percent", "desc_act", "sym", "true_sequential")
    # Le noyau le plus rapide sur processeur ne sait pas apprendre : il en faut un qui sache.
    config.quantization_config = GPTQConfig(
        **{nom: lus[nom] for nom in connus if nom in lus}, backend="auto_trainable"
    ).to_dict()
    poids = next(dossier.glob("gptq_model-*.safetensors"), None)
    if poids:
        # transformers ne cherche que « model.safetensors » ; ce champ lui donne le nom de 2023.
        config.transformers_weights = poids.name
    return {"config": config}


def _refuser_pickle(entree: Entree) -> None:
    """Refuse un dossier local sans poids safetensors ; un pickle peut exécuter du code."""
    dossier = Path(entree.depot)
    if not dossier.is_dir() or any(dossier.glob("*.safetensors")):
        return
    if any(dossier.glob("*.bin")) or any(dossier.glob("*.pt")):
        raise ErreurFabrique(
            "les poids sont en pickle (.bin, .pt), un format qui peut exécuter du code",
            "Convertissez-les en safetensors avant de les donner au cours",
            dossier,
        )
    raise ErreurFabrique(
        "le dossier ne contient pas de poids (aucun fichier .safetensors)",
        "Donnez le dossier où le modèle a été enregistré avec save_pretrained",
        dossier,
    )


def _proteger_avx512(reseau: PreTrainedModel) -> None:
    """Garde le modèle apprenable après une évaluation, sur processeur AVX512-BF16.

    bitsandbytes y réorganise les poids à la première évaluation et les gradients de LoRA
    s'annulent ensuite.
    """
    for module in reseau.modules():
        if isinstance(module, bnb.nn.Linear4bit):
            module.support_avx512bf16_for_cpu = False


def couches_quatre_bits(reseau: torch.nn.Module) -> list[str]:
    """Noms des couches linéaires en 4 bits (bitsandbytes ou GPTQ)."""
    formats = {nom: format_de(module) for nom, module in reseau.named_modules()}
    return [nom for nom, trouve in formats.items() if trouve and FORMATS[trouve].bits == 4]


def verifier_quantification(reseau: PreTrainedModel, quantification: str) -> int:
    """Vérifie que toute couche linéaire des blocs est dans le format demandé ; rend leur nombre.

    Seules la tête (``lm_head``) et les plongements restent en 16 ou 32 bits.

    Args:
        quantification: un des formats, ou ``"aucune"``.

    Raises:
        ErreurFabrique: une couche des blocs est dans un autre format, ou restée en 16 ou 32 bits.
    """
    tete = reseau.get_output_embeddings()
    formats = {
        nom: format_de(module) or "aucune"
        for nom, module in reseau.named_modules()
        if module is not tete and (isinstance(module, torch.nn.Linear) or format_de(module))
    }
    autres = [nom for nom, trouve in formats.items() if trouve != quantification]
    if not autres and formats:
        return len(formats)
    if quantification == "aucune":
        raise ErreurFabrique(
            f"ce modèle est enregistré quantifié ({formats[autres[0]]}) : {accorder(len(autres), 'couche')}",
            "Donnez le modèle d’origine, en 16 ou 32 bits",
        )
    raise ErreurFabrique(
        f"le modèle n’est pas en {FORMATS[quantification].bits} bits : "
        f"{accorder(len(autres), 'couche restée', 'couches restées')} en 16 ou 32 bits, ou dans un "
        f"autre format que « {quantification} » ({', '.join(autres[:3])}…), "
        f"{accorder(len(formats) - len(autres), 'quantifiée')}",
        "Signalez cette version de transformers au projet, ou chargez avec quantification='aucune'",
        code=MACHINE,
    )


def _verifier_poids(reseau: PreTrainedModel, compte_rendu: dict, entree: Entree) -> None:
    """Aucun poids manquant, en trop ou de mauvaise taille, quantifié ou non."""
    deformees = {nom for nom, module in reseau.named_modules() if not taille_attendue(module)}
    defauts = {
        "manquants": compte_rendu["missing_keys"],
        "en trop": compte_rendu["unexpected_keys"],
        "de mauvaise taille": {*compte_rendu["mismatched_keys"], *deformees},
    }
    if dits := _dire_les_defauts(defauts):
        raise ErreurFabrique(
            f"les poids ne correspondent pas au modèle : {dits}",
            "Vérifiez que config.json et les poids viennent du même modèle",
            entree.depot,
        )


def _dire_les_defauts(defauts: dict[str, Collection[str]]) -> str:
    """« 2 manquants (transformer.h.0…), 1 en trop (…) » ; vide si tout va bien."""
    return ", ".join(
        f"{len(noms)} {quoi} ({sorted(map(str, noms))[0]}…)"
        for quoi, noms in defauts.items()
        if noms
    )
