"""Préentraîner un petit Falcon sur des textes : la recette du Falcon de poche.

Une boucle PyTorch qui se lit de haut en bas : les textes deviennent un long ruban
de jetons, on y prend des lots au hasard, le modèle prédit chaque jeton suivant.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from transformers import (
    AutoTokenizer,
    FalconConfig,
    FalconForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from fabrique.entrainement.bits import bits_par_octet
from fabrique.entrainement.disque import ecriture_expliquee
from fabrique.entrainement.etat import (
    COURBE,
    Etat,
    ajouter_a_la_courbe,
    dernier_releve,
    ecrire_etat,
    lire_etat,
    verifier_la_perte,
)
from fabrique.entrainement.optimiseurs import bf16_natif, optimiseurs, taux
from fabrique.entrainement.reglages import ReglagesPreentrainement
from fabrique.entrainement.reprise import empreinte_du_dossier, verifier_dossier
from fabrique.entrainement.rubans import passages, ruban, tirer_lot
from fabrique.entrainement.textes import (
    Document,
    Source,
    lire_documents,
    presentations,
    separer,
)
from fabrique.jetons import entrainer_tokenizer
from fabrique.machine.denormaux import sans_denormaux
from fabrique.modeles.chargement import parler_moins
from fabrique.socle.emplacements import empreinte
from fabrique.socle.erreurs import ErreurFabrique
from fabrique.socle.nombres import en_duree, en_francais
from fabrique.socle.suivi import Barre, ecran_vivant, sans_la_barre

JOURNAL = logging.getLogger(__name__)


@sans_denormaux()
def preentrainer(
    sources: list[Source],
    sortie: Path,
    reglages: ReglagesPreentrainement | None = None,
    depart: Path | None = None,
    compiler: bool = False,
    dire: Callable[[str], None] = JOURNAL.info,
) -> Path:
    """Préentraîne un Falcon de poche, ou poursuit un préentraînement interrompu.

    Relancée à l'identique, la fonction repart du dernier état écrit dans ``sortie``. Le nombre de pas
    et la part gardée du départ peuvent changer entre deux lancements : le taux et les parts des
    sources suivent alors, dès ce pas, le chemin prévu pour le nouveau nombre. Tout le reste qui change
    l'apprentissage demande un autre dossier.

    Args:
        sources: fichiers de textes et parts de chacun dans les lots.
        sortie: dossier qui reçoit le tokenizer, l'état, la courbe et le modèle final.
        reglages: taille du modèle et marche de l'entraînement.
        depart: dossier d'un modèle dont on prolonge l'apprentissage, tokenizer compris.
        compiler: emploie torch.compile (plus rapide, demande un compilateur C++).
        dire: reçoit une ligne de compte rendu à chaque mesure ; sans barre à l'écran, la durée
            prévue aussi, dès les premiers pas.

    Returns:
        Le dossier ``sortie/modele`` : poids safetensors en 16 bits et tokenizer.

    Raises:
        ErreurFabrique: ``sortie`` contient autre chose ou touche à ``depart``, texte illisible, perte
            qui diverge, disque plein, départ absent dont il faudrait garder une part.
    """
    reglages = reglages or ReglagesPreentrainement()
    parler_moins()
    verifier_les_dossiers(sortie, depart)
    _verifier_les_reglages(reglages, depart)
    cotes = [separer(lire_documents(s.chemin), reglages.validation_un_sur) for s in sources]
    for source, (appris, _) in zip(sources, cotes, strict=True):
        _verifier_les_textes(source, appris)
    verifier_dossier(sortie, empreinte_de_la_marche(sources, reglages, depart))
    tokenizer = _tokenizer(sortie, depart, [appris for appris, _ in cotes], reglages.vocabulaire)
    rubans = [
        ruban(appris, tokenizer, source.questions)
        for source, (appris, _) in zip(sources, cotes, strict=True)
    ]
    _dire_les_relectures(rubans, sources, reglages)
    temoins = {
        source.nom: [d.reponse if source.questions else d.texte for d in cote]
        for source, (_, cote) in zip(sources, cotes, strict=True)
    }
    modele = charger_depart(depart, reglages) if depart else nouveau_modele(reglages, tokenizer)
    appareil = "cuda" if torch.cuda.is_available() else "cpu"
    modele.to(appareil).train()
    optims = optimiseurs(modele, reglages.learning_rate, reglages.weight_decay)
    # La moyenne mobile des poids, moins bruitée que le dernier pas, est ce qu'on mesure et garde.
    # Source : Izmailov et al., 2018 (arXiv:1803.05407).
    moyenne = AveragedModel(modele, multi_avg_fn=get_ema_multi_avg_fn(reglages.inertie))
    etat = lire_etat(sortie, modele, moyenne, optims)
    _verifier_les_pas(etat, reglages, sortie, dire)
    calcul = torch.compile(modele) if compiler else modele
    depart_s = time.monotonic() - etat.duree_s
    avancement = Avancement(etat.pas, reglages.pas, dire)

    def relever() -> None:
        releve = _mesurer(moyenne.module, tokenizer, temoins, etat, reglages)
        ajouter_a_la_courbe(sortie, releve)
        avancement.dire(_en_ligne(releve))

    try:
        if etat.pas > dernier_releve(sortie):  # une mort entre l'état et sa mesure
            relever()
        while etat.pas < reglages.pas:
            lot = tirer_lot(etat.pas, rubans, sources, reglages).to(appareil)
            perte = _un_pas(calcul, optims, lot, reglages.learning_rate * taux(etat.pas, reglages))
            verifier_la_perte(perte, etat.pas + 1, sortie)
            moyenne.update_parameters(modele)
            etat.perte = perte if not etat.pas else 0.98 * etat.perte + 0.02 * perte
            etat.pas, etat.duree_s = etat.pas + 1, time.monotonic() - depart_s
            avancement.avancer(etat.pas, etat.perte)
            if etat.pas % reglages.pas_mesure == 0 or etat.pas == reglages.pas:
                ecrire_etat(sortie, modele, moyenne, optims, etat)
                relever()
        if depart and reglages.part_du_depart:
            rapprocher(moyenne.module, charger_depart(depart, reglages), reglages.part_du_depart)
            releve = _mesurer(moyenne.module, tokenizer, temoins, etat, reglages)
            avancement.dire("mêlé au départ · " + _en_ligne(releve))
    finally:
        avancement.finir()
    with ecriture_expliquee(sortie):
        return enregistrer(moyenne.module, tokenizer, sortie / "modele")


def _un_pas(
    calcul: torch.nn.Module, optims: list[torch.optim.Optimizer], lot: torch.Tensor, lr: float
) -> float:
    """Un pas : prédire, mesurer l'erreur, corriger. Rend la perte du lot, en nats par jeton."""
    for groupe in (g for optim in optims for g in optim.param_groups):
        groupe["lr"] = lr
    appareil = lot.device.type
    with torch.autocast(appareil, torch.bfloat16, enabled=bf16_natif(appareil)):
        perte = calcul(input_ids=lot, labels=lot).loss
    perte.backward()
    for optim in optims:
        optim.step()
        optim.zero_grad()
    return perte.item()


