"""Première étape : des documents aux fiches, relues page par page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gradio as gr

from fabrique.corpus.documents.admission import LECTEURS
from fabrique.corpus.documents.bilan_documents import BilanFichier, rangee
from fabrique.corpus.fichiers import LECTEURS as LUS_COMME_CORPUS
from fabrique.recettes.sans_code.accueil import Accueil
from fabrique.recettes.sans_code.composants import (
    AVEC_ATTENTE,
    SANS_API,
    Code,
    Etape,
    en_octets,
    en_phrase,
    en_phrases,
    en_tableau,
)
from fabrique.recettes.sans_code.espace import Espace, choisi
from fabrique.recettes.sans_code.relecture import corriger, perimees, relire
from fabrique.service.taches import REUSSI
from fabrique.socle.erreurs import ErreurFabrique
from fabrique.socle.nombres import accorder

GENRE = "documents"
PYTHON = """from fabrique.corpus.documents.chantier import lire_dossier

print(lire_dossier("documents", "fiches/fiches.jsonl"))"""


def construire(accueil: Accueil) -> Etape:
    """Déposer, lire, confirmer, corriger."""
    etape, espace = Etape(accueil), accueil.espace
    gr.Markdown(
        "Déposez vos documents : ils restent sur cette machine, dans le dossier de la page. La lecture "
        "en fait des **fiches** : un titre, un texte, la page d’où il vient."
    )
    depot = gr.File(
        label="Documents à déposer (PDF, DOCX, ODT, HTML, texte, images)",
        file_count="multiple",
        height=160,
    )
    recus = gr.HTML()
    presents = gr.HTML()
    lire = gr.Button("Lire les documents", variant="primary")
    compte_rendu = gr.HTML()
    page = gr.DownloadButton("Télécharger le compte rendu complet", visible=False)
    gr.Markdown("## À confirmer")
    a_confirmer = gr.CheckboxGroup(
        label="Ce que la lecture a dû deviner ou ôter : cochez ce que vous avez vérifié", choices=[]
    )
    gr.Markdown("## Relire, page par page")
    fiche = etape.liste("fiche", lambda: _titres(espace), label="Fiche")
    titre = gr.Textbox(label="Titre de la fiche")
    texte = gr.Textbox(label="Texte de la fiche", lines=8, max_lines=20)
    garder = gr.Button("Garder cette correction")
    gardee, depassees = gr.HTML(), gr.HTML()

    depot.upload(
        en_phrase(lambda fichiers: (None, deposer(accueil, fichiers), _presents(espace))),
        depot,
        [depot, recus, presents],
        **AVEC_ATTENTE,
    )
    etape.lancer(lire, lambda: lire_les_documents(accueil), [], [recus])
    etape.relire(lambda: _presents(espace), presents)
    etape.relire(lambda: _compte_rendu(accueil), compte_rendu, page)
    etape.relire(lambda: _a_confirmer(accueil), a_confirmer)
    etape.retenir("confirmes", a_confirmer)
    etape.relire(lambda: _perimees(espace), depassees)
    fiche.change(lambda montree: _lire_fiche(espace, montree), fiche, [titre, texte], **SANS_API)
    etape.lancer(
        garder, lambda *saisis: _corriger(espace, *saisis), [fiche, titre, texte], [gardee]
    )
    etape.voir_le_code(lambda: Code(PYTHON, mots(espace)))
    return etape


def mots(espace: Espace) -> list[str]:
    """La commande de cette étape."""
    sorties = ["--sortie", str(espace.fiches), "--html", str(espace.compte_rendu)]
    return ["documents", "lire", str(espace.documents), *sorties, "--json"]


def deposer(accueil: Accueil, fichiers: Sequence[str]) -> str:
    """Range ce qui est déposé : un tableau va avec les exemples, le reste avec les documents."""
    tableaux = [f for f in fichiers if Path(f).suffix.lower() in LUS_COMME_CORPUS]
    documents = [f for f in fichiers if Path(f).suffix.lower() in LECTEURS]
    autres = [Path(f).name for f in fichiers if f not in {*tableaux, *documents}]
    phrases = []
    if documents:
        ranges = accueil.espace.deposer(documents, "documents")
        phrases.append(f"{accorder(len(ranges), 'document déposé', 'documents déposés')}.")
    if tableaux:
        noms = [f.name for f in accueil.espace.deposer(tableaux, "exemples")]
        phrases.append(f"Rangé avec vos exemples, à l’étape suivante : {', '.join(noms)}.")
    if autres:
        lus = ", ".join(sorted({*LECTEURS, *LUS_COMME_CORPUS}))
        phrases.append(f"Non pris, leur format ne se lit pas : {', '.join(autres)} (lus : {lus}).")
    return en_phrases(*phrases)


def lire_les_documents(accueil: Accueil) -> str:
    """Met la lecture dans la file.

    Raises:
        ErreurFabrique: rien n'a été déposé.
    """
    espace = accueil.espace
    if not espace.a_lire():
        raise ErreurFabrique("aucun document n’est déposé", "Déposez-en un d’abord")
    accueil.demander(GENRE, "Lecture des documents", mots(espace), espace.compte_rendu)
    return en_phrases("La lecture est demandée : son avancement est en haut de la page.")


# ---------------------------------------------------------------- ce qui a été lu


def _presents(espace: Espace) -> str:
    rangees = [(f.name, en_octets(f.stat().st_size)) for f in espace.a_lire()]
    titre = f"{accorder(len(rangees), 'document déposé', 'documents déposés')}"
    return en_tableau(titre, ("Document", "Taille"), rangees)


def _bilans(accueil: Accueil) -> list[BilanFichier]:
    return [BilanFichier(**lu) for lu in accueil.resultat(GENRE).get("fichiers", [])]


def _compte_rendu(accueil: Accueil) -> tuple[str, Any]:
    bilans = _bilans(accueil)
    rangees = [(*rangee(bilan), " ".join(bilan.phrases)) for bilan in bilans]
    colonnes = ("Document", "État", "Pages", "Mots", "Fiches", "À savoir")
    demande = accueil.derniere(GENRE, REUSSI)
    page = gr.DownloadButton(value=demande.atteste if demande else None, visible=bool(demande))
    return en_tableau("Ce qui a été lu", colonnes, rangees), page


def _a_confirmer(accueil: Accueil) -> Any:
    """Une case par phrase : ce que la lecture a dû deviner, et ce qu'elle a ôté."""
    choix = []
    for bilan in _bilans(accueil):
        choix += [f"{bilan.fichier} : {phrase}" for phrase in bilan.phrases]
        choix += [
            f"{bilan.fichier} : ôté ({etape}) — « {exemple} »"
            for etape, exemples in bilan.exemples.items()
            for exemple in exemples
        ]
    confirmes = accueil.espace.choix().get("confirmes") or []
    return gr.CheckboxGroup(choices=choix, value=[c for c in confirmes if c in choix])


# ---------------------------------------------------------------- relire


def _titres(espace: Espace) -> dict[str, str]:
    """Les fiches, telles que la liste les montre, et leur identifiant."""
    titres = {}
    for lue in relire(espace):
        page = f", page {lue['page']}" if lue.get("page") else ""
        titres[f"{lue['source']}{page} — {lue['rubrique'] or lue['titre']} [{lue['id']}]"] = lue[
            "id"
        ]
    return titres


def _lire_fiche(espace: Espace, montree: str | None) -> tuple[str, str]:
    cherchee = _titres(espace).get(montree or "")
    for lue in relire(espace):
        if lue["id"] == cherchee:
            return lue["titre"], lue["texte"]
    return "", ""


def _corriger(espace: Espace, montree: str | None, titre: str, texte: str) -> str:
    corriger(espace, choisi(_titres(espace), montree, "fiche"), titre, texte)
    return en_phrases("Correction gardée : l’index la prendra à sa prochaine construction.")


def _perimees(espace: Espace) -> str:
    """Les corrections qu'une nouvelle lecture a dépassées, nommées."""
    noms = perimees(espace)
    return en_phrases(
        *(f"Correction à refaire, le document a changé depuis : {nom}." for nom in noms)
    )
