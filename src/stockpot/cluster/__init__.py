"""Kubernetes: how we speak to its API, and how our workloads look there. Decides nothing."""
