"""Reads the Events about our workloads, only where one does not start."""

import time
from collections.abc import Sequence
from contextlib import suppress

from stockpot.cluster.apiserver.client import Client
from stockpot.cluster.apiserver.objects import Json, namespace_of, uid_of
from stockpot.cluster.apiserver.resources import EVENTS
from stockpot.errors import StockpotError

EVERY_S = 10.0
"""How often the Events of one namespace are listed."""


class PodEventReader:
    """Lists Events by namespace, cached for a few seconds. Thread-safe."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._known: dict[str, tuple[float, tuple[Json, ...]]] = {}

    def about(self, things: Sequence[Json]) -> tuple[Json, ...]:
        """Return the Events about these objects; empty if they cannot be listed."""
        uids = {uid_of(thing) for thing in things}
        namespaces = {namespace_of(thing) for thing in things}
        return tuple(
            event
            for namespace in namespaces
            for event in self._of(namespace)
            if event.get("involvedObject", {}).get("uid") in uids
        )

    def _of(self, namespace: str) -> tuple[Json, ...]:
        at_s, known = self._known.get(namespace, (float("-inf"), ()))
        if time.monotonic() - at_s < EVERY_S:
            return known
        # If the list fails, the previous Events still apply.
        with suppress(StockpotError):
            known = self._client.list(
                EVENTS, namespace, field_selector="type=Warning", resource_version="0"
            ).items
        self._known[namespace] = time.monotonic(), known
        return known
