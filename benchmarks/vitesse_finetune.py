"""Vitesse du réglage fin : la recette de 2023, la bibliothèque telle quelle, la nôtre.

    python -m benchmarks.vitesse_finetune --exemples 160

Même modèle (Falcon de poche en NF4), mêmes exemples, même adaptateur, une époque, chacun dans un
processus neuf. Sur une machine partagée, seul le temps de calcul du processus se compare ; les deux
temps sont imprimés.
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
from transformers import DataCollatorForLanguageModeling, Trainer, TrainingArguments

from fabrique.corpus import jeu, lire_corpus
from fabrique.entrainement import OrdreParLongueur, Reglages, entrainer, memoire_pic
from fabrique.entrainement.exemples import exemples_en_jetons
from fabrique.evaluation import pertes
from fabrique.figures import en_francais
from fabrique.machine import POCHE, en_go
from fabrique.modeles import charger

#: La recette de 2023 mettait un cinquième des données de côté et le relisait quatre fois.
PART_EVALUEE, EVALUATIONS_DE_2023 = 0.2, 4
RECETTES = {
    "a": "(a) recette de 2023 : un par un, apprend aussi l’instruction",
    "b": "(b) Trainer tel quel : lots de 2, remplissage au plus long",
    "c": "(c) la nôtre",
}


@dataclass
class Mesure:
    """Ce qu'une recette a coûté et donné ; temps en secondes, mémoire en octets."""

    recette: str
    jetons: int
    apprentissage_s: float
    calcul_s: float
    commande_s: float
    calcul_commande_s: float
    perte: float
    memoire: int
    remplissage: float
    pas: int


class Montre:
    """Le temps au mur et le temps de calcul du processus, depuis sa création."""

    def __init__(self) -> None:
        self.mur, self.calcul = time.perf_counter(), time.process_time()

    def lire(self) -> tuple[float, float]:
        return time.perf_counter() - self.mur, time.process_time() - self.calcul


def donnees(nombre: int) -> tuple[Dataset, Dataset]:
    """Les premiers exemples à apprendre, et un cinquième d'autant à évaluer."""
    corpus = lire_corpus("demarches")
    mis_de_cote = [*jeu(corpus, "validation"), *jeu(corpus, "test")]
    evalues = Dataset.from_list(mis_de_cote[: round(PART_EVALUEE * nombre)])
    appris = jeu(corpus, "entrainement")
    return appris.select(range(min(nombre, len(appris)))), evalues


def remplissage(ordre: list[int], longueurs: list[int], lot: int) -> float:
    """Part des jetons lus qui ne sont que du remplissage."""
    lots = [[longueurs[i] for i in ordre[r : r + lot]] for r in range(0, len(ordre), lot)]
    return 1 - sum(map(sum, lots)) / sum(len(lot) * max(lot) for lot in lots)


def recette_nue(recette: str, nombre: int) -> Mesure:
    """transformers et peft seuls : un exemple (a) ou deux (b) à la fois, sans rien de nous.

    Le modèle et les exemples en jetons viennent du paquet : sans lui, transformers 5 laisserait
    Falcon en 32 bits.
    """
    lot, commande = {"a": 1, "b": 2}[recette], Montre()
    tokenizer, modele = charger(POCHE.modele, POCHE.quantification, silencieux=True)
    appris, evalues = donnees(nombre)
    exemples, _ = exemples_en_jetons(appris, tokenizer, POCHE.cutoff_len)
    mis_de_cote, _ = exemples_en_jetons(evalues, tokenizer, POCHE.cutoff_len)
    torch.manual_seed(42)
    affine = get_peft_model(
        modele,
        LoraConfig(
            r=8,
            lora_alpha=16,
            lora_dropout=0.05,
            target_modules="all-linear",
            task_type="CAUSAL_LM",
        ),
    )
    with tempfile.TemporaryDirectory() as dossier:
        entraineur = Trainer(
            model=affine,
            args=TrainingArguments(
                output_dir=dossier,
                per_device_train_batch_size=lot,
                per_device_eval_batch_size=lot,
                gradient_accumulation_steps=2 // lot,
                num_train_epochs=1,
                learning_rate=POCHE.learning_rate,
                warmup_steps=5,
                save_strategy="no",
                report_to="none",
                use_cpu=True,
                disable_tqdm=True,
                dataloader_pin_memory=False,
            ),
            train_dataset=exemples.remove_columns("labels"),
            eval_dataset=mis_de_cote.remove_columns("labels"),
            data_collator=DataCollatorForLanguageModeling(tokenizer, mlm=False),
        )
        apprentissage = Montre()
        entraineur.train()
        mur, calcul = apprentissage.lire()
        for _ in range(EVALUATIONS_DE_2023 if recette == "a" else 1):
            entraineur.evaluate()
    commande_s, calcul_commande_s = commande.lire()
    longueurs = [len(ids) for ids in exemples["input_ids"]]
    ordre = [i for i in entraineur._get_train_sampler()]
    return Mesure(
        recette=RECETTES[recette],
        jetons=sum(longueurs),
        apprentissage_s=mur,
        calcul_s=calcul,
        commande_s=commande_s,
        calcul_commande_s=calcul_commande_s,
        perte=float(pertes(affine, tokenizer, evalues).mean()),
        memoire=memoire_pic(),
        remplissage=remplissage(ordre, longueurs, lot),
        pas=entraineur.state.global_step,
    )


