"""Une réponse dont on demande la forme la suit toujours, finit toujours, et ne change que s'il le faut."""

from __future__ import annotations

import json
import re

import jsonschema
import numpy as np
import pytest
import torch

import fabrique
from benchmarks.structure import (
    SCHEMAS,
    au_hasard,
    ecrire_sous,
    eprouver,
    objet,
    tirer_un_schema,
)
from fabrique.ligne_de_commande import principal
from fabrique.modeles import chargement
from fabrique.modeles.cloture import jetons_au_moins
from fabrique.modeles.contrainte import SelonGrammaire, accepte
from fabrique.modeles.formes import (
    grammaire_de_la_forme,
    grammaire_json,
    pour_llama_cpp,
    verifier_schema,
)
from fabrique.modeles.generation import generer_par_lots
from fabrique.socle.erreurs import ErreurFabrique

QUESTION = "Comment renouveler ma carte d’identité ?"
REPONSE = "Prenez rendez-vous."


# ---------------------------------------------------------------- toujours valide, toujours finie


@pytest.mark.parametrize("schema", SCHEMAS, ids=lambda s: json.dumps(s, ensure_ascii=False)[:40])
def test_le_pire_redacteur_suit_chaque_schema_et_finit(tokenizer, schema):
    """Des notes au hasard, où la fin est toujours la dernière des préférences."""
    for graine in range(2):
        assert eprouver(tokenizer, schema, 100, graine) == "valide"


def test_un_schema_tire_au_hasard_est_suivi_ou_refuse(tokenizer):
    hasard = np.random.default_rng(7)
    verdicts = [eprouver(tokenizer, tirer_un_schema(hasard), 60, rang) for rang in range(120)]
    assert set(verdicts) == {"valide", "refusé"}
    assert verdicts.count("valide") > 30


@pytest.mark.parametrize(
    "motif", ["[a-z]{3}-[0-9]+", "(oui|non)( mais)?", "^é+$", "a/b", "..?", "x*y"]
)
def test_un_motif_est_suivi_en_entier(tokenizer, motif):
    grammaire = grammaire_de_la_forme(motif=motif)
    for graine in range(3):
        texte, fini = ecrire_sous(tokenizer, grammaire, 12, au_hasard(tokenizer, graine))
        assert fini
        assert re.fullmatch(motif, texte)


def test_un_choix_est_l_un_des_choix(tokenizer):
    choix = ["oui", "oui, mais", "non", 'dites « "peut-être" »\\', "état civil / mariage"]
    grammaire = grammaire_de_la_forme(choix=choix)
    dits = {ecrire_sous(tokenizer, grammaire, 30, au_hasard(tokenizer, g))[0] for g in range(12)}
    assert dits <= set(choix)
    assert len(dits) > 1
    assert all(accepte(tokenizer, grammaire, un) for un in choix)
    assert not accepte(tokenizer, grammaire, "ou")


def test_la_place_juste_suffit_et_un_jeton_de_moins_est_refuse(tokenizer):
    """La plus courte réponse possible s'écrit dans exactement sa longueur, fin comprise."""
    schema = objet(nom={"type": "string"}, lieux={"type": "array", "minItems": 2, "items": {}})
    grammaire = grammaire_json(schema)
    au_moins = int(jetons_au_moins(tokenizer, grammaire))
    texte, fini = ecrire_sous(tokenizer, grammaire, au_moins, au_hasard(tokenizer, 0))
    assert fini
    jsonschema.validate(json.loads(texte), schema)
    with pytest.raises(ErreurFabrique, match=f"au moins {au_moins} jetons"):
        SelonGrammaire(tokenizer, [grammaire], 0, [au_moins - 1])


