"""The Kubernetes API: the client and its errors, Leases and election, labels, settings."""
