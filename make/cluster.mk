# The built-in cluster. It runs with $(PYTHON) alone: compiling it needs nothing of .venv.

DEVCLUSTER = $(PYTHON) -m devcluster

.PHONY: devcluster-build
devcluster-build: | python  ## compile the built-in cluster's programs (ten minutes, once)
	@$(DEVCLUSTER) build

.PHONY: control-plane
control-plane: | python  ## compile only what tests without root need: etcd and the API server
	@$(DEVCLUSTER) build --control-plane

# What tests can use here: a whole node as root, else its API server alone.
.PHONY: node-parts
node-parts: $(if $(filter 0,$(shell id -u)),devcluster-build,control-plane)

.PHONY: cluster
cluster: $(READY)  ## bring the built-in cluster up, or what is missing of it (as root)
	@$(DEVCLUSTER) up

.PHONY: cluster-status
cluster-status: | python  ## say what of the built-in cluster runs
	@$(DEVCLUSTER) status

.PHONY: down
down: | python  ## take the built-in cluster away, and leave nothing of it
	@$(DEVCLUSTER) down
