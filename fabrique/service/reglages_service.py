"""Les réglages du service : la commande « fabrique servir » en fait ses options."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
from dataclasses import dataclass
from pathlib import Path

from fabrique.socle.erreurs import COMPTE, ErreurFabrique, Nombre
from fabrique.socle.nombres import MO
from fabrique.socle.options import refuser, reglage, verifier_les_nombres

#: L'adresse que cette machine seule peut joindre.
CHEZ_SOI = "127.0.0.1"
#: Qui peut écrire les réponses ; « auto » : llama.cpp s'il est installé, sans carte et si le modèle s'y
#: prête, transformers sinon.
AUTO, TRANSFORMERS, LLAMA_CPP = "auto", "transformers", "llama.cpp"


@dataclass(frozen=True)
class ReglagesService:
    """Où le service écoute, où il range, et ce qu'il accepte de faire à la fois.

    ``lot`` réponses s'écrivent ensemble ; ``file_max`` demandes attendent, au plus, et les suivantes
    sont refusées ; ``delai_reponse`` borne le temps d'une demande, attente comprise, et
    ``delai_client`` celui qu'on laisse à un client qui n'envoie, ou ne lit, plus rien.
    """

    port: int = reglage(
        8000,
        "Port d’écoute ; 0 en prend un libre.",
        Nombre(entier=True, au_moins=0, moins_de=65536),
    )
    hote: str = reglage(
        CHEZ_SOI, "Adresse d’écoute ; 0.0.0.0 ouvre le service au réseau, avec une clé."
    )
    dossier: str = reglage(
        "sorties/service", "Où garder fichiers et affinages, d’un démarrage à l’autre."
    )
    moteur: str = reglage(
        AUTO,
        "Qui écrit : transformers, llama.cpp (extension [gguf]) ou auto (le second, sans carte).",
    )
    lot: int = reglage(16, "Réponses écrites ensemble.", COMPTE)
    file_max: int = reglage(32, "Demandes en attente, au plus.", COMPTE)
    jetons_max: int = reglage(512, "Jetons par réponse, au plus.", COMPTE)
    fichier_max: int = reglage(100, "Taille d’un fichier déposé, en Mo.", COMPTE)
    delai_reponse: float = reglage(
        300, "Secondes par demande, attente comprise.", Nombre(positive=True, exemple="300")
    )
    delai_client: float = reglage(
        30, "Secondes laissées à un client qui se tait.", Nombre(positive=True, exemple="30")
    )

    def __post_init__(self) -> None:
        verifier_les_nombres(self)
        if self.moteur not in (AUTO, TRANSFORMERS, LLAMA_CPP):
            raise refuser(self.moteur, f"Donnez {AUTO}, {TRANSFORMERS} ou {LLAMA_CPP}", "moteur")

    @property
    def racine(self) -> Path:
        """Le dossier du service, en entier : les affinages le gardent d'un démarrage à l'autre."""
        return Path(self.dossier).resolve()

    @property
    def corps_max(self) -> dict[bool, int]:
        """Octets d'une requête, au plus : un fichier déposé (vrai), ou une demande (faux)."""
        return {True: self.fichier_max * MO + 64_000, False: 2 * MO}

    @property
    def ouvert(self) -> bool:
        """Vrai si d'autres machines peuvent joindre le service."""
        return est_ouvert(self.hote)


def est_ouvert(hote: str) -> bool:
    """Vrai si une adresse d'écoute se joint depuis d'autres machines."""
    if hote == "localhost":
        return False
    try:
        return not ipaddress.ip_address(hote).is_loopback
    except ValueError:
        return True


class Cle:
    """La clé du service, dont on ne garde que l'empreinte.

    Args:
        en_clair: la clé telle que les clients la donneront ; vide, le service est sans clé.

    Raises:
        ErreurFabrique: la clé porte un accent ou une espace : les clients ne sauraient pas l'envoyer.
    """

    def __init__(self, en_clair: str) -> None:
        if not all("!" <= signe <= "~" for signe in en_clair):
            raise ErreurFabrique(
                "une clé ne peut porter ni accent ni espace : un en-tête HTTP ne les transporte pas",
                "Tirez-en une au sort (python -c 'import secrets; print(secrets.token_urlsafe(32))')",
                champ="--cle",
            )
        self._empreinte = _empreinte(en_clair) if en_clair else None

    def __bool__(self) -> bool:
        return self._empreinte is not None

    def ouvre(self, donnee: str) -> bool:
        """Vrai pour la bonne clé ; le temps de la comparaison ne dit pas où elle diffère."""
        return hmac.compare_digest(self._empreinte or b"", _empreinte(donnee))


def _empreinte(texte: str) -> bytes:
    return hashlib.sha256(texte.encode(errors="surrogatepass")).digest()


def verifier_l_ouverture(hote: str, cle: Cle) -> None:
    """Refuse d'écouter sur le réseau sans clé.

    Raises:
        ErreurFabrique: l'adresse se joint d'ailleurs, et aucune clé n'est demandée.
    """
    if est_ouvert(hote) and not cle:
        raise ErreurFabrique(
            f"{hote} se joint depuis d’autres machines : une clé est obligatoire",
            "Donnez --cle (ou la variable FABRIQUE_CLE), ou laissez --hote 127.0.0.1",
            champ="--hote",
        )
