"""What is known of the nodes that servers ran on: whether anything can still run there.

Asked only of nodes whose servers are not well, and not more often than every few seconds.
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
"""A node is Ready only while its kubelet was heard within some 50 seconds (KEP-589), and a kubelet
that hears the API server ends, within seconds, what the API server no longer has. So one that is
Ready so long after a pod's object was missed has been heard since, and has ended the pod."""


class Nodes:
    """Nodes, as they were last seen."""

    def __init__(self, client: Client, now: Callable[[], datetime]) -> None:
        self._client, self._now = client, now
        self._known: dict[str, tuple[datetime, Json | None]] = {}
        self._missed: dict[str, datetime] = {}

    def is_out_of_service(self, name: str, *, fresh: bool) -> bool:
        """Whether a node carries the taint; where nobody may look, it is not known, and so no."""
        node = self._node(name, fresh=fresh)
        return node is not None and is_out_of_service(node)

    def has_swept(self, name: str, pod_uid: str, *, fresh: bool) -> bool:
        """Whether a node has ended a pod whose object is gone, and whose end nobody saw.

        An operator that was away while a pod ended, or a pod that was deleted by force: asked for
        the first time it begins to wait.
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
