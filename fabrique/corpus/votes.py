"""Des préférences entre réponses : les lire et les écrire, quel que soit l'outil qui les a notées.

Deux formes en mémoire : la *paire* (une question, la réponse choisie, la réponse écartée) et
l'*avis* (une question, une réponse, un pouce levé ou baissé). Ce qui ne peut pas se prendre est
refusé d'une phrase, avec sa ligne et son champ.

Sources : documentation de TRL (« Dataset formats »), et de l'affinage par préférences d'OpenAI.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice, takewhile
from pathlib import Path
from typing import Any, TypeAlias

from datasets import Dataset

from fabrique.corpus.fichiers import Ligne
from fabrique.corpus.formats import JEUX, ROLES, en_texte, nom_de_jeu, vide
from fabrique.corpus.lecture import ouvrir, repartir
from fabrique.corpus.structure import entier, montrer
from fabrique.modeles.gabarits import en_messages
from fabrique.socle.erreurs import ErreurFabrique

JOURNAL = logging.getLogger(__name__)

Messages: TypeAlias = list[dict[str, str]]


@dataclass(frozen=True)
class Origine:
    """D'où vient une préférence.

    Args:
        id: son identifiant ; à défaut, son rang.
        ligne: la ligne du fichier, depuis 1.
        jeu: « entrainement », « validation », « test », ou rien.
        critere: ce que la réponse choisie fait mieux (« cite sa source »…).
        annotateur: qui a choisi, ou quelle sorte d'annotateur.
        source: ce qui a servi à l'écrire.
        position: la place où la réponse choisie était montrée, 1 ou 2 ; 0 si on ne le sait pas.
    """

    id: str = ""
    ligne: int = 0
    jeu: str = ""
    critere: str = ""
    annotateur: str = ""
    source: str = ""
    position: int = 0


@dataclass(frozen=True)
class Vote:
    """Ce que des réponses à une question ont reçu.

    Args:
        messages: la question, consigne et tours précédents compris ; elle finit par l'usager.
        origine: d'où cela vient.
    """

    messages: Messages
    origine: Origine = field(default_factory=Origine, kw_only=True)

    @property
    def question(self) -> str:
        """Tout ce que le modèle lira, d'un seul tenant."""
        return "\n".join(message["content"] for message in self.messages)

    @property
    def dites(self) -> tuple[tuple[str, str], ...]:
        """Chaque réponse, précédée du nom de son champ."""
        raise NotImplementedError


@dataclass(frozen=True)
class Preference(Vote):
    """Une question, la réponse qu'on lui préfère, et celle qu'on écarte."""

    choisie: str
    ecartee: str

    @property
    def dites(self) -> tuple[tuple[str, str], ...]:
        """La réponse choisie, puis l'écartée."""
        return ("chosen", self.choisie), ("rejected", self.ecartee)


@dataclass(frozen=True)
class Avis(Vote):
    """Une question, une réponse, et ce qu'on en pense : ``bon`` est vrai d'un pouce levé."""

    reponse: str
    bon: bool

    @property
    def dites(self) -> tuple[tuple[str, str], ...]:
        """La réponse jugée."""
        return (("completion", self.reponse),)


class Refus(Exception):
    """Pourquoi un objet n'est pas une préférence : le message, le remède, le champ."""

    def __init__(self, message: str, remede: str, champ: str | None = None) -> None:
        super().__init__(message, remede, champ)
        self.message, self.remede, self.champ = message, remede, champ


# ---------------------------------------------------------------- lire


def lire_votes(source: str | Path | Dataset) -> list[Vote]:
    """Lit un corpus de préférences.

    Args:
        source: nom d'un corpus livré, ou chemin d'un fichier. Formats reconnus : TRL (``prompt``,
            ``chosen``, ``rejected``, textes ou messages ; ``prompt``, ``completion``, ``label``),
            OpenAI (``input``, ``preferred_output``, ``non_preferred_output``), le nôtre
            (``instruction``, ``input``, ``chosen``, ``rejected``), et le fichier de la lecture à
            l'aveugle.

    Returns:
        Des ``Preference``, ou des ``Avis`` : un fichier ne mêle pas les deux.

    Raises:
        ErreurFabrique: fichier illisible, ligne qui n'est pas une préférence, ou mélange.
    """
    chemin, lignes = ouvrir(source)
    votes, laissees = [], dict[str, None]()
    for rang, ligne in enumerate(lignes, 1):
        votes.append(lire_une_ligne(ligne, rang, chemin))
        laissees |= dict.fromkeys(colonnes_laissees(ligne.contenu))
    if not votes:
        raise ErreurFabrique("aucune préférence", "Donnez-en au moins une", chemin)
    for vote in votes:
        if type(vote) is not type(votes[0]):
            raise ErreurFabrique(MELANGE, SEPARER, chemin, ligne=vote.origine.ligne)
    if laissees:
        JOURNAL.warning(f"{chemin} : colonnes laissées de côté : {', '.join(laissees)}.")
    return votes


