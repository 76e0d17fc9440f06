"""Vérifier une réponse qui cite : ce qui est entre guillemets est-il mot pour mot dans la source ?

Le vérificateur ne sait pas qui a écrit la réponse. Il la relit, avec les passages montrés et rien
d'autre : un modèle, une personne ou un autre service y sont jugés de la même façon.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

#: Un nombre en chiffres, ses milliers et ses décimales compris : « 1 300 », « 2,5 ».
_CHIFFRES = r"\d{1,3}(?:[ \u00a0\u202f]\d{3})+(?:,\d+)?(?!\d)|\d+(?:[.,]\d+)?"
#: Un mot, qu'une citation ne coupe pas : un nombre entier, un mot composé (« quatre-vingt-dix »,
#: « aujourd’hui »). L'article élidé est un mot à lui seul : on cite « année » de « l’année ».
MOT = re.compile(
    rf"(?:{_CHIFFRES})(?!\w)|(?:aujourd|prud|presqu|quelqu)[’']\w+|\w+(?:-\w+)*", re.IGNORECASE
)
#: Des guillemets français, ou ceux qu'un modèle emploie à leur place, et le rang qui les suit.
_CITATION = re.compile(
    r"(?:«\s*(?P<francais>[^«»]*?)\s*»|“\s*(?P<anglais>[^“”]*?)\s*”|\"\s*(?P<droit>[^\"]*?)\s*\")"
    r"(?:\s*\[(?P<rang>\d{1,3})\])?"
)
_RENVOI = re.compile(r"\[(\d{1,3})\]")
_GUILLEMET = re.compile(r"[«»]")
_FIN_DE_PHRASE = re.compile(r"[.!?…]+(?=\s+[A-ZÀ-ÖØ-Þ\ufffc]|\s*$)")
#: Ce qui remplace une citation quand on relit la phrase autour d'elle, caractère pour caractère.
_OPAQUE = "\ufffc"
#: « Oui », « Non » : l'annonce de la citation, non une affirmation de plus.
_ANNONCE = re.compile(r"\W*(?:oui|non)?\W*", re.IGNORECASE)

#: Ce que vaut chaque mot d'un nombre en lettres, au singulier.
_VALEURS = {
    **{"un": 1, "une": 1, "deux": 2, "trois": 3, "quatre": 4, "cinq": 5, "six": 6, "sept": 7},
    **{"huit": 8, "neuf": 9, "dix": 10, "onze": 11, "douze": 12, "treize": 13, "quatorze": 14},
    **{"quinze": 15, "seize": 16, "vingt": 20, "trente": 30, "quarante": 40, "cinquante": 50},
    **{"soixante": 60, "cent": 100, "mille": 1000, "million": 10**6, "milliard": 10**9},
}
#: Tous commencent un nombre, sauf « un », qui est aussi un article : il y entre après un autre.
_LETTRES = rf"(?:(?:{'|'.join(mot for mot in _VALEURS if mot not in ('un', 'une'))})s?\b)"
_NOMBRE = re.compile(
    rf"{_CHIFFRES}|\b{_LETTRES}(?:[\s-]+(?:{_LETTRES}|et[\s-]+(?:une?|onze)\b)|-une?\b)*",
    re.IGNORECASE,
)
_MOIS = [
    "janvier",
    "février",
    "mars",
    "avril",
    "mai",
    "juin",
    "juillet",
    "août",
    "septembre",
    "octobre",
    "novembre",
    "décembre",
]
_DATE = re.compile(
    rf"\b(?P<jour>\d{{1,2}})(?:er)?\s(?P<mois>{'|'.join(_MOIS)})(?:\s(?P<annee>\d{{4}}))?\b"
    r"|\b(?P<j>\d{1,2})/(?P<m>\d{1,2})/(?P<a>\d{4})\b",
    re.IGNORECASE,
)


class Regle(StrEnum):
    """Ce qui peut clocher dans une réponse qui cite."""

    INFIDELE = "citation.infidele"
    AUTRE_PASSAGE = "citation.autre_passage"
    SANS_RANG = "citation.sans_rang"
    VIDE = "citation.vide"
    GUILLEMET = "citation.guillemet"
    RANG = "renvoi.inconnu"
    NOMBRE = "nombre.absent"
    DATE = "date.absente"
    SANS_APPUI = "phrase.sans_appui"


@dataclass(frozen=True)
class Citation:
    """Ce qu'une réponse met entre guillemets.

    Args:
        texte: les mots cités, sans leurs guillemets.
        rang: le passage annoncé, depuis 1 ; None si la réponse ne le dit pas.
        debut, fin: la tranche de la réponse, guillemets et rang compris.
    """

    texte: str
    rang: int | None
    debut: int
    fin: int


@dataclass(frozen=True)
class Constat:
    """Un défaut d'une réponse.

    Args:
        regle: lequel.
        texte: ce qui est en cause : une citation, un nombre, une date, une phrase.
        debut, fin: sa tranche de la réponse.
        rang: le passage en cause, depuis 1 : celui que la réponse annonce ; pour
            ``AUTRE_PASSAGE``, celui où la citation se trouve vraiment.
    """

    regle: Regle
    texte: str
    debut: int
    fin: int
    rang: int | None = None


@dataclass(frozen=True)
class Controle:
    """Une réponse relue : ses citations et ses défauts, dans l'ordre du texte."""

    citations: tuple[Citation, ...]
    constats: tuple[Constat, ...]

    @property
    def fidele(self) -> bool:
        """Vrai si chaque citation est mot pour mot dans le passage qu'elle annonce."""
        return not any(constat.regle in _SUR_LES_CITATIONS for constat in self.constats)

    def compter(self, regle: Regle) -> int:
        """Combien de défauts de cette sorte."""
        return sum(constat.regle is regle for constat in self.constats)


