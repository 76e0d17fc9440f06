"""Les gardes des carnets : chaque fonction lit un carnet et rend ses défauts, en français.

nbval passe au vert sans rien vérifier quand une étiquette est mal écrite, quand une cellule
marquée n'a pas été exécutée, quand une commande ``!…`` échoue. Ces gardes ferment ces trous,
et tiennent la forme commune : badge, sections, images décrites, typographie.
"""

from __future__ import annotations

import ast
import html
import re
from collections import Counter
from collections.abc import Callable, Iterator
from html.parser import HTMLParser

import nbformat
from nbformat import NotebookNode

from outils.corriges import EXERCICE, JUSTE, exercices

COMPAREE, IGNOREE, EN_ERREUR = "nbval-check-output", "nbval-ignore-output", "raises-exception"
#: Le parcours court : l'étiquette d'une cellule de code, et la marque d'un titre, pour le lecteur.
COURT, MARQUE = "court", "◆"
ETIQUETTES = {COMPAREE, IGNOREE, EXERCICE, EN_ERREUR, COURT}
#: Ce qu'une cellule peut porter en métadonnées : « tag » au lieu de « tags » se verrait.
METADONNEES = {"tags", "jupyter", "collapsed", "scrolled"}
MAGIES = {"%matplotlib inline"}
SECTIONS = {
    "un titre « # … » en tête": r"\A# \S",
    "« ## En bref »": r"^## En bref\b",
    "« À la fin, vous saurez »": r"À la fin, vous saurez",
    "« ## Ce qu’il faut retenir »": r"^## Ce qu’il faut retenir\b",
    "« ## Mini-quiz »": r"^## Mini-quiz\b",
    "« ## Pour aller plus loin »": r"^## Pour aller plus loin\b",
}
WIDGET = "application/vnd.jupyter.widget-view+json"
POIDS_MAX = 1_000_000
LIGNES_MAX = 60
EXERCICES_MIN = 4

#: /content/drive est le même chez tous les lecteurs de Colab : ce n'est pas un chemin de machine.
CHEMIN = re.compile(
    r"(?<![\w.])/(?:home|root|work|tmp|Users|content(?!/drive))(?=/|\b)(?:/[\w.-]+)*"
    r"|\b[A-Za-z]:\\+Users"
)
JETON_SECRET = re.compile(
    r"\b(?:hf_\w{16,}|gh[pousr]_\w{16,}|github_pat_\w{16,}|sk-[\w-]{16,}|AKIA[A-Z0-9]{12,})"
)
IMAGE_INCLUSE = re.compile(r"data:image/[\w.+-]+;base64,[\w+/=\s]+")
MARQUEUR = re.compile(r"#\s*(?:NBVAL|PYTEST_VALIDATE)", re.IGNORECASE)


# ---------------------------------------------------------------- lire un carnet


def numerotees(carnet: NotebookNode, genre: str = "") -> Iterator[tuple[int, NotebookNode]]:
    """Les cellules d'un genre (« code », « markdown » ; toutes par défaut), comptées depuis 1."""
    for numero, cellule in enumerate(carnet.cells, 1):
        if genre in ("", cellule.cell_type):
            yield numero, cellule


def etiquettes(cellule: NotebookNode) -> list[str]:
    """Les étiquettes d'une cellule."""
    return cellule.metadata.get("tags", [])


def contenu(sortie: NotebookNode) -> dict[str, str]:
    """Ce qu'une sortie montre, par type MIME ; un flux est du ``text/plain``."""
    if sortie.output_type == "stream":
        return {"text/plain": sortie.text}
    if sortie.output_type == "error":
        return {"text/plain": "\n".join([sortie.ename, sortie.evalue, *sortie.traceback])}
    return {genre: str(valeur) for genre, valeur in sortie.data.items()}


def texte_des_sorties(cellule: NotebookNode) -> str:
    """Tout le texte montré sous une cellule ; le HTML, sans ses balises, prime sur le texte."""
    morceaux = []
    for sortie in cellule.get("outputs", []):
        vu = contenu(sortie)
        morceaux.append(
            texte_html(vu["text/html"]) if "text/html" in vu else vu.get("text/plain", "")
        )
    return "\n".join(morceaux)


