"""Un modèle comme juge : il compare deux réponses, et l'on mesure ce que vaut son jugement.

Chaque paire est jugée deux fois, dans les deux ordres : un juge qui préfère toujours la
première place se contredit, et ses contradictions ne comptent pas comme des victoires.
Source : Zheng et al., 2023 (Judging LLM-as-a-Judge, arXiv:2306.05685).
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from pathlib import Path

from fabrique.evaluation.avis import Avis, AvisIllisible, lire_avis
from fabrique.evaluation.grille import GRILLE, Critere, consigne, matiere
from fabrique.evaluation.juges import Juge, Panne
from fabrique.evaluation.paires import (
    EGALITE,
    PREMIERE,
    SECONDE,
    Paire,
    Part,
    empreinte,
    part_de_la_plus_longue,
    part_de_la_seconde,
    relire_lignes,
)
from fabrique.socle.emplacements import ajouter_ligne
from fabrique.socle.suivi import Barre

JOURNAL = logging.getLogger(__name__)


@dataclass(frozen=True)
class Verdict:
    """Une ligne du journal : ce qu'un juge a dit d'une paire, dans un ordre.

    Args:
        cle: l'empreinte de la question posée et du juge ; la même ne se repose pas.
        paire: l'empreinte de la paire.
        inverse: vrai si la seconde réponse était en A.
        gagnant: « A », « B », « égalité », ou rien si l'avis est illisible.
        anomalie: pourquoi l'avis est illisible ; rien s'il est lisible.
        brut: ce que le juge a écrit, mot pour mot.
    """

    cle: str
    paire: str
    inverse: bool
    gagnant: str
    criteres: Mapping[str, str]
    raison: str
    anomalie: str
    brut: str
    juge: str
    heure: str

    @property
    def place(self) -> int:
        """-1 si le juge choisit la place A, 1 s'il choisit B, 0 sinon."""
        return {"A": PREMIERE, "B": SECONDE}.get(self.gagnant, EGALITE)

    @property
    def preference(self) -> int:
        """-1 si le juge choisit la première réponse, 1 s'il choisit la seconde, 0 sinon."""
        return -self.place if self.inverse else self.place


@dataclass(frozen=True)
class Bilan:
    """Ce que vaut le jugement, et ce qu'il dit.

    Args:
        illisibles: les avis rendus et illisibles ; leurs paires ne comptent pas.
        manquants: les avis jamais rendus ; leurs paires non plus.
        completes: le nombre de paires dont les deux avis sont lisibles ; elles seules comptent.
        coherentes: la part d'entre elles où le juge dit la même chose dans les deux ordres.
        position: quand il se contredit, la part des fois où c'est au profit de la place A.
        longueur: la part des paires départagées que la réponse la plus longue emporte.
        premieres: les paires que la première réponse emporte dans les deux ordres.
        secondes: de même pour la seconde ; le reste est à égalité.
        seconde: la part de la seconde parmi les paires départagées.
    """

    illisibles: int
    manquants: int
    completes: int
    coherentes: Part
    position: Part
    longueur: Part
    premieres: int
    secondes: int
    seconde: Part

    def __str__(self) -> str:
        egales = self.completes - self.premieres - self.secondes
        return "\n".join(
            (
                f"Paires jugées dans les deux ordres : {self.completes} "
                f"(avis illisibles : {self.illisibles} ; manquants : {self.manquants})",
                f"Première préférée : {self.premieres} ; seconde : {self.secondes} ; "
                f"égalité ou contradiction : {egales}",
                f"Part de la seconde, paires départagées : {self.seconde}",
                f"Conclusion : {self._conclusion()}",
                f"Le juge se confirme dans l’autre ordre : {self.coherentes}",
                f"Biais de position, sinon, au profit de A : {self.position}",
                f"Biais de longueur, la plus longue l’emporte : {self.longueur}",
            )
        )

    def _conclusion(self) -> str:
        if not self.seconde.tranche:
            return "le juge ne départage pas les deux modèles"
        gagnante = "seconde" if self.seconde.taux > 0.5 else "première"
        return f"le juge préfère la {gagnante}"


