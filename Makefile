# The commands of README.md, shorter. Each makes .venv first, where it is missing or older than pyproject.toml.

PYTHON ?= python3
BIN := .venv/bin

.PHONY: run test long lint bench soak

run: .venv/installed
	$(BIN)/chainwatch serve --demo

test: .venv/installed
	$(BIN)/pytest

long: .venv/installed
	$(BIN)/pytest -m 'long and not soak'

lint: .venv/installed
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

bench: .venv/installed
	for bench in tests/bench/bench_*.py; do $(BIN)/python $$bench || exit 1; done

soak: .venv/installed
	$(BIN)/pytest -m soak --timeout 0 -n 0

.venv/installed: pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet -e '.[bench,test]'
	touch $@
