"""Étiqueter chaque mot d'un texte : un modèle de langage, et une tête qui choisit une étiquette.

Un modèle de langage ne voit que ce qui précède : au premier mot d'un texte, il ignore encore la suite.
On lui fait donc lire le texte deux fois ; à la seconde lecture, chaque mot a déjà été vu avec toute sa
phrase. Un mot est étiqueté à son dernier jeton, le seul qui l'ait lu en entier.

Source : Ramshaw et Marcus, 1995 (étiquettes BIO, cmp-lg/9505040) ; Springer et al., 2024 (lire deux fois,
arXiv:2402.15449).
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import torch
from peft import PeftModel
from torch.nn.utils.rnn import pad_sequence
from transformers import (
    AutoModelForTokenClassification,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from fabrique.machine.denormaux import sans_denormaux
from fabrique.modeles.adaptateurs import charger_adaptateur
from fabrique.modeles.chargement import charger
from fabrique.modeles.gabarits import coder, debut_de_suite, neutraliser
from fabrique.modeles.generation import par_lots
from fabrique.modeles.origine import lire_origine
from fabrique.socle.erreurs import ErreurFabrique

#: Ce qu'un étiqueteur dépose à côté de ses poids : ses étiquettes, et s'il lit deux fois.
ETIQUETTES = "etiquettes.json"
#: L'étiquette d'un mot qui n'est dans aucun passage.
DEHORS = "O"
#: Mots lus ensemble, au plus ; un texte plus long se coupe, à une fin de phrase quand il y en a une.
MOTS_LUS = 80
_MOT = re.compile(r"\d+|[^\W\d_]+|[^\w\s]|_")
_FIN_DE_PHRASE = re.compile(r"[.!?;\n]")


@dataclass(frozen=True)
class Etiqueteur:
    """Un modèle et sa tête, prêts à étiqueter.

    Args:
        etiquettes: « O », puis « B-genre » et « I-genre » de chaque genre, dans l'ordre de la tête.
        relu: vrai quand chaque texte se lit deux fois.
    """

    tokenizer: PreTrainedTokenizerBase
    modele: PreTrainedModel | PeftModel
    etiquettes: tuple[str, ...]
    relu: bool = True

    def passages(self, texte: str, lot: int = 8) -> list[tuple[int, int, str]]:
        """Le début, la fin et le genre de chaque passage étiqueté d'un texte.

        Args:
            lot: combien de morceaux d'un long texte se lisent ensemble.
        """
        morceaux = list(couper(texte))
        lus = par_lots(morceaux, lot, lambda pris: self._etiqueter(texte, pris))
        return [
            passage
            for mots, choisies in zip(morceaux, chain.from_iterable(lus), strict=True)
            for passage in en_passages(mots, choisies)
        ]

    @sans_denormaux()
    @torch.inference_mode()
    def _etiqueter(self, texte: str, morceaux: Sequence[list[tuple[int, int]]]) -> list[list[str]]:
        """L'étiquette de chaque mot de quelques morceaux."""
        codes = [en_jetons(self.tokenizer, texte, mots, self.relu) for mots in morceaux]
        ids = pad_sequence([torch.tensor(lus) for lus, _ in codes], batch_first=True)
        self.modele.eval()
        # Rempli à droite : un jeton ne dépend que de ceux qui le précèdent.
        logits = self.modele(input_ids=ids.to(self.modele.device)).logits.argmax(-1).cpu()
        return [
            [self.etiquettes[choix] for choix in rangee[places].tolist()]
            for rangee, (_, places) in zip(logits, codes, strict=True)
        ]


def etiquettes_bio(genres: Sequence[str]) -> tuple[str, ...]:
    """Les étiquettes d'une liste de genres : « B- » ouvre un passage, « I- » le continue."""
    return (DEHORS, *(f"{bord}-{genre}" for genre in genres for bord in "BI"))


def couper(texte: str) -> Iterator[list[tuple[int, int]]]:
    """Les mots d'un texte, par morceaux qui se lisent d'une traite : le début et la fin de chacun."""
    morceau: list[tuple[int, int]] = []
    for trouve in _MOT.finditer(texte):
        morceau.append(trouve.span())
        assez = len(morceau) >= MOTS_LUS // 2 and _FIN_DE_PHRASE.match(trouve.group())
        if assez or len(morceau) == MOTS_LUS:
            yield morceau
            morceau = []
    if morceau:
        yield morceau


