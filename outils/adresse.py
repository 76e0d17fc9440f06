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


def lire(racine: Path = RACINE) -> str:
    """L'adresse écrite dans ``[project.urls]``."""
    projet = (racine / "pyproject.toml").read_text(encoding="utf-8")
    return tomllib.loads(projet)["project"]["urls"]["Repository"]


def formes(adresse: str) -> tuple[str, ...]:
    """Les formes sous lesquelles l'adresse paraît : dépôt, badge Colab."""
    depot = adresse.removeprefix("https://github.com/")
    return (adresse, f"colab.research.google.com/github/{depot}")


def fichiers(racine: Path = RACINE) -> list[Path]:
    """Les fichiers où l'adresse paraît."""
    carnets = sorted((racine / "notebooks").glob("*.ipynb"))
    return [*(racine / nom for nom in ("pyproject.toml", "CITATION.cff", "README.md")), *carnets]


def discordances(racine: Path = RACINE) -> list[str]:
    """Les fichiers qui citent une autre adresse GitHub de ce cours, ou aucune."""
    attendues = formes(lire(racine))
    nom = re.escape(attendues[0].rpartition("/")[2])
    motif = re.compile(
        rf"https://github\.com/[\w.-]+/(?:FabriqueLLM|{nom})(?![\w-])"
        r"|(?<=git\+)https://github\.com/[\w.-]+/[\w.-]+"
        r"|colab\.research\.google\.com/github/[\w.-]+/[\w.-]+"
    )
    fautifs = []
    for fichier in fichiers(racine):
        trouvees = set(motif.findall(fichier.read_text(encoding="utf-8")))
        if not trouvees or not trouvees <= set(attendues):
            fautifs.append(str(fichier.relative_to(racine)))
    return fautifs


def changer(nouvelle: str, racine: Path = RACINE) -> None:
    """Remplace l'ancienne adresse par la nouvelle, partout."""
    ancienne = lire(racine)
    for fichier in fichiers(racine):
        texte = fichier.read_text(encoding="utf-8")
        for avant, apres in zip(formes(ancienne), formes(nouvelle.rstrip("/")), strict=True):
            texte = re.sub(rf"{re.escape(avant)}(?![\w-])", apres, texte)
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
