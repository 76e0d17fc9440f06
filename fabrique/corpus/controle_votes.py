"""Contrôler des préférences avant d'en apprendre : ce qui ne se lit pas, et ce qu'elles apprendraient d'autre.

Une préférence dit « celle-ci plutôt que celle-là », sans dire pourquoi. Si la réponse choisie est
presque toujours la plus longue, ou presque toujours montrée à gauche, c'est cela qui s'apprendra.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from datasets import Dataset
from scipy.stats import binomtest

from fabrique.corpus.constats import ALERTE, ERREUR, Constat, Controle, Mesures
from fabrique.corpus.doublons import jumeler, normaliser
from fabrique.corpus.examen import constats_trouves
from fabrique.corpus.formats import demande
from fabrique.corpus.lecture import REMPLIR_JEU, lire_corpus, ouvrir, sans_jeu
from fabrique.corpus.structure import montrer
from fabrique.corpus.votes import (
    MELANGE,
    SEPARER,
    Avis,
    Preference,
    Vote,
    colonnes_laissees,
    lire_une_ligne,
)
from fabrique.socle.erreurs import ErreurFabrique
from fabrique.socle.nombres import en_pourcent

#: Un déséquilibre se dit au-delà de cette part, si le hasard ne l'explique pas (une fois sur vingt).
PART_DESEQUILIBRE, SEUIL = 0.65, 0.05


def controler_votes(
    source: str | Path | Dataset, evaluation: str | Path | Dataset | None = None
) -> Controle:
    """Contrôle un fichier de préférences et rend tout ce qu'il y a à corriger, ou à savoir.

    Args:
        evaluation: corpus d'évaluation dont on ne doit apprendre aucune question.

    Raises:
        ErreurFabrique: fichier absent, vide ou d'un format inconnu.
    """
    chemin, lignes = ouvrir(source)
    votes, constats, laissees, total = [], [], dict[str, int](), 0
    for rang, ligne in enumerate(lignes, 1):
        total = rang
        try:
            votes.append((rang, lire_une_ligne(ligne, rang, chemin)))
        except ErreurFabrique as erreur:
            message = f"{erreur.message}. {erreur.remede}"
            constats.append(
                Constat(
                    "structure.preference", ERREUR, rang, erreur.ligne, erreur.champ, "", message
                )
            )
        for colonne in colonnes_laissees(ligne.contenu):
            laissees.setdefault(colonne, ligne.numero)
    if not total:
        raise ErreurFabrique("aucune préférence", "Donnez-en au moins une", chemin)
    constats += [
        Constat("lecture.colonne", ALERTE, None, numero, colonne, "", LAISSEE)
        for colonne, numero in laissees.items()
    ]
    constats += constats_des_votes(votes)
    constats += _contamination(votes, evaluation)
    constats.sort(key=lambda c: (c.rang is not None, c.rang or 0))
    return Controle(str(chemin), "préférences", total, constats, _mesures([v for _, v in votes]))


LAISSEE = "cette colonne n’est pas de celles qu’on reprend : elle est laissée de côté"


def verifier_votes(
    votes: Sequence[Vote], chemin: str | Path, accepter_donnees_personnelles: bool = False
) -> list[Constat]:
    """Refuse des préférences fautives avant d'en apprendre ; rend ce qui n'est qu'à savoir.

    Raises:
        ErreurFabrique: texte mal décodé, données personnelles non acceptées, question à la fois dans
            deux jeux, colonne « jeu » à moitié remplie.
    """
    alertes = []
    for constat in constats_des_votes(list(enumerate(votes, 1))):
        personnel = constat.regle.startswith("personnel.")
        if constat.gravite == ALERTE or (personnel and accepter_donnees_personnelles):
            alertes.append(constat)
        elif personnel or constat.regle.startswith(REDHIBITOIRES):
            remede = "Ajoutez --accepter_donnees_personnelles si vous en avez le droit"
            raise ErreurFabrique(
                constat.message,
                remede if personnel else "« fabrique corpus controler » montre tout",
                chemin,
                ligne=constat.ligne,
                champ=constat.champ,
            )
    return alertes


#: Ce qui empêche d'apprendre : le reste se corrige, ou s'assume.
REDHIBITOIRES = ("encodage.", "contamination.", "structure.")


def constats_des_votes(votes: Sequence[tuple[int, Vote]]) -> Iterator[Constat]:
    """Tout ce qu'il y a à dire de préférences qui se lisent, chacune avec son rang."""
    for rang, vote in votes:
        yield from _constats_d_un_vote(rang, vote)
    yield from _melange(votes)
    yield from _jeux(votes)
    yield from _doublons(votes)
    yield from _contradictions(votes)
    paires = [vote for _, vote in votes if isinstance(vote, Preference)]
    yield from _desequilibre_de_longueur(paires)
    yield from _biais_de_position(paires)
    yield from _pouces([vote for _, vote in votes if isinstance(vote, Avis)])