MELANGE = "le fichier mêle des paires et des avis isolés"
SEPARER = "Séparez-les en deux fichiers : ils ne s’apprennent pas de la même façon"


def est_un_fichier_de_votes(source: str | Path | Dataset) -> bool:
    """Vrai si la première ligne lisible d'un corpus compare deux réponses, ou en juge une.

    Un fichier qui ne se lit pas n'en est pas un : qui le lira en entier dira pourquoi.
    """
    _, lignes = ouvrir(source)
    objets = (ligne.contenu for ligne in lignes if isinstance(ligne.contenu, dict))
    with suppress(ErreurFabrique):
        return any(format_du_vote(objet) for objet in islice(objets, 1))
    return False


def lire_une_ligne(ligne: Ligne, rang: int, chemin: Path) -> Vote:
    """Une préférence, ou l'erreur qui dit pourquoi ce n'en est pas une.

    Raises:
        ErreurFabrique: la ligne ne se lit pas, ou n'est pas une préférence.
    """
    if ligne.erreur:
        raise ligne.erreur
    try:
        return _lire_objet(ligne.contenu, rang, ligne.numero)
    except Refus as refus:
        raise ErreurFabrique(
            refus.message, refus.remede, chemin, ligne.numero, refus.champ
        ) from None


def _lire_objet(objet: object, rang: int, ligne: int) -> Vote:
    if not isinstance(objet, dict):
        raise Refus("une préférence doit être un objet {…}", "Réparez cette ligne")
    connu = format_du_vote(objet)
    if connu is None:
        raise _pas_une_preference(objet)
    for champ in SANS_TEXTE:
        if not vide(objet.get(champ)) or not vide(_dans(objet, "input").get(champ)):
            raise Refus(
                f"« {champ} » ne s’apprend pas ici : nous n’apprenons que du texte",
                "Retirez ce champ, ou cette ligne",
                champ,
            )
    return connu.lire(objet, _origine(objet, rang, ligne))


#: Des champs qui changeraient ce qu'on apprend, et que nous ne savons pas reprendre.
SANS_TEXTE = ("tools", "functions", "tool_calls", "function_call", "images", "audio")


def _pas_une_preference(objet: dict) -> Refus:
    if objet.get("preference") == 0 and "reponses" in objet:
        return Refus(
            "une égalité n’apprend rien : aucune des deux réponses n’est préférée",
            "Retirez cette ligne ; les égalités servent à mesurer l’accord des lecteurs",
            "preference",
        )
    return Refus(
        "ce n’est pas une préférence : il y manque les réponses comparées",
        "Donnez prompt, chosen et rejected ; ou prompt, completion et label",
    )


def _dans(objet: dict, champ: str) -> dict:
    valeur = objet.get(champ)
    return valeur if isinstance(valeur, dict) else {}


def _origine(objet: dict, rang: int, ligne: int) -> Origine:
    jeu = nom_de_jeu(objet.get("jeu") or "")
    if jeu not in ("", *JEUX):
        raise Refus(
            f"le jeu « {montrer(jeu)} » n’existe pas",
            f"Écrivez {', '.join(JEUX)}, ou laissez la colonne vide",
            "jeu",
        )
    return Origine(
        id=str(objet.get("id") or rang),
        ligne=ligne,
        jeu=jeu,
        **{c: _texte(objet.get(c) or "", c) for c in ("critere", "annotateur", "source")},
        position=_position(objet),
    )


def _position(objet: dict) -> int:
    """La place de la réponse choisie : dite, ou déduite de la lecture à l'aveugle."""
    if objet.get("position") in (1, 2):
        return objet["position"]
    vu, choisi = objet.get("modele_vu_en_premier"), objet.get("modele_choisi")
    return 0 if vide(vu) or vide(choisi) else 1 if vu == choisi else 2


