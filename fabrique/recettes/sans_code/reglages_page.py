"""Les réglages de la page : la commande « fabrique page » en fait ses options."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from fabrique.service.reglages_service import CHEZ_SOI
from fabrique.socle.erreurs import COMPTE, Nombre
from fabrique.socle.options import reglage, verifier_les_nombres


@dataclass(frozen=True)
class ReglagesPage:
    """Où la page écoute, où elle range, et ce qu'elle accepte qu'on y dépose."""

    port: int = reglage(
        7860,
        "Port d’écoute ; 0 en prend un libre.",
        Nombre(entier=True, au_moins=0, moins_de=65536),
    )
    hote: str = reglage(
        CHEZ_SOI, "Adresse d’écoute ; 0.0.0.0 ouvre la page au réseau, avec un mot de passe."
    )
    dossier: str = reglage("sorties/page", "Le seul dossier où la page écrit.")
    fichier_max: int = reglage(200, "Taille d’un fichier déposé, en Mo.", COMPTE)
    sans_navigateur: bool = reglage(False, "N’ouvre pas le navigateur.")

    def __post_init__(self) -> None:
        verifier_les_nombres(self)

    @property
    def racine(self) -> Path:
        """Le dossier de la page, en entier."""
        return Path(self.dossier).resolve()
