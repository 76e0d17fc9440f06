"""Lire des documents : notre lecteur, pypdf et pdftotext côte à côte ; la vitesse et la mémoire.

    python -m benchmarks.documents                    # la qualité, sur la collection et sa vérité
    python -m benchmarks.documents --detail           # la même, document par document
    python -m benchmarks.documents --vitesse 500      # pages par minute et mémoire, deux processus
    python -m benchmarks.documents --lire guide.pdf   # les fiches d'un fichier, à lire des yeux

La collection est celle de ``benchmarks.collection_documents``. pdftotext vient de poppler-utils.
Les tableaux s'impriment en Markdown.
"""

from __future__ import annotations

import argparse
import bisect
import os
import re
import shutil
import subprocess
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, fields
from pathlib import Path

import psutil
from pypdf import PdfReader

from benchmarks.collection_documents import Verite, composer, long_document
from fabrique.corpus.documents import lire_document, lire_dossier
from fabrique.corpus.documents.blocs import NOTE, TABLEAU, TITRE, Document, ReglagesLecture
from fabrique.corpus.documents.mise_en_fiches import en_fiches
from fabrique.socle.nombres import en_francais, en_go, en_pourcent


@dataclass
class Compte:
    """Combien de bons, sur combien."""

    bons: int = 0
    total: int = 0

    def voir(self, bon: bool) -> None:
        self.bons, self.total = self.bons + bon, self.total + 1

    def __add__(self, autre: Compte) -> Compte:
        return Compte(self.bons + autre.bons, self.total + autre.total)

    @property
    def part(self) -> float:
        return self.bons / self.total if self.total else 1.0

    def __str__(self) -> str:
        return f"{en_pourcent(self.part, 1)} ({self.bons}/{self.total})" if self.total else "—"


@dataclass
class Mesure:
    """Ce qu'un lecteur a bien rendu d'un ou de plusieurs documents.

    Args:
        ordre: paragraphes lus d'un trait, à leur place parmi les autres (blancs et traits d'union
            ne comptent pas : les lecteurs qui ne réparent rien n'en sont pas pénalisés).
        entiers: paragraphes qui font exactement un bloc.
        titres_justes: titres rendus qui en sont. titres_trouves: titres vrais qui sont rendus.
        courants: titres courants et numéros de page absents du texte.
        corps: mots du corps présents dans le texte.
        coupures: mots coupés, réparés entre leurs voisins.
        cellules: cellules à leur rangée et à leur colonne.
    """

    ordre: Compte = field(default_factory=Compte)
    entiers: Compte = field(default_factory=Compte)
    titres_justes: Compte = field(default_factory=Compte)
    titres_trouves: Compte = field(default_factory=Compte)
    courants: Compte = field(default_factory=Compte)
    corps: Compte = field(default_factory=Compte)
    coupures: Compte = field(default_factory=Compte)
    cellules: Compte = field(default_factory=Compte)

    def __add__(self, autre: Mesure) -> Mesure:
        return Mesure(*(getattr(self, c.name) + getattr(autre, c.name) for c in fields(self)))

    @property
    def f1(self) -> float:
        """La moyenne harmonique de la justesse et du rappel des titres."""
        somme = self.titres_justes.part + self.titres_trouves.part
        return 2 * self.titres_justes.part * self.titres_trouves.part / somme if somme else 0.0


# ---------------------------------------------------------------- mesurer


def mesurer(document: Document, verite: Verite) -> Mesure:
    """Notre lecture contre la vérité."""
    blocs = [bloc.texte for bloc in document.blocs]
    mesure = _mesurer_le_texte("\n".join(blocs), verite)
    rendus = Counter(_plat(bloc.texte) for bloc in document.blocs if bloc.genre == TITRE)
    vrais = Counter(map(_plat, verite.titres))
    communs = sum((rendus & vrais).values())
    mesure.titres_justes = Compte(communs, sum(rendus.values()))
    mesure.titres_trouves = Compte(communs, sum(vrais.values()))
    entiers = Counter(map(_plat, blocs))
    for paragraphe in verite.paragraphes:
        mesure.entiers.voir(entiers[_plat(paragraphe)] > 0)
    mesure.cellules = _cellules([b.rangees for b in document.blocs if b.genre == TABLEAU], verite)
    corps = "\n".join(b.texte for b in document.blocs if b.genre != NOTE)
    mesure.courants = _courants(corps, verite)
    return mesure


