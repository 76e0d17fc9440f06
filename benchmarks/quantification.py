"""Ce que coûte chaque format de quantification, sur le même modèle et les mêmes textes.

    python -m benchmarks.quantification
    python -m benchmarks.quantification --gptq   # avec l'extension [gptq]

Le modèle est chargé dans chaque format. Le tableau donne la place des couches des blocs, sur le
disque et en mémoire (le reste, plongements compris, n'est jamais quantifié), l'erreur sur leurs
poids, les bits par octet sur les fiches livrées, que le préentraînement n'a pas lues, l'écart de
ces bits à ceux du modèle en 16 bits, et les secondes par réponse de 60 jetons.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from fabrique.corpus import jeu, lire_corpus
from fabrique.entrainement.bits import bits_par_octet
from fabrique.modeles.chargement import charger, reparation_falcon
from fabrique.modeles.gabarits import coder, texte_de_la_demande
from fabrique.modeles.quantification import FORMATS, format_de, octets, poids_retrouves
from fabrique.socle.nombres import en_ecart, en_francais, en_pourcent

#: La référence d'abord, puis du plus fin au plus grossier. GPTQ s'y ajoute avec --gptq.
COMPARES = ("aucune", "int8", "nf4_simple", "nf4", "fp4")
JETONS_PAR_REPONSE = 60
#: GPTQ choisit ses arrondis en lisant ces textes, qu'aucune mesure n'emploie.
TEXTES_DE_CALIBRAGE = 128
MO = 1e6


@dataclass(frozen=True)
class Mesure:
    """Une ligne du tableau : places en octets, erreur relative."""

    nom: str
    disque: int
    memoire: int
    erreur: float
    bits: float
    secondes: float


def couches(modele: PreTrainedModel) -> dict[str, torch.nn.Module]:
    """Les couches linéaires des blocs, quantifiées ou non."""
    tete = modele.get_output_embeddings()
    return {
        nom: module
        for nom, module in modele.named_modules()
        if module is not tete and (format_de(module) or isinstance(module, torch.nn.Linear))
    }


def place_sur_disque(modele: PreTrainedModel) -> int:
    """Octets des couches des blocs dans les fichiers enregistrés, constantes comprises."""
    noms = tuple(f"{nom}." for nom in couches(modele))
    with tempfile.TemporaryDirectory() as dossier:
        modele.save_pretrained(dossier)
        total = 0
        for fichier in Path(dossier).glob("*.safetensors"):
            with safe_open(fichier, "pt") as tenseurs:
                gardes = [tenseurs.get_tensor(n) for n in tenseurs.keys() if n.startswith(noms)]
            total += sum(t.numel() * t.element_size() for t in gardes)
    return total


def quantifier_gptq(modele: str, textes: list[str], dossier: Path) -> str:
    """Quantifie le modèle par GPTQ en lui faisant lire des textes ; rend le dossier écrit.

    Source : Frantar et al., 2022 (GPTQ, arXiv:2210.17323) ; réglages de 2023, 4 bits par groupes de 64.
    """
    os.environ.setdefault("GPTQMODEL_CPU_WORKERS", "2")  # sans quoi deux cœurs ne lui suffisent pas
    import gptqmodel

    tokenizer, origine = charger(modele, "aucune", silencieux=True)
    origine.half().save_pretrained(dossier / "origine")
    tokenizer.save_pretrained(dossier / "origine")
    reglages = gptqmodel.QuantizeConfig(bits=4, group_size=64, desc_act=False)
    with reparation_falcon(), redirect_stdout(sys.stderr):
        a_quantifier = gptqmodel.GPTQModel.load(str(dossier / "origine"), reglages)
        a_quantifier.quantize(textes, batch_size=1)
        a_quantifier.save(str(dossier / "gptq"))
    tokenizer.save_pretrained(dossier / "gptq")
    return str(dossier / "gptq")


def poids_du_calcul(module: torch.nn.Module) -> torch.Tensor:
    """Les poids dont une couche se sert vraiment."""
    if format_de(module) == "gptq":
        # Appliquée à la matrice identité, une couche rend ses poids, transposés.
        return module(torch.eye(module.in_features)).T
    return poids_retrouves(module) if format_de(module) else module.weight


def erreur_relative(modele: PreTrainedModel, origine: PreTrainedModel) -> float:
    """‖poids du calcul − poids‖ / ‖poids‖ sur toutes les couches des blocs."""
    ecart = norme = 0.0
    for nom, module in couches(modele).items():
        poids = origine.get_submodule(nom).weight
        retrouves = poids_du_calcul(module)
        ecart += (retrouves.float() - poids).square().sum().item()
        norme += poids.square().sum().item()
    return (ecart / norme) ** 0.5


def secondes_par_reponse(
    modele: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, questions: list[dict]
) -> float:
    """Médiane du temps d'une réponse de 60 jetons, ni plus ni moins, la première étant omise."""
    durees = []
    for exemple in questions:
        ids = torch.tensor([coder(texte_de_la_demande(tokenizer, exemple), tokenizer)])
        depart = time.perf_counter()
        modele.generate(
            input_ids=ids.to(modele.device),
            attention_mask=torch.ones_like(ids).to(modele.device),
            min_new_tokens=JETONS_PAR_REPONSE,
            max_new_tokens=JETONS_PAR_REPONSE,
            do_sample=False,
            pad_token_id=tokenizer.pad_token_id,
        )
        durees.append(time.perf_counter() - depart)
    return sorted(durees[1:])[len(durees[1:]) // 2]


@torch.inference_mode()
def mesurer(
    nom: str, source: str, origine: PreTrainedModel, textes: list, questions: list
) -> Mesure:
    """Charge dans un format et mesure tout, en 32 bits sur processeur."""
    tokenizer, modele = charger(source, nom, silencieux=True)
    modele.eval()
    bits = bits_par_octet(modele, tokenizer, textes, 512)
    secondes = secondes_par_reponse(modele, tokenizer, questions)
    erreur = erreur_relative(modele, origine)
    place = sum(octets(m) for m in couches(modele).values()) if nom != "aucune" else 0
    if nom == "aucune":
        # La référence est le fichier d'origine, en 16 bits.
        modele = modele.half()
        place = sum(2 * module.weight.numel() for module in couches(modele).values())
    return Mesure(nom, place_sur_disque(modele), place, erreur, bits, secondes)


def tableau(mesures: list[Mesure]) -> str:
    """Le tableau, en Markdown ; les écarts se comptent depuis la première ligne."""
    reference = mesures[0]
    lignes = [
        "| format | disque (Mo) | mémoire (Mo) | erreur sur les poids | bits par octet | écart | "
        "s par réponse |",
        "| --- | --: | --: | --: | --: | --: | --: |",
    ]
    for m in mesures:
        ecart = f"{en_ecart(100 * (m.bits / reference.bits - 1), 2)}\u00a0%"
        nature = FORMATS[m.nom].nature if m.nom in FORMATS else "16 bits"
        lignes.append(
            f"| {nature} | {en_francais(m.disque / MO, 2)} | {en_francais(m.memoire / MO, 2)} | "
            f"{en_pourcent(m.erreur, 2)} | {en_francais(m.bits, 4)} | {ecart} | "
            f"{en_francais(m.secondes, 2)} |"
        )
    return "\n".join(lignes)


def main() -> None:
    """Mesure et imprime le tableau."""
    analyse = argparse.ArgumentParser(description=__doc__)
    analyse.add_argument("--modele", default="falcon-poche")
    analyse.add_argument("--gptq", action="store_true", help="mesure aussi GPTQ (extension [gptq])")
    analyse.add_argument("--textes", type=int, default=93, help="fiches lues, au plus")
    analyse.add_argument("--questions", type=int, default=12)
    options = analyse.parse_args()
    textes = list(lire_corpus("fiches")["texte"])[: options.textes]
    questions = list(jeu(lire_corpus("demarches"), "test").select(range(options.questions)))
    _, origine = charger(options.modele, "aucune", silencieux=True)
    sources = dict.fromkeys(COMPARES, options.modele)
    with tempfile.TemporaryDirectory() as dossier:
        if options.gptq:
            appris = [e["output"] for e in jeu(lire_corpus("demarches"), "entrainement")]
            lus = appris[:TEXTES_DE_CALIBRAGE]
            sources["gptq"] = quantifier_gptq(options.modele, lus, Path(dossier))
        mesures = [mesurer(nom, ou, origine, textes, questions) for nom, ou in sources.items()]
    print(
        f"{options.modele}, {len(textes)} fiches, {sum(len(t.encode()) for t in textes)} octets\n"
    )
    print(tableau(mesures))


if __name__ == "__main__":
    main()