_SUR_LES_CITATIONS = {
    Regle.INFIDELE,
    Regle.AUTRE_PASSAGE,
    Regle.SANS_RANG,
    Regle.VIDE,
    Regle.GUILLEMET,
    Regle.RANG,
}


def controler_reponse(reponse: str, passages: Sequence[str]) -> Controle:
    """Relit une réponse avec les passages montrés à qui l'a écrite.

    La typographie ne compte pas : sortes d'espaces, apostrophe droite ou courbe, accents composés.
    Tout le reste compte, majuscules et ponctuation comprises.

    Args:
        reponse: le texte à relire ; « … » [2] y cite le deuxième passage.
        passages: les textes montrés, dans l'ordre de leurs rangs.

    Returns:
        Les citations trouvées, et un constat par défaut : citation infidèle, coupée au milieu d'un
        mot, ou d'un autre passage ; renvoi à un passage qui n'existe pas ; nombre ou date hors
        citation que le passage cité ne porte pas ; phrase qui ne s'appuie sur rien.
    """
    citations = tuple(_citations(reponse))
    constats = [
        *(c for citation in citations if (c := _juger(citation, passages))),
        *_guillemets_seuls(reponse, citations),
        *_renvois_inconnus(reponse, citations, len(passages)),
        *_phrases(reponse, citations, passages),
    ]
    return Controle(citations, tuple(sorted(constats, key=lambda c: (c.debut, c.regle))))


def est_mot_pour_mot(citation: str, passage: str) -> bool:
    """Vrai si la citation est une suite de mots entiers du passage, à la typographie près."""
    return _chercher(citation, normaliser(passage)) is not None


def situer(citation: str, passage: str) -> tuple[int, int] | None:
    """La tranche du passage où se lit une citation ; None si elle n'y est pas mot pour mot.

    La tranche vaut dans ``passage`` tel quel : c'est elle qu'on surligne.
    """
    plat, tranches = _aplatir(passage)
    place = _chercher(citation, plat)
    return place and (tranches[place[0]][0], tranches[place[1] - 1][1])


