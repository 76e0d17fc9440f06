"""Lire un corpus : tous les formats, et le bon endroit quand il est abîmé."""

import csv
import gzip
import io
import json
import re
from collections import Counter

import pytest
from datasets import Dataset
from hypothesis import given, strategies as st

from fabrique.corpus import COLONNES, jeu, lire_corpus, repartir
from fabrique.corpus.formats import demande
from fabrique.socle.erreurs import DONNEES, ErreurFabrique

LIGNES = [
    {"instruction": "Où voter ?", "input": "", "output": "À la mairie.", "jeu": "entrainement"},
    {"instruction": "Résumez.", "input": "Deux\nlignes.", "output": "Bref,\nvoilà.", "jeu": "test"},
    {"instruction": "Et l’œuvre ?", "input": "", "output": "« 3 € » ; oui.", "jeu": "validation"},
]


def en_csv(lignes, separateur=","):
    """Le texte CSV de lignes, tel que le module de Python l'écrit."""
    flux = io.StringIO(newline="")
    ecrivain = csv.DictWriter(flux, list(lignes[0]), delimiter=separateur)
    ecrivain.writeheader()
    ecrivain.writerows(lignes)
    return flux.getvalue()


def en_jsonl(lignes):
    return "\n".join(json.dumps(ligne, ensure_ascii=False) for ligne in lignes) + "\n"


FORMATS = {
    "c.json": json.dumps(LIGNES, ensure_ascii=False).encode(),
    "aere.json": json.dumps(LIGNES, indent=4).encode(),
    "c.jsonl": en_jsonl(LIGNES).encode(),
    "marque.jsonl": en_jsonl(LIGNES).encode("utf-8-sig"),
    "jsonl_nomme.json": en_jsonl(LIGNES).encode(),
    "c.csv": en_csv(LIGNES).encode(),
    "excel.csv": en_csv(LIGNES, ";").encode("cp1252"),
    "marque.csv": en_csv(LIGNES, ";").encode("utf-8-sig"),
    "c.tsv": en_csv(LIGNES, "\t").encode(),
    "c.json.gz": gzip.compress(json.dumps(LIGNES).encode()),
    "c.jsonl.gz": gzip.compress(en_jsonl(LIGNES).encode()),
    "c.csv.gz": gzip.compress(en_csv(LIGNES).encode()),
}


@pytest.fixture
def ecrire(tmp_path):
    """Écrit des octets (ou du texte en UTF-8) dans un fichier et rend son chemin."""

    def ecrire_un(nom, contenu):
        chemin = tmp_path / nom
        chemin.write_bytes(contenu.encode() if isinstance(contenu, str) else contenu)
        return chemin

    return ecrire_un


def verifier_contenu(corpus):
    """Le corpus lu porte les colonnes canoniques et, dans l'ordre, tous les textes."""
    assert tuple(corpus.column_names) == COLONNES
    lues = [{cle: exemple[cle] for cle in LIGNES[0]} for exemple in corpus]
    # Un tableau d'Excel change les fins de ligne à l'intérieur des cellules : rien d'autre.
    assert [{c: v.replace("\r\n", "\n") for c, v in ligne.items()} for ligne in lues] == LIGNES
    assert corpus["id"][:] == ["1", "2", "3"]


@pytest.mark.parametrize("nom", FORMATS)
def test_chaque_format_rend_le_meme_corpus(ecrire, nom):
    verifier_contenu(lire_corpus(ecrire(nom, FORMATS[nom])))


def test_un_fichier_parquet_rend_le_meme_corpus(tmp_path):
    Dataset.from_list(LIGNES).to_parquet(tmp_path / "c.parquet")
    verifier_contenu(lire_corpus(tmp_path / "c.parquet"))


def test_un_dataset_rend_le_meme_corpus():
    verifier_contenu(lire_corpus(Dataset.from_list(LIGNES)))


def test_un_csv_d_excel_est_lu_et_signale(ecrire, capsys):
    chemin = ecrire("excel.csv", FORMATS["excel.csv"])
    lire_corpus(chemin)
    assert f"{chemin}, ligne 1 : lu en Windows-1252" in capsys.readouterr().out


def test_un_csv_en_utf8_ne_signale_rien(ecrire, capsys):
    lire_corpus(ecrire("c.csv", FORMATS["c.csv"]))
    assert capsys.readouterr().out == ""


