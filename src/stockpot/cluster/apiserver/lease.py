"""Who works: one of the operators, by a Lease, and one release in a namespace. Decides purely.

No clock is compared with another's: a holder counts as gone when *we* have seen its record stand
still for as long as it said it would. Times within the record are for people.

                      the record is …
    we hold it        ours        → Renew      (until we could not for too long: we are lost)
    nobody holds it   released    → Take
    another holds it  changing    → Wait
                      still for leaseDurationSeconds by our clock → Take
"""

from dataclasses import dataclass
from datetime import datetime

from stockpot.cluster.apiserver.objects import Json

LEASE_S = 12.0
"""So long a holder is believed without a sign of life."""


@dataclass(frozen=True)
class LeaseRecord:
    """What stands in a Lease."""

    holder: str = ""
    """Empty: it was released."""
    version: str = ""
    """Changes with every renewal."""
    duration_s: float = LEASE_S
    transitions: int = 0


@dataclass(frozen=True)
class Observation:
    """A record, and since when we have seen it as it is, by our own clock."""

    record: LeaseRecord | None = None
    """None: there is no Lease."""
    since_s: float = 0.0


@dataclass(frozen=True)
class Renew:
    """Say that we are alive."""


@dataclass(frozen=True)
class Take:
    """Nobody holds it, or nobody alive."""


@dataclass(frozen=True)
class Wait:
    """Somebody holds it."""

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
    """Take note of what was read; a record that did not change has been so since before.

    Args:
        before: What was seen last.
        lease: As it is now; None where there is none.
        now_s: By a clock that only goes forward.
    """
    record = read_record(lease) if lease else None
    if record == before.record:
        return before
    return Observation(record, now_s)


def decide(seen: Observation, me: str, now_s: float) -> Renew | Take | Wait:
    """Say what to do about a Lease."""
    record = seen.record
    if record is None or not record.holder:
        return Take()
    if record.holder == me:
        return Renew()
    if now_s - seen.since_s >= record.duration_s:
        return Take()
    return Wait(record.holder)


def held_by(me: str, lease: Json, now: datetime, *, duration_s: float = LEASE_S) -> Json:
    """Make of a Lease one that we hold.

    Args:
        me: Who we are.
        lease: As it is, or a new one with `metadata` alone.
        now: For people who read it.
        duration_s: So long the others believe us.
    """
    before = lease.get("spec") or {}
    text = now.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    is_new = before.get("holderIdentity") != me
    times = {
        "acquireTime": text if is_new else before.get("acquireTime", text),
        "renewTime": text,
    }
    transitions = int(before.get("leaseTransitions") or 0)
    # Taking a first one is no transition.
    transitions += 1 if is_new and "holderIdentity" in before else 0
    return {
        **lease,
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "spec": {
            "holderIdentity": me,
            "leaseDurationSeconds": round(duration_s),
            "leaseTransitions": transitions,
            **times,
        },
    }


def released(lease: Json) -> Json:
    """Make of a Lease one that nobody holds, so that nobody need wait."""
    spec = {**(lease.get("spec") or {}), "holderIdentity": "", "leaseDurationSeconds": 1}
    return {**lease, "spec": spec}
