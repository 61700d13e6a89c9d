"""The same program without Kubernetes: objects, runs and a server in one folder."""
