"""Ce que des préférences apprennent vraiment (python -m benchmarks.preferences).

    python -m benchmarks.preferences --synthetique    # seul le contenu départage ; votes mélangés
    python -m benchmarks.preferences --balayage       # retenue et taux, sur la validation
    python -m benchmarks.preferences                  # le tableau, trois graines
    python -m benchmarks.preferences --graines 42 --questions 20   # un essai
    python -m benchmarks.preferences --juge http://localhost:8000/v1 --juge_modele nom   # qui l'emporte

Le Falcon de poche apprend d'abord des démarches (carnet 03), puis trois jeux de préférences : les
votes, les mêmes mélangés à pile ou face, et « la plus courte l'emporte ». Chacun se mesure sur les
questions de test, jamais apprises : si la règle de longueur suivait les votes aussi bien qu'eux, le
modèle n'aurait appris qu'à être plus court. Les tableaux s'impriment en Markdown.
"""

from __future__ import annotations

import argparse
import random
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path

import numpy as np
import torch
from datasets import Dataset
from scipy.special import expit
from sklearn.linear_model import LogisticRegression
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from fabrique.corpus import jeu, lire_corpus
from fabrique.corpus.votes import Preference, lire_votes, plus_courte, votes_du_jeu
from fabrique.entrainement import Reglages, entrainer
from fabrique.entrainement.preferences import (
    apprendre_des_votes,
    juger_les_reponses,
    mesurer_les_gains,
)
from fabrique.entrainement.reglages_preferences import VARIANTES, ReglagesPreferences
from fabrique.evaluation import pertes
from fabrique.evaluation.course import faire_juger
from fabrique.evaluation.incertitude import Releve, intervalle, moyenne, releve
from fabrique.evaluation.juges import JugeDistant
from fabrique.evaluation.metriques import distinct, f1, mots
from fabrique.evaluation.paires import Paire, Part, apparier
from fabrique.machine.profil import POCHE
from fabrique.modeles.adaptateurs import charger_adaptateur
from fabrique.modeles.chargement import charger
from fabrique.modeles.gabarits import coder, composer
from fabrique.modeles.generation import base_ou_affine, generer_par_lots
from fabrique.recettes.preferer import Suivies
from fabrique.socle.nombres import en_ecart, en_francais, en_pourcent
from fabrique.socle.reechantillonnage import reechantillonner

GRAINES = (42, 43, 44)
#: Les réglages retenus par ``--balayage``.
TAUX, RETENUE, EPOQUES = 5e-4, 0.1, 1
#: Longueur laissée aux réponses.
JETONS = 96
#: Combien de fois on retire les paires départagées pour l'intervalle à longueur égale.
REPRISES = 500


# ---------------------------------------------------------------- une préférence que seul le contenu satisfait

#: Une affaire, et le service qui s'en occupe.
SERVICES = {
    "mon passeport": "la mairie",
    "mon impôt": "le centre des finances publiques",
    "mon allocation logement": "la caisse d’allocations familiales",
    "mon remboursement de soins": "l’assurance maladie",
    "ma recherche d’emploi": "France Travail",
    "ma retraite": "la caisse de retraite",
    "mon titre de séjour": "la préfecture",
    "mon divorce": "le tribunal",
}
#: Des façons de demander ; les deux dernières ne s'apprennent pas.
FACONS = (
    "Qui s’occupe de {} ?",
    "Où m’adresser pour {} ?",
    "J’ai une question sur {}, qui contacter ?",
    "Quel service traite {} ?",
    "À quel guichet aller pour {} ?",
    "Je ne sais pas à qui parler de {}.",
    "Bonjour, c’est au sujet de {}. Qui peut m’aider ?",
    "Pour {}, quel est le bon interlocuteur ?",
)
MISES_DE_COTE = 2


