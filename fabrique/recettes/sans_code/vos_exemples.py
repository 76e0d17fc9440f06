"""Deuxième étape : contrôler des exemples, les corriger un à un, masquer, répartir."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gradio as gr

from fabrique.corpus.constats import ERREUR, Constat
from fabrique.corpus.retouches import montrer, proposer, retoucher, trouver_exemple
from fabrique.recettes.sans_code.accueil import Accueil, Demande
from fabrique.recettes.sans_code.composants import (
    AVEC_ATTENTE,
    SANS_API,
    Code,
    Etape,
    en_phrase,
    en_phrases,
    en_tableau,
)
from fabrique.recettes.sans_code.espace import Espace, choisi
from fabrique.service.taches import RESULTAT, REUSSI, lire_json
from fabrique.socle.emplacements import ecrire_json
from fabrique.socle.erreurs import ErreurFabrique
from fabrique.socle.nombres import accorder

CONTROLER, MASQUER, REPARTIR = "controle", "masquage", "repartition"
#: Constats montrés dans la page, au plus ; le rapport complet se télécharge.
MONTRES = 100
PYTHON = """import fabrique
from fabrique.corpus.controle import controler
from fabrique.corpus.compte_rendu import resumer

tokenizer, _ = fabrique.charger("falcon-poche")
print(resumer(controler({fichier!r}, tokenizer)))"""


def construire(accueil: Accueil) -> Etape:
    """Déposer, contrôler, corriger, masquer, répartir."""
    etape, espace = Etape(accueil), accueil.espace
    gr.Markdown(
        "Un **exemple** est une question et la réponse que vous voulez voir. Déposez un tableau "
        "(CSV, Excel) ou un fichier JSON, ou prenez un corpus livré avec le cours. Le **contrôle** dit ce "
        "qui ferait un mauvais modèle, ligne par ligne."
    )
    depot = gr.File(label="Exemples à déposer (CSV, XLSX, JSON, JSONL, Parquet)", height=140)
    recus = gr.HTML()
    corpus = etape.liste("corpus", espace.corpus, label="Exemples à contrôler")
    with gr.Row():
        controler = gr.Button("Contrôler", variant="primary")
        masquer = gr.Button("Masquer les données personnelles")
        repartir = gr.Button("Répartir en trois jeux")
    dit = gr.HTML()
    controle = gr.HTML()
    page = gr.DownloadButton("Télécharger le rapport complet", visible=False)
    gr.Markdown("## Corriger, ligne par ligne")
    constat = gr.Dropdown(label="Constat", choices=[], filterable=False)
    avant = gr.Textbox(label="L’exemple tel qu’il est", lines=5, max_lines=14, interactive=False)
    apres = gr.Textbox(label="Ce qu’il deviendrait (à corriger si besoin)", lines=5, max_lines=14)
    with gr.Row():
        prendre = gr.Button("Prendre cette correction")
        retirer = gr.Button("Retirer cet exemple")
        ecrire = gr.Button("Écrire le fichier corrigé", variant="primary")
    decide = gr.HTML()

    depot.upload(
        en_phrase(lambda fichier: (None, _deposer(espace, fichier))),
        depot,
        [depot, recus],
        **AVEC_ATTENTE,
    )
    recus.change(lambda: gr.Dropdown(choices=list(espace.corpus())), None, corpus, **SANS_API)
    for bouton, demander in ((controler, _controler), (masquer, _masquer), (repartir, _repartir)):
        etape.lancer(bouton, _pour(accueil, demander), [corpus], [dit])
    etape.relire(lambda: _montrer(accueil), controle, page, constat)
    corpus.change(lambda _: _montrer(accueil), corpus, [controle, page, constat], **SANS_API)
    constat.change(
        en_phrase(lambda montre: _comparer(accueil, montre)), constat, [avant, apres], **SANS_API
    )
    etape.lancer(prendre, lambda *s: _prendre(accueil, *s), [constat, apres], [decide])
    etape.lancer(retirer, lambda montre: _retirer(accueil, montre), [constat], [decide])
    etape.lancer(ecrire, lambda: _ecrire(accueil), [], [decide, corpus])
    etape.voir_le_code(lambda montre: _code(espace, montre), corpus)
    return etape


def _deposer(espace: Espace, fichier: str) -> str:
    [copie] = espace.deposer([fichier], "exemples")
    espace.retenir("corpus", copie.name)
    return en_phrases(f"Déposé sous le nom « {copie.name} ».")


def _code(espace: Espace, montre: str | None) -> Code:
    fichier = choisi(espace.corpus(), montre, "corpus")
    return Code(PYTHON.format(fichier=fichier), ["corpus", "controler", fichier])


# ---------------------------------------------------------------- demander


def _pour(accueil: Accueil, demander: Any) -> Any:
    """Le geste d'un bouton, pour le corpus choisi."""
    return lambda montre: demander(accueil, choisi(accueil.espace.corpus(), montre, "corpus"))


