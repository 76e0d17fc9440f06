"""Les documents sont typographiés comme les carnets, et leurs liens mènent quelque part."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

import gardes
import nbformat
import pytest
from hypothesis import given, strategies as st
from nbformat.v4 import new_markdown_cell, new_notebook

from outils.tester import RACINE
from outils.typographie import corriger

DOCUMENTS = [
    *(
        RACINE / nom
        for nom in ("README.md", "CONTRIBUER.md", "LICENCES.md")
        if (RACINE / nom).exists()
    ),
    *sorted((RACINE / "docs").rglob("*.md")),
]
#: L'accueil du site est un modèle : ses liens partent de la racine du site, Sphinx les vérifie.
LIES = [
    *(document for document in DOCUMENTS if document.name != "accueil.md"),
    RACINE / "data" / "LISEZMOI.md",
    *sorted((RACINE / "notebooks").glob("*.ipynb")),
]
_LIEN = re.compile(r"\]\(([^()\s]+)\)|<a [^>]*href=\"([^\"]+)\"|<img [^>]*src=\"([^\"]+)\"")


def texte(fichier: Path) -> str:
    """Le Markdown d'un document, ou celui des cellules d'un carnet."""
    if fichier.suffix != ".ipynb":
        return fichier.read_text("utf-8")
    carnet = nbformat.read(fichier, as_version=4)
    return "\n\n".join(cellule.source for _, cellule in gardes.numerotees(carnet, "markdown"))


def fautes(markdown: str) -> list[str]:
    """Les fautes que les gardes des carnets verraient."""
    return gardes.typographie(new_notebook(cells=[new_markdown_cell(markdown)]))


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: document.name)
def test_la_typographie_des_documents(document: Path):
    """Mêmes règles que dans les carnets ; « python -m outils.typographie F » les applique."""
    assert fautes(document.read_text("utf-8")) == []


@given(st.text(st.sampled_from(list("ab '’«»:;?!`|-[]()\u00a0\n")), max_size=60))
def test_corriger_deux_fois_ne_change_plus_rien(markdown: str):
    """La correction est stable, et ne touche qu'aux espaces et aux apostrophes."""
    corrige = corriger(markdown)
    assert corriger(corrige) == corrige
    nu = str.maketrans("", "", " \u00a0'’")
    assert corrige.translate(nu) == markdown.translate(nu)


def test_corriger_laisse_le_code_et_les_adresses():
    """Ni blocs, ni spans, ni liens, ni filets."""
    markdown = (
        "Il dit : « oui » ! `a : 'b'` [x](y?z) | :--- | https://a.fr/b?c\n```\nl'eau ; ici\n```\n"
    )
    attendu = markdown.replace("dit :", "dit\u00a0:").replace(
        "« oui » !", "«\u00a0oui\u00a0»\u00a0!"
    )
    assert corriger(markdown) == attendu


# ---------------------------------------------------------------- les liens


def ancres(fichier: Path) -> set[str]:
    """Les ancres d'un document : titres, à la façon de GitHub, et balises à identifiant."""
    lu = texte(fichier)
    titres = re.findall(r"^#{1,6} (.+)$", gardes.sans_code(lu), re.M)
    nettoyes = (re.sub(r"[^\w\- ]", "", unicodedata.normalize("NFC", t.lower())) for t in titres)
    return {t.strip().replace(" ", "-") for t in nettoyes} | set(re.findall(r'id="([^"]+)"', lu))


def liens_morts(fichier: Path) -> Iterator[str]:
    """Les liens vers un fichier ou une ancre du dépôt qui n'existent pas."""
    for groupes in _LIEN.findall(gardes.sans_code(texte(fichier))):
        lien = unquote(next(filter(None, groupes)))
        if re.match(r"[a-z]+:", lien):
            continue
        chemin, _, ancre = lien.partition("#")
        cible = (fichier.parent / chemin).resolve() if chemin else fichier
        if not cible.exists():
            yield f"{lien} : le fichier n’existe pas"
        elif ancre and cible.is_file() and ancre not in ancres(cible):
            yield f"{lien} : l’ancre n’existe pas"


@pytest.mark.parametrize("fichier", LIES, ids=lambda fichier: fichier.name)
def test_les_liens_du_depot_aboutissent(fichier: Path):
    """Vers un fichier, vers un titre."""
    assert list(liens_morts(fichier)) == []


def test_un_lien_mort_est_vu(tmp_path: Path):
    """Un fichier absent, une ancre absente ; pas une adresse, pas du code."""
    page = tmp_path / "page.md"
    page.write_text(
        "# Un titre\n\n[a](absent.md) [b](#un-titre) [c](#autre) [d](https://a.fr) `[e](f.md)`",
        "utf-8",
    )
    morts = list(liens_morts(page))
    assert [mort.split(" :")[0] for mort in morts] == ["absent.md", "#autre"]
