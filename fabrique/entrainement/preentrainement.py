"""Préentraîner un petit Falcon sur des textes : la recette du Falcon de poche.

Une boucle PyTorch qui se lit de haut en bas : les textes deviennent un long ruban
de jetons, on y prend des lots au hasard, le modèle prédit chaque jeton suivant.
"""

from __future__ import annotations

import csv
import gzip
import json
import logging
import math
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any

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

from fabrique.entrainement.disque import ecriture_expliquee
from fabrique.entrainement.reglages import ReglagesPreentrainement
from fabrique.entrainement.reprise import empreinte_du_dossier, verifier_dossier
from fabrique.jetons import entrainer_tokenizer
from fabrique.modeles.chargement import parler_moins
from fabrique.modeles.gabarits import (
    ASSISTANT,
    UTILISATEUR,
    coder,
    debut_de_suite,
    neutraliser,
    verifier_unicode,
)
from fabrique.modeles.vraisemblance import a_predire, log_probabilites
from fabrique.socle.emplacements import empreinte
from fabrique.socle.erreurs import ErreurFabrique
from fabrique.socle.nombres import en_duree, en_francais
from fabrique.socle.suivi import Barre, ecran_vivant, sans_la_barre

JOURNAL = logging.getLogger(__name__)


@dataclass(frozen=True)
class Source:
    """Un fichier de textes et la part des lots qu'il fournit, au début et à la fin.

    La part varie en ligne droite : les textes les plus proches de l'usage visé gagnent
    à dominer en fin de parcours, quand le taux d'apprentissage baisse. ``questions`` n'en
    garde que les titres et leurs réponses courtes, en conversation.
    """

    chemin: Path
    part_debut: float
    part_fin: float
    questions: bool = False

    @property
    def nom(self) -> str:
        """Le nom du fichier sans ses extensions, suivi de ce qu'on y lit."""
        return self.chemin.name.split(".")[0] + ("_questions" if self.questions else "")


# ---------------------------------------------------------------- les textes


@dataclass(frozen=True)
class Document:
    """Un texte et, quand il en a, son titre et la courte réponse qui convient à ce titre."""

    texte: str
    titre: str = ""
    reponse: str = ""


#: Une introduction tient lieu de réponse entre ces deux nombres de mots.
MOTS_D_UNE_REPONSE = (6, 80)


def lire_documents(chemin: Path) -> list[Document]:
    """Lit un fichier ``.txt`` (un document) ou ``.jsonl`` (un par ligne).

    Une ligne a un ``texte`` et, si l'on veut, un ``titre`` et une ``description``, qui répond au
    titre en une phrase ou deux ; à défaut, l'introduction du texte en tient lieu.

    Raises:
        ErreurFabrique: une ligne n'est pas un objet JSON qui porte un ``texte``.
    """
    ouvrir = gzip.open if chemin.suffix == ".gz" else open
    with ouvrir(chemin, "rt", encoding="utf-8") as flux:
        if ".jsonl" not in chemin.suffixes:
            return [Document(flux.read())]
        return [
            _document(ligne, chemin, numero)
            for numero, ligne in enumerate(flux, 1)
            if ligne.strip()
        ]


def _document(ligne: str, chemin: Path, numero: int) -> Document:
    try:
        lu = json.loads(ligne)
        return Document(
            lu["texte"],
            lu.get("titre") or "",
            lu.get("description") or introduction(lu["texte"]),
        )
    except (ValueError, TypeError, KeyError, AttributeError):
        raise ErreurFabrique(
            "ce n’est pas un objet JSON avec un champ « texte »",
            "Écrivez un objet par ligne, avec texte et, si l’on veut, titre et description",
            chemin,
            ligne=numero,
        ) from None


def introduction(texte: str) -> str:
    """Le premier paragraphe d'un texte, s'il a la taille d'une réponse et finit une phrase."""
    premier = texte.partition("\n")[0].strip()
    au_moins, au_plus = MOTS_D_UNE_REPONSE
    convient = au_moins <= len(premier.split()) <= au_plus and premier.endswith((".", "!", "?"))
    return premier if convient and premier[0].isalpha() else ""


def typographier(texte: str) -> str:
    """Rend le texte tel qu'un imprimeur français le composerait : ’ et espaces insécables."""
    texte = texte.replace("'", "’").replace("« ", "«\u00a0")
    for signe in (":", ";", "?", "!", "»", "€", "%"):
        texte = texte.replace(f" {signe}", f"\u00a0{signe}")
    return texte


