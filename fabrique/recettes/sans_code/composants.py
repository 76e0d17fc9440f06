"""Ce que les six étapes partagent : dire une erreur, retenir un choix, montrer le code, un tableau."""

from __future__ import annotations

import errno
import html
import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import wraps
from typing import Any

import gradio as gr

from fabrique.recettes.sans_code.accueil import Accueil
from fabrique.socle.erreurs import ErreurFabrique
from fabrique.socle.nombres import MO, en_francais, en_mo
from fabrique.socle.page import composer

JOURNAL = logging.getLogger(__name__)

#: Un gestionnaire ne paraît pas dans une API : la page n'en sert aucune.
SANS_API: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
AVEC_ATTENTE: dict[str, Any] = {"api_visibility": "private", "show_progress": "minimal"}


def en_phrase(geste: Callable[..., Any]) -> Callable[..., Any]:
    """Un gestionnaire dont l'erreur se dit en une phrase, la page restant telle quelle."""

    @wraps(geste)
    def prudent(*recus: Any) -> Any:
        try:
            return geste(*recus)
        except ErreurFabrique as erreur:
            phrase = str(erreur)
        except OSError as cause:
            plein = cause.errno == errno.ENOSPC
            raison = "il n’y a plus de place" if plein else cause.strerror or cause
            phrase = f"Le disque ou le système refuse : {raison}."
        except Exception as cause:  # la page doit survivre à tout, et le dire
            JOURNAL.exception("Erreur imprévue.", exc_info=cause)
            phrase = (
                f"Erreur imprévue ({cause}) : rien n’a changé ; le détail est dans le terminal."
            )
        gr.Warning(html.escape(phrase), duration=None, title="À corriger")
        return gr.skip()

    return prudent


@dataclass(frozen=True)
class Code:
    """Ce qu'un bouton fait, écrit : dans un carnet, et dans un terminal.

    Args:
        python: quelques lignes, que l'on peut copier.
        mots: la commande, après « fabrique ».
    """

    python: str
    mots: Sequence[str]

    def en_html(self, accueil: Accueil) -> str:
        """Les deux, à copier depuis le dossier de la page."""
        return composer(
            "recettes/sans_code/code.html",
            "Voir le code",
            python=self.python,
            commande=accueil.en_commande(self.mots),
        )


class Etape:
    """Une étape en construction : ce qu'elle retient, et ce qui s'y relit quand une tâche finit."""

    def __init__(self, accueil: Accueil) -> None:
        self.accueil, self.espace = accueil, accueil.espace
        #: Ce qu'on lit à l'ouverture seulement : ce que la personne a saisi ne bouge plus ensuite.
        self.a_l_ouverture: list[tuple[Callable[[], Any], list[Any]]] = []
        #: Ce qu'il faut relire : une fonction sans argument, et où va ce qu'elle rend.
        self.a_relire: list[tuple[Callable[[], Any], list[Any]]] = []
        #: Ce qui change de lui-même : sa clé, ce qui le montre, où.
        self.a_suivre: list[tuple[Callable[[], str], Callable[[], Any], Any]] = []

    def relire(self, lire: Callable[[], Any], *ou: Any) -> None:
        """Ce qu'on lit à l'ouverture, et chaque fois qu'une tâche change d'état."""
        self.a_relire.append((lire, list(ou)))

    def suivre(self, cle: Callable[[], str], montrer: Callable[[], Any], ou: Any) -> None:
        """Ce qu'on regarde toutes les deux secondes, et qu'on ne remontre que si sa clé change."""
        self.a_suivre.append((cle, montrer, ou))

    def retenir(self, nom: str, composant: Any, defaut: Any = None) -> None:
        """Garde la valeur d'un composant d'un navigateur à l'autre."""
        garder = en_phrase(lambda valeur: self.espace.retenir(nom, valeur))
        composant.change(garder, composant, None, **SANS_API)
        if defaut is not None:
            self.a_l_ouverture.append((lambda: self.espace.choix().get(nom, defaut), [composant]))

    def liste(self, nom: str, options: Callable[[], dict[str, str]], **champs: Any) -> gr.Dropdown:
        """Une liste déroulante dont le choix se retient, et les options se relisent."""
        composant = gr.Dropdown(choices=list(options()), value=None, filterable=False, **champs)

        def lire() -> Any:
            montrees = list(options())
            voulue = self.espace.choix().get(nom)
            valeur = voulue if voulue in montrees else next(iter(montrees), None)
            return gr.Dropdown(choices=montrees, value=valeur)

        self.relire(lire, composant)
        self.retenir(nom, composant)
        return composant

    def lancer(
        self,
        bouton: gr.Button,
        geste: Callable[..., Any],
        entrees: Sequence[Any],
        ou: Sequence[Any],
    ) -> None:
        """Ce que fait un bouton ; une erreur s'y dit en une phrase."""
        bouton.click(en_phrase(geste), list(entrees), list(ou), **AVEC_ATTENTE)

    def voir_le_code(self, ecrire: Callable[..., Code], *entrees: Any) -> None:
        """Un volet qui montre ce qu'un carnet ou un terminal aurait écrit, pour ce qui est choisi."""
        with gr.Accordion("Voir le code", open=False):
            montre = gr.HTML("" if entrees else ecrire().en_html(self.accueil))

        def composer_le_code(*choisis: Any) -> str:
            try:
                return ecrire(*choisis).en_html(self.accueil)
            except ErreurFabrique as erreur:
                return f"<p>{html.escape(str(erreur))}</p>"

        for entree in entrees:
            entree.change(composer_le_code, list(entrees), montre, **SANS_API)


def en_phrases(*phrases: str) -> str:
    """Des phrases l'une sous l'autre, échappées, annoncées aux lecteurs d'écran."""
    lignes = "".join(f"<p>{html.escape(phrase)}</p>" for phrase in phrases)
    return f'<div role="status">{lignes}</div>'


def en_tableau(titre: str, colonnes: Sequence[str], rangees: Iterable[Sequence[Any]]) -> str:
    """Un tableau accessible, tout texte échappé ; vide s'il n'y a pas de rangée."""
    return composer(
        "recettes/sans_code/tableau_seul.html", titre, colonnes=colonnes, rangees=list(rangees)
    )


def en_octets(octets: int) -> str:
    """Une taille, dans l'unité qui la rend lisible : « 36,9 ko », « 12,4 Mo »."""
    return en_mo(octets) if octets >= MO else f"{en_francais(octets / 1000, 1)}\u00a0ko"
