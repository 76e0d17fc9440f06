"""Les machines que le cours nomme : puissance de calcul, mémoire, électricité, carbone."""

from __future__ import annotations

from dataclasses import dataclass

#: gCO₂ par kWh en France : codecarbon 3.3.2, global_energy_mix.json, France 2023.
CO2_FRANCE = 56.039
#: Part de la puissance de pointe qu'un réglage fin a vraiment obtenue : journal de 2023 sur A100,
#: 4 800 exemples de 256 jetons en 874 s hors évaluations, un exemple à la fois.
RENDEMENT_2023 = 0.125


@dataclass(frozen=True)
class Carte:
    """Une machine : calculs par seconde (TFLOPS), mémoire (Go), puissance électrique (W).

    La mémoire est à peu près celle que la machine annonce, en Go de 10⁹ octets : une T4 vendue pour 16 Go en
    annonce 15,8 (14,7 Gio), et les « 12.7 GB » de Colab, des gibioctets, en font 13,6.

    ``rendement`` est la part des TFLOPS obtenue dans le cas prudent ; 1 quand ils sont mesurés.
    """

    tflops: float
    memoire: float
    watts: float
    source: str
    rendement: float = RENDEMENT_2023


#: TFLOPS denses en 16 bits et puissance maximale des fiches techniques de NVIDIA.
CARTES = {
    "t4": Carte(65, 15.8, 70, "fiche NVIDIA T4, fp16"),
    "l4": Carte(121, 23.8, 72, "fiche NVIDIA L4, 16 bits dense"),
    "a100": Carte(312, 42.5, 400, "fiche NVIDIA A100 SXM, 16 bits dense"),
    "h100": Carte(989, 85, 700, "fiche NVIDIA H100 SXM, 16 bits dense"),
    "cpu": Carte(
        0.112,
        13.6,
        42.5,
        "mesuré : vitesse_finetune, deux cœurs, 2 505 jetons par seconde × 4 × 11 millions de poids ; "
        "puissance par défaut de codecarbon 3.3.2 (85 W à 50 %)",
        rendement=1,
    ),
}


def carte_de(gpu: str | None) -> str | None:
    """La machine de ``CARTES`` qui porte ce nom de GPU ; « cpu » sans GPU, None si inconnue."""
    if gpu is None:
        return "cpu"
    mots = gpu.lower().replace("-", " ").split()
    return next((nom for nom in CARTES if nom in mots), None)


def co2_estime(gpu: str | None, secondes: float) -> float | None:
    """Grammes de CO₂ d'une durée à pleine puissance, en France ; None si la carte est inconnue."""
    carte = carte_de(gpu)
    return None if carte is None else CARTES[carte].watts * secondes / 3.6e6 * CO2_FRANCE
