"""Les réponses contraintes : combien sont valides, combien finissent, et ce que coûte chaque jeton.

Trois mesures, sans réseau : des réponses du Falcon de poche sous une trentaine de schémas, vérifiées
par ``jsonschema`` ; des schémas tirés au hasard, valides ou refusés par leur nom ; la durée d'un jeton,
libre et contraint.

    python -m benchmarks.structure --reponses 1000 --tires 2000
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence
from typing import Any

import jsonschema
import numpy as np
import torch
from transformers import PreTrainedTokenizerBase

import fabrique
from fabrique.modeles.contrainte import SelonGrammaire
from fabrique.modeles.formes import grammaire_json, verifier_schema
from fabrique.modeles.generation import generer, generer_par_lots
from fabrique.socle.colonnes import en_colonnes
from fabrique.socle.erreurs import ErreurFabrique
from fabrique.socle.nombres import accorder, en_francais, en_pourcent


def objet(exiges: Sequence[str] | None = None, **champs: Any) -> dict[str, Any]:
    """Un objet JSON fermé ; tous ses champs sont exigés, sauf mention contraire."""
    return {
        "type": "object",
        "properties": champs,
        "required": list(champs) if exiges is None else list(exiges),
        "additionalProperties": False,
    }


TEXTE: dict[str, Any] = {"type": "string"}
ENTIER: dict[str, Any] = {"type": "integer"}
#: Un peu de tout : emboîtés, énumérés, listes, motifs, formats, accents, bornes, récursifs.
SCHEMAS: list[dict[str, Any]] = [
    TEXTE,
    ENTIER,
    {"type": "number", "minimum": -3.5, "maximum": 12},
    {"type": "boolean"},
    {"type": "null"},
    {"enum": ["état civil", "impôts", "santé", 3, None, {"à": ["b"]}]},
    {"const": "déjà vu « œuvre »"},
    {"type": ["string", "null"], "maxLength": 5},
    {"type": "string", "minLength": 3, "maxLength": 6},
    {"type": "string", "pattern": "^[A-Z]{2}-[0-9]{4}$"},
    {"type": "string", "pattern": "^(?:0[1-9]|[12][0-9]) (?:février|août) 20[0-9]{2}$"},
    {"type": "string", "pattern": "é"},
    {"type": "string", "format": "date"},
    {"type": "string", "format": "uuid"},
    {"type": "integer", "minimum": 100, "exclusiveMaximum": 250},
    {"type": "integer", "multipleOf": 7},
    {"type": "array", "items": ENTIER},
    {"type": "array", "items": {"enum": ["a", "à", "â"]}, "minItems": 2, "maxItems": 4},
    {"type": "array", "prefixItems": [TEXTE, ENTIER], "items": False, "minItems": 2},
    {"type": "array", "items": {"type": "array", "items": {"type": "boolean"}, "minItems": 1}},
    objet(nom=TEXTE),
    objet(nom=TEXTE, âge=ENTIER, **{"code postal": {"type": "string", "pattern": "^[0-9]{5}$"}}),
    objet([], facultatif=TEXTE, aussi=ENTIER),
    objet(["b"], a=TEXTE, b=ENTIER, c={"type": "boolean"}),
    objet(adresse=objet(rue=TEXTE, ville=objet(nom=TEXTE, code=ENTIER))),
    objet(enfants={"type": "array", "items": objet(prénom=TEXTE, né={"format": "date", **TEXTE})}),
    objet(choix={"anyOf": [ENTIER, objet(autre=TEXTE), {"type": "null"}]}),
    objet(choix={"oneOf": [ENTIER, TEXTE]}),
    {"type": "object", "additionalProperties": ENTIER},
    {"type": "object", "properties": {"x": TEXTE}},
    {"allOf": [{"type": "string", "minLength": 2}, {"maxLength": 4}]},
    {"$defs": {"nom": {"type": "string", "maxLength": 8}}, **objet(un={"$ref": "#/$defs/nom"})},
    {
        "$defs": {"noeud": objet(["v"], v=ENTIER, suite={"$ref": "#/$defs/noeud"})},
        "$ref": "#/$defs/noeud",
    },
    objet(**{f"champ {rang}": {"type": ["string", "number", "null"]} for rang in range(8)}),
    objet(**{'guillemet " et \\ barre': TEXTE, "emoji 🧾": {"enum": ["🧾", "≠", "\n"]}}),
    {},
]


# ---------------------------------------------------------------- sans modèle


def ecrire_sous(
    tokenizer: PreTrainedTokenizerBase,
    grammaire: str,
    limite: int,
    noter: Callable[[list[int]], torch.Tensor],
) -> tuple[str, bool]:
    """Ce qu'écrit, sous une grammaire, un modèle dont ``noter`` donne les notes du jeton suivant.

    Returns:
        Le texte, et s'il s'est clos par le jeton de fin.
    """
    regle = SelonGrammaire(tokenizer, [grammaire], 0, [limite])
    ids: list[int] = []
    for _ in range(limite):
        notes = regle(torch.tensor([ids], dtype=torch.long), noter(ids)[None].clone())
        jeton = int(notes.argmax())
        if jeton == tokenizer.eos_token_id:
            return tokenizer.decode(ids), True
        ids.append(jeton)
    return tokenizer.decode(ids), False


def au_hasard(
    tokenizer: PreTrainedTokenizerBase, graine: int
) -> Callable[[list[int]], torch.Tensor]:
    """Des notes tirées au sort, où la fin n'est jamais la préférée : le pire des rédacteurs."""
    hasard = torch.Generator().manual_seed(graine)

    def noter(_: list[int]) -> torch.Tensor:
        notes = torch.randn(len(tokenizer), generator=hasard)
        notes[tokenizer.eos_token_id] = -100.0
        return notes

    return noter


