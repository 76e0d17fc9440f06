"""Ce qu'il faut à un exemple pour servir : des champs présents, du texte dedans, des rôles dans l'ordre."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from fabrique.corpus.formats import ANNEXES, METADONNEES, textes
from fabrique.corpus.personnelles import masquer

JEUX = ("entrainement", "validation", "test")
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
    accompagnent = ((c, exemple.get(c) or "") for c in ("id", *METADONNEES, *ANNEXES) if c != "systeme")
    for champ, texte in (*textes(exemple), *accompagnent):
        if entier(texte) != texte:
            yield Defaut(
                "encodage.demi_caractere",
                champ,
                "le texte contient un demi-caractère Unicode (U+D800 à U+DFFF), illisible",
                "Réenregistrez le fichier en UTF-8 depuis son logiciel d’origine",
            )
    for champ in ("input", "titre"):
        if not isinstance(exemple.get(champ, ""), str):
            yield Defaut("structure.type", champ, "ce n’est pas un texte", "Écrivez-le entre guillemets")
    if exemple.get("jeu", "") not in ("", *JEUX):
        yield Defaut(
            "structure.jeu",
            "jeu",
            f"le jeu « {montrer(exemple['jeu'])} » n’existe pas",
            f"Écrivez {', '.join(JEUX)}, ou laissez la colonne vide",
        )


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
            "Écrivez [{\"role\": \"user\", \"content\": \"…\"}, {\"role\": \"assistant\", …}]",
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