class _Html(HTMLParser):
    """Relève le texte, les images et les dessins d'un fragment de HTML."""

    RUPTURES = ("tr", "p", "div", "li", "br", "summary", "caption", "h1", "h2", "h3", "h4")

    def __init__(self, fragment: str) -> None:
        super().__init__()
        self.texte: list[str] = []
        self.images: list[dict[str, str | None]] = []
        self.dessins: list[dict[str, str | None]] = []
        self._cache = False
        self.feed(fragment)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Range l'image ou le dessin ; va à la ligne pour un bloc."""
        if tag == "img":
            self.images.append(dict(attrs))
        if tag == "svg":
            self.dessins.append(dict(attrs))
        if tag in self.RUPTURES:
            self.texte.append("\n")
        self._cache = self._cache or tag in ("style", "script")

    def handle_endtag(self, tag: str) -> None:
        """Revient au texte après une feuille de style ou un script."""
        if tag in ("style", "script"):
            self._cache = False

    def handle_data(self, data: str) -> None:
        """Garde le texte visible."""
        if not self._cache:
            self.texte.append(data)


def texte_html(fragment: str) -> str:
    """Le texte d'un fragment de HTML, sans ligne vide."""
    lignes = "".join(_Html(fragment).texte).splitlines()
    return "\n".join(ligne for ligne in lignes if ligne.strip())


def sans_code(markdown: str) -> str:
    """Un texte markdown sans blocs de code, spans de code, formules ni commentaires."""
    texte = re.sub(
        r"^[ \t]*(```+|~~~+)[^\n]*\n.*?^[ \t]*\1[ \t]*$", "", markdown, flags=re.M | re.S
    )
    texte = re.sub(r"<!--.*?-->", "", texte, flags=re.S)
    texte = re.sub(r"<(pre|code)\b.*?</\1>", "x", texte, flags=re.S)
    texte = re.sub(r"(`+)(?!`).+?(?<!`)\1(?!`)", "x", texte, flags=re.S)
    return re.sub(r"\$\$.+?\$\$|\$[^$\n]+\$", "x", texte, flags=re.S)


def prose(markdown: str) -> str:
    """Ce qui se lit d'un texte markdown : ni code, ni adresse, ni balise, ni filet de tableau."""
    texte = sans_code(markdown)
    texte = re.sub(r"^[ \t]*\|?[ \t:|-]+\|[ \t:|-]*$", "", texte, flags=re.M)
    for _ in range(2):  # un badge est une image dans un lien
        texte = re.sub(
            r"!?\[([^\[\]]*)\]\([^()\s]*(?:\([^()]*\)[^()\s]*)*(?:\s[^)]*)?\)", r"\1", texte
        )
    texte = re.sub(r"</?[a-zA-Z][^>]*>", "", texte)
    texte = re.sub(r"<?\bhttps?://[^\s>)»]+>?", "x", texte)
    return html.unescape(texte)


def cellule_de_preparation(carnet: NotebookNode) -> NotebookNode | None:
    """La première cellule de code."""
    return next((cellule for _, cellule in numerotees(carnet, "code")), None)


# ---------------------------------------------------------------- nbval dit vrai


def etiquettes_connues(carnet: NotebookNode) -> list[str]:
    """Rien que les étiquettes du cours, sans contradiction ; aucun marqueur en commentaire."""
    defauts = []
    for numero, cellule in numerotees(carnet):
        siennes = etiquettes(cellule)
        defauts += [
            f"cellule {numero} : étiquette inconnue « {nom} »"
            for nom in siennes
            if nom not in ETIQUETTES
        ]
        defauts += [
            f"cellule {numero} : métadonnée inconnue « {cle} »"
            for cle in cellule.metadata
            if cle not in METADONNEES
        ]
        if {COMPAREE, IGNOREE} <= set(siennes):
            defauts.append(f"cellule {numero} : à la fois comparée et ignorée")
        if siennes and cellule.cell_type != "code":
            defauts.append(f"cellule {numero} : étiquette sur une cellule qui n’est pas du code")
        if cellule.cell_type == "code" and MARQUEUR.search(cellule.source):
            defauts.append(
                f"cellule {numero} : marqueur nbval en commentaire ; employez une étiquette"
            )
    return defauts


