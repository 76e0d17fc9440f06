"""Les entités : le corpus, les règles, spaCy, la tête apprise, la mesure et les noms de personnes."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path

import pytest
import torch
from datasets import Dataset

from fabrique.corpus import controler, pseudonymiser
from fabrique.corpus.entites import GENRES, Entite, Phrase, lire_phrases
from fabrique.corpus.formats import JEUX
from fabrique.corpus.noms import NOM, avec_les_noms
from fabrique.corpus.reperage import (
    REGLES,
    par_regles,
    repereur,
    repereur_d_un_modele,
    trouver_les_entites,
)
from fabrique.entrainement.apprentissage_entites import (
    ETIQUETTES_DES_ENTITES,
    apprendre_les_entites,
)
from fabrique.evaluation.mesure_entites import mesurer_entites
from fabrique.ligne_de_commande import principal
from fabrique.modeles.chargement import charger
from fabrique.modeles.etiquetage import (
    MOTS_LUS,
    charger_etiqueteur,
    couper,
    en_jetons,
    en_passages,
    etiqueter_les_mots,
    poser_une_tete,
)
from fabrique.recettes.reglages_entites import ReglagesEntites
from fabrique.socle.emplacements import dossier_data
from fabrique.socle.erreurs import ErreurFabrique

avec_spacy = pytest.mark.skipif(
    not importlib.util.find_spec("fr_core_news_sm"), reason="l’extension [entites] n’est pas là"
)


# ---------------------------------------------------------------- le corpus


@pytest.fixture(scope="module")
def phrases() -> list[Phrase]:
    return lire_phrases()


def test_le_corpus_a_ses_phrases_ses_jeux_et_ses_genres(phrases):
    """Au moins trois cents phrases ; chaque genre dans chaque jeu ; des phrases sans rien à trouver."""
    assert len(phrases) >= 300
    assert len({phrase.texte for phrase in phrases}) == len(phrases)
    for jeu in ("entrainement", "validation", "test"):
        siennes = [phrase for phrase in phrases if phrase.jeu == jeu]
        assert {e.genre for phrase in siennes for e in phrase.entites} == {*GENRES}
        assert sum(not phrase.entites for phrase in siennes) >= len(siennes) / 10
    lignes = (dossier_data() / "entites.jsonl").read_text("utf-8").splitlines()
    ids = [json.loads(ligne)["id"] for ligne in lignes]
    assert ids == [f"entites-{rang:03d}" for rang in range(1, len(ids) + 1)]


def test_la_notice_compte_juste(phrases):
    """Phrases, phrases sans entité et entités de chaque genre, jeu par jeu."""
    notice = (dossier_data() / "LISEZMOI.md").read_text("utf-8").split("## `entites.jsonl`")[1]
    lignes = re.findall(r"^\| ([\w ]+) \| (\d+) \| (\d+) \| (\d+) \|$", notice, re.M)
    comptes = {nom: tuple(map(int, nombres)) for nom, *nombres in lignes[: 2 + len(GENRES)]}
    jeux = [[p for p in phrases if p.jeu == jeu] for jeu in JEUX]
    attendus = {
        "phrases": tuple(map(len, jeux)),
        "dont sans entité": tuple(sum(not p.entites for p in jeu) for jeu in jeux),
    }
    for genre in GENRES:
        attendus[f"{genre}s" if genre != "lieu" else "lieux"] = tuple(
            sum(e.genre == genre for p in jeu for e in p.entites) for jeu in jeux
        )
    assert comptes == attendus


def test_aucun_nom_n_est_dans_deux_jeux(phrases):
    """Ni une personne, à un prénom ou un patronyme près, ni un organisme, ni un lieu."""
    jeux: dict[tuple[str, str], set[str]] = {}
    for phrase in phrases:
        for entite in phrase.entites:
            dit = entite.de(phrase.texte).casefold()
            if entite.genre in ("personne", "organisme", "lieu"):
                jeux.setdefault((entite.genre, dit), set()).add(phrase.jeu)
            if entite.genre == "personne":
                for mot in re.findall(r"\w{3,}", dit):
                    jeux.setdefault(("mot", mot), set()).add(phrase.jeu)
    assert [nom for nom, vus in jeux.items() if len(vus) > 1] == []


def test_les_entites_ont_des_bornes_de_mots(phrases):
    """Ni espace, ni ponctuation, ni demi-mot au bord : la tête, qui étiquette des mots, peut les rendre."""
    for phrase in phrases:
        (mots,) = couper(phrase.texte)
        debuts, fins = {debut for debut, _ in mots}, {fin for _, fin in mots}
        assert all(e.debut in debuts and e.fin in fins for e in phrase.entites), phrase.texte


@pytest.mark.parametrize(
    ("ligne", "dit", "champ"),
    [
        ({"entites": []}, "le texte manque", "texte"),
        ({"texte": "Oui."}, "la liste des entités manque", "entites"),
        ({"texte": "Oui.", "entites": [], "jeu": "essai"}, "le jeu « essai »", "jeu"),
        (
            {"texte": "Oui.", "entites": [{"debut": 0, "fin": 3, "type": "nom"}]},
            "« nom »",
            "entites",
        ),
        (
            {"texte": "Oui.", "entites": [{"debut": 0, "fin": 9, "type": "lieu"}]},
            "0 et 9",
            "entites",
        ),
        (
            {
                "texte": "Oui.",
                "entites": [
                    {"debut": 0, "fin": 3, "type": "lieu"},
                    {"debut": 2, "fin": 4, "type": "date"},
                ],
            },
            "se chevauchent",
            "entites",
        ),
    ],
)
def test_une_phrase_mal_marquee_est_refusee_a_sa_ligne(tmp_path: Path, ligne, dit, champ):
    fichier = tmp_path / "m.jsonl"
    bonne = {"texte": "À Brest.", "entites": [{"debut": 2, "fin": 7, "type": "lieu"}]}
    fichier.write_text("\n".join(map(json.dumps, (bonne, ligne))), "utf-8")
    with pytest.raises(ErreurFabrique, match=dit) as prise:
        lire_phrases(fichier)
    assert (prise.value.ligne, prise.value.champ) == (2, champ)


# ---------------------------------------------------------------- les règles


@pytest.mark.parametrize("regle", REGLES, ids=lambda r: f"{r.genre}-{r.exemple[:20]}")
def test_chaque_forme_trouve_son_exemple_et_laisse_son_contre_exemple(regle):
    texte = regle.exemple.replace("«", "").replace("»", "")
    debut = regle.exemple.index("«")
    fin = regle.exemple.index("»") - 1
    assert [t.span(regle.groupe) for t in regle.forme.finditer(texte)] == [(debut, fin)]
    assert not regle.forme.search(regle.contre_exemple)


def test_les_regles_rendent_les_places_du_texte_d_origine():
    """Espaces insécables, accent décomposé et signe invisible avant l'entité."""
    texte = "De\u0301cision\u200b : Mme Aude Kerlan doit 1\u00a0250\u202f€."
    assert [(e.genre, e.de(texte)) for e in par_regles(texte)] == [
        ("personne", "Aude Kerlan"),
        ("montant", "1\u00a0250\u202f€"),
    ]


