"""Ce que coûtera un préentraînement prolongé, avant de le lancer : heures, prix, mémoire, disque.

Les mêmes cartes et les mêmes hypothèses que ``cout``, pour un apprentissage bien plus long, sur
plusieurs cartes, et dont les points de reprise remplissent un disque.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from pathlib import Path

from rich.table import Table

from fabrique.entrainement.reglages_prolongement import ReglagesProlongement
from fabrique.recettes.cout import (
    calculs_par_poids,
    carte_connue,
    compter,
    estimer_memoire,
    puissance,
)
from fabrique.socle.colonnes import en_texte
from fabrique.socle.erreurs import ErreurFabrique
from fabrique.socle.nombres import GO, en_francais, en_go, en_minutes, en_pourcent

#: Octets de texte français par jeton de Falcon : fiches de service-public.fr, ``benchmarks.jetons``.
OCTETS_PAR_JETON = 3.69
#: Octets par poids entraîné d'un point de reprise : le poids et les deux moments d'Adam, en 32 bits.
OCTETS_PAR_POIDS_D_UN_POINT = 12
#: Ce que l'estimation d'une lecture entière suppose, et que la commande ne fait pas.
EN_TRENTE_DEUX_BITS = (
    "calcul en 16 bits, comme en 2023\u00a0; « fabrique preentrainer » sans --lora calcule en 32 bits, "
    "plus lentement et avec plus de mémoire"
)
#: Octets d'une fenêtre préparée, par jeton : son identifiant et le numéro de son document.
OCTETS_PREPARES = 8


@dataclass(frozen=True)
class Nuit:
    """Ce que coûterait une lecture ; tout est estimé.

    Heures : ``plancher`` à pleine puissance, ``prudent`` au rendement observé ; le prix suit le cas
    prudent, dans la monnaie du prix à l'heure. Places en octets.
    """

    modele: str
    machine: str
    cartes: int
    jetons: int
    pas: int
    disque_fixe: int
    poids_entraines: int
    plancher: float
    prudent: float
    prix: float | None
    memoire: int
    cartes_necessaires: int
    point: int
    disque: int
    hypotheses: tuple[str, ...] = field(default=())

    @property
    def tient(self) -> bool:
        """Vrai si les cartes demandées portent le modèle, découpé entre elles."""
        return self.cartes >= self.cartes_necessaires

    def part_payee(self, budget: float) -> float:
        """La part de la lecture qu'un budget paie, au cas prudent.

        Raises:
            ErreurFabrique: sans prix à l'heure.
        """
        if not self.prix:
            raise ErreurFabrique("il faut un prix à l’heure", "Donnez --prix_heure")
        return min(1.0, budget / self.prix)

    def part_avant_disque_plein(self, libre: float, pas_mesure: int, gardes: int | None) -> float:
        """La part de la lecture faite quand le disque se remplit ; 1 s'il ne se remplit pas.

        Args:
            libre: octets libres au départ.
            pas_mesure: pas entre deux points de reprise.
            gardes: points gardés ; None les garde tous, comme en 2023.
        """
        tiennent = int((libre - self.disque_fixe) // self.point)
        ecrits = math.ceil(self.pas / pas_mesure)
        # L'ancien point ne part qu'une fois le nouveau écrit : il en faut la place d'un de plus.
        if ecrits <= tiennent or (gardes is not None and gardes + 1 <= tiennent):
            return 1.0
        return max(0, tiennent) * pas_mesure / self.pas


def jetons_du_texte(octets: float) -> int:
    """Les jetons de Falcon qu'un texte français fera, à peu près."""
    return round(octets / OCTETS_PAR_JETON)


def estimer_la_lecture(
    modele: str | Path,
    machine: str,
    reglages: ReglagesProlongement,
    jetons: int,
    cartes: int = 1,
    prix_heure: float | None = None,
) -> Nuit:
    """Estime la lecture de tant de jetons.

    Args:
        machine: « t4 », « l4 », « a100 », « h100 » ou « cpu ».
        jetons: ceux d'un passage sur les textes.
        cartes: le nombre de cartes.
        prix_heure: celui de toutes les cartes ensemble, en une heure.

    Raises:
        ErreurFabrique: machine inconnue, configuration introuvable.
    """
    carte, marche = carte_connue(machine), reglages.de_la_marche()
    plan, calculs = compter(modele, marche), calculs_par_poids(marche)
    appris = plan.adaptateur if reglages.lora else plan.poids
    lus = round(jetons * reglages.passages)
    plancher = calculs * plan.poids * lus / (carte.tflops * 1e12 * cartes) / 3600
    prudent = plancher / carte.rendement
    memoire = estimer_memoire(plan, marche, seize_bits=machine != "cpu")
    point = OCTETS_PAR_POIDS_D_UN_POINT * appris
    prepares = OCTETS_PREPARES * jetons
    disque = prepares + (reglages.points_gardes + 1) * point + 4 * appris
    hypotheses = (
        f"{calculs} calculs par poids et par jeton (Kaplan et al., 2020)",
        f"{machine}\u00a0: {puissance(carte)} ({carte.source}), par carte\u00a0; rendement prudent {en_pourcent(carte.rendement, 1)}",
        f"disque\u00a0: {en_francais(reglages.points_gardes)} points de reprise gardés et un de plus, "
        f"{en_francais(OCTETS_PAR_POIDS_D_UN_POINT)} octets par poids entraîné, et les textes préparés",
        *([] if reglages.lora or machine == "cpu" else [EN_TRENTE_DEUX_BITS]),
    )
    return Nuit(
        modele=str(modele),
        machine=machine,
        cartes=cartes,
        jetons=lus,
        pas=max(1, math.ceil(lus / (reglages.lot * reglages.longueur))),
        disque_fixe=prepares,
        poids_entraines=appris,
        plancher=plancher,
        prudent=prudent,
        prix=None if prix_heure is None else prix_heure * prudent,
        memoire=memoire,
        cartes_necessaires=math.ceil(memoire / (carte.memoire * GO)),
        point=point,
        disque=disque,
        hypotheses=hypotheses,
    )


