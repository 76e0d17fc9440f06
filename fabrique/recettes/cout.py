"""Ce que coûtera un apprentissage, avant de le lancer : jetons, mémoire, minutes, euros, kWh, CO₂.

Tout est estimé, et chaque hypothèse est montrée avec sa source. Une fois l'apprentissage fait,
``confronter`` met l'estimation en face de la mesure.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, NamedTuple

from rich.table import Table

from fabrique.corpus import jeu, lire_corpus
from fabrique.entrainement.reglages import Reglages
from fabrique.machine.cartes import CARTES, CO2_FRANCE, Carte
from fabrique.modeles.catalogue import CATALOGUE, trouver
from fabrique.modeles.gabarits import exemple_en_jetons
from fabrique.modeles.tokenizer import charger_tokenizer
from fabrique.socle.colonnes import en_texte
from fabrique.socle.erreurs import MACHINE, ErreurFabrique
from fabrique.socle.nombres import GO, en_francais, en_go, en_minutes, en_pourcent

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedTokenizerBase

    from fabrique.entrainement.resultat import ResultatEntrainement

#: La configuration publiée de Falcon-7B, pour compter ses poids sans réseau.
CONFIGURATION_7B = {
    "vocab_size": 65024,
    "hidden_size": 4544,
    "num_hidden_layers": 32,
    "num_attention_heads": 71,
    "multi_query": True,
    "parallel_attn": True,
    "bias": False,
    "alibi": False,
    "new_decoder_architecture": False,
}
#: Ce qui fait qu'un Falcon a les couches de Falcon-7B, à la taille près.
COUCHES_DU_7B = ("multi_query", "parallel_attn", "bias", "alibi", "new_decoder_architecture")
#: Calculs par jeton et par poids : 2 à l'aller, 2 au retour (la base gelée n'a pas de gradient de
#: poids), 2 de plus quand les activations sont recalculées. Source : Kaplan et al., 2020
#: (arXiv:2001.08361), 2 par poids à l'aller, 4 au retour dont la moitié pour les poids.
CALCULS, CALCULS_AVEC_RECALCUL = 4, 6
#: Calculs de plus quand tous les poids s'apprennent : 2 par poids et par jeton, pour leur gradient.
CALCULS_DU_GRADIENT = 2
#: Octets en mémoire par poids appris : sa valeur, son gradient et deux moments d'Adam, en 32 bits.
OCTETS_PAR_POIDS_APPRIS = 16
#: Bits par poids en NF4 à échelles doubles (QLoRA, arXiv:2305.14314).
BITS_NF4 = 4 + 8 / 64 + 32 / (64 * 256)
#: Octets d'activations par jeton, par bloc et par nombre de la couche, en 16 bits ; le double en 32.
#: L'attention y ajoute 5 × têtes × jetons / largeur. Korthikanti et al., 2022 (arXiv:2205.05198) ;
#: un bloc de Falcon-7B en garde autant, mesuré (``benchmarks/memoire_7b.py``).
ACTIVATIONS, ACTIVATIONS_ATTENTION = 34, 5


@dataclass(frozen=True)
class Plan:
    """Les poids d'un modèle, comptés sans le charger."""

    blocs: int
    autres: int
    adaptateur: int
    couches: int
    largeur: int
    tetes: int
    vocabulaire: int

    @property
    def poids(self) -> int:
        """Les poids du modèle, sans l'adaptateur."""
        return self.blocs + self.autres


@dataclass(frozen=True)
class Estimation:
    """Ce que coûterait un apprentissage ; tout est estimé.

    Durées en minutes : ``plancher`` à pleine puissance, ``prudent`` au rendement observé ;
    euros, kWh et CO₂ (g) suivent le cas prudent. ``euros`` est None sans prix à l'heure.
    """

    modele: str
    machine: str
    jetons: int
    epoques: float
    parametres_entraines: int
    memoire: int
    tient: bool
    plancher: float
    prudent: float
    euros: float | None
    kwh: float
    co2: float
    hypotheses: tuple[str, ...] = field(default=())


def compter(modele: str | Path, reglages: Reglages) -> Plan:
    """Compte les poids d'un modèle et de son adaptateur, sans rien charger.

    Raises:
        ErreurFabrique: configuration introuvable.
    """
    lue = _configuration_de_falcon(modele)
    couches, autres, config = _falcon(lue) if lue else _sur_un_squelette(modele)
    cibles = [
        couche
        for couche in couches
        if reglages.target_modules == "all-linear" or couche.nom in reglages.target_modules
    ]
    return Plan(
        blocs=sum(couche.entrees * couche.sorties for couche in couches),
        autres=autres,
        adaptateur=sum(reglages.lora_r * (c.entrees + c.sorties) for c in cibles),
        couches=config.num_hidden_layers,
        largeur=config.hidden_size,
        tetes=config.num_attention_heads,
        vocabulaire=config.vocab_size,
    )


