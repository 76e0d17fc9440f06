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

from fabrique.corpus.sourcees import passages_de, presenter

#: Les trois jeux d'un corpus réparti.
JEUX = ("entrainement", "validation", "test")
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
ANNEXES = ("systeme", "niveau", "date_relecture")
#: Colonnes de chaque forme, hors annexes.
FORMES = {
    "instructions": COLONNES,
    "conversations": ("id", "messages", *METADONNEES),
    "fiches": ("id", "titre", "texte", *METADONNEES),
}

#: Les noms des rôles : ceux d'OpenAI, de ShareGPT, et leurs équivalents français.
ROLES: dict[object, str] = {
    "system": "system",
    "systeme": "system",
    "user": "user",
    "human": "user",
    "utilisateur": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "chatgpt": "assistant",
}
#: Ce qui sépare l'instruction de son contexte dans le message de l'utilisateur.
SEPARATION = "\n\n"
#: Les noms que d'autres corpus donnent à la demande, au contexte, à la réponse et à la consigne.
DEMANDES = ("instruction", "question", "prompt", "demande")
CONTEXTES = ("input", "context", "contexte")
REPONSES = ("output", "answer", "reponse", "réponse", "response", "completion")
CONSIGNES = ("systeme", "système", "system", "system_prompt")
#: Les noms anglais des métadonnées (Dolly et d'autres).
TRADUITES = {"category": "categorie", "license": "licence", "language": "langue"}
#: Ce qu'un message vaut à l'apprentissage, selon les outils : 1 s'il s'apprend, 0 s'il se lit seulement.
POIDS = ("weight", "loss", "train")
#: Tous les noms de colonnes que la lecture comprend.
COLONNES_CONNUES = frozenset(
    (*COLONNES, *ANNEXES, *DEMANDES, *CONTEXTES, *REPONSES, *CONSIGNES, *TRADUITES)
    + ("messages", "conversations", "titre", "texte", "history", "instruction_id")
)


@dataclass(frozen=True)
class Format:
    """Un format d'origine.

    Args:
        nom: celui qu'on montre (« Alpaca », « ShareGPT »…).
        forme: la forme canonique qu'il donne.
        reconnait: dit si un objet est de ce format.
        lire: rend les exemples canoniques d'un objet.
        pris: les champs qu'elle reprend, hors métadonnées.
    """

    nom: str
    forme: str
    reconnait: Callable[[dict], bool]
    lire: Callable[[dict], Iterator[dict]]
    pris: Callable[[dict], set[str | None]]


def vide(valeur: object) -> bool:
    """Vrai d'un champ qui ne dit rien : absent, vide, ou fait de blancs."""
    return valeur is None or valeur in ([], {}) or (isinstance(valeur, str) and not valeur.strip())


def _premier(objet: dict, noms: tuple[str, ...]) -> str | None:
    """Le premier de ces champs qui dit quelque chose, à défaut le premier présent."""
    presents = [nom for nom in noms if nom in objet]
    return next((nom for nom in presents if not vide(objet[nom])), next(iter(presents), None))


def _metadonnees(objet: dict) -> dict:
    """Les colonnes communes présentes ; ``instruction_id`` (InstructionFr) sert d'identifiant."""
    traduits = {fr: objet[en] for en, fr in TRADUITES.items() if objet.get(en) is not None}
    gardees = {c: objet[c] for c in ("id", *METADONNEES, *ANNEXES) if objet.get(c) is not None}
    gardees = traduits | {c: v for c, v in gardees.items() if c not in CONSIGNES}
    if "id" not in gardees and objet.get("instruction_id"):
        gardees["id"] = objet["instruction_id"]
    if "jeu" in gardees:
        gardees["jeu"] = nom_de_jeu(gardees["jeu"])
    return {c: str(v) for c, v in gardees.items()}


def nom_de_jeu(ecrit: object) -> str:
    """Le nom d'un jeu sans blancs, casse ni accents (« Entraînement »), s'il est l'un des trois."""
    nu = unicodedata.normalize("NFD", str(ecrit).strip().casefold())
    nom = "".join(signe for signe in nu if not unicodedata.combining(signe))
    return nom if nom in ("", *JEUX) else str(ecrit)


