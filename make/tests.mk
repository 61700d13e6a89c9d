# Tests, selected by marker: tests/markers.py says what each one means.

# What a change must pass: all but those.
CI := not chaos and not benchmark
UNIT := not torch and not tools and not apiserver and not node and not chaos and not benchmark

# Two more than two cores: tests of clusters wait most of the time.
WORKERS ?= 4
UNIT_WORKERS ?= 2

.PHONY: test
test: check quick  ## all that must pass before a change lands, as CI runs it

# An empty cache hides what other targets built, so that a test which needs it fails here.
.PHONY: unit
unit: $(UNIT_READY)  ## the first loop: 2,700 tests without torch or a cluster, in a minute and a half
	@mkdir -p $(UNIT_VENV)/cache/stockpot
	XDG_CACHE_HOME=$(CURDIR)/$(UNIT_VENV)/cache \
		$(UNIT_VENV)/bin/python -m pytest -q -n $(UNIT_WORKERS) --dist worksteal -m '$(UNIT)' tests

.PHONY: quick
quick: base-parts node-parts prometheus
	$(PYTEST) -q -n $(WORKERS) --dist worksteal --durations=25 --durations-min=1 -m '$(CI)' tests
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

.PHONY: orders
orders: $(READY) control-plane  ## upgrades, rollbacks, drops and re-adds of a namespace with live shards, in all 243 orders: an hour or two
	CONTROLPLANE=all nice $(PYTEST) -q -n 2 --dist worksteal tests/controlplane/test_orders_of_upgrades.py

.PHONY: bench
bench: $(READY)  ## what is measured by the clock, on a machine that does nothing else
	$(PYTEST) -q -s -m 'benchmark and not apiserver and not node' tests/benchmarks

.PHONY: bench-forget
bench-forget: $(READY) control-plane node-parts  ## how soon a deletion is written down, and ten at once are receipted (SHARDS=2000 SOUPS=4 DELETIONS=100)
	$(PYTEST) -q -s -m 'benchmark and (apiserver or node)' tests/benchmarks

# Half an hour on an idle machine: most of it makes the shards, or waits in silence. SCALE="--sizes 1000" for less.
SCALE_RESULTS := docs/explanation/scale.json

.PHONY: bench-scale
bench-scale: $(READY) control-plane  ## the operator with 1,000 to 10,000 shards: memory, CPU, requests, a storm (half an hour)
	$(BIN)/python -m tests.benchmarks.scale.bench --results $(SCALE_RESULTS) $(SCALE)
	$(MAKE) --no-print-directory report-scale

.PHONY: report-scale
report-scale:
	$(BIN)/python -m tests.benchmarks.scale.report $(SCALE_RESULTS) \
		--page $(SCALE_RESULTS:.json=.md) --plot $(SCALE_RESULTS:.json=.svg)

.PHONY: chaos
chaos: $(READY) node-parts  ## crashes at every point, for as long as it takes (POINTS=… chooses some)
	$(PYTEST) -q -n 2 --dist worksteal --durations=15 -m 'chaos and not node' tests/chaos
	CHAOS_POINTS='$(POINTS)' nice $(PYTEST) -q -s -rs tests/chaos/cluster