def test_un_moyen_inconnu_est_refuse(tmp_path: Path):
    with pytest.raises(ErreurFabrique, match="ne trouve pas d’entités"):
        trouver_les_entites("Brest", "magie")
    with pytest.raises(ErreurFabrique, match="un modèle qui étiquette"):
        repereur(str(tmp_path))


@avec_spacy
def test_spacy_trouve_personnes_organismes_et_lieux():
    """Avec nos genres, et rien de ce qu'il appelle « divers »."""
    texte = "Marie Curie a quitté Varsovie pour Paris."
    trouvees = trouver_les_entites(texte, "spacy")
    assert ("personne", "Marie Curie") in [(e.genre, e.de(texte)) for e in trouvees]
    assert {e.genre for e in trouvees} <= {"personne", "organisme", "lieu"}


@avec_spacy
def test_spacy_lit_nos_apostrophes_et_laisse_la_civilite():
    """« n’a » n'est pas une personne, et « Mme » n'est pas dans son nom."""
    texte = "L’avis n’a pas été reçu par Mme Hélène Martin."
    personnes = [e.de(texte) for e in trouver_les_entites(texte, "spacy") if e.genre == "personne"]
    assert personnes == ["Hélène Martin"]


# ---------------------------------------------------------------- la mesure


def test_le_f1_se_calcule_a_la_main():
    """Deux lieux et une date attendus ; un lieu juste, un lieu trop court, une date en trop.

    Lieux : 1 juste, 2 attendus, 2 trouvés, soit F1 = 2 × 1 / 4. Dates : 1 juste, 1 attendue, 2 trouvées,
    soit 2 × 1 / 3. Ensemble : 2 × 2 / (3 + 4). La personne, ni attendue ni trouvée, vaut 0.
    """
    une = Phrase("À Brest le 3 mai.", (Entite(2, 7, "lieu"), Entite(11, 16, "date")))
    deux = Phrase("À Saint-Malo, 12 h.", (Entite(2, 12, "lieu"),))
    rendues = {
        une.texte: list(une.entites),
        deux.texte: [Entite(2, 7, "lieu"), Entite(14, 16, "date")],
    }
    bilans = {b.genre: b for b in mesurer_entites([une, deux], rendues.__getitem__)}
    assert bilans["lieu"].f1 == pytest.approx(1 / 2)
    assert bilans["date"].f1 == pytest.approx(2 / 3)
    assert bilans["ensemble"].f1 == pytest.approx(4 / 7)
    assert (bilans["date"].precision, bilans["date"].rappel) == (1 / 2, 1)
    assert (bilans["personne"].f1, bilans["personne"].ic95) == (0, (0, 0))
    bas, haut = bilans["lieu"].ic95
    assert (bas, haut) == (0, 1), "une phrase toute juste, l’autre toute fausse"


