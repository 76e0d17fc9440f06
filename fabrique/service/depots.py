"""``/v1/files`` : les fichiers que les clients déposent, rangés sous un nom à nous.

Le nom donné par le client ne sert qu'à être montré : il ne devient jamais un chemin.
"""

from __future__ import annotations

import json
import secrets
import shutil
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any, BinaryIO

from fastapi import APIRouter, File, Form, Query, UploadFile
from starlette.responses import FileResponse, Response

from fabrique.service.refus import Refus
from fabrique.socle.emplacements import ecrire_json, empreinte

#: Fichiers gardés, au plus : un client ne remplit pas le disque de petits fichiers.
FICHIERS_MAX = 1000
#: Les usages d'un fichier : des exemples déposés, ou les mesures d'un affinage.
EXEMPLES, MESURES = "fine-tune", "fine-tune-results"
#: Ce que nous savons d'un fichier, à côté de lui.
NOTICE = "notice.json"
#: Longueur d'un nom montré, au plus.
NOM_MAX = 200


@dataclass(frozen=True)
class Depot:
    """Un fichier déposé.

    Args:
        nom: celui que le client lui donnait, sans son chemin.
        usage: ``EXEMPLES``, ou ``MESURES`` pour ce que le service a écrit.
        empreinte: SHA-256 du contenu ; on n'efface que ce qu'on a écrit.
    """

    id: str
    nom: str
    usage: str
    octets: int
    cree: int
    empreinte: str

    @property
    def contenu(self) -> str:
        """Le nom du contenu sur le disque : un nom à nous."""
        return "contenu.jsonl" if self.usage == EXEMPLES else "contenu.csv"

    def en_objet(self) -> dict[str, Any]:
        """Le fichier dans la forme de l'API."""
        return {
            "id": self.id,
            "object": "file",
            "bytes": self.octets,
            "created_at": self.cree,
            "filename": self.nom,
            "purpose": self.usage,
            "status": "processed",
        }


class Depots:
    """Les fichiers d'un dossier ; ils survivent au service.

    Args:
        racine: un sous-dossier par fichier.
    """

    def __init__(self, racine: Path) -> None:
        self.racine = racine
        self._connus = {depot.id: depot for depot in _relire(racine)}

    def tous(self) -> list[Depot]:
        """Les fichiers, du plus ancien au plus récent."""
        return sorted(self._connus.values(), key=lambda depot: (depot.cree, depot.id))

    def trouver(self, id: str, champ: str | None = None) -> Depot:
        """Un fichier par son identifiant.

        Raises:
            Refus: 404, il n'existe pas.
        """
        if id not in self._connus:
            raise Refus(
                f"le fichier « {id} » n’existe pas",
                "Donnez l’identifiant rendu par POST /v1/files",
                champ=champ,
                statut=404,
                nom="not_found",
            )
        return self._connus[id]

    def chemin(self, depot: Depot) -> Path:
        """Où est le contenu."""
        return self.racine / depot.id / depot.contenu

    def deposer(self, flux: BinaryIO, nom: str, usage: str) -> Depot:
        """Range un fichier ; coupé en route, il n'en reste rien de visible.

        Raises:
            Refus: fichier vide, ou trop de fichiers.
        """
        if len(self._connus) >= FICHIERS_MAX:
            raise Refus(
                f"le service garde déjà {FICHIERS_MAX} fichiers",
                "Supprimez-en (DELETE /v1/files/{id})",
                nom="storage_limit",
            )
        id = f"file-{secrets.token_hex(12)}"
        a_cote = self.racine / f".{id}"
        a_cote.mkdir(parents=True)
        try:
            depot = _ecrire(
                flux, a_cote, Depot(id, _montrable(nom), usage, 0, int(time.time()), "")
            )
            a_cote.rename(self.racine / id)
        except BaseException:
            shutil.rmtree(a_cote, ignore_errors=True)
            raise
        self._connus[id] = depot
        return depot

    def supprimer(self, depot: Depot) -> None:
        """Efface un fichier, s'il est encore tel que nous l'avons écrit.

        Raises:
            Refus: on l'a changé depuis.
        """
        chemin = self.chemin(depot)
        if chemin.is_file() and empreinte(chemin) != depot.empreinte:
            raise Refus(
                "ce fichier a été changé sur le disque depuis son dépôt",
                "Effacez-le vous-même si vous n’en avez plus besoin",
                statut=409,
            )
        del self._connus[depot.id]
        for fichier in (chemin, chemin.with_name(NOTICE)):
            fichier.unlink(missing_ok=True)
        if not any(chemin.parent.iterdir()):
            chemin.parent.rmdir()