textes = st.text(st.characters(codec="utf-8"), min_size=1).filter(str.strip)


@given(lignes=st.lists(st.tuples(textes, textes), min_size=1, max_size=3))
def test_tout_texte_unicode_traverse_un_fichier_jsonl(tmp_path_factory, lignes):
    chemin = tmp_path_factory.mktemp("unicode") / "c.jsonl"
    exemples = [{"instruction": question, "output": reponse} for question, reponse in lignes]
    chemin.write_text(en_jsonl(exemples), encoding="utf-8", newline="")
    corpus = lire_corpus(chemin)
    assert list(zip(corpus["instruction"], corpus["output"], strict=True)) == lignes


# ---------------------------------------------------------------- les fichiers abîmés


def refuser(chemin, message, ligne=None, champ=None):
    """Le fichier est refusé par une phrase qui nomme le fichier, la ligne, le champ, le remède."""
    with pytest.raises(ErreurFabrique, match=message) as prise:
        lire_corpus(chemin)
    erreur = prise.value
    assert (erreur.fichier, erreur.ligne, erreur.champ) == (chemin, ligne, champ)
    assert erreur.code == DONNEES
    assert erreur.remede
    assert "\n" not in str(erreur)
    assert str(erreur).startswith(str(chemin) + (f", ligne {ligne}" if ligne else ""))


def test_un_fichier_absent(tmp_path):
    refuser(tmp_path / "absent.json", "fichier introuvable")


def test_un_dossier_a_la_place_d_un_fichier(tmp_path):
    refuser(tmp_path, "un dossier")


@pytest.mark.parametrize("nom", ["vide.json", "vide.jsonl", "vide.csv", "vide.jsonl.gz"])
def test_un_fichier_vide(ecrire, nom):
    contenu = gzip.compress(b" \n") if nom.endswith(".gz") else b"\n \n"
    refuser(ecrire(nom, contenu), "le fichier est vide")


@pytest.mark.parametrize(("nom", "contenu"), [("c.json", "[]"), ("c.csv", "instruction,output\n")])
def test_un_fichier_sans_exemple(ecrire, nom, contenu):
    refuser(ecrire(nom, contenu), "aucun exemple")


def test_une_extension_inconnue(ecrire):
    refuser(ecrire("c.docx", b"PK"), "format « .docx »")


def test_un_json_coupe_au_milieu(ecrire):
    entier = json.dumps(LIGNES, indent=4)
    coupe = entier[: entier.index("lignes") + 3]
    refuser(ecrire("c.json", coupe), "JSON incomplet", ligne=coupe.count("\n") + 1)


def test_un_json_coupe_entre_deux_exemples(ecrire):
    coupe = json.dumps(LIGNES[:1], indent=4).rstrip("]\n")
    refuser(ecrire("c.json", coupe), "JSON incomplet", ligne=coupe.count("\n") + 1)


def test_un_jsonl_coupe_sur_sa_derniere_ligne(ecrire):
    refuser(ecrire("c.jsonl", en_jsonl(LIGNES)[:-20]), "JSON incomplet", ligne=3)


@given(st.data())
def test_un_json_coupe_n_importe_ou_est_refuse(tmp_path_factory, donnees):
    """Quel que soit l'endroit de la coupure, une phrase, jamais un corpus à moitié lu."""
    entier = json.dumps(LIGNES, indent=2)
    coupe = donnees.draw(st.integers(0, len(entier) - 1))
    chemin = tmp_path_factory.mktemp("coupe") / "c.json"
    chemin.write_text(entier[:coupe], encoding="utf-8")
    with pytest.raises(ErreurFabrique) as erreur:
        lire_corpus(chemin)
    assert erreur.value.fichier == chemin


def test_une_archive_coupee(ecrire):
    refuser(ecrire("c.jsonl.gz", FORMATS["c.jsonl.gz"][:-12]), "archive est incomplète")


def test_un_faux_parquet(ecrire):
    refuser(ecrire("c.parquet", b"PAR1 ceci n'en est pas un"), "Parquet")


@pytest.mark.parametrize("nom", ["c.json", "c.jsonl"])
def test_du_latin_1_dans_un_json_dit_la_ligne(ecrire, nom):
    ligne = '{"instruction": "%s", "output": "Oui."}'
    exemples = [ligne % "Bien ?", ligne % "Déjà ?"]
    texte = "[" + ",\n".join(exemples) + "]" if nom == "c.json" else "\n".join(exemples)
    refuser(ecrire(nom, texte.encode("latin-1")), "n’est pas en UTF-8", ligne=2)


