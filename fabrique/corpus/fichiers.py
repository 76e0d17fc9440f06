"""Du fichier aux lignes : lire au fil de l'eau, en mémoire bornée, sans rien croire sur parole.

Chaque lecteur rend des ``Ligne`` : un objet et le numéro de la ligne où il commence, ou
l'erreur qui l'empêche de se lire. Ce qui empêche tout le fichier de se lire est levé.
"""

from __future__ import annotations

import ast
import codecs
import csv
import gzip
import io
import json
import re
import warnings
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import chain, islice
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet

from fabrique.corpus.classeurs import Rangee, lire_classeur
from fabrique.corpus.codages import (
    UTF8,
    Codage,
    EnUtf8,
    codage_large,
    coupe,
    octets_etrangers,
    reconnaitre as reconnaitre_codage,
)
from fabrique.corpus.constats import Alerte
from fabrique.corpus.formats import COLONNES_CONNUES
from fabrique.socle.erreurs import ErreurFabrique
from fabrique.socle.nombres import MO

FORMATS = (".json", ".jsonl", ".ndjson", ".csv", ".tsv", ".xlsx", ".parquet")

#: Un exemple d'instruction tient en quelques Ko ; au-delà de 32 Mo, ce n'en est pas un.
OBJET_MAX = 32 * MO
#: Ce que le fichier décompressé peut peser, et combien de fois plus que l'archive.
TOTAL_MAX, GONFLEMENT_MAX = 4096 * MO, 200
#: Ce qu'un classeur décompressé peut peser.
CLASSEUR_MAX = 512 * MO
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
        alertes: ce qu'il a fallu deviner ou laisser de côté pour le lire.
    """

    numero: int
    contenu: object = None
    erreur: ErreurFabrique | None = None
    alertes: tuple[Alerte, ...] = ()


def verifier_fichier(chemin: Path, remede: str = "Vérifiez le chemin") -> None:
    """Refuse un chemin où il n'y a rien, ou un dossier."""
    if not chemin.is_file():
        raise ErreurFabrique(
            "ce n’est pas un fichier mais un dossier" if chemin.is_dir() else "fichier introuvable",
            remede,
            chemin,
        )


def lire_lignes(chemin: Path) -> Iterator[Ligne]:
    """Lit un fichier exemple par exemple.

    Args:
        chemin: fichier ``.json``, ``.jsonl``, ``.ndjson``, ``.csv``, ``.tsv`` (et leurs ``.gz``),
            ``.xlsx`` ou ``.parquet``.

    Yields:
        Une ``Ligne`` par exemple, dans l'ordre du fichier.

    Raises:
        ErreurFabrique: fichier absent, vide, d'un autre format, trop gros, archive
            incomplète ou qui se gonfle démesurément.
    """
    verifier_fichier(chemin)
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
                f"plus de {EXEMPLES_MAX} exemples",
                "Découpez le corpus en plusieurs fichiers",
                chemin,
            )
        yield ligne


# ---------------------------------------------------------------- les octets, sous surveillance


class _Surveille(io.RawIOBase):
    """Un flux d'octets qui s'arrête si l'archive se gonfle ou si le fichier est démesuré."""

    def __init__(self, chemin: Path) -> None:
        self.chemin = chemin
        ouvrir = gzip.open if chemin.suffix == ".gz" else open
        self.flux = ouvrir(chemin, "rb")
        gonfle = GONFLEMENT_MAX * chemin.stat().st_size + 64 * MO
        self.permis = min(TOTAL_MAX, gonfle)
        self.lus = 0

    def readable(self) -> bool:
        return True

    def readinto(self, tampon: Any) -> int:
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
                f"le contenu dépasse {self.permis // MO} Mo : archive démesurée ou fichier trop gros",
                "Découpez le corpus en plusieurs fichiers",
                self.chemin,
            )
        tampon[: len(octets)] = octets
        return len(octets)

    def close(self) -> None:
        self.flux.close()
        super().close()


