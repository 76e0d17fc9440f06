"""La page : ses six étapes, son bandeau, et ce qui s'y relit de lui-même."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gradio as gr

from fabrique.machine.materiel import examiner
from fabrique.machine.profil import choisir_profil
from fabrique.recettes.sans_code import (
    emporter,
    l_apprentissage,
    la_preuve,
    les_reponses,
    vos_documents,
    vos_exemples,
)
from fabrique.recettes.sans_code.accueil import Accueil
from fabrique.recettes.sans_code.composants import SANS_API, Etape, en_phrase

#: Secondes entre deux regards sur ce qui tourne.
RYTHME_S = 2
#: Les dossiers dont un fichier peut se télécharger.
A_TELECHARGER = ("fiches", "controles", "preuves", "modeles", "notices", "exports")
#: Polices de la machine : aucune ne se télécharge. Couleurs assez foncées pour se lire (RGAA 3.2) : celles
#: de gradio, d'un cran de moins, ne le sont pas.
THEME = gr.themes.Default(
    primary_hue="blue", font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"]
).set(
    button_primary_background_fill="*primary_700",
    button_primary_background_fill_dark="*primary_700",
    button_primary_background_fill_hover="*primary_800",
    button_cancel_background_fill="#b91c1c",
    button_cancel_background_fill_dark="#b91c1c",
    button_cancel_background_fill_hover="#991b1b",
    body_text_color_subdued="*neutral_600",
    body_text_color_subdued_dark="*neutral_300",
    color_accent="*primary_700",
    link_text_color="*primary_700",
    link_text_color_dark="*primary_300",
)
STYLE = """
.gradio-container {max-width: 64rem !important; margin: auto}
.cadre {overflow-x: auto} .cadre:focus-visible, pre:focus-visible {outline: 3px solid #0a76f6}
.cadre table {border-collapse: collapse; width: 100%} .cadre caption {text-align: left; font-weight: bold}
.cadre th, .cadre td {border: 1px solid #767676; padding: .3rem .5rem; text-align: left; vertical-align: top;
  overflow-wrap: break-word; word-break: normal}
figure summary {color: #000}
.dark .tabs button.selected {color: #93c5fd !important}
.gradio-container, .gradio-container .main, main.contain, .tabs, .tab-wrapper {min-width: 0; width: 100%}
.tab-container:not(.visually-hidden) {flex-wrap: wrap; height: auto !important}
pre {overflow-x: auto; padding: .6rem; border: 1px solid #767676; white-space: pre}
.bandeau {border-left: .4rem solid #0072b2; padding: .3rem 1rem}
"""
HABILLAGE: dict[str, Any] = {
    "theme": THEME,
    "css": STYLE,
    "footer_links": [],
}


def composer_la_page(accueil: Accueil) -> gr.Blocks:
    """La page entière, pour un espace."""
    modele = choisir_profil(examiner(accueil.espace.racine)).modele
    with gr.Blocks(title="FabriqueLLM, sans code", analytics_enabled=False) as page:
        gr.Markdown(
            "# FabriqueLLM, sans code\nDe vos documents à votre modèle, sur cette machine : rien n’en sort."
        )
        bandeau = gr.HTML(accueil.bandeau)
        with gr.Row():
            pause = gr.Button("Mettre en pause", size="sm")
            arreter = gr.Button("Arrêter", size="sm", variant="stop")
            reprendre = gr.Button("Reprendre", size="sm")
        etapes = []
        with gr.Tabs():
            with gr.Tab("1. Vos documents"):
                etapes.append(vos_documents.construire(accueil))
            with gr.Tab("2. Vos exemples"):
                etapes.append(vos_exemples.construire(accueil))
            with gr.Tab("3. L’apprentissage"):
                etapes.append(l_apprentissage.construire(accueil))
            with gr.Tab("4. La preuve"):
                etapes.append(la_preuve.construire(accueil, modele))
            with gr.Tab("5. Les réponses"):
                etapes.append(les_reponses.construire(accueil, modele))
            with gr.Tab("6. Emporter"):
                etapes.append(emporter.construire(accueil, modele))
        for bouton, geste in (
            (pause, accueil.suspendre),
            (arreter, accueil.arreter),
            (reprendre, accueil.reprendre),
        ):
            bouton.click(_puis_montrer(accueil, geste), None, bandeau, **SANS_API)
        etapes[0].relire(lambda: _boutons(accueil), pause, arreter, reprendre)
        _relire_seule(page, accueil, bandeau, etapes)
    return page


def _boutons(accueil: Accueil) -> list[Any]:
    """Les trois boutons du bandeau ; ceux qui n'auraient rien à faire ne se pressent pas."""
    occupe, arretee = accueil.en_cours() is not None, accueil.a_reprendre() is not None
    return [gr.Button(interactive=actif) for actif in (occupe, occupe, arretee)]


def _puis_montrer(accueil: Accueil, geste: Callable[[], None]) -> Callable[[], Any]:
    def faire() -> str:
        geste()
        return accueil.bandeau()

    return en_phrase(faire)


def _relire_seule(page: gr.Blocks, accueil: Accueil, bandeau: gr.HTML, etapes: list[Etape]) -> None:
    """Relit tout à l'ouverture, les listes quand une tâche change d'état, le reste à chaque instant."""
    relues = [paire for etape in etapes for paire in etape.a_relire]
    suivies = [suivie for etape in etapes for suivie in etape.a_suivre]
    ouvertes = relues + [paire for etape in etapes for paire in etape.a_l_ouverture]
    version = gr.State("")
    cles = [gr.State("") for _ in suivies]

    def regarder(*vues: str) -> list[Any]:
        montres: list[Any] = [accueil.bandeau(), accueil.version]
        for vue, (cle, montrer, _) in zip(vues, suivies, strict=True):
            actuelle = cle()
            montres += [gr.skip(), gr.skip()] if actuelle == vue else [actuelle, montrer()]
        return montres

    lieux = [lieu for cle, (_, _, ou) in zip(cles, suivies, strict=True) for lieu in (cle, ou)]
    gr.Timer(RYTHME_S).tick(regarder, cles, [bandeau, version, *lieux], **SANS_API)
    version.change(_tout_lire(relues), None, _lieux(relues), **SANS_API)
    page.load(_tout_lire(ouvertes), None, _lieux(ouvertes), **SANS_API)


def _tout_lire(paires: list[tuple[Callable[[], Any], list[Any]]]) -> Callable[[], list[Any]]:
    def lire() -> list[Any]:
        montres: list[Any] = []
        for lire_une, ou in paires:
            lu = lire_une()
            montres += lu if len(ou) > 1 else [lu]
        return montres

    return en_phrase(lire)


def _lieux(paires: list[tuple[Callable[[], Any], list[Any]]]) -> list[Any]:
    return [lieu for _, ou in paires for lieu in ou]
