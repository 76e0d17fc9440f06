"""Le rapport d'évaluation : le contrat JSON, une page autonome et accessible, deux rapports comparés."""

import importlib.util
import json
import shutil
import signal
import subprocess
import sys
import unicodedata
from dataclasses import asdict, replace
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import pytest
import yaml
from conftest import EXEMPLES, ajouter_adaptateur
from test_comparaison import _muet

import fabrique
from fabrique import Reglages
from fabrique.corpus import repartir
from fabrique.corpus.formats import demande, empreinte_de_la_demande
from fabrique.evaluation import comparaison, epreuve, harnais, journal, rapport
from fabrique.evaluation.comparaison import comparer
from fabrique.evaluation.metriques import COMPARAISONS
from fabrique.ligne_de_commande import principal
from fabrique.modeles.origine import inscrire_origine
from fabrique.socle.emplacements import SIGNATURES, ecrire_json
from fabrique.socle.erreurs import ErreurFabrique
from outils.tester import ENVIRONNEMENT

REFERENCES = [f"Adressez la demande <{n}> au service & au guichet {n}." for n in range(20)]


@pytest.fixture(scope="module")
def fait() -> epreuve.Rapport:
    """Un rapport dont chaque réponse est connue : la base se tait, l'affiné sait presque tout."""
    base = _muet(epreuve.BASE, ["Je ne sais pas."] * 19 + [REFERENCES[19]], REFERENCES)
    affine = _muet(epreuve.AFFINE, [*REFERENCES[:19], "Non."], REFERENCES)
    courbe = [
        replace(_muet(f"Après {n} exemples", affine_jusqu_a(n), REFERENCES), appris=n)
        for n in (5, 10, 20)
    ]
    return epreuve.Rapport(
        modele="falcon-poche",
        adaptateur="essai",
        corpus="demarches",
        evaluations=[base, affine],
        ecarts=comparer(base, affine),
        oubli=comparer(affine, base),
        courbe=courbe,
        origine={"questions": 20, "graine": 0, "empreinte_des_questions": "ab" * 32,
                 "versions": {"python": "3.11"}},
        duree_s=75.2,
    )  # fmt: skip


def affine_jusqu_a(n: int) -> list[str]:
    return REFERENCES[:n] + ["Rien."] * (20 - n)


# ---------------------------------------------------------------- le JSON


def test_le_json_suit_le_contrat(fait):
    contenu = json.loads(json.dumps(fait.contrat()))
    assert contenu.keys() == {"mesures", "duree_s"}
    (mesure,) = contenu["mesures"]
    assert mesure.keys() >= {"nom", "base", "affine", "ecart", "ic95", "p", "meilleur"}
    assert mesure["nom"] == "f1"
    assert mesure["meilleur"] is True
    assert mesure["ecart"] == pytest.approx(mesure["affine"] - mesure["base"])
    assert mesure["ic95"][0] <= mesure["ecart"] <= mesure["ic95"][1]


def test_les_trois_fichiers_sont_ecrits_cote_a_cote(fait, tmp_path):
    rapport.ecrire(fait, tmp_path / "r.html")
    ecrits = {f.name for f in tmp_path.iterdir() if not f.name.startswith(".")}
    assert ecrits == {"r.html", "r.evaluation.json", "r.evaluation.md"}
    assert (
        json.loads((tmp_path / "r.evaluation.json").read_text("utf-8"))["evaluations"][1]["nom"]
        == "affiné"
    )


# ---------------------------------------------------------------- la page


