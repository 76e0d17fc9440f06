"""Lire un corpus d'instructions, quel que soit son fichier.

Un corpus est un ``datasets.Dataset`` aux colonnes canoniques. Tout ce qui empêche de le
lire est dit en une phrase, avec le fichier, la ligne et le champ.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import zlib
from pathlib import Path

import pyarrow
from datasets import Dataset

from fabrique.emplacements import CORPUS_LIVRES, dossier_data
from fabrique.erreurs import ErreurFabrique

#: Colonnes canoniques d'un corpus d'instructions (``systeme`` est facultative).
COLONNES = (
    "id",
    "instruction",
    "input",
    "output",
    "langue",
    "categorie",
    "source",
    "licence",
    "jeu",
)
OBLIGATOIRES = ("instruction", "output")
#: Colonnes facultatives gardées telles quelles.
ANNEXES = ("systeme", "niveau", "date_verification")
JEUX = ("entrainement", "validation", "test")
FORMATS = (".json", ".jsonl", ".csv", ".tsv", ".parquet")


def lire_corpus(source: str | Path | Dataset) -> Dataset:
    """Lit un corpus d'instructions.

    Args:
        source: nom d'un corpus livré (« demarches »), chemin d'un fichier ``.json``,
            ``.jsonl``, ``.csv``, ``.tsv`` ou ``.parquet`` (``.gz`` accepté pour les
            textes), ou un ``datasets.Dataset``.

    Returns:
        Un ``datasets.Dataset`` aux colonnes canoniques : celles qui manquent sont vides,
        ``id`` numérote alors les exemples.

    Raises:
        ErreurFabrique: fichier absent, vide, coupé, mal codé, ou colonne obligatoire vide.
    """
    if isinstance(source, Dataset):
        return _canonique([dict(ligne) for ligne in source], Path("corpus"), None)
    chemin = _trouver(source)
    suffixe = Path(chemin.name.removesuffix(".gz")).suffix.lower()
    if suffixe not in FORMATS:
        raise ErreurFabrique(
            f"le format « {suffixe or 'sans extension'} » n’est pas lu",
            f"Enregistrez le corpus dans l’un de ces formats : {', '.join(FORMATS)}",
            chemin,
        )
    if suffixe == ".parquet":
        return _canonique(_lire_parquet(chemin), chemin, None)
    brut = _octets(chemin)
    if suffixe in (".csv", ".tsv"):
        lignes, numeros = _lire_tableau(brut, chemin)
    else:
        texte = _en_utf8(brut, chemin)
        lire = _lire_jsonl if suffixe == ".jsonl" else _lire_json
        lignes, numeros = lire(texte, chemin)
    return _canonique(lignes, chemin, numeros)


def jeu(corpus: Dataset, nom: str) -> Dataset:
    """Les exemples d'un jeu : « entrainement », « validation » ou « test »."""
    if nom not in JEUX:
        raise ErreurFabrique(
            f"le jeu « {nom} » n’existe pas", f"Choisissez entre {', '.join(JEUX)}"
        )
    return corpus.select([rang for rang, valeur in enumerate(corpus["jeu"]) if valeur == nom])


def repartir(corpus: Dataset, validation: float, graine: int = 42) -> tuple[Dataset, Dataset]:
    """Répartit un corpus entre entraînement et validation.

    La colonne ``jeu``, quand elle est remplie, décide seule ; sinon ``validation`` donne la
    part (inférieure à 1) ou le nombre d'exemples mis de côté, tirés au hasard.

    Returns:
        Le jeu d'entraînement et le jeu de validation (vide si ``validation`` vaut 0).
    """
    if any(corpus["jeu"]):
        return jeu(corpus, "entrainement"), jeu(corpus, "validation")
    nombre = round(validation * len(corpus)) if validation < 1 else int(validation)
    if nombre >= len(corpus):
        raise ErreurFabrique(
            f"{nombre} exemples de validation demandés sur {len(corpus)} : rien ne reste à apprendre",
            "Baissez --val_set_size",
        )
    melange = corpus.shuffle(seed=graine, keep_in_memory=True)
    return melange.select(range(nombre, len(corpus))), melange.select(range(nombre))


# ---------------------------------------------------------------- du fichier aux lignes


def _trouver(source: str | Path) -> Path:
    if str(source) in CORPUS_LIVRES:
        return dossier_data() / f"{source}.jsonl"
    chemin = Path(source)
    if chemin.is_file():
        return chemin
    livres = ", ".join(CORPUS_LIVRES)
    raise ErreurFabrique(
        "ce n’est pas un fichier mais un dossier" if chemin.is_dir() else "fichier introuvable",
        f"Vérifiez le chemin, ou nommez un corpus livré : {livres}",
        chemin,
    )


def _octets(chemin: Path) -> bytes:
    try:
        brut = chemin.read_bytes()
        brut = gzip.decompress(brut) if chemin.suffix == ".gz" else brut
    except (EOFError, OSError, zlib.error) as cause:
        raise ErreurFabrique(
            "le fichier ne se lit pas ou l’archive est incomplète",
            "Copiez-le ou téléchargez-le de nouveau",
            chemin,
        ) from cause
    if not brut.strip():
        raise ErreurFabrique("le fichier est vide", "Donnez un corpus d’au moins un exemple", chemin)
    return brut


def _en_utf8(brut: bytes, chemin: Path) -> str:
    try:
        return brut.decode("utf-8-sig")
    except UnicodeDecodeError as cause:
        raise ErreurFabrique(
            "le texte n’est pas en UTF-8 (sans doute Latin-1 ou Windows-1252)",
            "Réenregistrez-le en UTF-8",
            chemin,
            ligne=brut.count(b"\n", 0, cause.start) + 1,
        ) from None


