"""Repérer et remplacer les données personnelles avant d'apprendre : un modèle retient ce qu'on lui répète.

Les numéros qui portent une clé (NIR, IBAN, carte bancaire, SIREN, SIRET) sont vérifiés par
python-stdnum, les téléphones étrangers par phonenumbers ; les autres données sont reconnues à
leur forme, et au besoin aux mots qui les entourent. Ce qui ne peut désigner une personne est
épargné : organismes publics, adresses en Cedex, boîtes de service, naissances d'avant 1900 ou de
défunts (RGPD, considérants 14 et 27). Les valeurs ne sont jamais gardées ni montrées.

On cherche dans un texte aplani : espaces, tirets et chiffres de toute sorte ramenés aux plus
simples, accents composés, caractères invisibles ôtés. Chaque signe garde sa place d'origine, et
c'est le texte d'origine qu'on remplace.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from datasets import Dataset
from stdnum import iban, luhn
from stdnum.fr import nir, siren, siret

from fabrique.corpus.doublons import INVISIBLES, identite
from fabrique.corpus.formats import CHAMPS, textes

# ---------------------------------------------------------------- le texte aplani


class _Signes(dict):
    """Chaque signe ramené au plus simple qui se lit pareil, un pour un ; rempli à mesure."""

    def __missing__(self, code: int) -> str:
        signe = chr(code)
        self[code] = simple = self._simplifier(signe)
        return simple

    @staticmethod
    def _simplifier(signe: str) -> str:
        if signe in "\n\r":
            return signe
        if signe.isspace():
            return " "
        if signe.isdecimal():
            return str(unicodedata.decimal(signe))
        if "！" <= signe <= "～":  # pleine chasse
            return chr(ord(signe) - 0xFEE0)
        if unicodedata.category(signe) == "Pd" or signe == "−":
            return "-"
        return {"‘": "’", "ʼ": "’", "·": ".", "∙": ".", "⋅": "."}.get(signe, signe)


_SIGNES = _Signes()
_INVISIBLE = re.compile(f"[{INVISIBLES}]")
#: Ce qui fait d'un caractère plusieurs signes, ou aucun.
_A_COMPOSER = re.compile(f"[\\u0300-\\u036f{INVISIBLES}]")
_SIGNE_COMPOSE = re.compile(f"[{INVISIBLES}]|.(?:[{INVISIBLES}]*[\\u0300-\\u036f])*", re.DOTALL)


@dataclass(frozen=True)
class Aplani:
    """Un texte où chercher, et où chacun de ses signes commence et finit dans l'original.

    Args:
        texte: le texte aplani.
        debuts: où commence chaque signe, ou rien si rien n'a bougé.
        fins: où il finit.
    """

    texte: str
    debuts: list[int] = field(default_factory=list)
    fins: list[int] = field(default_factory=list)

    def place(self, debut: int, fin: int) -> tuple[int, int]:
        """Dans le texte d'origine, le début et la fin d'un passage non vide du texte aplani."""
        return (self.debuts[debut], self.fins[fin - 1]) if self.debuts else (debut, fin)


def aplanir(texte: str) -> Aplani:
    """Le texte sans ses raretés typographiques : espaces fines, tirets longs, NFD, invisibles."""
    if not _A_COMPOSER.search(texte):
        return Aplani(texte.translate(_SIGNES))
    signes, debuts, fins = [], [], []
    for trouve in _SIGNE_COMPOSE.finditer(texte):
        for signe in unicodedata.normalize("NFC", _INVISIBLE.sub("", trouve.group())):
            signes.append(signe)
            debuts.append(trouve.start())
            fins.append(trouve.end())
    return Aplani("".join(signes).translate(_SIGNES), debuts, fins)


# ---------------------------------------------------------------- les formes
#
# Une famille par bloc, écrite en re.VERBOSE : un espace s'y note « [ ] ». L'exemple et le
# contre-exemple de chaque règle sont dans REGLES, et les tests les essaient.

#: Entre deux chiffres d'un numéro sans clé, puis d'un numéro que sa clé prouve.
_BLANC = r"[ .-]?"
_ECART = r"[ ]?[./_-]?[ ]?"
#: Ce qui sépare un mot de la donnée qu'il annonce, sans jamais passer par-dessus une donnée
#: déjà prise (« \0 », voir reperer) ni un pseudonyme : repasser ne trouvera rien de plus.
_SUITE = r"[^\d\n\0\[]"
_SUITE_LARGE = r"[^;\0\[]"


def _forme(motif: str) -> re.Pattern[str]:
    return re.compile(motif, re.VERBOSE)


def _seuls(trouve: str) -> str:
    """Les lettres et les chiffres d'un numéro, sans sa présentation."""
    return re.sub(r"[^0-9A-Z]", "", trouve.upper().replace("CLÉ", ""))