class Lecteur(HTMLParser):
    """Relève ce qu'un lecteur d'écran et un navigateur liraient."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.balises: list[tuple[str, dict]] = []
        self.ouvertes: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.balises.append((tag, dict(attrs)))
        if tag not in ("meta", "img"):
            self.ouvertes.append(tag)

    def handle_endtag(self, tag):
        assert self.ouvertes.pop() == tag

    def toutes(self, nom: str) -> list[dict]:
        return [attributs for balise, attributs in self.balises if balise == nom]


def test_la_page_est_accessible_et_ne_va_rien_chercher(fait):
    page = rapport.en_page(fait)
    lu = Lecteur(page)
    assert lu.ouvertes == []
    assert lu.toutes("html") == [{"lang": "fr"}]
    assert len(lu.toutes("h1")) == len(lu.toutes("main")) == len(lu.toutes("title")) == 1
    assert len(lu.toutes("caption")) == len(lu.toutes("table")) == 5
    assert all(cellule["scope"] in ("col", "row") for cellule in lu.toutes("th"))
    assert len(lu.toutes("img")) == 2
    for image in lu.toutes("img"):
        assert image["src"].startswith("data:image/png;base64,")
        assert len(image["alt"]) > 40
    assert not lu.toutes("script")
    assert not lu.toutes("link")
    assert "http" not in page.replace("base64", "")
    niveaux = [int(balise[1]) for balise, _ in lu.balises if balise in ("h1", "h2", "h3")]
    assert all(suivant <= niveau + 1 for niveau, suivant in pairwise(niveaux))


def test_la_page_montre_les_exemples_gagnes_et_perdus(fait):
    page = rapport.en_page(fait)
    gagne, perdu = page.split("Où il perd")
    assert "Adressez la demande &lt;18&gt;" in gagne
    assert "<18>" not in page
    assert "Adressez la demande &lt;19&gt;" in perdu
    assert "F1 100\u00a0%" in perdu
    for morceau in ("falcon-poche", "abababab", "python 3.11", "1\u00a0min\u00a015\u00a0s"):
        assert morceau in page


def test_la_conclusion_dit_ce_qu_on_a_le_droit_de_dire(fait):
    assert rapport.conclusion(fait.ecarts) == "Le second modèle est meilleur sur : F1 de jetons."
    assert rapport.conclusion(fait.oubli) == "Le second modèle est moins bon sur : F1 de jetons."
    assert rapport.conclusion([]).startswith("Rien ne permet de dire")
    assert "fait perdre : F1 de jetons" in rapport.en_page(fait)


def test_le_markdown_a_les_memes_tableaux(fait):
    texte = rapport.en_markdown(fait)
    assert sum(ligne.startswith("| --- |") for ligne in texte.splitlines()) == 5
    assert "| F1 de jetons | " in texte
    assert "| Après 10 exemples | " in texte


# ---------------------------------------------------------------- la commande


@pytest.fixture(scope="module")
def adaptateur(dossier_petit, tmp_path_factory) -> Path:
    """Un adaptateur au hasard, enregistré, qui dit avoir appris les deux premiers exemples."""
    dossier = tmp_path_factory.mktemp("adaptateur")
    _, modele = fabrique.charger(dossier_petit, "nf4", silencieux=True)
    inscrire_origine(dossier, modele, map(empreinte_de_la_demande, EXEMPLES[:2]))
    ajouter_adaptateur(modele).save_pretrained(dossier)
    return dossier


def _commande(dossier_petit, adaptateur, fichier_corpus, *options: str) -> list[str]:
    return [
        "evaluer", "--model", str(dossier_petit), "--adaptateur", str(adaptateur),
        "--dataset", str(fichier_corpus), "--exemples", "2", "--max_new_tokens", "6", *options,
    ]  # fmt: skip


def _lire(page: Path) -> dict:
    return json.loads(page.with_suffix(".evaluation.json").read_text("utf-8"))


def test_la_commande_ecrit_le_rapport_et_n_imprime_qu_un_objet(
    dossier_petit, adaptateur, fichier_corpus, tmp_path, capsys
):
    options = ("--rapport", str(tmp_path / "a.html"), "--json", "--general", str(fichier_corpus))
    assert principal(_commande(dossier_petit, adaptateur, fichier_corpus, *options)) == 0
    objet = json.loads(capsys.readouterr().out)
    assert {"f1", "perplexite", "fin"} <= {m["nom"] for m in objet["mesures"]}
    assert not any(m["meilleur"] for m in objet["mesures"])
    ecrit = json.loads((tmp_path / "a.evaluation.json").read_text("utf-8"))
    assert [e["nom"] for e in ecrit["evaluations"]] == [
        epreuve.BASE,
        epreuve.MONTRE,
        epreuve.AFFINE,
    ]
    assert ecrit["origine"]["questions"] == 9  # onze exemples, deux appris, et montrés
    assert "carbone_estimé" in ecrit["origine"]
    assert ecrit["oubli"]
    # Le même rapport, deux fois : rien ne les sépare.
    comparaison = ["evaluer", "--comparer", *[str(tmp_path / "a.evaluation.json")] * 2]
    assert principal([*comparaison, "--json"]) == 0
    mesures = json.loads(capsys.readouterr().out)["mesures"]
    assert {m["verdict"] for m in mesures} == {"indécis"}
    assert principal(comparaison) == 0
    assert "Rien ne permet de dire" in capsys.readouterr().out


def test_la_courbe_reapprend_avec_les_reglages_de_l_adaptateur(
    dossier_petit, adaptateur, corpus, tmp_path, capsys
):
    """Elle entre dans le rapport ; sans réglages connus ou sans répartition, on dit pourquoi."""
    jeux = ["entrainement"] * 7 + ["test"] * 4
    reparti, page = tmp_path / "reparti.jsonl", tmp_path / "r.html"
    corpus.remove_columns("jeu").add_column("jeu", jeux).to_json(reparti, force_ascii=False)
    copie = Path(shutil.copytree(adaptateur, tmp_path / "adaptateur"))
    options = ("--courbe", str(tmp_path / "courbe"), "--rapport", str(page), "--general", "")
    commande = _commande(dossier_petit, copie, reparti, *options)
    assert principal(commande) == 1
    assert "les réglages de l’adaptateur sont introuvables" in capsys.readouterr().err
    reglages = Reglages(batch_size=4, mbatch_size=4, learning_rate=1e-3, val_set_size=0)
    ecrire_json(copie / "rapport.json", {"reglages": asdict(reglages)})
    assert principal(commande) == 0
    assert [e["nom"] for e in _lire(page)["courbe"]] == ["7 exemples"]
    appris = json.loads((tmp_path / "courbe" / "7" / "rapport.json").read_text("utf-8"))
    assert appris["reglages"]["learning_rate"] == 1e-3
    assert "Courbe d’apprentissage" in page.read_text("utf-8")


def test_la_courbe_d_un_corpus_non_reparti_est_refusee(
    dossier_petit, adaptateur, fichier_corpus, tmp_path, capsys
):
    commande = _commande(dossier_petit, adaptateur, fichier_corpus, "--courbe", str(tmp_path))
    assert principal(commande) == 1
    assert "demande un corpus réparti" in capsys.readouterr().err


COMPLET = ["--dataset", "demarches", "--adaptateur", "absent"]


@pytest.mark.parametrize(
    ("options", "phrase"),
    [
        (["--dataset", "demarches"], "l’option --adaptateur est obligatoire"),
        (["--adaptateur", "x"], "l’option --dataset est obligatoire"),
        (["--comparer", "absent.json", "absent.json"], "n’est pas un rapport"),
        (["--format", "(", *COMPLET], "l’expression « ( » ne se lit pas"),
        (["--rapport", "r.json", *COMPLET], "ne se termine pas par .html"),
        (["--rapport", "rapport", *COMPLET], "ne se termine pas par .html"),
        (COMPLET, "l’adaptateur est introuvable"),
    ],
)
def test_un_mauvais_usage_se_dit_en_une_phrase(options, phrase, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert principal(["evaluer", *options]) == 1
    dit = capsys.readouterr().err
    assert phrase in dit
    assert dit.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_un_fichier_quelconque_n_est_pas_un_rapport(tmp_path):
    for contenu in ("{}", "[1]", "{", '{"evaluations": []}'):
        (tmp_path / "r.json").write_text(contenu, "utf-8")
        with pytest.raises(ErreurFabrique, match="n’est pas un rapport"):
            epreuve.comparer_rapports(tmp_path / "r.json", tmp_path / "r.json")


def test_les_questions_se_prennent_a_intervalles_reguliers(corpus):
    assert (
        epreuve.au_plus(corpus, 4)["instruction"] == corpus.select([0, 2, 5, 8])["instruction"][:]
    )
    assert len(epreuve.au_plus(corpus, 200)) == len(corpus)
    assert epreuve.empreinte_du_corpus(corpus) != epreuve.empreinte_du_corpus(
        corpus.select(range(10))
    )


# ---------------------------------------------------------------- ne rien écraser, ne rien reperdre


def test_le_rapport_d_apprentissage_n_est_pas_touche(
    dossier_petit, adaptateur, fichier_corpus, tmp_path
):
    """« D/rapport.html » dans le dossier de l'adaptateur, deux fois : « D/rapport.json » reste."""
    copie = Path(shutil.copytree(adaptateur, tmp_path / "adaptateur"))
    (copie / "rapport.json").write_text('{"pas": 3}', "utf-8")
    avant = {f.name: f.read_bytes() for f in copie.iterdir() if f.name != SIGNATURES}
    commande = _commande(dossier_petit, copie, fichier_corpus, "--general", "")
    for _ in range(2):
        assert principal([*commande, "--rapport", str(copie / "rapport.html")]) == 0
    assert {nom: (copie / nom).read_bytes() for nom in avant} == avant
    assert {f.name for f in copie.iterdir()} - {*avant, SIGNATURES} == {
        "rapport.html",
        "rapport.evaluation.json",
        "rapport.evaluation.md",
    }