def _constat(regle: str, gravite: str, rang: int, vote: Vote, champ: str, message: str) -> Constat:
    return Constat(regle, gravite, rang, vote.origine.ligne, champ, montrer(vote.question), message)


def _constats_d_un_vote(rang: int, vote: Vote) -> Iterator[Constat]:
    """Les règles du texte ; ce qu'on écarte a le droit d'être mal écrit, pas d'être mal décodé."""
    vus = set[Constat]()
    for champ, dite in vote.dites:
        contenu = {
            "messages": [*vote.messages, {"role": "assistant", "content": dite}],
            **{colonne: getattr(vote.origine, colonne) for colonne in ("id", "annotateur")},
        }
        place = f"messages[{len(vote.messages) + 1}].content"
        a_dire = champ == "chosen" or (isinstance(vote, Avis) and vote.bon)
        for constat in constats_trouves(contenu, contenu, rang, vote.origine.ligne):
            if a_dire or not constat.regle.startswith("texte."):
                du_message = (constat.champ or "").startswith("messages")
                lu = "prompt" if du_message else constat.champ
                vus.add(replace(constat, champ=champ if constat.champ == place else lu))
    yield from sorted(vus, key=lambda c: (c.regle, c.champ or "", c.extrait))


def _melange(votes: Sequence[tuple[int, Vote]]) -> Iterator[Constat]:
    autre = next(((r, v) for r, v in votes if type(v) is not type(votes[0][1])), None)
    if autre:
        yield _constat("structure.melange", ERREUR, *autre, "label", f"{MELANGE}. {SEPARER}")


def _jeux(votes: Sequence[tuple[int, Vote]]) -> Iterator[Constat]:
    """Une question d'un seul côté, et un jeu pour tous ou pour personne."""
    sans = [vote.origine.ligne for _, vote in votes if not vote.origine.jeu]
    if sans and len(sans) < len(votes):
        message = f"{sans_jeu(len(sans), len(votes))}. {REMPLIR_JEU}"
        yield Constat("structure.jeu_partiel", ERREUR, None, sans[0], "jeu", "", message)
    premieres: dict[str, Vote] = {}
    for rang, vote in votes:
        premiere = premieres.setdefault(jumeler(vote.question), vote)
        if premiere.origine.jeu != vote.origine.jeu and premiere.origine.jeu and vote.origine.jeu:
            message = (
                f"même question qu’à la ligne {premiere.origine.ligne}, qui est dans le jeu "
                f"« {premiere.origine.jeu} » et celle-ci dans « {vote.origine.jeu} » : la mesure serait "
                "faussée, mettez-les ensemble"
            )
            yield _constat("contamination.jeux", ERREUR, rang, vote, "prompt", message)


def _contamination(
    votes: Sequence[tuple[int, Vote]], evaluation: str | Path | Dataset | None
) -> Iterator[Constat]:
    posees = {jumeler(demande(e)) for e in lire_corpus(evaluation)} if evaluation else set()
    for rang, vote in votes:
        if jumeler(vote.question) in posees:
            message = "la question est dans le corpus d’évaluation : retirez-la d’ici"
            yield _constat("contamination.evaluation", ERREUR, rang, vote, "prompt", message)


def _doublons(votes: Sequence[tuple[int, Vote]]) -> Iterator[Constat]:
    """La même préférence, du même annotateur : elle compterait deux fois."""
    premieres: dict[tuple, Vote] = {}
    for rang, vote in votes:
        avis = vote.bon if isinstance(vote, Avis) else None
        cle = (*map(normaliser, (vote.question, *dict(vote.dites).values())), avis)
        premiere = premieres.setdefault((*cle, vote.origine.annotateur), vote)
        if premiere is not vote:
            message = (
                f"la même préférence qu’à la ligne {premiere.origine.ligne} : elle compte double"
            )
            yield _constat("doublon.preference", ALERTE, rang, vote, "prompt", message)