# -- NIR : sexe, année, mois, département (2A et 2B en Corse), commune, ordre, puis la clé.

_NIR_SANS_CLE = rf"""
    (?<!\d) [1-478] (?:{_ECART}\d){{2}}
    {_ECART} (?: [02-9]{_ECART}\d | 1{_ECART}[0-2] )
    {_ECART} (?: \d{_ECART}\d | 2{_ECART}[ABab] )
    (?:{_ECART}\d){{6}}
"""
_NIR = _forme(rf"""
    {_NIR_SANS_CLE}
    (?: {_ECART} | ,?[ ]? (?i: [/|(] | clé ) [ ]? (?i:clé)? [ ]? :? [ ]? )
    \d{_ECART}\d (?!\w)
""")
_NIR_NU = _forme(rf"{_NIR_SANS_CLE} (?! \w | [./-]\d )")
_DIT_NIR = _forme(r"""(?i:
    \b nir \b | s[ée]curit[ée][ ]sociale | \b s[ée]cu \b | \b carte[ ]vitale | sans[ ](?:la[ ]|sa[ ])?cl[ée]\b
    | (?: n° | num[ée]ro | no\.? )[ ]?(?:d[’'e][ ]?)? (?: ss | insee | assur[ée]e? ) \b
)""")


# -- IBAN : deux lettres, une clé, 11 à 30 signes ; stdnum connaît la longueur de chaque pays.

_IBAN = _forme(rf"(?<!\w) (?i: [a-z]{{2}}{_ECART}\d\d (?:{_ECART}[a-z0-9]){{11,30}} )")


def _longueur_iban(trouve: str) -> int:
    """La longueur du plus long IBAN juste au début du texte : ce qui suit est un BIC, un mot."""
    for fin in range(len(trouve), 14, -1):
        entier = fin == len(trouve) or not trouve[fin].isalnum()
        numero = trouve[:fin] if entier and trouve[fin - 1].isalnum() else ""
        if numero and iban.is_valid(_seuls(numero), check_country=False):
            return fin
    return 0


# -- Carte bancaire : les premiers chiffres disent le réseau (Visa, Mastercard, Maestro, Discover,
#    UnionPay, JCB, American Express, Diners), le dernier est une clé de Luhn. Source : ISO/IEC 7812.

_CARTE_BANCAIRE = _forme(r"""
    (?<![\w.,+-])
    (?: (?: 4\d{3} | 5[0-8]\d\d | 2(?:22[1-9]|2[3-9]\d|[3-6]\d\d|7[01]\d|720)
          | 6(?:011|[2357]\d\d) | 35(?:2[89]|[3-8]\d) )
        (?P<a>[ ]?[./-]?[ ]?) \d{4} (?P=a) \d{4} (?P=a) \d{4}
      | 3[47]\d\d (?P<b>[ ]?[./-]?[ ]?) \d{6} (?P=b) \d{5}
      | 3(?:0[0-5]|[68]\d)\d (?P<c>[ ]?[./-]?[ ]?) \d{6} (?P=c) \d{4} )
    (?! \w | [.,/-]\d )
""")


# -- SIREN et SIRET : ceux des organismes publics commencent par 1 ou 2 et ne désignent personne.

_NEUF = rf"(?<![\w,.]) [3-9]\d\d {_BLANC} \d{{3}} {_BLANC} \d{{3}}"
_RCS = r"R\.?C\.?S\b"
_SIRET = _forme(rf"{_NEUF} (?:{_BLANC}\d){{5}} (?!\w)")
_SIREN_ANNONCE = _forme(rf"""
    (?i: siren | {_RCS} | entreprise | immatricul\w+ ) {_SUITE}{{0,60}}
    (?P<valeur>{_NEUF}) (?!{_BLANC}\d)
""")
_SIREN_SUIVI = _forme(rf"{_NEUF} (?!{_BLANC}\d) (?={_SUITE}{{0,15}}(?i:{_RCS}|siren\b))")


def _est_siren(trouve: str) -> bool:
    return siren.is_valid(_seuls(trouve))


# -- Téléphone français : par paires, le même séparateur partout (« 01/02/2013 14 h » n'en est pas
#    un). Les numéros en 08 et les numéros courts sont ceux de services.

