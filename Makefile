# What can be done here. Only Python 3.11 or newer, make and git are needed; everything else is installed into .venv.

PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || command -v python3)
PORT ?= 8000
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --disable-pip-version-check --no-input --require-hashes

.PHONY: help install install-dev up demo test processes chaos chaos-sample chaos-power hosts browser bench lint lock

help: ## this list
	@sed -n 's/^\([a-z-]*\):[^#]*## /\1|/p' $(MAKEFILE_LIST) | awk -F'|' '{ printf "  make %-12s %s\n", $$1, $$2 }'

install: .venv/.installed ## what the portal needs, into .venv

install-dev: .venv/.installed-dev ## and what working on it needs

up: export PORTAL_DEMO ?= on
up: install ## the portal with a sample system, until Ctrl-C (another port: make up PORT=8001)
	@exec $(BIN)/python manage.py up --port $(PORT)

demo: export PORTAL_DEMO ?= on
demo: install ## a bad release, its incident and its rollback, played without a person
	@exec $(BIN)/python manage.py demo

test: install-dev ## the tests, without the browser and the benchmarks
	$(BIN)/python -m pytest -n $$(($$(nproc) + 1)) -m "not browser and not bench and not processes and not hosts and not chaos"

processes: install-dev ## real brokers and workers, killed in every step
	$(BIN)/python -m pytest -m processes

chaos chaos-sample: export DATABASE_URL ?= postgres://portal@127.0.0.1:5449/portal
chaos: install-dev ## every procedure killed everywhere (as root; fewer: RUNS=100, the same again: SEED=…)
	$(BIN)/python -m pytest -m chaos tests/chaos -s

chaos-sample: install-dev ## 40 of these runs
	RUNS=40 SEED=7 $(BIN)/python -m pytest -m chaos tests/chaos -s

hosts chaos-power: export HOST_NET ?= 10.99.0
hosts chaos-power: export DATABASE_URL = postgres://portal@$(HOST_NET).1:5439/portal
hosts chaos-power: export REDIS_URL = redis://$(HOST_NET).1:6389/0
hosts: install-dev ## rollbacks on real hosts with systemd (as root)
	$(BIN)/python -m pytest -m hosts tests/hosts

chaos-power: install-dev ## every procedure, and its host loses its power everywhere (as root; RUNS and SEED as above)
	$(BIN)/python -m pytest -m chaos tests/hosts -s

browser: install-dev ## the story in Chromium
	$(BIN)/python -m pytest -m browser

bench: install-dev ## the measurements
	$(BIN)/python -m pytest -m bench tests/benchmarks -s

lint: install-dev ## ruff and mypy
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy .

lock: install ## both requirement files again, from pyproject.toml
	$(LOCK) pyproject.toml -o requirements.txt
	$(LOCK) --group dev -c requirements.txt pyproject.toml -o requirements-dev.txt

LOCK = $(BIN)/uv pip compile --quiet --no-emit-index-url --generate-hashes --universal --python-version 3.11 \
	--custom-compile-command "make lock"

.venv/.installed: requirements.txt
	@test -n "$(PYTHON)" && $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "The portal needs Python 3.11 or newer; $(or $(PYTHON),python3) is not. Say which: make install PYTHON=python3.12" >&2; \
	  exit 1; }
	@test -x $(BIN)/pip || { echo "Making .venv with $(PYTHON)"; $(PYTHON) -m venv .venv; }
	@echo "Installing the requirements into .venv (once; half a minute or so)"
	@$(PIP) -r requirements.txt
	@touch $@

.venv/.installed-dev: requirements-dev.txt .venv/.installed
	@echo "Installing what development needs into .venv"
	@$(PIP) -r requirements-dev.txt
	@touch $@