def test_un_champ_qui_ne_pourrait_plus_se_fermer_ne_s_ouvre_pas(tokenizer):
    """Le modèle veut un champ facultatif qui en exige douze ; la place manque : il s'en passe."""
    annexe = objet(**{f"champ_{rang}": {"type": "string"} for rang in range(12)})
    schema = objet([], annexe=annexe)
    veut = tokenizer('{"annexe":{"champ_0":"', add_special_tokens=False)["input_ids"]

    def noter(ids: list[int]) -> torch.Tensor:
        notes = torch.zeros(len(tokenizer))
        if len(ids) < len(veut):
            notes[veut[len(ids)]] = 10.0
        return notes

    court, fini = ecrire_sous(tokenizer, grammaire_json(schema), 40, noter)
    assert (court, fini) == ("{}", True)
    long, fini = ecrire_sous(tokenizer, grammaire_json(schema), 200, noter)
    assert fini
    assert len(json.loads(long)["annexe"]) == 12


def test_un_schema_sans_fin_est_refuse(tokenizer):
    """Chaque nœud en exige un autre : rien ne finit."""
    schema = {"$defs": {"n": objet(suite={"$ref": "#/$defs/n"})}, "$ref": "#/$defs/n"}
    with pytest.raises(ErreurFabrique, match="ne finit"):
        SelonGrammaire(tokenizer, [grammaire_json(schema)], 0, [500])


# ---------------------------------------------------------------- le même texte que libre


@pytest.mark.parametrize("texte", ['{"nom":"Été","âge":12}', '{"nom": "", "âge": -1}'])
def test_ce_qui_est_deja_valide_ne_change_pas(tokenizer, texte):
    """Compact ou avec une espace, et jusque dans la place juste."""
    grammaire = grammaire_json(objet(nom={"type": "string"}, âge={"type": "integer"}))
    veut = [*tokenizer(texte, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]

    def noter(ids: list[int]) -> torch.Tensor:
        return torch.nn.functional.one_hot(torch.tensor(veut[len(ids)]), len(tokenizer)).float()

    for limite in (len(veut), 200):
        assert ecrire_sous(tokenizer, grammaire, limite, noter) == (texte, True)


@pytest.mark.parametrize(
    "reglages",
    [{}, {"temperature": 1.5, "graine": 5}, {"temperature": 9.0, "top_k": 4, "graine": 1}],
)
def test_la_reponse_libre_reste_quand_la_forme_la_permet(par_coeur, reglages):
    tokenizer, modele = par_coeur
    reglages = {"max_new_tokens": 40, "afficher": False, **reglages}
    libre = fabrique.generer(modele, tokenizer, QUESTION, **reglages)
    longueur = len(tokenizer(libre, add_special_tokens=False)["input_ids"])
    if longueur < 39:  # close d'elle-même
        tenue = fabrique.generer(modele, tokenizer, QUESTION, motif=r"(.|\n)+", **reglages)
        assert tenue.strip() == libre
    parmi = fabrique.generer(modele, tokenizer, QUESTION, choix=["Non.", REPONSE], **reglages)
    assert parmi in ("Non.", REPONSE)
    if not reglages.get("temperature"):
        assert parmi == libre == REPONSE


# ---------------------------------------------------------------- generer, et la commande


def test_une_reponse_contrainte_sort_au_fil_de_l_eau(par_coeur, capsys):
    tokenizer, modele = par_coeur
    dit = fabrique.generer(
        modele, tokenizer, QUESTION, schema=objet(oui={"type": "boolean"}), max_new_tokens=20
    )
    assert set(json.loads(dit)) == {"oui"}
    assert capsys.readouterr().out == f"{dit}\n"


def test_une_regle_voisine_ne_rend_pas_une_reponse_invalide(par_coeur):
    """« sans_repeter » interdit un jeton que la grammaire exige : la grammaire l'emporte."""
    tokenizer, modele = par_coeur
    reponse = fabrique.generer(
        modele, tokenizer, QUESTION, motif="(oui ){6}fin", sans_repeter=2, afficher=False
    )
    assert reponse == "oui " * 6 + "fin"


def test_un_lot_de_schemas_finit_dans_sa_place(par_coeur):
    tokenizer, modele = par_coeur
    schemas = [objet(a={"type": "string"}), {"type": "array", "items": {"type": "integer"}}]
    dites = generer_par_lots(
        modele,
        tokenizer,
        [{"instruction": QUESTION}] * 2,
        grammaires=[grammaire_json(schema) for schema in schemas],
        max_new_tokens=12,
    )
    for (texte, finie), schema in zip(dites, schemas, strict=True):
        assert finie
        jsonschema.validate(json.loads(texte), schema)


def test_la_commande_suit_un_schema_et_des_choix(dossier_par_coeur, tmp_path, capsys):
    fichier = tmp_path / "s.json"
    fichier.write_text(json.dumps({"enum": ["été", "hiver"]}), encoding="utf-8")
    base = ["generer", "--model", str(dossier_par_coeur), "--quantification", "aucune"]
    base += ["--instruction", QUESTION]
    assert principal([*base, "--schema", str(fichier)]) == 0
    assert json.loads(capsys.readouterr().out) in ("été", "hiver")
    assert principal([*base, "--choix", "Non.", "--choix", REPONSE]) == 0
    assert capsys.readouterr().out == f"{REPONSE}\n"
    assert principal([*base, "--motif", "[0-9]{4}"]) == 0
    assert re.fullmatch(r"\d{4}\n", capsys.readouterr().out)


# ---------------------------------------------------------------- les refus


REFUSES = {
    "$.uniqueItems": {"type": "array", "uniqueItems": True},
    "$.properties.a.not": objet(a={"not": {"type": "null"}}),
    "$.items.format": {"type": "array", "items": {"type": "string", "format": "couleur"}},
    "$.anyOf[1].pattern": {"anyOf": [{}, {"type": "string", "pattern": "(?=a)b"}]},
    "$.$ref": {"$ref": "http://exemple.fr/schema.json"},
    "$.$schema": {"$schema": "http://json-schema.org/draft-04/schema#"},
    "$.minLength": {"type": "string", "minLength": "3"},
    "$.requis": {"type": "object", "requis": ["a"]},
}


@pytest.mark.parametrize(("place", "schema"), REFUSES.items())
def test_ce_qui_n_est_pas_suivi_est_refuse_par_son_nom(place, schema):
    with pytest.raises(ErreurFabrique) as refus:
        verifier_schema(schema)
    assert refus.value.champ == place
    assert refus.value.remede


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "string", "minLength": 5, "maxLength": 2},
        {"$ref": "#/$defs/absent"},
        {"enum": []},
        [1],
    ],
)
def test_un_schema_que_rien_ne_suit_est_refuse(schema):
    with pytest.raises(ErreurFabrique):
        verifier_schema(schema)


