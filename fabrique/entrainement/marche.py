"""La marche d'un apprentissage : poser l'adaptateur, apprendre, reprendre, écrire le résultat."""

from __future__ import annotations

import gc
import json
import logging
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from accelerate.utils.memory import clear_device_cache
from datasets import Dataset
from peft import PeftModel
from transformers import PreTrainedModel, PreTrainedTokenizerBase, PrinterCallback, TrainerState
from transformers.trainer_utils import sort_checkpoints

from fabrique.corpus import repartir
from fabrique.entrainement.adaptateur import (
    parametres_entraines,
    poser,
    relire,
    verifier_modele,
)
from fabrique.entrainement.avancement import Arret, Suivi
from fabrique.entrainement.disque import ecriture_expliquee, verifier_disque
from fabrique.entrainement.entraineur import (
    EntraineurParLongueur,
    MemoireInsuffisante,
    arguments,
    calcul_rendu,
)
from fabrique.entrainement.exemples import Lecture, exemples_en_jetons, lecture_d_un_corpus
from fabrique.entrainement.processus import est_le_premier, seul_le_premier_parle
from fabrique.entrainement.reglages import Reglages
from fabrique.entrainement.reprise import (
    copier_les_poids,
    deposer_le_tokenizer,
    dernier_point_de_reprise,
    empreinte,
    ranger_la_fin,
    verifier_a_nous,
    verifier_dossier,
)
from fabrique.entrainement.resultat import (
    ResultatEntrainement,
    historique,
    memoire_pic,
    signer,
)
from fabrique.machine.denormaux import sans_denormaux
from fabrique.modeles.chargement import couches_quatre_bits, parler_moins
from fabrique.modeles.origine import inscrire_origine
from fabrique.modeles.vraisemblance import log_probabilites
from fabrique.socle.emplacements import AVANCEMENT, dossier_durable, ecrire_signe
from fabrique.socle.erreurs import MACHINE, Divergence, ErreurFabrique
from fabrique.socle.nombres import accorder

JOURNAL = logging.getLogger(__name__)


@seul_le_premier_parle()
def entrainer(
    modele: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    corpus: Dataset,
    reglages: Reglages | None = None,
    sortie: str | Path = "sorties/adaptateur",
    validation: Dataset | None = None,
) -> ResultatEntrainement:
    """Affine un modèle : apprend un adaptateur LoRA, le modèle restant intact.

    Relancée à l'identique, la fonction reprend au dernier point de reprise valide, ou
    recharge l'adaptateur si tout est fait. Dans Colab, quand Drive est monté, les points de
    reprise y vont : les mêmes cellules, dans une session neuve, reprennent aussi.

    Args:
        modele: le modèle rendu par ``charger``. Un adaptateur déjà posé en est retiré : le
            résultat précédent répond alors comme la base ; ``charger_adaptateur`` le repose.
        corpus: corpus d'instructions ; seul son jeu d'entraînement est appris.
        reglages: par défaut, ceux de la recette de 2023.
        sortie: dossier des points de reprise et de l'adaptateur final.
        validation: exemples mis de côté, dont la perte est mesurée, montrée et gardée à chaque
            relevé (``logging_steps``) ; ils ne sont pas appris, et ne changent rien à ce qui l'est.

    Returns:
        L'adaptateur posé sur le modèle, son historique et ses mesures.

    Raises:
        ErreurFabrique: dossier qui contient un autre apprentissage, disque ou mémoire
            insuffisants, aucun exemple à apprendre, arrêt demandé.
        Divergence: la perte n'est plus un nombre ; l'erreur garde ses relevés.
    """
    reglages = reglages or Reglages()

    def lire() -> Lecture:
        appris, _ = repartir(corpus, reglages.val_set_size, reglages.graine)
        return lecture_d_un_corpus(appris, tokenizer, reglages.cutoff_len)

    valider = _mesure_de_validation(validation, tokenizer, reglages.cutoff_len)
    return apprendre(modele, tokenizer, lire, reglages, sortie, valider)


