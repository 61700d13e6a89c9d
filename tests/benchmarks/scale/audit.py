"""Counts and times requests by the API server's own audit log."""

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

POLICY = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived"],
    "rules": [
        {"level": "None", "userGroups": ["system:serviceaccounts:kube-system", "system:nodes"]},
        {"level": "None", "users": ["system:apiserver", "system:kube-scheduler"]},
        {"level": "None", "users": ["system:kube-controller-manager"]},
        # Of a person's requests only deletions are timed.
        {
            "level": "None",
            "userGroups": ["system:masters"],
            "verbs": ["get", "list", "watch", "create", "update", "patch"],
        },
        {"level": "Metadata"},
    ],
}
READS = frozenset({"get", "list", "watch"})


@dataclass(frozen=True)
class Request:
    """One request that the API server has answered."""

    verb: str
    resource: str
    """With its subresource, as `datashards/status`."""
    namespace: str
    name: str
    is_operators: bool
    code: int
    began: datetime
    ended: datetime

    @property
    def is_write(self) -> bool:
        """Whether it writes anything but a Lease."""
        return self.verb not in READS and self.resource != "leases"


class AuditLog:
    """The audit log of one API server."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.policy, self.path = folder / "policy.json", folder / "audit.log"
        self.policy.write_text(json.dumps(POLICY))

    def mark(self) -> int:
        """Return the end of the log: `requests` begins there."""
        return self.path.stat().st_size if self.path.exists() else 0

    def requests(self, since: int, operator: str) -> list[Request]:
        """Read the requests since a mark.

        Args:
            since: The mark.
            operator: The namespace of the operator's ServiceAccount.
        """
        return list(self._requests(since, f"system:serviceaccount:{operator}:operator"))

    def _requests(self, since: int, user: str) -> Iterator[Request]:
        with self.path.open("rb") as log:
            log.seek(since)
            for line in log:
                if not line.endswith(b"\n"):
                    return
                entry = json.loads(line)
                # A watch is counted when it begins.
                if (entry["stage"] == "ResponseStarted") is not (entry["verb"] == "watch"):
                    continue
                about = entry.get("objectRef") or {}
                parts = [about.get("resource", ""), about.get("subresource", "")]
                yield Request(
                    verb=entry["verb"],
                    resource="/".join(filter(None, parts)),
                    namespace=about.get("namespace", ""),
                    name=about.get("name", ""),
                    is_operators=entry["user"]["username"] == user,
                    code=entry["responseStatus"]["code"],
                    began=_instant(entry["requestReceivedTimestamp"]),
                    ended=_instant(entry["stageTimestamp"]),
                )


def by_verb(requests: list[Request]) -> dict[str, int]:
    """Count the operator's requests, but those for Leases."""
    counted = Counter(
        request.verb
        for request in requests
        if request.is_operators and request.resource != "leases"
    )
    return dict(sorted(counted.items()))


def until_tombstone_s(requests: list[Request], names: set[tuple[str, str]]) -> list[float]:
    """Time each deletion, from the request until its tombstone is stored.

    Args:
        requests: All requests of the time.
        names: Namespace and name of the shards that were deleted.
    """
    requested: dict[tuple[str, str], datetime] = {}
    took_s: dict[tuple[str, str], float] = {}
    for request in sorted(requests, key=lambda request: request.ended):
        place = request.namespace, request.name
        if place not in names or request.code >= 300:
            continue
        if request.verb == "delete" and request.resource == "datashards":
            requested.setdefault(place, request.began)
        # The first write of a shard's status after its deletion records it.
        elif (
            request.is_operators and request.resource == "datashards/status" and place in requested
        ):
            took_s.setdefault(place, (request.ended - requested[place]).total_seconds())
    return sorted(took_s.values())


def _instant(text: str) -> datetime:
    return datetime.fromisoformat(text)
