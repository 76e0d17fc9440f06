"""La page sans code, hors du navigateur : l'espace, la file, ce que chaque bouton demande."""

from __future__ import annotations

import ast
import html
import importlib
import json
import os
import re
import sys
import time
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import pytest
import typer
from fastapi.testclient import TestClient

from fabrique.corpus.constats import Constat
from fabrique.corpus.controle import controler
from fabrique.corpus.retouches import proposer, retoucher, trouver_exemple
from fabrique.entrainement import Reglages
from fabrique.evaluation.rapport import compagnons
from fabrique.ligne_de_commande import application, principal
from fabrique.machine.profil import POCHE, T4
from fabrique.recettes.sans_code import (
    emporter,
    l_apprentissage,
    la_preuve,
    les_reponses,
    ouverture_page,
    vos_documents,
    vos_exemples,
)
from fabrique.recettes.sans_code.accueil import Accueil, Demande
from fabrique.recettes.sans_code.composants import Code, en_phrase, en_phrases
from fabrique.recettes.sans_code.espace import Espace, choisi, nettoyer
from fabrique.recettes.sans_code.ouverture_page import preparer
from fabrique.recettes.sans_code.reglages_page import ReglagesPage
from fabrique.recettes.sans_code.relecture import corriger, ecrire_les_relues, perimees, relire
from fabrique.recettes.sans_code.service_d_ici import ServiceDIci
from fabrique.service import taches as module_taches
from fabrique.service.reglages_service import Cle
from fabrique.service.taches import ANNULE, AVANCE, MANQUE, PAUSE, REUSSI
from fabrique.socle.erreurs import ErreurFabrique


@pytest.fixture
def espace(tmp_path: Path) -> Espace:
    return Espace(tmp_path / "espace")


@pytest.fixture
def accueil(espace: Espace) -> Accueil:
    return Accueil(espace)


def attendre(vrai: Callable[[], object], secondes: float = 60) -> None:
    """Attend qu'une chose devienne vraie."""
    fin = time.monotonic() + secondes
    while not vrai():
        assert time.monotonic() < fin, "rien n’est venu"
        time.sleep(0.02)


# ---------------------------------------------------------------- l'espace


def test_un_depot_n_en_remplace_jamais_un_autre(espace: Espace, tmp_path: Path):
    notes = tmp_path / "Note n°1 : été.TXT"
    for contenu in ("un", "deux"):
        notes.write_text(contenu, "utf-8")
        espace.deposer([str(notes)], "documents")
    assert {f.name: f.read_text("utf-8") for f in espace.a_lire()} == {
        "Note n-1 - été.txt": "un",
        "Note n-1 - été-2.txt": "deux",
    }


def test_un_depot_que_le_disque_coupe_ne_laisse_rien(espace: Espace, tmp_path: Path, monkeypatch):
    def couper(_: Path, vers: Path) -> None:
        vers.write_text("enta", "utf-8")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("fabrique.recettes.sans_code.espace.shutil.copyfile", couper)
    with pytest.raises(OSError, match="space"):
        espace.deposer([str(tmp_path / "a.txt")], "documents")
    assert list((espace.racine / "documents").iterdir()) == []


@pytest.mark.parametrize(
    ("nom", "propre"),
    [("../../etc/passwd", "etc-passwd"), ("a" * 200, "a" * 80), ("…", "sans-nom")],
)
def test_un_nom_ne_sort_pas_de_son_dossier(nom: str, propre: str):
    assert nettoyer(nom) == propre


def test_les_choix_se_retrouvent_et_un_journal_abime_se_relit(espace: Espace):
    espace.retenir("allure", "Essai")
    espace.retenir("nom", "mon-modele")
    espace.noter("reponses", {"question": "Où ?"})
    with (espace.racine / "reponses.jsonl").open("a", encoding="utf-8") as journal:
        journal.write('{"question": "coup')
    espace.noter("reponses", {"question": "Quand ?"})
    relu = Espace(espace.racine)
    assert relu.choix() == {"allure": "Essai", "nom": "mon-modele"}
    assert [lu["question"] for lu in relu.relire("reponses")] == ["Où ?", "Quand ?"]


