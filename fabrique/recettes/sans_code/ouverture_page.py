"""Ouvrir la page : vérifier ce qui peut l'être, tenir son dossier, la servir sur cette machine."""

from __future__ import annotations

import importlib.util
import logging
import os
import socket
import webbrowser
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

from fabrique.machine.materiel import examiner
from fabrique.recettes.sans_code.accueil import Accueil
from fabrique.recettes.sans_code.espace import Espace
from fabrique.recettes.sans_code.reglages_page import ReglagesPage
from fabrique.service.reglages_service import Cle, est_ouvert, verifier_l_ouverture
from fabrique.service.serveur import CONNEXIONS_MAX, dossier_a_nous, ouvrir_la_prise
from fabrique.socle.erreurs import MACHINE, ErreurFabrique

if TYPE_CHECKING:
    from fastapi import FastAPI, Request, Response

JOURNAL = logging.getLogger(__name__)

#: Ce que le navigateur a le droit de charger : cette machine, et rien d'autre. Les scripts de gradio sont
#: dans la page même.
CHEZ_SOI_SEULEMENT = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; "
    "style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; font-src 'self' data:; "
    "connect-src 'self'; worker-src 'self' blob:; form-action 'self'; base-uri 'self'"
)
#: Les noms sous lesquels cette machine s'appelle elle-même, dans l'en-tête « Host » ; Colab passe par le sien.
NOMS_D_ICI = ("127.0.0.1", "localhost", "[::1]")
NOM_DE_COLAB = ".googleusercontent.com"
#: Ce que gradio lira comme langue du navigateur ; ce qu'il ne traduit pas ; et, avant l'envoi, ce qu'il
#: ne dit pas : un fichier trop gros, qu'il laisserait de côté sans un mot.
SCRIPT = """<script>
for (const [nom, lu] of [["language", "fr"], ["languages", ["fr"]]])
  Object.defineProperty(navigator, nom, {get: () => lu});
new MutationObserver(() => {
  for (const menu of document.querySelectorAll('[aria-label="More tabs"]')) menu.ariaLabel = "Autres étapes";
}).observe(document, {subtree: true, childList: true});
for (const geste of ["change", "drop"]) document.addEventListener(geste, (evenement) => {
  const fichiers = evenement.target.files || (evenement.dataTransfer || {}).files || [];
  const gros = [...fichiers].filter((fichier) => fichier.size > LIMITE * 1e6);
  if (!gros.length) return;
  evenement.preventDefault();
  evenement.stopImmediatePropagation();
  const noms = gros.map((fichier) => fichier.name).join(", ");
  alert(`Rien n’est déposé : ${noms} dépasse LIMITE\u00a0Mo. Relancez la page avec --fichier_max.`);
}, true);
</script>"""
MOT_DE_PASSE = "Tapez le nom que vous voulez, et le mot de passe de la page."


def ouvrir_la_page(reglages: ReglagesPage, cle: Cle) -> None:
    """Sert la page jusqu'à ce qu'on l'arrête (Ctrl-C) ; ce qui tournait se reprend.

    Raises:
        ErreurFabrique: extension ``[page]`` absente, page ouverte sans mot de passe, port pris, dossier
            d'un autre.
    """
    if importlib.util.find_spec("gradio") is None:
        raise ErreurFabrique(
            "la page demande gradio, qui n’est pas installé",
            "Installez-le : pip install 'fabrique[page]'",
            code=MACHINE,
        )
    verifier_l_ouverture(reglages.hote, cle)
    with (
        ouvrir_la_prise(reglages.hote, reglages.port) as prise,
        dossier_a_nous(reglages.racine, "une page") as racine,
    ):
        _servir(Accueil(Espace(racine)), reglages, cle, prise)


