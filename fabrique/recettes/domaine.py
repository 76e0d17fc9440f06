"""La commande ``preentrainer --model`` de bout en bout : lire un domaine, mesurer, dire ce que vaut le tout."""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Sized
from dataclasses import dataclass, replace
from itertools import zip_longest
from pathlib import Path

import numpy as np
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from fabrique.corpus import lire_corpus
from fabrique.corpus.personnelles import reperer
from fabrique.entrainement.adaptateur import verifier_modele
from fabrique.entrainement.loi import Promesse, promettre
from fabrique.entrainement.processus import est_le_premier, seul_le_premier_parle
from fabrique.entrainement.prolongement import Prolongement, prolonger
from fabrique.entrainement.reglages_prolongement import ReglagesProlongement
from fabrique.entrainement.reprise import empreinte_du_dossier, verifier_a_nous
from fabrique.entrainement.textes import (
    Document,
    Source,
    echantillon,
    lire_documents,
    lire_source,
    mettre_de_cote,
)
from fabrique.modeles.chargement import charger, squelette
from fabrique.socle.emplacements import CORPUS_LIVRES, dossier_durable
from fabrique.socle.erreurs import ErreurFabrique
from fabrique.socle.nombres import accorder, en_duree, en_ecart, en_francais, en_pourcent

#: Signes où l'on cherche à la fois des données personnelles : un roman entier tiendrait trop de place.
SIGNES_FOUILLES = 100_000
#: Les deux jeux de textes que l'on ne lit pas.
VALIDATION, GENERAL = "validation", "general"
#: Les parts de l'essai, dont la loi se tire.
FRACTIONS = (0.25, 0.5, 1.0)
#: Où s'écrivent les deux premières, dans le dossier de sortie.
DOSSIER_DES_FRACTIONS = ".fractions"


@dataclass(frozen=True)
class Domaine:
    """Des textes prêts à lire : ceux qui s'apprennent, une suite par source, et ceux de validation."""

    sources: list[list[Document]]
    validation: list[str]

    @classmethod
    def lire(cls, sources: Sequence[Source], un_sur: int) -> Domaine:
        """Lit des sources, et met de côté un document sur ``un_sur`` ; d'un texte seul, sa fin."""
        cotes = [mettre_de_cote(lire_documents(source.chemin), un_sur) for source in sources]
        # Un texte de chaque source tour à tour : le début les représente toutes.
        tours = zip_longest(*(cote for _, cote in cotes))
        return cls(
            [appris for appris, _ in cotes],
            [document.texte for tour in tours for document in tour if document],
        )

    def part(self, part: float, graine: int) -> Domaine:
        """Une part de chaque source, la validation restant entière."""
        tires = [echantillon(documents, part, graine) for documents in self.sources]
        return replace(self, sources=tires)

    @property
    def octets(self) -> int:
        """Les octets à lire."""
        return sum(len(d.texte.encode()) for documents in self.sources for d in documents)


def textes_generaux(nom: str) -> list[str]:
    """Des textes d'autre chose que le domaine, où l'oubli se voit ; vide : aucun.

    Args:
        nom: un corpus livré, dont on lit les réponses ou les fiches, ou un fichier de textes.

    Raises:
        ErreurFabrique: fichier absent ou illisible.
    """
    if not nom:
        return []
    if nom in CORPUS_LIVRES and "output" in (lu := lire_corpus(nom)).column_names:
        return list(lu["output"])
    return [document.texte for document in lire_documents(lire_source(nom).chemin)]


@seul_le_premier_parle()
def lire_un_domaine(
    modele: str,
    sources: Sequence[Source],
    sortie: Path,
    reglages: ReglagesProlongement,
    general: str = "encyclopedie",
    revision: str | None = None,
    accepter_donnees_personnelles: bool = False,
) -> Prolongement:
    """Fait lire un domaine à un modèle, dit ce qu'il y gagne et ce qu'il oublie.

    Avec une ``part`` inférieure à 1, lit aussi le quart et la moitié de cette part, et dit ce que le
    tout coûterait et gagnerait.

    Args:
        modele: nom du catalogue, dossier ou identifiant du hub.
        sources: les textes, de la moins bonne source à la meilleure.
        general: où chercher l'oubli ; vide : nulle part.
        accepter_donnees_personnelles: lit même des textes où des personnes se reconnaissent.

    Raises:
        ErreurFabrique: réglages que le modèle ne permet pas, dossier de sortie qui n'est pas à
            nous, textes illisibles ou données personnelles non acceptées, trop peu de textes mis de côté pour un essai ; tout cela avant de
            charger les poids.
    """
    _verifier_les_parts(sources)
    vide = squelette(modele, revision)
    verifier_modele(vide, reglages.de_la_marche())
    if est_le_premier():
        for dossier in (sortie, dossier_durable(sortie, dire=False)):
            verifier_a_nous(dossier, vide.config._name_or_path)
        if not accepter_donnees_personnelles:
            verifier_les_personnes(sources, sortie)
    domaine = Domaine.lire(sources, reglages.validation_un_sur)
    temoins = {VALIDATION: domaine.validation, GENERAL: textes_generaux(general)}
    essai = reglages.part < 1
    if essai:
        _verifier_la_validation(domaine.validation)
    lectures: list[Prolongement] = []
    for fraction in FRACTIONS if essai else (1.0,):
        tokenizer, reseau = _charger(modele, reglages, revision)
        ou = sortie if fraction == 1 else sortie / DOSSIER_DES_FRACTIONS / f"{fraction:g}"
        tire = domaine.part(fraction * reglages.part, reglages.graine)
        depart = lectures[0].depart if lectures else None  # la base ne se mesure qu'une fois
        lectures.append(prolonger(reseau, tokenizer, tire.sources, reglages, ou, temoins, depart))
    faite = lectures[-1]
    print(faite.resultat)
    print(bilan(faite))
    if essai:
        print(dire_le_tout(lectures, domaine.octets / tire.octets))
    return faite


