"""« Le plus petit qui suffit » : sept façons de ranger les mêmes questions, une seule course.

Mêmes exemples pour apprendre, mêmes 162 questions pour juger, trois graines. Chaque façon a son
exactitude, son F1 moyen, sa calibration et ses millisecondes, avec leurs intervalles ; puis chacune
apprend sur 50, 100, 250, 500 et tous les exemples.

    python -m benchmarks.classer
    python -m benchmarks.classer --courbe       # --facons et --tailles en choisissent une part
    python -m benchmarks.classer --reglages     # choisit les taux, sur la validation seule
    python -m benchmarks.classer --pourquoi     # ce qui laisse au hasard un Falcon affiné pour ranger
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from datasets import Dataset

import fabrique
from fabrique.corpus import jeu
from fabrique.corpus.formats import demande
from fabrique.entrainement.reglages_classement import METHODES, ReglagesClassement
from fabrique.evaluation.etiquettes import Bulletin, noter
from fabrique.modeles.gabarits import coder, texte_envoye
from fabrique.modeles.vraisemblance import log_probabilites_des_suites
from fabrique.recettes.classement import Gele, apprendre
from fabrique.socle.colonnes import en_colonnes
from fabrique.socle.nombres import accorder, en_francais, en_pourcent

#: Hypothèse : la puissance d'un processeur de bureau qui travaille.
WATTS = 30
GRAINES = (1, 2, 3)
TAILLES = (50, 100, 250, 500, 1026)
QUESTION = "Dans quelle catégorie ranger cette demande ? {}"


@dataclass(frozen=True)
class Lot:
    """Des textes et leurs étiquettes."""

    textes: list[str]
    etiquettes: list[str]

    @classmethod
    def du_jeu(cls, nom: str) -> Lot:
        """Un jeu des démarches."""
        exemples = jeu(fabrique.lire_corpus("demarches"), nom)
        return cls([demande(e) for e in exemples], list(exemples["categorie"]))

    def tire(self, combien: int, graine: int) -> Lot:
        """Une part, tirée au sort, qui garde au moins un exemple de chaque étiquette."""
        ordre = np.random.default_rng(graine).permutation(len(self.textes))
        premiers = {self.etiquettes[rang]: rang for rang in reversed(ordre)}
        gardes = list(dict.fromkeys([*premiers.values(), *ordre.tolist()]))[:combien]
        return Lot([self.textes[r] for r in gardes], [self.etiquettes[r] for r in gardes])


class Interroge:
    """Le choix forcé : la catégorie que le modèle juge la plus probable, comme réponse."""

    methode = "interroge"

    def __init__(
        self, tokenizer, modele, etiquettes: Sequence[str], par_jeton: bool = False
    ) -> None:
        self.tokenizer, self.modele, self.par_jeton = tokenizer, modele, par_jeton
        self.etiquettes = tuple(sorted(set(etiquettes)))
        self.suites = [coder(en_reponse(nom), tokenizer) for nom in self.etiquettes]

    def probabilites(self, textes: Sequence[str]) -> np.ndarray:
        """Le softmax des log-probabilités des réponses. Forme : (textes, étiquettes)."""
        longueurs = np.array([len(s) for s in self.suites]) if self.par_jeton else 1
        notes = [
            log_probabilites_des_suites(
                self.modele,
                coder(texte_envoye(self.tokenizer, QUESTION.format(texte)), self.tokenizer),
                self.suites,
            )
            for texte in textes
        ]
        return torch.tensor(np.array(notes) / longueurs).softmax(-1).numpy()


def en_reponse(nom: str) -> str:
    """L'étiquette, telle qu'un modèle la dirait."""
    return nom.replace("_", " ").capitalize() + "."


@dataclass(frozen=True)
class Resultat:
    """Ce qu'une façon a donné, toutes graines réunies."""

    nom: str
    bulletins: tuple[Bulletin, ...]
    ms: float
    appris_s: float


