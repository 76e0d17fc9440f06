"""Évaluer 200 questions : par lots, ou une à une.

    python -m benchmarks.evaluation --questions 200 --une_a_une 24

Le Falcon de poche répond à des questions de « demarches », par lots comme dans ``evaluer``, puis à
quelques-unes d'entre elles une à une par ``generate``, que l'on rapporte au même nombre. Le temps de
calcul du processus, tous cœurs additionnés, ne dépend pas de ce que la machine fait d'autre.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass

import torch

from fabrique.corpus import lire_corpus
from fabrique.corpus.formats import demande
from fabrique.evaluation import evaluer
from fabrique.evaluation.epreuve import au_plus
from fabrique.machine.profil import POCHE
from fabrique.modeles.chargement import charger
from fabrique.modeles.gabarits import coder, texte_de_la_demande
from fabrique.modeles.generation import SANS_REGLE_CACHEE, generer_par_lots
from fabrique.socle.nombres import en_francais


@dataclass
class Duree:
    """Secondes écoulées et secondes de calcul d'un bloc ``with``."""

    ecoulees: float = 0.0
    calcul: float = 0.0

    def __enter__(self) -> Duree:
        self._depart = time.perf_counter(), time.process_time()
        return self

    def __exit__(self, *_: object) -> None:
        ecoulees, calcul = self._depart
        self.ecoulees, self.calcul = time.perf_counter() - ecoulees, time.process_time() - calcul


def une_a_une(modele, tokenizer, exemples: list[dict], max_new_tokens: int) -> None:
    """Une boucle de ``generate``, mêmes réglages qu'``evaluer``."""
    for exemple in exemples:
        ids = torch.tensor([coder(texte_de_la_demande(tokenizer, exemple), tokenizer)])
        with torch.inference_mode():
            modele.generate(
                input_ids=ids,
                attention_mask=torch.ones_like(ids),
                max_new_tokens=max_new_tokens,
                do_sample=False,
                **SANS_REGLE_CACHEE,
                eos_token_id=tokenizer.eos_token_id,
                pad_token_id=tokenizer.pad_token_id,
            )


def main() -> None:
    """Mesure et imprime le tableau."""
    analyse = argparse.ArgumentParser(description=__doc__)
    analyse.add_argument("--questions", type=int, default=200)
    analyse.add_argument("--une_a_une", type=int, default=24)
    analyse.add_argument("--par_lots", type=int, default=64)
    analyse.add_argument("--max_new_tokens", type=int, default=220)
    options = analyse.parse_args()
    tokenizer, modele = charger(POCHE.modele, POCHE.quantification, silencieux=True)
    corpus = lire_corpus("demarches")
    tous = au_plus(corpus, options.questions)
    quelques = list(au_plus(tous, options.une_a_une))
    with Duree() as complete:
        evaluer(modele, tokenizer, tous, max_new_tokens=options.max_new_tokens)
    serie = sorted(au_plus(tous, options.par_lots), key=lambda exemple: len(demande(exemple)))
    with Duree() as par_lots:
        generer_par_lots(modele, tokenizer, serie, max_new_tokens=options.max_new_tokens)
    with Duree() as boucle:
        une_a_une(modele, tokenizer, quelques, options.max_new_tokens)
    print(
        "| façon | questions | secondes de calcul par question | secondes écoulées par question |"
    )
    print("|---|--:|--:|--:|")
    for nom, duree, combien in (("une à une", boucle, quelques), ("par lots", par_lots, serie)):
        calcul, ecoulees = (
            en_francais(s / len(combien), 2) for s in (duree.calcul, duree.ecoulees)
        )
        print(f"| {nom} | {len(combien)} | {calcul} | {ecoulees} |")
    rapport = boucle.calcul / len(quelques) / (par_lots.calcul / len(serie))
    print(
        f"\nRapport des temps de calcul : {en_francais(rapport, 1)}. Évaluation complète de {len(tous)} questions, "
        f"mesures comprises : {en_francais(complete.calcul)} s de calcul, {en_francais(complete.ecoulees)} s écoulées."
    )


if __name__ == "__main__":
    main()