@seul_le_premier_parle()
def apprendre(
    modele: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    lire: Callable[[], Lecture],
    reglages: Reglages,
    sortie: str | Path,
    valider: Callable[[PreTrainedModel], float] | None = None,
    depart: Path | None = None,
) -> ResultatEntrainement:
    """Mène un apprentissage, quoi qu'il lise, avec ses reprises et ses protections.

    Args:
        lire: rend ce qu'il y a à lire, une fois le modèle et les dossiers vérifiés.
        valider: rend la perte du modèle sur ce qu'on a mis de côté, à chaque relevé.
        depart: un adaptateur à prolonger ; le sien reste intact.

    Raises:
        ErreurFabrique, Divergence: comme ``entrainer``.
    """
    parler_moins()
    sortie = Path(sortie)
    verifier_modele(modele, reglages)
    points = dossier_durable(sortie)
    if est_le_premier():
        for dossier in (sortie, points):
            verifier_a_nous(dossier, modele.config._name_or_path)
    lecture = lire()
    exemples, compte = lecture.exemples, lecture.compte
    if est_le_premier():
        definition = empreinte(modele, exemples, reglages) | dict(lecture.definition)
        for dossier in (sortie, points):
            verifier_dossier(dossier, definition)
            inscrire_origine(dossier, modele, lecture.demandes)
    affine = poser(modele, reglages, depart)
    if (sortie / "rapport.json").exists():
        return _deja_fait(affine, tokenizer, sortie, reglages)
    if est_le_premier():
        verifier_disque(affine, reglages, points, deja=len(sort_checkpoints(str(points))))
    if compte.coupes or compte.ecartes:
        JOURNAL.info(str(compte))
    if lecture.completer:
        lecture = replace(lecture, exemples=lecture.completer(affine, exemples))
    pas = math.ceil(len(exemples) / reglages.batch_size)
    with Arret() as arret:
        suivi = Suivi(
            math.ceil(pas * reglages.epochs),
            arret,
            valider,
            sortie / AVANCEMENT if est_le_premier() else None,
        )
        try:
            etat = _apprendre(affine, lecture, reglages, points, suivi)
        finally:
            suivi.finir()
    affine.eval()
    resultat = ResultatEntrainement(
        modele=affine,
        tokenizer=tokenizer,
        dossier=sortie,
        historique=historique(etat.log_history),
        pas=etat.global_step,
        pas_faits=suivi.pas_faits,
        duree_s=suivi.duree_s,
        jetons_utiles=round(lecture.jetons * suivi.pas_faits / pas),
        memoire_pic=memoire_pic(),
        parametres_entraines=parametres_entraines(affine),
        exemples_lus=compte.lus,
        exemples=compte.appris,
        exemples_coupes=compte.coupes,
        exemples_ecartes=compte.ecartes,
        couches_4bits=len(couches_quatre_bits(affine)),
        reglages=reglages,
    )
    if est_le_premier():
        _ecrire(resultat, points / f"checkpoint-{etat.global_step}")
    return resultat


@sans_denormaux()
def _apprendre(
    affine: PeftModel | PreTrainedModel,
    lecture: Lecture,
    reglages: Reglages,
    points: Path,
    suivi: Suivi,
) -> TrainerState:
    """Apprend jusqu'au bout, avec des lots plus petits s'il le faut ; rend l'état du Trainer."""
    while True:
        entraineur = EntraineurParLongueur(
            lecture,
            affine,
            args=arguments(affine, reglages, points),
            callbacks=[suivi, *lecture.rappels],
        )
        entraineur.remove_callback(PrinterCallback)
        try:
            with calcul_rendu(affine):
                entraineur.train(resume_from_checkpoint=dernier_point_de_reprise(points))
        except MemoireInsuffisante:
            pass  # traité plus bas : ce que l'exception retenait est alors rendu
        except Divergence as arret:
            arret.historique = _releves_jusqu_a(arret, entraineur)
            raise
        except KeyboardInterrupt:
            raise _interrompu(
                entraineur.state.global_step,
                f"au dernier point de reprise (tous les {reglages.save_steps} pas)",
                points,
            ) from None
        else:
            if entraineur.state.global_step < entraineur.state.max_steps:
                raise _interrompu(entraineur.state.global_step, "à ce pas, sauvegardé", points)
            return entraineur.state
        reglages = _avec_moins_de_memoire(reglages, entraineur.args.world_size)
        entraineur.sauvegarder()
        affine.zero_grad()
        del entraineur
        gc.collect()
        clear_device_cache()


