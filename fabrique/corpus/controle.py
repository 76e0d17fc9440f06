"""Contrôler un corpus avant d'apprendre : tout ce qui cloche, où, et ce qu'il faut en faire.

Deux passes. La première regarde chaque exemple seul (structure, texte, données
personnelles, longueur) et peut se partager entre processus ; la seconde compare les
exemples entre eux (doublons, contamination, équilibre). Le corpus vit sur le disque, dans
un fichier Arrow de ``datasets`` : la mémoire ne croît qu'avec les résumés.
"""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from zlib import crc32

import datasets
import pyarrow
from datasets import Dataset
from transformers import PreTrainedTokenizerBase

from fabrique.corpus import licences, personnelles, regles
from fabrique.corpus.doublons import Index, Ressemblance, normaliser, signature
from fabrique.corpus.fichiers import Ligne
from fabrique.corpus.formats import demande, reponse, textes
from fabrique.corpus.lecture import Exemple, lire_corpus, lire_exemples, ouvrir
from fabrique.corpus.regles import ALERTE, ERREUR
from fabrique.erreurs import ErreurFabrique
from fabrique.gabarits import coder, neutraliser
from fabrique.suivi import Barre

#: Deux textes au-dessus de cet indice de Jaccard sont presque le même.
SEUIL_PROCHE = 0.7
#: En dessous, deux réponses identiques sont naturelles (« Oui. », une catégorie, une date).
MOTS_COMPARABLES = 12
#: Une catégorie pèse trop quand elle dépasse à la fois cette part et trois fois sa part égale.
PART_DESEQUILIBRE = 0.25
#: Au-delà, la première passe se partage entre processus.
EXEMPLES_PAR_PROCESSUS = 5_000
#: La variété se mesure sur autant de mots, au plus.
MOTS_VARIETE = 1_000_000


@dataclass(frozen=True)
class Constat:
    """Une chose à voir dans un corpus.

    Args:
        regle: son nom, « famille.precision ».
        gravite: « erreur » (à corriger avant d'apprendre) ou « alerte » (à regarder).
        rang: le rang de l'exemple, depuis 1 ; absent si le constat porte sur tout le fichier.
        ligne: sa ligne dans le fichier, depuis 1.
        champ: le champ en cause.
        extrait: quelques mots ; jamais une donnée personnelle.
        message: ce qui ne va pas et ce qu'il faut faire.
    """

    regle: str
    gravite: str
    rang: int | None
    ligne: int | None
    champ: str | None
    extrait: str
    message: str


@dataclass(frozen=True)
class Controle:
    """Le rapport de contrôle d'un corpus.

    Args:
        fichier: le fichier contrôlé.
        forme: « instructions », « conversations » ou « fiches ».
        exemples: nombre d'exemples lus.
        constats: tous les constats, dans l'ordre du fichier.
        mesures: comptes par jeu et catégorie, longueurs, variété.
    """

    fichier: str
    forme: str
    exemples: int
    constats: list[Constat]
    mesures: Mesures

    @property
    def erreurs(self) -> list[Constat]:
        """Ce qu'il faut corriger avant d'apprendre."""
        return [c for c in self.constats if c.gravite == ERREUR]

    @property
    def alertes(self) -> list[Constat]:
        """Ce qu'il faut regarder."""
        return [c for c in self.constats if c.gravite == ALERTE]

    def en_dictionnaire(self) -> dict:
        """Pour ``--json`` : fichier, exemples, constats, et les mesures."""
        return {
            "fichier": self.fichier,
            "forme": self.forme,
            "exemples": self.exemples,
            "constats": [asdict(constat) for constat in self.constats],
            "mesures": asdict(self.mesures),
        }


@dataclass
class Mesures:
    """Ce que le corpus contient, compté.

    Args:
        jeux: exemples par jeu.
        categories: exemples par catégorie.
        mots: nombre de mots de chaque réponse.
        jetons: nombre de jetons de chaque exemple (demande et réponse).
        avec_contexte: exemples dont ``input`` n'est pas vide.
        suites_distinctes: part de suites de quatre mots différentes dans les réponses, sur le
            premier million de mots.
        jaccard_max: plus forte ressemblance trouvée entre deux réponses comparables ; 0 quand
            aucune paire n'est proposée.
    """

    jeux: dict[str, int] = field(default_factory=dict)
    categories: dict[str, int] = field(default_factory=dict)
    mots: list[int] = field(default_factory=list)
    jetons: list[int] = field(default_factory=list)
    avec_contexte: int = 0
    suites_distinctes: float = 0.0
    jaccard_max: float = 0.0


