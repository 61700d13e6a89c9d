"""The operator's process: watch, queue, work, lead. What to do is decided in the core."""
