"""Chaque carnet passe chaque garde, et chaque garde rougit sur un carnet abîmé exprès."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial

import gardes
import nbformat
import pytest
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from outils import adresse
from outils.tester import RACINE

CARNETS = sorted((RACINE / "notebooks").glob("*.ipynb"))
NOMS = [carnet.stem for carnet in CARNETS]


def lire(nom: str) -> NotebookNode:
    """Un carnet du dépôt, tel qu'il est enregistré."""
    return nbformat.read(RACINE / "notebooks" / f"{nom}.ipynb", as_version=nbformat.NO_CONVERT)


# ---------------------------------------------------------------- les carnets du dépôt


def test_les_carnets_de_base_sont_la():
    """Sans carnet, les tests paramétrés seraient verts pour rien."""
    assert {"00_demarrage", "03_finetuning_falcon_4bit"} <= set(NOMS)


@pytest.mark.parametrize("garde", gardes.GARDES, ids=lambda garde: garde.__name__)
@pytest.mark.parametrize("nom", NOMS)
def test_le_carnet_passe_la_garde(nom: str, garde: Callable):
    """Chaque carnet, chaque garde."""
    assert garde(lire(nom)) == []


@pytest.mark.parametrize("nom", NOMS)
def test_le_badge_mene_au_carnet(nom: str):
    """Le badge suit l'adresse de pyproject et le nom du fichier."""
    assert gardes.badge(lire(nom), nom, adresse.lire()) == []


@pytest.mark.parametrize("nom", NOMS)
def test_la_preparation_est_la_meme_partout(nom: str):
    """La cellule de préparation est celle du premier carnet, qui installe cette version-ci."""
    modele = gardes.cellule_de_preparation(lire(NOMS[0]))
    assert gardes.preparation(lire(nom), modele.source) == []
    assert f'"fabrique @ git+{adresse.lire()}@{adresse.etiquette()}"' in modele.source


@pytest.mark.parametrize("nom", NOMS)
def test_le_fichier_pese_moins_d_un_mega_octet(nom: str):
    """Le fichier lui-même, indentation comprise."""
    assert (RACINE / "notebooks" / f"{nom}.ipynb").stat().st_size < gardes.POIDS_MAX


# ---------------------------------------------------------------- un carnet sain, minuscule

ADRESSE = "https://github.com/exemple/Cours"
PREPARATION = "import fabrique\n\nprofil = fabrique.preparer()"
COLAB = "https://colab.research.google.com"
# « ~ » tient lieu d'espace insécable.
PROSE = """## Lire

Le modèle lit~: «~bonjour~»~! Est-ce qu’il comprend~? Non~; il calcule `a : b` et $x : y$.
Voir [l’article](https://exemple.fr/a?b=c'd) ou <https://exemple.fr/x?y;z>.

«~Does It Hallucinate?~», 2024.

| colonne | autre |
| :--- | ---: |
| <span title="c'est un titre !">un</span> | deux |

```python
print("l'eau ! « brut »")
```

![Une courbe qui descend](figure.svg)
""".replace("~", "\u00a0")


def imprime(texte: str, flux: str = "stdout") -> NotebookNode:
    """Une sortie imprimée."""
    return new_output("stream", name=flux, text=texte)


def montre(**donnees: str) -> NotebookNode:
    """Une sortie affichée ; ``text_html`` se lit « text/html »."""
    return new_output("display_data", data={k.replace("_", "/"): v for k, v in donnees.items()})


def exercice(numero: int) -> list[NotebookNode]:
    """Un exercice et sa solution."""
    question = f'reponse = ...\nverifier("sain-{numero}", reponse, mots=lus["mots"])'
    code = question.replace("...", str(numero))
    return [
        new_markdown_cell(f"### À vous {numero}\n\nCombien\u00a0?"),
        new_code_cell(
            question, metadata={"tags": ["exercice"]}, outputs=[imprime("À vous : remplacez.\n")]
        ),
        new_markdown_cell(
            f"<details><summary>Solution</summary>\n\n```python\n{code}\n```\n\nVoilà.\n</details>"
        ),
    ]


