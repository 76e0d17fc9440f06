"""``/v1/classify`` : des textes à leur étiquette, dans la forme de vLLM et de SGLang."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Mapping
from typing import Any

import numpy as np
from fastapi import APIRouter
from starlette.concurrency import run_in_threadpool

from fabrique.modeles.rangeur import Rangeur
from fabrique.service.demandes import DemandeDeTextes
from fabrique.service.refus import Refus


def routes(classifieurs: Mapping[str, Rangeur]) -> APIRouter:
    """L'adresse des classements.

    Args:
        classifieurs: par le nom sous lequel chacun est servi.
    """
    routeur = APIRouter(prefix="/v1")
    un_a_la_fois = threading.Lock()  # un modèle de langage ne se partage pas entre deux fils

    def probabilites(classifieur: Rangeur, textes: list[str]) -> np.ndarray:
        with un_a_la_fois:
            return classifieur.probabilites(textes)

    @routeur.post("/classify")
    async def ranger(corps: DemandeDeTextes) -> dict[str, Any]:
        """L'étiquette la plus probable de chaque texte, et la probabilité de chacune."""
        classifieur = _trouver(classifieurs, corps.model)
        trouvees = await run_in_threadpool(probabilites, classifieur, corps.textes)
        return {
            "id": f"classify-{uuid.uuid4().hex}",
            "object": "list",
            "created": int(time.time()),
            "model": corps.model,
            "labels": list(classifieur.etiquettes),
            "data": [
                {
                    "index": rang,
                    "label": classifieur.etiquettes[rangee.argmax()],
                    "probs": rangee.tolist(),
                    "num_classes": len(rangee),
                }
                for rang, rangee in enumerate(trouvees)
            ],
        }

    return routeur


def _trouver(classifieurs: Mapping[str, Rangeur], nom: str) -> Rangeur:
    if nom in classifieurs:
        return classifieurs[nom]
    raise Refus(
        f"« {nom} » n’est pas un classifieur servi ici",
        f"Choisissez entre {', '.join(f'« {connu} »' for connu in classifieurs)}"
        if classifieurs
        else "Relancez le service avec --classifieur DOSSIER",
        champ="model",
        statut=404,
        nom="model_not_found",
    )
