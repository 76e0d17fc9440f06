"""Ranger des textes : d'un tableau à un classifieur relu, sans rien apprendre de ce qu'un corpus refuse."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import f1_score

from fabrique.corpus.etiquetes import lire_etiquetes
from fabrique.entrainement.classifieurs import FICHE
from fabrique.entrainement.reglages_classement import METHODES, ReglagesClassement
from fabrique.evaluation.etiquettes import noter
from fabrique.ligne_de_commande import principal
from fabrique.recettes.classement import apprendre, predire, relire, separer
from fabrique.socle.erreurs import Divergence, ErreurFabrique

MOTS = {
    "eau": ("fuite", "robinet", "compteur", "canalisation"),
    "école": ("cantine", "classe", "inscription", "maîtresse"),
    "voirie": ("trottoir", "nid-de-poule", "lampadaire", "chaussée"),
}
TEXTES = [
    (f"Bonjour, un souci de {un} près du {autre}, merci.", nom)
    for nom, mots in MOTS.items()
    for un in mots
    for autre in mots
    if un != autre
]
RAPIDE = ReglagesClassement(epochs=1)


def ecrire(
    chemin: Path, rangees: list[tuple], entete: tuple = ("texte", "etiquette"), **options
) -> Path:
    with chemin.open("w", newline="", **{"encoding": "utf-8", **options}) as flux:
        csv.writer(flux).writerows([entete, *rangees])
    return chemin


@pytest.fixture
def tableau(tmp_path) -> Path:
    return ecrire(tmp_path / "demandes.csv", TEXTES)


# ---------------------------------------------------------------- les méthodes


@pytest.mark.parametrize("methode", METHODES)
def test_un_classifieur_relu_repond_pareil(methode, dossier_petit, tmp_path):
    """Rien que des nombres et du JSON sur le disque : aucun pickle."""
    textes, noms = zip(*TEXTES, strict=True)
    classifieur = apprendre(methode, textes, noms, RAPIDE, str(dossier_petit))
    probabilites = classifieur.probabilites(textes[::5])
    assert classifieur.etiquettes == ("eau", "voirie", "école")
    np.testing.assert_allclose(probabilites.sum(axis=1), 1, atol=1e-5)
    classifieur.enregistrer(tmp_path / "c")
    suffixes = {f.suffix for f in (tmp_path / "c").iterdir() if not f.name.startswith(".")}
    assert suffixes <= {".json", ".safetensors", ".md", ".jinja"}
    np.testing.assert_allclose(
        relire(tmp_path / "c").probabilites(textes[::5]), probabilites, atol=1e-5
    )


@pytest.mark.parametrize("methode", ["mots", "lettres", "sens"])
def test_des_mots_propres_a_chaque_etiquette_se_rangent(methode):
    appris, juges = TEXTES[::2], TEXTES[1::2]
    classifieur = apprendre(methode, *zip(*appris, strict=True))
    trouves = predire(classifieur, [texte for texte, _ in juges])
    assert sum(t.etiquette == nom for t, (_, nom) in zip(trouves, juges, strict=True)) > 16


def test_une_tete_apprend_ce_qu_un_modele_au_hasard_peut_voir(dossier_petit):
    """Poids en 32 bits, dernier jeton plein lu : la perte descend, même d'un modèle de hasard."""
    textes, noms = zip(*TEXTES, strict=True)
    classifieur = apprendre(
        "entier",
        textes,
        noms,
        ReglagesClassement(epochs=12, learning_rate=3e-3),
        str(dossier_petit),
    )
    trouves = [r.etiquette for r in predire(classifieur, textes)]
    assert np.mean([t == n for t, n in zip(trouves, noms, strict=True)]) > 0.9


def test_une_tete_montre_ou_elle_en_est_et_dit_qu_elle_a_diverge(dossier_petit, capsys):
    """Neuf minutes sans un mot, ou une tête qui répond n'importe quoi : ni l'une ni l'autre."""
    textes, etiquettes = ["oui", "non", "certes", "jamais"], ["a", "b", "a", "b"]
    reglages = ReglagesClassement(epochs=3, batch_size=2)
    apprendre("entier", textes, etiquettes, reglages, base=str(dossier_petit))
    assert "6/6" in capsys.readouterr().err
    fou = ReglagesClassement(epochs=3, batch_size=2, learning_rate=1e38)
    with pytest.raises(Divergence, match="ne sont plus des nombres"):
        apprendre("entier", textes, etiquettes, fou, base=str(dossier_petit))


