"""Le compte des jetons d'un texte ou d'un corpus : ce que rend ``fabrique jetons``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fabrique.corpus import lire_corpus
from fabrique.corpus.fichiers import FORMATS, verifier_fichier
from fabrique.corpus.formats import textes
from fabrique.jetons.affichage import Decoupe, decouper, en_terminal, en_texte
from fabrique.jetons.decoupeurs import ouvrir
from fabrique.jetons.mesure import Cout, Fertilite, Rapport, fertilite, tarifer, verifier_tarif
from fabrique.socle.colonnes import en_colonnes
from fabrique.socle.emplacements import CORPUS_LIVRES
from fabrique.socle.erreurs import ErreurFabrique
from fabrique.socle.nombres import accorder, en_francais, en_pourcent

#: Un texte d'un seul tenant coûte jusqu'à deux cents fois sa taille en mémoire.
TEXTE_MAX = 50_000_000


@dataclass(frozen=True)
class Examen:
    """Ce qu'on a compté.

    Args:
        fichier: le fichier ou le corpus ; vide si seul un texte est donné.
        mesures: par tokenizer, la fertilité.
        couts: par tokenizer, le coût de tous les documents et la part de la fenêtre du plus long.
        decoupes: par tokenizer, le texte de ``--texte`` coupé.
    """

    fichier: str
    mesures: list[Fertilite]
    couts: list[Cout]
    decoupes: list[Decoupe]


def examiner(
    fichier: str,
    tokenizers: Sequence[str],
    prix: float | None = None,
    contexte: int | None = None,
    texte: str | None = None,
) -> Examen:
    """Compte les jetons d'un fichier, d'un texte, ou des deux.

    Args:
        fichier: fichier de texte, corpus ou nom livré ; vide pour ne compter que ``texte``.
        tokenizers: leurs noms, au sens de ``ouvrir``.
        prix: euros par million de jetons.
        contexte: longueur de la fenêtre, en jetons.
        texte: texte à montrer coupé.

    Raises:
        ErreurFabrique: rien à compter, fichier ou tokenizer illisible, tarif impossible.
    """
    verifier_tarif(prix, contexte)
    if not fichier and texte is None:
        raise ErreurFabrique("rien à compter", "Donnez un fichier, un corpus, ou --texte")
    documents = lire_textes(fichier) if fichier else [texte or ""]
    ouverts = [ouvrir(nom) for nom in tokenizers]
    mesures = fertilite({Path(fichier).name or "texte": documents}, ouverts)
    return Examen(
        fichier=fichier,
        mesures=mesures,
        couts=[_tarifer(mesure, prix, contexte) for mesure in mesures],
        decoupes=[] if texte is None else [decouper(texte, ouvert) for ouvert in ouverts],
    )


def _tarifer(mesure: Fertilite, prix: float | None, contexte: int | None) -> Cout:
    """Tout le corpus se paie, mais une fenêtre ne lit qu'un document : le plus long décide."""
    tout, plus_long = (tarifer(n, prix, contexte) for n in (mesure.jetons, mesure.jetons_max))
    return Cout(tout.jetons, tout.euros, plus_long.part_contexte)


def lire_textes(source: str) -> list[str]:
    """Les documents d'un corpus, ou le texte d'un fichier, en un seul document.

    Raises:
        ErreurFabrique: fichier absent, trop gros, illisible, ou qui n'est pas en UTF-8.
    """
    nom = source.lower().removesuffix(".gz")
    if source in CORPUS_LIVRES or nom.endswith(FORMATS):
        corpus = lire_corpus(source)
        return ["\n\n".join(lu for _, lu in textes(exemple) if lu) for exemple in corpus]
    return [_lire_texte(Path(source))]


