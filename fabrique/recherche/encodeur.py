"""Entraîner un encodeur statique sur des fiches : un titre doit retrouver son passage parmi d'autres.

Chaque lot est un petit examen : autant de titres que de passages, et chaque titre désigne le sien.
Après la première époque, un lot réunit des fiches voisines : les distracteurs se ressemblent.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from sklearn.cluster import MiniBatchKMeans
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers
from torch.nn import EmbeddingBag
from torch.nn.functional import cross_entropy, normalize

from fabrique.recherche.passages import Fiche, couper
from fabrique.recherche.sens import Statique
from fabrique.socle.erreurs import COMPTE, PART, RANG, ErreurFabrique, Nombre
from fabrique.socle.nombres import en_bref
from fabrique.socle.options import reglage, verifier_les_nombres

JOURNAL = logging.getLogger(__name__)


@dataclass(frozen=True)
class ReglagesEncodeur:
    """Les réglages de l'apprentissage ; par défaut, ceux de l'encodeur livré."""

    vocabulaire: int = reglage(16_384, "Morceaux de mots, au plus.", COMPTE)
    dimensions: int = reglage(256, "Nombres par vecteur.", COMPTE)
    epoques: int = reglage(6, "Passages sur les paires.", COMPTE)
    lot: int = reglage(512, "Paires par pas.", Nombre(entier=True, au_moins=2, exemple="512"))
    taux: float = reglage(3e-3, "Taux d’apprentissage.", Nombre(positive=True, exemple="0,003"))
    temperature: float = reglage(
        0.05, "Plus basse, elle punit les distracteurs proches.", Nombre(positive=True)
    )
    effacement: float = reglage(0.1, "Part des morceaux d’un titre effacés au hasard.", PART)
    graine: int = reglage(0, "Graine du hasard.", RANG)

    def __post_init__(self) -> None:
        verifier_les_nombres(self)


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


def apprendre(fiches: Sequence[Fiche], reglages: ReglagesEncodeur = ReglagesEncodeur()) -> Statique:
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
        for lot in _lots(paires, sac, epoque, reglages.lot, hasard):
            perte = _perte(paires, lot, sac, reglages, hasard)
            optimiseur.zero_grad()
            perte.backward()
            optimiseur.step()
            pertes.append(perte.item())
        for groupe in optimiseur.param_groups:
            groupe["lr"] = reglages.taux * (1 - (epoque + 1) / reglages.epoques)
        JOURNAL.info(
            f"Époque {epoque + 1} sur {reglages.epoques} : perte {en_bref(np.mean(pertes))}."
        )
    return Statique(sac.weight.detach().numpy(), tokenizer)


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


def _lots(
    paires: Paires, sac: EmbeddingBag, epoque: int, taille: int, hasard: np.random.Generator
) -> Iterator[np.ndarray]:
    """Les rangs des paires de chaque lot ; après la première époque, des fiches voisines."""
    ordre = hasard.permutation(len(paires.fiches))
    if epoque:
        voisinages = _voisinages(paires, sac, hasard)
        ordre = ordre[np.argsort(hasard.permutation(voisinages.max() + 1)[voisinages[ordre]])]
    debuts = np.arange(0, len(ordre) - taille + 1, taille)
    for debut in hasard.permutation(debuts):
        yield ordre[debut : debut + taille]


#: Combien de paires, en moyenne, dans un voisinage : plusieurs se côtoient dans un lot.
PAR_VOISINAGE = 64


def _voisinages(paires: Paires, sac: EmbeddingBag, hasard: np.random.Generator) -> np.ndarray:
    """Le voisinage de chaque paire, d'après les vecteurs que l'encodeur donne aux titres."""
    with torch.no_grad():
        vecteurs = _vecteurs(sac, paires.titres).numpy()
    nombre = max(len(vecteurs) // PAR_VOISINAGE, 1)
    partage = MiniBatchKMeans(nombre, n_init=1, random_state=int(hasard.integers(2**31)))
    return partage.fit_predict(vecteurs)


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
