"""llama.cpp pour une base qui s'affine : chaque modèle s'exporte la première fois qu'on l'emploie.

Une base et ses adaptateurs répondent par leur nom, comme avec transformers ; mais chacun est d'abord
fusionné, écrit en GGUF, relu et comparé à transformers (``service/export``), puis ouvert par llama.cpp.
"""

from __future__ import annotations

import shutil
from collections import OrderedDict
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from fabrique.service.export import exporter_gguf
from fabrique.service.reglages_service import LLAMA_CPP
from fabrique.service.repondeur import BaseEtAdaptateurs, Ligne
from fabrique.service.repondeur_gguf import RepondeurGguf

#: En 16 bits, l'export vérifie un écart de 0,01 nat au plus ; avec moins de bits, des mots changent.
TYPE = "f16"
#: Modèles ouverts à la fois ; au-delà, le plus anciennement employé se ferme.
OUVERTS = 4
#: Les fichiers exportés ne durent que le temps du service, dans son dossier.
EXPORTS = ".gguf-"


class RepondeurExporte(BaseEtAdaptateurs):
    """Répond avec llama.cpp, base et adaptateurs.

    ``ecrire`` ne s'appelle que d'un fil à la fois : celui de la file d'attente.

    Args:
        modele: la base, telle qu'on la donne à ``charger``.
        base: son nom public.
        racine: le dossier du service.
        places: combien de réponses avancent ensemble.

    Raises:
        ErreurFabrique: extension absente, ou base que le format GGUF ne prend pas.
    """

    qui = LLAMA_CPP

    def __init__(
        self, modele: str, base: str, revision: str | None, racine: Path, places: int
    ) -> None:
        super().__init__(base)
        self._racine, self._places = racine, places
        self._exporter = partial(exporter_gguf, modele, type=TYPE, revision=revision)
        self._ouverts: OrderedDict[str, tuple[RepondeurGguf, ExitStack]] = OrderedDict()
        for reste in racine.glob(f"{EXPORTS}*"):  # d'un service tué
            shutil.rmtree(reste)
        # La base lit pour tous : ses adaptateurs ont son tokenizer et sa fenêtre.
        self._lecteur, self._lieu = self._ouvrir(None)

    def lire(self, messages: list[dict[str, str]]) -> list[int]:
        """Les jetons d'une conversation, découpés par le tokenizer d'origine."""
        return self._lecteur.lire(messages)

    def place(self, question: list[int]) -> int:
        """Combien de jetons il reste pour répondre."""
        return self._lecteur.place(question)

    def verifier_la_grammaire(self, grammaire: str) -> None:
        """Refuse une grammaire que llguidance ne comprend pas."""
        self._lecteur.verifier_la_grammaire(grammaire)

    def ecrire(self, nom: str, lignes: Sequence[Ligne]) -> None:
        """Écrit des réponses ensemble, que llama.cpp regroupe lui-même."""
        self._celui_de(nom).ecrire(nom, lignes)

    def _celui_de(self, nom: str) -> RepondeurGguf:
        if nom == self.base:
            return self._lecteur
        if nom not in self._ouverts:
            self._ouverts[nom] = self._ouvrir(self._dossiers[nom])
        self._ouverts.move_to_end(nom)
        if len(self._ouverts) > OUVERTS:
            _, (_, ancien) = self._ouverts.popitem(last=False)
            ancien.close()
        return self._ouverts[nom][0]

    def _ouvrir(self, adaptateur: Path | None) -> tuple[RepondeurGguf, ExitStack]:
        """Exporte un modèle et l'ouvre ; et ce qui, fermé, rend sa mémoire et son fichier."""
        with ExitStack() as tenus:
            lieu = tenus.enter_context(TemporaryDirectory(prefix=EXPORTS, dir=self._racine))
            fichier = self._exporter(lieu, adaptateur=adaptateur).fichier
            ouvert = RepondeurGguf(fichier, self._places, self.base)
            tenus.callback(ouvert.fermer)
            return ouvert, tenus.pop_all()