_PAIRES = r"(?P<{nom}>[ ]?[./-]?[ ]?) \d\d (?: (?P={nom}) \d\d )"
_INDICATIF = (
    r"(?: (?:\+|00)[ ]?{pays} | \((?:\+|00)[ ]?{pays}\) | \+[ ]?\({pays}\) ) [ .-]? (?:\(0\)[ ]?)?"
)
_TELEPHONE = _forme(rf"""
    (?<![\w+]) (?<!\d[.,]) (?:
        (?: {_INDICATIF.format(pays="33")} | 0 | \(0\)[ ]? ) [1-79] {_PAIRES.format(nom="s")}{{3}}
      | 0[1-79]\d\d (?: [ ]\d{{3}}[ ]\d{{3}} | {_PAIRES.format(nom="v")}{{2}} )
      | {_INDICATIF.format(pays="(?:262|508|59[046])")} \d{{3}} {_PAIRES.format(nom="t")}{{2}}
      | {_INDICATIF.format(pays="(?:681|687|689)")} \d\d {_PAIRES.format(nom="u")}{{1,2}}
    ) (?!\d)
""")


# -- Téléphone étranger : un indicatif écrit, « + » ou « 00 » ; phonenumbers connaît les plans de
#    numérotation de tous les pays.

_ETRANGER = _forme(r"""
    (?<![\w+]) (?<!\d[.,])
    (?: (?:\+|00)[ ]? | \((?:\+|00)[ ]? | \+[ ]?\( ) [1-9] \d{0,2} \)?
    (?: [ ]?[./-]?[ ]? \(?\d\)? ){5,13} (?!\w)
""")


def _longueur_telephone(trouve: str) -> int:
    """La longueur du plus long numéro étranger au début du texte : un code postal peut le suivre."""
    for fin in range(len(trouve), 7, -1):
        entier = trouve[fin - 1].isdigit() and not trouve[fin : fin + 1].isdigit()
        if entier and _est_un_telephone_etranger(trouve[:fin]):
            return fin
    return 0


def _est_un_telephone_etranger(trouve: str) -> bool:
    """Vrai d'un numéro entier : ni la France, ni un numéro vert ou surtaxé."""
    import phonenumbers

    try:
        numero = phonenumbers.parse(trouve, "FR")
    except phonenumbers.NumberParseException:
        return False
    genre = phonenumbers.PhoneNumberType
    services = {
        genre.TOLL_FREE, genre.PREMIUM_RATE, genre.SHARED_COST, genre.UAN, genre.VOICEMAIL
    }  # fmt: skip
    if numero.country_code == 33 or not phonenumbers.is_valid_number(numero):
        return False
    return phonenumbers.number_type(numero) not in services


# -- Courriel : les domaines d'exemple sont réservés à la documentation (RFC 2606) ; « contact@… »
#    est la boîte d'un service. Un produit de matrices (« A @ b.sum ») n'en est pas un.

_BOITES = (
    r"accueil|assistance|contact|courrier|dpo|git|infos?|mairie|ne-pas-repondre|no-?reply|"
    r"postmaster|presse|secretariat|support|webmaster"
)
_DOMAINE = r"(?= [\w.-]+ \. (?:fr|com|net|org|eu) \b )"
_AT = rf"""(?: @ | [ ]@[ ]{_DOMAINE} | &\#64; | [ ]? (?i: [\[({{] (?:at|a|arobase|@) [\])}}] ) [ ]? )"""
_POINT = r"(?: \. | [ ]? (?i: [\[(] (?:dot|point|\.) [\])] ) [ ]? )"
_COURRIEL = _forme(rf"""
    (?<![\w.+-])
    (?! (?i:{_BOITES}) (?: {_AT} | [\w.-]* {_AT} [\w.-]+ \.gouv\.fr\b ) )
    (?: [\w.+-]*\w (?: {_AT} )
      # « paul.petit @ville.fr » : l'espace n'est d'un côté que si le nom a un point.
      | [\w+-]+ (?:[._][\w+-]+)+ (?: [ ]@ | @[ ] ) {_DOMAINE}
      | [\w.+-]*\w (?= [ ]arobase[ ] ) )
    (?: (?! (?i: (?:[\w-]+\.)* (?: exemple\. | example\. | (?:example|test|invalid)\b(?!\.\w|-) ) ) )
        (?: [\w-]+ {_POINT} )+ [A-Za-z]{{2,}} \b
      | [ ]arobase[ ] [\w-]+ (?: [ ](?:point|dot)[ ][\w-]+ )+ )
""")


# -- Naissance : personne n'est né avant 1900 parmi les vivants.