def _controler(accueil: Accueil, fichier: str) -> str:
    page = accueil.espace.libre("controles", f"{Path(fichier).stem}", ".html")
    mots = ["corpus", "controler", fichier, "--html", str(page), "--json"]
    accueil.demander(CONTROLER, f"Contrôle de {Path(fichier).name}", mots, page)
    return en_phrases("Le contrôle est demandé : son avancement est en haut de la page.")


def _masquer(accueil: Accueil, fichier: str) -> str:
    sortie = accueil.espace.libre("exemples", f"{Path(fichier).stem}-masque", ".jsonl")
    mots = ["corpus", "pseudonymiser", fichier, str(sortie)]
    accueil.demander(MASQUER, f"Masquage de {Path(fichier).name}", mots, sortie)
    return en_phrases(f"Le fichier masqué s’appellera « {sortie.name} » ; l’original reste.")


def _repartir(accueil: Accueil, fichier: str) -> str:
    sortie = accueil.espace.libre("exemples", f"{Path(fichier).stem}-reparti", ".jsonl")
    mots = ["corpus", "repartir", fichier, str(sortie)]
    accueil.demander(REPARTIR, f"Répartition de {Path(fichier).name}", mots, sortie)
    return en_phrases(f"Le fichier réparti s’appellera « {sortie.name} » ; l’original reste.")


# ---------------------------------------------------------------- ce que dit le contrôle


def _dernier(accueil: Accueil) -> tuple[Demande | None, dict]:
    """Le dernier contrôle du corpus choisi, et ce qu'il a rendu."""
    espace = accueil.espace
    fichier = espace.corpus().get(espace.choix().get("corpus") or "")
    for demande in reversed(accueil.file.tous()):
        if demande.genre == CONTROLER and demande.etat == REUSSI and fichier in demande.mots:
            return demande, lire_json(accueil.file.dossier(demande) / RESULTAT)
    return None, {}


def _constats(rendu: dict) -> dict[str, Constat]:
    """Les constats d'un exemple, tels que la liste les montre."""
    constats = [Constat(**lu) for lu in rendu.get("constats", []) if lu["rang"]]
    return {
        f"Exemple {c.rang}, {c.champ or 'tous les champs'} : {c.message} [{c.regle}]": c
        for c in constats
    }


def _montrer(accueil: Accueil) -> tuple[str, Any, Any]:
    demande, rendu = _dernier(accueil)
    if demande is None:
        return "", gr.DownloadButton(visible=False), gr.Dropdown(choices=[], value=None)
    constats = [Constat(**lu) for lu in rendu["constats"]]
    erreurs = sum(c.gravite == ERREUR for c in constats)
    bilan = (
        f"{Path(rendu['fichier']).name} : {accorder(rendu['exemples'], 'exemple')}, "
        f"{accorder(erreurs, 'erreur')}, {accorder(len(constats) - erreurs, 'alerte')}."
    )
    rangees = [
        (c.gravite, c.ligne or "", c.champ or "", c.message, c.extrait)
        for c in sorted(constats, key=lambda c: c.gravite != ERREUR)[:MONTRES]
    ]
    colonnes = ("Gravité", "Ligne", "Champ", "Ce qui ne va pas", "Extrait")
    suite = f" Les {MONTRES} premiers :" if len(constats) > MONTRES else ""
    montrables = list(_constats(rendu))[: 5 * MONTRES]
    return (
        en_phrases(bilan + suite) + en_tableau("Ce que dit le contrôle", colonnes, rangees),
        gr.DownloadButton(value=demande.atteste, visible=True),
        gr.Dropdown(choices=montrables, value=next(iter(montrables), None)),
    )


