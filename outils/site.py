"""Construit le site statique du cours dans build/site, sans rien réexécuter (make site).

Les pages viennent du dépôt : carnets exécutés, guide, lexique, docstrings. Un carnet y reçoit
des boutons à la place de son badge, et des liens vers le lexique. Chaque carnet a son PDF si
un Chromium est là.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat

from outils import adresse, parcours
from outils.tester import RACINE

SOURCES, SITE = RACINE / "build" / "site_sources", RACINE / "build" / "site"
MODELES = RACINE / "docs" / "site"
CHROMIUM = ("chromium", "chromium-browser", "google-chrome", "chrome")
#: Ce qui n'est pas de la prose où poser un lien : code, liens, balises, titres, tableaux.
_TEL_QUEL = re.compile(
    r"(^```.*?^```|`[^`\n]+`|!?\[[^\]]*\]\([^)]*\)|<[a-zA-Z/][^>]*>|^#[^\n]*$|^\|[^\n]*$|\*\([^)]*\)|\([^)]*\))",
    re.M | re.S,
)
#: Ces mots ont un sens ordinaire : on ne lie que leur introduction, en gras.
AMBIGUS = ("pas", "lot", "attention", "étiquette")
_TERME = re.compile(r'<a id="([a-z0-9-]+)"></a>\*\*([^*]+)\*\*')
_BADGE = re.compile(r"\[!\[Ouvrir dans Colab\]\([^)]*\)\]\((?P<colab>[^)]*)\)")


def construire() -> None:
    """Réunit les sources, appelle Sphinx, imprime les PDF."""
    chromium = next(filter(None, map(shutil.which, CHROMIUM)), None)
    for dossier in (SOURCES, SITE):
        shutil.rmtree(dossier, ignore_errors=True)
    shutil.copytree(MODELES, SOURCES, ignore=shutil.ignore_patterns("accueil.md"))
    etapes = parcours.lire()
    _ecrire("index.md", _accueil(etapes))
    plan = _plan(etapes)
    _copier_les_pages(plan)
    _copier_les_carnets(etapes, plan, avec_pdf=chromium is not None)
    _ecrire_l_api()
    subprocess.run(
        [sys.executable, "-m", "sphinx", "-b", "html", "-q", "-W", "--keep-going", SOURCES, SITE],
        check=True,
    )
    for etape in etapes:
        shutil.copy(etape.fichier, SITE / "notebooks")
        if chromium:
            _imprimer(chromium, etape.fichier.stem)
    print(
        f"Site écrit dans {SITE.relative_to(RACINE)}."
        + ("" if chromium else " Sans PDF : pas de Chromium.")
    )


def _ecrire(nom: str, texte: str) -> None:
    (SOURCES / nom).parent.mkdir(parents=True, exist_ok=True)
    (SOURCES / nom).write_text(texte, encoding="utf-8")


def _accueil(etapes: list[parcours.Etape]) -> str:
    """La page d'accueil : les durées y viennent des carnets."""
    lignes = ["| Carnet | Lecture | Calcul sans GPU |", "|---|---|---|"]
    lignes += [
        f"| [{e.numero}. {e.titre}](notebooks/{e.fichier.name}) | {e.lecture} min "
        f"| moins de {e.calcul} min |"
        for e in etapes
    ]
    modele = (MODELES / "accueil.md").read_text("utf-8")
    return modele.format(parcours="\n".join(lignes), premier=etapes[0].fichier.name)


def _plan(etapes: list[parcours.Etape]) -> dict[Path, str]:
    """Ce que le site publie : un fichier du dépôt, sa page."""
    docs = RACINE / "docs"
    pages = {f: f"animer/{f.name}" for f in sorted((docs / "animer").glob("*.md"))}
    pages |= {docs / nom: nom for nom in ("lexique.md", "ou_lancer.md")}
    pages |= {docs / "animer" / "README.md": "animer/index.md"}
    pages |= {RACINE / "CONTRIBUER.md": "contribuer.md"}
    pages |= {f: f.relative_to(docs).as_posix() for f in (docs / "images" / "page").glob("*.png")}
    return pages | {e.fichier: f"notebooks/{e.fichier.name}" for e in etapes}


def _relier(texte: str, origine: Path, plan: dict[Path, str]) -> str:
    """Un lien du dépôt devient un lien du site, ou mène au dépôt si le site n'a pas cette page."""

    def remplacer(lien: re.Match) -> str:
        chemin, diese, ancre = lien[1].partition("#")
        if re.match(r"[a-z]+:", chemin) or not chemin:
            return lien[0]
        cible = (origine.parent / chemin).resolve()
        if cible in plan:
            chemin = os.path.relpath(plan[cible], Path(plan[origine]).parent)
        else:
            chemin = f"{adresse.lire()}/blob/main/{cible.relative_to(RACINE).as_posix()}"
        return f"]({chemin}{diese}{ancre})"

    return re.sub(r"\]\(([^()\s]+)\)", remplacer, texte)


