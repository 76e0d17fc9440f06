"""``/v1/chat/completions`` : la demande d'un client, son attente, sa réponse, entière ou au fil de l'eau."""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

from fastapi import APIRouter, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from fabrique.modeles.gabarits import en_messages
from fabrique.recherche.reponse import Reponse, conclure
from fabrique.service.annotations import (
    Sources,
    decodage_pour_citer,
    en_message,
    verifier_pour_citer,
)
from fabrique.service.attente import Attente
from fabrique.service.demandes import Conversation
from fabrique.service.refus import Refus, en_objet
from fabrique.service.reglages_service import ReglagesService
from fabrique.service.repondeur import Demande, Jeton, Morceau, Repondeur, verifier_le_nom
from fabrique.socle.erreurs import ErreurFabrique
from fabrique.socle.nombres import en_francais

#: Tous les combien on regarde si le client est encore là, en secondes.
REGARDER_S = 0.25
#: Longueur d'un schéma JSON, en caractères : le lire retient les autres demandes.
SCHEMA_MAX = 32_000
#: Ce qui ferme une réponse au fil de l'eau.
FIN_DU_FLUX = "data: [DONE]\n\n"


@dataclass
class Suite:
    """Les morceaux d'une demande, du fil du moteur à la boucle qui répond au client."""

    attendues: int
    boucle: asyncio.AbstractEventLoop = field(default_factory=asyncio.get_running_loop)
    morceaux: asyncio.Queue = field(default_factory=asyncio.Queue)

    def recevoir(self, rang: int, morceau: Morceau | Exception) -> None:
        """Appelée du fil du moteur."""
        try:
            self.boucle.call_soon_threadsafe(self.morceaux.put_nowait, (rang, morceau))
        except RuntimeError:  # la boucle s'est fermée : le service s'arrête
            return

    async def lire(self, parti: Callable[[], Any]) -> AsyncIterator[tuple[int, Morceau]]:
        """Les morceaux, jusqu'à la fin de toutes les réponses ; s'arrête si le client est parti.

        Raises:
            ErreurFabrique: le moteur a refusé ou échoué.
        """
        regarder = time.monotonic() + REGARDER_S
        while self.attendues:
            if time.monotonic() >= regarder:
                if await parti():
                    return
                regarder = time.monotonic() + REGARDER_S
            try:
                rang, morceau = await asyncio.wait_for(self.morceaux.get(), REGARDER_S)
            except TimeoutError:
                continue
            if isinstance(morceau, Exception):
                raise morceau
            self.attendues -= morceau.fin is not None
            yield rang, morceau


def routes(
    attente: Attente, reglages: ReglagesService, sources: Sources | None = None
) -> APIRouter:
    """Les adresses des conversations.

    Args:
        sources: d'après quoi répondre en citant ; None, le modèle répond seul.
    """
    routeur = APIRouter(prefix="/v1")
    moteur = attente.moteur

    @routeur.post("/chat/completions")
    async def converser(corps: Conversation, requete: Request) -> Response:
        """Répond à une conversation."""
        corps.verifier(reglages.lot)
        verifier_le_nom(moteur, corps.model)
        messages = [message.en_message() for message in corps.messages]
        decodages = corps.decodages(reglages.jetons_max)
        await run_in_threadpool(_verifier_le_format, moteur, corps)
        if sources:
            verifier_pour_citer(corps)
            # Trop longue, elle est refusée avant d'être cherchée ; ce qui la précède ne se lit pas.
            await run_in_threadpool(moteur.lire, messages[-1:])
            prete = await run_in_threadpool(sources.preparer, messages[-1]["content"], moteur)
            if prete.motif:
                return _en_un_bloc(Ecrit(corps, 0), conclure(prete, ""))
            messages = en_messages(prete.cherchee, prete.presentees)
            decodages = [decodage_pour_citer(corps, decodages[0], prete)]
        question = await run_in_threadpool(moteur.lire, messages)
        suite = Suite(len(decodages))
        demande = Demande(
            corps.model,
            question,
            decodages,
            suite.recevoir,
            time.monotonic() + reglages.delai_reponse,
        )
        attente.poser(demande)
        ecrit = Ecrit(corps, len(question))
        if sources:
            await _attendre(ecrit, demande, suite, requete)
            return _en_un_bloc(ecrit, conclure(prete, ecrit.texte(0).strip()))
        if corps.stream:
            return AuFilDeLEau(_evenements(ecrit, suite, requete), demande)
        return await _d_un_coup(ecrit, demande, suite, requete)

    return routeur


