"""Du fichier brut aux trois jeux : remplacer les données personnelles, retirer les doublons exacts,
réunir les proches, répartir.

Pour répartir, le corpus est posé sur le disque, lu une fois pour décider, une autre pour écrire. En mémoire, il
n'y a que les résumés des textes et la place de chaque exemple.
"""

from __future__ import annotations

import json
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from datasets import Dataset
from scipy.cluster.hierarchy import DisjointSet

from fabrique.corpus.conversion import ecrire_exemples
from fabrique.corpus.doublons import Index, empreinte, identite, jumeler
from fabrique.corpus.examen import resume
from fabrique.corpus.formats import demande, reponse
from fabrique.corpus.lecture import ouvrir
from fabrique.corpus.noms import avec_les_noms
from fabrique.corpus.personnelles import Pseudonymes, reperer
from fabrique.corpus.rapprochement import SEUIL_PROCHE
from fabrique.corpus.structure import JEUX
from fabrique.corpus.table import poser
from fabrique.socle.emplacements import mettre_en_place
from fabrique.socle.erreurs import ErreurFabrique
from fabrique.socle.nombres import accorder
from fabrique.socle.suivi import derriere_une_barre

#: Des jumelles réparties à la main dans deux jeux vont toutes dans le plus jugé des deux.
_DU_PLUS_JUGE = ("test", "validation", "entrainement")
#: Lignes citées dans le bilan, au plus ; ``Preparation`` les a toutes.
MONTREES = 20


@dataclass(frozen=True)
class Retrait:
    """Un doublon exact retiré : sa ligne dans le fichier, et celle de l'exemple gardé."""

    ligne: int
    gardee: int


@dataclass(frozen=True)
class Deplacement:
    """Un exemple qui quitte le jeu écrit dans le fichier, où n'était pas sa jumelle."""

    ligne: int
    de: str
    vers: str


@dataclass(frozen=True)
class Preparation:
    """Ce qu'une préparation a fait : ``lus = abimes + doublons + somme des jeux``.

    Args:
        lus: exemples lus.
        abimes: exemples illisibles ou incomplets, laissés de côté.
        jeux: exemples écrits par jeu, dans l'ordre entraînement, validation, test.
        retraits: les doublons exacts laissés de côté.
        proches: exemples gardés qui ressemblent à un autre, dans le même jeu que lui.
        respectes: exemples dont le jeu, déjà écrit dans le fichier, n'a pas changé.
        deplacements: exemples dont le jeu écrit a dû changer.
        a_cheval: ensembles d'exemples proches que le jeu écrit dans le fichier sépare.
        vides: jeux demandés où le tirage n'a pu mettre aucun exemple.
    """

    lus: int
    abimes: int
    jeux: dict[str, int]
    retraits: tuple[Retrait, ...] = ()
    proches: int = 0
    respectes: int = 0
    deplacements: tuple[Deplacement, ...] = ()
    a_cheval: int = 0
    vides: tuple[str, ...] = ()

    @property
    def doublons(self) -> int:
        """Nombre de doublons exacts laissés de côté."""
        return len(self.retraits)

    def __str__(self) -> str:
        jeux = ", ".join(f"{nom} {nombre}" for nom, nombre in self.jeux.items())
        lignes = [
            f"{accorder(self.lus, 'exemple lu', 'exemples lus')}, "
            f"{accorder(self.doublons, 'doublon retiré', 'doublons retirés')}, "
            f"{accorder(self.abimes, 'abîmé retiré', 'abîmés retirés')}. Écrits : {jeux}."
        ]
        if self.retraits:
            lignes += ["Doublons exacts retirés :"]
            lignes += _montrees(
                f"ligne {r.ligne}, comme la ligne {r.gardee}" for r in self.retraits
            )
        if self.proches:
            lignes += [
                f"{self.proches} exemples ressemblent à un autre : gardés, dans le même jeu que lui."
            ]
        if self.respectes or self.deplacements:
            lignes += [
                f"{self.respectes} exemples gardent le jeu écrit dans le fichier "
                "(--refaire les répartit de nouveau)."
            ]
        if self.deplacements:
            lignes += ["Déplacés, parce que la même question est dans un autre jeu :"]
            lignes += _montrees(f"ligne {d.ligne}, de {d.de} à {d.vers}" for d in self.deplacements)
        if self.a_cheval:
            lignes += [
                f"Attention : ce jeu sépare {accorder(self.a_cheval, 'groupe')} d’exemples très proches ; "
                "« fabrique corpus controler » dit lesquels, --refaire les réunit."
            ]
        for vide in self.vides:
            lignes += [
                f"Attention : aucun exemple dans le jeu « {vide} », faute d’exemples assez nombreux "
                "et assez différents dans une même catégorie."
            ]
        return "\n".join(lignes)


