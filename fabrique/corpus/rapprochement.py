"""Seconde passe d'un contrôle : chaque exemple comparé à ceux qui le précèdent."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from datasets import Dataset

from fabrique.corpus import licences
from fabrique.corpus.constats import ALERTE, ERREUR, Constat, Mesures
from fabrique.corpus.doublons import Index, Ressemblance, jumeler
from fabrique.corpus.examen import resume
from fabrique.corpus.formats import demande, reponse
from fabrique.corpus.lecture import lire_corpus
from fabrique.corpus.structure import montrer
from fabrique.socle.nombres import en_francais, en_pourcent

#: Deux textes au-dessus de cet indice de Jaccard sont presque le même.
SEUIL_PROCHE = 0.7
#: Une catégorie pèse trop quand elle dépasse à la fois cette part et trois fois sa part égale.
PART_DESEQUILIBRE = 0.25
#: La variété se mesure sur autant de mots, au plus.
MOTS_VARIETE = 1_000_000


class Comparaison:
    """Ce qu'on retient des exemples déjà vus, pour y reconnaître les suivants."""

    def __init__(self, corpus: Dataset, evaluation: str | Path | Dataset | None) -> None:
        self.corpus, self.forme, self.premiere = corpus, "", ""
        self.constats: list[Constat] = []
        self.mesures = Mesures()
        self.jeux, self.categories, self.licences = (Counter[str]() for _ in range(3))
        self.variete = _Variete()
        self.lignes: dict[int, tuple[int, str]] = {}
        self.identiques: dict[str, int] = {}
        self.demandes: dict[str, int] = {}
        self.jumelles: dict[str, int] = {}
        self.identifiants: dict[str, int] = {}
        self.reponses = Index(SEUIL_PROCHE, lambda rang: reponse(self._contenu(rang)))
        self.questions = Index(SEUIL_PROCHE, lambda rang: demande(self._contenu(rang)))
        self.evaluation = _Evaluation(evaluation) if evaluation is not None else None

    def _contenu(self, rang: int) -> dict:
        return json.loads(self.corpus[rang - 1]["exemple"])["contenu"]

    def ajouter(self, vu: dict) -> None:
        """Compare un exemple aux précédents, puis le retient."""
        self.forme = self.forme or vu["forme"]
        self.constats += [Constat(**constat) for constat in json.loads(vu["constats"])]
        self._compter(vu)
        if not vu["bon"]:
            return
        rang, contenu = vu["rang"], self._contenu(vu["rang"])
        self.lignes[rang] = (vu["ligne"], vu["jeu"])
        self._forme(vu)
        self.variete.ajouter(reponse(contenu))
        self._identifiant(vu)
        if not self._identique(vu):
            self._proche(vu, contenu)
        if self.evaluation:
            self.constats += self.evaluation.constats(vu, contenu)

    def _compter(self, vu: dict) -> None:
        self.jeux[montrer(vu["jeu"]) or "sans jeu"] += 1
        if vu["forme"]:  # un exemple illisible n'a rien dont on puisse dire la licence
            self.licences[licences.juger(vu["licence"])] += 1
        if vu["categorie"]:
            self.categories[montrer(vu["categorie"], 200)] += 1
        self.mesures.mots.append(vu["mots"])
        self.mesures.jetons.append(vu["jetons"])
        self.mesures.avec_contexte += vu["contexte"]

    def _forme(self, vu: dict) -> None:
        """Un corpus n'a qu'une forme : ``lire_corpus`` refuserait le mélange."""
        self.forme = self.premiere = self.premiere or vu["forme"]
        if vu["forme"] != self.premiere:
            message = (
                f"le fichier mêle {self.premiere} et {vu['forme']} : séparez-les en deux fichiers"
            )
            self._noter("structure.melange", ERREUR, vu, None, vu["extrait"], message)

    def _identifiant(self, vu: dict) -> None:
        if not vu["id"]:
            return
        premier = self.identifiants.setdefault(vu["id"], vu["rang"])
        if premier != vu["rang"]:
            ligne = self.lignes[premier][0]
            message = f"cet identifiant est déjà celui de la ligne {ligne} : donnez-en un autre"
            self._noter("structure.identifiant", ERREUR, vu, "id", montrer(vu["id"]), message)

    def _identique(self, vu: dict) -> bool:
        """Vrai, et dit, si le même exemple ou la même demande a déjà été vu."""
        tout = self.identiques.setdefault(vu["tout"], vu["rang"])
        meme_demande = self.demandes.setdefault(vu["demande"], vu["rang"])
        jumelle = self.jumelles.setdefault(vu["jumelle"], vu["rang"])
        if tout != vu["rang"]:
            if not self._passe_d_un_jeu_a_l_autre(
                vu, tout, "demande", "mêmes demande et réponse qu’à"
            ):
                message = f"le même exemple que ligne {self.lignes[tout][0]} : n’en gardez qu’un"
                self._noter(
                    "doublon.exact", ERREUR, vu, vu["champ_demande"], vu["extrait"], message
                )
            return True
        if vu["demande"] and meme_demande != vu["rang"]:
            self._meme_demande(vu, meme_demande)
        elif vu["jumelle"] and jumelle != vu["rang"]:
            self._jumelle(vu, jumelle)
        return False

    def _meme_demande(self, vu: dict, rang: int) -> None:
        if self._passe_d_un_jeu_a_l_autre(vu, rang, "demande", "même demande qu’à"):
            return
        message = (
            f"la même demande qu’à la ligne {self.lignes[rang][0]}, avec une autre réponse : "
            "est-ce voulu ?"
        )
        self._noter("doublon.demande", ALERTE, vu, vu["champ_demande"], vu["extrait"], message)

    def _jumelle(self, vu: dict, rang: int) -> None:
        """Une question déjà posée, écrite autrement : ce n'en fait pas deux questions."""
        self._passe_d_un_jeu_a_l_autre(vu, rang, "demande", "même demande, écrite autrement, qu’à")
        message = (
            f"la même demande qu’à la ligne {self.lignes[rang][0]}, aux accents ou à la ponctuation "
            "près : n’en gardez qu’une, ou laissez-les dans le même jeu"
        )
        self._noter("doublon.typographie", ALERTE, vu, vu["champ_demande"], vu["extrait"], message)

    def _proche(self, vu: dict, contenu: dict) -> None:
        """Compare la réponse, puis la demande, à celles qui leur ressemblent le plus."""
        dire, question = reponse(contenu), demande(contenu)
        if vu["resume_reponse"]:
            voisine = self.reponses.chercher(dire, vu["resume_reponse"])
            self.reponses.ajouter(vu["rang"], vu["resume_reponse"])
            if voisine:
                self._noter_voisine(vu, voisine, dire)
        if vu["resume_demande"] and self.jumelles[vu["jumelle"]] == vu["rang"]:
            voisine = self.questions.chercher(question, vu["resume_demande"])
            self.questions.ajouter(vu["rang"], vu["resume_demande"])
            if voisine:
                self._passe_d_un_jeu_a_l_autre(
                    vu, voisine.cle, "demande", "demande très proche de celle de"
                )

    def _noter_voisine(self, vu: dict, voisine: Ressemblance, dire: str) -> None:
        self.mesures.jaccard_max = max(self.mesures.jaccard_max or 0.0, voisine.jaccard)
        if self._passe_d_un_jeu_a_l_autre(
            vu, voisine.cle, "reponse", "réponse très proche de celle de"
        ):
            return
        ligne, ressemblance = self.lignes[voisine.cle][0], en_francais(voisine.jaccard, 2)
        message = f"la réponse ressemble à celle de la ligne {ligne} (Jaccard {ressemblance})"
        self._noter("doublon.proche", ALERTE, vu, vu["champ_reponse"], vu["extrait"], message)

    def _passe_d_un_jeu_a_l_autre(self, vu: dict, rang: int, cote: str, quoi: str) -> bool:
        """Dit la contamination : ce qu'on apprend ne doit pas être ce sur quoi on se juge.

        Args:
            cote: « demande » ou « reponse », ce qui est commun aux deux exemples.
        """
        ligne, jeu = self.lignes[rang]
        if not vu["jeu"] or not jeu or vu["jeu"] == jeu:
            return False
        message = (
            f"{quoi} la ligne {ligne}, qui est dans le jeu « {jeu} » et celle-ci dans « {vu['jeu']} » : "
            "la mesure serait faussée, retirez l’un des deux"
        )
        self._noter("contamination.jeux", ERREUR, vu, vu[f"champ_{cote}"], vu["extrait"], message)
        return True

    def _noter(
        self, regle: str, gravite: str, vu: dict, champ: str | None, extrait: str, message: str
    ) -> None:
        self.constats.append(
            Constat(regle, gravite, vu["rang"], vu["ligne"], champ, extrait, message)
        )


