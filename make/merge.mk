# Merging: the compiled kernel, how fast it all is, and what takes longer to try than a test may.

.PHONY: kernel
kernel: $(KERNEL)  ## compile the mean (without a C compiler merging is slower, not wrong)

$(KERNEL) &: src/stockpot/merging/kernel.c src/stockpot/merging/lora.c src/stockpot/merging/build.py | $(READY)
	@$(BIN)/python -m stockpot.merging.build

quick bench chaos demo-local smoke: $(KERNEL)

# The other tools live in an environment of their own in the cache, above .venv: torch is not
# installed twice, and nothing of theirs comes near the project.
BENCH_MERGE := $(CACHE)/bench-merge
BENCH_LOCK := tests/benchmarks/merge/requirements.txt
BENCH_VENV := $(BENCH_MERGE)/venv-$(shell sha256sum $(BENCH_LOCK) | cut -c1-12)
BENCH_RUN := PYTHONPATH=$(CURDIR)/src $(BENCH_VENV)/bin/python tests/benchmarks/merge/bench.py
BENCH_PAGE := docs/explanation/merging.md

$(BENCH_VENV)/.ready: $(BENCH_LOCK) | $(READY)
	$(UV) venv --quiet --clear --python $(PYTHON) $(BENCH_VENV)
	$(UV) pip install --quiet --require-hashes --no-deps --python $(BENCH_VENV)/bin/python -r $(BENCH_LOCK)
	@$(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))' > \
		$$($(BENCH_VENV)/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/stockpot.pth
	@touch $@

# Ten minutes where nothing else runs. The checkpoints are made, used and removed, one plan at a time.
BENCH_PLANS ?= small full

.PHONY: bench-merge
bench-merge: $(KERNEL) $(BENCH_VENV)/.ready  ## merging beside mergekit, sd-mecha, torch and the floor (20 GB of disk and memory, an idle machine; BENCH_PLANS="small full")
	@set -e; for plan in $(BENCH_PLANS); do \
		trap 'rm -rf $(BENCH_MERGE)/small-* $(BENCH_MERGE)/full-* $(BENCH_MERGE)/*.safetensors*' EXIT; \
		$(BENCH_RUN) $$plan --folder $(BENCH_MERGE) --results $(BENCH_MERGE)/$$plan.json; \
		rm -rf $(BENCH_MERGE)/$$plan-*; \
	done
	$(MAKE) --no-print-directory report-merge

.PHONY: report-merge
report-merge:
	$(BIN)/python tests/benchmarks/merge/report.py $(BENCH_MERGE)/full.json $(BENCH_MERGE)/small.json \
		--page $(BENCH_PAGE) --plot $(BENCH_PAGE:.md=.svg)

.PHONY: fuzz-merge
fuzz-merge: $(READY)  ## read tampered headers for an hour (SECONDS=...)
	PYTHONPATH=. $(BIN)/python -m tests.merging.fuzzing $(or $(SECONDS),3600)