def _verifier_le_format(moteur: Repondeur, corps: Conversation) -> None:
    """Refuse un schéma qu'on ne saurait pas faire suivre.

    Raises:
        Refus: il nomme ``response_format``.
    """
    if len(corps.grammaire) > SCHEMA_MAX:
        raise Refus(
            "« response_format » : ce schéma est trop long",
            f"Tenez-le en {en_francais(SCHEMA_MAX)} caractères",
            champ="response_format",
        )
    if corps.grammaire:
        try:
            corps.verifier_le_schema()
            moteur.verifier_la_grammaire(corps.grammaire)
        except ErreurFabrique as cause:
            raise Refus(
                f"« response_format » : ce schéma ne peut pas être suivi ; {cause.phrase}",
                cause.remede,
                champ="response_format",
            ) from cause


async def _d_un_coup(ecrit: Ecrit, demande: Demande, suite: Suite, requete: Request) -> Response:
    await _attendre(ecrit, demande, suite, requete)
    return JSONResponse(ecrit.complet())


async def _attendre(ecrit: Ecrit, demande: Demande, suite: Suite, requete: Request) -> None:
    try:
        async for rang, morceau in suite.lire(requete.is_disconnected):
            ecrit.ajouter(rang, morceau)
    finally:
        demande.abandonner()


def _en_un_bloc(ecrit: Ecrit, reponse: Reponse) -> Response:
    """Une réponse sourcée ne part qu'une fois relue : au fil de l'eau aussi, elle vient d'un bloc."""
    message = en_message(reponse)
    if not ecrit.corps.stream:
        return JSONResponse(ecrit.complet(message))
    evenements = [
        ecrit.ouverture(0, message),
        ecrit.suite(0, Morceau("", fin=ecrit.fin(0))),
        *ecrit.compte_demande(),
    ]
    flux = (*map(_evenement, evenements), FIN_DU_FLUX)
    return StreamingResponse(iter(flux), media_type="text/event-stream")


class AuFilDeLEau(StreamingResponse):
    """Une réponse dont chaque morceau part dès qu'il est sûr.

    Si le client cesse de lire, l'erreur naît hors du générateur d'évènements, que Python ne fermerait
    qu'au passage du ramasse-miettes : c'est donc ici qu'on abandonne la demande.
    """

    def __init__(self, evenements: AsyncIterator[str], demande: Demande) -> None:
        super().__init__(evenements, media_type="text/event-stream")
        self.demande = demande

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Envoie la réponse, et libère le moteur quoi qu'il arrive."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self.demande.abandonner()


async def _evenements(ecrit: Ecrit, suite: Suite, requete: Request) -> AsyncIterator[str]:
    """Les évènements d'une réponse, au format SSE : un objet JSON par « data: »."""
    try:
        for rang in range(suite.attendues):
            yield _evenement(ecrit.ouverture(rang))
        async for rang, morceau in suite.lire(requete.is_disconnected):
            ecrit.ajouter(rang, morceau)
            yield _evenement(ecrit.suite(rang, morceau))
        for compte in ecrit.compte_demande():
            yield _evenement(compte)
        yield FIN_DU_FLUX
    except ErreurFabrique as erreur:
        yield _evenement(en_objet(erreur))


def _evenement(objet: dict[str, Any]) -> str:
    return f"data: {json.dumps(objet, ensure_ascii=False)}\n\n"


# ---------------------------------------------------------------- la forme de l'API


