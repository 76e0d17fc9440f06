"""Installe le cours depuis le kit, sans réseau : ``python installer.py [DOSSIER]``.

Ce fichier est recopié à la racine du kit. Il n'emploie que la bibliothèque standard. Relancé, il
remplace ce qu'il avait posé et que personne n'a changé ; un carnet modifié reste à qui l'a modifié.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import platform
import shutil
import subprocess
import sys
from pathlib import Path

KIT = Path(__file__).resolve().parent
#: Les premières versions que les bibliothèques figées acceptent.
MINIMALES = {"3.11": "3.11.0", "3.12": "3.12.0", "3.13": "3.13.0"}
SYSTEMES = {"Linux": "linux", "Windows": "windows", "Darwin": "macos"}
#: Ce qui a été posé dans le dossier du cours : chemin → empreinte du fichier posé.
POSES = ".kit.json"
PREMIER_CARNET = Path("notebooks", "00_demarrage.ipynb")


def liste_de_cette_machine() -> Path:
    """La liste des roues de ce système et de ce Python ; s'arrête si le kit ne l'a pas."""
    systeme = SYSTEMES.get(platform.system(), platform.system())
    python = ".".join(map(str, sys.version_info[:2]))
    minimale = MINIMALES.get(python, "")
    if minimale and sys.version_info[2] < int(minimale.split(".")[2]):
        trop_vieux = ".".join(map(str, sys.version_info[:3]))
        sys.exit(f"À corriger : Python {trop_vieux} est trop ancien. Installez {minimale} ou plus.")
    liste = KIT / "listes" / f"{systeme}-{python}.txt"
    if not liste.is_file():
        contenues = ", ".join(sorted(fichier.stem for fichier in liste.parent.glob("*.txt")))
        sys.exit(
            f"À corriger : ce kit n’a rien pour {systeme}-{python}. Il contient : {contenues}. "
            "Lancez installer.py avec l’un de ces Python, par exemple « py -3.11 installer.py » "
            "sous Windows ou « python3.11 installer.py » ailleurs."
        )
    return liste


def installer(cible: Path) -> None:
    """Copie le cours, crée son environnement, y installe les roues du kit et elles seules."""
    liste = liste_de_cette_machine()
    if (cible / ".venv").exists() and not (cible / PREMIER_CARNET).exists():
        sys.exit(
            f"À corriger : {cible} contient un environnement .venv qui n’est pas celui du cours. "
            "Donnez un autre dossier : « python installer.py DOSSIER »."
        )
    print(f"Installation dans {cible}, sans réseau. Comptez quelques minutes.", flush=True)
    for phrase in poser_le_cours(KIT / "cours", cible):
        print(phrase, flush=True)
    _lancer(sys.executable, "-m", "venv", "--clear", cible / ".venv")
    programmes = cible / ".venv" / ("Scripts" if platform.system() == "Windows" else "bin")
    # --isolated : ni variable ni fichier de configuration de pip ; le kit se suffit.
    options = ["--isolated", "--quiet", "--disable-pip-version-check", "--no-index"]
    roues = ["--find-links", KIT / "roues", "-r", liste, *(KIT / "roues").glob("fabrique-*.whl")]
    _lancer(programmes / "python", "-m", "pip", "install", *options, *roues)
    _lancer(programmes / "fabrique", "atelier", "verifier", "--hors_ligne", dans=cible)
    # Les guillemets valent dans tous les interprètes ; ensuite, un chemin relatif n'en demande plus.
    print(f'\nPour ouvrir le cours\u00a0:\n  cd "{cible}"')
    print(f"  {programmes.relative_to(cible) / 'jupyter'} lab {PREMIER_CARNET}")


def poser_le_cours(source: Path, cible: Path) -> list[str]:
    """Copie le cours sans rien perdre de ce que l'apprenant a changé.

    Un fichier changé reste en place ; s'il y en a une nouvelle version, elle est posée à côté.

    Returns:
        Une phrase par fichier gardé.
    """
    poses, phrases = _lire_les_poses(cible), []
    neufs = sorted(f for f in source.rglob("*") if f.is_file() and f.name != POSES)
    _retirer_les_anciens(cible, poses, [f.relative_to(source).as_posix() for f in neufs])
    for neuf in neufs:
        chemin, empreinte = neuf.relative_to(source), _empreinte(neuf)
        place = _place(cible, chemin, empreinte, poses)
        if place is None:
            phrases.append(f"Gardé tel que vous l’avez modifié\u00a0: {chemin}.")
            continue
        if place != chemin:
            phrases.append(
                f"Gardé tel que vous l’avez modifié\u00a0: {chemin}. La nouvelle version est à "
                f"côté\u00a0: {place.name}."
            )
        (cible / place).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(str(neuf), str(cible / place))
        poses[place.as_posix()] = empreinte
    partiel = cible / (POSES + ".partiel")
    partiel.write_text(json.dumps(poses, indent=1), encoding="utf-8")
    partiel.replace(cible / POSES)
    return phrases


def _retirer_les_anciens(cible: Path, poses: dict[str, str], neufs: list[str]) -> None:
    """Ôte ce que le kit avait posé, que personne n'a changé, et que le cours n'a plus."""
    for nom in [nom for nom in poses if nom not in neufs]:
        fichier = cible / nom
        if fichier.is_file() and _empreinte(fichier) == poses[nom]:
            fichier.unlink()
            del poses[nom]


def _place(cible: Path, chemin: Path, empreinte: str, poses: dict[str, str]) -> Path | None:
    """Où poser un fichier sans écraser celui d'un autre ; None quand il n'y a rien à poser."""
    if _est_a_nous(cible, chemin, empreinte, poses):
        return chemin
    if poses.get(chemin.as_posix()) == empreinte:  # l'apprenant est parti de cette version-ci
        return None
    for rang in itertools.count(1):
        voisin = chemin.with_name(
            f"{chemin.stem}.nouveau{'' if rang == 1 else rang}{chemin.suffix}"
        )
        if _est_a_nous(cible, voisin, empreinte, poses):
            return voisin
    return None


def _est_a_nous(cible: Path, chemin: Path, neuve: str, poses: dict[str, str]) -> bool:
    """Vrai si rien n'y est, ou si ce qui y est a été posé par le kit et n'a pas changé depuis."""
    if not (cible / chemin).exists():
        return True
    return _empreinte(cible / chemin) in (neuve, poses.get(chemin.as_posix()))


def _lire_les_poses(cible: Path) -> dict[str, str]:
    try:
        return dict(json.loads((cible / POSES).read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return {}


def _empreinte(fichier: Path) -> str:
    return hashlib.sha256(fichier.read_bytes()).hexdigest()


def _lancer(*commande: object, dans: Path | None = None) -> None:
    """Lance une commande ; son échec arrête l'installation, son message déjà imprimé."""
    fini = subprocess.run([str(mot) for mot in commande], cwd=dans, check=False)
    if fini.returncode:
        sys.exit(f"À corriger : « {Path(str(commande[0])).name} » a échoué (message ci-dessus).")


if __name__ == "__main__":
    for flux in (sys.stdout, sys.stderr):
        flux.reconfigure(errors="replace")  # type: ignore[union-attr]  # de vrais flux, au lancement
    installer(Path(sys.argv[1]).resolve() if len(sys.argv) > 1 else Path.home() / "FabriqueLLM")