@dataclass(frozen=True)
class Course:
    """Ce qu'une course a rapporté, complet ou non.

    Args:
        verdicts: ceux du journal qui répondent aux questions de cette course.
        attendus: deux par paire.
        pannes: ce qui est arrivé aux questions restées sans avis, cette fois-ci.
        arret: pourquoi la course s'est arrêtée avant la fin ; rien sinon.
        abimees: les lignes du journal que l'on n'a pas pu relire.
    """

    paires: tuple[Paire, ...]
    verdicts: tuple[Verdict, ...]
    attendus: int
    pannes: tuple[str, ...] = ()
    arret: str = ""
    abimees: int = 0

    @property
    def illisibles(self) -> tuple[Verdict, ...]:
        """Les avis que le juge a rendus et qu'on ne sait pas lire."""
        return tuple(verdict for verdict in self.verdicts if verdict.anomalie)

    @property
    def preferences(self) -> dict[str, int]:
        """La préférence de chaque paire complète ; une contradiction vaut une égalité."""
        return {
            paire: un.preference if un.preference == autre.preference else EGALITE
            for paire, (un, autre) in self._completes().items()
        }

    def _completes(self) -> dict[str, list[Verdict]]:
        lus: dict[str, list[Verdict]] = {}
        for verdict in self.verdicts:
            if not verdict.anomalie:
                lus.setdefault(verdict.paire, []).append(verdict)
        return {paire: deux for paire, deux in lus.items() if len(deux) == 2}

    def bilan(self) -> Bilan:
        """Compte les préférences, les contradictions et les biais, sur les paires complètes."""
        completes, preferences = self._completes(), self.preferences
        penchants = [un.place + autre.place for un, autre in completes.values()]
        contradictions = [penchant for penchant in penchants if penchant]
        comptes = Counter(preferences.values())
        return Bilan(
            illisibles=len(self.illisibles),
            manquants=self.attendus - len(self.verdicts),
            completes=len(completes),
            coherentes=Part(len(penchants) - len(contradictions), len(penchants)),
            position=Part(sum(p < 0 for p in contradictions), len(contradictions)),
            longueur=part_de_la_plus_longue(self.paires, preferences),
            premieres=comptes[PREMIERE],
            secondes=comptes[SECONDE],
            seconde=part_de_la_seconde(preferences),
        )

    def __str__(self) -> str:
        lisibles = len(self.verdicts) - len(self.illisibles)
        phrases = [
            f"Avis rendus : {len(self.verdicts)} sur {self.attendus} "
            f"(lisibles : {lisibles}, illisibles : {len(self.illisibles)})."
        ]
        if self.abimees:
            phrases.append(f"Lignes abîmées du journal, non comptées : {self.abimees}.")
        phrases += [f"Panne, {fois} fois : {p}." for p, fois in Counter(self.pannes).items()]
        if self.arret:
            phrases.append(f"Arrêt : {self.arret}.")
        if len(self.verdicts) < self.attendus:
            phrases.append("Relancez pour reprendre : ce qui est jugé ne le sera pas deux fois.")
        return " ".join(phrases)


@dataclass(frozen=True)
class _Question:
    """Une paire, dans un ordre, prête à être posée."""

    cle: str
    paire: str
    inverse: bool
    matiere: str


def faire_juger(
    juge: Juge,
    paires: Sequence[Paire],
    fichier: Path,
    *,
    grille: Sequence[Critere] = GRILLE,
    pannes_de_suite: int = 3,
) -> Course:
    """Fait juger chaque paire dans les deux ordres, et dit où l'on en est.

    Chaque avis est écrit aussitôt rendu : après une coupure, la même commande reprend là où
    elle en était. Une panne n'est pas un avis : rien n'est écrit à sa place.

    Args:
        fichier: le journal JSONL ; d'autres juges et d'autres paires peuvent s'y trouver.
        grille: les critères ; en changer repose les questions.
        pannes_de_suite: combien de pannes consécutives arrêtent la course.
    """
    demande = consigne(grille)
    questions = _questions(juge.nom, demande, paires)
    journal, abimees = _relire(fichier)
    barre = Barre(len(questions), "Avis du juge", deja=len(questions.keys() & journal.keys()))
    pannes, de_suite, arret = [], 0, ""
    for question in questions.values():
        if question.cle in journal:
            continue
        try:
            texte = juge(demande, question.matiere)
        except Panne as panne:
            pannes.append(str(panne))
            de_suite += 1
            if panne.definitive or de_suite == pannes_de_suite:
                arret = pannes[-1] if panne.definitive else f"{de_suite} pannes de suite"
                break
            continue
        de_suite = 0
        journal[question.cle] = _verdict(juge.nom, question, texte, grille)
        ajouter_ligne(fichier, asdict(journal[question.cle]))
        barre.avancer(len(questions.keys() & journal.keys()))
    barre.finir()
    verdicts = tuple(journal[cle] for cle in questions if cle in journal)
    course = Course(tuple(paires), verdicts, len(questions), tuple(pannes), arret, abimees)
    JOURNAL.info(str(course))
    montrer_illisibles(course)
    return course


def _questions(nom: str, demande: str, paires: Sequence[Paire]) -> dict[str, _Question]:
    """Deux questions par paire, par clé ; deux paires identiques n'en font qu'une."""
    questions = {}
    for paire in paires:
        for inverse, reponses in enumerate(paire.presentations):
            texte = matiere(paire.demande, reponses)
            cle = empreinte(nom, demande, texte, paire.empreinte, bool(inverse))
            questions[cle] = _Question(cle, paire.empreinte, bool(inverse), texte)
    return questions


def _verdict(nom: str, question: _Question, texte: str, grille: Sequence[Critere]) -> Verdict:
    try:
        avis, anomalie = lire_avis(texte, grille), ""
    except AvisIllisible as cause:
        avis, anomalie = Avis("", {}, ""), str(cause)
    return Verdict(
        cle=question.cle,
        paire=question.paire,
        inverse=question.inverse,
        **asdict(avis),
        anomalie=anomalie,
        brut=texte,
        juge=nom,
        heure=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def _relire(fichier: Path) -> tuple[dict[str, Verdict], int]:
    """Les verdicts du journal, par clé, et le nombre de lignes abîmées."""
    champs = [champ.name for champ in fields(Verdict)]
    lignes, abimees = relire_lignes(fichier, champs)
    verdicts = [Verdict(**{champ: ligne[champ] for champ in champs}) for ligne in lignes]
    return {verdict.cle: verdict for verdict in verdicts}, abimees


def montrer_illisibles(course: Course, combien: int = 3) -> None:
    """Dit les premiers avis illisibles, et ce qui manque à chacun."""
    for verdict in course.illisibles[:combien]:
        extrait = " ".join(verdict.brut.split())[:200] or "(rien)"
        JOURNAL.info(f"{verdict.anomalie} : {extrait}")
    reste = len(course.illisibles) - combien
    if reste > 0:
        JOURNAL.info(f"… et {reste} de plus dans le journal.")
