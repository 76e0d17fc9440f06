"""Lire des documents : la collection et sa vérité, les fichiers mauvais, la reprise, les places."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import zipfile
from itertools import pairwise, product
from pathlib import Path
from types import SimpleNamespace

import pytest

pytest.importorskip("pdfplumber")
pytest.importorskip("docx")
pytest.importorskip("pebble")
reportlab = pytest.importorskip("reportlab")

import docx  # noqa: E402
from docx.enum.style import WD_STYLE_TYPE  # noqa: E402
from docx.oxml.ns import qn  # noqa: E402
from PIL import Image, ImageDraw, ImageFont  # noqa: E402
from reportlab.lib.pdfencrypt import StandardEncryption  # noqa: E402
from reportlab.lib.utils import ImageReader  # noqa: E402
from reportlab.pdfgen.canvas import Canvas  # noqa: E402

from benchmarks import documents as mesures  # noqa: E402
from benchmarks.collection_documents import ODT, Verite, composer  # noqa: E402
from fabrique.corpus.documents import (  # noqa: E402
    ReglagesLecture,
    bureautique,
    chantier,
    en_fiches,
    lire_document,
    lire_dossier,
    numerisation,
    situer,
)
from fabrique.corpus.documents.bilan_documents import IGNORE, LU, REFUSE, BilanDossier  # noqa: E402
from fabrique.corpus.documents.blocs import LISTE, NOTE, TABLEAU, TITRE, Document  # noqa: E402
from fabrique.corpus.documents.cesures import Lexique, raccorder  # noqa: E402
from fabrique.corpus.documents.mots_pdf import Mot, accentuer  # noqa: E402
from fabrique.ligne_de_commande import principal  # noqa: E402
from fabrique.recherche.fiches import lire_fiches  # noqa: E402
from fabrique.socle.erreurs import ErreurFabrique  # noqa: E402
from outils.tester import RACINE  # noqa: E402

avec_tesseract = pytest.mark.skipif(
    not numerisation.tesseract_present("fra"), reason="tesseract n’est pas installé"
)
SANS_OCR = ReglagesLecture(sans_ocr=True)


# ---------------------------------------------------------------- la collection


@pytest.fixture(scope="module")
def collection(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Verite]]:
    dossier = tmp_path_factory.mktemp("collection")
    return dossier, composer(dossier)


@pytest.fixture(scope="module")
def lus(collection: tuple[Path, dict[str, Verite]]) -> dict[str, Document]:
    dossier, verites = collection
    return {nom: lire_document(dossier / nom) for nom in verites}


@pytest.fixture(scope="module")
def notes(
    collection: tuple[Path, dict[str, Verite]], lus: dict[str, Document]
) -> dict[str, mesures.Mesure]:
    return {nom: mesures.mesurer(lus[nom], verite) for nom, verite in collection[1].items()}


@pytest.fixture(scope="module")
def somme(notes: dict[str, mesures.Mesure]) -> mesures.Mesure:
    return sum(notes.values(), mesures.Mesure())


def test_la_collection_est_assez_grande(collection: tuple[Path, dict[str, Verite]]):
    """Trente-six documents, de six formats, avec de quoi mesurer chaque chose."""
    _, verites = collection
    assert len(verites) == 36
    assert len({Path(nom).suffix for nom in verites}) == 6
    for champ in ("titres", "paragraphes", "courants", "coupures", "tableaux", "notes"):
        assert sum(len(getattr(v, champ)) for v in verites.values()) >= 10, champ


def test_l_ordre_de_lecture(somme: mesures.Mesure):
    """Les paragraphes se lisent d'un trait, à leur place, et font chacun leur bloc."""
    assert somme.ordre.part >= 0.95
    assert somme.entiers.part >= 0.95


def test_les_titres(somme: mesures.Mesure):
    assert somme.f1 >= 0.9


def test_les_titres_courants_partent_et_le_corps_reste(somme: mesures.Mesure):
    assert somme.courants.part >= 0.95
    assert somme.corps.part >= 0.999


def test_les_coupures(somme: mesures.Mesure):
    assert somme.coupures.total >= 150
    assert somme.coupures.part >= 0.95


def test_les_cellules(somme: mesures.Mesure):
    assert somme.cellules.part >= 0.95


def test_les_notes_sont_a_part(
    collection: tuple[Path, dict[str, Verite]], lus: dict[str, Document]
):
    """Chaque note est un bloc, et son appel reste à sa place, en exposant."""
    verite = collection[1]["notes.pdf"]
    rendues = [bloc.texte for bloc in lus["notes.pdf"].blocs if bloc.genre == NOTE]
    assert rendues == verite.notes
    assert sum("¹" in bloc.texte for bloc in lus["notes.pdf"].blocs) >= 1


