"""Repérer et remplacer les données personnelles avant d'apprendre : un modèle retient ce qu'on lui répète.

Les numéros qui portent une clé (NIR, IBAN, SIREN, SIRET) sont vérifiés par python-stdnum ;
les autres sont reconnus à leur forme, et au besoin aux mots qui les entourent. Les valeurs
ne sont jamais gardées ni montrées.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from datasets import Dataset
from stdnum import iban
from stdnum.fr import nir, siren, siret

from fabrique.corpus.formats import avec_textes, textes

_BLANC = r"[ \u00a0\u202f.-]?"
_ESPACE = r"[ \u00a0\u202f]"
_MOIS = "janvier|février|mars|avril|mai|juin|juillet|août|septembre|octobre|novembre|décembre"
_DATE = rf"(?:\d{{1,2}}[/.-]\d{{1,2}}[/.-]\d{{2,4}}|\d{{1,2}}(?:er)?{_ESPACE}(?:{_MOIS}){_ESPACE}\d{{4}})"
_VOIE = (
    r"rue|avenue|av\.|boulevard|bd|place|allées?|impasse|chemin|route|quai|cours|square|passage|"
    r"sentier|lotissement|résidence|villa|faubourg|esplanade|promenade|rond-point"
)


@dataclass(frozen=True)
class Regle:
    """Un genre de donnée.

    Args:
        nom: « personnel.nir »…
        forme: l'expression qui l'annonce ; son groupe ``valeur``, ou toute elle, est la donnée.
        prouver: vérifie la clé d'un numéro qui en a une.
    """

    nom: str
    forme: re.Pattern[str]
    prouver: Callable[[str], bool] = lambda trouve: True

    @property
    def etiquette(self) -> str:
        """Ce qui remplace la donnée : « NIR », « COURRIEL »…"""
        return self.nom.removeprefix("personnel.").upper()

    def reperer(self, texte: str) -> Iterator[tuple[int, int]]:
        """Début et fin de chaque donnée de ce genre dans le texte."""
        for trouve in self.forme.finditer(texte):
            groupe = "valeur" if "valeur" in self.forme.groupindex else 0
            if self.prouver(trouve.group(groupe)):
                yield trouve.span(groupe)


def _chiffres(trouve: str) -> str:
    return re.sub(r"[^0-9A-Z]", "", trouve.upper())


REGLES = (
    # Treize caractères et une clé ; la Corse écrit 2A ou 2B.
    Regle(
        "personnel.nir",
        re.compile(
            rf"(?<!\d)[1-478]{_BLANC}\d\d{_BLANC}(?:[02-9]\d|1[0-2]){_BLANC}(?:\d\d|2[ABab]){_BLANC}"
            rf"\d{{3}}{_BLANC}\d{{3}}{_BLANC}\d\d(?!\d)"
        ),
        lambda trouve: nir.is_valid(_chiffres(trouve)),
    ),
    Regle(
        "personnel.iban",
        re.compile(rf"\b[A-Z]{{2}}\d\d(?:{_ESPACE}?[A-Z0-9]{{4}}){{2,7}}{_ESPACE}?[A-Z0-9]{{0,4}}\b"),
        lambda trouve: iban.is_valid(_chiffres(trouve)),
    ),
    # Un SIREN désigne une entreprise, mais aussi une personne quand elle exerce en son nom.
    Regle(
        "personnel.siret",
        re.compile(rf"(?<!\d)\d{{3}}(?:{_BLANC}\d{{3}}){{2}}{_BLANC}\d{{5}}(?!\d)"),
        lambda trouve: siret.is_valid(_chiffres(trouve)),
    ),
    Regle(
        "personnel.siren",
        re.compile(
            rf"(?i:siren|rcs|entreprise|immatricul\w+)[^\d\n]{{0,40}}"
            rf"(?P<valeur>\d{{3}}{_BLANC}\d{{3}}{_BLANC}\d{{3}})(?!{_BLANC}\d)"
        ),
        lambda trouve: siren.is_valid(_chiffres(trouve)),
    ),
    # Les numéros en 08 et les numéros courts sont ceux de services, non de personnes.
    Regle(
        "personnel.telephone",
        re.compile(
            rf"(?<![\d+])(?:(?:\+|00)33{_BLANC}(?:\(0\))?|0){_BLANC}[1-79](?:[ \u00a0\u202f./-]?\d\d){{4}}(?!\d)"
        ),
    ),
    # Les domaines d'exemple sont réservés à la documentation (RFC 2606).
    Regle(
        "personnel.courriel",
        re.compile(
            r"\b[\w.+-]+(?:@| ?(?:\[at\]|\(at\)|\[arobase\]) ?)"
            r"(?!(?:[\w-]+\.)*(?:exemple|example)\.)[\w-]+(?:\.[\w-]+)+\b"
        ),
    ),
    Regle(
        "personnel.adresse",
        re.compile(
            rf"\b\d{{1,4}}(?:{_ESPACE}?(?:bis|ter|quater|[A-D]))?,?{_ESPACE}(?i:{_VOIE}){_ESPACE}"
            rf"(?:(?:de|du|des|la|le|les|l[’']|d[’']){_ESPACE}?)*[A-ZÀ-ÖØ-Þ0-9][\w’'-]*"
            rf"(?:{_ESPACE}[\w’'-]+){{0,4}}(?:,?{_ESPACE}\d{{5}}{_ESPACE}[A-ZÀ-ÖØ-Þ][\w’'-]*)?"
        ),
    ),
    # Plaques depuis 2009 (sans I, O, U ni SS), et d'avant quand le contexte le dit ;
    # AA-123-AA, AA-123-BB et AB-123-CD sont celles des exemples.
    Regle(
        "personnel.plaque",
        re.compile(
            r"\b(?!SS|A[AB]-123-(?:AA|BB|CD)\b)[A-HJ-NP-TV-Z]{2}[ -]?\d{3}[ -]?(?!SS)[A-HJ-NP-TV-Z]{2}\b"
            r"|(?i:immatricul\w+|plaque)[^\d\n]{0,30}\d{2,4}[ -]?[A-Z]{2,3}[ -]?(?:\d\d|2[AB])\b"
        ),
    ),
    Regle(
        "personnel.passeport",
        re.compile(rf"(?i:passeport)[^\n.;]{{0,40}}?\b(?P<valeur>\d{{2}}{_ESPACE}?[A-Z]{{2}}{_ESPACE}?\d{{5}})\b"),
    ),
    # Ancienne carte : douze chiffres ; nouvelle : neuf caractères dont au moins un chiffre.
    Regle(
        "personnel.carte_identite",
        re.compile(
            r"(?i:carte (?:nationale )?d[’']identité|\bcni\b)[^\n.;]{0,40}?"
            r"\b(?P<valeur>\d{12}|(?=[A-Z0-9]{0,8}\d)[A-Z0-9]{9})\b"
        ),
    ),
    Regle(
        "personnel.naissance",
        re.compile(
            rf"(?i:\bnée?\b(?:\(e\))?|naissance)(?:(?!\bou\b)[^\d\n.;]){{0,30}}(?P<valeur>{_DATE})", re.IGNORECASE
        ),
    ),
)


@dataclass(frozen=True)
class Trouvaille:
    """Une donnée personnelle : sa règle, le rang de l'exemple (depuis 1) et son champ."""

    regle: str
    rang: int
    champ: str


