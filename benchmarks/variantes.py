"""Les variantes de LoRA, et le taux d'apprentissage qui fait diverger.

    python -m benchmarks.variantes --exemples 64

Le Falcon de poche apprend les mêmes exemples de chaque façon ; la perte est mesurée sur des
questions mises de côté. La mémoire est comptée : poids du modèle, et pour chaque nombre appris, lui,
son gradient et les deux moments d'Adam.
"""

from __future__ import annotations

import argparse
import math
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from datasets import Dataset

from fabrique.corpus import jeu, lire_corpus
from fabrique.entrainement import Reglages, entrainer
from fabrique.entrainement.disque import taille_d_un_point
from fabrique.evaluation import pertes
from fabrique.machine.profil import POCHE
from fabrique.modeles.chargement import charger
from fabrique.modeles.memoire import memoire
from fabrique.socle.erreurs import ErreurFabrique
from fabrique.socle.figures import BLEU, ROUGE, nouvelle_figure
from fabrique.socle.nombres import en_francais, en_mo, en_scientifique

#: Une ligne du tableau : son nom, ce qu'elle change.
VARIANTES = {
    "query_key_value, rang 8": {"target_modules": ("query_key_value",)},
    "toutes les couches, rang 4": {"lora_r": 4, "lora_alpha": 8},
    "toutes les couches, rang 8": {},
    "toutes les couches, rang 64": {"lora_r": 64, "lora_alpha": 128},
    "rang 64, alpha 16": {"lora_r": 64},
    "rang 64, alpha 16, rsLoRA": {"lora_r": 64, "methode": "rslora"},
    "rang 8, DoRA": {"methode": "dora"},
    "tous les poids, en 32 bits": {"methode": "complet", "learning_rate": 5e-4},
}
TAUX = (1e-3, 5e-3, 2e-2, 1e-1, 1.0)


def essayer(appris: Dataset, evalues: Dataset, **changements) -> dict:
    """Apprend une fois ; perte de validation, mémoire comptée, temps de calcul du processus."""
    quantification = "aucune" if changements.get("methode") == "complet" else POCHE.quantification
    tokenizer, modele = charger(POCHE.modele, quantification, silencieux=True)
    poids = sum(ligne.octets for ligne in memoire(modele))
    reglages = Reglages.du_profil(POCHE, **{"epochs": 1, "warmup_steps": 1, **changements})
    depart = time.process_time()
    with tempfile.TemporaryDirectory() as dossier:
        resultat = entrainer(modele, tokenizer, appris, reglages, Path(dossier))
    return {
        "taux": reglages.learning_rate,
        "parametres": resultat.parametres_entraines,
        # Un point porte poids et moments ; le gradient s'y ajoute. Tout apprendre ne compte
        # qu'une fois les poids.
        "memoire": (0 if reglages.methode == "complet" else poids)
        + taille_d_un_point(resultat.modele) * 4 // 3,
        "secondes": time.process_time() - depart,
        "perte": float(pertes(resultat.modele, tokenizer, evalues).mean()),
    }


def lignes_des_variantes(appris: Dataset, evalues: Dataset) -> Iterator[str]:
    """Le tableau des variantes, en Markdown."""
    yield "| façon d’apprendre | taux | nombres appris | mémoire | secondes de calcul | perte de validation |"
    yield "|---|--:|--:|--:|--:|--:|"
    for nom, changements in VARIANTES.items():
        m = essayer(appris, evalues, **changements)
        yield (
            f"| {nom} | {en_scientifique(m['taux'])} | {en_francais(m['parametres'])} | "
            f"{en_mo(m['memoire'])} | {en_francais(m['secondes'])} | {en_francais(m['perte'], 3)} |"
        )


def balayer(appris: Dataset, evalues: Dataset) -> dict[float, float | None]:
    """Imprime et rend la perte de validation à chaque taux ; rien quand l'apprentissage a divergé."""
    pertes_par_taux = {}
    print("\n| taux d’apprentissage | perte de validation |\n|--:|--:|")
    for taux in TAUX:
        try:
            pertes_par_taux[taux] = essayer(appris, evalues, learning_rate=taux)["perte"]
            dite = en_francais(pertes_par_taux[taux], 3)
        except ErreurFabrique as erreur:
            pertes_par_taux[taux], dite = None, f"arrêt : {erreur.message}"
        print(f"| {en_scientifique(taux)} | {dite} |", flush=True)
    return pertes_par_taux


def dessiner(balayage: dict[float, float | None], base: float, fichier: Path) -> None:
    """La figure du balayage : la perte selon le taux, et celle du modèle de départ."""
    finies = {taux: perte for taux, perte in balayage.items() if perte is not None}
    trop = [taux for taux in balayage if finies.get(taux, math.inf) > base]
    constat = (
        f"À {en_scientifique(trop[0])}, l’apprentissage diverge" if trop else "Rien ne diverge"
    )
    figure, axe = nouvelle_figure(constat)
    axe.plot(list(finies), list(finies.values()), color=BLEU, marker="o", label="après une époque")
    axe.axhline(base, color=ROUGE, linestyle="--", label="modèle de départ")
    axe.set(
        xscale="log",
        xlabel="taux d’apprentissage",
        ylabel="perte de validation (nats par jeton)",
    )
    axe.legend(frameon=False)
    figure.savefig(fichier)


def main() -> None:
    """Mesure, imprime les deux tableaux, dessine."""
    analyse = argparse.ArgumentParser(description=__doc__)
    analyse.add_argument("--exemples", type=int, default=64)
    analyse.add_argument("--evalues", type=int, default=32)
    analyse.add_argument("--figure", type=Path, default=Path("docs/images/taux_apprentissage.png"))
    options = analyse.parse_args()
    corpus = lire_corpus("demarches")
    appris = jeu(corpus, "entrainement").select(range(options.exemples))
    evalues = jeu(corpus, "validation").select(range(options.evalues))
    tokenizer, modele = charger(POCHE.modele, POCHE.quantification, silencieux=True)
    base = float(pertes(modele, tokenizer, evalues).mean())
    print(f"{len(appris)} exemples appris, {len(evalues)} évalués ; perte de départ ", end="")
    print(f"{en_francais(base, 3)}.\n")
    for ligne in lignes_des_variantes(appris, evalues):
        print(ligne, flush=True)
    dessiner(balayer(appris, evalues), base, options.figure)


if __name__ == "__main__":
    main()
