"""Plug-ins of a studio."""
