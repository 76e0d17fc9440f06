"""« Jouez le modèle » et « Le thermomètre » : ce qu'un modèle fait à chaque jeton, vu de près."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from fabrique.modeles.gabarits import coder, debut_de_suite
from fabrique.modeles.generation import base_ou_affine, continuer
from fabrique.modeles.vraisemblance import a_predire, log_probabilites
from fabrique.socle.erreurs import ErreurFabrique
from fabrique.socle.figures import BLEU, ORANGE, ROUGE, montrer, nouvelle_figure
from fabrique.socle.nombres import en_bref, en_francais

#: Les points que chaque joueur répartit entre les candidats d'une phrase.
POINTS = 10
#: Personne n'est jamais certain : un candidat qui reçoit moins d'un demi-point en compte un demi.
MINIMUM = 0.5


@dataclass(frozen=True)
class Phrase:
    """Un début de phrase du jeu de test de « demarches », et cinq suites candidates."""

    debut: str
    candidats: tuple[str, ...]
    vrai: str


#: Six débuts écrits par les auteurs du corpus ; ``vrai`` est le mot qu'ils ont choisi.
PHRASES = (
    Phrase("Écrivez à la", ("mairie", "préfecture", "caisse", "banque", "mer"), "mairie"),
    Phrase(
        "Le bulletin n°\u00a03, celui qu’un employeur peut vous réclamer, est",
        ("obligatoire", "gratuit", "payant", "valable", "rouge"),
        "gratuit",
    ),
    Phrase(
        "La préfecture exige la traduction de mon acte de",
        ("mariage", "décès", "naissance", "vente", "courage"),
        "naissance",
    ),
    Phrase(
        "Adressez d’abord un recours au président du conseil départemental, "
        "dans les deux mois qui suivent la",
        ("demande", "décision", "naissance", "notification", "fête"),
        "notification",
    ),
    Phrase(
        "Vous pouvez refuser sans avoir à vous",
        ("inscrire", "présenter", "justifier", "rendre", "payer"),
        "justifier",
    ),
    Phrase(
        "Commencez par le quitus fiscal, délivré par le service des",
        ("élections", "impôts", "étrangers", "travaux", "enfants"),
        "impôts",
    ),
)


# ---------------------------------------------------------------- les probabilités


@torch.inference_mode()
def notes_du_suivant(
    modele: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, debut: str
) -> torch.Tensor:
    """La note (*logit*) de chaque jeton du vocabulaire, après ``debut`` (forme : vocabulaire)."""
    ids = torch.tensor([[*debut_de_suite(tokenizer), *coder(debut, tokenizer)]]).to(modele.device)
    modele.eval()
    with base_ou_affine(modele, adaptateur=True):
        return modele(input_ids=ids).logits[0, -1].float().cpu()


def probabilites(
    modele: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    debut: str,
    temperature: float = 1.0,
) -> torch.Tensor:
    """La probabilité de chaque jeton du vocabulaire d'être le suivant.

    Args:
        temperature: divise les notes avant leur conversion en probabilités ; sous 1, les
            favoris gagnent, au-dessus, les autres remontent.

    Returns:
        Un tenseur de forme (vocabulaire,), de somme 1.
    """
    return torch.softmax(notes_du_suivant(modele, tokenizer, debut) / temperature, dim=-1)


def premiers_choix(
    modele: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, debut: str, combien: int = 5
) -> list[tuple[str, float]]:
    """Les jetons que le modèle juge les plus probables après ``debut``, du premier au dernier."""
    valeurs, jetons = probabilites(modele, tokenizer, debut).topk(combien)
    return [
        (tokenizer.decode([jeton]), valeur)
        for jeton, valeur in zip(jetons.tolist(), valeurs.tolist(), strict=True)
    ]


def probabilite_du_mot(
    modele: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    debut: str,
    mot: str,
    espace: str = " ",
) -> float:
    """La probabilité que ``mot`` suive : un produit, quand le mot tient en plusieurs jetons.

    Args:
        espace: ce qui sépare le début du mot ; rien, quand le début finit déjà par une espace.
    """
    question = [*debut_de_suite(tokenizer), *coder(debut, tokenizer)]
    exemple = a_predire(question, coder(f"{espace}{mot}", tokenizer))
    return math.exp(log_probabilites(modele, [exemple])[0].sum())


# ---------------------------------------------------------------- le jeu


def montrer_phrases() -> None:
    """Imprime les six débuts et leurs candidats, sans dire lequel est le vrai."""
    for rang, phrase in enumerate(PHRASES, 1):
        print(f"{rang}. {phrase.debut} …\n   {' · '.join(phrase.candidats)}")


def points_du_modele(
    modele: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, phrase: Phrase
) -> dict[str, float]:
    """Les dix points du modèle : ses probabilités, ramenées aux cinq candidats."""
    brutes = {
        mot: probabilite_du_mot(modele, tokenizer, phrase.debut, mot) for mot in phrase.candidats
    }
    total = sum(brutes.values())
    return {mot: POINTS * valeur / total for mot, valeur in brutes.items()}


def points_comptes(points: Mapping[str, float]) -> dict[str, float]:
    """Les points d'un joueur, chacun d'au moins un demi, ramenés à dix.

    Le modèle n'en a pas besoin : aucune de ses probabilités n'est nulle.
    """
    planchers = {mot: max(valeur, MINIMUM) for mot, valeur in points.items()}
    total = sum(planchers.values())
    return {mot: POINTS * valeur / total for mot, valeur in planchers.items()}


def score(points: Mapping[str, float], vrai: str) -> float:
    """Le score d'une phrase : −ln de la part donnée au vrai mot ; plus il est bas, mieux c'est."""
    return -math.log(points[vrai] / POINTS)


def jouer(
    modele: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    mes_points: Sequence[Mapping[str, float]],
) -> tuple[float, float]:
    """Joue les six phrases, imprime le tableau des scores et rend les deux moyennes.

    Args:
        mes_points: une répartition par phrase, dans l'ordre de ``PHRASES``.

    Raises:
        ErreurFabrique: un candidat manque, ou les points d'une phrase ne font pas dix.
    """
    _imprimer("phrase", "vrai mot", "vos points", "les siens", "votre score", "son score")
    scores = []
    for rang, phrase in enumerate(PHRASES, 1):
        siens = points_du_modele(modele, tokenizer, phrase)
        miens = points_comptes(_verifier_points(mes_points, rang))
        scores.append((score(miens, phrase.vrai), score(siens, phrase.vrai)))
        points = [en_francais(p[phrase.vrai], 2) for p in (miens, siens)]
        _imprimer(str(rang), phrase.vrai, *points, *(en_francais(s, 2) for s in scores[-1]))
    moyennes = [sum(colonne) / len(scores) for colonne in zip(*scores, strict=True)]
    _imprimer("", "moyenne", "", "", *(en_francais(m, 2) for m in moyennes))
    return moyennes[0], moyennes[1]


def _imprimer(rang: str, mot: str, *nombres: str) -> None:
    print(f"{rang:<7}{mot:<13}" + "".join(f"{nombre:>13}" for nombre in nombres))


def _verifier_points(mes_points: Sequence[Mapping[str, float]], rang: int) -> Mapping[str, float]:
    phrase = PHRASES[rang - 1]
    miens = mes_points[rang - 1] if rang <= len(mes_points) else {}
    if set(miens) != set(phrase.candidats):
        raise ErreurFabrique(
            f"phrase {rang} : les candidats ne sont pas les bons",
            f"Gardez ces cinq mots, chacun une fois : {', '.join(phrase.candidats)}",
        )
    total = sum(miens.values())
    if abs(total - POINTS) > 1e-6 or min(miens.values()) < 0:
        raise ErreurFabrique(
            f"phrase {rang} : vos points font {en_bref(total)}, il en faut {POINTS}, aucun négatif",
            "Corrigez cette ligne, puis relancez la cellule",
        )
    return miens


def verdict(mien: float, sien: float) -> str:
    """Qui gagne, en une phrase ; à moins d'un centième, personne."""
    if abs(mien - sien) < 0.01:
        return "Vous et le modèle faites jeu égal"
    return "Vous battez le modèle" if mien < sien else "Le modèle vous bat"


