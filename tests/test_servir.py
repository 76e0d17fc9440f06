"""L'API d'OpenAI, chez soi : le client officiel contre un vrai serveur, sur cette machine."""

from __future__ import annotations

import base64
import errno
import importlib
import io
import json
import os
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from unittest.mock import Mock

import httpx
import jsonschema
import numpy as np
import openai
import psutil
import pytest
import uvicorn
from conftest import EXEMPLES, ajouter_adaptateur
from safetensors.torch import load_file

import fabrique
from fabrique.entrainement.classifieurs import Classifieur
from fabrique.ligne_de_commande import principal
from fabrique.machine.materiel import examiner
from fabrique.machine.profil import GPU, POCHE, T4
from fabrique.modeles.vraisemblance import a_predire, log_probabilites
from fabrique.recettes.classement import apprendre, predire, relire_par_leur_nom
from fabrique.recherche.index import Index
from fabrique.recherche.passages import Fiche
from fabrique.recherche.reponse import Motif, repondre
from fabrique.recherche.sens import choisir_encodeur
from fabrique.service import ouverture, taches as module_taches
from fabrique.service.affinages import Cadre
from fabrique.service.annotations import Sources
from fabrique.service.demandes import Hyperparametres
from fabrique.service.depots import Depots
from fabrique.service.hyperparametres import recette
from fabrique.service.ouverture import profil_du_modele
from fabrique.service.plume import _sur
from fabrique.service.reglages_service import Cle, ReglagesService
from fabrique.service.repondeur import Ligne, Morceau
from fabrique.service.repondeur_transformers import RepondeurTransformers
from fabrique.service.serveur import (
    OUVERT,
    Service,
    application,
    configurer,
    dossier_a_nous,
    ouvrir_la_prise,
)
from fabrique.service.travaux import Travail, Travaux
from fabrique.socle.erreurs import ErreurFabrique
from outils.tester import RACINE

QUESTION = "Où voter ?"
REPONSE = "Au bureau indiqué sur votre carte électorale."
BASE = "par-coeur"
EXEMPLES_A_COPIER = RACINE / "docs" / "exemples"


#: Un seul client pour les demandes sans manières : lire les certificats coûte plus que le test.
NAVIGATEUR = httpx.Client(timeout=60, verify=False)


def conversation(question: str = QUESTION) -> list[dict[str, str]]:
    """Une question, telle que le client l'envoie."""
    return [{"role": "user", "content": question}]


# ---------------------------------------------------------------- de vrais serveurs


@contextmanager
def en_marche(service: Service, cle: str = "") -> Iterator[str]:
    """Le service derrière uvicorn, dans un fil, sur un port libre : son adresse."""
    with ouvrir_la_prise(service.reglages.hote, 0) as prise:
        serveur = uvicorn.Server(configurer(service, Cle(cle)))
        fil = threading.Thread(target=serveur.run, kwargs={"sockets": [prise]}, daemon=True)
        fil.start()
        while not serveur.started:
            assert fil.is_alive()
            time.sleep(0.01)
        try:
            yield f"http://127.0.0.1:{prise.getsockname()[1]}"
        finally:
            serveur.should_exit = True
            fil.join(timeout=30)


SANS_CERTIFICATS = openai.DefaultHttpxClient(verify=False)


def client(adresse: str) -> openai.OpenAI:
    """Le client officiel ; il ne réessaie pas de lui-même."""
    return openai.OpenAI(
        base_url=f"{adresse}/v1", api_key="sans", max_retries=0, http_client=SANS_CERTIFICATS
    )


@pytest.fixture(scope="module")
def modele(dossier_par_coeur, tmp_path_factory):
    """Le petit Falcon qui sait son corpus, et le dossier d'un adaptateur qui le change."""
    tokenizer, reseau = fabrique.charger(dossier_par_coeur, "aucune", silencieux=True)
    dossier = tmp_path_factory.mktemp("adaptateurs") / "hasard"
    affine = ajouter_adaptateur(reseau)
    affine.save_pretrained(dossier)
    return tokenizer, affine.unload(), dossier


@pytest.fixture(scope="module")
def cadre(dossier_par_coeur) -> Cadre:
    """Les affinages partent du même petit Falcon."""
    profil = profil_du_modele(BASE, examiner())
    return Cadre(str(dossier_par_coeur), "aucune", None, profil, accepter_personnelles=False)


@pytest.fixture(scope="module")
def service(modele, cadre, tmp_path_factory) -> Service:
    """Le service que la plupart des tests partagent."""
    tokenizer, reseau, adaptateur = modele
    moteur = RepondeurTransformers(tokenizer, reseau, BASE)
    moteur.inscrire("hasard", adaptateur)
    racine = tmp_path_factory.mktemp("service")
    return Service(moteur, cadre, ReglagesService(delai_client=5), racine)


@pytest.fixture(scope="module")
def adresse(service) -> Iterator[str]:
    """Son adresse."""
    with en_marche(service) as ouverte:
        yield ouverte


@pytest.fixture(scope="module")
def api(adresse) -> openai.OpenAI:
    """Le client officiel, branché sur lui."""
    return client(adresse)


class FauxMoteur:
    """Un moteur sans modèle : chaque réponse est ce que ``ecrit`` en fait."""

    qui, base, affine = "personne", BASE, True

    def __init__(self, ecrit: Callable[[Ligne], None]) -> None:
        self.ecrit, self.lots = ecrit, []
        self.connus = [self.base]

    def noms(self) -> list[str]:
        return self.connus

    def inscrire(self, nom: str, dossier: Path) -> None:
        self.connus.append(nom)

    def lire(self, messages: list[dict[str, str]]) -> list[int]:
        return [1, 2, 3]

    def place(self, question: list[int]) -> int:
        return 100

    def verifier_la_grammaire(self, grammaire: str) -> None:
        pass

    def ecrire(self, nom: str, lignes: list[Ligne]) -> None:
        self.lots.append(len(lignes))
        for ligne in lignes:
            self.ecrit(ligne)


def finir(ligne: Ligne) -> None:
    """Une réponse d'un mot."""
    ligne.recevoir(Morceau("Oui.", fin="stop", ecrits=1))


@pytest.fixture(scope="module")
def programmes() -> Iterator[Callable]:
    """Importe par leur nom les programmes que le mode d'emploi donne à copier."""
    with pytest.MonkeyPatch.context() as ici:
        ici.syspath_prepend(EXEMPLES_A_COPIER)
        yield importlib.import_module


@pytest.fixture
def faux(cadre, tmp_path) -> Callable[..., Service]:
    """Bâtit un service sur un faux moteur."""

    def batir(ecrit: Callable[[Ligne], None] = finir, **reglages) -> Service:
        return Service(FauxMoteur(ecrit), cadre, ReglagesService(**reglages), tmp_path / "s")

    return batir


# ---------------------------------------------------------------- les modèles


def test_la_liste_nomme_la_base_et_ses_adaptateurs(api):
    assert [modele.id for modele in api.models.list()] == [BASE, "hasard", "encodeur-poche"]
    assert api.models.retrieve("encodeur-poche").id == "encodeur-poche"
    assert api.models.retrieve("hasard").id == "hasard"


def test_un_modele_absent_est_refuse_en_citant_ceux_qui_y_sont(api):
    with pytest.raises(openai.NotFoundError) as refus:
        api.chat.completions.create(model="gpt-3.5-turbo", messages=conversation())
    assert refus.value.code == "model_not_found"
    assert refus.value.param == "model"
    assert "« par-coeur », « hasard »" in refus.value.body["message"]


# ---------------------------------------------------------------- converser


def test_la_reponse_est_celle_de_generer(api, modele):
    """À température 0, mot pour mot ; les jetons sont comptés."""
    tokenizer, reseau, _ = modele
    rendu = api.chat.completions.create(model=BASE, messages=conversation(), temperature=0)
    choix = rendu.choices[0]
    attendu = fabrique.generer(reseau, tokenizer, QUESTION, adaptateur=False, afficher=False)
    assert choix.message.content == attendu == REPONSE
    assert (choix.finish_reason, choix.message.role) == ("stop", "assistant")
    assert rendu.usage.completion_tokens == len(tokenizer(REPONSE)["input_ids"])
    assert rendu.usage.total_tokens == rendu.usage.prompt_tokens + rendu.usage.completion_tokens


def test_un_message_de_systeme_et_des_morceaux_de_texte_se_lisent(service):
    from fabrique.service.demandes import Message

    morceaux = [{"type": "text", "text": "Où "}, {"type": "text", "text": "voter ?"}]
    assert Message(role="user", content=morceaux).en_message() == conversation()[0]
    assert Message(role="developer", content="Bref.").en_message()["role"] == "system"


def test_le_fil_de_l_eau_dit_la_meme_chose(api):
    options = {"model": BASE, "messages": conversation(), "temperature": 0}
    morceaux = list(
        api.chat.completions.create(**options, stream=True, stream_options={"include_usage": True})
    )
    dits = [m.choices[0] for m in morceaux if m.choices]
    assert dits[0].delta.role == "assistant"
    assert "".join(c.delta.content or "" for c in dits) == REPONSE
    assert len(dits) > 4, "la réponse est venue d’un coup"
    assert [c.finish_reason for c in dits if c.finish_reason] == ["stop"]
    assert morceaux[-1].usage == api.chat.completions.create(**options).usage


@pytest.mark.parametrize(
    ("arret", "reste"),
    [
        (" carte", "Au bureau indiqué sur votre"),
        (["rien", "re car", " carte"], "Au bureau indiqué sur vot"),
        ("jamais", REPONSE),
        ("Au", ""),
    ],
)
def test_un_texte_d_arret_coupe_avant_lui(api, arret, reste):
    """Même à cheval sur deux jetons ; au fil de l'eau, rien n'en paraît."""
    options = {"model": BASE, "messages": conversation(), "temperature": 0, "stop": arret}
    choix = api.chat.completions.create(**options).choices[0]
    assert (choix.message.content, choix.finish_reason) == (reste, "stop")
    flux = api.chat.completions.create(**options, stream=True)
    assert "".join(m.choices[0].delta.content or "" for m in flux) == reste