def _montrees(lignes: Iterator[str]) -> list[str]:
    """Les premières lignes d'une liste, et combien d'autres la suivent."""
    toutes = [f"  {ligne}" for ligne in lignes]
    reste = len(toutes) - MONTREES
    return toutes[:MONTREES] + ([f"  … et {reste} de plus"] if reste > 0 else [])


def preparer_corpus(
    source: str | Path,
    sortie: Path,
    validation: float = 0.1,
    test: float = 0.1,
    graine: int = 42,
    refaire: bool = False,
) -> Preparation:
    """Retire les doublons exacts d'un corpus et répartit le reste, catégorie par catégorie.

    Deux exemples qui se ressemblent sont gardés tous les deux, dans le même jeu : une question
    écrite de deux façons (apostrophe, accents, casse, espaces), des questions ou des réponses
    presque pareilles. Un exemple qui a déjà un jeu le garde, sauf si une jumelle est dans un
    autre : elles vont alors ensemble dans le plus jugé des deux. Un exemple abîmé est compté et
    laissé de côté ; ``controler`` dit lesquels et pourquoi.

    Args:
        source: fichier d'instructions, de conversations ou de fiches.
        sortie: fichier ``.jsonl`` à écrire, avec la colonne ``jeu``.
        validation: part du jeu de validation dans chaque catégorie (de 0 à 1).
        test: part du jeu de test.
        refaire: oublie les jeux déjà écrits dans le fichier et répartit tout.

    Raises:
        ErreurFabrique: fichier illisible, parts impossibles, ou rien à écrire.
    """
    if not (0 <= validation < 1 and 0 <= test < 1 and validation + test < 1):
        raise ErreurFabrique("les parts de validation et de test laissent trop peu à apprendre")
    if sortie.suffix != ".jsonl":
        raise ErreurFabrique(
            f"l’extension « {sortie.suffix} » n’est pas écrite",
            "Terminez le nom par .jsonl",
            sortie,
        )
    chemin, lignes = ouvrir(source)
    with tempfile.TemporaryDirectory(prefix="fabrique-", ignore_cleanup_errors=True) as dossier:
        corpus, interruption = poser(lignes, Path(dossier) / "corpus.arrow")
        if interruption:
            raise interruption
        tri = _Tri(corpus, refaire)
        parts = {"test": test, "validation": validation}
        jeux = _attribuer(tri, parts, graine)
        if not jeux:
            raise ErreurFabrique("aucun exemple à garder", "Contrôlez d’abord le corpus", chemin)
        _ecrire(corpus, jeux, sortie)
    return _bilan(tri, jeux, [nom for nom, part in parts.items() if part])


