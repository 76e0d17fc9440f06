"""Reconnaître un fichier à ce qu'il contient, refuser d'une phrase ce qui ne se lit pas, lire le reste."""

from __future__ import annotations

import logging
import re
import zipfile
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

from fabrique.corpus.documents.blocs import Document, ReglagesLecture
from fabrique.socle.erreurs import MACHINE, ErreurFabrique
from fabrique.socle.nombres import MO, en_go, en_mo

#: Ce qu'un fichier de texte ou une page peut peser, et ce qu'un fichier compressé peut devenir.
TEXTE_MAX, GONFLE_MAX, FOIS_MAX = 200 * MO, 1000 * MO, 200
#: Sous cette taille décompressée, un grand rapport n'inquiète pas (un texte répété se compresse bien).
GONFLE_SANS_RISQUE = 50 * MO
IMAGES = (".png", ".jpg", ".jpeg", ".tif", ".tiff")
#: Les formats voisins, et ce qu'il faut en faire.
VOISINS = {
    ".doc": "Enregistrez-le en .docx ou en .odt",
    ".rtf": "Enregistrez-le en .docx ou en .odt",
    ".pages": "Exportez-le en .docx",
    ".ppt": "Exportez-le en PDF",
    ".pptx": "Exportez-le en PDF",
    ".odp": "Exportez-le en PDF",
}
_OLE, _ZIP, _PDF, _RTF = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", b"PK\x03\x04", b"%PDF-", b"{\\rtf"
_CHIFFRE = "EncryptedPackage".encode("utf-16-le")

Lecteur = Callable[[Path, ReglagesLecture], Document]


def lire_document(chemin: str | Path, reglages: ReglagesLecture | None = None) -> Document:
    """Lit un document.

    Args:
        chemin: un fichier ``.pdf``, ``.docx``, ``.odt``, ``.html``, ``.txt``, ``.md`` ou une image.
        reglages: comment le lire ; par défaut, ceux de la commande.

    Raises:
        ErreurFabrique: une phrase qui dit pourquoi rien n'a pu être lu.
    """
    chemin, reglages = Path(chemin), reglages or ReglagesLecture()
    lire = _lecteur(chemin)
    _se_taire()
    try:
        document = lire(chemin, reglages)
    except ErreurFabrique:
        raise
    except ModuleNotFoundError as cause:
        raise a_installer(cause.name) from cause
    except (MemoryError, RecursionError) as cause:
        raise ErreurFabrique(
            "ce fichier demande plus de mémoire qu’un document n’en a besoin",
            "Il est sans doute abîmé ou piégé ; sinon, découpez-le, ou augmentez --memoire",
            chemin,
        ) from cause
    except Exception as cause:  # chaque bibliothèque a les siennes devant un fichier abîmé
        raise _abime(chemin) from cause
    if not document.blocs:
        pourquoi = f" : {document.alertes[0]}" if document.alertes else ""
        raise ErreurFabrique(
            f"aucun texte à lire{pourquoi}", "Vérifiez que c’est le bon fichier", chemin
        )
    return document


def a_installer(bibliotheque: str | None) -> ErreurFabrique:
    """Ce qu'on dit d'une bibliothèque absente."""
    return ErreurFabrique(
        f"la bibliothèque {bibliotheque} n’est pas installée",
        "Installez ce qui lit les documents : pip install 'fabrique[documents]'",
        code=MACHINE,
    )


def format_non_lu(chemin: Path) -> str:
    """Pourquoi un fichier de ce nom n'est pas un document."""
    suffixe = chemin.suffix.lower()
    return f"le format « {suffixe} » n’est pas lu" if suffixe else "son nom n’a pas d’extension"


def _abime(chemin: Path) -> ErreurFabrique:
    return ErreurFabrique(
        "le fichier est abîmé ou incomplet : il ne se lit pas",
        "Reprenez-le à sa source, ou réenregistrez-le depuis son logiciel d’origine",
        chemin,
    )


def _se_taire() -> None:
    """Les bibliothèques avertissent en anglais de chaque défaut d'un fichier ; nous le disons."""
    for nom in ("pdfminer", "pypdf", "pdfplumber", "PIL"):
        logging.getLogger(nom).setLevel(logging.CRITICAL)


# ---------------------------------------------------------------- le bon lecteur


def _lecteur(chemin: Path) -> Lecteur:
    """Le lecteur d'un fichier, ses premiers octets vérifiés."""
    if not chemin.is_file():
        quoi = "c’est un dossier" if chemin.is_dir() else "fichier introuvable"
        raise ErreurFabrique(quoi, "Donnez un fichier", chemin)
    suffixe, taille = chemin.suffix.lower(), chemin.stat().st_size
    if suffixe not in LECTEURS:
        raise ErreurFabrique(
            format_non_lu(chemin),
            VOISINS.get(suffixe, "Donnez un PDF, un DOCX, un ODT, une page HTML ou un texte"),
            chemin,
        )
    if not taille:
        raise ErreurFabrique("le fichier est vide", "Reprenez-le à sa source", chemin)
    with chemin.open("rb") as flux:
        debut = flux.read(4096)
    verifier, lecteur = LECTEURS[suffixe]
    verifier(chemin, debut)
    return lecteur


def _verifier_pdf(chemin: Path, debut: bytes) -> None:
    if _PDF not in debut[:1024]:
        raise _autre(chemin, "PDF")


def _verifier_zip(membre: str, nom: str) -> Callable[[Path, bytes], None]:
    """La vérification d'un DOCX ou d'un ODT : une archive, son membre principal, pas trop gonflée."""

    def verifier(chemin: Path, debut: bytes) -> None:
        if debut.startswith(_OLE):
            raise _ole(chemin)
        if not debut.startswith(_ZIP):
            raise _autre(chemin, nom)
        try:
            with zipfile.ZipFile(chemin) as archive:
                infos = {info.filename: info for info in archive.infolist()}
                manifeste = b""
                _verifier_le_gonflement(chemin, list(infos.values()))
                if "META-INF/manifest.xml" in infos:
                    manifeste = archive.read("META-INF/manifest.xml")
        except (zipfile.BadZipFile, OSError, EOFError, NotImplementedError, RuntimeError) as cause:
            raise _abime(chemin) from cause
        if b"encryption-data" in manifeste or any(i.flag_bits & 1 for i in infos.values()):
            raise _protege(chemin)
        if membre not in infos:
            raise _autre(chemin, nom)

    return verifier


def _verifier_le_gonflement(chemin: Path, infos: list[zipfile.ZipInfo]) -> None:
    """Refuse une archive qui, décompressée, deviendrait démesurée."""
    gonfle = sum(info.file_size for info in infos)
    fois = gonfle / max(1, chemin.stat().st_size)
    if gonfle > GONFLE_MAX or (fois > FOIS_MAX and gonfle > GONFLE_SANS_RISQUE):
        raise ErreurFabrique(
            f"ce fichier de {en_mo(chemin.stat().st_size)} se gonflerait à {en_go(gonfle)} : "
            "c’est une archive piégée, ou démesurée",
            "Ne l’ouvrez pas sans savoir d’où il vient",
            chemin,
        )


def _verifier_texte(chemin: Path, debut: bytes) -> None:
    taille = chemin.stat().st_size
    if taille > TEXTE_MAX:
        raise ErreurFabrique(
            f"{en_mo(taille)} de texte, c’est trop pour un document", "Découpez-le", chemin
        )
    if debut.startswith((_PDF, _ZIP, _OLE, _RTF)):
        raise _autre(chemin, "fichier de texte")
    if not debut.strip() and taille <= len(debut):
        raise ErreurFabrique("le fichier est vide", "Reprenez-le à sa source", chemin)


def _verifier_image(chemin: Path, debut: bytes) -> None:
    if not debut.startswith((b"\x89PNG", b"\xff\xd8\xff", b"II*\0", b"MM\0*")):
        raise _autre(chemin, "fichier d’image")


def _autre(chemin: Path, nom: str) -> ErreurFabrique:
    return ErreurFabrique(
        f"ce n’est pas un {nom}, malgré son nom",
        "Vérifiez que c’est le bon fichier, ou reprenez-le à sa source",
        chemin,
    )


def _protege(chemin: Path) -> ErreurFabrique:
    return ErreurFabrique(
        "ce document est protégé par un mot de passe",
        "Ouvrez-le et enregistrez-en une copie sans mot de passe",
        chemin,
    )


def _ole(chemin: Path) -> ErreurFabrique:
    """Un ancien format de Microsoft : un document chiffré, ou un .doc renommé."""
    with chemin.open("rb") as flux:
        chiffre = _CHIFFRE in flux.read(20 * MO)
    if chiffre:
        return _protege(chemin)
    return ErreurFabrique(
        "c’est un ancien document Word (.doc), malgré son nom", VOISINS[".doc"], chemin
    )


# ---------------------------------------------------------------- chaque bibliothèque, à la demande


def _a_la_demande(module: str, fonction: str) -> Lecteur:
    """Le lecteur de ce nom, sa bibliothèque chargée au premier fichier de son format."""

    def lire(chemin: Path, reglages: ReglagesLecture) -> Document:
        trouve = getattr(import_module(f"fabrique.corpus.documents.{module}"), fonction)
        return trouve(chemin, reglages)

    return lire


_PAGE_HTML = (_verifier_texte, _a_la_demande("pages_html", "lire_html"))
_MARKDOWN = (_verifier_texte, _a_la_demande("texte_brut", "lire_md"))
_IMAGE = (_verifier_image, _a_la_demande("lecture_pdf", "lire_images"))
LECTEURS: dict[str, tuple[Callable[[Path, bytes], None], Lecteur]] = {
    ".pdf": (_verifier_pdf, _a_la_demande("lecture_pdf", "lire_pdf")),
    ".docx": (
        _verifier_zip("word/document.xml", "DOCX"),
        _a_la_demande("bureautique", "lire_docx"),
    ),
    ".odt": (_verifier_zip("content.xml", "ODT"), _a_la_demande("bureautique", "lire_odt")),
    **dict.fromkeys((".html", ".htm", ".xhtml"), _PAGE_HTML),
    ".txt": (_verifier_texte, _a_la_demande("texte_brut", "lire_txt")),
    **dict.fromkeys((".md", ".markdown"), _MARKDOWN),
    **dict.fromkeys(IMAGES, _IMAGE),
}
#: Les fichiers que les logiciels laissent à côté des documents, et que personne n'a écrits.
A_COTE = re.compile(r"^(?:\.|~\$|Thumbs\.db$|desktop\.ini$)", re.IGNORECASE)
