"""Vitesse du réglage fin : la recette de 2023, la bibliothèque telle quelle, la nôtre.

    python -m benchmarks.vitesse_finetune
    python -m benchmarks.vitesse_finetune --profil t4 --modele DOSSIER --exemples 200   # sur un GPU

Même modèle, mêmes exemples, même adaptateur, une époque, chacun dans un processus neuf. Les durées
sont celles de l'horloge : lancez-le sur une machine au repos.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from datasets import Dataset
from peft import LoraConfig, get_peft_model
from transformers import (
    DataCollatorForLanguageModeling,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    Trainer,
    TrainingArguments,
)

from fabrique.corpus import jeu, lire_corpus
from fabrique.entrainement import OrdreParLongueur, Reglages, entrainer, memoire_pic
from fabrique.entrainement.exemples import exemples_en_jetons
from fabrique.evaluation import pertes
from fabrique.evaluation.incertitude import intervalle_de_l_ecart, moyenne
from fabrique.machine.profil import PROFILS, Profil
from fabrique.modeles.chargement import charger, charger_tokenizer
from fabrique.socle.nombres import GO, en_ecart, en_francais, en_go, en_pourcent

#: La recette de 2023 relisait quatre fois 1 200 exemples pour 4 800 appris.
PART_EVALUEE, EVALUATIONS_DE_2023 = 0.25, 4
RECETTES = {
    "a": "(a) recette de 2023\u00a0: un par un, apprend aussi l’instruction",
    "b": "(b) Trainer tel quel\u00a0: lots de 2, remplissage au plus long",
    "c": "(c) la nôtre\u00a0: rangés par longueur",
}


@dataclass(frozen=True)
class Terrain:
    """Ce que les recettes ont en commun : le modèle, la machine, le nombre d'exemples appris."""

    modele: str
    profil: Profil
    exemples: int

    def charger(self) -> tuple[PreTrainedTokenizerBase, PreTrainedModel]:
        """Le modèle au format du profil ; sans le paquet, transformers 5 laisserait Falcon en 32 bits."""
        return charger(self.modele, self.profil.quantification, self.profil.calcul, silencieux=True)

    def donnees(self) -> tuple[Dataset, Dataset]:
        """Les premiers exemples à apprendre, et un quart d'autant, mis de côté, à évaluer."""
        corpus = lire_corpus("demarches")
        mis_de_cote = [*jeu(corpus, "validation"), *jeu(corpus, "test")]
        appris = jeu(corpus, "entrainement")
        appris = appris.select(range(min(self.exemples, len(appris))))
        return appris, Dataset.from_list(mis_de_cote[: round(PART_EVALUEE * len(appris))])


@dataclass(frozen=True)
class Mesure:
    """Ce qu'une recette a coûté et donné ; temps en secondes à l'horloge, mémoire en octets."""

    recette: str
    jetons: int
    apprentissage_s: float
    commande_s: float
    pertes: list[float]
    memoire: int
    remplissage: float
    pas: int


def remplissage(ordre: list[int], longueurs: list[int], lot: int) -> float:
    """Part des jetons lus qui ne sont que du remplissage."""
    lots = [[longueurs[i] for i in ordre[r : r + lot]] for r in range(0, len(ordre), lot)]
    return 1 - sum(map(sum, lots)) / sum(len(lot) * max(lot) for lot in lots)


