"""After a client disconnects, its request uses no step and no place in the queue."""

import base64
import json
import socket
import struct
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import urllib3
from tests.serving.server_fixtures import Answer, RevisionStore, Server, a_server, until

from stockpot.api.runspec import RevisionRef
from stockpot.serving import http_server, run
from stockpot.serving.renderer import Renderer
from stockpot.serving.requests import GenerationRequest

LEAVER, STAYER = "a red circle", "a blue bar"
LONG = {"n": 8, "num_inference_steps": 100}


class Steps:
    """Counts denoising steps by prompt, and pauses the leaver's picture after its third step."""

    HELD_AT = 3

    def __init__(self) -> None:
        self.made = Counter[str]()
        self.holding, self.released = threading.Event(), threading.Event()

    def patch(self, monkeypatch: pytest.MonkeyPatch) -> None:
        draw = Renderer.draw

        def counting(
            renderer: Renderer,
            unet: Any,
            request: GenerationRequest,
            seed: int,
            on_step: Callable[[], None],
        ) -> bytes:
            def after_step() -> None:
                self.made[request.prompt] += 1
                if request.prompt == LEAVER and self.made[LEAVER] == self.HELD_AT:
                    self.holding.set()
                    self.released.wait()
                on_step()

            return draw(renderer, unet, request, seed, after_step)

        monkeypatch.setattr(Renderer, "draw", counting)


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> Iterator[Steps]:
    steps = Steps()
    steps.patch(monkeypatch)
    yield steps
    steps.released.set()


@pytest.fixture
def drawing(
    revisions: RevisionStore, old: RevisionRef, steps: Steps, tmp_path: Path
) -> Iterator[Server]:
    """A server whose steps are counted, and whose drain time is longer than any test."""
    with a_server(revisions, tmp_path / "work", drain_s=240) as server:
        server.serve(old, epoch=1)
        yield server
        steps.released.set()


def connect(server: Server) -> socket.socket:
    address = urlsplit(server.url)
    return socket.create_connection((address.hostname, address.port), timeout=60)


def request_bytes(prompt: str, **body: object) -> bytes:
    sent = json.dumps({"prompt": prompt, **body}).encode()
    head = (
        "POST /v1/images/generations HTTP/1.1",
        "Host: pictures",
        "Content-Type: application/json",
        f"Content-Length: {len(sent)}",
    )
    return "\r\n".join((*head, "", "")).encode() + sent


def series(server: Server, name: str) -> float:
    lines = server.admin("/metrics").body.decode().splitlines()
    return next(float(line.rpartition(" ")[2]) for line in lines if line.startswith(f"{name} "))


def disconnects(server: Server, stage: str) -> float:
    return series(server, f'stockpot_serving_client_disconnects_total{{stage="{stage}"}}')


def pictures(answer: Answer) -> list[bytes]:
    return [base64.b64decode(item["b64_json"]) for item in answer.json()["data"]]


def close(client: socket.socket) -> None:
    client.close()


def abort(client: socket.socket) -> None:
    """Close with a reset, as the kernel does for a killed process with unread data."""
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()


def close_one_half(client: socket.socket) -> None:
    client.shutdown(socket.SHUT_WR)


def pipeline_and_close(client: socket.socket) -> None:
    """Send the next request before the answer, which stops the server's reading, and leave."""
    client.sendall(request_bytes(STAYER, num_inference_steps=1))
    client.close()


@pytest.mark.parametrize("leave", [close, abort, close_one_half, pipeline_and_close])
def test_eight_pictures_of_a_hundred_steps_end_with_the_step_in_which_the_client_leaves(
    drawing: Server, steps: Steps, leave: Callable[[socket.socket], None]
) -> None:
    client = connect(drawing)
    client.sendall(request_bytes(LEAVER, **LONG))
    steps.holding.wait()

    leave(client)
    until(lambda: disconnects(drawing, "drawing") == 1)
    steps.released.set()
    until(lambda: series(drawing, "stockpot_serving_busy") == 0)

    assert steps.made[LEAVER] == Steps.HELD_AT
    assert series(drawing, 'stockpot_serving_requests_total{code="499"}') == 1
    assert series(drawing, "stockpot_serving_images_total") == 0
    assert drawing.draw(STAYER, num_inference_steps=1).status == 200
    client.close()


def test_a_client_that_loses_patience_has_left(drawing: Server, steps: Steps) -> None:
    impatient = urllib3.Timeout(read=0.2)
    with pytest.raises(urllib3.exceptions.ReadTimeoutError):
        drawing.http.request(
            "POST",
            f"{drawing.url}/v1/images/generations",
            json={"prompt": LEAVER, **LONG},
            timeout=impatient,
        )

    until(lambda: disconnects(drawing, "drawing") == 1)
    steps.released.set()
    until(lambda: series(drawing, "stockpot_serving_busy") == 0)

    assert steps.made[LEAVER] <= Steps.HELD_AT


