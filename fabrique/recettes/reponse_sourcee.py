"""D'un index et d'un modèle sur le disque à une réponse qui cite."""

from __future__ import annotations

from pathlib import Path

from fabrique.machine.profil import merite_le_texte_libre
from fabrique.modeles.adaptateurs import charger_adaptateur, verifier_adaptateur
from fabrique.modeles.chargement import charger
from fabrique.recherche.abstention import FAUSSES_REPONSES, MONTRES
from fabrique.recherche.index import Index
from fabrique.recherche.reponse import Reponse, repondre


def repondre_d_apres(
    index: Path,
    question: str,
    modele: str,
    adaptateur: str = "",
    quantification: str = "nf4",
    revision: str | None = None,
    fausses_reponses: float = FAUSSES_REPONSES,
    montres: int = MONTRES,
) -> Reponse:
    """Relit l'index, charge le modèle et répond.

    L'index et l'adaptateur se vérifient avant le chargement, plus long.

    Args:
        index: le dossier qu'écrit ``fabrique sources indexer``.
        modele: nom du catalogue, dossier ou dépôt du hub.
        adaptateur: dossier de l'adaptateur ; vide, la base seule.
        fausses_reponses, montres: ceux de ``repondre``.
    """
    lu = Index.lire(index)
    if adaptateur:
        verifier_adaptateur(adaptateur)
    tokenizer, charge = charger(modele, quantification, revision=revision, silencieux=True)
    if adaptateur:
        charge = charger_adaptateur(charge, adaptateur)
    return repondre(
        charge,
        tokenizer,
        question,
        lu,
        fausses_reponses=fausses_reponses,
        montres=montres,
        texte_libre=merite_le_texte_libre(modele),
    )
