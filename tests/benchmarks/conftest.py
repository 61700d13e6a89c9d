"""The benchmarks on a real API server use the same cluster as the tests there."""

from tests.controlplane.conftest import admin, cluster, figure, mirror, test_cluster

__all__ = ["admin", "cluster", "figure", "mirror", "test_cluster"]