#: Les réglages que ``cout`` nomme dans les mots du réglage fin, et leur nom dans ceux de la lecture.
NOMS_DE_LA_LECTURE = {
    "epochs": "passages",
    "cutoff_len": "longueur",
    "mbatch_size": "fenetres_ensemble",
}


def estimer_la_commande(
    modele: str,
    machine: str,
    comment: str,
    tapes: dict,
    jetons: int | None,
    texte_go: float | None,
    cartes: int,
    prix_heure: float | None,
) -> Nuit:
    """Ce que ``fabrique cout --preentrainement`` estime : la commande ``fabrique preentrainer --model``.

    Args:
        comment: « lora » ou « complet ».
        tapes: les réglages de ``cout`` que la personne a donnés ; les autres sont ceux de la lecture.

    Raises:
        ErreurFabrique: une autre façon d'apprendre, ou ni jetons ni texte.
    """
    if comment not in ("lora", "complet"):
        raise ErreurFabrique(
            f"« {comment} » n’est pas une façon de lire",
            "Choisissez entre lora et complet",
            champ="--preentrainement",
        )
    if not (jetons or texte_go):
        raise ErreurFabrique(
            "il faut un nombre de jetons ou une quantité de texte",
            "Donnez --jetons ou --texte_go",
        )
    choisis = {NOMS_DE_LA_LECTURE.get(nom, nom): valeur for nom, valeur in tapes.items()}
    ensemble = choisis.get("fenetres_ensemble", 1)
    lot = ensemble * math.ceil(ReglagesProlongement.lot / ensemble)
    return estimer_la_lecture(
        modele,
        machine,
        ReglagesProlongement(lora=comment == "lora", lot=lot, **choisis),
        jetons or jetons_du_texte((texte_go or 0) * GO),
        cartes,
        prix_heure,
    )


def en_tableau(nuit: Nuit, budget: float | None = None) -> str:
    """Le tableau d'une lecture, ses hypothèses dessous.

    Args:
        budget: ce que l'on peut payer, dans la monnaie du prix à l'heure.
    """
    cartes = f"{nuit.cartes} × {nuit.machine}"
    table = Table(title=f"{nuit.modele} sur {cartes}\u00a0: estimé, non mesuré", show_header=False)
    duree = en_minutes(60 * nuit.prudent)
    if nuit.plancher != nuit.prudent:
        duree = f"{en_minutes(60 * nuit.plancher)} (plancher) à {duree} (prudent)"
    lignes = {
        "Jetons lus": en_francais(nuit.jetons),
        "Pas": en_francais(nuit.pas),
        "Paramètres entraînés": en_francais(nuit.poids_entraines),
        "Durée": duree,
        "Prix": "donnez --prix_heure" if nuit.prix is None else en_francais(nuit.prix, 2),
        "Mémoire": en_go(nuit.memoire)
        + ("" if nuit.tient else f" — il en faut {nuit.cartes_necessaires}"),
        "Point de reprise": en_go(nuit.point),
        "Disque": en_go(nuit.disque),
    }
    if budget is not None:
        part = en_pourcent(nuit.part_payee(budget))
        lignes[f"Payé par {en_francais(budget)}"] = f"{part} de la lecture"
    for nom, valeur in lignes.items():
        table.add_row(nom, valeur)
    return en_texte(table, largeur=88) + "\n".join(
        ["Hypothèses\u00a0:", *(f"- {hypothese}" for hypothese in nuit.hypotheses)]
    )


def en_dictionnaire(nuit: Nuit, budget: float | None = None) -> dict:
    """La même chose pour ``--json``."""
    paye = {} if budget is None else {"part_payee": nuit.part_payee(budget)}
    return {"estime": True, **asdict(nuit), "tient": nuit.tient, **paye}