def test_a_kept_connection_that_closes_during_its_second_request_is_noticed(
    drawing: Server, steps: Steps
) -> None:
    client = connect(drawing)
    client.sendall(request_bytes(STAYER, num_inference_steps=1))
    assert client.recv(12) == b"HTTP/1.1 200"
    until(lambda: series(drawing, "stockpot_serving_images_total") == 1)
    client.sendall(request_bytes(LEAVER, **LONG))
    steps.holding.wait()

    client.close()

    until(lambda: disconnects(drawing, "drawing") == 1)


def test_a_vanished_client_is_detected_by_tcp_keepalive(
    revisions: RevisionStore,
    old: RevisionRef,
    steps: Steps,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    require_filters()
    for name in ("PROBE_IDLE_S", "PROBE_EVERY_S", "PROBES"):
        monkeypatch.setattr(http_server, name, 1)
    with a_server(revisions, tmp_path, drain_s=240) as server, connect(server) as client:
        server.serve(old, epoch=1)
        client.sendall(request_bytes(LEAVER, **LONG))
        steps.holding.wait()

        hear_nothing_more(client)

        until(lambda: disconnects(server, "drawing") == 1)
        steps.released.set()


def require_filters() -> None:
    """Skip the test where only root may filter what a socket receives."""
    with socket.socket() as unused:
        try:
            hear_nothing_more(unused)
        except PermissionError:
            pytest.skip("this kernel lets only root drop what arrives for a socket")


def hear_nothing_more(client: socket.socket) -> None:
    """Make the kernel drop everything that arrives for a socket, as if its machine lost power."""
    import ctypes

    program = ctypes.create_string_buffer(struct.pack("=HBBI", 0x06, 0, 0, 0))
    drop_all = struct.pack("HP", 1, ctypes.addressof(program))
    client.setsockopt(socket.SOL_SOCKET, 26, drop_all)


def test_a_client_that_leaves_the_queue_is_never_drawn(drawing: Server, steps: Steps) -> None:
    with connect(drawing) as first, connect(drawing) as second:
        first.sendall(request_bytes(LEAVER, num_inference_steps=Steps.HELD_AT))
        steps.holding.wait()
        second.sendall(request_bytes("a big bar", **LONG))
        until(lambda: series(drawing, "stockpot_serving_queue_depth") == 1)

        second.close()

        until(lambda: series(drawing, "stockpot_serving_queue_depth") == 0)
        assert disconnects(drawing, "queued") == 1
        steps.released.set()
        assert first.recv(12) == b"HTTP/1.1 200"
    assert steps.made["a big bar"] == 0


def test_a_client_that_leaves_the_queue_makes_room_in_it(
    revisions: RevisionStore,
    old: RevisionRef,
    steps: Steps,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(run, "QUEUE_CAPACITY", 1)
    with a_server(revisions, tmp_path, drain_s=240) as server:
        server.serve(old, epoch=1)
        with connect(server) as drawn, connect(server) as queued:
            drawn.sendall(request_bytes(LEAVER, num_inference_steps=Steps.HELD_AT))
            steps.holding.wait()
            queued.sendall(request_bytes("a big bar", **LONG))
            until(lambda: series(server, "stockpot_serving_queue_depth") == 1)
            too_many = server.draw(STAYER)

            queued.close()
            until(lambda: series(server, "stockpot_serving_queue_depth") == 0)
            steps.released.set()

            assert too_many.status == 429
            assert server.draw(STAYER, num_inference_steps=1).status == 200


def test_pictures_of_other_clients_are_the_same_bytes(drawing: Server, steps: Steps) -> None:
    expected = pictures(drawing.draw(STAYER, seed=7, n=2, num_inference_steps=3))
    answers: list[Answer] = []
    with connect(drawing) as leaver:
        leaver.sendall(request_bytes(LEAVER, **LONG))
        steps.holding.wait()
        stayer = threading.Thread(
            target=lambda: answers.append(drawing.draw(STAYER, seed=7, n=2, num_inference_steps=3))
        )
        stayer.start()
        until(lambda: series(drawing, "stockpot_serving_queue_depth") == 1)
    until(lambda: disconnects(drawing, "drawing") == 1)
    steps.released.set()
    stayer.join()

    assert answers[0].status == 200
    assert pictures(answers[0]) == expected


def test_weights_are_released_when_their_last_client_leaves(
    drawing: Server, steps: Steps, new: RevisionRef
) -> None:
    grant = drawing.prepared(new, epoch=2)
    with connect(drawing) as leaver:
        leaver.sendall(request_bytes(LEAVER, **LONG))
        steps.holding.wait()
        drawing.commit(grant)
        assert drawing.held() == {"old", "new"}

    until(lambda: disconnects(drawing, "drawing") == 1)
    steps.released.set()

    until(lambda: drawing.held() == {"new"}, timeout_s=60)


def test_a_client_that_leaves_while_it_sends_is_counted(drawing: Server) -> None:
    with connect(drawing) as client:
        client.sendall(request_bytes(STAYER)[:-5])

    until(lambda: disconnects(drawing, "uploading") == 1)
    assert series(drawing, 'stockpot_serving_requests_total{code="499"}') == 1
