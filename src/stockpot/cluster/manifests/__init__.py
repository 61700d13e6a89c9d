"""Manifests of workloads: Jobs, Pods and Deployments out, and their status back. Pure."""
