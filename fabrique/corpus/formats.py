"""Les formats d'exemples : les reconnaître, et les ramener aux formes canoniques.

Trois formes en mémoire : *instructions* (instruction, input, output), *conversations*
(messages) et *fiches* (titre, texte). Chaque format d'origine est une petite fonction qui
rend un ou plusieurs exemples canoniques, sans juger de leur contenu.
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass

#: Colonnes canoniques d'un corpus d'instructions (``systeme`` est facultative).
COLONNES = (
    "id",
    "instruction",
    "input",
    "output",
    "langue",
    "categorie",
    "source",
    "licence",
    "jeu",
)
#: Ce qui accompagne un exemple, quelle que soit sa forme.
METADONNEES = ("langue", "categorie", "source", "licence", "jeu")
#: Colonnes facultatives gardées telles quelles.
ANNEXES = ("systeme", "niveau", "date_verification")
#: Colonnes de chaque forme, hors annexes.
FORMES = {
    "instructions": COLONNES,
    "conversations": ("id", "messages", *METADONNEES),
    "fiches": ("id", "titre", "texte", *METADONNEES),
}

#: Les noms des rôles : ceux d'OpenAI, de ShareGPT, et leurs équivalents français.
ROLES = {
    "system": "system",
    "systeme": "system",
    "user": "user",
    "human": "user",
    "utilisateur": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "chatgpt": "assistant",
}
#: Les noms que d'autres corpus donnent à la demande, au contexte et à la réponse.
DEMANDES = ("instruction", "question", "prompt", "demande")
CONTEXTES = ("input", "context", "contexte")
REPONSES = ("output", "answer", "reponse", "réponse", "response", "completion")


@dataclass(frozen=True)
class Format:
    """Un format d'origine.

    Args:
        nom: celui qu'on montre (« Alpaca », « ShareGPT »…).
        forme: la forme canonique qu'il donne.
        reconnait: dit si un objet est de ce format.
        lire: rend les exemples canoniques d'un objet.
    """

    nom: str
    forme: str
    reconnait: Callable[[dict], bool]
    lire: Callable[[dict], Iterator[dict]]


def _metadonnees(objet: dict) -> dict:
    """Les colonnes communes présentes ; ``instruction_id`` (InstructionFr) sert d'identifiant."""
    gardees = {c: objet[c] for c in ("id", *METADONNEES, *ANNEXES) if objet.get(c) is not None}
    if "id" not in gardees and objet.get("instruction_id"):
        gardees["id"] = objet["instruction_id"]
    return {c: str(v) for c, v in gardees.items()}


def _lire_alpaca(objet: dict) -> Iterator[dict]:
    textes = {c: objet[c] for c in ("instruction", "output") if c in objet}
    yield _metadonnees(objet) | textes | {"input": objet.get("input") or ""}


def _lire_questions(objet: dict) -> Iterator[dict]:
    lus = {"instruction": DEMANDES, "output": REPONSES}
    textes = {c: objet[n] for c, noms in lus.items() for n in noms if n in objet}
    contexte = next((objet[n] for n in CONTEXTES if objet.get(n)), "")
    yield _metadonnees(objet) | textes | {"input": contexte}


def _lire_messages(objet: dict) -> Iterator[dict]:
    yield _metadonnees(objet) | {"messages": _tours(objet["messages"], "role", "content")}


def _lire_sharegpt(objet: dict) -> Iterator[dict]:
    yield _metadonnees(objet) | {"messages": _tours(objet["conversations"], "from", "value")}


def _tours(messages: object, role: str, contenu: str) -> object:
    """Les messages aux rôles canoniques ; ce qui n'en est pas reste tel quel, pour être signalé."""
    if not isinstance(messages, list):
        return messages
    return [
        {"role": ROLES.get(m.get(role), m.get(role)), "content": _en_texte(m.get(contenu))}
        if isinstance(m, dict)
        else m
        for m in messages
    ]


def _en_texte(contenu: object) -> object:
    """Un contenu OpenAI en morceaux de texte devient un seul texte."""
    if isinstance(contenu, list) and all(isinstance(m, dict) and "text" in m for m in contenu):
        return "\n\n".join(m["text"] for m in contenu)
    return contenu