class Couche(NamedTuple):
    """Une couche linéaire : le dernier morceau de son nom, et sa taille."""

    nom: str
    entrees: int
    sorties: int


def _falcon(lue: dict) -> tuple[list[Couche], int, SimpleNamespace]:
    """Les couches linéaires d'un Falcon comme le 7B, le nombre de ses autres poids, sa configuration.

    Source : transformers, ``modeling_falcon``. Une seule tête de clés et de valeurs, une seule
    normalisation par bloc, plongements partagés avec la sortie.
    """
    config = SimpleNamespace(**lue)
    largeur, blocs = config.hidden_size, config.num_hidden_layers
    tete = largeur // config.num_attention_heads
    cachee = lue.get("ffn_hidden_size") or 4 * largeur
    bloc = [
        Couche("query_key_value", largeur, largeur + 2 * tete),
        Couche("dense", largeur, largeur),
        Couche("dense_h_to_4h", largeur, cachee),
        Couche("dense_4h_to_h", cachee, largeur),
    ]
    normes = 2 * largeur * (blocs + 1)
    return blocs * bloc, config.vocab_size * largeur + normes, config


def _sur_un_squelette(modele: str | Path) -> tuple[list[Couche], int, PretrainedConfig]:
    """La même chose d'un autre modèle, bâti sans poids sur un appareil fictif."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    entree = trouver(modele)
    try:
        config = AutoConfig.from_pretrained(entree.depot, revision=entree.revision)
    except (OSError, ValueError) as cause:
        raise ErreurFabrique(
            f"la configuration de « {modele} » est introuvable",
            "Donnez un nom du catalogue ou un dossier qui contient config.json",
            code=MACHINE,
        ) from cause
    with torch.device("meta"):
        reseau = AutoModelForCausalLM.from_config(config)
    tete = reseau.get_output_embeddings()
    lineaires = {
        nom: m
        for nom, m in reseau.named_modules()
        if isinstance(m, torch.nn.Linear) and m is not tete
    }
    couches = [
        Couche(nom.rsplit(".", 1)[-1], m.in_features, m.out_features)
        for nom, m in lineaires.items()
    ]
    blocs = sum(m.weight.numel() for m in lineaires.values())
    return couches, sum(p.numel() for p in reseau.parameters()) - blocs, config


def compter_jetons(corpus: str, tokenizer: PreTrainedTokenizerBase, reglages: Reglages) -> int:
    """Jetons d'une époque : les exemples du jeu d'entraînement, ou la part non mise de côté."""
    exemples = lire_corpus(corpus)
    part = 1.0
    if any(exemples["jeu"]):
        exemples = jeu(exemples, "entrainement")
    elif reglages.val_set_size < 1:
        part = 1 - reglages.val_set_size
    else:
        part = max(0.0, 1 - reglages.val_set_size / len(exemples))
    longueurs = (
        len(exemple_en_jetons(tokenizer, e, reglages.cutoff_len)["input_ids"]) for e in exemples
    )
    return round(part * sum(longueurs))


def estimer(
    modele: str | Path,
    machine: str,
    reglages: Reglages,
    corpus: str = "",
    jetons: int | None = None,
    prix_heure: float | None = None,
) -> Estimation:
    """Estime un apprentissage LoRA en NF4.

    Args:
        machine: « t4 », « l4 », « a100 », « h100 » ou « cpu » (deux cœurs).
        corpus: nom livré ou fichier, dont on compte les jetons.
        jetons: jetons d'une époque, si l'on n'a pas de corpus.
        prix_heure: prix de la machine, en euros par heure.

    Raises:
        ErreurFabrique: machine inconnue, ni corpus ni jetons, configuration introuvable.
    """
    carte = carte_connue(machine)
    if not corpus and not jetons:
        raise ErreurFabrique(
            "il faut un corpus ou un nombre de jetons", "Donnez --dataset ou --jetons"
        )
    plan = compter(modele, reglages)
    compteur = ""
    if jetons is None:
        tokenizer, compteur = _tokenizer(modele)
        jetons = compter_jetons(corpus, tokenizer, reglages)
    calculs = calculs_par_poids(reglages)
    total = calculs * plan.poids * jetons * reglages.epochs
    plancher = total / (carte.tflops * 1e12) / 60
    prudent = plancher / carte.rendement
    memoire = estimer_memoire(plan, reglages, seize_bits=machine != "cpu")
    kwh = carte.watts / 1000 * prudent / 60
    hypotheses = (
        compteur,
        f"{calculs} calculs par poids et par jeton (Kaplan et al., 2020)"
        + (", activations recalculées" if reglages.recalcul else ""),
        f"{machine}\u00a0: {puissance(carte)}, "
        f"{en_francais(carte.watts, 1 if carte.watts % 1 else 0)} W ({carte.source})",
        f"rendement prudent {en_pourcent(carte.rendement, 1)}"
        + (" (journal de 2023 sur A100, un exemple à la fois)" if carte.rendement < 1 else ""),
        "mémoire\u00a0: poids en NF4, adaptateur, Adam et activations (Korthikanti et al., 2022), "
        "hors bibliothèques",
        f"énergie\u00a0: la carte à pleine puissance, hors serveur et climatisation\u00a0; "
        f"{en_francais(CO2_FRANCE, 1)} g de CO₂ par kWh (codecarbon 3.3.2, France 2023)",
    )
    return Estimation(
        modele=str(modele),
        machine=machine,
        jetons=jetons,
        epoques=reglages.epochs,
        parametres_entraines=plan.adaptateur,
        memoire=memoire,
        tient=memoire < carte.memoire * GO,
        plancher=plancher,
        prudent=prudent,
        euros=None if prix_heure is None else prix_heure * prudent / 60,
        kwh=kwh,
        co2=kwh * CO2_FRANCE,
        hypotheses=tuple(filter(None, hypotheses)),
    )


def carte_connue(machine: str) -> Carte:
    """La carte de ce nom.

    Raises:
        ErreurFabrique: machine inconnue.
    """
    if machine not in CARTES:
        raise ErreurFabrique(
            f"la machine « {machine} » est inconnue", f"Choisissez entre {', '.join(CARTES)}"
        )
    return CARTES[machine]


def puissance(carte: Carte) -> str:
    """« 312 TFLOPS »."""
    return f"{en_francais(carte.tflops, 3 if carte.tflops < 1 else 0)} TFLOPS"


def calculs_par_poids(reglages: Reglages) -> int:
    """Calculs par jeton et par poids, à l'aller et au retour."""
    calculs = CALCULS_AVEC_RECALCUL if reglages.recalcul else CALCULS
    return calculs + (CALCULS_DU_GRADIENT if reglages.methode == "complet" else 0)


