"""Les nombres en français : comparés à Babel, calculés à la main, et écrits à un seul endroit."""

from __future__ import annotations

import ast
import math
import re
from decimal import Decimal
from pathlib import Path

import pytest
from babel.numbers import format_decimal
from hypothesis import given, strategies as st

from fabrique.socle import nombres as n

RACINE = Path(__file__).resolve().parent.parent
REELS = st.floats(-1e12, 1e12)


# ---------------------------------------------------------------- ce qu'ils écrivent


@given(REELS | st.integers(-(10**12), 10**12), st.integers(0, 6))
def test_un_nombre_s_ecrit_comme_le_dit_unicode(nombre: float, decimales: int):
    """Virgule, espace fine insécable des milliers, arrondi : ceux de la locale ; le moins, le vrai."""
    motif = f"#,##0.{'0' * decimales}".rstrip(".")
    attendu = format_decimal(Decimal(nombre), motif, "fr").replace("-", "−")
    assert n.en_francais(nombre, decimales) == attendu


@given(st.integers(-(10**10) + 1, 10**10 - 1), st.integers(0, 3))
def test_un_nombre_en_bref_garde_tous_ses_chiffres_et_aucun_zero_inutile(entier: int, decimales):
    """Jusqu’à dix chiffres, il se relit sans perte."""
    ecrit = n.en_bref(entier / 10**decimales)
    lu = ecrit.translate({0x202F: None, ord(","): ".", ord("−"): "-"})
    assert float(lu) == entier / 10**decimales
    assert "," not in ecrit or ecrit[-1] != "0"


@given(REELS, st.integers(0, 6))
def test_un_ecart_est_signe_et_son_oppose_s_ecrit_pareil(ecart: float, decimales: int):
    ecrit, oppose = n.en_ecart(ecart, decimales), n.en_ecart(-ecart, decimales)
    assert ecrit[0] == ("+" if ecart >= 0 else "−")
    assert ecrit[1:] == oppose[1:] == n.en_francais(abs(ecart), decimales)


@given(st.integers(0, 10**6))
def test_une_duree_se_relit_a_son_unite_pres(secondes: int):
    """Les secondes sous l’heure, les minutes au-delà."""
    valeurs = {"s": 1, "min": 60, "h": 3600}
    *mots, unite = n.en_duree(secondes).split("\u00a0")
    chiffres, unites = mots[::2], [*mots[1::2], unite]
    lue = sum(int(c) * valeurs[u] for c, u in zip(chiffres, unites, strict=True))
    assert lue == secondes - secondes % (1 if secondes < 3600 else 60)


@pytest.mark.parametrize(
    ("ecrit", "attendu"),
    [
        (n.en_francais(2_359_296), "2\u202f359\u202f296"),
        (n.en_francais(0.998, 2), "1,00"),
        (n.en_francais(-3.416, 2), "−3,42"),
        (n.accorder(0, "erreur"), "0 erreur"),
        (n.accorder(1, "jeton"), "1 jeton"),
        (n.accorder(2, "source citée", "sources citées"), "2 sources citées"),
        (n.accorder(1200, "mot"), "1\u202f200 mots"),
        (n.accorder(1.94, "point", decimales=1), "1,9 point"),
        (n.accorder(1.96, "point", decimales=1), "2,0 points"),
        (n.accorder(-0.7, "point", decimales=1), "−0,7 point"),
        (n.en_francais(math.inf), "∞"),
        (n.en_francais(-math.inf), "−∞"),
        (n.en_bref(0.1 + 0.2), "0,3"),
        (n.en_bref(60.0), "60"),
        (n.en_bref(4096), "4\u202f096"),
        (n.en_bref(0.01234, 2), "0,012"),
        (n.en_pourcent(0.413), "41\u00a0%"),
        (n.en_pourcent(0.413, 1), "41,3\u00a0%"),
        (n.en_ecart(4.25, 1), "+4,2"),
        (n.en_ecart(-0.3114, 2), "−0,31"),
        (n.en_ecart(0), "+0"),
        (n.en_scientifique(3e-3), "3,0 × 10⁻³"),
        (n.en_scientifique(0.00025), "2,5 × 10⁻⁴"),
        (n.en_scientifique(1.25e12), "1,2 × 10¹²"),
        (n.a_la_virgule("1234.50"), "1234,50"),
        (n.en_go(15_835_660_288), "15,8\u00a0Go"),
        (n.en_go(99_000_000), "99\u00a0Mo"),
        (n.en_go(2 * 10**12), "2\u202f000,0\u00a0Go"),
        (n.en_mo(22_330_000), "22,3\u00a0Mo"),
        (n.en_duree(44.6), "45\u00a0s"),
        (n.en_duree(200), "3\u00a0min\u00a020\u00a0s"),
        (n.en_duree(3601), "1\u00a0h\u00a000\u00a0min"),
        (n.en_minutes(0.5), "30 s"),
        (n.en_minutes(119), "119 min"),
        (n.en_minutes(120), "2,0 h"),
    ],
)
def test_chaque_forme_est_celle_qu_on_calcule_a_la_main(ecrit: str, attendu: str):
    assert ecrit == attendu


