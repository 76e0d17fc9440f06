"""Fertilité des tokenizers sur quatre genres de textes, et surcoût de nos fonctions.

    python -m benchmarks.jetons ../shared/donnees

Le dossier contient ``service_public.jsonl.gz``, ``codes_juridiques.jsonl.gz``,
``romans_1840_1920.jsonl.gz``, ``imprimes_xviie.jsonl.gz`` et ``tokenizers/``. On ne mesure que les
documents que notre tokenizer n'a pas lus : un sur dix, comme au préentraînement, sauf pour les
imprimés du XVIIe siècle, qu'il n'a jamais lus. Le tableau s'imprime en Markdown.
"""

from __future__ import annotations

import argparse
import gzip
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

from mistral_common.tokens.tokenizers.mistral import MistralTokenizer
from tokenizers import Tokenizer

from fabrique.entrainement.reglages import ReglagesPreentrainement
from fabrique.entrainement.textes import lire_documents, separer
from fabrique.jetons import Decoupeur, Fertilite, bruiter, fertilite, ouvrir
from fabrique.socle.emplacements import FALCON_POCHE
from fabrique.socle.nombres import en_francais

CODE = "code-general-de-la-fonction-publique"
#: Caractères lus au début de chaque roman : le benchmark tient en quelques minutes.
ROMAN = 100_000
LIVRES = ("falcon-poche", "mistral-v1", "mistral-tekken")
REELS = ("falcon", "gpt2", "lucie")
REPETITIONS = 9
#: Parts de caractères abîmés.
BRUITS = (0, 0.065, 0.13)


def mis_de_cote(chemin: Path) -> list[str]:
    """Un document sur dix, celui que le préentraînement n'a pas lu."""
    _, cote = separer(lire_documents(chemin), ReglagesPreentrainement().validation_un_sur)
    return [document.texte for document in cote]


def articles_du_code(chemin: Path) -> list[str]:
    """Les articles d'un seul code, parmi ceux que le préentraînement n'a pas lus."""
    with gzip.open(chemin, "rt", encoding="utf-8") as flux:
        noms = [json.loads(ligne)["code"] for ligne in flux if ligne.strip()]
    _, cote = separer(noms, ReglagesPreentrainement().validation_un_sur)
    return [t for nom, t in zip(cote, mis_de_cote(chemin), strict=True) if nom == CODE]


def genres(donnees: Path) -> dict[str, list[str]]:
    """Les textes mesurés, par genre."""
    imprimes = lire_documents(donnees / "imprimes_xviie.jsonl.gz")
    return {
        "fiches service-public.fr": mis_de_cote(donnees / "service_public.jsonl.gz"),
        "code de la fonction publique": articles_du_code(donnees / "codes_juridiques.jsonl.gz"),
        "romans (1840-1920)": [
            roman[:ROMAN] for roman in mis_de_cote(donnees / "romans_1840_1920.jsonl.gz")
        ],
        "imprimés du XVIIᵉ siècle": [document.texte for document in imprimes],
    }


def imprimer_fertilite(mesures: list[Fertilite]) -> None:
    """Une rangée par genre et par tokenizer."""
    print(
        "| genre | tokenizer | entrées | jetons par mot [à 95 %] | octets par jeton | caractères par jeton |"
    )
    print("| --- | --- | --: | --: | --: | --: |")
    for mesure in mesures:
        bas, haut = (en_francais(borne, 2) for borne in mesure.jetons_par_mot.ic95)
        print(
            f"| {mesure.genre} | {mesure.tokenizer} | {en_francais(mesure.entrees)} | "
            f"{en_francais(mesure.jetons_par_mot.valeur, 2)} [{bas} ; {haut}] | "
            f"{en_francais(mesure.octets_par_jeton.valeur, 2)} | "
            f"{en_francais(mesure.caracteres_par_jeton.valeur, 2)} |"
        )


