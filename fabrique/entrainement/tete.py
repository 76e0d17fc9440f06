"""Une tête de classification sur un modèle de langage, affinée par LoRA ou avec tous ses poids.

La tête lit le dernier jeton. Celui-ci est toujours le même, l'appel à répondre du gabarit : le modèle a
appris à y rassembler la demande. Sur la dernière lettre d'une question, il ne prédit qu'un point.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from peft import LoraConfig, PeftModel, TaskType, get_peft_model
from transformers import (
    AutoModelForSequenceClassification,
    DataCollatorWithPadding,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PrinterCallback,
    Trainer,
    TrainingArguments,
    set_seed,
)

from fabrique.entrainement.avancement import Arret, Suivi
from fabrique.entrainement.classifieurs import ecrire_fiche
from fabrique.entrainement.reglages_classement import PAR_DEFAUT, ReglagesClassement
from fabrique.machine.denormaux import sans_denormaux
from fabrique.modeles.catalogue import trouver
from fabrique.modeles.chargement import parler_moins, reparation_falcon
from fabrique.modeles.gabarits import coder, texte_envoye
from fabrique.modeles.generation import par_lots
from fabrique.modeles.origine import empreinte_de_la_base
from fabrique.modeles.tokenizer import charger_tokenizer, erreurs_du_hub
from fabrique.socle.erreurs import Divergence, ErreurFabrique

#: Le taux d'apprentissage de chaque façon d'affiner : un adaptateur, qui part de zéro, va plus vite.
TAUX = {"lora": 2e-3, "entier": 5e-4}
#: L'adaptateur : assez de place pour déplacer chaque couche d'un petit modèle.
LORA_R, LORA_ALPHA = 16, 32
#: Textes lus à la fois.
LOT = 64


@dataclass(frozen=True)
class Tete:
    """Un modèle de langage dont la dernière couche donne une note par étiquette.

    Args:
        cutoff_len: jetons lus de chaque texte, au plus.
        base, revision: de quoi retrouver le modèle, tel qu'on l'a nommé.
    """

    methode: str
    etiquettes: tuple[str, ...]
    tokenizer: PreTrainedTokenizerBase
    modele: PreTrainedModel | PeftModel
    cutoff_len: int
    base: str
    revision: str | None = None

    @sans_denormaux()
    @torch.inference_mode()
    def probabilites(self, textes: Sequence[str]) -> np.ndarray:
        """Les probabilités. Forme : (textes, étiquettes)."""
        codes = [_coder(self.tokenizer, texte, self.cutoff_len) for texte in textes]
        ordre = sorted(range(len(codes)), key=lambda rang: len(codes[rang]))

        def lire(rangs: Sequence[int]) -> np.ndarray:
            entrees = self.tokenizer.pad(
                {"input_ids": [codes[rang] for rang in rangs]},
                padding_side="right",
                return_tensors="pt",
            ).to(self.modele.device)
            return self.modele(**entrees).logits.float().softmax(-1).cpu().numpy()

        self.modele.eval()
        trouvees = np.zeros((len(codes), len(self.etiquettes)), dtype=np.float32)
        if ordre:
            trouvees[ordre] = np.concatenate(list(par_lots(ordre, LOT, lire)))
        return trouvees

    def enregistrer(self, dossier: Path) -> None:
        """Écrit l'adaptateur, ou le modèle entier, et la fiche qui dit d'où il vient."""
        dossier.mkdir(parents=True, exist_ok=True)
        self.modele.save_pretrained(dossier)
        if self.methode == "entier":
            self.tokenizer.save_pretrained(dossier)
        nu = self.modele.get_base_model() if isinstance(self.modele, PeftModel) else self.modele
        ecrire_fiche(
            dossier,
            self,
            base=self.base,
            revision=self.revision,
            empreinte=empreinte_de_la_base(nu),
            cutoff_len=self.cutoff_len,
        )

    @classmethod
    def relire(cls, fiche: Mapping[str, Any], dossier: Path) -> Tete:
        """La même, relue.

        Raises:
            ErreurFabrique: la base n'est plus celle sur laquelle la tête a été apprise.
        """
        noms = tuple(fiche["etiquettes"])
        entier = fiche["methode"] == "entier"
        base, revision = (dossier, None) if entier else (fiche["base"], fiche["revision"])
        tokenizer, modele = _charger(base, revision, noms)
        if not entier:
            if empreinte_de_la_base(modele) != fiche["empreinte"]:
                raise ErreurFabrique(
                    f"« {fiche['base']} » n’a plus les poids sur lesquels ce classifieur a appris",
                    "Entraînez-le de nouveau avec « fabrique classer entrainer »",
                    dossier,
                )
            modele = PeftModel.from_pretrained(modele, str(dossier))
        suite = (fiche["cutoff_len"], fiche["base"], fiche["revision"])
        return cls(fiche["methode"], noms, tokenizer, modele, *suite)


@sans_denormaux()
def apprendre_tete(
    methode: str,
    base: str,
    textes: Sequence[str],
    etiquettes: Sequence[str],
    reglages: ReglagesClassement = PAR_DEFAUT,
    revision: str | None = None,
) -> Tete:
    """Affine un modèle de langage et sa tête à donner l'étiquette d'un texte.

    Args:
        methode: « lora » ou « entier ».
        base: nom du catalogue, dossier ou identifiant du hub.

    Raises:
        Divergence: les poids ne sont plus des nombres.

    Source : transformers, ``AutoModelForSequenceClassification``.
    """
    set_seed(reglages.graine)  # la tête naît au hasard
    noms = tuple(sorted(set(etiquettes)))
    tokenizer, modele = _charger(base, revision, noms)
    if methode == "lora":
        adaptateur = LoraConfig(
            task_type=TaskType.SEQ_CLS,
            r=LORA_R,
            lora_alpha=LORA_ALPHA,
            target_modules="all-linear",
            exclude_modules=["score"],
            modules_to_save=["score"],
        )
        modele = get_peft_model(modele, adaptateur)
    rangs = {nom: rang for rang, nom in enumerate(noms)}
    exemples = [
        {"input_ids": _coder(tokenizer, texte, reglages.cutoff_len), "labels": rangs[nom]}
        for texte, nom in zip(textes, etiquettes, strict=True)
    ]
    pas = reglages.epochs * -(-len(exemples) // reglages.batch_size)
    suivi = Suivi(pas, Arret())
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as dossier:
        entraineur = Trainer(
            modele,
            _arguments(dossier, methode, reglages, pas),
            DataCollatorWithPadding(tokenizer),
            train_dataset=exemples,
            callbacks=[suivi],
        )
        entraineur.remove_callback(PrinterCallback)
        try:
            entraineur.train()
        finally:
            suivi.finir()
    if not all(poids.isfinite().all() for poids in modele.parameters()):
        raise Divergence(
            "l’apprentissage a divergé : des poids ne sont plus des nombres",
            "Divisez le taux d’apprentissage par dix",
            champ="learning_rate",
            pas=pas,
        )
    return Tete(methode, noms, tokenizer, modele.eval(), reglages.cutoff_len, base, revision)


def _arguments(
    dossier: str, methode: str, reglages: ReglagesClassement, pas: int
) -> TrainingArguments:
    return TrainingArguments(
        dossier,
        num_train_epochs=reglages.epochs,
        per_device_train_batch_size=reglages.batch_size,
        learning_rate=reglages.learning_rate or TAUX[methode],
        lr_scheduler_type="cosine",
        warmup_steps=max(1, pas // 10),
        weight_decay=0.01,
        seed=reglages.graine,
        save_strategy="no",
        logging_steps=max(1, pas // 20),
        report_to="none",
        disable_tqdm=True,
        use_cpu=not torch.cuda.is_available(),
    )


def _charger(
    base: str | Path, revision: str | None, noms: Sequence[str]
) -> tuple[PreTrainedTokenizerBase, PreTrainedModel]:
    """Un modèle en 32 bits et une tête neuve, ou apprise si le dossier la porte.

    Les poids livrés sont en 16 bits : sans qu'on le dise, transformers les garderait ainsi, et Adam n'y
    apprendrait rien.
    """
    parler_moins()
    entree = trouver(base, revision)
    options = {} if entree.pickle else {"use_safetensors": True}
    with erreurs_du_hub(entree), reparation_falcon():
        modele = AutoModelForSequenceClassification.from_pretrained(
            entree.depot,
            revision=entree.revision,
            num_labels=len(noms),
            dtype=torch.float32,
            **options,
        )
    tokenizer = charger_tokenizer(base, revision)
    modele.config.pad_token_id = tokenizer.pad_token_id  # la tête lit le dernier jeton plein
    modele.config._commit_hash = entree.revision
    return tokenizer, modele


def _coder(tokenizer: PreTrainedTokenizerBase, texte: str, longueur: int) -> list[int]:
    """Les jetons d'une demande, coupée à ``longueur``, et l'appel à répondre, jamais coupé."""
    lus = coder(texte, tokenizer)
    if len(lus) > longueur:
        texte = tokenizer.decode(lus[:longueur])
    return coder(texte_envoye(tokenizer, texte), tokenizer)
