# Checks other than tests: lint, types, imports, spelling, dependencies, generated files.

# The types of other packages are cached for all clones: five seconds instead of a hundred.
TYPES := $(CACHE)/mypy-$(shell sha256sum requirements/dev.txt | cut -c1-12)

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

.PHONY: fix
fix: $(READY)  ## put right what ruff can put right
	$(BIN)/ruff check --fix --quiet $(SOURCES)
	$(BIN)/ruff format --quiet $(SOURCES)
