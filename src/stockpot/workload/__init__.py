"""The five verbs as processes: told by a RunSpec, answering with a RunResult and an exit code."""
