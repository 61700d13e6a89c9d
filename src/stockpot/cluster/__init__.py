"""Kubernetes: the API client, the manifests of our workloads, the chart. Decides nothing."""