def tirer_un_schema(hasard: np.random.Generator, profondeur: int = 2) -> dict[str, Any]:
    """Un schéma au hasard, qui peut se contredire ou demander ce qu'on ne suit pas."""

    def un(*valeurs: Any) -> Any:
        return valeurs[hasard.integers(len(valeurs))]

    def peut_etre(**mots: Any) -> dict[str, Any]:
        return {mot: valeur for mot, valeur in mots.items() if hasard.random() < 0.35}

    def plus_bas() -> Any:
        return tirer_un_schema(hasard, profondeur - 1)

    genres = ["texte", "nombre", "enum", "vide"] + ["objet", "liste", "mixte"] * (profondeur > 0)
    genre = un(*genres)
    if genre == "texte":
        return {"type": "string"} | peut_etre(
            minLength=int(hasard.integers(4)),
            maxLength=int(hasard.integers(6)),
            pattern=un("^[a-z]+$", "é|è", "^a*b$", "[0-9]{2}", "(?=a)", r"\d", "^.{3}$", r"\bmot"),
            format=un("date", "email", "ipv4", "truc"),
        )
    if genre == "nombre":
        bornes = peut_etre(
            minimum=un(-10, 0, 2.5),
            maximum=un(-3, 7, 1000),
            exclusiveMinimum=un(0, -0.5),
            multipleOf=un(2, 0.5, 7),
        )
        return {"type": un("integer", "number")} | bornes
    if genre == "enum":
        return un({"enum": ["é", 1, None]}, {"const": {"a": [1]}}, {"enum": [[], {}, ""]})
    if genre == "objet":
        noms = ["nom", "âge", "code postal", 'a"b'][: 1 + hasard.integers(4)]
        return {"type": "object", "properties": {nom: plus_bas() for nom in noms}} | peut_etre(
            required=noms[: 1 + hasard.integers(len(noms))] + un([], ["absent"]),
            additionalProperties=un(False, True, plus_bas()),
            minProperties=int(hasard.integers(3)),
            maxProperties=int(hasard.integers(3)),
            patternProperties={"^x": plus_bas()},
            propertyNames={"maxLength": 3},
        )
    if genre == "liste":
        return {"type": "array"} | peut_etre(
            items=un(plus_bas(), False),
            prefixItems=[plus_bas()],
            minItems=int(hasard.integers(3)),
            maxItems=int(hasard.integers(3)),
            uniqueItems=True,
            contains=plus_bas(),
        )
    if genre == "mixte":
        return un(
            {"anyOf": [plus_bas(), plus_bas()]},
            {"oneOf": [plus_bas(), plus_bas()]},
            {"allOf": [plus_bas(), plus_bas()]},
            {"not": plus_bas()},
            {"type": ["string", "integer", "null"], "maxLength": 4},
        )
    return {}