@pytest.mark.parametrize(
    "nom", ["r.html", "r.evaluation.json", "r.evaluation.md", "r.evaluation.jsonl"]
)
def test_un_fichier_d_un_autre_arrete_l_evaluation_avant_tout_calcul(
    dossier_petit, adaptateur, fichier_corpus, tmp_path, monkeypatch, capsys, nom
):
    (tmp_path / nom).write_text("Mes notes.", "utf-8")
    monkeypatch.setattr(epreuve, "charger", lambda *a, **k: pytest.fail("modèle chargé"))
    commande = _commande(dossier_petit, adaptateur, fichier_corpus)
    assert principal([*commande, "--rapport", str(tmp_path / "r.html")]) == 1
    assert f"{nom} : ce fichier existe déjà" in capsys.readouterr().err
    assert [f.name for f in tmp_path.iterdir()] == [nom]
    assert (tmp_path / nom).read_text("utf-8") == "Mes notes."


def test_le_corpus_evalue_n_est_jamais_la_sortie(dossier_petit, adaptateur, tmp_path, capsys):
    corpus = tmp_path / "r.evaluation.json"
    corpus.write_text(json.dumps([{"input": "", **e} for e in EXEMPLES]), "utf-8")
    page = str(tmp_path / "r.html")
    assert principal([*_commande(dossier_petit, adaptateur, corpus), "--rapport", page]) == 1
    assert "la sortie est aussi l’entrée" in capsys.readouterr().err


