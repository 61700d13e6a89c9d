# Tasks of this repository. Needs make, git and a python3 (3.11 or newer) with pip; everything else is
# fetched, pinned by hash, into the cache and into .venv. `make` lists the targets; rules: make/*.mk.

PYTHON ?= python3
XDG_CACHE_HOME ?= $(HOME)/.cache
CACHE := $(XDG_CACHE_HOME)/stockpot

VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.synced-with-requirements-dev
PYTEST := $(BIN)/python -m pytest
KERNEL := src/stockpot/merging/_kernel.so src/stockpot/merging/_lora.so

# Tests are many small computations: threads would only wait for each other.
export OMP_NUM_THREADS ?= 1
# Keep bytecode, whatever the environment says: tests start commands a thousand times, and each would
# compile the package, and each worker of pytest all test files, again.
export PYTHONDONTWRITEBYTECODE :=

SOURCES := src tests operator trainer_image examples devcluster hatch_build.py

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

include $(addprefix make/,setup.mk tests.mk checks.mk generate.mk cluster.mk demo.mk example.mk chart.mk images.mk merge.mk)

.PHONY: help
help:  ## list these
	@sed -n 's/^\([a-z][a-z-]*\):.*##  *\(.*\)/make \1|\2/p' $(MAKEFILE_LIST) | \
		while IFS='|' read -r name what; do printf '%-16s %s\n' "$$name" "$$what"; done

.PHONY: clean
clean:  ## remove .venv and what checks leave behind; the cache stays
	rm -rf $(VENV) $(UNIT_VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	find src tests examples operator -name __pycache__ -prune -exec rm -rf {} +
