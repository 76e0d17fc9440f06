"""La file d'attente : les demandes qui attendent le même modèle s'écrivent ensemble."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections import deque

from accelerate.utils.memory import clear_device_cache, should_reduce_batch_size

from fabrique.service.refus import Refus
from fabrique.service.repondeur import Demande, Repondeur
from fabrique.socle.erreurs import ErreurFabrique

JOURNAL = logging.getLogger(__name__)

#: Ce qu'on attend des clients partis en même temps, avant d'écrire leur lot.
RASSEMBLER_S = 0.01


class Attente:
    """Une file bornée, et le seul fil qui fait écrire le moteur.

    Args:
        lot: réponses écrites ensemble, au plus.
        file_max: demandes en attente, au plus.
    """

    def __init__(self, moteur: Repondeur, lot: int, file_max: int) -> None:
        self.moteur, self.lot, self.file_max = moteur, lot, file_max
        self._file: deque[Demande] = deque()
        self._en_cours: list[Demande] = []
        self._du_nouveau = threading.Condition()
        self._fermee = False
        self._duree_d_un_lot = 1.0  # secondes, en moyenne glissante
        self._fil = threading.Thread(target=self._ecrire_les_lots, name="moteur", daemon=True)
        self._fil.start()

    def __len__(self) -> int:
        return len(self._file)

    def poser(self, demande: Demande) -> None:
        """Met une demande dans la file.

        Raises:
            Refus: la file est pleine (429) ; ``patience`` estime quand revenir.
        """
        with self._du_nouveau:
            self._oublier_les_partis()
            if len(self._file) >= self.file_max:
                raise Refus(
                    f"{len(self._file)} demandes attendent déjà",
                    "Réessayez un peu plus tard (en-tête Retry-After)",
                    statut=429,
                    nom="rate_limit_exceeded",
                    patience=self._patience(),
                )
            self._file.append(demande)
            self._du_nouveau.notify()

    def fermer(self) -> None:
        """Interrompt ce qui s'écrit et rend le fil."""
        with self._du_nouveau:
            self._fermee = True
            for demande in self._en_cours:
                demande.abandonner()
            self._du_nouveau.notify()
        self._fil.join(timeout=10)

    def _patience(self) -> int:
        """Secondes avant qu'une place se libère, d'après les derniers lots ; une au moins."""
        return max(1, math.ceil(self._duree_d_un_lot))

    # ------------------------------------------------------------ le fil du moteur

    def _ecrire_les_lots(self) -> None:
        while not self._fermee:
            self._attendre()
            with self._du_nouveau:
                self._en_cours = self._prendre()
            if self._en_cours:
                self._ecrire(self._en_cours)
        for demande in self._file:
            _conclure(demande, Refus("le service s’arrête", "Relancez-le", statut=503))

    def _attendre(self) -> None:
        with self._du_nouveau:
            self._du_nouveau.wait_for(lambda: self._file or self._fermee)
        time.sleep(RASSEMBLER_S)

    def _ecrire(self, lot: list[Demande]) -> None:
        debut, erreur = time.monotonic(), None
        try:
            self.moteur.ecrire(lot[0].modele, [ligne for d in lot for ligne in d.lignes])
        except Exception as cause:  # le fil doit survivre à tout
            erreur = _en_refus(cause)
        for demande in lot:
            _conclure(demande, erreur)
        self._duree_d_un_lot = (self._duree_d_un_lot + time.monotonic() - debut) / 2

    def _prendre(self) -> list[Demande]:
        """Retire de la file la première demande, et les suivantes du même modèle, dans la place d'un lot."""
        self._oublier_les_partis()
        pris: list[Demande] = []
        places = 0
        for demande in self._file:
            if demande.modele != self._file[0].modele:
                continue
            places += len(demande.lignes)
            if pris and places > self.lot:
                break
            pris.append(demande)
        self._file = deque(demande for demande in self._file if demande not in pris)
        return pris

    def _oublier_les_partis(self) -> None:
        for demande in [d for d in self._file if d.interrompue()]:
            self._file.remove(demande)
            _conclure(demande, None)


def _conclure(demande: Demande, erreur: Exception | None) -> None:
    """Dit l'erreur, ou le temps passé ; une réponse complète n'a rien à dire de plus."""
    if erreur is None and demande.perimee and not demande.abandonnee:
        erreur = Refus(
            "la réponse n’a pas tenu dans le temps laissé à une demande",
            "Demandez moins de jetons (max_tokens), ou réessayez quand le service est moins occupé",
            statut=504,
            nom="timeout",
        )
    if erreur is not None:
        demande.refuser(erreur)


def _en_refus(cause: Exception) -> ErreurFabrique:
    """L'erreur du moteur, dite au client ; la trace va au journal."""
    if isinstance(cause, ErreurFabrique):
        return cause
    if isinstance(cause, MemoryError) or should_reduce_batch_size(cause):
        clear_device_cache(garbage_collection=True)
        return Refus(
            "la mémoire n’a pas suffi pour ces réponses",
            "Raccourcissez la question ou max_tokens ; ou relancez le service avec un --lot plus petit",
            statut=503,
            nom="out_of_memory",
        )
    JOURNAL.exception("Le moteur a échoué.", exc_info=cause)
    return Refus("le moteur a échoué", "Regardez le journal du service", statut=500)
