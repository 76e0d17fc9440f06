"""Les modèles du cours : où ils sont, à quelle révision, sous quelle licence."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

from fabrique.socle.emplacements import FALCON_POCHE
from fabrique.socle.erreurs import ErreurFabrique

JOURNAL = logging.getLogger(__name__)


@dataclass(frozen=True)
class Entree:
    """Une entrée du catalogue : où est le modèle, à quelle révision, sous quelle licence.

    ``pickle`` accepte des poids ``.bin``, lus avec ``weights_only``, quand la présence de
    safetensors à cette révision n'a pas pu être vérifiée.
    """

    depot: str
    revision: str | None
    licence: str
    pickle: bool = False

    @property
    def est_un_gguf(self) -> bool:
        """Vrai pour un fichier GGUF, celui de llama.cpp et d'Ollama."""
        return self.depot.endswith(".gguf")


#: Les modèles du cours. Chaque révision du hub est figée.
CATALOGUE = {
    "falcon-poche": Entree(str(FALCON_POCHE), None, "Apache-2.0"),
    "falcon-7b": Entree(
        "tiiuae/falcon-7b", "ec89142b67d748a1865ea4451372db8313ada0d8", "Apache-2.0", pickle=True
    ),
    "falcon-7b-instruct": Entree(
        "tiiuae/falcon-7b-instruct",
        "8782b5c5d8c9290412416618f36a133653e85285",
        "Apache-2.0",
        pickle=True,
    ),
}
#: Noms que la commande de 2023 employait, ramenés au catalogue.
SYNONYMES = {"falcon-7b-4bit": "falcon-7b", "falcon-7b-instruct-4bit": "falcon-7b-instruct"}


def trouver(modele: str | Path, revision: str | None = None, quoi: str = "modèle") -> Entree:
    """L'entrée du catalogue, le dossier, le fichier GGUF ou le dépôt du hub désigné par ``modele``.

    Args:
        quoi: ce qu'on y cherche, pour le dire quand on ne le trouve pas.
    """
    nom = SYNONYMES.get(str(modele), str(modele))
    if nom in CATALOGUE:
        return CATALOGUE[nom]
    if Path(nom).is_dir() or (nom.endswith(".gguf") and Path(nom).is_file()):
        return Entree(nom, None, "inconnue")
    if nom.count("/") == 1 and not nom.startswith((".", "/", "~")):
        if revision is None:
            raise ErreurFabrique(
                f"« {nom} » vient du hub et sa révision n’est pas figée",
                "Donnez l’empreinte exacte avec revision=… (--revision), ou un dossier local",
            )
        return Entree(nom, revision, "inconnue")
    raise ErreurFabrique(
        f"le {quoi} « {nom} » est inconnu : ni nom du catalogue, ni dossier, ni identifiant du hub",
        f"Choisissez entre {', '.join(CATALOGUE)}, ou donnez un dossier existant",
    )


def choisir_poids(modele: str, poids: str) -> str:
    """Le modèle à charger quand la commande de 2023 nomme aussi ses poids (``--weights``).

    Un modèle du catalogue garde les siens, à leur révision figée : le fichier GPTQ de 2023
    n'est plus nécessaire, la quantification se fait au chargement.
    """
    entree = CATALOGUE.get(SYNONYMES.get(modele, modele))
    if entree and (poids == entree.depot or poids.endswith((".safetensors", ".bin", ".pt"))):
        JOURNAL.warning(f"--weights est ignoré : « {modele} » vient du catalogue avec ses poids.")
        return modele
    return poids or modele


def nom_public(depot: str) -> str:
    """Le nom sous lequel citer un modèle : catalogue ou hub, jamais un chemin de machine."""
    for nom, entree in CATALOGUE.items():
        if entree.depot == depot:
            return depot if entree.revision else nom
    return Path(depot).name if Path(depot).exists() else depot
