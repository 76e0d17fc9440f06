"""Les jetons : coupés exactement, montrés fidèlement, comptés juste."""

from __future__ import annotations

import io
import json
import re
from contextlib import redirect_stdout
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, strategies as st
from tokenizers import Tokenizer, pre_tokenizers

from fabrique.jetons import (
    Decoupeur,
    Jeton,
    bruiter,
    cout,
    decouper,
    fertilite,
    montrer_jetons,
    ouvrir,
)
from fabrique.jetons.affichage import FONDS, en_html, en_terminal, en_texte
from fabrique.jetons.bpe import SIGNES, apprendre, couper, en_bibliotheque
from fabrique.jetons.mesure import SOSIES, rapport
from fabrique.ligne_de_commande import principal
from fabrique.socle.emplacements import FALCON_POCHE, dossier_data
from fabrique.socle.erreurs import ErreurFabrique

RACINE = Path(__file__).resolve().parent.parent
REELS = RACINE.parent / "shared" / "donnees" / "tokenizers"
FAMILLE = "👩\u200d⚕️ et 👨\u200d👩\u200d👧"
DEMI = "un \ud800 perdu"

tout_texte = st.text(st.characters(codec="utf-8"))
#: Du français et des emoji plus souvent que n'en donnerait le hasard.
francais = st.lists(
    st.sampled_from(
        ["l’", "œuvre", " ", "  ", "\n", "«\u00a0", "\u202f!", "12 345,6 €", "é", "e\u0301", "ſ"]
        + ["demande", "démarche", "🇫🇷", FAMILLE, "\0", "\u00ad", "▁", "<0x41>"]
    )
    | tout_texte,
    max_size=12,
).map("".join)


@pytest.fixture(scope="module")
def poche() -> Decoupeur:
    return ouvrir("falcon-poche")


@pytest.fixture(scope="module")
def v1() -> Decoupeur:
    return ouvrir("mistral-v1")


@pytest.fixture(scope="module")
def tekken() -> Decoupeur:
    return ouvrir("mistral-tekken")


def reel(nom: str) -> Decoupeur:
    """Un tokenizer réel, quand l'équipe l'a sous la main."""
    if not (REELS / nom).is_dir():
        pytest.skip("les tokenizers réels ne sont pas là")
    return ouvrir(REELS / nom)


# ---------------------------------------------------------------- le BPE en trente lignes


def test_les_fusions_sont_les_paires_les_plus_frequentes():
    """Comptées à la main : « zq » quatre fois, puis « zqzq » deux ; la suivante, à une, est la première."""
    assert apprendre(["zqzq zqzq xk"], 3) == [(b"z", b"q"), (b"zq", b"zq"), (b" ", b"zqzq")]


def test_l_apprentissage_s_arrete_quand_tout_est_fusionne():
    assert apprendre(["le"], 10) == [(b"l", b"e")]
    assert apprendre([], 10) == []


@pytest.fixture(scope="module")
def fusions() -> list[tuple[bytes, bytes]]:
    lignes = (dossier_data() / "demarches.jsonl").read_text("utf-8").splitlines()[:25]
    return apprendre([json.loads(ligne)["output"] for ligne in lignes], 250)


@given(texte=francais)
def test_le_bpe_coupe_comme_la_bibliotheque_avec_les_memes_fusions(fusions, texte):
    coupes = couper(texte, fusions)
    assert b"".join(coupes) == texte.encode()
    attendus = en_bibliotheque(fusions).encode(texte).tokens
    assert ["".join(SIGNES[octet] for octet in jeton) for jeton in coupes] == attendus


@given(texte=francais.filter(lambda texte: "<|" not in texte))  # ni jeton spécial
def test_le_bpe_coupe_comme_le_tokenizer_livre(fusions_livrees, poche, texte):
    coupes = couper(texte, fusions_livrees)
    assert coupes == [poche.octets(jeton) for jeton in poche.coder(texte)]