def _servir(accueil: Accueil, reglages: ReglagesPage, cle: Cle, prise: socket.socket) -> None:
    import uvicorn

    port = prise.getsockname()[1]
    nom = f"[{reglages.hote}]" if ":" in reglages.hote else reglages.hote
    adresse = f"http://{nom}:{port}"
    application = preparer(accueil, reglages, cle)
    reprises = len(accueil.file.actifs())
    JOURNAL.info(
        f"La page est à l’adresse {adresse} (dossier : {accueil.espace.racine}). Ctrl-C l’arrête."
        + (f" Tâches reprises : {reprises}." if reprises else "")
    )
    if not reglages.sans_navigateur:
        webbrowser.open(adresse)
    configuration = uvicorn.Config(
        application,
        log_level="error",
        access_log=False,
        server_header=False,
        limit_concurrency=CONNEXIONS_MAX,
        timeout_graceful_shutdown=5,
    )
    with suppress(KeyboardInterrupt):  # uvicorn s'est déjà arrêté comme il faut
        uvicorn.Server(configuration).run(sockets=[prise])


def preparer(accueil: Accueil, reglages: ReglagesPage, cle: Cle) -> FastAPI:
    """L'application : la page de gradio, derrière notre porte."""
    # Avant d'importer gradio, qui lirait ces variables : ni mesure d'audience, ni dossier hors de l'espace.
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ["GRADIO_TEMP_DIR"] = str(accueil.espace.dossier("recus"))
    import gradio as gr
    from fastapi import FastAPI

    from fabrique.recettes.sans_code import page_web

    @asynccontextmanager
    async def vie(_: FastAPI) -> AsyncIterator[None]:
        accueil.file.demarrer()
        yield
        accueil.file.fermer()

    application = FastAPI(lifespan=vie, docs_url=None, redoc_url=None, openapi_url=None)
    script = SCRIPT.replace("LIMITE", str(reglages.fichier_max))
    _garder_la_porte(application, script, ouverte=est_ouvert(reglages.hote))
    gr.set_static_paths([accueil.espace.dossier(nom) for nom in page_web.A_TELECHARGER])
    return gr.mount_gradio_app(
        application,
        page_web.composer_la_page(accueil),
        path="/",
        auth=(lambda _nom, mot: cle.ouvre(mot)) if cle else None,
        auth_message=MOT_DE_PASSE if cle else None,
        max_file_size=f"{reglages.fichier_max}mb",
        ssr_mode=False,
        show_error=True,
        **page_web.HABILLAGE,
    )


def _garder_la_porte(application: FastAPI, script: str, ouverte: bool) -> None:
    """Rien ne se charge d'ailleurs ; et une page web d'ailleurs ne se fait pas passer pour d'ici."""
    from fastapi import Response

    colab = examiner().colab

    @application.middleware("http")
    async def garder(requete: Request, suite: Callable[[Request], Awaitable[Response]]) -> Response:
        hote = requete.headers.get("host", "").rsplit(":", 1)[0]
        d_ici = hote in NOMS_D_ICI or (colab and hote.endswith(NOM_DE_COLAB))
        if not ouverte and not d_ici:
            return Response("Cette page ne se joint que de cette machine.", status_code=403)
        reponse = await suite(requete)
        if reponse.headers.get("content-type", "").startswith("text/html"):
            reponse = await _en_francais(reponse, script)
        reponse.headers["Content-Security-Policy"] = CHEZ_SOI_SEULEMENT
        reponse.headers["X-Content-Type-Options"] = "nosniff"
        reponse.headers["Referrer-Policy"] = "no-referrer"
        return reponse


async def _en_francais(reponse: Any, script: str) -> Response:
    """La page, en français quelle que soit la langue du navigateur : gradio la lui demande aussitôt."""
    from fastapi import Response

    corps = b"".join([morceau async for morceau in reponse.body_iterator]).decode()
    corps = corps.replace('lang="en"', 'lang="fr"', 1).replace("<head>", f"<head>{script}", 1)
    return Response(corps, reponse.status_code, media_type="text/html")
