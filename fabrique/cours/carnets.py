"""Ce que voit l'apprenant : ses paris, et les écarts entre deux textes."""

from __future__ import annotations

import html
import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path

from IPython.display import HTML, display

from fabrique.socle.emplacements import ecrire_json
from fabrique.socle.erreurs import ErreurFabrique
from fabrique.socle.nombres import en_bref, en_francais

#: Les paris de l'apprenant, gardés d'un carnet à l'autre : le carnet 04 les compte.
PARIS = Path("sorties/paris.json")
#: Ceux qu'aucun fichier n'a pu garder (dossier en lecture seule, disque plein), par fichier voulu.
_EN_MEMOIRE: dict[Path, dict[str, Pari]] = {}


@dataclass
class Pari:
    """Un intervalle où l'apprenant pense, à 90 %, que tombera la mesure."""

    nom: str
    bas: float
    haut: float
    verite: float | None = None

    @property
    def gagne(self) -> bool | None:
        """Vrai si l'intervalle contenait la vérité ; None tant qu'elle n'est pas connue."""
        return None if self.verite is None else self.bas <= self.verite <= self.haut


def parier(nom: str, bas: float, haut: float, fichier: Path = PARIS) -> None:
    """Parie avant de voir : « je suis sûr à 90 % que la mesure tombera entre bas et haut ».

    Raises:
        ErreurFabrique: ``bas`` dépasse ``haut``.
    """
    if bas > haut:
        raise ErreurFabrique(
            f"pour « {nom} », le bas ({en_bref(bas)}) dépasse le haut ({en_bref(haut)})",
            "Échangez-les",
        )
    paris = lire_paris(fichier)
    paris[nom] = Pari(nom, bas, haut)
    _ecrire(paris, fichier)
    print(f"Pari noté : {nom}, entre {en_bref(bas)} et {en_bref(haut)}.")


def reveler(nom: str, verite: float, decimales: int = 2, fichier: Path = PARIS) -> None:
    """Confronte un pari à la mesure, et le garde pour le bilan du carnet 04.

    Une mesure indéfinie, parce qu'une session précédente a tout fait, ne gagne ni ne perd.
    """
    paris = lire_paris(fichier)
    if math.isnan(verite):
        print(f"{nom} : rien n’a été mesuré cette fois. Le pari reste ouvert.")
        return
    mesure = en_francais(verite, decimales)
    if nom not in paris:
        print(f"{nom} : {mesure} (aucun pari noté).")
        return
    pari = paris[nom]
    pari.verite = float(verite)
    _ecrire(paris, fichier)
    verdict = "gagné, il contient la mesure" if pari.gagne else "perdu, la mesure est en dehors"
    bornes = f"{en_bref(pari.bas)} à {en_bref(pari.haut)}"
    print(f"{nom} : {mesure}. Votre pari ({bornes}) est {verdict}.")


def lire_paris(fichier: Path = PARIS) -> dict[str, Pari]:
    """Les paris déjà notés, par nom."""
    if fichier in _EN_MEMOIRE:
        return _EN_MEMOIRE[fichier]
    try:
        return {p["nom"]: Pari(**p) for p in json.loads(fichier.read_text(encoding="utf-8"))}
    except (OSError, ValueError, TypeError):
        return {}


def _ecrire(paris: dict[str, Pari], fichier: Path) -> None:
    """Garde les paris dans leur fichier ; s'il refuse, en mémoire, le temps de la session."""
    try:
        ecrire_json(fichier, [asdict(pari) for pari in paris.values()])
        _EN_MEMOIRE.pop(fichier, None)
    except OSError:
        _EN_MEMOIRE[fichier] = paris


def debut_de(texte: str, au_plus: int | None) -> str:
    """Un texte, ou ses ``au_plus`` premiers signes et « … » s'il en a davantage."""
    return texte if au_plus is None or len(texte) <= au_plus else f"{texte[:au_plus]}…"


def cote_a_cote(textes: dict[str, str], question: str = "", au_plus: int | None = None) -> None:
    """Montre des textes en colonnes, chacun sous son titre : avant et après, par exemple.

    Args:
        textes: titre → texte, dans l'ordre des colonnes.
        question: la demande, au-dessus.
        au_plus: signes montrés de chaque texte ; un texte plus long finit par « … ».
    """
    entetes = "".join(
        f'<th scope="col" style="text-align:left">{html.escape(titre)}</th>' for titre in textes
    )
    cellules = "".join(
        '<td style="text-align:left;vertical-align:top;white-space:pre-wrap;overflow-wrap:anywhere">'
        f"{html.escape(debut_de(texte, au_plus))}</td>"
        for texte in textes.values()
    )
    legende = f"<caption>{html.escape(question)}</caption>" if question else ""
    display(
        HTML(
            f'<table style="table-layout:fixed;width:100%">{legende}<thead><tr>{entetes}</tr>'
            f"</thead><tbody><tr>{cellules}</tr></tbody></table>"
        )
    )
