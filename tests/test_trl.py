"""Nos pertes, nos marges et nos adaptateurs sont ceux de TRL, sur les mêmes lots.

TRL ne s'installe pas avec le cours : ces tests sont sautés sans lui. Pour les lancer :
``pip install --no-deps trl`` dans un environnement à part, puis ``pytest tests/test_trl.py``.
"""

from __future__ import annotations

import copy

import pytest
from datasets import Dataset
from peft import get_peft_model_state_dict

import fabrique
from fabrique.corpus.votes import Avis, Preference
from fabrique.entrainement.adaptateur import poser
from fabrique.entrainement.preferences import apprendre_des_votes
from fabrique.entrainement.reglages_preferences import ReglagesPreferences

trl = pytest.importorskip("trl", reason="TRL est une extension, hors du cours")

PAS = 10
#: La même époque dix fois : un seul lot la contient, l'ordre n'y change donc rien.
LIEUX = ("au guichet", "en ligne, avant le quinze", "par courrier", "nulle part : c’est fini")
PAIRES = [
    Preference(
        [{"role": "user", "content": f"Où déposer le dossier {n} ?"}],
        f"Déposez-le {lieu}.",
        f"Je ne sais pas trop, voyez {LIEUX[n - 1]}.",
    )
    for n, lieu in enumerate(LIEUX)
]
AVIS = [Avis(p.messages, p.choisie, n % 2 == 0) for n, p in enumerate(PAIRES)]
REGLAGES = ReglagesPreferences(
    learning_rate=2e-3,
    epochs=PAS,
    batch_size=4,
    mbatch_size=4,
    cutoff_len=64,
    warmup_steps=2,
    logging_steps=1,
    lora_dropout=0,
    beta=0.1,
)


def dit(texte: str) -> list[dict]:
    return [{"role": "assistant", "content": texte}]


def arguments(classe, dossier, **propres):
    """Nos réglages dans les mots de TRL."""
    return classe(
        output_dir=str(dossier),
        learning_rate=REGLAGES.learning_rate,
        num_train_epochs=PAS,
        per_device_train_batch_size=4,
        warmup_steps=REGLAGES.warmup_steps,
        logging_steps=1,
        beta=REGLAGES.beta,
        max_length=64,
        lr_scheduler_type="linear",
        seed=REGLAGES.graine,
        bf16=False,
        use_cpu=True,
        gradient_checkpointing=False,
        disable_dropout=True,
        report_to="none",
        save_strategy="no",
        disable_tqdm=True,
        **propres,
    )


def comparer(dossier_petit, dossier, votes, lignes, entraineur, configuration, reglages):
    """Mène le même apprentissage des deux côtés ; rend les relevés et les adaptateurs."""
    tokenizer, modele = fabrique.charger(dossier_petit, "aucune", silencieux=True)
    depart = poser(copy.deepcopy(modele), reglages)
    leur = entraineur(
        model=depart,
        args=configuration,
        train_dataset=Dataset.from_list(lignes),
        processing_class=tokenizer,
    )
    leur.train()
    nous = apprendre_des_votes(modele, tokenizer, votes, reglages, dossier)
    leurs_poids = get_peft_model_state_dict(leur.model, adapter_name="default")
    nos_poids = get_peft_model_state_dict(nous.modele)
    assert leurs_poids.keys() == nos_poids.keys()
    ecart = max((leurs_poids[nom] - nos_poids[nom]).abs().max().item() for nom in nos_poids)
    bouge = max(poids.abs().max().item() for nom, poids in nos_poids.items() if "lora_B" in nom)
    assert bouge > 100 * ecart, "rien n’a été appris"
    return [r for r in leur.state.log_history if "loss" in r], nous.historique, ecart


@pytest.mark.parametrize(
    ("variante", "perte"), [("dpo", "sigmoid"), ("ipo", "ipo"), ("longueur", "sigmoid_norm")]
)
def test_dix_pas_sur_des_paires(dossier_petit, tmp_path, variante, perte):
    lignes = [
        {"prompt": p.messages, "chosen": dit(p.choisie), "rejected": dit(p.ecartee)} for p in PAIRES
    ]
    reglages = ReglagesPreferences(**{**vars(REGLAGES), "variante": variante})
    configuration = arguments(trl.DPOConfig, tmp_path / "trl", loss_type=perte)
    leurs, notres, ecart = comparer(
        dossier_petit, tmp_path / "s", PAIRES, lignes, trl.DPOTrainer, configuration, reglages
    )
    assert len(leurs) == len(notres) == PAS
    assert ecart < 1e-4
    for leur, notre in zip(leurs, notres, strict=True):
        assert notre["perte"] == pytest.approx(float(leur["loss"]), abs=1e-4)
        if variante == "dpo":  # TRL ne montre que des sommes
            marge = float(leur["rewards/margins"])
            assert REGLAGES.beta * notre["marge"] == pytest.approx(marge, abs=1e-4)
    assert notres[-1]["perte"] < notres[0]["perte"]


def test_dix_pas_sur_des_avis(dossier_petit, tmp_path):
    lignes = [{"prompt": a.messages, "completion": dit(a.reponse), "label": a.bon} for a in AVIS]
    configuration = arguments(trl.KTOConfig, tmp_path / "trl")
    leurs, notres, ecart = comparer(
        dossier_petit, tmp_path / "s", AVIS, lignes, trl.KTOTrainer, configuration, REGLAGES
    )
    assert len(leurs) == len(notres) == PAS
    assert ecart < 1e-4
    for leur, notre in zip(leurs, notres, strict=True):
        assert notre["perte"] == pytest.approx(float(leur["loss"]), abs=1e-4)