def mesurer_le_texte(texte: str, verite: Verite) -> Mesure:
    """La lecture d'un outil qui ne rend que du texte ; une rangée vaut par sa ligne."""
    mesure = _mesurer_le_texte(texte, verite)
    lignes = [_plat(ligne) for ligne in texte.splitlines()]
    for tableau in verite.tableaux:
        for rangee in tableau:
            motif = re.compile(".*?".join(re.escape(_plat(cellule)) for cellule in rangee))
            bonne = any(motif.search(ligne) for ligne in lignes)
            mesure.cellules += Compte(len(rangee) * bonne, len(rangee))
    mesure.courants = _courants(texte, verite)
    mesure.titres_trouves = Compte(0, len(verite.titres))
    return mesure


def _mesurer_le_texte(texte: str, verite: Verite) -> Mesure:
    mesure, serre = Mesure(), _serrer(texte)
    places = [serre.find(_serrer(paragraphe)) for paragraphe in verite.paragraphes]
    trouvees = [place for place in places if place >= 0]
    mesure.ordre = Compte(_plus_longue_suite(trouvees), len(places))
    plat = _plat(texte)
    for coupure in verite.coupures:
        mesure.coupures.voir(_plat(coupure) in plat)
    attendus = Counter(
        mot for p in (*verite.titres, *verite.paragraphes) for mot in map(_serrer, p.split()) if mot
    )
    rendus = Counter(filter(None, map(_serrer, plat.split())))
    manquants = sum(n for mot, n in (attendus - rendus).items() if mot not in serre)
    mesure.corps = Compte(sum(attendus.values()) - manquants, sum(attendus.values()))
    return mesure


def _courants(texte: str, verite: Verite) -> Compte:
    """Les titres courants absents ; « Page 3 » se cherche comme une ligne ou dans une phrase."""
    compte, plat = Compte(), f" {_plat(texte)} "
    corps = _plat(" ".join((*verite.paragraphes, *verite.titres)))
    lignes = Counter(_plat(ligne) for ligne in texte.splitlines())
    for courant in verite.courants:
        cherche = _plat(courant)
        if cherche.isdigit() or len(cherche) < 6:
            compte.voir(not lignes[cherche])
        else:
            compte.voir(plat.count(cherche) <= corps.count(cherche))
    return compte


def _cellules(rendus: list[tuple[tuple[str, ...], ...]], verite: Verite) -> Compte:
    """Les cellules à leur place, chaque tableau comparé à celui de même rang."""
    compte = Compte()
    for rang, tableau in enumerate(verite.tableaux):
        rendu = rendus[rang] if rang < len(rendus) else ()
        for r, rangee in enumerate(tableau):
            for c, cellule in enumerate(rangee):
                bon = r < len(rendu) and c < len(rendu[r]) and _plat(rendu[r][c]) == _plat(cellule)
                compte.voir(bon)
    return compte


def _plat(texte: str) -> str:
    return " ".join(re.sub(r"^[•–-]\s+", "", texte.replace("\u00a0", " ")).split())


_RIEN = re.compile(r"[\s\u00a0\u00ad¬-]+")


def _serrer(texte: str) -> str:
    """Le texte sans blanc, ni trait d'union, ni puce ; les appels de note redeviennent des chiffres."""
    return _RIEN.sub("", texte).replace("•", "").translate(str.maketrans("¹²³", "123"))


def _plus_longue_suite(places: list[int]) -> int:
    """La longueur de la plus longue suite croissante."""
    fins: list[int] = []
    for place in places:
        rang = bisect.bisect_left(fins, place)
        fins[rang : rang + 1] = [place]
    return len(fins)


# ---------------------------------------------------------------- les lecteurs


def par_pypdf(chemin: Path) -> str:
    return "\n".join(page.extract_text() for page in PdfReader(chemin).pages)


def par_pdftotext(chemin: Path) -> str:
    commande = ["pdftotext", "-layout", str(chemin), "-"]
    return subprocess.run(commande, capture_output=True, check=True).stdout.decode("utf-8")


AUTRES: dict[str, Callable[[Path], str]] = {"pypdf": par_pypdf}
if shutil.which("pdftotext"):
    AUTRES["pdftotext -layout"] = par_pdftotext


