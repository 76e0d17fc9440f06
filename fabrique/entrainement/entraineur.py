"""Le Trainer de transformers, avec notre ordre, nos sauvegardes et nos garde-fous."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from accelerate.utils.memory import should_reduce_batch_size
from datasets import Dataset
from peft import PeftModel
from torch.utils.data import Sampler
from transformers import PreTrainedModel, Trainer, TrainingArguments

from fabrique.entrainement.disque import ecriture_expliquee, verifier_place
from fabrique.entrainement.exemples import Lecture
from fabrique.entrainement.processus import nombre_de_processus
from fabrique.entrainement.reglages import Reglages
from fabrique.entrainement.reprise import (
    EN_COURS,
    est_complet,
    mettre_en_place,
    retirer_les_anciens,
)
from fabrique.socle.erreurs import Divergence, ErreurFabrique

REMEDE_DIVERGENCE = (
    "Divisez le taux d’apprentissage (learning_rate, --lr) par dix, dans un autre dossier ; les "
    "points de reprise précédents sont gardés"
)


class MemoireInsuffisante(Exception):
    """Le lot ne tient pas en mémoire ; les poids sont ceux du dernier pas achevé."""


class EntraineurParLongueur(Trainer):
    """Le Trainer de transformers, dans l'ordre de la lecture, qui sauvegarde sans risque et se surveille."""

    #: Où s'écrit le point en cours ; rien hors d'une sauvegarde.
    a_cote: Path | None = None

    def __init__(self, lecture: Lecture, model: PreTrainedModel | PeftModel, **autres: Any) -> None:
        """Args: ``lecture`` est ce que le modèle va lire ; les autres sont ceux du Trainer."""
        super().__init__(
            model=model,
            train_dataset=lecture.exemples,
            data_collator=lecture.assembler(model),
            **autres,
        )
        self.ordre, self.perte = lecture.ordre, lecture.perte
        if self.perte:
            # Notre perte est une moyenne d'exemples : le Trainer la divise par l'accumulation.
            self.model_accepts_loss_kwargs = False

    def _get_train_sampler(self, train_dataset: Dataset | None = None) -> Sampler[int]:
        donnees = self.train_dataset if train_dataset is None else train_dataset
        lot = self.args.train_batch_size * self.args.gradient_accumulation_steps
        return self.ordre(donnees, lot * self.args.world_size, self.args.seed)

    # -------------------------------------------------------- sauvegarder

    def _get_output_dir(self, trial: Any = None) -> str:
        return str(self.a_cote or super()._get_output_dir(trial))

    def _save_checkpoint(self, model: Any, trial: Any = None) -> None:
        """Fait écrire le point à côté, le relit, le renomme, puis retire les anciens."""
        sortie, pas = Path(self.args.output_dir), self.state.global_step
        principal, attendre = self.args.should_save, self.accelerator.wait_for_everyone
        point = sortie / f"checkpoint-{pas}"
        if est_complet(point):
            return
        verifier_place(self.model, sortie)
        a_cote = sortie / EN_COURS
        try:
            with ecriture_expliquee(sortie):
                if principal:
                    shutil.rmtree(a_cote, ignore_errors=True)
                attendre()
                self.a_cote = a_cote
                super()._save_checkpoint(model, trial)
                attendre()
                if principal:
                    mettre_en_place(a_cote / point.name, point)
        finally:
            self.a_cote = None
            if principal:
                shutil.rmtree(a_cote, ignore_errors=True)
        if principal:
            retirer_les_anciens(sortie, pas, self.args.save_total_limit)
        attendre()

    def sauvegarder(self) -> None:
        """Écrit un point de reprise là où l'on en est, s'il y a quelque chose à garder."""
        if self.state.global_step:
            self._save_checkpoint(self.model)

    # -------------------------------------------------------- surveiller

    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        if self.perte is None:
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        return self.perte(model, inputs)

    def training_step(
        self, model: Any, inputs: Any, num_items_in_batch: Any = None
    ) -> torch.Tensor:
        perte = None
        try:
            perte = super().training_step(model, inputs, num_items_in_batch)
        except (RuntimeError, MemoryError) as cause:
            if not isinstance(cause, MemoryError) and not should_reduce_batch_size(cause):
                raise
        if perte is None:  # hors du bloc : la trace de la cause retiendrait les activations
            raise MemoireInsuffisante
        self.verifier(perte)
        return perte

    def verifier(self, perte: torch.Tensor) -> None:
        """Arrête un apprentissage qui a divergé.

        Raises:
            Divergence: perte infinie ou indéfinie, ou débordement continuel en fp16.
        """
        pas = self.state.global_step + 1
        if not torch.isfinite(perte):
            raise Divergence(
                f"la perte du pas {pas} n’est plus un nombre : l’apprentissage a divergé",
                REMEDE_DIVERGENCE,
                champ="learning_rate",
                pas=pas,
            )
        # L'échelle part de 65 536 et se divise par deux à chaque débordement, puis remonte.
        if self.accelerator.scaler is not None and self.accelerator.scaler.get_scale() < 1:
            raise Divergence(
                f"au pas {pas}, les gradients débordent sans cesse des 16 bits (fp16)",
                f"{REMEDE_DIVERGENCE}, ou chargez le modèle avec calcul='float32' (ou 'bfloat16' "
                "sur une carte récente)",
                champ="calcul",
                pas=pas,
                perte=perte.item(),
            )


