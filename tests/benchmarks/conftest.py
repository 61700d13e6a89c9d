"""The benchmarks on a real API server use the same town as the tests there."""

from tests.controlplane.conftest import admin, cluster, figure, mirror, town

__all__ = ["admin", "cluster", "figure", "mirror", "town"]
