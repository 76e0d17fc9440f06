"""La nuit du carnet 06 : le disque se remplit, l'apprentissage s'arrête entier, puis reprend."""

import pytest
from test_preentrainement_prolonge import REGLAGES, courbe, lire

from fabrique.cours.nuit import nuit_agitee, taille
from fabrique.entrainement.disque import place_libre
from fabrique.socle.erreurs import MACHINE, ErreurFabrique
from fabrique.socle.nombres import MO


def test_une_nuit_agitee_s_arrete_entiere_puis_reprend_la_meme_courbe(petit, tmp_path):
    lire(petit, tmp_path / "calme")
    sortie = tmp_path / "agitee"
    with nuit_agitee(sortie, 20 * MO) as voisin:
        with pytest.raises(ErreurFabrique, match="le disque est plein") as leve:
            lire(petit, sortie)
        assert leve.value.code == MACHINE
        assert (sortie / f"checkpoint-{REGLAGES.pas_mesure}" / "complet.json").is_file()
        assert voisin.stat().st_size > 0
        voisin.unlink()
    assert lire(petit, sortie).resultat.pas_faits == 8
    assert courbe(sortie) == courbe(tmp_path / "calme")


def test_un_quota_trop_petit_se_dit_avant_de_commencer(petit, tmp_path):
    with (
        nuit_agitee(tmp_path / "s", 1 * MO),
        pytest.raises(ErreurFabrique, match="les points de reprise en demandent"),
    ):
        lire(petit, tmp_path / "s")
    assert not list((tmp_path / "s").glob("checkpoint-*"))


def test_le_quota_s_oublie_en_sortant(tmp_path):
    avant = place_libre(tmp_path)
    with nuit_agitee(tmp_path / "s", 5):
        assert place_libre(tmp_path) == 5 - taille(tmp_path)
    assert place_libre(tmp_path) > 5
    assert avant > 5