def test_ce_qui_n_est_plus_la_ne_se_choisit_pas():
    assert choisi({"a": "1"}, "a", "corpus") == "1"
    with pytest.raises(ErreurFabrique, match="aucun corpus"):
        choisi({"a": "1"}, "b", "corpus")


# ---------------------------------------------------------------- relire des fiches


def ecrire_les_fiches(espace: Espace, **textes: str) -> None:
    espace.fiches.parent.mkdir(parents=True, exist_ok=True)
    fiches = [
        {"id": nom, "titre": nom, "texte": texte, "source": "a.pdf", "page": 1, "rubrique": ""}
        for nom, texte in textes.items()
    ]
    espace.fiches.write_text("".join(json.dumps(f) + "\n" for f in fiches), "utf-8")


def test_une_correction_survit_a_une_nouvelle_lecture_tant_que_le_document_n_a_pas_change(espace):
    ecrire_les_fiches(espace, un="Le guichet ouvre a 9 h.", deux="Le guichet ferme à 17 h.")
    corriger(espace, "un", "Horaires", "Le guichet ouvre à 9 h.")
    corriger(espace, "deux", "Horaires", "Le guichet ferme à dix-sept heures.")
    ecrire_les_fiches(espace, un="Le guichet ouvre a 9 h.", deux="Le guichet ferme à 18 h.")
    assert [fiche["texte"] for fiche in relire(espace)] == [
        "Le guichet ouvre à 9 h.",
        "Le guichet ferme à 18 h.",
    ]
    assert perimees(espace) == ["deux"]
    ecrire_les_relues(espace)
    [un, _] = espace.fiches_relues.read_text("utf-8").splitlines()
    assert json.loads(un)["titre"] == "Horaires"
    assert "a 9 h" in espace.fiches.read_text("utf-8"), "la lecture d’origine reste"


def test_une_fiche_vide_ou_absente_ne_se_corrige_pas(espace: Espace):
    with pytest.raises(ErreurFabrique, match="aucune fiche à citer"):
        ecrire_les_relues(espace)
    ecrire_les_fiches(espace, un="Texte.")
    for identifiant, texte in (("un", " \n"), ("deux", "Texte.")):
        with pytest.raises(ErreurFabrique):
            corriger(espace, identifiant, "Titre", texte)
    assert relire(espace)[0]["texte"] == "Texte."


# ---------------------------------------------------------------- retoucher des exemples


@pytest.fixture
def exemples(tmp_path: Path) -> Path:
    """Un corpus où chaque sorte de suggestion a son exemple."""
    lignes = [
        {
            "instruction": "Où écrire ?",
            "output": "À camille.durand@ville-de-nullepart.fr.",
            "bureau": "B12",
        },
        {"instruction": "Quand ?", "output": "DÃ¨s demain, Ã  midi, câ€™est promis."},
        {"instruction": "Combien ?", "output": "Dix euros par mois."},
        {"instruction": "Combien ?", "output": "Dix euros par mois."},
    ]
    fichier = tmp_path / "exemples.jsonl"
    texte = "".join(json.dumps(ligne, ensure_ascii=False) + "\n" for ligne in lignes)
    fichier.write_text(texte, "utf-8")
    return fichier


