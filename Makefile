# Two commands need nothing but Python 3.11+, make and a package index: make demo, make test.
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: demo test lint format bench-features bench-build clean

demo: .venv/installed ## the whole job on a simulated shop; ONCE=1 ends it after the four feeds
	$(BIN)/feeds demo $(if $(ONCE),--once)

test: .venv/installed-for-tests ## all tests, real servers included
	$(BIN)/python -m pytest

lint: .venv/installed-for-tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: .venv/installed-for-tests
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench-features: .venv/installed ## log to matrix at 1, 10 and 50 million events, beside pandas and the engine's limit
	$(BIN)/python benchmarks/log_to_matrix.py

bench-build: .venv/installed ## a whole feature set out of 10 million simulated events: seconds per step, memory
	$(BIN)/python benchmarks/full_build.py

clean: ## remove what the other targets made
	rm -rf .venv .feeds .pytest_cache .mypy_cache .ruff_cache .hypothesis

.venv/installed: pyproject.toml constraints.txt
	@$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11) and 'Python 3.11 or later is needed: make PYTHON=python3.12 ...')"
	$(PYTHON) -m venv .venv
	@echo "installing (a few minutes, once) …"
	$(PIP) --editable .
	@touch $@

.venv/installed-for-tests: .venv/installed
	@echo "installing what the tests need …"
	$(PIP) --editable '.[test]'
	@touch $@
