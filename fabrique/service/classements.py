"""``/v1/classify`` : des textes à leur étiquette, par les classifieurs que l'on sert."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Mapping
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter
from pydantic import Field
from starlette.concurrency import run_in_threadpool

from fabrique.modeles.rangeur import Rangeur
from fabrique.service.demandes import Strict
from fabrique.service.refus import Refus

#: Textes d'une demande, au plus : comme pour les vecteurs.
TEXTES_MAX = 2048

Texte = Annotated[str, Field(min_length=1)]


class DemandeDeClassement(Strict):
    """Le corps de ``POST /v1/classify``, dans la forme de vLLM et de SGLang."""

    model: str
    input: Texte | Annotated[list[Texte], Field(min_length=1, max_length=TEXTES_MAX)]
    user: str | None = None

    @property
    def textes(self) -> list[str]:
        """Les textes, même s'il n'y en a qu'un."""
        return [self.input] if isinstance(self.input, str) else self.input


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
    async def ranger(corps: DemandeDeClassement) -> dict[str, Any]:
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
