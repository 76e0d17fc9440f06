"""Les formats de quantification : chargés, vérifiés, comptés, et leurs niveaux recalculés."""

from contextlib import nullcontext

import numpy as np
import pytest
import torch
from bitsandbytes.functional import get_4bit_type
from conftest import ajouter_adaptateur
from peft import prepare_model_for_kbit_training
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

import fabrique
from fabrique.modeles import chargement as modeles
from fabrique.modeles.chargement import couches_quatre_bits
from fabrique.modeles.memoire import memoire
from fabrique.modeles.quantification import (
    FORMATS,
    configuration,
    format_de,
    niveaux_nf4,
    octets,
    poids_retrouves,
)
from fabrique.socle.erreurs import MACHINE, ErreurFabrique

BITSANDBYTES = ("nf4", "nf4_simple", "fp4", "int8")
COUCHE = "transformer.h.0.mlp.dense_h_to_4h"


@pytest.fixture(scope="module")
def charges(dossier_petit):
    """Le petit Falcon dans chaque format de bitsandbytes."""
    return {nom: fabrique.charger(dossier_petit, nom, silencieux=True)[1] for nom in BITSANDBYTES}


@pytest.fixture(scope="module")
def origine(dossier_petit) -> torch.Tensor:
    """Les poids d'une couche, lus dans le fichier."""
    return load_file(dossier_petit / "model.safetensors")[f"{COUCHE}.weight"]


# ---------------------------------------------------------------- les seize niveaux


def test_les_seize_niveaux_de_nf4_sont_ceux_de_bitsandbytes():
    """Recalculés depuis les quantiles de la loi normale, à un millionième près."""
    table = get_4bit_type("nf4", device="cpu").numpy()
    niveaux = niveaux_nf4()
    assert niveaux.shape == (16,)
    np.testing.assert_allclose(niveaux, table, rtol=0, atol=1e-6)
    assert 0 in niveaux
    assert niveaux[0] == -1


def test_chaque_niveau_de_nf4_sert_a_peu_pres_autant():
    """C'est le sens des quantiles : des poids normaux se répartissent sur tous les niveaux.

    L'échelle qui met la loi normale à la taille des niveaux est le quantile du bout.
    """
    tirage = np.random.default_rng(0).standard_normal(200_000) / 1.8481
    plus_proche = np.abs(tirage[:, None] - niveaux_nf4()).argmin(1)
    parts = np.bincount(plus_proche, minlength=16) / len(tirage)
    assert parts.min() > 0.8 / 16
    assert parts.max() < 1.3 / 16


# ---------------------------------------------------------------- charger, et vérifier


@pytest.mark.parametrize("nom", BITSANDBYTES)
def test_chaque_couche_est_dans_le_format_demande(charges, nom):
    formats = [format_de(m) for m in charges[nom].modules() if format_de(m)]
    assert formats == [nom] * 8
    assert len(couches_quatre_bits(charges[nom])) == (0 if nom == "int8" else 8)
    assert format_de(charges[nom].get_output_embeddings()) is None


@pytest.mark.parametrize("nom", BITSANDBYTES)
def test_sans_la_reparation_de_falcon_chaque_format_est_refuse(dossier_petit, monkeypatch, nom):
    monkeypatch.setattr(modeles, "reparation_falcon", nullcontext)
    with pytest.raises(ErreurFabrique, match=r"n’est pas en [48] bits : 8 couche") as erreur:
        fabrique.charger(dossier_petit, nom, silencieux=True)
    assert erreur.value.code == MACHINE


def test_un_format_pour_un_autre_est_refuse(charges):
    """NF4 à la place de FP4, échelles simples à la place de doubles : chacun est reconnu."""
    for obtenu in BITSANDBYTES:
        for demande in BITSANDBYTES:
            if obtenu == demande:
                assert modeles.verifier_quantification(charges[obtenu], demande) == 8
            else:
                with pytest.raises(ErreurFabrique, match=f"que « {demande} »"):
                    modeles.verifier_quantification(charges[obtenu], demande)


def test_un_modele_enregistre_quantifie_ne_passe_pas_pour_du_16_bits(charges, tmp_path):
    tokenizer = modeles.charger_tokenizer("falcon-poche")
    charges["nf4"].save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    with pytest.raises(ErreurFabrique, match="enregistré quantifié"):
        fabrique.charger(tmp_path, "aucune", silencieux=True)


# ---------------------------------------------------------------- la place et l'erreur

