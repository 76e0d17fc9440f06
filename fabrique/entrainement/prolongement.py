"""Prolonger le préentraînement d'un modèle, quel qu'il soit : lui faire lire les textes d'un domaine.

La marche est celle du réglage fin (``marche.apprendre``) : mêmes points de reprise, même disque
compté d'avance, même arrêt quand la perte n'est plus un nombre, même adaptateur signé. Seul change
ce qui se lit : des fenêtres de textes, où chaque jeton se prédit, au lieu de réponses.
"""

from __future__ import annotations

import csv
import hashlib
import io
import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
from peft import PeftModel
from transformers import PreTrainedModel, PreTrainedTokenizerBase, TrainerCallback, TrainerState

from fabrique.entrainement.bits import bits_par_texte, octets_par_texte
from fabrique.entrainement.disque import ecriture_expliquee
from fabrique.entrainement.etat import COURBE
from fabrique.entrainement.exemples import Compte, Lecture
from fabrique.entrainement.fenetres import LotDeFenetres, OrdreDesSources, en_fenetres
from fabrique.entrainement.marche import apprendre
from fabrique.entrainement.processus import est_le_premier, rang_du_processus
from fabrique.entrainement.reglages_prolongement import ReglagesProlongement
from fabrique.entrainement.resultat import ResultatEntrainement
from fabrique.entrainement.textes import Document
from fabrique.socle.emplacements import ecrire_signe
from fabrique.socle.erreurs import ErreurFabrique
from fabrique.socle.nombres import en_francais

JOURNAL = logging.getLogger(__name__)

#: Ce qu'une mesure lit de chaque jeu de textes, au plus : elle revient à chaque point de reprise.
TEXTES_MESURES, SIGNES_MESURES = 24, 3000
#: Les fenêtres d'une lecture en cours, dans son dossier : un fichier par processus.
FENETRES = ".fenetres"
#: Les colonnes de la courbe qui comptent quelque chose.
ENTIERS = ("pas", "jetons")


@dataclass(frozen=True)
class Prolongement:
    """Ce qu'une lecture a donné.

    Args:
        resultat: celui de la marche ; ses « exemples » sont des fenêtres.
        courbe: un relevé par mesure, du pas 0 au dernier : ``pas``, ``jetons``, puis les bits par
            octet de chaque jeu de textes mesuré.
        bits: par jeu, les bits de chaque texte après la lecture (forme : textes).
        octets: par jeu, les octets de chaque texte.
    """

    resultat: ResultatEntrainement
    courbe: list[dict[str, float]]
    bits: dict[str, np.ndarray]
    octets: dict[str, np.ndarray]

    @property
    def jetons(self) -> int:
        """Jetons lus, remplissage compris."""
        reglages = self.resultat.reglages
        return self.resultat.pas * reglages.batch_size * reglages.cutoff_len

    @property
    def depart(self) -> dict[str, float]:
        """Le relevé du pas 0, avant de rien lire ; vide s'il manque."""
        return next((releve for releve in self.courbe if not releve["pas"]), {})

    def change(self, jeu: str) -> tuple[float, float]:
        """Les bits par octet d'un jeu de textes, avant et après."""
        return self.courbe[0][jeu], self.courbe[-1][jeu]


def prolonger(
    modele: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    sources: Sequence[Sequence[Document]],
    reglages: ReglagesProlongement,
    sortie: str | Path,
    temoins: Mapping[str, Sequence[str]] | None = None,
    depart: Mapping[str, float] | None = None,
) -> Prolongement:
    """Fait lire des textes à un modèle, entier ou à travers un adaptateur LoRA.

    Relancée à l'identique, la fonction reprend au dernier point de reprise valide, ou recharge ce
    qui est fait.

    Args:
        modele: rendu par ``charger`` ; en 4 bits pour ``lora``, en 32 bits sans quantification sinon.
        sources: les documents, une suite par source, de la moins bonne à la meilleure.
        sortie: reçoit les points de reprise, l'adaptateur (ou le modèle) et ``courbe.csv``.
        temoins: des textes que l'on ne lit pas, par jeu (« validation », « général ») : leurs bits par
            octet se mesurent avant, à chaque point de reprise et à la fin.
        depart: celui d'une autre lecture du même modèle, aux mêmes témoins : le modèle d'avant la
            lecture n'est alors pas mesuré de nouveau.

    Raises:
        ErreurFabrique: comme ``entrainer`` ; ou modèle à positions ALiBi.
        Divergence: la perte n'est plus un nombre.
    """
    if getattr(modele.config, "alibi", False):
        raise ErreurFabrique(
            "ce modèle repère ses positions par ALiBi, qui ne sépare pas les documents d’une fenêtre",
            "Prenez un modèle à positions par rotation, comme Falcon-7B",
        )
    mesure = MesureDesTextes(tokenizer, temoins or {}, reglages, Path(sortie), depart or {})
    marche = reglages.de_la_marche()

    fichier = _fichier_des_fenetres(Path(sortie))

    def lire() -> Lecture:
        with ecriture_expliquee(Path(sortie)):
            fenetres = en_fenetres(sources, tokenizer, reglages.longueur, fichier)
        return Lecture(
            fenetres,
            Compte(lus=len(fenetres), appris=len(fenetres), coupes=0, ecartes=0),
            assembler=lambda _: LotDeFenetres(),
            ordre=lambda lues, _, graine: OrdreDesSources(
                lues["source"][:], reglages.calendrier, graine
            ),
            rappels=(mesure,),
            definition={"calendrier": reglages.calendrier, "textes_mesures": mesure.empreintes},
        )

    try:
        resultat = apprendre(modele, tokenizer, lire, marche, sortie)
    finally:
        if fichier:
            _oter(fichier)
    mesure.conclure(resultat.modele, resultat.pas)
    return Prolongement(resultat, mesure.courbe, mesure.bits, mesure.octets)