def test_de_mauvaises_colonnes_sont_citees(ecrire):
    lignes = [{"question": "Où ?", "output": "Ici."}]
    motif = re.escape("« instruction » manque (colonnes lues : question, output)")
    refuser(ecrire("c.jsonl", en_jsonl(lignes)), motif, ligne=1, champ="instruction")
    refuser(ecrire("c.csv", en_csv(lignes)), motif, ligne=2, champ="instruction")


VINGT = [{"instruction": f"Question {n} ?", "input": "", "output": f"R{n}."} for n in range(1, 21)]


def test_un_output_manquant_a_la_ligne_17_d_un_jsonl(ecrire):
    lignes = [dict(ligne) for ligne in VINGT]
    del lignes[16]["output"]
    refuser(ecrire("c.jsonl", en_jsonl(lignes)), "« output » manque", ligne=17, champ="output")


@pytest.mark.parametrize("valeur", ["", "  \n", None, 3, ["Oui."]])
def test_un_output_vide_ou_d_un_autre_type_a_la_ligne_17(ecrire, valeur):
    lignes = [dict(ligne) for ligne in VINGT]
    lignes[16]["output"] = valeur
    refuser(
        ecrire("c.jsonl", en_jsonl(lignes)), "vide ou n’en est pas un", ligne=17, champ="output"
    )


def test_un_output_manquant_dans_un_json_aere(ecrire):
    """La ligne annoncée est celle où l'exemple commence dans le fichier."""
    lignes = [dict(ligne) for ligne in VINGT]
    del lignes[16]["output"]
    texte = json.dumps(lignes, indent=2)
    ligne = texte[: texte.index("Question 17 ?")].count("\n")  # l'accolade est juste au-dessus
    assert texte.split("\n")[ligne - 1] == "  {"
    refuser(ecrire("c.json", texte), "« output » manque", ligne=ligne, champ="output")


def test_un_output_vide_a_la_ligne_17_d_un_csv(ecrire):
    """L'en-tête occupe la première ligne ; un saut de ligne dans une cellule en occupe deux."""
    lignes = [dict(ligne) for ligne in VINGT]
    lignes[3]["input"] = "première\nseconde"
    lignes[14]["output"] = ""
    texte = en_csv(lignes)
    assert texte.replace("\r\n", "\n").split("\n")[16].startswith("Question 15 ?")
    refuser(ecrire("c.csv", texte), "vide ou n’en est pas un", ligne=17, champ="output")


def test_une_ligne_de_csv_trop_courte(ecrire):
    refuser(
        ecrire("c.csv", "instruction,output\nOù ?,Ici.\nQuand ?\n"),
        "vide ou n’en est pas un",
        ligne=3,
        champ="output",
    )


def test_un_exemple_qui_n_est_pas_un_objet(ecrire):
    refuser(ecrire("c.json", '[\n{"instruction": "a", "output": "b"},\n"c"]'), "objet", ligne=3)


def test_un_jeu_inconnu(ecrire):
    lignes = [{**LIGNES[0], "jeu": "train"}]
    refuser(ecrire("c.jsonl", en_jsonl(lignes)), "« train » n’existe pas", ligne=1, champ="jeu")


# ---------------------------------------------------------------- la répartition


@given(
    nombre=st.integers(2, 40), part=st.floats(0, 0.9) | st.integers(1, 40), graine=st.integers(0, 9)
)
def test_repartir_ne_perd_ni_ne_double_aucun_exemple(nombre, part, graine):
    corpus = lire_corpus(
        Dataset.from_list([{"instruction": str(n), "output": "x"} for n in range(nombre)])
    )
    voulus = round(part * nombre) if part < 1 else part
    if voulus >= nombre:
        with pytest.raises(ErreurFabrique, match="rien ne reste à apprendre"):
            repartir(corpus, part, graine)
        return
    appris, validation = repartir(corpus, part, graine)
    assert len(validation) == voulus
    assert sorted([*appris["id"], *validation["id"]]) == sorted(corpus["id"])
    assert repartir(corpus, part, graine)[1]["id"][:] == validation["id"][:]