def _ouvrir(chemin: Path) -> tuple[io.BufferedReader, tuple[Alerte, ...]]:
    """Le flux d'octets d'un fichier de texte, traduit en UTF-8 s'il est en UTF-16 ou en UTF-32.

    Returns:
        Le flux, placé au début, et l'alerte qui dit un codage autre que l'UTF-8.
    """
    alertes: tuple[Alerte, ...] = ()
    flux: io.BufferedReader = io.BufferedReader(_Surveille(chemin), MO)
    debut = flux.peek(MO)
    if codage := codage_large(debut[:4096]):
        flux, alertes = io.BufferedReader(EnUtf8(flux, codage, chemin), MO), _lu_en(codage)
        debut = flux.peek(MO)
    if b"\0" in debut[:4096]:
        raise ErreurFabrique(
            "ce n’est pas un fichier de texte", "Vérifiez que c’est le bon fichier", chemin
        )
    if not debut.strip() and len(debut) < MO:
        raise ErreurFabrique(
            "le fichier est vide", "Donnez un corpus d’au moins un exemple", chemin
        )
    return flux, alertes


def _lu_en(codage: Codage) -> tuple[Alerte, ...]:
    message = f"lu en {codage.nom}, et non en UTF-8 : vérifiez les accents"
    return (Alerte("lecture.codage", 1, message, du_fichier=True),)


def _signaler(lignes: Iterator[Ligne], alertes: tuple[Alerte, ...]) -> Iterator[Ligne]:
    """Les lignes, ces alertes jointes à la première."""
    for ligne in lignes:
        yield replace(ligne, alertes=(*alertes, *ligne.alertes)) if alertes else ligne
        alertes = ()


def _mal_code(chemin: Path, numero: int, octets: bytes) -> ErreurFabrique:
    if coupe(octets):
        return ErreurFabrique(
            "le texte est coupé au milieu d’un caractère",
            "Le fichier a sans doute été copié en partie : reprenez-le à sa source",
            chemin,
            ligne=numero,
        )
    return ErreurFabrique(
        "cette ligne n’est pas en UTF-8 (sans doute Latin-1 ou Windows-1252)",
        "Retapez ses lettres accentuées, ou réenregistrez le tout en UTF-8",
        chemin,
        ligne=numero,
    )


def _trop_long(chemin: Path, numero: int) -> ErreurFabrique:
    return ErreurFabrique(
        f"un exemple dépasse {OBJET_MAX // MO} Mo",
        "Vérifiez que chaque exemple est un objet court, et qu’aucun retour à la ligne n’a disparu",
        chemin,
        ligne=numero,
    )


# ---------------------------------------------------------------- JSON et JSON Lines


def _lire_jsonl(chemin: Path) -> Iterator[Ligne]:
    """Un objet par ligne ; un tableau ou des objets aérés, malgré leur nom, se lisent comme du JSON."""
    flux, alertes = _ouvrir(chemin)
    with flux:
        debut = flux.peek(MO)[:MO].removeprefix(codecs.BOM_UTF8).lstrip()
        if not _AERE.match(debut):
            yield from _signaler(_objets(flux, chemin), alertes)
            return
    yield from _lire_json(chemin)


#: Un tableau, ou un objet dont la ligne suivante continue les champs.
_AERE = re.compile(rb'\[|\{[ \t]*\r?\n\s*["}]|\{[^\r\n]*[^}\s][ \t]*,[ \t]*\r?\n\s*"')


def _objets(flux: io.BufferedReader, chemin: Path) -> Iterator[Ligne]:
    numero = 0
    while octets := flux.readline(OBJET_MAX + 1):
        numero += 1
        if len(octets) > OBJET_MAX:
            raise _trop_long(chemin, numero)
        if octets.strip() not in (b"", codecs.BOM_UTF8):
            yield from _objet(octets, chemin, numero)


def _objet(octets: bytes, chemin: Path, numero: int) -> Iterator[Ligne]:
    """L'exemple d'une ligne, ou les rangées du tableau qu'elle écrit en colonnes."""
    try:
        texte = octets.decode("utf-8-sig").strip()
    except UnicodeDecodeError:
        yield Ligne(numero, erreur=_mal_code(chemin, numero, octets))
        return
    try:
        yield from _deplier(numero, json.loads(texte))
    except (ValueError, RecursionError) as cause:  # mal formé, ou un nombre de 5 000 chiffres
        yield _autrement(texte, cause, chemin, numero)


