"""La page sans code, dans un vrai navigateur : le parcours entier, ce qui coupe, l'accessibilité.

Chromium s'installe à part (« apt-get install chromium ») ; playwright et axe, par l'extension
``[navigateur]``. Avec ``FABRIQUE_IMAGES=docs/images/page``, le parcours refait les images du guide.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
from docx import Document

sync_api = pytest.importorskip(
    "playwright.sync_api", reason="l’extension [navigateur] n’est pas là"
)
axe = pytest.importorskip(
    "axe_playwright_python.sync_playwright", reason="l’extension [navigateur] n’est pas là"
)
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="chromium n’est pas installé")

#: Secondes laissées à une tâche : une machine quatre fois plus lente que la nôtre y suffit encore.
DELAI_S = 600
#: Aucun nom ne se résout, hors cette machine : ce qui voudrait en sortir échouerait.
SANS_RESEAU = "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1"
IMAGES = os.environ.get("FABRIQUE_IMAGES")


@contextmanager
def serveur(dossier: Path, *options: str) -> Iterator[tuple[str, subprocess.Popen]]:
    """« fabrique page », jusqu'à ce qu'on la quitte ; rend son adresse."""
    mots = ["page", "--port", "0", "--dossier", str(dossier), "--sans_navigateur", *options]
    processus = subprocess.Popen(
        [sys.executable, "-m", "fabrique", *mots],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "FABRIQUE_PROFIL": "poche", "HF_HUB_OFFLINE": "1"},
    )
    try:
        dites = []
        for ligne in processus.stdout or ():
            dites.append(ligne)
            if trouvee := re.search(r"http://\S+?:\d+", ligne):
                yield trouvee[0], processus
                break
        else:
            pytest.fail("".join(dites))
    finally:
        processus.send_signal(signal.SIGINT)
        try:
            processus.wait(60)
        except subprocess.TimeoutExpired:
            processus.kill()


class Visite:
    """Une fenêtre ouverte sur la page, et tout ce qu'elle a demandé ailleurs."""

    def __init__(self, fenetre: Any, adresse: str) -> None:
        self.fenetre, self.dehors, self.fautes = fenetre, [], []
        fenetre.on("request", lambda r: self._noter(r.url, adresse))
        fenetre.on("console", lambda m: m.type == "error" and self.fautes.append(m.text))
        fenetre.set_default_timeout(30_000)
        fenetre.goto(adresse)
        self.voir("Rien ne tourne en ce moment", "Dernière tâche", ":")

    def _noter(self, url: str, adresse: str) -> None:
        if not url.startswith((adresse, "data:", "blob:")):
            self.dehors.append(url)

    def onglet(self, nom: str) -> None:
        """Va à une étape, par le menu si l'écran est étroit."""
        menu = self.fenetre.locator(".overflow-menu > button")
        onglet = self.fenetre.locator(
            ".tab-container:not(.visually-hidden) [role=tab]", has_text=nom
        )
        onglet.or_(menu).locator("visible=true").first.wait_for()
        if not onglet.is_visible():
            menu.click()
            onglet = self.fenetre.locator(".overflow-dropdown button", has_text=nom)
        onglet.click()
        self.fenetre.wait_for_timeout(500)

    def presser(self, nom: str) -> None:
        """Presse le bouton visible de ce nom."""
        entier = re.compile(f"^{_quelles_que_soient_les_espaces(nom)}$")
        self._visible(self.fenetre.get_by_role("button", name=entier)).click()

    def choisir(self, liste: str, option: str) -> None:
        """Choisit dans une liste déroulante."""
        self._visible(self.fenetre.get_by_label(liste)).click()
        self.fenetre.get_by_role("option", name=option).first.click()

    def ecrire(self, champ: str, texte: str) -> None:
        """Remplit un champ visible."""
        self._visible(self.fenetre.get_by_label(champ)).fill(texte)

    def voir(self, *textes: str, secondes: float = 60) -> None:
        """Attend que l'un de ces textes paraisse."""
        motif = "|".join(_quelles_que_soient_les_espaces(texte) for texte in textes)
        self._visible(self.fenetre.get_by_text(re.compile(motif))).wait_for(timeout=secondes * 1000)

    def finir(self, titre: str, etat: str = "fini") -> None:
        """Attend que le bandeau dise cette tâche finie."""
        self.voir(f"Dernière tâche : {titre} ({etat})", secondes=DELAI_S)
        self.fenetre.wait_for_timeout(2500)  # les listes se relisent toutes les deux secondes

    def photographier(self, nom: str) -> None:
        """Garde une image pour le guide, si on les refait."""
        if IMAGES:
            Path(IMAGES).mkdir(parents=True, exist_ok=True)
            self.fenetre.screenshot(path=Path(IMAGES) / f"{nom}.png", full_page=True)

    def _visible(self, lieu: Any) -> Any:
        return lieu.locator("visible=true").first


