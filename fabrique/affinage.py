"""La commande ``finetune`` de bout en bout : lire, charger, apprendre, mesurer."""

from __future__ import annotations

from pathlib import Path

from fabrique.corpus import lire_corpus, repartir
from fabrique.entrainement import Reglages, ResultatEntrainement, entrainer
from fabrique.evaluation import comparer_pertes, pertes
from fabrique.machine import choisir_profil, examiner
from fabrique.modeles import charger


def affiner(
    modele: str,
    dataset: str,
    sortie: Path,
    reglages: Reglages,
    quantification: str = "nf4",
    revision: str | None = None,
) -> ResultatEntrainement:
    """Affine un modèle sur un corpus et dit ce que la perte y a gagné.

    Args:
        modele: nom du catalogue, dossier ou identifiant du hub.
        dataset: corpus livré ou fichier.
        sortie: dossier de l'adaptateur.
    """
    corpus = lire_corpus(dataset)
    appris, validation = repartir(corpus, reglages.val_set_size, reglages.graine)
    origine = "colonne « jeu »" if any(corpus["jeu"]) else f"val_set_size = {reglages.val_set_size:g}"
    print(f"{len(appris)} exemples à apprendre, {len(validation)} de validation ({origine}).")
    for alerte in choisir_profil(examiner(sortie)).avertissements:
        print(f"Attention : {alerte}")
    tokenizer, reseau = charger(modele, quantification, revision=revision)
    resultat = entrainer(reseau, tokenizer, corpus, reglages, sortie)
    print(resultat)
    if len(validation) > 1:
        # Éteindre l'adaptateur rend la base : le modèle n'est chargé qu'une fois.
        avant = pertes(resultat.modele, tokenizer, validation, adaptateur=False)
        ecart = comparer_pertes(avant, pertes(resultat.modele, tokenizer, validation))
        print(f"Validation : perte {ecart.avant:.3f} → {ecart.apres:.3f}".replace(".", ","))
    return resultat
