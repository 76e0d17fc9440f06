"""Troisième étape : prévoir un apprentissage, le lancer, le suivre, le reprendre."""

from __future__ import annotations

import html
import json
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import gradio as gr

from fabrique.entrainement import Reglages
from fabrique.machine.cartes import carte_de
from fabrique.machine.materiel import examiner
from fabrique.machine.profil import Profil, choisir_profil
from fabrique.recettes.cout import Estimation, en_tableau as tableau_du_cout, estimer
from fabrique.recettes.sans_code.accueil import EN_CLAIR, Accueil, Demande
from fabrique.recettes.sans_code.composants import Code, Etape, en_phrases, en_tableau
from fabrique.recettes.sans_code.espace import Espace, choisi, nettoyer
from fabrique.service.hyperparametres import diviseur
from fabrique.service.taches import ANNULE, MANQUE, PAUSE, lire_json
from fabrique.socle.emplacements import AVANCEMENT
from fabrique.socle.erreurs import ErreurFabrique, Nombre
from fabrique.socle.figures import en_image, figure_de_perte
from fabrique.socle.nombres import en_duree

GENRE = "apprentissage"
#: Ce qu'on demande pour chiffrer un apprentissage.
PRIX = "Prix de la machine, en euros par heure"
#: Des points de reprise rapprochés : en pause, arrêté ou tué, on en perd peu.
PAS_ENTRE_POINTS = 20
#: Ce qu'un réglage expert peut changer, dans l'ordre où on le montre.
EXPERTS = ("learning_rate", "epochs", "batch_size", "cutoff_len", "lora_r", "graine")
PYTHON = """import fabrique
from fabrique.entrainement import Reglages

tokenizer, modele = fabrique.charger({modele!r})
corpus = fabrique.lire_corpus({corpus!r})
reglages = Reglages({reglages})
resultat = fabrique.entrainer(modele, tokenizer, corpus, reglages, {sortie!r})
print(resultat)"""


@dataclass(frozen=True)
class Allure:
    """Une façon d'apprendre toute prête.

    Args:
        explication: à qui elle convient.
        changements: ce qu'elle change aux réglages du profil.
    """

    explication: str
    changements: Callable[[Profil], dict[str, Any]]


ALLURES = {
    "Essai": Allure(
        "Un quart des exemples, une fois : pour voir que tout marche, pas pour juger du résultat.",
        lambda profil: {"epochs": 0.25},
    ),
    "Équilibrée": Allure(
        "Chaque exemple une fois, aux réglages éprouvés pour ce modèle : le bon choix pour commencer.",
        lambda profil: {"epochs": 1},
    ),
    "Appuyée": Allure(
        "Chaque exemple deux fois, à pas deux fois plus petits : mieux sur un petit corpus ; "
        "surveillez la perte de validation, qui remonte quand le modèle récite.",
        lambda profil: {"epochs": 2, "learning_rate": profil.learning_rate / 2},
    ),
}


def construire(accueil: Accueil) -> Etape:
    """Prévoir, lancer, suivre, reprendre."""
    etape, espace = Etape(accueil), accueil.espace
    profil = choisir_profil(examiner(espace.racine))
    gr.Markdown(
        f"Le modèle de cette machine est **{profil.modele}** ({profil.pourquoi}). L’apprentissage lui "
        "ajoute un petit **adaptateur** : vos exemples n’y sont pas copiés, mais il peut en réciter."
    )
    corpus = etape.liste("appris", espace.corpus, label="Exemples à apprendre")
    allure = gr.Radio(
        [(f"{nom} — {a.explication}", nom) for nom, a in ALLURES.items()],
        label="Allure",
        value="Équilibrée",
    )
    etape.retenir("allure", allure, "Équilibrée")
    nom = gr.Textbox(label="Nom du modèle affiné", value="mon-modele", max_lines=1)
    etape.retenir("nom", nom, "mon-modele")
    with gr.Accordion("Réglages d’expert (vides : ceux de l’allure)", open=False):
        experts = [gr.Textbox(label=_aide(champ), max_lines=1) for champ in EXPERTS]
    prix = gr.Textbox(label=f"{PRIX} (facultatif)", max_lines=1)
    with gr.Row():
        prevoir = gr.Button("Prévoir : durée, mémoire, prix")
        lancer = gr.Button("Lancer l’apprentissage", variant="primary")
    dit = gr.HTML()
    gr.Markdown("## En direct")
    courbe = gr.HTML()
    gr.Markdown("## Tous les apprentissages")
    tous = gr.HTML()
    coupe = etape.liste("coupe", lambda: _coupes(accueil), label="Apprentissage à reprendre")
    reprendre = gr.Button("Reprendre cet apprentissage")

    saisis = [corpus, allure, nom, *experts]
    etape.lancer(prevoir, lambda *s: _prevoir(espace, profil, *s), [prix, *saisis], [dit])
    etape.lancer(lancer, lambda *s: _lancer(accueil, profil, *s), saisis, [dit])
    etape.lancer(reprendre, lambda montre: _reprendre(accueil, montre), [coupe], [dit])
    etape.suivre(lambda: _cle(accueil), lambda: _courbe(accueil), courbe)
    etape.relire(lambda: _tous(accueil), tous)
    etape.voir_le_code(lambda *s: _code(espace, profil, *s), *saisis)
    return etape


