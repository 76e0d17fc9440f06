"""Écrire sans rien perdre : seul ce que nous avons signé se remplace."""

import pytest

from fabrique.socle.emplacements import (
    SIGNATURES,
    ecrire_signe,
    ecrire_texte,
    est_signe,
    mettre_en_place,
    verifier_sortie,
)
from fabrique.socle.erreurs import DONNEES, ErreurFabrique


def test_un_fichier_signe_se_remplace(tmp_path):
    fichier = tmp_path / "neuf" / "rapport.html"
    verifier_sortie(fichier)
    for texte in ("premier", "second", "troisième"):
        ecrire_signe(fichier, texte)
        verifier_sortie(fichier)
    assert fichier.read_text(encoding="utf-8") == "troisième"
    assert {f.name for f in fichier.parent.iterdir()} == {"rapport.html", SIGNATURES}


@pytest.mark.parametrize("origine", ["d’un autre", "retouché", "signatures illisibles"])
def test_un_fichier_qui_n_est_pas_a_nous_est_garde(tmp_path, origine):
    fichier = tmp_path / "rapport.html"
    if origine != "d’un autre":
        ecrire_signe(fichier, "le nôtre")
    if origine == "signatures illisibles":
        (tmp_path / SIGNATURES).write_text("[", encoding="utf-8")
    else:
        fichier.write_text("le vôtre", encoding="utf-8")
    assert not est_signe(fichier)
    with pytest.raises(ErreurFabrique, match="existe déjà") as refus:
        verifier_sortie(fichier)
    assert (refus.value.code, refus.value.fichier) == (DONNEES, fichier)
    assert "--ecraser" not in refus.value.remede
    with pytest.raises(ErreurFabrique) as refus:
        verifier_sortie(fichier, ecraser=False)
    assert "--ecraser" in refus.value.remede
    verifier_sortie(fichier, ecraser=True)


def test_un_fichier_ecrit_sans_signature_n_est_pas_signe(tmp_path):
    ecrire_texte(tmp_path / "a", "texte")
    assert not est_signe(tmp_path / "a")


def test_coupe_entre_la_signature_et_le_nom_l_ancien_est_encore_reconnu(tmp_path, monkeypatch):
    fichier = tmp_path / "a"
    ecrire_signe(fichier, "ancien")
    partiel = tmp_path / "a.partiel"
    partiel.write_text("nouveau", encoding="utf-8")
    with monkeypatch.context() as provisoire:
        remplacer = type(partiel).replace
        provisoire.setattr(
            type(partiel),
            "replace",
            lambda soi, vers: pytest.fail("coupé") if soi == partiel else remplacer(soi, vers),
        )
        with pytest.raises(pytest.fail.Exception):
            mettre_en_place(partiel, fichier)
    assert fichier.read_text(encoding="utf-8") == "ancien"
    assert est_signe(fichier)


def test_l_entree_n_est_jamais_la_sortie(tmp_path):
    entree = tmp_path / "corpus.jsonl"
    ecrire_signe(entree, "{}")
    lien = tmp_path / "lien.jsonl"
    lien.symlink_to(entree)
    for sortie in (
        entree,
        lien,
        tmp_path / "." / "corpus.jsonl",
        tmp_path / "x" / ".." / "corpus.jsonl",
    ):
        with pytest.raises(ErreurFabrique, match="aussi l’entrée"):
            verifier_sortie(sortie, entree, ecraser=True)
    verifier_sortie(tmp_path / "autre.jsonl", entree, "demarches")


def test_un_dossier_n_est_pas_un_fichier_de_sortie(tmp_path):
    with pytest.raises(ErreurFabrique, match="est un dossier"):
        verifier_sortie(tmp_path, ecraser=True)
