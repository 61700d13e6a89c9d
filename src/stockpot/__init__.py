"""Stockpot keeps a generative image model in step with the data it is allowed to know."""

__version__ = "0.1.0.dev0"
