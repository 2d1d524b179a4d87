# make demo   the quickstart: tune a small network in a study that the next call resumes
# make test   lint, types and tests
# make docs   the documentation, in build/site
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALL := $(BIN)/python -m pip install --quiet --constraint constraints.txt
METHODS ?=
SEEDS ?=
JOBS ?= 2
OUT ?=

PYTHONS ?= $(BIN)/python
FLAGS ?=

.PHONY: demo test lint types tests test-slow test-frameworks docs notebook wheel release-check
.PHONY: bench clean

demo: $(VENV)/examples.stamp
	$(BIN)/python examples/quickstart.py

test: lint types tests

lint: $(VENV)/dev.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/dev.stamp
	$(BIN)/mypy

tests: $(VENV)/dev.stamp
	$(BIN)/pytest -n 2 -m "not slow"

# Those that look at pages and pictures need Chrome or Chromium in the path, and are skipped without.
test-slow: $(VENV)/dev.stamp $(VENV)/browser.stamp $(VENV)/notebook.stamp
	$(BIN)/pytest -rs -n 2 -m slow

# Large downloads; the versions are listed in docs/frameworks.md.
test-frameworks: $(VENV)/dev.stamp $(VENV)/frameworks.stamp
	$(BIN)/pytest -rs tests/test_frameworks.py

docs: $(VENV)/docs.stamp
	$(BIN)/mkdocs build --strict

# Runs the notebook and keeps its pictures; needs Chrome or Chromium (BROWSER_PATH).
notebook: $(VENV)/notebook.stamp
	PLOTLY_RENDERER=png PYTHONWARNINGS=ignore $(BIN)/python -m jupyter execute --inplace \
		--NotebookClient.record_timing=False examples/story.ipynb

# For example: make release-check PYTHONS="python3.10 python3.14" FLAGS="--then numpy==1.26.4"
release-check: $(VENV)/dev.stamp
	$(BIN)/python -m release.check $(foreach python,$(PYTHONS),--python $(python)) $(FLAGS)

wheel: $(VENV)/dev.stamp
	$(BIN)/python -m build

bench: $(VENV)/dev.stamp
	$(BIN)/python -m benchmarks.run --jobs $(JOBS) \
		$(if $(METHODS),--methods $(METHODS)) $(if $(SEEDS),--seeds $(SEEDS)) \
		$(if $(OUT),--out $(OUT))

# Everything that can be made again; quickstart.db is the user's study and stays.
clean:
	rm -rf $(VENV) build dist *.egg-info .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find optuna_rocket tests benchmarks examples -name __pycache__ -prune -exec rm -rf {} +

# One stamp per set of extras: present and newer than its prerequisites, it means installed.
$(VENV)/%.stamp: pyproject.toml constraints.txt | $(BIN)/python
	$(INSTALL) --editable ".[$*]"
	@touch $@

$(BIN)/python:
	$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); exit 1; }
