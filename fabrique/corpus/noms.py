"""Les noms de personnes, cherchés en plus des autres données personnelles quand on le demande.

Aucune forme ne dit à coup sûr qu'un mot est un nom : ce mode en manque, et en voit où il n'y en a pas.
``python -m benchmarks.entites`` mesure les deux ; un nom trouvé est donc une alerte, jamais une erreur.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

from fabrique.corpus.personnelles import REGLES, RegleDeDonnee
from fabrique.corpus.reperage import repereur

#: Le nom de la règle, tel qu'un constat le dit.
NOM = "personnel.nom"
#: Ce que d'autres règles ont déjà pris, ou remplacé : on n'y cherche plus rien.
_DEJA_PRIS = re.compile(r"\0+|\[[A-Z_]+_\d+\]")


@dataclass(frozen=True)
class RegleDesNoms:
    """Une règle comme celles de ``personnelles``, dont le moyen est un repérage d'entités.

    Args:
        moyen: celui de ``reperage.repereur`` : « regles », « spacy », ou le dossier d'un modèle.
    """

    moyen: str
    nom: str = NOM
    etiquette: str = "NOM"

    def reperer(self, texte: str, contexte: str = "") -> Iterator[tuple[int, int]]:
        """Début et fin de chaque nom d'un texte aplani."""
        libre = _DEJA_PRIS.sub(lambda pris: "\0" * len(pris.group()), texte)
        for entite in repereur(self.moyen)(libre):
            dit = entite.de(libre)
            # Un nom a deux lettres au moins ; « \0 » dedans, il déborde sur une autre donnée.
            if entite.genre == "personne" and "\0" not in dit and sum(map(str.isalpha, dit)) > 1:
                yield entite.debut, entite.fin


@cache
def avec_les_noms(moyen: str = "") -> tuple[RegleDeDonnee, ...]:
    """Les règles des données personnelles, et celle des noms si l'on donne un moyen de les trouver.

    Raises:
        ErreurFabrique: le moyen n'existe pas, ou n'est pas installé.
    """
    if not moyen:
        return REGLES
    repereur(moyen)  # se plaint maintenant, et non au premier texte
    return (*REGLES, RegleDesNoms(moyen))
