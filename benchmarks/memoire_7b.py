"""La recette entière à la taille de Falcon-7B, sur n'importe quelle machine : mémoire et pas réels.

    python -m benchmarks.memoire_7b               # 14,4 Go de disque, une dizaine de minutes
    python -m benchmarks.memoire_7b --couches 4   # la même architecture, moins de blocs

Écrit un modèle à la configuration exacte de Falcon-7B, aux poids tirés au hasard, en tranches
safetensors bf16 comme sur le hub. Un second processus le charge en NF4, vérifie ses couches, apprend
deux pas d'un LoRA, et relève la mémoire au plus haut : elle doit rester sous les 13,6 Go de Colab. Il
compte ensuite ce qu'un lot de la T4 garderait pour le retour sans recalcul des activations.
Avec un GPU, il compare aussi les recettes (a), (b), (c) de ``vitesse_finetune`` sous un plafond de
15 Go, la nôtre sur 50 pas, puis génère ; sans GPU, il dit que rien n'a été mesuré. Le dossier temporaire
est supprimé à la fin.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from datasets import Dataset
from safetensors.torch import save_file
from transformers import (
    AutoModelForCausalLM,
    FalconConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from fabrique.corpus import lire_corpus
from fabrique.entrainement import Reglages, entrainer
from fabrique.machine.profil import T4
from fabrique.modeles.chargement import charger, charger_tokenizer, couches_quatre_bits
from fabrique.modeles.generation import generer_par_lots
from fabrique.modeles.memoire import memoire
from fabrique.recettes.cout import CONFIGURATION_7B
from fabrique.socle.erreurs import MACHINE, ErreurFabrique
from fabrique.socle.nombres import GO, en_francais, en_go

COUCHES = CONFIGURATION_7B["num_hidden_layers"]
#: Mémoire vive d'une machine Colab gratuite, et mémoire de sa T4.
#: Colab montre « 12.7 GB », qui sont des gibioctets : 13,6 Go. Une T4 annonce 15,8 Go.
MEMOIRE_COLAB, MEMOIRE_T4 = 13.6 * GO, 15 * GO
#: LoRA de rang 8 sur query_key_value : 8 × (4544 + 4672) par bloc.
PARAMETRES_PAR_BLOC = 8 * (4544 + 4672)
BLOCS_PAR_TRANCHE = 4


@dataclass(frozen=True)
class Mesure:
    """Ce que le second processus a relevé : octets et secondes."""

    couches_4bits: int
    poids: int
    chargement_s: float
    pas_s: float
    parametres_entraines: int
    anonyme: int
    residente: int
    activations: int


# ---------------------------------------------------------------- écrire le modèle


def ecrire_modele(dossier: Path, couches: int) -> int:
    """Écrit config.json, tokenizer et tranches safetensors bf16 ; rend les octets de poids.

    Une tranche à la fois est en mémoire.
    """
    config = FalconConfig(**{**CONFIGURATION_7B, "num_hidden_layers": couches})
    with torch.device("meta"):
        plan = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    plan.config.save_pretrained(dossier)
    charger_tokenizer("falcon-poche").save_pretrained(dossier)
    formes = {nom: tuple(p.shape) for nom, p in plan.named_parameters()}
    tranches: dict[str, dict] = {}
    for nom, forme in formes.items():
        bloc = nom.split(".h.")[1].split(".")[0] if ".h." in nom else "reste"
        cle = "reste" if bloc == "reste" else str(int(bloc) // BLOCS_PAR_TRANCHE)
        tranches.setdefault(cle, {})[nom] = forme
    hasard = torch.Generator().manual_seed(0)
    ou, total = {}, 0
    for rang, contenu in enumerate(tranches.values(), 1):
        fichier = f"model-{rang:05d}-of-{len(tranches):05d}.safetensors"
        poids = {nom: _tirer(nom, forme, hasard) for nom, forme in contenu.items()}
        save_file(poids, dossier / fichier, {"format": "pt"})
        ou |= dict.fromkeys(poids, fichier)
        total += sum(p.numel() * p.element_size() for p in poids.values())
    index = {"metadata": {"total_size": total}, "weight_map": ou}
    (dossier / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")
    return total


def _tirer(nom: str, forme: tuple[int, ...], hasard: torch.Generator) -> torch.Tensor:
    """Une matrice normale d'écart-type 0,02 ; les normalisations, à leur valeur de départ."""
    if len(forme) == 1:
        return (torch.ones if nom.endswith("weight") else torch.zeros)(forme, dtype=torch.bfloat16)
    return torch.empty(forme, dtype=torch.bfloat16).normal_(std=0.02, generator=hasard)


# ---------------------------------------------------------------- relever la mémoire


