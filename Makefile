# Every target installs what it needs into .venv first; a second call finds that done.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3.11
# Index that offers torch's CPU build, where the configured one does not.
TORCH_INDEX ?=

VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
LOCKS := $(addprefix requirements/,build.lock torch.lock core.lock llm-cpu.lock ray.lock dev.lock)

.PHONY: help install demo ui test test-slow lint secrets audit format types perf perf-peers lock clean

help:  ## list the targets
	@sed -nE 's/^([a-z-]+):.*## (.*)/  make \1|\2/p' Makefile | column -t -s '|'

install: $(INSTALLED)  ## create .venv with everything pinned

$(INSTALLED): $(LOCKS) pyproject.toml tools/install.sh
	@tools/install.sh "$(PYTHON)" "$(VENV)" "$(TORCH_INDEX)"
	@touch $@

demo: install  ## build the demo crawl and every asset for the snapshot local-demo
	@$(BIN)/webinstruct demo

ui: install  ## open the graph in Dagster's UI on loopback
	@$(BIN)/webinstruct ui

test: lint secrets types  ## lint, a scan for secrets, types and the test suite
	@$(BIN)/pytest

test-slow: install  ## the long tests
	@$(BIN)/pytest -m slow

lint: install  ## ruff: rules and format
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

secrets: install  ## look for secrets in tracked files; commit hashes in config are none
	@git ls-files -z | xargs -0 $(BIN)/detect-secrets-hook --no-verify --disable-plugin HexHighEntropyString

audit: install  ## ask the advisory database about every pinned package (needs a network that has it)
	@for lock in $(LOCKS); do $(BIN)/pip-audit --disable-pip --require-hashes --requirement $$lock; done

format: install  ## rewrite the sources in ruff's format
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

types: install  ## mypy
	@$(BIN)/mypy

perf: install perf-peers  ## every measurement, beside the tools it compares with (an hour on a quiet machine)
	@for name in load_time recall pages extraction decontamination duplicates; do \
		echo "== $$name"; $(BIN)/python -m perf.$$name; done

# Tools that measurements compare with: each has an environment of its own, since they conflict with ours and each other.
perf-peers: $(patsubst perf/peers/%.txt,.peers/%/.installed,$(wildcard perf/peers/*.txt))  ## environments of the tools that perf/ compares with

.peers/%/.installed: perf/peers/%.txt
	$(PYTHON) -m venv $(@D)
	$(@D)/bin/pip install --quiet --requirement $<
	@touch $@

lock: install  ## renew requirements/*.lock from pyproject.toml (UPGRADE=1: newest versions)
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python tools/lock.py $(if $(UPGRADE),--upgrade)

clean:  ## remove .venv and caches; data/ stays
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis build *.egg-info
	find . -name __pycache__ -type d -not -path './data/*' -prune -exec rm -rf {} +
