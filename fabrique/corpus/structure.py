"""Ce qu'il faut à un exemple pour servir : des champs présents, du texte dedans, des rôles dans l'ordre."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from fabrique.corpus.constats import Alerte
from fabrique.corpus.formats import (
    ANNEXES,
    CONTEXTES,
    DEMANDES,
    JEUX,
    METADONNEES,
    POIDS,
    REPONSES,
    Format,
    non_repris,
    textes,
    vide,
)
from fabrique.corpus.personnelles import masquer

#: Les champs sans lesquels un exemple ne sert à rien, par forme.
OBLIGATOIRES = {
    "instructions": ("instruction", "output"),
    "conversations": ("messages",),
    "fiches": ("texte",),
}


@dataclass(frozen=True)
class Defaut:
    """Un défaut de structure : sa règle, son champ, ce qui ne va pas, ce qu'il faut faire."""

    regle: str
    champ: str
    message: str
    remede: str


def defauts(exemple: dict, forme: str, colonnes: list[str]) -> Iterator[Defaut]:
    """Tous les défauts de structure d'un exemple canonique.

    Args:
        exemple: l'exemple, tel que ``formats`` le rend.
        forme: « instructions », « conversations » ou « fiches ».
        colonnes: les colonnes de l'objet d'origine, citées quand il en manque une.
    """
    for champ in OBLIGATOIRES[forme]:
        if champ not in exemple:
            yield Defaut(
                "structure.colonne",
                champ,
                f"la colonne « {champ} » manque (colonnes lues : {montrer(', '.join(colonnes), 200) or 'aucune'})",
                "Nommez les colonnes « instruction », « input » (facultative) et « output »",
            )
        elif champ != "messages" and not _texte(exemple[champ]):
            yield Defaut(
                "structure.vide",
                champ,
                "le texte est vide ou n’en est pas un",
                "Complétez-le, ou retirez l’exemple",
            )
    if "messages" in exemple:
        yield from _defauts_messages(exemple["messages"])
    yield from _demi_caracteres(exemple)
    for champ in ("input", "titre"):
        if not isinstance(exemple.get(champ, ""), str):
            yield Defaut(
                "structure.type", champ, "ce n’est pas un texte", "Écrivez-le entre guillemets"
            )
    if exemple.get("jeu", "") not in ("", *JEUX):
        yield Defaut(
            "structure.jeu",
            "jeu",
            f"le jeu « {montrer(exemple['jeu'])} » n’existe pas",
            f"Écrivez {', '.join(JEUX)}, ou laissez la colonne vide",
        )


def _demi_caracteres(exemple: dict) -> Iterator[Defaut]:
    """Chaque champ qui porte un demi-caractère."""
    accompagnent = (
        (c, exemple.get(c) or "") for c in ("id", *METADONNEES, *ANNEXES) if c != "systeme"
    )
    for champ, texte in (*textes(exemple), *accompagnent):
        if entier(texte) != texte:
            yield Defaut(
                "encodage.demi_caractere",
                champ,
                "le texte contient un demi-caractère Unicode (U+D800 à U+DFFF), illisible",
                "Réenregistrez le fichier en UTF-8 depuis son logiciel d’origine",
            )


# ---------------------------------------------------------------- les champs que la lecture ne reprend pas

#: Des champs qui changent ce qu'on apprend, et que nous ne savons pas reprendre.
REFUSES = {
    **dict.fromkeys(
        ("tools", "functions", "function", "tool_calls", "function_call"),
        "des appels à des outils : nos exemples n’ont que du texte",
    ),
    **dict.fromkeys(
        ("chosen", "rejected"),
        "une préférence entre deux réponses : elle s’apprend par « fabrique preferer », et non en l’imitant",
    ),
    "history": "des échanges qui précèdent, mais ce n’est pas une liste de paires [question, réponse]",
}
#: Les champs qui disent, par vrai ou faux, si une réponse est bonne ; d'autre chose, ils se laissent.
AVIS, VRAI_OU_FAUX = ("label", "kto_tag"), ("true", "false", "vrai", "faux")
UN_AVIS = (
    "un avis sur la réponse, bonne ou mauvaise : il s’apprend par « fabrique preferer », et non en "
    "l’imitant"
)
_PRECEDENCE = ((DEMANDES, "la demande"), (CONTEXTES, "le contexte"), (REPONSES, "la réponse"))
_RETIRER = "Retirez ce champ si vous n’en avez pas besoin, ou récrivez l’exemple avec lui"


def champs_refuses(objet: dict, modele: Format) -> Iterator[Defaut]:
    """Les champs d'origine qui changeraient ce qu'on apprend, et que la lecture perdrait.

    Args:
        objet: l'objet du fichier, avant toute lecture.
        modele: le format sous lequel on le lit.
    """
    for champ, valeur in non_repris(objet, modele).items():
        if raison := _raison(champ, valeur, objet, modele):
            yield Defaut("structure.champ", champ, f"le champ « {champ} » {raison}", _RETIRER)
    for rang, message in _messages_d_origine(objet):
        for champ in ("tool_calls", "function_call"):
            if not vide(message.get(champ)):
                yield Defaut(
                    "structure.champ",
                    "messages",
                    f"le message {rang} porte « {champ} », {REFUSES[champ]}",
                    _RETIRER,
                )