def test_les_autres_lecteurs_se_mesurent_de_la_meme_facon(
    collection: tuple[Path, dict[str, Verite]],
):
    """La mesure n'est pas complaisante : pypdf n'ôte aucun titre courant, et coupe les mots."""
    dossier, verites = collection
    nom = "deux_courants.pdf"
    mesure = mesures.mesurer_le_texte(mesures.par_pypdf(dossier / nom), verites[nom])
    assert mesure.courants.bons == 0
    assert mesure.coupures.part < 0.5
    assert mesure.ordre.part > 0.5


def test_ce_qui_est_ote_se_garde_a_la_demande(collection: tuple[Path, dict[str, Verite]]):
    """Chaque étape du nettoyage se débranche, et le texte revient."""
    dossier, verites = collection
    garde = lire_document(dossier / "courants.pdf", ReglagesLecture(garder="entetes,cesures,notes"))
    assert "Commune de Valbrume" in garde.texte
    assert not garde.retraits
    ote = lire_document(dossier / "courants.pdf")
    assert [r.texte for r in ote.retraits if r.etape == "entetes"] == verites[
        "courants.pdf"
    ].courants


def test_une_cellule_se_repare_et_le_dit(tmp_path: Path):
    """Un mot coupé dans un tableau est dans les retraits, et se garde à la demande."""
    chemin = tmp_path / "tableau.pdf"
    toile = Canvas(str(chemin))
    for x, y in product((60, 160), (600, 640)):
        toile.rect(x, y, 100, 40)
    for y, gauche in ((660, "Service"), (620, "admi-"), (606, "nistration")):
        toile.drawString(70, y, gauche)
    toile.drawString(170, 660, "Lieu")
    toile.drawString(170, 620, "le bourg")
    toile.save()
    repare = lire_document(chemin)
    (tableau,) = repare.blocs
    assert tableau.rangees[1] == ("administration", "le bourg")
    assert [r.texte for r in repare.retraits] == ["admi-/nistration"]
    garde = lire_document(chemin, ReglagesLecture(garder="cesures"))
    assert garde.blocs[0].rangees[1] == ("admi- nistration", "le bourg")
    assert garde.retraits == []


def test_une_etape_inconnue_est_refusee():
    with pytest.raises(ErreurFabrique, match="n’est pas une étape du nettoyage"):
        ReglagesLecture(garder="accents")


# ---------------------------------------------------------------- les mots coupés


@pytest.mark.parametrize(
    ("avant", "apres", "attendu"),
    [
        ("la bonne admi-", "nistration des lavoirs", "la bonne administration des lavoirs"),
        ("prenez rendez-", "vous en mairie", "prenez rendez-vous en mairie"),
        ("adressez-", "vous au guichet", "adressez-vous au guichet"),
        ("à Saint-", "Denis", "à Saint-Denis"),
        ("la sous-", "préfecture", "la sous-préfecture"),
        ("celui-", "ci", "celui-ci"),
        ("l’après-", "midi", "l’après-midi"),
        ("un arc-en-", "ciel", "un arc-en-ciel"),
        ("elle répond rare-", "ment.", "elle répond rarement."),
        ("les bénéfi-", "ciaires", "les bénéficiaires"),
        ("l’inté\u00ad", "ressé", "l’intéressé"),
        ("du lundi au", "vendredi", "du lundi au vendredi"),
        ("de 2020-", "2021", "de 2020-2021"),
        ("il vient -", "dit-on", "il vient - dit-on"),
    ],
)
def test_un_mot_coupe_se_repare_ou_garde_son_trait(avant: str, apres: str, attendu: str):
    assert raccorder(avant, apres, Lexique()).texte == attendu


def test_le_document_lui_meme_sert_de_lexique():
    """Un mot inventé se recolle si le document l'écrit ailleurs entier, ou composé."""
    entier = Lexique.de(["le valbrumois chante"])
    compose = Lexique.de(["le val-brumois chante"])
    assert raccorder("un val-", "brumois", entier).texte == "un valbrumois"
    assert raccorder("un val-", "brumois", compose).texte == "un val-brumois"


@pytest.mark.parametrize(
    ("imprime", "mot"),
    [
        ("mat´eriel", "matériel"),
        ("cˆot´e", "côté"),
        ("boˆıtier", "boîtier"),
        ("controˆle", "contrôle"),
        ("a`", "à"),
        ("fran¸cais", "français"),
        ("`ls`", "`ls`"),
        ("côté", "côté"),
    ],
)
def test_un_accent_de_tex_reprend_sa_lettre(imprime: str, mot: str):
    assert accentuer(imprime) == mot


