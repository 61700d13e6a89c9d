"""Weights in memory: prepared, replaced, pinned and dropped, with paused threads."""

import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.serving.server_fixtures import until
from tests.serving.test_grants import a_grant, a_revision
from torch.nn import Linear, Module

from stockpot.api.runspec import RevisionRef
from stockpot.api.serving import Grant
from stockpot.errors import Refused
from stockpot.serving.grants import GrantRefused, NoRevisionServed
from stockpot.serving.metrics import ServerMetrics
from stockpot.serving.models import Models
from stockpot.serving.requests import GenerationRequest, WeightsNotServed
from stockpot.serving.worker import QueueFull, RequestCutOff, Worker

Loads = Callable[[RevisionRef, Path], Module]


def load(revision: RevisionRef, folder: Path) -> Module:
    (folder / "weights").write_bytes(b"fetched")
    return Linear(1, 1)


def some_models(scratch: Path, *, loads: Loads = load, drain_s: float = 60) -> Models:
    return Models(
        "this",
        load=loads,
        warm_up=lambda _: None,
        scratch=scratch,
        drain_s=drain_s,
        metrics=ServerMetrics(),
    )


def held(models: Models) -> set[str]:
    return {hold.lineage[0].shard for hold in models.state().holds}


def serve(models: Models, grant: Grant) -> None:
    models.prepare(grant)
    until(lambda: models.state().prepared is not None)
    models.commit(grant)


def a_request(weights: str | None = None) -> GenerationRequest:
    return GenerationRequest("a cat", "", (1,), steps=1, guidance=1, weights_digest=weights)


def test_a_superseded_fetch_delays_no_other(tmp_path: Path) -> None:
    released = threading.Event()

    def slow(revision: RevisionRef, folder: Path) -> Module:
        if revision == a_revision("slow"):
            (folder / "weights").write_bytes(b"half of it")
            released.wait()
        return Linear(1, 1)

    models = some_models(tmp_path, loads=slow)
    models.prepare(a_grant("slow", 1))
    until(lambda: list(tmp_path.rglob("weights")) != [])

    serve(models, a_grant("quick", 2))

    assert held(models) == {"slow", "quick"}
    released.set()
    until(lambda: held(models) == {"quick"})
    assert list(tmp_path.rglob("*")) == []
    serving = models.serving()
    assert serving is not None
    assert serving.revision == a_revision("quick")


def test_a_copy_counts_as_held_while_anything_refers_to_one_of_its_tensors(tmp_path: Path) -> None:
    models = some_models(tmp_path)
    serve(models, a_grant("old", 1))
    with models.pin() as pin:
        leaked = pin.denoiser.weight

    serve(models, a_grant("new", 2))
    while_leaked = held(models)
    del leaked

    assert while_leaked == {"old", "new"}
    assert held(models) == {"new"}


def test_a_pinned_copy_is_held_until_it_is_let_go(tmp_path: Path) -> None:
    models = some_models(tmp_path, drain_s=60)
    serve(models, a_grant("old", 1))
    with models.pin() as pin:
        serve(models, a_grant("new", 2))
        assert not pin.is_overdue()
        assert held(models) == {"old", "new"}

    assert held(models) == {"new"}


def test_a_pin_is_overdue_once_the_drain_time_is_over(tmp_path: Path) -> None:
    models = some_models(tmp_path, drain_s=0)
    serve(models, a_grant("old", 1))
    with models.pin() as pin:
        before = pin.is_overdue()
        serve(models, a_grant("new", 2))

        assert (before, pin.is_overdue()) == (False, True)


@pytest.mark.parametrize("error", [Refused("it is edited"), OSError("it is edited")])
def test_a_failed_load_leaves_nothing_but_its_reason(tmp_path: Path, error: Exception) -> None:
    def fails(revision: RevisionRef, folder: Path) -> Module:
        (folder / "weights").write_bytes(b"half of it")
        raise error

    models = some_models(tmp_path, loads=fails)

    models.prepare(a_grant("one", 1))

    until(lambda: models.state().problem != "")
    assert "it is edited" in models.state().problem
    assert list(tmp_path.rglob("*")) == []
    with pytest.raises(GrantRefused, match="it is edited"):
        models.commit(a_grant("one", 1))


def test_a_request_waits_only_if_the_queue_has_room(tmp_path: Path) -> None:
    models = some_models(tmp_path)
    serve(models, a_grant("one", 1))
    begun, released = threading.Event(), threading.Event()

    def draw(
        unet: Module, request: GenerationRequest, seed: int, on_step: Callable[[], None]
    ) -> bytes:
        begun.set()
        released.wait()
        return b"png"

    worker = Worker(models, draw, capacity=1)
    running = worker.submit(a_request())
    begun.wait()
    waiting = worker.submit(a_request())

    with pytest.raises(QueueFull):
        worker.submit(a_request())

    assert worker.waiting == 1
    released.set()
    assert [future.result().pngs for future in (running, waiting)] == [(b"png",), (b"png",)]
    worker.close(60)


def test_a_waiting_request_takes_the_revision_that_serves_at_its_turn(tmp_path: Path) -> None:
    models = some_models(tmp_path)
    serve(models, a_grant("old", 1))
    begun, released = threading.Event(), threading.Event()

    def draw(
        unet: Module, request: GenerationRequest, seed: int, on_step: Callable[[], None]
    ) -> bytes:
        begun.set()
        released.wait()
        return b"png"

    worker = Worker(models, draw, capacity=9)
    running = worker.submit(a_request())
    begun.wait()
    waiting = worker.submit(a_request())
    pinned = worker.submit(a_request(a_revision("old").weights_digest))

    serve(models, a_grant("new", 2))
    released.set()

    assert running.result().granted.revision == a_revision("old")
    assert waiting.result().granted.revision == a_revision("new")
    with pytest.raises(WeightsNotServed):
        pinned.result()
    worker.close(60)


def test_before_the_first_commit_nothing_is_queued(tmp_path: Path) -> None:
    worker = Worker(some_models(tmp_path), lambda *_: b"", capacity=1)

    with pytest.raises(NoRevisionServed):
        worker.submit(a_request())

    worker.close(0)


def test_a_closed_worker_cuts_off_what_does_not_end_in_time(tmp_path: Path) -> None:
    models = some_models(tmp_path)
    serve(models, a_grant("one", 1))
    begun = threading.Event()

    def endless(
        unet: Module, request: GenerationRequest, seed: int, on_step: Callable[[], None]
    ) -> bytes:
        begun.set()
        while True:
            on_step()

    worker = Worker(models, endless, capacity=9)
    running, waiting = worker.submit(a_request()), worker.submit(a_request())
    begun.wait()

    worker.close(0)

    for future in (running, waiting):
        with pytest.raises(RequestCutOff):
            future.result()
    with pytest.raises(RequestCutOff):
        worker.submit(a_request())


def test_an_internal_error_is_reported_without_details(tmp_path: Path) -> None:
    models = some_models(tmp_path)
    serve(models, a_grant("one", 1))

    def broken(*_: object) -> bytes:
        raise ValueError("/secret/path")

    worker = Worker(models, broken, capacity=9)
    future = worker.submit(a_request())

    with pytest.raises(RuntimeError) as failed:
        future.result()

    assert "secret" not in str(failed.value)
    assert worker.submit(a_request()).exception() is not None  # The worker goes on.
    worker.close(60)
