"""Entraîner un encodeur statique sur des fiches : un titre doit retrouver son passage parmi d'autres.

Chaque lot est un petit examen : autant de titres que de passages, et chaque titre désigne le sien.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers
from torch.nn import EmbeddingBag
from torch.nn.functional import cross_entropy, normalize

from fabrique.recherche.fiches import lire_fiches
from fabrique.recherche.passages import Fiche, couper
from fabrique.recherche.reglages_encodeur import PAR_DEFAUT, ReglagesEncodeur
from fabrique.recherche.sens import Statique
from fabrique.socle.erreurs import ErreurFabrique
from fabrique.socle.nombres import en_bref, en_francais, en_mo

JOURNAL = logging.getLogger(__name__)


@dataclass(frozen=True)
class Paires:
    """Les titres et les passages d'un apprentissage, en morceaux.

    Args:
        titres, passages: les morceaux de chaque texte, entiers.
        fiches: la fiche de chaque paire : deux paires d'une même fiche ne se départagent pas.
    """

    titres: list[np.ndarray]
    passages: list[np.ndarray]
    fiches: np.ndarray


def apprendre(fiches: Sequence[Fiche], reglages: ReglagesEncodeur = PAR_DEFAUT) -> Statique:
    """Entraîne un encodeur sur les titres et les passages de fiches.

    Returns:
        L'encodeur ; ``enregistrer`` l'écrit dans un dossier, que ``Index.construire(sens=…)`` lit.

    Raises:
        ErreurFabrique: moins de paires qu'un lot n'en demande.

    Source : Oord et al., 2018 (InfoNCE, arXiv:1807.03748) ; Henderson et al., 2017
    (arXiv:1705.00652), pour les distracteurs pris dans le lot.
    """
    textes = list(_textes(fiches))
    if len(textes) < reglages.lot:
        raise ErreurFabrique(
            f"{len(textes)} paires de titre et de passage : moins qu’un lot ({reglages.lot})",
            "Donnez plus de fiches, ou un lot plus petit",
            champ="lot",
        )
    tokenizer = entrainer_morceaux((f"{t} {p}" for t, p, _ in textes), reglages.vocabulaire)
    paires = Paires(
        _en_morceaux(tokenizer, [titre for titre, _, _ in textes]),
        _en_morceaux(tokenizer, [passage for _, passage, _ in textes]),
        np.array([fiche for _, _, fiche in textes]),
    )
    torch.manual_seed(reglages.graine)
    sac = EmbeddingBag(tokenizer.get_vocab_size(), reglages.dimensions, mode="sum")
    torch.nn.init.normal_(sac.weight, std=0.05)
    optimiseur = torch.optim.Adam(sac.parameters(), lr=reglages.taux)
    hasard = np.random.default_rng(reglages.graine)
    for epoque in range(reglages.epoques):
        pertes = []
        for lot in _lots(len(textes), reglages.lot, hasard):
            perte = _perte(paires, lot, sac, reglages, hasard)
            optimiseur.zero_grad()
            perte.backward()
            optimiseur.step()
            pertes.append(perte.item())
        for groupe in optimiseur.param_groups:
            groupe["lr"] = reglages.taux * (1 - (epoque + 1) / reglages.epoques)
        JOURNAL.info(
            f"Époque {epoque + 1} sur {reglages.epoques} : perte {en_bref(np.mean(pertes), 3)}."
        )
    return Statique(sac.weight.detach().numpy(), tokenizer)


def entrainer_encodeur(
    sources: Sequence[str | Path], sortie: str | Path, reglages: ReglagesEncodeur = PAR_DEFAUT
) -> str:
    """Entraîne un encodeur sur des fichiers de fiches et l'écrit dans un dossier neuf.

    Returns:
        La phrase qui dit ce qui a été fait.

    Raises:
        ErreurFabrique: le dossier n'est pas vide, ou une fiche ne peut pas être prise.
    """
    sortie = Path(sortie)
    if sortie.exists() and (not sortie.is_dir() or any(sortie.iterdir())):
        raise ErreurFabrique(
            "le dossier de sortie existe et n’est pas vide", "Donnez un dossier neuf", sortie
        )
    fiches = [fiche for lue in lire_fiches(*sources) for fiche in lue.fiches]
    encodeur = apprendre(fiches, reglages)
    sortie.mkdir(parents=True, exist_ok=True)
    encodeur.enregistrer(sortie)
    octets = sum(fichier.stat().st_size for fichier in sortie.iterdir())
    return f"Encodeur écrit dans {sortie} ({en_mo(octets)}), entraîné sur {en_francais(len(fiches))} fiches."


def _textes(fiches: Sequence[Fiche]) -> Iterator[tuple[str, str, int]]:
    """Les paires d'une fiche : son titre, puis son titre et la rubrique, et chaque passage."""
    for rang, fiche in enumerate(fiches):
        for passage in couper(fiche):
            yield fiche.titre, passage.texte, rang
            if passage.rubrique:
                yield f"{fiche.titre} {passage.rubrique}", passage.texte, rang


