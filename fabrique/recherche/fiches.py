"""Lire des fiches : ce qui ne peut pas être pris est nommé, avec le fichier, la ligne et le champ."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fabrique.corpus.constats import Alerte
from fabrique.corpus.fichiers import Ligne
from fabrique.corpus.lecture import dire_alertes, ouvrir
from fabrique.corpus.structure import entier, montrer
from fabrique.recherche.passages import Fiche
from fabrique.socle.erreurs import ErreurFabrique

OBLIGATOIRES = ("id", "titre", "texte")
#: Les noms sous lesquels on lit l'origine et la date d'une fiche, le premier rempli d'abord.
ORIGINES, DATES = ("source", "url"), ("date", "date_relecture")
FACULTATIFS = (*ORIGINES, *DATES, "page", "rubrique")
#: Ce qui accompagne une fiche sans servir à la chercher ni à la citer.
SANS_EMPLOI = ("licence", "langue", "categorie", "jeu")
_DATE = re.compile(r"\d{4}(-\d{2}(-\d{2}(T.*)?)?)?")


@dataclass(frozen=True)
class Lue:
    """Les fiches d'un fichier, et ce qu'il a fallu y laisser de côté."""

    chemin: Path
    fiches: list[Fiche]
    alertes: list[Alerte]


def lire_fiches(*sources: str | Path) -> list[Lue]:
    """Les fiches d'un ou de plusieurs fichiers ; les alertes sont dites.

    Args:
        sources: noms de corpus livrés (« fiches ») ou fichiers, d'un format que lit ``lire_corpus``.
            Colonnes : ``id``, ``titre``, ``texte`` ; facultatives : ``source`` (ou ``url``),
            ``date`` (ou ``date_relecture``), ``page``, ``rubrique``. Un champ facultatif qui ne
            se comprend pas est laissé vide, et nommé.

    Raises:
        ErreurFabrique: fichier illisible, champ obligatoire absent, vide ou qui n'est pas un texte,
            deux fiches du même identifiant, ou aucune fiche.
    """
    if not sources:
        raise ErreurFabrique("aucune fiche à lire", "Donnez au moins un fichier de fiches")
    deja: set[str] = set()
    lues = [_lire(source, deja) for source in sources]
    for lue in lues:
        dire_alertes(lue.alertes, lue.chemin)
    return lues


def _lire(source: str | Path, deja: set[str]) -> Lue:
    """Un fichier de fiches, dont aucun identifiant n'est dans ``deja``, qui reçoit les siens."""
    chemin, lignes = ouvrir(source)
    lue, connues = Lue(chemin, [], []), {*OBLIGATOIRES, *FACULTATIFS, *SANS_EMPLOI}
    for ligne in lignes:
        objet = _objet(ligne, chemin)
        if objet["id"] in deja:
            raise ErreurFabrique(
                f"deux fiches ont l’identifiant « {objet['id']} »",
                "Donnez un identifiant différent à chacune",
                chemin,
                ligne=ligne.numero,
                champ="id",
            )
        deja.add(objet["id"])
        for champ in sorted(objet.keys() - connues):
            message = f"la colonne « {champ} » n’est pas reprise"
            lue.alertes.append(Alerte("lecture.colonne", ligne.numero, message, champ, True))
            connues.add(champ)
        compris, alertes = _facultatifs(objet, ligne.numero)
        lue.alertes.extend([*ligne.alertes, *alertes])
        lue.fiches.append(Fiche(objet["id"], objet["titre"], objet["texte"], **compris))
    if not lue.fiches:
        raise ErreurFabrique("aucune fiche", "Donnez un fichier d’au moins une fiche", chemin)
    return lue


def _objet(ligne: Ligne, chemin: Path) -> dict:
    """L'objet d'une ligne, ou l'erreur qui dit ce qui l'empêche d'être une fiche."""
    if ligne.erreur:
        raise ligne.erreur
    objet = ligne.contenu
    if not isinstance(objet, dict):
        raise ErreurFabrique(
            "une fiche doit être un objet {…}", "Réparez cette ligne", chemin, ligne=ligne.numero
        )
    for champ in OBLIGATOIRES:
        valeur = objet.get(champ)
        if not isinstance(valeur, str) or not valeur.strip():
            raise ErreurFabrique(
                "le champ manque, est vide ou n’est pas un texte",
                "Une fiche a un identifiant, un titre et un texte : complétez-la ou retirez-la",
                chemin,
                ligne=ligne.numero,
                champ=champ,
            )
        if entier(valeur) != valeur:
            raise ErreurFabrique(
                "le texte contient un demi-caractère Unicode (U+D800 à U+DFFF), illisible",
                "Réenregistrez le fichier en UTF-8 depuis son logiciel d’origine",
                chemin,
                ligne=ligne.numero,
                champ=champ,
            )
    return objet


def _facultatifs(objet: dict, numero: int) -> tuple[dict, list[Alerte]]:
    """Les champs facultatifs qui se comprennent, et une alerte pour chacun des autres."""
    pris = {champ: objet[champ] for champ in FACULTATIFS if objet.get(champ) not in (None, "")}
    refuses = dict(_refuses(pris))
    alertes = [
        Alerte(
            f"fiche.{champ}",
            numero,
            f"« {montrer(str(pris.pop(champ)))} » n’est pas {attendu} : le champ « {champ} » est laissé vide",
            champ,
        )
        for champ, attendu in refuses.items()
    ]
    champs = {
        "source": _premier(pris, ORIGINES),
        "date": _premier(pris, DATES),
        "rubrique": pris.get("rubrique", ""),
        "page": int(float(pris["page"])) if "page" in pris else None,
    }
    return champs, alertes


def _refuses(pris: dict) -> Iterator[tuple[str, str]]:
    """Les champs facultatifs qui ne se comprennent pas, et ce qu'on attendait."""
    for champ, valeur in pris.items():
        if champ == "page":
            if not _est_une_page(valeur):
                yield champ, "un numéro de page"
        elif not isinstance(valeur, str) or entier(valeur) != valeur:
            yield champ, "un texte"
        elif champ in DATES and not _DATE.fullmatch(valeur):
            yield champ, "une date ISO (AAAA-MM-JJ)"


def _est_une_page(valeur: Any) -> bool:
    """Vrai pour un entier depuis 1, même écrit « 3 » ou 3,0 par un tableur."""
    try:
        page = float(valeur)
    except (TypeError, ValueError):
        return False
    return not isinstance(valeur, bool) and page.is_integer() and 0 < page < 2**31


def _premier(pris: dict, champs: tuple[str, ...]) -> str:
    return next((pris[champ] for champ in champs if champ in pris), "")
