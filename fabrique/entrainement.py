"""Le réglage fin : apprendre un adaptateur LoRA sur un modèle quantifié.

Le Trainer de transformers et peft font le travail ; ce module prépare les exemples,
fixe leur ordre, montre l'avancement et sait reprendre.
"""

from __future__ import annotations

import hashlib
import json
import math
import shutil
import sys
import time
import zipfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

import psutil
import torch
from datasets import Dataset
from peft import LoraConfig, PeftModel, get_peft_model, prepare_model_for_kbit_training
from safetensors import SafetensorError, safe_open
from transformers import (
    DataCollatorForSeq2Seq,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PrinterCallback,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)
from transformers.trainer_utils import sort_checkpoints

from fabrique.corpus import repartir
from fabrique.emplacements import ecrire_json
from fabrique.erreurs import MACHINE, ErreurFabrique
from fabrique.gabarits import SANS_PERTE, exemple_en_jetons
from fabrique.machine import Profil, en_go
from fabrique.modeles import (
    charger_adaptateur,
    couches_quatre_bits,
    nom_public,
    parler_moins,
    sans_adaptateur,
)
from fabrique.suivi import Barre, en_duree


@dataclass(frozen=True)
class Reglages:
    """Les réglages d'un apprentissage ; par défaut, ceux de la recette de 2023.

    Args:
        learning_rate: taux d'apprentissage maximal.
        epochs: nombre de passages sur le corpus.
        batch_size: exemples par pas d'apprentissage.
        mbatch_size: exemples traités ensemble ; ``batch_size`` en est un multiple.
        cutoff_len: longueur maximale d'un exemple, en jetons.
        lora_r: rang des matrices ajoutées.
        lora_alpha: l'adaptateur est multiplié par ``lora_alpha / lora_r``.
        lora_dropout: part des entrées de l'adaptateur éteintes au hasard.
        target_modules: couches qui reçoivent un adaptateur, ou ``"all-linear"``.
        warmup_steps: pas de montée du taux d'apprentissage.
        save_steps: pas entre deux points de reprise.
        save_total_limit: nombre de points de reprise gardés.
        logging_steps: pas entre deux relevés de la perte.
        val_set_size: part (< 1) ou nombre d'exemples mis de côté ; la colonne ``jeu`` prime.
        recalcul: recalcule les activations pour épargner la mémoire.
        graine: graine du hasard.

    Source : Hu et al., 2021 (LoRA, arXiv:2106.09685) ; falcontune, 2023, pour les valeurs.
    """

    learning_rate: float = 3e-4
    epochs: float = 1
    batch_size: int = 2
    mbatch_size: int = 2
    cutoff_len: int = 256
    lora_r: int = 8
    lora_alpha: float = 16
    lora_dropout: float = 0.05
    target_modules: tuple[str, ...] | str = ("query_key_value",)
    warmup_steps: int = 5
    save_steps: int = 50
    save_total_limit: int = 3
    logging_steps: int = 5
    val_set_size: float = 0.1
    recalcul: bool = False
    graine: int = 42

    def __post_init__(self) -> None:
        for champ in ("learning_rate", "epochs", "batch_size", "mbatch_size", "lora_r"):
            if getattr(self, champ) <= 0:
                raise ErreurFabrique("la valeur doit être positive", "Corrigez-la", champ=champ)
        if self.cutoff_len < 16:
            raise ErreurFabrique(
                "moins de 16 jetons ne laissent pas de place à une réponse",
                "Donnez au moins 16",
                champ="cutoff_len",
            )
        if self.batch_size % self.mbatch_size:
            raise ErreurFabrique(
                f"batch_size ({self.batch_size}) n’est pas un multiple de mbatch_size "
                f"({self.mbatch_size})",
                "Choisissez par exemple batch_size = 2 × mbatch_size",
                champ="batch_size",
            )

    @classmethod
    def du_profil(cls, profil: Profil, **changements) -> Reglages:
        """Les réglages éprouvés sur la machine du profil, avec d'éventuels changements."""
        communs = {
            nom: getattr(profil, nom)
            for nom in (
                "learning_rate",
                "epochs",
                "batch_size",
                "mbatch_size",
                "cutoff_len",
                "lora_r",
                "target_modules",
                "recalcul",
            )
        }
        return cls(**{**communs, **changements})


