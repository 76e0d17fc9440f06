"""Contrôler, dédoublonner et répartir un gros corpus : temps et mémoire, à 1×, 2× et 4×.

    python -m benchmarks.corpus_echelle ../shared/donnees/codes_juridiques.jsonl.gz

Les volumes doubles et quadruples sont les mêmes articles, leurs mots mélangés : aussi longs, mais
tous différents, si bien que l'index des doublons grandit d'autant. Chaque mesure a son processus ;
le temps de calcul, ouvriers compris, ne dépend pas de ce que la machine fait d'autre.
"""

from __future__ import annotations

import argparse
import gzip
import json
import multiprocessing
import random
import resource
import tempfile
import time
from pathlib import Path

from fabrique.corpus import controler, preparer_corpus


def agrandir(source: Path, fois: float, cible: Path) -> int:
    """Écrit ``fois`` fois le corpus, les mots de chaque copie mélangés ; rend les octets écrits.

    Une fraction n'en écrit que les premiers articles.
    """
    hasard, octets = random.Random(42), 0
    with gzip.open(source, "rt", encoding="utf-8") as flux:
        lignes = list(flux)
    with cible.open("w", encoding="utf-8") as sortie:
        for rang in range(round(fois * len(lignes))):
            copie, place = divmod(rang, len(lignes))
            article = json.loads(lignes[place])
            if copie:
                mots = article["texte"].split()
                hasard.shuffle(mots)
                article |= {"texte": " ".join(mots), "id": f"{article['id']}-{copie}"}
            octets += sortie.write(json.dumps(article, ensure_ascii=False) + "\n")
    return octets


def _mesurer(travail: str, corpus: Path, sortie: Path, file: multiprocessing.Queue) -> None:
    depart = time.monotonic()
    if travail == "contrôler":
        controle = controler(corpus)
        detail = f"{len(controle.erreurs)} erreurs, {len(controle.alertes)} alertes"
    else:
        detail = str(preparer_corpus(corpus, sortie))
    usages = [resource.getrusage(q) for q in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    calcul = sum(usage.ru_utime + usage.ru_stime for usage in usages)
    pics = [usage.ru_maxrss * 1024 / 1e6 for usage in usages]
    file.put((time.monotonic() - depart, calcul, *pics, detail))


def main() -> None:
    """Mesure et imprime le tableau."""
    analyse = argparse.ArgumentParser(description=__doc__)
    analyse.add_argument("corpus", type=Path, help="fichier .jsonl.gz de textes")
    analyse.add_argument("--fois", type=float, nargs="+", default=[1, 2, 4])
    options = analyse.parse_args()
    contexte = multiprocessing.get_context("spawn")
    print(
        "| volume | travail | durée | calcul | mémoire du processus | du plus gros ouvrier | résultat |"
    )
    print("|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as dossier:
        corpus = Path(dossier) / "corpus.jsonl"
        for fois in options.fois:
            mega = agrandir(options.corpus, fois, corpus) / 1e6
            for travail in ("contrôler", "répartir"):
                file = contexte.Queue()
                arguments = (travail, corpus, Path(dossier) / "sortie.jsonl", file)
                processus = contexte.Process(target=_mesurer, args=arguments)
                processus.start()
                duree, calcul, pic, ouvrier, detail = file.get()
                processus.join()
                print(
                    f"| {mega:.0f} Mo | {travail} | {duree:.0f} s | {calcul:.0f} s "
                    f"| {pic:.0f} Mo | {ouvrier:.0f} Mo | {detail} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
