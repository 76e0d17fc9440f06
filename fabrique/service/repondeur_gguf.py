"""Le moteur de llama.cpp derrière le service : un fichier GGUF, plusieurs réponses à la fois."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from fabrique.modeles.generation import place_dans
from fabrique.service.moteur import Moteur
from fabrique.service.reglages_service import LLAMA_CPP
from fabrique.service.repondeur import (
    Jeton,
    Ligne,
    Morceau,
    jetons_de,
    trop_longue,
    verifier_pour,
)
from fabrique.socle.erreurs import ErreurFabrique

#: La graine que llama.cpp réserve au hasard.
AU_HASARD = 2**32 - 1


class RepondeurGguf:
    """Répond avec llama.cpp. Un GGUF porte son adaptateur, fusionné à l'export : il n'en prend pas d'autre.

    Args:
        fichier: le GGUF.
        places: combien de réponses avancent ensemble.
        base: le nom public de ce qu'il porte ; par défaut, celui du fichier.
    """

    qui, affine = LLAMA_CPP, False

    def __init__(self, fichier: Path, places: int, base: str = "") -> None:
        self._moteur = Moteur(fichier, places=places)
        self.base = base or fichier.stem

    def fermer(self) -> None:
        """Rend la mémoire."""
        self._moteur.fermer()

    def noms(self) -> list[str]:
        """Le seul modèle servi."""
        return [self.base]

    def inscrire(self, nom: str, dossier: Path) -> None:
        """Refuse : llama.cpp ne lit pas les adaptateurs de peft.

        Raises:
            ErreurFabrique: toujours.
        """
        raise ErreurFabrique(
            "un fichier GGUF ne prend pas d’adaptateur",
            "Fusionnez-le à l’export (fabrique exporter --adaptateur), ou servez la base d’origine",
            dossier,
        )

    def lire(self, messages: list[dict[str, str]]) -> list[int]:
        """Les jetons d'une conversation, découpés par le tokenizer d'origine."""
        question = jetons_de(self._moteur.tokenizer, messages)
        with trop_longue():
            self.place(question)
        return question

    def place(self, question: list[int]) -> int:
        """Combien de jetons il reste pour répondre."""
        return place_dans(self._moteur.fenetre, len(question))

    def verifier_la_grammaire(self, grammaire: str) -> None:
        """Refuse une grammaire que llguidance, celui de llama.cpp aussi, ne comprend pas."""
        verifier_pour(self._moteur.tokenizer, grammaire)

    def ecrire(self, nom: str, lignes: Sequence[Ligne]) -> None:
        """Écrit des réponses ensemble : un fil par réponse, que llama.cpp regroupe lui-même."""
        with ThreadPoolExecutor(len(lignes)) as fils:
            list(fils.map(self._ecrire_une, lignes))

    def _ecrire_une(self, ligne: Ligne) -> None:
        reglages = ligne.decodage

        def au_fil(texte: str) -> bool:
            ligne.recevoir(Morceau(texte))
            return ligne.interrompue()

        ecrit = self._moteur.continuer(
            ligne.question,
            max_new_tokens=reglages.max_tokens,
            temperature=reglages.temperature,
            top_p=reglages.top_p,
            graine=None if reglages.graine is None else reglages.graine % AU_HASARD,
            fins=reglages.arrets,
            grammaire=reglages.grammaire,
            # llama.cpp ne dit la probabilité d'un jeton qu'avec ses concurrents.
            probabilites=0 if reglages.candidats is None else max(1, reglages.candidats),
            au_fil=au_fil,
        )
        jetons = tuple(_jeton(dit, reglages.candidats) for dit in ecrit.probables)
        if ecrit.raison != "annule":
            ligne.recevoir(Morceau("", jetons, ecrit.raison, len(ecrit.jetons)))


def _jeton(dit: Mapping, candidats: int | None) -> Jeton:
    concurrents = dit["top_logprobs"][: candidats or 0]
    return Jeton(
        dit["token"], dit["logprob"], tuple((un["token"], un["logprob"]) for un in concurrents)
    )
