"""Un adaptateur s'applique tout entier au modèle où il a été appris, ou il est refusé."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import huggingface_hub
import pytest
import torch
import transformers
from conftest import ajouter_adaptateur, enregistrer
from safetensors.torch import load_file, save_file
from test_fusion import logits
from transformers import FalconConfig, FalconForCausalLM

import fabrique
from fabrique.ligne_de_commande import principal
from fabrique.modeles.adaptateurs import verifier_adaptateur
from fabrique.modeles.origine import empreinte_de_la_base
from fabrique.socle.erreurs import ErreurFabrique


def _adaptateur_de(dossier_modele, sortie):
    """Un adaptateur au hasard, qui change tout, enregistré par peft."""
    _, modele = fabrique.charger(dossier_modele, "aucune", silencieux=True)
    ajouter_adaptateur(modele).save_pretrained(sortie)
    return sortie


def _changer_les_poids(dossier, changer):
    fichier = dossier / "adapter_model.safetensors"
    save_file(changer(load_file(fichier)), fichier, {"format": "pt"})


PREMIER = "base_model.model.transformer.h.0.mlp.dense_h_to_4h.lora_A.weight"
VOCABULAIRE = 8192
#: Ce qu'on fait subir à un adaptateur, et ce qui doit en être dit.
ABIMES = {
    "renommé": (
        lambda p: {nom.replace("base_model.model.", "model."): t for nom, t in p.items()},
        "manquants .*en trop",
    ),
    "un seul renommé": (
        lambda p: {nom.replace(PREMIER, f"{PREMIER}.a"): t for nom, t in p.items()},
        "1 manquants .*1 en trop",
    ),
    "nommé comme dans le modèle": (
        lambda p: {nom.replace(".weight", ".default.weight"): t for nom, t in p.items()},
        "manquants .*en trop",
    ),
    "incomplet": (lambda p: {nom: t for nom, t in p.items() if nom != PREMIER}, "1 manquants"),
    "en trop": (lambda p: p | {PREMIER.replace("h.0", "h.9"): p[PREMIER].clone()}, "1 en trop"),
    "plongements en plus": (
        lambda p: (
            p
            | {"base_model.model.transformer.word_embeddings.weight": torch.zeros(VOCABULAIRE, 64)}
        ),
        "1 en trop",
    ),
    "une couche d’un autre rang": (
        lambda p: p | {PREMIER: p[PREMIER][:1].clone()},
        "1 de mauvaise taille",
    ),
    "nul": (lambda p: {nom: torch.zeros_like(t) for nom, t in p.items()}, "ne change rien"),
    "seconde matrice nulle": (
        lambda p: {nom: t * ("lora_B" not in nom) for nom, t in p.items()},
        "ne change rien",
    ),
}


@pytest.mark.parametrize("faute", ABIMES)
def test_un_adaptateur_qui_ne_s_applique_pas_est_refuse_et_retire(dossier_petit, tmp_path, faute):
    """Et le modèle répond ensuite comme si rien n'avait été essayé."""
    changer, phrase = ABIMES[faute]
    bon = _adaptateur_de(dossier_petit, tmp_path / "bon")
    abime = Path(shutil.copytree(bon, tmp_path / "abime"))
    _changer_les_poids(abime, changer)
    _, modele = fabrique.charger(dossier_petit, "aucune", silencieux=True)
    intact = logits(modele)
    with pytest.raises(ErreurFabrique, match=phrase):
        fabrique.charger_adaptateur(modele, abime)
    assert torch.equal(logits(modele), intact)
    pose = fabrique.charger_adaptateur(modele, bon, "bon")
    avec = logits(pose)
    with pytest.raises(ErreurFabrique, match=phrase):
        fabrique.charger_adaptateur(pose, abime, "abime")
    assert list(pose.peft_config) == ["bon"]
    assert torch.equal(logits(pose), avec)
    assert not torch.equal(avec, intact)


def test_un_nom_deja_pris_est_refuse(dossier_petit, tmp_path):
    """Le second garderait l'échelle du premier : il ne serait pas lui-même."""
    bon = _adaptateur_de(dossier_petit, tmp_path / "bon")
    _, modele = fabrique.charger(dossier_petit, "aucune", silencieux=True)
    pose = fabrique.charger_adaptateur(modele, bon)
    with pytest.raises(ErreurFabrique, match="s’appelle déjà « default »"):
        fabrique.charger_adaptateur(pose, bon)
    fabrique.charger_adaptateur(pose, bon, "second")
    assert set(pose.peft_config) == {"default", "second"}


def test_une_echelle_nulle_est_refusee(dossier_petit, tmp_path):
    bon = _adaptateur_de(dossier_petit, tmp_path / "bon")
    fichier = bon / "adapter_config.json"
    fichier.write_text(json.dumps(json.loads(fichier.read_text()) | {"lora_alpha": 0}))
    with pytest.raises(ErreurFabrique, match="ne change rien"):
        verifier_adaptateur(bon)


@pytest.mark.parametrize("contenu", ["{", "[]", '{"peft_type": "INCONNU"}', "\x00\xff"])
def test_une_configuration_d_adaptateur_abimee_se_dit_en_une_phrase(
    dossier_petit, tmp_path, contenu
):
    bon = _adaptateur_de(dossier_petit, tmp_path / "bon")
    (bon / "adapter_config.json").write_bytes(contenu.encode("latin-1"))
    with pytest.raises(ErreurFabrique, match="adaptateur"):
        verifier_adaptateur(bon)


