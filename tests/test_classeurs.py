"""Les classeurs Excel : chaque cellule telle qu'Excel la montre, ou une alerte qui la nomme."""

from contextlib import nullcontext
from datetime import date, datetime, time, timedelta
from pathlib import Path

import pytest
from openpyxl import Workbook

from fabrique.corpus import controler, lire_corpus
from fabrique.corpus.classeurs import montrer
from fabrique.socle.erreurs import ErreurFabrique

JOUR = datetime(2024, 2, 5, 14, 7, 9)


@pytest.mark.parametrize(
    ("valeur", "format", "montre"),
    [
        (612345678, '0#" "##" "##" "##" "##', "06 12 34 56 78"),
        (612345678, "00\\ 00\\ 00\\ 00\\ 00", "06 12 34 56 78"),
        (3, "General", "3"),
        (-2.5, "General", "-2,5"),
        (1 / 3, "General", "0,333333333"),
        (1500.5, "#,##0.00", "1\u00a0500,50"),
        (1234567, "#,##0", "1\u00a0234\u00a0567"),
        (1500.5, '#,##0.00\\ "€"', "1\u00a0500,50 €"),
        (1500.5, "#,##0.00\\ [$€-40C]", "1\u00a0500,50 €"),
        (-12, "#,##0;[Red]\\-#,##0", "-12"),
        (0.125, "0.0%", "12,5%"),
        # La moitié s'éloigne de zéro, sur les quinze chiffres qu'Excel garde.
        (2.5, "0", "3"),
        (-2.5, "0", "-3"),
        (0.125, "0%", "13%"),
        (0.125, "0.00", "0,13"),
        (1.005, "0.00", "1,01"),
        (0.145, "0%", "15%"),
        (10**20 + 1, "0", "100000000000000000001"),
        (0.5, "0%", "50%"),
        (7, "000", "007"),
        (2.5, "0.##", "2,5"),
        (75001, "00000", "75001"),
        (JOUR, "dd/mm/yyyy", "05/02/2024"),
        (JOUR, "mm-dd-yy", "05/02/2024"),
        (JOUR, "d mmmm yyyy", "5 février 2024"),
        (JOUR, "[$-F800]dddd\\,\\ mmmm\\ dd\\,\\ yyyy", "lundi 5 février 2024"),
        (JOUR, "yyyy-mm-dd h:mm:ss", "2024-02-05 14:07:09"),
        (date(2024, 2, 5), "d/m/yy;@", "5/2/24"),
        (time(9, 30), "h:mm", "9:30"),
        (time(9, 30), 'hh"h"mm', "09h30"),
        (timedelta(hours=26, minutes=5), "[h]:mm", "26:05"),
    ],
)
def test_une_valeur_se_lit_comme_excel_la_montre(valeur, format, montre):
    assert montrer(valeur, format) == (montre, True)


@pytest.mark.parametrize(
    ("valeur", "format"),
    [
        (184073306301240, "General"),
        (0.125, "0,0%"),
        (12000, "0,"),
        (1500, "0.00E+00"),
        (1.5, "# ?/?"),
        (JOUR, "h:mm AM/PM"),
        (time(9, 30), "dd/mm/yyyy"),
    ],
)
def test_un_format_qui_nous_echappe_laisse_un_doute(valeur, format):
    assert not montrer(valeur, format)[1]


@pytest.fixture
def classeur(tmp_path):
    """Enregistre un classeur dont la première feuille porte ces rangées, et rend son chemin."""

    def enregistrer(*rangees, formats=None, feuilles=None):
        livre = Workbook()
        for rangee in rangees:
            livre.active.append(rangee)
        for cellule, format in (formats or {}).items():
            livre.active[cellule].number_format = format
        for nom, contenu in (feuilles or {}).items():
            feuille = livre.create_sheet(nom)
            for rangee in contenu:
                feuille.append(rangee)
        chemin = tmp_path / "c.xlsx"
        livre.save(chemin)
        return chemin

    return enregistrer


ENTETE = ("instruction", "output")


def test_chaque_cellule_douteuse_a_son_alerte(classeur):
    chemin = classeur(
        ENTETE,
        ("Gratuit ?", True),
        ("Total ?", "=1+1"),
        ("Valeur ?", "#N/A"),
        ("Taux ?", 0.25),
        ("Deux lignes ?", "Une_x000D_\ndeux"),
        formats={"B5": "0.0%"},
    )
    constats = controler(chemin).constats
    alertes = {c.champ: (c.rang, c.ligne) for c in constats if c.regle == "lecture.cellule"}
    assert alertes == {"B3": (2, 3), "B4": (3, 4)}
    assert [(c.regle, c.ligne) for c in constats if c.gravite == "erreur"] == [
        ("structure.vide", 3)
    ]


