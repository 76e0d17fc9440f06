"""Les textes d'un préentraînement : les lire, les mettre de côté, les façons de les présenter."""

from __future__ import annotations

import gzip
import json
from dataclasses import dataclass
from pathlib import Path

from fabrique.modeles.gabarits import ASSISTANT, UTILISATEUR
from fabrique.socle.erreurs import ErreurFabrique


@dataclass(frozen=True)
class Source:
    """Un fichier de textes et la part des lots qu'il fournit, au début et à la fin.

    La part varie en ligne droite : les textes les plus proches de l'usage visé gagnent
    à dominer en fin de parcours, quand le taux d'apprentissage baisse. ``questions`` n'en
    garde que les titres et leurs réponses courtes, en conversation.
    """

    chemin: Path
    part_debut: float
    part_fin: float
    questions: bool = False

    @property
    def nom(self) -> str:
        """Le nom du fichier sans ses extensions, suivi de ce qu'on y lit."""
        return self.chemin.name.split(".")[0] + ("_questions" if self.questions else "")


@dataclass(frozen=True)
class Document:
    """Un texte et, quand il en a, son titre et la courte réponse qui convient à ce titre."""

    texte: str
    titre: str = ""
    reponse: str = ""


#: Une introduction tient lieu de réponse entre ces deux nombres de mots.
MOTS_D_UNE_REPONSE = (6, 80)


def lire_documents(chemin: Path) -> list[Document]:
    """Lit un fichier ``.txt`` (un document) ou ``.jsonl`` (un par ligne).

    Une ligne a un ``texte`` et, si l'on veut, un ``titre`` et une ``description``, qui répond au
    titre en une phrase ou deux ; à défaut, l'introduction du texte en tient lieu.

    Raises:
        ErreurFabrique: une ligne n'est pas un objet JSON qui porte un ``texte``.
    """
    ouvrir = gzip.open if chemin.suffix == ".gz" else open
    with ouvrir(chemin, "rt", encoding="utf-8") as flux:
        if ".jsonl" not in chemin.suffixes:
            return [Document(flux.read())]
        return [
            _document(ligne, chemin, numero)
            for numero, ligne in enumerate(flux, 1)
            if ligne.strip()
        ]


def _document(ligne: str, chemin: Path, numero: int) -> Document:
    try:
        lu = json.loads(ligne)
        return Document(
            lu["texte"],
            lu.get("titre") or "",
            lu.get("description") or introduction(lu["texte"]),
        )
    except (ValueError, TypeError, KeyError, AttributeError):
        raise ErreurFabrique(
            "ce n’est pas un objet JSON avec un champ « texte »",
            "Écrivez un objet par ligne, avec texte et, si l’on veut, titre et description",
            chemin,
            ligne=numero,
        ) from None


def introduction(texte: str) -> str:
    """Le premier paragraphe d'un texte, s'il a la taille d'une réponse et finit une phrase."""
    premier = texte.partition("\n")[0].strip()
    au_moins, au_plus = MOTS_D_UNE_REPONSE
    convient = au_moins <= len(premier.split()) <= au_plus and premier.endswith((".", "!", "?"))
    return premier if convient and premier[0].isalpha() else ""


def typographier(texte: str) -> str:
    """Rend le texte tel qu'un imprimeur français le composerait : ’ et espaces insécables."""
    texte = texte.replace("'", "’").replace("« ", "«\u00a0")
    for signe in (":", ";", "?", "!", "»", "€", "%"):
        texte = texte.replace(f" {signe}", f"\u00a0{signe}")
    return texte


def separer(documents: list[Document], un_sur: int) -> tuple[list[Document], list[Document]]:
    """Met de côté un document sur ``un_sur`` : (apprentissage, validation).

    Un fichier trop court pour en donner un reste entier à l'apprentissage.
    """
    garde = [d for rang, d in enumerate(documents, 1) if rang % un_sur]
    return garde, documents[un_sur - 1 :: un_sur]


def presentations(document: Document, questions: bool = False) -> list[list[str]]:
    """Les façons de lire un document, chacune en une suite de morceaux.

    Tel quel ; composé à la française s'il en diffère ; et, s'il a un titre et une réponse
    courte, en conversation : le titre demande, elle répond. Le modèle connaît ainsi les deux
    typographies et le sens des jetons de rôle. Une réponse en conversation n'est jamais le texte
    entier : le modèle déroulerait ses rubriques à chaque question.

    Args:
        questions: ne garde que la conversation.
    """
    demande, reponse = typographier(document.titre), typographier(document.reponse)
    conversation = [[UTILISATEUR, demande, ASSISTANT, reponse]] if demande and reponse else []
    if questions:
        return conversation
    entier = f"{document.titre}\n\n{document.texte}" if document.titre else document.texte
    compose = typographier(entier)
    lectures = [[entier]] if compose == entier else [[entier], [compose]]
    return lectures + conversation


def lire_source(description: str, questions: bool = False) -> Source:
    """Lit « fichier:part_debut:part_fin » ; sans parts, la source pèse 1 du début à la fin.

    Args:
        questions: n'en garder que les titres et leurs réponses courtes.

    Raises:
        ErreurFabrique: fichier absent ou parts illisibles.
    """
    chemin, *parts = description.rsplit(":", 2) if description.count(":") >= 2 else [description]
    try:
        debut, fin = (float(p.replace(",", ".")) for p in parts or ("1", "1"))
    except ValueError:
        raise ErreurFabrique(
            f"les parts de « {description} » ne se lisent pas",
            "Écrivez fichier:0.1:0.4 (part au début, part à la fin)",
        ) from None
    if not Path(chemin).is_file():
        raise ErreurFabrique("fichier introuvable", "Vérifiez le chemin", chemin)
    return Source(Path(chemin), debut, fin, questions)