def _autrement(texte: str, cause: Exception, chemin: Path, numero: int) -> Ligne:
    """Une ligne qui n'est pas du JSON, quand son sens est sûr ; sinon, ce qui l'empêche de se lire."""
    try:
        if texte.endswith(","):  # une rangée prise d'un tableau, sa virgule avec elle
            return Ligne(numero, json.loads(texte[:-1]))
    except (ValueError, RecursionError):
        pass
    objet = _dictionnaire_python(texte.removesuffix(","))
    if objet is not None:
        message = "ces lignes sont des dictionnaires Python, et non du JSON : lues ainsi"
        return Ligne(
            numero, objet, alertes=(Alerte("lecture.python", numero, message, du_fichier=True),)
        )
    return Ligne(numero, erreur=_json_coupe(chemin, numero, texte, cause))


#: Au-delà, on ne cherche pas à lire une ligne comme un dictionnaire Python.
PYTHON_MAX = 1_000_000


def _dictionnaire_python(texte: str) -> dict | None:
    """Le dictionnaire que Python a écrit avec ses guillemets simples ; rien si c'est autre chose."""
    if not texte.startswith("{'") or len(texte) > PYTHON_MAX:
        return None
    try:
        with warnings.catch_warnings(action="ignore"):
            objet = ast.literal_eval(texte)
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        return None
    return objet if isinstance(objet, dict) and all(isinstance(c, str) for c in objet) else None


#: Ce qui empêche souvent un JSON de se lire : le signe en cause, ce qu'on en dit, le remède.
CAUSES = {
    "'": ("des guillemets simples, à la façon de Python", "Écrivez le fichier avec json.dump"),
    "“”„«»": (
        "des guillemets typographiques",
        "Remplacez par des guillemets droits ceux qui bornent un texte",
    ),
    "}]": ("une virgule de trop avant la fermeture", "Retirez cette virgule"),
    "\n\r\t": (
        "un retour à la ligne ou une tabulation au milieu d’un texte",
        "Écrivez-les \\n et \\t, ou laissez json.dump le faire",
    ),
}


def _json_coupe(
    chemin: Path, numero: int, texte: str = "", cause: Exception | None = None
) -> ErreurFabrique:
    """Ce qui ne va pas dans un JSON, au plus près de la vraie cause."""
    precision, remede = (
        "",
        "Réparez cette ligne : le fichier a peut-être été coupé pendant sa copie",
    )
    if isinstance(cause, json.JSONDecodeError):
        precision = f" (caractère {cause.colno})"
        for signes, (raison, que_faire) in CAUSES.items():
            if _en_cause(texte, cause.pos, signes):
                precision, remede = f"{precision} : {raison}", que_faire
    return ErreurFabrique(f"JSON incomplet ou mal formé{precision}", remede, chemin, ligne=numero)


def _en_cause(texte: str, rang: int, signes: str) -> bool:
    """Vrai si la faute, à ce rang, vient de l'un de ces signes."""
    if (
        signes == "}]"
    ):  # la faute est sur la virgule ou juste après elle, selon la version de Python
        suite = texte[rang:].lstrip(", \t\r\n")[:1]
        return suite in ("}", "]") and "," in texte[:rang].rstrip()[-1:] + texte[rang : rang + 1]
    return texte[rang : rang + 1] != "" and texte[rang] in signes


def _lire_json(chemin: Path) -> Iterator[Ligne]:
    """Un tableau d'objets, lu objet par objet ; ou, sans crochets, des objets qui se suivent."""
    flux, alertes = _ouvrir(chemin)
    with flux:
        texte = _Fenetre(flux, chemin)
        if texte.sauter() == "[":
            texte.avancer(1)
            lignes = _elements(texte, "]")
        else:
            lignes = chain(_premier(texte), _elements(texte, ""))
        yield from _signaler(lignes, alertes)
        texte.avancer(1)
        if texte.sauter():  # deux tableaux mis bout à bout, par exemple
            raise _json_coupe(chemin, texte.ligne)


def _elements(texte: _Fenetre, fermant: str) -> Iterator[Ligne]:
    """Les valeurs qui se suivent jusqu'au crochet fermant, ou jusqu'à la fin du fichier."""
    while (signe := texte.sauter()) != fermant:
        if not signe:
            raise _json_coupe(texte.chemin, texte.ligne)
        numero = texte.ligne
        yield from _deplier(numero, texte.valeur())
        suite = texte.sauter()
        if suite == ",":
            texte.avancer(1)
        elif fermant and suite != fermant:
            raise _json_coupe(texte.chemin, texte.ligne)


