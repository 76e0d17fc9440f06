"""Combien de minutes chaque carnet demande à une T4 (python -m benchmarks.duree_t4).

Aucune T4 n'étant là, rien n'est chronométré : on compte ce que le carnet fait calculer, puis on
divise par ce que la carte sait faire. Le compte est exact : le carnet est exécuté sur le jumeau de
Falcon-7B (``outils/jumeau.py``), aux réglages de la T4, et chaque passage dans le modèle est
relevé, génération comprise. ``--relever`` refait ce compte ; il est gardé dans ``duree_t4.json``.

L'arithmétique, pour les poids P des blocs de Falcon-7B :

- lire un jeton demande 2 × P calculs, l'apprendre 4 × P (``fabrique.recettes.cout``) ;
- à chaque passage, bitsandbytes déplie les poids : il les lit en 4 bits et les écrit en 16 ;
  apprendre les déplie une seconde fois, au retour ;
- écrire un jeton relit tous les poids, dépliés quand plusieurs questions avancent ensemble, en
  4 bits quand il n'y en a qu'une : la mémoire y compte seule, les calculs sont négligeables.

Le plancher suppose la carte à sa pleine puissance. Le cas prudent prend, pour les calculs, le
rendement que ``fabrique cout`` retient, et ajoute à chaque passage le temps de Python : celui de
trente-deux blocs en NF4 si petits que leurs calculs ne comptent pas (``--python`` le mesure).
"""

from __future__ import annotations

import argparse
import json
import math
import os
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import nbformat
import torch
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell
from transformers import FalconForCausalLM
from transformers.models.falcon.modeling_falcon import FalconModel

from fabrique.entrainement import Reglages
from fabrique.machine.cartes import CARTES
from fabrique.machine.profil import T4
from fabrique.modeles.chargement import charger, charger_tokenizer, parler_moins
from fabrique.recettes.cout import BITS_NF4, CALCULS, compter
from fabrique.socle.emplacements import ecrire_json
from fabrique.socle.nombres import en_francais
from outils.jumeau import LARGEUR, configuration, poser
from outils.tester import ENVIRONNEMENT, RACINE

RELEVE = RACINE / "benchmarks" / "duree_t4.json"
#: Octets par seconde. Source : fiche NVIDIA T4, 300 Go/s.
DEBIT = 300e9

#: Secondes de Python par passage, mesurées sur un cœur : ``--python``, 2026-11-27.
PYTHON = 0.079


@dataclass
class Travail:
    """Ce qu'un carnet fait calculer au modèle ; un passage traverse tous les blocs une fois."""

    exemples_appris: int = 0
    passages_appris: int = 0
    jetons_appris: int = 0
    passages_lus: int = 0
    jetons_lus: int = 0
    pas_ecrits_ensemble: int = 0
    pas_ecrits_seuls: int = 0
    jetons_ecrits: int = 0

    def noter(self, textes: int, longueur: int, apprend: bool, suite: bool) -> None:
        """Ajoute un passage de ``textes`` × ``longueur`` jetons.

        Args:
            suite: un seul jeton par texte, les précédents étant déjà lus : le modèle écrit.
        """
        if apprend:
            self.exemples_appris += textes
            self.passages_appris += 1
            self.jetons_appris += textes * longueur
        elif suite and longueur == 1:
            self.pas_ecrits_ensemble += textes > 1
            self.pas_ecrits_seuls += textes == 1
            self.jetons_ecrits += textes
        else:
            self.passages_lus += 1
            self.jetons_lus += textes * longueur


def suivre(travail: Travail) -> None:
    """Relève désormais tous les passages dans un jumeau ; le Falcon de poche n'est pas compté."""
    calculer = FalconModel.forward

    def calculer_et_noter(self, input_ids=None, **options):
        if self.config.hidden_size == LARGEUR:
            passe = options.get("past_key_values")
            suite = passe is not None and passe.get_seq_length() > 0
            apprend = self.training and torch.is_grad_enabled()
            travail.noter(*input_ids.shape, apprend=apprend, suite=suite)
        return calculer(self, input_ids=input_ids, **options)

    FalconModel.forward = calculer_et_noter


def executer(carnet: Path, dossier: Path) -> Travail:
    """Exécute toutes les cellules d'un carnet dans ce dossier ; rend ce qu'il a fait calculer.

    L'environnement doit désigner le jumeau (``FABRIQUE_PROFIL``, ``HF_HOME``).

    Raises:
        CellExecutionError: une cellule échoue.
    """
    contenu = nbformat.read(carnet, as_version=4)
    releve = dossier / "travail.json"
    avant = (
        "from benchmarks.duree_t4 import Travail, suivre\n_travail = Travail()\nsuivre(_travail)"
    )
    apres = (
        "import json as _json\nfrom pathlib import Path as _Path\n"
        f"_Path({str(releve)!r}).write_text(_json.dumps(vars(_travail)))"
    )
    contenu.cells = [new_code_cell(avant), *contenu.cells, new_code_cell(apres)]
    ressources = {"metadata": {"path": str(dossier)}}
    NotebookClient(contenu, timeout=600, kernel_name="python3", resources=ressources).execute()
    return Travail(**json.loads(releve.read_text(encoding="utf-8")))


