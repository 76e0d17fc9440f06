"""L'adresse publique du dépôt et la version que les carnets installent : un seul réglage pour tout.

python -m outils.adresse                 vérifie que tout concorde
python -m outils.adresse https://…       change l'adresse partout
python -m outils.adresse 0.3.0           change la version partout
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


def etiquette(racine: Path = RACINE) -> str:
    """L'étiquette git de la version écrite dans ``[project]``, celle que les carnets installent."""
    projet = (racine / "pyproject.toml").read_text(encoding="utf-8")
    return f"v{tomllib.loads(projet)['project']['version']}"


def formes(adresse: str) -> tuple[str, ...]:
    """Les formes sous lesquelles l'adresse paraît : dépôt, badge Colab."""
    depot = adresse.removeprefix("https://github.com/")
    return (adresse, f"colab.research.google.com/github/{depot}")


def fichiers(racine: Path = RACINE) -> list[Path]:
    """Les fichiers où l'adresse paraît."""
    carnets = sorted((racine / "notebooks").glob("*.ipynb"))
    return [*(racine / nom for nom in ("pyproject.toml", "CITATION.cff", "README.md")), *carnets]


def discordances(racine: Path = RACINE) -> list[str]:
    """Les fichiers qui citent une autre adresse GitHub de ce cours, ou aucune, ou une autre version."""
    attendues = formes(lire(racine))
    nom = re.escape(attendues[0].rpartition("/")[2])
    motif = re.compile(
        rf"https://github\.com/[\w.-]+/(?:FabriqueLLM|{nom})(?![\w-])"
        r"|(?<=git\+)https://github\.com/[\w.-]+/[\w.-]+"
        r"|colab\.research\.google\.com/github/[\w.-]+/[\w.-]+"
    )
    fautifs = []
    for fichier in fichiers(racine):
        texte = fichier.read_text(encoding="utf-8")
        trouvees = set(motif.findall(texte))
        etiquettes = set(re.findall(r"git\+https://[^\s@\"']+@?([\w.-]*)", texte))
        if not trouvees or not trouvees <= set(attendues) or etiquettes - {etiquette(racine)}:
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


def changer_version(nouvelle: str, racine: Path = RACINE) -> None:
    """Remplace la version du projet, et l'étiquette que les carnets installent."""
    ancienne = etiquette(racine)
    projet = racine / "pyproject.toml"
    for fichier, avant, apres in (
        (projet, f'\nversion = "{ancienne[1:]}"', f'\nversion = "{nouvelle}"'),
        *(
            (f, f"{lire(racine)}@{ancienne}", f"{lire(racine)}@v{nouvelle}")
            for f in fichiers(racine)
        ),
    ):
        texte = fichier.read_text(encoding="utf-8")
        fichier.write_text(texte.replace(avant, apres), encoding="utf-8")


def main() -> int:
    """Change l'adresse ou la version si elle est donnée ; vérifie que tout concorde."""
    if len(sys.argv) > 1 and re.fullmatch(r"\d+\.\d+\.\d+", sys.argv[1]):
        changer_version(sys.argv[1])
    elif len(sys.argv) > 1:
        if not re.fullmatch(r"https://github\.com/[\w.-]+/[\w.-]+/?", sys.argv[1]):
            print(
                "Donnez une adresse de la forme https://github.com/COMPTE/DEPOT, ou une version "
                "de la forme 0.3.0.",
                file=sys.stderr,
            )
            return 1
        changer(sys.argv[1])
    fautifs = discordances()
    bilan = f"Adresse partout : {lire()}, version {etiquette()}"
    print(f"À corriger : {', '.join(fautifs)}." if fautifs else bilan)
    return 1 if fautifs else 0


if __name__ == "__main__":
    sys.exit(main())
