"""Ce que voit l'apprenant : ses paris, gardés où l'on peut, et ses pannes, dites en français."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from fabrique.cours import carnets
from fabrique.cours.carnets import lire_paris, parier, reveler
from outils.tester import ENVIRONNEMENT

# ---------------------------------------------------------------- les paris


@pytest.fixture
def lecture_seule(tmp_path) -> Path:
    """Un fichier de paris qu'on ne peut pas écrire : son dossier est un fichier."""
    (tmp_path / "sorties").write_text("pas un dossier", encoding="utf-8")
    yield tmp_path / "sorties" / "paris.json"
    carnets._EN_MEMOIRE.clear()


def test_sans_droit_d_ecriture_les_paris_restent_en_memoire(lecture_seule, capsys):
    parier("mesure", 1, 2, lecture_seule)
    parier("autre", 3, 4, lecture_seule)
    reveler("mesure", 1.5, fichier=lecture_seule)
    assert "gagné" in capsys.readouterr().out
    assert {nom: pari.gagne for nom, pari in lire_paris(lecture_seule).items()} == {
        "mesure": True,
        "autre": None,
    }


def test_les_paris_rejoignent_leur_fichier_des_qu_il_s_ecrit(lecture_seule):
    """Le disque plein s'est vidé : rien n'est perdu, et rien d'ancien ne revient."""
    parier("avant", 1, 2, lecture_seule)
    lecture_seule.parent.unlink()
    parier("après", 3, 4, lecture_seule)
    assert list(lire_paris(lecture_seule)) == ["avant", "après"]
    assert carnets._EN_MEMOIRE == {}
    lecture_seule.unlink()
    assert lire_paris(lecture_seule) == {}


# ---------------------------------------------------------------- les pannes

#: Des cellules, exécutées l'une après l'autre comme dans un noyau ; un trait les sépare.
CELLULES = {
    "nom inconnu": "n = 2\ncorpus[0] + n",
    "faute dans une fonction du carnet": "def essai():\n    return modele\nessai()",
    "faute d'une bibliothèque": "bibliotheque.lire()",
    "autre erreur": "1 / 0",
    "arrêt": "import signal\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n"
    "signal.raise_signal(signal.SIGINT)",
    "importation": "import paquet_absent",
    "ensuite": "print('le noyau continue')",
}
NOYAU = """
import sys, types
from IPython.core.interactiveshell import InteractiveShell
from fabrique.socle.erreurs import expliquer_les_pannes

noyau = InteractiveShell.instance(colors="NoColor")
noyau.set_custom_exc((ImportError,), lambda *_, tb_offset=None: print("message de Colab"))
for _ in range(2):  # la cellule de préparation peut être exécutée deux fois
    expliquer_les_pannes()
bibliotheque = types.ModuleType("bibliotheque")
exec("def lire(): return oubli", bibliotheque.__dict__)
noyau.user_ns["bibliotheque"] = bibliotheque
for source in sys.argv[1:]:
    print("-----")
    noyau.run_cell(source)
"""


@pytest.fixture(scope="module")
def vu() -> dict[str, str]:
    """Ce que chaque cellule montre ; un processus à part, car IPython n'a qu'un noyau."""
    commande = [sys.executable, "-c", NOYAU, *CELLULES.values()]
    fini = subprocess.run(commande, env=ENVIRONNEMENT, capture_output=True, text=True, check=True)
    return dict(zip(CELLULES, re.split(r"^-----\n", fini.stdout, flags=re.M)[1:], strict=True))


def test_un_nom_inconnu_renvoie_plus_haut(vu):
    """La phrase d'abord ; le message de Python reste, en une ligne, sans trace."""
    assert vu["nom inconnu"].splitlines() == [
        "À corriger : « corpus » n’est pas défini (ligne 2 : corpus[0] + n). S’il est défini plus "
        "haut dans le carnet, choisissez Exécution > Exécuter les cellules précédentes ; sinon, "
        "vérifiez son orthographe.",
        "NameError: name 'corpus' is not defined",
    ]
    assert "« modele » n’est pas défini" in vu["faute dans une fonction du carnet"]


def test_une_cellule_arretee_le_dit_en_une_phrase(vu):
    assert vu["arrêt"].splitlines() == [
        "Arrêté à votre demande : cette cellule n’est pas allée au bout. Exécutez-la de nouveau."
    ]


@pytest.mark.parametrize(
    ("cellule", "dit"),
    [
        ("faute d'une bibliothèque", "name 'oubli' is not defined"),
        ("autre erreur", "ZeroDivisionError"),
    ],
)
def test_les_autres_erreurs_gardent_leur_trace(vu, cellule, dit):
    assert "Traceback" in vu[cellule]
    assert dit in vu[cellule]
    assert "À corriger" not in vu[cellule]


def test_le_gestionnaire_de_colab_garde_sa_place(vu):
    assert vu["importation"] == "message de Colab\n"
    assert vu["ensuite"] == "le noyau continue\n"
