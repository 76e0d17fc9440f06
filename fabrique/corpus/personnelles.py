"""Repérer et remplacer les données personnelles avant d'apprendre : un modèle retient ce qu'on lui répète.

Les numéros qui portent une clé (NIR, IBAN, SIREN, SIRET) sont vérifiés par python-stdnum ;
les autres sont reconnus à leur forme, et au besoin aux mots qui les entourent. Ce qui ne peut
désigner une personne est épargné : organismes publics, adresses en Cedex, boîtes de service,
naissances d'avant 1900 ou de défunts (RGPD, considérants 14 et 27). Les valeurs ne sont jamais
gardées ni montrées.
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

_ESPACE = r"[ \u00a0\u202f]"
_BLANC = r"[ \u00a0\u202f.-]?"
#: Ce qui sépare un mot de la donnée qu'il annonce, sans jamais passer par-dessus une donnée
#: déjà prise (« \0 », voir reperer) ni un pseudonyme : repasser ne trouvera rien de plus.
_SUITE = r"[^\d\n\0\[]"
_SUITE_LARGE = r"[^;\0\[]"


# ---------------------------------------------------------------- les formes

# Treize caractères et une clé ; la Corse écrit 2A ou 2B.
_NIR = (
    rf"(?<!\d)[1-478](?:{_BLANC}\d){{2}}{_BLANC}(?:[02-9]{_BLANC}\d|1{_BLANC}[0-2])"
    rf"{_BLANC}(?:\d{_BLANC}\d|2{_BLANC}[ABab])"
    rf"(?:{_BLANC}\d){{6}}(?:{_BLANC}|,?{_ESPACE}?(?i:[/|(]|clé){_ESPACE}?(?i:clé)?{_ESPACE}?:?{_ESPACE}?)"
    rf"\d{_BLANC}\d(?!\w)"
)

#: Longueur des IBAN des pays voisins : sans elle, on prendrait aussi le mot qui suit.
_LONGUEURS_IBAN = {
    "FR": 27, "MC": 27, "BE": 16, "CH": 21, "DE": 22, "ES": 24, "GB": 22, "IT": 27, "LU": 20,
    "NL": 18, "PT": 25,
}  # fmt: skip
_IBAN = "|".join(
    rf"{pays}{_BLANC}\d\d(?:{_BLANC}[A-Z0-9]){{{longueur - 4}}}"
    for pays, longueur in _LONGUEURS_IBAN.items()
)
_IBAN_AILLEURS = rf"[A-Z]{{2}}\d\d(?:{_ESPACE}?[A-Z0-9]{{4}}){{2,7}}{_ESPACE}?[A-Z0-9]{{0,4}}"

# Les numéros d'organismes publics commencent par 1 ou 2 : ils ne désignent personne.
_SIREN = rf"(?<![\w,.])[3-9]\d\d{_BLANC}\d{{3}}{_BLANC}\d{{3}}"
_RCS = r"R\.?C\.?S\b"

# Les numéros en 08 et les numéros courts sont ceux de services, non de personnes. Le même
# séparateur partout : « 01/02/2013 14 h » n'est pas un numéro.
_PAIRES = rf"(?P<{{nom}}>{_ESPACE}?[./-]?{_ESPACE}?)\d\d(?:(?P={{nom}})\d\d)"
_INDICATIF = rf"(?:\+|00){_ESPACE}?{{pays}}{_BLANC}(?:\(0\){_ESPACE}?)?"
_TELEPHONE = (
    r"(?<![\w+])(?<!\d[.,])(?:"
    + rf"(?:{_INDICATIF.format(pays='33')}|0|\(0\){_ESPACE}?)[1-79]{_PAIRES.format(nom='s')}{{3}}"
    + rf"|0[1-79]\d\d(?:{_ESPACE}\d{{3}}{_ESPACE}\d{{3}}|{_PAIRES.format(nom='v')}{{2}})"
    + rf"|{_INDICATIF.format(pays='(?:262|508|59[046])')}\d{{3}}{_PAIRES.format(nom='t')}{{2}}"
    + rf"|{_INDICATIF.format(pays='(?:681|687|689)')}\d\d{_PAIRES.format(nom='u')}{{1,2}}"
    + r")(?!\d)"
)

# Les domaines d'exemple sont réservés à la documentation (RFC 2606) ; « contact@… » est la
# boîte d'un service. Un produit de matrices (« A @ b.sum ») n'est pas un courriel.
_BOITES = (
    r"accueil|assistance|contact|courrier|dpo|git|infos?|mairie|ne-pas-repondre|no-?reply|"
    r"postmaster|presse|secretariat|support|webmaster"
)
_AT = (
    rf"(?:@|{_ESPACE}@{_ESPACE}(?=[\w.-]+\.(?:fr|com|net|org|eu)\b)|&#64;"
    rf"|{_ESPACE}?(?i:[\[({{](?:at|a|arobase|@)[\])}}]){_ESPACE}?)"
)
_POINT = rf"(?:\.|{_ESPACE}?(?i:[\[(](?:dot|point|\.)[\])]){_ESPACE}?)"
_COURRIEL = (
    rf"(?<![\w.+-])(?!(?i:{_BOITES})(?:{_AT}|[\w.-]*{_AT}[\w.-]+\.gouv\.fr\b))"
    rf"[\w.+-]*\w(?:{_AT}(?!(?i:(?:[\w-]+\.)*(?:exemple\.|example\.|(?:example|test|invalid)\b(?!\.\w|-))))"
    rf"(?:[\w-]+{_POINT})+[A-Za-z]{{2,}}\b"
    rf"|{_ESPACE}arobase{_ESPACE}[\w-]+(?:{_ESPACE}(?:point|dot){_ESPACE}[\w-]+)+)"
)

_MOIS = (
    "janvier|février|fevrier|mars|avril|mai|juin|juillet|août|aout|septembre|octobre|novembre|"
    "décembre|decembre"
)
# Personne n'est né avant 1900 parmi les vivants.
_AN = r"(?:19|20)\d\d"
_JOUR = r"(?:3[01]|[12]\d|0?[1-9])"
_DATE = (
    rf"(?:{_JOUR}(?P<s>{_ESPACE}?[/.-]{_ESPACE}?|{_ESPACE})(?:1[0-2]|0?[1-9])(?P=s)(?:{_AN}|\d\d)(?!\d)"
    rf"|{_AN}-\d\d-\d\d|{_JOUR}(?:er)?[ \u00a0\u202f-](?:{_MOIS})[ \u00a0\u202f-]{_AN})"
)
_NAISSANCE = (
    rf"(?i:(?:\bnée?\b(?:\(e\)|\.e|·e)?|\bnaissance\b|\bddn\b)"
    rf"(?:(?!\b(?:ou|avant|après|antérieure?|postérieure?|compter|partir|depuis|délivr\w+|datant|établi\w*)\b)"
    rf"(?:[^\d\n.;\0\[]|\(\d[\dab]\d?\))){{0,45}}?\n?|\bnee?{_ESPACE}le{_ESPACE})"
    rf"(?<!\d)(?P<valeur>(?i:{_DATE}))"
    # « (né le… à Paris et mort le… » : une personne disparue.
    rf"(?![^\d\n.;\0\[]{{0,50}}(?:\bet|[,–—(-]){_ESPACE}?(?:est{_ESPACE})?(?:morte?|décédée?)\b)"
)

_VOIE = (
    r"rue|avenue|av(?:e\b|\.|\b)|boulevard|b(?:l?v?)d\b\.?|place|pl\.|allées?|all\.|impasse|imp\.|"
    r"chemin|ch\.|route|rte\b|quai|cours|square|passage|sente|sentier|lotissement|résidence|villa|"
    r"faubourg|esplanade|promenade|rond-point|cité|clos|hameau|mail|montée|ruelle|traverse|venelle|"
    r"voie|chaussée"
)
_LIEN = r"(?:(?:de|du|des|la|le|les|à|a|au|aux|en|sur|sous|lès)[ \u00a0\u202f]|[ld][’'])"
_NOM = r"[A-ZÀ-ÖØ-ÞŒ](?:[a-z]{0,2}\.(?= [A-Z])|[\w’'-]*)"
_NOMS = rf"{_NOM}(?:{_ESPACE}{_LIEN}{{0,2}}{_NOM}){{0,4}}"
# « 27 novembre 1635 rue du Pont » : une année n'est pas un numéro de maison.
_PAS_UNE_ANNEE = rf"(?!(?:{'|'.join(rf'(?<={mois} )' for mois in _MOIS.split('|'))})\d{{4}})"
_NUMERO = (
    rf"(?<!\w)(?<!\d[.,/-]){_PAS_UNE_ANNEE}\d{{1,4}}(?:[/-]\d{{1,4}})?"
    rf"(?:{_ESPACE}?(?:bis|ter|quater|[A-Da-d]))?,?{_ESPACE}"
    rf"(?i:{_VOIE})(?!{_ESPACE}?J\.?{_ESPACE}?-?C\b){_ESPACE}"
)
_VILLE = rf"\d\d{_ESPACE}?\d{{3}}{_ESPACE}(?!euros?\b|francs?\b)(?:{_NOMS}|(?:l[ea]s?{_ESPACE})?[\w’'-]{{3,}})"
_ADRESSE = (
    rf"{_NUMERO}{_LIEN}{{0,3}}(?:\d{{1,2}}(?:er)?[ -](?i:{_MOIS})(?:[ -]{_AN})?|{_NOMS})"
    rf"(?:(?:[^\d.;\0\[]|(?:TSA|CS|BP){_ESPACE}?\d+){{1,30}}?{_VILLE})?"
)
# Écrite sans majuscules : il faut un code postal, ou quelqu'un qui dit y habiter.
_MINUSCULES = rf"(?:{_LIEN}{{0,3}}[a-zà-öø-ÿœ’'-]{{3,}}(?:{_ESPACE}|\b))"
_ADRESSE_POSTALE = (
    rf"{_NUMERO}{_MINUSCULES}{{1,4}},?{_ESPACE}?\d{{5}}{_ESPACE}(?:l[ea]s?{_ESPACE})?[\w’'-]+"
)
_HABITE = (
    rf"(?i:\b(?:habit|demeur|domicili|r[ée]sid|log)\w+|\badresse|\bsise?\b){_SUITE}{{0,25}}"
    rf"(?P<valeur>{_NUMERO}{_LIEN}{{0,3}}[a-zà-öø-ÿœ][\w’'-]{{2,}}"
    rf"(?:{_ESPACE}(?!(?:depuis|avec|mais|pour|dans|chez|qui|les|des|sur|est)\b)[\w’'-]{{3,}})?)"
)

# Plaques depuis 2009 (sans I, O, U ni SS), et d'avant quand le contexte le dit ;
# AA-123-AA, AA-123-BB, AB-123-CD et 123-AB-01 sont celles des exemples.
_LETTRES = r"(?!SS)[A-HJ-NP-TV-Z]{2}"
_SIV = (
    rf"(?!A[AB][ -]?123[ -]?(?:AA|BB|CD)\b){_LETTRES}(?P<s>[ .-]?)\d{{3}}(?P=s){_LETTRES}(?![\w-])"
)
#: En minuscules, « de 150 ch » n'en est pas une.
_SIV_MINUSCULE = (
    r"(?!(?:de|du|le|la|et|en|ma|ta|sa) )[a-hj-np-tv-z]{2}(?P<l>[ -]?)\d{3}(?P=l)"
    r"[a-hj-np-tv-z]{2}(?![\w-])"
)
_AVANT_2009 = (
    r"(?!123[ -]?ABC?[ -]?01\b)\d{1,4}(?P<t>[ -]?)[A-Z]{2,3}(?P=t)(?:2[AB]|97\d|\d\d)(?![\w-])"
)
_VEHICULE = (
    rf"(?i:(?<!\[)\b(?:immatricul\w+|plaques?|véhicule|voiture|moto|scooter)\b){_SUITE}{{0,40}}?"
)

_PASSEPORT = rf"\d\d{_BLANC}[A-Z]{{2}}{_BLANC}\d{{5}}(?!\w)"

# Ancienne carte : douze chiffres ; nouvelle : neuf caractères, chiffres et lettres mêlés.
_CARTE = (
    rf"(?<![\w-])(?P<valeur>\d(?:{_BLANC}\d){{11}}"
    r"|(?=[A-Z]*\d)(?=\d*[A-Z])(?![A-Z]{4,}\d+\b)[A-Z0-9]{9}|(?=[a-z]*\d)(?![a-z]+\d+\b)[a-z][a-z0-9]{8})(?![\w-])"
)


def _chiffres(trouve: str) -> str:
    return re.sub(r"[^0-9A-Z]", "", trouve.upper().replace("CLÉ", ""))


def _est_siren(trouve: str) -> bool:
    return siren.is_valid(_chiffres(trouve))


def _est_d_une_personne(adresse: str) -> bool:
    """Seuls les entreprises et les services ont une adresse en Cedex, TSA ou CS."""
    return not re.search(r"(?i:cedex)|\b(?:TSA|CS)\b", adresse)


@dataclass(frozen=True)
class Regle:
    """Une forme d'un genre de donnée ; un genre peut en avoir plusieurs.

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
        groupe = "valeur" if "valeur" in self.forme.groupindex else 0
        position = 0
        while trouve := self.forme.search(texte, position):
            position = trouve.start() + 1  # une preuve manquée peut en cacher une bonne
            if self.prouver(trouve.group(groupe)):
                yield trouve.span(groupe)
                position = trouve.end()


