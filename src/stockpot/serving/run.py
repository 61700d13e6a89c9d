"""The verb `serve`: two ports, one worker, and an orderly end.

When it is told to end it says that it is not ready, and goes on answering for `leave_s`, until
whatever sends it requests has learnt that: readiness probes, proxies on every node, and clients,
whose connections end with their next answer. Then the port closes, and what came in is answered,
for `finish_s` at most. Grants are taken until the last moment: who ends may have to forget, too.
"""

import json
import os
import secrets
import shutil
import socket
import threading
import time
from pathlib import Path

import structlog
import torch

from stockpot.api.results import ServeResult
from stockpot.api.runspec import ServeRun
from stockpot.api.serving import Granted
from stockpot.diffusion.pipeline import load_parts
from stockpot.metrics.progress import Progress
from stockpot.serving.admin import admin_app
from stockpot.serving.app import public_app
from stockpot.serving.chain import Chain
from stockpot.serving.http_server import LINGER_S, HttpServer, answering, listen
from stockpot.serving.metrics import Meters
from stockpot.serving.models import Models
from stockpot.serving.renderer import Studio
from stockpot.serving.worker import Worker
from stockpot.store.atomic import write_whole
from stockpot.store.base import open_base
from stockpot.store.keys import Keys
from stockpot.store.open import open_store
from stockpot.store.receipts import chain_head

log = structlog.get_logger()

ENDPOINT = "endpoint.json"
QUEUE_CAPACITY = 32
"""Requests that may wait; at a second each, the last one waits half a minute."""


def run(spec: ServeRun, *, work: Path, progress: Progress, stop: threading.Event) -> ServeResult:
    """Answer requests until told to stop. Which revision answers them is granted on the admin port.

    Args:
        spec: Which base, ports and resolution.
        work: Gets `endpoint.json` once both ports answer, and what is being fetched.
        progress: Says how far it is.
        stop: Set to end: see above.

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
    with listen(spec.host, spec.port) as public, listen(spec.host, spec.admin_port) as ours:
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
            check=studio.check,
            meters=meters,
            chain=chain,
            is_ending=ending.is_set,
        )
        admin = admin_app(models=models, meters=meters, chain=chain, is_ending=ending.is_set)
        began_s = time.monotonic()
        finish_s = spec.drain_s if spec.finish_s is None else spec.finish_s
        linger_s = min(LINGER_S, spec.leave_s)
        with answering(admin, ours) as admin_server:
            with answering(app, public, finish_s=finish_s, linger_s=linger_s) as public_server:
                _write_endpoint(work / ENDPOINT, spec.host, public, ours, boot)
                progress.begin("serving")
                _wait(stop, public_server, admin_server)
                log.info("Ending: not ready, and answering on", seconds=spec.leave_s)
                ending.set()
                if models.serving() is not None:
                    # Nobody was sent here who has not seen it ready.
                    time.sleep(spec.leave_s)
                # What came in is answered: the port closes first, the worker when it is done.
                public_server.should_exit = True
                public_server.thread.join(finish_s + linger_s)
                worker.close(0)
            (work / ENDPOINT).unlink(missing_ok=True)
    return ServeResult(
        base_digest=base.digest,
        images=round(meters.drawn()),
        seconds=f"{time.monotonic() - began_s:.1f}",
    )


def _number(serving: Granted | None) -> int:
    return -1 if serving is None else serving.number


def _wait(stop: threading.Event, *servers: HttpServer) -> None:
    while not stop.wait(1):
        for server in servers:
            server.require_alive()


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
