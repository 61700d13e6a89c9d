"""What one server may hold and serve, whatever it is told, in whatever order.

Invariant 19.
"""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from stockpot.api.manifest import LineagePair
from stockpot.api.runspec import RevisionRef
from stockpot.api.serving import Grant, Granted
from stockpot.core.digests import digest_of_bytes
from stockpot.serving import grants
from stockpot.serving.grants import GrantRefused, Holdings, NothingServed, Stage, Token

BOOT = "this"


def a_revision(name: str) -> RevisionRef:
    digest = digest_of_bytes(name.encode())
    return RevisionRef(
        recipe_digest=digest, weights_digest=digest, lineage=(LineagePair(shard=name),)
    )


def a_grant(name: str, epoch: int, boot: str = BOOT) -> Grant:
    return Grant(boot=boot, epoch=epoch, number=epoch, revision=a_revision(name))


def names(state: Holdings) -> set[str]:
    return {hold.lineage[0].shard for hold in grants.report(state).holds}


def prepared(state: Holdings, grant: Grant) -> Holdings:
    state, token = grants.prepare(state, grant)
    assert token is not None
    return grants.warmed(grants.fetched(state, token), token)


def committed(state: Holdings, grant: Grant, now_s: float = 0) -> Holdings:
    return grants.commit(state, grant, now_s=now_s, drain_s=10)


def serving(name: str, epoch: int) -> Holdings:
    grant = a_grant(name, epoch)
    return committed(prepared(Holdings(BOOT), grant), grant)


def test_a_server_serves_nothing_before_its_first_grant() -> None:
    with pytest.raises(NothingServed):
        grants.acquire(Holdings(BOOT))


def test_a_prepared_revision_does_not_serve_until_it_is_committed() -> None:
    state = prepared(serving("old", 1), a_grant("new", 2))

    _, pinned = grants.acquire(state)

    assert pinned.granted.revision == a_revision("old")
    told = grants.report(state)
    assert told.prepared == Granted(epoch=2, number=2, revision=a_revision("new"))
    assert names(state) == {"old", "new"}


def test_a_commit_is_what_the_next_request_is_answered_with() -> None:
    state = prepared(serving("old", 1), a_grant("new", 2))

    state = committed(state, a_grant("new", 2))

    assert grants.acquire(state)[1].granted.revision == a_revision("new")
    told = grants.report(state)
    assert (told.epoch, told.prepared) == (2, None)


def test_a_dropped_revision_is_held_until_it_is_gone() -> None:
    state = committed(prepared(serving("old", 1), a_grant("new", 2)), a_grant("new", 2))
    (old,) = grants.to_drop(state)

    before, after = names(state), names(grants.gone(state, old))

    assert (before, after) == ({"old", "new"}, {"new"})


def test_a_request_keeps_its_revision_until_the_deadline() -> None:
    state, pinned = grants.acquire(prepared(serving("old", 1), a_grant("new", 2)))

    state = committed(state, a_grant("new", 2), now_s=100)

    assert not grants.is_overdue(state, pinned.token, now_s=109.9)
    assert grants.is_overdue(state, pinned.token, now_s=110)
    assert grants.to_drop(state) == ()
    assert grants.to_drop(grants.release(state, pinned.token)) == (pinned.token,)


def test_what_a_request_uses_cannot_be_called_gone() -> None:
    state, pinned = grants.acquire(prepared(serving("old", 1), a_grant("new", 2)))
    state = committed(state, a_grant("new", 2))

    with pytest.raises(ValueError, match="still"):
        grants.gone(state, pinned.token)


def test_a_commit_may_come_twice() -> None:
    state = serving("one", 1)

    assert committed(state, a_grant("one", 1), now_s=99) == state


def test_a_prepare_may_come_twice() -> None:
    state, first = grants.prepare(Holdings(BOOT), a_grant("one", 1))

    again, second = grants.prepare(state, a_grant("one", 1))

    assert (again, first is None, second) == (state, False, None)