def test_chaque_constat_suggere_sa_correction(exemples: Path):
    constats = {c.regle: c for c in controler(exemples).constats if c.rang}
    propositions = {
        regle: proposer(trouver_exemple(exemples, constat.rang or 0), constat)
        for regle, constat in constats.items()
    }
    courriel = propositions["personnel.courriel"]
    assert courriel == {
        "instruction": "Où écrire ?",
        "input": "",
        "output": "À [COURRIEL_1].",
        "bureau": "B12",
    }
    assert propositions["encodage.mojibake"]["output"] == "Dès demain, à midi, c’est promis."
    assert propositions["doublon.exact"] is None
    autre = Constat("texte.langue", "alerte", 3, 3, "output", "", "")
    troisieme = trouver_exemple(exemples, 3)
    assert proposer(troisieme, autre) == troisieme.contenu


def test_retoucher_ne_touche_que_ce_qui_est_decide(exemples: Path, tmp_path: Path):
    sortie = tmp_path / "corrige.jsonl"
    avant = exemples.read_bytes()
    fait = retoucher(exemples, sortie, {1: {"instruction": "Où ?", "output": "Ici."}, 4: None})
    assert (fait.ecrits, fait.changes, fait.retires) == (3, 1, 1)
    ecrits = [json.loads(ligne) for ligne in sortie.read_text("utf-8").splitlines()]
    assert [e["instruction"] for e in ecrits] == ["Où ?", "Quand ?", "Combien ?"]
    assert exemples.read_bytes() == avant
    with pytest.raises(ErreurFabrique, match="l’entrée"):
        retoucher(exemples, exemples, {})


#: Un champ qu'on refuse : rien n'est lu du reste.
PESE = '{"instruction": "Où ?", "output": "Ici.", "weight": 0}'


@pytest.mark.parametrize("abime", ['{"instruction": "coupé', '["une liste"]', PESE])
def test_un_exemple_qu_on_ne_sait_pas_lire_ne_se_perd_pas(exemples: Path, tmp_path: Path, abime):
    """Ni écrit vide, ni laissé de côté sans le dire : la personne le retire, ou l'écriture refuse."""
    with exemples.open("a", encoding="utf-8") as flux:
        flux.write(abime + "\n")
    sortie = tmp_path / "corrige.jsonl"
    with pytest.raises(ErreurFabrique):
        retoucher(exemples, sortie, {4: None})
    assert not sortie.exists()
    assert retoucher(exemples, sortie, {4: None, 5: None}).ecrits == 3


# ---------------------------------------------------------------- la file


@pytest.fixture
def fausse_commande(monkeypatch, tmp_path: Path) -> None:
    """Remplace « python -m fabrique » : « attendre F » attend F ; SIGTERM la fait s'arrêter proprement."""
    programme = tmp_path / "faux.py"
    programme.write_text(
        "import json, pathlib, signal, sys, time\n"
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit('apprentissage interrompu au pas 3.'))\n"
        "quoi, fichier, *reste = sys.argv[1:]\n"
        "fichier = pathlib.Path(fichier)\n"
        "fichier.with_suffix('.la').touch()\n"
        "while quoi == 'attendre' and not fichier.exists(): time.sleep(0.01)\n"
        "if quoi == 'refuser': print(json.dumps({'erreur': 'disque plein', 'remede': 'Videz-le'}))\n"
        "if quoi == 'rendre': print(json.dumps({'fichiers': []}))\n"
        "sys.exit(quoi == 'refuser')\n",
        "utf-8",
    )
    enveloppe = tmp_path / "python"
    enveloppe.write_text(f'#!/bin/sh\nshift 2\nexec "{sys.executable}" "{programme}" "$@"\n')
    enveloppe.chmod(0o755)
    monkeypatch.setattr(module_taches.sys, "executable", str(enveloppe))


sans_shell = pytest.mark.skipif(os.name == "nt", reason="le faux programme est un script du shell")


