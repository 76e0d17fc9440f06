"""Ce que tous les tests partagent : un petit Falcon, son tokenizer, un petit corpus.

Rien ici ne touche au réseau ni au cache de la personne qui lance les tests.
"""

import os
import tempfile

# Avant tout import des bibliothèques, qui lisent ces variables une fois pour toutes.
_CACHE = tempfile.TemporaryDirectory(prefix="fabrique-tests-")
os.environ |= {
    "HF_HUB_OFFLINE": "1",
    "HF_HOME": _CACHE.name,
    "HF_DATASETS_CACHE": f"{_CACHE.name}/datasets",
    "HF_HUB_CACHE": f"{_CACHE.name}/hub",
    "FABRIQUE_PROFIL": "poche",
    "TOKENIZERS_PARALLELISM": "false",
}

import gc  # noqa: E402
import json  # noqa: E402
import shutil  # noqa: E402
import subprocess  # noqa: E402
from collections.abc import Callable, Iterator  # noqa: E402
from pathlib import Path  # noqa: E402

import pytest  # noqa: E402
import torch  # noqa: E402
from datasets import Dataset  # noqa: E402
from huggingface_hub import constants  # noqa: E402
from hypothesis import settings  # noqa: E402
from peft import LoraConfig, get_peft_model  # noqa: E402
from transformers import AutoTokenizer, FalconConfig, FalconForCausalLM  # noqa: E402

import fabrique  # noqa: E402
from fabrique.corpus import controler  # noqa: E402
from fabrique.corpus.constats import Controle  # noqa: E402
from fabrique.modeles.chargement import parler_moins  # noqa: E402
from fabrique.modeles.gabarits import exemple_en_jetons  # noqa: E402
from fabrique.socle.emplacements import CORPUS_LIVRES, FALCON_POCHE  # noqa: E402
from fabrique.socle.parole import parler  # noqa: E402
from outils.jumeau import poser as poser_le_jumeau  # noqa: E402

# Les mêmes exemples à chaque lancement, et jamais d'échec pour une question de vitesse.
settings.register_profile("fabrique", deadline=None, derandomize=True, database=None)
settings.load_profile("fabrique")

parler_moins()


def pytest_collection_finish():
    """Ce que les imports ont bâti restera : le ramasse-miettes ne le parcourt plus à chaque essai.

    Un apprentissage l'appelle plusieurs fois ; il y passait un tiers du temps des tests.
    """
    gc.collect()
    gc.freeze()


#: Un corpus aux longueurs variées : onze exemples, dont un avec un texte joint.
EXEMPLES = [
    {"instruction": "Quelle est la capitale ?", "output": "Paris."},
    {"instruction": "Comment renouveler ma carte d’identité ?", "output": "Prenez rendez-vous."},
    {"instruction": "Résumez.", "input": "La mairie ouvre à 9 h.", "output": "Ouverture à 9 h."},
    {"instruction": "Où voter ?", "output": "Au bureau indiqué sur votre carte électorale."},
    {"instruction": "Que faire en cas de perte du passeport ?", "output": "Déclarez la perte."},
    {"instruction": "Combien coûte l’acte de naissance ?", "output": "Rien : il est gratuit."},
    {"instruction": "Qui délivre le permis ?", "output": "L’État, par un téléservice."},
    {"instruction": "Dites oui.", "output": "Oui."},
    {
        "instruction": "Expliquez la démarche à suivre pour inscrire un enfant à l’école.",
        "output": "Adressez-vous à la mairie avec le livret de famille et un justificatif.",
    },
    {"instruction": "Quand déclarer ses revenus ?", "output": "Au printemps, en ligne."},
    {"instruction": "Merci.", "output": "Je vous en prie, bonne journée à vous."},
]


@pytest.fixture(autouse=True)
def voix():
    """Chaque test entend le paquet comme dans un carnet, même après une commande à ``--json``."""
    parler()


