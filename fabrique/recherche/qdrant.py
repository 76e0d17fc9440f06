"""Le même index dans Qdrant : au-delà d'une machine, ou pour plusieurs qui le partagent.

Deux vecteurs par passage : ses mots (creux, pesés par BM25, la rareté comptée par Qdrant) et son
sens. La fusion reste la nôtre : un passage y a le même rang, qu'il vienne d'ici ou de là.
"""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_URL, uuid5

import numpy as np

from fabrique.recherche.fiches import lire_fiches
from fabrique.recherche.index import fusionner, par_mots, retenir
from fabrique.recherche.mots import racines
from fabrique.recherche.passages import Fiche, Passage, Trouve, couper
from fabrique.recherche.sens import Encodeur, choisir_encodeur
from fabrique.socle.erreurs import MACHINE, ErreurFabrique

try:
    from qdrant_client import QdrantClient, models
except ImportError as cause:
    raise ErreurFabrique(
        "Qdrant demande le paquet qdrant-client",
        'Installez l’extension : pip install "fabrique[qdrant]"',
        code=MACHINE,
    ) from cause

#: Les constantes de BM25, celles de bm25s par défaut.
K1, B = 1.5, 0.75
#: Combien de candidats par mots, et combien par sens, avant la fusion.
CANDIDATS = 200
#: Combien de passages s'envoient à la fois.
LOT = 256


class IndexQdrant:
    """Des passages rangés dans une collection de Qdrant ; les mêmes appels qu'un ``Index``.

    Args:
        client: celui de qdrant-client.
        collection: le nom de la collection.
        encodeur: celui qui a fait les vecteurs.
    """

    def __init__(self, client: QdrantClient, collection: str, encodeur: Encodeur) -> None:
        self.client, self.collection, self.encodeur = client, collection, encodeur

    @classmethod
    def construire(
        cls,
        *sources: str | Path,
        adresse: str | Path,
        collection: str = "fiches",
        sens: str = "poche",
    ) -> IndexQdrant:
        """Lit des fiches et les range dans une collection neuve.

        Args:
            sources: noms de corpus livrés ou fichiers (voir ``lire_fiches``).
            adresse: celle d'un serveur (« http://… »), ou un dossier de cette machine.
            collection: le nom de la collection.
            sens: l'encodeur (voir ``choisir_encodeur``) ; « aucun » ne convient pas ici.

        Raises:
            ErreurFabrique: fiche refusée, ou collection qui existe déjà.
        """
        return cls.depuis(
            (fiche for lue in lire_fiches(*sources) for fiche in lue.fiches),
            adresse=adresse,
            collection=collection,
            sens=sens,
        )

    @classmethod
    def depuis(
        cls,
        fiches: Iterable[Fiche],
        *,
        adresse: str | Path,
        collection: str = "fiches",
        sens: str = "poche",
    ) -> IndexQdrant:
        """Range des fiches déjà lues, d'identifiants différents."""
        encodeur = choisir_encodeur(sens)
        if encodeur is None:
            raise ErreurFabrique(
                "dans Qdrant, la recherche se fait aussi par sens",
                "Choisissez un encodeur",
                champ="sens",
            )
        client = _ouvrir(adresse)
        if client.collection_exists(collection):
            raise ErreurFabrique(
                f"la collection « {collection} » existe déjà",
                "Donnez un autre nom, ou retirez-la vous-même dans Qdrant",
                str(adresse),
            )
        passages = [passage for fiche in fiches for passage in couper(fiche)]
        if not passages:
            raise ErreurFabrique("aucun passage à indexer", "Donnez au moins une fiche")
        vecteurs = encodeur.passages(passages)
        client.create_collection(
            collection,
            vectors_config={
                "sens": models.VectorParams(size=vecteurs.shape[1], distance=models.Distance.DOT)
            },
            sparse_vectors_config={"mots": models.SparseVectorParams(modifier=models.Modifier.IDF)},
            metadata={"encodeur": encodeur.nom, "empreinte": encodeur.empreinte},
        )
        client.upload_points(collection, _points(passages, vecteurs), batch_size=LOT, wait=True)
        return cls(client, collection, encodeur)

    @classmethod
    def lire(cls, adresse: str | Path, collection: str = "fiches") -> IndexQdrant:
        """Ouvre une collection que ``construire`` a écrite.

        Raises:
            ErreurFabrique: collection absente, d'un autre outil, ou dont l'encodeur a changé.
        """
        client = _ouvrir(adresse)
        if not client.collection_exists(collection):
            raise ErreurFabrique(
                f"la collection « {collection} » n’existe pas", "Construisez-la", str(adresse)
            )
        dit = client.get_collection(collection).config.metadata or {}
        encodeur = choisir_encodeur(dit.get("encodeur", "aucun"))
        if encodeur is None or encodeur.empreinte != dit.get("empreinte"):
            raise ErreurFabrique(
                f"la collection « {collection} » n’est pas de nous, ou son encodeur a changé",
                "Construisez-la de nouveau sous un autre nom",
                str(adresse),
            )
        return cls(client, collection, encodeur)

    def __len__(self) -> int:
        """Le nombre de passages."""
        return self.client.count(self.collection).count

    def chercher(self, question: str, k: int = 5, par_fiche: int = 1) -> list[Trouve]:
        """Les passages qui répondent le mieux à une question : voir ``Index.chercher``."""
        mots = sorted({_numero(racine) for racine in racines(question)})
        vecteur = self.encodeur.questions([question])[0]
        creux = models.SparseVector(indices=mots, values=[1.0] * len(mots))
        par_mots_ = self._candidats("mots", creux) if mots else {}
        par_sens = self._candidats("sens", vecteur.tolist()) if vecteur.any() else {}
        trouves = par_mots_ | par_sens
        if not trouves:
            return []
        # Un passage absent d'une liste y vaut moins que son dernier.
        plancher = min((point.score for point in par_sens.values()), default=0.0)
        notes_mots = np.array([par_mots_[i].score if i in par_mots_ else 0.0 for i in trouves])
        notes_sens = np.array([par_sens[i].score if i in par_sens else plancher for i in trouves])
        scores = fusionner(notes_mots, notes_sens, self.encodeur.poids)
        passages = [Passage(**(point.payload or {})) for point in trouves.values()]
        fiches = np.array([passage.fiche for passage in passages])
        return [
            Trouve.note(passages[rang], scores[rang], notes_mots[rang], notes_sens[rang])
            for rang in retenir(scores, fiches, k, par_fiche)
        ]

    def _candidats(self, vecteur: str, question: Any) -> dict[str, models.ScoredPoint]:
        trouves = self.client.query_points(
            self.collection, query=question, using=vecteur, limit=CANDIDATS
        )
        return {str(point.id): point for point in trouves.points}


