"""Répondre d'après des fiches : citer mot pour mot, ou dire pourquoi l'on se tait."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from fabrique.corpus.sourcees import presenter
from fabrique.modeles.gabarits import coder, texte_envoye
from fabrique.modeles.generation import fenetre, generer
from fabrique.recherche.abstention import (
    FAUSSES_REPONSES,
    MONTRES,
    TOURNURES,
    Calibration,
    calibration_livree,
    chercher_assez,
)
from fabrique.recherche.citations import Controle, controler_reponse, situer
from fabrique.recherche.contradictions import Contradiction, contradictions
from fabrique.recherche.grammaire import MOTS_MAX, MOTS_MIN, bouts, grammaire_de
from fabrique.recherche.index import Index
from fabrique.recherche.mots import racines
from fabrique.recherche.passages import Passage, Trouve, une_phrase
from fabrique.recherche.suite import depend_de_la_precedente, recrire
from fabrique.socle.page import composer

#: Assez de jetons pour toute réponse que permet la grammaire, même mal découpée par le modèle.
JETONS = 600
#: Les jetons qu'on garde pour elle dans la fenêtre : deux citations, découpées par le Falcon de poche.
RESERVE = 120
#: Combien de jetons il resterait pour répondre à une question et à ses passages ; négatif, il en manque.
Place = Callable[[str, str], int]
#: Combien de phrases d'un passage on laisse citer à un petit modèle : la plus proche de la question.
#: Libre de choisir entre deux, le Falcon de poche, affiné ou non, choisit moins bien que la recherche.
PHRASES = 1
#: Combien de passages il cite, au plus ; et de combien le second peut suivre le premier. Choisis sur
#: l'entraînement et la validation de *sources* (``python -m benchmarks.sources --ecarts``).
CITES, ECART_PERMIS = 2, 0.5
#: Une phrase à citer ne s'arrête pas à un point-virgule.
_PHRASE = une_phrase(".!?…")


class Motif(StrEnum):
    """Pourquoi l'on n'a pas répondu."""

    FLOUE = "question.floue"
    SUITE = "question.suite"
    RIEN = "recherche.rien"
    DOUTE = "recherche.doute"
    MODELE = "modele.sans_citation"
    INACHEVEE = "modele.inachevee"

    @property
    def phrase(self) -> str:
        """Ce qu'on dit à la personne."""
        return _PHRASES[self]


_PHRASES = {
    Motif.FLOUE: "La question n’est pas assez claire : dites de quelle démarche il s’agit.",
    Motif.SUITE: "La question renvoie à ce qui précède, et rien ne dit à quoi : nommez la démarche.",
    Motif.RIEN: "Aucune fiche ne parle de cette question.",
    Motif.DOUTE: "Les fiches trouvées ne répondent sans doute pas à cette question.",
    Motif.MODELE: "Le modèle n’a trouvé, dans les fiches, aucune phrase à citer.",
    Motif.INACHEVEE: "Le modèle n’a pas fini sa citation.",
}


@dataclass(frozen=True)
class CitationSourcee:
    """Une citation et l'endroit où elle se lit.

    Args:
        texte: mot pour mot ``passage.texte[debut:fin]``.
        passage: celui qui la porte.
        debut, fin: sa tranche du passage.
    """

    texte: str
    passage: Passage
    debut: int
    fin: int


