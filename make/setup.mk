# Environments: uv, .venv for all tests, .venv-unit for those without torch.

# uv makes .venv as the locks say. It comes from the package index.
UV_VERSION := $(shell sed -n 's/^uv==\([0-9.]*\).*/\1/p' requirements/uv.txt)
UV_HOME := $(CACHE)/uv-$(UV_VERSION)
UV := $(UV_HOME)/bin/uv
UV_CACHE_DIR ?= $(CACHE)/packages
export UV_CACHE_DIR
# Tests install the package with it.
export UV
# Use the system's CA certificates, as pip does: a proxy may sign for the package index.
export UV_SYSTEM_CERTS := true
# Never fetch an interpreter: $(PYTHON) is the one that is used.
export UV_PYTHON_DOWNLOADS := never

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
# counts at once. Packages are compiled once here: from source, torch takes 15 s to import.
define SYNC
	@test -x $(1)/bin/python || $(UV) venv --quiet --clear --python $(PYTHON) $(1)
	$(UV) pip sync --quiet --compile-bytecode --require-hashes --python $(1)/bin/python requirements/$(2).txt
	@$(1)/bin/python -c 'import pathlib, sysconfig; pathlib.Path(sysconfig.get_path("purelib"), "stockpot.pth").write_text("../../../../src\n")'
	@for command in stockpot=stockpot.cli stockpot-operator=stockpot.controller; do \
		printf '#!/bin/sh\nexec "$$(dirname "$$0")/python" -m %s "$$@"\n' "$${command#*=}" > $(1)/bin/$${command%=*}; \
		chmod +x $(1)/bin/$${command%=*}; \
	done
	@touch $@
endef

$(READY): requirements/dev.txt $(UV) | python
	@echo "making .venv: half a minute where its packages are in the cache; else they are fetched, 4 GB"
	$(call SYNC,$(VENV),dev)

# Without torch: 300 MB, a quarter of a minute.
UNIT_VENV := .venv-unit
UNIT_READY := $(UNIT_VENV)/.synced-with-requirements-unit

$(UNIT_READY): requirements/unit.txt $(UV) | python
	$(call SYNC,$(UNIT_VENV),unit)
