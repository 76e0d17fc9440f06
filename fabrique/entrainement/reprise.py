"""Les points de reprise : écrits à côté, relus, renommés ; un point incomplet ne sert jamais."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
import zipfile
from pathlib import Path

import torch
from datasets import Dataset
from safetensors import safe_open
from transformers import PreTrainedModel
from transformers.trainer_utils import sort_checkpoints

from fabrique.emplacements import ecrire_json, sur_drive
from fabrique.entrainement.reglages import Reglages
from fabrique.erreurs import MACHINE, Divergence, ErreurFabrique
from fabrique.modeles import couches_quatre_bits

#: Le dossier où un point s'écrit avant d'être mis en place.
EN_COURS = "en-cours"
#: La liste des fichiers d'un point, avec leur empreinte ; écrite en dernier.
COMPLET = "complet.json"
#: Drive rend visibles peu à peu les fichiers d'une session précédente : combien l'attendre.
ATTENTE_DE_DRIVE_S = 60


# ---------------------------------------------------------------- écrire


def mettre_en_place(ecrit: Path, point: Path) -> None:
    """Relit un point qu'on vient d'écrire, le certifie, puis lui donne son nom d'un seul geste.

    Raises:
        ErreurFabrique: les poids appris ne sont pas des nombres finis.
        OSError: un fichier écrit ne se relit pas.
    """
    certifier(ecrit)
    if point.exists():  # un point abîmé du même numéro
        shutil.rmtree(point)
    ecrit.rename(point)
    _vider_les_tampons(point.parent)


def certifier(point: Path) -> None:
    """Relit chaque fichier d'un point, puis y dépose leur liste et leurs empreintes."""
    for fichier in point.rglob("*.safetensors"):
        _verifier_les_poids(fichier)
    for fichier in (f for f in point.rglob("*.pt*") if zipfile.is_zipfile(f)):
        with zipfile.ZipFile(fichier) as archive:
            if archive.testzip() is not None:
                raise OSError(f"{fichier.name} ne se relit pas")
    json.loads((point / "trainer_state.json").read_text(encoding="utf-8"))
    fichiers = [f for f in sorted(point.rglob("*")) if f.is_file()]
    for fichier in fichiers:
        _vider_les_tampons(fichier)
    ecrire_json(point / COMPLET, {f.relative_to(point).as_posix(): _empreinte(f) for f in fichiers})
    _vider_les_tampons(point / COMPLET)


def _verifier_les_poids(fichier: Path) -> None:
    with safe_open(fichier, framework="pt") as poids:
        for nom in poids.keys():
            if not torch.isfinite(poids.get_tensor(nom)).all():
                raise Divergence(
                    "l’apprentissage a divergé : des poids appris ne sont plus des nombres",
                    "Divisez le taux d’apprentissage (learning_rate, --lr) par dix, dans un autre "
                    "dossier ; les points de reprise précédents sont gardés",
                    champ="learning_rate",
                )


def _empreinte(fichier: Path) -> str:
    with fichier.open("rb") as flux:
        return hashlib.file_digest(flux, "sha256").hexdigest()


def _vider_les_tampons(chemin: Path) -> None:
    """Demande au système d'écrire vraiment : une coupure de courant ne reprend rien."""
    if os.name == "nt":
        return
    descripteur = os.open(chemin, os.O_RDONLY)
    try:
        os.fsync(descripteur)
    finally:
        os.close(descripteur)


def retirer_les_anciens(sortie: Path, pas: int, garder: int) -> None:
    """Ne laisse que les ``garder`` derniers points, celui du pas ``pas`` compris.

    Un point plus avancé que ``pas`` est un point abîmé, que la reprise avait écarté.
    """
    points = [Path(point) for point in sort_checkpoints(str(sortie))]
    valables = [point for point in points if _pas(point) <= pas]
    for point in points:
        if point not in valables[-garder:]:
            shutil.rmtree(point, ignore_errors=True)


def _pas(point: Path) -> int:
    return int(point.name.rpartition("-")[2])


# ---------------------------------------------------------------- relire


def dernier_point_de_reprise(sortie: Path) -> str | None:
    """Le plus récent point de reprise complet ; un point abîmé est sauté, et c'est dit."""
    if not sortie.is_dir():
        return None
    for point in reversed(sort_checkpoints(str(sortie))):
        if est_complet(Path(point)) or _arrive_de_drive(Path(point)):
            return point
        print(f"{Path(point).name} est abîmé : il est ignoré, le point précédent servira.")
    return None


def est_complet(point: Path) -> bool:
    """Tous les fichiers certifiés sont là, à l'octet près."""
    try:
        attendus = json.loads((point / COMPLET).read_text(encoding="utf-8"))
        return all(_empreinte(point / nom) == empreinte for nom, empreinte in attendus.items())
    except (OSError, ValueError):
        return False


def _arrive_de_drive(point: Path) -> bool:
    """Attend un point que Drive n'a pas fini de montrer ; ailleurs, n'attend pas."""
    if not sur_drive(point):
        return False
    print(f"{point.name} n’est pas encore entier sur Drive : une minute d’attente au plus.")
    limite = time.monotonic() + ATTENTE_DE_DRIVE_S
    while time.monotonic() < limite:
        if est_complet(point):
            return True
        time.sleep(ATTENTE_DE_DRIVE_S / 12)
    return False


def copier_les_poids(point: Path, sortie: Path) -> None:
    """Copie d'un point de reprise ce qui sert à répondre : poids appris et configuration."""
    for motif in ("*.safetensors", "*config.json", "*.index.json"):
        for fichier in point.glob(motif):
            shutil.copyfile(fichier, sortie / fichier.name)


# ---------------------------------------------------------------- un dossier, un apprentissage


def empreinte(modele: PreTrainedModel, exemples: Dataset, reglages: Reglages) -> dict:
    """Ce qui fait que deux lancements sont le même apprentissage."""
    colonnes = [exemples[nom][:] for nom in ("input_ids", "labels")]
    contenu = json.dumps(colonnes, separators=(",", ":")).encode()
    return {
        "modele": Path(modele.config._name_or_path).name,
        "couches_4bits": len(couches_quatre_bits(modele)),
        "donnees": hashlib.sha256(contenu).hexdigest()[:16],
        "reglages": json.loads(json.dumps(reglages.de_l_apprentissage())),
    }


def verifier_dossier(sortie: Path, empreinte: dict) -> None:
    """Un dossier ne contient qu'un apprentissage : refuse d'en mêler deux.

    Raises:
        ErreurFabrique: le dossier en contient un autre, ou n'accepte pas d'écriture.
    """
    fichier = sortie / "empreinte.json"
    if fichier.exists():
        ancienne = json.loads(fichier.read_text(encoding="utf-8"))
        differents = [cle for cle in empreinte if empreinte[cle] != ancienne.get(cle)]
        if differents:
            raise ErreurFabrique(
                "le dossier contient déjà un autre apprentissage (ce qui change : "
                f"{', '.join(differents)})",
                "Donnez un autre dossier de sortie, ou supprimez celui-ci",
                sortie,
            )
        return
    try:
        sortie.mkdir(parents=True, exist_ok=True)
        ecrire_json(fichier, empreinte)
    except OSError as cause:
        raise ErreurFabrique(
            f"le dossier de sortie n’accepte pas d’écriture ({cause.strerror})",
            "Donnez un dossier où vous pouvez écrire",
            sortie,
            code=MACHINE,
        ) from cause
