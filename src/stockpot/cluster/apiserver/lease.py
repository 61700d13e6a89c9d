"""Decisions about a Lease: acquire, renew or wait. Pure, as client-go's leader election decides.

Clocks of two machines are never compared: a holder counts as gone when *we* have observed its
record unchanged for the record's own duration. Timestamps in the record are for users only.

    holder of the Lease        decision
    this identity              Renew
    none (missing, released)   Acquire
    another, record changes    Wait
    another, unchanged for leaseDurationSeconds by our clock → Acquire
"""

from dataclasses import dataclass
from datetime import datetime

from stockpot.cluster.apiserver.objects import Json

LEASE_S = 12.0
"""How long a holder counts as alive without a renewal."""


@dataclass(frozen=True)
class LeaseRecord:
    """The content of a Lease."""

    holder: str = ""
    """Empty after a release."""
    version: str = ""
    """Changes with every renewal."""
    duration_s: float = LEASE_S
    transitions: int = 0


@dataclass(frozen=True)
class Observation:
    """A record, and since when it has been unchanged by our own clock."""

    record: LeaseRecord | None = None
    """None if there is no Lease."""
    since_s: float = 0.0


@dataclass(frozen=True)
class Renew:
    """We hold the Lease: renew it."""


@dataclass(frozen=True)
class Acquire:
    """The Lease has no holder, or its holder is gone."""


@dataclass(frozen=True)
class Wait:
    """Another identity holds the Lease."""

    holder: str


def read_record(lease: Json) -> LeaseRecord:
    """Read a Lease."""
    spec = lease.get("spec") or {}
    return LeaseRecord(
        holder=spec.get("holderIdentity") or "",
        version=lease["metadata"]["resourceVersion"],
        duration_s=float(spec.get("leaseDurationSeconds") or LEASE_S),
        transitions=int(spec.get("leaseTransitions") or 0),
    )


def observe(before: Observation, lease: Json | None, now_s: float) -> Observation:
    """Update an observation; an unchanged record keeps its time.

    Args:
        before: The last observation.
        lease: The Lease as it is now; None if there is none.
        now_s: Monotonic clock.
    """
    record = read_record(lease) if lease else None
    if record == before.record:
        return before
    return Observation(record, now_s)


def decide(observation: Observation, identity: str, now_s: float) -> Renew | Acquire | Wait:
    """Decide what to do about a Lease."""
    record = observation.record
    if record is None or not record.holder:
        return Acquire()
    if record.holder == identity:
        return Renew()
    if now_s - observation.since_s >= record.duration_s:
        return Acquire()
    return Wait(record.holder)


def held_by(identity: str, lease: Json, now: datetime, *, duration_s: float = LEASE_S) -> Json:
    """Return the Lease as held by an identity, to be written.

    Args:
        identity: The holder.
        lease: The present Lease, or a new one with `metadata` alone.
        now: Timestamp for users.
        duration_s: Duration of the Lease.
    """
    before = lease.get("spec") or {}
    text = now.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    is_new = before.get("holderIdentity") != identity
    times = {
        "acquireTime": text if is_new else before.get("acquireTime", text),
        "renewTime": text,
    }
    transitions = int(before.get("leaseTransitions") or 0)
    # The first holder of a new Lease is no transition.
    transitions += 1 if is_new and "holderIdentity" in before else 0
    return {
        **lease,
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "spec": {
            "holderIdentity": identity,
            "leaseDurationSeconds": round(duration_s),
            "leaseTransitions": transitions,
            **times,
        },
    }


def released(lease: Json) -> Json:
    """Return the Lease without a holder, to be written: the next identity need not wait."""
    spec = {**(lease.get("spec") or {}), "holderIdentity": "", "leaseDurationSeconds": 1}
    return {**lease, "spec": spec}