def cellules_comparees(carnet: NotebookNode) -> list[str]:
    """Une cellule comparée a été exécutée, montre du texte, et rien que nbval ne sache comparer."""
    defauts = []
    for numero, cellule in numerotees(carnet, "code"):
        if COMPAREE not in etiquettes(cellule):
            continue
        if cellule.execution_count is None:
            defauts.append(f"cellule {numero} : comparée mais jamais exécutée")
        if not texte_des_sorties(cellule).strip():
            defauts.append(f"cellule {numero} : comparée mais sans sortie de texte")
        if any(sortie.get("name") == "stderr" for sortie in cellule.outputs):
            defauts.append(f"cellule {numero} : comparée alors qu’elle écrit sur stderr")
        if any("data:image/" in str(contenu(sortie)) for sortie in cellule.outputs):
            defauts.append(f"cellule {numero} : comparée alors qu’elle montre une image")
    return defauts


def tout_execute(carnet: NotebookNode) -> list[str]:
    """Chaque cellule de code a été exécutée, d'une traite, du haut vers le bas."""
    codes = [(numero, c) for numero, c in numerotees(carnet, "code") if c.source.strip()]
    defauts = [
        f"cellule {numero} : jamais exécutée"
        for numero, cellule in codes
        if cellule.execution_count is None
    ]
    comptes = [cellule.execution_count for _, cellule in codes]
    if not defauts and comptes != list(range(1, len(comptes) + 1)):
        defauts.append(f"cellules exécutées dans le désordre ou en plusieurs fois : {comptes}")
    return defauts


def python_seul(carnet: NotebookNode) -> list[str]:
    """Ni ``!commande`` ni ``%magie`` ; une commande lancée fait échouer la cellule si elle échoue."""
    defauts = []
    for numero, cellule in numerotees(carnet, "code"):
        lignes = cellule.source.splitlines()
        propre = "\n".join("" if ligne.strip() in MAGIES else ligne for ligne in lignes)
        try:
            arbre = compile(
                propre,
                "<cellule>",
                "exec",
                flags=ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT,
            )
        except SyntaxError as erreur:
            fautive = lignes[erreur.lineno - 1].strip() if erreur.lineno else ""
            defauts.append(
                f"cellule {numero} : « {fautive} » n’est pas du Python (commande, magie ?)"
            )
            continue
        defauts += [f"cellule {numero} : {defaut}" for defaut in _commandes(arbre)]
    return defauts


def _commandes(arbre: ast.AST) -> Iterator[str]:
    """Les commandes dont l'échec passerait inaperçu."""
    for noeud in ast.walk(arbre):
        if not isinstance(noeud, ast.Call):
            continue
        nom = ast.unparse(noeud.func)
        if "get_ipython" in nom or nom in ("os.system", "os.popen", "subprocess.call"):
            yield f"« {nom} » lance une commande dont l’échec est tu"
        verifie = any(
            mot.arg == "check" and getattr(mot.value, "value", None) is True
            for mot in noeud.keywords
        )
        if nom == "subprocess.run" and not verifie:
            yield "subprocess.run sans check=True : son échec est tu"


def parcours_court(carnet: NotebookNode) -> list[str]:
    """Le parcours court se lit comme il s'exécute : les cellules de code des sections marquées ◆.

    La section d'une cellule est celle du titre le plus proche au-dessus ; la préparation, qui ouvre
    tout carnet, ne se marque pas.
    """
    defauts, titre, preparation = [], "", cellule_de_preparation(carnet)
    for numero, cellule in numerotees(carnet):
        if cellule.cell_type == "markdown":
            titres = re.findall(r"^#{1,4} .*$", sans_code(cellule.source), flags=re.M)
            titre = titres[-1] if titres else titre
        elif cellule is not preparation and (MARQUE in titre) != (COURT in etiquettes(cellule)):
            defauts.append(
                f"cellule {numero} : « {titre} » et l’étiquette {COURT} ne disent pas pareil"
            )
    return defauts


