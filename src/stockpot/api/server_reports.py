"""Reports about servers in a receipt: what each one holds, and how each that is gone ended."""

from enum import StrEnum

from pydantic import Field

from stockpot.api.manifest import LineagePair
from stockpot.api.model import DigestString, Model


class HeldReport(Model):
    """The revisions that a server reported to hold, when it was asked after the purge."""

    server: str
    uid: str = ""
    """UID of the server's pod, or of its process."""
    node: str = ""
    nonce: str = ""
    """The nonce of the request, repeated in the response; empty if the server knows of none."""
    instance_id: str = Field(alias="boot")
    """The instance ID of the process that answered."""
    epoch: int
    holds: tuple[DigestString, ...] = ()
    """Digests of recipes in memory or on disk: granted, being fetched, served or draining."""
    beside: tuple[LineagePair, ...] = ()
    """Lineage of the recipes held that is not in the successor's recipe."""


class Ending(StrEnum):
    """The evidence that a server has ended."""

    KUBELET = "Kubelet"
    """The kubelet reported the end of the pod, or of its last container."""
    OUT_OF_SERVICE = "OutOfService"
    """An admin tainted its node as shut down: node.kubernetes.io/out-of-service."""
    NODE_HEARD = "NodeHeardSince"
    """The pod's object is gone, and its node has since been Ready long enough to have ended it."""
    PROCESS = "Process"
    """The process no longer exists, in local mode."""


class EndedReport(Model):
    """A server that may have held the shard, and has ended since the unlearning was requested."""

    server: str
    uid: str
    node: str = ""
    how: Ending
    seen_at: str = ""
    """When the operator observed the end (RFC 3339); empty if that was when it asked to sign."""