def police_d_images(chemin: Path, texte: bytes) -> Path:
    """Un PDF comme dvips en faisait : chaque lettre est un dessin, dont le nom ne dit pas la lettre."""
    noms = " ".join(f"/a{rang}" for rang in range(1, 100))
    dessin = b"500 0 0 0 400 700 d1 0 0 400 700 re f"
    contenu = b"BT /F 10 Tf 60 700 Td (" + texte + b") Tj 0 -14 Td (" + texte + b") Tj ET"
    objets = [
        b"<</Type/Catalog/Pages 2 0 R>>",
        b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
        b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 595 842]/Contents 4 0 R"
        b"/Resources<</Font<</F 5 0 R>>>>>>",
        b"<</Length %d>>stream\n%s\nendstream" % (len(contenu), contenu),
        b"<</Type/Font/Subtype/Type3/FontBBox[0 0 500 700]/FontMatrix[0.001 0 0 0.001 0 0]"
        b"/FirstChar 1/LastChar 99/Widths[%s]/Encoding<</Differences[1 %s]>>/CharProcs<<%s>>>>"
        % (b"500 " * 99, noms.encode(), b" ".join(b"/a%d 6 0 R" % r for r in range(1, 100))),
        b"<</Length %d>>stream\n%s\nendstream" % (len(dessin), dessin),
    ]
    ecrit, places = b"%PDF-1.4\n", []
    for rang, objet in enumerate(objets, 1):
        places.append(len(ecrit))
        ecrit += b"%d 0 obj%s endobj\n" % (rang, objet)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    fin = b"xref\n0 7\n0000000000 65535 f \n%strailer<</Size 7/Root 1 0 R>>\nstartxref\n%d\n%%%%EOF"
    chemin.write_bytes(ecrit + fin % (table, len(ecrit)))
    return chemin


def test_une_police_qui_ne_nomme_pas_ses_lettres_n_est_pas_lue_de_travers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Ni un charabia, ni « fichier abîmé » : la page se reconnaît à son image, ou le dit."""
    monkeypatch.setattr(numerisation, "langues", frozenset)  # sans tesseract
    chemin = police_d_images(tmp_path / "dvips.pdf", b"\\001\\012\\003\\004 !#$ " * 6)
    with pytest.raises(ErreurFabrique, match="page 1 : numérisée, non reconnue"):
        lire_document(chemin)


def test_un_sommaire_et_un_numero_au_milieu_du_titre_courant_partent(tmp_path: Path):
    """« Manuel V2.9 du 28 juin 2 / 18 » : le numéro de page n'est ni le premier ni le dernier nombre."""
    toile = Canvas(str(tmp_path / "manuel.pdf"))
    for page, sujet in enumerate(("lavoir", "kiosque", "héron", "marché"), 1):
        toile.drawString(72, 810, f"Manuel V2.9 du 28 juin {page} / 18")
        toile.drawString(72, 700, f"Le {sujet} de Valbrume est décrit à cette page.")
        if page == 1:
            toile.drawString(72, 650, "2.1 Le kiosque . . . . . . . . . . . . . . 12")
        toile.showPage()
    toile.save()
    document = lire_document(tmp_path / "manuel.pdf")
    assert "Manuel" not in document.texte
    assert ". . ." not in document.texte
    assert len(document.blocs) == 4
    assert {r.etape for r in document.retraits} == {"entetes", "sommaires"}


def test_un_debut_gras_et_un_numero_loin_du_bord(tmp_path: Path):
    """« Le lavoir : il est ouvert » n'est pas un titre ; un numéro au-dessus d'une grande marge part."""
    toile = Canvas(str(tmp_path / "marges.pdf"))
    for page, sujet in enumerate(("lavoir public", "kiosque à musique", "héron cendré"), 1):
        toile.setFont("Helvetica-Bold", 10)
        toile.drawString(150, 600, f"Tout sur le {sujet} du bourg :")
        toile.setFont("Helvetica", 10)
        toile.drawString(310, 600, "il se visite.")
        toile.drawString(150, 585, "La visite dure une heure, et le guide parle à voix basse.")
        toile.drawString(300, 200, str(page))
        toile.showPage()
    toile.save()
    document = lire_document(tmp_path / "marges.pdf")
    assert {bloc.genre for bloc in document.blocs} == {"paragraphe"}
    assert [r.texte for r in document.retraits] == ["1", "2", "3"]


# ---------------------------------------------------------------- les fichiers mauvais


def un_pdf(chemin: Path, textes: list[str], **options: object) -> None:
    """Un PDF d'une page par texte."""
    toile = Canvas(str(chemin), **options)
    for texte in textes:
        toile.drawString(72, 720, texte)
        toile.showPage()
    toile.save()


def un_zip(chemin: Path, membres: dict[str, bytes]) -> None:
    with zipfile.ZipFile(chemin, "w", zipfile.ZIP_DEFLATED) as archive:
        for nom, contenu in membres.items():
            archive.writestr(nom, contenu)


def une_image(texte: str, taille: int = 60) -> Image.Image:
    """Une page numérisée à 300 points par pouce."""
    image = Image.new("L", (1800, 1000), 255)
    police = ImageFont.load_default(taille)
    for rang, ligne in enumerate(texte.splitlines()):
        ImageDraw.Draw(image).text((120, 120 + 100 * rang), ligne, font=police, fill=0)
    return image


def un_scan(chemin: Path, textes: list[str], lisible: str = "") -> None:
    """Un PDF dont chaque page n'est qu'une image ; ``lisible`` en ajoute une de vrai texte."""
    toile = Canvas(str(chemin), pagesize=(432, 240))
    for texte in textes:
        toile.drawImage(ImageReader(une_image(texte)), 0, 0, 432, 240)
        toile.showPage()
    if lisible:
        toile.drawString(40, 200, lisible)
        toile.showPage()
    toile.save()


