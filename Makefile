# The two commands: `make run` and `make test`. Both do all the set-up themselves, in .venv.
# `make bench` has virtual environments of its own, in .venv-bench: docs/benchmarks.md.
# Needed: make, git and python3 3.11 or newer with its venv module.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: run test check bench bench-soak clean help
.DEFAULT_GOAL := help

help:
	@echo "make run    serve the example apps on 5000 and 5001, and health on 6000"
	@echo "make test   run the tests"
	@echo "make check  ruff, mypy --strict, import direction"
	@echo "make bench  measure this and its peers (BENCH=cold,pss for some, BENCH_ARGS=--quick)"
	@echo "make bench-soak  load this for 10 minutes (SOAK_S=60 for one), and see that nothing grows"
	@echo "make clean  remove .venv, .venv-bench and caches"

run: $(VENV)/.installed
	$(BIN)/flask-supervisor run --config config/supervisor.toml

test: $(VENV)/.installed-dev
	$(BIN)/python -m pytest --numprocesses=2 --dist=loadfile $(PYTEST_ARGS)

check: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest --quiet tests/test_architecture.py

SOAK_S ?= 600

bench: $(BIN)/pip
	$(BIN)/python -m benchmarks $(if $(BENCH),--only $(BENCH)) $(BENCH_ARGS)

bench-soak: $(BIN)/pip
	$(BIN)/python -m benchmarks --soak-s $(SOAK_S) $(BENCH_ARGS)

clean:
	rm -rf $(VENV) .venv-bench build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis

# The stamps are made last, so that an interrupted installation starts anew.
$(VENV)/.installed: pyproject.toml | $(BIN)/pip
	$(BIN)/pip install --quiet --disable-pip-version-check --editable .
	@touch $@

$(VENV)/.installed-dev: pyproject.toml | $(BIN)/pip
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $(VENV)/.installed $@

# A folder whose creation failed half way has no pip: it is made anew.
$(BIN)/pip:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "Python 3.11 or newer is needed; $(PYTHON) is: $$($(PYTHON) --version 2>&1)." >&2; \
		echo "Name another one: make $(MAKECMDGOALS) PYTHON=python3.13" >&2; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { \
		version=$$($(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])'); \
		echo "$(PYTHON) has no venv module. Install it, then repeat this command:" >&2; \
		echo "    sudo apt-get install python$$version-venv" >&2; exit 1; }
	$(PYTHON) -m venv --clear $(VENV)
