"""Les fichiers démesurés, piégés ou quelconques : lus juste, ou refusés vite et sans tout charger."""

import gzip
import io
import json
import os
import random
import subprocess
import sys
import zipfile
from pathlib import Path
from unittest.mock import patch

import pytest
from hypothesis import given, settings, strategies as st

from fabrique.corpus import controler, fichiers
from fabrique.corpus.fichiers import lire_lignes
from fabrique.socle.erreurs import ErreurFabrique

RACINE = Path(__file__).resolve().parent.parent
MEGA = 1 << 20
BON = {"instruction": "Où ?", "output": "Ici."}


def contenus(chemin: Path) -> list:
    """Tout ce qu'un fichier sain contient."""
    lignes = list(lire_lignes(chemin))
    assert [ligne.erreur for ligne in lignes] == [None] * len(lignes)
    return [ligne.contenu for ligne in lignes]


# ---------------------------------------------------------------- mémoire et temps bornés


def gonfler(bloc: bytes, total: int) -> bytes:
    """Une archive gzip de ``total`` octets : le même bloc compressé, répété membre après membre."""
    return gzip.compress(bloc) * (total // len(bloc))


#: Lit chaque fichier et dit ce qu'il a donné. La mémoire est plafonnée par le système ; le
#: paquet est réduit à ses lecteurs, pour ne pas attendre l'import de torch.
LECTURE = """
import json, resource, sys, types
from pathlib import Path
for nom in ("fabrique", "fabrique.corpus"):
    sys.modules[nom] = types.ModuleType(nom)
    sys.modules[nom].__path__ = [nom.replace(".", "/")]
from fabrique.corpus.fichiers import lire_lignes
from fabrique.socle.erreurs import ErreurFabrique

def memoire():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024

depart, dits = memoire(), {}
resource.setrlimit(resource.RLIMIT_CPU, (60, 60))
for chemin in map(Path, sys.argv[1:]):
    lus = 0
    try:
        for ligne in lire_lignes(chemin):
            lus += ligne.erreur is None
        dits[chemin.name] = [lus, "", None]
    except ErreurFabrique as erreur:
        dits[chemin.name] = [lus, erreur.message, erreur.ligne]
print(json.dumps({"dits": dits, "megaoctets": memoire() - depart}))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="resource n’existe pas sous Windows")
def test_un_fichier_demesure_est_refuse_sans_tout_charger(tmp_path):
    """Lignes géantes, archives qui se gonflent de 1 Go : moins de 350 Mo et d'une minute en tout."""
    geant = b'{"instruction": "' + b"a" * (40 * MEGA) + b'", "output": "Ici."}'
    espaces, zeros = b" " * 16 * MEGA, b"\0" * 16 * MEGA
    ecrits = {
        "geant.jsonl": json.dumps(BON).encode() + b"\n" + geant,
        "geant.json": b"[" + json.dumps(BON).encode() + b",\n" + geant + b"]",
        "geant.csv": b"instruction,output\nQui,Lui.\n" + b"a" * (40 * MEGA) + b",Ici.\n",
        "casse.json": b'[{"instruction": "Ou", output: "Ici."},\n' + geant + b"]",
        "zeros.jsonl.gz": gonfler(zeros, 1024 * MEGA),
        "espaces.jsonl.gz": gonfler(espaces, 1024 * MEGA),
        "espaces.json.gz": gonfler(espaces, 1024 * MEGA),
        "espaces.csv.gz": gonfler(espaces, 1024 * MEGA),
        "lignes.jsonl.gz": gonfler(b" " * 1023 + b"\n", 1024 * 4096)
        + gonfler((b" " * 1023 + b"\n") * 16384, 1024 * MEGA),
    }
    for nom, octets in ecrits.items():
        (tmp_path / nom).write_bytes(octets)
    fini = subprocess.run(
        [sys.executable, "-c", LECTURE, *(str(tmp_path / nom) for nom in ecrits)],
        capture_output=True,
        text=True,
        encoding="utf-8",
        cwd=RACINE,
        env={**os.environ, "PYTHONIOENCODING": "utf-8", "PYTHONPATH": str(RACINE)},
    )
    assert fini.returncode == 0, fini.stderr
    rendu = json.loads(fini.stdout)
    dits = rendu["dits"]
    for nom in ("geant.jsonl", "geant.json"):
        assert dits[nom] == [1, "un exemple dépasse 32 Mo", 2]
    assert dits["geant.csv"] == [1, "un exemple dépasse 32 Mo", 3]
    assert dits["casse.json"] == [0, "JSON incomplet ou mal formé (caractère 24)", 1]
    assert dits["zeros.jsonl.gz"][1] == "ce n’est pas un fichier de texte"
    assert dits["espaces.jsonl.gz"] == [0, "un exemple dépasse 32 Mo", 1]
    for nom in ("espaces.json.gz", "espaces.csv.gz", "lignes.jsonl.gz"):
        assert "archive démesurée" in dits[nom][1], nom
    assert rendu["megaoctets"] < 350


@pytest.mark.parametrize("nom", ["c.jsonl", "c.json", "c.csv"])
def test_un_exemple_plus_long_que_la_borne_est_refuse_a_sa_ligne(tmp_path, monkeypatch, nom):
    """Juste sous la borne, il est lu ; juste au-dessus, non."""
    monkeypatch.setattr(fichiers, "OBJET_MAX", 400)
    monkeypatch.setattr(fichiers, "MO", 64)
    debuts = {"c.jsonl": "{}\n%s\n{}", "c.json": "[{},\n%s,\n{}]", "c.csv": "a\nb\n%s\nc\n"}
    objet = "%s" if nom == "c.csv" else '{"a": "%s"}'
    chemin = tmp_path / nom
    chemin.write_text(debuts[nom] % (objet % ("a" * 300)))
    assert len(contenus(chemin)) == 3
    chemin.write_text(debuts[nom] % (objet % ("a" * 3000)))
    with pytest.raises(ErreurFabrique, match="un exemple dépasse") as prise:
        list(lire_lignes(chemin))
    assert prise.value.ligne == (3 if nom == "c.csv" else 2)


def test_une_archive_n_est_lue_que_jusqu_a_la_borne(tmp_path, monkeypatch):
    """Refus avant d'avoir tout décompressé : le flux s'arrête où il doit."""
    monkeypatch.setattr(fichiers, "MO", 1024)
    monkeypatch.setattr(fichiers, "GONFLEMENT_MAX", 2)
    chemin = tmp_path / "c.jsonl.gz"
    chemin.write_bytes(gzip.compress((b" " * 99 + b"\n") * 100_000))
    permis = 2 * chemin.stat().st_size + 64 * 1024
    lus = []
    lire = gzip.GzipFile.read
    monkeypatch.setattr(gzip.GzipFile, "read", lambda flux, n=-1: lus.append(n) or lire(flux, n))
    with pytest.raises(ErreurFabrique, match="archive démesurée"):
        list(lire_lignes(chemin))
    assert permis <= sum(lus) <= permis + 2 * 1024
    assert sum(lus) < 1_000_000


def test_une_archive_tres_compressible_mais_honnete_est_lue(tmp_path):
    """Le même exemple 20 000 fois : l'archive gonfle de 200 fois, et c'est permis."""
    chemin = tmp_path / "c.jsonl.gz"
    chemin.write_bytes(gzip.compress((json.dumps(BON).encode() + b"\n") * 20_000))
    assert contenus(chemin) == [BON] * 20_000


def test_les_lignes_vides_ne_comptent_pas_et_gardent_leur_numero(tmp_path):
    chemin = tmp_path / "c.jsonl"
    chemin.write_text("\n" * 300_000 + json.dumps(BON) + "\n")
    lignes = list(lire_lignes(chemin))
    assert [(ligne.numero, ligne.contenu) for ligne in lignes] == [(300_001, BON)]


def test_trop_d_exemples_sont_refuses(tmp_path, monkeypatch):
    monkeypatch.setattr(fichiers, "EXEMPLES_MAX", 1000)
    chemin = tmp_path / "c.jsonl"
    chemin.write_text("{}\n" * 1000)
    assert len(contenus(chemin)) == 1000
    chemin.write_text("{}\n" * 1001)
    with pytest.raises(ErreurFabrique, match="plus de 1000 exemples"):
        list(lire_lignes(chemin))


def test_un_fichier_illisible_est_abandonne_apres_cinquante_essais(tmp_path):
    chemin = tmp_path / "c.jsonl"
    chemin.write_text("pas du JSON\n" * 49)
    assert len(list(lire_lignes(chemin))) == 49
    chemin.write_text("pas du JSON\n" * 100_000)
    lues = []
    with pytest.raises(ErreurFabrique, match="aucun des 50 premiers exemples"):
        lues.extend(lire_lignes(chemin))
    assert controler(chemin).exemples == 49


@pytest.mark.parametrize("nom", ["c.json", "c.jsonl"])
@pytest.mark.parametrize("texte", ["[" * 100_000, '{"a":' * 100_000])
def test_un_json_imbrique_cent_mille_fois_est_refuse(tmp_path, nom, texte):
    chemin = tmp_path / nom
    chemin.write_text(f"{json.dumps(BON)}\n{texte}\n")
    try:
        lignes = list(lire_lignes(chemin))
        erreur = lignes[1].erreur
    except ErreurFabrique as cause:
        erreur = cause
    assert erreur.ligne == 2
    assert "JSON incomplet ou mal formé" in erreur.message


def test_un_json_presque_trop_imbrique_ne_casse_pas_le_controle(tmp_path):
    """Ce que Python sait encore lire, il peut ne plus savoir l'écrire : une phrase, jamais une trace."""
    for profondeur in (300, 900, 960, 975, 985, 990, 995):
        chemin = tmp_path / f"{profondeur}.jsonl"
        valeur = "[" * profondeur + "]" * profondeur
        chemin.write_text(f'{json.dumps(BON)}\n{{"instruction": {valeur}, "output": "Ici."}}\n')
        erreurs = controler(chemin).erreurs
        assert [(c.regle, c.ligne) for c in erreurs] in (
            [("structure.vide", 2)],
            [("structure.illisible", 2)],
        )


# ---------------------------------------------------------------- le bruit


EXTENSIONS = [
    *fichiers.FORMATS, ".json.gz", ".jsonl.gz", ".csv.gz", ".tsv.gz", ".xlsx.gz", ".parquet.gz",
]  # fmt: skip


def ce_qui_est_dit(chemin: Path) -> ErreurFabrique | list:
    """Le refus d'un fichier, ou les erreurs que le contrôle y trouve."""
    try:
        return controler(chemin).erreurs
    except ErreurFabrique as erreur:
        return erreur


@pytest.mark.parametrize("extension", EXTENSIONS)
@pytest.mark.parametrize(
    "debut", [b"", b"PK\x03\x04", b"PAR1", b"\x1f\x8b\x08\x00", b"[{", b"a,b\n"]
)
def test_du_bruit_binaire_est_refuse_sous_toute_extension(tmp_path, extension, debut):
    """Une phrase ou des constats ; ni trace, ni corpus."""
    hasard = random.Random(f"{extension}{debut}")
    for taille in (10, 1000, 200_000):
        chemin = tmp_path / f"bruit{taille}{extension}"
        chemin.write_bytes(debut + hasard.randbytes(taille))
        dit = ce_qui_est_dit(chemin)
        assert dit.fichier == chemin if isinstance(dit, ErreurFabrique) else dit


def archive_zip(**membres: bytes) -> bytes:
    """Un fichier zip aux membres donnés (« __ » vaut « / »)."""
    flux = io.BytesIO()
    with zipfile.ZipFile(flux, "w", zipfile.ZIP_DEFLATED) as archive:
        for nom, octets in membres.items():
            archive.writestr(nom.replace("__", "/"), octets)
    return flux.getvalue()


def test_un_classeur_qui_se_gonfle_est_refuse(tmp_path, monkeypatch):
    monkeypatch.setattr(fichiers, "CLASSEUR_MAX", 2 * MEGA)
    chemin = tmp_path / "c.xlsx"
    chemin.write_bytes(archive_zip(**{"xl__worksheets__sheet1.xml": b" " * (3 * MEGA)}))
    assert chemin.stat().st_size < 10_000
    with pytest.raises(ErreurFabrique, match="le classeur décompressé pèse 3 Mo"):
        list(lire_lignes(chemin))


def test_un_classeur_au_xml_casse_est_refuse(tmp_path):
    from openpyxl import Workbook

    classeur = Workbook()
    classeur.active.append(["instruction", "output"])
    classeur.active.append(["Où ?", "Ici."])
    classeur.save(tmp_path / "sain.xlsx")
    with zipfile.ZipFile(tmp_path / "sain.xlsx") as sain:
        membres = {nom: sain.read(nom) for nom in sain.namelist()}
    assert contenus(tmp_path / "sain.xlsx") == [BON]
    for nom in membres:
        chemin = tmp_path / "c.xlsx"
        chemin.write_bytes(archive_zip(**membres | {nom: membres[nom][: len(membres[nom]) // 2]}))
        dit = ce_qui_est_dit(chemin)
        # Casser le style ou le thème est sans effet : nous n'en avons que faire.
        assert dit == [] or "classeur Excel" in dit.message, nom


# ---------------------------------------------------------------- la fenêtre glissante

valeurs = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**20), 10**20)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8"), max_size=12),
    lambda dedans: (
        st.lists(dedans, max_size=3)
        | st.dictionaries(st.text(st.characters(codec="utf-8"), max_size=4), dedans, max_size=3)
    ),
    max_leaves=8,
)


@settings(max_examples=150)
@given(
    tableau=st.lists(valeurs, max_size=6),
    fenetre=st.integers(1, 40),
    retrait=st.sampled_from([None, 0, 3]),
    ascii=st.booleans(),
)
def test_un_tableau_json_se_lit_comme_avec_le_module_json(
    tmp_path_factory, tableau, fenetre, retrait, ascii
):
    """Quels que soient les valeurs et l'endroit où tombe le bord de la fenêtre."""
    chemin = tmp_path_factory.getbasetemp() / "tableau.json"
    texte = json.dumps(tableau, indent=retrait, ensure_ascii=ascii)
    chemin.write_text(texte, encoding="utf-8", newline="")
    with patch.object(fichiers, "MO", fenetre):
        assert contenus(chemin) == json.loads(texte)


@pytest.mark.parametrize("nombre", ["12345", "-1.5", "1e5", "1E+5", "2.5e-3", "0.000001", "true"])
@pytest.mark.parametrize("fenetre", range(1, 12))
def test_un_nombre_au_bord_de_la_fenetre_n_est_pas_coupe(tmp_path, monkeypatch, nombre, fenetre):
    monkeypatch.setattr(fichiers, "MO", fenetre)
    chemin = tmp_path / "c.json"
    chemin.write_text(f"[{nombre}, {nombre},{nombre} ]")
    assert contenus(chemin) == [json.loads(nombre)] * 3


def test_un_objet_plus_grand_que_la_fenetre_est_lu_entier(tmp_path, monkeypatch):
    monkeypatch.setattr(fichiers, "MO", 16)
    objets = [{"instruction": "é" * n, "output": "🙂" * n} for n in (1, 500, 3, 2000)]
    chemin = tmp_path / "c.json"
    chemin.write_text(json.dumps(objets, ensure_ascii=False), encoding="utf-8")
    assert contenus(chemin) == objets


blancs = st.text("\n \t", max_size=6)


@given(
    morceaux=st.lists(
        st.tuples(
            blancs, blancs, st.dictionaries(st.text("ab", max_size=2), st.integers(), max_size=3)
        ),
        min_size=1,
        max_size=8,
    ),
    tableau=st.booleans(),
    fenetre=st.integers(1, 40),
)
def test_chaque_objet_porte_le_numero_de_sa_ligne(tmp_path_factory, morceaux, tableau, fenetre):
    """Des blancs au hasard autour de chaque objet : sa ligne est celle de son accolade."""
    texte, attendus = "[" if tableau else "", []
    for rang, (avant, apres, objet) in enumerate(morceaux):
        texte += ("," if tableau and rang else "") + avant
        attendus.append(texte.count("\n") + 1)
        texte += json.dumps(objet, indent=1) + apres
    chemin = tmp_path_factory.getbasetemp() / "lignes.json"
    chemin.write_text(texte + ("]" if tableau else ""), encoding="utf-8", newline="")
    with patch.object(fichiers, "MO", fenetre):
        lues = [(ligne.numero, ligne.contenu) for ligne in lire_lignes(chemin)]
    assert lues == [(n, objet) for n, (_, _, objet) in zip(attendus, morceaux, strict=True)]


@pytest.mark.parametrize(
    ("texte", "ligne"),
    [
        ('[{"a": 1}]\n[{"a": 2}]', 2),
        ('[{"a": 1}]\n\nreste', 3),
        ('[{"a": 1}\n{"a": 2}]', 2),
        ('[{"a": 1},\n{"a": 2', 2),
        ('[{"a": 1},\n{"a": 1,\n b: 2}, {"a": 3}]', 3),
        ('{"a": 1}\n]', 2),
    ],
)
@pytest.mark.parametrize("fenetre", [1, 7, MEGA])
def test_un_tableau_mal_forme_dit_sa_ligne(tmp_path, monkeypatch, texte, ligne, fenetre):
    monkeypatch.setattr(fichiers, "MO", fenetre)
    chemin = tmp_path / "c.json"
    chemin.write_text(texte)
    with pytest.raises(ErreurFabrique, match="JSON incomplet") as prise:
        list(lire_lignes(chemin))
    assert prise.value.ligne == ligne