@contextmanager
def calcul_rendu(modele: PeftModel) -> Iterator[None]:
    """Rend au modèle, après l'apprentissage, son propre calcul.

    En 16 bits, accelerate enveloppe ``forward`` d'une conversion automatique et l'y laisse : la
    perte d'après ne se calculerait pas comme celle d'avant.
    """
    propre = vars(modele).get("forward")
    try:
        yield
    finally:
        for nom in ("forward", "_original_forward"):
            vars(modele).pop(nom, None)
        if propre:
            modele.forward = propre


def arguments(modele: PeftModel, reglages: Reglages, sortie: Path) -> TrainingArguments:
    """Les réglages du cours dans les mots du Trainer.

    Sous ``accelerate launch`` ou ``torchrun``, ``batch_size`` reste le nombre d'exemples d'un pas,
    tous processus réunis.

    Raises:
        ErreurFabrique: ``batch_size`` ne se partage pas entre les processus.
    """
    sans_gpu = modele.device.type == "cpu"
    demi = _type_de_calcul(modele)
    processus = nombre_de_processus()
    petit_lot, accumulation = _partager(reglages, processus)
    return TrainingArguments(
        output_dir=str(sortie),
        per_device_train_batch_size=petit_lot,
        gradient_accumulation_steps=accumulation,
        num_train_epochs=reglages.epochs,
        learning_rate=reglages.learning_rate,
        warmup_steps=reglages.warmup_steps,
        logging_steps=reglages.logging_steps,
        # Une perte infinie doit se voir : ``verifier`` arrête tout.
        logging_nan_inf_filter=False,
        save_steps=reglages.save_steps,
        save_total_limit=reglages.save_total_limit,
        seed=reglages.graine,
        fp16=demi is torch.float16,
        bf16=demi is torch.bfloat16,
        use_cpu=sans_gpu,
        ddp_backend="gloo" if sans_gpu and processus > 1 else None,
        ddp_find_unused_parameters=False,
        dataloader_pin_memory=not sans_gpu,
        gradient_checkpointing=reglages.recalcul,
        gradient_checkpointing_kwargs={"use_reentrant": False} if reglages.recalcul else None,
        # Nos lots disent eux-mêmes ce que le modèle reçoit.
        remove_unused_columns=False,
        report_to="none",
        disable_tqdm=True,
    )


def _partager(reglages: Reglages, processus: int) -> tuple[int, int]:
    """Exemples traités ensemble par processus, et nombre de fois avant chaque pas."""
    par_processus, reste = divmod(reglages.batch_size, processus)
    petit_lot = min(reglages.mbatch_size, par_processus)
    if reste or par_processus % petit_lot:
        raise ErreurFabrique(
            f"un lot de {reglages.batch_size} exemples, par {reglages.mbatch_size}, ne se partage "
            f"pas entre {processus} processus",
            "Choisissez batch_size = mbatch_size × nombre de processus",
            champ="batch_size",
        )
    return petit_lot, par_processus // petit_lot


def _type_de_calcul(modele: PeftModel) -> torch.dtype:
    """Le type des calculs : celui des couches 4 bits, sinon celui de la configuration."""
    for module in modele.modules():
        if getattr(module, "compute_dtype", None) is not None:
            return module.compute_dtype
    return modele.config.dtype or torch.float32
