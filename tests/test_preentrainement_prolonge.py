"""Prolonger un préentraînement : les fenêtres, la marche, ses protections, et la commande."""

import csv
import gzip
import json
import logging
import shutil
from dataclasses import replace

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
import torch
from conftest import remplir, sur_le_jumeau
from hypothesis import given, strategies as st
from torch.nn.functional import cross_entropy

import fabrique
from fabrique.entrainement import entraineur, prolongement
from fabrique.entrainement.fenetres import (
    REMPLISSAGE,
    LotDeFenetres,
    OrdreDesSources,
    en_fenetres,
)
from fabrique.entrainement.loi import extrapoler, promettre
from fabrique.entrainement.prolongement import prolonger
from fabrique.entrainement.reglages_prolongement import CALENDRIERS, ReglagesProlongement
from fabrique.entrainement.textes import (
    Document,
    Source,
    echantillon,
    lire_documents,
    lire_source,
    mettre_de_cote,
)
from fabrique.ligne_de_commande import principal
from fabrique.modeles.origine import lire_origine
from fabrique.recettes.domaine import Domaine, dire_le_tout, textes_generaux
from fabrique.socle.erreurs import DONNEES, MACHINE, Divergence, ErreurFabrique

DOCUMENTS = [
    Document(f"La mairie de Saint-Falcon ouvre à {n} h et ferme à {n + 8} h. Apportez la carte.")
    for n in range(24)
]
#: Onze pas de deux fenêtres, un point de reprise tous les trois.
REGLAGES = ReglagesProlongement(
    lora=True,
    longueur=32,
    lot=2,
    fenetres_ensemble=2,
    lora_r=4,
    learning_rate=1e-2,
    echauffement=1,
    pas_mesure=3,
)
TEMOINS = {"validation": [d.texte for d in DOCUMENTS[-3:]], "general": ["Le chat dort."]}


@pytest.fixture
def textes(tmp_path):
    """Vingt-quatre documents en un fichier."""
    chemin = tmp_path / "textes.jsonl"
    chemin.write_text("\n".join(json.dumps({"texte": d.texte}) for d in DOCUMENTS), "utf-8")
    return chemin


# ---------------------------------------------------------------- les fenêtres


def test_les_documents_se_mettent_bout_a_bout_sans_rien_perdre(tokenizer):
    fenetres = en_fenetres([DOCUMENTS[:5], DOCUMENTS[5:7]], tokenizer, 32)
    ids, documents = (np.array(fenetres[nom]) for nom in ("input_ids", "documents"))
    assert fenetres["source"][:] == sorted(fenetres["source"])
    lus = tokenizer.decode(ids[documents != REMPLISSAGE])
    assert lus == "".join(
        f"{tokenizer.bos_token}{d.texte}{tokenizer.eos_token}" for d in DOCUMENTS[:7]
    )


def test_des_fenetres_ecrites_sont_celles_de_la_memoire(tokenizer, tmp_path, monkeypatch):
    """Plusieurs paquets par source, et une source vide entre deux."""
    monkeypatch.setattr("fabrique.entrainement.fenetres.FENETRES_A_LA_FOIS", 2)
    sources = [DOCUMENTS[:12], [], DOCUMENTS[12:14]]
    ecrites = en_fenetres(sources, tokenizer, 32, tmp_path / "ici" / "f")
    assert (tmp_path / "ici" / "f").stat().st_size > 8 * 32 * len(ecrites)
    gardees = en_fenetres(sources, tokenizer, 32)
    assert list(ecrites) == list(gardees)
    assert len(ecrites) > 4
    assert set(ecrites["source"][:]) == {0, 2}


