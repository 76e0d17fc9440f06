"""Évaluer 200 questions : par lots, ou une à une.

    python -m benchmarks.evaluation --questions 200 --une_a_une 24

Le Falcon de poche répond à des questions de « demarches », par lots comme dans ``evaluer``, puis à
quelques-unes d'entre elles une à une par ``generate``, que l'on rapporte au même nombre.
"""

from __future__ import annotations

import argparse
import time

import torch

from fabrique.corpus import lire_corpus
from fabrique.evaluation import evaluer
from fabrique.evaluation.epreuve import au_plus
from fabrique.gabarits import coder, texte_de_la_demande
from fabrique.generation import SANS_REDITE, eviter_redites
from fabrique.machine import POCHE
from fabrique.modeles import charger


def une_a_une(modele, tokenizer, exemples: list[dict], max_new_tokens: int) -> float:
    """Secondes par question d'une boucle de ``generate``, mêmes réglages qu'``evaluer``."""
    depart = time.perf_counter()
    for exemple in exemples:
        ids = torch.tensor([coder(texte_de_la_demande(tokenizer, exemple), tokenizer)])
        with torch.inference_mode():
            modele.generate(
                input_ids=ids,
                attention_mask=torch.ones_like(ids),
                max_new_tokens=max_new_tokens,
                do_sample=False,
                logits_processor=eviter_redites(SANS_REDITE, ids.shape[1]),
                eos_token_id=tokenizer.eos_token_id,
                pad_token_id=tokenizer.pad_token_id,
            )
    return (time.perf_counter() - depart) / len(exemples)


def main() -> None:
    """Mesure et imprime le tableau."""
    analyse = argparse.ArgumentParser(description=__doc__)
    analyse.add_argument("--questions", type=int, default=200)
    analyse.add_argument("--une_a_une", type=int, default=24)
    analyse.add_argument("--max_new_tokens", type=int, default=220)
    options = analyse.parse_args()
    tokenizer, modele = charger(POCHE.modele, POCHE.quantification, silencieux=True)
    corpus = lire_corpus("demarches")
    tous = au_plus(corpus, options.questions)
    depart = time.perf_counter()
    lots = evaluer(modele, tokenizer, tous, max_new_tokens=options.max_new_tokens)
    total = time.perf_counter() - depart
    quelques = list(au_plus(tous, options.une_a_une))
    boucle = une_a_une(modele, tokenizer, quelques, options.max_new_tokens)
    print("| façon | secondes par question | pour l’ensemble |")
    print("|---|---|---|")
    print(f"| une à une | {boucle:.2f} | {boucle * len(tous):.0f} s |")
    print(f"| par lots | {lots.secondes:.2f} | {lots.secondes * len(tous):.0f} s |")
    print(f"\nRapport : {boucle / lots.secondes:.1f}. Évaluation complète, mesures comprises : {total:.0f} s.")


if __name__ == "__main__":
    main()