@dataclass(frozen=True)
class Reponse:
    """Une réponse qui cite, ou une abstention ; elle s'affiche d'elle-même dans un carnet.

    Args:
        question: telle qu'elle a été posée.
        cherchee: telle qu'elle a été cherchée, avec le sujet de la précédente s'il le fallait.
        texte: la réponse ; à défaut, la phrase qui dit pourquoi il n'y en a pas.
        citations: ce que la réponse cite.
        sources: les passages montrés au modèle, dans l'ordre de leurs rangs.
        abstention: pourquoi l'on n'a pas répondu ; None si l'on a répondu.
        probabilite: celle, de 0 à 1, que les fiches répondent ; None si l'on n'a pas eu à la calculer.
        contradictions: les fiches trouvées qui se contredisent.
        controle: ce que le vérificateur a trouvé à redire au texte.
        duree: en secondes.
    """

    question: str
    cherchee: str
    texte: str
    citations: tuple[CitationSourcee, ...]
    sources: tuple[Trouve, ...]
    abstention: Motif | None
    probabilite: float | None
    contradictions: tuple[Contradiction, ...]
    controle: Controle
    duree: float

    @property
    def sujet(self) -> str:
        """De quoi l'on parle : le titre de la fiche citée, sinon la question cherchée."""
        return self.citations[0].passage.titre if self.citations else self.cherchee

    @property
    def non_citees(self) -> list[Trouve]:
        """Les sources trouvées dont la réponse ne cite rien."""
        citees = {citation.passage.identifiant for citation in self.citations}
        return [source for source in self.sources if source.identifiant not in citees]

    def contrat(self) -> dict:
        """La réponse pour ``--json``."""
        return {
            "question": self.question,
            "reponse": "" if self.abstention else self.texte,
            "abstention": self.abstention.phrase if self.abstention else None,
            "motif": self.abstention,
            "probabilite": self.probabilite,
            "citations": [
                {
                    "texte": citation.texte,
                    "id": citation.passage.fiche,
                    "titre": citation.passage.titre,
                    "source": citation.passage.source,
                    "page": citation.passage.page,
                    "date": citation.passage.date,
                }
                for citation in self.citations
            ],
            "sources": [
                {"id": source.fiche, "titre": source.titre, "score": round(source.score, 4)}
                for source in self.sources
            ],
            "contradictions": [
                {
                    "recent": {"id": c.recent.fiche, "date": c.recent.date, "dit": c.dit_recent},
                    "ancien": {"id": c.ancien.fiche, "date": c.ancien.date, "dit": c.dit_ancien},
                }
                for c in self.contradictions
            ],
            "duree_s": round(self.duree, 3),
        }

    def _repr_html_(self) -> str:
        """Ce que montre un carnet : tout texte y est échappé."""
        return composer("recherche/reponse.html", self.question, reponse=self)


def repondre(
    modele: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    question: str,
    index: Index,
    *,
    precedente: Reponse | None = None,
    fausses_reponses: float = FAUSSES_REPONSES,
    calibration: Calibration | None = None,
    montres: int = MONTRES,
    mots_max: int = MOTS_MAX,
    texte_libre: bool = False,
    abstention_du_modele: bool = False,
    adaptateur: bool = True,
) -> Reponse:
    """Répond à une question en citant les fiches d'un index, ou s'abstient.

    La recherche trouve des passages ; la calibration dit s'il faut répondre ; le modèle cite, sous une
    grammaire où il ne peut rien changer, et choisit quoi s'il est assez grand ; le vérificateur relit.

    Args:
        question: la demande, en français.
        index: où chercher.
        precedente: la réponse à la question d'avant, dont une suite (« Et pour un enfant ? ») reprend
            le sujet.
        fausses_reponses: part, de 0 à 1, des questions sans réponse auxquelles on accepte de répondre
            quand même ; 1 ne s'abstient jamais pour un doute.
        calibration: ce qui en décide ; à défaut, celle du cours.
        montres: combien de passages montrer au modèle.
        mots_max: la longueur d'une citation, en mots.
        texte_libre: permet de citer n'importe où, et des mots autour des citations (champ du profil).
            Sinon, la réponse cite le passage le plus proche de la question, et le suivant s'il l'est
            presque autant ; de chacun, la phrase la plus proche.
        abstention_du_modele: permet au modèle affiné de dire que les passages ne répondent pas.
        adaptateur: ``False`` interroge la base sans son adaptateur.

    Returns:
        Une réponse dont chaque citation est mot pour mot dans sa fiche.
    """
    prete = preparer(
        question,
        index,
        precedente=precedente,
        fausses_reponses=fausses_reponses,
        calibration=calibration,
        montres=montres,
        mots_max=mots_max,
        texte_libre=texte_libre,
        abstention_du_modele=abstention_du_modele,
        place=place_de(modele, tokenizer),
    )
    texte = ""
    if not prete.motif:
        texte = generer(
            modele,
            tokenizer,
            prete.cherchee,
            prete.presentees,
            grammaire=prete.grammaire,
            max_new_tokens=JETONS,
            adaptateur=adaptateur,
            afficher=False,
        )
    return conclure(prete, texte)


@dataclass(frozen=True)
class Preparee:
    """Tout ce qui précède l'écriture d'une réponse ; un autre moteur peut l'écrire.

    Args:
        motif: pourquoi l'on s'abstient sans que le modèle écrive ; None, il doit écrire.
        presentees: les passages, tels que le modèle les lit après la question.
        grammaire: ce qu'il peut écrire, dans le langage de Lark.
        depart: l'instant (``time.monotonic``) où la question est arrivée.
    """

    question: str
    cherchee: str
    motif: Motif | None
    probabilite: float | None
    conflits: tuple[Contradiction, ...]
    sources: tuple[Trouve, ...]
    presentees: str
    grammaire: str
    depart: float