_MOIS = (
    "janvier|février|fevrier|mars|avril|mai|juin|juillet|août|aout|septembre|octobre|novembre|"
    "décembre|decembre"
)
_MOIS_ABREGES = r"(?:janv|jan|f[ée]vr|f[ée]v|avr|juill|juil|sept|oct|nov|d[ée]c)\b\.?"
_AN = r"(?:19|20)\d\d"
_JOUR = r"(?:3[01]|[12]\d|0?[1-9])"
_DATE = rf"""(?:
    {_JOUR} (?P<s> [ ]?[/.-][ ]? | [ ] ) (?:1[0-2]|0?[1-9]) (?P=s) (?: {_AN} | \d\d ) (?!\d)
  | {_AN}-\d\d-\d\d
  | {_JOUR} (?:er)? [ -] (?: {_MOIS} | {_MOIS_ABREGES} ) [ -] {_AN}
)"""
_PAS_UNE_NAISSANCE = r"ou|entre|avant|après|antérieure?|postérieure?|compter|partir|depuis|délivr\w+|datant|établi\w*"
_NAISSANCE = _forme(rf"""
    (?i: (?: \b née? \b (?:\(e\)|\.e)? | \b naissance \b | \b ddn \b )
         (?: (?! \b (?:{_PAS_UNE_NAISSANCE}) \b ) (?: [^\d\n.;\0\[] | \(\d[\dab]\d?\) ) ){{0,45}}? \n?
       | \b nee?[ ]le[ ] )
    (?<!\d) (?P<valeur> (?i:{_DATE}) )
    # « (né le… à Paris et mort le… » : une personne disparue.
    (?! [^\d\n.;\0\[]{{0,50}} (?: \bet | [,(-] ) [ ] (?:est[ ])? (?:morte?|décédée?) \b )
""")


# -- Adresse : un numéro, une voie, un nom ; la ville si elle suit.

_VOIE = (
    r"rue|avenue|av(?:e\b|\.|\b)|boulevard|b(?:l?v?)d\b\.?|place|pl\.|allées?|all\.|impasse|imp\.|"
    r"chemin|ch\.|route|rte\b|quai|cours|square|passage|sente|sentier|lotissement|résidence|villa|"
    r"faubourg|esplanade|promenade|rond-point|cité|clos|hameau|mail|montée|ruelle|traverse|venelle|"
    r"voie|chaussée"
)
_LIEN = r"(?: (?:de|du|des|la|le|les|à|a|au|aux|en|sur|sous|lès)[ ] | [ld][’'] )"
_NOM = r"[A-ZÀ-ÖØ-ÞŒ] (?: [a-z]{0,2}\.(?=[ ][A-Z]) | [\w’'-]* )"
_NOMS = rf"{_NOM} (?: [ ]{_LIEN}{{0,2}}{_NOM} ){{0,4}}"
# « 27 novembre 1635 rue du Pont » : une année n'est pas un numéro de maison.
_PAS_UNE_ANNEE = rf"(?! (?:{'|'.join(rf'(?<={mois}[ ])' for mois in _MOIS.split('|'))}) \d{{4}} )"
_NUMERO = rf"""
    (?<!\w) (?<!\d[.,/-]) {_PAS_UNE_ANNEE} \d{{1,4}} (?:[/-]\d{{1,4}})?
    (?: [ ]? (?:bis|ter|quater|[A-Da-d]) )? ,? [ ]
    (?i:{_VOIE}) (?! [ ]?J\.?[ ]?-?C\b ) [ ]
"""
_VILLE = rf"\d\d[ ]?\d{{3}}[ ] (?!euros?\b|francs?\b) (?: {_NOMS} | (?:l[ea]s?[ ])?[\w’'-]{{3,}} )"
_ADRESSE = _forme(rf"""
    {_NUMERO} {_LIEN}{{0,3}} (?: \d{{1,2}}(?:er)?[ -](?i:{_MOIS})(?:[ -]{_AN})? | {_NOMS} )
    (?: (?: [^\d.;\0\[] | (?:TSA|CS|BP)[ ]?\d+ ){{1,30}}? {_VILLE} )?
""")
# Écrite sans majuscules : il faut un code postal, ou quelqu'un qui dit y habiter.
_MINUSCULES = r"(?: " + _LIEN + r"{0,3} [a-zà-öø-ÿœ’'-]{3,} (?:[ ]|\b) )"
_ADRESSE_POSTALE = _forme(
    rf"{_NUMERO} {_MINUSCULES}{{1,4}} ,?[ ]? \d{{5}}[ ] (?:l[ea]s?[ ])? [\w’'-]+"
)
_HABITE = _forme(rf"""
    (?i: \b (?:habit|demeur|domicili|r[ée]sid|log)\w+ | \badresse | \bsise?\b ) {_SUITE}{{0,25}}
    (?P<valeur> {_NUMERO} {_LIEN}{{0,3}} [a-zà-öø-ÿœ][\w’'-]{{2,}}
        (?: [ ] (?! (?:depuis|avec|mais|pour|dans|chez|qui|les|des|sur|est)\b ) [\w’'-]{{3,}} )? )
""")