def test_un_lot_de_fenetres_se_fait_a_la_main():
    """Deux documents et un remplissage : les positions repartent, le premier jeton ne se prédit pas."""
    lot = LotDeFenetres()([{"input_ids": [5, 6, 7, 8, 9, 2], "documents": [0, 0, 1, 1, 1, -1]}])
    assert lot["position_ids"].tolist() == [[0, 1, 0, 1, 2, 0]]
    assert lot["labels"].tolist() == [[-100, 6, -100, 8, 9, -100]]
    assert lot["attention_mask"][0, 0].int().tolist() == [
        [1, 0, 0, 0, 0, 0],
        [1, 1, 0, 0, 0, 0],
        [0, 0, 1, 0, 0, 0],
        [0, 0, 1, 1, 0, 0],
        [0, 0, 1, 1, 1, 0],
        [0, 0, 0, 0, 0, 1],
    ]


def test_un_document_ne_lit_pas_ses_voisins(par_coeur):
    """Dans une fenêtre ou seul, un document coûte le même prix : c’est le cas que Falcon raterait seul."""
    tokenizer, modele = par_coeur
    longueur = 64
    fenetres = list(en_fenetres([DOCUMENTS[:2]], tokenizer, longueur))
    assert len(set(fenetres[0]["documents"])) > 1
    lot = LotDeFenetres()(fenetres[:1])
    etiquettes = lot.pop("labels")[0, 1:]
    with torch.no_grad():
        logits = modele(**lot).logits[0, :-1]
        ensemble = cross_entropy(logits, etiquettes, reduction="none", ignore_index=-100)
        seuls = []
        for numero in (0, 1):
            ids = [
                i
                for i, d in zip(fenetres[0]["input_ids"], fenetres[0]["documents"], strict=True)
                if d == numero
            ]
            seul = modele(input_ids=torch.tensor([ids])).logits[0, :-1]
            seuls.append(cross_entropy(seul, torch.tensor(ids[1:]), reduction="none"))
    assert torch.allclose(ensemble[etiquettes != -100], torch.cat(seuls), atol=1e-4)


@pytest.mark.parametrize("calendrier", CALENDRIERS)
def test_un_calendrier_range_les_memes_fenetres(calendrier):
    sources = [0] * 20 + [1] * 10 + [2] * 5
    ordre = OrdreDesSources(sources, calendrier, 7)
    premier = list(ordre)
    assert sorted(premier) == list(range(35))
    assert list(ordre) == premier
    rangs = [sources[fenetre] for fenetre in premier]
    croissants = {"qualite_en_dernier": rangs, "qualite_en_premier": rangs[::-1]}
    if calendrier == "constant":
        assert rangs not in (sorted(rangs), sorted(rangs, reverse=True))
    else:
        assert croissants[calendrier] == sorted(sources)
    ordre.set_epoch(1)
    assert list(ordre) != premier


# ---------------------------------------------------------------- la marche et ses protections


def lire(petit, sortie, reglages=REGLAGES, documents=DOCUMENTS[:21]):
    tokenizer, modele = petit
    return prolonger(modele, tokenizer, [documents], reglages, sortie, TEMOINS)


def courbe(sortie):
    with (sortie / "courbe.csv").open(encoding="utf-8", newline="") as flux:
        return list(csv.DictReader(flux))


def test_un_modele_entier_apprend_le_domaine(dossier_petit, tmp_path):
    petit = fabrique.charger(dossier_petit, "aucune", silencieux=True)
    faite = lire(petit, tmp_path / "s", replace(REGLAGES, lora=False, passages=2))
    avant, apres = faite.change("validation")
    assert apres < avant
    assert faite.jetons == faite.resultat.pas * 2 * 32
    assert not list((tmp_path / "s").glob(".fenetres*"))
    assert (tmp_path / "s" / "model.safetensors").is_file()
    assert (tmp_path / "s" / "tokenizer.json").is_file()


