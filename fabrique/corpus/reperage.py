"""Repérer les entités d'un texte administratif : par des règles, par spaCy, ou par un modèle entraîné.

Pour les règles, les dates, les sommes et les articles ont une forme ; une personne, un organisme, un lieu se
reconnaissent ici à ce qui les précède (« Mme », « association », « à »). Une famille par bloc, écrite
en re.VERBOSE comme dans ``personnelles``, dont on reprend les mois, les jours et les voies. Les formes
ont été réglées sur les jeux d'entraînement et de validation d'*entites*, jamais sur le jeu de test.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from fabrique.corpus.entites import Entite
from fabrique.corpus.personnelles import _JOUR, _MOIS, _VOIE, aplanir
from fabrique.socle.erreurs import ErreurFabrique

if TYPE_CHECKING:
    from fabrique.modeles.etiquetage import Etiqueteur

#: Ce qui trouve les entités d'un texte.
Repereur = Callable[[str], list[Entite]]

# ---------------------------------------------------------------- les formes


def _forme(motif: str) -> re.Pattern[str]:
    return re.compile(motif, re.VERBOSE)


# -- Article : son numéro, d'autres à la suite, puis le texte d'où il vient.

_NUMERO = r"(?: (?:[LRDA]\.?[ ]?\*?[ ]?)? \d+ (?:er)? (?:-\d+)* (?:[ ](?:bis|ter|quater)\b)? )"
_NUMEROS = rf"{_NUMERO} (?: (?:,[ ] | [ ](?:et|ou|à)[ ]) {_NUMERO} )* (?: [ ]et[ ]suivants )?"
_LE = r"(?: de[ ]la[ ] | de[ ]l[’'] | du[ ] | des[ ] | de[ ] | d[’'] )"
_QUALITE = (
    r"(?:civil|civile|pénal|pénale|public|publique|rural|rurale|électoral|monétaire|financier|"
    r"général|générale|sociale|social|territoriales|administratif|administrative|administratives|"
    r"collective|européenne|intérieur|fiscales|(?:civiles|pénales)[ ]d[’']exécution)"
)
_SUITE_DU_TITRE = (
    rf"(?: [ ]{_QUALITE}\b | [ ]{_LE}\w+ | [ ]et[ ]{_LE}\w+ | [ ]entre[ ]le[ ]\w+[ ]et[ ]l[’']\w+ )"
)
_DATE_DE_TEXTE = rf"(?: [ ]du[ ]\d{{1,2}}(?:er)?[ ](?:{_MOIS})[ ]\d{{4}} )"
_TEXTE = rf"""(?:
    (?:code|convention|constitution|Constitution|Convention|traité) {_SUITE_DU_TITRE}* {_DATE_DE_TEXTE}?
  | (?:loi|décret|arrêté|ordonnance|règlement) (?: [ ]\(UE\) )? (?: [ ](?:n°|no)?[ ]?[\d-]+(?:/\d+)? )?
    (?: {_DATE_DE_TEXTE} | {_SUITE_DU_TITRE}* )
  | (?:contrat|bail|statut|statuts) \b
  | cahier[ ]des[ ]\w+
)"""
_ARTICLE = _forme(rf"""
    \b (?: [Aa]rticles? | [Aa]rt\. ) [ ] {_NUMEROS} (?!\w) (?: [ ]{_LE} {_TEXTE} )?
  | \b [LRD]\.[ ]?\d+ (?:-\d+)+ (?: [ ]{_LE} {_TEXTE} )?