#: Trois façons d'écrire une même demande : l'apostrophe, l'accent, l'espace, l'invisible.
FACONS = (
    "À l’école n° {}, où s’inscrire ?",
    "A l'ecole n° {}, ou s'inscrire\u00a0?",
    "À l’é\u200bcole n° {}, où s’inscrire ?",
)


@pytest.mark.parametrize("forme", ["instructions", "conversations"])
@pytest.mark.parametrize("validation", [0.3, 4])
@pytest.mark.parametrize("graine", range(5))
def test_des_demandes_jumelles_restent_du_meme_cote(forme, validation, graine):
    demandes = [facon.format(numero) for numero in range(6) for facon in FACONS]
    if forme == "instructions":
        lignes = [{"instruction": d, "output": f"Porte {n}."} for n, d in enumerate(demandes)]
    else:
        tours = [
            [{"role": "user", "content": d}, {"role": "assistant", "content": f"Porte {n}."}]
            for n, d in enumerate(demandes)
        ]
        lignes = [{"messages": messages} for messages in tours]
    corpus = lire_corpus(Dataset.from_list(lignes))
    appris, tenus = repartir(corpus, validation, graine)
    assert len(tenus) == 3
    numeros = [{re.search(r"n° (\d)", demande(e))[1] for e in cote} for cote in (appris, tenus)]
    assert not numeros[0] & numeros[1]
    assert sorted([*appris["id"], *tenus["id"]]) == sorted(corpus["id"])


def test_sans_jumelles_le_tirage_est_celui_du_melange():
    corpus = lire_corpus(
        Dataset.from_list([{"instruction": f"Guichet {n} ?", "output": "Oui."} for n in range(20)])
    )
    appris, validation = repartir(corpus, 5, 42)
    melange = corpus.shuffle(seed=42)["id"][:]
    assert [*validation["id"], *appris["id"]] == melange


def test_la_colonne_jeu_prime_sur_la_part_demandee():
    appris, validation = repartir(lire_corpus(Dataset.from_list(LIGNES)), 0.9)
    assert (appris["id"][:], validation["id"][:]) == (["1"], ["3"])


def test_un_jeu_mal_nomme_est_refuse():
    with pytest.raises(ErreurFabrique, match="« train » n’existe pas"):
        jeu(lire_corpus(Dataset.from_list(LIGNES)), "train")


# ---------------------------------------------------------------- le corpus livré


@pytest.fixture(scope="module")
def demarches():
    return lire_corpus("demarches")


def test_le_corpus_livre_a_de_quoi_apprendre(demarches):
    assert len(demarches) >= 300
    assert set(COLONNES) <= set(demarches.column_names)
    assert len(set(demarches["id"])) == len(demarches)
    for colonne in ("instruction", "output", "langue", "categorie", "source", "licence"):
        assert all(valeur.strip() for valeur in demarches[colonne]), colonne


@pytest.mark.parametrize("nom", ["demarches", "encyclopedie", "fiches", "salle_secours"])
def test_une_source_est_une_page_ou_dit_aupres_de_qui_verifier(nom: str):
    """L'accueil d'un site n'est pas une page : le fait n'y est pas."""
    for source in lire_corpus(nom)["source"]:
        page = re.fullmatch(r"https://[^/]+/[^/].*", source)
        assert page or re.fullmatch(r"à vérifier auprès (?:de |d’)[\w.-]+\.\w+", source), source


def test_le_corpus_livre_a_trois_jeux(demarches):
    tailles = Counter(demarches["jeu"])
    assert set(tailles) == {"entrainement", "validation", "test"}
    assert tailles["entrainement"] > 300
    assert min(tailles.values()) >= 30
    assert sum(len(jeu(demarches, nom)) for nom in tailles) == len(demarches)


def test_aucune_instruction_n_est_dans_deux_jeux(demarches):
    """Un exemple est une instruction et son texte joint : apprendre l'un n'est pas tester l'autre."""
    jeux = {}
    for exemple in demarches:
        cle = " ".join((exemple["instruction"] + " " + exemple["input"]).lower().split())
        jeux.setdefault(cle, set()).add(exemple["jeu"])
    assert [cle for cle, noms in jeux.items() if len(noms) > 1] == []


def test_aucune_reponse_n_est_dans_deux_jeux(demarches):
    jeux = {}
    for exemple in demarches:
        jeux.setdefault(exemple["output"].strip(), set()).add(exemple["jeu"])
    assert [texte for texte, noms in jeux.items() if len(noms) > 1] == []
