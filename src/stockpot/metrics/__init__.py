"""Metrics for Prometheus, the Grafana dashboard, and the HTTP endpoints of probes and progress."""