@sans_shell
@pytest.mark.usefixtures("fausse_commande")
def test_une_tache_se_met_en_pause_se_reprend_et_finit(accueil: Accueil, tmp_path: Path):
    accueil.file.demarrer()
    fin = tmp_path / "fin"
    tache = accueil.demander("essai", "Essai", ["attendre", str(fin)], fin)
    with pytest.raises(ErreurFabrique, match="déjà demandé"):
        accueil.demander("essai", "Essai", ["attendre", str(fin)], fin)
    suivante = accueil.demander("essai", "Suite", ["rendre", str(tmp_path / "b"), "--json"])
    attendre(lambda: fin.with_suffix(".la").exists())
    assert accueil.en_cours() is tache
    assert "Suite" in accueil.bandeau()
    accueil.suspendre()
    attendre(lambda: suivante.etat == REUSSI)
    assert (tache.etat, tache.erreur) == (PAUSE, None)
    assert accueil.a_reprendre() is tache
    accueil.reprendre()
    attendre(lambda: tache.etat == AVANCE)
    fin.touch()
    attendre(lambda: tache.etat == REUSSI)
    assert [dit for _, _, dit in tache.dits if "reprend" in dit]
    accueil.file.fermer()
    relus = Accueil(accueil.espace)
    assert [t.etat for t in relus.file.tous()] == [REUSSI, REUSSI]


@sans_shell
@pytest.mark.usefixtures("fausse_commande")
def test_une_page_fermee_en_plein_travail_le_reprend_a_l_ouverture(
    accueil: Accueil, tmp_path: Path
):
    accueil.file.demarrer()
    fin = tmp_path / "fin"
    tache = accueil.demander("essai", "Essai", ["attendre", str(fin)], fin)
    attendre(lambda: fin.with_suffix(".la").exists())
    accueil.file.fermer()
    assert tache.etat == AVANCE
    suivant = Accueil(accueil.espace)
    suivant.file.demarrer()
    [reprise] = suivant.file.tous()
    fin.touch()
    attendre(lambda: reprise.etat == REUSSI)
    suivant.file.fermer()


@sans_shell
@pytest.mark.usefixtures("fausse_commande")
def test_la_page_mene_ses_taches_tant_qu_elle_est_ouverte(accueil: Accueil, tmp_path: Path):
    fin = tmp_path / "fin"
    with client(accueil):
        tache = accueil.demander("essai", "Essai", ["attendre", str(fin)], fin)
        attendre(lambda: fin.with_suffix(".la").exists())
    attendre(lambda: accueil.file._en_cours(tache) is None)
    assert tache.etat == AVANCE, "elle se reprendra"


@sans_shell
@pytest.mark.usefixtures("fausse_commande")
def test_ce_qui_manque_dit_pourquoi_et_se_redemande(accueil: Accueil, tmp_path: Path):
    accueil.file.demarrer()
    manquee = accueil.demander("essai", "Essai", ["refuser", str(tmp_path / "a"), "--json"])
    attendre(lambda: manquee.etat == MANQUE)
    assert manquee.erreur == "disque plein. Videz-le."
    assert "disque plein" in accueil.bandeau()
    assert accueil.resultat("essai") == {}
    attente = accueil.demander("essai", "Essai", ["attendre", str(tmp_path / "b")], tmp_path / "b")
    attendre(lambda: (tmp_path / "b.la").exists())
    accueil.arreter()
    assert attente.etat == ANNULE
    assert accueil.a_reprendre() is attente
    accueil.file.fermer()


def test_un_grand_modele_ne_se_charge_pas_a_cote_d_un_calcul(accueil: Accueil, monkeypatch):
    accueil.verifier_la_memoire(T4.modele)
    calcul = Demande(id="1", cree=1, genre="essai", titre="Essai", mots=[])
    monkeypatch.setattr(accueil, "en_cours", lambda: calcul)
    accueil.verifier_la_memoire(POCHE.modele)
    with pytest.raises(ErreurFabrique, match="tiendrait pas"):
        accueil.verifier_la_memoire(T4.modele)