# ---------------------------------------------------------------- les formats


#: Les champs des deux réponses, la choisie d'abord.
_DE_TRL, _D_OPENAI = ("chosen", "rejected"), ("preferred_output", "non_preferred_output")


def _paire(question: Messages, choisie: str, ecartee: str, origine: Origine) -> Preference:
    if choisie.strip() == ecartee.strip():
        raise Refus(
            "les deux réponses sont les mêmes : il n’y a rien à préférer",
            "Retirez cette ligne",
            "rejected",
        )
    return Preference(_posee(question), choisie, ecartee, origine=origine)


def _posee(question: Messages) -> Messages:
    if question[-1]["role"] != "user":
        raise Refus(
            "la question ne finit pas par un message de l’usager",
            "Donnez la question seule dans prompt ; les réponses viennent à part",
            "prompt",
        )
    return question


def _lire_openai(objet: dict, origine: Origine) -> Preference:
    question = _conversation(_dans(objet, "input").get("messages"), "input.messages")
    choisie, ecartee = (_reponse(objet[c], c) for c in _D_OPENAI)
    return _paire(question, choisie, ecartee, origine)


def _lire_trl(objet: dict, origine: Origine) -> Preference:
    if "prompt" not in objet and isinstance(objet["chosen"], list):
        return _lire_implicite(objet, origine)
    question = _question(objet)
    choisie, ecartee = (_reponse(objet[c], c) for c in _DE_TRL)
    return _paire(question, choisie, ecartee, origine)


def _lire_implicite(objet: dict, origine: Origine) -> Preference:
    """Deux conversations entières : la question est leur début commun."""
    entieres = [_conversation(objet[champ], champ) for champ in _DE_TRL]
    communs = [un for un, _ in takewhile(lambda d: d[0] == d[1], zip(*entieres, strict=False))]
    restes = [conversation[len(communs) :] for conversation in entieres]
    if not communs or any(len(r) != 1 or r[0]["role"] != "assistant" for r in restes):
        raise Refus(
            "les deux conversations ne diffèrent pas par leur seule dernière réponse",
            "Donnez la question dans prompt, et une réponse dans chosen et dans rejected",
            "chosen",
        )
    return _paire(communs, restes[0][0]["content"], restes[1][0]["content"], origine)


def _lire_instruction(objet: dict, origine: Origine) -> Preference:
    textes = {c: _texte(objet.get(c) or "", c) for c in ("instruction", "input", "systeme")}
    if not textes["instruction"].strip():
        raise Refus("la question est vide", REMPLIR, "instruction")
    choisie, ecartee = (_reponse(objet[c], c) for c in _DE_TRL)
    return _paire(en_messages(**textes), choisie, ecartee, origine)


def _lire_avis(objet: dict, origine: Origine) -> Avis:
    question, dite = _posee(_question(objet)), _reponse(objet["completion"], "completion")
    if not isinstance(objet["label"], bool):
        raise Refus(
            f"l’avis doit être true ou false, et non « {montrer(str(objet['label']))} »",
            "Écrivez true pour un pouce levé, false pour un pouce baissé",
            "label",
        )
    return Avis(question, dite, objet["label"], origine=origine)


@dataclass(frozen=True)
class FormatDeVote:
    """Un format : les champs qui le font reconnaître, ceux qu'il prend en plus, et comment il se lit."""

    champs: tuple[str, ...]
    lire: Callable[[dict, Origine], Vote]
    autres: tuple[str, ...] = ()


#: Le premier dont tous les champs sont là lit la ligne.
FORMATS_DE_VOTE = (
    FormatDeVote(("input", *_D_OPENAI), _lire_openai),
    FormatDeVote(("instruction", *_DE_TRL), _lire_instruction, ("input", "systeme")),
    FormatDeVote(_DE_TRL, _lire_trl, ("prompt",)),
    FormatDeVote(("prompt", "completion", "label"), _lire_avis),
)
#: Ce qu'on reprend en plus, dans tous les formats.
COMMUNS = ("id", "jeu", "critere", "annotateur", "source", "position")
#: Ce que la lecture à l'aveugle note en plus ; la place s'en déduit.
DE_LA_LECTURE = ("modele_vu_en_premier", "modele_choisi")