def recette_nue(recette: str, terrain: Terrain) -> Mesure:
    """transformers et peft seuls : un exemple (a) ou deux (b) à la fois, sans rien de nous.

    Seuls le modèle chargé et les exemples en jetons viennent du paquet.
    """
    lot, profil, commande = {"a": 1, "b": 2}[recette], terrain.profil, time.perf_counter()
    tokenizer, modele = terrain.charger()
    appris, evalues = terrain.donnees()
    exemples, _ = exemples_en_jetons(appris, tokenizer, profil.cutoff_len)
    mis_de_cote, _ = exemples_en_jetons(evalues, tokenizer, profil.cutoff_len)
    torch.manual_seed(42)
    cibles = profil.target_modules
    affine = get_peft_model(
        modele,
        LoraConfig(
            r=profil.lora_r,
            lora_alpha=16,
            lora_dropout=0.05,
            target_modules=cibles if isinstance(cibles, str) else list(cibles),
            task_type="CAUSAL_LM",
        ),
    )
    gpu = affine.device.type == "cuda"
    with tempfile.TemporaryDirectory() as dossier:
        entraineur = Trainer(
            model=affine,
            args=TrainingArguments(
                output_dir=dossier,
                per_device_train_batch_size=lot,
                per_device_eval_batch_size=lot,
                gradient_accumulation_steps=2 // lot,
                num_train_epochs=1,
                learning_rate=profil.learning_rate,
                warmup_steps=5,
                save_strategy="no",
                report_to="none",
                fp16=profil.calcul == "float16",
                bf16=profil.calcul == "bfloat16",
                use_cpu=not gpu,
                disable_tqdm=True,
                dataloader_pin_memory=gpu,
            ),
            train_dataset=exemples.remove_columns("labels"),
            eval_dataset=mis_de_cote.remove_columns("labels"),
            data_collator=DataCollatorForLanguageModeling(tokenizer, mlm=False),
        )
        depart = time.perf_counter()
        entraineur.train()
        apprentissage = time.perf_counter() - depart
        for _ in range(EVALUATIONS_DE_2023 if recette == "a" else 1):
            entraineur.evaluate()
    commande = time.perf_counter() - commande
    longueurs = [len(ids) for ids in exemples["input_ids"]]
    return Mesure(
        recette=RECETTES[recette],
        jetons=sum(longueurs),
        apprentissage_s=apprentissage,
        commande_s=commande,
        pertes=pertes(affine, tokenizer, evalues).tolist(),
        memoire=memoire_pic(),
        remplissage=remplissage(list(entraineur._get_train_sampler()), longueurs, lot),
        pas=entraineur.state.global_step,
    )


def notre_recette(terrain: Terrain, changements: dict) -> Mesure:
    """``fabrique.entrainer``, et les deux évaluations de la commande : avant, après."""
    commande = time.perf_counter()
    tokenizer, modele = terrain.charger()
    appris, evalues = terrain.donnees()
    pertes(modele, tokenizer, evalues)
    reglages = Reglages.du_profil(terrain.profil, epochs=1, val_set_size=0, **changements)
    with tempfile.TemporaryDirectory() as dossier:
        resultat = entrainer(modele, tokenizer, appris, reglages, Path(dossier))
    obtenues = pertes(resultat.modele, tokenizer, evalues)
    commande = time.perf_counter() - commande
    exemples, _ = exemples_en_jetons(appris, tokenizer, reglages.cutoff_len)
    longueurs = [len(ids) for ids in exemples["input_ids"]]
    lot, petit_lot = reglages.batch_size, reglages.mbatch_size
    ordre = list(OrdreParLongueur(longueurs, lot, reglages.graine))
    return Mesure(
        recette=f"{RECETTES['c']}, lots de {lot}, extinction {en_francais(reglages.lora_dropout, 2)}",
        jetons=resultat.jetons_utiles,
        apprentissage_s=resultat.duree_s,
        commande_s=commande,
        pertes=obtenues.tolist(),
        memoire=memoire_pic(),
        remplissage=remplissage(ordre, longueurs, petit_lot),
        pas=resultat.pas,
    )


def mesurer_a_part(recette: str, changements: dict | None = None) -> Mesure:
    """Une recette dans un processus neuf, aux options du premier, pour que sa mémoire ne soit qu'à elle."""
    commande = [sys.executable, "-m", "benchmarks.vitesse_finetune", *sys.argv[1:]]
    commande += ["--recette", recette, "--changements", json.dumps(changements or {})]
    sortie = subprocess.run(commande, stdout=subprocess.PIPE, text=True, check=True).stdout
    return Mesure(**json.loads(sortie.splitlines()[-1]))


