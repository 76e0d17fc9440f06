"""Exporter en GGUF, et charger un GGUF : ce qui est écrit est relu, ce qui est lu est compté."""

import json
import shutil
import subprocess
import sys
from collections import namedtuple
from pathlib import Path

import gguf
import numpy as np
import openai
import pytest
import torch
from conftest import (
    EXEMPLES,
    ajouter_adaptateur,
    enregistrer,
    petite_configuration,
    sur_le_jumeau,
)
from gguf import TokenType
from transformers import (
    AutoModelForCausalLM,
    FalconForCausalLM,
    Gemma2Config,
    GemmaConfig,
    LlamaConfig,
    MistralConfig,
    Qwen2Config,
    Qwen3Config,
)

import fabrique
from fabrique.ligne_de_commande import principal
from fabrique.modeles.chargement import couches_quatre_bits
from fabrique.modeles.fichier_gguf import TOKENIZER_ENTIER, FichierGguf
from fabrique.modeles.formes import grammaire_json
from fabrique.modeles.gabarits import GABARIT_ALPACA, coder, texte_envoye
from fabrique.modeles.generation import base_ou_affine
from fabrique.modeles.tokenizer import charger_tokenizer
from fabrique.modeles.vraisemblance import log_probabilites
from fabrique.service import export, vocabulaire
from fabrique.service.export import exporter_gguf
from fabrique.service.modelfile import en_modelfile, gabarit_de
from fabrique.service.moteur import Moteur
from fabrique.service.vocabulaire import (
    TEXTES_DIFFICILES,
    decouper,
    en_vocabulaire,
    simuler,
    textes_d_epreuve,
)
from fabrique.socle.erreurs import DONNEES, MACHINE, ErreurFabrique
from outils.jumeau import FIN, SPECIAUX
from outils.tester import ENVIRONNEMENT

#: Une machine où l'extension [gguf] n'est pas installée.
#: Plusieurs commandes dans un processus où gguf manque : leurs codes, et la phrase de chacune.
SANS_GGUF = """
import contextlib, io, json, sys

sys.modules["gguf"] = None
from fabrique.ligne_de_commande import principal

for commande in json.loads(sys.argv[1]):
    with contextlib.redirect_stderr(io.StringIO()) as dit:
        code = principal(commande)
    print(json.dumps([code, dit.getvalue()]))
"""

avec_moteur = pytest.mark.skipif(
    not Moteur.disponible(), reason="l’extension [gguf] (xllamacpp) n’est pas installée"
)


#: Deux sauts de ligne, tels que nos corpus en ont partout.
PARAGRAPHES = (
    "Madame,\n\nVotre demande est complète.\n\nCordialement.",
    "Oui.\n\nAdressez-vous à la mairie.",
)


@pytest.fixture(scope="module", autouse=True)
def peu_de_textes():
    """Les textes difficiles seuls : les quatre cents ont leur test."""
    with pytest.MonkeyPatch.context() as ici:
        ici.setattr(export, "textes_d_epreuve", lambda: [*TEXTES_DIFFICILES, *PARAGRAPHES])
        yield


@pytest.fixture(scope="module")
def par_coeur_f16(dossier_par_coeur, tmp_path_factory):
    """Le petit Falcon qui sait le corpus par cœur, exporté en 16 bits."""
    return exporter_gguf(dossier_par_coeur, tmp_path_factory.mktemp("gguf"), "f16")


@pytest.fixture(scope="module")
def reduit(tokenizer):
    """Un tokenizer de la même façon, à quatre cents entrées : un GGUF s'y lit vingt fois plus vite."""
    return tokenizer.train_new_from_iterator([*TEXTES_DIFFICILES, *PARAGRAPHES], 400)


@pytest.fixture(scope="module")
def dossier_reduit(reduit, tmp_path_factory):
    """Un petit Falcon aux poids tirés au hasard, à ce tokenizer."""
    torch.manual_seed(0)
    modele = FalconForCausalLM(petite_configuration(reduit))
    return enregistrer(modele, reduit, tmp_path_factory.mktemp("modeles") / "petit-falcon")


@pytest.fixture
def adaptateur(dossier_reduit, tmp_path):
    """Un adaptateur au hasard pour le petit Falcon."""
    _, modele = fabrique.charger(dossier_reduit, "aucune", silencieux=True)
    ajouter_adaptateur(modele).save_pretrained(tmp_path / "adaptateur")
    return tmp_path / "adaptateur"


def logits(modele) -> torch.Tensor:
    """Les logits d'une suite fixe."""
    with torch.no_grad():
        return modele.eval()(input_ids=torch.tensor([[1, 40, 300, 77, 123]])).logits.float()


