# `make help` lists what there is. Every target that needs Python sets it up first (hack/setup.sh: milliseconds when
# nothing changed), so there is no step to remember before the first one.
.DEFAULT_GOAL := help
.NOTPARALLEL:
MAKEFLAGS += --no-print-directory
PY := .venv/bin/python
export UV_PYTHON_DOWNLOADS := never

MODELS ?=
MODEL ?= prompt_classifier
ARGS ?=

.PHONY: help
help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: setup
setup: ## set up .venv from the hashed lock (every other target does it by itself)
	@sh hack/setup.sh

.PHONY: run
run: setup ## start the predictors and the gateway on this machine; MODELS="a b" for some, KAFKA=1; Ctrl-C stops all
	@$(PY) -m hack.local_stack $(MODELS)

.PHONY: test
test: setup ## every check and every test
	@$(PY) -m hack.system tests
	@$(MAKE) lint
	@$(PY) -m hack.demo_models
	@$(PY) -m pytest $(ARGS)

.PHONY: test-unit
test-unit: setup ## the unit tests alone, in a minute or two
	@$(PY) -m pytest tests/unit -m "not slow" $(ARGS)

.PHONY: lint
lint: setup ## ruff, pyright and the import rules
	@$(PY) -m ruff check .
	@$(PY) -m ruff format --check .
	@.venv/bin/basedpyright
	@.venv/bin/lint-imports --no-logo

.PHONY: format
format: setup ## let ruff put the code in order
	@$(PY) -m ruff check --fix-only .
	@$(PY) -m ruff format .

.PHONY: lock
lock: setup ## renew requirements/ after a change in pyproject.toml; UPGRADE=1 takes the newest versions too
	@$(PY) -m hack.lock $(if $(UPGRADE),--upgrade)
	@sh hack/setup.sh

.PHONY: bench
bench: setup ## run the benchmarks and write benchmarks/results/
	@$(PY) -m hack.system benchmarks
	@$(PY) -m benchmarks $(ARGS)

.PHONY: demo-models
demo-models: setup ## make the small demo checkpoints that are missing
	@$(PY) -m hack.demo_models $(ARGS)

.PHONY: train-multitask
train-multitask: setup ## train multitask_nlp on made data, offline, into .local/multitask_nlp; ARGS="--help" for your own
	@$(PY) -m predictors.multitask_nlp.training train --output .local/multitask_nlp --made $(ARGS)

.PHONY: chart
chart: setup ## renew what is made from charts/quintet: schema, README, manifests, goldens of its tests
	@$(PY) -m hack.chart
	@$(PY) -m tests.chart.test_generated

.PHONY: demo-image
demo-image: setup ## lay the demo checkpoints ready for the image quintet/demo-models
	@$(PY) -m hack.demo_image

.PHONY: cluster
cluster: setup ## a Kubernetes with KServe on this machine, images and all: kind where Docker runs, else of its own
	@$(PY) -m hack.cluster up

.PHONY: cluster-down
cluster-down: setup ## end it; nothing of it stays but what is cached
	@$(PY) -m hack.cluster down

.PHONY: kserve
kserve: setup ## KServe in Standard mode into the current cluster, without cert-manager
	@$(PY) -m hack.cluster kserve

.PHONY: cluster-secret
cluster-secret: setup ## the secret that signs tokens, into namespace quintet of the current cluster, if it is not there
	@$(PY) -m hack.cluster secret

.PHONY: e2e
e2e: setup ## the tests on a real cluster: tests/cluster
	@$(PY) -m hack.cluster testable
	@$(PY) -m hack.system cluster e2e
	@$(PY) -m pytest tests/cluster -s $(ARGS)

.PHONY: check-weights
check-weights: setup ## compare a real checkpoint with the published golden values: DIR=/path [MODEL=prompt_classifier]
	@test -n "$(DIR)" || { echo "make check-weights needs DIR=/path/to/checkpoint" >&2; exit 2; }
	@$(PY) -m predictors.$(MODEL).check_weights "$(DIR)"

.PHONY: clean
clean: ## remove what make made in this folder (the shared cache in ~/.cache/quintet stays)
	rm -rf .venv .local .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