class Releveur(threading.Thread):
    """Relève dix fois par seconde la mémoire du processus et en garde le plus haut.

    ``anonyme`` est ce que le processus occupe sans pouvoir le rendre ; ``residente`` y ajoute les
    pages de fichiers lues, que le système reprend quand il en a besoin.
    """

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.anonyme = self.residente = 0

    def run(self) -> None:
        while True:
            lignes = dict(
                ligne.split(":", 1) for ligne in Path("/proc/self/status").read_text().splitlines()
            )
            anonyme, residente = (
                int(lignes[cle].split()[0]) * 1024 for cle in ("RssAnon", "VmRSS")
            )
            self.anonyme = max(self.anonyme, anonyme)
            self.residente = max(self.residente, residente)
            time.sleep(0.1)


def mesurer(dossier: Path, pas: int, jetons: int) -> Mesure:
    """Charge en NF4, apprend quelques pas, relève la mémoire ; à lancer dans un processus neuf."""
    releveur = Releveur()
    releveur.start()
    depart = time.monotonic()
    tokenizer, modele = charger(dossier, "nf4", calcul="bfloat16", silencieux=True)
    chargement = time.monotonic() - depart
    exemples = Dataset.from_list(
        [{"instruction": "Où voter ?", "input": "", "output": "Au bureau de vote. " * 20}] * pas
    )
    reglages = Reglages(
        batch_size=1,
        mbatch_size=1,
        cutoff_len=jetons,
        val_set_size=0,
        recalcul=True,
        warmup_steps=0,
        save_steps=10 * pas,
    )
    resultat = entrainer(modele, tokenizer, lire_corpus(exemples), reglages, dossier / "adaptateur")
    if resultat.pas != pas:
        raise ErreurFabrique(f"{resultat.pas} pas faits au lieu de {pas}", code=MACHINE)
    anonyme, residente = releveur.anonyme, releveur.residente
    return Mesure(
        couches_4bits=len(couches_quatre_bits(modele)),
        poids=sum(ligne.octets for ligne in memoire(modele)),
        chargement_s=chargement,
        pas_s=resultat.secondes_par_pas,
        parametres_entraines=resultat.parametres_entraines,
        anonyme=anonyme,
        residente=residente,
        activations=activations_gardees(resultat.modele, T4.mbatch_size, T4.cutoff_len),
    )


def activations_gardees(modele: torch.nn.Module, exemples: int, jetons: int) -> int:
    """Octets que l'aller garde pour le retour, sans recalcul, hors poids et hors logits."""
    poids = {p.untyped_storage().data_ptr() for p in (*modele.parameters(), *modele.buffers())}
    gardees = {}

    def noter(tenseur: torch.Tensor) -> torch.Tensor:
        zone = tenseur.untyped_storage()
        if zone.data_ptr() not in poids:
            gardees[zone.data_ptr()] = zone.nbytes()
        return tenseur

    modele.gradient_checkpointing_disable()
    modele.train()
    ids = torch.ones((exemples, jetons), dtype=torch.long, device=modele.device)
    with (
        torch.autocast(modele.device.type, torch.bfloat16),
        torch.autograd.graph.saved_tensors_hooks(noter, lambda tenseur: tenseur),
    ):
        sortie = modele(input_ids=ids, attention_mask=torch.ones_like(ids), logits_to_keep=1)
    del sortie  # le graphe gardait les tenseurs : chaque adresse n’a servi qu’une fois
    return sum(gardees.values())


# ---------------------------------------------------------------- avec un GPU


def mesurer_gpu(dossier: Path, pas: int = 50) -> str:
    """Les trois recettes aux réglages de la T4 sous 15 Go, puis une réponse ; ou dit qu'il n'y a pas de GPU."""
    if not torch.cuda.is_available():
        return (
            "Aucun GPU sur cette machine\u00a0: durée et mémoire sur une T4 n’ont pas été mesurées."
        )
    carte = torch.cuda.get_device_properties(0)
    commande = [
        sys.executable,
        "-m",
        "benchmarks.vitesse_finetune",
        *options_de_vitesse(dossier, pas),
    ]
    recettes = subprocess.run(commande, check=True, stdout=subprocess.PIPE, text=True).stdout
    torch.cuda.set_per_process_memory_fraction(min(1.0, MEMOIRE_T4 / carte.total_memory))
    tokenizer, modele = charger(dossier, T4.quantification, T4.calcul, silencieux=True)
    vitesse = jetons_par_seconde(modele, tokenizer)
    return (
        f"{carte.name}, plafond de {en_go(MEMOIRE_T4)}, calcul en {T4.calcul}.\n\n{recettes}\n"
        f"Réponse, une question à la fois\u00a0: {en_francais(vitesse, 1)} jetons par seconde."
    )


def options_de_vitesse(dossier: Path, pas: int) -> list[str]:
    """De quoi comparer les recettes sur ce modèle, aux réglages de la T4, la nôtre en tant de pas."""
    exemples = str(pas * T4.batch_size)
    options = ["--profil", T4.nom, "--modele", str(dossier), "--exemples", exemples]
    return [*options, "--plafond", str(MEMOIRE_T4 / GO)]


