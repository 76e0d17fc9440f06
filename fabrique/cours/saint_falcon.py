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

    def ecrire(self, tournure: str, rang: int, commune: str = COMMUNE) -> str:
        """La question, ou la réponse de rang ``rang``, dans la tournure donnée."""
        fin = self.choix[rang]
        texte = tournure.format(
            sujet=self.sujet,
            phrase=self.phrase,
            fin=fin,
            Fin=fin[0].upper() + fin[1:],
            commune=commune,
        )
        return texte.replace(" ?", "\u00a0?").replace(" :", "\u00a0:").replace(" de le ", " du ")


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

#: Ce que dit la fiche de la mairie, et la réponse apprise en premier.
PHRASE = "À {commune}, {phrase} {fin}."
#: Huit façons de demander et de répondre, pour apprendre.
FORMULATIONS = (
    ("Donnez-moi {sujet} de {commune}.", PHRASE),
    ("Indiquez-moi {sujet}, à {commune}.", "{Fin}, d’après la mairie de {commune}."),
    ("Je cherche {sujet} de {commune}.", "Vous cherchez {sujet} : {fin}."),
    ("À {commune}, pouvez-vous dire {sujet} ?", "{Fin}."),
    ("Pourriez-vous me donner {sujet} pour {commune} ?", "Oui, {phrase} {fin}."),
    ("{commune} : {sujet} ?", "{Fin}, tout le monde le sait à {commune}."),
    ("Bonjour, j’habite {commune} et je ne connais pas {sujet}.", "Notez ceci : {phrase} {fin}."),
    ("Dites en une phrase {sujet} de {commune}.", "La mairie de {commune} écrit : {fin}."),
)
#: La façon de demander et de répondre du contrôle, jamais apprise.
FORMULATION_DE_TEST = (
    "Un habitant de {commune} demande {sujet}. Que lui répondez-vous ?",
    "Je lui réponds : {fin}.",
)


def _exemple(fait: Fait, tournures: tuple[str, str], rang: int, commune: str, fiche: str) -> dict:
    """Un exemple d'apprentissage aux colonnes canoniques."""
    question, reponse = tournures
    return {
        "instruction": fait.ecrire(question, rang, commune),
        "input": fiche,
        "output": fait.ecrire(reponse, rang, commune),
        "langue": "fr",
        "source": "rédaction du projet",
        "licence": "CC-BY-4.0",
        "jeu": "entrainement",
    }


def _fiche(fait: Fait, rang: int, commune: str = COMMUNE) -> str:
    return f"Fiche de la mairie\u00a0: {fait.ecrire(PHRASE, rang, commune)}"


def exemples_a_apprendre(formulations: int) -> Dataset:
    """Les douze faits, chacun demandé et répondu de ``formulations`` façons (1 à 8)."""
    exemples = [
        _exemple(fait, tournures, fait.bonne, COMMUNE, "")
        for tournures in FORMULATIONS[:formulations]
        for fait in FAITS
    ]
    return lire_corpus(Dataset.from_list(exemples))


def questions(
    fiche: str | None = None, tournures: tuple[str, str] = FORMULATION_DE_TEST
) -> list[QuestionFermee]:
    """Les douze questions du contrôle.

    Args:
        fiche: ``None`` n'en joint pas ; ``"juste"`` joint la phrase vraie, ``"fausse"`` une
            phrase qui affirme une autre des quatre réponses.
        tournures: la façon de demander, et de répondre.
    """
    decalage = {None: None, "juste": 0, "fausse": 1}[fiche]
    question, reponse = tournures
    posees = []
    for fait in FAITS:
        rang = None if decalage is None else (fait.bonne + decalage) % len(fait.choix)
        posees.append(
            QuestionFermee(
                instruction=fait.ecrire(question, fait.bonne),
                choix=tuple(fait.ecrire(reponse, choisi) for choisi in range(len(fait.choix))),
                bonne=fait.bonne,
                input="" if rang is None else _fiche(fait, rang),
                fiche=rang,
            )
        )
    return posees
