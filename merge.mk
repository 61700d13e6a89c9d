# Merging: the compiled kernel, and how fast it all is. Included by the Makefile.

KERNEL := src/stockpot/merging/_kernel.so

.PHONY: kernel
kernel: $(KERNEL)  ## compile the mean (without a C compiler merging is slower, not wrong)

$(KERNEL): src/stockpot/merging/kernel.c src/stockpot/merging/build.py | $(READY)
	@$(BIN)/python -m stockpot.merging.build

quick demo-local smoke: $(KERNEL)