#: Les noms sous lesquels un fichier range sa liste d'exemples, et le jeu qu'ils annoncent.
ENVELOPPES = {
    **dict.fromkeys(("data", "rows", "examples", "exemples"), ""),
    **dict.fromkeys(("train", "entrainement", "entraînement"), "entrainement"),
    **dict.fromkeys(("validation", "valid", "dev", "eval"), "validation"),
    "test": "test",
}
#: Ce que pandas et SQuAD écrivent à côté de leurs rangées, et qui n'apprend rien.
ACCESSOIRES = {"columns", "index", "schema", "version"}


def _premier(texte: _Fenetre) -> Iterator[Ligne]:
    """Le premier objet d'un fichier sans crochets : un exemple, ou l'enveloppe de tous les autres."""
    if texte.sauter() != "{":
        return
    membres: dict[str, object] = {}
    numero, ouverte, derniere = texte.ligne, False, None
    texte.avancer(1)
    while texte.sauter() == '"':
        cle = texte.valeur()
        texte.passer(":")
        if cle in ENVELOPPES and not membres.keys() & COLONNES_CONNUES and texte.sauter() == "[":
            ouverte = True
            texte.avancer(1)
            for ligne in _elements(texte, "]"):
                if derniere:
                    yield derniere
                derniere = _rangee_d_enveloppe(ligne, membres.get("columns"), ENVELOPPES[cle])
            texte.avancer(1)
        else:
            membres[cle] = texte.valeur()
        if texte.sauter() != ",":
            break
        texte.avancer(1)
    texte.passer("}")
    if not ouverte:
        yield from _deplier(numero, membres)
    elif derniere:
        yield replace(derniere, alertes=tuple(_laisses(membres.keys() - ACCESSOIRES, numero)))
    if texte.sauter() == ",":
        texte.avancer(1)


def _rangee_d_enveloppe(ligne: Ligne, colonnes: object, jeu: str) -> Ligne:
    """La rangée sous ses colonnes (pandas, orient="split"), et le jeu que son enveloppe annonce."""
    contenu = ligne.contenu
    if isinstance(contenu, list) and isinstance(colonnes, list) and len(contenu) == len(colonnes):
        contenu = dict(zip(map(str, colonnes), contenu, strict=True))
    if jeu and isinstance(contenu, dict) and not contenu.get("jeu"):
        contenu = contenu | {"jeu": jeu}
    return replace(ligne, contenu=contenu)


def _laisses(noms: set[str], numero: int) -> Iterator[Alerte]:
    for nom in sorted(noms):
        message = f"« {nom} », à côté de la liste des exemples, n’est pas repris"
        yield Alerte("lecture.colonne", numero, message, nom, du_fichier=True)


def _deplier(numero: int, objet: object) -> Iterator[Ligne]:
    """L'objet lui-même, ou chaque rangée d'un tableau que pandas a écrit en colonnes ou par index."""
    for rangee in _rangees(objet) or [objet]:
        yield Ligne(numero, rangee)