def test_tuee_puis_relancee_la_courbe_est_la_meme(dossier_petit, tmp_path, monkeypatch):
    """L’arrêt survient après le premier point de reprise ; poids et courbe finissent à l’identique."""
    charger = lambda: fabrique.charger(dossier_petit, "nf4", silencieux=True)  # noqa: E731
    entiere = lire(charger(), tmp_path / "entiere")
    assert [releve["pas"] for releve in entiere.courbe] == [0, 3, 6, 9, 11]
    pas = entraineur.EntraineurParLongueur.training_step

    def tuer(self, *args, **autres):
        if self.state.global_step == 4:
            raise KeyboardInterrupt
        return pas(self, *args, **autres)

    monkeypatch.setattr(entraineur.EntraineurParLongueur, "training_step", tuer)
    with pytest.raises(ErreurFabrique, match="interrompu au pas 4"):
        lire(charger(), tmp_path / "coupee")
    assert [int(r["pas"]) for r in courbe(tmp_path / "coupee")] == [0, 3]
    monkeypatch.undo()
    lire(charger(), tmp_path / "coupee")
    assert courbe(tmp_path / "coupee") == courbe(tmp_path / "entiere")
    poids = [
        (tmp_path / d / "adapter_model.safetensors").read_bytes() for d in ("coupee", "entiere")
    ]
    assert poids[0] == poids[1]
    # Tout est fait : relancée, elle relit, et mesure de nouveau.
    relue = lire(charger(), tmp_path / "coupee")
    assert relue.courbe[-1] == entiere.courbe[-1]
    assert np.allclose(relue.bits["validation"], entiere.bits["validation"], rtol=1e-4)
    with pytest.raises(ErreurFabrique, match="ce qui change : calendrier"):
        lire(charger(), tmp_path / "coupee", replace(REGLAGES, calendrier="qualite_en_dernier"))
    with pytest.raises(ErreurFabrique, match="ce qui change : donnees"):
        lire(charger(), tmp_path / "coupee", documents=DOCUMENTS[:20])


@pytest.mark.parametrize("mesure", [3, 9], ids=["pas 3", "dernier pas"])
def test_morte_pendant_une_mesure_la_courbe_est_la_meme(petit, tmp_path, monkeypatch, mesure):
    """Le point est en place, son relevé non : la reprise le fait, même s’il n’y a plus rien à lire."""
    entiere = lire(petit, tmp_path / "entiere")
    mesurer, faites = prolongement.bits_par_texte, []

    def mourir(*arguments):
        faites.append(arguments)
        if len(faites) == mesure:
            raise SystemExit
        return mesurer(*arguments)

    monkeypatch.setattr(prolongement, "bits_par_texte", mourir)
    with pytest.raises(SystemExit):
        lire(petit, tmp_path / "coupee")
    monkeypatch.undo()
    assert lire(petit, tmp_path / "coupee").courbe == entiere.courbe
    assert courbe(tmp_path / "coupee") == courbe(tmp_path / "entiere")


def test_un_arret_demande_n_ajoute_rien_a_la_courbe(petit, tmp_path, monkeypatch):
    """Son point, hors du rythme prévu, n’a pas de relevé."""
    pas = entraineur.EntraineurParLongueur.training_step

    def demander(self, *args, **autres):
        if self.state.global_step == 3:
            self.control.should_save = self.control.should_training_stop = True
        return pas(self, *args, **autres)

    monkeypatch.setattr(entraineur.EntraineurParLongueur, "training_step", demander)
    with pytest.raises(ErreurFabrique, match="à ce pas, sauvegardé"):
        lire(petit, tmp_path / "s")
    assert (tmp_path / "s" / "checkpoint-4").is_dir()
    assert [int(releve["pas"]) for releve in courbe(tmp_path / "s")] == [0, 3]


def test_d_autres_textes_mesures_demandent_un_autre_dossier(petit, tmp_path):
    tokenizer, modele = petit
    lire(petit, tmp_path / "s")
    for temoins in (TEMOINS | {"general": ["Le chien dort."]}, {"validation": ["Un texte."]}):
        with pytest.raises(ErreurFabrique, match="ce qui change : textes_mesures"):
            prolonger(modele, tokenizer, [DOCUMENTS[:21]], REGLAGES, tmp_path / "s", temoins)


