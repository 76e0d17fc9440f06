"""Ce que le dépôt promet de lui-même : une adresse, des versions figées, des flèches vers le bas."""

from __future__ import annotations

import ast
import importlib.util
import os
import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import nbformat
import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from fabrique.ligne_de_commande import application
from fabrique.modeles.catalogue import CATALOGUE
from outils import adresse
from outils.tester import (
    ESSENTIELS,
    LES_PLUS_LONGS,
    RACINE,
    commandes,
    du_plus_long,
    en_parts,
    fichiers_de_tests,
)


def fichiers_du_depot() -> list[Path]:
    """Les fichiers suivis ou à suivre : ni ignorés, ni construits."""
    commande = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    suivis = subprocess.run(commande, cwd=RACINE, capture_output=True, check=True).stdout
    chemins = [RACINE / nom.decode() for nom in suivis.split(b"\0") if nom]
    return [chemin for chemin in chemins if chemin.is_file()]


def texte_ou_rien(chemin: Path) -> str:
    """Le texte d'un fichier ; rien si c'est un binaire."""
    try:
        return chemin.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return ""


# ---------------------------------------------------------------- une seule adresse


@pytest.fixture
def copie(tmp_path: Path) -> Path:
    """Une copie des fichiers où l'adresse paraît."""
    for fichier in adresse.fichiers():
        cible = tmp_path / fichier.relative_to(RACINE)
        cible.parent.mkdir(exist_ok=True)
        shutil.copy(fichier, cible)
    return tmp_path


def test_l_adresse_est_la_meme_partout():
    """pyproject, README, badges et cellules d'installation."""
    assert adresse.discordances() == []


def test_l_adresse_ne_parait_que_la_ou_la_commande_la_change():
    """Un fichier oublié garderait l'ancienne adresse."""
    connus = set(adresse.fichiers())
    formes = adresse.formes(adresse.lire())
    assert [
        str(fichier.relative_to(RACINE))
        for fichier in fichiers_du_depot()
        if fichier not in connus and any(forme in texte_ou_rien(fichier) for forme in formes)
    ] == []


@pytest.mark.parametrize(
    "nouvelle",
    ["https://github.com/exemple/FabriqueLLM", "https://github.com/exemple/FabriqueLLM-2026"],
)
def test_changer_l_adresse_la_change_partout(copie: Path, nouvelle: str):
    """Un autre compte, un autre nom ; et l'on peut revenir."""
    ancienne = adresse.lire(copie)
    adresse.changer(nouvelle, copie)
    assert adresse.lire(copie) == nouvelle
    assert adresse.discordances(copie) == []
    for fichier in adresse.fichiers(copie):
        assert not re.search(rf"{re.escape(ancienne)}(?![\w-])", fichier.read_text("utf-8"))
    adresse.changer(ancienne, copie)
    for avant, apres in zip(adresse.fichiers(), adresse.fichiers(copie), strict=True):
        assert avant.read_text("utf-8") == apres.read_text("utf-8")


def test_une_adresse_oubliee_est_vue(copie: Path):
    """Un badge ou une cellule d'installation resté à l'ancienne adresse."""
    carnet = adresse.fichiers(copie)[-1]
    texte, compte = carnet.read_text("utf-8"), adresse.lire(copie).split("/")[3]
    for forme in adresse.formes(adresse.lire(copie)):
        oubliee = forme.replace(f"/{compte}/", "/autre-compte/")
        carnet.write_text(texte.replace(forme, oubliee), "utf-8")
        assert adresse.discordances(copie) == [str(carnet.relative_to(copie))]


def test_changer_la_version_change_l_etiquette_que_les_carnets_installent(copie: Path):
    """Un seul réglage, celui de pyproject ; et l'on peut revenir."""
    ancienne = adresse.etiquette(copie)
    adresse.changer_version("9.8.7", copie)
    assert adresse.etiquette(copie) == "v9.8.7"
    assert adresse.discordances(copie) == []
    assert not any(ancienne in f.read_text("utf-8") for f in (copie / "notebooks").iterdir())
    adresse.changer_version(ancienne[1:], copie)
    for avant, apres in zip(adresse.fichiers(), adresse.fichiers(copie), strict=True):
        assert avant.read_text("utf-8") == apres.read_text("utf-8")