@pytest.fixture(scope="session")
def tokenizer():
    """Le tokenizer du Falcon de poche, lu par transformers seul."""
    return AutoTokenizer.from_pretrained(FALCON_POCHE)


def petite_configuration(tokenizer, **changements) -> FalconConfig:
    """Un Falcon à l'architecture du 7B : deux blocs de 64, quatre têtes."""
    return FalconConfig(
        **{
            "vocab_size": len(tokenizer),
            "hidden_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "bos_token_id": tokenizer.bos_token_id,
            "eos_token_id": tokenizer.eos_token_id,
            "pad_token_id": tokenizer.pad_token_id,
            **changements,
        }
    )


def enregistrer(modele, tokenizer, dossier: Path) -> Path:
    """Enregistre un modèle et le tokenizer de poche, comme un dossier livré."""
    modele.save_pretrained(dossier)
    tokenizer.save_pretrained(dossier)
    return dossier


@pytest.fixture(scope="session")
def dossier_petit(tokenizer, tmp_path_factory) -> Path:
    """Un petit Falcon aux poids tirés au hasard, en safetensors."""
    torch.manual_seed(0)
    modele = FalconForCausalLM(petite_configuration(tokenizer))
    return enregistrer(modele, tokenizer, tmp_path_factory.mktemp("modeles") / "petit-falcon")


@pytest.fixture
def petit(dossier_petit):
    """Le petit Falcon chargé en 4 bits : (tokenizer, modèle)."""
    return fabrique.charger(dossier_petit, "nf4", silencieux=True)


@pytest.fixture(scope="session")
def cache_du_jumeau(tmp_path_factory) -> Path:
    """Un cache du hub à part, où le jumeau tient la place de Falcon-7B-instruct."""
    cache = tmp_path_factory.mktemp("hf")
    poser_le_jumeau(cache)
    return cache


def sur_le_jumeau(monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    """Le profil du jumeau et son cache, pour ce processus et pour ceux qu'il lance."""
    monkeypatch.setenv("FABRIQUE_PROFIL", "jumeau")
    monkeypatch.setenv("HF_HOME", str(cache))
    monkeypatch.setenv("HF_HUB_CACHE", str(cache / "hub"))
    # huggingface_hub a déjà lu ces variables dans ce processus.
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache / "hub"))


@pytest.fixture
def jumeau(cache_du_jumeau, monkeypatch):
    """Le jumeau chargé comme un carnet charge Falcon-7B : (tokenizer, modèle)."""
    sur_le_jumeau(monkeypatch, cache_du_jumeau)
    return fabrique.charger("falcon-7b-instruct", "nf4", silencieux=True)


@pytest.fixture(scope="session")
def corpus() -> Dataset:
    """Le petit corpus, aux colonnes canoniques, sans colonne « jeu » remplie."""
    return fabrique.lire_corpus(Dataset.from_list([{"input": "", **e} for e in EXEMPLES]))


@pytest.fixture(scope="session")
def livres(tokenizer) -> dict[str, Controle]:
    """Le contrôle des corpus livrés, fait une fois."""
    return {nom: controler(nom, tokenizer) for nom in CORPUS_LIVRES}


@pytest.fixture(scope="session")
def fichier_corpus(tmp_path_factory) -> Path:
    """Le même corpus dans un fichier JSON à la façon d'Alpaca."""
    chemin = tmp_path_factory.mktemp("corpus") / "alpaca.json"
    exemples = [{"input": "", **e} for e in EXEMPLES]
    chemin.write_text(json.dumps(exemples, ensure_ascii=False, indent=1), encoding="utf-8")
    return chemin


