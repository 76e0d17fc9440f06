"""Les mesures d'une réponse : ce qu'elle dit, ce qu'elle cite, la forme qu'elle a.

Chaque mesure regarde une réponse et rend un nombre, ou deux comptes dont on fera le rapport
(« trois citations exactes sur quatre »). Aucune ne suffit : le carnet 04 montre, pour chacune,
un cas où elle ment.
"""

from __future__ import annotations

import re
import string
import unicodedata
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from types import ModuleType
from typing import Any

from rouge_score.rouge_scorer import RougeScorer
from rouge_score.tokenizers import Tokenizer
from sacrebleu.metrics import BLEU, CHRF

from fabrique.corpus.regles import langue as reconnaitre_langue
from fabrique.corpus.selection import citations, sources_citees
from fabrique.socle.erreurs import ErreurFabrique
from fabrique.socle.nombres import en_francais, en_pourcent

# ---------------------------------------------------------------- une seule écriture

#: Ce qui se voit à peine : les apostrophes, les traits d'union, le signe moins.
_SIGNES = str.maketrans(
    dict.fromkeys("‘’ʼ＇", "'")
    | dict.fromkeys("‐‑−", "-")
    | dict.fromkeys("\u00ad\u200b\u2060\ufeff", "")
)
_LIGATURES = {"œ": "oe", "æ": "ae"}
#: « –5 », le tiret tenant lieu de signe moins ; « 16–18 » n'en est pas un.
_TIRET_MOINS = re.compile(r"(?<!\w)–(?=\d)")
#: « 1 500 » et « 12 000 000 », mais ni « 01 23 45 » ni « 1,5 100 ».
_MILLIERS = re.compile(r"(?<![\d.,])\d{1,3}(?: \d{3})+(?!\d)")
#: « 1.5 », « 0.125 », « 1500.250 » : le point y est une virgule à coup sûr. « 1.500 » et « 1,500 »
#: peuvent valoir mille cinq cents, « 12.05.2026 » est une date : ils restent tels quels.
_POINT_DECIMAL = re.compile(r"(?<![\d.,])(0|\d{4,}|\d+(?=\.(?!\d{3}(?!\d))))\.(\d+)(?![.,]?\d)")
_UNITE_COLLEE = re.compile(r"(?<=\d)(?=[%‰€$£°])")


def uniformiser(texte: str) -> str:
    """Le même texte, dans la seule écriture que comparent toutes les mesures.

    Ne change que ce qui ne change pas le sens : accents composés (NFC), apostrophes, espaces,
    traits d'union, ligatures, « 1 500 » pour « 1500 », « 1.5 » pour « 1,5 », « 5% » pour « 5 % ».
    Les nombres, leurs signes et leurs unités restent : 10,50 € n'est pas 1050 €.
    """
    delie = re.sub("[œæŒÆ]", _delier, unicodedata.normalize("NFD", texte).translate(_SIGNES))
    compose = " ".join(unicodedata.normalize("NFC", delie).split())
    groupe = _MILLIERS.sub(lambda lu: lu[0].replace(" ", ""), _TIRET_MOINS.sub("-", compose))
    return _UNITE_COLLEE.sub(" ", _POINT_DECIMAL.sub(r"\1,\2", groupe))


def _delier(ligature: re.Match) -> str:
    """« œ » en « oe », « Œ » en « Oe », ou en « OE » dans un mot en capitales."""
    lettres = _LIGATURES[ligature[0].lower()]
    if ligature[0].islower():
        return lettres
    suite = ligature.string[ligature.end() : ligature.end() + 1]
    return lettres.upper() if suite.isupper() else lettres.capitalize()


# ---------------------------------------------------------------- les mots d'une réponse

_ARTICLES_ANGLAIS = re.compile(r"\b(?:an?|the)\b")
_ARTICLES_FRANCAIS = re.compile(r"\b(?:les?|la|une?|des?|du)\b")
#: « l’eau » perd son article élidé ; « qu’il » se sépare ; « aujourd’hui » reste un mot.
_ARTICLE_ELIDE = re.compile(r"\b[ld]'(?=\w)")
_ELISION = re.compile(r"\b([cjmnst]|\w*qu)'(?=\w)")
#: Un nombre et son signe ; une unité ; « plus de » ou « moins de » devant un nombre.
_NOMBRE = r"(?:(?<!\w)-)?\d+(?:[.,]\d+)*"
_UNITE = r"[%‰€$£]|(?<=\d )°|[<>≤≥](?= ?\d)"
_NOMBRES_ET_UNITES = re.compile(f"({_NOMBRE}|{_UNITE})")
#: « m² », « km³ », « CO₂ ».
_APRES_UNE_LETTRE = re.compile(r"(?<=[^\W\d_])[²³₀-₉]")
#: « 9h30 » et « 12,5kg » sont des mots.
_MOTS = re.compile(rf"(?:{_NOMBRE}|[^\W\d_])+|{_UNITE}")


