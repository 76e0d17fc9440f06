"""Le préentraînement : la recette, sur un texte inventé et un modèle minuscule."""

import csv
import dataclasses
import json
import logging
import math
import shutil

import numpy as np
import pytest
import torch
from conftest import petite_configuration
from hypothesis import given, strategies as st
from safetensors.torch import load_file
from transformers import AutoTokenizer, FalconForCausalLM

import fabrique
from fabrique.entrainement import optimiseurs as regles_d_optimisation, preentrainement
from fabrique.entrainement.bits import bits_par_octet
from fabrique.entrainement.optimiseurs import Muon, optimiseurs, orthogonaliser, taux
from fabrique.entrainement.preentrainement import nouveau_modele, preentrainer
from fabrique.entrainement.reglages import ReglagesPreentrainement
from fabrique.entrainement.rubans import passages, ruban, tirer_lot
from fabrique.entrainement.textes import (
    Document,
    Source,
    introduction,
    lire_documents,
    lire_source,
    separer,
    typographier,
)
from fabrique.modeles.gabarits import ASSISTANT, DEBUT, FIN, UTILISATEUR
from fabrique.socle import suivi
from fabrique.socle.erreurs import ErreurFabrique

REGLAGES = ReglagesPreentrainement(
    couches=2,
    largeur=64,
    tetes=4,
    vocabulaire=320,
    longueur=32,
    lot=4,
    pas=20,
    learning_rate=1e-2,
    echauffement=2,
    pas_mesure=10,
)
#: Deux pas, un état à chacun.
COURT = dataclasses.replace(REGLAGES, pas=2, pas_mesure=1)


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """Vingt documents inventés, tous semblables, dont deux seront mis de côté."""
    chemin = tmp_path_factory.mktemp("textes") / "fiches.jsonl"
    documents = [
        {
            "titre": f"Fiche {n}",
            "texte": f"La mairie de Saint-Falcon ouvre à {n} h. Apportez votre carte. " * 3,
        }
        for n in range(20)
    ]
    chemin.write_text("\n".join(map(json.dumps, documents)), encoding="utf-8")
    return Source(chemin, 1.0, 1.0)


@pytest.fixture(scope="module")
def appris(source, tmp_path_factory):
    """Vingt pas, menés d'une traite : (dossier de travail, comptes rendus)."""
    sortie, dits = tmp_path_factory.mktemp("travail") / "s", []
    assert preentrainer([source], sortie, REGLAGES, dire=dits.append) == sortie / "modele"
    return sortie, dits


def courbe(sortie):
    """La courbe, sans les durées."""
    with (sortie / "courbe.csv").open(encoding="utf-8", newline="") as flux:
        return [
            {cle: float(valeur) for cle, valeur in ligne.items() if cle != "duree_s"}
            for ligne in csv.DictReader(flux)
        ]


# ---------------------------------------------------------------- la marche


def test_vingt_pas_apprennent(appris):
    sortie, dits = appris
    debut, fin = courbe(sortie)
    assert (debut["pas"], fin["pas"]) == (10, 20)
    assert fin["jetons"] == 20 * 4 * 32
    assert fin["bpo_fiches"] < debut["bpo_fiches"]
    # Au hasard sur 320 entrées, un jeton coûte log2(320) bits : on a fait bien mieux.
    assert fin["perte"] < math.log(320)
    # Sans écran, une ligne annonce la fin dès les premiers pas ; puis une ligne par mesure.
    annonce, *mesures = dits
    assert "s par pas" in annonce
    assert "fin dans environ" in annonce
    assert [mesure.split(" · ")[0] for mesure in mesures] == ["pas 10", "pas 20"]