def carnet_sain() -> NotebookNode:
    """Un carnet minuscule qui passe toutes les gardes."""
    badge = f"[![Ouvrir dans Colab]({COLAB}/assets/colab-badge.svg)]"
    lien = f"({COLAB}/github/exemple/Cours/blob/main/notebooks/sain.ipynb)"
    fin = "## Ce qu’il faut retenir\n\n- Tout.\n\n## Mini-quiz\n\n## Pour aller plus loin"
    cellules = [
        new_markdown_cell(f"# Sain\n\n{badge}{lien}\n\n## En bref\n\n**À la fin, vous saurez**"),
        new_code_cell(PREPARATION, metadata={"tags": ["nbval-ignore-output"]}),
        new_markdown_cell(PROSE),
        new_code_cell(
            "print(1 + 1)",
            metadata={"tags": ["nbval-check-output"]},
            outputs=[imprime("2\n")],
        ),
        new_code_cell(
            "%matplotlib inline\nmontrer(figure, 'Une courbe')",
            outputs=[montre(text_html='<img src="data:image/png;base64,/tmp/" alt="Une courbe">')],
        ),
        *(cellule for numero in range(1, 5) for cellule in exercice(numero)),
        new_markdown_cell(fin),
    ]
    carnet = new_notebook(cells=cellules)
    carnet.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3"}
    for rang, cellule in enumerate(c for c in cellules if c.cell_type == "code"):
        cellule.execution_count = rang + 1
    return carnet


BADGE = partial(gardes.badge, nom="sain", adresse=ADRESSE)
PREPARER = partial(gardes.preparation, reference=PREPARATION)


@pytest.mark.parametrize("garde", [*gardes.GARDES, BADGE, PREPARER])
def test_un_carnet_sain_passe(garde: Callable):
    """Une garde qui rougit pour rien finirait ignorée."""
    assert garde(carnet_sain()) == []


# ---------------------------------------------------------------- un carnet abîmé, garde par garde

PREPARATION_ICI, TEXTE, COMPAREE, FIGURE, QUESTION, REPONSE, FIN = 1, 2, 3, 4, 6, 7, -1


def etiquette(rang: int, *noms: str) -> Callable:
    """Change les étiquettes d'une cellule."""
    return lambda carnet: carnet.cells[rang].metadata.update(tags=list(noms))


def source(rang: int, avant: str, apres: str) -> Callable:
    """Remplace un morceau de la source d'une cellule, qui doit s'y trouver."""

    def abimer(carnet: NotebookNode) -> None:
        assert avant in carnet.cells[rang].source
        carnet.cells[rang].source = carnet.cells[rang].source.replace(avant, apres)

    return abimer


def sorties(rang: int, *nouvelles: NotebookNode) -> Callable:
    """Change les sorties d'une cellule."""
    return lambda carnet: carnet.cells[rang].update(outputs=list(nouvelles))


def code(texte: str) -> Callable:
    """Change le code d'une cellule ordinaire."""
    return lambda carnet: carnet.cells[FIGURE].update(source=texte)


def ajoute(texte: str) -> Callable:
    """Ajoute une phrase à la prose."""
    return lambda carnet: carnet.cells[TEXTE].update(source=f"{PROSE}\n{texte}\n")


def compte(rang: int, valeur: int | None) -> Callable:
    """Change le numéro d'exécution d'une cellule."""
    return lambda carnet: carnet.cells[rang].update(execution_count=valeur)


def enleve(rang: int) -> Callable:
    """Retire une cellule."""
    return lambda carnet: carnet.cells.pop(rang)


ERREUR = new_output("error", ename="ValueError", evalue="non", traceback=["ValueError: non"])
# Écrits en morceaux : ce fichier-ci ne doit nommer ni chemin ni jeton.
DOSSIER = "/" + "home/agent/cours"

