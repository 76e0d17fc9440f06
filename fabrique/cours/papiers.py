"""Quatre papiers du carnet 08, dont le texte n'est pas dans l'ordre où l'œil le lit.

matplotlib les dessine et les enregistre en PDF : chaque ligne y est un texte posé à sa place, comme le
fait un logiciel de mise en page. Les règles qu'ils énoncent sont inventées.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_pdf import PdfPages
from matplotlib.figure import Figure

from fabrique.socle.figures import montrer

#: Une page A5, en pouces, et sa hauteur en points.
LARGEUR, HAUTEUR = 5.83, 8.27
POINTS = 72
#: Ce que matplotlib écrit d'ordinaire ne se relit pas toujours : les apostrophes y deviennent des dessins.
REGLAGES_PDF: Any = {
    "pdf.fonttype": 42,
    "font.family": "DejaVu Sans",
    "image.interpolation": "none",
}
POINTS_PAR_POUCE = 200

GAUCHE = (
    "Le prêt d’un livre dure",
    "trois semaines. Il peut",
    "être prolongé une fois,",
    "sauf si le livre est réservé",
    "par un autre lecteur.",
    "La carte de lecteur est",
)
DROITE = (
    "gratuite pour tous les",
    "habitants de la commune.",
    "Une carte perdue coûte",
    "deux euros. Elle se refait",
    "à l’accueil, le jour même,",
    "sur présentation d’une pièce.",
)
EN_TETE, PIED = "Commune de Valbrune — Règlement du marché", "page {numero} sur 3"
PAGES_DU_MARCHE = (
    (
        "Article 1. Le marché se tient le jeudi matin, de huit",
        "heures à treize heures, sur la place de la Fontaine. Les",
        "emplacements sont attribués pour un an par le service",
        "du commerce, après avis de la commission, qui exa-",
    ),
    (
        "mine les demandes deux fois par an. Le commerçant qui",
        "s’absente trois jeudis de suite sans prévenir perd son",
        "emplacement, sauf maladie ou congé annoncé au",
        "service. Il en est averti par une lettre, à laquelle il",
    ),
    (
        "peut répondre dans les quinze jours. Le prix de",
        "l’emplacement est fixé chaque année par le conseil.",
    ),
)
TABLEAU = (
    ("Salle", "Habitants", "Associations"),
    ("Grande salle", "180 €", "90 €"),
    ("Salle des aînés", "", "75 €"),
    ("Cuisine", "40 €", "12 €"),
)
ECRIT_DU_SCAN = (
    "Avis aux riverains de la rue du Moulin.\n"
    "L’éclairage public sera coupé le mercredi 10 juin\n"
    "de 22 h à 6 h. Le passage reste permis à pied.\n"
    "Renseignements à la mairie, bureau 101."
)


def page() -> Figure:
    """Une page blanche."""
    return Figure(figsize=(LARGEUR, HAUTEUR))


def poser(
    figure: Figure, x: float, haut: float, texte: str, taille: float = 11, **options: Any
) -> None:
    """Pose une ligne de texte.

    Args:
        x, haut: sa place, en points depuis le coin en haut à gauche.
    """
    figure.text(
        x / (LARGEUR * POINTS), 1 - haut / (HAUTEUR * POINTS), texte, fontsize=taille, **options
    )


def deux_colonnes() -> list[Figure]:
    """Deux colonnes, posées rangée par rangée : la première ligne de l'une, puis de l'autre."""
    figure = page()
    poser(figure, 40, 60, "La bibliothèque", 16, weight="bold")
    for rang, (gauche, droite) in enumerate(zip(GAUCHE, DROITE, strict=True)):
        poser(figure, 40, 100 + 17 * rang, gauche, 10)
        poser(figure, 220, 100 + 17 * rang, droite, 10)
    return [figure]


def en_tete_qui_revient() -> list[Figure]:
    """Trois pages, un en-tête et un pied sur chacune, une phrase à cheval sur deux."""
    figures = []
    for numero, lignes in enumerate(PAGES_DU_MARCHE, 1):
        figure = page()
        poser(figure, 40, 40, EN_TETE, 8)
        for rang, ligne in enumerate(lignes):
            poser(figure, 40, 90 + 17 * rang, ligne)
        poser(figure, 180, 570, PIED.format(numero=numero), 8)
        figures.append(figure)
    return figures


def tableau() -> list[Figure]:
    """Un tableau posé colonne par colonne, filets compris."""
    figure = page()
    poser(figure, 40, 60, "Location des salles, par jour", 14, weight="bold")
    axe = figure.add_axes((0.09, 0.66, 0.84, 0.2))
    axe.axis("off")
    cases = axe.table(cellText=TABLEAU[1:], colLabels=TABLEAU[0], loc="center", cellLoc="left")
    cases.scale(1, 1.8)
    return [figure]


def scan() -> list[Figure]:
    """Une page qui n'est qu'une image : aucun texte à en tirer sans reconnaissance de caractères."""
    figure = page()
    axe = figure.add_axes((0, 0, 1, 1))
    axe.axis("off")
    axe.imshow(image_du_scan(), cmap="gray", vmin=0, vmax=1, aspect="auto")
    return [figure]


def image_du_scan() -> np.ndarray:
    """L'avis, photocopié : gris, grenu, à 80 points par pouce (forme : hauteur × largeur)."""
    figure = Figure(figsize=(LARGEUR, HAUTEUR), dpi=80)
    toile = FigureCanvasAgg(figure)
    for rang, ligne in enumerate(ECRIT_DU_SCAN.split("\n")):
        figure.text(0.08, 0.88 - 0.05 * rang, ligne, fontsize=11, family="DejaVu Serif")
    toile.draw()
    gris = np.asarray(toile.buffer_rgba())[..., 0] / 255
    hasard = np.random.default_rng(8)
    return np.clip(0.25 + 0.6 * gris + hasard.normal(0, 0.05, gris.shape), 0, 1)


#: Ce que tesseract 5.3.0 a lu, tel quel, d'une autre photocopie du même avis, moins bonne : une
#: demi-page à 80 points par pouce (langue « fra », --psm 6). Le carnet s'en sert, même sans tesseract.
LU_DU_SCAN = (
    "Avis aux riverains de la rue du Moulin.\n"
    "Léclairage public sera coupé le mercredi 10 juin\n"
    "de 22 Hi à 6 h, Le passage reste permis à pied,\n"
    "Renselgnements à la mairie, bureau 101,"
)
#: Les quatre papiers, par leur nom de fichier.
PAPIERS: dict[str, Callable[[], list[Figure]]] = {
    "deux_colonnes": deux_colonnes,
    "en_tete": en_tete_qui_revient,
    "tableau": tableau,
    "scan": scan,
}


def ecrire_papiers(dossier: str | Path) -> dict[str, Path]:
    """Dessine les quatre papiers et les enregistre en PDF.

    Returns:
        Le chemin de chacun, par son nom.
    """
    dossier = Path(dossier)
    dossier.mkdir(parents=True, exist_ok=True)
    ecrits = {}
    for nom, dessiner in PAPIERS.items():
        ecrits[nom] = dossier / f"{nom}.pdf"
        with mpl.rc_context(REGLAGES_PDF), PdfPages(ecrits[nom]) as pdf:
            for figure in dessiner():
                pdf.savefig(figure, dpi=POINTS_PAR_POUCE)
    return ecrits


def regarder(nom: str, texte_alternatif: str) -> None:
    """Montre la première page d'un papier, telle que l'œil la voit."""
    montrer(PAPIERS[nom]()[0], texte_alternatif)