@dataclass
class ResultatEntrainement:
    """Ce qu'un apprentissage a donné, et de quoi le continuer.

    ``historique`` porte, à chaque relevé, le pas, l'époque, la perte (nats par jeton de
    réponse) et le taux d'apprentissage.
    """

    modele: PeftModel
    tokenizer: PreTrainedTokenizerBase
    dossier: Path
    historique: list[dict[str, float]]
    pas: int
    duree_s: float
    jetons_utiles: int
    memoire_pic: int
    parametres_entraines: int
    exemples: int
    exemples_coupes: int
    couches_4bits: int
    reglages: Reglages = field(repr=False)

    @property
    def jetons_par_seconde(self) -> float:
        """Jetons utiles (question et réponse, sans remplissage) lus par seconde."""
        return self.jetons_utiles / self.duree_s if self.duree_s else math.nan

    @property
    def secondes_par_pas(self) -> float:
        return self.duree_s / self.pas if self.pas else math.nan

    def en_dictionnaire(self) -> dict:
        """Le compte rendu écrit dans ``rapport.json``."""
        return {
            "pas": self.pas,
            "duree_s": round(self.duree_s, 1),
            "jetons_utiles": self.jetons_utiles,
            "jetons_par_seconde": round(self.jetons_par_seconde, 1),
            "memoire_pic": self.memoire_pic,
            "parametres_entraines": self.parametres_entraines,
            "exemples": self.exemples,
            "exemples_coupes": self.exemples_coupes,
            "couches_4bits": self.couches_4bits,
            "reglages": asdict(self.reglages),
            "historique": self.historique,
        }

    def tracer(self) -> None:
        """Trace la perte et le taux d'apprentissage au fil des pas, avec leur texte alternatif."""
        from fabrique.figures import courbe_de_perte

        courbe_de_perte(self.historique)

    def __str__(self) -> str:
        parametres = f"{self.parametres_entraines:,}".replace(",", "\u202f")
        return (
            f"{self.pas} pas en {en_duree(self.duree_s)} · "
            f"{self.jetons_par_seconde:.0f} jetons utiles par seconde · "
            f"mémoire au plus haut {en_go(self.memoire_pic)}\n"
            f"{parametres} paramètres entraînés · adaptateur dans {self.dossier}"
        )


def entrainer(
    modele: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    corpus: Dataset,
    reglages: Reglages | None = None,
    sortie: str | Path = "sorties/adaptateur",
) -> ResultatEntrainement:
    """Affine un modèle : apprend un adaptateur LoRA, le modèle restant intact.

    Relancée à l'identique, la fonction reprend au dernier point de reprise valide, ou
    recharge l'adaptateur si tout est fait.

    Args:
        modele: le modèle rendu par ``charger``. Un adaptateur déjà posé en est retiré : le
            résultat précédent répond alors comme la base ; ``charger_adaptateur`` le repose.
        corpus: corpus d'instructions ; seul son jeu d'entraînement est appris.
        reglages: par défaut, ceux de la recette de 2023.
        sortie: dossier des points de reprise et de l'adaptateur final.

    Returns:
        L'adaptateur posé sur le modèle, son historique et ses mesures.

    Raises:
        ErreurFabrique: dossier qui contient un autre apprentissage, disque trop plein, aucun
            exemple à apprendre.
    """
    parler_moins()
    reglages, sortie = reglages or Reglages(), Path(sortie)
    appris, _ = repartir(corpus, reglages.val_set_size, reglages.graine)
    exemples, coupes = _exemples(appris, tokenizer, reglages.cutoff_len)
    _verifier_dossier(sortie, _empreinte(modele, exemples, reglages))
    affine = _poser_adaptateur(modele, reglages)
    if (sortie / "rapport.json").exists():
        return _deja_fait(affine, tokenizer, sortie, reglages)
    verifier_disque(affine, reglages, sortie)
    pas = _pas_par_epoque(len(exemples), reglages)
    suivi = Suivi(math.ceil(pas * reglages.epochs))
    entraineur = EntraineurParLongueur(
        model=affine,
        args=_arguments(affine, reglages, sortie),
        train_dataset=exemples,
        data_collator=DataCollatorForSeq2Seq(tokenizer, label_pad_token_id=SANS_PERTE),
        callbacks=[suivi],
    )
    entraineur.remove_callback(PrinterCallback)
    longueurs = sum(map(len, exemples["input_ids"]))
    try:
        entraineur.train(resume_from_checkpoint=dernier_point_de_reprise(sortie))
    except KeyboardInterrupt:
        raise ErreurFabrique(
            f"apprentissage interrompu au pas {entraineur.state.global_step}",
            f"Relancez la même cellule ou la même commande : elle reprend au dernier point de "
            f"reprise (tous les {reglages.save_steps} pas)",
            sortie,
        ) from None
    finally:
        suivi.barre.finir()
    resultat = ResultatEntrainement(
        modele=affine,
        tokenizer=tokenizer,
        dossier=sortie,
        historique=_historique(entraineur.state.log_history),
        pas=entraineur.state.global_step,
        duree_s=suivi.duree_s,
        jetons_utiles=round(longueurs * suivi.pas_faits / pas) if pas else 0,
        memoire_pic=memoire_pic(),
        parametres_entraines=affine.get_nb_trainable_parameters()[0],
        exemples=len(exemples),
        exemples_coupes=coupes,
        couches_4bits=len(couches_quatre_bits(affine)),
        reglages=reglages,
    )
    affine.eval()
    affine.save_pretrained(sortie)
    signer(resultat)
    ecrire_json(sortie / "rapport.json", resultat.en_dictionnaire())
    return resultat