def controler(
    source: str | Path | Dataset,
    tokenizer: PreTrainedTokenizerBase | None = None,
    max_length: int = 512,
    evaluation: str | Path | Dataset | None = None,
    processus: int = 2,
) -> Controle:
    """Contrôle un corpus et rend tout ce qu'il y a à corriger.

    Args:
        source: corpus livré, fichier, dépôt du hub ou ``datasets.Dataset``.
        tokenizer: compte les jetons et annonce les coupures à ``max_length`` ; sans lui, les
            longueurs se comptent en mots seulement.
        max_length: longueur, en jetons, au-delà de laquelle un exemple sera coupé.
        evaluation: corpus d'évaluation que celui-ci ne doit pas contenir.
        processus: processus de la première passe, pour un gros corpus.

    Returns:
        Le rapport : constats, mesures. Un fichier abîmé donne des constats, pas une exception.

    Raises:
        ErreurFabrique: fichier absent, vide ou d'un format inconnu.
    """
    chemin, lignes = ouvrir(source)
    with tempfile.TemporaryDirectory(prefix="fabrique-", ignore_cleanup_errors=True) as dossier:
        corpus, interruption = _poser(lignes, Path(dossier) / "corpus.arrow")
        if not len(corpus):
            raise interruption or ErreurFabrique(
                "aucun exemple", "Donnez un corpus d’au moins un exemple", chemin
            )
        vus = _examiner(corpus, tokenizer, max_length, processus)
        comparaison = _Comparaison(corpus, evaluation)
        for vu in _avec_barre(vus):
            comparaison.ajouter(vu)
        constats = [*comparaison.constats, *_ensemble(comparaison)]
    if interruption:
        constats.append(_constat_de(_en_defaut(interruption), len(corpus) + 1, interruption.ligne))
    constats.sort(key=lambda c: (c.rang is not None, c.rang or 0))
    return Controle(str(chemin), comparaison.forme, len(corpus), constats, comparaison.mesures)


# ---------------------------------------------------------------- poser le corpus sur le disque

_COLONNES = pyarrow.schema(
    [("rang", pyarrow.int64()), ("ligne", pyarrow.int64()), ("exemple", pyarrow.large_string())]
)


def _poser(lignes: Iterable[Ligne], chemin: Path) -> tuple[Dataset, ErreurFabrique | None]:
    """Le corpus en Arrow, sur le disque, et l'erreur qui a interrompu la lecture s'il y en a une."""
    exemples, interruption = lire_exemples(lignes), None
    with pyarrow.OSFile(str(chemin), "wb") as flux, pyarrow.ipc.new_stream(flux, _COLONNES) as ecrivain:
        while interruption is None:
            lot = []
            try:
                lot.extend(_en_rangee(exemple) for exemple in islice(exemples, 1000))
            except ErreurFabrique as cause:
                interruption = cause
            if not lot:
                break
            ecrivain.write_batch(pyarrow.RecordBatch.from_pylist(lot, schema=_COLONNES))
    return Dataset.from_file(str(chemin)), interruption


def _en_rangee(exemple: Exemple) -> dict:
    """Un exemple sous la forme d'une rangée : son contenu et ses défauts en JSON."""
    defauts = [asdict(defaut) for defaut in exemple.defauts]
    if exemple.erreur:
        defauts = [_en_defaut(exemple.erreur)]
    texte = json.dumps({"forme": exemple.forme, "contenu": exemple.contenu or {}, "defauts": defauts})
    return {"rang": exemple.rang, "ligne": exemple.ligne, "exemple": texte}


def _en_defaut(erreur: ErreurFabrique) -> dict:
    """Une erreur de lecture dite comme un défaut de structure."""
    return {
        "regle": "structure.illisible",
        "champ": erreur.champ or "",
        "message": erreur.message,
        "remede": erreur.remede,
    }


# ---------------------------------------------------------------- première passe : chacun seul