""")

# -- Montant : un nombre, en chiffres ou en lettres, et sa monnaie.

_UNITES = (
    "un|une|deux|trois|quatre|cinq|six|sept|huit|neuf|dix|onze|douze|treize|quatorze|quinze|seize|"
    "vingt|vingts|trente|quarante|cinquante|soixante|cents?|mille"
)
_MONNAIE = r"(?: € | euros?\b | EUR\b | francs?\b | centimes?\b )"
_MONTANT = _forme(rf"""
    (?<![\d,.\w-])
    (?: \d{{1,3}} (?:[ .]\d{{3}})+ (?:,\d+)? | \d+ (?:[,.]\d+)?
      | \b (?:{_UNITES}) (?: (?:[ -]|[ ]et[ ]) (?:{_UNITES}) )* )
    (?: [ ]million(?:s)?[ ]d[’'] | [ ]milliards?[ ]d[’'] | [ ]? ) {_MONNAIE}
""")

# -- Date : un jour, un mois, une année ; « du 2 au 31 octobre » est une seule date.

_SEMAINE = r"(?: (?:lundi|mardi|mercredi|jeudi|vendredi|samedi|dimanche)[ ] )"
_ANNEE = r"(?:1[5-9]|20)\d\d"
_DATE = _forme(rf"""
    (?<![\d/.,-]) (?: {_JOUR} ([ ]?[/.-][ ]?) (?:1[0-2]|0?[1-9]) \1 (?: {_ANNEE} | \d\d ) (?!\d)
  | {_SEMAINE}? \b{_JOUR} (?:er)? (?: [ ](?:au|et)[ ]{_JOUR} (?:er)? )? [ ] (?:{_MOIS})\b (?: [ ]{_ANNEE}\b )?
  | \b (?:{_MOIS})[ ]{_ANNEE}\b
  | {_ANNEE}-(?:1[0-2]|0[1-9])-\d\d\b
  | (?<=\b[Ee]n[ ]) (?:{_MOIS})\b
  | (?<=\bde[ ]) (?: janvier|février|mars|avril|mai|juin|juillet|septembre|novembre|décembre )\b
  | (?<=\bdepuis[ ]) (?:{_MOIS})\b
  | (?: (?<=\b[Ee]n[ ]) | (?<=\b[Dd]epuis[ ]) | (?<=\bannée[ ]) | (?<=\bentre[ ]) | (?<=\bhiver[ ])
      | (?<=\btaxe[ ]de[ ]) | (?<=\bcourant[ ]) | (?<=\bscolaire[ ]) )
    {_ANNEE} (?:-{_ANNEE})? \b (?![ ]?(?:€|euros|habitants))
  | (?<=\d\d\d\d[ ]et[ ]) {_ANNEE} \b
    )
""")

# -- Personne : une civilité, une fonction ou une formule, puis des noms à majuscules.

_MAJUSCULE = r"[A-ZÀ-ÖØ-ÞŒ]"
_NOM = rf"{_MAJUSCULE} (?: [\w’'-]*\w | \. )"
_PARTICULE = r"(?: (?:de|du|des|van|von|da|el|ben)[ ] | d[’'] )"
_NOMS = rf"{_PARTICULE}? {_NOM} (?: [ ]{_PARTICULE}?{_NOM} ){{0,3}}"
_PAS_UN_NOM = (
    r"(?! (?:Le|La|L|Les|Maire|Madame|Monsieur|Directeur|Directrice|Président|Présidente|Préfet|"
    r"Préfète|Conseiller|Conseillère|Ministre) \b (?![’'] | [ ][A-Z]) )"
)
_TITRE = (
    r"M\. | MM\. | Mme | Mmes | Mlle | Mr | Monsieur | Madame | Mademoiselle | Me | Maître | Dr | "
    r"[Dd]octeur | [Pp]rofesseur | [Cc]apitaine | [Ll]ieutenant | [Cc]olonel | mme"
)
_PERSONNE = _forme(rf"""
    (?: \b(?:{_TITRE})[ ]
      | \b(?:soussignée?|époux|épouse|consorts|familles?(?![ ]de[ ])|enfants|indivision|[Nn]ée?|agente?|élève|[Mm]on[ ]fils|[Mm]a[ ]fille|garde[ ]champêtre)[ ]
      | \b(?:m[’']appelle|je[ ]suis|c[’']est|[Nn]ous|présidé[ ]par|signé[ ]par|suivi[ ]par|[Ss]igné[ ]:)[ ,]{{1,2}}
      | \b(?:maire|rapporteur|rapporteuse|secrétaire[ ]générale?|mon[ ]père|ma[ ]mère|conjointe?|gardien|assistante[ ]sociale|[Mm]on[ ]fils|père|frère|sœur)(?:[ ]honoraire)?,[ ]
    ) (?P<valeur> {_PAS_UN_NOM} {_NOMS} )
