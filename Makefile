PYTHON ?= python3
BIN := .venv/bin

.PHONY: install demo test lint serve clean

install: .venv/.installed

# One pip command for everything: installing timm alone would pull another torch.
.venv/.installed: pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed, this is " + sys.version) if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[dev]"
	touch $@

demo: install
	$(BIN)/sats demo

test: install
	$(BIN)/python -m pytest

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest -q tests/migrations

serve: install
	$(BIN)/sats serve

clean:
	rm -rf .venv sats-data demo-output
