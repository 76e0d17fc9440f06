"""Les réglages d'un préentraînement prolongé : ce que chacun accepte."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fabrique.entrainement.reglages import Reglages, lire_couches
from fabrique.socle.erreurs import COMPTE, RANG, ErreurFabrique, Nombre
from fabrique.socle.nombres import en_bref
from fabrique.socle.options import reglage, verifier_les_nombres

if TYPE_CHECKING:
    from fabrique.machine.profil import Profil

#: L'ordre des fenêtres : mélangées ; ou source par source, la meilleure à la fin, ou au début.
CALENDRIERS = ("constant", "qualite_en_dernier", "qualite_en_premier")
#: La part des textes lus, de zéro exclu à un.
PART_LUE = Nombre(positive=True, exemple="0,01")


@dataclass(frozen=True)
class ReglagesProlongement:
    """La marche d'un préentraînement prolongé.

    ``longueur``, ``lot``, ``learning_rate``, ``graine`` et ``pas_mesure`` ont les mêmes options que
    pour un modèle neuf ; leurs valeurs par défaut diffèrent, un modèle déjà appris se corrigeant à
    plus petits pas. Avec ``lora``, un adaptateur s'apprend sur toutes les couches du modèle en 4
    bits, ce qui tient sur une T4 ; sinon, tous les poids, en 32 bits.

    Source : Dettmers et al., 2023 (QLoRA, arXiv:2305.14314), pour les couches et le taux ; Biderman
    et al., 2024 (arXiv:2405.09673) : en préentraînement prolongé, LoRA apprend moins et oublie moins.
    """

    lora: bool = reglage(False, "Avec --model : un adaptateur sur le modèle en 4 bits (QLoRA).")
    passages: float = reglage(
        1, "Avec --model : passages sur les textes.", Nombre(positive=True, exemple="1")
    )
    part: float = reglage(1, "Avec --model : part des textes à lire, pour essayer.", PART_LUE)
    calendrier: str = reglage(
        "constant", f"Avec --model : ordre des sources ({', '.join(CALENDRIERS)})."
    )
    fenetres_ensemble: int = reglage(1, "Avec --model : fenêtres traitées ensemble.", COMPTE)
    lora_r: int = reglage(16, "Avec --lora : rang de l’adaptateur.", COMPTE)
    target_modules: tuple[str, ...] | str = reglage(
        "all-linear", "Avec --lora : couches, ou all-linear.", lire=lire_couches
    )
    recalcul: bool = reglage(False, "Avec --model : recalcule les activations.")
    longueur: int = reglage(512, accepte=Nombre(entier=True, au_moins=16, exemple="512"))
    lot: int = reglage(8, accepte=COMPTE)
    learning_rate: float = reglage(2e-4, accepte=Nombre(positive=True, exemple="0,0002"))
    echauffement: int = reglage(10, accepte=RANG)
    graine: int = reglage(2026, accepte=RANG)
    pas_mesure: int = reglage(100, accepte=COMPTE)
    points_gardes: int = reglage(2, accepte=COMPTE)
    validation_un_sur: int = reglage(10, accepte=Nombre(entier=True, au_moins=2, exemple="10"))

    def __post_init__(self) -> None:
        verifier_les_nombres(self)
        if self.part > 1:
            raise ErreurFabrique(
                f"une part de {en_bref(self.part)} dépasse le tout",
                "Donnez une part d’au plus 1",
                champ="part",
            )
        if self.calendrier not in CALENDRIERS:
            raise ErreurFabrique(
                f"le calendrier « {self.calendrier} » n’existe pas",
                f"Choisissez entre {', '.join(CALENDRIERS)}",
                champ="calendrier",
            )
        if self.lot % self.fenetres_ensemble:
            raise ErreurFabrique(
                f"un lot de {self.lot} fenêtres ne se partage pas par {self.fenetres_ensemble}",
                "Choisissez un lot (--lot) multiple de --fenetres_ensemble",
                champ="fenetres_ensemble",
            )

    @classmethod
    def du_profil(cls, profil: Profil, **changements: Any) -> ReglagesProlongement:
        """Un adaptateur, aux longueurs, aux lots et au taux éprouvés sur la machine du profil."""
        communs: dict[str, Any] = {
            "longueur": profil.cutoff_len,
            "lora": True,
            "fenetres_ensemble": profil.mbatch_size,
            "lot": profil.batch_size,
            "recalcul": profil.recalcul,
            "learning_rate": profil.learning_rate,
        }
        return cls(**{**communs, **changements})

    @classmethod
    def d_apres(cls, siens: dict, communs: dict) -> ReglagesProlongement:
        """Ses réglages, et ceux qui lui sont communs avec un modèle neuf.

        Args:
            communs: ceux que la personne a donnés ; la taille d'un modèle n'en est pas.

        Raises:
            ErreurFabrique: un réglage ne vaut que pour un modèle neuf.
        """
        for nom in communs:
            if nom not in cls.__dataclass_fields__:
                raise ErreurFabrique(
                    "ce réglage ne vaut que pour un modèle neuf, ou pour la boucle de --depart",
                    "Retirez-le, ou retirez --model",
                    champ=nom,
                )
        return cls(**siens, **communs)

    def de_la_marche(self) -> Reglages:
        """Les mêmes, dans les mots du réglage fin : une seule marche mène les deux."""
        return Reglages(
            learning_rate=self.learning_rate,
            epochs=self.passages,
            batch_size=self.lot,
            mbatch_size=self.fenetres_ensemble,
            cutoff_len=self.longueur,
            lora_r=self.lora_r,
            lora_alpha=2 * self.lora_r,
            lora_dropout=0,
            target_modules=self.target_modules,
            warmup_steps=self.echauffement,
            save_steps=self.pas_mesure,
            save_total_limit=self.points_gardes,
            logging_steps=max(1, self.pas_mesure // 10),
            val_set_size=0,
            recalcul=self.recalcul,
            methode="lora" if self.lora else "complet",
            graine=self.graine,
        )
