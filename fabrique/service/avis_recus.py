"""``/v1/avis`` : les pouces des usagers, gardés ici, les données personnelles reconnues remplacées.

L'API d'OpenAI n'a pas d'adresse pour cela : celle-ci est la nôtre. Le fichier se donne tel quel à
« fabrique preferer ».
"""

from __future__ import annotations

import threading
from http import HTTPStatus
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import Field

from fabrique.corpus.personnelles import Pseudonymes
from fabrique.service.demandes import Message, Strict
from fabrique.service.refus import Refus
from fabrique.socle.emplacements import ajouter_ligne

#: Le fichier des avis, dans le dossier du service ; et ce qu'il en garde, au plus.
FICHIER, AVIS_MAX = "avis.jsonl", 100_000


class AvisDonne(Strict):
    """Le corps de ``POST /v1/avis`` : une conversation qui finit par la réponse jugée, et un pouce."""

    messages: Annotated[list[Message], Field(min_length=2, max_length=1000)]
    bon: bool


class AvisRecus:
    """Les avis d'un service ; ils lui survivent.

    Args:
        fichier: un avis par ligne : ``prompt``, ``completion``, ``label``.
    """

    def __init__(self, fichier: Path) -> None:
        self.fichier = fichier
        self._verrou = threading.Lock()
        self.nombre = fichier.read_bytes().count(b"\n") if fichier.exists() else 0

    def garder(self, avis: AvisDonne) -> int:
        """Ajoute un avis, ses données personnelles remplacées ; rend combien l'ont été.

        Raises:
            Refus: la conversation ne finit pas par une réponse à un usager, ou le fichier est plein.
        """
        messages = [message.en_message() for message in avis.messages]
        if [message["role"] for message in messages[-2:]] != ["user", "assistant"]:
            raise Refus(
                "la conversation doit finir par une question de l’usager, puis la réponse jugée",
                "Renvoyez les messages, et la réponse en dernier",
                champ="messages",
            )
        pseudonymes = Pseudonymes()
        contexte = "\n".join(message["content"] for message in messages)
        *prompt, reponse = pseudonymes.remplacer_partout(messages, contexte)
        with self._verrou:
            if self.nombre >= AVIS_MAX:
                raise Refus(
                    f"{AVIS_MAX} avis sont déjà gardés",
                    f"Rangez ailleurs le fichier {FICHIER} du service, et relancez-le",
                    statut=HTTPStatus.TOO_MANY_REQUESTS,
                    nom="rate_limit_exceeded",
                )
            ajouter_ligne(
                self.fichier, {"prompt": prompt, "completion": [reponse], "label": avis.bon}
            )
            self.nombre += 1
        return sum(pseudonymes.comptes.values())


def routes(recus: AvisRecus) -> APIRouter:
    """L'adresse des avis."""
    routeur = APIRouter(prefix="/v1/avis")

    @routeur.post("")
    def donner(corps: AvisDonne) -> dict[str, Any]:
        """Garde un pouce ; dit combien de données personnelles ont été remplacées."""
        remplacees = recus.garder(corps)
        return {"object": "avis", "garde": True, "remplacees": remplacees}

    return routeur
