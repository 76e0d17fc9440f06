"""Où sont les fichiers livrés, comment en écrire un d'un seul geste, et ce qu'on peut remplacer.

On ne retire et n'écrase que ce qu'on a signé : chaque fichier qu'une commande écrit là où la
personne l'a demandé est inscrit, avec son empreinte, dans le ``.fabrique.json`` de son dossier. Un
fichier retouché depuis n'a plus la même empreinte : il n'est plus à nous.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePath

from fabrique.socle.erreurs import ErreurFabrique

JOURNAL = logging.getLogger(__name__)

PAQUET = Path(__file__).resolve().parent.parent
#: Le Falcon de poche : poids safetensors, tokenizer, notice.
FALCON_POCHE = PAQUET / "falcon_poche"
#: Les corpus écrits par le projet, par leur nom.
CORPUS_LIVRES = (
    "demarches",
    "encyclopedie",
    "style_xvii",
    "fiches",
    "salle_secours",
    "questions",
    "sources",
)
#: Les préférences écrites par le projet : elles ne s'imitent pas, elles s'apprennent autrement.
VOTES_LIVRES = ("preferences",)


def dossier_data() -> Path:
    """Le dossier des corpus : ``fabrique/data`` dans la roue, ``data`` à côté du paquet dans le dépôt."""
    installe = PAQUET / "data"
    return installe if installe.is_dir() else PAQUET.parent / "data"


def programme(nom: str) -> str:
    """Comment taper un programme de cet environnement : son nom si le système le trouve, ou son chemin.

    Returns:
        « fabrique », « .venv/bin/fabrique » ou, sous Windows, « .venv\\Scripts\\fabrique ».
    """
    dossier = Path(sys.executable).parent
    trouve = shutil.which(nom)
    return (
        nom if trouve and Path(trouve).parent == dossier else _vu_d_ici(dossier / nom, Path.cwd())
    )


def _vu_d_ici(chemin: PurePath, ici: PurePath) -> str:
    return str(chemin.relative_to(ici) if chemin.is_relative_to(ici) else chemin)


#: Où Colab monte Google Drive, qui survit à la session.
DRIVE = Path("/content/drive/MyDrive")


def sur_drive(chemin: Path) -> bool:
    """Vrai si le chemin est dans le Drive monté par Colab."""
    return chemin.is_relative_to(DRIVE)


def dossier_durable(sortie: Path, dire: bool = True) -> Path:
    """Où mettre ce qui doit survivre à la session : sur Drive s'il est monté, sinon ``sortie``.

    Un chemin absolu est respecté : la personne a choisi. Drive reçoit les fichiers avec retard,
    parfois pas tous : ``complet.json`` dit, à la reprise, lesquels sont arrivés.

    Args:
        dire: prévient la personne quand Drive est choisi.

    Source : googlecolab/colabtools, ticket 287.
    """
    if sortie.is_absolute() or not DRIVE.is_dir():
        return sortie
    durable = DRIVE / "FabriqueLLM" / sortie
    if dire:
        JOURNAL.warning(
            f"Google Drive est monté : les points de reprise vont dans {durable}. Drive les reçoit "
            "avec retard : n’arrêtez pas l’exécution dans la minute qui suit une sauvegarde."
        )
    return durable


def accepte_l_ecriture(dossier: Path) -> bool:
    """Vrai si l'on peut écrire un fichier dans ce dossier ; l'essai ne laisse rien."""
    try:
        with tempfile.TemporaryFile(dir=dossier):
            return True
    except OSError:
        return False


#: Secondes laissées au hub pour répondre.
DELAI_DU_HUB = 5


def hub_joignable() -> bool:
    """Vrai si le hub répond en quelques secondes ; faux sans réseau, ou sous ``HF_HUB_OFFLINE``."""
    from huggingface_hub import constants, get_session

    try:
        return get_session().head(constants.ENDPOINT, timeout=DELAI_DU_HUB).status_code < 500
    except Exception:  # nom, connexion, mandataire, certificat : quelle qu'en soit la raison
        return False


@contextmanager
def hub_ou_cache() -> Iterator[None]:
    """Lit le hub s'il répond, et sinon le seul cache, comme sous ``HF_HUB_OFFLINE``.

    Sans cela, chaque fichier cherché se paie de longues relances, en anglais.
    """
    from huggingface_hub import constants

    avant = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = avant or not hub_joignable()
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = avant


def ecrire_json(chemin: Path, contenu: object) -> None:
    """Écrit du JSON d'un seul geste."""
    ecrire_texte(chemin, json.dumps(contenu, ensure_ascii=False, indent=2))


