"""``/v1/embeddings`` : des textes à leurs vecteurs, par l'encodeur que le projet livre."""

from __future__ import annotations

import base64
from typing import Annotated, Any, Literal

import numpy as np
from fastapi import APIRouter
from pydantic import Field
from starlette.concurrency import run_in_threadpool

from fabrique.recherche.sens import LIVRE, Statique
from fabrique.service.demandes import DemandeDeTextes
from fabrique.service.refus import Refus

#: Sous quel nom l'encodeur est servi.
NOM = "encodeur-poche"


class DemandeDeVecteurs(DemandeDeTextes):
    """Le corps de ``POST /v1/embeddings``."""

    encoding_format: Literal["float", "base64"] | None = "float"
    dimensions: Annotated[int, Field(ge=1)] | None = None


def routes() -> APIRouter:
    """L'adresse des vecteurs ; l'encodeur, de quelques mégaoctets, est lu d'emblée."""
    routeur = APIRouter(prefix="/v1")
    encodeur = Statique.lire(LIVRE, NOM)

    @routeur.post("/embeddings")
    async def coder(corps: DemandeDeVecteurs) -> dict[str, Any]:
        """Le vecteur de chaque texte, de longueur 1."""
        verifier(corps, encodeur)
        vecteurs, lus = await run_in_threadpool(_coder, encodeur, corps.textes)
        en_base64 = corps.encoding_format == "base64"
        return {
            "object": "list",
            "model": NOM,
            "data": [
                {
                    "object": "embedding",
                    "index": rang,
                    "embedding": _en_base64(vecteur) if en_base64 else vecteur.tolist(),
                }
                for rang, vecteur in enumerate(vecteurs)
            ],
            "usage": {"prompt_tokens": lus, "total_tokens": lus},
        }

    return routeur


def verifier(corps: DemandeDeVecteurs, encodeur: Statique) -> None:
    """Refuse un autre encodeur, ou d'autres dimensions que les siennes.

    Raises:
        Refus: il nomme le champ.
    """
    if corps.model != NOM:
        raise Refus(
            f"« {corps.model} » ne rend pas de vecteurs ici",
            f"Demandez « {NOM} »",
            champ="model",
            statut=404,
            nom="model_not_found",
        )
    rendues = encodeur.vecteurs.shape[1]
    if corps.dimensions not in (None, rendues):
        raise Refus(
            f"« dimensions » : cet encodeur en rend {rendues}, ni plus ni moins",
            "Retirez-le",
            champ="dimensions",
            nom="unsupported_parameter",
        )


def _coder(encodeur: Statique, textes: list[str]) -> tuple[np.ndarray, int]:
    """Les vecteurs (forme : textes × dimensions), et le nombre de morceaux lus."""
    lus = sum(len(code.ids) for code in encodeur.tokenizer.encode_batch(textes))
    return encodeur.questions(textes), lus


def _en_base64(vecteur: np.ndarray) -> str:
    """Les nombres en 32 bits, petit-boutistes, comme le client officiel les relit."""
    return base64.b64encode(vecteur.astype("<f4").tobytes()).decode()