@pytest.mark.parametrize("reste", ["@main", "@v0.0.1", ""])
def test_une_cellule_qui_n_installe_pas_cette_version_est_vue(copie: Path, reste: str):
    """main, une version oubliée, ou aucune."""
    carnet = adresse.fichiers(copie)[-1]
    texte = carnet.read_text("utf-8")
    carnet.write_text(texte.replace(f"@{adresse.etiquette(copie)}", reste), "utf-8")
    assert adresse.discordances(copie) == [str(carnet.relative_to(copie))]


# ---------------------------------------------------------------- des versions figées


@pytest.mark.parametrize("nom", CATALOGUE)
def test_chaque_modele_du_hub_a_une_revision_figee(nom: str):
    """40 chiffres hexadécimaux ; un modèle livré n'en a pas besoin."""
    entree = CATALOGUE[nom]
    livre = Path(entree.depot).is_absolute()
    assert livre or re.fullmatch(r"[0-9a-f]{40}", entree.revision or "")


def exigences(nom: str) -> dict[str, Requirement]:
    """Les paquets d'un fichier d'exigences, par nom canonique."""
    lignes = (RACINE / nom).read_text("utf-8").splitlines()
    lues = [Requirement(ligne) for ligne in lignes if ligne.split("#")[0].strip()]
    assert len({canonicalize_name(e.name) for e in lues}) == len(lues), "paquet en double"
    return {canonicalize_name(exigence.name): exigence for exigence in lues}


def test_les_contraintes_figent_chaque_paquet_dans_sa_plage():
    """Un « == » par paquet, que sa plage accepte ; l'extra gptq n'en est pas."""
    figees = exigences("contraintes.txt")
    demandees = exigences("requirements.txt") | exigences("requirements-dev.txt")
    assert demandees.keys() - figees.keys() == set()
    for nom, exigence in figees.items():
        (figee,) = exigence.specifier
        assert figee.operator == "==", f"{nom} n’est pas épinglé"
        assert "*" not in figee.version, f"{nom} n’est pas épinglé"
        if nom in demandees:
            assert demandees[nom].specifier.contains(figee.version), f"{nom} est hors de sa plage"


# ---------------------------------------------------------------- rien de la machine qui l'écrit

CHEMIN_DE_MACHINE = re.compile(
    r"(?<![\w.\-])/(?:work|root|home/\w+|Users/\w+)/|\b[A-Za-z]:\\+Users\\"
)


def test_aucun_fichier_ne_nomme_un_chemin_de_machine():
    """Le dépôt se clone n'importe où."""
    assert [
        f"{fichier.relative_to(RACINE)} : {trouve.group()}"
        for fichier in fichiers_du_depot()
        if (trouve := CHEMIN_DE_MACHINE.search(texte_ou_rien(fichier)))
    ] == []


# ---------------------------------------------------------------- les flèches vont vers le bas

#: Les douze pièces, du haut vers le bas ; un module n'importe que la sienne et celles d'en dessous.
ETAGES = (
    {"__main__"},
    {"ligne_de_commande"},
    {"cours"},
    {"recettes"},
    {"evaluation"},
    {"entrainement"},
    {"service"},
    {"recherche"},
    {"jetons"},
    {"corpus"},
    {"modeles"},
    {"machine"},
    {"socle"},
    {"__init__"},
)
NIVEAU = {module: rang for rang, etage in enumerate(ETAGES) for module in etage}


def modules() -> dict[str, Path]:
    """Les fichiers du paquet, par nom pointé dans le paquet (« corpus.lecture »)."""
    racine = RACINE / "fabrique"
    return {
        ".".join(fichier.relative_to(racine).with_suffix("").parts): fichier
        for fichier in sorted(racine.rglob("*.py"))
    }


