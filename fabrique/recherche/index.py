"""L'index : des fiches coupées en passages, et de quoi retrouver celui qui répond."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute

from fabrique.recherche import rangement
from fabrique.recherche.mots import Mots
from fabrique.recherche.passages import SOUS, Fiche, Passage, Trouve, couper
from fabrique.socle.erreurs import ErreurFabrique

_FICHES = pa.schema(
    [
        ("id", pa.string()),
        ("titre", pa.string()),
        ("texte", pa.large_string()),
        ("source", pa.string()),
        ("page", pa.int32()),
        ("rubrique", pa.string()),
        ("date", pa.string()),
    ]
)
#: Un passage ne répète pas le texte : il dit où le prendre dans sa fiche.
_PASSAGES = pa.schema(
    [
        ("fiche", pa.int32()),
        ("rang", pa.int32()),
        ("debut", pa.int32()),
        ("fin", pa.int32()),
        ("rubrique", pa.string()),
    ]
)


class Index:
    """Des passages, et de quoi les chercher.

    On le construit (``Index.construire``) ou on le relit (``Index.lire``).
    """

    def __init__(self, fiches: pa.Table, passages: pa.Table, mots: Mots) -> None:
        self._fiches, self._passages, self._mots = fiches, passages, mots

    @classmethod
    def construire(cls, *sources: str | Path) -> Index:
        """Lit des fiches, les coupe en passages et les indexe.

        Args:
            sources: noms de corpus livrés (« fiches ») ou fichiers (voir ``lire_fiches``).

        Raises:
            ErreurFabrique: une fiche ne peut pas être prise ; le fichier, la ligne et le champ sont dits.
        """
        from fabrique.recherche.fiches import lire_fiches

        return cls.depuis(lire_fiches(*sources))

    @classmethod
    def depuis(cls, fiches: Iterable[Fiche]) -> Index:
        """Indexe des fiches déjà lues, d'identifiants différents."""
        fiches = list(fiches)
        coupees = [(rang, p) for rang, fiche in enumerate(fiches) for p in couper(fiche)]
        if not coupees:
            raise ErreurFabrique("aucun passage à indexer", "Donnez au moins une fiche")
        passages = [
            {
                "fiche": rang,
                "rang": p.rang,
                "debut": p.debut,
                "fin": p.debut + len(p.texte),
                "rubrique": p.rubrique,
            }
            for rang, p in coupees
        ]
        return cls(
            pa.Table.from_pylist([asdict(fiche) for fiche in fiches], _FICHES),
            pa.Table.from_pylist(passages, _PASSAGES),
            Mots.construire(_a_chercher(p) for _, p in coupees),
        )

    def chercher(self, question: str, k: int = 5) -> list[Trouve]:
        """Les passages qui répondent le mieux à une question, le meilleur d'abord.

        Args:
            question: une question, ou quelques mots.
            k: combien de passages, au plus. Aucun n'est rendu qui n'ait rien de commun avec elle.
        """
        if k < 1:
            raise ErreurFabrique("k doit être au moins 1", "Donnez un entier positif", champ="k")
        mots = self._mots.noter(question)
        premiers = np.argsort(-mots, kind="stable")[:k]
        return [
            Trouve(**vars(self[rang]), score=float(mots[rang]), mots=float(mots[rang]))
            for rang in premiers
            if mots[rang] > 0
        ]

    def __len__(self) -> int:
        """Le nombre de passages."""
        return len(self._passages)

    def __getitem__(self, rang: int) -> Passage:
        """Un passage, par son rang dans l'index."""
        if not -len(self) <= rang < len(self):
            raise IndexError(rang)
        ligne = self._passages.slice(int(rang) % len(self), 1).to_pylist()[0]
        fiche = self._fiche(ligne["fiche"])
        return Passage(
            fiche.id,
            fiche.titre,
            fiche.texte[ligne["debut"] : ligne["fin"]],
            ligne["rubrique"],
            fiche.source,
            fiche.page,
            fiche.date,
            ligne["rang"],
            ligne["debut"],
        )

    def fiche(self, identifiant: str) -> Fiche:
        """Une fiche entière.

        Raises:
            ErreurFabrique: aucune fiche n'a cet identifiant.
        """
        rang = pa.compute.index(self._fiches["id"], identifiant).as_py()
        if rang < 0:
            raise ErreurFabrique(
                f"aucune fiche n’a l’identifiant « {identifiant} »", "Vérifiez l’identifiant"
            )
        return self._fiche(rang)

    def _fiche(self, rang: int) -> Fiche:
        return Fiche(**self._fiches.slice(rang, 1).to_pylist()[0])

    def enregistrer(self, dossier: str | Path) -> Path:
        """Écrit l'index dans un dossier, d'un seul geste : coupée, l'écriture laisse l'ancien répondre.

        Returns:
            Le dossier.

        Raises:
            ErreurFabrique: le dossier n'est pas vide, et nous ne l'avons pas écrit.
        """
        dossier = Path(dossier)
        rangement.ranger(dossier, self._ecrire, self._verifier)
        return dossier

    @classmethod
    def lire(cls, dossier: str | Path) -> Index:
        """Relit un index ; les textes restent sur le disque jusqu'à ce qu'on en ait besoin.

        Raises:
            ErreurFabrique: ce dossier n'est pas un index, ou il est incomplet.
        """
        dossier = Path(dossier)
        contenu = rangement.contenu(dossier)
        try:
            return cls._relire(contenu)
        except (OSError, ValueError, KeyError, pa.ArrowException) as cause:
            raise ErreurFabrique(
                "cet index est abîmé : un de ses fichiers manque ou ne se lit plus",
                "Construisez-le de nouveau avec « fabrique sources indexer »",
                dossier,
            ) from cause

    def _ecrire(self, contenu: Path) -> None:
        for nom, table in (("fiches", self._fiches), ("passages", self._passages)):
            with pa.ipc.new_file(contenu / f"{nom}.arrow", table.schema) as fichier:
                fichier.write_table(table)
        self._mots.enregistrer(contenu / "mots")

    @classmethod
    def _relire(cls, contenu: Path) -> Index:
        tables = (
            pa.ipc.open_file(pa.memory_map(str(contenu / f"{nom}.arrow"))).read_all()
            for nom in ("fiches", "passages")
        )
        return cls(*tables, Mots.lire(contenu / "mots"))

    def _verifier(self, contenu: Path) -> None:
        """Relit ce qu'on vient d'écrire et le compare à ce qu'on a."""
        relu = self._relire(contenu)
        if not (relu._fiches.equals(self._fiches) and relu._passages.equals(self._passages)):
            raise OSError("l’index relu n’est pas celui qu’on a écrit")


def _a_chercher(passage: Passage) -> str:
    """Ce que la recherche lit d'un passage : ses titres, puis son texte."""
    return f"{passage.titre}{SOUS}{passage.rubrique}\n{passage.texte}"