def _rangees(objet: object) -> list:
    """Les rangées d'un tableau écrit d'un bloc ; aucune si l'objet est un simple exemple."""
    if not isinstance(objet, dict) or not objet:
        return []
    colonnes = list(objet.values())
    connues = objet.keys() & COLONNES_CONNUES
    if all(isinstance(colonne, dict) and colonne for colonne in colonnes):
        if all(rangee.keys() & COLONNES_CONNUES for rangee in colonnes):
            return colonnes  # {"0": {"instruction": …}, "1": …}
        index = colonnes[0].keys()
        if connues and all(colonne.keys() == index for colonne in colonnes):
            return [{nom: colonne[cle] for nom, colonne in objet.items()} for cle in index]
    listes = len(connues) > 1 and all(isinstance(colonne, list) for colonne in colonnes)
    if listes and len({len(colonne) for colonne in colonnes}) == 1:
        return [dict(zip(objet, rangee, strict=True)) for rangee in zip(*colonnes, strict=True)]
    return []


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
        octets = self.flux.read(max(MO, len(reste)))
        self.fini = not octets
        try:
            ajout = self.decodeur.decode(octets, self.fini)
        except UnicodeDecodeError as cause:
            avant = reste.count("\n") + cause.object.count(b"\n", 0, cause.start)
            raise _mal_code(self.chemin, self.ligne + avant, cause.object[cause.start :]) from None
        self.texte, self.position = reste + ajout, 0

    def avancer(self, pas: int) -> None:
        """Passe ``pas`` caractères en comptant les lignes."""
        fin = self.position + pas
        self.ligne += self.texte.count("\n", self.position, fin)
        self.position = fin

    def sauter(self) -> str:
        """Passe les blancs ; rend le caractère suivant, ou rien à la fin."""
        while True:
            if blancs := _BLANCS.match(self.texte, self.position):
                self.avancer(len(blancs[0]))
            if self.position < len(self.texte):
                return self.texte[self.position]
            if self.fini:
                return ""
            self.charger()

    def passer(self, signe: str) -> None:
        """Passe les blancs et le signe attendu."""
        if self.sauter() != signe:
            raise _json_coupe(self.chemin, self.ligne)
        self.avancer(1)

    def perdu(self, cause: json.JSONDecodeError) -> bool:
        """Vrai si lire la suite ne réparerait rien : la faute est loin du bord de la fenêtre.

        La bibliothèque ne distingue une chaîne coupée, située à son début, que par son message.
        """
        return cause.pos < len(self.texte) - 16 and not cause.msg.startswith("Unterminated")

    def valeur(self) -> Any:
        """La valeur JSON suivante."""
        self.sauter()
        while True:
            try:
                objet, fin = self.lecteur.raw_decode(self.texte, self.position)
            except json.JSONDecodeError as cause:
                if self.fini or self.perdu(cause):
                    sautees = self.texte.count("\n", self.position, cause.pos)
                    raise _json_coupe(
                        self.chemin, self.ligne + sautees, self.texte, cause
                    ) from None
            except (ValueError, RecursionError):  # un nombre de 5 000 chiffres, mille crochets
                raise _json_coupe(self.chemin, self.ligne) from None
            else:
                # Un nombre qui touche le bord de la fenêtre peut continuer : « 1e+ », puis « 5 ».
                if fin + 2 < len(self.texte) or self.fini:
                    self.avancer(fin - self.position)
                    return objet
            self.charger()


# ---------------------------------------------------------------- tableaux

#: Combien de rangées on regarde quand la première ne porte aucun nom de colonne connu.
TITRES_MAX = 20


def _lire_csv(chemin: Path) -> Iterator[Ligne]:
    """CSV ou TSV. Excel en français écrit en Windows-1252 avec « ; » : accepté et signalé."""
    codage, alertes = _codage_de_tableau(chemin)
    csv.field_size_limit(OBJET_MAX)
    flux, _ = _ouvrir(chemin)
    erreurs = "surrogateescape" if codage == UTF8 else "replace"
    with io.TextIOWrapper(flux, codage.python, errors=erreurs, newline="") as texte:
        yield from _signaler(_sous_les_colonnes(_rangees_de_csv(texte, chemin), chemin), alertes)


def _codage_de_tableau(chemin: Path) -> tuple[Codage, tuple[Alerte, ...]]:
    """Le codage d'un tableau, et l'alerte qui le dit s'il n'est pas en UTF-8."""
    flux, alertes = _ouvrir(chemin)
    with flux:
        codage = reconnaitre_codage(flux)
    if codage is None:
        raise ErreurFabrique(
            "le codage ne se reconnaît pas : ni UTF-8, ni Windows-1252, ni Latin-9, ni Mac Roman, ni CP850",
            "Réenregistrez-le en UTF-8 (dans Excel, « CSV UTF-8 »)",
            chemin,
        )
    return codage, alertes if codage == UTF8 else _lu_en(codage)


#: La première ligne par laquelle Excel annonce son séparateur.
_SEPARATEUR = re.compile(r"\ufeff?\"?sep=(.)\"?\1*\s*", re.IGNORECASE)


def _rangees_de_csv(texte: io.TextIOWrapper, chemin: Path) -> Iterator[Rangee]:
    """Les rangées qui ne sont pas vides, l'en-tête compris."""
    entete, avant = texte.readline(MO), 0
    if annonce := _SEPARATEUR.fullmatch(entete):
        entete, avant = texte.readline(MO), 1
    separateur = annonce[1] if annonce else max("\t;,", key=entete.count)
    lignes = chain([entete], _bornees(texte, chemin, avant + 1))
    lecteur = csv.reader(lignes, delimiter=separateur, strict=True)
    debut = avant + 1
    try:
        for cellules in lecteur:
            if any(map(str.strip, cellules)):
                yield Rangee(debut, cellules)
            debut = avant + lecteur.line_num + 1
    except csv.Error as cause:
        raise ErreurFabrique(
            "le tableau ne se lit plus à partir d’ici",
            "Un guillemet ouvert n’a sans doute pas été refermé",
            chemin,
            ligne=debut,
        ) from cause


