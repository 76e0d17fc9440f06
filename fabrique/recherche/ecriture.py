"""Ranger un index dans un dossier : écrit à côté, relu, mis en place d'un seul geste, signé.

Le dossier contient ``index.json``, qui nomme le sous-dossier du contenu. On écrit le nouveau contenu
à côté de l'ancien, puis on remplace ``index.json`` : coupé à tout instant, l'ancien index répond.
"""

from __future__ import annotations

import json
import re
import secrets
import shutil
from collections.abc import Callable
from pathlib import Path

from fabrique.socle.emplacements import ecrire_signe, est_signe
from fabrique.socle.erreurs import ErreurFabrique

#: Le fichier qui nomme le contenu, et la version de la forme de celui-ci.
SOMMAIRE, VERSION = "index.json", 1
#: Les seuls sous-dossiers que l'on retire, quoi que dise ``index.json`` : ceux que l'on nomme ainsi.
_CONTENU = re.compile(r"contenu-[0-9a-f]{8}")


def ranger(dossier: Path, ecrire: Callable[[Path], None], relire: Callable[[Path], None]) -> None:
    """Remplace le contenu d'un dossier d'index.

    Args:
        dossier: le dossier, à créer ou déjà écrit par nous.
        ecrire: écrit le contenu dans le sous-dossier qu'on lui donne.
        relire: relit ce sous-dossier, et lève une erreur s'il n'est pas bon.

    Raises:
        ErreurFabrique: le dossier existe, et ce n'est pas un index que nous avons écrit.
    """
    verifier_dossier(dossier)
    ancien = _sommaire(dossier)
    nouveau = f"contenu-{secrets.token_hex(4)}"
    for reste in ancien["a_retirer"]:
        _retirer(dossier, reste)
    _noter(dossier, ancien["contenu"], [nouveau])
    partiel = dossier / nouveau
    partiel.mkdir()
    ecrire(partiel)
    relire(partiel)
    _noter(dossier, nouveau, [ancien["contenu"]] if ancien["contenu"] else [])
    if ancien["contenu"]:
        _retirer(dossier, ancien["contenu"])


def verifier_dossier(dossier: Path) -> None:
    """Refuse, avant tout calcul, d'écrire un index là où il y a autre chose.

    Raises:
        ErreurFabrique: ``dossier`` est un fichier, ou un dossier que nous n'avons pas signé.
    """
    if dossier.exists() and not dossier.is_dir():
        raise ErreurFabrique("la sortie est un fichier", "Donnez le nom d’un dossier", dossier)
    if dossier.is_dir() and any(dossier.iterdir()) and not est_signe(dossier / SOMMAIRE):
        raise ErreurFabrique(
            "ce dossier n’est pas vide, et ce n’est pas un index que FabriqueLLM a écrit",
            "Donnez un dossier neuf, ou celui d’un index",
            dossier,
        )


def contenu(dossier: Path) -> Path:
    """Le sous-dossier où lire un index.

    Raises:
        ErreurFabrique: ce dossier n'est pas un index, son écriture n'a pas fini, ou il vient d'une
            autre version.
    """
    remede = "Construisez-le avec « fabrique sources indexer »"
    if not (dossier / SOMMAIRE).is_file():
        raise ErreurFabrique("ce dossier n’est pas un index", remede, dossier)
    sommaire = _sommaire(dossier)
    if sommaire.get("version") != VERSION:
        raise ErreurFabrique(
            "cet index vient d’une autre version de FabriqueLLM, ou il est abîmé", remede, dossier
        )
    if not sommaire["contenu"] or not (dossier / sommaire["contenu"]).is_dir():
        raise ErreurFabrique("cet index n’est pas complet", remede, dossier)
    return dossier / sommaire["contenu"]


def _retirer(dossier: Path, nom: str) -> None:
    """Retire un contenu que plus rien ne désigne ; sous Windows, celui qu'on lit attend la fois suivante."""
    if _CONTENU.fullmatch(nom) and (dossier / nom).is_dir():
        shutil.rmtree(dossier / nom, ignore_errors=True)


def _sommaire(dossier: Path) -> dict:
    """Ce que dit ``index.json`` : ``contenu``, le nom du sous-dossier, et ``a_retirer``."""
    vide = {"contenu": "", "a_retirer": []}
    try:
        lu = json.loads((dossier / SOMMAIRE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return vide
    return vide | lu if isinstance(lu, dict) else vide


def _noter(dossier: Path, contenu: str, a_retirer: list[str]) -> None:
    sommaire = {"version": VERSION, "contenu": contenu, "a_retirer": a_retirer}
    ecrire_signe(dossier / SOMMAIRE, json.dumps(sommaire, ensure_ascii=False))
