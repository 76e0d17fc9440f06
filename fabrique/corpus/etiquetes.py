"""Des textes et leurs étiquettes, lus d'un tableau, avec les mêmes contrôles qu'un corpus.

Un texte étiqueté devient un exemple : sa demande est le texte, sa réponse l'étiquette. Ce qu'un corpus
refuse (encodage, données personnelles, colonnes vides), il le refuse aussi, avec la ligne.
"""

from __future__ import annotations

import logging
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from datasets import Dataset

from fabrique.corpus.controle import refuser_mal_decodes
from fabrique.corpus.doublons import jumeler
from fabrique.corpus.fichiers import Ligne
from fabrique.corpus.formats import JEUX, nom_de_jeu, vide
from fabrique.corpus.lecture import Exemple, ouvrir
from fabrique.corpus.personnelles import donnees_personnelles
from fabrique.socle.erreurs import ErreurFabrique
from fabrique.socle.nombres import accorder

JOURNAL = logging.getLogger(__name__)

#: Les noms de colonnes reconnus sans qu'on les dise.
TEXTES = ("texte", "text", "instruction", "question", "demande", "message", "objet")
ETIQUETTES = ("etiquette", "étiquette", "categorie", "catégorie", "label", "category", "classe")


@dataclass(frozen=True)
class TexteEtiquete:
    """Un texte, son étiquette, et d'où il vient.

    Args:
        jeu: « entrainement », « validation », « test », ou rien.
        ligne: sa ligne dans le fichier, depuis 1.
    """

    texte: str
    etiquette: str
    jeu: str
    ligne: int


def lire_etiquetes(
    source: str | Path,
    texte: str = "",
    etiquette: str = "",
    accepter_donnees_personnelles: bool = False,
) -> list[TexteEtiquete]:
    """Les textes étiquetés d'un fichier.

    Args:
        source: corpus livré, ou fichier ``.csv``, ``.tsv``, ``.xlsx``, ``.jsonl``, ``.json`` ou
            ``.parquet``.
        texte, etiquette: les noms des deux colonnes ; vides, un nom courant est cherché.

    Raises:
        ErreurFabrique: fichier illisible ou mal décodé, colonne absente ou vide, moins de deux
            étiquettes, données personnelles, ou un même texte dans deux jeux.
    """
    chemin, lignes = ouvrir(source)
    lus = list(_lire(lignes, chemin, texte, etiquette))
    _refuser_les_fautes(lus, chemin, accepter_donnees_personnelles)
    _refuser_la_contamination(lus, chemin)
    _verifier_les_etiquettes(lus, chemin)
    _dire_les_doublons(lus, chemin)
    return lus


def lire_textes(source: str | Path, texte: str = "") -> list[str]:
    """Les textes d'un fichier, sans étiquette : ce qu'un classifieur rangera.

    Raises:
        ErreurFabrique: fichier illisible, colonne absente ou vide.
    """
    chemin, lignes = ouvrir(source)
    return [_champ(ligne, chemin, texte, TEXTES, "--texte") for ligne in lignes]


def lire_a_ranger(
    source: str | Path, texte: str = "", accepter_donnees_personnelles: bool = False
) -> list[TexteEtiquete]:
    """Les textes d'un fichier que l'on fera ranger, puis apprendre : leur étiquette est vide.

    Raises:
        ErreurFabrique: fichier illisible ou mal décodé, colonne absente ou vide, données personnelles.
    """
    chemin, lignes = ouvrir(source)
    lus = [
        TexteEtiquete(_champ(ligne, chemin, texte, TEXTES, "--texte"), "", "", ligne.numero)
        for ligne in lignes
    ]
    _refuser_les_fautes(lus, chemin, accepter_donnees_personnelles)
    return lus


def en_dataset(lus: Sequence[TexteEtiquete]) -> Dataset:
    """Les mêmes, en corpus d'instructions : ce que les contrôles et la répartition attendent."""
    return Dataset.from_list([{**_en_exemple(lu), "jeu": lu.jeu} for lu in lus])


def _en_exemple(lu: TexteEtiquete) -> dict[str, str]:
    return {"instruction": lu.texte, "input": "", "output": lu.etiquette}


# ---------------------------------------------------------------- lire


def _lire(
    lignes: Iterable[Ligne], chemin: Path, texte: str, etiquette: str
) -> Iterator[TexteEtiquete]:
    for ligne in lignes:
        dit = _champ(ligne, chemin, texte, TEXTES, "--texte")
        range_ = _champ(ligne, chemin, etiquette, ETIQUETTES, "--etiquette")
        contenu = ligne.contenu if isinstance(ligne.contenu, Mapping) else {}
        ecrit = contenu.get("jeu")
        jeu = "" if vide(ecrit) else nom_de_jeu(str(ecrit))
        if jeu and jeu not in JEUX:
            raise ErreurFabrique(
                f"le jeu « {jeu} » n’existe pas",
                f"Écrivez {', '.join(JEUX)}, ou rien",
                chemin,
                ligne.numero,
                "jeu",
            )
        yield TexteEtiquete(dit, range_, jeu, ligne.numero)