def en_jetons(
    tokenizer: PreTrainedTokenizerBase, texte: str, mots: Sequence[tuple[int, int]], relu: bool
) -> tuple[list[int], list[int]]:
    """Les jetons d'un morceau de texte, et la place du dernier jeton de chaque mot.

    Chaque mot se code à part, avec l'espace qui le précède : aucun jeton n'est à cheval sur deux mots.
    """
    debuts = [mots[0][0], *(fin for _, fin in mots[:-1])]
    codes = [
        coder(neutraliser(texte[debut:fin], tokenizer), tokenizer)
        for debut, (_, fin) in zip(debuts, mots, strict=True)
    ]
    copie = list(chain.from_iterable(codes))
    tete = debut_de_suite(tokenizer) + (copie + coder("\n", tokenizer) if relu else [])
    places, longueur = [], len(tete)
    for code in codes:
        longueur += len(code)
        places.append(longueur - 1)
    return tete + copie, places


def etiqueter_les_mots(
    mots: Sequence[tuple[int, int]], passages: Sequence[tuple[int, int, str]]
) -> list[str]:
    """L'étiquette de chaque mot, d'après les passages qui le contiennent."""
    etiquettes = [DEHORS] * len(mots)
    for debut, fin, genre in passages:
        dedans = [rang for rang, (d, f) in enumerate(mots) if debut <= d and f <= fin]
        for rang in dedans:
            etiquettes[rang] = f"{'B' if rang == dedans[0] else 'I'}-{genre}"
    return etiquettes


def en_passages(
    mots: Sequence[tuple[int, int]], etiquettes: Sequence[str]
) -> list[tuple[int, int, str]]:
    """Les passages que disent les étiquettes ; « I- » sans rien à continuer en ouvre un."""
    passages: list[tuple[int, int, str]] = []
    ouvert = ""
    for (debut, fin), etiquette in zip(mots, etiquettes, strict=True):
        bord, _, genre = etiquette.partition("-")
        if bord == "I" and genre == ouvert:
            passages[-1] = (passages[-1][0], fin, genre)
        elif genre:
            passages.append((debut, fin, genre))
        ouvert = genre
    return passages


def poser_une_tete(
    modele: PreTrainedModel, etiquettes: Sequence[str], graine: int = 0
) -> PreTrainedModel:
    """Le même modèle, où une tête à étiquettes remplace celle qui prédit le jeton suivant.

    Les couches sont celles du modèle donné, partagées et non copiées : un modèle en 4 bits le reste. La
    tête est tirée de la graine.
    """
    config = copy.deepcopy(modele.config)
    config.id2label = dict(enumerate(etiquettes))
    config.label2id = {etiquette: rang for rang, etiquette in enumerate(etiquettes)}
    with torch.device("meta"):
        pose = AutoModelForTokenClassification.from_config(config)
    setattr(pose, pose.base_model_prefix, modele.base_model)
    torch.manual_seed(graine)
    for nom, couche in pose.named_children():
        if isinstance(couche, torch.nn.Linear):
            neuve = torch.nn.Linear(couche.in_features, len(etiquettes), device=modele.device)
            torch.nn.init.normal_(neuve.weight, std=config.initializer_range)
            torch.nn.init.zeros_(neuve.bias)
            setattr(pose, nom, neuve)
    return pose


def charger_etiqueteur(dossier: str | Path, base: str | Path = "") -> Etiqueteur:
    """Relit un étiqueteur : un adaptateur et sa base, ou un modèle entier.

    Args:
        base: où est la base d'un adaptateur ; vide, on la cherche au nom qu'il a signé.

    Raises:
        ErreurFabrique: ce n'est pas le dossier d'un étiqueteur, ou sa base est introuvable.
    """
    dossier = Path(dossier)
    try:
        lu = json.loads((dossier / ETIQUETTES).read_text(encoding="utf-8"))
        etiquettes, relu = tuple(lu["etiquettes"]), bool(lu["relu"])
    except (OSError, ValueError, KeyError, TypeError):
        raise ErreurFabrique(
            "ce n’est pas le dossier d’un modèle qui étiquette",
            "Donnez celui que « fabrique entites entrainer » a rempli",
            dossier,
        ) from None
    if (dossier / "adapter_config.json").is_file():
        origine = lire_origine(dossier)
        nom = base or (origine.base if origine else "")
        tokenizer, reseau = charger(nom, "aucune", silencieux=True)
        modele = charger_adaptateur(poser_une_tete(reseau, etiquettes), dossier)
    else:
        tokenizer = AutoTokenizer.from_pretrained(dossier)
        modele = AutoModelForTokenClassification.from_pretrained(
            dossier, dtype=torch.float32, use_safetensors=True, trust_remote_code=False
        )
    return Etiqueteur(tokenizer, modele.eval(), etiquettes, relu)
