"""Les refus du service, dits comme l'API d'OpenAI les dit, mais en français."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from fabrique.socle.erreurs import MACHINE, ErreurFabrique

JOURNAL = logging.getLogger(__name__)

#: Le « type » de l'erreur, par statut ; ailleurs, c'est une requête à corriger.
TYPES: dict[int, str] = {
    HTTPStatus.UNAUTHORIZED: "authentication_error",
    HTTPStatus.TOO_MANY_REQUESTS: "rate_limit_error",
    HTTPStatus.INTERNAL_SERVER_ERROR: "server_error",
    HTTPStatus.SERVICE_UNAVAILABLE: "server_error",
    HTTPStatus.GATEWAY_TIMEOUT: "server_error",
}


@dataclass(eq=False)
class Refus(ErreurFabrique):
    """Une demande que le service ne prend pas.

    Args:
        statut: celui de la réponse HTTP.
        nom: le « code » de l'erreur, que les programmes lisent (« model_not_found »).
        patience: secondes à attendre avant de redemander ; None quand cela n'y changerait rien.
    """

    statut: int = HTTPStatus.BAD_REQUEST
    nom: str | None = None
    patience: int | None = None


def en_objet(erreur: ErreurFabrique) -> dict[str, Any]:
    """L'erreur telle que les clients d'OpenAI la lisent : message, type, param, code."""
    statut = statut_de(erreur)
    sans_champ = f"{erreur.message[:1].upper()}{erreur.message[1:]}."
    if erreur.ligne:
        sans_champ = f"Ligne {erreur.ligne} : {erreur.message}."
    return {
        "error": {
            "message": f"{sans_champ} {erreur.remede}." if erreur.remede else sans_champ,
            "type": TYPES.get(statut, "invalid_request_error"),
            "param": erreur.champ,
            "code": getattr(erreur, "nom", None),
        }
    }


def statut_de(erreur: ErreurFabrique) -> int:
    """Le statut HTTP d'une erreur : le sien, sinon 503 pour la machine, 400 pour le reste."""
    if isinstance(erreur, Refus):
        return erreur.statut
    return HTTPStatus.SERVICE_UNAVAILABLE if erreur.code == MACHINE else HTTPStatus.BAD_REQUEST


def en_reponse(erreur: ErreurFabrique, entetes: Mapping[str, str] | None = None) -> Response:
    """La réponse HTTP d'une erreur ; un demi-caractère de la demande s'y écrit en « \\ud800 »."""
    entetes = dict(entetes or {})
    patience = getattr(erreur, "patience", None)
    if patience is not None:
        entetes["Retry-After"] = str(patience)
    if statut_de(erreur) == HTTPStatus.UNAUTHORIZED:
        entetes["WWW-Authenticate"] = "Bearer"
    return Response(json.dumps(en_objet(erreur)), statut_de(erreur), entetes, "application/json")


# ---------------------------------------------------------------- ce que FastAPI refuse lui-même

#: Ce que dit chaque refus de pydantic ; « {…} » vient de son contexte.
#: Source : documentation de pydantic, « Validation Errors ».
PHRASES = {
    "missing": "il est obligatoire",
    "extra_forbidden": "ce serveur ne connaît pas ce champ",
    "json_invalid": "le corps n’est pas du JSON",
    "string_type": "un texte est attendu",
    "int_type": "un nombre entier est attendu",
    "int_parsing": "un nombre entier est attendu",
    "int_from_float": "un nombre entier est attendu",
    "float_type": "un nombre est attendu",
    "finite_number": "un nombre fini est attendu",
    "bool_type": "true ou false est attendu",
    "list_type": "une liste est attendue",
    "dict_type": "un objet est attendu",
    "model_type": "un objet est attendu",
    "model_attributes_type": "un objet est attendu",
    "greater_than": "la valeur doit dépasser {gt}",
    "greater_than_equal": "la valeur doit être d’au moins {ge}",
    "less_than": "la valeur doit rester sous {lt}",
    "less_than_equal": "la valeur ne doit pas dépasser {le}",
    "too_short": "il en faut au moins {min_length}",
    "too_long": "il en faut au plus {max_length}",
    "string_too_short": "il faut {min_length} caractères ou plus",
    "string_too_long": "il faut au plus {max_length} caractères",
    "string_pattern_mismatch": "la valeur n’a pas la forme attendue ({pattern})",
    "literal_error": "les valeurs permises sont {expected}",
    "enum": "les valeurs permises sont {expected}",
    "union_tag_invalid": "les valeurs permises sont {expected_tags}",
    "value_error": "la valeur ne convient pas",
}

