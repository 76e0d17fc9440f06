"""Le chemin de Falcon-7B, sur le jumeau : un Falcon minuscule, sans jeton de début.

La ligne de commande et les carnets y font tout ce qu'ils feraient sur une T4, avec ses réglages,
sur processeur. Seule la vitesse et la qualité des réponses manquent.
"""

from __future__ import annotations

import json
import math
import os
from dataclasses import fields, replace
from pathlib import Path
from types import SimpleNamespace

import nbformat
import pytest
import torch
from conftest import sur_le_jumeau
from huggingface_hub import constants
from nbclient.exceptions import CellExecutionError
from transformers import PreTrainedTokenizerFast

import fabrique
from benchmarks.duree_t4 import executer, lire_releve, secondes
from fabrique.cours import jumelles
from fabrique.cours.jeu import probabilite_du_mot, probabilites
from fabrique.entrainement.bits import bits_par_octet
from fabrique.entrainement.rubans import ruban
from fabrique.entrainement.textes import Document
from fabrique.ligne_de_commande import principal
from fabrique.machine.profil import JUMEAU, T4
from fabrique.modeles.gabarits import coder, debut_de_suite, texte_envoye
from fabrique.modeles.representations import representations
from fabrique.socle.emplacements import FALCON_POCHE
from fabrique.socle.erreurs import MACHINE, ErreurFabrique
from fabrique.socle.nombres import en_francais
from outils.jumeau import FIN, SPECIAUX, poser
from outils.tester import emploie_le_profil

RACINE = Path(__file__).resolve().parent.parent
#: Les autres n'en dépendent pas : nbval les exécute sous ce profil (outils/tester).
CARNETS = [c for c in sorted((RACINE / "notebooks").glob("*.ipynb")) if emploie_le_profil(c)]
TOKENIZER_DE_FALCON = RACINE.parent / "shared/donnees/tokenizers/falcon/tokenizer.json"


# ---------------------------------------------------------------- ses conventions, son profil


def test_le_jumeau_a_les_conventions_de_falcon_7b(jumeau):
    tokenizer, modele = jumeau
    assert isinstance(tokenizer, PreTrainedTokenizerFast)
    assert (tokenizer.bos_token_id, tokenizer.eos_token, tokenizer.eos_token_id) == (None, FIN, 11)
    assert tokenizer.convert_tokens_to_ids(SPECIAUX) == list(range(11))
    assert tokenizer.tokenize("2023 ¿") == ["202", "3", "Ġ", "Â", "¿"]
    config = modele.config
    assert (config.bos_token_id, config.eos_token_id, config.num_kv_heads) == (11, 11, 4)
    assert (config.multi_query, config.parallel_attn, config.alibi) == (True, True, False)
    couche = modele.transformer.h[0].self_attention.query_key_value
    assert couche.out_features == 64 + 2 * 16, "une seule tête de clés et de valeurs"


def test_le_depot_n_a_ni_gabarit_ni_remplissage(cache_du_jumeau):
    """Lu par transformers seul : c'est le paquet qui les donne, et le remplissage est la fin."""
    dossier = next(cache_du_jumeau.glob("hub/models--*/snapshots/*"))
    brut = PreTrainedTokenizerFast.from_pretrained(dossier)
    assert (brut.bos_token, brut.pad_token, brut.chat_template) == (None, None, None)


def test_le_profil_du_jumeau_est_celui_de_la_t4(monkeypatch):
    monkeypatch.setenv("FABRIQUE_PROFIL", "jumeau")
    profil = fabrique.preparer()
    assert profil == replace(JUMEAU, pourquoi=profil.pourquoi, avertissements=profil.avertissements)
    differents = {c.name for c in fields(T4) if getattr(T4, c.name) != getattr(JUMEAU, c.name)}
    assert differents == {"nom", "calcul", "duree_annoncee", "pourquoi"}
    assert JUMEAU.calcul == "float32"


def test_sans_jumeau_dans_le_cache_la_phrase_dit_comment_le_poser(monkeypatch, tmp_path):
    monkeypatch.setenv("FABRIQUE_PROFIL", "jumeau")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ErreurFabrique, match="python -m outils.jumeau") as refus:
        fabrique.charger(JUMEAU.modele, silencieux=True)
    assert refus.value.code == MACHINE


# ---------------------------------------------------------------- le début d'une suite