def _consigne(objet: dict) -> dict:
    """La consigne de système, s'il y en a une."""
    nom = _premier(objet, CONSIGNES)
    return {} if nom is None or vide(objet[nom]) else {"systeme": objet[nom]}


def _lire_alpaca(objet: dict) -> Iterator[dict]:
    textes = {c: objet[c] for c in ("instruction", "output") if c in objet}
    contexte = _premier(objet, CONTEXTES)
    yield _metadonnees(objet) | _consigne(objet) | textes | {"input": objet.get(contexte) or ""}


def _lire_questions(objet: dict) -> Iterator[dict]:
    lus = {"instruction": DEMANDES, "output": REPONSES}
    textes = {c: objet[_premier(objet, noms)] for c, noms in lus.items()}
    contexte = _premier(objet, CONTEXTES)
    yield _metadonnees(objet) | _consigne(objet) | textes | {"input": objet.get(contexte) or ""}


def _lire_historique(objet: dict) -> Iterator[dict]:
    """Une instruction précédée de ses échanges (LLaMA-Factory) : une conversation.

    Raises:
        TypeError: ``history`` n'est pas une liste de paires.
    """
    if not all(
        isinstance(echange, (list, tuple)) and len(echange) == 2 for echange in objet["history"]
    ):
        raise TypeError("history")
    (exemple,) = _lire_questions(objet)
    demande = SEPARATION.join(filter(None, (exemple.pop("instruction"), exemple.pop("input"))))
    messages = _avec_consigne(exemple.pop("systeme", ""), [])
    for question, dite in (*objet["history"], (demande, exemple.pop("output"))):
        messages += [{"role": "user", "content": question}, {"role": "assistant", "content": dite}]
    yield exemple | {"messages": messages}


def _avec_consigne(consigne: object, messages: list) -> list:
    return [{"role": "system", "content": consigne}, *messages] if consigne else messages


def _lire_messages(objet: dict) -> Iterator[dict]:
    yield _lire_tours(objet, "messages", "role", "content")


def _lire_sharegpt(objet: dict) -> Iterator[dict]:
    yield _lire_tours(objet, "conversations", "from", "value")


def _lire_tours(objet: dict, champ: str, role: str, contenu: str) -> dict:
    """Les messages d'une conversation, sa consigne de système en tête."""
    messages = _tours(objet[champ], role, contenu)
    if isinstance(messages, list):
        messages = _avec_consigne(_consigne(objet).get("systeme"), messages)
    return _metadonnees(objet) | {"messages": messages}


def _tours(messages: object, role: str, contenu: str) -> object:
    """Les messages aux rôles canoniques ; ce qui n'en est pas reste tel quel, pour être signalé."""
    if not isinstance(messages, list):
        return messages
    return [
        {"role": ROLES.get(m.get(role), m.get(role)), "content": en_texte(m.get(contenu))}
        | _poids(m)
        if isinstance(m, dict)
        else m
        for m in messages
    ]


def _poids(message: dict) -> dict:
    """Le poids d'un message : 0 ou 1 ; une autre valeur reste telle quelle, pour être refusée."""
    poids = next((message[nom] for nom in POIDS if message.get(nom) is not None), None)
    if poids is None:
        return {}
    return {"weight": int(poids) if poids in (0, 1) else poids}


def en_texte(contenu: object) -> object:
    """Un contenu OpenAI en morceaux de texte devient un seul texte."""
    if isinstance(contenu, list) and all(isinstance(m, dict) and "text" in m for m in contenu):
        return "\n\n".join(m["text"] for m in contenu)
    return contenu


def _lire_squad(objet: dict) -> Iterator[dict]:
    """SQuAD et PIAF : chaque question d'un paragraphe, avec sa première réponse."""
    for article in objet.get("data", [objet]):
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


def _lire_sourcee(objet: dict) -> Iterator[dict]:
    """Une question, les passages où chercher sa réponse, et la réponse qui les cite."""
    montres = presenter((p["titre"], p["texte"]) for p in passages_de(objet))
    for exemple in _lire_questions(objet):
        yield exemple | {"input": montres}