def format_du_vote(objet: dict) -> FormatDeVote | None:
    """Le format d'un objet, d'après ses champs ; None si ce n'est pas une préférence."""
    return next((f for f in FORMATS_DE_VOTE if set(f.champs) <= objet.keys()), None)


def colonnes_laissees(objet: object) -> list[str]:
    """Les colonnes d'une préférence que la lecture ne reprend pas, et qui disent quelque chose."""
    if not isinstance(objet, dict) or (connu := format_du_vote(objet)) is None:
        return []
    prises = {*connu.champs, *connu.autres, *COMMUNS, *DE_LA_LECTURE}
    return [montrer(str(c)) for c, v in objet.items() if c not in prises and not vide(v)]


REMPLIR = "Remplissez-la, ou retirez cette ligne"


def _question(objet: dict) -> Messages:
    question = objet.get("prompt")
    if vide(question):
        raise Refus("la question est vide", REMPLIR, "prompt")
    if isinstance(question, str):
        return en_messages(_texte(question, "prompt"))
    return _conversation(question, "prompt")


def _conversation(messages: object, champ: str) -> Messages:
    if not isinstance(messages, list) or not messages:
        raise Refus("ce n’est pas une liste de messages", "Donnez role et content à chacun", champ)
    return [_message(message, rang, champ) for rang, message in enumerate(messages, 1)]


def _message(message: object, rang: int, champ: str) -> dict[str, str]:
    role = ROLES.get(message.get("role")) if isinstance(message, dict) else None
    if role is None:
        raise Refus(
            f"le message {rang} n’a pas un rôle connu",
            "Les rôles sont system, user et assistant",
            champ,
        )
    assert isinstance(message, dict)
    perdu = next((c for c in SANS_TEXTE if not vide(message.get(c))), None)
    if perdu:
        raise Refus(
            f"le message {rang} porte « {perdu} » : nous n’apprenons que du texte",
            "Retirez cette ligne",
            champ,
        )
    return {"role": role, "content": _texte(en_texte(message.get("content")), champ)}


def _reponse(valeur: object, champ: str) -> str:
    """Le texte d'une réponse, écrite telle quelle ou comme un message de l'assistant."""
    if isinstance(valeur, list):
        messages = _conversation(valeur, champ)
        if len(messages) != 1 or messages[0]["role"] != "assistant":
            raise Refus(
                "la réponse doit tenir en un seul message de l’assistant",
                "Mettez les tours précédents dans la question",
                champ,
            )
        valeur = messages[0]["content"]
    texte = _texte(valeur, champ)
    if not texte.strip():
        raise Refus("la réponse est vide", REMPLIR, champ)
    return texte


def _texte(valeur: object, champ: str) -> str:
    if not isinstance(valeur, str):
        raise Refus("ce n’est pas du texte", "Écrivez-le entre guillemets", champ)
    if entier(valeur) != valeur:
        raise Refus(
            "le texte contient un demi-caractère Unicode (U+D800 à U+DFFF), illisible",
            "Réenregistrez le fichier en UTF-8 depuis son logiciel d’origine",
            champ,
        )
    return valeur


# ---------------------------------------------------------------- les jeux


def repartir_votes(
    votes: Sequence[Vote], validation: float, graine: int = 42
) -> tuple[list[Vote], list[Vote]]:
    """Répartit des préférences entre entraînement et validation, sans partager une question.

    Args, Raises: ceux de ``corpus.repartir``.
    """
    cotes = repartir(table_des_votes(votes), validation, graine)
    appris, gardes = ([votes[rang] for rang in cote["rang"]] for cote in cotes)
    return appris, gardes


def table_des_votes(votes: Sequence[Vote]) -> Dataset:
    """Une rangée par préférence : sa question, son jeu, son rang depuis 0."""
    return Dataset.from_dict(
        {
            "instruction": [vote.question for vote in votes],
            "jeu": [vote.origine.jeu for vote in votes],
            "rang": list(range(len(votes))),
        }
    )


def votes_du_jeu(votes: Sequence[Vote], nom: str) -> list[Vote]:
    """Les préférences d'un jeu : « entrainement », « validation » ou « test »."""
    return [vote for vote in votes if vote.origine.jeu == nom]


# ---------------------------------------------------------------- convertir


