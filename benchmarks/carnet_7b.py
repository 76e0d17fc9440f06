"""Un carnet entier sur Falcon-7B à sa taille exacte, sous le plafond d'une T4 : secondes et mémoire par cellule.

    python -m benchmarks.carnet_7b 03_finetuning_falcon_4bit --tokenizer tokenizer.json

Demande un GPU de 15 Go au moins, et 15 Go de disque. Les poids sont tirés au hasard : ce qui se dit ne
veut rien dire, et une réponse va presque toujours jusqu'à sa limite ; les durées sont donc hautes. La
carte se fait passer pour une T4 (15,8 Go), le profil est celui de la T4 (calcul en fp16), et l'allocateur
de torch refuse de dépasser 15 Go. Une cellule qui échoue n'arrête pas les suivantes, et est nommée.

``--jumeau`` fait la même chose sur processeur, avec un Falcon minuscule : de quoi essayer ce programme.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import nbformat
import torch
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output

from benchmarks.memoire_7b import COUCHES, MEMOIRE_T4, ecrire_modele
from fabrique.machine.profil import JUMEAU, T4
from fabrique.socle.erreurs import MACHINE
from fabrique.socle.nombres import GO, en_francais
from outils.jumeau import dossier_du_cache, ecrire_tokenizer, poser
from outils.tester import RACINE

#: Ce qu'une T4 dit d'elle-même.
CARTE = SimpleNamespace(name="Tesla T4", total_memory=15_835_660_288, major=7, minor=5)
#: Une cellule plus brève ne se montre que si elle échoue.
MONTREE = 2


@dataclass(frozen=True)
class Passage:
    """Une cellule exécutée : son rang, ses secondes, son pic d'octets alloués, son erreur."""

    rang: int
    secondes: float
    octets: int
    erreur: str


def poser_le_7b(cache: Path, tokenizer: Path | None) -> None:
    """Écrit les poids au hasard de Falcon-7B là où le hub les rangerait."""
    dossier = dossier_du_cache(cache, T4.modele)
    ecrire_modele(dossier, COUCHES)
    ecrire_tokenizer(dossier, tokenizer)
    config = json.loads((dossier / "config.json").read_text("utf-8"))
    config |= {"bos_token_id": 11, "eos_token_id": 11}
    (dossier / "config.json").write_text(json.dumps(config), "utf-8")


def se_faire_passer_pour_une_t4() -> None:
    """Borne l'allocateur à 15 Go, et fait dire à la carte qu'elle est une T4, à ``fabrique`` seulement."""
    vraie = torch.cuda.get_device_properties
    torch.cuda.set_per_process_memory_fraction(MEMOIRE_T4 / vraie(0).total_memory)

    def proprietes(*arguments):
        demandeur = Path(sys._getframe(1).f_code.co_filename).name
        return CARTE if demandeur == "materiel.py" else vraie(*arguments)

    torch.cuda.get_device_properties = proprietes


def executer(carnet: Path) -> Iterator[Passage]:
    """Exécute les cellules de code l'une après l'autre, dans le dossier courant."""
    shell = InteractiveShell.instance()
    gpu = torch.cuda.is_available()
    for rang, cellule in enumerate(nbformat.read(carnet, as_version=4).cells):
        if cellule.cell_type != "code":
            continue
        if gpu:
            torch.cuda.reset_peak_memory_stats()
        depart = time.perf_counter()
        with capture_output():
            issue = shell.run_cell(cellule.source)
        if gpu:
            torch.cuda.synchronize()
        erreur = issue.error_in_exec or issue.error_before_exec
        yield Passage(
            rang,
            time.perf_counter() - depart,
            torch.cuda.max_memory_allocated() if gpu else 0,
            f"{type(erreur).__name__} : {erreur}" if erreur else "",
        )


def raconter(passages: Iterable[Passage]) -> int:
    """Imprime les cellules longues ou fautives, puis le total ; rend 1 si une cellule échoue."""
    tous = []
    for passage in passages:
        tous.append(passage)
        if passage.secondes >= MONTREE or passage.erreur:
            secondes, go = en_francais(passage.secondes, 1), en_francais(passage.octets / GO, 1)
            print(f"cellule {passage.rang} : {secondes} s, {go} Go {passage.erreur}", flush=True)
    fautives = sum(bool(passage.erreur) for passage in tous)
    duree, pic = sum(p.secondes for p in tous), max(p.octets for p in tous)
    print(
        f"{len(tous)} cellules, {fautives} en échec, {en_francais(duree)} s, "
        f"{en_francais(pic / GO, 1)} Go au plus"
    )
    return int(fautives > 0)


def main() -> int:
    """Pose le modèle, puis exécute le carnet dans un processus neuf, qui le trouve dans son cache."""
    analyse = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    analyse.add_argument("carnet", help="nom d'un carnet, sans extension")
    analyse.add_argument("--tokenizer", type=Path, help="le tokenizer.json de Falcon")
    analyse.add_argument(
        "--jumeau", action="store_true", help="un Falcon minuscule, sur processeur"
    )
    analyse.add_argument("--ici", action="store_true", help=argparse.SUPPRESS)
    options = analyse.parse_args()
    if not options.jumeau and not torch.cuda.is_available():
        print("Aucun GPU sur cette machine : ajoutez --jumeau.", file=sys.stderr)
        return MACHINE
    if options.ici:
        if not options.jumeau:
            se_faire_passer_pour_une_t4()
        return raconter(executer(RACINE / "notebooks" / f"{options.carnet}.ipynb"))
    with tempfile.TemporaryDirectory(prefix="carnet-7b-") as temporaire:
        cache, travail = Path(temporaire, "cache"), Path(temporaire, "travail")
        travail.mkdir()
        (poser if options.jumeau else poser_le_7b)(cache, options.tokenizer)
        environnement = {
            "HF_HOME": str(cache),
            "HF_HUB_OFFLINE": "1",
            "FABRIQUE_PROFIL": (JUMEAU if options.jumeau else T4).nom,
            "PYTHONPATH": str(RACINE),
        }
        commande = [sys.executable, "-m", "benchmarks.carnet_7b", *sys.argv[1:], "--ici"]
        return subprocess.run(commande, cwd=travail, env=os.environ | environnement).returncode


if __name__ == "__main__":
    sys.exit(main())