def test_une_phrase_remplace_toute_erreur(monkeypatch):
    """Ni trace ni « Error » : la page reste telle quelle, et dit ce qu'il faut faire."""
    from fabrique.recettes.sans_code import composants

    dites = []
    monkeypatch.setattr(composants.gr, "Warning", lambda phrase, **_: dites.append(phrase))

    def refuser() -> None:
        raise ErreurFabrique("<b> manque", "Ajoutez-le")

    def plein() -> None:
        raise OSError(28, "No space left on device")

    def imprevu() -> None:
        raise RuntimeError("CUDA")

    for geste in (refuser, plein, imprevu):
        en_phrase(geste)()
    assert dites[0] == html.escape("<b> manque. Ajoutez-le.")
    assert dites[1].startswith("Le disque ou le système refuse")
    assert "il n’y a plus de place" in dites[1]
    assert dites[2].startswith("Erreur imprévue (CUDA)")
    assert en_phrases("<script>") == '<div role="status"><p>&lt;script&gt;</p></div>'


# ---------------------------------------------------------------- ce que les boutons demandent


def test_le_depot_range_chaque_format_et_nomme_ce_qu_il_ne_prend_pas(accueil, tmp_path):
    fichiers = [tmp_path / nom for nom in ("a.pdf", "b.csv", "c.exe")]
    for fichier in fichiers:
        fichier.write_bytes(b"x")
    dit = vos_documents.deposer(accueil, [str(f) for f in fichiers])
    assert [f.name for f in accueil.espace.a_lire()] == ["a.pdf"]
    assert "b.csv" in accueil.espace.corpus()
    assert "c.exe" in dit


def test_une_lecture_sans_document_se_refuse(accueil: Accueil):
    with pytest.raises(ErreurFabrique, match="aucun document"):
        vos_documents.lire_les_documents(accueil)
    assert accueil.file.tous() == []


@pytest.mark.parametrize("profil", [POCHE, T4], ids=lambda profil: profil.nom)
@pytest.mark.parametrize("allure", list(l_apprentissage.ALLURES))
def test_les_options_disent_tous_les_reglages(monkeypatch, tmp_path, allure, profil):
    """Ce que la page lance est ce que son code Python montre."""
    import fabrique.recettes.affinage as affinage

    recus = []
    monkeypatch.setattr(affinage, "affiner", lambda *donnes: recus.append(donnes))
    reglages = l_apprentissage.regler(profil, allure, "0,002", "", "6", "128", "", "7")
    assert (reglages.learning_rate, reglages.batch_size, reglages.graine) == (0.002, 6, 7)
    mots = l_apprentissage.mots(profil, "questions", tmp_path / "m", reglages)
    assert principal(mots) == 0
    [(modele, corpus, sortie, lus, *_, suivre)] = recus
    assert (modele, corpus, sortie) == (profil.modele, "questions", tmp_path / "m")
    assert lus == reglages
    assert suivre is True


@pytest.mark.parametrize("saisi", ["beaucoup", "-1", "nan"])
def test_un_reglage_d_expert_qui_ne_convient_pas_se_dit(saisi: str):
    with pytest.raises(ErreurFabrique, match="Taux d’apprentissage"):
        l_apprentissage.regler(POCHE, "Essai", saisi)


def codes(espace: Espace) -> list[Code]:
    """Ce que « Voir le code » montre, à chaque étape."""
    affine = espace.dossier("modeles/essai")
    (affine / "rapport.json").write_text("{}", "utf-8")
    combien = len(l_apprentissage.EXPERTS)
    livre = next(iter(espace.corpus()))
    return [
        Code(vos_documents.PYTHON, vos_documents.mots(espace)),
        vos_exemples._code(espace, livre),
        l_apprentissage._code(espace, POCHE, livre, "Appuyée", "essai", *[""] * combien),
        la_preuve._code(espace, POCHE.modele, "essai", livre, 40),
        les_reponses._code(espace, POCHE.modele, "essai", "Où voter ?", 0.15),
        les_reponses._code(espace, POCHE.modele, les_reponses.SEULE, "", 1.0),
        emporter._code(espace, POCHE.modele, "essai", next(iter(emporter.TYPES))),
    ]