#: Une couche de 64 × 256, 16 384 poids, 256 blocs de 64. Octets : numéros, puis échelles et
#: tables. Échelles doubles : un octet par bloc, une échelle de 4 octets par 256 blocs, deux
#: tables (16 et 256 valeurs) et une moyenne en 32 bits. Simples : 4 octets par bloc et une table.
#: 8 bits : un octet par poids, une échelle de 4 octets par ligne (256).
PLACES = {
    "nf4": 8192 + 256 + 4 + 4 * (16 + 256 + 1),
    "nf4_simple": 8192 + 4 * 256 + 4 * 16,
    "fp4": 8192 + 256 + 4 + 4 * (16 + 256 + 1),
    "int8": 16384 + 4 * 256,
}


@pytest.mark.parametrize("nom", BITSANDBYTES)
def test_la_place_d_une_couche_se_compte_a_la_main(charges, nom):
    assert octets(charges[nom].get_submodule(COUCHE)) == PLACES[nom]


@pytest.mark.parametrize("nom", BITSANDBYTES)
def test_le_tableau_de_memoire_nomme_le_format(charges, nom):
    lignes = {ligne.nature: ligne for ligne in memoire(charges[nom])}
    assert set(lignes) == {FORMATS[nom].nature, "float32"}
    assert sum(ligne.parametres for ligne in lignes.values()) == sum(
        p.numel() for p in AutoModelForCausalLM.from_config(charges[nom].config).parameters()
    )


@pytest.mark.parametrize("nom", BITSANDBYTES)
def test_les_poids_retrouves_sont_proches_des_poids_du_fichier(charges, origine, nom):
    """Moins d'un demi-écart entre niveaux, à l'échelle du bloc (4 bits) ou de la ligne (8 bits)."""
    ecart = (poids_retrouves(charges[nom].get_submodule(COUCHE)) - origine).abs()
    if nom == "int8":
        # bitsandbytes arrondit d'abord en fp16 : un huitième de demi-pas en plus.
        borne = origine.abs().amax(1, keepdim=True) / 127 / 2 * 1.125
    else:
        trou = np.diff(np.sort(get_4bit_type(nom[:3], device="cpu").numpy())).max()
        borne = origine.flatten().view(-1, 64).abs().amax(1).repeat_interleave(64) * trou / 2
        borne = borne.view_as(origine) * 1.05  # les échelles doubles sont elles-mêmes arrondies
    assert (ecart <= borne + 1e-6).all()
    assert ecart.max() > 0


def test_huit_bits_puis_nf4_puis_fp4_par_erreur_croissante(charges, origine):
    """La raison d'être de NF4, sur des poids tirés d'une loi normale."""
    erreurs = {
        nom: float((poids_retrouves(m.get_submodule(COUCHE)) - origine).pow(2).mean())
        for nom, m in charges.items()
    }
    assert erreurs["int8"] < erreurs["nf4_simple"] <= erreurs["nf4"] < erreurs["fp4"]


def test_les_huit_bits_se_comptent_encore_apres_un_calcul(dossier_petit, origine):
    """bitsandbytes range alors les échelles ailleurs : elles se retrouvent."""
    tokenizer, modele = fabrique.charger(dossier_petit, "int8", silencieux=True)
    couche = modele.get_submodule(COUCHE)
    avant = poids_retrouves(couche)
    with torch.no_grad():
        modele(input_ids=torch.tensor([tokenizer("Bonjour.")["input_ids"]]))
    assert octets(couche) == PLACES["int8"]
    torch.testing.assert_close(poids_retrouves(couche), avant, rtol=0, atol=0)


# ---------------------------------------------------------------- apprendre


@pytest.mark.parametrize("nom", BITSANDBYTES)
def test_chaque_format_apprend_meme_apres_une_evaluation(dossier_petit, nom):
    """Toute matrice B reçoit un gradient, avant comme après un passage en évaluation."""
    tokenizer, modele = fabrique.charger(dossier_petit, nom, silencieux=True)
    ids = torch.tensor([tokenizer("Comment obtenir un passeport ?")["input_ids"]])
    pret = prepare_model_for_kbit_training(modele, use_gradient_checkpointing=False)
    affine = ajouter_adaptateur(pret)
    for _ in range(2):
        affine.zero_grad()
        affine.train()(input_ids=ids, labels=ids).loss.backward()
        gradients = [p.grad for n, p in affine.named_parameters() if "lora_B" in n]
        assert len(gradients) == 8
        assert all(g is not None and g.abs().max() > 0 for g in gradients)
        with torch.no_grad():
            affine.eval()(input_ids=ids)


def test_la_configuration_ne_concerne_que_bitsandbytes():
    assert configuration("aucune", torch.float32) is None
    assert configuration("gptq", torch.float32) is None
    assert configuration("nf4", torch.float16).bnb_4bit_compute_dtype == torch.float16
