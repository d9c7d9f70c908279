# What a person types. Works on a machine with Python 3.11 or newer and make; everything lands in .venv.
PYTHON ?= python3
# Where the first `make run` put the issuer (instance/realmint.toml), so that the next finds it there.
PORT ?= $(or $(shell sed -n 's,^base_url = "http://127\.0\.0\.1:\([0-9]*\)"$$,\1,p' instance/realmint.toml 2>/dev/null),5000)
WORKERS ?= 2
BIN := .venv/bin
SERVER := .venv/server-installed
DEV := .venv/dev-installed

.PHONY: help run serve test lint cases bench soak clean

help:
	@echo "make run     the issuer on http://127.0.0.1:$(PORT), with a first client on a first start (PORT=)"
	@echo "make serve   the production server, $(WORKERS) processes (PORT=, WORKERS=)"
	@echo "make test    the tests"
	@echo "make lint    ruff and mypy"
	@echo "make cases   which adversarial cases the tests hold"
	@echo "make bench   everything measured beside others, in one run (PARTS=served,peers for some of it)"
	@echo "make soak    the long runs"

# --constraint: the same versions everywhere; each target installs no more than it needs.
INSTALL = $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable

.venv/bin/python:
	$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed; say make PYTHON=python3.11") if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv .venv

$(SERVER): .venv/bin/python pyproject.toml constraints.txt
	$(INSTALL) '.[server]'
	@touch $@

$(DEV): .venv/bin/python pyproject.toml constraints.txt
	$(INSTALL) '.[server,flask,fastapi,django,dev]'
	@touch $@ $(SERVER)

run: $(SERVER)
	$(BIN)/flask run --port $(PORT)

serve: $(SERVER)
	$(BIN)/python serve.py --bind 127.0.0.1:$(PORT) --workers $(WORKERS)

test: $(DEV)
	$(BIN)/python -m pytest -n 2 --dist worksteal

lint: $(DEV)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

cases: $(DEV)
	@$(BIN)/python -m tests.cases

bench: $(DEV)
	$(BIN)/python -m bench $(if $(PARTS),--parts $(PARTS))
	$(if $(PARTS),,$(BIN)/python -m bench.library)

soak: $(DEV)
	$(INSTALL) '.[fuzz]'
	$(BIN)/python -m pytest -m soak

clean:
	rm -rf .venv
