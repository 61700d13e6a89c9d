# What there is to do here. Needs make, git and a python3 (3.11 or newer) with pip; the rest is
# fetched, pinned by hash, into the cache and into .venv. `make` lists the targets.

PYTHON ?= python3
XDG_CACHE_HOME ?= $(HOME)/.cache
CACHE := $(XDG_CACHE_HOME)/stockpot

# uv makes .venv as the locks say. It comes out of the package index like everything else.
UV_VERSION := $(shell sed -n 's/^uv==\([0-9.]*\).*/\1/p' requirements/uv.txt)
UV_HOME := $(CACHE)/uv-$(UV_VERSION)
UV := $(UV_HOME)/bin/uv
UV_CACHE_DIR ?= $(CACHE)/packages
export UV_CACHE_DIR
# Tests install the package with it.
export UV
# Whom this machine trusts, as pip does: a proxy in between may sign for the index.
export UV_SYSTEM_CERTS := true
# Never fetch an interpreter: the one that was named is the one that is used.
export UV_PYTHON_DOWNLOADS := never

VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.synced-with-requirements-dev

# Tests are many small computations: threads would only wait for each other.
export OMP_NUM_THREADS ?= 1

SOURCES := src tests operator trainer_image examples devcluster hatch_build.py
# Two more than two cores: the tests of clusters wait most of the time.
WORKERS ?= 4
TESTS := tests --ignore=tests/benchmarks --ignore=tests/chaos
PYTEST := $(BIN)/python -m pytest
# What is known of other people's types serves every clone: five seconds instead of a hundred.
TYPES := $(CACHE)/mypy-$(shell sha256sum requirements/dev.txt | cut -c1-12)

include devcluster/devcluster.mk demo.mk chart.mk images.mk merge.mk

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

.PHONY: help
help:  ## list these
	@sed -n 's/^\([a-z][a-z-]*\):.*##  *\(.*\)/make \1|\2/p' $(MAKEFILE_LIST) | \
		while IFS='|' read -r name what; do printf '%-16s %s\n' "$$name" "$$what"; done

# ---------------------------------------------------------------------------------- setting up

.PHONY: setup
setup: $(READY)  ## make .venv as requirements/dev.txt says (test and the others do it too)

.PHONY: python
python:
	@$(PYTHON) -c 'import sys; sys.exit(None if sys.version_info >= (3, 11) else "error: Stockpot needs Python 3.11 or newer; $(PYTHON) is %d.%d\n  help: name another: make PYTHON=/usr/bin/python3.11" % sys.version_info[:2])'

# Its folder is named by its version: a clone that is newer than the cache need not fetch it again.
$(UV): | python
	@$(PYTHON) -m pip --version >/dev/null || { echo "error: $(PYTHON) has no pip"; \
		echo "  help: on Debian: apt-get install python3-pip"; exit 1; } >&2
	@mkdir -p $(CACHE)
	@rm -rf $(UV_HOME).part
	$(PYTHON) -m pip install --quiet --disable-pip-version-check --no-warn-script-location --root-user-action=ignore \
		--require-hashes --no-deps --target $(UV_HOME).part -r requirements/uv.txt
	@rm -rf $(UV_HOME) && mv $(UV_HOME).part $(UV_HOME) && touch $@

# The project itself is not installed: a .pth file makes src/ importable, and so every change
# counts at once.
$(READY): requirements/dev.txt $(UV) | python
	@test -x $(BIN)/python || $(UV) venv --quiet --clear --python $(PYTHON) $(VENV)
	@echo "making .venv: half a minute where its packages are in the cache; else they are fetched, 4 GB"
	@# Compiled once here: a process that imports torch from source begins 15 seconds later.
	$(UV) pip sync --quiet --compile-bytecode --require-hashes --python $(BIN)/python requirements/dev.txt
	@$(BIN)/python -c 'import pathlib, sysconfig; pathlib.Path(sysconfig.get_path("purelib"), "stockpot.pth").write_text("../../../../src\n")'
	@for command in stockpot=stockpot.cli stockpot-operator=stockpot.controller; do \
		printf '#!/bin/sh\nexec "$$(dirname "$$0")/python" -m %s "$$@"\n' "$${command#*=}" > $(BIN)/$${command%=*}; \
		chmod +x $(BIN)/$${command%=*}; \
	done
	@touch $@

# ------------------------------------------------------------------------------------- checking

.PHONY: test
test: check quick  ## all that must pass before a change lands, as CI runs it

.PHONY: check
check: lint types imports spelling unused generated  ## everything but the tests

.PHONY: lint
lint: $(READY)
	$(BIN)/ruff check --quiet $(SOURCES)
	$(BIN)/ruff format --quiet --check $(SOURCES) || { $(BIN)/ruff format --check $(SOURCES); \
		echo "run: make fix"; exit 1; }

.PHONY: types
types: $(READY)
	@mkdir -p $(CACHE)
	$(BIN)/mypy --cache-dir $(TYPES)