def erreurs_attendues(carnet: NotebookNode) -> list[str]:
    """Une cellule en erreur l'annonce par ``raises-exception``, et celle qui l'annonce l'est."""
    defauts = []
    for numero, cellule in numerotees(carnet, "code"):
        en_erreur = any(sortie.output_type == "error" for sortie in cellule.outputs)
        annoncee = EN_ERREUR in etiquettes(cellule)
        if en_erreur and not annoncee:
            defauts.append(f"cellule {numero} : sortie en erreur sans l’étiquette {EN_ERREUR}")
        if annoncee and not en_erreur:
            defauts.append(f"cellule {numero} : étiquetée {EN_ERREUR} mais sans erreur")
    return defauts


# ---------------------------------------------------------------- la forme commune


def badge(carnet: NotebookNode, nom: str, adresse: str) -> list[str]:
    """Le badge Colab, dans la première cellule, mène à ce carnet-ci.

    Args:
        nom: nom du fichier, sans extension.
        adresse: adresse publique du dépôt.
    """
    depot = adresse.removeprefix("https://github.com/")
    colab = "https://colab.research.google.com"
    attendu = (
        f"[![Ouvrir dans Colab]({colab}/assets/colab-badge.svg)]"
        f"({colab}/github/{depot}/blob/main/notebooks/{nom}.ipynb)"
    )
    tete = carnet.cells[0].source if carnet.cells else ""
    return [] if attendu in tete else [f"cellule 1 : il manque le badge « {attendu} »"]


def sections(carnet: NotebookNode) -> list[str]:
    """Titre, « En bref », objectifs, bilan, mini-quiz, suites."""
    texte = "\n\n".join(cellule.source for _, cellule in numerotees(carnet, "markdown"))
    return [
        f"il manque {quoi}"
        for quoi, motif in SECTIONS.items()
        if not re.search(motif, sans_code(texte), flags=re.M)
    ]


def preparation(carnet: NotebookNode, reference: str) -> list[str]:
    """La cellule de préparation est celle de tous les carnets, étiquetée, et unique.

    Args:
        reference: sa source dans le premier carnet.
    """
    cellule = cellule_de_preparation(carnet)
    if cellule is None or "fabrique.preparer()" not in cellule.source:
        return ["la première cellule de code n’est pas la cellule de préparation"]
    defauts = []
    if cellule.source != reference:
        defauts.append("la cellule de préparation n’est pas celle des autres carnets")
    if etiquettes(cellule) != [IGNOREE]:
        defauts.append(f"la cellule de préparation n’est pas étiquetée {IGNOREE}")
    if sum("fabrique.preparer()" in c.source for _, c in numerotees(carnet, "code")) > 1:
        defauts.append("fabrique.preparer() est appelée plusieurs fois")
    return defauts


def images_decrites(carnet: NotebookNode) -> list[str]:
    """Toute image a un texte alternatif ; aucune image n'est livrée brute."""
    defauts = []
    for numero, cellule in numerotees(carnet):
        fragments = [sans_code(cellule.source)] if cellule.cell_type == "markdown" else []
        for sortie in cellule.get("outputs", []):
            vu = contenu(sortie)
            fragments.append(vu.get("text/html", ""))
            defauts += [
                f"cellule {numero} : sortie {genre} brute, sans texte alternatif ; passez par "
                "fabrique.socle.figures.montrer"
                for genre in vu
                if genre.startswith("image/")
            ]
        markdown = fragments[0] if cellule.cell_type == "markdown" else ""
        muettes = [a for a in re.findall(r"!\[([^\]]*)\][\[(]", markdown) if not a.strip()]
        for fragment in fragments:
            lu = _Html(fragment)
            muettes += [i for i in lu.images if not (i.get("alt") or "").strip()]
            muettes += [d for d in lu.dessins if not {"aria-label", "aria-hidden"} & set(d)]
        if muettes:
            defauts.append(f"cellule {numero} : {len(muettes)} image(s) sans texte alternatif")
    return defauts