def _contradictions(votes: Sequence[tuple[int, Vote]]) -> Iterator[Constat]:
    """Deux votes opposés sur les mêmes réponses : ce que l'un apprend, l'autre le défait."""
    dits: dict[tuple[str, ...], Vote] = {}
    for rang, vote in votes:
        question, *dites = map(normaliser, (vote.question, *dict(vote.dites).values()))
        if isinstance(vote, Avis):
            sens, contraire = ([*dites, str(b)] for b in (vote.bon, not vote.bon))
        else:
            sens, contraire = dites, dites[::-1]
        dits.setdefault((question, *sens), vote)
        if oppose := dits.get((question, *contraire)):
            message = (
                f"contredit la ligne {oppose.origine.ligne}, sur les mêmes réponses : départagez-les, "
                "ou retirez les deux"
            )
            champ = "label" if isinstance(vote, Avis) else "chosen"
            yield _constat("preference.contradiction", ALERTE, rang, vote, champ, message)


def part_de_la_plus_longue(paires: Iterable[Preference]) -> tuple[int, int]:
    """Combien de fois la réponse choisie est la plus longue, en signes, et sur combien de paires."""
    ecarts = [len(p.choisie) - len(p.ecartee) for p in paires]
    return sum(e > 0 for e in ecarts), sum(e != 0 for e in ecarts)


def _desequilibre_de_longueur(paires: Sequence[Preference]) -> Iterator[Constat]:
    longues, total = part_de_la_plus_longue(paires)
    for nombre, quoi in ((longues, "longue"), (total - longues, "courte")):
        if _penche(nombre, total):
            message = (
                f"la réponse choisie est la plus {quoi} {nombre} fois sur {total} "
                f"({en_pourcent(nombre / total)}) : le modèle apprendrait peut-être la longueur seule"
            )
            yield Constat("preference.longueur", ALERTE, None, None, "chosen", "", message)


def _biais_de_position(paires: Sequence[Preference]) -> Iterator[Constat]:
    """Un annotateur qui choisit toujours le même côté n'a peut-être pas lu l'autre."""
    places: dict[str, Counter[int]] = defaultdict(Counter)
    for paire in paires:
        if paire.origine.position:
            places[paire.origine.annotateur or "sans nom"][paire.origine.position] += 1
    for annotateur, comptes in sorted(places.items()):
        place, nombre = comptes.most_common(1)[0]
        total = comptes.total()
        if _penche(nombre, total):
            cote = "première" if place == 1 else "seconde"
            message = (
                f"« {montrer(annotateur)} » choisit la réponse montrée en {cote} {nombre} fois sur "
                f"{total} : montrez-lui les réponses dans les deux ordres"
            )
            yield Constat("preference.position", ALERTE, None, None, "annotateur", "", message)


def _pouces(avis: Sequence[Avis]) -> Iterator[Constat]:
    """Sans pouce baissé, ou sans pouce levé, rien ne dit ce qui distingue une bonne réponse."""
    if avis and len({un.bon for un in avis}) == 1:
        seuls = "levés" if avis[0].bon else "baissés"
        message = (
            f"il n’y a que des pouces {seuls} : il faut des deux pour qu’une différence s’apprenne"
        )
        yield Constat("preference.pouces", ALERTE, None, None, "label", "", message)


def _penche(nombre: int, total: int) -> bool:
    """Vrai d'une part trop forte pour que le hasard d'une pièce l'explique.

    Source : test binomial exact de scipy.
    """
    return (
        total > 0 and nombre / total > PART_DESEQUILIBRE and binomtest(nombre, total).pvalue < SEUIL
    )


def _mesures(votes: Sequence[Vote]) -> Mesures:
    """Les comptes par jeu et par critère, et les mots de chaque réponse."""
    jeux = Counter(vote.origine.jeu for vote in votes if vote.origine.jeu)
    criteres = Counter(vote.origine.critere for vote in votes if vote.origine.critere)
    mots = [len(dite.split()) for vote in votes for _, dite in vote.dites]
    suites = [m for vote in votes for _, dite in vote.dites for m in _suites_de_mots(dite)]
    return Mesures(
        jeux=dict(jeux),
        categories={montrer(nom, 200): nombre for nom, nombre in criteres.items()},
        mots=mots or [0],
        suites_distinctes=len(set(suites)) / len(suites) if suites else 1.0,
        jaccard_max=None,  # deux réponses à la même question se ressemblent : c'est voulu
    )


def _suites_de_mots(texte: str) -> Iterator[tuple[str, ...]]:
    mots = texte.casefold().split()
    return zip(*(mots[rang:] for rang in range(4)), strict=False)