@pytest.fixture(scope="module")
def fusions_livrees() -> list[tuple[bytes, bytes]]:
    """Les milliers de fusions du Falcon de poche, lues dans son fichier."""
    octets = {signe: octet for octet, signe in SIGNES.items()}
    lues = json.loads((FALCON_POCHE / "tokenizer.json").read_text("utf-8"))["model"]["merges"]
    return [tuple(bytes(octets[signe] for signe in moitie) for moitie in paire) for paire in lues]


def test_une_fusion_apprise_deux_fois_par_deux_chemins_suit_la_bibliotheque():
    """« abc » naît de a+bc ou de ab+c ; la paire (abc, d) peut alors précéder celle qui l'a fait naître."""
    fusions = [(b"b", b"c"), (b"a", b"bc"), (b"abc", b"d"), (b"a", b"b"), (b"ab", b"c")]
    for texte in ("abcd", "abcabcd", "ababcdbcd", "aabbccdd"):
        attendus = en_bibliotheque(fusions).encode(texte).tokens
        assert [jeton.decode() for jeton in couper(texte, fusions)] == attendus


def test_l_alphabet_est_celui_de_la_bibliotheque():
    assert set(SIGNES.values()) == set(pre_tokenizers.ByteLevel.alphabet())


@pytest.mark.parametrize("fonction", [apprendre, couper])
def test_un_demi_caractere_est_refuse_en_francais(fonction):
    with pytest.raises(ErreurFabrique, match="demi-caractère"):
        fonction(*(([DEMI], 3) if fonction is apprendre else (DEMI, [])))


# ---------------------------------------------------------------- les tokenizers


def test_les_47_vecteurs_de_falcon_sont_exacts():
    falcon = reel("falcon")
    entrees, sorties = (
        (REELS / f"falcon/vecteurs.{nom}").read_bytes().decode() for nom in ("inp", "out")
    )
    textes = entrees.split("\n__ggml_vocab_test__\n")
    # Le dernier texte est vide, et sa ligne aussi.
    attendus = [[int(nombre) for nombre in ligne.split()] for ligne in sorties.split("\n")]
    assert len(attendus) == 47
    assert [falcon.coder(texte) for texte in textes] == attendus


def test_lucie_se_lit_dans_son_fichier():
    """AutoTokenizer (transformers 5.23) le rebâtit sans sa normalisation : « œuvre » en deux jetons."""
    lucie = reel("lucie")
    direct = Tokenizer.from_file(str(REELS / "lucie/tokenizer.json"))
    texte = "l’œuvre\nde l’État"
    assert lucie.coder(texte) == direct.encode(texte, add_special_tokens=False).ids
    assert " œuvre".encode() in [lucie.octets(jeton) for jeton in lucie.coder(texte)]


@pytest.mark.parametrize(
    ("nom", "entrees"), [("falcon-poche", 8192), ("mistral-v1", 32000), ("mistral-tekken", 131072)]
)
def test_chaque_tokenizer_livre_s_ouvre_sans_reseau(nom, entrees):
    tokenizer = ouvrir(nom)
    assert (tokenizer.nom, tokenizer.entrees) == (nom, entrees)
    assert tokenizer.coder("") == []
    with pytest.raises(ErreurFabrique, match=f"{nom} n’a pas de jeton numéro {entrees}"):
        tokenizer.octets(entrees)


@given(texte=francais)
def test_les_octets_mis_bout_a_bout_redonnent_le_texte(poche, tekken, texte):
    for tokenizer in (poche, tekken):
        assert b"".join(map(tokenizer.octets, tokenizer.coder(texte))) == texte.encode()


@given(texte=st.text(st.characters(codec="utf-8", exclude_characters="▁"), min_size=1))
def test_sentencepiece_ajoute_une_espace_et_ne_perd_rien(v1, texte):
    assert b"".join(map(v1.octets, v1.coder(texte))) == f" {texte}".encode()


