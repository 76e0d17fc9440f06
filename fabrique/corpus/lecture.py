"""Lire un corpus, quel que soit son fichier ou son format.

Un corpus est un ``datasets.Dataset`` sous l'une des formes canoniques. Tout ce qui
empêche de le lire est dit en une phrase, avec le fichier, la ligne et le champ.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import datasets
from datasets import Dataset

from fabrique.corpus.fichiers import FORMATS, Ligne, lire_lignes
from fabrique.corpus.formats import ANNEXES, FORMES, reconnaitre
from fabrique.corpus.structure import JEUX, Defaut, defauts
from fabrique.emplacements import CORPUS_LIVRES, dossier_data, hub_ou_cache
from fabrique.erreurs import MACHINE, ErreurFabrique


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
    """

    rang: int
    ligne: int
    forme: str = ""
    contenu: dict | None = None
    defauts: tuple[Defaut, ...] = ()
    erreur: ErreurFabrique | None = None


def lire_corpus(source: str | Path | Dataset, revision: str | None = None) -> Dataset:
    """Lit un corpus.

    Args:
        source: nom d'un corpus livré (« demarches »), chemin d'un fichier ``.json``,
            ``.jsonl``, ``.csv``, ``.tsv`` (``.gz`` accepté), ``.xlsx`` ou ``.parquet``,
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
    exemples = [_bon(exemple, chemin) for exemple in lire_exemples(lignes)]
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


def ouvrir(source: str | Path | Dataset, revision: str | None = None) -> tuple[Path, Iterable[Ligne]]:
    """Ce qu'on lira : le nom à citer dans les messages, et les lignes."""
    if isinstance(source, Dataset):
        return Path("corpus"), (Ligne(rang, dict(objet)) for rang, objet in enumerate(source, 1))
    if str(source) in CORPUS_LIVRES:
        chemin = dossier_data() / f"{source}.jsonl"
        return chemin, lire_lignes(chemin)
    chemin = Path(source)
    if not chemin.exists() and _nom_du_hub(str(source)):
        return Path(source), _lire_hub(str(source), revision)
    if not chemin.is_file():
        raise ErreurFabrique(
            "ce n’est pas un fichier mais un dossier" if chemin.is_dir() else "fichier introuvable",
            f"Vérifiez le chemin, ou nommez un corpus livré : {', '.join(CORPUS_LIVRES)}",
            chemin,
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
    except Exception as cause:  # hors ligne, dépôt absent, accès refusé : datasets en lève de toute sorte
        raise ErreurFabrique(
            "le corpus ne se charge pas depuis le hub (réseau, nom, ou accès)",
            "Vérifiez le nom, ou téléchargez le fichier et donnez son chemin",
            depot,
            code=MACHINE,
        ) from cause
    yield from (Ligne(rang, dict(objet)) for rang, objet in enumerate(corpus, 1))


def lire_exemples(lignes: Iterable[Ligne]) -> Iterator[Exemple]:
    """Les exemples canoniques d'un fichier, dans l'ordre, leurs défauts à côté d'eux."""
    rang = 0
    for ligne in lignes:
        for exemple in _exemples(ligne):
            rang += 1
            yield Exemple(rang, ligne.numero, **exemple)


def _exemples(ligne: Ligne) -> Iterator[dict]:
    if ligne.erreur:
        yield {"erreur": ligne.erreur}
    elif not isinstance(ligne.contenu, dict):
        defaut = Defaut(
            "structure.objet", "", "un exemple doit être un objet {…}", "Réparez cette ligne"
        )
        yield {"defauts": (defaut,)}
    else:
        modele = reconnaitre(ligne.contenu)
        try:
            lus = list(modele.lire(ligne.contenu))
        except (KeyError, TypeError, AttributeError):
            defaut = Defaut(
                "structure.format", "", f"l’objet n’a pas la forme {modele.nom}", "Réparez cette ligne"
            )
            yield {"defauts": (defaut,)}
            return
        colonnes = [str(colonne) for colonne in ligne.contenu]
        for contenu in lus:
            trouves = tuple(defauts(contenu, modele.forme, colonnes))
            yield {"forme": modele.forme, "contenu": contenu, "defauts": trouves}


def _bon(exemple: Exemple, chemin: Path) -> Exemple:
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


def repartir(corpus: Dataset, validation: float, graine: int = 42) -> tuple[Dataset, Dataset]:
    """Répartit un corpus entre entraînement et validation.

    La colonne ``jeu``, quand elle est remplie, décide seule ; sinon ``validation`` donne la
    part (inférieure à 1) ou le nombre d'exemples mis de côté, tirés au hasard.

    Returns:
        Le jeu d'entraînement et le jeu de validation (vide si ``validation`` vaut 0).
    """
    if any(corpus["jeu"]):
        return jeu(corpus, "entrainement"), jeu(corpus, "validation")
    nombre = round(validation * len(corpus)) if validation < 1 else int(validation)
    if nombre >= len(corpus):
        raise ErreurFabrique(
            f"{nombre} exemples de validation demandés sur {len(corpus)} : rien ne reste à apprendre",
            "Baissez --val_set_size",
        )
    melange = corpus.shuffle(seed=graine, keep_in_memory=True)
    return melange.select(range(nombre, len(corpus))), melange.select(range(nombre))