def synthetiques() -> tuple[list[Preference], list[Preference]]:
    """Des paires à apprendre, et d'autres à juger : chaque réponse y est choisie autant qu'écartée."""
    paires: dict[bool, list[Preference]] = {True: [], False: []}
    services = list(SERVICES.values())
    for (rang, affaire), (numero, facon) in product(enumerate(SERVICES), enumerate(FACONS)):
        faux = services[(rang + 1 + numero % (len(services) - 1)) % len(services)]
        dites = (f"Adressez-vous à {service}." for service in (services[rang], faux))
        question = [{"role": "user", "content": facon.format(affaire)}]
        paires[numero >= len(FACONS) - MISES_DE_COTE].append(Preference(question, *dites))
    return paires[False], paires[True]


def melanger(votes: Sequence[Preference], graine: int) -> list[Preference]:
    """Les mêmes paires, chacune retournée à pile ou face : il n'y a plus rien à y apprendre."""
    hasard = random.Random(graine)
    return [_retourner(vote) if hasard.random() < 0.5 else vote for vote in votes]


def _retourner(vote: Preference) -> Preference:
    return replace(vote, choisie=vote.ecartee, ecartee=vote.choisie)


def selon_la_longueur(votes: Sequence[Preference]) -> list[Preference]:
    """Les mêmes paires, où la plus courte est choisie."""
    return [
        _retourner(v) if plus_courte("", v.ecartee) > plus_courte("", v.choisie) else v
        for v in votes
    ]


def mesurer_les_synthetiques(
    graines: Sequence[int], epoques: float, variantes: Sequence[str]
) -> Iterator[str]:
    """Les lignes du tableau : vrais votes et votes mélangés, par variante."""
    appris, gardes = synthetiques()
    tokenizer, modele = charger(POCHE.modele, POCHE.quantification, silencieux=True)
    yield "| votes | variante | préférences suivies, sur des questions jamais apprises |\n|---|---|--:|"
    for variante, vrais in product(variantes, (True, False)):
        suivies = []
        for graine in graines:
            votes = appris if vrais else melanger(appris, graine)
            reglages = _reglages(graine, epoques, variante=variante, learning_rate=1e-3)
            with tempfile.TemporaryDirectory() as dossier:
                affine = apprendre_des_votes(modele, tokenizer, votes, reglages, dossier).modele
            suivies += mesurer_les_gains(affine, tokenizer, gardes).respectees.tolist()
        part = Part(int(sum(suivies)), len(suivies))
        yield f"| {'vrais' if vrais else 'mélangés'} | {variante} | {part} |"


def _reglages(graine: int, epoques: float = EPOQUES, **autres) -> ReglagesPreferences:
    return ReglagesPreferences.du_profil(
        POCHE, **{"learning_rate": TAUX, "beta": RETENUE, **autres}, epochs=epoques, graine=graine
    )


# ---------------------------------------------------------------- le départ, et ce qui se mesure


@dataclass(frozen=True)
class Depart:
    """Le modèle d'où l'on part : affiné sur des démarches, et enregistré.

    Args:
        dossier: son adaptateur.
        base: le modèle nu, qu'on lui rend.
        reference: les log-probabilités qu'il donne aux réponses de test.
    """

    dossier: Path
    tokenizer: PreTrainedTokenizerBase
    base: PreTrainedModel
    modele: PreTrainedModel
    reference: np.ndarray
    ecrites: list[tuple[str, bool]]
    pertes: np.ndarray


def partir(graine: int, dossier: Path, test: Sequence[Preference], temoins: Dataset) -> Depart:
    """Affine le Falcon de poche comme au carnet 03, et mesure d'où l'on part."""
    tokenizer, base = charger(POCHE.modele, POCHE.quantification, silencieux=True)
    corpus = jeu(lire_corpus("demarches"), "entrainement").shuffle(seed=1).select(range(240))
    modele = entrainer(
        base, tokenizer, corpus, Reglages.du_profil(POCHE, graine=graine), dossier
    ).modele
    return Depart(
        dossier,
        tokenizer,
        base,
        modele,
        reference=juger_les_reponses(modele, tokenizer, test),
        ecrites=ecrire(modele, tokenizer, test),
        pertes=pertes(modele, tokenizer, temoins),
    )