def test_la_base_ne_se_mesure_qu_une_fois(petit, tmp_path, monkeypatch):
    """Une autre lecture du même modèle reprend le relevé du pas 0, et finit comme la première."""
    mesures, mesurer = [], prolongement.bits_par_texte

    def compter(modele, tokenizer, textes, longueur):
        mesures.append(textes)
        return mesurer(modele, tokenizer, textes, longueur)

    monkeypatch.setattr(prolongement, "bits_par_texte", compter)
    tokenizer, modele = petit
    courte = replace(REGLAGES, pas_mesure=100)

    def relire(nom, temoins, depart=None):
        mesures.clear()
        return prolonger(
            modele, tokenizer, [DOCUMENTS[:4]], courte, tmp_path / nom, temoins, depart
        )

    premiere = relire("premiere", TEMOINS)
    assert len(mesures) == 4  # deux jeux de textes, avant et après
    assert relire("seconde", TEMOINS, premiere.depart).courbe == premiere.courbe
    assert len(mesures) == 2
    # Un jeu de textes que l'autre lecture n'avait pas : tout se mesure.
    autres = TEMOINS | {"autre": ["Le chien aboie."]}
    autre = relire("autre", autres, premiere.depart)
    assert autre.depart.keys() == premiere.depart.keys() | {"autre"}
    assert len(mesures) == 6


def test_le_disque_plein_arrete_au_dernier_point_qui_reste_entier(petit, tmp_path, monkeypatch):
    """La nuit qui remplit le disque : arrêtée au deuxième point, elle repart du premier."""
    usage = shutil.disk_usage

    def presque_plein(chemin):
        plein = (tmp_path / "s" / "checkpoint-3").exists()
        return usage(chemin)._replace(free=1000 if plein else 10**12)

    monkeypatch.setattr(shutil, "disk_usage", presque_plein)
    with pytest.raises(ErreurFabrique, match="le disque est plein") as leve:
        lire(petit, tmp_path / "s")
    assert leve.value.code == MACHINE
    assert (tmp_path / "s" / "checkpoint-3" / "complet.json").is_file()
    assert not (tmp_path / "s" / "adapter_model.safetensors").exists()
    monkeypatch.undo()
    assert lire(petit, tmp_path / "s").resultat.pas_faits == 8


def test_une_perte_qui_n_est_plus_un_nombre_arrete(petit, tmp_path):
    with pytest.raises(Divergence):
        lire(petit, tmp_path / "s", replace(REGLAGES, learning_rate=1e20))


def test_un_modele_a_positions_alibi_se_refuse(petit, tmp_path):
    petit[1].config.alibi = True
    with pytest.raises(ErreurFabrique, match="ALiBi"):
        lire(petit, tmp_path / "s")
    assert not (tmp_path / "s").exists()


# ---------------------------------------------------------------- la commande


def test_le_jumeau_lit_un_domaine_en_4_bits_et_son_adaptateur_repond(
    cache_du_jumeau, textes, tmp_path, monkeypatch, capsys
):
    """Falcon-7B sur T4, au format près : QLoRA, adaptateur signé à la racine, relu par « generer »."""
    sur_le_jumeau(monkeypatch, cache_du_jumeau)
    sortie = tmp_path / "s"
    options = ["--longueur", "64", "--lot", "2", "--lr", "0,01", "--pas_mesure", "4"]
    commande = ["preentrainer", "--model", "falcon-7b-instruct", "--lora", "--texte", str(textes)]
    assert principal([*commande, "--sortie", str(sortie), *options, "--part", "0,5"]) == 0
    dit = capsys.readouterr().out
    for attendu in ("Domaine\u00a0:", "Texte général\u00a0:", "Le tout, 2 fois", "Domaine attendu"):
        assert attendu in dit
    for nom in ("adapter_model.safetensors", "adapter_config.json", "rapport.json", "README.md"):
        assert (sortie / nom).is_file()
    rapport = json.loads((sortie / "rapport.json").read_text("utf-8"))
    assert rapport["couches_4bits"] == 8
    assert lire_origine(sortie).base.endswith("falcon-7b-instruct")
    generer = ["generer", "--model", "falcon-7b-instruct", "--adaptateur", str(sortie)]
    assert principal([*generer, "--instruction", "Où ?", "--max_new_tokens", "3"]) == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--model", "falcon-poche", "--couches", "3"], "que pour un modèle neuf"),
        (["--model", "falcon-poche", "--calendrier", "au hasard"], "« au hasard » n’existe pas"),
        (["--model", "falcon-poche", "--part", "2"], "dépasse le tout"),
        (["--model", "falcon-poche", "--longueur", "4096"], "dépassent la fenêtre"),
        (["--model", "falcon-poche", "--part", "0,5"], "moins de deux textes"),
        (["--model", "falcon-poche", "--compiler"], "que pour un modèle neuf"),
        (["--lora"], "ne va qu’avec --model"),
    ],
)
def test_des_options_qui_ne_vont_pas_ensemble(textes, tmp_path, capsys, options, message):
    """Dit avant de rien lire ; quinze documents n’en mettent qu’un de côté : trop peu pour un essai."""
    textes.write_text("\n".join(textes.read_text("utf-8").splitlines()[:15]), "utf-8")
    commande = ["preentrainer", "--texte", str(textes), "--sortie", str(tmp_path / "s"), *options]
    assert principal(commande) == DONNEES
    assert message in capsys.readouterr().err
    assert not (tmp_path / "s").exists()


