"""A real Kubernetes on one machine, out of package registries alone.

For the demo and for tests, never for anything else: no upgrade, no second node, no way in from
outside the machine. Everything here runs on the standard library, with the python3 that a machine
has, before there is a virtual environment; and nothing of Stockpot is imported.
"""
