"""Corriger un texte mal lu : des exemples tirés de nos fiches, un lexique, un modèle, et leurs mesures."""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from datasets import Dataset
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from fabrique.corpus import lire_corpus
from fabrique.corpus.bruit_ocr import Bruit
from fabrique.evaluation.incertitude import Releve, intervalle, intervalle_de_l_ecart, releve
from fabrique.evaluation.metriques import (
    erreurs_de_caracteres,
    erreurs_de_mots,
    mots_gates,
    mots_repares,
)
from fabrique.modeles.gabarits import coder, debut_de_suite
from fabrique.modeles.generation import generer_par_lots
from fabrique.modeles.vraisemblance import a_predire, log_probabilites
from fabrique.socle.colonnes import en_colonnes
from fabrique.socle.erreurs import ErreurFabrique
from fabrique.socle.nombres import en_ecart, en_pourcent

CONSIGNE = "Corrigez les erreurs de lecture de ce texte."
#: Caractères d'un morceau : assez pour comprendre, assez peu pour qu'un petit modèle recopie.
LONGUEUR = 100
_MOT = re.compile(r"[^\W\d_]+")
#: En deçà, un mot inconnu est trop court pour qu'on sache lequel c'était.
LETTRES_MIN = 4
#: Lettres à changer, ajouter ou ôter, au plus, d'un mot inconnu à son voisin.
DISTANCE = 1
#: Combien de voisins le lexique propose ; ce qu'un remplacement doit gagner, en nats : environ le
#: logarithme de cinquante, comme si un mot sur cinquante était mal lu.
PROPOSITIONS, PRIX = 3, 4.0


# ---------------------------------------------------------------- les exemples


def couper(texte: str, longueur: int = LONGUEUR) -> list[str]:
    """Un texte en morceaux d'environ tant de caractères, sans couper de mot ; la fin trop courte part."""
    morceaux, mots = [], []
    for mot in texte.split():
        mots.append(mot)
        if sum(map(len, mots)) + len(mots) > longueur:
            morceaux.append(" ".join(mots))
            mots = []
    return morceaux


def exemples_de_correction(
    textes: Iterable[str], bruits: Sequence[Bruit], graine: int = 0, tours: int = 1
) -> Dataset:
    """Des exemples où lire un morceau abîmé et l'écrire propre.

    Un morceau que le bruit n'a pas touché reste : laisser juste ce qui l'est s'apprend aussi.

    Args:
        textes: des textes propres, nos fiches par exemple.
        bruits: l'un ou l'autre est tiré pour chaque morceau.
        tours: combien de fois chaque morceau est abîmé, chaque fois autrement.
    """
    hasard = random.Random(graine)
    morceaux = [morceau for texte in textes for morceau in couper(texte)] * tours
    hasard.shuffle(morceaux)
    return lire_corpus(
        Dataset.from_list(
            [
                {
                    "id": f"ocr-{rang}",
                    "instruction": CONSIGNE,
                    "input": hasard.choice(bruits).abimer(morceau, hasard),
                    "output": morceau,
                }
                for rang, morceau in enumerate(morceaux, 1)
            ]
        )
    )


# ---------------------------------------------------------------- trois façons de corriger


class Lexique:
    """Des mots connus : un mot inconnu y cherche son plus proche voisin.

    Args:
        textes: ceux où lire les mots, et combien de fois chacun.

    Source : Damerau, 1964 ; calcul de rapidfuzz.
    """

    def __init__(self, textes: Iterable[str]) -> None:
        self.comptes = Counter(mot.lower() for texte in textes for mot in _MOT.findall(texte))
        self.par_longueur: dict[int, list[str]] = {}
        for mot, _ in self.comptes.most_common():
            self.par_longueur.setdefault(len(mot), []).append(mot)

    def corriger(self, texte: str) -> str:
        """Remplace chaque mot inconnu par le plus fréquent des mots les plus proches, s'il y en a."""
        return _MOT.sub(lambda trouve: self._mot(trouve[0]), texte)

    def propositions(self, lu: str) -> list[str]:
        """Les mots connus les plus proches d'un mot inconnu, le meilleur d'abord ; rien pour un mot connu."""
        if len(lu) < LETTRES_MIN or lu.lower() in self.comptes:
            return []
        return [_dans_la_casse_de(lu, mot) for mot in self._proches(lu.lower())]

    def _mot(self, lu: str) -> str:
        return next(iter(self.propositions(lu)), lu)

    def _proches(self, mot: str) -> list[str]:
        try:
            from rapidfuzz.distance import OSA
            from rapidfuzz.process import extract
        except ImportError:
            raise ErreurFabrique(
                "chercher un mot proche demande rapidfuzz, qui n’est pas installé",
                "Installez-le : pip install 'fabrique[ocr]'",
            ) from None
        voisins = [
            voisin
            for longueur in range(len(mot) - DISTANCE, len(mot) + DISTANCE + 1)
            for voisin in self.par_longueur.get(longueur, [])
        ]
        voisins.sort(key=self.comptes.__getitem__, reverse=True)
        trouves = extract(
            mot, voisins, scorer=OSA.distance, score_cutoff=DISTANCE, limit=PROPOSITIONS
        )
        return [voisin for voisin, _, _ in trouves]


