"""La recherche dans des fiches : couper, trouver, ranger, sans rien perdre en silence."""

from __future__ import annotations

import fabrique


def test_l_index_livre_trouve_une_fiche_et_rend_ses_champs():
    """Le contrat de la conception : .fiche, .titre, .texte, .score."""
    index = fabrique.Index.construire("fiches")
    trouves = index.chercher("Comment dissoudre une association ?", k=3)
    assert len(trouves) == 3
    assert trouves[0].fiche == "fiche-association-dissoudre"
    assert trouves[0].texte in index.fiche(trouves[0].fiche).texte
    assert trouves[0].score >= trouves[1].score
