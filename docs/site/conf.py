"""Le site : des pages et des carnets déjà exécutés, rien d'appelé hors du site.

Les sources sont réunies par ``python -m outils.site`` (make site), qui appelle Sphinx.
"""

project = "FabriqueLLM"
author = "FabriqueLLM"
copyright = "FabriqueLLM, CC BY 4.0"
language = "fr"

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]
templates_path = ["_templates"]

# Rien n'est réexécuté : les sorties sont celles des carnets.
nb_execution_mode = "off"
# Sans cela, myst-nb ferait charger par chaque page des widgets, depuis un autre site.
nb_ipywidgets_js = {}
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints = "description"
napoleon_google_docstring = True

html_theme = "pydata_sphinx_theme"
html_title = "FabriqueLLM"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_js_files = ["site.js"]
html_copy_source = False
html_show_sourcelink = False
# Les pages sans sous-pages se passent de la colonne de gauche.
SEULES = ("index", "lexique", "ou_lancer", "contribuer", "mentions_legales", "accessibilite")
html_sidebars = {nom: [] for nom in (*SEULES, "genindex", "py-modindex")}
html_favicon = "_static/favicon.svg"
html_theme_options = {
    "navbar_align": "left",
    "header_links_before_dropdown": 8,
    "show_prev_next": True,
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["pied"],
    "footer_end": [],
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
    "search_bar_text": "Rechercher dans le cours…",
    "show_toc_level": 2,
}


def _echapper_les_barres(app, genre, nom, objet, options, lignes) -> None:
    """Dans une docstring, « <|fin|> » est du texte, pas une substitution."""
    lignes[:] = [ligne.replace("|", "\\|") for ligne in lignes]


def setup(app) -> None:
    """Branche la correction des docstrings."""
    app.connect("autodoc-process-docstring", _echapper_les_barres)