def _quelles_que_soient_les_espaces(texte: str) -> str:
    """Une expression régulière où une espace en vaut une autre, insécable ou non."""
    return r"\s".join(map(re.escape, texte.split(" ")))


Ouvrir = Callable[..., Visite]


@pytest.fixture
def ouvrir() -> Iterator[Ouvrir]:
    """De quoi ouvrir des fenêtres ; elles se ferment à la fin."""
    with sync_api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", SANS_RESEAU]
        )

        def visiter(adresse: str, largeur: int = 1100, theme: str = "light") -> Visite:
            contexte = chromium.new_context(
                viewport={"width": largeur, "height": 900}, color_scheme=theme, locale="en-US"
            )
            return Visite(contexte.new_page(), adresse)

        yield visiter
        chromium.close()


@pytest.fixture
def documents(tmp_path: Path) -> list[str]:
    """Un dossier de fichiers mêlés : un DOCX, un texte, un PDF abîmé, un tableau d'exemples."""
    creche = Document()
    creche.add_heading("Règlement de la crèche", 1)
    creche.add_heading("Inscription", 2)
    creche.add_paragraph(
        "Pour obtenir une place en crèche, déposez un dossier au service de la petite enfance avant "
        "le 31 mars. Le dossier comprend un justificatif de domicile et l’avis d’imposition."
    )
    creche.save(tmp_path / "creche.docx")
    (tmp_path / "cantine.txt").write_text(
        "Règlement de la cantine\n\nLe repas se réserve la veille avant dix heures, sur le portail des "
        "familles. Une absence qui n’est pas signalée est facturée au tarif plein.\n",
        "utf-8",
    )
    (tmp_path / "abime.pdf").write_bytes(b"%PDF-1.4 rien")
    lignes = [
        f"Comment joindre le service {n} ?,Adressez-vous au guichet {n}." for n in range(1, 30)
    ]
    lignes.append("Qui appeler ?,Appelez le 06 12 34 56 78.")
    (tmp_path / "exemples.csv").write_text("\n".join(["instruction,output", *lignes]), "utf-8")
    return [str(f) for f in sorted(tmp_path.iterdir()) if f.is_file()]


def deposer(visite: Visite, fichiers: list[str]) -> None:
    """Dépose des fichiers à la première étape."""
    visite.fenetre.locator("input[type=file]").first.set_input_files(fichiers)
    visite.voir("déposé", "Non pris")


# ---------------------------------------------------------------- le parcours