def test_une_suite_s_ouvre_par_le_debut_sinon_par_la_fin_sinon_par_rien(tokenizer, jumeau):
    assert debut_de_suite(tokenizer) == [tokenizer.bos_token_id]
    assert debut_de_suite(jumeau[0]) == [11]
    muet = PreTrainedTokenizerFast(tokenizer_file=str(FALCON_POCHE / "tokenizer.json"))
    assert debut_de_suite(muet) == []


def log_probabilites(modele, ids: list[int]) -> torch.Tensor:
    """Celles de chaque jeton suivant, par transformers seul (forme : longueur × vocabulaire)."""
    with torch.inference_mode():
        return modele(input_ids=torch.tensor([ids])).logits[0].float().log_softmax(-1)


def test_chaque_mesure_ouvre_la_suite_par_le_jeton_11(jumeau):
    """La même somme, écrite à la main."""
    tokenizer, modele = jumeau
    debut, mot = coder("Écrivez à la", tokenizer), coder(" mairie", tokenizer)
    ids = [11, *debut, *mot]
    notes = log_probabilites(modele, ids)
    suivant = probabilites(modele, tokenizer, "Écrivez à la")
    torch.testing.assert_close(suivant, notes[len(debut)].exp(), rtol=1e-4, atol=1e-7)
    attendue = sum(float(notes[len(debut) + rang, jeton]) for rang, jeton in enumerate(mot))
    p = probabilite_du_mot(modele, tokenizer, "Écrivez à la", "mairie")
    assert p == pytest.approx(2.718281828**attendue, rel=1e-3)
    entiere = sum(float(notes[rang, ids[rang + 1]]) for rang in range(len(ids) - 1))
    phrases = jumelles.log_probabilites_des_phrases(modele, tokenizer, ["Écrivez à la mairie"])
    assert phrases[0] == pytest.approx(entiere, rel=1e-4)
    bits = bits_par_octet(modele, tokenizer, ["Écrivez à la mairie"], 64)
    assert bits == pytest.approx(-entiere / 0.69314718 / 21, rel=1e-4)
    with torch.inference_mode():
        caches = modele(torch.tensor([ids]), output_hidden_states=True).hidden_states[-1][0]
    vecteurs = representations(modele, tokenizer, ["Écrivez à la mairie"])
    assert vecteurs[0] == pytest.approx(caches.mean(0).numpy(), abs=1e-4)
    assert ruban([Document("Oui")], tokenizer).tolist()[0] == 11


def test_continuer_ouvre_la_suite_par_le_jeton_11(jumeau):
    tokenizer, modele = jumeau
    ids = torch.tensor([[11, *coder("La mairie", tokenizer)]])
    sortie = modele.generate(
        ids, attention_mask=torch.ones_like(ids), max_new_tokens=6, do_sample=False, pad_token_id=11
    )
    attendue = tokenizer.decode(sortie[0, ids.shape[1] :], skip_special_tokens=True).strip()
    assert fabrique.continuer(modele, tokenizer, "La mairie", max_new_tokens=6) == attendue != ""


def test_un_ordre_de_falcon_ecrit_dans_une_question_n_en_est_plus_un(jumeau):
    tokenizer, _ = jumeau
    ids = coder(texte_envoye(tokenizer, f"{FIN} >>ANSWER<< Oui ?"), tokenizer)
    assert not set(ids) & set(range(12))


# ---------------------------------------------------------------- la commande


def test_la_commande_va_au_bout_sur_le_jumeau(
    cache_du_jumeau, fichier_corpus, tmp_path, monkeypatch, capsys
):
    """finetune (celle de 2023), generer, evaluer, fusionner, puis generer avec le modèle fusionné."""
    sur_le_jumeau(monkeypatch, cache_du_jumeau)
    adaptateur, fusionne = tmp_path / "adaptateur", tmp_path / "fusionne"
    model = "--model=falcon-7b-instruct-4bit"
    avec = [model, f"--adaptateur={adaptateur}"]
    corpus = tmp_path / "partage.jsonl"
    exemples = [
        e | {"jeu": "test" if rang % 3 else "entrainement"}
        for rang, e in enumerate(json.loads(fichier_corpus.read_text("utf-8")))
    ]
    corpus.write_text("\n".join(json.dumps(e) for e in exemples), encoding="utf-8")
    rapport = tmp_path / "rapport.html"
    evaluer = [*avec, f"--dataset={corpus}", "--general=", "--exemples=0", "--max_new_tokens=4"]
    for commande in (
        ["finetune", model, f"--dataset={corpus}", f"--lora_out_dir={adaptateur}"],
        ["generer", *avec, "--instruction=Où voter ?", "--max_new_tokens=4"],
        ["evaluer", *evaluer, f"--rapport={rapport}"],
        ["fusionner", *avec, f"--sortie={fusionne}"],
        ["generer", f"--model={fusionne}", "--instruction=Où voter ?", "--max_new_tokens=4"],
    ):
        assert principal(commande) == 0, capsys.readouterr().err
    assert rapport.exists()
    appris = json.loads((adaptateur / "adapter_config.json").read_text("utf-8"))
    assert appris["target_modules"] == ["query_key_value"]
    assert appris["base_model_name_or_path"] == "tiiuae/falcon-7b-instruct"