def test_le_code_montre_se_lit_et_n_appelle_que_ce_qui_existe(espace: Espace):
    for code in codes(espace):
        arbre = ast.parse(code.python)
        for noeud in ast.walk(arbre):
            if isinstance(noeud, ast.ImportFrom):
                module = importlib.import_module(noeud.module or "")
                assert all(hasattr(module, alias.name) for alias in noeud.names), code.python
            elif isinstance(noeud, ast.Attribute) and ast.unparse(noeud.value) == "fabrique":
                assert hasattr(importlib.import_module("fabrique"), noeud.attr), code.python


def test_les_commandes_montrees_sont_celles_du_terminal(espace: Espace):
    """Chaque commande se lit avec les options de « fabrique »."""
    racine = typer.main.get_command(application)
    for code in codes(espace):
        commande, mots = racine, list(code.mots)
        while hasattr(commande, "commands"):
            commande = commande.commands[mots.pop(0)]
        commande.make_context("fabrique", mots)


def test_la_commande_se_montre_depuis_le_dossier_de_la_page(accueil: Accueil):
    mots = vos_documents.mots(accueil.espace)
    assert accueil.en_commande(mots) == (
        "fabrique documents lire documents --sortie fiches/fiches.jsonl "
        "--html fiches/compte_rendu.html --json"
    )


# ---------------------------------------------------------------- corriger, lire à l'aveugle


def fait(accueil: Accueil, demande: Demande, rendu: dict | None = None) -> None:
    """Inscrit une tâche réussie, comme si elle avait été menée."""
    dossier = accueil.file.dossier(demande)
    dossier.mkdir(parents=True)
    demande.etat = REUSSI
    if rendu is not None:
        (dossier / "resultat.json").write_text(json.dumps(rendu), "utf-8")
    accueil.file._connus[demande.id] = demande


def test_du_controle_au_fichier_corrige(accueil: Accueil, exemples: Path):
    [copie] = accueil.espace.deposer([str(exemples)], "exemples")
    accueil.espace.retenir("corpus", copie.name)
    rendu = controler(copie).en_dictionnaire()
    mots = ["corpus", "controler", str(copie), "--json"]
    controle = Demande(id="1", cree=1, genre="controle", titre="", mots=mots)
    fait(accueil, controle, rendu)
    constats = vos_exemples._constats(rendu)
    courriel = next(montre for montre in constats if "personnel.courriel" in montre)
    avant, apres = vos_exemples._comparer(accueil, courriel)
    assert "camille.durand@ville-de-nullepart.fr" in avant
    assert "camille.durand@ville-de-nullepart.fr" not in apres
    vos_exemples._prendre(accueil, courriel, apres)
    double = next(montre for montre in constats if "doublon.exact" in montre)
    dit = vos_exemples._retirer(accueil, double)
    assert "1 exemple à récrire, 1 à retirer" in dit
    for faux in ("{", "[1]", " "):
        with pytest.raises(ErreurFabrique):
            vos_exemples._prendre(accueil, courriel, faux)
    dit, _ = vos_exemples._ecrire(accueil)
    corrige = accueil.espace.racine / "exemples" / "exemples-corrige.jsonl"
    assert "3 exemples, dont 1 corrigé, et 1 retiré" in dit
    assert "camille.durand@ville-de-nullepart.fr" not in corrige.read_text("utf-8")
    assert copie.read_bytes() == exemples.read_bytes()


