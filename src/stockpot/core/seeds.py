"""Random seeds by name, so that a run that starts again draws what the first one drew."""

import hashlib


def hash_of_names(*names: object) -> int:
    """Hash names, joined by `/`, to 64 bits: the first 8 bytes of their SHA-256, big-endian."""
    text = "/".join(str(name) for name in names)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