def test_un_jeton_special_ecrit_par_l_utilisateur_ne_passe_pas_partout(poche, v1, tekken):
    """La bibliothèque tokenizers le prend pour un ordre ; celles de Mistral, pour du texte."""
    assert set(poche.coder("<|fin|>")) <= poche.speciaux
    for mistral in (v1, tekken):
        assert not set(mistral.coder("<s></s>[INST]")) & mistral.speciaux


def test_un_dossier_qui_tronque_compte_quand_meme_tout(tmp_path):
    moteur = Tokenizer.from_file(str(FALCON_POCHE / "tokenizer.json"))
    moteur.enable_truncation(4)
    moteur.enable_padding(length=8)
    moteur.save(str(tmp_path / "tokenizer.json"))
    tokenizer = ouvrir(tmp_path)
    assert len(tokenizer.coder("1234567")) == 7
    assert len(tokenizer.coder("12")) == 2


# ---------------------------------------------------------------- l'affichage


def test_un_caractere_coupe_montre_ses_octets(poche):
    """« 👩 » tient en trois jetons, « ⚕ » en trois aussi : chaque octet paraît une fois, dans l'ordre."""
    montres = "".join(jeton.visible for jeton in decouper("👩⚕", poche).jetons)
    assert montres == "".join(f"⟨{octet:02X}⟩" for octet in "👩⚕".encode())


def test_ce_qui_ne_se_voit_pas_se_montre(poche):
    montres = "".join(
        j.visible for j in decouper("a\u00a0b\u202fc d\n\t\0\u00ad\u2003", poche).jetons
    )
    assert montres == "a⟨insécable⟩b⟨fine⟩c␣d↵⇥⟨00⟩⟨C2⟩⟨AD⟩⟨E2⟩⟨80⟩⟨83⟩"


def test_un_accent_detache_se_pose_sur_un_rond():
    assert Jeton(0, "\u0301".encode()).visible == "◌\u0301"
    assert Jeton(0, b"").visible == "⟨vide⟩"


@given(texte=francais)
def test_ce_qu_on_montre_vient_du_texte_et_de_lui_seul(poche, texte):
    decoupe = decouper(texte, poche)
    assert decoupe.octets == texte.encode()
    assert decoupe.ecart == ""
    assert all(jeton.visible.isprintable() for jeton in decoupe.jetons)


def test_un_tokenizer_qui_recrit_le_texte_le_dit(v1):
    assert "ajoute une espace" in decouper("Bonjour", v1).ecart
    assert "récrit" in decouper("▁Bonjour", v1).ecart
    assert "récrit" in decouper("e\u0301tat\r\n", reel("lucie")).ecart


def test_le_html_echappe_le_texte_et_nomme_la_liste(poche):
    rendu = en_html(decouper('<script>alert("é")</script> & 👩 <|fin|>', poche), identifiants=True)
    assert "<script" not in rendu
    assert "&amp;" in rendu
    assert rendu.count('role="listitem"') == len(
        poche.coder('<script>alert("é")</script> & 👩 <|fin|>')
    )
    assert re.search(
        r'role="list" aria-label="Texte coupé en jetons\. falcon-poche : \d+ jeton', rendu
    )
    assert re.search(r'title="jeton spécial"[^>]*>&lt;\|fin\|&gt;&nbsp;<small>2</small>', rendu)
    assert rendu.count("border:") == rendu.count("<code")


