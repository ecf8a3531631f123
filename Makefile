PYTHON ?= python3
BIN := .venv/bin
DEMO ?= cereals-demo

.PHONY: demo test lint clean

demo: .venv/installed
	rm -rf $(DEMO)
	$(BIN)/cereals demo $(DEMO)

test: .venv/installed-test lint
	TF_NUM_INTRAOP_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile --durations=15

lint: .venv/installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

.venv/bin/python:
	$(PYTHON) -m venv .venv

.venv/installed: setup.py pyproject.toml | .venv/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	touch $@

# tensorflow-serving-api holds protocol classes only; its dependencies would replace TensorFlow.
.venv/installed-test: .venv/installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[test]"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps "tensorflow-serving-api>=2.17,<2.22"
	touch $@

clean:
	rm -rf .venv $(DEMO) build *.egg-info