def test_ce_qui_pourrait_commencer_un_arret_attend():
    """Un début d'arrêt, un caractère inachevé."""
    assert _sur("Bonjour ##", ("###",)) == "Bonjour "
    assert _sur("Bonjour", ("###",)) == "Bonjour"
    assert _sur("caf\ufffd", ()) == "caf"


@pytest.mark.parametrize("champ", ["max_tokens", "max_completion_tokens"])
def test_la_longueur_se_borne(api, champ):
    rendu = api.chat.completions.create(
        model=BASE, messages=conversation(), temperature=0, **{champ: 3}
    )
    assert rendu.choices[0].finish_reason == "length"
    assert rendu.usage.completion_tokens == 3
    assert REPONSE.startswith(rendu.choices[0].message.content)


def test_une_graine_rend_le_tirage_reproductible(api):
    """La même graine, les mêmes réponses, seules ou à plusieurs ; les rangs diffèrent entre eux."""

    def tirer(**options) -> list[str]:
        options = {"temperature": 2, "max_tokens": 12, **options}
        rendu = api.chat.completions.create(model=BASE, messages=conversation("?"), **options)
        return [choix.message.content for choix in rendu.choices]

    trois = tirer(seed=7, n=3)
    assert trois == tirer(seed=7, n=3)
    assert len(set(trois)) == 3
    assert tirer(seed=8) == trois[1:2]
    assert tirer(seed=9) != trois[:1]


def test_le_noyau_ecarte_les_jetons_improbables(api):
    """À part infime, il ne reste que le plus probable, même à haute température."""
    rendu = api.chat.completions.create(
        model=BASE, messages=conversation(), temperature=2, top_p=1e-6, seed=1
    )
    assert rendu.choices[0].message.content == REPONSE


def test_les_log_probabilites_sont_celles_du_modele(api, modele):
    """Chaque jeton, contre la mesure du paquet ; les concurrents sont rangés."""
    tokenizer, reseau, _ = modele
    rendu = api.chat.completions.create(
        model=BASE, messages=conversation(), temperature=0, logprobs=True, top_logprobs=3
    )
    jetons = rendu.choices[0].logprobs.content
    question = RepondeurTransformers(tokenizer, reseau, BASE).lire(conversation())
    suite = tokenizer(REPONSE)["input_ids"]
    [attendues] = log_probabilites(reseau, [a_predire(question, suite)], adaptateur=False)
    assert [jeton.logprob for jeton in jetons] == pytest.approx(attendues.tolist(), abs=1e-4)
    assert b"".join(bytes(jeton.bytes) for jeton in jetons).decode() == REPONSE
    for jeton in jetons:
        valeurs = [concurrent.logprob for concurrent in jeton.top_logprobs]
        assert len(valeurs) == 3
        assert valeurs == sorted(valeurs, reverse=True)
        assert jeton.logprob == valeurs[0]


def test_plusieurs_clients_avancent_ensemble_sans_se_gener(api, service, monkeypatch):
    """Onze questions à la fois, aux réglages différents : les réponses de chacune seule."""
    lots, ecrire = [], service.moteur.ecrire
    monkeypatch.setattr(
        service.moteur,
        "ecrire",
        lambda nom, lignes: (lots.append(len(lignes)), ecrire(nom, lignes)),
    )

    def demander(rang: int) -> str:
        exemple = EXEMPLES[rang]
        question = "\n\n".join(filter(None, [exemple["instruction"], exemple.get("input")]))
        rendu = api.chat.completions.create(
            model=BASE, messages=conversation(question), temperature=0, max_tokens=30 + rang
        )
        return rendu.choices[0].message.content

    rangs = range(len(EXEMPLES))
    with ThreadPoolExecutor(len(EXEMPLES)) as clients:
        ensemble = list(clients.map(demander, rangs))
    assert ensemble == [exemple["output"] for exemple in EXEMPLES]
    assert sum(lots) == len(EXEMPLES)
    assert len(lots) < len(EXEMPLES), "chaque demande est passée seule"


def test_un_adaptateur_se_choisit_par_son_nom(api):
    """À chaque appel, et l'un après l'autre ; la base reste ce qu'elle était."""

    def demander(nom: str) -> str:
        rendu = api.chat.completions.create(
            model=nom, messages=conversation("Merci."), temperature=0, max_tokens=12
        )
        return rendu.choices[0].message.content

    [attendu] = [e["output"] for e in EXEMPLES if e["instruction"] == "Merci."]
    autre = demander("hasard")
    assert not attendu.startswith(autre)
    assert attendu.startswith(demander(BASE))
    assert demander("hasard") == autre
    with ThreadPoolExecutor(4) as clients:
        ensemble = list(clients.map(demander, [BASE, "hasard"] * 2))
    assert [dit == autre for dit in ensemble] == [False, True] * 2


#: Ce que rien, dans ce que le petit Falcon a appris, ne l'aide à écrire.
SCHEMA = {
    "type": "object",
    "properties": {
        "ouvert": {"type": "boolean"},
        "jour": {"enum": ["lundi", "jeudi"]},
        "places": {"type": "integer", "minimum": 0, "maximum": 9},
    },
    "required": ["ouvert", "jour", "places"],
    "additionalProperties": False,
}


@pytest.mark.parametrize("temperature", [0, 2])
@pytest.mark.parametrize("au_fil", [False, True])
def test_un_schema_json_est_suivi(api, temperature, au_fil):
    """Valide pour ``jsonschema``, une espace au plus entre deux champs, quoi que le modèle préfère."""
    format = {"type": "json_schema", "json_schema": {"name": "guichet", "schema": SCHEMA}}
    rendu = api.chat.completions.create(
        model=BASE,
        messages=conversation(),
        temperature=temperature,
        seed=3,
        stream=au_fil,
        response_format=format,
    )
    if au_fil:
        dit = "".join(m.choices[0].delta.content or "" for m in rendu)
    else:
        assert rendu.choices[0].finish_reason == "stop"
        dit = rendu.choices[0].message.content
    jsonschema.validate(json.loads(dit), SCHEMA)
    assert not re.search(r"\s\s|[^\S ]", dit)


def test_une_reponse_contrainte_n_en_contraint_pas_une_autre(api):
    """Dans le même lot, une voisine libre dit ce qu'elle aurait dit seule ; un objet commence par « { »."""
    formats = [{"type": "json_object"}, {"type": "text"}] * 2

    def demander(format: dict) -> str:
        rendu = api.chat.completions.create(
            model=BASE, messages=conversation(), temperature=0, response_format=format
        )
        return rendu.choices[0].message.content

    with ThreadPoolExecutor(len(formats)) as clients:
        objet, libre, encore, aussi = clients.map(demander, formats)
    assert libre == aussi == REPONSE
    assert objet == encore
    assert objet.startswith("{")


# ---------------------------------------------------------------- citer

FICHES = [
    Fiche(
        "barque",
        "Amarrer une barque",
        "L’amarrage coûte neuf francs. Le quai ferme à minuit.",
        "quai.example",
        date="2024-05-01",
    ),
    Fiche("velo", "Déclarer un vélo neuf", "Le vélo neuf se déclare sous dix jours."),
]


@pytest.fixture(scope="module")
def citant(modele, cadre, tmp_path_factory) -> Iterator[str]:
    """L'adresse d'un service qui répond d'après deux fiches, sans s'abstenir pour un doute."""
    tokenizer, reseau, _ = modele
    sources = Sources(Index.depuis(FICHES, sens="aucun"), fausses_reponses=1)
    racine = tmp_path_factory.mktemp("citant")
    moteur = RepondeurTransformers(tokenizer, reseau, BASE)
    with en_marche(Service(moteur, cadre, ReglagesService(), racine, sources)) as ouverte:
        yield ouverte


@pytest.mark.parametrize("au_fil", [False, True])
def test_une_reponse_cite_et_ses_citations_voyagent_avec_elle(citant, modele, au_fil):
    """Par le client officiel : le texte de ``repondre``, et pour chaque citation sa fiche et sa place."""
    question = "Combien coûte l’amarrage d’une barque ?"
    tokenizer, reseau, _ = modele
    index = Index.depuis(FICHES, sens="aucun")
    attendu = repondre(reseau, tokenizer, question, index, fausses_reponses=1, adaptateur=False)
    rendu = client(citant).chat.completions.create(
        model=BASE, messages=conversation(question), stream=au_fil
    )
    if au_fil:
        morceaux = [m.choices[0] for m in rendu]
        dit = "".join(m.delta.content or "" for m in morceaux)
        annotations = [a for m in morceaux for a in getattr(m.delta, "annotations", None) or []]
        citations = [a["url_citation"] for a in annotations]
        assert morceaux[-1].finish_reason == "stop"
    else:
        message = rendu.choices[0].message
        dit = message.content
        citations = [a.url_citation.model_dump() for a in message.annotations]
        assert message.fabrique["abstention"] is None
        assert rendu.usage.completion_tokens > 0
    assert dit == attendu.texte
    assert citations
    for citation in citations:
        [fiche] = [f for f in FICHES if f.id == citation["fiche"]]
        assert citation["texte"] in fiche.texte
        assert citation["texte"] in dit[citation["start_index"] : citation["end_index"]]
        assert (citation["title"], citation["url"]) == (fiche.titre, fiche.source)


@pytest.mark.parametrize("au_fil", [False, True])
def test_une_abstention_se_dit_sans_rien_citer(citant, au_fil):
    """Sans déranger le modèle : aucune fiche n'en parle."""
    rendu = client(citant).chat.completions.create(
        model=BASE, messages=conversation("Quel ornithorynque ?"), stream=au_fil
    )
    if au_fil:
        deltas = [m.choices[0].delta for m in rendu]
        [message] = [d for d in deltas if getattr(d, "fabrique", None)]
    else:
        message = rendu.choices[0].message
    assert message.content == Motif.RIEN.phrase == message.fabrique["abstention"]
    assert message.annotations == []