@pytest.mark.parametrize(
    ("late", "because"),
    [
        (a_grant("other", 4), "late"),
        (a_grant("other", 5), "Another revision"),
        (a_grant("one", 5).model_copy(update={"number": 9}), "Another revision"),
        (a_grant("other", 6, boot="before"), "another boot"),
    ],
)
def test_a_late_grant_changes_nothing(late: Grant, because: str) -> None:
    state = serving("one", 5)

    with pytest.raises(GrantRefused, match=because):
        grants.prepare(state, late)
    with pytest.raises(GrantRefused, match=because):
        committed(state, late)


def test_a_commit_needs_its_prepare() -> None:
    with pytest.raises(GrantRefused, match="was not prepared here"):
        committed(serving("one", 1), a_grant("other", 2))


def test_a_commit_before_the_warm_up_is_refused() -> None:
    state, token = grants.prepare(Holdings(BOOT), a_grant("one", 1))
    assert token is not None

    with pytest.raises(GrantRefused, match="not prepared"):
        committed(grants.fetched(state, token), a_grant("one", 1))


def test_a_failed_prepare_says_why_and_leaves_the_old_one_serving() -> None:
    state, token = grants.prepare(serving("old", 1), a_grant("broken", 2))
    assert token is not None

    state = grants.failed(state, token, "it is cut short")

    assert grants.report(state).problem == "it is cut short"
    assert grants.acquire(state)[1].granted.revision == a_revision("old")
    with pytest.raises(GrantRefused, match="it is cut short"):
        committed(state, a_grant("broken", 2))


def test_after_a_failure_the_same_grant_is_tried_again() -> None:
    state, token = grants.prepare(Holdings(BOOT), a_grant("one", 1))
    assert token is not None
    state = grants.failed(state, token, "the store is away")

    state, again = grants.prepare(state, a_grant("one", 1))

    assert again not in {None, token}
    assert grants.report(state).problem == ""


def test_what_was_granted_counts_as_held_even_where_fetching_it_failed() -> None:
    state, token = grants.prepare(Holdings(BOOT), a_grant("one", 1))
    assert token is not None

    state = grants.gone(grants.failed(state, token, "no"), token)

    assert names(state) == {"one"}


def test_a_newer_grant_replaces_what_was_being_prepared() -> None:
    state, first = grants.prepare(Holdings(BOOT), a_grant("one", 1))
    assert first is not None

    state, second = grants.prepare(state, a_grant("two", 2))

    assert second is not None
    assert grants.to_drop(state) == (first,)
    # The thread that fetches the first has not noticed yet; what it says changes nothing.
    assert grants.warmed(grants.fetched(state, first), first) == state
    assert grants.failed(state, first, "too late") == state
    with pytest.raises(GrantRefused, match="late"):
        committed(state, a_grant("one", 1))


def test_a_promotion_of_what_serves_already_fetches_nothing() -> None:
    state, token = grants.prepare(serving("one", 1), a_grant("one", 7))
    assert token is None
    assert grants.report(state).prepared == Granted(epoch=7, number=7, revision=a_revision("one"))

    state = committed(state, a_grant("one", 7))

    assert [one.stage for one in state.held] == [Stage.SERVING]
    told = grants.report(state)
    assert told.serving is not None
    assert told.serving.epoch == 7


def test_going_back_to_what_serves_drops_what_was_prepared() -> None:
    state = prepared(serving("one", 1), a_grant("two", 2))

    state, _ = grants.prepare(state, a_grant("one", 3))

    (two,) = grants.to_drop(state)
    assert names(grants.gone(state, two)) == {"one"}


