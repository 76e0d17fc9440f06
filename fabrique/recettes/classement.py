"""Ranger des textes : d'un tableau à un classifieur jugé, et du classifieur à un tableau rangé."""

from __future__ import annotations

import csv
import io
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fabrique.corpus import repartir
from fabrique.corpus.etiquetes import TexteEtiquete, en_dataset, lire_etiquetes, lire_textes
from fabrique.entrainement.classifieurs import (
    Classifieur,
    Comptes,
    Lineaire,
    Sens,
    lire_fiche,
)
from fabrique.entrainement.reglages_classement import (
    METHODES,
    PAR_DEFAUT,
    ReglagesClassement,
)
from fabrique.evaluation.etiquettes import Bulletin, noter
from fabrique.modeles.rangeur import Rangeur
from fabrique.socle.emplacements import ecrire_signe, verifier_sortie
from fabrique.socle.erreurs import ErreurFabrique
from fabrique.socle.nombres import accorder, en_duree, en_francais

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

#: ``C`` de la régression logistique, par vue ; choisi comme ``ReglagesClassement``.
SOUPLESSES = {"mots": 10.0, "lettres": 10.0, "sens": 30.0, "gele": 0.01}


@dataclass(frozen=True)
class Classement:
    """Ce qu'un apprentissage a donné.

    Args:
        bulletin: ce qu'il vaut sur les textes mis de côté ; ``None`` si l'on n'en a gardé aucun.
        ms_par_texte: la durée d'un texte, sur cette machine.
    """

    methode: str
    etiquettes: int
    appris: int
    juges: int
    bulletin: Bulletin | None
    ms_par_texte: float
    duree_s: float
    sortie: Path

    def __str__(self) -> str:
        tete = (
            f"{accorder(self.appris, 'texte appris', 'textes appris')}, {self.juges} pour juger, "
            f"{accorder(self.etiquettes, 'étiquette')} ; {METHODES[self.methode]}."
        )
        pied = (
            f"{en_francais(self.ms_par_texte, 2)} ms par texte ; appris en {en_duree(self.duree_s)} ; "
            f"écrit dans {self.sortie}."
        )
        return "\n".join([tete, *([str(self.bulletin)] if self.bulletin else []), pied])

    def en_dictionnaire(self) -> dict[str, Any]:
        """Pour ``--json``."""
        vu = self.bulletin
        return {
            "methode": self.methode,
            "etiquettes": self.etiquettes,
            "appris": self.appris,
            "juges": self.juges,
            "exactitude": vu and vu.exactitude.valeur,
            "exactitude_ic95": vu and list(vu.exactitude.ic95),
            "macro_f1": vu and vu.macro_f1.valeur,
            "macro_f1_ic95": vu and list(vu.macro_f1.ic95),
            "ecart_de_calibration": vu and vu.ecart_de_calibration,
            "ms_par_texte": self.ms_par_texte,
            "duree_s": self.duree_s,
        }


class Gele:
    """La vue d'un modèle de langage gelé : la moyenne de ce qu'il voit d'un texte.

    Args:
        base: le nom sous lequel le retrouver.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        modele: PreTrainedModel,
        base: str,
        revision: str | None = None,
    ) -> None:
        self.tokenizer, self.modele = tokenizer, modele
        self.base, self.revision = base, revision

    @classmethod
    def charger(cls, base: str, revision: str | None) -> Gele:
        """Charge le modèle, en 32 bits."""
        from fabrique.modeles.chargement import charger

        return cls(*charger(base, "aucune", revision=revision, silencieux=True), base, revision)

    @classmethod
    def relire(cls, fiche: dict[str, Any], dossier: Path) -> Gele:
        """Recharge le modèle.

        Raises:
            ErreurFabrique: ses poids ont changé.
        """
        from fabrique.modeles.origine import empreinte_de_la_base

        vue = cls.charger(fiche["base"], fiche["revision"])
        if empreinte_de_la_base(vue.modele) != fiche["empreinte"]:
            raise ErreurFabrique(
                f"« {fiche['base']} » n’a plus les poids sur lesquels ce classifieur a appris",
                "Entraînez-le de nouveau avec « fabrique classer entrainer »",
                dossier,
            )
        return vue

    def vecteurs(self, textes: Sequence[str]) -> Any:
        """Les représentations. Forme : (textes, largeur du modèle)."""
        from fabrique.modeles.representations import representations

        return representations(self.modele, self.tokenizer, textes)

    def description(self) -> dict[str, Any]:
        """Le modèle, sa révision, et l'empreinte de ses poids."""
        from fabrique.modeles.origine import empreinte_de_la_base

        empreinte = empreinte_de_la_base(self.modele)
        return {"base": self.base, "revision": self.revision, "empreinte": empreinte}

    def nombres(self) -> dict[str, Any]:
        """Rien : les poids du modèle sont déjà sur le disque."""
        return {}


