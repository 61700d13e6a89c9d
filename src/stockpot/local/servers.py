"""One server as a child process: the port `Servers`, in a folder."""

import json
import secrets
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass

import pydantic
import urllib3

from stockpot.api.results import Problem
from stockpot.api.runspec import Ending, ServeRun
from stockpot.api.serving import ServerState
from stockpot.core.revision import Promotion
from stockpot.core.servers import Server, ServerGrant
from stockpot.local.processes import Process
from stockpot.reconcile.objects.server import server_view
from stockpot.reconcile.ports import ObservedServers
from stockpot.reconcile.run_specs import server_grant

ASK_TIMEOUT_S = 5.0
NONCE_BYTES = 16
FINISH_S = 10
"""How long requests may take to be answered at a server's end: it is killed after `GRACE_S`."""


@dataclass(frozen=True)
class Endpoint:
    """Where a server listens."""

    url: str
    admin_url: str


class ProcessServers:
    """The server of one soup: local mode runs one at most, however many are asked for."""

    def __init__(self, process: Process, port: int) -> None:
        self.process = process
        self._port = port
        self._http = urllib3.PoolManager(
            timeout=urllib3.Timeout(ASK_TIMEOUT_S), retries=False, maxsize=2
        )
        self._asked_for = 0

    @property
    def endpoint(self) -> Endpoint | None:
        """Where it listens, once it does."""
        try:
            said = json.loads((self.process.work / "endpoint.json").read_bytes())
        except (FileNotFoundError, json.JSONDecodeError):
            return None
        return Endpoint(said["url"], said["adminUrl"])

    @property
    def problem(self) -> Problem | None:
        """Why it cannot be started, where it said so."""
        if self.process.is_running:
            return None
        said = self.process.read_result()
        return said.problem if said else None

    def ask(self, granted: Sequence[ServerGrant] = (), *, fresh: bool = True) -> ObservedServers:
        """See whether it runs, and what it says of itself."""
        del fresh
        known = {one.uid for one in granted}
        if not self.process.is_running:
            # Where it says itself why it cannot be, starting it once more would say the same.
            replicas = self._asked_for if self.problem else 0
            return ObservedServers(replicas, ended=frozenset(known), endings=_processes(known))
        self._asked_for = 1
        name, uid = self.process.folder.name, self.process.started
        state = self.state()
        one = server_view(name, state, uid) if state else Server(name, uid, answers=False)
        # There is one lock, and so one process at a time: whoever had it before has ended.
        ended = known - {uid} if uid else frozenset[str]()
        return ObservedServers(1, (one,), ended=frozenset(ended), endings=_processes(ended))

    def state(self) -> ServerState | None:
        """What it says of itself; None where it does not answer."""
        if not (endpoint := self.endpoint):
            return None
        with suppress(urllib3.exceptions.HTTPError, pydantic.ValidationError):
            nonce = secrets.token_hex(NONCE_BYTES)
            answer = self._http.request("GET", f"{endpoint.admin_url}/state?nonce={nonce}")
            state = ServerState.model_validate_json(answer.data)
            return state if state.nonce in ("", nonce) else None
        return None

    def scale(self, replicas: int, spec: ServeRun) -> None:
        """Start it or end it."""
        self._asked_for = replicas
        if replicas == 0:
            self.process.end()
            return
        (self.process.work / "endpoint.json").unlink(missing_ok=True)
        local = spec.model_copy(update={"port": self._port, "admin_port": 0, "finish_s": FINISH_S})
        self.process.start(local)

    def prepare(self, server: str, instance_id: str, promotion: Promotion) -> None:
        """Send a grant to be prepared."""
        del server
        self._send("prepare", instance_id, promotion)

    def commit(self, server: str, instance_id: str, promotion: Promotion) -> None:
        """Send a grant to be served."""
        del server
        self._send("commit", instance_id, promotion)

    def _send(self, verb: str, instance_id: str, promotion: Promotion) -> None:
        if not (endpoint := self.endpoint):
            return
        grant = server_grant(instance_id, promotion)
        # What it says to this does not count: only what its state shows in the next round.
        with suppress(urllib3.exceptions.HTTPError):
            self._http.request(
                "POST",
                f"{endpoint.admin_url}/weights:{verb}",
                body=grant.model_dump_json(by_alias=True),
                headers={"Content-Type": "application/json"},
            )


def _processes(uids: Iterable[str]) -> dict[str, Ending]:
    return dict.fromkeys(uids, Ending.PROCESS)
