"""Ce que tous les navigateurs voient de la même page : l'espace, la file des tâches, où l'on en est."""

from __future__ import annotations

import shlex
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fabrique.machine.profil import POCHE
from fabrique.recettes.sans_code.espace import Espace
from fabrique.recettes.sans_code.repondant import Repondant
from fabrique.service.taches import (
    ANNULE,
    ATTEND,
    AVANCE,
    MANQUE,
    PAUSE,
    RESULTAT,
    REUSSI,
    FileDeTaches,
    Tache,
    lire_json,
)
from fabrique.socle.emplacements import AVANCEMENT
from fabrique.socle.erreurs import ErreurFabrique
from fabrique.socle.nombres import en_duree, en_francais
from fabrique.socle.page import composer

#: Un état, tel qu'on le lit.
EN_CLAIR = {
    ATTEND: "en attente",
    AVANCE: "en cours",
    PAUSE: "en pause",
    REUSSI: "fini",
    MANQUE: "manqué",
    ANNULE: "arrêté",
}


@dataclass(eq=False, kw_only=True)
class Demande(Tache):
    """Ce qu'un bouton a demandé.

    Args:
        genre: ce que la commande fait, pour retrouver la dernière du même genre.
        titre: ce qu'on en montre.
        mots: la commande, après « fabrique ».
        atteste: le fichier que la commande écrit en dernier ; avec « --json », l'objet qu'elle rend
            suffit.
    """

    genre: str
    titre: str
    mots: list[str]
    atteste: str = ""

    def commande(self, dossier: Path) -> list[str]:
        return self.mots

    def achevee(self, dossier: Path) -> bool:
        if "--json" not in self.mots:
            return Path(self.atteste).is_file()
        rendu = lire_json(dossier / RESULTAT)
        return bool(rendu) and "erreur" not in rendu

    @property
    def sortie(self) -> Path:
        """Le dossier où elle écrit."""
        return Path(self.atteste).parent


class Accueil:
    """L'espace d'une page, et ce qui y tourne ; un seul par dossier, que les navigateurs partagent."""

    def __init__(self, espace: Espace) -> None:
        self.espace = espace
        self.file = FileDeTaches(espace.taches, Demande)
        self.repondant = Repondant()
        self._verrou = threading.Lock()

    # ------------------------------------------------------------ demander

    def demander(
        self, genre: str, titre: str, mots: Sequence[str], atteste: Path | str = ""
    ) -> Demande:
        """Met une commande dans la file ; elle aura un processus à elle.

        Raises:
            ErreurFabrique: la même attend ou avance déjà.
        """
        with self._verrou:
            if any(tache.mots == list(mots) for tache in self.file.actifs()):
                raise ErreurFabrique("c’est déjà demandé", "Attendez que ce soit fini")
            rang = len(self.file.tous()) + 1
            demande = Demande(
                id=f"{rang:04d}-{genre}",
                cree=int(time.time()),
                genre=genre,
                titre=titre,
                mots=list(mots),
                atteste=str(atteste),
            )
            self.file.dossier(demande).mkdir(parents=True)
            self.repondant.liberer()
            self.file.ajouter(demande)
        return demande

    def derniere(self, genre: str, *etats: str) -> Demande | None:
        """La plus récente d'un genre, parmi certains états s'il y en a de donnés."""
        trouvees = [
            tache
            for tache in self.file.tous()
            if tache.genre == genre and (not etats or tache.etat in etats)
        ]
        return trouvees[-1] if trouvees else None

    def resultat(self, genre: str) -> dict:
        """L'objet de « --json » de la dernière commande réussie d'un genre ; vide s'il n'y en a pas."""
        demande = self.derniere(genre, REUSSI)
        return lire_json(self.file.dossier(demande) / RESULTAT) if demande else {}

    # ------------------------------------------------------------ mener

    def en_cours(self) -> Demande | None:
        """Celle qui avance, sinon la première qui attend."""
        actifs = sorted(self.file.actifs(), key=lambda tache: tache.etat != AVANCE)
        return actifs[0] if actifs else None

    def a_reprendre(self) -> Demande | None:
        """La dernière qui s'est arrêtée avant d'avoir fini."""
        arretees = [t for t in self.file.tous() if t.etat in (PAUSE, MANQUE, ANNULE)]
        return arretees[-1] if arretees else None

    def suspendre(self) -> None:
        """Met en pause celle qui avance."""
        if demande := self.en_cours():
            self.file.suspendre(demande)

    def arreter(self) -> None:
        """Arrête celle qui avance ; ce qu'elle a gardé reste."""
        if demande := self.en_cours():
            self.file.annuler(demande)

    def reprendre(self, demande: Demande | None = None) -> None:
        """Remet dans la file une demande, ou la dernière qui s'est arrêtée."""
        if demande := demande or self.a_reprendre():
            self.repondant.liberer()
            self.file.reprendre(demande)

    def verifier_la_memoire(self, modele: str) -> None:
        """Refuse de charger un grand modèle pendant qu'un calcul en tient déjà un.

        Raises:
            ErreurFabrique: un calcul tourne, et le modèle n'est pas celui de poche.
        """
        if self.en_cours() and modele != POCHE.modele:
            raise ErreurFabrique(
                "un calcul tourne, et un second modèle ne tiendrait pas en mémoire à côté de lui",
                "Attendez qu’il finisse, ou mettez-le en pause",
            )

    # ------------------------------------------------------------ montrer

    @property
    def version(self) -> str:
        """Ce qui change quand une tâche change d'état : les listes sont alors à relire."""
        return " ".join(f"{tache.id}:{tache.etat}" for tache in self.file.tous())

    def bandeau(self) -> str:
        """Ce qui tourne, ce qui attend, ce qui vient de finir."""
        en_cours, toutes = self.en_cours(), self.file.tous()
        finies = [t for t in toutes if t.fini or t.etat == PAUSE]
        return composer(
            "recettes/sans_code/bandeau.html",
            "Où l’on en est",
            en_cours=en_cours,
            avancement=self.avancement(en_cours) if en_cours else "",
            attente=[t for t in self.file.actifs() if t is not en_cours],
            derniere=finies[-1] if finies else None,
            etats=EN_CLAIR,
        )

    def avancement(self, demande: Demande) -> str:
        """Depuis quand une demande avance, et ce qu'elle dit d'elle-même."""
        if demande.etat != AVANCE or demande.naissance is None:
            return EN_CLAIR[demande.etat]
        depuis = f"depuis {en_duree(time.time() - demande.naissance)}"
        lu = lire_json(demande.sortie / AVANCEMENT) if demande.atteste else {}
        if not lu or not lu["releves"]:
            return depuis
        reste = en_duree((lu["total"] - lu["pas"]) * lu["secondes_par_pas"])
        perte = en_francais(lu["releves"][-1]["perte"], 3)
        return f"{depuis}, pas {lu['pas']} sur {lu['total']}, perte {perte}, fin dans {reste}"

    def en_commande(self, mots: Sequence[str]) -> str:
        """La commande telle qu'on la taperait dans l'espace."""
        racine = str(self.espace.racine)
        courts = [mot.removeprefix(f"{racine}/").removeprefix(f"{racine}\\") for mot in mots]
        return shlex.join(["fabrique", *courts])