def _ecrire(flux: BinaryIO, dossier: Path, depot: Depot) -> Depot:
    """Écrit le contenu, puis sa notice, dans un dossier neuf ; rend le dépôt mesuré et signé."""
    contenu = dossier / depot.contenu
    with contenu.open("wb") as sortie:
        shutil.copyfileobj(flux, sortie)
    octets = contenu.stat().st_size
    if not octets:
        raise Refus("le fichier est vide", "Donnez un exemple par ligne", champ="file")
    depot = replace(depot, octets=octets, empreinte=empreinte(contenu))
    ecrire_json(dossier / NOTICE, asdict(depot))
    return depot


def _relire(racine: Path) -> list[Depot]:
    """Les fichiers qu'une session précédente a rangés ; un reste de dépôt coupé s'ignore."""
    lus = []
    for notice in racine.glob(f"file-*/{NOTICE}"):
        try:
            lus.append(Depot(**json.loads(notice.read_text(encoding="utf-8"))))
        except (OSError, ValueError, TypeError):
            continue
    return lus


def _montrable(nom: str) -> str:
    """Le nom d'un fichier sans son chemin, sans caractère de commande, ni demi-caractère."""
    dernier = nom.replace("\\", "/").rpartition("/")[2]
    propre = "".join(c for c in dernier if c.isprintable())
    return propre[:NOM_MAX] or "sans_nom.jsonl"


def paginer(objets: list[dict[str, Any]], limite: int, apres: str | None) -> dict[str, Any]:
    """Une page d'objets, dans la forme de l'API.

    Args:
        apres: l'identifiant du dernier objet de la page précédente.
    """
    rangs = [rang for rang, objet in enumerate(objets) if objet["id"] == apres]
    if apres is not None and not rangs:
        raise Refus(f"« {apres} » n’est pas dans la liste", champ="after")
    suite = objets[rangs[0] + 1 :] if rangs else objets
    page = suite[:limite]
    return {
        "object": "list",
        "data": page,
        "first_id": page[0]["id"] if page else None,
        "last_id": page[-1]["id"] if page else None,
        "has_more": len(suite) > limite,
    }


Limite = Annotated[int, Query(ge=1, le=10_000)]


def routes(depots: Depots, sert_encore: Callable[[str], str | None]) -> APIRouter:
    """Les adresses des fichiers.

    Args:
        sert_encore: l'affinage qui attend ce fichier ; None s'il n'y en a pas.
    """
    routeur = APIRouter(prefix="/v1/files")

    @routeur.post("")
    def deposer(file: Annotated[UploadFile, File()], purpose: Annotated[str, Form()]) -> dict:
        """Dépose un fichier d'exemples."""
        if purpose != EXEMPLES:
            raise Refus(
                f"l’usage « {purpose} » n’est pas pris ici",
                f'Donnez purpose="{EXEMPLES}"',
                champ="purpose",
            )
        return depots.deposer(file.file, file.filename or "", purpose).en_objet()

    @routeur.get("")
    def lister(
        purpose: str | None = None,
        limit: Limite = 10_000,
        after: str | None = None,
        order: Annotated[str, Query(pattern="^(asc|desc)$")] = "desc",
    ) -> dict:
        """Les fichiers déposés."""
        tous = [d.en_objet() for d in depots.tous() if purpose in (None, d.usage)]
        return paginer(tous if order == "asc" else tous[::-1], limit, after)

    @routeur.get("/{id}")
    def decrire(id: str) -> dict:
        """Un fichier."""
        return depots.trouver(id).en_objet()

    @routeur.get("/{id}/content")
    def rendre(id: str) -> Response:
        """Le contenu d'un fichier, octet pour octet."""
        chemin = depots.chemin(depots.trouver(id))
        if not chemin.is_file():
            raise Refus(
                f"le contenu du fichier « {id} » n’est plus sur le disque",
                "Déposez-le de nouveau",
                statut=404,
                nom="not_found",
            )
        return FileResponse(chemin, media_type="application/octet-stream")

    @routeur.delete("/{id}")
    def supprimer(id: str) -> dict:
        """Efface un fichier."""
        depot = depots.trouver(id)
        if travail := sert_encore(id):
            raise Refus(
                f"l’affinage « {travail} » attend ce fichier", "Annulez-le d’abord", statut=409
            )
        depots.supprimer(depot)
        return {"id": id, "object": "file", "deleted": True}

    return routeur
