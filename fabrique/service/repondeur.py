"""Ce qu'un moteur de réponse sait faire, et ce qu'on lui demande.

Le service ne connaît que cette page ; transformers (``service/repondeur_transformers``) et llama.cpp
derrière un GGUF (``service/repondeur_gguf``) s'y branchent.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from jinja2 import TemplateError

from fabrique.modeles.adaptateurs import verifier_adaptateur
from fabrique.modeles.contrainte import verifier
from fabrique.modeles.gabarits import coder, composer
from fabrique.service.refus import Refus
from fabrique.socle.erreurs import ErreurFabrique

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class Decodage:
    """Comment écrire une réponse ; les défauts sont ceux de l'API d'OpenAI.

    Args:
        max_tokens: longueur maximale, en jetons.
        temperature: 0 prend toujours le jeton le plus probable ; plus haut, on tire au sort.
        top_p: ne tire que parmi les jetons qui font ensemble cette probabilité.
        graine: rend le tirage reproductible ; None le laisse au hasard.
        arrets: la réponse s'arrête avant le premier de ces textes.
        candidats: combien de jetons décrire à chaque place, en plus de celui qui est pris ; None
            n'en décrit aucun.
        grammaire: ce que la réponse peut être, dans le langage de Lark (``modeles.contrainte``) ;
            vide, tout.
    """

    max_tokens: int
    temperature: float = 1.0
    top_p: float = 1.0
    graine: int | None = None
    arrets: tuple[str, ...] = ()
    candidats: int | None = None
    grammaire: str = ""


@dataclass(frozen=True)
class Jeton:
    """Un jeton écrit, sa log-probabilité (nats, à température 1) et celles de ses concurrents."""

    texte: str
    log_probabilite: float
    concurrents: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True)
class Morceau:
    """Ce qui s'ajoute à une réponse ; le dernier morceau dit pourquoi elle finit.

    Args:
        fin: « stop » (jeton de fin, ou texte d'arrêt) ou « length » (longueur atteinte).
        ecrits: jetons écrits depuis le début de la réponse.
    """

    texte: str
    jetons: tuple[Jeton, ...] = ()
    fin: str | None = None
    ecrits: int = 0


@dataclass(eq=False)
class Ligne:
    """Une réponse à écrire.

    Args:
        question: les jetons lus par le modèle.
        recevoir: appelée à chaque morceau, dans le fil du moteur.
        interrompue: vrai quand personne n'attend plus ; le moteur le regarde entre deux jetons.
    """

    question: list[int]
    decodage: Decodage
    recevoir: Callable[[Morceau], None]
    interrompue: Callable[[], bool]


@dataclass(eq=False)
class Demande:
    """Ce qu'un client demande : une ou plusieurs réponses du même modèle.

    Args:
        recevoir: reçoit le rang de la réponse et son morceau, ou l'erreur qui les arrête toutes.
        echeance: l'instant (``time.monotonic``) après lequel on n'écrit plus.
    """

    modele: str
    question: list[int]
    decodages: Sequence[Decodage]
    recevoir: Callable[[int, Morceau | Exception], None]
    echeance: float
    abandonnee: bool = False
    lignes: list[Ligne] = field(init=False)

    def __post_init__(self) -> None:
        self.lignes = [
            Ligne(self.question, decodage, self._pour(rang), self.interrompue)
            for rang, decodage in enumerate(self.decodages)
        ]

    def _pour(self, rang: int) -> Callable[[Morceau], None]:
        return lambda morceau: self.recevoir(rang, morceau)

    def abandonner(self) -> None:
        """Le client est parti : le moteur s'arrêtera au prochain jeton."""
        self.abandonnee = True

    @property
    def perimee(self) -> bool:
        """Vrai quand le temps de la demande est passé."""
        return time.monotonic() > self.echeance

    def interrompue(self) -> bool:
        """Vrai quand personne n'attend plus : client parti, ou temps passé."""
        return self.abandonnee or self.perimee

    def refuser(self, erreur: Exception) -> None:
        """Dit au client que ses réponses ne viendront pas."""
        self.recevoir(0, erreur)


class Repondeur(Protocol):
    """Une base et ses adaptateurs, qui répondent par leur nom."""

    #: Qui écrit, tel qu'on le nomme.
    qui: str
    #: Le nom public de la base.
    base: str
    #: Vrai s'il sait servir un adaptateur : on peut alors affiner.
    affine: bool

    def noms(self) -> list[str]:
        """Les modèles servis : la base, puis les adaptateurs."""

    def inscrire(self, nom: str, dossier: Path) -> None:
        """Sert un adaptateur sous un nom ; il se charge quand on l'emploie."""

    def lire(self, messages: list[dict[str, str]]) -> list[int]:
        """Les jetons d'une conversation, gabarit compris, jusqu'à l'appel à répondre.

        Raises:
            ErreurFabrique: la conversation ne tient pas dans la fenêtre, ou le gabarit la refuse.
        """

    def place(self, question: list[int]) -> int:
        """Combien de jetons il reste pour répondre."""

    def verifier_la_grammaire(self, grammaire: str) -> None:
        """Refuse une grammaire que le moteur ne suivrait pas.

        Raises:
            ErreurFabrique: elle ne se comprend pas.
        """

    def ecrire(self, nom: str, lignes: Sequence[Ligne]) -> None:
        """Écrit des réponses ensemble, jusqu'à la dernière ; chaque morceau part dès qu'il est sûr."""


#: Un tokenizer rapide ne se partage pas entre deux fils.
_LECTURE = threading.Lock()


def jetons_de(tokenizer: PreTrainedTokenizerBase, messages: list[dict[str, str]]) -> list[int]:
    """Les jetons d'une conversation, gabarit compris, jusqu'à l'appel à répondre.

    Raises:
        ErreurFabrique: demi-caractère, ou suite de rôles que le gabarit refuse.
    """
    try:
        with _LECTURE:
            return coder(composer(tokenizer, messages), tokenizer)
    except TemplateError as cause:
        raise Refus(
            "le gabarit de ce modèle n’accepte pas cette suite de rôles",
            "Alternez user et assistant, et finissez par user",
            champ="messages",
        ) from cause


def verifier_pour(tokenizer: PreTrainedTokenizerBase, grammaire: str) -> None:
    """Refuse une grammaire que llguidance ne comprend pas.

    Raises:
        ErreurFabrique: elle ne se comprend pas.
    """
    with _LECTURE:
        verifier(tokenizer, grammaire)


@contextmanager
def trop_longue() -> Iterator[None]:
    """Dit comme l'API une question qui ne tient pas dans la fenêtre."""
    try:
        yield
    except ErreurFabrique as cause:
        raise Refus(
            cause.message, cause.remede, champ="messages", nom="context_length_exceeded"
        ) from cause


class BaseEtAdaptateurs:
    """Ce que servent les moteurs qui savent affiner : une base, et des adaptateurs par leur nom.

    Args:
        base: le nom public de la base.
    """

    affine = True

    def __init__(self, base: str) -> None:
        self.base = base
        self._dossiers: dict[str, Path] = {}

    def noms(self) -> list[str]:
        """La base, puis les adaptateurs, dans l'ordre où ils sont venus."""
        return [self.base, *self._dossiers]

    def inscrire(self, nom: str, dossier: Path) -> None:
        """Sert un adaptateur sous un nom, après avoir vérifié qu'il se lit et qu'il sert.

        Raises:
            ErreurFabrique: ce nom est déjà servi, ou l'adaptateur ne sert pas.
        """
        if nom in self.noms():
            raise ErreurFabrique(
                f"deux modèles s’appelleraient « {nom} »", "Renommez le dossier de l’un", dossier
            )
        verifier_adaptateur(dossier)
        self._dossiers[nom] = dossier


def verifier_le_nom(moteur: Repondeur, nom: str) -> None:
    """Refuse un modèle que le service n'a pas.

    Raises:
        Refus: 404 ; le remède cite ceux qu'il a.
    """
    noms = moteur.noms()
    if nom not in noms:
        cites = ", ".join(f"« {connu} »" for connu in noms[:5]) + ("…" if len(noms) > 5 else "")
        raise Refus(
            f"le modèle « {nom} » n’est pas servi ici",
            f"Choisissez entre {cites} (GET /v1/models)",
            champ="model",
            statut=404,
            nom="model_not_found",
        )
