"""The object store: its interface and adapters, the artefacts in it, and weights files."""