def test_une_reponse_sourcee_se_renvoie_dans_la_conversation(citant):
    """Comme le client officiel la garde, avec ses annotations et le reste."""
    api, debut = client(citant), conversation("Combien coûte l’amarrage d’une barque ?")
    recue = api.chat.completions.create(model=BASE, messages=debut).choices[0].message
    assez = 200  # tours, plus que la fenêtre du modèle n'en tient : chaque question est lue seule
    suite = [*debut, recue.model_dump()] * assez + conversation("Quand se déclare un vélo neuf ?")
    dite = api.chat.completions.create(model=BASE, messages=suite).choices[0].message
    assert [a.url_citation.fiche for a in dite.annotations] == ["velo"]


@pytest.mark.parametrize(
    ("champ", "valeur"),
    [
        ("n", 2),
        ("stop", "."),
        ("logprobs", True),
        ("response_format", {"type": "json_object"}),
        ("messages", [{"role": "system", "content": "Bref."}, *conversation()]),
    ],
)
def test_ce_qui_n_a_pas_de_sens_pour_une_citation_est_refuse(citant, champ, valeur):
    corps = {"model": BASE, "messages": conversation(), champ: valeur}
    rendu = NAVIGATEUR.post(f"{citant}/v1/chat/completions", json=corps)
    assert refus_de(rendu)["param"] == champ


# ---------------------------------------------------------------- les vecteurs


def test_les_vecteurs_sont_ceux_de_l_encodeur_livre(api):
    """En nombres et en base64, que le client officiel demande de lui-même ; seul ou à plusieurs."""
    textes = ["Où voter ?", "Un texte d’une autre longueur, et un « é ».", "Où voter ?"]
    attendus = choisir_encodeur("poche").questions(textes)
    for forme in ({}, {"encoding_format": "float"}, {"encoding_format": "base64"}):
        rendu = api.embeddings.create(model="encodeur-poche", input=textes, **forme)
        vecteurs = [
            np.frombuffer(base64.b64decode(un.embedding), "<f4")
            if isinstance(un.embedding, str)
            else un.embedding
            for un in rendu.data
        ]
        np.testing.assert_allclose(vecteurs, attendus, atol=1e-6)
        assert [un.index for un in rendu.data] == [0, 1, 2]
    assert rendu.usage.total_tokens > 3
    [seul] = api.embeddings.create(
        model="encodeur-poche", input=textes[0], dimensions=attendus.shape[1]
    ).data
    np.testing.assert_allclose(seul.embedding, attendus[0], atol=1e-6)


@pytest.mark.parametrize(
    ("champs", "param", "statut"),
    [
        ({"dimensions": 7}, "dimensions", 400),
        ({"model": BASE}, "model", 404),
        ({"encoding_format": "int8"}, "encoding_format", 400),
        ({"input": ""}, "input", 400),
        ({"input": []}, "input", 400),
        ({"input": ["oui", ""]}, "input.1", 400),
        ({"input": [[1, 2]]}, "input.0", 400),
        ({"input": ["oui", 3]}, "input.1", 400),
        ({"input": 3}, "input", 400),
        ({"input": ["oui"] * 2049}, "input", 400),
        ({"autre": 1}, "autre", 400),
    ],
)
def test_des_vecteurs_impossibles_sont_refuses_en_nommant_le_champ(adresse, champs, param, statut):
    corps = {"model": "encodeur-poche", "input": "oui", **champs}
    rendu = NAVIGATEUR.post(f"{adresse}/v1/embeddings", json=corps)
    assert refus_de(rendu, statut)["param"] == param


# ---------------------------------------------------------------- les refus

REFUSES = {
    "frequency_penalty": 0.5,
    "presence_penalty": 1,
    "logit_bias": {"5": 100},
    "tools": [{"type": "function"}],
    "tool_choice": "required",
    "functions": [{"name": "f"}],
    "function_call": {"name": "f"},
    "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {"not": {}}}},
    "modalities": ["audio"],
    "audio": {"voice": "alloy"},
    "prediction": {"type": "content"},
    "reasoning_effort": "high",
    "web_search_options": {},
    "verbosity": "low",
    "champ_inconnu": 1,
    "temperature": 3,
    "top_p": 0,
    "n": 1000,
    "max_tokens": 0,
    "stop": ["a", "b", "c", "d", "e"],
    "top_logprobs": 2,
    "stream_options": {"include_usage": True},
    "seed": "sept",
    "logprobs": "oui",
    "model": 3,
}


@pytest.fixture
def dire(adresse) -> Callable[..., httpx.Response]:
    """Une demande telle quelle, sans le client officiel."""

    def envoyer(**champs) -> httpx.Response:
        corps = {"model": BASE, "messages": conversation(), "max_tokens": 1, **champs}
        return NAVIGATEUR.post(f"{adresse}/v1/chat/completions", json=corps)

    return envoyer


def refus_de(rendu: httpx.Response, statut: int = 400) -> dict:
    """L'erreur d'une réponse, dans la forme de l'API, en français."""
    assert rendu.status_code == statut, rendu.text
    assert rendu.headers["content-type"] == "application/json"
    erreur = rendu.json()["error"]
    assert erreur.keys() == {"message", "type", "param", "code"}
    assert erreur["message"].endswith(".")
    sans_champ = re.sub("«[^»]*»", "", erreur["message"].lower())
    anglais = r"\b(the|input|should|valid|not found|or|failed|unimplemented)\b"
    assert not re.search(anglais, sans_champ)
    return erreur


@pytest.mark.parametrize(("champ", "valeur"), REFUSES.items())
def test_ce_qu_on_ne_sait_pas_faire_est_refuse_par_son_nom(dire, champ, valeur):
    erreur = refus_de(dire(**{champ: valeur}))
    assert erreur["param"] == champ
    assert f"« {champ} »" in erreur["message"]


def test_ce_qui_ne_demande_rien_se_recoit(dire):
    """Les valeurs neutres, les champs sans effet, et ce que LangChain ou d'autres envoient."""
    neutres = {"frequency_penalty": 0, "tools": [], "response_format": {"type": "text"}}
    sans_effet = {"user": "u", "metadata": {"a": "b"}, "store": False, "stop": None, "n": None}
    assert dire(**neutres, **sans_effet, temperature=None).status_code == 200


@pytest.mark.parametrize(
    "messages",
    [
        [],
        [{"role": "tool", "content": "a"}],
        [{"role": "user"}],
        [{"role": "user", "content": None}],
        [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}],
        [{"role": "user", "content": "a", "autre": 1}],
        "Bonjour",
    ],
)
def test_une_conversation_mal_formee_dit_ou(dire, messages):
    assert refus_de(dire(messages=messages))["param"].startswith("messages")


def test_une_question_trop_longue_est_refusee_avant_la_file(dire):
    erreur = refus_de(dire(messages=conversation("mot " * 3000)))
    assert erreur["code"] == "context_length_exceeded"


@pytest.mark.parametrize(
    ("corps", "statut"),
    [
        (b"{", 400),
        (b"[" * 100_000, 400),
        (b'{"model": "\\ud800", "messages": [{"role": "user", "content": "a"}]}', 404),
        (b'{"model": "par-coeur", "messages": [{"role": "user", "content": "\\ud800"}]}', 400),
        (b'{"\\ud800": 1}', 400),
        (b'{"model": "par-coeur", "messages": [], "temperature": NaN}', 400),
        (b"", 400),
    ],
    ids=["coupé", "profond", "modèle", "demi-caractère", "champ", "nan", "vide"],
)
def test_un_corps_abime_ne_casse_rien(adresse, corps, statut):
    rendu = NAVIGATEUR.post(
        f"{adresse}/v1/chat/completions",
        content=corps,
        headers={"content-type": "application/json"},
    )
    refus_de(rendu, statut)


@pytest.mark.parametrize(
    ("methode", "chemin", "statut"),
    [
        ("GET", "/", 404),
        ("GET", "/v1/embeddings", 405),
        ("GET", "/docs", 404),
        ("DELETE", "/v1/models", 405),
        ("GET", "/v1/chat/completions", 405),
        ("GET", "/v1/models/absent", 404),
        ("GET", "/v1/files/file-absent", 404),
        ("GET", "/v1/fine_tuning/jobs/ftjob-absent", 404),
        ("GET", "/v1/files?limit=0", 400),
    ],
)
def test_une_adresse_inconnue_se_dit_comme_le_reste(adresse, methode, chemin, statut):
    refus_de(NAVIGATEUR.request(methode, f"{adresse}{chemin}"), statut)


# ---------------------------------------------------------------- la clé


def adresses(service: Service) -> list[tuple[str, str]]:
    """Chaque méthode et chaque adresse du service."""
    chemins = application(service).openapi()["paths"]
    return [
        (methode.upper(), re.sub(r"{\w+}", "x", chemin))
        for chemin, methodes in chemins.items()
        for methode in methodes
    ]


def test_chaque_adresse_demande_la_cle(faux, capfd):
    """Sans clé, avec une autre, mal présentée ; la santé seule s'en passe, et la clé ne se dit pas."""
    service, cle = faux(), "une-cle-de-ministere"
    routes = adresses(service)
    assert len(routes) > 12
    entetes = [{}, {"authorization": "Bearer autre"}, {"authorization": cle.encode()}]
    with en_marche(service, cle) as adresse:
        for methode, chemin in [*routes, ("GET", "/openapi.json"), ("GET", "/nulle-part")]:
            for entete in entetes:
                rendu = NAVIGATEUR.request(methode, f"{adresse}{chemin}", headers=entete)
                if chemin == "/sante":
                    assert rendu.json()["etat"] == "pret"
                else:
                    assert refus_de(rendu, 401)["code"] == "invalid_api_key", (methode, chemin)
        avec = {"authorization": b"Bearer " + cle.encode()}
        assert NAVIGATEUR.get(f"{adresse}/v1/models", headers=avec).status_code == 200
    assert cle not in "".join(capfd.readouterr())
    assert cle not in str(vars(Cle(cle)))


@pytest.mark.parametrize(
    "entete", [{"host": "pirate.example"}, {"origin": "https://pirate.example"}]
)
def test_sans_cle_une_page_web_ne_peut_pas_s_en_servir(adresse, entete):
    """Ni par un nom qui mène ici, ni depuis un autre site ouvert dans le navigateur."""
    refus_de(NAVIGATEUR.get(f"{adresse}/v1/models", headers=entete), 403)
    assert NAVIGATEUR.get(f"{adresse}/v1/models", headers={"origin": adresse}).status_code == 200