def preparer(
    question: str,
    index: Index,
    *,
    precedente: Reponse | None = None,
    fausses_reponses: float = FAUSSES_REPONSES,
    calibration: Calibration | None = None,
    montres: int = MONTRES,
    mots_max: int = MOTS_MAX,
    texte_libre: bool = False,
    abstention_du_modele: bool = False,
    place: Place | None = None,
) -> Preparee:
    """Cherche, décide s'il faut répondre, et compose la grammaire (mêmes réglages que ``repondre``).

    Args:
        place: la fenêtre du modèle qui écrira ; à défaut, tous les passages sont tenus pour y tenir.
    """
    depart = time.monotonic()
    cherchee, motif = _comprendre(question, precedente)
    trouves = [] if motif else chercher_assez(index, cherchee, montres)
    if not motif and not trouves:
        motif = Motif.RIEN
    probabilite = None
    if not motif and fausses_reponses < 1:
        calibration = calibration or calibration_livree(montres)
        probabilite = calibration.probabilite(cherchee, trouves)
        if probabilite < calibration.point(fausses_reponses).seuil:
            motif = Motif.DOUTE
    conflits = contradictions(trouves)
    sources = _a_montrer(trouves, conflits, montres)
    presentees = grammaire = ""
    if not motif:
        lus = qui_tiennent(cherchee, sources, place) if place else sources
        presentees = en_passages(lus)
        grammaire = ce_qui_se_cite(
            cherchee,
            lus,
            texte_libre=texte_libre,
            abstention=abstention_du_modele,
            mots_max=mots_max,
        )
    return Preparee(
        question,
        cherchee,
        motif,
        probabilite,
        tuple(conflits),
        tuple(sources),
        presentees,
        grammaire,
        depart,
    )


def conclure(prete: Preparee, texte: str) -> Reponse:
    """Relit ce que le modèle a écrit, et en fait une réponse, ou une abstention.

    Args:
        texte: vide si ``prete.motif`` dit déjà pourquoi l'on s'abstient.
    """
    motif, controle = prete.motif, Controle((), ())
    citations: tuple[CitationSourcee, ...] = ()
    if not motif:
        controle = controler_reponse(texte, [source.texte for source in prete.sources])
        citations = tuple(_citations(controle, prete.sources))
        motif = _reproche(controle, citations)
    montrees = {source.fiche for source in prete.sources}
    return Reponse(
        prete.question,
        prete.cherchee,
        motif.phrase if motif else texte,
        () if motif else citations,
        prete.sources,
        motif,
        prete.probabilite,
        tuple(c for c in prete.conflits if {c.recent.fiche, c.ancien.fiche} & montrees),
        controle,
        time.monotonic() - prete.depart,
    )


def _reproche(controle: Controle, citations: Sequence[CitationSourcee]) -> Motif | None:
    """Pourquoi ce qu'a écrit le modèle ne fait pas une réponse ; None s'il en fait une."""
    if not controle.fidele:
        return Motif.INACHEVEE
    return None if citations else Motif.MODELE


def _comprendre(question: str, precedente: Reponse | None) -> tuple[str, Motif | None]:
    """La question à chercher, ou pourquoi on ne peut pas la chercher."""
    if depend_de_la_precedente(question):
        if precedente is None or precedente.abstention in (Motif.FLOUE, Motif.SUITE):
            return question, Motif.SUITE if racines(question) else Motif.FLOUE
        return recrire(question, precedente.sujet), None
    return question, None


def _a_montrer(
    trouves: Sequence[Trouve], conflits: Sequence[Contradiction], montres: int
) -> list[Trouve]:
    """Les premiers passages, sans ceux qu'une fiche plus récente contredit : elle prend leur place."""
    perimes = {c.ancien.identifiant: c.recent.identifiant for c in conflits if c.datee}
    par_nom = {t.identifiant: t for t in trouves}
    gardes: dict[str, Trouve] = {}
    for trouve in trouves:
        nom = trouve.identifiant
        while nom in perimes:
            nom = perimes[nom]
        gardes.setdefault(nom, par_nom[nom])
    return list(gardes.values())[:montres]


def en_passages(montres: Sequence[Trouve]) -> str:
    """Les passages, tels que le modèle les lit."""
    return presenter((montre.titre, montre.texte) for montre in montres)