def test_les_parts_d_une_source_ne_valent_que_pour_un_modele_neuf(textes, tmp_path, capsys):
    commande = ["preentrainer", "--model", "falcon-poche", "--sortie", str(tmp_path / "s")]
    assert principal([*commande, "--texte", f"{textes}:0,1:0,4"]) == DONNEES
    assert "--calendrier" in capsys.readouterr().err
    assert not (tmp_path / "s").exists()


@pytest.mark.parametrize("facon", [["--model", "falcon-poche"], ["--couches", "2"]])
def test_des_textes_qui_nomment_des_personnes_se_refusent(textes, tmp_path, capsys, facon):
    """Modèle prolongé ou neuf : avant tout calcul, sans montrer la donnée."""
    with textes.open("a", encoding="utf-8") as flux:
        flux.write('\n{"texte": "Joindre Paul au 06 39 98 12 34.", "titre": "Qui ?", ')
        flux.write('"description": "Écrivez à paul@boite-fictive.fr."}')
    commande = ["preentrainer", "--texte", str(textes), "--sortie", str(tmp_path / "s"), *facon]
    assert principal(commande) == DONNEES
    phrase = capsys.readouterr().err
    assert "2 données personnelles, la première au document 25" in phrase
    assert "06 39" not in phrase
    assert not (tmp_path / "s").exists()


def test_lire_puis_affiner_puis_evaluer(dossier_petit, textes, fichier_corpus, tmp_path, capsys):
    """Les trois commandes de docs/preentrainer.md, l’une sur ce que l’autre a écrit."""
    lu, affine = tmp_path / "lu", tmp_path / "affine"
    lire = ["preentrainer", "--model", str(dossier_petit), "--texte", str(textes)]
    assert principal([*lire, "--sortie", str(lu), "--longueur", "32", "--general", ""]) == 0
    affiner = ["finetune", "--model", str(lu), "--dataset", str(fichier_corpus)]
    affiner += ["--lora_out_dir", str(affine), "--val_set_size", "4"]
    assert principal([*affiner, "--epochs", "1", "--batch_size", "4", "--mbatch_size", "4"]) == 0
    evaluer = ["evaluer", "--model", str(lu), "--adaptateur", str(affine), "--general", ""]
    evaluer += ["--dataset", str(fichier_corpus), "--max_new_tokens", "3", "--json"]
    capsys.readouterr()
    assert principal(evaluer) == 0
    assert {m["nom"] for m in json.loads(capsys.readouterr().out)["mesures"]} >= {
        "f1",
        "perplexite",
    }


