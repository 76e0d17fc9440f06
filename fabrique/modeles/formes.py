"""La forme d'une réponse : un schéma JSON, des choix ou un motif, en grammaire ou refusés par leur nom.

Un mot de JSON Schema que l'on ne sait pas faire suivre n'est jamais laissé de côté : il est refusé,
avec sa place dans le schéma, avant de charger un modèle. ``docs/structure.md`` en donne la liste.

Source : JSON Schema, version 2020-12 ; llguidance (Microsoft), pour ce qui se contraint.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator
from llguidance import LLMatcher

from fabrique.modeles.cloture import incomprise
from fabrique.socle.erreurs import ErreurFabrique

#: Un petit modèle libre d'écrire des blancs entre deux champs n'en finit pas : une espace, au plus,
#: après une virgule ou deux points. Source : llguidance, « x-guidance ».
SANS_BLANCS = {
    "x-guidance": {
        "whitespace_flexible": False,
        "item_separator": ", ?",
        "key_separator": ": ?",
    }
}
#: Les mêmes pour llama.cpp, dont le llguidance prend ces séparateurs à la lettre, et non pour des motifs.
A_LA_LETTRE = {
    "x-guidance": {"whitespace_flexible": False, "item_separator": ",", "key_separator": ":"}
}
#: Les mots suivis, d'après les sous-schémas qu'ils portent.
UN_SCHEMA = {"items", "additionalProperties"}
DES_SCHEMAS = {"anyOf", "oneOf", "allOf", "prefixItems"}
SCHEMAS_NOMMES = {"properties", "patternProperties", "$defs", "definitions"}
SANS_SCHEMA = {
    *("type", "enum", "const", "$ref", "required"),
    *("minLength", "maxLength", "pattern", "format"),
    *("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"),
    *("minItems", "maxItems", "minProperties", "maxProperties"),
}
SUIVIS = UN_SCHEMA | DES_SCHEMAS | SCHEMAS_NOMMES | SANS_SCHEMA
#: Les mots qui décrivent sans rien exiger.
DECRIVENT = {
    *("$schema", "$comment", "title", "description", "default", "examples"),
    *("deprecated", "readOnly", "writeOnly"),
}
#: Les formats suivis ; ``jsonschema`` ne vérifie que si on le lui demande.
FORMATS = {
    *("date-time", "time", "date", "duration", "email", "hostname"),
    *("ipv4", "ipv6", "uuid", "uri"),
}
#: Les versions de JSON Schema où ces mots veulent dire la même chose.
VERSIONS = re.compile(r"https?://json-schema\.org/(draft-0[67]|draft/20(19-09|20-12))/schema#?")


def grammaire_de_la_forme(
    schema: Mapping[str, Any] | None = None, choix: Sequence[str] = (), motif: str = ""
) -> str:
    """La grammaire d'une forme demandée ; vide si l'on n'en demande aucune.

    Args:
        schema: un schéma JSON : la réponse est un texte JSON qui le suit.
        choix: la réponse est l'un de ces textes.
        motif: une expression régulière, que la réponse suit en entier.

    Raises:
        ErreurFabrique: deux formes à la fois, ou une forme qu'on ne sait pas suivre.
    """
    demandees = [nom for nom, forme in _nommees(schema, choix, motif) if forme]
    if len(demandees) > 1:
        raise ErreurFabrique(
            f"une réponse n’a qu’une forme, et on en demande {len(demandees)}",
            f"Gardez l’une de : {', '.join(demandees)}",
            champ=demandees[1],
        )
    if schema is not None:
        verifier_schema(schema)
        return grammaire_json(schema)
    if choix:
        return _grammaire_des_choix(choix)
    return _grammaire_du_motif(motif) if motif else ""


def _nommees(schema: object, choix: object, motif: object) -> list[tuple[str, bool]]:
    return [("schema", schema is not None), ("choix", bool(choix)), ("motif", bool(motif))]


# ---------------------------------------------------------------- un schéma


def grammaire_json(schema: Mapping[str, Any]) -> str:
    """La grammaire des textes JSON qui suivent un schéma, sans blancs libres."""
    return f"start: %json {json.dumps({**schema, **SANS_BLANCS}, ensure_ascii=False)}"


def pour_llama_cpp(grammaire: str) -> str:
    """La même grammaire, telle que le llguidance de llama.cpp la comprend ; sans schéma, rien ne change."""
    fin, la_sienne = (json.dumps(options)[1:] for options in (SANS_BLANCS, A_LA_LETTRE))
    return f"{grammaire.removesuffix(fin)}{la_sienne}" if grammaire.endswith(fin) else grammaire


def lire_schema(fichier: Path) -> dict[str, Any]:
    """Le schéma JSON d'un fichier, vérifié.

    Raises:
        ErreurFabrique: fichier illisible, ou schéma qu'on ne sait pas suivre.
    """
    try:
        schema = json.loads(fichier.read_text(encoding="utf-8"))
    except OSError as cause:
        raise ErreurFabrique(
            "ce fichier ne s’ouvre pas", "Vérifiez son nom et ses droits", fichier
        ) from cause
    except json.JSONDecodeError as cause:
        raise ErreurFabrique(
            "ce fichier n’est pas du JSON", "Corrigez la ligne indiquée", fichier, cause.lineno
        ) from cause
    except (UnicodeDecodeError, RecursionError) as cause:
        raise ErreurFabrique(
            "ce fichier n’est pas du JSON", "Enregistrez-le en UTF-8", fichier
        ) from cause
    try:
        verifier_schema(schema)
    except ErreurFabrique as erreur:
        erreur.fichier = fichier
        raise
    return schema


def verifier_schema(schema: Any) -> None:
    """Refuse un schéma qu'on ne saurait pas faire suivre.

    Raises:
        ErreurFabrique: elle nomme la place et le mot en cause.
    """
    if not isinstance(schema, Mapping):
        raise ErreurFabrique("un schéma JSON est un objet", "Écrivez {…}", champ="schema")
    try:
        fautes = list(Draft202012Validator(Draft202012Validator.META_SCHEMA).iter_errors(schema))
        sous_schemas = list(_parcourir(schema, "$")) if not fautes else []
    except RecursionError as cause:
        raise ErreurFabrique(
            "ce schéma s’emboîte trop profondément", "Nommez ses parties dans $defs", champ="$"
        ) from cause
    if fautes:
        raise ErreurFabrique(
            "cette valeur n’est pas permise dans un schéma JSON",
            "Corrigez-la d’après la norme 2020-12 (json-schema.org)",
            champ=fautes[0].json_path,
        )
    for lieu, sous_schema in sous_schemas:
        _verifier_les_mots(lieu, sous_schema)
    _refuser_les_demi_caracteres(grammaire_json(schema), "schema")
    faute = LLMatcher.validate_grammar(LLMatcher.grammar_from_lark(grammaire_json(schema)))
    if faute:
        raise incomprise(faute)


def _refuser_les_demi_caracteres(texte: str, champ: str) -> None:
    if any("\ud800" <= signe <= "\udfff" for signe in texte):
        raise ErreurFabrique(
            "un demi-caractère Unicode (« \\ud800 ») ne s’écrit pas seul", "Retirez-le", champ=champ
        )


def _parcourir(schema: Any, lieu: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Chaque sous-schéma et sa place ; ``true`` et ``false`` n'ont pas de mots."""
    if not isinstance(schema, Mapping):
        return
    yield lieu, schema
    for mot, valeur in schema.items():
        if mot in UN_SCHEMA:
            yield from _parcourir(valeur, f"{lieu}.{mot}")
        elif mot in DES_SCHEMAS:
            for rang, un in enumerate(valeur):
                yield from _parcourir(un, f"{lieu}.{mot}[{rang}]")
        elif mot in SCHEMAS_NOMMES:
            for nom, un in valeur.items():
                yield from _parcourir(un, f"{lieu}.{mot}.{nom}")