def _raison(champ: str, valeur: object, objet: dict, modele: Format) -> str:
    """Pourquoi on ne peut pas laisser ce champ de côté ; rien si on le peut."""
    if champ in REFUSES:
        return f"porte {REFUSES[champ]}"
    if champ in AVIS and str(valeur).strip().lower() in VRAI_OU_FAUX:
        return f"porte {UN_AVIS}"
    if champ in POIDS:
        neutre = valeur in (1, "1")
        return (
            ""
            if neutre
            else "pèse cet exemple, et nous ne pesons que les messages d’une conversation"
        )
    if champ in ("texte", "text") and modele.forme != "fiches":
        return "accompagne une instruction : s’il est le texte à traiter, nommez-le « input »"
    if modele.forme == "conversations" and "history" not in objet:
        dits = [str(m.get("content", m.get("value"))) for _, m in _messages_d_origine(objet)]
        redite = any(str(valeur).strip() == dit.strip() for dit in dits)
        autre = champ in (*DEMANDES, *CONTEXTES, *REPONSES) and not redite
        return "n’est pas dans la conversation : mettez-le dans ses messages" if autre else ""
    for noms, quoi in _PRECEDENCE:
        pris = [nom for nom in noms if nom in modele.pris(objet) and not vide(objet[nom])]
        if champ in noms and pris:
            return f"et le champ « {pris[0]} » disent tous deux {quoi} : on ne sait lequel lire"
    return ""


def _messages_d_origine(objet: dict) -> Iterator[tuple[int, dict]]:
    """Les messages d'une conversation tels que le fichier les porte, numérotés depuis 1."""
    messages = objet.get("messages", objet.get("conversations"))
    for rang, message in enumerate(messages if isinstance(messages, list) else [], 1):
        if isinstance(message, dict):
            yield rang, message


#: Ce qu'un message peut porter sans qu'on ait à le dire.
_DU_MESSAGE = {"role", "content", "from", "value", *POIDS, *REFUSES}


def colonnes_laissees(objet: dict, modele: Format, ligne: int) -> Iterator[Alerte]:
    """Une alerte par colonne que la lecture ne reprend pas, et qui ne change pas la leçon."""
    laissees = {
        c: v for c, v in non_repris(objet, modele).items() if not _raison(c, v, objet, modele)
    }
    for _, message in _messages_d_origine(objet):
        autres = (c for c, v in message.items() if c not in _DU_MESSAGE and not vide(v))
        laissees |= dict.fromkeys(f"messages[].{champ}" for champ in autres)
    for champ in map(montrer, laissees):
        dire = (
            f"la colonne « {champ} » n’est pas de celles qu’on reprend : elle est laissée de côté"
        )
        yield Alerte("lecture.colonne", ligne, dire, champ, du_fichier=True)


# ---------------------------------------------------------------- ce qui peut se citer


def entier(texte: str) -> str:
    """Le texte, ses demi-caractères Unicode remplacés par « ? » : ce qui peut toujours s'écrire."""
    return texte.encode("utf-8", "replace").decode()


def montrer(texte: str, longueur: int = 60) -> str:
    """Le début d'un texte, sans donnée personnelle ni demi-caractère : ce qui peut se citer."""
    return " ".join(masquer(entier(texte)).split())[:longueur]


def _texte(valeur: object) -> bool:
    return isinstance(valeur, str) and bool(valeur.strip())


def _defauts_messages(messages: object) -> Iterator[Defaut]:
    """Une conversation : système facultatif, puis utilisateur et assistant à tour de rôle."""
    if not isinstance(messages, list) or not messages:
        yield Defaut(
            "structure.messages",
            "messages",
            "ce n’est pas une liste de messages",
            'Écrivez [{"role": "user", "content": "…"}, {"role": "assistant", …}]',
        )
        return
    roles = [m.get("role") if isinstance(m, dict) else None for m in messages]
    tours = roles[1:] if roles[0] == "system" else roles
    attendus = ["user", "assistant"] * (len(tours) // 2)
    if not tours or tours != attendus:
        lus = montrer(", ".join(str(role) for role in roles), 200)
        yield Defaut(
            "structure.roles",
            "messages",
            f"les rôles ne se suivent pas comme dans une conversation ({lus})",
            "Un message « system » facultatif, puis « user » et « assistant » à tour de rôle",
        )
    for rang, message in enumerate(messages, 1):
        if isinstance(message, dict) and not _texte(message.get("content")):
            yield Defaut(
                "structure.vide",
                "messages",
                f"le message {rang} est vide ou n’est pas un texte",
                "Complétez-le, ou retirez la conversation",
            )
    yield from _defauts_de_poids([m for m in messages if isinstance(m, dict)])


def _defauts_de_poids(messages: list[dict]) -> Iterator[Defaut]:
    """Un poids vaut 0 (se lit, ne s'apprend pas) ou 1 ; seules les réponses s'apprennent."""
    for rang, message in enumerate(messages, 1):
        permis = (None, 0, 1) if message.get("role") == "assistant" else (None, 0)
        if message.get("weight") not in permis:
            yield Defaut(
                "structure.poids",
                "messages",
                f"le message {rang} a le poids {montrer(str(message['weight']))}",
                "Une réponse pèse 1 (s’apprend) ou 0 (se lit seulement), un autre message 0 ou rien",
            )
    reponses = [m.get("weight") for m in messages if m.get("role") == "assistant"]
    if reponses and all(poids == 0 for poids in reponses):
        yield Defaut(
            "structure.poids",
            "messages",
            "toutes les réponses ont un poids nul : il n’y a rien à apprendre",
            "Donnez le poids 1 à l’une d’elles, ou retirez la conversation",
        )