def ecrire(modele, tokenizer, votes: Sequence[Preference]) -> list[tuple[str, bool]]:
    """Ce que le modèle répond à chaque question, et s'il s'est arrêté de lui-même."""
    demandes = [{"instruction": vote.question} for vote in votes]
    return generer_par_lots(modele, tokenizer, demandes, max_new_tokens=JETONS)


def kl_par_jeton(
    modele, depart: Depart, votes: Sequence[Preference], ecrites: Sequence[tuple[str, bool]]
) -> Releve:
    """La divergence KL d'avec le départ, exacte, sur chaque jeton écrit (nats par jeton).

    Source : Kullback et Leibler, 1951.
    """
    comptes = []
    for vote, (texte, _) in zip(votes, ecrites, strict=True):
        question = coder(composer(depart.tokenizer, vote.messages), depart.tokenizer)
        ids = torch.tensor([[*question, *coder(texte, depart.tokenizer)]])
        lus = []
        for reseau in (modele, depart.modele):
            with torch.inference_mode(), base_ou_affine(reseau, True):
                lus.append(reseau(ids).logits[0, len(question) - 1 : -1].float().log_softmax(-1))
        ici, avant = lus
        comptes.append((float((ici.exp() * (ici - avant)).sum()), len(ici)))
    return releve(comptes)


def departager(
    votes: Sequence[Preference],
    avant: Sequence[tuple[str, bool]],
    apres: Sequence[tuple[str, bool]],
    juge: JugeDistant | None,
    journal: Path,
) -> tuple[list[Paire], Mapping[str, int]]:
    """Chaque paire de réponses, d'avant et d'après, et celle qui l'emporte.

    Sans juge, ce sont les mots communs avec la réponse choisie, moins ceux avec l'écartée : cette
    mesure ignore l'ordre, et ne lit pas. Un juge lit chaque paire dans les deux ordres, et ses avis
    s'ajoutent au journal : la même commande ne les redemande pas.
    """
    demandes = [{"messages": [*vote.messages, {}]} for vote in votes]
    paires = apparier(demandes, *([texte for texte, _ in dites] for dites in (avant, apres)))
    if juge:
        return paires, faire_juger(juge, paires, journal).preferences
    note = lambda dite, vote: f1(dite, vote.choisie) - f1(dite, vote.ecartee)  # noqa: E731
    return paires, {
        paire.empreinte: int(np.sign(note(paire.reponses[1], vote) - note(paire.reponses[0], vote)))
        for paire, vote in zip(paires, votes, strict=True)
    }


def a_longueur_egale(ecarts: Sequence[float], victoires: Sequence[bool]) -> str:
    """La part des victoires si les deux réponses avaient la même longueur, et son intervalle.

    Une régression logistique dit ce que la longueur explique ; on lit sa valeur à l'écart nul.
    Source : Dubois et al., 2024 (Length-Controlled AlpacaEval, arXiv:2404.04475).

    Args:
        ecarts: la longueur de la seconde réponse moins celle de la première, paires départagées.
        victoires: la seconde l'emporte-t-elle ?
    """
    gagnees = np.array(victoires)
    if len(set(victoires)) < 2:
        return "non défini"
    reduits = np.tanh(np.array(ecarts) / (np.std(ecarts) or 1))[:, None]

    def a_l_ecart_nul(rangs: np.ndarray) -> float:
        if len(set(gagnees[rangs].tolist())) < 2:
            return float(gagnees[rangs][0])
        return float(expit(LogisticRegression().fit(reduits[rangs], gagnees[rangs]).intercept_[0]))

    bornes = reechantillonner(
        lambda rangs: np.apply_along_axis(a_l_ecart_nul, -1, rangs), len(gagnees), tirages=REPRISES
    ).bornes
    bas, haut = (en_francais(100 * borne) for borne in bornes)
    return f"{en_pourcent(a_l_ecart_nul(np.arange(len(gagnees))))} (entre {bas} et {haut}\u00a0%)"


# ---------------------------------------------------------------- le tableau

