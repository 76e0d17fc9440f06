"""Faire passer la même épreuve à plusieurs modèles, et dire lequel est meilleur, si on le peut.

Un réglage fin apprend d'abord une forme : finir ses phrases, écrire en français administratif.
Cela suffit à gagner des mots communs avec n'importe quelle référence. Chaque mesure est donc
refaite avec la référence d'une *autre* question, son témoin : un gain qui s'y retrouve entier ne
doit rien à la question posée, et ne fait dire « meilleur » de personne.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from datasets import Dataset
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from fabrique.corpus import lire_corpus
from fabrique.corpus.formats import demande, reponse
from fabrique.entrainement import Reglages, entrainer
from fabrique.evaluation.incertitude import (
    SEUIL,
    Intervalle,
    Releve,
    holm,
    intervalle,
    intervalle_de_l_ecart,
    intervalle_du_gain,
    moyenne,
    p_appariee,
    plus_petite_difference,
    releve,
)
from fabrique.evaluation.journal import Journal, Reponse, chronometrer
from fabrique.evaluation.mesures import pertes, tailles_des_reponses
from fabrique.evaluation.metriques import (
    COMPARAISONS,
    MESURES,
    citations_exactes,
    d_ensemble,
    distinct,
    francais,
    mots,
    precision_des_citations,
    rappel_des_citations,
    respecte,
)
from fabrique.evaluation.style import mesurer_style
from fabrique.modeles.generation import generer_par_lots
from fabrique.modeles.memoire import memoire
from fabrique.socle.erreurs import ErreurFabrique
from fabrique.socle.nombres import en_francais
from fabrique.socle.suivi import Barre

#: Combien d'autres questions prêtent leur référence au témoin.
TEMOINS = 3
#: D'une réponse et de sa référence, ce qu'on a trouvé et ce qu'il y avait à trouver.
Comptage: TypeAlias = Callable[[str, str], tuple[float, float]]


@dataclass(frozen=True)
class Evaluation:
    """Un modèle devant un corpus : ses réponses, et toutes les mesures, question par question.

    Args:
        nom: sous quel nom le montrer.
        exemples: question, référence, réponse, et si elle s'est close par le jeton de fin.
        releves: nom de la mesure → ce qu'elle a compté, dans l'ordre des exemples.
        temoins: la même mesure, diminuée de ce qu'elle vaut avec la référence d'une autre
            question : ce que la réponse doit à la sienne.
        ensemble: chrF et BLEU de tout le corpus, longueur des références.
        secondes: par réponse, le calcul étant fait par lots.
        memoire: octets des poids en mémoire.
        disque: octets des poids sur le disque ; 0 si on ne les connaît pas.
        reglages: ceux de la génération.
        appris: exemples appris, sur une courbe d'apprentissage ; 0 ailleurs.
    """

    nom: str
    exemples: list[dict]
    releves: dict[str, Releve]
    temoins: dict[str, Releve]
    ensemble: dict[str, float]
    secondes: float
    memoire: int
    disque: int
    reglages: dict
    appris: int = 0

    def valeur(self, mesure: str) -> float:
        """La valeur d'une mesure, toutes questions confondues."""
        return float(self.releves[mesure].valeur())

    def intervalle(self, mesure: str) -> Intervalle:
        """Son intervalle à 95 %."""
        return intervalle(self.releves[mesure])

    def en_dictionnaire(self) -> dict:
        """Tout, prêt pour du JSON ; ``evaluation_de`` le relit."""
        contenu = {champ: getattr(self, champ) for champ in self.__dataclass_fields__}
        for champ in ("releves", "temoins"):
            contenu[champ] = {nom: _en_listes(r) for nom, r in contenu[champ].items()}
        return contenu

    def __str__(self) -> str:
        lignes = [
            f"{self.nom} : {len(self.exemples)} questions, {en_francais(self.secondes, 2)}\u00a0s par réponse"
        ]
        for nom in self.releves:
            mesure, bornes = MESURES[nom], self.intervalle(nom)
            lignes.append(
                f"  {mesure.titre:<32}{mesure.ecrire(self.valeur(nom)):>10}"
                f"   (à 95\u00a0% : {mesure.ecrire(bornes.bas)} à {mesure.ecrire(bornes.haut)})"
            )
        return "\n".join(lignes)