def mots_cles(texte: str, langue: str = "fr") -> list[str]:
    """Les mots d'une réponse, ramenés à ce qui compte : ni casse, ni ponctuation, ni articles.

    En anglais, c'est la normalisation du script officiel de SQuAD. En français, s'y ajoutent
    les élisions (« l’eau » vaut « eau »), les accents (« État » vaut « Etat ») et les ligatures ;
    « de », « du », « des » sont tenus pour des articles. Un nombre garde son signe, sa virgule et
    son unité.

    Source : Rajpurkar et al., 2016 (SQuAD, arXiv:1606.05250) ; d'Hoffschmidt et al., 2020 (FQuAD,
    arXiv:2002.06071) pour le principe d'articles français.
    """
    if langue == "en":
        nus = "".join(signe for signe in texte.lower() if signe not in string.punctuation)
        return _ARTICLES_ANGLAIS.sub(" ", nus).split()
    texte = uniformiser(texte).lower()
    separe = _ELISION.sub(r"\1 ", _ARTICLE_ELIDE.sub("", texte))
    # Aux rangs impairs, les nombres et les unités : tout ce qui porte un chiffre reste tel quel.
    morceaux = _NOMBRES_ET_UNITES.split(_ARTICLES_FRANCAIS.sub(" ", separe))
    for rang, morceau in enumerate(morceaux):
        if rang % 2 == 0:
            morceaux[rang] = _sans_signes(morceau)
        elif not morceau[-1].isdigit():
            morceaux[rang] = f" {morceau} "
    return "".join(morceaux).split()


def _sans_signes(texte: str) -> str:
    """Sans accents ni ponctuation ; contre un nombre, la ponctuation devient un blanc.

    « 10² » et « ½ » ne deviennent pas « 102 » et « 12 » ; « m² » vaut « m2 », et « CO₂ » « CO2 ».
    """
    texte = _APRES_UNE_LETTRE.sub(lambda p: unicodedata.normalize("NFKD", p[0]), texte)
    nu = "".join(
        signe if unicodedata.category(signe) == "No" else unicodedata.normalize("NFKD", signe)
        for signe in re.sub(r"^[^\w\s]+|[^\w\s]+$", " ", texte)
    )
    return "".join(signe for signe in nu if unicodedata.category(signe)[0] not in "MPS")


def mots(texte: str) -> list[str]:
    """Tous les mots, les nombres et leurs unités, en minuscules, accents gardés."""
    return _MOTS.findall(uniformiser(texte).lower())


# ---------------------------------------------------------------- comparer à la référence


def exactitude(reponse: str, reference: str, langue: str = "fr") -> float:
    """1 si la réponse et la référence ont les mêmes mots clés, dans le même ordre ; 0 sinon."""
    return float(mots_cles(reponse, langue) == mots_cles(reference, langue))


def f1(reponse: str, reference: str, langue: str = "fr") -> float:
    """F1 de jetons, de 0 à 1 : les mots clés communs, rapportés à ceux des deux textes.

    Deux textes vides s'accordent (1), un seul vide ne partage rien (0).

    Source : script officiel de SQuAD 2.0 (Rajpurkar et al., 2018, arXiv:1806.03822).
    """
    return _recouvrement(mots_cles(reponse, langue), mots_cles(reference, langue))


def f1_tous_les_mots(reponse: str, reference: str) -> float:
    """Le même F1, articles et prépositions compris : deux textes sans rapport en partagent beaucoup.

    Se compare à ce que donne, au hasard, la référence d'une autre question.
    """
    return _recouvrement(mots(reponse), mots(reference))


def _recouvrement(dits: list[str], attendus: list[str]) -> float:
    if not dits or not attendus:
        return float(dits == attendus)
    communs = (Counter(dits) & Counter(attendus)).total()
    return 2 * communs / (len(dits) + len(attendus))