def signer(resultat: ResultatEntrainement) -> None:
    """Nomme la base de l'adaptateur sans chemin de machine, et lui écrit une notice en français."""
    fichier = resultat.dossier / "adapter_config.json"
    configuration = json.loads(fichier.read_text(encoding="utf-8"))
    base = nom_public(configuration["base_model_name_or_path"])
    ecrire_json(fichier, configuration | {"base_model_name_or_path": base})
    notice = NOTICE_ADAPTATEUR.format(base=base, resultat=resultat, reglages=resultat.reglages)
    (resultat.dossier / "README.md").write_text(notice, encoding="utf-8")


#: La notice d'un adaptateur, à compléter par qui le partage : corpus, usage prévu, limites.
NOTICE_ADAPTATEUR = """# Notice de l’adaptateur

Adaptateur LoRA appris avec FabriqueLLM sur « {base} ».

| | |
|---|---|
| exemples appris | {resultat.exemples} |
| pas | {resultat.pas} |
| taux d’apprentissage | {reglages.learning_rate} |
| rang | {reglages.lora_r} |
| paramètres | {resultat.parametres_entraines} |

Avant de le partager, dites ici sur quel corpus il a été appris, sous quelle licence, à quoi il sert
et à quoi il ne doit pas servir. Les mesures détaillées sont dans `rapport.json`.
"""


# ---------------------------------------------------------------- les exemples et leur ordre


def _exemples(
    corpus: Dataset, tokenizer: PreTrainedTokenizerBase, cutoff_len: int
) -> tuple[Dataset, int]:
    """Les exemples en jetons, et combien ont été coupés.

    Un exemple dont la question remplit à elle seule ``cutoff_len`` n'apprend rien : il part.
    """
    if not {"output", "messages"} & set(corpus.column_names):
        raise ErreurFabrique(
            "ce corpus n’a ni réponses ni messages : il n’y a rien à apprendre à dire",
            "Donnez des instructions (« output ») ou des conversations (« messages »)",
        )
    codes = [exemple_en_jetons(tokenizer, exemple, cutoff_len) for exemple in corpus]
    utiles = [c for c in codes if sum(e != SANS_PERTE for e in c["labels"]) > 1]
    if not utiles:
        raise ErreurFabrique(
            "aucun exemple à apprendre dans le jeu d’entraînement",
            "Vérifiez la colonne « jeu » du corpus, ou augmentez cutoff_len",
        )
    return Dataset.from_list(utiles), sum(len(c["input_ids"]) == cutoff_len for c in codes)


class OrdreParLongueur(torch.utils.data.Sampler[int]):
    """Ordre des exemples : mélangés, puis rangés par longueurs voisines.

    Des longueurs voisines dans un lot, c'est moins de remplissage. L'ordre ne dépend que de
    la graine et de l'époque : une reprise retrouve exactement les mêmes lots.
    """

    def __init__(self, longueurs: list[int], lot: int, graine: int) -> None:
        self.longueurs, self.lot, self.graine, self.epoque = longueurs, lot, graine, 0

    def set_epoch(self, epoque: int) -> None:
        """Appelée par accelerate au début de chaque époque."""
        self.epoque = epoque

    def __len__(self) -> int:
        return len(self.longueurs)

    def __iter__(self) -> Iterator[int]:
        hasard = torch.Generator().manual_seed(self.graine * 1000 + self.epoque)
        melange = torch.randperm(len(self), generator=hasard).tolist()
        paquet = self.lot * 50
        tries = [
            sorted(melange[debut : debut + paquet], key=self.longueurs.__getitem__, reverse=True)
            for debut in range(0, len(melange), paquet)
        ]
        lots = [p[i : i + self.lot] for p in tries for i in range(0, len(p), self.lot)]
        # Un lot incomplet reste le dernier, sinon il décalerait tous les suivants.
        pleins = [lot for lot in lots if len(lot) == self.lot]
        restes = [lot for lot in lots if len(lot) < self.lot]
        for rang in torch.randperm(len(pleins), generator=hasard).tolist():
            yield from pleins[rang]
        for lot in restes:
            yield from lot