def importes(nom: str, arbre: ast.AST) -> set[str]:
    """Les modules du paquet qu'un module importe, où que soit l'import."""
    trouves = set()
    for noeud in ast.walk(arbre):
        if isinstance(noeud, ast.Import):
            trouves |= {alias.name for alias in noeud.names}
        elif isinstance(noeud, ast.ImportFrom):
            # Un import relatif part du paquet qui contient le module.
            parent = ["fabrique", *nom.split(".")][: -noeud.level] if noeud.level else []
            base = ".".join([*parent, *filter(None, [noeud.module])])
            trouves |= {base} | {f"{base}.{alias.name}" for alias in noeud.names}
    connus = modules()
    internes = {t.removeprefix("fabrique.") for t in trouves if t.startswith("fabrique.")}
    directs = {t for t in internes if t in connus or f"{t}.__init__" in connus}
    return directs | ({"__init__"} if "fabrique" in trouves and not directs else set())


def tete(module: str) -> str:
    """Le nom que la carte connaît : le premier morceau."""
    return module.split(".")[0]


def fleches() -> Iterator[tuple[str, str]]:
    """Les imports internes, d'un module à l'autre (un sous-paquet compte pour un)."""
    for nom, fichier in modules().items():
        for cible in importes(nom, ast.parse(fichier.read_text("utf-8"))):
            if tete(cible) != tete(nom):
                yield tete(nom), tete(cible)


def test_chaque_module_a_son_etage():
    """Un nouveau module se place dans la carte avant d'être écrit."""
    assert {tete(nom) for nom in modules()} - NIVEAU.keys() == set()


def test_les_fleches_vont_vers_le_bas():
    """La section 3 de la conception ; les utilitaires sont tout en bas."""
    lues = set(fleches())
    assert ("ligne_de_commande", "modeles") in lues, "les imports tardifs sont lus aussi"
    assert [
        f"{haut} → {bas}" for haut, bas in sorted(lues) if NIVEAU.get(haut, 0) > NIVEAU.get(bas, 99)
    ] == []


def test_la_maison_garde_ses_pieces():
    """Douze pièces, dont la ligne de commande ; jamais deux fichiers du même nom."""
    pieces = {tete(nom) for nom in modules()} - {"__init__", "__main__"}
    assert pieces == set().union(*ETAGES) - {"__init__", "__main__"}
    assert len(pieces) <= 12
    noms = Counter(nom.rpartition(".")[2] for nom in modules() if not nom.endswith("__init__"))
    assert [nom for nom, fois in noms.items() if fois > 1] == []


def test_l_architecture_ecrite_est_celle_du_code():
    """Le dessin nomme les douze pièces, de haut en bas, et chaque chemin cité existe."""
    texte = (RACINE / "docs/architecture.md").read_text("utf-8")
    dessin = texte.split("```")[1].strip().splitlines()
    attendues = [piece for etage in ETAGES[1:-1] for piece in etage]
    assert [ligne.split()[0] for ligne in dessin] == attendues
    pieces = "|".join(attendues)
    cites = re.findall(rf"`((?:{pieces})(?:/\w+)+)", texte)
    assert len(cites) > 10
    chemins = {cite: RACINE / "fabrique" / cite for cite in cites}
    assert [c for c, f in chemins.items() if not (f.is_dir() or Path(f"{f}.py").is_file())] == []


def test_aucun_cycle_d_import():
    """À l'intérieur d'un étage non plus."""
    graphe: dict[str, set[str]] = {}
    for haut, bas in fleches():
        graphe.setdefault(haut, set()).add(bas)
    TopologicalSorter(graphe).prepare()


#: Ce qui imprime sous les recettes : un mot qui s'écrit à l'écran, un dialogue, un programme.
QUI_IMPRIME = {"modeles.generation", "evaluation.aveugle", "evaluation.harnais"}


