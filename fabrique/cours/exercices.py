"""Les « À vous » : une réponse, une vérification immédiate, un retour utile.

Une cellule n'écrit que ``verifier("03-4", reponse)`` : ce qui est attendu, les erreurs fréquentes
et ce qu'il faut en retenir sont dans ``corriges.py``.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sized
from numbers import Real
from typing import Any

from fabrique.cours.corriges import CORRIGES, Libre, Valeur
from fabrique.socle.erreurs import ErreurFabrique

A_VOUS = "À vous : remplacez les trois points … par votre réponse, puis relancez la cellule."
#: Les unités qu'on confond le plus souvent diffèrent d'un de ces facteurs.
FACTEURS = {
    100: "cent fois",
    1_000: "mille fois",
    1_000_000: "un million de fois",
    1_000_000_000: "un milliard de fois",
}
#: Deux nombres plus proches que cela, en proportion, sont le même.
PROCHES = 1e-9


def verifier(cle: str, reponse: object, **contexte: object) -> None:
    """Vérifie la réponse à un exercice et dit quoi faire ensuite.

    Une réponse laissée à ``...`` n'est pas une faute : « Tout exécuter » continue.

    Args:
        cle: le carnet et le rang de l'exercice, comme « 03-4 ».
        reponse: ce que l'apprenant a écrit, ou ``...``.
        contexte: ce que le carnet a calculé et dont le corrigé a besoin.

    Raises:
        ErreurFabrique: aucun exercice n'a cette clé.
    """
    exercice = CORRIGES.get(cle)
    if exercice is None:
        raise ErreurFabrique(
            f"aucun exercice n’a la clé « {cle} »", "Remettez celle que la cellule donnait"
        )
    if reponse is ...:
        print(insecable(A_VOUS))
        return
    if isinstance(exercice, Libre):
        conseil = _juger_libre(exercice, reponse, contexte)
    else:
        conseil = _juger_valeur(exercice, reponse, contexte)
    print(insecable(f"Pas encore. {conseil}" if conseil else f"Juste ! {exercice.bravo}"))


def insecable(phrase: str) -> str:
    """La phrase, avec ses espaces insécables : les corrigés s'écrivent au clavier ordinaire."""
    return re.sub(r" (?=[:;!?»])|(?<=«) ", "\u00a0", phrase)


def _juger_libre(exercice: Libre, reponse: object, contexte: Mapping) -> str:
    """Ce qui manque à une réponse libre ; rien si elle convient."""
    if not isinstance(reponse, exercice.genre):
        return exercice.forme
    return exercice.manque(reponse, **contexte)


def _juger_valeur(exercice: Valeur, reponse: object, contexte: Mapping) -> str:
    """Le conseil qui convient à une réponse fausse ; rien si elle est juste."""

    def calculer(valeur: Any) -> Any:
        return valeur(**contexte) if callable(valeur) else valeur

    attendu = calculer(exercice.attendu)
    pieges = [(calculer(valeur), conseil) for valeur, conseil in exercice.pieges]
    if isinstance(attendu, str):
        return _juger_texte(exercice, reponse, attendu, pieges)
    return _juger_nombre(exercice, reponse, attendu, pieges)


def _juger_texte(exercice: Valeur, reponse: object, attendu: str, pieges: list) -> str:
    if not isinstance(reponse, str):
        return "Écrivez votre réponse entre guillemets."
    lu = _nu(reponse)
    if lu == _nu(attendu):
        return ""
    if exercice.choix and lu not in map(_nu, exercice.choix):
        return "Les réponses possibles sont " + ", ".join(f'"{c}"' for c in exercice.choix) + "."
    return next((conseil for valeur, conseil in pieges if lu == _nu(valeur)), exercice.indice)


def _nu(texte: str) -> str:
    """Un texte sans ses majuscules ni ses blancs superflus."""
    return " ".join(texte.split()).casefold()


def _juger_nombre(exercice: Valeur, reponse: Any, attendu: float, pieges: list) -> str:
    reponse = _simple(reponse)
    if conseil := _pas_un_nombre(reponse):
        return conseil
    if _proches(reponse, attendu, exercice.tolerance):
        return ""
    for valeur, conseil in pieges:
        if _proches(reponse, valeur, exercice.tolerance):
            return conseil
    return _autre_unite(reponse, attendu, exercice.tolerance) or exercice.indice


def _simple(reponse: Any) -> Any:
    """Le nombre que contient un tableau d'un seul élément ; la réponse elle-même sinon."""
    try:
        return reponse.item()
    except (AttributeError, TypeError, ValueError, RuntimeError):
        return reponse


def _pas_un_nombre(reponse: object) -> str:
    """Pourquoi la réponse ne se lit pas comme un nombre ; rien si c'en est un."""
    if isinstance(reponse, str):
        return (
            "Votre réponse est un texte : écrivez le nombre sans guillemets, "
            "avec un point pour les décimales."
        )
    if isinstance(reponse, tuple):
        return (
            "Python lit ici plusieurs nombres : écrivez un point à la place de la virgule, "
            "et ne séparez pas les milliers."
        )
    if isinstance(reponse, Sized):
        return (
            "Votre réponse réunit plusieurs valeurs, et il faut un seul nombre : "
            "comptez-les, ou prenez leur moyenne, selon la question."
        )
    if isinstance(reponse, bool) or not isinstance(reponse, Real):
        return "Écrivez un nombre, ou un calcul qui en donne un."
    return ""


def _proches(nombre: float, autre: float, tolerance: float) -> bool:
    try:
        return math.isclose(nombre, autre, rel_tol=PROCHES, abs_tol=tolerance)
    except OverflowError:  # un entier trop grand pour un nombre à virgule
        return False


def _autre_unite(nombre: float, attendu: float, tolerance: float) -> str:
    """Ce que dit un résultat juste au signe ou à l'unité près ; rien sinon."""
    if not attendu:
        return ""
    if _proches(-nombre, attendu, tolerance):
        return "La valeur est la bonne, le signe est à l’envers."
    for facteur, fois in FACTEURS.items():
        if _proches(nombre, attendu * facteur, tolerance * facteur):
            return f"Votre résultat est {fois} trop grand : vérifiez l’unité."
        if _proches(nombre, attendu / facteur, tolerance / facteur):
            return f"Votre résultat est {fois} trop petit : vérifiez l’unité."
    return ""
