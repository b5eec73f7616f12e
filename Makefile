PYTHON ?= python3
BIN := .venv/bin

.DEFAULT_GOAL := help
.PHONY: help install demo test lint audit format serve readme clean

help:
	@echo "make demo     set up .venv and run the main job, with pictures, in demo-output/"
	@echo "make serve    run API and worker on http://127.0.0.1:8000"
	@echo "make test     run the tests"
	@echo "make lint     check style, types, imports, migrations and the Dockerfile"
	@echo "make audit    ask for known advisories against what is installed (needs pypi.org)"
	@echo "make format   write the code in the project's style"
	@echo "make readme   run the README's examples and paste what they answer"
	@echo "make clean    remove .venv and demo-output/"

install: .venv/.installed

# One pip command for everything: installing timm alone would pull another torch.
.venv/.installed: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed, this is " + sys.version + "; name another: make PYTHON=python3.12 ...") if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[dev]"
	@touch $@

demo: install
	$(BIN)/sats demo

serve: install
	$(BIN)/sats serve

# Two at a time: much of the time is spent waiting for processes, and two cores are enough.
test: install
	$(BIN)/python -m pytest -n 2

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest -q tests/migrations tests/deployment

# In an environment of its own: what it needs is nobody else's. Strict: a package that the index does
# not know, as where a mirror stands for it, was not looked at. Builds (`+cpu`) have no entries there.
AUDIT := .venv/audit/bin

audit: install
	@test -x $(AUDIT)/pip-audit || { $(PYTHON) -m venv .venv/audit && \
	    $(AUDIT)/python -m pip install --quiet --disable-pip-version-check "pip-audit>=2.7"; }
	@$(BIN)/python -m pip freeze --exclude-editable | sed -n 's/^\([^ ]*==[^+]*\).*/\1/p' > .venv/audit/installed.txt
	@$(AUDIT)/pip-audit --strict --disable-pip --no-deps --progress-spinner off -r .venv/audit/installed.txt || \
	    { echo "make audit: failed: an advisory stands above, or pypi.org could not be asked" >&2; exit 1; }

format: install
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

readme: install
	$(BIN)/python -m tests.readme.paste

clean:
	rm -rf .venv demo-output
