# From a fresh clone, with only python3-venv, make and git: `make demo` or `make test` does everything.
# Another Python: make test PYTHON=python3.12

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help demo test test-long lint format clean

help:
	@echo "make demo       trains and evaluates an encoder on a generated shop and writes a report; no GPU needed"
	@echo "make test       checks style and types, runs the tests; under 20 minutes on two quiet cores"
	@echo "make test-long  runs the long forms of tests: many kills, many rows"
	@echo "make lint       checks style and types"
	@echo "make format     puts the code into the house style"
	@echo "make clean      removes .venv and caches; runs/ and data/ stay"

demo: $(INSTALLED)
	$(BIN)/moon2 demo

test: lint
	$(BIN)/python -m pytest -m "not long" --numprocesses auto --maxprocesses 4 --dist loadfile

test-long: $(INSTALLED)
	$(BIN)/python -m pytest -m long

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(INSTALLED)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) build src/*.egg-info .mypy_cache .pytest_cache .ruff_cache
	find src tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +

# `.installing` stands there only while an install is under way: found at the start, the last one was cut short, and
# what it left cannot be trusted.
$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "moon2 needs Python 3.11 or newer, which $(PYTHON) is not; name another: make PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
		{ echo "$(PYTHON) cannot make a virtual environment; apt install python3-venv"; exit 1; }
	@if [ -e $(VENV)/.installing ]; then echo "an install was cut short; starting anew"; rm -rf $(VENV); fi
	@mkdir -p $(VENV) && touch $(VENV)/.installing && rm -f $@
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@mv $(VENV)/.installing $@ && touch $@
