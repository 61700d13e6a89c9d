"""The verb `serve`: starts its ports and a worker, and shuts them down gracefully.

On shutdown the server reports that it is not ready, and goes on answering for `leave_s`, until
everything that routes requests to it has noticed: readiness probes, the proxies of every node, and
clients, whose connections close with their next answer. Then the port closes, and accepted requests
are answered, for `finish_s` at most. Grants are accepted to the end: a server that shuts down may
still have to drop a revision.
"""

import json
import os
import secrets
import shutil
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import structlog

from stockpot.api.results import ServeResult
from stockpot.api.runspec import ServeRun
from stockpot.api.serving import POD_UID, Granted
from stockpot.authentication.signatures import GrantVerifier, Recipient
from stockpot.diffusion.device import drawing_device
from stockpot.diffusion.families.registry import open_family
from stockpot.metrics.http_server import Response, serve_routes
from stockpot.metrics.progress import Progress
from stockpot.serving.admin import admin_app
from stockpot.serving.app import public_app
from stockpot.serving.chain_head import ChainHeadCache
from stockpot.serving.http_server import LINGER_S, HttpServer, listen, run_server
from stockpot.serving.metrics import CONTENT_TYPE, ServerMetrics
from stockpot.serving.models import Models
from stockpot.serving.renderer import Renderer
from stockpot.serving.worker import Worker
from stockpot.store.atomic import write_whole
from stockpot.store.base import open_base
from stockpot.store.keys import Keys
from stockpot.store.open import open_store
from stockpot.store.receipts import chain_head

log = structlog.get_logger()

ENDPOINT = "endpoint.json"
QUEUE_CAPACITY = 32
"""How many requests may wait; at a second each, the last one waits half a minute."""


def run(spec: ServeRun, *, work: Path, progress: Progress, stop: threading.Event) -> ServeResult:
    """Answer requests until `stop` is set. The revision that serves is granted on the admin port.

    Args:
        spec: The base, ports and resolution.
        work: Gets `endpoint.json` once both ports answer, and files while they are fetched.
        progress: Reports the phase.
        stop: Set to shut down, as described above.

    Raises:
        Refused: A port is taken (exit 6), or the base is refused.
        Transient: The store fails.
    """
    progress.begin("opening the base")
    (work / ENDPOINT).unlink(missing_ok=True)
    scratch = work / "fetched"
    if scratch.exists():
        # A process that was killed left it: no weights may be here that the state does not report.
        shutil.rmtree(scratch)
    instance_id, metrics, ending = secrets.token_hex(16), ServerMetrics(), threading.Event()
    with (
        listen(spec.host, spec.port) as public_socket,
        listen(spec.host, spec.admin_port) as admin_socket,
        _metrics_port(spec, metrics),
    ):
        store = open_store(spec.store, spec.soup.namespace)
        base = open_base(spec.base, store, work / "base")
        place = drawing_device()
        renderer = Renderer(
            store,
            Keys(spec.soup.namespace),
            spec.soup.uid,
            open_family(base.folder, device=place.device, dtype=place.dtype),
            spec.resolution,
        )
        models = Models(
            instance_id,
            load=renderer.load,
            warm_up=renderer.warm_up,
            scratch=scratch,
            drain_s=spec.drain_s,
            metrics=metrics,
        )
        chain = ChainHeadCache(lambda: chain_head(store, Keys(spec.soup.namespace), spec.soup.uid))
        worker = Worker(models, renderer.draw, capacity=QUEUE_CAPACITY)
        metrics.watch(
            {
                "stockpot_serving_queue_depth": (
                    "Requests that wait for their turn.",
                    lambda: worker.waiting,
                ),
                "stockpot_serving_busy": (
                    "1 while a request is being answered, else 0.",
                    lambda: worker.is_drawing,
                ),
                "stockpot_serving_held_revisions": (
                    "Revisions that are granted, fetched, prepared, served or draining.",
                    lambda: len(models.state().holds),
                ),
                "stockpot_serving_epoch": (
                    "The epoch of the last accepted grant.",
                    lambda: models.state().epoch,
                ),
                "stockpot_serving_revision_number": (
                    "The soup's number of the revision that answers; -1 while none does.",
                    lambda: _number(models.serving()),
                ),
            }
        )
        app = public_app(
            soup=spec.soup.name,
            resolution=spec.resolution,
            models=models,
            worker=worker,
            check=renderer.check,
            metrics=metrics,
            chain=chain,
            is_ending=ending.is_set,
        )
        admin = admin_app(
            models=models,
            verifier=GrantVerifier.of(
                spec.grant_keys, Recipient(spec.soup.uid, os.environ.get(POD_UID, ""))
            ),
            metrics=metrics,
            chain=chain,
            is_ending=ending.is_set,
        )
        began_s = time.monotonic()
        finish_s = spec.drain_s if spec.finish_s is None else spec.finish_s
        linger_s = min(LINGER_S, spec.leave_s)
        with run_server(admin, admin_socket) as admin_server:
            with run_server(
                app, public_socket, finish_s=finish_s, linger_s=linger_s
            ) as public_server:
                _write_endpoint(
                    work / ENDPOINT, spec.host, public_socket, admin_socket, instance_id
                )
                progress.begin("serving")
                _wait(stop, public_server, admin_server)
                log.info("Shutting down: not ready, still answering", seconds=spec.leave_s)
                ending.set()
                if models.serving() is not None:
                    # A server that never served was never ready, so no request is routed to it.
                    time.sleep(spec.leave_s)
                # The port closes first; the worker ends when accepted requests are answered.
                public_server.should_exit = True
                public_server.thread.join(finish_s + linger_s)
                worker.close(0)
            (work / ENDPOINT).unlink(missing_ok=True)
    return ServeResult(
        base_digest=base.digest,
        images=round(metrics.images_sent()),
        seconds=f"{time.monotonic() - began_s:.1f}",
    )


@contextmanager
def _metrics_port(spec: ServeRun, metrics: ServerMetrics) -> Iterator[None]:
    """Answer `/metrics` on a port where nothing else is to be had, if the spec names one."""
    if spec.metrics_port is None:
        yield
        return

    def answer() -> Response:
        return Response(200, CONTENT_TYPE, metrics.text())

    with serve_routes(
        {"/metrics": answer},
        host=spec.host,
        port=spec.metrics_port,
        port_help=f"end what uses it (ss -ltnp 'sport = :{spec.metrics_port}'), or choose another",
    ):
        yield


def _number(serving: Granted | None) -> int:
    return -1 if serving is None else serving.number


def _wait(stop: threading.Event, *servers: HttpServer) -> None:
    while not stop.wait(1):
        for server in servers:
            server.require_alive()


def _write_endpoint(
    path: Path, host: str, public_socket: socket.socket, admin: socket.socket, instance_id: str
) -> None:
    """Write the server's URLs for the process that started it. The file appears atomically."""
    urls = {"url": _url(host, public_socket), "adminUrl": _url(host, admin)}
    write_whole(path, json.dumps({**urls, "boot": instance_id, "pid": os.getpid()}).encode())


def _url(host: str, listener: socket.socket) -> str:
    reachable = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104
    name = f"[{reachable}]" if ":" in reachable else reachable
    return f"http://{name}:{listener.getsockname()[1]}"
