"""Du fichier aux lignes : lire au fil de l'eau, en mémoire bornée, sans rien croire sur parole.

Chaque lecteur rend des ``Ligne`` : un objet et le numéro de la ligne où il commence, ou
l'erreur qui l'empêche de se lire. Ce qui empêche tout le fichier de se lire est levé.
"""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import json
import re
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow
import pyarrow.parquet

from fabrique.erreurs import ErreurFabrique

FORMATS = (".json", ".jsonl", ".csv", ".tsv", ".xlsx", ".parquet")

MEGA = 1 << 20
#: Un exemple d'instruction tient en quelques Ko ; au-delà de 32 Mo, ce n'en est pas un.
OBJET_MAX = 32 * MEGA
#: Ce que le fichier décompressé peut peser, et combien de fois plus que l'archive.
TOTAL_MAX, GONFLEMENT_MAX = 4096 * MEGA, 200
#: Au-delà, un corpus se traite par morceaux (les grands corpus publics ont 0,1 à 1 million d'exemples).
EXEMPLES_MAX = 2_000_000
#: Si aucun des premiers exemples n'est lisible, le fichier n'est pas ce que dit son nom.
ESSAIS = 50
_BLANCS = re.compile(r"[ \t\r\n]*")


@dataclass(frozen=True)
class Ligne:
    """Un exemple du fichier : son contenu, ou ce qui empêche de le lire.

    Args:
        numero: ligne du fichier où l'exemple commence, comptée depuis 1.
        contenu: l'objet lu (un dictionnaire, s'il est bien formé).
        erreur: la phrase à montrer quand l'exemple est illisible.
    """

    numero: int
    contenu: object = None
    erreur: ErreurFabrique | None = None


def lire_lignes(chemin: Path) -> Iterator[Ligne]:
    """Lit un fichier exemple par exemple.

    Args:
        chemin: fichier ``.json``, ``.jsonl``, ``.csv``, ``.tsv`` (et leurs ``.gz``),
            ``.xlsx`` ou ``.parquet``.

    Yields:
        Une ``Ligne`` par exemple, dans l'ordre du fichier.

    Raises:
        ErreurFabrique: fichier absent, vide, d'un autre format, trop gros, archive
            incomplète ou qui se gonfle démesurément.
    """
    if not chemin.is_file():
        raise ErreurFabrique(
            "ce n’est pas un fichier mais un dossier" if chemin.is_dir() else "fichier introuvable",
            "Vérifiez le chemin",
            chemin,
        )
    suffixe = Path(chemin.name.removesuffix(".gz")).suffix.lower()
    if suffixe not in LECTEURS:
        raise ErreurFabrique(
            f"le format « {suffixe or 'sans extension'} » n’est pas lu",
            f"Enregistrez le corpus dans l’un de ces formats : {', '.join(FORMATS)}",
            chemin,
        )
    lus = bons = 0
    for ligne in LECTEURS[suffixe](chemin):
        lus, bons = lus + 1, bons + (ligne.erreur is None)
        if lus == ESSAIS and not bons:
            raise ErreurFabrique(
                f"aucun des {ESSAIS} premiers exemples ne se lit : ce n’est pas du {suffixe}",
                "Vérifiez que c’est le bon fichier",
                chemin,
            )
        if lus > EXEMPLES_MAX:
            raise ErreurFabrique(
                f"plus de {EXEMPLES_MAX} exemples", "Découpez le corpus en plusieurs fichiers", chemin
            )
        yield ligne


# ---------------------------------------------------------------- les octets, sous surveillance