def _en_listes(lu: Releve) -> dict:
    return {c: v.tolist() if isinstance(v, np.ndarray) else v for c, v in vars(lu).items()}


def evaluation_de(contenu: Mapping) -> Evaluation:
    """Relit une évaluation écrite en JSON."""
    relus = {
        champ: {
            nom: Releve(
                np.array(r["numerateurs"]), np.array(r["denominateurs"]), r["exponentielle"]
            )
            for nom, r in contenu[champ].items()
        }
        for champ in ("releves", "temoins")
    }
    return Evaluation(**{**contenu, **relus})


# ---------------------------------------------------------------- évaluer


def evaluer(
    modele: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    corpus: Dataset,
    *,
    nom: str = "modèle",
    adaptateur: bool = True,
    montres: Sequence[dict] = (),
    parties: Sequence[str] = (),
    fiches: Mapping[str, str] | None = None,
    max_new_tokens: int = 220,
    cutoff_len: int = 1024,
    lot: int = 32,
    disque: int = 0,
    journal: Journal | None = None,
) -> Evaluation:
    """Fait répondre un modèle à des questions jamais apprises, et mesure tout.

    Args:
        corpus: les questions et leurs références.
        adaptateur: ``False`` interroge la base.
        montres: exemples écrits dans la demande, avant la question (*few-shot*).
        parties: expressions régulières qu'une réponse doit contenir (mesure « format »).
        fiches: identifiant → texte, pour vérifier les citations ; par défaut, les fiches livrées,
            si une réponse en cite.
        max_new_tokens: longueur maximale d'une réponse, en jetons.
        cutoff_len: au-delà, la demande et sa référence sont coupées pour les pertes.
        lot: combien de questions avancent ensemble.
        disque: octets des poids sur le disque, pour le tableau.
        journal: où garder les réponses, pour reprendre après une interruption.

    Raises:
        ErreurFabrique: corpus vide, ou exemples montrés devant des conversations.
    """
    exemples = avec_exemples(list(corpus), montres)
    if not exemples:
        raise ErreurFabrique("il n’y a aucune question à poser", "Donnez un corpus non vide")
    options = {"adaptateur": adaptateur, "max_new_tokens": max_new_tokens, "lot": lot}
    obtenues, secondes = faire_repondre(modele, tokenizer, exemples, nom, options, journal)
    textes, references = [texte for texte, _ in obtenues], [reponse(e) for e in exemples]
    perdre = partial(pertes, modele, tokenizer, adaptateur=adaptateur, cutoff_len=cutoff_len)
    compter = partial(tailles_des_reponses, tokenizer, cutoff_len=cutoff_len)
    releves, temoins = _mesurer_les_mots(textes, references)
    nats, nats_propres = _mesurer_les_pertes(perdre, compter, exemples)
    formes = _mesurer_les_formes(obtenues, references, parties, fiches)
    return Evaluation(
        nom=nom,
        exemples=copies(corpus, obtenues),
        releves=ranger(releves | nats | formes),
        temoins=ranger(temoins | nats_propres),
        ensemble=d_ensemble(textes, references)
        | {"longueur_des_references": float(np.mean([len(mots(r)) for r in references]))},
        secondes=secondes / len(exemples),
        memoire=sum(ligne.octets for ligne in memoire(modele)),
        disque=disque,
        reglages={
            "exemples_montres": len(montres),
            "max_new_tokens": max_new_tokens,
            "cutoff_len": cutoff_len,
            "repetition_penalty": 1.0,
            "sans_repeter": 0,
            "lot": lot,
        },
    )


