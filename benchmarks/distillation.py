"""L'élève et ses maîtres : ce que gagnent des textes sans étiquette, quand un autre les range.

Des démarches ont une étiquette ; les autres n'en ont pas, ni les questions du corpus *questions*. Chaque
maître apprend les premières et range les secondes ; l'élève, TF-IDF des mots, apprend les seules rangées
par le maître, ou les unes et les autres. Les 162 questions de test, à l'étiquette vérifiée, jugent tout le
monde.

    python -m benchmarks.distillation                       # 250 étiquettes
    python -m benchmarks.distillation --etiquetes 1026      # toutes
    python -m benchmarks.distillation --graines 1 --maitres lettres sens
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.classer import GRAINES, Lot, la_vue
from fabrique.corpus import jeu, lire_corpus
from fabrique.corpus.formats import demande
from fabrique.entrainement.classifieurs import Rangeur
from fabrique.entrainement.reglages_classement import METHODES, ReglagesClassement
from fabrique.evaluation.etiquettes import noter
from fabrique.evaluation.incertitude import Releve, moyenne
from fabrique.recettes.classement import Gele, apprendre, predire
from fabrique.recettes.distillation import Comite, Face
from fabrique.socle.colonnes import en_colonnes
from fabrique.socle.nombres import en_ecart, en_pourcent

#: Les membres du comité : trois façons différentes de regarder un texte.
COMITE = ("lettres", "sens", "gele")
ELEVE = "mots"


@dataclass(frozen=True)
class Partage:
    """Les textes étiquetés, les autres, et ceux qui jugent, pour une graine."""

    etiquetes: Lot
    sans: list[str]
    juges: Lot
    graine: int

    @classmethod
    def tirer(cls, combien: int, graine: int) -> Partage:
        """Un tirage des démarches, dont ``combien`` gardent leur étiquette."""
        tous = Lot.du_jeu("entrainement")
        etiquetes = tous.tire(combien, graine)
        gardes = set(etiquetes.textes)
        questions = [demande(e) for e in jeu(lire_corpus("questions"), "entrainement")]
        sans = [texte for texte in tous.textes if texte not in gardes] + questions
        return cls(etiquetes, sans, Lot.du_jeu("test"), graine)

    def justes(self, classifieur: Rangeur) -> Releve:
        """Ce qu'un classifieur trouve, sur les questions de test."""
        trouvees = classifieur.probabilites(self.juges.textes)
        return noter(trouvees, classifieur.etiquettes, self.juges.etiquettes).justes


def maitres(partage: Partage, noms: Sequence[str], vue: Gele) -> dict[str, Rangeur]:
    """Les maîtres, appris des seuls textes étiquetés ; le comité réunit ceux de ``COMITE``."""
    reglages = ReglagesClassement(graine=partage.graine)
    appris: dict[str, Rangeur] = {
        nom: apprendre(
            nom, partage.etiquetes.textes, partage.etiquetes.etiquettes, reglages, vue=vue
        )
        for nom in noms
    }
    membres = [appris[nom] for nom in COMITE if nom in appris]
    return appris | ({"comité": Comite(membres, "comité")} if len(membres) > 1 else {})


def mesurer(noms: Sequence[str], combien: int, graines: Sequence[int]) -> list[tuple[str, ...]]:
    """Une rangée par maître, toutes graines réunies."""
    vue = la_vue()
    releves: dict[str, list[tuple[Releve, ...]]] = {}
    accords: dict[str, list[float]] = {}
    for graine in graines:
        partage = Partage.tirer(combien, graine)
        connus = partage.etiquetes
        seul = partage.justes(apprendre(ELEVE, connus.textes, connus.etiquettes))
        for nom, maitre in maitres(partage, noms, vue).items():
            dites = [r.etiquette for r in predire(maitre, partage.sans)]
            eleve = apprendre(ELEVE, partage.sans, dites)
            deux = apprendre(ELEVE, [*connus.textes, *partage.sans], [*connus.etiquettes, *dites])
            releves.setdefault(nom, []).append((seul, *map(partage.justes, (maitre, eleve, deux))))
            siennes = [r.etiquette for r in predire(eleve, partage.juges.textes)]
            celles = [r.etiquette for r in predire(maitre, partage.juges.textes)]
            accords.setdefault(nom, []).append(
                float(np.mean([a == b for a, b in zip(siennes, celles, strict=True)]))
            )
    return [_rangee(nom, lus, accords[nom]) for nom, lus in releves.items()]


TITRES = (
    "maître",
    "exactitude du maître",
    "élève, textes du maître",
    "écart élève − maître (points)",
    "élève, avec les vraies étiquettes aussi",
    "gain sur celles-ci seules (points)",
    "élève et maître d’accord",
)


def _rangee(
    nom: str, lus: Sequence[tuple[Releve, ...]], accords: Sequence[float]
) -> tuple[str, ...]:
    """Une rangée du tableau ; ses intervalles couvrent les questions, non les graines."""
    seul, maitre, eleve, deux = (_reunir(releves) for releves in zip(*lus, strict=True))
    face, gain = Face.mesurer(maitre, eleve), Face.mesurer(seul, deux)
    return (
        nom,
        str(face.maitre),
        str(face.eleve),
        _points(face),
        str(gain.eleve),
        _points(gain),
        en_pourcent(float(np.mean(accords))),
    )


def _reunir(releves: Sequence[Releve]) -> Releve:
    """La moyenne des graines, question par question : une question y compte une fois."""
    return moyenne(np.mean([releve.numerateurs for releve in releves], axis=0))


def _points(face: Face) -> str:
    valeur, bas, haut = (100 * v for v in (face.ecart.valeur, *face.ecart.ic95))
    return f"{en_ecart(valeur, 1)} ({en_ecart(bas, 1)} à {en_ecart(haut, 1)})"


def main() -> None:
    """Mesure et imprime."""
    lecteur = argparse.ArgumentParser(description=__doc__)
    lecteur.add_argument("--etiquetes", type=int, default=250, help="démarches étiquetées")
    lecteur.add_argument("--graines", type=int, nargs="+", default=GRAINES)
    lecteur.add_argument(
        "--maitres",
        nargs="+",
        choices=METHODES,
        default=["mots", "lettres", "sens", "gele", "entier"],
    )
    options = lecteur.parse_args()
    print(en_colonnes(TITRES, mesurer(options.maitres, options.etiquetes, options.graines)))


if __name__ == "__main__":
    main()
