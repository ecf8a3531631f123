PYTHON ?= python3
BIN := .venv/bin
OLDEST := .venv-oldest/bin
DEMO ?= cereals-demo

.PHONY: demo test test-long test-oldest test-io test-labelstudio test-datumaro test-packaging test-peers lint types \
	coverage mutation docs bench bench-peers clean

demo: .venv/installed
	rm -rf $(DEMO)
	$(BIN)/cereals demo $(DEMO)

test: .venv/installed-test lint
	TF_NUM_INTRAOP_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder --durations=15

# The suite with the lowest versions that setup.py promises.
test-oldest: .venv-oldest/installed-test
	TF_NUM_INTRAOP_THREADS=1 $(OLDEST)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder --durations=15

# What takes a minute and more, and is in part shown by shorter tests.
test-long: .venv/installed-test
	TF_NUM_INTRAOP_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder --durations=15 -m long

# Object stores, with the versions that tensorflow-io needs and an S3 server on this machine.
test-io: .venv-io/installed-test
	TF_NUM_INTRAOP_THREADS=1 .venv-io/bin/python -m pytest -m io tests/data_prep/test_object_store.py

# Tasks in a real Label Studio, which runs on this machine and shares the environment.
test-labelstudio: .venv-labelstudio/installed-test
	TF_NUM_INTRAOP_THREADS=1 .venv-labelstudio/bin/python -m pytest -m labelstudio tests/cereals_tf/annotation/test_labelstudio_server.py

# The wheel, the sdist and an editable install, in environments of their own.
test-packaging: .venv/installed-test
	TF_NUM_INTRAOP_THREADS=1 $(BIN)/python -m pytest -m packaging tests/test_packaging.py

# Encoders beside independent implementations in PyTorch, which has an environment of its own.
test-peers: .venv/installed-test .venv-peers/installed
	TF_NUM_INTRAOP_THREADS=1 $(BIN)/python -m pytest -m peers tests/cereals_tf/models/test_peers.py

# CVAT's files beside datumaro, which has an environment of its own.
test-datumaro: .venv/installed-test .venv-datumaro/installed
	TF_NUM_INTRAOP_THREADS=1 $(BIN)/python -m pytest -m datumaro tests/data_prep/sources/test_cvat.py \
		tests/cereals_tf/annotation/test_cvat.py

lint: .venv/installed-test types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

# As it is installed, for pyright knows no folder by another name.
types: .venv/installed-test
	rm -rf build/typed
	$(BIN)/python setup.py --quiet build_py --build-lib build/typed
	$(BIN)/python -m basedpyright

# Of the tests in this process and of all that they start; a report, no threshold.
coverage: .venv/installed-test
	rm -f .coverage .coverage.*
	TF_NUM_INTRAOP_THREADS=1 $(BIN)/python -m coverage run -m pytest
	$(BIN)/python -m coverage combine --quiet
	$(BIN)/python -m coverage report
	$(BIN)/python -m coverage html --quiet

# Whether the tests would see a defect: hours, in slices as --minutes=60; see --help of it.
mutation: .venv/installed-mutation
	nice -n 19 $(BIN)/python -m tests.mutation $(MUTATION)

# The page of all commands and options, from their help.
docs: .venv/installed-test
	$(BIN)/python -m tests.test_docs

bench: .venv/installed
	$(BIN)/python -m tests.bench

bench-peers: .venv-peers/installed

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

.venv/installed-mutation: .venv/installed-test
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[mutation]"
	touch $@

# Of what baal requires, jupyter with its hundred packages is left out. Where pip would take a torch
# for CUDA, several GB, name PyTorch's own index of CPU wheels in PIP_EXTRA_INDEX_URL.
.venv-peers/installed:
	$(PYTHON) -m venv .venv-peers
	.venv-peers/bin/python -m pip install --quiet --disable-pip-version-check \
		torch==2.13.0 numpy pillow scikit-activeml scikit-learn scipy structlog torchmetrics tqdm
	.venv-peers/bin/python -m pip install --quiet --disable-pip-version-check --no-deps baal==2.1.0 \
		efficientnet-lite-pytorch==0.1.0
	touch $@

.venv-datumaro/installed:
	$(PYTHON) -m venv .venv-datumaro
	.venv-datumaro/bin/python -m pip install --quiet --disable-pip-version-check datumaro==1.13.0
	touch $@

.venv-oldest/bin/python:
	$(PYTHON) -m venv .venv-oldest

.venv-oldest/installed-test: setup.py pyproject.toml tests/oldest.txt | .venv-oldest/bin/python
	$(OLDEST)/python -m pip install --quiet --disable-pip-version-check --constraint tests/oldest.txt --editable ".[test]"
	$(OLDEST)/python -m pip install --quiet --disable-pip-version-check --no-deps "tensorflow-serving-api==2.17.0"
	touch $@

.venv-io/bin/python:
	$(PYTHON) -m venv .venv-io

.venv-io/installed-test: setup.py pyproject.toml | .venv-io/bin/python
	.venv-io/bin/python -m pip install --quiet --disable-pip-version-check --editable ".[io,test-io]"
	touch $@

.venv-labelstudio/bin/python:
	$(PYTHON) -m venv .venv-labelstudio

.venv-labelstudio/installed-test: setup.py pyproject.toml | .venv-labelstudio/bin/python
	.venv-labelstudio/bin/python -m pip install --quiet --disable-pip-version-check --editable ".[labelstudio,test-labelstudio]"
	touch $@

clean:
	rm -rf .venv .venv-* $(DEMO) build *.egg-info
