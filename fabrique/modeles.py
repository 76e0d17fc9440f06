"""Charger un modèle quantifié, et vérifier qu'il l'est vraiment.

transformers 5 laisse en 16 ou 32 bits, sans le dire, les couches linéaires de Falcon. Ce
module répare, charge, puis compte : on n'obtient jamais un modèle qui n'est pas celui
qu'on a demandé.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import warnings
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path

import bitsandbytes as bnb
import torch
import transformers
from huggingface_hub import try_to_load_from_cache
from huggingface_hub.constants import HF_HUB_DISABLE_PROGRESS_BARS
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError
from huggingface_hub.utils import enable_progress_bars
from peft import (
    PeftConfig,
    PeftModel,
    PeftModelForCausalLM,
    get_peft_model_state_dict,
    prepare_model_for_kbit_training,
)
from peft.tuners.tuners_utils import BaseTunerLayer
from rich.console import Console
from rich.table import Table
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.models.falcon import modeling_falcon

from fabrique.emplacements import FALCON_POCHE, ecrire_signe, hub_ou_cache
from fabrique.erreurs import MACHINE, ErreurFabrique
from fabrique.gabarits import GABARIT_ALPACA
from fabrique.machine import JUMEAU, en_mo, examiner, verifier_calcul
from fabrique.quantification import FORMATS, configuration, format_de, octets, taille_attendue

#: L'erreur de la bibliothèque de réseau du hub, httpx ou httpx2 selon sa version.
ErreurReseau = HfHubHTTPError.__bases__[0]
QUANTIFICATIONS = (*FORMATS, "aucune")
TYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


@dataclass(frozen=True)
class Entree:
    """Une entrée du catalogue : où est le modèle, à quelle révision, sous quelle licence.

    ``pickle`` accepte des poids ``.bin``, lus avec ``weights_only``, quand la présence de
    safetensors à cette révision n'a pas pu être vérifiée.
    """

    depot: str
    revision: str | None
    licence: str
    pickle: bool = False


#: Les modèles du cours. Chaque révision du hub est figée.
CATALOGUE = {
    "falcon-poche": Entree(str(FALCON_POCHE), None, "Apache-2.0"),
    "falcon-7b": Entree(
        "tiiuae/falcon-7b", "ec89142b67d748a1865ea4451372db8313ada0d8", "Apache-2.0", pickle=True
    ),
    "falcon-7b-instruct": Entree(
        "tiiuae/falcon-7b-instruct",
        "8782b5c5d8c9290412416618f36a133653e85285",
        "Apache-2.0",
        pickle=True,
    ),
}

#: Noms que la commande de 2023 employait, ramenés au catalogue.
SYNONYMES = {"falcon-7b-4bit": "falcon-7b", "falcon-7b-instruct-4bit": "falcon-7b-instruct"}


def charger(
    modele: str | Path,
    quantification: str = "nf4",
    calcul: str | None = None,
    revision: str | None = None,
    silencieux: bool = False,
) -> tuple[PreTrainedTokenizerBase, PreTrainedModel]:
    """Charge un modèle et son tokenizer, puis vérifie la quantification.

    Args:
        modele: nom du catalogue (« falcon-poche »), dossier local, ou identifiant du hub.
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
    tokenizer = _charger_tokenizer(entree)
    reseau = _charger_poids(entree, quantification, TYPES[calcul])
    _proteger_avx512(reseau)
    verifier_quantification(reseau, quantification)
    if couches_quatre_bits(reseau) and not sous_fsdp():
        # Normalisations et plongements en fp32, comme pendant l'apprentissage : une perte mesurée
        # avant se calcule alors exactement comme celle d'après.
        prepare_model_for_kbit_training(reseau, use_gradient_checkpointing=False)
    if not silencieux:
        montrer_memoire(reseau)
    return tokenizer, reseau


def charger_tokenizer(modele: str | Path, revision: str | None = None) -> PreTrainedTokenizerBase:
    """Charge le seul tokenizer d'un modèle : catalogue, dossier local ou hub."""
    return _charger_tokenizer(trouver(modele, revision))


def squelette(modele: str | Path, revision: str | None = None) -> PreTrainedModel:
    """Un modèle sans ses poids, sur un appareil fictif : ses couches, leurs noms, leurs tailles."""
    entree = trouver(modele, revision)
    with _erreurs_du_hub(entree), torch.device("meta"):
        config = AutoConfig.from_pretrained(entree.depot, revision=entree.revision)
        return AutoModelForCausalLM.from_config(config)


