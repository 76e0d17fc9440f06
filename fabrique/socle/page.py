"""Une page HTML à transmettre : un squelette, un style, et tout texte échappé."""

from __future__ import annotations

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

#: Chaque pièce garde ses gabarits ; tous prolongent « socle/page.html ».
_GABARITS = Environment(
    loader=FileSystemLoader(Path(__file__).parents[1]),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def composer(gabarit: str, titre: str, **contenu: object) -> str:
    """Compose une page autonome, lisible par un lecteur d'écran et dans les deux thèmes.

    Args:
        gabarit: son chemin dans le paquet, comme ``"corpus/controle.html"``.
        titre: celui de la page et de l'onglet.
        contenu: ce que le gabarit nomme. Un texte y est échappé ; seul un HTML que nous avons écrit,
            comme une figure, y porte le filtre ``safe``.

    Raises:
        jinja2.UndefinedError: le gabarit nomme un contenu qui n'est pas donné.
    """
    return _GABARITS.get_template(gabarit).render(titre=titre, **contenu)
