# Every target does its own set-up; a machine needs Python 3.11 or later with pip and venv.
#
#   make          check and test
#   make install  the command `hansard` in .venv, with what it needs and no more
#   make demo     transcribe the sample meeting with the embedded engine
#   make test     all tests (PYTEST="-k vad" passes options on)
#   make check    lint, formatting, types, who may import whom, docs and locks up to date
#   make bench    the benchmarks; each ends with one line of JSON
#   make docs     write the generated pages again
#   make lock     resolve the lock files again (UPGRADE=--upgrade takes newer versions too);
#                 the one target that needs uv, which it fetches
#   make clean    remove the environment, caches and the demo's data

PYTHON ?= python3
VENV ?= .venv
PYTEST ?=
# Test processes: half again as many as cores, since most tests wait for processes of their own.
JOBS ?= $(shell echo $$(( ($$(getconf _NPROCESSORS_ONLN || echo 2) * 3 + 1) / 2 )))

UV_VERSION := 0.13.8
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input --quiet

.DEFAULT_GOAL := all
.DELETE_ON_ERROR:
.PHONY: all install check lint format types rooms pages locks test demo bench docs lock clean

# One after the other, also under `make -j`: the checks are quick and say more.
all:
	@$(MAKE) --no-print-directory check
	@$(MAKE) --no-print-directory test

# ── set-up ────────────────────────────────────────────────────────────────────────────────────
#
# --no-compile: each module is compiled when it is first imported, and most never are.

$(VENV)/.made:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "Hansard needs Python 3.11 or later; $(PYTHON) is not. Name one: make PYTHON=python3.12" >&2; \
	  exit 1; }
	@echo "Making $(VENV) with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.runtime: requirements.lock $(VENV)/.made
	@echo "Installing what Hansard needs (requirements.lock)"
	@$(PIP) install --no-compile --require-hashes -r requirements.lock
	@touch $@

$(VENV)/.hansard: pyproject.toml $(VENV)/.runtime
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.dev: requirements-dev.lock $(VENV)/.hansard
	@echo "Installing what its developers need (requirements-dev.lock)"
	@$(PIP) install --no-compile --require-hashes -r requirements-dev.lock
	@touch $@

$(VENV)/.load: requirements-load.lock $(VENV)/.dev
	@echo "Installing what the load benchmarks need (requirements-load.lock)"
	@$(PIP) install --no-compile --require-hashes -r requirements-load.lock
	@touch $@

# ── daily ─────────────────────────────────────────────────────────────────────────────────────

install: $(VENV)/.hansard
	@echo "Ready: . $(BIN)/activate, then hansard --help"

# `make -k check` goes on after the first complaint.
check: lint format types rooms pages locks

lint: $(VENV)/.dev
	$(BIN)/ruff check .

format: $(VENV)/.dev
	$(BIN)/ruff format --check .

types: $(VENV)/.dev
	$(BIN)/mypy

rooms: $(VENV)/.dev
	$(BIN)/lint-imports

pages: $(VENV)/.dev
	$(BIN)/python docs/build.py --check

locks: $(VENV)/.dev
	$(BIN)/python -m pytest -q -p no:cacheprovider tests/test_structure.py -k lock

test: $(VENV)/.dev
	$(BIN)/python -m pytest -n $(JOBS) --dist worksteal $(PYTEST)

# --again: a second demo hears the meeting again instead of reading the store.
demo: $(VENV)/.hansard
	@$(BIN)/hansard transcribe samples/meeting.ogg --model sphinx --offline --again \
	  --data demo-data --format json --format txt --output demo-data/out
	@echo && cat demo-data/out/meeting.txt && echo
	@$(BIN)/python samples/score.py samples/meeting.json demo-data/out/meeting.json

bench: $(VENV)/.load
	@failed=; for script in $$(grep -l __main__ bench/*.py); do \
	  echo "== $$script"; $(BIN)/python $$script || failed="$$failed $$script"; done; \
	test -z "$$failed" || { echo "Did not run to their end:$$failed" >&2; exit 1; }

docs: $(VENV)/.dev
	$(BIN)/python docs/build.py

# Hashes only: no address of an index may stand in a lock file, so that any mirror serves.
lock: $(VENV)/.made
	@test -x $(VENV)-lock/bin/uv || { $(PYTHON) -m venv $(VENV)-lock && \
	  $(VENV)-lock/bin/python -m pip --disable-pip-version-check --quiet install uv==$(UV_VERSION); }
	@$(VENV)-lock/bin/uv pip compile $(UV_LOCK) --group build pyproject.toml -o requirements.lock
	@$(VENV)-lock/bin/uv pip compile $(UV_LOCK) --group dev -c requirements.lock -o requirements-dev.lock
	@$(VENV)-lock/bin/uv pip compile $(UV_LOCK) --group load -c requirements-dev.lock -o requirements-load.lock
	@$(VENV)-lock/bin/uv pip compile $(UV_LOCK) --extra scale -c requirements.lock -c requirements-dev.lock pyproject.toml -o deploy/requirements-scale.lock

UV_LOCK := --quiet --universal --python-version 3.11 --generate-hashes \
  --no-emit-index-url --no-emit-find-links $(UPGRADE) --custom-compile-command "make lock"

clean:
	rm -rf $(VENV) $(VENV)-lock demo-data dist build bench/out .coverage
	rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find src tests bench samples docs -name __pycache__ -type d -prune -exec rm -rf {} +
