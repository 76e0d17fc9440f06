"""Le pont vers lm-evaluation-harness : nos questions parmi ses tâches, sur un modèle du cours.

    pip install "fabrique[harness]"
    python -m fabrique.evaluation.harnais --model falcon-poche --adaptateur sorties/adaptateur

``--taches`` accepte aussi les tâches françaises du harnais (« french_bench_xnli », « belebele_fra_Latn »…)
quand le hub est joignable. Sans ce module, la commande du harnais lit nos tâches telle quelle :
``lm_eval --include_path fabrique/evaluation/taches_lm_eval --tasks fabrique …``.

Source : Gao et al., 2021 (lm-evaluation-harness, EleutherAI).
"""

from __future__ import annotations

import argparse
import importlib.util
import json
from collections.abc import Sequence
from pathlib import Path

from fabrique.modeles.adaptateurs import charger_adaptateur
from fabrique.modeles.chargement import charger
from fabrique.socle.erreurs import ErreurFabrique

TACHES = Path(__file__).parent / "taches_lm_eval"


def passer_le_harnais(
    modele: str,
    adaptateur: str | Path = "",
    taches: Sequence[str] = ("fabrique_demarches",),
    *,
    quantification: str = "nf4",
    revision: str | None = None,
    questions: int | None = None,
    exemples: int = 0,
    lot: int = 16,
) -> dict[str, dict]:
    """Passe des tâches du harnais et rend, pour chacune, ses mesures et leurs erreurs types.

    Args:
        taches: les nôtres (« fabrique » les prend toutes) ou celles du harnais.
        questions: au plus, par tâche.
        exemples: combien d'exemples montrer avant chaque question.

    Raises:
        ErreurFabrique: lm-evaluation-harness n'est pas installé.
    """
    if importlib.util.find_spec("lm_eval") is None:
        raise ErreurFabrique(
            "lm-evaluation-harness n’est pas installé", 'Tapez : pip install "fabrique[harness]"'
        )
    from lm_eval import simple_evaluate
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    tokenizer, reseau = charger(modele, quantification, revision=revision, silencieux=True)
    if adaptateur:
        reseau = charger_adaptateur(reseau, adaptateur)
    resultats = simple_evaluate(
        model=HFLM(pretrained=reseau, tokenizer=tokenizer, batch_size=lot),
        tasks=list(taches),
        num_fewshot=exemples,
        limit=questions,
        apply_chat_template=tokenizer.chat_template is not None,
        task_manager=TaskManager(include_path=str(TACHES)),
        bootstrap_iters=0,
    )
    return {nom: dict(mesures) for nom, mesures in resultats["results"].items()}


def main() -> None:
    """Passe les tâches demandées et imprime leurs mesures en JSON."""
    analyse = argparse.ArgumentParser(description=__doc__)
    analyse.add_argument("--model", default="falcon-poche")
    analyse.add_argument("--adaptateur", default="")
    analyse.add_argument("--taches", nargs="+", default=["fabrique_demarches"])
    analyse.add_argument("--quantification", default="nf4")
    analyse.add_argument("--revision", default=None)
    analyse.add_argument("--questions", type=int, default=None)
    analyse.add_argument("--exemples", type=int, default=0)
    o = analyse.parse_args()
    resultats = passer_le_harnais(
        o.model,
        o.adaptateur,
        o.taches,
        quantification=o.quantification,
        revision=o.revision,
        questions=o.questions,
        exemples=o.exemples,
    )
    print(json.dumps(resultats, ensure_ascii=False, indent=2))


if __name__ == "__main__":
    main()
