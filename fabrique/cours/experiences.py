"""Les expériences du carnet 01 : coupes en tableau, fusions dessinées, attention chronométrée."""

from __future__ import annotations

import html
import time
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from IPython.display import display
from transformers import PreTrainedModel

from fabrique.jetons.affichage import FONDS, Decoupe, Jeton, decouper
from fabrique.jetons.decoupeurs import Decoupeur
from fabrique.jetons.mesure import Fertilite
from fabrique.modeles.vraisemblance import a_predire, log_probabilites
from fabrique.socle.figures import BLEU, NOIR, ORANGE, SUR_BLANC, VERT, montrer, nouvelle_figure
from fabrique.socle.nombres import accorder, en_francais

#: Chaque case redit ses couleurs : JupyterLab et Colab peignent les rangées de celles du thème.
CASE = f"{SUR_BLANC};text-align:left"
#: Un jeton neuf, sur le jaune d'Okabe et Ito.
SURLIGNE = "background:#F0E442;color:#000"

# ---------------------------------------------------------------- montrer


def montrer_coupes(textes: Mapping[str, str], tokenizers: Sequence[Decoupeur]) -> None:
    """Montre des textes courts coupés par plusieurs tokenizers, en tableau.

    Args:
        textes: ce qu'on compare → le texte, une ligne chacun.
        tokenizers: un par colonne.

    Raises:
        ErreurFabrique: un texte contient un demi-caractère Unicode.
    """
    coupes = {nom: [decouper(texte, t) for t in tokenizers] for nom, texte in textes.items()}
    titres = ["", *(t.nom for t in tokenizers)]
    rangees = "".join(
        f'<tr><th scope="row" style="{CASE}">{html.escape(nom)}</th>'
        + "".join(map(_cellule, siennes))
        + "</tr>"
        for nom, siennes in coupes.items()
    )
    nu = "\n".join(
        f"{nom} : {titre}, {accorder(len(coupe.jetons), 'jeton')} : {_barres(coupe)}"
        for nom, siennes in coupes.items()
        for titre, coupe in zip(titres[1:], siennes, strict=True)
    )
    _montrer_tableau(titres, rangees, nu)


def _montrer_tableau(titres: Sequence[str], rangees: str, nu: str) -> None:
    """Le tableau en HTML, noir sur blanc même en thème sombre, et sa version en texte nu."""
    entetes = "".join(f'<th scope="col" style="{CASE}">{html.escape(t)}</th>' for t in titres)
    tableau = (
        f'<table style="{SUR_BLANC};max-width:820px"><thead>'
        f"<tr>{entetes}</tr></thead><tbody>{rangees}</tbody></table>"
    )
    display({"text/html": tableau, "text/plain": nu}, raw=True)


def _barres(coupe: Decoupe) -> str:
    return "│".join(jeton.visible for jeton in coupe.jetons)


def _cellule(coupe: Decoupe) -> str:
    """Une case : les jetons bordés et colorés, puis leur nombre."""
    jetons = "\u200b".join(
        f'<code style="background:{FONDS[rang % len(FONDS)]};color:#000;border:1px solid #444">'
        f"{html.escape(jeton.visible)}</code>"
        for rang, jeton in enumerate(coupe.jetons)
    )
    return f'<td style="{CASE}">{jetons} <b>{len(coupe.jetons)}</b></td>'


def montrer_fusions(
    texte: str,
    fusions: Sequence[tuple[bytes, bytes]],
    couper: Callable[[str, Sequence[tuple[bytes, bytes]]], list[bytes]],
) -> None:
    """Dessine le texte après chaque fusion ; le jeton neuf est surligné et entre crochets.

    Args:
        fusions: dans l'ordre où elles ont été apprises.
        couper: ce qui coupe le texte avec les premières fusions.
    """
    rangees, nu = [], []
    for rang in range(len(fusions) + 1):
        suite = couper(texte, fusions[:rang])
        neuf = b"".join(fusions[rang - 1]) if rang else None
        visibles = [(Jeton(0, octets).visible, octets == neuf) for octets in suite]
        colle = (
            " + ".join(f"«{Jeton(0, o).visible}»" for o in fusions[rang - 1]) if rang else "octets"
        )
        dessin = "│<wbr>".join(
            f'<mark style="{SURLIGNE}">[{html.escape(vu)}]</mark>' if est_neuf else html.escape(vu)
            for vu, est_neuf in visibles
        )
        rangees.append(
            f'<tr><td style="{CASE}">{rang}</td><td style="{CASE}">{html.escape(colle)}</td>'
            f'<td style="{CASE}">{len(suite)}</td><td style="{CASE}">'
            f'<code style="white-space:normal;{SUR_BLANC}">{dessin}</code></td></tr>'
        )
        clair = "│".join(f"[{vu}]" if est_neuf else vu for vu, est_neuf in visibles)
        nu.append(f"{rang:>2} {colle} ({len(suite)} jetons) : {clair}")
    _montrer_tableau(["tour", "on colle", "jetons", "le texte"], "".join(rangees), "\n".join(nu))


