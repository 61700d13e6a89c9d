"""Whether anything can still run on the nodes of a soup's servers.

Reads only nodes whose servers are unhealthy, and each at most every few seconds.
"""

from collections.abc import Callable
from datetime import datetime, timedelta

from stockpot.cluster.apiserver.client import Client
from stockpot.cluster.apiserver.errors import Forbidden
from stockpot.cluster.apiserver.objects import Json, condition_of
from stockpot.cluster.apiserver.resources import NODES
from stockpot.cluster.manifests.deployment import is_out_of_service

KEPT = timedelta(seconds=10)
SWEPT_AFTER = timedelta(seconds=75)
"""A node is Ready only if its kubelet reported within some 50 seconds (KEP-589), and a kubelet
that reaches the API server stops, within seconds, pods that the API server no longer has. So a
node that is Ready this long after a pod's object was missed has reported since, and has stopped
the pod."""


class Nodes:
    """The last known state of nodes."""

    def __init__(self, client: Client, now: Callable[[], datetime]) -> None:
        self._client, self._now = client, now
        self._known: dict[str, tuple[datetime, Json | None]] = {}
        self._missed: dict[str, datetime] = {}

    def is_out_of_service(self, name: str, *, fresh: bool) -> bool:
        """Whether a node has the out-of-service taint; False if we may not read nodes."""
        node = self._node(name, fresh=fresh)
        return node is not None and is_out_of_service(node)

    def has_swept(self, name: str, pod_uid: str, *, fresh: bool) -> bool:
        """Whether a node has stopped a pod whose object is gone, and whose end was not observed.

        This happens if the operator was down while the pod ended, or if the pod was deleted by
        force. The wait starts with the first call for the pod.
        """
        missed = self._missed.setdefault(pod_uid, self._now())
        if self._now() - missed < SWEPT_AFTER:
            return False
        node = self._node(name, fresh=fresh)
        return node is not None and condition_of(node, "Ready") is not None

    def _node(self, name: str, *, fresh: bool) -> Json | None:
        if not name:
            return None
        now, known = self._now(), self._known.get(name)
        if known and not fresh and now - known[0] < KEPT:
            return known[1]
        try:
            node = self._client.find(NODES, None, name)
        except Forbidden:
            node = None
        self._known[name] = now, node
        return node
