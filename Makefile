# Everything a newcomer, a developer and CI type. `make demo` and `make test` set up what they need by themselves.

SHELL := /bin/bash
VENV := .venv
BIN := $(VENV)/bin
PACKAGES := api adapters twin rules billing schemas simulators
READY := $(VENV)/.ready
DEV_READY := $(VENV)/.dev-ready
# One more than there are cores, up to eight: tests wait for clocks and servers, too.
WORKERS ?= $(shell cores=$$(nproc 2>/dev/null || echo 2); echo $$(( cores < 8 ? cores + 1 : 8 )))
# A file of tests stays on one worker; they are handed out in the order of tests/conftest.py, long ones first.
SPREAD := -n $(WORKERS) --dist loadfile --no-loadscope-reorder
SEEDS ?= 2000
NODE_RED := tests/bench/nodered/node_modules/.package-lock.json

.PHONY: help demo test check fmt unit integration e2e bench flame soak docs lock setup setup-dev system clean

help:
	@echo "make demo     a whole park on this machine (DEMO_ARGS='--headless --for 60s --json out.json')"
	@echo "make test     lint, types, import contracts and every test"
	@echo "make check    lint, types, contracts, architecture and unit tests only"
	@echo "make fmt      format"
	@echo "make bench    measurements        make soak   long runs (SEEDS=2000)"
	@echo "make flame    a flame graph of the platform under load: docs/flame-ingest.svg"
	@echo "make docs     renew generated pages   make lock   renew the lock files"

demo: $(READY)
	@$(BIN)/twinmeter demo $(DEMO_ARGS)

test: setup-dev system lint
	$(BIN)/python -m tests.second_look -q $(SPREAD) -m "not bench and not soak"

check: setup-dev lint
	$(BIN)/python -m pytest -q $(SPREAD) tests/arch tests/unit

.PHONY: lint
lint: setup-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/check-jsonschema --builtin-schema vendor.compose-spec docker-compose.yml

fmt: setup-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

unit: setup-dev
	$(BIN)/python -m pytest -q $(SPREAD) tests/unit

integration: setup-dev system
	$(BIN)/python -m pytest -q tests/integration tests/conformance

e2e: setup-dev system
	$(BIN)/python -m pytest -q tests/e2e

bench: setup-dev system $(NODE_RED)
	$(BIN)/python -m tests.bench $(BENCH_ARGS)

# Pinned by its package-lock.json; only the benchmarks run it, beside the platform.
$(NODE_RED): tests/bench/nodered/package-lock.json
	@command -v npm >/dev/null || { echo "make bench needs Node.js 18.5 or newer with npm, for Node-RED" >&2; exit 1; }
	cd tests/bench/nodered && npm ci --omit=optional --ignore-scripts --no-audit --no-fund
	@touch $@

# Where the time of a reading goes: docs/flame-ingest.svg and its table.
flame: setup-dev system
	$(BIN)/python -m tests.bench --only flame --update-docs

soak: setup-dev system
	$(BIN)/python -m tests.simulation --seeds $(SEEDS)
	$(BIN)/python -m pytest -q -m soak tests --timeout 7200

docs: setup-dev
	$(BIN)/python -m docs.generate

lock:
	$(BIN)/pip install --quiet pip-tools
	$(BIN)/pip-compile --quiet --strip-extras --generate-hashes --no-emit-index-url --no-emit-find-links --no-emit-trusted-host --allow-unsafe --extra build --extra otel --output-file requirements.lock pyproject.toml
	$(BIN)/pip-compile --quiet --strip-extras --generate-hashes --no-emit-index-url --no-emit-find-links --no-emit-trusted-host --allow-unsafe --extra build --extra dev --output-file requirements-dev.lock pyproject.toml

setup: $(READY)

setup-dev: $(DEV_READY)

# A virtual environment, whatever this machine's Python came with.
$(BIN)/python:
	@deploy/make-venv.sh $(VENV)

$(READY): requirements.lock pyproject.toml | $(BIN)/python
	@echo "installing the locked packages ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

$(DEV_READY): requirements-dev.lock pyproject.toml | $(BIN)/python
	@echo "installing the locked packages, tools for development included ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@ $(READY)

# Debian's servers, which the integration tests run beside the embedded ones, and the font that bills are printed in.
system:
	@deploy/install-test-servers.sh

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis *.egg-info var
