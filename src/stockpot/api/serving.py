"""What the operator and a server pod say to each other on the admin port.

    GET  /state?nonce=…      → ServerState: all that the pod holds, and the nonce
    POST /weights:prepare    Grant → 202; fetches beside serving; the state shows it when it is held
    POST /weights:commit     Grant → 200; serves it from the next request on, and drops all else
    GET  /livez, /readyz, /metrics

A grant is the operator's whole word to one instance (one process) of a pod. It is refused with 409
where its epoch is below the last one accepted, or its instance ID is another one's: a late grant
is of an earlier promotion, or for an earlier process. The JSON calls the instance ID `boot`.
"""

from pydantic import Field

from stockpot.api.chain import ChainHead
from stockpot.api.model import Model
from stockpot.api.runspec import RevisionRef


class Grant(Model):
    """Serve this, and drop all else."""

    instance_id: str = Field(alias="boot")
    """The server process that this is for; each process draws one when it starts."""
    epoch: int = Field(ge=1)
    number: int = Field(ge=0)
    """The soup's number of this promotion, for answers and people; 0 is the base."""
    revision: RevisionRef


class Granted(Model):
    """A grant as the server took it."""

    epoch: int
    number: int
    revision: RevisionRef


class ServerState(Model):
    """What a server pod reports of itself."""

    instance_id: str = Field(alias="boot")
    """Drawn when the process starts."""
    epoch: int = 0
    """Of the last grant that it accepted; it refuses lower ones."""
    granted: Granted | None = None
    """The last grant that it accepted, however far preparing it has come."""
    prepared: Granted | None = None
    """Held in memory and warmed up, waiting for its commit."""
    serving: Granted | None = None
    holds: tuple[RevisionRef, ...] = ()
    """Everything: granted, being fetched, prepared, serving, draining; in memory or on disk."""
    ready: bool = False
    problem: str = ""
    """Why the last prepare failed; empty where it did not."""
    nonce: str = ""
    """What whoever asked drew for this question: the answer is to it, and to no earlier one."""
    chain: ChainHead | None = None
    """The end of the soup's chain of receipts in the store, as last seen; none before that."""
    chain_age_s: float = 0.0
    """How long ago that was seen."""
