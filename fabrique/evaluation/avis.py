"""Lire l'avis d'un juge, et refuser ce qui n'en est pas un."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from fabrique.evaluation.grille import GRILLE, VALEURS, Critere


class AvisIllisible(ValueError):
    """Le juge a parlé, mais son avis n'a pas la forme demandée."""


@dataclass(frozen=True)
class Avis:
    """Ce que le juge a dit d'une paire : « A », « B » ou « égalité », critère par critère."""

    gagnant: str
    criteres: Mapping[str, str]
    raison: str


#: Ce entre quoi les modèles qui « raisonnent » écrivent leur brouillon (DeepSeek-R1 et Qwen3,
#: Magistral, Kimi, gpt-oss).
_BALISES = "think|thinking|thought|reasoning|analysis|scratchpad|brouillon"
_DEBUT_DU_BROUILLON = re.compile(
    rf"<(?:{_BALISES})\b[^>]*>|\[think\]|◁think▷|<\|channel\|>analysis", re.IGNORECASE
)
_FIN_DU_BROUILLON = re.compile(
    rf"</(?:{_BALISES})\s*>|\[/think\]|◁/think▷|<\|channel\|>final", re.IGNORECASE
)
#: Un titre, en gras ou non, qui annonce le verdict : ce qui le précède était un brouillon.
_TITRE_DU_VERDICT = re.compile(
    r"^[#*_>\s]*(?:verdict|avis final|réponse finale)\b", re.IGNORECASE | re.MULTILINE
)
#: Un autre verdict, dit après l'avis.
_REPRISE = re.compile(r"[{}]|\b(?:A|B|gagnante?|égalité)\b")


def lire_avis(texte: str, grille: Sequence[Critere] = GRILLE) -> Avis:
    """Lit l'avis du juge, où qu'il soit dans sa réponse, et vérifie chaque valeur.

    Le brouillon qui précède le verdict n'est jamais lu ; un brouillon inachevé n'a pas de verdict.

    Raises:
        AvisIllisible: il n'y a pas exactement un avis, ou une valeur n'est pas permise.
    """
    verdict = sans_brouillon(texte)
    avis = [(objet, fin) for objet, fin in objets_json(verdict) if "gagnant" in objet]
    if len(avis) != 1:
        raise AvisIllisible(f"{len(avis)} avis au lieu d’un" if avis else "aucun avis complet")
    lu, fin = avis[0]
    if _REPRISE.search(verdict, fin):
        raise AvisIllisible("l’avis est repris ou corrigé après coup")
    criteres, raison = lu.get("criteres"), lu.get("raison")
    attendus = {critere.nom for critere in grille}
    if not isinstance(criteres, dict) or criteres.keys() != attendus:
        raise AvisIllisible("les critères ne sont pas ceux de la grille")
    if not isinstance(raison, str):
        raise AvisIllisible("la raison manque")
    notes = {nom: _valeur(nom, ecrit) for nom, ecrit in criteres.items()}
    return Avis(_valeur("gagnant", lu["gagnant"]), notes, raison)


def sans_brouillon(texte: str) -> str:
    """Ce que le juge dit une fois son brouillon fini."""
    dit = _FIN_DU_BROUILLON.split(texte)[-1]
    if _DEBUT_DU_BROUILLON.search(dit):
        raise AvisIllisible("sans verdict : le brouillon n’est pas fini")
    return _TITRE_DU_VERDICT.split(dit)[-1]


def _valeur(nom: str, ecrit: object) -> str:
    lue = VALEURS.get(ecrit.strip(" \t\n*_`").casefold()) if isinstance(ecrit, str) else None
    if lue is None:
        raise AvisIllisible(f"« {nom} » ne vaut ni A, ni B, ni égalité")
    return lue


def objets_json(texte: str) -> Iterator[tuple[dict, int]]:
    """Les objets JSON complets d'un texte, et où chacun finit.

    Ceux que contient un objet incomplet en sont aussi.
    """
    decodeur = json.JSONDecoder()
    debut = texte.find("{")
    while debut >= 0:
        try:
            objet, fin = decodeur.raw_decode(texte, debut)
        except (ValueError, RecursionError):
            fin = debut + 1
        else:
            yield objet, fin
        debut = texte.find("{", fin)
