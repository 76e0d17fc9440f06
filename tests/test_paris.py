"""Les paris : gardés d'un carnet à l'autre, jamais entamés, jamais jugés sans mesure."""

from __future__ import annotations

import json
import math
from pathlib import Path

from fabrique.cours.carnets import lire_paris, parier, reveler


def test_une_coupure_pendant_l_ecriture_ne_perd_aucun_pari(tmp_path, monkeypatch):
    """Le disque se remplit à mi-chemin : le fichier d'avant est entier, le pari neuf en mémoire."""
    fichier = tmp_path / "paris.json"
    parier("durée", 1, 2, fichier)
    avant = fichier.read_bytes()
    ecrire = Path.write_text

    def couper(chemin, texte, *options, **autres):
        ecrire(chemin, texte[: len(texte) // 2], *options, **autres)
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as plein:
        plein.setattr(Path, "write_text", couper)
        parier("perte", 3, 4, fichier)
    assert fichier.read_bytes() == avant
    assert list(lire_paris(fichier)) == ["durée", "perte"]
    assert json.loads(avant)[0]["bas"] == 1


def test_sans_mesure_un_pari_reste_ouvert(tmp_path, capsys):
    """Une reprise qui n'a rien eu à faire ne donne pas de secondes par pas."""
    fichier = tmp_path / "paris.json"
    parier("secondes par pas", 0.1, 2, fichier)
    reveler("secondes par pas", math.nan, fichier=fichier)
    assert "rien n’a été mesuré" in capsys.readouterr().out
    assert lire_paris(fichier)["secondes par pas"].gagne is None