def reperer(texte: str) -> Iterator[tuple[Regle, int, int]]:
    """Les données personnelles d'un texte : règle, début et fin, sans chevauchement.

    Un numéro que deux règles réclament revient à la première, la plus précise.
    """
    pris: list[tuple[int, int]] = []
    for regle in REGLES:
        for debut, fin in regle.reperer(texte):
            if all(fin <= d or debut >= f for d, f in pris):
                pris.append((debut, fin))
                yield regle, debut, fin


def donnees_personnelles(corpus: Dataset) -> list[Trouvaille]:
    """Toutes les données personnelles d'un corpus ; les valeurs ne sont ni gardées ni montrées."""
    return [
        Trouvaille(regle.nom, rang, champ)
        for rang, exemple in enumerate(corpus, 1)
        for champ, texte in textes(exemple)
        for regle, _, _ in reperer(texte)
    ]


@dataclass
class Pseudonymes:
    """Le registre d'un remplacement : la même valeur reçoit toujours le même nom.

    Les valeurs n'y restent que le temps de l'appel ; ``comptes`` est ce qu'on garde.
    """

    noms: dict[tuple[str, str], str] = field(default_factory=dict)
    comptes: Counter[str] = field(default_factory=Counter)

    def remplacer(self, texte: str) -> str:
        """Le texte, chaque donnée personnelle remplacée par « [COURRIEL_1] », « [NIR_2] »…"""
        morceaux, position = [], 0
        for regle, debut, fin in sorted(reperer(texte), key=lambda t: t[1]):
            valeur = (regle.nom, _chiffres(texte[debut:fin]))
            rang = 1 + sum(nom == regle.nom for nom, _ in self.noms)
            pseudonyme = self.noms.setdefault(valeur, f"[{regle.etiquette}_{rang}]")
            self.comptes[regle.nom] += 1
            morceaux += [texte[position:debut], pseudonyme]
            position = fin
        return "".join([*morceaux, texte[position:]])


def pseudonymiser(corpus: Dataset) -> tuple[Dataset, dict[str, int]]:
    """Remplace les données personnelles d'un corpus, toujours de la même façon.

    Ce n'est pas une anonymisation : une personne reste parfois reconnaissable à son histoire
    (RGPD, considérant 26 ; avis 05/2014 du G29 sur les techniques d'anonymisation).

    Returns:
        Le corpus sans ces données, et le nombre de remplacements par règle.
    """
    pseudonymes = Pseudonymes()
    propres = [avec_textes(exemple, pseudonymes.remplacer) for exemple in corpus]
    return Dataset.from_list(propres, features=corpus.features), dict(pseudonymes.comptes)


def doublons_exacts(corpus: Dataset) -> int:
    """Nombre d'exemples dont tous les textes sont déjà dans le corpus, à la casse près."""
    vus = {tuple(texte.casefold() for _, texte in textes(exemple)) for exemple in corpus}
    return len(corpus) - len(vus)
