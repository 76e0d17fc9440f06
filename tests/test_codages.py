"""Le codage d'un corpus : reconnu et dit, ou refusé ; jamais de faux accents appris en silence."""

import json
from random import Random

import pytest

from fabrique.corpus import controler, lire_corpus, verifier_encodage
from fabrique.corpus.codages import UN_OCTET, a_un_octet
from fabrique.ligne_de_commande import principal
from fabrique.socle.emplacements import dossier_data
from fabrique.socle.erreurs import ErreurFabrique

QUESTION, REPONSE = (
    "Où régler l’écharpe du préfet à l’été ?",
    "À l’hôtel de ville, près du château.",
)
OBJET = {"instruction": QUESTION, "output": REPONSE}
JSONL = json.dumps(OBJET, ensure_ascii=False) + "\n"
CSV = f"instruction;output\r\n{QUESTION};{REPONSE}\r\n"

#: Ce que chaque outil écrit : nom du fichier, octets, codage annoncé.
ECRITS = {
    "powershell": ("c.jsonl", JSONL.encode("utf-16"), "UTF-16"),
    "grand-boutiste": ("c.json", b"\xfe\xff" + f"[{JSONL}]".encode("utf-16-be"), "UTF-16"),
    "sans marque": ("c.jsonl", JSONL.encode("utf-16-le"), "UTF-16 sans marque"),
    "sans marque, grand-boutiste": ("c.csv", CSV.encode("utf-16-be"), "UTF-16 grand-boutiste"),
    "utf-32": ("c.json", JSONL.encode("utf-32"), "UTF-32"),
    "texte unicode d’Excel": ("c.csv", CSV.replace(";", "\t").encode("utf-16"), "UTF-16"),
    "windows": ("c.csv", CSV.encode("cp1252"), "Windows-1252"),
    "mac": ("c.csv", CSV.replace("\r\n", "\r").encode("mac_roman"), "Mac Roman"),
    "dos": ("c.csv", CSV.replace("’", "'").encode("cp850"), "CP850"),
    "latin 9": (
        "c.csv",
        CSV.replace("’", "'").replace("ville", "cœur").encode("iso8859-15"),
        "Latin-9",
    ),
}


@pytest.mark.parametrize("outil", ECRITS)
def test_un_codage_reconnu_est_lu_et_dit(tmp_path, capsys, outil):
    nom, octets, annonce = ECRITS[outil]
    chemin = tmp_path / nom
    chemin.write_bytes(octets)
    (lu,) = lire_corpus(chemin)
    assert lu["instruction"].replace("'", "’") == QUESTION
    assert f"{chemin}, ligne 1 : lu en {annonce}" in capsys.readouterr().out
    dits = [c for c in controler(chemin).constats if c.regle == "lecture.codage"]
    assert [(c.gravite, c.rang, c.ligne) for c in dits] == [("alerte", None, 1)]
    assert annonce in dits[0].message


def test_aucun_texte_francais_n_est_lu_dans_un_faux_codage():
    """Sur les corpus livrés : le bon texte ou un refus, et le refus est rare."""
    lignes = (dossier_data() / "demarches.jsonl").read_text("utf-8").splitlines()
    textes = [json.loads(ligne)["instruction"].replace("\u00a0", " ") for ligne in lignes]
    hasard, refus = Random(7), 0
    for _ in range(150):
        texte = "\n".join(hasard.sample(textes, 2))
        for codage in UN_OCTET:
            octets = texte.encode(codage.python, "ignore")
            choisi = a_un_octet(octets)
            refus += choisi is None and not octets.isascii()
            if choisi:
                assert octets.decode(choisi.python) == octets.decode(codage.python)
    assert refus <= 6


def test_un_codage_douteux_est_refuse(tmp_path):
    """« voilà » en CP850 est « voil… » en Windows-1252 : rien ne les départage."""
    chemin = tmp_path / "c.csv"
    chemin.write_bytes("instruction;output\nOui ?;Et voilà\n".encode("cp850"))
    with pytest.raises(ErreurFabrique, match="le codage ne se reconnaît pas") as prise:
        lire_corpus(chemin)
    assert prise.value.remede


@pytest.mark.parametrize("nom", ["c.csv", "c.jsonl"])
def test_un_octet_etranger_ne_touche_que_sa_ligne(tmp_path, nom):
    lignes = [f"Où est l’arrêté {n} ?;À l’accueil." for n in range(5)]
    if nom == "c.jsonl":
        lignes = [
            json.dumps(dict(zip(OBJET, x.split(";"), strict=True)), ensure_ascii=False)
            for x in lignes
        ]
    octets = [ligne.encode() for ligne in lignes]
    octets[3] = octets[3].replace("À".encode(), b"\xc0")
    entete = [b"instruction;output"] if nom == "c.csv" else []
    chemin = tmp_path / nom
    chemin.write_bytes(b"\n".join([*entete, *octets]) + b"\n")
    (erreur,) = controler(chemin).erreurs
    assert (erreur.regle, erreur.ligne) == ("structure.illisible", 4 + len(entete))
    assert "UTF-8" in erreur.message
    assert not [
        c for c in controler(chemin).constats if c.regle.startswith(("encodage", "lecture"))
    ]


@pytest.mark.parametrize("nom", ["c.csv", "c.jsonl"])
def test_un_fichier_coupe_au_milieu_d_un_caractere(tmp_path, nom):
    texte = {"c.csv": CSV + "Où ?;Au marché", "c.jsonl": JSONL + '{"instruction": "Où'}[nom]
    chemin = tmp_path / nom
    chemin.write_bytes(texte.encode()[:-1])
    (erreur,) = controler(chemin).erreurs
    assert erreur.ligne == (3 if nom == "c.csv" else 2)
    assert "coupé au milieu d’un caractère" in erreur.message


def test_un_utf16_coupe_dit_sa_ligne(tmp_path):
    chemin = tmp_path / "c.jsonl"
    chemin.write_bytes((JSONL * 3).encode("utf-16")[:-3])
    with pytest.raises(ErreurFabrique, match="abîmé ou coupé"):
        lire_corpus(chemin)


def test_finetune_refuse_un_texte_mal_decode_et_dit_le_reste(tmp_path, capsys):
    """Les mêmes règles d'encodage que ``controler``, avant de charger quoi que ce soit de lourd."""
    chemin = tmp_path / "c.jsonl"
    sain = {"instruction": "E\u0301crit ?", "output": "Oui."}
    chemin.write_text(json.dumps(sain), encoding="utf-8")
    verifier_encodage(chemin)
    assert f"{chemin}, ligne 1 : des accents" in capsys.readouterr().out
    abime = {"instruction": "Où ?", "output": "C’est dÃ©jÃ\u00a0 fermé."}
    chemin.write_text(f"{json.dumps(sain)}\n{json.dumps(abime)}\n", encoding="utf-8")
    options = [
        "--dataset",
        str(chemin),
        "--lora_out_dir",
        str(tmp_path / "s"),
        "--model",
        "falcon-poche",
    ]
    assert principal(["finetune", *options]) == 1
    assert f"{chemin}, ligne 2, champ « output » : des caractères" in capsys.readouterr().err
    assert not (tmp_path / "s").exists()