def _mesurer(
    modele: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    temoins: dict[str, list[str]],
    etat: Etat,
    reglages: ReglagesPreentrainement,
) -> dict[str, float]:
    """Les bits par octet de chaque source mise de côté, au pas où l'on est : une ligne de la courbe."""
    modele.eval()
    mesures = {
        f"bpo_{nom}": round(
            bits_par_octet(modele, tokenizer, [t[:6000] for t in textes[:8]], reglages.longueur),
            4,
        )
        for nom, textes in temoins.items()
        if textes
    }
    modele.train()
    return {
        "pas": etat.pas,
        "jetons": etat.pas * reglages.lot * reglages.longueur,
        "duree_s": round(etat.duree_s),
        "perte": round(etat.perte, 4),
        **mesures,
    }


def _en_ligne(releve: dict[str, float]) -> str:
    """Un relevé, tel que le compte rendu le dit."""
    return " · ".join(f"{nom} {valeur}" for nom, valeur in releve.items())


class Avancement:
    """Où l'on en est : une barre à l'écran ; ailleurs, des lignes, dont une annonce la fin."""

    #: Pas au bout desquels la durée d'un pas se connaît assez pour annoncer la fin.
    PREMIERS = 10

    def __init__(self, deja: int, total: int, dire: Callable[[str], None]) -> None:
        self.deja, self.total, self.depart, self._dire = deja, total, time.monotonic(), dire
        self.barre = Barre(total, "Préentraînement", deja) if ecran_vivant() else None

    def avancer(self, pas: int, perte: float) -> None:
        """Porte la barre au pas donné ; sans barre, annonce la fin une fois, après les premiers pas."""
        if self.barre is not None:
            self.barre.avancer(pas, f"perte {en_francais(perte, 3)}")
        elif pas - self.deja == self.PREMIERS and pas < self.total:
            par_pas = (time.monotonic() - self.depart) / self.PREMIERS
            fin = en_duree(par_pas * (self.total - pas))
            self._dire(f"{en_francais(par_pas, 2)}\u00a0s par pas\u00a0: fin dans environ {fin}")

    def dire(self, ligne: str) -> None:
        """Dit une ligne sans couper la barre."""
        with sans_la_barre():
            self._dire(ligne)

    def finir(self) -> None:
        if self.barre is not None:
            self.barre.finir()