def separer(documents: list[Document], un_sur: int) -> tuple[list[Document], list[Document]]:
    """Met de côté un document sur ``un_sur`` : (apprentissage, validation).

    Un fichier trop court pour en donner un reste entier à l'apprentissage.
    """
    garde = [d for rang, d in enumerate(documents, 1) if rang % un_sur]
    return garde, documents[un_sur - 1 :: un_sur]


def presentations(document: Document, questions: bool = False) -> list[list[str]]:
    """Les façons de lire un document, chacune en une suite de morceaux.

    Tel quel ; composé à la française s'il en diffère ; et, s'il a un titre et une réponse
    courte, en conversation : le titre demande, elle répond. Le modèle connaît ainsi les deux
    typographies et le sens des jetons de rôle. Une réponse en conversation n'est jamais le texte
    entier : le modèle déroulerait ses rubriques à chaque question.

    Args:
        questions: ne garde que la conversation.
    """
    demande, reponse = typographier(document.titre), typographier(document.reponse)
    conversation = [[UTILISATEUR, demande, ASSISTANT, reponse]] if demande and reponse else []
    if questions:
        return conversation
    entier = f"{document.titre}\n\n{document.texte}" if document.titre else document.texte
    compose = typographier(entier)
    lectures = [[entier]] if compose == entier else [[entier], [compose]]
    return lectures + conversation


#: Combien de morceaux le tokenizer découpe par appel : assez pour occuper tous les cœurs.
MORCEAUX_A_LA_FOIS = 512


def ruban(
    documents: list[Document], tokenizer: PreTrainedTokenizerBase, questions: bool = False
) -> np.ndarray:
    """Met bout à bout les identifiants : début, document, fin, début, document, fin…"""
    lectures = [
        lecture
        for document in documents
        for lecture in presentations(_neutre(document, tokenizer), questions)
    ]
    morceaux = [morceau for lecture in lectures for morceau in lecture]
    for morceau in morceaux:
        verifier_unicode(morceau)
    codes = (
        code.ids
        for debut in range(0, len(morceaux), MORCEAUX_A_LA_FOIS)
        for code in tokenizer.backend_tokenizer.encode_batch_fast(
            morceaux[debut : debut + MORCEAUX_A_LA_FOIS], add_special_tokens=False
        )
    )
    identifiants = [
        np.array(
            [
                *debut_de_suite(tokenizer),
                *chain.from_iterable(islice(codes, len(lecture))),
                tokenizer.eos_token_id,
            ],
            dtype=np.uint16,
        )
        for lecture in lectures
    ]
    return np.concatenate([np.array([], dtype=np.uint16), *identifiants])


def _neutre(document: Document, tokenizer: PreTrainedTokenizerBase) -> Document:
    """Le document, sans jeton spécial que ses auteurs y auraient écrit en toutes lettres."""
    return Document(
        *(
            neutraliser(champ, tokenizer)
            for champ in (document.texte, document.titre, document.reponse)
        )
    )


# ---------------------------------------------------------------- le modèle


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