def test_une_evaluation_interrompue_reprend_ou_elle_en_etait(
    dossier_petit, adaptateur, fichier_corpus, tmp_path, monkeypatch, capsys
):
    """Coupée au troisième lot, puis une ligne à demi écrite : seuls les lots perdus se redemandent."""
    page = tmp_path / "r.html"
    options = ("--rapport", str(page), "--general", str(fichier_corpus))
    commande = _commande(dossier_petit, adaptateur, fichier_corpus, *options)
    demandes, vraie, limite = [], comparaison.generer_par_lots, 2

    def generer(modele, tokenizer, exemples, **reglages):
        if len(demandes) == limite:
            raise KeyboardInterrupt
        demandes.append([e["instruction"] for e in exemples])
        return vraie(modele, tokenizer, exemples, **reglages)

    monkeypatch.setattr(comparaison, "generer_par_lots", generer)
    assert principal(commande) == 1
    dit = capsys.readouterr().err
    assert "18 réponses sont gardées et ne seront pas redemandées" in dit
    assert not page.exists()
    journal = tmp_path / "r.evaluation.jsonl"
    journal.write_bytes(journal.read_bytes()[:-20])  # ce que laisse une coupure de courant
    demandes.clear()
    limite = 99
    assert principal(commande) == 0
    assert len(demandes) == 4  # cinq lots en tout, dont un relu
    assert not journal.exists()
    repris = _lire(page)
    demandes.clear()
    assert principal(commande) == 0
    assert len(demandes) == 5
    for un, autre in zip(repris["evaluations"], _lire(page)["evaluations"], strict=True):
        assert un | {"secondes": 0} == autre | {"secondes": 0}


