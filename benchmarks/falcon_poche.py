"""Qualité du Falcon de poche sur les documents que son préentraînement a mis de côté.

    python -m benchmarks.falcon_poche ../shared/donnees/service_public.jsonl.gz

Imprime les bits par octet du modèle (fenêtres de 1 024, 512 et 256 jetons), ceux de « xz -9 »
sur les mêmes textes mis bout à bout, et la fertilité du tokenizer.
"""

from __future__ import annotations

import argparse
import lzma
from pathlib import Path

from fabrique.gabarits import coder
from fabrique.modeles import charger
from fabrique.preentrainement import (
    ReglagesPreentrainement,
    bits_par_octet,
    lire_documents,
    separer,
)


def bits_par_octet_xz(textes: list[str]) -> float:
    """Bits par octet d'une compression xz au niveau 9."""
    octets = "\n\n".join(textes).encode()
    return 8 * len(lzma.compress(octets, preset=9)) / len(octets)


def main() -> None:
    """Mesure et imprime."""
    analyse = argparse.ArgumentParser(description=__doc__)
    analyse.add_argument("documents", type=Path, help="fichier .jsonl[.gz] du préentraînement")
    analyse.add_argument("--modele", default="falcon-poche")
    options = analyse.parse_args()
    reglages = ReglagesPreentrainement()
    _, cote = separer(lire_documents(options.documents), reglages.validation_un_sur)
    textes = [document.texte for document in cote]
    tokenizer, modele = charger(options.modele, quantification="aucune", silencieux=True)
    modele.eval()
    mots = sum(len(texte.split()) for texte in textes)
    jetons = sum(len(coder(texte, tokenizer)) for texte in textes)
    print(f"{len(textes)} documents mis de côté, {sum(len(t.encode()) for t in textes)} octets")
    for longueur in (1024, 512, 256):
        mesure = bits_par_octet(modele, tokenizer, textes, longueur)
        print(f"Falcon de poche, fenêtres de {longueur} jetons : {mesure:.4f} bits par octet")
    print(f"xz -9                                : {bits_par_octet_xz(textes):.3f} bits par octet")
    print(f"fertilité                            : {jetons / mots:.3f} jetons par mot")


if __name__ == "__main__":
    main()
