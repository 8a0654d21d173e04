# make run: set up and measure the VQGAN that ships with the package. make test: lint, types and tests.
# make docs: the site of docs/ and docstrings, into site/. make dist: a wheel, into dist/.
# make tables: the tables in the documents, from the committed records and the rows of figures.
# make sizes: how large the tokenizers of the zoo are, from networks built without memory.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALL := $(BIN)/python -m pip install --quiet --no-compile --disable-pip-version-check

.PHONY: run test pytest lint style types assets docs tables sizes dist clean

run: $(VENV)/.installed
	$(BIN)/tokbench run --tokenizer vqgan

test: $(VENV)/.installed-test
	$(MAKE) -j2 style assets
	$(MAKE) -j2 types pytest

pytest: $(VENV)/.installed-test
	$(BIN)/python -m pytest -n 2 --dist worksteal

lint: style types

style: $(VENV)/.installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.installed-test
	$(BIN)/mypy tokbench

assets: $(VENV)/.installed-test
	-$(BIN)/tokbench weights get lpips-vgg  # tests that need these are skipped where they cannot be had
	-$(BIN)/tokbench weights get faces

docs: $(VENV)/.installed-docs
	$(BIN)/mkdocs build --quiet --site-dir site

tables: $(VENV)/.installed
	$(BIN)/python docs/tables.py

sizes: $(VENV)/.installed-test
	$(BIN)/python docs/sizes.py

dist: $(VENV)/.installed
	rm -rf build dist
	$(BIN)/python -m pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir dist .
	ls -l dist

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml | $(VENV)/bin/python
	$(INSTALL) --editable .
	touch $@

$(VENV)/.installed-test: pyproject.toml | $(VENV)/bin/python
	$(INSTALL) --editable '.[test]'
	touch $@ $(VENV)/.installed

$(VENV)/.installed-docs: pyproject.toml | $(VENV)/bin/python
	$(INSTALL) --editable '.[docs]'
	touch $@ $(VENV)/.installed

$(VENV)/.installed-all: pyproject.toml | $(VENV)/bin/python
	$(INSTALL) --editable '.[test,docs]'
	touch $@ $(VENV)/.installed $(VENV)/.installed-test $(VENV)/.installed-docs

clean:
	rm -rf $(VENV) build dist site *.egg-info
