"""La prose d'un carnet conclut comme ses sorties enregistrées : chaque phrase est tenue par une mesure."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache

import gardes
import nbformat
import pytest
from nbformat import NotebookNode

from fabrique.jetons import ouvrir
from outils.tester import RACINE


@cache
def carnet(numero: str) -> NotebookNode:
    """Un carnet du dépôt, par son numéro."""
    [chemin] = (RACINE / "notebooks").glob(f"{numero}_*.ipynb")
    return nbformat.read(chemin, as_version=nbformat.NO_CONVERT)


@cache
def sorties(numero: str) -> str:
    """Tout ce que montre un carnet, dans l'ordre ; une espace insécable vaut une espace."""
    cellules = (c for c in carnet(numero).cells if c.cell_type == "code")
    return ordinaires("\n".join(map(gardes.texte_des_sorties, cellules)))


def ordinaires(texte: str) -> str:
    """Le texte, ses espaces insécables changées en espaces."""
    return texte.replace("\u00a0", " ").replace("\u202f", " ")


def nombres(numero: str, motif: str) -> list[float]:
    """Les nombres que ce motif trouve, une fois exactement, dans les sorties d'un carnet."""
    [trouve] = re.findall(motif, sorties(numero))
    groupes = trouve if isinstance(trouve, tuple) else (trouve,)
    return [float(groupe.replace(",", ".").replace("−", "-")) for groupe in groupes]


def cases(numero: str, entete: str) -> list[str]:
    """Les cases du tableau côte à côte dont une colonne porte cet en-tête."""
    fragments = [
        gardes.contenu(sortie).get("text/html", "")
        for cellule in carnet(numero).cells
        for sortie in cellule.get("outputs", [])
    ]
    [tableau] = [f for f in fragments if entete in ordinaires(f) and "<td" in f]
    return [gardes.texte_html(case) for case in re.findall(r"<td.*?</td>", tableau, re.DOTALL)]


N = r"(−?\d+(?:,\d+)?)"


def la_lune_reste_sans_reponse() -> bool:
    return not any("384" in case for case in cases("00", "le modèle affiné")[-2:])


def toujours_les_memes_nombres() -> bool:
    justes, differents = nombres("01", rf"mots bien comptés sur dix : {N}\.") + nombres(
        "01", rf"pour dix longueurs différentes : {N}\."
    )
    return justes == 1 and differents <= 3


def le_pdf_repare() -> bool:
    notre = ouvrir("falcon-poche")
    propre = "Déclaration de naissance à la mairie déléguée"
    abime = (
        propre.replace("é", "e\u0301").replace("à", "a\u0300").replace("n de n", "n\u202fde\u202fn")
    )
    return (len(notre.coder("━" * 6 + " " + abime)), len(notre.coder(" " + propre))) == (42, 11)


def votre_tokenizer_fait_moins_bien() -> bool:
    sien, votre = nombres("01", rf"son tokenizer : {N} ; .*?votre tokenizer : {N} ;")
    return votre > 1.5 * sien


def les_coupures() -> bool:
    a_128, a_256, a_512 = (
        nombres("01", rf"cutoff_len={n} : {N} % des exemples")[0] for n in (128, 256, 512)
    )
    return a_128 > 50 and round(100 / a_256) == 17 and a_512 == 0


def les_demandes_maladroites() -> bool:
    minuscule, sans_signe, joint = nombres(
        "02",
        rf"une minuscule +{N} %\nne finissent par aucun signe +{N} %\njoignent un texte +{N} %",
    )
    return minuscule == 20 and round(100 / sans_signe) == 8 and 28 < joint < 33.4


def la_reformulation_echappe() -> bool:
    vues = re.findall(
        r"(recopiée|en capitales|réponse copiée|réponse reformulées) +(vue|PAS VUE)", sorties("02")
    )
    return [vue for _, vue in vues] == ["vue", "vue", "vue", "PAS VUE"]


def le_hors_sujet_coute_moins() -> bool:
    echangees, melees = (
        nombres("02", rf"\n{nom} +\+{N} % de perte \[")[0] for nom in ("échangées", "mêlées")
    )
    return echangees < melees / 3


def la_base_terminait_deja() -> bool:
    closes, en_phrases = nombres("03", rf"Base +{N} réponses closes sur 12, +{N} en phrases")
    return min(closes, en_phrases) >= 10


def le_style_a_pris() -> bool:
    base, affine = nombres(
        "03", rf"base +réponses d’époque : +{N} % [^\n]+\n+XVIIᵉ +réponses d’époque : +{N} %"
    )
    return base == 0 and affine > 60


def la_dose_bascule() -> bool:
    def part(texte: str) -> float:
        return sum("ſ" in mot for mot in texte.split()) / len(texte.split())

    demi, une, forte = map(part, cases("03", "dose 1,50"))
    return demi < 0.1 < une < forte


