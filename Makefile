# Trois commandes : make demo, make cours, make test. « make aide » les décrit.
PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
PRET := $(VENV)/.pret
SOURCES := requirements.txt requirements-dev.txt contraintes.txt pyproject.toml

.DEFAULT_GOAL := aide
.PHONY: aide demo cours test test-vite test-bornes test-kit carnets site

aide:
	@echo "make demo         affine le Falcon de poche en 4 bits et montre avant, après"
	@echo "make cours        ouvre le cours dans JupyterLab"
	@echo "make test         tests du paquet, carnets, gardes et style"
	@echo "make test-vite    l’essentiel du paquet, en moins de trois minutes"
	@echo "make site         construit le site du cours dans build/site"
	@echo "make test-bornes  les mêmes tests au bas des plages de versions"
	@echo "make test-kit     construit le kit hors ligne, l’installe et l’essaie sans réseau"
	@echo "make carnets      réexécute tous les carnets (après de nouveaux poids)"

# Rien n'est réinstallé tant que les fichiers de dépendances ne changent pas.
$(PRET): $(SOURCES)
	test -x $(PY) || $(PYTHON) -m venv $(VENV)
	$(PY) -m pip install --quiet --disable-pip-version-check -c contraintes.txt -r requirements.txt -e ".[dev]"
	@touch $(PRET)

demo: $(PRET)
	$(VENV)/bin/fabrique demo

cours: $(PRET)
	$(VENV)/bin/jupyter lab notebooks/00_demarrage.ipynb

test: $(PRET)
	$(PY) -m outils.tester

test-vite: $(PRET)
	$(PY) -m outils.tester --vite

test-kit: $(PRET)
	$(PY) -m outils.essayer_kit

carnets: $(PRET)
	$(PY) -m outils.carnets

# Rien n'est réexécuté ni téléchargé, une fois l'extra [site] installé.
$(VENV)/.site: $(PRET) requirements-site.txt
	$(PY) -m pip install --quiet --disable-pip-version-check -c contraintes.txt -e ".[site]"
	@touch $(VENV)/.site

site: $(VENV)/.site
	$(PY) -m outils.site

# Le bas des plages, dans un environnement à part.
test-bornes:
	test -x .venv-bornes/bin/python || $(PYTHON) -m venv .venv-bornes
	.venv-bornes/bin/python -m pip install --quiet --disable-pip-version-check -c contraintes-bornes.txt -r requirements.txt -e ".[dev]"
	.venv-bornes/bin/python -m outils.tester --carnet 03_finetuning_falcon_4bit --sans-style