# ---------------------------------------------------------------- apprendre


def apprendre(
    methode: str,
    textes: Sequence[str],
    etiquettes: Sequence[str],
    reglages: ReglagesClassement = PAR_DEFAUT,
    base: str = "falcon-poche",
    revision: str | None = None,
    vue: Gele | None = None,
) -> Classifieur:
    """Un classifieur, appris de textes et de leurs étiquettes.

    Args:
        methode: l'une de ``METHODES``.
        base: le modèle de langage, pour les méthodes qui en demandent un.
        vue: ce modèle déjà chargé, pour « gele ».

    Raises:
        ErreurFabrique: méthode inconnue.
    """
    _verifier_methode(methode)
    if methode in ("lora", "entier"):
        from fabrique.entrainement.tete import apprendre_tete

        return apprendre_tete(methode, base, textes, etiquettes, reglages, revision)
    souplesse = SOUPLESSES[methode]
    if methode == "gele":
        gele = vue or Gele.charger(base, revision)
        return Lineaire.apprendre(methode, gele, textes, etiquettes, souplesse, centrer=True)
    lue = Sens(reglages.encodeur) if methode == "sens" else Comptes.apprendre(methode, textes)
    return Lineaire.apprendre(methode, lue, textes, etiquettes, souplesse)


def verifier_avant(methode: str, sortie: Path) -> None:
    """Ce qui se vérifie avant de rien lire.

    Raises:
        ErreurFabrique: méthode inconnue, ou dossier de sortie occupé.
    """
    _verifier_methode(methode)
    if sortie.exists() and (not sortie.is_dir() or any(sortie.iterdir())):
        raise ErreurFabrique(
            "le dossier de sortie n’est pas vide", "Donnez le nom d’un dossier à créer", sortie
        )


def _verifier_methode(methode: str) -> None:
    if methode not in METHODES:
        raise ErreurFabrique(
            f"la méthode « {methode} » n’existe pas",
            f"Choisissez entre {', '.join(METHODES)}",
            champ="--methode",
        )


def relire(dossier: Path) -> Classifieur:
    """Un classifieur, tel que « fabrique classer entrainer » l'a écrit.

    Raises:
        ErreurFabrique: ce n'en est pas un, ou sa base a changé.
    """
    fiche = lire_fiche(dossier)
    try:
        if fiche["methode"] in ("lora", "entier"):
            from fabrique.entrainement.tete import Tete

            return Tete.relire(fiche, dossier)
        vue = Gele.relire(fiche["vue"], dossier) if fiche["methode"] == "gele" else None
        return Lineaire.relire(fiche, dossier, vue)
    except (KeyError, TypeError, OSError, ValueError) as cause:
        raise ErreurFabrique(
            "ce classifieur est incomplet ou abîmé",
            "Entraînez-le de nouveau avec « fabrique classer entrainer »",
            dossier,
        ) from cause


def relire_par_leur_nom(dossiers: Sequence[Path]) -> dict[str, Classifieur]:
    """Des classifieurs, chacun sous le nom de son dossier.

    Raises:
        ErreurFabrique: comme ``relire`` ; ou deux dossiers du même nom.
    """
    relus: dict[str, Classifieur] = {}
    for dossier in map(Path.resolve, dossiers):
        if dossier.name in relus:
            raise ErreurFabrique(
                f"deux classifieurs s’appelleraient « {dossier.name} »",
                "Renommez le dossier de l’un",
                dossier,
            )
        relus[dossier.name] = relire(dossier)
    return relus