# ---------------------------------------------------------------- les fichiers


def exemples(nombre: int = 10, debut: str = "Question") -> bytes:
    """Des conversations fictives, une par ligne."""
    lignes = [
        {
            "messages": [
                {"role": "user", "content": f"{debut} numéro {rang} ?"},
                {"role": "assistant", "content": f"Réponse {rang}, dite simplement."},
            ]
        }
        for rang in range(nombre)
    ]
    return "".join(json.dumps(ligne, ensure_ascii=False) + "\n" for ligne in lignes).encode()


def test_un_fichier_se_depose_se_relit_et_s_efface(api):
    contenu = exemples()
    depose = api.files.create(file=("corpus.jsonl", contenu), purpose="fine-tune")
    assert (depose.filename, depose.bytes, depose.status) == (
        "corpus.jsonl",
        len(contenu),
        "processed",
    )
    assert api.files.retrieve(depose.id) == depose
    assert api.files.content(depose.id).read() == contenu
    assert depose.id in [fichier.id for fichier in api.files.list()]
    assert api.files.delete(depose.id).deleted
    with pytest.raises(openai.NotFoundError):
        api.files.retrieve(depose.id)


def test_les_pages_se_suivent(api):
    deposes = [
        api.files.create(file=(f"{rang}.jsonl", exemples()), purpose="fine-tune").id
        for rang in range(3)
    ]
    page = api.files.list(limit=1, order="asc")
    assert len(page.data) == 1
    assert page.has_more
    assert set(deposes) <= {fichier.id for fichier in page}, "le client a suivi les pages"
    for id in deposes:
        api.files.delete(id)


@pytest.mark.parametrize(
    "nom",
    ["../../evade.jsonl", "..\\..\\evade.jsonl", "/etc/evade", "a\x00b", "x" * 500, "..", "é\n"],
)
def test_un_nom_de_fichier_n_est_jamais_un_chemin(api, service, nom):
    depose = api.files.create(file=(nom, exemples()), purpose="fine-tune")
    racine = service.depots.racine
    assert service.depots.chemin(service.depots.trouver(depose.id)).is_relative_to(racine)
    assert not [f for f in racine.parent.parent.rglob("*evade*")]
    assert len(depose.filename) <= 200
    assert not set("/\\\n\x00") & set(depose.filename)
    api.files.delete(depose.id)


@pytest.mark.parametrize("id", ["..%2f..%2fservice.json", "..", "%2e%2e%2f.verrou", "file-x/../.."])
def test_un_identifiant_n_est_jamais_un_chemin(adresse, id):
    for fin in ("", "/content"):
        assert NAVIGATEUR.get(f"{adresse}/v1/files/{id}{fin}").status_code in (404, 405)


def test_un_fichier_vide_ou_d_un_autre_usage_est_refuse(api):
    with pytest.raises(openai.BadRequestError, match="vide"):
        api.files.create(file=("a.jsonl", b""), purpose="fine-tune")
    with pytest.raises(openai.BadRequestError, match="assistants"):
        api.files.create(file=("a.jsonl", exemples()), purpose="assistants")


def test_un_disque_qui_se_derobe_se_dit(faux, monkeypatch):
    """Plein, puis vidé par un autre : une phrase, et le service continue."""

    def plein(*_):
        raise OSError(errno.ENOSPC, "plein")

    service = faux()
    with en_marche(service) as adresse:
        api = client(adresse)
        depose = deposer(api, exemples())
        service.depots.chemin(service.depots.trouver(depose)).unlink()
        erreur = refus_de(NAVIGATEUR.get(f"{adresse}/v1/files/{depose}/content"), 404)
        assert "n’est plus sur le disque" in erreur["message"]
        with monkeypatch.context() as ici:
            ici.setattr("fabrique.service.depots.shutil.copyfileobj", plein)
            with pytest.raises(openai.InternalServerError, match="disque") as refus:
                deposer(api, exemples())
        assert refus.value.status_code == 503
        assert deposer(api, exemples())


def test_on_n_efface_que_ce_qu_on_a_ecrit(tmp_path):
    """Un fichier retouché sur le disque reste là."""
    depots = Depots(tmp_path)
    depot = depots.deposer(io.BytesIO(b"{}"), "f.jsonl", "fine-tune")
    depots.chemin(depot).write_bytes(b"retouche")
    with pytest.raises(ErreurFabrique, match="changé sur le disque"):
        depots.supprimer(depot)
    assert depots.chemin(depot).read_bytes() == b"retouche"
    assert [d.id for d in Depots(tmp_path).tous()] == [depot.id]


# ---------------------------------------------------------------- trop gros, trop lent, trop nombreux


@pytest.mark.parametrize("en_morceaux", [False, True])
@pytest.mark.parametrize("chemin", ["/v1/chat/completions", "/v1/files"])
def test_un_corps_trop_gros_est_arrete_en_route(faux, chemin, en_morceaux):
    """Annoncé ou non : la suite n'est pas lue."""
    envoyes = 0

    def morceaux() -> Iterator[bytes]:
        nonlocal envoyes
        yield b'--b\r\nContent-Disposition: form-data; name="file"; filename="f"\r\n\r\n'
        for _ in range(400):
            envoyes += 1
            yield b"x" * 100_000

    type_ = "multipart/form-data; boundary=b" if chemin == "/v1/files" else "application/json"
    with en_marche(faux(fichier_max=1)) as adresse:
        corps = morceaux() if en_morceaux else b"x" * 3_000_000
        try:
            rendu = NAVIGATEUR.post(
                f"{adresse}{chemin}", content=corps, headers={"content-type": type_}
            )
        except (httpx.WriteError, httpx.ReadError):  # le serveur a raccroché sans attendre la suite
            assert en_morceaux
            assert envoyes < 400
        else:
            assert refus_de(rendu, 413)["code"] == "request_too_large"


def prise_sur(adresse: str) -> socket.socket:
    """Une connexion nue au serveur."""
    hote, port = adresse.removeprefix("http://").split(":")
    return socket.create_connection((hote, int(port)), timeout=20)


def question_brute(au_fil: bool) -> bytes:
    """Une question, telle qu'elle passe sur la connexion."""
    corps = {"model": BASE, "messages": conversation(), "stream": au_fil}
    requete = httpx.Request("POST", "http://127.0.0.1/v1/chat/completions", json=corps)
    entete = b"".join(b"%s: %s\r\n" % ligne for ligne in requete.headers.raw)
    return b"POST /v1/chat/completions HTTP/1.1\r\n" + entete + b"\r\n" + requete.read()


def test_un_entete_qui_n_arrive_pas_ferme_la_connexion(faux):
    with en_marche(faux(delai_client=0.3)) as adresse, prise_sur(adresse) as prise:
        prise.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nhost: ")
        assert prise.recv(1000) == b"", "le serveur attendait encore"


def test_un_corps_qui_n_arrive_pas_est_refuse(faux):
    entete = b"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1\r\n"
    entete += b"content-type: application/json\r\ncontent-length: 1000\r\n\r\n{"
    with en_marche(faux(delai_client=0.3)) as adresse, prise_sur(adresse) as prise:
        prise.sendall(entete)
        recu = b"".join(iter(lambda: prise.recv(10_000), b""))
    assert b"408" in recu.splitlines()[0]
    assert "n’arrive pas" in json.loads(recu.rpartition(b"\r\n\r\n")[2])["error"]["message"]


def goutte_a_goutte(prise: socket.socket) -> bytes:
    """Envoie un octet à la fois, sans jamais se taire, jusqu'à ce que le serveur réponde ou raccroche."""
    envoyes = 0
    while not select.select([prise], [], [], 0.02)[0]:
        prise.sendall(b"x")
        envoyes += 1
        assert envoyes < 2000, "le serveur attendait encore"
    return b"".join(iter(lambda: prise.recv(10_000), b""))


def test_un_en_tete_au_goutte_a_goutte_ferme_la_connexion(faux):
    """Chaque octet n'accorde pas un nouveau délai."""
    with en_marche(faux(delai_client=0.3)) as adresse, prise_sur(adresse) as prise:
        prise.sendall(b"GET /v1/models HTTP/1.1\r\nhost: 127.0.0.1\r\nx-lent: ")
        assert goutte_a_goutte(prise) == b""


def test_un_corps_au_goutte_a_goutte_est_refuse(faux):
    """Le corps entier a son délai, même si chaque octet arrive à temps."""
    entete = b"POST /v1/files HTTP/1.1\r\nhost: 127.0.0.1\r\n"
    entete += b"content-type: multipart/form-data; boundary=b\r\ncontent-length: 100000\r\n\r\n"
    entete += b'--b\r\nContent-Disposition: form-data; name="file"; filename="f"\r\n\r\n'
    with en_marche(faux(delai_client=0.1)) as adresse, prise_sur(adresse) as prise:
        prise.sendall(entete)
        assert b"408" in goutte_a_goutte(prise).splitlines()[0]


def test_un_client_qui_ne_lit_plus_est_lache(faux):
    """La réponse s'arrête d'elle-même : rien ne s'accumule sans fin."""
    arrete = threading.Event()

    def sans_fin(ligne: Ligne) -> None:
        while not ligne.interrompue():
            ligne.recevoir(Morceau("mot " * 20_000, ecrits=1))
            time.sleep(0.005)
        arrete.set()

    with en_marche(faux(sans_fin, delai_client=0.5)) as adresse, prise_sur(adresse) as prise:
        prise.sendall(question_brute(au_fil=True))
        assert prise.recv(100)
        assert arrete.wait(30), "le moteur écrit encore pour personne"