def entrainer_morceaux(textes: Iterator[str], taille: int) -> Tokenizer:
    """Un tokenizer BPE sans casse ni accents : « Élève » et « eleve » s'y coupent pareil.

    Source : Sennrich et al., 2016 (arXiv:1508.07909).
    """
    moteur = Tokenizer(models.BPE())
    moteur.normalizer = normalizers.Sequence(
        [
            normalizers.Replace("œ", "oe"),
            normalizers.Replace("Œ", "oe"),
            normalizers.NFKD(),
            normalizers.StripAccents(),
            normalizers.Lowercase(),
        ]
    )
    moteur.pre_tokenizer = pre_tokenizers.Split(Regex("[a-z]+|[0-9]+"), "removed", invert=True)
    alphabet = list("abcdefghijklmnopqrstuvwxyz0123456789")
    apprentissage = trainers.BpeTrainer(
        vocab_size=taille, initial_alphabet=alphabet, show_progress=False
    )
    moteur.train_from_iterator(textes, apprentissage)
    return moteur


def _en_morceaux(tokenizer: Tokenizer, textes: list[str]) -> list[np.ndarray]:
    return [np.array(code.ids, dtype=np.int64) for code in tokenizer.encode_batch(textes)]


def _lots(nombre: int, taille: int, hasard: np.random.Generator) -> Iterator[np.ndarray]:
    """Les rangs des paires de chaque lot, tirés au hasard ; les dernières attendent l'époque suivante."""
    ordre = hasard.permutation(nombre)
    for debut in range(0, nombre - taille + 1, taille):
        yield ordre[debut : debut + taille]


def _perte(
    paires: Paires,
    lot: np.ndarray,
    sac: EmbeddingBag,
    reglages: ReglagesEncodeur,
    hasard: np.random.Generator,
) -> torch.Tensor:
    """L'entropie croisée, en nats, du bon passage pour chaque titre, et du bon titre pour chacun."""
    titres = [_effacer(paires.titres[rang], reglages.effacement, hasard) for rang in lot]
    passages = [paires.passages[rang] for rang in lot]
    ressemblances = _vecteurs(sac, titres) @ _vecteurs(sac, passages).T / reglages.temperature
    fiches = torch.from_numpy(paires.fiches[lot])
    soeurs = (fiches[:, None] == fiches) & ~torch.eye(len(lot), dtype=torch.bool)
    ressemblances = ressemblances.masked_fill(soeurs, -torch.inf)
    bons = torch.arange(len(lot))
    return (cross_entropy(ressemblances, bons) + cross_entropy(ressemblances.T, bons)) / 2


def _effacer(morceaux: np.ndarray, part: float, hasard: np.random.Generator) -> np.ndarray:
    """Les morceaux qui restent : une question ne reprend jamais tous les mots d'un titre."""
    restants = morceaux[hasard.random(len(morceaux)) >= part]
    return restants if len(restants) else morceaux


def _vecteurs(sac: EmbeddingBag, textes: Sequence[np.ndarray]) -> torch.Tensor:
    """Le vecteur de chaque texte, de longueur 1. Forme : (textes, dimensions)."""
    debuts = np.cumsum([0, *map(len, textes)])[:-1]
    return normalize(sac(torch.from_numpy(np.concatenate(textes)), torch.from_numpy(debuts)))
