"""L'énergie d'un apprentissage, relevée par codecarbon quand la personne le demande."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from fabrique.socle.erreurs import ErreurFabrique
from fabrique.socle.nombres import en_francais

JOURNAL = logging.getLogger(__name__)


@contextmanager
def energie_relevee(demandee: bool) -> Iterator[None]:
    """Relève l'énergie d'un bloc et dit kWh et CO₂ ; ne fait rien si on ne le demande pas.

    codecarbon lit les compteurs du processeur et du GPU ; là où ils manquent, il estime d'après
    la puissance nominale. Rien n'est envoyé : le facteur d'émission de la France est dans le paquet.

    Raises:
        ErreurFabrique: l'extension ``[carbone]`` n'est pas installée.

    Source : codecarbon, OfflineEmissionsTracker.
    """
    if not demandee:
        yield
        return
    try:
        from codecarbon import OfflineEmissionsTracker
    except ImportError:
        raise ErreurFabrique(
            "le relevé d’énergie n’est pas installé",
            "Tapez « pip install 'fabrique[carbone]' », ou retirez --mesurer_energie",
        ) from None
    logging.getLogger("codecarbon").disabled = True  # il parle anglais
    suivi = OfflineEmissionsTracker(country_iso_code="FRA", save_to_file=False)
    suivi.start()
    try:
        yield
    finally:
        kilos = suivi.stop() or 0.0
    kwh = suivi.final_emissions_data.energy_consumed
    JOURNAL.info(
        f"Énergie  : {en_francais(1000 * kwh, 2)} Wh et {en_francais(1000 * kilos, 2)} g de CO₂ "
        "(codecarbon, France)"
    )
