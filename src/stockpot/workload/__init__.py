"""Verbs as processes: each reads a RunSpec, and ends with a result and an exit code."""