@pytest.mark.parametrize("au_fil", [False, True])
def test_un_client_qui_part_arrete_le_moteur(faux, au_fil):
    """Entre deux jetons, que la réponse soit attendue d'un coup ou au fil de l'eau."""
    commence, arrete = threading.Event(), threading.Event()

    def longtemps(ligne: Ligne) -> None:
        commence.set()
        while not ligne.interrompue():
            ligne.recevoir(Morceau("mot ", ecrits=1))
            time.sleep(0.01)
        arrete.set()

    with en_marche(faux(longtemps)) as adresse:
        with prise_sur(adresse) as prise:
            prise.sendall(question_brute(au_fil))
            assert commence.wait(60)
        assert arrete.wait(60), "le moteur écrit encore pour personne"


def test_une_file_pleine_le_dit_et_se_vide(faux):
    """Un qui écrit, deux qui attendent ; le suivant est refusé, puis reçu."""
    ouvrir = threading.Event()
    service = faux(lambda ligne: (ouvrir.wait(30), finir(ligne)), lot=1, file_max=2)
    with en_marche(service) as adresse, ThreadPoolExecutor(3) as clients:
        api = client(adresse)

        def demander(_) -> str:
            return api.chat.completions.create(model=BASE, messages=conversation()).id

        attendus = [clients.submit(demander, 0)]
        while not service.moteur.lots:
            time.sleep(0.01)
        attendus += [clients.submit(demander, rang) for rang in (1, 2)]
        while len(service.attente) < 2:
            time.sleep(0.01)
        with pytest.raises(openai.RateLimitError) as refus:
            demander(3)
        assert refus.value.code == "rate_limit_exceeded"
        assert int(refus.value.response.headers["retry-after"]) >= 1
        ouvrir.set()
        assert len({attendu.result() for attendu in attendus}) == 3
        assert demander(4)


def test_une_demande_trop_longue_s_arrete(faux):
    """Passé le temps d'une demande, attente comprise."""

    def lentement(ligne: Ligne) -> None:
        while not ligne.interrompue():
            time.sleep(0.01)

    with en_marche(faux(lentement, delai_reponse=0.2)) as adresse:
        with pytest.raises(openai.APIStatusError) as refus:
            client(adresse).chat.completions.create(model=BASE, messages=conversation())
        assert refus.value.status_code == 504


def test_un_moteur_qui_echoue_le_dit_sans_tomber(faux):
    """Une panne, un manque de mémoire ; la demande suivante est servie."""
    pannes = [ValueError("casse"), MemoryError(), None]

    def ecrire(ligne: Ligne) -> None:
        if panne := pannes.pop(0):
            raise panne
        finir(ligne)

    with en_marche(faux(ecrire)) as adresse:
        statuts = [
            NAVIGATEUR.post(
                f"{adresse}/v1/chat/completions",
                json={"model": BASE, "messages": conversation()},
            ).status_code
            for _ in range(3)
        ]
    assert statuts == [500, 503, 200]


def test_une_erreur_au_fil_de_l_eau_se_lit(faux):
    def ecrire(ligne: Ligne) -> None:
        raise ErreurFabrique("la carte est partie", "Rebranchez-la")

    with en_marche(faux(ecrire)) as adresse, pytest.raises(openai.APIError, match="carte"):
        list(
            client(adresse).chat.completions.create(
                model=BASE, messages=conversation(), stream=True
            )
        )


# ---------------------------------------------------------------- ce qu'un affinage refuse


def deposer(api: openai.OpenAI, contenu: bytes) -> str:
    """Dépose des exemples ; leur identifiant."""
    return api.files.create(file=("corpus.jsonl", contenu), purpose="fine-tune").id


def refuser(api: openai.OpenAI, contenu: bytes, **options) -> openai.APIStatusError:
    """Demande un affinage qui doit être refusé."""
    avant = len(api.fine_tuning.jobs.list().data)
    demande = {"model": BASE, "training_file": deposer(api, contenu), **options}
    with pytest.raises(openai.APIStatusError) as refus:
        api.fine_tuning.jobs.create(**demande)
    assert len(api.fine_tuning.jobs.list().data) == avant
    return refus.value


PERSONNELLES = exemples(9) + exemples(1, "Mon courriel est jeanne.fictive@exemple-mairie.fr")


@pytest.mark.parametrize(
    ("contenu", "dit"),
    [
        (exemples(9), "9 exemples : il en faut au moins 10"),
        (exemples(4) + b'{"messages": [}\n' + exemples(6), "ligne 5"),
        (exemples(10) + b'{"messages": []}\n', "ligne 11"),
        (exemples(3) + b'["a"]\n' + exemples(8), "ligne 4"),
        (PERSONNELLES, "donnée personnelle, la première à l’exemple 10 (courriel)"),
        (b'{"titre": "Fiche", "texte": "Un texte."}\n' * 12, "des fiches"),
        (exemples(12).decode().encode("latin-1"), "corpus.jsonl"),
        (exemples(12).replace("Réponse".encode(), "RÃ©ponse".encode()), "mal décodés"),
    ],
    ids=["peu", "abîmée", "vide", "liste", "personnelles", "fiches", "latin-1", "mal décodé"],
)
def test_des_exemples_fautifs_sont_refuses_en_nommant_la_ligne(api, contenu, dit):
    erreur = refuser(api, contenu)
    assert erreur.code == "invalid_training_file"
    assert erreur.param == "training_file"
    assert dit in erreur.body["message"]
    assert "« corpus.jsonl »" in erreur.body["message"]
    assert "jeanne" not in erreur.body["message"]


@pytest.mark.parametrize(
    ("options", "param"),
    [
        ({"model": "hasard"}, "model"),
        ({"training_file": "file-absent"}, "training_file"),
        ({"validation_file": "file-absent"}, "validation_file"),
        ({"method": {"type": "reinforcement"}}, "method.type"),
        ({"suffix": "a b"}, "suffix"),
        ({"seed": -1}, "seed"),
        ({"hyperparameters": {"n_epochs": 0}}, "hyperparameters.n_epochs"),
        ({"hyperparameters": {"taux": 0}}, "hyperparameters.taux"),
        ({"integrations": [{"type": "wandb"}]}, "integrations"),
        ({"extra_body": {"inconnu": 1}}, "inconnu"),
        (
            {"method": {"type": "supervised"}, "hyperparameters": {"n_epochs": 1}},
            "hyperparameters",
        ),
    ],
)
def test_un_affinage_refuse_nomme_ce_qui_ne_va_pas(api, options, param):
    erreur = refuser(api, exemples(), **options)
    assert erreur.status_code in (400, 404)
    assert erreur.param.startswith(param)


def test_un_fichier_de_validation_fautif_est_le_sien(api):
    erreur = refuser(api, exemples(), validation_file=deposer(api, b"{}\n"))
    assert erreur.param == "validation_file"
    avec_jeu = exemples(12).replace(b'{"messages"', b'{"jeu": "entrainement", "messages"')
    erreur = refuser(api, avec_jeu, validation_file=deposer(api, exemples(2)))
    assert "déjà leur jeu" in erreur.body["message"]


@pytest.mark.parametrize(
    ("demandes", "exemples_", "attendus"),
    [
        # 100 exemples vus, au moins : 100 // 10.
        ({}, 10, (10, 4, 1.0, 30)),
        # Trois époques.
        ({}, 50, (3, 4, 1.0, 39)),
        # 25 000 vus, au plus.
        ({}, 20_000, (1, 4, 1.0, 5000)),
        ({"n_epochs": 2, "batch_size": 5, "learning_rate_multiplier": 0.5}, 11, (2, 5, 0.5, 6)),
    ],
)
def test_les_hyperparametres_de_l_api_deviennent_nos_reglages(demandes, exemples_, attendus):
    """Les valeurs « auto » d'OpenAI, comptées à la main ; les options se lisent comme des Reglages."""
    choisie = recette(Hyperparametres(**demandes), exemples_, 3, POCHE)
    montres = choisie.montres()
    assert (*montres.values(), choisie.pas) == attendus
    options = dict(o.removeprefix("--").split("=", 1) for o in choisie.options(POCHE))
    assert float(options["lr"]) == POCHE.learning_rate * montres["learning_rate_multiplier"]
    assert montres["batch_size"] % int(options["mbatch_size"]) == 0
    assert int(options["graine"]) == 3
    champs = fabrique.Reglages.__dataclass_fields__
    assert {"learning_rate" if nom == "lr" else nom for nom in options} <= champs.keys()


@pytest.mark.parametrize(
    ("nom", "machine", "attendu"),
    [
        ("falcon-poche", GPU, POCHE),
        ("falcon-poche", POCHE, POCHE),
        ("falcon-7b-instruct", POCHE, T4),
        ("falcon-7b-instruct", GPU, GPU),
    ],
)
def test_le_taux_va_avec_le_modele_pas_avec_la_machine(monkeypatch, nom, machine, attendu):
    monkeypatch.setattr("fabrique.service.ouverture.choisir_profil", lambda _: machine)
    assert profil_du_modele(nom, examiner()) == attendu


# ---------------------------------------------------------------- mener les affinages


def travail(**champs) -> Travail:
    """Un affinage fictif."""
    return Travail(
        **{
            "id": "ftjob-abcdef012345",
            "modele": BASE,
            "fichier": "file-x",
            "validation": None,
            "suffixe": None,
            "options": [],
            "hyperparametres": {},
            "graine": 1,
            "pas": 10,
            "metadonnees": {},
            "cree": 1,
            **champs,
        }
    )


def attendre(vrai: Callable[[], bool], secondes: float = 60) -> None:
    """Attend qu'une chose devienne vraie."""
    fin = time.monotonic() + secondes
    while not vrai():
        assert time.monotonic() < fin, "rien n’est venu"
        time.sleep(0.02)


@pytest.fixture
def faux_affinage(monkeypatch, tmp_path) -> Path:
    """Remplace « python -m fabrique finetune » par un programme qui attend un fichier « va »."""
    programme = tmp_path / "faux.py"
    programme.write_text(
        "import sys, time, pathlib\n"
        "sortie = next(a.split('=', 1)[1] for a in sys.argv if a.startswith('--lora_out_dir='))\n"
        "sortie = pathlib.Path(sortie)\n"
        "while not (va := sortie.with_name('va')).exists(): time.sleep(0.01)\n"
        "if va.read_text(): sys.exit(va.read_text())\n"
        "sortie.mkdir(exist_ok=True)\n"
        "(sortie / 'rapport.json').write_text('{\"historique\": []}')\n",
        "utf-8",
    )
    enveloppe = tmp_path / "python"
    enveloppe.write_text(f'#!/bin/sh\nshift 2\nexec "{sys.executable}" "{programme}" "$@"\n')
    enveloppe.chmod(0o755)
    monkeypatch.setattr(module_taches.sys, "executable", str(enveloppe))
    return tmp_path / "affinages"