def test_les_valeurs_lues_sont_celles_affichees(classeur):
    chemin = classeur(
        ENTETE,
        ("Payant ?", False),
        ("Taux ?", 0.25),
        ("Deux lignes ?", "Une_x000D_\ndeux"),
        formats={"B3": "0.0%"},
    )
    assert lire_corpus(chemin)["output"][:] == ["FAUX", "25,0%", "Une\ndeux"]


def test_les_autres_feuilles_sont_nommees(classeur):
    chemin = classeur(
        ENTETE, ("Où ?", "Là."), feuilles={"Brouillons": [ENTETE], "Notes": [("rien",)]}
    )
    (alerte,) = [c for c in controler(chemin).constats if c.regle == "lecture.feuille"]
    assert (alerte.ligne, alerte.rang) == (1, None)
    assert "« Brouillons », « Notes »" in alerte.message


def test_une_notice_en_premiere_feuille_se_dit(classeur):
    chemin = classeur(("Mode d’emploi",), feuilles={"Questions": [ENTETE, ("Où ?", "Là.")]})
    with pytest.raises(
        ErreurFabrique, match="« Sheet », n’est pas un corpus ; « Questions » en est un"
    ):
        lire_corpus(chemin)


@pytest.mark.parametrize("nom", ["c.xlsx", "c.csv"])
def test_un_titre_au_dessus_des_colonnes_se_dit(classeur, tmp_path, nom):
    rangees = [("Nos questions, mars", ""), ("", ""), ENTETE, ("Où ?", "Là.")]
    chemin = tmp_path / nom
    if nom == "c.xlsx":
        classeur(*rangees)
    else:
        chemin.write_text("\n".join(map(";".join, rangees)), encoding="utf-8")
    with pytest.raises(ErreurFabrique, match="ils sont à la ligne 3"):
        lire_corpus(chemin)


# ---------------------------------------------------------------- l'en-tête d'un tableau


@pytest.mark.parametrize("nom", ["c.xlsx", "c.csv"])
def test_deux_colonnes_du_meme_nom_sont_refusees(classeur, tmp_path, nom):
    entete = ("instruction", "output", "output ")
    chemin = tmp_path / nom
    if nom == "c.xlsx":
        classeur(entete, ("Où ?", "Là.", "Ici."))
    else:
        chemin.write_text(",".join(entete) + "\nOù ?,Là.,Ici.\n", encoding="utf-8")
    with pytest.raises(ErreurFabrique, match="deux colonnes s’appellent « output »") as prise:
        lire_corpus(chemin)
    assert (prise.value.ligne, prise.value.champ) == (1, "output")


def test_une_colonne_sans_nom_est_dite_si_elle_porte_du_texte(tmp_path):
    chemin = tmp_path / "c.csv"
    chemin.write_text("instruction;;output;\nOù ?;;Là.;\nQui ?;perdu;Lui.;\n", encoding="utf-8")
    (alerte,) = [c for c in controler(chemin).constats if c.regle == "lecture.colonne"]
    assert (alerte.ligne, alerte.champ) == (3, "2")
    assert "la 2ᵉ colonne n’a pas de nom" in alerte.message


@pytest.mark.parametrize("debut", ["", "\ufeff"])
@pytest.mark.parametrize(
    ("annonce", "signe"), [("sep=;", ";"), ('"sep=,"', ","), ("SEP=|", "|"), ("sep=\t", "\t")]
)
def test_le_separateur_annonce_par_excel_n_est_pas_l_entete(tmp_path, debut, annonce, signe):
    chemin = tmp_path / "c.csv"
    rangees = [ENTETE, ("Où ?", "Là; ou ici, qui sait"), ("Vide ?", "")]
    corps = "\r\n".join(signe.join(f'"{c}"' for c in rangee) for rangee in rangees)
    chemin.write_text(f"{debut}{annonce}\r\n{corps}\r\n", encoding="utf-8", newline="")
    (erreur,) = controler(chemin).erreurs
    assert (erreur.regle, erreur.rang, erreur.ligne) == ("structure.vide", 2, 4)


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="les fichiers ouverts se lisent là")
@pytest.mark.parametrize("ligne", [("Où voter ?", "Ici."), ("Où voter ?", "")])
def test_un_classeur_lu_ou_refuse_est_referme(tmp_path, ligne):
    """Resté ouvert, Windows ne laisserait ni l’enregistrer, ni l’effacer."""
    classeur = Workbook()
    for rangee in (("instruction", "output"), ligne):
        classeur.active.append(rangee)
    classeur.save(tmp_path / "c.xlsx")
    with nullcontext() if ligne[1] else pytest.raises(ErreurFabrique):
        lire_corpus(tmp_path / "c.xlsx")
    ouverts = {str(f.readlink()) for f in Path("/proc/self/fd").iterdir() if f.exists()}
    assert str((tmp_path / "c.xlsx").resolve()) not in ouverts