def test_du_document_au_modele_servi(ouvrir: Ouvrir, documents: list[str], tmp_path: Path):
    """Les six étapes, avec le modèle embarqué, sans réseau : rien ne sort de la machine."""
    espace = tmp_path / "page"
    with serveur(espace) as (adresse, _):
        visite = ouvrir(adresse)
        deposer(visite, documents)
        visite.presser("Lire les documents")
        visite.finir("Lecture des documents")
        visite.voir("abîmé ou incomplet")
        visite.photographier("1_documents")

        visite.onglet("2.")
        visite.choisir("Exemples à contrôler", "exemples.csv")
        visite.presser("Contrôler")
        visite.finir("Contrôle de exemples.csv")
        visite.voir("une donnée personnelle")
        visite.photographier("2_exemples")
        visite.presser("Prendre cette correction")
        visite.voir("1 exemple à récrire")
        visite.presser("Écrire le fichier corrigé")
        visite.voir("exemples-corrige.jsonl")
        corrige = (espace / "exemples" / "exemples-corrige.jsonl").read_text("utf-8")
        assert "[TELEPHONE_1]" in corrige
        assert "06 12 34 56 78" not in corrige

        visite.onglet("3.")
        visite.choisir("Exemples à apprendre", "questions")
        visite.fenetre.get_by_text("Essai —").click()
        visite.ecrire("Nom du modèle affiné", "accueil")
        visite.presser("Prévoir : durée, mémoire, prix")
        visite.voir("C’est une estimation")
        visite.presser("Lancer l’apprentissage")
        visite.finir("Apprentissage de « accueil »")
        visite.fenetre.get_by_alt_text(re.compile("la perte part de")).wait_for()
        visite.photographier("3_apprentissage")

        visite.onglet("4.")
        visite.choisir("Exemples dont on prend le jeu de test", "questions")
        visite.ecrire("Questions posées, au plus", "10")
        visite.presser("Mesurer")
        visite.finir("Preuve de « accueil »")
        visite.ecrire("Votre prénom", "Camille")
        visite.presser("Commencer à lire")
        visite.voir("Paire 1 sur")
        visite.photographier("4_preuve")
        visite.presser("La 1 est meilleure")
        visite.voir("Paire 2 sur")

        visite.onglet("5.")
        visite.presser("Construire l’index")
        visite.finir("Construction de l’index")
        visite.ecrire("Votre question", "Comment obtenir une place en crèche ?")
        visite.presser("Demander")
        visite.fenetre.locator("mark").first.wait_for(timeout=120_000)
        visite.photographier("5_reponses")
        visite.ecrire("Votre question", "Qui a peint la Joconde ?")
        visite.presser("Demander")
        visite.voir("Sans réponse", secondes=120)

        visite.onglet("6.")
        visite.presser("Écrire le GGUF et son Modelfile")
        visite.finir("Export de « accueil-q8_0 »")
        for champ in ("À quoi ce modèle doit servir", "Ce qu’il ne faut pas", "D’où viennent"):
            visite.ecrire(champ, "Répondre aux questions d’accueil de la mairie.")
        visite.presser("Écrire la notice")
        visite.voir("Notice écrite pour « accueil »")
        with visite.fenetre.expect_download() as descend:
            visite.fenetre.get_by_role("link", name="falcon-poche-accueil-q8_0.gguf").click()
        assert Path(descend.value.path()).read_bytes()[:4] == b"GGUF"
        visite.presser("Servir ce modèle")
        visite.voir("Le service répond sur", secondes=DELAI_S)
        visite.photographier("6_emporter")
        visite.presser("Arrêter le service")
        visite.voir("Aucun service ne tourne")
        assert visite.dehors == []
        assert visite.fautes == []
    [fiche] = [r for r in _lignes(espace / "reponses.jsonl") if r["citations"]]
    assert fiche["citations"][0]["source"] == "creche.docx"


def _lignes(fichier: Path) -> list[dict]:
    return [json.loads(ligne) for ligne in fichier.read_text("utf-8").splitlines()]


# ---------------------------------------------------------------- ce qui coupe