def jamais(*_, **__):
    """Remplace ce qui ne doit pas avoir été appelé."""
    raise AssertionError("appelé trop tôt")


# ---------------------------------------------------------------- ce qui est écrit


def test_le_fichier_dit_l_architecture_et_le_decoupage(par_coeur_f16):
    lu = FichierGguf.ouvrir(par_coeur_f16.fichier)
    assert (lu.architecture, lu.champ("{arch}.attention.head_count_kv")) == ("falcon", 1)
    assert lu.contexte == lu.champ("falcon.context_length") == 2048
    assert lu.champ("tokenizer.ggml.model") == "gpt2"
    assert lu.champ("tokenizer.ggml.pre") == par_coeur_f16.vocabulaire.pre == "superbpe"
    assert par_coeur_f16.vocabulaire.retirees == (("Ċ", "Ċ"),)
    fusions = lu.champ("tokenizer.ggml.merges")
    assert "Ċ Ċ" not in fusions
    assert "Ġ d" in fusions
    assert lu.champ("tokenizer.ggml.add_bos_token") is False
    natures = lu.champ("tokenizer.ggml.token_type")
    assert {natures[i] for i in range(6)} == {TokenType.CONTROL}
    assert natures[6] == TokenType.NORMAL


def test_les_matrices_sont_en_16_bits_et_les_normes_en_32(par_coeur_f16, dossier_par_coeur):
    _, modele = fabrique.charger(dossier_par_coeur, "aucune", silencieux=True)
    lu = FichierGguf.ouvrir(par_coeur_f16.fichier)
    for tenseur in lu.lecteur.tensors:
        attendu = "F32" if len(tenseur.shape) == 1 else "F16"
        assert tenseur.tensor_type.name == attendu, tenseur.name
    poids = modele.state_dict()["transformer.h.1.mlp.dense_4h_to_h.weight"]
    ecrits = lu.tenseur("blk.1.ffn_down.weight")
    assert np.array_equal(ecrits, poids.half().float().numpy())
    assert lu.poids == modele.num_parameters()


def test_en_4_bits_les_plongements_restent_en_8(dossier_reduit, tmp_path):
    fait = exporter_gguf(dossier_reduit, tmp_path, "q4_0")
    types = {t.name: t.tensor_type.name for t in FichierGguf.ouvrir(fait.fichier).lecteur.tensors}
    assert types["token_embd.weight"] == "Q8_0"
    assert types["blk.0.attn_qkv.weight"] == "Q4_0"
    assert types["output_norm.weight"] == "F32"
    assert fait.fichier.stat().st_size == fait.octets


def test_l_adaptateur_est_fusionne_avant(dossier_reduit, adaptateur, tmp_path):
    fait = exporter_gguf(dossier_reduit, tmp_path / "sortie", "f16", adaptateur)
    assert fait.fichier.name == "petit-falcon-adaptateur-f16.gguf"
    _, base = fabrique.charger(dossier_reduit, "aucune", silencieux=True)
    nus, attendus = logits(base), logits(fabrique.charger_adaptateur(base, adaptateur))
    _, relu = fabrique.charger(fait.fichier, "aucune", silencieux=True)
    assert (logits(relu) - attendus).norm() / attendus.norm() < 1e-2
    assert (nus - attendus).norm() / attendus.norm() > 0.1
    noms = sorted(chemin.name for chemin in (tmp_path / "sortie").iterdir())
    assert noms == [".fabrique.json", "Modelfile", "README.md", fait.fichier.name]
    ecrite = (tmp_path / "sortie" / "README.md").read_text("utf-8")
    assert "| base | petit-falcon |" in ecrite
    assert "« adaptateur », fusionné" in ecrite
    assert "à compléter" in ecrite


def test_sans_moteur_ce_qui_n_est_pas_verifie_est_dit(dossier_reduit, tmp_path, monkeypatch):
    monkeypatch.setattr(Moteur, "disponible", staticmethod(lambda: False))
    fait = exporter_gguf(dossier_reduit, tmp_path, "q8_0")
    assert fait.ecart is None
    assert "Réponses non vérifiées" in str(fait)
    assert "D’après ses règles" in str(fait)
    assert "Réponses non vérifiées" in (tmp_path / "README.md").read_text("utf-8")


# ---------------------------------------------------------------- ce qui est refusé


