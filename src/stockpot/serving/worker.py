"""The worker thread that draws pictures, and its bounded queue. No HTTP here.

One thread per device: two at once would each take twice as long and use twice the memory. A request
pins the serving revision when its turn comes, and that revision answers all of it; so a swap is
just a commit between two requests. A withdrawn request leaves the queue at once, or ends after its
current denoising step.
"""

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from enum import StrEnum
from functools import partial

import structlog
from torch.nn import Module

from stockpot.api.serving import Granted
from stockpot.errors import StockpotError, Transient
from stockpot.serving.grants import NoRevisionServed
from stockpot.serving.models import Models, Pin
from stockpot.serving.requests import GenerationRequest

log = structlog.get_logger()

Draw = Callable[[Module, GenerationRequest, int, Callable[[], None]], bytes]
"""Draws one picture of a request with a seed, as PNG; calls the last argument after each step."""


class QueueFull(Transient):
    """The queue is full."""


class RequestCutOff(Transient):
    """The request was cut off, because its revision was dropped or the server shuts down."""


class RequestWithdrawn(StockpotError):
    """The client disconnected before its pictures were drawn."""


class RequestStage(StrEnum):
    """How far a withdrawn request had come."""

    QUEUED = "queued"
    DRAWING = "drawing"


@dataclass(frozen=True)
class GeneratedImages:
    """The pictures of one request, all drawn by one revision."""

    granted: Granted
    pngs: tuple[bytes, ...]


class Worker:
    """Answers requests, one after the other."""

    def __init__(self, models: Models, draw: Draw, *, capacity: int) -> None:
        self._models = models
        self._draw = draw
        self._capacity = capacity
        self._waiting: deque[tuple[GenerationRequest, Future[GeneratedImages]]] = deque()
        self._changed = threading.Condition()
        self._current: Future[GeneratedImages] | None = None
        """The answer that is being drawn."""
        self._withdrawn: Future[GeneratedImages] | None = None
        self._drawing = False
        self._closing = False
        self._abort = threading.Event()
        self._thread = threading.Thread(target=self._work, name="worker", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """How many requests wait for their turn."""
        return len(self._waiting)

    @property
    def is_drawing(self) -> bool:
        """Whether a request is being answered now, by the revision that it pinned."""
        return self._drawing

    def submit(self, request: GenerationRequest) -> Future[GeneratedImages]:
        """Queue a request.

        Raises:
            NoRevisionServed: No revision has been committed yet.
            WeightsNotServed: The request pins weights that do not serve now.
            QueueFull: The queue is full.
            RequestCutOff: The server shuts down.
        """
        serving = self._models.serving()
        if serving is None:
            raise NoRevisionServed(
                "This server serves no revision yet.", help="ask again in a moment"
            )
        request.require(serving.revision)
        with self._changed:
            if self._closing:
                raise _shutting_down()
            if len(self._waiting) >= self._capacity:
                raise QueueFull(f"{self._capacity} requests wait already.", help="ask again later")
            future: Future[GeneratedImages] = Future()
            self._waiting.append((request, future))
            self._changed.notify_all()
        return future

    def withdraw(self, future: Future[GeneratedImages]) -> RequestStage | None:
        """Drop a request from the queue, or end it after its current denoising step.

        Args:
            future: What `submit` returned for it.

        Returns:
            How far the request had come; None if it was answered already.
        """
        with self._changed:
            if future is self._current:
                self._withdrawn = future
                return RequestStage.DRAWING
            waiting = [entry for entry in self._waiting if entry[1] is not future]
            if len(waiting) == len(self._waiting):
                return None
            self._waiting = deque(waiting)
        future.cancel()
        return RequestStage.QUEUED

    def close(self, timeout_s: float) -> None:
        """Finish queued requests, for `timeout_s` at most; then cut off the rest."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join(timeout_s)
        self._abort.set()
        self._thread.join()

    def _work(self) -> None:
        while (taken := self._take()) is not None:
            request, future = taken
            answer = self._answer(request, future)
            with self._changed:
                self._current = self._withdrawn = None
                self._drawing = False
            # From here on nothing may refer to the revision, not even a traceback.
            if isinstance(answer, GeneratedImages):
                future.set_result(answer)
            else:
                future.set_exception(answer)

    def _take(self) -> tuple[GenerationRequest, Future[GeneratedImages]] | None:
        with self._changed:
            while True:
                self._changed.wait_for(lambda: self._waiting or self._closing)
                if not self._waiting:
                    return None
                request, future = self._waiting.popleft()
                if future.set_running_or_notify_cancel():
                    self._current = future
                    return request, future

    def _answer(
        self, request: GenerationRequest, future: Future[GeneratedImages]
    ) -> GeneratedImages | Exception:
        try:
            with self._models.pin() as pin:
                self._drawing = True
                request.require(pin.granted.revision)
                pngs = []
                for seed in request.seeds:
                    self._raise_if_cancelled(pin, future)
                    on_step = partial(self._raise_if_cancelled, pin, future)
                    pngs.append(self._draw(pin.denoiser, request, seed, on_step))
                return GeneratedImages(pin.granted, tuple(pngs))
        except StockpotError as error:
            return error.with_traceback(None)
        except Exception:
            log.exception("Could not draw a picture")
            return RuntimeError("a picture could not be drawn")

    def _raise_if_cancelled(self, pin: Pin, future: Future[GeneratedImages]) -> None:
        if self._withdrawn is future:
            raise RequestWithdrawn("The client left before its pictures were drawn.")
        if self._abort.is_set():
            raise _shutting_down()
        if pin.is_overdue():
            raise RequestCutOff(
                "The model was replaced while it drew this picture.", help="ask again"
            )


def _shutting_down() -> RequestCutOff:
    return RequestCutOff("This server is shutting down.", help="send the request again")