#: Répond à deux lots, puis se tue comme le ferait un système à court de mémoire.
TUEE = """
import os, signal, sys
from fabrique.evaluation import comparaison
from fabrique.ligne_de_commande import principal

vraie, lots = comparaison.generer_par_lots, []

def generer(*arguments, **reglages):
    if len(lots) == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    lots.append(arguments)
    return vraie(*arguments, **reglages)

comparaison.generer_par_lots = generer
principal(sys.argv[1:])
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows n’a pas de signal 9")
def test_une_evaluation_tuee_reprend_ou_elle_en_etait(
    dossier_petit, adaptateur, fichier_corpus, tmp_path, monkeypatch
):
    """Un vrai kill -9, dans un autre processus : seuls les lots perdus se redemandent."""
    page = tmp_path / "r.html"
    options = ("--rapport", str(page), "--general", str(fichier_corpus))
    commande = _commande(dossier_petit, adaptateur, fichier_corpus, *options)
    tuee = subprocess.run(
        [sys.executable, "-c", TUEE, *commande], env=ENVIRONNEMENT, capture_output=True
    )
    assert tuee.returncode == -signal.SIGKILL
    assert not page.exists()
    demandes, vraie = [], comparaison.generer_par_lots
    monkeypatch.setattr(
        comparaison,
        "generer_par_lots",
        lambda *arguments, **reglages: demandes.append(arguments) or vraie(*arguments, **reglages),
    )
    assert principal(commande) == 0
    assert len(demandes) == 3  # cinq lots en tout, dont deux relus
    assert not (tmp_path / "r.evaluation.jsonl").exists()
    assert page.exists()


def test_d_autres_reglages_ne_relisent_pas_ces_reponses(petit, corpus, tmp_path):
    """Ni une autre longueur, ni un autre adaptateur, ni d'autres questions."""
    tokenizer, modele = petit
    fichier = tmp_path / "j.jsonl"
    lots = lambda: len(fichier.read_text("utf-8").splitlines())  # noqa: E731

    def evaluer(signature, questions, **options):
        garde = journal.Journal(fichier)
        garde.signer(signature)
        fait = fabrique.evaluer(
            modele, tokenizer, questions, journal=garde, lot=4, **{"max_new_tokens": 3} | options
        )
        return [e["reponse"] for e in fait.exemples]

    premieres = evaluer("a", corpus)
    assert lots() == 3
    assert evaluer("a", corpus) == premieres
    assert lots() == 3
    evaluer("a", corpus, max_new_tokens=2)
    assert lots() == 6
    evaluer("b", corpus)
    assert lots() == 9
    evaluer("a", corpus.select(range(4)))
    assert lots() == 10


# ---------------------------------------------------------------- jamais une question apprise


@pytest.fixture(scope="module")
def appris(dossier_petit, corpus, tmp_path_factory) -> Path:
    """Un adaptateur appris sur les deux tiers du petit corpus, sans colonne « jeu »."""
    dossier = tmp_path_factory.mktemp("appris") / "adaptateur"
    tokenizer, modele = fabrique.charger(dossier_petit, "nf4", silencieux=True)
    reglages = Reglages(epochs=1, val_set_size=4, learning_rate=1e-2, warmup_steps=0)
    fabrique.entrainer(modele, tokenizer, corpus, reglages, dossier)
    return dossier


def _posees(page: Path) -> list[str]:
    return [e["question"] for e in _lire(page)["evaluations"][0]["exemples"]]


def test_les_questions_sont_celles_que_l_apprentissage_a_mises_de_cote(
    dossier_petit, appris, corpus, fichier_corpus, tmp_path, capsys
):
    page = tmp_path / "r.html"
    options = ("--rapport", str(page), "--general", "")
    assert principal(_commande(dossier_petit, appris, fichier_corpus, *options)) == 0
    attendues = {demande(e) for e in repartir(corpus, 4)[1]}
    assert set(_posees(page)) == attendues
    assert len(attendues) == 4
    assert "7 questions sont écartées : l’adaptateur les a apprises. Il en reste 4." in (
        capsys.readouterr().out
    )


def test_d_un_autre_corpus_les_questions_apprises_sont_ecartees(
    dossier_petit, appris, corpus, tmp_path
):
    """Même écrites autrement (apostrophe, blancs, accents, ligature, ponctuation), et même dans un jeu de test."""
    sues = [e["instruction"] for e in repartir(corpus, 4)[0] if not e["input"]]
    nues = [unicodedata.normalize("NFD", q).replace("\u0301", "").replace(" ?", "?") for q in sues]
    autres = [
        *({"instruction": q, "output": "Oui."} for q in nues),
        *({"instruction": q.replace(" ", "\u00a0\u200b"), "output": "Oui."} for q in sues),
        *({"instruction": f" {q.upper()} ".replace("’", "'"), "output": "Oui."} for q in sues),
        *({"instruction": f"Question neuve {n} ?", "output": "Non."} for n in range(5)),
    ]
    for jeu in ("", "test"):
        fichier, page = tmp_path / f"autre{jeu}.jsonl", tmp_path / f"r{jeu}.html"
        lignes = (json.dumps({"input": "", "jeu": jeu, **e}) for e in autres)
        fichier.write_text("\n".join(lignes), "utf-8")
        options = ("--rapport", str(page), "--general", "", "--exemples", "0")
        assert principal(_commande(dossier_petit, appris, fichier, *options)) == 0
        assert _posees(page) == [f"Question neuve {n} ?" for n in range(5)]