def sans_secret_ni_chemin(carnet: NotebookNode) -> list[str]:
    """Aucun chemin absolu de machine, aucun jeton d'accès, ni en source ni en sortie."""
    defauts = []
    for numero, cellule in numerotees(carnet):
        textes = [cellule.source]
        for sortie in cellule.get("outputs", []):
            textes += contenu(sortie).values()
        for texte in textes:
            nu = IMAGE_INCLUSE.sub("", texte)
            if chemin := CHEMIN.search(nu):
                defauts.append(f"cellule {numero} : chemin absolu « {chemin.group()} »")
            if JETON_SECRET.search(nu):
                defauts.append(f"cellule {numero} : jeton d’accès")
    return defauts


def sans_cellule_vide(carnet: NotebookNode) -> list[str]:
    """Aucune cellule vide."""
    return [f"cellule {numero} : vide" for numero, c in numerotees(carnet) if not c.source.strip()]


def ouvrable(carnet: NotebookNode) -> list[str]:
    """nbformat 4.5 valide, noyau python3, aucun widget : Colab et GitHub l'ouvrent."""
    defauts = []
    doubles = [i for i, n in Counter(c.get("id") for c in carnet.cells).items() if n > 1]
    if doubles:
        defauts.append(f"identifiants de cellule en double : {doubles}")
    else:  # nbformat.validate corrigerait les doubles en silence
        try:
            nbformat.validate(carnet)
        except nbformat.ValidationError as erreur:
            defauts.append(f"nbformat invalide : {str(erreur).splitlines()[0]}")
    if (carnet.nbformat, carnet.nbformat_minor) != (4, 5):
        defauts.append("le format n’est pas nbformat 4.5")
    if carnet.metadata.get("kernelspec", {}).get("name") != "python3":
        defauts.append("le noyau n’est pas python3")
    if "widgets" in carnet.metadata:
        defauts.append("état de widget orphelin dans les métadonnées")
    defauts += [
        f"cellule {numero} : sortie de widget"
        for numero, cellule in numerotees(carnet, "code")
        if any(WIDGET in contenu(sortie) for sortie in cellule.outputs)
    ]
    return defauts


def leger(carnet: NotebookNode) -> list[str]:
    """Moins de 1 Mo, et aucune sortie de plus d'un écran."""
    poids = len(nbformat.writes(carnet).encode())
    defauts = [f"le carnet pèse {poids / 1e6:.2f} Mo (1 au plus)"] if poids >= POIDS_MAX else []
    for numero, cellule in numerotees(carnet, "code"):
        lignes = len(texte_des_sorties(cellule).splitlines())
        if lignes > LIGNES_MAX:
            defauts.append(f"cellule {numero} : {lignes} lignes de sortie ({LIGNES_MAX} au plus)")
    return defauts


def typographie(carnet: NotebookNode) -> list[str]:
    """Espaces insécables avant ; ? ! : et dans « », apostrophe courbe."""
    regles = {
        "espace ordinaire avant": r"[ \t\n][;?!:](?![\w-])",
        # « … Hallucinations? » finit un titre anglais
        "espace insécable manquante avant": r"(?<=\w)[;?!](?!\w|[\u00a0\u202f]»)",
        "espace ordinaire ou manquante après": r"«(?![\u00a0\u202f])",
        "espace ordinaire ou manquante avant": r"(?<![\u00a0\u202f])»",
        "apostrophe droite dans": r"[^\W\d_]'(?=[\[*_]*[^\W\d_])",
    }
    defauts = []
    for numero, cellule in numerotees(carnet, "markdown"):
        texte = prose(cellule.source)
        for quoi, motif in regles.items():
            for trouve in re.finditer(motif, texte):
                debut, fin = max(trouve.start() - 12, 0), trouve.end() + 12
                extrait = " ".join(texte[debut:fin].split())
                signe = f" {trouve.group().strip()}" if "apostrophe" not in quoi else ""
                defauts.append(f"cellule {numero} : {quoi}{signe} (« …{extrait}… »)")
    return defauts


