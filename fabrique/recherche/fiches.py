"""Lire des fiches : tout ce qui ne peut pas être pris est nommé, fichier, ligne et champ."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from pathlib import Path

from fabrique.corpus.fichiers import Ligne
from fabrique.corpus.lecture import ouvrir
from fabrique.corpus.structure import entier
from fabrique.recherche.passages import Fiche
from fabrique.socle.erreurs import ErreurFabrique

JOURNAL = logging.getLogger(__name__)

OBLIGATOIRES = ("id", "titre", "texte")
#: Les noms sous lesquels on lit l'origine et la date d'une fiche, le premier d'abord.
ORIGINES, DATES = ("source", "url"), ("date", "date_verification")
FACULTATIFS = (*ORIGINES, *DATES, "page", "rubrique")
#: Ce qui accompagne une fiche sans servir à la chercher ni à la citer.
SANS_EMPLOI = ("licence", "langue", "categorie", "jeu")
_DATE = re.compile(r"\d{4}(-\d{2}(-\d{2}(T.*)?)?)?")


def lire_fiches(*sources: str | Path) -> list[Fiche]:
    """Les fiches d'un ou de plusieurs fichiers, dans l'ordre.

    Args:
        sources: noms de corpus livrés (« fiches ») ou fichiers, d'un format que lit ``lire_corpus``.
            Colonnes : ``id``, ``titre``, ``texte`` ; facultatives : ``source`` (ou ``url``),
            ``date`` (ou ``date_verification``), ``page``, ``rubrique``.

    Raises:
        ErreurFabrique: fichier illisible, champ absent, vide ou d'un autre type, deux fiches du
            même identifiant, ou aucune fiche.
    """
    fiches: dict[str, Fiche] = {}
    for source in sources:
        chemin, lignes = ouvrir(source)
        avant, laisses = len(fiches), set()
        for ligne in lignes:
            fiche = _fiche(ligne, chemin)
            if fiche.id in fiches:
                raise ErreurFabrique(
                    f"deux fiches ont l’identifiant « {fiche.id} »",
                    "Donnez un identifiant différent à chacune",
                    chemin,
                    ligne=ligne.numero,
                    champ="id",
                )
            fiches[fiche.id] = fiche
            laisses |= ligne.contenu.keys() - {*OBLIGATOIRES, *FACULTATIFS, *SANS_EMPLOI}
        if len(fiches) == avant:
            raise ErreurFabrique("aucune fiche", "Donnez un fichier d’au moins une fiche", chemin)
        if laisses:
            JOURNAL.warning(f"{chemin} : colonnes non reprises : {', '.join(sorted(laisses))}.")
    if not fiches:
        raise ErreurFabrique("aucune fiche à lire", "Donnez au moins un fichier de fiches")
    return list(fiches.values())


def _fiche(ligne: Ligne, chemin: Path) -> Fiche:
    """La fiche d'une ligne, ou l'erreur qui dit ce qui l'empêche d'en être une."""
    if ligne.erreur:
        raise ligne.erreur
    objet = ligne.contenu
    if not isinstance(objet, dict):
        raise ErreurFabrique(
            "une fiche doit être un objet {…}", "Réparez cette ligne", chemin, ligne=ligne.numero
        )
    for champ, message, remede in _defauts(objet):
        raise ErreurFabrique(message, remede, chemin, ligne=ligne.numero, champ=champ)
    return Fiche(
        objet["id"],
        objet["titre"],
        objet["texte"],
        _premier(objet, ORIGINES),
        _page(objet),
        objet.get("rubrique") or "",
        _premier(objet, DATES),
    )


def _defauts(objet: dict) -> Iterator[tuple[str, str, str]]:
    """Les défauts d'une fiche : le champ, ce qui ne va pas, quoi faire."""
    for champ in OBLIGATOIRES:
        if not isinstance(objet.get(champ), str) or not objet[champ].strip():
            yield (
                champ,
                "le champ manque, est vide, ou n’est pas un texte",
                "Une fiche a un identifiant, un titre et un texte : complétez-la ou retirez-la",
            )
    for champ in (*ORIGINES, *DATES, "rubrique"):
        if not isinstance(objet.get(champ) or "", str):
            yield champ, "ce n’est pas un texte", "Écrivez-le entre guillemets"
    for champ in (*OBLIGATOIRES, *ORIGINES, *DATES, "rubrique"):
        if entier(objet.get(champ) or "") != (objet.get(champ) or ""):
            yield (
                champ,
                "le texte contient un demi-caractère Unicode (U+D800 à U+DFFF), illisible",
                "Réenregistrez le fichier en UTF-8 depuis son logiciel d’origine",
            )
    for champ in DATES:
        if objet.get(champ) and not _DATE.fullmatch(objet[champ]):
            yield champ, f"« {objet[champ]} » n’est pas une date ISO", "Écrivez AAAA-MM-JJ"
    if _page(objet) == 0:
        yield "page", "ce n’est pas un numéro de page", "Écrivez un entier, depuis 1, ou rien"


def _premier(objet: dict, champs: tuple[str, ...]) -> str:
    return next((objet[champ] for champ in champs if objet.get(champ)), "")


def _page(objet: dict) -> int | None:
    """Le numéro de page ; None s'il n'y en a pas, 0 s'il ne se comprend pas.

    Un tableur écrit « 3 » ou 3,0 pour 3.
    """
    ecrit = objet.get("page")
    if ecrit is None or ecrit == "":
        return None
    try:
        page = float(ecrit)
    except (TypeError, ValueError):
        return 0
    return int(page) if page.is_integer() and page > 0 and not isinstance(ecrit, bool) else 0
