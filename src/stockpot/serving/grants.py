"""The state machine of one server: which revisions it holds, and which one it may serve.

Pure: frozen states, and functions from one state to the next, without a clock, threads or weights.
`models` does the work and reports it back. Rule 1: only a revision that was committed under the
last accepted epoch serves. Rule 2: a copy counts as held from the moment its fetch begins until
`mark_gone`.

       prepare              fetched          warmed             commit
    ───────────▶ FETCHING ──────────▶ LOADED ───────▶ PREPARED ─────────▶ SERVING
                    │                   │                │                   │
                    └─── a failure, a higher epoch, or a commit of another one ───▶ LEAVING ──▶ gone
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import NewType

from stockpot.api.runspec import RevisionRef
from stockpot.api.serving import Grant, Granted, ServerState
from stockpot.errors import Refused, Waiting

Token = NewType("Token", int)
"""Names one copy of a revision in this process; never used twice."""


class GrantRefused(Refused):
    """The grant is late, for another instance, or not prepared."""


class NoRevisionServed(Waiting):
    """No revision has been committed yet."""


class CopyStage(StrEnum):
    """How far one copy of a revision has come."""

    FETCHING = "fetching"
    LOADED = "loaded"
    PREPARED = "prepared"
    SERVING = "serving"
    LEAVING = "leaving"
    """No new request may use it; it is held until its weights are gone."""


@dataclass(frozen=True)
class HeldCopy:
    """One copy of a revision, on disk or in memory."""

    token: Token
    granted: Granted
    stage: CopyStage = CopyStage.FETCHING
    pins: int = 0
    """How many requests use it now."""
    deadline_s: float | None = None
    """While leaving: until when running requests may use it, in seconds of the monotonic clock."""


@dataclass(frozen=True)
class Holdings:
    """The copies that one server holds, and the grant that it follows."""

    instance_id: str
    granted: Granted | None = None
    """The last accepted grant: serve this revision, and drop all others."""
    held: tuple[HeldCopy, ...] = ()
    next_token: Token = Token(1)
    problem: str = ""
    """Why the last prepare failed."""

    @property
    def epoch(self) -> int:
        """The epoch of the last accepted grant; 0 before the first."""
        return self.granted.epoch if self.granted else 0

    @property
    def serving(self) -> HeldCopy | None:
        """The copy that answers the next request."""
        return next((copy for copy in self.held if copy.stage is CopyStage.SERVING), None)

    def get(self, token: Token) -> HeldCopy:
        """Return the copy with a token; it must not be gone."""
        return next(copy for copy in self.held if copy.token == token)


def prepare(state: Holdings, grant: Grant) -> tuple[Holdings, Token | None]:
    """Accept a grant, and return the token of the copy to fetch.

    The token is None where a copy is here or being fetched. Repeating a grant changes nothing,
    unless its fetch failed: then it is fetched again.

    Raises:
        GrantRefused: It is for another instance, of a lower epoch, or grants another revision under
            the epoch of the last one.
    """
    granted = _accept(state, grant)
    # A promotion may name a revision that is here already: its copy moves on under the new epoch.
    live = [copy for copy in state.held if _is_copy_of(copy, granted.revision)]
    others = (
        copy for copy in state.held if copy.stage is not CopyStage.SERVING and copy not in live
    )
    state = replace(state, granted=granted)
    for other in others:
        state = _change(state, other.token, _leave(None))
    for copy in live:
        if copy.stage is not CopyStage.SERVING:
            state = _change(state, copy.token, lambda it: replace(it, granted=granted))
    if live:
        return state, None
    token = state.next_token
    held = (*state.held, HeldCopy(token, granted))
    return replace(state, held=held, next_token=Token(token + 1), problem=""), token


def mark_fetched(state: Holdings, token: Token) -> Holdings:
    """Record that a copy's weights are in memory and verified."""
    return _step(state, token, CopyStage.FETCHING, CopyStage.LOADED)


def mark_warmed(state: Holdings, token: Token) -> Holdings:
    """Record that a copy drew its first picture."""
    return _step(state, token, CopyStage.LOADED, CopyStage.PREPARED)


def mark_failed(state: Holdings, token: Token, problem: str) -> Holdings:
    """Record that a copy cannot be prepared. The revision that serves stays."""
    if state.get(token).stage is CopyStage.LEAVING:
        return state  # A newer grant replaced it, so its failure matters no more.
    return replace(_change(state, token, _leave(None)), problem=problem)