REGLES = (
    # L'IBAN d'abord : une partie de ses chiffres peut faire un NIR.
    Regle(
        "personnel.iban",
        re.compile(rf"(?<!\w)(?i:{_IBAN})(?!\w)|\b{_IBAN_AILLEURS}\b"),
        lambda trouve: iban.is_valid(_chiffres(trouve)),
    ),
    Regle("personnel.nir", re.compile(_NIR), lambda trouve: nir.is_valid(_chiffres(trouve))),
    # Un SIREN désigne une entreprise, mais aussi une personne quand elle exerce en son nom.
    Regle(
        "personnel.siret",
        re.compile(rf"{_SIREN}(?:{_BLANC}\d){{5}}(?!\w)"),
        lambda trouve: siret.is_valid(_chiffres(trouve)),
    ),
    Regle(
        "personnel.siren",
        re.compile(
            rf"(?i:siren|{_RCS}|entreprise|immatricul\w+){_SUITE}{{0,60}}"
            rf"(?P<valeur>{_SIREN})(?!{_BLANC}\d)"
        ),
        _est_siren,
    ),
    Regle(
        "personnel.siren",
        re.compile(rf"{_SIREN}(?!{_BLANC}\d)(?={_SUITE}{{0,15}}(?i:{_RCS}|siren\b))"),
        _est_siren,
    ),
    Regle("personnel.courriel", re.compile(_COURRIEL)),
    Regle("personnel.telephone", re.compile(_TELEPHONE)),
    Regle("personnel.plaque", re.compile(rf"(?<![\w-]){_SIV}")),
    Regle(
        "personnel.plaque", re.compile(rf"{_VEHICULE}\b(?P<valeur>{_SIV_MINUSCULE}|{_AVANT_2009})")
    ),
    Regle(
        "personnel.passeport",
        re.compile(rf"(?i:(?<!\[)passeport{_SUITE_LARGE}{{0,80}}?(?<!\w)(?P<valeur>{_PASSEPORT}))"),
    ),
    Regle(
        "personnel.passeport",
        re.compile(rf"(?i:(?<!\w){_PASSEPORT}(?={_SUITE}{{0,40}}\bpasseport))"),
    ),
    Regle(
        "personnel.carte_identite",
        re.compile(
            rf"(?:(?i:(?:carte|pi[èe]ce|titre){_ESPACE}(?:nationale{_ESPACE})?(?:d[’' ]?)?identit[ée])"
            rf"|\b(?i:cnie?)\b){_SUITE_LARGE}{{0,80}}?{_CARTE}"
        ),
    ),
    Regle("personnel.naissance", re.compile(_NAISSANCE)),
    Regle("personnel.adresse", re.compile(_ADRESSE), _est_d_une_personne),
    Regle("personnel.adresse", re.compile(_ADRESSE_POSTALE)),
    Regle("personnel.adresse", re.compile(_HABITE)),
)


