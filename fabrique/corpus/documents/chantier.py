"""Lire un dossier : chaque fichier dans un processus à part, repris là où l'on s'est arrêté.

Ce qu'un fichier donne est écrit aussitôt dans « fiches.jsonl.travail » ; la fin réunit tout. Un fichier
qui fait tomber son processus, ou n'en finit pas, est nommé : les autres se lisent.
"""

from __future__ import annotations

import hashlib
import json
import logging
import multiprocessing
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TextIO

from fabrique import __version__
from fabrique.corpus.documents.admission import (
    A_COTE,
    LECTEURS,
    VOISINS,
    a_installer,
    format_non_lu,
    lire_document,
)
from fabrique.corpus.documents.bilan_documents import (
    EXEMPLES,
    IGNORE,
    LU,
    REFUSE,
    BilanDossier,
    BilanFichier,
)
from fabrique.corpus.documents.blocs import ReglagesLecture, Retrait
from fabrique.corpus.documents.mise_en_fiches import en_fiches, fichier_des_lieux
from fabrique.corpus.documents.numerisation import tesseract_present
from fabrique.socle.emplacements import ecrire_json, mettre_en_place, verifier_sortie
from fabrique.socle.erreurs import ErreurFabrique
from fabrique.socle.nombres import MO, accorder, en_duree
from fabrique.socle.suivi import Barre, ecran_vivant

JOURNAL = logging.getLogger(__name__)


def fichier_des_retraits(sortie: Path) -> Path:
    """Le fichier de ce que le nettoyage a ôté : « fiches.retraits.jsonl »."""
    return sortie.with_name(f"{sortie.stem}.retraits.jsonl")


def lire_dossier(
    dossier: str | Path,
    sortie: str | Path,
    reglages: ReglagesLecture | None = None,
    ecraser: bool = False,
) -> BilanDossier:
    """Lit tous les documents d'un dossier et en écrit les fiches.

    Args:
        dossier: le dossier, lu avec ses sous-dossiers ; ou un seul fichier.
        sortie: les fiches (.jsonl). À côté : leurs places (.lieux.jsonl) et ce qui a été ôté
            (.retraits.jsonl).
        ecraser: remplace des fichiers que nous n'avons pas écrits.

    Raises:
        ErreurFabrique: dossier introuvable ou sans document, sortie qui n'est pas à nous, extension
            ``[documents]`` absente, ou aucun document lu.
    """
    depart, dossier, sortie = time.monotonic(), Path(dossier), Path(sortie)
    reglages = reglages or ReglagesLecture()
    sorties = (sortie, fichier_des_lieux(sortie), fichier_des_retraits(sortie))
    fichiers = list(_fichiers(dossier, sorties))
    _verifier(dossier, fichiers, sorties, ecraser)
    travail = sortie.with_name(f"{sortie.name}.travail")
    travail.mkdir(parents=True, exist_ok=True)
    etapes = {nom: _etape(travail, chemin, nom, reglages) for nom, chemin in fichiers}
    a_lire = [(nom, chemin) for nom, chemin in fichiers if not etapes[nom].is_file()]
    if deja := len(fichiers) - len(a_lire):
        repris = accorder(
            deja, "fichier déjà lu, repris tel quel", "fichiers déjà lus, repris tels quels"
        )
        JOURNAL.info(f"{repris}.")
    _lire_tout(a_lire, etapes, reglages)
    bilan = BilanDossier(str(dossier), str(sortie), _assembler(etapes, sorties))
    for etape in etapes.values():
        etape.unlink()
    if not any(travail.iterdir()):
        travail.rmdir()
    bilan.duree_s = time.monotonic() - depart
    return bilan


# ---------------------------------------------------------------- avant de lire


def _fichiers(dossier: Path, sorties: tuple[Path, ...]) -> Iterator[tuple[str, Path]]:
    """Les fichiers d'un dossier, nommés depuis lui, dans l'ordre ; les nôtres n'en sont pas."""
    if dossier.is_file():
        yield dossier.name, dossier
        return
    notres = {sortie.resolve() for sortie in sorties}
    travail = f"{sorties[0].name}.travail"
    for chemin in sorted(dossier.rglob("*")):
        parties = chemin.relative_to(dossier).parts
        if any(A_COTE.match(partie) or partie == travail for partie in parties):
            continue
        if chemin.is_file() and chemin.resolve() not in notres:
            yield "/".join(parties), chemin


