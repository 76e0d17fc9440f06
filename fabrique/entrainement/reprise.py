"""Les points de reprise : écrits à côté, relus, renommés ; un point incomplet ne sert jamais."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import time
import zipfile
from collections.abc import Sequence
from pathlib import Path

import torch
from datasets import Dataset
from safetensors import safe_open
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from transformers.trainer_utils import sort_checkpoints

from fabrique.entrainement.reglages import Reglages
from fabrique.modeles.chargement import couches_quatre_bits
from fabrique.modeles.origine import empreinte_de_la_base
from fabrique.socle import emplacements
from fabrique.socle.emplacements import ecrire_json, meme_endroit, sur_drive
from fabrique.socle.erreurs import MACHINE, Divergence, ErreurFabrique

JOURNAL = logging.getLogger(__name__)

#: Les dossiers où un point s'écrit avant d'être mis en place, et où il finit : à nous par leur nom.
EN_COURS, A_JETER = ".fabrique-en-cours", ".fabrique-a-jeter"
#: La liste des fichiers d'un point, avec leur empreinte ; écrite en dernier, elle le signe.
COMPLET = "complet.json"
#: Ce qui identifie l'apprentissage d'un dossier, et le signe.
EMPREINTE = "empreinte.json"
#: Ce qu'un apprentissage achevé dépose à la racine de son dossier.
DEPOSES = ("*.safetensors", "*.json", "*.jinja", "README.md")
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
    if est_signe(point):  # un point abîmé du même numéro
        retirer(point)
    elif point.exists():  # il n'est pas à nous, ou Drive n'a pas fini de le montrer
        point.rename(point.with_name(f"ecarte-{point.name}"))
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
    empreintes = {f.relative_to(point).as_posix(): emplacements.empreinte(f) for f in fichiers}
    ecrire_json(point / COMPLET, empreintes)
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
    """Ne laisse que les ``garder`` derniers de nos points, celui du pas ``pas`` compris.

    Un point plus avancé que ``pas`` est un point abîmé, que la reprise avait écarté. Un point que
    nous n'avons pas signé reste là.
    """
    points = [point for point in map(Path, sort_checkpoints(str(sortie))) if est_signe(point)]
    valables = [point for point in points if _pas(point) <= pas]
    for point in points:
        if point not in valables[-garder:]:
            retirer(point)


def est_signe(point: Path) -> bool:
    """Vrai pour un point que nous avons écrit, entier ou abîmé."""
    return (point / COMPLET).is_file()


def retirer(point: Path) -> None:
    """Efface un point, d'abord mis hors de vue d'un seul geste : coupé, il ne passe pas pour un autre."""
    a_jeter = point.parent / A_JETER
    shutil.rmtree(a_jeter, ignore_errors=True)
    point.rename(a_jeter)
    shutil.rmtree(a_jeter, ignore_errors=True)


def ranger_la_fin(point: Path, garder: int) -> None:
    """Une fois le dernier point en place, retire ce qu'une mort, à cet instant, aurait laissé.

    Les points anciens, et les dossiers à moitié écrits ou à moitié effacés : à nous par leur nom.
    """
    sortie = point.parent
    retirer_les_anciens(sortie, _pas(point), garder)
    for reste in (EN_COURS, A_JETER):
        shutil.rmtree(sortie / reste, ignore_errors=True)


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
        JOURNAL.warning(
            f"{Path(point).name} est abîmé : il est ignoré, le point précédent servira."
        )
    return None


def est_complet(point: Path) -> bool:
    """Tous les fichiers certifiés sont là, à l'octet près."""
    try:
        attendus = json.loads((point / COMPLET).read_text(encoding="utf-8"))
        return all(emplacements.empreinte(point / nom) == lue for nom, lue in attendus.items())
    except (OSError, ValueError):
        return False


def _arrive_de_drive(point: Path) -> bool:
    """Attend un point que Drive n'a pas fini de montrer ; ailleurs, n'attend pas."""
    if not sur_drive(point):
        return False
    JOURNAL.warning(
        f"{point.name} n’est pas encore entier sur Drive : une minute d’attente au plus."
    )
    limite = time.monotonic() + ATTENTE_DE_DRIVE_S
    while time.monotonic() < limite:
        if est_complet(point):
            return True
        time.sleep(ATTENTE_DE_DRIVE_S / 12)
    return False


def deposer(point: Path, sortie: Path, motifs: Sequence[str]) -> None:
    """Copie et signe, à la racine d'un dossier, des fichiers d'un autre."""
    for fichier in sorted({f for motif in motifs for f in point.glob(motif)}):
        partiel = sortie / f"{fichier.name}.partiel"
        shutil.copyfile(fichier, partiel)
        emplacements.mettre_en_place(partiel, sortie / fichier.name)


def copier_les_poids(point: Path, sortie: Path) -> None:
    """Copie d'un point de reprise ce qui sert à répondre : poids appris et configuration."""
    deposer(point, sortie, ("*.safetensors", "*config.json", "*.index.json"))


def deposer_le_tokenizer(tokenizer: PreTrainedTokenizerBase, sortie: Path) -> None:
    """Enregistre un tokenizer à la racine d'un dossier, fichier par fichier, signé."""
    a_cote = sortie / EN_COURS
    tokenizer.save_pretrained(a_cote)
    deposer(a_cote, sortie, ("*",))
    shutil.rmtree(a_cote, ignore_errors=True)


# ---------------------------------------------------------------- un dossier, un apprentissage


#: Les colonnes d'exemples qui distinguent un apprentissage d'un autre.
SIGNEES = ("input_ids", "labels", "documents", "autre_input_ids", "autre_labels", "bon")