@pytest.mark.skipif(os.name == "nt", reason="le faux programme est un script du shell")
def test_un_seul_affinage_a_la_fois_et_chacun_son_tour(faux_affinage):
    reussis = []
    travaux = Travaux(faux_affinage, lambda travail, _: reussis.append(travail.id))
    travaux.demarrer()
    un, deux, trois = (travail(id=f"ftjob-{n}", cree=n) for n in (1, 2, 3))
    for chacun in (un, deux, trois):
        travaux.dossier(chacun).mkdir(parents=True)
        travaux.ajouter(chacun)
    attendre(lambda: un.etat == "running")
    assert [deux.etat, trois.etat] == ["queued", "queued"]
    assert travaux.annuler(deux)
    (travaux.dossier(un) / "va").touch()
    attendre(lambda: trois.etat == "running")
    assert (un.etat, deux.etat) == ("succeeded", "cancelled")
    (travaux.dossier(trois) / "va").write_text("l’option --lr : « 0 » ne convient pas.", "utf-8")
    attendre(lambda: trois.etat == "failed")
    assert trois.erreur == "l’option --lr : « 0 » ne convient pas."
    assert reussis == [un.id]
    assert not travaux.annuler(un)
    travaux.fermer()
    relus = Travaux(faux_affinage, lambda *_: None)
    assert [t.etat for t in relus.tous()] == ["succeeded", "cancelled", "failed"]


@pytest.mark.skipif(os.name == "nt", reason="le faux programme est un script du shell")
def test_annuler_tue_l_affinage_en_cours(faux_affinage):
    travaux = Travaux(faux_affinage, lambda *_: None)
    travaux.demarrer()
    seul = travail()
    travaux.dossier(seul).mkdir(parents=True)
    travaux.ajouter(seul)
    attendre(lambda: seul.processus is not None)
    processus = psutil.Process(seul.processus)
    assert travaux.annuler(seul)
    attendre(lambda: not processus.is_running() or processus.status() == psutil.STATUS_ZOMBIE)
    assert seul.etat == "cancelled"
    travaux.fermer()


@pytest.mark.skipif(os.name == "nt", reason="le faux programme est un script du shell")
def test_un_affinage_orphelin_est_suivi_et_non_doublonne(faux_affinage):
    """Le service est mort, pas l'affinage : le suivant le retrouve par son numéro et sa naissance."""
    premier = Travaux(faux_affinage, lambda *_: None)
    seul = travail()
    premier.dossier(seul).mkdir(parents=True)
    premier.ajouter(seul)
    orphelin = premier._lancer(seul)
    suivant = Travaux(faux_affinage, lambda *_: None)
    suivant.demarrer()
    [relu] = suivant.tous()
    assert (relu.etat, relu.processus) == ("running", orphelin.pid)
    (premier.dossier(seul) / "va").touch()
    orphelin.wait()
    attendre(lambda: relu.etat == "succeeded")
    assert "reprend" not in str(relu.dits)
    suivant.fermer()


# ---------------------------------------------------------------- un vrai affinage, jusqu'au bout

#: Assez de pas pour le couper en route ; chaque dixième est un point de reprise.
DEMANDE = {
    "model": BASE,
    "suffix": "demarches",
    "seed": 11,
    "method": {
        "type": "supervised",
        "supervised": {
            "hyperparameters": {
                "n_epochs": 4,
                "batch_size": 2,
                "learning_rate_multiplier": 20,
            }
        },
    },
}


def fichiers(api: openai.OpenAI) -> dict[str, str]:
    """Les deux fichiers de l'affinage, déposés."""
    return {
        "training_file": deposer(api, exemples(12)),
        "validation_file": deposer(api, exemples(3, "Autre question")),
    }


@pytest.fixture(scope="module")
def affine(api, programmes, tmp_path_factory):
    """Un affinage mené à son terme par le programme que le mode d'emploi donne à copier."""
    programme = programmes("affinage_heberge")
    appris = tmp_path_factory.mktemp("depot") / "cinquante.jsonl"
    appris.write_bytes(exemples(12))
    options = {nom: valeur for nom, valeur in DEMANDE.items() if nom != "model"}
    validation = fichiers(api)["validation_file"]
    return programme.affiner(api, appris, BASE, validation_file=validation, **options)


def test_un_affinage_va_au_bout_et_son_modele_repond(api, affine, service):
    assert affine.error is None or affine.error.message is None, affine.error
    assert affine.status == "succeeded"
    assert re.fullmatch(r"ft:par-coeur:maison:demarches:\w{8}", affine.fine_tuned_model)
    assert affine.trained_tokens > 100
    assert affine.method.supervised.hyperparameters.n_epochs == 4
    assert affine.fine_tuned_model in [modele.id for modele in api.models.list()]
    demande = {"messages": conversation("Question numéro 3 ?"), "temperature": 0, "max_tokens": 9}
    rendus = [
        api.chat.completions.create(model=nom, **demande).choices[0].message.content
        for nom in (BASE, affine.fine_tuned_model)
    ]
    assert rendus[0] != rendus[1]
    assert affine.id in [travail.id for travail in api.fine_tuning.jobs.list()]


def test_ses_evenements_disent_chaque_pas_et_l_issue(api, affine):
    evenements = list(api.fine_tuning.jobs.list_events(affine.id, limit=7))[::-1]
    assert len({e.id for e in evenements}) == len(evenements) == 1 + 1 + 24 + 1 + 1
    mesures = [e.data for e in evenements if "train_loss" in (e.data or {})]
    assert [mesure["step"] for mesure in mesures] == list(range(1, 25))
    assert mesures[-1]["train_loss"] < mesures[0]["train_loss"]
    assert "attend son tour" in evenements[0].message
    assert affine.fine_tuned_model in evenements[-1].message
    assert any("Validation" in e.message for e in evenements)


def test_ses_points_de_reprise_repondent_aussi(api, affine):
    points = api.fine_tuning.jobs.checkpoints.list(affine.id).data
    assert [point.step_number for point in points] == [24, 22, 20]
    assert all(point.metrics.train_loss > 0 for point in points)
    rendu = api.chat.completions.create(
        model=points[-1].fine_tuned_model_checkpoint, messages=conversation(), max_tokens=2
    )
    assert rendu.model == points[-1].fine_tuned_model_checkpoint
    assert not [m.id for m in api.models.list() if "ckpt" in m.id]


def test_ses_mesures_se_telechargent(api, affine):
    [fichier] = affine.result_files
    lignes = api.files.content(fichier).text.splitlines()
    assert lignes[0] == "step,train_loss"
    assert len(lignes) == 25


def test_un_autre_service_sur_le_meme_dossier_le_sert_encore(affine, service, cadre, modele):
    """Le redémarrage : fichiers, affinages et modèles affinés sont retrouvés."""
    tokenizer, reseau, _ = modele
    moteur = RepondeurTransformers(tokenizer, reseau, BASE)
    relu = Service(moteur, cadre, service.reglages, service.depots.racine.parent)
    assert affine.fine_tuned_model in moteur.noms()
    assert {d.id for d in relu.depots.tous()} == {d.id for d in service.depots.tous()}
    assert "réussi" in relu.presentation(1, False)
    assert len(relu.travaux.trouver(affine.id).resultats) == 1
    relu.attente.fermer()


def test_ce_qu_un_service_tue_a_laisse_se_dit_et_se_range(faux, tmp_path):
    """La marque d'un service tué, un dépôt et une demande coupés en route ; le reste ne bouge pas."""
    racine = tmp_path / "s"
    with en_marche(faux()):
        assert (racine / OUVERT).is_file()
    assert not (racine / OUVERT).exists(), "arrêté comme il faut, il n’a rien à dire"
    assert faux().presentation(1, False).count("\n") == 2
    Depots(racine / "fichiers").deposer(io.BytesIO(exemples()), "a.jsonl", "fine-tune")
    garde = racine / "affinages" / "ftjob-garde" / "adaptateur"
    coupes = [racine / "fichiers" / ".file-coupe", racine / "affinages" / "ftjob-coupe"]
    for dossier in (garde, *coupes):
        dossier.mkdir(parents=True)
        (dossier / "corpus.jsonl").write_bytes(exemples())
    (racine / OUVERT).touch()
    dit = faux().presentation(1, False)
    assert "Le service précédent a été tué" in dit
    assert "1 fichier retrouvé, 0 affinage retrouvé" in dit
    assert "Envois coupés en route, à refaire : 2." in dit
    assert not any(dossier.exists() for dossier in coupes)
    assert garde.is_dir()


@contextmanager
def commande(
    dossier: Path, modele: Path
) -> Iterator[tuple[openai.OpenAI, subprocess.Popen, list[str]]]:
    """« fabrique servir », dans son propre processus ; et ce qu'elle dit en s'ouvrant."""
    with socket.create_server(("127.0.0.1", 0)) as prise:
        port = prise.getsockname()[1]
    options = [f"--port={port}", f"--dossier={dossier}", f"--model={modele}"]
    lancee = [sys.executable, "-m", "fabrique", "servir", "--quantification=aucune", *options]
    with subprocess.Popen(lancee, stdout=subprocess.PIPE, text=True) as processus:
        try:
            dites = []
            for ligne in processus.stdout:
                dites.append(ligne)
                if "Ctrl-C" in ligne:
                    break
            api = client(f"http://127.0.0.1:{port}")
            attendre(lambda: _repond(api), 300)
            yield api, processus, dites
        finally:
            processus.kill()


def _repond(api: openai.OpenAI) -> bool:
    try:
        return bool(api.models.list().data)
    except openai.APIConnectionError:
        return False