def _lire_squad(objet: dict) -> Iterator[dict]:
    """SQuAD et PIAF : chaque question d'un paragraphe, avec sa première réponse."""
    for article in objet["data"]:
        for paragraphe in article["paragraphs"]:
            for question in paragraphe["qas"]:
                reponses = question.get("answers") or [{"text": ""}]
                yield {
                    "id": str(question.get("id", "")),
                    "instruction": question["question"],
                    "input": paragraphe["context"],
                    "output": reponses[0]["text"],
                    "categorie": str(article.get("title") or ""),
                }


def _lire_fiche(objet: dict) -> Iterator[dict]:
    yield _metadonnees(objet) | {"titre": objet.get("titre") or "", "texte": objet["texte"]}


def _questions(objet: dict) -> bool:
    return any(c in objet for c in DEMANDES[1:]) and any(c in objet for c in REPONSES[1:])


#: Le premier qui reconnaît l'objet le lit ; Alpaca, en dernier, dira les colonnes manquantes.
FORMATS_CONNUS = (
    Format("messages (OpenAI)", "conversations", lambda o: "messages" in o, _lire_messages),
    Format("ShareGPT", "conversations", lambda o: "conversations" in o, _lire_sharegpt),
    Format("SQuAD", "instructions", lambda o: isinstance(o.get("data"), list), _lire_squad),
    Format("InstructionFr", "instructions", lambda o: "instruction_id" in o, _lire_alpaca),
    Format("questions et réponses", "instructions", _questions, _lire_questions),
    Format("fiches", "fiches", lambda o: "texte" in o and "output" not in o, _lire_fiche),
    Format("Alpaca", "instructions", lambda o: True, _lire_alpaca),
)


def reconnaitre(objet: dict) -> Format:
    """Le format d'un objet, d'après ses colonnes."""
    return next(f for f in FORMATS_CONNUS if f.reconnait(objet))


# ---------------------------------------------------------------- les textes d'un exemple

#: Les champs où une personne écrit, par ordre de lecture (hors messages).
CHAMPS = ("systeme", "instruction", "input", "titre", "texte", "output")


def textes(exemple: dict) -> Iterator[tuple[str, str]]:
    """Chaque texte d'un exemple et son champ (« output », « messages[2].content »)."""
    for champ in CHAMPS:
        if isinstance(exemple.get(champ), str):
            yield champ, exemple[champ]
    for rang, message in enumerate(exemple.get("messages") or [], 1):
        if isinstance(message, dict) and isinstance(message.get("content"), str):
            yield f"messages[{rang}].content", message["content"]


def champs_dits(exemple: dict) -> list[str]:
    """Les champs que le modèle apprendra à dire : chaque tour de l'assistant, ou la réponse."""
    if "messages" in exemple:
        roles = [message["role"] for message in exemple["messages"]]
        return [f"messages[{n}].content" for n, role in enumerate(roles, 1) if role == "assistant"]
    return [champ for champ, _ in textes(exemple)][-1:]


def avec_textes(exemple: dict, changer: Callable[[str], str]) -> dict:
    """L'exemple, chacun de ses textes changé ; ``messages`` compris."""
    change = {c: changer(exemple[c]) for c in CHAMPS if isinstance(exemple.get(c), str)}
    if exemple.get("messages"):
        change["messages"] = [m | {"content": changer(m["content"])} for m in exemple["messages"]]
    return exemple | change


def demande(exemple: dict) -> str:
    """Ce que le modèle lira : instruction et contexte, ou tout ce qui précède la dernière réponse."""
    if "messages" in exemple:
        return "\n".join(m["content"] for m in exemple["messages"][:-1])
    return "\n".join(filter(None, (exemple.get(c) for c in ("instruction", "input", "titre"))))


def empreinte_de_la_demande(exemple: dict) -> str:
    """Seize chiffres hexadécimaux qui reconnaissent une demande, blancs, casse et apostrophes à part.

    Écrite à côté de chaque adaptateur : en changer le calcul ferait oublier ce qu'il a appris.
    """
    compose = unicodedata.normalize("NFKC", demande(exemple)).casefold().replace("’", "'")
    return hashlib.sha256(" ".join(compose.split()).encode("utf-8", "replace")).hexdigest()[:16]


def reponse(exemple: dict) -> str:
    """Ce que le modèle apprendra à dire : la dernière réponse, ou le texte d'une fiche."""
    if "messages" in exemple:
        return exemple["messages"][-1]["content"]
    return exemple.get("output") or exemple.get("texte") or ""