def _lire_jsonl(texte: str, chemin: Path) -> tuple[list[dict], list[int]]:
    lignes, numeros = [], []
    for numero, ligne in enumerate(texte.split("\n"), 1):
        if ligne.strip():
            lignes.append(_objet(ligne, chemin, numero))
            numeros.append(numero)
    return lignes, numeros


def _lire_json(texte: str, chemin: Path) -> tuple[list[dict], list[int]]:
    """Un tableau JSON, objet par objet, pour savoir à quelle ligne chacun commence."""
    lecteur, position = json.JSONDecoder(), _sauter(texte, 0)
    if texte[position : position + 1] != "[":
        return _lire_jsonl(texte, chemin)
    lignes, numeros, position = [], [], _sauter(texte, position + 1)
    while texte[position : position + 1] != "]":
        numero = texte.count("\n", 0, position) + 1
        try:
            objet, position = lecteur.raw_decode(texte, position)
        except json.JSONDecodeError as cause:
            raise _json_coupe(cause, chemin, cause.lineno) from None
        lignes.append(objet)
        numeros.append(numero)
        position = _sauter(texte, position)
        if texte[position : position + 1] == ",":
            position = _sauter(texte, position + 1)
        elif texte[position : position + 1] != "]":
            raise _json_coupe(None, chemin, texte.count("\n", 0, position) + 1)
    return lignes, numeros


def _sauter(texte: str, position: int) -> int:
    while position < len(texte) and texte[position] in " \t\r\n":
        position += 1
    return position


def _objet(ligne: str, chemin: Path, numero: int) -> dict:
    try:
        return json.loads(ligne)
    except json.JSONDecodeError as cause:
        raise _json_coupe(cause, chemin, numero) from None


def _json_coupe(cause: json.JSONDecodeError | None, chemin: Path, numero: int) -> ErreurFabrique:
    colonne = f" (caractère {cause.colno})" if cause else ""
    return ErreurFabrique(
        f"JSON incomplet ou mal formé{colonne}",
        "Réparez cette ligne : le fichier a peut-être été coupé pendant sa copie",
        chemin,
        ligne=numero,
    )


def _lire_tableau(brut: bytes, chemin: Path) -> tuple[list[dict], list[int]]:
    """CSV ou TSV. Excel en français écrit en Windows-1252 avec « ; » : accepté et signalé."""
    try:
        texte = brut.decode("utf-8-sig")
    except UnicodeDecodeError:
        texte = brut.decode("cp1252", errors="replace")
        print(f"{chemin} : lu en Windows-1252 (Excel), et non en UTF-8.")
    entete = texte.split("\n", 1)[0]
    separateur = max("\t;,", key=entete.count)
    lecteur = csv.DictReader(io.StringIO(texte, newline=""), delimiter=separateur)
    lignes, numeros, debut = [], [], 2
    for ligne in lecteur:
        lignes.append({cle: valeur or "" for cle, valeur in ligne.items() if cle})
        numeros.append(debut)
        debut = lecteur.line_num + 1
    return lignes, numeros


def _lire_parquet(chemin: Path) -> list[dict]:
    try:
        return Dataset.from_parquet(str(chemin), keep_in_memory=True).to_list()
    except (pyarrow.ArrowException, OSError, ValueError) as cause:
        raise ErreurFabrique(
            "ce n’est pas un fichier Parquet lisible", "Réexportez-le depuis sa source", chemin
        ) from cause


# ---------------------------------------------------------------- des lignes au corpus


def _canonique(lignes: list, chemin: Path, numeros: list[int] | None) -> Dataset:
    if not lignes:
        raise ErreurFabrique("aucun exemple", "Donnez un corpus d’au moins un exemple", chemin)
    exemples = [
        _verifier(ligne, chemin, numeros[rang] if numeros else rang + 1, rang)
        for rang, ligne in enumerate(lignes)
    ]
    presentes = [c for c in ANNEXES if any(c in exemple for exemple in exemples)]
    colonnes = {
        colonne: [exemple.get(colonne, "") for exemple in exemples]
        for colonne in (*COLONNES, *presentes)
    }
    return Dataset.from_dict(colonnes)


def _verifier(ligne: object, chemin: Path, numero: int, rang: int) -> dict[str, str]:
    """Une ligne aux colonnes canoniques ; refuse celle qui n'a pas de quoi apprendre."""
    if not isinstance(ligne, dict):
        raise ErreurFabrique(
            "un exemple doit être un objet {…}", "Réparez cette ligne", chemin, ligne=numero
        )
    for champ in OBLIGATOIRES:
        if champ not in ligne:
            trouvees = ", ".join(str(c) for c in ligne) or "aucune"
            raise ErreurFabrique(
                f"la colonne « {champ} » manque (colonnes lues : {trouvees})",
                "Nommez les colonnes « instruction », « input » (facultative) et « output »",
                chemin,
                ligne=numero,
                champ=champ,
            )
        if not isinstance(ligne[champ], str) or not ligne[champ].strip():
            raise ErreurFabrique(
                "le texte est vide ou n’en est pas un",
                "Complétez-le, ou retirez l’exemple",
                chemin,
                ligne=numero,
                champ=champ,
            )
    gardees = {c: str(ligne[c]) for c in (*COLONNES, *ANNEXES) if ligne.get(c) is not None}
    if gardees.get("jeu", "") not in ("", *JEUX):
        raise ErreurFabrique(
            f"le jeu « {gardees['jeu']} » n’existe pas",
            f"Écrivez {', '.join(JEUX)}, ou laissez la colonne vide",
            chemin,
            ligne=numero,
            champ="jeu",
        )
    return {"id": str(rang + 1), **gardees}
