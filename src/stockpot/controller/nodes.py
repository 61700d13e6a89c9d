"""What an admin says of nodes that do not answer: whether anything can still run there.

Asked only of nodes whose servers are not well, and not more often than every few seconds.
"""

from collections.abc import Callable
from datetime import datetime, timedelta

from stockpot.cluster.answers import Forbidden
from stockpot.cluster.client import Client
from stockpot.cluster.resources import NODES
from stockpot.cluster.serving import is_out_of_service

KEPT = timedelta(seconds=10)


class Nodes:
    """Nodes, as they were last seen."""

    def __init__(self, client: Client, now: Callable[[], datetime]) -> None:
        self._client, self._now = client, now
        self._known: dict[str, tuple[datetime, bool]] = {}

    def is_out_of_service(self, name: str, *, fresh: bool) -> bool:
        """Whether a node carries the taint; where nobody may look, it is not known, and so no."""
        if not name:
            return False
        now, known = self._now(), self._known.get(name)
        if known and not fresh and now - known[0] < KEPT:
            return known[1]
        try:
            node = self._client.find(NODES, None, name)
        except Forbidden:
            node = None
        is_out = node is not None and is_out_of_service(node)
        self._known[name] = now, is_out
        return is_out
