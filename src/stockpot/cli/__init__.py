"""The command line: each command reads arguments, calls the package and prints; it decides nothing.

Every command is a module of its own, imported when it is called, so that `--help` starts quickly.
"""