def ecrire_texte(chemin: Path, texte: str) -> None:
    """Écrit un texte à côté, puis le met en place : une coupure ne laisse jamais un fichier entamé."""
    _ecrire_a_cote(chemin, texte).replace(chemin)


def _ecrire_a_cote(chemin: Path, texte: str) -> Path:
    chemin.parent.mkdir(parents=True, exist_ok=True)
    partiel = chemin.with_name(f"{chemin.name}.partiel")
    partiel.write_text(texte, encoding="utf-8")
    return partiel


def ajouter_ligne(fichier: Path, objet: dict) -> None:
    """Ajoute un objet à un fichier JSONL, et attend que le disque l'ait.

    Une ligne entamée par une coupure reste seule sur la sienne : elle n'abîme pas la suivante.
    """
    fichier.parent.mkdir(parents=True, exist_ok=True)
    # Un demi-caractère Unicode s'écrit \ud800 : c'est aussi la façon de JSON.
    ligne = json.dumps(objet, ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n"
    with fichier.open("ab+") as journal:
        if journal.tell():
            journal.seek(-1, os.SEEK_END)
            ligne = ligne if journal.read() == b"\n" else b"\n" + ligne
        journal.write(ligne)
        journal.flush()
        os.fsync(journal.fileno())


# ---------------------------------------------------------------- ce qui est à nous

#: Ce que nous avons écrit dans un dossier : nom du fichier → ses deux dernières empreintes.
SIGNATURES = ".fabrique.json"


#: Où en est un apprentissage, dans son dossier ; son rapport, à la fin, le remplace.
AVANCEMENT = "avancement.json"


def ecrire_signe(chemin: Path, texte: str) -> None:
    """Écrit un texte d'un seul geste et le signe : nous pourrons le remplacer."""
    mettre_en_place(_ecrire_a_cote(chemin, texte), chemin)


def mettre_en_place(partiel: Path, chemin: Path) -> None:
    """Signe un fichier écrit à côté, puis lui donne son nom d'un seul geste.

    La signature précède le nom : coupés entre les deux, nous reconnaissons encore l'ancien fichier.
    """
    signatures = _signatures(chemin.parent)
    signatures[chemin.name] = [*signatures.get(chemin.name, [])[-1:], empreinte(partiel)]
    ecrire_json(chemin.parent / SIGNATURES, signatures)
    partiel.replace(chemin)


def est_signe(chemin: Path) -> bool:
    """Vrai si nous avons écrit ce fichier et que personne ne l'a changé depuis."""
    attendues = _signatures(chemin.parent).get(chemin.name, [])
    return bool(attendues) and chemin.is_file() and empreinte(chemin) in attendues


def _signatures(dossier: Path) -> dict[str, list[str]]:
    try:
        lues = json.loads((dossier / SIGNATURES).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return lues if isinstance(lues, dict) else {}


def empreinte(fichier: Path) -> str:
    """L'empreinte SHA-256 d'un fichier, en hexadécimal."""
    with fichier.open("rb") as flux:
        return hashlib.file_digest(flux, "sha256").hexdigest()


def verifier_sortie(sortie: str | Path, *entrees: str | Path, ecraser: bool | None = None) -> None:
    """Refuse, avant tout calcul, d'écrire par-dessus un fichier qui n'est pas à nous.

    Args:
        sortie: le fichier à écrire.
        entrees: ce que la commande lit, et qu'elle n'écrase jamais ; un nom de corpus livré ne
            gêne pas.
        ecraser: la valeur de ``--ecraser`` ; None si la commande n'a pas cette option.

    Raises:
        ErreurFabrique: ``sortie`` est un dossier, une entrée, ou un fichier que nous n'avons pas
            écrit, ou qu'on a changé depuis.
    """
    sortie = Path(sortie)
    if sortie.is_dir():
        raise ErreurFabrique(
            "la sortie est un dossier", "Donnez le nom d’un fichier à écrire", sortie
        )
    if any(meme_endroit(sortie, entree) for entree in entrees):
        raise ErreurFabrique(
            "la sortie est aussi l’entrée : elle serait perdue",
            "Donnez un autre nom à la sortie",
            sortie,
        )
    if not ecraser and sortie.exists() and not est_signe(sortie):
        raise ErreurFabrique(
            "ce fichier existe déjà, et FabriqueLLM ne l’a pas écrit ou on l’a changé depuis",
            "Donnez un autre nom" + (" ou ajoutez --ecraser" if ecraser is not None else ""),
            sortie,
        )


def meme_endroit(un: str | Path, autre: str | Path) -> bool:
    """Vrai si deux chemins mènent au même fichier ou au même dossier, liens compris."""
    return Path(un).resolve() == Path(autre).resolve() or (
        Path(un).exists() and Path(autre).exists() and Path(un).samefile(autre)
    )