class _Tri:
    """Ce qu'il faut savoir des exemples pour les répartir : qui est exact, jumeau, proche de qui."""

    def __init__(self, corpus: Dataset, refaire: bool) -> None:
        self.corpus, self.refaire = corpus, refaire
        self.lignes: dict[int, int] = {}
        self.categories: dict[int, str] = {}
        self.ecrits: dict[int, str] = {}
        self.retires: dict[int, int] = {}
        self.identites: dict[str, int] = {}
        self.premieres: dict[str, int] = {}
        self.jumelles, self.ensembles = DisjointSet(), DisjointSet()
        self.demandes = Index(SEUIL_PROCHE, lambda rang: demande(self._contenu(rang)))
        self.reponses = Index(SEUIL_PROCHE, lambda rang: reponse(self._contenu(rang)))
        for rangee in derriere_une_barre(corpus, "Doublons"):
            lu = json.loads(rangee["exemple"])
            if not lu["defauts"]:
                self._ranger(rangee["rang"], rangee["ligne"], lu["contenu"])

    def _contenu(self, rang: int) -> dict:
        return _contenu(self.corpus[rang - 1])

    def _ranger(self, rang: int, ligne: int, contenu: dict) -> None:
        self.lignes[rang], self.categories[rang] = ligne, str(contenu.get("categorie") or "")
        if contenu.get("jeu") and not self.refaire:
            self.ecrits[rang] = contenu["jeu"]
        self.jumelles.add(rang)
        self.ensembles.add(rang)
        question, dire = demande(contenu), reponse(contenu)
        if jumelle := empreinte(jumeler(question)):
            self._reunir(rang, self.premieres.setdefault(jumelle, rang), self.jumelles)
        if self._est_exact(rang, contenu):
            return
        for texte, index in ((question, self.demandes), (dire, self.reponses)):
            if dit := resume(texte):
                self._rapprocher(rang, texte, dit, index)

    def _reunir(self, rang: int, autre: int, jumelles: DisjointSet | None = None) -> None:
        """Met deux exemples dans le même ensemble ; jumeaux aussi, s'ils le sont."""
        self.ensembles.merge(rang, autre)
        if jumelles:
            jumelles.merge(rang, autre)

    def _est_exact(self, rang: int, contenu: dict) -> bool:
        """Vrai si le même exemple est déjà là ; on garde celui dont le jeu est le plus jugé."""
        cle = identite(contenu)
        premier = self.identites.setdefault(cle, rang)
        if premier == rang:
            return False
        self._reunir(rang, premier, self.jumelles)
        garde, retire = premier, rang
        if _jugement(self.ecrits.get(rang)) < _jugement(self.ecrits.get(premier)):
            garde, retire = rang, premier
        self.identites[cle], self.retires[retire] = garde, garde
        return True

    def _rapprocher(self, rang: int, texte: str, dit: list[int], index: Index) -> None:
        """Réunit un exemple à tous ceux dont ce texte est presque le même."""
        for voisine in index.voisines(texte, dit, lambda cle: self.ensembles.connected(cle, rang)):
            self._reunir(rang, voisine.cle)
        index.ajouter(rang, dit)

    def gardee(self, rang: int) -> int:
        """L'exemple qu'on garde à la place d'un doublon exact."""
        while rang in self.retires:
            rang = self.retires[rang]
        return rang

    def ensembles_gardes(self) -> list[list[int]]:
        """Les exemples gardés, par ensemble d'exemples proches, dans l'ordre du fichier."""
        gardes = (sorted(e - self.retires.keys()) for e in self.ensembles.subsets())
        return sorted(filter(None, gardes))


def _jugement(jeu: str | None) -> int:
    """Le rang d'un jeu, du plus jugé au moins jugé ; pas de jeu, en dernier."""
    return _DU_PLUS_JUGE.index(jeu) if jeu else len(_DU_PLUS_JUGE)


def _contenu(rangee: dict) -> dict:
    return json.loads(rangee["exemple"])["contenu"]


def _attribuer(tri: _Tri, parts: dict[str, float], graine: int) -> dict[int, str]:
    """Le jeu de chaque rang gardé : celui qui est écrit, ou un tirage dans sa catégorie."""
    jeux: dict[int, str] = {}
    libres: dict[str, list[list[int]]] = defaultdict(list)
    pris: dict[str, Counter[str]] = defaultdict(Counter)
    for ensemble in tri.ensembles_gardes():
        ecrits = _jeux_ecrits(tri, ensemble)
        if ecrits:
            jeux |= ecrits
            for rang, jeu in ecrits.items():
                pris[tri.categories[rang]][jeu] += 1
        else:
            libres[tri.categories[ensemble[0]]].append(ensemble)
    hasard = np.random.default_rng(graine)
    for nom in sorted(libres):
        nombre = sum(map(len, libres[nom])) + pris[nom].total()
        places = {j: round(part * nombre) - pris[nom][j] for j, part in parts.items()}
        for rang_tire in hasard.permutation(len(libres[nom])):
            ensemble = libres[nom][rang_tire]
            choisi = next(
                (j for j, place in places.items() if place >= len(ensemble)), "entrainement"
            )
            jeux |= dict.fromkeys(ensemble, choisi)
            if choisi in places:
                places[choisi] -= len(ensemble)
    return jeux


def _jeux_ecrits(tri: _Tri, ensemble: list[int]) -> dict[int, str]:
    """Le jeu de chaque exemple d'un ensemble où un jeu au moins est écrit ; rien sinon.

    Des jumelles vont dans le plus jugé de leurs jeux ; qui n'a ni jeu ni jumelle, dans le plus
    jugé de ceux de l'ensemble.
    """
    ecrits = [tri.ecrits[rang] for rang in ensemble if rang in tri.ecrits]
    if not ecrits:
        return {}
    commun = min(ecrits, key=_jugement)
    jeux = {}
    for rang in ensemble:
        siens = [tri.ecrits[r] for r in tri.jumelles.subset(rang) if r in tri.ecrits]
        jeux[rang] = min(siens, key=_jugement, default=commun)
    return jeux


