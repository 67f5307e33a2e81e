# The two main targets, `make run` and `make test`, create .venv and install into it themselves.
# `make bench` creates its own virtual environments in .venv-bench: docs/benchmarks.md.
# Needed: make, git and Python 3.11 or newer with its venv module.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: run test check bench bench-soak clean help
.DEFAULT_GOAL := help

help:
	@echo "make run         serve the example apps on ports 5000 and 5001, health on 6000"
	@echo "make test        run the tests (a part: PYTEST_ARGS=\"tests/cli -x\", see CONTRIBUTING.md)"
	@echo "make check       run ruff, mypy and the test of the import directions"
	@echo "make bench       measure this and its peers (BENCH=cold,pss BENCH_ARGS=--quick)"
	@echo "make bench-soak  check that nothing grows under 10 minutes of load (SOAK_S=60)"
	@echo "make clean       remove .venv, .venv-bench and caches"
	@echo "make help        show this list"
	@echo "PYTHON=python3.13 names the interpreter that .venv is made with."
	@echo "As a service: sudo ./install.sh"

run: $(VENV)/.installed
	$(BIN)/flask-supervisor run --config config/supervisor.toml

test: $(VENV)/.installed-dev
	$(BIN)/python -m pytest --numprocesses=3 --dist=loadfile $(PYTEST_ARGS)

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

# The stamps come last, so that an interrupted installation starts again.
$(VENV)/.installed: pyproject.toml | $(BIN)/pip
	$(BIN)/pip install --quiet --disable-pip-version-check --editable .
	@touch $@

$(VENV)/.installed-dev: pyproject.toml | $(BIN)/pip
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $(VENV)/.installed $@

# A folder whose creation was interrupted has no pip: it is created again.
$(BIN)/pip:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "Python 3.11 or newer is needed; $(PYTHON) is: $$($(PYTHON) --version 2>&1)." >&2; \
		echo "Name another one: make $(MAKECMDGOALS) PYTHON=python3.13" >&2; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { \
		version=$$($(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])'); \
		echo "$(PYTHON) has no venv module. Install it, then repeat this command:" >&2; \
		echo "    sudo apt-get install python$$version-venv" >&2; exit 1; }
	$(PYTHON) -m venv --clear $(VENV)
