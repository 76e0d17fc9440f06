"""L'index : des fiches coupées en passages, et de quoi retrouver celui qui répond."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, fields
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute

from fabrique.recherche import ecriture
from fabrique.recherche.mots import Mots
from fabrique.recherche.passages import Fiche, Passage, Trouve, couper, passage_de
from fabrique.recherche.sens import Sens, choisir_encodeur
from fabrique.socle.erreurs import ErreurFabrique

_FICHES = pa.schema(
    {champ.name: pa.string() for champ in fields(Fiche)}
    | {"texte": pa.large_string(), "page": pa.int32()}
)
#: Un passage ne répète pas le texte : il dit où le prendre dans sa fiche.
_PASSAGES = pa.schema(
    {nom: pa.int32() for nom in ("fiche", "rang", "debut", "fin")} | {"rubrique": pa.string()}
)


def fusionner(mots: np.ndarray, sens: np.ndarray, poids: float) -> np.ndarray:
    """Le score de chaque passage : ses mots, rapportés au meilleur, plus son sens.

    Args:
        mots: scores BM25, réels ≥ 0. Forme : (passages,).
        sens: proximités de sens, de -1 à 1. Même forme.
        poids: celui du sens, propre à l'encodeur (``Encodeur.poids``) ; choisi sur une moitié des
            questions de ``benchmarks/recherche.py``, vérifié sur l'autre.

    Returns:
        Des scores de même forme. Sur nos questions, mieux que la fusion des rangs (Cormack et al.,
        2009), qui oublie de combien le premier devance le second : voir ``benchmarks/RESULTATS.md``.
    """
    return mots / max(float(mots.max(initial=0)), 1e-9) + poids * sens


class Index:
    """Des passages, et de quoi les chercher par mots et par sens.

    On le construit (``Index.construire``) ou on le relit (``Index.lire``).
    """

    def __init__(
        self, fiches: pa.Table, passages: pa.Table, mots: Mots, sens: Sens | None = None
    ) -> None:
        self._fiches, self._passages, self._mots, self._sens = fiches, passages, mots, sens

    @classmethod
    def construire(cls, *sources: str | Path, sens: str = "poche") -> Index:
        """Lit des fiches, les coupe en passages et les indexe.

        Args:
            sources: noms de corpus livrés (« fiches ») ou fichiers (voir ``lire_fiches``).
            sens: l'encodeur : « poche » (livré), « e5 » (extension ``[e5]``), « aucun » pour ne
                chercher que par mots, ou un dossier (voir ``choisir_encodeur``).

        Raises:
            ErreurFabrique: une fiche ne peut pas être prise ; le fichier, la ligne et le champ sont dits.
        """
        from fabrique.recherche.fiches import lire_fiches

        choisir_encodeur(sens)  # un mauvais nom se dit avant la lecture
        return cls.depuis((f for lue in lire_fiches(*sources) for f in lue.fiches), sens)

    @classmethod
    def depuis(cls, fiches: Iterable[Fiche], sens: str = "poche") -> Index:
        """Indexe des fiches déjà lues, d'identifiants différents."""
        encodeur = choisir_encodeur(sens)
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
            Mots.construire(par_mots(p) for _, p in coupees),
            Sens.construire(encodeur, [p for _, p in coupees]) if encodeur else None,
        )

    def chercher(self, question: str, k: int = 5, par_fiche: int = 1) -> list[Trouve]:
        """Les passages qui répondent le mieux à une question, le meilleur d'abord.

        Args:
            question: une question, ou quelques mots.
            k: combien de passages, au plus.
            par_fiche: combien d'une même fiche, au plus.

        Returns:
            Des passages ; aucun si la question est vide, ou si l'index, qui ne cherche que par
            mots, n'en connaît aucun.
        """
        if k < 1 or par_fiche < 1:
            champ = "k" if k < 1 else "par_fiche"
            raise ErreurFabrique(
                "il faut au moins 1 passage", "Donnez un entier positif", champ=champ
            )
        mots = self._mots.noter(question)
        sens = self._sens.noter(question) if self._sens else np.zeros_like(mots)
        scores = fusionner(mots, sens, self._sens.encodeur.poids if self._sens else 0)
        retenus = retenir(scores, self._passages["fiche"].to_numpy(), k, par_fiche)
        return [
            Trouve.note(self[rang], scores[rang], mots[rang], sens[rang])
            for rang in retenus
            if mots[rang] or sens[rang]
        ]

    def __len__(self) -> int:
        """Le nombre de passages."""
        return len(self._passages)

    def __getitem__(self, rang: int) -> Passage:
        """Un passage, par son rang dans l'index."""
        if not -len(self) <= rang < len(self):
            raise IndexError(rang)
        ligne = self._passages.slice(int(rang) % len(self), 1).to_pylist()[0]
        return passage_de(self._fiche(ligne.pop("fiche")), **ligne)

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
        ecriture.ranger(dossier, self._ecrire, self._verifier)
        return dossier

    @classmethod
    def lire(cls, dossier: str | Path) -> Index:
        """Relit un index ; les textes restent sur le disque jusqu'à ce qu'on en ait besoin.

        Raises:
            ErreurFabrique: ce dossier n'est pas un index, ou il est incomplet.
        """
        dossier = Path(dossier)
        contenu = ecriture.contenu(dossier)
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
        if self._sens:
            self._sens.enregistrer(contenu)

    @classmethod
    def _relire(cls, contenu: Path) -> Index:
        fiches, passages = (
            pa.ipc.open_file(pa.memory_map(str(contenu / f"{nom}.arrow"))).read_all()
            for nom in ("fiches", "passages")
        )
        sens = Sens.lire(contenu) if (contenu / "sens.json").is_file() else None
        return cls(fiches, passages, Mots.lire(contenu / "mots"), sens)

    def _verifier(self, contenu: Path) -> None:
        """Relit ce qu'on vient d'écrire et le compare à ce qu'on a."""
        relu = self._relire(contenu)
        if not (relu._fiches.equals(self._fiches) and relu._passages.equals(self._passages)):
            raise OSError("l’index relu n’est pas celui qu’on a écrit")


#: Combien de fois un mot du titre compte, pour un mot du texte.
POIDS_DU_TITRE = 3


def par_mots(passage: Passage) -> str:
    """Ce que la recherche par mots lit d'un passage : le titre, plusieurs fois, la rubrique, le texte."""
    return "\n".join([*[passage.titre] * POIDS_DU_TITRE, passage.rubrique, passage.texte])


def retenir(scores: np.ndarray, fiches: np.ndarray, k: int, par_fiche: int) -> list[int]:
    """Les rangs des k meilleurs passages, le meilleur d'abord, ``par_fiche`` au plus d'une fiche."""
    retenus: list[int] = []
    deja: Counter[int] = Counter()
    for rang in np.argsort(-scores, kind="stable"):
        if deja[fiches[rang]] < par_fiche:
            deja[fiches[rang]] += 1
            retenus.append(int(rang))
            if len(retenus) == k:
                break
    return retenus
