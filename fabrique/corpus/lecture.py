"""Lire un corpus, quel que soit son fichier ou son format.

Un corpus est un ``datasets.Dataset`` sous l'une des formes canoniques. Tout ce qui
empêche de le lire est dit en une phrase, avec le fichier, la ligne et le champ.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

import datasets
from datasets import Dataset

from fabrique.corpus.constats import Alerte, Constat
from fabrique.corpus.doublons import jumeler
from fabrique.corpus.fichiers import FORMATS, Ligne, lire_lignes, verifier_fichier
from fabrique.corpus.formats import ANNEXES, FORMES, JEUX, demande, non_repris, reconnaitre
from fabrique.corpus.structure import Defaut, champs_refuses, colonnes_laissees, defauts
from fabrique.socle.emplacements import CORPUS_LIVRES, VOTES_LIVRES, dossier_data, hub_ou_cache
from fabrique.socle.erreurs import MACHINE, ErreurFabrique
from fabrique.socle.nombres import accorder

JOURNAL = logging.getLogger(__name__)


@dataclass(frozen=True)
class Exemple:
    """Un exemple lu dans un fichier.

    Args:
        rang: son numéro dans le corpus, depuis 1.
        ligne: la ligne du fichier où il commence, depuis 1.
        forme: « instructions », « conversations » ou « fiches ».
        contenu: ses champs canoniques.
        defauts: ce qui l'empêche de servir ; vide s'il est bon.
        erreur: la phrase à montrer quand il ne se lit même pas.
        alertes: ce que la lecture a deviné ou laissé de côté.
        laisse: les colonnes laissées de côté, telles que le fichier les porte.
    """

    rang: int
    ligne: int
    forme: str = ""
    contenu: dict = field(default_factory=dict)
    defauts: tuple[Defaut, ...] = ()
    erreur: ErreurFabrique | None = None
    alertes: tuple[Alerte, ...] = ()
    laisse: dict = field(default_factory=dict)


def toutes_les_colonnes(contenu: dict, laisse: dict) -> dict:
    """Ce qu'un exemple porte : ses champs, et les colonnes laissées de côté, en texte."""
    ecrites = {
        colonne: v if isinstance(v, str) else json.dumps(v, ensure_ascii=False, default=str)
        for colonne, v in laisse.items()
    }
    return ecrites | contenu


def colonnes_du_fichier(
    source: str | Path | Dataset, revision: str | None = None
) -> Iterator[dict]:
    """Chaque exemple d'un corpus avec toutes ses colonnes, même celles qu'on n'apprend pas.

    C'est là que se cherchent les données personnelles : une colonne les porte aussi bien qu'un texte.
    """
    _, lignes = ouvrir(source, revision)
    return (
        toutes_les_colonnes(exemple.contenu, exemple.laisse) for exemple in lire_exemples(lignes)
    )


def lire_corpus(source: str | Path | Dataset, revision: str | None = None) -> Dataset:
    """Lit un corpus.

    Args:
        source: nom d'un corpus livré (« demarches »), chemin d'un fichier ``.json``,
            ``.jsonl``, ``.ndjson``, ``.csv``, ``.tsv`` (``.gz`` accepté), ``.xlsx`` ou ``.parquet``,
            dépôt du hub (« compte/corpus ») ou ``datasets.Dataset``. Formats reconnus :
            Alpaca, messages (OpenAI), ShareGPT, questions et réponses, InstructionFr,
            SQuAD (PIAF), fiches.
        revision: empreinte du dépôt du hub.

    Returns:
        Un ``datasets.Dataset`` aux colonnes canoniques de sa forme : celles qui manquent
        sont vides, ``id`` numérote alors les exemples.

    Raises:
        ErreurFabrique: fichier absent, vide, coupé, mal codé, ou colonne obligatoire vide.
    """
    chemin, lignes = ouvrir(source, revision)
    exemples = [verifier_exemple(exemple, chemin) for exemple in lire_exemples(lignes)]
    dire_alertes([alerte for exemple in exemples for alerte in exemple.alertes], chemin)
    if not exemples:
        raise ErreurFabrique("aucun exemple", "Donnez un corpus d’au moins un exemple", chemin)
    melange = next((e for e in exemples if e.forme != exemples[0].forme), None)
    if melange:
        raise ErreurFabrique(
            f"le fichier mêle {exemples[0].forme} et {melange.forme}",
            "Séparez-les en deux fichiers",
            chemin,
            ligne=melange.ligne,
        )
    return _en_dataset([e.contenu for e in exemples], exemples[0].forme)