@pytest.mark.parametrize(
    ("type", "dit"),
    [
        ("q4_k_m", "range les poids par 256.*largeur qui s’y divise.*: 64"),
        ("q7_0", "n’existe pas"),
    ],
)
def test_un_type_impossible_est_refuse_avant_de_charger(
    dossier_reduit, tmp_path, monkeypatch, type, dit
):
    monkeypatch.setattr(export, "charger", jamais)
    with pytest.raises(ErreurFabrique, match=dit):
        exporter_gguf(dossier_reduit, tmp_path / "sortie", type)
    assert not (tmp_path / "sortie").exists()


def test_un_type_a_super_blocs_possible_dit_avec_quoi_l_ecrire(tokenizer):
    large = FalconForCausalLM(
        petite_configuration(tokenizer, hidden_size=256, num_hidden_layers=1, vocab_size=300)
    )
    assert "llama-quantize" in str(export._refus_des_super_blocs("q4_k_m", large))


def test_on_n_ecrase_que_ce_qu_on_a_signe(dossier_reduit, tmp_path, monkeypatch):
    fait = exporter_gguf(dossier_reduit, tmp_path, "q8_0")
    exporter_gguf(dossier_reduit, tmp_path, "q8_0")
    for nom in ("Modelfile", "README.md", fait.fichier.name):
        avant = (tmp_path / nom).read_bytes()
        (tmp_path / nom).write_text("à moi", encoding="utf-8")
        with monkeypatch.context() as ici:
            ici.setattr(export, "charger", jamais)
            with pytest.raises(ErreurFabrique, match="ne l’a pas écrit"):
                exporter_gguf(dossier_reduit, tmp_path, "q8_0")
        assert (tmp_path / nom).read_text(encoding="utf-8") == "à moi"
        (tmp_path / nom).write_bytes(avant)


def test_un_disque_trop_petit_se_dit_avant(dossier_reduit, tmp_path, monkeypatch):
    place = namedtuple("place", "total used free")(10**9, 0, 10**5)
    monkeypatch.setattr(export.shutil, "disk_usage", lambda _: place)
    monkeypatch.setattr(export, "charger", jamais)
    with pytest.raises(ErreurFabrique, match="sur le disque") as refus:
        exporter_gguf(dossier_reduit, tmp_path / "sortie", "q8_0")
    assert refus.value.code == MACHINE


@pytest.mark.parametrize("calcul", ["float32", "float16"])
def test_une_memoire_trop_petite_se_dit_avant(dossier_reduit, tmp_path, monkeypatch, calcul):
    """Tout juste assez pour 16 bits : en 32, le système aurait tué l'export."""
    poids = sum(p.numel() for p in export.squelette(dossier_reduit).parameters())
    monkeypatch.setattr(export, "memoire_disponible", lambda: 2 * poids)
    if calcul == "float16":
        assert exporter_gguf(dossier_reduit, tmp_path / "s", "f16", calcul=calcul).fichier.is_file()
        return
    monkeypatch.setattr(export, "charger", jamais)
    with pytest.raises(ErreurFabrique, match="en mémoire, l’export en demande") as refus:
        exporter_gguf(dossier_reduit, tmp_path / "s", "f16", calcul=calcul)
    assert refus.value.code == MACHINE


def test_un_poids_mal_ecrit_est_vu_et_rien_ne_reste(dossier_reduit, tmp_path, monkeypatch):
    ecrire = gguf.quantize
    monkeypatch.setattr(export.gguf, "quantize", lambda poids, type: ecrire(1.5 * poids, type))
    with pytest.raises(ErreurFabrique, match="n’est pas celui du modèle"):
        exporter_gguf(dossier_reduit, tmp_path, "f16")
    assert list(tmp_path.iterdir()) == []


def test_un_poids_trop_grand_pour_16_bits_est_refuse(reduit, tmp_path):
    modele = FalconForCausalLM(petite_configuration(reduit))
    with torch.no_grad():
        modele.transformer.h[0].mlp.dense_h_to_4h.weight[0, 0] = 1e6
    enregistrer(modele, reduit, tmp_path / "grand")
    with pytest.raises(ErreurFabrique, match="65 504"):
        exporter_gguf(tmp_path / "grand", tmp_path / "sortie", "f16")


@pytest.mark.parametrize("changement", [{"alibi": True}, {"bias": True}])
def test_un_falcon_que_llama_cpp_ne_lit_pas_est_refuse(tokenizer, tmp_path, changement):
    modele = FalconForCausalLM(petite_configuration(tokenizer, **changement))
    enregistrer(modele, tokenizer, tmp_path / "autre")
    with pytest.raises(ErreurFabrique, match="llama.cpp ne lirait pas ce modèle"):
        exporter_gguf(tmp_path / "autre", tmp_path / "sortie", "f16")