ABIMES: list[tuple[Callable, str, Callable]] = [
    (
        gardes.etiquettes_connues,
        "inconnue « nbval-chek-output »",
        etiquette(3, "nbval-chek-output"),
    ),
    (gardes.etiquettes_connues, "inconnue « nbval-skip »", etiquette(3, "nbval-skip")),
    (
        gardes.etiquettes_connues,
        "métadonnée inconnue « tag »",
        lambda carnet: carnet.cells[3].metadata.update(tag=["nbval-check-output"]),
    ),
    (
        gardes.etiquettes_connues,
        "comparée et ignorée",
        etiquette(3, "nbval-check-output", "nbval-ignore-output"),
    ),
    (gardes.etiquettes_connues, "pas du code", etiquette(TEXTE, "nbval-ignore-output")),
    (gardes.etiquettes_connues, "en commentaire", code("print(1)  #NBVAL_SKIP")),
    (gardes.etiquettes_connues, "en commentaire", code("# nbval_ignore_output\nprint(1)")),
    (gardes.parcours_court, "ne disent pas pareil", etiquette(COMPAREE, "court")),
    (gardes.parcours_court, "ne disent pas pareil", source(TEXTE, "## Lire", "## Lire ◆")),
    (gardes.cellules_comparees, "jamais exécutée", compte(COMPAREE, None)),
    (gardes.cellules_comparees, "sans sortie", sorties(COMPAREE)),
    (gardes.cellules_comparees, "stderr", sorties(COMPAREE, imprime("2"), imprime("x", "stderr"))),
    (
        gardes.cellules_comparees,
        "une image",
        sorties(COMPAREE, imprime("2"), montre(text_html='<img src="data:image/png;base64,aa">')),
    ),
    (gardes.tout_execute, "jamais exécutée", compte(FIGURE, None)),
    (gardes.tout_execute, "désordre", compte(FIGURE, 12)),
    (gardes.python_seul, "« !ls »", code("print(1)\n!ls")),
    (gardes.python_seul, "n’est pas du Python", code("fichiers = !ls")),
    (gardes.python_seul, "« %timeit 1 »", code("%timeit 1")),
    (gardes.python_seul, "« %matplotlib inlin »", code("%matplotlib inlin")),
    (gardes.python_seul, "n’est pas du Python", code("%%bash\nls")),
    (gardes.python_seul, "os.system", code("import os\nos.system('ls')")),
    (gardes.python_seul, "get_ipython", code("get_ipython().system('ls')")),
    (gardes.python_seul, "check=True", code("subprocess.run(['ls'])")),
    (gardes.python_seul, "check=True", code("subprocess.run(['ls'], check=False)")),
    (gardes.erreurs_attendues, "sans l’étiquette", sorties(FIGURE, ERREUR)),
    (gardes.erreurs_attendues, "mais sans erreur", etiquette(FIGURE, "raises-exception")),
    (gardes.sections, "titre", source(0, "# Sain", "Sain")),
    (gardes.sections, "En bref", source(0, "## En bref", "En bref")),
    (gardes.sections, "vous saurez", source(0, "vous saurez", "tout")),
    (gardes.sections, "retenir", source(FIN, "Ce qu’il faut", "À")),
    (gardes.sections, "Mini-quiz", source(FIN, "## Mini-quiz", "```\n## Mini-quiz\n```")),
    (gardes.sections, "plus loin", source(FIN, "## Pour aller", "## Aller")),
    (BADGE, "il manque le badge", source(0, "exemple/Cours", "autre/Cours")),
    (BADGE, "il manque le badge", source(0, "sain.ipynb", "autre.ipynb")),
    (PREPARER, "celle des autres", source(PREPARATION_ICI, "profil =", "p =")),
    (PREPARER, "étiquetée", etiquette(PREPARATION_ICI)),
    (PREPARER, "pas la cellule", enleve(PREPARATION_ICI)),
    (PREPARER, "plusieurs fois", code("fabrique.preparer()")),
    (gardes.images_decrites, "image(s) sans", source(TEXTE, "Une courbe qui descend", "")),
    (gardes.images_decrites, "image(s) sans", ajoute('<img src="a.png">')),
    (gardes.images_decrites, "image(s) sans", ajoute('<img src="a.png" alt=" ">')),
    (gardes.images_decrites, "image(s) sans", sorties(FIGURE, montre(text_html="<img src='a'>"))),
    (gardes.images_decrites, "image(s) sans", sorties(FIGURE, montre(text_html="<svg></svg>"))),
    (gardes.images_decrites, "image/png brute", sorties(FIGURE, montre(image_png="aGVsbG8="))),
    (gardes.sans_secret_ni_chemin, DOSSIER, code(f"ouvrir('{DOSSIER}')")),
    (gardes.sans_secret_ni_chemin, DOSSIER, sorties(FIGURE, imprime(f"Écrit : {DOSSIER}"))),
    (gardes.sans_secret_ni_chemin, "absolu", sorties(FIGURE, imprime("/" + "content/sorties"))),
    (gardes.sans_secret_ni_chemin, "absolu", ajoute("C:" + "\\Users\\agent")),
    (gardes.sans_secret_ni_chemin, "jeton", code(f"jeton = 'hf_{'a' * 30}'")),
    (gardes.sans_secret_ni_chemin, "jeton", ajoute(f"ghp_{'a' * 30}")),
    (gardes.sans_secret_ni_chemin, "jeton", sorties(FIGURE, imprime(f"sk-{'a' * 30}"))),
    (gardes.sans_cellule_vide, "cellule 5 : vide", code(" \n")),
    (gardes.ouvrable, "invalide", lambda carnet: carnet.cells[3].pop("execution_count")),
    (gardes.ouvrable, "4.5", lambda carnet: carnet.update(nbformat_minor=4)),
    (gardes.ouvrable, "noyau", lambda carnet: carnet.metadata.pop("kernelspec")),
    (gardes.ouvrable, "double", lambda carnet: carnet.cells[3].update(id=carnet.cells[4].id)),
    (gardes.ouvrable, "orphelin", lambda carnet: carnet.metadata.update(widgets={})),
    (
        gardes.ouvrable,
        "sortie de widget",
        sorties(FIGURE, new_output("display_data", data={gardes.WIDGET: {"model_id": "a"}})),
    ),
    (gardes.leger, "Mo", sorties(FIGURE, imprime("x" * gardes.POIDS_MAX))),
    (gardes.leger, "61 lignes", sorties(FIGURE, imprime("x\n" * 61))),
    (gardes.leger, "61 lignes", sorties(FIGURE, montre(text_html="<tr><td>x</td></tr>" * 61))),
    (gardes.typographie, "ordinaire avant :", ajoute("Voici : tout.")),
    (gardes.typographie, "ordinaire avant ;", ajoute("Voici ; tout.")),
    (gardes.typographie, "ordinaire avant !", ajoute("**Voici** !")),
    (gardes.typographie, "ordinaire avant ?", ajoute("Quoi\n?")),
    (gardes.typographie, "manquante avant ?", ajoute("Quoi?")),
    (gardes.typographie, "après «", ajoute("« ici\u00a0»")),
    (gardes.typographie, "avant »", ajoute("«\u00a0ici »")),
    (gardes.typographie, "apostrophe droite", ajoute("l'eau")),
    (gardes.typographie, "apostrophe droite", ajoute("d'`eau` et l'*eau*")),
    (gardes.exercices_corriges, "au moins 4", etiquette(QUESTION)),
    (gardes.exercices_corriges, "sans cellule de solution", enleve(REPONSE)),
    (gardes.exercices_corriges, "sans cellule de solution", source(REPONSE, "<details>", "")),
    (gardes.exercices_corriges, "sans cellule de solution", source(REPONSE, "```python", "```")),
    (gardes.exercices_corriges, "sans verifier", source(QUESTION, "verifier", "voir")),
    (gardes.exercices_corriges, "déjà résolu", sorties(QUESTION, imprime("Juste ! Bravo."))),
    (gardes.exercices_muets, "écrivez verifier", source(QUESTION, "verifier", "voir")),
    (gardes.exercices_muets, "écrivez verifier", source(QUESTION, 'lus["mots"]', "len(lus)")),
    (gardes.exercices_muets, "écrivez verifier", source(QUESTION, 'lus["mots"]', "lus[0] + 1")),
    (gardes.exercices_muets, "écrivez verifier", source(QUESTION, 'mots=lus["mots"]', "attendu=7")),
    (gardes.exercices_muets, "écrivez verifier", source(QUESTION, "mots=", "indice='Non.', m=")),
    (gardes.exercices_muets, "écrivez verifier", source(QUESTION, "mots=", "7, mots=")),
    (gardes.exercices_muets, "écrivez verifier", source(QUESTION, '"sain-1"', "cle")),
    (gardes.exercices_muets, "une lambda", source(QUESTION, "...", "...\nf = lambda t: t")),
    (gardes.exercices_muets, "se lit dans", source(QUESTION, "...", "...\nprint(2 - 1)")),
    (gardes.exercices_muets, "pas le même", source(REPONSE, "sain-1", "sain-2")),
]


@pytest.mark.parametrize(("garde", "attendu", "abimer"), ABIMES)
def test_la_garde_rougit_sur_un_carnet_abime(garde: Callable, attendu: str, abimer: Callable):
    """Le défaut est vu, et nommé."""
    carnet = copy.deepcopy(carnet_sain())
    abimer(carnet)
    assert any(attendu in defaut for defaut in garde(carnet)), garde(carnet)


def test_chaque_garde_est_mise_a_l_epreuve():
    """Aucune garde sans un carnet abîmé qui la fasse rougir."""
    assert {garde for garde, _, _ in ABIMES} == {*gardes.GARDES, BADGE, PREPARER}