def test_la_nuit_sur_un_vrai_petit_disque(petit, petit_disque, monkeypatch):
    """Un autre remplit le disque après le premier point : arrêtée là, la lecture en repart."""
    sortie, pas = petit_disque / "s", entraineur.EntraineurParLongueur.training_step

    def avec_un_voisin(self, *arguments, **autres):
        if self.state.global_step == 4:
            remplir(sortie, 20_000)
        return pas(self, *arguments, **autres)

    with monkeypatch.context() as provisoire:
        provisoire.setattr(entraineur.EntraineurParLongueur, "training_step", avec_un_voisin)
        with pytest.raises(ErreurFabrique, match="disque est plein") as leve:
            lire(petit, sortie)
    assert leve.value.code == MACHINE
    assert (sortie / "checkpoint-3" / "complet.json").is_file()
    assert not (sortie / "adapter_model.safetensors").exists()
    (petit_disque / "ballast").unlink()
    assert lire(petit, sortie).resultat.pas_faits == 8


# ---------------------------------------------------------------- les textes


def test_les_textes_se_lisent_dans_tous_leurs_formats(tmp_path, caplog):
    (tmp_path / "a.txt").write_text("Un.", "utf-8")
    (tmp_path / "b.jsonl.gz").write_bytes(gzip.compress(b'{"texte": "Deux.", "titre": "T"}\n'))
    table = pyarrow.table({"texte": ["Trois.", "Quatre."], "titre": [None, "Q"]})
    pyarrow.parquet.write_table(table, tmp_path / "c.parquet")
    (tmp_path / "d.pdf").write_bytes(b"%PDF-1.4")
    with caplog.at_level(logging.WARNING, logger="fabrique"):
        lus = lire_documents(tmp_path)
    assert lus == [
        Document("Un."),
        Document("Deux.", "T"),
        Document("Trois."),
        Document("Quatre.", "Q"),
    ]
    assert "1 fichier laissé" in caplog.text
    assert "d.pdf" in caplog.text
    (tmp_path / "a.txt").write_bytes("Été".encode("latin-1"))
    with pytest.raises(ErreurFabrique, match="UTF-8"):
        lire_documents(tmp_path / "a.txt")
    table = pyarrow.table({"text": ["Trois."]})
    pyarrow.parquet.write_table(table, tmp_path / "c.parquet")
    with pytest.raises(ErreurFabrique, match="champ « texte »"):
        lire_documents(tmp_path / "c.parquet")
    (tmp_path / "vide").mkdir()
    with pytest.raises(ErreurFabrique, match="aucun fichier de ce dossier"):
        lire_documents(tmp_path / "vide")


def test_une_extension_en_capitales_reste_un_document_par_ligne(tmp_path):
    """Et la marque d’ordre des octets, que Windows met en tête, ne s’apprend pas."""
    (tmp_path / "A.JSONL").write_bytes(b'\xef\xbb\xbf{"texte": "Un."}\n{"texte": "Deux."}\n')
    (tmp_path / "B.TXT").write_bytes(b"\xef\xbb\xbfTrois.")
    assert lire_documents(tmp_path) == [Document("Un."), Document("Deux."), Document("Trois.")]