class _Mots(Tokenizer):
    """Les mots du français pour rouge-score, qui ne connaît que les lettres sans accent."""

    def tokenize(self, text: str) -> list[str]:
        return mots(text)


@cache
def _juge_rouge() -> RougeScorer:
    return RougeScorer(["rougeL"], tokenizer=_Mots())


def rouge_l(reponse: str, reference: str) -> float:
    """ROUGE-L, de 0 à 1 : la plus longue suite de mots commune, dans l'ordre, trous permis.

    Source : Lin, 2004 ; calcul de rouge-score.
    """
    return _juge_rouge().score(reference, reponse)["rougeL"].fmeasure


def chrf(reponse: str, reference: str) -> float:
    """chrF, de 0 à 100 : les suites d'une à six lettres communes.

    Source : Popović, 2015 ; calcul de sacrebleu.
    """
    return CHRF().sentence_score(uniformiser(reponse), [uniformiser(reference)]).score


def bleu(reponse: str, reference: str) -> float:
    """BLEU d'une phrase, de 0 à 100 : les suites d'un à quatre mots communes.

    Source : Papineni et al., 2002 ; calcul de sacrebleu (``effective_order``, fait pour une phrase).
    """
    juge = BLEU(effective_order=True)
    return juge.sentence_score(uniformiser(reponse), [uniformiser(reference)]).score


def d_ensemble(reponses: Sequence[str], references: Sequence[str]) -> dict[str, float]:
    """chrF et BLEU de tout un corpus, tels que les articles les publient."""
    dites, attendues = (
        [uniformiser(texte) for texte in textes] for textes in (reponses, references)
    )
    return {
        "chrf": CHRF().corpus_score(dites, [attendues]).score,
        "bleu": BLEU().corpus_score(dites, [attendues]).score,
    }


# ---------------------------------------------------------------- les citations

#: Un compte et son total : « trois sur quatre ».
Compte = tuple[float, float]


def precision_des_citations(reponse: str, reference: str) -> Compte:
    """Parmi les sources que la réponse cite, combien la référence cite aussi."""
    citees = sources_citees(reponse)
    return len(set(citees) & set(sources_citees(reference))), len(citees)


def rappel_des_citations(reponse: str, reference: str) -> Compte:
    """Parmi les sources que la référence cite, combien la réponse cite aussi."""
    attendues = sources_citees(reference)
    return len(set(attendues) & set(sources_citees(reponse))), len(attendues)


def citations_exactes(reponse: str, fiches: Mapping[str, str]) -> Compte:
    """Parmi les passages entre guillemets, combien sont mot à mot dans une fiche citée.

    Une coupure « […] » est permise : les morceaux doivent alors se suivre dans la fiche. Une
    réponse qui ne cite aucune fiche n'a rien à vérifier.

    Args:
        fiches: identifiant → texte.
    """
    sources = [source for source in sources_citees(reponse) if source.startswith("fiche-")]
    if not sources:
        return 0, 0
    textes = [_a_plat(fiches.get(source, "")) for source in sources]
    passages = citations(reponse)
    return sum(any(_se_lit(p, texte) for texte in textes) for p in passages), len(passages)


def _se_lit(passage: str, texte: str) -> bool:
    """Les morceaux d'un passage se lisent-ils l'un après l'autre dans le texte ?"""
    morceaux = [_a_plat(morceau) for morceau in re.split(r"\[(?:…|\.\.\.)\]", passage)]
    motif = r"(?!\w).*?(?<!\w)".join(re.escape(morceau) for morceau in morceaux if morceau)
    return bool(motif) and re.search(rf"(?<!\w){motif}(?!\w)", texte) is not None


def _a_plat(texte: str) -> str:
    """Un passage écrit d'une seule façon, sur une ligne, sans sa ponctuation finale."""
    return uniformiser(texte).strip(" .,;")


# ---------------------------------------------------------------- les lettres et les mots faux


def erreurs_de_caracteres(lu: str, reference: str) -> Compte:
    """Les caractères à changer, ajouter ou ôter, pour un texte de tant de caractères.

    Leur rapport est le taux d'erreur par caractère (*CER*) ; il peut dépasser 1. Les suites
    d'espaces n'en font qu'une.

    Raises:
        ErreurFabrique: l'extension [ocr] n'est pas là.

    Source : Levenshtein, 1966 ; calcul de jiwer.
    """
    return _erreurs(_jiwer().process_characters(*_serres(reference, lu)))