def _lire_fiche(objet: dict) -> Iterator[dict]:
    yield _metadonnees(objet) | {"titre": objet.get("titre") or "", "texte": objet["texte"]}


def _questions(objet: dict) -> bool:
    """Une demande et une réponse ; d'un autre nom qu'Alpaca pour l'une au moins."""
    alpaca = "output" in objet
    return any(c in objet for c in DEMANDES[alpaca:]) and any(c in objet for c in REPONSES[1:])


def _sourcee(objet: dict) -> bool:
    return isinstance(objet.get("passages"), list) and _questions(objet)


def _historique(objet: dict) -> bool:
    demande, dite = _premier(objet, DEMANDES), _premier(objet, REPONSES)
    return demande is not None and dite is not None and isinstance(objet.get("history"), list)


def _article(objet: dict) -> bool:
    return "paragraphs" in objet or isinstance(objet.get("data"), list)


def _fiche(objet: dict) -> bool:
    autre = {"instruction", "output"} & objet.keys()
    return "texte" in objet and not autre


def _pris_instruction(objet: dict) -> set[str | None]:
    return {_premier(objet, noms) for noms in (DEMANDES, CONTEXTES, REPONSES, CONSIGNES)}


#: Le premier qui reconnaît l'objet le lit ; Alpaca, en dernier, dira les colonnes manquantes.
FORMATS_CONNUS = (
    Format(
        "messages (OpenAI)",
        "conversations",
        lambda o: "messages" in o,
        _lire_messages,
        lambda o: {"messages", _premier(o, CONSIGNES)},
    ),
    Format(
        "ShareGPT",
        "conversations",
        lambda o: "conversations" in o,
        _lire_sharegpt,
        lambda o: {"conversations", _premier(o, CONSIGNES)},
    ),
    Format("SQuAD", "instructions", _article, _lire_squad, set),
    Format(
        "Alpaca avec historique",
        "conversations",
        _historique,
        _lire_historique,
        lambda o: {"history"} | _pris_instruction(o),
    ),
    Format(
        "InstructionFr",
        "instructions",
        lambda o: "instruction_id" in o,
        _lire_alpaca,
        lambda o: {"instruction_id"} | _pris_instruction(o),
    ),
    Format(
        "questions et passages",
        "instructions",
        _sourcee,
        _lire_sourcee,
        lambda o: {"passages", "repondable", "fait"} | _pris_instruction(o),
    ),
    Format("questions et réponses", "instructions", _questions, _lire_questions, _pris_instruction),
    Format("fiches", "fiches", _fiche, _lire_fiche, lambda o: {"titre", "texte"}),
    Format("Alpaca", "instructions", lambda o: True, _lire_alpaca, _pris_instruction),
)


def reconnaitre(objet: dict) -> Format:
    """Le format d'un objet, d'après ses colonnes."""
    return next(f for f in FORMATS_CONNUS if f.reconnait(objet))


def non_repris(objet: dict, modele: Format) -> dict:
    """Ce qu'un objet contient et que sa lecture laisse de côté."""
    repris = {"id", *METADONNEES, *ANNEXES, *modele.pris(objet)}
    repris |= {
        en for en, fr in TRADUITES.items() if vide(objet.get(fr)) or objet[fr] == objet.get(en)
    }
    return {str(c): v for c, v in objet.items() if c not in repris and not vide(v)}


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
    """Les champs que le modèle apprendra à dire : chaque tour appris de l'assistant, ou la réponse."""
    if "messages" in exemple:
        return [
            f"messages[{n}].content"
            for n, message in enumerate(exemple["messages"], 1)
            if message["role"] == "assistant" and message.get("weight") != 0
        ]
    return [champ for champ, _ in textes(exemple)][-1:]


def demande(exemple: dict) -> str:
    """Ce que le modèle lira : instruction et contexte, ou tout ce qui précède la dernière réponse."""
    if "messages" in exemple:
        return "\n".join(m["content"] for m in exemple["messages"][:-1])
    return "\n".join(filter(None, (exemple.get(c) for c in ("instruction", "input", "titre"))))


#: Ce qui distingue l'empreinte commune à des demandes jumelles de celle d'une demande.
JUMELLE = "~"


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