def _ecrire(corpus: Dataset, jeux: dict[int, str], sortie: Path) -> None:
    """Écrit les exemples gardés, dans l'ordre du fichier, à côté puis en place."""
    sortie.parent.mkdir(parents=True, exist_ok=True)
    partiel = sortie.with_name(f"{sortie.name}.partiel")
    with partiel.open("w", encoding="utf-8") as flux:
        for rangee in corpus:
            rang = rangee["rang"]
            if rang in jeux:
                lu = json.loads(rangee["exemple"])
                contenu = {"id": str(rang), **lu["laisse"], **lu["contenu"], "jeu": jeux[rang]}
                flux.write(json.dumps(contenu, ensure_ascii=False) + "\n")
    mettre_en_place(partiel, sortie)


def _bilan(tri: _Tri, jeux: dict[int, str], demandes: list[str]) -> Preparation:
    """Ce qu'on a fait de chaque exemple, compté une fois et une seule."""
    comptes = Counter(jeux.values())
    ensembles = [ensemble for ensemble in tri.ensembles_gardes() if len(ensemble) > 1]
    a_cheval = [e for e in ensembles if len({jeux[rang] for rang in e}) > 1]
    ecrits = {rang: jeu for rang, jeu in tri.ecrits.items() if rang in jeux}
    tire = any(not _jeux_ecrits(tri, ensemble) for ensemble in tri.ensembles_gardes())
    return Preparation(
        lus=len(tri.corpus),
        abimes=len(tri.corpus) - len(tri.lignes),
        jeux={nom: comptes[nom] for nom in JEUX if comptes[nom]},
        retraits=tuple(
            Retrait(tri.lignes[rang], tri.lignes[tri.gardee(rang)]) for rang in sorted(tri.retires)
        ),
        proches=sum(map(len, ensembles)) - sum(map(len, a_cheval)),
        respectes=sum(jeux[rang] == jeu for rang, jeu in ecrits.items()),
        deplacements=tuple(
            Deplacement(tri.lignes[rang], jeu, jeux[rang])
            for rang, jeu in sorted(ecrits.items())
            if jeux[rang] != jeu
        ),
        a_cheval=len(a_cheval),
        vides=tuple(nom for nom in demandes if tire and not comptes[nom]),
    )


# ---------------------------------------------------------------- données personnelles


def pseudonymiser_fichier(
    source: str | Path, sortie: Path, noms: str = ""
) -> tuple[int, dict[str, int]]:
    """Remplace les données personnelles d'un fichier, et n'y change rien d'autre.

    Toutes les colonnes y passent, même celles qu'on n'apprend pas ; les formats et les noms de
    colonnes restent ceux du fichier.

    Args:
        source: corpus livré ou fichier.
        sortie: fichier ``.json`` ou ``.jsonl`` à écrire.
        noms: remplace aussi les noms de personnes, comme ``controler`` les cherche.

    Returns:
        Le nombre d'exemples écrits, et le nombre de remplacements par règle.

    Raises:
        ErreurFabrique: un exemple ne se lit pas, ou la sortie a une autre extension.
    """
    pseudonymes, propres = Pseudonymes(avec_les_noms(noms)), []
    _, lignes = ouvrir(source)
    for ligne in lignes:
        if ligne.erreur:
            raise ligne.erreur
        propres.append(pseudonymiser(ligne.contenu, pseudonymes))
    ecrire_exemples(propres, sortie)
    return len(propres), dict(pseudonymes.comptes)


def pseudonymiser(contenu: object, pseudonymes: Pseudonymes) -> dict:
    """Un exemple, dans toutes ses colonnes, ses données personnelles remplacées."""
    texte = json.dumps(contenu, ensure_ascii=False, default=str)
    return pseudonymes.remplacer_partout(_lire_nombres(texte), texte)


def _lire_nombres(texte: str) -> dict:
    """Un objet JSON, où un nombre qui est une donnée personnelle (un NIR) est lu comme un texte."""
    return json.loads(texte, parse_int=lambda n: n if any(reperer(n, texte)) else int(n))