def test_les_couleurs_se_lisent():
    """Du noir sur chaque fond : le contraste des règles d'accessibilité (7 pour 1), et plus."""
    for fond in FONDS:
        canaux = [int(fond[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        lineaires = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in canaux]
        luminance = np.dot([0.2126, 0.7152, 0.0722], lineaires)
        assert (luminance + 0.05) / 0.05 > 12


def test_le_terminal_montre_le_meme_texte_en_couleurs(poche):
    decoupe = decouper("L’œuvre 👩 <|fin|>", poche)
    couleurs, nu = en_terminal(decoupe, identifiants=True), en_texte(decoupe, identifiants=True)
    assert re.sub(r"\033\[[\d;]*m", "", couleurs) == nu
    assert couleurs.count("\033[0m") == len(decoupe.jetons)
    assert nu.splitlines()[0].startswith("L’ ")


def test_un_long_texte_tient_sur_un_ecran(poche):
    decoupe = decouper("9" * 1000, poche)
    for rendre in (en_html, en_terminal, en_texte):
        assert "… et 700 autres jetons" in rendre(decoupe)
    assert len(en_html(decoupe)) < 70_000


def test_un_carnet_recoit_le_html_et_le_texte_nu(poche, monkeypatch):
    montres = []
    monkeypatch.setattr(
        "fabrique.jetons.affichage.display", lambda objet, raw: montres.append(objet)
    )
    montrer_jetons("Bonjour", poche)
    assert set(montres[0]) == {"text/html", "text/plain"}


# ---------------------------------------------------------------- la mesure


def de_lettres(nom: str = "lettres") -> Decoupeur:
    """Un tokenizer d'une lettre par jeton : tout s'y compte à la main."""
    return Decoupeur(
        nom, {rang: bytes([rang]) for rang in range(128)}, frozenset(), lambda t: [*t.encode()]
    )


def test_la_fertilite_comptee_a_la_main():
    (mesure,) = fertilite({"essai": ["un é", "deux  mots\nici"]}, [de_lettres()])
    # 5 octets et 2 mots, puis 14 octets et 3 mots ; un jeton par octet.
    assert (mesure.documents, mesure.mots, mesure.jetons, mesure.jetons_max) == (2, 5, 19, 14)
    assert mesure.jetons_par_mot.valeur == 19 / 5
    assert (mesure.octets_par_jeton.valeur, mesure.caracteres_par_jeton.valeur) == (1, 18 / 19)
    # Deux documents : le tirage ne peut donner que 10/4, 19/5 ou 28/6.
    assert mesure.jetons_par_mot.ic95 == (10 / 4, 28 / 6)


def test_chaque_genre_et_chaque_tokenizer_ont_leur_ligne():
    genres = {"un": ["a"], "deux": ["b c"]}
    mesures = fertilite(genres, [de_lettres("x"), de_lettres("y")])
    assert [(m.genre, m.tokenizer) for m in mesures] == [
        ("un", "x"),
        ("un", "y"),
        ("deux", "x"),
        ("deux", "y"),
    ]


def test_l_intervalle_couvre_la_verite_environ_dix_neuf_fois_sur_vingt():
    """Deux cents échantillons de quarante documents, de fertilité vraie 1,5."""
    hasard = np.random.default_rng(0)
    couverts = 0
    for graine in range(200):
        mots = hasard.integers(50, 200, size=40).astype(float)
        bas, haut = rapport(mots * hasard.normal(1.5, 0.2, size=40), mots, graine).ic95
        couverts += bas <= 1.5 <= haut
    assert 180 <= couverts <= 198


@pytest.mark.parametrize("textes", [[], [""], ["", " \n"]])
def test_sans_mot_pas_de_fertilite(textes):
    (mesure,) = fertilite({"vide": textes}, [de_lettres()])
    assert mesure.jetons_par_mot.valeur is None
    assert mesure.jetons_par_mot.ic95 is None


def test_un_document_vide_ne_trouble_pas_l_intervalle():
    (avec,) = fertilite({"g": ["un mot", "deux autres mots", ""]}, [de_lettres()])
    (sans,) = fertilite({"g": ["un mot", "deux autres mots"]}, [de_lettres()])
    assert avec.jetons_par_mot == sans.jetons_par_mot


def test_le_cout_compte_a_la_main():
    facture = cout("a" * 250, de_lettres(), prix_par_million_de_jetons=4, contexte=1000)
    assert (facture.jetons, facture.euros, facture.part_contexte) == (250, 0.001, 0.25)
    assert cout("", de_lettres()).euros is None
    assert cout("a" * 20, de_lettres(), contexte=10).part_contexte == 2


@pytest.mark.parametrize("tarif", [{"prix_par_million_de_jetons": -1}, {"contexte": 0}])
def test_un_tarif_impossible_est_refuse(tarif):
    with pytest.raises(ErreurFabrique):
        cout("a", de_lettres(), **tarif)


# ---------------------------------------------------------------- le bruit du scanner

PHRASE = (
    "Le formulaire est déclaré illisible : reprenez la demande à 10 h, O. B. n’a rien signé. " * 20
)


def test_le_bruit_ne_depend_que_de_sa_graine():
    assert bruiter(PHRASE, 0.1, 7) == bruiter(PHRASE, 0.1, 7) != bruiter(PHRASE, 0.1, 8)
    assert bruiter(PHRASE, 0) == PHRASE
    assert bruiter("", 1) == ""


def test_le_bruit_touche_la_part_demandee():
    """Sans sosie de deux lettres, la longueur ne change pas : les écarts se comptent."""
    texte = "essai à été " * 200
    ecarts = sum(a != b for a, b in zip(texte, bruiter(texte, 0.13), strict=True))
    assert ecarts == round(0.13 * len(texte))


def test_le_bruit_n_ecrit_que_des_sosies():
    for motif, sosies in SOSIES.items():
        assert bruiter(motif, 1) in sosies
        assert motif not in sosies
    assert bruiter("zZ%", 1) == "zZ%"


@pytest.mark.parametrize("part", [-0.1, 1.1, float("nan")])
def test_une_part_impossible_est_refusee(part):
    with pytest.raises(ErreurFabrique, match="entre 0 et 1"):
        bruiter("a", part)


def test_le_bruit_augmente_la_fertilite(poche):
    propre, bruite = (len(poche.coder(t)) for t in (PHRASE, bruiter(PHRASE, 0.1)))
    assert bruite > 1.2 * propre


# ---------------------------------------------------------------- la commande


def en_json(*arguments) -> tuple[int, dict]:
    """Le code et le seul objet que la commande écrit sur la sortie."""
    sortie = io.StringIO()
    with redirect_stdout(sortie):
        code = principal(["jetons", *map(str, arguments), "--json"])
    return code, json.loads(sortie.getvalue())


def test_la_commande_rend_le_tableau(capsys, tmp_path):
    fichier = tmp_path / "note.txt"
    fichier.write_text("Le maire signe.\r\n", encoding="utf-8", newline="")
    options = ["--tokenizer", "falcon-poche", "--tokenizer", "mistral-v1"]
    assert principal(["jetons", str(fichier), *options, "--prix", "2", "--contexte", "100"]) == 0
    dit = capsys.readouterr().out
    assert "1 document, 3 mots" in dit
    assert re.search(r"^falcon-poche +8\u202f192 +\d+ .*0,0000\d\d +\d,\d\u00a0%$", dit, flags=re.M)
    assert re.search(r"^mistral-v1 +32\u202f000 ", dit, flags=re.M)


def test_la_commande_coupe_un_texte_sous_les_yeux(capsys, poche):
    assert principal(["jetons", "--texte", "Le maire", "--identifiants"]) == 0
    premier = capsys.readouterr().out.splitlines()[0]
    assert premier == "│".join(
        f"{jeton.visible} {jeton.identifiant}" for jeton in decouper("Le maire", poche).jetons
    )


def test_le_json_porte_les_memes_nombres(poche):
    code, objet = en_json("demarches", "--prix", "1", "--contexte", "512", "--texte", "é")
    (mesure,) = objet["tokenizers"]
    assert code == 0
    assert mesure["jetons"] == pytest.approx(mesure["jetons_par_mot"] * objet["mots"])
    bas, haut = mesure["jetons_par_mot_ic95"]
    assert bas < mesure["jetons_par_mot"] < haut
    assert mesure["euros"] == mesure["jetons"] / 1e6
    assert mesure["part_contexte"] == mesure["jetons_max"] / 512
    assert objet["decoupes"][0]["identifiants"] == poche.coder("é")


@pytest.mark.parametrize("contenu", ["", "\ufeff", " \n\t ", "a\0b\0" * 100, "€" * 5, "\u200b" * 9])
def test_un_fichier_etrange_se_compte_juste(tmp_path, poche, contenu):
    fichier = tmp_path / "note.txt"
    fichier.write_text(contenu, encoding="utf-8")
    code, objet = en_json(fichier)
    assert code == 0
    assert objet["tokenizers"][0]["jetons"] == len(poche.coder(contenu.removeprefix("\ufeff")))
    assert objet["mots"] == len(contenu.removeprefix("\ufeff").split())


def test_dix_megaoctets_d_une_ligne_se_comptent(tmp_path):
    fichier = tmp_path / "ligne.txt"
    fichier.write_text("Le maire signe l’arrêté. " * 400_000, encoding="utf-8")
    code, objet = en_json(fichier)
    assert code == 0
    assert objet["mots"] == 1_600_000
    assert objet["tokenizers"][0]["jetons"] == objet["tokenizers"][0]["jetons_max"] > 2_000_000


def test_des_millions_de_blancs_sont_comptes_ou_refuses(poche, tekken):
    """tiktoken épuise sa pile : une phrase ; les autres comptent."""
    blancs = " " * 2_000_000
    assert len(poche.coder(blancs)) > 1000
    with pytest.raises(ErreurFabrique, match="suite de blancs trop longue"):
        tekken.coder(blancs)


LATIN = "Première ligne\nDeuxième\n".encode("latin-1")
ECHECS = {
    "fichier absent": (["absent.txt"], "introuvable"),
    "dossier": (["."], "dossier"),
    "rien": ([], "rien à compter"),
    "tokenizer inconnu": (["--texte", "a", "--tokenizer", "inconnu"], "le tokenizer « inconnu »"),
    "dossier sans tokenizer": (["--texte", "a", "--tokenizer", "."], "tokenizer.json"),
    "hub sans empreinte": (["--texte", "a", "--tokenizer", "gpt2/gpt2"], "révision"),
    "prix négatif": (["--texte", "a", "--prix", "-1"], "« -1 » ne convient pas"),
    "fenêtre vide": (["--texte", "a", "--contexte", "0"], "« 0 » ne convient pas"),
    "demi-caractère": (["--texte", DEMI], "demi-caractère"),
}


@pytest.mark.parametrize("cas", ECHECS)
def test_un_echec_est_une_phrase(cas, tmp_path, monkeypatch, capsys):
    arguments, message = ECHECS[cas]
    monkeypatch.chdir(tmp_path)
    code, objet = en_json(*arguments)
    assert code == 1
    assert message in objet["erreur"]
    assert objet["remede"]
    assert principal(["jetons", *arguments]) == 1
    dit = capsys.readouterr().err
    assert len(dit.strip().splitlines()) == 1
    assert "Traceback" not in dit


def test_le_hub_injoignable_est_dit_et_rend_deux():
    depot = f"compte-absent/modele@{'0' * 40}"
    code, objet = en_json("--texte", "a", "--tokenizer", depot)
    assert (code, objet["code"]) == (2, 2)
    assert "injoignable" in objet["erreur"]


def test_un_fichier_latin_1_est_refuse_avec_sa_ligne(tmp_path):
    fichier = tmp_path / "ancien.txt"
    fichier.write_bytes(b"Bonjour\n" + LATIN)
    code, objet = en_json(fichier)
    assert (code, objet["ligne"]) == (1, 2)
    assert "UTF-8" in objet["erreur"]


def test_un_tokenizer_abime_est_refuse(tmp_path):
    (tmp_path / "tokenizer.json").write_text("{}", encoding="utf-8")
    code, objet = en_json("--texte", "a", "--tokenizer", tmp_path)
    assert code == 1
    assert "ne se lit pas" in objet["erreur"]
