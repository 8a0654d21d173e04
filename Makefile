# make run: set up and measure the VQGAN that ships with the package. make test: lint, types and tests.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: run test lint types clean

run: $(VENV)/.installed
	$(BIN)/tokbench run --tokenizer vqgan

test: $(VENV)/.installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy tokbench
	-$(BIN)/tokbench weights get lpips-vgg  # tests that need these are skipped where they cannot be had
	-$(BIN)/tokbench weights get faces
	$(BIN)/python -m pytest -n 2 --dist worksteal

$(VENV)/.installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	touch $@

$(VENV)/.installed-test: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[test]'
	touch $@

clean:
	rm -rf $(VENV) build dist *.egg-info