BONS = {
    "bon.pdf": "Le lavoir de Valbrume est ouvert.",
    "bon.docx": "Le kiosque de Valbrume se loue.",
    "sous/bon.txt": "Le héron de Valbrume revient au printemps.",
}
OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 512
RIRES = (  # neuf fois neuf fois neuf… : ce que l'XML appelle un milliard de rires
    '<?xml version="1.0"?><!DOCTYPE r [<!ENTITY a "ha">'
    + "".join(f'<!ENTITY {b} "{f"&{a};" * 9}">' for a, b in pairwise("abcdefghi"))
    + "]>"
)


def les_mauvais(dossier: Path) -> None:
    """Une trentaine de fichiers dont rien ne peut sortir."""
    ecrire = {
        "vide.pdf": b"",
        "bruit.pdf": bytes(range(256)) * 40,
        "page_web.pdf": b"<html><body>Introuvable</body></html>",
        "entete_seul.pdf": b"%PDF-1.7\n",
        "coupe.pdf": b"%PDF-1.4\n1 0 obj << /Type /Catalog /Pages 2 0 R",
        "sans_page.pdf": b"%PDF-1.4\n1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj\n"
        b"2 0 obj<</Type/Pages/Kids[]/Count 0>>endobj\ntrailer<</Root 1 0 R>>\n%%EOF",
        "vide.docx": b"",
        "mot_de_passe.docx": OLE + "EncryptedPackage".encode("utf-16-le"),
        "ancien.docx": OLE,
        "bruit.docx": b"PK\x03\x04" + b"\x07" * 300,
        "riche.docx": b"{\\rtf1 Bonjour}",
        "vide.odt": b"",
        "vide.html": b"",
        "blanc.html": b"  \n \n",
        "balises.html": b"<html><body><script>x</script></body></html>",
        "binaire.txt": b"a\0b\0\0c" * 50,
        "blanc.txt": b" \n\n\t\n",
        "vide.md": b"",
        "pdf_renomme.txt": b"%PDF-1.4 contenu",
        "faux.png": b"ceci n'est pas une image",
        "ancien.doc": OLE,
        "memo.rtf": b"{\\rtf1 Bonjour}",
        "tableur.xlsx": b"PK\x03\x04",
        "sans_extension": b"bonjour",
    }
    for nom, contenu in ecrire.items():
        (dossier / nom).write_bytes(contenu)
    un_pdf(dossier / "mot_de_passe.pdf", ["secret"], encrypt=StandardEncryption("ouvre", "maitre"))
    un_pdf(dossier / "blanche.pdf", [""])
    un_scan(dossier / "images_seules.pdf", ["Page numérisée"])
    un_zip(dossier / "bombe.docx", {"word/document.xml": b"0" * 80_000_000})
    un_zip(dossier / "sans_corps.docx", {"autre.xml": b"<a/>"})
    un_zip(
        dossier / "malforme.docx",
        {"word/document.xml": b"<w:document", "[Content_Types].xml": b"<"},
    )
    un_zip(
        dossier / "mot_de_passe.odt",
        {"content.xml": b"chiffre", "META-INF/manifest.xml": b"<manifest:encryption-data/>"},
    )
    un_zip(dossier / "malforme.odt", {"content.xml": b"<office:document-content"})
    un_zip(dossier / "autre.odt", {"word/document.xml": b"<w/>"})
    rires = (RIRES + ODT.split("?>", 1)[1]).format("<text:p>&i;</text:p>")
    un_zip(dossier / "rires.odt", {"content.xml": rires.encode()})
    entier = dossier / "bon.docx"
    (dossier / "tronque.docx").write_bytes(entier.read_bytes()[:-400])


def les_bons(dossier: Path) -> None:
    (dossier / "sous").mkdir(parents=True)
    un_pdf(dossier / "bon.pdf", [BONS["bon.pdf"]])
    ecrit = docx.Document()
    ecrit.add_paragraph(BONS["bon.docx"])
    ecrit.save(str(dossier / "bon.docx"))
    (dossier / "sous" / "bon.txt").write_text(BONS["sous/bon.txt"], "utf-8")


@pytest.fixture(scope="module")
def melange(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, BilanDossier]:
    """Un dossier de bons et de mauvais fichiers, lu une fois."""
    racine = tmp_path_factory.mktemp("melange")
    dossier, sortie = racine / "entree", racine / "fiches.jsonl"
    les_bons(dossier)
    les_mauvais(dossier)
    return dossier, sortie, lire_dossier(dossier, sortie, SANS_OCR)


def test_les_bons_sont_tous_la(melange: tuple[Path, Path, BilanDossier]):
    """Trente-cinq mauvais voisins n'y changent rien."""
    _, sortie, bilan = melange
    fiches = [json.loads(ligne) for ligne in sortie.read_text("utf-8").splitlines()]
    assert {f["source"]: f["texte"] for f in fiches} == BONS
    assert [b.fichier for b in bilan.lus] == sorted(BONS)
    assert not sortie.with_name("fiches.jsonl.travail").exists()


