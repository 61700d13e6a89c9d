"""A server's graceful shutdown: not ready, then its port closes, then it ends; no request fails."""

import json
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import urllib3
from fastapi import FastAPI
from tests.local.tiny_soup import environment
from tests.serving.server_fixtures import (
    Answer,
    RevisionStore,
    Server,
    a_serve_run,
    a_server,
    until,
)

from stockpot.api.runspec import RevisionRef
from stockpot.serving.http_server import HttpServer, listen, run_server

QUICK = {"prompt": "a red circle", "num_inference_steps": 1, "seed": 7}
LEAVE_S = 3


@contextmanager
def server_process(
    revisions: RevisionStore, folder: Path, **fields: object
) -> Iterator[tuple[subprocess.Popen[bytes], Server]]:
    spec, work = folder / "spec.json", folder / "work"
    spec.write_text(a_serve_run(revisions, drain_s=120, **fields).model_dump_json())
    command = [sys.executable, "-m", "stockpot.workload", spec, "--work", work]
    with subprocess.Popen(command, env=environment()) as process:
        try:
            until(lambda: (work / "endpoint.json").exists() or process.poll() is not None)
            endpoint = json.loads((work / "endpoint.json").read_text())
            url, admin_url, instance_id = (endpoint[name] for name in ("url", "adminUrl", "boot"))
            yield process, Server(url, admin_url, instance_id, work, threading.Event())
        finally:
            process.kill()


@dataclass
class Client:
    """Sends one request after the other until its connection is refused."""

    url: str
    keeps_alive: bool
    statuses: list[int] = field(default_factory=list)
    closes: list[bool] = field(default_factory=list)
    problem: Exception | None = None

    def run(self) -> None:
        http = urllib3.PoolManager(retries=False, maxsize=1)
        headers = {} if self.keeps_alive else {"Connection": "close"}
        try:
            while True:
                answer = http.request(
                    "POST",
                    f"{self.url}/v1/images/generations",
                    json=QUICK,
                    headers=headers,
                    timeout=60,
                )
                self.closes.append(answer.headers.get("Connection") == "close")
                self.statuses.append(answer.status)
        except urllib3.exceptions.HTTPError as error:
            self.problem = error


def test_a_live_client_sees_no_failure_until_it_is_refused(
    revisions: RevisionStore, old: RevisionRef, tmp_path: Path
) -> None:
    with server_process(revisions, tmp_path, leave_s=LEAVE_S) as (process, server):
        server.serve(old, epoch=1)
        clients = [Client(server.url, keeps_alive=index % 2 == 0) for index in range(6)]
        threads = [threading.Thread(target=client.run) for client in clients]
        for thread in threads:
            thread.start()
        until(lambda: all(len(client.statuses) > 3 for client in clients))

        process.send_signal(signal.SIGTERM)
        until(lambda: server.admin("/readyz").status == 503)
        before = [len(client.statuses) for client in clients]
        not_ready = server.get("/v2/health/ready")
        until(lambda: all(len(c.statuses) > n for c, n in zip(clients, before, strict=True)))
        code = process.wait(60)
        for thread in threads:
            thread.join()

    assert code == 0
    assert not_ready.status == 503
    assert not_ready.headers["connection"] == "close"
    for client in clients:
        assert Counter(client.statuses) == {200: len(client.statuses)}
        assert isinstance(client.problem, urllib3.exceptions.NewConnectionError), client.problem
        assert "refused" in str(client.problem)
        assert client.closes[-1], "the last answer says that the connection ends"


def test_it_accepts_requests_until_leave_s_has_passed(
    revisions: RevisionStore, old: RevisionRef, tmp_path: Path
) -> None:
    with a_server(revisions, tmp_path, leave_s=2) as server:
        server.serve(old, epoch=1)
        server.stop.set()
        until(lambda: server.admin("/readyz").status == 503)
        told_s = time.monotonic()

        answer = server.draw(num_inference_steps=1)
        until(lambda: not accepts_connections(server))
        closed_s = time.monotonic()

    assert answer.status == 200
    assert closed_s - told_s > 1.5