@pytest.fixture(scope="session")
def dossier_par_coeur(tokenizer, corpus, tmp_path_factory) -> Path:
    """Un petit Falcon qui sait le corpus par cœur, jeton de fin compris.

    Ses réponses sont connues d'avance et chaque jeton y domine largement les autres : on
    peut donc comparer des textes sans craindre les arrondis.
    """
    torch.manual_seed(0)
    modele = FalconForCausalLM(petite_configuration(tokenizer)).train()
    # Remplissage à droite, écrit à la main : rien du paquet n'aide à construire la référence.
    exemples = [exemple_en_jetons(tokenizer, exemple, 128) for exemple in corpus]
    longueur = max(len(e["input_ids"]) for e in exemples)
    ids, masque, etiquettes = (
        torch.tensor([e[cle] + [vide] * (longueur - len(e[cle])) for e in exemples])
        for cle, vide in (("input_ids", 0), ("attention_mask", 0), ("labels", -100))
    )
    appris = etiquettes[:, 1:] != -100
    optimiseur = torch.optim.AdamW(modele.parameters(), lr=1e-2)
    for _ in range(120):
        etats = modele.transformer(input_ids=ids, attention_mask=masque).last_hidden_state
        logits = modele.lm_head(etats[:, :-1][appris])  # les seules réponses : cinq fois moins
        perte = torch.nn.functional.cross_entropy(logits, etiquettes[:, 1:][appris])
        perte.backward()
        optimiseur.step()
        optimiseur.zero_grad()
    assert perte.item() < 0.02, "le petit modèle n'a pas appris son corpus par cœur"
    return enregistrer(modele, tokenizer, tmp_path_factory.mktemp("modeles") / "par-coeur")


@pytest.fixture
def par_coeur(dossier_par_coeur):
    """Le petit Falcon qui sait le corpus par cœur, en 32 bits : (tokenizer, modèle)."""
    return fabrique.charger(dossier_par_coeur, "aucune", silencieux=True)


def ajouter_adaptateur(modele):
    """Le modèle et un adaptateur au hasard, assez fort pour tout changer."""
    torch.manual_seed(0)
    affine = get_peft_model(modele, LoraConfig(r=4, target_modules="all-linear"))
    with torch.no_grad():
        for nom, parametre in affine.named_parameters():
            if "lora_B" in nom:
                parametre.normal_(std=0.5)
    return affine


@pytest.fixture
def avec_adaptateur(par_coeur):
    """Le modèle par cœur et un adaptateur au hasard."""
    tokenizer, modele = par_coeur
    return tokenizer, ajouter_adaptateur(modele)


@pytest.fixture
def servir() -> Iterator[Callable]:
    """Ouvre des serveurs, et les ferme tous."""
    from serveurs import Serveur  # openai, que les autres tests n'ont pas à charger

    ouverts: list[Serveur] = []

    def ouvrir(repondre: Callable) -> Serveur:
        ouverts.append(Serveur(repondre))
        return ouverts[-1]

    yield ouvrir
    for serveur in ouverts:
        serveur.mourir()


@pytest.fixture
def petit_disque(tmp_path):
    """Un disque de 16 Mo en mémoire, quand le système permet d'en monter un."""
    dossier = tmp_path / "disque"
    dossier.mkdir()
    monter = ["mount", "-t", "tmpfs", "-o", "size=16m", "fabrique", str(dossier)]
    if not shutil.which("mount") or subprocess.run(monter, capture_output=True).returncode:
        pytest.skip("ce système ne laisse pas monter de petit disque")
    yield dossier
    # Une erreur attrapée garde parfois un fichier ouvert : le disque s'en va quand elle le lâche.
    subprocess.run(["umount", "--lazy", str(dossier)], check=True)


def remplir(dossier, laisser):
    """Quelqu'un d'autre prend toute la place, sauf ``laisser`` octets, d'un petit disque et de lui seul."""
    assert dossier.parent.stat().st_dev == dossier.stat().st_dev
    assert shutil.disk_usage(dossier).total < 64 * 10**6
    with (dossier.parent / "ballast").open("wb") as flux:
        while shutil.disk_usage(dossier).free > laisser:
            flux.write(b"\0" * min(65536, shutil.disk_usage(dossier).free - laisser))
            flux.flush()