def trouver(modele: str | Path, revision: str | None = None) -> Entree:
    """L'entrée du catalogue, le dossier local ou le dépôt du hub désigné par ``modele``."""
    nom = SYNONYMES.get(str(modele), str(modele))
    if nom in CATALOGUE:
        return CATALOGUE[nom]
    if Path(nom).is_dir():
        return Entree(nom, None, "inconnue")
    if nom.count("/") == 1 and not nom.startswith((".", "/", "~")):
        if revision is None:
            raise ErreurFabrique(
                f"« {nom} » vient du hub et sa révision n’est pas figée",
                "Donnez l’empreinte exacte avec revision=… (--revision), ou un dossier local",
            )
        return Entree(nom, revision, "inconnue")
    raise ErreurFabrique(
        f"le modèle « {nom} » est inconnu : ni nom du catalogue, ni dossier, ni identifiant du hub",
        f"Choisissez entre {', '.join(CATALOGUE)}, ou donnez un dossier existant",
    )


def choisir_poids(modele: str, poids: str) -> str:
    """Le modèle à charger quand la commande de 2023 nomme aussi ses poids (``--weights``).

    Un modèle du catalogue garde les siens, à leur révision figée : le fichier GPTQ de 2023
    n'est plus nécessaire, la quantification se fait au chargement.
    """
    entree = CATALOGUE.get(SYNONYMES.get(modele, modele))
    if entree and (poids == entree.depot or poids.endswith((".safetensors", ".bin", ".pt"))):
        print(f"--weights est ignoré : « {modele} » vient du catalogue avec ses poids.")
        return modele
    return poids or modele


def nom_public(depot: str) -> str:
    """Le nom sous lequel citer un modèle : catalogue ou hub, jamais un chemin de machine."""
    for nom, entree in CATALOGUE.items():
        if entree.depot == depot:
            return depot if entree.revision else nom
    return Path(depot).name if Path(depot).is_dir() else depot


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


# ---------------------------------------------------------------- le chargement


def _charger_tokenizer(entree: Entree) -> PreTrainedTokenizerBase:
    with _erreurs_du_hub(entree):
        tokenizer = AutoTokenizer.from_pretrained(entree.depot, revision=entree.revision)
    tokenizer.chat_template = tokenizer.chat_template or GABARIT_ALPACA
    # Sans jeton de remplissage, celui de fin en tient lieu : nos étiquettes sont explicites,
    # la fin s'apprend quand même.
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    tokenizer.padding_side = "left"
    return tokenizer


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
    with _erreurs_du_hub(entree), reparation_falcon():
        reseau, compte_rendu = AutoModelForCausalLM.from_pretrained(entree.depot, **options)
    _verifier_poids(reseau, compte_rendu, entree)
    # transformers 5 oublie la révision : sans elle, on ne retrouve plus les poids dans le cache.
    reseau.config._commit_hash = entree.revision
    return reseau


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
    reglages = options.get("quantization_config")
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

    with _erreurs_du_hub(entree):
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


@contextmanager
def _erreurs_du_hub(entree: Entree) -> Iterator[None]:
    """Change en une phrase les erreurs de réseau, de fichier et de format du chargement."""
    try:
        with hub_ou_cache() if entree.revision else nullcontext():
            yield
    except (OSError, HFValidationError, LocalEntryNotFoundError, ErreurReseau) as cause:
        if Path(entree.depot).is_dir():
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


def _proteger_avx512(reseau: PreTrainedModel) -> None:
    """Garde le modèle apprenable après une évaluation, sur processeur AVX512-BF16.

    bitsandbytes y réorganise les poids à la première évaluation et les gradients de LoRA
    s'annulent ensuite.
    """
    for module in reseau.modules():
        if isinstance(module, bnb.nn.Linear4bit):
            module.support_avx512bf16_for_cpu = False