def _lire_texte(chemin: Path) -> str:
    verifier_fichier(
        chemin, f"Vérifiez le chemin, ou nommez un corpus livré : {', '.join(CORPUS_LIVRES)}"
    )
    if chemin.stat().st_size > TEXTE_MAX:
        raise ErreurFabrique(
            f"le texte dépasse {TEXTE_MAX // 1_000_000} Mo d’un seul tenant",
            "Découpez-le, ou faites-en un corpus .jsonl (un champ « texte » par ligne)",
            chemin,
        )
    octets = chemin.read_bytes()
    try:
        return octets.decode("utf-8-sig")
    except UnicodeDecodeError as cause:
        raise ErreurFabrique(
            "le texte n’est pas en UTF-8 (sans doute Latin-1 ou Windows-1252)",
            "Réenregistrez-le en UTF-8",
            chemin,
            ligne=octets.count(b"\n", 0, cause.start) + 1,
        ) from None


# ---------------------------------------------------------------- les deux rendus


def en_dictionnaire(examen: Examen) -> dict:
    """Le compte pour ``--json`` : ``fichier``, ``documents``, ``mots``, ``tokenizers``, ``decoupes``."""
    return {
        "fichier": examen.fichier or None,
        "documents": examen.mesures[0].documents,
        "mots": examen.mesures[0].mots,
        "tokenizers": [
            {
                "nom": mesure.tokenizer,
                "entrees": mesure.entrees,
                "jetons": mesure.jetons,
                "jetons_max": mesure.jetons_max,
                **_en_nombres("jetons_par_mot", mesure.jetons_par_mot),
                **_en_nombres("octets_par_jeton", mesure.octets_par_jeton),
                **_en_nombres("caracteres_par_jeton", mesure.caracteres_par_jeton),
                "euros": cout.euros,
                "part_contexte": cout.part_contexte,
            }
            for mesure, cout in zip(examen.mesures, examen.couts, strict=True)
        ],
        "decoupes": [
            {
                "tokenizer": decoupe.tokenizer,
                "identifiants": [jeton.identifiant for jeton in decoupe.jetons],
                "jetons": [jeton.visible for jeton in decoupe.jetons],
                "ecart": decoupe.ecart,
            }
            for decoupe in examen.decoupes
        ],
    }


def _en_nombres(nom: str, rapport: Rapport) -> dict:
    return {nom: rapport.valeur, f"{nom}_ic95": rapport.ic95}


def en_tableau(examen: Examen, couleurs: bool = False, identifiants: bool = False) -> str:
    """Le compte pour un terminal : le texte coupé s'il y en a un, puis une ligne par tokenizer."""
    rendre = en_terminal if couleurs else en_texte
    coupes = [f"{rendre(decoupe, identifiants)}\n" for decoupe in examen.decoupes]
    premiere = examen.mesures[0]
    titre = (
        f"{examen.fichier or 'texte'} : {accorder(premiere.documents, 'document')}, "
        f"{accorder(premiere.mots, 'mot')}."
    )
    colonnes = ["tokenizer", "entrées", "jetons", "par mot", "[à 95 %]", "octets", "car."]
    rangees = [_rangee(m, c) for m, c in zip(examen.mesures, examen.couts, strict=True)]
    tableau = en_colonnes(colonnes + _titres(examen.couts[0]), rangees)
    return "\n".join([*coupes, titre, tableau, "octets, car. : par jeton."])


def _titres(cout: Cout) -> list[str]:
    prix = [] if cout.euros is None else ["euros"]
    return prix if cout.part_contexte is None else [*prix, "fenêtre"]


def _rangee(mesure: Fertilite, cout: Cout) -> list[str]:
    bornes = mesure.jetons_par_mot.ic95
    rangee = [
        mesure.tokenizer,
        en_francais(mesure.entrees),
        en_francais(mesure.jetons),
        _nombre(mesure.jetons_par_mot.valeur),
        f"[{_nombre(bornes[0])} ; {_nombre(bornes[1])}]" if bornes else "—",
        _nombre(mesure.octets_par_jeton.valeur),
        _nombre(mesure.caracteres_par_jeton.valeur),
    ]
    if cout.euros is not None:
        rangee.append(en_francais(cout.euros, 6 if cout.euros < 0.01 else 2))
    if cout.part_contexte is not None:
        rangee.append(en_pourcent(cout.part_contexte, 1))
    return rangee


def _nombre(valeur: float | None, decimales: int = 2) -> str:
    return "—" if valeur is None else en_francais(valeur, decimales)
