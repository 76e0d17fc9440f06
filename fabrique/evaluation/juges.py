"""Les juges : un modèle servi à une adresse, ou chargé dans le carnet."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from threading import Thread
from typing import Any, Protocol, TypeVar
from urllib.parse import urlsplit

from openai import APIConnectionError, APIStatusError, APITimeoutError, OpenAI, OpenAIError
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from fabrique.modeles.gabarits import en_messages
from fabrique.modeles.generation import generer
from fabrique.socle.erreurs import ErreurFabrique
from fabrique.socle.nombres import en_duree

T = TypeVar("T")


class Panne(Exception):
    """Le juge n'a pas rendu d'avis : rien à compter, il faudra le lui redemander.

    Args:
        message: ce qui s'est passé, en une phrase sans point final.
        definitive: insister ne servirait à rien (clé refusée, modèle inconnu).
    """

    def __init__(self, message: str, definitive: bool = False) -> None:
        super().__init__(message)
        self.definitive = definitive


class Juge(Protocol):
    """Tout ce qui a un nom et sait répondre à une consigne sur une paire."""

    @property
    def nom(self) -> str:
        """Comment le rapport l'appelle."""
        ...

    def __call__(self, consigne: str, matiere: str) -> str:
        """Le texte du juge, tel quel.

        Raises:
            Panne: aucun texte n'est venu.
        """
        ...


@dataclass(frozen=True)
class JugeDistant:
    """Un modèle servi à une adresse compatible avec celle d'OpenAI.

    Par exemple ``transformers serve``, llama.cpp ou Ollama sur la machine, Albert, Mistral ou
    OpenAI ailleurs. Un juge distant lit les demandes et les réponses : n'envoyez hors de la
    maison que ce qui peut en sortir.

    Args:
        adresse: le début de l'adresse, ``http://localhost:8000/v1`` par exemple.
        modele: le nom que le serveur donne au modèle.
        variable_de_cle: la variable d'environnement où lire le jeton d'accès ; il n'est ni
            imprimé, ni écrit. Un serveur local s'en passe.
        delai: attente maximale d'un avis, nouvelles tentatives comprises, en secondes.
        options: les réglages envoyés avec chaque demande ; certains modèles en refusent.
    """

    adresse: str
    modele: str
    variable_de_cle: str = "FABRIQUE_CLE_JUGE"
    delai: float = 120.0
    options: Mapping[str, object] = field(
        default_factory=lambda: {"temperature": 0, "max_tokens": 500}
    )

    def __post_init__(self) -> None:
        if urlsplit(self.adresse).scheme not in ("http", "https"):
            raise ErreurFabrique(
                "l’adresse ne commence ni par http:// ni par https://",
                "Écrivez-la en entier, http://localhost:8000/v1 par exemple",
            )

    @property
    def nom(self) -> str:
        """Modèle, machine et réglages, sans rien de ce que l'adresse aurait de confidentiel."""
        reglages = "".join(f", {nom} {valeur}" for nom, valeur in sorted(self.options.items()))
        return f"{self.modele} ({urlsplit(self.adresse).hostname}{reglages})"

    def __call__(self, consigne: str, matiere: str) -> str:
        """Pose la question au serveur et rend ce qu'il a écrit, jeton d'accès effacé."""
        cle = os.environ.get(self.variable_de_cle, "").strip() or "sans-cle"
        client = OpenAI(base_url=self.adresse, api_key=cle, timeout=self.delai)
        demande = {
            "model": self.modele,
            "messages": en_messages(consigne, matiere),
            **self.options,
        }
        try:
            reponse = en_moins_de(self.delai, lambda: client.chat.completions.create(**demande))
        except (OpenAIError, ValueError, TimeoutError) as cause:
            raise _panne(cause, self.delai, cle) from None
        finally:
            client.close()
        return _contenu(reponse).replace(cle, "…")


def en_moins_de(delai: float, appel: Callable[[], T]) -> T:
    """Le résultat d'un appel, ou ``TimeoutError`` : un serveur peut parler sans jamais finir."""
    futur: Future[T] = Future()

    def travailler() -> None:
        try:
            futur.set_result(appel())
        except BaseException as cause:  # remise au fil principal, juste en dessous
            futur.set_exception(cause)

    Thread(target=travailler, daemon=True).start()
    return futur.result(timeout=delai)


def _panne(cause: Exception, delai: float, cle: str) -> Panne:
    """Ce qui s'est passé, en une phrase où le jeton d'accès n'est jamais."""
    if isinstance(cause, (APITimeoutError, TimeoutError)):
        return Panne(f"le serveur n’a pas fini de répondre en {en_duree(delai)}")
    if isinstance(cause, UnicodeEncodeError):
        return Panne("la demande, ou le jeton d’accès, porte un caractère impossible à envoyer")
    if isinstance(cause, APIConnectionError):
        return Panne("le serveur est injoignable ou a coupé la connexion")
    if isinstance(cause, APIStatusError):
        dit = str(cause.message).replace(cle, "…")[:200]
        sans_espoir = 400 <= cause.status_code < 500 and cause.status_code not in (408, 409, 429)
        return Panne(f"le serveur refuse (code {cause.status_code}) : {dit}", sans_espoir)
    return Panne("le serveur a répondu un JSON incomplet")


def _contenu(reponse: Any) -> str:
    try:
        contenu = reponse.choices[0].message.content or ""
    except (AttributeError, IndexError, TypeError):
        contenu = None
    if not isinstance(contenu, str):
        raise Panne("le serveur a répondu hors du protocole d’OpenAI")
    return contenu


@dataclass(frozen=True)
class JugeLocal:
    """Un modèle chargé dans le carnet, qui juge sans que rien ne quitte la machine.

    Args:
        nom: ce qui le distingue des autres juges du même journal.
    """

    modele: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    nom: str
    max_new_tokens: int = 300

    def __call__(self, consigne: str, matiere: str) -> str:
        """Fait écrire l'avis par le modèle, sans tirage au sort ni pénalité de répétition."""
        return generer(
            self.modele,
            self.tokenizer,
            consigne,
            matiere,
            max_new_tokens=self.max_new_tokens,
            repetition_penalty=1.0,
            afficher=False,
        )
