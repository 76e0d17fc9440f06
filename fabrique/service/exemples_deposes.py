"""Les exemples qu'un affinage apprendra : relus, vérifiés, et mis ensemble, avant de rien lancer."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from datasets import Dataset

from fabrique.corpus import (
    colonnes_du_fichier,
    donnees_personnelles,
    lire_corpus,
    repartir,
    verifier_encodage,
)
from fabrique.corpus.controle_votes import verifier_votes
from fabrique.corpus.votes import lire_votes, table_des_votes
from fabrique.service.depots import Depot, Depots
from fabrique.service.refus import Refus
from fabrique.socle.emplacements import ecrire_texte
from fabrique.socle.erreurs import ErreurFabrique
from fabrique.socle.nombres import accorder

#: Comme chez OpenAI : en dessous, un affinage n'apprend rien qui vaille.
EXEMPLES_MIN = 10


def verifier(depots: Depots, depot: Depot, champ: str, accepter_personnelles: bool) -> Dataset:
    """Relit un fichier d'exemples et le refuse à la première faute.

    Args:
        champ: « training_file » ou « validation_file ».
        accepter_personnelles: apprend même un fichier qui contient des données personnelles.

    Raises:
        Refus: ligne mal formée, avec son numéro ; texte mal décodé ; données personnelles ; fichier
            qui n'est pas fait d'exemples.
    """
    chemin = depots.chemin(depot)
    with _au_nom_du_client(depot, champ):
        corpus = lire_corpus(chemin)
        verifier_encodage(chemin)
        if "titre" in corpus.column_names:
            raise ErreurFabrique(
                "ce sont des fiches, sans question ni réponse", "Donnez des conversations"
            )
        trouvees = donnees_personnelles(colonnes_du_fichier(chemin))
        if trouvees and not accepter_personnelles:
            raise ErreurFabrique(
                f"{accorder(len(trouvees), 'donnée personnelle', 'données personnelles')}, la première à l’exemple "
                f"{trouvees[0].rang} ({trouvees[0].regle.removeprefix('personnel.')}) : un modèle "
                "pourrait les réciter",
                "Retirez-les (« fabrique corpus pseudonymiser »)",
            )
    return corpus


def verifier_les_votes(
    depots: Depots, depot: Depot, champ: str, accepter_personnelles: bool
) -> Dataset:
    """Relit un fichier de préférences et le refuse à la première faute.

    Args, Raises: comme ``verifier``.
    """
    chemin = depots.chemin(depot)
    with _au_nom_du_client(depot, champ):
        votes = lire_votes(chemin)
        verifier_votes(votes, chemin, accepter_personnelles)
    return table_des_votes(votes)


def combien(corpus: Dataset, depot: Depot) -> int:
    """Combien d'exemples s'apprendront.

    Raises:
        Refus: moins de dix.
    """
    with _au_nom_du_client(depot, "training_file"):
        appris = len(repartir(corpus, 0)[0])
        if appris < EXEMPLES_MIN:
            raise ErreurFabrique(
                f"{accorder(appris, 'exemple')} : il en faut au moins {EXEMPLES_MIN}", "Ajoutez-en"
            )
    return appris


def reunir(depots: Depots, appris: Depot, validation: Depot | None, sortie: Path) -> None:
    """Écrit le corpus de l'affinage : les exemples, et à quel jeu ils vont s'il y en a deux.

    L'affinage a ainsi sa copie : supprimer le fichier déposé ne le change plus.

    Raises:
        Refus: la colonne « jeu » et un fichier de validation se contredisent.
    """
    if validation is None:
        ecrire_texte(sortie, depots.chemin(appris).read_text(encoding="utf-8-sig"))
        return
    lignes = [
        json.dumps(objet | {"jeu": jeu}, ensure_ascii=False)
        for depot, jeu in ((appris, "entrainement"), (validation, "validation"))
        for objet in _objets(depots.chemin(depot))
    ]
    ecrire_texte(sortie, "\n".join(lignes) + "\n")


def _objets(chemin: Path) -> Iterator[dict]:
    for ligne in chemin.read_text(encoding="utf-8-sig").splitlines():
        if ligne.strip():
            objet = json.loads(ligne)
            if objet.get("jeu"):
                raise Refus(
                    "les exemples disent déjà leur jeu (« jeu »), et un fichier de validation est donné",
                    "Gardez l’un des deux",
                    champ="validation_file",
                    nom="invalid_training_file",
                )
            yield objet


@contextmanager
def _au_nom_du_client(depot: Depot, champ: str) -> Iterator[None]:
    """Dit une erreur de corpus avec le nom que le client a donné au fichier."""
    try:
        yield
    except ErreurFabrique as erreur:
        erreur.fichier = f"« {depot.nom} »"
        raise Refus(
            erreur.phrase, erreur.remede, champ=champ, nom="invalid_training_file"
        ) from erreur