def secondes(travail: Travail) -> tuple[float, float]:
    """Les secondes d'une T4 : au plancher, et dans le cas prudent."""
    plan, carte = compter(T4.modele, Reglages.du_profil(T4)), CARTES["t4"]
    deplier = plan.blocs * (BITS_NF4 / 8 + 2) / DEBIT
    relire = {
        "ensemble": deplier + plan.blocs * 2 / DEBIT,
        "seuls": plan.blocs * BITS_NF4 / 8 / DEBIT,
    }
    memoire = (
        deplier * (2 * travail.passages_appris + travail.passages_lus)
        + relire["ensemble"] * travail.pas_ecrits_ensemble
        + relire["seuls"] * travail.pas_ecrits_seuls
    )
    passages = 2 * travail.passages_appris + travail.passages_lus
    passages += travail.pas_ecrits_ensemble + travail.pas_ecrits_seuls
    calculs = plan.blocs * (CALCULS * travail.jetons_appris + 2 * travail.jetons_lus)
    plancher = calculs / (carte.tflops * 1e12)
    return plancher + memoire, plancher / carte.rendement + memoire + PYTHON * passages


def minutes_annoncees(travail: Travail) -> str:
    """Ce qu'écrit le README : « 12 à 45 min », arrondi à la minute du dessus."""
    bas, haut = (math.ceil(duree / 60) for duree in secondes(travail))
    return f"{bas} à {haut} min" if bas < haut else f"{bas} min"


def lire_releve() -> dict[str, Travail]:
    """Le dernier compte, carnet par carnet."""
    return {nom: Travail(**t) for nom, t in json.loads(RELEVE.read_text(encoding="utf-8")).items()}


def relever(carnets: list[str]) -> dict[str, Travail]:
    """Exécute les carnets nommés (tous, sans nom) sur un jumeau neuf et garde leur compte."""
    releve = lire_releve() if RELEVE.exists() else {}
    with tempfile.TemporaryDirectory() as provisoire:
        cache = Path(provisoire)
        poser(cache)
        jumeau = {
            "FABRIQUE_PROFIL": "jumeau",
            "HF_HOME": str(cache),
            "HF_HUB_CACHE": str(cache / "hub"),
        }
        os.environ.update(ENVIRONNEMENT | jumeau)
        for carnet in sorted((RACINE / "notebooks").glob("[0-9]*.ipynb")):
            if carnets and carnet.stem not in carnets:
                continue
            travail = cache / carnet.stem
            travail.mkdir()
            releve[carnet.stem] = executer(carnet, travail)
            print(f"{carnet.stem} : {minutes_annoncees(releve[carnet.stem])}", flush=True)
    ecrire_json(RELEVE, {nom: asdict(releve[nom]) for nom in sorted(releve)})
    return releve


def en_tableau(releve: dict[str, Travail]) -> str:
    """Le tableau de RESULTATS.md."""
    lignes = [
        "| carnet | exemples appris | jetons appris | jetons lus | jetons écrits | pas d’écriture "
        "| plancher | T4 |",
        "|---|--:|--:|--:|--:|--:|--:|---|",
    ]
    for nom, t in releve.items():
        pas = t.pas_ecrits_ensemble + t.pas_ecrits_seuls
        comptes = (t.exemples_appris, t.jetons_appris, t.jetons_lus, t.jetons_ecrits, pas)
        lignes.append(
            f"| {nom[:2]} | "
            + " | ".join(en_francais(compte) for compte in comptes)
            + f" | {en_francais(secondes(t)[0])} s | {minutes_annoncees(t)} |"
        )
    return "\n".join(lignes)


def mesurer_python(pas: int = 60) -> float:
    """Les secondes de calcul d'un passage dans 32 blocs en NF4, assez petits pour ne rien coûter."""
    torch.set_num_threads(1)
    parler_moins()
    with tempfile.TemporaryDirectory() as dossier:
        config = configuration(512)
        config.num_hidden_layers = compter(T4.modele, Reglages.du_profil(T4)).couches
        FalconForCausalLM(config).save_pretrained(dossier)
        tokenizer = charger_tokenizer("falcon-poche")
        tokenizer.save_pretrained(dossier)
        tokenizer, modele = charger(dossier, "nf4", silencieux=True)
    ids = torch.ones(1, 8, dtype=torch.long)
    options = {"attention_mask": torch.ones_like(ids), "pad_token_id": 0, "eos_token_id": None}
    with torch.inference_mode():
        modele.generate(ids, max_new_tokens=3, **options)
        depart = time.process_time()
        modele.generate(ids, max_new_tokens=pas, **options)
    return (time.process_time() - depart) / pas


def main() -> None:
    """Imprime le tableau ; avec --relever, refait d'abord le compte."""
    analyse = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    analyse.add_argument("carnets", nargs="*", help="noms sans extension ; tous par défaut")
    analyse.add_argument("--relever", action="store_true", help="exécute les carnets sur le jumeau")
    analyse.add_argument(
        "--python", action="store_true", help="mesure Python par passage, et s'arrête"
    )
    options = analyse.parse_args()
    if options.python:
        print(f"{mesurer_python():.3f} s de Python par passage")
        return
    releve = relever(options.carnets) if options.relever else lire_releve()
    print(en_tableau(releve))


if __name__ == "__main__":
    main()