class Server(RuleBasedStateMachine):
    """Every order of grants, thread steps and requests that a server may meet."""

    def __init__(self) -> None:
        super().__init__()
        self.state = Holdings(BOOT)
        self.highest = 0
        self.now_s = 0.0
        self.committed: Grant | None = None
        self.pins: list[Token] = []

    def tokens(self, *stages: Stage) -> list[Token]:
        return [one.token for one in self.state.held if one.stage in stages]

    @rule(name=st.sampled_from("abc"), step=st.integers(-1, 2), boot=st.sampled_from([BOOT, "x"]))
    def prepare(self, name: str, step: int, boot: str) -> None:
        grant = a_grant(name, max(1, self.highest + step), boot)
        before = self.state
        try:
            self.state, _ = grants.prepare(self.state, grant)
        except GrantRefused:
            assert self.state == before
        else:
            assert grant.boot == BOOT
            assert grant.epoch >= self.highest
            self.highest = grant.epoch

    @rule(data=st.data(), how=st.sampled_from(["fetched", "warmed", "failed"]))
    def a_preparing_thread_speaks(self, data: st.DataObject, how: str) -> None:
        stages = {"fetched": (Stage.FETCHING,), "warmed": (Stage.LOADED,)}
        tokens = self.tokens(*stages.get(how, (Stage.FETCHING, Stage.LOADED)), Stage.LEAVING)
        if not tokens:
            return
        token = data.draw(st.sampled_from(tokens))
        if how == "failed":
            self.state = grants.failed(self.state, token, "no")
        else:
            self.state = getattr(grants, how)(self.state, token)

    @rule(name=st.sampled_from("abc"), step=st.integers(-1, 1))
    def commit(self, name: str, step: int) -> None:
        grant = a_grant(name, max(1, self.highest + step))
        try:
            self.state = grants.commit(self.state, grant, now_s=self.now_s, drain_s=10)
        except GrantRefused:
            return
        self.committed = grant

    @rule()
    def a_request_begins(self) -> None:
        if self.committed is None:
            with pytest.raises(NothingServed):
                grants.acquire(self.state)
            return
        self.state, pinned = grants.acquire(self.state)
        assert pinned.granted.revision == self.committed.revision
        self.pins.append(pinned.token)

    @precondition(lambda self: self.pins)
    @rule(data=st.data())
    def a_request_ends(self, data: st.DataObject) -> None:
        token = data.draw(st.sampled_from(self.pins))
        self.pins.remove(token)
        self.state = grants.release(self.state, token)

    @rule()
    def time_passes_and_what_can_go_goes(self) -> None:
        self.now_s += 11
        for token in [t for t in self.pins if grants.is_overdue(self.state, t, now_s=self.now_s)]:
            self.pins.remove(token)
            self.state = grants.release(self.state, token)
        for token in grants.to_drop(self.state):
            self.state = grants.gone(self.state, token)
        if self.committed and self.committed.epoch == self.highest:
            assert names(self.state) == {self.committed.revision.lineage[0].shard}

    @invariant()
    def only_what_was_committed_serves(self) -> None:
        told = grants.report(self.state).serving
        if self.committed is None:
            assert told is None
        else:
            assert told is not None
            assert told.revision == self.committed.revision
            assert told.epoch == self.committed.epoch

    @invariant()
    def epochs_never_go_down(self) -> None:
        assert self.state.epoch == self.highest

    @invariant()
    def everything_that_a_request_uses_is_reported_as_held(self) -> None:
        held = {one.token: one for one in self.state.held}
        reported = grants.report(self.state).holds
        assert all(held[token].granted.revision in reported for token in self.pins)

    @invariant()
    def at_most_one_serves_and_one_is_prepared(self) -> None:
        assert len(self.tokens(Stage.SERVING)) <= 1
        assert len(self.tokens(Stage.FETCHING, Stage.LOADED, Stage.PREPARED)) <= 1


TestServer = Server.TestCase
TestServer.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)


@settings(deadline=None)  # A busy machine is no failure.
@given(epochs=st.lists(st.integers(1, 6), min_size=1, max_size=8))
def test_however_late_grants_arrive_the_highest_epoch_serves_in_the_end(epochs: list[int]) -> None:
    state = Holdings(BOOT)

    for epoch in epochs:
        try:
            state, token = grants.prepare(state, a_grant(f"of {epoch}", epoch))
            if token is not None:
                state = grants.warmed(grants.fetched(state, token), token)
            state = committed(state, a_grant(f"of {epoch}", epoch))
        except GrantRefused:
            continue

    assert grants.report(state).serving == Granted(
        epoch=max(epochs), number=max(epochs), revision=a_revision(f"of {max(epochs)}")
    )
