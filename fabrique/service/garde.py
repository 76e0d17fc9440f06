"""À la porte : la clé, la taille des requêtes, la lenteur des clients."""

from __future__ import annotations

import asyncio
from typing import Any
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from fabrique.service.refus import Refus, en_reponse
from fabrique.service.reglages_service import Cle, ReglagesService
from fabrique.socle.nombres import en_mo

#: L'adresse qui se passe de clé : elle dit si le service est debout, et rien d'autre.
SANTE = "/sante"
#: Combien de fois le délai d'un client on laisse à un corps entier.
CORPS_ENTIER = 10
#: Les noms sous lesquels cette machine s'appelle elle-même.
CHEZ_SOI = ("127.0.0.1", "localhost", "::1")


class Garde:
    """Une couche ASGI, avant tout le reste : rien ne se lit d'une requête qui n'a pas la clé."""

    def __init__(self, application: ASGIApp, reglages: ReglagesService, cle: Cle) -> None:
        self.application, self.reglages, self.cle = application, reglages, cle

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Laisse passer une requête, ou la refuse."""
        if scope["type"] != "http":
            await self.application(scope, receive, send)
            return
        entetes = Headers(scope=scope)
        limite = self.reglages.corps_max[scope["path"].rstrip("/") == "/v1/files"]
        try:
            self._verifier_la_cle(scope["path"], entetes)
            self._verifier_l_origine(entetes)
            annonce = entetes.get("content-length", "0")
            if annonce.isdecimal() and int(annonce) > limite:
                raise _trop_gros(limite)
        except Refus as refus:
            await en_reponse(refus, {"Connection": "close"})(scope, receive, send)
            return
        passage = _Passage(receive, send, limite, self.reglages.delai_client)
        await self.application(scope, passage.recevoir, passage.envoyer)

    def _verifier_la_cle(self, chemin: str, entetes: Headers) -> None:
        if not self.cle or chemin == SANTE:
            return
        genre, _, donnee = entetes.get("authorization", "").partition(" ")
        if genre.casefold() != "bearer" or not self.cle.ouvre(donnee.strip()):
            raise Refus(
                "la clé manque, ou n’est pas la bonne",
                "Donnez celle du service (« Authorization: Bearer … », ou api_key=…)",
                statut=401,
                nom="invalid_api_key",
            )

    def _verifier_l_origine(self, entetes: Headers) -> None:
        """Sans clé, une page web ouverte dans le navigateur ne doit pas pouvoir parler au service.

        Source : OWASP, « Cross-Site Request Forgery Prevention » (en-tête Origin), et « DNS rebinding »
        (en-tête Host).
        """
        if self.cle:
            return
        for nom in ("host", "origin"):
            valeur = entetes.get(nom, CHEZ_SOI[0])
            hote = _hote(valeur if "//" in valeur else f"//{valeur}")
            if hote not in (*CHEZ_SOI, self.reglages.hote):
                raise Refus(
                    "un service sans clé ne répond qu’à cette machine",
                    "Employez l’adresse 127.0.0.1, ou relancez le service avec --cle",
                    statut=403,
                    nom="forbidden_host",
                )


def _hote(adresse: str) -> str | None:
    try:
        return urlsplit(adresse).hostname
    except ValueError:
        return None


def _trop_gros(limite: int) -> Refus:
    return Refus(
        f"la requête est trop grosse : {en_mo(limite)} au plus",
        "Partagez-la en plusieurs",
        statut=413,
        nom="request_too_large",
    )


class _Passage:
    """Une requête qui passe : son corps est compté, et chaque attente bornée.

    Args:
        limite: octets du corps, au plus.
        delai: secondes laissées au client pour envoyer, ou lire, la suite.
    """

    def __init__(self, receive: Receive, send: Send, limite: int, delai: float) -> None:
        self._receive, self._send, self.limite, self.delai = receive, send, limite, delai
        self._lus, self._entier, self._commencee = 0, False, False
        self._refus: Refus | None = None
        self._fin = asyncio.get_running_loop().time() + CORPS_ENTIER * delai

    async def recevoir(self) -> Message:
        """La suite du corps ; un corps trop gros ou trop lent passe pour un client parti."""
        if self._entier:
            return await self._receive()
        if self._refus:
            return {"type": "http.disconnect"}
        try:
            reste = self._fin - asyncio.get_running_loop().time()
            message = await asyncio.wait_for(self._receive(), max(0, min(self.delai, reste)))
        except TimeoutError:
            self._refus = Refus("la requête n’arrive pas", "Réessayez", statut=408, nom="timeout")
            return {"type": "http.disconnect"}
        self._lus += len(message.get("body", b""))
        self._entier = not message.get("more_body", False)
        if self._lus > self.limite:
            self._refus, self._entier = _trop_gros(self.limite), False
            return {"type": "http.disconnect"}
        return message

    async def envoyer(self, message: Message) -> None:
        """La suite de la réponse ; un client qui ne la lit plus est lâché."""
        if self._refus and not self._commencee:
            self._commencee = True
            refus = en_reponse(self._refus, {"Connection": "close"})
            await refus({"type": "http"}, self._receive, self._send)
        elif not self._refus:
            self._commencee = True
            await asyncio.wait_for(self._send(message), self.delai)


class Protocole(H11Protocol):
    """Celui d'uvicorn, qui n'attend pas sans fin l'en-tête d'une requête.

    Args:
        delai: secondes laissées à un client pour l'envoyer en entier.
    """

    def __init__(self, *args: Any, delai: float, **options: Any) -> None:
        super().__init__(*args, **options)
        self.delai = delai
        self._patience: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """Une connexion s'ouvre : sa requête doit venir."""
        super().connection_made(transport)
        self._surveiller()

    def data_received(self, data: bytes) -> None:
        """Des octets arrivent : un en-tête entier arrête la surveillance."""
        super().data_received(data)
        self._surveiller()

    def connection_lost(self, exc: Exception | None) -> None:
        """La connexion se ferme."""
        self._oublier()
        super().connection_lost(exc)

    @property
    def _requete_en_cours(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _surveiller(self) -> None:
        if self._requete_en_cours:
            self._oublier()
        elif self._patience is None:
            self._patience = self.loop.call_later(self.delai, self._couper)

    def _oublier(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None

    def _couper(self) -> None:
        self._patience = None
        if not self._requete_en_cours:
            self.transport.close()