def _chercher(citation: str, plat: str) -> tuple[int, int] | None:
    """La tranche d'un texte normalisé où la citation se lit sans couper un mot."""
    cherche = normaliser(citation).strip()
    debut = plat.find(cherche) if cherche else -1
    if debut < 0:
        return None
    coupes = {place for mot in MOT.finditer(plat) for place in range(mot.start() + 1, mot.end())}
    while debut >= 0:
        fin = debut + len(cherche)
        if debut not in coupes and fin not in coupes:
            return debut, fin
        debut = plat.find(cherche, debut + 1)
    return None


def normaliser(texte: str) -> str:
    """Un texte sans ses seules différences de typographie : espaces, apostrophes, accents composés."""
    compose = unicodedata.normalize("NFC", texte)
    return re.sub(r"\s+", " ", compose.replace("'", "’").replace("ʼ", "’"))


def _aplatir(texte: str) -> tuple[str, list[tuple[int, int]]]:
    """Le texte normalisé et, pour chacun de ses caractères, sa tranche du texte."""
    plat, tranches = [], []
    for morceau in re.finditer(r"\s+|\S[\u0300-\u036f]*", texte):
        for caractere in normaliser(morceau[0]):
            plat.append(caractere)
            tranches.append(morceau.span())
    return "".join(plat), tranches


# ---------------------------------------------------------------- les citations


def _citations(reponse: str) -> Iterator[Citation]:
    for trouve in _CITATION.finditer(reponse):
        texte = trouve["francais"] or trouve["anglais"] or trouve["droit"] or ""
        rang = int(trouve["rang"]) if trouve["rang"] else None
        yield Citation(texte, rang, *trouve.span())


def _juger(citation: Citation, passages: Sequence[str]) -> Constat | None:
    """Le défaut d'une citation, s'il y en a un."""

    def constat(regle: Regle, rang: int | None = citation.rang) -> Constat:
        return Constat(regle, citation.texte, citation.debut, citation.fin, rang)

    if not MOT.search(citation.texte):
        return constat(Regle.VIDE)
    ou = [r for r, passage in enumerate(passages, 1) if est_mot_pour_mot(citation.texte, passage)]
    if not ou:
        return constat(Regle.INFIDELE)
    if citation.rang is None:
        return constat(Regle.SANS_RANG, ou[0])
    if citation.rang not in ou:
        return constat(Regle.AUTRE_PASSAGE, ou[0])
    return None


def _guillemets_seuls(reponse: str, citations: Sequence[Citation]) -> Iterator[Constat]:
    """Un guillemet qui n'en ferme ou n'en ouvre aucun autre."""
    for trouve in _GUILLEMET.finditer(_sans_citations(reponse, citations)):
        yield Constat(Regle.GUILLEMET, trouve[0], *trouve.span())


def _renvois_inconnus(
    reponse: str, citations: Sequence[Citation], nombre: int
) -> Iterator[Constat]:
    for citation in citations:
        if citation.rang is not None and not 1 <= citation.rang <= nombre:
            yield Constat(
                Regle.RANG, f"[{citation.rang}]", citation.debut, citation.fin, citation.rang
            )
    for trouve in _RENVOI.finditer(_sans_citations(reponse, citations)):
        if not 1 <= int(trouve[1]) <= nombre:
            yield Constat(Regle.RANG, trouve[0], *trouve.span(), int(trouve[1]))


def _sans_citations(reponse: str, citations: Sequence[Citation]) -> str:
    """La réponse, ses citations rendues opaques ; chaque caractère garde sa place."""
    for citation in citations:
        vide = _OPAQUE * (citation.fin - citation.debut)
        reponse = reponse[: citation.debut] + vide + reponse[citation.fin :]
    return reponse


# ---------------------------------------------------------------- la phrase autour