def test_la_commande_exporte_ou_dit_pourquoi(dossier_reduit, tmp_path, capsys):
    options = [f"--model={dossier_reduit}", f"--sortie={tmp_path}"]
    assert principal(["exporter", *options, "--type=f16"]) == 0
    assert "petit-falcon-f16.gguf" in capsys.readouterr().out
    assert principal(["exporter", *options, "--type=q4_k_m"]) == DONNEES
    assert principal(["exporter", *options, "--format=onnx"]) == DONNEES
    assert "--format" in capsys.readouterr().err


# ---------------------------------------------------------------- le découpage


def test_le_decoupage_du_falcon_de_poche_est_verifie_sur_quatre_cents_textes(tokenizer):
    """Tous sont coupés de même, sauf cinq : paragraphes en retrait, « € », « (« »."""
    textes = textes_d_epreuve()
    assert len(textes) >= 400
    mots = en_vocabulaire(tokenizer, len(tokenizer), textes)
    assert (mots.pre, mots.retirees) == ("superbpe", (("Ċ", "Ċ"),))
    attendus = decouper(tokenizer.backend_tokenizer, textes)
    obtenus = decouper(simuler(mots, tokenizer.backend_tokenizer), textes)
    differents = [t for t, a, o in zip(textes, attendus, obtenus, strict=True) if a != o]
    assert len(differents) <= 5
    # Le texte se relit toujours : seule la coupe change.
    for texte in differents:
        assert tokenizer.decode(decouper(simuler(mots, tokenizer.backend_tokenizer), [texte])[0])


def test_les_rangees_sans_jeton_sont_nommees(tokenizer):
    mots = en_vocabulaire(tokenizer, len(tokenizer) + 2, TEXTES_DIFFICILES)
    assert mots.entrees[-2:] == (f"[PAD{len(tokenizer)}]", f"[PAD{len(tokenizer) + 1}]")
    assert mots.natures[-1] == TokenType.UNUSED


def test_un_tokenizer_plus_grand_que_le_modele_est_refuse(tokenizer):
    with pytest.raises(ErreurFabrique, match="plongements"):
        en_vocabulaire(tokenizer, len(tokenizer) - 1, TEXTES_DIFFICILES)


def test_le_jumeau_s_exporte_sans_jeton_de_debut_ni_gabarit(cache_du_jumeau, tmp_path, monkeypatch):
    """Les conventions de Falcon-7B : pré-découpage « falcon », jetons spéciaux, gabarit du cours."""
    sur_le_jumeau(monkeypatch, cache_du_jumeau)
    fait = exporter_gguf("falcon-7b-instruct", tmp_path, "q8_0")
    lu = FichierGguf.ouvrir(fait.fichier)
    assert fait.vocabulaire.pre == "falcon"
    assert fait.differents == ()
    assert lu.champ("tokenizer.ggml.bos_token_id") is None
    assert lu.champ("tokenizer.ggml.eos_token_id") == 11
    natures = lu.champ("tokenizer.ggml.token_type")
    assert {natures[i] for i in range(len(SPECIAUX) + 1)} == {TokenType.CONTROL}
    consignes = (tmp_path / "Modelfile").read_text("utf-8")
    assert "### Instruction :\n{{ .Content }}" in consignes
    assert f'PARAMETER stop "{FIN}"' in consignes
    assert "Apache-2.0" in (tmp_path / "README.md").read_text("utf-8")
    relu = charger_tokenizer(fait.fichier)
    assert (relu.bos_token, relu.eos_token, relu.pad_token) == (None, FIN, FIN)
    assert set(SPECIAUX) < set(relu.all_special_tokens)


# ---------------------------------------------------------------- Ollama


def test_le_modelfile_recrit_le_gabarit_du_modele(tokenizer):
    consignes, recrit = en_modelfile(tokenizer, "poche.gguf", 1024)
    assert recrit
    assert consignes.splitlines()[0] == "FROM ./poche.gguf"
    assert (
        'TEMPLATE """<|debut|>{{ range .Messages }}{{ if eq .Role "system" }}<|systeme|>'
        '{{ .Content }}{{ else if eq .Role "user" }}<|utilisateur|>{{ .Content }}'
        '{{ else if eq .Role "assistant" }}<|assistant|>{{ .Content }}<|fin|>{{ end }}{{ end }}'
        '<|assistant|>"""'
    ) in consignes
    assert 'PARAMETER stop "<|fin|>"' in consignes
    assert 'PARAMETER stop "<|utilisateur|>"' in consignes
    assert "PARAMETER num_ctx 1024" in consignes
    assert "PARAMETER temperature 0" in consignes


CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
SANS_CONSIGNE = (
    "{{ bos_token }}{% for m in messages %}{% if m.role == 'system' %}"
    "{{ raise_exception('pas de consigne') }}{% elif m.role == 'user' %}[INST] {{ m.content }} "
    "[/INST]{% else %} {{ m.content }}{{ eos_token }}{% endif %}{% endfor %}"
)
DERNIER_TOUR = (
    "{% for m in messages %}{% if loop.last %}Dernière question : {% endif %}"
    "{{ m.role }} : {{ m.content }}\n{% endfor %}"
)


@pytest.mark.parametrize("gabarit", [GABARIT_ALPACA, CHATML, SANS_CONSIGNE])
def test_un_gabarit_recrit_compose_les_memes_textes(gabarit):
    jetons = charger_tokenizer("falcon-poche")
    jetons.chat_template = gabarit
    recrit = gabarit_de(jetons)
    messages = [
        {"role": "user", "content": "Oui ?"},
        {"role": "assistant", "content": "Non.\n"},
        {"role": "user", "content": "Et {{ cela }} ?"},
    ]
    assert recrit.composer(messages) == jetons.apply_chat_template(
        messages, tokenize=False, add_generation_prompt=True
    )
    assert ("system" in recrit.autour) == (gabarit != SANS_CONSIGNE)


def test_un_gabarit_qui_ne_se_recrit_pas_est_dit():
    jetons = charger_tokenizer("falcon-poche")
    jetons.chat_template = DERNIER_TOUR
    consignes, recrit = en_modelfile(jetons, "m.gguf", 64)
    assert not recrit
    assert 'TEMPLATE """' not in consignes
    assert "ne se récrit pas" in consignes


# ---------------------------------------------------------------- le moteur de llama.cpp


@pytest.fixture(scope="module")
def moteur(par_coeur_f16):
    with Moteur(par_coeur_f16.fichier) as ouvert:
        yield ouvert


@avec_moteur
def test_llama_cpp_repond_comme_transformers(par_coeur_f16, moteur, par_coeur):
    assert par_coeur_f16.ecart < 1e-2
    jetons, modele = par_coeur
    for exemple in EXEMPLES[:4]:
        question = "\n\n".join(filter(None, (exemple["instruction"], exemple.get("input"))))
        ecrit = moteur.repondre([{"role": "user", "content": question}], max_new_tokens=40)
        assert ecrit.texte.strip() == fabrique.generer(modele, jetons, question, afficher=False)
        assert ecrit.raison == "stop"


@avec_moteur
def test_le_moteur_lit_les_jetons_de_transformers(moteur, tokenizer):
    question = "Où voter ?\n\n\nMerci."
    ids = coder(texte_envoye(tokenizer, question), tokenizer)
    ecrit = moteur.repondre([{"role": "user", "content": question}], max_new_tokens=3)
    assert ecrit.jetons_lus == len(ids)
    assert moteur.decouper(["Où voter ?"]) == [coder("Où voter ?", tokenizer)]


@avec_moteur
def test_le_serveur_de_llama_cpp_repond_au_meme_client(moteur):
    """Le mode d'emploi le promet : le même fichier, le même client, une autre adresse."""
    client = openai.OpenAI(base_url=f"{moteur.adresse}/v1", api_key="sans", max_retries=0)
    for exemple in EXEMPLES[:2]:
        rendu = client.chat.completions.create(
            model=moteur.fichier.stem,
            messages=[{"role": "user", "content": exemple["instruction"]}],
            temperature=0,
            max_tokens=40,
        )
        assert rendu.choices[0].message.content.strip() == exemple["output"]


@avec_moteur
def test_le_moteur_s_arrete_quand_on_le_lui_dit(moteur):
    messages = [{"role": "user", "content": "Comment renouveler ma carte d’identité ?"}]
    entier = moteur.repondre(messages, max_new_tokens=40)
    recus = []
    assert moteur.repondre(messages, au_fil=recus.append).texte == "".join(recus) == entier.texte
    assert moteur.repondre(messages, max_new_tokens=2).raison == "length"
    arrete = moteur.repondre(messages, fins=["rendez"])
    assert (arrete.raison, arrete.texte) == ("stop", entier.texte.partition("rendez")[0])
    assert moteur.repondre(messages, au_fil=lambda _: True).raison == "annule"


@avec_moteur
def test_un_tirage_se_reproduit_par_sa_graine(moteur):
    ids = [1, 4, 500]
    tires = [
        moteur.continuer(ids, temperature=5.0, graine=g, max_new_tokens=8).jetons for g in (1, 1, 2)
    ]
    assert tires[0] == tires[1] != tires[2]