def test_interrompu_puis_relance_le_modele_est_identique(source, appris, tmp_path):
    """L'arrêt survient juste après la mesure du dixième pas."""

    def interrompre(ligne):
        if ligne.startswith("pas 10"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        preentrainer([source], tmp_path, REGLAGES, dire=interrompre)
    assert not (tmp_path / "modele").exists()
    dits = []
    preentrainer([source], tmp_path, REGLAGES, dire=dits.append)
    # Le second relevé seulement : les dix premiers pas ne se refont pas.
    assert [dit.split(" · ")[0] for dit in dits] == ["Reprise au pas 10 sur 20.", "pas 20"]
    attendus = load_file(appris[0] / "modele" / "model.safetensors")
    obtenus = load_file(tmp_path / "modele" / "model.safetensors")
    assert attendus.keys() == obtenus.keys()
    assert all(torch.equal(attendus[nom], obtenus[nom]) for nom in attendus)
    assert courbe(tmp_path) == courbe(appris[0])


@pytest.mark.parametrize("pas", [10, 20])
def test_mort_entre_l_etat_et_sa_mesure_la_courbe_est_la_meme(
    source, appris, tmp_path, monkeypatch, pas
):
    """L’état est écrit, le relevé non : la reprise le fait, même s’il n’y a plus de pas à faire."""
    ajouter = preentrainement.ajouter_a_la_courbe

    def mourir(sortie, releve):
        if releve["pas"] == pas:
            raise SystemExit
        ajouter(sortie, releve)

    monkeypatch.setattr(preentrainement, "ajouter_a_la_courbe", mourir)
    with pytest.raises(SystemExit):
        preentrainer([source], tmp_path, REGLAGES, dire=str)
    monkeypatch.undo()
    preentrainer([source], tmp_path, REGLAGES, dire=str)
    assert courbe(tmp_path) == courbe(appris[0])


def test_le_modele_ecrit_se_charge_en_4_bits_et_s_affine(appris):
    poids = load_file(appris[0] / "modele" / "model.safetensors")
    assert {tenseur.dtype for tenseur in poids.values()} == {torch.float16}
    tokenizer, modele = fabrique.charger(appris[0] / "modele", "nf4", silencieux=True)
    assert len(tokenizer) <= 320
    assert fabrique.continuer(modele, tokenizer, "La mairie", max_new_tokens=5) != ""
    config = modele.config
    assert config.multi_query
    assert config.parallel_attn
    assert not config.bias
    assert not config.alibi
    assert not config.new_decoder_architecture


def test_prolonger_un_modele_garde_son_tokenizer_et_part_de_ses_poids(source, appris, tmp_path):
    depart = appris[0] / "modele"
    reglages = ReglagesPreentrainement(longueur=32, lot=2, pas=1, learning_rate=0, pas_mesure=1)
    preentrainer([source], tmp_path, reglages, depart=depart, dire=str)
    assert (
        AutoTokenizer.from_pretrained(tmp_path / "modele").get_vocab()
        == AutoTokenizer.from_pretrained(depart).get_vocab()
    )
    attendus = load_file(depart / "model.safetensors")
    obtenus = load_file(tmp_path / "modele" / "model.safetensors")
    # Un taux nul ne change rien : les poids sont ceux du départ.
    assert all(torch.equal(attendus[nom], obtenus[nom]) for nom in attendus)


def test_le_modele_ecrit_garde_une_part_de_son_depart(source, appris, tmp_path):
    """À un quart du départ : ¾ de l'appris, ¼ du départ ; et changer la part ne réapprend rien."""
    depart, dits = appris[0] / "modele", []

    def ecrit(part):
        reglages = dataclasses.replace(COURT, part_du_depart=part)
        dossier = preentrainer([source], tmp_path / "s", reglages, depart=depart, dire=dits.append)
        return load_file(dossier / "model.safetensors")

    seul, mele, initial = ecrit(0.0), ecrit(0.25), load_file(depart / "model.safetensors")
    assert any(not torch.equal(seul[nom], initial[nom]) for nom in seul)
    for nom, poids in mele.items():
        attendu = 0.75 * seul[nom].float() + 0.25 * initial[nom].float()
        torch.testing.assert_close(poids.float(), attendu, rtol=2e-3, atol=1e-4)
    assert dits[-2] == "Reprise au pas 2 sur 2."
    assert dits[-1].startswith("mêlé au départ · pas 2 ")


def test_sans_depart_il_n_y_a_rien_a_garder(source, tmp_path):
    reglages = dataclasses.replace(COURT, part_du_depart=0.5)
    with pytest.raises(ErreurFabrique, match="pas de départ dont garder une part"):
        preentrainer([source], tmp_path / "s", reglages, dire=str)
    assert not (tmp_path / "s").exists()


# ---------------------------------------------------------------- ce qu'on ne perd pas


def arreter_au_pas(pas):
    """Un compte rendu qui interrompt la marche juste après la mesure de ce pas."""

    def dire(ligne):
        if ligne.startswith(f"pas {pas} "):
            raise KeyboardInterrupt

    return dire


def contenu(dossier):
    """Chaque fichier d'un dossier et ses octets."""
    return {
        f.relative_to(dossier): f.read_bytes() for f in sorted(dossier.rglob("*")) if f.is_file()
    }


def test_prolonger_n_ecrit_rien_dans_le_modele_de_depart(source, appris, tmp_path):
    """Sans tokenizer, il était complété d’un neuf, qui n’a rien à voir avec ses poids."""
    depart = tmp_path / "depart"
    shutil.copytree(appris[0] / "modele", depart)
    avant = contenu(depart)
    preentrainer([source], tmp_path / "suite", COURT, depart=depart, dire=str)
    assert contenu(depart) == avant
    (depart / "tokenizer.json").unlink()
    avant = contenu(depart)
    with pytest.raises(ErreurFabrique, match="n’a pas sa configuration et son tokenizer"):
        preentrainer([source], tmp_path / "autre", COURT, depart=depart, dire=str)
    assert contenu(depart) == avant


@pytest.mark.parametrize("sortie", [".", "dedans/suite", ".."])
def test_une_sortie_qui_toucherait_le_modele_de_depart_est_refusee(
    source, appris, tmp_path, sortie
):
    """Lui-même, un dossier qu’il contient, ou celui dont il est le « modele »."""
    depart = tmp_path / "modele"
    shutil.copytree(appris[0] / "modele", depart)
    avant = contenu(tmp_path)
    with pytest.raises(ErreurFabrique, match="écrirait dans le modèle à prolonger"):
        preentrainer([source], depart / sortie, COURT, depart=depart, dire=str)
    assert contenu(tmp_path) == avant


def test_l_empreinte_d_un_autre_outil_n_est_pas_ecrasee(source, tmp_path):
    (tmp_path / "empreinte.json").write_text('{"a": 1}', "utf-8")
    with pytest.raises(ErreurFabrique, match=r"contient déjà empreinte\.json"):
        preentrainer([source], tmp_path, COURT, dire=str)
    assert (tmp_path / "empreinte.json").read_text("utf-8") == '{"a": 1}'


@pytest.mark.parametrize("nom", ["modele", "tokenizer"])
def test_un_dossier_que_personne_n_a_signe_n_est_pas_ecrase(source, tmp_path, nom):
    (tmp_path / nom).mkdir()
    (tmp_path / nom / "config.json").write_text("à quelqu’un d’autre", "utf-8")
    with pytest.raises(ErreurFabrique, match=f"contient déjà {nom}"):
        preentrainer([source], tmp_path, COURT, dire=str)
    assert (tmp_path / nom / "config.json").read_text("utf-8") == "à quelqu’un d’autre"


@pytest.mark.parametrize(
    ("change", "dit"),
    [
        ({"learning_rate": 2e-2}, r"reglages : learning_rate\)"),
        ({"longueur": 16, "lot": 8}, r"reglages : longueur, lot\)"),
        ({"validation_un_sur": 5}, r"reglages : validation_un_sur\)"),
    ],
)
def test_d_autres_reglages_ne_reprennent_pas(source, appris, change, dit):
    avant = contenu(appris[0])
    with pytest.raises(ErreurFabrique, match=dit):
        preentrainer([source], appris[0], dataclasses.replace(REGLAGES, **change), dire=str)
    assert contenu(appris[0]) == avant


def test_d_autres_textes_ne_reprennent_pas(source, appris, tmp_path):
    """Le contenu compte, pas le nom ; les parts aussi."""
    autre = tmp_path / source.chemin.name
    autre.write_text(source.chemin.read_text("utf-8").replace("carte", "porte"), "utf-8")
    copie = tmp_path / "copie.jsonl"
    shutil.copy(source.chemin, copie)
    for change in (Source(autre, 1.0, 1.0), Source(source.chemin, 1.0, 0.5)):
        with pytest.raises(ErreurFabrique, match=r"ce qui change : donnees"):
            preentrainer([change], appris[0], REGLAGES, dire=str)
    preentrainer([Source(copie, 1.0, 1.0)], appris[0], REGLAGES, dire=str)


def test_le_nombre_de_pas_peut_changer_et_c_est_dit(source, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        preentrainer([source], tmp_path, COURT, dire=arreter_au_pas(1))
    dits = []
    preentrainer([source], tmp_path, dataclasses.replace(COURT, pas=3), dire=dits.append)
    assert dits[0] == "Reprise au pas 1 sur 3."
    assert "était prévue pour 2 pas\u00a0; ensuite, pour 3" in dits[1]
    with pytest.raises(ErreurFabrique, match="3 pas sont déjà faits, et l’on en demande 2"):
        preentrainer([source], tmp_path, COURT, dire=str)


def test_une_perte_qui_diverge_s_arrete_et_garde_le_dernier_etat(source, tmp_path, monkeypatch):
    """Le second pas rend une perte indéfinie : l’état du premier reste, à l’octet près."""
    with pytest.raises(KeyboardInterrupt):
        preentrainer([source], tmp_path, COURT, dire=arreter_au_pas(1))
    avant = (tmp_path / "etat.pt").read_bytes()
    monkeypatch.setattr(preentrainement, "_un_pas", lambda *_: math.nan)
    with pytest.raises(ErreurFabrique, match="la perte du pas 2 n’est plus un nombre") as leve:
        preentrainer([source], tmp_path, COURT, dire=str)
    assert "dernier état" in leve.value.remede
    assert (tmp_path / "etat.pt").read_bytes() == avant
    assert not (tmp_path / "modele").exists()


def test_des_poids_qui_ne_sont_plus_des_nombres_ne_remplacent_pas_l_etat(
    source, tmp_path, monkeypatch
):
    """La perte d’un pas se mesure avant la correction : elle peut être finie, et les poids non."""
    with pytest.raises(KeyboardInterrupt):
        preentrainer([source], tmp_path, COURT, dire=arreter_au_pas(1))
    avant = (tmp_path / "etat.pt").read_bytes()

    def gater(modele, *_):
        with torch.no_grad():
            next(modele.parameters()).fill_(math.nan)
        return 1.0

    monkeypatch.setattr(preentrainement, "_un_pas", gater)
    with pytest.raises(ErreurFabrique, match="n’est plus un nombre"):
        preentrainer([source], tmp_path, COURT, dire=str)
    assert (tmp_path / "etat.pt").read_bytes() == avant
    assert not (tmp_path / "etat.pt.partiel").exists()


@pytest.mark.parametrize("panne", ["plein", "abime"])
def test_un_etat_qui_ne_s_ecrit_pas_laisse_le_precedent(source, tmp_path, monkeypatch, panne):
    """Disque plein, ou fichier qui ne se relit pas tel qu’on l’a écrit : une phrase, code 2."""
    with pytest.raises(KeyboardInterrupt):
        preentrainer([source], tmp_path, COURT, dire=arreter_au_pas(1))
    avant = (tmp_path / "etat.pt").read_bytes()
    enregistrer = torch.save

    def faillir(contenu, flux, *options, **autres):
        if panne == "plein":
            raise OSError(28, "No space left on device")
        nul = {nom: torch.zeros_like(poids) for nom, poids in contenu["modele"].items()}
        enregistrer({**contenu, "modele": nul}, flux, *options, **autres)

    monkeypatch.setattr(torch, "save", faillir)
    with pytest.raises(ErreurFabrique, match="l’écriture a échoué") as leve:
        preentrainer([source], tmp_path, COURT, dire=str)
    assert leve.value.code == 2
    assert (tmp_path / "etat.pt").read_bytes() == avant
    assert not (tmp_path / "etat.pt.partiel").exists()


def test_a_l_ecran_une_barre_vit_a_chaque_pas(source, tmp_path, monkeypatch):
    """De l’état repris à la fin, et les lignes ne la coupent pas."""
    with pytest.raises(KeyboardInterrupt):
        preentrainer([source], tmp_path, COURT, dire=arreter_au_pas(1))
    vus, dits = [], []

    class Temoin(suivi.Barre):
        def __init__(self, total, titre, deja=0):
            vus.append((titre, deja, total))
            super().__init__(total, titre, deja)

        def avancer(self, fait, details=""):
            vus.append((fait, details.split()[0]))
            super().avancer(fait, details)

    monkeypatch.setattr(preentrainement, "ecran_vivant", lambda: True)
    monkeypatch.setattr(preentrainement, "Barre", Temoin)
    preentrainer([source], tmp_path, dataclasses.replace(COURT, pas=3), dire=dits.append)
    assert vus == [("Préentraînement", 1, 3), (2, "perte"), (3, "perte")]
    assert not any("fin dans" in dit for dit in dits)


def test_un_texte_illisible_se_dit_avant_que_rien_ne_s_ecrive(tmp_path):
    """Corrigé, le même dossier sert encore."""
    chemin = tmp_path / "a.jsonl"
    chemin.write_text(
        '{"texte": "La mairie ouvre à neuf heures."}\n{"titre": "Sans texte"}\n', "utf-8"
    )
    with pytest.raises(ErreurFabrique, match="champ « texte »") as leve:
        preentrainer([Source(chemin, 1, 1)], tmp_path / "s", COURT, dire=str)
    assert leve.value.ligne == 2
    with pytest.raises(ErreurFabrique, match="ne se partage pas entre 4 têtes"):
        preentrainer([], tmp_path / "s", dataclasses.replace(COURT, largeur=62), dire=str)
    chemin.write_text('{"texte": "La mairie ouvre à neuf heures."}\n', "utf-8")
    with pytest.raises(ErreurFabrique, match="aucun titre suivi d’une réponse courte"):
        preentrainer([Source(chemin, 1, 1, questions=True)], tmp_path / "s", COURT, dire=str)
    assert not (tmp_path / "s").exists()


# ---------------------------------------------------------------- la mesure


def bits_a_la_main(modele, ids, longueur, recul):
    """Chaque jeton, dans la première fenêtre qui l'atteint, avec le contexte qu'elle lui donne."""
    bits = 0.0
    for rang in range(1, len(ids)):
        fenetre = max(0, math.ceil((rang - longueur + 1) / recul))
        contexte = torch.tensor([ids[fenetre * recul : rang]])
        with torch.no_grad():
            logits = modele(input_ids=contexte).logits[0, -1].double()
        bits -= torch.log_softmax(logits, dim=0)[ids[rang]].item() / math.log(2)
    return bits


@pytest.mark.parametrize(("longueur", "recul"), [(200, None), (16, None), (16, 5), (16, 12)])
def test_les_bits_par_octet_se_calculent_a_la_main(tokenizer, longueur, recul):
    torch.manual_seed(0)
    modele = FalconForCausalLM(petite_configuration(tokenizer)).eval()
    textes = ["L’œuvre coûte 86 €, tarif « réduit » compris.", "Bonjour à toutes et à tous ! " * 3]
    obtenus = bits_par_octet(modele, tokenizer, textes, longueur, recul)
    bits = sum(
        bits_a_la_main(
            modele,
            [tokenizer.bos_token_id, *tokenizer.encode(texte, add_special_tokens=False)],
            longueur,
            recul or longueur // 2,
        )
        for texte in textes
    )
    assert obtenus == pytest.approx(bits / sum(len(t.encode()) for t in textes), abs=1e-4)


def test_un_modele_qui_ne_sait_rien_paie_log2_du_vocabulaire(tokenizer):
    modele = FalconForCausalLM(petite_configuration(tokenizer)).eval()
    with torch.no_grad():
        modele.get_input_embeddings().weight.zero_()  # la tête, liée, rend des logits nuls
    texte = "Une phrase quelconque."
    jetons = len(tokenizer.encode(texte, add_special_tokens=False))
    attendus = jetons * math.log2(len(tokenizer)) / len(texte.encode())
    assert bits_par_octet(modele, tokenizer, [texte], 64) == pytest.approx(attendus, rel=1e-6)


# ---------------------------------------------------------------- le taux


def test_le_taux_monte_tient_puis_descend():
    reglages = ReglagesPreentrainement(pas=1000, echauffement=100, part_descente=0.4)
    # Montée d'un centième par pas, plateau jusqu'à 600, puis une droite jusqu'à zéro.
    attendus = {0: 0.01, 49: 0.5, 99: 1, 300: 1, 600: 1, 800: 0.5, 900: 0.25, 1000: 0}
    assert {pas: taux(pas, reglages) for pas in attendus} == pytest.approx(attendus)


@given(
    pas=st.integers(1, 500),
    echauffement=st.integers(1, 600),
    part=st.floats(0.01, 1),
    qui=st.data(),
)
def test_le_taux_reste_entre_zero_exclu_et_un(pas, echauffement, part, qui):
    reglages = ReglagesPreentrainement(pas=pas, echauffement=echauffement, part_descente=part)
    rang = qui.draw(st.integers(0, pas - 1))
    assert 0 < taux(rang, reglages) <= 1


@pytest.mark.parametrize("decroissance", [0.0, 0.2])
def test_seules_les_matrices_des_blocs_decroissent(tokenizer, decroissance):
    """Sans gradient, un pas ne fait que multiplier par 1 − taux × décroissance."""
    modele = nouveau_modele(REGLAGES, tokenizer)
    avant = {nom: poids.detach().clone() for nom, poids in modele.named_parameters()}
    for poids in modele.parameters():
        poids.grad = torch.zeros_like(poids)
    for optim in optimiseurs(modele, 0.1, decroissance):
        optim.step()
    for nom, poids in modele.named_parameters():
        part = 1 - 0.1 * decroissance if ".h." in nom and poids.ndim == 2 else 1
        torch.testing.assert_close(poids, part * avant[nom])


def test_une_source_relue_plus_de_quatre_fois_est_nommee(source, tmp_path, caplog):
    """Ses parts disent combien de fois elle le sera, à un pas près d’une mesure faite sur les lots."""
    rubans = [np.zeros(1000, np.uint16), np.ones(400, np.uint16)]
    deux = [Source(tmp_path, 0.9, 0.5), Source(tmp_path, 0.1, 0.5)]
    reglages = dataclasses.replace(REGLAGES, pas=2000)
    lues = sum(tirer_lot(pas, rubans, deux, reglages).float().mean().item() for pas in range(2000))
    prevus = passages(rubans, deux, reglages)
    jetons = 2000 * reglages.lot * reglages.longueur
    assert prevus[0] * 1000 + prevus[1] * 400 == pytest.approx(jetons)
    assert prevus[1] * 400 == pytest.approx(lues / 2000 * jetons, rel=0.05)
    with caplog.at_level(logging.WARNING, logger="fabrique"):
        preentrainer([source], tmp_path / "s", COURT, dire=str)
        assert not caplog.text
        preentrainer([source], tmp_path / "t", dataclasses.replace(COURT, lot=999), dire=str)
    assert "« fiches » sera lu" in caplog.text.replace("\u00a0", " ")


def test_muon_a_les_matrices_des_blocs_et_adamw_tout_le_reste(tokenizer):
    modele = nouveau_modele(REGLAGES, tokenizer)
    muon, adamw = optimiseurs(modele, 1e-3, 0.3)
    compter = lambda optim: sum(p.numel() for g in optim.param_groups for p in g["params"])  # noqa: E731
    assert compter(muon) == 2 * (64 * 96 + 64 * 64 + 2 * 64 * 256)
    assert compter(muon) + compter(adamw) == sum(p.numel() for p in modele.parameters())


@pytest.mark.parametrize("forme", [(12, 20), (20, 12)])
def test_notre_muon_fait_les_pas_de_celui_de_torch(forme, monkeypatch):
    """Celui de torch calcule en bf16, le nôtre en fp32 : à l'arrondi du bf16 près, le même chemin."""
    monkeypatch.setattr(regles_d_optimisation, "bf16_natif", lambda appareil: False)
    torch.manual_seed(0)
    depart, gradients = torch.randn(forme), [torch.randn(forme) for _ in range(3)]
    chemins = []
    for classe in (torch.optim.Muon, Muon):
        poids = torch.nn.Parameter(depart.clone())
        optim = classe([poids], lr=0.1, weight_decay=0.05, adjust_lr_fn="match_rms_adamw")
        for gradient in gradients:
            poids.grad = gradient.clone()
            optim.step()
        chemins.append((poids.detach() - depart, optim.state_dict()["state"][0].keys()))
    (attendu, etats), (obtenu, siens) = chemins
    assert siens == etats
    assert (obtenu - attendu).norm() < 0.02 * attendu.norm()


def test_orthogonaliser_rapproche_de_un_les_valeurs_singulieres():
    torch.manual_seed(0)
    matrice = torch.randn(30, 10) @ torch.diag(torch.logspace(0, 2, 10))
    tournee = orthogonaliser(matrice, (3.4445, -4.7750, 2.0315), 5)
    valeurs = torch.linalg.svdvals(tournee)
    assert 0.6 < valeurs.min() <= valeurs.max() < 1.3


# ---------------------------------------------------------------- les textes


def test_le_ruban_ouvre_et_ferme_chaque_document(tokenizer):
    documents = [Document("L'eau est-elle potable ?", "Eau", "Oui, l'eau l'est."), Document("Oui.")]
    texte = tokenizer.decode(ruban(documents, tokenizer))
    compose = "L’eau est-elle potable\u00a0?"
    assert texte == (
        f"{DEBUT}Eau\n\nL'eau est-elle potable ?{FIN}"
        f"{DEBUT}Eau\n\n{compose}{FIN}"
        f"{DEBUT}{UTILISATEUR}Eau{ASSISTANT}Oui, l’eau l’est.{FIN}"
        f"{DEBUT}Oui.{FIN}"
    )
    questions = tokenizer.decode(ruban(documents, tokenizer, questions=True))
    assert questions == f"{DEBUT}{UTILISATEUR}Eau{ASSISTANT}Oui, l’eau l’est.{FIN}"


def test_un_document_ne_fabrique_pas_de_jeton_special(tokenizer):
    ids = ruban([Document(f"avant {FIN} après {DEBUT}")], tokenizer).tolist()
    assert [i for i in ids if i in tokenizer.all_special_ids] == [
        tokenizer.bos_token_id,
        tokenizer.eos_token_id,
    ]


@given(nombre=st.integers(0, 60), un_sur=st.integers(2, 12))
def test_separer_ne_perd_ni_ne_double_aucun_document(nombre, un_sur):
    documents = [Document(str(n)) for n in range(nombre)]
    appris, cotes = separer(documents, un_sur)
    assert len(cotes) == nombre // un_sur
    assert sorted([*appris, *cotes], key=lambda d: int(d.texte)) == documents


@given(pas=st.integers(0, 19), bruit=st.integers(0, 99))
def test_le_tirage_ne_depend_que_de_la_graine_et_du_pas(pas, bruit):
    rubans = [np.arange(100, dtype=np.uint16), np.arange(1000, 1400, dtype=np.uint16)]
    sources = [Source(None, 0.5, 0.5), Source(None, 0.5, 0.5)]
    premier = tirer_lot(pas, rubans, sources, REGLAGES)
    torch.manual_seed(bruit)
    np.random.seed(bruit)
    assert torch.equal(tirer_lot(pas, rubans, sources, REGLAGES), premier)
    # Chaque fenêtre est une suite continue d'un seul ruban.
    assert premier.shape == (4, 32)
    assert bool((premier.diff(dim=1) == 1).all())


def test_les_parts_glissent_du_debut_a_la_fin():
    """Une source seule au début, l'autre seule à la fin."""
    rubans = [np.zeros(50, dtype=np.uint16), np.ones(50, dtype=np.uint16)]
    sources = [Source(None, 1.0, 0.0), Source(None, 0.0, 1.0)]
    reglages = ReglagesPreentrainement(longueur=8, lot=64, pas=1000)
    moyennes = [
        tirer_lot(pas, rubans, sources, reglages).float().mean().item() for pas in (0, 500, 999)
    ]
    assert moyennes[0] == 0
    assert 0.25 < moyennes[1] < 0.75
    assert moyennes[2] > 0.9


def test_un_ruban_plus_court_que_la_fenetre_se_repete():
    lot = tirer_lot(0, [np.arange(5, dtype=np.uint16)], [Source(None, 1, 1)], REGLAGES)
    assert lot[0].tolist() == [n % 5 for n in range(32)]


def test_la_typographie_francaise_se_compose():
    assert typographier("L'an « 1 » : 3 € !") == "L’an «\u00a01\u00a0»\u00a0: 3\u00a0€\u00a0!"


def test_les_documents_se_lisent_en_texte_et_en_jsonl(tmp_path):
    (tmp_path / "a.txt").write_text("Bonjour.\nÀ tous.", encoding="utf-8")
    (tmp_path / "b.jsonl").write_text(
        '{"texte": "Un", "titre": "T"}\n\n{"texte": "Deux"}\n{"texte": "Trois", "description": "3"}\n',
        encoding="utf-8",
    )
    assert lire_documents(tmp_path / "a.txt") == [Document("Bonjour.\nÀ tous.")]
    assert lire_documents(tmp_path / "b.jsonl") == [
        Document("Un", "T"),
        Document("Deux"),
        Document("Trois", reponse="3"),
    ]


@pytest.mark.parametrize(
    ("texte", "attendue"),
    [
        ("La mairie délivre la carte sur rendez-vous.\n\n### Pièces", True),
        (
            "La mairie délivre la carte sur rendez-vous :\n- un",
            False,
        ),  # une phrase qui n’est pas finie
        ("### La mairie délivre la carte sur rendez-vous.", False),
        ("Trop court.", False),
        ("mot " * 90 + "fin.", False),
        ("", False),
    ],
)
def test_l_introduction_tient_lieu_de_reponse_quand_elle_en_a_la_taille(texte, attendue):
    assert introduction(texte) == (texte.partition("\n")[0] if attendue else "")


def test_une_source_se_lit_avec_ou_sans_parts(tmp_path):
    chemin = tmp_path / "a.txt"
    chemin.write_text("x", encoding="utf-8")
    assert lire_source(str(chemin)) == Source(chemin, 1.0, 1.0)
    assert lire_source(f"{chemin}:0.1:0,4") == Source(chemin, 0.1, 0.4)
    assert lire_source(str(chemin), questions=True) == Source(chemin, 1.0, 1.0, True)
    with pytest.raises(ErreurFabrique, match="ne se lisent pas"):
        lire_source(f"{chemin}:beaucoup:peu")
    with pytest.raises(ErreurFabrique, match="fichier introuvable"):
        lire_source(f"{tmp_path}/absent.txt:1:1")
