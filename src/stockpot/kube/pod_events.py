"""Events about our workloads, as the API server has them: asked for only where something hangs."""

import time
from collections.abc import Sequence
from contextlib import suppress

from stockpot.cluster.apiserver.client import Client
from stockpot.cluster.apiserver.objects import Json, namespace_of, uid_of
from stockpot.cluster.apiserver.resources import EVENTS
from stockpot.errors import StockpotError

EVERY_S = 10.0
"""How often the events of one namespace are asked for."""


class PodEventReader:
    """Events by namespace, remembered for a few seconds. For many threads."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._known: dict[str, tuple[float, tuple[Json, ...]]] = {}

    def about(self, things: Sequence[Json]) -> tuple[Json, ...]:
        """Find the events about any of these objects; none where they cannot be had."""
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
        # Where they cannot be had, what is known from before still says something.
        with suppress(StockpotError):
            known = self._client.list(
                EVENTS, namespace, field_selector="type=Warning", resource_version="0"
            ).items
        self._known[namespace] = time.monotonic(), known
        return known