def _champ(ligne: Ligne, chemin: Path, voulue: str, connues: Sequence[str], option: str) -> str:
    """La valeur d'une colonne, dite ou reconnue."""
    for alerte in ligne.alertes:
        JOURNAL.warning(f"{chemin}, ligne {alerte.ligne} : {alerte.message}.")
    if ligne.erreur:
        raise ligne.erreur
    if not isinstance(ligne.contenu, Mapping):
        raise ErreurFabrique(
            "une ligne doit être un objet {…}", "Réparez cette ligne", chemin, ligne.numero
        )
    noms = [voulue] if voulue else connues
    colonne = next((nom for nom in noms if nom in ligne.contenu), None)
    if colonne is None:
        presentes = ", ".join(f"« {nom} »" for nom in ligne.contenu)
        raise ErreurFabrique(
            f"la colonne « {voulue} » manque"
            if voulue
            else f"aucune colonne {option[2:]} reconnue",
            f"Nommez-la par {option} ; le fichier porte {presentes}",
            chemin,
            ligne.numero,
            option,
        )
    valeur = ligne.contenu[colonne]
    if vide(valeur):
        raise ErreurFabrique(
            "cette case est vide",
            "Remplissez-la, ou retirez la ligne",
            chemin,
            ligne.numero,
            colonne,
        )
    return str(valeur).strip()


# ---------------------------------------------------------------- contrôler


def _refuser_les_fautes(
    lus: Sequence[TexteEtiquete], chemin: Path, accepter_donnees_personnelles: bool
) -> None:
    """Refuse ce qui ne s'apprend pas : un texte mal décodé, et une personne si on ne l'accepte pas."""
    refuser_mal_decodes(
        [Exemple(r, lu.ligne, contenu=_en_exemple(lu)) for r, lu in enumerate(lus, 1)], chemin
    )
    if not accepter_donnees_personnelles:
        _refuser_les_personnes(lus, chemin)


def _refuser_les_personnes(lus: Sequence[TexteEtiquete], chemin: Path) -> None:
    trouvees = donnees_personnelles(en_dataset(lus))
    if trouvees:
        premiere = trouvees[0]
        raise ErreurFabrique(
            f"{accorder(len(trouvees), 'donnée personnelle', 'données personnelles')}, la première est "
            f"de nature « {premiere.regle.removeprefix('personnel.')} » : un classifieur garde les mots "
            "qu’il a lus",
            "Pseudonymisez le fichier, ou ajoutez --accepter_donnees_personnelles si vous en avez le "
            "droit",
            chemin,
            lus[premiere.rang - 1].ligne,
        )


def _refuser_la_contamination(lus: Sequence[TexteEtiquete], chemin: Path) -> None:
    """Un même texte, à la typographie près, appris et jugé : la note mentirait."""
    vus: dict[str, TexteEtiquete] = {}
    for lu in lus:
        premier = vus.setdefault(jumeler(lu.texte), lu)
        if premier.jeu != lu.jeu and lu.jeu and premier.jeu:
            raise ErreurFabrique(
                f"ce texte est déjà à la ligne {premier.ligne}, dans le jeu « {premier.jeu} » : il "
                "serait appris et jugé",
                "Gardez-le dans un seul jeu, ou videz la colonne « jeu » pour que la répartition se "
                "fasse",
                chemin,
                lu.ligne,
                "jeu",
            )


def _verifier_les_etiquettes(lus: Sequence[TexteEtiquete], chemin: Path) -> None:
    comptes = Counter(lu.etiquette for lu in lus)
    if len(comptes) < 2:
        raise ErreurFabrique(
            f"il faut au moins deux étiquettes, et le fichier en a {len(comptes)}",
            "Vérifiez la colonne que nomme --etiquette",
            chemin,
        )
    seules = [nom for nom, combien in comptes.items() if combien == 1]
    if seules:
        fautive = next(lu for lu in lus if lu.etiquette == seules[0])
        raise ErreurFabrique(
            f"l’étiquette « {fautive.etiquette} » n’a qu’un exemple : on ne peut ni l’apprendre, ni la "
            "juger",
            "Ajoutez-lui des exemples, ou réunissez-la à une autre",
            chemin,
            fautive.ligne,
        )


def _dire_les_doublons(lus: Sequence[TexteEtiquete], chemin: Path) -> None:
    """Dit les textes présents plusieurs fois, et ceux que l'on a rangés de deux façons."""
    ensembles: dict[str, list[TexteEtiquete]] = defaultdict(list)
    for lu in lus:
        ensembles[jumeler(lu.texte)].append(lu)
    repetes = [e for e in ensembles.values() if len(e) > 1]
    contraires = [e for e in repetes if len({lu.etiquette for lu in e}) > 1]
    if repetes:
        JOURNAL.warning(
            f"{chemin} : {accorder(len(repetes), 'texte présent', 'textes présents')} plusieurs fois."
        )
    for ensemble in contraires[:3]:
        noms = " et ".join(f"« {nom} »" for nom in sorted({lu.etiquette for lu in ensemble}))
        JOURNAL.warning(
            f"{chemin}, ligne {ensemble[1].ligne} : ce texte est rangé de deux façons, {noms} (déjà à "
            f"la ligne {ensemble[0].ligne})."
        )