def imprimer_bruit(fiches: list[str], tokenizers: list[Decoupeur]) -> None:
    """Les mêmes fiches, toutes, propres puis abîmées comme par un scanner : jetons par mot."""
    print("| caractères abîmés | " + " | ".join(t.nom for t in tokenizers) + " |")
    print("| --: |" + " --: |" * len(tokenizers))
    for part in BRUITS:
        abimees = [bruiter(fiche, part, graine) for graine, fiche in enumerate(fiches)]
        cases = [
            f"{en_francais(m.jetons_par_mot.valeur, 2)} "
            f"[{' ; '.join(en_francais(borne, 2) for borne in m.jetons_par_mot.ic95)}]"
            for m in fertilite({"": abimees}, tokenizers)
        ]
        print(f"| {en_francais(100 * part, 1)} % | {' | '.join(cases)} |")


# ---------------------------------------------------------------- le surcoût


def appels_directs() -> dict[str, Callable[[str], list[int]]]:
    """L'appel de la bibliothèque que chaque tokenizer livré recouvre."""
    poche = Tokenizer.from_file(str(FALCON_POCHE / "tokenizer.json"))
    v1 = MistralTokenizer.v1().instruct_tokenizer.tokenizer
    tekken = MistralTokenizer.v3(is_tekken=True, is_mm=True).instruct_tokenizer.tokenizer
    return {
        "falcon-poche": lambda t: poche.encode_batch_fast([t], add_special_tokens=False)[0].ids,
        "mistral-v1": lambda t: v1.encode(t, bos=False, eos=False),
        "mistral-tekken": lambda t: tekken.encode(t, bos=False, eos=False),
    }


def secondes(coder: Callable[[str], list[int]], textes: list[str]) -> float:
    """Le temps de calcul du processus pour couper tous les textes."""
    depart = time.process_time()
    for texte in textes:
        coder(texte)
    return time.process_time() - depart


def surcout(tokenizer: Decoupeur, direct: Callable[[str], list[int]], textes: list[str]) -> float:
    """Part de temps ajoutée par nos fonctions : médiane de répétitions où l'ordre alterne."""
    assert all(tokenizer.coder(texte) == direct(texte) for texte in textes)
    rapports = []
    for rang in range(REPETITIONS):
        mesures = {}
        for appel in (tokenizer.coder, direct) if rang % 2 else (direct, tokenizer.coder):
            mesures[appel] = secondes(appel, textes)
        rapports.append(mesures[tokenizer.coder] / mesures[direct])
    return statistics.median(rapports) - 1


def main() -> None:
    """Mesure et imprime."""
    analyse = argparse.ArgumentParser(description=__doc__)
    analyse.add_argument("donnees", type=Path, help="dossier des textes et des tokenizers")
    options = analyse.parse_args()
    textes = genres(options.donnees)
    for genre, documents in textes.items():
        mots = sum(len(texte.split()) for texte in documents)
        print(f"{genre} : {len(documents)} documents, {en_francais(mots)} mots")
    livres = {nom: ouvrir(nom) for nom in LIVRES}
    reels = [ouvrir(options.donnees / "tokenizers" / nom) for nom in REELS]
    imprimer_fertilite(fertilite(textes, [*livres.values(), *reels]))
    entieres = [d.texte for d in lire_documents(options.donnees / "service_public.jsonl.gz")]
    imprimer_bruit(entieres, reels)
    courts = [p for texte in textes["fiches service-public.fr"] for p in texte.split("\n") if p]
    for nom, direct in appels_directs().items():
        entiers = surcout(livres[nom], direct, textes["fiches service-public.fr"])
        lignes = surcout(livres[nom], direct, courts)
        print(
            f"surcoût, {nom} : {en_francais(100 * entiers, 1)} % sur les fiches entières, "
            f"{en_francais(100 * lignes, 1)} % ligne par ligne"
        )


if __name__ == "__main__":
    main()