def _examiner(
    corpus: Dataset, tokenizer: PreTrainedTokenizerBase | None, max_length: int, processus: int
) -> Dataset:
    """Ce qu'on sait de chaque exemple sans regarder les autres : une rangée par exemple."""
    nombreux = len(corpus) > EXEMPLES_PAR_PROCESSUS
    with _barres_de_datasets(nombreux):
        return corpus.map(
            _examiner_un,
            fn_kwargs={"tokenizer": tokenizer, "max_length": max_length},
            remove_columns=["exemple"],
            num_proc=processus if nombreux and processus > 1 else None,
            desc="Examen des exemples",
        )


@contextmanager
def _barres_de_datasets(montrer: bool) -> Iterator[None]:
    """Tait les barres de ``datasets`` le temps d'un petit calcul."""
    parlait = datasets.are_progress_bars_disabled() is False
    if parlait and not montrer:
        datasets.disable_progress_bars()
    try:
        yield
    finally:
        if parlait:
            datasets.enable_progress_bars()


def _examiner_un(
    rangee: dict, tokenizer: PreTrainedTokenizerBase | None, max_length: int
) -> dict[str, object]:
    """Les constats d'un exemple, ses longueurs, et les résumés qui serviront à le comparer."""
    lu = json.loads(rangee["exemple"])
    contenu, situation = lu["contenu"], (rangee["rang"], rangee["ligne"])
    constats = [_constat_de(defaut, *situation) for defaut in lu["defauts"]]
    question = dire = ""
    if not constats:
        question, dire = demande(contenu), reponse(contenu)
        constats = [*_constats_du_texte(contenu, *situation)]
    jetons = _jetons(contenu, tokenizer) if tokenizer and not lu["defauts"] else 0
    if jetons > max_length:
        message = f"{jetons} jetons : la fin sera coupée à {max_length}"
        constats.append(Constat("longueur.coupe", ALERTE, *situation, None, dire[:60], message))
    constats += _constat_de_licence(contenu, *situation)
    return {
        "forme": lu["forme"],
        "constats": json.dumps([asdict(constat) for constat in constats]),
        **{c: str(contenu.get(c) or "") for c in ("id", "jeu", "categorie", "licence")},
        "contexte": bool(contenu.get("input")),
        "bon": not lu["defauts"],
        "mots": len(dire.split()),
        "jetons": jetons,
        "demande": normaliser(question)[:4096],
        "resume_demande": _resume(question),
        "resume_reponse": _resume(dire),
        "empreinte": crc32(normaliser(f"{question}\n{dire}").encode()),
    }


def _constats_du_texte(contenu: dict, rang: int, ligne: int) -> Iterator[Constat]:
    """Ce que les règles et le repérage des données personnelles trouvent dans chaque champ."""
    dits = [champ for champ, _ in textes(contenu)][-1:]
    for champ, texte in textes(contenu):
        for regle in regles.REGLES:
            if regle.reponse_seule and champ not in dits:
                continue
            for extrait in regle.trouver(texte):
                yield Constat(regle.nom, regle.gravite, rang, ligne, champ, extrait, regle.message)
        for regle, debut, fin in personnelles.reperer(texte):
            extrait = regles.entourer(texte[:debut] + f"[{regle.etiquette}]", debut, fin, 20)
            yield Constat(regle.nom, ERREUR, rang, ligne, champ, extrait, MESSAGE_PERSONNEL)


MESSAGE_PERSONNEL = (
    "une donnée personnelle : retirez-la ou pseudonymisez-la, un modèle récite ce qu’il a lu"
)


def _constat_de_licence(contenu: dict, rang: int, ligne: int) -> list[Constat]:
    """Une licence qui interdit de redistribuer, ou que nous ne connaissons pas."""
    licence = str(contenu.get("licence") or "")
    messages = {
        "fermee": (ERREUR, "cette licence interdit de redistribuer le corpus ou ce qui en est tiré"),
        "inconnue": (ALERTE, "licence inconnue de nos listes : lisez-la avant de redistribuer"),
    }
    avis = licences.juger(licence)
    if avis not in messages:
        return []
    gravite, message = messages[avis]
    return [Constat(f"licence.{avis}", gravite, rang, ligne, "licence", licence[:60], message)]