def test_sous_les_recettes_on_parle_au_journal():
    """Une seule voix : la commande l'envoie à côté de son objet JSON, le carnet dans la cellule."""
    imprimeurs = {
        nom
        for nom, fichier in modules().items()
        if NIVEAU[tete(nom)] > NIVEAU["recettes"]
        for noeud in ast.walk(ast.parse(fichier.read_text("utf-8")))
        if isinstance(noeud, ast.Call) and ast.unparse(noeud.func) == "print"
    }
    assert imprimeurs - {"socle.parole"} == QUI_IMPRIME
    commande = (RACINE / "fabrique" / "ligne_de_commande.py").read_text("utf-8")
    assert "redirect_stdout" not in commande


# ---------------------------------------------------------------- rien qui exécute le code d'autrui


def codes() -> Iterator[tuple[str, ast.AST]]:
    """Chaque code Python du dépôt : fichiers, et cellules des carnets."""
    for fichier in fichiers_du_depot():
        nom = str(fichier.relative_to(RACINE))
        if fichier.suffix == ".py":
            yield nom, ast.parse(fichier.read_text("utf-8"))
        if fichier.suffix == ".ipynb":
            for rang, cellule in enumerate(nbformat.read(fichier, as_version=4).cells, 1):
                if cellule.cell_type == "code":
                    yield f"{nom}, cellule {rang}", ast.parse(cellule.source)


def dangers(arbre: ast.AST) -> Iterator[str]:
    """Ce qui ouvrirait la porte à du code inconnu."""
    for noeud in ast.walk(arbre):
        noms = []
        if isinstance(noeud, ast.Import):
            noms = [alias.name for alias in noeud.names]
        if isinstance(noeud, ast.ImportFrom):
            noms = [noeud.module or ""]
        yield from (n for n in noms if n in ("pickle", "cPickle", "dill", "cloudpickle", "joblib"))
        if isinstance(noeud, ast.Dict):
            paires = zip(noeud.keys, noeud.values, strict=True)
            yield from _confiance((getattr(c, "value", None), v) for c, v in paires)
        if isinstance(noeud, ast.Call):
            mots = {mot.arg: mot.value for mot in noeud.keywords}
            yield from _confiance(mots.items())
            appel = ast.unparse(noeud.func)
            if appel == "torch.load" and not _vaut(mots.get("weights_only"), True):
                yield "torch.load sans weights_only=True"
            if "allow_pickle" in mots and not _vaut(mots["allow_pickle"], False):
                yield "allow_pickle"


def _confiance(paires) -> Iterator[str]:
    for cle, valeur in paires:
        if cle == "trust_remote_code" and not _vaut(valeur, False):
            yield "trust_remote_code"


def _vaut(noeud: ast.AST | None, valeur: bool) -> bool:
    return isinstance(noeud, ast.Constant) and noeud.value is valeur


def test_aucun_code_d_autrui_n_est_execute():
    """Ni trust_remote_code, ni pickle, ni torch.load confiant."""
    lus = list(codes())
    assert len(lus) > 20
    assert [f"{nom} : {danger}" for nom, arbre in lus for danger in dangers(arbre)] == []


@pytest.mark.parametrize(
    "code",
    [
        "charger('m', trust_remote_code=True)",
        "charger('m', trust_remote_code=confiance)",
        "options = {'trust_remote_code': True}",
        "import pickle",
        "from pickle import load",
        "torch.load('p.bin')",
        "torch.load('p.bin', weights_only=False)",
        "np.load('p.npy', allow_pickle=True)",
    ],
)
def test_la_garde_voit_le_danger(code: str):
    """Elle rougit sur chaque porte ouverte."""
    assert list(dangers(ast.parse(code)))


# ---------------------------------------------------------------- les commandes


avec_make = pytest.mark.skipif(not shutil.which("make"), reason="make n’est pas installé")
#: Ce que chaque cible finit par lancer, un environnement déjà prêt.
CIBLES = ("demo", "cours", "test", "test-vite", "test-kit", "test-bornes", "carnets", "site")


def make(cible: str, *options: str) -> str:
    """Ce que make imprime d'une cible."""
    fait = subprocess.run(
        ["make", "--no-print-directory", *options, cible],
        cwd=RACINE,
        capture_output=True,
        text=True,
        check=True,
    )
    return fait.stdout