def _dans_la_casse_de(lu: str, mot: str) -> str:
    if lu.isupper():
        return mot.upper()
    return mot.capitalize() if lu[0].isupper() else mot


def corriger_par_choix(
    modele: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    lexique: Lexique,
    lus: Sequence[str],
    prix: float = PRIX,
) -> list[str]:
    """Le lexique propose, le modèle choisit : garder le mot lu, ou prendre l'un de ses voisins.

    Le modèle, sans adaptateur, juge le morceau entier dans chaque version ; il n'écrit rien.

    Args:
        prix: ce qu'un remplacement doit gagner de vraisemblance, en nats.

    Source : Kernighan, Church et Gale, 1990 (canal bruité).
    """
    return [_choisir(modele, tokenizer, lexique, lu, prix) for lu in lus]


def _choisir(
    modele: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    lexique: Lexique,
    lu: str,
    prix: float,
) -> str:
    choisi = lu
    for mot in reversed(list(_MOT.finditer(lu))):  # par la fin : les places d'avant ne bougent pas
        voisins = lexique.propositions(mot[0])
        if not voisins:
            continue
        versions = [choisi, *(choisi[: mot.start()] + v + choisi[mot.end() :] for v in voisins)]
        exemples = [a_predire(debut_de_suite(tokenizer), coder(v, tokenizer)) for v in versions]
        notes = [dites.sum() for dites in log_probabilites(modele, exemples, adaptateur=False)]
        meilleur = max(range(len(versions)), key=lambda rang: notes[rang] - prix * (rang > 0))
        choisi = versions[meilleur]
    return choisi


def corriger_par_le_modele(
    modele: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, lus: Sequence[str]
) -> list[str]:
    """Ce que le modèle écrit de chaque morceau mal lu, sans tirage au sort."""
    demandes = [{"instruction": CONSIGNE, "input": lu} for lu in lus]
    longueur = max(len(tokenizer(lu)["input_ids"]) for lu in lus)
    rendus = generer_par_lots(modele, tokenizer, demandes, max_new_tokens=longueur + 10)
    return [texte for texte, _ in rendus]


# ---------------------------------------------------------------- mesurer


@dataclass(frozen=True)
class Correction:
    """Ce qu'une façon de corriger fait d'un jeu de morceaux.

    Args:
        caracteres: erreurs de caractères qui restent, morceau par morceau.
        mots: erreurs de mots qui restent.
        repares: mots mal lus, rendus justes.
        gates: mots bien lus, rendus faux.
        ecart: l'intervalle à 95 % de la différence de taux par caractère avec « ne rien faire ».
    """

    caracteres: Releve
    mots: Releve
    repares: Releve
    gates: Releve
    ecart: tuple[float, float]


def mesurer_correction(
    lus: Sequence[str], corriges: Sequence[str], references: Sequence[str]
) -> Correction:
    """Compare des textes corrigés à ce qui était écrit, et à ce qui avait été lu.

    Raises:
        ErreurFabrique: l'extension [ocr] n'est pas là, ou il y a moins de deux morceaux.
    """
    avant = releve([erreurs_de_caracteres(*c) for c in zip(lus, references, strict=True)])
    apres = releve([erreurs_de_caracteres(*c) for c in zip(corriges, references, strict=True)])
    triples = list(zip(lus, corriges, references, strict=True))
    return Correction(
        caracteres=apres,
        mots=releve([erreurs_de_mots(*c) for c in zip(corriges, references, strict=True)]),
        repares=releve([mots_repares(*triple) for triple in triples]),
        gates=releve([mots_gates(*triple) for triple in triples]),
        ecart=intervalle_de_l_ecart(avant, apres).bornes,
    )


def tableau(corrections: Mapping[str, Correction]) -> str:
    """Une ligne par façon de corriger."""
    caracteres = ("caractères faux", "[95 %]", "écart avec rien [95 %]")
    titres = ("", *caracteres, "mots faux", "réparés", "gâtés")
    return en_colonnes(titres, [_rangee(nom, c) for nom, c in corrections.items()])


def _rangee(nom: str, correction: Correction) -> list[str]:
    bas, haut = intervalle(correction.caracteres).bornes
    ecart = (en_ecart(100 * borne, 1) for borne in correction.ecart)
    return [
        nom,
        en_pourcent(float(correction.caracteres.valeur()), 1),
        f"{en_pourcent(bas, 1)} à {en_pourcent(haut, 1)}",
        " à ".join(ecart),
        *(
            en_pourcent(float(compte.valeur()), 1)
            for compte in (correction.mots, correction.repares, correction.gates)
        ),
    ]
