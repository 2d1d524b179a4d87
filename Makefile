# make demo   the quickstart: tune a small network in a study that the next call resumes
# make test   lint, types and tests
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALL := $(BIN)/python -m pip install --quiet --constraint constraints.txt
METHODS ?=
SEEDS ?=
JOBS ?= 2
OUT ?=

.PHONY: demo test lint types tests test-slow wheel bench clean

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

test-slow: $(VENV)/dev.stamp
	$(BIN)/pytest -n 2 -m slow

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