def ouvrir(
    source: str | Path | Dataset, revision: str | None = None
) -> tuple[Path, Iterable[Ligne]]:
    """Ce qu'on lira : le nom à citer dans les messages, et les lignes."""
    if isinstance(source, Dataset):
        return Path("corpus"), (Ligne(rang, dict(objet)) for rang, objet in enumerate(source, 1))
    if str(source) in (*CORPUS_LIVRES, *VOTES_LIVRES):
        chemin = dossier_data() / f"{source}.jsonl"
        return chemin, lire_lignes(chemin)
    chemin = Path(source)
    if not chemin.exists() and _nom_du_hub(str(source)):
        return Path(source), _lire_hub(str(source), revision)
    verifier_fichier(
        chemin, f"Vérifiez le chemin, ou nommez un corpus livré : {', '.join(CORPUS_LIVRES)}"
    )
    return chemin, lire_lignes(chemin)


def _nom_du_hub(source: str) -> bool:
    """« compte/corpus » : une seule barre, pas d'extension de fichier."""
    return bool(re.fullmatch(r"[\w.-]+/[\w.-]+", source)) and not source.lower().endswith(
        (*FORMATS, ".gz")
    )


def _lire_hub(depot: str, revision: str | None) -> Iterator[Ligne]:
    """Le jeu d'entraînement d'un corpus du hub, sans jamais exécuter de code distant."""
    try:
        with hub_ou_cache():
            corpus = datasets.load_dataset(depot, revision=revision, split="train")
    except (
        Exception
    ) as cause:  # hors ligne, dépôt absent, accès refusé : datasets en lève de toute sorte
        raise ErreurFabrique(
            "le corpus ne se charge pas depuis le hub (réseau, nom, ou accès)",
            "Vérifiez le nom, ou téléchargez le fichier et donnez son chemin",
            depot,
            code=MACHINE,
        ) from cause
    yield from (Ligne(rang, dict(objet)) for rang, objet in enumerate(corpus, 1))


def lire_exemples(lignes: Iterable[Ligne]) -> Iterator[Exemple]:
    """Les exemples canoniques d'un fichier, dans l'ordre, leurs défauts et leurs alertes à côté d'eux."""
    rang, dites = 0, set[tuple[str, str]]()
    for ligne in lignes:
        alertes = tuple(_nouvelles(chain(ligne.alertes, _alertes_de_champs(ligne)), dites))
        laisse = {}
        if isinstance(ligne.contenu, dict):
            laisse = non_repris(ligne.contenu, reconnaitre(ligne.contenu))
        for exemple in _exemples(ligne):
            rang += 1
            yield Exemple(rang, ligne.numero, alertes=alertes, laisse=laisse, **exemple)
            alertes = ()


def _nouvelles(alertes: Iterable[Alerte], dites: set[tuple[str, str]]) -> Iterator[Alerte]:
    """Les alertes ; celles qui valent pour tout le fichier, une seule fois."""
    for alerte in alertes:
        cle = (alerte.regle, alerte.champ)
        if not alerte.du_fichier or cle not in dites:
            yield alerte
        dites.add(cle)


def _alertes_de_champs(ligne: Ligne) -> Iterator[Alerte]:
    if isinstance(ligne.contenu, dict):
        yield from colonnes_laissees(ligne.contenu, reconnaitre(ligne.contenu), ligne.numero)


#: Alertes montrées par règle quand on lit un corpus ; ``controler`` les a toutes.
MONTREES = 3


def dire_alertes(alertes: Sequence[Alerte | Constat], chemin: Path) -> None:
    """Dit les alertes d'une lecture : les premières de chaque règle, et combien d'autres."""
    par_regle: dict[str, list[Alerte | Constat]] = {}
    for alerte in alertes:
        par_regle.setdefault(alerte.regle, []).append(alerte)
    for memes in par_regle.values():
        for alerte in memes[:MONTREES]:
            JOURNAL.warning(f"{chemin}, ligne {alerte.ligne} : {alerte.message}.")
        if len(memes) > MONTREES:
            JOURNAL.warning(
                f"{chemin} : … et {accorder(len(memes) - MONTREES, 'autre')} du même genre."
            )


def _exemples(ligne: Ligne) -> Iterator[dict]:
    if ligne.erreur:
        yield {"erreur": ligne.erreur}
    elif not isinstance(ligne.contenu, dict):
        defaut = Defaut(
            "structure.objet", "", "un exemple doit être un objet {…}", "Réparez cette ligne"
        )
        yield {"defauts": (defaut,)}
    else:
        yield from _lus(ligne.contenu)


