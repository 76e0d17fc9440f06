"""Ranger des textes sous des étiquettes : une vue du texte, et une régression logistique dessus.

Un classifieur enregistré ne contient que des nombres (safetensors) et du JSON : aucun code ne
s'exécute quand on le relit.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from safetensors.numpy import load_file, save
from scipy.sparse import csr_matrix
from scipy.special import softmax
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from fabrique.modeles.rangeur import Rangeur
from fabrique.recherche.sens import choisir_encodeur
from fabrique.socle.emplacements import ecrire_signe, mettre_en_place
from fabrique.socle.erreurs import ErreurFabrique

#: Les fichiers d'un classifieur.
FICHE, POIDS = "classifieur.json", "classifieur.safetensors"


class Classifieur(Rangeur, Protocol):
    """Un rangeur appris, qui s'enregistre."""

    @property
    def methode(self) -> str:
        """Son nom dans ``METHODES``."""

    def enregistrer(self, dossier: Path) -> None:
        """L'écrit dans un dossier, d'où ``relire`` le rend."""


class Vue(Protocol):
    """Ce qui fait d'un texte des nombres."""

    def vecteurs(self, textes: Sequence[str]) -> np.ndarray | csr_matrix:
        """Un vecteur par texte. Forme : (textes, dimensions)."""

    def description(self) -> dict[str, Any]:
        """Ce que la fiche en garde."""

    def nombres(self) -> dict[str, np.ndarray]:
        """Ce que le fichier de poids en garde."""


class Comptes:
    """TF-IDF : chaque mot, ou suite de lettres, compte d'autant plus qu'il est rare ailleurs.

    Source : Salton et Buckley, 1988 ; scikit-learn, ``TfidfVectorizer``.
    """

    ANALYSES: Mapping[str, Mapping[str, Any]] = {
        "mots": {"analyzer": "word"},
        "lettres": {"analyzer": "char_wb", "ngram_range": (2, 5), "min_df": 2},
    }

    def __init__(self, analyse: str, compteur: TfidfVectorizer) -> None:
        self.analyse, self.compteur = analyse, compteur

    @classmethod
    def apprendre(cls, analyse: str, textes: Sequence[str]) -> Comptes:
        """Retient ce qui est compté, et combien chaque compte pèse."""
        return cls(analyse, TfidfVectorizer(sublinear_tf=True, **cls.ANALYSES[analyse]).fit(textes))

    @classmethod
    def relire(cls, fiche: Mapping[str, Any], nombres: Mapping[str, np.ndarray]) -> Comptes:
        """Le même, relu."""
        options = {nom: v for nom, v in cls.ANALYSES[fiche["analyse"]].items() if nom != "min_df"}
        compteur = TfidfVectorizer(sublinear_tf=True, vocabulary=fiche["vocabulaire"], **options)
        compteur.idf_ = nombres["idf"]
        return cls(fiche["analyse"], compteur)

    def vecteurs(self, textes: Sequence[str]) -> csr_matrix:
        """Les comptes pesés, ramenés à la longueur 1."""
        return self.compteur.transform(textes)

    def description(self) -> dict[str, Any]:
        """L'analyse, et les mots dans l'ordre des poids."""
        return {
            "analyse": self.analyse,
            "vocabulaire": self.compteur.get_feature_names_out().tolist(),
        }

    def nombres(self) -> dict[str, np.ndarray]:
        """Le poids de chaque mot."""
        return {"idf": self.compteur.idf_}


class Sens:
    """Le vecteur d'un encodeur de la recherche."""

    def __init__(self, nom: str = "poche") -> None:
        encodeur = choisir_encodeur(nom)
        if encodeur is None:
            raise ErreurFabrique("ranger par sens demande un encodeur", "Choisissez « poche »")
        self.encodeur = encodeur

    @classmethod
    def relire(cls, fiche: Mapping[str, Any]) -> Sens:
        """Retrouve l'encodeur.

        Raises:
            ErreurFabrique: ce n'est plus le même.
        """
        vue = cls(fiche["encodeur"])
        if vue.encodeur.empreinte != fiche["empreinte"]:
            raise ErreurFabrique(
                f"l’encodeur « {fiche['encodeur']} » n’est plus celui de ce classifieur",
                "Entraînez-le de nouveau avec « fabrique classer entrainer »",
            )
        return vue

    def vecteurs(self, textes: Sequence[str]) -> np.ndarray:
        """Les vecteurs, de longueur 1."""
        return self.encodeur.questions(list(textes))

    def description(self) -> dict[str, Any]:
        """Le nom de l'encodeur, et son empreinte."""
        return {"encodeur": self.encodeur.nom, "empreinte": self.encodeur.empreinte}

    def nombres(self) -> dict[str, np.ndarray]:
        """Rien : l'encodeur est déjà sur le disque."""
        return {}