def _bornees(texte: io.TextIOWrapper, chemin: Path, numero: int) -> Iterator[str]:
    """Les lignes qui suivent l'en-tête, aucune démesurée."""
    while ligne := texte.readline(OBJET_MAX + 1):
        numero += 1
        if len(ligne) > OBJET_MAX:
            raise _trop_long(chemin, numero)
        yield ligne


def _lire_excel(chemin: Path) -> Iterator[Ligne]:
    """La première feuille d'un classeur, première ligne pour les noms de colonnes."""
    yield from _sous_les_colonnes(lire_classeur(chemin, CLASSEUR_MAX), chemin)


def _sous_les_colonnes(rangees: Iterator[Rangee], chemin: Path) -> Iterator[Ligne]:
    """Les cellules de chaque rangée, sous les noms de la première."""
    entete = next(rangees, None)
    if entete is None:
        return
    colonnes = _noms(entete, chemin)
    debut = [] if COLONNES_CONNUES.intersection(colonnes) else list(islice(rangees, TITRES_MAX))
    for rangee in debut:
        if len(COLONNES_CONNUES.intersection(map(str.strip, rangee.cellules))) > 1:
            raise ErreurFabrique(
                f"les noms de colonnes ne sont pas en tête : ils sont à la ligne {rangee.numero}",
                "Retirez ce qui les précède",
                chemin,
                ligne=entete.numero,
            )
    yield from _signaler(
        (_ligne(colonnes, rangee, chemin) for rangee in chain(debut, rangees)), entete.alertes
    )


def _noms(entete: Rangee, chemin: Path) -> list[str]:
    """Les noms de colonnes, sans blancs autour ; deux fois le même nom se refuse."""
    colonnes = [colonne.strip() for colonne in entete.cellules]
    for octets in octets_etrangers(colonnes):
        raise _mal_code(chemin, entete.numero, octets)
    for rang, nom in enumerate(colonnes):
        if nom and nom in colonnes[:rang]:
            raise ErreurFabrique(
                f"deux colonnes s’appellent « {nom} » ({colonnes.index(nom) + 1}ᵉ et {rang + 1}ᵉ)",
                "Renommez ou retirez l’une des deux",
                chemin,
                ligne=entete.numero,
                champ=nom,
            )
    return colonnes


def _ligne(colonnes: list[str], rangee: Rangee, chemin: Path) -> Ligne:
    """Les cellules sous leurs colonnes ; celles qui débordent ne se perdent pas en silence."""
    numero, cellules = rangee.numero, rangee.cellules
    for octets in octets_etrangers(cellules):
        return Ligne(numero, erreur=_mal_code(chemin, numero, octets), alertes=rangee.alertes)
    if any(cellule.strip() for cellule in cellules[len(colonnes) :]):
        erreur = ErreurFabrique(
            f"{len(cellules)} cellules pour {len(colonnes)} colonnes",
            "Mettez entre guillemets les textes qui contiennent le séparateur",
            chemin,
            ligne=numero,
        )
        return Ligne(numero, erreur=erreur, alertes=rangee.alertes)
    remplies = cellules + [""] * (len(colonnes) - len(cellules))
    sans_nom = tuple(
        Alerte(
            "lecture.colonne",
            numero,
            f"la {n}ᵉ colonne n’a pas de nom : elle n’est pas reprise",
            str(n),
            True,
        )
        for n, (nom, cellule) in enumerate(zip(colonnes, remplies, strict=False), 1)
        if not nom and cellule.strip()
    )
    contenu = {c: v for c, v in zip(colonnes, remplies, strict=False) if c}
    return Ligne(numero, contenu, alertes=(*sans_nom, *rangee.alertes))


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
    ".ndjson": _lire_jsonl,
    ".csv": _lire_csv,
    ".tsv": _lire_csv,
    ".xlsx": _lire_excel,
    ".parquet": _lire_parquet,
}
