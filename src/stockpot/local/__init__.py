"""Local mode: Stockpot without Kubernetes, with objects, runs and a server in one folder."""
