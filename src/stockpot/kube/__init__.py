"""A round's ports on Kubernetes: objects, runs, servers. Its twin for a folder is `local`."""