def empreinte(modele: PreTrainedModel, exemples: Dataset, reglages: Reglages) -> dict:
    """Ce qui fait que deux lancements sont le même apprentissage."""
    return {
        "modele": Path(modele.config._name_or_path).name,
        "poids_du_modele": empreinte_de_la_base(modele),
        "couches_4bits": len(couches_quatre_bits(modele)),
        "donnees": _empreinte_des_exemples(exemples),
        "reglages": json.loads(json.dumps(reglages.de_l_apprentissage())),
    }


def _empreinte_des_exemples(exemples: Dataset) -> str:
    """L'empreinte des jetons, lus un exemple à la fois : un domaine entier ne tient pas en un texte."""
    somme = hashlib.sha256()
    colonnes = [nom for nom in SIGNEES if nom in exemples.features]
    for nom in colonnes:
        somme.update(b"[[" if nom == colonnes[0] else b",[")
        for rang, jetons in enumerate(exemples[nom]):
            somme.update(
                (b"," if rang else b"") + json.dumps(jetons, separators=(",", ":")).encode()
            )
        somme.update(b"]")
    somme.update(b"]")
    return somme.hexdigest()[:16]


def verifier_a_nous(sortie: Path, modele: str | Path) -> None:
    """Refuse, avant tout calcul, d'apprendre là où il faudrait écraser ce qui n'est pas à nous.

    Un dossier neuf ou vide convient ; un dossier qui sert déjà doit porter notre empreinte, et
    rien d'étranger là où nous écrirons. Les fichiers cachés ne comptent pas.

    Args:
        sortie: le dossier de l'adaptateur, ou celui des points de reprise.
        modele: le modèle de départ, que l'on n'écrase jamais.

    Raises:
        ErreurFabrique: le dossier est celui du modèle ou d'un autre travail, ou contient un point
            de reprise ou un fichier que nous n'avons pas signé.
    """
    if modele and meme_endroit(sortie, modele):
        raise ErreurFabrique(
            "le dossier de sortie est celui du modèle : il serait écrasé", AUTRE_DOSSIER, sortie
        )
    if not sortie.exists():
        return
    if not sortie.is_dir():
        raise ErreurFabrique(
            "le dossier de sortie est un fichier", AUTRE_DOSSIER, sortie, code=MACHINE
        )
    presents = [
        f for f in sortie.iterdir() if not (f.name.startswith(".") or f.suffix == ".partiel")
    ]
    if not presents:
        return
    if empreinte_du_dossier(sortie) is None:
        raise ErreurFabrique(
            "le dossier n’est pas vide, et ce n’est pas un apprentissage de FabriqueLLM qui "
            f"l’occupe ({_citer(presents)})",
            AUTRE_DOSSIER,
            sortie,
        )
    points = [] if sur_drive(sortie) else map(Path, sort_checkpoints(str(sortie)))
    etrangers = [point for point in points if not est_signe(point)]
    if not _est_un_rapport(sortie / "rapport.json"):  # tout n'est pas fini : il faudra écrire
        etrangers += [
            f
            for motif in DEPOSES
            for f in sortie.glob(motif)
            if f.name not in (EMPREINTE, emplacements.SIGNATURES) and not emplacements.est_signe(f)
        ]
    if etrangers:
        raise ErreurFabrique(
            "le dossier contient ce que FabriqueLLM n’a pas écrit, ou qu’on a changé depuis "
            f"({_citer(etrangers)})",
            "Déplacez-le, ou donnez un autre dossier de sortie",
            sortie,
        )


AUTRE_DOSSIER = "Donnez un dossier neuf, où rien d’autre n’est rangé"


def _citer(chemins: list[Path]) -> str:
    noms = sorted({chemin.name for chemin in chemins})
    return ", ".join(noms[:3]) + ("…" if len(noms) > 3 else "")


def empreinte_du_dossier(sortie: Path) -> dict | None:
    """L'empreinte que nous y avons laissée ; None si ce n'est pas la nôtre."""
    lue = _lire(sortie / EMPREINTE)
    return lue if lue is not None and {"modele", "donnees", "reglages"} <= lue.keys() else None


def _est_un_rapport(fichier: Path) -> bool:
    """Vrai pour le compte rendu d'un apprentissage achevé."""
    return {"reglages", "historique"} <= (_lire(fichier) or {}).keys()


def _lire(fichier: Path) -> dict | None:
    try:
        lu = json.loads(fichier.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return lu if isinstance(lu, dict) else None


def _ce_qui_change(empreinte: dict, ancienne: dict) -> list[str]:
    """Ce qui diffère d'un lancement à l'autre, les réglages nommés un à un."""
    differents = [cle for cle in empreinte if empreinte[cle] != ancienne.get(cle)]
    if "reglages" in differents:
        anciens, nouveaux = ancienne["reglages"], empreinte["reglages"]
        changes = [nom for nom in {**anciens, **nouveaux} if anciens.get(nom) != nouveaux.get(nom)]
        differents[differents.index("reglages")] = f"reglages : {', '.join(changes)}"
    return differents


def verifier_dossier(sortie: Path, empreinte: dict) -> None:
    """Un dossier ne contient qu'un apprentissage : refuse d'en mêler deux.

    Raises:
        ErreurFabrique: le dossier en contient un autre, ou n'accepte pas d'écriture.
    """
    ancienne = empreinte_du_dossier(sortie)
    if ancienne is not None:
        differents = _ce_qui_change(empreinte, ancienne)
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
        ecrire_json(sortie / EMPREINTE, empreinte)
    except OSError as cause:
        raise ErreurFabrique(
            f"le dossier de sortie n’accepte pas d’écriture ({cause.strerror})",
            "Donnez un dossier où vous pouvez écrire",
            sortie,
            code=MACHINE,
        ) from cause