@dataclass(frozen=True)
class Trouvaille:
    """Une donnée personnelle : sa règle, le rang de l'exemple (depuis 1) et son champ."""

    regle: str
    rang: int
    champ: str


def reperer(texte: str) -> Iterator[tuple[Regle, int, int]]:
    """Les données personnelles d'un texte : règle, début et fin, sans chevauchement.

    Un numéro que deux règles réclament revient à la première, la plus précise : elle le cache
    aux suivantes.
    """
    for regle in REGLES:
        for debut, fin in list(regle.reperer(texte)):
            texte = texte[:debut] + "\0" * (fin - debut) + texte[fin:]
            yield regle, debut, fin


def donnees_personnelles(corpus: Dataset) -> list[Trouvaille]:
    """Toutes les données personnelles d'un corpus ; les valeurs ne sont ni gardées ni montrées."""
    return [
        Trouvaille(regle.nom, rang, champ)
        for rang, exemple in enumerate(corpus, 1)
        for champ, texte in textes(exemple)
        for regle, _, _ in reperer(texte)
    ]


def _essentiel(regle: Regle, trouve: str) -> str:
    """Ce qui reste d'une valeur sans sa présentation : espaces, casse, « [at] », « +33 »…"""
    if regle.nom == "personnel.telephone":
        return _chiffres(trouve)[-9:]
    if regle.nom == "personnel.courriel":
        trouve = re.sub(_POINT, ".", re.sub(_AT, "@", trouve))
    return re.sub(r"[\W_]", "", trouve.upper().replace("CLÉ", ""))