def test_une_entite_plus_large_couvre_sans_etre_exacte():
    """« Mme Aude Kerlan » masque « Aude Kerlan » ; « Kerlan » n'en masque qu'une partie."""
    phrase = Phrase("Mme Aude Kerlan", (Entite(4, 15, "personne"),))
    for rendue, couvertes in ((Entite(0, 15, "personne"), 1), (Entite(9, 15, "personne"), 0)):
        bilan = mesurer_entites([phrase, phrase], lambda _, r=rendue: [r])[GENRES.index("personne")]
        assert (bilan.justes, bilan.couvertes) == (0, 2 * couvertes)


# ---------------------------------------------------------------- la tête


def test_les_etiquettes_disent_les_passages_et_y_reviennent(phrases):
    """Aller et retour sur tout le corpus : rien ne se perd dans les étiquettes."""
    for phrase in phrases:
        (mots,) = couper(phrase.texte)
        passages = [(e.debut, e.fin, e.genre) for e in phrase.entites]
        assert en_passages(mots, etiqueter_les_mots(mots, passages)) == passages


def test_une_suite_sans_debut_en_ouvre_un():
    """« I- » après un autre genre, ou après rien, commence un passage."""
    mots = [(0, 2), (3, 5), (6, 8), (9, 11)]
    assert en_passages(mots, ["I-lieu", "I-lieu", "I-date", "O"]) == [
        (0, 5, "lieu"),
        (6, 8, "date"),
    ]
    assert en_passages(mots, ["B-lieu", "B-lieu", "O", "I-lieu"]) == [
        (0, 2, "lieu"),
        (3, 5, "lieu"),
        (9, 11, "lieu"),
    ]


def test_un_long_texte_se_coupe_aux_phrases_sans_perdre_un_mot():
    texte = "Le maire signe. " * 60 + "mot " * (MOTS_LUS + 5)
    morceaux = list(couper(texte))
    assert max(map(len, morceaux)) <= MOTS_LUS
    assert [texte[d:f] for mots in morceaux for d, f in mots] == re.findall(r"\w+|[.]", texte)
    assert all(texte[mots[-1][0]] == "." for mots in morceaux[:4])


@pytest.mark.parametrize("relu", [True, False])
def test_le_dernier_jeton_de_chaque_mot_est_etiquete(tokenizer, relu):
    """Les jetons d'un mot s'arrêtent à sa fin ; relue, la phrase est là deux fois."""
    texte = "Payé 1 250,40 € le 3 mai 2021."
    (mots,) = couper(texte)
    ids, places = en_jetons(tokenizer, texte, mots, relu)
    assert places[-1] == len(ids) - 1
    fin = 0
    for (debut, apres), place in zip(mots, places, strict=True):
        jetons = ids[fin : place + 1] if fin else ids[: place + 1]
        fin = place + 1
        assert tokenizer.decode(jetons).endswith(texte[debut:apres])
    assert tokenizer.decode(ids, skip_special_tokens=True).count(texte) == 1 + relu


#: De quoi apprendre par cœur : le genre ne dépend que du mot, et le mot n'est pas le premier.
PAR_COEUR = [
    Phrase("Elle habite Brest.", (Entite(12, 17, "lieu"),)),
    Phrase("Elle paie 12 €.", (Entite(10, 14, "montant"),)),
    Phrase("Rien à dire.", ()),
    Phrase("Mme Kerlan vient.", (Entite(4, 10, "personne"),)),
]