class _Surveille(io.RawIOBase):
    """Un flux d'octets qui s'arrête si l'archive se gonfle ou si le fichier est démesuré."""

    def __init__(self, chemin: Path) -> None:
        self.chemin = chemin
        ouvrir = gzip.open if chemin.suffix == ".gz" else open
        self.flux = ouvrir(chemin, "rb")
        gonfle = GONFLEMENT_MAX * chemin.stat().st_size + 64 * MEGA
        self.permis = min(TOTAL_MAX, gonfle)
        self.lus = 0

    def readable(self) -> bool:
        return True

    def readinto(self, tampon) -> int:
        try:
            octets = self.flux.read(len(tampon))
        except (EOFError, OSError, zlib.error) as cause:
            raise ErreurFabrique(
                "le fichier ne se lit pas ou l’archive est incomplète",
                "Copiez-le ou téléchargez-le de nouveau",
                self.chemin,
            ) from cause
        self.lus += len(octets)
        if self.lus > self.permis:
            raise ErreurFabrique(
                f"le contenu dépasse {self.permis // MEGA} Mo : archive démesurée ou fichier trop gros",
                "Découpez le corpus en plusieurs fichiers",
                self.chemin,
            )
        tampon[: len(octets)] = octets
        return len(octets)

    def close(self) -> None:
        self.flux.close()
        super().close()


def _ouvrir(chemin: Path) -> io.BufferedReader:
    """Le flux d'octets d'un fichier de texte, placé à son début ; refuse le vide et le binaire."""
    flux = io.BufferedReader(_Surveille(chemin), MEGA)
    debut = flux.peek(MEGA)
    if b"\0" in debut[:4096]:
        raise ErreurFabrique(
            "ce n’est pas un fichier de texte", "Vérifiez que c’est le bon fichier", chemin
        )
    if not debut.strip() and len(debut) < MEGA:
        raise ErreurFabrique("le fichier est vide", "Donnez un corpus d’au moins un exemple", chemin)
    return flux


def _mal_code(chemin: Path, numero: int) -> ErreurFabrique:
    return ErreurFabrique(
        "le texte n’est pas en UTF-8 (sans doute Latin-1 ou Windows-1252)",
        "Réenregistrez-le en UTF-8",
        chemin,
        ligne=numero,
    )


def _trop_long(chemin: Path, numero: int) -> ErreurFabrique:
    return ErreurFabrique(
        f"un exemple dépasse {OBJET_MAX // MEGA} Mo",
        "Vérifiez que chaque exemple est un objet court, et qu’aucun retour à la ligne n’a disparu",
        chemin,
        ligne=numero,
    )


# ---------------------------------------------------------------- JSON et JSON Lines


def _lire_jsonl(chemin: Path) -> Iterator[Ligne]:
    with _ouvrir(chemin) as flux:
        numero = 0
        while octets := flux.readline(OBJET_MAX + 1):
            numero += 1
            if len(octets) > OBJET_MAX:
                raise _trop_long(chemin, numero)
            if octets.strip() not in (b"", codecs.BOM_UTF8):
                yield _objet(octets, chemin, numero)


def _objet(octets: bytes, chemin: Path, numero: int) -> Ligne:
    try:
        return Ligne(numero, json.loads(octets.decode("utf-8-sig")))
    except UnicodeDecodeError:
        return Ligne(numero, erreur=_mal_code(chemin, numero))
    except (ValueError, RecursionError) as cause:  # mal formé, ou un nombre de 5 000 chiffres
        return Ligne(numero, erreur=_json_coupe(chemin, numero, getattr(cause, "colno", 0)))


def _json_coupe(chemin: Path, numero: int, colonne: int = 0) -> ErreurFabrique:
    precision = f" (caractère {colonne})" if colonne else ""
    return ErreurFabrique(
        f"JSON incomplet ou mal formé{precision}",
        "Réparez cette ligne : le fichier a peut-être été coupé pendant sa copie",
        chemin,
        ligne=numero,
    )


def _lire_json(chemin: Path) -> Iterator[Ligne]:
    """Un tableau d'objets, lu objet par objet ; ou, sans crochets, des objets qui se suivent."""
    with _ouvrir(chemin) as flux:
        texte = _Fenetre(flux, chemin)
        tableau = texte.sauter() == "["
        if tableau:
            texte.avancer(1)
        while (signe := texte.sauter()) != ("]" if tableau else ""):
            if not signe:
                raise _json_coupe(chemin, texte.ligne)
            numero = texte.ligne
            yield Ligne(numero, texte.valeur())
            suite = texte.sauter()
            if tableau and suite == ",":
                texte.avancer(1)
            elif tableau and suite != "]":
                raise _json_coupe(chemin, texte.ligne)
        texte.avancer(1)
        if texte.sauter():  # deux tableaux mis bout à bout, par exemple
            raise _json_coupe(chemin, texte.ligne)