class EntraineurParLongueur(Trainer):
    """Le Trainer de transformers, avec notre ordre des exemples."""

    def _get_train_sampler(self, train_dataset: Dataset | None = None) -> OrdreParLongueur:
        donnees = self.train_dataset if train_dataset is None else train_dataset
        longueurs = [len(ids) for ids in donnees["input_ids"]]
        lot = self.args.train_batch_size * self.args.gradient_accumulation_steps
        return OrdreParLongueur(longueurs, lot, self.args.seed)


# ---------------------------------------------------------------- l'adaptateur et le Trainer


def _poser_adaptateur(modele: PreTrainedModel, reglages: Reglages) -> PeftModel:
    """Ajoute les matrices LoRA, tirées de la graine, à un modèle débarrassé des précédentes."""
    torch.manual_seed(reglages.graine)
    nu = sans_adaptateur(modele)
    if couches_quatre_bits(nu):
        # Normalisations et plongements passent en fp32 : l'apprentissage y est plus stable.
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


def _arguments(modele: PeftModel, reglages: Reglages, sortie: Path) -> TrainingArguments:
    sans_gpu = modele.device.type == "cpu"
    demi = _type_de_calcul(modele)
    return TrainingArguments(
        output_dir=str(sortie),
        per_device_train_batch_size=reglages.mbatch_size,
        gradient_accumulation_steps=reglages.batch_size // reglages.mbatch_size,
        num_train_epochs=reglages.epochs,
        learning_rate=reglages.learning_rate,
        warmup_steps=reglages.warmup_steps,
        logging_steps=reglages.logging_steps,
        save_steps=reglages.save_steps,
        save_total_limit=reglages.save_total_limit,
        seed=reglages.graine,
        fp16=demi is torch.float16,
        bf16=demi is torch.bfloat16,
        use_cpu=sans_gpu,
        dataloader_pin_memory=not sans_gpu,
        gradient_checkpointing=reglages.recalcul,
        gradient_checkpointing_kwargs={"use_reentrant": False} if reglages.recalcul else None,
        report_to="none",
        disable_tqdm=True,
    )


def _type_de_calcul(modele: PeftModel) -> torch.dtype:
    """Le type des calculs : celui des couches 4 bits, sinon celui de la configuration."""
    for module in modele.modules():
        if getattr(module, "compute_dtype", None) is not None:
            return module.compute_dtype
    return modele.config.dtype or torch.float32


