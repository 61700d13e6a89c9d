"""The operator's process: watches, work queue, workers, election. `core` decides what to do."""