def _mesure_de_validation(
    validation: Dataset | None, tokenizer: PreTrainedTokenizerBase, cutoff_len: int
) -> Callable[[PreTrainedModel], float] | None:
    """De quoi mesurer la perte des exemples mis de côté, comptée comme celle de l'apprentissage."""
    if validation is None:
        return None
    exemples, _ = exemples_en_jetons(validation, tokenizer, cutoff_len)
    return lambda modele: -float(np.concatenate(log_probabilites(modele, list(exemples))).mean())


def _releves_jusqu_a(
    arret: Divergence, entraineur: EntraineurParLongueur
) -> list[dict[str, float]]:
    """Les relevés d'un apprentissage qui a divergé, pas fautif compris."""
    etat = entraineur.state
    fautif = {
        "step": arret.pas or etat.global_step,
        "epoch": etat.epoch,
        "loss": arret.perte,
        "learning_rate": entraineur.lr_scheduler.get_last_lr()[0],
    }
    return historique([*etat.log_history, fautif])


def _avec_moins_de_memoire(reglages: Reglages, processus: int) -> Reglages:
    if processus > 1:
        raise ErreurFabrique(
            "la mémoire d’une carte ne suffit pas",
            "Divisez mbatch_size (--mbatch_size) par deux et relancez : l’apprentissage reprendra",
            champ="mbatch_size",
            code=MACHINE,
        )
    frugaux = reglages.plus_frugaux()
    if frugaux is None:
        raise ErreurFabrique(
            "la mémoire ne suffit pas, même un exemple à la fois et en recalculant les activations",
            "Baissez cutoff_len (--cutoff_len), ou fermez les autres programmes, et relancez",
            code=MACHINE,
        )
    if frugaux.recalcul != reglages.recalcul:
        JOURNAL.warning(
            "La mémoire manque : les activations seront recalculées. L’apprentissage continue."
        )
    else:
        JOURNAL.warning(
            f"La mémoire manque : {accorder(frugaux.mbatch_size, 'exemple')} à la fois au lieu de "
            f"{reglages.mbatch_size}, accumulés en conséquence. L’apprentissage continue."
        )
    return frugaux


def _interrompu(pas: int, ou: str, points: Path) -> ErreurFabrique:
    return ErreurFabrique(
        f"apprentissage interrompu au pas {pas}",
        f"Relancez la même cellule ou la même commande : elle reprend {ou}",
        points,
    )


def _ecrire(resultat: ResultatEntrainement, point: Path) -> None:
    """Les poids du dernier point, la notice, puis le rapport, dont la présence dit que c'est fini."""
    with ecriture_expliquee(resultat.dossier):
        ranger_la_fin(point, resultat.reglages.save_total_limit)
        copier_les_poids(point, resultat.dossier)
        if resultat.reglages.methode == "complet":
            deposer_le_tokenizer(resultat.tokenizer, resultat.dossier)
        signer(resultat, resultat.modele.config._name_or_path)
        rapport = json.dumps(resultat.en_dictionnaire(), ensure_ascii=False, indent=2)
        ecrire_signe(resultat.dossier / "rapport.json", rapport)
        (resultat.dossier / AVANCEMENT).unlink(missing_ok=True)


def _deja_fait(
    affine: PeftModel | PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    sortie: Path,
    reglages: Reglages,
) -> ResultatEntrainement:
    """Recharge un apprentissage achevé."""
    rapport = json.loads((sortie / "rapport.json").read_text(encoding="utf-8"))
    connus = ResultatEntrainement.__dataclass_fields__
    mesures = {cle: v for cle, v in rapport.items() if cle in connus and cle != "reglages"}
    relu = relire(affine, sortie, reglages)
    resultat = ResultatEntrainement(
        modele=relu, tokenizer=tokenizer, dossier=sortie, reglages=reglages, **mesures
    )
    quoi = "le modèle" if resultat.quoi == "modèle" else "l’adaptateur"
    JOURNAL.info(f"Tout est déjà fait : {quoi} est relu dans {sortie}.")
    return resultat
