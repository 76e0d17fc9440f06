"""La machine et le profil : tout ce qui dépend du matériel se décide ici."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass, field, replace

from fabrique.machine.materiel import Machine, examiner
from fabrique.socle.erreurs import MACHINE, ErreurFabrique, expliquer_les_pannes
from fabrique.socle.nombres import GO, en_go
from fabrique.socle.parole import parler

JOURNAL = logging.getLogger(__name__)

#: En deçà, Falcon-7B en 4 bits et son réglage fin ne tiennent pas sur la carte. Une T4 annonce
#: 15 835 660 288 octets, soit 15,8 Go (14,7 Gio) ; une carte vendue pour 12 Go, 12,6.
MEMOIRE_GPU_MINIMALE = 13 * GO
#: Au-delà, quatre exemples de Falcon-7B tiennent ensemble : 13,2 Go estimés, et de la marge.
MEMOIRE_POUR_QUATRE = 19 * GO
#: Place nécessaire pour le Falcon de poche et ses points de reprise, et pour Falcon-7B.
DISQUE_MINIMAL = {"poche": 1 * GO, "7b": 20 * GO}

#: Des préférences se corrigent à plus petits pas que des réponses ne s'imitent.
RALENTI = 5


@dataclass(frozen=True)
class Profil:
    """Tout ce qu'un carnet fait dépendre de la machine.

    ``calcul`` est le type des calculs, ``mbatch_size`` le nombre d'exemples traités
    ensemble, ``batch_size`` celui d'un pas d'apprentissage, ``recalcul`` dit si les
    activations sont recalculées pour épargner la mémoire, ``lora_dropout`` la part des entrées de
    l'adaptateur éteintes au hasard, ``texte_libre`` si le modèle mérite d'écrire autour des citations
    d'une réponse sourcée.
    """

    nom: str
    modele: str
    quantification: str
    calcul: str
    cutoff_len: int
    mbatch_size: int
    batch_size: int
    epochs: float
    learning_rate: float
    lora_r: int
    lora_dropout: float
    target_modules: tuple[str, ...] | str
    recalcul: bool
    max_new_tokens: int
    texte_libre: bool
    exemples: int | None
    duree_annoncee: str
    pourquoi: str
    avertissements: tuple[str, ...] = field(default=())

    @property
    def taux_des_preferences(self) -> float:
        """Le taux d'apprentissage quand on apprend de préférences entre réponses."""
        return self.learning_rate / RALENTI


POCHE = Profil(
    nom="poche",
    modele="falcon-poche",
    quantification="nf4",
    calcul="float32",
    cutoff_len=512,
    mbatch_size=4,
    batch_size=4,
    epochs=1,
    learning_rate=5e-3,
    lora_r=8,
    # Sur processeur, tirer ce hasard coûte un septième de la vitesse (benchmarks/RESULTATS.md).
    lora_dropout=0,
    target_modules="all-linear",
    recalcul=False,
    max_new_tokens=220,
    # À cette taille, le modèle choisit et présente le passage ; ce qu'il ajouterait serait inventé.
    texte_libre=False,
    exemples=None,
    duree_annoncee="une à deux minutes sur deux cœurs",
    pourquoi="aucun GPU utilisable : le Falcon de poche, embarqué, suffit pour tout voir",
)
T4 = Profil(
    nom="t4",
    modele="falcon-7b-instruct",
    quantification="nf4",
    calcul="float16",
    cutoff_len=256,
    # Deux exemples tiennent sans recalculer : environ 9,6 Go, estimés (benchmarks/RESULTATS.md).
    mbatch_size=2,
    batch_size=4,
    epochs=1,
    learning_rate=3e-4,
    lora_r=8,
    lora_dropout=0.05,
    target_modules=("query_key_value",),
    recalcul=False,
    max_new_tokens=220,
    texte_libre=True,
    exemples=None,
    duree_annoncee="mesurée dès les premiers pas",
    pourquoi="un GPU sans bf16 natif (T4) : Falcon-7B en 4 bits, calcul en fp16",
)
GPU = replace(
    T4,
    nom="gpu",
    calcul="bfloat16",
    pourquoi="un GPU récent : Falcon-7B en 4 bits, calcul en bf16",
)
#: Tout ce que fait une T4, calculé sur processeur : le modèle vient du cache du hub, où les tests
#: posent un Falcon minuscule (outils/jumeau.py).
JUMEAU = replace(
    T4,
    nom="jumeau",
    calcul="float32",
    duree_annoncee="quelques minutes sur deux cœurs",
    pourquoi="les réglages de la T4, essayés sur processeur avec un Falcon minuscule",
)
PROFILS = {profil.nom: profil for profil in (POCHE, T4, GPU, JUMEAU)}