def quatre_fiches_font_oublier() -> bool:
    bornes = [
        nombres("06", rf"{quoi}, vingt fois : \+{N} \(\+{N} à \+{N}\), perdu")
        for quoi in ("le domaine", "l’encyclopédie")
    ]
    return min(bas for _, bas, _ in bornes) > 0.1


def publies(debut: str) -> list[str]:
    """Les nombres de la ligne de RESULTATS.md qui commence ainsi, depuis son écart."""
    lignes = (RACINE / "benchmarks" / "RESULTATS.md").read_text("utf-8").splitlines()
    [ligne] = [ligne for ligne in lignes if ligne.startswith(f"| {debut}")]
    return re.findall(N, ligne.rstrip(" |").rpartition("|")[2])


def l_ordre_est_celui_du_banc() -> bool:
    return publies("les fiches à la fin")[:3] == ["0,007", "−0,002", "0,015"] and (
        round(float(publies("les fiches au début")[0].replace(",", ".")), 2) == 0.10
    )


def les_instructions_sont_celles_du_banc() -> bool:
    perte = [
        abs(float(n.replace(",", ".").replace("−", "-"))) for n in publies("perte des réponses")
    ]
    return [round(n, 2) for n in perte] == [0.12, 0.16, 0.09] and publies(
        "F1 de mots clés | 13"
    ) == [
        "−2,4",
        "−3,8",
        "−0,9",
    ]


#: Le carnet, la phrase, et ce qui la tient. Sur une autre machine, la phrase nomme le Falcon de poche.
CONCLUSIONS: list[tuple[str, str, Callable[[], bool]]] = [
    ("00", "ne répond ni avant ni après", la_lune_reste_sans_reponse),
    ("01", "Un modèle qui redit toujours les mêmes nombres", toujours_les_memes_nombres),
    ("01", "font passer le texte de 42 jetons à 11", le_pdf_repare),
    ("01", "fait ici bien moins bien que le sien", votre_tokenizer_fait_moins_bien),
    ("01", "à 256, un sur dix-sept ; à 512, aucun", les_coupures),
    (
        "02",
        "Une demande sur cinq commence par une minuscule, une sur huit",
        les_demandes_maladroites,
    ),
    ("02", "sont reformulées, le contrôle ne voit rien", la_reformulation_echappe),
    ("02", "elle le compte bien moins cher que des mots mêlés", le_hors_sujet_coute_moins),
    ("03", "terminait déjà presque toutes ses réponses, en phrases", la_base_terminait_deja),
    ("03", "affiné, le Falcon de poche en écrit le plus souvent", le_style_a_pris),
    ("03", "presque aucun mot ne porte de ſ à la dose 0,5", la_dose_bascule),
    ("06", "prédit plus mal ce qu’il n’a pas lu, les autres fiches", quatre_fiches_font_oublier),
    ("06", "(+0,007 bit par octet, entre −0,002 et +0,015)", l_ordre_est_celui_du_banc),
    (
        "06",
        "elles y perdaient tout ce qu’elles avaient apporté (+0,10)",
        l_ordre_est_celui_du_banc,
    ),
    ("06", "0,12 nat par jeton, entre 0,09 et 0,16", les_instructions_sont_celles_du_banc),
    ("06", "2,4 points, entre 0,9 et 3,8", les_instructions_sont_celles_du_banc),
]


@pytest.mark.parametrize(
    ("numero", "phrase", "tenue"), CONCLUSIONS, ids=lambda x: getattr(x, "__name__", "")
)
def test_la_phrase_est_tenue_par_la_sortie(numero: str, phrase: str, tenue: Callable[[], bool]):
    prose = ordinaires(
        "\n".join(c.source for _, c in gardes.numerotees(carnet(numero), "markdown"))
    )
    assert prose.count(phrase) == 1
    assert tenue()


# ---------------------------------------------------------------- la réponse n'est pas déjà écrite


def ecart_des_taux() -> float:
    petit, profil = nombres(
        "03",
        rf"trop petit +perte [\d,]+ au début, {N} à la fin\nprofil +perte [\d,]+ au début, {N} à la fin",
    )
    return petit - profil


@pytest.mark.parametrize(
    ("numero", "cle", "reponse"),
    [
        ("00", "00-2", lambda: 1.39),
        ("00", "00-4", lambda: 84 + 133),
        ("03", "03-5", ecart_des_taux),
    ],
)
def test_la_reponse_d_un_exercice_n_est_pas_affichee_au_dessus(
    numero: str, cle: str, reponse: Callable[[], float]
):
    avant = []
    for cellule in carnet(numero).cells:
        if f'"{cle}"' in cellule.source and "exercice" in cellule.metadata.get("tags", []):
            break
        avant.append(gardes.texte_des_sorties(cellule))
    ecrite = f"{reponse():.2f}".rstrip("0").rstrip(".").replace(".", ",")
    assert not re.search(rf"(?<![\d,]){ecrite}(?![\d,]*\d)", ordinaires("\n".join(avant)))