.PHONY: imports
imports: $(READY)
	$(BIN)/lint-imports --no-logo

.PHONY: spelling
spelling: $(READY)
	$(BIN)/codespell

.PHONY: unused
unused: $(READY)
	$(BIN)/deptry --no-ansi src

.PHONY: generated
generated: $(READY)
	$(BIN)/stockpot generate --check

.PHONY: quick
quick: base-parts node-parts prometheus
	$(PYTEST) -q -n $(WORKERS) --dist worksteal --durations=25 --durations-min=1 $(TESTS)
	@$(BIN)/python -m tests.docs

# Two at a time: each waits for processes of its own. What needs root, the node, npm, buildah or an
# index and lacks it is skipped, and named at the end. QUICK=1 shortens the stories.
.PHONY: docs-test
docs-test: base-parts node-parts $(KERNEL)  ## run every command of README and of docs/, and install the wheel with each extra (an hour, as root; QUICK=1: less)
	DOCS=all QUICK=$(QUICK) $(PYTEST) -q -n 2 --dist worksteal -rs --durations=0 --durations-min=1 tests/docs tests/packaging
	@$(BIN)/python -m tests.docs

.PHONY: spec
spec: $(READY)  ## only what the core promises: seconds
	$(PYTEST) -q tests/spec

.PHONY: histories
histories: $(READY)  ## twenty thousand histories of deletions, crashes and late writers: half an hour
	HISTORIES=20000 SEED=0 $(PYTEST) -q tests/simulate -k any_history

.PHONY: bench
bench: $(READY)  ## what is measured by the clock, on a machine that does nothing else
	$(PYTEST) -q -s tests/benchmarks --ignore=tests/benchmarks/test_forget.py --ignore=tests/benchmarks/test_ten_at_once.py

.PHONY: bench-forget
bench-forget: $(READY) control-plane node-parts  ## how soon a deletion is written down, and ten at once are receipted (SHARDS=2000 SOUPS=4 DELETIONS=100)
	$(PYTEST) -q -s tests/benchmarks/test_forget.py tests/benchmarks/test_ten_at_once.py

.PHONY: golden
golden: $(READY)  ## write what people read of plans anew: look at the change before it is committed
	GOLDEN=write $(PYTEST) -q tests/golden

.PHONY: chaos
chaos: $(READY) node-parts  ## crashes at every point, for as long as it takes (POINTS=… chooses some)
	$(PYTEST) -q -n 2 --dist worksteal --durations=15 --ignore=tests/chaos/cluster tests/chaos
	CHAOS_POINTS='$(POINTS)' nice $(PYTEST) -q -s -rs tests/chaos/cluster

# --------------------------------------------------------------------------------------- making

.PHONY: fix
fix: $(READY)  ## put right what ruff can put right
	$(BIN)/ruff check --fix --quiet $(SOURCES)
	$(BIN)/ruff format --quiet $(SOURCES)

.PHONY: generate
generate: $(READY)  ## write CRDs and reference pages from the models
	$(BIN)/stockpot generate

COMPILE = $(UV) pip compile --quiet --generate-hashes --universal --python-version 3.11 \
	--no-emit-index-url --no-emit-find-links --no-annotate \
	--custom-compile-command "make lock" $(UPGRADE)

.PHONY: lock
lock: $(UV)  ## write requirements/ from pyproject.toml (newer versions: make lock UPGRADE=--upgrade)
	$(COMPILE) pyproject.toml --all-extras --group test --group lint --group examples -o requirements/dev.txt
	$(COMPILE) pyproject.toml --extra operator -c requirements/dev.txt -o requirements/slim.txt
	$(COMPILE) pyproject.toml --extra workload -c requirements/dev.txt -o requirements/workload.txt
	echo uv | $(COMPILE) - -o requirements/uv.txt

# ------------------------------------------------------------------------------------ the example

# Frozen parts of the base come out of a locked package: copied once, the same bytes everywhere.
.PHONY: base-parts
base-parts: $(READY)
	@$(BIN)/python examples/emoji/build/assemble.py

.PHONY: demo-local
demo-local: base-parts  ## the whole story in a folder, without root: train, merge, serve, forget, prove it (QUICK=1: a short one)
	@$(DEMO) --local

.PHONY: smoke
smoke: base-parts  ## run the verbs by hand, each once, as trainer_image/smoke.sh does in an image
	PYTHON=$(BIN)/python trainer_image/smoke.sh

.PHONY: data
data: $(READY)  ## draw the example's shards again, from pinned packages (needs npm)
	$(BIN)/python examples/emoji/build/shards.py

.PHONY: base
base: $(READY)  ## train the example's base again, from nothing (needs npm; an hour or more)
	$(BIN)/python examples/emoji/build/base.py

# -------------------------------------------------------------------------------------- tidying

.PHONY: clean
clean:  ## remove .venv and what checks leave behind; the cache stays
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	find src tests examples operator -name __pycache__ -prune -exec rm -rf {} +
