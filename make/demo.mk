# The demo, and its tests on a cluster.

# The root is on the path for `devcluster`, which the demo on a cluster imports.
DEMO = PYTHONPATH=.:src $(BIN)/python examples/emoji/demo $(if $(PORT),--port $(PORT)) $(if $(QUICK),--quick)
E2E := tests/e2e

.PHONY: demo
demo: demo-check base-parts  ## the whole story on a Kubernetes node of its own (CONTEXT=… on yours, IMAGES=build, QUICK=1: a short one)
	@$(DEMO) $(if $(CONTEXT),--context $(CONTEXT)) $(if $(REGISTRY),--registry $(REGISTRY)) \
		$(if $(filter build,$(IMAGES)),--images) $(if $(CLUSTER),--cluster $(CLUSTER))

# Before anything is fetched: what would stop it later.
.PHONY: demo-check
demo-check: | python
	@$(if $(CONTEXT),:,$(DEVCLUSTER) check)

.PHONY: e2e
e2e: demo-check base-parts node-parts prometheus  ## the story on a real node while things are killed, and the leader at each step (an hour, as root)
	E2E=long nice $(PYTEST) -q -s $(E2E)
	CONTROLPLANE=all nice $(PYTEST) -q -n 2 --dist worksteal tests/controlplane/test_leaders.py