class Ecrit:
    """Ce qui a été écrit d'une demande, dans la forme de l'API.

    Source : OpenAI, « API reference », objets « chat.completion » et « chat.completion.chunk ».
    """

    def __init__(self, corps: Conversation, lus: int) -> None:
        self.corps, self.lus = corps, lus
        self.entete = {
            "id": f"chatcmpl-{uuid.uuid4().hex}",
            "created": int(time.time()),
            "model": corps.model,
        }
        self.recus: dict[int, list[Morceau]] = {rang: [] for rang in range(corps.n or 1)}

    def ajouter(self, rang: int, morceau: Morceau) -> None:
        """Garde un morceau."""
        self.recus[rang].append(morceau)

    def compte(self) -> dict[str, int]:
        """Les jetons lus et écrits."""
        ecrits = sum(recus[-1].ecrits for recus in self.recus.values() if recus)
        return {
            "prompt_tokens": self.lus,
            "completion_tokens": ecrits,
            "total_tokens": self.lus + ecrits,
        }

    def compte_demande(self) -> list[dict[str, Any]]:
        """L'évènement qui compte les jetons, si le client l'a demandé."""
        if self.corps.stream_options and self.corps.stream_options.include_usage:
            return [self.morceau([]) | {"usage": self.compte()}]
        return []

    def texte(self, rang: int) -> str:
        """Une réponse, telle que le modèle l'a écrite."""
        return "".join(morceau.texte for morceau in self.recus[rang])

    def fin(self, rang: int) -> str | None:
        """Pourquoi une réponse finit ; une abstention n'a rien demandé au modèle."""
        recus = self.recus[rang]
        return recus[-1].fin if recus else "stop"

    def complet(self, relu: dict[str, Any] | None = None) -> dict[str, Any]:
        """La réponse entière.

        Args:
            relu: ce que les sources en font, à la place du texte du modèle.
        """
        choix = [
            {
                "index": rang,
                "message": {
                    "role": "assistant",
                    "content": self.texte(rang),
                    "refusal": None,
                }
                | (relu or {}),
                "finish_reason": self.fin(rang),
                "logprobs": self._mesures([j for morceau in recus for j in morceau.jetons]),
            }
            for rang, recus in self.recus.items()
        ]
        objet = {"object": "chat.completion", "choices": choix, "usage": self.compte()}
        return self.entete | objet

    def morceau(self, choix: list[dict[str, Any]]) -> dict[str, Any]:
        """Un évènement du fil de l'eau."""
        return self.entete | {"object": "chat.completion.chunk", "choices": choix}

    def ouverture(self, rang: int, relu: dict[str, Any] | None = None) -> dict[str, Any]:
        """Le premier évènement d'une réponse : qui parle, et d'un coup ce que les sources en font."""
        qui = {"role": "assistant", "content": ""} | (relu or {})
        return self.morceau(
            [{"index": rang, "delta": qui, "logprobs": None, "finish_reason": None}]
        )

    def suite(self, rang: int, morceau: Morceau) -> dict[str, Any]:
        """Un évènement qui ajoute du texte, ou finit."""
        return self.morceau(
            [
                {
                    "index": rang,
                    "delta": {"content": morceau.texte} if morceau.texte else {},
                    "logprobs": self._mesures(morceau.jetons),
                    "finish_reason": morceau.fin,
                }
            ]
        )

    def _mesures(self, jetons: list[Jeton] | tuple[Jeton, ...]) -> dict[str, Any] | None:
        if not self.corps.logprobs:
            return None
        return {"content": [_mesure(jeton) for jeton in jetons], "refusal": None}


def _mesure(jeton: Jeton) -> dict[str, Any]:
    concurrents = [_une(texte, valeur) for texte, valeur in jeton.concurrents]
    return _une(jeton.texte, jeton.log_probabilite) | {"top_logprobs": concurrents}


def _une(texte: str, valeur: float) -> dict[str, Any]:
    # Un jeton qui ne porte qu'une part de caractère n'a pas d'octets à montrer.
    octets = None if "\ufffd" in texte else list(texte.encode())
    return {"token": texte, "logprob": max(valeur, -9999.0), "bytes": octets}