# ---------------------------------------------------------------- ce qu'on refuse


#: Ce que la marche écrit dans son dossier.
ECRITS = ("empreinte.json", "tokenizer", "etat.pt", COURBE, "modele")


def verifier_les_dossiers(sortie: Path, depart: Path | None) -> None:
    """Refuse d'écrire dans le modèle à prolonger, ou par-dessus ce que personne n'a signé ici.

    Raises:
        ErreurFabrique: modèle à prolonger absent ou sans tokenizer, ou dossiers qui se touchent.
    """
    if depart is not None:
        if not (depart / "config.json").is_file() or not (depart / "tokenizer.json").is_file():
            raise ErreurFabrique(
                "le modèle à prolonger n’a pas sa configuration et son tokenizer",
                "Donnez le dossier qui contient config.json, tokenizer.json et les poids",
                depart,
            )
        vrai_depart, vraie_sortie = depart.resolve(), sortie.resolve()
        ecrits = [vraie_sortie / nom for nom in ("modele", "tokenizer")]
        if vraie_sortie.is_relative_to(vrai_depart) or any(
            vrai_depart.is_relative_to(ecrit) for ecrit in ecrits
        ):
            raise ErreurFabrique(
                "la sortie écrirait dans le modèle à prolonger",
                "Donnez un dossier de sortie à part",
                sortie,
            )
    if empreinte_du_dossier(sortie) is None:
        etrangers = [nom for nom in ECRITS if (sortie / nom).exists()]
        if etrangers:
            raise ErreurFabrique(
                f"le dossier contient déjà {' et '.join(etrangers)}, sans dire de quels textes ni de "
                "quels réglages",
                "Donnez un autre dossier de sortie",
                sortie,
            )


def _verifier_les_reglages(reglages: ReglagesPreentrainement, depart: Path | None) -> None:
    """Des têtes paires, qui se partagent le vecteur ; un départ, s'il faut en garder une part."""
    if reglages.part_du_depart and depart is None:
        raise ErreurFabrique(
            "il n’y a pas de départ dont garder une part",
            "Donnez le modèle à prolonger (--depart), ou ôtez --part_du_depart",
            champ="part_du_depart",
        )
    if reglages.largeur % (2 * reglages.tetes):
        raise ErreurFabrique(
            f"une largeur de {reglages.largeur} ne se partage pas entre {reglages.tetes} têtes paires",
            "Choisissez une largeur (--largeur) multiple de deux fois le nombre de têtes (--tetes)",
            champ="largeur",
        )


def _verifier_les_textes(source: Source, appris: list[Document]) -> None:
    if not any(presentations(document, source.questions) for document in appris):
        quoi = "aucun titre suivi d’une réponse courte" if source.questions else "aucun texte"
        raise ErreurFabrique(f"{quoi} à apprendre", "Vérifiez ce fichier", source.chemin)


#: Passages jusqu'où relire un texte vaut presque en lire un neuf.
#: Source : Muennighoff et al., 2023 (arXiv:2305.16264).
PASSAGES_UTILES = 4


def _dire_les_relectures(
    rubans: list[np.ndarray], sources: list[Source], reglages: ReglagesPreentrainement
) -> None:
    """Nomme les sources que ces parts feront relire plus que de raison."""
    for source, fois in zip(sources, passages(rubans, sources, reglages), strict=True):
        if fois > PASSAGES_UTILES:
            JOURNAL.warning(
                f"«\u00a0{source.nom}\u00a0» sera lu au moins {en_francais(fois, 1)} fois\u00a0: au-delà de "
                f"{PASSAGES_UTILES}, relire apporte de moins en moins, et le modèle risque de retenir par "
                "cœur. Baissez sa part, ou le nombre de pas."
            )


def empreinte_de_la_marche(
    sources: list[Source], reglages: ReglagesPreentrainement, depart: Path | None
) -> dict:
    """Ce qui fait que deux lancements sont le même préentraînement : textes, parts, réglages, départ.

    ``pas``, ``pas_mesure`` et ``part_du_depart`` n'en sont pas : un entraînement se prolonge ou
    s'abrège, et ses poids une fois appris se mêlent à ceux du départ sans rien réapprendre.
    """
    libres = ("pas", "pas_mesure", "part_du_depart")
    poids = sorted(depart.glob("*.safetensors")) if depart else []
    return {
        "modele": [empreinte(fichier) for fichier in poids],
        "donnees": [
            [source.empreinte, source.part_debut, source.part_fin, source.questions]
            for source in sources
        ],
        "reglages": {nom: v for nom, v in asdict(reglages).items() if nom not in libres},
    }