@dataclass(frozen=True)
class Lineaire:
    """Une régression logistique sur une vue.

    Args:
        poids: forme (étiquettes, dimensions).
        biais: forme (étiquettes,).
    """

    methode: str
    etiquettes: tuple[str, ...]
    vue: Vue
    poids: np.ndarray
    biais: np.ndarray

    @classmethod
    def apprendre(
        cls,
        methode: str,
        vue: Vue,
        textes: Sequence[str],
        etiquettes: Sequence[str],
        souplesse: float,
        centrer: bool = False,
    ) -> Lineaire:
        """Apprend les poids qui séparent le mieux les étiquettes.

        Args:
            souplesse: ``C`` de scikit-learn : plus elle est haute, plus les poids sont libres.
            centrer: ramène d'abord chaque dimension à une moyenne nulle et un écart type de 1.
        """
        vus = vue.vecteurs(textes)
        echelle = StandardScaler().fit(vus) if centrer else None
        regression = LogisticRegression(C=souplesse, max_iter=1000)
        regression.fit(echelle.transform(vus) if echelle else vus, list(etiquettes))
        poids, biais = regression.coef_, regression.intercept_
        if len(regression.classes_) == 2:  # scikit-learn ne garde que la seconde
            poids, biais = np.vstack([0 * poids, poids]), np.array([0.0, biais[0]])
        if echelle:  # la mise à l'échelle passe dans les poids
            poids = poids / echelle.scale_
            biais = biais - poids @ echelle.mean_
        noms = tuple(map(str, regression.classes_))
        return cls(methode, noms, vue, poids.astype(np.float32), biais.astype(np.float32))

    def probabilites(self, textes: Sequence[str]) -> np.ndarray:
        """Les probabilités. Forme : (textes, étiquettes)."""
        return softmax(self.vue.vecteurs(textes) @ self.poids.T + self.biais, axis=1)

    def enregistrer(self, dossier: Path) -> None:
        """Écrit ``classifieur.json`` et ``classifieur.safetensors``."""
        ecrire_nombres(dossier, {"poids": self.poids, "biais": self.biais, **self.vue.nombres()})
        ecrire_fiche(dossier, self, vue=self.vue.description())

    @classmethod
    def relire(cls, fiche: Mapping[str, Any], dossier: Path, vue: Vue | None = None) -> Lineaire:
        """Le même, relu ; ``vue`` remplace celle que la fiche décrit."""
        nombres = load_file(dossier / POIDS)
        if vue is None:
            decrite = fiche["vue"]
            vue = Comptes.relire(decrite, nombres) if "analyse" in decrite else Sens.relire(decrite)
        noms = tuple(fiche["etiquettes"])
        return cls(fiche["methode"], noms, vue, nombres["poids"], nombres["biais"])


# ---------------------------------------------------------------- le dossier


def ecrire_fiche(dossier: Path, classifieur: Classifieur, **suite: Any) -> None:
    """Écrit la fiche : la méthode, les étiquettes, et ce que la méthode y ajoute."""
    fiche = {"methode": classifieur.methode, "etiquettes": list(classifieur.etiquettes), **suite}
    ecrire_signe(dossier / FICHE, json.dumps(fiche, ensure_ascii=False))


def ecrire_nombres(dossier: Path, nombres: Mapping[str, np.ndarray]) -> None:
    """Écrit des tableaux en safetensors, d'un seul geste."""
    dossier.mkdir(parents=True, exist_ok=True)
    partiel = dossier / f"{POIDS}.partiel"
    partiel.write_bytes(save({nom: np.ascontiguousarray(t) for nom, t in nombres.items()}))
    mettre_en_place(partiel, dossier / POIDS)


def lire_fiche(dossier: Path) -> dict[str, Any]:
    """La fiche d'un classifieur.

    Raises:
        ErreurFabrique: ce dossier n'en contient pas.
    """
    try:
        fiche = json.loads((dossier / FICHE).read_text(encoding="utf-8"))
        fiche["methode"], fiche["etiquettes"]
    except (OSError, ValueError, TypeError, KeyError) as cause:
        raise ErreurFabrique(
            "ce dossier ne contient pas de classifieur",
            "Donnez celui qu’a écrit « fabrique classer entrainer »",
            dossier,
        ) from cause
    return fiche
