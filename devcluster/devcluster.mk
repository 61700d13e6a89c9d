# The built-in cluster. Runs with the machine's own python3: nothing of .venv is needed to compile.

DEVCLUSTER = $(PYTHON) -m devcluster

.PHONY: devcluster-build
devcluster-build: | python  ## compile the built-in cluster's programs (ten minutes, once)
	@$(DEVCLUSTER) build

.PHONY: control-plane
control-plane: | python  ## compile only what tests without root need: etcd and the API server
	@$(DEVCLUSTER) build --control-plane
