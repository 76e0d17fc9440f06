"""Lance tous les tests : paquet, gardes, carnets exécutés sous nbval, style ; dit ce qui est sauté.

Les carnets sont copiés avant d'être exécutés : les fichiers qu'ils écrivent ne se mêlent
ni au dépôt ni aux paris de l'apprenant.
"""

from __future__ import annotations

import argparse
import ast
import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree import ElementTree

import nbformat

from fabrique.machine.materiel import coeurs_accordes, memoire_disponible
from outils.corriges import glisser_dans
from outils.jumeau import poser

RACINE = Path(__file__).resolve().parent.parent
COPIES = RACINE / "build" / "carnets"
#: Les comptes rendus de pytest, un par commande.
RAPPORTS = RACINE / "build" / "tests"
#: Sans réseau, avec le Falcon de poche : ce que tout lecteur peut refaire. Rien n'y est compilé ; sans
#: le dire, bitsandbytes charge le compilateur de torch à chaque import, deux secondes et demie.
ENVIRONNEMENT = {
    **os.environ,
    "FABRIQUE_PROFIL": "poche",
    "HF_HUB_OFFLINE": "1",
    "TORCHDYNAMO_DISABLE": "1",
    "PYTHONPATH": os.pathsep.join(filter(None, [str(RACINE), os.environ.get("PYTHONPATH", "")])),
}
#: Le cache où le jumeau tient la place de Falcon-7B, pour les carnets qui n'emploient pas le profil.
CACHE_DU_JUMEAU = RACINE / "build" / "jumeau"
SUR_LE_JUMEAU = {
    "FABRIQUE_PROFIL": "jumeau",
    "HF_HOME": str(CACHE_DU_JUMEAU),
    "HF_HUB_CACHE": str(CACHE_DU_JUMEAU / "hub"),
}
#: Une commande par cœur, un fil par commande : deux carnets de front vont plus vite que deux fils.
UN_FIL = {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
#: Ce qu'un carnet peut occuper de mémoire vive, avec une marge, en octets.
MEMOIRE_PAR_OUVRIER = 4 * 1024**3
#: Combien de fichiers le bilan montre, des plus longs.
PLUS_LONGS = 20
#: Secondes laissées à une cellule : une machine quatre fois plus lente que la nôtre y suffit encore.
DELAI_PAR_CELLULE = 1200
#: Les carnets du plus long au plus court, mesurés ; les autres viennent après.
LES_PLUS_LONGS = (
    "03_finetuning_falcon_4bit",
    "04_evaluation",
    "10_petits_modeles",
    "02_corpus_instructions",
    "07_chez_soi",
)
#: En combien de commandes les carnets passent sur le jumeau : chacune refait les imports et le jumeau.
PARTS_DU_JUMEAU = 3
NBVAL = ["--nbval-lax", f"--nbval-cell-timeout={DELAI_PAR_CELLULE}", "-p", "no:cacheprovider"]
JUMEAU = "tests/test_jumeau.py::test_le_carnet_passe_sur_le_jumeau"
#: Ce que « make test-vite » vérifie en moins de trois minutes : le cœur du paquet, sans long apprentissage.
#: Un sur deux à chaque cœur : les deux moitiés durent à peu près autant.
ESSENTIELS = (
    "corpus",
    "conversion",
    "personnelles",
    "depot",
    "gabarits",
    "selection",
    "generation",
    "incertitude",
    "metriques",
    "machine",
)


def copier_carnets(motif: str = "*") -> list[Path]:
    """Copie les carnets voulus, leurs solutions glissées, chacun dans un dossier neuf ; rend leurs chemins.

    Aucun ne lit ce qu'un autre est en train d'écrire.
    """
    shutil.rmtree(COPIES, ignore_errors=True)
    carnets = sorted((RACINE / "notebooks").glob(f"{motif}.ipynb"))
    if not carnets:
        sys.exit(f"Aucun carnet ne correspond à « {motif} ».")
    copies = []
    for carnet in carnets:
        dossier = COPIES / carnet.stem
        dossier.mkdir(parents=True)
        copies.append(Path(shutil.copy(carnet, dossier)))
        glisser_dans(copies[-1])
    return copies


def ouvriers() -> int:
    """Combien de commandes avancent ensemble : une par cœur, si la mémoire y suffit."""
    return max(1, min(coeurs_accordes(), memoire_disponible() // MEMOIRE_PAR_OUVRIER))


def emploie_le_profil(carnet: Path) -> bool:
    """Vrai d'un carnet dont une cellule, après la préparation, dépend du profil de la machine."""
    cellules = [
        c.source for c in nbformat.read(carnet, as_version=4).cells if c.cell_type == "code"
    ]
    arbres = (ast.parse(source) for source in cellules[1:])
    return any(
        isinstance(noeud, ast.Name) and noeud.id == "profil"
        for arbre in arbres
        for noeud in ast.walk(arbre)
    )


@dataclass(frozen=True)
class Commande:
    """Une commande à lancer, et ce que son environnement a de particulier."""

    mots: list[str]
    environnement: Mapping[str, str] = field(default_factory=dict)


def en_parts(fichiers: Sequence[str], parts: int) -> list[list[str]]:
    """Ces fichiers en ``parts`` listes : un sur ``parts`` à chacune, dans l'ordre donné."""
    return [list(fichiers[rang::parts]) for rang in range(parts)]


def fichiers_de_tests() -> list[str]:
    """Les fichiers de tests du dossier, dans l'ordre de leurs noms."""
    return sorted(f"tests/{f.name}" for f in (RACINE / "tests").glob("test_*.py"))


def commandes(carnets: list[Path], paquet: bool, style: bool, parts: int = 1) -> Iterator[Commande]:
    """Les commandes à lancer, les plus longues d'abord : à la fin, aucun cœur n'attend longtemps l'autre.

    Le paquet d'abord, en ``parts`` commandes. Sur deux cœurs, une suffit : elle dure moins que la
    moitié du tout, et chaque part de plus referait les imports et les petits modèles d'épreuve.

    Chaque carnet est exécuté sous nbval, chaque exercice suivi de sa solution ; puis tel quel sur le
    jumeau de Falcon-7B, aux réglages de la T4 (``outils/jumeau.py``). Un carnet qui n'emploie pas le
    profil y ferait deux fois la même chose : une seule exécution, sous le profil du jumeau, suffit.
    """
    for part in en_parts(fichiers_de_tests(), parts) if paquet else []:
        yield Commande(pytest(*part, "--deselect", JUMEAU))
    if style:
        yield Commande([sys.executable, "-m", "mypy"])
        yield Commande([sys.executable, "-m", "ruff", "check", "."])
        yield Commande([sys.executable, "-m", "ruff", "format", "--check", "."])
    sous_nbval, sur_le_jumeau = [], []
    for carnet in du_plus_long(carnets):
        deux_fois = emploie_le_profil(RACINE / "notebooks" / carnet.name)
        sous_nbval.append(Commande(pytest(*NBVAL, str(carnet)), {} if deux_fois else SUR_LE_JUMEAU))
        if deux_fois:
            sur_le_jumeau.append(f"{JUMEAU}[{carnet.stem}]")
    yield from sous_nbval[:1]
    for part in filter(None, en_parts(sur_le_jumeau, PARTS_DU_JUMEAU)):
        yield Commande(pytest(*part))
    yield from sous_nbval[1:]


def du_plus_long(carnets: list[Path]) -> list[Path]:
    """Les carnets, du plus long au plus court."""
    rangs = {nom: rang for rang, nom in enumerate(LES_PLUS_LONGS)}
    return sorted(sorted(carnets, reverse=True), key=lambda c: rangs.get(c.stem, len(rangs)))


def pytest(*arguments: str) -> list[str]:
    """Une commande pytest, dans ce Python."""
    return [sys.executable, "-m", "pytest", *arguments]


def lancer(rang: int, commande: Commande) -> subprocess.CompletedProcess[str]:
    """Lance une commande et garde ce qu'elle dit, pour ne pas le mêler à celui des autres."""
    rapport = ["--junit-xml", str(RAPPORTS / f"{rang}.xml")] if "pytest" in commande.mots else []
    return subprocess.run(
        [*commande.mots, *rapport],
        cwd=RACINE,
        env={**ENVIRONNEMENT, **UN_FIL, **commande.environnement},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def bilan() -> str:
    """Combien d'épreuves ont été menées, où le temps est passé, et ce qui a été sauté et pourquoi."""
    cas = [
        c for rapport in RAPPORTS.glob("*.xml") for c in ElementTree.parse(rapport).iter("testcase")
    ]
    raisons = Counter(
        saut.get("message") or "sans raison donnée" for c in cas for saut in c.iter("skipped")
    )
    durees = Counter[str]()
    for c in cas:
        durees[c.get("classname", "")] += float(c.get("time", 0))
    lignes = ["Secondes prises par les fichiers les plus longs :"]
    lignes += [f"  {s:.0f}  {fichier}" for fichier, s in durees.most_common(PLUS_LONGS)]
    lignes += [f"{len(cas) - raisons.total()} épreuves menées, {raisons.total()} sautées."]
    return "\n".join([*lignes, *(f"  {n} × {raison}" for raison, n in raisons.most_common())])


def main() -> int:
    """Lance tout, même après un échec ; rend 1 si une commande a échoué."""
    analyse = argparse.ArgumentParser(description=__doc__)
    analyse.add_argument("--carnet", default="*", help="nom d'un carnet, sans extension")
    analyse.add_argument("--sans-style", action="store_true", help="ni ruff ni mypy")
    analyse.add_argument("--sans-paquet", action="store_true", help="les carnets seulement")
    analyse.add_argument("--vite", action="store_true", help="l'essentiel du paquet, sans carnet")
    options = analyse.parse_args()
    shutil.rmtree(RAPPORTS, ignore_errors=True)
    RAPPORTS.mkdir(parents=True)
    if options.vite:
        fichiers = [f"tests/test_{nom}.py" for nom in ESSENTIELS]
        a_lancer = [Commande(pytest(*part)) for part in en_parts(fichiers, ouvriers())]
    else:
        carnets = copier_carnets(options.carnet)
        shutil.rmtree(CACHE_DU_JUMEAU, ignore_errors=True)
        poser(CACHE_DU_JUMEAU)
        parts = max(1, ouvriers() // 2)
        a_lancer = list(commandes(carnets, not options.sans_paquet, not options.sans_style, parts))
    echecs = []
    with ThreadPoolExecutor(ouvriers()) as equipe:
        for tache in as_completed(
            [equipe.submit(lancer, rang, commande) for rang, commande in enumerate(a_lancer)]
        ):
            fait = tache.result()
            print(f"$ {' '.join(fait.args[1:])}\n{fait.stdout}", flush=True)
            if fait.returncode:
                echecs.append(" ".join(fait.args[2:]))
    print(bilan())
    print("\n- ".join(["Échecs :", *echecs]) if echecs else "Tout ce qui a été mené est vert.")
    return 1 if echecs else 0


if __name__ == "__main__":
    sys.exit(main())
