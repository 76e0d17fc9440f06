"""Refaire la table du bruit d'OCR livrée, d'une commande.

    python -m outils.bruit_ocr ../shared/donnees

Le dossier contient ``ocr_tickets.jsonl.gz`` et ``ocr_registres.jsonl.gz`` (concours ICDAR 2019, CC0).
Une paire sur deux, choisie par l'empreinte de son identifiant, sert à relever les taux ; l'autre est
gardée pour mesurer les corrections. La table ne porte que des signes et des nombres.
"""

from __future__ import annotations

import gzip
import json
import sys
from dataclasses import asdict
from hashlib import blake2b
from pathlib import Path

from fabrique.corpus.bruit_ocr import TABLE, Bruit, PaireAlignee, relever
from fabrique.socle.emplacements import ecrire_json
from fabrique.socle.nombres import en_francais, en_pourcent

SORTES = ("tickets", "registres")
ORIGINE = (
    "ICDAR 2019 Competition on Post-OCR Text Correction (Rigaud, Doucet, Coustaty et Moreux, 2019), "
    "jeux FR3 (tickets) et FR1 (registres), CC0 ; une paire sur deux ; python -m outils.bruit_ocr"
)


def lire_paires(donnees: Path, sorte: str, gardees: bool) -> list[PaireAlignee]:
    """Les paires d'une sorte de documents.

    Args:
        gardees: celles qui mesurent, ou celles dont on relève les taux.
    """
    with gzip.open(donnees / f"ocr_{sorte}.jsonl.gz", "rt", encoding="utf-8") as flux:
        lignes = [json.loads(ligne) for ligne in flux]
    return [
        PaireAlignee(ligne["ocr_aligne"], ligne["reference_alignee"])
        for ligne in lignes
        if est_gardee(ligne["id"]) == gardees
    ]


def est_gardee(identifiant: str) -> bool:
    """Vrai pour une paire sur deux, toujours la même."""
    return bool(blake2b(identifiant.encode(), digest_size=1).digest()[0] % 2)


def table(donnees: Path) -> dict[str, Bruit]:
    """Les taux de chaque sorte de documents."""
    return {sorte: relever(lire_paires(donnees, sorte, gardees=False)) for sorte in SORTES}


def principal(donnees: str) -> None:
    """Relève, écrit la table livrée, dit ce qu'elle garde."""
    bruits = table(Path(donnees))
    ecrire_json(TABLE, {"origine": ORIGINE, "bruits": {n: arrondir(b) for n, b in bruits.items()}})
    for sorte, bruit in bruits.items():
        nombre = sum(map(len, bruit.confusions.values()))
        print(
            f"{sorte} : {en_francais(bruit.caracteres)} caractères, {en_pourcent(bruit.taux, 1)} "
            f"d’erreurs ; {nombre} confusions, soit {en_pourcent(bruit.gardees)} des erreurs"
        )


def arrondir(bruit: Bruit) -> dict:
    """Un bruit à quatre chiffres : davantage ne dirait rien de plus."""
    return {nom: _arrondi(valeur) for nom, valeur in asdict(bruit).items()}


def _arrondi(valeur: object) -> object:
    if isinstance(valeur, dict):
        return {cle: _arrondi(sous) for cle, sous in valeur.items()}
    if isinstance(valeur, tuple):
        return [_arrondi(sous) for sous in valeur]
    return float(f"{valeur:.4g}") if isinstance(valeur, float) else valeur


if __name__ == "__main__":
    principal(*sys.argv[1:])