def _fichier_des_fenetres(sortie: Path) -> Path | None:
    """Un fichier neuf pour les fenêtres de ce processus ; aucun si tout est déjà fait.

    Celui d'un lancement tué part. Jamais récrit : un autre lancement le lit peut-être encore.
    """
    if (sortie / "rapport.json").exists():
        return None
    debut = f"{FENETRES}-{rang_du_processus()}-"
    for ancien in sortie.glob(f"{debut}*"):
        _oter(ancien)
    return sortie / f"{debut}{uuid4().hex}"


def _oter(fichier: Path) -> None:
    """Efface un fichier de fenêtres ; Windows s'y refuse tant qu'on le lit, et un autre lancement l'ôtera."""
    with suppress(OSError):
        fichier.unlink(missing_ok=True)


def _empreinte(textes: Sequence[str]) -> str:
    """Ce qui distingue ces textes de tous les autres : d'autres ne se mesurent pas sur la même courbe."""
    return hashlib.sha256("\0".join(textes).encode()).hexdigest()[:16]


class MesureDesTextes(TrainerCallback):
    """Les bits par octet des textes qu'on ne lit pas, avant, à chaque point de reprise et à la fin.

    Un relevé ne s'écrit qu'une fois son point en place : la courbe d'une lecture tuée puis relancée
    est celle d'une lecture menée d'une traite.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        temoins: Mapping[str, Sequence[str]],
        reglages: ReglagesProlongement,
        sortie: Path,
        depart: Mapping[str, float],
    ) -> None:
        self.tokenizer, self.reglages, self.fichier = tokenizer, reglages, sortie / COURBE
        self.depart = depart
        self.temoins = {
            jeu: [texte[:SIGNES_MESURES] for texte in textes[:TEXTES_MESURES]]
            for jeu, textes in temoins.items()
            if textes
        }
        self.octets = {jeu: octets_par_texte(textes) for jeu, textes in self.temoins.items()}
        self.empreintes = {jeu: _empreinte(textes) for jeu, textes in self.temoins.items()}
        self.bits: dict[str, np.ndarray] = {}
        self.courbe: list[dict[str, float]] = []

    def on_train_begin(
        self, args: Any, state: Any, control: Any, model: Any = None, **_: Any
    ) -> None:
        """Reprend la courbe là où reprend la lecture, et mesure ce qu'une mort n'a pas laissé mesurer."""
        self.courbe = [releve for releve in self._lue() if releve["pas"] <= state.global_step]
        self._relever(model, state)

    def on_save(self, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> None:
        """Mesure, une fois le point de reprise en place."""
        self._relever(model, state)

    def conclure(self, modele: PreTrainedModel | PeftModel, pas: int) -> None:
        """Garde les bits de chaque texte après le dernier pas, mesurés de nouveau s'il le faut."""
        self.courbe = self.courbe or self._lue()
        if not self.bits:
            self.bits = self._mesurer(modele)

    def _mesurer(self, modele: PreTrainedModel | PeftModel) -> dict[str, np.ndarray]:
        return {
            jeu: bits_par_texte(modele, self.tokenizer, textes, self.reglages.longueur)
            for jeu, textes in self.temoins.items()
        }

    def _connues(self, pas: int) -> dict[str, float]:
        """Les mesures du départ, si une autre lecture les a déjà faites ; rien sinon."""
        if pas or not self.temoins.keys() <= self.depart.keys():
            return {}
        return {jeu: self.depart[jeu] for jeu in self.temoins}

    def _mesures(self, modele: PreTrainedModel | PeftModel) -> dict[str, float]:
        """Les bits par octet de chaque jeu de textes, mesurés."""
        self.bits = self._mesurer(modele)
        modele.train()
        return {
            jeu: round(float(bits.sum() / self.octets[jeu].sum()), 4)
            for jeu, bits in self.bits.items()
        }

    def _relever(self, modele: PreTrainedModel | PeftModel, etat: TrainerState) -> None:
        """Ajoute le relevé du pas où l'on est, s'il est prévu et s'il manque.

        Le point d'un arrêt demandé n'est pas prévu : une lecture d'une traite n'aurait pas ce relevé.
        """
        pas = etat.global_step
        prevu = pas % self.reglages.pas_mesure == 0 or pas == etat.max_steps
        if not prevu or any(releve["pas"] == pas for releve in self.courbe):
            return
        mesures = self._connues(pas) or self._mesures(modele)
        jetons = pas * self.reglages.lot * self.reglages.longueur
        self.courbe.append({"pas": pas, "jetons": jetons, **mesures})
        if est_le_premier():
            self._ecrire()
        if mesures:
            dites = [f"{jeu} {en_francais(bits, 3)}" for jeu, bits in mesures.items()]
            JOURNAL.info(f"Pas {pas}, bits par octet\u00a0: {', '.join(dites)}.")

    def _lue(self) -> list[dict[str, float]]:
        if not self.fichier.exists():
            return []
        with self.fichier.open(encoding="utf-8", newline="") as flux:
            return [
                {nom: int(v) if nom in ENTIERS else float(v) for nom, v in ligne.items()}
                for ligne in csv.DictReader(flux)
            ]

    def _ecrire(self) -> None:
        texte = io.StringIO(newline="")
        ecrivain = csv.DictWriter(texte, self.courbe[0], lineterminator="\n")
        ecrivain.writeheader()
        ecrivain.writerows(self.courbe)
        ecrire_signe(self.fichier, texte.getvalue())
