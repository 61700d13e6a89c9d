"""One server as a child process: the port `Servers`, in a folder."""

import json
import secrets
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass

import pydantic
import urllib3

from stockpot.api.results import Problem
from stockpot.api.runspec import RUN_SPEC, ServeRun
from stockpot.api.server_reports import Ending
from stockpot.api.serving import ServerState
from stockpot.authentication.signatures import GrantKind, GrantSigner, Recipient, refusal_of
from stockpot.core.revision import Promotion
from stockpot.core.servers import Server, ServerGrant
from stockpot.local.processes import Process
from stockpot.reconcile.objects.server import server_view
from stockpot.reconcile.ports import ObservedServers
from stockpot.reconcile.run_specs import server_grant

REQUEST_TIMEOUT_S = 5.0
NONCE_BYTES = 16
FINISH_S = 10
"""How long open requests may take when a server ends: it is killed after `GRACE_S`."""


@dataclass(frozen=True)
class Endpoint:
    """The URLs that a server listens on."""

    url: str
    admin_url: str


class ProcessServers:
    """The port `Servers` for one soup: local mode runs at most one, whatever `replicas` is."""

    def __init__(
        self, process: Process, port: int, signer: Callable[[], GrantSigner] = GrantSigner
    ) -> None:
        """Prepare to start and to ask the server.

        Args:
            process: Where its process is found.
            port: The public port.
            signer: Signs grants, with the key of the moment.
        """
        self.process = process
        self._signer = signer
        self._refusal = ""
        self._port = port
        self._http = urllib3.PoolManager(
            timeout=urllib3.Timeout(REQUEST_TIMEOUT_S), retries=False, maxsize=2
        )
        self._replicas = 0

    @property
    def endpoint(self) -> Endpoint | None:
        """The URLs of the server; None until it listens."""
        try:
            urls = json.loads((self.process.work / "endpoint.json").read_bytes())
        except (FileNotFoundError, json.JSONDecodeError):
            return None
        return Endpoint(urls["url"], urls["adminUrl"])

    @property
    def problem(self) -> Problem | None:
        """Why the server ended, if it ended by itself with an error."""
        if self.process.is_running:
            return None
        message = self.process.read_result()
        return message.problem if message else None

    def ask(self, granted: Sequence[ServerGrant] = (), *, fresh: bool = True) -> ObservedServers:
        """Observe the server: whether it runs, and its state. `fresh` has no effect: no cache."""
        del fresh
        known = {grant.uid for grant in granted}
        if not self.process.is_running:
            # After an error of its own, a restart would end with the same error.
            replicas = self._replicas if self.problem else 0
            return ObservedServers(replicas, ended=frozenset(known), endings=_processes(known))
        self._replicas = 1
        name, uid = self.process.folder.name, self.process.started
        state = self.state()
        if state and self._refusal:
            state = state.model_copy(update={"problem": state.problem or self._refusal})
        server = server_view(name, state, uid) if state else Server(name, uid, answers=False)
        # One lock allows one process at a time: earlier processes have ended.
        ended = known - {uid} if uid else frozenset[str]()
        return ObservedServers(1, (server,), ended=frozenset(ended), endings=_processes(ended))

    def state(self) -> ServerState | None:
        """Request the state of the server; None if it does not answer."""
        if not (endpoint := self.endpoint):
            return None
        with suppress(urllib3.exceptions.HTTPError, pydantic.ValidationError):
            nonce = secrets.token_hex(NONCE_BYTES)
            answer = self._http.request("GET", f"{endpoint.admin_url}/state?nonce={nonce}")
            state = ServerState.model_validate_json(answer.data)
            return state if state.nonce in ("", nonce) else None
        return None

    def scale(self, replicas: int, spec: ServeRun | None) -> None:
        """Start the server, or end it if `replicas` is 0."""
        self._replicas = replicas
        if replicas == 0 or spec is None:
            self.process.end()
            return
        (self.process.work / "endpoint.json").unlink(missing_ok=True)
        local = spec.model_copy(update={"port": self._port, "admin_port": 0, "finish_s": FINISH_S})
        self.process.start(local)

    def prepare(self, server: str, instance_id: str, promotion: Promotion) -> None:
        """Send a grant for the server to prepare."""
        del server
        self._send(GrantKind.PREPARE, instance_id, promotion)

    def commit(self, server: str, instance_id: str, promotion: Promotion) -> None:
        """Send a grant for the server to serve."""
        del server
        self._send(GrantKind.COMMIT, instance_id, promotion)

    def _send(self, kind: GrantKind, instance_id: str, promotion: Promotion) -> None:
        if not (endpoint := self.endpoint):
            return
        grant = server_grant(instance_id, promotion)
        headers = self._signer().headers(grant, kind, self._recipient)
        # What the grant does is read from the state, in the next round.
        with suppress(urllib3.exceptions.HTTPError):
            answer = self._http.request(
                "POST",
                f"{endpoint.admin_url}/weights:{kind}",
                body=grant.model_dump_json(by_alias=True),
                headers={"Content-Type": "application/json", **headers},
            )
            self._refusal = refusal_of(answer.status, answer.data)

    @property
    def _recipient(self) -> Recipient:
        """The soup that the running server was started for."""
        return Recipient(RUN_SPEC.validate_json(self.process.spec.read_bytes()).soup.uid)


def _processes(uids: Iterable[str]) -> dict[str, Ending]:
    return dict.fromkeys(uids, Ending.PROCESS)