def exercices_corriges(carnet: NotebookNode) -> list[str]:
    """Au moins quatre exercices, non résolus d'avance, chacun suivi de sa solution repliée."""
    trouves = exercices(carnet)
    defauts = []
    if len(trouves) < EXERCICES_MIN:
        defauts.append(f"{len(trouves)} exercice(s) ; il en faut au moins {EXERCICES_MIN}")
    for rang, correction in trouves:
        cellule = carnet.cells[rang]
        if correction is None:
            defauts.append(
                f"cellule {rang + 1} : exercice sans cellule de solution (<details> et bloc python)"
            )
        if "verifier(" not in cellule.source:
            defauts.append(f"cellule {rang + 1} : exercice sans verifier(…)")
        if JUSTE in texte_des_sorties(cellule):
            defauts.append(f"cellule {rang + 1} : exercice déjà résolu")
    return defauts


def exercices_muets(carnet: NotebookNode) -> list[str]:
    """Une cellule d'exercice ne porte ni sa réponse, ni de quoi la vérifier : une clé y suffit."""
    defauts = []
    for rang, correction in exercices(carnet):
        enonce = ast.parse(carnet.cells[rang].source)
        corrige = ast.parse(correction or "")
        noeuds = list(ast.walk(enonce))
        vus = {ast.dump(noeud) for noeud in noeuds if isinstance(noeud, ast.expr)}
        verifications = appels_de_verifier(enonce)
        if len(verifications) != 1 or not ne_donne_qu_une_cle(verifications[0]):
            defauts.append(f'cellule {rang + 1} : écrivez verifier("NN-k", reponse, nom=variable)')
        if any(isinstance(noeud, ast.Lambda) for noeud in noeuds):
            defauts.append(f"cellule {rang + 1} : une lambda dans un exercice")
        if any(ast.dump(reponse) in vus for reponse in reponses(corrige)):
            defauts.append(f"cellule {rang + 1} : la réponse de la solution se lit dans l’exercice")
        if correction and [*map(ast.dump, appels_de_verifier(corrige))] != [
            *map(ast.dump, verifications)
        ]:
            defauts.append(f"cellule {rang + 1} : la solution n’a pas le même verifier(…)")
    return defauts


def appels_de_verifier(code: ast.AST) -> list[ast.Call]:
    """Les appels de ``verifier`` dans un code."""
    return [
        noeud
        for noeud in ast.walk(code)
        if isinstance(noeud, ast.Call) and ast.unparse(noeud.func) == "verifier"
    ]


def ne_donne_qu_une_cle(appel: ast.Call) -> bool:
    """Vrai de ``verifier("03-4", reponse, pertes=finales)`` : le contexte se nomme, sans calcul."""
    permis = (ast.Name, ast.Attribute, ast.Subscript, ast.Constant, ast.expr_context)
    return (
        len(appel.args) == 2
        and isinstance(appel.args[0], ast.Constant)
        and isinstance(appel.args[0].value, str)
        and ast.unparse(appel.args[1]) == "reponse"
        and not any(isinstance(contexte.value, ast.Constant) for contexte in appel.keywords)
        and all(isinstance(n, permis) for mot in appel.keywords for n in ast.walk(mot.value))
    )


def reponses(code: ast.AST) -> list[ast.expr]:
    """Ce qu'un code met dans ``reponse``."""
    return [
        noeud.value
        for noeud in ast.walk(code)
        if isinstance(noeud, ast.Assign) and [*map(ast.unparse, noeud.targets)] == ["reponse"]
    ]


#: Les gardes qui n'ont besoin que du carnet.
GARDES: tuple[Callable[[NotebookNode], list[str]], ...] = (
    etiquettes_connues,
    cellules_comparees,
    tout_execute,
    python_seul,
    parcours_court,
    erreurs_attendues,
    sections,
    images_decrites,
    sans_secret_ni_chemin,
    sans_cellule_vide,
    ouvrable,
    leger,
    typographie,
    exercices_corriges,
    exercices_muets,
)