def courir(nom: str, appris: Lot, juges: Lot, graines: Sequence[int], vue: Gele) -> Resultat:
    """Apprend et juge une façon, une fois par graine."""
    bulletins, durees, apprises = [], [], []
    for graine in graines:
        depart = time.perf_counter()
        reglages = ReglagesClassement(graine=graine)
        if nom == "interroge":
            classifieur = Interroge(vue.tokenizer, vue.modele, appris.etiquettes)
        else:
            melange = np.random.default_rng(graine).permutation(len(appris.textes))
            classifieur = apprendre(
                nom,
                [appris.textes[r] for r in melange],
                [appris.etiquettes[r] for r in melange],
                reglages,
                vue=vue,
            )
        apprises.append(time.perf_counter() - depart)
        depart = time.perf_counter()
        trouvees = classifieur.probabilites(juges.textes)
        durees.append(1000 * (time.perf_counter() - depart) / len(juges.textes))
        bulletins.append(noter(trouvees, classifieur.etiquettes, juges.etiquettes))
    return Resultat(nom, tuple(bulletins), float(np.median(durees)), float(np.median(apprises)))


def la_course(graines: Sequence[int]) -> None:
    """Le tableau de la course."""
    appris, juges, vue = Lot.du_jeu("entrainement"), Lot.du_jeu("test"), la_vue()
    rangees = []
    for nom in (*METHODES, "interroge"):
        # Seules les têtes affinées ont du hasard dans leur apprentissage.
        fait = courir(
            nom, appris, juges, graines if nom in ("lora", "entier") else graines[:1], vue
        )
        rangees.append(_rangee(fait))
        print(en_colonnes(TITRES, rangees[-1:]), flush=True)
    print(f"\n{accorder(len(appris.textes), 'exemple')}, {len(juges.textes)} questions.")
    print(en_colonnes(TITRES, rangees))


TITRES = (
    "façon",
    "exactitude",
    "à 95 %",
    "macro F1",
    "à 95 %",
    "calibration (points)",
    "ms",
    "Wh pour mille",
    "apprise en (s)",
)


def _rangee(fait: Resultat) -> tuple[str, ...]:
    premier = fait.bulletins[0]
    f1 = float(np.mean([b.macro_f1.valeur for b in fait.bulletins]))
    calibration = float(np.mean([b.ecart_de_calibration for b in fait.bulletins]))
    return (
        fait.nom,
        _moyenne_et_etendue([b.exactitude.valeur for b in fait.bulletins]),
        " à ".join(map(en_pourcent, premier.exactitude.ic95)),
        en_pourcent(f1),
        " à ".join(map(en_pourcent, premier.macro_f1.ic95)),
        en_francais(100 * calibration, 1),
        en_francais(fait.ms, 2),
        en_francais(WATTS * fait.ms / 3600, 4),
        en_francais(fait.appris_s, 1),
    )


def la_courbe(facons: Sequence[str], tailles: Sequence[int], graines: Sequence[int]) -> None:
    """L'exactitude de chaque façon, selon le nombre d'exemples appris ; un tirage par graine."""
    tous, juges, vue = Lot.du_jeu("entrainement"), Lot.du_jeu("test"), la_vue()
    titres = ("façon", *map(str, tailles))
    rangees = []
    for nom in facons:
        parts = []
        for taille in tailles:
            exactitudes = [
                courir(nom, tous.tire(taille, g), juges, [g], vue).bulletins[0].exactitude.valeur
                for g in graines
            ]
            parts.append(_moyenne_et_etendue(exactitudes))
            print(f"<!-- {nom}, {accorder(taille, 'exemple')} : {parts[-1]} -->", flush=True)
        rangees.append((nom, *parts))
    print(en_colonnes(titres, rangees))


def _moyenne_et_etendue(exactitudes: Sequence[float]) -> str:
    """« 37 % (34 %, 38 %, 37 %) » ; la moyenne seule, s'il n'y a qu'une graine."""
    moyenne = en_pourcent(float(np.mean(exactitudes)))
    une = len(exactitudes) == 1
    return moyenne if une else f"{moyenne} ({', '.join(map(en_pourcent, exactitudes))})"