def _aide(champ: str) -> str:
    return next(f.metadata["aide"] for f in fields(Reglages) if f.name == champ).rstrip(".")


# ---------------------------------------------------------------- les réglages


def regler(profil: Profil, allure: str, *experts: str) -> Reglages:
    """Les réglages d'une allure, et ce qu'un expert y change.

    Args:
        experts: un texte par champ d'``EXPERTS`` ; vide, l'allure décide.

    Raises:
        ErreurFabrique: un réglage ne convient pas ; elle le nomme.
    """
    changements = ALLURES[allure].changements(profil)
    formes = {champ.name: champ.metadata["accepte"] for champ in fields(Reglages)}
    for champ, saisi in zip(EXPERTS, experts, strict=False):
        if saisi and saisi.strip():
            changements[champ] = _lire(formes[champ], saisi, _aide(champ))
    if "batch_size" in changements:
        changements["mbatch_size"] = diviseur(changements["batch_size"], profil.mbatch_size)
    return Reglages.du_profil(profil, save_steps=PAS_ENTRE_POINTS, **changements)


def _lire(forme: Nombre, saisi: str, aide: str) -> float:
    try:
        return forme.lire(saisi.strip())
    except ValueError:
        raise ErreurFabrique(
            f"« {saisi} » ne convient pas à « {aide} »", f"Donnez {forme}"
        ) from None


def en_options(reglages: Reglages) -> list[str]:
    """Les options de « fabrique finetune » qui disent ces réglages, là où ils changent du défaut."""
    defaut, options = Reglages(), []
    for champ in fields(Reglages):
        valeur = getattr(reglages, champ.name)
        if valeur != getattr(defaut, champ.name):
            nom = champ.metadata["option"] or f"--{champ.name}"
            options += [nom] if valeur is True else [nom, _en_texte(valeur)]
    return options


def _en_texte(valeur: Any) -> str:
    return json.dumps(valeur) if isinstance(valeur, tuple) else str(valeur)


def mots(profil: Profil, corpus: str, sortie: Path, reglages: Reglages) -> list[str]:
    """La commande d'un apprentissage."""
    ou = ["--dataset", corpus, "--lora_out_dir", str(sortie), "--model", profil.modele]
    return ["finetune", *ou, *en_options(reglages), "--suivre_la_validation"]


def _code(
    espace: Espace, profil: Profil, montre: str | None, allure: str, nom: str, *experts: str
) -> Code:
    corpus = choisi(espace.corpus(), montre, "corpus")
    reglages = regler(profil, allure, *experts)
    sortie = espace.racine / "modeles" / nettoyer(nom)
    defaut = Reglages()
    changes = {
        champ.name: getattr(reglages, champ.name)
        for champ in fields(Reglages)
        if getattr(reglages, champ.name) != getattr(defaut, champ.name)
    }
    python = PYTHON.format(
        modele=profil.modele,
        corpus=corpus,
        reglages=", ".join(f"{nom}={valeur!r}" for nom, valeur in changes.items()),
        sortie=f"modeles/{sortie.name}",
    )
    return Code(python, mots(profil, corpus, sortie, reglages))


# ---------------------------------------------------------------- prévoir, lancer, reprendre