def _copier_les_pages(plan: dict[Path, str]) -> None:
    """Guide et ses images, lexique, lieux, contribution."""
    for origine, page in plan.items():
        if origine.suffix == ".png":
            (SOURCES / page).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(origine, SOURCES / page)
        if origine.suffix == ".md":
            texte = origine.read_text("utf-8")
            if page == "animer/index.md":
                noms = dict.fromkeys(re.findall(r"\]\((\w+\.md)\)", texte))
                texte += "\n```{toctree}\n:hidden:\n\n" + "\n".join(noms) + "\n```\n"
            _ecrire(page, _relier(texte, origine, plan))


def _copier_les_carnets(
    etapes: list[parcours.Etape], plan: dict[Path, str], avec_pdf: bool
) -> None:
    """Les carnets exécutés, leurs boutons et leurs liens vers le lexique."""
    lexique = _TERME.findall((RACINE / "docs" / "lexique.md").read_text("utf-8"))
    dossier = SOURCES / "notebooks"
    dossier.mkdir()
    for etape in etapes:
        carnet = nbformat.read(etape.fichier, as_version=4)
        tete = carnet.cells[0]
        boutons = _boutons(etape.fichier.stem, avec_pdf)
        tete.source = _BADGE.sub(
            lambda badge, b=boutons: b.replace("COLAB", badge["colab"]), tete.source
        )
        for ancre, terme in lexique:
            _lier(carnet, terme, f"../lexique.html#{ancre}")
        for cellule in carnet.cells:
            if cellule.cell_type == "markdown":
                cellule.source = _relier(cellule.source, etape.fichier, plan)
        nbformat.write(carnet, dossier / etape.fichier.name)
    noms = "\n".join(etape.fichier.stem for etape in etapes)
    index = (
        f"# Les carnets\n\nDans l’ordre du cours.\n\n```{{toctree}}\n:maxdepth: 2\n\n{noms}\n```\n"
    )
    _ecrire("notebooks/index.md", index)


def _boutons(nom: str, avec_pdf: bool) -> str:
    """Colab, SSP Cloud, carnet, PDF : quatre liens en texte, sans image d'un autre site."""
    liens = {
        "Ouvrir dans Colab": "COLAB",
        "Lancer sur le SSP Cloud": "../ou_lancer.html#ssp-cloud-et-autres-onyxia",
        "Télécharger le carnet": f"{nom}.ipynb",
        **({"Version à imprimer (PDF)": f"{nom}.pdf"} if avec_pdf else {}),
    }
    corps = "\n".join(f'<li><a href="{lien}">{titre}</a></li>' for titre, lien in liens.items())
    return f'<ul class="boutons">\n{corps}\n</ul>'


def _lier(carnet: nbformat.NotebookNode, terme: str, lien: str) -> None:
    """Lie la première apparition d'un terme dans la prose d'un carnet."""
    mots = r"\s+".join(re.escape(mot) + "[sx]?" for mot in terme.split())
    avant, apres = (
        (r"(?<=\*\*)", r"(?=\*\*)") if terme in AMBIGUS else (r"(?<![\w-])", r"(?![\w-])")
    )
    motif = re.compile(f"{avant}{mots}{apres}", re.I)
    for cellule in carnet.cells[1:]:
        if cellule.cell_type != "markdown":
            continue
        morceaux = _TEL_QUEL.split(cellule.source)
        for rang in range(0, len(morceaux), 2):
            if motif.search(morceaux[rang]):
                morceaux[rang] = motif.sub(rf'<a href="{lien}">\g<0></a>', morceaux[rang], count=1)
                cellule.source = "".join(morceaux)
                return


def _ecrire_l_api() -> None:
    """Une page par module public, tirée de ses docstrings."""
    paquet = RACINE / "fabrique"
    modules = sorted(
        ".".join(("fabrique", *fichier.relative_to(paquet).with_suffix("").parts))
        for fichier in paquet.rglob("*.py")
        if fichier.stem not in ("__init__", "__main__", "ligne_de_commande")
    )
    tete = "# La référence du paquet\n\nCe qu’un carnet appelle :\n\n"
    bloc = "```{eval-rst}\n.. automodule:: %s\n   :members:\n%s```\n"
    # Chaque nom a sa page de module ; cette page-ci ne le redéfinit pas.
    resume = (
        bloc % ("fabrique", "   :no-index:\n")
        + "\n"
        + "## Tous les modules\n\n```{toctree}\n:maxdepth: 1\n\n"
    )
    _ecrire("api/index.md", f"{tete}{resume}" + "\n".join(modules) + "\n```\n")
    for module in modules:
        _ecrire(f"api/{module}.md", f"# `{module}`\n\n" + bloc % (module, ""))


def _imprimer(chromium: str, nom: str) -> None:
    """Le PDF d'un carnet, imprimé par Chromium depuis sa page."""
    page, pdf = SITE / "notebooks" / f"{nom}.html", SITE / "notebooks" / f"{nom}.pdf"
    options = ["--headless", "--disable-gpu", "--no-sandbox", "--no-pdf-header-footer"]
    subprocess.run(
        [chromium, *options, f"--print-to-pdf={pdf}", page.as_uri()],
        check=True,
        capture_output=True,
        timeout=120,
    )


if __name__ == "__main__":
    construire()