def test_la_lecture_a_l_aveugle_se_garde_et_conclut(accueil: Accueil):
    page = accueil.espace.libre("preuves", "essai", ".html")
    evaluations = [
        {
            "nom": nom,
            "exemples": [
                {"question": f"Question {rang} ?", "reponse": f"{nom} {rang}"} for rang in range(8)
            ],
            "releves": {},
            "temoins": {},
            "ensemble": {},
            "secondes": 0.0,
            "memoire": 0,
            "disque": 0,
            "reglages": {},
        }
        for nom in ("base", "affiné")
    ]
    resultat = {"mesures": [], "evaluations": evaluations}
    compagnons(page)[0].write_text(json.dumps(resultat), "utf-8")
    mots = ["evaluer", "--rapport", str(page)]
    fait(accueil, Demande(id="1", cree=1, genre="preuve", titre="Preuve", mots=mots))
    with pytest.raises(ErreurFabrique, match="nom"):
        la_preuve._lecture(accueil, " ")
    lecture = la_preuve._lecture(accueil, "Camille")
    while vue := lecture.courante:
        gauche_est_affine = vue.reponses[0].startswith("affiné")
        montres = la_preuve._noter(accueil, "1" if gauche_est_affine else "2")("Camille")
        lecture = la_preuve._lecture(accueil, "Camille")
    assert "Tout est lu" in montres[0]
    assert "8 sur 8" in montres[-1]
    assert "cela suffit pour parler" in montres[-1]
    votes = [json.loads(v) for v in accueil.espace.votes.read_text("utf-8").splitlines()]
    assert all(v["chosen"][0]["content"].startswith("affiné") for v in votes)


def test_une_notice_incomplete_se_refuse(accueil: Accueil):
    affine = accueil.espace.dossier("modeles/essai")
    for nom in ("rapport.json", "README.md", "adapter_config.json"):
        (affine / nom).write_text("{}", "utf-8")
    with pytest.raises(ErreurFabrique, match="Ce qu’il ne faut pas lui demander"):
        emporter._noter(accueil.espace, "essai", "Répondre", " ", "Nous")
    _, tableau = emporter._noter(accueil.espace, "essai", "Répondre", "La médecine", "Nous")
    notice = (accueil.espace.racine / "notices" / "essai.md").read_text("utf-8")
    assert "La médecine" in notice
    assert all(nom in tableau for nom in ("essai.md", "adapter_config.json"))


def test_le_service_d_ici_dit_pourquoi_il_s_est_arrete(tmp_path: Path):
    service = ServiceDIci(tmp_path)
    assert service.phrase() == "Aucun service ne tourne."
    service.lancer("falcon-poche", str(tmp_path / "absent"), None)
    attendre(lambda: "Aucun service" in service.phrase(), 120)
    assert "absent" in service.phrase()


# ---------------------------------------------------------------- la porte


def client(accueil: Accueil, cle: str = "", hote: str = "127.0.0.1") -> TestClient:
    reglages = ReglagesPage(hote=hote, fichier_max=1)
    return TestClient(preparer(accueil, reglages, Cle(cle)), base_url="http://127.0.0.1:7860")


def test_la_page_est_en_francais_et_ne_charge_rien_d_ailleurs(accueil: Accueil):
    reponse = client(accueil).get("/")
    assert reponse.status_code == 200
    assert "default-src 'self'" in reponse.headers["content-security-policy"]
    assert '"analytics_enabled":false' in reponse.text
    assert re.search(r'lang="fr"', reponse.text)
    balises = re.findall(
        r"<(?:script|link|img|iframe)[^>]+(?:src|href)=\"(https?:[^\"]+)", reponse.text
    )
    assert [adresse for adresse in balises if not adresse.startswith("http://127.0.0.1")] == []


def test_une_page_d_ailleurs_ne_se_fait_pas_passer_pour_d_ici(accueil: Accueil):
    """Un nom de domaine qui mène à cette machine (« DNS rebinding ») n'ouvre rien."""
    refus = client(accueil).get("/", headers={"host": "mechant.example:7860"})
    assert refus.status_code == 403