def _prevoir(
    espace: Espace,
    profil: Profil,
    prix: str,
    montre: str | None,
    allure: str,
    _nom: str,
    *experts: str,
) -> str:
    corpus = choisi(espace.corpus(), montre, "corpus")
    reglages = regler(profil, allure, *experts)
    tarif = _lire(Nombre(au_moins=0, exemple="0,50"), prix, PRIX) if prix.strip() else None
    carte = carte_de(examiner(espace.racine).gpu) or "cpu"
    estimation = estimer(profil.modele, carte, reglages, corpus, prix_heure=tarif)
    estime = tableau_du_cout(estimation)
    return en_phrases(_d_apres_le_dernier(espace, estimation)) + (
        f'<pre tabindex="0" role="region" aria-label="Estimation">{html.escape(estime)}</pre>'
    )


def _d_apres_le_dernier(espace: Espace, estimation: Estimation) -> str:
    """La durée que promet le dernier apprentissage mené ici ; à défaut, ce que vaut l'estimation."""
    for dossier in espace.adaptateurs().values():
        mesure = lire_json(Path(dossier) / "rapport.json")
        if mesure.get("jetons_par_seconde"):
            jetons = estimation.jetons * estimation.epoques
            duree = en_duree(jetons / mesure["jetons_par_seconde"])
            return f"D’après le dernier apprentissage mené sur cette machine, comptez {duree}."
    return (
        "C’est une estimation, pour une machine au repos : comptez plusieurs fois cette durée sur un "
        "portable occupé. Dès les premiers pas, la durée mesurée s’affiche en haut de la page."
    )


def _lancer(
    accueil: Accueil, profil: Profil, montre: str | None, allure: str, nom: str, *experts: str
) -> str:
    espace = accueil.espace
    corpus = choisi(espace.corpus(), montre, "corpus")
    reglages = regler(profil, allure, *experts)
    sortie = espace.libre("modeles", nettoyer(nom))
    demande = mots(profil, corpus, sortie, reglages)
    accueil.demander(GENRE, f"Apprentissage de « {sortie.name} »", demande, sortie / "rapport.json")
    return en_phrases(f"L’apprentissage de « {sortie.name} » est demandé ; sa courbe est plus bas.")


def _coupes(accueil: Accueil) -> dict[str, str]:
    """Les apprentissages arrêtés avant la fin, du plus récent au plus ancien."""
    return {
        f"{demande.titre} ({EN_CLAIR[demande.etat]})": demande.id
        for demande in reversed(accueil.file.tous())
        if demande.genre == GENRE and demande.etat in (PAUSE, MANQUE, ANNULE)
    }


def _reprendre(accueil: Accueil, montre: str | None) -> str:
    demande = accueil.file.trouver(choisi(_coupes(accueil), montre, "apprentissage"))
    accueil.reprendre(demande)
    return en_phrases("L’apprentissage reprendra à son dernier point de reprise.")


# ---------------------------------------------------------------- suivre


def _releves(accueil: Accueil) -> tuple[Demande | None, list[dict[str, float]]]:
    """Le dernier apprentissage, et ses relevés."""
    demande = accueil.derniere(GENRE)
    if demande is None:
        return None, []
    rapport = lire_json(demande.sortie / "rapport.json")
    avancement = lire_json(demande.sortie / AVANCEMENT)
    return demande, rapport.get("historique") or avancement.get("releves", [])


def _cle(accueil: Accueil) -> str:
    """Ce qui change quand la courbe est à retracer."""
    demande, releves = _releves(accueil)
    return f"{demande.id} {demande.etat} {len(releves)}" if demande else ""


def _courbe(accueil: Accueil) -> str:
    demande, releves = _releves(accueil)
    if demande is None:
        return en_phrases("Aucun apprentissage n’a encore été lancé.")
    etat = f"{demande.titre} : {EN_CLAIR[demande.etat]}"
    if len(releves) < 2:
        return en_phrases(f"{etat}, pas encore de courbe.")
    return en_phrases(f"{etat}.") + en_image(*figure_de_perte(releves))


def _tous(accueil: Accueil) -> str:
    rangees = [
        (demande.titre, EN_CLAIR[demande.etat], demande.erreur or "")
        for demande in reversed(accueil.file.tous())
        if demande.genre == GENRE
    ]
    return en_tableau("Apprentissages", ("Apprentissage", "État", "Pourquoi"), rangees)
