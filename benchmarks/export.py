"""Ce que coûte chaque type de GGUF, et si llama.cpp répond comme transformers (extension [gguf]).

    python -m benchmarks.export

Le modèle est exporté dans chaque type. Les bits par octet se mesurent sur les fiches livrées, avec
les poids relus du fichier. Puis cinquante questions sont posées, sans tirage, à llama.cpp sur le
fichier q8_0 et à transformers sur l'original ; à la première différence, on compare la marge du
jeton choisi sur le deuxième à ce que l'arrondi déplace cette marge là où les réponses sont pareilles.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from fabrique.corpus import jeu, lire_corpus
from fabrique.entrainement.bits import bits_par_octet
from fabrique.modeles.chargement import charger
from fabrique.modeles.gabarits import coder, texte_de_la_demande
from fabrique.modeles.generation import SANS_REGLE_CACHEE
from fabrique.service.export import Export, exporter_gguf
from fabrique.service.moteur import Ecrit, Moteur
from fabrique.socle.nombres import en_bref, en_ecart, en_francais, en_mo, en_pourcent

TYPES = ("f16", "q8_0", "q5_1", "q5_0", "q4_1", "q4_0")
REPONSE = 40


@dataclass(frozen=True)
class Comparaison:
    """Une question : où les deux réponses se séparent, et de combien les marges y différaient.

    Args:
        jetons: combien de jetons sont pareils.
        separation: la marge de transformers à la première différence, en nats ; None s'il n'y en
            a pas.
        deplacement: le plus grand écart de marge entre les deux moteurs, avant elle, en nats.
    """

    jetons: int
    separation: float | None
    deplacement: float


@torch.inference_mode()
def repondre(
    modele: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, ids: list[int], longueur: int
) -> list[int]:
    """Les jetons que transformers écrit, sans tirage ni celui de fin."""
    entree = torch.tensor([ids])
    sortie = modele.generate(
        input_ids=entree,
        attention_mask=torch.ones_like(entree),
        max_new_tokens=longueur,
        do_sample=False,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        **SANS_REGLE_CACHEE,
    )[0, len(ids) :].tolist()
    return [jeton for jeton in sortie if jeton != tokenizer.eos_token_id]


@torch.inference_mode()
def comparer(
    modele: PreTrainedModel, ids: list[int], ecrits: list[int], moteur: Ecrit
) -> Comparaison:
    """Compare deux réponses, et les marges du premier jeton sur le deuxième tant qu'elles vont de pair."""
    pareils = 0
    for un, autre in zip(ecrits, moteur.jetons, strict=False):
        if un != autre:
            break
        pareils += 1
    logits = modele(torch.tensor([[*ids, *ecrits[:pareils]]])).logits[0, len(ids) - 1 :]
    deux = logits.log_softmax(-1).topk(2).values
    marges = (deux[:, 0] - deux[:, 1]).tolist()
    siennes = [
        pas["top_logprobs"][0]["logprob"] - pas["top_logprobs"][1]["logprob"]
        for pas in moteur.probables[:pareils]
    ]
    ecarts = [abs(a - b) for a, b in zip(marges, siennes, strict=False)]
    egales = ecrits == list(moteur.jetons)
    return Comparaison(pareils, None if egales else marges[pareils], max(ecarts, default=0.0))


def tableau_des_types(exports: list[Export], bits: list[float]) -> str:
    """Le tableau, en Markdown ; les écarts se comptent depuis la première ligne."""
    lignes = [
        "| type | taille | bits par octet | écart | écart des log-probabilités (nats) |",
        "| --- | --: | --: | --: | --: |",
    ]
    for fait, mesure in zip(exports, bits, strict=True):
        ecart = f"{en_ecart(100 * (mesure / bits[0] - 1), 2)}\u00a0%"
        nats = "non mesuré" if fait.ecart is None else en_bref(fait.ecart, 2)
        lignes.append(
            f"| {fait.type} | {en_mo(fait.octets)} | {en_francais(mesure, 4)} | {ecart} | {nats} |"
        )
    return "\n".join(lignes)


def bilan(comparaisons: list[Comparaison]) -> str:
    """La part de réponses identiques, et si chaque différence tient dans l'arrondi mesuré."""
    separees = [c for c in comparaisons if c.separation is not None]
    arrondi = max(c.deplacement for c in comparaisons)
    part = 1 - len(separees) / len(comparaisons)
    lignes = [
        f"Réponses identiques : {en_pourcent(part)} de {len(comparaisons)}.",
        f"Là où elles sont pareilles, l’arrondi déplace la marge de {en_bref(arrondi, 2)} nat au plus.",
    ]
    for c in separees:
        cause = "moins que l’arrondi" if c.separation <= arrondi else "PLUS QUE L’ARRONDI"
        lignes.append(
            f"- après {c.jetons} jetons pareils, marge de {en_bref(c.separation, 2)} nat : {cause}"
        )
    return "\n".join(lignes)


def main() -> None:
    """Exporte, mesure et imprime."""
    analyse = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    analyse.add_argument("--modele", default="falcon-poche")
    analyse.add_argument("--types", nargs="+", default=TYPES)
    analyse.add_argument("--textes", type=int, default=30, help="fiches lues, au plus")
    analyse.add_argument("--questions", type=int, default=50)
    options = analyse.parse_args()
    tokenizer, origine = charger(options.modele, "aucune", silencieux=True)
    textes = list(lire_corpus("fiches")["texte"])[: options.textes]
    questions = jeu(lire_corpus("demarches"), "test").select(range(options.questions))
    with tempfile.TemporaryDirectory() as dossier:
        exports = [exporter_gguf(options.modele, dossier, type) for type in options.types]
        bits = [
            bits_par_octet(charger(f.fichier, "aucune", silencieux=True)[1], tokenizer, textes, 512)
            for f in exports
        ]
        print(f"{options.modele}, {len(textes)} fiches\n\n{tableau_des_types(exports, bits)}\n")
        [q8] = [f.fichier for f in exports if f.type == "q8_0"]
        comparer_les_moteurs(origine, tokenizer, q8, list(questions))


def comparer_les_moteurs(
    modele: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    fichier: Path,
    questions: list[dict],
) -> None:
    """Pose les mêmes questions aux deux moteurs ; imprime ce qui diffère, et leurs vitesses."""
    codes = [coder(texte_de_la_demande(tokenizer, question), tokenizer) for question in questions]
    with Moteur(fichier, exact=True) as moteur:
        depart = time.perf_counter()
        siennes = [moteur.continuer(ids, max_new_tokens=REPONSE, probabilites=2) for ids in codes]
        duree_du_moteur = time.perf_counter() - depart
    depart = time.perf_counter()
    notres = [repondre(modele, tokenizer, ids, REPONSE) for ids in codes]
    duree = time.perf_counter() - depart
    triplets = zip(codes, notres, siennes, strict=True)
    print(bilan([comparer(modele, *triplet) for triplet in triplets]))
    for nom, jetons, secondes in (
        ("llama.cpp, q8_0", sum(len(e.jetons) for e in siennes), duree_du_moteur),
        ("transformers, 32 bits", sum(map(len, notres)), duree),
    ):
        print(f"{nom} : {en_francais(jetons / secondes)} jetons écrits par seconde")


if __name__ == "__main__":
    main()