def test_chaque_mauvais_fichier_a_sa_phrase(melange: tuple[Path, Path, BilanDossier]):
    """Une phrase de français, jamais une trace ni un nom d'exception."""
    dossier, _, bilan = melange
    mauvais = {b.fichier: b for b in bilan.fichiers if b.etat != LU}
    assert len(mauvais) >= 20
    assert len(mauvais) + len(BONS) == sum(1 for f in dossier.rglob("*") if f.is_file())
    for nom, vu in mauvais.items():
        assert len(vu.phrases) == 1, nom
        assert vu.phrases[0].endswith(".")
        assert "tombé" not in vu.phrases[0], nom
        assert not any(mot in vu.phrases[0] for mot in ("Error", "Traceback", "None", "..")), nom


@pytest.mark.parametrize(
    ("nom", "etat", "dit"),
    [
        ("vide.pdf", REFUSE, "le fichier est vide"),
        ("mot_de_passe.pdf", REFUSE, "protégé par un mot de passe"),
        ("mot_de_passe.docx", REFUSE, "protégé par un mot de passe"),
        ("mot_de_passe.odt", REFUSE, "protégé par un mot de passe"),
        ("ancien.docx", REFUSE, "ancien document Word"),
        ("bombe.docx", REFUSE, "archive piégée"),
        ("page_web.pdf", REFUSE, "ce n’est pas un PDF, malgré son nom"),
        ("coupe.pdf", REFUSE, "abîmé ou incomplet"),
        ("tronque.docx", REFUSE, "abîmé ou incomplet"),
        ("images_seules.pdf", REFUSE, "aucun texte à lire : page 1 : numérisée"),
        ("blanche.pdf", REFUSE, "aucun texte à lire : page 1 : vide"),
        ("rires.odt", REFUSE, ""),
        ("ancien.doc", IGNORE, "Enregistrez-le en .docx"),
        ("tableur.xlsx", IGNORE, "le format « .xlsx » n’est pas lu"),
    ],
)
def test_la_phrase_dit_la_cause(
    melange: tuple[Path, Path, BilanDossier], nom: str, etat: str, dit: str
):
    vu = next(b for b in melange[2].fichiers if b.fichier == nom)
    assert vu.etat == etat
    assert dit in vu.phrases[0]


def test_le_compte_rendu(melange: tuple[Path, Path, BilanDossier]):
    """Au terminal, en JSON et en page : les mêmes fichiers, les mêmes phrases."""
    from fabrique.corpus.documents.bilan_documents import en_page

    _, _, bilan = melange
    texte, page = str(bilan), en_page(bilan)
    assert "bombe.docx" in texte
    assert "archive piégée" in texte
    assert texte.splitlines()[-1].startswith("3 fichiers lus sur ")
    assert "bombe.docx" in page
    assert "archive piégée" in page
    objet = bilan.en_dictionnaire()
    assert objet["fiches"] == 3
    assert len(objet["fichiers"]) == len(bilan.fichiers)


