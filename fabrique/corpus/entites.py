"""Les entités d'un texte administratif : leurs genres, et les phrases où elles sont marquées à la main."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from fabrique.corpus.fichiers import lire_lignes, verifier_fichier
from fabrique.corpus.formats import JEUX
from fabrique.socle.emplacements import dossier_data
from fabrique.socle.erreurs import ErreurFabrique

#: Les genres d'entités, du plus reconnaissable à sa forme au moins reconnaissable.
GENRES = ("article", "montant", "date", "personne", "organisme", "lieu")
#: Le corpus écrit par le projet, par son nom.
LIVRE = "entites"


@dataclass(frozen=True, order=True)
class Entite:
    """Une entité : la place de son premier signe, celle d'après le dernier, et son genre."""

    debut: int
    fin: int
    genre: str

    def de(self, texte: str) -> str:
        """Ce qu'elle dit dans son texte."""
        return texte[self.debut : self.fin]


@dataclass(frozen=True)
class Phrase:
    """Un texte, ses entités dans l'ordre, et le jeu où il sert."""

    texte: str
    entites: tuple[Entite, ...]
    jeu: str = ""


def lire_phrases(source: str | Path = LIVRE, jeu: str = "") -> list[Phrase]:
    """Les phrases marquées d'un fichier.

    Chaque exemple porte ``texte`` et ``entites``, une liste de ``{"debut", "fin", "type"}`` : les
    places se comptent en signes depuis 0, ``fin`` est celle d'après le dernier.

    Args:
        source: « entites », le corpus livré, ou un fichier ``.json`` ou ``.jsonl``.
        jeu: ne garde que ce jeu ; vide, tous.

    Raises:
        ErreurFabrique: fichier illisible, exemple mal formé (sa ligne et son champ sont nommés), ou
            aucun exemple.
    """
    chemin = dossier_data() / f"{LIVRE}.jsonl" if str(source) == LIVRE else Path(source)
    verifier_fichier(chemin, f"Vérifiez le chemin, ou nommez le corpus livré : {LIVRE}")
    phrases = []
    for ligne in lire_lignes(chemin):
        if ligne.erreur:
            raise ligne.erreur
        try:
            phrases.append(_phrase(ligne.contenu))
        except ErreurFabrique as refus:
            refus.fichier, refus.ligne = str(chemin), ligne.numero
            raise
    if not (gardees := [phrase for phrase in phrases if not jeu or phrase.jeu == jeu]):
        quoi = f"aucun exemple dans le jeu « {jeu} »" if phrases else "aucun exemple"
        raise ErreurFabrique(quoi, "Donnez au moins une phrase, et son jeu", chemin)
    return gardees


def _phrase(objet: object) -> Phrase:
    if not isinstance(objet, dict) or not isinstance(objet.get("texte"), str):
        raise ErreurFabrique(
            "le texte manque", "Écrivez la phrase dans le champ « texte »", champ="texte"
        )
    jeu = objet.get("jeu") or ""
    if jeu not in ("", *JEUX):
        raise ErreurFabrique(
            f"le jeu « {jeu} » n’existe pas", f"Choisissez entre {', '.join(JEUX)}", champ="jeu"
        )
    marques = objet.get("entites")
    if not isinstance(marques, list):
        raise ErreurFabrique(
            "la liste des entités manque",
            "Écrivez-la dans le champ « entites » ; vide s’il n’y en a pas",
            champ="entites",
        )
    entites = tuple(sorted(_entite(marque, objet["texte"]) for marque in marques))
    if any(avant.fin > apres.debut for avant, apres in pairwise(entites)):
        raise ErreurFabrique(
            "deux entités se chevauchent", "Gardez la plus longue", champ="entites"
        )
    return Phrase(objet["texte"], entites, jeu)


def _entite(marque: object, texte: str) -> Entite:
    lue = marque if isinstance(marque, dict) else {}
    debut, fin, genre = lue.get("debut"), lue.get("fin"), lue.get("type")
    if genre not in GENRES:
        raise ErreurFabrique(
            f"le type « {genre} » n’existe pas",
            f"Choisissez entre {', '.join(GENRES)}",
            champ="entites",
        )
    if not (isinstance(debut, int) and isinstance(fin, int) and 0 <= debut < fin <= len(texte)):
        raise ErreurFabrique(
            f"les places {debut} et {fin} ne sont pas dans le texte, long de {len(texte)} signes",
            "Comptez-les en signes depuis 0 ; « fin » est la place d’après le dernier",
            champ="entites",
        )
    return Entite(debut, fin, genre)
