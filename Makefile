# Everything a developer or a newcomer runs. A bare machine needs Python 3.11 or later, make and a C compiler.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# One thread a test process: with two cores, more threads wait for each other more than they compute.
ONE_THREAD := OMP_NUM_THREADS=1 TOKENIZERS_PARALLELISM=false

.PHONY: install quickstart test fast slow lint types docs clean

install: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit("holdfast needs Python 3.11 or later, this is " + sys.version.split()[0] if sys.version_info < (3, 11) else 0)'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $(STAMP)

quickstart: install      ## fine-tune the embedded base in four ways and write a report (under five minutes, two cores)
	$(BIN)/holdfast study studies/quickstart.yaml --output runs/quickstart

test: lint types fast slow      ## every check; continuous integration runs this

lint: install
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports --no-logo

types: install
	$(BIN)/mypy

fast: install
	$(ONE_THREAD) $(BIN)/python -m pytest -n auto --dist worksteal -m 'not slow'

slow: install
	$(ONE_THREAD) $(BIN)/python -m pytest -n auto --dist worksteal -m slow

docs: install            ## write the generated parts of the docs anew (a test fails when they are stale)
	$(BIN)/python docs/generate.py

clean:
	rm -rf runs build dist .pytest_cache .mypy_cache .ruff_cache
