"""Where artefacts lie: the port, its adapters, and how weights are written and read."""
