"""Les avis au service : des pouces gardés sans données personnelles, un affinage par préférences."""

import io
import json

import psutil
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from fabrique.corpus.votes import lire_votes
from fabrique.entrainement.reglages_preferences import ReglagesPreferences
from fabrique.machine.profil import POCHE
from fabrique.service import avis_recus
from fabrique.service.affinages import Cadre, preparer
from fabrique.service.avis_recus import AvisRecus, routes
from fabrique.service.demandes import Affinage
from fabrique.service.depots import EXEMPLES, Depots
from fabrique.service.refus import Refus, expliquer_les_refus
from fabrique.service.travaux import Travaux

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


# ---------------------------------------------------------------- un affinage par préférences


class SansModele:
    """Ce qu'un affinage demande à un moteur, avant de rien lancer."""

    base, affine = "falcon-poche", True


PAIRES = [
    {"prompt": f"Où voter, bureau {n} ?", "chosen": "Au bureau inscrit.", "rejected": f"Là, {n}."}
    for n in range(10)
]


@pytest.fixture
def deposer(tmp_path):
    """Dépose des préférences et prépare l'affinage qui les apprendra."""
    depots = Depots(tmp_path / "fichiers")
    travaux = Travaux(tmp_path / "affinages", lambda *_: None)
    cadre = Cadre("falcon-poche", "nf4", None, POCHE, accepter_personnelles=False)

    def deposer(objets, **methode):
        texte = "\n".join(json.dumps(objet) for objet in objets)
        depot = depots.deposer(io.BytesIO(texte.encode()), "votes.jsonl", EXEMPLES)
        corps = Affinage(
            model="falcon-poche", training_file=depot.id, method={"type": "dpo", **methode}
        )
        return preparer(corps, travaux, depots, SansModele(), cadre), travaux

    return deposer


def test_un_affinage_par_preferences_devient_la_commande_preferer(deposer, monkeypatch):
    """La forme d'OpenAI, jusqu'à la ligne de commande ; les options sont celles de « preferer »."""
    travail, travaux = deposer(PAIRES, dpo={"hyperparameters": {"beta": 0.2, "n_epochs": 2}})
    assert travail.hyperparametres["beta"] == 0.2
    lances = []
    monkeypatch.setattr(psutil, "Popen", lambda commande, **_: lances.append(commande) or Lance())
    travaux._connus[travail.id] = travail
    travaux._lancer(travail)
    (commande,) = lances
    assert commande[3] == "preferer"
    connues = {f"--{nom}" for nom in ReglagesPreferences.__dataclass_fields__} | {"--lr"}
    communes = {"--model", "--quantification", "--dataset", "--sortie"}
    donnees = dict(mot.split("=", 1) if "=" in mot else (mot, "") for mot in commande[4:])
    assert donnees.keys() <= connues | communes
    assert float(donnees["--beta"]) == 0.2
    assert float(donnees["--lr"]) == POCHE.taux_des_preferences
    assert len(lire_votes(donnees["--dataset"])) == 10


class Lance:
    """Un processus qu'on n'a pas lancé."""

    pid = 1

    def nice(self, _):
        pass

    def create_time(self):
        return 0.0


@pytest.mark.parametrize(
    ("objets", "phrase"),
    [
        (PAIRES[:9], "au moins 10"),
        ([*PAIRES, {"prompt": "Où ?", "chosen": "Là.", "rejected": "Là."}], "les mêmes"),
        ([{"messages": messages()[1:]}], "réponses comparées"),
        ([{**PAIRES[0], "chosen": "Appelez le 06 39 98 12 34."}] * 10, "personnelle"),
    ],
    ids=["trop peu", "paire identique", "des exemples", "données personnelles"],
)
def test_des_preferences_fautives_sont_refusees_avant_de_rien_lancer(deposer, objets, phrase):
    with pytest.raises(Refus, match=phrase) as refus:
        deposer(objets)
    assert refus.value.champ == "training_file"
