"""Les réglages d'un apprentissage : ce que chacun accepte, et ce qui change sans assez de mémoire."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Self

from fabrique.socle.erreurs import COMPTE, QUANTITE, RANG, ErreurFabrique, Nombre
from fabrique.socle.options import refuser, reglage, verifier_les_nombres

if TYPE_CHECKING:
    from fabrique.machine.profil import Profil

#: Les façons d'apprendre : LoRA, ses deux variantes, ou tous les poids.
METHODES = ("lora", "rslora", "dora", "complet")
#: Ce qui ne change pas ce qu'on apprend : on peut y toucher entre deux lancements.
SANS_EFFET = ("mbatch_size", "recalcul", "save_steps", "save_total_limit", "logging_steps")


#: Ce qui entoure un nom de couche, selon l'interpréteur de commandes.
GUILLEMETS = " \t\"'`\\“”«»’\u00a0"


def lire_couches(texte: str) -> tuple[str, ...] | str:
    """Des noms de couches, « all-linear », ou une expression régulière, d'un texte tapé.

    « ["query_key_value"] », « [query_key_value] » (PowerShell ôte les guillemets) et
    « query_key_value,dense » se lisent ; un autre texte est une expression régulière.

    Raises:
        ErreurFabrique: liste vide, ou dont un crochet manque.
    """
    nu = texte.strip(GUILLEMETS)
    liste = nu.startswith("[") and nu.endswith("]")
    noms = [nom.strip(GUILLEMETS) for nom in (nu[1:-1] if liste else nu).split(",")]
    noms = [nom for nom in noms if nom]
    if noms == ["all-linear"]:
        return noms[0]
    if noms and all(re.fullmatch(r"[\w.]+", nom) for nom in noms):
        return tuple(noms)
    if nu and not nu.startswith("["):
        return nu
    raise ErreurFabrique(
        f"la liste de couches « {texte} » ne se lit pas",
        "Écrivez par exemple --target_modules=query_key_value,dense",
        champ="--target_modules",
    )


@dataclass(frozen=True)
class Reglages:
    """Les réglages d'un apprentissage ; par défaut, ceux de la recette de 2023.

    Chaque champ dit son aide et ce qu'il accepte ; ``fabrique finetune --help`` les montre. De plus :

    - ``batch_size`` est un multiple de ``mbatch_size`` ;
    - l'adaptateur est multiplié par ``lora_alpha / lora_r`` ; ``lora_dropout`` est la part de ses
      entrées éteintes au hasard ;
    - ``val_set_size`` ne sert que sans colonne ``jeu`` ;
    - ``methode`` vaut ``"lora"`` ; ``"rslora"`` (l'adaptateur est multiplié par
      ``lora_alpha / √lora_r``, pour les grands rangs) ; ``"dora"`` (la longueur de chaque ligne de
      poids s'apprend à part) ; ``"complet"`` (tous les poids d'un modèle non quantifié, sans
      adaptateur).

    Source : Hu et al., 2021 (LoRA, arXiv:2106.09685) ; falcontune, 2023, pour les valeurs ;
    Kalajdzievski, 2023 (rsLoRA, arXiv:2312.03732) ; Liu et al., 2024 (DoRA, arXiv:2402.09353).
    """

    learning_rate: float = reglage(
        3e-4, "Taux d’apprentissage.", Nombre(positive=True, exemple="0,0003"), option="--lr"
    )
    epochs: float = reglage(1, "Passages sur le corpus.", Nombre(positive=True, exemple="1"))
    batch_size: int = reglage(2, "Exemples par pas.", COMPTE)
    mbatch_size: int = reglage(2, "Exemples traités ensemble.", COMPTE)
    # Moins de 16 jetons ne laissent pas de place à une réponse.
    cutoff_len: int = reglage(
        256, "Jetons par exemple, au plus.", Nombre(entier=True, au_moins=16, exemple="256")
    )
    lora_r: int = reglage(
        8, "Rang de l’adaptateur.", Nombre(entier=True, positive=True, exemple="8")
    )
    lora_alpha: float = reglage(16, "Échelle de l’adaptateur.", Nombre(positive=True, exemple="16"))
    lora_dropout: float = reglage(
        0.05, "Part éteinte.", Nombre(au_moins=0, moins_de=1, exemple="0,05")
    )
    target_modules: tuple[str, ...] | str = reglage(
        ("query_key_value",),
        "Couches, par exemple '[\"query_key_value\"]', ou all-linear.",
        lire=lire_couches,
    )
    warmup_steps: int = reglage(5, "Pas de montée.", RANG)
    save_steps: int = reglage(50, "Pas entre points de reprise.", COMPTE)
    save_total_limit: int = reglage(3, "Points gardés.", COMPTE)
    logging_steps: int = reglage(5, "Pas entre relevés.", COMPTE)
    val_set_size: float = reglage(
        0.1,
        "Part ou nombre d’exemples mis de côté.",
        Nombre(au_moins=0, exemple="0,1 (une part) ou 20 (un nombre d’exemples)"),
    )
    recalcul: bool = reglage(False, "Recalcule les activations : moins de mémoire.")
    methode: str = reglage("lora", "lora, rslora, dora, ou complet (tous les poids).")
    graine: int = reglage(
        42, "Graine du hasard.", Nombre(entier=True, au_moins=0, moins_de=2**32, exemple="42")
    )

    def __post_init__(self) -> None:
        verifier_les_nombres(self)
        if self.val_set_size > 1 and self.val_set_size != int(self.val_set_size):
            raise refuser(
                self.val_set_size,
                "Donnez une part inférieure à 1, ou un nombre entier d’exemples",
                "val_set_size",
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
    def du_profil(cls, profil: Profil, **changements: Any) -> Self:
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


@dataclass(frozen=True)
class ReglagesPreentrainement:
    """Taille du modèle et marche de l'entraînement ; les valeurs sont celles du Falcon de poche."""

    couches: int = reglage(8, "Nombre de blocs.", COMPTE)
    largeur: int = reglage(320, "Taille des vecteurs.", COMPTE)
    tetes: int = reglage(5, "Têtes d’attention.", COMPTE)
    vocabulaire: int = reglage(8192, "Entrées du tokenizer.", COMPTE)
    longueur: int = reglage(512, "Jetons par fenêtre.", COMPTE)
    lot: int = reglage(8, "Fenêtres par pas.", COMPTE)
    pas: int = reglage(2600, "Nombre de pas ; peut changer à la reprise.", COMPTE)
    learning_rate: float = reglage(
        3e-3, "Taux d’apprentissage.", Nombre(positive=True, exemple="0,003"), option="--lr"
    )
    weight_decay: float = reglage(0.05, "Décroissance des matrices des blocs.", QUANTITE)
    echauffement: int = reglage(100, "Pas où le taux monte.", COMPTE)
    part_descente: float = 0.55
    inertie: float = reglage(
        0.995,
        "Part que la moyenne des poids garde à chaque pas.",
        Nombre(au_moins=0, moins_de=1, exemple="0,995"),
    )
    part_du_depart: float = reglage(
        0,
        "Avec --depart : part de ses poids dans le modèle écrit.",
        Nombre(au_moins=0, moins_de=1, exemple="0,5"),
    )
    graine: int = reglage(2026, "Graine du hasard.", RANG)
    validation_un_sur: int = 10
    pas_mesure: int = reglage(100, "Pas entre mesures.", COMPTE)


def _verifier_cibles(cibles: object) -> None:
    """Des noms de couches, ou une expression régulière qui se lit (« all-linear » en est une)."""
    if isinstance(cibles, str) and cibles:
        try:
            re.compile(cibles)
        except re.error as cause:
            raise refuser(
                cibles,
                f"Corrigez l’expression régulière au caractère {(cause.pos or 0) + 1}, ou donnez "
                "des noms de couches",
                "target_modules",
            ) from None
    elif not (
        isinstance(cibles, list | tuple)
        and cibles
        and all(isinstance(nom, str) and nom for nom in cibles)
    ):
        raise refuser(
            cibles,
            'Donnez au moins un nom de couche, par exemple ("query_key_value",), ou « all-linear »',
            "target_modules",
        )