class _Fenetre:
    """Une fenêtre qui glisse sur un texte JSON : jamais plus d'un objet en mémoire."""

    def __init__(self, flux: io.BufferedReader, chemin: Path) -> None:
        self.flux, self.chemin, self.ligne = flux, chemin, 1
        self.texte, self.position, self.fini = "", 0, False
        self.decodeur = codecs.getincrementaldecoder("utf-8-sig")()
        self.lecteur = json.JSONDecoder()

    def charger(self) -> None:
        """Oublie ce qui est lu et lit la suite, en doublant ce qui reste."""
        reste = self.texte[self.position :]
        if len(reste) > OBJET_MAX:
            raise _trop_long(self.chemin, self.ligne)
        octets = self.flux.read(max(MEGA, len(reste)))
        self.fini = not octets
        try:
            ajout = self.decodeur.decode(octets, self.fini)
        except UnicodeDecodeError as cause:
            avant = reste.count("\n") + cause.object.count(b"\n", 0, cause.start)
            raise _mal_code(self.chemin, self.ligne + avant) from None
        self.texte, self.position = reste + ajout, 0

    def avancer(self, pas: int) -> None:
        """Passe ``pas`` caractères en comptant les lignes."""
        fin = self.position + pas
        self.ligne += self.texte.count("\n", self.position, fin)
        self.position = fin

    def sauter(self) -> str:
        """Passe les blancs ; rend le caractère suivant, ou rien à la fin."""
        while True:
            self.avancer(_BLANCS.match(self.texte, self.position).end() - self.position)
            if self.position < len(self.texte):
                return self.texte[self.position]
            if self.fini:
                return ""
            self.charger()

    def perdu(self, cause: json.JSONDecodeError) -> bool:
        """Vrai si lire la suite ne réparerait rien : la faute est loin du bord de la fenêtre."""
        return cause.pos < len(self.texte) - 16 and not cause.msg.startswith("Unterminated")

    def valeur(self) -> object:
        """La valeur JSON suivante."""
        while True:
            try:
                objet, fin = self.lecteur.raw_decode(self.texte, self.position)
            except json.JSONDecodeError as cause:
                if self.fini or self.perdu(cause):
                    sautees = self.texte.count("\n", self.position, cause.pos)
                    raise _json_coupe(self.chemin, self.ligne + sautees, cause.colno) from None
            except (ValueError, RecursionError):  # un nombre de 5 000 chiffres, mille crochets
                raise _json_coupe(self.chemin, self.ligne) from None
            else:
                # Un nombre qui touche le bord de la fenêtre peut continuer : « 1e+ », puis « 5 ».
                if fin + 2 < len(self.texte) or self.fini:
                    self.avancer(fin - self.position)
                    return objet
            self.charger()


# ---------------------------------------------------------------- tableaux


def _lire_tableau(chemin: Path) -> Iterator[Ligne]:
    """CSV ou TSV. Excel en français écrit en Windows-1252 avec « ; » : accepté et signalé."""
    codage = _codage(chemin)
    if codage != "utf-8-sig":
        print(f"{chemin} : lu en Windows-1252 (Excel), et non en UTF-8.")
    csv.field_size_limit(OBJET_MAX)
    with io.TextIOWrapper(_ouvrir(chemin), codage, errors="replace", newline="") as texte:
        entete = texte.readline(MEGA)
        separateur = max("\t;,", key=entete.count)
        colonnes = next(csv.reader([entete], delimiter=separateur), [])
        colonnes = [colonne.strip() for colonne in colonnes]
        lecteur = csv.reader(_bornees(texte, chemin), delimiter=separateur, strict=True)
        debut = 2
        try:
            for cellules in lecteur:
                if cellules:
                    yield _rangee(colonnes, cellules, chemin, debut)
                debut = lecteur.line_num + 2
        except csv.Error as cause:
            raise ErreurFabrique(
                "le tableau ne se lit plus à partir d’ici",
                "Un guillemet ouvert n’a sans doute pas été refermé",
                chemin,
                ligne=debut,
            ) from cause