def _est_d_une_personne(adresse: str) -> bool:
    """Seuls les entreprises et les services ont une adresse en Cedex, TSA ou CS."""
    return not re.search(r"(?i:cedex)|\b(?:TSA|CS)\b", adresse)


# -- Plaque : depuis 2009 (sans I, O, U ni SS), et d'avant quand le contexte le dit ; AA-123-AA,
#    AA-123-BB, AB-123-CD, 123-AB-01 et 123-AB-45 sont celles des exemples.

_LETTRES = r"(?!SS)[A-HJ-NP-TV-Z]{2}"
_PLAQUE = _forme(rf"""
    (?<![\w-]) (?! A[AB][ -]?123[ -]?(?:AA|BB|CD)\b )
    {_LETTRES} (?P<s>[ .-]?) \d{{3}} (?P=s) {_LETTRES} (?![\w-])
""")
#: En minuscules, « de 150 ch » n'en est pas une.
_MINUSCULE_2009 = r"""
    (?! (?:de|du|le|la|et|en|ma|ta|sa)[ ] ) [a-hj-np-tv-z]{2} (?P<l>[ -]?) \d{3} (?P=l)
    [a-hj-np-tv-z]{2} (?![\w-])
"""
_AVANT_2009 = r"""
    (?! 123[ -]?ABC?[ -]?(?:01|45)\b ) \d{1,4} (?P<t>[ -]?) [A-Z]{2,3} (?P=t) (?:2[AB]|97\d|\d\d) (?![\w-])
"""
_PLAQUE_ANNONCEE = _forme(rf"""
    (?i: (?<!\[)\b (?:immatricul\w+|plaques?|véhicule|voiture|moto|scooter) \b ) {_SUITE}{{0,40}}?
    \b (?P<valeur> {_MINUSCULE_2009} | {_AVANT_2009} )
""")


# -- Passeport : deux chiffres, deux lettres, cinq chiffres, près du mot.

_NUMERO_PASSEPORT = rf"\d\d {_BLANC} [A-Z]{{2}} {_BLANC} \d{{5}} (?!\w)"
_PASSEPORT_ANNONCE = _forme(rf"""
    (?i: (?<!\[)passeport {_SUITE_LARGE}{{0,80}}? (?<!\w) (?P<valeur>{_NUMERO_PASSEPORT}) )
""")
_PASSEPORT_SUIVI = _forme(rf"(?i: (?<!\w) {_NUMERO_PASSEPORT} (?= {_SUITE}{{0,40}} \bpasseport ) )")


# -- Carte d'identité : douze chiffres (l'ancienne) ou neuf signes mêlés (la nouvelle), près du mot.

_CARTE_IDENTITE = _forme(rf"""
    (?: (?i: (?:carte|pi[èe]ce|titre)[ ] (?:nationale[ ])? (?:d[’'\ ]?)? identit[ée] )
      | \b (?i:cnie?) \b ) {_SUITE_LARGE}{{0,80}}?
    (?<![\w-]) (?P<valeur>
        \d (?:{_BLANC}\d){{11}}
      | (?=[A-Z]*\d)(?=\d*[A-Z])(?![A-Z]{{4,}}\d+\b) [A-Z0-9]{{9}}
      | (?=[a-z]*\d)(?![a-z]+\d+\b) [a-z][a-z0-9]{{8}} ) (?![\w-])
""")


# ---------------------------------------------------------------- les règles


def _toute(trouve: str) -> int:
    """La donnée est tout ce que la forme a pris."""
    return len(trouve)


def _toute_si(preuve: Callable[[str], bool]) -> Callable[[str], int]:
    """La donnée est tout ce que la forme a pris, si la preuve le confirme."""
    return lambda trouve: len(trouve) if preuve(trouve) else 0


class RegleDeDonnee(Protocol):
    """Ce que toute règle sait dire d'un texte, quelle que soit sa façon de chercher."""

    @property
    def nom(self) -> str:
        """« personnel.nir »…"""

    @property
    def etiquette(self) -> str:
        """Ce qui remplace la donnée : « NIR », « COURRIEL »…"""

    def reperer(self, texte: str, contexte: str = "") -> Iterator[tuple[int, int]]:
        """Début et fin de chaque donnée de ce genre dans un texte aplani, par ce qui l'entoure."""