@pytest.mark.skipif(os.name == "nt", reason="SIGKILL n’y existe pas")
def test_tue_en_plein_affinage_le_service_le_reprend_et_l_acheve_a_l_identique(
    affine, service, dossier_par_coeur, tmp_path
):
    """Seize clients, une réponse en cours, puis kill -9 de tout : l'adaptateur final est le même."""
    dossier = tmp_path / "service"
    with commande(dossier, dossier_par_coeur) as (api, processus, dites):
        assert "tué" not in "".join(dites)
        id = api.fine_tuning.jobs.create(**fichiers(api), **DEMANDE).id
        sortie = dossier / "affinages" / id / "adaptateur"
        # Seize clients pendant qu'un affinage avance : tous servis.
        question = {"model": BASE, "messages": conversation(), "temperature": 0}
        with ThreadPoolExecutor(16) as clients:
            rendus = clients.map(lambda _: api.chat.completions.create(**question), range(16))
            assert {rendu.choices[0].message.content for rendu in rendus} == {REPONSE}
        attendre(lambda: any(sortie.glob("checkpoint-*")), 900)
        etat = json.loads((dossier / "affinages" / id / "travail.json").read_text("utf-8"))
        # Au milieu d'une réponse : son schéma ne la laisse pas finir avant cinq cents mots.
        liste = {"type": "array", "items": {"type": "boolean"}, "minItems": 500}
        format = {"type": "json_schema", "json_schema": {"name": "longue", "schema": liste}}
        flux = api.chat.completions.create(**question, stream=True, response_format=format)
        next(iter(flux))
        processus.kill()
        with pytest.raises((openai.APIError, httpx.TransportError)):
            list(flux)
        os.kill(etat["processus"], signal.SIGKILL)
        attendre(lambda: not psutil.pid_exists(etat["processus"]))
        assert not (sortie / "rapport.json").exists(), "il avait déjà fini"
    with commande(dossier, dossier_par_coeur) as (api, _, dites):
        assert "Le service précédent a été tué" in "".join(dites)
        assert "2 fichiers retrouvés, 1 affinage retrouvé, 0 réussi, 1 à finir." in "".join(dites)
        assert api.chat.completions.create(**question).choices[0].message.content == REPONSE
        attendre(lambda: api.fine_tuning.jobs.retrieve(id).finished_at is not None, 900)
        repris = api.fine_tuning.jobs.retrieve(id)
        assert repris.status == "succeeded", repris.error
        messages = [e.message for e in api.fine_tuning.jobs.list_events(id)]
        assert any("reprend" in message for message in messages)
    jamais_coupe = service.travaux.dossier(service.travaux.trouver(affine.id)) / "adaptateur"
    attendus, obtenus = (load_file(d / "adapter_model.safetensors") for d in (jamais_coupe, sortie))
    assert attendus.keys() == obtenus.keys()
    assert all(attendus[nom].equal(obtenus[nom]) for nom in attendus)


# ---------------------------------------------------------------- classer


@pytest.fixture(scope="module")
def rangeurs(dossier_petit) -> dict[str, Classifieur]:
    """Des mots comptés, et un modèle de langage gelé."""
    textes = ["le robinet fuit", "le compteur d’eau", "la cantine", "l’inscription à l’école"]
    noms = ["eau", "eau", "école", "école"]
    return {nom: apprendre(nom, textes, noms, base=str(dossier_petit)) for nom in ("mots", "gele")}


def test_un_classifieur_servi_range_comme_la_commande(rangeurs, cadre, tmp_path):
    """Par son nom, un texte ou plusieurs ; il paraît dans la liste, et une requête abusive se refuse."""
    service = Service(
        FauxMoteur(finir), cadre, ReglagesService(), tmp_path / "s", classifieurs=rangeurs
    )
    assert "Classifieurs : mots, gele." in service.presentation(1, False)
    textes = ["un robinet d’école", "la cantine"]
    with en_marche(service) as adresse:

        def poster(nom: str, lus: str | list[str]) -> httpx.Response:
            return httpx.post(f"{adresse}/v1/classify", json={"model": nom, "input": lus})

        for nom, rangeur in rangeurs.items():
            rendu = poster(nom, textes).json()
            attendus = predire(rangeur, textes)
            assert rendu["labels"] == ["eau", "école"]
            assert [un["label"] for un in rendu["data"]] == [a.etiquette for a in attendus]
            for un, attendu in zip(rendu["data"], attendus, strict=True):
                assert un["num_classes"] == 2
                assert sum(un["probs"]) == pytest.approx(1, abs=1e-5)
                assert max(un["probs"]) == pytest.approx(attendu.probabilite, abs=1e-5)
            assert poster(nom, textes[0]).json()["data"][0]["index"] == 0
        servis = [m["id"] for m in httpx.get(f"{adresse}/v1/models").json()["data"]]
        assert {"mots", "gele"} <= set(servis)
        assert httpx.get(f"{adresse}/v1/models/mots").status_code == 200
        inconnu = poster("autre", "x")
        assert inconnu.status_code == 404
        assert "« mots », « gele »" in inconnu.json()["error"]["message"]
        for refuse in ([], "", ["x"] * 3000):
            assert poster("mots", refuse).status_code == 400
        demi = httpx.post(
            f"{adresse}/v1/classify", content=b'{"model": "gele", "input": "\\ud800"}'
        )
        assert demi.status_code == 400


def test_deux_classifieurs_du_meme_nom_sont_refuses(rangeurs, tmp_path):
    for parent in ("a", "b"):
        rangeurs["mots"].enregistrer(tmp_path / parent / "tri")
    assert list(relire_par_leur_nom([tmp_path / "a" / "tri"])) == ["tri"]
    with pytest.raises(ErreurFabrique, match="deux classifieurs s’appelleraient « tri »"):
        relire_par_leur_nom([tmp_path / "a" / "tri", tmp_path / "b" / "tri"])


def test_un_classifieur_ne_prend_pas_le_nom_d_un_modele(rangeurs, tmp_path, monkeypatch):
    monkeypatch.setattr(ouverture, "_repondeur", lambda *_: pytest.fail("chargé"))
    reglages = ReglagesService(port=0, dossier=str(tmp_path / "service"))
    with pytest.raises(ErreurFabrique, match=f"un modèle et un classifieur .* « {BASE} »"):
        ouverture.ouvrir(BASE, [], reglages, Cle(""), classifieurs={BASE: rangeurs["mots"]})


# ---------------------------------------------------------------- llama.cpp


def test_un_gguf_repond_comme_transformers(dossier_par_coeur, cadre, tmp_path):
    """Le même service, un autre moteur : réponses, arrêts, log-probabilités ; l'affinage est refusé."""
    pytest.importorskip("xllamacpp", reason="l’extension [gguf] n’est pas installée")
    from fabrique.service.export import exporter_gguf
    from fabrique.service.repondeur_gguf import RepondeurGguf

    fait = exporter_gguf(str(dossier_par_coeur), tmp_path / "gguf", type="f16")
    moteur = RepondeurGguf(fait.fichier, places=4)
    reglages = ReglagesService(lot=4)
    with en_marche(Service(moteur, cadre, reglages, tmp_path / "service")) as adresse:
        api = client(adresse)
        options = {"model": moteur.base, "messages": conversation(), "temperature": 0}
        rendu = api.chat.completions.create(**options, logprobs=True, top_logprobs=2, n=2)
        assert [choix.message.content for choix in rendu.choices] == [REPONSE] * 2
        jetons = rendu.choices[0].logprobs.content
        assert "".join(jeton.token for jeton in jetons).strip() == REPONSE
        assert all(len(jeton.top_logprobs) == 2 and jeton.logprob > -1 for jeton in jetons)
        flux = api.chat.completions.create(**options, stream=True, stop=" carte")
        assert (
            "".join(m.choices[0].delta.content or "" for m in flux)
            == REPONSE.partition(" carte")[0]
        )
        format = {"type": "json_schema", "json_schema": {"name": "guichet", "schema": SCHEMA}}
        dit = api.chat.completions.create(**options, response_format=format).choices[0]
        jsonschema.validate(json.loads(dit.message.content), SCHEMA)
        assert not re.search(r"\s", dit.message.content)
        court = api.chat.completions.create(**options, max_tokens=2).choices[0]
        assert court.finish_reason == "length"
        with pytest.raises(openai.BadRequestError, match="GGUF"):
            api.fine_tuning.jobs.create(model=moteur.base, training_file=deposer(api, exemples()))


def test_llama_cpp_sert_une_base_et_ses_adaptateurs(
    api, dossier_par_coeur, modele, cadre, tmp_path, monkeypatch
):
    """Chacun par son nom, exporté quand on l'emploie, et comme le service de transformers."""
    pytest.importorskip("xllamacpp", reason="l’extension [gguf] n’est pas installée")
    from fabrique.service import export, repondeur_exporte

    monkeypatch.setattr(export, "textes_d_epreuve", lambda: [QUESTION])
    monkeypatch.setattr(repondeur_exporte, "OUVERTS", 1)
    _, _, adaptateur = modele
    reste = tmp_path / ".gguf-reste"
    reste.mkdir()
    moteur = repondeur_exporte.RepondeurExporte(
        str(dossier_par_coeur), BASE, None, tmp_path, places=2
    )
    assert not reste.exists()
    for nom in ("hasard", "encore"):
        moteur.inscrire(nom, adaptateur)
    ouvert = Service(moteur, cadre, ReglagesService(lot=2), tmp_path)
    assert f"par llama.cpp : {BASE}, hasard, encore." in ouvert.presentation(1, False)
    with en_marche(ouvert) as adresse:

        def demander(nom: str, a: openai.OpenAI) -> str:
            rendu = a.chat.completions.create(
                model=nom, messages=conversation("Merci."), temperature=0, max_tokens=12
            )
            return rendu.choices[0].message.content.strip()

        llama, base, affine = client(adresse), demander(BASE, api), demander("hasard", api)
        assert demander(BASE, llama) == base != affine
        assert demander("hasard", llama) == affine
        assert len([*tmp_path.glob(".gguf-*")]) == 2
        assert demander("encore", llama) == affine
        assert len([*tmp_path.glob(".gguf-*")]) == 2, "le plus ancien n’est pas fermé"
        assert demander(BASE, llama) == base