def _lus(objet: dict) -> Iterator[dict]:
    """Les exemples d'un objet ; un champ qui changerait la leçon, s'il se perdait, les fait refuser."""
    modele = reconnaitre(objet)
    if refuses := tuple(champs_refuses(objet, modele)):
        yield {"forme": modele.forme, "defauts": refuses}
        return
    try:
        lus = list(modele.lire(objet))
    except (KeyError, TypeError, AttributeError):
        defaut = Defaut(
            "structure.format", "", f"l’objet n’a pas la forme {modele.nom}", "Réparez cette ligne"
        )
        yield {"defauts": (defaut,)}
        return
    colonnes = [str(colonne) for colonne in objet]
    for contenu in lus:
        trouves = tuple(defauts(contenu, modele.forme, colonnes))
        yield {"forme": modele.forme, "contenu": contenu, "defauts": trouves}


def verifier_exemple(exemple: Exemple, chemin: Path) -> Exemple:
    """L'exemple lui-même, ou l'erreur qui dit son premier défaut."""
    if exemple.erreur:
        raise exemple.erreur
    for defaut in exemple.defauts:
        raise ErreurFabrique(
            defaut.message, defaut.remede, chemin, ligne=exemple.ligne, champ=defaut.champ or None
        )
    return exemple


def _en_dataset(contenus: list[dict], forme: str) -> Dataset:
    annexes = [c for c in ANNEXES if any(c in contenu for contenu in contenus)]
    colonnes = {c: [contenu.get(c, "") for contenu in contenus] for c in (*FORMES[forme], *annexes)}
    colonnes["id"] = [nom or str(rang) for rang, nom in enumerate(colonnes["id"], 1)]
    return Dataset.from_dict(colonnes)


# ---------------------------------------------------------------- les jeux


def jeu(corpus: Dataset, nom: str) -> Dataset:
    """Les exemples d'un jeu : « entrainement », « validation » ou « test »."""
    if nom not in JEUX:
        raise ErreurFabrique(
            f"le jeu « {nom} » n’existe pas", f"Choisissez entre {', '.join(JEUX)}"
        )
    return corpus.select([rang for rang, valeur in enumerate(corpus["jeu"]) if valeur == nom])


REMPLIR_JEU = "Remplissez la colonne « jeu » pour tous, ou videz-la pour tous"


def sans_jeu(vides: int, total: int) -> str:
    """La phrase qui dit une colonne ``jeu`` à moitié remplie, et ce que deviendraient les autres."""
    return (
        f"{vides} exemples sur {total} n’ont pas de jeu : "
        "ils ne serviraient ni à apprendre, ni à mesurer"
    )


def repartir(corpus: Dataset, validation: float, graine: int = 42) -> tuple[Dataset, Dataset]:
    """Répartit un corpus entre entraînement et validation.

    La colonne ``jeu``, quand elle est remplie, décide seule ; sinon ``validation`` donne la
    part (inférieure à 1) ou le nombre d'exemples mis de côté, tirés au hasard. Des demandes
    jumelles, les mêmes à la typographie près, vont toutes du même côté.

    Returns:
        Le jeu d'entraînement et le jeu de validation (vide si ``validation`` vaut 0). Il manque
        des exemples au second quand les jumelles qui restent sont trop nombreuses pour y tenir.

    Raises:
        ErreurFabrique: colonne ``jeu`` remplie par endroits seulement, ou rien à apprendre.
    """
    if any(corpus["jeu"]):
        vides = corpus["jeu"][:].count("")
        if vides:
            raise ErreurFabrique(sans_jeu(vides, len(corpus)), REMPLIR_JEU, champ="jeu")
        appris = jeu(corpus, "entrainement")
        if not len(appris):
            raise ErreurFabrique(
                "aucun exemple n’est dans le jeu « entrainement » : il n’y a rien à apprendre",
                "Corrigez la colonne « jeu », ou videz-la pour que la répartition se fasse",
                champ="jeu",
            )
        return appris, jeu(corpus, "validation")
    nombre = round(validation * len(corpus)) if validation < 1 else int(validation)
    if nombre >= len(corpus):
        raise ErreurFabrique(
            f"{nombre} exemples de validation demandés sur {len(corpus)} : rien ne reste à apprendre",
            "Baissez --val_set_size",
        )
    melange = corpus.shuffle(seed=graine, keep_in_memory=True)
    mis_de_cote: list[int] = []
    for ensemble in _jumelles(melange):
        if len(mis_de_cote) + len(ensemble) <= nombre:
            mis_de_cote += ensemble
    appris = sorted(set(range(len(melange))) - set(mis_de_cote))
    return melange.select(appris), melange.select(mis_de_cote)


def _jumelles(corpus: Dataset) -> Iterable[list[int]]:
    """Les rangs des exemples (depuis 0), réunis par demande ; qui n'en a pas reste seul."""
    ensembles: dict[str | int, list[int]] = {}
    for rang, exemple in enumerate(corpus):
        ensembles.setdefault(jumeler(demande(exemple)) or rang, []).append(rang)
    return ensembles.values()