def copies(corpus: Iterable[dict], obtenues: Sequence[Reponse]) -> list[dict]:
    """Chaque question, sa référence et sa réponse, telles que le compte rendu les montre."""
    return [
        {
            "id": e.get("id") or str(rang),
            "question": demande(e),
            "reference": reponse(e),
            "reponse": texte,
            "finie": finie,
        }
        for rang, (e, (texte, finie)) in enumerate(zip(corpus, obtenues, strict=True), 1)
    ]


def ranger(releves: dict[str, Releve]) -> dict[str, Releve]:
    """Dans l'ordre du catalogue, sans ce qui n'a rien trouvé à compter."""
    return {n: releves[n] for n in MESURES if n in releves and releves[n].denominateurs.any()}


def avec_exemples(exemples: list[dict], montres: Sequence[dict]) -> list[dict]:
    """Les mêmes demandes, précédées d'exemples de ce qu'on attend (*few-shot*).

    Source : Brown et al., 2020 (arXiv:2005.14165).
    """
    if not montres:
        return exemples
    if "messages" in exemples[0]:
        raise ErreurFabrique(
            "les exemples montrés se placent devant une instruction, pas devant une conversation",
            "Convertissez le corpus (« fabrique corpus convertir … --format alpaca »)",
        )
    debut = "".join(f"Question : {demande(e)}\nRéponse : {reponse(e)}\n\n" for e in montres)
    return [e | {"instruction": f"{debut}Question : {e['instruction']}"} for e in exemples]


def choisir_exemples(corpus: Dataset, combien: int) -> list[dict]:
    """Des exemples à montrer : les plus courts, un par catégorie, pour laisser place à la réponse."""
    par_longueur = sorted(corpus, key=lambda e: len(demande(e)) + len(reponse(e)))
    premiers = {e["categorie"]: e for e in reversed(par_longueur)}
    return sorted(premiers.values(), key=par_longueur.index)[:combien]


def faire_repondre(
    modele: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    exemples: list[dict],
    nom: str,
    options: dict,
    journal: Journal | None,
    grammaires: Sequence[str] = (),
) -> tuple[list[Reponse], float]:
    """Les réponses, dans l'ordre, et leurs secondes ; les demandes de même longueur avancent ensemble.

    Args:
        nom: celui du modèle, montré pendant l'attente et gardé dans le journal.
        options: celles de ``generer_par_lots``, dont ``lot``.
        journal: où garder les réponses, pour reprendre après une interruption.
        grammaires: une par exemple ; aucune n'impose rien.
    """
    ordre = sorted(range(len(exemples)), key=lambda rang: len(demande(exemples[rang])))
    obtenues: dict[int, Reponse] = {}
    duree, barre = 0.0, Barre(len(exemples), f"Réponses ({nom})")
    for debut in range(0, len(ordre), options["lot"]):
        rangs = ordre[debut : debut + options["lot"]]
        posees = [exemples[rang] for rang in rangs]
        reglages = dict(options)
        if grammaires:
            reglages["grammaires"] = [grammaires[rang] for rang in rangs]
        generer = partial(generer_par_lots, modele, tokenizer, posees, **reglages)
        if journal:
            reponses, secondes = journal.repondre((nom, posees, reglages), generer)
        else:
            reponses, secondes = chronometrer(generer)
        obtenues |= zip(rangs, reponses, strict=True)
        duree += secondes
        barre.avancer(len(obtenues))
    barre.finir()
    return [obtenues[rang] for rang in range(len(exemples))], duree