def apprendre(dossier: Path, sortie: Path, methode: str):
    """La tête sur le petit Falcon, jusqu'à savoir quatre phrases par cœur."""
    reglages = ReglagesEntites(methode=methode, learning_rate=1e-2, epochs=40, batch_size=4)
    tokenizer, modele = charger(dossier, "aucune", silencieux=True)
    etiqueteur, resultat = apprendre_les_entites(
        modele, tokenizer, PAR_COEUR, reglages.de_la_marche(), sortie
    )
    return etiqueteur, resultat


@pytest.mark.parametrize("methode", ["lora", "complet"])
def test_une_tete_apprise_se_relit_et_rend_les_memes_entites(dossier_petit, tmp_path, methode):
    """Apprise, écrite, relue du disque, puis reprise sans rien réapprendre."""
    sortie = tmp_path / methode
    etiqueteur, resultat = apprendre(dossier_petit, sortie, methode)
    for phrase in PAR_COEUR:
        attendus = [(e.debut, e.fin, e.genre) for e in phrase.entites]
        assert etiqueteur.passages(phrase.texte) == attendus
    assert resultat.pas_faits == 40
    relu = repereur_d_un_modele(charger_etiqueteur(sortie, dossier_petit))
    assert [tuple(relu(phrase.texte)) for phrase in PAR_COEUR] == [p.entites for p in PAR_COEUR]
    encore, deja = apprendre(dossier_petit, sortie, methode)
    assert deja.pas_faits == 40, "relu du rapport, non réappris"
    assert encore.passages(PAR_COEUR[0].texte) == [(12, 17, "lieu")]


def test_la_tete_partage_les_couches_du_modele(dossier_petit):
    """Rien n'est copié : un modèle en 4 bits le reste."""
    _, modele = charger(dossier_petit, "nf4", silencieux=True)
    pose = poser_une_tete(modele, ETIQUETTES_DES_ENTITES)
    assert pose.base_model is modele.base_model
    assert pose.config.num_labels == len(ETIQUETTES_DES_ENTITES) == 1 + 2 * len(GENRES)
    assert modele.config.num_labels != pose.config.num_labels
    logits = pose(input_ids=torch.tensor([[1, 2, 3]])).logits
    assert logits.shape == (1, 3, len(ETIQUETTES_DES_ENTITES))


# ---------------------------------------------------------------- les noms de personnes

UN_NOM = {
    "instruction": "Qui a signé ?",
    "output": "Mme Aude Kerlan, au 06 39 98 12 34.",
    "input": "",
}


def test_les_noms_ne_se_cherchent_que_si_on_le_demande():
    """Une alerte, jamais une erreur, dont l'extrait cache le nom ; le téléphone reste une erreur."""
    corpus = Dataset.from_list([UN_NOM])
    sans = [c.regle for c in controler(corpus).constats]
    avec = {c.regle: c for c in controler(corpus, noms="regles").constats}
    assert NOM not in sans
    assert avec[NOM].gravite == "alerte"
    assert avec["personnel.telephone"].gravite == "erreur"
    assert not any("Kerlan" in constat.extrait for constat in avec.values())


def test_les_noms_se_pseudonymisent_et_ne_se_retrouvent_plus():
    """Le même nom reçoit le même pseudonyme ; repasser ne trouve rien."""
    regles = avec_les_noms("regles")
    encore = UN_NOM | {"output": "Madame Aude KERLAN a signé."}
    propres, comptes = pseudonymiser(Dataset.from_list([UN_NOM, encore]), regles)
    assert propres["output"][:] == [
        "Mme [NOM_1], au [TELEPHONE_1].",
        "Madame [NOM_1] a signé.",
    ]
    assert comptes == {"personnel.telephone": 1, NOM: 2}
    assert pseudonymiser(propres, regles)[1] == {}


def test_la_commande_cherche_les_noms_et_trouve_les_entites(tmp_path: Path, capsys):
    fichier, sortie = tmp_path / "c.jsonl", tmp_path / "propre.jsonl"
    fichier.write_text(json.dumps(UN_NOM), "utf-8")
    assert (
        principal(["corpus", "pseudonymiser", str(fichier), str(sortie), "--noms", "regles"]) == 0
    )
    assert "[NOM_1]" in sortie.read_text("utf-8")
    assert principal(["corpus", "controler", str(fichier), "--noms", "magie", "--json"]) == 1
    capsys.readouterr()
    texte = "Fait à Brest."
    assert principal(["entites", "trouver", texte, "--json"]) == 0
    rendu = json.loads(capsys.readouterr().out)
    assert rendu["entites"] == [{"debut": 7, "fin": 12, "type": "lieu", "extrait": "Brest"}]
