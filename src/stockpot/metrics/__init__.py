"""The numbers that people and Prometheus look at, and where they are asked for."""
