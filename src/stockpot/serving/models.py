"""The weights in memory: prepared beside the ones that serve, pinned by requests, really dropped.

`grants` decides; this does it. Each grant is prepared in a thread of its own, so that a slow fetch
of a revision that nobody wants any more never holds up the next one. A copy counts as held until
the last reference to any of its tensors has gone, and nothing of it is on the disk.
"""

import gc
import shutil
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import structlog
from torch.nn import Module

from stockpot.api.runspec import RevisionRef
from stockpot.api.serving import Grant, Granted, ServerState
from stockpot.errors import StockpotError
from stockpot.serving import grants
from stockpot.serving.grants import Holdings, Token
from stockpot.serving.metrics import ServerMetrics

log = structlog.get_logger()

Load = Callable[[RevisionRef, Path], Module]
"""Fetches a revision into an empty folder, verifies it, and loads it into memory of its own."""
WarmUp = Callable[[Module], None]
"""Draws one picture, so that the first request is as quick as the next."""


@dataclass
class Pin:
    """One request's hold on one revision."""

    granted: Granted
    unet: Module
    is_overdue: Callable[[], bool]
    """Whether the revision was dropped, and the time for running requests is over."""


class Models:
    """All copies of revisions in this process. Safe to use from any thread."""

    def __init__(
        self,
        instance_id: str,
        *,
        load: Load,
        warm_up: WarmUp,
        scratch: Path,
        drain_s: float,
        meters: ServerMetrics,
    ) -> None:
        self._load = load
        self._warm_up = warm_up
        self._scratch = scratch
        self._drain_s = drain_s
        self._meters = meters
        self._lock = threading.Lock()
        self._state = Holdings(instance_id)
        self._serving_since_s = 0
        self._copies: dict[Token, Module] = {}
        self._busy: set[Token] = set()
        """Copies that a preparing thread still works on, or could not clear away."""
        self._ghosts: dict[Token, tuple[weakref.ref[object], ...]] = {}
        """Dropped copies, until the last of their tensors has gone."""

    def prepare(self, grant: Grant) -> None:
        """Accept a grant, and begin to fetch its revision where it is not here.

        Raises:
            GrantRefused: See `grants.prepare`.
        """
        with self._lock:
            self._state, token = grants.prepare(self._state, grant)
            if token is not None:
                self._busy.add(token)
        if token is not None:
            arguments = (token, grant.revision)
            threading.Thread(target=self._prepare, args=arguments, daemon=True).start()
        self._sweep()

    def commit(self, grant: Grant) -> None:
        """Serve the granted revision from the next request on, and drop all else.

        Raises:
            GrantRefused: See `grants.commit`.
        """
        began_s = time.monotonic()
        with self._lock:
            before = self._state
            self._state = grants.commit(
                before, grant, now_s=time.monotonic(), drain_s=self._drain_s
            )
            if self.serving() != (before.serving and before.serving.granted):
                self._serving_since_s = int(time.time())
        if self._state != before:
            self._meters.commit_s.observe(time.monotonic() - began_s)
            log.info(
                "Serving a revision",
                epoch=grant.epoch,
                number=grant.number,
                recipe=grant.revision.recipe_digest,
                weights=grant.revision.weights_digest,
            )
        self._sweep()

    def state(self) -> ServerState:
        """Everything that is held now."""
        self._sweep()
        return grants.report(self._state)

    def serving(self) -> Granted | None:
        """What the next request would be answered with."""
        serving = self._state.serving
        return serving.granted if serving else None

    @property
    def serving_since_s(self) -> int:
        """When what is served was committed here, in Unix time; 0 before the first commit."""
        return self._serving_since_s

    @contextmanager
    def pin(self) -> Iterator[Pin]:
        """Hold what serves now, for one request.

        Raises:
            NoRevisionServed: No revision was committed yet.
        """
        with self._lock:
            self._state, held = grants.acquire(self._state)
            token = held.token
            pin = Pin(held.granted, self._copies[token], lambda: self._is_overdue(token))
        try:
            yield pin
        finally:
            # The caller's variable outlives the hold; the weights must not live in it.
            del pin.unet
            with self._lock:
                self._state = grants.release(self._state, token)
            self._sweep()

    def _is_overdue(self, token: Token) -> bool:
        return grants.is_overdue(self._state, token, now_s=time.monotonic())

    def _prepare(self, token: Token, revision: RevisionRef) -> None:
        began_s = time.monotonic()
        problem = self._fetch_and_warm(token, revision)
        with self._lock:
            if problem:
                self._copies.pop(token, None)
                self._state = grants.failed(self._state, token, problem)
                self._meters.prepare_failures.inc()
                log.warning("Could not prepare a revision", problem=problem)
            else:
                self._state = grants.warmed(self._state, token)
                self._meters.prepare_s.observe(time.monotonic() - began_s)
            if not self._folder(token).exists():
                self._busy.discard(token)
        self._sweep()

    def _fetch_and_warm(self, token: Token, revision: RevisionRef) -> str:
        """Do the slow part, and say what was wrong."""
        folder = self._folder(token)
        try:
            folder.mkdir(parents=True)
            try:
                unet = self._load(revision, folder)
            finally:
                shutil.rmtree(folder)
            with self._lock:
                self._copies[token] = unet
                self._state = grants.fetched(self._state, token)
            self._warm_up(unet)
        except StockpotError as error:
            return str(error)
        except Exception as error:
            log.exception("Preparing a revision failed")
            return f"{type(error).__name__}: {error}"
        return ""

    def _folder(self, token: Token) -> Path:
        return self._scratch / str(token)

    def _sweep(self) -> None:
        """Let go of what nothing uses, and say that it is gone once it really is."""
        with self._lock:
            for token in grants.to_drop(self._state):
                if token in self._busy or token in self._ghosts:
                    continue
                copy = self._copies.pop(token, None)
                whole = () if copy is None else (copy, *copy.parameters(), *copy.buffers())
                self._ghosts[token] = tuple(weakref.ref(tensor) for tensor in whole)
                del copy, whole
            ghosts = dict(self._ghosts)
        if any(_is_alive(ghost) for ghost in ghosts.values()):
            gc.collect()  # Outside of the lock: it may take as long as a picture.
        with self._lock:
            for token, ghost in ghosts.items():
                if token in self._ghosts and not _is_alive(ghost):
                    del self._ghosts[token]
                    self._state = grants.gone(self._state, token)


def _is_alive(ghost: tuple[weakref.ref[object], ...]) -> bool:
    return any(reference() is not None for reference in ghost)
