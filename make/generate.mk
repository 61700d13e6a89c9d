# Files that are generated: CRDs, reference pages, locks, golden files.

.PHONY: generate
generate: $(READY)  ## write CRDs, reference pages and the module list
	$(BIN)/stockpot generate

COMPILE = $(UV) pip compile --quiet --generate-hashes --universal --python-version 3.11 \
	--no-emit-index-url --no-emit-find-links --no-annotate \
	--custom-compile-command "make lock" $(UPGRADE)

.PHONY: lock
lock: $(UV)  ## write requirements/ from pyproject.toml (newer versions: make lock UPGRADE=--upgrade)
	$(COMPILE) pyproject.toml --all-extras --group test --group lint --group examples -o requirements/dev.txt
	$(COMPILE) pyproject.toml --extra operator -c requirements/dev.txt -o requirements/slim.txt
	$(COMPILE) pyproject.toml --extra workload -c requirements/dev.txt -o requirements/workload.txt
	$(COMPILE) pyproject.toml --extra operator --group unit -c requirements/dev.txt -o requirements/unit.txt
	echo uv | $(COMPILE) - -o requirements/uv.txt

.PHONY: golden
golden: $(READY)  ## rewrite the golden files of plans and health checks: look at the change before it is committed
	GOLDEN=write $(PYTEST) -q tests/golden tests/reconcile/test_health.py tests/controlplane/test_conditions_are_true.py
