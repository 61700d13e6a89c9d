"""The verb `serve`: two ports, one worker, and an orderly end."""

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

import torch
import uvicorn
from fastapi import FastAPI

from stockpot.api.runspec import RunResult, ServeRun
from stockpot.api.serving import Granted
from stockpot.diffusion.pipeline import load_parts
from stockpot.errors import ExitCode, Refused, StockpotError
from stockpot.metrics.progress import Progress
from stockpot.serving.admin import admin_app
from stockpot.serving.app import public_app
from stockpot.serving.chain import Chain
from stockpot.serving.draw import Studio
from stockpot.serving.meters import Meters
from stockpot.serving.models import Models
from stockpot.serving.worker import Worker
from stockpot.store.atomic import write_whole
from stockpot.store.base import open_base
from stockpot.store.keys import Keys
from stockpot.store.open import open_store
from stockpot.store.receipts import chain_head

ENDPOINT = "endpoint.json"
QUEUE_CAPACITY = 32
"""Requests that may wait; at a second each, the last one waits half a minute."""
_LAST_ANSWERS_S = 5
"""How long the end of the last answers may take, once they are drawn or cut off."""


def run(spec: ServeRun, *, work: Path, progress: Progress, stop: threading.Event) -> RunResult:
    """Answer requests until told to stop. Which revision answers them is granted on the admin port.

    Args:
        spec: Which base, ports and resolution.
        work: Gets `endpoint.json` once both ports answer, and what is being fetched.
        progress: Says how far it is.
        stop: Set to end: running requests are finished, for `drain_s` at most.

    Raises:
        Refused: A port is taken (exit 6), or the base is refused.
        Transient: The store fails.
    """
    progress.begin("opening the base")
    (work / ENDPOINT).unlink(missing_ok=True)
    scratch = work / "fetched"
    if scratch.exists():
        shutil.rmtree(scratch)  # Of a process that was killed: nothing may lie here unreported.
    boot, meters, ending = secrets.token_hex(16), Meters(), threading.Event()
    with _listening(spec.host, spec.port) as public, _listening(spec.host, spec.admin_port) as ours:
        store = open_store(spec.store)
        base = open_base(spec.base, store, work / "base")
        studio = Studio(
            store,
            Keys(spec.soup.namespace),
            spec.soup.uid,
            load_parts(base.folder, device="cuda" if torch.cuda.is_available() else "cpu"),
            spec.resolution,
        )
        models = Models(
            boot,
            load=studio.load,
            warm_up=studio.warm_up,
            scratch=scratch,
            drain_s=spec.drain_s,
            meters=meters,
        )
        chain = Chain(lambda: chain_head(store, Keys(spec.soup.namespace), spec.soup.uid))
        worker = Worker(models, studio.draw, capacity=QUEUE_CAPACITY)
        meters.watch(
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
            meters=meters,
            chain=chain,
        )
        admin = admin_app(models=models, meters=meters, chain=chain, is_ending=ending.is_set)
        began_s = time.monotonic()
        with _answering(admin, ours, drain_s=0) as admin_server:
            with _answering(app, public, drain_s=spec.drain_s) as public_server:
                _write_endpoint(work / ENDPOINT, spec.host, public, ours, boot)
                progress.begin("serving")
                _wait(stop, public_server, admin_server)
                ending.set()
                # What came in is answered: the port closes first, the worker when it is done.
                public_server.should_exit = True
                public_server.thread.join(spec.drain_s)
                worker.close(0)
            (work / ENDPOINT).unlink(missing_ok=True)
    figures = {"images": f"{meters.drawn():.0f}", "seconds": f"{time.monotonic() - began_s:.1f}"}
    return RunResult(base_digest=base.digest, figures=figures)


class _Server(uvicorn.Server):
    """One port, on a thread and a loop of its own."""

    def __init__(self, app: FastAPI, listening: socket.socket, drain_s: int) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                access_log=False,
                lifespan="off",
                log_config=None,
                server_header=False,
                timeout_graceful_shutdown=drain_s + _LAST_ANSWERS_S,
            )
        )
        self.answers = threading.Event()
        self.thread = threading.Thread(target=self.run, args=([listening],), daemon=True)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.answers.set()


@contextmanager
def _answering(app: FastAPI, listening: socket.socket, *, drain_s: int) -> Iterator[_Server]:
    server = _Server(app, listening, drain_s)
    server.thread.start()
    try:
        while not server.answers.wait(0.1):
            _require_alive(server)
        yield server
    finally:
        server.should_exit = True
        server.thread.join()


def _number(serving: Granted | None) -> int:
    return -1 if serving is None else serving.number


def _wait(stop: threading.Event, *servers: _Server) -> None:
    while not stop.wait(1):
        for server in servers:
            _require_alive(server)


def _require_alive(server: _Server) -> None:
    if not server.thread.is_alive():
        raise StockpotError("A port stopped answering by itself.", help="the log says why")


@contextmanager
def _listening(host: str, port: int) -> Iterator[socket.socket]:
    """Take a port before anything slow is done.

    Raises:
        Refused: It is taken, or the host is not ours (exit 6).
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as listening:
        # A server that ended a moment ago must not stand in the way of the next one.
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind((host, port))
            listening.listen()
        except OSError as error:
            raise Refused(
                f"Port {port} of {host} cannot be used: {error.strerror}.",
                help=f"end what uses it (ss -ltnp 'sport = :{port}'), or choose another port",
                exit_code=ExitCode.PORT_TAKEN,
            ) from error
        yield listening


def _write_endpoint(
    path: Path, host: str, public: socket.socket, admin: socket.socket, boot: str
) -> None:
    """Say where it answers, to whoever started it. The file appears whole."""
    said = {"url": _url(host, public), "adminUrl": _url(host, admin)}
    write_whole(path, json.dumps({**said, "boot": boot, "pid": os.getpid()}).encode())


def _url(host: str, listening: socket.socket) -> str:
    reachable = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104
    name = f"[{reachable}]" if ":" in reachable else reachable
    return f"http://{name}:{listening.getsockname()[1]}"