def ecart_de_perte(reference: Mesure, mesure: Mesure) -> str:
    """L'écart de perte à la référence, et son intervalle apparié à 95 %."""
    avant, apres = moyenne(reference.pertes), moyenne(mesure.pertes)
    ecart, bornes = apres.valeur() - avant.valeur(), intervalle_de_l_ecart(avant, apres)
    dits = [en_ecart(valeur, 3) for valeur in (ecart, bornes.bas, bornes.haut)]
    return "{} [{}\u00a0; {}]".format(*dits)


def tableau(mesures: list[Mesure]) -> str:
    """Le tableau, en Markdown ; les deux premières mesures sont (a) et (b)."""
    a, b = (m.jetons / m.apprentissage_s for m in mesures[:2])
    lignes = [
        "| recette | pas | s par pas | jetons utiles par seconde | contre (a) | contre (b) "
        "| commande entière | contre (a) | perte mise de côté | écart à (a) [à 95 %] "
        "| remplissage | mémoire |",
        "|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for m in mesures:
        vitesse = m.jetons / m.apprentissage_s
        cellules = [
            m.recette,
            str(m.pas),
            en_francais(m.apprentissage_s / m.pas, 2),
            en_francais(vitesse),
            f"{en_francais(vitesse / a, 2)}\u00a0×",
            f"{en_francais(vitesse / b, 2)}\u00a0×",
            f"{en_francais(m.commande_s)}\u00a0s",
            f"{en_francais(mesures[0].commande_s / m.commande_s, 2)}\u00a0×",
            en_francais(float(np.mean(m.pertes)), 3),
            ecart_de_perte(mesures[0], m) if m is not mesures[0] else "—",
            en_pourcent(m.remplissage, 1),
            en_go(m.memoire),
        ]
        lignes.append(f"| {' | '.join(cellules)} |")
    return "\n".join(lignes)


def analyseur() -> argparse.ArgumentParser:
    """Les options de la commande."""
    analyse = argparse.ArgumentParser(description=__doc__)
    analyse.add_argument("--exemples", type=int, default=1026)
    analyse.add_argument("--profil", choices=PROFILS, default="poche")
    analyse.add_argument("--modele", default="", help="par défaut, celui du profil")
    analyse.add_argument("--plafond", type=float, default=0, help="Go de GPU à ne pas dépasser")
    analyse.add_argument("--recette", choices=RECETTES, help=argparse.SUPPRESS)
    analyse.add_argument("--changements", type=json.loads, default={}, help=argparse.SUPPRESS)
    return analyse


def main() -> None:
    """Mesure les recettes l'une après l'autre et imprime le tableau."""
    options = analyseur().parse_args()
    profil = PROFILS[options.profil]
    terrain = Terrain(options.modele or profil.modele, profil, options.exemples)
    if options.recette:
        if options.plafond:
            total = torch.cuda.get_device_properties(0).total_memory
            torch.cuda.set_per_process_memory_fraction(min(1.0, options.plafond * GO / total))
        mesure = (
            notre_recette(terrain, options.changements)
            if options.recette == "c"
            else recette_nue(options.recette, terrain)
        )
        print(json.dumps(asdict(mesure)))
        return
    exemples, _ = exemples_en_jetons(
        terrain.donnees()[0], charger_tokenizer(terrain.modele), profil.cutoff_len
    )
    quartiles = np.percentile([len(ids) for ids in exemples["input_ids"]], [0, 25, 50, 75, 100])
    print(
        f"{len(exemples)} exemples ; longueurs en jetons, du minimum au maximum par quartiles : "
        f"{', '.join(en_francais(q) for q in quartiles)} ; remplissage compté sur l’ordre suivi.\n"
    )
    double = 2 * profil.batch_size
    essais = [
        ("a", {}),
        ("b", {}),
        ("c", {}),
        ("c", {"lora_dropout": 0 if profil.lora_dropout else 0.05}),
        ("c", {"batch_size": double, "mbatch_size": 2 * profil.mbatch_size}),
    ]
    print(tableau([mesurer_a_part(recette, changements) for recette, changements in essais]))


if __name__ == "__main__":
    main()
