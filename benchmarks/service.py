"""Comparer des serveurs : 1, 4 et 16 clients, jetons par seconde et délai du premier mot.

    python -m benchmarks.service
    python -m benchmarks.service --clients 1 4 --jetons 32 --seul fabrique gguf
    python -m benchmarks.service --gguf sorties/gguf/falcon-poche-q8_0.gguf

Les mêmes questions, au fil de l'eau, à température 0, par le client officiel d'OpenAI, à quatre
serveurs l'un après l'autre : « fabrique servir » sur le Falcon de poche en 32 bits, puis sur son GGUF
(extension [gguf] ; par défaut il est exporté en f16) ; le même fichier derrière le serveur de llama.cpp
seul, que xllamacpp contient ; « transformers serve ». Le temps de calcul du serveur, en secondes de
processeur, se compare même sur une machine occupée ; les débits et les délais, non. Les jetons sont
ceux du texte reçu, comptés par le tokenizer du modèle.
"""

from __future__ import annotations

import argparse
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import openai
import psutil
import torch

from fabrique.corpus import lire_corpus
from fabrique.modeles.fichier_gguf import FichierGguf
from fabrique.modeles.tokenizer import charger_tokenizer
from fabrique.socle.emplacements import FALCON_POCHE
from fabrique.socle.nombres import en_francais


@dataclass(frozen=True)
class Serveur:
    """Un serveur à essayer : sa commande, d'après un port et un dossier, et le nom qu'il donne au modèle."""

    nom: str
    modele: str
    commande: Callable[[int, str], list[str]]


def exporter(dossier: str) -> Path:
    """Le Falcon de poche en GGUF."""
    from fabrique.service.export import exporter_gguf

    return exporter_gguf("falcon-poche", dossier, type="f16").fichier


def serveur_gguf(fichier: Path) -> Serveur:
    """« fabrique servir » sur un GGUF : llama.cpp écrit."""
    return Serveur(
        f"`fabrique servir`, {fichier.name}",
        fichier.stem,
        lambda port, dossier: [
            *("fabrique", "servir", f"--model={fichier}", "--file_max=64"),
            *(f"--port={port}", f"--dossier={dossier}"),
        ],
    )


def serveur_llama_cpp(fichier: Path) -> Serveur:
    """Le serveur de llama.cpp, sans rien de nous : ce fichier-ci, relancé avec « --llama_cpp »."""
    return Serveur(
        f"llama.cpp, {fichier.name}",
        fichier.stem,
        lambda port, _: ["benchmarks.service", f"--gguf={fichier}", f"--llama_cpp={port}"],
    )


def servir_par_llama_cpp(fichier: Path, port: int, places: int) -> None:
    """Ouvre le serveur de llama.cpp, et le laisse répondre jusqu'à ce qu'on le tue."""
    import xllamacpp

    reglages = xllamacpp.CommonParams()
    reglages.model.path, reglages.port = str(fichier), port
    reglages.n_parallel, reglages.n_ctx = places, places * FichierGguf.ouvrir(fichier).contexte
    reglages.cpuparams.n_threads = reglages.cpuparams_batch.n_threads = torch.get_num_threads()
    reglages.verbosity, reglages.warmup, reglages.ui, reglages.fit_params = -1, False, False, False
    ouvert = xllamacpp.Server(reglages)
    print(ouvert.listening_address, flush=True)
    threading.Event().wait()


SERVEURS = {
    "fabrique": Serveur(
        "`fabrique servir`",
        "falcon-poche",
        lambda port, dossier: [
            *("fabrique", "servir", "--quantification=aucune", "--file_max=64"),
            "--moteur=transformers",
            *(f"--port={port}", f"--dossier={dossier}"),
        ],
    ),
    "transformers": Serveur(
        "`transformers serve`",
        str(FALCON_POCHE),
        lambda port, _: [
            *("transformers.cli.transformers", "serve", str(FALCON_POCHE)),
            *("--device", "cpu", "--dtype", "float32", "--port", str(port)),
        ],
    ),
}

#: Ceux qui répondent d'un GGUF, qu'il faut avoir exporté.
SUR_GGUF = {"gguf": serveur_gguf, "llama_cpp": serveur_llama_cpp}
NOMS = ("fabrique", *SUR_GGUF, "transformers")