def _phrases(
    reponse: str, citations: Sequence[Citation], passages: Sequence[str]
) -> Iterator[Constat]:
    """Les nombres et les dates que rien n'appuie, et les phrases sans appui."""
    autour = _sans_citations(reponse, citations)
    debut = 0
    bornes = [fin.end() for fin in _FIN_DE_PHRASE.finditer(autour)]
    for fin in dict.fromkeys([*bornes, len(reponse)]):
        rangs = {c.rang for c in citations if debut <= c.debut < fin}
        rangs |= {int(r[1]) for r in _RENVOI.finditer(autour, debut, fin)}
        appuis = [passages[r - 1] for r in rangs if r is not None and 1 <= r <= len(passages)]
        dit = _RENVOI.sub(lambda r: " " * len(r[0]), autour[debut:fin].replace(_OPAQUE, " "))
        if appuis:
            yield from _chiffres_sans_appui(dit, debut, appuis)
        elif not rangs and MOT.search(dit) and not _ANNONCE.fullmatch(dit):
            blancs = len(dit) - len(dit.lstrip())
            yield Constat(Regle.SANS_APPUI, dit.strip(), debut + blancs, fin)
        debut = fin


def _chiffres_sans_appui(dit: str, debut: int, appuis: Sequence[str]) -> Iterator[Constat]:
    """Les dates, puis les autres nombres, qu'aucun des passages cités ne porte."""
    datees = {date for appui in appuis for date, _ in dates(appui)}
    connues = datees | {(jour, mois, None) for jour, mois, _ in datees}
    ecrites = dates(dit)
    for date, (place, bout) in ecrites:
        if date not in connues:
            yield Constat(Regle.DATE, dit[place:bout], debut + place, debut + bout)
    connus = {nombre for appui in appuis for nombre, _ in nombres(appui)}
    for nombre, (place, bout) in nombres(dit):
        d_une_date = any(place < fin and bout > depart for _, (depart, fin) in ecrites)
        if nombre not in connus and not d_une_date:
            yield Constat(Regle.NOMBRE, dit[place:bout], debut + place, debut + bout)


def nombres(texte: str) -> list[tuple[str, tuple[int, int]]]:
    """Les nombres d'un texte, en chiffres ou en lettres, et leur tranche.

    « 1 300 », « mille trois cents » et « 1300 » sont le même nombre, rendu « 1300 » ; « un », qui est
    aussi un article, n'en est pas un.
    """
    return [(_en_chiffres(trouve[0]), trouve.span()) for trouve in _NOMBRE.finditer(texte)]


def _en_chiffres(ecrit: str) -> str:
    if not ecrit[0].isdigit():
        return str(_valeur(re.findall(r"\w+", ecrit.casefold())))
    return re.sub(r"\s", "", ecrit).replace(".", ",")


def _valeur(mots: Sequence[str]) -> int:
    """Ce que vaut un nombre en lettres : « quatre-vingt-dix mille deux cents » est 90\u202f200."""
    total = groupe = 0
    for mot in mots:
        valeur = _VALEURS.get(mot) or _VALEURS.get(mot.removesuffix("s"), 0)  # « et » ne vaut rien
        if valeur >= 1000:  # mille, million, milliard : le groupe de trois chiffres est fini
            total, groupe = total + max(groupe, 1) * valeur, 0
        elif valeur == 100:
            groupe = max(groupe, 1) * 100
        elif valeur == 20 and groupe % 100 == 4:  # quatre-vingts
            groupe += 80 - 4
        else:
            groupe += valeur
    return total + groupe


def dates(texte: str) -> list[tuple[tuple[int, int, int | None], tuple[int, int]]]:
    """Les dates d'un texte, (jour, mois, année ou None), et leur tranche."""
    trouvees = []
    for date in _DATE.finditer(texte):
        if date["mois"]:
            annee = int(date["annee"]) if date["annee"] else None
            lue = int(date["jour"]), _MOIS.index(date["mois"].lower()) + 1, annee
        else:
            lue = int(date["j"]), int(date["m"]), int(date["a"])
        trouvees.append((lue, date.span()))
    return trouvees