def convertir_votes(
    entree: str | Path, format: str, sans_metadonnees: bool = False
) -> list[dict[str, Any]]:
    """Met des préférences au format d'un autre outil, sans rien perdre.

    Args:
        format: « trl » (messages), « openai » (paires seulement), ou « preferences » (le nôtre :
            ``prompt``, ``chosen`` et ``rejected`` en texte).
        sans_metadonnees: laisse de côté ce qui accompagne les réponses.

    Returns:
        Les préférences, l'une après l'autre, prêtes à écrire.

    Raises:
        ErreurFabrique: format inconnu, ou qui perdrait quelque chose.
    """
    if format not in ECRITURES:
        raise ErreurFabrique(
            f"des préférences ne s’écrivent pas au format « {format} »",
            f"Choisissez entre {', '.join(ECRITURES)}",
            champ="--format",
        )
    chemin, lignes = ouvrir(entree)
    ecrits = []
    for rang, ligne in enumerate(lignes, 1):
        vote = lire_une_ligne(ligne, rang, chemin)
        annexes = {} if sans_metadonnees else _annexes(vote.origine, rang)
        perdues = [] if sans_metadonnees else colonnes_laissees(ligne.contenu)
        if format == "openai":
            perdues += annexes
        if perdues:
            raise ErreurFabrique(
                f"le format « {format} » n’a pas de place pour : {', '.join(perdues)}",
                "Ajoutez --sans_metadonnees",
                chemin,
                ligne=vote.origine.ligne,
            )
        try:
            ecrits.append(ECRITURES[format](vote) | annexes)
        except Refus as refus:
            raise ErreurFabrique(
                refus.message, refus.remede, chemin, vote.origine.ligne, refus.champ
            ) from None
    return ecrits


def _annexes(origine: Origine, rang: int) -> dict[str, Any]:
    """Ce qui accompagne une préférence, sans ce qui est vide ni un simple numéro."""
    siennes = {champ: getattr(origine, champ) for champ in COMMUNS}
    return {c: v for c, v in siennes.items() if v and (c, v) != ("id", str(rang))}


def _dit(texte: str) -> Messages:
    return [{"role": "assistant", "content": texte}]


def _vers_trl(vote: Vote) -> dict:
    dites: dict[str, Any] = {champ: _dit(texte) for champ, texte in vote.dites}
    return {"prompt": vote.messages, **dites} | _label(vote)


def _vers_preferences(vote: Vote) -> dict:
    if len(vote.messages) > 1:
        raise Refus(
            "une question de plusieurs messages ne tient pas dans un texte",
            "Choisissez --format trl",
            "prompt",
        )
    return {"prompt": vote.messages[0]["content"], **dict(vote.dites)} | _label(vote)


def _label(vote: Vote) -> dict[str, bool]:
    return {"label": vote.bon} if isinstance(vote, Avis) else {}


def _vers_openai(vote: Vote) -> dict:
    if not isinstance(vote, Preference):
        raise Refus(
            "OpenAI compare deux réponses, et ne prend pas d’avis isolé",
            "Choisissez --format trl",
            "label",
        )
    return {
        "input": {"messages": vote.messages},
        "preferred_output": _dit(vote.choisie),
        "non_preferred_output": _dit(vote.ecartee),
    }


ECRITURES: Mapping[str, Callable[[Vote], dict]] = {
    "trl": _vers_trl,
    "openai": _vers_openai,
    "preferences": _vers_preferences,
}


# ---------------------------------------------------------------- fabriquer des paires


def paires_selon(
    critere: Callable[[str, str], float],
    reponses: Sequence[tuple[Messages, Sequence[str]]],
    nom: str,
) -> Iterator[Preference]:
    """Fait d'une règle des préférences : la réponse la mieux notée l'emporte sur la moins bien notée.

    Args:
        critere: la note d'une réponse, de la question et de la réponse ; plus haut, c'est mieux.
        reponses: des questions, et les réponses à comparer.
        nom: le nom de la règle, écrit dans « critere ».

    Yields:
        Une paire par question dont les notes diffèrent.
    """
    for rang, (messages, dites) in enumerate(reponses, 1):
        notees = sorted(dites, key=lambda dite: critere(messages[-1]["content"], dite))
        if critere(messages[-1]["content"], notees[0]) < critere(
            messages[-1]["content"], notees[-1]
        ):
            origine = Origine(id=str(rang), critere=nom, annotateur="règle")
            yield Preference(messages, notees[-1], notees[0], origine=origine)


def plus_courte(question: str, reponse: str) -> float:
    """La règle « la plus courte l'emporte », en signes."""
    return -len(reponse)