def comparer(dossier: Path, detail: bool) -> None:
    """Imprime la qualité de chaque lecteur."""
    verites = composer(dossier)
    notres = {nom: mesurer(lire_document(dossier / nom), v) for nom, v in verites.items()}
    if detail:
        print(TETE.replace("lecteur", "document"))
        for nom, mesure in notres.items():
            print(rangee(nom, mesure))
        print()
    pdf = {nom: verite for nom, verite in verites.items() if nom.endswith(".pdf")}
    print(TETE)
    print(rangee(f"nous, {len(verites)} documents", sum(notres.values(), Mesure())))
    print(rangee(f"nous, {len(pdf)} PDF", sum((notres[nom] for nom in pdf), Mesure())))
    for autre, lire in AUTRES.items():
        mesures = [mesurer_le_texte(lire(dossier / nom), v) for nom, v in pdf.items()]
        print(rangee(f"{autre}, {len(pdf)} PDF", sum(mesures, Mesure())))


TETE = (
    "| lecteur | ordre | paragraphes entiers | titres (F1) | titres courants ôtés | mots du corps "
    "| coupures | cellules |\n|---|--:|--:|--:|--:|--:|--:|--:|"
)


def rangee(nom: str, m: Mesure) -> str:
    entiers = m.entiers if m.entiers.total else "—"
    f1 = en_francais(m.f1, 3) if m.titres_justes.total else "—"
    return (
        f"| {nom} | {m.ordre} | {entiers} | {f1} | {m.courants} | {m.corps} | {m.coupures} "
        f"| {m.cellules} |"
    )


# ---------------------------------------------------------------- la vitesse


def chronometrer(pages: int, dossier: Path, processus: int) -> None:
    """Pages par minute et mémoire, selon le nombre de fichiers."""
    print(
        "| fichiers | pages | durée | pages par minute | calcul par page | mémoire au plus haut |"
    )
    print("|--:|--:|--:|--:|--:|--:|")
    for part in (0.25, 0.5, 1):
        collection = dossier / f"pages-{part}"
        collection.mkdir()
        nombre = max(1, round(part * pages / 24))
        for rang in range(nombre):
            long_document(collection / f"document-{rang:03d}.pdf", rang, 24)
        calcul = _calcul_des_enfants()
        with Memoire() as memoire:
            bilan = lire_dossier(
                collection, dossier / f"{part}.jsonl", ReglagesLecture(processus=processus)
            )
        print(
            f"| {nombre} | {bilan.pages} | {en_francais(bilan.duree_s, 1)} s "
            f"| {en_francais(60 * bilan.pages / bilan.duree_s)} "
            f"| {en_francais(1000 * (_calcul_des_enfants() - calcul) / bilan.pages)} ms "
            f"| {en_go(memoire.pic)} |"
        )


def _calcul_des_enfants() -> float:
    """Les secondes de processeur des ouvriers finis : une machine chargée ne les fausse guère."""
    temps = os.times()
    return temps.children_user + temps.children_system


class Memoire:
    """Le pic de mémoire de ce processus et de ses enfants, relevé dix fois par seconde."""

    def __enter__(self) -> Memoire:
        self.pic, self.fini = 0, threading.Event()
        self.fil = threading.Thread(target=self._relever, daemon=True)
        self.fil.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.fini.set()
        self.fil.join()

    def _relever(self) -> None:
        moi = psutil.Process()
        while not self.fini.wait(0.1):
            tous = [moi, *moi.children(recursive=True)]
            self.pic = max(self.pic, sum(self._de(processus) for processus in tous))

    @staticmethod
    def _de(processus: psutil.Process) -> int:
        try:
            return processus.memory_info().rss
        except psutil.Error:
            return 0


def montrer(noms: Iterable[str]) -> None:
    """Imprime les fiches de ces fichiers, à lire des yeux."""
    for nom in noms:
        for fiche in en_fiches(lire_document(nom)):
            print(f"--- {fiche.id} · page {fiche.page} · {fiche.rubrique}\n{fiche.texte}\n")


def main() -> None:
    analyse = argparse.ArgumentParser(description=__doc__)
    analyse.add_argument("--detail", action="store_true")
    analyse.add_argument("--vitesse", type=int, default=0, metavar="PAGES")
    analyse.add_argument("--processus", type=int, default=2)
    analyse.add_argument("--lire", nargs="*", default=[], metavar="FICHIER")
    options = analyse.parse_args()
    with tempfile.TemporaryDirectory() as dossier:
        depart = time.monotonic()
        if options.lire:
            montrer(options.lire)
        elif options.vitesse:
            chronometrer(options.vitesse, Path(dossier), options.processus)
        else:
            comparer(Path(dossier) / "collection", options.detail)
        print(f"\n{en_francais(time.monotonic() - depart)} s.")


if __name__ == "__main__":
    main()