def _constat_de(defaut: dict, rang: int, ligne: int | None) -> Constat:
    message = f"{defaut['message']}. {defaut['remede']}"
    return Constat(defaut["regle"], ERREUR, rang, ligne, defaut["champ"] or None, "", message)


def _jetons(contenu: dict, tokenizer: PreTrainedTokenizerBase) -> int:
    """Les jetons de tous les textes de l'exemple, hors gabarit de conversation."""
    return sum(len(coder(neutraliser(texte, tokenizer), tokenizer)) for _, texte in textes(contenu))


def _resume(texte: str) -> list[int]:
    """La signature d'un texte assez long pour être comparé ; rien sinon."""
    return signature(texte).tolist() if len(texte.split()) >= MOTS_COMPARABLES else []


# ---------------------------------------------------------------- seconde passe : les uns aux autres


def _avec_barre(vus: Dataset) -> Iterator[dict]:
    """Les rangées, derrière une barre de progression quand elles sont nombreuses."""
    barre = Barre(len(vus), "Comparaison") if len(vus) > EXEMPLES_PAR_PROCESSUS else None
    for rang, vu in enumerate(vus, 1):
        yield vu
        if barre and rang % 500 == 0:
            barre.avancer(500)
    if barre:
        barre.finir()


class _Comparaison:
    """Ce qu'on retient des exemples déjà vus, pour y reconnaître les suivants."""

    def __init__(self, corpus: Dataset, evaluation: str | Path | Dataset | None) -> None:
        self.corpus, self.forme = corpus, ""
        self.constats: list[Constat] = []
        self.mesures, self.jeux, self.categories = Mesures(), Counter(), Counter()
        self.licences: Counter[str] = Counter()
        self.variete = _Variete()
        self.lignes: dict[int, tuple[int, str]] = {}
        self.identiques: dict[int, int] = {}
        self.demandes: dict[int, int] = {}
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
        self.variete.ajouter(reponse(contenu))
        self._identifiant(vu)
        if not self._identique(vu):
            self._proche(vu, contenu)
        if self.evaluation:
            self.constats += self.evaluation.constats(vu, contenu)

    def _compter(self, vu: dict) -> None:
        self.jeux[vu["jeu"] or "sans jeu"] += 1
        self.licences[licences.juger(vu["licence"])] += 1
        if vu["categorie"]:
            self.categories[vu["categorie"]] += 1
        self.mesures.mots.append(vu["mots"])
        self.mesures.jetons.append(vu["jetons"])
        self.mesures.avec_contexte += vu["contexte"]

    def _identifiant(self, vu: dict) -> None:
        if not vu["id"]:
            return
        premier = self.identifiants.setdefault(vu["id"], vu["ligne"])
        if premier != vu["ligne"]:
            message = f"cet identifiant est déjà celui de la ligne {premier} : donnez-en un autre"
            self._noter("structure.identifiant", ERREUR, vu, "id", vu["id"][:60], message)

    def _identique(self, vu: dict) -> bool:
        """Vrai, et dit, si le même exemple ou la même demande a déjà été vu."""
        tout = self.identiques.setdefault(vu["empreinte"], vu["rang"])
        meme_demande = self.demandes.setdefault(hash(vu["demande"]), vu["rang"])
        if tout != vu["rang"]:
            if not self._passe_d_un_jeu_a_l_autre(vu, tout, "mêmes demande et réponse qu’à"):
                message = f"le même exemple que ligne {self.lignes[tout][0]} : n’en gardez qu’un"
                self._noter("doublon.exact", ERREUR, vu, None, vu["demande"][:60], message)
            return True
        if vu["demande"] and meme_demande != vu["rang"]:
            if not self._passe_d_un_jeu_a_l_autre(vu, meme_demande, "même demande qu’à"):
                message = (
                    f"la même demande qu’à la ligne {self.lignes[meme_demande][0]}, avec une autre "
                    "réponse : est-ce voulu ?"
                )
                self._noter("doublon.demande", ALERTE, vu, None, vu["demande"][:60], message)
        return False

    def _proche(self, vu: dict, contenu: dict) -> None:
        """Compare la réponse, puis la demande, à celles qui leur ressemblent le plus."""
        dire, question = reponse(contenu), demande(contenu)
        if vu["resume_reponse"]:
            voisine = self.reponses.chercher(dire, vu["resume_reponse"])
            self.reponses.ajouter(vu["rang"], vu["resume_reponse"])
            if voisine:
                self._noter_voisine(vu, voisine, dire)
        if vu["resume_demande"]:
            voisine = self.questions.chercher(question, vu["resume_demande"])
            self.questions.ajouter(vu["rang"], vu["resume_demande"])
            if voisine:
                self._passe_d_un_jeu_a_l_autre(vu, voisine.cle, "demande très proche de celle de")

    def _noter_voisine(self, vu: dict, voisine: Ressemblance, dire: str) -> None:
        self.mesures.jaccard_max = max(self.mesures.jaccard_max, voisine.jaccard)
        if self._passe_d_un_jeu_a_l_autre(vu, voisine.cle, "réponse très proche de celle de"):
            return
        ligne, ressemblance = self.lignes[voisine.cle][0], f"{voisine.jaccard:.2f}".replace(".", ",")
        message = f"la réponse ressemble à celle de la ligne {ligne} (Jaccard {ressemblance})"
        self._noter("doublon.proche", ALERTE, vu, "output", dire[:60], message)

    def _passe_d_un_jeu_a_l_autre(self, vu: dict, rang: int, quoi: str) -> bool:
        """Dit la contamination : ce qu'on apprend ne doit pas être ce sur quoi on se juge."""
        ligne, jeu = self.lignes[rang]
        if not vu["jeu"] or not jeu or vu["jeu"] == jeu:
            return False
        message = (
            f"{quoi} la ligne {ligne}, qui est dans le jeu « {jeu} » et celle-ci dans « {vu['jeu']} » : "
            "la mesure serait faussée, retirez l’un des deux"
        )
        self._noter("contamination.jeux", ERREUR, vu, None, vu["demande"][:60], message)
        return True

    def _noter(self, regle, gravite, vu: dict, champ, extrait: str, message: str) -> None:
        self.constats.append(Constat(regle, gravite, vu["rang"], vu["ligne"], champ, extrait, message))


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
        self.demandes = {normaliser(demande(e)): rang for rang, e in enumerate(self.exemples)}
        self.reponses = Index(SEUIL_PROCHE, lambda rang: reponse(self.exemples[rang]))
        for rang, exemple in enumerate(self.exemples):
            if resume := _resume(reponse(exemple)):
                self.reponses.ajouter(rang, resume)

    def constats(self, vu: dict, contenu: dict) -> Iterator[Constat]:
        """Les constats de contamination d'un exemple."""
        rang = self.demandes.get(normaliser(demande(contenu)))
        quoi = "la demande"
        if rang is None and vu["resume_reponse"]:
            quoi, dire = "la réponse", reponse(contenu)
            voisine = self.reponses.chercher(dire, vu["resume_reponse"])
            rang = voisine.cle if voisine else None
        if rang is not None:
            message = f"{quoi} est dans le corpus d’évaluation (exemple {rang + 1}) : retirez-la d’ici"
            yield Constat(
                "contamination.evaluation",
                ERREUR,
                vu["rang"],
                vu["ligne"],
                None,
                vu["demande"][:60],
                message,
            )


def _ensemble(vu: _Comparaison) -> Iterator[Constat]:
    """Ce qui se dit du corpus entier ; complète aussi les mesures."""
    mesures = vu.mesures
    mesures.jeux = dict(vu.jeux) if set(vu.jeux) != {"sans jeu"} else {}
    mesures.categories, mesures.suites_distinctes = dict(vu.categories), vu.variete.part
    total = sum(vu.jeux.values())
    if vu.licences["absente"]:
        message = f"{vu.licences['absente']} exemples sur {total} n’ont pas de licence : dites laquelle"
        yield Constat("licence.absente", ALERTE, None, None, "licence", "", message)
    for categorie, nombre in vu.categories.items():
        part = nombre / total
        if part > PART_DESEQUILIBRE and part > 3 / len(vu.categories):
            message = f"la catégorie « {categorie} » fait {part:.0%} du corpus : les autres s’effacent"
            yield Constat("categorie.desequilibre", ALERTE, None, None, "categorie", categorie, message)
