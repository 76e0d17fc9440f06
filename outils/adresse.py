"""L'adresse publique du dépôt : un seul réglage, recopié dans les carnets et le README.

    python -m outils.adresse                 vérifie que tout concorde
    python -m outils.adresse https://…       change l'adresse partout
"""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

RACINE = Path(__file__).resolve().parent.parent
PROJET = RACINE / "pyproject.toml"


def lire() -> str:
    """L'adresse écrite dans ``[project.urls]``."""
    return tomllib.loads(PROJET.read_text(encoding="utf-8"))["project"]["urls"]["Repository"]


def formes(adresse: str) -> tuple[str, ...]:
    """Les formes sous lesquelles l'adresse paraît : dépôt, badge Colab."""
    depot = adresse.removeprefix("https://github.com/")
    return (adresse, f"colab.research.google.com/github/{depot}")


def fichiers() -> list[Path]:
    """Les fichiers où l'adresse paraît."""
    return [PROJET, RACINE / "README.md", *sorted((RACINE / "notebooks").glob("*.ipynb"))]


def discordances() -> list[str]:
    """Les fichiers qui citent une autre adresse GitHub de ce cours, ou aucune."""
    formes_attendues = formes(lire())
    motif = re.compile(
        r"https://github\.com/[\w.-]+/FabriqueLLM|colab\.research\.google\.com/github/[\w.-]+/[\w.-]+"
    )
    fautifs = []
    for fichier in fichiers():
        trouvees = set(motif.findall(fichier.read_text(encoding="utf-8")))
        if not trouvees or any(t not in formes_attendues for t in trouvees):
            fautifs.append(str(fichier.relative_to(RACINE)))
    return fautifs


def changer(nouvelle: str) -> None:
    """Remplace l'ancienne adresse par la nouvelle, partout."""
    ancienne = lire()
    for fichier in fichiers():
        texte = fichier.read_text(encoding="utf-8")
        for avant, apres in zip(formes(ancienne), formes(nouvelle.rstrip("/")), strict=True):
            texte = texte.replace(avant, apres)
        fichier.write_text(texte, encoding="utf-8")


def main() -> int:
    """Change l'adresse si elle est donnée ; vérifie que tout concorde."""
    if len(sys.argv) > 1:
        if not re.fullmatch(r"https://github\.com/[\w.-]+/[\w.-]+/?", sys.argv[1]):
            print("Donnez une adresse de la forme https://github.com/COMPTE/DEPOT.", file=sys.stderr)
            return 1
        changer(sys.argv[1])
    fautifs = discordances()
    print(f"À corriger : {', '.join(fautifs)}." if fautifs else f"Adresse partout : {lire()}")
    return 1 if fautifs else 0


if __name__ == "__main__":
    sys.exit(main())
