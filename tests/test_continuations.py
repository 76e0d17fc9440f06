"""Les suites lues à l'aveugle : chaque note revient au modèle qui a écrit, et une grille fautive se dit."""

import csv

import numpy as np
import pytest

from benchmarks.continuations import (
    COLONNES,
    CRITERES,
    DEBUTS,
    Paire,
    cote_a_cote,
    debuts,
    lire_notes,
    rendre,
    tableau,
)


def _grille(chemin, noter):
    with chemin.open("w", encoding="utf-8", newline="") as fichier:
        ecrivain = csv.writer(fichier)
        ecrivain.writerow(["rang", *COLONNES])
        ecrivain.writerows([rang, *noter(rang)] for rang in range(1, DEBUTS + 1))
    return chemin


def test_chaque_note_revient_au_modele_qui_a_ecrit(tmp_path):
    """Le premier modèle mérite toujours 0, le second toujours 2, où qu’on les ait placés."""
    ordres = [(rang % 2, 1 - rang % 2) for rang in range(DEBUTS)]
    notes = lire_notes(
        _grille(
            tmp_path / "notes.csv",
            lambda rang: [2 * auteur for auteur in ordres[rang - 1] for _ in CRITERES],
        )
    )
    rangees = rendre(notes, ordres)
    assert (rangees[:, 0] == 0).all()
    assert (rangees[:, 1] == 2).all()
    sujet = tableau([rangees, rangees])[2]
    assert (
        "| 0,00 [0,00\u00a0; 0,00] | 2,00 [2,00\u00a0; 2,00] | 2,00 [2,00\u00a0; 2,00] | 1,00 |"
        in sujet
    )


def test_les_suites_publiees_sont_dites_a_leur_auteur():
    paires = [Paire(1, "Titre\n\nUn début", ("du second", "du premier"))]
    lues = cote_a_cote(paires, [(1, 0)], [np.zeros((1, 2, len(CRITERES)), int)])
    assert any("Le premier" in ligne and "`du premier`" in ligne for ligne in lues)


@pytest.mark.parametrize("note", ["", "3", "1,5"])
def test_une_note_hors_de_l_echelle_est_refusee(tmp_path, note):
    grille = _grille(
        tmp_path / "notes.csv", lambda rang: [note if rang == 7 else 1] + [1] * (len(COLONNES) - 1)
    )
    with pytest.raises(ValueError, match="rang 7"):
        lire_notes(grille)


def test_les_debuts_sont_cinquante_fiches_differentes():
    assert len(set(debuts())) == DEBUTS