def notre_recette(nombre: int, lot: int, extinction: float) -> Mesure:
    """``fabrique.entrainer``, et les deux évaluations de la commande : avant, après."""
    commande = Montre()
    tokenizer, modele = charger(POCHE.modele, POCHE.quantification, silencieux=True)
    appris, evalues = donnees(nombre)
    pertes(modele, tokenizer, evalues)
    reglages = Reglages.du_profil(
        POCHE, epochs=1, batch_size=lot, mbatch_size=lot, lora_dropout=extinction
    )
    with tempfile.TemporaryDirectory() as dossier:
        apprentissage = Montre()
        resultat = entrainer(modele, tokenizer, appris, reglages, Path(dossier))
        _, calcul = apprentissage.lire()
    perte = float(pertes(resultat.modele, tokenizer, evalues).mean())
    commande_s, calcul_commande_s = commande.lire()
    exemples, _ = exemples_en_jetons(appris, tokenizer, POCHE.cutoff_len)
    longueurs = [len(ids) for ids in exemples["input_ids"]]
    return Mesure(
        recette=f"{RECETTES['c']} : lots de {lot} rangés par longueur"
        + ("" if extinction else ", sans extinction"),
        jetons=resultat.jetons_utiles,
        apprentissage_s=resultat.duree_s,
        calcul_s=calcul,
        commande_s=commande_s,
        calcul_commande_s=calcul_commande_s,
        perte=perte,
        memoire=memoire_pic(),
        remplissage=remplissage(list(OrdreParLongueur(longueurs, lot, 42)), longueurs, lot),
        pas=resultat.pas,
    )


def mesurer_a_part(recette: str, nombre: int, lot: int, extinction: float = 0.05) -> Mesure:
    """Une recette dans un processus neuf, pour que sa mémoire ne soit qu'à elle."""
    commande = [sys.executable, "-m", "benchmarks.vitesse_finetune", "--recette", recette]
    commande += ["--exemples", str(nombre), "--lot", str(lot)]
    commande += ["--extinction", str(extinction)]
    sortie = subprocess.run(commande, stdout=subprocess.PIPE, text=True, check=True).stdout
    return Mesure(**json.loads(sortie.splitlines()[-1]))


def imprimer(mesures: list[Mesure], nombre: int) -> None:
    """Le tableau, en Markdown."""
    tokenizer, _ = charger(POCHE.modele, POCHE.quantification, silencieux=True)
    exemples, _ = exemples_en_jetons(donnees(nombre)[0], tokenizer, POCHE.cutoff_len)
    quartiles = np.percentile([len(ids) for ids in exemples["input_ids"]], [0, 25, 50, 75, 100])
    print(
        f"{nombre} exemples ; longueurs en jetons, du minimum au maximum par quartiles : ", end=""
    )
    print(", ".join(en_francais(q) for q in quartiles), "; remplissage compté sur l’ordre suivi.\n")
    print(
        "| recette | pas | jetons utiles par seconde de calcul | (au mur) | contre (a) | contre (b) "
        "| commande entière contre (a) | perte de validation | remplissage | mémoire |"
    )
    print("|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|")
    a, b = (m.jetons / m.calcul_s for m in mesures[:2])
    for m in mesures:
        vitesse = m.jetons / m.calcul_s
        cellules = [
            m.recette,
            str(m.pas),
            en_francais(vitesse),
            en_francais(m.jetons / m.apprentissage_s),
            f"{en_francais(vitesse / a, 2)}\u00a0×",
            f"{en_francais(vitesse / b, 2)}\u00a0×",
            f"{en_francais(mesures[0].calcul_commande_s / m.calcul_commande_s, 2)}\u00a0×",
            en_francais(m.perte, 3),
            f"{en_francais(100 * m.remplissage, 1)}\u00a0%",
            en_go(m.memoire),
        ]
        print(f"| {' | '.join(cellules)} |")


def main() -> None:
    """Mesure les recettes l'une après l'autre et imprime le tableau."""
    analyse = argparse.ArgumentParser(description=__doc__)
    analyse.add_argument("--exemples", type=int, default=1026)
    analyse.add_argument("--lots", type=int, nargs="+", default=[4, 8])
    analyse.add_argument("--recette", choices=RECETTES, help="une seule, pour un processus neuf")
    analyse.add_argument("--lot", type=int, default=4)
    analyse.add_argument("--extinction", type=float, default=0.05, help="lora_dropout de (c)")
    options = analyse.parse_args()
    if options.recette:
        nue = options.recette != "c"
        mesure = (
            recette_nue(options.recette, options.exemples)
            if nue
            else notre_recette(options.exemples, options.lot, options.extinction)
        )
        print(json.dumps(asdict(mesure)))
        return
    mesures = [mesurer_a_part(recette, options.exemples, 2) for recette in "ab"]
    mesures += [mesurer_a_part("c", options.exemples, lot) for lot in options.lots]
    mesures.append(mesurer_a_part("c", options.exemples, options.lots[0], extinction=0))
    imprimer(mesures, options.exemples)


if __name__ == "__main__":
    main()
