"""Demander à un modèle servi à une adresse, et ne jamais redemander ce qu'il a déjà dit."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from fabrique.evaluation.juges import Juge, Panne
from fabrique.evaluation.paires import empreinte, relire_lignes
from fabrique.socle.emplacements import ajouter_ligne
from fabrique.socle.erreurs import ErreurFabrique

JOURNAL = logging.getLogger(__name__)

#: Où lire la clé du générateur : jamais sur la ligne de commande, ni dans un fichier.
VARIABLE_DE_CLE = "FABRIQUE_CLE_GENERATEUR"
#: Des pannes de suite au-delà desquelles le serveur est tenu pour perdu.
PANNES_DE_SUITE = 3
CHAMPS = ("cle", "texte", "generateur", "date")


class Echanges:
    """Ce que les modèles ont dit, relu du journal, ou demandé puis écrit.

    Args:
        journal: le fichier où chaque texte est ajouté, aussitôt venu.

    Raises:
        ErreurFabrique: le fichier existe, et n'est pas un journal.
    """

    def __init__(self, journal: Path) -> None:
        lignes, abimees = relire_lignes(journal, CHAMPS)
        if abimees and not lignes:
            raise ErreurFabrique(
                "ce fichier existe déjà et n’est pas le journal de ce qu’un modèle a répondu",
                "Déplacez-le, ou donnez un autre nom à la sortie",
                journal,
            )
        self.journal = journal
        self.lus: dict[str, dict[str, Any]] = {ligne["cle"]: ligne for ligne in lignes}
        self.pannes = self.de_suite = 0

    def demander(self, modele: Juge, consigne: str, matiere: str) -> dict[str, Any] | None:
        """Ce que le modèle a répondu ; rien s'il est tombé en panne.

        Raises:
            ErreurFabrique: insister ne servirait à rien.
        """
        cle = empreinte(modele.nom, consigne, matiere)
        if cle in self.lus:
            return self.lus[cle]
        try:
            texte = modele(consigne, matiere)
        except Panne as panne:
            self.pannes += 1
            self.de_suite += 1
            if panne.definitive or self.de_suite == PANNES_DE_SUITE:
                raise ErreurFabrique(
                    str(panne),
                    "Vérifiez l’adresse, le nom du modèle et la clé, puis relancez la même "
                    "commande : ce qui est écrit ne sera pas redemandé",
                    self.journal,
                ) from None
            return None
        self.de_suite = 0
        date = datetime.now(UTC).isoformat(timespec="seconds")
        self.lus[cle] = {"cle": cle, "texte": texte, "generateur": modele.nom, "date": date}
        ajouter_ligne(self.journal, self.lus[cle])
        return self.lus[cle]


def prevenir(adresse: str, ce_qui_part: str) -> None:
    """Dit vers quelle machine part ce qu'on envoie, quand ce n'est pas celle-ci.

    Args:
        ce_qui_part: le début de la phrase, « Les fiches partent ».
    """
    hote = urlsplit(adresse).hostname or ""
    if not _est_ici(hote):
        JOURNAL.warning(
            f"{ce_qui_part} vers {hote} : n’envoyez que ce qui peut sortir de la maison."
        )


def _est_ici(hote: str) -> bool:
    try:
        return ip_address(hote).is_loopback
    except ValueError:
        return hote == "localhost"
