"""Les réglages d'un apprentissage, et ce qui en change quand la mémoire manque."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass, replace

from fabrique.machine.profil import Profil
from fabrique.socle.erreurs import ErreurFabrique, Nombre

#: Les façons d'apprendre : LoRA, ses deux variantes, ou tous les poids.
METHODES = ("lora", "rslora", "dora", "complet")
#: Ce qui ne change pas ce qu'on apprend : on peut y toucher entre deux lancements.
SANS_EFFET = ("mbatch_size", "recalcul", "save_steps", "save_total_limit", "logging_steps")

#: Ce que chaque réglage accepte.
FORMES = {
    "learning_rate": Nombre(positive=True, exemple="0,0003"),
    "epochs": Nombre(positive=True, exemple="1"),
    "mbatch_size": Nombre(entier=True, positive=True),
    "batch_size": Nombre(entier=True, positive=True),
    # Moins de 16 jetons ne laissent pas de place à une réponse.
    "cutoff_len": Nombre(entier=True, au_moins=16, exemple="256"),
    "lora_r": Nombre(entier=True, positive=True, exemple="8"),
    "lora_alpha": Nombre(positive=True, exemple="16"),
    "lora_dropout": Nombre(au_moins=0, moins_de=1, exemple="0,05"),
    "warmup_steps": Nombre(entier=True, au_moins=0),
    "save_steps": Nombre(entier=True, positive=True),
    "save_total_limit": Nombre(entier=True, positive=True),
    "logging_steps": Nombre(entier=True, positive=True),
    "val_set_size": Nombre(au_moins=0, exemple="0,1 (une part) ou 20 (un nombre d’exemples)"),
    "graine": Nombre(entier=True, au_moins=0, moins_de=2**32),
}


@dataclass(frozen=True)
class Reglages:
    """Les réglages d'un apprentissage ; par défaut, ceux de la recette de 2023.

    Args:
        learning_rate: taux d'apprentissage maximal.
        epochs: nombre de passages sur le corpus.
        batch_size: exemples par pas d'apprentissage.
        mbatch_size: exemples traités ensemble ; ``batch_size`` en est un multiple.
        cutoff_len: longueur maximale d'un exemple, en jetons.
        lora_r: rang des matrices ajoutées.
        lora_alpha: l'adaptateur est multiplié par ``lora_alpha / lora_r``.
        lora_dropout: part des entrées de l'adaptateur éteintes au hasard.
        target_modules: couches qui reçoivent un adaptateur, ou ``"all-linear"``.
        warmup_steps: pas de montée du taux d'apprentissage.
        save_steps: pas entre deux points de reprise.
        save_total_limit: nombre de points de reprise gardés.
        logging_steps: pas entre deux relevés de la perte.
        val_set_size: part (< 1) ou nombre d'exemples mis de côté ; la colonne ``jeu`` prime.
        recalcul: recalcule les activations pour épargner la mémoire.
        methode: ``"lora"`` ; ``"rslora"`` (l'adaptateur est multiplié par ``lora_alpha / √lora_r``,
            pour les grands rangs) ; ``"dora"`` (la longueur de chaque ligne de poids s'apprend à
            part) ; ``"complet"`` (tous les poids d'un modèle non quantifié, sans adaptateur).
        graine: graine du hasard.

    Source : Hu et al., 2021 (LoRA, arXiv:2106.09685) ; falcontune, 2023, pour les valeurs ;
    Kalajdzievski, 2023 (rsLoRA, arXiv:2312.03732) ; Liu et al., 2024 (DoRA, arXiv:2402.09353).
    """

    learning_rate: float = 3e-4
    epochs: float = 1
    batch_size: int = 2
    mbatch_size: int = 2
    cutoff_len: int = 256
    lora_r: int = 8
    lora_alpha: float = 16
    lora_dropout: float = 0.05
    target_modules: tuple[str, ...] | str = ("query_key_value",)
    warmup_steps: int = 5
    save_steps: int = 50
    save_total_limit: int = 3
    logging_steps: int = 5
    val_set_size: float = 0.1
    recalcul: bool = False
    methode: str = "lora"
    graine: int = 42

    def __post_init__(self) -> None:
        for champ, forme in FORMES.items():
            if not forme.accepte(getattr(self, champ)):
                raise _refuser(champ, getattr(self, champ), f"Donnez {forme}")
        if self.val_set_size > 1 and self.val_set_size != int(self.val_set_size):
            raise _refuser(
                "val_set_size",
                self.val_set_size,
                "Donnez une part inférieure à 1, ou un nombre entier d’exemples",
            )
        if self.methode not in METHODES:
            raise ErreurFabrique(
                f"la méthode « {self.methode} » n’existe pas",
                f"Choisissez entre {', '.join(METHODES)}",
                champ="methode",
            )
        if self.batch_size % self.mbatch_size:
            raise ErreurFabrique(
                f"batch_size ({self.batch_size}) n’est pas un multiple de mbatch_size "
                f"({self.mbatch_size})",
                "Choisissez par exemple batch_size = 2 × mbatch_size",
                champ="batch_size",
            )
        _verifier_cibles(self.target_modules)

    @classmethod
    def du_profil(cls, profil: Profil, **changements) -> Reglages:
        """Les réglages éprouvés sur la machine du profil, avec d'éventuels changements."""
        communs = {
            nom: getattr(profil, nom)
            for nom in (
                "learning_rate",
                "epochs",
                "batch_size",
                "mbatch_size",
                "cutoff_len",
                "lora_r",
                "lora_dropout",
                "target_modules",
                "recalcul",
            )
        }
        return cls(**{**communs, **changements})

    def plus_frugaux(self) -> Reglages | None:
        """Les mêmes réglages avec moins de mémoire, l'apprentissage restant le même.

        Le petit lot est divisé par deux, l'accumulation doublée d'autant ; quand il ne contient
        plus qu'un exemple, les activations sont recalculées. Rien à rendre : c'est le minimum.
        """
        if self.mbatch_size > 1:
            diviseurs = (n for n in range(self.mbatch_size // 2, 0, -1) if self.batch_size % n == 0)
            return replace(self, mbatch_size=next(diviseurs))
        return None if self.recalcul else replace(self, recalcul=True)

    def de_l_apprentissage(self) -> dict:
        """Ce qui définit l'apprentissage : le reste peut changer d'un lancement à l'autre."""
        return {nom: valeur for nom, valeur in asdict(self).items() if nom not in SANS_EFFET}


def _refuser(champ: str, valeur: object, remede: str) -> ErreurFabrique:
    return ErreurFabrique(f"« {valeur} » ne convient pas", remede, champ=champ)


def _verifier_cibles(cibles: object) -> None:
    """Des noms de couches, ou une expression régulière qui se lit (« all-linear » en est une)."""
    if isinstance(cibles, str) and cibles:
        try:
            re.compile(cibles)
        except re.error as cause:
            raise _refuser(
                "target_modules",
                cibles,
                f"Corrigez l’expression régulière au caractère {(cause.pos or 0) + 1}, ou donnez "
                "des noms de couches",
            ) from None
    elif not (
        isinstance(cibles, list | tuple)
        and cibles
        and all(isinstance(nom, str) and nom for nom in cibles)
    ):
        raise _refuser(
            "target_modules",
            cibles,
            'Donnez au moins un nom de couche, par exemple ("query_key_value",), ou « all-linear »',
        )