def commandes_inconnues(lignes: str) -> Iterator[str]:
    """Les programmes, modules et fichiers que ces commandes nomment, et qui n'existent pas ici."""
    for module in re.findall(r"python\S* -m ((?:outils|fabrique)[\w.]*)", lignes):
        if not importlib.util.find_spec(module):
            yield module
    connues = {c.name or c.callback.__name__ for c in application.registered_commands}
    yield from set(re.findall(r"bin/fabrique (\w+)", lignes)) - connues
    for fichier in re.findall(r"\S+\.(?:ipynb|sh)\b|requirements[\w-]*\.txt|\.ci/run", lignes):
        if not (RACINE / fichier).exists():
            yield fichier


@avec_make
@pytest.mark.parametrize("cible", CIBLES)
def test_chaque_cible_lance_un_programme_qui_existe(cible: str):
    """make la déroule sans l'exécuter : ses modules, ses commandes et ses fichiers sont là."""
    lignes = make(cible, "--dry-run", "--assume-old=.venv/.pret")
    assert lignes.strip()
    assert list(commandes_inconnues(lignes)) == []


@avec_make
def test_l_aide_dit_chaque_cible_et_aucune_autre():
    assert set(re.findall(r"^make ([\w-]+) ", make("aide"), re.M)) == {*CIBLES}
    dites = set(re.findall(r"\bmake ([\w-]+)", (RACINE / "README.md").read_text("utf-8")))
    assert {"demo", "cours", "test"} <= dites <= {*CIBLES}


@avec_make
@pytest.mark.parametrize("parts", [1, 2, 3])
def test_chaque_fichier_de_tests_est_lance_une_fois(parts: int):
    """En une commande ou en plusieurs : l'ordre est celui des noms, et rien n'est oublié."""
    tous = fichiers_de_tests()
    assert {f"tests/test_{nom}.py" for nom in ESSENTIELS} < set(tous)
    assert "tests/test_depot.py" in tous
    lances = [
        [mot for mot in commande.mots if mot in tous]
        for commande in commandes([], paquet=True, style=False, parts=parts)
    ]
    assert lances == en_parts(tous, parts)
    assert sorted(nom for part in lances for nom in part) == tous
    assert max(map(len, lances)) - min(map(len, lances)) <= 1


def test_chaque_carnet_est_lance_une_fois_les_plus_longs_d_abord():
    carnets = sorted((RACINE / "notebooks").glob("*.ipynb"))
    ranges = du_plus_long(carnets)
    assert sorted(ranges) == carnets
    assert tuple(c.stem for c in ranges[: len(LES_PLUS_LONGS)]) == LES_PLUS_LONGS
    assert du_plus_long(carnets[:2]) == carnets[1::-1]


def test_l_integration_continue_lance_ce_qui_existe(tmp_path: Path):
    """.ci/run appelle make une fois, pour « test » ; chaque pas des flux nomme ce qui est au dépôt."""
    faux = tmp_path / "make"
    faux.write_text('#!/bin/sh\necho "$@" >> "$(dirname "$0")/appels"\n', "utf-8")
    faux.chmod(0o755)
    chemin = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    subprocess.run(["bash", ".ci/run"], cwd=RACINE, env=os.environ | {"PATH": chemin}, check=True)
    assert (tmp_path / "appels").read_text("utf-8").split() == ["test"]
    pas = [
        etape["run"]
        for flux in (RACINE / ".github" / "workflows").glob("*.yml")
        for travail in yaml.safe_load(flux.read_text("utf-8"))["jobs"].values()
        for etape in travail.get("steps", [])
        if "run" in etape
    ]
    assert "bash .ci/run" in pas
    assert list(commandes_inconnues("\n".join(pas))) == []
    assert set(re.findall(r"\bmake ([\w-]+)", "\n".join(pas))) <= {*CIBLES}


@pytest.mark.parametrize(
    "ligne",
    [
        ".venv/bin/python -m outils.absent",
        ".venv/bin/fabrique absente",
        "-r requirements-absent.txt",
    ],
)
def test_une_commande_inconnue_est_vue(ligne: str):
    assert len(list(commandes_inconnues(ligne))) == 1