#: Ce que l'on fait apprendre, d'après les mêmes paires.
SORTES: dict[str, Callable[[Sequence[Preference], int], Sequence[Preference]]] = {
    "les votes": lambda votes, graine: votes,
    "mélangés": melanger,
    "la plus courte": lambda votes, graine: selon_la_longueur(votes),
}
TITRES = (
    "votes",
    "variante",
    "préférences suivies",
    "choisie plus longue",
    "choisie plus courte",
    "marge médiane (nats)",
    "l’emportent sur l’avant",
    "à longueur égale",
    "mots par réponse",
    "suites de deux mots distinctes",
    "réponses closes",
    "perte sur les démarches",
    "KL par jeton (nats)",
)


def mesurer(nom: str, variante: str, departs: Sequence[Depart], options) -> str:
    """Une ligne du tableau : une sorte de votes, toutes graines réunies."""
    test, temoins = options.test, options.temoins
    suivies, marges, oubli, derive = ([] for _ in range(4))
    reponses: list[tuple[str, bool]] = []
    ecarts: list[float] = []
    victoires: list[bool] = []
    par_longueur: list[Suivies] = []
    for graine, depart in zip(options.graines, departs, strict=True):
        votes = SORTES[nom](options.appris, graine)
        with tempfile.TemporaryDirectory() as dossier:
            affine = apprendre_des_votes(
                depart.base,
                depart.tokenizer,
                votes,
                _reglages(graine, variante=variante),
                dossier,
                depart.dossier,
            ).modele
        gains = mesurer_les_gains(affine, depart.tokenizer, test, reference=depart.reference)
        par_longueur.append(Suivies.de(test, gains))
        suivies += gains.respectees.tolist()
        marges += gains.marges.tolist()
        ecrites = ecrire(affine, depart.tokenizer, test)
        paires, preferences = departager(
            test, depart.ecrites, ecrites, options.juge, options.journal
        )
        departagees = [paire for paire in paires if preferences.get(paire.empreinte)]
        ecarts += [len(p.reponses[1]) - len(p.reponses[0]) for p in departagees]
        victoires += [preferences[p.empreinte] > 0 for p in departagees]
        reponses += ecrites
        oubli += (pertes(affine, depart.tokenizer, temoins) - depart.pertes).tolist()
        # Poser un adaptateur retire l'autre : le départ se repose pour être comparé.
        kl = kl_par_jeton(affine, _repose(depart), test, ecrites)
        derive += list(zip(kl.numerateurs, kl.denominateurs, strict=True))
    reunies = lambda parts: Part(sum(p.succes for p in parts), sum(p.total for p in parts))  # noqa: E731
    cases = [
        nom,
        variante,
        str(Part(int(sum(suivies)), len(suivies))),
        en_pourcent(reunies([s.quand_plus_longue for s in par_longueur]).taux),
        en_pourcent(reunies([s.quand_plus_courte for s in par_longueur]).taux),
        en_ecart(float(np.median(marges)), 2),
        str(Part(sum(victoires), len(victoires))),
        a_longueur_egale(ecarts, victoires),
        *_ce_qu_il_ecrit(reponses),
        _avec_bornes(moyenne(oubli), 3, signe=True),
        _avec_bornes(releve(derive), 3),
    ]
    return f"| {' | '.join(cases)} |"


def _ce_qu_il_ecrit(reponses: Sequence[tuple[str, bool]]) -> tuple[str, ...]:
    """Mots par réponse, suites de deux mots distinctes, part des réponses closes."""
    return (
        _avec_bornes(moyenne([len(mots(texte)) for texte, _ in reponses]), 1),
        en_pourcent(float(releve([distinct(texte) for texte, _ in reponses]).valeur())),
        en_pourcent(float(np.mean([close for _, close in reponses]))),
    )


def _rangee_du_depart(departs: Sequence[Depart]) -> str:
    """La première ligne du tableau : le modèle d'avant, qui n'a rien appris des votes."""
    ecrites = [dite for depart in departs for dite in depart.ecrites]
    cases = ["aucun : le départ", "—", *["—"] * 6, *_ce_qu_il_ecrit(ecrites), "—", "—"]
    return f"| {' | '.join(cases)} |"