def _voisine(tokenizer, dossier_petit, sortie):
    """La même base, une seule de ses couches ayant un peu bougé : ce que fait une fusion."""
    modele = FalconForCausalLM.from_pretrained(dossier_petit)
    with torch.no_grad():
        modele.transformer.h[1].self_attention.query_key_value.weight.mul_(1.01)
    return enregistrer(modele, tokenizer, sortie)


def test_une_base_voisine_est_refusee_d_apres_sa_signature(
    dossier_petit, tokenizer, corpus, tmp_path
):
    """Mêmes couches, mêmes tailles, même nom de dossier : seuls les poids ont changé."""
    tok, modele = fabrique.charger(dossier_petit, "nf4", silencieux=True)
    reglages = fabrique.Reglages(epochs=1, val_set_size=0, learning_rate=1e-2, warmup_steps=0)
    fabrique.entrainer(modele, tok, corpus, reglages, tmp_path / "appris")
    voisine = _voisine(tokenizer, dossier_petit, tmp_path / dossier_petit.name)
    _, autre = fabrique.charger(voisine, "nf4", silencieux=True)
    points = sorted((tmp_path / "appris").glob("checkpoint-*"))
    for dossier in (tmp_path / "appris", points[-1]):
        with pytest.raises(ErreurFabrique, match="n’a pas été appris sur ce modèle"):
            fabrique.charger_adaptateur(autre, dossier)
    copie = shutil.copytree(dossier_petit, tmp_path / "autre nom")
    for quantification in ("nf4", "aucune"):
        _, meme = fabrique.charger(copie, quantification, silencieux=True)
        fabrique.charger_adaptateur(meme, tmp_path / "appris")


def test_sans_signature_la_base_se_compare_par_son_nom(dossier_petit, tokenizer, tmp_path):
    bon = _adaptateur_de(dossier_petit, tmp_path / "bon")
    voisine = _voisine(tokenizer, dossier_petit, tmp_path / "fusion")
    with pytest.raises(ErreurFabrique, match="mais sur « petit-falcon »"):
        fabrique.charger_adaptateur(fabrique.charger(voisine, silencieux=True)[1], bon)
    fichier = bon / "adapter_config.json"
    for nom in (f"compte/{dossier_petit.name}", f"C:\\modeles\\{dossier_petit.name}", None):
        reglages = json.loads(fichier.read_text()) | {"base_model_name_or_path": nom}
        fichier.write_text(json.dumps(reglages))
        fabrique.charger_adaptateur(fabrique.charger(dossier_petit, silencieux=True)[1], bon)


def test_la_signature_est_la_meme_dans_le_cache_du_hub_et_dans_un_dossier(
    dossier_petit, tmp_path, monkeypatch
):
    """Rangés comme le hub les range, copiés, en 4 bits ou non : ce sont les mêmes poids."""
    revision = "a" * 40
    depot = tmp_path / "models--compte--petit"
    shutil.copytree(dossier_petit, depot / "snapshots" / revision)
    for module in (
        huggingface_hub.constants,
        huggingface_hub.file_download,
        transformers.utils.hub,
    ):
        for nom in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
            if hasattr(module, nom):
                monkeypatch.setattr(module, nom, str(tmp_path))
    _, du_hub = fabrique.charger("compte/petit", "nf4", revision=revision, silencieux=True)
    _, du_dossier = fabrique.charger(dossier_petit, "aucune", silencieux=True)
    assert empreinte_de_la_base(du_hub) == empreinte_de_la_base(du_dossier) is not None


def test_la_signature_d_un_pickle_du_catalogue_se_lit(dossier_petit, tmp_path):
    """Falcon-7B n'a peut-être que des .bin à sa révision : mêmes tenseurs, même signature."""
    poids = load_file(dossier_petit / "model.safetensors")
    torch.save(poids, tmp_path / "pytorch_model-00001-of-00001.bin")
    config = FalconConfig.from_pretrained(dossier_petit)
    for dossier in (dossier_petit, tmp_path):
        config._name_or_path = str(dossier)
        porteur = SimpleNamespace(config=config)
        assert empreinte_de_la_base(porteur) == empreinte_de_la_base(
            fabrique.charger(dossier_petit, silencieux=True)[1]
        )


def test_la_commande_refuse_un_adaptateur_qui_ne_s_applique_pas(dossier_petit, tmp_path, capsys):
    """« generer », « evaluer » et « fusionner » le disent en une phrase, avant toute réponse."""
    bon = _adaptateur_de(dossier_petit, tmp_path / "bon")
    _changer_les_poids(bon, ABIMES["un seul renommé"][0])
    communes = ["--model", str(dossier_petit), "--adaptateur", str(bon)]
    for commande in (
        ["generer", "--instruction", "Où voter ?"],
        ["evaluer", "--dataset", "demarches", "--questions", "2", "--exemples", "0", "--general", "",
         "--max_new_tokens", "2"],
        ["fusionner", "--sortie", str(tmp_path / "fusion")],
    ):  # fmt: skip
        assert principal([*commande, *communes]) == 1
        dit = capsys.readouterr()
        assert "ne s’applique pas à ce modèle : poids 1 manquants" in dit.err
        assert dit.err.count("\n") == 1
    assert not (tmp_path / "fusion").exists()
