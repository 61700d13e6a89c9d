"""Who holds a Lease, decided without a clock; see `test_election` for the real one."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st
from tests.cluster.shapes import Json

from stockpot.cluster.apiserver.lease import (
    Acquire,
    Observation,
    Renew,
    Wait,
    decide,
    held_by,
    observe,
    released,
)

NOON = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
NEW: Json = {"metadata": {"name": "operator", "namespace": "stockpot-system"}}


def stored(lease: Json, version: int) -> Json:
    """The Lease, as the API server keeps it."""
    return {**lease, "metadata": {**lease["metadata"], "resourceVersion": str(version)}}


def a_lease(holder: str, version: int = 1) -> Json:
    return stored(held_by(holder, NEW, NOON, duration_s=12), version)


def observed(lease: Json | None, at_s: float = 0.0) -> Observation:
    return observe(Observation(), lease, at_s)


def test_a_lease_that_is_not_there_is_taken() -> None:
    assert decide(observed(None), "me", 0.0) == Acquire()


def test_a_lease_that_was_given_back_is_taken_at_once() -> None:
    assert decide(observed(stored(released(a_lease("other")), 2)), "me", 0.0) == Acquire()


def test_our_own_lease_is_renewed() -> None:
    assert decide(observed(a_lease("me")), "me", 1000.0) == Renew()


def test_a_living_holder_is_waited_for() -> None:
    assert decide(observed(a_lease("other")), "me", 11.9) == Wait("other")


def test_a_record_that_stood_still_for_its_duration_is_taken() -> None:
    assert decide(observed(a_lease("other")), "me", 12.0) == Acquire()


def test_a_renewal_begins_the_wait_anew() -> None:
    latest = observe(observed(a_lease("other", 1)), a_lease("other", 2), 11.0)

    assert decide(latest, "me", 22.9) == Wait("other")
    assert decide(latest, "me", 23.0) == Acquire()


def test_a_record_that_did_not_change_keeps_the_time_since_it_was_seen() -> None:
    first = observed(a_lease("other"), 3.0)

    assert observe(first, a_lease("other"), 9.0) == first


@given(st.timedeltas(timedelta(days=-4000), timedelta(days=4000)))
def test_what_another_clock_says_does_not_matter(skew: timedelta) -> None:
    lease = stored(held_by("other", NEW, NOON + skew, duration_s=12), 1)

    assert decide(observed(lease), "me", 11.0) == Wait("other")
    assert decide(observed(lease), "me", 12.0) == Acquire()


def test_the_record_says_who_and_since_when() -> None:
    first = held_by("a", NEW, NOON, duration_s=12)
    again = held_by("a", first, NOON + timedelta(seconds=5), duration_s=12)
    other = held_by("b", again, NOON + timedelta(seconds=60), duration_s=12)

    assert first["spec"] == {
        "holderIdentity": "a",
        "leaseDurationSeconds": 12,
        "leaseTransitions": 0,
        "acquireTime": "2026-11-22T12:00:00.000000Z",
        "renewTime": "2026-11-22T12:00:00.000000Z",
    }
    assert again["spec"]["acquireTime"] == first["spec"]["acquireTime"]
    assert again["spec"]["renewTime"] == "2026-11-22T12:00:05.000000Z"
    assert again["spec"]["leaseTransitions"] == 0
    assert other["spec"]["leaseTransitions"] == 1
    assert other["spec"]["acquireTime"] == other["spec"]["renewTime"]