def test_un_processus_qui_tombe_n_emporte_pas_les_autres(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Un fichier qui épuise la mémoire est nommé ; ceux d'à côté sont lus."""
    les_bons(tmp_path / "entree")
    (tmp_path / "entree" / "a_lourd.txt").write_bytes(b"mot " * 40_000_000)
    monkeypatch.setattr(chantier, "tesseract_present", lambda langue: False)
    bilan = lire_dossier(
        tmp_path / "entree", tmp_path / "f.jsonl", ReglagesLecture(memoire=500, sans_ocr=True)
    )
    assert [b.fichier for b in bilan.lus] == sorted(BONS)
    (lourd,) = [b for b in bilan.fichiers if b.etat == REFUSE]
    assert lourd.fichier == "a_lourd.txt"
    assert "mémoire" in lourd.erreur or "tombé" in lourd.erreur


# ---------------------------------------------------------------- la commande


def test_la_commande_et_ses_fiches_s_indexent(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """Du dossier à l'index : les fiches se lisent telles quelles, sans alerte."""
    les_bons(tmp_path / "entree")
    sortie, page = tmp_path / "fiches.jsonl", tmp_path / "lecture.html"
    arguments = ["documents", "lire", str(tmp_path / "entree"), "--sortie", str(sortie)]
    assert principal([*arguments, "--html", str(page), "--sans_ocr", "--json"]) == 0
    objet = json.loads(capsys.readouterr().out)
    assert objet["fiches"] == 3
    assert {f["etat"] for f in objet["fichiers"]} == {LU}
    (lue,) = lire_fiches(sortie)
    assert len(lue.fiches) == 3
    assert lue.alertes == []
    assert [f.page for f in lue.fiches if f.source == "bon.pdf"] == [1]
    assert "3 fichiers lus sur 3" in page.read_text("utf-8")
    # Relancée, elle remplace ce qu'elle a signé.
    assert principal([*arguments, "--sans_ocr", "--json"]) == 0


def test_en_json_un_echec_est_un_objet(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """Dossier absent, sans document, ou dont rien ne se lit."""
    (tmp_path / "creux").mkdir()
    (tmp_path / "rate").mkdir()
    (tmp_path / "rate" / "vide.pdf").touch()
    for dossier in ("absent", "creux", "rate"):
        arguments = ["documents", "lire", str(tmp_path / dossier), "--json"]
        assert principal([*arguments, "--sortie", str(tmp_path / "f.jsonl")]) == 1
        objet = json.loads(capsys.readouterr().out)
        assert objet["code"] == 1
        assert objet["erreur"]
    assert not (tmp_path / "f.jsonl").exists()


def test_un_fichier_d_un_autre_n_est_pas_ecrase(tmp_path: Path):
    les_bons(tmp_path / "entree")
    sortie = tmp_path / "fiches.jsonl"
    sortie.write_text("à moi", "utf-8")
    with pytest.raises(ErreurFabrique, match="existe déjà"):
        lire_dossier(tmp_path / "entree", sortie, SANS_OCR)
    assert sortie.read_text("utf-8") == "à moi"


def test_sans_l_extension_une_phrase(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """pebble absent : on dit quoi installer, avant de lire."""
    les_bons(tmp_path / "entree")
    monkeypatch.setitem(sys.modules, "pebble", None)
    with pytest.raises(ErreurFabrique, match=r"pip install 'fabrique\[documents\]'"):
        lire_dossier(tmp_path / "entree", tmp_path / "f.jsonl", SANS_OCR)


#: Lit trois fichiers d'un dossier, et meurt.
MOURIR_APRES_TROIS = """
import os, signal, sys
from fabrique.corpus.documents import ReglagesLecture, chantier

lire_tout = chantier._lire_tout

def mourir(a_lire, *reste):
    lire_tout(a_lire[:3], *reste)
    os.kill(os.getpid(), signal.SIGKILL)

chantier._lire_tout = mourir
chantier.lire_dossier(*sys.argv[1:], ReglagesLecture(sans_ocr=True))
"""


def test_tuee_la_lecture_reprend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """kill -9 après trois fichiers : la suite ne relit que les autres, et tout y est."""
    entree, sortie = tmp_path / "entree", tmp_path / "fiches.jsonl"
    entree.mkdir()
    textes = [f"Le lavoir numéro {rang} est ouvert." for rang in range(8)]
    for rang, texte in enumerate(textes):
        (entree / f"{rang}.txt").write_text(texte, "utf-8")
    tuee = subprocess.run([sys.executable, "-c", MOURIR_APRES_TROIS, entree, sortie], cwd=RACINE)
    assert tuee.returncode == -signal.SIGKILL
    assert not sortie.exists()
    assert len(list((tmp_path / "fiches.jsonl.travail").iterdir())) == 3
    relus: list[str] = []
    lire_tout = chantier._lire_tout
    monkeypatch.setattr(
        chantier,
        "_lire_tout",
        lambda a_lire, *reste: (relus.extend(nom for nom, _ in a_lire), lire_tout(a_lire, *reste)),
    )
    lire_dossier(entree, sortie, SANS_OCR)
    assert relus == [f"{rang}.txt" for rang in range(3, 8)]
    fiches = [json.loads(ligne) for ligne in sortie.read_text("utf-8").splitlines()]
    assert [fiche["texte"] for fiche in fiches] == textes


# ---------------------------------------------------------------- des blocs aux fiches


def test_une_citation_a_sa_place_sur_la_page(
    tmp_path: Path, collection: tuple[Path, dict[str, Verite]]
):
    """La page et la boîte de chaque passage : le mot cité est dans le rectangle."""
    import pdfplumber

    dossier, verites = collection
    (tmp_path / "entree").mkdir()
    pdf = tmp_path / "entree" / "deux_courants.pdf"
    pdf.write_bytes((dossier / pdf.name).read_bytes())
    sortie = tmp_path / "f.jsonl"
    lire_dossier(tmp_path / "entree", sortie, SANS_OCR)
    citation = verites[pdf.name].paragraphes[-1]
    fiche = next(
        objet
        for objet in map(json.loads, sortie.read_text("utf-8").splitlines())
        if citation in objet["texte"]
    )
    lieux = situer(sortie, fiche["id"], citation)
    with pdfplumber.open(pdf) as ouvert:
        page = ouvert.pages[lieux[-1].page - 1]
        lu = " ".join(
            page.crop((lieu.x0 - 1, lieu.haut - 1, lieu.x1 + 1, lieu.bas + 1)).extract_text()
            for lieu in lieux
            if lieu.page == page.page_number
        )
    assert citation.split()[-1] in lu
    assert fiche["page"] in {lieu.page for lieu in lieux}
    with pytest.raises(ErreurFabrique, match="ne contient pas cette citation"):
        situer(sortie, fiche["id"], "une phrase que personne n’a écrite")


def test_une_fiche_ne_traverse_pas_deux_pages(lus: dict[str, Document]):
    """La page d'une fiche est celle de ses blocs ; rien ne se perd en route."""
    document = lus["long_document.pdf"]
    fiches = list(en_fiches(document))
    assert len({fiche.id for fiche in fiches}) == len(fiches)
    assert {fiche.page for fiche in fiches} == set(range(1, len(document.pages) + 1))
    ecrit = "\n".join(fiche.texte + fiche.rubrique + fiche.titre for fiche in fiches)
    assert all(bloc.texte in ecrit for bloc in document.blocs)


def test_un_tableau_repete_son_en_tete(lus: dict[str, Document]):
    """Une rangée citée seule dit encore ce que sont ses colonnes ; trois pages font un tableau."""
    (tableau,) = [b for b in lus["long_tableau.pdf"].blocs if b.genre == TABLEAU]
    assert len(tableau.rangees) == 46
    assert tableau.texte.splitlines()[-1].startswith("Voie : Rue n° 45 ; Description : ")
    assert [lieu.page for lieu in tableau.lieux] == [1, 2, 3]


def test_les_listes_et_les_insertions_d_un_docx(lus: dict[str, Document]):
    """Un texte ajouté en suivi des modifications compte ; une puce est un élément de liste."""
    document = lus["rapport.docx"]
    assert sum(bloc.genre == LISTE for bloc in document.blocs) == 15
    assert [bloc.niveau for bloc in document.blocs if bloc.genre == TITRE] == [1, 1, 2, 1, 2]


def test_ce_qu_un_docx_range_a_part(tmp_path: Path):
    """Un champ à remplir et un passage déplacé se lisent une fois ; en-tête et sommaire partent, et se gardent."""
    ecrit = docx.Document()
    ecrit.add_paragraph("Le lavoir", style=ecrit.styles.add_style("toc 1", WD_STYLE_TYPE.PARAGRAPH))
    ecrit.add_heading("Le lavoir", 1)
    demande = ecrit.add_paragraph("Demandé par la confrérie.")._p
    champ = demande.makeelement(qn("w:sdt"), {})
    demande.addprevious(champ)
    champ.append(champ.makeelement(qn("w:sdtContent"), {}))
    champ[0].append(demande)
    deplace = ecrit.add_paragraph("Il ouvre à l’aube.")._p
    origine = deplace.makeelement(qn("w:moveFrom"), {})
    origine.append(ecrit.add_paragraph("Il ouvre à l’aube.").runs[0]._r)
    deplace.append(origine)
    entete = ecrit.sections[0].header.add_table(1, 1, docx.shared.Inches(2))
    entete.cell(0, 0).text = "Commune de Valbrume"
    ecrit.save(str(tmp_path / "demande.docx"))
    document = lire_document(tmp_path / "demande.docx")
    lus = [bloc.texte for bloc in document.blocs]
    assert lus == ["Le lavoir", "Demandé par la confrérie.", "Il ouvre à l’aube."]
    otes = [(retrait.etape, retrait.texte) for retrait in document.retraits]
    assert otes == [("sommaires", "Le lavoir"), ("entetes", "Commune de Valbrume")]
    garde = lire_document(tmp_path / "demande.docx", ReglagesLecture(garder="entetes,sommaires"))
    assert [bloc.texte for bloc in garde.blocs] == ["Commune de Valbrume", "Le lavoir", *lus]
    assert garde.retraits == []


def test_les_notes_d_un_docx_ont_deux_numerotations():
    """La note de bas de page 2 et la note de fin 2 ne se confondent pas."""
    espace = 'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"'
    notes = [
        SimpleNamespace(
            is_external=False,
            reltype=f"relationships/{genre}s",
            target_part=SimpleNamespace(
                blob=f'<w:{genre}s {espace}><w:{genre} w:id="2"><w:p><w:r><w:t>{genre}</w:t></w:r></w:p>'
                f"</w:{genre}></w:{genre}s>".encode()
            ),
        )
        for genre in ("footnote", "endnote")
    ]
    ouvert = SimpleNamespace(part=SimpleNamespace(rels=dict(enumerate(notes))))
    assert bureautique._notes_docx(ouvert) == {
        (qn("w:footnote"), "2"): "footnote",
        (qn("w:endnote"), "2"): "endnote",
    }


def test_le_sommaire_d_un_odt_est_dit_et_se_garde(tmp_path: Path):
    sommaire = (
        "<text:table-of-content><text:index-body><text:p>Le lavoir 3</text:p></text:index-body>"
        "</text:table-of-content>"
    )
    contenu = ODT.format(f"{sommaire}<text:p>Le lavoir est ouvert.</text:p>")
    un_zip(tmp_path / "guide.odt", {"content.xml": contenu.encode()})
    document = lire_document(tmp_path / "guide.odt")
    assert document.texte == "Le lavoir est ouvert."
    assert [(r.etape, r.texte) for r in document.retraits] == [("sommaires", "Le lavoir 3")]
    garde = lire_document(tmp_path / "guide.odt", ReglagesLecture(garder="sommaires"))
    assert [bloc.texte for bloc in garde.blocs] == ["Le lavoir 3", "Le lavoir est ouvert."]


def test_les_donnees_personnelles_sont_comptees(tmp_path: Path):
    """Un téléphone et un courriel inventés sont dits, sans être montrés."""
    (tmp_path / "entree").mkdir()
    (tmp_path / "entree" / "note.txt").write_text(
        "Écrivez à jeanne@valbrume.net ou appelez le 06 39 98 12 34.", "utf-8"
    )
    bilan = lire_dossier(tmp_path / "entree", tmp_path / "f.jsonl", SANS_OCR)
    (vu,) = bilan.fichiers
    assert vu.personnelles == {"personnel.courriel": 1, "personnel.telephone": 1}
    assert "données personnelles à vérifier : courriel 1, telephone 1." in vu.phrases
    assert "jeanne" not in json.dumps(bilan.en_dictionnaire())


def test_deux_mille_pages(tmp_path: Path):
    """Un très long document est lu en entier, et dit."""
    chemin = tmp_path / "long.pdf"
    un_pdf(chemin, [f"La page {n} parle du lavoir." for n in range(2000)])
    document = lire_document(chemin)
    assert len(document.pages) == 2000
    assert document.blocs[-1].page == 2000
    assert document.alertes[0].startswith("2\u202f000 pages")


# ---------------------------------------------------------------- les pages numérisées


@avec_tesseract
def test_une_page_numerisee_est_reconnue(tmp_path: Path):
    """Ses mots, sa confiance ; la page de texte, elle, n'a pas de confiance."""
    chemin = tmp_path / "scan.pdf"
    un_scan(chemin, ["Le lavoir municipal\nest ouvert le lundi."], "Une page de vrai texte.")
    document = lire_document(chemin)
    assert "lavoir municipal" in document.texte
    assert "Une page de vrai texte." in document.texte
    scan, texte = document.pages
    assert scan.confiance is not None
    assert 0.5 < scan.confiance <= 1
    assert texte.confiance is None
    assert document.blocs[0].lieux[0].x1 <= scan.largeur


@pytest.mark.parametrize("tour", [0, 90, 180, 270])
def test_une_page_numerisee_de_travers_est_redressee(monkeypatch: pytest.MonkeyPatch, tour: int):
    """Des mots plus hauts que larges, ou une confiance basse, font essayer les autres sens."""

    def lire(image: Image.Image, *_: object) -> numerisation.Reconnaissance:
        droite, couchee = image.getpixel((0, 0)) == (255, 0, 0), image.height > image.width
        large, haut = (9, 40) if couchee else (40, 9)  # ce que tesseract rend d'un mot couché
        mot = Mot("lavoir", 5, 5, 5 + large, 5 + haut, 9)
        return numerisation.Reconnaissance(0.95 if droite or couchee else 0.3, (mot,))

    monkeypatch.setattr(numerisation, "reconnaitre_image", lire)
    page = Image.new("RGB", (60, 30))
    page.putpixel((0, 0), (255, 0, 0))  # ce qui dit que la page est droite
    de_travers = page.rotate(-tour, expand=True)
    lue, redressee = numerisation.reconnaitre_a_l_endroit(de_travers, ReglagesLecture(), 1.0)
    assert (redressee, lue.confiance) == (tour, 0.95)


@avec_tesseract
@pytest.mark.parametrize("tour", [90, 180, 270])
def test_une_image_de_travers_se_lit(tmp_path: Path, tour: int):
    une_image("Le lavoir municipal\nest ouvert le lundi.").rotate(tour, expand=True).save(
        tmp_path / "scan.png", dpi=(300, 300)
    )
    document = lire_document(tmp_path / "scan.png")
    assert "lavoir municipal" in document.texte
    assert document.alertes == [f"page 1 : numérisée de travers, redressée de {360 - tour}°"]


@avec_tesseract
def test_une_confiance_basse_est_signalee(tmp_path: Path):
    un_scan(tmp_path / "scan.pdf", ["Le lavoir municipal"])
    document = lire_document(tmp_path / "scan.pdf", ReglagesLecture(confiance=0.9999))
    assert document.alertes == ["page 1 : confiance sous 100\u00a0%, à relire"]


def test_sans_tesseract_les_autres_pages_sont_lues(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Les pages numérisées sont nommées, avec de quoi l'installer."""
    monkeypatch.setattr(numerisation, "langues", frozenset)
    un_scan(tmp_path / "scan.pdf", ["Une image", "Une autre"], "Une page de vrai texte.")
    document = lire_document(tmp_path / "scan.pdf")
    assert document.texte == "Une page de vrai texte."
    (alerte,) = document.alertes
    assert alerte.startswith("pages 1 à 2 : numérisée")
    assert "apt install tesseract-ocr tesseract-ocr-fra" in alerte