def tracer_fertilite(mesures: Sequence[Fertilite], titre: str) -> None:
    """Trace les jetons par mot, un groupe de barres par genre, avec leurs intervalles à 95 %."""
    genres = list(dict.fromkeys(mesure.genre for mesure in mesures))
    noms = list(dict.fromkeys(mesure.tokenizer for mesure in mesures))
    figure, axe = nouvelle_figure(titre, hauteur=0.9 + 0.28 * len(mesures))
    pas = 0.8 / len(noms)
    for rang, (nom, couleur) in enumerate(zip(noms, (BLEU, ORANGE, VERT, NOIR), strict=False)):
        siennes = [mesure.jetons_par_mot for mesure in mesures if mesure.tokenizer == nom]
        valeurs = [mesure.valeur or 0.0 for mesure in siennes]
        bornes = [m.ic95 or (v, v) for m, v in zip(siennes, valeurs, strict=True)]
        ecarts = [
            [v - b[0] for v, b in zip(valeurs, bornes, strict=True)],
            [b[1] - v for v, b in zip(valeurs, bornes, strict=True)],
        ]
        places = [place + (rang - (len(noms) - 1) / 2) * pas for place in range(len(genres))]
        traits = axe.barh(places, valeurs, pas, xerr=ecarts, color=couleur, label=nom, capsize=2)
        axe.bar_label(traits, [en_francais(v, 2) for v in valeurs], padding=6, fontsize=8)
    axe.set_yticks(range(len(genres)), genres)
    axe.invert_yaxis()
    axe.set_xlabel("jetons par mot (moins, c’est mieux)")
    axe.margins(x=0.12)
    axe.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
    lues = " ; ".join(
        f"{m.genre}, {m.tokenizer} : {en_francais(m.jetons_par_mot.valeur or 0, 2)}"
        for m in mesures
    )
    montrer(figure, f"Barres horizontales, en jetons par mot. {lues}.")


# ---------------------------------------------------------------- mesurer


def perte_moyenne(modele: PreTrainedModel, suites: Sequence[Sequence[int]]) -> float:
    """La perte du modèle sur des suites d'identifiants, en nats par jeton."""
    notes = log_probabilites(modele, [a_predire([], suite) for suite in suites], lot=1)
    return -float(np.concatenate(notes).mean())


def permuter(entrees: int, gardes: Sequence[int] = (), graine: int = 0) -> list[int]:
    """Un nouvel identifiant pour chaque ancien, tiré au sort ; ``gardes`` ne bougent pas."""
    mobiles = [rang for rang in range(entrees) if rang not in set(gardes)]
    ordre = torch.randperm(len(mobiles), generator=torch.Generator().manual_seed(graine))
    table = list(range(entrees))
    for ancien, place in zip(mobiles, ordre.tolist(), strict=True):
        table[ancien] = mobiles[place]
    return table


@torch.inference_mode()
def chronometrer(
    modele: PreTrainedModel, longueurs: Sequence[int], essais: int = 5
) -> tuple[list[float], list[float]]:
    """Chronomètre, pour une couche de la taille du modèle, l'attention et les autres calculs.

    Args:
        longueurs: en jetons.
        essais: répétitions ; la plus rapide compte, les autres ont été dérangées.

    Returns:
        Les millisecondes de l'attention, et celles des calculs faits jeton par jeton.
    """
    largeur, tetes = modele.config.hidden_size, modele.config.num_attention_heads
    lieu = {"device": modele.device, "dtype": modele.dtype}
    # Une couche de Falcon compte environ dix fois le carré de sa largeur : ces deux matrices aussi.
    formes = ((largeur, 5 * largeur), (5 * largeur, largeur))
    monter, descendre = (torch.randn(forme, **lieu) for forme in formes)
    durees: tuple[list[float], list[float]] = ([], [])
    for longueur in longueurs:
        jetons = torch.randn(longueur, largeur, **lieu)
        tete = jetons.view(1, longueur, tetes, -1).transpose(1, 2)
        attention = lambda q=tete: F.scaled_dot_product_attention(q, q, q, is_causal=True)  # noqa: E731
        autres = lambda x=jetons: x @ monter @ descendre  # noqa: E731
        for liste, calcul in zip(durees, (attention, autres), strict=True):
            liste.append(1000 * min(_duree(calcul, modele.device) for _ in range(essais)))
    return durees


def _duree(calcul: Callable[[], torch.Tensor], lieu: torch.device) -> float:
    """Les secondes d'un calcul : celles du processeur, ou celles de la carte graphique."""
    sur_carte = lieu.type == "cuda"
    # Le temps du processus ne compte pas les autres programmes de la machine.
    horloge = time.perf_counter if sur_carte else time.process_time
    attendre = torch.cuda.synchronize if sur_carte else lambda: None
    attendre()
    debut = horloge()
    calcul()
    attendre()
    return horloge() - debut
