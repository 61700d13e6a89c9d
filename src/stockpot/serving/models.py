"""Keeps revisions in memory: prepares the next beside the one that serves, and drops old ones.

`grants` decides; this module does the work. Each grant is prepared in a thread of its own, so that
a slow fetch of a superseded revision never delays the next one. A copy counts as held until the
last reference to any of its tensors is gone, and nothing of it is left on disk.
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
"""Fetches a revision into an empty folder, verifies it, and loads it into separate memory."""
WarmUp = Callable[[Module], None]
"""Draws one picture, so that the first request is as fast as later ones."""


@dataclass
class Pin:
    """The copy of a revision that one request uses."""

    granted: Granted
    denoiser: Module
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
        metrics: ServerMetrics,
    ) -> None:
        self._load = load
        self._warm_up = warm_up
        self._scratch = scratch
        self._drain_s = drain_s
        self._metrics = metrics
        self._lock = threading.Lock()
        self._state = Holdings(instance_id)
        self._serving_since_s = 0
        self._copies: dict[Token, Module] = {}
        self._busy: set[Token] = set()
        """Copies that a preparing thread still works on, or whose folder it could not remove."""
        self._dropped: dict[Token, tuple[weakref.ref[object], ...]] = {}
        """Weak references to dropped copies, until the last of their tensors is gone."""

    def prepare(self, grant: Grant) -> None:
        """Accept a grant, and begin to fetch its revision unless a copy is here.

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
        """Serve the granted revision from the next request on, and drop all others.

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
            self._metrics.commit_s.observe(time.monotonic() - began_s)
            log.info(
                "Serving a revision",
                epoch=grant.epoch,
                number=grant.number,
                recipe=grant.revision.recipe_digest,
                weights=grant.revision.weights_digest,
            )
        self._sweep()

    def state(self) -> ServerState:
        """Report everything that is held now."""
        self._sweep()
        return grants.report(self._state)

    def serving(self) -> Granted | None:
        """The grant of the revision that would answer the next request."""
        serving = self._state.serving
        return serving.granted if serving else None

    @property
    def serving_since_s(self) -> int:
        """When the served revision was committed, in Unix time; 0 before the first commit."""
        return self._serving_since_s

    @contextmanager
    def pin(self) -> Iterator[Pin]:
        """Hold the copy that serves now, for one request.

        Raises:
            NoRevisionServed: No revision has been committed yet.
        """
        with self._lock:
            self._state, held = grants.acquire(self._state)
            token = held.token
            pin = Pin(held.granted, self._copies[token], lambda: self._is_overdue(token))
        try:
            yield pin
        finally:
            # The caller's variable outlives the pin; it must not keep the weights alive.
            del pin.denoiser
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
                self._state = grants.mark_failed(self._state, token, problem)
                self._metrics.prepare_failures.inc()
                log.warning("Could not prepare a revision", problem=problem)
            else:
                self._state = grants.mark_warmed(self._state, token)
                self._metrics.prepare_s.observe(time.monotonic() - began_s)
            if not self._folder(token).exists():
                self._busy.discard(token)
        self._sweep()

    def _fetch_and_warm(self, token: Token, revision: RevisionRef) -> str:
        """Fetch, load and warm up a copy; return why it failed, or an empty string."""
        folder = self._folder(token)
        try:
            folder.mkdir(parents=True)
            try:
                denoiser = self._load(revision, folder)
            finally:
                shutil.rmtree(folder)
            with self._lock:
                self._copies[token] = denoiser
                self._state = grants.mark_fetched(self._state, token)
            self._warm_up(denoiser)
        except StockpotError as error:
            return str(error)
        except Exception as error:
            log.exception("Preparing a revision failed")
            return f"{type(error).__name__}: {error}"
        return ""

    def _folder(self, token: Token) -> Path:
        return self._scratch / str(token)

    def _sweep(self) -> None:
        """Release the copies that no request uses, and mark each as gone once its tensors are."""
        with self._lock:
            for token in grants.droppable(self._state):
                if token in self._busy or token in self._dropped:
                    continue
                copy = self._copies.pop(token, None)
                whole = () if copy is None else (copy, *copy.parameters(), *copy.buffers())
                self._dropped[token] = tuple(weakref.ref(tensor) for tensor in whole)
                del copy, whole
            dropped = dict(self._dropped)
        if any(_is_alive(references) for references in dropped.values()):
            gc.collect()  # Outside of the lock: it may take as long as drawing a picture.
        with self._lock:
            for token, references in dropped.items():
                if token in self._dropped and not _is_alive(references):
                    del self._dropped[token]
                    self._state = grants.mark_gone(self._state, token)


def _is_alive(references: tuple[weakref.ref[object], ...]) -> bool:
    return any(reference() is not None for reference in references)
