"""Le hub injoignable se dit en une phrase, tout de suite, et le cache sert encore."""

from __future__ import annotations

import logging
import shutil
import socket
from pathlib import Path

import pytest
from huggingface_hub import constants
from transformers import AutoTokenizer

import fabrique
from fabrique.jetons.decoupeurs import ouvrir
from fabrique.modeles.tokenizer import ErreurReseau, charger_tokenizer
from fabrique.socle import emplacements
from fabrique.socle.erreurs import MACHINE, ErreurFabrique

EMPREINTE = "a" * 40
#: Tout ce qui se lit sur le hub : un modèle, un tokenizer, un corpus.
LECTURES = {
    "modèle": lambda: fabrique.charger("compte/absent", revision=EMPREINTE),
    "tokenizer": lambda: ouvrir(f"compte/absent@{EMPREINTE}"),
    "corpus": lambda: fabrique.lire_corpus("compte/absent"),
}


@pytest.fixture
def port_ferme() -> str:
    """L'adresse d'un port où personne n'écoute."""
    with socket.socket() as prise:
        prise.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{prise.getsockname()[1]}"


@pytest.fixture
def hub_ferme(port_ferme, monkeypatch) -> None:
    """Un hub qui refuse la connexion, chez une personne qui ne s'est pas mise hors ligne."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", port_ferme)


@pytest.mark.parametrize("quoi", LECTURES)
@pytest.mark.usefixtures("hub_ferme")
def test_un_hub_injoignable_se_dit_sans_relance(quoi, caplog, capsys):
    """Sans cette garde : 24 s par fichier cherché, et six lignes de relances en anglais."""
    with (
        caplog.at_level(logging.INFO, "huggingface_hub"),
        pytest.raises(ErreurFabrique, match="hub") as erreur,
    ):
        LECTURES[quoi]()
    assert erreur.value.code == MACHINE
    assert caplog.messages == []
    assert capsys.readouterr().err == ""
    assert constants.HF_HUB_OFFLINE is False


@pytest.mark.usefixtures("hub_ferme")
def test_ce_que_le_cache_contient_se_lit_sans_le_hub(dossier_petit):
    depot = Path(constants.HF_HUB_CACHE) / "models--compte--garde"  # le cache est celui des tests
    shutil.copytree(dossier_petit, depot / "snapshots" / EMPREINTE)
    assert ouvrir("compte/garde", EMPREINTE).nom == "compte/garde"
    _, modele = fabrique.charger("compte/garde", revision=EMPREINTE, silencieux=True)
    assert modele.config.hidden_size == 64


def test_un_hub_qui_repond_est_interroge(monkeypatch):
    """Le bloc ne met hors ligne que si le hub ne répond pas."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(emplacements, "hub_joignable", lambda: True)
    with emplacements.hub_ou_cache():
        assert constants.HF_HUB_OFFLINE is False


def test_hors_ligne_le_hub_n_est_pas_essaye(port_ferme, monkeypatch):
    """Sous HF_HUB_OFFLINE, huggingface_hub refuse lui-même tout appel."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(emplacements, "hub_joignable", pytest.fail)
    with emplacements.hub_ou_cache():
        assert constants.HF_HUB_OFFLINE is True


def test_un_reseau_qui_tombe_en_route_se_dit(monkeypatch):
    """L'erreur de la bibliothèque de réseau n'est pas une OSError."""

    def tomber(*_, **__):
        raise ErreurReseau("coupé")

    assert not issubclass(ErreurReseau, OSError)
    monkeypatch.setattr(AutoTokenizer, "from_pretrained", tomber)
    with pytest.raises(ErreurFabrique, match="injoignable"):
        charger_tokenizer("compte/absent", EMPREINTE)


def test_un_dossier_local_n_interroge_pas_le_hub(dossier_petit: Path, monkeypatch):
    monkeypatch.setattr(emplacements, "hub_joignable", pytest.fail)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    assert charger_tokenizer(dossier_petit) is not None