@pytest.mark.parametrize(
    "options",
    [
        ["--motif", "(?=a)"],
        ["--motif", r"(a)\1"],
        ["--choix", " oui"],
        ["--choix", "oui", "--motif", "oui"],
        ["--schema", "absent.json"],
        ["--schema", "casse.json"],
        ["--schema", "sans_suite.json"],
    ],
)
def test_la_commande_refuse_avant_de_charger(options, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "casse.json").write_text('{"type":\n  strin', encoding="utf-8")
    (tmp_path / "sans_suite.json").write_text('{"uniqueItems": true}', encoding="utf-8")
    monkeypatch.setattr(chargement, "charger", lambda *_, **__: pytest.fail("modèle chargé"))
    assert principal(["generer", "--instruction", "Oui ?", *options]) == 1
    dit = capsys.readouterr().err
    assert "Traceback" not in dit
    if options[-1] == "casse.json":
        assert "ligne 2" in dit
    if options[-1] == "sans_suite.json":
        assert "$.uniqueItems" in dit


def test_llama_cpp_lit_les_separateurs_a_la_lettre():
    """Un schéma qui porterait les mêmes mots n'est pas touché ; une grammaire sans schéma non plus."""
    schema = {"type": "object", "const": {"item_separator": ", ?"}}
    avant, apres = grammaire_json(schema), pour_llama_cpp(grammaire_json(schema))
    lus = [json.loads(g.removeprefix("start: %json ")) for g in (avant, apres)]
    assert [lu["x-guidance"]["item_separator"] for lu in lus] == [", ?", ","]
    assert [lu["x-guidance"]["key_separator"] for lu in lus] == [": ?", ":"]
    assert all(lu["const"] == schema["const"] for lu in lus)
    assert pour_llama_cpp("start: /a+/") == "start: /a+/"