@avec_moteur
def test_les_probabilites_du_moteur_sont_celles_du_modele(moteur, par_coeur):
    jetons, modele = par_coeur
    ids = coder(texte_envoye(jetons, "Où voter ?"), jetons)
    obtenues = moteur.log_probabilites(ids, len(jetons))
    with torch.no_grad():
        attendues = modele(torch.tensor([ids])).logits[0, -1].log_softmax(-1)
    lisibles = obtenues > export.PLANCHER
    torch.testing.assert_close(obtenues[lisibles], attendues[lisibles], rtol=0, atol=2e-2)


@avec_moteur
def test_une_question_trop_longue_est_refusee_en_francais(moteur):
    with pytest.raises(ErreurFabrique, match="le modèle n’en lit que 2048"):
        moteur.continuer([5] * 3000)


@avec_moteur
def test_un_schema_json_est_suivi(moteur):
    schema = {
        "type": "object",
        "properties": {"oui": {"type": "boolean"}},
        "required": ["oui"],
        "additionalProperties": False,
    }
    ecrit = moteur.repondre(
        [{"role": "user", "content": "Dites oui."}],
        grammaire=grammaire_json(schema),
        max_new_tokens=60,
    )
    assert set(json.loads(ecrit.texte)) == {"oui"}


def test_sans_l_extension_la_phrase_dit_comment_l_installer(par_coeur_f16, monkeypatch):
    monkeypatch.setitem(sys.modules, "xllamacpp", None)
    with pytest.raises(ErreurFabrique, match=r"fabrique\[gguf\]"):
        Moteur(par_coeur_f16.fichier)


@avec_moteur
def test_un_modele_que_llama_cpp_lit_autrement_est_refuse(dossier_par_coeur, tmp_path, monkeypatch):
    """Une base de rotation fausse ne se voit pas dans les poids : llama.cpp, lui, la suit."""
    ecrire = gguf.GGUFWriter.add_rope_freq_base
    monkeypatch.setattr(
        gguf.GGUFWriter, "add_rope_freq_base", lambda soi, base: ecrire(soi, base / 1000)
    )
    with pytest.raises(ErreurFabrique, match="le même modèle"):
        exporter_gguf(dossier_par_coeur, tmp_path, "f16")
    assert list(tmp_path.iterdir()) == []


# ---------------------------------------------------------------- un GGUF est aussi une base


def test_notre_export_se_recharge_en_4_bits_et_s_affine(par_coeur_f16, corpus, tmp_path):
    jetons, modele = fabrique.charger(par_coeur_f16.fichier, "nf4", silencieux=True)
    assert len(couches_quatre_bits(modele)) == 8
    reponse = fabrique.generer(modele, jetons, "Où voter ?", afficher=False)
    assert reponse == "Au bureau indiqué sur votre carte électorale."
    reglages = fabrique.Reglages(
        epochs=1, batch_size=11, mbatch_size=11, val_set_size=0, warmup_steps=0
    )
    sortie = tmp_path / "adaptateur"
    assert fabrique.entrainer(modele, jetons, corpus, reglages, sortie).pas == 1
    _, neuf = fabrique.charger(par_coeur_f16.fichier, "nf4", silencieux=True)
    assert fabrique.charger_adaptateur(neuf, sortie).active_adapters == ["default"]


def test_notre_export_recharge_rend_le_meme_modele(par_coeur_f16, dossier_par_coeur):
    jetons, origine = fabrique.charger(dossier_par_coeur, "aucune", silencieux=True)
    relus, modele = fabrique.charger(par_coeur_f16.fichier, "aucune", silencieux=True)
    torch.testing.assert_close(logits(modele), logits(origine), rtol=0, atol=5e-2)
    assert [jetons.encode(t) for t in TEXTES_DIFFICILES] == [
        relus.encode(t) for t in TEXTES_DIFFICILES
    ]
    assert set(relus.all_special_tokens) == set(jetons.all_special_tokens)
    assert relus.chat_template == jetons.chat_template


COMMUNS = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
}
A_PART = {"tie_word_embeddings": False}
ETIREES = {
    "rope_type": "llama3",
    "rope_theta": 500000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}
GEMMA = {"head_dim": 16, "query_pre_attn_scalar": 16, "sliding_window": 64}
FAMILLES = {
    "llama": (LlamaConfig, A_PART),
    "llama-3.1": (LlamaConfig, A_PART | {"rope_parameters": ETIREES}),
    "mistral": (MistralConfig, A_PART | {"head_dim": 16}),
    "qwen2": (Qwen2Config, {"tie_word_embeddings": True}),
    "qwen3": (Qwen3Config, A_PART | {"head_dim": 16}),
    "gemma": (GemmaConfig, {"head_dim": 16}),
    "gemma2": (Gemma2Config, GEMMA),
}
ROLES = ("bos", "eos", "pad")
#: transformers ne lit pas les GGUF de la première Gemma.
RELUES = set(FAMILLES) - {"gemma"}