# ---------------------------------------------------------------- décider


def _exemple_du(accueil: Accueil, montre: str | None) -> tuple[str, Any, Constat]:
    """Le corpus, l'exemple et le constat que la liste montre."""
    _, rendu = _dernier(accueil)
    constats = _constats(rendu)
    if montre not in constats:
        raise ErreurFabrique("aucun constat n’est choisi", "Contrôlez d’abord vos exemples")
    constat, fichier = constats[montre], rendu["fichier"]
    return fichier, trouver_exemple(fichier, constat.rang or 1), constat


def _comparer(accueil: Accueil, montre: str | None) -> tuple[str, str]:
    """L'exemple avant, et ce que le constat propose."""
    if not montre:
        return "", ""
    fichier, exemple, constat = _exemple_du(accueil, montre)
    decide = _decisions(accueil.espace, fichier)
    propose = decide.get(constat.rang or 0, proposer(exemple, constat))
    avant = (
        _en_json(montrer(exemple)) if exemple.contenu else str(exemple.erreur or constat.message)
    )
    return avant, "" if propose is None else _en_json(propose)


def _en_json(champs: dict) -> str:
    return json.dumps(champs, ensure_ascii=False, indent=1)


def _prendre(accueil: Accueil, montre: str | None, apres: str) -> str:
    fichier, exemple, _ = _exemple_du(accueil, montre)
    if not apres.strip():
        raise ErreurFabrique(
            "aucune correction n’est écrite", "Écrivez-la, ou pressez « Retirer cet exemple »"
        )
    try:
        champs = json.loads(apres)
    except ValueError as cause:
        raise ErreurFabrique(
            f"la correction ne se lit pas ({cause})",
            "Gardez les guillemets et les virgules autour des textes",
        ) from None
    if not isinstance(champs, dict):
        raise ErreurFabrique("la correction n’est pas un exemple", "Gardez les accolades { }")
    return _decider(accueil.espace, fichier, exemple.rang, champs)


def _retirer(accueil: Accueil, montre: str | None) -> str:
    fichier, exemple, _ = _exemple_du(accueil, montre)
    return _decider(accueil.espace, fichier, exemple.rang, None)


def _decider(espace: Espace, fichier: str, rang: int, champs: dict | None) -> str:
    """Garde une décision ; le fichier corrigé s'écrira quand la personne le dira."""
    decisions = _decisions(espace, fichier) | {rang: champs}
    ecrire_json(_fichier_des_decisions(espace, fichier), decisions)
    retires = sum(champs is None for champs in decisions.values())
    return en_phrases(
        f"{accorder(len(decisions) - retires, 'exemple à récrire', 'exemples à récrire')}, "
        f"{retires} à retirer : rien n’est encore écrit."
    )


def _fichier_des_decisions(espace: Espace, fichier: str) -> Path:
    return espace.dossier("corrections") / f"{Path(fichier).name}.json"


def _decisions(espace: Espace, fichier: str) -> dict[int, dict | None]:
    lues = lire_json(_fichier_des_decisions(espace, fichier))
    return {int(rang): champs for rang, champs in lues.items()}


def _ecrire(accueil: Accueil) -> tuple[str, Any]:
    espace = accueil.espace
    _, rendu = _dernier(accueil)
    decisions = _decisions(espace, rendu["fichier"]) if rendu else {}
    if not decisions:
        raise ErreurFabrique("aucune correction n’est décidée", "Prenez-en une d’abord")
    sortie = espace.libre("exemples", f"{Path(rendu['fichier']).stem}-corrige", ".jsonl")
    fait = retoucher(rendu["fichier"], sortie, decisions)
    espace.retenir("corpus", sortie.name)
    phrase = (
        f"« {sortie.name} » est écrit : {accorder(fait.ecrits, 'exemple')}, dont "
        f"{accorder(fait.changes, 'corrigé')}, et {accorder(fait.retires, 'retiré')}. L’original reste."
    )
    return en_phrases(phrase), gr.Dropdown(choices=list(espace.corpus()), value=sortie.name)