def eprouver(
    tokenizer: PreTrainedTokenizerBase, schema: dict[str, Any], limite: int, graine: int
) -> str:
    """« valide », « refusé » ou ce qui n'allait pas, pour un schéma et un rédacteur au hasard."""
    try:
        verifier_schema(schema)
        texte, fini = ecrire_sous(
            tokenizer, grammaire_json(schema), limite, au_hasard(tokenizer, graine)
        )
    except ErreurFabrique:
        return "refusé"
    return juger(schema, texte) if fini else f"sans fin : {texte!r}"


def juger(schema: dict[str, Any], texte: str) -> str:
    """« valide », ou le reproche de ``jsonschema``."""
    try:
        jsonschema.Draft202012Validator(schema).validate(json.loads(texte))
    except (ValueError, jsonschema.ValidationError) as cause:
        return f"invalide : {texte!r} ({str(cause).splitlines()[0]})"
    return "valide"


# ---------------------------------------------------------------- la commande


def main() -> None:
    """Imprime les trois mesures."""
    lecteur = argparse.ArgumentParser(description=__doc__)
    lecteur.add_argument("--reponses", type=int, default=1000)
    lecteur.add_argument("--tires", type=int, default=2000)
    lecteur.add_argument("--jetons", type=int, default=100)
    options = lecteur.parse_args()
    tokenizer, modele = fabrique.charger("falcon-poche", "aucune", silencieux=True)
    reponses = _reponses(tokenizer, modele, options.reponses, options.jetons)
    fautes = [dit for dit in reponses if dit != "valide"]
    print(f"{accorder(len(reponses), 'réponse')}, {len(SCHEMAS)} schémas : {len(fautes)} invalides")
    hasard = np.random.default_rng(0)
    dits = [
        (schema, eprouver(tokenizer, schema, options.jetons, graine))
        for graine in range(options.tires)
        for schema in [tirer_un_schema(hasard)]
    ]
    refuses = sum(dit == "refusé" for _, dit in dits)
    mauvais = [(schema, dit) for schema, dit in dits if dit not in ("valide", "refusé")]
    print(
        f"{accorder(len(dits), 'schéma tiré', 'schémas tirés')} : {refuses} refusés par leur nom, "
        f"{len(mauvais)} mal suivis"
    )
    for schema, dit in [*zip(SCHEMAS, fautes, strict=False), *mauvais][:20]:
        print(json.dumps(schema, ensure_ascii=False), "→", dit)
    print(_couts(tokenizer, modele))


def _reponses(tokenizer: Any, modele: Any, combien: int, jetons: int) -> list[str]:
    """Le verdict sur ``combien`` réponses du Falcon de poche, les schémas à tour de rôle."""
    corpus = fabrique.lire_corpus("demarches")
    exemples = [
        {"instruction": corpus[rang % len(corpus)]["instruction"]} for rang in range(combien)
    ]
    schemas = [SCHEMAS[rang % len(SCHEMAS)] for rang in range(combien)]
    dites = generer_par_lots(
        modele,
        tokenizer,
        exemples,
        max_new_tokens=jetons,
        grammaires=[grammaire_json(schema) for schema in schemas],
    )
    return [
        juger(schema, texte) if finie else f"sans fin : {texte!r}"
        for schema, (texte, finie) in zip(schemas, dites, strict=True)
    ]


def _couts(tokenizer: Any, modele: Any, fois: int = 5) -> str:
    """La durée d'un jeton, libre et sous trois formes : la médiane de quelques réponses."""
    formes = {
        "libre": {},
        "motif «\u00a0.+\u00a0»": {"motif": ".+"},
        "schéma {}": {"schema": {}},
        "schéma à huit champs": {"schema": SCHEMAS[-3]},
    }
    rangees = []
    for nom, forme in formes.items():
        durees = []
        for graine in range(fois):
            depart = time.perf_counter()
            texte = generer(
                modele,
                tokenizer,
                "Décrivez une démarche.",
                max_new_tokens=80,
                temperature=1.0,
                graine=graine,
                afficher=False,
                **forme,
            )
            ecrits = len(tokenizer(texte, add_special_tokens=False)["input_ids"]) + 1
            durees.append((time.perf_counter() - depart) / ecrits)
        rangees.append((nom, en_francais(1000 * float(np.median(durees)), 1)))
    libre, contraint = (float(rang[1].replace(",", ".")) for rang in rangees[:2])
    tableau = en_colonnes(("forme", "ms par jeton"), rangees)
    return f"{tableau}\nUn motif libre ajoute {en_pourcent(contraint / libre - 1)} à chaque jeton."


if __name__ == "__main__":
    main()
