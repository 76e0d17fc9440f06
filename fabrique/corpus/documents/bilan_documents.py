"""Le compte rendu d'une lecture : ce que chaque fichier a donné, ce qui a été ôté, et pourquoi."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field

from fabrique.socle.colonnes import en_colonnes
from fabrique.socle.nombres import accorder, en_duree, en_francais
from fabrique.socle.page import composer

LU, REFUSE, IGNORE = "lu", "refusé", "ignoré"
#: Textes ôtés montrés par étape et par fichier ; « fiches.retraits.jsonl » les a tous.
EXEMPLES = 3
#: Fichiers montrés à l'écran, au plus ; le JSON et la page les ont tous.
MONTRES = 30
#: Ce qu'une étape a fait, en clair.
DITES = {
    "entetes": ("titre courant ou numéro de page ôté", "titres courants et numéros de page ôtés"),
    "sommaires": ("ligne de sommaire ôtée", "lignes de sommaire ôtées"),
    "cesures": ("mot coupé en fin de ligne, recollé", "mots coupés en fin de ligne, recollés"),
    "tourne": ("texte tourné mis de côté", "textes tournés mis de côté"),
    "menus": ("menu, bandeau ou pied de page ôté", "menus, bandeaux et pieds de page ôtés"),
}


@dataclass
class BilanFichier:
    """Ce qu'un fichier a donné.

    Args:
        fichier: son nom, depuis le dossier.
        etat: « lu », « refusé » ou « ignoré ».
        retraits: combien de retraits par étape du nettoyage.
        exemples: les premiers, par étape.
        alertes: ce qu'une personne doit savoir, une phrase chacune.
        personnelles: les données personnelles des fiches, comptées par règle.
        erreur: pourquoi il n'est pas lu, en une phrase.
    """

    fichier: str
    etat: str
    format: str = ""
    pages: int = 0
    mots: int = 0
    fiches: int = 0
    retraits: dict[str, int] = field(default_factory=dict)
    exemples: dict[str, list[str]] = field(default_factory=dict)
    alertes: list[str] = field(default_factory=list)
    personnelles: dict[str, int] = field(default_factory=dict)
    erreur: str = ""
    remede: str = ""
    duree_s: float = 0.0

    @property
    def phrases(self) -> list[str]:
        """Tout ce qu'il y a à en dire."""
        dites = [f"{self.erreur}. {self.remede}".rstrip(". ") + "."] if self.erreur else []
        dites += [f"{alerte}." for alerte in self.alertes]
        if self.personnelles:
            noms = ", ".join(
                f"{regle.removeprefix('personnel.')} {en_francais(fois)}"
                for regle, fois in sorted(self.personnelles.items())
            )
            dites.append(f"données personnelles à vérifier : {noms}.")
        return dites


@dataclass
class BilanDossier:
    """Ce qu'un dossier a donné."""

    dossier: str
    sortie: str
    fichiers: list[BilanFichier]
    duree_s: float = 0.0

    @property
    def lus(self) -> list[BilanFichier]:
        return [bilan for bilan in self.fichiers if bilan.etat == LU]

    @property
    def fiches(self) -> int:
        return sum(bilan.fiches for bilan in self.fichiers)

    @property
    def pages(self) -> int:
        return sum(bilan.pages for bilan in self.fichiers)

    @property
    def retraits(self) -> dict[str, int]:
        """Les retraits de tous les fichiers, par étape."""
        return dict(sum((Counter(bilan.retraits) for bilan in self.fichiers), Counter()))

    def en_dictionnaire(self) -> dict:
        """Pour ``--json``."""
        return {
            "dossier": self.dossier,
            "sortie": self.sortie,
            "fiches": self.fiches,
            "pages": self.pages,
            "retraits": self.retraits,
            "fichiers": [asdict(bilan) for bilan in self.fichiers],
            "duree_s": round(self.duree_s, 3),
        }

    def __str__(self) -> str:
        return "\n".join(self._lignes())

    def _lignes(self) -> Iterator[str]:
        """Le compte rendu du terminal : un tableau, les phrases, le total."""
        montres = sorted(self.fichiers, key=lambda bilan: not bilan.phrases)[:MONTRES]
        yield en_colonnes(
            ("fichier", "état", "pages", "mots", "fiches"),
            [rangee(bilan) for bilan in self.fichiers if bilan in montres],
        )
        if len(self.fichiers) > MONTRES:
            reste = accorder(len(self.fichiers) - MONTRES, "autre fichier", "autres fichiers")
            yield f"… et {reste} : ajoutez --json ou --html"
        for bilan in montres:
            yield from (f"! {bilan.fichier} : {phrase}" for phrase in bilan.phrases)
        for etape, fois in self.retraits.items():
            exemple = next(b.exemples[etape][0] for b in self.fichiers if etape in b.exemples)
            yield f"  {accorder(fois, *DITES[etape])}, par exemple « {exemple} »"
        yield self.resume

    @property
    def resume(self) -> str:
        """Le total, en une phrase."""
        return (
            f"{accorder(len(self.lus), 'fichier lu', 'fichiers lus')} sur "
            f"{en_francais(len(self.fichiers))}, {accorder(self.pages, 'page')}, "
            f"{accorder(self.fiches, 'fiche')} dans {self.sortie} ({en_duree(self.duree_s)})."
        )


def rangee(bilan: BilanFichier) -> tuple[str, str, str, str, str]:
    """La rangée d'un fichier dans un tableau."""
    comptes = map(en_francais, (bilan.pages, bilan.mots, bilan.fiches))
    pages, mots, fiches = comptes if bilan.etat == LU else ("", "", "")
    # Un format sans pages n'en a pas zéro.
    return bilan.fichier, bilan.etat, pages if bilan.pages else "", mots, fiches


def en_page(bilan: BilanDossier) -> str:
    """Le compte rendu en une page HTML : chaque fichier, et ce qui en a été ôté."""
    return composer(
        "corpus/documents/documents.html",
        "Lecture de documents",
        resume=bilan.resume,
        fichiers=[(*rangee(b), " ".join(b.phrases)) for b in bilan.fichiers],
        retraits=[
            (b.fichier, DITES[etape][1], en_francais(fois), " · ".join(b.exemples.get(etape, [])))
            for b in bilan.fichiers
            for etape, fois in b.retraits.items()
        ],
    )