@dataclass
class Pseudonymes:
    """Le registre d'un remplacement : la même valeur reçoit toujours le même nom.

    Les valeurs n'y restent que le temps de l'appel ; ``comptes`` est ce qu'on garde.
    """

    noms: dict[tuple[str, str], str] = field(default_factory=dict)
    comptes: Counter[str] = field(default_factory=Counter)
    rangs: Counter[str] = field(default_factory=Counter)

    def remplacer(self, texte: str) -> str:
        """Le texte, chaque donnée personnelle remplacée par « [COURRIEL_1] », « [NIR_2] »…"""
        morceaux, position = [], 0
        for regle, debut, fin in sorted(reperer(texte), key=lambda t: t[1]):
            morceaux += [texte[position:debut], self._nommer(regle, texte[debut:fin])]
            self.comptes[regle.nom] += 1
            position = fin
        return "".join([*morceaux, texte[position:]])

    def _nommer(self, regle: Regle, trouve: str) -> str:
        """Le pseudonyme d'une valeur, le même quelle que soit la façon de l'écrire."""
        valeur = (regle.nom, _essentiel(regle, trouve))
        if valeur not in self.noms:
            self.rangs[regle.nom] += 1
            self.noms[valeur] = f"[{regle.etiquette}_{self.rangs[regle.nom]}]"
        return self.noms[valeur]


def masquer(texte: str) -> str:
    """Le texte sans ses données personnelles, pour en montrer un extrait."""
    return Pseudonymes().remplacer(texte)


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