def accepts_connections(server: Server) -> bool:
    """Whether a new connection is accepted; at the very end its first packet gets no answer."""
    address = urlsplit(server.url)
    try:
        socket.create_connection((address.hostname, address.port), timeout=0.2).close()
    except (TimeoutError, ConnectionRefusedError):
        return False
    return True


def test_an_idle_connection_may_send_a_last_request_after_the_port_closed(
    revisions: RevisionStore, old: RevisionRef, tmp_path: Path
) -> None:
    with a_server(revisions, tmp_path, leave_s=1) as server:
        server.serve(old, epoch=1)
        kept = urllib3.connection_from_url(server.url, maxsize=1, retries=False)
        assert kept.request("POST", "/v1/images/generations", json=QUICK).status == 200
        server.stop.set()
        until(lambda: not accepts_connections(server))

        late = kept.request("POST", "/v1/images/generations", json=QUICK)

        assert kept.num_connections == 1
    assert late.status == 200
    assert late.headers["Connection"] == "close"


def test_a_server_that_shuts_down_still_drops_a_revision(
    revisions: RevisionStore, old: RevisionRef, new: RevisionRef, tmp_path: Path
) -> None:
    with a_server(revisions, tmp_path, leave_s=5, drain_s=240) as server:
        server.serve(old, epoch=1)
        server.stop.set()
        until(lambda: server.admin("/readyz").status == 503)

        server.serve(new, epoch=2)

        until(lambda: server.held() == {"new"})
        answer = server.draw(num_inference_steps=1)
        assert answer.headers["x-stockpot-weights-digest"] == new.weights_digest


def test_a_server_that_was_never_ready_ends_at_once(
    revisions: RevisionStore, tmp_path: Path
) -> None:
    with a_server(revisions, tmp_path, leave_s=3600) as server:
        assert server.draw().status == 503

    assert server.results[0].images == 0


@pytest.mark.parametrize(("finish_s", "status"), [(240, 200), (0, 503)])
def test_accepted_requests_are_finished_within_finish_s(
    revisions: RevisionStore, old: RevisionRef, tmp_path: Path, finish_s: int, status: int
) -> None:
    answers: list[Answer] = []
    with a_server(revisions, tmp_path, drain_s=120, finish_s=finish_s) as server:
        server.serve(old, epoch=1)
        client = threading.Thread(
            target=lambda: answers.append(server.draw(n=2, num_inference_steps=30))
        )
        client.start()
        until(lambda: b"stockpot_serving_busy 1.0" in server.admin("/metrics").body)
    client.join()

    assert answers[0].status == status
    assert answers[0].headers["connection"] == "close"


def test_connections_that_the_program_had_not_accepted_are_answered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    app, at_the_end, connected = FastAPI(), threading.Event(), threading.Event()

    @app.get("/")
    async def root() -> str:
        return "done"

    on_tick = HttpServer.on_tick

    async def busy_at_the_end(server: HttpServer, counter: int) -> bool:
        must_end = await on_tick(server, counter)
        if must_end:
            # Blocks the loop on purpose: nothing is accepted between this and the end.
            at_the_end.set()
            connected.wait()
        return must_end

    monkeypatch.setattr(HttpServer, "on_tick", busy_at_the_end)
    with listen("127.0.0.1", 0) as listening:
        with run_server(app, listening, finish_s=60) as server:
            port = listening.getsockname()[1]
            server.should_exit = True
            at_the_end.wait()
            clients = [send(port, "/") for _ in range(20)]
            connected.set()
            answers = [client.recv(15) for client in clients]
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port))
    for client in clients:
        client.close()

    assert answers == [b"HTTP/1.1 200 OK"] * 20


def send(port: int, path: str) -> socket.socket:
    client = socket.create_connection(("127.0.0.1", port), timeout=60)
    client.sendall(f"GET {path} HTTP/1.1\r\nHost: pictures\r\n\r\n".encode())
    return client