def choisir_profil(machine: Machine) -> Profil:
    """Choisit le profil de la machine ; ``FABRIQUE_PROFIL`` (poche, t4, gpu, jumeau) force ce choix.

    Une grande carte traite ensemble tous les exemples d'un pas : ses poids se déballent moins.

    Raises:
        ErreurFabrique: nom de profil inconnu, ou bf16 demandé sur une carte qui l'émule.
    """
    force = os.environ.get("FABRIQUE_PROFIL")
    if force and force not in PROFILS:
        raise ErreurFabrique(
            f"le profil « {force} » n’existe pas",
            f"Donnez à FABRIQUE_PROFIL l’une de ces valeurs : {', '.join(PROFILS)}",
        )
    if force in ("t4", "gpu") and machine.gpu is None:
        raise ErreurFabrique(
            f"le profil « {force} » demande un GPU et aucun n’est visible",
            "Dans Colab, choisissez Exécution > Modifier le type d’exécution > T4, "
            "ou retirez FABRIQUE_PROFIL",
            code=MACHINE,
        )
    if force == "gpu":
        verifier_calcul("bfloat16", machine)
    if force:
        profil = replace(PROFILS[force], pourquoi="imposé par FABRIQUE_PROFIL")
    elif machine.gpu is None or machine.memoire_gpu < MEMOIRE_GPU_MINIMALE:
        profil = POCHE
    else:
        profil = GPU if machine.bf16 else T4
    if profil.nom in ("t4", "gpu") and machine.memoire_gpu >= MEMOIRE_POUR_QUATRE:
        profil = replace(profil, mbatch_size=profil.batch_size)
    return replace(profil, avertissements=tuple(avertir(machine, profil)))


def merite_le_texte_libre(modele: str) -> bool:
    """Vrai si le profil laisse écrire autour des citations, et si ce n'est pas le Falcon de poche."""
    return choisir_profil(examiner()).texte_libre and modele != POCHE.modele


def avertir(machine: Machine, profil: Profil) -> list[str]:
    """Ce qui gênera plus tard, dit tout de suite, chacun avec sa solution."""
    alertes = []
    if machine.gpu and machine.memoire_gpu < MEMOIRE_GPU_MINIMALE:
        alertes.append(
            f"{machine.gpu} n’a que {en_go(machine.memoire_gpu)} de mémoire, il en faut "
            f"{en_go(MEMOIRE_GPU_MINIMALE)} pour Falcon-7B : le cours continue avec le Falcon "
            "de poche."
        )
    if not machine.ecriture:
        alertes.append(
            "Ce dossier n’accepte pas d’écriture : vos paris restent en mémoire, le temps de la "
            "session, et rien d’autre ne se garde. Copiez le carnet dans un dossier à vous et "
            "ouvrez-le de là."
        )
    besoin = DISQUE_MINIMAL["poche" if profil.modele == "falcon-poche" else "7b"]
    if machine.disque_libre < besoin:
        alertes.append(
            f"Il reste {en_go(machine.disque_libre)} sur le disque, prévoyez {en_go(besoin)} : "
            "supprimez d’anciens points de reprise ou choisissez un autre dossier de sortie."
        )
    return alertes


def verifier_calcul(calcul: str, machine: Machine) -> None:
    """Refuse le bf16 sur un GPU qui ne fait que l'émuler.

    Raises:
        ErreurFabrique: bf16 demandé sur une T4 ou une carte de cet âge.
    """
    if calcul == "bfloat16" and machine.gpu and not machine.bf16:
        raise ErreurFabrique(
            f"{machine.gpu} ne calcule pas en bf16",
            "Demandez « float16 », ou laissez le profil choisir",
            code=MACHINE,
        )


def decrire(machine: Machine, profil: Profil) -> str:
    """Le compte rendu que montrent ``fabrique machine`` et la première cellule d'un carnet."""
    gpu = f"{machine.gpu} ({en_go(machine.memoire_gpu)})" if machine.gpu else "aucun"
    versions = " · ".join(f"{nom} {v}" for nom, v in machine.versions.items())
    lignes = [
        f"GPU            : {gpu}",
        f"Mémoire vive   : {en_go(machine.memoire_vive)}",
        f"Disque libre   : {en_go(machine.disque_libre)}",
        f"Cœurs          : {machine.coeurs}",
        f"Google Colab   : {'oui' if machine.colab else 'non'}",
        f"Versions       : {versions}",
        f"Profil         : {profil.nom} — {profil.pourquoi}",
        f"Modèle         : {profil.modele}, quantification {profil.quantification}",
        *(f"Attention      : {alerte}" for alerte in profil.avertissements),
    ]
    return "\n".join(lignes)


def preparer() -> Profil:
    """Prépare un carnet : regarde la machine, choisit le profil et les fils, et montre ce choix.

    À partir de là, un nom inconnu ou une cellule arrêtée se disent en français, sans trace.

    Returns:
        Le profil, que les cellules suivantes emploient tel quel.
    """
    from fabrique.machine.fils import choisir_fils  # ici : il importe torch

    expliquer_les_pannes()
    parler()
    machine = examiner()
    profil = choisir_profil(machine)
    JOURNAL.info(decrire(machine, profil))
    JOURNAL.info(f"Fils de calcul : {choisir_fils(machine)}")
    return profil
