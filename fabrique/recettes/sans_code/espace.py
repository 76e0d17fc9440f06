"""Le dossier de la page : où chaque chose se range, et ce qu'on y retrouve."""

from __future__ import annotations

import json
import re
import shutil
import threading
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fabrique.corpus.fichiers import LECTEURS as LUS_COMME_CORPUS
from fabrique.service.taches import lire_json
from fabrique.socle.emplacements import CORPUS_LIVRES, ajouter_ligne, ecrire_json
from fabrique.socle.erreurs import ErreurFabrique

#: Les corpus livrés dont on peut affiner un modèle.
A_APPRENDRE = tuple(nom for nom in CORPUS_LIVRES if nom not in ("fiches", "encyclopedie"))


@dataclass(frozen=True)
class Espace:
    """Le dossier choisi au lancement. La page n'écrit nulle part ailleurs.

    Args:
        racine: le dossier, absolu.
    """

    racine: Path
    _verrou: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)

    @property
    def documents(self) -> Path:
        """Les documents déposés, tels quels."""
        return self.racine / "documents"

    @property
    def fiches(self) -> Path:
        """Les fiches qu'on en a tirées."""
        return self.racine / "fiches" / "fiches.jsonl"

    @property
    def compte_rendu(self) -> Path:
        """La page qui dit comment chaque document s'est lu."""
        return self.racine / "fiches" / "compte_rendu.html"

    @property
    def fiches_relues(self) -> Path:
        """Les mêmes, corrections comprises : ce que l'index cite."""
        return self.racine / "fiches" / "fiches_relues.jsonl"

    @property
    def index(self) -> Path:
        """L'index de ces fiches."""
        return self.racine / "index"

    @property
    def taches(self) -> Path:
        """Un sous-dossier par tâche."""
        return self.racine / "taches"

    @property
    def votes(self) -> Path:
        """Les préférences de la lecture à l'aveugle."""
        return self.racine / "votes.jsonl"

    def dossier(self, nom: str) -> Path:
        """Un sous-dossier de l'espace, qui existe."""
        chemin = self.racine / nom
        chemin.mkdir(parents=True, exist_ok=True)
        return chemin

    # ------------------------------------------------------------ déposer

    def deposer(self, fichiers: Iterable[str], ou: str) -> list[Path]:
        """Copie des fichiers reçus, entiers ou pas du tout ; un nom pris reçoit un numéro."""
        copies = []
        for fichier in map(Path, fichiers):
            libre = self.libre(ou, nettoyer(fichier.stem), fichier.suffix.lower())
            partiel = libre.with_name(f".{libre.name}.partiel")
            try:
                shutil.copyfile(fichier, partiel)
                partiel.replace(libre)
            finally:
                partiel.unlink(missing_ok=True)
            copies.append(libre)
        return copies

    def libre(self, ou: str, nom: str, suffixe: str = "") -> Path:
        """Un chemin de l'espace que rien n'occupe : « nom », sinon « nom-2 », « nom-3 »…"""
        dossier, rang, libre = self.dossier(ou), 1, f"{nom}{suffixe}"
        while (dossier / libre).exists():
            rang += 1
            libre = f"{nom}-{rang}{suffixe}"
        return dossier / libre

    # ------------------------------------------------------------ retrouver

    def a_lire(self) -> list[Path]:
        """Les documents déposés."""
        return sorted(f for f in self.dossier("documents").iterdir() if not f.name.startswith("."))

    def corpus(self) -> dict[str, str]:
        """Les corpus qu'on peut choisir : ce qu'on montre, et ce qu'on donne à une commande."""
        siens = [
            f for f in sorted(self.dossier("exemples").iterdir()) if f.suffix in LUS_COMME_CORPUS
        ]
        livres = {f"{nom} (livré avec le cours)": nom for nom in A_APPRENDRE}
        return {f.name: str(f) for f in siens} | livres

    def adaptateurs(self) -> dict[str, str]:
        """Les modèles affinés jusqu'au bout, du plus récent au plus ancien."""
        finis = [f.parent for f in self.dossier("modeles").glob("*/rapport.json")]
        finis.sort(key=lambda dossier: -(dossier / "rapport.json").stat().st_mtime)
        return {dossier.name: str(dossier) for dossier in finis}

    # ------------------------------------------------------------ retenir

    def choix(self) -> dict[str, Any]:
        """Ce qui a été choisi dans la page, par nom."""
        return lire_json(self.racine / "choix.json")

    def retenir(self, nom: str, valeur: object) -> None:
        """Garde un choix d'un navigateur à l'autre, et d'un jour à l'autre."""
        with self._verrou:
            ecrire_json(self.racine / "choix.json", self.choix() | {nom: valeur})

    def noter(self, journal: str, objet: dict) -> None:
        """Ajoute un objet à un journal de l'espace (une question et sa réponse, par exemple)."""
        with self._verrou:
            ajouter_ligne(self.racine / f"{journal}.jsonl", objet)

    def relire(self, journal: str) -> list[dict]:
        """Les objets d'un journal, du plus ancien au plus récent ; une ligne abîmée est laissée."""
        fichier = self.racine / f"{journal}.jsonl"
        lignes = fichier.read_text("utf-8").splitlines() if fichier.is_file() else []
        return [objet for ligne in lignes if (objet := _objet(ligne))]


def _objet(ligne: str) -> dict:
    try:
        return json.loads(ligne)
    except ValueError:
        return {}


def nettoyer(nom: str) -> str:
    """Un nom de fichier sûr partout : lettres, chiffres, espaces, tirets et points."""
    propre = re.sub(r"[^\w .-]+", "-", nom).strip(" .-_")
    return propre[:80] or "sans-nom"


def choisi(options: dict[str, str], montre: str | None, quoi: str) -> str:
    """Ce qu'on donne à une commande pour ce que la liste montre.

    Raises:
        ErreurFabrique: rien n'est choisi, ou ce qui l'était n'est plus là.
    """
    if montre not in options:
        raise ErreurFabrique(f"aucun {quoi} n’est choisi", "Choisissez-en un dans la liste")
    return options[montre]