@pytest.mark.parametrize(
    ("moteur", "gpu", "attendu"),
    [
        ("auto", None, "llama.cpp"),
        ("auto", "une carte", "transformers"),
        ("transformers", None, "transformers"),
        ("llama.cpp", "une carte", "llama.cpp"),
    ],
)
def test_qui_ecrit_se_choisit_d_apres_la_machine(monkeypatch, moteur, gpu, attendu):
    """Sans qu'on demande rien : llama.cpp sans carte, transformers avec."""
    monkeypatch.setattr(ouverture.Moteur, "disponible", lambda: True)
    monkeypatch.setattr(ouverture, "_par_llama_cpp", lambda *_: FauxMoteur(finir))
    monkeypatch.setattr(FauxMoteur, "qui", "llama.cpp")
    machine = replace(examiner(), gpu=gpu)
    reglages = ReglagesService(moteur=moteur)
    choisi = ouverture._repondeur("falcon-poche", "aucune", None, reglages, machine)
    assert choisi.qui == attendu


def test_un_export_refuse_laisse_transformers_ecrire(monkeypatch, caplog):
    """Une base que le format ou la mémoire refusent se sert quand même, et l'on sait pourquoi."""
    refus = ErreurFabrique("l’architecture ne s’exporte pas", "Servez-la telle quelle")
    monkeypatch.setattr(ouverture.Moteur, "disponible", lambda: True)
    monkeypatch.setattr(ouverture, "_par_llama_cpp", Mock(side_effect=refus))
    sans_carte = replace(examiner(), gpu=None)
    with caplog.at_level("INFO"):
        choisi = ouverture._repondeur("falcon-poche", "aucune", None, ReglagesService(), sans_carte)
    assert choisi.qui == "transformers"
    assert "l’architecture ne s’exporte pas" in caplog.text
    with pytest.raises(ErreurFabrique, match="ne s’exporte pas"):
        ouverture._repondeur(
            "falcon-poche", "aucune", None, ReglagesService(moteur="llama.cpp"), sans_carte
        )


# ---------------------------------------------------------------- la commande


def echouer(capsys, *options: str) -> str:
    """La phrase d'une commande qui doit échouer, sans rien charger."""
    assert principal(["servir", *options]) in (1, 2)
    return capsys.readouterr().err


@pytest.fixture
def rien_a_charger(monkeypatch):
    monkeypatch.setattr(
        "fabrique.service.ouverture.charger", lambda *_, **__: pytest.fail("chargé")
    )
    monkeypatch.delenv("FABRIQUE_CLE", raising=False)


@pytest.mark.usefixtures("rien_a_charger")
def test_le_service_cite_sous_la_meme_regle_que_la_commande(monkeypatch, tmp_path):
    """Le profil « poche » n'écrit rien autour des citations, quel que soit le modèle."""
    index = Index.depuis(FICHES, sens="aucun").enregistrer(tmp_path / "index")
    servis = []
    monkeypatch.setenv("FABRIQUE_PROFIL", "poche")
    monkeypatch.setattr(ouverture, "choisir_fils", lambda _: None)
    monkeypatch.setattr(ouverture, "_repondeur", lambda *_: FauxMoteur(finir))
    monkeypatch.setattr(ouverture, "servir", lambda service, *_: servis.append(service))
    reglages = ReglagesService(port=0, dossier=str(tmp_path / "service"))
    ouverture.ouvrir("un-autre", [], reglages, Cle(""), index=index)
    assert not servis[0].sources.texte_libre


def test_la_commande_refuse_avant_de_charger(capsys, monkeypatch, tmp_path):
    """Ouverte sans clé, port pris, dossier d'un autre ou déjà tenu, adaptateur absent."""
    for hote in ("0.0.0.0", "::", "mairie.example"):
        assert "une clé est obligatoire" in echouer(capsys, "--hote", hote)
    with socket.create_server(("127.0.0.1", 0)) as prise:
        pris = str(prise.getsockname()[1])
        assert "on ne peut pas écouter" in echouer(capsys, "--port", pris)
    (tmp_path / "autre").mkdir()
    (tmp_path / "autre" / "these.docx").touch()
    libre = ["--port", "0", "--dossier"]
    assert "n’est pas celui d’un service" in echouer(capsys, *libre, str(tmp_path / "autre"))
    with dossier_a_nous(tmp_path / "tenu"):
        assert "un autre service" in echouer(capsys, *libre, str(tmp_path / "tenu"))
    assert "introuvable" in echouer(capsys, "--adaptateur", str(tmp_path / "absent"))
    neuf = [*libre, str(tmp_path / "neuf")]
    assert "index" in echouer(capsys, *neuf, "--index", str(tmp_path / "absent"))
    assert "l’option --port" in echouer(capsys, "--port", "70000")
    assert "auto, transformers ou llama.cpp" in echouer(capsys, "--moteur", "vllm")
    monkeypatch.setattr(ouverture.Moteur, "disponible", lambda: False)
    assert "fabrique[gguf]" in echouer(capsys, *neuf, "--moteur", "llama.cpp")
    for cle in ("clé", "deux mots"):
        assert "ni accent ni espace" in echouer(capsys, "--cle", cle)


def test_le_reseau_de_cette_machine_n_est_pas_ouvert():
    fermees = ("127.0.0.1", "::1", "localhost", "127.0.0.53")
    assert not any(ReglagesService(hote=hote).ouvert for hote in fermees)
    assert all(ReglagesService(hote=hote).ouvert for hote in ("0.0.0.0", "10.0.0.1", "poste"))


# ---------------------------------------------------------------- les autres clients


def test_langchain_parle_au_service(api, programmes):
    """La chaîne du mode d'emploi : une consigne, le modèle, son texte ; d'un coup et au fil de l'eau."""
    pytest.importorskip("langchain_openai", reason="langchain-openai n’est pas installé")
    chaine = programmes("chaine_langchain").batir(api, BASE)
    [attendu] = [e["output"] for e in EXEMPLES if e["instruction"].startswith("Comment renouveler")]
    demarche = {"demarche": "renouveler ma carte d’identité"}
    assert chaine.invoke(demarche) == attendu
    assert "".join(chaine.stream(demarche)) == attendu
    assert chaine.batch([demarche] * 3) == [attendu] * 3


@pytest.mark.skipif(
    os.name == "nt" or not shutil.which("curl"), reason="ce programme est un script du shell"
)
def test_curl_mene_la_meme_suite(faux, faux_affinage, tmp_path):
    """Le programme du mode d'emploi, tel quel : déposer, créer, attendre, converser ; un refus se lit."""
    service = faux()

    def lancer(nombre: int, adresse: str) -> subprocess.Popen:
        (tmp_path / "corpus.jsonl").write_bytes(exemples(nombre))
        return subprocess.Popen(
            ["bash", EXEMPLES_A_COPIER / "affinage_heberge.sh", tmp_path / "corpus.jsonl", BASE],
            env=os.environ | {"OPENAI_BASE_URL": f"{adresse}/v1", "OPENAI_API_KEY": "une-cle"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    with en_marche(service, cle="une-cle") as adresse:
        trop_court = lancer(9, adresse)
        _, refus = trop_court.communicate(timeout=60)
        assert trop_court.returncode
        assert "il en faut au moins 10" in refus
        assert "Traceback" not in refus
        lance = lancer(10, adresse)
        attendre(lambda: service.travaux.tous())
        [mene] = service.travaux.tous()
        (service.travaux.dossier(mene) / "va").touch()
        dit, _ = lance.communicate(timeout=60)
    assert lance.returncode == 0
    assert f"Affinage fini : le modèle s’appelle « {mene.sert_sous} »." in dit
    assert dit.endswith("Avant : Oui.\nAprès : Oui.\n")


def test_langchain_recoit_les_vecteurs(adresse):
    """Comme le guide le montre : les textes, non des jetons d'OpenAI."""
    pytest.importorskip("langchain_openai", reason="langchain-openai n’est pas installé")
    from langchain_openai import OpenAIEmbeddings

    vecteurs = OpenAIEmbeddings(
        model="encodeur-poche",
        base_url=f"{adresse}/v1",
        api_key="sans",
        check_embedding_ctx_length=False,
    )
    attendu = choisir_encodeur("poche").questions([QUESTION])[0]
    np.testing.assert_allclose(vecteurs.embed_query(QUESTION), attendu, atol=1e-6)


@pytest.mark.skipif(os.name == "nt", reason="le faux programme est un script du shell")
@pytest.mark.usefixtures("faux_affinage")
def test_aucune_demande_au_hasard_ne_casse_le_service(faux):
    """schemathesis, sur le document OpenAPI servi : jamais d'erreur 500, sur des noms qui existent ou non."""
    schemathesis = pytest.importorskip("schemathesis", reason="schemathesis n’est pas installé")
    from hypothesis import HealthCheck, Phase, given, settings, strategies

    service = faux()
    schema = schemathesis.openapi.from_dict(application(service).openapi())
    with en_marche(service) as adresse:
        vus = set()
        depose = deposer(client(adresse), exemples())
        mene = client(adresse).fine_tuning.jobs.create(model=BASE, training_file=depose).id
        for resultat in schema.get_all_operations():
            operation = resultat.ok()
            id = mene if "jobs" in operation.path else depose
            noms = {"model": BASE, "nom": BASE, "training_file": depose, "id": id}

            @settings(
                max_examples=8,
                phases=[Phase.generate],
                suppress_health_check=list(HealthCheck),
                deadline=None,
                derandomize=True,
                database=None,
            )
            @given(case=operation.as_strategy(), connus=strategies.sampled_from([{}, noms]))
            def essayer(case, connus):
                for champs in (case.body, case.path_parameters):
                    if isinstance(champs, dict):
                        champs.update({nom: connus[nom] for nom in connus.keys() & champs.keys()})
                rendu = case.call(base_url=adresse)
                vus.add(rendu.status_code)
                assert rendu.status_code != 500, rendu.text

            essayer()
    assert {200, 400, 404} <= vus
