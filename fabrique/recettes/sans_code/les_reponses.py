"""Cinquième étape : une question, une réponse qui cite vos fiches, ou qui s'abstient."""

from __future__ import annotations

import time
from pathlib import Path

import gradio as gr

from fabrique.recettes.sans_code.accueil import Accueil
from fabrique.recettes.sans_code.composants import Code, Etape, en_phrases
from fabrique.recettes.sans_code.espace import Espace
from fabrique.recettes.sans_code.relecture import ecrire_les_relues
from fabrique.recherche.abstention import FAUSSES_REPONSES
from fabrique.recherche.reponse import Reponse
from fabrique.service.taches import REUSSI
from fabrique.socle.erreurs import ErreurFabrique
from fabrique.socle.nombres import en_francais

GENRE = "index"
#: Les questions d'avant, montrées à l'ouverture.
MONTREES = 5
LIVREES = "Les fiches livrées avec le cours"
SIENNES = "Mes fiches (première étape)"
SEULE = "la base, sans affinage"
#: Part, de 0 à 1, de questions sans réponse auxquelles on accepte de répondre quand même.
PRUDENCES = {
    "Prudent : il y répond une fois sur vingt": 0.05,
    "Ordinaire : une fois sur sept": FAUSSES_REPONSES,
    "Hardi : une fois sur deux": 0.5,
    "Ne s’abstient jamais pour un doute": 1.0,
}
PYTHON = """import fabrique

tokenizer, modele = fabrique.charger({modele!r}){adaptateur}
index = fabrique.Index.lire("{index}")
fabrique.repondre(modele, tokenizer, {question!r}, index, fausses_reponses={part})"""


def construire(accueil: Accueil, modele: str) -> Etape:
    """Indexer, demander, lire les sources surlignées."""
    etape, espace = Etape(accueil), accueil.espace
    gr.Markdown(
        "La recherche trouve des passages de vos fiches ; le modèle ne peut que les **citer mot pour "
        "mot**. Quand elles ne répondent sans doute pas, il **s’abstient** et dit pourquoi."
    )
    quoi = gr.Radio([SIENNES, LIVREES], label="Fiches à citer", value=SIENNES)
    etape.retenir("fiches", quoi, SIENNES)
    indexer = gr.Button("Construire l’index")
    dit = gr.HTML()
    affine = etape.liste("repond", lambda: _modeles(espace), label="Qui choisit la citation")
    question = gr.Textbox(label="Votre question", max_lines=3)
    part = gr.Radio(
        list(PRUDENCES.items()),
        label="Devant une question à laquelle les fiches ne répondent pas (réglé sur celles du cours)",
        value=FAUSSES_REPONSES,
    )
    etape.retenir("prudence", part, FAUSSES_REPONSES)
    demander = gr.Button("Demander", variant="primary")
    reponse = gr.HTML()
    gr.Markdown("## Questions précédentes")
    avant = gr.HTML()
    precedente = gr.State(None)

    etape.lancer(indexer, lambda choix: _indexer(accueil, choix), [quoi], [dit])
    etape.lancer(
        demander,
        lambda *saisis: _demander(accueil, modele, *saisis),
        [affine, question, part, precedente],
        [reponse, precedente, avant],
    )
    etape.relire(lambda: _precedentes(espace), avant)
    etape.voir_le_code(lambda *s: _code(espace, modele, *s), affine, question, part)
    return etape


def _modeles(espace: Espace) -> dict[str, str]:
    return {**espace.adaptateurs(), SEULE: ""}


def _code(espace: Espace, modele: str, montre: str | None, question: str, part: float) -> Code:
    adaptateur = _modeles(espace).get(montre or "", "")
    question = question or "Votre question ?"
    pose = f"\nmodele = fabrique.charger_adaptateur(modele, {adaptateur!r})" if adaptateur else ""
    index, mots = str(espace.index), ["repondre", "--index", str(espace.index)]
    mots += ["--instruction", question, "--model", modele, "--fausses_reponses", str(part)]
    mots += ["--adaptateur", adaptateur] if adaptateur else []
    return Code(
        PYTHON.format(
            modele=modele, adaptateur=pose, index=Path(index).name, question=question, part=part
        ),
        mots,
    )


def _indexer(accueil: Accueil, choix: str) -> str:
    """Met l'index dans la file ; l'ancien répond tant que le nouveau n'est pas fini."""
    espace, fiches = accueil.espace, "fiches"
    if choix == SIENNES:
        ecrire_les_relues(espace)
        fiches = str(espace.fiches_relues)
    mots = ["sources", "indexer", fiches, "--sortie", str(espace.index), "--json"]
    accueil.demander(GENRE, "Construction de l’index", mots)
    return en_phrases("L’index est demandé : son avancement est en haut de la page.")


def _demander(
    accueil: Accueil,
    modele: str,
    montre: str | None,
    question: str,
    part: float,
    precedente: Reponse | None,
) -> tuple[str, Reponse, str]:
    """Répond, et garde la question et sa réponse."""
    espace = accueil.espace
    if not question.strip():
        raise ErreurFabrique("la question est vide", "Écrivez-la")
    if accueil.derniere(GENRE, REUSSI) is None:
        raise ErreurFabrique("il n’y a pas encore d’index", "Construisez-le d’abord")
    accueil.verifier_la_memoire(modele)
    adaptateur = _modeles(espace).get(montre or "", "")
    dite = accueil.repondant.repondre(
        espace.index, question.strip(), modele, adaptateur, part, precedente
    )
    espace.noter("reponses", {"quand": int(time.time()), **dite.contrat()})
    return dite._repr_html_(), dite, _precedentes(espace)


def _precedentes(espace: Espace) -> str:
    phrases = []
    for dite in reversed(espace.relire("reponses")[-MONTREES:]):
        source = ", ".join(citation["titre"] for citation in dite["citations"])
        suite = f"{dite['reponse']} (source : {source})" if dite["reponse"] else dite["abstention"]
        phrases.append(f"{dite['question']} → {suite} [{en_francais(dite['duree_s'], 1)} s]")
    return en_phrases(*phrases)
