"""Ce que pyproject ne sait pas dire : les paquets de la roue, et ce qu'elle exige.

Les corpus vivent à côté de ``fabrique/`` et voyagent avec lui. ``requirements.txt`` est la liste du
cours ; le paquet, sur un serveur ou dans Colab, se passe de ce qui ne sert qu'à ouvrir les carnets.
"""

from pathlib import Path

from setuptools import find_namespace_packages, setup

#: Ouvrir les carnets et les exécuter en tests.
POUR_LE_COURS = ("jupyter", "nbval")

lignes = Path("requirements.txt").read_text(encoding="utf-8").splitlines()

setup(
    packages=[*find_namespace_packages(include=["fabrique", "fabrique.*"]), "fabrique.data"],
    package_dir={"fabrique.data": "data"},
    install_requires=[
        ligne for ligne in lignes if ligne and not ligne.startswith(("#", *POUR_LE_COURS))
    ],
)
