"""Le guide de l'animateur dit les durées et les nombres des carnets, et ses heures s'enchaînent."""

from __future__ import annotations

import itertools
import re

import gardes
import nbformat
import pytest

from outils import parcours, paris
from outils.tester import RACINE

GUIDE = RACINE / "docs" / "animer"
ETAPES = {etape.numero: etape for etape in parcours.lire()}
_LIGNE = re.compile(r"^\| (\d+) h (\d\d) \| (\d+) min \| ([^|]+) \| ([^|]+) \|$", re.M)


def texte(nom: str) -> str:
    """Une page du guide, espaces ordinaires."""
    return (GUIDE / nom).read_text("utf-8").replace("\u00a0", " ")


def journees(nom: str) -> list[list[tuple[int, int, str, str]]]:
    """Les journées d'une page : (début en minutes, durée, étape, critère de fin)."""
    jours: list[list] = []
    for heure, minute, duree, etape, fin in _LIGNE.findall(texte(nom)):
        debut = 60 * int(heure) + int(minute)
        if not jours or debut < jours[-1][-1][0]:
            jours.append([])
        jours[-1].append((debut, int(duree), etape.strip(), fin.strip()))
    return jours


@pytest.mark.parametrize(("nom", "attendues"), [("demi_journee.md", 1), ("deux_jours.md", 2)])
def test_les_heures_s_enchainent(nom: str, attendues: int):
    """Chaque étape commence quand la précédente finit, et dit quand elle est finie."""
    jours = journees(nom)
    assert len(jours) == attendues
    for jour in jours:
        assert len(jour) >= 8
        for (debut, duree, _, fin), (suivant, *_) in itertools.pairwise(jour):
            assert debut + duree == suivant
            assert fin


@pytest.mark.parametrize("nom", ["demi_journee.md", "deux_jours.md"])
def test_les_durees_du_guide_sont_celles_des_carnets(nom: str):
    """Les minutes de lecture de « En bref » ; le calcul tient dans l'étape."""
    vues = {}
    for jour in journees(nom):
        for _, duree, etape, _ in jour:
            if numero := re.fullmatch(r"Carnet (\d\d)", etape):
                vues[numero[1]] = duree
    assert set(vues) == {"00", "01", "02", "03", "04"}
    for numero, duree in vues.items():
        if numero in ETAPES:
            assert duree == ETAPES[numero].lecture
            assert ETAPES[numero].calcul < duree / 2


def test_l_annonce_dit_les_heures_du_deroule():
    """« de 9 h 00 à 12 h 25 », et « Trois heures vingt-cinq »."""
    (jour,) = journees("demi_journee.md")
    fin = jour[-1][0] + jour[-1][1]
    assert f"de 9 h 00 à {fin // 60} h {fin % 60:02d}" in texte("textes.md")
    assert (fin - jour[0][0], "Trois heures vingt-cinq" in texte("demi_journee.md")) == (205, True)


def test_les_nombres_cites_sont_dans_les_carnets():
    """Le tableau « Les nombres que vous citerez », et ceux que le texte répète."""
    tableau = texte("demi_journee.md").partition("## Les nombres que vous citerez")[2]
    nombres = re.findall(r"^\| ([^|]*\d[^|]*) \| [^|]+ \| (\d\d) \|$", tableau, re.M)
    assert len(nombres) >= 7
    for nombre, numero in nombres:
        carnet = nbformat.read(ETAPES[numero].fichier, as_version=4)
        morceaux = [c.source + gardes.texte_des_sorties(c) for c in carnet.cells]
        lu = re.sub(r"[\u00a0\u202f]", " ", "\n".join(morceaux))
        assert nombre in lu, f"« {nombre} » n’est plus dans le carnet {numero}"


def test_le_parcours_du_readme_est_celui_des_carnets():
    """Un carnet, une ligne du README ; et dans le carnet 00, les mêmes minutes."""
    lignes = (RACINE / "README.md").read_text("utf-8").splitlines()
    accueil = nbformat.read(ETAPES["00"].fichier, as_version=4).cells
    programme = "\n".join(c.source for c in accueil if c.cell_type == "markdown")
    annonces = dict(
        re.findall(r"^\| \[?\**(\d\d) [^|]*\| [^|]+ \| (\d+)[ \u00a0]min", programme, re.M)
    )
    for numero, etape in ETAPES.items():
        [ligne] = [x for x in lignes if f"](notebooks/{etape.fichier.name})" in x]
        assert f"| moins de {etape.calcul}\u00a0min |" in ligne
        if numero in annonces:
            assert int(annonces[numero]) == etape.lecture
    assert {"00", "01"} <= annonces.keys()


def test_chaque_carnet_mene_au_suivant():
    """Le dernier lien de chaque carnet de la demi-journée ouvre celui d'après."""
    demi_journee = [etape for numero, etape in ETAPES.items() if numero <= "04"]
    for etape, suivante in itertools.pairwise(demi_journee):
        fin = nbformat.read(etape.fichier, as_version=4).cells[-1].source
        dernier = re.findall(r"\]\((\w+\.ipynb)\)", fin)[-1]
        assert dernier == suivante.fichier.name, etape.numero


def test_les_paris_du_guide_sont_a_leur_cellule():
    """``python -m outils.paris`` refait le tableau ; chaque pari se prend avant d'être révélé."""
    guide = paris.GUIDE.read_text("utf-8")
    assert paris.a_jour(guide) == guide
    lus = [re.findall(r"\[(\d+)\]", ligne) for ligne in paris.lignes()]
    assert len(lus) >= 20
    assert all(int(pari) < int(revele) for pari, revele in lus)


def test_la_feuille_du_participant_ne_dit_aucune_reponse():
    """Des lignes à remplir : aucune mesure, aucun corrigé, aucun chiffre hors des numéros."""
    feuille = texte("feuille_participant.md")
    assert "Réponse" not in feuille
    assert feuille.count("…") > 100
    nombres = set(re.findall(r"\d+(?:,\d+)?", feuille))
    assert nombres <= {*"123456", "00", "01", "02", "03", "04", "4", "7", "90"}
    assert "(non" not in texte("textes.md")


def test_le_guide_ne_conseille_pas_un_second_compte():
    assert not re.search(r"avec un autre compte|plusieurs comptes", texte("pannes.md"))


def test_les_commandes_du_guide_existent():
    """Chaque « fabrique … » cité se retrouve dans l'aide."""
    from fabrique.ligne_de_commande import application

    noms = {c.name or c.callback.__name__ for c in application.registered_commands}
    groupes = {g.name: g.typer_instance for g in application.registered_groups}
    noms |= {
        f"{groupe} {c.name or c.callback.__name__}"
        for groupe, contenu in groupes.items()
        for c in contenu.registered_commands
    }
    pages = "\n".join(f.read_text("utf-8") for f in sorted((RACINE / "docs").rglob("*.md")))
    cites = re.findall(rf"(?:^|`)fabrique ((?:{'|'.join(groupes)}) \w+|\w+)", pages, re.M)
    assert len(cites) >= 8
    assert set(cites) - noms == set()
