"""Ce qu'un apprentissage a donné, et la notice qui accompagne l'adaptateur."""

from __future__ import annotations

import json
import math
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path

import psutil
import torch
from peft import PeftModel
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from fabrique import __version__
from fabrique.entrainement.reglages import Reglages
from fabrique.modeles.catalogue import nom_public
from fabrique.socle.emplacements import ecrire_signe
from fabrique.socle.nombres import en_duree, en_francais, en_go


@dataclass
class ResultatEntrainement:
    """Ce qu'un apprentissage a donné, et de quoi le continuer.

    ``historique`` porte, à chaque relevé, le pas, l'époque, la perte (nats par jeton de
    réponse), le taux d'apprentissage et, si on l'a demandée, la perte de ``validation``. ``pas``
    compte tous les pas ; ``pas_faits`` et ``duree_s``, ceux du dernier lancement seulement, quand il
    a repris où un autre s'était arrêté. Les comptes d'exemples sont ceux de ``Compte`` :
    ``exemples`` sont appris, dont ``exemples_coupes`` ; avec ``exemples_ecartes``, ils font
    ``exemples_lus`` (0 pour un apprentissage d'avant ces comptes).
    """

    modele: PeftModel | PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    dossier: Path
    historique: list[dict[str, float]]
    pas: int
    duree_s: float
    jetons_utiles: int
    memoire_pic: int
    parametres_entraines: int
    exemples: int
    exemples_coupes: int
    couches_4bits: int
    reglages: Reglages = field(repr=False)
    pas_faits: int = 0
    exemples_lus: int = 0
    exemples_ecartes: int = 0

    @property
    def jetons_par_seconde(self) -> float:
        """Jetons utiles (question et réponse, sans remplissage) lus par seconde."""
        return self.jetons_utiles / self.duree_s if self.duree_s else math.nan

    @property
    def secondes_par_pas(self) -> float:
        """Durée d'un pas du dernier lancement ; indéfinie s'il n'en a fait aucun."""
        return self.duree_s / self.pas_faits if self.pas_faits else math.nan

    @property
    def quoi(self) -> str:
        """Ce qui est écrit dans ``dossier``."""
        return "modèle" if self.reglages.methode == "complet" else "adaptateur"

    def en_dictionnaire(self) -> dict:
        """Le compte rendu écrit dans ``rapport.json``."""
        return {
            "fabrique": __version__,
            "pas": self.pas,
            "pas_faits": self.pas_faits,
            "duree_s": round(self.duree_s, 1),
            "jetons_utiles": self.jetons_utiles,
            # Tout appris par une session précédente : rien n'a été mesuré dans celle-ci.
            "jetons_par_seconde": round(self.jetons_par_seconde, 1) if self.duree_s else None,
            "memoire_pic": self.memoire_pic,
            "parametres_entraines": self.parametres_entraines,
            "exemples_lus": self.exemples_lus,
            "exemples": self.exemples,
            "exemples_coupes": self.exemples_coupes,
            "exemples_ecartes": self.exemples_ecartes,
            "couches_4bits": self.couches_4bits,
            "reglages": asdict(self.reglages),
            "historique": self.historique,
        }

    def tracer(self) -> None:
        """Trace la perte et le taux d'apprentissage au fil des pas, avec leur texte alternatif."""
        from fabrique.socle.figures import courbe_de_perte

        courbe_de_perte(self.historique)

    def __str__(self) -> str:
        parametres = en_francais(self.parametres_entraines)
        pas = f"{self.pas} pas"
        if 0 < self.pas_faits < self.pas:  # une session précédente a fait les autres
            pas = f"{self.pas_faits} des {pas}"
        marche = (
            f"en {en_duree(self.duree_s)} · {en_francais(self.jetons_par_seconde)} jetons utiles par seconde"
            if self.duree_s
            else "appris par une session précédente"
        )
        return (
            f"{pas} {marche} · mémoire au plus haut {en_go(self.memoire_pic)}\n"
            f"{parametres} paramètres entraînés · {self.quoi} dans {self.dossier}"
        )


def signer(resultat: ResultatEntrainement, base: str) -> None:
    """Nomme la base sans chemin de machine, et écrit une notice en français.

    Args:
        base: d'où vient le modèle de départ.
    """
    base = nom_public(base)
    fichier = resultat.dossier / "adapter_config.json"
    if fichier.exists():
        configuration = json.loads(fichier.read_text(encoding="utf-8"))
        nommee = configuration | {"base_model_name_or_path": base}
        ecrire_signe(fichier, json.dumps(nommee, ensure_ascii=False, indent=2))
    notice = NOTICE.format(
        titre="du modèle" if resultat.quoi == "modèle" else "de l’adaptateur",
        quoi=COMMENT[resultat.reglages.methode],
        base=base,
        resultat=resultat,
        reglages=resultat.reglages,
    )
    ecrire_signe(resultat.dossier / "README.md", notice)


#: Ce qu'on a appris, dans la notice.
COMMENT = {
    "lora": "Adaptateur LoRA appris",
    "rslora": "Adaptateur LoRA (échelle rsLoRA) appris",
    "dora": "Adaptateur DoRA appris",
    "complet": "Modèle dont tous les poids ont été appris",
}

#: La notice, à compléter par qui partage l'adaptateur : corpus, usage prévu, limites.
NOTICE = """# Notice {titre}

{quoi} avec FabriqueLLM sur « {base} ».

| | |
|---|---|
| exemples appris | {resultat.exemples}, dont {resultat.exemples_coupes} coupés |
| exemples écartés | {resultat.exemples_ecartes} |
| pas | {resultat.pas} |
| taux d’apprentissage | {reglages.learning_rate} |
| rang | {reglages.lora_r} |
| paramètres | {resultat.parametres_entraines} |

Avant de le partager, dites ici sur quel corpus il a été appris, sous quelle licence, à quoi il sert
et à quoi il ne doit pas servir. Les mesures détaillées sont dans `rapport.json`.
"""


#: Ce qu'un relevé porte selon l'apprentissage : la perte de validation ; la marge des préférences, et
#: la part de celles qui sont respectées.
FACULTATIVES = ("validation", "marge", "respectees")


def historique(journal: list[dict]) -> list[dict[str, float]]:
    """Les relevés du Trainer : pas, époque, perte, taux d'apprentissage, et ce qui s'y ajoute."""
    return [
        {
            "pas": releve["step"],
            "epoque": float(releve["epoch"]),
            "perte": float(releve["loss"]),
            "taux": float(releve["learning_rate"]),
            **{cle: float(releve[cle]) for cle in FACULTATIVES if cle in releve},
        }
        for releve in journal
        if "loss" in releve
    ]


def memoire_pic() -> int:
    """Mémoire au plus haut depuis le début, en octets : celle du GPU, sinon celle du processus."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    if sys.platform == "win32":
        return psutil.Process().memory_info().peak_wset
    import resource

    unite = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unite