def commit(state: Holdings, grant: Grant, *, now_s: float, drain_s: float) -> Holdings:
    """Serve the prepared revision from the next request on, and drop all others.

    Idempotent: a revision that already serves under this grant goes on.

    Raises:
        GrantRefused: The grant was not prepared, or its preparation has not ended.
    """
    granted = _accept(state, grant)
    if granted != state.granted:
        raise GrantRefused(
            f"The grant of epoch {grant.epoch} was not prepared here.",
            help="post it to /weights:prepare, and commit it when /state shows it as prepared",
        )
    ready = (CopyStage.PREPARED, CopyStage.SERVING)
    chosen = next(
        (x for x in state.held if _is_copy_of(x, granted.revision) and x.stage in ready), None
    )
    if chosen is None:
        why = f": {state.problem}" if state.problem else "."
        raise GrantRefused(
            f"The revision of epoch {grant.epoch} is not prepared{why}",
            help="wait until /state shows it as prepared; after a failure, prepare it again",
        )
    for copy in state.held:
        if copy is chosen:
            state = _change(
                state, copy.token, lambda it: replace(it, granted=granted, stage=CopyStage.SERVING)
            )
        elif copy.stage is not CopyStage.LEAVING:
            state = _change(state, copy.token, _leave(now_s + drain_s))
    return state


def acquire(state: Holdings) -> tuple[Holdings, HeldCopy]:
    """Pin the copy that serves now for one request, which it answers to the end.

    Raises:
        NoRevisionServed: No revision has been committed yet.
    """
    if state.serving is None:
        raise NoRevisionServed("This server serves no revision yet.", help="ask again in a moment")
    token = state.serving.token
    state = _change(state, token, lambda it: replace(it, pins=it.pins + 1))
    return state, state.get(token)


def release(state: Holdings, token: Token) -> Holdings:
    """Unpin a copy at the end of a request."""
    return _change(state, token, lambda it: replace(it, pins=it.pins - 1))


def is_overdue(state: Holdings, token: Token, *, now_s: float) -> bool:
    """Whether a copy was dropped, and the time for running requests is over."""
    deadline_s = state.get(token).deadline_s
    return deadline_s is not None and now_s >= deadline_s


def droppable(state: Holdings) -> tuple[Token, ...]:
    """The leaving copies that no request uses; `mark_gone` follows once their weights are gone."""
    return tuple(x.token for x in state.held if x.stage is CopyStage.LEAVING and x.pins == 0)


def mark_gone(state: Holdings, token: Token) -> Holdings:
    """Record that nothing of a copy is left, in memory or on disk."""
    if token not in droppable(state):
        raise ValueError(f"Copy {token} is still {state.get(token)}.")
    return replace(state, held=tuple(copy for copy in state.held if copy.token != token))


def report(state: Holdings) -> ServerState:
    """Report the state to the operator."""
    names: dict[RevisionRef, None] = {copy.granted.revision: None for copy in state.held}
    if state.granted:
        # Even where its fetch failed: repeating the grant would fetch it again.
        names[state.granted.revision] = None
    granted, serving = state.granted, state.serving
    prepared = None
    if granted and (serving is None or serving.granted != granted):
        ready = (CopyStage.PREPARED, CopyStage.SERVING)
        if any(x.stage in ready and _is_copy_of(x, granted.revision) for x in state.held):
            prepared = granted
    return ServerState(
        instance_id=state.instance_id,
        epoch=state.epoch,
        granted=granted,
        prepared=prepared,
        serving=serving.granted if serving else None,
        holds=tuple(names),
        ready=serving is not None,
        problem=state.problem,
    )


def _accept(state: Holdings, grant: Grant) -> Granted:
    if grant.instance_id != state.instance_id:
        raise GrantRefused(
            "The grant is for another instance of this server.",
            help="read /state, and send the grant to the instance whose ID it names (`boot`)",
        )
    if grant.epoch < state.epoch:
        raise GrantRefused(
            f"The grant of epoch {grant.epoch} is late: epoch {state.epoch} was accepted.",
            help="a newer promotion has been granted; nothing is to be done",
        )
    granted = Granted(epoch=grant.epoch, number=grant.number, revision=grant.revision)
    if grant.epoch == state.epoch and granted != state.granted:
        raise GrantRefused(
            f"Another revision was granted under epoch {grant.epoch}.",
            help="promote it again: each promotion takes a new epoch",
        )
    return granted


def _is_copy_of(held: HeldCopy, revision: RevisionRef) -> bool:
    return held.stage is not CopyStage.LEAVING and held.granted.revision == revision


def _step(state: Holdings, token: Token, before: CopyStage, after: CopyStage) -> Holdings:
    stage = state.get(token).stage
    if stage is CopyStage.LEAVING:
        return state
    if stage is not before:
        raise ValueError(f"Copy {token} is {stage}, so it cannot become {after}.")
    return _change(state, token, lambda it: replace(it, stage=after))


def _leave(deadline_s: float | None) -> Callable[[HeldCopy], HeldCopy]:
    return lambda it: replace(it, stage=CopyStage.LEAVING, deadline_s=deadline_s)


def _change(state: Holdings, token: Token, change: Callable[[HeldCopy], HeldCopy]) -> Holdings:
    held = tuple(change(copy) if copy.token == token else copy for copy in state.held)
    return replace(state, held=held)
