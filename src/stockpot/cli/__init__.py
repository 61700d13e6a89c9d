"""The terminal. A command here only reads arguments, calls, and prints: no decisions.

Every command is a module of its own, imported when it is called, so that help is there at once.
"""