def _repose(depart: Depart) -> Depart:
    """Le départ, sur un modèle à lui : deux adaptateurs ne se posent pas sur le même."""
    _, base = charger(POCHE.modele, POCHE.quantification, silencieux=True)
    return replace(depart, modele=charger_adaptateur(base, depart.dossier).eval())


def _avec_bornes(mesure: Releve, decimales: int, signe: bool = False) -> str:
    ecrire_nombre = en_ecart if signe else en_francais
    bas, haut = (ecrire_nombre(borne, decimales) for borne in intervalle(mesure).bornes)
    return f"{ecrire_nombre(float(mesure.valeur()), decimales)} ({bas} à {haut})"


def balayer(departs: Sequence[Depart], options) -> Iterator[str]:
    """Les préférences de validation suivies, par retenue et par taux."""
    gardes = votes_du_jeu(options.votes, "validation")
    yield "| retenue (beta) | taux d’apprentissage | préférences suivies (validation) |\n|--:|--:|--:|"
    for beta, taux in product((0.03, 0.1, 0.3), (1e-4, 5e-4, 2e-3)):
        suivies: list[float] = []
        for graine, depart in zip(options.graines, departs, strict=True):
            reference = juger_les_reponses(_repose(depart).modele, depart.tokenizer, gardes)
            reglages = _reglages(graine, beta=beta, learning_rate=taux)
            with tempfile.TemporaryDirectory() as dossier:
                affine = apprendre_des_votes(
                    depart.base, depart.tokenizer, options.appris, reglages, dossier, depart.dossier
                ).modele
            gains = mesurer_les_gains(affine, depart.tokenizer, gardes, reference=reference)
            suivies += gains.respectees.tolist()
        part = Part(int(sum(suivies)), len(suivies))
        yield f"| {en_francais(beta, 2)} | {en_francais(taux, 4)} | {part} |"


def main() -> None:
    """Mesure et imprime."""
    analyse = argparse.ArgumentParser(description=__doc__)
    analyse.add_argument("--synthetique", action="store_true", help="seul le contenu départage")
    analyse.add_argument("--balayage", action="store_true", help="retenue et taux")
    analyse.add_argument("--graines", type=int, nargs="+", default=list(GRAINES))
    analyse.add_argument("--questions", type=int, help="questions de test ; toutes par défaut")
    analyse.add_argument("--epoques", type=float, default=4, help="pour --synthetique")
    analyse.add_argument("--juge", help="adresse d'un modèle qui départage, à la façon d'OpenAI")
    analyse.add_argument("--juge_modele", default="juge", help="son nom à cette adresse")
    analyse.add_argument("--journal", type=Path, default=Path("sorties/juge_preferences.jsonl"))
    analyse.add_argument("--variantes", nargs="+", default=["dpo", "longueur"], choices=VARIANTES)
    options = analyse.parse_args()
    if options.synthetique:
        for ligne in mesurer_les_synthetiques(options.graines, options.epoques, options.variantes):
            print(ligne, flush=True)
        return
    options.juge = options.juge and JugeDistant(options.juge, options.juge_modele)
    options.votes = lire_votes("preferences")
    options.appris = votes_du_jeu(options.votes, "entrainement")
    options.test = votes_du_jeu(options.votes, "test")[: options.questions]
    options.temoins = jeu(lire_corpus("demarches"), "test")
    with tempfile.TemporaryDirectory() as racine:
        departs = [
            partir(graine, Path(racine) / str(graine), options.test, options.temoins)
            for graine in options.graines
        ]
        if options.balayage:
            for ligne in balayer(departs, options):
                print(ligne, flush=True)
            return
        print(f"| {' | '.join(TITRES)} |\n|---|---|{'--:|' * (len(TITRES) - 2)}")
        print(_rangee_du_depart(departs), flush=True)
        for nom, variante in product(
            ("les votes", "mélangés", "la plus courte"), options.variantes
        ):
            print(mesurer(nom, variante, departs, options), flush=True)


if __name__ == "__main__":
    main()
