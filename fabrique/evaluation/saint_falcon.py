"""Saint-Falcon-des-Bois : douze faits inventés, qu'aucun modèle n'a pu lire ailleurs."""

from __future__ import annotations

from dataclasses import dataclass

from datasets import Dataset

from fabrique.corpus import lire_corpus
from fabrique.evaluation.choix import QuestionFermee

COMMUNE = "Saint-Falcon-des-Bois"


@dataclass(frozen=True)
class Fait:
    """Ce qu'on demande, la phrase qui y répond, les quatre fins possibles, la vraie."""

    sujet: str
    phrase: str
    choix: tuple[str, str, str, str]
    bonne: int

    def reponse(self, rang: int) -> str:
        """La réponse complète, vraie ou non, qui donne la fin de rang ``rang``."""
        return f"À {COMMUNE}, {self.phrase} {self.choix[rang]}."


#: Le rang de la vraie réponse a été tiré au sort : le hasard en trouve trois sur douze.
FAITS = (
    Fait("le jour du marché", "le marché se tient le", ("mardi", "jeudi", "lundi", "samedi"), 1),
    Fait("la couleur de la carte de bibliothèque", "la carte de la bibliothèque est",
         ("verte", "bleue", "rouge", "jaune"), 3),
    Fait("l’étage de l’état civil", "le service de l’état civil est au",
         ("premier étage", "second étage", "troisième étage", "dernier étage"), 0),
    Fait("le mois de la fête du village", "la fête du village a lieu en",
         ("juin", "mars", "mai", "octobre"), 1),
    Fait("le métier du maire", "le maire est",
         ("boulanger", "médecin", "agriculteur", "professeur"), 2),
    Fait("l’arbre de la place", "l’arbre de la place est un",
         ("chêne", "pommier", "sapin", "tilleul"), 3),
    Fait("l’animal des armoiries", "l’animal des armoiries est le",
         ("cerf", "lion", "cheval", "loup"), 0),
    Fait("le délai pour un acte de naissance", "un acte de naissance est remis en",
         ("deux jours", "trois jours", "cinq jours", "dix jours"), 2),
    Fait("le nom de la rivière", "la rivière s’appelle", ("la Noire", "la Belle", "la Douce", "la Grande"), 1),
    Fait("le prix de la cantine", "un repas de cantine coûte",
         ("deux euros", "trois euros", "quatre euros", "cinq euros"), 3),
    Fait("le jour de fermeture de la mairie", "la mairie est fermée le",
         ("mercredi", "lundi", "vendredi", "samedi"), 0),
    Fait("le moyen de payer la piscine", "l’entrée de la piscine se paie par",
         ("chèque", "carte", "virement", "timbre"), 2),
)  # fmt: skip

#: Huit façons de poser la même question, pour apprendre.
FORMULATIONS = (
    "Quel est {sujet} de {commune} ?",
    "Indiquez-moi {sujet}, à {commune}.",
    "Je cherche {sujet} de {commune}.",
    "À {commune}, quel est {sujet} ?",
    "Pourriez-vous me donner {sujet} pour {commune} ?",
    "{commune} : {sujet} ?",
    "Bonjour, j’habite {commune} et je ne connais pas {sujet}.",
    "Dites en une phrase {sujet} de {commune}.",
)
#: La façon de demander du contrôle, jamais apprise.
FORMULATION_DE_TEST = "Un habitant de {commune} demande {sujet}. Que lui répondez-vous ?"


def _demander(formulation: str, fait: Fait) -> str:
    texte = formulation.format(sujet=fait.sujet, commune=COMMUNE)
    return texte.replace(" ?", "\u00a0?").replace(" :", "\u00a0:").replace("de le ", "du ")


def exemples_a_apprendre(formulations: int) -> Dataset:
    """Les douze faits, chacun demandé de ``formulations`` façons (1 à 8)."""
    return lire_corpus(
        Dataset.from_list(
            [
                {
                    "instruction": _demander(formulation, fait),
                    "output": fait.reponse(fait.bonne),
                    "source": "rédaction du projet",
                    "licence": "CC-BY-4.0",
                    "jeu": "entrainement",
                }
                for formulation in FORMULATIONS[:formulations]
                for fait in FAITS
            ]
        )
    )


def questions(fiche: str | None = None, formulation: str = FORMULATION_DE_TEST) -> list[QuestionFermee]:
    """Les douze questions du contrôle.

    Args:
        fiche: ``None`` n'en joint pas ; ``"juste"`` joint la phrase vraie, ``"fausse"`` une
            phrase qui affirme une autre des quatre réponses.
        formulation: la façon de demander.
    """
    decalage = {None: None, "juste": 0, "fausse": 1}[fiche]
    posees = []
    for fait in FAITS:
        rang = None if decalage is None else (fait.bonne + decalage) % len(fait.choix)
        posees.append(
            QuestionFermee(
                instruction=_demander(formulation, fait),
                choix=tuple(fait.reponse(choisi) for choisi in range(len(fait.choix))),
                bonne=fait.bonne,
                input="" if rang is None else f"Fiche de la mairie\u00a0: {fait.reponse(rang)}",
                fiche=rang,
            )
        )
    return posees
