"""A namespace as an object of its own, told by UID from others that had its name."""

from stockpot.api.model import Model


class NamespaceRef(Model):
    """The namespace in which the soup is, as an object: another one may have had its name."""

    uid: str = ""
    """Its UID; empty in local mode."""
    adopts: str = ""
    """UID of the deleted namespace whose objects in the store an admin handed over to it."""