def _verifier(
    dossier: Path, fichiers: list[tuple[str, Path]], sorties: tuple[Path, ...], ecraser: bool
) -> None:
    """Refuse avant de lire ce qui échouerait à la fin."""
    if not dossier.exists():
        raise ErreurFabrique("dossier introuvable", "Vérifiez le chemin", dossier)
    if not any(chemin.suffix.lower() in LECTEURS for _, chemin in fichiers):
        raise ErreurFabrique(
            "ce dossier n’a aucun document à lire",
            f"Mettez-y des fichiers {', '.join(LECTEURS)}",
            dossier,
        )
    for sortie in sorties:
        verifier_sortie(sortie, *(chemin for _, chemin in fichiers), ecraser=ecraser)
    for module in ("pdfplumber", "docx", "lxml", "markdown_it", "simplemma", "pebble"):
        if find_spec(module) is None:
            raise a_installer(module)


def _etape(travail: Path, chemin: Path, nom: str, reglages: ReglagesLecture) -> Path:
    """Le fichier de travail d'un document : son nom change si le document ou les réglages changent."""
    etat = chemin.stat()
    cle = [
        __version__,
        nom,
        etat.st_size,
        etat.st_mtime_ns,
        sorted(reglages.etapes_gardees),
        reglages.sans_ocr,
        reglages.langue,
        reglages.confiance,
        tesseract_present(reglages.langue),
    ]
    return travail / f"{hashlib.sha256(json.dumps(cle).encode()).hexdigest()[:24]}.json"


# ---------------------------------------------------------------- lire, chacun chez soi


def _lire_tout(
    a_lire: list[tuple[str, Path]], etapes: dict[str, Path], reglages: ReglagesLecture
) -> None:
    """Lit ces fichiers ; un fichier qui dépasse son temps ou fait tomber son processus est refusé."""
    documents = []
    for nom, chemin in a_lire:
        if chemin.suffix.lower() in LECTEURS:
            documents.append((nom, chemin))
        else:
            _ecrire(etapes[nom], _ignore(nom, chemin))
    if not documents:
        return
    from pebble import ProcessPool

    barre = Barre(len(documents), "Lire les documents") if ecran_vivant() else None
    with ProcessPool(
        max_workers=min(reglages.processus, len(documents)),
        initializer=_borner_la_memoire,
        initargs=[reglages.memoire],
        context=multiprocessing.get_context("spawn"),
    ) as ouvriers:
        lances = [
            (
                nom,
                ouvriers.schedule(
                    lire_un, [nom, chemin, etapes[nom], reglages], timeout=reglages.delai
                ),
            )
            for nom, chemin in documents
        ]
        for rang, (nom, promesse) in enumerate(lances, 1):
            try:
                promesse.result()
            except Exception as cause:  # le temps écoulé, ou le processus tombé
                _ecrire(etapes[nom], _tombe(nom, cause, reglages.delai))
            if barre:
                barre.avancer(rang, nom)
    if barre:
        barre.finir()


def _borner_la_memoire(memoire: int) -> None:
    """Un fichier piégé épuise sa part de mémoire, et non la machine (Linux et macOS)."""
    try:
        import resource
    except ImportError:  # Windows
        return
    permis = resource.getrlimit(resource.RLIMIT_AS)[1]
    resource.setrlimit(resource.RLIMIT_AS, (memoire * MO, permis))


def lire_un(nom: str, chemin: Path, etape: Path, reglages: ReglagesLecture) -> None:
    """Lit un fichier et écrit ce qu'il donne ; une erreur de lecture en fait partie."""
    depart = time.monotonic()
    try:
        document = lire_document(chemin, reglages)
    except ErreurFabrique as erreur:
        bilan = BilanFichier(nom, REFUSE, erreur=erreur.message, remede=erreur.remede)
        bilan.duree_s = time.monotonic() - depart
        _ecrire(etape, bilan)
        return
    fiches = list(en_fiches(document, nom))
    bilan = BilanFichier(
        nom,
        LU,
        document.format,
        pages=len(document.pages),
        mots=document.mots,
        fiches=len(fiches),
        retraits=dict(Counter(retrait.etape for retrait in document.retraits)),
        exemples=_exemples(document.retraits),
        alertes=document.alertes,
        duree_s=time.monotonic() - depart,
    )
    _ecrire(
        etape,
        bilan,
        [fiche.ligne() for fiche in fiches],
        [fiche.ligne_des_lieux() for fiche in fiches],
        [{"source": nom, **asdict(retrait)} for retrait in document.retraits],
    )