def optimiseurs(modele: FalconForCausalLM, learning_rate: float) -> list[torch.optim.Optimizer]:
    """Muon pour les matrices des blocs, AdamW pour le reste (plongements, normalisations).

    Source : Jordan et al., 2024 (Muon) ; l'échelle « match_rms_adamw » (Liu et al., 2025,
    arXiv:2502.16982) donne aux deux le même taux d'apprentissage.
    """
    matrices = [p for n, p in modele.named_parameters() if ".h." in n and p.ndim == 2]
    connues = {id(p) for p in matrices}
    reste = [p for p in modele.parameters() if id(p) not in connues]
    return [
        Muon(matrices, lr=learning_rate, weight_decay=0.05, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(reste, lr=learning_rate, betas=(0.9, 0.95), weight_decay=0.0),
    ]


class Muon(torch.optim.Muon):
    """Muon, calculé dans le type des gradients quand la machine ne fait qu'imiter le bf16.

    torch le calcule toujours en bf16, que la plupart des processeurs imitent, bien plus lentement
    qu'ils ne calculent en fp32. Même algorithme, mêmes réglages, mêmes états.
    """

    @torch.no_grad()
    def step(self, closure: Callable | None = None) -> Any:
        """Fait un pas ; ``closure`` est celle de torch."""
        if bf16_natif(self.param_groups[0]["params"][0].device.type):
            return super().step(closure)
        for groupe in self.param_groups:
            for poids in (p for p in groupe["params"] if p.grad is not None):
                elan = self.state[poids].setdefault("momentum_buffer", torch.zeros_like(poids))
                elan.lerp_(poids.grad, 1 - groupe["momentum"])
                direction = orthogonaliser(
                    poids.grad.lerp(elan, groupe["momentum"]),
                    groupe["ns_coefficients"],
                    groupe["ns_steps"],
                )
                poids.mul_(1 - groupe["lr"] * groupe["weight_decay"])
                # « match_rms_adamw » : l'échelle d'AdamW. Source : arXiv:2502.16982.
                echelle = 0.2 * math.sqrt(max(poids.shape))
                poids.add_(direction, alpha=-groupe["lr"] * echelle)
        return None


def orthogonaliser(
    gradient: torch.Tensor, coefficients: tuple[float, float, float], tours: int
) -> torch.Tensor:
    """Ramène vers 1 les valeurs singulières d'une matrice, par l'itération de Newton-Schulz.

    Source : Jordan et al., 2024 (Muon).
    """
    a, b, c = coefficients
    couchee = gradient.T if gradient.shape[0] > gradient.shape[1] else gradient
    x = couchee / couchee.norm().clamp(min=1e-7)
    for _ in range(tours):
        carre = x @ x.T
        x = a * x + (b * carre + c * carre @ carre) @ x
    return x.T if couchee is not gradient else x


def bf16_natif(appareil: str) -> bool:
    """Vrai si l'appareil calcule en bf16 au lieu de l'imiter, bien plus lentement que le fp32."""
    if appareil == "cuda":
        return torch.cuda.get_device_capability()[0] >= 8
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()


def taux(pas: int, reglages: ReglagesPreentrainement) -> float:
    """Part du taux maximal au pas donné : montée, plateau, descente en ligne droite.

    Le plateau permet de prolonger un entraînement sans le recommencer.
    Source : Hu et al., 2024 (MiniCPM, arXiv:2404.06395).
    """
    reste = (reglages.pas - pas) / max(1, reglages.pas * reglages.part_descente)
    return max(0.0, min(1.0, (pas + 1) / reglages.echauffement, reste))


# ---------------------------------------------------------------- la marche


def tirer_lot(
    pas: int,
    rubans: list[np.ndarray],
    sources: list[Source],
    reglages: ReglagesPreentrainement,
) -> torch.Tensor:
    """Tire ``lot`` fenêtres de ``longueur`` jetons. Le tirage ne dépend que de la graine et du pas."""
    hasard = np.random.default_rng((reglages.graine, pas))
    avance = pas / reglages.pas
    parts = np.array([s.part_debut + avance * (s.part_fin - s.part_debut) for s in sources])
    choix = hasard.choice(len(rubans), size=reglages.lot, p=parts / parts.sum())
    fenetres = []
    for ruban_choisi in (rubans[i] for i in choix):
        depart = hasard.integers(0, max(1, len(ruban_choisi) - reglages.longueur))
        fenetre = np.resize(ruban_choisi[depart : depart + reglages.longueur], reglages.longueur)
        fenetres.append(fenetre.astype(np.int64))
    return torch.from_numpy(np.stack(fenetres))


def bits_par_octet(
    modele: FalconForCausalLM,
    tokenizer: PreTrainedTokenizerBase,
    textes: list[str],
    longueur: int,
    recul: int | None = None,
) -> float:
    """Bits par octet du modèle sur des textes : combien il en faudrait pour les comprimer.

    Chaque jeton est jugé une fois. Les fenêtres de ``longueur`` jetons avancent de
    ``recul`` (la moitié par défaut), si bien qu'un jeton a du contexte devant lui.

    Returns:
        log2 de la vraisemblance divisé par le nombre d'octets UTF-8 ; plus bas, mieux c'est.
    """
    recul = min(recul or longueur // 2, longueur - 1)
    fenetres = []
    for texte in textes:
        ids = [*debut_de_suite(tokenizer), *coder(texte, tokenizer)]
        juges = 1
        for debut in range(0, len(ids), recul):
            fin = min(debut + longueur, len(ids))
            fenetres.append(a_predire(ids[debut:juges], ids[juges:fin]))
            juges = fin
            if fin == len(ids):
                break
    nats = -sum(notes.sum() for notes in log_probabilites(modele, fenetres, lot=1))
    return float(nats) / math.log(2) / sum(len(texte.encode()) for texte in textes)


#: Ce que la marche écrit dans son dossier.
ECRITS = ("empreinte.json", "tokenizer", "etat.pt", "courbe.csv", "modele")


@dataclass
class Etat:
    """Où en est la marche : ce qu'on relit pour repartir. ``prevus`` : le nombre de pas demandé."""

    pas: int = 0
    duree_s: float = 0.0
    perte: float = math.nan
    prevus: int = 0


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
    peut changer entre deux lancements : le taux et les parts suivent alors, dès ce pas, le chemin prévu
    pour le nouveau nombre. Tout le reste qui change l'apprentissage demande un autre dossier.

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
            qui diverge, disque plein.
    """
    reglages = reglages or ReglagesPreentrainement()
    parler_moins()
    verifier_les_dossiers(sortie, depart)
    _verifier_la_taille(reglages)
    cotes = [separer(lire_documents(s.chemin), reglages.validation_un_sur) for s in sources]
    for source, (appris, _) in zip(sources, cotes, strict=True):
        _verifier_les_textes(source, appris)
    verifier_dossier(sortie, empreinte_de_la_marche(sources, reglages, depart))
    tokenizer = _tokenizer(sortie, depart, [appris for appris, _ in cotes], reglages.vocabulaire)
    rubans = [
        ruban(appris, tokenizer, source.questions)
        for source, (appris, _) in zip(sources, cotes, strict=True)
    ]
    temoins = {
        source.nom: [d.reponse if source.questions else d.texte for d in cote]
        for source, (_, cote) in zip(sources, cotes, strict=True)
    }
    modele = charger_depart(depart, reglages) if depart else nouveau_modele(reglages, tokenizer)
    appareil = "cuda" if torch.cuda.is_available() else "cpu"
    modele.to(appareil).train()
    optims = optimiseurs(modele, reglages.learning_rate)
    # La moyenne mobile des poids, moins bruitée que le dernier pas, est ce qu'on mesure et garde.
    # Source : Izmailov et al., 2018 (arXiv:1803.05407).
    moyenne = AveragedModel(modele, multi_avg_fn=get_ema_multi_avg_fn(reglages.inertie))
    etat = _lire_etat(sortie, modele, moyenne, optims)
    _verifier_les_pas(etat, reglages, sortie, dire)
    calcul = torch.compile(modele) if compiler else modele
    depart_s = time.monotonic() - etat.duree_s
    avancement = Avancement(etat.pas, reglages.pas, dire)
    try:
        while etat.pas < reglages.pas:
            lot = tirer_lot(etat.pas, rubans, sources, reglages).to(appareil)
            perte = _un_pas(calcul, optims, lot, reglages.learning_rate * taux(etat.pas, reglages))
            _verifier_la_perte(perte, etat.pas + 1, sortie)
            moyenne.update_parameters(modele)
            etat.perte = perte if not etat.pas else 0.98 * etat.perte + 0.02 * perte
            etat.pas, etat.duree_s = etat.pas + 1, time.monotonic() - depart_s
            avancement.avancer(etat.pas, etat.perte)
            if etat.pas % reglages.pas_mesure == 0 or etat.pas == reglages.pas:
                _ecrire_etat(sortie, modele, moyenne, optims, etat)
                releve = _mesurer(moyenne.module, tokenizer, temoins, etat, reglages)
                _ajouter_a_la_courbe(sortie, releve)
                avancement.dire(" · ".join(f"{nom} {valeur}" for nom, valeur in releve.items()))
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


def _verifier_la_taille(reglages: ReglagesPreentrainement) -> None:
    """Chaque tête reçoit une part égale du vecteur, et la rotation tourne ses valeurs deux par deux."""
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


def empreinte_de_la_marche(
    sources: list[Source], reglages: ReglagesPreentrainement, depart: Path | None
) -> dict:
    """Ce qui fait que deux lancements sont le même préentraînement : textes, parts, réglages, départ.

    ``pas`` et ``pas_mesure`` n'en sont pas : un entraînement se prolonge ou s'abrège.
    """
    libres = ("pas", "pas_mesure")
    poids = sorted(depart.glob("*.safetensors")) if depart else []
    return {
        "modele": [empreinte(fichier) for fichier in poids],
        "donnees": [
            [empreinte(source.chemin), source.part_debut, source.part_fin, source.questions]
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


def _verifier_la_perte(perte: float, pas: int, sortie: Path) -> None:
    if not math.isfinite(perte):
        raise ErreurFabrique(
            f"la perte du pas {pas} n’est plus un nombre\u00a0: le préentraînement a divergé",
            "Divisez le taux d’apprentissage (--lr) par dix, dans un autre dossier de sortie\u00a0; le "
            "dernier état écrit dans celui-ci est intact",
            sortie,
            champ="learning_rate",
        )


# ---------------------------------------------------------------- écrire et relire


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


def _ecrire_etat(
    sortie: Path,
    modele: torch.nn.Module,
    moyenne: AveragedModel,
    optims: list[torch.optim.Optimizer],
    etat: Etat,
) -> None:
    """Écrit l'état à côté, le relit, puis le met en place d'un seul geste.

    Raises:
        ErreurFabrique: des poids ne sont plus des nombres, ou le disque refuse ; l'état précédent reste.
    """
    contenu = {
        "modele": modele.state_dict(),
        "moyenne": moyenne.state_dict(),
        "optims": [optim.state_dict() for optim in optims],
        "etat": asdict(etat),
    }
    partiel = sortie / "etat.pt.partiel"
    try:
        with ecriture_expliquee(sortie):
            with partiel.open("wb") as flux:
                torch.save(contenu, flux)
                flux.flush()
                os.fsync(flux.fileno())
            _verifier_l_etat(
                torch.load(partiel, map_location="cpu", weights_only=True), contenu, sortie
            )
            partiel.replace(sortie / "etat.pt")
    finally:
        partiel.unlink(missing_ok=True)


def _verifier_l_etat(relu: dict, ecrit: dict, sortie: Path) -> None:
    """Chaque poids relu est celui qu'on a écrit, et c'est un nombre."""
    for partie in ("modele", "moyenne"):
        for nom, tenseur in ecrit[partie].items():
            if not torch.isfinite(tenseur).all():
                _verifier_la_perte(math.nan, ecrit["etat"]["pas"], sortie)
            if not torch.equal(relu[partie][nom], tenseur.cpu()):
                raise OSError("l’état écrit ne se relit pas")


def _lire_etat(
    sortie: Path,
    modele: torch.nn.Module,
    moyenne: AveragedModel,
    optims: list[torch.optim.Optimizer],
) -> Etat:
    """Relit l'état d'un lancement interrompu ; à défaut, l'état initial."""
    if not (sortie / "etat.pt").exists():
        return Etat()
    contenu = torch.load(sortie / "etat.pt", map_location="cpu", weights_only=True)
    modele.load_state_dict(contenu["modele"])
    moyenne.load_state_dict(contenu["moyenne"])
    for optim, valeurs in zip(optims, contenu["optims"], strict=True):
        optim.load_state_dict(valeurs)
    return Etat(**contenu["etat"])


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


def _ajouter_a_la_courbe(sortie: Path, releve: dict[str, float]) -> None:
    courbe = sortie / "courbe.csv"
    nouveau = not courbe.exists()
    with ecriture_expliquee(sortie), courbe.open("a", encoding="utf-8", newline="") as flux:
        ecrivain = csv.DictWriter(flux, releve)
        if nouveau:
            ecrivain.writeheader()
        ecrivain.writerow(releve)


def charger_depart(dossier: Path, reglages: ReglagesPreentrainement) -> FalconForCausalLM:
    """Relit un modèle en fp32 pour le prolonger, et allonge au besoin son contexte.

    Les positions par rotation n'ont pas de poids : lire plus loin s'apprend sans rien ajouter.
    """
    modele = FalconForCausalLM.from_pretrained(dossier, dtype=torch.float32)
    contexte = max(modele.config.max_position_embeddings, reglages.longueur)
    modele.config.max_position_embeddings = contexte
    return modele


def enregistrer(modele: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, dossier: Path) -> Path:
    """Écrit le modèle en safetensors 16 bits, son tokenizer et sa configuration."""
    modele.config.use_cache = True
    modele.half().save_pretrained(dossier)
    tokenizer.save_pretrained(dossier)
    return dossier


def lire_source(description: str, questions: bool = False) -> Source:
    """Lit « fichier:part_debut:part_fin » ; sans parts, la source pèse 1 du début à la fin.

    Args:
        questions: n'en garder que les titres et leurs réponses courtes.

    Raises:
        ErreurFabrique: fichier absent ou parts illisibles.
    """
    chemin, *parts = description.rsplit(":", 2) if description.count(":") >= 2 else [description]
    try:
        debut, fin = (float(p.replace(",", ".")) for p in parts or ("1", "1"))
    except ValueError:
        raise ErreurFabrique(
            f"les parts de « {description} » ne se lisent pas",
            "Écrivez fichier:0.1:0.4 (part au début, part à la fin)",
        ) from None
    if not Path(chemin).is_file():
        raise ErreurFabrique("fichier introuvable", "Vérifiez le chemin", chemin)
    return Source(Path(chemin), debut, fin, questions)