# ---------------------------------------------------------------- les vérifications


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
            f"ce modèle est enregistré quantifié ({formats[autres[0]]}) : {len(autres)} couche(s)",
            "Donnez le modèle d’origine, en 16 ou 32 bits",
        )
    raise ErreurFabrique(
        f"le modèle n’est pas en {FORMATS[quantification].bits} bits : {len(autres)} couche(s) "
        f"restée(s) en 16 ou 32 bits, ou dans un autre format que « {quantification} » "
        f"({', '.join(autres[:3])}…), {len(formats) - len(autres)} quantifiée(s)",
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


# ---------------------------------------------------------------- la mémoire


@dataclass(frozen=True)
class LigneMemoire:
    """Des poids d'un même type : leur nombre et leur place, avant (16 bits) et après."""

    nature: str
    parametres: int
    octets_16_bits: int
    octets: int


def memoire(reseau: torch.nn.Module) -> list[LigneMemoire]:
    """Compte les poids par type de stockage.

    Les constantes de quantification (échelles des blocs) sont comptées avec les poids.
    """
    comptes: Counter = Counter()
    places: Counter = Counter()
    quantifies = set()
    for module in reseau.modules():
        if trouve := format_de(module):
            nature = FORMATS[trouve].nature
            comptes[nature] += module.in_features * module.out_features
            places[nature] += octets(module)
            quantifies.add(id(getattr(module, "weight", None)))
    for parametre in reseau.parameters():
        if id(parametre) not in quantifies:
            nature = str(parametre.dtype).removeprefix("torch.")
            comptes[nature] += parametre.numel()
            places[nature] += parametre.numel() * parametre.element_size()
    return [LigneMemoire(n, comptes[n], 2 * comptes[n], places[n]) for n in sorted(comptes)]


def montrer_memoire(reseau: torch.nn.Module) -> None:
    """Imprime le tableau de mémoire : poids par type, en 16 bits puis tels que chargés."""
    table = Table(title="Mémoire des poids")
    for titre in ("stockage", "poids", "en 16 bits", "chargé"):
        table.add_column(titre, justify="right")
    lignes = memoire(reseau)
    for ligne in lignes:
        table.add_row(
            ligne.nature,
            f"{ligne.parametres:,}".replace(",", "\u202f"),
            en_mo(ligne.octets_16_bits),
            en_mo(ligne.octets),
        )
    table.add_row(
        "total",
        f"{sum(li.parametres for li in lignes):,}".replace(",", "\u202f"),
        en_mo(sum(li.octets_16_bits for li in lignes)),
        en_mo(sum(li.octets for li in lignes)),
    )
    Console(width=80, highlight=False).print(table)


# ---------------------------------------------------------------- d'où vient un adaptateur

#: Ce que l'apprentissage écrit à côté de l'adaptateur : sa base, et les demandes qu'il a apprises.
ORIGINE = "origine.json"


@dataclass(frozen=True)
class Origine:
    """D'où vient un adaptateur.

    Args:
        base: le nom public de sa base.
        empreinte: celle des poids de la base ; rien quand ils n'étaient dans aucun dossier.
        apprises: les empreintes des demandes apprises (``empreinte_de_la_demande``).
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
    dossier = _dossier_des_poids(modele.config)
    tenseurs = sorted(_extraits(dossier)) if dossier else []
    return hashlib.sha256(b"".join(tenseurs)).hexdigest() if tenseurs else None


def _dossier_des_poids(config: PretrainedConfig) -> Path | None:
    """Le dossier d'un modèle : le sien, ou celui que le cache du hub lui donne."""
    depot = config._name_or_path
    if not depot or Path(depot).is_dir():
        return Path(depot) if depot else None
    revision = getattr(config, "_commit_hash", None)
    try:
        trouve = try_to_load_from_cache(depot, "config.json", revision=revision)
    except HFValidationError:
        return None
    return Path(trouve).parent if isinstance(trouve, str) else None


def _extraits(dossier: Path) -> Iterator[bytes]:
    """La description de chaque tenseur d'un dossier, et les octets de sa rangée du milieu."""
    motifs = ("model*.safetensors", "gptq_model*.safetensors", "pytorch_model*.bin")
    for fichier in next(filter(None, (list(dossier.glob(motif)) for motif in motifs)), []):
        if fichier.suffix == ".bin":
            poids = torch.load(fichier, map_location="cpu", mmap=True, weights_only=True)
            yield from (_extrait(nom, t, list(t.shape)) for nom, t in poids.items())
        else:
            with safe_open(fichier, framework="pt") as poids:
                for nom in poids.keys():
                    tranche = poids.get_slice(nom)
                    yield _extrait(nom, tranche, tranche.get_shape())


def _extrait(nom: str, tenseur, forme: list[int]) -> bytes:
    """Args: ``tenseur`` se lit par tranches, sans que le reste vienne en mémoire."""
    rangee = tenseur[forme[0] // 2 : forme[0] // 2 + 1] if forme else tenseur[...]
    entete = f"{nom} {rangee.dtype} {forme}\n".encode()
    return entete + rangee.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


# ---------------------------------------------------------------- les adaptateurs

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
    return PeftModelForCausalLM(sans_adaptateur(modele), reglages, adapter_name=nom)


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


def _dire_les_defauts(defauts: dict[str, Collection[str]]) -> str:
    """« 2 manquants (transformer.h.0…), 1 en trop (…) » ; vide si tout va bien."""
    return ", ".join(
        f"{len(noms)} {quoi} ({sorted(map(str, noms))[0]}…)"
        for quoi, noms in defauts.items()
        if noms
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
        if isinstance(module, BaseTunerLayer):
            parent, _, feuille = nom.rpartition(".")
            setattr(nu.get_submodule(parent), feuille, module.get_base_layer())
    if hasattr(nu, "peft_config"):
        del nu.peft_config
    return nu
