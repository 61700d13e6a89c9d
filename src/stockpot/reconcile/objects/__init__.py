"""Reads API objects into the core's values, and edits them: one module for each kind. Pure."""