@contextmanager
def ouvrir(serveur: Serveur) -> Iterator[tuple[openai.OpenAI, psutil.Process]]:
    """Lance un serveur et attend qu'il réponde."""
    with socket.create_server(("127.0.0.1", 0)) as prise:
        port = prise.getsockname()[1]
    with tempfile.TemporaryDirectory() as dossier:
        commande = [sys.executable, "-m", *serveur.commande(port, dossier)]
        with subprocess.Popen(commande, stdout=subprocess.DEVNULL, env=os.environ) as lance:
            client = openai.OpenAI(
                base_url=f"http://127.0.0.1:{port}/v1", api_key="sans", timeout=600
            )
            try:
                _attendre(client, serveur, lance)
                yield client, psutil.Process(lance.pid)
            finally:
                lance.kill()


def _attendre(client: openai.OpenAI, serveur: Serveur, lance: subprocess.Popen) -> None:
    """Attend une réponse entière : le modèle se charge parfois à la première demande."""
    while lance.poll() is None:
        try:
            demander(client, serveur.modele, "Bonjour", 1)
            return
        except openai.APIConnectionError:
            time.sleep(1)
    raise SystemExit(f"{serveur.nom} s’est arrêté avant de répondre.")


def demander(client: openai.OpenAI, modele: str, question: str, jetons: int) -> tuple[float, str]:
    """Une réponse au fil de l'eau : le délai de son premier mot (s), et son texte."""
    debut, premier, texte = time.perf_counter(), 0.0, ""
    for morceau in client.chat.completions.create(
        model=modele,
        messages=[{"role": "user", "content": question}],
        temperature=0,
        max_tokens=jetons,
        stream=True,
    ):
        ajoute = (morceau.choices[0].delta.content or "") if morceau.choices else ""
        if ajoute and not texte:
            premier = time.perf_counter() - debut
        texte += ajoute
    return premier, texte


def mesurer(serveur: Serveur, clients: list[int], questions: list[str], jetons: int) -> list[str]:
    """Les lignes du tableau d'un serveur, une par nombre de clients."""
    tokenizer = charger_tokenizer("falcon-poche")
    lignes = []
    with ouvrir(serveur) as (client, processus):
        for nombre in clients:
            calcul, debut = sum(processus.cpu_times()[:2]), time.perf_counter()
            with ThreadPoolExecutor(nombre) as fils:
                rendus = list(
                    fils.map(lambda q: demander(client, serveur.modele, q, jetons), questions)
                )
            duree = time.perf_counter() - debut
            calcul = sum(processus.cpu_times()[:2]) - calcul
            ecrits = sum(len(tokenizer(texte)["input_ids"]) for _, texte in rendus)
            cellules = [
                serveur.nom,
                str(nombre),
                en_francais(ecrits / duree, 1),
                en_francais(statistics.median(premier for premier, _ in rendus), 2),
                en_francais(1000 * calcul / ecrits, 1),
            ]
            lignes.append(f"| {' | '.join(cellules)} |")
    return lignes


def main() -> None:
    """Mesure chaque serveur et imprime le tableau, en Markdown."""
    analyse = argparse.ArgumentParser(description=__doc__)
    analyse.add_argument("--clients", type=int, nargs="+", default=[1, 4, 16])
    analyse.add_argument("--questions", type=int, default=16)
    analyse.add_argument("--jetons", type=int, default=32)
    analyse.add_argument("--seul", choices=NOMS, nargs="+", default=list(NOMS))
    analyse.add_argument("--gguf", type=Path, help="fichier déjà exporté")
    analyse.add_argument("--llama_cpp", type=int, help="sert --gguf sur ce port, et ne mesure rien")
    options = analyse.parse_args()
    if options.llama_cpp:
        servir_par_llama_cpp(options.gguf, options.llama_cpp, max(options.clients))
    questions = lire_corpus("questions")["instruction"][: options.questions]
    titres = ["serveur", "clients", "jetons/s", "premier mot (s)", "s de calcul / 1 000 jetons"]
    print(f"| {' | '.join(titres)} |", f"|{'---|' * len(titres)}", sep="\n")
    with tempfile.TemporaryDirectory() as dossier:
        fichier = options.gguf
        if not fichier and SUR_GGUF.keys() & set(options.seul):
            fichier = exporter(dossier)
        for nom in options.seul:
            serveur = SERVEURS.get(nom) or SUR_GGUF[nom](fichier)
            for ligne in mesurer(serveur, options.clients, questions, options.jetons):
                print(ligne, flush=True)


if __name__ == "__main__":
    main()
