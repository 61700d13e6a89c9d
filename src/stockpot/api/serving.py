"""The protocol between the operator and a server pod on the admin port.

    GET  /state?nonce=…      → ServerState: all revisions that the pod holds, and the nonce
    POST /weights:prepare    Grant → 202; fetches while serving; the state shows when it is prepared
    POST /weights:commit     Grant → 200; serves it from the next request on, and drops all others
    GET  /livez, /readyz; /metrics, which has a port of its own as well

A grant is addressed to one instance (one process) of a pod. The server refuses it with 409 if its
epoch is below the last accepted one, or its instance ID is of another process: it is a late grant
of an earlier promotion, or for an earlier process. The JSON calls the instance ID `boot`.

The operator signs each grant (`stockpot.authentication.signatures`). A server that was started with
public keys refuses every other grant with 403; one without accepts all, as its operator signs none.
"""

from pydantic import Field

from stockpot.api.chain import ChainHead
from stockpot.api.model import Model
from stockpot.api.runspec import RevisionRef

POD_UID = "STOCKPOT_POD_UID"
"""The environment variable with the UID of a server's pod; not set in local mode."""


class Grant(Model):
    """The command to serve a revision, and to drop all others."""

    instance_id: str = Field(alias="boot")
    """The server process that the grant is for; each process draws an ID when it starts."""
    epoch: int = Field(ge=1)
    number: int = Field(ge=0)
    """Number of the promotion, for responses and people; 0 is the base."""
    revision: RevisionRef


class Granted(Model):
    """A grant that the server accepted."""

    epoch: int
    number: int
    revision: RevisionRef


class ServerState(Model):
    """The state that a server pod reports."""

    instance_id: str = Field(alias="boot")
    """ID of the process, drawn when it starts."""
    epoch: int = 0
    """Epoch of the last accepted grant; the server refuses grants of a lower epoch."""
    granted: Granted | None = None
    """The last accepted grant, prepared or not."""
    prepared: Granted | None = None
    """The grant that is in memory, warmed up, and waits for its commit."""
    serving: Granted | None = None
    holds: tuple[RevisionRef, ...] = ()
    """All revisions in memory or on disk: granted, being fetched, prepared, serving, draining."""
    ready: bool = False
    problem: str = ""
    """Why the last prepare failed; empty if it did not."""
    nonce: str = ""
    """The nonce of the request: it proves that the response is not one to an earlier request."""
    chain: ChainHead | None = None
    """The end of the soup's chain of receipts in the store, as last read; unset before that."""
    chain_age_s: float = 0.0
    """Age of `chain`, in seconds."""