def _verifier_les_pas(
    etat: Etat, reglages: ReglagesPreentrainement, sortie: Path, dire: Callable[[str], None]
) -> None:
    """Dit d'où l'on repart ; refuse moins de pas qu'il n'y en a de faits."""
    if etat.pas > reglages.pas:
        raise ErreurFabrique(
            f"{etat.pas} pas sont déjà faits, et l’on en demande {reglages.pas}",
            f"Demandez-en au moins {etat.pas} (--pas), ou donnez un autre dossier de sortie",
            sortie,
            champ="pas",
        )
    if etat.pas:
        dire(f"Reprise au pas {etat.pas} sur {reglages.pas}.")
        if etat.prevus != reglages.pas:
            dire(
                f"Jusqu’au pas {etat.pas}, la descente du taux était prévue pour {etat.prevus} pas\u00a0; "
                f"ensuite, pour {reglages.pas}."
            )
    etat.prevus = reglages.pas


# ---------------------------------------------------------------- le modèle et son tokenizer


def nouveau_modele(
    reglages: ReglagesPreentrainement, tokenizer: PreTrainedTokenizerBase
) -> FalconForCausalLM:
    """Un Falcon neuf : multi-requête, attention parallèle, rotation, sans biais (comme le 7B)."""
    torch.manual_seed(reglages.graine)
    return FalconForCausalLM(
        FalconConfig(
            vocab_size=len(tokenizer),
            hidden_size=reglages.largeur,
            num_hidden_layers=reglages.couches,
            num_attention_heads=reglages.tetes,
            max_position_embeddings=reglages.longueur,
            multi_query=True,
            num_kv_heads=1,
            parallel_attn=True,
            alibi=False,
            bias=False,
            new_decoder_architecture=False,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
            use_cache=False,
        )
    )


def _tokenizer(
    sortie: Path, depart: Path | None, appris: list[list[Document]], taille: int
) -> PreTrainedTokenizerBase:
    """Le tokenizer du modèle de départ, celui d'un lancement précédent, ou un neuf."""
    dossier = depart or sortie / "tokenizer"
    if (dossier / "tokenizer.json").exists():
        return AutoTokenizer.from_pretrained(dossier)
    textes = (t for docs in appris for t in _echantillon(docs))
    tokenizer = entrainer_tokenizer(textes, taille)
    with ecriture_expliquee(sortie):
        tokenizer.save_pretrained(sortie / "tokenizer")
    return tokenizer


def _echantillon(documents: list[Document], octets: int = 6_000_000) -> Iterator[str]:
    """De quoi entraîner le tokenizer : des extraits, répétés si la source est petite.

    Chaque source pèse ainsi à peu près autant, la petite source du domaine comprise.
    """
    restant = octets
    for _ in range(6):
        for document in documents:
            for morceaux in presentations(document)[:2]:
                extrait = morceaux[0][:100_000]
                restant -= len(extrait)
                yield extrait
                if restant < 0:
                    return


def charger_depart(dossier: Path, reglages: ReglagesPreentrainement) -> FalconForCausalLM:
    """Relit un modèle en fp32 pour le prolonger, et allonge au besoin son contexte.

    Les positions par rotation n'ont pas de poids : lire plus loin s'apprend sans rien ajouter.
    """
    modele = FalconForCausalLM.from_pretrained(dossier, dtype=torch.float32)
    contexte = max(modele.config.max_position_embeddings, reglages.longueur)
    modele.config.max_position_embeddings = contexte
    return modele


def rapprocher(modele: torch.nn.Module, depart: torch.nn.Module, part: float) -> None:
    """Ramène chaque poids vers celui du départ : ``(1 − part) × appris + part × départ``.

    Ce qui s'est appris (répondre court) se garde, et ce qui s'abîmait (la langue) revient.

    Args:
        part: de 0 (rien ne bouge) à 1 (le départ).

    Source : Wortsman et al., 2022 (arXiv:2109.01903).
    """
    with torch.no_grad():
        for poids, initial in zip(modele.parameters(), depart.parameters(), strict=True):
            poids.lerp_(initial.to(poids), part)


def enregistrer(modele: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, dossier: Path) -> Path:
    """Écrit le modèle en safetensors 16 bits, son tokenizer et sa configuration."""
    modele.config.use_cache = True
    modele.half().save_pretrained(dossier)
    tokenizer.save_pretrained(dossier)
    return dossier