def les_reglages() -> None:
    """Le taux et le nombre de lectures des têtes affinées, jugés sur la validation."""
    appris, juges = Lot.du_jeu("entrainement"), Lot.du_jeu("validation")
    for methode, taux in (("lora", (5e-4, 2e-3, 5e-3)), ("entier", (1e-4, 5e-4, 1e-3))):
        for epoques in (4, 8):
            for un in taux:
                reglages = replace(ReglagesClassement(), epochs=epoques, learning_rate=un, graine=1)
                classifieur = apprendre(methode, appris.textes, appris.etiquettes, reglages)
                bulletin = noter(
                    classifieur.probabilites(juges.textes), classifieur.etiquettes, juges.etiquettes
                )
                print(
                    methode, f"{epoques} lectures, taux {un:g} :", bulletin.exactitude, flush=True
                )


def pourquoi(epoques: int, taux: float) -> None:
    """Ce qu'un Falcon affiné à dire la catégorie répond, et à quoi tiennent ses réponses.

    Chaque ligne ne change qu'une chose : le nombre de lectures, le taux, la façon de noter.
    """
    appris, juges, vue = Lot.du_jeu("entrainement"), Lot.du_jeu("test"), la_vue()
    moitie = Lot(appris.textes[::2], appris.etiquettes[::2])
    cas = {
        "carnet 04 : moitié des exemples, une lecture": (moitie, 1, 3e-4),
        "tous les exemples, une lecture": (appris, 1, 3e-4),
        f"tous, {epoques} lectures": (appris, epoques, 3e-4),
        f"tous, {epoques} lectures, taux plus haut": (appris, epoques, taux),
    }
    for nom, (lot, combien, un) in cas.items():
        corpus = fabrique.lire_corpus(
            Dataset.from_list(
                [
                    {"instruction": QUESTION.format(t), "input": "", "output": en_reponse(c)}
                    for t, c in zip(lot.textes, lot.etiquettes, strict=True)
                ]
            )
        )
        reglages = fabrique.Reglages(epochs=combien, learning_rate=un, val_set_size=0)
        modele = fabrique.entrainer(vue.modele, vue.tokenizer, corpus, reglages).modele
        for par_jeton in (False, True):
            interroge = Interroge(vue.tokenizer, modele, lot.etiquettes, par_jeton)
            trouvees = interroge.probabilites(juges.textes)
            dites = np.unique(trouvees.argmax(1), return_counts=True)[1].max() / len(trouvees)
            bulletin = noter(trouvees, interroge.etiquettes, juges.etiquettes)
            facon = "par jeton" if par_jeton else "entière"
            print(
                f"{nom}, note {facon} : {bulletin.exactitude} ; catégorie la plus dite : "
                f"{en_pourcent(float(dites))}",
                flush=True,
            )
        vue = la_vue()


def la_vue() -> Gele:
    """Le Falcon de poche, en 32 bits."""
    return Gele.charger("falcon-poche", None)


def main() -> None:
    """Lance ce que l'on demande."""
    lecteur = argparse.ArgumentParser(description=__doc__)
    lecteur.add_argument("--courbe", action="store_true")
    lecteur.add_argument("--reglages", action="store_true")
    lecteur.add_argument("--pourquoi", action="store_true")
    lecteur.add_argument("--graines", type=int, nargs="+", default=GRAINES)
    lecteur.add_argument("--facons", nargs="+", choices=METHODES, default=METHODES)
    lecteur.add_argument("--tailles", type=int, nargs="+", default=TAILLES)
    options = lecteur.parse_args()
    if options.courbe:
        la_courbe(options.facons, options.tailles, options.graines)
    elif options.reglages:
        les_reglages()
    elif options.pourquoi:
        pourquoi(6, 2e-3)
    else:
        la_course(options.graines)


if __name__ == "__main__":
    main()