@pytest.mark.parametrize("nom", ["a.txt.gz", "a.jsonl.gz"])
def test_une_archive_coupee_se_dit(tmp_path, nom):
    archive = gzip.compress(b'{"texte": "Un."}\n' * 50)
    (tmp_path / nom).write_bytes(archive[: len(archive) // 2])
    with pytest.raises(ErreurFabrique, match="archive est incomplète"):
        lire_documents(tmp_path / nom)


def test_un_corpus_de_fiches_livre_se_nomme():
    assert len(lire_documents(lire_source("fiches").chemin)) == 170
    assert textes_generaux("encyclopedie")
    assert textes_generaux("") == []
    assert len(textes_generaux("fiches")) == 170
    with pytest.raises(ErreurFabrique, match="fichier introuvable"):
        textes_generaux("absent.txt")


def test_l_empreinte_d_un_dossier_suit_ses_fichiers(tmp_path):
    (tmp_path / "a.txt").write_text("Un.", "utf-8")
    avant = Source(tmp_path, 1, 1).empreinte
    (tmp_path / "a.txt").write_text("Deux.", "utf-8")
    assert Source(tmp_path, 1, 1).empreinte != avant


@given(
    longueurs=st.lists(st.integers(1, 500), min_size=1, max_size=60),
    part=st.floats(0.01, 1),
    graine=st.integers(0, 5),
)
def test_une_part_est_stratifiee_et_toujours_la_meme(longueurs, part, graine):
    """Autant de petits que de grands, dans leurs proportions : un rang sur « 1 / part » en longueur."""
    documents = [Document("a" * n, str(rang)) for rang, n in enumerate(longueurs)]
    pris = echantillon(documents, part, graine)
    assert pris == echantillon(documents, part, graine)
    assert len(pris) == max(1, round(part * len(documents)))
    ranges = sorted(documents, key=lambda d: (len(d.texte), int(d.titre)))
    rangs = sorted(ranges.index(d) for d in pris)
    pas = len(documents) / len(pris)
    assert all(n * pas - 1e-9 <= rang + 1 and rang < (n + 1) * pas for n, rang in enumerate(rangs))


def test_d_un_texte_seul_la_fin_est_mise_de_cote():
    texte = "\n".join(f"Paragraphe {n}." for n in range(20))
    [appris], [cote] = mettre_de_cote([Document(texte)], 10)
    assert f"{appris.texte}\n{cote.texte}" == texte
    assert cote.texte.startswith("Paragraphe 1")
    assert mettre_de_cote([Document("D’un trait.")], 10) == ([Document("D’un trait.")], [])


def test_un_domaine_met_de_cote_avant_de_tirer_une_part(tmp_path):
    for nom, quoi in (("a", "Un"), ("b", "Deux")):
        lignes = (json.dumps({"texte": f"{quoi} {n}."}) for n in range(20))
        (tmp_path / f"{nom}.jsonl").write_text("\n".join(lignes), "utf-8")
    domaine = Domaine.lire([Source(tmp_path / f"{nom}.jsonl", 1, 1) for nom in "ab"], 10)
    assert domaine.validation == ["Un 9.", "Deux 9.", "Un 19.", "Deux 19."]
    moitie = domaine.part(0.5, 1)
    assert list(map(len, moitie.sources)) == [9, 9]
    assert moitie.validation == domaine.validation
    assert domaine.part(1, 1) == domaine


# ---------------------------------------------------------------- ce que vaudrait le tout


@pytest.mark.parametrize(("fond", "hauteur", "exposant"), [(0.8, 0.3, 0.3), (0.0, 1.2, 0.1)])
def test_une_loi_exacte_se_prolonge_exactement(fond, hauteur, exposant):
    jetons = np.array([1e4, 2e4, 4e4])
    loi = lambda j: fond + hauteur * (j / 4e4) ** -exposant  # noqa: E731
    assert extrapoler(jetons, loi(jetons)[None], 4e6)[0] == pytest.approx(loi(4e6), abs=0.03)


def test_une_courbe_qui_remonte_ne_promet_rien():
    assert extrapoler([1, 2, 4], np.array([[1.0, 1.1, 1.2]]), 400)[0] == pytest.approx(1.1)


def test_une_promesse_a_un_intervalle_qui_la_contient():
    hasard = np.random.default_rng(0)
    octets = hasard.integers(200, 900, 30)
    bits = np.stack([octets * b * hasard.normal(1, 0.02, 30) for b in (1.2, 1.1, 1.03)])
    attendue = promettre([1e4, 2e4, 4e4], bits, octets, 4e6)
    assert attendue.bas < attendue.bits < attendue.haut < 1.03


def test_ce_que_vaudrait_le_tout_demande_deux_textes(petit, tmp_path):
    faite = lire(petit, tmp_path / "s")
    seul = replace(faite, octets={"validation": faite.octets["validation"][:1]})
    with pytest.raises(ErreurFabrique, match="moins de deux textes"):
        dire_le_tout([seul, seul, seul], 100)
