"""The Kubernetes API: client, errors, Leases and leader election, labels, operator settings."""