def separer(
    lus: Sequence[TexteEtiquete], reglages: ReglagesClassement
) -> tuple[list[TexteEtiquete], list[TexteEtiquete]]:
    """Les textes à apprendre, et ceux qui jugeront : la colonne « jeu », sinon une part au hasard.

    Deux textes pareils à la typographie près vont du même côté.
    """
    if any(lu.jeu for lu in lus):
        appris = [lu for lu in lus if lu.jeu == "entrainement"]
        juges = [lu for lu in lus if lu.jeu == "test"]
        if not appris or len({lu.etiquette for lu in appris}) < 2:
            raise ErreurFabrique(
                "le jeu « entrainement » n’a pas deux étiquettes : il n’y a rien à apprendre",
                "Corrigez la colonne « jeu », ou videz-la",
                champ="jeu",
            )
        return appris, juges
    corpus = en_dataset(lus).add_column("rang", list(range(len(lus))))
    cotes = repartir(corpus, reglages.test, reglages.graine)
    appris, juges = ([lus[rang] for rang in cote["rang"]] for cote in cotes)
    return appris, juges


def entrainer(
    source: str | Path,
    sortie: Path,
    methode: str = "mots",
    reglages: ReglagesClassement = PAR_DEFAUT,
    base: str = "falcon-poche",
    revision: str | None = None,
    texte: str = "",
    etiquette: str = "",
    accepter_donnees_personnelles: bool = False,
) -> Classement:
    """Lit, contrôle, apprend, juge sur des textes mis de côté, et enregistre.

    Raises:
        ErreurFabrique: fichier qu'on ne peut pas apprendre, méthode inconnue, ou dossier de sortie
            occupé.
    """
    verifier_avant(methode, sortie)
    lus = lire_etiquetes(source, texte, etiquette, accepter_donnees_personnelles)
    appris, juges = separer(lus, reglages)
    depart = time.monotonic()
    classifieur = apprendre(
        methode, [a.texte for a in appris], [a.etiquette for a in appris], reglages, base, revision
    )
    duree = time.monotonic() - depart
    classifieur.enregistrer(sortie)
    bulletin, ms = None, 0.0
    if juges:
        depart = time.perf_counter()
        trouvees = classifieur.probabilites([j.texte for j in juges])
        ms = 1000 * (time.perf_counter() - depart) / len(juges)
        bulletin = noter(trouvees, classifieur.etiquettes, [j.etiquette for j in juges])
    return Classement(
        methode, len(classifieur.etiquettes), len(appris), len(juges), bulletin, ms, duree, sortie
    )


# ---------------------------------------------------------------- ranger


@dataclass(frozen=True)
class Range:
    """Un texte et l'étiquette qu'on lui donne, avec sa probabilité.

    Args:
        probabilite: de 0 à 1 ; ``None`` de qui range sans dire sa confiance.
    """

    texte: str
    etiquette: str
    probabilite: float | None


def predire(classifieur: Rangeur, textes: Sequence[str]) -> list[Range]:
    """L'étiquette la plus probable de chaque texte."""
    probabilites = classifieur.probabilites(textes)
    return [
        Range(texte, classifieur.etiquettes[rangee.argmax()], float(rangee.max()))
        for texte, rangee in zip(textes, probabilites, strict=True)
    ]


def predire_un_fichier(
    dossier: Path, source: str | Path, sortie: Path, texte: str = "", ecraser: bool = False
) -> int:
    """Range chaque texte d'un fichier, et écrit un CSV ; rend combien.

    Raises:
        ErreurFabrique: fichier illisible, classifieur absent, ou sortie qui n'est pas à nous.
    """
    verifier_sortie(sortie, source, ecraser=ecraser)
    textes = lire_textes(source, texte)
    rangees = predire(relire(dossier), textes)
    ecrire_rangees(sortie, rangees)
    return len(rangees)


def ecrire_rangees(sortie: Path, rangees: Sequence[Range], **colonnes: str) -> None:
    """Écrit un CSV : texte, étiquette, probabilité, et des colonnes dont la valeur est partout la même."""
    ecrit = io.StringIO()
    tableau = csv.writer(ecrit)
    tableau.writerow(("texte", "etiquette", "probabilite", *colonnes))
    for r in rangees:
        probabilite = "" if r.probabilite is None else round(r.probabilite, 4)
        tableau.writerow((r.texte, r.etiquette, probabilite, *colonnes.values()))
    ecrire_signe(sortie, ecrit.getvalue())