def estimer_memoire(plan: Plan, reglages: Reglages, seize_bits: bool) -> int:
    """Octets au plus haut : poids, adaptateur et Adam en 32 bits, activations, logits.

    Sous un adaptateur, les blocs sont en NF4, et le reste du modèle (plongements) passe en 32 bits ;
    sinon, tous les poids s'apprennent.
    """
    octets = 2 if seize_bits else 4
    jetons = reglages.mbatch_size * reglages.cutoff_len
    if reglages.methode == "complet":
        poids: float = OCTETS_PAR_POIDS_APPRIS * plan.poids
    else:
        base = plan.blocs * BITS_NF4 / 8 + 4 * plan.autres
        poids = base + OCTETS_PAR_POIDS_APPRIS * plan.adaptateur
    par_nombre = (
        ACTIVATIONS + ACTIVATIONS_ATTENTION * plan.tetes * reglages.cutoff_len / plan.largeur
    )
    par_bloc = par_nombre * octets / 2 * plan.largeur * jetons
    # Recalculées, les activations ne tiennent qu'un bloc à la fois, plus l'entrée de chacun.
    blocs = plan.couches if not reglages.recalcul else 1
    entrees = plan.couches * octets * plan.largeur * jetons if reglages.recalcul else 0
    logits = 2 * 4 * jetons * plan.vocabulaire
    return round(poids + blocs * par_bloc + entrees + logits)


def prix_api(jetons: float, prix_1000: float, epoques: float = 1) -> float:
    """Le prix d'une API facturée aux 1 000 jetons ; à l'apprentissage, chaque époque se paie.

    En 2023 : 100 000 jetons, 3 époques, 0,008 $ les 1 000 → 2,40 $.
    """
    return jetons / 1000 * prix_1000 * epoques


def prix_des_api(
    estimation: Estimation,
    apprentissage: float | None = None,
    emploi: float | None = None,
    jetons_emploi: int = 0,
) -> dict[str, float]:
    """Les prix du même travail par une API, dans sa monnaie ; seuls les tarifs donnés comptent."""
    prix = {}
    if apprentissage is not None:
        prix["API, apprentissage"] = prix_api(estimation.jetons, apprentissage, estimation.epoques)
    if emploi is not None:
        prix[f"API, {en_francais(jetons_emploi)} jetons d’emploi"] = prix_api(jetons_emploi, emploi)
    return prix