# ---------------------------------------------------------------- le thermomètre


def tirer(
    modele: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    debut: str,
    temperature: float,
    tirages: int = 5,
    max_new_tokens: int = 16,
) -> list[str]:
    """Tire plusieurs suites du même début, chacune sur une ligne ; la graine est le rang du tirage."""
    suivre = partial(continuer, temperature=temperature, max_new_tokens=max_new_tokens)
    suites = [suivre(modele, tokenizer, debut, graine=rang) for rang in range(tirages)]
    return ["… " + " ".join(suite.split()) for suite in suites]


def tracer_thermometre(
    modele: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    debut: str,
    temperatures: Sequence[float] = (0.2, 0.7, 1.3),
    combien: int = 6,
) -> None:
    """Trace les probabilités du jeton suivant à plusieurs températures, côte à côte."""
    reference = probabilites(modele, tokenizer, debut).topk(combien).indices
    noms = [f"«\u00a0{tokenizer.decode([jeton]).strip()}\u00a0»" for jeton in reference.tolist()]
    noms.append("tous les autres")
    parts = {}
    for temperature in temperatures:
        p = probabilites(modele, tokenizer, debut, temperature)[reference]
        parts[temperature] = [100 * v for v in (*p.tolist(), max(0.0, 1 - float(p.sum())))]
    froid, chaud = temperatures[0], temperatures[-1]
    titre = (
        f"{noms[0]} reçoit {en_francais(parts[froid][0])}\u00a0% à {en_francais(froid, 1)} "
        f"et {en_francais(parts[chaud][0])}\u00a0% à {en_francais(chaud, 1)}"
    )
    figure, axes = nouvelle_figure(titre, ncols=len(temperatures), sharey=True)
    couleurs = (BLEU, ORANGE, ROUGE)
    for rang, (axe, (temperature, valeurs)) in enumerate(zip(axes, parts.items(), strict=True)):
        traits = axe.barh(noms, valeurs, color=couleurs[rang % len(couleurs)])
        axe.bar_label(traits, [en_francais(v) for v in valeurs], padding=3)
        axe.set(title=f"température {en_francais(temperature, 1)}", xlabel="probabilité (%)")
        axe.set_xlim(0, 115)
    axes[0].invert_yaxis()
    montrer(figure, f"Trois groupes de barres, en pour cent. {_decrire(noms, parts)}")


def _decrire(noms: Sequence[str], parts: Mapping[float, Sequence[float]]) -> str:
    phrases = []
    for temperature, valeurs in parts.items():
        liste = ", ".join(f"{n} {en_francais(v)}" for n, v in zip(noms, valeurs, strict=True))
        phrases.append(f"À température {en_francais(temperature, 1)}\u00a0: {liste}.")
    return " ".join(phrases)