# ---------------------------------------------------------------- un seul endroit

#: Les seuls autres fichiers qui mettent un nombre en forme, et pourquoi.
EXCEPTIONS = {
    "cours/atelier/verification.py": "se lance seul, sans le paquet",
    "corpus/classeurs.py": "rend une cellule comme Excel la montre",
    "recherche/citations.py": "compare deux nombres écrits, sans en afficher",
    "recettes/domaine.py": "nomme un dossier d’après sa part",
    "recettes/affinage.py": "redit un réglage comme il se tape : val_set_size = 0.1",
}


def test_un_seul_fichier_ecrit_les_nombres_en_francais():
    """Ni « 0.35 s » affiché, ni point changé en virgule dans une phrase, où un chemin peut se trouver."""
    ailleurs = {
        fichier.relative_to(RACINE / "fabrique").as_posix()
        for fichier in (RACINE / "fabrique").rglob("*.py")
        if fichier != Path(n.__file__) and ecritures(fichier)
    }
    assert ailleurs == EXCEPTIONS.keys()
    programmes = [*(RACINE / "outils").glob("*.py"), *(RACINE / "benchmarks").glob("*.py")]
    assert [f.name for f in programmes if any(map(_change_les_points, noeuds(f)))] == []


def test_aucune_phrase_ne_laisse_l_accord_au_lecteur():
    """« 3 jeton(s) » s'accorde, par « accorder » ; un appel de fonction « f(s) » n'est pas une phrase."""
    laisse = re.compile(r"[a-zà-ÿ]{2}\((?:s|x|e|es|nt)\)(?=[ ,.;:\u00a0»]|$)")
    textes = {
        (fichier.name, noeud.value)
        for fichier in (RACINE / "fabrique").rglob("*.py")
        for noeud in noeuds(fichier)
        if isinstance(noeud, ast.Constant) and isinstance(noeud.value, str)
    }
    assert not {(nom, texte) for nom, texte in textes if laisse.search(texte)}
    pages = (RACINE / "fabrique").rglob("*.html")
    assert not [page for page in pages if laisse.search(page.read_text("utf-8"))]
    assert laisse.search("1 jeton(s), 2 mots")


def ecritures(fichier: Path) -> list[int]:
    """Les lignes d'un fichier où un nombre se met en forme sans passer par le socle."""
    return [
        noeud.lineno
        for noeud in noeuds(fichier)
        if _change_les_points(noeud) or _demande_un_nombre(noeud)
    ]


def noeuds(fichier: Path) -> list[ast.AST]:
    """Tout l'arbre d'un programme."""
    return list(ast.walk(ast.parse(fichier.read_text("utf-8"))))


def _change_les_points(noeud: ast.AST) -> bool:
    """Vrai pour ``quelque_chose.replace(".", ",")``, ou des virgules changées en espaces fines."""
    return (
        isinstance(noeud, ast.Call)
        and isinstance(noeud.func, ast.Attribute)
        and noeud.func.attr == "replace"
        and [getattr(a, "value", None) for a in noeud.args] in ([".", ","], [",", "\u202f"])
    )


def _demande_un_nombre(noeud: ast.AST) -> bool:
    """Vrai pour ``{x:.2f}``, ``{x:g}``, ``{x:,}`` ; pas pour ``{n:02d}`` ni ``{titre:<32}``."""
    if not isinstance(noeud, ast.FormattedValue) or noeud.format_spec is None:
        return False
    textes = [v.value for v in noeud.format_spec.values if isinstance(v, ast.Constant)]
    return textes != [] and (textes[-1][-1] in "eEfFgG%," or "," in "".join(textes))


@pytest.mark.parametrize(
    ("code", "vu"),
    [
        ('f"{x:.2f}"', True),
        ('f"{x:,}"', True),
        ('f"{x:g}"', True),
        ('f"{x:+.3f}"', True),
        ('f"{x:.{d}f}"', True),
        ('x.replace(".", ",")', True),
        ('f"{n:02d}"', False),
        ('f"{titre:<32}"', False),
        ('f"{octet:02X}"', False),
        ('x.replace(",", ".")', False),
    ],
)
def test_ce_qui_met_un_nombre_en_forme_se_reconnait(tmp_path: Path, code: str, vu: bool):
    fichier = tmp_path / "essai.py"
    fichier.write_text(code, "utf-8")
    assert bool(ecritures(fichier)) is vu