def test_le_remplissage_ne_change_pas_une_note(dossier_petit):
    """Seul, ou à côté d'un texte bien plus long."""
    textes, noms = zip(*TEXTES[::6], strict=True)
    for methode in ("lora", "entier"):
        classifieur = apprendre(methode, textes, noms, RAPIDE, str(dossier_petit))
        seul = classifieur.probabilites(["Une fuite."])[0]
        deux = classifieur.probabilites(["Une fuite.", " ".join(textes)])[0]
        np.testing.assert_allclose(seul, deux, atol=1e-5)


def test_une_base_dont_les_poids_ont_change_est_refusee(dossier_petit, tmp_path):
    textes, noms = zip(*TEXTES[::6], strict=True)
    for methode in ("lora", "gele"):
        dossier = tmp_path / methode
        apprendre(methode, textes, noms, RAPIDE, str(dossier_petit)).enregistrer(dossier)
        fiche = json.loads((dossier / FICHE).read_text("utf-8"))
        (fiche if methode == "lora" else fiche["vue"])["empreinte"] = "0" * 64
        (dossier / FICHE).write_text(json.dumps(fiche), "utf-8")
        with pytest.raises(ErreurFabrique, match="poids sur lesquels"):
            relire(dossier)


# ---------------------------------------------------------------- le bulletin


def test_le_bulletin_compte_comme_a_la_main():
    """Deux justes sur quatre ; « b » jamais trouvée ; confiances de 0,6 et 0,9."""
    probabilites = np.array([[0.9, 0.1], [0.9, 0.1], [0.6, 0.4], [0.6, 0.4]])
    vraies = ["a", "b", "a", "b"]
    bulletin = noter(probabilites, ("a", "b"), vraies)
    assert bulletin.exactitude.valeur == 0.5
    attendu = f1_score(vraies, ["a"] * 4, average="macro", zero_division=0)
    assert bulletin.macro_f1.valeur == pytest.approx(attendu)
    assert [(t.textes, t.constatee) for t in bulletin.fiabilite] == [(2, 0.5), (2, 0.5)]
    assert bulletin.ecart_de_calibration == pytest.approx(0.25)
    bas, haut = bulletin.exactitude.ic95
    assert 0 <= bas < 0.5 < haut <= 1


# ---------------------------------------------------------------- la commande


def test_deux_commandes_du_tableau_au_tableau_range(tableau, tmp_path, capsys):
    dossier, sortie = tmp_path / "classifieur", tmp_path / "range.csv"
    assert (
        principal(["classer", "entrainer", str(tableau), "--sortie", str(dossier), "--json"]) == 0
    )
    fait = json.loads(capsys.readouterr().out)
    assert fait["appris"] + fait["juges"] == len(TEXTES)
    assert fait["exactitude"] > 0.8
    a_ranger = ecrire(tmp_path / "courrier.csv", [("Une fuite au robinet.",)], ("message",))
    assert (
        principal(["classer", "predire", str(dossier), str(a_ranger), "--sortie", str(sortie)]) == 0
    )
    with sortie.open(encoding="utf-8", newline="") as flux:
        [range_] = csv.DictReader(flux)
    assert range_["etiquette"] == "eau"
    assert 0 < float(range_["probabilite"]) <= 1


def test_on_n_ecrit_ni_dans_un_dossier_occupe_ni_sur_un_fichier_d_autrui(tableau, tmp_path, capsys):
    occupe = tmp_path / "occupe"
    occupe.mkdir()
    (occupe / "notes.txt").write_text("à garder", "utf-8")
    assert principal(["classer", "entrainer", str(tableau), "--sortie", str(occupe)]) == 1
    dossier = tmp_path / "c"
    assert principal(["classer", "entrainer", str(tableau), "--sortie", str(dossier)]) == 0
    predire_sur = ["classer", "predire", str(dossier), str(tableau), "--sortie"]
    assert principal([*predire_sur, str(tableau)]) == 1
    assert principal([*predire_sur, str(occupe / "notes.txt")]) == 1
    assert (occupe / "notes.txt").read_text("utf-8") == "à garder"
    assert "Traceback" not in capsys.readouterr().err