def jetons_par_seconde(
    modele: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, jetons: int = 64
) -> float:
    """Vitesse d'une réponse de 64 jetons, ni plus ni moins, après une première qui ne compte pas."""
    question = [{"instruction": "Où voter ?", "input": ""}]
    for _ in range(2):
        depart = time.perf_counter()
        generer_par_lots(modele, tokenizer, question, max_new_tokens=jetons, min_new_tokens=jetons)
    return jetons / (time.perf_counter() - depart)


# ---------------------------------------------------------------- conclure


def tableau(mesure: Mesure, disque: int, couches: int) -> str:
    """Le tableau, en Markdown."""
    lignes = {
        "blocs": str(couches),
        "poids sur disque (bf16)": en_go(disque),
        "couches en 4 bits": str(mesure.couches_4bits),
        "poids chargés": en_go(mesure.poids),
        "chargement": f"{en_francais(mesure.chargement_s)} s",
        "paramètres entraînés": en_francais(mesure.parametres_entraines),
        "un pas d’apprentissage": f"{en_francais(mesure.pas_s, 1)} s",
        "mémoire anonyme au plus haut": en_go(mesure.anonyme),
        "mémoire résidente au plus haut, pages de fichiers comprises": en_go(mesure.residente),
        f"activations de {T4.mbatch_size} × {T4.cutoff_len} jetons, sans recalcul": en_go(
            mesure.activations
        ),
    }
    return "\n".join(["| | |", "| --- | --: |", *(f"| {n} | {v} |" for n, v in lignes.items())])


def defauts(mesure: Mesure, couches: int) -> list[str]:
    """Ce qui contredirait la promesse."""
    attendus = {
        f"{4 * couches} couches en 4 bits": mesure.couches_4bits == 4 * couches,
        f"{en_francais(PARAMETRES_PAR_BLOC * couches)} paramètres entraînés": (
            mesure.parametres_entraines == PARAMETRES_PAR_BLOC * couches
        ),
        f"mémoire sous {en_go(MEMOIRE_COLAB)}": mesure.anonyme < MEMOIRE_COLAB,
    }
    return [nom for nom, tenu in attendus.items() if not tenu]


def verifier_place(dossier: Path, couches: int) -> None:
    """Refuse de commencer si le disque ne peut pas porter le modèle.

    Raises:
        ErreurFabrique: place insuffisante.
    """
    besoin = 1.05 * 14.4e9 * (couches + 1) / (COUCHES + 1)
    libre = shutil.disk_usage(dossier).free
    if libre < besoin:
        raise ErreurFabrique(
            f"il reste {en_go(libre)} sur le disque, il en faut {en_go(besoin)}",
            "Libérez de la place, choisissez un autre --dossier, ou baissez --couches",
            dossier,
            code=MACHINE,
        )


def main() -> int:
    """Écrit, mesure dans un processus neuf, conclut ; rend 2 si la promesse n'est pas tenue."""
    analyse = argparse.ArgumentParser(description=__doc__)
    analyse.add_argument("--couches", type=int, default=COUCHES)
    analyse.add_argument("--pas", type=int, default=2)
    analyse.add_argument("--jetons", type=int, default=32)
    analyse.add_argument("--dossier", type=Path, default=Path(tempfile.gettempdir()))
    analyse.add_argument("--mesurer", type=Path, help=argparse.SUPPRESS)
    options = analyse.parse_args()
    if options.mesurer:
        mesure = mesurer(options.mesurer, options.pas, options.jetons)
        (options.mesurer / "mesure.json").write_text(json.dumps(asdict(mesure)), encoding="utf-8")
        return 0
    try:
        verifier_place(options.dossier, options.couches)
    except ErreurFabrique as erreur:
        print(erreur, file=sys.stderr)
        return erreur.code
    with tempfile.TemporaryDirectory(dir=options.dossier, prefix="falcon-7b-") as temporaire:
        dossier = Path(temporaire)
        disque = ecrire_modele(dossier, options.couches)
        commande = [sys.executable, "-m", "benchmarks.memoire_7b", "--mesurer", temporaire]
        commande += ["--pas", str(options.pas), "--jetons", str(options.jetons)]
        subprocess.run(commande, check=True, stdout=subprocess.DEVNULL)
        mesure = Mesure(**json.loads((dossier / "mesure.json").read_text(encoding="utf-8")))
        print(tableau(mesure, disque, options.couches))
        print("\n" + mesurer_gpu(dossier))
    manques = defauts(mesure, options.couches)
    print("Promesse tenue." if not manques else f"Promesse non tenue\u00a0: {', '.join(manques)}.")
    return MACHINE if manques else 0


if __name__ == "__main__":
    sys.exit(main())