def au_hasard(famille: str, tokenizer, dossier: Path, reserve: int = 8) -> Path:
    """Un modèle minuscule aux poids tirés au hasard, normes et biais compris.

    ``reserve`` : des rangées de plus, pour les jetons que la classe de la famille ajoute.
    """
    classe, changements = FAMILLES[famille]
    jetons = {f"{role}_token_id": getattr(tokenizer, f"{role}_token_id") for role in ROLES}
    torch.manual_seed(0)
    config = classe(**COMMUNS, **jetons, **changements, vocab_size=len(tokenizer) + reserve)
    modele = AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        for parametre in modele.parameters():
            parametre.add_(torch.randn_like(parametre) * 0.1)
    return enregistrer(modele, tokenizer, dossier)


@pytest.mark.parametrize("famille", FAMILLES)
def test_chaque_famille_s_exporte_et_se_recharge(famille, reduit, tmp_path):
    """Avec le moteur, l'export compare aussi ses probabilités à celles de transformers."""
    source = au_hasard(famille, reduit, tmp_path / famille)
    fait = exporter_gguf(source, tmp_path / "sortie", "f16")
    if Moteur.disponible():
        assert fait.ecart < 1e-2
    if famille not in RELUES:
        with pytest.raises(ErreurFabrique, match="transformers ne sait pas lire"):
            fabrique.charger(fait.fichier, "aucune", silencieux=True)
        return
    _, origine = fabrique.charger(source, "aucune", silencieux=True)
    _, relu = fabrique.charger(fait.fichier, "aucune", silencieux=True)
    torch.testing.assert_close(logits(relu), logits(origine), rtol=0, atol=2e-2)


def test_un_jeton_de_trop_est_refuse_avant_d_ecrire(reduit, tmp_path):
    """La classe de Qwen ajoute « <|endoftext|> », que ce modèle ne connaît pas."""
    source = au_hasard("qwen2", reduit, tmp_path / "qwen2", reserve=0)
    with pytest.raises(ErreurFabrique, match="401 jetons, et le modèle 400 plongements"):
        exporter_gguf(source, tmp_path / "sortie", "f16")


def test_un_gguf_d_ailleurs_se_charge_en_4_bits(reduit, tmp_path, monkeypatch):
    """Sans le tokenizer entier, que d'autres outils n'écrivent pas : transformers le retrouve."""
    source = au_hasard("qwen2", reduit, tmp_path / "qwen2")
    monkeypatch.setattr(vocabulaire, "TOKENIZER_ENTIER", "note.sans.effet")
    fait = exporter_gguf(source, tmp_path / "sortie", "q8_0")
    assert FichierGguf.ouvrir(fait.fichier).champ(TOKENIZER_ENTIER) is None
    jetons, modele = fabrique.charger(fait.fichier, "nf4", silencieux=True)
    assert len(couches_quatre_bits(modele)) == 14
    assert jetons.eos_token == "<|fin|>"
    texte = "Ma carte d’identité."
    assert jetons.decode(coder(texte, jetons)) == texte


# ---------------------------------------------------------------- un GGUF qu'on ne sait pas lire


def reecrit(source: Path, cible: Path, ajouts=(), **champs) -> Path:
    """Une copie d'un GGUF, un champ changé ou un tenseur ajouté."""
    lu = FichierGguf.ouvrir(source)
    fichier = gguf.GGUFWriter(cible, lu.architecture)
    for nom, champ in lu.lecteur.fields.items():
        if nom.startswith("GGUF.") or nom == "general.architecture":
            continue
        valeur = champs.get(nom.rpartition(".")[2], champ.contents())
        fichier.add_key_value(nom, valeur, champ.types[0], *champ.types[1:2])
    for tenseur in lu.lecteur.tensors:
        fichier.add_tensor(tenseur.name, tenseur.data, raw_dtype=tenseur.tensor_type)
    for nom, poids in ajouts:
        fichier.add_tensor(nom, poids)
    fichier.write_header_to_file()
    fichier.write_kv_data_to_file()
    fichier.write_tensors_to_file()
    fichier.close()
    return cible


def test_un_tenseur_que_transformers_ecarterait_est_refuse(par_coeur_f16, tmp_path):
    ajout = [("blk.0.inconnu.weight", np.ones((32, 32), np.float32))]
    copie = reecrit(par_coeur_f16.fichier, tmp_path / "ajout.gguf", ajout)
    with pytest.raises(ErreurFabrique, match="porte .* poids, et le modèle"):
        fabrique.charger(copie, "aucune", silencieux=True)


