"""Manifests of workloads: builds Jobs, Pods and Deployments, and reads their status. Pure."""
