"""Ce qu'un contrôle rend : des constats, des mesures, et le rapport qui les réunit."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field

ERREUR, ALERTE = "erreur", "alerte"


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
class Alerte:
    """Ce que la lecture a deviné, changé ou laissé de côté : on le dit, sans refuser l'exemple.

    Args:
        regle: son nom, « lecture.precision ».
        ligne: la ligne du fichier, depuis 1.
        message: ce qui s'est passé et ce qu'il faut faire.
        champ: le champ, la colonne ou la feuille en cause.
        du_fichier: vaut pour tout le fichier ; une même alerte n'est alors dite qu'une fois.
    """

    regle: str
    ligne: int
    message: str
    champ: str = ""
    du_fichier: bool = False


@dataclass
class Mesures:
    """Ce que le corpus contient, compté.

    Args:
        jeux: exemples par jeu.
        categories: exemples par catégorie.
        mots: nombre de mots de chaque réponse.
        jetons: nombre de jetons de chaque exemple, tel qu'il s'apprend (gabarit compris).
        avec_contexte: exemples dont ``input`` n'est pas vide.
        suites_distinctes: part de suites de quatre mots différentes dans les réponses, sur le
            premier million de mots.
        jaccard_max: plus forte ressemblance trouvée entre deux réponses comparables ; 0 quand
            aucune paire n'est proposée, rien quand on ne l'a pas cherchée.
    """

    jeux: dict[str, int] = field(default_factory=dict)
    categories: dict[str, int] = field(default_factory=dict)
    mots: list[int] = field(default_factory=list)
    jetons: list[int] = field(default_factory=list)
    avec_contexte: int = 0
    suites_distinctes: float = 0.0
    jaccard_max: float | None = 0.0


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