@dataclass(frozen=True)
class Regle:
    """Une forme d'un genre de donnée ; un genre peut en avoir plusieurs.

    Args:
        nom: « personnel.nir »…
        forme: l'expression qui l'annonce ; son groupe ``valeur``, ou toute elle, est la donnée.
        exemple: une phrase où elle est, entre « et ».
        contre_exemple: une phrase qui y ressemble, où elle n'est pas.
        mesurer: combien de signes de ce que la forme a pris sont la donnée ; 0 si ce n'en est
            pas une (clé fausse, pays inconnu…).
        contexte: ce que l'exemple doit dire quelque part, sans quoi la règle ne vaut pas.
    """

    nom: str
    forme: re.Pattern[str]
    exemple: str
    contre_exemple: str
    mesurer: Callable[[str], int] = _toute
    contexte: re.Pattern[str] | None = None

    @property
    def etiquette(self) -> str:
        """Ce qui remplace la donnée : « NIR », « COURRIEL »…"""
        return self.nom.removeprefix("personnel.").upper()

    def reperer(self, texte: str, contexte: str = "") -> Iterator[tuple[int, int]]:
        """Début et fin de chaque donnée de ce genre dans un texte aplani, par ce qui l'entoure."""
        groupe = "valeur" if "valeur" in self.forme.groupindex else 0
        position = 0
        while trouve := self.forme.search(texte, position):
            if self.contexte and not any(
                self.contexte.search(aplanir(dit).texte) for dit in (texte, contexte)
            ):
                return
            position = trouve.start() + 1  # une preuve manquée peut en cacher une bonne
            if longueur := self.mesurer(trouve.group(groupe)):
                position = trouve.start(groupe) + longueur
                yield trouve.start(groupe), position


REGLES: tuple[Regle, ...] = (
    # L'IBAN d'abord : une partie de ses chiffres peut faire un NIR ou une carte.
    Regle(
        "personnel.iban",
        _IBAN,
        "Virez sur «FR76 3000 6000 0112 3456 7890 189» BIC AGRIFRPP.",
        "la référence FR12 ABCD 1234",
        _longueur_iban,
    ),
    Regle(
        "personnel.nir",
        _NIR,
        "Mon numéro est le «1 84 07 33 063 012 40».",
        "clé fausse : 1 84 07 33 063 012 41",
        _toute_si(lambda trouve: nir.is_valid(_seuls(trouve))),
    ),
    Regle(
        "personnel.nir",
        _NIR_NU,
        "n° de sécurité sociale : «1 84 07 33 063 012»",
        "la commande 1 84 07 33 063 012",
        contexte=_DIT_NIR,
    ),
    Regle(
        "personnel.carte_bancaire",
        _CARTE_BANCAIRE,
        "payé avec la carte «4970 4212 3456 7895»",
        "la référence 4970 4212 3456 7894",
        _toute_si(lambda trouve: luhn.is_valid(_seuls(trouve))),
    ),
    # Un SIREN désigne une entreprise, mais aussi une personne quand elle exerce en son nom.
    Regle(
        "personnel.siret",
        _SIRET,
        "facturé par «73282932000074», à Lyon",
        "organisme public : 213 300 635 00017",
        _toute_si(lambda trouve: siret.is_valid(_seuls(trouve))),
    ),
    Regle(
        "personnel.siren",
        _SIREN_ANNONCE,
        "immatriculée au RCS de Paris sous le n° «732829320».",
        "SIREN 732 829 321",
        _toute_si(_est_siren),
    ),
    Regle(
        "personnel.siren",
        _SIREN_SUIVI,
        "Lucie D., «732 829 320» RCS Paris",
        "732 829 320 habitants",
        _toute_si(_est_siren),
    ),
    Regle(
        "personnel.courriel",
        _COURRIEL,
        "à «marie.durand [at] boite-fictive.fr».",
        "contact@boite-fictive.fr",
    ),
    Regle(
        "personnel.telephone",
        _TELEPHONE,
        "Appelez le «(+33) 6 39 98 12 34».",
        "le 01/02/2013 14 h 30",
    ),
    Regle(
        "personnel.telephone",
        _ETRANGER,
        "à Londres, «+44 20 7946 0958»",
        "la référence 00 1234 5678 9012",
        _longueur_telephone,
    ),
    Regle("personnel.plaque", _PLAQUE, "Sa voiture, «GK-482-TR», est bleue.", "AB-123-CD"),
    Regle(
        "personnel.plaque",
        _PLAQUE_ANNONCEE,
        "immatriculée «4821 TRE 75» en 1998",
        "le lot 482 TRE 75",
    ),
    Regle(
        "personnel.passeport", _PASSEPORT_ANNONCE, "passeport n° «19FV12345»", "le lot 19FV12345"
    ),
    Regle(
        "personnel.passeport",
        _PASSEPORT_SUIVI,
        "«19 FV 12345» (passeport)",
        "passeport valable 10 ans, 86 euros en 2024",
    ),
    Regle(
        "personnel.carte_identite",
        _CARTE_IDENTITE,
        "carte d’identité n° «880692310285»",
        "commande 880692310285",
    ),
    Regle(
        "personnel.naissance",
        _NAISSANCE,
        "Elle est née le «12 févr. 1984» à Lille.",
        "un acte de naissance délivré le 12 mars 2023",
    ),
    Regle(
        "personnel.adresse",
        _ADRESSE,
        "J’habite «12 bis, avenue Jean Jaurès, 44000 Nantes».",
        "11, rue de la Fiction\n44941 Nantes Cedex 09",
        _toute_si(_est_d_une_personne),
    ),
    Regle(
        "personnel.adresse",
        _ADRESSE_POSTALE,
        "«5 impasse des lilas 35000 rennes» merci",
        "3 places assises, 2 cours particuliers",
    ),
    Regle(
        "personnel.adresse",
        _HABITE,
        "j'habite au «5 rue des lilas» depuis 2012",
        "Fondée en 814 av. J.-C. par Didon.",
    ),
)