def decalages(questions: int) -> list[int]:
    """De combien décaler les références : loin, pour tomber sur un autre sujet ; jamais de zéro."""
    return sorted({questions * part // (TEMOINS + 1) for part in range(1, TEMOINS + 1)} - {0})


def _mesurer_les_mots(
    textes: list[str], references: list[str]
) -> tuple[dict[str, Releve], dict[str, Releve]]:
    """Les mesures de la réponse contre sa référence, et leurs témoins."""
    compter = {
        **{nom: _en_compte(mesure) for nom, mesure in COMPARAISONS.items()},
        "citations_precision": precision_des_citations,
        "citations_rappel": rappel_des_citations,
    }
    releves = {nom: _comparer(f, textes, references) for nom, f in compter.items()}
    autres = [references[pas:] + references[:pas] for pas in decalages(len(textes))]
    temoins = {}
    for nom, f in compter.items() if autres else ():
        ailleurs = np.mean(
            [_comparer(f, textes, rangees).numerateurs for rangees in autres], axis=0
        )
        temoins[nom] = replace(releves[nom], numerateurs=releves[nom].numerateurs - ailleurs)
    return releves, temoins


def _en_compte(mesure: Callable[[str, str], float]) -> Comptage:
    return lambda texte, attendue: (mesure(texte, attendue), 1)


def _comparer(compter: Comptage, textes: list[str], references: list[str]) -> Releve:
    return releve([compter(t, r) for t, r in zip(textes, references, strict=True)])


def _mesurer_les_pertes(
    perdre: Callable[[list[dict]], np.ndarray],
    compter: Callable[[list[dict]], tuple[np.ndarray, np.ndarray]],
    exemples: list[dict],
) -> tuple[dict[str, Releve], dict[str, Releve]]:
    """Perplexité et bits par octet des références ; leur témoin pose la question d'un autre.

    Une référence que la coupure a toute emportée compte zéro jeton : elle ne pèse nulle part.
    """
    jetons, octets = compter(exemples)
    nats = np.where(jetons > 0, perdre(exemples) * jetons, 0)
    releves = {
        "perplexite": Releve(nats, jetons, exponentielle=True),
        "bits_par_octet": Releve(nats / np.log(2), octets),
    }
    pas = len(exemples) // 2
    if not pas or "messages" in exemples[0]:
        return releves, {}
    demandes = [{c: e.get(c) for c in ("instruction", "input", "systeme")} for e in exemples]
    ailleurs = [e | d for e, d in zip(exemples, demandes[pas:] + demandes[:pas], strict=True)]
    lues = (jetons > 0) & (compter(ailleurs)[0] > 0)
    dus = np.where(lues, perdre(ailleurs) * jetons - nats, 0)
    return releves, {
        "perplexite": Releve(dus, jetons * lues),
        "bits_par_octet": Releve(dus / np.log(2), octets * lues),
    }


def _mesurer_les_formes(
    obtenues: list[tuple[str, bool]],
    references: list[str],
    parties: Sequence[str],
    fiches: Mapping[str, str] | None,
) -> dict[str, Releve]:
    """Ce qui se voit sans référence : fin, langue, redites, longueur, format, style, citations."""
    textes = [texte for texte, _ in obtenues]
    formes = {
        "fin": moyenne([finie for _, finie in obtenues]),
        "francais": releve([francais(texte) for texte in textes]),
        "distinct_2": releve([distinct(texte) for texte in textes]),
        "longueur": moyenne([len(mots(texte)) for texte in textes]),
    }
    if parties:
        formes["format"] = moyenne([respecte(texte, parties) for texte in textes])
    if any("ſ" in attendue for attendue in references):
        styles = [mesurer_style([texte]) for texte in textes]
        formes["s_long"] = moyenne([style.part_s_long for style in styles])
        formes["graphies"] = moyenne([style.graphies[0] for style in styles])
    if any("[fiche-" in texte for texte in textes):
        fiches = fiches or {f["id"]: f["texte"] for f in lire_corpus("fiches")}
        formes["citations_exactes"] = releve([citations_exactes(t, fiches) for t in textes])
    return formes


# ---------------------------------------------------------------- comparer

MEILLEUR, MOINS_BON, FORME_SEULE = "meilleur", "moins bon", "forme seule"
PLUS_HAUT, PLUS_BAS, INDECIS = "plus haut", "plus bas", "indécis"


@dataclass(frozen=True)
class Ecart:
    """Ce qui sépare deux modèles sur une mesure.

    Args:
        ecart: ``affine - base``.
        ic95: son intervalle à 95 %, questions retirées ensemble pour les deux modèles.
        p: probabilité d'un tel écart si les deux se valaient ; ``p_corrigee`` tient compte du
            nombre de mesures.
        gain: écart rapporté à la base, et son intervalle ; rien quand la base est nulle.
        temoin: ce que l'écart doit à la question posée, et son intervalle (toujours compté dans
            le sens du mieux) ; rien pour une mesure de forme.
        detectable: la plus petite différence qu'autant de questions montreraient.
        verdict: « meilleur », « moins bon », « forme seule » (le gain ne doit rien à la question),
            « plus haut » ou « plus bas » (mesures de forme), « indécis ».
    """

    nom: str
    base: float
    affine: float
    ecart: float
    ic95: tuple[float, float]
    p: float
    p_corrigee: float
    gain: float | None
    gain_ic95: tuple[float, float] | None
    temoin: float | None
    temoin_ic95: tuple[float, float] | None
    detectable: float
    verdict: str

    @property
    def meilleur(self) -> bool:
        """Vrai seulement si l'on peut le dire."""
        return self.verdict == MEILLEUR

    def en_dictionnaire(self) -> dict:
        """Les clés du contrat, puis le détail."""
        return asdict(self) | {"meilleur": self.meilleur}


@dataclass(frozen=True)
class _Essai:
    """Une mesure essayée, avant correction : l'écart et son témoin."""

    nom: str
    bornes: Intervalle
    p: float
    temoin: Intervalle | None
    p_avec_temoin: float


def comparer(base: Evaluation, affine: Evaluation, graine: int = 0) -> list[Ecart]:
    """Compare deux modèles sur les mêmes questions, mesure par mesure.

    « Meilleur » demande tout à la fois : un intervalle à 95 % qui exclut zéro, un p inférieur à
    5 % après correction de Holm, et la même chose du témoin. Le p du couple est le plus grand
    des deux : il faut que les deux tests rejettent (Berger, 1982).

    Raises:
        ErreurFabrique: les deux modèles n'ont pas répondu aux mêmes questions.
    """
    if _questions(base) != _questions(affine):
        raise ErreurFabrique(
            f"« {base.nom} » et « {affine.nom} » n’ont pas répondu aux mêmes questions",
            "Évaluez les deux sur le même corpus",
        )
    essais = [_essayer(base, affine, nom, graine) for nom in base.releves if nom in affine.releves]
    corriges = holm([essai.p for essai in essais])
    avec_temoin = holm([essai.p_avec_temoin for essai in essais])
    return [
        _conclure(base, affine, essai, p, p_temoin, graine)
        for essai, p, p_temoin in zip(essais, corriges, avec_temoin, strict=True)
    ]


def _questions(evaluation: Evaluation) -> list[tuple[str, str]]:
    return [(e["question"], e["reference"]) for e in evaluation.exemples]


def _essayer(base: Evaluation, affine: Evaluation, nom: str, graine: int) -> _Essai:
    avant, apres = base.releves[nom], affine.releves[nom]
    p, temoin, p_temoin = p_appariee(avant, apres, graine), None, 0.0
    if nom in base.temoins and nom in affine.temoins:
        temoin = intervalle_de_l_ecart(base.temoins[nom], affine.temoins[nom], graine)
        p_temoin = p_appariee(base.temoins[nom], affine.temoins[nom], graine)
    return _Essai(nom, intervalle_de_l_ecart(avant, apres, graine), p, temoin, max(p, p_temoin))


def _conclure(
    base: Evaluation, affine: Evaluation, essai: _Essai, p: float, p_temoin: float, graine: int
) -> Ecart:
    nom, avant, apres = essai.nom, base.valeur(essai.nom), affine.valeur(essai.nom)
    gain = intervalle_du_gain(base.releves[nom], affine.releves[nom], graine) if avant > 0 else None
    questions = len(base.exemples)
    ecart_type = essai.bornes.erreur_type * np.sqrt(questions)
    propre = None
    if essai.temoin:
        propre = float(affine.temoins[nom].valeur() - base.temoins[nom].valeur())
    return Ecart(
        nom=nom,
        base=avant,
        affine=apres,
        ecart=apres - avant,
        ic95=essai.bornes.bornes,
        p=essai.p,
        p_corrigee=p,
        gain=apres / avant - 1 if gain else None,
        gain_ic95=gain.bornes if gain else None,
        temoin=propre,
        temoin_ic95=essai.temoin.bornes if essai.temoin else None,
        detectable=plus_petite_difference(ecart_type, questions),
        verdict=_juger(essai, apres - avant, p, p_temoin),
    )


def _juger(essai: _Essai, ecart: float, p: float, p_temoin: float) -> str:
    """Ce qu'on a le droit de dire d'un écart."""
    mesure = MESURES[essai.nom]
    if not essai.bornes.exclut_zero or p >= SEUIL:
        return INDECIS
    if not mesure.qualite:
        return PLUS_HAUT if ecart > 0 else PLUS_BAS
    if ecart * mesure.sens < 0:
        return MOINS_BON
    propre = essai.temoin is not None and essai.temoin.bas > 0 and p_temoin < SEUIL
    return MEILLEUR if propre else FORME_SEULE


# ---------------------------------------------------------------- plusieurs modèles, plusieurs tailles


def tableau(evaluations: Sequence[Evaluation]) -> Iterator[dict]:
    """Un modèle par ligne : chaque mesure et son intervalle, le temps, la mémoire, le disque."""
    for evaluation in evaluations:
        bornes = {nom: evaluation.intervalle(nom) for nom in evaluation.releves}
        yield {
            "nom": evaluation.nom,
            "mesures": {
                nom: {"valeur": evaluation.valeur(nom), "ic95": (b.bas, b.haut)}
                for nom, b in bornes.items()
            },
            "secondes": evaluation.secondes,
            "memoire": evaluation.memoire,
            "disque": evaluation.disque,
        }


#: Tailles de la courbe d'apprentissage ; la dernière est tout le corpus.
TAILLES = (50, 100, 200, 500, None)


def courbe_d_apprentissage(
    modele: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    appris: Dataset,
    test: Dataset,
    reglages: Reglages,
    sortie: str | Path,
    tailles: Sequence[int | None] = TAILLES,
    **options: Any,
) -> list[Evaluation]:
    """Affine sur de plus en plus d'exemples, et évalue chaque fois : où le gain s'essouffle-t-il ?

    Les petits jeux sont contenus dans les grands. Relancée, la fonction reprend où elle en était.

    Args:
        appris: les exemples à apprendre ; ``None`` dans ``tailles`` les prend tous.
        sortie: dossier des adaptateurs, un par taille.
        options: celles d'``evaluer``.
    """
    melange = appris.shuffle(seed=reglages.graine)
    combien = sorted({min(taille or len(melange), len(melange)) for taille in tailles})
    evaluations = []
    for nombre in combien:
        resultat = entrainer(
            modele, tokenizer, melange.select(range(nombre)), reglages, Path(sortie) / str(nombre)
        )
        nom = f"{nombre} exemples"
        mesure = evaluer(resultat.modele, tokenizer, test, nom=nom, **options)
        evaluations.append(replace(mesure, appris=nombre))
    return evaluations


def octets_des_poids(*dossiers: str | Path) -> int:
    """La place des poids sur le disque ; 0 pour un modèle qui n'est pas dans un dossier."""
    return sum(f.stat().st_size for d in dossiers for f in Path(d).glob("*.safetensors"))
