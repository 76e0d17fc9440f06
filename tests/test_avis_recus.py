"""Les pouces déposés au service : gardés sur la machine, sans données personnelles, prêts à servir."""

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from fabrique.corpus.votes import lire_votes
from fabrique.service import avis_recus
from fabrique.service.avis_recus import AvisRecus, routes
from fabrique.service.refus import expliquer_les_refus

QUESTION, REPONSE = "Où voter ?", "Au bureau inscrit sur votre carte."


def messages(question=QUESTION, reponse=REPONSE):
    return [
        {"role": "system", "content": "Soyez bref."},
        {"role": "user", "content": question},
        {"role": "assistant", "content": reponse},
    ]


@pytest.fixture
def fichier(tmp_path):
    return tmp_path / avis_recus.FICHIER


@pytest.fixture
def client(fichier):
    app = FastAPI()
    expliquer_les_refus(app)
    app.include_router(routes(AvisRecus(fichier)))
    return TestClient(app, raise_server_exceptions=False)


def test_un_pouce_se_garde_et_se_relit_comme_une_preference(client, fichier):
    for bon in (True, False):
        reponse = client.post("/v1/avis", json={"messages": messages(), "bon": bon})
        assert reponse.json() == {"object": "avis", "garde": True, "remplacees": 0}
    avis = lire_votes(fichier)
    assert [un.bon for un in avis] == [True, False]
    assert (avis[0].messages, avis[0].reponse) == (messages()[:-1], REPONSE)
    assert AvisRecus(fichier).nombre == 2  # un service relancé les retrouve


def test_les_donnees_personnelles_n_y_entrent_pas(client, fichier):
    dits = messages("Mon numéro est le 06 39 98 12 34.", "Je note le 06 39 98 12 34.")
    assert client.post("/v1/avis", json={"messages": dits, "bon": True}).json()["remplacees"] == 2
    texte = fichier.read_text("utf-8")
    assert "06 39" not in texte
    assert texte.count("[TELEPHONE_1]") == 2


@pytest.mark.parametrize(
    "corps",
    [
        {"messages": messages()[:-1], "bon": True},
        {"messages": messages()[1:2], "bon": True},
        {"messages": messages(), "bon": "oui"},
        {"messages": messages()},
        {"messages": messages(), "bon": True, "note": 4},
    ],
    ids=["sans réponse", "un seul message", "pouce en mots", "sans pouce", "champ inconnu"],
)
def test_un_avis_qui_ne_se_prend_pas_est_refuse(client, fichier, corps):
    reponse = client.post("/v1/avis", json=corps)
    assert reponse.status_code == 400
    assert reponse.json()["error"]["message"]
    assert not fichier.exists()


def test_le_disque_ne_se_remplit_pas(client, fichier, monkeypatch):
    monkeypatch.setattr(avis_recus, "AVIS_MAX", 1)
    statuts = [
        client.post("/v1/avis", json={"messages": messages(), "bon": True}).status_code
        for _ in range(2)
    ]
    assert statuts == [200, 429]
    assert fichier.read_bytes().count(b"\n") == 1