# ---------------------------------------------------------------- chercher

#: Ce sans quoi aucune règle ne trouve rien : un chiffre, ou de quoi faire un courriel. Le chercher
#: coûte bien moins que d’essayer chaque forme.
_AMORCE = re.compile(r"\d|@|arobase|[\[({](?:at|a)[\])}]", re.IGNORECASE)


@dataclass(frozen=True)
class Trouvaille:
    """Une donnée personnelle : sa règle, le rang de l'exemple (depuis 1) et son champ."""

    regle: str
    rang: int
    champ: str


def reperer(
    texte: str, contexte: str = "", regles: Sequence[RegleDeDonnee] = REGLES, annonce: str = ""
) -> Iterator[tuple[RegleDeDonnee, int, int]]:
    """Les données personnelles d'un texte : règle, début et fin, sans chevauchement.

    Un numéro que deux règles réclament revient à la première, la plus précise : elle le cache
    aux suivantes.

    Args:
        texte: où chercher.
        contexte: ce que disent les autres champs de l'exemple : une question sur le « numéro de
            sécurité sociale » éclaire la réponse.
        regles: ``noms.avec_les_noms`` y ajoute les noms de personnes.
        annonce: ce qui se lit juste avant (``annonce``, pour une colonne).
    """
    aplani = aplanir(annonce + texte)
    plat = aplani.texte
    if regles is REGLES and not _AMORCE.search(plat):
        return
    for regle in regles:
        for debut, fin in list(regle.reperer(plat, contexte)):
            plat = plat[:debut] + "\0" * (fin - debut) + plat[fin:]
            place = (bord - len(annonce) for bord in aplani.place(debut, fin))
            debut, fin = (max(0, bord) for bord in place)
            if debut < fin:
                yield regle, debut, fin


def textes_et_colonnes(exemple: dict) -> Iterator[tuple[str, str]]:
    """Tout ce qu'un exemple dit, et ses autres colonnes : identifiant, source, catégorie…"""
    yield from textes(exemple)
    for colonne, valeur in exemple.items():
        if colonne not in CHAMPS and isinstance(valeur, str):
            yield colonne, valeur


def annonce(champ: str) -> str:
    """Ce que le nom d'une colonne dit de sa valeur : « date_naissance », « nir » ; rien des nôtres."""
    nom = champ.partition("[")[0]
    return "" if nom in (*CHAMPS, "messages") else f"{nom.replace('_', ' ')} : "


def contexte_de(exemple: dict) -> str:
    """Tous les textes d'un exemple, l'un sous l'autre, chaque colonne annoncée par son nom."""
    return "\n".join(annonce(champ) + texte for champ, texte in textes_et_colonnes(exemple))


def donnees_personnelles(exemples: Iterable[dict]) -> list[Trouvaille]:
    """Toutes les données personnelles d'un corpus ; les valeurs ne sont ni gardées ni montrées.

    Args:
        exemples: un ``Dataset``, ou ce que rend ``colonnes_du_fichier``.
    """
    return [
        Trouvaille(regle.nom, rang, champ)
        for rang, exemple in enumerate(exemples, 1)
        for champ, texte in textes_et_colonnes(exemple)
        for regle, _, _ in reperer(texte, contexte_de(exemple), annonce=annonce(champ))
    ]