def _verifier_les_mots(lieu: str, schema: Mapping[str, Any]) -> None:
    for mot, valeur in schema.items():
        place = f"{lieu}.{mot}"
        if mot not in SUIVIS | DECRIVENT:
            raise ErreurFabrique(
                f"« {mot} » n’est pas un mot de JSON Schema que l’on sache faire suivre",
                f"Retirez-le, ou exprimez-le par {', '.join(sorted(SUIVIS))}",
                champ=place,
            )
        if mot == "format" and valeur not in FORMATS:
            raise ErreurFabrique(
                f"le format « {valeur} » n’est pas suivi",
                f"Choisissez entre {', '.join(sorted(FORMATS))}, ou écrivez un motif (pattern)",
                champ=place,
            )
        if mot == "$ref" and not valeur.startswith("#"):
            raise ErreurFabrique(
                "une référence à un autre fichier n’est pas suivie",
                "Recopiez ce schéma dans $defs, et désignez-le par « #/$defs/… »",
                champ=place,
            )
        if mot == "$schema" and not VERSIONS.fullmatch(valeur):
            raise ErreurFabrique(
                f"la version « {valeur} » de JSON Schema n’est pas suivie",
                "Retirez « $schema », ou écrivez https://json-schema.org/draft/2020-12/schema",
                champ=place,
            )
        if mot == "pattern":
            _verifier_le_motif(valeur, place)


# ---------------------------------------------------------------- des choix, un motif


def _grammaire_des_choix(choix: Sequence[str]) -> str:
    if isinstance(choix, str):
        raise ErreurFabrique("les choix sont une liste de textes", 'Donnez ["oui", "non"]')
    for rang, un in enumerate(choix, 1):
        if not isinstance(un, str) or not un or un != un.strip():
            raise ErreurFabrique(
                f"le choix {rang} est vide, ou commence ou finit par un blanc",
                "Donnez un texte",
                champ="choix",
            )
    _refuser_les_demi_caracteres("".join(choix), "choix")
    # Un seul terminal : l'analyseur n'a pas à deviner où finit un choix qui en commence un autre.
    return f"start: CHOIX\nCHOIX: {' | '.join(map(_litteral, dict.fromkeys(choix)))}"


def _litteral(texte: str) -> str:
    """Un texte de Lark, qui s'écrit comme une chaîne de JSON."""
    return json.dumps(texte, ensure_ascii=False)


def _grammaire_du_motif(motif: str) -> str:
    _verifier_le_motif(motif, "motif")
    # Une barre ferme un motif de Lark, une fin de ligne ne s'y écrit pas.
    corps = re.sub(r"(\\.)|/", lambda m: m[1] or r"\/", motif, flags=re.DOTALL)
    return f"start: MOTIF\nMOTIF: /{corps.replace(chr(10), chr(92) + 'n')}/"


def _verifier_le_motif(motif: str, champ: str) -> None:
    """Refuse un motif que llguidance ne suit pas : regards en avant ou en arrière, renvois, « \\b »."""
    _refuser_les_demi_caracteres(motif, champ)
    faute = LLMatcher.validate_grammar(LLMatcher.grammar_from_regex(motif))
    if faute:
        raise ErreurFabrique(
            f"ce motif n’est pas suivi («\u00a0{' '.join(faute.split())}\u00a0»)",
            "Écrivez-le sans regard en avant ou en arrière, sans renvoi et sans ancre au milieu",
            champ=champ,
        )
