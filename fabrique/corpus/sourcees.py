"""Des questions et les passages où lire leur réponse : la matière d'un modèle qui cite.

Le texte que lit le modèle se compose ici, une fois pour toutes : le même à l'apprentissage et au
moment de répondre.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from functools import cache

from fabrique.socle.emplacements import dossier_data

#: Ce qui précède les passages, et ce qui en tient lieu quand il n'y en a pas.
ANNONCE, AUCUN = "Répondez en citant ces passages.", "Aucun passage trouvé."
_RENVOI = re.compile(r"\[(\d{1,3})\]")


def presenter(passages: Iterable[tuple[str, str]]) -> str:
    """Les passages numérotés, tels que le modèle les lit.

    Un passage n'en fabrique pas un autre : « [2] » écrit dans son texte y devient « (2) ».

    Args:
        passages: le titre et le texte de chacun ; leurs rangs partent de 1.
    """
    montres = []
    for rang, (titre, texte) in enumerate(passages, 1):
        lu = _RENVOI.sub(r"(\1)", f"{titre}\n{texte}")
        montres.append(f"[{rang}] {lu}")
    return "\n\n".join([ANNONCE, *montres]) if montres else AUCUN


def passages_de(objet: dict) -> list[dict[str, str]]:
    """Les passages qu'un exemple montre : ``fiche``, ``titre`` et ``texte`` de chacun.

    Un passage porte son texte, ou dit où le prendre dans les fiches livrées : l'identifiant de la
    fiche, et ses paragraphes, du premier au dernier, comptés depuis 1.

    Raises:
        KeyError: la fiche n'est pas de celles qui sont livrées.
        TypeError: ``passages`` n'est pas une liste d'objets.
    """
    return [_passage(passage) for passage in objet["passages"]]


def _passage(passage: dict) -> dict[str, str]:
    if "texte" in passage:
        champs = ("fiche", "titre", "texte")
        return {champ: passage.get(champ) or "" for champ in champs}
    titre, paragraphes = _fiches_livrees()[passage["fiche"]]
    premier, dernier = passage["paragraphes"]
    texte = "\n\n".join(paragraphes[premier - 1 : dernier])
    return {"fiche": passage["fiche"], "titre": titre, "texte": texte}


@cache
def _fiches_livrees() -> dict[str, tuple[str, list[str]]]:
    """Le titre et les paragraphes de chaque fiche livrée, par identifiant."""
    with (dossier_data() / "fiches.jsonl").open(encoding="utf-8") as lignes:
        fiches = [json.loads(ligne) for ligne in lignes]
    return {fiche["id"]: (fiche["titre"], fiche["texte"].split("\n\n")) for fiche in fiches}
