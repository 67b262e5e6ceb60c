# The commands of this repository; `make help` lists them. Everything they make is in .local/ (git-ignored), but for the built
# cluster tools, which live in the user's cache folder.
.DEFAULT_GOAL := help
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c

PORT ?= 8080
PYTHON ?= python3
SEED ?= $(shell date +%s)
VENV := .local/venv
BIN := $(VENV)/bin
CRDS := mcpservers mcpserverrollouts
export PYTHONPATH := $(CURDIR)/deploy/local
export PYTHONUNBUFFERED := 1

.PHONY: help demo test soak bench up down check format generate lock clean

help: ## list the commands
	@awk -F':.*## ' '/^[a-z]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(VENV)/.ready ## from nothing to the story of one server, in this terminal; leaves nothing running
	@$(BIN)/python -m local_stack demo

test: check ## every test, on real clusters that it starts itself
	@$(BIN)/python -m local_cluster tools
	@$(BIN)/python -m pytest $(ARGS)

soak: $(VENV)/.ready ## the long series of random stories and kills (SEED=..., ARGS="--stories 60 --kills 50": the usual ones)
	@$(BIN)/python -m local_cluster tools
	@$(BIN)/python -m pytest tests/e2e/test_agreement.py tests/e2e/test_continuity.py --timeout=7200 \
	  --seed $(SEED) --stories 60 --kills 50 $(ARGS)

bench: $(VENV)/.ready ## measure what the operator costs and how soon it tells things (ROWS="memory logs": only these)
	@$(BIN)/python -m tests.bench $(ROWS)

up: $(VENV)/.ready ## leave a cluster with operator and sample server running (PORT=8080)
	@$(BIN)/python -m local_stack up --port $(PORT)

down: $(VENV)/.ready ## stop what `make up` started
	@$(BIN)/python -m local_stack down

check: $(VENV)/.ready ## format, lint, types, layers, stale generated files (seconds)
	@$(BIN)/ruff format --check --quiet || { echo "Some files are not formatted: run 'make format'."; exit 1; }
	@$(BIN)/ruff check --quiet
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo > .local/lint-imports.log || { cat .local/lint-imports.log; exit 1; }
	@for plural in $(CRDS); do $(BIN)/mcp-operator crds $$plural | diff -u deploy/crds/$$plural.yaml - \
	  || { echo "deploy/crds/ is stale: run 'make generate'."; exit 1; }; done

format: $(VENV)/.ready ## rewrite the code in the project's format
	@$(BIN)/ruff check --quiet --fix-only
	@$(BIN)/ruff format --quiet

generate: $(VENV)/.ready ## write the files that are generated from the model
	@for plural in $(CRDS); do \
	  $(BIN)/mcp-operator crds $$plural > .local/crds.yaml && mv .local/crds.yaml deploy/crds/$$plural.yaml; done

LOCK = $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate pyproject.toml
lock: $(VENV)/.ready ## write requirements/ anew from pyproject.toml
	@$(LOCK) -o requirements/runtime.txt
	@$(LOCK) --group dev -o requirements/dev.txt
	@$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
	  --group sample -o requirements/sample.txt

clean: ## end everything that was started and remove .local/
	@if [ -x $(BIN)/python ]; then $(BIN)/python -m local_stack clean; fi
	@rm -rf .local

$(VENV)/.ready: requirements/dev.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.12")'
	@echo "Installing the Python packages into $(VENV) (about a minute)"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) 2> /dev/null || { \
	  echo "Python has no venv module here: installing Debian's python3-venv"; rm -rf $(VENV); apt-get update --quiet=2; \
	  apt-get install --quiet=2 --yes --no-install-recommends --no-remove python3-venv; $(PYTHON) -m venv $(VENV); }
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@