def _exemples(retraits: list[Retrait]) -> dict[str, list[str]]:
    """Les premiers textes ôtés par chaque étape, chacun dit une fois."""
    exemples: dict[str, list[str]] = {}
    for retrait in retraits:
        dits = exemples.setdefault(retrait.etape, [])
        if len(dits) < EXEMPLES and retrait.texte[:80] not in dits:
            dits.append(retrait.texte[:80])
    return exemples


def _ecrire(etape: Path, bilan: BilanFichier, *listes: list[dict]) -> None:
    fiches, lieux, retraits = listes or ([], [], [])
    ecrit = {"bilan": asdict(bilan), "fiches": fiches, "lieux": lieux, "retraits": retraits}
    ecrire_json(etape, ecrit)


def _ignore(nom: str, chemin: Path) -> BilanFichier:
    remede = VOISINS.get(chemin.suffix.lower(), "")
    return BilanFichier(nom, IGNORE, erreur=format_non_lu(chemin), remede=remede)


def _tombe(nom: str, cause: Exception, delai: int) -> BilanFichier:
    """Ce qu'on dit d'un fichier dont le processus n'est pas revenu."""
    if isinstance(cause, TimeoutError):
        erreur = f"le fichier n’était pas lu après {en_duree(delai)}"
        remede = "Découpez-le, ou donnez plus de temps avec --delai"
    else:
        erreur = "le processus qui lisait ce fichier est tombé"
        remede = "Il est sans doute abîmé : réenregistrez-le depuis son logiciel d’origine"
    return BilanFichier(nom, REFUSE, erreur=erreur, remede=remede)


# ---------------------------------------------------------------- réunir


def _assembler(etapes: dict[str, Path], sorties: tuple[Path, ...]) -> list[BilanFichier]:
    """Réunit ce que chaque fichier a donné, dans l'ordre ; rend le bilan de chacun."""
    partiels = [sortie.with_name(f"{sortie.name}.partiel") for sortie in sorties]
    bilans = []
    with ExitStack() as pile:
        flux = [pile.enter_context(partiel.open("w", encoding="utf-8")) for partiel in partiels]
        for etape in etapes.values():
            lu = json.loads(etape.read_text(encoding="utf-8"))
            bilan = BilanFichier(**lu["bilan"])
            bilan.personnelles = _personnelles(lu["fiches"])
            bilans.append(bilan)
            for champ, sortie in zip(("fiches", "lieux", "retraits"), flux, strict=True):
                _ajouter_lignes(sortie, lu[champ])
    if not any(bilan.etat == LU for bilan in bilans):
        for partiel in partiels:
            partiel.unlink()
        raise _rien_de_lu(bilans)
    for partiel, sortie_ in zip(partiels, sorties, strict=True):
        mettre_en_place(partiel, sortie_)
    return bilans


def _ajouter_lignes(flux: TextIO, objets: list[dict[str, Any]]) -> None:
    for objet in objets:
        flux.write(json.dumps(objet, ensure_ascii=False) + "\n")


def _personnelles(fiches: list[dict]) -> dict[str, int]:
    """Les données personnelles des fiches, comptées par règle ; les valeurs ne sont pas gardées."""
    if not fiches:
        return {}
    from fabrique.corpus.personnelles import reperer

    comptes = Counter(
        regle.nom for fiche in fiches for regle, _, _ in reperer(fiche["texte"], fiche["titre"])
    )
    return dict(comptes)


def _rien_de_lu(bilans: list[BilanFichier]) -> ErreurFabrique:
    premier = next(bilan for bilan in bilans if bilan.etat == REFUSE)
    return ErreurFabrique(
        f"aucun document n’a pu être lu ; le premier : {premier.erreur}",
        premier.remede,
        premier.fichier,
    )