def test_la_colonne_jeu_decide_et_deux_textes_pareils_restent_ensemble(tmp_path):
    rangees = [
        (t, n, "test" if rang % 4 == 0 else "Entraînement") for rang, (t, n) in enumerate(TEXTES)
    ]
    lus = lire_etiquetes(ecrire(tmp_path / "j.csv", rangees, ("texte", "etiquette", "jeu")))
    appris, juges = separer(lus, RAPIDE)
    assert (len(appris), len(juges)) == (27, 9)
    doubles = [*TEXTES, *((t.upper().replace(",", " ;"), n) for t, n in TEXTES)]
    lus = lire_etiquetes(ecrire(tmp_path / "d.csv", doubles))
    appris, juges = separer(lus, RAPIDE)
    assert juges
    assert not {a.texte.lower()[:20] + a.texte[-9:].lower() for a in appris} & {
        j.texte.lower()[:20] + j.texte[-9:].lower() for j in juges
    } or len(appris) + len(juges) == len(doubles)


# ---------------------------------------------------------------- les refus


PERSONNEL = ("Rappelez-moi au 06 12 34 56 78 pour la fuite.", "eau")
REFUS = {
    "colonne absente": (TEXTES, ("libelle", "etiquette"), {}, "colonne texte", 2),
    "case vide": ([*TEXTES[:3], ("", "eau")], ("texte", "etiquette"), {}, "vide", 5),
    "étiquette vide": ([*TEXTES[:3], ("Un texte.", " ")], ("texte", "etiquette"), {}, "vide", 5),
    "une étiquette": (
        [(t, "eau") for t, _ in TEXTES],
        ("texte", "etiquette"),
        {},
        "au moins deux",
        None,
    ),
    "un exemple": (
        [*TEXTES, ("Un chien.", "animaux")],
        ("texte", "etiquette"),
        {},
        "qu’un exemple",
        38,
    ),
    "donnée personnelle": ([*TEXTES, PERSONNEL], ("texte", "etiquette"), {}, "personnelle", 38),
    "mal décodé": (
        [*TEXTES, ("Une rÃ©paration dÃ©jÃ  faite.", "eau")],
        ("texte", "etiquette"),
        {},
        "décodé",
        38,
    ),
}


@pytest.mark.parametrize("cas", REFUS)
def test_un_mauvais_fichier_est_refuse_comme_un_corpus(cas, tmp_path):
    rangees, entete, options, phrase, ligne = REFUS[cas]
    fichier = ecrire(tmp_path / "f.csv", rangees, entete, **options)
    with pytest.raises(ErreurFabrique, match=phrase) as refus:
        lire_etiquetes(fichier)
    assert (refus.value.ligne, Path(refus.value.fichier)) == (ligne, fichier)


def test_un_texte_appris_et_juge_est_refuse(tmp_path):
    rangees = [(t, n, "entrainement") for t, n in TEXTES] + [(TEXTES[4][0].upper(), "eau", "test")]
    fichier = ecrire(tmp_path / "c.csv", rangees, ("texte", "etiquette", "jeu"))
    with pytest.raises(ErreurFabrique, match="ligne 6") as refus:
        lire_etiquetes(fichier)
    assert refus.value.ligne == 38


def test_latin_1_se_lit_et_les_contradictions_se_disent(tmp_path, capsys):
    rangees = [*TEXTES, (TEXTES[0][0], "école")]
    fichier = ecrire(tmp_path / "l.csv", rangees, encoding="latin-1")
    lus = lire_etiquetes(fichier)
    assert {lu.etiquette for lu in lus} == set(MOTS)
    dit = capsys.readouterr().out
    assert "rangé de deux façons" in dit
    assert "plusieurs fois" in dit


def test_un_texte_personnel_s_accepte_si_on_le_demande(tmp_path):
    fichier = ecrire(tmp_path / "p.csv", [*TEXTES, PERSONNEL])
    assert len(lire_etiquetes(fichier, accepter_donnees_personnelles=True)) == len(TEXTES) + 1


@pytest.mark.parametrize("contenu", ["", "{", '{"methode": "mots", "etiquettes": ["a"]}', "[]"])
def test_un_dossier_abime_se_dit(contenu, tmp_path):
    (tmp_path / FICHE).write_text(contenu, "utf-8")
    with pytest.raises(ErreurFabrique, match=r"classifieur"):
        relire(tmp_path)
