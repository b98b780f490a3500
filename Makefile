# `make demo` and `make test` need Python 3.11 or later, make and git; the rest is set up in .venv.

PYTHON ?= $(firstword $(foreach name,python3.11 python3.12 python3.13 python3.14 python3,$(shell \
	command -v $(name) >/dev/null 2>&1 && \
	$(name) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $(name))))
BIN := .venv/bin
PIP := $(BIN)/python -m pip install -q --disable-pip-version-check
# pip and setuptools are talkative: what they say is shown only if they fail.
QUIETLY = > .venv/install.log 2>&1 || { cat .venv/install.log; exit 1; }
PEERS ?= 5
SIZE ?= 256MB
URL ?=
NAMES ?=
# Processes that share the tests.
WORKERS ?= 2

.PHONY: demo test lint types cover bench format clean

demo: .venv/run
	$(BIN)/python -m damselfly.cli.demo --peers "$(PEERS)" --size "$(SIZE)" $(if $(URL),--url "$(URL)")

test: lint types cover

lint: .venv/dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: .venv/dev
	$(BIN)/basedpyright

# Coverage of the engine is a gate: what has no branch untested has no surprise.
cover: .venv/dev
	rm -f .coverage .coverage.*
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal --cov --cov-report=
	$(BIN)/coverage report --skip-covered --include='engine/*' --fail-under=95
	$(BIN)/coverage report --format=total

bench: .venv/dev
	$(BIN)/python -m benchmarks $(NAMES)

format: .venv/dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf .venv build *.egg-info .coverage .coverage.* .pytest_cache .ruff_cache demo.json

.venv/bin/python:
	@test -n "$(PYTHON)" || { echo 'make: no Python 3.11 or later found; install it, or say make PYTHON=/path/to/python'; exit 1; }
	@$(PYTHON) -m venv .venv || { rm -rf .venv; echo 'make: cannot make .venv with $(PYTHON); on Debian install python3-venv'; exit 1; }

.venv/run: .venv/bin/python pyproject.toml
	@echo 'setting up .venv'
	@$(PIP) -e . $(QUIETLY)
	@touch $@

.venv/dev: .venv/run
	@echo 'setting up the development tools in .venv'
	@{ $(PIP) 'pip>=25.1' && $(PIP) --group dev; } $(QUIETLY)
	@touch $@