class _Variete:
    """La part de suites de quatre mots différentes, sur un nombre borné de mots."""

    def __init__(self) -> None:
        self.suites: set[int] = set()
        self.total = 0

    def ajouter(self, texte: str) -> None:
        if self.total < MOTS_VARIETE:
            mots = texte.casefold().split()
            suites = [hash(tuple(mots[i : i + 4])) for i in range(len(mots) - 3)]
            self.suites.update(suites)
            self.total += len(suites)

    @property
    def part(self) -> float:
        return len(self.suites) / self.total if self.total else 1.0


class _Evaluation:
    """Le corpus d'évaluation, qu'aucun exemple appris ne doit contenir."""

    def __init__(self, source: str | Path | Dataset) -> None:
        self.exemples = list(lire_corpus(source))
        self.demandes = {
            jumeler(demande(e)): rang for rang, e in enumerate(self.exemples) if demande(e)
        }
        self.reponses = Index(SEUIL_PROCHE, lambda rang: reponse(self.exemples[rang]))
        for rang, exemple in enumerate(self.exemples):
            if dit := resume(reponse(exemple)):
                self.reponses.ajouter(rang, dit)

    def constats(self, vu: dict, contenu: dict) -> Iterator[Constat]:
        """Les constats de contamination d'un exemple."""
        rang = self.demandes.get(jumeler(demande(contenu)))
        quoi = "la demande"
        if rang is None and vu["resume_reponse"]:
            quoi, dire = "la réponse", reponse(contenu)
            voisine = self.reponses.chercher(dire, vu["resume_reponse"])
            rang = voisine.cle if voisine else None
        if rang is not None:
            message = (
                f"{quoi} est dans le corpus d’évaluation (exemple {rang + 1}) : retirez-la d’ici"
            )
            yield Constat(
                "contamination.evaluation",
                ERREUR,
                vu["rang"],
                vu["ligne"],
                vu["champ_demande"] if quoi == "la demande" else vu["champ_reponse"],
                vu["extrait"],
                message,
            )


def constats_d_ensemble(vu: Comparaison) -> Iterator[Constat]:
    """Ce qui se dit du corpus entier ; complète aussi les mesures."""
    mesures = vu.mesures
    mesures.jeux = dict(vu.jeux) if set(vu.jeux) != {"sans jeu"} else {}
    mesures.categories, mesures.suites_distinctes = dict(vu.categories), vu.variete.part
    total = sum(vu.jeux.values())
    if vu.licences["absente"]:
        message = (
            f"{vu.licences['absente']} exemples sur {total} n’ont pas de licence : dites laquelle"
        )
        yield Constat("licence.absente", ALERTE, None, None, "licence", "", message)
    for categorie, nombre in vu.categories.items():
        part = nombre / total
        if part > PART_DESEQUILIBRE and part > 3 / len(vu.categories):
            message = f"la catégorie « {categorie} » fait {en_pourcent(part)} du corpus : les autres s’effacent"
            yield Constat(
                "categorie.desequilibre", ALERTE, None, None, "categorie", categorie, message
            )