def test_un_falcon_aux_tetes_groupees_est_refuse(par_coeur_f16, tmp_path):
    copie = reecrit(par_coeur_f16.fichier, tmp_path / "groupe.gguf", head_count_kv=2)
    with pytest.raises(ErreurFabrique, match="groupe ses têtes"):
        fabrique.charger(copie, "aucune", silencieux=True)


def test_un_fichier_qui_n_est_pas_un_gguf_se_dit(par_coeur_f16, tmp_path):
    entier = par_coeur_f16.fichier.read_bytes()
    for nom, octets in (("vide", b""), ("texte", b"bonjour " * 40), ("coupe", entier[:5000])):
        (tmp_path / f"{nom}.gguf").write_bytes(octets)
        with pytest.raises(ErreurFabrique, match="n’est pas un fichier GGUF"):
            fabrique.charger(tmp_path / f"{nom}.gguf", silencieux=True)
    with pytest.raises(ErreurFabrique, match="inconnu"):
        fabrique.charger(tmp_path / "absent.gguf", silencieux=True)


def test_un_gguf_trop_grand_pour_la_memoire_se_dit(par_coeur_f16, monkeypatch):
    from fabrique.modeles import chargement

    monkeypatch.setattr(chargement, "memoire_disponible", lambda: 1000)
    with pytest.raises(ErreurFabrique, match="en mémoire") as refus:
        fabrique.charger(par_coeur_f16.fichier, silencieux=True)
    assert refus.value.code == MACHINE


# ---------------------------------------------------------------- plusieurs adaptateurs


def test_un_adaptateur_se_choisit_par_son_nom_a_chaque_appel(dossier_reduit, adaptateur, tmp_path):
    jetons, modele = fabrique.charger(dossier_reduit, "aucune", silencieux=True)
    autre = tmp_path / "autre"
    shutil.copytree(adaptateur, autre)
    reglages = json.loads((autre / "adapter_config.json").read_text("utf-8"))
    reglages["lora_alpha"] *= -1
    (autre / "adapter_config.json").write_text(json.dumps(reglages), "utf-8")
    pose = fabrique.charger_adaptateur(modele, adaptateur, nom="un")
    fabrique.charger_adaptateur(pose, autre, nom="deux")
    exemple = {"input_ids": [1, 40, 300, 77], "labels": [-100, 40, 300, 77]}
    notes = {
        nom: log_probabilites(pose, [exemple], adaptateur=nom)[0].tolist()
        for nom in ("un", "deux", True, False)
    }
    assert notes["un"] == notes[True]
    assert len({tuple(note) for note in notes.values()}) == 3
    assert pose.active_adapters == ["un"]
    for nom in ("un", "deux"):
        assert isinstance(
            fabrique.generer(pose, jetons, "Oui ?", adaptateur=nom, max_new_tokens=2), str
        )
    with pytest.raises(ErreurFabrique, match="« trois » sur ce modèle, qui porte un, deux"):
        fabrique.generer(pose, jetons, "Oui ?", adaptateur="trois")


def test_choisir_un_adaptateur_laisse_l_apprentissage_intact(avec_adaptateur):
    _, affine = avec_adaptateur
    avant = {nom for nom, p in affine.named_parameters() if p.requires_grad}
    with base_ou_affine(affine, "default"):
        pass
    assert {nom for nom, p in affine.named_parameters() if p.requires_grad} == avant != set()


def test_sans_l_extension_la_commande_dit_quoi_installer(par_coeur_f16, tmp_path):
    """Écrire un GGUF, ou en faire une base : une phrase, et rien d'écrit."""
    commandes = [
        ["exporter", "--model", "falcon-poche", "--sortie", str(tmp_path / "ici")],
        ["generer", "--model", str(par_coeur_f16.fichier), "--instruction", "Où voter\u00a0?"],
    ]
    fini = subprocess.run(
        [sys.executable, "-c", SANS_GGUF, json.dumps(commandes)],
        env=ENVIRONNEMENT,
        capture_output=True,
        text=True,
    )
    assert fini.returncode == 0, fini.stderr
    assert "Traceback" not in fini.stderr
    dites = [json.loads(ligne) for ligne in fini.stdout.splitlines() if ligne.startswith("[")]
    assert [code for code, _ in dites] == [MACHINE] * len(commandes)
    for _, dit in dites:
        assert "pip install 'fabrique[gguf]'" in dit
        assert "Traceback" not in dit
    assert not (tmp_path / "ici").exists()
