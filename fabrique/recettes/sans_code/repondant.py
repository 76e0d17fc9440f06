"""Le modèle qui répond dans la page : chargé à la première question, rendu avant tout apprentissage."""

from __future__ import annotations

import gc
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from fabrique.machine.profil import merite_le_texte_libre
from fabrique.recherche.abstention import FAUSSES_REPONSES

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from fabrique.recherche.reponse import Reponse


class Repondant:
    """Un modèle en mémoire, au plus ; une question à la fois."""

    def __init__(self) -> None:
        self._verrou = threading.Lock()
        self._charge: tuple[tuple[str, str], PreTrainedTokenizerBase, PreTrainedModel] | None = None

    def repondre(
        self,
        index: Path,
        question: str,
        modele: str,
        adaptateur: str,
        fausses_reponses: float = FAUSSES_REPONSES,
        precedente: Reponse | None = None,
    ) -> Reponse:
        """Répond d'après un index, comme ``fabrique repondre``, sans recharger ce qui l'est déjà.

        Raises:
            ErreurFabrique: l'index ou l'adaptateur ne sert pas.
        """
        from fabrique.recherche.index import Index
        from fabrique.recherche.reponse import repondre

        lu = Index.lire(index)
        with self._verrou:
            tokenizer, reseau = self._pret(modele, adaptateur)
            return repondre(
                reseau,
                tokenizer,
                question,
                lu,
                precedente=precedente,
                fausses_reponses=fausses_reponses,
                texte_libre=merite_le_texte_libre(modele),
            )

    def _pret(
        self, modele: str, adaptateur: str
    ) -> tuple[PreTrainedTokenizerBase, PreTrainedModel]:
        if self._charge is None or self._charge[0] != (modele, adaptateur):
            from fabrique.modeles.adaptateurs import charger_adaptateur, verifier_adaptateur
            from fabrique.modeles.chargement import charger

            self._rendre()
            if adaptateur:
                verifier_adaptateur(adaptateur)
            tokenizer, reseau = charger(modele, silencieux=True)
            if adaptateur:
                reseau = charger_adaptateur(reseau, adaptateur)
            self._charge = (modele, adaptateur), tokenizer, reseau
        return self._charge[1:]

    def liberer(self) -> None:
        """Rend la mémoire du modèle, la réponse en cours finie."""
        with self._verrou:
            self._rendre()

    def _rendre(self) -> None:
        if self._charge is None:
            return
        self._charge = None
        gc.collect()
        from accelerate.utils.memory import clear_device_cache

        clear_device_cache()
