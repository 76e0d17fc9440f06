"""Les colonnes d'un terminal : alignées, entières, et jamais un texte pris pour une couleur."""

from __future__ import annotations

from test_page import evaluation

from fabrique.evaluation import rapport
from fabrique.socle.colonnes import en_colonnes


def test_la_premiere_colonne_est_a_gauche_les_autres_a_droite():
    assert en_colonnes(("mot", "fois", "part"), [("été", "1\u202f000", "8,6\u00a0%"), ("l’an", "2", "—")]) == (
        "mot    fois   part\n"
        "été   1\u202f000  8,6\u00a0%\n"
        "l’an      2      —"
    )  # fmt: skip


def test_un_texte_ne_devient_ni_couleur_ni_dessin_et_ne_se_coupe_pas():
    """Crochets, deux-points et longueurs d'un chemin de l'usager."""
    chemin = "[bold]sorties[/bold]/:smile:/" + "x" * 200
    assert en_colonnes(("fichier",), [(chemin,)]).splitlines()[1] == chemin


def test_les_ecarts_s_alignent_sous_leurs_titres():
    """Une ligne de titres, une par mesure, la conclusion, la durée."""
    fait = evaluation("question")
    titres, mesure, conclusion, duree = rapport.resumer(fait.ecarts, 75).splitlines()
    assert titres.split("  ")[0] == "Mesure"
    assert len(titres) == len(mesure)
    assert all(valeur in mesure for valeur in rapport.rangees_des_ecarts(fait.ecarts)[0])
    assert conclusion == rapport.conclusion(fait.ecarts)
    assert duree == "Durée : 1\u00a0min\u00a015\u00a0s."
