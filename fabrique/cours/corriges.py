"""Les corrigés des « À vous » : ce qui est attendu, les erreurs fréquentes, ce qu'on en retient.

Un exercice a pour clé son carnet et son rang, « 03-4 » ; ``exercices.verifier`` l'y cherche. Un
indice ou un conseil guide sans donner la réponse : elle est dans la solution repliée du carnet.
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from transformers import PreTrainedTokenizerBase

from fabrique.corpus import Criteres
from fabrique.cours.salle import SIGNATURE
from fabrique.modeles.gabarits import SANS_PERTE
from fabrique.socle.erreurs import ErreurFabrique
from fabrique.socle.figures import en_francais

if TYPE_CHECKING:
    from fabrique.recherche import Passage


@dataclass(frozen=True)
class Valeur:
    """Un exercice dont la réponse est un nombre ou un texte.

    Une fonction, à la place d'une valeur, la calcule depuis ce que la cellule passe à ``verifier``.

    Args:
        attendu: la bonne réponse.
        indice: ce qui aide à trouver, sans donner la réponse.
        bravo: ce qu'il faut retenir, montré quand c'est juste.
        tolerance: écart permis entre deux nombres, dans leur unité.
        choix: les réponses permises, quand la question les donne.
        pieges: des réponses fausses qu'on rencontre, et le conseil de chacune.
    """

    attendu: object
    indice: str
    bravo: str
    tolerance: float = 0.0
    choix: tuple[str, ...] = ()
    pieges: tuple[tuple[object, str], ...] = ()


@dataclass(frozen=True)
class Libre:
    """Un exercice que plusieurs réponses résolvent.

    Args:
        genre: le ou les types qu'une réponse peut avoir.
        forme: que faire quand elle en a un autre.
        manque: ce qui manque à une réponse de ce type ; un texte vide si elle convient.
        bravo: ce qu'il faut retenir, montré quand c'est juste.
    """

    genre: type | tuple[type, ...]
    forme: str
    manque: Callable[..., str]
    bravo: str


# ---------------------------------------------------------------- les exercices libres
# Le contrôle et les mesures se chargent à l'exercice qui les emploie : les autres n'attendent pas.


def _suite(texte: str) -> str:
    if "continuer(" in texte:
        return "Votre appel est entre guillemets : ne gardez ceux-ci qu’autour de votre phrase."
    return "" if texte.strip() else "La suite est vide : changez le début de votre phrase."


def _exemple_qui_cite(reponse: str, passage: Passage) -> str:
    from fabrique.recettes.reglages_synthese import ReglagesSynthese
    from fabrique.recettes.synthese import Candidat, motifs

    candidat = Candidat("Comment le sait-on ?", reponse, passage, "l’apprenant", "")
    manques = list(motifs(candidat, ReglagesSynthese()))
    return f"Ce qui ne va pas : {', '.join(manques)}." if manques else ""


def _texte_repare(texte: str) -> str:
    attendu = "Déclaration de naissance à la mairie déléguée"
    if "━" in texte:
        return "Il reste le filet décoratif : remplacez son signe par rien."
    if not unicodedata.is_normalized("NFC", texte):
        return "Il reste des accents en deux caractères : recomposez-les."
    if "\u202f" in texte:
        return "Il reste des espaces fines : changez chacune par une espace ordinaire."
    if texte.strip() != attendu:
        return "Un mot s’est perdu, collé au voisin ou transformé : comparez-les un par un."
    return ""


def _publiables(gardes: Sequence[str]) -> str:
    lettres = {str(lettre).strip().upper() for lettre in gardes}
    if not lettres or not lettres <= {"A", "B", "C"}:
        return "Écrivez entre accolades les lettres que vous gardez, chacune entre guillemets."
    if "C" in lettres:
        return "Un corpus sans licence : qui vous a permis de le publier ?"
    if "B" in lettres:
        return (
            "NC veut dire « pas d’usage commercial » : pourrez-vous le garantir "
            "pour tous ceux qui le reprendront ?"
        )
    return ""


def _sans_balises(fonction: Callable[[str], str]) -> str:
    essais = {"<p>Le guichet</p>&nbsp;": "Le guichet", "a&nbsp;<b>b</b>": "a b", "a < b": "a < b"}
    for essai, attendu in essais.items():
        try:
            rendu = fonction(essai)
        except Exception as erreur:  # le code de l'apprenant peut échouer de toutes les façons
            return f"Sur « {essai} », votre fonction s’arrête : {type(erreur).__name__}, {erreur}."
        if not isinstance(rendu, str):
            return "Votre fonction ne rend pas de texte : finissez par « return »."
        if rendu.replace("\u00a0", " ") != attendu:
            return f"De « {essai} », votre fonction fait « {rendu} »."
    return ""


def _bornes(criteres: Criteres) -> str:
    if criteres.mots_min > criteres.mots_max:
        return "Les deux bornes sont échangées."
    if criteres.mots_min != 60:
        return "La borne du bas n’est pas celle de l’énoncé : donnez-la par son nom, mots_min."
    if criteres.mots_max != 120:
        return "La borne du haut n’est pas celle de l’énoncé : donnez-la par son nom, mots_max."
    return ""


def _exemple_signe(exemple: dict) -> str:
    from datasets import Dataset

    from fabrique.corpus import controler, lire_corpus

    manquants = [c for c in ("instruction", "output", "licence") if c not in exemple]
    if manquants:
        return f"Il manque au dictionnaire : {', '.join(manquants)}."
    if not all(isinstance(texte, str) for texte in (*exemple, *exemple.values())):
        return "Chaque nom et chaque valeur du dictionnaire s’écrivent entre guillemets."
    for partie, conseil in zip(
        SIGNATURE.parties,
        (
            "La signature manque au début de la réponse.",
            "La signature manque à la fin : la source vient en dernier, sur la dernière ligne.",
        ),
        strict=True,
    ):
        if any(Criteres(parties=(partie,)).motifs(exemple["output"])):
            return conseil
    try:
        constats = controler(lire_corpus(Dataset.from_list([exemple]))).constats
    except ErreurFabrique as erreur:
        return str(erreur)
    return f"Le contrôle dit : {constats[0].message}." if constats else ""


def _fausse_et_bien_notee(texte: str, reference: str) -> str:
    from fabrique.evaluation.metriques import f1

    if "douze" in texte.casefold():
        return "« douze » a déjà servi : changez un autre mot."
    if "pas" in texte.casefold().split():
        return "La négation a déjà servi : changez plutôt un mot."
    note = f1(texte, reference)
    if note == 1:
        return "Ce sont les mots mêmes de la référence : il faut une réponse fausse."
    if note <= 0.9:
        return f"Son F1 est de {en_francais(100 * note)} % : restez plus près de la référence."
    return ""


def _assez_longue(texte: str, tokenizer: PreTrainedTokenizerBase) -> str:
    nombre = len(tokenizer.tokenize(texte))
    return "" if nombre > 10 else f"Elle n’en fait que {nombre} : allongez-la."


# ---------------------------------------------------------------- ce qu'un carnet doit calculer


def _compte(etiquettes: Sequence[int]) -> int:
    return sum(etiquette != SANS_PERTE for etiquette in etiquettes)


# ---------------------------------------------------------------- les corrigés

CORRIGES: dict[str, Valeur | Libre] = {
    # ------------------------------------------------------------ 00 Démarrage
    "00-1": Libre(
        genre=str,
        forme="Appelez fabrique.continuer, avec le début de votre phrase entre guillemets.",
        manque=_suite,
        bravo="Relisez la suite : vous prévient-elle que la démarche n’existe pas ?",
    ),
    "00-2": Valeur(
        attendu=math.log(4),
        tolerance=0.01,
        indice="Reprenez la formule de la perte : le signe, le logarithme, la probabilité.",
        bravo="Une chance sur quatre coûte environ 1,39 nat : deux fois plus qu’une chance sur deux.",
        pieges=(
            (0.25, "C’est la probabilité elle-même : que lui fait la perte ?"),
            (math.log10(4), "C’est un logarithme décimal ; celui de la perte s’écrit math.log."),
            (2, "En base deux, on compte en bits. Les nats emploient math.log, sans autre base."),
            (math.log(25), "Une probabilité va de 0 à 1 : écrivez-la ainsi dans le logarithme."),
            (-math.log(25), "Une probabilité va de 0 à 1 : écrivez-la ainsi dans le logarithme."),
        ),
    ),
    "00-3": Valeur(
        attendu=0,
        indice="À cette température, le modèle tire encore au sort. Baissez-la, jusqu’au bout.",
        bravo="Il n’y a plus de tirage : on prend toujours le jeton le plus probable.",
        pieges=((1, "À 1, le modèle tire selon ses propres probabilités : les suites varient."),),
    ),
    "00-4": Valeur(
        attendu=lambda corpus: len(corpus) - corpus["jeu"].count("entrainement"),
        indice="Écrivez deux fois le modèle de l’énoncé, avec le nom d’un autre jeu, et additionnez.",
        bravo="Ces exemples servent à choisir les réglages, puis à mesurer.",
        pieges=(
            (
                lambda corpus: corpus["jeu"].count("entrainement"),
                "C’est le jeu d’entraînement : ce sont les deux autres qu’on cherche.",
            ),
            (
                lambda corpus: corpus["jeu"].count("validation"),
                "C’est le jeu de validation seul : ajoutez le jeu de test.",
            ),
            (
                lambda corpus: corpus["jeu"].count("test"),
                "C’est le jeu de test seul : ajoutez le jeu de validation.",
            ),
            (lambda corpus: len(corpus), "C’est le corpus entier : ôtez ce que le modèle apprend."),
        ),
    ),
    "00-5": Valeur(
        attendu=384_400 * 1.609344,
        tolerance=1_000,
        indice="Partez de la distance écrite en 2023, et passez des miles aux kilomètres.",
        bravo="Presque 619 000 km au lieu de 384 400 : une unité fausse, et 61 % d’erreur.",
        pieges=(
            (384_400, "C’est le nombre de miles écrit en 2023 : convertissez-le."),
            (
                384_400 / 1.609344,
                "Un mile est plus long qu’un kilomètre : il faut donc plus de kilomètres.",
            ),
        ),
    ),
    # ------------------------------------------------------------ 01 Tokenisation
    "01-1": Valeur(
        attendu=5,
        indice="Ces mots sont très fréquents. Où vont les espaces ?",
        bravo="Cinq mots fréquents, cinq jetons : l’espace est dans le jeton.",
        pieges=(
            (9, "Les espaces n’ont pas de jeton à elles : chacune tient au mot qui la suit."),
            (22, "Vous comptez les caractères : un mot très fréquent n’est pas coupé."),
            (3, "Un mot répété compte à chaque fois."),
        ),
    ),
    "01-2": Valeur(
        attendu="an",
        indice="Notez les paires de chaque mot, puis cherchez celle qui revient le plus.",
        bravo="Le comptage suffit à trouver la première fusion.",
    ),
    "01-3": Valeur(
        attendu=7,
        indice="Comptez les lettres, puis ajoutez ce que coûtent les accents.",
        bravo="Sept octets pour cinq lettres : un tokenizer qui a peu lu de français paie chaque accent.",
        pieges=(
            (5, "Ce sont les lettres ; certaines prennent plus d’un octet."),
            (6, "Le mot a plus d’un accent."),
            (10, "Toutes les lettres ne comptent pas double : seulement les accentuées."),
        ),
    ),
    "01-4": Libre(
        genre=str,
        forme="Votre réponse n’est pas un texte : partez de abime, et gardez ce que rend l’appel.",
        manque=_texte_repare,
        bravo="Les mêmes mots, en bien moins de jetons.",
    ),
    "01-5": Valeur(
        attendu=5_000 * 300 * 1.74 * 4 / 1_000_000,
        tolerance=0.05,
        indice="Comptez d’abord tous les jetons ; le prix est celui d’un million d’entre eux.",
        bravo="Environ dix euros : compter avant de décider évite les mauvaises surprises.",
        pieges=(
            (6, "Vous avez compté un jeton par mot : Falcon en emploie davantage."),
            (2.61, "Ce sont des millions de jetons : que coûte chaque million ?"),
            (2_610_000, "Ce sont des jetons : que coûte un million d’entre eux ?"),
            (10_440_000, "Le prix n’est pas celui d’un jeton, mais d’un million de jetons."),
            (6 / 1.74, "Vous avez divisé par 1,74 : y a-t-il moins de jetons que de mots ?"),
        ),
    ),
    "01-6": Valeur(
        attendu="falcon-poche",
        choix=("falcon-poche", "mistral-v1", "mistral-tekken"),
        indice="Barrez ceux qui dépassent 40 millions, puis ceux qui dépassent 1,6.",
        bravo="Le plus petit qui suffit. Pour un autre domaine, il faudrait mesurer à nouveau.",
        pieges=(
            ("mistral-v1", "Sa matrice tient. Combien de jetons par mot lui faut-il ?"),
            ("mistral-tekken", "Il coupe bien. Sa matrice tient-elle dans le budget ?"),
        ),
    ),
    "01-7": Valeur(
        attendu=0,
        indice="Seul un ordre entier fait un jeton spécial. Que fait neutraliser aux ordres ?",
        bravo="Les deux ordres sont redevenus de simples lettres.",
        pieges=((2, "C’est le compte avant neutraliser : que deviennent ces ordres ensuite ?"),),
    ),
    "01-8": Valeur(
        attendu=1_500 - 2_048 / 1.74,
        tolerance=5,
        indice="Combien de mots la fenêtre tient-elle ? Ce qui dépasse est coupé.",
        bravo="Plus de trois cents mots perdus, et toujours les derniers.",
        pieges=(
            (
                2_048 / 1.74,
                "Ce sont les mots que la fenêtre tient : combien en reste-t-il dehors ?",
            ),
            (1_500 * 1.74 - 2_048, "Ce sont des jetons perdus : combien de mots cela fait-il ?"),
            (1_500 * 1.74, "C’est la notice entière, en jetons : que peut en tenir la fenêtre ?"),
            (2_048 - 1_500, "Vous mêlez des jetons et des mots : mettez-les dans la même unité."),
            (1_500 - 2_048, "Vous mêlez des jetons et des mots : mettez-les dans la même unité."),
        ),
    ),
    # ------------------------------------------------------------ 02 Corpus d'instructions
    "02-1": Valeur(
        attendu=3,
        indice="Un message par prise de parole. Qui parle, et dans quel message va le texte joint ?",
        bravo="Un message « system », un « user » (l’instruction, une ligne vide, le texte), un « assistant ».",
        pieges=(
            (4, "Le texte joint ne fait pas un message à lui seul : il suit l’instruction."),
            (2, "La consigne générale a son propre message."),
        ),
    ),
    "02-2": Libre(
        genre=(set, frozenset, list, tuple, str),
        forme="Écrivez entre accolades les lettres que vous gardez, chacune entre guillemets.",
        manque=_publiables,
        bravo="Un corpus publié sans restriction ne peut contenir que ce qui circule sans restriction.",
    ),
    "02-3": Libre(
        genre=Callable,  # type: ignore[arg-type]  # une classe, sauf aux yeux de mypy
        forme="Il faut une fonction : remplacez « reponse = ... » par « def reponse(texte): » et son corps.",
        manque=_sans_balises,
        bravo="Le modèle n’apprendra pas à écrire des balises. Remarquez que « a < b » reste intact.",
    ),
    "02-4": Libre(
        genre=Criteres,
        forme="Écrivez Criteres(…), avec ses deux bornes entre les parenthèses.",
        manque=_bornes,
        bravo="Lisez ce qui part, et pourquoi : un critère de forme ne juge pas le fond.",
    ),
    "02-5": Valeur(
        attendu="des fiches",
        choix=("des questions", "des fiches"),
        indice="Qu’est-ce qui doit être entièrement nouveau, le jour du test ?",
        bravo="Toutes les questions d’une fiche vont dans le même jeu. C’est aussi ce qu’il faut faire par usager, ou par dossier.",
        pieges=(
            (
                "des questions",
                "Si neuf questions sur une fiche sont apprises, la dixième est-elle nouvelle ?",
            ),
        ),
    ),
    "02-6": Valeur(
        attendu="b",
        choix=("a", "b", "c"),
        indice="Le modèle a besoin d’apprendre à résumer. A-t-il besoin de cette personne-là ?",
        bravo="C’est la minimisation : la tâche s’apprend aussi bien sur une histoire inventée.",
        pieges=(
            ("a", "Sans le nom, l’histoire désigne-t-elle encore quelqu’un ?"),
            ("c", "Le numéro parti, l’histoire désigne-t-elle encore quelqu’un ?"),
        ),
    ),
    "02-7": Valeur(
        attendu=2,
        indice="Pour chaque ligne partie, demandez-vous si sa question se trouve ailleurs dans le tableau.",
        bravo="Une réponse vide, une autre coupée : toutes deux méritent d’être récrites ; le double, non.",
        pieges=(
            (3, "Ce sont toutes les lignes parties : l’une d’elles est un double."),
            (9, "Ce sont les lignes gardées."),
            (1, "Une réponse manquait, et une autre ne finissait pas."),
            (0, "Une ligne sans réponse, ou coupée, garde une question utile."),
        ),
    ),
    "02-8": Libre(
        genre=dict,
        forme="Écrivez un dictionnaire, entre accolades : un nom, deux-points, une valeur.",
        manque=_exemple_signe,
        bravo="Multipliez par cinq, et par vingt personnes : vous avez un corpus.",
    ),
    # ------------------------------------------------------------ 03 Réglage fin
    "03-1": Valeur(
        attendu=6,
        tolerance=0.1,
        indice="Combien d’octets font 16 bits ? C’est la place d’un poids.",
        bravo="Ses poids tiennent sur une T4 en 16 bits ; les entraîner tous prendrait huit fois plus de place.",
        pieges=(
            (3, "Un octet par poids, c’est 8 bits : combien d’octets font 16 bits ?"),
            (12, "Quatre octets par poids, c’est 32 bits : combien d’octets font 16 bits ?"),
            (48, "Vous comptez des bits : un octet en fait 8."),
        ),
    ),
    "03-2": Valeur(
        attendu=32 * 16 * (4_544 + 4_672),
        indice="Reprenez le compte à la main : un seul de ses facteurs est le rang.",
        bravo="Le nombre de paramètres est proportionnel au rang.",
        pieges=(
            (32 * 8 * (4_544 + 4_672), "C’est le compte au rang 8."),
            (16 * (4_544 + 4_672), "C’est l’adaptateur d’un seul bloc : combien en a Falcon-7B ?"),
            (
                32 * 16 * 16 * (4_544 + 4_672),
                "Le rang n’est pas multiplié par lui-même : il élargit A, et il élargit B.",
            ),
            (
                4 * 32 * 8 * (4_544 + 4_672),
                "A s’élargit, B aussi, mais leurs tailles s’ajoutent : elles ne se multiplient pas.",
            ),
        ),
    ),
    "03-3": Valeur(
        attendu=_compte,
        indice="Dans la liste des étiquettes, lesquelles la perte ignore-t-elle ?",
        bravo="Le reste du texte est lu, sans être appris.",
        pieges=(
            (
                lambda etiquettes: len(etiquettes),
                "Ce sont tous les jetons : certains sont lus sans être appris.",
            ),
            (
                lambda etiquettes: len(etiquettes) - _compte(etiquettes),
                "Ce sont les jetons que la perte ignore : comptez les autres.",
            ),
            (
                lambda etiquettes: _compte(etiquettes) - 1,
                "Il en manque un : le jeton de fin s’apprend aussi.",
            ),
        ),
    ),
    "03-4": Valeur(
        attendu=3_600,
        indice="Combien de lots dans une époque ? Et combien d’époques ?",
        bravo="Un pas lit un lot ; une époque lit tous les lots.",
        pieges=(
            (1_200, "Ce sont les pas d’une seule époque."),
            (7_200, "Les lots comptent encore deux exemples : ils sont plus grands ici."),
            (14_400, "Ce sont les exemples lus : un pas en lit tout un lot."),
            (57_600, "Un plus grand lot fait-il plus de pas, ou moins ?"),
        ),
    ),
    "03-5": Valeur(
        attendu=lambda pertes: pertes["trop petit"] - pertes["profil"],
        tolerance=0.01,
        indice="Prenez les deux dernières pertes dans le dictionnaire, par leur nom, et ôtez l’une de l’autre.",
        bravo="Quelques dizaines d’exemples suffisent à écarter un mauvais taux avant le long calcul.",
        pieges=(
            (
                lambda pertes: pertes["profil"] - pertes["trop petit"],
                "Le signe est à l’envers : de combien la perte du taux trop petit dépasse-t-elle l’autre ?",
            ),
            (
                lambda pertes: pertes["trop grand"] - pertes["profil"],
                "C’est l’écart du taux trop grand : l’énoncé demande celui du taux trop petit.",
            ),
            (
                lambda pertes: pertes["trop petit"] / pertes["profil"],
                "C’est un rapport : on demande un écart, une soustraction.",
            ),
        ),
    ),
    "03-6": Valeur(
        attendu=lambda avant, apres: avant.mean(),
        tolerance=0.01,
        indice="Mesurez sur tout le jeu de test, à l’intérieur du bloc « with dose ».",
        bravo="À 0, on retrouve la base : ses poids n’ont pas changé.",
        pieges=(
            (
                lambda avant, apres: apres.mean(),
                "C’est la perte à la dose 1 : le calcul doit être à l’intérieur du bloc « with ».",
            ),
        ),
    ),
    # ------------------------------------------------------------ 04 Évaluation
    "04-1": Valeur(
        attendu=lambda epoques, pertes: (
            pertes["jamais apprises"][-1] - min(pertes["jamais apprises"])
        ),
        tolerance=0.01,
        indice="Quelle courbe dit ce que le modèle fera d’une question nouvelle ? De son dernier point, ôtez son creux.",
        bravo="On s’arrête au creux, choisi sur la validation, et l’on garde le test pour une seule mesure, à la fin.",
        pieges=(
            (
                lambda epoques, pertes: pertes["jamais apprises"][-1],
                "C’est la dernière perte : ôtez-en celle du creux.",
            ),
            (
                lambda epoques, pertes: min(pertes["jamais apprises"]),
                "C’est la perte du creux : de combien la dernière la dépasse-t-elle ?",
            ),
            (
                lambda epoques, pertes: (
                    pertes["jamais apprises"][-1] - pertes["jamais apprises"][0]
                ),
                "C’est l’écart au départ : partez du creux.",
            ),
            (
                lambda epoques, pertes: epoques[int(np.argmin(pertes["jamais apprises"]))],
                "C’est l’époque du creux : on demande un écart de perte.",
            ),
        ),
    ),
    "04-2": Valeur(
        attendu=lambda notes: 100 * (notes.mean() - notes[12:].mean()),
        tolerance=0.1,
        indice="Deux moyennes : celle de toutes les notes, et celle des notes qui ne sont pas contaminées.",
        bravo="Cet écart est du par cœur : devant un usager, il n’en restera rien.",
        pieges=(
            (
                lambda notes: 100 * notes.mean(),
                "C’est la note annoncée : ôtez-en celle des questions neuves.",
            ),
            (
                lambda notes: 100 * notes[12:].mean(),
                "C’est la note des questions neuves : ôtez-la de la note annoncée.",
            ),
            (
                lambda notes: 100 * (notes[:12].mean() - notes[12:].mean()),
                "C’est l’écart entre contaminées et neuves : la note annoncée mêle les deux.",
            ),
        ),
    ),
    "04-3": Libre(
        genre=str,
        forme="Écrivez votre réponse entre guillemets.",
        manque=_fausse_et_bien_notee,
        bravo="Un usager qui suit cette réponse est forclos ; le F1 est ravi.",
    ),
    "04-4": Valeur(
        attendu=15,
        indice="Essayez les nombres l’un après l’autre, et gardez le premier pour lequel tranche est vrai.",
        bravo="Quinze sur vingt, les trois quarts. Sur vingt questions, seul un écart énorme se voit.",
        pieges=(
            *((k, "L’intervalle de ce nombre contient encore 50 %.") for k in range(10, 15)),
            *((k, "Un nombre plus petit exclut déjà 50 %.") for k in range(16, 21)),
        ),
    ),
    "04-5": Valeur(
        attendu=9,
        indice="Dans le tableau, voyez ce que demande un écart deux fois plus petit ; puis quatre fois.",
        bravo="L’incertitude diminue comme la racine du nombre de questions.",
        pieges=(
            (3, "Le tableau dit davantage : l’incertitude baisse moins vite que cela."),
            (4, "C’est pour deux fois plus fin : et trois fois ?"),
            (math.sqrt(3), "C’est ce que l’on gagne en triplant les questions. Il faut l’inverse."),
            (1 / 9, "Pour voir plus fin, il faut plus de questions."),
            (1 / 3, "Pour voir plus fin, il faut plus de questions."),
        ),
    ),
    "04-6": Valeur(
        attendu=1 - 0.95**20,
        tolerance=0.005,
        indice="Cherchez d’abord la probabilité que toutes les mesures se taisent.",
        bravo="Près de deux chances sur trois : on annonce le nombre de mesures regardées, toutes.",
        pieges=(
            (0.95**20, "C’est la probabilité qu’aucune ne crie : la question est le contraire."),
            (1, "Ces risques ne s’ajoutent pas : plusieurs mesures peuvent crier ensemble."),
            (0.05, "C’est le risque d’une seule mesure."),
            (0.05**20, "C’est la probabilité que toutes crient ; une seule suffit."),
        ),
    ),
    "04-7": Valeur(
        attendu=50,
        indice="Quand la bonne réponse est à la place A, que dit-il ?",
        bravo="Autant qu’une pièce, sans avoir rien lu : seul l’échange des places le révèle.",
        pieges=(
            (100, "Il répond toujours. Mais a-t-il toujours raison ?"),
            (0, "Quand la bonne réponse est à la place B, il la désigne."),
            (25, "La bonne réponse est à la place B une fois sur deux."),
        ),
    ),
    "04-8": Valeur(
        attendu="B",
        choix=("A", "B"),
        indice="Multipliez : nombre de questions × part d’erreurs × coût d’une erreur.",
        bravo="20 000 € contre 12 000 € : le meilleur taux d’erreur n’est pas le meilleur service.",
        pieges=(("A", "Il se trompe moins souvent. Mais que coûte chacune de ses erreurs ?"),),
    ),
    # ------------------------------------------------------------ 05 Quantification
    "05-1": Valeur(
        attendu=8,
        indice="Un bit : deux valeurs. Deux bits : quatre valeurs. Et un de plus ?",
        bravo="Chaque bit retiré enlève la moitié des graduations.",
        pieges=(
            (16, "C’est la règle de 4 bits."),
            (4, "C’est la règle de 2 bits."),
            (6, "Chaque bit double le nombre de valeurs, il n’en ajoute pas deux."),
            (9, "Chaque bit double le nombre de valeurs : ce n’est pas un carré."),
            (12, "Un bit de moins n’enlève pas un quart des graduations."),
        ),
    ),
    "05-2": Valeur(
        attendu=4 + 16 / 128,
        tolerance=0.0005,
        indice="Que coûte l’échelle à chacun des poids qui se la partagent ?",
        bravo="Des groupes plus grands coûtent moins, mais un poids extrême y gêne plus de voisins.",
        pieges=(
            (20, "L’échelle ne sert pas à un seul poids."),
            (16 / 128, "C’est la part de l’échelle : le poids lui-même coûte aussi."),
            (4 + 128 / 16, "La division est à l’envers : l’échelle se partage entre les poids."),
            (4 + 16 / 64, "Ici, l’échelle sert à 128 poids."),
            (4 * 128 + 16, "C’est tout le groupe : que coûte un seul de ses poids ?"),
        ),
    ),
    "05-3": Valeur(
        attendu=lambda erreur: erreur(np.linspace(-1, 1, 8)),
        tolerance=0.1,
        indice="Donnez à la fonction les graduations de l’énoncé, et gardez les groupes de 64.",
        bravo="Deux fois moins de graduations : une erreur environ deux fois plus grande.",
        pieges=(
            (lambda erreur: erreur(np.linspace(-1, 1, 16)), "C’est l’erreur à 4 bits."),
            (
                lambda erreur: erreur(np.linspace(-1, 1, 3)),
                "Vous avez confondu le nombre de bits et le nombre de graduations.",
            ),
        ),
    ),
    "05-4": Valeur(
        attendu=4,
        tolerance=0.01,
        indice="Combien de milliers de jetons ? Et combien de fois les lit-on ?",
        bravo="L’apprentissage est rarement le plus cher : l’emploi, lui, se paie chaque jour.",
        pieges=(
            (2, "C’est le prix d’une seule époque."),
            (4_000, "Le prix n’est pas celui d’un jeton, mais de 1 000 jetons."),
            (2_000, "Le prix est celui de 1 000 jetons, et il y a plus d’une époque."),
        ),
    ),
    # ------------------------------------------------------------ 06 Préentraînement
    "06-1": Valeur(
        attendu=0.75,
        tolerance=0.006,
        indice="Comptez d’abord tous les nats du texte, puis changez d’unité, puis partagez.",
        bravo="Ramenés à l’octet, deux modèles aux tokenizers différents se comparent.",
        pieges=(
            (0.52, "Ce sont des nats par octet : il reste à les changer en bits."),
            (3.0, "Ce sont des bits par jeton : combien d’octets un jeton fait-il ici ?"),
            (0.36, "Un nat vaut plus d’un bit : il faut diviser, et non multiplier."),
        ),
    ),
    "06-2": Valeur(
        attendu=89,
        tolerance=0.6,
        indice="Quelle fraction du prix de la lecture entière le budget paie-t-il ?",
        bravo="Un budget se compare au prix avant la nuit, pas après.",
        pieges=((11, "C’est la part qui ne sera pas lue."), (112, "La division est à l’envers.")),
    ),
    "06-3": Valeur(
        attendu=20,
        indice="Combien de points entiers tiennent dans ce que les textes laissent libre ?",
        bravo="La place se compte avant : les points, un de plus, et les textes préparés.",
        pieges=(
            (30, "Trois points tiendraient seuls : les textes préparés prennent aussi leur place."),
            (2, "C’est le nombre de points : à quelle part de la lecture est écrit le dernier ?"),
        ),
    ),
    "06-4": Valeur(
        attendu=20,
        tolerance=0.1,
        indice="Combien de suites de douze mots y a-t-il dans un texte de 50 mots ?",
        bravo="Ce qui est récité mot pour mot peut être périmé, protégé ou personnel.",
        pieges=(
            (15.6, "Un texte de 50 mots a moins de 50 suites de douze mots."),
            (100, "Vous comptez les suites d’un seul texte : il y en a cinq."),
        ),
    ),
    # ------------------------------------------------------------ 07 Chez soi
    "07-1": Valeur(
        attendu=12,
        indice="Combien trouvent une place, en comptant les réponses qui s’écrivent déjà ?",
        bravo="Une file bornée refuse clairement ; une file sans fin ferait attendre tout le monde.",
        pieges=(
            (28, "Seize réponses s’écrivent déjà : elles n’attendent plus."),
            (44, "La file garde aussi des demandes."),
            (48, "C’est le nombre de demandes servies ou gardées."),
        ),
    ),
    "07-2": Valeur(
        attendu=6.8,
        tolerance=0.005,
        indice="Comptez une demande, jetons lus et jetons écrits, puis multipliez.",
        bravo="L’emploi se paie chaque jour, et au prix du modèle affiné.",
        pieges=(
            (0.85, "C’est le prix du modèle ordinaire."),
            (3.6, "Il manque les jetons écrits."),
            (3.2, "Il manque les jetons lus."),
            (0.0068, "C’est le prix d’une seule demande."),
        ),
    ),
    "07-3": Valeur(
        attendu=353,
        tolerance=1,
        indice="Combien de fois le prix d’une demande tient-il dans celui de l’apprentissage ?",
        bravo="L’apprentissage est vite amorti… et l’emploi continue.",
        pieges=(
            (2824, "C’est le compte au prix du modèle ordinaire."),
            (0.0028, "La division est à l’envers."),
        ),
    ),
    "07-4": Valeur(
        attendu=500,
        tolerance=0.5,
        indice="À ce nombre, la journée de l’API coûte exactement celle de la machine.",
        bravo="Un seuil se calcule avant de choisir, avec les prix du jour.",
        pieges=(
            (4000, "C’est le seuil au prix du modèle ordinaire."),
            (353, "C’est le nombre de demandes qui paie l’apprentissage, pas une journée."),
        ),
    ),
    # ------------------------------------------------------------ 08 Le PDF qui ment
    "08-1": Valeur(
        attendu="trois semaines",
        indice="Descendez d’une ligne, sans changer de colonne.",
        bravo="L’ordre de lecture n’est pas dans le fichier : il se devine de la place des mots.",
        pieges=(
            (
                "gratuite pour",
                "C’est la lecture ligne à ligne : elle saute d’une colonne à l’autre.",
            ),
            ("trois", "C’est bien le premier : donnez aussi le suivant."),
        ),
    ),
    "08-2": Valeur(
        attendu=6,
        indice="Quelles lignes reviennent d’une page à l’autre, en haut et en bas ?",
        bravo="Ce qui se répète à la même place n’est pas du texte : c’est le décor de la page.",
        pieges=(
            (3, "Vous n’avez compté que le haut, ou que le bas, des pages."),
            (2, "C’est le compte d’une page, et il y en a trois."),
            (4, "La première page et la dernière comptent aussi."),
        ),
    ),
    "08-3": Valeur(
        attendu="associations",
        choix=("habitants", "associations"),
        indice="Sous quel titre de colonne le prix est-il posé ?",
        bravo="Une case vide ne s’écrit pas : seule la place du prix dit sa colonne.",
        pieges=(("habitants", "C’est ce que dit la lecture : regardez plutôt la page."),),
    ),
    "08-4": Valeur(
        attendu=300 / 11,
        tolerance=0.1,
        indice="Comptez les signes à changer et à ôter, puis divisez par ce qui était écrit.",
        bravo="On divise par ce qui était écrit : le taux peut donc dépasser cent pour cent.",
        pieges=(
            (3, "C’est le nombre d’erreurs : la question demande une part."),
            (25, "Divisez par la longueur de ce qui était écrit, non de ce qui est lu."),
            (200 / 11, "La ponctuation compte aussi."),
        ),
    ),
    "08-5": Valeur(
        attendu=2,
        indice="Cherchez les mots pareils dans les deux premiers textes, et changés dans le troisième.",
        bravo="Une correction se juge aussi sur ce qu’elle gâte.",
        pieges=(
            (1, "C’est le nombre de mots réparés."),
            (3, "L’un de ces mots était mal lu : il a été réparé."),
        ),
    ),
    "08-6": Libre(
        genre=str,
        forme="Écrivez votre réponse entre guillemets droits, citation comprise.",
        manque=_exemple_qui_cite,
        bravo="Cette réponse entrerait dans un corpus : elle s’appuie mot pour mot sur sa fiche.",
    ),
    # ------------------------------------------------------------ 09, citer ses sources
    "09-1": Valeur(
        attendu=math.log(1 + 99.5 / 1.5) / math.log(1 + 50.5 / 50.5),
        tolerance=0.05,
        indice="Calculez la rareté de chacun des deux mots avec la formule de la cellule, puis divisez.",
        bravo="Un mot rare pèse plus, mais le logarithme l’empêche d’écraser les autres.",
        pieges=(
            (50, "Cinquante est le rapport des comptes : la rareté en prend le logarithme."),
            (
                math.log(1 + 50.5 / 50.5) / math.log(1 + 99.5 / 1.5),
                "La division est à l’envers : combien de fois plus pour le mot rare ?",
            ),
            (
                math.log(1 + 99.5 / 1.5),
                "C’est la rareté du mot rare : divisez par celle de l’autre.",
            ),
        ),
    ),
    "09-2": Valeur(
        attendu=15.0,
        tolerance=0.05,
        indice="Parmi quelles questions compte-t-on ici les fausses réponses ?",
        bravo="Chaque part a son dénominateur : le dire évite de comparer des choses différentes.",
        pieges=(
            (5.0, "C’est leur part parmi les questions répondues."),
            (3, "C’est leur nombre : rapportez-le aux questions sans réponse, en pour cent."),
            (80, "C’est la part des bonnes réponses parmi les questions répondues."),
            (85.0, "C’est la part des questions sans réponse que l’on a tues."),
        ),
    ),
    "09-3": Valeur(
        attendu="B",
        choix=("A", "B", "C"),
        indice="Relisez chaque citation avec le règlement, mot à mot, ou faites-la vérifier.",
        bravo="Une citation se vérifie mot à mot ; de mémoire, on lit ce que l’on attend.",
        pieges=(
            (
                "A",
                "Celle-ci est exacte : l’apostrophe droite n’est qu’une différence de typographie.",
            ),
            ("C", "Celle-ci est exacte, même si elle ne commence pas au début de la phrase."),
        ),
    ),
    "09-4": Valeur(
        attendu=0.6,
        tolerance=0.005,
        indice="Divisez trois par le nombre de réponses relues, puis écrivez le résultat en pour cent.",
        bravo="Ne rien voir ne prouve pas qu’il n’y a rien : cela borne ce qui reste possible.",
        pieges=(
            (0, "Zéro est ce que l’on a vu ; on demande ce qui reste possible."),
            (0.2, "C’est une faute sur les réponses relues : la règle en met trois."),
        ),
    ),
    # ------------------------------------------------------------ 10, les petits modèles
    "10-1": Valeur(
        attendu=300,
        indice="Combien de jours, et pour chacun combien de nombres de deux chiffres ?",
        bravo="Une forme réduit le choix à une poignée de textes ; il reste à prendre le bon.",
        pieges=(
            (103, "Les jours et les nombres se combinent : multipliez."),
            (270, "« 00 » à « 09 » s’écrivent aussi en deux chiffres."),
            (30, "Deux chiffres : dix possibilités pour chacun."),
        ),
    ),
    "10-2": Valeur(
        attendu=100 * (2 * 0.95 / 1.95) / 2,
        tolerance=0.6,
        indice="Le F1 d’une étiquette vaut 2 × justes / (vraies + dites) ; faites la moyenne des deux.",
        bravo="L’exactitude cache l’étiquette rare ; le F1 moyen la compte autant que l’autre.",
        pieges=(
            (95, "C’est l’exactitude : l’étiquette rare, jamais trouvée, n’y pèse presque rien."),
            (50, "L’étiquette fréquente n’a pas un F1 de 100 % : elle est dite cinq fois de trop."),
            (97.4, "C’est le F1 de la seule étiquette fréquente."),
        ),
    ),
    "10-3": Valeur(
        attendu=18,
        tolerance=0.05,
        indice="Comparez la confiance annoncée à la part de réponses justes.",
        bravo="Un score de confiance se vérifie ; un modèle trop sûr de lui trompe qui s’y fie.",
        pieges=(
            (28, "C’est la part d’erreurs : l’écart se compte depuis ce qui était annoncé."),
            (0.18, "En points, sur cent."),
            (-18, "L’écart se donne sans signe."),
        ),
    ),
    "10-4": Valeur(
        attendu=16,
        indice="Chaque jeton est comparé à tous les précédents : leur nombre croît comme n × n.",
        bravo="La longueur se paie au carré dans l’attention, et en proportion ailleurs.",
        pieges=(
            (4, "Ce serait le cas si chaque jeton n’en regardait qu’un nombre fixe."),
            (8, "Quatre fois plus de jetons, qui en regardent chacun quatre fois plus."),
        ),
    ),
    # ------------------------------------------------------------ 11, les préférences
    "11-1": Valeur(
        attendu=math.log(2),
        tolerance=0.001,
        indice="Appelez la fonction de la perte avec deux gains nuls.",
        bravo="Un pile ou face : c’est d’où part toute courbe de ce genre.",
        pieges=(
            (0, "Une perte nulle serait celle d’un vote parfaitement suivi."),
            (0.5, "C’est la probabilité ; la perte en est moins le logarithme."),
            (1, "Le logarithme est naturel, et non en base deux."),
        ),
    ),
    "11-2": Valeur(
        attendu="petite",
        choix=("petite", "grande"),
        indice="Comparez la perte d’une même marge avec les deux valeurs de beta.",
        bravo="La perte ne voit que le produit des deux.",
        pieges=(
            ("grande", "La perte ne lit que beta × marge : si l’un grandit, que fait l’autre ?"),
        ),
    ),
    "11-3": Valeur(
        attendu=75.0,
        tolerance=0.05,
        indice="Combien de votes, sur deux cents, ont une choisie plus longue ?",
        bravo="Un bon score peut ne rien prouver.",
        pieges=(
            (150, "C’est leur nombre : rapportez-le aux deux cents votes, en pour cent."),
            (25.0, "C’est la part des autres votes."),
            (50, "Un pile ou face ignorerait la longueur ; ce modèle-ci ne regarde qu’elle."),
        ),
    ),
    "11-4": Valeur(
        attendu=5.0,
        tolerance=0.001,
        indice="Remplacez beta par sa valeur dans la formule.",
        bravo="Au-delà de cet écart, un vote n’est plus poussé : il est ramené.",
        pieges=(
            (0.05, "C’est la moitié de beta : le produit est au dénominateur."),
            (20, "Le deux multiplie beta, il ne divise pas 1 / beta une fois de plus."),
            (10, "Il manque le deux du dénominateur."),
        ),
    ),
    # ------------------------------------------------------------ le gabarit d'un carnet
    "gabarit-1": Valeur(
        attendu=7,
        indice="Découpez aux espaces, puis comptez.",
        bravo="Un mot n’est pas un jeton.",
        pieges=((6, "Ce sont les espaces : il y a un mot de plus."),),
    ),
    "gabarit-2": Valeur(
        attendu=".",
        indice="Lisez la phrase jusqu’au bout, ponctuation comprise.",
        bravo="Un signe de ponctuation compte aussi.",
        pieges=(("e", "C’est la dernière lettre. Quel signe la suit ?"),),
    ),
    "gabarit-3": Valeur(
        attendu=lambda ordinaire, capitales: len(capitales) / len(ordinaire),
        indice="Combien de jetons dans chaque liste ? Un rapport divise l’un par l’autre.",
        bravo="Un rapport se compare d’une phrase à l’autre.",
        pieges=(
            (
                lambda ordinaire, capitales: len(ordinaire) / len(capitales),
                "La division est à l’envers.",
            ),
            (
                lambda ordinaire, capitales: len(capitales) - len(ordinaire),
                "C’est une différence : la question demande un rapport.",
            ),
        ),
    ),
    "gabarit-4": Libre(
        genre=str,
        forme="Écrivez votre phrase entre guillemets.",
        manque=_assez_longue,
        bravo="Un mot rare compte souvent pour plusieurs jetons.",
    ),
}