def test_sans_rien_de_neuf_ou_sans_rien_savoir_on_refuse(
    dossier_petit, appris, corpus, fichier_corpus, tmp_path, capsys
):
    su = tmp_path / "su.jsonl"
    repartir(corpus, 4)[0].to_json(su, force_ascii=False)
    assert principal(_commande(dossier_petit, appris, su)) == 1
    assert "a appris toutes les questions de ce corpus" in capsys.readouterr().err
    muet = Path(shutil.copytree(appris, tmp_path / "muet"))
    (muet / "origine.json").unlink()
    assert principal(_commande(dossier_petit, muet, fichier_corpus)) == 1
    assert "ne disent quelles questions ont été apprises" in capsys.readouterr().err
    # Le corpus, lui, le dit : on le croit, et le rapport l'écrit.
    reparti, page = tmp_path / "reparti.jsonl", tmp_path / "r.html"
    jeux = ["entrainement"] * 7 + ["validation"] * 4
    corpus.remove_columns("jeu").add_column("jeu", jeux).to_json(reparti, force_ascii=False)
    options = ("--rapport", str(page), "--general", "")
    assert principal(_commande(dossier_petit, muet, reparti, *options)) == 0
    assert _posees(page) == [demande(e) for e in corpus.select(range(7, 11))]
    assert "d’après la colonne « jeu »" in page.read_text("utf-8")


# ---------------------------------------------------------------- le harnais


class _Chargeur(yaml.SafeLoader):
    """Lit « !function jeux.mesurer » comme un texte."""


_Chargeur.add_constructor("!function", lambda chargeur, noeud: chargeur.construct_scalar(noeud))


def test_les_taches_du_harnais_nomment_des_fonctions_et_des_mesures_qui_existent():
    lieu = importlib.util.spec_from_file_location("jeux", harnais.TACHES / "jeux.py")
    jeux = importlib.util.module_from_spec(lieu)
    lieu.loader.exec_module(jeux)
    commun = yaml.load((harnais.TACHES / "_commun.yaml").read_text("utf-8"), _Chargeur)
    assert {m["metric"] for m in commun["metric_list"]} == set(COMPARAISONS)
    assert commun["process_results"] == "jeux.mesurer"
    taches = sorted(harnais.TACHES.glob("fabrique_*.yaml"))
    assert len(taches) == 3
    for fichier in taches:
        tache = yaml.load(fichier.read_text("utf-8"), _Chargeur)
        assert tache["task"] == fichier.stem
        jeu_livre = getattr(jeux, tache["custom_dataset"].removeprefix("jeux."))(version=1.0)
        assert {"instruction", "input", "output"} <= set(
            jeu_livre[commun["test_split"]].column_names
        )
        assert set(jeu_livre[commun["test_split"]]["jeu"]) == {"test"}
    assert jeux.mesurer({"output": "Oui."}, [" Oui. "])["f1"] == 1


def test_sans_le_harnais_on_dit_comment_l_installer(monkeypatch):
    monkeypatch.setattr(harnais.importlib.util, "find_spec", lambda nom: None)
    with pytest.raises(ErreurFabrique, match=r"fabrique\[harness\]"):
        harnais.passer_le_harnais("falcon-poche")


def test_le_harnais_donne_nos_notes(dossier_par_coeur):
    """Quand il est installé : les mêmes questions, les mêmes réponses, les mêmes notes."""
    pytest.importorskip("lm_eval")
    (notes,) = harnais.passer_le_harnais(
        str(dossier_par_coeur), quantification="aucune", questions=4
    ).values()
    tokenizer, modele = fabrique.charger(dossier_par_coeur, "aucune", silencieux=True)
    test = fabrique.lire_corpus("demarches").filter(lambda e: e["jeu"] == "test").select(range(4))
    notre = fabrique.evaluer(modele, tokenizer, test)
    for nom in COMPARAISONS:
        assert notes[f"{nom},none"] == pytest.approx(notre.valeur(nom), abs=2e-2), nom


def test_le_carbone_est_dit_avec_ses_hypotheses():
    """Cent secondes d'un processeur ; rien d'inventé pour une carte inconnue."""
    dit = epreuve.carbone(None, 100)
    assert dit == "0,07 g de CO₂\u00a0: 42,5 W pendant toute la durée, 56,0 g par kWh en France"
    assert epreuve.carbone("carte inconnue", 100) is None