def verifier_les_personnes(sources: Sequence[Source], sortie: Path) -> None:
    """Refuse, avant tout calcul, des textes où se reconnaissent des données personnelles.

    Args:
        sortie: le dossier de la lecture ; déjà commencée, ses textes ont été cherchés, et d'autres y
            seront refusés.

    Raises:
        ErreurFabrique: elle les compte, et dit où est la première, sans la montrer.
    """
    if empreinte_du_dossier(sortie) is not None:
        return
    for source in sources:
        trouvees = [
            (rang, regle)
            for rang, document in enumerate(lire_documents(source.chemin), 1)
            for morceau in _a_fouiller(document)
            for regle, _, _ in reperer(morceau)
        ]
        if trouvees:
            rang, regle = trouvees[0]
            raise ErreurFabrique(
                f"{accorder(len(trouvees), 'donnée personnelle', 'données personnelles')}, la première "
                f"au document {rang} ({regle.nom.removeprefix('personnel.')})\u00a0: un modèle récite "
                "ce qu’il a lu",
                "Retirez-les, ou ajoutez --accepter_donnees_personnelles si vous en avez le droit",
                source.chemin,
            )


def _a_fouiller(document: Document) -> Iterator[str]:
    """Tout ce qu'un document fait lire, par tranches qui finissent une ligne."""
    dit = "" if document.reponse in document.texte else document.reponse
    entier = "\n".join(filter(None, (document.titre, dit, document.texte)))
    debut = 0
    while debut < len(entier):
        fin = debut + SIGNES_FOUILLES
        if fin < len(entier):
            fin = entier.rfind("\n", debut, fin) + 1 or fin
        yield entier[debut:fin]
        debut = fin


def _verifier_les_parts(sources: Sequence[Source]) -> None:
    for source in sources:
        if (source.part_debut, source.part_fin) != (1, 1):
            raise ErreurFabrique(
                "les parts d’une source ne valent que pour un modèle neuf",
                "Retirez-les\u00a0; --calendrier dit dans quel ordre lire les sources",
                source.chemin,
            )


def _verifier_la_validation(textes: Sized) -> None:
    if len(textes) < 2:
        raise ErreurFabrique(
            "moins de deux textes sont mis de côté : ce que le tout donnerait ne s’estime pas",
            "Donnez plus de documents, ou plus petits",
        )


def _charger(
    modele: str, reglages: ReglagesProlongement, revision: str | None
) -> tuple[PreTrainedTokenizerBase, PreTrainedModel]:
    """En 4 bits sous un adaptateur ; sinon en 32 bits, que tous les poids s'apprennent."""
    quantification, calcul = ("nf4", None) if reglages.lora else ("aucune", "float32")
    return charger(modele, quantification, calcul, revision, silencieux=True)


def bilan(lecture: Prolongement) -> str:
    """Ce que le modèle a gagné sur le domaine, et ce qu'il a perdu ailleurs, en deux phrases."""
    phrases = []
    for jeu, titre in ((VALIDATION, "Domaine"), (GENERAL, "Texte général")):
        if jeu not in lecture.octets:
            continue
        avant, apres = lecture.change(jeu)
        sens = (
            "mieux"
            if apres < avant
            else "moins bien"
            if apres > avant
            else "ni mieux ni moins bien"
        )
        if jeu == GENERAL and apres > avant:
            sens = "moins bien\u00a0: il oublie"
        phrases.append(
            f"{titre}\u00a0: {en_francais(avant, 3)} → {en_francais(apres, 3)} bits par octet "
            f"({en_pourcent(apres / avant - 1, 1)}), {sens}."
        )
    return "\n".join(phrases)


def promesse(lectures: Sequence[Prolongement], facteur: float) -> Promesse:
    """Les bits par octet attendus d'une lecture ``facteur`` fois plus longue que la dernière.

    Raises:
        ErreurFabrique: moins de deux textes de validation.
    """
    octets = lectures[-1].octets.get(VALIDATION, np.empty(0))
    _verifier_la_validation(octets)
    return promettre(
        [lecture.jetons for lecture in lectures],
        np.stack([lecture.bits[VALIDATION] for lecture in lectures]),
        octets,
        lectures[-1].jetons * facteur,
    )


def dire_le_tout(lectures: Sequence[Prolongement], facteur: float) -> str:
    """Ce que le tout coûterait et gagnerait, d'après les parts lues, et ce que vaut cette annonce."""
    essai = lectures[-1]
    attendu = promesse(lectures, facteur)
    avant, apres = essai.change(VALIDATION)
    duree = essai.resultat.secondes_par_pas * essai.resultat.pas * facteur
    cout = (
        f"{en_duree(duree)} sur cette machine"
        if duree == duree
        else "une durée que ce lancement n’a pas mesurée"
    )
    return (
        f"Le tout, {en_francais(facteur)} fois cette part\u00a0: {en_francais(attendu.jetons)} jetons, "
        f"{cout}.\n"
        f"Domaine attendu\u00a0: {en_francais(attendu.bits, 3)} bits par octet (95 %\u00a0: "
        f"{en_francais(attendu.bas, 3)} à {en_francais(attendu.haut, 3)}), soit "
        f"{en_ecart(attendu.bits - avant, 3)} depuis le départ, contre {en_ecart(apres - avant, 3)} déjà "
        "acquis par l’essai. L’intervalle vient des textes mis de côté\u00a0; que la courbe garde sa "
        "pente si loin est une hypothèse."
    )