def erreurs_de_mots(lu: str, reference: str) -> Compte:
    """Les mots à changer, ajouter ou ôter, pour une référence de tant de mots (*WER*)."""
    return _erreurs(_jiwer().process_words(*_serres(reference, lu)))


def mots_repares(lu: str, corrige: str, reference: str) -> Compte:
    """Parmi les mots mal lus, combien la correction a rendus justes."""
    avant, apres = (_mots_justes(texte, reference) for texte in (lu, corrige))
    return len(apres - avant), len(reference.split()) - len(avant)


def mots_gates(lu: str, corrige: str, reference: str) -> Compte:
    """Parmi les mots bien lus, combien la correction a rendus faux : la surcorrection."""
    avant, apres = (_mots_justes(texte, reference) for texte in (lu, corrige))
    return len(avant - apres), len(avant)


def _mots_justes(texte: str, reference: str) -> set[int]:
    """Les rangs des mots de la référence que le texte porte, à leur place."""
    (aligne,) = _jiwer().process_words(*_serres(reference, texte)).alignments
    egaux = (morceau for morceau in aligne if morceau.type == "equal")
    return {rang for m in egaux for rang in range(m.ref_start_idx, m.ref_end_idx)}


def _erreurs(compte: Any) -> Compte:
    fautes = compte.substitutions + compte.deletions
    return fautes + compte.insertions, fautes + compte.hits


def _serres(*textes: str) -> list[str]:
    return [" ".join(texte.split()) for texte in textes]


def _jiwer() -> ModuleType:
    try:
        import jiwer
    except ImportError:
        raise ErreurFabrique(
            "compter les erreurs de lecture demande jiwer, qui n’est pas installé",
            "Installez-le : pip install 'fabrique[ocr]'",
        ) from None
    return jiwer


# ---------------------------------------------------------------- la forme


def distinct(reponse: str, n: int = 2) -> Compte:
    """Parmi les suites de ``n`` mots d'une réponse, combien sont différentes.

    Source : Li et al., 2016 (distinct-n, arXiv:1510.03055), compté ici réponse par réponse.
    """
    lues = suites_de_mots(reponse, n)
    return len(set(lues)), len(lues)


def suites_de_mots(texte: str, n: int) -> list[tuple[str, ...]]:
    """Toutes les suites de ``n`` mots d'un texte, dans l'ordre ; aucune s'il en a moins."""
    lus = mots(texte)
    return list(zip(*(lus[rang:] for rang in range(n)), strict=False))


def recitees(texte: str, appris: Collection[tuple[str, ...]], n: int = 12) -> Compte:
    """Parmi les suites de ``n`` mots d'un texte écrit, combien sont telles quelles dans ce qui fut appris.

    Douze mots de suite ne se retrouvent guère par hasard : au-delà, le modèle récite.

    Args:
        appris: les suites des textes appris (``suites_de_mots``), de la même longueur, en ensemble.

    Source : Carlini et al., 2023 (arXiv:2202.07646), pour la mesure par suites exactes.
    """
    ecrites = suites_de_mots(texte, n)
    return sum(suite in appris for suite in ecrites), len(ecrites)


def francais(reponse: str) -> Compte:
    """La réponse est-elle en français ? Rien à dire d'une réponse de quelques mots."""
    devinee = reconnaitre_langue(reponse)
    return (0, 0) if devinee is None else (devinee[0] == "fr", 1)


def respecte(reponse: str, parties: Iterable[str]) -> float:
    """1 si la réponse contient toutes les parties demandées (expressions régulières), 0 sinon."""
    return float(all(re.search(partie, reponse, re.MULTILINE) for partie in parties))


# ---------------------------------------------------------------- le catalogue