def _bornees(texte: io.TextIOWrapper, chemin: Path) -> Iterator[str]:
    """Les lignes qui suivent l'en-tête, aucune démesurée."""
    numero = 1
    while ligne := texte.readline(OBJET_MAX + 1):
        numero += 1
        if len(ligne) > OBJET_MAX:
            raise _trop_long(chemin, numero)
        yield ligne


def _rangee(colonnes: list[str], cellules: list[str], chemin: Path, numero: int) -> Ligne:
    """Les cellules sous leurs colonnes ; celles qui débordent ne se perdent pas en silence."""
    if any(cellule.strip() for cellule in cellules[len(colonnes) :]):
        erreur = ErreurFabrique(
            f"{len(cellules)} cellules pour {len(colonnes)} colonnes",
            "Mettez entre guillemets les textes qui contiennent le séparateur",
            chemin,
            ligne=numero,
        )
        return Ligne(numero, erreur=erreur)
    remplies = cellules + [""] * (len(colonnes) - len(cellules))
    return Ligne(numero, {c: v for c, v in zip(colonnes, remplies, strict=False) if c})


def _codage(chemin: Path) -> str:
    """UTF-8 si tout le fichier s'y lit, Windows-1252 sinon."""
    decodeur = codecs.getincrementaldecoder("utf-8-sig")()
    with _ouvrir(chemin) as flux:
        try:
            while octets := flux.read(MEGA):
                decodeur.decode(octets)
            decodeur.decode(b"", True)
        except UnicodeDecodeError:
            return "cp1252"
    return "utf-8-sig"


def _lire_excel(chemin: Path) -> Iterator[Ligne]:
    """La première feuille d'un classeur, première ligne pour les noms de colonnes."""
    from openpyxl import load_workbook

    try:
        with zipfile.ZipFile(chemin) as archive:
            pese = sum(fichier.file_size for fichier in archive.infolist())
        if pese > 512 * MEGA:
            raise ErreurFabrique(
                f"le classeur décompressé pèse {pese // MEGA} Mo", "Exportez-le en CSV", chemin
            )
        classeur = load_workbook(chemin, read_only=True, data_only=True)
        rangees = classeur.worksheets[0].iter_rows(values_only=True)
        colonnes = [str(c or "").strip() for c in next(rangees, ())]
        for numero, cellules in enumerate(rangees, 2):
            valeurs = {
                c: "" if v is None else str(v) for c, v in zip(colonnes, cellules, strict=False) if c
            }
            if any(valeurs.values()):
                yield Ligne(numero, valeurs)
    except ErreurFabrique:
        raise
    except Exception as cause:  # zip, XML, cellules : openpyxl en lève de toute sorte
        raise ErreurFabrique(
            "ce n’est pas un classeur Excel lisible", "Réenregistrez-le, ou exportez-le en CSV", chemin
        ) from cause


def _lire_parquet(chemin: Path) -> Iterator[Ligne]:
    numero = 0
    try:
        for lot in pyarrow.parquet.ParquetFile(chemin).iter_batches(1000):
            for objet in lot.to_pylist():
                numero += 1
                yield Ligne(numero, objet)
    except (pyarrow.ArrowException, OSError, ValueError) as cause:
        raise ErreurFabrique(
            "ce n’est pas un fichier Parquet lisible", "Réexportez-le depuis sa source", chemin
        ) from cause


LECTEURS = {
    ".json": _lire_json,
    ".jsonl": _lire_jsonl,
    ".csv": _lire_tableau,
    ".tsv": _lire_tableau,
    ".xlsx": _lire_excel,
    ".parquet": _lire_parquet,
}