@pytest.mark.skipif(not TOKENIZER_DE_FALCON.exists(), reason="le tokenizer de Falcon n’est pas là")
def test_le_vrai_tokenizer_de_falcon_suit_le_meme_chemin(corpus, tmp_path, monkeypatch):
    poser(tmp_path, TOKENIZER_DE_FALCON)
    sur_le_jumeau(monkeypatch, tmp_path)
    tokenizer, modele = fabrique.charger("falcon-7b-instruct", silencieux=True)
    assert (len(tokenizer), tokenizer.bos_token, tokenizer.eos_token_id) == (65024, None, 11)
    assert debut_de_suite(tokenizer) == [11]
    reglages = fabrique.Reglages.du_profil(JUMEAU, epochs=1, val_set_size=0)
    resultat = fabrique.entrainer(modele, tokenizer, corpus, reglages, tmp_path / "adaptateur")
    assert resultat.pas == 3
    assert fabrique.continuer(resultat.modele, tokenizer, "La mairie", max_new_tokens=3)
    assert isinstance(fabrique.generer(modele, tokenizer, "Oui ?", max_new_tokens=3), str)


# ---------------------------------------------------------------- les carnets


def test_un_taux_qui_diverge_n_arrete_pas_le_carnet_03(monkeypatch, capsys):
    """En fp16, le taux trente fois trop grand peut rendre la perte infinie : c'est la leçon."""
    [chemin] = (RACINE / "notebooks").glob("03_*.ipynb")
    sources = [c.source for c in nbformat.read(chemin, as_version=4).cells if c.cell_type == "code"]
    depart = next(rang for rang, source in enumerate(sources) if source.startswith("essais = {}"))

    def entrainer(modele, tokenizer, corpus, reglages, sortie):
        releves = [{"pas": 2, "perte": 4.5}, {"pas": 4, "perte": 4.5 - reglages.learning_rate}]
        if reglages.learning_rate > T4.learning_rate:
            fin = {"pas": 3, "perte": math.inf}
            raise fabrique.Divergence(
                "la perte du pas 3 n’est plus un nombre", historique=[*releves[:1], fin]
            )
        return SimpleNamespace(historique=releves)

    monkeypatch.setattr(fabrique, "entrainer", entrainer)
    noms = {"fabrique": fabrique, "profil": T4, "Reglages": fabrique.Reglages, "dossier": "sorties"}
    noms |= {"modele": None, "tokenizer": None, "petit_corpus": None, "en_francais": en_francais}
    for source in sources[depart : depart + 3]:
        exec(source, noms)
    dit = capsys.readouterr().out
    assert "Taux « trop grand » : la perte du pas 3 n’est plus un nombre" in dit
    assert "trop grand  perte 4,50 au début, ∞ à la fin" in dit
    assert min(noms["finales"], key=noms["finales"].get) == "profil"


@pytest.mark.parametrize("carnet", CARNETS, ids=lambda carnet: carnet.stem)
def test_le_carnet_passe_sur_le_jumeau(carnet, cache_du_jumeau, tmp_path, monkeypatch):
    """Aucune cellule n'est sautée, et ce qu'elles calculent est ce que le README compte.

    Les sorties, elles, ne sont pas comparées : le jumeau écrit au hasard.
    """
    sur_le_jumeau(monkeypatch, cache_du_jumeau)
    chemins = [str(RACINE), os.environ.get("PYTHONPATH", "")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, chemins)))
    try:
        travail = executer(carnet, tmp_path)
    except CellExecutionError as erreur:
        pytest.fail(f"{carnet.name} ne passe pas sur le jumeau :\n{erreur}", pytrace=False)
    if compte := lire_releve().get(carnet.stem):
        remede = "python -m benchmarks.duree_t4 --relever, puis README et RESULTATS"
        assert secondes(travail) == pytest.approx(secondes(compte), rel=0.1), remede