def place_de(modele: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> Place:
    """Ce que laisse la fenêtre d'un modèle, gabarit compté ; une fenêtre inconnue laisse tout."""
    limite = fenetre(modele, tokenizer) or sys.maxsize
    return lambda question, passages: (
        limite - len(coder(texte_envoye(tokenizer, question, passages), tokenizer))
    )


def qui_tiennent(question: str, montres: Sequence[Trouve], place: Place) -> Sequence[Trouve]:
    """Les premiers passages, tant qu'il reste de quoi répondre ; un au moins.

    De longs passages remplissent la fenêtre d'un petit modèle : il en lit moins, et aucun n'est coupé.
    """
    combien = len(montres)
    while combien > 1 and place(question, en_passages(montres[:combien])) < RESERVE:
        combien -= 1
    return montres[:combien]


def ce_qui_se_cite(
    question: str,
    montres: Sequence[Trouve],
    *,
    texte_libre: bool = False,
    abstention: bool = False,
    phrases: int = PHRASES,
    cites: int = CITES,
    mots_max: int = MOTS_MAX,
) -> str:
    """La grammaire d'une réponse à une question, devant ces passages (voir ``grammaire_de``).

    Args:
        phrases: sans texte libre, entre combien de phrases de chaque passage le modèle choisit.
        cites: sans texte libre, combien de passages il cite, au plus.
    """
    citables = (
        [montre.texte for montre in montres]
        if texte_libre
        else les_plus_proches(question, montres, phrases, cites)
    )
    return grammaire_de(
        citables,
        texte_libre=texte_libre,
        par_phrases=not texte_libre,
        abstention=abstention,
        mots_max=mots_max,
    )


def les_plus_proches(
    question: str,
    montres: Sequence[Trouve],
    phrases: int = PHRASES,
    cites: int = CITES,
    ecart: float = ECART_PERMIS,
) -> list[str]:
    """Ce qu'un petit modèle peut citer : les phrases les plus proches, dans un passage ou deux.

    Une phrase vaut la part des mots pleins de la question qu'elle porte, le titre de la fiche compris.
    Un passage vaut son score de recherche, plus sa meilleure phrase. Le meilleur est cité ; le suivant
    l'est aussi quand il le suit de près : dans le doute, la personne voit les deux.

    Args:
        montres: les passages trouvés ; un score nul, à tous, laisse les phrases décider.
        phrases: combien en garder par passage ; à égalité, les premières.
        cites: combien de passages, au plus.
        ecart: de combien un passage cité peut suivre le premier.

    Returns:
        Un texte par passage, une phrase par ligne ; vide si l'on n'en cite rien.
    """
    cherches = set(racines(question)) - TOURNURES
    notees = [_noter(cherches, montre) for montre in montres]
    valeurs = {
        rang: montre.score + lues[0][0]
        for rang, (montre, lues) in enumerate(zip(montres, notees, strict=True))
        if lues
    }
    plancher = max(valeurs.values(), default=0.0) - ecart
    meilleurs = sorted(valeurs, key=lambda rang: -valeurs[rang])[:cites]
    gardes = {rang for rang in meilleurs if valeurs[rang] >= plancher}
    return [
        "\n".join(phrase for _, phrase in lues[:phrases]) if rang in gardes else ""
        for rang, lues in enumerate(notees)
    ]


def _noter(cherches: set[str], montre: Trouve) -> list[tuple[float, str]]:
    """Les phrases d'un passage, de la plus proche à la plus lointaine, et ce que vaut chacune.

    À égalité passe d'abord celle qui porte elle-même le plus de mots, titre mis à part.
    """
    du_titre, combien = set(racines(montre.titre)), max(1, len(cherches))
    notees = []
    for trouvee in _PHRASE.finditer(montre.texte):
        phrase = trouvee[0]
        if len(phrase.split()) >= MOTS_MIN and not phrase.startswith("#"):
            siens = cherches & set(racines(phrase))
            notees.append((len(siens | cherches & du_titre) / combien, len(siens), phrase))
    notees.sort(key=lambda notee: notee[:2], reverse=True)
    return [(part, phrase) for part, _, phrase in notees]


def sans_modele(
    question: str,
    montres: Sequence[Trouve],
    cites: int = CITES,
    ecart: float = ECART_PERMIS,
) -> str:
    """La réponse que donne la recherche seule : la phrase la plus proche de chaque passage cité."""
    proches = enumerate(les_plus_proches(question, montres, 1, cites, ecart), 1)
    # Une phrase qui porte elle-même des guillemets se cite entre deux d'entre eux.
    citees = [(max(bouts(phrase), key=len), rang) for rang, phrase in proches if phrase]
    return " ".join(f"«\u00a0{bout.strip(' .')}\u00a0» [{rang}]." for bout, rang in citees)


def _citations(controle: Controle, sources: Sequence[Trouve]) -> list[CitationSourcee]:
    """Les citations fidèles, chacune à sa place dans son passage."""
    trouvees = []
    for citation in controle.citations:
        if citation.rang is None or not 1 <= citation.rang <= len(sources):
            continue
        passage = sources[citation.rang - 1]
        place = situer(citation.texte, passage.texte)
        if place:
            trouvees.append(CitationSourcee(passage.texte[slice(*place)], passage, *place))
    return trouvees