# ---------------------------------------------------------------- remplacer


def _essentiel(regle: RegleDeDonnee, trouve: str) -> str:
    """Ce qui reste d'une valeur sans sa présentation : espaces, casse, « [at] », « +33 »…"""
    trouve = aplanir(trouve).texte
    if regle.nom == "personnel.telephone":
        return _seuls(trouve)[-9:]
    if regle.nom == "personnel.nir":
        return _seuls(trouve)[:13]
    if regle.nom == "personnel.courriel":
        trouve = re.sub(_POINT, ".", re.sub(_AT, "@", trouve, flags=re.VERBOSE), flags=re.VERBOSE)
    return re.sub(r"[\W_]", "", trouve.upper())


@dataclass
class Pseudonymes:
    """Le registre d'un remplacement : la même valeur reçoit toujours le même nom.

    Les valeurs n'y restent que le temps de l'appel ; ``comptes`` est ce qu'on garde.
    """

    regles: Sequence[RegleDeDonnee] = REGLES
    noms: dict[tuple[str, str], str] = field(default_factory=dict)
    comptes: Counter[str] = field(default_factory=Counter)
    rangs: Counter[str] = field(default_factory=Counter)

    def remplacer(self, texte: str, contexte: str = "", annonce: str = "") -> str:
        """Le texte, chaque donnée personnelle remplacée par « [COURRIEL_1] », « [NIR_2] »…"""
        morceaux, position = [], 0
        trouvees = reperer(texte, contexte, self.regles, annonce)
        for regle, debut, fin in sorted(trouvees, key=lambda t: t[1]):
            morceaux += [texte[position:debut], self._nommer(regle, texte[debut:fin])]
            self.comptes[regle.nom] += 1
            position = fin
        return "".join([*morceaux, texte[position:]])

    def remplacer_partout(self, valeur: Any, contexte: str = "", champ: str = CHAMPS[0]) -> Any:
        """La même chose dans chaque texte d'une valeur JSON : colonnes, listes, objets.

        Args:
            champ: la colonne où se lit cette valeur, dont le nom l'éclaire.
        """
        if isinstance(valeur, str):
            return self.remplacer(valeur, contexte, annonce(champ))
        if isinstance(valeur, dict):
            return {c: self.remplacer_partout(v, contexte, c) for c, v in valeur.items()}
        if isinstance(valeur, list):
            return [self.remplacer_partout(v, contexte, champ) for v in valeur]
        return valeur

    def _nommer(self, regle: RegleDeDonnee, trouve: str) -> str:
        """Le pseudonyme d'une valeur, le même quelle que soit la façon de l'écrire."""
        valeur = (regle.nom, _essentiel(regle, trouve))
        if valeur not in self.noms:
            self.rangs[regle.nom] += 1
            self.noms[valeur] = f"[{regle.etiquette}_{self.rangs[regle.nom]}]"
        return self.noms[valeur]


def masquer(texte: str, contexte: str = "", regles: Sequence[RegleDeDonnee] = REGLES) -> str:
    """Le texte sans ses données personnelles, pour en montrer un extrait."""
    return Pseudonymes(regles).remplacer(texte, contexte)


def pseudonymiser(
    corpus: Dataset, regles: Sequence[RegleDeDonnee] = REGLES
) -> tuple[Dataset, dict[str, int]]:
    """Remplace les données personnelles d'un corpus, toujours de la même façon.

    Toutes les colonnes y passent, identifiant et source compris. Ce n'est pas une anonymisation :
    une personne reste parfois reconnaissable à son histoire (RGPD, considérant 26 ; avis 05/2014
    du G29 sur les techniques d'anonymisation).

    Args:
        regles: ``noms.avec_les_noms("regles")`` remplace aussi les noms de personnes qu'il trouve ;
            « Mme Le Goff » et « Anne Le Goff » y reçoivent deux pseudonymes.

    Returns:
        Le corpus sans ces données, et le nombre de remplacements par règle.
    """
    pseudonymes = Pseudonymes(regles)
    propres = [pseudonymes.remplacer_partout(exemple, contexte_de(exemple)) for exemple in corpus]
    return Dataset.from_list(propres, features=corpus.features), dict(pseudonymes.comptes)


def doublons_exacts(corpus: Dataset) -> int:
    """Nombre d'exemples dont tous les textes sont déjà dans le corpus, à la typographie près."""
    return len(corpus) - len({identite(exemple) for exemple in corpus})