def bilan(modele: str | Path, resultat: ResultatEntrainement, machine: str | None) -> str:
    """Ce que ``estimer`` aurait annoncé, en face de la mesure ; vide quand il ne sait pas l'estimer.

    Args:
        machine: une des machines de ``CARTES`` ; None si elle n'en est pas.
    """
    estimable = resultat.reglages.methode != "complet" and resultat.jetons_utiles
    if machine is None or not estimable:
        return ""
    jetons = round(resultat.jetons_utiles / resultat.reglages.epochs)
    return confronter(estimer(modele, machine, resultat.reglages, jetons=jetons), resultat)


def confronter(estimation: Estimation, mesure: ResultatEntrainement | str | Path) -> str:
    """Met l'estimation en face de la mesure d'un apprentissage fini.

    Args:
        mesure: le résultat, ou le chemin de son ``rapport.json``.
    """
    if isinstance(mesure, str | Path):
        vu = json.loads(Path(mesure).read_text(encoding="utf-8"))
    else:
        vu = mesure.en_dictionnaire()
    minutes = vu["duree_s"] / 60
    bornes = en_minutes(estimation.plancher)
    if estimation.plancher != estimation.prudent:
        bornes += f" à {en_minutes(estimation.prudent)}"
    jetons = estimation.jetons * estimation.epoques
    return "\n".join(
        [
            f"Durée    : mesuré {en_minutes(minutes)}, estimé {bornes}",
            f"Jetons   : mesuré {en_francais(vu['jetons_utiles'])}, estimé {en_francais(jetons)}",
            f"Mémoire  : mesuré {en_go(vu['memoire_pic'])} (bibliothèques comprises), "
            f"estimé {en_go(estimation.memoire)} (sans elles)",
        ]
    )


# ---------------------------------------------------------------- montrer


def en_tableau(estimation: Estimation, api: dict[str, float] | None = None) -> str:
    """Le tableau d'une estimation, ses hypothèses dessous."""
    e = estimation
    table = Table(title=f"{e.modele} sur {e.machine}\u00a0: estimé, non mesuré", show_header=False)
    minutes = en_minutes(e.prudent)
    if e.plancher != e.prudent:
        minutes = f"{en_minutes(e.plancher)} (plancher) à {minutes} (prudent)"
    lignes = {
        "Jetons par époque": en_francais(e.jetons),
        "Époques": en_francais(e.epoques, 0 if e.epoques == int(e.epoques) else 1),
        "Paramètres entraînés": en_francais(e.parametres_entraines),
        "Mémoire": en_go(e.memoire) + ("" if e.tient else " — ne tient pas"),
        "Durée": minutes,
        "Prix": "donnez --prix_heure" if e.euros is None else f"{en_francais(e.euros, 2)} €",
        "Énergie": f"{en_francais(e.kwh, 4)} kWh",
        "CO₂ (France)": f"{en_francais(e.co2, 2)} g",
        **{nom: f"{en_francais(prix, 2)}" for nom, prix in (api or {}).items()},
    }
    for nom, valeur in lignes.items():
        table.add_row(nom, valeur)
    return en_texte(table, largeur=88) + "\n".join(
        ["Hypothèses\u00a0:", *(f"- {hypothese}" for hypothese in e.hypotheses)]
    )


def en_dictionnaire(estimation: Estimation, api: dict[str, float] | None = None) -> dict:
    """La même chose pour ``--json``."""
    return {"estime": True, **asdict(estimation), "api": api or {}}


def _configuration_de_falcon(modele: str | Path) -> dict | None:
    """La configuration d'un Falcon aux couches du 7B, sans réseau ; None pour un autre modèle."""
    entree = trouver(modele)
    if entree in (CATALOGUE["falcon-7b"], CATALOGUE["falcon-7b-instruct"]):
        return CONFIGURATION_7B
    try:
        config = json.loads((Path(entree.depot) / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    semblable = all(config.get(cle) == CONFIGURATION_7B[cle] for cle in COUCHES_DU_7B)
    return config if semblable and config.get("model_type") == "falcon" else None


def _tokenizer(modele: str | Path) -> tuple[PreTrainedTokenizerBase, str]:
    """Le tokenizer du modèle ; à défaut celui de poche, et la phrase qui le dit."""
    try:
        return charger_tokenizer(modele), f"jetons comptés avec le tokenizer de {modele}"
    except ErreurFabrique as erreur:
        if erreur.code != MACHINE:
            raise
    return charger_tokenizer("falcon-poche"), (
        f"jetons comptés avec le tokenizer du Falcon de poche\u00a0: celui de {modele} est "
        "injoignable"
    )