def test_le_mot_de_passe_ferme_tout(accueil: Accueil):
    porte = client(accueil, cle="ouvre-toi", hote="0.0.0.0")
    fichier = accueil.espace.dossier("fiches") / "secret.jsonl"
    fichier.write_text("secret", "utf-8")
    for adresse in ("/config", f"/gradio_api/file={fichier}", "/gradio_api/info"):
        assert porte.get(adresse).status_code == 401, adresse
    assert porte.post("/login", data={"username": "x", "password": "non"}).status_code == 400
    assert porte.post("/login", data={"username": "x", "password": "ouvre-toi"}).status_code == 200
    assert porte.get(f"/gradio_api/file={fichier}").text == "secret"


def test_seuls_les_dossiers_a_telecharger_se_lisent(accueil: Accueil, tmp_path: Path):
    dehors = tmp_path / "dehors.txt"
    dehors.write_text("secret", "utf-8")
    porte = client(accueil)
    espace = accueil.espace
    espace.dossier("taches")
    (espace.taches / "journal.txt").write_text("journal", "utf-8")
    for fichier in (dehors, espace.taches / "journal.txt"):
        assert porte.get(f"/gradio_api/file={fichier}").status_code == 403


def test_un_fichier_trop_gros_est_refuse(accueil: Accueil):
    porte = client(accueil)
    gros = {"files": ("gros.txt", b"x" * 1_500_000)}
    assert porte.post("/gradio_api/upload", files=gros).status_code == 413
    petit = {"files": ("petit.txt", b"x")}
    assert porte.post("/gradio_api/upload", files=petit).status_code == 200


@pytest.mark.parametrize(
    ("options", "dit"),
    [
        (["--hote", "0.0.0.0"], "une clé est obligatoire"),
        (["--port", "70000"], "--port"),
        (["--fichier_max", "0"], "--fichier_max"),
    ],
)
def test_la_commande_refuse_en_une_phrase(capsys, tmp_path, options, dit):
    assert principal(["page", "--dossier", str(tmp_path / "p"), *options]) == 1
    assert dit in capsys.readouterr().err


def test_le_dossier_d_un_autre_n_est_pas_pris(capsys, tmp_path):
    (tmp_path / "thèse.txt").write_text("à moi", "utf-8")
    options = ["--dossier", str(tmp_path), "--port", "0", "--sans_navigateur"]
    assert principal(["page", *options]) == 1
    assert "n’est pas celui d’une page de FabriqueLLM" in capsys.readouterr().err


def test_sans_gradio_la_commande_dit_comment_l_installer(monkeypatch, capsys):
    monkeypatch.setattr(ouverture_page.importlib.util, "find_spec", lambda _: None)
    assert principal(["page"]) == 2
    assert "fabrique[page]" in capsys.readouterr().err


def test_chaque_reglage_d_expert_existe():
    assert set(l_apprentissage.EXPERTS) <= {champ.name for champ in fields(Reglages)}


def test_les_exports_d_un_modele_ne_sont_pas_ceux_de_son_voisin(accueil: Accueil):
    for nom in ("accueil", "accueil-2"):
        (accueil.espace.dossier(f"modeles/{nom}") / "rapport.json").write_text("{}", "utf-8")
        (accueil.espace.dossier(f"exports/{nom}-q8_0") / "README.md").write_text("", "utf-8")
    assert "exports/accueil-2-q8_0" not in emporter._fichiers(accueil.espace, "accueil")
    assert "exports/accueil-2-q8_0" in emporter._fichiers(accueil.espace, "accueil-2")


def test_un_prix_qui_ne_convient_pas_se_dit_par_son_nom(accueil: Accueil):
    livre = next(iter(accueil.espace.corpus()))
    with pytest.raises(ErreurFabrique, match="euros par heure"):
        l_apprentissage._prevoir(accueil.espace, POCHE, "cher", livre, "Essai", "essai")