def test_rien_ne_se_perd_quand_on_ferme_ou_qu_on_tue(ouvrir: Ouvrir, tmp_path: Path):
    """Navigateur fermé, deux fenêtres, pause, serveur tué par -9 : l'apprentissage va au bout."""
    espace = tmp_path / "page"
    with serveur(espace) as (adresse, processus):
        visite = ouvrir(adresse)
        visite.onglet("3.")
        visite.choisir("Exemples à apprendre", "questions")
        visite.fenetre.get_by_text("Essai —").click()
        visite.presser("Lancer l’apprentissage")
        visite.voir("pas 20 sur", "pas 25 sur", "pas 30 sur", secondes=DELAI_S)
        visite.fenetre.context.close()
        premiere, seconde = ouvrir(adresse), ouvrir(adresse)
        for fenetre in (premiere, seconde):
            fenetre.voir("Apprentissage de « mon-modele »")
        seconde.presser("Mettre en pause")
        for fenetre in (premiere, seconde):
            fenetre.voir("Apprentissage de « mon-modele » (en pause)", secondes=DELAI_S)
        premiere.presser("Reprendre")
        seconde.voir("en cours", "depuis", secondes=DELAI_S)
        etat = json.loads(next(espace.glob("taches/*/travail.json")).read_text("utf-8"))
        processus.kill()
        processus.wait()
        if etat["processus"] and psutil.pid_exists(etat["processus"]):
            os.kill(etat["processus"], signal.SIGKILL)
        premiere.fenetre.context.close()
        seconde.fenetre.context.close()
    with serveur(espace) as (adresse, _):
        visite = ouvrir(adresse)
        visite.finir("Apprentissage de « mon-modele »")
    rapport = json.loads((espace / "modeles" / "mon-modele" / "rapport.json").read_text("utf-8"))
    assert rapport["pas"] > rapport["pas_faits"] >= 0, "il a repris, et non recommencé"


def test_un_fichier_trop_gros_se_dit_en_francais(ouvrir: Ouvrir, tmp_path: Path):
    gros = tmp_path / "gros.txt"
    gros.write_bytes(b"x" * 2_000_000)
    inconnu = tmp_path / "programme.exe"
    inconnu.write_bytes(b"x")
    with serveur(tmp_path / "page", "--fichier_max", "1") as (adresse, _):
        visite = ouvrir(adresse)
        dites = []
        visite.fenetre.on("dialog", lambda dite: (dites.append(dite.message), dite.accept()))
        visite.fenetre.locator("input[type=file]").first.set_input_files(str(gros))
        visite.fenetre.wait_for_timeout(1000)
        assert "gros.txt dépasse 1\u00a0Mo" in dites[0]
        deposer(visite, [str(inconnu)])
        visite.voir("Non pris, leur format ne se lit pas : programme.exe")


# ---------------------------------------------------------------- pour tous


@pytest.mark.parametrize(("largeur", "theme"), [(1100, "light"), (1100, "dark"), (360, "light")])
def test_la_page_est_accessible(ouvrir: Ouvrir, tmp_path: Path, largeur: int, theme: str):
    """axe ne trouve rien à redire, et rien ne déborde de l'écran d'un téléphone."""
    with serveur(tmp_path / "page") as (adresse, _):
        visite = ouvrir(adresse, largeur, theme)
        reproches = []
        for etape in range(1, 7):
            visite.onglet(f"{etape}.")
            reproches += [
                f"étape {etape} : {faute['id']} {noeud['html'][:120]}"
                for faute in axe.Axe().run(visite.fenetre).response["violations"]
                for noeud in faute["nodes"]
            ]
            assert visite.fenetre.evaluate("document.documentElement.scrollWidth") <= largeur
            visite.photographier(f"etape_{etape}_{largeur}_{theme}")
        assert reproches == []
        assert visite.fenetre.get_by_label("More tabs").count() == 0


def test_tout_se_fait_au_clavier(ouvrir: Ouvrir, tmp_path: Path):
    """De l'onglet au bouton : Tab et les flèches y mènent, Entrée presse."""
    with serveur(tmp_path / "page") as (adresse, _):
        visite = ouvrir(adresse)
        visite.onglet("5.")
        for _ in range(60):
            visite.fenetre.keyboard.press("Tab")
            if visite.fenetre.evaluate("document.activeElement.textContent.trim()") == "Demander":
                break
        else:
            pytest.fail("le bouton « Demander » ne s’atteint pas au clavier")
        visite.fenetre.keyboard.press("Enter")
        visite.voir("la question est vide")
