"""D'un document aux fiches : une page ou une rubrique chacune, avec la place de chaque morceau."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

from fabrique.corpus.documents.blocs import NOTE, TITRE, Bloc, Document, Lieu, en_texte
from fabrique.socle.erreurs import ErreurFabrique

#: Une rubrique commence une fiche si la fiche en cours a déjà tant de mots ; au-delà du second
#: nombre, la fiche finit au bloc suivant. Un passage de l'index en a 60 à 220.
MOTS_RUBRIQUE, MOTS_FICHE_MAX = 120, 900
#: Ce qui sépare les titres emboîtés d'une rubrique, comme dans un passage de l'index.
SOUS = " › "


@dataclass(frozen=True)
class Morceau:
    """Une tranche du texte d'une fiche, et où elle est sur la page."""

    debut: int
    fin: int
    lieux: tuple[Lieu, ...]


@dataclass
class FicheLue:
    """Une fiche, telle que ``fabrique sources indexer`` la lit, et la place de ses morceaux."""

    id: str
    titre: str
    source: str
    page: int | None
    rubrique: str
    texte: str = ""
    morceaux: list[Morceau] = field(default_factory=list)

    def ajouter(self, bloc: Bloc) -> None:
        """Écrit un bloc à la suite."""
        self.texte += "\n\n" if self.texte else ""
        debut, ecrit = len(self.texte), en_texte(bloc)
        self.texte += ecrit
        if bloc.lieux:
            self.morceaux.append(Morceau(debut, debut + len(ecrit), bloc.lieux))

    @property
    def mots(self) -> int:
        return len(self.texte.split())

    def ligne(self) -> dict:
        """L'objet de ``fiches.jsonl``."""
        return {
            "id": self.id,
            "titre": self.titre,
            "texte": self.texte,
            "source": self.source,
            "page": self.page,
            "rubrique": self.rubrique,
        }

    def ligne_des_lieux(self) -> dict:
        """L'objet de ``fiches.lieux.jsonl``."""
        return {"id": self.id, "lieux": [asdict(morceau) for morceau in self.morceaux]}


def en_fiches(document: Document, source: str = "") -> Iterator[FicheLue]:
    """Les fiches d'un document, dans l'ordre.

    Une fiche ne réunit que des blocs d'une même page, quand le document en a : la page qu'elle porte
    est celle de tout ce qu'on y cite, à un paragraphe à cheval près. Ses titres sont écrits « ## … »,
    sauf ceux qui la précèdent : ils font sa rubrique.

    Args:
        source: ce que la fiche dira de son origine ; par défaut, le nom du fichier.
    """
    source = source or document.chemin.name
    chemin: list[Bloc] = []
    attente: list[Bloc] = []
    fiche: FicheLue | None = None
    numero = 0
    for bloc in document.blocs:
        if bloc.genre == TITRE:
            attente.append(bloc)
            continue
        if fiche and _finit(fiche, bloc, attente):
            yield fiche
            fiche = None
        for titre in attente:
            chemin = [t for t in chemin if t.niveau < titre.niveau] + [titre]
        if fiche is None:
            numero += 1
            rubrique = SOUS.join(t.texte for t in chemin if t.texte != document.titre)
            fiche = FicheLue(f"{source}-{numero}", document.titre, source, bloc.page, rubrique)
        else:
            for titre in attente:
                fiche.ajouter(titre)
        attente = []
        fiche.ajouter(bloc)
    if fiche:
        yield fiche
    if attente:
        yield _de_titres(document, source, numero + 1, attente)


def _finit(fiche: FicheLue, bloc: Bloc, attente: list[Bloc]) -> bool:
    """Vrai si une fiche nouvelle commence avec ce bloc."""
    if bloc.genre == NOTE and bloc.page == fiche.page:
        return False
    mots = fiche.mots
    return (
        bloc.page != fiche.page
        or (bool(attente) and mots >= MOTS_RUBRIQUE)
        or mots >= MOTS_FICHE_MAX
    )


def _de_titres(document: Document, source: str, numero: int, titres: list[Bloc]) -> FicheLue:
    """La fiche de titres que rien ne suit : ils sont tout ce qu'il y a à lire."""
    fiche = FicheLue(f"{source}-{numero}", document.titre, source, titres[0].page, "")
    for titre in titres:
        fiche.ajouter(titre)
    return fiche


def fichier_des_lieux(sortie: Path) -> Path:
    """Le fichier des places, à côté de celui des fiches : « fiches.lieux.jsonl »."""
    return sortie.with_name(f"{sortie.stem}.lieux.jsonl")


def situer(fiches: str | Path, identifiant: str, citation: str) -> list[Lieu]:
    """Où une citation est sur la page : un rectangle par page et par colonne.

    Args:
        fiches: le fichier que ``fabrique documents lire`` a écrit.
        identifiant: la fiche citée.
        citation: le texte cité, mot pour mot.

    Raises:
        ErreurFabrique: la fiche n'existe pas, ou ne contient pas cette citation.
    """
    fiches = Path(fiches)
    fiche = _chercher(fiches, identifiant)
    debut = fiche["texte"].find(citation)
    if debut < 0 or not citation:
        raise ErreurFabrique(
            f"la fiche « {identifiant} » ne contient pas cette citation",
            "Citez-la mot pour mot",
            fiches,
        )
    fin = debut + len(citation)
    return [
        Lieu(**lieu)
        for morceau in _chercher(fichier_des_lieux(fiches), identifiant)["lieux"]
        if morceau["debut"] < fin and debut < morceau["fin"]
        for lieu in morceau["lieux"]
    ]


def _chercher(fichier: Path, identifiant: str) -> dict:
    """L'objet de cet identifiant, lu ligne à ligne."""
    with fichier.open(encoding="utf-8") as lignes:
        for ligne in lignes:
            objet = json.loads(ligne)
            if objet["id"] == identifiant:
                return objet
    raise ErreurFabrique(
        f"aucune fiche « {identifiant} »", "Vérifiez l’identifiant de la fiche", fichier
    )