def _ouvrir(adresse: str | Path) -> QdrantClient:
    try:
        if str(adresse).startswith(("http://", "https://")):
            return QdrantClient(url=str(adresse))
        return QdrantClient(path=str(adresse))
    except Exception as cause:  # réseau, verrou, droits : qdrant-client en lève de toute sorte
        raise ErreurFabrique(
            "Qdrant ne s’ouvre pas à cette adresse",
            "Vérifiez l’adresse ; un dossier ne s’ouvre que par un programme à la fois",
            str(adresse),
            code=MACHINE,
        ) from cause


def _points(passages: list[Passage], vecteurs: np.ndarray) -> Iterator[models.PointStruct]:
    """Un point par passage : ses deux vecteurs, et tous ses champs."""
    sacs = [Counter(racines(par_mots(passage))) for passage in passages]
    moyenne = sum(sac.total() for sac in sacs) / len(sacs)
    for passage, sac, vecteur in zip(passages, sacs, vecteurs, strict=True):
        longueur = 1 - B + B * sac.total() / moyenne
        # Deux racines de même numéro se confondraient : leurs comptes s'ajoutent.
        comptes: Counter[int] = Counter()
        for racine, fois in sac.items():
            comptes[_numero(racine)] += fois
        poids = [fois / (fois + K1 * longueur) for fois in comptes.values()]
        yield models.PointStruct(
            id=str(uuid5(NAMESPACE_URL, passage.identifiant)),
            vector={
                "sens": vecteur.tolist(),
                "mots": models.SparseVector(indices=list(comptes), values=poids),
            },
            payload=asdict(passage),
        )


def _numero(racine: str) -> int:
    """Le numéro d'une racine dans un vecteur creux, le même sur toutes les machines."""
    return zlib.crc32(racine.encode())