#: Ce que dit un statut quand aucune phrase ne l'accompagne.
STATUTS: dict[int, tuple[str, str]] = {
    HTTPStatus.NOT_FOUND: ("cette adresse n’existe pas sur ce serveur", "unknown_url"),
    HTTPStatus.METHOD_NOT_ALLOWED: (
        "cette adresse n’accepte pas cette méthode",
        "method_not_allowed",
    ),
}


#: Les noms que pydantic donne aux branches d'un champ à plusieurs types.
_BRANCHES = {"str", "int", "float", "bool"}


def _lieu(erreur: Mapping[str, Any]) -> str:
    """« messages.0.content » : où est la faute dans la demande, sans les types de pydantic."""
    morceaux = [str(morceau) for morceau in erreur["loc"][1:]]
    return ".".join(m for m in morceaux if m.replace("_", "").isalnum() and m not in _BRANCHES)


def _de_validation(erreurs: Sequence[Mapping[str, Any]]) -> Refus:
    """Un refus de pydantic, en une phrase ; d'un champ à plusieurs types, celui du bon type.

    Le bon type est celui qui a lu le plus loin : d'une liste de textes, il dit lequel ne va pas.
    """
    retenues = [e for e in erreurs if not e["type"].endswith("_type")] or erreurs
    champ = retenues[0]["loc"][:2]
    meme_champ = [e for e in retenues if e["loc"][:2] == champ]
    premiere = max(meme_champ, key=lambda erreur: len(erreur["loc"]))
    phrase = PHRASES.get(premiere["type"], "la valeur ne convient pas")
    contexte = premiere.get("ctx") or {}
    try:
        phrase = phrase.format(**contexte).replace(" or ", " ou ")
    except (KeyError, IndexError):
        phrase = "la valeur ne convient pas"
    lieu = "" if premiere["type"] == "json_invalid" else _lieu(premiere)
    inconnu = premiere["type"] == "extra_forbidden"
    return Refus(
        f"« {lieu} » : {phrase}" if lieu else phrase,
        "Retirez-le" if inconnu else "",
        champ=lieu or None,
        nom="unknown_parameter" if inconnu else None,
    )


def expliquer_les_refus(application: FastAPI) -> None:
    """Fait dire toutes les erreurs de l'application, les siennes comprises, à la façon d'OpenAI."""

    @application.exception_handler(ErreurFabrique)
    async def _(_: Request, erreur: ErreurFabrique) -> Response:
        return en_reponse(erreur)

    @application.exception_handler(OSError)
    async def _(_: Request, erreur: OSError) -> Response:
        JOURNAL.exception("Le disque a manqué.", exc_info=erreur)
        remede = "Prévenez qui le tient : la place manque peut-être"
        return en_reponse(ErreurFabrique("le disque du service a manqué", remede, code=MACHINE))

    @application.exception_handler(RequestValidationError)
    async def _(_: Request, erreur: RequestValidationError) -> Response:
        return en_reponse(_de_validation(erreur.errors()))

    @application.exception_handler(HTTPException)
    async def _(_: Request, erreur: HTTPException) -> Response:
        phrase, nom = STATUTS.get(erreur.status_code, ("la requête ne se lit pas", ""))
        refus = Refus(phrase, statut=erreur.status_code, nom=nom)
        return en_reponse(refus, erreur.headers)

    @application.exception_handler(Exception)
    async def _(_: Request, erreur: Exception) -> Response:
        return en_reponse(
            Refus(
                "le service a rencontré une erreur imprévue",
                "Regardez son journal, et signalez-la au projet",
                statut=HTTPStatus.INTERNAL_SERVER_ERROR,
            )
        )