""")
_FAMILLE_PUIS_PRENOM = _forme(r"""
    (?<![\w’'-]) (?P<valeur> [A-ZÀ-ÖØ-Þ][A-ZÀ-ÖØ-Þ’'-]{2,} [ ] [A-ZÀ-ÖØ-Þ][a-zà-ÿ’'-]+ (?:-[A-Z][a-zà-ÿ]+)? )
    (?= , | $ | [ ](?:née?|le)\b )
""")

# -- Organisme : le nom d'une institution et ce qui le complète, ou une enseigne annoncée, ou un sigle.

_INSTITUTION = (
    r"caisse|tribunal|ministère|direction|sous-préfecture|préfecture|conseil|syndicat|office|centre|lycée|"
    r"collège|école|cour|Cour|mairie|communauté|métropole|chambre|Chambre|bureau|service|commission|comité|"
    r"trésorerie|mission|bibliothèque|hôpital|régie|agence|parc|musée|Office|Institut|École|Agence|"
    r"Fédération|Union|Caisse|Banque|Mutuelle|maison|crèche|pharmacie|coopérative|fonds"
)
_COMPLEMENT = (
    rf"(?: (?: [ ](?:\w+[ ]){{0,4}}? {_LE} (?:[a-zà-ÿ]+[ ]{_LE}|[a-zà-ÿ]+[ ]){{0,2}} {_NOM} (?:[ ]{_NOM})* )"
    rf" | [ ](?:\w+[ ])? {_MAJUSCULE}[\w’'-]+ (?:[ -]{_NOM})* )"
)
_ORGANISME_PUBLIC = _forme(
    rf"\b (?P<valeur> (?:{_INSTITUTION})\b {_COMPLEMENT} (?: [ ](?:et|de|du)[ ]{_NOM} )? )"
)
_ENSEIGNE = _forme(rf"""
    \b (?: société|sociétés|entreprise|association|gérant[ ]d[’']|garage|mutuelle|assureur|agence|fondation|
        employeur|attributaire|délivré[ ]à|vendue?[ ]par|résilié[ ]par )
    (?: [ ]sportive )? [ ]?
    (?P<valeur> (?:SARL|SCI|SAS|SA|EURL)?[ ]? {_MAJUSCULE}[\w’'-]+
        (?: [ ](?:{_LE}|et[ ]|d[’']|à[ ])?{_MAJUSCULE}[\w’'-]+ ){{0,4}} )
""")
_SIGLE = _forme(r"""
    \b (?P<valeur> (?:CAF|CPAM|MSA|URSSAF|DGFIP|CNIL|CCAS|CARSAT|DREAL|ARS|MDPH|SNCF|caf|cpam)\b
        (?: [ ](?:de[ ]|du[ ])?[A-ZÀ-Ö][\w’'-]+ (?:-[A-Z]\w+)? )?
      | Trésor[ ]public | La[ ]Poste | (?:SARL|SCI|SAS|EURL)[ ][A-ZÀ-Ö]\w+ (?:[ ][A-ZÀ-Ö]\w+)* )
""")

# -- Lieu : une voie et son numéro, ou un nom propre que « à » ou « commune de » annonce.

_LIEU_NOM = rf"(?:(?:La|Le|Les)[ ]|L[’'])? {_MAJUSCULE}[\w’'-]+ (?:[ ]{_MAJUSCULE}[\w’'-]+)*"
_VOIE_DITE = _forme(rf"""
    (?<!\w) (?P<valeur> \d{{1,4}} (?:[ ](?:bis|ter))? ,? [ ] (?:{_VOIE}) (?!\w) [ ]{_LE}? {_MAJUSCULE}[\w’'-]+ (?:[ ]{_NOM})*
      | (?:rue|avenue|place|boulevard|quai|hameau|canal|plateau|pont|île|col|forêt)[ ]{_LE}{_LIEU_NOM} )
""")
_LIEU = _forme(rf"""
    (?: \b[AÀà][ ] | \bsise?[ ]à[ ] | \bentre[ ](?={_MAJUSCULE}) | \bFait[ ]à[ ] | \bcontourne[ ]
      | \b(?:communes?|ville|maires?|maire[ ]honoraire|habitants|originaire|quartier|préfet|préfète|plage|gare|population|centre|pêcheurs|forêt|moulin|chantier|parents|église|passerelle)[ ]{_LE}
      | \beaux[ ]de[ ]la[ ] | \bhabite[ ] | \bdessert[ ]plus[ ] | \ben[ ](?={_MAJUSCULE}) )
    (?P<valeur> (?! (?:{_TITRE})(?!\w) ) {_LIEU_NOM} )
""")


# ---------------------------------------------------------------- les règles


@dataclass(frozen=True)
class RegleEntite:
    """Une forme d'un genre d'entité ; un genre peut en avoir plusieurs.

    Args:
        genre: l'un de ``entites.GENRES``.
        forme: l'expression ; son groupe ``valeur``, ou toute elle, est l'entité.
        exemple: une phrase où elle est, entre « et ».
        contre_exemple: une phrase qui y ressemble, où elle n'est pas.
    """

    genre: str
    forme: re.Pattern[str]
    exemple: str
    contre_exemple: str

    @property
    def groupe(self) -> str | int:
        """Ce qui, dans la forme, est l'entité."""
        return "valeur" if "valeur" in self.forme.groupindex else 0


REGLES = (
    RegleEntite(
        "article",
        _ARTICLE,
        "En vertu de l’«article L. 312-5 du code civil», le bail cesse.",
        "les articles de presse, 3 pages",
    ),
    RegleEntite(
        "montant",
        _MONTANT,
        "une aide de «1 250,40 €» par an",
        "la commune a 1 250 habitants",
    ),
    RegleEntite(
        "date",
        _DATE,
        "le délai court du «3 mars 2021» inclus",
        "le dossier 2021-0458 compte 12 pièces",
    ),
    RegleEntite(
        "personne",
        _PERSONNE,
        "Mme «Aude Kerlan» est absente.",
        "Madame la Directrice est absente.",
    ),
    RegleEntite(
        "personne",
        _FAMILLE_PUIS_PRENOM,
        "signataire : «KERLAN Aude», le 3 mai",
        "RAPPEL Toute absence se justifie.",
    ),
    RegleEntite(
        "organisme",
        _SIGLE,
        "la «CAF du Calvados» a répondu",
        "le cafetier a répondu",
    ),
    RegleEntite(
        "organisme",
        _ENSEIGNE,
        "la société «Bois du Perche» a livré",
        "la société civile a livré",
    ),
    RegleEntite(
        "organisme",
        _ORGANISME_PUBLIC,
        "le «tribunal administratif de Caen» statue",
        "le tribunal administratif statue",
    ),
    RegleEntite(
        "lieu",
        _VOIE_DITE,
        "devant le «12, rue des Lilas» hier",
        "12 rues sont barrées",
    ),
    RegleEntite(
        "lieu",
        _LIEU,
        "Fait à «Caen», hier.",
        "Elle vient à midi.",
    ),
)


def par_regles(texte: str) -> list[Entite]:
    """Les entités que les formes trouvent ; ce que deux formes réclament revient à la première."""
    aplani = aplanir(texte)
    plat, trouvees = aplani.texte, []
    for regle in REGLES:
        for trouve in list(regle.forme.finditer(plat)):
            debut, fin = trouve.span(regle.groupe)
            plat = plat[:debut] + "\0" * (fin - debut) + plat[fin:]
            trouvees.append(Entite(*aplani.place(debut, fin), regle.genre))
    return sorted(trouvees)


# ---------------------------------------------------------------- les autres façons

#: Le modèle de spaCy, et ce que ses genres sont pour nous ; il ne connaît ni dates, ni sommes, ni articles.
MODELE_SPACY = "fr_core_news_sm"
GENRES_SPACY = {"PER": "personne", "ORG": "organisme", "LOC": "lieu"}


_TITRE_EN_TETE = _forme(rf"(?: {_TITRE} ) (?: [ ] | $ )")


@cache
def repereur(moyen: str = "regles") -> Repereur:
    """Ce qui trouve les entités d'un texte ; gardé en mémoire d'un appel à l'autre.

    Args:
        moyen: « regles », « spacy » (extension ``[entites]``), ou le dossier d'un modèle que
            « fabrique entites entrainer » a rempli.

    Raises:
        ErreurFabrique: extension absente, ou dossier qui n'est pas celui d'un tel modèle.
    """
    if moyen == "regles":
        return par_regles
    if moyen == "spacy":
        return _par_spacy()
    if not Path(moyen).is_dir():
        raise ErreurFabrique(
            f"« {moyen} » ne trouve pas d’entités",
            "Donnez « regles », « spacy », ou le dossier qu’a rempli « fabrique entites entrainer »",
        )
    from fabrique.modeles.etiquetage import charger_etiqueteur  # torch : seulement s'il le faut

    return repereur_d_un_modele(charger_etiqueteur(moyen))


def _par_spacy() -> Repereur:
    try:
        import spacy

        chaine = spacy.load(MODELE_SPACY, exclude=["parser", "lemmatizer", "morphologizer"])
    except (ImportError, OSError):
        raise ErreurFabrique(
            "spaCy ou son modèle français n’est pas installé",
            "Tapez « pip install 'fabrique[entites]' »",
        ) from None

    def trouver(texte: str) -> list[Entite]:
        # Il n'a appris que l'apostrophe droite : de « n’a », il ferait une personne.
        lu = chaine(texte.replace("’", "'"))
        trouvees = [e for e in lu.ents if e.label_ in GENRES_SPACY]
        # Notre consigne laisse la civilité hors du nom.
        titres = [_TITRE_EN_TETE.match(trouvee.text) for trouvee in trouvees]
        return [
            Entite(
                trouvee.start_char + (titre.end() if titre else 0),
                trouvee.end_char,
                GENRES_SPACY[trouvee.label_],
            )
            for trouvee, titre in zip(trouvees, titres, strict=True)
            if not titre or titre.end() < len(trouvee.text)
        ]

    return trouver


def repereur_d_un_modele(etiqueteur: Etiqueteur) -> Repereur:
    """Ce que trouve un modèle entraîné sur des phrases marquées."""
    return lambda texte: [Entite(*passage) for passage in etiqueteur.passages(texte)]


def trouver_les_entites(texte: str, moyen: str = "regles") -> list[Entite]:
    """Les entités d'un texte, dans l'ordre ; ``moyen`` est celui de ``repereur``."""
    return repereur(moyen)(texte)


def en_dictionnaire(texte: str, entites: list[Entite]) -> dict:
    """Pour ``--json`` : le texte et ses entités, au format des phrases marquées."""
    return {
        "texte": texte,
        "entites": [
            {"debut": e.debut, "fin": e.fin, "type": e.genre, "extrait": e.de(texte)}
            for e in entites
        ],
    }


def en_lignes(texte: str, entites: list[Entite]) -> str:
    """Une entité par ligne : son genre et ce qu'elle dit."""
    return "\n".join(f"{e.genre:<10}{e.de(texte)}" for e in entites) or "Aucune entité."
