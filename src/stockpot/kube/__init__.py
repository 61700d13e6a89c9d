"""The ports of `reconcile` on Kubernetes: objects, runs, servers. Their twin is `local`."""
