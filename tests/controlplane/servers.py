"""What pods answer: servers with the real state machine of grants, and trainings with progress."""

import errno
import itertools
import json
import os
import socket
import threading
from collections.abc import Callable
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.simulate.pods import Pod
from tests.simulate.store import Store

from stockpot.api.serving import Grant
from stockpot.authentication.signatures import (
    HEADER,
    GrantKind,
    GrantNotAuthentic,
    GrantVerifier,
)
from stockpot.serving import grants
from stockpot.serving.grants import GrantRefused, Holdings

ADMIN_PORT, PROGRESS_PORT = 8081, 8082


class Address:
    """Loopback addresses, each for one pod of this process."""

    _numbers = itertools.count(os.getpid() * 251)

    @classmethod
    def next(cls) -> str:
        while True:
            number = next(cls._numbers)
            high, low = divmod(number % (253 * 253), 253)
            address = f"127.{1 + os.getpid() % 200}.{1 + high}.{1 + low}"
            if all(_is_free(address, port) for port in (ADMIN_PORT, PROGRESS_PORT)):
                return address


def _is_free(address: str, port: int) -> bool:
    with socket.socket() as listener:
        try:
            listener.bind((address, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return False
            raise
    return True


class _Listening(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = True


class _Served:
    port: int

    def __init__(self, address: str) -> None:
        self.address = address
        self._http: _Listening | None = None

    def start(self) -> None:
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                self.answer(*outer.get(self.path))

            def do_POST(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                self.answer(*outer.post(self.path, self.rfile.read(length), self.headers))

            def answer(self, status: int, body: str) -> None:
                content = body.encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
                pass

        self._http = _Listening((self.address, self.port), Handler)
        serve = self._http.serve_forever
        threading.Thread(target=serve, args=(0.05,), daemon=True).start()

    def stop(self) -> None:
        http, self._http = self._http, None
        if http:
            http.shutdown()
            http.server_close()

    def get(self, path: str) -> tuple[int, str]:
        raise NotImplementedError

    def post(self, path: str, body: bytes, headers: Message) -> tuple[int, str]:
        del path, body, headers
        return 404, "{}"


class PlayedServer(_Served):
    """The admin port of a server pod."""

    port = ADMIN_PORT

    def __init__(
        self,
        address: str,
        store: Store,
        verifier: GrantVerifier,
        granted: Callable[[str], None],
    ) -> None:
        super().__init__(address)
        self._store, self._granted, self.verifier = store, granted, verifier
        self.unauthentic = 0
        """How many grants it refused because its operator did not sign them."""
        self._lock = threading.Lock()
        self.pod = Pod(Holdings(f"boot-{address}"))

    @property
    def serving(self) -> frozenset[str] | None:
        """The UIDs of the shards in what it answers with; None where that is nothing."""
        held = self.pod.holdings.serving
        if held is None:
            return None
        return frozenset(pair.shard for pair in held.granted.revision.lineage)

    @property
    def weights(self) -> str:
        """The digest that it answers with."""
        held = self.pod.holdings.serving
        return held.granted.revision.weights_digest if held else ""

    def holds(self, uid: str) -> bool:
        """Whether it holds anything of a shard."""
        held = grants.report(self.pod.holdings).holds
        return any(pair.shard == uid for revision in held for pair in revision.lineage)

    def get(self, path: str) -> tuple[int, str]:
        with self._lock:
            state = grants.report(self.pod.holdings)
        if path == "/readyz" and not state.ready:
            return 503, "{}"
        return 200, state.model_dump_json()

    def post(self, path: str, body: bytes, headers: Message) -> tuple[int, str]:
        grant, verb = Grant.model_validate_json(body), path.rpartition(":")[2]
        with self._lock:
            try:
                self.verifier.require_authentic(grant, GrantKind(verb), headers.get(HEADER))
                self._do(verb, grant)
            except GrantNotAuthentic as error:
                self.unauthentic += 1
                return 403, json.dumps({"message": error.message, "help": error.help})
            except GrantRefused as error:
                return 409, json.dumps({"message": error.message, "help": error.help})
            # It fetches, warms up and drops in no time at all.
            self.pod.move()
            state = grants.report(self.pod.holdings)
        self._granted(verb)
        return 200, state.model_dump_json()

    def _do(self, verb: str, grant: Grant) -> None:
        uids = {pair.shard for pair in grant.revision.lineage}
        if uids & self._store.tombstones:
            raise GrantRefused("A tombstone stands for it.", help="")
        if verb == "prepare":
            self.pod.holdings = grants.prepare(self.pod.holdings, grant)[0]
        else:
            self.pod.holdings = grants.commit(self.pod.holdings, grant, now_s=0.0, drain_s=0.0)


class ProgressServer(_Served):
    """The progress port of a training."""

    port = PROGRESS_PORT

    def get(self, path: str) -> tuple[int, str]:
        if path != "/progress":
            return 404, "{}"
        progress = {"phase": "training", "step": 40, "total_steps": 80, "figures": {"loss": 0.25}}
        return 200, json.dumps(progress)