def _pas_par_epoque(exemples: int, reglages: Reglages) -> int:
    micro_lots = math.ceil(exemples / reglages.mbatch_size)
    return math.ceil(micro_lots / (reglages.batch_size // reglages.mbatch_size))


class Suivi(TrainerCallback):
    """Montre l'avancement : perte, taux d'apprentissage, époque, temps restant."""

    def __init__(self, total: int) -> None:
        self.barre = Barre(total, "Apprentissage")
        self.details = ""
        self.premier_pas, self.pas_faits, self.duree_s, self.depart = 0, 0, 0.0, 0.0

    def on_train_begin(self, args, state, control, **_) -> None:
        self.depart, self.premier_pas = time.monotonic(), state.global_step
        if state.global_step:
            self.barre = Barre(self.barre.total, "Reprise", deja=state.global_step)

    def on_step_end(self, args, state, control, **_) -> None:
        self.pas_faits = state.global_step - self.premier_pas
        self.duree_s = time.monotonic() - self.depart
        self.barre.avancer(state.global_step, self.details)

    def on_log(self, args, state, control, logs=None, **_) -> None:
        if logs and "loss" in logs:
            self.details = (
                f"perte {float(logs['loss']):.3f} · taux {float(logs['learning_rate']):.1e} · "
                f"époque {float(logs['epoch']):.2f}"
            ).replace(".", ",")
            self.barre.avancer(state.global_step, self.details)


def _historique(journal: list[dict]) -> list[dict[str, float]]:
    return [
        {
            "pas": releve["step"],
            "epoque": float(releve["epoch"]),
            "perte": float(releve["loss"]),
            "taux": float(releve["learning_rate"]),
        }
        for releve in journal
        if "loss" in releve
    ]


def memoire_pic() -> int:
    """Mémoire au plus haut depuis le début, en octets : celle du GPU, sinon celle du processus."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    if sys.platform == "win32":
        return psutil.Process().memory_info().peak_wset
    import resource

    unite = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unite


# ---------------------------------------------------------------- reprendre


def dernier_point_de_reprise(sortie: Path) -> str | None:
    """Le plus récent point de reprise qui se relit en entier ; un point abîmé est sauté."""
    if not sortie.is_dir():
        return None
    for point in reversed(sort_checkpoints(str(sortie))):
        if _valide(Path(point)):
            return point
        print(f"{Path(point).name} est abîmé : il est ignoré, le point précédent servira.")
    return None


def _valide(point: Path) -> bool:
    try:
        json.loads((point / "trainer_state.json").read_text(encoding="utf-8"))
        with safe_open(point / "adapter_model.safetensors", framework="pt") as poids:
            for nom in poids.keys():
                poids.get_tensor(nom)
        for fichier in ("optimizer.pt", "scheduler.pt"):
            torch.load(point / fichier, map_location="cpu", weights_only=True)
        with zipfile.ZipFile(point / "rng_state.pth") as hasard:
            return hasard.testzip() is None
    except (OSError, ValueError, RuntimeError, SafetensorError, EOFError, zipfile.BadZipFile):
        return False


def _empreinte(modele: PreTrainedModel, exemples: Dataset, reglages: Reglages) -> dict:
    """Ce qui fait que deux lancements sont le même apprentissage."""
    contenu = json.dumps(exemples["input_ids"][:], separators=(",", ":")).encode()
    return {
        "modele": Path(modele.config._name_or_path).name,
        "couches_4bits": len(couches_quatre_bits(modele)),
        "donnees": hashlib.sha256(contenu).hexdigest()[:16],
        "reglages": json.loads(json.dumps(asdict(reglages))),
    }


def _verifier_dossier(sortie: Path, empreinte: dict) -> None:
    """Un dossier ne contient qu'un apprentissage : refuse d'en mêler deux."""
    fichier = sortie / "empreinte.json"
    if fichier.exists():
        ancienne = json.loads(fichier.read_text(encoding="utf-8"))
        differents = [cle for cle in empreinte if empreinte[cle] != ancienne.get(cle)]
        if differents:
            raise ErreurFabrique(
                "le dossier contient déjà un autre apprentissage (ce qui change : "
                f"{', '.join(differents)})",
                "Donnez un autre dossier de sortie, ou supprimez celui-ci",
                sortie,
            )
        return
    try:
        sortie.mkdir(parents=True, exist_ok=True)
        ecrire_json(fichier, empreinte)
    except OSError as cause:
        raise ErreurFabrique(
            f"le dossier de sortie n’accepte pas d’écriture ({cause.strerror})",
            "Donnez un dossier où vous pouvez écrire",
            sortie,
            code=MACHINE,
        ) from cause


def verifier_disque(modele: PeftModel, reglages: Reglages, sortie: Path) -> None:
    """Vérifie que les points de reprise tiendront sur le disque, avant de commencer.

    Un point porte l'adaptateur et les deux moments d'Adam en fp32 ; l'ancien ne part qu'une
    fois le nouveau écrit, il en faut donc un de plus.

    Raises:
        ErreurFabrique: il n'y a pas assez de place.
    """
    point = 3 * 4 * modele.get_nb_trainable_parameters()[0]
    besoin = point * (reglages.save_total_limit + 1) + 10_000_000
    libre = shutil.disk_usage(sortie).free
    if libre < besoin:
        raise ErreurFabrique(
            f"il reste {en_go(libre)} sur le disque, les points de reprise en demandent "
            f"{en_go(besoin)}",
            "Libérez de la place, baissez save_total_limit ou changez de dossier de sortie",
            sortie,
            code=MACHINE,
        )


def _deja_fait(
    affine: PeftModel, tokenizer: PreTrainedTokenizerBase, sortie: Path, reglages: Reglages
) -> ResultatEntrainement:
    """Recharge un apprentissage achevé."""
    print(f"Tout est déjà fait : l’adaptateur est relu dans {sortie}.")
    rapport = json.loads((sortie / "rapport.json").read_text(encoding="utf-8"))
    connus = ResultatEntrainement.__dataclass_fields__
    mesures = {cle: v for cle, v in rapport.items() if cle in connus and cle != "reglages"}
    pose = charger_adaptateur(sans_adaptateur(affine), sortie).eval()
    return ResultatEntrainement(
        modele=pose, tokenizer=tokenizer, dossier=sortie, reglages=reglages, **mesures
    )