@dataclass(frozen=True)
class Mesure:
    """Ce qu'un rapport doit savoir d'une mesure.

    Args:
        titre: son nom en clair.
        sens: 1 si le mieux est en haut, -1 s'il est en bas.
        qualite: vrai si elle peut faire dire « meilleur » ; fausse pour la forme d'une réponse :
            finir sa phrase n'est pas répondre juste.
        temoin: vrai si l'on sait la recalculer avec la référence d'une autre question.
        pourcent: vrai si elle s'écrit en pour cent.
        aide: ce qu'elle compte, en une phrase.
    """

    titre: str
    sens: int
    qualite: bool
    temoin: bool
    pourcent: bool
    aide: str

    def ecrire(self, valeur: float) -> str:
        """La valeur, à la française : « 41,3 % », « 23,45 »."""
        if self.pourcent:
            return en_pourcent(valeur, 1)
        return en_francais(valeur, 2)

    def ecrire_ecart(self, ecart: float) -> str:
        """Un écart, toujours signé : « +4,2 points », « −0,31 »."""
        return ("+" if ecart >= 0 else "−") + self.ecrire_grandeur(abs(ecart))

    def ecrire_grandeur(self, ecart: float) -> str:
        """Un écart sans son sens : « 4,2 points », « 0,31 »."""
        if self.pourcent:
            points = round(100 * ecart, 1)
            return f"{en_francais(points, 1)}\u00a0{'points' if points >= 2 else 'point'}"
        return en_francais(ecart, 2)


#: Les comparaisons d'une réponse à sa référence, recalculées aussi avec la référence d'une autre.
COMPARAISONS: dict[str, Callable[[str, str], float]] = {
    "exactitude": exactitude,
    "f1": f1,
    "rouge_l": rouge_l,
    "chrf": chrf,
    "bleu": bleu,
}

#: Toutes les mesures, dans l'ordre du rapport.
MESURES = {
    "exactitude": Mesure(
        "Mot pour mot", 1, True, True, True, "réponses aux mêmes mots que la référence"
    ),
    "f1": Mesure("F1 de jetons", 1, True, True, True, "mots partagés avec la référence"),
    "rouge_l": Mesure("ROUGE-L", 1, True, True, True, "mots partagés, dans le même ordre"),
    "chrf": Mesure("chrF", 1, True, True, False, "suites de lettres partagées, sur 100"),
    "bleu": Mesure("BLEU", 1, True, True, False, "suites de mots partagées, sur 100"),
    "perplexite": Mesure(
        "Perplexité", -1, True, True, False, "entre combien de jetons le modèle hésite"
    ),
    "bits_par_octet": Mesure(
        "Bits par octet", -1, True, True, False, "ce que coûte d’écrire la référence"
    ),
    "citations_precision": Mesure(
        "Précision des citations", 1, True, True, True, "sources citées à bon escient"
    ),
    "citations_rappel": Mesure(
        "Rappel des citations", 1, True, True, True, "sources attendues et citées"
    ),
    "citations_exactes": Mesure(
        "Citations mot à mot", 1, False, False, True, "passages cités présents dans la fiche"
    ),
    "passage_montre": Mesure(
        "Bon passage trouvé", 1, False, False, True, "questions dont la recherche montre le passage"
    ),
    "passage_cite": Mesure(
        "Bon passage cité", 1, True, True, True, "questions qui ont leur réponse dans les fiches"
    ),
    "phrase_citee": Mesure(
        "Bonne phrase citée",
        1,
        False,
        False,
        True,
        "questions qui ont leur réponse dans les fiches",
    ),
    "fait_cite": Mesure(
        "Fait attendu cité", 1, False, False, True, "questions dont on connaît le fait attendu"
    ),
    "citations_fideles": Mesure(
        "Citations fidèles", 1, False, False, True, "mot pour mot dans le passage annoncé"
    ),
    "sans_appui": Mesure(
        "Phrases sans appui", -1, False, False, False, "par réponse, ni citation ni renvoi"
    ),
    "abstention_precision": Mesure(
        "Abstentions justifiées", 1, False, False, True, "parmi les abstentions"
    ),
    "abstention_rappel": Mesure(
        "Questions sans réponse tues", 1, False, False, True, "parmi les questions sans réponse"
    ),
    "fin": Mesure(
        "Réponses terminées", 1, False, False, True, "réponses closes par le jeton de fin"
    ),
    "francais": Mesure("En français", 1, False, False, True, "parmi les réponses assez longues"),
    "distinct_2": Mesure(
        "Suites de deux mots distinctes", 1, False, False, True, "une réponse qui radote en a peu"
    ),
    "longueur": Mesure("Longueur", 1, False, False, False, "mots par réponse"),
    "format": Mesure("Format respecté", 1, False, False, True, "réponses aux parties demandées"),
    "s_long": Mesure("s longs", 1, False, False, True, "part de ſ là où l’usage du XVIIᵉ en met"),
    "graphies": Mesure("Graphies d’époque", 1, False, False, False, "par réponse"),
}
