"""Un juge qui ne sait pas rédiger d'avis : on lui fait compléter le sien, et l'on compare.

Un petit modèle n'écrit pas le JSON qu'on lui demande. On peut encore lire ce qu'il penserait :
lequel de deux avis tout faits, « A » ou « B », juge-t-il le plus probable ?
Source : Liu et al., 2023 (G-Eval, arXiv:2303.16634), pour la note lue dans les probabilités.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from fabrique.evaluation.choix import QuestionFermee, choisir
from fabrique.evaluation.grille import Critere

#: Une seule question : un petit modèle n'en tient pas quatre à la fois.
GRILLE_BREVE = (Critere("pertinence", "Quelle réponse traite le mieux la demande ?"),)


@dataclass(frozen=True)
class JugeForce:
    """Un modèle du carnet, contraint de choisir entre « A » et « B ».

    Args:
        nom: ce qui le distingue des autres juges du même journal.
        grille: celle de la course ; le choix est reporté sur chacun de ses critères.
        cutoff_len: longueur maximale de la question, en jetons.
    """

    modele: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    nom: str
    grille: Sequence[Critere] = GRILLE_BREVE
    cutoff_len: int = 1024

    def __call__(self, consigne: str, matiere: str) -> str:
        """L'avis le plus probable des deux, au format demandé."""
        avis = [self._avis(place) for place in "AB"]
        question = QuestionFermee(consigne, tuple(avis), bonne=0, input=matiere)
        rang = choisir(self.modele, self.tokenizer, [question], cutoff_len=self.cutoff_len)[0]
        return avis[rang]

    def _avis(self, gagnant: str) -> str:
        criteres = {critere.nom: gagnant for critere in self.grille}
        return json.dumps(
            {"raison": "choix forcé", "criteres": criteres, "gagnant": gagnant}, ensure_ascii=False
        )
